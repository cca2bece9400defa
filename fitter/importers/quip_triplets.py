"""QUIP's descriptors of three atoms as triplet functions: angle_3b, and distance_Nb of order 3.

They stay sums over sparse points: with narrow covariances, piecewise polynomials and a cutoff whose
second derivative jumps, splines of three distances would need more memory than there is.

What an instance is, with distances r_12, r_13 and r_23 of atoms 1, 2 and 3:

- angle_3b has (r_12 + r_13, (r_12 - r_13)², r_23) of a centre 1 and two neighbours, in both orders.
- distance_Nb of order 3 has the three distances of a triangle with two sides or more within the cutoff,
  once, its atoms by increasing atomic number; the cutoff factor is ab + bc + ca - 2 abc, with a, b and
  c those of the sides. That is the sum over its atoms of the factors of the sides that meet there times
  1 - 2/3 that of the side opposite.
- With compact_clusters=T it is an instance for every atom with two neighbours within the cutoff,
  the factors of these two sides; this atom comes first and the neighbours by atomic number. The
  permutations stay those of the triangle. Where two neighbours are of one species and no permutation
  exchanges them, QUIP's energy depends on which of them comes first in the list of atoms.

A covariance with permutations P is sum_P k(P x, y) / sqrt(sum_P k(P x, x) sum_P k(P y, y)).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal, NoReturn

import numpy as np
from forcemap.fitter.importers.gap import Array, Coordinate
from forcemap.fitter.importers.quip_functions import (
    Cutoff,
    atomic_number,
    refuse,
    species_pairs,
    stationary,
    symmetrised_theta,
)
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.terms.base import Triplet
from forcemap.potentials.terms.three_body_kernel import ThreeBodyKernelSums, ThreeBodyPoints

__all__ = ["triplet_terms"]

SIDES = {(0, 1): 0, (0, 2): 1, (1, 2): 2}
"""Places of a triangle's distances among a descriptor's numbers, by places of the atoms."""

LEGS = (1, 0, 2)
"""The permutation of a centre's coordinates that exchanges its neighbours."""


def triplet_terms(
    coordinates: Sequence[Coordinate], species: Sequence[int], symmetrise: bool
) -> list[ThreeBodyKernelSums]:
    """The triplet functions of some coordinates, in as few terms as there can be.

    Args:
        coordinates: of the kind angle_3b, or distance_Nb of order 3.
        species: atomic numbers of the potential, which a descriptor without species is for.
        symmetrise: takes the mean of an energy that depends on the order of atoms, over both orders.

    Raises:
        ForcemapError: what cannot be brought in, and what could be done.
    """
    terms: list[ThreeBodyKernelSums] = []
    for coordinate in coordinates:
        for found in _terms(coordinate, species, symmetrise):
            for place, term in enumerate(terms):
                if _joinable(term, found):
                    terms[place] = replace(term, tables={**term.tables, **found.tables})
                    break
            else:
                terms.append(found)
    return terms


def _joinable(a: ThreeBodyKernelSums, b: ThreeBodyKernelSums) -> bool:
    alike = {**a.document(), "tables": None} == {**b.document(), "tables": None}
    return alike and not set(a.tables) & set(b.tables)


@dataclass(frozen=True, eq=False)
class _Sum:
    """The sum over sparse points of a coordinate, before species and counting are known.

    Attributes:
        coordinate: the whole.
        points: (n, 3), not permuted.
        factors: (n,) eV, over the square root of what a point's covariance with itself is.
        constant: eV.
        theta: (3,).
        permutations: a group; each once.
    """

    coordinate: Coordinate
    points: Array
    factors: Array
    constant: float
    theta: Array
    permutations: list[tuple[int, ...]]

    @classmethod
    def of(cls, coordinate: Coordinate) -> _Sum:
        if coordinate.points.shape[1] != 3:
            coordinate.fail(
                f"has points of {coordinate.points.shape[1]} numbers, expected the 3 of "
                f"{coordinate.kind}"
            )
        theta = symmetrised_theta(coordinate)
        permutations = sorted({tuple(int(n) for n in p) for p in coordinate.permutations})
        products = {tuple(a[n] for n in b) for a, b in product(permutations, permutations)}
        if products != set(permutations):
            coordinate.fail("<permutation>: expected all permutations that follow from those there")
        scaled = coordinate.points / theta
        square = [((scaled[:, p] - scaled) ** 2).sum(axis=1) for p in permutations]
        own = sum(stationary(coordinate.covariance, one, 3)[0] for one in square)
        shares = coordinate.alphas * coordinate.point_cutoffs
        return cls(
            coordinate,
            coordinate.points,
            coordinate.delta**2 * shares / np.sqrt(own),
            coordinate.f0**2 * float(shares.sum()),
            theta,
            permutations,
        )

    def table(self, factor: float) -> ThreeBodyPoints:
        """The points with all their permutations, for a centre; energies times `factor`."""
        images = np.array([self.points[:, p] for p in self.permutations])
        return ThreeBodyPoints(
            images.reshape(-1, 3),
            np.tile(factor * self.factors, len(self.permutations)),
            np.array([factor * self.constant]),
            self.theta,
            np.array(self.permutations, dtype=np.float64),
        )

    def reordered(self, order: Sequence[int]) -> _Sum:
        """The same with the coordinates `order` of these."""
        inverse = [list(order).index(n) for n in range(3)]
        return replace(
            self,
            points=self.points[:, list(order)],
            theta=self.theta[list(order)],
            permutations=[tuple(inverse[p[n]] for n in order) for p in self.permutations],
        )

    def term(
        self,
        tables: dict[Triplet, ThreeBodyPoints],
        coordinates: Literal["distances", "sums"],
        weight: Literal["center", "cluster"] = "center",
        pairs: Literal["unordered", "ordered"] = "unordered",
    ) -> ThreeBodyKernelSums:
        cutoff = Cutoff.of(self.coordinate)
        covariance: Literal["wendland", "squared_exponential"] = (
            "wendland" if self.coordinate.covariance == "pp" else "squared_exponential"
        )
        return ThreeBodyKernelSums(
            cutoff.outer, cutoff.width, coordinates, covariance, weight, pairs, tables
        )


