"""Faults of files and frames are gathered, and the rest is read."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from examined_data import case_of, crystal, examined, isolated, named, written
from forcemap.fitter.data.settings import Keys
from forcemap.fitter.doctor.finding import Finding, Severity


def frames(count: int = 6) -> list[Atoms]:
    return [crystal(n, (1, 1, 1)) for n in range(count)]


def places(finding: Finding) -> list[int]:
    return [place.index for place in finding.frames]


def test_sound_data_are_read_without_findings(tmp_path: Path) -> None:
    (reading,) = case_of(written(tmp_path / "a.xyz", frames())).train
    assert not reading.findings
    assert [frame.index for frame in reading.frames] == list(range(6))


def spoil_energy(atoms: Atoms) -> None:
    atoms.calc.results["energy"] = np.nan


def spoil_forces(atoms: Atoms) -> None:
    atoms.calc.results["forces"][2, 1] = np.inf


def spoil_stress(atoms: Atoms) -> None:
    atoms.calc.results["stress"] = np.array([np.nan, 0.0, 0.0, 0.0, 0.0, 0.0])


@pytest.mark.parametrize(
    ("label", "spoil"),
    [("energy", spoil_energy), ("forces", spoil_forces), ("stress", spoil_stress)],
)
def test_every_label_that_is_not_finite_is_named(
    tmp_path: Path, label: str, spoil: Callable[[Atoms], None]
) -> None:
    """All frames with the fault are listed; they are read without this label, with the others."""
    those = frames()
    spoil(those[1])
    spoil(those[4])
    path = written(tmp_path / "a.xyz", those)
    (reading,) = case_of(path).train
    (finding,) = reading.findings
    assert (finding.name, finding.severity) == ("label-not-finite", Severity.WRONG)
    assert places(finding) == [1, 4]
    assert finding.message.startswith(
        f"{path}: {label} with numbers that are not finite (2 frames, the first is frame 1): the "
    )
    assert finding.cure == f"Remove the {label} or the frame: the calculation failed"
    for frame in reading.frames:
        bad = frame.index in (1, 4)
        assert (getattr(frame, label) is None) == bad
        assert sum(x is not None for x in (frame.energy, frame.forces, frame.stress)) == 3 - bad


def test_labels_of_wrong_shape_are_named(tmp_path: Path) -> None:
    path = written(tmp_path / "a.xyz", frames())
    text = path.read_text().replace("energy=", 'energy="1 2" x=', 1)
    path.write_text(text)
    (reading,) = case_of(path).train
    (finding,) = reading.findings
    assert finding.name == "label-unusable"
    assert "energy that cannot be read (one frame, frame 0): the energy" in finding.message
    assert finding.cure == "Correct or remove the energy"


def test_frames_that_cannot_be_parsed_are_named_with_their_lines(tmp_path: Path) -> None:
    """The fourth line of frames 1 and 3 is spoilt: frames 0, 2, 4 and 5 are examined."""
    path = written(tmp_path / "a.xyz", frames())
    lines = path.read_text().splitlines()
    for frame in (1, 3):
        lines[6 * frame + 3] = "Cu 0.0 x 0.0 0 0 0"
    path.write_text("\n".join(lines) + "\n")
    (reading,) = case_of(path).train
    assert [frame.index for frame in reading.frames] == [0, 2, 4, 5]
    (finding,) = reading.findings
    assert (finding.name, finding.severity) == ("frame-unusable", Severity.WRONG)
    assert places(finding) == [1, 3]
    assert (
        f"{path}: cannot be used (2 frames, the first is frame 1): line 10: 'x' in the column of "
        "pos is not a number" in finding.message
    )


def test_files_are_read_up_to_where_they_break(tmp_path: Path) -> None:
    path = written(tmp_path / "a.xyz", frames())
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-2]) + "\n")
    (reading,) = case_of(path).train
    assert len(reading.frames) == 5
    (finding,) = reading.findings
    assert finding.name == "file-unreadable"
    assert "ends within frame 5, which should have 4 atoms" in finding.message
    assert finding.message.endswith("(the 5 frames before it are examined)")


def test_atoms_in_the_same_place_are_named(tmp_path: Path) -> None:
    those = frames()
    those[2].positions[1] = those[2].positions[0]
    finding = named(examined(written(tmp_path / "a.xyz", those)), "atoms-on-top")
    assert places(finding) == [2]
    assert "atoms 0 and 1 are in the same place" in finding.message


def test_cells_without_volume_are_named(tmp_path: Path) -> None:
    those = frames()
    those[3].cell[2] = those[3].cell[0] + those[3].cell[1]
    finding = named(examined(written(tmp_path / "a.xyz", those)), "frame-unusable")
    assert places(finding) == [3]
    assert "has no volume: the periodic vectors are not independent" in finding.message


def test_labels_under_another_name_would_not_be_read(tmp_path: Path) -> None:
    path = written(tmp_path / "a.xyz", frames())
    path.write_text(path.read_text().replace(":forces:", ":my_forces:"))
    finding = named(examined(path), "labels-unread")
    assert finding.severity is Severity.WRONG
    assert (
        'no force label under "forces", so none is used; this file has my_forces' in finding.message
    )
    (reading,) = case_of(path, keys=Keys(forces="my_forces")).train
    assert not reading.findings
    assert reading.frames[0].forces is not None


def test_several_candidates_are_refused_as_a_fit_does(tmp_path: Path) -> None:
    path = written(tmp_path / "a.xyz", frames())
    path.write_text(path.read_text().replace(" energy=", " REF_energy=1.0 dft_energy="))
    finding = named(examined(path), "labels-refused")
    assert finding.severity is Severity.WRONG
    assert (
        "under several other names: REF_energy (6 frames), dft_energy (6 frames)" in finding.message
    )


def test_bad_sigmas_do_not_end_the_reading(tmp_path: Path) -> None:
    those = frames()
    those[1].info["sigma_energy"] = -1.0
    (reading,) = case_of(written(tmp_path / "a.xyz", those)).train
    assert len(reading.frames) == 6
    (finding,) = reading.findings
    assert '"sigma_energy" is -1, expected more than 0' in finding.message


def test_partial_labels_are_counted(tmp_path: Path) -> None:
    those = [*frames(), isolated()]
    del those[0].calc.results["stress"], those[5].calc.results["stress"]
    finding = named(examined(written(tmp_path / "a.xyz", those)), "label-partial")
    assert finding.severity is Severity.DOUBT
    assert places(finding) == [0, 5]
    assert finding.message == (
        "2 of 6 frames have no stress, the others have (config_type crystal); a fit uses the labels "
        "that are there"
    )


def test_placeholders_are_named(tmp_path: Path) -> None:
    those = frames()
    for n in (2, 3):
        those[n].calc.results["forces"][:] = 0.0
    finding = named(examined(written(tmp_path / "a.xyz", those)), "label-placeholder")
    assert finding.severity is Severity.WRONG
    assert places(finding) == [2, 3]
    assert "forces of exactly zero in 2 of 6 frames, such as frame 2" in finding.message


def test_stresses_of_open_frames_are_noted(tmp_path: Path) -> None:
    those = frames()
    those[1].pbc = (True, True, False)
    finding = named(examined(written(tmp_path / "a.xyz", those)), "stress-of-open-frame")
    assert finding.severity is Severity.NOTE
    assert places(finding) == [1]
