"""SOAP terms: functions of the power spectrum of the neighbours' density.

The density of neighbours about an atom is expanded in radial functions (`radial_basis`) and spherical
harmonics; its power spectrum p is invariant to rotations. The local energy has the covariance
``delta**2 (p . p')**zeta`` of normalised spectra (Bartok, Kondor and Csanyi, Phys. Rev. B 87, 184115
(2013)). The centre's own density is part of p, which so is never zero; the energy counts from that of
an isolated atom::

    e(p) = V(p) - V(p of the isolated atom)

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
from forcemap.fitter.process import Block, Environment, Term
from forcemap.fitter.radial_basis import RadialBasis
from forcemap.potentials import _core
from numpy.typing import NDArray

__all__ = ["SoapTerm", "species_weights"]

Array = NDArray[np.float64]

MOST_NUMBERS = 4_000_000
"""Doubles of derivatives, and of their products with the sparse points, held at once."""


@dataclass(frozen=True, eq=False)
class SoapTerm(Term):
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

    def __getstate__(self) -> dict[str, Any]:
        """For sending to other processes: without what only the core of this one has."""
        return {name: value for name, value in vars(self).items() if name != "expansion"}

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

    def covariance(self, block: Block) -> Array:
        """See `Term.covariance`."""
        return self.kernel(block.points, block.points)

    def kernel(self, a: Array, b: Array) -> Array:
        """(n, m) covariance of spectra a (n, dimension) and b (m, dimension), unit variance."""
        return np.asarray((a @ b.T) ** self.zeta)

    def spectra(self, environment: Environment, center: int) -> tuple[NDArray[np.int64], Array]:
        """(atoms (n,), normalised power spectra (n, dimension)) of the atoms of one species."""
        atoms, spectra = self.expansion.spectra(environment.core, center)
        return atoms, spectra

    def isolated(self, environment: Environment, center: int) -> Array:
        """Power spectrum of an isolated atom, (dimension,)."""
        return np.asarray(self.expansion.isolated(environment.core, center))

    def add_rows(self, environment: Environment, rows: Array, start: int) -> None:
        """See `Term.add_rows`."""
        for block in self.blocks:
            if block.species[0] in environment.species and block.size:
                self._add_block(environment, block, rows, start)
            start += block.size

    def _add_block(self, environment: Environment, block: Block, rows: Array, start: int) -> None:
        center, points = block.species[0], block.points
        _, spectra = self.spectra(environment, center)
        overlaps = spectra @ points.T
        free = points @ self.isolated(environment, center)
        where = slice(start, start + block.size)
        rows[0, where] += np.sum(overlaps**self.zeta, axis=0) - len(spectra) * free**self.zeta
        if not environment.derivatives:
            return
        slopes = self.zeta * overlaps ** (self.zeta - 1)
        # Derivatives of a few centres at a time: rows of three per neighbouring atom.
        count = len(environment.frame.numbers)
        involved = min(3 * count, 300) + 9
        step = max(1, MOST_NUMBERS // (involved * max(self.dimension, block.size)))
        for first in range(0, len(spectra), step):
            last = min(first + step, len(spectra))
            targets, centers, derivatives = self.expansion.derivatives(
                environment.core, center, first, last
            )
            _core.add_weighted_rows(targets, centers, derivatives @ points.T, slopes, rows, start)


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
