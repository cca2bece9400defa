"""Candidates for sparse points: what a term's kernel sees in the data.

Memory does not grow with the data: every candidate gets a random key, and those with the smallest keys
stay.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.sharing.threads import in_order
from forcemap.fitter.terms.base import Pool, Species, Term
from numpy.typing import NDArray

__all__ = ["Pool", "candidate_pools", "most_candidates"]

Array = NDArray[np.float64]

MOST_CANDIDATES = 12_000
"""Candidates kept for each combination of species, a uniform sample of those in the data."""

POOL_NUMBERS = 32_000_000
"""Doubles kept as candidates of a combination of species (256 MB), whatever the data."""


def most_candidates(dimension: int) -> int:
    """Number of candidates kept for a combination of species; each has `dimension` numbers."""
    return max(100, min(MOST_CANDIDATES, POOL_NUMBERS // max(dimension, 1)))


def candidate_pools(
    frames: Sequence[Frame],
    term: Term,
    rng: np.random.Generator,
    most_seconds: float | None = None,
    jobs: int = 1,
) -> tuple[dict[Species, Pool], int]:
    """Candidates of the data by combination of species, and the number of atoms looked at.

    Combinations that never occur are left out. `most_seconds` is the time after which no further frame
    is looked at. `jobs` threads look at frames; the candidates do not depend on their number.
    """

    def of_frame(frame: Frame) -> Mapping[Species, Array]:
        return term.candidates(Structure(frame, term.cutoff, derivatives=False))

    parts: dict[Species, _Parts] = {}
    start, atoms = time.perf_counter(), 0
    looked = in_order(of_frame, frames, jobs)
    for frame, found in zip(frames, looked, strict=False):
        atoms += len(frame.numbers)
        for species, points in found.items():
            if len(points):
                part = parts.setdefault(species, _Parts(most_candidates(points.shape[1])))
                part.add(points, frame.config_type, rng.random(len(points)))
        if most_seconds is not None and time.perf_counter() - start > most_seconds:
            break
    return {species: parts[species].pool() for species in sorted(parts)}, atoms


class _Parts:
    """Candidates of one combination of species, frame by frame, and those of them that stay.

    Those with the `most` smallest keys are sought out whenever there are twice as many, so that each is
    copied a few times, however many frames there are.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.parts: list[Pool] = []
        self.held = 0

    def add(self, points: Array, group: str, keys: Array) -> None:
        """Candidates (n, dimension) of a frame, n > 0, with their keys (n,)."""
        low, high = points.min(axis=0), points.max(axis=0)
        groups = np.full(len(points), group)
        self.parts.append(Pool(points, groups, keys, low, high, len(points)).kept(self.most))
        self.held += len(self.parts[-1].keys)
        if self.held > 2 * self.most:
            self.parts = [self.pool()]
            self.held = len(self.parts[0].keys)

    def pool(self) -> Pool:
        """Those that stay, in the order of the data."""
        keys = np.concatenate([part.keys for part in self.parts])
        best = np.arange(len(keys))
        if len(keys) > self.most:
            best = np.sort(np.argpartition(keys, self.most)[: self.most])
        return Pool(
            np.concatenate([part.points for part in self.parts])[best],
            np.concatenate([part.groups for part in self.parts])[best],
            keys[best],
            np.min([part.lowest for part in self.parts], axis=0),
            np.max([part.largest for part in self.parts], axis=0),
            sum(part.count for part in self.parts),
        )
