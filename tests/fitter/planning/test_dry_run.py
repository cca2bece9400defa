"""``forcemap fit --dry-run``: the sizes it tells are those of the fit, and nothing is written."""

from __future__ import annotations

import os
import re
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
from forcemap.fitter.config import Settings
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.fitting import fit_frames
from forcemap.fitter.planning import estimate as module
from forcemap.fitter.planning.deviations import level_seconds
from forcemap.fitter.planning.estimate import Estimate, estimate
from forcemap.fitter.planning.searching import searching_seconds
from forcemap.fitter.process.model import Model
from forcemap.fitter.solve.evidence import maximise_evidence
from forcemap.fitter.solve.solver import Accumulator, Groups
from forcemap.fitter.solve.work import Rates, Work
from forcemap.fitter.terms.base import MapPlan
from forcemap.fitter.terms.constants import ConstantsTerm
from forcemap.fitter.terms.rows import frame_rows
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.file.container import read_container
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


def fitted(settings: Settings, frames: list[Frame]) -> Model:
    """A fit without what is beyond the data: it has no part in sizes."""
    return fit_frames(replace(settings, outside="free"), frames, jobs=2)


def fitted_sizes(model: Model) -> dict[tuple[str, tuple[int, ...]], int]:
    return {(t.kind, b.species): b.size for t in model.terms for b in t.blocks}


def of_two_species(frames: list[Frame]) -> list[Frame]:
    """The frames with an oxygen atom in the last one only."""
    numbers = frames[-1].numbers.copy()
    numbers[0] = 8
    return [*frames[:-1], replace(frames[-1], numbers=numbers)]


@pytest.fixture
def in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """All frames are looked at and their sparse points chosen, however busy the machine is."""
    monkeypatch.setattr(module, "SAMPLE_ATOMS", 10**6)
    monkeypatch.setattr(module, "SAMPLE_SECONDS", 1e6)
    monkeypatch.setattr(module, "CHOICE_SECONDS", 1e6)


@pytest.mark.usefixtures("in_full")
def test_sizes_of_small_data_are_those_of_the_fit(settings: Settings, frames: list[Frame]) -> None:
    found = estimate(settings, frames)
    assert found.whole
    model = fitted(settings, frames)
    assert sizes(found) == fitted_sizes(model)
    labelled = read(SILICON / "train.xyz", ":")
    atoms = sum(len(a) for a in labelled)
    assert (found.n_frames, found.n_atoms) == (len(labelled), atoms)
    assert (found.n_energies, found.n_forces) == (len(labelled), 3 * atoms)
    assert found.n_stresses == 6 * sum("stress" in a.calc.results for a in labelled) > 0
    assert found.n_rows == model.data["n_rows"]
    assert found.n_columns == sum(sizes(found).values())


