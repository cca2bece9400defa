"""Functions of interatomic distances: the common part of two- and three-body terms.

The local energy of atom i is a sum of functions of its neighbourhood, each with a Gaussian-process
prior of variance ``delta**2``::

    2-body   e_i = sum_{j != i} f_c(r_ij) V(r_ij)
    3-body   e_i = sum_{ {j, k} } f_c(r_ij) f_c(r_ik) V(r_ij, r_ik, r_jk)

one function V per pair of species, or per centre species and unordered pair of neighbour species.
Kernels act on interatomic distances and are summed over the permutations that leave V unchanged
(Glielmo, Zeni, Fekete, De Vita, "Building nonparametric n-body force fields using Gaussian process
regression", in Machine Learning Meets Quantum Physics, Springer 2020, eqs. 5.28, 5.29, 5.36, 5.37,
DOI 10.1007/978-3-030-40245-7_5).

2-body terms, and 3-body terms with the squared exponential, are *projected* (where they have a
``grid``): seen from an atom's surroundings, the kernel is interpolated on a grid of distances by cubic
splines, as in structured kernel interpolation (Wilson and Nickisch, ICML 2015, arXiv:1503.01057). The
functions that are fitted then are cubic splines on that grid, and mapping them loses nothing, on a grid
that stays small enough for the processor's cache; interpolating an exact kernel's functions to 1e-4
eV/Å takes ten times as many coefficients and more. The squared exponential is a product over
distances, and the interpolation of a product on a grid is the product of one-dimensional
interpolations: rows cost no more.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
from forcemap.fitter.baseline.repulsion import Repulsion
from forcemap.fitter.checked import choice, number, optional, read_by
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.terms.base import (
    DISTANCE,
    LENGTHSCALES,
    SPARSE,
    Array,
    Block,
    Size,
    Species,
    Term,
    TermSettings,
    TermView,
    named,
    within,
)
from forcemap.potentials import _core
from typing_extensions import override

__all__ = [
    "KERNELS",
    "MOST_POINTS_OF_ALL",
    "DistanceSettings",
    "DistanceTerm",
    "View",
    "fineness",
]

KERNELS = ("squared_exponential", "matern52")

MOST_POINTS_OF_ALL = 4000
"""Sparse points of a term, all its species together: the time of a fit grows with the square of their
number."""

MOST_INTERVALS = 2000
"""Largest number of intervals of a grid in the file of a model."""


def fineness(tolerance: float) -> float:
    """Factor by which a grid is finer at `tolerance`, eV/Å, than at 1e-4 eV/Å."""
    return float((1e-4 / tolerance) ** (1.0 / 6.0))


@dataclass(frozen=True)
class DistanceSettings(TermSettings):
    """A function of interatomic distances.

    `n_sparse` is the number for each combination of species; without it, the fit's own choice is
    multiplied by `n_sparse_factor`.
    """

    few_atoms: ClassVar[bool] = True
    continuous: ClassVar[tuple[str, ...]] = ("lengthscale", "cutoff", "cutoff_width")
    fewest_points: ClassVar[int]
    most_points: ClassVar[int]
    """Limits of the sparse points of a combination of species without `n_sparse`."""

    cutoff: float = field(default=5.0, metadata=read_by(DISTANCE))
    """Å: distance beyond which atoms do not see each other."""
    n_sparse: int | None = field(default=None, metadata=read_by(optional(SPARSE)))
    """Number of sparse points for each combination of species; by default by their number."""
    n_sparse_factor: float = field(default=1.0, metadata=read_by(number(above=0, at_most=100)))
    """Factor of the default number of sparse points."""
    lengthscale: float | None = field(default=None, metadata=read_by(optional(DISTANCE)))  # Å
    """Å: distance over which the function changes; by default a fraction of the cutoff."""
    kernel: str = field(default="squared_exponential", metadata=read_by(choice(*KERNELS)))
    """Covariance of the function at two distances."""

    def points_wanted(self, species: Species, candidates: int, blocks: int) -> int:
        """The number decreases with the number of elements, so that a fit stays short."""
        return self.points_of_each(blocks)

    def points_of_each(self, blocks: int) -> int:
        """Sparse points of each of the `blocks` combinations of species."""
        if self.n_sparse is not None:
            return self.n_sparse
        most = MOST_POINTS_OF_ALL // blocks
        count = max(self.fewest_points, min(self.most_points, most))
        return max(1, round(count * self.n_sparse_factor))

    @override
    def small(self, points: int) -> DistanceSettings:
        return replace(self, n_sparse=min(points, self.points_of_each(1)))

    @override
    def resized(self, size: Size) -> DistanceSettings:
        return replace(super().resized(size), n_sparse_factor=self.n_sparse_factor * size.points)


class View(NamedTuple):
    """A block's sparse points as one kind of neighbourhood sees them.

    Attributes:
        species: (a, b) or (centre, a, b), a <= b, atomic numbers.
        images: (points, images, dimension) permuted copies of the points, summed over by the kernel.
    """

    species: Species
    images: Array


@dataclass(frozen=True, eq=False)
class DistanceTerm(Term):
    """A function of interatomic distances with its kernel and its sparse points.

    Attributes:
        cutoff_width: width of the smooth step before the cutoff, Å.
        kernel_name, lengthscale: name of the kernel; its lengthscale, Å.
        repulsion: where the data end; the functions are faded out below.
        grid: numbers of intervals that the kernel is projected on; None: the exact kernel.
    """

    dimension: ClassVar[int]
    """Number of distances that a function depends on."""

    cutoff: float
    cutoff_width: float
    kernel_name: str
    lengthscale: float
    delta: float = 1.0
    cutoff_function: str = "quintic"
    blocks: tuple[Block, ...] = ()
    repulsion: Repulsion = field(default_factory=dict)
    grid: tuple[int, ...] | None = None

    @property
    def settings(self) -> _core.KernelSettings:
        """The core's form of kernel and cutoff (unit variance)."""
        return _core.KernelSettings(
            self.kernel_name, self.lengthscale, self.cutoff, self.cutoff_width, self.cutoff_function
        )

    def hyperparameters(self) -> dict[str, float]:
        """Lengthscale, cutoff and its width, Å."""
        return {
            "lengthscale": self.lengthscale,
            "cutoff": self.cutoff,
            "cutoff_width": self.cutoff_width,
        }

    @abstractmethod
    def views(self, block: Block) -> list[View]:
        """The kinds of neighbourhood that `block` describes, with the images seen by each."""

    @cached_property
    @abstractmethod
    def products(self) -> Mapping[tuple[int, Species], tuple[Array, ...]]:
        """One-dimensional splines of the projected kernel by (block, species of the view)."""

    @abstractmethod
    def add_projected(
        self,
        structure: Structure,
        view: Species,
        splines: tuple[Array, ...],
        rows: Array,
        start: int,
    ) -> None:
        """Add the rows of one block whose kernel is projected on `splines`."""

    @abstractmethod
    def add_exact(self, structure: Structure, view: View, rows: Array, start: int) -> None:
        """Add the rows of one block with the exact kernel."""

    def __getstate__(self) -> dict[str, Any]:
        """State for other processes, without the splines that each computes for itself."""
        return {name: value for name, value in vars(self).items() if name != "products"}

    def kernel(self, species: Species, a: Array, b: Array) -> Array:
        """(n, m) kernel, summed over the permutations of b that leave the function unchanged."""
        view = next(v for v in self.views(Block(species, b)) if v.species == species)
        return self.settings.matrix(np.ascontiguousarray(a), view.images)

    def distances(self, r: Array, centers: Array) -> Array:
        """(n, m) kernel between distances r (n,) and `centers` (m,), without cutoff factors."""
        return self.settings.matrix(
            np.ascontiguousarray(r[:, None]), np.ascontiguousarray(centers[:, None, None])
        )

    @property
    def map_is_exact(self) -> bool:
        """Whether the fitted functions are splines already."""
        return self.grid is not None

    @override
    def add_rows(self, structure: Structure, rows: Array, start: int) -> None:
        present = structure.species
        for number_, block in enumerate(self.blocks):
            if self.grid is not None:
                for (owner, species), splines in self.products.items():
                    if owner == number_ and present.issuperset(species):
                        self.add_projected(structure, species, splines, rows, start)
            else:
                for view in self.views(block):
                    if present.issuperset(view.species):
                        self.add_exact(structure, view, rows, start)
            start += block.size

    @override
    def document(self) -> dict[str, Any]:
        return {
            "cutoff_width": self.cutoff_width,
            "kernel": self.kernel_name,
            "lengthscale": self.lengthscale,
            "symmetry": "central",
            "cutoff_function": self.cutoff_function,
            "grid": list(self.grid) if self.grid is not None else [],
        }

    @classmethod
    def _fields(cls, view: TermView) -> dict[str, Any]:
        """The fields that all terms of distances have in a file."""
        cutoff = view.cutoff
        width, lengthscale = read_lengths(view)
        grid = tuple(size.integer(1, MOST_INTERVALS) for size in view.entry["grid"])
        blocks = view.blocks(cls.bodies, lambda species: cls.dimension)
        check_distances(view, blocks, cutoff)
        return {
            "cutoff": cutoff,
            "cutoff_width": width,
            "kernel_name": view.one_of("kernel", *KERNELS),
            "lengthscale": lengthscale,
            "delta": view.delta,
            "cutoff_function": view.one_of("cutoff_function", "quintic", "cosine"),
            "blocks": blocks,
            "repulsion": view.repulsion,
            "grid": grid or None,
        }

    @classmethod
    def _check_grid(cls, view: TermView, wanted: int) -> None:
        count = len(list(view.entry["grid"]))
        if count not in (0, wanted):
            view.entry["grid"].reject(f"found {count} sizes, expected {wanted} or none")

    @override
    def summary(self) -> dict[str, Any]:
        return {
            "kernel": self.kernel_name,
            "lengthscale": self.lengthscale,
            "cutoff_width": self.cutoff_width,
        }


