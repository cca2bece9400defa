"""Frames added to a process: the same as if they had been there from the start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forcemap.fitter.addition.growth import grown, left_out_of
from forcemap.fitter.baseline.baseline import Baseline
from forcemap.fitter.config import Settings
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.fitting import fit_frames
from forcemap.fitter.process.accumulate import accumulate
from forcemap.fitter.process.model import Model
from forcemap.fitter.process.model_file import read_model, write_model
from forcemap.fitter.process.prior import Prior
from forcemap.fitter.process.targets import Targets
from forcemap.fitter.process.truth import Truth
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.terms.kinds import SETTINGS
from forcemap.fitter.terms.rows import unwhitened
from forcemap.potentials import ForcemapError
from structures import SILICON

pytestmark = pytest.mark.usefixtures("one_thread")

SOAP = {"kind": "soap", "cutoff": 4.5, "n_max": 4, "l_max": 3, "n_sparse": 30}
TERMS: list[dict[str, Any]] = [{"kind": "two_body", "cutoff": 5.0, "n_sparse": 10}, SOAP]
OPEN: list[dict[str, Any]] = [{"kind": "two_body", "cutoff": 5.0, "n_sparse": 10}]


def settings(terms: list[dict[str, Any]], **changes: Any) -> Settings:
    train = [{"path": "train.xyz", "index": "::6"}]
    given = {"data": {"train": train}, "terms": terms, "outside": "free", **changes}
    return Settings.from_dict(given, SILICON)


def silicon(kind: str = "all") -> list[Frame]:
    """Some of the example's frames, the shortest distances first, with some of their labels."""
    given = settings(TERMS)
    frames = read_frames(given.data.train, given.data.keys, given.sigma)
    frames = sorted(frames, key=lambda f: f.config_type != "ShortPair")
    if kind == "energies":
        return [replace(f, forces=None, stress=None) for f in frames]
    if kind == "no stress":
        return [replace(f, stress=None) for f in frames]
    return frames


def from_the_start(model: Model, frames: Sequence[Frame]) -> Model:
    """A fit of all frames with the points and hyperparameters of a model, by its Gram matrix."""
    assert model.labels is not None
    baseline = Baseline(model.species, model.repulsion)
    targets = []
    for frame in frames:
        target = Targets.of(frame, model.e0, baseline.of(frame))
        factor = np.where(target.of_stress, model.labels.stress_factor, 1.0)
        targets.append(replace(target, sigmas=target.sigmas * factor))
    prior = Prior(model.terms, tuple(model.factors))
    deltas = [np.full(term.size, term.delta) for term in model.terms]
    together = accumulate(targets, prior, Run()).together(np.ones(1))
    solution = together.solve(np.concatenate(deltas) / model.noise_factor)
    weights = unwhitened(prior.terms, prior.factors, solution.values.copy())
    evidence = solution.log_marginal_likelihood(model.noise_factor)
    return replace(
        model, weights=weights, posterior=solution.factor, log_marginal_likelihood=evidence
    )


def reread(model: Model, folder: Path) -> Model:
    write_model(model, folder / "model.forcemap")
    return read_model(folder / "model.forcemap")


def never() -> Sequence[Frame]:
    raise AssertionError("the old frames are not needed")


def largest_difference(a: Model, b: Model, frames: Sequence[Frame]) -> float:
    """Of forces, eV/Å, and of energies per atom, eV."""
    found = 0.0
    for frame in frames:
        one, other = Truth(a).prediction(frame), Truth(b).prediction(frame)
        energy = abs(one.energy - other.energy) / len(frame.numbers)
        found = max(found, energy, float(np.abs(one.forces - other.forces).max()))
    return found


@pytest.mark.parametrize("kind", ["all", "no stress", "energies"])
def test_added_frames_are_worth_the_same_as_frames_from_the_start(
    kind: str, tmp_path: Path
) -> None:
    """1e-6 eV/Å: both are wrong by rounding times a condition number; measured 1e-9."""
    frames = silicon(kind)
    model = reread(fit_frames(settings(TERMS), frames[:8]), tmp_path)
    found = grown(model, frames[8:], never)
    assert [term.size for term in found.terms] == [term.size for term in model.terms]
    expected = from_the_start(found, frames)
    assert largest_difference(found, model, frames) > 1e-4
    assert largest_difference(found, expected, frames) < 1e-6
    variances, others = found.variances(frames[-1]), expected.variances(frames[-1])
    np.testing.assert_allclose(variances, others, rtol=1e-4, atol=1e-12)
    assert found.log_marginal_likelihood == pytest.approx(
        expected.log_marginal_likelihood, abs=1e-4
    )
    assert found.data["n_frames"] == len(frames)
    assert found.data["n_rows"] == from_labels(frames)


def test_added_frames_left_out_are_predicted_by_the_others(tmp_path: Path) -> None:
    """1e-6: as above."""
    frames = silicon()
    model = reread(fit_frames(settings(TERMS), frames[:8]), tmp_path)
    left_out = left_out_of(grown(model, frames[8:], never), frames[8:], Run())
    assert [left.frame.index for left in left_out] == [frame.index for frame in frames[8:]]
    last, before = left_out[-1].prediction(), Truth(grown(model, frames[8:-1], never))
    expected = before.prediction(frames[-1])
    assert last.energy == pytest.approx(expected.energy, abs=1e-6)
    np.testing.assert_allclose(last.forces, expected.forces, atol=1e-6)
    assert np.abs(last.forces - Truth(model).prediction(frames[-1]).forces).max() > 1e-4


