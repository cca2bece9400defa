"""QUIP's descriptors of two atoms as pair functions: distance_2b, and distance_Nb of order 2.

An instance's energy (`Coordinate`) is a function of r alone. With the cosine factor c(r) of the cutoff
it is g(r) below the transition and c(r) g(r) in it, whose second derivative jumps where the transition
begins. The parts (1 - c) g up to there and c g up to the cutoff have that sum, and either is smooth
over its own range.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from forcemap.fitter.importers.gap import Array, Coordinate
from forcemap.fitter.importers.pair_tables import Numbers, PairPart
from forcemap.fitter.importers.quip_functions import (
    Cutoff,
    atomic_number,
    refuse,
    species_pairs,
    stationary,
    symmetrised_theta,
)

__all__ = ["pair_parts"]

NEAREST_TAIL = 1e-3
"""erf(x) / x is a polynomial below."""

NEAREST = 1e-3
"""Å; powers of r below 0 are those of this distance where r is shorter."""


@dataclass(frozen=True, eq=False)
class _Sum:
    """The sum over sparse points of one coordinate, without the cutoff: a function g of r.

    Attributes:
        covariance: "ard_se" or "pp".
        exponents: (dimension,) the descriptor has the powers r**exponents.
        theta: (dimension,) length scales.
        points: (n, dimension).
        factors: (n,) eV.
        constant: eV.
        tail: (exponent, range) of the factor (erf(range r) / r)**exponent.
    """

    covariance: str
    exponents: Array
    theta: Array
    points: Array
    factors: Array
    constant: float
    tail: tuple[int, float]

    def __call__(self, r: Numbers) -> tuple[Numbers, Numbers]:
        value = np.full_like(r, self.constant)
        slope = np.zeros_like(r)
        distance = r if (self.exponents >= 0.0).all() else np.maximum(r, NEAREST)
        exponents = self.exponents.astype(r.dtype)
        powers = [r if p == 1.0 else distance**p for p in exponents]
        slopes = [np.ones_like(r) if p == 1.0 else p * distance ** (p - 1) for p in exponents]
        dimension = len(self.exponents)
        for point, factor in zip(self.points, self.factors, strict=True):
            square, by_r = np.zeros_like(r), np.zeros_like(r)
            for x, dx, s, scale in zip(powers, slopes, point, self.theta, strict=True):
                square = square + ((x - s) / scale) ** 2
                by_r = by_r + 2.0 * (x - s) / scale**2 * dx
            k, by_square = stationary(self.covariance, square, dimension)
            value += factor * k
            slope += factor * by_square * by_r
        return self._with_tail(r, value, slope)

    def _with_tail(self, r: Numbers, value: Numbers, slope: Numbers) -> tuple[Numbers, Numbers]:
        exponent, scale = self.tail
        if exponent == 0:
            return value, slope
        from scipy.special import erf

        x = scale * r
        far = np.maximum(x, NEAREST_TAIL)
        square = x * x
        limit = 2.0 / np.sqrt(np.pi)
        base = np.where(
            x < NEAREST_TAIL,
            limit * (1.0 - square / 3.0 + square * square / 10.0),
            erf(far.astype(np.float64)) / far,
        )
        by_x = np.where(
            x < NEAREST_TAIL,
            limit * x * (-2.0 / 3.0 + 0.4 * square),
            (limit * np.exp(-far * far) - base) / far,
        )
        base, by_r = scale * base, scale**2 * by_x
        factor = base**exponent
        by_r = exponent * base ** (exponent - 1) * by_r
        return value * factor, slope * factor + value * by_r


def pair_parts(coordinate: Coordinate, species: Sequence[int]) -> list[PairPart]:
    """The pair functions of a coordinate.

    Args:
        coordinate: of the kind distance_2b, or distance_Nb of order 2.
        species: atomic numbers of the potential, which a descriptor without species is for.

    Raises:
        ForcemapError: what cannot be brought in, and what could be done.
    """
    cutoff = Cutoff.of(coordinate)
    if coordinate.kind == "distance_2b":
        refuse(coordinate, "only_intra", "only_inter", "resid_name")
        pairs, counted = _of_distance(coordinate, species), 2
    else:
        pairs, counted = _of_cluster(coordinate)
    g = _sum(coordinate, counted)
    parts = []
    for pair in pairs:
        if cutoff.inner > 0.0:
            parts.append(PairPart(pair, cutoff.inner, _switched(g, cutoff, inside=True)))
        parts.append(PairPart(pair, cutoff.outer, _switched(g, cutoff, inside=False)))
    return parts


def _of_distance(coordinate: Coordinate, species: Sequence[int]) -> list[tuple[int, int]]:
    z1, z2 = (atomic_number(coordinate, name) for name in ("Z1", "Z2"))
    return species_pairs([z1] if z1 else species, [z2] if z2 else species, species)


def _of_cluster(coordinate: Coordinate) -> tuple[list[tuple[int, int]], int]:
    """The pair of species, and how often QUIP counts a pair of atoms: from both where compact."""
    z = coordinate.arguments.integers("Z")
    if len(z) != 2 or min(z) < 1:
        coordinate.arguments.fail_at("Z", "are not the atomic numbers of two species")
    low, high = sorted(z)
    return [(low, high)], 2 if coordinate.arguments.truth("compact_clusters", True) else 1


def _sum(coordinate: Coordinate, counted: int) -> _Sum:
    arguments = coordinate.arguments
    exponents = np.array(arguments.numbers("exponents", (1.0,)))
    dimension = coordinate.points.shape[1]
    if len(exponents) != dimension:
        coordinate.fail(
            f"has points of {dimension} numbers, expected {len(exponents)} (exponents) of a distance"
        )
    if (coordinate.permutations != np.arange(dimension)).any():
        coordinate.fail(f"permutes the numbers of {coordinate.kind}, which has none to permute")
    exponent = arguments.integer("tail_exponent", 0)
    scale = arguments.number("tail_range", 1.0)
    if not 0 <= exponent <= 100:
        arguments.fail_at("tail_exponent", "is not between 0 and 100")
    if scale <= 0.0:
        arguments.fail_at("tail_range", "is not above 0")
    shares = coordinate.alphas * coordinate.point_cutoffs
    # A table holds half the pair's energy; it counts from both atoms.
    half = 0.5 * counted
    return _Sum(
        coordinate.covariance,
        exponents,
        symmetrised_theta(coordinate),
        coordinate.points,
        half * coordinate.delta**2 * shares,
        half * coordinate.f0**2 * float(shares.sum()),
        (exponent, scale),
    )


def _switched(
    g: Callable[[Numbers], tuple[Numbers, Numbers]], cutoff: Cutoff, inside: bool
) -> Callable[[Numbers], tuple[Numbers, Numbers]]:
    """c g, or (1 - c) g `inside`."""

    def part(r: Numbers) -> tuple[Numbers, Numbers]:
        value, slope = g(r)
        c, dc = cutoff.cosine(r)
        if inside:
            c, dc = 1.0 - c, -dc
        return value * c, slope * c + value * dc

    return part
