"""The streamed, whitened solver against QR of all rows and against dense Gaussian formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from forcemap.fitter.sharing.threads import Threads
from forcemap.fitter.solve.cholesky import pivoted_cholesky
from forcemap.fitter.solve.evidence import DELTA_PRIOR, maximise_evidence
from forcemap.fitter.solve.solver import (
    STRIP,
    Accumulator,
    Groups,
    add_exactly,
    solve_by_qr,
)
from forcemap.potentials import _core
from numpy.typing import NDArray

Array = NDArray[np.float64]


def squared_exponential(x: Array, y: Array, lengthscale: float = 1.0) -> Array:
    return np.asarray(np.exp(-((x[:, None] - y[None, :]) ** 2) / (2 * lengthscale**2)))


class Problem:
    """Regression of a smooth function with few sparse points, rows scaled by 1/sigma."""

    def __init__(self, seed: int, rows: int = 60, sparse: int = 9, jitter: float = 0.0) -> None:
        rng = np.random.default_rng(seed)
        self.x = np.sort(rng.uniform(0, 6, rows))
        self.points = np.linspace(0, 6, sparse)
        self.sigmas = rng.uniform(0.05, 0.2, rows)
        self.y = np.sin(self.x) + self.sigmas * rng.normal(size=rows)
        self.covariance = squared_exponential(self.points, self.points) + jitter * np.eye(sparse)
        self.rows = squared_exponential(self.x, self.points)
        self.factor = scipy.linalg.cholesky(self.covariance, lower=True)
        self.whitened = scipy.linalg.solve_triangular(self.factor, self.rows.T, lower=True).T

    def accumulated(self, block: int) -> Accumulator:
        data = Accumulator(len(self.points))
        for start in range(0, len(self.x), block):
            data.add(*self.scaled(slice(start, start + block)))
        return data

    def scaled(self, part: slice) -> tuple[Array, Array, float]:
        """Some rows as an accumulator takes them."""
        sigmas = self.sigmas[part]
        rows = self.whitened[part] / sigmas[:, None]
        return rows, self.y[part] / sigmas, float(np.log(sigmas).sum())

    def grouped(self, count: int = 1) -> Groups:
        """Row k in group k modulo `count`, settled."""
        data = Groups(len(self.points), count)
        data.add([self.scaled(slice(k, None, count)) for k in range(count)])
        data.settle()
        return data

    def marginal(self, delta: float, noise_factor: float = 1.0, second: float = 1.0) -> float:
        """log N(y | 0, delta² K_nm K_mm⁻¹ K_mn + sigma²), sigmas and delta times the factor.

        Every other row's sigma is multiplied by `second`.
        """
        prior = delta**2 * self.rows @ np.linalg.solve(self.covariance, self.rows.T)
        factors = np.where(np.arange(len(self.x)) % 2, second, 1.0)
        total = noise_factor**2 * (prior + np.diag((self.sigmas * factors) ** 2))
        return float(scipy.stats.multivariate_normal(np.zeros(len(self.y)), total).logpdf(self.y))


@pytest.mark.parametrize("delta", [0.3, 1.0, 20.0])
def test_streamed_solution_is_that_of_qr(delta: float) -> None:
    """Predictions within 1e-8: the whitened system is well conditioned, unlike K_nm itself."""
    # A covariance of condition number 1e12, which the normal equations would square.
    problem = Problem(1, rows=200, sparse=25, jitter=1e-11)
    values = problem.accumulated(64).solve(np.full(25, delta)).values
    weights = solve_by_qr(
        problem.rows / problem.sigmas[:, None],
        problem.y / problem.sigmas,
        problem.covariance / delta**2,
    )
    found, expected = problem.whitened @ values, problem.rows @ weights
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)
    assert np.abs(expected - np.sin(problem.x)).max() < 0.2


def test_qr_is_the_posterior_mean() -> None:
    """Its weights are those of the normal equations, where these can be solved at all."""
    problem = Problem(2)
    rows, y = problem.rows / problem.sigmas[:, None], problem.y / problem.sigmas
    expected = np.linalg.solve(rows.T @ rows + problem.covariance, rows.T @ y)
    np.testing.assert_allclose(
        problem.rows @ solve_by_qr(rows, y, problem.covariance),
        problem.rows @ expected,
        rtol=0,
        atol=1e-9,
    )


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_blocks_of_rows_add_up(block: int) -> None:
    """Tolerance: sums of 60 numbers in another order."""
    problem = Problem(3)
    whole, parts = problem.accumulated(60), problem.accumulated(block)
    np.testing.assert_allclose(parts.full_gram(), whole.full_gram(), rtol=1e-12)
    np.testing.assert_allclose(
        whole.full_gram(),
        problem.whitened.T @ (problem.whitened / problem.sigmas[:, None] ** 2),
        rtol=1e-11,
        atol=1e-9,
    )
    np.testing.assert_allclose(parts.right, whole.right, rtol=1e-11, atol=1e-11)
    assert parts.squares == pytest.approx(whole.squares, rel=1e-13)
    assert parts.log_sigma == pytest.approx(whole.log_sigma, rel=1e-13)
    assert parts.count == whole.count == 60


@pytest.mark.parametrize("delta", [0.2, 1.0, 5.0])
@pytest.mark.parametrize("noise_factor", [0.5, 1.0, 3.0])
def test_log_marginal_likelihood_is_that_of_the_gaussian(delta: float, noise_factor: float) -> None:
    """Tolerance: determinants of a dense matrix of condition number 1e5."""
    problem = Problem(4)
    solution = problem.accumulated(13).solve(np.full(9, delta))
    assert solution.log_marginal_likelihood(noise_factor) == pytest.approx(
        problem.marginal(delta, noise_factor), rel=1e-9
    )


def test_best_noise_factor_maximises_the_evidence() -> None:
    solution = Problem(5).accumulated(20).solve(np.full(9, 1.3))
    best = solution.best_noise_factor
    top = solution.log_marginal_likelihood(best)
    assert top > solution.log_marginal_likelihood(1.01 * best)
    assert top > solution.log_marginal_likelihood(0.99 * best)


def test_chosen_delta_has_the_largest_evidence() -> None:
    """Found by a search to 5 % in the logarithm; its weak prior pulls towards 1 eV."""
    problem = Problem(6)
    problem.y *= 12.0
    found = maximise_evidence(problem.grouped(), [9], [1.0], [False], False)
    assert found.noise_factor == 1.0
    np.testing.assert_array_equal(found.sigma_factors, [1.0])
    grid = np.exp(np.linspace(-2, 6, 161))
    evidence = [problem.marginal(d) - DELTA_PRIOR * 60 * np.log(d) ** 2 for d in grid]
    assert found.deltas[0] == pytest.approx(grid[int(np.argmax(evidence))], rel=0.12)


@pytest.mark.parametrize("scale_is_free", [False, True])
def test_sigma_of_a_group_has_the_largest_evidence(scale_is_free: bool) -> None:
    """Every other row is worse than told: found within 1 % of the dense Gaussian's maximum."""
    problem = Problem(12, rows=120)
    noise = np.where(np.arange(120) % 2, 6.0, 1.0) * problem.sigmas
    problem.y = np.sin(problem.x) + noise * np.random.default_rng(3).normal(size=120)
    found = maximise_evidence(problem.grouped(2), [9], [1.3], [True], scale_is_free)
    assert found.sigma_factors[0] == 1.0
    assert 4.0 < found.sigma_factors[1] < 9.0

    def cost(logs: Array) -> float:
        scale = np.exp(logs[1]) if scale_is_free else 1.0
        return -problem.marginal(1.3, float(scale), float(np.exp(logs[0])))

    best = scipy.optimize.minimize(cost, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-4})
    assert np.log(found.sigma_factors[1]) == pytest.approx(best.x[0], abs=0.01)
    if scale_is_free:
        assert np.log(found.noise_factor) == pytest.approx(best.x[1], abs=0.01)
    else:
        assert found.noise_factor == 1.0


