"""Check of exported UF3 files: what is read back must be the potential that was written.

The files are parsed with the reading rules of LAMMPS' ``pair_style uf3``, and the sum of all files'
tables is compared with our splines, value and slope, at random distances.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.file.potential_file import PotentialData
from forcemap.potentials.terms import ThreeBodySplines, TwoBodySplines
from numpy.typing import NDArray
from scipy.interpolate import BSpline

__all__ = ["check_files"]

Array = NDArray[np.float64]

LONGEST_LINE = 1023  # characters; more make LAMMPS hang
POINTS = 200
# Largest error of one table. An atom has some hundred triplets, whose errors are independent.
VALUE_ERROR = 2e-11  # eV
SLOPE_ERROR = 6e-11  # eV/Å
# LAMMPS' polynomials in r have an error of about 3 (measured) times 2^-53 c (r/h)^3 in value, where
# c is the size of the coefficients at r. In an atom's energy these add up like the other ones.
ARITHMETIC_FACTOR = 3.0 * 2.0**-53
ARITHMETIC_ERROR = 1e-8  # eV, per table; a crystal's atoms do not add these up in step
LARGE = 100.0  # eV; coefficients beyond it are where no data hold them
# Both grow by rounding if coefficients are large.
RELATIVE_ERROR = 2e-14  # of the largest coefficient; per interval's width for the slope


@dataclass(frozen=True)
class _Block:
    """A table as read: knots of each direction, r_jk last, and the cutoff of the first."""

    cutoff: float
    knots: tuple[Array, ...]
    coefficients: Array

    def evaluate(self, distances: Sequence[Array], derivative: int | None) -> Array:
        """Values at points, or derivatives in one direction; zero beyond the cutoff."""
        weights = []
        for axis, (knots, r) in enumerate(zip(self.knots, distances, strict=True)):
            spline = BSpline(knots, np.eye(len(knots) - 4), 3, extrapolate=True)
            weights.append(spline(r, nu=int(axis == derivative)))
        values = self.coefficients @ weights[-1].T  # (..., n): direction after direction
        for weight in weights[-2::-1]:
            values = np.einsum("...an,na->...n", values, weight)
        inside = np.all([r < self.cutoff for r in distances[:2]], axis=0)
        return np.asarray(np.where(inside, values, 0.0))


def check_files(paths: Sequence[Path], data: PotentialData) -> None:
    """Raise ForcemapError unless the UF3 files add up to the spline terms of `data`."""
    files = [dict(_blocks(path)) for path in paths]
    rng = np.random.default_rng(0)
    pairs = list(combinations_with_replacement(data.species, 2))
    for pair in pairs:
        _check_pair(data, pair, [file[pair] for file in files], rng)
    for triplet in ((centre, a, b) for centre in data.species for a, b in pairs):
        _check_triplet(data, triplet, [file[triplet] for file in files if triplet in file], rng)


def _blocks(path: Path) -> Iterator[tuple[tuple[str, ...], _Block]]:
    """The tables of a file by species."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if len(line) >= LONGEST_LINE:
            raise ForcemapError(f"export: line {number + 1} has {len(line)} characters (a bug)")
    place = 0
    while place < len(lines):
        if "#UF3 POT" not in lines[place]:
            place += 1
            continue
        words = lines[place + 1].split()
        sizes = lines[place + 2].split()
        if words[0] == "2B":
            coefficients = _numbers(lines[place + 5])
            knots: tuple[Array, ...] = (_numbers(lines[place + 3]),)
            yield tuple(words[1:3]), _Block(float(sizes[0]), knots, coefficients)
            place += 6
        else:
            knots = tuple(_numbers(lines[place + i]) for i in (5, 4, 3))
            shape = [int(word) for word in lines[place + 6].split()]
            place += 7
            rows = [_numbers(line) for line in lines[place : place + shape[0] * shape[1]]]
            yield tuple(words[1:4]), _Block(float(sizes[1]), knots, np.reshape(rows, shape))
            place += len(rows)


def _numbers(line: str) -> Array:
    return np.array(line.split(), dtype=np.float64)


