"""Coefficients of cubic B-splines on uniform knots from the values at the knots.

The form of the coefficients is described in forcemap.potentials.file.potential_file.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

__all__ = [
    "clamped_spline_coefficients",
    "not_a_knot_coefficients",
    "open_spline_coefficients",
    "spline_coefficients",
]

Array = NDArray[np.float64]


def spline_coefficients(values: Array, axes: int | None = None, fading: int = 0) -> Array:
    """B-spline coefficients that interpolate values on a uniform grid, along every axis.

    Args:
        values: (n_1 + 1, n_2 + 1, ...) at all knots.
        axes: number of leading axes that are grids; all by default.
        fading: number of leading axes that end at a cutoff, where the function is zero with its first
            two derivatives. The spline has the same zeros and does not interpolate the last but one
            knot in exchange. A second derivative that jumps at a cutoff adds to the random walk of the
            energy in molecular dynamics, since atoms cross the cutoff all the time.

    Returns:
        (n_1 + 3, n_2 + 3, ...) in the units of the values; slopes at both ends of every axis are
        zero, as they are at a cutoff and where the function has faded out.
    """
    result = values
    for axis in range(values.ndim if axes is None else axes):
        moved = _along_first(np.moveaxis(result, axis, 0), axis < fading)
        result = np.moveaxis(moved, 0, axis)
    return np.ascontiguousarray(result)


def _along_first(values: Array, fading: bool) -> Array:
    # With `fading` the last three coefficients are zero, and the last two knots give no equation.
    n = len(values) - (2 if fading else 0)
    # c[m], c[m+1], c[m+2] with weights 1/6, 4/6, 1/6 at knot m; equal outer coefficients at both
    # ends make the slope zero there. These two conditions eliminate the first and the last unknown.
    band = np.zeros((3, n))
    band[0, 1:] = 1.0 / 6.0
    band[1, :] = 4.0 / 6.0
    band[2, :-1] = 1.0 / 6.0
    band[0, 1] = 2.0 / 6.0
    if not fading:
        band[2, -2] = 2.0 / 6.0
    inner = scipy.linalg.solve_banded(
        (1, 1), band, values[:n].reshape(n, -1), check_finite=False
    ).reshape(n, *values.shape[1:])
    end = np.zeros((3, *values.shape[1:])) if fading else inner[-2:-1]
    return np.concatenate([inner[1:2], inner, end])


def not_a_knot_coefficients(values: Array, axes: int) -> Array:
    """B-spline coefficients of functions that are anything at their ends.

    Args:
        values: (n_1 + 1, n_2 + 1, ...) at all knots; each n >= 4.
        axes: number of leading axes that are grids.

    Returns:
        (n_1 + 3, n_2 + 3, ...) in the units of the values. The third derivative is continuous at the
        second and the last but one knot of each axis.
    """
    result = values
    for axis in range(axes):
        moved = np.moveaxis(result, axis, 0)
        n = len(moved) - 1
        matrix = _interpolation(n)
        matrix[n + 1, :5] = matrix[n + 2, n - 2 :] = 1.0, -4.0, 6.0, -4.0, 1.0
        right = np.concatenate([moved, np.zeros((2, *moved.shape[1:]))])
        solved = scipy.linalg.solve(matrix, right.reshape(n + 3, -1), check_finite=False)
        result = np.moveaxis(solved.reshape(right.shape), 0, axis)
    return np.ascontiguousarray(result)


def _interpolation(n: int) -> Array:
    """(n + 3, n + 3) equations of the values at n + 1 knots; two more are left at the end."""
    matrix = np.zeros((n + 3, n + 3))
    for knot in range(n + 1):
        matrix[knot, knot : knot + 3] = 1.0 / 6.0, 4.0 / 6.0, 1.0 / 6.0
    return matrix


def open_spline_coefficients(values: Array) -> Array:
    """B-spline coefficients of functions that are zero at their first knot and end as straight lines.

    Args:
        values: (n + 1, functions) at all knots; n >= 3, the first row is 0.

    Returns:
        (n + 3, functions). The second derivative is zero at the last knot, the third is continuous at
        the second ("not a knot"), where the slope is unknown.
    """
    n = len(values) - 1
    matrix = _interpolation(n)
    matrix[n + 1, :5] = 1.0, -4.0, 6.0, -4.0, 1.0
    matrix[n + 2, n:] = 1.0, -2.0, 1.0
    right = np.concatenate([values, np.zeros((2, values.shape[1]))])
    return np.ascontiguousarray(scipy.linalg.solve(matrix, right))


def clamped_spline_coefficients(values: Array, slopes: tuple[float, float]) -> Array:
    """B-spline coefficients of a function of given slopes at both ends.

    Args:
        values: (n + 1,) at all knots.
        slopes: at the first and the last knot, for a distance of 1 between knots.

    Returns:
        (n + 3,) in the units of the values.
    """
    n = len(values)
    # The conditions c[m+2] - c[m] = 2 slope at both ends eliminate the outer unknowns.
    band = np.full((3, n), 1.0 / 6.0)
    band[1] = 4.0 / 6.0
    band[0, 1] = band[2, -2] = 2.0 / 6.0
    right = np.array(values, dtype=np.float64)
    right[0] += slopes[0] / 3.0
    right[-1] -= slopes[1] / 3.0
    inner = scipy.linalg.solve_banded((1, 1), band, right, check_finite=False)
    first, last = inner[1] - 2.0 * slopes[0], inner[-2] + 2.0 * slopes[1]
    return np.concatenate([[first], inner, [last]])