def _terms(
    coordinate: Coordinate, species: Sequence[int], symmetrise: bool
) -> Iterator[ThreeBodyKernelSums]:
    points = _Sum.of(coordinate)
    if coordinate.kind == "angle_3b":
        yield _angles(points, species)
        return
    z = sorted(coordinate.arguments.integers("Z"))
    if len(z) != 3 or z[0] < 1:
        coordinate.arguments.fail_at("Z", "are not the atomic numbers of three species")
    if coordinate.arguments.truth("compact_clusters", True):
        yield from _centers(points, z, symmetrise)
    else:
        yield _triangles(points, z)


def _angles(points: _Sum, species: Sequence[int]) -> ThreeBodyKernelSums:
    coordinate = points.coordinate
    refuse(coordinate, "only_intra", "only_inter", "resid_name")
    if points.permutations != [(0, 1, 2)]:
        coordinate.fail(f"permutes the numbers of {coordinate.kind}, which has none to permute")
    center = atomic_number(coordinate, "Z", "Z_center")
    z1, z2 = (atomic_number(coordinate, name) for name in ("Z1", "Z2"))
    neighbors = species_pairs([z1] if z1 else species, [z2] if z2 else species, species)
    table = points.table(2.0)
    tables = {
        _symbols(c, *pair): table for c in ([center] if center else species) for pair in neighbors
    }
    return points.term(tables, "sums")


def _triangles(points: _Sum, z: Sequence[int]) -> ThreeBodyKernelSums:
    """Triangles with atoms by increasing atomic number, from each of their atoms."""
    tables = {}
    for center in range(3):
        j, k = (place for place in range(3) if place != center)
        sides = ((center, j), (center, k), (j, k))
        seen = points.reordered([SIDES[min(side), max(side)] for side in sides])
        tables[_symbols(z[center], z[j], z[k])] = seen.table(1.0)
    for a, b in ((0, 1), (1, 2)):
        if z[a] == z[b] and _exchange(a, b) not in points.permutations:
            _order_counts(points.coordinate, z[a])
    return points.term(tables, "distances", "cluster")


def _centers(points: _Sum, z: Sequence[int], symmetrise: bool) -> Iterator[ThreeBodyKernelSums]:
    """Centres and neighbours by increasing atomic number."""
    tables, ordered = {}, {}
    for center in range(3):
        j, k = (z[place] for place in range(3) if place != center)
        triplet = _symbols(z[center], j, k)
        if j != k or LEGS in points.permutations:
            tables[triplet] = points.table(1.0)
        elif symmetrise:
            ordered[triplet] = points.table(0.5)
        else:
            _order_counts(points.coordinate, j)
    yield points.term(tables, "distances")
    if ordered:
        yield points.term(ordered, "distances", pairs="ordered")


def _exchange(a: int, b: int) -> tuple[int, ...]:
    """The permutation of a triangle's sides that exchanges two of its atoms."""
    atoms = [0, 1, 2]
    atoms[a], atoms[b] = atoms[b], atoms[a]
    sides = [(atoms[i], atoms[j]) for i, j in SIDES]
    return tuple(SIDES[min(side), max(side)] for side in sides)


def _order_counts(coordinate: Coordinate, z: int) -> NoReturn:
    symbol = SYMBOLS[z]
    coordinate.fail(
        f"QUIP's energy depends on the order of two {symbol} atoms in the list of atoms, since no "
        "<permutation> exchanges them: no potential can have that; take the mean over both orders "
        "with --symmetrise, or fit with compact_clusters=F"
    )


def _symbols(center: int, first: int, second: int) -> Triplet:
    return SYMBOLS[center], SYMBOLS[min(first, second)], SYMBOLS[max(first, second)]
