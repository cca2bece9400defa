"""--quiet, --verbose and --log: before the command or after it, the same; colours on terminals only."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from forcemap.fitter.cli import cli
from forcemap.fitter.commands.talk import with_talk
from forcemap.potentials.file.potential_file import write_potential
from forcemap_runs import invoke, run_forcemap
from potentials_factory import random_potential

MAIN = [sys.executable, "-c", "from forcemap.fitter.cli import main; main()"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A potential, and frames with a stress that is not used, which a warning is about."""
    folder = tmp_path_factory.mktemp("files")
    write_potential(random_potential(["Si"], 3), folder / "potential.forcemap")
    atoms = Atoms("Si2", [[0, 0, 0], [2.3, 0, 0]])
    atoms.info["stress"] = np.zeros((3, 3))
    write(folder / "data.xyz", atoms)
    return folder / "potential.forcemap", folder / "data.xyz"


@pytest.mark.parametrize("before", [True, False])
def test_quiet_stands_before_the_command_or_after_it(
    before: bool, files: tuple[Path, Path]
) -> None:
    words = ["evaluate", *files]
    assert "evaluating: done" in invoke(*words).stderr
    result = invoke(*(["-q", *words] if before else [*words, "-q"]))
    assert result.exit_code == 0
    assert "evaluating" not in result.stderr
    assert "Warning: " in result.stderr


@pytest.mark.parametrize("before", [True, False])
def test_log_holds_what_was_shown_and_when(
    before: bool, files: tuple[Path, Path], tmp_path: Path
) -> None:
    log = tmp_path / "run.log"
    words, option = ["evaluate", *files], ["--log", str(log)]
    done = run_forcemap(*([*option, *words] if before else [*words, *option]))
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    lines = log.read_text(encoding="utf-8").splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ ", line) for line in lines)
    text = "\n".join(re.sub(r"^.{23} ", "", line) for line in lines)
    assert re.search(r"^INFO forcemap \S+, Python ", text, re.M)
    assert f"evaluate {files[0]} {files[1]}" in text
    for line in done.stderr.splitlines():
        assert line in text, "all that is shown on stderr is in the log"
    assert re.search(r"^INFO ended after \d+\.\d s, peak memory \d+ MB$", text, re.M)
    size = len(lines)
    assert run_forcemap(*words, *option, "-q").returncode == 0
    again = log.read_text(encoding="utf-8").splitlines()
    assert again[:size] == lines, "a second run is appended"
    assert [line for line in again[size:] if "evaluating: done" in line], "-q is for stderr"


def test_warning_is_shown_once(files: tuple[Path, Path]) -> None:
    for options in ([], ["-v"], ["-q"]):
        done = run_forcemap("evaluate", *files, *options)
        assert done.stderr.count("stress of 1 frames is not used") == 1


def test_errors_are_in_the_log(files: tuple[Path, Path], tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    result = invoke("info", files[1], "--log", log)
    assert result.exit_code == 1
    assert result.stderr.strip().removeprefix("Error: ") in log.read_text(encoding="utf-8")
    nowhere = tmp_path / "no" / "run.log"
    result = invoke("--log", nowhere, "info", files[0])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: {nowhere}: cannot be written: No such file or directory\n"


def test_exit_code_that_says_what_was_found_is_in_the_log(tmp_path: Path) -> None:
    atoms = Atoms("Si2", [[0, 0, 0], [0.3, 0, 0]], cell=[9.0] * 3, pbc=True)
    write(tmp_path / "data.xyz", atoms)
    result = invoke("check", tmp_path / "data.xyz", "-q", "--log", tmp_path / "run.log")
    last = (tmp_path / "run.log").read_text(encoding="utf-8").splitlines()[-1]
    assert f"ended with exit code {result.exit_code} after " in last


def test_mistaken_command_line_makes_no_log(files: tuple[Path, Path], tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    assert invoke("--log", log, "info", files[0], "--no-such-option").exit_code == 2
    assert not log.exists()


@pytest.mark.parametrize("words", [("-v", "info"), ("info", "-v"), ("import", "gap-fit", "-v")])
def test_verbose_shows_details_on_stderr(
    words: tuple[str, ...], files: tuple[Path, Path], tmp_path: Path
) -> None:
    what = files[0] if "info" in words else "energy_sigma"
    result = invoke(*words, what)
    assert re.search(r"^\d\d:\d\d:\d\d forcemap \S+, Python ", result.stderr, re.M)
    assert "largest memory" not in result.stdout


def test_quiet_excludes_verbose(files: tuple[Path, Path]) -> None:
    for words in (("-q", "info", "-v"), ("info", "-v", "-q"), ("-q", "-v", "info")):
        result = invoke(*words, files[0])
        assert (result.exit_code, result.stdout) == (2, "")
        assert "--quiet and --verbose exclude each other" in result.stderr


def test_every_command_has_them_once() -> None:
    ctx = cli.make_context("forcemap", ["info", "x"])
    for name in cli.list_commands(ctx):
        command = cli.get_command(ctx, name)
        assert command is not None
        before = list(command.params)
        assert with_talk(command).params == before
        for part in getattr(command, "commands", {"": command}).values():
            given = [option for parameter in part.params for option in parameter.opts]
            assert [given.count(option) for option in ("-q", "-v", "--log")] == [1, 1, 1]


def on_terminal(*words: object, **environment: str) -> str:
    """What a command writes to a terminal that is its stdout and stderr."""
    ours, theirs = pty.openpty()
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    process = subprocess.Popen(
        [*MAIN, *(str(word) for word in words)],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env={**kept, "TERM": "xterm-256color", "COLUMNS": "120", **environment},
    )
    os.close(theirs)
    found = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux's end of a terminal
            break
        if not part:
            break
        found += part
    os.close(ours)
    process.wait(60)
    return found.decode()


COLOR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7])(?:;\d+)*m")


def test_colors_are_for_terminals_without_no_color(files: tuple[Path, Path]) -> None:
    words = ("evaluate", *files)
    assert COLOR.search(on_terminal(*words))
    assert COLOR.search(on_terminal("info", files[1])), "errors, too"
    assert not COLOR.search(on_terminal(*words, NO_COLOR="1"))
    assert not COLOR.search(on_terminal("info", files[1], NO_COLOR="1"))
    done = run_forcemap(*words)
    assert "\x1b" not in done.stdout + done.stderr
