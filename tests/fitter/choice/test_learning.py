"""Learned descriptors: exact slopes, frames left out that are predicted better, what is left alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from forcemap.fitter import fitting
from forcemap.fitter.choice import learning
from forcemap.fitter.choice.learning import Halves, learned, learns
from forcemap.fitter.config import Settings
from forcemap.fitter.data.frame import Frame, FrameSigma
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.process.labelled import Labelled
from forcemap.fitter.process.survey import Survey
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.terms.base import Array
from structures import as_frame

SOAP = {"kind": "soap", "cutoff": 4.0, "n_max": 6, "n_channels": 2, "l_max": 2}


def settings_of(**soap: Any) -> Settings:
    terms = [{"kind": "two_body", "cutoff": 4.0, "n_sparse": 10}, {**SOAP, **soap}]
    return Settings.from_dict({"data": {"train": "t.xyz"}, "e0": "average", "terms": terms})


def test_frames_take_turns(frames: list[Frame], monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps have other frames, until all have had their turn."""
    monkeypatch.setattr(learning, "STEP_ATOMS", 16)
    halves = halves_of(settings_of(), frames)
    turns = [[t.frame.index for t in halves.some(n).targets] for n in range(3)]
    assert [len(turn) for turn in turns] == [4, 4, 4]
    assert sorted(n for turn in turns for n in turn) == list(range(12))


def alloy(seed: int) -> Atoms:
    atoms = bulk("Cu", "fcc", a=3.8 + 0.02 * (seed % 4), cubic=True)
    rng = np.random.default_rng(seed)
    atoms.numbers = rng.choice([29, 79], len(atoms))
    atoms.set_cell(atoms.cell[:] @ (np.eye(3) + 0.02 * rng.normal(size=(3, 3))), scale_atoms=True)
    atoms.rattle(0.2, seed=seed)
    atoms.calc = EMT()
    return atoms


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    found = []
    for seed in range(12):
        atoms = alloy(seed)
        labels = {
            "energy": atoms.get_potential_energy(),
            "forces": atoms.get_forces(),
            "stress": atoms.get_stress(voigt=False),
        }
        sigma = FrameSigma(energy=0.01, force=0.05, stress=0.01)
        found.append(replace(as_frame(atoms), index=seed, sigma=sigma, **labels))
    return found


