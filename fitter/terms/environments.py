"""Terms that compare whole environments of atoms by a vector of descriptors.

The descriptor d of an atom's surroundings is invariant to rotations and permutations; the local energy
has the covariance ``delta**2 k(d, d')`` and is relative to that of an isolated atom::

    e(d) = V(d) - V(d of the isolated atom)

A kind of term defines the descriptors, their derivatives, and which of the kernels here compares
them; the rows follow by the chain rule, the same for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from forcemap.fitter.checked import (
    ELEMENTS,
    Place,
    choice,
    either,
    element,
    mapping,
    number,
    optional,
    read_by,
    reader,
)
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.terms.base import (
    SPARSE,
    SPARSE_METHODS,
    Array,
    Block,
    Size,
    Species,
    Term,
    TermSettings,
)
from forcemap.fitter.terms.rows import RowLayout
from forcemap.potentials import _core
from forcemap.potentials.elements import SYMBOLS
from numpy.typing import NDArray
from typing_extensions import override

__all__ = [
    "Comparison",
    "DotPower",
    "EnvironmentSettings",
    "EnvironmentTerm",
    "SquaredExponential",
    "element",
]

Indices = NDArray[np.int64]

MOST_NUMBERS = 2_000_000
"""Doubles of derivatives, and of their products with the sparse points, held at once: enough rows for
matrix products at full speed, not more than the processor's cache."""


# ---- settings ------------------------------------------------------------------------------------

ENVIRONMENTS_PER_POINT = 6
LEAST_POINTS, MOST_POINTS = 200, 2000
"""Limits of the sparse points of a species of centre without `n_sparse`."""

MOST_POINTS_OF_ALL = 4000
"""Sparse points of all species together: the time of a fit grows with the square of their number."""


@reader(
    lambda: either(
        SPARSE.schema(),
        {"type": "object", "propertyNames": ELEMENTS, "additionalProperties": SPARSE.schema()},
    )
)
def _per_species(value: Any, place: Place) -> int | dict[str, int]:
    if not isinstance(value, Mapping):
        return int(SPARSE(value, place))
    return {element(s, place.key(s)): int(SPARSE(n, place.key(s))) for s, n in value.items()}


@reader(lambda: {"type": ["object", "null"], "additionalProperties": SPARSE.schema()})
def _quotas(value: Any, place: Place) -> dict[str, int]:
    entries = mapping({} if value is None else value, place, "Liquid: 200")
    return {str(group): int(SPARSE(n, place.key(group))) for group, n in entries.items()}


