"""Chooses sparse points among the distances and triangles of the data.

``uniform`` (grid over the range of the data; for triangles one data point from every occupied cell of
a grid), ``random``, ``farthest`` (farthest-point sampling on distances, chapter eq. 6.9), ``cur``
(leverage scores of the leading singular vectors of the kernel matrix, eqs. 6.10-6.11; Mahoney and
Drineas, PNAS 106, 697 (2009)) and ``pivoted_cholesky`` (greedy: the point of largest remaining
variance). All are seeded; points that repeat others are left out afterwards by `independent`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import scipy.linalg
from forcemap.fitter.embedding import EmbeddingTerm
from forcemap.fitter.environment_terms import EnvironmentTerm
from forcemap.fitter.few_body import FewBodyTerm
from forcemap.fitter.frame import Frame
from forcemap.fitter.process import Block, Environment, Term, environments
from forcemap.fitter.short_range import CorePair
from forcemap.fitter.solver import RANK_TOLERANCE, pivoted_cholesky
from numpy.typing import NDArray

__all__ = [
    "DensityRange",
    "Pool",
    "candidates",
    "density_ranges",
    "descriptor_pools",
    "independent",
    "leverage_scores",
    "most_of",
    "select",
    "select_descriptors",
    "shortest_distances",
]

Array = NDArray[np.float64]

MOST_CANDIDATES = 12_000
"""Triangles kept of each combination of species; a uniform sample of all that the data hold."""


def combinations_of(kind: str, symmetry: str, species: Sequence[int]) -> list[tuple[int, ...]]:
    """Combinations of species that a two_body or three_body term has a function for."""
    pairs = list(combinations_with_replacement(sorted(species), 2))
    if kind == "two_body":
        return list(pairs)
    if symmetry == "full":
        return list(combinations_with_replacement(sorted(species), 3))
    return [(center, *pair) for center in sorted(species) for pair in pairs]


def shortest_distances(frames: Sequence[Frame], cutoff: float) -> dict[tuple[int, int], float]:
    """Shortest distance of each pair of species in the data, Å; pairs never met are left out."""
    shortest: dict[tuple[int, int], float] = {}
    for frame in frames:
        env = environments(frame, cutoff)
        for a, b in combinations_with_replacement(sorted(set(frame.numbers.tolist())), 2):
            found = env.distances(a, b, cutoff)
            if len(found):
                shortest[a, b] = min(shortest.get((a, b), np.inf), float(found.min()))
    return shortest


def candidates(
    frames: Sequence[Frame], term: FewBodyTerm, species: Sequence[int], rng: np.random.Generator
) -> dict[tuple[int, ...], Array]:
    """Descriptors of the data by combination of species, (n, dimension), at most MOST_CANDIDATES.

    Memory does not grow with the data: every frame's descriptors get random keys, and those with the
    smallest keys stay.
    """
    wanted = combinations_of(term.kind, term.symmetry, species)
    kept: dict[tuple[int, ...], Array] = {}
    keys: dict[tuple[int, ...], Array] = {}
    for frame in frames:
        present = set(frame.numbers.tolist())
        if not any(present.issuperset(w) for w in wanted):
            continue
        env = environments(frame, term.cutoff)
        for combination in wanted:
            if not present.issuperset(combination):
                continue
            if term.kind == "two_body":
                a, b = combination
                found = env.distances(a, b, term.cutoff)[:, None]
            else:
                c, a, b = combination
                found = env.triplets(c, a, b, term.cutoff)
            if not len(found):
                continue
            key = rng.random(len(found))
            if len(found) > MOST_CANDIDATES:
                best = np.argpartition(key, MOST_CANDIDATES)[:MOST_CANDIDATES]
                found, key = found[best], key[best]
            if combination in kept:
                found = np.concatenate([kept[combination], found])
                key = np.concatenate([keys[combination], key])
            if len(found) > 2 * MOST_CANDIDATES:
                best = np.argpartition(key, MOST_CANDIDATES)[:MOST_CANDIDATES]
                found, key = found[best], key[best]
            kept[combination], keys[combination] = found, key
    result = {}
    for combination, found in kept.items():
        order = np.argsort(keys[combination])[:MOST_CANDIDATES]
        result[combination] = np.ascontiguousarray(found[order])
    return result


def select(
    term: FewBodyTerm,
    points: Array,
    species: tuple[int, ...],
    count: int,
    method: str,
    rng: np.random.Generator,
) -> Array:
    """At most `count` of `points` (n, dimension) by `method`; (m, dimension)."""
    if method == "uniform":
        return _uniform(term, points, count, rng)
    if len(points) <= count:
        return points
    if method == "random":
        return points[np.sort(rng.choice(len(points), count, replace=False))]
    if method == "farthest":
        return points[_farthest(points, count)]
    if method == "cur":
        return points[_cur(term, points, species, count, rng)]
    if method == "pivoted_cholesky":
        return points[_greedy(term, points, species, count)]
    raise ValueError(f"unknown sparse method {method!r}")


def _uniform(term: FewBodyTerm, points: Array, count: int, rng: np.random.Generator) -> Array:
    if points.shape[1] == 1:
        return np.linspace(points.min(), term.cutoff, count)[:, None]
    if len(points) <= count:
        return points
    low, high = points.min(axis=0), points.max(axis=0)
    # The finest grid with no more occupied cells than points wanted, by bisection on its fineness.
    chosen = points[:1]
    fine, coarse = 64.0, 1.0
    for _ in range(30):
        cells = 0.5 * (fine + coarse)
        labels = np.floor((points - low) / np.maximum(high - low, 1e-9) * cells)
        _, first = np.unique(labels, axis=0, return_index=True)
        if len(first) <= count:
            coarse, chosen = cells, points[np.sort(first)]
        else:
            fine = cells
    missing = count - len(chosen)
    if missing > 0:
        extra = rng.choice(len(points), missing, replace=False)
        chosen = np.unique(np.concatenate([chosen, points[extra]]), axis=0)
    return chosen


def _farthest(points: Array, count: int) -> NDArray[np.intp]:
    chosen = np.empty(count, dtype=np.intp)
    chosen[0] = int(np.argmin(np.sum((points - points.mean(axis=0)) ** 2, axis=1)))
    distance = np.sum((points - points[chosen[0]]) ** 2, axis=1)
    for n in range(1, count):
        chosen[n] = int(np.argmax(distance))
        distance = np.minimum(distance, np.sum((points - points[chosen[n]]) ** 2, axis=1))
    return chosen


def _view_images(term: FewBodyTerm, points: Array, species: tuple[int, ...]) -> Array:
    block = Block(species, points)
    return next(v.images for v in term.views(block) if v.species == species)


def _greedy(
    term: FewBodyTerm, points: Array, species: tuple[int, ...], count: int
) -> NDArray[np.intp]:
    """Pivoted Cholesky of the kernel matrix, one column at a time; the matrix is never formed."""
    settings = term.settings
    images = _view_images(term, points, species)
    residual = _diagonal(term, points, images)
    limit = RANK_TOLERANCE * float(residual.max())
    factor = np.zeros((count, len(points)))
    chosen: list[int] = []
    for n in range(count):
        pivot = int(np.argmax(residual))
        if residual[pivot] <= limit:
            break
        column = settings.matrix(points, np.ascontiguousarray(images[pivot : pivot + 1]))[:, 0]
        column -= factor[:n].T @ factor[:n, pivot]
        factor[n] = column / np.sqrt(residual[pivot])
        residual = np.maximum(residual - factor[n] ** 2, 0.0)
        residual[pivot] = 0.0
        chosen.append(pivot)
    return np.array(chosen, dtype=np.intp)


def _diagonal(term: FewBodyTerm, points: Array, images: Array) -> Array:
    settings = term.settings
    step = 64
    parts = []
    for start in range(0, len(points), step):
        stop = start + step
        block = settings.matrix(
            np.ascontiguousarray(points[start:stop]), np.ascontiguousarray(images[start:stop])
        )
        parts.append(np.diag(block))
    return np.concatenate(parts)


def _cur(
    term: FewBodyTerm, points: Array, species: tuple[int, ...], count: int, rng: np.random.Generator
) -> NDArray[np.intp]:
    if len(points) > 4000:
        pool = np.sort(rng.choice(len(points), 4000, replace=False))
    else:
        pool = np.arange(len(points))
    some = np.ascontiguousarray(points[pool])
    matrix = term.settings.matrix(some, _view_images(term, some, species))
    leading = min(count, len(pool))
    _, vectors = scipy.linalg.eigh(
        matrix, subset_by_index=(len(pool) - leading, len(pool) - 1), check_finite=False
    )
    scores = np.sum(vectors**2, axis=1)
    return np.asarray(pool[np.sort(np.argsort(-scores)[:count])], dtype=np.intp)


# ---- environments --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pool:
    """Candidates among the environments of one species.

    Attributes:
        descriptors: (n, dimension) one of each environment.
        groups: (n,) config_type of each.
    """

    descriptors: Array
    groups: NDArray[np.str_]


MOST_AT_ONCE = 5000
"""Environments whose kernel matrix is formed to choose among them."""

POOL_NUMBERS = 32_000_000
"""Doubles of descriptors kept as candidates of a species (256 MB), whatever the data."""


NO_VARIANCE = 1e-13
"""Eigenvalues of a Gram matrix below this part of the largest are rounding."""


def descriptor_pools(
    frames: Sequence[Frame], term: EnvironmentTerm, rng: np.random.Generator
) -> dict[int, Pool]:
    """Descriptors of the data by species of centre; of many, a uniform sample.

    As in `candidates`, random keys decide, so that memory does not grow with the data.
    """
    kept: dict[int, tuple[Array, Array, NDArray[np.str_]]] = {}
    for frame in frames:
        environment = Environment(frame, term.cutoff, derivatives=False)
        for center in sorted(environment.species):
            _, found = term.descriptors(environment, center)
            keys = rng.random(len(found))
            groups = np.full(len(found), frame.config_type)
            if center in kept:
                keys = np.concatenate([kept[center][0], keys])
                found = np.concatenate([kept[center][1], found])
                groups = np.concatenate([kept[center][2], groups])
            most = most_of(term, center)
            if len(keys) > 2 * most:
                best = np.sort(np.argpartition(keys, most)[:most])
                keys, found, groups = keys[best], found[best], groups[best]
            kept[center] = keys, found, groups
    pools = {}
    for center, (keys, found, groups) in sorted(kept.items()):
        order = np.sort(np.argsort(keys)[: most_of(term, center)])
        pools[center] = Pool(np.ascontiguousarray(found[order]), groups[order])
    return pools


def most_of(term: EnvironmentTerm, center: int) -> int:
    """Candidates that are kept of one species of centre, at most."""
    return max(100, min(MOST_CANDIDATES, POOL_NUMBERS // max(term.dimension_of(center), 1)))


def select_descriptors(
    term: EnvironmentTerm,
    pool: Pool,
    count: int,
    method: str,
    quotas: Mapping[str, int],
    rng: np.random.Generator,
) -> Array:
    """`count` descriptors of the pool by `method`, of a config_type in `quotas` that many.

    Fewer where there are no more. The quotas hold even where they add up to more than `count`.
    """
    chosen: list[NDArray[np.intp]] = []
    rest = np.ones(len(pool.groups), dtype=bool)
    for group, quota in quotas.items():
        members = np.flatnonzero(pool.groups == group)
        rest[members] = False
        chosen.append(members[_choose(term, pool.descriptors[members], quota, method, rng)])
    left = count - sum(len(c) for c in chosen)
    if left > 0:
        members = np.flatnonzero(rest)
        chosen.append(members[_choose(term, pool.descriptors[members], left, method, rng)])
    return np.ascontiguousarray(pool.descriptors[np.concatenate(chosen)])


def _choose(
    term: EnvironmentTerm, descriptors: Array, count: int, method: str, rng: np.random.Generator
) -> NDArray[np.intp]:
    n = len(descriptors)
    if n <= count:
        return np.arange(n)
    if method == "random":
        return np.sort(rng.choice(n, count, replace=False))
    if method == "farthest":
        return _farthest(descriptors, count)
    if method == "cur":
        scores = leverage_scores(descriptors, count)
        return np.sort(rng.choice(n, count, replace=False, p=scores / scores.sum()))
    return _greedy_descriptors(term, descriptors, count)


def leverage_scores(descriptors: Array, count: int) -> Array:
    """(n,) leverage scores of `descriptors` (n, dimension) in their `count` leading singular vectors.

    By the smaller of the two Gram matrices: a few environments of many elements have descriptors of
    thousands of numbers.
    """
    if len(descriptors) < descriptors.shape[1]:
        gram = descriptors @ descriptors.T
        last = len(gram) - 1
        values, vectors = scipy.linalg.eigh(
            gram, subset_by_index=(max(0, last + 1 - count), last), check_finite=False
        )
        return np.asarray(np.sum(vectors[:, values > NO_VARIANCE * values[-1]] ** 2, axis=1))
    values, vectors = scipy.linalg.eigh(descriptors.T @ descriptors, check_finite=False)
    leading = np.flatnonzero(values > NO_VARIANCE * values[-1])[-count:]
    return np.asarray(
        np.sum((descriptors @ (vectors[:, leading] / np.sqrt(values[leading]))) ** 2, axis=1)
    )


def _greedy_descriptors(term: EnvironmentTerm, descriptors: Array, count: int) -> NDArray[np.intp]:
    """Pivoted Cholesky of the kernel matrix; where that is too large, in parts, then of the chosen."""
    most = MOST_AT_ONCE
    if len(descriptors) <= most:
        kept, _ = pivoted_cholesky(term.kernel(descriptors, descriptors), term.rank_tolerance)
        return kept[:count]
    parts = [
        np.arange(first, len(descriptors), -(-len(descriptors) // most))
        for first in range(-(-len(descriptors) // most))
    ]
    chosen = np.concatenate(
        [part[_greedy_descriptors(term, descriptors[part], count)] for part in parts]
    )
    if len(chosen) > most:
        chosen = chosen[:: -(-len(chosen) // most)]
    return np.asarray(chosen[_greedy_descriptors(term, descriptors[chosen], count)])


@dataclass(frozen=True)
class DensityRange:
    """Densities at the atoms of one species in the data, of those that have neighbours."""

    lowest: float
    median: float
    largest: float


def density_ranges(
    frames: Sequence[Frame],
    term: EmbeddingTerm,
    core: Mapping[tuple[int, int], CorePair],
    rng: np.random.Generator,
) -> dict[int, DensityRange]:
    """Range of the densities in the data by species of centre.

    The median is that of a uniform sample, by random keys as in `candidates`.
    """
    splines = {z: term.densities_of(z, core) for z in term.numbers}
    ends: dict[int, tuple[float, float]] = {}
    sample: dict[int, tuple[Array, Array]] = {}
    for frame in frames:
        environment = Environment(frame, term.cutoff, derivatives=False)
        for center in sorted(environment.species):
            found = term.densities_at(environment, center, splines[center])
            found = found[found > 0.0]
            if not len(found):
                continue
            low, high = ends.get(center, (np.inf, 0.0))
            ends[center] = min(low, float(found.min())), max(high, float(found.max()))
            keys = rng.random(len(found))
            if center in sample:
                keys = np.concatenate([sample[center][0], keys])
                found = np.concatenate([sample[center][1], found])
            if len(keys) > 2 * MOST_CANDIDATES:
                best = np.argpartition(keys, MOST_CANDIDATES)[:MOST_CANDIDATES]
                keys, found = keys[best], found[best]
            sample[center] = keys, found
    return {
        center: DensityRange(low, float(np.median(sample[center][1])), high)
        for center, (low, high) in sorted(ends.items())
    }


def independent(term: Term, points: Array, species: tuple[int, ...]) -> tuple[Block, Array]:
    """The points that do not repeat others, with the Cholesky factor of their covariance."""
    block = Block(species, points)
    kept, factor = pivoted_cholesky(term.covariance(block), term.rank_tolerance)
    return Block(species, np.ascontiguousarray(points[kept])), factor
