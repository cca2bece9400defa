"""Hyperparameters by the evidence: prior standard deviations of the terms, sigmas of groups of rows.

All of them follow from the sums that `solver` makes for each group of rows, without another look at
the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from forcemap.fitter.solve.newton import smallest
from forcemap.fitter.solve.solver import Groups, Solution, Sums, together
from numpy.typing import NDArray
from scipy.linalg import blas, lapack

__all__ = ["DELTA_PRIOR", "Evidence", "Hyperparameters", "maximise_evidence", "with_guesses"]

Array = NDArray[np.float64]

DELTA_PRIOR = 1e-3
"""Weight, per datum, of the squared logarithm of delta against the evidence. Without it, few-body
functions that cannot explain all of the forces would have ever larger deltas."""

SMALLEST, LARGEST_DELTA = -7.0, 12.0
"""Logarithms of deltas and of groups' factors are no smaller; those of deltas no larger, of factors not
above minus the smallest."""

PROBES = 8
"""Random vectors for a trace: it steers the search, and does not decide where that ends."""

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

    @property
    def bounds(self) -> tuple[Array, Array]:
        """Smallest and largest logarithms."""
        free, groups = len(self.free), len(self.groups)
        largest = np.repeat([LARGEST_DELTA, -SMALLEST], [free, groups])
        return np.full(free + groups, SMALLEST), largest

    def largest(self) -> Array:
        """The logarithms at which it is largest."""
        if not (len(self.first) and self.count):
            return self.first
        return np.asarray(smallest(self.slopes, self.first, *self.bounds))

    def cost(self, logs: Array) -> tuple[float, Array]:
        """Minus the logarithm of the evidence and of the deltas' prior, and its slopes."""
        value, slopes, _ = self.slopes(logs)
        return value, slopes

    def slopes(self, logs: Array) -> tuple[float, Array, Array]:
        """`cost`, and its second derivatives, where some traces are estimated."""
        per_term, factors = self.chosen(logs)
        deltas = np.repeat(per_term, self.sizes)
        solution = self.solution(per_term, factors)
        factor = solution.best_noise_factor if self.scale_is_free else 1.0
        value = -solution.log_marginal_likelihood(factor)
        at = _At.of(solution, deltas, self.sizes, factor)
        groups = [_Group.of(self.members[k], factors[k], at) for k in self.groups]
        inverse, _ = lapack.dpotri(solution.factor.T, lower=0, overwrite_c=1)  # in its place
        determined = [group.determined(inverse, deltas) for group in groups]
        free = len(self.free)
        by_group = [g.slope(d, factor) for g, d in zip(groups, determined, strict=True)]
        first = np.concatenate([at.by_term(inverse)[self.free], by_group])
        second = np.zeros((len(logs), len(logs)))
        second[:free, :free] = at.between_terms(inverse)[np.ix_(self.free, self.free)]
        for n, group in enumerate(groups, start=free):
            second[n, :free] = second[:free, n] = group.with_terms[self.free]
            for m, other in enumerate(groups[: n - free + 1], start=free):
                second[n, m] = second[m, n] = group.with_group(other, factor)
            second[n, n] += 2.0 * (group.misfit / factor**2 + determined[n - free])
        if self.scale_is_free:
            # The common factor follows: the misfit's slopes change with it.
            misfit = np.concatenate([at.squares[self.free], [group.misfit for group in groups]])
            second -= 2.0 * np.outer(misfit, misfit) / (self.count * factor**4)
        prior = np.where(np.arange(len(logs)) < free, DELTA_PRIOR * self.count, 0.0)
        second += np.diag(2.0 * prior)
        return value + float(prior @ logs**2), first + 2.0 * prior * logs, second


