"""From settings and frames to the terms of a process: hyperparameters and sparse points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from forcemap.fitter.config import (
    EmbeddingSettings,
    EnvironmentSettings,
    FewBodySettings,
    NBodySettings,
    Settings,
    SoapSettings,
    TermSettings,
)
from forcemap.fitter.embedding import TOP, Density, EmbeddingTerm
from forcemap.fitter.environment_terms import (
    Comparison,
    DotPower,
    EnvironmentTerm,
    SquaredExponential,
)
from forcemap.fitter.few_body import FewBodyTerm
from forcemap.fitter.frame import Frame
from forcemap.fitter.nbody import NBodyTerm
from forcemap.fitter.process import Block, OneBodyTerm, Term
from forcemap.fitter.radial_basis import RadialBasis, tabulate
from forcemap.fitter.scales import SINGLE
from forcemap.fitter.short_range import CorePair
from forcemap.fitter.soap import SoapTerm, species_weights
from forcemap.fitter.sparse_points import (
    Pool,
    candidates,
    combinations_of,
    density_ranges,
    descriptor_pools,
    independent,
    select,
    select_descriptors,
    shortest_distances,
)
from forcemap.fitter.species_channels import channels_of, learned_similarity
from forcemap.potentials.elements import SYMBOLS, atomic_number
from forcemap.potentials.errors import ForcemapError
from numpy.typing import NDArray

__all__ = [
    "build_terms",
    "dropped_points",
    "few_body_points",
    "grid_of",
    "nothing_to_fit",
    "points_of",
    "widest_cutoff",
]

Array = NDArray[np.float64]

LENGTHSCALE = {"two_body": 0.15, "three_body": 0.3}
"""Where no lengthscale is given, this part of the cutoff (0.8 Å of 5.5 Å, 1.2 Å of 4.0 Å)."""

RESOLVED = 260
"""Triplets whose kernels of that lengthscale cover the data; more of them resolve a shorter one. With
shorter ones, structures unlike the data came out worse (dimers of indium in InP)."""

SHORTEST_LENGTHSCALE = 1.0 / 3.0
"""Of the lengthscale of RESOLVED triplets, however many there are: the map's grid resolves it."""

FEW_BODY_POINTS = {"two_body": (40, 40), "three_body": (100, 400)}
"""Fewest and most sparse points of a combination of species where no number is given."""

MOST_POINTS_OF_ALL = 4000
"""Of a term, all its species together: the time of a fit grows with the square of their number."""

CUTOFF_WIDTH = {"two_body": 0.35, "three_body": 0.5}
"""Where no cutoff_width is given, this part of the cutoff."""

SPARSE_METHOD = {"two_body": "uniform", "three_body": "pivoted_cholesky"}

DISTANCE_LENGTHSCALE = 1.0
"""Where it is not given, this times the root mean square distance of the data's descriptors."""

ONE_BODY_DELTA = 10.0
"""eV; so wide that the data alone decide the constants."""

Advance = Callable[..., None]


def build_terms(
    settings: Settings,
    frames: Sequence[Frame],
    species: tuple[int, ...],
    core: Mapping[tuple[int, int], CorePair],
    advance: Advance,
) -> tuple[list[Term], list[Array]]:
    """All terms with their sparse points, and the Cholesky factor of every block's covariance.

    With ``e0: average`` a constant of each species is fitted together with the terms: the mean energy
    of the data is not the energy from which sums of few-body functions count.
    """
    terms: list[Term] = []
    factors: list[Array] = []
    for given in settings.terms:
        rng = np.random.default_rng(settings.seed)
        term, found = _build(given, settings, frames, species, core, rng)
        terms.append(term)
        factors.extend(found)
        advance()
    if settings.e0 == "average":
        constants = OneBodyTerm.of(species, ONE_BODY_DELTA)
        terms.append(constants)
        factors.extend(np.eye(1) for _ in constants.blocks)
    return terms, factors


def _build(
    given: TermSettings,
    settings: Settings,
    frames: Sequence[Frame],
    species: tuple[int, ...],
    core: Mapping[tuple[int, int], CorePair],
    rng: np.random.Generator,
) -> tuple[Term, list[Array]]:
    if isinstance(given, FewBodySettings):
        return _few_body(given, settings, frames, species, core, rng)
    if isinstance(given, SoapSettings):
        return _soap(given, frames, species, core, rng)
    if isinstance(given, EmbeddingSettings):
        return _embedding(given, frames, species, core, rng)
    if isinstance(given, NBodySettings):
        return _nbody(given, frames, species, rng)
    raise TypeError(f"no term is known for {type(given).__name__}")


