"""Calibration of deviations, on residuals and on fits whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.lj import LennardJones
from forcemap.fitter.config import Settings
from forcemap.fitter.data.frame import Frame, FrameSigma
from forcemap.fitter.fitting import Fitted, fitted
from forcemap.fitter.process.model import Model
from forcemap.fitter.process.truth import Truth
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.terms.rows import columns
from forcemap.fitter.uncertainty.calibration import (
    NOT_CALIBRATED,
    Residuals,
    calibrated,
    calibration,
)
from numpy.typing import NDArray
from structures import as_frame

Array = NDArray[np.float64]

pytestmark = pytest.mark.usefixtures("one_thread")


def residuals(count: int, factor: float, noise: float, seed: int = 0) -> Residuals:
    """Normal errors of known deviations, with variances over three orders of magnitude."""
    rng = np.random.default_rng(seed)
    variances = np.exp(rng.uniform(np.log(1e-5), np.log(1e-2), count))
    deviations = np.sqrt(factor**2 * variances + noise**2)
    return Residuals(rng.normal(size=count) * deviations, variances)


def rms_z(found: Residuals, known: Any) -> float:
    deviations = known.deviation(found.variances, with_noise=True)
    return float(np.sqrt(np.mean((found.errors / deviations) ** 2)))


@pytest.mark.parametrize(("factor", "noise"), [(1.0, 0.03), (12.0, 0.02), (5.0, 1e-4)])
def test_factor_and_noise_are_those_of_the_residuals(factor: float, noise: float) -> None:
    """To 10 %, of 20,000 residuals; noise far below all errors may be anything as small."""
    found = calibration(residuals(20_000, factor, noise), 0.05, 1e-4, 1.0)
    assert found.factor == pytest.approx(factor, rel=0.1)
    if noise > 1e-3:
        assert found.noise == pytest.approx(noise, rel=0.1)
    else:
        assert found.noise < 0.01
    assert found.floor == 1e-4
    assert rms_z(residuals(20_000, factor, noise, 1), found) == pytest.approx(1.0, abs=0.03)


def test_components_that_are_zero_by_symmetry_have_the_floor() -> None:
    """A third with variances of nothing and errors of 3e-3: the others keep their factor."""
    found = residuals(20_000, 8.0, 1e-5)
    rng = np.random.default_rng(2)
    both = Residuals(
        np.append(found.errors, 3e-3 * rng.normal(size=10_000)),
        np.append(found.variances, np.full(10_000, 1e-16)),
    )
    known = calibration(both, 0.05, 1e-4, 1.0)
    assert known.factor == pytest.approx(8.0, rel=0.1)
    assert np.hypot(known.floor, known.noise) == pytest.approx(3e-3, rel=0.1)
    assert rms_z(both, known) == pytest.approx(1.0, abs=0.2)


def test_scatter_beyond_the_sigma_of_labels_is_the_models() -> None:
    """Errors of 0.1 whatever their raw deviation, of labels good to 0.02."""
    known = calibration(residuals(20_000, 1.0, 0.1), 0.02, 1e-4, 1.0)
    assert known.noise == pytest.approx(0.02)
    assert known.floor == pytest.approx(np.sqrt(0.1**2 - 0.02**2), rel=0.05)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_residuals_stay_near_what_is_known(count: int) -> None:
    """Errors of nearly nothing, by chance, do not make a factor of nearly nothing."""
    few = Residuals(np.full(count, 1e-6), np.full(count, 1e-4))
    assert 1.0 < calibration(few, 0.05, 1e-4, 10.0).factor < 100.0
    none = Residuals(np.zeros(0), np.zeros(0))
    assert calibration(none, 0.05, 1e-4, 10.0).factor == 10.0


SIGMA = FrameSigma(0.002, 0.05, 0.005)
NOISE = 0.04


def frames(count: int, seed: int, *labels: str) -> list[Frame]:
    """Crystals of a pair potential, displaced, whose forces scatter by NOISE and energies by 2 meV."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        atoms = bulk("Cu", "fcc", a=3.6 * rng.uniform(0.96, 1.06), cubic=True)
        atoms.positions += rng.normal(0.0, 0.1, atoms.positions.shape)
        atoms.calc = LennardJones(sigma=2.3, epsilon=0.4, rc=4.4, smooth=True)
        n = len(atoms)
        known = {
            "energy": atoms.get_potential_energy() + 0.002 * np.sqrt(n) * rng.normal(),
            "forces": atoms.get_forces() + NOISE * rng.normal(size=(n, 3)),
            "stress": atoms.get_stress(voigt=False),
        }
        kept = {name: known[name] for name in labels or ("energy", "forces")}
        found.append(as_frame(atoms, sigma=SIGMA, **kept))
    return found


