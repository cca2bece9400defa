"""The interface of all kinds of terms: settings, kernel between sparse points, rows, map.

A kind is one module beside this one: a class of settings (`TermSettings`) and a class of terms
(`Term`), entered in `kinds`. The rest of the program sees kinds only through this interface: it asks
the settings to `open` a term on a survey of the data, collects its `candidates` for sparse points,
chooses among them by its `kernel`, sums its rows (`add_rows`), maps it (`mapped`), and keeps it in a
file (`document`, `tensors`, `read`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar

import numpy as np
from forcemap.fitter.baseline.repulsion import Repulsion
from forcemap.fitter.checked import (
    Checked,
    CrossCheckError,
    Place,
    choice,
    integer,
    number,
    optional,
    plain,
    read_by,
    reader,
)
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.solve.cholesky import RANK_TOLERANCE
from forcemap.fitter.solve.work import FLOAT, Work
from forcemap.potentials.elements import SYMBOLS, atomic_number
from forcemap.potentials.errors import ForcemapError, ModelFileError
from forcemap.potentials.file.container import Container
from forcemap.potentials.file.document import DocumentView
from forcemap.potentials.quoting import quoted
from forcemap.potentials.terms.base import MappedTerm
from numpy.typing import NDArray

__all__ = [
    "LARGEST",
    "LENGTHSCALES",
    "SPARSE_METHODS",
    "Array",
    "Block",
    "Learnable",
    "Learned",
    "MapPlan",
    "Pool",
    "Size",
    "Species",
    "Survey",
    "Term",
    "TermSettings",
    "TermView",
    "element_of",
    "named",
    "positive",
    "tensor_name",
    "within",
]

Array = NDArray[np.float64]
Species: TypeAlias = tuple[int, ...]
LARGEST = 1e20
"""Largest number of a model's file, far beyond any fit; sums of fourth powers do not overflow."""

LENGTHSCALES = 1e-6, 1e6
"""Smallest and largest lengthscale, in Å or the unit of the kernel's argument."""

AnySettings = TypeVar("AnySettings", bound="TermSettings")
AnyTerm = TypeVar("AnyTerm", bound="Term")
Value = TypeVar("Value")

KERNEL_PASSES = 100
"""Doubles that are read in the time of one value of a kernel at a knot: 50 to 200 for three-body
kernels."""

DRAWN_SPACING = 0.5
"""Widest spacing of the knots of a map of draws, Å."""

DRAWN_FUNCTIONS = 48
"""Fewest functions that a map of draws keeps."""

SPARSE_METHODS = ("uniform", "random", "farthest", "cur", "pivoted_cholesky")

DISTANCE = number(above=0, at_most=100)
SIGMA = number(above=0, at_most=1e6)
SPARSE = integer(at_least=1, at_most=1_000_000)


def named(species: Species) -> str:
    """Symbols of a combination of species, ``O-H-H``."""
    return "-".join(SYMBOLS[z] for z in species)


# ---- the data, as a kind sees them -----------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Pool:
    """Candidates of one combination of species.

    Attributes:
        points: (n, dimension), in the order of the data.
        groups: (n,) config_type of each one's frame.
        keys: (n,) random numbers that decide which candidates are kept.
        lowest, largest: (dimension,) bounds of all candidates of the data, kept or not.
        count: number of all candidates, kept or not.
    """

    points: Array
    groups: NDArray[np.str_]
    keys: Array
    lowest: Array
    largest: Array
    count: int

    def scaled(self, factor: float) -> Pool:
        """The candidates times a positive factor."""
        return replace(
            self,
            points=self.points * factor,
            lowest=self.lowest * factor,
            largest=self.largest * factor,
        )

    def kept(self, most: int) -> Pool:
        """The candidates with the smallest keys, `most` of them at the most."""
        if len(self.keys) <= most:
            return self
        best = np.sort(np.argpartition(self.keys, most)[:most])
        return replace(
            self, points=self.points[best], groups=self.groups[best], keys=self.keys[best]
        )


