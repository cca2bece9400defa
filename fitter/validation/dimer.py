"""Two atoms at all distances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from forcemap.fitter.checked import Checked, CrossCheckError, integer, number, read_by
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
from forcemap.fitter.validation.drawing import COLORS, LINES, drawn
from forcemap.fitter.validation.relaxing import energy_of
from forcemap.potentials.elements import SYMBOLS
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Dimer", "radii_of"]

Array = NDArray[np.float64]

NEAR = 0.6
"""Of the sum of the covalent radii; below, all pairs of atoms repel each other."""

FORGIVEN = 0.01
"""eV; steps down on the way in that do not count."""

WEAKEST = 1.0
"""eV/Å; mean force below which two atoms that are so near do not repel each other: they do by tens."""


@dataclass(frozen=True)
class DimerSettings(Checked):
    """Distances, in terms of the sum of the two covalent radii."""

    nearest: float = field(default=0.35, metadata=read_by(number(above=0.01, at_most=1)))
    """shortest distance, over the sum of the covalent radii."""

    farthest: float = field(default=3.5, metadata=read_by(number(at_least=1.1, at_most=20)))
    """longest distance, over the sum of the covalent radii."""

    points: int = field(default=200, metadata=read_by(integer(at_least=10, at_most=100_000)))
    """number of distances."""

    def cross_check(self) -> None:
        """Raise CrossCheckError for a range without the distances at which atoms are to repel."""
        if self.nearest >= NEAR:
            raise CrossCheckError("nearest", f"is not below {NEAR}, where atoms are to repel")


def radii_of(*symbols: str) -> float:
    """Sum of covalent radii, Å."""
    from ase.data import covalent_radii

    return float(sum(covalent_radii[SYMBOLS.index(symbol)] for symbol in symbols))


class Dimer(Check):
    """Energy of each pair of elements against free atoms."""

    name: ClassVar[str] = "dimer"
    title: ClassVar[str] = "Dimers"
    settings: ClassVar[type[Checked]] = DimerSettings

    def subjects(self, case: Case) -> Sequence[Subject]:
        """All pairs of elements."""
        pairs = combinations_with_replacement(case.species, 2)
        return [Subject(f"{a}-{b} dimer", [a, b]) for a, b in pairs]

    def names(self, subject: Subject, settings: Any) -> Sequence[str]:
        """Of the minimum."""
        return ["distance", "binding energy"]

    def parts(self, subject: Subject, settings: Any) -> int | None:
        """Distances."""
        return int(settings.points)

    def run(self, task: Task) -> Outcome:
        """Energies at all distances."""
        from ase import Atoms

        a, b = task.subject.content
        radius = radii_of(a, b)
        zero = sum(lone_atom_energy(task.model, symbol) for symbol in (a, b))
        distances = radius * np.linspace(
            task.settings.nearest, task.settings.farthest, task.settings.points
        )
        calculator = task.model.calculator(1)
        energies = []
        for distance in distances:
            atoms = Atoms([a, b], [[0.0, 0.0, 0.0], [float(distance), 0.0, 0.0]])
            atoms.calc = calculator
            energies.append(energy_of(atoms) - zero)
            task.advance()
        found = np.array(energies)
        numbers = {}
        outside = distances >= NEAR * radius
        lowest = int(np.flatnonzero(outside)[np.argmin(found[outside])])
        if found[lowest] < 0:
            numbers["distance"] = Number(float(distances[lowest]), "Å")
            numbers["binding energy"] = Number(-float(found[lowest]), "eV")
        data = {"distances": distances.tolist(), "energies": energies}
        return Outcome(numbers, [_repulsive(distances, found, NEAR * radius)], data)

    def figures(self, shown: Sequence[Shown], case: Case) -> dict[str, Figure]:
        """All curves."""

        def draw(axes: Any) -> None:
            deepest = -0.5
            for one, color in zip(shown, COLORS * len(shown), strict=False):
                for (model, outcome), line in zip(one.outcomes.items(), LINES, strict=False):
                    distances, energies = (
                        np.array(outcome.data[key]) for key in ("distances", "energies")
                    )
                    label = f"{one.subject.name}, {model}"
                    axes.plot(distances, energies, line, color=color, label=label)
                    deepest = min(deepest, float(energies.min()))
            axes.axhline(0.0, color="#8b95a1", linewidth=0.8)
            limits = (max(1.15 * deepest, -30.0), max(-2.5 * deepest, 3.0))
            axes.set(xlabel="distance (Å)", ylabel="energy (eV)", ylim=limits, xlim=(0, None))
            axes.legend(loc="upper right")

        return {self.title: drawn(draw, self.title)} if shown else {}


def _repulsive(distances: Array, energies: Array, near: float) -> Verdict:
    """Whether energy rises on the way in from `near`, and not by next to nothing."""
    places, inner = distances[distances <= near][::-1], energies[distances <= near][::-1]
    steps = np.diff(inner)
    rises = bool((steps > -FORGIVEN).all() and inner[-1] > energies.min())
    good = rises and inner[-1] - inner[0] >= WEAKEST * (places[0] - places[-1])
    text = f"from {near:.3g} Å inwards the energy rises to {inner[-1]:.4g} eV at {places[-1]:.3g} Å"
    if rises and not good:
        text += f", by {inner[-1] - inner[0]:.2g} eV, which is no repulsion"
    elif not rises:
        place = places[int(np.argmin(steps)) + 1] if len(steps) else places[0]
        text = f"from {near:.3g} Å inwards the energy falls at {place:.3g} Å"
    return Verdict(
        "repulsive-when-near",
        Grade.PASS if good else Grade.FAIL,
        text,
        f"two atoms nearer than {NEAR} of the sum of their covalent radii repel each other",
    )
