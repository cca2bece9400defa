"""``forcemap fit --dry-run``: the sizes it tells are those of the fit, and nothing is written."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase.build import bulk
from ase.io import read
from click.testing import Result
from forcemap.fitter import estimate as module
from forcemap.fitter.config import Settings
from forcemap.fitter.dataset import read_frames
from forcemap.fitter.estimate import Estimate, estimate
from forcemap.fitter.fitting import fit_frames
from forcemap.fitter.frame import Frame
from forcemap.fitter.solver import Accumulator, Groups, maximise_evidence
from forcemap.potentials.errors import ForcemapError
from forcemap_runs import invoke
from structures import SILICON, as_frame

GIVEN: dict[str, Any] = {
    "data": {"train": [str(SILICON / "train.xyz")], "test": [str(SILICON / "test.xyz")]},
    "terms": [
        {"kind": "two_body", "cutoff": 4.5, "n_sparse": 12},
        {"kind": "three_body", "cutoff": 3.6, "n_sparse": 40},
    ],
}


@pytest.fixture(scope="module")
def settings() -> Settings:
    return Settings.from_dict(GIVEN)


@pytest.fixture(scope="module")
def frames(settings: Settings) -> list[Frame]:
    return read_frames(settings.data.train)


def sizes(found: Estimate) -> dict[tuple[str, tuple[int, ...]], int]:
    return {(c.kind, c.species): c.n_sparse for c in found.combinations}


def fitted_sizes(settings: Settings, frames: list[Frame]) -> dict[tuple[str, tuple[int, ...]], int]:
    model = fit_frames(settings, frames, jobs=2)
    return {(t.kind, b.species): b.size for t in model.terms for b in t.blocks}


def of_two_species(frames: list[Frame]) -> list[Frame]:
    """The frames with an oxygen atom in the last one only."""
    numbers = frames[-1].numbers.copy()
    numbers[0] = 8
    return [*frames[:-1], replace(frames[-1], numbers=numbers)]


def test_sizes_of_small_data_are_those_of_the_fit(
    settings: Settings, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAMPLE_ATOMS", 10**6)
    found = estimate(settings, frames)
    assert found.whole
    assert sizes(found) == fitted_sizes(settings, frames)
    labelled = read(SILICON / "train.xyz", ":")
    atoms = sum(len(a) for a in labelled)
    assert (found.n_frames, found.n_atoms) == (len(labelled), atoms)
    assert (found.n_energies, found.n_forces) == (len(labelled), 3 * atoms)
    assert found.n_stresses == 6 * sum("stress" in a.calc.results for a in labelled) > 0
    assert found.n_rows == fit_frames(settings, frames).data["n_rows"]
    assert found.n_columns == sum(sizes(found).values())


def test_candidates_are_distances_triangles_and_atoms(
    settings: Settings, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted by ASE: ordered pairs count once, a triangle once for each of its centres."""
    from ase.neighborlist import neighbor_list

    monkeypatch.setattr(module, "SAMPLE_ATOMS", 10**6)
    found = {c.kind: c.candidates for c in estimate(settings, frames).combinations}
    pairs = triangles = 0
    for atoms in read(SILICON / "train.xyz", ":"):
        pairs += len(neighbor_list("i", atoms, 4.5)) // 2
        neighbors = np.bincount(neighbor_list("i", atoms, 3.6), minlength=len(atoms))
        triangles += int(np.sum(neighbors * (neighbors - 1) // 2))
    assert found == {
        "two_body": pairs,
        "three_body": triangles,
        "one_body": sum(len(f.numbers) for f in frames),
    }


def test_sizes_of_large_data_are_estimated_from_a_sample(
    settings: Settings, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = estimate(settings, frames)
    monkeypatch.setattr(module, "SAMPLE_ATOMS", 200)
    found = estimate(settings, frames)
    assert not found.whole
    assert (found.n_frames, found.n_rows) == (whole.n_frames, whole.n_rows)
    for some, every in zip(found.combinations, whole.combinations, strict=True):
        assert some.candidates == pytest.approx(every.candidates, rel=0.3)
        assert some.n_sparse == pytest.approx(every.n_sparse, rel=0.2)


def test_rare_species_are_in_the_sample(
    settings: Settings, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAMPLE_ATOMS", 1)
    two = of_two_species(frames)
    found = estimate(settings, two)
    assert set(sizes(found)) == set(fitted_sizes(settings, two))


def test_more_points_than_the_sample_has(
    frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the sample holds fewer candidates than points are wanted, the data may hold enough."""
    monkeypatch.setattr(module, "SAMPLE_ATOMS", 1)
    given = {"cutoff": 3.0, "lengthscale": 0.1, "n_sparse": 150, "sparse_method": "random"}
    terms = [{"kind": "three_body", **given}]
    moved = [f for f in frames if f.forces is not None and np.abs(f.forces).max() > 0.5]
    found = estimate(Settings.from_dict({**GIVEN, "terms": terms}), moved)
    assert found.combinations[0].candidates > 200
    assert found.combinations[0].n_sparse == 150


@pytest.mark.parametrize("n_sparse", [60, {"Si": 40}, None])
def test_sizes_of_soap_terms(
    n_sparse: Any, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    soap = {"kind": "soap", "cutoff": 3.5, "n_sparse": n_sparse, "n_max": 3, "l_max": 2}
    given = Settings.from_dict({**GIVEN, "terms": [soap]})
    monkeypatch.setattr(module, "SAMPLE_ATOMS", 10**6)
    found = estimate(given, frames)
    assert sizes(found) == fitted_sizes(given, frames)
    assert found.combinations[0].candidates == sum(len(f.numbers) for f in frames)
    monkeypatch.setattr(module, "SAMPLE_ATOMS", 200)
    some = estimate(given, frames).n_columns
    # Points that repeat others are dropped in a fit: what a sample tells is an upper bound.
    assert some >= found.n_columns


@pytest.mark.parametrize("count", [1, 2])
def test_memory_of_the_sums_is_what_they_take(
    settings: Settings, frames: list[Frame], count: int
) -> None:
    """With the stresses' sigma to be found they are summed up apart."""
    if count == 1:
        settings = replace(settings, sigma=replace(settings.sigma, stress=0.01))
    assert any(frame.stress is not None for frame in frames)
    found = estimate(settings, frames)
    n = found.n_columns
    assert found.gram_bytes == Accumulator(n).gram.nbytes
    size = 600
    rows = np.random.default_rng(0).normal(size=(50, size))
    tracemalloc.start()
    try:
        data = Groups(size, count)
        data.add([(rows, rows[:, 0], 0.0)] * count)
        data.settle()
        maximise_evidence(data, [size], [1.0], [False], True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    factors = 8 * sum(c.n_sparse**2 for c in found.combinations)
    expected = (found.sums_bytes - factors) / found.gram_bytes
    assert peak / (8 * size**2) == pytest.approx(expected, rel=0.2)


def test_time_is_shared_and_grows_with_the_data(
    settings: Settings, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With given times of a row, the sum of all: nothing is measured here."""
    monkeypatch.setattr(module, "SAMPLE_ATOMS", 10**6)
    monkeypatch.setattr(module, "_row_seconds", lambda sample, terms: 1e-5)
    monkeypatch.setattr(module, "_matrix_seconds", lambda sizes: (2e-3, 1e-3, 0.5))
    one = estimate(settings, frames)
    rows = 1e-5 * one.n_atoms * one.n_columns
    assert one.seconds["rows and their sum"] == pytest.approx(rows + 3e-3 * one.n_rows)
    assert one.seconds["deltas by evidence"] == 0.5 * module.EVIDENCE_STEPS
    two = estimate(settings, frames, jobs=2)
    assert two.seconds["rows and their sum"] == pytest.approx(
        0.5 * one.seconds["rows and their sum"]
    )
    four = estimate(settings, frames, jobs=1, ranks=4)
    assert four.seconds["rows and their sum"] == pytest.approx(
        0.25 * one.seconds["rows and their sum"]
    )
    double = estimate(settings, frames + frames)
    assert double.seconds["rows and their sum"] == pytest.approx(
        2 * one.seconds["rows and their sum"]
    )
    assert double.frames_bytes == 2 * one.frames_bytes
    assert double.sums_bytes == one.sums_bytes
    assert double.blocks_bytes == one.blocks_bytes


ALLOY = ("Al", "Ni", "Cu", "Pd")


def alloy_frames(count: int, repeat: int = 1) -> list[Frame]:
    """Rattled fcc cells of random elements with small forces, `repeat` times a cell of 8 atoms."""
    rng = np.random.default_rng(0)
    found = []
    for n in range(count):
        atoms = bulk("Cu", cubic=True, a=3.7).repeat((2, repeat, 1))
        atoms.symbols[:] = rng.choice(ALLOY, len(atoms))
        atoms.symbols[:4] = ALLOY
        atoms.positions += rng.normal(0.0, 0.1, atoms.positions.shape)
        forces = rng.normal(0.0, 0.1, atoms.positions.shape)
        found.append(as_frame(atoms, energy=0.0, forces=forces, index=n))
    return found


@pytest.mark.parametrize("kind", ["soap", "nbody"])
def test_environments_of_all_frames_may_be_more_points_than_the_sample_has(
    kind: str, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAMPLE_ATOMS", 1)
    shape = {"n_max": 3, "l_max": 2} if kind == "soap" else {"n_features": 5}
    term = {"kind": kind, "cutoff": 3.0, "n_sparse": 60, **shape}
    moved = [f for f in frames if f.forces is not None and np.abs(f.forces).max() > 0.5]
    found = estimate(Settings.from_dict({**GIVEN, "terms": [term]}), moved)
    assert not found.whole
    assert sizes(found)[kind, (14,)] == 60


def test_the_map_of_soap_terms_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory is at least that of the forms; more channels take longer, few-body terms nothing."""
    monkeypatch.setattr(module, "_row_seconds", lambda sample, terms: 0.0)
    given = alloy_frames(6)
    found = {}
    for channels in (1, 4):
        soap = {
            "kind": "soap",
            "cutoff": 3.8,
            "n_max": 8,
            "l_max": 4,
            "n_species_channels": channels,
        }
        found[channels] = estimate(Settings.from_dict({**GIVEN, "terms": [soap]}), given)
    points = sum(c.n_sparse for c in found[4].combinations if c.kind == "soap")
    numbers = 32 * 33 // 2 * 5
    assert found[4].map_bytes > 8 * points * numbers
    assert found[4].map_bytes > 4 * found[1].map_bytes
    assert found[4].seconds["mapping, its error"] > found[1].seconds["mapping, its error"] > 0.0
    few = estimate(Settings.from_dict({**GIVEN, "terms": GIVEN["terms"][:1]}), given)
    assert few.map_bytes == 0
    assert few.seconds["mapping, its error"] == 0.0


def test_a_process_without_a_map_is_asked_itself(frames: list[Frame]) -> None:
    term = {"kind": "nbody", "cutoff": 3.0, "n_sparse": 10, "n_features": 5}
    found = estimate(Settings.from_dict({**GIVEN, "terms": [term]}), frames[:10])
    assert "mapping, its error" not in found.seconds
    assert found.seconds["predictions of the process"] > 0.0
    assert found.map_bytes == 0


def test_trial_fits_are_made_only_where_they_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 32 frames with few atoms each; a first one, of some frames, tells how long all would take."""
    given = alloy_frames(32)
    sizes_tried = []

    def trial(option: Settings, sample: list[Frame]) -> float:
        sizes_tried.append(sum(len(f.numbers) for f in sample))
        return 0.0

    def all_of_them(*arguments: Any) -> Settings:
        raise AssertionError("all trial fits were made")

    soap = {"kind": "soap", "n_max": 2, "l_max": 1, "n_sparse": 10}
    bare = Settings.from_dict({**GIVEN, "terms": [soap]})
    monkeypatch.setattr(module, "trial_evidence", trial)
    monkeypatch.setattr(module, "of_largest_evidence", all_of_them)
    monkeypatch.setattr(module, "TRIAL_SECONDS", 0.0)
    found = estimate(bare, given)
    assert found.seconds["choosing scales"] > 0.0
    assert [len(sizes_tried), sizes_tried[0] < 150] == [1, True]
    monkeypatch.setattr(module, "TRIAL_SECONDS", 1e9)
    with pytest.raises(AssertionError, match="all trial fits were made"):
        estimate(bare, given)


# ----- the command -----


Dry = Callable[..., Result]


@pytest.fixture
def dry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dry:
    """Runs ``forcemap fit --dry-run`` in an empty folder that holds the settings alone."""
    monkeypatch.chdir(tmp_path)

    def run(given: dict[str, Any], *options: str) -> Result:
        Path("settings.yaml").write_text(yaml.safe_dump(given), encoding="utf-8")
        return invoke("fit", "settings.yaml", "--dry-run", *options)

    return run


def test_dry_run_prints_sizes_and_writes_nothing(
    dry: Dry, settings: Settings, frames: list[Frame]
) -> None:
    found = estimate(settings, frames)
    result = dry(GIVEN, "-o", "out", "--jobs", "2")
    assert result.exit_code == 0, result.output
    assert os.listdir() == ["settings.yaml"]
    words = " ".join(result.stdout.split())
    for shown in (
        f"training frames {len(frames)}, {found.n_atoms} atoms",
        f"rows {found.n_rows}: {found.n_energies} energies, {found.n_forces} forces, "
        f"{found.n_stresses} stresses",
        f"columns {found.n_columns} sparse points",
        "three_body Si-Si-Si",
        "Gram matrix",
        "block of rows",
        "Time by 2 thread(s)",
        "rows and their sum about",
        "in all about",
    ):
        assert shown in words, shown
    assert "timing a sample: done in" in result.stderr
    assert dry(GIVEN, "--quiet").stderr == ""


def test_dry_run_tells_faults_as_the_fit_does(dry: Dry) -> None:
    result = dry({**GIVEN, "data": {"train": "nowhere.xyz"}})
    assert result.exit_code == 1
    assert result.stderr.endswith("Error: nowhere.xyz: no such file\n")
    lone = {**GIVEN, "data": {"train": str(SILICON / "isolated.xyz")}, "e0": {"Si": 0.0}}
    result = dry(lone)
    assert result.exit_code == 1
    assert "there is nothing to fit" in result.stderr


def test_frames_without_labels_are_told(settings: Settings, frames: list[Frame]) -> None:
    bare = [replace(f, energy=None, forces=None, stress=None) for f in frames]
    with pytest.raises(ForcemapError, match="neither energies nor forces"):
        estimate(settings, bare)