@pytest.mark.usefixtures("in_full")
def test_candidates_are_distances_triangles_and_atoms(
    settings: Settings, frames: list[Frame]
) -> None:
    """Counted by ASE: ordered pairs count once, a triangle once for each of its centres."""
    from ase.neighborlist import neighbor_list

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
    assert set(sizes(found)) == set(fitted_sizes(fitted(settings, two)))


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
@pytest.mark.usefixtures("in_full")
def test_sizes_of_soap_terms(
    n_sparse: Any, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    soap = {"kind": "soap", "cutoff": 3.5, "n_sparse": n_sparse, "n_max": 3, "l_max": 2}
    given = Settings.from_dict({**GIVEN, "terms": [soap]})
    found = estimate(given, frames)
    assert sizes(found) == fitted_sizes(fitted(given, frames))
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


@pytest.mark.usefixtures("in_full")
def test_time_is_shared_and_grows_with_the_data(
    settings: Settings, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With given times of a row, the sum of all: nothing is measured here."""
    monkeypatch.setattr(module, "_row_seconds", lambda sample, terms: module._RowSeconds(0.0, 1e-5))
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
    assert one.kept_bytes == 8 * one.n_rows * one.n_columns == 4 * four.kept_bytes
    assert one.draws == 16
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


def test_search_for_holes_is_estimated_where_the_fit_makes_one() -> None:
    frames = alloy(80, ["Cu"])  # 7700 labels
    frames = [replace(f, energy=f.energy - 0.01 * n) for n, f in enumerate(frames) if f.energy]
    terms = [{"kind": "two_body"}]
    given = {"data": {"train": "made.xyz"}, "terms": terms}
    few_bodies = estimate(Settings.from_dict(given), frames)
    assert few_bodies.seconds["filling holes"] > 0.0
    assert any("30 searches" in sentence for sentence in few_bodies.extrapolated)
    free = estimate(Settings.from_dict({**given, "outside": "free"}), frames)
    few_labels = estimate(Settings.from_dict(given), frames[:20])
    for other in (free, few_labels):
        assert "filling holes" not in other.seconds
        assert not any("searches" in sentence for sentence in other.extrapolated)


def test_flexible_terms_are_searched_less() -> None:
    def seconds(is_flexible: bool, elements: int = 1, workers: int = 1) -> float:
        rates = Rates(1e9, 1e9, 1e9)
        work = Work(products=1e8)
        wanted = is_flexible, elements, workers
        return searching_seconds(lambda n: 1e-4 + 1e-6 * n, 100, work, rates, *wanted)

    # Three searches of 50 structures, 150 steps of 8 atoms at 5 us each and 50 us beside; the map.
    assert seconds(True) == pytest.approx(3 * (50 * 150 * (8 * 5e-6 + 5e-5) + 0.1))
    assert seconds(False) > 5 * seconds(True)
    assert seconds(True) < seconds(True, elements=4) < seconds(False, elements=4)
    # Two ranks share the relaxations alone.
    assert seconds(True, workers=2) == pytest.approx(3 * (25 * 150 * (8 * 5e-6 + 5e-5) + 0.1))


# ----- what is not done -----


def alloy(count: int, elements: list[str], repeat: int = 2) -> list[Frame]:
    """Frames of a few disordered cells over and over, with made-up labels."""
    rng = np.random.default_rng(0)
    frames = []
    for seed in range(min(count, 8)):
        atoms = bulk("Cu", cubic=True, a=4.1).repeat(repeat)
        atoms.symbols = rng.permutation(np.resize(elements, len(atoms)))
        atoms.rattle(0.1, seed=seed)
        forces = rng.normal(size=(len(atoms), 3))
        frames.append(as_frame(atoms, energy=-4.0 * len(atoms), forces=forces))
    return [frames[n % len(frames)] for n in range(count)]


@pytest.fixture
def no_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever chooses the points of a fit, sums up its rows or looks for its deltas fails."""

    def refused(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("a fit is made")

    monkeypatch.setattr(Groups, "__init__", refused)
    monkeypatch.setattr("forcemap.fitter.process.prior.Prior.of", refused)
    for name in ("fit_frames", "fitted", "maximise_evidence"):
        monkeypatch.setattr(f"forcemap.fitter.fitting.{name}", refused)


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by the number of atoms whenever neighbours are looked for."""
    atoms: list[int] = []
    make = Structure.__init__

    def counted(self: Structure, frame: Frame, *arguments: Any, **options: Any) -> None:
        atoms.append(len(frame.numbers))
        make(self, frame, *arguments, **options)

    monkeypatch.setattr(Structure, "__init__", counted)
    return atoms


SEVEN = ["Al", "Ti", "Cr", "Co", "Ni", "Cu", "Pt"]
COUNTED = (
    "the sparse points of {} terms are counted, not chosen: those that repeat others count too"
)


@pytest.mark.usefixtures("no_fit")
@pytest.mark.parametrize(
    ("terms", "counted", "alternatives"),
    [
        ([{"kind": "soap"}, {"kind": "two_body"}], "soap, bispectrum and two_body", True),
        ([{"kind": "nbody"}], "nbody", False),
    ],
    ids=["soap", "nbody"],
)
def test_many_elements_are_estimated_without_a_fit(
    terms: list[dict[str, Any]],
    counted: str,
    alternatives: bool,
    looked_at: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SAMPLE_ATOMS", 300)
    frames = alloy(60, SEVEN)
    given = Settings.from_dict({"data": {"train": "made.xyz"}, "terms": terms})
    found = estimate(given, frames, jobs=2)
    assert {c.species for c in found.combinations if c.kind == terms[0]["kind"]} == {
        (z,) for z in (13, 22, 24, 27, 28, 29, 78)
    }
    assert all(c.n_sparse > 0 for c in found.combinations)
    assert all(seconds >= 0.0 for seconds in found.seconds.values())
    assert found.seconds["rows and their sum"] > 0.0
    first, second, *others = found.extrapolated
    assert first.startswith("sizes and times are extrapolated from ")
    assert first.endswith(" of 60 frames, 320 of 1920 atoms")
    assert second == COUNTED.format(counted)
    assert ["alternatives" in text for text in others] == [True] * alternatives
    assert ("choosing scales" in found.seconds) == alternatives


@pytest.mark.usefixtures("no_fit")
def test_hundred_thousand_atoms_are_not_all_looked_at(looked_at: list[int]) -> None:
    """Two scales, a bispectrum, pairs, the repulsion, a cutoff: each of some thousand atoms."""
    terms = [{"kind": "soap"}, {"kind": "two_body"}]
    given = Settings.from_dict({"data": {"train": "made.xyz"}, "terms": terms})
    found = estimate(given, alloy(1000, ["Al", "Ni", "Cu", "Pt"], 3), jobs=2)
    assert found.n_atoms == 108_000
    # On a fast machine more frames are looked at in the same time.
    assert sum(looked_at) < 0.4 * found.n_atoms
    assert not found.whole
    by_kind = {kind: 0 for kind in ("soap", "bispectrum", "two_body", "one_body")}
    for c in found.combinations:
        by_kind[c.kind] += c.candidates
    # Every atom is a candidate of both scales; eighteen neighbours are within 5.5 Å at least.
    assert by_kind["soap"] == pytest.approx(2 * found.n_atoms, rel=0.01)
    assert by_kind["bispectrum"] == pytest.approx(found.n_atoms, rel=0.01)
    assert by_kind["one_body"] == found.n_atoms
    assert by_kind["two_body"] > 9 * found.n_atoms


def test_fit_is_noticed_where_none_may_be_made(
    settings: Settings, frames: list[Frame], no_fit: None
) -> None:
    with pytest.raises(AssertionError, match="a fit is made"):
        fit_frames(settings, frames[:3])


@pytest.mark.parametrize(
    "pbc", [(True, True, True), (True, False, True), (False, False, True), (False, False, False)]
)
def test_part_of_a_large_frame_is_as_dense(pbc: tuple[bool, bool, bool]) -> None:
    """Atoms have as many neighbours within 5 Å as in the whole; open directions stay.

    To a fifth: where the cut goes through a layer of atoms, some of it is there twice.
    """
    atoms = bulk("Cu", cubic=True, a=4.1).repeat((8, 6, 7))
    atoms.rattle(0.1, seed=0)
    atoms.pbc = pbc
    atoms.cell[~np.array(pbc)] = 0.0
    forces = np.zeros((len(atoms), 3))
    frame = as_frame(atoms, energy=-1.0, forces=forces)
    part = module._part(frame, 200)

    def neighbors(some: Frame) -> float:
        count = len(Structure(some, 5.0).neighbors.distances(29, 29, 5.0))
        return 2 * count / len(some.numbers)

    if not any(pbc):
        assert len(part.numbers) == len(frame.numbers)
    elif all(pbc):
        assert 100 <= len(part.numbers) <= 200
    assert neighbors(part) == pytest.approx(neighbors(frame), rel=0.2)
    assert module._part(part, 200).numbers.shape == part.numbers.shape
    assert np.isfinite(frame_rows(part, [ConstantsTerm.of([29])])).all()


def test_memory_of_the_map_is_about_what_it_takes(frames: list[Frame]) -> None:
    """Of environments, whose forms are made from all sparse points of a species at once."""
    soap = {"kind": "soap", "cutoff": 4.5, "n_sparse": 400}
    given = Settings.from_dict({**GIVEN, "terms": [soap]})
    found = estimate(given, frames).map_bytes
    model = fitted(given, frames[::2])
    term = model.terms[0]
    weights = model.weights[: term.size, None]
    tracemalloc.start()
    try:
        term.mapped(weights, MapPlan(frames[:5]))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 0.5 * peak < found < 2.0 * peak
    tables = Settings.from_dict(GIVEN)
    assert estimate(tables, frames).map_bytes < 0.1 * found


@pytest.mark.usefixtures("in_full")
@pytest.mark.parametrize(
    "terms",
    [
        GIVEN["terms"],
        [{"kind": "two_body", "cutoff": 4.5}, {"kind": "soap", "cutoff": 4.0, "n_sparse": 60}],
        [{"kind": "embedding", "cutoff": 4.5}],
    ],
    ids=["few-body", "soap", "embedding"],
)
def test_size_of_the_draws_is_about_that_in_the_file(
    terms: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Up to a tenth, or 0.1 MB: which resolution suffices only the fit knows, within the range."""
    given = {**GIVEN, "data": {"train": [{"path": str(SILICON / "train.xyz"), "index": "::4"}]}}
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump({**given, "terms": terms}))
    settings = Settings.read(tmp_path / "settings.yaml")
    least, most = estimate(settings, read_frames(settings.data.train)).drawn_bytes
    assert 0 < least <= most
    result = invoke("fit", tmp_path / "settings.yaml", "-o", tmp_path / "out", "--quiet")
    assert result.exit_code == 0, result.output
    arrays = read_container(tmp_path / "out" / "potential.forcemap").tensors.items()
    found = sum(array.nbytes for name, array in arrays if name.startswith("draws."))
    assert 0.9 * least - 1e5 <= found <= 1.1 * most + 1e5


def test_without_draws_or_map_none_are_estimated(settings: Settings, frames: list[Frame]) -> None:
    found = estimate(replace(settings, uncertainty=replace(settings.uncertainty, draws=0)), frames)
    assert (found.draws, found.drawn_bytes) == (0, (0, 0))
    assert "mapping draws" not in found.seconds
    few = {"kind": "nbody", "cutoff": 3.0, "n_sparse": 8, "n_features": 8}
    found = estimate(Settings.from_dict({**GIVEN, "terms": [few]}), frames[:6])
    assert (found.draws, found.drawn_bytes) == (0, (0, 0))


def test_time_of_the_level_frames_grows_with_their_number() -> None:
    """One of 250, four at the most: each as many points as it has, up to 1500."""
    rates = Rates(1e9, 1e9, 1e9)

    def seconds(frames: int, candidates: float) -> float:
        return level_seconds([(50, candidates)], frames, 8.0, rates, lambda points: 1e-6 * points)

    assert seconds(0, 100.0) == 0.0
    assert seconds(2, 100.0) == seconds(499, 100.0) > 0.0
    assert seconds(10_000, 100.0) == pytest.approx(4.0 * seconds(2, 100.0))
    assert seconds(2, 1e6) == seconds(2, 1e5) > 10.0 * seconds(2, 100.0)


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
        "rows kept on disk during the fit",
        "draws in the potential 16",
        "deviations in a run about 7 steps",
        "leaving frames out about",
        "block of rows",
        "Time by 2 thread(s)",
        "rows and their sum about",
        "in all about",
    ):
        assert shown in words, shown
    assert "timing a sample: done in" in result.stderr
    assert dry(GIVEN, "--quiet").stderr == ""


def test_dry_run_says_what_it_extrapolated(
    dry: Dry, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAMPLE_ATOMS", 200)
    terms = [{"kind": "soap", "n_max": 3, "l_max": 2}, {"kind": "two_body"}]
    result = dry({**GIVEN, "terms": terms}, "--quiet")
    assert result.exit_code == 0, result.output
    words = " ".join(result.stdout.split())
    assert re.search(
        rf" Note: sizes and times are extrapolated from \d+ of {len(frames)} frames, "
        rf"\d+ of {sum(len(f.numbers) for f in frames)} atoms\.",
        words,
    )
    assert f" Note: {COUNTED.format('soap and two_body')}." in words
    assert re.search(
        r" Note: the first of \d alternatives for the scales stands for the one that the fit chooses\.",
        words,
    )
    assert "making the map" in words
    monkeypatch.setattr(module, "SAMPLE_ATOMS", 10**6)
    monkeypatch.setattr(module, "SAMPLE_SECONDS", 1e6)
    monkeypatch.setattr(module, "CHOICE_SECONDS", 1e6)
    assert "Note:" not in dry({**GIVEN, "outside": "free"}, "--quiet").stdout
    assert dry(GIVEN, "--quiet").stdout.count("Note: holes are sought in at most") == 1


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
