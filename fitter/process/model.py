"""The fitted Gaussian process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg
from forcemap.fitter.baseline.repulsion import Repulsion
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.process.remainder import remainders
from forcemap.fitter.terms.base import Array, Term
from forcemap.fitter.terms.rows import RowLayout, columns, frame_rows, term_columns

__all__ = ["Model"]


@dataclass(frozen=True)
class Model:
    """A fitted process: everything that mapping, re-mapping and variances need.

    Attributes:
        species: atomic numbers, increasing.
        terms: with their sparse points and resolved hyperparameters.
        weights: (m,) for unit-variance kernel columns in the order of `rows.columns`, eV.
        e0: isolated-atom energies by atomic number, eV.
        repulsion: by pair of atomic numbers (a <= b); empty without one.
        posterior: (m, m) lower Cholesky factor of 1 + the whitened, delta-scaled Gram matrix.
        noise_factor: common factor of sigmas and deltas chosen by evidence.
        log_marginal_likelihood: of the training data.
        settings, data: provenance.
        identity: of the fit whose files this is written with; empty without files.
    """

    species: tuple[int, ...]
    terms: tuple[Term, ...]
    weights: Array
    e0: Mapping[int, float]
    repulsion: Repulsion
    posterior: Array
    noise_factor: float = 1.0
    log_marginal_likelihood: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    identity: str = ""

    def atom_energies(self) -> dict[int, float]:
        """Energy of each isolated atom, eV: e0 and, with ``e0: average``, the fitted constants."""
        energies = dict(self.e0)
        for term, where in term_columns(self.terms):
            for z, energy in term.atom_energies(self.weights[where, None]).items():
                energies[z] += float(energy[0])
        return energies

    @property
    def unmapped(self) -> tuple[str, ...]:
        """Kinds of the terms that have no map, without which the model cannot be run in MD."""
        return tuple(sorted({term.kind for term in self.terms if not term.has_map}))

    def predict(self, frame: Frame) -> tuple[float, Array, Array]:
        """Process mean without isolated atoms and repulsion: energy, forces (n, 3), strain (6,).

        Energy in eV, forces in eV/Å, strain derivatives in eV (the order of `voigt`).
        """
        return self._means(frame, frame_rows(frame, self.terms))

    def _means(self, frame: Frame, rows: Array) -> tuple[float, Array, Array]:
        return RowLayout(len(frame.numbers)).split(rows @ self.weights)

    @cached_property
    def factors(self) -> list[Array]:
        """Cholesky factor of every block's covariance, unit variance."""
        return [
            scipy.linalg.cholesky(term.covariance(block), lower=True)
            for term, block, _ in columns(self.terms)
        ]

    def variances(self, frame: Frame) -> Array:
        """Posterior variances of the frame's rows (`rows.RowLayout`), (count,).

        Of the process itself, without the noise of the labels: eV², (eV/Å)², eV². With what the
        sparse points leave open of the prior, see `remainder`.
        """
        return self._variances(frame, frame_rows(frame, self.terms))

    def predict_with_variances(self, frame: Frame) -> tuple[tuple[float, Array, Array], Array]:
        """What `predict` and `variances` give, from one calculation of the frame's rows."""
        rows = frame_rows(frame, self.terms)
        return self._means(frame, rows), self._variances(frame, rows)

    def _variances(self, frame: Frame, rows: Array) -> Array:
        whitened = np.empty_like(rows)
        for (term, _, where), factor in zip(columns(self.terms), self.factors, strict=True):
            whitened[:, where] = (
                term.delta * scipy.linalg.solve_triangular(factor, rows[:, where].T, lower=True).T
            )
        half = scipy.linalg.solve_triangular(self.posterior, whitened.T, lower=True)
        left = remainders(frame, self.terms)
        return np.asarray(np.sum(half**2, axis=0) + left)
