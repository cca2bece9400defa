"""Sets of frames that are the same structure, up to symmetry, with their labels in one orientation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from forcemap.fitter.data.frame import Frame, data_hash
from forcemap.fitter.doctor.alignment import Alignment, Side, align
from forcemap.fitter.doctor.surroundings import Surroundings, stacked
from forcemap.fitter.doctor.vacuum import opened
from numpy.typing import NDArray
from scipy.spatial import cKDTree

__all__ = ["Copies", "Member", "sets_of_copies"]

Array = NDArray[np.float64]

RADIUS = 1e-2
"""Fingerprints of copies with positions of three decimals are closer."""

MOST_PARTNERS = 3
"""Structures, the nearest by fingerprint, that a frame is compared with."""


@dataclass(frozen=True)
class Member:
    """One of several copies; labels are in the orientation and order of the first.

    Attributes:
        number: of the frame among all that were compared.
        exact: whether its numbers are those of the first, one by one.
        energy: eV per atom, or NaN.
        forces: (n, 3) on the atoms of the first frame, NaN where it has none.
        stress: (3, 3), NaN where it has none.
    """

    number: int
    exact: bool
    energy: float
    forces: Array
    stress: Array


@dataclass
class Copies:
    """Frames of one structure, at least two, in the order of their numbers."""

    members: list[Member] = field(default_factory=list)

    def deviations(self) -> Array:
        """(members, 3) of energy (eV per atom), force (eV/Å) and stress (eV/Å³) from the middle ones.

        Of two members each has the whole difference, since either may be at fault. NaN without labels.
        """
        parts = (
            np.array([member.energy for member in self.members])[:, None],
            np.stack([member.forces.ravel() for member in self.members]),
            np.stack([member.stress.ravel() for member in self.members]),
        )
        return np.stack([_from_middle(part) for part in parts], axis=1)


def _from_middle(values: Array) -> Array:
    """(members,) largest deviation of a member's values (members, m) from their medians."""
    labelled = ~np.isnan(values).all(axis=1)
    result = np.full(len(values), np.nan)
    if labelled.sum() < 2:
        return result
    known = values[labelled]
    if len(known) == 2:
        result[labelled] = np.nanmax(np.abs(known[0] - known[1]), initial=0.0)
    else:
        result[labelled] = np.nanmax(
            np.abs(known - np.nanmedian(known, axis=0)), axis=1, initial=0.0
        )
    return result


def sets_of_copies(
    frames: Sequence[Frame],
    surroundings: Sequence[Surroundings],
    advance: Callable[..., None] = lambda n=1: None,
) -> list[Copies]:
    """All structures that several frames share.

    Frames of a lone atom do not count, as they are all alike.
    """
    search = _Search(frames, surroundings)
    for number in np.argsort([len(frame.numbers) for frame in frames], kind="stable"):
        search.place(int(number))
        advance()
    found = [copies for copies in search.sets.values() if len(copies.members) > 1]
    for copies in found:
        copies.members.sort(key=lambda member: member.number)
    return sorted(found, key=lambda copies: copies.members[0].number)


class _Search:
    """Puts frames into sets, the smaller ones first: they stand for the larger ones."""

    def __init__(self, frames: Sequence[Frame], surroundings: Sequence[Surroundings]) -> None:
        self.frames = frames
        self.surroundings = surroundings
        self.places = stacked(surroundings)
        self.tree = cKDTree(self.places)
        self.sets: dict[int, Copies] = {}  # by the number of the frame that stands for it
        self.first_of = np.full(len(frames), -1)
        self.exact: dict[str, int] = {}
        self.sides: dict[int, Side] = {}

    def place(self, number: int) -> None:
        """Put a frame into its set, or begin one."""
        frame = self.frames[number]
        if len(frame.numbers) == 1 and np.isinf(self.surroundings[number].nearest).all():
            return
        key = _key(frame)
        if key in self.exact:
            first = int(self.first_of[self.exact[key]])
            same = Alignment(np.eye(3), np.arange(len(frame.numbers)), 0.0)
            if self.exact[key] == first:
                self._add(first, number, same, exact=True)
                return
        self.exact.setdefault(key, number)
        for first in self._nearest(number):
            found = align(self._side(first), self._side(number))
            if found is not None:
                self._add(first, number, found, exact=False)
                return
        self.first_of[number] = number
        same = Alignment(np.eye(3), np.arange(len(frame.numbers)), 0.0)
        self.sets[number] = Copies([_member(number, frame, frame, same, exact=True)])

    def _nearest(self, number: int) -> list[int]:
        """Frames that stand for sets, the nearest by fingerprint first."""
        near = np.array(self.tree.query_ball_point(self.places[number], RADIUS), dtype=np.intp)
        near = near[self.first_of[near] >= 0]
        distances = np.linalg.norm(self.places[near] - self.places[number], axis=1)
        order = near[np.argsort(distances, kind="stable")]
        return list(dict.fromkeys(self.first_of[order].tolist()))[:MOST_PARTNERS]

    def _side(self, number: int) -> Side:
        if number not in self.sides:
            if len(self.sides) > 1000:
                self.sides.clear()
            features = self.surroundings[number].features
            self.sides[number] = Side(opened(self.frames[number]), features)
        return self.sides[number]

    def _add(self, first: int, number: int, alignment: Alignment, exact: bool) -> None:
        self.first_of[number] = first
        member = _member(number, self.frames[number], self.frames[first], alignment, exact)
        self.sets[first].members.append(member)


def _key(frame: Frame) -> str:
    """Shared by frames of the same elements, positions, cell and periodicity."""
    return data_hash([replace(frame, energy=None, forces=None, stress=None, config_type="")])


def _member(number: int, frame: Frame, first: Frame, alignment: Alignment, exact: bool) -> Member:
    n = len(first.numbers)
    forces = np.full((n, 3), np.nan)
    if frame.forces is not None:
        known = np.where(frame.labelled[:, None], frame.forces, np.nan) @ alignment.rotation.T
        # Of a supercell, each atom has several copies; one of them speaks for all.
        forces[alignment.partners] = known
    stress = np.full((3, 3), np.nan)
    if frame.stress is not None:
        stress = alignment.rotation @ frame.stress @ alignment.rotation.T
    energy = np.nan if frame.energy is None else frame.energy / len(frame.numbers)
    return Member(number, exact, float(energy), forces, stress)
