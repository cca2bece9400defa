"""Which rows of a covariance matrix are independent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

__all__ = ["RANK_TOLERANCE", "pivoted_cholesky"]

Array = NDArray[np.float64]

RANK_TOLERANCE = 1e-9
"""Residual variance, relative to the largest, below which a sparse point repeats the others."""


def pivoted_cholesky(
    matrix: Array, tolerance: float = RANK_TOLERANCE
) -> tuple[NDArray[np.intp], Array]:
    """Greedy choice of independent rows of a covariance matrix, with their Cholesky factor.

    Args:
        matrix: (n, n) positive semi-definite.
        tolerance: stop when the largest residual variance is below this times the largest variance.

    Returns:
        (kept, factor): indices (m,) in the order chosen; (m, m) lower triangular L with
        L Lᵀ = matrix[kept][:, kept].
    """
    n = len(matrix)
    if n == 0:
        return np.zeros(0, dtype=np.intp), np.zeros((0, 0))
    scale = float(np.max(np.diag(matrix)))
    factor, pivots, rank, info = lapack.dpstrf(
        np.asfortranarray(matrix), tol=tolerance * scale, lower=1
    )
    if info < 0:
        raise ValueError(f"dpstrf: argument {-info} is not valid")
    kept = np.asarray(pivots[:rank], dtype=np.intp) - 1
    return kept, np.tril(factor[:rank, :rank])
