"""The rows of a frame: covariances of its energy, forces and strain derivatives with sparse points.

Sums and derivatives of the local-energy kernels, from which the total energies, forces and stresses
of the data are learned (Bartók and Csányi, Int. J. Quantum Chem. 115, 1051 (2015),
DOI 10.1002/qua.24927).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.terms.base import Array, Block, Term

__all__ = ["RowLayout", "columns", "frame_rows"]


@dataclass(frozen=True)
class RowLayout:
    """Where the rows of a frame of so many `atoms` stand.

    One of the energy, three of the forces (-dE/dx) of each atom, six of dE/d(strain) in the order
    xx yy zz yz xz xy (volume times stress). The core has the same in rows.hpp.
    """

    atoms: int

    energy: ClassVar[int] = 0

    @property
    def count(self) -> int:
        """All rows."""
        return 1 + 3 * self.atoms + 6

    @property
    def forces(self) -> slice:
        """Those of the forces, atom by atom."""
        return slice(1, 1 + 3 * self.atoms)

    @property
    def strain(self) -> slice:
        """Those of the strain derivatives."""
        return slice(1 + 3 * self.atoms, 7 + 3 * self.atoms)

    def split(self, values: Array) -> tuple[float, Array, Array]:
        """Energy, forces (atoms, 3) and strain derivatives (6,) of values (count,)."""
        return (
            float(values[self.energy]),
            values[self.forces].reshape(self.atoms, 3),
            values[self.strain],
        )


def columns(terms: Sequence[Term]) -> Iterator[tuple[Term, Block, slice]]:
    """All blocks of all terms with the columns of their sparse points."""
    start = 0
    for term in terms:
        for block in term.blocks:
            yield term, block, slice(start, start + block.size)
            start += block.size


def term_columns(terms: Sequence[Term]) -> Iterator[tuple[Term, slice]]:
    """All terms with the columns of their sparse points."""
    start = 0
    for term in terms:
        yield term, slice(start, start + term.size)
        start += term.size


def frame_rows(frame: Frame, terms: Sequence[Term], derivatives: bool = True) -> Array:
    """Rows of a frame with all sparse points, unit variance for every term.

    Returns (`RowLayout.count`, sparse points). Without `derivatives` only the energy's row is filled.
    """
    layout = RowLayout(len(frame.numbers))
    rows = np.zeros((layout.count, sum(term.size for term in terms)))
    structure = Structure(frame, max(term.cutoff for term in terms), derivatives)
    for term, where in term_columns(terms):
        term.add_rows(structure, rows, where.start)
    return rows
