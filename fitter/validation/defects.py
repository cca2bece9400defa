"""What defects of a crystal share: their cells, energies and chemical potentials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from forcemap.fitter.checked import Checked, integer, number, read_by
from forcemap.fitter.validation.check import Grade, NotComputed, Task, Verdict
from forcemap.fitter.validation.crystal import free_atom_energy
from forcemap.fitter.validation.relaxing import energy_of, relax

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["DefectSettings", "chemical_potential", "no_hole", "positive", "relaxed_energy"]


@dataclass(frozen=True)
class DefectSettings(Checked):
    """Relaxation of supercells with a defect, of fixed shape."""

    length: float = field(default=10.0, metadata=read_by(number(above=0, at_most=100)))
    """Å: least distance of opposite faces of the supercell."""

    fmax: float = field(default=0.01, metadata=read_by(number(above=0, at_most=1)))
    """eV/Å: forces below which a structure is relaxed."""

    steps: int = field(default=300, metadata=read_by(integer(at_least=1, at_most=100_000)))
    """largest number of steps of a relaxation."""


def chemical_potential(task: Task, symbol: str) -> tuple[float, str]:
    """Energy of an atom in its reservoir, eV, and what that is.

    The reservoir is the lowest crystal of the element among those checked, or the free atom.
    """
    from ase.symbols import Symbols

    energies = {}
    for name, outcome in task.given["crystal"].items():
        if set(Symbols(outcome.data["atoms"]["numbers"])) == {symbol}:
            energies[name] = float(outcome.data["energy"])
    if energies:
        name = min(energies, key=energies.__getitem__)
        return energies[name], name
    free = free_atom_energy(task.model, symbol)
    return free, f"the free atom of {symbol}"


def relaxed_energy(atoms: Atoms, task: Task) -> float:
    """Energy after relaxation of the atoms in their cell.

    Raises Collapse if atoms fall into each other, NotComputed if the relaxation does not end.
    """
    if not relax(atoms, task.settings.fmax, task.settings.steps, advance=task.advance):
        raise NotComputed(f"does not come to rest in {task.settings.steps} steps")
    return energy_of(atoms)


def positive(name: str, what: str, energies: Sequence[float], unit: str) -> list[Verdict]:
    """Whether what should cost energy does; no verdict without an energy."""
    if not energies:
        return []
    lowest = min(energies)
    grade = Grade.PASS if lowest > 0 else Grade.FAIL
    text = f"the lowest energy of {what} is {lowest:.4g} {unit}"
    return [Verdict(name, grade, text, f"{what} cost energy")]


def no_hole(what: str, collapsed: Sequence[str]) -> Verdict:
    """Whether relaxations end without a collapse; `collapsed` says of each one that does not."""
    return Verdict(
        f"no-hole-at-{what}",
        Grade.FAIL if collapsed else Grade.PASS,
        "; ".join(collapsed) or f"no atoms fall into each other when {what} relax",
        f"no atoms fall into each other when {what} relax",
    )
