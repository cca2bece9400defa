"""The rows of a frame: covariances of its energy, forces and strain derivatives with sparse points.

The rows are sums and derivatives of the local-energy kernels, through which the fit learns from the
total energies, forces and stresses of the data (Bartók and Csányi, Int. J. Quantum Chem. 115, 1051
(2015), DOI 10.1002/qua.24927).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy.linalg
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.terms.base import Array, Block, Term

__all__ = ["RowLayout", "columns", "frame_rows", "unwhitened"]


@dataclass(frozen=True)
class RowLayout:
    """Layout of the rows of a frame with `atoms` atoms.

    One row of the energy, three of the forces (-dE/dx) of each atom, six of dE/d(strain) in the order
    xx yy zz yz xz xy (volume times stress). The core has the same layout in rows.hpp.
    """

    atoms: int

    energy: ClassVar[int] = 0

    @property
    def count(self) -> int:
        """Number of rows."""
        return 1 + 3 * self.atoms + 6

    @property
    def forces(self) -> slice:
        """Rows of the forces, atom by atom."""
        return slice(1, 1 + 3 * self.atoms)

    @property
    def strain(self) -> slice:
        """Rows of the strain derivatives."""
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


def unwhitened(terms: Sequence[Term], factors: Sequence[Array], values: Array) -> Array:
    """Weights of the sparse points, by columns, from those of the whitened ones, in place.

    With the covariance L Lᵀ of a block, ``weights = L⁻ᵀ values``.

    Args:
        terms: terms with their sparse points.
        factors: L of every block.
        values: (m,) or (m, n), overwritten.
    """
    for (_, _, where), factor in zip(columns(terms), factors, strict=True):
        values[where] = scipy.linalg.solve_triangular(factor.T, values[where], lower=False)
    return values


def frame_rows(frame: Frame, terms: Sequence[Term], derivatives: bool = True) -> Array:
    """Covariances of a frame's rows with all sparse points, unit variance for every term.

    Returns an array (`RowLayout.count`, sparse points). Without `derivatives` only the energy's row is
    filled.
    """
    layout = RowLayout(len(frame.numbers))
    rows = np.zeros((layout.count, sum(term.size for term in terms)))
    structure = Structure(frame, max(term.cutoff for term in terms), derivatives)
    for term, where in term_columns(terms):
        term.add_rows(structure, rows, where.start)
    return rows
