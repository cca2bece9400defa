"""What QUIP's descriptors of few distances share: cutoff, covariances, species.

Bartók and Csányi, Int. J. Quantum Chem. 115, 1051 (2015), DOI 10.1002/qua.24927; the piecewise
polynomials of compact support in Rasmussen and Williams, Gaussian Processes for Machine Learning
(2006), section 4.2.1. Where a convention is in neither, QUIP's own numbers have decided (the tests
compare with quippy).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any, TypeAlias

import numpy as np
from forcemap.fitter.importers.gap import Array, Coordinate
from forcemap.potentials.elements import SYMBOLS

__all__ = [
    "Cutoff",
    "polynomial_power",
    "species_pairs",
    "stationary",
    "symmetrised_theta",
]

Numbers: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
"""Of double precision or more, which results have as well."""

WIDTH = 0.5
"""QUIP's own cutoff_transition_width, Å."""


@dataclass(frozen=True)
class Cutoff:
    """1 up to `inner`, half a cosine from there to `outer`, 0 beyond; distances in Å."""

    outer: float
    width: float

    @classmethod
    def of(cls, coordinate: Coordinate) -> Cutoff:
        """The cutoff of a descriptor. Raises ForcemapError if it has none that can be brought in."""
        arguments = coordinate.arguments
        outer = arguments.number("cutoff")
        width = arguments.number("cutoff_transition_width", WIDTH)
        if not 0.0 < outer <= 100.0:
            arguments.fail_at("cutoff", "is not between 0 and 100 Å")
        if width <= 0.0:
            arguments.fail_at(
                "cutoff_transition_width", "leaves a step at the cutoff; a width is above 0 Å"
            )
        return cls(outer, width)

    @property
    def inner(self) -> float:
        """Where the cosine begins, Å; may be below 0."""
        return self.outer - self.width

    def cosine(self, r: Numbers) -> tuple[Numbers, Numbers]:
        """Half a cosine, also below `inner` and above `outer`, with its slope (1/Å)."""
        scale = np.arccos(r.dtype.type(-1.0)) / self.width
        angle = scale * (r - self.inner)
        return 0.5 * (1.0 + np.cos(angle)), -0.5 * scale * np.sin(angle)


def polynomial_power(dimension: int) -> int:
    """The power n of the piecewise polynomial (1 - d)^n (n d + 1) for points of so many numbers."""
    return dimension // 2 + 3


def stationary(covariance: str, square: Numbers, dimension: int) -> tuple[Numbers, Numbers]:
    """A covariance of points whose scaled distance has this square, and its slope by the square."""
    if covariance == "ard_se":
        value = np.exp(-0.5 * square)
        return value, -0.5 * value
    n = polynomial_power(dimension)
    d = np.sqrt(square)
    inside = np.maximum(1.0 - d, 0.0)
    power = inside * inside
    for _ in range(n - 3):  # faster than powers are
        power = power * inside
    return power * inside * (n * d + 1.0), -0.5 * n * (n + 1) * power


def symmetrised_theta(coordinate: Coordinate) -> Array:
    """Length scales averaged over the permutations of a descriptor, as QUIP does.

    Raises ForcemapError for a covariance that is not one of distances between points.
    """
    if coordinate.theta is None or coordinate.covariance not in {"ard_se", "pp"}:
        coordinate.fail(
            f"the covariance {coordinate.covariance} of {coordinate.kind} cannot be imported; "
            "ard_se and pp can: fit with covariance_type=ard_se or pp"
        )
    return np.asarray(coordinate.theta[coordinate.permutations].mean(axis=0))


def species_pairs(
    first: Iterable[int], second: Iterable[int], species: Iterable[int]
) -> list[tuple[int, int]]:
    """Unordered pairs of `species` of which one is among `first` and the other among `second`."""
    a, b = set(first), set(second)
    return [
        (x, y)
        for x, y in combinations_with_replacement(sorted(species), 2)
        if (x in a and y in b) or (y in a and x in b)
    ]


def atomic_number(coordinate: Coordinate, *names: str) -> int:
    """The atomic number that one of these arguments gives; 0, which stands for any, without one."""
    name = coordinate.arguments.last_of(*names)
    if name is None:
        return 0
    number = coordinate.arguments.integer(name)
    if not 0 <= number < len(SYMBOLS):
        coordinate.arguments.fail_at(
            name, f"is no atomic number from 1 to {len(SYMBOLS) - 1} (0: any)"
        )
    return number


def refuse(coordinate: Coordinate, *names: str) -> None:
    """Raise ForcemapError if one of these arguments, which change what a descriptor sees, is given."""
    for name in names:
        if name in coordinate.arguments and coordinate.arguments[name] not in {"F", "f", ""}:
            coordinate.arguments.fail_at(
                name, f"of {coordinate.kind} cannot be imported; fit without it"
            )
