"""Functions of the distances among three atoms, on the base of `distances`.

``symmetry: central`` keeps the central atom apart from its neighbours (r_jk may be as long as twice
the cutoff); ``full`` sums over all permutations of the three atoms, as in eq. 5.29 of the chapter
cited in `distances`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations_with_replacement, permutations
from typing import Any, ClassVar

import numpy as np
from forcemap.fitter.baseline.repulsion import fade, short_range
from forcemap.fitter.checked import choice, read_by
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.sharing.threads import in_order
from forcemap.fitter.solve.work import FLOAT
from forcemap.fitter.terms.base import (
    DISTANCE,
    Array,
    Block,
    MapPlan,
    Species,
    Survey,
    TermSettings,
    TermView,
)
from forcemap.fitter.terms.distances import (
    DistanceSettings,
    DistanceTerm,
    View,
    fineness,
    symbols_of,
)
from forcemap.fitter.terms.splines import spline_coefficients
from forcemap.fitter.terms.two_body import TwoBodySettings
from forcemap.potentials import _core
from forcemap.potentials.terms import ThreeBodySplines
from forcemap.potentials.terms.base import Tensor
from typing_extensions import override

__all__ = ["CUTOFF_WIDTH", "LENGTHSCALE", "ThreeBodySettings", "ThreeBodyTerm"]

LENGTHSCALE = 0.3
"""Default lengthscale, as a fraction of the cutoff (1.2 Å of 4.0 Å)."""

RESOLVED = 260
"""Number of triplets whose kernels cover the data at that lengthscale; more triplets resolve a shorter
one. Still shorter ones made structures unlike the data worse (dimers of indium in InP)."""

SHORTEST_LENGTHSCALE = 1.0 / 3.0
"""Smallest fraction of the default lengthscale for many triplets: the map's grid resolves it."""

CUTOFF_WIDTH = 0.5
"""Default cutoff_width, as a fraction of the cutoff."""

BASE_RATIO = 1.4
"""Spacing of the knots of r_jk over that of r_ij and r_ik in maps that are not exact."""

KERNELS_AT_ONCE = 2_000_000
"""Number of kernels that a thread holds for several columns of weights."""

# Place of a pair of atoms among the distances (12, 13, 23) of three atoms.
_PAIR_OF = {
    frozenset((0, 1)): 0,
    frozenset((0, 2)): 1,
    frozenset((1, 2)): 2,
}


@dataclass(frozen=True)
class ThreeBodySettings(DistanceSettings):
    """A function of the distances among three atoms.

    `symmetry`: "central" has one function per central species and pair of neighbours, symmetric
    under the exchange of the neighbours; "full" is symmetric under all permutations.
    """

    kind: ClassVar[str] = "three_body"
    fewest_points: ClassVar[int] = 100
    most_points: ClassVar[int] = 400

    cutoff: float = field(default=4.0, metadata=read_by(DISTANCE))
    """Å: longest distance from the central atom to each of the two others."""
    symmetry: str = field(default="central", metadata=read_by(choice("central", "full")))
    """Which exchanges of the three atoms leave the function as it is."""

    @classmethod
    @override
    def offered(cls) -> Mapping[str, tuple[TermSettings, ...]]:
        return {"2+3-body": (TwoBodySettings(), cls())}

    @override
    def open(self, survey: Survey) -> ThreeBodyTerm:
        blocks = len(_combinations(self.symmetry, survey.species))
        lengthscale = self.lengthscale or self._lengthscale(self.points_of_each(blocks))
        grid = None
        if self.kernel == "squared_exponential":
            grid = grid_of(self.cutoff, lengthscale, survey.tolerance)
        return ThreeBodyTerm(
            cutoff=self.cutoff,
            cutoff_width=min(self.cutoff_width or CUTOFF_WIDTH * self.cutoff, self.cutoff),
            kernel_name=self.kernel,
            lengthscale=lengthscale,
            delta=self.delta or 1.0,
            repulsion=survey.repulsion,
            grid=grid,
            symmetry=self.symmetry,
        )

    def _lengthscale(self, points: int) -> float:
        """A fraction of the cutoff, smaller for more triplets than RESOLVED.

        Triplets fill three dimensions: the distance between n of them falls as n^(-1/3).
        """
        resolved = float((RESOLVED / points) ** (1.0 / 3.0))
        return LENGTHSCALE * self.cutoff * min(1.0, max(SHORTEST_LENGTHSCALE, resolved))


