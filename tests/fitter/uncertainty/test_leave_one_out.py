"""Leaving frames out by algebra, against fits that never saw the frames."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.linalg
from forcemap.fitter.baseline.baseline import Baseline
from forcemap.fitter.choice.trials import of_largest_evidence
from forcemap.fitter.config import Settings
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.fitting import Fitted, fitted
from forcemap.fitter.process.accumulate import whole_rows
from forcemap.fitter.process.blocks import blocks_of
from forcemap.fitter.process.prior import Prior
from forcemap.fitter.process.targets import Targets
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.solve.solver import solve_by_qr
from forcemap.fitter.terms.rows import columns, frame_rows
from forcemap.fitter.uncertainty.kept_rows import KeptRows
from forcemap.fitter.uncertainty.leave_one_out import Factors, LeftOut, without_rows
from numpy.typing import NDArray
from structures import SILICON

Array = NDArray[np.float64]

pytestmark = pytest.mark.usefixtures("one_thread")

TERMS = [
    {"kind": "two_body", "cutoff": 5.0, "n_sparse": 10},
    {"kind": "three_body", "cutoff": 3.6, "n_sparse": 20},
]


def settings(**changes: Any) -> Settings:
    train = [{"path": "train.xyz", "index": "::9"}, "isolated.xyz"]
    given = {"data": {"train": train}, "terms": TERMS, "outside": "free", **changes}
    return Settings.from_dict(given, SILICON)


def read(given: Settings) -> list[Frame]:
    return read_frames(given.data.train, given.data.keys, given.sigma)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return read(settings())


def fit(given: Settings, frames: Sequence[Frame], jobs: int = 1) -> Fitted:
    found = fitted(given, frames, Run(jobs))
    assert found is not None
    return found


def refit_errors(found: Fitted, left: LeftOut) -> tuple[Array, Array]:
    """Errors and variances of a fit to all others by QR, with the same points, deltas and sigmas."""
    model, blocks = found.model, []
    for term, block, _ in columns(model.terms):
        blocks.append(term.covariance(block) / term.delta**2)
    covariance = scipy.linalg.block_diag(*blocks)
    sigma = model.data["sigma"]
    rows, values = [], []
    for other in found.left_out:
        if other is left:
            continue
        part = other.target
        sigmas = part.sigmas * model.noise_factor
        factor = sigma["stress"] / (part.frame.sigma.stress * model.noise_factor)
        sigmas = np.where(part.of_stress, sigmas * factor, sigmas)
        rows.append(frame_rows(part.frame, model.terms)[part.rows] / sigmas[:, None])
        values.append(part.values / sigmas)
    weights = solve_by_qr(np.vstack(rows), np.concatenate(values), covariance)
    r = scipy.linalg.qr(np.vstack([*rows, scipy.linalg.cholesky(covariance)]), mode="economic")[1]
    own = frame_rows(left.frame, model.terms)[left.target.rows]
    half = scipy.linalg.solve_triangular(r.T, own.T, lower=True)
    return left.target.values - own @ weights, np.sum(half**2, axis=0)


def without(label: str, frames: Sequence[Frame]) -> list[Frame]:
    return [replace(frame, **{label: None}) for frame in frames]


CASES = {
    "all labels": ({}, ()),
    "stress of a given sigma": ({"sigma": {"stress": 0.002}}, ()),
    "energies only": ({"e0": "isolated"}, ("forces", "stress")),
    "forces only": ({"e0": {"Si": -0.8}}, ("energy", "stress")),
    "average e0": ({"e0": "average"}, ("stress",)),
}


@pytest.mark.parametrize("name", CASES)
def test_frames_left_out_are_those_of_refits(name: str) -> None:
    """To 1e-6 of the largest error: rows lose half of their digits where the points' covariance, whose
    condition number is 1e9, is factored anew."""
    changes, missing = CASES[name]
    given = settings(**changes)
    some = read(given)
    for label in missing:
        some = without(label, some)
    if "energy" in missing:
        some = [frame for frame in some if len(frame.numbers) > 1]
    found = fit(given, some)
    assert len(found.left_out) == len(some)
    largest = max(float(np.abs(left.errors).max()) for left in found.left_out)
    for left in (found.left_out[0], found.left_out[len(some) // 2], found.left_out[-1]):
        errors, variances = refit_errors(found, left)
        np.testing.assert_allclose(left.errors, errors, rtol=1e-5, atol=1e-6 * largest)
        np.testing.assert_allclose(
            left.variances, variances, rtol=1e-4, atol=1e-7 * variances.max()
        )


def test_errors_left_out_are_larger_than_those_of_the_fit(frames: list[Frame]) -> None:
    found = fit(settings(), frames)
    rows = {"out": 0.0, "in": 0.0}
    for left in found.left_out:
        target = left.target
        means = frame_rows(target.frame, found.model.terms)[target.rows] @ found.model.weights
        rows["in"] += float(np.sum(((target.values - means) / target.sigmas) ** 2))
        rows["out"] += float(np.sum((left.errors / target.sigmas) ** 2))
    assert rows["out"] > 1.02 * rows["in"]


def test_weights_are_those_of_qr_although_products_were_summed() -> None:
    """1e-10 in the labels' units: the Gram matrix alone gives 6e-8 here; with the step from the rows'
    residuals 1e-12 is left."""
    terms = [
        {"kind": "two_body", "cutoff": 5.0, "n_sparse": 10},
        {"kind": "embedding", "cutoff": 5.0},
        {"kind": "soap", "cutoff": 4.5, "n_max": 4, "l_max": 3, "n_sparse": 100},
    ]
    given = settings(terms=terms)
    found = fit(given, read(given))
    model = found.model
    prior = Prior(model.terms, tuple(model.factors))
    deltas = np.concatenate([np.full(term.size, term.delta) for term in model.terms])
    deltas /= model.noise_factor
    stress = found.sigma_factors[-1] / found.sigma_factors[0]
    rows, values, units = [], [], []
    for block in blocks_of([left.target for left in found.left_out]):
        factors = np.concatenate([np.where(t.of_stress, stress, 1.0) for t in block])
        sigmas = np.concatenate([target.sigmas for target in block])
        rows.append(whole_rows(block, prior) * deltas / factors[:, None])
        values.append(np.concatenate([target.values for target in block]) / sigmas / factors)
        units.append(factors * sigmas)
    all_rows, all_units = np.vstack(rows), np.concatenate(units)
    one = np.eye(len(deltas))
    q, r = scipy.linalg.qr(np.vstack([all_rows, one]), mode="economic")
    targets = np.concatenate([*values, np.zeros(len(deltas))])
    expected = scipy.linalg.solve_triangular(r, q.T @ targets)
    assert model.labels is not None
    found_values = scipy.linalg.solve_triangular(model.posterior.T, model.labels.projected)
    assert np.abs(all_rows @ (found_values - expected) * all_units).max() < 1e-10


def test_copies_are_left_out_together(frames: list[Frame]) -> None:
    """A copy that stays would give the frame away; three times each says what each says once."""
    given = settings(sigma={"stress": 0.002}, terms=[dict(t, delta=1.0) for t in TERMS])
    points = fit(given, frames)
    thrice = fit(given, [frame for frame in frames for _ in range(3)])
    for left, again in zip(points.left_out, thrice.left_out[::3], strict=True):
        if len(left.frame.numbers) > 1:
            ratio = np.linalg.norm(again.errors) / np.linalg.norm(left.errors)
            assert 0.7 < ratio < 1.5


@pytest.mark.parametrize("count", [1, 5, 30, 80])
@pytest.mark.parametrize("copies", [1, 3])
def test_rows_left_out_are_those_of_a_regression_without_them(count: int, copies: int) -> None:
    """Of 30 columns: with fewer rows and with more. To 1e-9, of numbers about 1."""
    rng = np.random.default_rng(count)
    others, own = rng.normal(size=(100, 30)), rng.normal(size=(count, 30))
    y, own_y = rng.normal(size=100), rng.normal(size=count)
    whole = np.eye(30) + others.T @ others + copies * own.T @ own
    values = np.linalg.solve(whole, others.T @ y + copies * own.T @ own_y)
    half = scipy.linalg.solve_triangular(np.linalg.cholesky(whole), own.T, lower=True)
    errors, variances = without_rows(half, own_y - own @ values, copies)
    rest = np.linalg.inv(np.eye(30) + others.T @ others)
    np.testing.assert_allclose(errors, own_y - own @ rest @ others.T @ y, atol=1e-9)
    np.testing.assert_allclose(variances, np.diag(own @ rest @ own.T), atol=1e-9)


@pytest.mark.parametrize("count", [3, 40])
def test_rows_that_alone_determine_something_leave_the_prior(count: int) -> None:
    """A row 1e4 sigmas strong, orthogonal to all others: 1 - H is 1e-8 there, the variance 1e8."""
    rows = np.zeros((count, 20))
    rows[0, 0] = 1e4
    rows[1:, 1:] = np.random.default_rng(0).normal(size=(count - 1, 19))
    whole = np.eye(20) + rows.T @ rows
    half = scipy.linalg.solve_triangular(np.linalg.cholesky(whole), rows.T, lower=True)
    errors, variances = without_rows(half, np.full(count, 1e-8))
    np.testing.assert_allclose(variances[0], 1e8, rtol=1e-5)
    np.testing.assert_allclose(errors[0], 1.0, rtol=1e-5)


@pytest.mark.parametrize("count", [3, 40])
def test_hats_of_one_stay_finite(count: int) -> None:
    """Rounding leaves nothing of 1 - H: what comes out is large, and no NaN."""
    half = np.zeros((20, count))
    half[0, 0] = 1.0 + 1e-15
    errors, variances = without_rows(half, np.ones(count))
    assert np.all(np.isfinite(errors))
    assert variances[0] > 1e9
    np.testing.assert_allclose(errors[1:], 1.0)


@pytest.mark.parametrize("rows", [4, 4000], ids=["few rows", "many rows"])
def test_rows_of_some_columns_are_left_out_as_rows_with_zeros(rows: int) -> None:
    """By a factor of their columns alone, where it is worth it, or by that of all."""
    rng = np.random.default_rng(4)
    size, places = 40, [np.r_[2:9, 20:31], np.arange(40), np.r_[0, 39], np.r_[2:9, 20:31]]
    given = rng.normal(size=(200, size)) * 10.0 ** rng.uniform(-2, 2, size)
    system = np.eye(size) + given.T @ given
    factors = Factors(scipy.linalg.cholesky(system, lower=True), places, [rows] * 4, held=1)
    assert factors.is_worth_it(2 * rows, 18, size) == (rows == 4000)
    for where in places:
        x = np.zeros((5, size))
        x[:, where] = rng.normal(size=(5, len(where)))
        half = factors.half(np.ascontiguousarray(x[:, where]), where)
        assert len(half) == (len(where) if rows == 4000 else size)
        expected = x @ scipy.linalg.solve(system, x.T, assume_a="pos")
        np.testing.assert_allclose(half.T @ half, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("jobs", [2, 3])
def test_threads_give_the_same_bits(jobs: int, frames: list[Frame]) -> None:
    one, several = fit(settings(), frames), fit(settings(), frames, jobs)
    for left, again in zip(one.left_out, several.left_out, strict=True):
        np.testing.assert_array_equal(left.errors, again.errors)
        np.testing.assert_array_equal(left.variances, again.variances)


def test_rows_that_are_not_kept_are_computed_again(
    frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = fit(settings(), frames)
    monkeypatch.setattr(KeptRows, "take", lambda self, number: None)
    again = fit(settings(), frames)
    for left, other in zip(kept.left_out, again.left_out, strict=True):
        np.testing.assert_array_equal(left.errors, other.errors)


def test_prediction_and_error_make_the_label(frames: list[Frame]) -> None:
    found = fit(settings(), frames)
    left = max(found.left_out, key=lambda left: len(left.frame.numbers))
    frame, prediction = left.frame, left.prediction()
    n = len(frame.numbers)
    errors = dict(zip(left.target.rows.tolist(), left.errors, strict=True))
    assert frame.energy is not None
    assert frame.forces is not None
    assert frame.stress is not None
    assert frame.energy - prediction.energy == pytest.approx(errors[0], abs=1e-10)
    np.testing.assert_allclose(
        (frame.forces - prediction.forces).ravel(), [errors[k] for k in range(1, 3 * n + 1)]
    )
    assert prediction.stress is not None
    volume = abs(np.linalg.det(frame.cell))
    assert (frame.stress - prediction.stress)[0, 0] * volume == pytest.approx(errors[3 * n + 1])


def peak(given: Settings, frames: Sequence[Frame]) -> int:
    """Bytes of a fit, at most."""
    tracemalloc.start()
    try:
        fit(given, frames)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_rows(frames: list[Frame]) -> None:
    """Five times as many rows in all: what is kept of each in memory is a tenth of a row."""
    given = settings(terms=[dict(TERMS[0], n_sparse=40), dict(TERMS[1], n_sparse=120)])
    some = fit(given, frames * 2)
    added = 8 * some.model.data["n_rows"] * 4 * len(some.model.weights)
    grown = peak(given, frames * 10) - peak(given, frames * 2)
    assert added > 5e6
    assert grown < 0.25 * added


def test_trial_fits_leave_nothing_out(frames: list[Frame], monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("frames are left out")

    monkeypatch.setattr("forcemap.fitter.fitting.leave_one_out", refused)
    options = [settings(), settings(terms=TERMS[:1])]
    assert of_largest_evidence(options, frames) in options
    with pytest.raises(AssertionError, match="frames are left out"):
        fit(settings(), frames)


def test_one_frame_is_not_left_out(frames: list[Frame]) -> None:
    large = max(frames, key=lambda frame: len(frame.numbers))
    assert not fit(settings(e0={"Si": -0.8}), [large]).left_out


def test_targets_without_labels_are_not_left_out(frames: list[Frame]) -> None:
    bare = replace(frames[0], energy=None, forces=None, stress=None)
    found = fit(settings(), [bare, *frames[1:]])
    assert len(found.left_out) == len(frames) - 1
    assert found.left_out[0].frame is frames[1]
    baseline = Baseline(found.model.species, found.model.repulsion)
    assert not len(Targets.of(bare, found.model.e0, baseline.of(bare)).rows)
