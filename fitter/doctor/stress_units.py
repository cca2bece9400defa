"""Stresses against energies and forces, group by group: units, signs, order of components, zero.

Two sources: the work of the stresses between frames of similar cells (`work_pairs`), and what a quick
fit to energies and forces says of the stress of every frame. The second also shows the order of the
components. The zero of the stress is off where the plane waves of a calculation change with the cell
(Pulay stress: Francis and Payne, J. Phys. Condens. Matter 2, 4395 (1990),
DOI 10.1088/0953-8984/2/19/007).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.units import GPA
from forcemap.fitter.doctor.comparison import Comparison, Group, Said, group_name
from forcemap.fitter.doctor.evidence import Evidence, is_right, is_wrong, rounded
from forcemap.fitter.doctor.finding import Correction, Finding, Severity, places_of
from forcemap.fitter.doctor.regression import Ratio, robust_ratio, robust_slopes
from forcemap.fitter.doctor.settling import BY_FIT, BY_PAIRS, settled
from forcemap.fitter.doctor.unit_factors import (
    Explanation,
    energy_candidates,
    stress_candidates,
)
from forcemap.fitter.doctor.work_pairs import Pairs
from forcemap.potentials.voigt import matrix_of, six_of
from numpy.typing import NDArray

__all__ = [
    "Order",
    "StressVerdict",
    "Stresses",
    "best_orders",
    "compare_stresses",
    "evidence_of_fit",
    "mended_stress",
    "mended_stresses",
    "order_correction",
    "order_text",
    "stress_correction",
    "stress_findings",
]

Array = NDArray[np.float64]
Order = tuple[int, ...]
Orders = frozenset[Order]

NAMES = ("xx", "yy", "zz", "yz", "xz", "xy")
PARTS: tuple[Order, Order] = ((0, 1, 2), (3, 4, 5))
"""Places of the diagonal components and of the others."""

VASP: Order = (0, 1, 2, 5, 3, 4)
"""The order xx yy zz xy yz zx."""

STRAIGHT: Order = (0, 1, 2, 3, 4, 5)

LEAST_STRESS = 1e-4
"""eV/Å³; components below are noise."""

OF_FIT = 0.2
"""Relative error of what a quick fit says of stresses, as seen in sound data."""

OF_SIZE, BY_SIZE = 0.8, 20.0
"""The same for stresses that hardly vary, whose size a fit says roughly."""


CLEARLY = 3.0
"""How many times better another order of the components must be."""

LEAST_OFFSET = 0.5 / GPA
"""eV/Å³; smaller ones are left to the sigma of the stresses."""

STRAINED = 1e-3
"""Least change of the volume, relative, that says something of the zero of the stress."""

LEAST_FRAMES = 8
"""Of a group, for the zero of its stresses by a quick fit."""


@dataclass(frozen=True)
class Stresses:
    """Stresses of frames, as labels and as a quick fit says, (n, 6) eV/Å³, and volumes (n,)."""

    known: Array
    said: Array
    volumes: Array

    @classmethod
    def of(cls, frames: Sequence[Frame], said: Sequence[Said | None]) -> Stresses:
        """Of the frames that have both."""
        rows = []
        for frame, each in zip(frames, said, strict=True):
            if frame.stress is not None and each is not None:
                volume = abs(float(np.linalg.det(frame.cell)))
                rows.append((six_of(frame.stress), each.strain / volume, volume))
        return cls(
            np.array([row[0] for row in rows]).reshape(-1, 6),
            np.array([row[1] for row in rows]).reshape(-1, 6),
            np.array([row[2] for row in rows]),
        )

    @property
    def count(self) -> int:
        """Number of frames."""
        return len(self.volumes)


@dataclass(frozen=True)
class StressVerdict:
    """What energies and forces say of the stresses of a group.

    Attributes:
        evidence: stresses over those expected; None if it cannot be told.
        explanations: units and signs that explain a wrong factor, the nearest first.
        wrong: whether the factor is certainly not 1.
        orders: those orders of the diagonal, and of the other components, that explain the stresses;
            empty where it cannot be told. An order names the true component at each place.
        offset, offset_error: of the zero of the pressure part, eV/Å³; 0 if it cannot be told.
        offset_how: where the offset is known from.
    """

    evidence: Evidence | None
    explanations: tuple[Explanation, ...] = ()
    wrong: bool = False
    orders: tuple[Orders, Orders] = (frozenset(), frozenset())
    offset: float = 0.0
    offset_error: float = 0.0
    offset_how: str = ""

    @property
    def is_swapped(self) -> bool:
        """Whether the straight order does not explain the stresses."""
        return any(
            orders and part not in orders for orders, part in zip(self.orders, PARTS, strict=True)
        )


def compare_stresses(
    comparison: Comparison,
    said: Sequence[Said | None] | None,
    unsure: frozenset[Group],
    sure_energies: bool = True,
) -> dict[Group, StressVerdict]:
    """A verdict on each group with stresses.

    Args:
        comparison: frames whose energies and forces agree.
        said: what a fit to energies and forces, without stresses, says of all frames.
        unsure: groups whose energies or forces are wrong in ways that could not be mended.
        sure_energies: whether forces show that the unit of the energies is right.
    """
    evidence: dict[Group, Evidence | None] = {}
    stresses: dict[Group, Stresses] = {}
    for group, places in comparison.groups.items():
        frames = [comparison.frames[n] for n in places]
        if not any(frame.stress is not None for frame in frames):
            continue
        answers = [None] * len(places) if said is None else [said[n] for n in places]
        stresses[group] = Stresses.of(frames, answers)
        pairs = None if group in unsure else _of_pairs(comparison.pairs[group])
        fit = evidence_of_fit(stresses[group])
        evidence[group] = pairs if pairs is not None and pairs.log[1] < 0.2 else fit or pairs
    verdicts = _explained(comparison, evidence, sure_energies)
    found: dict[Group, StressVerdict] = {}
    for group, verdict in verdicts.items():
        own = None if group in unsure else comparison.pairs[group]
        found[group] = replace(verdict, orders=best_orders(stresses[group], own, verdict))
    return _with_offsets(comparison, stresses, found)


# ---- factors


def _of_pairs(pairs: Pairs) -> Evidence | None:
    """Changes of the energy beyond the work of the forces over the work of the stresses, inverted."""
    used = pairs.strained > 0.0
    if np.sum(used) < 5:
        return None
    # A constant pressure that is missing in the stresses does work on the volume.
    volume = np.sum(pairs.strains[:, :3], axis=1)
    columns = [pairs.of_stresses]
    if np.sum(np.abs(volume[used])) > 0.05 * np.sum(np.abs(pairs.strains[used])):
        columns.append(volume)
    x = np.array([column[used] for column in columns]).T
    beyond = pairs.changes - pairs.of_forces
    scale = pairs.strained * float(
        np.median(np.abs(beyond[used])) / np.median(pairs.strained[used])
    )
    scale = (scale + pairs.moved + 0.1 * np.abs(beyond))[used]
    slopes = robust_slopes(x, beyond[used], scale, pairs.first[used])
    if slopes is None or slopes.shares[0] < 0.1:
        return None
    value, error = float(slopes.values[0]), float(slopes.errors[0])
    correlation = float(np.copysign(max(slopes.correlation, 0.0), value))
    unsure = 0.5 + 6.0 / float(np.sqrt(slopes.count))
    method = 0.01 + unsure * float(np.sqrt(max(1.0 - abs(correlation), 0.0)))
    how = f"between {slopes.count} pairs of similar cells"
    found = Evidence.of(Ratio(value, error, correlation, slopes.count), method, BY_PAIRS, how)
    return None if found is None else found.inverse()


def evidence_of_fit(stresses: Stresses) -> Evidence | None:
    """Stresses over those that a quick fit to energies and forces says.

    By how they vary among the frames, whatever the order of components; else by their whole size, of
    which a fit says the order of magnitude.
    """
    if stresses.count < 3:
        return None
    known, said = _shifted(stresses.known), _shifted(stresses.said)
    # The order of the components does not matter here; the one that fits best is used.
    products = {order: abs(float(np.sum(known[:, np.argsort(order)] * said))) for order in ORDERS}
    best = _ratio(known[:, np.argsort(max(products, key=lambda order: products[order]))], said)
    how = f"by a quick fit to energies and forces, in {stresses.count} frames"
    found = Evidence.of(best, OF_FIT, BY_FIT, how)
    if found is None or found.log[1] > 0.35:
        whole = Evidence.of(_ratio(stresses.known, stresses.said), OF_SIZE, BY_SIZE, how)
        return whole if whole is not None and is_wrong(whole) else found
    return found


def _ratio(known: Array, said: Array) -> Ratio | None:
    owners = np.repeat(np.arange(len(known)), known.shape[1])
    return robust_ratio(said.ravel(), known.ravel(), owners)


def _shifted(values: Array) -> Array:
    """Stresses without the median of the pressure part, which a wrong zero would shift."""
    shift = np.where(np.arange(6) < 3, np.median(values[:, :3].mean(axis=1)), 0.0)
    return np.asarray(values - shift)


def _explained(
    comparison: Comparison, evidence: Mapping[Group, Evidence | None], sure_energies: bool
) -> dict[Group, StressVerdict]:
    """Verdicts by as few explanations as possible, each of as much of the evidence as possible."""
    sizes = {g: _sizes(comparison, g) for g, found in evidence.items() if found is not None}
    candidates = stress_candidates() + ([] if sure_energies else energy_candidates())
    found = settled(evidence, candidates, lambda e, g: _expected(e, sizes[g]))
    verdicts = {group: StressVerdict(*one) for group, one in found.items()}
    return _alike(_without_contradictions(verdicts))


def _without_contradictions(
    verdicts: Mapping[Group, StressVerdict],
) -> dict[Group, StressVerdict]:
    """Verdicts by pairs outvote those by fits on other groups of the same file, if they agree."""
    found = dict(verdicts)
    for group, verdict in verdicts.items():
        sure = [v for g, v in verdicts.items() if g[0] == group[0] and _by_pairs(v)]
        alike = len({(v.wrong, v.explanations) for v in sure}) == 1
        if verdict.wrong and not _by_pairs(verdict) and alike:
            found[group] = sure[0] if sure[0].wrong else StressVerdict(None)
    return found


def _by_pairs(verdict: StressVerdict) -> bool:
    return verdict.evidence is not None and verdict.evidence.threshold == BY_PAIRS


def _alike(verdicts: Mapping[Group, StressVerdict]) -> dict[Group, StressVerdict]:
    """Verdicts where none is right: groups that say nothing are like all others of their file."""
    found = dict(verdicts)
    if any(v.evidence and not v.wrong and is_right(v.evidence) for v in verdicts.values()):
        return found
    for group, verdict in verdicts.items():
        others = [v for g, v in verdicts.items() if g[0] == group[0] and v.wrong]
        if not verdict.wrong and others and len({v.explanations for v in others}) == 1:
            found[group] = others[0]
    return found


def _sizes(comparison: Comparison, group: Group) -> Array:
    """(2, frames) volumes, Å³, and numbers of atoms of the frames with stresses."""
    frames = [comparison.frames[n] for n in comparison.groups[group]]
    return np.array(
        [(abs(np.linalg.det(f.cell)), len(f.numbers)) for f in frames if f.stress is not None]
    ).T


def _expected(explanation: Explanation, sizes: Array) -> tuple[float, float]:
    """The factor that an explanation leads to, and the spread of its logarithm over the frames."""
    # Energies that are too small ask for stresses that are as much too small.
    of_energy = explanation.label == "energy"
    expected = explanation.factor if of_energy else 1.0 / explanation.factor
    if not (explanation.by_volume or explanation.by_atoms):
        return expected, 0.0
    logs = np.log(sizes[0 if explanation.by_volume else 1])
    return expected * float(np.exp(np.mean(logs))), float(np.std(logs))


# ---- order of the components


def _orders() -> tuple[Order, ...]:
    diagonals, others = list(permutations((0, 1, 2))), list(permutations((3, 4, 5)))
    found = {a + b for a in diagonals for b in others}
    return (STRAIGHT, *sorted(found - {STRAIGHT}))


ORDERS = _orders()


def best_orders(
    stresses: Stresses, pairs: Pairs | None, verdict: StressVerdict
) -> tuple[Orders, Orders]:
    """The orders of the diagonal, and of the other components, that explain the stresses.

    Both are judged apart: one kind may vanish by symmetry. Empty where it cannot be told.
    """
    mended = _in_our_unit(stresses, verdict)
    known, said = _shifted(mended.known), _shifted(mended.said)
    found = []
    for part in PARTS:
        scores = _scores_of_pairs(pairs, verdict, part) if pairs is not None else {}
        scores = scores or _scores_of_fit(known, said, part)
        least = min(scores.values(), default=0.0)
        good = [order for order, score in scores.items() if score <= CLEARLY * least]
        found.append(frozenset(good) if len(good) < len(scores) else frozenset())
    return found[0], found[1]


def _scores_of_fit(known: Array, said: Array, part: Order) -> dict[Order, float]:
    """Squared differences for each order, relative; empty where the fit explains too little."""
    largest = np.abs(said[:, part]).max(axis=1, initial=0.0)
    used = largest > LEAST_STRESS
    if np.sum(used) < 4:
        return {}
    weight = 1.0 / (largest[used, None] + np.median(largest[used]))
    known, said = known[used] * weight, said[used] * weight
    # At place k of the labels stands the true component order[k].
    scores = {
        order: _trimmed(np.sum((known[:, part] - said[:, order]) ** 2, axis=1))
        for order in permutations(part)
    }
    size = _trimmed(np.sum(known[:, part] ** 2, axis=1))
    return scores if min(scores.values()) < 0.25 * size else {}


def _scores_of_pairs(pairs: Pairs, verdict: StressVerdict, part: Order) -> dict[Order, float]:
    """The same by what the work of the stresses leaves of the changes of the energy."""
    strained = np.abs(pairs.strains[:, part]) > 1e-3 * pairs.volumes[:, None]
    used = strained.any(axis=1)
    if np.sum(used) < 6 or np.sum(strained.any(axis=0)) < 2:
        return {}
    scale = _scale(pairs.volumes, verdict)
    stresses, strains = (pairs.stresses * scale[:, None])[used], pairs.strains[used]
    beyond = (pairs.changes - pairs.of_forces)[used]
    size = np.sum(np.abs(strains * stresses), axis=1) + 0.3 * pairs.moved[used] + 1e-9
    scores = {}
    for order in permutations(part):
        places = list(PARTS[0] + PARTS[1])
        # Where the true component n stands: at place k with order[k] = n.
        for place, component in zip(part, order, strict=True):
            places[component] = place
        left = beyond - np.sum(strains * stresses[:, places], axis=1)
        scores[order] = _trimmed((left / size) ** 2) + 1e-6
    return scores if min(scores.values()) < 0.01 else {}


def _trimmed(values: Array) -> float:
    """Mean without the largest tenth."""
    kept = np.sort(values)[: max(1, int(np.ceil(0.9 * len(values))))]
    return float(np.mean(kept))


def _scale(volumes: Array, verdict: StressVerdict) -> Array:
    """(n,) factors that bring stresses of frames with these volumes into our unit."""
    if not verdict.wrong or not verdict.explanations:
        return np.ones(len(volumes))
    explanation = verdict.explanations[0]
    if explanation.label != "stress":
        return np.ones(len(volumes))
    scale = np.full(len(volumes), explanation.factor)
    return scale / volumes if explanation.by_volume else scale


def _in_our_unit(stresses: Stresses, verdict: StressVerdict) -> Stresses:
    scale = _scale(stresses.volumes, verdict)
    return replace(stresses, known=stresses.known * scale[:, None])


# ---- zero


def _with_offsets(
    comparison: Comparison,
    stresses: Mapping[Group, Stresses],
    verdicts: Mapping[Group, StressVerdict],
) -> dict[Group, StressVerdict]:
    """The verdicts with the offsets of the zero of the stress.

    By pairs where cells differ; elsewhere by the quick fit, whose own error the groups with both show.
    """
    found = dict(verdicts)
    right = [g for g, v in verdicts.items() if not v.wrong and not v.is_swapped]
    biases = []
    for group in right:
        known = _offset_of_pairs(comparison.pairs[group])
        if known is None:
            continue
        value, error, count = known
        how = f"between {count} pairs of similar cells"
        verdict = verdicts[group]
        found[group] = replace(verdict, offset=-value, offset_error=error, offset_how=how)
        fit = _offset_of_fit(stresses[group])
        if fit is not None:
            biases.append(abs(fit[0] + value))
    bias = max([LEAST_OFFSET, *biases])
    # Forces alone leave the pressure open: cells must differ somewhere.
    for group in right if biases else ():
        fit = _offset_of_fit(stresses[group])
        if fit is None or found[group].offset_how or abs(fit[0]) < 2.0 * bias:
            continue
        how = f"by a quick fit to energies and forces, in {stresses[group].count} frames"
        error = float(np.hypot(fit[1], bias / 3.0))
        found[group] = replace(found[group], offset=fit[0], offset_error=error, offset_how=how)
    return found


def _offset_of_pairs(pairs: Pairs) -> tuple[float, float, int] | None:
    """Pressure part that is missing in the stresses, its error, eV/Å³, and the number of pairs."""
    volume = np.sum(pairs.strains[:, :3], axis=1)
    # Where atoms move as well, the error of the work of forces exceeds what is looked for.
    used = (np.abs(volume) > STRAINED * pairs.volumes) & (pairs.moved < 0.2 * pairs.strained)
    if np.sum(used) < 6:
        return None
    beyond = pairs.changes - pairs.of_forces - pairs.of_stresses
    # The trapezoidal rule is wrong by the third power of the strain.
    strains = pairs.largest_strain
    scale = np.abs(volume) * LEAST_OFFSET + pairs.moved + pairs.strained * (10.0 * strains) ** 2
    slopes = robust_slopes(volume[used, None], beyond[used], scale[used], pairs.first[used])
    if slopes is None:
        return None
    return float(slopes.values[0]), float(slopes.errors[0]), slopes.count


def _offset_of_fit(stresses: Stresses) -> tuple[float, float] | None:
    """Mean difference of the pressure part to what the fit says, and its spread, eV/Å³."""
    if stresses.count < LEAST_FRAMES:
        return None
    known, said = (values[:, :3].mean(axis=1) for values in (stresses.known, stresses.said))
    offset = float(np.median(known - said))
    spread = 1.4826 * float(np.median(np.abs(known - said - offset)))
    if spread > 0.3 * abs(offset) or abs(offset) < 0.25 * float(np.median(np.abs(said))):
        return None
    return offset, spread / float(np.sqrt(stresses.count))


# ---- findings


def mended_stress(frame: Frame, explanation: Explanation | None, order: Order = STRAIGHT) -> Frame:
    """The frame with its stress in our unit and order."""
    if frame.stress is None:
        return frame
    six = six_of(frame.stress)[np.argsort(order)]
    if explanation is not None:
        six = six * explanation.factor
        if explanation.by_volume:
            six = six / abs(float(np.linalg.det(frame.cell)))
    return replace(frame, stress=matrix_of(six))


def mended_stresses(comparison: Comparison, verdicts: Mapping[Group, StressVerdict]) -> list[Frame]:
    """All frames, their stresses mended where it is certain how."""
    frames = list(comparison.frames)
    orders = {group: order for order, groups in swapped_groups(verdicts) for group in groups}
    for group, verdict in verdicts.items():
        certain = verdict.wrong and len(verdict.explanations) == 1
        certain = certain and verdict.explanations[0].label == "stress"
        explanation = verdict.explanations[0] if certain else None
        order = orders.get(group, STRAIGHT)
        for n in comparison.groups[group] if certain or order != STRAIGHT else ():
            frames[n] = mended_stress(frames[n], explanation, order)
    return frames


def swapped_groups(
    verdicts: Mapping[Group, StressVerdict],
) -> list[tuple[Order, list[Group]]]:
    """Orders other than the straight one, each with the groups whose stresses have it.

    The groups of a file share one order if one explains all of them, also those that say nothing: a
    group without shear needs the same. Otherwise each group has its own, where it is clear.
    """
    files: dict[str, list[Group]] = {}
    for group in verdicts:
        files.setdefault(group[0], []).append(group)
    found: dict[Order, list[Group]] = {}
    for groups in files.values():
        common = _common([verdicts[g] for g in groups])
        if common is not None:
            found.setdefault(common, []).extend(groups)
            continue
        for group in groups:
            own = _common([verdicts[group]])
            found.setdefault(own or STRAIGHT, []).append(group)
    return [(order, groups) for order, groups in found.items() if order != STRAIGHT]


def _common(verdicts: Sequence[StressVerdict]) -> Order | None:
    """An order that explains all verdicts, straight or VASP's if they do; None without one."""
    order: Order = ()
    for place, part in enumerate(PARTS):
        known = [v.orders[place] for v in verdicts if v.orders[place]]
        good = frozenset.intersection(*known) if known else frozenset({part})
        vasp = VASP[:3] if place == 0 else VASP[3:]
        chosen = next((o for o in (part, vasp) if o in good), min(good, default=None))
        if chosen is None:
            return None
        order += chosen
    return order


