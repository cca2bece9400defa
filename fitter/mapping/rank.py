"""Leaves out of a map what the tolerance allows: functions that no energy or force shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.prediction import evaluated
from forcemap.fitter.mapping.measure import map_error
from forcemap.fitter.mapping.tabulate import Tabulation
from forcemap.potentials.file.potential_file import PotentialData, as_potential

__all__ = ["reduced"]

CLUSTER_ALLOWANCE = 10.0
"""Atoms thrown together at random are nothing that a simulation meets, with forces of tens of eV/Å."""

ENERGY_ALLOWANCE = 1.0
"""Å; an energy per atom may be wrong by this times the tolerance of forces: what the rank leaves out is
of one sign mostly, and shifts all energies where no force shows it."""


def reduced(
    tabulation: Tabulation,
    frames: Sequence[Frame],
    clusters: Sequence[Frame],
    tolerance: float,
    choice: str | None,
    advance: Callable[[], Any],
) -> PotentialData:
    """The potential with as few functions in its terms as the tolerance allows.

    One term after the other, by bisection on the part of its functions that is kept; measured against
    the complete map, which is exact: on `frames`, and on random `clusters`, where the error of forces
    may be CLUSTER_ALLOWANCE times as large.
    """
    exact = tabulation.data()
    evaluator = as_potential(exact).evaluator(skin=0.0)
    answers = [evaluated(evaluator, frame) for frame in frames]
    outside = [evaluated(evaluator, frame) for frame in clusters]

    def error_of(candidate: PotentialData) -> float:
        potential = as_potential(candidate)
        inside = map_error(potential, frames, answers)
        return max(
            inside.energy / ENERGY_ALLOWANCE,
            inside.force,
            map_error(potential, clusters, outside).force / CLUSTER_ALLOWANCE,
        )

    terms = tabulation.reducible(choice)
    parts: dict[int, float] = {}
    for number, t in enumerate(terms):
        most = tabulation.mapped(t).rank

        def candidate(rank: int, t: int = t, most: int = most) -> PotentialData:
            return tabulation.data({**parts, t: rank / most})

        allowed = 0.7 * tolerance * (number + 1) / len(terms)
        low, high = 0, most  # too few, enough
        while high - low > max(1, high // 16):
            middle = (low + high) // 2 if low else max(1, high // 2)
            advance()
            if error_of(candidate(middle)) <= allowed:
                high = middle
            else:
                low = middle
        parts[t] = high / most
    return tabulation.data(parts)
