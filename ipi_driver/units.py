"""The border between i-PI (atomic units, cell vectors in columns) and forcemap (eV, Å, rows).

Every conversion is in the two functions below. The factors are i-PI's own, so that what i-PI
converts on its side comes back as the same number.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["BOHR_PER_ANGSTROM", "HARTREE_PER_EV", "reply_to_ipi", "structure_from_ipi"]

BOHR_PER_ANGSTROM = 1.8897261
HARTREE_PER_EV = 0.036749326


def structure_from_ipi(
    cell: NDArray[np.float64], positions: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cell and positions as i-PI sends them to ours.

    Args:
        cell: (3, 3) bohr, lattice vectors in the columns.
        positions: (n, 3) bohr.

    Returns:
        The cell, (3, 3) Å with lattice vectors in the rows, and the positions, (n, 3) Å.
    """
    return np.ascontiguousarray(cell.T) / BOHR_PER_ANGSTROM, positions / BOHR_PER_ANGSTROM


def reply_to_ipi(
    energy: float, forces: NDArray[np.float64], virial: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Energy, forces and virial of ours to what i-PI expects.

    The force factor is the ratio of the two constants, not i-PI's rounded ``ev/ang`` (1e-7 away),
    so that forces stay the gradient of the energy. The virial -V * stress has the same sign on both
    sides. The arrays are new ones: i-PI overwrites parts of them.

    Args:
        energy: eV.
        forces: (n, 3) eV/Å.
        virial: (3, 3) eV.

    Returns:
        The energy in hartree, forces in hartree/bohr, the virial in hartree.
    """
    return (
        energy * HARTREE_PER_EV,
        forces * (HARTREE_PER_EV / BOHR_PER_ANGSTROM),
        np.ascontiguousarray(virial.T) * HARTREE_PER_EV,
    )
