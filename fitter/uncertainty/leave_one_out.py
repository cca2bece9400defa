"""Errors of a fit in every training frame as if this had been left out, from the fit's factors.

With rows X of a frame (scaled, whitened, times the deltas), S = 1 + the sum of XᵀX over all frames, and
the residuals r of the fit in that frame, the residuals of a fit to all the others, with the same sparse
points and hyperparameters, are

    e = (1 - H)⁻¹ r,    H = X S⁻¹ Xᵀ,    covariance of the prediction: (1 - H)⁻¹ - 1

in units of the labels' sigmas (the leave-one-out identity of linear regression, in blocks: Cook and
Weisberg, Residuals and Influence in Regression (1982), section 3.2; for Gaussian processes Rasmussen
and Williams, Gaussian Processes for Machine Learning (2006), section 5.4.2). Copies of a frame are left
out together, since one would reveal the other.

The same pass over the rows gives the rest of the normal equations, sum Xᵀr - u of the solution u, from
residuals instead of sums of products: one step of iterative refinement (Björck, Numerical Methods for
Least Squares Problems (1996), section 2.9) removes most of what the Gram matrix' rounding did to u.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import scipy.linalg
from forcemap.fitter.data.frame import Frame, data_hash
from forcemap.fitter.data.prediction import Prediction
from forcemap.fitter.process.accumulate import blocks_of, rows_of, whitened_rows
from forcemap.fitter.process.prior import Prior
from forcemap.fitter.process.targets import Targets
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.solve.solver import add_exactly
from forcemap.fitter.solve.work import FLOAT, Work
from forcemap.fitter.terms.base import Array
from forcemap.fitter.terms.rows import RowLayout
from forcemap.fitter.uncertainty.kept_rows import KeptRows
from forcemap.potentials.voigt import six_of
from scipy.linalg import blas, lapack
from threadpoolctl import threadpool_limits

__all__ = [
    "LeftOut",
    "LeftOutFrames",
    "Posterior",
    "leave_one_out",
    "without_rows",
    "work_of_leaving_out",
]

LEAST = 1e-10
"""Smallest eigenvalue of 1 - H above rounding: at 0 a frame alone determines some combination of its
labels."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """The part of a solved fit that is needed to leave frames out.

    Attributes:
        values: (m,) whitened weights of the unit-variance columns.
        factor: (m, m) lower Cholesky factor of S.
        deltas: (m,) prior standard deviation of each column.
        sigma_factors: (groups,) factor of the sigmas of each group of rows.
        noise_factor: common factor of all sigmas and deltas.
    """

    values: Array
    factor: Array
    deltas: Array
    sigma_factors: Array
    noise_factor: float

    def refined(self, pull: Array) -> Posterior:
        """The posterior after a step of iterative refinement.

        Args:
            pull: (m,) sum of Xᵀr over all rows, with the residuals r of `values`.
        """
        scaled = self.values / self.deltas
        step = scipy.linalg.cho_solve((self.factor, True), pull - scaled, check_finite=False)
        return replace(self, values=self.deltas * (scaled + step))


@dataclass(frozen=True, eq=False)
class LeftOut:
    """A training frame with its labels as predicted by the fit to all others.

    Attributes:
        target: the frame's labels.
        errors: (rows,) labels less predictions, eV, eV/Å, eV.
        variances: (rows,) raw variances of the predictions, in the squares of these units.
    """

    target: Targets
    errors: Array
    variances: Array

    @property
    def frame(self) -> Frame:
        """The frame."""
        return self.target.frame

    def prediction(self) -> Prediction:
        """Prediction of the labels by the fit to all others; quantities without labels are 0."""
        frame = self.frame
        layout = RowLayout(len(frame.numbers))
        errors = np.zeros(layout.count)
        errors[self.target.rows] = self.errors
        energy, forces, strain = layout.split(errors)
        volume = abs(float(np.linalg.det(frame.cell)))
        return Prediction.of(
            frame,
            (frame.energy or 0.0) - energy,
            np.zeros_like(forces) if frame.forces is None else frame.forces - forces,
            np.zeros(6) if frame.stress is None else volume * six_of(frame.stress) - strain,
        )

    def deviations(self) -> Prediction:
        """Raw standard deviations of `prediction`."""
        layout = RowLayout(len(self.frame.numbers))
        deviations = np.zeros(layout.count)
        deviations[self.target.rows] = np.sqrt(self.variances)
        return Prediction.of(self.frame, *layout.split(deviations))


@dataclass(frozen=True, eq=False)
class LeftOutFrames:
    """Every labelled frame, left out, and what the rows say of the solution.

    Attributes:
        frames: in the order of the fit.
        pull: (m,) sum of Xᵀr over all rows.
    """

    frames: Sequence[LeftOut]
    pull: Array


def without_rows(half: Array, residuals: Array, copies: int = 1) -> tuple[Array, Array]:
    """Residuals of a fit without some rows, and variances of its predictions of them.

    Args:
        half: (m, n) L⁻¹ Xᵀ of the rows X, with L Lᵀ = S.
        residuals: (n,) residuals of the fit that includes the rows.
        copies: number of copies of the rows in the fit; all are left out.

    Returns:
        (e, v), each (n,), in units of the rows' sigmas.
    """
    columns, count = half.shape
    if count > columns:
        # 1 - H has 1 + halfᵀ (1 - half halfᵀ)⁻¹ half as its inverse, by which less is to be solved.
        inner = _root(np.eye(columns) - copies * blas.dsyrk(1.0, half, lower=1))
        solved = inner @ half
        return residuals + copies * (solved.T @ (solved @ residuals)), np.sum(solved**2, axis=0)
    hat = blas.dsyrk(
        1.0, half, trans=1, lower=1
    )  # the lower triangle, as of all symmetric ones here
    own = np.diag(hat)
    root = _root(np.eye(count) - copies * hat)
    # (1 - H)⁻¹ - 1 = H + H (1 - H)⁻¹ H: no less than H, which the difference loses where it is small.
    variances = np.maximum((np.sum(root**2, axis=0) - 1.0) / copies, own)
    return root.T @ (root @ residuals), variances


def _root(matrix: Array) -> Array:
    """R with RᵀR the inverse of a symmetric matrix whose eigenvalues are raised to LEAST.

    Only the lower triangle of the matrix is used.
    """
    try:
        factor = scipy.linalg.cholesky(matrix, lower=True, check_finite=False)
        if np.diag(factor).min(initial=1.0) ** 2 > 1e3 * LEAST:
            inverse, _ = lapack.dtrtri(factor, lower=1)
            return np.asarray(inverse)
    except scipy.linalg.LinAlgError:
        pass
    values, vectors = scipy.linalg.eigh(matrix, lower=True, check_finite=False)
    return np.asarray(vectors.T / np.sqrt(np.maximum(values, LEAST))[:, None])


def leave_one_out(
    targets: Sequence[Targets], prior: Prior, posterior: Posterior, kept: KeptRows, run: Run
) -> LeftOutFrames:
    """Every labelled frame, left out of the fit, on the first rank; other ranks get none.

    The numbers do not depend on threads and ranks. Rows that are not `kept` are computed again. All
    ranks call this together, each with its own kept rows.
    """
    blocks = blocks_of(targets)
    copies = _copies(targets)
    places = np.cumsum([0, *(len(block) for block in blocks)])

    def leave_out(number: int) -> _Block:
        rows = kept.take(number)
        if rows is None:
            rows = whitened_rows(blocks[number], prior)
        times = copies[places[number] : places[number + 1]]
        return _of_block(blocks[number], rows, posterior, times)

    left_out: list[LeftOut] = []
    pull, pull_low = np.zeros(len(posterior.values)), np.zeros(len(posterior.values))
    # Each thread works on its own block; the numbers must not depend on how many threads there are.
    with (
        run.stage("leaving frames out", len(blocks)) as advance,
        threadpool_limits(limits=1, user_api="blas"),
    ):
        results = run.ranks.map_in_order(leave_out, range(len(blocks)), rows_of(blocks), run.jobs)
        for block, (part, numbers) in zip(blocks, results, strict=False):
            left_out += [LeftOut(t, *each) for t, each in zip(block, numbers, strict=True)]
            add_exactly(pull, pull_low, part)
            advance()
    return LeftOutFrames(left_out, pull + pull_low)


def _copies(targets: Iterable[Targets]) -> list[int]:
    """Number of copies of each frame that has labels."""
    keys = [_key(target) for target in targets if len(target.rows)]
    counts: dict[str, int] = {}
    for key in keys:
        counts[key] = counts.get(key, 0) + 1
    return [counts[key] for key in keys]


def _key(target: Targets) -> str:
    """Key shared by copies with equal sigmas, whatever their config_type."""
    frame = replace(target.frame, config_type="")
    return data_hash([frame]) + target.sigmas.tobytes().hex()


_Block: TypeAlias = tuple[Array, list[tuple[Array, Array]]]
"""Xᵀr of a block's rows; errors and variances of each of its frames, in the labels' units."""


def _of_block(
    block: Sequence[Targets], rows: Array, posterior: Posterior, copies: Sequence[int]
) -> _Block:
    """What a block of rows gives; overwrites them."""
    scale = np.ones(len(rows))
    sigmas = np.concatenate([target.sigmas for target in block])
    if len(posterior.sigma_factors) > 1:
        second = np.concatenate([target.of_stress for target in block])
        scale = np.where(second, posterior.sigma_factors[1], posterior.sigma_factors[0])
    else:
        scale *= posterior.sigma_factors[0]
    values = np.concatenate([target.values / target.sigmas for target in block])
    residuals = (values - rows @ posterior.values) / scale
    rows *= posterior.deltas
    rows /= scale[:, None]
    pull = residuals @ rows
    half = blas.dtrsm(1.0, posterior.factor.T, rows.T, lower=0, trans_a=1, overwrite_b=1)
    units = scale * sigmas
    found: list[tuple[Array, Array]] = []
    start = 0
    for target, count in zip(block, copies, strict=True):
        part = slice(start, start + len(target.rows))
        start = part.stop
        errors, variances = without_rows(half[:, part], residuals[part], count)
        deviations = units[part] * posterior.noise_factor
        found.append((errors * units[part], variances * deviations**2))
    return pull, found


def work_of_leaving_out(counts: Sequence[int], columns: int) -> Work:
    """Algebra of leaving out all frames, with `counts` rows each."""
    rows = float(sum(counts))
    products = rows * columns**2
    for count in counts:
        small, large = float(min(count, columns)), float(max(count, columns))
        passes = 1 if count <= columns else 2  # as in `without_rows`
        products += (2.0 * passes - 1.0) * large * small**2 + small**3
    return Work(products, passes=4.0 * rows * columns, bytes=FLOAT * columns**2)
