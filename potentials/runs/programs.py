"""Finds and supervises other programs: LAMMPS, i-PI and its clients."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.leaving import stopped_when_ended
from forcemap.potentials.runs.log import DETAILS

__all__ = [
    "Program",
    "find_program",
    "forcemap_command",
    "last_step",
    "program_path",
    "supervise",
]

POLL = 0.1
"""Seconds between looks at the programs."""

STALL = 120.0
"""Seconds without a step after which a run is given up."""

GRACE = 5.0
"""Seconds a program has to leave after it was asked to."""

REASON = 2.0
"""Seconds in which another program may say why one has failed."""


def find_program(name: str, cure: str) -> str:
    """Path of a program: beside this Python first, then on PATH.

    Raises ForcemapError with `cure` if there is none.
    """
    found = program_path(name)
    if found is None:
        raise ForcemapError(f'the program "{name}" was not found; {cure}')
    return found


def program_path(name: str) -> str | None:
    """Path of a program: beside this Python first, then on PATH; None if there is none."""
    beside = Path(sys.executable).parent / name
    return str(beside) if os.access(beside, os.X_OK) else shutil.which(name)


def forcemap_command(*arguments: str) -> list[str]:
    """A command of this very installation, wherever its script may be."""
    start = "from forcemap.fitter.cli import main; main()"
    return [sys.executable, "-c", start, *arguments]


@dataclass
class Program:
    """A program to run, its output going to `log`.

    `leads`: the run is over when this program ends; the others follow it. A program that does not
    lead may end only with code 0. `keep_open` are files that stay open in it, such as a lock that
    shall last as long as it runs.
    """

    name: str
    command: Sequence[str]
    folder: Path
    log: Path
    leads: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    keep_open: Sequence[int] = ()


def supervise(
    programs: Sequence[Program],
    step: Callable[[], int],
    advance: Callable[[int], None],
    stall: float = STALL,
) -> None:
    """Run programs together until the leading one ends; none is left running, whatever happens.

    Args:
        programs: started in this order.
        step: the step that the run has reached, -1 before the first.
        advance: called with the number of new steps.
        stall: seconds without a new step after which the run is given up.

    Raises:
        ForcemapError: a program failed or nothing moved; the text ends with the program's last
            lines and names its log.
    """
    with ExitStack() as ended, ExitStack() as stack:
        running: list[tuple[Program, subprocess.Popen[bytes]]] = []
        stack.callback(_stop, running)
        for program in programs:
            log = stack.enter_context(program.log.open("wb"))
            process = _start(program, log)
            running.append((program, process))
            ended.enter_context(stopped_when_ended(process.pid))
        reached, moved = 0, time.monotonic()
        while True:
            over = _look(running)
            now = step()
            if now > reached:
                advance(now - reached)
                reached, moved = now, time.monotonic()
            if over:
                _let_follow(running)
                return
            if time.monotonic() - moved > stall:
                program = next(program for program, _ in running if program.leads)
                raise ForcemapError(
                    f"{program.name} made no step for {stall:.0f} s after step {reached}"
                    f"{_last_lines(program.log)}"
                )
            time.sleep(POLL)


def _start(program: Program, log: IO[bytes]) -> subprocess.Popen[bytes]:
    DETAILS.debug("in %s: %s > %s", program.folder, shlex.join(program.command), program.log)
    try:
        return subprocess.Popen(
            program.command,
            cwd=program.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **program.environment},
            pass_fds=program.keep_open,
        )
    except OSError as error:
        raise ForcemapError(f"{program.command[0]}: cannot be run: {error.strerror}") from None


def _look(running: Sequence[tuple[Program, subprocess.Popen[bytes]]]) -> bool:
    """Whether the leading program has ended well; raises ForcemapError if any ended badly."""
    failed = _failed(running)
    # A program whose partner has failed may end first, and without a word: the other has the reason.
    deadline = time.monotonic() + REASON
    while failed and not any(_has_text(program.log) for program, _ in failed):
        if len(failed) == len(running) or time.monotonic() > deadline:
            break
        time.sleep(POLL)
        failed = _failed(running)
    for program, code in sorted(failed, key=lambda one: not _has_text(one[0].log)):
        raise ForcemapError(f"{program.name} ended with exit code {code}{_last_lines(program.log)}")
    return any(program.leads and process.poll() == 0 for program, process in running)


def _failed(
    running: Sequence[tuple[Program, subprocess.Popen[bytes]]],
) -> list[tuple[Program, int]]:
    codes = [(program, process.poll()) for program, process in running]
    return [(program, code) for program, code in codes if code]


def _has_text(log: Path) -> bool:
    return log.is_file() and log.stat().st_size > 0


def _let_follow(running: Sequence[tuple[Program, subprocess.Popen[bytes]]]) -> None:
    """Give the programs that follow the leading one the time to leave by themselves."""
    deadline = time.monotonic() + GRACE
    while any(process.poll() is None for _, process in running) and time.monotonic() < deadline:
        time.sleep(POLL)


def _stop(running: Sequence[tuple[Program, subprocess.Popen[bytes]]]) -> None:
    for _, process in running:
        if process.poll() is None:
            process.terminate()
    for _, process in running:
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _last_lines(log: Path, count: int = 8) -> str:
    """The end of a log, for a message."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    shown = "".join(f"\n    {line}" for line in lines[-count:])
    return f"; {log} ends with:{shown}" if shown else f"; {log} is empty"


def last_step(path: Path) -> int:
    """Step number that begins the last complete row of numbers in a growing file; -1 for none."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 8192))
            tail = file.read().decode("utf-8", errors="replace")
    except OSError:
        return -1
    # What follows the last line's end is still being written; the first line may be cut.
    for line in reversed(tail.split("\n")[:-1]):
        words = line.split()
        try:
            numbers = [float(word) for word in words]
        except ValueError:
            continue
        if len(numbers) > 2 and numbers[0] % 1 == 0:
            return int(numbers[0])
    return -1
