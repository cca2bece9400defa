"""Sparse Gaussian-process regression, streamed: memory does not grow with the number of frames.

With sparse points of covariance K_mm = L Lᵀ, rows K_nm scaled by 1/sigma (A) and targets scaled the
same way (y), the posterior mean of the sparse values' weights is that of the least-squares problem

    min_v  | A L⁻ᵀ v - y |² + | v |²,    weights = L⁻ᵀ v

(Foster et al., J. Mach. Learn. Res. 10, 857 (2009), method V: the rows are whitened *before* the
Gram matrix is formed, which keeps its condition number bounded where the normal equations of K_nm
fail). A block of rows adds to the Gram matrix and to the right-hand side and is then forgotten.
`solve_by_qr` keeps all rows and is what this is tested against.

Blocks are summed in twice the working precision (two-sum: Knuth, The Art of Computer Programming 2,
4.2.2): with wide deltas, forces change by 1e-7 eV/Å with the rounding of a plain sum, and would depend
on how blocks are shared out.

Each term's variance delta² only scales its columns, so the evidence for any set of deltas, and for a
common factor of all sigmas, follows from one Gram matrix. Groups of rows whose sigmas the evidence may
change against each other have a Gram matrix each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.optimize
from numpy.typing import NDArray
from scipy.linalg import lapack

__all__ = [
    "Accumulator",
    "Groups",
    "Hyperparameters",
    "Solution",
    "Sums",
    "add_exactly",
    "maximise_evidence",
    "solve_by_qr",
]

Array = NDArray[np.float64]

GRAM_ROUNDING = 1e-12
"""Relative rounding of sums over some 1e5 rows, with room."""

MISFIT_ROUNDING = 1e-15
"""Of a misfit, relative to the squares that cancel in it."""

DELTA_PRIOR = 1e-3
"""Weight, per datum, of the squared logarithm of delta against the evidence, which few-body functions
that cannot explain all of the forces would answer with ever larger deltas."""


STRIP = 16_384
"""Numbers of the Gram matrix summed at once: their operands stay in the processor's cache."""


def add_exactly(high: Array, low: Array, value: Array) -> None:
    """``high + low += value`` in place, in twice the working precision (but for rounding of `low`)."""
    total = high + value
    part = total - high
    low += (high - (total - part)) + (value - part)
    high[...] = total


@dataclass
class Sums:
    """What the posterior and its evidence follow from.

    Attributes:
        gram: (m, m) sum of whitened rows' outer products (upper triangle; zeros below).
        vector: (m + 2,) sums of whitened rows times targets, of squared scaled targets, and of the
            logarithms of the rows' sigmas.
        count: number of rows.
    """

    gram: Array
    vector: Array
    count: int

    @property
    def size(self) -> int:
        """Number of sparse points, m."""
        return len(self.gram)

    @property
    def right(self) -> Array:
        """(m,) whitened rows times targets."""
        return self.vector[:-2]

    @property
    def squares(self) -> float:
        """Sum of squared scaled targets."""
        return float(self.vector[-2])

    @property
    def log_sigma(self) -> float:
        """Sum of the logarithms of the rows' sigmas."""
        return float(self.vector[-1])

    def full_gram(self) -> Array:
        """The Gram matrix with both triangles."""
        return np.triu(self.gram) + np.triu(self.gram, 1).T

    def residual(self, values: Array) -> float:
        """Sum of squared differences of scaled targets and the predictions of `values` (m,)."""
        upper = self.gram @ values  # the other triangle: the same but for the diagonal, transposed
        quadratic = 2.0 * float(values @ upper) - float(np.diag(self.gram) @ values**2)
        return max(self.squares - 2.0 * float(values @ self.right) + quadratic, 0.0)

    def solve(self, deltas: Array) -> Solution:
        """Posterior for columns whose prior standard deviations are `deltas` (m,)."""
        factor = self._cholesky(deltas)
        right = deltas * self.right
        half = scipy.linalg.solve_triangular(factor, right, lower=True, check_finite=False)
        values = scipy.linalg.solve_triangular(factor.T, half, lower=False, check_finite=False)
        least = max(MISFIT_ROUNDING * self.squares, 1e-300)
        misfit = max(self.squares - float(half @ half), least)
        log_determinant = 2.0 * float(np.sum(np.log(np.diag(factor))))
        return Solution(values * deltas, factor, misfit, log_determinant, self)

    def _cholesky(self, deltas: Array) -> Array:
        """Lower Cholesky factor of 1 + the Gram matrix of columns scaled by `deltas`.

        Where deltas are so wide (a line search tries any) that the Gram matrix' rounding is more than
        that 1, its diagonal is raised by as much: the evidence stays finite, and leads back.
        """
        try:
            return self._factor(deltas, 1.0)
        except np.linalg.LinAlgError:
            return self._factor(deltas, 1.0 + GRAM_ROUNDING)

    def _factor(self, deltas: Array, raised: float) -> Array:
        # In place, and of the upper triangle alone: there may be thousands of sparse points.
        system = self.gram * deltas[:, None]
        system *= deltas
        diagonal = np.diag_indices(self.size)
        system[diagonal] = (system[diagonal] + 1.0) * raised
        return np.asarray(scipy.linalg.cholesky(system, overwrite_a=True, check_finite=False).T)


