"""Sparse points beside others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from forcemap.fitter.process.survey import Survey
from forcemap.fitter.sparse.methods import independent
from forcemap.fitter.sparse.newcomers import newcomers
from forcemap.fitter.terms.base import Array, Block, Pool
from forcemap.fitter.terms.two_body import TwoBodySettings, TwoBodyTerm

LINE = (14, 14)


@dataclass(frozen=True)
class Start:
    """A block of a term with the factor of its covariance."""

    term: TwoBodyTerm
    block: Block
    factor: Array


def start(*distances: float) -> Start:
    term = TwoBodySettings(cutoff=6.0, lengthscale=0.5).open(Survey((), (14,)))
    block, factor = independent(term, np.array(distances)[:, None], LINE)
    return Start(term, block, factor)


def pool(*distances: float) -> Pool:
    points = np.array(distances)[:, None]
    n = len(points)
    keys = np.linspace(0.0, 1.0, n)
    return Pool(points, np.full(n, "a"), keys, points.min(axis=0), points.max(axis=0), n)


def test_what_the_points_know_is_not_chosen() -> None:
    given = start(2.0, 2.5, 3.0, 3.5)
    found = newcomers(
        given.term,
        (given.block, given.factor),
        pool(2.0, 2.26, 2.75, 3.5, 5.0, 5.0),
        (None, "pivoted_cholesky"),
        np.random.default_rng(0),
    )
    np.testing.assert_array_equal(found.points, [[5.0]])


@pytest.mark.parametrize("method", ["pivoted_cholesky", "farthest", "random", "cur"])
def test_they_border_the_factor(method: str) -> None:
    """L of both together; 1e-12 of covariances of 1."""
    given = start(2.0, 2.5, 3.0)
    found = newcomers(
        given.term,
        (given.block, given.factor),
        pool(2.2, 3.6, 4.1, 4.9, 5.4),
        (3, method),
        np.random.default_rng(0),
    )
    assert 0 < len(found.points) <= 3
    zeros = np.zeros((len(given.factor), len(found.points)))
    factor = np.block([[given.factor, zeros], [found.cross, found.factor]])
    both = np.concatenate([given.block.points, found.points])
    expected = given.term.kernel(LINE, both, both)
    np.testing.assert_allclose(factor @ factor.T, expected, atol=1e-12)


def test_repeats_are_left_out_whatever_number_is_asked_for() -> None:
    given = start(2.0, 3.0)
    found = newcomers(
        given.term,
        (given.block, given.factor),
        pool(2.0, 3.0, 3.0, 2.0),
        (4, "random"),
        np.random.default_rng(0),
    )
    assert len(found.points) == 0
    assert found.cross.shape == (0, 2)


def test_a_block_without_points_begins_with_the_first() -> None:
    given = start()
    found = newcomers(
        given.term,
        (Block(LINE, np.zeros((0, 1))), np.zeros((0, 0))),
        pool(2.5, 3.5),
        (None, "pivoted_cholesky"),
        np.random.default_rng(0),
    )
    assert sorted(found.points[:, 0]) == [2.5, 3.5]
