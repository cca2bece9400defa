"""Imagined labels against a fit in closed form: what they may cost the data."""

from __future__ import annotations

import numpy as np
import pytest
from forcemap.fitter.process.beyond import BEND, followed_roots
from forcemap.fitter.terms.base import Array

COLUMNS, LABELS = 12, 6


class Problem:
    """The normal equations of a fit, and labels that are `off` by so many of their sigmas."""

    def __init__(self, off: float) -> None:
        rng = np.random.default_rng(8)
        data = rng.normal(size=(300, COLUMNS))
        self.system = np.eye(COLUMNS) + data.T @ data
        self.values = np.linalg.solve(self.system, data.T @ rng.normal(size=300))
        self.rows = 4.0 * rng.normal(size=(LABELS, COLUMNS))
        self.residuals = off * rng.choice([-1.0, 1.0], LABELS)
        half = np.linalg.solve(np.linalg.cholesky(self.system), self.rows.T)
        self.covariance = half.T @ half

    def growth(self, roots: Array) -> float:
        """Of the data's squared residuals, by a fit to the data and the labels with these factors."""
        rows = self.rows * roots[:, None]
        step = np.linalg.solve(self.system + rows.T @ rows, rows.T @ (roots * self.residuals))
        return float(step @ self.system @ step)


def test_labels_cost_the_data_no_more_than_asked() -> None:
    problem = Problem(off=20.0)
    free = problem.growth(followed_roots(problem.residuals, problem.covariance, np.inf))
    for share in (0.5, 0.1, 0.02):
        most = share * free
        growth = problem.growth(followed_roots(problem.residuals, problem.covariance, most))
        # Sigmas grow by factors of two: not much less is used than may be.
        assert most / 16.0 < growth <= most


def test_labels_that_the_data_agree_with_keep_their_sigmas() -> None:
    problem = Problem(off=0.5)
    np.testing.assert_array_equal(
        followed_roots(problem.residuals, problem.covariance, 0.01 * 300), 1.0
    )


@pytest.mark.parametrize("most", [np.inf, 3.0])
def test_no_label_pulls_harder_than_at_the_bend(most: float) -> None:
    problem = Problem(off=60.0)
    roots = followed_roots(problem.residuals, problem.covariance, most)
    rows = problem.rows * roots[:, None]
    step = np.linalg.solve(problem.system + rows.T @ rows, rows.T @ (roots * problem.residuals))
    left = problem.residuals - problem.rows @ step
    # The reweighting has converged to a per mille.
    assert np.all(roots**2 * np.abs(left) <= BEND * (1.0 + 1e-3))
