"""Supercells for defects, phonons and dynamics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from forcemap.fitter.validation.check import NotComputed
from forcemap.fitter.validation.symmetry import symmetry_of

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["equivalent_sites", "repeats", "supercell"]

MOST = 2000
"""Atoms; what is larger takes too long for a validation."""


def repeats(atoms: Atoms, length: float) -> tuple[int, int, int]:
    """How often a cell is repeated so that opposite faces are at least `length` (Å) apart.

    Raises NotComputed if that makes more than MOST atoms.
    """
    inverse = np.linalg.inv(atoms.cell.array)
    heights = 1.0 / np.linalg.norm(inverse, axis=0)
    # A hair less than the length will do: 10.0 of a cell of 9.9999.
    a, b, c = (max(1, int(np.ceil(length / height - 1e-3))) for height in heights)
    if a * b * c * len(atoms) > MOST:
        raise NotComputed(
            f"a supercell of {length:g} Å has {a * b * c * len(atoms):,} atoms; ask for a smaller one"
        )
    return a, b, c


def supercell(atoms: Atoms, length: float) -> Atoms:
    """The structure repeated as `repeats` has it, with its calculator."""
    made = atoms.repeat(repeats(atoms, length))
    made.calc = atoms.calc
    return made


def equivalent_sites(atoms: Atoms) -> list[int]:
    """An atom of each kind of site; of each element where spglib is not installed."""
    found = symmetry_of(atoms, 0.01)
    if found is None:
        return [int(np.flatnonzero(atoms.numbers == z)[0]) for z in dict.fromkeys(atoms.numbers)]
    return sorted({int(n) for n in found.equivalent_atoms})