@dataclass(frozen=True)
class _At:
    """The posterior at some deltas and factors, S = 1 + D G D = L Lᵀ, whose evidence is differentiated.

    With v = S⁻¹ D b: d(log det S)/d(log delta_t) = 2 sum_t (1 - S⁻¹_ii) and d(misfit)/d(log delta_t) =
    -2 sum_t v_i²; and since S⁻¹ (S - 1) = 1 - S⁻¹, their derivatives by another delta have no more
    than squares of elements of S⁻¹, and v_t S⁻¹ v_u.

    S⁻¹ takes the place of L, its upper triangle, with zeros below: what needs L is made before.

    Attributes:
        v: (m,).
        deltas: (m,).
        sizes: number of columns of each term.
        scale: the common factor.
        factor: (m, m) L.
        probes: (m, PROBES) L⁻ᵀ times random signs, by which traces are estimated (Hutchinson, Commun.
            Stat. Simul. Comput. 18, 1059 (1989), DOI 10.1080/03610918908812806).
        halves: (m, terms) L⁻¹ v_t.
    """

    v: Array
    deltas: Array
    sizes: Sequence[int]
    scale: float
    factor: Array
    probes: Array
    halves: Array

    @classmethod
    def of(cls, solution: Solution, deltas: Array, sizes: Sequence[int], scale: float) -> _At:
        """The posterior of `solution`."""
        v, factor = solution.values / deltas, solution.factor
        signs = 2.0 * np.random.default_rng(0).integers(0, 2, (len(v), PROBES)) - 1.0
        term = np.repeat(np.arange(len(sizes)), sizes)
        parts = np.where(term[:, None] == np.arange(len(sizes)), v[:, None], 0.0)
        probes, halves = _back(factor, signs), _forth(factor, parts)
        return cls(v, deltas, sizes, scale, factor, probes, halves)

    @property
    def terms(self) -> list[slice]:
        """Columns of each term."""
        return [slice(start, stop) for start, stop in pairwise(np.cumsum([0, *self.sizes]))]

    def of_terms(self, values: Array) -> Array:
        """(terms,) sums of (m,) values."""
        return np.array([float(np.sum(values[where])) for where in self.terms])

    @cached_property
    def squares(self) -> Array:
        """(terms,) sums of v_i²."""
        return self.of_terms(self.v**2)

    def by_term(self, inverse: Array) -> Array:
        """(terms,) slopes of the cost, without its prior."""
        return self.of_terms(1.0 - np.diag(inverse)) - self.squares / self.scale**2

    def between_terms(self, inverse: Array) -> Array:
        """(terms, terms) second derivatives for a given common factor."""
        terms, diagonal = self.terms, np.diag(inverse)
        found = np.diag(2.0 * self.of_terms(diagonal) + 2.0 * self.squares / self.scale**2)
        found -= 4.0 * self.halves.T @ self.halves / self.scale**2
        for n, rows in enumerate(terms):
            both = 2.0 * _squares(inverse[rows, rows]) - float(np.sum(diagonal[rows] ** 2))
            found[n, n] -= 2.0 * both
            for m, columns in enumerate(terms[n + 1 :], start=n + 1):
                both = _squares(inverse[rows, columns])
                found[n, m] -= 2.0 * both
                found[m, n] -= 2.0 * both
        return found


def _squares(part: Array) -> float:
    """Sum of the squares of a matrix; no copy is made, as there may be thousands of sparse points."""
    return float(np.einsum("ij,ij->", part, part))


def _forth(factor: Array, vectors: NDArray[Any]) -> Array:
    """L⁻¹ times (m, n)."""
    return np.asarray(blas.dtrsm(1.0, factor.T, vectors, lower=0, trans_a=1))


def _back(factor: Array, vectors: NDArray[Any]) -> Array:
    """L⁻ᵀ times (m, n)."""
    return np.asarray(blas.dtrsm(1.0, factor.T, vectors, lower=0))


@dataclass(frozen=True)
class _Group:
    """A group of rows with a sigma of its own, B = D G_k D over the square of its factor.

    A group's sigma is at its best where its squared residuals are its rows less the part of the
    degrees of freedom that these rows determine (MacKay, Neural Comput. 4, 415 (1992), DOI
    10.1162/neco.1992.4.3.415).

    Attributes:
        sums: of its rows.
        factor: of its sigmas.
        misfit: squared residuals, over the square of the factor.
        pull: (m,) L⁻¹ D times the residuals' projection.
        of_probes: L⁻¹ B times the probes: C times signs, of C = L⁻¹ B L⁻ᵀ, which is between 0 and 1.
        with_terms: (terms,) second derivatives with the deltas, for a given common factor.
    """

    sums: Sums
    factor: float
    misfit: float
    pull: Array
    of_probes: Array
    with_terms: Array

    @classmethod
    def of(cls, member: Sums, factor: float, at: _At) -> _Group:
        """The group, its sigmas times `factor`."""
        scale, deltas = factor**-2, at.deltas
        scaled = np.column_stack([at.v, at.probes]) * deltas[:, None]
        both = deltas[:, None] * blas.dsymm(scale, member.gram, scaled, lower=0)
        both[:, 0] = scale * deltas * member.right - both[:, 0]
        both = _forth(at.factor, both)
        back = _back(at.factor, both)
        trace = at.of_terms(np.mean(at.probes * back[:, 1:], axis=1))
        with_terms = 4.0 * at.of_terms(at.v * back[:, 0]) / at.scale**2 - 2.0 * trace
        misfit = scale * member.residual(at.v * deltas)
        return cls(member, factor, misfit, both[:, 0], both[:, 1:], with_terms)

    def determined(self, inverse: Array, deltas: Array) -> float:
        """The trace of S⁻¹ B, from the upper triangle of S⁻¹."""
        gram = self.sums.gram
        found = 2.0 * float(np.einsum("ij,ij,i,j->", inverse, gram, deltas, deltas))
        found -= float((np.diag(inverse) * np.diag(gram)) @ deltas**2)
        return found / self.factor**2

    def slope(self, determined: float, scale: float) -> float:
        """Of the cost, with what its rows determine and the common factor."""
        return self.sums.count - self.misfit / scale**2 - determined

    def with_group(self, other: _Group, scale: float) -> float:
        """Second derivative with another group's sigma, for a given common factor.

        With its own there is twice what its slope subtracts beside.
        """
        trace = float(np.vdot(self.of_probes, other.of_probes)) / PROBES
        return -4.0 * float(self.pull @ other.pull) / scale**2 - 2.0 * trace
