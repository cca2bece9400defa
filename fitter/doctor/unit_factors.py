"""Units and signs that labels may have by mistake, and which of them explain a factor."""

from __future__ import annotations

from dataclasses import dataclass

from forcemap.fitter.data.units import GPA, HARTREE_PER_BOHR3

__all__ = [
    "ENERGY_UNITS",
    "FORCE_UNITS",
    "STRESS_UNITS",
    "Explanation",
    "energy_candidates",
    "force_candidates",
    "ratio_by",
    "stress_candidates",
]

BOHR, HARTREE, KCAL, KJ = 0.529177211, 27.2113862, 0.0433641153, 0.0103642697

ENERGY_UNITS = {
    "kcal/mol": KCAL,
    "kJ/mol": KJ,
    "Hartree": HARTREE,
    "Rydberg": HARTREE / 2.0,
    "meV": 1e-3,
}
"""eV in one of each."""

FORCE_UNITS = {
    "kcal/mol/Å": KCAL,
    "kJ/mol/Å": KJ,
    "kJ/mol/nm": 0.1 * KJ,
    "Hartree/Bohr": HARTREE / BOHR,
    "Rydberg/Bohr": HARTREE / 2.0 / BOHR,
    "Hartree/Å": HARTREE,
    "eV/Bohr": 1.0 / BOHR,
    "meV/Å": 1e-3,
}
"""eV/Å in one of each."""

STRESS_UNITS = {
    "GPa": 1.0 / GPA,
    "kBar": 0.1 / GPA,
    "bar": 1e-4 / GPA,
    "MPa": 1e-3 / GPA,
    "Pa": 1e-9 / GPA,
    "Hartree/Bohr³": HARTREE_PER_BOHR3,
    "Rydberg/Bohr³": HARTREE_PER_BOHR3 / 2.0,
    "meV/Å³": 1e-3,
}
"""eV/Å³ in one of each."""


@dataclass(frozen=True)
class Explanation:
    """What may be wrong with labels.

    Attributes:
        label: "energy", "forces" or "stress".
        unit: that the labels are in; empty if only their sign is wrong.
        factor: by which the labels are to be multiplied.
        text: a clause, "the forces are in kcal/mol/Å".
        by_atoms, by_volume: whether the factor is that times the number of atoms, or over the volume.
    """

    label: str
    unit: str
    factor: float
    text: str
    by_atoms: bool = False
    by_volume: bool = False

    @property
    def advice(self) -> str:
        """What to do."""
        what = {"energy": "energies", "forces": "forces", "stress": "stresses"}[self.label]
        if self.by_atoms:
            return f"multiply the {what} by the number of atoms"
        if self.by_volume:
            sign = "-1 / " if self.factor < 0 else "1 / "
            return f"multiply the {what} by {sign}volume (Å³)"
        return f"multiply the {what} by {self.factor:.9g}"


def force_candidates() -> list[Explanation]:
    """What may be wrong with energies and forces that contradict each other."""
    gradients = "the sign of the forces is wrong (they are gradients)"
    found = [Explanation("forces", "", -1.0, gradients)]
    for sign, also in ((1.0, ""), (-1.0, ", and their sign is wrong (they are gradients)")):
        found += [
            Explanation("forces", unit, sign * size, f"the forces are in {unit}{also}")
            for unit, size in FORCE_UNITS.items()
        ]
    found += energy_candidates()
    found.append(Explanation("positions", "Bohr", BOHR, "the positions are in Bohr"))
    return found


def ratio_by(explanation: Explanation, atoms: float) -> float:
    """Change of the energy over the work of the forces in frames of so many atoms."""
    if explanation.by_atoms:
        return 1.0 / atoms
    return 1.0 / explanation.factor if explanation.label == "energy" else explanation.factor


def energy_candidates() -> list[Explanation]:
    """What may be wrong with energies."""
    found = [
        Explanation("energy", unit, size, f"the energies are in {unit}")
        for unit, size in ENERGY_UNITS.items()
    ]
    found.append(Explanation("energy", "eV/atom", 1.0, "the energies are per atom", by_atoms=True))
    return found


def stress_candidates() -> list[Explanation]:
    """What may be wrong with stresses that contradict energies and forces."""
    found = [Explanation("stress", "", -1.0, "the sign of the stresses is wrong")]
    for sign, also in ((1.0, ""), (-1.0, ", and their sign is wrong")):
        found += [
            Explanation("stress", unit, sign * size, f"the stresses are in {unit}{also}")
            for unit, size in STRESS_UNITS.items()
        ]
    for sign, name in ((1.0, "-1 times the virials in eV"), (-1.0, "the virials in eV")):
        text = f"the stresses are {name}, not divided by the volume"
        found.append(Explanation("stress", "eV", sign, text, by_volume=True))
    return found
