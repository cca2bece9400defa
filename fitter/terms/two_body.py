"""Functions of the distance of two atoms, one for each pair of species, on the base of `distances`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations_with_replacement
from typing import Any, ClassVar

import numpy as np
from forcemap.fitter.baseline.repulsion import fade, short_range
from forcemap.fitter.checked import read_by
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.terms.base import (
    DISTANCE,
    Array,
    Block,
    MapPlan,
    Pool,
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
from forcemap.potentials import _core
from forcemap.potentials.terms import TwoBodySplines
from scipy.interpolate import CubicSpline
from typing_extensions import override

__all__ = ["CUTOFF_WIDTH", "TwoBodySettings", "TwoBodyTerm"]

LENGTHSCALE = 0.15
"""Default lengthscale, as a fraction of the cutoff (0.8 Å of 5.5 Å)."""

CUTOFF_WIDTH = 0.35
"""Default cutoff_width, as a fraction of the cutoff."""


@dataclass(frozen=True)
class TwoBodySettings(DistanceSettings):
    """A function of the distance of two atoms, one per pair of species."""

    kind: ClassVar[str] = "two_body"
    default_method: ClassVar[str] = "uniform"
    fewest_points: ClassVar[int] = 40
    most_points: ClassVar[int] = 40

    cutoff: float = field(default=5.5, metadata=read_by(DISTANCE))
    """Å: distance beyond which atoms do not see each other."""

    @classmethod
    @override
    def offered(cls) -> Mapping[str, tuple[TermSettings, ...]]:
        return {"2-body": (cls(),)}

    @classmethod
    @override
    def quick(cls, survey: Survey) -> TwoBodySettings:
        return cls(n_sparse=12)

    @override
    def open(self, survey: Survey) -> TwoBodyTerm:
        lengthscale = self.lengthscale or LENGTHSCALE * self.cutoff
        return TwoBodyTerm(
            cutoff=self.cutoff,
            cutoff_width=min(self.cutoff_width or CUTOFF_WIDTH * self.cutoff, self.cutoff),
            kernel_name=self.kernel,
            lengthscale=lengthscale,
            delta=self.delta or 1.0,
            repulsion=survey.repulsion,
            grid=grid_of(self.cutoff, lengthscale, survey.tolerance),
        )


def grid_of(cutoff: float, lengthscale: float, tolerance: float) -> tuple[int]:
    """Intervals of the grid for the projection of a term, finer for a smaller tolerance (eV/Å).

    Knots are 0.08 Å apart at 1e-4 eV/Å, and never coarser than the kernel needs. Up to 50 intervals
    fit into the processor's cache and into one table of ``pair_style uf3``; a smaller
    tolerance alone asks for more.
    """
    finer = fineness(tolerance)
    legs = max(cutoff / 0.08 * finer, 8.0 * cutoff / lengthscale)
    return (int(np.ceil(min(legs, 50.0 * max(1.0, finer)))),)


@dataclass(frozen=True, eq=False)
class TwoBodyTerm(DistanceTerm):
    """A two-body term; `grid`: intervals over the cutoff."""

    kind: ClassVar[str] = "two_body"
    bodies: ClassVar[int] = 2
    sees_angles: ClassVar[bool] = False
    dimension: ClassVar[int] = 1

    @override
    def combinations(self, species: Sequence[int]) -> list[Species]:
        return list(combinations_with_replacement(sorted(species), 2))

    def candidates(self, structure: Structure) -> Mapping[Species, Array]:
        """Distances by pair of species, (n, 1), Å."""
        distances: dict[Species, Array] = {}
        for a, b in self.combinations(sorted(structure.species)):
            r = structure.neighbors.distances(a, b, self.cutoff)
            if len(r):
                distances[a, b] = r[:, None]
        return distances

    def interval(self, pool: Pool) -> tuple[float, float]:
        """From the shortest distance to the cutoff, however far the data reach."""
        return float(pool.points.min()), self.cutoff

    @override
    def views(self, block: Block) -> list[View]:
        points = np.asarray(block.points, dtype=np.float64)
        return [View(block.species, np.ascontiguousarray(points[:, None, :]))]

    def pair_values(self, block: Block, r: Array) -> Array:
        """(n, points) kernel functions of a block with the cutoff, at distances r (n,).

        Below the data the slope is faded out, not the value: the pair function levels off, and the
        repulsion rises from there.
        """
        centers = block.points[:, 0]

        def whole(x: Array) -> Array:
            return self.distances(x, centers) * self.settings.cutoff_values(x)[:, None]

        pair = short_range(self.repulsion, *block.species)
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

    @cached_property
    @override
    def products(self) -> Mapping[tuple[int, Species], tuple[Array, ...]]:
        assert self.grid is not None
        knots = np.linspace(0.0, self.cutoff, self.grid[0] + 1)
        return {
            (n, block.species): (
                spline_coefficients(self.pair_values(block, knots), axes=1, fading=1),
            )
            for n, block in enumerate(self.blocks)
        }

    @override
    def add_projected(
        self,
        structure: Structure,
        view: Species,
        splines: tuple[Array, ...],
        rows: Array,
        start: int,
    ) -> None:
        (values,) = splines
        _core.add_splines(structure.neighbors, self.cutoff, view, values, rows, start)

    @override
    def add_exact(self, structure: Structure, view: View, rows: Array, start: int) -> None:
        points = np.ascontiguousarray(view.images[:, 0, 0])
        structure.neighbors.add_two_body(self.settings, view.species, points, rows, start)

    # ---- the map and the file

    def intervals(self, plan: MapPlan) -> int:
        """Intervals of the map's tables: those of the projection, or by the plan's spacing.

        A draw's table is small enough to be exact where the mean's is.
        """
        return self.grid[0] if self.grid else int(np.ceil(4.0 * self.cutoff / plan.spacing))

    @override
    def map_bytes(self, plan: MapPlan) -> int:
        return 8 * max(plan.draws, 1) * len(self.blocks) * (self.intervals(plan) + 3)

    @override
    def mapped(self, weights: Array, plan: MapPlan) -> TwoBodySplines | None:
        if not self.blocks:
            return None
        intervals = self.intervals(plan)
        knots = np.linspace(0.0, self.cutoff, intervals + 1)
        tables: dict[Any, Array] = {
            symbols_of(block.species): plan.columns(
                spline_coefficients(self.pair_values(block, knots) @ some, axes=1, fading=1)
            )
            for block, some in self.block_weights(weights)
        }
        return TwoBodySplines(self.cutoff, intervals, tables)

    @classmethod
    @override
    def read(cls, view: TermView) -> TwoBodyTerm:
        cls._check_grid(view, 1)
        return cls(**cls._fields(view))