def test_groups_together_are_the_rows_with_these_sigmas() -> None:
    """Tolerance: sums of 60 numbers in another order."""
    problem = Problem(13)
    together = problem.grouped(3).together(np.array([1.0, 1.0, 2.5]))
    problem.sigmas[2::3] *= 2.5
    whole = problem.grouped().together(np.ones(1))
    np.testing.assert_allclose(together.full_gram(), whole.full_gram(), rtol=1e-12)
    np.testing.assert_allclose(together.vector, whole.vector, rtol=1e-11, atol=1e-11)
    assert together.count == whole.count == 60


def test_residual_of_sums_is_that_of_rows() -> None:
    """Tolerance: squares that cancel, of 1e4 in all."""
    problem = Problem(14)
    values = np.random.default_rng(1).normal(size=9)
    rows, targets, _ = problem.scaled(slice(None))
    found = problem.accumulated(60).residual(values)
    assert found == pytest.approx(float(np.sum((targets - rows @ values) ** 2)), rel=1e-10)


def test_group_without_rows_keeps_its_sigma() -> None:
    data = Groups(9, 2)
    rows, targets, log_sigma = Problem(15).scaled(slice(None))
    data.add([(rows, targets, log_sigma), (rows[:0], targets[:0], 0.0)])
    data.settle()
    found = maximise_evidence(data, [9], [1.0], [False], True)
    np.testing.assert_array_equal(found.sigma_factors, [1.0, 1.0])


