"""Embedding terms: functions of the density of the neighbours at an atom.

As in the embedded-atom method (Daw and Baskes, Phys. Rev. B 29, 6443 (1984)) the local energy of atom i
is a function of a sum over its neighbours, with a Gaussian-process prior of variance ``delta**2`` on V
(as in tabGAP: Byggmästar, Nordlund and Djurabekova, Phys. Rev. B 104, 104101 (2021))::

    e_i = V(rho_i) - V(0),    rho_i = sum_j phi(r_ij)

with one V for each species of centre. The density functions phi are given, not learned::

    polynomial     phi = s w (1 - r / cutoff)**exponent
    exponential    phi = s w exp(-decay r) f_c(r)

w is a weight of the neighbour's element, and s, of the centre's, makes 1 the largest density in the
data: the lengthscale is in that unit. Below the shortest distances of the data phi levels off, as
pair functions do, so that no embedding force stands against the core.

The kernel is *projected*, as those of the few-body terms (see `few_body`): V is a cubic spline on a
uniform grid of densities, and phi one of distances, so that the map loses nothing. The grid ends a
little beyond the data; there V turns into a straight line. Its slope is that of V at the median
density of the data: a linear embedding energy is one of pairs, phi times the slope, and these pairs and
the 2-body term are known best together where most data are. The slope at the largest density is known
badly; a line with that slope had metals collapse when compressed a tenth beyond the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from forcemap.fitter.process import Block, Environment, Term
from forcemap.fitter.short_range import CorePair, fade, pair_core
from forcemap.fitter.splines import open_spline_coefficients, spline_coefficients
from forcemap.potentials import _core
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

__all__ = ["TOP", "Density", "EmbeddingTerm"]

Array = NDArray[np.float64]

TOP = 1.1
"""Where the grid of densities ends; the largest density of the data is 1."""


@dataclass(frozen=True)
class Density:
    """The shape of density functions.

    Attributes:
        kind: polynomial or exponential.
        exponent: of the polynomial.
        decay: of the exponential, 1/Å.
        cutoff: Å.
        cutoff_width: of the exponential, Å.
        weights: of neighbours by atomic number; 1 where none is given.
        smooth_end: whether the spline of the function ends at the cutoff with two derivatives that are
            zero, or with one only, as in files from before there was the choice.
    """

    kind: str
    exponent: float
    decay: float
    cutoff: float
    cutoff_width: float
    weights: Mapping[int, float] = field(default_factory=dict)
    smooth_end: bool = True

    def shape(self, r: Array) -> Array:
        """The function at distances r (n,), without weight and scale."""
        x = np.clip(1.0 - r / self.cutoff, 0.0, None)
        if self.kind == "polynomial":
            return np.asarray(x**self.exponent)
        settings = _core.KernelSettings(
            "squared_exponential", 1.0, self.cutoff, self.cutoff_width, "quintic"
        )
        # From the cutoff, so that no decay overflows or vanishes; the scale takes care of the rest.
        return np.asarray(
            np.exp(self.decay * self.cutoff * (x - 1.0))
            * settings.cutoff_values(np.ascontiguousarray(r))
        )

    def coefficients(self, pair: CorePair | None, intervals: int) -> Array:
        """(intervals + 3,) spline of the shape over [0, cutoff]; level below the data."""
        knots = np.linspace(0.0, self.cutoff, intervals + 1)
        values = self.shape(knots)
        if pair is not None:
            start = min(pair.fading, self.cutoff)
            fine = np.linspace(pair.faded, start, 1001)
            slope = CubicSpline(fine, self.shape(fine)).derivative()(fine) * fade(pair, fine)
            integral = CubicSpline(fine, slope).antiderivative()
            inside = integral(np.clip(knots, pair.faded, start)) - integral(start)
            values = np.where(knots < start, inside + self.shape(np.array([start])), values)
        return spline_coefficients(values, fading=1 if self.smooth_end else 0)


class Splines(NamedTuple):
    """What the core needs of one species of centre.

    Attributes:
        densities: (neighbour species, intervals + 3) of phi.
        functions: (intervals + 3, points) of the kernel.
    """

    densities: Array
    functions: Array


@dataclass(frozen=True, eq=False)
class EmbeddingTerm(Term):
    """An embedding term with its sparse points, densities, for each species of centre.

    Attributes:
        density: of which V is a function.
        numbers: atomic numbers that may be neighbours, increasing.
        scales: s by species of centre.
        middles: median density of the data by species of centre, in units of the largest.
        kernel, lengthscale: of V; in units of the largest density.
        grid: intervals of phi and of V.
        splines: by species of centre; filled by `projected`.
    """

    density: Density
    numbers: tuple[int, ...]
    scales: Mapping[int, float]
    middles: Mapping[int, float]
    kernel: str
    lengthscale: float
    grid: tuple[int, int]
    delta: float = 1.0
    blocks: tuple[Block, ...] = ()
    kind: str = "embedding"
    splines: Mapping[int, Splines] = field(default_factory=dict, repr=False)

    @property
    def cutoff(self) -> float:  # type: ignore[override]
        """Of the density, Å."""
        return self.density.cutoff

    def summary(self) -> dict[str, Any]:
        """See `Term.summary`."""
        shape: dict[str, Any] = {"density": self.density.kind}
        if self.density.kind == "polynomial":
            shape |= {"exponent": self.density.exponent}
        else:
            shape |= {"decay": self.density.decay, "cutoff_width": self.density.cutoff_width}
        return shape | {"kernel": self.kernel, "lengthscale": self.lengthscale}

    def covariance(self, block: Block) -> Array:
        """See `Term.covariance`."""
        return self._kernel(block.points[:, 0], block.points[:, 0])[0]

    def _kernel(self, x: Array, points: Array) -> tuple[Array, Array]:
        """(n, m) kernel of densities x (n,) and points (m,), and its derivative by x."""
        d = (x[:, None] - points) / self.lengthscale
        if self.kernel == "squared_exponential":
            k = np.exp(-0.5 * d**2)
            return k, -d / self.lengthscale * k
        u = np.sqrt(5.0) * np.abs(d)
        e = np.exp(-u)
        return (1.0 + u + u**2 / 3.0) * e, -(5.0 / 3.0) * d * (1.0 + u) * e / self.lengthscale

    def functions(self, x: Array, points: Array, middle: float) -> Array:
        """(n, m) kernel between V(x) - V(0) and V(points).

        From x = 1 on the slope goes over to that at `middle`, which it is for x >= TOP.
        """
        origin = self._kernel(np.zeros(1), points)[0]
        value = self._kernel(np.ones(1), points)[0]
        last = self._kernel(np.array([middle]), points)[1]
        fine = np.linspace(1.0, TOP, 1001)
        kept = _fade_out(fine)[:, None]
        slope = CubicSpline(fine, kept * self._kernel(fine, points)[1] + (1.0 - kept) * last)
        beyond = np.maximum(x - TOP, 0.0)[:, None]
        outside = value + slope.antiderivative()(np.clip(x, 1.0, TOP)) + last * beyond
        return np.where((x <= 1.0)[:, None], self._kernel(x, points)[0], outside) - origin

    def projected(self, core: Mapping[tuple[int, int], CorePair]) -> EmbeddingTerm:
        """The same term with its splines made; phi levels off below the data (`core`)."""
        knots = np.linspace(0.0, TOP, self.grid[1] + 1)
        splines = {
            block.species[0]: Splines(
                self.densities_of(block.species[0], core),
                open_spline_coefficients(
                    self.functions(
                        knots, block.points[:, 0], self.middles.get(block.species[0], 1.0)
                    )
                ),
            )
            for block in self.blocks
        }
        return replace(self, splines=splines)

    def densities_of(self, center: int, core: Mapping[tuple[int, int], CorePair]) -> Array:
        """(neighbour species, intervals + 3) splines of phi about one species."""
        return np.stack(
            [
                self.scales.get(center, 1.0)
                * self.density.weights.get(z, 1.0)
                * self.density.coefficients(pair_core(core, center, z), self.grid[0])
                for z in self.numbers
            ]
        )

    def densities_at(self, environment: Environment, center: int, densities: Array) -> Array:
        """(atoms,) densities at the atoms of one species, given the splines about it."""
        numbers = np.array(self.numbers, dtype=np.int32)
        return np.asarray(
            _core.densities(environment.core, self.cutoff, center, numbers, densities)
        )

    def add_rows(self, environment: Environment, rows: Array, start: int) -> None:
        """See `Term.add_rows`."""
        numbers = np.array(self.numbers, dtype=np.int32)
        for block in self.blocks:
            center = block.species[0]
            if center in environment.species and block.size:
                densities, functions = self.splines[center]
                _core.add_embedding(
                    *(environment.core, self.cutoff, center, numbers, densities),
                    *(TOP, functions, rows, start),
                )
            start += block.size


def _fade_out(x: Array) -> Array:
    """1 at x <= 1, 0 at x >= TOP, with two derivatives."""
    t = np.clip((x - 1.0) / (TOP - 1.0), 0.0, 1.0)
    return np.asarray(1.0 - t**3 * (10.0 - t * (15.0 - 6.0 * t)))
