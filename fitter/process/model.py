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
from forcemap.fitter.terms.base import Array, Block, Term, named
from forcemap.fitter.terms.rows import RowLayout, columns, frame_rows, term_columns
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.uncertainty import Uncertainty

__all__ = ["Labels", "Model"]


FACTOR_ROUNDING = 1e-9
"""Rounding of a factor's products relative to the largest variance, on other processors, too."""


@dataclass(frozen=True, eq=False)
class Labels:
    """Sums over a fit's labels which, with the posterior's factor, suffice to add more labels.

    Attributes:
        projected: (m,) product of the posterior's inverse factor, the scaled rows and the targets.
        misfit: yᵀ(K + 1)⁻¹y of the scaled targets.
        log_sigma: sum of the logarithms of the rows' sigmas, without the noise factor.
        count: number of rows.
        factors: Cholesky factor of every block's covariance, which whitened the rows: a new factor of
            the same matrix differs by rounding times the condition number, often 1e11.
        stress_factor: factor of the sigmas of stresses if the fit determined it; otherwise 1.
    """

    projected: Array
    misfit: float
    log_sigma: float
    count: int
    factors: tuple[Array, ...]
    stress_factor: float = 1.0


DRAWS_SEED = 20_150_518
"""Seed of `Model.draws`: a fixed one, so that a model always maps to the same potential."""


