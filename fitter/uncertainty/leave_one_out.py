"""Errors of a fit in every training frame as if this had been left out, from the fit's factors.

With rows X of a frame (scaled, whitened, times the deltas), S = 1 + the sum of XᵀX over all frames, and
the residuals r of the fit in that frame, the residuals of a fit to all the others, with the same sparse
points and hyperparameters, are

    e = (1 - H)⁻¹ r,    H = X S⁻¹ Xᵀ,    covariance of the prediction: (1 - H)⁻¹ - 1

in units of the labels' sigmas (the leave-one-out identity of linear regression, in blocks: Cook and
Weisberg, Residuals and Influence in Regression (1982), section 3.2; for Gaussian processes Rasmussen
and Williams, Gaussian Processes for Machine Learning (2006), section 5.4.2). Copies of a frame are left
out together, since one would reveal the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg
from forcemap.fitter.data.frame import Frame, data_hash
from forcemap.fitter.data.prediction import Prediction
from forcemap.fitter.process.accumulate import blocks_of, rows_of, whitened_rows
from forcemap.fitter.process.prior import Prior
from forcemap.fitter.process.targets import Targets
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.solve.work import FLOAT, Work
from forcemap.fitter.terms.base import Array
from forcemap.fitter.terms.rows import RowLayout
from forcemap.fitter.uncertainty.kept_rows import KeptRows
from forcemap.potentials.voigt import six_of
from scipy.linalg import blas, lapack
from threadpoolctl import threadpool_limits

__all__ = [
    "LeftOut",
    "Posterior",
    "leave_one_out",
    "scaled_block",
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
        imagined: (n, m) whitened rows and (n,) targets of imagined frames, both divided by the sigmas.
    """

    values: Array
    factor: Array
    deltas: Array
    sigma_factors: Array
    noise_factor: float
    imagined: tuple[Array, Array]


@dataclass(frozen=True, eq=False)
class LeftOut:
    """A training frame with its labels as predicted by the fit to all others.

    Attributes:
        target: the frame's labels.
        residuals: (rows,) labels less the predictions of the fit to all frames, eV, eV/Å, eV.
        errors: (rows,) labels less predictions, eV, eV/Å, eV.
        variances: (rows,) raw variances of the predictions, in the squares of these units.
    """

    target: Targets
    residuals: Array
    errors: Array
    variances: Array

    @property
    def frame(self) -> Frame:
        """The frame."""
        return self.target.frame

    def prediction(self) -> Prediction:
        """Prediction of the labels by the fit to all others; quantities without labels are 0."""
        return self._prediction(self.errors)

    def fitted(self) -> Prediction | None:
        """Prediction by the fit to all frames; None if the energy or a force has no label.

        A stress without a label is 0.
        """
        frame = self.frame
        if frame.energy is None or not np.all(frame.labelled):
            return None
        return self._prediction(self.residuals)

    def _prediction(self, differences: Array) -> Prediction:
        """The labels less (rows,) differences."""
        frame = self.frame
        layout = RowLayout(len(frame.numbers))
        errors = np.zeros(layout.count)
        errors[self.target.rows] = differences
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
) -> list[LeftOut]:
    """Every labelled frame, left out of the fit, on the first rank; other ranks get an empty list.

    The numbers do not depend on threads and ranks. Rows that are not `kept` are computed again. All
    ranks call this together, each with its own kept rows.
    """
    blocks = blocks_of(targets)
    copies = _copies(targets)
    places = np.cumsum([0, *(len(block) for block in blocks)])

    def leave_out(number: int) -> list[tuple[Array, Array, Array]]:
        rows = kept.take(number)
        if rows is None:
            rows = whitened_rows(blocks[number], prior)
        times = copies[places[number] : places[number + 1]]
        return list(_of_block(blocks[number], rows, posterior, times))

    left_out: list[LeftOut] = []
    # Each thread works on its own block; the numbers must not depend on how many threads there are.
    with (
        run.stage("leaving frames out", len(blocks)) as advance,
        threadpool_limits(limits=1, user_api="blas"),
    ):
        results = run.ranks.map_in_order(leave_out, range(len(blocks)), rows_of(blocks), run.jobs)
        for block, numbers in zip(blocks, results, strict=False):
            left_out += [LeftOut(t, *each) for t, each in zip(block, numbers, strict=True)]
            advance()
    return left_out


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


def _of_block(
    block: Sequence[Targets], rows: Array, posterior: Posterior, copies: Sequence[int]
) -> Iterator[tuple[Array, Array, Array]]:
    """Residuals, errors and variances of each frame, in the labels' units; overwrites the rows."""
    residuals, units = scaled_block(block, rows, posterior)
    half = blas.dtrsm(1.0, posterior.factor.T, rows.T, lower=0, trans_a=1, overwrite_b=1)
    start = 0
    for target, count in zip(block, copies, strict=True):
        part = slice(start, start + len(target.rows))
        start = part.stop
        errors, variances = without_rows(half[:, part], residuals[part], count)
        deviations = units[part] * posterior.noise_factor
        yield residuals[part] * units[part], errors * units[part], variances * deviations**2


def scaled_block(
    block: Sequence[Targets], rows: Array, posterior: Posterior
) -> tuple[Array, Array]:
    """Residuals (n,) of a block in units of the sigmas of the fit, and these units (n,).

    The rows (n, m), whitened, become X, in place.
    """
    factors = posterior.sigma_factors
    second = np.concatenate([target.of_stress for target in block])
    scale = np.where(second, factors[-1], factors[0])
    values = np.concatenate([target.values / target.sigmas for target in block])
    residuals = (values - rows @ posterior.values) / scale
    rows *= posterior.deltas
    rows /= scale[:, None]
    return residuals, scale * np.concatenate([target.sigmas for target in block])


def work_of_leaving_out(counts: Sequence[int], columns: int) -> Work:
    """Algebra of leaving out all frames, with `counts` rows each."""
    rows = float(sum(counts))
    products = rows * columns**2
    for count in counts:
        small, large = float(min(count, columns)), float(max(count, columns))
        passes = 1 if count <= columns else 2  # as in `without_rows`
        products += (2.0 * passes - 1.0) * large * small**2 + small**3
    return Work(products, passes=4.0 * rows * columns, bytes=FLOAT * columns**2)