def _independent_blocks(
    term: Term, points: Mapping[tuple[int, ...], Array]
) -> tuple[list[Block], list[Array]]:
    """Blocks of the points that do not repeat others, by combination of species, and their factors."""
    found = [independent(term, some, combination) for combination, some in points.items()]
    return [block for block, _ in found], [factor for _, factor in found]


def widest_cutoff(settings: Settings) -> float:
    """Largest cutoff of all terms, Å."""
    return max(term.cutoff or 0.0 for term in settings.terms)


def nothing_to_fit(settings: Settings, frames: Sequence[Frame]) -> ForcemapError:
    """The error of terms that no atoms of the frames reach, with the distances at which they are."""
    found = shortest_distances(frames, FAR).values()
    where = f"is {min(found):.3g} Å" if found else f"is more than {FAR:g} Å"
    return ForcemapError(
        f"there is nothing to fit: the largest cutoff of the terms is {widest_cutoff(settings):g} Å, "
        f"the shortest distance of two atoms of the training frames {where}; cutoffs and positions "
        "are meant in Å, and weights must not be 0"
    )


FAR = 15.0
"""Å; how far to look for two atoms to tell of."""


# ---- two and three bodies ------------------------------------------------------------------------


def _few_body(
    given: FewBodySettings,
    settings: Settings,
    frames: Sequence[Frame],
    species: tuple[int, ...],
    core: Mapping[tuple[int, int], CorePair],
    rng: np.random.Generator,
) -> tuple[Term, list[Array]]:
    n_sparse = few_body_points(given, species)
    term = _open_few_body(given, n_sparse)
    pools = candidates(frames, term, species, rng)
    method = given.sparse_method or SPARSE_METHOD[given.kind]
    blocks, factors = _independent_blocks(
        term,
        {
            combination: select(term, pool, combination, n_sparse, method, rng)
            for combination, pool in pools.items()
        },
    )
    term = term.with_blocks(blocks)
    if term.kind == "two_body" or term.kernel == "squared_exponential":
        term = term.projected(grid_of(term, settings.map.tolerance), core)
    return term, factors


