"""Wrong factors of groups explained by as few units and signs as possible."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from forcemap.fitter.doctor.comparison import Group
from forcemap.fitter.doctor.evidence import Evidence, is_wrong
from forcemap.fitter.doctor.unit_factors import Explanation

__all__ = ["BY_FIT", "BY_PAIRS", "ROUGHLY", "Settled", "settled"]

BY_PAIRS, BY_FIT = 1.5, 3.0
"""Factors that can be distinguished from 1: pairs of frames far apart are wrong by some tenths, quick
fits that predict other labels than they learned by more."""

ROUGHLY = 0.02
"""Least relative error of any factor."""

Expected: TypeAlias = Callable[[Explanation, Group], tuple[float, float]]
"""The factor that an explanation leads to in a group, and the spread of its logarithm."""


class Settled(NamedTuple):
    """What is known of a group.

    Attributes:
        evidence: the factor; None if it cannot be told.
        explanations: units and signs that explain a wrong factor, the nearest first.
        wrong: whether the factor is certainly not 1.
    """

    evidence: Evidence | None
    explanations: tuple[Explanation, ...] = ()
    wrong: bool = False


def settled(
    evidence: Mapping[Group, Evidence | None],
    candidates: Sequence[Explanation],
    expected: Expected,
) -> dict[Group, Settled]:
    """Verdicts by as few explanations as possible, each of as much of the evidence as possible."""
    verdicts = {g: Settled(found) for g, found in evidence.items()}
    left = {g: found for g, found in evidence.items() if found is not None and is_wrong(found)}
    while left:
        choices = [_Choice.of(e, left, expected) for e in candidates]
        choices = [choice for choice in choices if choice.groups]
        if not choices:
            break
        most = max(choice.weight for choice in choices)
        rivals = [choice for choice in choices if choice.weight > 0.9 * most]
        nearest = min(choice.off for choice in rivals)
        rivals = [choice for choice in rivals if choice.off < max(2.0 * nearest, 1.0)]
        rivals.sort(key=lambda choice: choice.off)
        for group in rivals[0].groups:
            names = tuple(choice.explanation for choice in rivals)
            verdicts[group] = Settled(left.pop(group), names, wrong=True)
    for group, found in left.items():
        certain = found.threshold == BY_PAIRS and found.log[1] < 0.15
        verdicts[group] = Settled(found if certain else None, (), wrong=certain)
    return verdicts


@dataclass(frozen=True)
class _Choice:
    """An explanation with the groups that it explains.

    Attributes:
        explanation: the explanation.
        groups: the groups.
        weight: of their evidence.
        off: deviation of the mean of their factors from the explanation's, in standard errors.
    """

    explanation: Explanation
    groups: tuple[Group, ...]
    weight: float
    off: float

    @classmethod
    def of(
        cls, explanation: Explanation, evidence: Mapping[Group, Evidence], expected: Expected
    ) -> _Choice:
        groups, offs, weights = [], [], []
        for group, found in evidence.items():
            factor, spread = expected(explanation, group)
            log, error = found.log
            error = max(error, ROUGHLY)
            off = log - float(np.log(abs(factor)))
            if found.value * factor > 0.0 and abs(off) < 2.5 * float(np.hypot(error, spread)):
                groups.append(group)
                offs.append(off)
                weights.append(1.0 / error**2)
        if not groups:
            return cls(explanation, (), 0.0, np.inf)
        total = float(np.sum(weights))
        mean = float(np.dot(weights, offs)) / total
        return cls(explanation, tuple(groups), total, abs(mean) * float(np.sqrt(total)))
