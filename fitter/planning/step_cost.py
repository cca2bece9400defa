"""Cost of a potential at every step of molecular dynamics."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.potentials import Potential

__all__ = ["microseconds_per_atom"]

ATOMS = 400
"""Fewest atoms of the timed structure, as in molecular dynamics: small frames are repeated."""

BUDGET = 0.3  # seconds
REPEATS = 20


def microseconds_per_atom(potential: Potential, frames: Sequence[Frame]) -> float:
    """Processor time of one evaluation per atom on this machine, one thread, neighbour list kept, µs.

    Measured on the largest of `frames`, repeated along its periodic directions; the shortest of some
    evaluations. By the thread's own clock: on the wall's, other work on the machine counts too.
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
    end = time.thread_time() + BUDGET
    for _ in range(REPEATS):
        start = time.thread_time()
        evaluator.compute(positions, numbers, cell, frame.pbc)
        shortest = min(shortest, time.thread_time() - start)
        if time.thread_time() > end:
            break
    return 1e6 * shortest / len(numbers)