def few_body_points(given: FewBodySettings, species: Sequence[int]) -> int:
    """Sparse points to choose for every combination of species in a term.

    As given, or fewer for many elements, so that a fit stays short.
    """
    if given.n_sparse is not None:
        return given.n_sparse
    symmetry = getattr(given, "symmetry", "central")
    n_combinations = len(combinations_of(given.kind, symmetry, species))
    fewest, most = FEW_BODY_POINTS[given.kind]
    number = max(fewest, min(most, MOST_POINTS_OF_ALL // n_combinations))
    return max(1, round(number * given.n_sparse_factor))


def _lengthscale(given: FewBodySettings, n_sparse: int) -> float:
    """As given, or a part of the cutoff, less for more triplets than RESOLVED.

    Triplets fill three dimensions: the distance between n of them falls as n^(-1/3).
    """
    if given.lengthscale is not None:
        return given.lengthscale
    widest = LENGTHSCALE[given.kind] * given.cutoff
    if given.kind == "two_body":
        return widest
    resolved = float((RESOLVED / n_sparse) ** (1.0 / 3.0))
    return widest * min(1.0, max(SHORTEST_LENGTHSCALE, resolved))


def _open_few_body(given: FewBodySettings, n_sparse: int) -> FewBodyTerm:
    """The term of `given` before its points are chosen; what is not given takes its default."""
    return FewBodyTerm(
        kind=given.kind,
        cutoff=given.cutoff,
        cutoff_width=min(
            given.cutoff_width or CUTOFF_WIDTH[given.kind] * given.cutoff, given.cutoff
        ),
        kernel=given.kernel,
        lengthscale=_lengthscale(given, n_sparse),
        delta=given.delta or 1.0,
        symmetry=getattr(given, "symmetry", "central"),
    )


def grid_of(term: FewBodyTerm, tolerance: float) -> tuple[int, ...]:
    """Intervals of the grid that a term is projected on, finer for a smaller tolerance.

    Distances from the centre 0.08 Å apart at 1e-4 eV/Å, those between neighbours 0.16 Å, and never
    coarser than the kernel asks for. Up to 50 or 64 intervals, which stay in the processor's cache and
    in one table of ``pair_style uf3``; beyond that only for a smaller tolerance.
    """
    fineness = (1e-4 / tolerance) ** (1.0 / 6.0)
    most = max(1.0, fineness)
    legs = max(term.cutoff / 0.08 * fineness, 8.0 * term.cutoff / term.lengthscale)
    if term.kind == "two_body":
        return (int(np.ceil(min(legs, 50.0 * most))),)
    base = max(2.0 * term.cutoff / 0.16 * fineness, 10.0 * term.cutoff / term.lengthscale)
    return int(np.ceil(min(legs, 64.0 * most))), int(np.ceil(min(base, 50.0 * most)))


# ---- SOAP ------------------------------------------------------------------------------------------

ENVIRONMENT_METHOD = "cur"
"""Points that represent the data; those of largest remaining variance (pivoted Cholesky) are the odd
ones, and energies of unknown surfaces came out worse with them (Mo), forces alike."""

ENVIRONMENTS_PER_POINT = 6
LEAST_POINTS, MOST_POINTS = 200, 2000
"""Sparse points of a species of centre where no number is given."""


def _soap(
    given: SoapSettings,
    frames: Sequence[Frame],
    species: tuple[int, ...],
    core: Mapping[tuple[int, int], CorePair],
    rng: np.random.Generator,
) -> tuple[Term, list[Array]]:
    term = _open_soap(given, frames, species, core)
    blocks, factors = _environment_blocks(given, term, descriptor_pools(frames, term, rng), rng)
    return term.with_blocks(blocks), factors


def _environment_blocks(
    given: EnvironmentSettings,
    term: EnvironmentTerm,
    pools: Mapping[int, Pool],
    rng: np.random.Generator,
) -> tuple[list[Block], list[Array]]:
    """Sparse points chosen from the pools, and the Cholesky factors of their covariances."""
    method = given.sparse_method or ENVIRONMENT_METHOD
    points: dict[tuple[int, ...], Array] = {}
    for center, pool in pools.items():
        count = points_of(given, center, len(pool.descriptors), len(pools))
        quotas = given.config_type_n_sparse
        points[center,] = select_descriptors(term, pool, count, method, quotas, rng)
    return _independent_blocks(term, points)


def dropped_points(settings: Settings, terms: Sequence[Term]) -> list[str]:
    """A line for every block with fewer sparse points than the settings ask for."""
    lines = []
    for given, term in zip(settings.terms, terms, strict=False):
        for block in term.blocks:
            asked = given.n_sparse
            if isinstance(asked, Mapping):
                asked = asked.get(SYMBOLS[block.species[0]])
            if asked is not None and block.size < asked:
                name = "-".join(SYMBOLS[z] for z in block.species)
                lines.append(
                    f"{term.kind} {name}: {block.size} of {asked} sparse points; the data hold no "
                    "more, or the others repeat these"
                )
    return lines


def points_of(
    given: EnvironmentSettings, center: int, candidates_found: int, centers: int = 1
) -> int:
    """Sparse points to choose for one of `centers` species of centre.

    As given, or by the number of environments.
    """
    if isinstance(given.n_sparse, Mapping) and SYMBOLS[center] in given.n_sparse:
        return given.n_sparse[SYMBOLS[center]]
    if isinstance(given.n_sparse, int):
        return given.n_sparse
    most = max(LEAST_POINTS, min(MOST_POINTS, MOST_POINTS_OF_ALL // centers))
    by_data = np.clip(candidates_found / ENVIRONMENTS_PER_POINT, LEAST_POINTS, most)
    return max(1, round(float(by_data) * given.n_sparse_factor))


def _open_soap(
    given: SoapSettings,
    frames: Sequence[Frame],
    species: tuple[int, ...],
    core: Mapping[tuple[int, int], CorePair],
) -> SoapTerm:
    """The term of `given` without sparse points.

    Raises:
        ValueError: the cutoff is open; see `scales.with_scales`.
    """
    if given.cutoff is None:
        raise ValueError("a soap term without a cutoff")
    cutoff = given.cutoff
    scaling = given.radial_scaling
    # All pairs share the radial functions: those that come nearest decide.
    nearest = min(core.values(), key=lambda pair: pair.shortest, default=None)
    basis = RadialBasis(
        cutoff=cutoff,
        cutoff_width=min(given.cutoff_width or SINGLE.cutoff_width * cutoff, cutoff),
        n_max=given.n_max,
        l_max=given.l_max,
        atom_sigma=given.atom_sigma or SINGLE.atom_sigma * cutoff,
        scaling_radius=scaling.radius if scaling else 2.0,
        scaling_exponent=scaling.exponent if scaling else 0.0,
        fading=nearest.fading if nearest else 0.0,
        faded=nearest.faded if nearest else 0.0,
    )
    radial, own = tabulate(basis)
    kappa = None
    if given.kappa is not None:
        kappa = {
            (atomic_number(a), atomic_number(b)): value
            for (a, b), value in ((pair.split("-"), v) for pair, v in given.kappa.items())
        }
    if given.n_species_channels is not None and given.n_species_channels < len(species):
        similarity = learned_similarity(frames, species, cutoff)
        weights = channels_of(similarity, given.n_species_channels)
    else:
        try:
            weights = species_weights(species, kappa)
        except ValueError as error:
            raise ForcemapError(f"terms: soap: {error}") from None
    return SoapTerm(basis, given.zeta, species, weights, radial, own, cutoff, given.delta or 1.0)


# ---- embedding -------------------------------------------------------------------------------------

DENSITY_INTERVALS = 60

EXPONENT = 6.0
"""Of the polynomial density; with 5.5 Å, between the best for bcc Mo (4 to 6) and for fcc Ni (8)."""

DECAY = 2.0
"""Of the exponential density, 1/Å."""

EMBEDDING_LENGTHSCALE = 0.3
"""Where none is given, this part of the range of densities in the data."""


def _embedding(
    given: EmbeddingSettings,
    frames: Sequence[Frame],
    species: tuple[int, ...],
    core: Mapping[tuple[int, int], CorePair],
    rng: np.random.Generator,
) -> tuple[Term, list[Array]]:
    density = Density(
        kind=given.density,
        exponent=given.exponent or EXPONENT,
        decay=given.decay or DECAY,
        cutoff=given.cutoff,
        cutoff_width=min(
            given.cutoff_width or CUTOFF_WIDTH["two_body"] * given.cutoff, given.cutoff
        ),
        weights={atomic_number(symbol): weight for symbol, weight in given.weights.items()},
    )
    term = EmbeddingTerm(
        density, species, {}, {}, given.kernel, 1.0, (DENSITY_INTERVALS, 1), given.delta or 1.0
    )
    ranges = density_ranges(frames, term, core, rng)
    # 1 is the largest density of the data from here on.
    lowest = {center: r.lowest / r.largest for center, r in ranges.items()}
    widest = max((1.0 - low for low in lowest.values()), default=1.0)
    lengthscale = given.lengthscale or max(EMBEDDING_LENGTHSCALE * widest, 0.02)
    intervals = int(np.ceil(max(50.0, min(8.0 * TOP / lengthscale, 1000.0))))
    term = replace(
        term,
        scales={center: 1.0 / r.largest for center, r in ranges.items()},
        middles={center: r.median / r.largest for center, r in ranges.items()},
        lengthscale=lengthscale,
        grid=(DENSITY_INTERVALS, intervals),
    )
    blocks, factors = _independent_blocks(
        term,
        {(z,): np.linspace(low, 1.0, given.n_sparse)[:, None] for z, low in lowest.items()},
    )
    return term.with_blocks(blocks).projected(core), factors


# ---- many bodies ---------------------------------------------------------------------------------


def _nbody(
    given: NBodySettings,
    frames: Sequence[Frame],
    species: tuple[int, ...],
    rng: np.random.Generator,
) -> tuple[Term, list[Array]]:
    triplets = FewBodyTerm(
        kind="three_body",
        cutoff=given.cutoff,
        cutoff_width=min(
            given.cutoff_width or CUTOFF_WIDTH["three_body"] * given.cutoff, given.cutoff
        ),
        kernel="squared_exponential",
        lengthscale=given.lengthscale or LENGTHSCALE["three_body"] * given.cutoff,
        delta=1.0,
    )
    inducing = []
    for combination, pool in candidates(frames, triplets, species, rng).items():
        points = select(triplets, pool, combination, given.n_features, "pivoted_cholesky", rng)
        inducing.append(independent(triplets, points, combination)[0])
    unscaled = NBodyTerm(
        triplets.with_blocks(inducing), DotPower(1), given.cutoff, {}, given.delta or 1.0
    )
    found = descriptor_pools(frames, unscaled, rng)
    scales = {z: float(np.mean(np.sum(pool.descriptors**2, axis=1))) for z, pool in found.items()}
    scales = {z: scale for z, scale in scales.items() if scale > 0.0}
    pools = {z: Pool(found[z].descriptors / np.sqrt(scales[z]), found[z].groups) for z in scales}
    term = replace(unscaled, scales=scales, comparison=_comparison(given, pools))
    blocks, factors = _environment_blocks(given, term, pools, rng)
    return term.with_blocks(blocks), factors


def _comparison(given: NBodySettings, pools: Mapping[int, Pool]) -> Comparison:
    """The kernel of descriptors; its lengthscale from the spread of the data's, if not given."""
    if given.kernel == "power":
        return DotPower(given.power or 2)
    if given.distance_lengthscale is not None:
        return SquaredExponential(given.distance_lengthscale)
    spreads = [np.sum(np.var(pool.descriptors, axis=0)) for pool in pools.values()]
    typical = float(np.sqrt(2.0 * max(spreads, default=0.0)))
    return SquaredExponential(DISTANCE_LENGTHSCALE * typical or 1.0)
