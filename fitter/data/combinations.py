"""Combinations of elements: their formulas, and what a fit says of those that no training frame has."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import TYPE_CHECKING

from forcemap.fitter.data.frame import Frame
from forcemap.potentials.elements import SYMBOLS

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["combination_lines", "formula_of"]

MOST_NAMED = 6


def combination_lines(frames: Iterable[Frame]) -> list[str]:
    """Lines about elements of the frames that are in no frame together; none if one has all."""
    seen = {frozenset(frame.numbers.tolist()) for frame in frames}
    elements = sorted(set().union(*seen))
    if not seen or any(len(group) == len(elements) for group in seen):
        return []
    apart = [
        f"{SYMBOLS[a]}-{SYMBOLS[b]}"
        for a, b in combinations(elements, 2)
        if not any({a, b} <= group for group in seen)
    ]
    lines = []
    if apart:
        more = f" and {len(apart) - MOST_NAMED} more" if len(apart) > MOST_NAMED else ""
        lines.append(
            f"no training frame holds both elements of {', '.join(apart[:MOST_NAMED])}{more}: pair "
            "functions of them are unknown, and terms with learned channels guess; add such frames"
        )
    most = max(len(group) for group in seen)
    if most > 1 and len(elements) > 2:
        names = ", ".join(SYMBOLS[z] for z in elements)
        lines.append(
            f"no training frame holds more than {most} of the {len(elements)} elements ({names}): "
            "mixtures of more are interpolated; some such frames as a test set would say how well"
        )
    return lines


def formula_of(frame: Frame | Atoms, order: str = "hill") -> str:
    """Its reduced formula, elements in Hill's order or another that ASE's `Formula.format` knows."""
    from ase.formula import Formula

    return str(Formula.from_list([SYMBOLS[z] for z in frame.numbers]).reduce()[0].format(order))
