"""Three atoms: two bonds and the angle between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from forcemap.fitter.checked import Checked, integer, number, read_by
from forcemap.fitter.validation.check import (
    Case,
    Check,
    Grade,
    Number,
    Outcome,
    Shown,
    Subject,
    Task,
    Verdict,
)
from forcemap.fitter.validation.crystal import lone_atom_energy
from forcemap.fitter.validation.dimer import radii_of
from forcemap.fitter.validation.drawing import COLORS, LINES, drawn
from forcemap.fitter.validation.relaxing import energy_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Trimer"]

MOST = 12
"""Triples of elements; of more, those of one or two elements come first."""


@dataclass(frozen=True)
class TrimerSettings(Checked):
    """An atom with two neighbours at one distance."""

    bond: float = field(default=1.1, metadata=read_by(number(at_least=0.5, at_most=3)))
    """length of the bonds, over the sums of the covalent radii."""

    smallest: float = field(default=20.0, metadata=read_by(number(at_least=1, at_most=60)))
    """degrees: smallest angle; the largest is 180."""

    points: int = field(default=161, metadata=read_by(integer(at_least=10, at_most=100_000)))
    """number of angles."""


class Trimer(Check):
    """Energy of an atom with two neighbours against free atoms."""

    name: ClassVar[str] = "trimer"
    title: ClassVar[str] = "Trimers"
    settings: ClassVar[type[Checked]] = TrimerSettings

    def subjects(self, case: Case) -> Sequence[Subject]:
        """All triples of elements, the atom in the middle second."""
        triples = [
            (a, centre, b)
            for centre in case.species
            for a, b in combinations_with_replacement(case.species, 2)
        ]
        triples.sort(key=lambda triple: len(set(triple)))
        return [Subject(f"{'-'.join(triple)} trimer", list(triple)) for triple in triples[:MOST]]

    def names(self, subject: Subject, settings: Any) -> Sequence[str]:
        """Of the minimum."""
        return ["angle", "energy"]

    def parts(self, subject: Subject, settings: Any) -> int | None:
        """Angles."""
        return int(settings.points)

    def run(self, task: Task) -> Outcome:
        """Energies at all angles."""
        from ase import Atoms

        a, centre, b = task.subject.content
        zero = sum(lone_atom_energy(task.model, symbol) for symbol in (a, centre, b))
        bonds = [task.settings.bond * radii_of(end, centre) for end in (a, b)]
        angles = np.linspace(task.settings.smallest, 180.0, task.settings.points)
        calculator = task.model.calculator(1)
        energies = []
        for angle in np.radians(angles):
            second = [bonds[1] * float(np.cos(angle)), bonds[1] * float(np.sin(angle)), 0.0]
            atoms = Atoms([a, centre, b], [[bonds[0], 0.0, 0.0], [0.0, 0.0, 0.0], second])
            atoms.calc = calculator
            energies.append(energy_of(atoms) - zero)
            task.advance()
        lowest = int(np.argmin(energies))
        numbers = {
            "angle": Number(float(angles[lowest]), "°"),
            "energy": Number(energies[lowest], "eV"),
        }
        good = lowest > 0
        verdict = Verdict(
            "repulsive-when-near",
            Grade.PASS if good else Grade.FAIL,
            f"the lowest energy is at {angles[lowest]:.4g}°"
            + ("" if good else ", where the outer atoms are nearest to each other"),
            "the outer atoms do not fall into each other as the angle closes",
        )
        return Outcome(numbers, [verdict], {"angles": angles.tolist(), "energies": energies})

    def figures(self, shown: Sequence[Shown], case: Case) -> dict[str, Figure]:
        """All curves."""

        def draw(axes: Any) -> None:
            levels = []
            for one, color in zip(shown, COLORS * len(shown), strict=False):
                for (model, outcome), line in zip(one.outcomes.items(), LINES, strict=False):
                    angles, energies = (np.array(outcome.data[k]) for k in ("angles", "energies"))
                    label = f"{one.subject.name}, {model}"
                    axes.plot(angles, energies, line, color=color, label=label)
                    levels.append(energies[angles >= 60.0])
            low = min(float(level.min()) for level in levels)
            high = max(float(level.max()) for level in levels)
            margin = 0.3 * (high - low) + 0.2
            axes.set(xlabel="angle (°)", ylabel="energy (eV)", ylim=(low - margin, high + margin))
            axes.legend()

        return {self.title: drawn(draw, self.title)} if shown else {}
