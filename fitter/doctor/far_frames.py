"""Frames far from all others by energy, force or distance."""

from __future__ import annotations

from collections import Counter

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.doctor.case import Case
from forcemap.fitter.doctor.composition import Composition
from forcemap.fitter.doctor.counted import counted
from forcemap.fitter.doctor.energies import is_bonded, totals
from forcemap.fitter.doctor.examination import Advance
from forcemap.fitter.doctor.finding import Finding, Severity, places_of
from forcemap.fitter.doctor.surroundings import Pair
from forcemap.potentials.elements import SYMBOLS
from numpy.typing import NDArray

__all__ = ["examine"]

ENERGY, LEAST_ENERGY = 6.0, 1.0
"""Times the deviation that one frame in four passes, and eV per atom: farther energies are outliers."""

FORCE, LEAST_FORCE = 8.0, 5.0
"""Times the force that one frame in four passes, and eV/Å: larger forces are outliers."""

BULK = 0.75
"""Share of the frames that is taken for sound."""

SHORT = 0.8
"""Shortest distance of a frame over the one that one frame in a hundred passes."""

MANY = 20
"""Frames from which outliers can be seen."""


def examine(case: Case, advance: Advance) -> list[Finding]:
    """Outliers among all frames together."""
    advance(len(case.frames))
    return [*_energies(case), *_forces(case), *_distances(case)]


def _energies(case: Case) -> list[Finding]:
    both = zip(totals(case.frames), case.surroundings, strict=True)
    data = Composition.of([f for f, a in both if len(f.numbers) > 1 and is_bonded(f, a)])
    if len(data.frames) < MANY:
        return []
    residuals = data.residuals(data.energies / data.sizes)
    residuals -= np.median(residuals)
    usual = float(np.quantile(np.abs(residuals), BULK))
    off = np.abs(residuals) > max(ENERGY * usual, LEAST_ENERGY)
    off |= _groups_apart(residuals, data.frames)
    if not off.any():
        return []
    worst = int(np.argmax(np.abs(residuals)))
    those = [f for f, is_off in zip(data.frames, off, strict=True) if is_off]
    return [
        Finding(
            "far-energy",
            Severity.DOUBT,
            f"{counted(int(off.sum()), 'frame', 'have')} an energy far from all others of their "
            f"composition: up to {residuals[worst]:+.3g} eV per atom, in frame "
            f"{data.frames[worst].index} of {data.frames[worst].source}; three in four frames are "
            f"within {usual:.2g} eV{_groups(those, data.frames)}",
            "See that these calculations converged and are meant; leave them out, or give them a "
            "larger sigma (sigma_energy, or sigma: config_type: in the settings)",
            places_of(those),
            {"frames": int(off.sum()), "largest_ev_per_atom": float(residuals[worst])},
        )
    ]


def _groups_apart(residuals: NDArray[np.float64], frames: list[Frame]) -> NDArray[np.bool_]:
    """Frames of groups that lie apart as a whole, which they would hide by their number."""
    names = np.array([frame.config_type for frame in frames])
    off = np.zeros(len(names), dtype=bool)
    for name in dict.fromkeys(names.tolist()):
        inside = names == name
        if (~inside).sum() < MANY or inside.sum() > 0.5 * len(names):
            continue
        usual = float(np.quantile(np.abs(residuals[~inside]), BULK))
        if np.median(np.abs(residuals[inside])) > max(ENERGY * usual, LEAST_ENERGY):
            off |= inside
    return off


def _forces(case: Case) -> list[Finding]:
    sizes: list[tuple[float, Frame]] = []
    for frame in case.frames:
        if frame.forces is not None and frame.labelled.any():
            largest = np.linalg.norm(frame.forces[frame.labelled], axis=1).max()
            sizes.append((float(largest), frame))
    norms = np.array([size for size, _ in sizes if size > 0.0])
    if len(norms) < MANY:
        return []
    bound = max(LEAST_FORCE, FORCE * float(np.quantile(norms, BULK)))
    off = [(size, frame) for size, frame in sizes if size > bound]
    if not off:
        return []
    size, frame = max(off, key=lambda item: item[0])
    return [
        Finding(
            "far-force",
            Severity.DOUBT,
            f"{counted(len(off), 'frame', 'have')} forces far larger than others: up to {size:.3g} "
            f"eV/Å, in frame {frame.index} of {frame.source}; three in four frames stay below "
            f"{np.quantile(norms, BULK):.3g} eV/Å"
            f"{_groups([f for _, f in off], case.frames)}",
            "See that these frames are meant; leave them out, or give them a larger sigma "
            "(sigma_force, or sigma: config_type: in the settings)",
            places_of([frame for _, frame in off]),
            {"frames": len(off), "largest_ev_per_a": size},
        )
    ]


def _groups(those: list[Frame], frames: list[Frame]) -> str:
    """The groups that outliers come from, where there are several groups."""
    whole = Counter(frame.config_type for frame in frames)
    if len(whole) < 2:
        return ""
    parts = Counter(frame.config_type for frame in those).most_common(4)
    said = ", ".join(f"{count} of {whole[name]} {name}" for name, count in parts)
    return f" ({said}{', …' if len({f.config_type for f in those}) > 4 else ''})"


def _distances(case: Case) -> list[Finding]:
    """Frames with a distance far shorter than all others of the same two elements."""
    by_pair: dict[Pair, list[tuple[float, Frame]]] = {}
    for frame, around in case.with_surroundings:
        for pair, distance in around.closest.items():
            by_pair.setdefault(pair, []).append((distance, frame))
    findings = []
    for (a, b), those in by_pair.items():
        if len(those) < MANY:
            continue
        shortest = np.array([distance for distance, _ in those])
        usual = float(np.quantile(shortest, 0.1))
        off = [(d, frame) for d, frame in those if d < SHORT * usual and len(frame.numbers) > 2]
        if not off or len(off) > 0.05 * len(those):
            continue
        distance, frame = min(off, key=lambda item: item[0])
        findings.append(
            Finding(
                "short-distance",
                Severity.NOTE,
                f"{counted(len(off), 'frame', 'have')} {SYMBOLS[a]}–{SYMBOLS[b]} distances far "
                f"shorter than others: down to {distance:.3g} Å, in frame {frame.index} of "
                f"{frame.source}; nine in ten frames stay above {usual:.3g} Å",
                "See that these frames are meant, as samples of the repulsion are",
                places_of([frame for _, frame in off]),
                {"pair": f"{SYMBOLS[a]}-{SYMBOLS[b]}", "shortest_a": distance},
            )
        )
    return findings
