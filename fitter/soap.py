"""SOAP terms: functions of the power spectrum of the neighbours' density.

The density of neighbours about an atom is expanded in radial functions (`radial_basis`) and spherical
harmonics; its power spectrum p is invariant to rotations. The local energy has the covariance
``delta**2 (p . p')**zeta`` of normalised spectra (Bartok, Kondor and Csanyi, Phys. Rev. B 87, 184115
(2013)). The centre's own density is part of p, which so is never zero.

Elements have channels: c[alpha] = sum over elements of weights[alpha, element] times that element's
coefficients. Plain SOAP has a channel for each element (the weights are a unit matrix). A matrix
kappa of similarities between elements (De, Bartok, Csanyi and Ceriotti, Phys. Chem. Chem. Phys. 18,
13754 (2016)) is the same as weights with weights.T @ weights = kappa, and fewer channels than elements
compress them (Willatt, Musil and Ceriotti, Phys. Chem. Chem. Phys. 20, 29661 (2018)).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg
from forcemap.fitter.environment_terms import Comparison, DotPower, EnvironmentTerm
from forcemap.fitter.process import Block, Environment
from forcemap.fitter.radial_basis import RadialBasis
from forcemap.potentials import _core
from numpy.typing import NDArray

__all__ = ["SoapTerm", "species_weights"]

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SoapTerm(EnvironmentTerm):
    """A SOAP term with its sparse points, normalised power spectra, for each species of centre.

    Attributes:
        basis: how neighbours are seen at a distance (what the tables were made from).
        zeta: power of the dot product.
        numbers: atomic numbers of the columns of `weights`, increasing.
        weights: (channels, species).
        radial: (intervals + 3, l_max + 1, n_max) splines of the radial functions over [0, cutoff].
        own: (n_max,) of the centre's own density.
    """

    basis: RadialBasis
    zeta: int
    numbers: tuple[int, ...]
    weights: Array
    radial: Array
    own: Array
    cutoff: float
    delta: float = 1.0
    blocks: tuple[Block, ...] = ()
    kind: str = "soap"

    @cached_property
    def expansion(self) -> _core.SoapExpansion:
        """The density expansion in the core."""
        return _core.SoapExpansion(
            self.cutoff, self.radial, self.own, self.weights, list(self.numbers)
        )

    @property
    def dimension(self) -> int:
        """Numbers of the power spectrum."""
        return int(self.expansion.dimension)

    def summary(self) -> dict[str, Any]:
        """See `Term.summary`."""
        basis = self.basis
        return {
            "cutoff_width": basis.cutoff_width,
            "atom_sigma": basis.atom_sigma,
            "n_max": basis.n_max,
            "l_max": basis.l_max,
            "zeta": self.zeta,
            "channels": len(self.weights),
            "dimension": self.dimension,
        }

    @cached_property
    def comparison(self) -> Comparison:  # type: ignore[override]
        """See `EnvironmentTerm.comparison`."""
        return DotPower(self.zeta)

    def dimension_of(self, center: int) -> int:
        """See `EnvironmentTerm.dimension_of`."""
        return self.dimension

    def descriptors(self, environment: Environment, center: int) -> tuple[Indices, Array]:
        """See `EnvironmentTerm.descriptors`: normalised power spectra."""
        atoms, spectra = self.expansion.spectra(environment.core, center)
        return atoms, spectra

    def isolated(self, environment: Environment, center: int) -> Array:
        """See `EnvironmentTerm.isolated`."""
        return np.asarray(self.expansion.isolated(environment.core, center))

    def derivatives(
        self, environment: Environment, center: int, first: int, last: int
    ) -> tuple[Indices, Indices, Array]:
        """See `EnvironmentTerm.derivatives`."""
        targets, centers, rows = self.expansion.derivatives(environment.core, center, first, last)
        return targets, centers, rows


def species_weights(numbers: Sequence[int], kappa: Mapping[tuple[int, int], float] | None) -> Array:
    """(channels, species) of plain SOAP, or the root of a matrix of similarities between elements.

    Raises ValueError if the similarities are no positive semi-definite matrix.
    """
    matrix = np.eye(len(numbers))
    for (a, b), similarity in (kappa or {}).items():
        if a in numbers and b in numbers:
            i, j = numbers.index(a), numbers.index(b)
            matrix[i, j] = matrix[j, i] = similarity
    if kappa is None:
        return matrix
    values, vectors = scipy.linalg.eigh(matrix)
    if values[0] < -1e-9:
        raise ValueError(
            "kappa is not positive semi-definite: no densities can be that similar; make the "
            "similarities smaller"
        )
    kept = values > 1e-9
    return np.ascontiguousarray((vectors[:, kept] * np.sqrt(values[kept])).T[::-1])
