"""Hyperparameters before and after their choice by evidence, as lines of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Change", "changes", "heading"]


class Change(NamedTuple):
    """A hyperparameter, or the evidence, before and after."""

    name: str
    before: str
    after: str


def changes(optimised: Mapping[str, Any]) -> list[Change]:
    """Lines of the block ``optimised`` of a report."""
    evidence = optimised["log_evidence"]
    lines = [
        Change(
            "log evidence of the sample", f"{evidence['before']:.1f}", f"{evidence['after']:.1f}"
        )
    ]
    for term in optimised["terms"]:
        for name, before in term["before"].items():
            after = term["after"][name]
            place = f"{term['kind']} ({term['term'] + 1}) {name}"
            lines.append(Change(place, f"{before:.4g}", f"{after:.4g}"))
    return lines


def heading(optimised: Mapping[str, Any]) -> str:
    """The heading of the table."""
    return (
        f"Hyperparameters by evidence: {optimised['evaluations']} evaluations on "
        f"{optimised['n_frames']} frames with {optimised['n_sparse']} sparse points"
    )
