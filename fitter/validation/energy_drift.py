"""Conservation of energy in the microcanonical ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from forcemap.fitter.checked import Checked
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
from forcemap.fitter.validation.drawing import COLORS, drawn
from forcemap.fitter.validation.dynamics import (
    DynamicsSettings,
    broken,
    moved,
    start_of,
    starting,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["EnergyDrift"]

GOOD, BAD = 0.1, 1.0
"""meV per atom over the run; up to the first a pass, beyond the second a fail."""


class EnergyDrift(Check):
    """Total energy along a simulation without thermostat."""

    name: ClassVar[str] = "nve"
    title: ClassVar[str] = "Conservation of energy"
    settings: ClassVar[type[Checked]] = DynamicsSettings
    needs: ClassVar[tuple[str, ...]] = ("crystal",)
    by_lammps: ClassVar[bool] = True

    def subjects(self, case: Case) -> Sequence[Subject]:
        """One crystal, or a frame."""
        return start_of(case)

    def names(self, subject: Subject, settings: Any) -> Sequence[str]:
        """The drift, and how far energy scatters about it."""
        return ["NVE drift", "NVE fluctuation"]

    def parts(self, subject: Subject, settings: Any) -> int | None:
        """Steps."""
        return int(settings.settle + settings.steps)

    def run(self, task: Task) -> Outcome:
        """Settle, then follow the total energy."""
        settings, atoms = task.settings, starting(task)
        moves = moved(
            task,
            atoms,
            [
                # Half of it goes into potential energy.
                f"velocity all create {2 * settings.temperature} {task.case.seed + 4711} mom yes "
                "rot no dist gaussian",
                "fix move all nve",
                f"run {settings.settle}",
                "thermo 10",
                f"run {settings.steps}",
            ],
        )
        fault = broken(moves, settings.temperature)
        if fault is not None:
            return Outcome({}, [fault])
        table = moves.tables[-1]
        times = table["Time"] - table["Time"][0]
        energies = 1000.0 * (table["TotEng"] - table["TotEng"][0]) / len(atoms)
        slope = float(np.polyfit(times, energies, 1)[0])
        total = abs(slope) * float(times[-1])
        grade = Grade.PASS if total <= GOOD else Grade.WARN if total <= BAD else Grade.FAIL
        verdict = Verdict(
            "energy-conserved",
            grade,
            f"total energy drifts by {total:.2g} meV per atom in {times[-1]:.3g} ps at "
            f"{float(table['Temp'].mean()):.0f} K",
            f"at most {GOOD} meV per atom over the run (up to {BAD:g}: warn)",
        )
        numbers = {
            "NVE drift": Number(slope, "meV per atom and ps"),
            "NVE fluctuation": Number(float(np.std(energies - slope * times)), "meV per atom"),
        }
        return Outcome(numbers, [verdict], {"times": times.tolist(), "energies": energies.tolist()})

    def figures(self, shown: Sequence[Shown], case: Case) -> dict[str, Figure]:
        """Energy over time."""

        def draw(axes: Any) -> None:
            for one in shown:
                for (model, outcome), color in zip(one.outcomes.items(), COLORS, strict=False):
                    if "times" in outcome.data:
                        label = f"{one.subject.name}, {model}"
                        data = outcome.data
                        axes.plot(data["times"], data["energies"], color=color, label=label)
            axes.set(xlabel="time (ps)", ylabel="total energy (meV per atom)")
            axes.legend()

        with_data = any("times" in o.data for one in shown for o in one.outcomes.values())
        return {self.title: drawn(draw, self.title)} if with_data else {}
