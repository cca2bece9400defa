"""Warnings about frames and settings that are valid by themselves but make no sense together."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from forcemap.fitter.config import Settings
from forcemap.fitter.data.frame import Frame, data_hash
from forcemap.fitter.data.sampling import sample_of
from numpy.typing import NDArray

__all__ = [
    "structure_key",
    "warn_of_known_frames",
    "warn_of_shared_frames",
    "warn_of_short_cutoffs",
]

SAMPLE_ATOMS = 500
"""Number of atoms whose neighbours are counted."""

FAR = 15.0
"""Range of the search for a nearest neighbour, Å."""


def warn_of_shared_frames(train: Sequence[Frame], test: Sequence[Frame]) -> None:
    """Warn (UserWarning) of every test file that shares structures with the training data.

    Two structures are the same if their elements, positions, cell and periodicity are, whatever their
    labels. Isolated atoms, which are all alike, do not count.
    """
    known = {structure_key(frame) for frame in train} if test else set()
    frames: dict[str, list[bool]] = {}
    for frame in test:
        shared = len(frame.numbers) > 1 and structure_key(frame) in known
        frames.setdefault(frame.source, []).append(shared)
    for source, shared_ones in frames.items():
        if any(shared_ones):
            warnings.warn(
                f"{source}: {sum(shared_ones)} of {len(shared_ones)} frames are frames of the training "
                "data, so its errors say little",
                stacklevel=2,
            )


def warn_of_known_frames(train: Sequence[Frame], new: Sequence[Frame]) -> None:
    """Warn (UserWarning) of new frames whose structures are among the training frames."""
    known = {structure_key(frame) for frame in train}
    count = sum(structure_key(frame) in known for frame in new)
    if count:
        warnings.warn(
            f"{count} of {len(new)} new frames are frames of the training data already and "
            "count twice",
            stacklevel=2,
        )


def structure_key(frame: Frame) -> str:
    """Key shared by all frames of the same elements, positions, cell and periodicity."""
    return data_hash([replace(frame, energy=None, forces=None, stress=None, config_type="")])


def warn_of_short_cutoffs(settings: Settings, frames: Sequence[Frame]) -> None:
    """Warn (UserWarning) of cutoffs that leave most atoms without a neighbour.

    Such cutoffs are shorter than the median distance of nearest neighbours in some of the frames, and
    atoms have fewer than one neighbour within them on average.
    """
    cutoffs = {
        f"terms[{number}].cutoff": term.cutoff
        for number, term in enumerate(settings.terms)
        if term.cutoff is not None
    }
    if not cutoffs:
        return
    sample = [f for f in sample_of(frames, SAMPLE_ATOMS) if len(f.numbers) > 1 or np.any(f.pbc)]
    atoms = sum(len(frame.numbers) for frame in sample)
    if sum(map(len, _distances(sample, min(cutoffs.values())))) >= atoms:
        return  # nor is a longer cutoff too short; within it there may be a hundred times as many
    distances = _distances(sample, max(cutoffs.values()))
    short = {
        place: cutoff
        for place, cutoff in cutoffs.items()
        if sum(int((d < cutoff).sum()) for d in distances) < atoms
    }
    if not short:
        return
    nearest = np.array([d.min() for d in _distances(sample, FAR) if len(d)])
    for place, cutoff in short.items():
        if len(nearest) and cutoff < np.median(nearest):
            mean = sum(int((d < cutoff).sum()) for d in distances) / atoms
            warnings.warn(
                f"{place}: within {cutoff:g} Å the atoms have {mean:.2g} neighbours on average; in the "
                f"training frames nearest neighbours are {nearest.min():.3g} to {nearest.max():.3g} Å "
                f"apart (median {np.median(nearest):.3g} Å)",
                stacklevel=2,
            )


def _distances(frames: Sequence[Frame], reach: float) -> list[NDArray[np.float64]]:
    """Distances from each atom to its neighbours within `reach`, Å."""
    from ase.neighborlist import primitive_neighbor_list

    by_atom: list[NDArray[np.float64]] = []
    for frame in frames:
        owners, distances = primitive_neighbor_list(
            "id", frame.pbc, frame.cell, frame.positions, reach, numbers=frame.numbers
        )
        ends = np.searchsorted(owners, np.arange(1, len(frame.numbers)))
        by_atom += np.split(distances, ends)
    return by_atom
