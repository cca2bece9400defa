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

import numpy as np
import scipy.linalg
from forcemap.fitter.solve.cholesky import pivoted_cholesky
from forcemap.fitter.solve.work import FLOAT, Work
from forcemap.fitter.terms.base import Block, Pool, Species, Term
from numpy.typing import NDArray

__all__ = ["METHODS", "chosen_blocks", "independent", "select", "work_of_choice"]

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

MOST_OF_KERNEL = 4000
"""Largest number of candidates whose kernel matrix is diagonalised: a random sample of more."""

NO_QUOTAS: Mapping[str, int] = {}


def chosen_blocks(
    term: Term,
    pools: Mapping[Species, Pool],
    method: str,
    counts: Mapping[Species, int],
    quotas: Mapping[str, int] = NO_QUOTAS,
    rng: np.random.Generator | None = None,
) -> list[tuple[Block, Array]]:
    """Blocks of sparse points that do not repeat others, with their covariances' Cholesky factors."""
    rng = rng or np.random.default_rng(0)
    return [
        independent(
            term, select(term, species, pool, counts[species], method, quotas, rng), species
        )
        for species, pool in pools.items()
    ]


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
    if method == "uniform" and pool.points.shape[1] == 1:
        return np.linspace(*term.interval(pool), count)[:, None]

    def chosen(members: Indices, number: int) -> Indices:
        if len(members) <= number:
            return members
        return members[METHODS[method](_Choice(term, species, pool, members), number, rng)]

    parts: list[Indices] = []
    rest = np.ones(len(pool.groups), dtype=bool)
    for group, quota in quotas.items():
        members = np.flatnonzero(pool.groups == group)
        rest[members] = False
        parts.append(chosen(members, quota))
    left = count - sum(len(c) for c in parts)
    if left > 0:
        parts.append(chosen(np.flatnonzero(rest), left))
    return np.ascontiguousarray(pool.points[np.concatenate(parts)])


class _Choice:
    """Candidates to choose among: the members of a pool, for a term."""

    def __init__(self, term: Term, species: Species, pool: Pool, members: Indices) -> None:
        self.term = term
        self.species = species
        self.points = np.ascontiguousarray(pool.points[members])
        self.keys = pool.keys[members]


# ---- the methods: places of about `count` of the candidates, increasing or in the order of choice ----


def _uniform(among: _Choice, count: int, rng: np.random.Generator) -> Indices:
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
    missing = count - len(chosen)
    if missing > 0:
        chosen = np.union1d(chosen, rng.choice(len(points), missing, replace=False))
    return chosen


def _random(among: _Choice, count: int, rng: np.random.Generator) -> Indices:
    return np.sort(rng.choice(len(among.points), count, replace=False))


def _farthest(among: _Choice, count: int, rng: np.random.Generator) -> Indices:
    points = among.points
    chosen = np.empty(count, dtype=np.intp)
    chosen[0] = int(np.argmin(np.sum((points - points.mean(axis=0)) ** 2, axis=1)))
    distance = np.sum((points - points[chosen[0]]) ** 2, axis=1)
    for n in range(1, count):
        chosen[n] = int(np.argmax(distance))
        distance = np.minimum(distance, np.sum((points - points[chosen[n]]) ** 2, axis=1))
    return chosen


def _cur(among: _Choice, count: int, rng: np.random.Generator) -> Indices:
    places = np.arange(len(among.points))
    vectors = among.term.features(among.species, among.points)
    if vectors is None:
        if len(places) > MOST_OF_KERNEL:
            places = np.sort(rng.choice(len(places), MOST_OF_KERNEL, replace=False))
        some = np.ascontiguousarray(among.points[places])
        matrix = among.term.kernel(among.species, some, some)
        scores = _leverage_of_gram(matrix, count)
    else:
        scores = _leverage(vectors, count)
    count = min(count, int(np.count_nonzero(scores)))
    return places[np.sort(rng.choice(len(places), count, replace=False, p=scores / scores.sum()))]


def _leverage(vectors: Array, count: int) -> Array:
    """Leverage scores of the rows (n, d) in the space of the `count` leading singular vectors.

    From the smaller of the two Gram matrices.
    """
    if len(vectors) < vectors.shape[1]:
        return _leverage_of_gram(vectors @ vectors.T, count)
    values, right = scipy.linalg.eigh(vectors.T @ vectors, check_finite=False)
    leading = np.flatnonzero(values > 1e-13 * values[-1])[-count:]
    return np.asarray(
        np.sum((vectors @ (right[:, leading] / np.sqrt(values[leading]))) ** 2, axis=1)
    )


def _leverage_of_gram(gram: Array, count: int) -> Array:
    """Leverage scores from the products of all rows, (n, n)."""
    values, left = scipy.linalg.eigh(gram, check_finite=False)
    leading = np.flatnonzero(values > 1e-13 * values[-1])[-count:]
    return np.asarray(np.sum(left[:, leading] ** 2, axis=1))


def _greedy(among: _Choice, count: int, rng: np.random.Generator) -> Indices:
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
    return np.asarray(order[np.array(chosen, dtype=np.intp)])


METHODS: dict[str, Callable[[_Choice, int, np.random.Generator], Indices]] = {
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
    least = min(n, d) if d > 3 else min(n, MOST_OF_KERNEL)
    gram = 2.0 * n * d * least if d > 3 else least**2
    return covariance + Work(
        products=gram, eigen=least**3, bytes=int(FLOAT * (n * d + 3.0 * least**2))
    )
