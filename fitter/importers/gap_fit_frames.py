"""What a translation needs to know of the training frames, such as volumes for sigmas of stresses."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from forcemap.fitter.data.settings import Source
from forcemap.fitter.data.sources import count_frames, read_structures
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.errors import ForcemapError
from numpy.typing import NDArray

__all__ = ["Spread", "TrainingFrames", "training_frames"]

MOST_READ = 2000
"""Frames that are read, evenly over the file."""

MOST_MEASURED = 200
"""Frames whose distances are measured."""


@dataclass(frozen=True)
class Spread:
    """A quantity of frames: its median, and its smallest and largest value."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Spread:
        """The spread of some values, at least one."""
        return cls(float(np.median(values)), float(values.min()), float(values.max()))


@dataclass(frozen=True)
class TrainingFrames:
    """Frames of the training file, all or some of them.

    Attributes:
        structures: ASE's Atoms.
        groups: the config_type of each; "" without.
    """

    structures: tuple[Any, ...]
    groups: tuple[str, ...]

    @property
    def species(self) -> tuple[str, ...]:
        """Symbols by atomic number."""
        numbers = {int(z) for atoms in self.structures for z in np.unique(atoms.numbers)}
        return tuple(SYMBOLS[z] for z in sorted(numbers))

    def of_group(self, group: str | None) -> Iterator[Any]:
        """The structures of a config_type; all for None."""
        for atoms, name in zip(self.structures, self.groups, strict=True):
            if group is None or name == group:
                yield atoms

    def root_of_atoms(self, group: str | None = None) -> Spread | None:
        """Square roots of numbers of atoms; None without frames."""
        values = np.array([len(atoms) ** 0.5 for atoms in self.of_group(group)])
        return Spread.of(values) if len(values) else None

    def root_per_volume(self, group: str | None = None) -> Spread | None:
        """Square roots of numbers of atoms over volumes, Å^-3, of periodic frames; None without."""
        return self._per_volume(group, 0.5)

    def one_per_volume(self, group: str | None = None) -> Spread | None:
        """Inverse volumes, Å^-3, of periodic frames; None without."""
        return self._per_volume(group, 0.0)

    def _per_volume(self, group: str | None, power: float) -> Spread | None:
        values = [
            len(atoms) ** power / abs(float(np.linalg.det(atoms.cell.array)))
            for atoms in self.of_group(group)
            if all(atoms.pbc) and np.linalg.det(atoms.cell.array) != 0.0
        ]
        return Spread.of(np.array(values)) if values else None

    def range_of_distances(self, cutoff: float) -> float | None:
        """Largest minus smallest distance of two atoms within the cutoff, Å; None without pairs."""
        from ase.neighborlist import neighbor_list

        step = max(1, len(self.structures) // MOST_MEASURED)
        some = self.structures[::step]
        distances = np.concatenate([neighbor_list("d", atoms, cutoff) for atoms in some])
        return float(np.ptp(distances)) if len(distances) > 1 else None


def training_frames(path: Path, group_key: str) -> TrainingFrames | None:
    """Frames of the file with their config_types (under `group_key`); None if it cannot be read.

    The fit says what is wrong with the file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            step = max(1, -(-count_frames(Source(path)) // MOST_READ))
            structures = [atoms for _, atoms in read_structures(Source(path, f"::{step}"))]
    except ForcemapError:
        return None
    key = group_key.lower()
    spelled = [next((k for k in atoms.info if k.lower() == key), "") for atoms in structures]
    groups = [str(a.info.get(k, "")) for a, k in zip(structures, spelled, strict=True)]
    return TrainingFrames(tuple(structures), tuple(groups))
