"""Functions of distances, against closed forms written down here."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from forcemap.potentials import _core
from numpy.typing import NDArray

Array = NDArray[np.float64]

KERNELS = ("squared_exponential", "matern52")


def kernel(name: str, distance: Array, lengthscale: float) -> Array:
    d = np.asarray(distance / lengthscale)
    if name == "squared_exponential":
        return np.asarray(np.exp(-(d**2) / 2))
    u = np.sqrt(5.0) * d
    return np.asarray((1 + u + u**2 / 3) * np.exp(-u))


# ----- kernels -----


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("dimension", [1, 3])
@pytest.mark.parametrize("count", [1, 5, 67])  # below, at and beyond the widths of vectors
def test_kernel_matrix(name: str, dimension: int, count: int) -> None:
    """Tolerance: a few ulp of numbers of order one, the exponential's 2 ulp included."""
    rng = np.random.default_rng(dimension)
    points = rng.uniform(1.0, 6.0, (9, dimension))
    images = rng.uniform(1.0, 6.0, (count, 2, dimension))
    settings = _core.KernelSettings(name, 0.9, 5.0, 1.0)
    distance = np.linalg.norm(points[:, None, None] - images[None], axis=-1)
    expected = kernel(name, distance, 0.9).sum(axis=-1)
    found = settings.matrix(points, images)
    np.testing.assert_allclose(found, expected, rtol=2e-14, atol=1e-300)
    weights = rng.normal(size=count)
    np.testing.assert_allclose(
        settings.sum(points, images, weights), expected @ weights, rtol=0, atol=1e-13 * count
    )


@pytest.mark.parametrize("name", KERNELS)
def test_kernel_is_one_at_no_distance_and_zero_far_away(name: str) -> None:
    settings = _core.KernelSettings(name, 0.1, 5.0, 1.0)
    points = np.array([[1.0], [1.0 + 1e-9], [90.0]])
    found = settings.matrix(points, np.full((1, 1, 1), 1.0))[:, 0]
    assert found[0] == 1.0
    assert found[1] == pytest.approx(1.0, rel=1e-15)
    assert 0.0 <= found[2] < 1e-300


def test_grid_sums_large_weights_that_cancel() -> None:
    """Against extended precision. Weights of 1e9 leave sums of order 1; plain doubles lose 1e-7."""
    if np.finfo(np.longdouble).eps > 1e-18:
        pytest.skip("no floating-point type wider than double here to compare with")
    rng = np.random.default_rng(3)
    count, lengthscale = 40, 1.4
    first, second = rng.uniform(1.5, 4.0, (2, 7))
    third = np.linspace(1.5, 8.0, 23)
    images = rng.uniform(1.8, 4.5, (count, 2, 3))
    weights = 1e9 * rng.normal(size=count)
    wide = np.longdouble
    q = np.stack(
        np.broadcast_arrays(first[:, None], second[:, None], third[None, :]), axis=-1
    ).astype(wide)
    d = (q[:, :, None, None, :] - images.astype(wide)) / wide(lengthscale)
    terms = np.exp(-np.sum(d * d, axis=-1) / 2).sum(axis=-1) * weights.astype(wide)
    expected = terms.sum(axis=-1)
    settings = _core.KernelSettings("squared_exponential", lengthscale, 4.0, 3.0)
    found = settings.grid(first, second, third, images, weights)
    magnitude = np.abs(terms).sum(axis=-1)
    error = np.abs(found - expected)
    # Half an ulp of the result, and a hundredth of what double precision would make of the sum.
    assert np.all(error <= 2e-16 * np.abs(expected) + 1e-18 * magnitude), float(error.max())


def test_grid_equals_sum() -> None:
    """Tolerance: `sum` adds 30 numbers of order one in double precision."""
    rng = np.random.default_rng(4)
    first, second, third = rng.uniform(1.0, 5.0, (3, 6))
    images, weights = rng.uniform(1.0, 5.0, (30, 1, 3)), rng.normal(size=30)
    settings = _core.KernelSettings("squared_exponential", 1.1, 4.0, 3.0)
    points = np.array([[a, b, c] for a, b in zip(first, second, strict=True) for c in third])
    np.testing.assert_allclose(
        settings.grid(first, second, third, images, weights).ravel(),
        settings.sum(points, images, weights),
        rtol=0,
        atol=1e-14 * len(weights),
    )


