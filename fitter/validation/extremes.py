"""Crystals far outside the data: compressed to half of their volume, and expanded to a gas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from forcemap.fitter.checked import Checked, integer, number, read_by
from forcemap.fitter.data.units import GPA
from forcemap.fitter.validation.check import (
    Case,
    CrystalCheck,
    Grade,
    Number,
    Outcome,
    Shown,
    Subject,
    Task,
    Verdict,
)
from forcemap.fitter.validation.crystal import lone_atom_energy
from forcemap.fitter.validation.drawing import COLORS, LINES, panels
from forcemap.fitter.validation.relaxing import energy_of
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.figure import Figure

__all__ = ["Extremes"]

Array = NDArray[np.float64]

DIP = 0.02
"""eV per atom; energy may go against its way by so much before that counts."""

GAS = 0.05
"""eV per atom; a gas is as far from free atoms at most."""


@dataclass(frozen=True)
class ExtremesSettings(Checked):
    """How far a crystal is compressed and expanded."""

    compressed: float = field(default=0.5, metadata=read_by(number(above=0.05, at_most=0.95)))
    """smallest volume, over the relaxed one."""

    expanded: float = field(default=4.0, metadata=read_by(number(at_least=1.1, at_most=20)))
    """largest lengths, over the relaxed ones."""

    points: int = field(default=31, metadata=read_by(integer(at_least=5, at_most=1000)))
    """number of volumes on either side."""


class Extremes(CrystalCheck):
    """Energies of the uniformly scaled crystal."""

    name: ClassVar[str] = "extremes"
    title: ClassVar[str] = "Compressed and expanded"
    settings: ClassVar[type[Checked]] = ExtremesSettings

    def names(self, subject: Subject, settings: Any) -> Sequence[str]:
        """Energies of both ends and the pressure of the compressed one."""
        return ["energy of compression", "pressure when compressed", "gas against free atoms"]

    def parts(self, subject: Subject, settings: Any) -> int | None:
        """Volumes."""
        return 2 * int(settings.points)

    def run(self, task: Task) -> Outcome:
        """Energies at all volumes."""
        crystal, settings = task.crystal(), task.settings
        smallest = settings.compressed ** (1 / 3)
        inward = np.linspace(1.0, smallest, settings.points)
        outward = np.linspace(1.0, settings.expanded, settings.points)
        squeezed = _energies(crystal, inward, task)
        gas = _energies(crystal, outward, task)
        symbols = crystal.get_chemical_symbols()
        free = {s: lone_atom_energy(task.model, s) for s in set(symbols)}
        zero = float(np.mean([free[s] for s in symbols]))
        scaled = crystal.copy()
        scaled.calc = crystal.calc
        scaled.set_cell(crystal.cell * smallest, scale_atoms=True)
        pressure = -float(np.mean(scaled.get_stress()[:3])) * GPA
        numbers = {
            "energy of compression": Number(squeezed[-1] - squeezed[0], "eV per atom"),
            "pressure when compressed": Number(pressure, "GPa"),
            "gas against free atoms": Number(gas[-1] - zero, "eV per atom"),
        }
        verdicts = [
            _rising("compression-costs-energy", "compression", squeezed),
            _rising("expansion-costs-energy", "expansion", gas),
            Verdict(
                "gas-of-free-atoms",
                Grade.PASS if abs(gas[-1] - zero) <= GAS else Grade.WARN,
                f"expanded {settings.expanded:g} times it has {gas[-1] - zero:+.3g} eV per atom "
                "against free atoms",
                f"at most {GAS} eV per atom",
            ),
        ]
        data = {
            "inward": inward.tolist(),
            "squeezed": squeezed,
            "outward": outward.tolist(),
            "gas": gas,
            "free": zero,
        }
        return Outcome(numbers, verdicts, data)

    def figures(self, shown: Sequence[Shown], case: Case) -> dict[str, Figure]:
        """Both curves of all crystals."""

        def draw(x: str, y: str, label: str) -> Any:
            def panel(axes: Any) -> None:
                for one, color in zip(shown, COLORS * len(shown), strict=False):
                    for (model, outcome), line in zip(one.outcomes.items(), LINES, strict=False):
                        data = outcome.data
                        energies = np.array(data[y]) - data["free"]
                        name = f"{one.subject.name}, {model}"
                        axes.plot(data[x], energies, line, color=color, label=name)
                axes.axhline(0.0, color="#8b95a1", linewidth=0.8)
                axes.set(xlabel=label, ylabel="energy against free atoms (eV per atom)")
                axes.legend()

            return panel

        made = {}
        for x, y, label in (
            ("inward", "squeezed", "compression"),
            ("outward", "gas", "expansion"),
        ):
            title = f"Energy under {label}"
            made[title] = panels([draw(x, y, "length over that at rest")], title, size=(5.2, 3.2))
        return made if shown else {}


def _energies(crystal: Atoms, factors: Array, task: Task) -> list[float]:
    """Energies per atom of the crystal with its lengths multiplied."""
    found = []
    for factor in factors:
        atoms = crystal.copy()
        atoms.calc = crystal.calc
        atoms.set_cell(crystal.cell * factor, scale_atoms=True)
        found.append(energy_of(atoms) / len(atoms))
        task.advance()
    return found


def _rising(name: str, what: str, energies: Sequence[float]) -> Verdict:
    """Whether energy only rises from the relaxed crystal on; how deep it falls back, if not."""
    values = np.array(energies)
    dip = float((np.maximum.accumulate(values) - values).max())
    below = float(values[0] - values.min())
    grade = Grade.PASS if dip <= DIP else Grade.FAIL if below > DIP else Grade.WARN
    text = f"the energy rises all the way under {what}"
    if grade is Grade.WARN:
        text = f"the energy falls back by {dip:.3g} eV per atom under {what}"
    if grade is Grade.FAIL:
        text = f"under {what} the energy falls {below:.3g} eV per atom below the relaxed crystal"
    return Verdict(name, grade, text, f"no fall of more than {DIP} eV per atom (below rest: fail)")
