"""The density at a temperature and no pressure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from forcemap.fitter.checked import Checked
from forcemap.fitter.validation.check import (
    Case,
    Check,
    Grade,
    Number,
    Outcome,
    Subject,
    Task,
    Verdict,
)
from forcemap.fitter.validation.dynamics import (
    DynamicsSettings,
    broken,
    fixes_of,
    moved,
    start_of,
    starting,
    timestep_of,
)

__all__ = ["Density"]

GRAMS = 1.66053906660
"""g/cm³ in one atomic mass unit per Å³."""

EXPANSION = 0.1
"""Share of the volume at rest; more thermal expansion at room temperature is not that of a crystal."""


class Density(Check):
    """Volume and density in the isothermal-isobaric ensemble."""

    name: ClassVar[str] = "npt"
    title: ClassVar[str] = "Density at no pressure"
    settings: ClassVar[type[Checked]] = DynamicsSettings
    needs: ClassVar[tuple[str, ...]] = ("crystal",)
    by_lammps: ClassVar[bool] = True

    def subjects(self, case: Case) -> Sequence[Subject]:
        """One crystal, or a frame."""
        return start_of(case)

    def names(self, subject: Subject, settings: Any) -> Sequence[str]:
        """At the temperature of the settings."""
        at = f"at {settings.temperature:g} K"
        return [f"density {at}", f"volume per atom {at}", f"expansion {at}"]

    def parts(self, subject: Subject, settings: Any) -> int | None:
        """Steps."""
        return int(settings.settle + settings.steps)

    def run(self, task: Task) -> Outcome:
        """Settle, then average."""
        settings, atoms = task.settings, starting(task)
        warm, step = settings.temperature, timestep_of(atoms, settings)
        moves = moved(
            task,
            atoms,
            [
                f"velocity all create {2 * warm} {task.case.seed + 4711} mom yes rot no dist gaussian",
                f"fix move all npt temp {warm} {warm} {100 * step} {fixes_of(atoms)} 0 0 {1000 * step}",
                f"run {settings.settle}",
                "thermo 10",
                f"run {settings.steps}",
            ],
        )
        fault = broken(moves, warm)
        if fault is not None:
            return Outcome({}, [fault])
        volume = float(moves.tables[-1]["Volume"].mean())
        expansion = volume / atoms.get_volume() - 1.0
        density, volumes, expansions = self.names(task.subject, settings)
        numbers = {
            density: Number(float(atoms.get_masses().sum()) / volume * GRAMS, "g/cm³"),
            volumes: Number(volume / len(atoms), "Å³"),
            expansions: Number(100.0 * expansion, "% of volume"),
        }
        verdict = Verdict(
            "volume-kept",
            Grade.PASS if abs(expansion) <= EXPANSION else Grade.WARN,
            f"the volume at {warm:g} K is {100 * expansion:+.2f} % from that at rest",
            f"at most {100 * EXPANSION:g} %",
        )
        drift = np.polyfit(
            np.arange(len(moves.tables[-1]["Volume"])), moves.tables[-1]["Volume"], 1
        )
        rise = float(drift[0]) * len(moves.tables[-1]["Volume"]) / volume
        remarks = []
        if abs(rise) > 0.01:
            remarks.append(f"the volume still changes, by {100 * rise:+.1f} % over the run")
        return Outcome(numbers, [verdict], {}, remarks)