def test_grid_is_for_the_squared_exponential_only() -> None:
    settings = _core.KernelSettings("matern52", 1.1, 4.0, 3.0)
    one = np.ones(1)
    with pytest.raises(Exception, match="squared exponential"):
        settings.grid(one, one, one, np.ones((1, 1, 3)), one)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("linear", 1.0, 4.0, 1.0), "kernel is"),
        (("matern52", 0.0, 4.0, 1.0), "lengthscale"),
        (("matern52", 1.0, 4.0, 4.5), "cutoff_width"),
        (("matern52", 1.0, 4.0, 1.0, "sharp"), "cutoff_function is"),
    ],
)
def test_settings_are_checked(arguments: tuple[str, float, float, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _core.KernelSettings(*arguments)


# ----- cutoff functions -----


@pytest.mark.parametrize("width", [0.7, 4.2])
def test_cutoff_functions_are_their_closed_forms(width: float) -> None:
    r = np.linspace(0.0, 5.0, 301)
    x = np.clip((r - (4.2 - width)) / width, 0.0, 1.0)
    forms = {
        "quintic": 1 - 10 * x**3 + 15 * x**4 - 6 * x**5,
        "cosine": (1 + np.cos(np.pi * x)) / 2,
    }
    for function, expected in forms.items():
        settings = _core.KernelSettings("matern52", 1.0, 4.2, width, function)
        # Rounding of terms up to 15 that cancel at the end.
        np.testing.assert_allclose(settings.cutoff_values(r), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("function", "order"), [("quintic", 3), ("cosine", 2)])
def test_cutoff_functions_vanish_with_their_derivatives(function: str, order: int) -> None:
    """f(rc - e) and 1 - f(rc - width + e) fall as e**order: order - 1 derivatives are zero there."""
    settings = _core.KernelSettings("matern52", 1.0, 4.0, 1.0, function)
    e = np.array([0.02, 0.01])
    end = settings.cutoff_values(4.0 - e)
    start = 1.0 - settings.cutoff_values(3.0 + e)
    for values in (end, start):
        # The next order adds 15/10 * e, at most 3 %, to the logarithm's argument.
        assert np.log2(values[0] / values[1]) == pytest.approx(order, abs=0.05)
    outside = settings.cutoff_values(np.array([0.0, 3.0, 4.0, 50.0]))
    np.testing.assert_array_equal(outside, [1.0, 1.0, 0.0, 0.0])


# ----- core -----

CORES = [((14, 14), 0.5, 1.2), ((1, 8), 0.4, 0.7), ((92, 6), 0.9, 2.5), ((1, 1), 0.0, 1.5)]


@pytest.mark.parametrize(("z", "inner", "outer"), CORES)
def test_zbl_is_its_definition(z: tuple[int, int], inner: float, outer: float) -> None:
    """Tolerance: rounding, relative to the energy at the shortest distance of the switch."""
    r = np.array([0.01, *np.linspace(0.02, 1.1 * outer, 60)])
    expected = np.array([reference.zbl(z, inner, outer, x) for x in r])
    np.testing.assert_allclose(_core.zbl(*z, inner, outer, r), expected, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize(("z", "inner", "outer"), CORES)
def test_zbl_slope_is_the_derivative(z: tuple[int, int], inner: float, outer: float) -> None:
    """Central differences; their error is (h²/6) V''', some (h/r)² of the slope."""
    h = 1e-6
    r = np.array([0.004, *np.linspace(0.02, 1.05 * outer, 40)])
    ahead, behind = (_core.zbl(*z, inner, outer, r + s)[:, 0] for s in (h, -h))
    slope = _core.zbl(*z, inner, outer, r)[:, 1]
    energy = _core.zbl(*z, inner, outer, r)[:, 0]
    rounding = 4e-16 * np.abs(energy).max() / h * 4
    np.testing.assert_allclose((ahead - behind) / (2 * h), slope, rtol=1e-6, atol=rounding)


@pytest.mark.parametrize(("z", "inner", "outer"), CORES)
def test_zbl_is_smooth_and_repulsive_to_contact(
    z: tuple[int, int], inner: float, outer: float
) -> None:
    r = np.array([0.0, *np.geomspace(1e-200, 0.999 * outer, 400)])
    energy, slope = _core.zbl(*z, inner, outer, r).T
    assert np.isfinite(energy).all()
    assert np.all(slope < 0.0)
    assert np.all(np.diff(energy) <= 0.0)
    # No step where the bare repulsion goes over into its expansion, and none at the outer end.
    for edge in (0.01, inner, outer):
        if edge == 0.0:
            continue
        low, high = _core.zbl(*z, inner, outer, np.array([edge * (1 - 1e-9), edge * (1 + 1e-9)]))
        scale = max(np.abs(low).max(), 1.0)
        np.testing.assert_allclose(low, high, rtol=0, atol=1e-7 * scale)
