"""Groups of frames whose energies have another zero than those of like structures in other groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.doctor.case import Case
from forcemap.fitter.doctor.composition import NORMAL, Composition
from forcemap.fitter.doctor.energies import isolated_atoms
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
"""eV per atom; smallest offset named, and the one beyond which no difference of structure explains it."""

SIGNIFICANT = 5.0
"""Offset over its standard error, and over the usual difference of like structures."""


class Offset(NamedTuple):
    """Difference of a group's energies to those of like structures, eV per atom."""

    value: float
    error: float
    pairs: int


@dataclass(frozen=True)
class _Likes:
    """Frames with energies, what the composition leaves of these, and where the frames stand."""

    frames: list[Frame]
    residuals: Array
    places: Array
    usual: float
    near: float

    @classmethod
    def of(cls, case: Case) -> _Likes | None:
        chosen = [
            (frame, around)
            for frame, around in case.with_surroundings
            if frame.energy is not None and len(frame.numbers) > 1
        ]
        if len(chosen) < 2 * LEAST_PAIRS:
            return None
        data = Composition.of([frame for frame, _ in chosen])
        residuals = data.residuals(data.energies / data.sizes)
        places = stacked([around for _, around in chosen])
        distances, partners = cKDTree(places).query(places, k=2)
        differences = np.abs(residuals - residuals[partners[:, 1]])
        return cls(
            data.frames,
            residuals,
            places,
            float(np.median(differences)),
            float(np.quantile(distances[:, 1], 0.75)),
        )

    def offset(self, inside: NDArray[np.bool_]) -> Offset | None:
        """Of the frames `inside` a group against the others; None if too few have like ones there."""
        if inside.sum() < LEAST_PAIRS or (~inside).sum() < LEAST_PAIRS:
            return None
        distances, partners = cKDTree(self.places[~inside]).query(self.places[inside])
        near = distances <= 2.0 * self.near
        if near.sum() < LEAST_PAIRS:
            return None
        differences = self.residuals[inside][near] - self.residuals[~inside][partners[near]]
        value = float(np.median(differences))
        spread = NORMAL * float(np.median(np.abs(differences - value)))
        return Offset(value, spread * np.sqrt(np.pi / 2.0 / near.sum()), int(near.sum()))


def examine(case: Case, advance: Advance) -> list[Finding]:
    """Groups by file, then by config_type within the rest."""
    advance(len(case.frames))
    likes = _Likes.of(case)
    if likes is None:
        return []
    by_file = _groups(likes, "file", lambda frame: frame.source)
    if by_file:
        return _said(by_file, case)
    return _said(_groups(likes, "config_type", lambda frame: frame.config_type), case)


Group = tuple[str, str, Offset, list[Frame]]


def _groups(likes: _Likes, kind: str, of: Callable[[Frame], str]) -> list[Group]:
    names = [of(frame) for frame in likes.frames]
    found: list[Group] = []
    for name in dict.fromkeys(names):
        inside = np.array([each == name for each in names])
        if inside.sum() > 0.5 * len(inside):  # the others are off then
            continue
        offset = likes.offset(inside)
        if offset is None:
            continue
        bound = max(LEAST, SIGNIFICANT * offset.error, SIGNIFICANT * likes.usual)
        if abs(offset.value) > bound:
            frames = [f for f, is_in in zip(likes.frames, inside, strict=True) if is_in]
            found.append((kind, name, offset, frames))
    return found


def _said(groups: Sequence[Group], case: Case) -> list[Finding]:
    atoms = isolated_atoms(case)
    findings = []
    for kind, name, offset, frames in groups:
        isolated = [
            np.mean([f.energy for f in atoms[int(z)] if f.energy is not None])
            if any(f.energy is not None for f in atoms.get(int(z), []))
            else np.nan
            for z in frames[0].numbers
        ]
        level = float(np.mean(isolated))
        as_atoms = abs(abs(level) - abs(offset.value)) < 0.1 * abs(offset.value)
        hint = f", about what the isolated atoms have ({level:.3f} eV)" if as_atoms else ""
        findings.append(
            Finding(
                "energy-offset",
                Severity.WRONG if abs(offset.value) > LARGE else Severity.DOUBT,
                f"the energies of {kind} {name} lie {offset.value:+.3f} ± {offset.error:.3f} eV per atom "
                f"from those of like structures elsewhere ({offset.pairs} pairs){hint}: another zero of "
                "the energy?",
                "Give all frames energies of one kind, from the same program, functional, "
                "pseudopotentials, cutoff and k points",
                places_of(frames),
                {"group": name, "offset_ev_per_atom": offset.value, "error": offset.error},
            )
        )
    return findings