class Learned(Protocol):
    """A term with some of the parameters of its descriptors, and slopes in them."""

    @property
    def term(self) -> Term:
        """With the sparse points that these parameters describe."""

    @property
    def outcome(self) -> Any:
        """What `TermSettings.open` finds in `Survey.learned`."""

    def energy_slopes(
        self, frames: Sequence[Frame], factors: Sequence[float], weights: Array
    ) -> Array:
        """(parameters,) slopes of sum_f factors[f] E(frames[f]) at fixed weights of the points."""

    def covariance_slopes(self, left: Array, right: Array) -> Array:
        """(parameters,) slopes of left . K right, K the covariance of the sparse points."""


class Learnable(Protocol):
    """What a term can learn from the data: parameters of its descriptors."""

    @property
    def count(self) -> int:
        """Number of parameters."""

    @property
    def start(self) -> Array:
        """(parameters,) those of a term that has not learned."""

    def at(self, parameters: Array) -> Learned:
        """The term with some parameters."""

    def held(self, parameters: Array) -> Array:
        """The nearest parameters that no environment, near the data or far, makes much of."""


class Survey(Protocol):
    """The data as a kind sees them before anything is fitted; implemented in `process.survey`."""

    @property
    def frames(self) -> Sequence[Frame]:
        """The training frames."""

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers that appear, increasing."""

    @property
    def tolerance(self) -> float:
        """Tolerance of the map, eV/Å."""

    @property
    def repulsion(self) -> Repulsion:
        """Where the data end, by pair of species; empty without a repulsion."""

    @property
    def learned(self) -> Mapping[str, Any]:
        """What terms have learned (`choice.learning`), by their settings as text."""

    def once(self, key: str, make: Callable[[], Value]) -> Value:
        """The result of `make`, computed at the first call with this key."""

    def chosen(self, term: AnyTerm, method: str, count: int) -> AnyTerm:
        """The term with `count` sparse points of each combination of species, by `method`."""


# ---- settings ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Size:
    """Factors by which a size of fit (``--sizes``) scales the settings.

    Attributes:
        points: factor of the numbers of sparse points.
        radial: factor of the numbers of radial functions.
        angular: factor of the largest angular number.
    """

    points: float
    radial: float
    angular: float

    @staticmethod
    def times(count: int, factor: float, least: int) -> int:
        """`count` times `factor`, rounded; not below `least` unless `count` is."""
        return max(min(count, least), round(count * factor))


@reader(
    lambda: {
        "anyOf": [{"type": "boolean"}, {"type": "array", "items": {"type": "string"}}],
    }
)
def _optimise(value: Any, place: Place) -> bool | tuple[str, ...]:
    if isinstance(value, bool):
        return value
    if isinstance(value, list | tuple) and all(isinstance(name, str) for name in value):
        return tuple(dict.fromkeys(value))
    place.fail(f"{quoted(value)} is not true, false, or names such as [lengthscale, delta]")


@dataclass(frozen=True)
class TermSettings(Checked):
    """Settings that every kind of term has; None leaves the choice to the fit."""

    kind: ClassVar[str]
    default_method: ClassVar[str] = "pivoted_cholesky"
    """Method by which sparse points are chosen without a `sparse_method`."""
    is_flexible: ClassVar[bool] = False
    """Whether its functions can follow labels far from the data without following the data less."""
    few_atoms: ClassVar[bool] = False
    """Whether its functions depend on few atoms, so that forces alone determine them by integration."""
    continuous: ClassVar[tuple[str, ...]] = ()
    """Positive settings on which rows and covariances depend smoothly: `Term.hyperparameters`."""
    whole: ClassVar[Mapping[str, tuple[int, int]]] = {}
    """Integer settings of the kernel, each with the smallest and the largest value to try."""

    cutoff: float | None = field(default=None, metadata=read_by(optional(DISTANCE)))  # Å
    """Å: distance beyond which atoms do not see each other."""
    n_sparse: Any = field(default=None, metadata=read_by(optional(SPARSE)))
    """Number of sparse points."""
    delta: float | None = field(default=None, metadata=read_by(optional(SIGMA)))  # eV
    """eV: standard deviation of the term's local energies in the prior; by default from evidence."""
    sparse_method: str | None = field(
        default=None, metadata=read_by(optional(choice(*SPARSE_METHODS)))
    )
    """How the sparse points are chosen among the data."""
    cutoff_width: float | None = field(default=None, metadata=read_by(optional(DISTANCE)))  # Å
    """Å: width of the smooth step to zero before the cutoff."""
    optimise: bool | tuple[str, ...] = field(default=False, metadata=read_by(_optimise))
    """Whether evidence chooses this term's hyperparameters: true, false, or their names."""

    def cross_check(self) -> None:
        """Raise CrossCheckError for a too wide transition or unknown names to optimise."""
        known = (*self.continuous, *self.whole, "delta")
        if isinstance(self.optimise, tuple):
            for name in self.optimise:
                if name not in known:
                    raise CrossCheckError(
                        "optimise", f"{quoted(name)} is not one of {', '.join(known)}"
                    )
        if (
            self.cutoff_width is not None
            and self.cutoff is not None
            and self.cutoff_width > self.cutoff
        ):
            fault = f"{self.cutoff_width:g} Å is wider than the cutoff, {self.cutoff:g} Å"
            raise CrossCheckError("cutoff_width", fault)

    def to_dict(self) -> dict[str, Any]:
        """The term's entry in a settings file, `kind` first."""
        return {"kind": self.kind} | {f.name: plain(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def offered(cls) -> Mapping[str, tuple[TermSettings, ...]]:
        """Terms that ``forcemap select`` compares by default, by name."""
        return {}

    @classmethod
    def quick(cls: type[AnySettings], survey: Survey) -> AnySettings | None:
        """The small term with a cutoff by which data are examined; None for kinds without a part."""
        return None

    # Methods that the fit calls:

    @property
    def widened(self) -> TermSettings | None:
        """The settings of the term that this one learns its descriptors from; None: it does not."""
        return None

    def learnable(self, wide: Term) -> Learnable:
        """What this term can learn; `wide` is the term of `widened`."""
        raise NotImplementedError

    def alternatives(self: AnySettings, survey: Survey) -> Sequence[tuple[TermSettings, ...]]:
        """Alternatives for the evidence to choose from, in place of this term; by default itself."""
        return [(self,)]

    @abstractmethod
    def open(self, survey: Survey) -> Term:
        """The term without sparse points, its hyperparameters resolved from the data and defaults."""

    @abstractmethod
    def points_wanted(self, species: Species, candidates: int, blocks: int) -> int:
        """Sparse points to choose for a combination of species.

        Args:
            species: the combination.
            candidates: number of its candidates in the data.
            blocks: number of combinations of species that the term has functions for.
        """

    def points_given(self, species: Species) -> int | None:
        """Number of sparse points that the settings state; None if they leave it to the fit."""
        return None if self.n_sparse is None else int(self.n_sparse)

    @property
    def quotas(self) -> Mapping[str, int]:
        """Numbers of sparse points to be taken from each config_type."""
        return {}

    def resized(self: AnySettings, size: Size) -> AnySettings:
        """The settings in another size; by default only a stated number of sparse points changes."""
        if self.n_sparse is None:
            return self
        return replace(self, n_sparse=Size.times(self.n_sparse, size.points, 8))

    def small(self: AnySettings, points: int) -> AnySettings:
        """The settings with at most `points` sparse points for each combination of species."""
        return replace(self, n_sparse=min(points, self.n_sparse or points))

    def for_trial(self: AnySettings, points: int) -> AnySettings:
        """The settings for the small fits whose evidence decides between alternatives."""
        return self


# ---- terms ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Block:
    """Sparse points of one combination of species.

    Attributes:
        species: atomic numbers; (centre,) of constants and environments; (a, b) with a <= b;
            (centre, a, b) with a <= b if the symmetry is central, all three sorted if it is full.
        points: (n, dimension) arguments of the kernel: distances in Å, or
            descriptors of environments.
    """

    species: Species
    points: Array

    @property
    def size(self) -> int:
        """Number of sparse points."""
        return len(self.points)


@dataclass(frozen=True)
class MapPlan:
    """Resolution of a term's map, and the structures for which the map must be accurate.

    Attributes:
        frames: structures that rank the parts of a map by importance.
        jobs: threads.
        spacing: distance of the knots of maps that are not exact, Å.
        part: fraction of the functions kept by a map that may leave some out, (0, 1].
        draws: number of draws mapped together, as the columns of the weights; 0: the mean alone.
        functions: number of functions kept by a map of draws that may leave some out.
        exact: whether draws are to be sums over all sparse points, of terms that can be.
    """

    frames: Sequence[Frame] = ()
    jobs: int = 1
    spacing: float = 0.12
    part: float = 1.0
    draws: int = 0
    functions: int = DRAWN_FUNCTIONS
    exact: bool = False
    cache: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def of_draws(self, count: int) -> MapPlan:
        """The plan for `count` draws of the same terms, at the coarsest resolution to begin with."""
        return replace(
            self, draws=count, spacing=DRAWN_SPACING, functions=DRAWN_FUNCTIONS, part=1.0
        )

    def finer(self, excess: float) -> MapPlan:
        """The next finer plan for draws whose error is `excess` (> 1) times the tolerance."""
        # Slopes of a cubic spline converge with the third power of the spacing, faster at first.
        closer = min(max((0.7 / excess) ** (1.0 / 3.5), 0.2), 0.9)
        # The error of forms falls tenfold with every 30 functions or so.
        more = 1.5 if excess > 4.0 else 1.25
        return replace(
            self, spacing=self.spacing * closer, functions=int(np.ceil(self.functions * more))
        )

    def columns(self, table: Array) -> Array:
        """A table (..., k) over the columns of the weights, in the layout of a mapped term.

        Draws become (k, ...); the mean, which is the only column, becomes (...).
        """
        return np.ascontiguousarray(np.moveaxis(table, -1, 0) if self.draws else table[..., 0])

    def once(self, key: Any, make: Callable[[], Value]) -> Value:
        """The result of `make`, kept for other resolutions of the same plan."""
        if key not in self.cache:
            self.cache[key] = make()
        value: Value = self.cache[key]
        return value


class Term(ABC):
    """One kind of many-body function with its kernel and its sparse points; immutable.

    Attributes:
        kind: its name in settings and files.
        cutoff: Å.
        delta: prior standard deviation, eV.
        blocks: sparse points by combination of species.
    """

    kind: ClassVar[str]
    bodies: ClassVar[int] = 1
    """Number of atoms in a combination of species."""
    sees_angles: ClassVar[bool] = True
    """Whether it depends on more than the distances between an atom and its neighbours."""
    has_map: ClassVar[bool] = True
    """Whether it can be mapped at all, exactly or not."""
    is_slow: ClassVar[bool] = False
    """Whether its process is so slow that the map is judged on some of the frames only."""
    rank_tolerance: ClassVar[float] = RANK_TOLERANCE
    """Relative residual variance below which a sparse point counts as a repeat."""

    cutoff: float
    delta: float
    blocks: tuple[Block, ...]

    # ---- sparse points

    @abstractmethod
    def combinations(self, species: Sequence[int]) -> list[Species]:
        """Combinations of the elements `species` that the term has a function for."""

    @abstractmethod
    def candidates(self, structure: Structure) -> Mapping[Species, Array]:
        """Arguments of the kernel in a structure, (n, dimension), by combination of species."""

    def fitted_to(
        self: AnyTerm, pools: Mapping[Species, Pool]
    ) -> tuple[AnyTerm, Mapping[Species, Pool]]:
        """The term with what only the candidates of all data resolve, and the candidates in its new
        units; by default both are unchanged."""
        return self, pools

    def interval(self, pool: Pool) -> tuple[float, float]:
        """Interval over which the method ``uniform`` spreads sparse points of one dimension."""
        return float(pool.lowest[0]), float(pool.largest[0])

    @abstractmethod
    def kernel(self, species: Species, a: Array, b: Array) -> Array:
        """(n, m) covariance of function values at a (n, dimension) and b (m, dimension).

        Unit variance, without cutoff factors.
        """

    def diagonal(self, species: Species, a: Array) -> Array:
        """(n,) prior variances of function values at a (n, dimension): the diagonal of `kernel`."""
        step = 64
        parts = [
            np.diag(self.kernel(species, a[start : start + step], a[start : start + step]))
            for start in range(0, len(a), step)
        ]
        return np.concatenate([np.zeros(0), *parts])

    def features(self, species: Species, points: Array) -> Array | None:
        """(n, d) feature vectors for CUR; None: the rows of the kernel matrix."""
        return None

    def reference(self, structure: Structure, species: Species) -> Array | None:
        """(dimension,) kernel argument of an isolated atom, if energies count from its value."""
        return None

    def covariance(self, block: Block) -> Array:
        """(n, n) covariance of the block's own points, unit variance."""
        return self.kernel(block.species, block.points, block.points)

    # ---- hyperparameters

    points_follow: ClassVar[bool] = False
    """Whether the sparse points are environments of the data, whose descriptors change with the
    hyperparameters; otherwise they are distances, which stay."""

    def hyperparameters(self) -> dict[str, float]:
        """Values of the `continuous` settings by name; fields of the term, unless overridden."""
        return {}

    def at(self: AnyTerm, values: Mapping[str, float]) -> AnyTerm:
        """The term with other values of some hyperparameters; grids and all else stay as they are.

        The numbers of the sparse points stay; where `points_follow`, the caller replaces them
        (`followed`). Rows and covariances have to be smooth in the values, since they are
        differentiated numerically.
        """
        return replace(self, **values)  # type: ignore[type-var]

    def followed(self: AnyTerm, blocks: Sequence[Block]) -> AnyTerm:
        """The term with new descriptors of its sparse points after `at`; by default `with_blocks`."""
        return self.with_blocks(blocks)

    # ---- rows

    @abstractmethod
    def add_rows(self, structure: Structure, rows: Array, start: int) -> None:
        """Add covariances of a frame's labels with all sparse points to columns `start` and on.

        `rows` (see `rows.RowLayout`): energy, forces, dE/d(strain); unit variance.
        """

    def atom_energies(self, weights: Array) -> Mapping[int, Array]:
        """The term's part of the energies of isolated atoms, (k,) eV, for weights (m, k)."""
        return {}

    # ---- map

    @property
    def map_is_exact(self) -> bool:
        """Whether its map is exact, so that no resolution has to be chosen."""
        return True

    def may_leave_out(self, choice: str | None) -> bool:
        """Whether its map may drop functions within the tolerance; `choice` is ``map: soap:``."""
        return False

    def map_bytes(self, plan: MapPlan) -> int:
        """Memory of the map of all draws of the plan, or of the mean if the plan has none.

        The value may be 0 for the mean if it does not depend on the plan's resolution, and for both if
        the map is small.
        """
        return 0

    def drawn_values(self, plan: MapPlan) -> float:
        """Numbers that are computed for the map of the draws of the plan; by default those it keeps."""
        return self.map_bytes(plan) / FLOAT

    def drawn_work(self, plan: MapPlan) -> Work:
        """Order of magnitude of the algebra of mapping the draws of the plan.

        By default each of the `drawn_values` is a sum over the sparse points of a block, whose kernel
        is evaluated once for all draws.
        """
        values = self.drawn_values(plan) * self.size / max(len(self.blocks), 1)
        return Work(products=2.0 * values, passes=KERNEL_PASSES * values / max(plan.draws, 1))

    def map_work(self, sizes: Mapping[Species, int], atoms: int) -> Work:
        """Algebra of making the map of `sizes` sparse points, on frames of `atoms` atoms.

        The predictions that the map is compared with are not included; small amounts count as none.
        """
        return Work()

    @abstractmethod
    def mapped(self, weights: Array, plan: MapPlan) -> MappedTerm | None:
        """The term of a potential, linear in the weights; None if there is nothing to map.

        `weights` (m, k), eV, belong to the unit-variance kernel columns: one column for the mean, or
        one for each of `plan.draws`, which share one mapped term (`plan.columns`).
        """

    # ---- files and people

    @abstractmethod
    def document(self) -> dict[str, Any]:
        """The term's entries in the file of a model beside kind, cutoff, delta and blocks."""

    def tensors(self) -> dict[str, Array]:
        """Arrays in the file of a model beside the sparse points, by name."""
        return {}

    @classmethod
    @abstractmethod
    def read(cls: type[AnyTerm], view: TermView) -> AnyTerm:
        """The term in a file. Raises ModelFileError if it cannot be used."""

    def summary(self) -> dict[str, Any]:
        """Hyperparameters for the report, beside cutoff and delta."""
        return {}

    # ---- shared by all kinds

    @property
    def size(self) -> int:
        """Number of sparse points in all blocks."""
        return sum(block.size for block in self.blocks)

    def with_blocks(self: AnyTerm, blocks: Sequence[Block]) -> AnyTerm:
        """The same term with other sparse points."""
        return replace(self, blocks=tuple(blocks))  # type: ignore[type-var]

    @property
    def known_to(self) -> float:
        """Largest delta, eV, whatever the evidence says of others and the noise; infinite for none."""
        return float("inf")

    def with_delta(self: AnyTerm, delta: float) -> AnyTerm:
        """The same term with another prior standard deviation."""
        return replace(self, delta=delta)  # type: ignore[type-var]

    def block_weights(self, weights: Array) -> list[tuple[Block, Array]]:
        """Each block with its rows of the term's weights (m, ...)."""
        parts, start = [], 0
        for block in self.blocks:
            parts.append((block, weights[start : start + block.size]))
            start += block.size
        return parts


# ---- files ---------------------------------------------------------------------------------------


def tensor_name(name: str, number: int) -> str:
    """Name that the tensor `name` of the term at place `number` has in a model file."""
    first, *rest = name.split(".")
    return ".".join([first, str(number), *rest])


@dataclass(frozen=True)
class TermView:
    """A term in the file of a model, for reading with checks.

    Attributes:
        entry: its document.
        number: its place among the terms.
        container: the file.
        species: atomic numbers of the model.
        repulsion: the model's repulsion.
    """

    entry: DocumentView
    number: int
    container: Container
    species: tuple[int, ...]
    repulsion: Repulsion

    def one_of(self, name: str, *words: str) -> str:
        """The entry `name`, one of `words`."""
        word = self.entry[name].string()
        if word not in words:
            self.entry[name].reject(f"found {quoted(word)}, expected one of {', '.join(words)}")
        return word

    @property
    def cutoff(self) -> float:
        """The cutoff, Å."""
        return self.entry["cutoff"].number()

    @property
    def delta(self) -> float:
        """The prior standard deviation, eV, above 0."""
        return positive(self.entry["delta"])

    def element(self, view: DocumentView) -> int:
        """Atomic number of a symbol of one of the model's elements."""
        return element_of(view, self.species)

    def by_element(self, view: DocumentView) -> dict[int, float]:
        """Numbers by element, which may be one that the model does not have."""
        numbers = {}
        for symbol in view.members():
            if symbol not in SYMBOLS[1:]:
                view.reject(f"found {quoted(symbol)}, expected elements")
            numbers[atomic_number(symbol)] = view[symbol].number()
        return numbers

    def blocks(
        self,
        bodies: int,
        dimension_of: Callable[[Species], int],
        entry: str = "blocks",
        prefix: str = "points",
    ) -> tuple[Block, ...]:
        """Blocks listed under `entry`, of combinations of `bodies` species."""
        blocks = []
        for b, names in enumerate(self.entry[entry]):
            combination = tuple(self.element(s) for s in names)
            if len(combination) != bodies:
                names.reject(f"found {len(combination)} species, expected {bodies}")
            blocks.append(
                Block(combination, self.tensor(f"{prefix}.{b}", dimension_of(combination)))
            )
        return tuple(blocks)

    def tensor(self, name: str, *rest: int) -> Array:
        """A tensor of the term: its first dimension is arbitrary, the others are `rest`."""
        name = tensor_name(name, self.number)
        stored = self.container.tensors.get(name)
        first = len(stored) if stored is not None and stored.ndim == len(rest) + 1 else 0
        return self.container.tensor(name, (first, *rest))


def within(view: DocumentView, smallest: float, largest: float) -> float:
    """A number of a file in [smallest, largest]."""
    value = view.number()
    if not smallest <= value <= largest:
        view.reject(f"found {value}, expected a number from {smallest:g} to {largest:g}")
    return value


def positive(view: DocumentView) -> float:
    """A number of a file above 0 that is not extreme."""
    value = view.number()
    if not value > 0.0:
        view.reject(f"found {value}, expected a number above 0")
    return within(view, 1.0 / LARGEST, LARGEST)


def element_of(view: DocumentView, known: tuple[int, ...] | None = None) -> int:
    """Atomic number of a symbol, which has to be among the elements `known`, if these are given."""
    try:
        number_ = atomic_number(view.string())
    except ModelFileError:
        raise
    except ForcemapError as error:
        view.reject(str(error))
    if known is not None and number_ not in known:
        view.reject(f"found {SYMBOLS[number_]}, which is not among the model's species")
    return number_
