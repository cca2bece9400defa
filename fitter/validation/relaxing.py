"""Relaxes structures with a model."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from forcemap.fitter.validation.check import NotComputed

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["energy_of", "relax"]

LONGEST_MOVE = 0.2
"""Å, of an atom in one step."""


def relax(
    atoms: Atoms,
    fmax: float,
    steps: int,
    *,
    cell: bool = False,
    advance: Callable[..., None] | None = None,
) -> bool:
    """Relax positions, and the cell if asked, in place; whether all forces came below `fmax` (eV/Å).

    Raises NotComputed if energies, forces or positions become infinite.
    """
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    target = FrechetCellFilter(atoms) if cell else atoms
    with warnings.catch_warnings():
        # Far-off steps of the cell on the way; what matters is where it ends.
        warnings.simplefilter("ignore", RuntimeWarning)
        with BFGS(target, logfile=None, maxstep=LONGEST_MOVE) as optimizer:
            for _ in optimizer.irun(fmax=fmax, steps=steps):
                if advance is not None:
                    advance()
                if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
                    raise NotComputed("the relaxation left all bounds")
            return bool(optimizer.converged(target.get_forces().ravel()))


def energy_of(atoms: Atoms) -> float:
    """Potential energy, eV. Raises NotComputed if it is not finite."""
    energy = float(atoms.get_potential_energy())
    if not np.isfinite(energy):
        raise NotComputed("the energy is not finite")
    return energy