def stress_findings(
    comparison: Comparison, verdicts: Mapping[Group, StressVerdict]
) -> list[Finding]:
    """The verdicts as findings; groups with the same fault together."""
    return [
        *_unit_findings(comparison, verdicts),
        *_order_findings(comparison, verdicts),
        *_offset_findings(comparison, verdicts),
        *_undecided(comparison, verdicts),
    ]


def _frames(comparison: Comparison, groups: Sequence[Group]) -> list[Frame]:
    frames = [comparison.frames[n] for group in groups for n in comparison.groups[group]]
    return [frame for frame in frames if frame.stress is not None]


def _unit_findings(
    comparison: Comparison, verdicts: Mapping[Group, StressVerdict]
) -> list[Finding]:
    faults: dict[tuple[str, ...], list[Group]] = {}
    for group, verdict in verdicts.items():
        if verdict.wrong:
            faults.setdefault(tuple(e.text for e in verdict.explanations), []).append(group)
    findings = []
    for groups in faults.values():
        evidence, found = min(
            ((v.evidence, v.explanations) for v in (verdicts[g] for g in groups) if v.evidence),
            key=lambda pair: pair[0].log[1],
        )
        said = (
            f"{group_name(groups, list(comparison.groups))}: {evidence.how}, the stresses are "
            f"{rounded(evidence.value, evidence.error)} times those that the energies ask for"
        )
        figures = {
            "ratio": evidence.value,
            "error": evidence.error,
            "correlation": evidence.correlation,
            "factors": {e.text: e.factor for e in found},
        }
        places = places_of(_frames(comparison, groups))
        if not found:
            text, cure = f"{said}; no unit explains this", "Look where the stresses come from"
            findings.append(
                Finding("stress-contradicts", Severity.DOUBT, text, cure, places, figures)
            )
            continue
        alone = len(found) == 1
        advice = "; or ".join(e.advice for e in found)
        label = "energy" if all(e.label == "energy" for e in found) else "stress"
        findings.append(
            Finding(
                "stress-sign" if alone and not found[0].unit else f"{label}-unit",
                Severity.WRONG,
                f"{said}: {', or '.join(e.text for e in found)}"
                + ("" if alone else " (the figure alone does not tell which)"),
                f"{advice[:1].upper()}{advice[1:]}; expected are eV/Å³, positive under tension (ASE's "
                "sign), or virials = -volume * stress in eV",
                places,
                figures,
                stress_correction(found[0]) if alone and label == "stress" else None,
            )
        )
    return findings


