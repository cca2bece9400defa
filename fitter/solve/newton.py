"""The smallest value of a function of a few variables that takes long, by Newton's method."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

__all__ = ["smallest"]

Array = NDArray[np.float64]

Function: TypeAlias = Callable[[Array], tuple[float, Array, Array]]
"""Value, slopes (n,), and second derivatives (n, n), which may be estimates."""

EVALUATIONS = 60
"""At most."""

STEP = 1.0
"""Largest change of a variable in the first step."""

ENOUGH = 1e-2
"""Fall of the function by a further step that is not worth looking at: it is made, if it is small."""

FLAT = 1e-6
"""Smallest curvature, relative to the largest one."""


def smallest(
    function: Function, start: Array, least: Array, largest: Array, step: float = STEP
) -> Array:
    """(n,) variables between bounds at which a function is smallest, near `start`.

    Steps go downhill also where the function curves downwards: curvatures count by their size. A step
    that does not lead down is made a quarter as long (trust region; Nocedal and Wright, Numerical
    Optimization, 2nd ed. (2006), chapter 4).
    """
    at = np.clip(start, least, largest)
    value, slopes, second = function(at)
    for _ in range(EVALUATIONS - 1):
        move, fall = _move(at, slopes, second, (least, largest), step)
        if fall < ENOUGH:
            return at + move
        there = function(at + move)
        # Also a rise by rounding is none.
        if there[0] <= value + 1e-12 * abs(value):
            is_good = value - there[0] > 0.5 * fall
            at, (value, slopes, second) = at + move, there
            step = 2.0 * step if is_good else step
        else:
            step = 0.25 * float(np.max(np.abs(move)))
    return at


def _move(
    at: Array, slopes: Array, second: Array, bounds: tuple[Array, Array], step: float
) -> tuple[Array, float]:
    """(n,) change of the variables within their bounds, and the fall of the function it promises."""
    least, largest = bounds
    move = np.zeros_like(at)
    held = ((at <= least) & (slopes > 0.0)) | ((at >= largest) & (slopes < 0.0))
    free = np.flatnonzero(~held)
    if not len(free):
        return move, 0.0
    curvatures, axes = scipy.linalg.eigh(second[np.ix_(free, free)])
    sizes = np.abs(curvatures)
    sizes = np.maximum(sizes, max(FLAT * float(sizes.max()), 1e-300))
    newton = -axes @ ((axes.T @ slopes[free]) / sizes)
    newton *= min(1.0, step / max(float(np.max(np.abs(newton))), 1e-300))
    move[free] = newton
    move = np.clip(at + move, least, largest) - at
    return move, -float(slopes @ move) - 0.5 * float(
        move @ _definite(second, free, sizes, axes, move)
    )


def _definite(
    second: Array, free: NDArray[np.intp], sizes: Array, axes: Array, move: Array
) -> Array:
    """The second derivatives with positive curvatures, times `move`."""
    found = np.zeros_like(move)
    found[free] = axes @ (sizes * (axes.T @ move[free]))
    return found
