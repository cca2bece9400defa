"""Two- and three-body terms: functions of interatomic distances.

The local energy of atom i is a sum of functions of its neighbourhood, each with a Gaussian-process
prior of variance ``delta**2``::

    2-body   e_i = sum_{j != i} f_c(r_ij) V(r_ij)
    3-body   e_i = sum_{ {j, k} } f_c(r_ij) f_c(r_ik) V(r_ij, r_ik, r_jk)

one function V per pair of species, or per centre species and unordered pair of neighbour species.
Kernels act on interatomic distances and are summed over the permutations that leave V unchanged
(Glielmo, Zeni, Fekete, De Vita, "Building nonparametric n-body force fields using Gaussian process
regression", in Machine Learning Meets Quantum Physics, Springer 2020, eqs. 5.28, 5.29, 5.36, 5.37).
``symmetry: central`` keeps the central atom apart from its neighbours (r_jk may be as long as twice
the cutoff); ``full`` sums over all permutations of the three atoms, as in eq. 5.29.

2-body terms, and 3-body terms with the squared exponential, are *projected* (`Term.projected`):
seen from an atom's surroundings, the kernel is interpolated on a grid of distances by cubic splines,
as in structured kernel interpolation (Wilson and Nickisch, ICML 2015, arXiv:1503.01057). The
functions that are fitted then are cubic
splines on that grid, and mapping them loses nothing, on a grid that stays small enough for the
processor's cache; interpolating an exact kernel's functions to 1e-4 eV/Å takes ten times as many
coefficients and more. The squared exponential is a product over distances, and the interpolation of a
product on a grid is the product of one-dimensional interpolations: rows cost no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
from forcemap.fitter.process import Block, Environment, Term
from forcemap.fitter.short_range import CorePair, fade, pair_core
from forcemap.fitter.splines import spline_coefficients
from forcemap.potentials import _core
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

__all__ = ["FewBodyTerm", "View"]

Array = NDArray[np.float64]

# Distances (12, 13, 23) of three atoms after the atoms are put into another order.
_PAIR_OF = {
    frozenset((0, 1)): 0,
    frozenset((0, 2)): 1,
    frozenset((1, 2)): 2,
}


class View(NamedTuple):
    """How a block's sparse points are seen by one kind of neighbourhood.

    Attributes:
        species: (a, b) or (centre, a, b), a <= b, atomic numbers.
        images: (points, images, dimension) permuted copies of the points, summed over by the kernel.
    """

    species: tuple[int, ...]
    images: Array


@dataclass(frozen=True, eq=False)
class FewBodyTerm(Term):
    """One kind of many-body function with its kernel and its sparse points.

    Attributes:
        grid: intervals that the kernel is projected on; None: the exact kernel. Two-body: one number,
            over the cutoff; three-body: of r_ij and r_ik over the cutoff, of r_jk over twice that.
        products: one-dimensional splines of the projected kernel by (block, species of the view).
    """

    kind: str
    cutoff: float
    cutoff_width: float
    kernel: str
    lengthscale: float
    delta: float
    symmetry: str = "central"
    cutoff_function: str = "quintic"
    blocks: tuple[Block, ...] = ()
    grid: tuple[int, ...] | None = None
    products: Mapping[tuple[int, tuple[int, ...]], tuple[Array, ...]] = field(
        default_factory=dict, compare=False, repr=False
    )

    @property
    def settings(self) -> _core.KernelSettings:
        """The core's form of kernel and cutoff (unit variance)."""
        return _core.KernelSettings(
            self.kernel, self.lengthscale, self.cutoff, self.cutoff_width, self.cutoff_function
        )

    def views(self, block: Block) -> list[View]:
        """The kinds of neighbourhood that `block` is about, with the images each one sees."""
        points = np.asarray(block.points, dtype=np.float64)
        if self.kind == "two_body":
            return [View(block.species, np.ascontiguousarray(points[:, None, :]))]
        if self.symmetry == "central":
            orders = [(0, 1, 2)]
            if block.species[1] == block.species[2]:
                orders.append((0, 2, 1))
            return [View(block.species, _permuted(points, orders))]
        found: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
        for order in permutations(range(3)):
            species = tuple(block.species[n] for n in order)
            if species[1] <= species[2]:
                found.setdefault(species, []).append(order)
        return [View(species, _permuted(points, orders)) for species, orders in found.items()]

    def covariance(self, block: Block) -> Array:
        """(n, n) covariance of V at the block's own points, unit variance, no cutoff factors."""
        view = next(v for v in self.views(block) if v.species == block.species)
        return self.settings.matrix(np.ascontiguousarray(block.points), view.images)

    def projected(
        self, grid: tuple[int, ...], core: Mapping[tuple[int, int], CorePair]
    ) -> FewBodyTerm:
        """The same term with its kernel projected on splines of `grid`; see the module.

        Cutoff factors and the fading below the data (`core`) are part of what is projected. Raises
        ValueError for a three_body term with a kernel that is no product over distances.
        """
        if self.kind == "two_body":
            knots = np.linspace(0.0, self.cutoff, grid[0] + 1)
            return replace(
                self,
                grid=grid,
                products={
                    (n, block.species): (
                        spline_coefficients(self.pair_values(block, knots, core), axes=1, fading=1),
                    )
                    for n, block in enumerate(self.blocks)
                },
            )
        if self.kernel != "squared_exponential":
            raise ValueError("three_body terms are projected with the squared exponential only")
        legs = np.linspace(0.0, self.cutoff, grid[0] + 1)
        base = np.linspace(0.0, 2.0 * self.cutoff, grid[1] + 1)

        def splines(knots: Array, factor: Array, centers: Array) -> Array:
            values = self._distances(knots, centers) * factor[:, None]
            # Only the legs end at a cutoff.
            return spline_coefficients(values, axes=1, fading=0 if knots is base else 1)

        products: dict[tuple[int, tuple[int, ...]], tuple[Array, ...]] = {}
        for number, block in enumerate(self.blocks):
            for view in self.views(block):
                factors = self.triplet_factors(view.species, core, legs, base)
                products[number, view.species] = tuple(
                    np.stack([splines(knots, factor, image) for image in view.images[:, :, d].T])
                    for d, (knots, factor) in enumerate(
                        zip((legs, legs, base), factors, strict=True)
                    )
                )
        return replace(self, grid=grid, products=products)

    def triplet_factors(
        self,
        species: tuple[int, ...],
        core: Mapping[tuple[int, int], CorePair],
        legs: Array,
        base: Array,
    ) -> tuple[Array, Array, Array]:
        """Cutoff and fading of r_ij, r_ik (at `legs`) and r_jk (at `base`), for (centre, j, k)."""
        c, a, b = species
        cut = self.settings.cutoff_values(legs)
        return (
            cut * fade(pair_core(core, c, a), legs),
            cut * fade(pair_core(core, c, b), legs),
            fade(pair_core(core, a, b), base),
        )

    def _distances(self, r: Array, centers: Array) -> Array:
        """(n, m) kernel between distances r (n,) and `centers` (m,), without cutoff factors."""
        return self.settings.matrix(
            np.ascontiguousarray(r[:, None]), np.ascontiguousarray(centers[:, None, None])
        )

    def pair_values(
        self, block: Block, r: Array, core: Mapping[tuple[int, int], CorePair]
    ) -> Array:
        """(n, points) a 2-body block's kernel functions with cutoff, at distances r (n,).

        Below the data the slope is faded out, not the value: the pair function levels off, and the
        repulsive core rises from there.
        """
        centers = block.points[:, 0]

        def whole(x: Array) -> Array:
            return self._distances(x, centers) * self.settings.cutoff_values(x)[:, None]

        pair = pair_core(core, *block.species)
        if pair is None:
            return whole(r)
        start = min(pair.fading, self.cutoff)
        # Fine enough for an integral exact to rounding; the slope is that of a spline through it.
        fine = np.linspace(pair.faded, start, 1001)
        faded = CubicSpline(fine, whole(fine)).derivative()(fine) * fade(pair, fine)[:, None]
        integral = CubicSpline(fine, faded).antiderivative()
        inside = (
            integral(np.clip(r, pair.faded, start)) - integral(start) + whole(np.array([start]))
        )
        return np.where((r < start)[:, None], inside, whole(r))

    def summary(self) -> dict[str, Any]:
        """See `Term.summary`."""
        return {
            "kernel": self.kernel,
            "lengthscale": self.lengthscale,
            "cutoff_width": self.cutoff_width,
        }

    @property
    def map_is_exact(self) -> bool:
        """See `Term.map_is_exact`: whether the fitted functions are splines already."""
        return self.grid is not None

    def add_rows(self, environment: Environment, rows: Array, start: int) -> None:
        """See `Term.add_rows`."""
        env, present = environment.core, environment.species
        for number, block in enumerate(self.blocks):
            add: Any
            if self.grid is not None:
                add = _core.add_splines if self.kind == "two_body" else _core.add_product
                for (owner, species), splines in self.products.items():
                    if owner == number and present.issuperset(species):
                        add(env, self.cutoff, *species, *splines, rows, start)
            else:
                for view in self.views(block):
                    if not present.issuperset(view.species):
                        continue
                    if self.kind == "two_body":
                        points = np.ascontiguousarray(view.images[:, 0, 0])
                        add = env.add_two_body
                        add(self.settings, *view.species, points, rows, start)
                    else:
                        add = env.add_three_body
                        add(self.settings, *view.species, view.images, rows, start)
            start += block.size


def _permuted(points: Array, orders: Sequence[tuple[int, ...]]) -> Array:
    """Distances (n, len(orders), 3) of triangles after their atoms are put into each order."""
    columns = [
        [_PAIR_OF[frozenset((o[p], o[q]))] for p, q in ((0, 1), (0, 2), (1, 2))] for o in orders
    ]
    return np.ascontiguousarray(points[:, np.array(columns)])