def stress_correction(explanation: Explanation) -> Correction:
    """Mends the unit or the sign."""
    by = f"{explanation.factor:.9g}" + (" / volume" if explanation.by_volume else "")
    return Correction(f"stress multiplied by {by}", lambda f: mended_stress(f, explanation))


def order_text(order: Order) -> str:
    """The places that hold other components, "yz holds xy, xy holds yz"."""
    return ", ".join(f"{NAMES[k]} holds {NAMES[n]}" for k, n in enumerate(order) if k != n)


def order_correction(order: Order) -> Correction:
    """Puts the components in order."""
    text = f"components of the stress put in order ({order_text(order)})"
    return Correction(text, lambda f: mended_stress(f, None, order))


def _order_findings(
    comparison: Comparison, verdicts: Mapping[Group, StressVerdict]
) -> list[Finding]:
    findings = []
    for order, groups in swapped_groups(verdicts):
        shown = [g for g in groups if verdicts[g].is_swapped]
        vasp = " (VASP's order xx yy zz xy yz zx)" if order == VASP else ""
        findings.append(
            Finding(
                "stress-order",
                Severity.WRONG,
                f"{group_name(groups, list(comparison.groups))}: components of the stress are "
                f"swapped{vasp}: {order_text(order)}, as energies and forces show in "
                f"{len(_frames(comparison, shown))} frames",
                "Write the stress as nine numbers xx xy xz yx yy yz zx zy zz, or six in the order "
                "xx yy zz yz xz xy",
                places_of(_frames(comparison, groups)),
                {"order": [NAMES[n] for n in order]},
                order_correction(order),
            )
        )
    return findings