def fit(train: list[Frame]) -> Fitted:
    settings = Settings.from_dict(
        {
            "data": {"train": "unused.xyz"},
            "core": "none",
            "e0": "average",
            "terms": [{"kind": "two_body", "cutoff": 4.5, "n_sparse": 20}],
        }
    )
    found = fitted(settings, train, Run())
    assert found is not None
    return found


def sampled(model: Model) -> Model:
    """Another process: a sample of the model's prior, with pair energies of 0.3 eV."""
    rng = np.random.default_rng(7)
    standard = rng.standard_normal(len(model.weights))
    weights = np.zeros_like(standard)
    for (term, _, where), factor in zip(columns(model.terms), model.factors, strict=True):
        scale = 0.3 if term.kind == "two_body" else 0.0
        weights[where] = scale * np.linalg.solve(factor.T, standard[where])
    return replace(model, weights=weights)


def taught(teacher: Truth, given: list[Frame], seed: int) -> list[Frame]:
    """The frames with labels of a process, and noise."""
    rng = np.random.default_rng(100 + seed)
    found = []
    for frame in given:
        known, n = teacher.prediction(frame), len(frame.numbers)
        energy = known.energy + 0.002 * np.sqrt(n) * rng.normal()
        found.append(
            replace(frame, energy=energy, forces=known.forces + NOISE * rng.normal(size=(n, 3)))
        )
    return found


def test_process_that_can_describe_the_data_knows_their_noise_and_its_own_error() -> None:
    """The truth is itself a process of this kind, so the raw deviations are right: the factor is 1.

    Noise and rms z of labels within 15 %; rms z of the truth, without the noise, within a factor of 2,
    since the few functions that noise leaves uncertain make all errors.
    """
    teacher = Truth(sampled(fit(frames(40, 0)).model))
    train, test = (taught(teacher, frames(40, seed), seed) for seed in (1, 2))
    model = fit(train).model
    assert model.uncertainty is not None
    assert model.uncertainty.force.noise == pytest.approx(NOISE, rel=0.15)
    truth = Truth(model)
    labels, own = [], []
    for frame in test:
        prediction, deviation = truth.with_deviations(frame)
        assert frame.forces is not None
        labels.append((frame.forces - prediction.forces) / deviation.forces)
        alone = np.sqrt(deviation.forces**2 - model.uncertainty.force.noise**2)
        own.append((teacher.prediction(frame).forces - prediction.forces) / alone)
    assert np.sqrt(np.mean(np.square(labels))) == pytest.approx(1.0, abs=0.15)
    assert 0.5 < np.sqrt(np.mean(np.square(own))) < 2.0
    assert 0.5 < model.uncertainty.force.factor < 2.0


@pytest.mark.parametrize(
    "labels", [("energy",), ("forces",), ("energy", "stress"), ("energy", "forces", "stress")]
)
def test_any_labels_calibrate_all_quantities(labels: tuple[str, ...]) -> None:
    found = fit(frames(8, 3, *labels)).model.uncertainty
    assert found is not None
    for known in (found.energy, found.force, found.stress):
        assert 0.01 < known.factor < 1e4
        assert known.floor >= 1e-5
        assert 0.0 < known.noise < 1.0


def test_one_frame_is_not_calibrated_and_says_so() -> None:
    notes: list[str] = []
    found = fit(frames(1, 4))
    assert found.model.uncertainty is not None
    assert found.model.uncertainty.force.factor == 1.0
    assert found.model.uncertainty.force.noise == found.model.data["sigma"]["force"]
    calibrated(found.model, [], notes.append)
    assert notes == [NOT_CALIBRATED]


def test_deviation_beyond_the_data_rises_above_the_calibrated_one() -> None:
    """Two atoms just above the shortest distance and far apart, where no frame of the fit has any."""
    model = fit([replace(frame, stress=None) for frame in frames(20, 5)]).model
    inside, beyond = (Truth(model).with_deviations(f, b)[1] for f, b in _ends(model))
    assert beyond.forces.max() > 5.0 * inside.forces.max()


def _ends(model: Any) -> list[tuple[Frame, bool]]:
    return [
        (frames(1, 6)[0], True),
        (as_frame(Atoms("Cu2", [[0, 0, 0], [0, 0, 1.5]], cell=[20] * 3, pbc=True)), True),
    ]
