"""What knowing when a potential is wrong will take: its draws, and the level of what is left open."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from forcemap.fitter.mapping.draws import MOST_BYTES
from forcemap.fitter.process.remainder import points_of_remainder, work_of_remainder
from forcemap.fitter.solve.work import Rates
from forcemap.fitter.terms.base import Block, MapPlan, Species, Term
from forcemap.fitter.terms.rows import RowLayout
from forcemap.fitter.uncertainty.calibration import level_frames

__all__ = ["drawing_seconds", "drawn_bytes", "level_seconds", "sized", "steps_of_draws"]

STEPS_OF_A_DRAW = 0.44
"""Cost of a draw's energies and forces in steps of molecular dynamics (`step_cost`), measured for
silicon: with 16 draws 6.8 steps by 2+3-body terms, 7.2 by pairs and the default of a soap term."""


def sized(term: Term, points: Mapping[Species, int], dimensions: Mapping[Species, int]) -> Term:
    """The term with so many sparse points, of which nothing but their number is meant."""
    blocks = [Block(s, np.zeros((count, dimensions[s]))) for s, count in points.items()]
    return term.with_blocks(blocks)


def drawn_bytes(terms: Sequence[Term], draws: int) -> tuple[int, int]:
    """Of the draws of all terms in the potential's file: at the coarsest, and in the next finer plan.

    The draws are mapped as coarsely as their errors allow, which only the fit knows.
    """
    coarse, fine = (
        min(sum(term.map_bytes(plan) for term in terms), MOST_BYTES) if draws else 0
        for plan in _plans(draws)
    )
    return coarse, fine


def steps_of_draws(draws: int) -> float:
    """Steps that deviations of all atoms take where they are asked for, roughly."""
    return STEPS_OF_A_DRAW * draws


def _plans(draws: int) -> tuple[MapPlan, MapPlan]:
    coarse = MapPlan().of_draws(draws)
    return coarse, coarse.finer(1e9)  # by as much as a plan becomes finer at once


def drawing_seconds(terms: Sequence[Term], draws: int, rates: Rates) -> float:
    """Of the draws' tables and forms in the finer of their plans, by one thread; order of magnitude."""
    plan = _plans(draws)[1]
    return sum(rates.seconds(term.drawn_work(plan)) for term in terms)


def level_seconds(
    sizes: Sequence[tuple[int, float]],
    frames: int,
    atoms: float,
    rates: Rates,
    row: Callable[[int], float],
) -> float:
    """Of the frames that show what sparse points leave open, by one thread.

    Args:
        sizes: sparse points, and candidates in a frame, of each combination of species.
        frames: that will be left out.
        atoms: of a frame.
        rates: of the machine.
        row: seconds of an atom's rows for a number of points.
    """
    seconds = 0.0
    for known, candidates in sizes:
        beyond = points_of_remainder(candidates)
        seconds += rates.seconds(work_of_remainder(known, beyond, RowLayout(round(atoms)).count))
        seconds += atoms * row(known + beyond)
    return level_frames(frames) * seconds
