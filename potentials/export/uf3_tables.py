"""Spline tables in the text form of LAMMPS' ``pair_style uf3``: knots, change of basis, digits.

UF3 writes a cubic spline as B-spline coefficients on explicit knots, the first one four times at 0
(its reader takes knots[0] for the start of the first interval). Our coefficients belong to uniform
knots that go on beyond both ends; the same spline has other coefficients at the ends only.

The reader of LAMMPS (22Jul2025) holds one line of 1023 characters. All coefficients of one row must
fit into it, and so must all knots of one direction. A table with more of them is written as a sum
of pieces, each with some of the B-splines and wide empty intervals in place of the others
(non-uniform knots, the kind ``nk``); the sum is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline

__all__ = ["Axis", "clamped_knots", "decimals_that_fit", "row_text", "split_axis", "whole_axis"]

Array = NDArray[np.float64]

MAX_LINE = 1022  # characters, without the end of line
MAX_DECIMALS = 16
# With fewer decimals of the knots even a spline fitted to the rounded knots is off by too much.
MIN_KNOT_DECIMALS = 8
MIN_PIECE_DECIMALS = 12  # a piece can be made smaller instead
# Largest error of a table's slope that rounding its coefficients may make; some hundred triplets of
# an atom then add up to less than 1e-9 eV/Å.
ROUNDING_SLOPE = 2e-11  # eV/Å


@dataclass(frozen=True)
class Axis:
    """One direction of a table, or a piece of it, as it will be written.

    Of the B-splines on the whole direction the piece has those in [start, stop); around them stand
    `lead` and `trail` coefficients that are zero.
    """

    knots: tuple[str, ...]
    uniform: bool  # "uk": found by division, else "nk": found by search
    matrix: Array  # (n_new, intervals + 3): our coefficients to those on the whole direction
    start: int
    stop: int
    lead: int
    trail: int

    @property
    def size(self) -> int:
        """Coefficients that are written."""
        return len(self.knots) - 4

    @property
    def reach(self) -> float:
        """The distance below which LAMMPS finds the right interval, Å."""
        knots = _numbers(self.knots)
        if not self.uniform:
            return float(knots[-4])
        return float(min(knots[-4], (len(knots) - 7) * (knots[4] - knots[3])))


def clamped_knots(intervals: int, length: float) -> Array:
    """Uniform knots over [0, length], the first and last four times."""
    inner = np.arange(1, intervals) * (length / intervals)
    return np.concatenate([np.zeros(4), inner, np.full(4, length)])


def whole_axis(intervals: int, length: float, refine: int = 1) -> Axis | None:
    """A direction in one piece on `refine` times as many intervals; None if a line is too short."""
    exact = clamped_knots(intervals * refine, length)
    texts = _knot_texts(exact)
    if texts is None:
        return None
    matrix = _conversion(intervals, length, _numbers(texts))
    return Axis(texts, True, matrix, 0, len(matrix), 0, 0)


def split_axis(
    intervals: int, length: float, pieces: int, *, bounded: bool, least_knots: int = 0
) -> list[Axis] | None:
    """A direction in two or more pieces; None if a piece's knots do not fit into a line.

    The pieces of a `bounded` direction end where their last B-spline does (their cutoff can be put
    there); others reach over the whole direction. Each of these gets at least `least_knots` knots.
    """
    exact = clamped_knots(intervals, length)
    count = len(exact) - 4
    # The first four and the last four B-splines share the multiple knots at the ends.
    if count < 8 + pieces:
        return None
    edges = [0, *(4 + round((count - 8) * i / pieces) for i in range(1, pieces)), count]
    for decimals in range(MAX_DECIMALS + 1, MIN_PIECE_DECIMALS - 1, -1):
        whole = _knots_with(exact, decimals)
        parts = [
            _piece(whole, start, stop, bounded, least_knots) for start, stop in pairwise(edges)
        ]
        if all(len(" ".join(knots)) <= MAX_LINE for knots, _ in parts):
            break
    else:
        return None
    matrix = _conversion(intervals, length, _numbers(whole))
    return [
        Axis(knots, False, matrix, start, stop, lead, len(knots) - 4 - lead - (stop - start))
        for (knots, lead), (start, stop) in zip(parts, pairwise(edges), strict=True)
    ]


def _piece(
    whole: tuple[str, ...], start: int, stop: int, bounded: bool, least_knots: int
) -> tuple[tuple[str, ...], int]:
    """Knots of the piece with the B-splines [start, stop), and how many it has before them."""
    before: tuple[str, ...] = ("0",) * 4 if start else ()
    own = whole[start : stop + 4]
    after: tuple[str, ...] = ()
    if stop + 4 < len(whole):
        after = (own[-1],) * 3 if bounded else (whole[-1],) * 4
    missing = 0 if bounded else max(least_knots - len(before) - len(own) - len(after), 0)
    # Knots in the empty part, where they change nothing.
    if after:
        after = (*_between(float(own[-1]), float(whole[-1]), missing), *after)
    elif before:
        before = (*before, *_between(0.0, float(own[0]), missing))
    return (*before, *own, *after), len(before)


def _between(low: float, high: float, count: int) -> list[str]:
    """`count` knots between two others, with few digits."""
    return [_decimal_text(x, 6) for x in np.linspace(low, high, count + 2)[1:-1]]


def decimals_that_fit(rows: Array, axis: Axis) -> NDArray[np.int64]:
    """Decimals with which each row's coefficients in [start, stop) of `axis` fit into a line.

    Shape of rows: (..., n_new); of the result: (...,). Not bounded: may be negative or large.
    """
    active = np.abs(rows[..., axis.start : axis.stop])
    # Slightly enlarged: 9.99999999999 may be rounded to two digits.
    digits = np.floor(np.log10(np.maximum(active * (1 + 1e-8), 0.1)) + 1e-9).astype(np.int64) + 1
    fixed = (digits + 3).sum(axis=-1)  # a sign, a point and a space
    room = MAX_LINE + 1 - 2 * (axis.lead + axis.trail) - fixed
    return np.asarray(room // active.shape[-1], dtype=np.int64)


def decimals_needed(interval: float) -> int:
    """Decimals of coefficients on intervals of this width (Å) that keep to ROUNDING_SLOPE."""
    # |f'| <= 3/2 max|c| / h, and rounding to D decimals changes a coefficient by 10^-D / 2.
    return int(np.ceil(-np.log10(ROUNDING_SLOPE * interval / 0.75)))


def row_text(coefficients: Sequence[float], decimals: int, axis: Axis) -> str:
    """One line: `coefficients` are those in [start, stop) of `axis`."""
    numbers = [_decimal_text(c, min(decimals, MAX_DECIMALS)) for c in coefficients]
    line = " ".join([*["0"] * axis.lead, *numbers, *["0"] * axis.trail])
    assert len(line) <= MAX_LINE, (len(line), decimals)
    return line


def _conversion(intervals: int, length: float, knots: Array) -> Array:
    """Matrix that turns our coefficients into those on `knots`.

    Exact if `knots` hold all of ours; for knots rounded to some decimals the spline that agrees at
    the Greville points, which is off by third derivative's jump * h^2 * rounding / 6 only.
    """
    ours = (np.arange(intervals + 7) - 3.0) * (length / intervals)
    points = (knots[1:-3] + knots[2:-2] + knots[3:-1]) / 3.0
    old = BSpline(ours, np.eye(intervals + 3), 3, extrapolate=True)(points)
    new = BSpline(knots, np.eye(len(points)), 3, extrapolate=True)(points)
    return np.asarray(np.linalg.solve(new, old))


def _knot_texts(knots: Array) -> tuple[str, ...] | None:
    """The knots with as many decimals as fit into a line; None if that is fewer than enough."""
    for decimals in range(MAX_DECIMALS + 1, MIN_KNOT_DECIMALS - 1, -1):
        texts = _knots_with(knots, decimals)
        if len(" ".join(texts)) <= MAX_LINE:
            return texts
    return None


def _knots_with(knots: Array, decimals: int) -> tuple[str, ...]:
    """The knots with some decimals; exact if that is more than MAX_DECIMALS."""
    if decimals > MAX_DECIMALS:
        return tuple(_shortest_text(float(knot)) for knot in knots)
    texts = [_decimal_text(float(knot), decimals) for knot in knots]
    # LAMMPS takes knots[4] - knots[3] for the width of all uniform intervals; too small a width
    # would lead beyond the last interval.
    unit = Decimal(1).scaleb(-decimals)
    first = Decimal(float(knots[4])).quantize(unit, rounding=ROUND_CEILING)
    texts[4] = _decimal_text(float(first), decimals)
    return tuple(texts)


def _numbers(texts: Sequence[str]) -> Array:
    """The numbers that a reader takes from the texts."""
    return np.array([float(text) for text in texts])


def _shortest_text(number: float) -> str:
    """The shortest text that is read as exactly this number (positive, of ordinary size)."""
    text = np.format_float_positional(number, trim="-")
    return text.removeprefix("0") if text.startswith("0.") else text


def _decimal_text(number: float, decimals: int) -> str:
    """Fixed-point text without superfluous zeros: "-.25", "3", "0"."""
    text = f"{number:.{decimals}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    if text in ("-0", "0"):
        return "0"
    if text.startswith("0."):
        return text[1:]
    return "-" + text[2:] if text.startswith("-0.") else text