def symbols_of(species: Sequence[int]) -> tuple[str, ...]:
    """Symbols of atomic numbers."""
    from forcemap.potentials.elements import SYMBOLS

    return tuple(SYMBOLS[z] for z in species)


def read_lengths(view: TermView) -> tuple[float, float]:
    """Width of the transition and lengthscale, Å. Raises ModelFileError if they make no sense."""
    entry = view.entry
    width, lengthscale = entry["cutoff_width"].number(), entry["lengthscale"].number()
    if not (0.0 < width <= view.cutoff <= 100.0 and lengthscale > 0.0):
        entry.reject("cutoff, cutoff_width and lengthscale must be positive and consistent")
    return width, within(entry["lengthscale"], *LENGTHSCALES)


def check_distances(view: TermView, blocks: Iterable[Block], cutoff: float) -> None:
    """Raise ModelFileError for sparse points whose distances (Å) no fit could have."""
    for block in blocks:
        # The third distance of a triangle may be twice the cutoff.
        wrong = block.points[(block.points < 0.0) | (block.points > 2.0 * cutoff + 1e-6)]
        if len(wrong):
            view.entry.reject(
                f"found a sparse point of {named(block.species)} with the distance {wrong[0]:g} Å, "
                f"expected 0 to {2.0 * cutoff:g} Å: the file is damaged; copy it again or fit anew"
            )
