"""Whether the stresses of clusters, wires and slabs mean anything.

Across a vacuum nothing resists a strain: only the atoms' own motion changes the energy, so that with
the normal n of an empty layer  V stress · n = -sum_i (r_i · n) f_i,  the virial of forces that do not
cross the boundary. A stress that contradicts this is no derivative of the energy.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.doctor.case import Case
from forcemap.fitter.doctor.counted import counted
from forcemap.fitter.doctor.examination import Advance
from forcemap.fitter.doctor.finding import Correction, Finding, Place, Severity, places_of
from forcemap.fitter.doctor.vacuum import Vacuum

__all__ = ["disagreement", "examine", "is_meaningless"]

SHARE = 0.2
"""Disagreement of stress and forces over their size, beyond which a stress means nothing."""

LEAST = 0.1
"""eV per atom; smaller disagreements come from forces that do not sum to zero."""

LARGE = 0.5
"""eV per atom; larger disagreements are no numerical errors, such as a zero that is a few GPa off."""

KINDS = {1: "slab", 2: "wire", 3: "cluster"}


def disagreement(frame: Frame, vacuum: Vacuum) -> tuple[float, float] | None:
    """How far stress and forces disagree, and their size, eV per atom; None without all labels."""
    if frame.stress is None or frame.forces is None or not frame.labelled.all():
        return None
    volume = abs(float(np.linalg.det(frame.cell)))
    of_stress = volume * frame.stress @ vacuum.normals.T
    heights = (vacuum.positions - vacuum.positions.mean(axis=0)) @ vacuum.normals.T
    of_forces = -(frame.forces - frame.forces.mean(axis=0)).T @ heights
    n = len(frame.numbers)
    size = max(np.abs(of_stress).max(), np.abs(of_forces).max())
    return float(np.abs(of_stress - of_forces).max()) / n, float(size) / n


def is_meaningless(frame: Frame, vacuum: Vacuum) -> bool:
    """Whether a frame's stress contradicts its forces across the vacuum."""
    both = disagreement(frame, vacuum)
    return both is not None and both[0] > max(LEAST, SHARE * both[1])


def examine(case: Case, advance: Advance) -> list[Finding]:
    """Stresses of clusters, wires and slabs."""
    bad: list[tuple[float, Frame, int]] = []
    clusters: list[Frame] = []
    slabs: list[Frame] = []
    for frame in case.frames:
        advance()
        found = case.vacua.get(Place(frame.source, frame.index))
        if frame.stress is None:
            continue
        if found is None:
            continue
        if is_meaningless(frame, found):
            both = disagreement(frame, found)
            assert both is not None
            bad.append((both[0], frame, len(found.axes)))
        elif len(found.axes) == 3:
            clusters.append(frame)
        else:
            slabs.append(frame)
    return _contradictions(bad) + _without_news(clusters) + _slabs(slabs)


remove_stress = Correction("stress removed", partial(replace, stress=None))


def _contradictions(bad: list[tuple[float, Frame, int]]) -> list[Finding]:
    findings = []
    for axes, kind in KINDS.items():
        those = [(size, frame) for size, frame, count in bad if count == axes]
        if not those:
            continue
        worst, frame = max(those, key=lambda item: item[0])
        findings.append(
            Finding(
                "stress-in-vacuum",
                Severity.WRONG if worst > LARGE else Severity.DOUBT,
                f"the stress of {counted(len(those), kind)} in vacuum is not that of the forces: "
                f"across the vacuum volume * stress and -sum of positions times forces differ by up to "
                f"{worst:.2g} eV per atom ({frame.source}: frame {frame.index}), and should be equal",
                "Remove the stress (or virial) of these frames",
                places_of([frame for _, frame in those]),
                {"kind": kind, "frames": len(those), "largest_ev_per_atom": worst},
                remove_stress,
            )
        )
    return findings


def _without_news(clusters: list[Frame]) -> list[Finding]:
    if not clusters:
        return []
    return [
        Finding(
            "stress-of-clusters",
            Severity.DOUBT,
            f"{counted(len(clusters), 'frame')} of clusters in a box of vacuum "
            f"{'has' if len(clusters) == 1 else 'have'} a stress: it depends on the box, and holds "
            "nothing that their forces do not",
            "Remove the stress (or virial) of these frames",
            places_of(clusters),
            {"frames": len(clusters)},
            remove_stress,
        )
    ]


def _slabs(slabs: list[Frame]) -> list[Finding]:
    if not slabs:
        return []
    return [
        Finding(
            "stress-of-slabs",
            Severity.NOTE,
            f"{counted(len(slabs), 'frame')} of slabs or wires in vacuum "
            f"{'has' if len(slabs) == 1 else 'have'} a stress: it is an average over the vacuum, "
            "too; within errors it is zero across the vacuum, as it should be",
            "",
            places_of(slabs),
            {"frames": len(slabs)},
        )
    ]
