"""What a potential says about its own errors: the calibration of its draws.

A fit's draws are samples from the posterior of its weights. Their spread is proportional to the errors
of the fit, not equal to them; a factor and a floor, from frames that were left out, make it so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["LEAST_DRAWS", "Calibration", "Uncertainty", "variance_of_draws"]

LEAST_DRAWS = 3
"""The mean of R draws' squares is worth R / (R - 2) of the variance."""


@dataclass(frozen=True)
class Calibration:
    """What the raw deviations of one kind of label become.

    The unit is that of the label: eV/Å for components of forces, eV/Å³ for those of stresses, and eV
    per square root of the number of atoms for energies.

    Attributes:
        factor: of the raw deviation.
        floor: what the deviation is at least, added in squares.
        noise: of the labels, which the model's own deviation leaves out.
    """

    factor: float = 1.0
    floor: float = 0.0
    noise: float = 0.0

    def deviation(
        self, variance: ArrayLike, *, atoms: int = 1, with_noise: bool = False
    ) -> NDArray[np.float64]:
        """The calibrated standard deviation for a raw variance, elementwise.

        ``atoms`` is the number of atoms of the frame for energies; 1 for all else.
        """
        constant = self.floor**2 + (self.noise**2 if with_noise else 0.0)
        return np.sqrt(atoms * constant + self.factor**2 * np.asarray(variance, dtype=np.float64))


@dataclass(frozen=True)
class Uncertainty:
    """The calibrations of a fit's deviations, by kind of label."""

    energy: Calibration = Calibration()
    force: Calibration = Calibration()
    stress: Calibration = Calibration()

    def document(self) -> dict[str, Any]:
        """As files hold it."""
        return asdict(self)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Uncertainty:
        """From a checked file's entry."""
        return cls(**{label: Calibration(**entry) for label, entry in document.items()})


def variance_of_draws(draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """The raw variance by draws' differences to the mean, along the first axis."""
    count = len(draws)
    return np.asarray(np.mean(draws**2, axis=0) * (count / (count - 2.0)))
