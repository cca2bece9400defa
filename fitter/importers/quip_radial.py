"""QUIP's radial functions of a density expansion, as splines.

A neighbour at distance r is a Gaussian exp(-alpha |x - r|²), alpha = 1 / (2 sigma²), whose expansion in
spherical harmonics has the radial parts 4 pi exp(-alpha (r² + x²)) i_l(2 alpha r x) (Bartók, Kondor and
Csányi, Phys. Rev. B 87, 184115 (2013), DOI 10.1103/PhysRevB.87.184115). They are written in Gaussians
phi_n(x) = exp(-alpha (x - r_n)²) at n_max equally spaced r_n from 0, such that both agree at these r_n,
and the Gaussians are orthonormalised under x² dx by the Cholesky factor of their overlap. With

    C[n, m] = phi_m(r_n),   S[n, m] = integral from 0 to infinity of phi_n phi_m x² dx = L L^T

the radial function of order l is f_l(r) C^-1 L, f_l(r)[n] = exp(-alpha (r² + r_n²)) i_l(2 alpha r r_n).
The r_n are spaced by the n_max-th part of cutoff + sigma sqrt(2 e ln 10), e = basis_error_exponent. A
factor of all functions is left out: spectra are normalised.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.interpolate
import scipy.linalg
import scipy.special
from numpy.typing import NDArray

__all__ = ["DEGREE", "QuipRadial", "tabulated"]

Array = NDArray[np.float64]

DEGREE = 5
"""Of the splines."""

VALUE_ERROR, SLOPE_ERROR = 1e-13, 2e-12
"""Largest errors of a spline and, times `atom_sigma`, of its slope, in parts of the largest value.

