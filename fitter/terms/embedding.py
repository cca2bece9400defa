"""Embedding terms: functions of the density of the neighbours at an atom.

As in the embedded-atom method (Daw and Baskes, Phys. Rev. B 29, 6443 (1984), DOI
10.1103/PhysRevB.29.6443) the local energy of atom i is a function of a sum over its neighbours, with a
Gaussian-process prior of variance ``delta**2`` on V (as in tabGAP: Byggmästar, Nordlund and
Djurabekova, Phys. Rev. B 104, 104101 (2021), DOI 10.1103/PhysRevB.104.104101)::

    e_i = V(rho_i) - V(0),    rho_i = sum_j phi(r_ij)

with one V for each species of centre. The density functions phi are chosen, not learned::

    polynomial     phi = s w (1 - r / cutoff)**exponent
    exponential    phi = s w exp(-decay r) f_c(r)

The weight w belongs to the neighbour's element. The scale s belongs to the centre's and makes 1 the
largest density in the data, which is the unit of the lengthscale. Below the shortest distances of the
data phi levels off, as pair functions do, so that no embedding force stands against the core.

The kernel is *projected* like those of the few-body terms (described in `distances`): V is a cubic
spline on a uniform grid of densities, and phi one of distances, so that the map loses nothing. The grid
ends a little beyond the data; there V turns into a straight line. Its slope is that of V at the median
density of the data: a linear embedding energy is one of pairs, phi times the slope, and these pairs and
the 2-body term are known best together where most data are. The slope at the largest density is known
badly; a line with that slope had metals collapse when compressed a tenth beyond the data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
from forcemap.fitter.baseline.repulsion import Repulsion, ShortRange, fade, short_range
from forcemap.fitter.checked import (
    ELEMENTS,
    CrossCheckError,
    Place,
    choice,
    element,
    mapping,
    number,
    optional,
    read_by,
    reader,
)
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.terms.base import (
    DISTANCE,
    LARGEST,
    SPARSE,
    Array,
    Block,
    MapPlan,
    Pool,
    Species,
    Survey,
    Term,
    TermSettings,
    TermView,
)
from forcemap.fitter.terms.distances import KERNELS, MOST_INTERVALS
from forcemap.fitter.terms.splines import open_spline_coefficients, spline_coefficients
from forcemap.fitter.terms.two_body import CUTOFF_WIDTH, TwoBodySettings
from forcemap.potentials import _core
from forcemap.potentials.elements import SYMBOLS, atomic_number
from forcemap.potentials.quoting import quoted
from forcemap.potentials.terms import EmbeddingCenter, EmbeddingFunctions
from scipy.interpolate import CubicSpline
from typing_extensions import override

__all__ = ["TOP", "Density", "EmbeddingSettings", "EmbeddingTerm"]

TOP = 1.1
"""Where the grid of densities ends; the largest density of the data is 1."""

DENSITIES = ("polynomial", "exponential")
DENSITY_INTERVALS = 60

EXPONENT = 6.0
"""Default exponent of the polynomial density; the best at 5.5 Å are 4 to 6 (bcc Mo) and 8 (fcc Ni)."""

DECAY = 2.0
"""Default decay of the exponential density, 1/Å."""

LENGTHSCALE = 0.3
"""Default lengthscale, as a fraction of the range of densities in the data."""

OPEN = float("inf")
"""Placeholder of a lengthscale that `EmbeddingTerm.fitted_to` determines."""

_WEIGHT = number(at_least=0, at_most=100)


@reader(
    lambda: {
        "type": ["object", "null"],
        "propertyNames": ELEMENTS,
        "additionalProperties": _WEIGHT.schema(),
    }
)
def _weights(value: Any, place: Place) -> dict[str, float]:
    entries = mapping({} if value is None else value, place, "Al: 0.6")
    return {element(s, place.key(s)): float(_WEIGHT(w, place.key(s))) for s, w in entries.items()}


@dataclass(frozen=True)
class EmbeddingSettings(TermSettings):
    """A function of the density of the neighbours, one for each species of centre.

    `density`: "polynomial", weight (1 - r / cutoff)^exponent, or "exponential", weight
    exp(-decay r) with a transition to zero over `cutoff_width`. `weights` of the neighbours'
    elements are 1 by default. The `lengthscale` is in units of the largest density in the
    data.
    """

    kind: ClassVar[str] = "embedding"
    default_method: ClassVar[str] = "uniform"
    continuous: ClassVar[tuple[str, ...]] = ("lengthscale",)

    cutoff: float = field(default=5.5, metadata=read_by(DISTANCE))
    """Å: distance beyond which a neighbour adds nothing to the density."""
    n_sparse: int = field(default=20, metadata=read_by(SPARSE))  # per species of centre
    """Number of sparse points for each species of the centre."""
    lengthscale: float | None = field(
        default=None, metadata=read_by(optional(number(at_least=0.01, at_most=100)))
    )
    """Change of the density over which the function changes; 1 is the largest density of the data."""
    kernel: str = field(default="squared_exponential", metadata=read_by(choice(*KERNELS)))
    """Covariance of the function at two densities."""
    density: str = field(default="polynomial", metadata=read_by(choice(*DENSITIES)))
    """Shape of a neighbour's density."""
    exponent: float | None = field(
        default=None, metadata=read_by(optional(number(at_least=2, at_most=30)))
    )
    """Exponent of the polynomial density; by default 6."""
    decay: float | None = field(
        default=None, metadata=read_by(optional(number(above=0, at_most=20)))
    )  # 1/Å
    """1/Å: decay of the exponential density; by default 2."""
    weights: Mapping[str, float] = field(default_factory=dict, metadata=read_by(_weights))
    """Weights of the elements in the density; by default 1."""

    def cross_check(self) -> None:
        """Raise CrossCheckError for parameters of the other density."""
        super().cross_check()
        if self.sparse_method not in (None, "uniform"):
            raise CrossCheckError("sparse_method", "is always uniform in embedding terms")
        others = ("decay", "cutoff_width") if self.density == "polynomial" else ("exponent",)
        for other in others:
            if getattr(self, other) is not None:
                raise CrossCheckError(other, f"is not a parameter of the {self.density} density")

    @classmethod
    @override
    def offered(cls) -> Mapping[str, tuple[TermSettings, ...]]:
        return {"2-body + embedding": (TwoBodySettings(), cls())}

    @override
    def open(self, survey: Survey) -> EmbeddingTerm:
        density = Density(
            kind=self.density,
            exponent=self.exponent or EXPONENT,
            decay=self.decay or DECAY,
            cutoff=self.cutoff,
            cutoff_width=min(self.cutoff_width or CUTOFF_WIDTH * self.cutoff, self.cutoff),
            weights={atomic_number(symbol): weight for symbol, weight in self.weights.items()},
        )
        return EmbeddingTerm(
            density,
            survey.species,
            *({}, {}, self.kernel, self.lengthscale or OPEN, (DENSITY_INTERVALS, 1)),
            delta=self.delta or 1.0,
            repulsion=survey.repulsion,
        )

    @override
    def points_wanted(self, species: Species, candidates: int, blocks: int) -> int:
        return self.n_sparse

    def resized(self, size: Any) -> EmbeddingSettings:
        """The same settings: the term costs next to nothing at any size."""
        return self