def _check_pair(
    data: PotentialData, pair: tuple[str, str], blocks: Sequence[_Block], rng: np.random.Generator
) -> None:
    terms = [
        (term, term.tables[pair])
        for term in data.terms
        if isinstance(term, TwoBodySplines) and pair in term.tables
    ]
    ours = [
        _Block(term.cutoff, (_our_knots(term.intervals, term.cutoff),), np.asarray(table))
        for term, table in terms
    ]
    longest = max((term.cutoff for term, _ in terms), default=1.0)
    widths = [term.cutoff / term.intervals for term, _ in terms]
    _compare(ours, blocks, [rng.uniform(0.0, longest, POINTS)], widths, "-".join(pair))


def _check_triplet(
    data: PotentialData,
    triplet: tuple[str, str, str],
    blocks: Sequence[_Block],
    rng: np.random.Generator,
) -> None:
    ours, widths = [], []
    longest = 1.0
    for term in data.terms:
        if not isinstance(term, ThreeBodySplines) or triplet not in term.tables:
            continue
        table = np.asarray(term.tables[triplet])
        if triplet[1] == triplet[2]:  # symmetric but for rounding
            table = 0.5 * (table + table.transpose(1, 0, 2))
        leg = _our_knots(term.leg_intervals, term.cutoff)
        base = _our_knots(term.base_intervals, 2.0 * term.cutoff)
        ours.append(_Block(term.cutoff, (leg, leg, base), table))
        widths += [term.cutoff / term.leg_intervals, 2.0 * term.cutoff / term.base_intervals]
        longest = max(longest, term.cutoff)
    legs = rng.uniform(0.0, longest, (2, POINTS))
    base_points = rng.uniform(np.abs(legs[0] - legs[1]), legs[0] + legs[1])
    _compare(ours, blocks, [*legs, base_points], widths, "-".join(triplet))


def _arithmetic_error(block: _Block, distances: Sequence[Array]) -> Array:
    """Error in eV of LAMMPS' evaluation of one of our tables."""
    size = _Block(block.cutoff, block.knots, np.abs(block.coefficients)).evaluate(distances, None)
    cubes = [(r / (k[1] - k[0])) ** 3 for k, r in zip(block.knots, distances, strict=True)]
    return np.asarray(ARITHMETIC_FACTOR * size * np.sum(cubes, axis=0))


def _our_knots(intervals: int, length: float) -> Array:
    return np.asarray((np.arange(intervals + 7) - 3.0) * (length / intervals))


def _compare(
    ours: Sequence[_Block],
    blocks: Sequence[_Block],
    distances: Sequence[Array],
    widths: Sequence[float],
    name: str,
) -> None:
    """Raise ForcemapError if the two sums differ in value or in a slope."""
    arithmetic = sum((_arithmetic_error(block, distances) for block in ours), np.zeros(POINTS))
    scale = max((float(np.abs(block.coefficients).max()) for block in ours), default=0.0)
    worst = float(arithmetic.max()) / ARITHMETIC_ERROR
    if worst > 1.0:
        fewer = (
            f"map with a larger tolerance, such that there are {worst ** (1 / 3):.2g} times fewer "
            "intervals"
        )
        if scale > LARGE:
            fewer += (
                f", or fit to more frames: values of up to {scale:.0f} eV are where there are none"
            )
        raise ForcemapError(
            f"export: the grid of the table {name} is too fine for the arithmetic of LAMMPS' "
            f"pair_style uf3, which would lose too many digits; {fewer}"
        )
    rounding = RELATIVE_ERROR * scale
    for derivative in (None, *range(len(distances))):
        difference = sum(
            (block.evaluate(distances, derivative) for block in blocks), np.zeros(POINTS)
        ) - sum((block.evaluate(distances, derivative) for block in ours), np.zeros(POINTS))
        allowed = (
            VALUE_ERROR + rounding
            if derivative is None
            else SLOPE_ERROR + rounding / min(widths, default=1.0)
        )
        found = float(np.abs(difference).max())
        if not found <= allowed:
            kind = "value" if derivative is None else "slope"
            raise ForcemapError(
                f"export: the {kind} of the table {name} changes by {found:.1e} eV"
                f"{'' if derivative is None else '/Å'}, more than {allowed:.1e}: its grid is too "
                "fine for the digits that fit into UF3's lines; map with a larger tolerance"
            )
