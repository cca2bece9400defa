"""`forcemap fit --add`: frames added to the files of a fit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase.io import read, write
from forcemap.fitter.config import Settings
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.frame import data_hash
from forcemap.fitter.process.model_file import read_model
from forcemap.fitter.sharing.fit_folder import FILES, identity_of
from forcemap.potentials import load
from forcemap_runs import invoke
from structures import SILICON


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and a fit of some of them in `out`; not to be changed."""
    folder = tmp_path_factory.mktemp("fit")
    frames = read(SILICON / "train.xyz", ":")
    frames.sort(key=lambda atoms: atoms.info["config_type"] != "ShortPair")
    write(folder / "old.xyz", frames[:24:2])
    write(folder / "new.xyz", frames[24:48:3])
    write(folder / "test.xyz", frames[26:40:5])
    given = {
        "data": {"train": "old.xyz", "test": "test.xyz"},
        "terms": [{"kind": "two_body", "cutoff": 4.5, "n_sparse": 10}],
    }
    (folder / "settings.yaml").write_text(yaml.safe_dump(given), encoding="utf-8")
    result = invoke("fit", folder / "settings.yaml", "-o", folder / "out", "--quiet")
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def folder(first: Path, tmp_path: Path) -> Path:
    shutil.copytree(first, tmp_path / "fit")
    return tmp_path / "fit"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_files_are_those_of_a_fit_that_belong_together(folder: Path) -> None:
    before = identity_of(folder / "out" / "model.forcemap")
    result = invoke("fit", "--add", folder / "new.xyz", folder / "out" / "model.forcemap")
    assert result.exit_code == 0, result.output
    assert (
        "8 frames added to 12, no new sparse points; hyperparameters, energies of" in result.output
    )
    assert sorted(contents(folder / "out")) == sorted(FILES)
    found = {identity_of(folder / "out" / name) for name in FILES}
    assert len(found) == 1
    assert before not in found
    settings = Settings.read(folder / "out" / "settings.yaml")
    frames = read_frames(settings.data.train, settings.data.keys, settings.sigma)
    model = read_model(folder / "out" / "model.forcemap")
    assert len(frames) == 20 == model.data["n_frames"]
    assert model.data["hash"] == data_hash(frames)
    load(folder / "out" / "potential.forcemap")
    report = json.loads((folder / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["leave_one_out"]["n_frames"] == 8
    assert report["leave_one_out"]["force_rmse_ev_per_a"] > report["train"]["force_rmse_ev_per_a"]


def test_frames_can_be_added_to_what_has_had_some_added(folder: Path) -> None:
    model = folder / "out" / "model.forcemap"
    new = folder / "new.xyz"
    assert invoke("fit", "--add", f"{new}@:3", model, "-o", folder / "two").exit_code == 0
    second = invoke(
        "fit", "--add", f"{new}@3:", folder / "two" / "model.forcemap", "-o", folder / "three"
    )
    assert second.exit_code == 0, second.output
    both = invoke("fit", "--add", f"{new}@:3", "--add", f"{new}@3:", model, "-o", folder / "both")
    assert both.exit_code == 0, both.output
    one, other = (read_model(folder / name / "model.forcemap") for name in ("three", "both"))
    assert one.data == other.data
    np.testing.assert_allclose(one.weights, other.weights, rtol=1e-6, atol=1e-8)


def test_without_the_old_frames_the_new_ones_alone_are_read(folder: Path) -> None:
    """No sparse point is new, so that only the report and the map miss them."""
    (folder / "old.xyz").unlink()
    result = invoke("fit", "--add", folder / "new.xyz", folder / "out" / "model.forcemap")
    assert result.exit_code == 0, result.output
    assert "old.xyz: no such file; " in result.output
    assert "errors and map rest on the new frames" in result.output
    assert read_model(folder / "out" / "model.forcemap").data["n_frames"] == 20


def test_a_moved_folder_still_names_its_data(folder: Path) -> None:
    (folder / "sub").mkdir()
    moved = folder.rename(folder.parent / "moved")
    result = invoke("fit", "--add", moved / "new.xyz", moved / "out" / "model.forcemap")
    assert result.exit_code == 0, result.output
    assert "old.xyz: 12 frames" in result.output


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda folder: write(folder / "new.xyz", _germanium(folder)),
            "frame 0 (counted from 0): holds Ge, but the model is for Si only; fit anew",
        ),
        (
            lambda folder: (folder / "out" / "model.forcemap").write_bytes(b"forcemap"),
            "model.forcemap: ",
        ),
    ],
    ids=["elements", "damaged"],
)
def test_what_cannot_be_added_leaves_the_files_alone(
    folder: Path, edit: Callable[[Path], Any], message: str
) -> None:
    edit(folder)
    before = contents(folder / "out")
    result = invoke("fit", "--add", folder / "new.xyz", folder / "out" / "model.forcemap")
    assert result.exit_code == 1
    errors = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert contents(folder / "out") == before


def _germanium(folder: Path) -> list[Any]:
    frames = read(folder / "new.xyz", ":")
    frames[0].set_chemical_symbols(["Ge"] * len(frames[0]))
    return frames


def test_a_training_file_is_not_added_a_second_time(folder: Path) -> None:
    result = invoke("fit", "--add", folder / "old.xyz", folder / "out" / "model.forcemap")
    assert result.exit_code == 1
    assert "old.xyz: is among the training files of" in result.output


def test_known_frames_under_another_name_are_warned_of(folder: Path) -> None:
    shutil.copy(folder / "old.xyz", folder / "again.xyz")
    result = invoke("fit", "--add", folder / "again.xyz", folder / "out" / "model.forcemap")
    assert result.exit_code == 0, result.output
    assert "12 of 12 new frames are frames of the training data already" in result.output


@pytest.mark.parametrize("option", [("--resume",), ("--dry-run",), ("--sizes", "small")])
def test_options_of_a_whole_fit_are_refused(folder: Path, option: tuple[str, ...]) -> None:
    model = folder / "out" / "model.forcemap"
    result = invoke("fit", *option, "--add", folder / "new.xyz", model)
    assert result.exit_code == 2
    assert f"{option[0]} cannot be combined with --add" in result.output
