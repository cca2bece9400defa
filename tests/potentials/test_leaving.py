"""SIGTERM and Ctrl-C end a process that cannot hear them, and nothing of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PATIENCE = 120.0

TEXTS = {signal.SIGTERM: "Terminated. Go on.", signal.SIGINT: "Interrupted. Go on."}

BUSY = {
    # A loop in C that never comes back to Python, and keeps its lock.
    "python": "import collections, itertools; work = lambda: "
    "collections.deque(itertools.repeat(0), 0)",
    # One call: Python would hear the signal between two of them.
    "lapack": "import numpy; from scipy.linalg.lapack import dsyevd;"
    "a = numpy.random.default_rng(0).normal(size=(4000, 4000)); work = lambda: dsyevd(a)",
}

SCRIPT = """
import shutil, subprocess, sys
from pathlib import Path
import click
from forcemap.fitter import cli
from forcemap.potentials.part_file import part_file
from forcemap.potentials import leaving
from forcemap.potentials.runs.interruption import interruptible
from forcemap.potentials.runs.progress import Progress
from forcemap.potentials.runs.programs import Program, supervise

folder = Path(sys.argv.pop())
leaving.leave_on_signals.__defaults__ = (1.0,)
SETUP

def stuck():
    if not (folder / "ready").exists():
        (folder / "ready").touch()
    work()
    return 0

def command():
    (folder / "tree" / "in").mkdir(parents=True)
    (folder / "tree" / "in" / "file").touch()
    sleep = Program("sleep", ["sleep", "600"], folder, folder / "log", leads=True)
    last = interruptible(Progress.silent(), "Go on.")
    with last, leaving.removed_when_ended(folder / "tree"), part_file(folder / "result"):
        try:
            supervise([sleep], stuck, lambda n: None)
        finally:
            shutil.rmtree(folder / "tree")

cli.LazyGroup.get_command = lambda self, ctx, name: click.Command("fit", callback=command)
cli.main()
"""


def start(folder: Path, setup: str) -> subprocess.Popen[str]:
    """A process at work, with half a file, a folder of files and a program of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.replace("SETUP", setup), "fit", str(folder)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + PATIENCE
    while not (folder / "ready").exists() and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    return process


def children(process: int) -> list[int]:
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(word) for word in text.split()]


def ended(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize("number", TEXTS)
@pytest.mark.parametrize("busy", list(BUSY))
def test_process_that_cannot_hear_is_ended_with_all_it_has(
    busy: str, number: signal.Signals, tmp_path: Path
) -> None:
    process = start(tmp_path, BUSY[busy])
    (program,) = children(process.pid)
    assert list(tmp_path.glob(".result.*.part"))
    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number
    assert errors.strip() == TEXTS[number]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "ready"]
    deadline = time.monotonic() + PATIENCE
    while not ended(program) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ended(program)


@pytest.mark.parametrize("number", TEXTS)
def test_process_that_hears_leaves_by_itself(number: signal.Signals, tmp_path: Path) -> None:
    process = start(tmp_path, "work = lambda: None")
    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors.strip()) == (128 + number, TEXTS[number])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "ready"]
