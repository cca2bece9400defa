"""What is said of a frame: its energy, forces and stress, by a potential, a process or a baseline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.potentials import Evaluator, Potential
from forcemap.potentials.voigt import matrix_of, six_of
from numpy.typing import NDArray

__all__ = ["Prediction", "evaluated", "evaluated_by", "evaluated_with_grades"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Prediction:
    """Energy, forces and stress of a frame, or standard deviations of all three.

    Attributes:
        energy: eV.
        forces: (n, 3) eV/Å.
        strain: (6,) dE/d(strain), eV, in the order of `voigt`; volume times stress.
        volume: Å³; None unless the frame is periodic in all directions.
    """

    energy: float
    forces: Array
    strain: Array
    volume: float | None = None

    @classmethod
    def of(cls, frame: Frame, energy: float, forces: Array, strain: Array) -> Prediction:
        """The prediction for a frame, which has a volume or none."""
        volume = abs(float(np.linalg.det(frame.cell))) if np.all(frame.pbc) else None
        return cls(energy, forces, strain, volume)

    @classmethod
    def nothing(cls, frame: Frame) -> Prediction:
        """Zeros."""
        return cls.of(frame, 0.0, np.zeros((len(frame.numbers), 3)), np.zeros(6))

    @property
    def stress(self) -> Array | None:
        """(3, 3) eV/Å³, ASE's sign; None unless the frame is periodic in all directions."""
        return None if self.volume is None else matrix_of(self.strain / self.volume)

    def __iter__(self) -> Iterator[Any]:
        """Energy, forces and stress."""
        return iter((self.energy, self.forces, self.stress))


def evaluated(evaluator: Evaluator, frame: Frame) -> Prediction:
    """A potential's answer for a frame. Raises ForcemapError for a frame with elements it lacks."""
    return evaluated_with_grades(evaluator, frame)[0]


def evaluated_by(potential: Potential, frame: Frame) -> Prediction:
    """`evaluated` without a neighbour list that another frame has left; other ranks may do so."""
    return evaluated(potential.evaluator(skin=0.0), frame)


def evaluated_with_grades(
    evaluator: Evaluator, frame: Frame, grades: bool = False
) -> tuple[Prediction, Array | None]:
    """The same, and the atoms' grades, (n,), if they are asked for of a potential that has them."""
    place = frame.positions, frame.numbers, frame.cell, frame.pbc
    result = evaluator.compute(*place, grades=True) if grades else evaluator.compute(*place)
    prediction = Prediction.of(frame, result.energy, result.forces, -six_of(result.virial))
    return prediction, result.grades
