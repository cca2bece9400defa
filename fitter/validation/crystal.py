"""Relaxed crystals: lattice constants and cohesive energies; other checks of crystals build on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from forcemap.fitter.checked import Checked, integer, number, read_by
from forcemap.fitter.validation.check import (
    Case,
    Check,
    Grade,
    NotComputed,
    Number,
    Outcome,
    Subject,
    Task,
    Verdict,
)
from forcemap.fitter.validation.relaxing import Collapse, energy_of, relax
from forcemap.fitter.validation.structures import data_of, name_of

if TYPE_CHECKING:
    from ase import Atoms
    from forcemap.fitter.validation.models import Model

__all__ = ["Crystal", "free_atom_energy", "lone_atom_energy"]

LENGTHS = ("lattice constant a", "lattice constant b", "lattice constant c")
ANGLES = ("angle alpha", "angle beta", "angle gamma")


@dataclass(frozen=True)
class CrystalSettings(Checked):
    """Relaxation of positions and cells."""

    fmax: float = field(default=1e-3, metadata=read_by(number(above=0, at_most=1)))
    """eV/Å: forces below which a structure is relaxed."""

    steps: int = field(default=400, metadata=read_by(integer(at_least=1, at_most=100_000)))
    """largest number of steps of a relaxation."""


def lone_atom_energy(model: Model, symbol: str) -> float:
    """The model's energy of an atom without neighbours, eV. Raises NotComputed if it has none."""
    from ase import Atoms

    atoms = Atoms(symbol)
    atoms.calc = model.calculator(1)
    return energy_of(atoms)


def free_atom_energy(model: Model, symbol: str) -> float:
    """Energy of a free atom, eV: the one that the settings give, or that of the model.

    Raises NotComputed if there is none.
    """
    given = model.free_atoms.get(symbol)
    return lone_atom_energy(model, symbol) if given is None else given


class Crystal(Check):
    """Lattice constants, energy and cohesive energy of the relaxed crystals."""

    name: ClassVar[str] = "crystal"
    title: ClassVar[str] = "Relaxed crystals"
    settings: ClassVar[type[Checked]] = CrystalSettings

    def subjects(self, case: Case) -> Sequence[Subject]:
        """All crystals."""
        return case.crystals

    def names(self, subject: Subject, settings: Any) -> Sequence[str]:
        """Lengths, angles and energies."""
        return [*LENGTHS, *ANGLES, "volume per atom", "energy per atom", "cohesive energy"]

    def run(self, task: Task) -> Outcome:
        """Relax the cell and the atoms."""
        assert task.subject.atoms is not None
        atoms = task.subject.atoms.copy()
        before = name_of(atoms)
        atoms.calc = task.model.calculator(task.jobs)
        settings = task.settings
        try:
            done = relax(atoms, settings.fmax, settings.steps, cell=True, advance=task.advance)
        except Collapse as reason:
            return Outcome({}, [_symmetry_kept(Grade.FAIL, str(reason))])
        if not done:
            raise NotComputed(f"it does not come to rest in {task.settings.steps} steps")
        energy = energy_of(atoms) / len(atoms)
        numbers = _cell_numbers(atoms)
        numbers["volume per atom"] = Number(atoms.get_volume() / len(atoms), "Å³")
        numbers["energy per atom"] = Number(energy, "eV")
        remarks = []
        try:
            free = {
                symbol: free_atom_energy(task.model, symbol)
                for symbol in set(atoms.get_chemical_symbols())
            }
            mean = float(np.mean([free[symbol] for symbol in atoms.get_chemical_symbols()]))
            numbers["cohesive energy"] = Number(mean - energy, "eV per atom")
        except NotComputed as reason:
            remarks.append(f"no cohesive energy: a free atom cannot be computed ({reason})")
        after = name_of(atoms)
        grade = Grade.PASS if after == before else Grade.WARN
        text = f"the crystal keeps its symmetry, {after}"
        if grade is Grade.WARN:
            text = f"the relaxed crystal is {after}; {before} is not at rest, or not stable"
        data = {"atoms": data_of(atoms), "energy": energy}
        return Outcome(numbers, [_symmetry_kept(grade, text)], data, remarks)

    def is_usable(self, outcome: Outcome) -> bool:
        """Whether it has come to rest as a crystal."""
        return "atoms" in outcome.data


def _symmetry_kept(grade: Grade, text: str) -> Verdict:
    return Verdict("symmetry-kept", grade, text, "relaxation keeps the space group")


def _cell_numbers(atoms: Atoms) -> dict[str, Number]:
    """Lengths and angles of the cell; what symmetry makes equal is given once."""
    lengths, angles = atoms.cell.lengths(), atoms.cell.angles()
    numbers = {LENGTHS[0]: Number(float(lengths[0]), "Å")}
    for place in (1, 2):
        if not np.isclose(lengths[:place], lengths[place], rtol=1e-3).any():
            numbers[LENGTHS[place]] = Number(float(lengths[place]), "Å")
    for name, angle in zip(ANGLES, angles, strict=True):
        if min(abs(angle - 90.0), abs(angle - 120.0)) > 0.05:
            numbers[name] = Number(float(angle), "°")
    return numbers
