"""What a potential costs at every step of molecular dynamics."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.potentials import Potential

__all__ = ["microseconds_per_atom"]

ATOMS = 400
"""A small frame is repeated to at least so many atoms, which a step of molecular dynamics has."""

BUDGET = 0.3  # seconds
REPEATS = 20


def microseconds_per_atom(potential: Potential, frames: Sequence[Frame]) -> float:
    """Time of one evaluation per atom on this machine, one thread, neighbour list kept, µs.

    Measured on the largest of `frames`, repeated along its periodic directions; the shortest of some
    evaluations, since other work on the machine only adds time.
    """
    frame = max(frames, key=lambda f: len(f.numbers))
    positions, numbers, cell = frame.positions, frame.numbers, frame.cell.copy()
    for axis in np.flatnonzero(frame.pbc):
        times = int(np.ceil(np.cbrt(ATOMS / len(frame.numbers))))
        positions = np.concatenate([positions + n * cell[axis] for n in range(times)])
        numbers = np.tile(numbers, times)
        cell[axis] *= times
    evaluator = potential.evaluator()
    evaluator.compute(positions, numbers, cell, frame.pbc)
    shortest = np.inf
    end = time.perf_counter() + BUDGET
    for _ in range(REPEATS):
        start = time.perf_counter()
        evaluator.compute(positions, numbers, cell, frame.pbc)
        shortest = min(shortest, time.perf_counter() - start)
        if time.perf_counter() > end:
            break
    return 1e6 * shortest / len(numbers)
