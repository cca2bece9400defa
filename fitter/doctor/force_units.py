"""Energies against forces, group by group: units and signs.

Where frames differ little, energies change by the work of the forces (`work_pairs`). Elsewhere, what a
quick fit to the forces says of the energies, and a fit to the energies of the forces, shows the same
with less precision. Only the ratio of both is known: which of them is wrong the stresses may decide, or
other groups, or that no unit would explain the other case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.doctor.comparison import Comparison, Group, Said, group_name
from forcemap.fitter.doctor.evidence import (
    LEAST_CORRELATION,
    Evidence,
    combined,
    is_right,
    is_wrong,
    rounded,
)
from forcemap.fitter.doctor.finding import Correction, Finding, Severity, places_of
from forcemap.fitter.doctor.quick_fit import Part, QuickFit, Solved
from forcemap.fitter.doctor.regression import Ratio, robust_ratio, robust_slopes
from forcemap.fitter.doctor.settling import BY_FIT, BY_PAIRS, settled
from forcemap.fitter.doctor.stress_units import Stresses, evidence_of_fit
from forcemap.fitter.doctor.unit_factors import Explanation, force_candidates, ratio_by
from forcemap.fitter.doctor.work_pairs import Pairs
from numpy.typing import NDArray

__all__ = [
    "ForceVerdict",
    "compare_forces",
    "force_correction",
    "force_findings",
    "force_parts",
    "force_unit",
]

Array = NDArray[np.float64]

OF_FITS = 0.15
"""Relative error of quick fits, as seen in sound data."""

OF_ONE_FIT, FRAMES_OF_ONE = 0.4, 10
"""The same where the forces alone say something of the energies, and least number of frames for it."""

MOST_DIFFERENT = float(np.log(2.5))
"""Logarithm of the factor between the answers of two fits that still agree."""

MOST_UNSURE, UNSURE_OF_ENERGIES = 0.3, 0.6
"""Deviations of a fit that says something, relative to what it says; the second of forces by energies,
which are few."""

EXACT = 0.99
"""Correlation of energies with what a fit to the forces says of them, above which that is exact."""

LEAST_FORCE = 1e-4
"""eV/Å; smaller forces are rounding of zeros."""

LEAST_FRAMES = 6

CLEAR = 0.25
"""Relative error of the work of forces beside that of stresses that says something."""

LEAST_SHARE = 0.02
"""Of the changes of the energy that the work of forces must explain for a statement about them."""


@dataclass(frozen=True)
class ForceVerdict:
    """What energies and forces say of each other in a group.

    Attributes:
        evidence: change of the energy over the work of the forces; None if it cannot be told.
        explanations: units and signs that explain a wrong factor, the nearest first.
        wrong: whether the factor is certainly not 1.
    """

    evidence: Evidence | None
    explanations: tuple[Explanation, ...] = ()
    wrong: bool = False

    @property
    def decided(self) -> Explanation | None:
        """The explanation if there is one only."""
        return self.explanations[0] if len(self.explanations) == 1 else None


def compare_forces(comparison: Comparison) -> dict[Group, ForceVerdict]:
    """A verdict on each group with energies and forces."""
    evidence: dict[Group, Evidence | None] = {}
    for group, places in comparison.groups.items():
        both = [comparison.frames[n] for n in places]
        both = [f for f in both if f.energy is not None and _has_forces(f)]
        if both and max(len(f.numbers) for f in both) > 1:
            evidence[group] = _evidence(comparison, group)
    evidence = _of_the_rest(comparison, evidence)
    verdicts = _by_others(comparison, _explained(comparison, evidence))
    return _of_whole_files(comparison, _all_by_stresses(comparison, verdicts))


def _has_forces(frame: Frame) -> bool:
    """Whether a frame has forces that do not vanish by symmetry."""
    if frame.forces is None or not frame.labelled.any():
        return False
    return bool(np.abs(frame.forces[frame.labelled]).max() > LEAST_FORCE)


def _evidence(comparison: Comparison, group: Group) -> Evidence | None:
    pairs = _of_pairs(comparison.pairs[group])
    if pairs is not None and pairs.log[1] < 0.15:
        return pairs
    quick = comparison.quick
    fits = None if quick is None else _of_fits(quick, quick.groups.get(group, []))
    return combined([e for e in (pairs, fits) if e is not None])


def _of_the_rest(
    comparison: Comparison, evidence: Mapping[Group, Evidence | None]
) -> dict[Group, Evidence | None]:
    """The evidence with that of all groups that have none of their own, together."""
    quick, rest = comparison.quick, [g for g, found in evidence.items() if found is None]
    if quick is None or len(rest) < 2:
        return dict(evidence)
    found = _of_fits(quick, [n for group in rest for n in quick.groups.get(group, [])])
    return {g: found if own is None else own for g, own in evidence.items()}


def _of_pairs(pairs: Pairs) -> Evidence | None:
    """Energy changes over the work of the forces, beside that of the stresses in any unit."""
    still = pairs.strained == 0.0
    if np.sum(still & (pairs.moved > 0.0)) >= 6:
        columns, used = [pairs.of_forces], still & (pairs.moved > 0.0)
    else:
        columns, used = [pairs.of_forces, pairs.of_stresses], pairs.moved > 0.0
    if np.sum(used) < 4:
        return None
    changes = np.abs(pairs.changes)
    scale = _in_units_of(changes, pairs.moved) + _in_units_of(changes, pairs.strained)
    x = np.array([column[used] for column in columns]).T
    slopes = robust_slopes(x, pairs.changes[used], scale[used], pairs.first[used])
    if slopes is None or slopes.shares[0] < LEAST_SHARE:
        return None
    ratio = Ratio(
        *(float(slopes.values[0]), float(slopes.errors[0])),
        float(np.copysign(max(slopes.correlation, 0.0), slopes.values[0])),
        slopes.count,
    )
    # Anharmonic energies make the trapezoidal rule wrong in all pairs alike; scatter shows how much.
    unsure = 0.5 + 6.0 / float(np.sqrt(slopes.count))
    method = 0.01 + unsure * float(np.sqrt(max(1.0 - abs(ratio.correlation), 0.0)))
    how = f"between {slopes.count} pairs of similar frames"
    found = Evidence.of(ratio, method, BY_PAIRS, how)
    # Stresses with swapped components leave much unexplained.
    is_clear = found is not None and (len(columns) == 1 or found.log[1] < CLEAR)
    return found if is_clear else None


def _in_units_of(changes: Array, sizes: Array) -> Array:
    """Sizes, scaled to those of the changes, whatever the unit of their labels."""
    used = sizes > 0.0
    if not used.any():
        return np.zeros(len(sizes))
    size = float(np.median(sizes[used]))
    return np.asarray(sizes * max(float(np.median(changes[used])), 1e-12) / size)


# ---- by fits


def force_parts(quick: QuickFit, places: Sequence[int], unit: float) -> list[Part]:
    """Rows of forces of frames of the sample; errors grow with the size of the forces."""
    parts = []
    for n in places:
        frame = quick.frames[n]
        if frame.forces is None or not frame.labelled.any():
            continue
        size = float(np.sqrt(np.mean(frame.forces[frame.labelled] ** 2)))
        parts.append(quick.forces(n, frame.forces, 0.1 * unit + 0.3 * size))
    return parts


def force_unit(frames: Sequence[Frame]) -> float:
    """Median over frames of the root mean square force, those of symmetry left out; 0 without any."""
    sizes = [
        float(np.sqrt(np.mean(f.forces[f.labelled] ** 2)))
        for f in frames
        if f.forces is not None and f.labelled.any()
    ]
    largest = max(sizes, default=0.0)
    return float(np.median([s for s in sizes if s > 1e-3 * largest])) if largest else 0.0


def _of_fits(quick: QuickFit, sample: Sequence[int]) -> Evidence | None:
    """By fits to the forces and to the energies of some frames of the sample, which must agree."""
    frames = quick.frames
    places = [n for n in sample if frames[n].energy is not None and frames[n].labelled.any()]
    unit = force_unit([frames[n] for n in places])
    if len(places) < LEAST_FRAMES or not unit:
        return None
    parts = force_parts(quick, places, unit)
    atoms = np.array([len(frames[n].numbers) for n in places])
    energies = np.array([frames[n].energy or 0.0 for n in places])
    rows = quick.energies(places, energies, np.sqrt(atoms), apart=True)
    by_forces, by_energies = quick.solve(parts), quick.solve(rows)
    if by_forces is None or by_energies is None:
        return None
    known = np.array([float(part.labels[0]) for part in rows]) / atoms
    stacked = np.concatenate([part.rows for part in rows]) / atoms[:, None]
    of_energies = _compared(stacked, known, np.arange(len(places)), by_forces)
    of_forces = ratio_of_forces(parts, by_energies, UNSURE_OF_ENERGIES)
    if of_energies is None:
        return None
    if (
        of_forces is None or abs(of_forces.correlation) < LEAST_CORRELATION
    ):  # few energies do not determine the forces; the other way is less exact
        how = f"by a quick fit to the forces of {len(places)} frames"
        enough = len(places) >= FRAMES_OF_ONE and abs(of_energies.correlation) > 0.9
        return Evidence.of(of_energies, OF_ONE_FIT, BY_FIT, how) if enough else None
    if of_energies.value * of_forces.value <= 0.0:
        return None
    logs = np.log(abs(of_energies.value)), -np.log(abs(of_forces.value))
    if abs(logs[0] - logs[1]) > MOST_DIFFERENT:
        return None
    how = f"by quick fits to forces and to energies of {len(places)} frames"
    if abs(of_energies.correlation) > EXACT:  # far more forces than energies were learned from
        return Evidence.of(of_energies, OF_FITS, BY_FIT, how)
    # Both are about equally right; their difference shows how much.
    value = float(np.copysign(np.exp(0.5 * (logs[0] + logs[1])), of_energies.value))
    both = min((of_energies, of_forces), key=lambda ratio: abs(ratio.correlation))
    errors = of_energies.error / of_energies.value, of_forces.error / of_forces.value
    error = abs(value) * float(np.hypot(0.5 * (logs[0] - logs[1]), 0.5 * np.hypot(*errors)))
    ratio = Ratio(value, error, both.correlation, len(places))
    return Evidence.of(ratio, OF_FITS, BY_FIT, how)


def ratio_of_forces(
    parts: Sequence[Part], solved: Solved, most_unsure: float = MOST_UNSURE
) -> Ratio | None:
    """Forces over what a fit says of them."""
    if not parts:
        return None
    owners = np.repeat([part.place for part in parts], [len(part.labels) for part in parts])
    labels = np.concatenate([part.labels for part in parts])
    rows = np.concatenate([part.rows for part in parts])
    return _compared(rows, labels, owners, solved, most_unsure)


def _compared(
    rows: Array,
    labels: Array,
    owners: NDArray[np.intp],
    solved: Solved,
    most_unsure: float = MOST_UNSURE,
) -> Ratio | None:
    """Labels over what a fit says of them, where it is sure of what it says."""
    said = rows @ solved.values
    deviations = solved.deviations(rows)
    if np.sum(deviations**2) > most_unsure**2 * np.sum(said**2):
        return None
    return robust_ratio(said, labels, owners)


# ---- explanations


def _explained(
    comparison: Comparison, evidence: Mapping[Group, Evidence | None]
) -> dict[Group, ForceVerdict]:
    """Verdicts by as few explanations as possible, each of as much of the evidence as possible."""
    atoms = {g: _atoms(comparison, g) for g, found in evidence.items() if found is not None}
    found = settled(evidence, force_candidates(), lambda e, g: (ratio_by(e, atoms[g]), 0.0))
    return {group: ForceVerdict(*one) for group, one in found.items()}


def _atoms(comparison: Comparison, group: Group) -> float:
    counts = [len(comparison.frames[n].numbers) for n in comparison.groups[group]]
    return float(np.exp(np.mean(np.log(counts))))


def _by_others(
    comparison: Comparison, verdicts: Mapping[Group, ForceVerdict]
) -> dict[Group, ForceVerdict]:
    """Decide by the groups whose labels agree which label is wrong in others, and what is unknown."""
    quick = comparison.quick
    right = [g for g, v in verdicts.items() if v.evidence and not v.wrong and is_right(v.evidence)]
    if not right:
        return _alike(verdicts)
    if quick is None or len(right) == len(verdicts):
        return dict(verdicts)
    sound = [n for group in right for n in quick.groups.get(group, [])]
    unit = force_unit([quick.frames[n] for n in sound])
    solved = quick.solve(force_parts(quick, sound, unit)) if unit else None
    if solved is None:
        return dict(verdicts)
    decided = dict(verdicts)
    for group, verdict in verdicts.items():
        if group in right:
            continue
        ratio = ratio_of_forces(force_parts(quick, quick.groups.get(group, []), unit), solved)
        how = "by a quick fit to the forces of the other groups"
        forces = Evidence.of(ratio, OF_FITS, BY_FIT, how)
        if forces is not None:
            decided[group] = _decided(verdict, forces)
    return decided


def _all_by_stresses(
    comparison: Comparison, verdicts: Mapping[Group, ForceVerdict]
) -> dict[Group, ForceVerdict]:
    """Verdicts with several explanations decided by stresses; groups of one fault together."""
    found = dict(verdicts)
    open_ones: dict[tuple[Explanation, ...], list[Group]] = {}
    for group, verdict in verdicts.items():
        if len(verdict.explanations) > 1:
            open_ones.setdefault(verdict.explanations, []).append(group)
    for explanations, groups in open_ones.items():
        left = [_by_stresses(comparison, g, verdicts[g]).explanations for g in groups]
        common = tuple(e for e in explanations if all(e in those for those in left))
        for group in groups:
            found[group] = replace(verdicts[group], explanations=common or explanations)
    return found


def _of_whole_files(
    comparison: Comparison, verdicts: Mapping[Group, ForceVerdict]
) -> dict[Group, ForceVerdict]:
    """The verdicts, where all of a file are the same also for its groups without forces to compare."""
    found = dict(verdicts)
    for group, places in comparison.groups.items():
        of_file = [v for g, v in verdicts.items() if g[0] == group[0]]
        same = len({(v.wrong, v.explanations) for v in of_file}) == 1
        if group not in found and same and of_file[0].wrong and of_file[0].explanations:
            label = of_file[0].explanations[0].label
            frames = [comparison.frames[n] for n in places]
            if any(getattr(f, label, None) is not None for f in frames):
                found[group] = of_file[0]
    return found


def _by_stresses(comparison: Comparison, group: Group, verdict: ForceVerdict) -> ForceVerdict:
    """Decide whether energies or forces are wrong by the stresses that a fit to the forces asks for."""
    quick = comparison.quick
    places = [] if quick is None else quick.groups.get(group, [])
    if quick is None or not places:
        return verdict
    frames = [quick.frames[n] for n in places]
    solved = quick.solve(force_parts(quick, places, force_unit(frames)))
    if solved is None:
        return verdict
    said = [Said(*quick.predicted(n, solved)) for n in places]
    evidence = evidence_of_fit(Stresses.of(frames, said))
    if evidence is None or evidence.log[1] > 0.4:
        return verdict
    left = []
    for explanation in verdict.explanations:
        # Stresses and forces agree if the energies are wrong.
        expected = explanation.factor if explanation.label == "forces" else 1.0
        off = abs(evidence.log[0] - np.log(abs(expected)))
        if expected * evidence.value > 0.0 and off < max(2.5 * evidence.log[1], 0.5):
            left.append(explanation)
    return replace(verdict, explanations=tuple(left) or verdict.explanations)


def _alike(verdicts: Mapping[Group, ForceVerdict]) -> dict[Group, ForceVerdict]:
    """Verdicts where none is right: groups that say nothing are like all others of their file."""
    found = dict(verdicts)
    for group, verdict in verdicts.items():
        others = [v for g, v in verdicts.items() if g[0] == group[0] and v.wrong]
        silent = verdict.evidence is None or not is_right(verdict.evidence)
        alike = len({v.explanations for v in others}) == 1
        if silent and alike and not verdict.wrong:
            found[group] = others[0]
    return found


def _decided(verdict: ForceVerdict, forces: Evidence) -> ForceVerdict:
    """A verdict with what is known of the forces alone: how many times too large they are."""
    if verdict.wrong:
        blamed = {"forces"} if is_wrong(forces) else {"energy"}
        left = tuple(e for e in verdict.explanations if e.label in blamed)
        return replace(verdict, explanations=left or verdict.explanations)
    if is_wrong(forces):
        inverse = forces.inverse()
        log, error = inverse.log
        left = tuple(
            e
            for e in force_candidates()
            if e.label == "forces"
            and e.factor * inverse.value > 0.0
            and abs(log - np.log(abs(e.factor))) < 2.5 * error
        )
        return ForceVerdict(inverse, left, wrong=True) if left else verdict
    return ForceVerdict(forces.inverse())


# ---- findings


def force_findings(comparison: Comparison, verdicts: Mapping[Group, ForceVerdict]) -> list[Finding]:
    """The verdicts as findings; groups with the same fault together."""
    faults: dict[tuple[str, ...], list[Group]] = {}
    for group, verdict in verdicts.items():
        if verdict.wrong:
            faults.setdefault(tuple(e.text for e in verdict.explanations), []).append(group)
    findings = [_fault(comparison, verdicts, groups) for groups in faults.values()]
    unknown = [group for group, verdict in verdicts.items() if verdict.evidence is None]
    if unknown and len(unknown) == len(verdicts):
        name = group_name(unknown, list(comparison.groups))
        findings.append(
            Finding(
                "forces-undecided",
                Severity.NOTE,
                f"{name}: whether the units and signs of energies and forces agree cannot be told from "
                "these data: too few frames are similar to each other, or their energies differ too "
                "little",
            )
        )
    return findings


def _fault(
    comparison: Comparison, verdicts: Mapping[Group, ForceVerdict], groups: Sequence[Group]
) -> Finding:
    verdict = min(
        (verdicts[g] for g in groups), key=lambda v: v.evidence.log[1] if v.evidence else 9.0
    )
    evidence, found = verdict.evidence, verdict.explanations
    assert evidence is not None
    frames = [comparison.frames[n] for group in groups for n in comparison.groups[group]]
    said = (
        f"{group_name(groups, list(comparison.groups))}: {evidence.how}, energies change by "
        f"{rounded(evidence.value, evidence.error)} times the work of the forces, where 1 is expected"
    )
    figures = {
        "ratio": evidence.value,
        "error": evidence.error,
        "correlation": evidence.correlation,
        "factors": {e.text: e.factor for e in found},
    }
    if not found:
        text = f"{said}; no unit explains this"
        cure = "Look where energies and forces come from; one of them does not belong to the other"
        return Finding("forces-contradict", Severity.DOUBT, text, cure, places_of(frames), figures)
    causes = ", or ".join(e.text for e in found)
    alone = verdict.decided
    also = "" if alone else " (the ratio alone does not tell which)"
    advice = "; or ".join(dict.fromkeys(e.advice for e in found if e.label != "positions"))
    cure = advice[:1].upper() + advice[1:] if advice else "Give positions and cells in Å"
    labels = {e.label for e in found}
    label = labels.pop() if len(labels) == 1 else "forces"
    sign_only = alone is not None and not alone.unit
    return Finding(
        f"{label}-sign" if sign_only else f"{label}-unit",
        Severity.WRONG,
        f"{said}: {causes}{also}",
        cure,
        places_of(frames) if len(groups) < len(comparison.groups) else (),
        figures,
        force_correction(alone) if alone else None,
    )


def force_correction(explanation: Explanation) -> Correction | None:
    """Mends energies or forces; None for positions: cells may be in Bohr as well, or not."""
    factor = explanation.factor
    if explanation.label == "forces":
        return Correction(
            f"forces multiplied by {factor:.9g}",
            lambda f: f if f.forces is None else replace(f, forces=f.forces * factor),
        )
    if explanation.label != "energy":
        return None
    if explanation.by_atoms:
        return Correction(
            "energy multiplied by the number of atoms",
            lambda f: f if f.energy is None else replace(f, energy=f.energy * len(f.numbers)),
        )
    return Correction(
        f"energy multiplied by {factor:.9g}",
        lambda f: f if f.energy is None else replace(f, energy=f.energy * factor),
    )
