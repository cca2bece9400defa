"""Standard deviations of what a potential gives, from its draws."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.uncertainty import Uncertainty, variance_of_draws
from numpy.typing import NDArray

__all__ = ["Deviations"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Deviations:
    """The draws' differences to what the potential gives for a structure, and deviations from them.

    The deviations are calibrated, and those of the model: how far the potential may be from what it
    was fitted to. `with_noise` has those of a difference to a label.

    Attributes:
        energies: (draws,) eV.
        forces: (draws, n, 3) eV/Å.
        virials: (draws, 3, 3) eV.
        volume: of the cell, Å³; None unless it is periodic in three directions.
        uncertainty: the calibration.
        noise: whether the labels' noise counts.
    """

    energies: Array
    forces: Array
    virials: Array
    volume: float | None
    uncertainty: Uncertainty
    noise: bool = False

    def with_noise(self) -> Deviations:
        """The same with the labels' noise."""
        return replace(self, noise=True)

    @property
    def energy_std(self) -> float:
        """Of the energy, eV."""
        variance = variance_of_draws(self.energies)
        atoms = self.forces.shape[1]
        calibration = self.uncertainty.energy
        return float(calibration.deviation(variance, atoms=atoms, with_noise=self.noise))

    @property
    def forces_std(self) -> Array:
        """(n, 3) of the components of the forces, eV/Å."""
        variance = variance_of_draws(self.forces)
        return self.uncertainty.force.deviation(variance, with_noise=self.noise)

    @property
    def stress_std(self) -> Array:
        """(3, 3) of the components of the stress, eV/Å³.

        Raises ForcemapError unless the cell is periodic in three directions.
        """
        if self.volume is None:
            raise ForcemapError("a stress needs a cell periodic in three directions")
        variance = variance_of_draws(self.virials) / self.volume**2
        return self.uncertainty.stress.deviation(variance, with_noise=self.noise)
