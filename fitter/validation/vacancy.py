"""Energies of vacancies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from forcemap.fitter.checked import Checked
from forcemap.fitter.validation.check import (
    CrystalCheck,
    NotComputed,
    Number,
    Outcome,
    Subject,
    Task,
)
from forcemap.fitter.validation.defects import (
    DefectSettings,
    chemical_potential,
    no_hole,
    positive,
    relaxed_energy,
)
from forcemap.fitter.validation.relaxing import Collapse, energy_of
from forcemap.fitter.validation.supercells import equivalent_sites, supercell

__all__ = ["Vacancy"]


SCHOTTKY = "Schottky defect"
"""Vacancies of all atoms of a formula, far from each other; it needs no reservoir."""


class Vacancy(CrystalCheck):
    """Formation energies, E(N - 1) + mu - E(N), of a vacancy at each kind of site."""

    name: ClassVar[str] = "vacancy"
    title: ClassVar[str] = "Vacancies"
    settings: ClassVar[type[Checked]] = DefectSettings

    def names(self, subject: Subject, settings: Any) -> Sequence[str]:
        """Of each kind of site, relaxed and not."""
        named = [name for label in _sites(subject.atoms) for name in (label, f"{label}, unrelaxed")]
        return [*named, SCHOTTKY]

    def parts(self, subject: Subject, settings: Any) -> int | None:
        """Vacancies."""
        return len(_sites(subject.atoms))

    def run(self, task: Task) -> Outcome:
        """Relax a supercell without one atom."""
        crystal = task.crystal()
        whole = supercell(crystal, task.settings.length)
        energy = energy_of(whole)
        numbers: dict[str, Number] = {}
        removed: dict[str, float] = {}
        remarks, collapsed = [f"vacancies: {len(whole)} sites"], []
        compound = len(set(crystal.get_chemical_symbols())) > 1
        # The first copy of a supercell holds the atoms of the cell in their order.
        for label, site in _sites(crystal).items():
            symbol = crystal.get_chemical_symbols()[site]
            potential, reservoir = chemical_potential(task, symbol)
            if compound:
                remarks.append(f"{label}: against {reservoir}")
            atoms = whole.copy()
            del atoms[site]
            atoms.calc = crystal.calc
            numbers[f"{label}, unrelaxed"] = Number(energy_of(atoms) + potential - energy, "eV")
            try:
                change = relaxed_energy(atoms, task) - energy
            except Collapse as reason:
                collapsed.append(f"{label}: {reason}")
                continue
            except NotComputed as reason:
                remarks.append(f"{label}: {reason}")
                continue
            numbers[label] = Number(change + potential, "eV")
            removed[symbol] = min(change, removed.get(symbol, change))
        judged = [n.value for name, n in numbers.items() if "unrelaxed" not in name]
        if compound:
            judged = []
            schottky = _schottky(crystal, removed, energy / len(whole))
            if schottky is not None:
                judged = [schottky]
                numbers[SCHOTTKY] = Number(schottky, "eV per formula")
        what = "Schottky defects" if compound else "vacancies"
        verdicts = positive("vacancies-cost-energy", what, judged, "eV")
        verdicts.append(no_hole("vacancies", collapsed))
        return Outcome(numbers, verdicts, {"removed": removed}, remarks)


def _schottky(crystal: Any, removed: Mapping[str, float], per_atom: float) -> float | None:
    """Energy of one vacancy for each atom of the formula, whose atoms stay in the crystal."""
    formula = crystal.symbols.formula.reduce()[0].count()
    if set(formula) != set(removed):
        return None
    return float(sum(count * (removed[s] + per_atom) for s, count in formula.items()))


def _sites(atoms: Any) -> dict[str, int]:
    """An atom of each kind of site, by the name of its row."""
    symbols = atoms.get_chemical_symbols()
    sites = equivalent_sites(atoms)
    named: dict[str, int] = {}
    for site in sites:
        alike = [other for other in sites if symbols[other] == symbols[site]]
        number = f" ({alike.index(site) + 1})" if len(alike) > 1 else ""
        named[f"vacancy {symbols[site]}{number}"] = site
    return named
