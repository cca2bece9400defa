"""Newton's method, on functions whose smallest values are known."""

from __future__ import annotations

import numpy as np
from forcemap.fitter.solve.newton import smallest
from numpy.typing import NDArray

Array = NDArray[np.float64]

WIDE = np.full(2, -50.0), np.full(2, 50.0)


def valley(x: Array) -> tuple[float, Array, Array]:
    """Rosenbrock's function, which curves downwards in places; smallest at (1, 1)."""
    a, b = 1.0 - x[0], x[1] - x[0] ** 2
    value = a**2 + 100.0 * b**2
    slopes = np.array([-2.0 * a - 400.0 * x[0] * b, 200.0 * b])
    second = [[2.0 - 400.0 * b + 800.0 * x[0] ** 2, -400.0 * x[0]], [-400.0 * x[0], 200.0]]
    return 1e4 * value, 1e4 * slopes, 1e4 * np.array(second)


def test_a_curved_valley_is_followed_to_its_end() -> None:
    np.testing.assert_allclose(smallest(valley, np.array([-1.2, 1.0]), *WIDE), 1.0, atol=1e-3)


def test_wrong_curvatures_cost_steps_only() -> None:
    def wrong(x: Array) -> tuple[float, Array, Array]:
        target = np.array([3.0, -2.0])
        scales = np.array([1e3, 10.0])
        return float(scales @ (x - target) ** 2), 2.0 * scales * (x - target), np.diag(0.7 * scales)

    np.testing.assert_allclose(smallest(wrong, np.zeros(2), *WIDE), [3.0, -2.0], atol=0.05)


def test_bounds_hold() -> None:
    def slope(x: Array) -> tuple[float, Array, Array]:
        value = 1e3 * (x[1] - 0.5) ** 2 - 1e3 * x[0]
        return float(value), np.array([-1e3, 2e3 * (x[1] - 0.5)]), np.diag([0.0, 2e3])

    found = smallest(slope, np.zeros(2), np.full(2, -1.0), np.full(2, 4.0))
    np.testing.assert_allclose(found, [4.0, 0.5], atol=1e-3)
    found = smallest(slope, np.zeros(2), np.full(2, -1.0), np.array([0.0, 0.25]))
    np.testing.assert_allclose(found, [0.0, 0.25])
