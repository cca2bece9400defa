"""Sparse Gaussian-process regression, streamed: memory does not grow with the number of frames.

With sparse points of covariance K_mm = L Lᵀ, rows K_nm scaled by 1/sigma (A) and targets scaled the
same way (y), the posterior mean of the sparse values' weights is that of the least-squares problem

    min_v  | A L⁻ᵀ v - y |² + | v |²,    weights = L⁻ᵀ v

(Foster et al., J. Mach. Learn. Res. 10, 857 (2009), method V: the rows are whitened *before* the
Gram matrix is formed, which keeps its condition number bounded where the normal equations of K_nm
fail). A block of rows adds to the Gram matrix and to the right-hand side and is then forgotten.
`solve_by_qr`, which keeps all rows, is the reference in tests.

Blocks are summed in twice the working precision (two-sum: Knuth, The Art of Computer Programming 2,
4.2.2): with wide deltas, forces change by 1e-7 eV/Å with the rounding of a plain sum, and would depend
on how blocks are shared out.

Each term's variance delta² only scales its columns, so the evidence for any set of deltas, and for a
common factor of all sigmas, follows from one Gram matrix. Groups of rows whose sigmas the evidence may
change against each other have a Gram matrix each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import scipy.linalg
from forcemap.potentials import _core
from numpy.typing import NDArray

__all__ = [
    "Accumulator",
    "Groups",
    "Solution",
    "Sums",
    "add_exactly",
    "log_evidence",
    "solve_by_qr",
    "together",
]

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

GRAM_ROUNDING = 1e-12
"""Relative rounding of sums over some 1e5 rows, with room."""

MISFIT_ROUNDING = 1e-15
"""Rounding of a misfit, relative to the squares that cancel in it."""

STRIP = 256
"""Columns of the Gram matrix summed at once, by one thread: enough for products at full speed. Sums do
not depend on who computes which strip."""

Each: TypeAlias = Callable[[Callable[[int], None], Sequence[int]], object]
"""Calls a function with each of some numbers, in any order, and waits for all."""


def in_turn(function: Callable[[int], None], numbers: Sequence[int]) -> None:
    """Call a function with one number after the other."""
    for number in numbers:
        function(number)


def add_exactly(high: Array, low: Array, value: Array) -> None:
    """``high + low += value`` (n,) in place, as in twice the working precision."""
    _core.add_exactly(high, low, value)


@dataclass
class Sums:
    """The sums that the posterior and its evidence follow from.

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

    def add_rows(self, rows: Array, values: Array, log_sigma: float) -> None:
        """Add a few more rows (n, m), whitened and scaled by 1/sigma, with targets (n,) scaled too.

        `log_sigma`: sum of the logarithms of their sigmas.
        """
        if len(values):
            self.gram = scipy.linalg.blas.dsyrk(
                1.0, rows.T, beta=1.0, c=self.gram, trans=0, lower=0, overwrite_c=1
            )
            self.vector = self.vector + np.append(
                values @ rows, [float(values @ values), log_sigma]
            )
            self.count += len(values)

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

        A line search may try deltas so wide that the Gram matrix' rounding exceeds that 1. The diagonal
        is then raised by as much: the evidence stays finite, and leads back.
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
        gram_low, vector_low: the parts that rounding has cut off `gram` and `vector`, until `settle`.
    """

    def __init__(self, size: int) -> None:
        super().__init__(np.zeros((size, size), order="F"), np.zeros(size + 2), 0)
        self.gram_low, self.vector_low = np.zeros_like(self.gram), np.zeros_like(self.vector)

    @property
    def sums(self) -> list[tuple[Array, Array]]:
        """All sums, flat, each with the part that rounding has cut off; views, to be changed."""
        gram, low = (array.T.reshape(-1) for array in (self.gram, self.gram_low))
        return [(gram, low), (self.vector, self.vector_low)]

    def add(
        self,
        whitened: Array,
        targets: Array,
        log_sigma: float,
        each: Each = in_turn,
        places: Indices | None = None,
    ) -> None:
        """Add rows (n, k), already whitened and scaled by 1/sigma, with targets (n,) scaled too.

        They are those of the columns `places` (k,), increasing, and vanish at others; None: of all.
        `each` may give strips of columns to several threads.
        """
        if places is None:
            places = np.arange(self.size)

        def add_strip(start: int) -> None:
            stop = min(start + STRIP, len(places))
            product = whitened[:, start:stop].T @ whitened[:, :stop]
            _core.add_triangle_exactly(self.gram.T, self.gram_low.T, product, start, places)

        each(add_strip, range(0, len(places), STRIP)[::-1])  # the longest first
        sums = np.zeros_like(self.vector)
        sums[places] = whitened.T @ targets
        sums[-2:] = float(targets @ targets), log_sigma
        add_exactly(self.vector, self.vector_low, sums)
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

    def add(
        self,
        rows: Sequence[tuple[Array, Array, float]],
        each: Each = in_turn,
        places: Indices | None = None,
    ) -> None:
        """Add rows to each group, by the arguments of `Accumulator.add`."""
        for member, (whitened, targets, log_sigma) in zip(self.members, rows, strict=True):
            if len(targets):
                member.add(whitened, targets, log_sigma, each, places)

    def settle(self) -> None:
        """Settle the sums of all groups; no rows can be added any more."""
        for member in self.members:
            member.settle()

    def of(self, columns: NDArray[np.intp]) -> Groups:
        """The same rows of some columns, in this order; `settle` first."""
        part = Groups(0, len(self.members))
        part.size = len(columns)
        for some, member in zip(part.members, self.members, strict=True):
            square = member.full_gram()[np.ix_(columns, columns)]
            some.gram = np.asfortranarray(np.triu(square))
            some.vector = np.append(member.right[columns], member.vector[-2:])
            some.count = member.count
        return part

    def together(self, factors: Array) -> Sums:
        """The sums of all rows, the sigmas of each group times its factor; `settle` first."""
        return together(self.members, factors)


def together(groups: Sequence[Sums], factors: Array) -> Sums:
    """The sums of all rows, the sigmas of each group times its factor."""
    first, *others = groups
    if not others and factors[0] == 1.0:
        return first
    gram = np.multiply(first.gram, factors[0] ** -2, order="F")
    whole = Sums(gram, first.vector / factors[0] ** 2, 0)
    for member, factor in zip(others, factors[1:], strict=True):
        # Without a product of its own to hold: there may be thousands of sparse points.
        scipy.linalg.blas.daxpy(member.gram.T.ravel(), gram.T.reshape(-1), a=factor**-2)
        whole.vector += member.vector / factor**2
    whole.count = sum(member.count for member in groups)
    whole.vector[-1] = sum(
        member.log_sigma + member.count * np.log(factor)
        for member, factor in zip(groups, factors, strict=True)
    )
    return whole


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
        logs = self.log_determinant, self.data.log_sigma
        return log_evidence(self.misfit, *logs, self.data.count, noise_factor)

    @property
    def best_noise_factor(self) -> float:
        """The factor of all sigmas and deltas that the evidence prefers (a closed form)."""
        return float(np.sqrt(self.misfit / max(self.data.count, 1)))


def log_evidence(
    misfit: float, log_determinant: float, log_sigma: float, count: int, noise_factor: float
) -> float:
    """Logarithm of the marginal likelihood of `count` rows; see `Solution` and `Sums`."""
    return -0.5 * float(
        misfit / noise_factor**2
        + log_determinant
        + 2.0 * log_sigma
        + count * np.log(2.0 * np.pi * noise_factor**2)
    )


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