def grid_of(cutoff: float, lengthscale: float, tolerance: float) -> tuple[int, int]:
    """Intervals of the grid for the projection of a term, finer for a smaller tolerance (eV/Å).

    Knots are 0.08 Å apart for distances from the centre at 1e-4 eV/Å, 0.16 Å for those between
    neighbours, and never coarser than the kernel needs. Up to 64 and 50 intervals fit into the
    processor's cache and into one table of ``pair_style uf3``; a smaller tolerance alone asks for more.
    """
    finer = fineness(tolerance)
    most = max(1.0, finer)
    legs = max(cutoff / 0.08 * finer, 8.0 * cutoff / lengthscale)
    base = max(2.0 * cutoff / 0.16 * finer, 10.0 * cutoff / lengthscale)
    return int(np.ceil(min(legs, 64.0 * most))), int(np.ceil(min(base, 50.0 * most)))


def _combinations(symmetry: str, species: Sequence[int]) -> list[Species]:
    if symmetry == "full":
        return list(combinations_with_replacement(sorted(species), 3))
    pairs = list(combinations_with_replacement(sorted(species), 2))
    return [(center, *pair) for center in sorted(species) for pair in pairs]


@dataclass(frozen=True, eq=False)
class ThreeBodyTerm(DistanceTerm):
    """A three-body term; `grid`: intervals of r_ij, r_ik over the cutoff, of r_jk over twice that."""

    kind: ClassVar[str] = "three_body"
    bodies: ClassVar[int] = 3
    dimension: ClassVar[int] = 3

    symmetry: str = "central"

    @override
    def combinations(self, species: Sequence[int]) -> list[Species]:
        return _combinations(self.symmetry, species)

    def candidates(self, structure: Structure) -> Mapping[Species, Array]:
        """The three distances of triangles; full symmetry counts each once, about any of its atoms."""
        near = structure.neighbors
        of_species = near.triangles if self.symmetry == "full" else near.triplets
        triangles = {
            (c, a, b): of_species(c, a, b, self.cutoff)
            for c, a, b in self.combinations(sorted(structure.species))
        }
        return {species: sides for species, sides in triangles.items() if len(sides)}

    @override
    def views(self, block: Block) -> list[View]:
        points = np.asarray(block.points, dtype=np.float64)
        if self.symmetry == "central":
            orders = [(0, 1, 2)]
            if block.species[1] == block.species[2]:
                orders.append((0, 2, 1))
            return [View(block.species, _permuted(points, orders))]
        orders_of: dict[Species, list[tuple[int, ...]]] = {}
        for order in permutations(range(3)):
            species = tuple(block.species[n] for n in order)
            if species[1] <= species[2]:
                orders_of.setdefault(species, []).append(order)
        return [View(species, _permuted(points, orders)) for species, orders in orders_of.items()]

    def factors(self, species: Species, legs: Array, base: Array) -> tuple[Array, Array, Array]:
        """Cutoff and fading of r_ij, r_ik (at `legs`) and r_jk (at `base`), for (centre, j, k)."""
        c, a, b = species
        cut = self.settings.cutoff_values(legs)
        return (
            cut * fade(short_range(self.repulsion, c, a), legs),
            cut * fade(short_range(self.repulsion, c, b), legs),
            fade(short_range(self.repulsion, a, b), base),
        )

    def knots(self, legs: int, base: int) -> tuple[Array, Array]:
        """Knots of r_ij, r_ik and of r_jk, Å, for these numbers of intervals."""
        return (
            np.linspace(0.0, self.cutoff, legs + 1),
            np.linspace(0.0, 2.0 * self.cutoff, base + 1),
        )

    @cached_property
    @override
    def products(self) -> Mapping[tuple[int, Species], tuple[Array, ...]]:
        assert self.grid is not None
        return self.splines(*self.knots(*self.grid))

    def splines(self, legs: Array, base: Array) -> dict[tuple[int, Species], tuple[Array, ...]]:
        """The kernel, a product over distances, projected on these knots; keys as in `products`."""

        def splines(knots: Array, factor: Array, centers: Array) -> Array:
            values = self.distances(knots, centers) * factor[:, None]
            # Only the legs end at a cutoff.
            return spline_coefficients(values, axes=1, fading=0 if knots is base else 1)

        products: dict[tuple[int, Species], tuple[Array, ...]] = {}
        for n, block in enumerate(self.blocks):
            for view in self.views(block):
                factors = self.factors(view.species, legs, base)
                products[n, view.species] = tuple(
                    np.stack([splines(knots, factor, image) for image in view.images[:, :, d].T])
                    for d, (knots, factor) in enumerate(
                        zip((legs, legs, base), factors, strict=True)
                    )
                )
        return products

    @override
    def add_projected(
        self,
        structure: Structure,
        view: Species,
        splines: tuple[Array, ...],
        rows: Array,
        start: int,
    ) -> None:
        _core.add_product(structure.neighbors, self.cutoff, view, splines, rows, start)

    @override
    def add_exact(self, structure: Structure, view: View, rows: Array, start: int) -> None:
        near = structure.neighbors
        near.add_three_body(self.settings, view.species, view.images, rows, start)

    # ---- the map

    def intervals(self, plan: MapPlan) -> tuple[int, int]:
        """Intervals of the map's tables: those of the projection, or by the plan's spacing.

        Draws follow the spacing, too, up to the grid on which they are exact.
        """
        legs = int(np.ceil(self.cutoff / plan.spacing))
        base = int(np.ceil(2.0 * self.cutoff / (plan.spacing * BASE_RATIO)))
        if self.grid is None:
            return legs, base
        if plan.draws and legs < self.grid[0] and base < self.grid[1]:
            return legs, base
        return self.grid[0], self.grid[1]

    @override
    def map_bytes(self, plan: MapPlan) -> int:
        if not plan.draws:
            return FLOAT * self._coefficients(plan)
        same, different = (
            ThreeBodySplines.drawn_bytes(*self.intervals(plan), is_same)
            for is_same in (True, False)
        )
        views = (view.species for block in self.blocks for view in self.views(block))
        return plan.draws * sum(same if a == b else different for _, a, b in views)

    @override
    def drawn_values(self, plan: MapPlan) -> float:
        """Those of whole tables, of which files hold a part."""
        return plan.draws * self._coefficients(plan)

    def _coefficients(self, plan: MapPlan) -> int:
        """Of all whole tables of one set of weights."""
        legs, base = self.intervals(plan)
        views = sum(len(self.views(block)) for block in self.blocks)
        return views * (legs + 3) ** 2 * (base + 3)

    @override
    def mapped(self, weights: Array, plan: MapPlan) -> ThreeBodySplines | None:
        if not self.blocks:
            return None
        legs, base = self.intervals(plan)
        knots = self.knots(legs, base)
        raw: Iterable[tuple[Species, Array]]
        if plan.draws and self.kernel_name == "squared_exponential":
            raw = self._product_tables(weights, knots)
        else:
            values = self._values(weights, knots, plan.jobs)
            raw = ((s, spline_coefficients(v, axes=3, fading=2)) for s, v in values.items())
        tables: dict[Any, Tensor] = {}
        for species, table in raw:
            same = species[1] == species[2]
            if same:
                table = 0.5 * (table + table.transpose(1, 0, 2, 3))
            columns = plan.columns(table)
            kept = ThreeBodySplines.drawn(columns, same) if plan.draws else columns
            tables[symbols_of(species)] = kept
        return ThreeBodySplines(self.cutoff, legs, base, tables)

    def _product_tables(
        self, weights: Array, knots: tuple[Array, Array]
    ) -> Iterator[tuple[Species, Array]]:
        """Tables (legs, legs, base, k) of a kernel that is a product over distances, one by one.

        All columns share the products of the legs' splines with the kernel.
        """
        parts = [some for _, some in self.block_weights(weights)]

        def table_of(splines: tuple[Array, ...], weights: Array) -> Array:
            # (knots, images and points), the points of each image one after the other.
            first, second, base = (s.transpose(1, 0, 2).reshape(s.shape[1], -1) for s in splines)
            some = np.tile(weights, (len(splines[0]), 1))
            right = (base.T[:, :, None] * some[:, None, :]).reshape(len(some), -1)
            table = np.stack([(one * second) @ right for one in first])
            return table.reshape(len(first), len(second), len(base), -1)

        products = self.splines(*knots)
        for species in dict.fromkeys(species for _, species in products):
            of_blocks = [(n, some) for (n, one), some in products.items() if one == species]
            table = table_of(of_blocks[0][1], parts[of_blocks[0][0]])
            for n, some in of_blocks[1:]:
                table += table_of(some, parts[n])
            yield species, table

    def _values(
        self, weights: Array, grids: tuple[Array, Array], jobs: int
    ) -> dict[Species, Array]:
        """Knot values (legs, legs, base, k) of every function."""
        tables: dict[Species, Array] = {}
        for block, some in self.block_weights(weights):
            for view in self.views(block):
                values = self._outer(view, some, grids, jobs)
                tables[view.species] = tables.get(view.species, 0.0) + values
        return tables

    def _outer(self, view: View, weights: Array, grids: tuple[Array, Array], jobs: int) -> Array:
        """Knot values (legs, legs, base, k) of one view of a block."""
        legs, base = grids
        factors = self.factors(view.species, legs, base)
        symmetric = view.species[1] == view.species[2]
        values = np.zeros((len(legs), len(legs), len(base), weights.shape[1]))
        # Where a factor is zero, so is the function; the rest is evaluated, half of it if symmetric.
        keep = [np.flatnonzero(f) for f in factors]
        first, second = (x.ravel() for x in np.meshgrid(keep[0], keep[1], indexing="ij"))
        if symmetric:
            half = first <= second
            first, second = first[half], second[half]
        if not len(first) or not len(keep[2]):
            return values
        scale = (factors[0][first] * factors[1][second])[:, None] * factors[2][keep[2]][None, :]
        sums = scale[:, :, None] * self._grid_sum(
            (legs[first], legs[second], base[keep[2]]), view.images, weights, jobs
        )
        values[first[:, None], second[:, None], keep[2][None, :]] = sums
        if symmetric:
            values[second[:, None], first[:, None], keep[2][None, :]] = sums
        return values

    def _grid_sum(
        self, points: tuple[Array, Array, Array], images: Array, weights: Array, jobs: int
    ) -> Array:
        """Sums of the kernel at (first[i], second[i], base[k]), (pairs, n, columns); `jobs` threads."""
        first, second, base = points
        settings = self.settings
        alone = np.ascontiguousarray(weights[:, 0]) if weights.shape[1] == 1 else None

        def part(rows: slice) -> Array:
            one, two = np.ascontiguousarray(first[rows]), np.ascontiguousarray(second[rows])
            if self.kernel_name == "squared_exponential" and alone is not None:
                return settings.grid(one, two, base, images, alone)[:, :, None]
            triangles = np.empty((len(one), len(base), 3))
            triangles[:, :, 0] = one[:, None]
            triangles[:, :, 1] = two[:, None]
            triangles[:, :, 2] = base[None, :]
            flat = triangles.reshape(-1, 3)
            if alone is not None:
                sums = settings.sum(flat, images, alone)
            else:
                sums = settings.matrix(flat, images) @ weights
            return np.asarray(sums).reshape(len(one), len(base), -1)

        step = 1024 if alone is not None else max(1, KERNELS_AT_ONCE // (len(base) * len(weights)))
        pieces = [slice(n, n + step) for n in range(0, len(first), step)]
        return np.concatenate(list(in_order(part, pieces, jobs)))

    # ---- the file

    @override
    def document(self) -> dict[str, Any]:
        return super().document() | {"symmetry": self.symmetry}

    @classmethod
    @override
    def read(cls, view: TermView) -> ThreeBodyTerm:
        cls._check_grid(view, 2)
        arguments = cls._fields(view)
        if arguments["grid"] and arguments["kernel_name"] != "squared_exponential":
            view.entry["grid"].reject("only the squared exponential has one in three_body terms")
        return cls(**arguments, symmetry=view.one_of("symmetry", "central", "full"))


def _permuted(points: Array, orders: Sequence[tuple[int, ...]]) -> Array:
    """Distances (n, len(orders), 3) of triangles after their atoms are put into each order."""
    columns = [
        [_PAIR_OF[frozenset((o[p], o[q]))] for p, q in ((0, 1), (0, 2), (1, 2))] for o in orders
    ]
    return np.ascontiguousarray(points[:, np.array(columns)])
