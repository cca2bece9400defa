"""Completion: set up by the lines of the help, tried with TAB in interactive shells on a terminal."""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from forcemap_runs import invoke

COMMAND = """#!/bin/sh
if [ -n "$_FORCEMAP_COMPLETE" ] || [ "$1" = completion ]; then
  exec '{python}' -c 'from forcemap.fitter.cli import main; main()' "$@"
fi
for word in "$@"; do printf '%s\\n' "$word"; done > "$RECORD.part"
mv "$RECORD.part" "$RECORD"
"""
"""Stands for forcemap: completes, and otherwise only writes down what it is called with."""

PROMPTS = {
    "bash": (".bashrc", "PS1='READY> '; bind 'set enable-bracketed-paste off'\n"),
    "zsh": (".zshrc", "PS1='READY> '\n"),
    "fish": (".config/fish/config.fish", "function fish_prompt; echo 'READY> '; end\n"),
}

TYPED = {
    "forcemap ev\t": ["evaluate"],
    "forcemap fit --dry\t": ["fit", "--dry-run"],
    "forcemap --lo\t": ["--log"],
    "forcemap fit set\t": ["fit", "settings.yaml"],
    "forcemap fit two\t-o s\t": ["fit", "two words.yaml", "-o", "sub"],
    "forcemap fit 'two words.yaml' --dry\t": ["fit", "two words.yaml", "--dry-run"],
    "forcemap import gap-\t": ["import", "gap-fit"],
    "forcemap suggest a b --by far\t": ["suggest", "a", "b", "--by", "farthest"],
    "forcemap export p --format=u\t": ["export", "p", "--format=uf3"],
    "forcemap --log=x.log fi\t": ["--log=x.log", "fit"],
    "forcemap --log=tr\t": ["--log=train.xyz"],
    "../bin/forcemap ev\t": ["evaluate"],
}
"""What is typed, and what forcemap is called with: commands, options, values, files and folders."""


class Shell:
    """An interactive shell on a terminal of its own, in a home that was set up by the help's lines."""

    def __init__(self, name: str, folder: Path) -> None:
        self.record, self.screen = folder / "record", b""
        home, work, programs = (folder / part for part in ("home", "work", "bin"))
        for made in (home, work / "sub", programs):
            made.mkdir(parents=True)
        for file in ("settings.yaml", "two words.yaml", "train.xyz"):
            (work / file).touch()
        (programs / "forcemap").write_text(COMMAND.format(python=sys.executable))
        (programs / "forcemap").chmod(0o755)
        environment = {name: os.environ[name] for name in ("LANG", "LC_ALL") if name in os.environ}
        environment |= {"HOME": str(home), "RECORD": str(self.record), "TERM": "xterm"}
        environment["PATH"] = f"{programs}:{os.environ['PATH']}"
        subprocess.run(["sh", "-euc", advice(name)], env=environment, check=True, timeout=60)
        file, prompt = PROMPTS[name]
        with (home / file).open("a", encoding="utf-8") as start:
            start.write(prompt)
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"import pty; pty.spawn(['{name}', '-i'])"],
            env=environment, cwd=work, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
        )  # fmt: skip
        self._read_until(lambda: b"READY>" in self.screen)

    def type(self, keys: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(keys.encode())

    def called_with(self, keys: str) -> list[str]:
        """The words that forcemap is called with when these keys are typed, and Enter."""
        self.record.unlink(missing_ok=True)
        self.type(keys + "\r")
        self._read_until(self.record.exists)
        return [word.rstrip("/") for word in self.record.read_text().splitlines()]

    def shows(self, keys: str, *texts: str) -> None:
        """See that these texts come on the screen."""
        self.screen = b""
        self.type(keys)
        self._read_until(lambda: all(text.encode() in self.screen for text in texts))

    def _read_until(self, reached: object) -> None:
        assert callable(reached)
        assert self.process.stdout is not None
        end = time.monotonic() + 60
        while not reached():
            assert time.monotonic() < end, self.screen.decode(errors="replace")
            if select.select([self.process.stdout], [], [], 0.05)[0]:
                self.screen += os.read(self.process.stdout.fileno(), 65536)


def advice(shell: str) -> str:
    """The lines with which the help sets up a shell."""
    text = invoke("completion", "--help").stdout
    block = re.search(rf"^  {shell}\b[^\n]*:\n((?:    .*\n)+)", text, re.M)
    assert block is not None, text
    return block[1]


@pytest.fixture(params=list(PROMPTS))
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shell]:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    made = Shell(request.param, tmp_path)
    yield made
    made.process.kill()
    for stream in (made.process.stdin, made.process.stdout):
        assert stream is not None
        stream.close()
    made.process.wait()


def test_tab_completes_commands_options_values_and_files(shell: Shell) -> None:
    assert {keys: shell.called_with(keys) for keys in TYPED} == TYPED
    # What can follow is listed, options that begin alike among it.
    shell.shows("forcemap fit --\t\t", "resume", "checkpoint-every")


def test_nothing_is_printed_where_nothing_completes(shell: Shell) -> None:
    """Errors of the program, such as a command that does not exist, stay off the line being typed."""
    assert shell.called_with("forcemap nonsense x\t") == ["nonsense", "x"]
    assert b"rror" not in shell.screen


def test_other_shells_are_refused() -> None:
    result = invoke("completion", "csh")
    assert result.exit_code == 2
    assert "'bash', 'zsh', 'fish'" in result.stderr
