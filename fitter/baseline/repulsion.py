"""Where the data end and the repulsion takes over, for each pair of species."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import TypeAlias

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray

__all__ = ["Repulsion", "ShortRange", "fade", "repulsion_of", "short_range", "smooth_step"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ShortRange:
    """Short range of one pair of species.

    Attributes:
        shortest: shortest distance in the data, Å; the process is faded out below it.
        inner: the ZBL repulsion is complete below this distance, Å.
        outer: it is zero beyond this distance, Å.
    """

    shortest: float
    inner: float
    outer: float

    @classmethod
    def from_shortest(cls, shortest: float) -> ShortRange:
        """The repulsion for data that come as near as `shortest`.

        It reaches a quarter beyond the shortest distance, so that the process has to learn only a
        correction where the data end and the bare repulsion takes over as the data thin out.
        """
        return cls(shortest, 0.7 * shortest, 1.25 * shortest)

    @classmethod
    def without_data(cls, a: int, b: int) -> ShortRange:
        """The repulsion of two elements that the data never bring together, from covalent radii."""
        return cls.from_shortest(0.8 * float(covalent_radii[a] + covalent_radii[b]))

    @property
    def fading(self) -> float:
        """Å; the process is complete at and above it. It lies a little below the data, which the error
        of a spline at the beginning of the fading then does not reach."""
        return 0.88 * self.shortest

    @property
    def faded(self) -> float:
        """Å; the process is zero below it."""
        return 0.35 * self.shortest


Repulsion: TypeAlias = Mapping[tuple[int, int], ShortRange]
"""By pair of atomic numbers, the lower one first; empty without a repulsion."""


def fade(pair: ShortRange | None, r: Array) -> Array:
    """Factor that removes the process below the data: 1 at r >= fading, 0 at r <= faded."""
    if pair is None:
        return np.ones_like(r)
    return smooth_step((r - pair.faded) / (pair.fading - pair.faded))


def smooth_step(x: Array) -> Array:
    """0 for x <= 0, 1 for x >= 1.

    All derivatives vanish at both ends: the error of a spline through it stays where it is steep, far
    below the data, instead of spreading from a kink.
    """
    x = np.clip(x, 0.0, 1.0)
    with np.errstate(divide="ignore", over="ignore"):
        return np.asarray(1.0 / (1.0 + np.exp(1.0 / x - 1.0 / (1.0 - x))))


def short_range(repulsion: Repulsion, a: int, b: int) -> ShortRange | None:
    """The short range of a pair of atomic numbers in any order; None without a repulsion."""
    return repulsion.get((min(a, b), max(a, b)))


def repulsion_of(
    species: tuple[int, ...], shortest: Mapping[tuple[int, int], float]
) -> dict[tuple[int, int], ShortRange]:
    """The repulsion of every pair of species, from the data's shortest distances."""
    return {
        (a, b): ShortRange.from_shortest(shortest[a, b])
        if (a, b) in shortest
        else ShortRange.without_data(a, b)
        for a, b in combinations_with_replacement(species, 2)
    }
