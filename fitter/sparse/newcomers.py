"""Sparse points beside others that are there already."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg
from forcemap.fitter.solve.cholesky import pivoted_cholesky
from forcemap.fitter.sparse.methods import MOST_OF_KERNEL, select
from forcemap.fitter.terms.base import Array, Block, Pool, Term

__all__ = ["Newcomers", "newcomers"]

STEP = 1000
"""Candidates compared with the points at once."""


class Newcomers(NamedTuple):
    """New points of a block, with what borders the Cholesky factor L of its covariance.

    Attributes:
        points: (k, dimension).
        cross: (k, n), their covariance with the n points there are, times L⁻ᵀ.
        factor: (k, k) lower Cholesky factor of what these leave open of their own.
    """

    points: Array
    cross: Array
    factor: Array


def newcomers(
    term: Term,
    known: tuple[Block, Array],
    pool: Pool,
    wanted: tuple[int | None, str],
    rng: np.random.Generator,
) -> Newcomers:
    """Points among new candidates that do not repeat those of a block.

    Args:
        term: of the block.
        known: the block, perhaps empty, and the Cholesky factor of its covariance.
        pool: the candidates.
        wanted: how many, by which method; None: all of which the points leave more open than the
            points leave open of each other (the median).
        rng: for the choice.
    """
    block, factor = known
    count, method = wanted
    if count is not None:
        points = select(term, block.species, pool, count, method, {}, rng)
        return _independent(term, block, factor, points, 0.0)
    least = _typical_variance(term, block, factor)
    left = np.concatenate(
        [
            _left_open(term, block, factor, pool.points[start : start + STEP])
            for start in range(0, len(pool.points), STEP)
        ]
    )
    places = np.flatnonzero(left > least)
    if len(places) > MOST_OF_KERNEL:  # the most unlike, in the order of the data
        places = np.sort(places[np.argsort(left[places])[-MOST_OF_KERNEL:]])
    return _independent(term, block, factor, pool.points[places], least)


def _typical_variance(term: Term, block: Block, factor: Array) -> float:
    """Median of the variance that each point has if all others of the block are known."""
    if not block.size:
        return 0.0
    inverse = scipy.linalg.solve_triangular(factor, np.eye(block.size), lower=True)
    return float(np.median(1.0 / np.sum(inverse**2, axis=0)))


def _left_open(term: Term, block: Block, factor: Array, points: Array) -> Array:
    """(n,) variances at `points` that remain when the values at the block's points are known."""
    points = np.ascontiguousarray(points)
    whole = term.diagonal(block.species, points)
    if not block.size:
        return whole
    cross = term.kernel(block.species, block.points, points)
    half = scipy.linalg.solve_triangular(factor, cross, lower=True)
    return np.asarray(whole - np.sum(half**2, axis=0))


def _independent(term: Term, block: Block, factor: Array, points: Array, least: float) -> Newcomers:
    """Those of the points that more is left open of than `least`, and than the term's tolerance."""
    points = np.ascontiguousarray(points)
    matrix = term.kernel(block.species, points, points)
    scale = float(np.max(np.diag(matrix), initial=0.0))
    cross = np.zeros((len(points), block.size))
    if block.size and len(points):
        both = term.kernel(block.species, block.points, points)
        cross = scipy.linalg.solve_triangular(factor, both, lower=True).T
        matrix = matrix - cross @ cross.T
        scale = max(scale, float(np.max(np.diag(term.covariance(block)))))
    largest = float(np.max(np.diag(matrix), initial=0.0))
    limit = max(least, term.rank_tolerance * scale)
    if not largest > limit:
        return Newcomers(points[:0], cross[:0], np.zeros((0, 0)))
    kept, rest = pivoted_cholesky(0.5 * (matrix + matrix.T), limit / largest)
    return Newcomers(np.ascontiguousarray(points[kept]), cross[kept], rest)
