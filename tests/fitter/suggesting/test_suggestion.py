"""Which frames are suggested, and what is said of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase.io import read, write
from forcemap.fitter.addition.growth import grown
from forcemap.fitter.config import Settings, Source
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.fitting import fit_frames
from forcemap.fitter.mapping.deviations import with_deviations
from forcemap.fitter.mapping.map import map_model
from forcemap.fitter.process.model import Model
from forcemap.fitter.process.truth import Truth
from forcemap.fitter.suggesting import WAYS
from forcemap.fitter.suggesting.criteria import Information, Knowledge
from forcemap.fitter.suggesting.roots import DRAWS, DrawnRoots, ExactRoots, MappedRoots
from forcemap.fitter.suggesting.suggestion import Known, suggest
from forcemap.fitter.terms.rows import RowLayout, frame_rows
from forcemap.potentials import ForcemapError
from forcemap_runs import invoke
from structures import SILICON

pytestmark = pytest.mark.usefixtures("one_thread")

Array = np.ndarray

SOAP: dict[str, Any] = {"kind": "soap", "cutoff": 4.0, "n_max": 4, "l_max": 3, "n_sparse": 40}
SETTINGS = Settings.from_dict(
    {
        "data": {"train": [{"path": "train.xyz", "index": "::4"}]},
        "terms": [{"kind": "two_body", "cutoff": 4.5, "n_sparse": 10}, SOAP],
    },
    SILICON,
)


@pytest.fixture(scope="module")
def train() -> list[Frame]:
    return read_frames(SETTINGS.data.train, SETTINGS.data.keys, SETTINGS.sigma)


@pytest.fixture(scope="module")
def model(train: list[Frame]) -> Model:
    return fit_frames(SETTINGS, train)


@pytest.fixture(scope="module")
def known(model: Model, train: list[Frame]) -> Known:
    """The process alone."""
    return Known(model, None, None, train, SETTINGS.sigma)


@pytest.fixture(scope="module")
def mapped(model: Model, train: list[Frame]) -> Known:
    """The potential alone."""
    found = with_deviations(map_model(model, train, 1e-3), model, train, 16)
    return Known(None, found.potential, found.data.grade, [], SETTINGS.sigma, "no model")


def pool(index: str = "1::4") -> list[Source]:
    return [Source(SILICON / "train.xyz", index)]


def mean_variance(model: Model, frames: Sequence[Frame]) -> float:
    rows = [frame_rows(f, model.terms)[RowLayout(len(f.numbers)).forces] for f in frames]
    return float(np.mean(np.concatenate([model.raw_variances(some) for some in rows])))


# ----- what labels would buy -----


def test_the_fall_of_the_variance_is_that_which_their_labels_bring(
    known: Known, model: Model
) -> None:
    """By a process with the labels added; 1e-3, as roots are kept in single precision."""
    found = suggest(known, pool(), 4)
    frames = [
        replace(frame, stress=None)
        for frame in read_frames(pool(), SETTINGS.data.keys, SETTINGS.sigma)
        if frame.forces is not None
    ]
    numbers = [one.candidate.number for one in found.choices]
    before = mean_variance(model, frames)
    assert found.fall is not None
    for count in (1, 4):
        more = [frames[number] for number in numbers[:count]]
        after = mean_variance(_with_same_points(model, more), frames)
        assert found.fall[count] == pytest.approx(after / before, rel=1e-3)
    assert list(np.diff(found.fall) < 0.0) == [True] * 4


def _with_same_points(model: Model, frames: Sequence[Frame]) -> Model:
    def no() -> Sequence[Frame]:
        raise AssertionError("no point is new: their number is given")

    return grown(model, frames, no)


def test_a_choice_by_variance_begins_with_the_largest(known: Known, model: Model) -> None:
    frames = read_frames(pool(), SETTINGS.data.keys, SETTINGS.sigma)
    largest = []
    for frame in frames:
        rows = frame_rows(frame, model.terms)[RowLayout(len(frame.numbers)).forces]
        largest.append(float(model.raw_variances(rows).reshape(-1, 3).sum(axis=1).max()))
    found = suggest(known, pool(), 3)
    assert found.choices[0].candidate.number == int(np.argmax(largest))
    assert max(largest) < found.choices[0].worth < 1.1 * max(largest)


def test_d_optimal_frames_have_the_determinant_that_is_said(known: Known, model: Model) -> None:
    """Against a dense determinant of all their labels together."""
    found = suggest(known, pool(), 4, "d-optimal")
    criterion = Information(ExactRoots(model))
    rows = np.concatenate([criterion.scaled(one.seen) for one in found.choices])
    _, expected = np.linalg.slogdet(np.eye(rows.shape[1]) + rows.T @ rows)
    assert sum(one.worth for one in found.choices) == pytest.approx(0.5 * expected, rel=1e-6)
    greedy = suggest(known, pool(), 4)
    other = np.concatenate([criterion.scaled(one.seen) for one in greedy.choices])
    _, others = np.linalg.slogdet(np.eye(other.shape[1]) + other.T @ other)
    assert expected > others - 1e-9


# ----- copies -----


@pytest.mark.parametrize("way", ["variance", "d-optimal", "farthest"])
@pytest.mark.parametrize(("moved", "most"), [(0.0, 1), (0.001, 2)])
def test_twenty_copies_are_not_chosen(
    way: str, moved: float, most: int, known: Known, tmp_path: Path
) -> None:
    """The frame that is worth most, again and again, its atoms moved by `moved` (Å).

    By worth alone all five would be copies.
    """
    best = suggest(known, pool(), 1, way).choices[0].candidate.number
    frames = read(SILICON / "train.xyz", "1::4")
    copies = []
    for seed in range(20):
        copies.append(frames[best].copy())
        if moved:
            copies[-1].rattle(moved, seed=seed)
    write(tmp_path / "pool.xyz", [*copies, *(f for n, f in enumerate(frames) if n != best)])
    found = suggest(known, [Source(tmp_path / "pool.xyz")], 5, way)
    numbers = [one.candidate.number for one in found.choices]
    assert len(numbers) == 5
    assert 1 <= sum(number < 20 for number in numbers) <= most


def test_training_frames_are_left_out_and_counted(known: Known) -> None:
    found = suggest(known, [*pool("::4"), *pool("1::8")], 200)
    frames = len(read(SILICON / "train.xyz", "::4")), len(read(SILICON / "train.xyz", "1::8"))
    assert len(found.choices) == frames[1]
    assert found.remarks[0].startswith(
        f"{frames[0]} of {sum(frames)} frames are left out: they are"
    )
    assert f"{frames[1]} frames of 200 asked for" in found.remarks[-1]
    with pytest.raises(ForcemapError, match="they are training frames already"):
        suggest(known, pool("::4"), 3)


# ----- roots -----


def test_draws_of_the_process_have_its_covariance(model: Model, train: list[Frame]) -> None:
    """Variances of 256 draws are good to 9 %."""
    frame = train[-1]
    exact, drawn = ExactRoots(model).of(frame), DrawnRoots(model).of(frame)
    assert drawn.values.shape[1] == DRAWS
    ratio = np.sum(drawn.forces**2, axis=1) / np.sum(exact.forces**2, axis=1)
    assert np.all(np.abs(ratio - 1.0) < 0.4)
    assert abs(np.mean(ratio) - 1.0) < 0.15
    np.testing.assert_array_equal(drawn.noise, exact.noise)


def test_localised_draws_have_the_variance_of_the_draws(mapped: Known, train: list[Frame]) -> None:
    assert mapped.potential is not None
    roots = MappedRoots(mapped.potential, mapped.grade)
    frame = train[-1]
    where = frame.positions, frame.numbers, frame.cell, frame.pbc
    draws = mapped.potential.evaluator().deviations(*where).forces
    expected = np.sum(draws**2, axis=0).ravel() / (len(draws) - 2.0)
    found = np.sum(roots.of(frame).forces ** 2, axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_localised_draws_distinguish_more_frames_than_there_are_draws(
    mapped: Known, train: list[Frame]
) -> None:
    """Labels of a few frames leave nothing open for 16 draws, but something in other surroundings."""
    assert mapped.potential is not None
    left = []
    for grade in (None, mapped.grade):
        roots = MappedRoots(mapped.potential, grade)
        knowledge = Knowledge(roots.size)
        for frame in train[:6]:
            knowledge.add(roots.of(frame).scaled * 10.0)
        other = roots.of(train[-1]).forces
        left.append(float(np.sum(knowledge.left(other) ** 2) / np.sum(other**2)))
    assert left[1] > 3.0 * left[0], left


@pytest.mark.parametrize("way", WAYS)
def test_a_potential_alone_can_be_asked(way: str, mapped: Known) -> None:
    found = suggest(mapped, pool(), 5, way)
    assert len(found.choices) == 5
    assert len({one.candidate.key for one in found.choices}) == 5
    assert any("no model" in remark for remark in found.remarks)


def test_what_a_potential_lacks_is_named(mapped: Known) -> None:
    from forcemap.potentials.file.potential_file import as_potential
    from potentials_factory import random_potential

    bare = as_potential(random_potential(["Si"], 1))
    known = replace(mapped, potential=bare, grade=None)
    for way, what in (("variance", "has draws"), ("grade", "has a grade"), ("farthest", "a grade")):
        with pytest.raises(ForcemapError, match=what):
            suggest(known, pool(), 1, way)


# ----- against chance -----


@pytest.mark.slow
def test_suggested_frames_lower_the_largest_error_more_than_random_ones() -> None:
    """Half a set, then ten frames of the other half; means over two starts, three random choices."""
    frames = read_frames([Source(SILICON / "train.xyz")], SETTINGS.data.keys, SETTINGS.sigma)
    found: dict[str, list[float]] = {"suggested": [], "random": []}
    for seed in range(2):
        rng = np.random.default_rng(seed)
        order = [int(n) for n in rng.permutation(len(frames))]
        first, rest = order[:20], order[20:]
        train = [frames[n] for n in first]
        known = Known(fit_frames(SETTINGS, train), None, None, train, SETTINGS.sigma)
        chosen = suggest(known, [Source(SILICON / "train.xyz")], 10).choices
        picks = {"suggested": [[one.candidate.number for one in chosen]]}
        picks["random"] = [[int(n) for n in rng.choice(rest, 10, replace=False)] for _ in range(3)]
        for name, choices in picks.items():
            for places in choices:
                model = fit_frames(SETTINGS, [frames[n] for n in [*first, *places]])
                left = [frames[n] for n in rest if n not in places]
                found[name].append(_largest_error(model, left))
    assert np.mean(found["suggested"]) < np.mean(found["random"]), found


def _largest_error(model: Model, frames: Sequence[Frame]) -> float:
    truth = Truth(model)
    return max(
        float(np.linalg.norm(truth.prediction(f).forces - f.forces, axis=1).max()) for f in frames
    )


# ----- the command -----


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, and a fit in `out`; not to be changed."""
    folder = tmp_path_factory.mktemp("suggest")
    frames = read(SILICON / "train.xyz", ":")
    write(folder / "old.xyz", frames[::4])
    bare = [atoms.copy() for atoms in frames[1::3]]
    write(folder / "pool.xyz", bare)
    terms = [{"kind": "two_body", "cutoff": 4.5, "n_sparse": 10}]
    given = {"data": {"train": "old.xyz"}, "terms": terms}
    (folder / "settings.yaml").write_text(yaml.safe_dump(given), encoding="utf-8")
    result = invoke("fit", folder / "settings.yaml", "-o", folder / "out", "--quiet")
    assert result.exit_code == 0, result.output
    return folder


