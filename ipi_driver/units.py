"""Conversion between i-PI (atomic units, cell vectors in columns) and forcemap (eV, Å, rows).

Structures and answers are converted where they are read and written, in the core's
`BatchCalculator`, by the two factors below. They are i-PI's own, so that numbers that i-PI converts
on its side come back unchanged. Forces are converted by their ratio, not by i-PI's rounded
``ev/ang`` (1e-7 away), so that they stay the gradient of the energy. The virial -V * stress has the
same sign on both sides.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["BOHR_PER_ANGSTROM", "HARTREE_PER_EV", "structure_from_ipi"]

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
