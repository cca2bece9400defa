"""Relaxes small structures with their cells, thousands of them.

FIRE (Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006), DOI 10.1103/PhysRevLett.97.170201) on atoms and
strains together, as ASE's `UnitCellFilter` has them. ASE's own loop takes twenty times as long as the
energies of eight atoms, and ends where it is; a search wants the lowest energy on the way, has to stop
as soon as a structure falls, and must not end with an error where atoms meet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.potentials import Evaluator, Potential
from forcemap.potentials.errors import ForcemapError
from numpy.typing import NDArray

__all__ = ["STEPS", "Relaxation", "Relaxed", "Start", "relaxed"]

Start: TypeAlias = tuple[Frame, float]
"""A structure, and the energy (eV) below which it goes no further."""
Relaxed: TypeAlias = tuple[Frame, float]
"""A relaxed structure, and its energy (eV)."""

Array = NDArray[np.float64]

STEPS = 200
"""Of a relaxation at most."""

STEP, CALM = 0.25, 0.05
"""Longest step (Å, of all atoms together), and the largest force (eV/Å) of a relaxed structure."""

UNSTRAINED = np.eye(3)

SKIN = 0.5
"""Of the neighbour lists, Å."""


@dataclass(frozen=True, eq=False)
class Relaxation:
    """Relaxes structures with a potential, each as if it were the only one; other ranks may do so."""

    potential: Potential

    def __call__(self, start: Start) -> Relaxed:
        """`relaxed` of one structure."""
        # A neighbour list that another structure has left would change the last digits.
        return relaxed(self.potential.evaluator(skin=SKIN), *start)


def relaxed(
    evaluator: Evaluator, frame: Frame, floor: float = -np.inf, steps: int = STEPS
) -> tuple[Frame, float]:
    """The structure at its lowest energy (eV) on the way down, with its cell where it is periodic.

    A structure that comes below `floor` (eV) is as good as found, and goes no further. Positions and
    cells are rounded to 1e-4 Å, so that files can hold them.
    """
    n, free = len(frame.numbers), bool(np.all(frame.pbc))
    positions, cell = frame.positions.copy(), np.array(frame.cell, dtype=float)
    best, lowest = (positions, cell), np.inf
    velocity, forces = np.zeros((n + 3, 3)), np.zeros((n + 3, 3))
    step, mixing, downhill = 0.1, 0.1, 0
    for _ in range(steps):
        try:
            result = evaluator.compute(positions, frame.numbers, cell, frame.pbc)
        except ForcemapError:  # atoms on top of each other, or numbers that are not finite
            break
        if not np.isfinite(result.energy):
            break
        if result.energy < lowest:
            best, lowest = (positions, cell), result.energy
        forces[:n] = result.forces
        if free:
            forces[n:] = result.virial / n
        if lowest < floor or np.abs(forces).max() < CALM:
            break
        if np.sum(forces * velocity) > 0.0:
            along = _length(velocity) / _length(forces)
            velocity = (1.0 - mixing) * velocity + mixing * along * forces
            downhill += 1
            if downhill > 5:
                step, mixing = min(1.1 * step, 1.0), 0.99 * mixing
        else:
            velocity, step, mixing, downhill = np.zeros_like(velocity), 0.5 * step, 0.1, 0
        velocity = velocity + step * forces
        move = step * velocity
        move *= min(1.0, STEP / max(_length(move), 1e-12))
        strain = UNSTRAINED + move[n:] / n
        positions, cell = (positions + move[:n]) @ strain, cell @ strain
    positions, cell = best
    found = replace(frame, positions=np.round(positions, 4), cell=np.round(cell, 4))
    return found, float(lowest)


def _length(vectors: Array) -> float:
    """Of the vector of all components."""
    return float(np.sqrt(np.vdot(vectors, vectors)))
