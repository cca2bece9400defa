"""Laws of labels that are inequalities: against a minimiser of the penalised misfit."""

from dataclasses import dataclass

import numpy as np
import pytest
import scipy.optimize
from forcemap.fitter.holes.lifting import Lifts
from forcemap.fitter.process.beyond import BEND

Array = np.ndarray


@dataclass
class Solved:
    values: Array
    factor: Array


class Problem:
    """A fit of 12 columns with unit deltas but for one, and labels beside it."""

    def __init__(self, shift: float) -> None:
        rng = np.random.default_rng(5)
        self.deltas = np.append(np.ones(11), 0.3)
        data = rng.normal(size=(40, 12))
        self.system = np.eye(12) + (data.T @ data) * np.outer(self.deltas, self.deltas)
        right = self.deltas * (data.T @ rng.normal(size=40))
        factor = np.linalg.cholesky(self.system)
        self.u0 = np.linalg.solve(self.system, right)
        self.solved = Solved(self.deltas * self.u0, factor)
        self.rows = rng.normal(size=(6, 12))
        self.sigmas = np.array([0.1, 0.2, 0.1, 0.3, 0.1, 0.1])
        self.values = self.rows @ self.solved.values + shift * np.array([1, -1, 2, 0.5, -2, 1])

    def lifts(self) -> Lifts:
        return Lifts.none(12).and_those(self.some(slice(2))).and_those(self.some(slice(2, None)))

    def some(self, which: slice | Array) -> Lifts:
        """Some of the labels by themselves."""
        return Lifts.of(self.rows[which], self.values[which], self.solved, self.deltas)

    def penalty(self, u: Array) -> float:
        """Half the misfit with one-sided Huber penalties."""
        short = np.maximum(self.values - self.rows @ (self.deltas * u), 0.0) / self.sigmas
        huber = np.where(short < BEND, 0.5 * short**2, BEND * short - 0.5 * BEND**2)
        return float(0.5 * (u - self.u0) @ self.system @ (u - self.u0) + huber.sum())


@pytest.mark.parametrize("shift", [0.3, 3.0])  # without and with labels beyond the bend
def test_solution_minimises_the_misfit_with_one_sided_penalties(shift: float) -> None:
    problem = Problem(shift)
    lifts = problem.lifts()
    weights = lifts.weights(problem.solved, problem.sigmas)
    found = lifts.lifted(problem.solved, problem.deltas, weights) / problem.deltas
    best = scipy.optimize.minimize(problem.penalty, problem.u0, method="BFGS").fun
    assert problem.penalty(found) == pytest.approx(best, rel=1e-4)


def test_weights_are_those_of_rows_added_to_the_fit() -> None:
    problem = Problem(0.3)
    lifts = problem.lifts()
    weights = lifts.weights(problem.solved, problem.sigmas)
    scaled = problem.rows * problem.deltas
    system = problem.system + scaled.T @ (weights[:, None] * scaled)
    right = problem.system @ problem.u0 + scaled.T @ (weights * problem.values)
    expected = problem.deltas * np.linalg.solve(system, right)
    found = lifts.lifted(problem.solved, problem.deltas, weights)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_labels_that_the_process_is_above_do_not_pull() -> None:
    problem = Problem(-0.3)
    problem.values = problem.rows @ problem.solved.values - 0.1
    lifts = problem.lifts()
    weights = lifts.weights(problem.solved, problem.sigmas)
    np.testing.assert_array_equal(weights, 0.0)
    found = lifts.lifted(problem.solved, problem.deltas, weights)
    np.testing.assert_array_equal(found, problem.solved.values)


def test_some_labels_are_the_same_as_those_alone() -> None:
    problem = Problem(0.3)
    which = np.array([True, False, True, True, False, False])
    some = problem.lifts().those(which)
    alone = problem.some(which)
    np.testing.assert_allclose(some.rows, alone.rows)
    np.testing.assert_allclose(some.values, alone.values)
    np.testing.assert_allclose(some.half, alone.half)


def test_deviations_are_those_of_the_process_without_the_labels() -> None:
    problem = Problem(0.3)
    scaled = problem.rows * problem.deltas
    variances = np.diag(scaled @ np.linalg.inv(problem.system) @ scaled.T)
    np.testing.assert_allclose(problem.lifts().deviations, np.sqrt(variances), rtol=1e-9)
