"""Relaxes structures with a model."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from forcemap.fitter.validation.check import NotComputed

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["COLLAPSED", "Collapse", "energy_of", "relax", "shortest"]

LONGEST_MOVE = 0.2
"""Å, of an atom in one step."""

LARGE = 100
"""Atoms; the matrix of second derivatives of more takes longer than it saves."""

COLLAPSED = 0.5
"""Atoms that are nearer than so much of the sum of their covalent radii have fallen into each other."""

LOOK = 5
"""Steps between looks at the distances."""


class Collapse(NotComputed):
    """Atoms fell into each other: a hole of the potential."""


def shortest(atoms: Atoms) -> float:
    """The shortest distance over the sum of the covalent radii; infinite for a lone atom."""
    from ase.data import covalent_radii
    from ase.neighborlist import neighbor_list

    radii = covalent_radii[atoms.numbers]
    first, second, distances = neighbor_list(
        "ijd", atoms, 2.0 * COLLAPSED * float(radii.max()) + 0.1
    )
    return float((distances / (radii[first] + radii[second])).min(initial=np.inf))


def relax(
    atoms: Atoms,
    fmax: float,
    steps: int,
    *,
    cell: bool = False,
    floor: float = -math.inf,
    advance: Callable[..., None] | None = None,
) -> bool:
    """Relax positions, and the cell if asked, in place; whether all forces came below `fmax` (eV/Å).

    A relaxation that reaches an energy below `floor` (eV) has ended, too: from there it only falls.
    `advance` is called with shares of the relaxation, which add up to 1 however it ends.

    Raises Collapse if atoms fall into each other, NotComputed if positions become infinite.
    """
    from ase.filters import UnitCellFilter
    from ase.optimize import BFGS, LBFGS

    target = UnitCellFilter(atoms) if cell else atoms
    kind = LBFGS if len(atoms) > LARGE else BFGS
    with warnings.catch_warnings():
        # Far-off steps of the cell on the way; what matters is where it ends.
        warnings.simplefilter("ignore", RuntimeWarning)
        with (
            _shares(advance, fmax, steps) as shown,
            kind(target, logfile=None, maxstep=LONGEST_MOVE) as optimizer,
        ):
            for number, _ in enumerate(optimizer.irun(fmax=fmax, steps=steps)):
                shown(number, float(np.linalg.norm(target.get_forces(), axis=1).max()))
                if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
                    raise NotComputed("the relaxation left all bounds")
                if number % LOOK == 0 and shortest(atoms) < COLLAPSED:
                    near, energy = shortest(atoms), energy_of(atoms)
                    raise Collapse(
                        f"atoms fall into each other, to {near:.2f} of the sum of their covalent "
                        f"radii, at {energy:.4g} eV"
                    )
                if energy_of(atoms) < floor:
                    return True
            return bool(optimizer.converged(target.get_forces().ravel()))


@contextmanager
def _shares(
    advance: Callable[..., None] | None, fmax: float, steps: int
) -> Iterator[Callable[[int, float], None]]:
    """A function of the number of a step and its largest force, which advances by shares up to 1.

    Forces fall about exponentially, so that their logarithm says how far a relaxation is.
    """
    first, reached = 0.0, 0.0

    def shown(number: int, force: float) -> None:
        nonlocal first, reached
        first = first or force
        share = number / steps
        if fmax < force < first:
            share = max(share, math.log(first / force) / math.log(first / fmax))
        if advance is not None and reached < share <= 1.0:
            advance(share - reached)
            reached = share

    try:
        yield shown
    finally:
        if advance is not None:
            advance(1.0 - reached)


def energy_of(atoms: Atoms) -> float:
    """Potential energy, eV. Raises NotComputed if it is not finite."""
    energy = float(atoms.get_potential_energy())
    if not np.isfinite(energy):
        raise NotComputed("the energy is not finite")
    return energy
