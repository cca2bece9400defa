"""Pair functions of other programs on uniform splines, as fine as they need to be.

A cutoff whose second derivative jumps inside of a function's range, as that of QUIP's cosine does, is
no matter of resolution: the error of a spline across such a place falls with the spacing of the knots
only. Such functions come as two parts instead (`quip_pairs`), each smooth over a range and in a table
of its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from forcemap.fitter.terms.splines import clamped_spline_coefficients
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.terms.two_body import TwoBodySplines
from numpy.typing import NDArray

__all__ = ["Numbers", "PairPart", "pair_tables"]

Array: TypeAlias = NDArray[np.float64]
Numbers: TypeAlias = NDArray[np.float64] | NDArray[np.longdouble]
"""Sums over sparse points cancel by orders of magnitude: double precision may not be enough."""

TOLERANCE = 3e-10
ACCEPTED = 1e-7
"""eV/Å; what is tried, and what is good enough to say nothing, where no tolerance is asked for."""

TOLERANCE_OF_KINKS = 3e-9
"""eV/Å; what is tried for functions with kinks, which would need the largest tables for the other."""

MOST_INTERVALS = 100_000
FIRST_SPACING = 0.02  # Å
OFF_KNOTS = (0.15, 0.5, 0.85)


@dataclass(frozen=True)
class PairPart:
    """A pair function, or a part of one.

    Attributes:
        species: atomic numbers, the lower one first.
        reach: Å; it is nothing beyond.
        function: distances (n,) in Å, from 0 to the reach, to values (eV) of half the pair's energy and
            slopes (eV/Å), of the distances' own precision.
    """

    species: tuple[int, int]
    reach: float
    function: Callable[[Any], tuple[Any, Any]]


def pair_tables(
    parts: Sequence[PairPart], tolerance: float | None
) -> tuple[list[TwoBodySplines], dict[str, Any]]:
    """Terms of a potential with the sums of the parts, one for each reach, and facts about them.

    Args:
        parts: of any species and reaches.
        tolerance: largest error of a slope, eV/Å; relative to slopes above 1 eV/Å. None: as small as
            rounding allows, or nearly.

    Warns (UserWarning) where the finest table does not reach the tolerance, or is far from exact.
    """
    wanted, kinks, accepted = (
        (TOLERANCE, TOLERANCE_OF_KINKS, ACCEPTED) if tolerance is None else 3 * (tolerance,)
    )
    groups: dict[float, dict[tuple[int, int], list[PairPart]]] = {}
    for part in parts:
        by_pair = groups.setdefault(round(part.reach, 10), {})
        by_pair.setdefault(part.species, []).append(part)
    terms, largest = [], 0.0
    for reach, by_pair in sorted(groups.items()):
        term, error = _term(reach, by_pair, wanted, kinks)
        if error > accepted:
            warnings.warn(
                f"pair functions up to {reach:g} Å: with {term.intervals} intervals, the most there "
                f"can be, slopes are off by {error:.1e} eV/Å, more than {accepted:g}",
                stacklevel=3,
            )
        terms.append(term)
        largest = max(largest, error)
    notes: dict[str, Any] = {"pair_slope_error_ev_per_a": largest} if terms else {}
    return terms, notes


def _term(
    reach: float,
    by_pair: dict[tuple[int, int], list[PairPart]],
    tolerance: float,
    kinks: float,
) -> tuple[TwoBodySplines, float]:
    """The term of one reach with its largest error, and as few intervals as the tolerance allows."""
    intervals = max(8, int(np.ceil(reach / FIRST_SPACING)))
    # Slopes converge with the third power of the spacing, those of functions with kinks more slowly.
    before, order = None, 3.0
    while True:
        tables = {pair: _table(parts, reach, intervals) for pair, parts in by_pair.items()}
        error = max(_error(tables[pair], parts, reach) for pair, parts in by_pair.items())
        limit = kinks if order < 2.5 else tolerance
        if error <= limit or intervals == MOST_INTERVALS:
            break
        if before is not None:
            order = np.log(before[1] / error) / np.log(intervals / before[0])
        before = (intervals, error)
        factor = 1.1 * (error / (kinks if order < 2.5 else tolerance)) ** (
            1.0 / float(np.clip(order, 1.0, 3.0))
        )
        intervals = min(MOST_INTERVALS, int(np.ceil(intervals * np.clip(factor, 1.2, 8.0))))
    named = {(SYMBOLS[a], SYMBOLS[b]): tables[a, b] for a, b in sorted(tables)}
    return TwoBodySplines(reach, intervals, named), error


def _sum(parts: Sequence[PairPart], r: Numbers) -> tuple[Numbers, Numbers]:
    found = [part.function(r) for part in parts]
    return sum(value for value, _ in found), sum(slope for _, slope in found)


def _table(parts: Sequence[PairPart], reach: float, intervals: int) -> Array:
    # The slope of a spline magnifies what rounding does to values.
    knots = np.linspace(0.0, reach, intervals + 1).astype(np.longdouble)
    values, slopes = _sum(parts, knots)
    spacing = reach / intervals
    ends = float(slopes[0]) * spacing, float(slopes[-1]) * spacing
    return clamped_spline_coefficients(values.astype(np.float64), ends)


def _error(table: Array, parts: Sequence[PairPart], reach: float) -> float:
    """The largest error of a slope between knots, eV/Å; relative to slopes above 1 eV/Å."""
    intervals = len(table) - 3
    largest = 0.0
    for t in OFF_KNOTS:
        basis = (-((1 - t) ** 2) / 2, (3 * t - 4) * t / 2, ((2 - 3 * t) * t + 1) / 2, t * t / 2)
        found = sum(b * table[a : a + intervals] for a, b in enumerate(basis)) * (intervals / reach)
        r = (np.arange(intervals) + t) * (reach / intervals)
        exact = _sum(parts, r)[1]
        error = np.abs(found - exact) / np.maximum(1.0, np.abs(exact))
        largest = max(largest, float(error.max()))
    return largest
