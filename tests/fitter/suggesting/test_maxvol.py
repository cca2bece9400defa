"""Exchanges that make determinants larger."""

from itertools import combinations

import numpy as np
import pytest
import scipy.linalg
from forcemap.fitter.suggesting.maxvol import exchanged, log_ratio


def volume(blocks: list[np.ndarray], places: list[int]) -> float:
    """log det(1 + sum of BᵀB), dense."""
    rows = np.concatenate([blocks[i] for i in places])
    return float(np.linalg.slogdet(np.eye(rows.shape[1]) + rows.T @ rows)[1])


def test_the_ratio_is_that_of_dense_determinants() -> None:
    rng = np.random.default_rng(0)
    blocks = [rng.normal(size=(rows, 6)) for rows in (1, 4, 9, 3)]
    information = np.eye(6) + sum(b.T @ b for b in blocks[:3])
    factor = np.linalg.cholesky(information)
    halves = [scipy.linalg.solve_triangular(factor, b.T, lower=True) for b in blocks]
    for out in range(3):
        left = [i for i in range(3) if i != out]
        expected = volume(blocks, [*left, 3]) - volume(blocks, [0, 1, 2])
        assert log_ratio(halves[out], halves[3]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_exchanges_end_where_no_single_one_helps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    blocks = [rng.normal(size=(2, 5)) * rng.uniform(0.2, 3.0) for _ in range(12)]
    found = exchanged(blocks, [0, 1, 2])
    assert len(set(found)) == 3
    assert volume(blocks, found) >= volume(blocks, [0, 1, 2])
    for place in range(3):
        for other in set(range(12)) - set(found):
            swapped = [other if p == place else i for p, i in enumerate(found)]
            assert volume(blocks, swapped) <= volume(blocks, found) + 0.0101
    best = max(volume(blocks, list(some)) for some in combinations(range(12), 3))
    assert volume(blocks, found) > best - 0.5


def test_a_greedy_trap_is_left() -> None:
    """The largest alone is not in the largest pair."""
    blocks = [np.array([[3.0, 3.0]]), np.array([[4.0, 0.0]]), np.array([[0.0, 4.0]])]
    assert sorted(exchanged(blocks, [0, 1])) == [1, 2]
