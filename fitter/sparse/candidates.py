"""Candidates for sparse points: what a term's kernel sees in the data.

Memory does not grow with the data: every candidate gets a random key, and those with the smallest keys
stay.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.structure import Structure
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
) -> tuple[dict[Species, Pool], int]:
    """Candidates of the data by combination of species, and the number of atoms looked at.

    Combinations that never occur are left out. `most_seconds` is the time after which no further frame
    is looked at.
    """
    pools: dict[Species, Pool] = {}
    start, atoms = time.perf_counter(), 0
    for frame in frames:
        if atoms and most_seconds is not None and time.perf_counter() - start > most_seconds:
            break
        atoms += len(frame.numbers)
        structure = Structure(frame, term.cutoff, derivatives=False)
        for species, points in term.candidates(structure).items():
            if not len(points):
                continue
            some = Pool(
                points,
                np.full(len(points), frame.config_type),
                rng.random(len(points)),
                points.min(axis=0),
                points.max(axis=0),
                len(points),
            )
            most = most_candidates(points.shape[1])
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
