"""One run in a folder: a second one is refused, a dead one is no hindrance."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.runs.folder_lock import locked_folder

HOLDER = """
import sys, time
from forcemap.potentials.runs.folder_lock import locked_folder
with locked_folder(sys.argv[1], "fit.lock", "a fit", "wait"):
    print("held", flush=True)
    time.sleep(600)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """A process that holds the folder's lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "held\n"
    return process


def hold(folder: Path, keep: bool = False) -> None:
    with locked_folder(folder, "fit.lock", "a fit", "wait for its end", keep):
        assert (folder / "fit.lock").read_text().startswith(f"{os.getpid()} ")


def test_second_process_is_refused_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    first = holder(tmp_path)
    try:
        with pytest.raises(ForcemapError) as error:
            hold(tmp_path)
        assert re.fullmatch(
            re.escape(f"{tmp_path}: a fit is still going on in this folder (process {first.pid}, ")
            + r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\); wait for its end",
            str(error.value),
        )
        # Who it cannot know is not named; another machine is.
        for text, shown in (
            ("", ""),
            ("4 x", ""),
            ("4 elsewhere 12:00\n", " (process 4 on elsewhere, since 12:00)"),
        ):
            (tmp_path / "fit.lock").write_text(text)
            with pytest.raises(ForcemapError, match=re.escape(f"this folder{shown}; wait")):
                hold(tmp_path)
    finally:
        first.kill()
        first.wait()
    assert (tmp_path / "fit.lock").exists()
    hold(tmp_path)
    assert not list(tmp_path.iterdir())


def test_lock_stays_with_its_heir(tmp_path: Path) -> None:
    with locked_folder(tmp_path, "run.lock", "a run", "wait", keep=True) as lock:
        heir = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(600)"], pass_fds=(lock,)
        )
    try:
        with (
            pytest.raises(ForcemapError, match=r"a run is still going on"),
            locked_folder(tmp_path, "run.lock", "a run", "wait", keep=True),
        ):
            pass
    finally:
        heir.kill()
        heir.wait()
    with locked_folder(tmp_path, "run.lock", "a run", "wait", keep=True):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["run.lock"]


def test_lock_of_a_removed_file_is_not_taken_for_the_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder may leave, and remove the file, between another's opening and locking it."""
    flock, calls = fcntl.flock, []

    def late(descriptor: int, operation: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1:
            (tmp_path / "fit.lock").unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    hold(tmp_path)
    assert len(calls) == 2


def test_file_system_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    text = (
        f"{tmp_path / 'fit.lock'}: the file system has no locks (No locks available); see to it that "
        "nothing else writes into this folder"
    )
    with pytest.warns(UserWarning, match=f"^{re.escape(text)}$"):
        hold(tmp_path)


def test_lock_that_cannot_be_made_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ForcemapError, match=r"none/fit\.lock: cannot be written: No such file or directory"
    ):
        hold(tmp_path / "none")

    def broken(descriptor: int, operation: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", broken)
    with pytest.raises(ForcemapError, match=r"cannot be written: Input/output error"):
        hold(tmp_path)


def test_block_that_fails_gives_the_lock_back(tmp_path: Path) -> None:
    for _ in range(2):
        with (
            pytest.raises(ForcemapError, match="no locks business"),
            locked_folder(tmp_path, "fit.lock", "a fit", "wait"),
        ):
            raise ForcemapError("no locks business")
    assert not list(tmp_path.iterdir())