class Accumulator(Sums):
    """Sums of the rows seen so far, to which others can be added.

    Args:
        size: number of sparse points, m.

    Attributes:
        gram_low, vector_low: what rounding has cut off from `gram` and `vector`, until `settle`.
    """

    def __init__(self, size: int) -> None:
        super().__init__(np.zeros((size, size), order="F"), np.zeros(size + 2), 0)
        self.gram_low, self.vector_low = np.zeros_like(self.gram), np.zeros_like(self.vector)

    @property
    def sums(self) -> list[tuple[Array, Array]]:
        """All sums, flat, each with what rounding has cut off from it; views, to be changed."""
        gram, low = (array.T.reshape(-1) for array in (self.gram, self.gram_low))
        return [(gram, low), (self.vector, self.vector_low)]

    def add(
        self, whitened: Array, targets: Array, log_sigma: float, scratch: Array | None = None
    ) -> None:
        """Add rows (n, m), already whitened and scaled by 1/sigma, with targets (n,) scaled too.

        `scratch` (m, m), by columns, is overwritten; it saves making one.
        """
        if scratch is None:
            scratch = np.zeros((self.size, self.size), order="F")
        block = scipy.linalg.blas.dsyrk(
            1.0, whitened.T, beta=0.0, c=scratch, trans=0, lower=0, overwrite_c=1
        )
        step = max(1, STRIP // self.size)
        for start in range(0, self.size, step):
            part = np.s_[: start + step, start : start + step]
            add_exactly(self.gram[part], self.gram_low[part], block[part])
        last = [float(targets @ targets), log_sigma]
        add_exactly(self.vector, self.vector_low, np.append(whitened.T @ targets, last))
        self.count += len(targets)

    def settle(self) -> None:
        """Round the sums to working precision; frees memory, and no rows can be added any more."""
        for high, low in self.sums:
            high += low
        self.gram_low, self.vector_low = np.zeros((0, 0)), np.zeros(0)


class Groups:
    """Rows of several kinds, summed up apart.

    Args:
        size: number of sparse points, m.
        count: number of groups.

    Attributes:
        members: the sums of each group.
    """

    def __init__(self, size: int, count: int) -> None:
        self.size = size
        self.members = tuple(Accumulator(size) for _ in range(count))
        self._scratch = np.zeros((0, 0), order="F")

    @property
    def sums(self) -> list[tuple[Array, Array]]:
        """As `Accumulator.sums`, of all groups."""
        return [pair for member in self.members for pair in member.sums]

    @property
    def counts(self) -> NDArray[np.int64]:
        """(groups,) numbers of rows."""
        return np.array([member.count for member in self.members], dtype=np.int64)

    @counts.setter
    def counts(self, values: NDArray[np.int64]) -> None:
        for member, value in zip(self.members, values, strict=True):
            member.count = int(value)

    def add(self, rows: Sequence[tuple[Array, Array, float]]) -> None:
        """For each group the arguments of `Accumulator.add`."""
        if len(self._scratch) != self.size:
            self._scratch = np.zeros((self.size, self.size), order="F")
        for member, (whitened, targets, log_sigma) in zip(self.members, rows, strict=True):
            if len(targets):
                member.add(whitened, targets, log_sigma, self._scratch)

    def settle(self) -> None:
        """Settle the sums of all groups; no rows can be added any more."""
        self._scratch = np.zeros((0, 0), order="F")
        for member in self.members:
            member.settle()

    def together(self, factors: Array) -> Sums:
        """The sums of all rows, the sigmas of each group times its factor; `settle` first."""
        return together(self.members, factors)


def together(groups: Sequence[Sums], factors: Array) -> Sums:
    """The sums of all rows, the sigmas of each group times its factor."""
    first, *others = groups
    if not others and factors[0] == 1.0:
        return first
    whole = Sums(first.gram / factors[0] ** 2, first.vector / factors[0] ** 2, 0)
    for member, factor in zip(others, factors[1:], strict=True):
        whole.gram += member.gram / factor**2
        whole.vector += member.vector / factor**2
    whole.count = sum(member.count for member in groups)
    whole.vector[-1] = sum(
        member.log_sigma + member.count * np.log(factor)
        for member, factor in zip(groups, factors, strict=True)
    )
    return whole


GUESS, GUESS_OF_GROUP = 1.0, 0.1
"""Where `with_guesses` puts a label, in units of the given sigmas: what the user or the default expects
of the labels of the first group; less of groups whose sigma was given as a mere start."""


def with_guesses(groups: Sequence[Sums], repeats: int) -> list[Sums]:
    """The same groups with `repeats` rows more in each that has any: labels that the process cannot
    explain, with covariances of zero, GUESS sigmas off.

    They are the conjugate prior of a variance (inverse gamma), worth one row of evidence. Rows that
    show how far off the process is outvote them; where it reproduces all labels, since there are few
    or they are alike, the evidence alone would find no noise at all, and with it no variance anywhere.
    n such rows take a sigma to GUESS / sqrt(n + 1) of the given one and no further.
    """
    found = []
    for number, member in enumerate(groups):
        rows = repeats if member.count else 0
        vector = member.vector.copy()
        vector[-2] += rows * (GUESS if number == 0 else GUESS_OF_GROUP) ** 2
        found.append(Sums(member.gram, vector, member.count + rows))
    return found


@dataclass(frozen=True)
class Solution:
    """Posterior of the sparse Gaussian process.

    Attributes:
        values: (m,) posterior mean of the whitened weights, for unit-variance columns.
        factor: (m, m) lower Cholesky factor of 1 + (scaled Gram matrix).
        misfit: yᵀ(K + 1)⁻¹y of the scaled targets.
        log_determinant: log det(1 + scaled Gram).
    """

    values: Array
    factor: Array
    misfit: float
    log_determinant: float
    data: Sums

    def log_marginal_likelihood(self, noise_factor: float = 1.0) -> float:
        """Evidence with sigmas and deltas multiplied by `noise_factor` (the mean stays the same)."""
        n = self.data.count
        return -0.5 * float(
            self.misfit / noise_factor**2
            + self.log_determinant
            + 2.0 * self.data.log_sigma
            + n * np.log(2.0 * np.pi * noise_factor**2)
        )

    @property
    def best_noise_factor(self) -> float:
        """The factor of all sigmas and deltas that the evidence prefers (a closed form)."""
        return float(np.sqrt(self.misfit / max(self.data.count, 1)))


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
        repeats: how often every row is there: copies say no more of the noise than one.
    """
    members = with_guesses(data.members, repeats)
    count = sum(member.count for member in members)
    free = [n for n, f in enumerate(fixed) if not f]
    groups = [k for k, member in enumerate(members) if k > 0 and member.count]
    term_of_column = np.repeat(np.arange(len(sizes)), sizes)

    def chosen(logs: Array) -> tuple[Array, Array]:
        per_term, factors = np.array(start, dtype=float), np.ones(len(members))
        per_term[free] = np.exp(logs[: len(free)])
        factors[groups] = np.exp(logs[len(free) :])
        return per_term, factors

    def cost(logs: Array) -> tuple[float, Array]:
        per_term, factors = chosen(logs)
        deltas = np.repeat(per_term, sizes)
        solution = together(members, factors).solve(deltas)
        factor = solution.best_noise_factor if scale_is_free else 1.0
        # With S = 1 + D G D, v = S^-1 D b: d(log det S)/d(log delta_t) = 2 sum_t (1 - S^-1_ii) and
        # d(misfit)/d(log delta_t) = -2 sum_t v_i^2; a free common factor is at its best, and drops out.
        inverse, _ = lapack.dpotri(solution.factor.T, lower=0)  # column by column: not copied twice
        by_column = (1.0 - np.diag(inverse)) - (solution.values / deltas / factor) ** 2
        slopes = np.zeros(len(logs))
        slopes[: len(free)] = np.bincount(term_of_column, by_column, len(sizes))[free]
        # A group's sigma is at its best where its squared residuals are its rows less the part of the
        # degrees of freedom that these rows determine (MacKay, Neural Comput. 4, 415
        # (1992), DOI 10.1162/neco.1992.4.3.415).
        for place, k in enumerate(groups, start=len(free)):
            member = members[k]
            determined = 2.0 * np.einsum("ij,ij,i,j->", inverse, member.gram, deltas, deltas)
            determined -= float((np.diag(inverse) * np.diag(member.gram)) @ deltas**2)
            residual = member.residual(solution.values) / factor**2
            slopes[place] = member.count - (residual + determined) / factors[k] ** 2
        prior = np.where(np.arange(len(logs)) < len(free), DELTA_PRIOR * count, 0.0)
        value = -solution.log_marginal_likelihood(factor) + float(prior @ logs**2)
        return value, slopes + 2.0 * prior * logs

    logs = np.log(np.array([start[n] for n in free] + [1.0] * len(groups), dtype=float))
    if len(logs) and count:
        found = scipy.optimize.minimize(
            cost,
            logs,
            jac=True,
            method="L-BFGS-B",
            bounds=[(-7.0, 12.0)] * len(free) + [(-7.0, 7.0)] * len(groups),
            options={"maxiter": 60, "ftol": 1e-7, "gtol": 0.05},
        )
        logs = np.asarray(found.x)
    per_term, factors = chosen(logs)
    if not (scale_is_free and count):
        return Hyperparameters(per_term, 1.0, factors)
    solution = together(members, factors).solve(np.repeat(per_term, sizes))
    first = members[0]
    guessed = bool(first.count) and first.residual(solution.values) < 2.0 * repeats * GUESS**2
    return Hyperparameters(per_term, solution.best_noise_factor, factors, guessed)


def solve_by_qr(rows: Array, targets: Array, covariance: Array) -> Array:
    """Reference: weights by QR of all rows at once (rows and targets scaled by 1/sigma).

    min | rows w - targets |² + wᵀ covariance w with the square root of the covariance stacked below
    the rows (Foster et al. 2009).
    """
    factor = scipy.linalg.cholesky(covariance, lower=False)
    stacked = np.vstack([rows, factor])
    padded = np.concatenate([targets, np.zeros(len(covariance))])
    q, r = scipy.linalg.qr(stacked, mode="economic")
    weights: Array = scipy.linalg.solve_triangular(r, q.T @ padded)
    return weights
