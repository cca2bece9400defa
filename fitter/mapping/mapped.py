"""A mapped potential, as it grows: the mean, its draws, its grade."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Any

from forcemap.fitter.terms.base import MapPlan
from forcemap.potentials import Potential
from forcemap.potentials.file.potential_file import PotentialData, write_potential

__all__ = ["Mapped"]


@dataclass(frozen=True)
class Mapped:
    """A mapped potential with the measured errors of the map.

    Attributes:
        data: its content.
        potential: the same, ready to be evaluated.
        errors: of the map, for the report.
        seconds: that it took.
        plan: after which the mean was mapped, with what it knows of the frames.
    """

    data: PotentialData
    potential: Potential
    errors: dict[str, Any]
    seconds: float
    plan: MapPlan

    def write(self, path: str | PathLike[str]) -> None:
        """Write the potential file, whole or not at all."""
        write_potential(self.data, path)