Energies of GAPs are differences of large sums, which amplify these errors a thousandfold.
"""

COARSEST, FINEST = 0.1, 0.004
"""Spacings of the knots, in units of `atom_sigma`."""

CHECKED = 48
"""Intervals in which a spline is compared with the functions."""

BEYOND = 40
"""Knots beyond either end: what is wrong there decays by 0.43 from knot to knot."""

NEAREST = 0.3
"""Å; a weight that diverges at 0 is constant below."""


@dataclass(frozen=True)
class QuipRadial:
    """The radial functions of one of QUIP's expansions.

    Attributes:
        cutoff: Å.
        cosine_width: of the cosine that ends the functions at the cutoff, Å.
        n_max: number of radial functions.
        l_max: largest angular number.
        atom_sigma: width of a neighbour's Gaussian, Å.
        basis_error_exponent: see the top of this file.
        decay: (exponent, scale in Å, rate) of the weight rate / (rate + (r / scale)^exponent), and
            (scale / r)^exponent for a rate of 0; an exponent of 0: no weight.
    """

    cutoff: float
    cosine_width: float
    n_max: int
    l_max: int
    atom_sigma: float
    basis_error_exponent: float = 10.0
    decay: tuple[int, float, float] = (0, 1.0, 1.0)

    def values(self, r: Array) -> Array:
        """The functions without the cosine at distances r (n,) in Å, (n, l_max + 1, n_max).

        Negative distances continue them: the function of order l has the parity of l.
        """
        centres, transform = self._transform()
        alpha = 0.5 / self.atom_sigma**2
        distance = np.abs(r)[:, None]
        argument = 2.0 * alpha * distance * centres
        gaussian = np.exp(-alpha * (distance - centres) ** 2)
        signs = np.where(r < 0.0, -1.0, 1.0)
        values = np.empty((len(r), self.l_max + 1, self.n_max))
        for order in range(self.l_max + 1):
            one = (gaussian * _scaled_bessel(order, argument)) @ transform
            values[:, order] = one * (signs if order % 2 else np.ones_like(signs))[:, None]
        return values * self._weights(np.abs(r))[:, None, None]

    @property
    def centre(self) -> Array:
        """Coefficients (n_max,) of the atom in the centre for l = 0, as those of values() times Y_00.

        It has no weight by distance.
        """
        centres, transform = self._transform()
        gaussian = np.exp(-0.5 * centres**2 / self.atom_sigma**2)
        return np.asarray(gaussian @ transform / np.sqrt(4.0 * np.pi))

    def _transform(self) -> tuple[Array, Array]:
        """Centres r_n (n_max,) of the Gaussians, and C^-1 L."""
        alpha = 0.5 / self.atom_sigma**2
        margin = self.atom_sigma * np.sqrt(2.0 * self.basis_error_exponent * np.log(10.0))
        centres = np.arange(self.n_max) * ((self.cutoff + margin) / self.n_max)
        differences = centres[:, None] - centres
        factor = scipy.linalg.cholesky(_overlap(centres, alpha), lower=True)
        return centres, np.linalg.solve(np.exp(-alpha * differences**2), factor)

    def _weights(self, r: Array) -> Array:
        exponent, scale, rate = self.decay
        if exponent == 0:
            return np.ones_like(r)
        if rate == 0.0:
            return np.asarray((np.maximum(r, NEAREST) / scale) ** -exponent)
        powers = np.maximum(r, NEAREST if exponent < 0 else 0.0) / scale
        return np.asarray(rate / (rate + powers**exponent))


def tabulated(radial: QuipRadial) -> Array:
    """Coefficients of splines over [0, cutoff], (intervals + DEGREE, l_max + 1, n_max).

    As many intervals as bring the errors below VALUE_ERROR and SLOPE_ERROR, or FINEST allows.
    """
    spacing = COARSEST * radial.atom_sigma
    while True:
        intervals = int(np.ceil(radial.cutoff / spacing))
        coefficients = _interpolated(radial, intervals)
        if spacing <= FINEST * radial.atom_sigma or _is_fine(radial, coefficients):
            return coefficients
        spacing /= 1.5


def _interpolated(radial: QuipRadial, intervals: int) -> Array:
    """The spline through the values at the knots, some of them beyond both ends."""
    h = radial.cutoff / intervals
    knots = np.arange(-float(BEYOND), intervals + BEYOND + 1.0) * h
    values = radial.values(knots)
    bands = np.repeat(np.array([[1.0], [26.0], [66.0], [26.0], [1.0]]) / 120.0, len(knots), axis=1)
    flat = scipy.linalg.solve_banded((2, 2), bands, values.reshape(len(knots), -1))
    first = BEYOND - DEGREE // 2
    inside = flat[first : first + intervals + DEGREE]
    return np.ascontiguousarray(inside.reshape(intervals + DEGREE, *values.shape[1:]))


def _is_fine(radial: QuipRadial, coefficients: Array) -> bool:
    """Whether the spline has the functions' values and slopes where it differs most from them."""
    intervals = len(coefficients) - DEGREE
    h = radial.cutoff / intervals
    step = 0.02 * radial.atom_sigma
    first = int(np.ceil(0.5 * radial.atom_sigma / h))
    some = np.unique(np.linspace(first, intervals - 1, CHECKED).astype(int))
    value_error = slope_error = 0.0
    for t in (0.25, 0.5):
        r = (some + t) * h
        # The fourth-order difference of neighbouring values has errors of step^8.
        near = [radial.values(r + k * step) for k in (-4, -3, -2, -1, 1, 2, 3, 4)]
        weights = np.array([3.0, -32.0, 168.0, -672.0, 672.0, -168.0, 32.0, -3.0]) / 840.0
        slope = np.tensordot(weights, np.array(near), 1) / step
        found = [np.zeros_like(slope), np.zeros_like(slope)]
        for which in (0, 1):
            for k, b in enumerate(_bspline(t, which)):
                found[which] += b * coefficients[some + k]
        value_error = max(value_error, float(np.abs(found[0] - radial.values(r)).max()))
        slope_error = max(slope_error, float(np.abs(found[1] / h - slope).max()))
    scale = float(np.abs(coefficients).max())
    return (
        value_error <= VALUE_ERROR * scale
        and slope_error * radial.atom_sigma <= SLOPE_ERROR * scale
    )


def _bspline(t: float, derivative: int) -> Array:
    """The B-splines that live on an interval at t of it, or their derivatives by t, (DEGREE + 1,)."""
    one = scipy.interpolate.BSpline.basis_element(np.arange(DEGREE + 2.0), extrapolate=False)
    places = t + np.arange(DEGREE, -1.0, -1.0)
    return np.asarray(one.derivative(derivative)(places) if derivative else one(places))


def _overlap(centres: Array, alpha: float) -> Array:
    """Integrals of exp(-alpha (x - a)²) exp(-alpha (x - b)²) x² over x from 0 to infinity."""
    a, b = np.meshgrid(centres, centres)
    middle, twice = 0.5 * (a + b), 2.0 * alpha
    square = middle**2 + 0.5 / twice
    half = 0.5 * np.sqrt(np.pi / twice) * (1.0 + scipy.special.erf(np.sqrt(twice) * middle))
    rest = 0.5 * middle / twice * np.exp(-twice * middle**2)
    return np.asarray(np.exp(-0.5 * alpha * (a - b) ** 2) * (square * half + rest))


def _scaled_bessel(order: int, x: Array) -> Array:
    """exp(-x) i_order(x) of the modified spherical Bessel function, also at 0."""
    small = x < 1e-8
    safe = np.where(small, 1.0, x)
    values = np.sqrt(0.5 * np.pi / safe) * scipy.special.ive(order + 0.5, safe)
    return np.where(small, 1.0 if order == 0 else 0.0, values)
