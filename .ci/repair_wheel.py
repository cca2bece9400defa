"""Repairs a wheel of Linux, and sees that it is one that everybody can install.

    python .ci/repair_wheel.py WHEEL FOLDER

auditwheel checks which system the libraries need, names the wheel after it, and would copy in what is
not part of every system. Here nothing may be copied: LAMMPS' and MPI's libraries are those of whoever
opens the plugin, and a second copy of either in one process would end in a crash. Needs auditwheel and
patchelf.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

EXCLUDED = ("liblammps.so.0", "libmpi.so.12")

EVERYWHERE = {
    "libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libgcc_s.so.1",
    "libstdc++.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1",
}  # fmt: skip
"""Libraries of every Linux that the manylinux standards describe."""

SOURCES = (
    "forcemap/lammps_plugin/CMakeLists.txt",
    "forcemap/lammps_plugin/plugin.cpp",
    "forcemap/potentials/cpp/CMakeLists.txt",
    "forcemap/potentials/cpp/include/forcemap/potential.hpp",
    "forcemap/potentials/cpp/src/terms/terms.def",
)
"""Some of what `forcemap build-plugin` compiles."""


def repaired(wheel: Path, folder: Path) -> Path:
    """Repair a wheel into `folder`; returns the new one."""
    before = set(folder.glob("*.whl"))
    excluded = [part for name in EXCLUDED for part in ("--exclude", name)]
    subprocess.run(["auditwheel", "repair", *excluded, "-w", str(folder), str(wheel)], check=True)
    made = [path for path in folder.glob("*.whl") if path not in before]
    if len(made) != 1:
        raise SystemExit(f"{wheel}: auditwheel made {len(made)} wheels; is {folder} empty?")
    return made[0]


def faults(wheel: Path) -> list[str]:
    """What is wrong with a wheel, in words."""
    found = []
    if "manylinux" not in wheel.name:
        found.append("its name has no manylinux tag")
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
        found += [f"it lacks {name}" for name in SOURCES if name not in names]
        libraries = [name for name in names if ".so" in Path(name).name]
        for name in libraries:
            if "forcemap.libs/" in name or Path(name).name.startswith(("liblammps", "libmpi")):
                found.append(f"it holds a copy of a library: {name}")
            found += [f"{name} {text}" for text in elf_faults(content.read(name))]
    expected = {"forcemapplugin.so", "forcemap_pair.so"}
    if missing := expected - {Path(name).name for name in libraries}:
        found.append(f"it lacks the plugin: {', '.join(sorted(missing))}")
    return found


def elf_faults(library: bytes) -> list[str]:
    """What a library needs that is not on every system, and paths that it searches."""
    found = []
    for section in ELFFile(BytesIO(library)).iter_sections():
        if isinstance(section, DynamicSection):
            for tag in section.iter_tags():
                if tag.entry.d_tag == "DT_NEEDED" and tag.needed not in EVERYWHERE:
                    found.append(f"needs {tag.needed}")
                if tag.entry.d_tag in ("DT_RPATH", "DT_RUNPATH"):
                    found.append("searches a folder of the machine it was built on")
    return found


def main() -> None:
    """Repair and check."""
    wheel, folder = Path(sys.argv[1]), Path(sys.argv[2])
    made = repaired(wheel, folder)
    if found := faults(made):
        made.unlink()
        raise SystemExit("\n".join(f"{made.name}: {text}" for text in found))
    print(made)


if __name__ == "__main__":
    main()
