"""Units and signs of energies, forces and stresses, by the work that they do.

`force_units` compares energies with forces, `stress_units` both with stresses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from forcemap.fitter.data.frame import Frame
from forcemap.fitter.doctor.comparison import Comparison, Group
from forcemap.fitter.doctor.finding import Finding
from forcemap.fitter.doctor.force_units import (
    ForceVerdict,
    compare_forces,
    force_correction,
    force_findings,
)
from forcemap.fitter.doctor.joint_fit import joint_fit
from forcemap.fitter.doctor.stress_units import (
    compare_stresses,
    mended_stresses,
    stress_findings,
)
from forcemap.fitter.sharing.run import Run

__all__ = ["Judged", "examine", "judged"]


@dataclass(frozen=True)
class Judged:
    """What is found about whole groups.

    Attributes:
        findings: the findings.
        mended: the frames with the labels that are certainly wrong mended, for other examinations.
        unsure: groups whose labels contradict each other in a way that could not be mended.
    """

    findings: list[Finding]
    mended: Comparison
    unsure: frozenset[Group]


def examine(
    frames: Sequence[Frame], run: Run | None = None, advance: Callable[..., Any] = lambda *n: None
) -> list[Finding]:
    """Wrong units and signs of forces and stresses, orders and zeros of stresses, by file and
    config_type. `advance` is called once for each frame."""
    return judged(Comparison(frames, run or Run(), advance)).findings


def judged(comparison: Comparison) -> Judged:
    """The findings, and the frames without these faults."""
    forces = compare_forces(comparison)
    findings = force_findings(comparison, forces)
    comparison = _with_frames(comparison, _mended_forces(comparison, forces))
    unsure = frozenset(group for group, v in forces.items() if v.wrong and not v.explanations)
    quick, said = comparison.quick, None
    if quick is not None:
        places = [n for group, own in quick.groups.items() if group not in unsure for n in own]
        fit = joint_fit(quick, places, stresses=False)
        said = None if fit is None else comparison.said(fit.solved)
    sure = any(v.evidence is not None for v in forces.values())
    stresses = compare_stresses(comparison, said, unsure, sure)
    findings += stress_findings(comparison, stresses)
    bad = {
        g
        for g, v in stresses.items()
        if v.wrong and [e.label for e in v.explanations] != ["stress"]
    }
    mended = _with_frames(comparison, mended_stresses(comparison, stresses))
    return Judged(findings, mended, unsure | bad)


def _mended_forces(comparison: Comparison, verdicts: Mapping[Group, ForceVerdict]) -> list[Frame]:
    """All frames; where several units are possible, the nearest makes the labels agree as well."""
    frames = list(comparison.frames)
    for group, verdict in verdicts.items():
        if verdict.wrong and verdict.explanations:
            correction = force_correction(verdict.explanations[0])
            for n in comparison.groups[group] if correction else ():
                assert correction is not None
                frames[n] = correction.change(frames[n]) or frames[n]
    return frames


def _with_frames(comparison: Comparison, frames: Sequence[Frame]) -> Comparison:
    """The comparison of the same structures with other labels; the rows are kept."""
    if all(new is old for new, old in zip(frames, comparison.frames, strict=True)):
        return comparison
    changed = Comparison(frames, comparison.run, comparison.advance)
    quick = comparison.quick
    if quick is not None:
        quick = replace(quick, frames=[frames[n] for n in quick.places])
    changed.__dict__["quick"] = quick
    return changed
