"""`forcemap import gap`: what it prints, writes and leaves; what other commands make of the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from forcemap.potentials import load
from forcemap_runs import invoke
from gap_files import PAIR, changed, glue_text, written, xml_text


@pytest.fixture
def potential(tmp_path: Path) -> Path:
    path = tmp_path / "potential.forcemap"
    result = invoke("import", "gap", written(tmp_path, PAIR), "-o", path)
    assert result.exit_code == 0, result.output
    return path


def failed(*arguments: str | Path) -> str:
    result = invoke("import", "gap", *arguments)
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


def test_what_was_imported_is_printed(tmp_path: Path) -> None:
    path = tmp_path / "potential.forcemap"
    more = glue_text([14], {(1, 1): (np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.2, 0.0]))})
    result = invoke("import", "gap", written(tmp_path, PAIR, core="T", more=more), "-o", path)
    text = " ".join(result.output.split())
    for part in (
        "label GAP_by_hand",
        "species Si",
        "isolated atoms Si -1.5 eV",
        "distance_2b ard_se, 1 sparse points",
        "baseline Glue, pair functions",
        "term two_body cutoff 4 Å",
        "largest error of a pair's slope, eV/Å",
    ):
        assert part in text
    assert text.endswith(str(path))


def test_quiet_prints_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "potential.forcemap"
    result = invoke("import", "gap", written(tmp_path, PAIR), "-o", path, "--quiet")
    assert result.output == f"{path}\n"


def test_info_says_where_a_potential_comes_from(potential: Path) -> None:
    text = " ".join(invoke("info", potential).output.split())
    for part in (
        "imported from GAP of QUIP",
        "file imported gap.xml",
        "label GAP_by_hand",
        "gap_version 1686220958",
        "command line at_file=train.xyz gap={by hand}",
    ):
        assert part in text


def test_an_imported_potential_has_neither_deviations_nor_grade_nor_repulsion(
    potential: Path,
) -> None:
    found = load(potential)
    assert (found.draws, found.has_grade, found.uncertainty) == (0, False, None)
    assert {term["kind"] for term in found.metadata["terms"]} == {"two_body"}


def test_evaluate_and_export_take_an_imported_potential(potential: Path, tmp_path: Path) -> None:
    frames = tmp_path / "frames.xyz"
    atoms = Atoms("Si2", [[0, 0, 0], [2.0, 0, 0]])
    atoms.info["energy"] = 0.5 - 3.0
    write(frames, atoms, format="extxyz")
    result = invoke("evaluate", potential, frames, "--quiet")
    assert result.exit_code == 0, result.output
    assert "all 1 2 0.00 0.00" in " ".join(result.output.split())
    coarse = tmp_path / "coarse.forcemap"
    options = ("-o", coarse, "--tolerance", "1e-3")
    assert invoke("import", "gap", tmp_path / "gap.xml", *options).exit_code == 0
    result = invoke("export", coarse, "--format", "uf3", "-o", tmp_path / "uf3")
    assert result.exit_code == 0, result.output


def test_an_existing_file_is_replaced_only_by_a_whole_one(tmp_path: Path, potential: Path) -> None:
    before = potential.read_bytes()
    bad = tmp_path / "bad.xml"
    bad.write_text(xml_text(PAIR)[:-40])
    assert "is no complete XML" in failed(bad, "-o", potential)
    assert potential.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.xml", "gap.xml", potential.name]
    again = invoke("import", "gap", tmp_path / "gap.xml", "-o", potential)
    assert again.exit_code == 0
    assert potential.read_bytes() == before


def test_nothing_is_left_of_what_cannot_be_imported(tmp_path: Path) -> None:
    path = written(tmp_path, changed(PAIR, covariance_type="9"))
    text = failed(path, "-o", tmp_path / "potential.forcemap")
    assert f"Error: {path}: <gpCoordinates label=" in text
    assert [p.name for p in tmp_path.iterdir()] == ["gap.xml"]


def test_a_folder_that_cannot_be_written_is_said_first(tmp_path: Path) -> None:
    (tmp_path / "bad.xml").write_text("no XML")
    text = failed(tmp_path / "bad.xml", "-o", tmp_path / "nowhere" / "potential.forcemap")
    assert "cannot be written" in text


def test_species_glue_and_sparse_folder_are_options(tmp_path: Path) -> None:
    core = tmp_path / "core.xml"
    table = {(1, 1): (np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.2, 0.0]))}
    core.write_text(f"<pot>{glue_text([14], table)}</pot>")
    points = tmp_path / "points"
    points.mkdir()
    (points / "sparse").write_text("2.0\n")
    gap = written(tmp_path, changed(PAIR, sparseX_filename="fit/sparse"), core="T")
    path = tmp_path / "potential.forcemap"
    text = failed(gap, "-o", path, "--glue", core)
    assert "there is no such file" in text
    options = ("--glue", core, "--sparse-folder", points, "--species", "Si O")
    result = invoke("import", "gap", gap, "-o", path, *options)
    assert result.exit_code == 0, result.output
    assert f"Warning: {gap}: has no <e0> of O; it is 0 eV, as for QUIP" in result.output
    assert list(load(path).species) == ["O", "Si"]


def test_an_unknown_element_is_named(tmp_path: Path) -> None:
    gap = written(tmp_path, PAIR)
    text = failed(gap, "-o", tmp_path / "p.forcemap", "--species", "Si Xx")
    assert "'Xx' is not the symbol of an element" in text
