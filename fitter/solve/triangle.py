"""Triangular factors of least-squares problems that take in more rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

__all__ = ["with_rows"]

Array = NDArray[np.float64]

STRIP = 32
"""Columns that LAPACK transforms at once."""


def with_rows(triangle: Array, rows: Array) -> Array:
    """R' with R'ᵀR' = RᵀR + rowsᵀ rows, its diagonal not negative; by Householder transformations.

    Args:
        triangle: (m, m) upper triangular.
        rows: (n, m).
    """
    found, _, _, info = lapack.dtpqrt(
        0, min(STRIP, len(triangle)), np.array(triangle, order="F"), np.asfortranarray(rows)
    )
    if info != 0:
        raise ValueError(f"dtpqrt: argument {-info} is not valid")
    signs = np.where(np.diag(found) < 0.0, -1.0, 1.0)
    return np.asarray(signs[:, None] * np.triu(found), order="F")
