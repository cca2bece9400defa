"""The embedded-atom potentials of Zhou, Johnson and Wadley as a setfl file for LAMMPS.

Phys. Rev. B 69, 144113 (2004), DOI 10.1103/PhysRevB.69.144113: closed forms for each metal, and for a
pair of two metals the mean of their own pair functions, each weighted by the ratio of the densities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.data import atomic_masses, atomic_numbers
from numpy.typing import NDArray

__all__ = ["METALS", "Metal", "write_setfl"]

Array = NDArray[np.float64]

POINTS = 4000
SHORTEST = 0.5
"""Å; pair functions are constant below."""
REACH = 2.5
"""Cutoff in units of the largest r_e: pair functions and densities have fallen below 1e-7 there."""


@dataclass(frozen=True)
class Metal:
    """The parameters of one metal, named as in the paper (its table III); F(0) = 0.

    Attributes:
        inner: F_n0 ... F_n3, below 0.85 rho_e.
        middle: F_0 ... F_3, up to 1.15 rho_e.
        eta, outer: η and F_e, above.
    """

    r_e: float
    f_e: float
    rho_e: float
    rho_s: float
    alpha: float
    beta: float
    a: float
    b: float
    kappa: float
    lamda: float
    inner: tuple[float, float, float, float]
    middle: tuple[float, float, float, float]
    eta: float
    outer: float

    def _falling(self, r: Array, height: float, steepness: float, shift: float) -> Array:
        x = r / self.r_e
        return height * np.exp(-steepness * (x - 1.0)) / (1.0 + (x - shift) ** 20)

    def density(self, r: Array) -> Array:
        """The density f(r) at a neighbour."""
        return self._falling(r, self.f_e, self.beta, self.lamda)

    def pair(self, r: Array) -> Array:
        """The pair function between two atoms of this metal, eV."""
        repulsion = self._falling(r, self.a, self.alpha, self.kappa)
        return repulsion - self._falling(r, self.b, self.beta, self.lamda)

    def embedding(self, rho: Array) -> Array:
        """The embedding function F(rho), eV."""
        low, high = 0.85 * self.rho_e, 1.15 * self.rho_e
        inner = np.polynomial.polynomial.polyval(rho / low - 1.0, self.inner)
        middle = np.polynomial.polynomial.polyval(rho / self.rho_e - 1.0, self.middle)
        ratio = np.maximum(rho, low) / self.rho_s
        outer = self.outer * (1.0 - self.eta * np.log(ratio)) * ratio**self.eta
        found = np.where(rho < low, inner, np.where(rho < high, middle, outer))
        return np.where(rho > 0.0, found, 0.0)


METALS = {
    "Cu": Metal(
        *(2.556162, 1.554485, 21.175871, 21.175395, 8.127620, 4.334731),
        *(0.396620, 0.548085, 0.308782, 0.756515),
        (-2.170269, -0.263788, 1.088878, -0.817603),
        (-2.19, 0.0, 0.561830, -2.100595),
        *(0.310490, -2.186568),
    ),
    "Ag": Metal(
        *(2.891814, 1.106232, 14.604100, 14.604144, 9.132010, 4.870405),
        *(0.277758, 0.419611, 0.339710, 0.750758),
        (-1.729364, -0.255882, 0.912050, -0.561432),
        (-1.75, 0.0, 0.744561, -1.150650),
        *(0.783924, -1.748423),
    ),
    "Au": Metal(
        *(2.885034, 1.529021, 19.991632, 19.991509, 9.516052, 5.075228),
        *(0.229762, 0.356666, 0.356570, 0.748798),
        (-2.937772, -0.500288, 1.601954, -0.835530),
        (-2.98, 0.0, 1.706587, -1.134778),
        *(1.021095, -2.978815),
    ),
    "Ni": Metal(
        *(2.488746, 2.007018, 27.562015, 27.562031, 8.383453, 4.471175),
        *(0.429046, 0.633531, 0.443599, 0.820658),
        (-2.693513, -0.076445, 0.241442, -2.375626),
        (-2.70, 0.0, 0.265390, -0.152856),
        *(0.445470, -2.7),
    ),
    "Pd": Metal(
        *(2.750897, 1.595417, 21.335246, 21.940073, 8.697397, 4.638612),
        *(0.406763, 0.598880, 0.397263, 0.754799),
        (-2.321006, -0.473983, 1.615343, -0.231681),
        (-2.36, 0.0, 1.481742, -1.675615),
        *(1.130000, -2.352753),
    ),
    "Pt": Metal(
        *(2.771916, 2.336509, 33.367564, 35.205357, 7.105782, 3.789750),
        *(0.556398, 0.696037, 0.385255, 0.770510),
        (-1.455568, -2.149952, 0.528491, 1.222875),
        (-4.17, 0.0, 3.010561, -2.420128),
        *(1.450000, -4.145597),
    ),
    "Al": Metal(
        *(2.863924, 1.403115, 20.418205, 23.195740, 6.613165, 3.527021),
        *(0.314873, 0.365551, 0.379846, 0.759692),
        (-2.807602, -0.301435, 1.258562, -1.247604),
        (-2.83, 0.0, 0.622245, -2.488244),
        *(0.785902, -2.824528),
    ),
    "Mo": Metal(
        *(2.728100, 2.723710, 29.354065, 29.354065, 8.393531, 4.476550),
        *(0.708787, 1.120373, 0.137640, 0.275280),
        (-3.692913, -0.178812, 0.380450, -3.133650),
        (-3.71, 0.0, 0.875874, 0.776222),
        *(0.790879, -3.712093),
    ),
    "Ta": Metal(
        *(2.860082, 3.086341, 33.787168, 33.787168, 8.489528, 4.527748),
        *(0.611679, 1.032101, 0.176977, 0.353954),
        (-5.103845, -0.405524, 1.112997, -3.585325),
        (-5.14, 0.0, 1.640098, 0.221375),
        *(0.848843, -5.141526),
    ),
    "W": Metal(
        *(2.740840, 3.487340, 37.234847, 37.234847, 8.900114, 4.746728),
        *(0.882435, 1.394592, 0.139209, 0.278417),
        (-4.946281, -0.148818, 0.365057, -4.432406),
        (-4.96, 0.0, 0.661935, 0.348147),
        *(0.582714, -4.961306),
    ),
}


def mixed_pair(first: Metal, second: Metal, r: Array) -> Array:
    """The pair function between two metals, eV: equation (4) of the paper."""
    ratio = second.density(r) / first.density(r)
    return 0.5 * (ratio * first.pair(r) + second.pair(r) / ratio)


def write_setfl(path: Path, elements: Sequence[str]) -> None:
    """Write the potential of a mixture of `elements`, in their order, for ``pair_style eam/alloy``."""
    metals = [METALS[element] for element in elements]
    cutoff = REACH * max(metal.r_e for metal in metals)
    distances = np.linspace(0.0, cutoff, POINTS)
    r = np.maximum(distances, SHORTEST)
    rho = np.linspace(0.0, 8.0 * max(metal.rho_e for metal in metals), POINTS)
    with path.open("w", encoding="utf-8") as file:
        file.write("Zhou, Johnson, Wadley, Phys. Rev. B 69, 144113 (2004)\nmetal units\n\n")
        file.write(f"{len(elements)} {' '.join(elements)}\n")
        file.write(f"{POINTS} {rho[1]:.16e} {POINTS} {distances[1]:.16e} {cutoff:.16e}\n")
        for element, metal in zip(elements, metals, strict=True):
            number = atomic_numbers[element]
            spacing = np.sqrt(2.0) * metal.r_e
            file.write(f"{number} {atomic_masses[number]} {spacing} fcc\n")
            np.savetxt(file, metal.embedding(rho).reshape(-1, 5), "%.16e")
            np.savetxt(file, metal.density(r).reshape(-1, 5), "%.16e")
        for n, first in enumerate(metals):
            for second in metals[: n + 1]:
                pair = distances * mixed_pair(first, second, r)
                np.savetxt(file, pair.reshape(-1, 5), "%.16e")
