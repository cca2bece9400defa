"""Chooses sparse points among the candidates of the data.

``uniform`` (a grid over the range of the data; in more dimensions one candidate from every occupied
cell of a grid), ``random``, ``farthest`` (farthest-point sampling, chapter eq. 6.9), ``cur`` (drawn at
random with the leverage scores of the leading left singular vectors as probabilities, eqs. 6.10-6.11;
Mahoney and Drineas, PNAS 106, 697 (2009), DOI 10.1073/pnas.0803205106) and ``pivoted_cholesky``
(greedy: the point of largest remaining variance). ``cur`` takes the singular vectors of
`Term.features`: descriptors of environments as they are; for distances and triangles, whose likeness
only the kernel defines, those of the kernel. All are seeded; `independent` afterwards leaves out points
that repeat others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
import scipy.linalg
from forcemap.fitter.sharing.threads import in_order
from forcemap.fitter.solve.cholesky import pivoted_cholesky
from forcemap.fitter.solve.work import FLOAT, Work
from forcemap.fitter.terms.base import Block, Pool, Species, Term
from numpy.typing import NDArray

__all__ = [
    "METHODS",
    "chosen_blocks",
    "independent",
    "iterates",
    "leverage",
    "select",
    "work_of_choice",
]

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
Draw: TypeAlias = Callable[[np.random.Generator], Array]
"""What random numbers make of a choice that is ready: the points."""
Chosen: TypeAlias = Callable[[np.random.Generator], Indices]
"""The same: their places."""

MOST_OF_KERNEL = 4000
"""Largest number of candidates whose kernel matrix is diagonalised: a random sample of more."""

RANK = 1e-13
"""Squared singular values below this, relative to the largest, are rounding."""

LARGEST_GRAM = 1500
"""Largest Gram matrix of descriptors that is diagonalised for the sake of a few vectors."""

ITERATIONS = 2

NO_QUOTAS: Mapping[str, int] = {}


def chosen_blocks(
    term: Term,
    pools: Mapping[Species, Pool],
    method: str,
    counts: Mapping[Species, int],
    quotas: Mapping[str, int] = NO_QUOTAS,
    rng: np.random.Generator | None = None,
    jobs: int = 1,
) -> list[tuple[Block, Array]]:
    """Blocks of sparse points that do not repeat others, with their covariances' Cholesky factors.

    By `jobs` threads, each with a block of its own; the choice does not depend on their number.
    """
    rng = rng or np.random.default_rng(0)

    def ready(species: Species) -> Draw:
        return _ready(term, species, pools[species], counts[species], method, quotas)

    drawn = (
        (species, draw(rng))
        for species, draw in zip(pools, in_order(ready, pools, jobs), strict=True)
    )
    return list(in_order(lambda found: independent(term, found[1], found[0]), drawn, jobs))


def independent(term: Term, points: Array, species: Species) -> tuple[Block, Array]:
    """The points that do not repeat others, with the Cholesky factor of their covariance."""
    kept, factor = pivoted_cholesky(term.kernel(species, points, points), term.rank_tolerance)
    return Block(species, np.ascontiguousarray(points[kept])), factor


def select(
    term: Term,
    species: Species,
    pool: Pool,
    count: int,
    method: str,
    quotas: Mapping[str, int],
    rng: np.random.Generator,
) -> Array:
    """`count` candidates by `method`, (m, dimension); each config_type in `quotas` has its number.

    Fewer if the pool holds no more. The quotas hold even where they add up to more than `count`.
    """
    return _ready(term, species, pool, count, method, quotas)(rng)


def _ready(
    term: Term,
    species: Species,
    pool: Pool,
    count: int,
    method: str,
    quotas: Mapping[str, int],
) -> Draw:
    """`select` but for the random numbers: all of its work that takes time."""
    if method == "uniform" and pool.points.shape[1] == 1:
        grid = np.linspace(*term.interval(pool), count)[:, None]
        return lambda rng: grid

    def ready(members: Indices, number: int) -> Callable[[np.random.Generator], Indices]:
        if len(members) <= number:
            return lambda rng: members
        draw = METHODS[method](_Choice(term, species, pool, members), number)
        return lambda rng: members[draw(rng)]

    draws: list[Callable[[np.random.Generator], Indices]] = []
    rest = np.ones(len(pool.groups), dtype=bool)
    taken = 0
    for group, quota in quotas.items():
        members = np.flatnonzero(pool.groups == group)
        rest[members] = False
        draws.append(ready(members, quota))
        taken += min(len(members), quota)
    if count > taken:
        draws.append(ready(np.flatnonzero(rest), count - taken))
    return lambda rng: np.ascontiguousarray(pool.points[np.concatenate([d(rng) for d in draws])])


class _Choice:
    """Candidates to choose among: the members of a pool, for a term."""

    def __init__(self, term: Term, species: Species, pool: Pool, members: Indices) -> None:
        self.term = term
        self.species = species
        self.points = np.ascontiguousarray(pool.points[members])
        self.keys = pool.keys[members]


# ---- the methods: places of about `count` of the candidates, increasing or in the order of choice.
# Each does what takes time and returns what random numbers decide, for which there is an order.


def _uniform(among: _Choice, count: int) -> Chosen:
    points = among.points
    low, high = points.min(axis=0), points.max(axis=0)
    # The finest grid with no more occupied cells than points wanted, by bisection on its fineness.
    chosen = np.zeros(1, dtype=np.intp)
    fine, coarse = 64.0, 1.0
    for _ in range(30):
        cells = 0.5 * (fine + coarse)
        labels = np.floor((points - low) / np.maximum(high - low, 1e-9) * cells)
        _, first = np.unique(labels, axis=0, return_index=True)
        if len(first) <= count:
            coarse, chosen = cells, np.sort(first)
        else:
            fine = cells

    def filled(rng: np.random.Generator) -> Indices:
        missing = count - len(chosen)
        if missing <= 0:
            return chosen
        return np.union1d(chosen, rng.choice(len(points), missing, replace=False))

    return filled


def _random(among: _Choice, count: int) -> Chosen:
    return lambda rng: np.sort(rng.choice(len(among.points), count, replace=False))


def _farthest(among: _Choice, count: int) -> Chosen:
    points = among.points
    chosen = np.empty(count, dtype=np.intp)
    chosen[0] = int(np.argmin(np.sum((points - points.mean(axis=0)) ** 2, axis=1)))
    if points.shape[1] <= 3:  # as exact as the points: repeats of one are at distance 0

        def apart(n: int) -> Array:
            return np.asarray(np.sum((points - points[n]) ** 2, axis=1))

    else:  # in one pass over the candidates instead of three
        squares = np.sum(points**2, axis=1)

        def apart(n: int) -> Array:
            return np.asarray(np.maximum(squares + squares[n] - 2.0 * (points @ points[n]), 0.0))

    distance = apart(chosen[0])
    for n in range(1, count):
        chosen[n] = int(np.argmax(distance))
        distance = np.minimum(distance, apart(chosen[n]))
        distance[chosen[n]] = 0.0
    return lambda rng: chosen


def _cur(among: _Choice, count: int) -> Chosen:
    vectors = among.term.features(among.species, among.points)
    places = np.arange(len(among.points))
    if vectors is not None:
        scores = leverage(vectors, count)
        return lambda rng: _drawn(places, scores, count, rng)

    def of_kernel(rng: np.random.Generator) -> Indices:
        some = places
        if len(places) > MOST_OF_KERNEL:
            some = np.sort(rng.choice(len(places), MOST_OF_KERNEL, replace=False))
        points = np.ascontiguousarray(among.points[some])
        matrix = among.term.kernel(among.species, points, points)
        return _drawn(some, _leverage_of_gram(matrix, count), count, rng)

    return of_kernel


def _drawn(places: Indices, scores: Array, count: int, rng: np.random.Generator) -> Indices:
    """`count` of the places, with the scores as probabilities."""
    count = min(count, int(np.count_nonzero(scores)))
    return places[np.sort(rng.choice(len(places), count, replace=False, p=scores / scores.sum()))]


def leverage(vectors: Array, count: int) -> Array:
    """Leverage scores of the rows (n, d) in the space of the `count` leading singular vectors.

    From the smaller of the two Gram matrices, or, where that is large and the vectors are few, by a
    subspace iteration with products of the rows alone.
    """
    n, d = vectors.shape
    if iterates(n, d, count):
        return _leverage_by_iteration(vectors, count)
    if n < d:
        return _leverage_of_gram(vectors @ vectors.T, count)
    values, right = scipy.linalg.eigh(vectors.T @ vectors, check_finite=False)
    leading = np.flatnonzero(values > RANK * values[-1])[-count:]
    return np.asarray(
        np.sum((vectors @ (right[:, leading] / np.sqrt(values[leading]))) ** 2, axis=1)
    )


def iterates(n: int, d: int, count: int) -> bool:
    """Whether `leverage` of n rows of d numbers goes without a Gram matrix of all."""
    return min(n, d) > max(LARGEST_GRAM, 2 * _tried(count))


def _tried(count: int) -> int:
    """Dimension of the subspace in which `count` leading vectors are sought."""
    return count + count // 4 + 20


def _leverage_by_iteration(vectors: Array, count: int) -> Array:
    """`leverage` by the randomised subspace iteration of Halko, Martinsson and Tropp.

    SIAM Rev. 53, 217 (2011), DOI 10.1137/090771806, algorithm 4.4, with a seed of its own: the same
    vectors have the same scores. The last few of the leading vectors are not quite those.
    """
    start = np.random.default_rng(0).normal(size=(vectors.shape[1], _tried(count)))
    basis = _orthonormal(vectors @ start)
    for _ in range(ITERATIONS):
        basis = _orthonormal(vectors @ _orthonormal(vectors.T @ basis))
    inside = basis.T @ vectors
    values, left = scipy.linalg.eigh(inside @ inside.T, check_finite=False)
    leading = np.flatnonzero(values > RANK * values[-1])[-count:]
    return np.asarray(np.sum((basis @ left[:, leading]) ** 2, axis=1))


def _orthonormal(columns: Array) -> Array:
    return np.asarray(scipy.linalg.qr(columns, mode="economic", check_finite=False)[0])


def _leverage_of_gram(gram: Array, count: int) -> Array:
    """Leverage scores from the products of all rows, (n, n)."""
    values, left = scipy.linalg.eigh(gram, check_finite=False)
    leading = np.flatnonzero(values > RANK * values[-1])[-count:]
    return np.asarray(np.sum(left[:, leading] ** 2, axis=1))


def _greedy(among: _Choice, count: int) -> Chosen:
    """Pivoted Cholesky of the kernel matrix, one column at a time; the matrix is never formed.

    In random order, so that the order of the frames does not decide among equals.
    """
    term, species = among.term, among.species
    order = np.argsort(among.keys)
    points = np.ascontiguousarray(among.points[order])
    residual = term.diagonal(species, points)
    limit = term.rank_tolerance * float(residual.max())
    factor = np.zeros((count, len(points)))
    chosen: list[int] = []
    for n in range(count):
        pivot = int(np.argmax(residual))
        if residual[pivot] <= limit:
            break
        column = term.kernel(species, points, points[pivot : pivot + 1])[:, 0]
        column = column - factor[:n].T @ factor[:n, pivot]
        factor[n] = column / np.sqrt(residual[pivot])
        residual = np.maximum(residual - factor[n] ** 2, 0.0)
        residual[pivot] = 0.0
        chosen.append(pivot)
    places = np.asarray(order[np.array(chosen, dtype=np.intp)])
    return lambda rng: places


METHODS: dict[str, Callable[[_Choice, int], Chosen]] = {
    "uniform": _uniform,
    "random": _random,
    "farthest": _farthest,
    "cur": _cur,
    "pivoted_cholesky": _greedy,
}
"""Methods by their names in settings."""


def work_of_choice(method: str, candidates: int, dimension: int, count: int) -> Work:
    """Algebra of choosing `count` of `candidates` points of `dimension` numbers, repeats left out."""
    n, d, m = float(candidates), float(dimension), float(min(count, candidates))
    covariance = Work(products=2.0 * m**2 * d + m**3, bytes=int(FLOAT * (n * d + 2 * m**2)))
    if candidates <= count or method in ("random", "uniform"):
        return covariance
    if method == "farthest":
        return covariance + Work(passes=m * n * d, bytes=int(FLOAT * n * d))
    if method == "pivoted_cholesky":
        size = int(FLOAT * n * (d + m))
        return covariance + Work(passes=m * n * (d + 0.5 * m), bytes=size)
    if d > 3 and iterates(candidates, dimension, count):
        tried = float(_tried(count))
        passes = 2.0 * n * d * tried * (2.0 * ITERATIONS + 2.0) + 8.0 * (n + d) * tried**2
        return covariance + Work(
            products=passes, eigen=tried**3, bytes=int(FLOAT * (n * d + 3.0 * (n + d) * tried))
        )
    least = min(n, d) if d > 3 else min(n, MOST_OF_KERNEL)
    gram = 2.0 * n * d * least if d > 3 else least**2
    return covariance + Work(
        products=gram, eigen=least**3, bytes=int(FLOAT * (n * d + 3.0 * least**2))
    )
