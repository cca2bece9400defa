"""The Gaussian process before it is mapped: what its terms have in common, and their rows.

The energy is a sum over atoms and terms of functions of the atom's neighbourhood, each with a
Gaussian-process prior. A term brings its kernel between neighbourhoods and sparse points, summed and
differentiated to the rows of total energies, forces and stresses (Bartok and Csanyi, Int. J. Quantum
Chem. 115, 1051 (2015)). The kinds are in modules of their own: `few_body`, `soap`, `nbody`; here is the
simplest, a constant of each species.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from forcemap.fitter.frame import Frame
from forcemap.fitter.solver import RANK_TOLERANCE
from forcemap.potentials import _core
from numpy.typing import NDArray

__all__ = [
    "Block",
    "Environment",
    "OneBodyTerm",
    "Term",
    "columns",
    "environments",
    "frame_rows",
    "row_count",
]

Array = NDArray[np.float64]
AnyTerm = TypeVar("AnyTerm", bound="Term")


@dataclass(frozen=True, eq=False)
class Block:
    """Sparse points of one combination of species.

    Attributes:
        species: atomic numbers; (centre,) of constants and environments; (a, b) with a <= b;
            (centre, a, b) with a <= b if the symmetry is central, all three sorted if it is full.
        points: (n, dimension) what the kernel compares: distances in Å, or
            descriptors of environments.
    """

    species: tuple[int, ...]
    points: Array

    @property
    def size(self) -> int:
        """Number of sparse points."""
        return len(self.points)


class Environment:
    """A frame as the terms see it.

    Attributes:
        frame: the frame.
        core: its neighbourhoods within the largest cutoff, in the core's form.
        species: atomic numbers that appear.
        derivatives: whether rows of forces and strain are wanted beside the energy's.
    """

    def __init__(self, frame: Frame, cutoff: float, derivatives: bool = True) -> None:
        """Raises ForcemapError for unusable structures."""
        self.frame = frame
        self.core = environments(frame, cutoff)
        self.species = frozenset(int(z) for z in frame.numbers)
        self.derivatives = derivatives


class Term(ABC):
    """One kind of many-body function with its kernel and its sparse points; immutable.

    Attributes:
        kind: its name in settings and files.
        cutoff: Å.
        delta: prior standard deviation, eV.
        blocks: sparse points by combination of species.
    """

    kind: str
    cutoff: float
    delta: float
    blocks: tuple[Block, ...]

    @property
    def size(self) -> int:
        """Number of sparse points in all blocks."""
        return sum(block.size for block in self.blocks)

    @property
    def map_is_exact(self) -> bool:
        """Whether its map is exact, so that no resolution has to be chosen."""
        return True

    @property
    def rank_tolerance(self) -> float:
        """See `solver.pivoted_cholesky`: where a sparse point counts as a repeat."""
        return RANK_TOLERANCE

    @property
    def has_map(self) -> bool:
        """Whether it can be mapped at all, exactly or not."""
        return True

    def summary(self) -> dict[str, Any]:
        """Hyperparameters for the report, beside cutoff and delta."""
        return {}

    @abstractmethod
    def covariance(self, block: Block) -> Array:
        """(n, n) covariance of the block's own points, unit variance."""

    @abstractmethod
    def add_rows(self, environment: Environment, rows: Array, start: int) -> None:
        """Add covariances of a frame's labels with all sparse points to columns `start` and on.

        `rows` (1 + 3 n + 6, m): energy, forces, dE/d(strain); unit variance.
        """

    def with_blocks(self: AnyTerm, blocks: Sequence[Block]) -> AnyTerm:
        """The same term with other sparse points."""
        return replace(self, blocks=tuple(blocks))  # type: ignore[type-var]

    def with_delta(self: AnyTerm, delta: float) -> AnyTerm:
        """The same term with another prior standard deviation."""
        return replace(self, delta=delta)  # type: ignore[type-var]


@dataclass(frozen=True, eq=False)
class OneBodyTerm(Term):
    """A constant for each species (only with ``e0: average``)."""

    delta: float
    blocks: tuple[Block, ...] = ()
    kind: str = "one_body"
    cutoff: float = 1.0

    @classmethod
    def of(cls, species: Sequence[int], delta: float) -> OneBodyTerm:
        """For all `species`, with prior standard deviation `delta` (eV)."""
        return cls(delta, tuple(Block((z,), np.zeros((1, 1))) for z in species))

    def covariance(self, block: Block) -> Array:
        """See `Term.covariance`."""
        return np.eye(block.size)

    def add_rows(self, environment: Environment, rows: Array, start: int) -> None:
        """See `Term.add_rows`."""
        for column, block in enumerate(self.blocks, start):
            rows[0, column] += np.count_nonzero(environment.frame.numbers == block.species[0])


def environments(frame: Frame, cutoff: float) -> _core.Environments:
    """The core's environments of a frame. Raises ForcemapError for unusable structures."""
    return _core.Environments(
        np.ascontiguousarray(frame.positions, dtype=np.float64),
        np.ascontiguousarray(frame.numbers, dtype=np.int32),
        np.ascontiguousarray(frame.cell, dtype=np.float64),
        np.ascontiguousarray(frame.pbc, dtype=bool),
        cutoff,
    )


def row_count(frame: Frame) -> int:
    """Rows of a frame: one energy, three forces an atom, six strain derivatives."""
    return 1 + 3 * len(frame.numbers) + 6


def columns(terms: Sequence[Term]) -> Iterator[tuple[Term, Block, slice]]:
    """All blocks of all terms with the columns of their sparse points."""
    start = 0
    for term in terms:
        for block in term.blocks:
            yield term, block, slice(start, start + block.size)
            start += block.size


def frame_rows(frame: Frame, terms: Sequence[Term], derivatives: bool = True) -> Array:
    """Covariances of a frame's energy, forces and strain derivatives with all sparse points.

    Sums and derivatives of the local-energy kernel; unit variance for every term. Returns
    (1 + 3 n + 6, sparse points): energy, forces (-dE/dx, atom by atom), dE/d(strain) in the order
    xx yy zz yz xz xy (volume times stress). Without `derivatives` only the energy's row is filled.
    """
    rows = np.zeros((row_count(frame), sum(term.size for term in terms)))
    environment = Environment(frame, max(term.cutoff for term in terms), derivatives)
    start = 0
    for term in terms:
        term.add_rows(environment, rows, start)
        start += term.size
    return rows
