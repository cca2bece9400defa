"""Molecular dynamics in LAMMPS: what the checks that need it share."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from forcemap.fitter.checked import Checked, integer, number, optional, read_by
from forcemap.fitter.validation.check import Case, Grade, NotComputed, Subject, Task, Verdict
from forcemap.fitter.validation.structures import data_of, lowest_frame
from forcemap.fitter.validation.supercells import supercell
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.runs.lammps import find_lammps, run_script, thermo_tables
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ase import Atoms

__all__ = [
    "DynamicsSettings",
    "Moves",
    "broken",
    "fixes_of",
    "frames_of_dump",
    "moved",
    "start_of",
    "starting",
    "timestep_of",
]

Array = NDArray[np.float64]

LIGHT = 3.0
"""Atomic mass units; with lighter atoms a step is half as long."""

LOOK = 50
"""Steps between lines of thermodynamic output."""

BREAKDOWN = re.compile(
    r"lost atoms|number of atoms|non-numeric|\bnan\b|out of range atoms|infinite|too (near|far)",
    re.I,
)
"""What LAMMPS says of a simulation that went wrong, not of a faulty input."""


@dataclass(frozen=True)
class DynamicsSettings(Checked):
    """Molecular dynamics of a supercell in LAMMPS."""

    length: float = field(default=10.0, metadata=read_by(number(above=0, at_most=200)))
    """Å: least distance of opposite faces of the supercell."""

    temperature: float = field(default=300.0, metadata=read_by(number(above=0, at_most=1e5)))
    """K: temperature of the dynamics."""

    timestep: float | None = field(
        default=None, metadata=read_by(optional(number(above=0, at_most=0.1)))
    )
    """ps: time of a step; by default 0.001, half of it where hydrogen moves."""

    settle: int = field(default=2000, metadata=read_by(integer(at_least=1, at_most=10**9)))
    """steps before the ones that are judged."""

    steps: int = field(default=5000, metadata=read_by(integer(at_least=100, at_most=10**9)))
    """steps that are judged."""


@dataclass(frozen=True)
class Moves:
    """A finished simulation.

    Attributes:
        tables: thermodynamic output of each run by column.
        atoms: their number at the start.
        fault: what went wrong; empty if nothing did.
    """

    tables: Sequence[dict[str, Array]]
    atoms: int
    fault: str = ""


def start_of(case: Case) -> list[Subject]:
    """What dynamics start from: the first crystal, or the lowest periodic frame without crystals."""
    if case.crystals:
        return [case.crystals[0]]
    atoms = lowest_frame(case.frames)
    return [] if atoms is None else [Subject("lowest frame", data_of(atoms), atoms)]


def starting(task: Task) -> Atoms:
    """The supercell of the task's subject that dynamics start from, with its calculator."""
    if task.subject.name in {crystal.name for crystal in task.case.crystals}:
        return supercell(task.crystal(), task.settings.length)
    assert task.subject.atoms is not None
    atoms = task.subject.atoms.copy()
    atoms.calc = task.model.calculator(task.jobs)
    return supercell(atoms, task.settings.length)


def timestep_of(atoms: Atoms, settings: Any) -> float:
    """Of the settings or by the lightest atom, ps."""
    if settings.timestep is not None:
        return float(settings.timestep)
    return 0.0005 if float(atoms.get_masses().min()) < LIGHT else 0.001


def fixes_of(atoms: Atoms) -> str:
    """How a barostat treats the cell: "iso" for a cube, "aniso" for others."""
    lengths, angles = atoms.cell.lengths(), atoms.cell.angles()
    cubic = np.allclose(lengths, lengths[0], rtol=1e-3) and np.allclose(angles, 90.0, atol=0.1)
    return "iso" if cubic else "aniso"


