"""Pairs of frames that differ little: change of the energy against the work of forces and stresses.

Between two frames of the same atoms the energy changes by

    E2 - E1 = -sum F . dx + V sum stress . strain

with forces and stress of the middle, where dx is the move of the atoms beyond the strain of the cell.
The mean of the labels at both ends takes their place (trapezoidal rule); the error of this is of third
order in the distance of the frames, and vanishes for harmonic energies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from ase.geometry import complete_cell
from forcemap.fitter.data.frame import Frame
from forcemap.potentials.voigt import six_of
from numpy.typing import NDArray
from scipy.spatial import cKDTree

__all__ = ["Pairs", "pairs_of"]

Array = NDArray[np.float64]
Integers = NDArray[np.intp]

FARTHEST = 0.7
"""Å; largest move of an atom between the frames of a pair."""

LARGEST_STRAIN = 0.12

STILL = 1e-6
"""Å, or strain; smaller moves are rounding."""

MOST_PAIRS = 1500
"""Pairs of a group that are evaluated, evenly chosen."""

NEAREST = 2
"""Frames of the most similar cells that each frame is paired with, beside the one before it."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of frames of a group.

    Attributes:
        first, second: (m,) places of the frames in the sequence that they come from.
        changes: (m,) of the energies, eV.
        of_forces: (m,) work of the forces, as change of the energy, eV; 0 where nothing moves.
        moved: (m,) sum of the sizes of all its contributions, eV; its scale where they cancel.
        strains: (m, 6) volume times strain, Å³, off-diagonals doubled, in the order of `voigt`.
        stresses: (m, 6) mean stress, eV/Å³; 0 where there is no strain.
        sizes: (m, 6) the same of the absolute values of both frames.
        volumes: (m,) of the middle of both, Å³.
    """

    first: Integers
    second: Integers
    changes: Array
    of_forces: Array
    moved: Array
    strains: Array
    stresses: Array
    sizes: Array
    volumes: Array

    @property
    def count(self) -> int:
        """Number of pairs."""
        return len(self.changes)

    @property
    def of_stresses(self) -> Array:
        """(m,) work of the stresses, eV."""
        return np.asarray(np.sum(self.strains * self.stresses, axis=1))

    @property
    def strained(self) -> Array:
        """(m,) sum of the sizes of all its contributions, eV."""
        return np.asarray(np.sum(np.abs(self.strains) * self.sizes, axis=1))

    @property
    def largest_strain(self) -> Array:
        """(m,) largest component of the strain."""
        return np.asarray(np.abs(self.strains).max(axis=1) / self.volumes)


class _Works(NamedTuple):
    change: float
    of_forces: float
    moved: float
    strains: Array
    stresses: Array
    sizes: Array
    volume: float


def pairs_of(frames: Sequence[Frame]) -> Pairs:
    """Pairs of frames with energies, each with the one before it and with those of similar cells."""
    classes: dict[tuple[bytes, bytes], list[int]] = {}
    for place, frame in enumerate(frames):
        if frame.energy is not None and (frame.forces is not None or frame.stress is not None):
            classes.setdefault((frame.numbers.tobytes(), frame.pbc.tobytes()), []).append(place)
    chosen = sorted({pair for members in classes.values() for pair in _near(frames, members)})
    chosen = chosen[:: max(1, -(-len(chosen) // MOST_PAIRS))]
    found = [(a, b, works) for a, b in chosen if (works := _works(frames[a], frames[b]))]
    places = np.array([(a, b) for a, b, _ in found], dtype=np.intp).reshape(-1, 2)

    def column(name: str, width: int) -> Array:
        values = np.array([getattr(works, name) for *_, works in found], dtype=float)
        return values.reshape(-1, width) if width > 1 else values

    widths = {"change": 1, "of_forces": 1, "moved": 1, "strains": 6, "stresses": 6, "sizes": 6}
    widths["volume"] = 1
    return Pairs(*places.T, *(column(name, width) for name, width in widths.items()))


def _near(frames: Sequence[Frame], members: Sequence[int]) -> Iterator[tuple[int, int]]:
    for n in range(1, len(members)):
        yield members[n - 1], members[n]
    if len(members) < 3:
        return
    cells = np.array([frames[n].cell.ravel() for n in members])
    # Frames of one and the same cell are near by their order only.
    distinct, places = np.unique(cells.round(6), axis=0, return_index=True)
    if len(distinct) < 3:
        return
    _, near = cKDTree(distinct).query(distinct, k=min(NEAREST + 1, len(distinct)))
    for own, others in zip(places, places[near], strict=True):
        for other in others:
            if other != own:
                yield min(members[own], members[other]), max(members[own], members[other])


def _works(a: Frame, b: Frame) -> _Works | None:
    """Change of the energy and the works between two frames; None if they are too far apart."""
    assert a.energy is not None
    assert b.energy is not None
    moves = _moves(a, b)
    if moves is None:
        return None
    gradient, mean, steps = moves
    by_forces = moved = 0.0
    if a.forces is not None and b.forces is not None and a.labelled.all() and b.labelled.all():
        by_forces = float(-0.5 * np.sum((a.forces + b.forces) * steps))
        moved = float(0.5 * np.sum(np.abs(a.forces * steps) + np.abs(b.forces * steps)))
    elif np.abs(steps).max(initial=0.0) > STILL:
        return None
    strains: Any = np.zeros(6)
    stresses, sizes = strains, strains
    volume = max(abs(float(np.linalg.det(mean))), 1e-12)
    if np.abs(gradient).max() > STILL:
        if a.stress is None or b.stress is None:
            return None
        doubled = np.where(np.arange(6) < 3, 1.0, 2.0)
        strain = 0.5 * (gradient + gradient.T)
        strains = np.asarray(volume * doubled * six_of(strain))
        stresses = 0.5 * six_of(a.stress + b.stress)
        sizes = 0.5 * six_of(np.abs(a.stress) + np.abs(b.stress))
    return _Works(b.energy - a.energy, by_forces, moved, strains, stresses, sizes, volume)


def _moves(a: Frame, b: Frame) -> tuple[Array, Array, Array] | None:
    """Gradient of the displacement (3, 3), cell in the middle, further steps of the atoms (n, 3), Å.

    Strain and steps refer to the middle of both frames, where no error of second order is left.
    """
    mean = 0.5 * (a.cell + b.cell)
    gradient: Any = np.zeros((3, 3))
    if np.all(a.pbc):
        gradient = np.asarray(np.linalg.solve(mean, b.cell - a.cell), dtype=np.float64)
        if np.abs(gradient).max() > LARGEST_STRAIN:
            return None
        moved = np.linalg.solve(b.cell.T, b.positions.T) - np.linalg.solve(a.cell.T, a.positions.T)
        steps = (moved - np.round(moved)).T @ mean
        steps -= steps.mean(axis=0)
    elif np.abs(a.cell[a.pbc] - b.cell[b.pbc]).max(initial=0.0) > STILL:
        return None
    else:
        steps = _open_steps(a, b)
    return (gradient, mean, steps) if np.abs(steps).max(initial=0.0) < FARTHEST else None


def _open_steps(a: Frame, b: Frame) -> Array:
    """Moves of the atoms, (n, 3) Å, across periodic directions if there are any."""
    steps = b.positions - a.positions
    if not a.pbc.any():
        return np.asarray(steps)
    cell = np.array(complete_cell(a.cell))
    moved = np.linalg.solve(cell.T, steps.T).T
    return np.asarray(steps - (np.round(moved) * a.pbc) @ cell)
