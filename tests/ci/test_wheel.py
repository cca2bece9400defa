"""What is released: portable, complete, with no copy of another program's libraries."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from forcemap import lammps_plugin
from forcemap.potentials import _core

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def repair() -> ModuleType:
    pytest.importorskip("elftools", reason="needs auditwheel: pip install 'forcemap[release]'")
    spec = importlib.util.spec_from_file_location("repair_wheel", ROOT / ".ci" / "repair_wheel.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def a_wheel(repair: ModuleType, tmp_path: Path) -> Callable[..., Path]:
    """Writes a wheel that is right but for what is asked for."""

    def written(
        name: str = "forcemap-0-cp312-abi3-manylinux_2_28_x86_64.whl", **more: bytes
    ) -> Path:
        path = tmp_path / name
        with zipfile.ZipFile(path, "w") as content:
            for source in repair.SOURCES:
                if source not in more:
                    content.writestr(source, "")
            for library in ("forcemapplugin.so", "forcemap_pair.so"):
                file = Path(lammps_plugin.plugin_folder()) / library
                content.writestr(f"forcemap/lammps_plugin/{library}", file.read_bytes())
            content.writestr("forcemap/potentials/_core.abi3.so", Path(_core.__file__).read_bytes())
            for extra, text in more.items():
                if text:
                    content.writestr(extra, text)
        return path

    return written


def test_a_wheel_with_these_libraries_is_right(
    repair: ModuleType, a_wheel: Callable[..., Path]
) -> None:
    """The installed ones: they need nothing but every system's, and search no folder."""
    assert repair.faults(a_wheel()) == []


def test_what_must_not_be_in_a_wheel_is_found(
    repair: ModuleType, a_wheel: Callable[..., Path]
) -> None:
    library = Path(lammps_plugin.plugin_folder(), lammps_plugin.PLUGIN).read_bytes()
    copies = {"forcemap.libs/libmpi-08c873d7.so.12": library, "forcemap/liblammps.so.0": library}
    for name, content in copies.items():
        assert repair.faults(a_wheel(**{name: content})) == [
            f"it holds a copy of a library: {name}"
        ]
    lacking = a_wheel(**{"forcemap/lammps_plugin/plugin.cpp": b""})
    assert repair.faults(lacking) == ["it lacks forcemap/lammps_plugin/plugin.cpp"]
    unrepaired = a_wheel("forcemap-0-cp311-cp311-linux_x86_64.whl")
    assert repair.faults(unrepaired) == ["its name has no manylinux tag"]


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_libraries_that_are_linked_to_lammps_or_mpi_are_found(
    repair: ModuleType, tmp_path: Path
) -> None:
    for name in ("libmpi.so.12", "linked.so"):
        (tmp_path / "empty.c").write_text("int f(void) { return 0; }\n")
        others = (
            []
            if name == "libmpi.so.12"
            else ["-Wl,--no-as-needed", "libmpi.so.12", "-Wl,-rpath,/x"]
        )
        subprocess.run(
            ["cc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", name, "empty.c", *others],
            check=True,
            cwd=tmp_path,
        )
    found = repair.elf_faults((tmp_path / "linked.so").read_bytes())
    assert sorted(found) == [
        "needs libmpi.so.12",
        "searches a folder of the machine it was built on",
    ]


def test_nothing_is_compiled_for_the_building_machine_alone() -> None:
    """Instruction sets beyond the platform's are in files of their own, and chosen at run time."""
    files = [ROOT / "pyproject.toml", *ROOT.glob("lammps_plugin/CMakeLists.txt")]
    files += ROOT.glob("potentials/cpp/**/CMakeLists.txt")
    assert len(files) >= 4
    for file in files:
        text = re.sub(r"#.*", "", file.read_text(encoding="utf-8"))
        assert not re.search(r"-m(arch|cpu)\b|-xHost|-m(tune=)?native", text), file
        for line in re.findall(r".*-m(?:avx|fma|sse).*", text):
            # Properties of one file, never of a target.
            assert "COMPILE_OPTIONS" in line, f"{file}: {line}"


def test_the_package_has_the_plugins_sources() -> None:
    folder = Path(lammps_plugin.__file__).parent
    for name in ("lammps_plugin", "potentials/cpp/src", "potentials/cpp/include"):
        source = ROOT / name
        installed = folder.parent / name
        wanted = {
            path.relative_to(source)
            for path in source.rglob("*")
            if path.suffix in {".cpp", ".hpp", ".ipp", ".h", ".def"}
            or path.name == "CMakeLists.txt"
        }
        assert wanted
        assert {path for path in wanted if not (installed / path).is_file()} == set()


@pytest.mark.parametrize("platform", ["linux", "macos"])
def test_cibuildwheel_builds_for_every_python_and_machine(platform: str) -> None:
    if importlib.util.find_spec("cibuildwheel") is None:
        pytest.skip("needs cibuildwheel: pip install 'forcemap[release]'")
    done = subprocess.run(
        [sys.executable, "-m", "cibuildwheel", "--platform", platform, "--print-build-identifiers"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    kind, machines = {
        "linux": ("manylinux", ("x86_64", "aarch64")),
        "macos": ("macosx", ("x86_64", "arm64")),
    }[platform]
    assert set(done.stdout.split()) == {
        f"cp{python}-{kind}_{machine}" for python in (310, 311, 312) for machine in machines
    }
