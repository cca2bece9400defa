"""Supervised programs: a run ends well, or is told why not, and nothing is left running."""

import os
import sys
from pathlib import Path

import pytest
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.runs.programs import (
    Program,
    find_program,
    forcemap_command,
    last_step,
    supervise,
)

# A program that writes its process number and then counts steps; "0.05" is seconds between them.
COUNTS = """
import os, sys, time
name, steps, pause, code = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
open(name + ".pid", "w").write(str(os.getpid()))
print("starting", name, flush=True)
for step in range(steps + 1):
    with open(name + ".steps", "a") as file:
        file.write(f"{step} 1.5 2.5\\n")
    time.sleep(pause)
print("leaving", name, flush=True)
sys.exit(code)
"""


def counting(
    folder: Path, name: str, steps: int, *, pause: float = 0.02, code: int = 0, leads: bool = False
) -> Program:
    command = [sys.executable, "-c", COUNTS, name, str(steps), str(pause), str(code)]
    return Program(name, command, folder, folder / f"{name}.log", leads=leads)


def is_running(folder: Path, name: str) -> bool:
    try:
        os.kill(int((folder / f"{name}.pid").read_text()), 0)
    except (ProcessLookupError, FileNotFoundError, ValueError):
        return False
    return True


def test_every_step_of_the_leading_program_is_counted(tmp_path: Path) -> None:
    counted: list[int] = []
    supervise(
        [counting(tmp_path, "server", 12, leads=True), counting(tmp_path, "client", 2)],
        lambda: last_step(tmp_path / "server.steps"),
        counted.append,
    )
    assert sum(counted) == 12
    assert "leaving server" in (tmp_path / "server.log").read_text()
    assert not is_running(tmp_path, "client")


def test_programs_that_follow_are_stopped_when_they_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forcemap.potentials.runs.programs.GRACE", 0.3)
    supervise(
        [counting(tmp_path, "server", 3, leads=True), counting(tmp_path, "client", 10_000)],
        lambda: last_step(tmp_path / "server.steps"),
        lambda n: None,
    )
    assert not is_running(tmp_path, "client")


@pytest.mark.parametrize("failing", ["server", "client"])
def test_failure_of_either_stops_both_and_shows_the_log(tmp_path: Path, failing: str) -> None:
    other = "client" if failing == "server" else "server"
    programs = {
        failing: counting(tmp_path, failing, 5, code=3, leads=failing == "server"),
        other: counting(tmp_path, other, 10_000, leads=other == "server"),
    }
    with pytest.raises(ForcemapError) as caught:
        supervise(
            [programs["server"], programs["client"]],
            lambda: last_step(tmp_path / "server.steps"),
            lambda n: None,
        )
    assert str(caught.value) == (
        f"{failing} ended with exit code 3; {tmp_path / failing}.log ends with:\n"
        f"    starting {failing}\n    leaving {failing}"
    )
    assert not is_running(tmp_path, other)


def test_run_that_stands_still_is_given_up(tmp_path: Path) -> None:
    stuck = counting(tmp_path, "server", 2, pause=60.0, leads=True)
    with pytest.raises(ForcemapError, match="server made no step for 1 s after step 0"):
        supervise([stuck], lambda: last_step(tmp_path / "server.steps"), lambda n: None, stall=0.6)
    assert not is_running(tmp_path, "server")


def test_interrupt_leaves_nothing_running(tmp_path: Path) -> None:
    def interrupt(steps: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        supervise(
            [counting(tmp_path, "server", 10_000, leads=True)],
            lambda: last_step(tmp_path / "server.steps"),
            interrupt,
        )
    assert not is_running(tmp_path, "server")


def test_program_that_cannot_start_is_told(tmp_path: Path) -> None:
    program = Program("x", [str(tmp_path / "no-such")], tmp_path, tmp_path / "x.log", leads=True)
    with pytest.raises(ForcemapError, match=r"no-such: cannot be run: No such file"):
        supervise([program], lambda: -1, lambda n: None)


@pytest.mark.parametrize(
    ("content", "step"),
    [
        ("", -1),
        ("# step\n", -1),
        ("0 1.0 2.0\n100 1.0 2.0\n", 100),
        ("0 1.0 2.0\n100 1.0 2.0\n20", 100),
        ("   Step   Temp   Press\n   50   300.5   1e-3\nLoop time of 1 on 1 procs\n", 50),
        ("1.00e+02 1.0 2.0\n", 100),
        ("1.5 1.0 2.0\n", -1),
        ("7\n", -1),
    ],
)
def test_last_step_is_that_of_the_last_complete_row(
    tmp_path: Path, content: str, step: int
) -> None:
    path = tmp_path / "rows"
    path.write_text(content, encoding="utf-8")
    assert last_step(path) == step


def test_last_step_of_a_long_file_and_of_none(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_text("".join(f"{n} 1.0 2.0\n" for n in range(5000)), encoding="utf-8")
    assert last_step(path) == 4999
    assert last_step(tmp_path / "nowhere") == -1


def test_programs_beside_python_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("beside", "path"):
        (tmp_path / folder).mkdir()
    on_path = tmp_path / "path" / "prog"
    on_path.write_text("#!/bin/sh\n")
    on_path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "beside" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    assert find_program("prog", "") == str(on_path)
    beside = tmp_path / "beside" / "prog"
    beside.write_text("#!/bin/sh\n")
    beside.chmod(0o755)
    assert find_program("prog", "") == str(beside)
    with pytest.raises(ForcemapError, match='the program "absent" was not found; get it'):
        find_program("absent", "get it")


def test_own_command_runs_this_python() -> None:
    command = forcemap_command("info", "--ipi-pes")
    assert command[0] == sys.executable
    assert command[-2:] == ["info", "--ipi-pes"]
