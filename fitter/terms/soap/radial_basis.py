"""Radial functions of a density expansion, tabulated once and evaluated as splines.

Each neighbour at distance r is a Gaussian of width ``atom_sigma``; its expansion in spherical
harmonics about the centre has the radial parts (Bartók, Kondor and Csányi, Phys. Rev. B 87, 184115
(2013), DOI 10.1103/PhysRevB.87.184115)::

    4 pi exp(-(r^2 + x^2) / 2 s^2) i_l(r x / s^2)

with the modified spherical Bessel functions i_l. They are projected on orthonormal functions g_n(x) of
Gaussian type, x^n exp(-x^2 / 2 s_n^2) with s_n = cutoff max(sqrt n, 1) / n_max (those of Musil et al.,
J. Chem. Phys. 154, 114109 (2021), DOI 10.1063/5.0044689), and multiplied by the cutoff function and,
where asked for, by a weight that falls with the distance (Willatt, Musil and Ceriotti, Phys. Chem.
Chem. Phys. 20, 29661 (2018), DOI 10.1039/C8CP05921G). The fit and molecular dynamics use the same
spline: it is the definition, not an approximation of it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import scipy.linalg
import scipy.special
from forcemap.fitter.baseline.repulsion import Repulsion, smooth_step
from forcemap.fitter.terms.splines import spline_coefficients
from forcemap.potentials.file.document import DocumentView
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

__all__ = ["RadialBasis", "data_end", "radial_functions", "tabulate"]

Array = NDArray[np.float64]

KNOT_SPACING = 0.08
"""Largest spacing of the knots, Å; the functions vary over `atom_sigma` or more."""

LEAST_INTERVALS = 4
"""Fewest intervals; the spline does not interpolate the last knots (`splines.spline_coefficients`)."""

QUADRATURE = 240
"""Gauss-Legendre points; the integrals over x are exact to rounding for widths above 0.1 Å."""


@dataclass(frozen=True)
class RadialBasis:
    """The radial basis: the density of a neighbour as a function of its distance.

    Attributes:
        cutoff: Å.
        cutoff_width: width of the smooth step before the cutoff, Å.
        n_max: number of radial functions.
        l_max: largest angular number.
        atom_sigma: width of a neighbour's Gaussian, Å.
        scaling_radius: Å; the weight is 1 / (1 + (r / radius)^exponent) if the exponent is above 0.
        scaling_exponent: exponent of that weight; 0: no weight.
        fading, faded: Å; distances below `fading`, where there are no data, level off and are constant
            below `faded`, so that the energy levels off and the core takes over.
    """

    cutoff: float
    cutoff_width: float
    n_max: int
    l_max: int
    atom_sigma: float
    scaling_radius: float = 2.0
    scaling_exponent: float = 0.0
    fading: float = 0.0
    faded: float = 0.0

    @property
    def lengths(self) -> dict[str, float]:
        """The lengths that may be optimised, Å, by the names of their settings."""
        return {name: getattr(self, name) for name in ("atom_sigma", "cutoff", "cutoff_width")}

    @classmethod
    def read(cls, stored: DocumentView, most_l: int) -> RadialBasis:
        """The basis in the file of a model. Raises ModelFileError if it cannot be used."""
        names = [spec.name for spec in fields(cls)]
        stored.allow_only(*names)
        sizes = {
            "n_max": stored["n_max"].integer(1, 128),
            "l_max": stored["l_max"].integer(0, most_l),
        }
        basis = cls(**{name: sizes.get(name, stored[name].number()) for name in names})  # type: ignore[arg-type]
        if not 0.0 < basis.cutoff_width <= basis.cutoff <= 100.0:
            stored.reject("cutoff and cutoff_width must be positive and consistent")
        return basis


def data_end(repulsion: Repulsion) -> dict[str, float]:
    """`fading` and `faded` of the pair with the shortest distance: all pairs share the functions."""
    nearest = min(repulsion.values(), key=lambda pair: float(pair.shortest), default=None)
    return {
        "fading": nearest.fading if nearest else 0.0,
        "faded": nearest.faded if nearest else 0.0,
    }


def orthonormal_functions(basis: RadialBasis, x: Array, weights: Array) -> Array:
    """The functions g_n at x (points,), (points, n_max), orthonormal under `weights` x^2."""
    n = np.arange(basis.n_max)
    width = basis.cutoff * np.maximum(np.sqrt(n), 1.0) / basis.n_max
    raw = x[:, None] ** n * np.exp(-0.5 * (x[:, None] / width) ** 2)
    raw /= np.sqrt(np.sum((weights * x**2)[:, None] * raw**2, axis=0))
    # Symmetric orthonormalisation by an SVD of the weighted functions is stable although the
    # overlap matrix of these functions is nearly singular.
    root = np.sqrt(weights) * x
    u, _, vt = scipy.linalg.svd(root[:, None] * raw, full_matrices=False)
    return np.asarray((u @ vt) / root[:, None])


def radial_functions(basis: RadialBasis, r: Array) -> Array:
    """R_nl without cutoff and scaling at distances r (n,) in Å, (n, l_max + 1, n_max)."""
    s2 = basis.atom_sigma**2
    reach = basis.cutoff + 6.0 * basis.atom_sigma
    nodes, weights = scipy.special.roots_legendre(QUADRATURE)
    x, weights = 0.5 * reach * (nodes + 1.0), 0.5 * reach * weights
    g = orthonormal_functions(basis, x, weights) * (weights * x**2)[:, None]
    argument = np.outer(r, x) / s2
    # The product of exp(-(r - x)^2 / 2 s^2) and exp(-argument) i_l(argument), both of moderate size.
    gaussian = 4.0 * np.pi * np.exp(-0.5 * (r[:, None] - x) ** 2 / s2)
    gaussian /= (2.0 * np.pi * s2) ** 1.5
    values = np.empty((len(r), basis.l_max + 1, basis.n_max))
    for order in range(basis.l_max + 1):
        values[:, order] = (gaussian * _scaled_bessel(order, argument)) @ g
    return values


def _scaled_bessel(order: int, x: Array) -> Array:
    """exp(-x) i_order(x) of the modified spherical Bessel function, also at 0."""
    small = x < 1e-8
    safe = np.where(small, 1.0, x)
    values = np.sqrt(0.5 * np.pi / safe) * scipy.special.ive(order + 0.5, safe)
    return np.where(small, 1.0 if order == 0 else 0.0, values)


def cutoff_values(basis: RadialBasis, r: Array) -> Array:
    """Smooth step, with two continuous derivatives, times the weight by distance, (n,)."""
    t = np.clip((r - (basis.cutoff - basis.cutoff_width)) / basis.cutoff_width, 0.0, 1.0)
    step = 1.0 + t**3 * (-10.0 + t * (15.0 - 6.0 * t))
    if basis.scaling_exponent > 0.0:
        step = step / (1.0 + (r / basis.scaling_radius) ** basis.scaling_exponent)
    return np.asarray(step)


def levelled(basis: RadialBasis, r: Array) -> Array:
    """The effective distance for r (n,), Å: r itself from `fading` on."""
    if not basis.fading > basis.faded:
        return r
    fine = np.linspace(basis.faded, basis.fading, 1001)
    slope = CubicSpline(fine, smooth_step((fine - basis.faded) / (basis.fading - basis.faded)))
    integral = slope.antiderivative()
    inside = basis.fading - integral(basis.fading) + integral(np.clip(r, basis.faded, basis.fading))
    return np.where(r < basis.fading, inside, r)


def tabulate(basis: RadialBasis, intervals: int | None = None) -> tuple[Array, Array]:
    """Spline coefficients of R_nl, and the coefficients of the centre's own density.

    Args:
        basis: the radial basis.
        intervals: number of intervals; by default from KNOT_SPACING.

    Returns:
        (radial, self): (intervals + 3, l_max + 1, n_max) over [0, cutoff], cutoff and weight
        included, zero at the cutoff with two derivatives; (n_max,) coefficients c for l = 0.
    """
    spacing = min(KNOT_SPACING, 0.4 * basis.atom_sigma)
    if intervals is None:
        intervals = max(LEAST_INTERVALS, int(np.ceil(basis.cutoff / spacing)))
    knots = np.linspace(0.0, basis.cutoff, intervals + 1)
    seen = levelled(basis, knots)
    values = radial_functions(basis, seen) * cutoff_values(basis, seen)[:, None, None]
    own = radial_functions(basis, np.zeros(1))[0, 0] / np.sqrt(4.0 * np.pi)
    return spline_coefficients(values, axes=1, fading=1), np.ascontiguousarray(own)