def test_the_chosen_frames_are_written_in_the_order_of_choice(fitted: Path, tmp_path: Path) -> None:
    out = tmp_path / "chosen.xyz"
    given = fitted / "out" / "potential.forcemap", fitted / "pool.xyz"
    result = invoke("suggest", *given, "-n", "4", "-o", out, "--json", "--quiet")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    written = read(out, ":")
    pool = read(fitted / "pool.xyz", ":")
    assert [atoms.info["suggest_rank"] for atoms in written] == [1, 2, 3, 4]
    for atoms, entry in zip(written, document["chosen"], strict=True):
        assert atoms.info["pool_index"] == entry["pool_index"]
        original = pool[entry["pool_index"]]
        np.testing.assert_allclose(atoms.positions, original.positions, atol=1e-7)
        assert atoms.info["config_type"] == original.info["config_type"] == entry["config_type"]
        assert atoms.info["force_deviation"] == pytest.approx(entry["force_deviation_ev_per_a"])
    left = document["mean_variance_left"]
    assert left[0] == 1.0
    assert all(a > b > 0.0 for a, b in pairwise(left))
    assert document["source"] == "the process"
    assert document["calibrated"]


def test_the_table_says_what_the_labels_would_buy(fitted: Path) -> None:
    pool = f"{fitted / 'pool.xyz'}@:9"
    result = invoke("suggest", fitted / "out" / "model.forcemap", pool, "-n", "3", "--quiet")
    assert result.exit_code == 0, result.output
    assert "3 of 9 frames by variance (the process)" in result.output
    assert "would lower the mean variance of the pool's forces, by number of frames, by 1: " in (
        result.output
    )


