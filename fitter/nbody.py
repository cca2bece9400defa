"""Many-body terms made of a 3-body kernel, for the process itself: they have no map.

The 3-body kernel of two environments is the sum over the triplets of one and of the other (Glielmo,
Zeni, Fekete, De Vita, "Building nonparametric n-body force fields using Gaussian process regression",
in Machine Learning Meets Quantum Physics, Springer 2020)::

    k_3(rho, rho') = sum_{ {j, k} } sum_{ {j', k'} } f_c(r_ij) f_c(r_ik) f_c(r'_ij) f_c(r'_ik) k(q, q')

with k the squared exponential on the three distances q = (r_ij, r_ik, r_jk), summed over the exchange
of equal neighbours; triplets of other species do not compare. Its integer power (eq. 5.30),
``k_3**power``, couples `power` triplets at a time: functions of up to 2 power + 1 atoms; the squared
exponential on its distance (eq. 5.31)::

    exp(-d**2 / (2 distance_lengthscale**2))
    d**2 = k_3(rho, rho) + k_3(rho', rho') - 2 k_3(rho, rho')

is of all orders. Neither is a sum over triplets any more, and no splines of few distances hold it.

*Features.* The double sum is approximated by inducing triplets q_m (Williams and Seeger, NIPS 13, 682
(2001)): with s_m(rho) = sum over the triplets of rho of f_c f_c k(q, q_m) and the triplets' own
covariance K = L Lᵀ, the descriptor phi = L⁻¹ s gives k_3(rho, rho') = phi . phi', from below, and
exactly where the triplets of rho or rho' are among the q_m. Descriptors are divided by the root of
the mean k_3(rho, rho) of the data's environments, which `delta` and the lengthscale are relative to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg
from forcemap.fitter.environment_terms import Comparison, EnvironmentTerm
from forcemap.fitter.few_body import FewBodyTerm
from forcemap.fitter.process import Block, Environment
from forcemap.potentials import _core
from numpy.typing import NDArray

__all__ = ["NBodyTerm"]

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class NBodyTerm(EnvironmentTerm):
    """A many-body term with its sparse points, descriptors phi, for each species of centre.

    Attributes:
        triplets: kernel and cutoff of triplets; its blocks hold the inducing triplets.
        scales: by centre species, mean k_3 of an environment with itself; 1 where it is not given.
        comparison: `environment_terms.DotPower` or `SquaredExponential`.
    """

    triplets: FewBodyTerm
    comparison: Comparison
    cutoff: float
    scales: Mapping[int, float]
    delta: float = 1.0
    blocks: tuple[Block, ...] = ()
    kind: str = "nbody"

    @property
    def has_map(self) -> bool:
        """See `Term.has_map`."""
        return False

    @cached_property
    def expansion(self) -> _core.TripletExpansion:
        """The inducing triplets in the core."""
        blocks = []
        for block in self.triplets.blocks:
            for (center, a, b), images in self.triplets.views(block):
                blocks.append((center, a, b, images))
        return _core.TripletExpansion(self.triplets.settings, blocks)

    @cached_property
    def factors(self) -> list[Array]:
        """Cholesky factor of the covariance of each block of inducing triplets.

        Raises LinAlgError if triplets repeat others.
        """
        return [
            scipy.linalg.cholesky(self.triplets.covariance(block), lower=True)
            for block in self.triplets.blocks
        ]

    def summary(self) -> dict[str, Any]:
        """See `Term.summary`."""
        return {
            **self.comparison.named(),
            "lengthscale": self.triplets.lengthscale,
            "cutoff_width": self.triplets.cutoff_width,
            "n_features": self.triplets.size,
        }

    def dimension_of(self, center: int) -> int:
        """See `EnvironmentTerm.dimension_of`."""
        return sum(block.size for block in self.triplets.blocks if block.species[0] == center)

    def descriptors(self, environment: Environment, center: int) -> tuple[Indices, Array]:
        """See `EnvironmentTerm.descriptors`."""
        atoms, sums = self.expansion.values(environment.core, center)
        return atoms, self._whitened(sums, center)

    def isolated(self, environment: Environment, center: int) -> Array:
        """See `EnvironmentTerm.isolated`: without triplets, phi is 0."""
        return np.zeros(self.dimension_of(center))

    def derivatives(
        self, environment: Environment, center: int, first: int, last: int
    ) -> tuple[Indices, Indices, Array]:
        """See `EnvironmentTerm.derivatives`."""
        targets, centers, sums = self.expansion.derivatives(environment.core, center, first, last)
        return targets, centers, self._whitened(sums, center)

    def _whitened(self, sums: Array, center: int) -> Array:
        """(n, dimension) sums s over triplets as descriptors phi."""
        found = np.empty_like(sums)
        start = 0
        for block, factor in zip(self.triplets.blocks, self.factors, strict=True):
            if block.species[0] == center:
                where = slice(start, start + block.size)
                found[:, where] = scipy.linalg.solve_triangular(
                    factor, sums[:, where].T, lower=True, check_finite=False
                ).T
                start += block.size
        return np.asarray(found / np.sqrt(self.scales.get(center, 1.0)))