def test_deltas_beyond_the_rounding_of_the_gram_matrix_have_an_evidence() -> None:
    """Line searches try them; a smaller delta then has the larger evidence, and the fit goes on."""
    rng = np.random.default_rng(4)
    rows = 1e5 * rng.normal(size=(300, 3)) @ rng.normal(size=(3, 8))
    groups = Groups(8, 1)
    groups.add([(rows, rows @ rng.normal(size=8) + rng.normal(size=300), 0.0)])
    groups.settle()
    data = groups.together(np.ones(1))
    wide = np.full(8, 1.6e5)
    system = np.eye(8) + data.full_gram() * np.multiply.outer(wide, wide)
    with pytest.raises(np.linalg.LinAlgError):
        scipy.linalg.cholesky(system, lower=True)
    found = data.solve(wide).log_marginal_likelihood()
    assert np.isfinite(found)
    assert data.solve(np.ones(8)).log_marginal_likelihood() > found
    assert maximise_evidence(groups, [8], [1.6e5], [False], False).deltas[0] < 1e3


def reproduced(seed: int = 21, rows: int = 60, copies: int = 1, count: int = 1) -> Groups:
    """Labels that the process can have exactly, in groups."""
    problem = Problem(seed, rows=rows)
    problem.y = problem.rows @ np.random.default_rng(2).normal(size=9)
    data = Groups(9, count)
    for _ in range(copies):
        data.add([problem.scaled(slice(k, None, count)) for k in range(count)])
    data.settle()
    return data


@pytest.mark.parametrize("rows", [12, 60, 400])
def test_labels_that_are_reproduced_leave_a_noise(rows: int) -> None:
    """As if one more label were off by a sigma: with n rows 1 / sqrt(n + 1) of the sigmas at least."""
    found = maximise_evidence(reproduced(rows=rows), [9], [1.0], [False], True)
    assert found.noise_is_guessed
    least = (rows + 1.0) ** -0.5
    assert least <= found.noise_factor < 2.0 * least
    # The common factor is taken out of the deltas again: these are of the order of the weights.
    assert 0.1 < found.deltas[0] * found.noise_factor < 10.0


def test_copies_say_no_more_of_the_noise_than_one() -> None:
    once = maximise_evidence(reproduced(), [9], [1.0], [False], True)
    often = maximise_evidence(reproduced(copies=50), [9], [1.0], [False], True, repeats=50)
    assert often.noise_factor == pytest.approx(once.noise_factor, rel=0.2)


def test_sigma_of_a_group_does_not_vanish() -> None:
    """Of 30 rows; its given sigma is a start only, and may fall ten times as far."""
    found = maximise_evidence(reproduced(count=2), [9], [1.0], [False], True)
    assert found.sigma_factors[1] * found.noise_factor > 0.1 / np.sqrt(31.0) * 0.99
    for scale_is_free in (False, True):
        zeros = Groups(9, 2)
        rows, targets, log_sigma = Problem(16).scaled(slice(None))
        zeros.add([(rows, targets, log_sigma), (rows[:6], 0.0 * targets[:6], log_sigma)])
        zeros.settle()
        found = maximise_evidence(zeros, [9], [1.0], [False], scale_is_free)
        assert found.sigma_factors[1] * found.noise_factor > 0.1 / np.sqrt(7.0) * 0.99