def test_strange_elements_are_left_out_with_a_count(fitted: Path, tmp_path: Path) -> None:
    frames = read(fitted / "pool.xyz", ":6")
    frames[2].symbols[0] = "Ge"
    frames[4].symbols[:] = "O"
    write(tmp_path / "mixed.xyz", frames)
    potential = fitted / "out" / "potential.forcemap"
    result = invoke("suggest", potential, tmp_path / "mixed.xyz", "-n", "2", "--quiet")
    assert result.exit_code == 0, result.output
    assert (
        "2 of 6 frames are left out: they hold elements that the potential is not for (O, Ge)"
        in (result.output.replace("(Ge, O)", "(O, Ge)"))
    )
    write(tmp_path / "strange.xyz", frames[4:5])
    result = invoke("suggest", potential, tmp_path / "strange.xyz", "--quiet")
    assert result.exit_code == 1
    assert "Error: 1 of 1 frames are left out: they hold elements" in result.output


def test_a_pool_is_not_overwritten_and_bad_frames_are_named(fitted: Path, tmp_path: Path) -> None:
    pool = tmp_path / "pool.xyz"
    shutil.copy(fitted / "pool.xyz", pool)
    before = pool.read_bytes()
    potential = fitted / "out" / "potential.forcemap"
    result = invoke("suggest", potential, pool, "-o", pool)
    assert result.exit_code == 2
    assert "a file of the pool" in result.output
    assert pool.read_bytes() == before
    frames = read(pool, ":3")
    frames[1].positions[0, 0] = np.nan
    write(pool, frames)
    result = invoke("suggest", potential, pool, "-o", tmp_path / "chosen.xyz", "--quiet")
    assert result.exit_code == 1
    assert f"{pool}: frame 1 (counted from 0)" in result.output
    assert not (tmp_path / "chosen.xyz").exists()
