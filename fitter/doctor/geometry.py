"""Structures that are improbable by themselves: atoms too close or too far, cells of the wrong hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from ase.data import covalent_radii
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.doctor.case import Case
from forcemap.fitter.doctor.counted import counted
from forcemap.fitter.doctor.examination import Advance
from forcemap.fitter.doctor.finding import Correction, Finding, Place, Severity, places_of
from forcemap.fitter.doctor.surroundings import REACH, Surroundings
from forcemap.potentials.elements import SYMBOLS

__all__ = ["examine"]

ON_TOP, CLOSE = 0.3, 0.6
"""Distances over the sum of covalent radii: of atoms on top of each other, and of doubtful ones.

Nuclei of dimers that were put that close on purpose, to teach the repulsion, have the company of one
atom only: frames of two atoms are left alone.
"""

FAR_OUT = 10.0
"""Cells away from the origin."""


def examine(case: Case, advance: Advance) -> list[Finding]:
    """Close and lonely atoms, left-handed and small cells, atoms far outside."""
    on_top: list[tuple[float, Frame, str]] = []
    close: list[tuple[float, Frame, str]] = []
    groups: dict[str, list[Frame]] = {"left": [], "small": [], "out": [], "lonely": []}
    for frame, around in case.with_surroundings:
        advance()
        share, text = _closest(frame, around)
        if share < CLOSE and len(frame.numbers) > 2:
            (on_top if share < ON_TOP else close).append((share, frame, text))
        for name in _marks(frame, around, case.cutoff):
            groups[name].append(frame)
    return [
        *_close(on_top, Severity.WRONG),
        *_close(close, Severity.DOUBT),
        *_left_handed(groups["left"]),
        *_lonely(groups["lonely"]),
        *_outside(groups["out"]),
        *_small(groups["small"], case.cutoff),
    ]


def _closest(frame: Frame, around: Surroundings) -> tuple[float, str]:
    """The shortest distance over the covalent radii, and in words."""
    best, text = np.inf, ""
    for (a, b), distance in around.closest.items():
        share = distance / (covalent_radii[a] + covalent_radii[b])
        if share < best:
            best, text = share, f"{SYMBOLS[a]}–{SYMBOLS[b]} {distance:.2g} Å"
    return float(best), text


def _marks(frame: Frame, around: Surroundings, cutoff: float) -> list[str]:
    """Names of the oddities of a frame."""
    marks = []
    volume = float(np.linalg.det(frame.cell))
    if frame.pbc.any() and volume < 0.0:
        marks.append("left")
    if frame.pbc.any() and volume != 0.0:
        inverse = np.linalg.inv(frame.cell)
        heights = 1.0 / np.linalg.norm(inverse, axis=0)
        if heights[frame.pbc].min() < cutoff:
            marks.append("small")
        fractions = (frame.positions @ inverse)[:, frame.pbc]
        if np.abs(fractions).max() > FAR_OUT:
            marks.append("out")
    if len(frame.numbers) > 1 and not np.isfinite(around.nearest).all():
        marks.append("lonely")
    return marks


def _close(those: list[tuple[float, Frame, str]], severity: Severity) -> list[Finding]:
    if not those:
        return []
    _, frame, text = min(those, key=lambda item: item[0])
    on_top = severity is Severity.WRONG
    what = "atoms on top of each other" if on_top else "atoms very close to each other"
    return [
        Finding(
            "atoms-on-top" if on_top else "atoms-close",
            severity,
            f"{counted(len(those), 'frame', 'have')} {what}: the closest are {text} apart, in "
            f"frame {frame.index} of {frame.source}",
            "Remove the frames, or the atoms that are there twice"
            if on_top
            else "See that they are meant, as samples of the repulsion are",
            places_of([frame for _, frame, _ in those]),
            {"frames": len(those)},
        )
    ]


def _left_handed(frames: list[Frame]) -> list[Finding]:
    if not frames:
        return []
    return [
        Finding(
            "cell-left-handed",
            Severity.NOTE,
            f"{counted(len(frames), 'frame', 'have')} left-handed cells (negative determinant): a "
            "fit takes them as they are, LAMMPS and other programs do not",
            "Reverse all three cell vectors, which leaves the crystal as it is",
            places_of(frames),
            {"frames": len(frames)},
            Correction("cell vectors reversed", lambda frame: replace(frame, cell=-frame.cell)),
        )
    ]


def _lonely(frames: list[Frame]) -> list[Finding]:
    if not frames:
        return []
    return [
        Finding(
            "atoms-lonely",
            Severity.DOUBT,
            f"{counted(len(frames), 'frame', 'have')} atoms without a neighbour within {REACH:g} Å "
            "beside others",
            "See that they are meant, and were not lost by a broken cell or a failed run",
            places_of(frames),
            {"frames": len(frames)},
        )
    ]


def _outside(frames: list[Frame]) -> list[Finding]:
    if not frames:
        return []
    return [
        Finding(
            "atoms-outside",
            Severity.NOTE,
            f"{counted(len(frames), 'frame', 'have')} atoms more than {FAR_OUT:g} cells away from "
            "their own: they are taken back by the periodicity",
            "",
            places_of(frames),
            {"frames": len(frames)},
        )
    ]


def _small(frames: list[Frame], cutoff: float) -> list[Finding]:
    if not frames:
        return []
    return [
        Finding(
            "cell-small",
            Severity.NOTE,
            f"{counted(len(frames), 'frame', 'have')} cells smaller than the cutoff of {cutoff:g} "
            "Å: atoms see their own images, which is right in a fit and in evaluation",
            "",
            tuple(Place(frame.source, frame.index) for frame in frames),
            {"frames": len(frames), "cutoff": cutoff},
        )
    ]
