"""Cost of a potential at every step of molecular dynamics, and of what it knows of its errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.mapping.mapped import Mapped
from forcemap.potentials import Potential
from forcemap.potentials.file.potential_file import as_potential

__all__ = ["cost_block", "microseconds_per_atom", "with_costs"]

Structure = tuple[Any, Any, Any, Any]

ATOMS = 400
"""Fewest atoms of the timed structure, as in molecular dynamics: small frames are repeated."""

BUDGET = 0.1  # seconds
REPEATS = 20


def microseconds_per_atom(potential: Potential, frames: Sequence[Frame]) -> float:
    """Processor time of one evaluation per atom on this machine, one thread, neighbour list kept, µs.

    Measured on the largest of `frames`, repeated along its periodic directions; the shortest of some
    evaluations. By the thread's own clock: on the wall's, other work on the machine counts too.
    """
    structure = _timed_structure(frames)
    evaluator = potential.evaluator()
    return _microseconds(lambda: evaluator.compute(*structure), len(structure[1]))


def cost_block(potential: Potential, frames: Sequence[Frame]) -> dict[str, float | None]:
    """What a step costs, and what grades and deviations add to it where they are asked for.

    Measured as `microseconds_per_atom` does, which is ``run_microseconds_per_atom``; of the grades of
    all atoms and of the deviations by all draws ``grade_...`` and ``deviation_microseconds_per_atom``,
    and ``grade_steps`` and ``deviation_steps``, the same in steps. None where the potential has none.
    """
    structure = _timed_structure(frames)
    atoms = len(structure[1])
    evaluator = potential.evaluator()

    def graded() -> None:
        evaluator.compute(*structure, grades=True)

    step = _microseconds(lambda: evaluator.compute(*structure), atoms)
    # With a grade the rest of the step is computed, too.
    grade = max(_microseconds(graded, atoms) - step, 0.0) if potential.has_grade else None
    deviation = (
        _microseconds(lambda: evaluator.deviations(*structure), atoms) if potential.draws else None
    )
    return {
        "run_microseconds_per_atom": step,
        "grade_microseconds_per_atom": grade,
        "grade_steps": None if grade is None else grade / step,
        "deviation_microseconds_per_atom": deviation,
        "deviation_steps": None if deviation is None else deviation / step,
    }


def with_costs(mapped: Mapped, frames: Sequence[Frame]) -> Mapped:
    """With its `cost_block`, by the largest of `frames`: ``cost`` of its file's mapping."""
    cost = cost_block(mapped.potential, frames)
    data = replace(mapped.data, mapping={**mapped.data.mapping, "cost": cost})
    return replace(mapped, data=data, potential=as_potential(data))


def _timed_structure(frames: Sequence[Frame]) -> Structure:
    """Positions, numbers, cell and pbc of the largest frame, repeated to ATOMS where it is periodic."""
    frame = max(frames, key=lambda f: len(f.numbers))
    positions, numbers, cell = frame.positions, frame.numbers, frame.cell.copy()
    for axis in np.flatnonzero(frame.pbc):
        times = int(np.ceil(np.cbrt(ATOMS / len(frame.numbers))))
        positions = np.concatenate([positions + n * cell[axis] for n in range(times)])
        numbers = np.tile(numbers, times)
        cell[axis] *= times
    return positions, numbers, cell, frame.pbc


def _microseconds(evaluate: Callable[[], Any], atoms: int) -> float:
    """Processor time of a call per atom, the shortest of some; the first one does not count."""
    evaluate()
    shortest = np.inf
    end = time.thread_time() + BUDGET
    for _ in range(REPEATS):
        start = time.thread_time()
        evaluate()
        shortest = min(shortest, time.thread_time() - start)
        if time.thread_time() > end:
            break
    return 1e6 * shortest / atoms
