"""Energies of frames as a sum over their elements, by regression that outliers do not move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from forcemap.fitter.data.frame import Frame
from numpy.typing import NDArray

__all__ = ["Composition", "least_absolute", "scatter"]

Array = NDArray[np.float64]

ROUNDS = 50
"""Of the iteration for least absolute residuals."""

NORMAL = 1.4826
"""Standard deviation of normal numbers over their median absolute deviation."""


@dataclass(frozen=True)
class Composition:
    """Frames with energies, and their elements.

    Attributes:
        frames: the frames.
        species: atomic numbers, increasing.
        shares: (frames, species) of the atoms.
        energies: (frames,) as the file has them, eV.
        sizes: (frames,) numbers of atoms.
    """

    frames: list[Frame]
    species: tuple[int, ...]
    shares: Array
    energies: Array
    sizes: Array

    @classmethod
    def of(cls, frames: Sequence[Frame]) -> Composition:
        """The frames that have an energy."""
        chosen = [frame for frame in frames if frame.energy is not None]
        species = tuple(sorted({int(z) for frame in chosen for z in np.unique(frame.numbers)}))
        shares = np.zeros((len(chosen), len(species)))
        for row, frame in zip(shares, chosen, strict=True):
            found, counts = np.unique(frame.numbers, return_counts=True)
            row[np.searchsorted(species, found)] = counts / len(frame.numbers)
        energies = np.array([frame.energy for frame in chosen], dtype=np.float64)
        sizes = np.array([len(frame.numbers) for frame in chosen], dtype=np.float64)
        return cls(chosen, species, shares, energies, sizes)

    def levels(self, values: Array) -> Array:
        """(species,) for which sum(shares * levels) has the least absolute residuals from `values`.

        Of smallest norm where compositions do not determine all.
        """
        return least_absolute(self.shares, values)

    def residuals(self, values: Array) -> Array:
        """`values` without the part that the composition gives."""
        return np.asarray(values - self.shares @ self.levels(values))


def least_absolute(design: Array, values: Array) -> Array:
    """x with the least sum of absolute values of  design @ x - values,  by reweighted least squares."""
    weights: Array = np.ones(len(values))
    solution: Array = np.zeros(design.shape[1])
    for _ in range(ROUNDS):
        weighted = design * weights[:, None]
        found = np.linalg.pinv(weighted.T @ design, rcond=1e-12) @ (weighted.T @ values)
        residuals = np.abs(values - design @ found)
        if np.allclose(found, solution, rtol=1e-9, atol=1e-9):
            break
        solution = found
        least = 1e-6 + 1e-3 * float(np.median(residuals))
        weights = np.asarray(1.0 / np.maximum(residuals, least), dtype=np.float64)
    return solution


def scatter(values: Array) -> float:
    """Standard deviation of the bulk of some numbers about their median."""
    return float(NORMAL * np.median(np.abs(values - np.median(values))))
