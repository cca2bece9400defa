"""``forcemap import gap-fit``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from forcemap.fitter.commands import import_gap_fit as module
from forcemap.fitter.commands.import_gap_fit import import_gap_fit, write_settings
from forcemap.fitter.config import Settings
from forcemap.potentials.errors import ForcemapError

COMMAND = (
    "gap_fit at_file=train.xyz default_sigma={0.002 0.1 0.5 0.0} gap={soap cutoff=5.0 n_max=8 l_max=6 "
    "atom_sigma=0.5 zeta=2 n_sparse=100 delta=1.0 covariance_type=dot_product "
    "sparse_method=cur_points} e0=-0.79"
)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_settings_are_printed_or_written() -> None:
    printed = CliRunner().invoke(import_gap_fit, [COMMAND])
    assert printed.exit_code == 0
    written = CliRunner().invoke(import_gap_fit, [COMMAND, "-o", "settings.yaml"])
    assert (written.exit_code, written.output) == (0, "settings.yaml\n")
    assert Path("settings.yaml").read_text(encoding="utf-8") == printed.output
    settings = Settings.read("settings.yaml")
    assert settings.e0 == -0.79
    assert settings.terms[0].n_sparse == 100


def test_a_file_is_replaced_only_when_asked() -> None:
    Path("settings.yaml").write_text("mine\n", encoding="utf-8")
    with pytest.raises(ForcemapError, match=r"settings.yaml: is there already; .* give --force"):
        write_settings(COMMAND, Path("settings.yaml"))
    assert Path("settings.yaml").read_text(encoding="utf-8") == "mine\n"
    done = CliRunner().invoke(import_gap_fit, [COMMAND, "-o", "settings.yaml", "--force"])
    assert done.exit_code == 0
    assert Settings.read("settings.yaml").terms


def test_nothing_is_written_for_a_command_with_a_fault() -> None:
    with pytest.raises(ForcemapError, match='did you mean "e0_method"'):
        write_settings(f"{COMMAND} e0_metod=average", Path("settings.yaml"))
    assert list(Path().iterdir()) == []


def test_the_example_of_the_help_works() -> None:
    found = CliRunner().invoke(import_gap_fit, ["--help"])
    assert f"Example: {module.EXAMPLE}" in " ".join(found.output.split())
    words = module.EXAMPLE.split()
    Path(words[3]).write_text(f"#!/bin/sh\n{COMMAND}\n".replace("{", "'{").replace("}", "}'"))
    assert CliRunner().invoke(import_gap_fit, words[3:]).exit_code == 0
    assert Settings.read("settings.yaml").terms


def test_faults_are_one_message_and_exit_code_1() -> None:
    pytest.importorskip("forcemap.fitter.commands.import_gap")
    run = [
        sys.executable,
        "-c",
        "from forcemap.fitter.cli import main; main()",
        "import",
        "gap-fit",
    ]
    done = subprocess.run(
        [*run, "gap_fit at_fil=train.xyz"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "Error: gap_fit command: at_fil=train.xyz (character 1) is no option of gap_fit; did you mean "
        '"at_file"?\n'
    )


def test_the_folder_of_the_settings_may_be_another(tmp_path: Path) -> None:
    (tmp_path / "fits").mkdir()
    write_settings(COMMAND, Path("fits/settings.yaml"))
    settings = Settings.read("fits/settings.yaml")
    assert settings.data.train[0].path.resolve() == tmp_path / "train.xyz"