def test_noise_that_the_rows_show_is_not_guessed() -> None:
    """The guess is one row beside sixty: a change of one in a hundred at most."""
    problem = Problem(5)
    found = maximise_evidence(problem.grouped(), [9], [1.3], [True], True)
    best = problem.accumulated(20).solve(np.full(9, 1.3)).best_noise_factor
    assert not found.noise_is_guessed
    assert found.noise_factor == pytest.approx(best, rel=0.01)


def test_no_rows_or_rows_of_zeros_leave_everything() -> None:
    for rows in (0, 12):
        data = Groups(9, 2)
        empty = np.zeros((0, 9)), np.zeros(0), 0.0
        data.add([(np.zeros((rows, 9)), np.zeros(rows), 0.0), empty])
        data.settle()
        found = maximise_evidence(data, [9], [0.7], [False], True)
        assert 0.2 < found.noise_factor <= 1.0
        assert 0.5 < found.deltas[0] <= 1.0


@pytest.mark.parametrize("scale", [1e3, 1e9])
def test_misfit_is_no_less_than_its_rounding(scale: float) -> None:
    """Squares of 1e20 cancel to some thousands, whatever their sum comes to."""
    rows = Problem(5).whitened
    data = Accumulator(9)
    data.add(rows, rows @ np.full(9, scale), 0.0)
    data.settle()
    solution = data.solve(np.full(9, scale))
    assert solution.misfit >= 1e-15 * data.squares


def test_given_deltas_stay() -> None:
    problem = Problem(7)
    sizes = [4, 5]
    found = maximise_evidence(problem.grouped(), sizes, [0.7, 1.0], [True, False], False)
    assert found.deltas[0] == 0.7
    assert found.deltas[1] != 1.0
    assert found.noise_factor == 1.0
    found = maximise_evidence(problem.grouped(), sizes, [0.7, 0.9], [True, True], False)
    np.testing.assert_array_equal(found.deltas, [0.7, 0.9])


# ----- pivoted Cholesky -----


@pytest.mark.parametrize("rank", [1, 4, 12])
def test_pivoted_cholesky_finds_the_rank(rank: int) -> None:
    rng = np.random.default_rng(rank)
    root = rng.normal(size=(12, rank))
    matrix = root @ root.T
    kept, factor = pivoted_cholesky(matrix)
    assert len(kept) == len(set(kept.tolist())) == rank
    np.testing.assert_array_equal(factor, np.tril(factor))
    np.testing.assert_allclose(factor @ factor.T, matrix[np.ix_(kept, kept)], rtol=0, atol=1e-11)
    # The rows that were left out follow from those kept.
    explained = matrix[:, kept] @ np.linalg.solve(matrix[np.ix_(kept, kept)], matrix[kept])
    np.testing.assert_allclose(explained, matrix, rtol=0, atol=1e-6)


def test_pivoted_cholesky_is_greedy() -> None:
    """Each pivot has the largest variance that the pivots before it leave."""
    x = np.random.default_rng(8).uniform(0, 5, 20)
    matrix = squared_exponential(x, x)
    kept, _ = pivoted_cholesky(matrix, 1e-3)
    for n in range(1, len(kept)):
        before = kept[:n]
        left = np.diag(matrix) - np.einsum(
            "ij,ji->i",
            matrix[:, before],
            np.linalg.solve(matrix[np.ix_(before, before)], matrix[before]),
        )
        assert left[kept[n]] == pytest.approx(left.max(), rel=1e-6, abs=1e-9)
    assert left.max() > 1e-3


def test_pivoted_cholesky_leaves_out_repeated_points() -> None:
    x = np.array([1.0, 2.0, 1.0, 3.0, 2.0])
    kept, _ = pivoted_cholesky(squared_exponential(x, x))
    assert sorted(x[kept]) == [1.0, 2.0, 3.0]


def test_pivoted_cholesky_of_nothing() -> None:
    kept, factor = pivoted_cholesky(np.zeros((0, 0)))
    assert kept.shape == (0,)
    assert factor.shape == (0, 0)