@dataclass(frozen=True)
class Density:
    """The shape of density functions.

    Attributes:
        kind: polynomial or exponential.
        exponent: exponent of the polynomial.
        decay: decay of the exponential, 1/Å.
        cutoff: Å.
        cutoff_width: width of the exponential's transition, Å.
        weights: weights of neighbours by atomic number; 1 by default.
        smooth_end: whether two derivatives of the spline vanish at the cutoff, or only one, as in older
            files without this entry.
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
        # Relative to the cutoff, so that no decay overflows or vanishes; the scale absorbs the rest.
        return np.asarray(
            np.exp(self.decay * self.cutoff * (x - 1.0))
            * settings.cutoff_values(np.ascontiguousarray(r))
        )

    def coefficients(self, pair: ShortRange | None, intervals: int) -> Array:
        """(intervals + 3,) spline of the shape over [0, cutoff]; constant below the data."""
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
    """Tables for the core, of one species of centre.

    Attributes:
        densities: (neighbour species, intervals + 3) splines of phi.
        functions: (intervals + 3, points) splines of the kernel.
    """

    densities: Array
    functions: Array


@dataclass(frozen=True, eq=False)
class EmbeddingTerm(Term):
    """An embedding term with its sparse points, which are densities, for each species of centre.

    Attributes:
        density: the density of which V is a function.
        numbers: atomic numbers that may be neighbours, increasing.
        scales: s by species of centre.
        middles: median density of the data by species of centre, in units of the largest.
        kernel_name, lengthscale: kernel of V; its lengthscale in units of the largest density.
        grid: numbers of intervals of phi and of V.
        repulsion: where the data end; phi levels off below.
    """

    kind: ClassVar[str] = "embedding"
    sees_angles: ClassVar[bool] = False

    density: Density
    numbers: tuple[int, ...]
    scales: Mapping[int, float]
    middles: Mapping[int, float]
    kernel_name: str
    lengthscale: float
    grid: tuple[int, int]
    delta: float = 1.0
    blocks: tuple[Block, ...] = ()
    repulsion: Repulsion = field(default_factory=dict)

    @property
    def cutoff(self) -> float:  # type: ignore[override]
        """Cutoff of the density, Å."""
        return self.density.cutoff

    @override
    def summary(self) -> dict[str, Any]:
        shape: dict[str, Any] = {"density": self.density.kind}
        if self.density.kind == "polynomial":
            shape |= {"exponent": self.density.exponent}
        else:
            shape |= {"decay": self.density.decay, "cutoff_width": self.density.cutoff_width}
        return shape | {"kernel": self.kernel_name, "lengthscale": self.lengthscale}

    def __getstate__(self) -> dict[str, Any]:
        """State for other processes, without the splines that each computes for itself."""
        return {name: value for name, value in vars(self).items() if name != "splines"}

    def hyperparameters(self) -> dict[str, float]:
        """The lengthscale, in units of the largest density."""
        return {"lengthscale": self.lengthscale}

    # ---- sparse points

    @override
    def combinations(self, species: Sequence[int]) -> list[Species]:
        return [(z,) for z in sorted(species)]

    def candidates(self, structure: Structure) -> Mapping[Species, Array]:
        """Densities at atoms that have neighbours."""
        by_species: dict[Species, Array] = {}
        for center in sorted(structure.species):
            densities = self.densities_at(structure, center, self.all_densities[center])
            by_species[center,] = densities[densities > 0.0][:, None]
        return by_species

    @cached_property
    def all_densities(self) -> dict[int, Array]:
        """The splines `densities_of` every species."""
        return {z: self.densities_of(z) for z in self.numbers}

    def fitted_to(
        self, pools: Mapping[Species, Pool]
    ) -> tuple[EmbeddingTerm, Mapping[Species, Pool]]:
        """The term and its candidates in units of the largest density of the data."""
        scaled = {
            species: pool.scaled(1.0 / float(pool.largest[0])) for species, pool in pools.items()
        }
        widest = max((1.0 - float(pool.lowest[0]) for pool in scaled.values()), default=1.0)
        lengthscale = self.lengthscale
        if lengthscale == OPEN:
            lengthscale = max(LENGTHSCALE * widest, 0.02)
        intervals = int(np.ceil(max(50.0, min(8.0 * TOP / lengthscale, 1000.0))))
        term = replace(
            self,
            scales={z: 1.0 / float(pool.largest[0]) for (z,), pool in pools.items()},
            middles={z: float(np.median(pool.points)) for (z,), pool in scaled.items()},
            lengthscale=lengthscale,
            grid=(self.grid[0], intervals),
        )
        return term, scaled

    @override
    def interval(self, pool: Pool) -> tuple[float, float]:
        return float(pool.lowest[0]), 1.0

    @override
    def kernel(self, species: Species, a: Array, b: Array) -> Array:
        return self._kernel(a[:, 0], b[:, 0])[0]

    def reference(self, structure: Structure, species: Species) -> Array:
        """The density of an isolated atom, 0."""
        return np.zeros(1)

    def _kernel(self, x: Array, points: Array) -> tuple[Array, Array]:
        """(n, m) kernel of densities x (n,) and points (m,), and its derivative by x."""
        d = (x[:, None] - points) / self.lengthscale
        if self.kernel_name == "squared_exponential":
            k = np.exp(-0.5 * d**2)
            return k, -d / self.lengthscale * k
        u = np.sqrt(5.0) * np.abs(d)
        e = np.exp(-u)
        return (1.0 + u + u**2 / 3.0) * e, -(5.0 / 3.0) * d * (1.0 + u) * e / self.lengthscale

    def functions(self, x: Array, points: Array, middle: float) -> Array:
        """(n, m) kernel between V(x) - V(0) and V(points).

        Beyond x = 1 the slope goes over to that at `middle`, which it reaches at x = TOP.
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

    @cached_property
    def splines(self) -> Mapping[int, Splines]:
        """Splines by species of centre; phi levels off below the data."""
        knots = np.linspace(0.0, TOP, self.grid[1] + 1)
        return {
            block.species[0]: Splines(
                self.densities_of(block.species[0]),
                open_spline_coefficients(
                    self.functions(
                        knots, block.points[:, 0], self.middles.get(block.species[0], 1.0)
                    )
                ),
            )
            for block in self.blocks
        }

    def densities_of(self, center: int) -> Array:
        """(neighbour species, intervals + 3) splines of phi about one species."""
        return np.stack(
            [
                self.scales.get(center, 1.0)
                * self.density.weights.get(z, 1.0)
                * self.density.coefficients(short_range(self.repulsion, center, z), self.grid[0])
                for z in self.numbers
            ]
        )

    def densities_at(self, structure: Structure, center: int, densities: Array) -> Array:
        """(atoms,) densities at the atoms of one species, from the splines about it."""
        return np.asarray(
            _core.densities(structure.neighbors, self._density_splines(densities), center)
        )

    def _density_splines(self, densities: Array) -> _core.DensitySplines:
        numbers = np.array(self.numbers, dtype=np.int32)
        return _core.DensitySplines(self.cutoff, numbers, densities)

    @override
    def add_rows(self, structure: Structure, rows: Array, start: int) -> None:
        for block in self.blocks:
            center = block.species[0]
            if center in structure.species and block.size:
                densities, functions = self.splines[center]
                density = self._density_splines(densities)
                near = structure.neighbors
                _core.add_embedding(near, density, center, TOP, functions, rows, start)
            start += block.size

    # ---- the map and the file

    @override
    def map_bytes(self, plan: MapPlan) -> int:
        numbers = len(self.numbers) * (self.grid[0] + 3) + max(plan.draws, 1) * (self.grid[1] + 3)
        return 8 * len(self.blocks) * numbers

    def mapped(self, weights: Array, plan: MapPlan) -> EmbeddingFunctions | None:
        """The embedding functions, which are splines already."""
        if not self.blocks:
            return None
        densities: dict[tuple[str, str], Array] = {}
        centers: dict[str, EmbeddingCenter] = {}
        for block, some in self.block_weights(weights):
            center = SYMBOLS[block.species[0]]
            splines = self.splines[block.species[0]]
            centers[center] = EmbeddingCenter(TOP, plan.columns(splines.functions @ some))
            for z, table in zip(self.numbers, splines.densities, strict=True):
                densities[center, SYMBOLS[z]] = table
        return EmbeddingFunctions(self.cutoff, self.grid[0], densities, centers)

    @override
    def document(self) -> dict[str, Any]:
        density = asdict(self.density)
        density["weights"] = {SYMBOLS[z]: w for z, w in self.density.weights.items()}
        return {
            "kernel": self.kernel_name,
            "lengthscale": self.lengthscale,
            "grid": list(self.grid),
            "density": density,
            "scales": {SYMBOLS[z]: scale for z, scale in self.scales.items()},
            "middles": {SYMBOLS[z]: middle for z, middle in self.middles.items()},
        }

    @classmethod
    @override
    def read(cls, view: TermView) -> EmbeddingTerm:
        entry = view.entry
        density = _read_density(view)
        grid = [size.integer(4, MOST_INTERVALS) for size in entry["grid"]]
        if len(grid) != 2:
            entry["grid"].reject(f"found {len(grid)} sizes, expected 2")
        lengthscale = entry["lengthscale"].number()
        scales, middles = view.by_element(entry["scales"]), view.by_element(entry["middles"])
        if not (1e-3 <= lengthscale <= 1e3 and all(0.0 < s <= LARGEST for s in scales.values())):
            entry.reject("lengthscale and scales must be positive and not extreme")
        if not all(0.0 <= m <= 1.0 for m in middles.values()):
            entry["middles"].reject("found a density that is not between 0 and 1")
        blocks = view.blocks(1, lambda species: 1)
        if len({block.species for block in blocks}) != len(blocks):
            entry["blocks"].reject("found a species twice")
        if not all(np.all((block.points >= 0.0) & (block.points <= TOP)) for block in blocks):
            entry["blocks"].reject(f"found a density that is not between 0 and {TOP:g}")
        return cls(
            *(density, view.species, scales, middles, view.one_of("kernel", *KERNELS)),
            *(lengthscale, (grid[0], grid[1]), view.delta, blocks, view.repulsion),
        )


