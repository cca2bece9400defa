"""Completion: the printed script, run by the shell itself where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from forcemap_runs import invoke

TRY = """
source ./script
COMP_WORDS=({words})
COMP_CWORD={last}
_forcemap_completion forcemap
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a `forcemap` to be called by its name, files, and bash's script."""
    command = tmp_path / "bin" / "forcemap"
    command.parent.mkdir()
    command.write_text(
        f"#!/bin/sh\nexec '{sys.executable}' -c "
        "'from forcemap.fitter.cli import main; main()' \"$@\"\n"
    )
    command.chmod(0o755)
    (tmp_path / "settings.yaml").touch()
    (tmp_path / "script").write_text(invoke("completion", "bash").stdout)
    return tmp_path


def completed(folder: Path, *words: str) -> set[str]:
    """What bash offers for the last of the words."""
    given = " ".join(f"'{word}'" for word in ("forcemap", *words))
    done = subprocess.run(
        ["bash", "--norc", "-c", TRY.format(words=given, last=len(words))],
        cwd=folder,
        env={**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    # compopt has no completion to change here; all else is an error.
    said = [line for line in done.stderr.splitlines() if "compopt: not currently" not in line]
    assert said == []
    return set(done.stdout.split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_commands_options_and_values(folder: Path) -> None:
    assert completed(folder, "ev") == {"evaluate"}
    assert completed(folder, "fit", "--dry") == {"--dry-run"}
    assert completed(folder, "import", "gap") == {"gap", "gap-fit"}
    assert completed(folder, "suggest", "a", "b", "--by", "far") == {"farthest"}
    assert completed(folder, "export", "p", "--format", "u") == {"uf3"}
    assert completed(folder, "--lo") == {"--log"}


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_names_of_files_and_folders_are_left_to_the_shell(folder: Path) -> None:
    """An empty COMPREPLY with `-o default` has bash complete names of files."""
    assert completed(folder, "fit", "set") == set()
    assert completed(folder, "fit", "settings.yaml", "-o", "o") == set()
    script = (folder / "script").read_text()
    assert "compopt -o default" in script
    assert "compopt -o dirnames" in script


@pytest.mark.parametrize(
    ("shell", "check"), [("bash", ["-n"]), ("zsh", ["-n"]), ("fish", ["--no-execute"])]
)
def test_script_is_one_of_its_shell(shell: str, check: list[str], tmp_path: Path) -> None:
    result = invoke("completion", shell)
    assert result.exit_code == 0
    assert f"_FORCEMAP_COMPLETE={shell}_complete" in result.stdout
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    path = tmp_path / "script"
    path.write_text(result.stdout)
    done = subprocess.run([shell, *check, path], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_other_shells_are_refused() -> None:
    result = invoke("completion", "csh")
    assert result.exit_code == 2
    assert "'bash', 'zsh', 'fish'" in result.stderr
