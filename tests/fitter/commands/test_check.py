"""``forcemap check``: what it prints and writes, and its exit codes."""

import base64
import gzip
import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.io import read
from click.testing import CliRunner, Result
from examined_data import cluster, crystal, isolated, sound, written
from forcemap.fitter.cli import cli
from forcemap.fitter.config import Source
from forcemap.fitter.data.dataset import read_frames
from structures import SILICON

LITHIUM_HYDRIDE = SILICON.parent / "lithium_hydride"


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["check", *map(str, arguments)])


def findings(result: Result) -> dict[str, Any]:
    return {finding["name"]: finding for finding in json.loads(result.stdout)["findings"]}


def spoilt() -> list[Atoms]:
    """A left-handed cell, a copy, forces held by a constraint, an energy of NaN, a cluster's stress."""
    frames = sound()
    frames[1].cell = frames[1].cell[[1, 0, 2]]
    frames[3].calc.results["forces"][:16] = 0.0
    frames[5].calc.results["energy"] = np.nan
    copy = frames[2].copy()
    copy.calc = frames[2].calc
    return [*frames, copy, cluster(3, stress=True)]


# ----- exit codes and output -----


@pytest.mark.parametrize("folder", [SILICON, LITHIUM_HYDRIDE], ids=lambda folder: folder.name)
def test_sound_data_have_exit_code_0(folder: Path) -> None:
    result = invoke(folder / "train.xyz", "--test", folder / "test.xyz", "--quiet")
    assert result.exit_code == 0, result.output
    assert "WRONG" not in result.output
    assert re.search(r"^\d+ frames with [\d,]+ atoms examined: ", result.stdout, re.MULTILINE)


def test_wrong_data_have_exit_code_1_and_a_line_for_each_part(tmp_path: Path) -> None:
    path = written(tmp_path / "a.xyz", spoilt())
    result = invoke(path, "-q", "-j", 1)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    at = lines.index("WRONG forces-frozen")
    assert lines[at + 1].startswith(
        "  16 atoms in 1 frame have forces of exactly zero that no symm"
    )
    assert lines[at + 2] == f"  Frames: {path}: 3"
    assert lines[at + 3].startswith("  Cure: Write the forces without the constraint")
    assert lines[-2].startswith(
        "30 frames with 438 atoms examined: 2 wrong (a fit would be wrong), "
    )
    assert lines[-1] == "Frames are counted from 0 in each file."
    kinds = [line.split()[0] for line in lines if re.match("(WRONG|DOUBT|NOTE) ", line)]
    assert kinds == sorted(kinds, key=["WRONG", "DOUBT", "NOTE"].index)


