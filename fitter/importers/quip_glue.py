"""QUIP's Glue potential as a baseline of a GAP: pair functions on splines.

An element <potential_pair num_points= y1= yn=> has points (r, E) of the energy of a pair and its slopes
at both ends; 1e30 and more stands for a natural end, without second derivative. The function is the
cubic spline through the points, a straight line below the first, and nothing from the last on. Glue has
an embedding energy of densities too, which as a baseline of a GAP is 0 and is refused otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NoReturn
from xml.etree.ElementTree import Element

import numpy as np
from forcemap.fitter.importers.pair_tables import Array, Numbers, PairPart
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.quoting import quoted
from scipy.interpolate import CubicSpline

__all__ = ["glue_parts"]

NATURAL = 1e30
MOST_TYPES = len(SYMBOLS) - 1


def glue_parts(glue: Element, place: str) -> list[PairPart]:
    """The pair functions of an element <Glue_params>.

    Args:
        glue: the element.
        place: the file, to begin messages with.

    Raises:
        ForcemapError: what is wrong with it, or cannot be brought in.
    """
    reader = _Glue(f"{place}: <Glue_params>")
    types = reader.types(glue)
    parts, seen = [], set()
    for pair in glue.iter("per_pair_data"):
        chosen = [types.get(reader.whole(pair, name), 0) for name in ("type1", "type2")]
        if 0 in chosen:
            reader.fail(
                f"<per_pair_data type1={quoted(pair.get('type1'))} type2={quoted(pair.get('type2'))}>: "
                "has a type without <per_type_data>"
            )
        low, high = sorted(chosen)
        shown = f"{SYMBOLS[low]}-{SYMBOLS[high]}"
        if (low, high) in seen:
            reader.fail(f"has the pair {shown} twice")
        seen.add((low, high))
        table = pair.find("potential_pair")
        if table is not None:
            parts += [
                PairPart((low, high), reach, function)
                for reach, function in reader.spline(table, shown)
            ]
    return parts


class _Glue:
    """Reads values with messages that begin with the place."""

    def __init__(self, place: str) -> None:
        self.place = place

    def fail(self, text: str) -> NoReturn:
        raise ForcemapError(f"{self.place}: {text}")

    def types(self, glue: Element) -> dict[int, int]:
        """Atomic numbers by type. Raises ForcemapError if there is an embedding energy."""
        types = {}
        for one in glue.iter("per_type_data"):
            number = self.whole(one, "atomic_num")
            if not 1 <= number <= MOST_TYPES:
                self.fail(
                    f"<per_type_data> atomic_num={quoted(one.get('atomic_num'))} is no element"
                )
            types[self.whole(one, "type")] = number
            energies = [
                self.number(point, "E", "<potential_density>")
                for table in one.iter("potential_density")
                for point in table.iter("point")
            ]
            if any(energies):
                self.fail(
                    f"the embedding energy of {SYMBOLS[number]} (<potential_density>) is not 0, and "
                    "only pair functions are imported; fit with a baseline of <potential_pair> alone"
                )
        return types

    def whole(self, element: Element, name: str) -> int:
        text = (element.get(name) or "").strip()
        if not (text.isdecimal() and len(text) < 8):
            self.fail(f"<{element.tag}> {name}={quoted(text)}: expected a whole number")
        return int(text)

    def number(self, element: Element, name: str, where: str) -> float:
        text = element.get(name) or ""
        try:
            value = float(text.lower().replace("d", "e"))
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            self.fail(f"{where}: {name}={quoted(text)}: expected a finite number")
        return value

    def spline(
        self, table: Element, pair: str
    ) -> list[tuple[float, Callable[[Numbers], tuple[Numbers, Numbers]]]]:
        """Half a pair's function with its slope, in parts, with their ranges in Å.

        One is the spline, with its first polynomial down to 0; another the difference of the line
        from that, whose second derivative need not be zero where it ends.
        """
        where = f"<potential_pair> of {pair}"
        points = table.findall("point")
        r: Array = np.array([self.number(point, "r", where) for point in points])
        energy: Array = np.array([self.number(point, "E", where) for point in points])
        stated = table.get("num_points")
        if stated is not None and stated.strip() != str(len(points)):
            self.fail(f"{where}: num_points={quoted(stated)}, found {len(points)} elements <point>")
        if len(points) < 2 or not (np.diff(r) > 0.0).all() or not 0.0 <= r[0] < r[-1] <= 100.0:
            self.fail(
                f"{where}: expected two or more points with r increasing, from 0 to 100 Å at most"
            )
        ends = tuple(self._end(table, name, where) for name in ("y1", "yn"))
        spline = CubicSpline(r, energy, bc_type=ends)
        first, value, slope = float(r[0]), float(energy[0]), float(spline(r[0], 1))

        def half(distance: Numbers) -> tuple[Numbers, Numbers]:
            x = distance.astype(np.float64)
            return 0.5 * spline(x), 0.5 * spline(x, 1)

        def below(distance: Numbers) -> tuple[Numbers, Numbers]:
            values, slopes = half(distance)
            return 0.5 * (value + slope * (distance - first)) - values, 0.5 * slope - slopes

        whole: list[tuple[float, Callable[[Numbers], tuple[Numbers, Numbers]]]] = [
            (float(r[-1]), half)
        ]
        return [(first, below), *whole] if first > 0.0 else whole

    def _end(self, table: Element, name: str, where: str) -> tuple[int, float]:
        """The order of the derivative that is given at an end, and its value."""
        slope = self.number(table, name, where) if name in table.keys() else NATURAL  # noqa: SIM118
        return (1, slope) if abs(slope) < NATURAL else (2, 0.0)
