"""Heating through melting: no atom is lost, and the temperature at which the crystal melts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from forcemap.fitter.checked import Checked, CrossCheckError, integer, number, optional, read_by
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
from forcemap.fitter.validation.drawing import COLORS, panels
from forcemap.fitter.validation.dynamics import (
    broken,
    fixes_of,
    frames_of_dump,
    moved,
    start_of,
    starting,
    timestep_of,
)
from forcemap.fitter.validation.relaxing import COLLAPSED, shortest
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.figure import Figure

__all__ = ["Heating", "melting"]

Array = NDArray[np.float64]

MOVED = 0.5
"""Of the distance of neighbours; atoms that are farther away on the average have left their sites."""

BOILED = 2.5
"""Volumes at rest; heating ends where the liquid boils off."""


@dataclass(frozen=True)
class HeatingSettings(Checked):
    """Heating at a constant rate at no pressure.

    A small, perfect crystal is heated far above its melting point before it melts.
    """

    length: float = field(default=10.0, metadata=read_by(number(above=0, at_most=200)))
    """Å: least distance of opposite faces of the supercell."""

    start: float = field(default=300.0, metadata=read_by(number(above=0, at_most=1e5)))
    """K: temperature at the start."""

    end: float = field(default=3500.0, metadata=read_by(number(above=0, at_most=1e5)))
    """K: temperature at the end."""

    timestep: float | None = field(
        default=None, metadata=read_by(optional(number(above=0, at_most=0.1)))
    )
    """ps: time of a step; by default 0.001, half of it where hydrogen moves."""

    steps: int = field(default=20_000, metadata=read_by(integer(at_least=100, at_most=10**9)))
    """steps from the start to the end."""

    def cross_check(self) -> None:
        """Raise CrossCheckError for an end below the start."""
        if self.end <= self.start:
            raise CrossCheckError("end", f"is not above start, {self.start:g} K")


class Heating(Check):
    """Energy, volume and displacements while a crystal is heated until it melts."""

    name: ClassVar[str] = "heating"
    title: ClassVar[str] = "Heating"
    settings: ClassVar[type[Checked]] = HeatingSettings
    needs: ClassVar[tuple[str, ...]] = ("crystal",)
    by_lammps: ClassVar[bool] = True

    def subjects(self, case: Case) -> Sequence[Subject]:
        """One crystal, or a frame."""
        return start_of(case)

    def names(self, subject: Subject, settings: Any) -> Sequence[str]:
        """Where it melts."""
        return ["melts when heated, at"]

    def parts(self, subject: Subject, settings: Any) -> int | None:
        """Steps."""
        return int(settings.steps)

    def run(self, task: Task) -> Outcome:
        """Heat at a constant rate."""
        settings, atoms = task.settings, starting(task)
        step, (cold, hot) = timestep_of(atoms, settings), (settings.start, settings.end)
        moves = moved(
            task,
            atoms,
            [
                f"velocity all create {2 * cold} {task.case.seed + 4711} mom yes rot no dist gaussian",
                "compute displaced all msd com yes",
                "thermo_style custom step time temp pe ke etotal press vol atoms c_displaced[4]",
                "thermo_modify flush yes lost ignore norm no",
                f"fix move all npt temp {cold} {hot} {100 * step} {fixes_of(atoms)} 0 0 {1000 * step}",
                f"variable swollen equal vol/{atoms.get_volume()}",
                f"fix boiled all halt 50 v_swollen > {BOILED} error continue",
                f"run {settings.steps}",
                "write_dump all custom end.dump id xs ys zs modify sort id",
            ],
        )
        fault = broken(moves, hot)
        if fault is not None:
            return Outcome({}, [fault])
        table = moves.tables[-1]
        numbers, remarks = {}, []
        at = melting(table["Temp"], table["c_displaced[4]"], _neighbour(atoms))
        if at is not None:
            numbers["melts when heated, at"] = Number(at, "K")
        else:
            remarks.append(f"it does not melt up to {table['Temp'][-10:].mean():.0f} K")
        swollen = float(table["Volume"][-1] / atoms.get_volume())
        if swollen > BOILED:
            remarks.append(
                f"heating ended at {table['Temp'][-1]:.0f} K, where the liquid boils off"
            )
        verdict = _end(task, atoms, table)
        data = {
            "temperature": table["Temp"].tolist(),
            "energy": (table["PotEng"] / len(atoms)).tolist(),
            "volume": (table["Volume"] / len(atoms)).tolist(),
            "displaced": table["c_displaced[4]"].tolist(),
        }
        return Outcome(numbers, [verdict], data, remarks)

    def figures(self, shown: Sequence[Shown], case: Case) -> dict[str, Figure]:
        """Energy, volume and displacements against temperature."""

        def panel(key: str, label: str, last: bool) -> Any:
            def draw(axes: Any) -> None:
                for one in shown:
                    for (model, outcome), color in zip(one.outcomes.items(), COLORS, strict=False):
                        if key in outcome.data:
                            temperature = smooth(outcome.data["temperature"])
                            name = f"{one.subject.name}, {model}"
                            axes.plot(
                                temperature, smooth(outcome.data[key]), color=color, label=name
                            )
                axes.set(ylabel=label, **({"xlabel": "temperature (K)"} if last else {}))
                if last:
                    axes.legend()

            return draw

        if not any("energy" in o.data for one in shown for o in one.outcomes.values()):
            return {}
        columns = {
            "energy": "energy\n(eV per atom)",
            "volume": "volume\n(Å³ per atom)",
            "displaced": "displacement²\n(Å²)",
        }
        draws = [panel(key, label, key == "displaced") for key, label in columns.items()]
        return {self.title: panels(draws, self.title, size=(5.6, 1.6))}


def smooth(values: Sequence[float], width: int = 15) -> Array:
    """Means over `width` neighbours in a row."""
    array = np.asarray(values, dtype=np.float64)
    width = min(width, len(array))
    return np.convolve(array, np.ones(width) / width, mode="valid")


def _neighbour(atoms: Atoms) -> float:
    """Distance of nearest neighbours, Å."""
    from ase.neighborlist import neighbor_list

    reach = 2.0
    while not len(found := neighbor_list("d", atoms, reach)):
        reach += 1.0
    return float(found.min())


def melting(temperatures: Array, displaced: Array, neighbour: float) -> float | None:
    """Temperature (K) at which the mean square displacement (Å²) leaves the sites for good; or None."""
    inside = np.flatnonzero(displaced <= (MOVED * neighbour) ** 2)
    if not len(inside) or inside[-1] == len(displaced) - 1:
        return None
    last = int(inside[-1])
    return float(temperatures[max(0, last - 5) : last + 6].mean())


def _end(task: Task, atoms: Atoms, table: dict[str, Array]) -> Verdict:
    """Whether all atoms are there at the end, and apart."""
    text = (task.folder / "end.dump").read_text(encoding="utf-8")
    last = atoms.copy()
    last.set_cell(atoms.cell * (table["Volume"][-1] / atoms.get_volume()) ** (1 / 3))
    last.set_scaled_positions(frames_of_dump(text, 3)[-1])
    near = shortest(last)
    grade = Grade.PASS if near >= COLLAPSED else Grade.FAIL
    kept = f"all {len(atoms)} atoms are there up to {table['Temp'][-1]:.0f} K"
    if grade is Grade.FAIL:
        kept = f"atoms fall into each other, to {near:.2f} of the sum of their covalent radii"
    criterion = "no atom is lost, and none fall into each other"
    return Verdict("no-atom-lost", grade, kept, criterion)
