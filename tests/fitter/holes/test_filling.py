"""Laws of filled holes: random structures do not end below the data, which lose nothing by it."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from forcemap.fitter import Frame, Model, Settings, fit_frames
from forcemap.fitter.addition.growth import grown
from forcemap.fitter.baseline.baseline import Baseline
from forcemap.fitter.baseline.beyond import binding
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.fitting import fitted
from forcemap.fitter.holes.search import compositions_of, holes_among, relaxed, starts
from forcemap.fitter.mapping.map import map_model
from forcemap.fitter.process.model_file import read_model, write_model
from forcemap.fitter.sharing.run import Run
from forcemap.potentials import Potential
from forcemap.potentials.runs.progress import Progress
from structures import as_frame

pytestmark = pytest.mark.usefixtures("one_thread")

SILICON = Path(__file__).resolve().parents[3] / "examples" / "silicon"

TERMS = [{"kind": "two_body", "cutoff": 5.5}, {"kind": "three_body", "cutoff": 4.0}]
"""Functions of few bodies: they have holes everywhere."""


def frames_of(name: str) -> list[Frame]:
    given = {"data": {"train": str(SILICON / name)}, "terms": TERMS}
    return read_frames(Settings.from_dict(given).data.train)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return frames_of("train.xyz")


def settings(**changes: object) -> Settings:
    given = {"data": {"train": "made.xyz"}, "terms": TERMS, "e0": "average"}
    return Settings.from_dict({**given, **changes})


@pytest.fixture(scope="module")
def model(frames: Sequence[Frame]) -> Model:
    return fit_frames(settings(), frames)


@pytest.fixture(scope="module")
def free(frames: Sequence[Frame]) -> Model:
    return fit_frames(settings(outside="free"), frames)


def mapped(model: Model, frames: Sequence[Frame]) -> Potential:
    return map_model(model, frames, 1e-3).potential


def found_by(model: Model, frames: Sequence[Frame]) -> list[float]:
    """Depths (eV per atom) of the holes that random structures of another seed fall into."""
    evaluator = mapped(model, frames).evaluator()
    compositions = compositions_of(frames, model.e0)
    structures = starts(compositions, [], frames[0], np.random.default_rng(99))
    holes = holes_among(evaluator, structures, model.e0, model.repulsion)
    return [hole.composition.lowest - hole.energy for hole in holes]


def force_error(model: Model, frames: Sequence[Frame]) -> float:
    baseline = Baseline(model.species, model.repulsion)
    errors = [
        (model.predict(frame)[1] + baseline.of(frame).forces - frame.forces).ravel()
        for frame in frames
        if frame.forces is not None
    ]
    return float(np.sqrt(np.mean(np.square(np.concatenate(errors)))))


def test_other_random_structures_fall_into_fewer_and_shallower_holes(
    frames: Sequence[Frame], model: Model, free: Model
) -> None:
    before, after = found_by(free, frames), found_by(model, frames)
    assert len(before) >= 10
    assert len(after) <= len(before) // 5
    assert max(after, default=0.0) < 0.02 * max(before)


def test_filling_costs_no_accuracy_on_unseen_frames(
    frames: Sequence[Frame], model: Model, free: Model
) -> None:
    unseen = frames_of("test.xyz")[::2]
    assert force_error(model, unseen) < 1.03 * force_error(free, unseen)


def test_holes_are_no_rows_of_the_data(frames: Sequence[Frame], model: Model, free: Model) -> None:
    assert model.data["holes"]
    assert "holes" not in free.data
    assert model.data["n_rows"] == free.data["n_rows"]
    assert model.log_marginal_likelihood == pytest.approx(free.log_marginal_likelihood)
    assert model.labels is not None
    assert model.labels.count == model.data["n_rows"] + len(model.data["holes"])


def test_potential_does_not_carry_the_holes(frames: Sequence[Frame], model: Model) -> None:
    assert "holes" not in map_model(model, frames, 1e-2).data.provenance["data"]


def test_threads_do_not_change_what_is_filled(frames: Sequence[Frame], model: Model) -> None:
    found = fitted(settings(), frames, Run(2, Progress.silent()))
    assert found is not None
    np.testing.assert_array_equal(found.model.weights, model.weights)


def test_new_points_keep_the_holes_filled(
    frames: Sequence[Frame], model: Model, tmp_path: Path
) -> None:
    write_model(model, tmp_path / "model.forcemap")
    new = frames_of("test.xyz")[:1]
    assert new[0].stress is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        after = grown(read_model(tmp_path / "model.forcemap"), new, lambda: frames)
    assert after.data["n_rows"] == model.data["n_rows"] + 1 + 3 * len(new[0].numbers) + 6
    depths = found_by(after, frames)
    assert len(depths) <= 8
    assert max(depths, default=0.0) < 1.0


# ---- the search ----------------------------------------------------------------------------------


def test_relaxation_ends_at_a_minimum_below_its_start(frames: Sequence[Frame], free: Model) -> None:
    evaluator = mapped(free, frames).evaluator()
    start = max(frames, key=lambda frame: float(np.abs(frame.forces).max()))  # type: ignore[arg-type]
    before = evaluator.compute(start.positions, start.numbers, start.cell, start.pbc)
    frame, energy = relaxed(evaluator, start)
    after = evaluator.compute(frame.positions, frame.numbers, frame.cell, frame.pbc)
    assert energy < before.energy
    assert after.energy == pytest.approx(energy, abs=1e-3)  # positions are rounded
    assert np.abs(after.forces).max() < 0.15


def test_ground_state_of_a_composition_is_its_lowest_frame(frames: Sequence[Frame]) -> None:
    (found,) = compositions_of(frames, {14: 0.5})
    bound = [frame for frame in frames if frame.energy is not None and len(frame.numbers) > 1]
    assert found.lowest == min(binding(frame, {14: 0.5}) for frame in bound)
    assert set(found.numbers.tolist()) == {14}
    assert found.share == 1.0


def test_pieces_keep_the_shares_of_elements() -> None:
    atoms = Atoms("Cu12Ag4", positions=np.random.default_rng(0).random((16, 3)) * 9)
    (found,) = compositions_of([as_frame(atoms, energy=-10.0)], {29: 0.0, 47: 0.0})
    assert sorted(found.numbers.tolist()) == [29] * 6 + [47] * 2


def test_few_energies_say_too_little_for_holes(frames: Sequence[Frame]) -> None:
    assert "holes" not in fit_frames(settings(), frames[:5]).data