def moved(
    task: Task, atoms: Atoms, commands: Sequence[str], advance: Callable[[int], None] | None = None
) -> Moves:
    """Run LAMMPS on a structure with the task's potential.

    `commands` follow pair_coeff and thermo; each `run` makes a table. Velocities are the atoms' own.

    Raises NotComputed if LAMMPS cannot be run, or refuses the input.
    """
    from ase.io.lammpsdata import write_lammps_data

    assert task.model.potential is not None
    symbols = list(dict.fromkeys(atoms.get_chemical_symbols()))
    folder = task.folder
    (folder / "potential.forcemap").symlink_to(task.model.potential)
    with (folder / "start.data").open("w", encoding="utf-8") as file:
        write_lammps_data(
            file, atoms, specorder=symbols, masses=True, units="metal", velocities=True
        )
    script = [
        "units metal",
        "atom_style atomic",
        "boundary p p p",
        "box tilt large",
        "read_data start.data",
        "pair_style forcemap",
        f"pair_coeff * * potential.forcemap {' '.join(symbols)}",
        f"timestep {timestep_of(atoms, task.settings)}",
        f"thermo {LOOK}",
        "thermo_style custom step time temp pe ke etotal press vol atoms",
        "thermo_modify flush yes lost ignore norm no",
        *commands,
    ]
    (folder / "in.lammps").write_text("\n".join(script) + "\n", encoding="utf-8")
    try:
        find_lammps()
    except ForcemapError as error:
        raise NotComputed(str(error)) from None
    fault = ""
    try:
        run_script(folder / "in.lammps", advance or task.advance)
    except ForcemapError as error:
        fault = _said(str(error))
        if not BREAKDOWN.search(fault):
            raise NotComputed(fault) from None
    log = folder / "log.lammps"
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return Moves(thermo_tables(text), len(atoms), fault)


def _said(message: str) -> str:
    """LAMMPS' own line in the message of a failed run, or the message on one line."""
    lines = [line.strip() for line in message.splitlines()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return errors[0] if errors else " ".join(lines)[:500]


def broken(moves: Moves, target: float) -> Verdict | None:
    """A verdict on atoms that were lost, or a temperature that ran away; None if all went well.

    `target`: the temperature that is meant, or the highest one of heating, K.
    """
    for table in moves.tables:
        lost = moves.atoms - int(table["Atoms"].min())
        if lost:
            return Verdict(
                "dynamics-go-on", Grade.FAIL, f"{lost} atoms are lost{_when(table)}", CRITERION
            )
        hottest = float(np.nanmax(table["Temp"]))
        if hottest > 4.0 * target or not np.isfinite(table["PotEng"]).all():
            text = f"the temperature rises to {hottest:.3g} K, where {target:g} K is meant"
            return Verdict("dynamics-go-on", Grade.FAIL, text, CRITERION)
    if moves.fault:
        where = ""
        if moves.tables:
            table = moves.tables[-1]
            where = f" after {table['Time'][-1]:.3g} ps, at {table['Temp'][-1]:.0f} K"
        text = f"LAMMPS ended{where}: {moves.fault}"
        return Verdict("dynamics-go-on", Grade.FAIL, text, CRITERION)
    return None


def _when(table: dict[str, Array]) -> str:
    """Where atoms were first missing: the time, and the temperature before."""
    missing = int(np.argmax(table["Atoms"] < table["Atoms"][0]))
    before = max(0, missing - 1)
    return f" after {table['Time'][missing]:.3g} ps, at {table['Temp'][before]:.0f} K"


CRITERION = "no atom is lost, and the temperature stays below four times the one that is meant"


def frames_of_dump(text: str, columns: int) -> Array:
    """(frames, atoms, columns) of a dump sorted by id, without id and type."""
    frames = []
    for block in text.split("ITEM: TIMESTEP\n")[1:]:
        body = block.partition("ITEM: ATOMS")[2].partition("\n")[2]
        values = np.array(body.split(), dtype=np.float64).reshape(-1, columns + 1)
        frames.append(values[np.argsort(values[:, 0]), 1:])
    return np.array(frames)
