"""Slopes with error bars that a few wrong frames do not spoil."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ratio", "Slopes", "robust_ratio", "robust_slopes"]

Array = NDArray[np.float64]

BLOCKS = 12
"""Parts that are left out in turn for the error bars (delete-a-group jackknife)."""

BISQUARE = 6.0
"""Residuals beyond so many robust standard deviations have no weight (Tukey's bisquare)."""


@dataclass(frozen=True)
class Slopes:
    """Coefficients of a linear relation without a constant.

    Attributes:
        values, errors: (k,) each; errors by the jackknife.
        correlation: of labels and explanation, weighted, means not subtracted.
        shares: (k,) of the labels' squares that each column explains.
        count: of points with weight.
    """

    values: Array
    errors: Array
    correlation: float
    shares: Array
    count: int


def robust_slopes(x: Array, y: Array, scale: Array, owners: NDArray[np.intp]) -> Slopes | None:
    """Slopes b of y = x b for x (n, k), where errors are proportional to `scale` (n,).

    `owners` (n,): numbers of frames; blocks of them are left out for the error bars. None where fewer
    than k + 2 points have a scale, or the columns are dependent.
    """
    used = scale > 0.0
    x, y, owners = x[used] / scale[used, None], y[used] / scale[used], owners[used]
    if len(y) < x.shape[1] + 2:
        return None
    values, weights = _bisquare(x, y)
    if values is None:
        return None
    distinct = np.unique(owners)
    blocks = np.array_split(distinct, min(BLOCKS, len(distinct)))
    found = []
    for block in blocks:
        kept = ~np.isin(owners, block)
        part = _weighted(x[kept], y[kept], weights[kept])
        if part is None:
            return None
        found.append(part)
    n = len(found)
    errors = np.sqrt((n - 1) / n * np.sum((np.array(found) - np.mean(found, axis=0)) ** 2, axis=0))
    explained = x @ values
    product = float(np.sum(weights * y * explained))
    norm = float(np.sqrt(np.sum(weights * y**2) * np.sum(weights * explained**2)))
    total = max(float(np.sum(weights * y**2)), 1e-300)
    shares = np.sum(weights[:, None] * (x * values) ** 2, axis=0) / total
    correlation = product / norm if norm else 0.0
    return Slopes(values, errors, correlation, shares, int(np.sum(weights > 0.05)))


def _weighted(x: Array, y: Array, weights: Array) -> Array | None:
    root = np.sqrt(weights)[:, None]
    solution, _, rank, _ = np.linalg.lstsq(x * root, y * root[:, 0], rcond=1e-9)
    return np.asarray(solution) if rank == x.shape[1] else None


def _bisquare(x: Array, y: Array) -> tuple[Array | None, Array]:
    """Slopes and the weights of the points; from least absolute deviations to the bisquare."""
    weights = np.ones(len(y))
    values = _weighted(x, y, weights)
    if values is None:
        return None, weights
    for _ in range(30):  # least absolute deviations
        residual = np.abs(y - x @ values)
        floor = max(1e-3 * float(np.median(residual)), 1e-12 * float(np.abs(y).max()), 1e-300)
        found = _weighted(x, y, 1.0 / np.maximum(residual, floor))
        if found is None:
            break
        values = found
    for _ in range(10):
        residual = np.abs(y - x @ values)
        size = 1.4826 * float(np.median(residual)) + 1e-9 * float(np.abs(y).max()) + 1e-300
        weights = np.maximum(1.0 - (residual / (BISQUARE * size)) ** 2, 0.0) ** 2
        found = _weighted(x, y, weights)
        if found is None:
            return values, np.ones(len(y))
        values = found
    return values, weights


@dataclass(frozen=True)
class Ratio:
    """How many times as large one quantity is as another that is proportional to it.

    Attributes:
        value: signed as the correlation.
        error: of `value`, by the jackknife.
        correlation: of the two, weighted; their means are not subtracted.
        count: of points with weight.
    """

    value: float
    error: float
    correlation: float
    count: int


def robust_ratio(x: Array, y: Array, owners: NDArray[np.intp]) -> Ratio | None:
    """The ratio y / x of two quantities, (n,) each, that both have errors, by their root mean squares.

    (Reduced major axis: Kermack and Haldane, Biometrika 37, 30 (1950), DOI 10.2307/2332144.) Points far
    off have no weight. `owners` (n,): numbers of frames, blocks of which are left out for the error.
    None for fewer than 3 points or frames, or if one of the quantities vanishes.
    """
    distinct = np.unique(owners)
    if len(distinct) < 3 or not x.any() or not y.any():
        return None
    weights = _near_line(x, y)
    whole = _axis(x, y, weights)
    if whole is None:
        return None
    found = []
    for block in np.array_split(distinct, min(BLOCKS, len(distinct))):
        part = _axis(x, y, weights * ~np.isin(owners, block))
        found.append(part[0] if part is not None else np.nan)
    values = np.array(found)
    values = values[np.isfinite(values)]
    n = len(values)
    if n < 2:
        return None
    error = float(np.sqrt((n - 1) / n * np.sum((values - values.mean()) ** 2)))
    return Ratio(whole[0], error, whole[1], int(np.sum(weights > 0.05)))


def _axis(x: Array, y: Array, weights: Array) -> tuple[float, float] | None:
    """Ratio and correlation."""
    xx, yy, xy = (float(np.sum(weights * product)) for product in (x * x, y * y, x * y))
    if not (xx > 0.0 and yy > 0.0):
        return None
    return float(np.copysign(np.sqrt(yy / xx), xy)), xy / float(np.sqrt(xx * yy))


def _near_line(x: Array, y: Array) -> Array:
    """Weights of points by their distance to the line through most of them."""
    weights = np.ones(len(x))
    sizes = np.median(np.abs(x)), np.median(np.abs(y))
    if not (sizes[0] > 0.0 and sizes[1] > 0.0):
        return weights
    x, y = x / sizes[0], y / sizes[1]
    signs = float(np.sum(np.sign(x * y) * np.sqrt(np.abs(x * y))))
    value = 1.0 if signs >= 0.0 else -1.0
    for _ in range(20):
        # Large values may be further off than small ones by as much as they are larger.
        off = np.abs(y - value * x) / (1.0 + np.abs(y) + np.abs(value * x))
        size = max(1.4826 * float(np.median(off)), 1e-9)
        weights = np.maximum(1.0 - (off / (BISQUARE * size)) ** 2, 0.0) ** 2
        found = _axis(x, y, weights)
        if found is None:
            return np.ones(len(x))
        value = found[0]
    return weights