def _read_density(view: TermView) -> Density:
    entry = view.entry["density"]
    entry.allow_only(*(spec.name for spec in fields(Density)))
    shape = entry["kind"].string()
    if shape not in DENSITIES:
        entry["kind"].reject(f"found {quoted(shape)}, expected polynomial or exponential")
    density = Density(
        shape,
        exponent=entry["exponent"].number(),
        decay=entry["decay"].number(),
        cutoff=entry["cutoff"].number(),
        cutoff_width=entry["cutoff_width"].number(),
        weights=view.by_element(entry["weights"]),
        smooth_end="smooth_end" in entry and entry["smooth_end"].boolean(),
    )
    if not (
        0.0 < density.cutoff_width <= density.cutoff <= 100.0
        and density.cutoff == view.cutoff
        and 1.0 <= density.exponent <= 100.0
        and 0.0 < density.decay <= 100.0
    ):
        entry.reject("cutoff, cutoff_width, exponent and decay must be positive and consistent")
    if not all(0.0 <= w <= 1e3 for w in density.weights.values()):
        entry["weights"].reject("found a weight that is not between 0 and 1000")
    return density


def _fade_out(x: Array) -> Array:
    """1 at x <= 1, 0 at x >= TOP, with two continuous derivatives."""
    t = np.clip((x - 1.0) / (TOP - 1.0), 0.0, 1.0)
    return np.asarray(1.0 - t**3 * (10.0 - t * (15.0 - 6.0 * t)))