def test_sums_do_not_depend_on_how_blocks_are_shared_out() -> None:
    """Three parts, each summed for itself, then together: the same to the last bit."""
    rng = np.random.default_rng(11)
    blocks = [rng.normal(size=(6, 40)) * 10.0 ** rng.uniform(-4, 4, 40) for _ in range(30)]

    def summed(numbers: range) -> Accumulator:
        data = Accumulator(40)
        for n in numbers:
            data.add(blocks[n], blocks[n][:, 3], float(n) / 7.0)
        return data

    whole = summed(range(30))
    first, *others = (summed(range(start, 30, 3)) for start in (2, 0, 1))
    for other in others:
        for (high, low), (more, rest) in zip(first.sums, other.sums, strict=True):
            add_exactly(high, low, more)
            low += rest
    plain = first.gram.copy()
    whole.settle()
    first.settle()
    np.testing.assert_array_equal(first.gram, whole.gram)
    np.testing.assert_array_equal(first.vector, whole.vector)
    # What a plain sum has, rounding at every block, is something else.
    assert not np.array_equal(plain, whole.gram)
    exact = [[math.fsum(float(b[:, i] @ b[:, j]) for b in blocks) for j in (0, 7)] for i in (0, 3)]
    np.testing.assert_allclose(whole.full_gram()[np.ix_([0, 3], [0, 7])], exact, rtol=1e-13)


def test_adding_exactly_keeps_what_rounding_cuts_off() -> None:
    high, low = np.array([1.0]), np.array([0.0])
    for _ in range(1000):
        add_exactly(high, low, np.array([1e-17]))
    assert high[0] == 1.0
    assert low[0] == pytest.approx(1e-14, rel=1e-12)
    add_exactly(high, low, np.array([-1.0]))
    assert high[0] + low[0] == pytest.approx(1e-14, rel=1e-12)


def test_threads_that_share_strips_of_the_sums_change_no_bit() -> None:
    """Two strips and a part of one, which end on a diagonal; below it there is nothing."""
    rng = np.random.default_rng(5)
    size = 2 * STRIP + 37
    blocks = [rng.normal(size=(n, size)) for n in (70, 3, 41)]

    def summed(threads: Threads) -> Groups:
        data = Groups(size, 2)
        for rows in blocks:
            halves = rows[::2], rows[1::2]
            data.add([(half, half[:, 1], 0.5) for half in halves], threads.each)
        data.settle()
        return data

    with Threads(1) as one, Threads(3) as three:
        alone, shared = summed(one), summed(three)
    for first, second in zip(alone.members, shared.members, strict=True):
        np.testing.assert_array_equal(first.gram, second.gram)
        np.testing.assert_array_equal(first.vector, second.vector)
        assert not np.tril(first.gram, -1).any()
    rows = np.concatenate([block[::2] for block in blocks])
    np.testing.assert_allclose(alone.members[0].full_gram(), rows.T @ rows, rtol=1e-12, atol=1e-11)


def test_rows_of_some_columns_are_rows_with_zeros() -> None:
    """Columns with gaps, in more than one strip, with gaps at its ends and in it."""
    rng = np.random.default_rng(6)
    places = np.r_[3:STRIP, STRIP + 9 : 2 * STRIP + 5, 2 * STRIP + 6]
    data, whole = Accumulator(3 * STRIP), Accumulator(3 * STRIP)
    for n in (80, 2):
        rows = rng.normal(size=(n, len(places)))
        wide = np.zeros((n, data.size))
        wide[:, places] = rows
        data.add(rows, rows[:, 4], 0.5, places=places)
        whole.add(wide, rows[:, 4], 0.5)
    data.settle()
    whole.settle()
    np.testing.assert_allclose(data.gram, whole.gram, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(data.vector, whole.vector, rtol=1e-12, atol=1e-12)


def test_strips_that_do_not_fit_are_refused() -> None:
    """The core writes nowhere but into the sums."""
    square, strip, places = np.zeros((6, 6)), np.ones((2, 5)), np.array([0, 1, 2, 4, 5])
    _core.add_triangle_exactly(square, square.copy(), strip, 3, places)
    np.testing.assert_array_equal(square.sum(axis=1), [0, 0, 0, 0, 4, 5])
    np.testing.assert_array_equal(square[5], [1, 1, 1, 0, 1, 1])
    for first, value, where in (
        (4, strip, places),
        (6, strip[:0], places),
        (3, strip[:, :4], places),
        (3, strip, places + 1),
        (3, strip, places - 1),
        (3, strip, places[::-1]),
    ):
        arrays = np.ascontiguousarray(value), first, np.ascontiguousarray(where)
        with pytest.raises(ValueError, match="do not fit together"):
            _core.add_triangle_exactly(square, square.copy(), *arrays)
