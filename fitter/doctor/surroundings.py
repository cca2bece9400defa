"""Distances in a frame, and features of its atoms that no rotation or permutation changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.potentials import _core
from numpy.typing import NDArray

__all__ = [
    "BINS",
    "REACH",
    "WIDTH",
    "Neighbours",
    "Pair",
    "Surroundings",
    "neighbours",
    "stacked",
    "surroundings_of",
]

Array = NDArray[np.float64]
Integers = NDArray[np.intp]
Pair = tuple[int, int]

REACH = 6.0
"""Å; distances are counted up to here."""

WIDTH = 0.05
"""Å; width of the bins of distances."""

BINS = round(REACH / WIDTH)

POWERS = (2, 4, 8)
"""Radial functions (1 - r / REACH)**power, which end smoothly."""

N_SCALARS, N_VECTORS, N_TENSORS = 2 * len(POWERS), len(POWERS), len(POWERS)


@dataclass(frozen=True)
class Neighbours:
    """All pairs of a frame within a reach, both ways, in the order of their first atoms.

    Attributes:
        first, second: (m,) numbers of the atoms.
        vectors: (m, 3) from the first to the second, Å.
        distances: (m,) Å.
    """

    first: Integers
    second: Integers
    vectors: Array
    distances: Array


def neighbours(frame: Frame, reach: float) -> Neighbours:
    """The pairs of a frame within `reach`, Å."""
    table = _core.neighbor_list(
        np.ascontiguousarray(frame.positions),
        np.ascontiguousarray(frame.cell),
        np.ascontiguousarray(frame.pbc),
        reach,
    )
    first, second = table[:, 0].astype(np.intp), table[:, 1].astype(np.intp)
    vectors = frame.positions[second] - frame.positions[first] + table[:, 2:] @ frame.cell
    return Neighbours(first, second, vectors, np.linalg.norm(vectors, axis=1))


@dataclass(frozen=True)
class Surroundings:
    """What the examinations use of a frame's distances.

    Attributes:
        nearest: (n,) distance of each atom to its nearest neighbour, Å; infinite beyond REACH.
        closest: by pair of elements, their shortest distance, Å.
        counts: by pair of elements, how many distances fall into each bin, (BINS,), both ways.
        lopsided: (n,) from 0, where neighbours pull an atom to all sides alike, as symmetry may demand,
            to 1.
        features: (n, 12) sums over neighbours that no rotation, reflection or permutation changes.
        fingerprint: averages over the atoms, the same for a crystal and its supercells.
    """

    nearest: Array
    closest: dict[Pair, float]
    counts: dict[Pair, NDArray[np.int64]]
    lopsided: Array
    features: NDArray[np.float32]
    fingerprint: Array


def surroundings_of(frame: Frame) -> Surroundings:
    """The surroundings of one frame."""
    found = neighbours(frame, REACH)
    n = len(frame.numbers)
    nearest = np.full(n, np.inf)
    np.minimum.at(nearest, found.first, found.distances)
    closest: dict[Pair, float] = {}
    counts: dict[Pair, NDArray[np.int64]] = {}
    for pair, chosen in _by_pair(frame, found):
        closest[pair] = float(chosen.min())
        counts[pair] = np.bincount((chosen / WIDTH).astype(np.intp), minlength=BINS)[:BINS]
    features, lopsided = _features(frame.numbers, found)
    return Surroundings(
        nearest,
        closest,
        counts,
        lopsided,
        features.astype(np.float32),
        _fingerprint(frame.numbers, features),
    )


def _by_pair(frame: Frame, found: Neighbours) -> Iterator[tuple[Pair, Array]]:
    """Distances of each pair of elements that has any, lower atomic number first."""
    species = np.unique(frame.numbers)
    if len(species) == 1:
        if len(found.distances):
            yield (int(species[0]), int(species[0])), found.distances
        return
    a, b = frame.numbers[found.first], frame.numbers[found.second]
    keys = np.minimum(a, b).astype(np.intp) * 1000 + np.maximum(a, b)
    for key in np.unique(keys):
        yield (int(key) // 1000, int(key) % 1000), found.distances[keys == key]


def _weights(numbers: NDArray[np.integer]) -> Array:
    """A number from 0.5 to 1.5 for each element, unlike those of others."""
    return np.asarray(0.5 + (numbers * 0.6180339887498949) % 1.0)


def _features(numbers: NDArray[np.int32], found: Neighbours) -> tuple[Array, Array]:
    """Features (n, 12) of the atoms, and how lopsided their surroundings are, (n,)."""
    n = len(numbers)
    if not len(found.first):
        return np.zeros((n, N_SCALARS + N_VECTORS + N_TENSORS)), np.zeros(n)
    radial = (1.0 - found.distances / REACH)[:, None] ** np.array(POWERS)
    weighted = radial * _weights(numbers)[found.second][:, None]
    unit = found.vectors / found.distances[:, None]
    rows, columns = np.triu_indices(3)
    products = unit[:, rows] * unit[:, columns]
    parts = np.concatenate(
        [
            radial,
            weighted,
            (weighted[:, :, None] * unit[:, None, :]).reshape(len(unit), -1),
            (weighted[:, :, None] * products[:, None, :]).reshape(len(unit), -1),
        ],
        axis=1,
    )
    sums = np.zeros((n, parts.shape[1]))
    starts = np.flatnonzero(np.diff(found.first, prepend=-1))
    sums[found.first[starts]] = np.add.reduceat(parts, starts, axis=0)
    scalars = sums[:, :N_SCALARS]
    vectors = sums[:, N_SCALARS : N_SCALARS + 3 * N_VECTORS].reshape(n, N_VECTORS, 3)
    tensors = sums[:, N_SCALARS + 3 * N_VECTORS :].reshape(n, N_TENSORS, 6)
    twice = np.where(rows == columns, 1.0, 2.0)
    pull = np.linalg.norm(vectors, axis=2)
    with np.errstate(invalid="ignore"):
        share = pull / scalars[:, len(POWERS) :]
    features = np.concatenate([scalars, pull, np.sqrt((tensors**2 * twice).sum(axis=2))], axis=1)
    return features, np.nan_to_num(share.max(axis=1))


def _fingerprint(numbers: NDArray[np.int32], features: Array) -> Array:
    own = _weights(numbers)[:, None]
    return np.concatenate(
        [
            features.mean(axis=0),
            (features * own).mean(axis=0),
            np.sqrt((features**2).mean(axis=0)),
            [float(own.mean()), float((own**2).mean())],
        ]
    )


def stacked(surroundings: Sequence[Surroundings]) -> Array:
    """The fingerprints of frames, (frames, numbers)."""
    return np.array([each.fingerprint for each in surroundings])