@dataclass(frozen=True)
class Model:
    """A fitted process with everything that mapping, re-mapping and variances need.

    Attributes:
        species: atomic numbers, increasing.
        terms: terms with their sparse points and resolved hyperparameters.
        weights: (m,) weights of the unit-variance kernel columns in the order of `rows.columns`, eV.
        e0: isolated-atom energies by atomic number, eV.
        repulsion: short-range repulsion by pair of atomic numbers (a <= b); may be empty.
        posterior: (m, m) lower Cholesky factor of 1 + the whitened, delta-scaled Gram matrix.
        noise_factor: common factor of sigmas and deltas, chosen by evidence.
        log_marginal_likelihood: logarithm of the evidence of the training data.
        settings, data: provenance.
        labels: sums needed to add frames; None in files of earlier versions.
        identity: identity of the fit whose files include this one; empty without files.
        uncertainty: calibration of the deviations; None if there is none.
        open_levels: variances of the prior that the sparse points leave undetermined in frames like
            those of the fit: "force" (eV/Å)² of a component, "energy" and "stress" (times volume) eV²
            per atom.
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
    labels: Labels | None = None
    uncertainty: Uncertainty | None = None
    open_levels: Mapping[str, float] = field(default_factory=dict)

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

    @property
    def largest_block(self) -> int:
        """Largest number of sparse points of a block."""
        return max((block.size for _, block, _ in columns(self.terms)), default=0)

    def predict(self, frame: Frame) -> tuple[float, Array, Array]:
        """Process mean without isolated atoms and repulsion: energy, forces (n, 3), strain (6,).

        Energy in eV, forces in eV/Å, strain derivatives in eV (the order of `voigt`). Raises
        ForcemapError if one is not finite.
        """
        return self._means(frame, frame_rows(frame, self.terms))

    def _means(self, frame: Frame, rows: Array) -> tuple[float, Array, Array]:
        with np.errstate(over="ignore", invalid="ignore"):
            return RowLayout(len(frame.numbers)).split(_finite(rows @ self.weights))

    @cached_property
    def factors(self) -> list[Array]:
        """Cholesky factor of every block's covariance, unit variance.

        Raises ForcemapError if a covariance has no factor.
        """
        known = iter(self.labels.factors if self.labels is not None else ())
        return [
            _checked_factor(next(known, None), term, block)
            for term, block, _ in columns(self.terms)
        ]

    def check(self) -> None:
        """Compute the factors that deviations need, which is slow and may fail for a damaged model.

        Raises ForcemapError if a block's covariance has no Cholesky factor.
        """
        _ = self.factors

    def draws(self, count: int) -> Array:
        """(m, count) samples of the posterior less its mean `weights`; the same at every call.

        A larger `count` extends the draws of a smaller one. Their covariance underlies `raw_variances`:
        it lacks the part of the prior that the sparse points leave undetermined.
        """
        rng = np.random.default_rng(DRAWS_SEED)
        standard = rng.standard_normal((count, len(self.weights))).T
        samples = scipy.linalg.solve_triangular(
            self.posterior, standard, trans=1, lower=True, check_finite=False
        )
        for (term, _, where), factor in zip(columns(self.terms), self.factors, strict=True):
            samples[where] = term.delta * scipy.linalg.solve_triangular(
                factor, samples[where], trans=1, lower=True, check_finite=False
            )
        return _finite(samples)

    def variances(self, frame: Frame) -> Array:
        """Posterior variances of the frame's rows (`rows.RowLayout`), (count,).

        The variances, in eV², (eV/Å)² and eV², are those of the process itself, without the noise of
        the labels. They include the part of the prior that the sparse points leave undetermined
        (`remainder`). Raises ForcemapError if one is not finite, or a covariance has no Cholesky
        factor.
        """
        return self._variances(frame, frame_rows(frame, self.terms))

    def predict_with_variances(
        self, frame: Frame, left_open: bool = True
    ) -> tuple[tuple[float, Array, Array], Array]:
        """Results of `predict` and `variances` from one calculation of the frame's rows.

        Without `left_open` the variances are the `raw_variances`.
        """
        rows = frame_rows(frame, self.terms)
        variances = self._variances(frame, rows) if left_open else self.raw_variances(rows)
        return self._means(frame, rows), variances

    def raw_variances(self, rows: Array) -> Array:
        """(count,) variances of `rows` (count, m) that the data leave at the sparse points."""
        with np.errstate(over="ignore", invalid="ignore"):
            return _finite(np.sum(self.root(rows) ** 2, axis=1))

    def root(self, rows: Array) -> Array:
        """(count, m) matrix whose product with its transpose is the covariance of `raw_variances`."""
        half = scipy.linalg.solve_triangular(
            self.posterior, _finite(self.whitened(rows)).T, lower=True, check_finite=False
        )
        return np.asarray(half.T)

    def whitened(self, rows: Array) -> Array:
        """(count, m) matrix whose product with its transpose is the prior covariance of `rows`."""
        whitened = np.empty_like(rows)
        for (term, _, where), factor in zip(columns(self.terms), self.factors, strict=True):
            half = scipy.linalg.solve_triangular(
                factor, rows[:, where].T, lower=True, check_finite=False
            )
            whitened[:, where] = term.delta * half.T
        return whitened

    def open_variances(self, frame: Frame) -> Array:
        """(count,) variances of the prior that the sparse points leave undetermined (`remainder`)."""
        return remainders(frame, self.terms, self.factors)

    def _variances(self, frame: Frame, rows: Array) -> Array:
        return _finite(self.raw_variances(rows) + self.open_variances(frame))


def _checked_factor(known: Array | None, term: Term, block: Block) -> Array:
    """Cholesky factor of a block's covariance; `known`, if that is a factor of this matrix."""
    covariance = term.covariance(block)
    where = f"the covariance of the sparse points of {named(block.species)} in its {term.kind} term"
    cure = "the file is damaged; copy it again or fit anew"
    if known is not None:
        error = float(np.max(np.abs(known @ known.T - covariance), initial=0.0))
        if error <= FACTOR_ROUNDING * float(np.max(np.diag(covariance), initial=0.0)):
            return known
    try:
        factor = scipy.linalg.cholesky(covariance, lower=True)
    except (scipy.linalg.LinAlgError, ValueError):  # ValueError: a number is not finite
        raise ForcemapError(f"{where} is not positive definite: {cure}") from None
    if known is not None:
        raise ForcemapError(f"{where} does not match the stored factor: {cure}")
    return np.asarray(factor)


def _finite(values: Array) -> Array:
    """Return `values`; raise ForcemapError if one is not finite: no NaN leaves a process silently."""
    if not np.isfinite(values).all():
        raise ForcemapError(
            "the process gives numbers that are not finite: the structure is far outside what can be "
            "evaluated, or the model is damaged"
        )
    return np.asarray(values)
