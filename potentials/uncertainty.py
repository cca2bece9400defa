"""How far a potential expects to be off: the calibration of its standard deviations.

The raw standard deviation of a prediction is multiplied by a factor, and has a floor; what the labels
themselves scatter is apart from both:

    (the model's)² = floor² + (factor times raw)²,    (that of a difference to a label)² = that + noise²

Forces in eV/Å and stresses in eV/Å³, each per component; energies in eV for one atom: those of n atoms
have floor and noise times the square root of n, as the sigmas of a fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Calibration", "Uncertainty"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """Of one quantity.

    Attributes:
        factor: of raw standard deviations.
        floor: standard deviation where the raw one is nothing.
        noise: standard deviation of the labels, which is none of the model's.
    """

    factor: float
    floor: float
    noise: float

    def to_dict(self) -> dict[str, float]:
        """By name."""
        return asdict(self)

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Calibration:
        """What `to_dict` gives."""
        return cls(float(given["factor"]), float(given["floor"]), float(given["noise"]))


@dataclass(frozen=True)
class Uncertainty:
    """Of all quantities of a potential."""

    energy: Calibration
    force: Calibration
    stress: Calibration

    def to_dict(self) -> dict[str, dict[str, float]]:
        """By name."""
        return asdict(self)

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Uncertainty:
        """What `to_dict` gives."""
        return cls(
            Calibration.from_dict(given["energy"]),
            Calibration.from_dict(given["force"]),
            Calibration.from_dict(given["stress"]),
        )