def from_labels(frames: Sequence[Frame]) -> int:
    """Rows of all labels."""
    return sum(
        (f.energy is not None)
        + (0 if f.forces is None else f.forces.size)
        + (0 if f.stress is None else 6)
        for f in frames
    )


def test_new_points_are_worth_the_same_as_points_from_the_start(tmp_path: Path) -> None:
    """The old frames' rows get columns for them, so the old frames are read."""
    frames = silicon()
    terms = [TERMS[0], {**SOAP, "n_sparse": None}]
    model = fit_frames(settings(terms), frames[:4])
    asked: list[int] = []

    def old() -> Sequence[Frame]:
        asked.append(1)
        return frames[:4]

    found = grown(reread(model, tmp_path), frames[4:], old)
    assert asked
    assert found.terms[1].size > model.terms[1].size
    before = model.terms[1].blocks[0].points
    np.testing.assert_array_equal(found.terms[1].blocks[0].points[: len(before)], before)
    assert largest_difference(found, from_the_start(found, frames), frames) < 1e-6
    covariance = found.terms[1].covariance(found.terms[1].blocks[0])
    np.testing.assert_allclose(
        found.factors[1] @ found.factors[1].T, covariance, atol=1e-13, rtol=0
    )


@pytest.mark.parametrize("kind", [name for name in SETTINGS if name != "soap"])
def test_every_kind_of_term_takes_new_points(kind: str, tmp_path: Path) -> None:
    """From frames of a crystal near rest to all others; no number of points is given."""
    frames = sorted(silicon(), key=lambda f: float(np.abs(f.forces).max()))  # type: ignore[arg-type]
    model = fit_frames(settings([{"kind": kind, "cutoff": 3.6}], core="none"), frames[:3])
    found = grown(reread(model, tmp_path), frames[3:9], lambda: frames[:3])
    assert found.terms[0].size > model.terms[0].size
    assert largest_difference(found, from_the_start(found, frames[:9]), frames[6:9]) < 1e-6
    again = reread(found, tmp_path)
    assert largest_difference(found, again, frames[6:9]) < 1e-12


def test_a_number_in_the_settings_is_reached_and_not_passed() -> None:
    """Two frames of a crystal at rest have fewer environments than the points asked for."""
    frames = silicon()
    bulk = sorted(frames, key=lambda f: np.abs(f.forces).max())[:4]  # type: ignore[arg-type]
    others = [f for f in frames if f not in bulk]
    terms = [{**SOAP, "n_sparse": 40}]
    model = fit_frames(settings(terms, core="none"), bulk)
    assert model.terms[0].size < 40
    found = grown(model, others, lambda: bulk)
    assert found.terms[0].size == 40


def test_adding_twice_is_adding_both() -> None:
    frames = silicon()
    model = fit_frames(settings(TERMS), frames[:8])
    once = grown(model, frames[8:], never)
    twice = grown(grown(model, frames[8:11], never), frames[11:], never)
    assert largest_difference(once, twice, frames) < 1e-7
    assert once.data == twice.data
    assert once.log_marginal_likelihood == pytest.approx(twice.log_marginal_likelihood, abs=1e-5)


def test_constants_of_an_average_e0_learn_from_new_energies_while_e0_stays() -> None:
    frames = silicon()
    model = fit_frames(settings(OPEN), frames[:8])
    shifted = [replace(f, energy=f.energy + 0.1 * len(f.numbers)) for f in frames[8:]]  # type: ignore[operator]
    found = grown(model, shifted, never)
    assert found.e0 == model.e0
    assert found.atom_energies()[14] != pytest.approx(model.atom_energies()[14], abs=1e-3)

    def error(of: Model) -> float:
        truth = Truth(of)
        return sum(abs(truth.prediction(f).energy - f.energy) for f in shifted)  # type: ignore[operator]

    assert error(found) < 0.5 * error(model)


# ----- refusals -----


def test_models_of_earlier_versions_are_refused() -> None:
    frames = silicon()
    model = replace(fit_frames(settings(OPEN), frames[:4]), labels=None)
    with pytest.raises(ForcemapError, match=r"earlier forcemap, which did not keep .*; fit anew"):
        grown(model, frames[4:], never)


def test_other_elements_are_refused_by_name_and_frame() -> None:
    frames = silicon()
    model = fit_frames(settings(OPEN), frames[:8])
    strange = replace(frames[8], numbers=np.full_like(frames[8].numbers, 32))
    with pytest.raises(
        ForcemapError, match=r"frame \d+ \(counted from 0\): holds Ge, but the model is for Si only"
    ):
        grown(model, [frames[9], strange], never)


def test_distances_below_those_of_the_data_are_refused() -> None:
    frames = silicon()
    model = fit_frames(settings(OPEN), frames[4:8])
    shortest = model.repulsion[14, 14].shortest
    positions = frames[9].positions.copy()
    positions[1] = positions[0] + [0.0, 0.0, 0.9 * shortest]
    near = replace(frames[9], positions=positions)
    with pytest.raises(
        ForcemapError, match=r"has Si and Si .* Å apart, below the shortest distance"
    ):
        grown(model, [near], never)


def test_frames_without_labels_are_refused() -> None:
    frames = silicon()
    model = fit_frames(settings(OPEN), frames[:8])
    bare = [replace(f, energy=None, forces=None, stress=None) for f in frames[8:]]
    with pytest.raises(ForcemapError, match="neither energies nor forces"):
        grown(model, bare, never)
