"""The evidence of a sparse process on a sample of frames, and its slopes in all hyperparameters.

With rows A (n, m) and targets y scaled by 1/sigma, the sparse points' covariance K and prior deviations
delta, the evidence is that of y with the covariance C = 1 + delta² A K⁻¹ Aᵀ (times the square of a
common factor f). The posterior covariance P of the weights, their mean w and the residual r = y - A w
follow from the fit's own factors. For a change of a term's kernel, dA and dK::

    d(log p) = sum over rows <dA, r wᵀ / f² - A P>
             + tr[dK (K⁻¹ - (P + w wᵀ / f²) / delta²)] / 2

(from d(log p) = -tr[(C⁻¹ - C⁻¹ y yᵀ C⁻¹ / f²) dC] / 2; Rasmussen and Williams, Gaussian Processes for
Machine Learning, MIT Press 2006, eq. 5.9, with Woodbury's identity), the second trace in whitened form,
L⁻¹ dK L⁻ᵀ. dA and dK are central differences of rows and covariances, which any kind of term has; the
slope of the evidence is linear in them, and not a difference itself. Frames are visited one by one.

For fixed kernels the deltas and sigmas are optimal (`solve.evidence`); there the slope in the kernels
is that of the maximum (the envelope theorem).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import scipy.linalg
from forcemap.fitter.choice.coordinates import Coordinates
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.process.targets import Targets
from forcemap.fitter.sharing.threads import in_order
from forcemap.fitter.solve.evidence import Evidence, with_guesses
from forcemap.fitter.solve.solver import Groups, Solution
from forcemap.fitter.terms.base import Array, Term
from forcemap.fitter.terms.rows import RowLayout, columns, term_columns, unwhitened
from scipy.linalg import lapack

__all__ = ["Freedom", "Point", "Sample", "jittered"]

STEP = 1e-3
"""Step of a coordinate in differences of rows and covariances. Wide deltas and nearby sparse points
amplify rounding: with 1e-4, slopes were noise for nickel with deltas of 100 eV. Sparse points that
nearly repeat each other also amplify the error of the differences, which therefore have five points,
except for slow rows, whose points are chosen to be apart."""

JITTER = 1e-9
"""Jitter of the sparse points' covariances, relative to their variance. A longer lengthscale makes
points alike; dropping one would make the evidence jump. The value is that below which a fit drops a
point."""


@dataclass(frozen=True)
class Freedom:
    """The freedom of the evidence in deltas and sigmas, as in `solve.evidence.maximise_evidence`.

    Attributes:
        start: start of the delta of each term, eV.
        fixed: whether each delta is fixed.
        scale_is_free: whether a common factor of all sigmas and deltas is chosen.
        groups: number of groups of rows; 2 if the sigma of the stresses is free.
        repeats: number of copies of every row.
    """

    start: Sequence[float]
    fixed: Sequence[bool]
    scale_is_free: bool
    groups: int = 1
    repeats: int = 1


@dataclass(frozen=True)
class Sample:
    """Frames with labels, for which the evidence is computed.

    Attributes:
        targets: labels of the frames.
        structures: structures of the frames, with neighbours up to the largest cutoff of the search.
        freedom: freedom of deltas and sigmas.
        jobs: threads.
    """

    targets: Sequence[Targets]
    structures: Sequence[Structure]
    freedom: Freedom
    jobs: int = 1

    @classmethod
    def of(
        cls, targets: Iterable[Targets], cutoff: float, freedom: Freedom, jobs: int = 1
    ) -> Sample:
        """The sample with neighbours up to `cutoff`, Å."""
        kept = [target for target in targets if len(target.rows)]
        seen = [Structure(t.frame, cutoff, t.has_derivatives) for t in kept]
        return cls(kept, seen, freedom, jobs)

    @cached_property
    def count(self) -> int:
        """Number of rows of all frames."""
        return sum(len(target.rows) for target in self.targets)

    def rows(self, number: int, terms: Sequence[Term]) -> Array:
        """Rows of the frame `number` with all sparse points of `terms`, scaled by 1/sigma."""
        target, structure = self.targets[number], self.structures[number]
        rows = np.zeros(
            (RowLayout(len(target.frame.numbers)).count, sum(term.size for term in terms))
        )
        for term, where in term_columns(terms):
            term.add_rows(structure, rows, where.start)
        return np.asarray(rows[target.rows] / target.sigmas[:, None])

    def at(self, terms: Sequence[Term], logs: Array | None = None) -> Point:
        """The evidence of `terms`: its maximum, or its value at `logs`.

        `logs` are logarithms of deltas and sigmas as in `solve.evidence.Evidence`.
        """
        factors = [
            np.asarray(scipy.linalg.cholesky(jittered(term.covariance(block)), lower=True))
            for term, block, _ in columns(terms)
        ]
        free = self.freedom

        def white(n: int) -> Array:
            rows = self.rows(n, terms)
            for (_, _, where), factor in zip(columns(terms), factors, strict=True):
                half = scipy.linalg.solve_triangular(factor, rows[:, where].T, lower=True)
                rows[:, where] = half.T
            return rows

        rows = list(in_order(white, range(len(self.targets)), self.jobs))
        data = Groups(sum(term.size for term in terms), free.groups)
        for target, some in zip(self.targets, rows, strict=True):
            data.add(_grouped(target, some, free.groups))
        data.settle()
        sizes = [term.size for term in terms]
        members = with_guesses(data.members, free.repeats)
        evidence = Evidence(members, sizes, free.start, free.fixed, free.scale_is_free)
        logs = evidence.largest() if logs is None else logs
        return Point(self, tuple(terms), factors, rows, evidence, logs)


def _grouped(target: Targets, white: Array, groups: int) -> list[tuple[Array, Array, float]]:
    """Arguments of `Accumulator.add` for each group; the second one holds the stresses."""
    values, logs = target.values / target.sigmas, np.log(target.sigmas)
    second = target.of_stress
    chosen = [np.ones(len(values), dtype=bool)] if groups == 1 else [~second, second]
    return [(white[which], values[which], float(np.sum(logs[which]))) for which in chosen]


def _derivative(values: Sequence[Array]) -> Array:
    """Central difference of values at +-STEP and, for a higher order, +-2 STEP."""
    difference = (values[0] - values[1]) / (2.0 * STEP)
    if len(values) > 2:
        difference = (4.0 * difference - (values[2] - values[3]) / (4.0 * STEP)) / 3.0
    return difference


def jittered(covariance: Array) -> Array:
    """A covariance that has a Cholesky factor."""
    return covariance + JITTER * float(np.mean(np.diag(covariance))) * np.eye(len(covariance))


@dataclass(frozen=True)
class Point:
    """The evidence of a sample at some hyperparameters.

    Attributes:
        sample, terms: the sample and its terms.
        factors: Cholesky factor of the covariance of every block's sparse points.
        rows: scaled and whitened rows of all frames.
        evidence: evidence as a function of deltas and sigmas.
        logs: logarithms of deltas and sigmas.
    """

    sample: Sample
    terms: tuple[Term, ...]
    factors: Sequence[Array]
    rows: Sequence[Array] = field(repr=False)
    evidence: Evidence = field(repr=False)
    logs: Array

    @cached_property
    def value(self) -> float:
        """Logarithm of the evidence and of the deltas' prior; `slopes` are its derivatives."""
        return -self.evidence.cost(self.logs)[0]

    @cached_property
    def log_evidence(self) -> float:
        """Logarithm of the evidence alone."""
        return self._solution.log_marginal_likelihood(self.noise_factor)

    @cached_property
    def _chosen(self) -> tuple[Array, Array]:
        return self.evidence.chosen(self.logs)

    @cached_property
    def _solution(self) -> Solution:
        return self.evidence.solution(*self._chosen)

    @cached_property
    def noise_factor(self) -> float:
        """Common factor of all sigmas and deltas."""
        free = self.evidence.scale_is_free and self.evidence.count
        return self._solution.best_noise_factor if free else 1.0

    @property
    def deltas(self) -> Array:
        """(terms,) prior standard deviations, eV."""
        return np.asarray(self._chosen[0] * self.noise_factor)

    @property
    def sigma_factors(self) -> Array:
        """(groups,) factors of the sigmas in the settings."""
        return np.asarray(self._chosen[1] * self.noise_factor)

    def slopes_of_scales(self) -> Array:
        """Slopes of `value` in the logarithms of the free deltas and of the groups' sigmas."""
        return -self.evidence.cost(self.logs)[1]

    def slopes(self, coordinates: Coordinates, at: Array) -> Array:
        """(free,) slopes of `value` in the coordinates; the terms at `at` are those of this point."""
        total = np.zeros(len(at))
        if not len(at):
            return total
        owners = [one.term for one in coordinates.free]
        parts = dict(enumerate(term_columns(self.terms)))
        beside = [self._ends(coordinates, at, k) for k in range(len(at))]
        scales = self._row_scales()

        def of_rows(n: int) -> Array:
            target = self.sample.targets[n]
            white = self.rows[n] * scales[n][:, None]
            left = target.values / target.sigmas * scales[n] - white @ self._solution.values
            gradient = np.outer(left, self._weights / self.noise_factor**2)
            gradient -= self._by_covariance(white)
            slopes = np.zeros(len(at))
            for k, ends in enumerate(beside):
                change = _derivative([self.sample.rows(n, [end]) for end in ends])
                change *= scales[n][:, None]
                slopes[k] = np.sum(change * gradient[:, parts[owners[k]][1]])
            return slopes

        for part in in_order(of_rows, range(len(self.rows)), self.sample.jobs):
            total += part
        return total + [self._of_covariance(coordinates, at, k) for k in range(len(at))]

    def _ends(self, coordinates: Coordinates, at: Array, place: int) -> Sequence[Term]:
        """The term of a coordinate with this changed a little, in both directions."""
        around = coordinates.around(at, place, STEP)
        return around[:2] if around[0].is_slow else around

    def _row_scales(self) -> list[Array]:
        """(rows,) factors of the rows of each frame, which follow from the groups' free sigmas."""
        factors = self._chosen[1]
        if len(factors) == 1:
            return [np.ones(len(rows)) / factors[0] for rows in self.rows]
        return [1.0 / np.where(t.of_stress, factors[1], factors[0]) for t in self.sample.targets]

    @cached_property
    def _inverse(self) -> Array:
        """(m, m) inverse of S = 1 + the whitened, delta-scaled Gram matrix."""
        lower, _ = lapack.dpotri(np.asfortranarray(self._solution.factor), lower=1)
        return np.asarray(np.tril(lower) + np.tril(lower, -1).T)

    @cached_property
    def _column_deltas(self) -> Array:
        return np.repeat(self._chosen[0], self.evidence.sizes)

    @cached_property
    def _weights(self) -> Array:
        """(m,) weights of the unwhitened columns."""
        return unwhitened(self.terms, self.factors, self._solution.values.copy())

    def _by_covariance(self, white: Array) -> Array:
        """(n, m) rows times the posterior covariance of the weights, without the common factor.

        The factors are applied from the left: the covariance itself would be far larger and inaccurate.
        """
        deltas, factor = self._column_deltas, self._solution.factor
        half = scipy.linalg.solve_triangular(factor, (white * deltas).T, lower=True)
        half = scipy.linalg.solve_triangular(factor.T, half, lower=False)
        half *= deltas[:, None]
        return unwhitened(self.terms, self.factors, half).T

    def _of_covariance(self, coordinates: Coordinates, at: Array, place: int) -> float:
        """Part of the slope in a coordinate that comes from the sparse points' covariances."""
        number = coordinates.free[place].term
        around = coordinates.around(at, place, STEP)
        whitened = self._solution.values / self._column_deltas / self.noise_factor
        total = 0.0
        ends = iter(zip(*(term.blocks for term in around), strict=True))
        for (term, _, where), factor in zip(columns(self.terms), self.factors, strict=True):
            if term is not self.terms[number]:
                continue
            blocks = next(ends)
            change = _derivative(
                [jittered(e.covariance(b)) for e, b in zip(around, blocks, strict=True)]
            )
            half = scipy.linalg.solve_triangular(factor, change, lower=True)
            half = scipy.linalg.solve_triangular(factor, half.T, lower=True)
            v = whitened[where]
            weight = np.eye(len(v)) - self._inverse[where, where] - np.outer(v, v)
            total += 0.5 * float(np.sum(weight * half))
        return total
