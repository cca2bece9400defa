"""Imagined labels against a fit in closed form: what they may cost the data, and rises between them."""

from __future__ import annotations

import numpy as np
import pytest
from forcemap.fitter.process.beyond import BEND, followed_roots, rise_weights
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


# ---- rises ---------------------------------------------------------------------------------------


class Curve(Problem):
    """Energies along a curve, which the labels know roughly, and the rises between them."""

    sigma = 0.01

    def __init__(self) -> None:
        super().__init__(off=3.0)
        self.differences = np.diff(np.eye(LABELS), axis=0)
        self.roots = followed_roots(self.residuals, self.covariance, np.inf)
        self.least = np.zeros(LABELS - 1)
        # Of three of them the process is far above what is asked, of two below.
        self.least = self.rises(self.least) + np.array([-9.0, 2.0, -9.0, 5.0, -9.0])

    def step(self, weights: Array) -> Array:
        """What both kinds of labels move the process's values by."""
        rows, rises = self.rows * self.roots[:, None], self.differences @ self.rows
        left = self.least - rises @ self.values
        right = rows.T @ (self.roots * self.residuals) + rises.T @ (weights * left)
        system = self.system + rows.T @ rows + rises.T @ (weights[:, None] * rises)
        return np.asarray(np.linalg.solve(system, right))

    def rises(self, weights: Array) -> Array:
        """Between the labels, by the process that knows both kinds."""
        return np.asarray(self.differences @ self.rows @ (self.values + self.step(weights)))

    def cost(self, weights: Array) -> float:
        """Growth of the squared residuals of data and prior."""
        step = self.step(weights)
        return float(step @ self.system @ step)

    def weights(self, most: float) -> Array:
        shorts = self.least - self.differences @ self.rows @ self.values
        others = self.residuals, self.covariance, self.roots
        return rise_weights(shorts, self.differences, self.sigma, others, most)


def test_process_rises_where_it_did_not_and_is_let_alone_where_it_did() -> None:
    curve = Curve()
    weights = curve.weights(np.inf)
    missing = curve.least - curve.rises(weights)
    # A label that pulls is a few sigmas short; one that does not is surpassed.
    assert np.all(missing[weights > 0.0] < BEND * curve.sigma)
    assert np.all(missing[weights == 0.0] <= 0.0)
    assert 0 < np.count_nonzero(weights) < LABELS - 1


def test_rises_cost_the_data_no_more_than_asked() -> None:
    curve = Curve()
    before, free = curve.cost(np.zeros(LABELS - 1)), curve.cost(curve.weights(np.inf))
    assert free > before
    most = 0.2 * (free - before)
    assert curve.cost(curve.weights(most)) - before <= most * (1.0 + 1e-6)


def test_no_steps_need_no_weights() -> None:
    curve = Curve()
    others = curve.residuals, curve.covariance, curve.roots
    assert len(rise_weights(np.zeros(0), np.zeros((0, LABELS)), 0.1, others, 1.0)) == 0