def _offset_findings(
    comparison: Comparison, verdicts: Mapping[Group, StressVerdict]
) -> list[Finding]:
    findings = []
    for group, verdict in verdicts.items():
        size, error = abs(verdict.offset), verdict.offset_error
        if size < LEAST_OFFSET or size < 5.0 * error:
            continue
        findings.append(
            Finding(
                "stress-offset",
                Severity.DOUBT,
                f"{group_name([group], list(comparison.groups))}: {verdict.offset_how}, the zero of "
                f"the stress is off by {rounded(verdict.offset * GPA, error * GPA)} GPa: the energies "
                "ask for stresses without this constant (Pulay stress of plane waves, or a pressure "
                "that was added)",
                f"Subtract {verdict.offset:.4g} eV/Å³ from xx, yy and zz, or give the stresses a sigma "
                "of this size; for new calculations, raise the energy cutoff",
                places_of(_frames(comparison, [group])),
                {"offset_gpa": verdict.offset * GPA, "error_gpa": error * GPA},
            )
        )
    return findings


def _undecided(comparison: Comparison, verdicts: Mapping[Group, StressVerdict]) -> list[Finding]:
    unknown = [g for g, v in verdicts.items() if v.evidence is None and not v.wrong]
    if not unknown or len(unknown) < len(verdicts):
        return []
    name = group_name(unknown, list(comparison.groups))
    return [
        Finding(
            "stress-undecided",
            Severity.NOTE,
            f"{name}: whether unit and sign of the stresses are right cannot be told from these data: "
            "too few frames differ in their cells, and a quick fit to energies and forces does not "
            "determine the stresses",
        )
    ]