def test_long_lists_of_frames_are_cut_in_the_table_and_whole_in_json(tmp_path: Path) -> None:
    frames = [crystal(n, (1, 1, 1)) for n in range(12)]
    for atoms in frames:
        atoms.cell = atoms.cell[[1, 0, 2]]
    path = written(tmp_path / "a.xyz", frames)
    assert f"Frames: {path}: 0, 1, 2, 3, 4, 5, 6, 7 … (12 frames)" in invoke(path, "-q").stdout
    result = invoke(path, "-q", "--json")
    finding = findings(result)["cell-left-handed"]
    assert finding["frames"] == [{"file": str(path), "index": n} for n in range(12)]
    assert finding["correction"] == "cell vectors reversed"
    assert finding["severity"] == "note"
    content = json.loads(result.stdout)
    assert content["exit_code"] == 0
    assert content["files"] == [{"file": str(path), "frames": 12, "atoms": 48}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'DATA...'"),
        (["none.xyz"], "'none.xyz' does not exist"),
        (["a.xyz", "s.yaml"], "s.yaml holds settings; give it alone, or as --settings"),
        (["a.xyz", "--fix", "a.xyz"], "a.xyz is one of the files examined, and would be lost"),
        (["a.xyz", "--test", "b.xyz", "--html", "b.xyz"], "b.xyz is one of the files examined"),
        (["a.xyz", "--fix", "c.xyz", "--html", "c.xyz"], "c.xyz is named twice"),
    ],
)
def test_mistakes_in_the_command_have_exit_code_2(
    tmp_path: Path, arguments: Sequence[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.xyz", "b.xyz"):
        written(tmp_path / name, [crystal(1)])
    (tmp_path / "s.yaml").write_text("data: {train: a.xyz}\nterms: [{kind: two_body}]\n")
    result = invoke(*arguments, "-q")
    assert result.exit_code == 2
    assert message in result.output
    assert sorted(os.listdir(tmp_path)) == ["a.xyz", "b.xyz", "s.yaml"]


def test_files_that_cannot_be_read_at_all_are_wrong(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    path.write_bytes(b"\x00\x01\x02" * 1000)
    result = invoke(path, "-q")
    assert result.exit_code == 1
    assert "WRONG file-unreadable" in result.stdout
    assert (
        "is not a text file; frames are read as extended XYZ (nothing is examined)" in result.stdout
    )
    page, copy = tmp_path / "p.html", tmp_path / "b.xyz"
    result = invoke(path, "-q", "--html", page, "--fix", copy, "--chemiscope", tmp_path / "c.json")
    assert result.exit_code == 1
    assert "file-unreadable" in page.read_text()
    assert "b.xyz: no frame can be used, so none is written" in result.stdout
    assert "c.json: no frame can be used, so none is written" in result.stdout
    assert sorted(os.listdir(tmp_path)) == ["a.xyz", "p.html"]


# ----- what is examined -----


def test_settings_name_the_data_their_keys_and_cutoffs(tmp_path: Path) -> None:
    for name, seeds in (("train.xyz", range(6)), ("test.xyz", range(20, 23))):
        path = written(tmp_path / name, [crystal(n, (1, 1, 1)) for n in seeds])
        path.write_text(path.read_text().replace(" energy=", " E_dft="))
    settings = tmp_path / "settings.yaml"
    settings.write_text(
        "data: {train: train.xyz, test: test.xyz, keys: {energy: E_dft}}\n"
        "terms: [{kind: two_body, cutoff: 4.25}]\n"
        "e0: {Cu: 3.51}\n"
    )
    result = invoke(settings, "-q", "--json")
    assert result.exit_code == 0, result.output
    assert [file["frames"] for file in json.loads(result.stdout)["files"]] == [6, 3]
    found = findings(result)
    assert found["cell-small"]["figures"]["cutoff"] == 4.25
    assert "no-isolated-atom" not in found
    with_data = invoke(tmp_path / "train.xyz", "--settings", settings, "-q", "--json")
    assert with_data.exit_code == 0
    assert [file["frames"] for file in json.loads(with_data.stdout)["files"]] == [6]


def test_keys_and_indices_are_taken(tmp_path: Path) -> None:
    path = written(tmp_path / "a.xyz", [crystal(n, (1, 1, 1)) for n in range(6)])
    path.write_text(path.read_text().replace(" energy=", " E_dft="))
    assert invoke(path, "-q").exit_code == 1
    result = invoke(f"{path}@1::2", "-q", "--json", "--keys", "energy=E_dft")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["files"][0]["frames"] == 3


def test_progress_is_shown_in_lines_of_a_log(tmp_path: Path) -> None:
    path = written(tmp_path / "a.xyz", sound())
    result = invoke(path)
    for stage in ("reading a.xyz", "distances", "copies", "coverage"):
        assert re.search(rf"^{stage}: done in [\d.]+ s$", result.stderr, re.MULTILINE)
    assert not invoke(path, "-q").stderr


# ----- --fix -----


def test_the_copy_is_mended_and_the_rest_is_kept(tmp_path: Path) -> None:
    """What is not at fault has the same labels, keys and groups; the copy has no such findings."""
    frames = spoilt()
    for n, atoms in enumerate(frames):
        atoms.info["comment_of_mine"] = f"frame {n}"
        atoms.arrays["tags_of_mine"] = np.arange(len(atoms))
    path, copy = written(tmp_path / "a.xyz", frames), tmp_path / "b.xyz"
    before = path.read_bytes()
    result = invoke(path, "-q", "--fix", copy)
    assert result.exit_code == 1
    assert path.read_bytes() == before
    for line in (
        f"{copy}: 29 frames written",
        f"label-not-finite: energy removed ({path}: 5)",
        f"forces-frozen: force_mask set for atoms with zeroed forces ({path}: 3)",
        f"stress-of-clusters: stress removed ({path}: 29)",
        f"copies-in-train: copy of another frame left out ({path}: 28)",
        f"cell-left-handed: cell vectors reversed ({path}: 1)",
        "1 of the frames that could be read are left out",
    ):
        assert line in result.stdout.splitlines()
    mended = read_frames([Source(copy)])
    originals = [n for n in range(30) if n != 28]
    images = read(copy, ":")
    for frame, atoms, n in zip(mended, images, originals, strict=True):
        old = frames[n]
        assert atoms.info["comment_of_mine"] == f"frame {n}"
        assert np.array_equal(atoms.arrays["tags_of_mine"], np.arange(len(atoms)))
        assert frame.config_type == old.info.get("config_type", "default")
        assert np.allclose(frame.positions, old.positions, atol=1e-8)
        assert np.linalg.det(frame.cell) > 0.0
        if n != 5:
            assert frame.energy == pytest.approx(old.calc.results["energy"], abs=1e-9)
        assert frame.forces is not None
        assert np.allclose(frame.forces, old.calc.results["forces"], atol=1e-8)
        assert (frame.stress is None) == ("stress" not in old.calc.results or n == 29)
    assert mended[5].energy is None
    assert mended[3].force_mask is not None
    assert mended[3].force_mask.tolist() == [True] * 16 + [False] * 16
    again = invoke(copy, "-q", "--json")
    assert again.exit_code == 0, again.output
    assert not {"cell-left-handed", "copies-in-train", "forces-frozen", "label-not-finite"} & set(
        findings(again)
    )


def test_keys_get_the_standard_names(tmp_path: Path) -> None:
    """Virials become stresses, -virial / volume; names of labels are energy, forces and stress."""
    frames = sound()
    for atoms in frames:
        results = atoms.calc.results
        if "stress" in results:
            virial = -atoms.get_volume() * atoms.get_stress(voigt=False)
            atoms.info["REF_virial"] = virial.ravel()
        atoms.info["REF_energy"] = results["energy"]
        atoms.arrays["REF_forces"] = results["forces"]
        atoms.calc = None
    path, copy = written(tmp_path / "a.xyz", frames), tmp_path / "b.xyz"
    result = invoke(path, "-q", "--fix", copy)
    assert result.exit_code == 0
    for text in (
        "REF_energy written as energy",
        "REF_forces written as forces",
        "REF_virial written as stress",
    ):
        assert f"{path}: {text}" in result.stdout.splitlines()
    header = copy.read_text().splitlines()[1]
    assert "REF_" not in header
    assert ":forces:R:3" in header
    assert " energy=" in header
    for frame, original in zip(read_frames([Source(copy)]), sound(), strict=True):
        assert frame.energy == pytest.approx(original.calc.results["energy"], abs=1e-9)
        if frame.stress is not None:
            assert np.allclose(frame.stress, original.get_stress(voigt=False), atol=1e-9)


def test_frames_that_cannot_be_read_are_left_out_of_the_copy(tmp_path: Path) -> None:
    path, copy = (
        written(tmp_path / "a.xyz", [crystal(n, (1, 1, 1)) for n in range(5)]),
        tmp_path / "b",
    )
    lines = path.read_text().splitlines()
    lines[6 * 2 + 3] = "Cu 0.0 x 0.0 0 0 0"
    path.write_text("\n".join(lines[:-1]) + "\n")
    result = invoke(path, "-q", "--fix", copy)
    assert f"{copy}: 3 frames written" in result.stdout
    assert f"frame-unusable: left out ({path}: 2)" in result.stdout
    assert len(read_frames([Source(copy)])) == 3


def test_energies_per_atom_are_multiplied(tmp_path: Path) -> None:
    frames = sound()
    for atoms in frames:
        atoms.calc.results["energy"] = atoms.calc.results["energy"] / len(atoms) - 4.0
    path, copy = written(tmp_path / "a.xyz", frames), tmp_path / "b.xyz"
    assert invoke(path, "-q", "--fix", copy).exit_code == 1
    assert invoke(copy, "-q").exit_code == 0
    for frame, atoms in zip(read_frames([Source(copy)]), frames, strict=True):
        assert frame.energy == pytest.approx(atoms.calc.results["energy"] * len(atoms), abs=1e-9)


@pytest.mark.parametrize(("name", "factor"), [("stress-unit", 160.21766208), ("stress-sign", -1.0)])
def test_stresses_are_mended(tmp_path: Path, name: str, factor: float) -> None:
    """Units and signs that the examinations by virtual work are certain of."""
    frames = read(SILICON / "train.xyz", ":")
    for atoms in frames:
        if "stress" in atoms.calc.results:
            atoms.calc.results["stress"] = atoms.calc.results["stress"] * factor
    path, copy = written(tmp_path / "a.xyz", frames), tmp_path / "b.xyz"
    result = invoke(path, "-q", "--fix", copy, "--json")
    assert result.exit_code == 1
    assert findings(result)[name]["severity"] == "wrong"
    if name == "stress-unit":
        message = findings(result)["fit-refuses"]["message"]
        assert message.startswith(f"a fit refuses the file: {path}: the stresses")
    assert f"{name}: stress multiplied by {1.0 / factor:.6g}"[:40] in result.stderr
    originals = read_frames([Source(SILICON / "train.xyz")])
    for frame, original in zip(read_frames([Source(copy)]), originals, strict=True):
        assert (frame.stress is None) == (original.stress is None)
        if frame.stress is not None:
            assert np.allclose(frame.stress, original.stress, atol=1e-6)


def test_a_copy_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = written(tmp_path / "a.xyz", [crystal(1), isolated()])
    result = invoke(path, "-q", "--fix", tmp_path / "none" / "b.xyz")
    assert result.exit_code == 1
    assert "none" in result.output
    assert os.listdir(tmp_path) == ["a.xyz"]


# ----- pages -----


def test_the_page_holds_everything(tmp_path: Path) -> None:
    path, page = written(tmp_path / "a<b>.xyz", spoilt()), tmp_path / "p.html"
    result = invoke(path, "-q", "--html", page)
    assert str(page) in result.stdout.splitlines()
    text = page.read_text()
    assert "<b>.xyz" not in text  # escaped
    assert "16 atoms in 1 frame have forces of exactly zero that no symmetry explains" in text
    assert "http" not in re.sub(r"base64,[^\"]+", "", text).replace("http://www.w3.org", "")
    titles = re.findall(r'<img alt="([^"]+)" src="data:image/svg\+xml;base64,([^"]+)"', text)
    assert [title for title, _ in titles] == [
        "energy error of a quick fit",
        "force error of a quick fit",
        "energy beyond its composition&#39;s",
        "largest force",
        "Distances",
        "Energies",
        "Forces",
        "Elements",
    ]
    for _, svg in titles:
        assert b"<svg" in base64.b64decode(svg)


@pytest.mark.parametrize("name", ["c.json", "c.json.gz"])
def test_data_for_chemiscope(tmp_path: Path, name: str) -> None:
    """Structures and properties of one length each, all numbers finite, as the viewer wants them."""
    frames = [atoms for atoms in sound()]
    path, out = written(tmp_path / "a.xyz", frames), tmp_path / name
    assert invoke(path, "-q", "--chemiscope", out).exit_code == 0
    raw = gzip.decompress(out.read_bytes()) if name.endswith("gz") else out.read_bytes()
    content = json.loads(raw)
    assert set(content) == {"meta", "structures", "properties", "settings"}
    assert len(content["structures"]) == len(frames)
    for structure, atoms in zip(content["structures"], frames, strict=True):
        assert structure["size"] == len(atoms) == len(structure["names"]) == len(structure["x"])
        assert np.allclose(np.reshape(structure["cell"], (3, 3)), atoms.cell, atol=1e-8)
    for values in content["properties"].values():
        assert values["target"] == "structure"
        assert len(values["values"]) == len(frames)
    assert content["settings"]["map"]["x"]["property"] in content["properties"]
    assert content["settings"]["map"]["color"]["property"] in content["properties"]


def test_other_formats_of_ase_are_examined(tmp_path: Path) -> None:
    from ase.io import write

    frames = [crystal(n, (1, 1, 1)) for n in range(6)]
    write(tmp_path / "a.traj", frames)
    result = invoke(tmp_path / "a.traj", "-q", "--fix", tmp_path / "b.xyz")
    assert result.exit_code == 0, result.output
    assert len(read_frames([Source(tmp_path / "b.xyz")])) == 6


def test_the_example_of_the_help_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("train.xyz", "test.xyz"):
        shutil.copy(SILICON / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    result = invoke("train.xyz", "--test", "test.xyz", "--html", "check.html")
    assert result.exit_code == 0
    assert (tmp_path / "check.html").exists()
