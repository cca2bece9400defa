"""Triangular factors that take in rows."""

import numpy as np
import pytest
from forcemap.fitter.solve.triangle import with_rows


@pytest.mark.parametrize("count", [1, 5, 80])
def test_rows_add_their_gram_matrix(count: int) -> None:
    """To rounding: a Householder factor is that of a matrix 1e-15 from the exact one."""
    rng = np.random.default_rng(count)
    triangle = np.triu(rng.normal(size=(40, 40))) + 3.0 * np.eye(40)
    rows = rng.normal(size=(count, 40))
    found = with_rows(triangle, rows)
    assert np.all(np.diag(found) > 0.0)
    assert not np.tril(found, -1).any()
    np.testing.assert_allclose(found.T @ found, triangle.T @ triangle + rows.T @ rows, atol=1e-11)


def test_a_column_of_targets_becomes_the_solution_and_the_misfit() -> None:
    """Against least squares by numpy."""
    rng = np.random.default_rng(0)
    rows, targets = rng.normal(size=(60, 7)), rng.normal(size=60)
    start = np.eye(8)
    start[-1, -1] = 0.0
    found = with_rows(start, np.column_stack([rows, targets]))
    stacked = np.vstack([rows, np.eye(7)])
    padded = np.concatenate([targets, np.zeros(7)])
    solution, misfit, *_ = np.linalg.lstsq(stacked, padded, rcond=None)
    np.testing.assert_allclose(np.linalg.solve(found[:7, :7], found[:7, 7]), solution, rtol=1e-11)
    assert found[7, 7] ** 2 == pytest.approx(float(misfit[0]), rel=1e-11)


def test_the_triangle_given_is_left_alone() -> None:
    triangle = np.eye(3)
    with_rows(triangle, np.ones((2, 3)))
    np.testing.assert_array_equal(triangle, np.eye(3))
