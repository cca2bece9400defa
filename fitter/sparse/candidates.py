"""Candidates for sparse points: what a term's kernel sees in the data.

Memory does not grow with the data: every candidate gets a random key, and those with the smallest keys
stay.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.structure import Structure
from numpy.typing import NDArray

if TYPE_CHECKING:
    from forcemap.fitter.terms.base import Species, Term

__all__ = ["Pool", "candidate_pools", "most_candidates"]

Array = NDArray[np.float64]

MOST_CANDIDATES = 12_000
"""Kept of each combination of species; a uniform sample of all that the data hold."""

POOL_NUMBERS = 32_000_000
"""Doubles kept as candidates of a combination of species (256 MB), whatever the data."""


def most_candidates(dimension: int) -> int:
    """Candidates of a combination of species that are kept, of so many numbers each."""
    return max(100, min(MOST_CANDIDATES, POOL_NUMBERS // max(dimension, 1)))


@dataclass(frozen=True, eq=False)
class Pool:
    """Candidates of one combination of species.

    Attributes:
        points: (n, dimension), in the order of the data.
        groups: (n,) config_type of each one's frame.
        keys: (n,) random.
        lowest, largest: (dimension,) of all candidates of the data, kept or not.
        count: of all candidates.
    """

    points: Array
    groups: NDArray[np.str_]
    keys: Array
    lowest: Array
    largest: Array
    count: int

    def scaled(self, factor: float) -> Pool:
        """The candidates times a positive factor."""
        return replace(
            self,
            points=self.points * factor,
            lowest=self.lowest * factor,
            largest=self.largest * factor,
        )

    def merged(self, other: Pool) -> Pool:
        """Both, in this order."""
        return Pool(
            np.concatenate([self.points, other.points]),
            np.concatenate([self.groups, other.groups]),
            np.concatenate([self.keys, other.keys]),
            np.minimum(self.lowest, other.lowest),
            np.maximum(self.largest, other.largest),
            self.count + other.count,
        )

    def kept(self, most: int) -> Pool:
        """Those with the smallest keys, at most so many."""
        if len(self.keys) <= most:
            return self
        best = np.sort(np.argpartition(self.keys, most)[:most])
        return replace(
            self, points=self.points[best], groups=self.groups[best], keys=self.keys[best]
        )


def candidate_pools(
    frames: Sequence[Frame],
    term: Term,
    rng: np.random.Generator,
    most_seconds: float | None = None,
) -> tuple[dict[Species, Pool], int]:
    """Candidates of the data by combination of species, and the number of atoms looked at.

    Combinations that never occur are left out. With `most_seconds` no further frame is looked at after
    so long.
    """
    pools: dict[Species, Pool] = {}
    start, atoms = time.perf_counter(), 0
    for frame in frames:
        if atoms and most_seconds is not None and time.perf_counter() - start > most_seconds:
            break
        atoms += len(frame.numbers)
        structure = Structure(frame, term.cutoff, derivatives=False)
        for species, found in term.candidates(structure).items():
            if not len(found):
                continue
            some = Pool(
                found,
                np.full(len(found), frame.config_type),
                rng.random(len(found)),
                found.min(axis=0),
                found.max(axis=0),
                len(found),
            )
            most = most_candidates(found.shape[1])
            some = some.kept(most)
            if species in pools:
                some = pools[species].merged(some)
                if len(some.keys) > 2 * most:
                    some = some.kept(most)
            pools[species] = some
    kept = {
        species: _contiguous(pool.kept(most_candidates(pool.points.shape[1])))
        for species, pool in sorted(pools.items())
    }
    return kept, atoms


def _contiguous(pool: Pool) -> Pool:
    return replace(pool, points=np.ascontiguousarray(pool.points))