@pytest.fixture(autouse=True)
def of_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few frames are enough to learn from."""
    monkeypatch.setattr(learning, "LEAST_ROWS", 0)
    monkeypatch.setattr(learning, "POINTS", 60)
    monkeypatch.setattr(learning, "LEAST_POINTS", 30)


def halves_of(settings: Settings, frames: Sequence[Frame], jobs: int = 1) -> Halves:
    data = Labelled.of(settings, Survey.of(frames, settings))
    found = Halves.of(settings, data.survey, data.targets, Run(jobs))
    assert found is not None
    return found


@pytest.mark.parametrize("zeta", [2, 3])
def test_slopes_of_the_loss_are_those_of_differences(frames: list[Frame], zeta: int) -> None:
    halves = halves_of(settings_of(zeta=zeta), frames)
    rng = np.random.default_rng(1)
    at = halves.start + 0.1 * rng.normal(size=halves.start.shape)
    slopes = halves.at(at).slopes
    for _ in range(3):
        along = rng.normal(size=at.shape)
        step = 1e-4
        difference = (halves.at(at + step * along).loss - halves.at(at - step * along).loss) / (
            2.0 * step
        )
        # Both are central differences of second order; the loss has 3 digits more than are compared.
        assert slopes @ along == pytest.approx(
            difference, rel=2e-3, abs=1e-3 * np.linalg.norm(slopes)
        )


def test_the_start_is_the_term_that_has_not_learned(frames: list[Frame]) -> None:
    settings = settings_of()
    data = Labelled.of(settings, Survey.of(frames, settings))
    halves = halves_of(settings, frames)
    term = settings.terms[1].open(data.survey)
    (found,) = halves.at(halves.start).learned
    np.testing.assert_allclose(found.outcome, term.mixing, atol=1e-12)  # type: ignore[attr-defined]


def test_spectra_of_learned_channels_are_those_of_the_term(frames: list[Frame]) -> None:
    halves = halves_of(settings_of(), frames)
    rng = np.random.default_rng(2)
    (found,) = halves.at(halves.start + 0.3 * rng.normal(size=halves.start.shape)).learned
    # The points are environments of the frames, so that the nearest spectrum is the same one.
    for block in found.term.blocks:
        seen = np.concatenate(
            [
                found.term.candidates(Structure(frame, found.term.cutoff, derivatives=False)).get(
                    block.species, np.zeros((0, block.points.shape[1]))
                )
                for frame in frames
            ]
        )
        dots = block.points @ seen.T
        np.testing.assert_allclose(dots.max(axis=1), 1.0, rtol=1e-12)


def test_frames_left_out_are_predicted_better(frames: list[Frame]) -> None:
    halves = halves_of(settings_of(), frames)
    assert halves.at(halves.least(8)).loss < 0.95 * halves.at(halves.start).loss


def test_what_is_learned_is_bounded(frames: list[Frame]) -> None:
    """No combination is stretched more than four times as much as another; the start stays."""
    halves = halves_of(settings_of(), frames)
    np.testing.assert_allclose(halves.held(halves.start), halves.start, atol=1e-12)
    wild = halves.start + np.random.default_rng(4).normal(0.0, 9.0, halves.start.shape)
    (found,) = halves.at(halves.held(wild)).learned
    sizes = np.linalg.svd(found.combination, compute_uv=False)  # type: ignore[attr-defined]
    assert np.all(sizes[:, 0] <= 4.0 * sizes[:, -1] * (1.0 + 1e-9))
    np.testing.assert_allclose(halves.held(halves.held(wild)), halves.held(wild), atol=1e-9)


def test_nothing_is_kept_that_makes_squares_grow(frames: list[Frame]) -> None:
    halves = halves_of(settings_of(), frames)
    wild = np.random.default_rng(5).normal(0.0, 9.0, halves.start.shape)
    kept, before, after = halves.checked(wild)
    assert after <= before
    assert halves.at(kept).squares <= halves.at(halves.start).squares * (1.0 + 1e-12)


def test_threads_do_not_change_what_is_learned(frames: list[Frame]) -> None:
    one, two = (halves_of(settings_of(), frames, jobs).least(3) for jobs in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_a_fit_has_the_channels_that_it_learned(frames: list[Frame]) -> None:
    settings = replace(settings_of(), learning_steps=3)
    plain = fitting.fit_frames(replace(settings, learning_steps=0), frames)
    taught = fitting.fit_frames(settings, frames)
    data = Labelled.of(settings, Survey.of(frames, settings))
    lesson = learned(settings, data.survey, data.targets)
    assert lesson is not None
    assert lesson.after < lesson.before
    (expected,) = lesson.outcomes.values()
    np.testing.assert_array_equal(mixing_of(taught), expected)
    assert not np.allclose(mixing_of(plain), expected)


def mixing_of(model: Any) -> Array:
    found: Array = model.terms[1].mixing
    return found


def test_few_labels_teach_nothing(frames: list[Frame], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "LEAST_ROWS", 1000)
    settings = settings_of()
    data = Labelled.of(settings, Survey.of(frames, settings))
    assert learned(settings, data.survey, data.targets) is None


def test_many_combinations_teach_nothing(frames: list[Frame]) -> None:
    """What is learned from some combinations of elements spoils others."""
    settings = settings_of()
    pairs = [(13, 29), (13, 79), (28, 29), (29, 79)]
    others = [
        replace(frame, numbers=np.resize(pair, len(frame.numbers)).astype(np.int32))
        for frame, pair in zip(frames, pairs, strict=False)
    ]
    data = Labelled.of(settings, Survey.of(others, settings))
    assert learned(settings, data.survey, data.targets) is None


def test_only_channels_learn() -> None:
    assert learns(settings_of())
    assert not learns(settings_of(n_channels=None))
