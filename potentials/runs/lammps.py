"""Runs LAMMPS on an input script, and reads the tables of its log."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from forcemap.potentials.extras import install
from forcemap.potentials.runs.programs import Program, find_program, last_step, supervise
from numpy.typing import NDArray

__all__ = ["find_lammps", "run_script", "thermo_rows", "thermo_tables"]

Array = NDArray[np.float64]

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*([eE][+-]?\d+)?|nan|inf)")


def find_lammps() -> str:
    """Path of LAMMPS' program; raises ForcemapError if there is none."""
    return find_program("lmp", f"LAMMPS comes with {install('lammps')}")


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
    """Columns of all thermodynamic tables in a LAMMPS log, one for each run.

    Warnings and other lines between the rows are passed over; so is a row that was cut.
    """
    tables: list[tuple[list[str], list[list[str]]]] = []
    inside = False
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["Step"] and len(words) > 1:
            tables.append((words, []))
            inside = True
        elif line.startswith("Loop time of"):
            inside = False
        elif inside and len(words) == len(tables[-1][0]) and all(map(_NUMBER.fullmatch, words)):
            tables[-1][1].append(words)
    return [
        {name: np.array(rows, dtype=np.float64)[:, n] for n, name in enumerate(names)}
        for names, rows in tables
        if rows
    ]


def thermo_rows(text: str) -> dict[str, Array]:
    """Columns of the last thermodynamic table in a LAMMPS log."""
    tables = thermo_tables(text)
    return tables[-1] if tables else {"Step": np.zeros(0)}
