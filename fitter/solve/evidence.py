"""Hyperparameters by the evidence: prior standard deviations of the terms, sigmas of groups of rows.

All of them follow from the sums that `solver` makes for each group of rows, without another look at
the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.optimize
from forcemap.fitter.solve.solver import Groups, Solution, Sums, together
from numpy.typing import NDArray
from scipy.linalg import lapack

__all__ = ["DELTA_PRIOR", "Evidence", "Hyperparameters", "maximise_evidence", "with_guesses"]

Array = NDArray[np.float64]

DELTA_PRIOR = 1e-3
"""Weight, per datum, of the squared logarithm of delta against the evidence. Without it, few-body
functions that cannot explain all of the forces would have ever larger deltas."""

DIGITS = 4
"""Significant digits of rounded hyperparameters. The evidence is flat at its maximum, and threads of
BLAS change where it is found in the eighth digit."""

GUESS, GUESS_OF_GROUP = 1.0, 0.1
"""Error of the labels that `with_guesses` adds, in units of the given sigmas: the expected one in the
first group; less in groups whose sigma was given as a mere start."""


def with_guesses(groups: Sequence[Sums], repeats: int) -> list[Sums]:
    """The groups with `repeats` more rows in each that has any: labels that the process cannot explain
    (covariances of zero), GUESS sigmas off.

    They are the conjugate prior of a variance (inverse gamma), worth one row of evidence. Rows that
    show how far off the process is outvote them. Where the process reproduces all labels, since they
    are few or alike, the evidence alone would find no noise at all, and with it no variance anywhere.
    n such rows take a sigma to GUESS / sqrt(n + 1) of the given one and no further.
    """
    more = []
    for number, member in enumerate(groups):
        rows = repeats if member.count else 0
        vector = member.vector.copy()
        vector[-2] += rows * (GUESS if number == 0 else GUESS_OF_GROUP) ** 2
        more.append(Sums(member.gram, vector, member.count + rows))
    return more


@dataclass(frozen=True)
class Hyperparameters:
    """What the evidence has chosen.

    Attributes:
        deltas: (terms,) prior standard deviations, in the units of the given sigmas.
        noise_factor: common factor of all sigmas and deltas, or 1.
        sigma_factors: (groups,) factors of the sigmas of each group, beside the common one.
        noise_is_guessed: whether the common factor is free and the labels' residuals are less than
            those of `with_guesses`: the process reproduces them.
    """

    deltas: Array
    noise_factor: float
    sigma_factors: Array
    noise_is_guessed: bool = False

    def rounded(self, fixed: Sequence[bool]) -> Hyperparameters:
        """To `DIGITS`; `fixed`: of `maximise_evidence`, says which deltas stay."""
        deltas = np.where(fixed[: len(self.deltas)], self.deltas, _rounded(self.deltas))
        noise = float(_rounded(np.array([self.noise_factor]))[0])
        return replace(
            self, deltas=deltas, noise_factor=noise, sigma_factors=_rounded(self.sigma_factors)
        )


def _rounded(values: Array) -> Array:
    return np.array([float(f"{value:.{DIGITS}g}") for value in values])


def maximise_evidence(
    data: Groups,
    sizes: Sequence[int],
    start: Sequence[float],
    fixed: Sequence[bool],
    scale_is_free: bool,
    repeats: int = 1,
) -> Hyperparameters:
    """Prior standard deviation of each term, and sigmas of groups of rows, by evidence.

    Args:
        data: the streamed rows, settled. The sigmas of the first group keep their values, but for the
            common factor; those of the others are free.
        sizes: number of columns of each term.
        start: first guess of each delta, eV.
        fixed: which deltas are to stay as they are.
        scale_is_free: whether a common factor of all sigmas and deltas is chosen too.
        repeats: how often the data hold every row: copies say no more about the noise than one.
    """
    evidence = Evidence(with_guesses(data.members, repeats), sizes, start, fixed, scale_is_free)
    deltas, factors = evidence.chosen(evidence.largest())
    if not (scale_is_free and evidence.count):
        return Hyperparameters(deltas, 1.0, factors)
    solution = evidence.solution(deltas, factors)
    first = evidence.members[0]
    guessed = bool(first.count) and first.residual(solution.values) < 2.0 * repeats * GUESS**2
    return Hyperparameters(deltas, solution.best_noise_factor, factors, guessed)


@dataclass(frozen=True)
class Evidence:
    """The evidence as a function of the logarithms of all deltas and sigmas that are free.

    Attributes: as the arguments of `maximise_evidence`; `members` are the sums of the groups of rows,
    with guesses.
    """

    members: Sequence[Sums]
    sizes: Sequence[int]
    start: Sequence[float]
    fixed: Sequence[bool]
    scale_is_free: bool

    @cached_property
    def count(self) -> int:
        """Rows of all groups."""
        return sum(member.count for member in self.members)

    @cached_property
    def free(self) -> list[int]:
        """Terms whose delta is free."""
        return [n for n, f in enumerate(self.fixed) if not f]

    @cached_property
    def groups(self) -> list[int]:
        """Groups whose sigmas are free."""
        return [k for k, member in enumerate(self.members) if k > 0 and member.count]

    @property
    def first(self) -> Array:
        """Logarithms to start from."""
        given = [self.start[n] for n in self.free] + [1.0] * len(self.groups)
        return np.asarray(np.log(np.array(given, dtype=float)))

    def chosen(self, logs: Array) -> tuple[Array, Array]:
        """Deltas of all terms, and factors of the sigmas of all groups."""
        deltas, factors = np.array(self.start, dtype=float), np.ones(len(self.members))
        deltas[self.free] = np.exp(logs[: len(self.free)])
        factors[self.groups] = np.exp(logs[len(self.free) :])
        return deltas, factors

    def solution(self, deltas: Array, factors: Array) -> Solution:
        """The posterior for these deltas of all terms and factors of the sigmas of all groups."""
        return together(self.members, factors).solve(np.repeat(deltas, self.sizes))

    def largest(self) -> Array:
        """The logarithms at which it is largest."""
        logs = self.first
        if not (len(logs) and self.count):
            return logs
        optimum = scipy.optimize.minimize(
            self.cost,
            logs,
            jac=True,
            method="L-BFGS-B",
            bounds=[(-7.0, 12.0)] * len(self.free) + [(-7.0, 7.0)] * len(self.groups),
            options={"maxiter": 60, "ftol": 1e-7, "gtol": 0.05},
        )
        return np.asarray(optimum.x)

    def cost(self, logs: Array) -> tuple[float, Array]:
        """Minus the logarithm of the evidence and of the deltas' prior, and its slopes."""
        per_term, factors = self.chosen(logs)
        deltas = np.repeat(per_term, self.sizes)
        solution = self.solution(per_term, factors)
        factor = solution.best_noise_factor if self.scale_is_free else 1.0
        # With S = 1 + D G D, v = S^-1 D b: d(log det S)/d(log delta_t) = 2 sum_t (1 - S^-1_ii) and
        # d(misfit)/d(log delta_t) = -2 sum_t v_i^2; a free common factor is at its best, and drops out.
        inverse, _ = lapack.dpotri(solution.factor.T, lower=0, overwrite_c=1)  # in its place
        by_column = (1.0 - np.diag(inverse)) - (solution.values / deltas / factor) ** 2
        term_of_column = np.repeat(np.arange(len(self.sizes)), self.sizes)
        slopes = np.zeros(len(logs))
        free = len(self.free)
        slopes[:free] = np.bincount(term_of_column, by_column, len(self.sizes))[self.free]
        # A group's sigma is at its best where its squared residuals are its rows less the part of the
        # degrees of freedom that these rows determine (MacKay, Neural Comput. 4, 415 (1992), DOI
        # 10.1162/neco.1992.4.3.415).
        for place, k in enumerate(self.groups, start=free):
            member = self.members[k]
            determined = 2.0 * np.einsum("ij,ij,i,j->", inverse, member.gram, deltas, deltas)
            determined -= float((np.diag(inverse) * np.diag(member.gram)) @ deltas**2)
            residual = member.residual(solution.values) / factor**2
            slopes[place] = member.count - (residual + determined) / factors[k] ** 2
        prior = np.where(np.arange(len(logs)) < free, DELTA_PRIOR * self.count, 0.0)
        value = -solution.log_marginal_likelihood(factor) + float(prior @ logs**2)
        return value, slopes + 2.0 * prior * logs
