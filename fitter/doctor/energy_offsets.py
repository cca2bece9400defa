"""Groups of frames whose energies have another zero than those of like structures in other groups."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.doctor.case import Case
from forcemap.fitter.doctor.composition import NORMAL, Composition
from forcemap.fitter.doctor.energies import isolated_energies, totals
from forcemap.fitter.doctor.examination import Advance
from forcemap.fitter.doctor.finding import Finding, Severity, places_of
from forcemap.fitter.doctor.surroundings import stacked
from numpy.typing import NDArray
from scipy.spatial import cKDTree

__all__ = ["examine"]

Array = NDArray[np.float64]

LEAST_PAIRS = 5
"""Pairs of like structures that a statement on a group needs."""

LEAST, LARGE = 0.02, 0.3
"""eV per atom; smallest offset named, and that which no difference of structure explains."""

SIGNIFICANT = 5.0
"""Offset over its standard error."""

FACTOR = 3.0
"""Offset over what the structures' difference explains in nine of ten frames."""

RESOLVED = 1e-4
"""Smallest difference of fingerprints by which one of energies is divided."""


class Offset(NamedTuple):
    """Difference of a group's energies to those of like structures, eV per atom.

    `explained` is what the remaining difference of the structures may account for.
    """

    value: float
    error: float
    explained: float
    pairs: int


@dataclass(frozen=True)
class _Likes:
    """Frames with energies, what the composition leaves of these, and where the frames stand.

    `steepness`: change of the energy over that of the fingerprint, in nine of ten frames no more;
    `near`: distance of fingerprints within which three of four frames have another.
    """

    frames: list[Frame]
    residuals: Array
    places: Array
    steepness: float
    near: float

    @classmethod
    def of(cls, case: Case) -> _Likes | None:
        chosen = [
            (frame, around)
            for frame, around in zip(totals(case.frames), case.surroundings, strict=True)
            if frame.energy is not None and len(frame.numbers) > 1
        ]
        if len(chosen) < 2 * LEAST_PAIRS:
            return None
        data = Composition.of([frame for frame, _ in chosen])
        residuals = data.residuals(data.energies / data.sizes)
        places = stacked([around for _, around in chosen])
        above = above_gap(residuals)
        groups = [
            (frame.source, frame.config_type, side)
            for frame, side in zip(data.frames, above.tolist(), strict=True)
        ]
        distances, differences = _neighbours_within(groups, places, residuals)
        if not len(distances):
            return None
        slopes = differences / np.maximum(distances, RESOLVED)
        near = float(np.quantile(distances, 0.75))
        return cls(data.frames, residuals, places, float(np.quantile(slopes, 0.9)), near)

    def offset(self, inside: NDArray[np.bool_]) -> Offset | None:
        """Of the frames `inside` a group against the others; None if too few have like ones there."""
        if inside.sum() < LEAST_PAIRS or (~inside).sum() < LEAST_PAIRS:
            return None
        distances, partners = cKDTree(self.places[~inside]).query(self.places[inside])
        near = distances <= self.near
        if near.sum() < LEAST_PAIRS:
            return None
        differences = self.residuals[inside][near] - self.residuals[~inside][partners[near]]
        value = float(np.median(differences))
        spread = NORMAL * float(np.median(np.abs(differences - value)))
        error = spread * np.sqrt(np.pi / 2.0 / near.sum())
        explained = self.steepness * float(np.median(distances[near]))
        return Offset(value, float(error), explained, int(near.sum()))


def _neighbours_within(
    groups: Sequence[Hashable], places: Array, residuals: Array
) -> tuple[Array, Array]:
    """Distances of frames to the nearest of their own groups, and differences of energy to these."""
    members: dict[Hashable, list[int]] = {}
    for number, group in enumerate(groups):
        members.setdefault(group, []).append(number)
    distances, differences = [np.zeros(0)], [np.zeros(0)]
    for numbers in members.values():
        if len(numbers) > 1:
            found, partners = cKDTree(places[numbers]).query(places[numbers], k=2)
            distances.append(found[:, 1])
            own = residuals[numbers]
            differences.append(np.abs(own - own[partners[:, 1]]))
    return np.concatenate(distances), np.concatenate(differences)


def above_gap(residuals: Array) -> NDArray[np.bool_]:
    """Which energies lie above the widest gap between them, if it is wide and not at an end."""
    ordered = np.sort(residuals)
    least = max(LEAST_PAIRS, round(0.03 * len(ordered)))
    gaps = np.diff(ordered)[least - 1 : len(ordered) - least]
    if not len(gaps) or gaps.max() < LARGE:
        return np.zeros(len(residuals), dtype=bool)
    return np.asarray(residuals > ordered[least - 1 + int(np.argmax(gaps))])


def examine(case: Case, advance: Advance) -> list[Finding]:
    """Groups by file, then by config_type, then by the energies themselves."""
    advance(len(case.frames))
    likes = _Likes.of(case)
    if likes is None:
        return []
    above = above_gap(likes.residuals)
    for kind, names in (
        ("file", [frame.source for frame in likes.frames]),
        ("config_type", [frame.config_type for frame in likes.frames]),
        ("", ["above" if side else "below" for side in above.tolist()]),
    ):
        found = _groups(likes, kind, names)
        if found:
            return _said(found, case)
    return []


Group = tuple[str, Offset, list[Frame]]


def _groups(likes: _Likes, kind: str, names: Sequence[str]) -> list[Group]:
    found: list[Group] = []
    for name in dict.fromkeys(names):
        inside = np.array([each == name for each in names])
        if inside.sum() > 0.5 * len(inside):  # the others are off then
            continue
        offset = likes.offset(inside)
        if offset is None:
            continue
        bound = max(LEAST, SIGNIFICANT * offset.error, FACTOR * offset.explained)
        if abs(offset.value) > bound:
            frames = [f for f, is_in in zip(likes.frames, inside, strict=True) if is_in]
            title = f"{kind} {name}" if kind else f"{len(frames)} frames"
            found.append((title, offset, frames))
    return found


def _said(groups: Sequence[Group], case: Case) -> list[Finding]:
    levels = isolated_energies(case)
    findings = []
    for name, offset, frames in groups:
        level = float(np.mean([levels.get(int(z), np.nan) for z in frames[0].numbers]))
        as_atoms = abs(abs(level) - abs(offset.value)) < 0.1 * abs(offset.value)
        hint = f", about what the isolated atoms have ({level:.3f} eV)" if as_atoms else ""
        findings.append(
            Finding(
                "energy-offset",
                Severity.WRONG if abs(offset.value) > LARGE else Severity.DOUBT,
                f"the energies of {name} lie {offset.value:+.3f} ± {offset.error:.3f} eV "
                f"per atom from those of like structures elsewhere ({offset.pairs} pairs){hint}: "
                "another zero of the energy?",
                "Give all frames energies of one kind, from the same program, functional, "
                "pseudopotentials, cutoff and k points",
                places_of(frames),
                {"group": name, "offset_ev_per_atom": offset.value, "error": offset.error},
            )
        )
    return findings
