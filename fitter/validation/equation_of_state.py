"""The equation of state: energy against volume, bulk modulus and its pressure derivative."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from forcemap.fitter.checked import Checked, CrossCheckError, integer, number, read_by
from forcemap.fitter.data.units import GPA
from forcemap.fitter.validation.check import (
    Case,
    CrystalCheck,
    Grade,
    NotComputed,
    Number,
    Outcome,
    Shown,
    Subject,
    Task,
    Verdict,
)
from forcemap.fitter.validation.drawing import COLORS, LINES, REFERENCE_COLOR, drawn
from forcemap.fitter.validation.relaxing import energy_of
from forcemap.fitter.validation.structures import frames_like
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["BirchMurnaghan", "EquationOfState"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class EquationOfStateSettings(Checked):
    """Volumes, in terms of the relaxed one."""

    smallest: float = field(default=0.9, metadata=read_by(number(at_least=0.3, at_most=0.99)))
    """smallest volume, over the relaxed one."""

    largest: float = field(default=1.1, metadata=read_by(number(at_least=1.01, at_most=3)))
    """largest volume, over the relaxed one."""

    points: int = field(default=11, metadata=read_by(integer(at_least=5, at_most=1000)))
    """number of volumes."""

    def cross_check(self) -> None:
        """Raise CrossCheckError for volumes that leave out the relaxed one."""
        if self.smallest >= self.largest:
            raise CrossCheckError("smallest", "is not below largest")


class BirchMurnaghan(NamedTuple):
    """The third-order equation of Birch (1947, doi:10.1103/PhysRev.71.809).

    Energies are a polynomial of third degree in V^(-2/3), so that the fit is linear.

    Attributes:
        energy: at the minimum, eV.
        volume: there, Å³.
        modulus: bulk modulus there, eV/Å³.
        derivative: dB/dP there.
        coefficients: of the polynomial, highest first.
    """

    energy: float
    volume: float
    modulus: float
    derivative: float
    coefficients: Array

    @classmethod
    def fitted(cls, volumes: ArrayLike, energies: ArrayLike) -> BirchMurnaghan:
        """Fit (n,) volumes and energies; raises NotComputed if they have no minimum."""
        x = np.asarray(volumes, dtype=np.float64) ** (-2.0 / 3.0)
        polynomial = np.poly1d(np.polyfit(x, np.asarray(energies, dtype=np.float64), 3))
        first, second, third = (polynomial.deriv(order) for order in (1, 2, 3))
        roots = [
            root.real
            for root in first.roots
            if abs(root.imag) < 1e-12 and second(root.real) > 0 and x.min() <= root.real <= x.max()
        ]
        if not roots:
            raise NotComputed("energy against volume has no minimum")
        at = roots[0]
        volume = float(at**-1.5)
        # dx/dV = -2/3 x^(5/2), with E'(x) = 0.
        modulus = float(4.0 / 9.0 * at**3.5 * second(at))
        derivative = float(4.0 + 2.0 / 3.0 * at * third(at) / second(at))
        return cls(float(polynomial(at)), volume, modulus, derivative, polynomial.coefficients)

    def energies(self, volumes: ArrayLike) -> Array:
        """Energies at volumes."""
        x = np.asarray(volumes, dtype=np.float64) ** (-2.0 / 3.0)
        return np.asarray(np.polyval(self.coefficients, x))


class EquationOfState(CrystalCheck):
    """Energy of each crystal against volume; its shape and fractional positions are kept."""

    name: ClassVar[str] = "eos"
    title: ClassVar[str] = "Equation of state"
    settings: ClassVar[type[Checked]] = EquationOfStateSettings

    def names(self, subject: Subject, settings: Any) -> Sequence[str]:
        """Of the fit of Birch and Murnaghan."""
        return ["bulk modulus", "its pressure derivative"]

    def parts(self, subject: Subject, settings: Any) -> int | None:
        """Volumes."""
        return int(settings.points)

    def run(self, task: Task) -> Outcome:
        """Energies at all volumes, and the fit."""
        crystal = task.crystal()
        count, volume = len(crystal), crystal.get_volume()
        factors = np.linspace(task.settings.smallest, task.settings.largest, task.settings.points)
        energies = []
        for factor in factors:
            crystal.set_cell(
                crystal.cell * (factor * volume / crystal.get_volume()) ** (1 / 3), True
            )
            energies.append(energy_of(crystal) / count)
            task.advance()
        volumes = factors * volume / count
        fit = BirchMurnaghan.fitted(volumes, energies)
        numbers = {
            "bulk modulus": Number(fit.modulus * GPA, "GPa"),
            "its pressure derivative": Number(fit.derivative),
        }
        data = {"volumes": volumes.tolist(), "energies": energies}
        return Outcome(numbers, [_one_minimum(volumes, np.array(energies))], data)

    def figures(self, shown: Sequence[Shown], case: Case) -> dict[str, Figure]:
        """Curves of all crystals; dots are frames of the data."""

        def draw(axes: Any) -> None:
            for one, color in zip(shown, COLORS * len(shown), strict=False):
                for (model, outcome), line in zip(one.outcomes.items(), LINES, strict=False):
                    volumes, energies = (np.array(outcome.data[k]) for k in ("volumes", "energies"))
                    fine = np.linspace(volumes.min(), volumes.max(), 200)
                    fit = BirchMurnaghan.fitted(volumes, energies)
                    label = f"{one.subject.name}, {model}"
                    axes.plot(fine, fit.energies(fine), line, color=color, label=label)
                    axes.plot(volumes, energies, ".", color=color, markersize=4)
                likes = frames_like(case.frames, one.subject)
                if likes:
                    points = np.array([(v, e) for v, e in likes])
                    axes.plot(*points.T, "o", color=REFERENCE_COLOR, mfc="none", label="data")
            axes.set(xlabel="volume (Å³ per atom)", ylabel="energy (eV per atom)")
            axes.legend()

        return {self.title: drawn(draw, self.title)} if shown else {}


def _one_minimum(volumes: Array, energies: Array) -> Verdict:
    """Whether the energy falls up to its minimum and rises from there."""
    steps = np.sign(np.diff(energies))
    turns = int(np.count_nonzero(np.diff(steps)))
    good = turns == 1 and steps[0] < 0
    where = f"between {volumes[0]:.4g} and {volumes[-1]:.4g} Å³ per atom"
    text = f"the energy has {'one minimum' if good else f'{turns} turns'} {where}"
    return Verdict(
        "one-minimum", Grade.PASS if good else Grade.FAIL, text, "one minimum, no other turn"
    )
