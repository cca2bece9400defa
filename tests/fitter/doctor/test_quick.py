"""The cheap examinations in a fit."""

import warnings
from pathlib import Path

import pytest
from ase import Atoms
from examined_data import crystal, sound, written
from forcemap.fitter import fit_to_folder
from forcemap.fitter.config import Settings, Source
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.doctor.quick import quick_findings, warn_of_faults


def read(path: Path, frames: list[Atoms]) -> list[Frame]:
    return read_frames([Source(written(path, frames))])


def frozen(count: int = 2) -> list[Atoms]:
    frames = sound()
    for atoms in frames[3 : 3 + count]:
        atoms.calc.results["forces"][: len(atoms) // 2] = 0.0
    return frames


def test_sound_frames_give_no_warning(tmp_path: Path) -> None:
    warn_of_faults(read(tmp_path / "a.xyz", sound()), read(tmp_path / "b.xyz", [crystal(300)]))


def test_faults_are_said_in_one_line_each(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    with pytest.warns(UserWarning, match="that no symmetry explains") as said:
        warn_of_faults(read(path, frozen()))
    (text,) = [str(warning.message) for warning in said]
    assert "\n" not in text
    assert text.startswith("18 atoms in 2 frames have forces of exactly zero")
    assert text.endswith("force_mask=T leaves their forces out (forcemap check lists all frames)")


def test_many_frames_are_sampled(tmp_path: Path) -> None:
    """Ten times as many atoms as are looked at: a fault of all frames is found."""
    frames = read(tmp_path / "a.xyz", frozen(20))
    finding = quick_findings(frames * 400)[0]
    assert finding.name == "forces-frozen"
    assert 20 < len(finding.frames) < 20 * 400


def test_a_fit_warns(tmp_path: Path) -> None:
    written(tmp_path / "train.xyz", frozen())
    settings = Settings.from_dict(
        {
            "data": {"train": str(tmp_path / "train.xyz")},
            "terms": [{"kind": "two_body", "cutoff": 4.0, "n_sparse": 8, "delta": 1.0}],
            "optimise": False,
        }
    )
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fit_to_folder(settings, tmp_path / "out")
    texts = [str(warning.message) for warning in said]
    assert sum("that no symmetry explains" in text for text in texts) == 1, texts