@dataclass(frozen=True)
class EnvironmentSettings(TermSettings):
    """A function of whole environments of atoms, one per species of the centre.

    `n_sparse` is one number for all species of centre, or a number for each: {Si: 500, O: 300};
    without it, the fit's own choice is multiplied by `n_sparse_factor`.
    """

    default_method: ClassVar[str] = "cur"
    """CUR chooses points that represent the data. Points of largest remaining variance (pivoted
    Cholesky) are outliers; they made energies of unknown surfaces worse (Mo), forces no better."""

    n_sparse: int | Mapping[str, int] | None = field(
        default=None, metadata=read_by(optional(_per_species))
    )
    """Number of sparse points for each species of the centre, or a number by element."""
    sparse_method: str | None = field(
        default=None, metadata=read_by(optional(choice(*SPARSE_METHODS[1:])))
    )
    """How the sparse points are chosen among the data."""
    n_sparse_factor: float = field(default=1.0, metadata=read_by(number(above=0, at_most=100)))
    """Factor of the default number of sparse points."""
    config_type_n_sparse: Mapping[str, int] = field(default_factory=dict, metadata=read_by(_quotas))
    """Numbers of sparse points from groups of frames, by config_type."""

    @property
    @override
    def quotas(self) -> Mapping[str, int]:
        return self.config_type_n_sparse

    @override
    def points_given(self, species: Species) -> int | None:
        if isinstance(self.n_sparse, Mapping):
            return self.n_sparse.get(SYMBOLS[species[0]])
        return self.n_sparse

    def points_wanted(self, species: Species, candidates: int, blocks: int) -> int:
        """The stated number of sparse points, or one from the number of environments."""
        explicit = self.points_given(species)
        if explicit is not None:
            return explicit
        most = max(LEAST_POINTS, min(MOST_POINTS, MOST_POINTS_OF_ALL // blocks))
        by_data = np.clip(candidates / ENVIRONMENTS_PER_POINT, LEAST_POINTS, most)
        return max(1, round(float(by_data) * self.n_sparse_factor))

    @override
    def small(self, points: int) -> EnvironmentSettings:
        return replace(self, n_sparse=points, config_type_n_sparse={})

    @override
    def resized(self, size: Size) -> EnvironmentSettings:
        quotas = {g: Size.times(n, size.points, 1) for g, n in self.quotas.items()}
        within = sum(quotas.values())  # rounding may have made these too many
        count = self.n_sparse
        if isinstance(count, Mapping):
            count = {s: max(Size.times(n, size.points, 8), within) for s, n in count.items()}
        elif count is not None:
            count = max(Size.times(count, size.points, 8), within)
        return replace(
            self,
            n_sparse=count,
            n_sparse_factor=self.n_sparse_factor * size.points,
            config_type_n_sparse=quotas,
        )


# ---- kernels -------------------------------------------------------------------------------------


class Comparison(ABC):
    """A kernel k(a, b) of descriptors with dk/da = slope(a, b) (b - pull a), pull 0 or 1."""

    pull: float

    @abstractmethod
    def values_and_slopes(self, a: Array, b: Array) -> tuple[Array, Array]:
        """k and slope, (n, m) each, of descriptors a (n, dimension) and b (m, dimension)."""

    @abstractmethod
    def named(self) -> dict[str, Any]:
        """Name and parameters as in settings."""


@dataclass(frozen=True)
class DotPower(Comparison):
    """The kernel (a . b)**power of normalised descriptors."""

    power: float
    pull = 0.0

    @override
    def values_and_slopes(self, a: Array, b: Array) -> tuple[Array, Array]:
        dots = a @ b.T
        return dots**self.power, self.power * dots ** (self.power - 1)

    @override
    def named(self) -> dict[str, Any]:
        return {"kernel": "power", "power": self.power}


@dataclass(frozen=True)
class SquaredExponential(Comparison):
    """The kernel exp(-|a - b|**2 / (2 lengthscale**2)); the lengthscale has the descriptors' unit."""

    lengthscale: float
    pull = 1.0

    @override
    def values_and_slopes(self, a: Array, b: Array) -> tuple[Array, Array]:
        squares = np.sum(a**2, axis=1)[:, None] + np.sum(b**2, axis=1) - 2.0 * (a @ b.T)
        values = np.exp(np.maximum(squares, 0.0) * (-0.5 / self.lengthscale**2))
        return values, values / self.lengthscale**2

    @override
    def named(self) -> dict[str, Any]:
        return {"kernel": "squared_exponential", "distance_lengthscale": self.lengthscale}


# ---- terms ---------------------------------------------------------------------------------------


class EnvironmentTerm(Term):
    """A term whose sparse points are descriptors of environments, for each species of centre.

    Attributes:
        comparison: the kernel of descriptors.
    """

    rank_tolerance: ClassVar[float] = 1e-11
    """Environments of one crystal have much in common; forces live in what little is left."""
    is_slow: ClassVar[bool] = True
    points_follow: ClassVar[bool] = True

    comparison: Comparison

    def __getstate__(self) -> dict[str, Any]:
        """State for other processes, without the expansion that lives in the core of this one."""
        return {name: value for name, value in vars(self).items() if name != "expansion"}

    @abstractmethod
    def dimension_of(self, center: int) -> int:
        """Length of the descriptor of atoms of one species."""

    @abstractmethod
    def descriptors(self, structure: Structure, center: int) -> tuple[Indices, Array]:
        """(atoms (n,), descriptors (n, dimension)) of the atoms of one species."""

    @abstractmethod
    def isolated(self, structure: Structure, center: int) -> Array:
        """Descriptor of an isolated atom, (dimension,)."""

    @abstractmethod
    def derivatives(
        self, structure: Structure, center: int, first: int, last: int
    ) -> tuple[Indices, Indices, Array]:
        """(targets (k,), centres (k,), derivatives (k, dimension)) of centres [first, last).

        The derivatives are rows of -dd/dx and dd/d(strain). Each has the frame's row that it adds to
        as its target, and the place of its centre among the atoms returned by `descriptors`.
        """

    @override
    def combinations(self, species: Sequence[int]) -> list[Species]:
        return [(z,) for z in sorted(species)]

    def candidates(self, structure: Structure) -> Mapping[Species, Array]:
        """Descriptors of the atoms, by species of centre."""
        return {(z,): self.descriptors(structure, z)[1] for z in sorted(structure.species)}

    @override
    def kernel(self, species: Species, a: Array, b: Array) -> Array:
        return self.comparison.values_and_slopes(a, b)[0]

    def reference(self, structure: Structure, species: Species) -> Array:
        """The descriptor of an isolated atom."""
        return self.isolated(structure, species[0])

    def features(self, species: Species, points: Array) -> Array:
        """The descriptors themselves."""
        return points

    @override
    def add_rows(self, structure: Structure, rows: Array, start: int) -> None:
        for block in self.blocks:
            if block.species[0] in structure.species and block.size:
                self._add_block(structure, block, rows, start)
            start += block.size

    def _add_block(self, structure: Structure, block: Block, rows: Array, start: int) -> None:
        center, points = block.species[0], block.points
        _, descriptors = self.descriptors(structure, center)
        values, slopes = self.comparison.values_and_slopes(descriptors, points)
        free = self.kernel(block.species, self.isolated(structure, center)[None, :], points)[0]
        rows[RowLayout.energy, start : start + block.size] += (
            np.sum(values, axis=0) - len(descriptors) * free
        )
        if not structure.derivatives:
            return
        # Derivatives are made for a few centres at a time: they have three rows per neighbouring atom.
        count = len(structure.frame.numbers)
        involved = min(3 * count, 300) + 9
        step = max(1, MOST_NUMBERS // (involved * max(points.shape[1], block.size)))
        for first in range(0, len(descriptors), step):
            last = min(first + step, len(descriptors))
            targets, centers, derivatives = self.derivatives(structure, center, first, last)
            changes = derivatives @ points.T
            if self.comparison.pull:
                own = np.einsum("kd,kd->k", derivatives, descriptors[centers])
                changes -= self.comparison.pull * own[:, None]
            _core.add_weighted_rows(targets, centers, changes, slopes, rows, start)
