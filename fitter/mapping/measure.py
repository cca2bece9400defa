"""Errors of a map: a mapped potential against what the process, or a finer map, says of frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.prediction import Prediction, evaluated
from forcemap.potentials import Potential

__all__ = ["MapError", "map_error"]


@dataclass
class MapError:
    """How far a map is off.

    Attributes:
        force: the largest error of a force component, eV/Å.
        energy: the largest error of a frame's energy, eV per atom.
        squares, count: sum of the squared errors of force components, and their number.
    """

    force: float = 0.0
    energy: float = 0.0
    squares: float = 0.0
    count: int = 0

    @property
    def force_rmse(self) -> float:
        """Root mean square error of force components, eV/Å."""
        return float(np.sqrt(self.squares / max(self.count, 1)))

    def add(self, frame: Frame, mapped: Prediction, truth: Prediction) -> None:
        """Count one frame."""
        difference = np.abs(mapped.forces - truth.forces)
        self.force = max(self.force, float(difference.max()))
        self.energy = max(self.energy, abs(mapped.energy - truth.energy) / len(frame.numbers))
        self.squares += float(np.sum(difference**2))
        self.count += difference.size


def map_error(
    potential: Potential, frames: Sequence[Frame], truths: Iterable[Prediction]
) -> MapError:
    """Errors of a potential on frames, of which the truth is known."""
    evaluator = potential.evaluator(skin=0.0)
    error = MapError()
    for frame, truth in zip(frames, truths, strict=True):
        error.add(frame, evaluated(evaluator, frame), truth)
    return error
