"""A fit's folder: one fit at a time, files of one identity, nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from forcemap.fitter.config import Settings
from forcemap.fitter.sharing.fit_folder import FILES, fit_folder, identity_of, put_together
from forcemap.potentials.errors import ForcemapError
from forcemap_runs import MPIRUN, fault, invoke, run_forcemap

TWO_BODY = {"kind": "two_body", "cutoff": 4.5, "n_sparse": 8}


def write_settings(folder: Path, name: str = "settings.yaml", **changes: Any) -> Path:
    """Settings of a fit of a second, of frames with made-up labels, and sigmas as wide as these."""
    rng = np.random.default_rng(0)
    frames = []
    for seed in range(3):
        atoms = bulk("Si", cubic=True)
        atoms.rattle(0.1, seed=seed)
        forces = rng.normal(size=(len(atoms), 3))
        forces -= forces.mean(axis=0)
        atoms.calc = SinglePointCalculator(atoms, energy=-5.0 * len(atoms), forces=forces)
        frames.append(atoms)
    write(folder / "train.xyz", frames)
    path = folder / name
    given = {
        "data": {"train": "train.xyz"},
        "terms": [TWO_BODY],
        "e0": {"Si": -1.0},
        "sigma": {"force": 1.0},
    }
    path.write_text(yaml.safe_dump({**given, **changes}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with settings, and of their fit within it in `out`."""
    folder = tmp_path_factory.mktemp("fitted")
    result = invoke("fit", write_settings(folder), "-o", folder / "out", "--quiet", "--jobs", 1)
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def again(fitted: Path, tmp_path: Path) -> Path:
    """A copy of them."""
    return Path(shutil.copytree(fitted, tmp_path / "copy"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ----- the lock -----


def test_second_fit_is_refused_before_any_work(again: Path) -> None:
    out = again / "out"
    before = contents(out)
    settings = write_settings(again, data={"train": "nowhere.xyz"})
    with fit_folder(out):
        done = run_forcemap("fit", settings, "-o", out, "--quiet")
        assert invoke("fit", write_settings(again), "--dry-run", "-o", out).exit_code == 0
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"Error: {out}: a fit is still going on in this folder (process {os.getpid()}, since "
    )
    assert done.stderr.endswith("); wait for its end, or give another folder\n")
    assert contents(out) == before


@pytest.mark.parametrize("held", ["out", "out/small", "out/large"])
def test_fits_of_sizes_hold_all_their_folders(held: str, again: Path) -> None:
    """A fit that goes on in a size's folder is met before the first size is fitted."""
    (again / held).mkdir(exist_ok=True)
    with fit_folder(again / held):
        done = run_forcemap(
            *("fit", again / "settings.yaml", "-o", again / "out", "--quiet"),
            *("--sizes", "small,large"),
            faults=(fault("forcemap.fitter.job:read_frames"),),
        )
    assert done.returncode == 1, done
    assert f"{again / held}: a fit is still going on in this folder (process " in done.stderr


@pytest.mark.skipif(
    find_spec("mpi4py") is None or not MPIRUN.exists(),
    reason="needs mpi4py (pip install 'forcemap[mpi]') and the MPICH wheel's mpirun",
)
def test_one_rank_holds_the_folder_and_all_leave_with_one_message(again: Path) -> None:
    out = again / "out"
    with fit_folder(out):
        done = run_forcemap("fit", again / "settings.yaml", "-o", out, "--quiet", ranks=3)
    assert done.returncode == 1
    assert done.stderr.count("\n") == done.stderr.count("a fit is still going on") == 1
    done = run_forcemap("fit", again / "settings.yaml", "-o", out, "--quiet", ranks=3)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(contents(out)) == sorted(FILES)
    new = again / "new" / "out"
    settings = write_settings(again, data={"train": "nowhere.xyz"})
    assert run_forcemap("fit", settings, "-o", new, "--quiet", ranks=3).returncode == 1
    assert not new.parent.exists()


# ----- identity -----


def test_all_files_of_a_fit_have_its_identity_and_every_fit_its_own(again: Path) -> None:
    found = {identity_of(again / "out" / name) for name in FILES}
    (first,) = found
    assert first is not None
    report = json.loads((again / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["fit_id"] == first
    # The same fit elsewhere, of the same frames elsewhere: the same identity.
    same = again / "same"
    assert invoke("fit", again / "settings.yaml", "-o", same, "--quiet").exit_code == 0
    assert {identity_of(same / name) for name in FILES} == found
    for changes in ({"seed": 3}, {"sigma": {"force": 0.07}}, {"map": {"tolerance": 1e-3}}):
        settings = write_settings(again, "other.yaml", **changes)
        assert invoke("fit", settings, "-o", again / "other", "--quiet").exit_code == 0
        others = {identity_of(again / "other" / name) for name in FILES}
        assert len(others) == 1
        assert others != found


def test_map_of_a_model_has_the_identity_of_its_fit(again: Path) -> None:
    out = again / "out"
    result = invoke("map", out / "model.forcemap", "-o", again / "fine.forcemap", "--quiet")
    assert result.exit_code == 0, result.output
    assert identity_of(again / "fine.forcemap") == identity_of(out / "model.forcemap")


def test_files_of_two_fits_side_by_side_are_noticed(again: Path) -> None:
    out, other = again / "out", again / "other"
    settings = write_settings(again, "other.yaml", seed=1, sigma={"force": 0.07})
    assert invoke("fit", settings, "-o", other, "--quiet").exit_code == 0
    model, potential, data = (
        *(out / "model.forcemap", out / "potential.forcemap"),
        again / "train.xyz",
    )
    assert invoke("info", model).stderr == ""
    shutil.copy(other / "model.forcemap", model)
    (out / "report.json").write_text("{", encoding="utf-8")  # no report at all: no matter here
    advice = "fit anew, or copy the files of a fit together\n"
    beside = "potential.forcemap and settings.yaml and report.html"
    for command in (
        ("info", model),
        ("evaluate", model, data, "--quiet"),
        ("map", model, "-o", again / "fine.forcemap", "--quiet"),
    ):
        result = invoke(*command)
        assert result.exit_code == 0, result.output
        # A count of the atoms beyond the data follows where there are grades.
        assert result.stderr.startswith(
            f"Warning: {model}: is of another fit than {beside} beside it; {advice}"
        )
    result = invoke("evaluate", potential, data, "--quiet")
    assert result.stderr.startswith(
        f"Warning: {potential}: is of another fit than model.forcemap beside it; {advice}"
    )
    # What was put there under a name of its own is nobody's mistake.
    shutil.copy(potential, out / "old.forcemap")
    assert invoke("info", out / "old.forcemap").stderr == ""


# ----- together, or not at all -----


def test_fit_that_fails_while_it_writes_leaves_the_earlier_fit_whole(again: Path) -> None:
    out = again / "out"
    before = contents(out)
    settings = write_settings(again, seed=1)
    arguments = ("fit", settings, "-o", out, "--quiet", "--checkpoint-every", "1e6")
    for where, error, code, text in (
        (
            "write_report",
            ("OSError", "disk gone"),
            1,
            f"{out}: cannot be written: disk gone",
        ),
        ("write_report", ("KeyboardInterrupt", ""), 130, "Interrupted."),
        ("write_report", ("SystemExit", "143"), 1, ""),
        ("write_model", ("ModelFileError", "no space"), 1, "Error: no space"),
    ):
        done = run_forcemap(
            *arguments, faults=(fault(f"forcemap.fitter.job:{where}", error=error),)
        )
        assert done.returncode == code
        assert text in done.stderr
        assert "Traceback" not in done.stderr
        assert contents(out) == before


def test_what_a_killed_fit_has_left_is_removed_by_the_next(again: Path) -> None:
    out = again / "out"
    before = contents(out)
    settings = write_settings(again, seed=1)
    where = "forcemap.fitter.job:write_report"
    done = run_forcemap(
        *("fit", settings, "-o", out, "--quiet", "--checkpoint-every", "1e6"),
        faults=(fault(where, after=True),),
    )
    assert done.returncode == -9
    (part,) = out.glob(".fit-*")
    assert sorted(contents(part)) == sorted(FILES)
    assert {name: (out / name).read_bytes() for name in before} == before
    assert invoke("info", out / "model.forcemap").stderr == ""
    assert invoke("fit", settings, "-o", out, "--quiet").exit_code == 0
    assert sorted(contents(out)) == sorted(FILES)
    assert len({identity_of(out / name) for name in FILES}) == 1


def test_files_that_an_earlier_fit_alone_has_are_removed(tmp_path: Path) -> None:
    (tmp_path / "potential.forcemap").write_text("old")
    (tmp_path / "mine.txt").write_text("mine")
    with put_together(tmp_path) as part:
        (part / "model.forcemap").write_text("new")
        assert not (tmp_path / "model.forcemap").exists()
    assert contents(tmp_path) == {"model.forcemap": b"new", "mine.txt": b"mine"}


def test_sizes_copy_settings_that_can_be_fitted_where_they_lie(again: Path) -> None:
    out = again / "sizes"
    done = invoke("fit", again / "settings.yaml", "-o", out, "--quiet", "--sizes", "small,medium")
    assert done.exit_code == 0, done.output
    copied, own = (Settings.read(f / "settings.yaml") for f in (out, out / "medium"))
    assert copied.data.train[0].path.resolve() == own.data.train[0].path.resolve()
    assert copied.terms == own.terms
    assert {identity_of(out / name) for name in FILES} == {
        identity_of(out / "medium" / "model.forcemap")
    }
    assert identity_of(out / "small" / "model.forcemap") != identity_of(out / "model.forcemap")


# ----- folders and disks that do not take them -----


def test_folder_that_cannot_be_written_is_said_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = write_settings(tmp_path)
    out = tmp_path / "out"
    (out / "report.json").mkdir(parents=True)
    result = invoke("fit", settings, "-o", out, "--quiet")
    assert (result.exit_code, result.stderr) == (
        1,
        f"Error: {out / 'report.json'}: cannot be written: it is a folder\n",
    )
    assert [path.name for path in out.iterdir()] == ["report.json"]
    result = invoke("fit", settings, "-o", settings, "--quiet")
    assert result.exit_code == 2
    assert f"Directory '{settings}' is a file." in " ".join(result.stderr.split())

    def read_only(*arguments: Any, **options: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", read_only)
    result = invoke("fit", settings, "-o", tmp_path / "locked", "--quiet")
    assert (result.exit_code, result.stderr) == (
        1,
        f"Error: {tmp_path / 'locked'}: cannot be written: Permission denied\n",
    )


FULL = """
import resource, sys
from forcemap.fitter import job
from forcemap.fitter.cli import main

# From here on no file grows beyond 3 kB: the reports do.
judge = job.with_costs
def late(*arguments):
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
    return judge(*arguments)
job.with_costs = late
main()
"""


def test_full_disk_leaves_the_earlier_files(again: Path) -> None:
    out = again / "out"
    before = contents(out)
    done = subprocess.run(
        [sys.executable, "-c", FULL, "fit", again / "settings.yaml", "-o", out, "--quiet"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.endswith(": File too large\n")
    assert done.stderr.count("\n") == 1
    assert contents(out) == before


def test_api_says_so_too(tmp_path: Path) -> None:
    with (
        fit_folder(tmp_path / "out"),
        pytest.raises(ForcemapError, match="a fit is still going on"),
        fit_folder(tmp_path / "out"),
    ):
        pass
    # What is made for a block that fails is removed again.
    with pytest.raises(ForcemapError, match="made up"), fit_folder(tmp_path / "new" / "out"):
        raise ForcemapError("made up")
    assert not (tmp_path / "new").exists()
