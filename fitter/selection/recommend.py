"""The recommended candidate, with a sentence on the reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forcemap.fitter.selection.judge import Judged

__all__ = ["Recommendation", "recommend"]

STILL_FALLS = 0.9
"""A learning curve still falls if its last error is below this fraction of the one before."""


@dataclass(frozen=True)
class Recommendation:
    """A recommendation.

    Attributes:
        name: name of the candidate; None if none meets the target.
        sentence: the reasons, for people.
    """

    name: str | None
    sentence: str


def recommend(judged: Sequence[Judged], target: float | None) -> Recommendation:
    """The candidate with the cheapest step that meets the target (force RMSE, eV/Å).

    Without a target it is the one of largest evidence among those that can be run in MD. Candidates
    without a map are recommended only if there are no others.
    """
    runnable = [one for one in judged if one.microseconds is not None] or list(judged)
    known = [one for one in runnable if one.error is not None]
    if target is None or not known:
        best = max(runnable, key=lambda one: one.log_evidence)
        return Recommendation(
            best.candidate.name,
            f"{best.candidate.name} is recommended: its evidence is the largest of the {len(runnable)} "
            f"that can be run{_said(best)}; give a target, in eV/Å, for the cheapest that meets it.",
        )
    enough = [one for one in known if one.error is not None and one.error <= target]
    if not enough:
        return Recommendation(None, _none(known, target))
    best = min(enough, key=lambda one: (one.microseconds or 0.0, one.fit_seconds))
    others = len(enough) - 1
    why = (
        "the only one that does"
        if not others
        else f"at {_cost(best)} the cheapest of the {len(enough)} that do"
    )
    largest = max(judged, key=lambda one: one.log_evidence)
    evidence = (
        "the evidence is largest for it too"
        if largest is best
        else f"the evidence is largest for {largest.candidate.name}"
    )
    return Recommendation(
        best.candidate.name,
        f"{best.candidate.name} is recommended: its force error on {_where(best)}, {best.error:.3f} "
        f"eV/Å, meets the target of {target:g} eV/Å, and it is {why} of {len(judged)} candidates; "
        f"{evidence}.",
    )


def _none(known: Sequence[Judged], target: float) -> str:
    best = min(known, key=lambda one: one.error or 0.0)
    text = (
        f"No candidate meets the target of {target:g} eV/Å: the most accurate is "
        f"{best.candidate.name} with {best.error:.3f} eV/Å on {_where(best)}"
    )
    if len(best.curve) < 2 or best.error is None:
        return text + "."
    last = best.curve[-2]  # the last but all frames
    if best.error < STILL_FALLS * last.mean:
        return text + (
            f"; with {last.frames} frames it was {last.mean:.3f}, so that more frames should help."
        )
    return text + (
        f"; with {last.frames} frames it was {last.mean:.3f} already, so that more frames alone will "
        "hardly help: give candidates of more functions or a longer cutoff."
    )


def _where(one: Judged) -> str:
    return "test frames" if one.test else "frames left out"


def _cost(one: Judged) -> str:
    if one.microseconds is None:
        return f"{one.fit_seconds:.0f} s of fitting"
    return f"{one.microseconds:.1f} µs per atom and step"


def _said(one: Judged) -> str:
    return "" if one.error is None else f", its force error on {_where(one)} {one.error:.3f} eV/Å"
