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

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock

import numpy as np
import scipy.linalg
from forcemap.fitter.data.frame import Frame, data_hash
from forcemap.fitter.data.prediction import Prediction
from forcemap.fitter.process.accumulate import whitened_rows
from forcemap.fitter.process.blocks import blocks_of, costs_of, places_of, rows_of
from forcemap.fitter.process.prior import Prior
from forcemap.fitter.process.targets import Targets
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.solve.work import FLOAT, Work
from forcemap.fitter.terms.base import Array
from forcemap.fitter.terms.rows import RowLayout
from forcemap.fitter.uncertainty.kept_rows import KeptRows
from forcemap.potentials.voigt import six_of
from numpy.typing import NDArray
from scipy.linalg import blas, lapack
from threadpoolctl import threadpool_limits

__all__ = [
    "Factors",
    "LeftOut",
    "Posterior",
    "leave_one_out",
    "scaled_block",
    "without_rows",
    "work_of_leaving_out",
]

Indices = NDArray[np.int64]

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


class Factors:
    """Solves with a factor of S for rows that vanish but in some of the columns.

    With these columns last, S has a factor whose last square F suffices for X S⁻¹ Xᵀ = |F⁻¹ Xᵀ|².
    It is made where many rows are worth it, and forgotten: rows of the same columns are neighbours.

    Args:
        factor: (m, m) lower Cholesky factor of S.
        places: columns of each block of rows, increasing.
        counts: numbers of rows of the blocks.
        held: factors kept at a time, enough for all threads.
    """

    def __init__(
        self, factor: Array, places: Sequence[Indices], counts: Sequence[int], held: int = 2
    ) -> None:
        self._factor = factor
        self._held = held
        self._rows: Counter[bytes] = Counter()
        for where, count in zip(places, counts, strict=True):
            self._rows[where.tobytes()] += count
        self._made: dict[bytes, Array | None] = {}
        self._alone = Lock()
        self._whole: Array | None = None

    def half(self, rows: Array, places: Indices) -> Array:
        """(k, n) or (m, n) half with halfᵀ half = X S⁻¹ Xᵀ for X (n, k); overwrites X."""
        size, key = len(self._factor), places.tobytes()
        factor = None
        if self.is_worth_it(self._rows[key], len(places), size):
            factor = self._of(key, places)
        if factor is None:
            factor = self._factor.T
            if len(places) < size:
                part, rows = rows, np.zeros((len(rows), size))
                rows[:, places] = part
        return np.asarray(blas.dtrsm(1.0, factor, rows.T, lower=0, trans_a=1, overwrite_b=1))

    @staticmethod
    def is_worth_it(rows: int, columns: int, size: int) -> bool:
        """Whether solving with a factor of so many `columns` saves more than making it takes."""
        return rows * (size**2 - columns**2) > size**3

    def _of(self, key: bytes, places: Indices) -> Array | None:
        """(k, k) Fᵀ of some columns, by columns; None where rounding leaves none."""
        with self._alone:
            if key not in self._made:
                while len(self._made) >= self._held:
                    del self._made[next(iter(self._made))]
                self._made[key] = self._last(places)
            return self._made[key]

    def _last(self, places: Indices) -> Array | None:
        if self._whole is None:
            self._whole = blas.dtrmm(1.0, self._factor.T, self._factor, side=1)
        others = np.setdiff1d(np.arange(len(self._factor)), places, assume_unique=True)
        order = np.concatenate([others, places])
        system = np.asfortranarray(self._whole[np.ix_(order, order)])
        upper, fault = lapack.dpotrf(system, lower=0, overwrite_a=1, clean=0)
        return None if fault else np.asfortranarray(upper[len(others) :, len(others) :])


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
    places = [places_of(block, prior) for block in blocks]
    factors = Factors(posterior.factor, places, rows_of(blocks), run.jobs + 1)
    copies = _copies(targets)

    def leave_out(number: int) -> list[tuple[Array, Array, Array]]:
        block, where = blocks[number], places[number]
        rows = kept.take(number)
        if rows is None:
            rows = whitened_rows(block, prior)
        residuals, units = scaled_block(block, rows, posterior, where)
        half = factors.half(rows, where)
        both = units, units * posterior.noise_factor
        return list(_of_block(block, half, residuals, both, copies))

    left_out: dict[int, LeftOut] = {}
    # Each thread works on its own block; the numbers must not depend on how many threads there are.
    with (
        run.stage("leaving frames out", len(blocks)) as advance,
        threadpool_limits(limits=1, user_api="blas"),
    ):
        costs = costs_of(blocks, prior)
        results = run.ranks.map_in_order(leave_out, range(len(blocks)), costs, run.jobs)
        for block, numbers in zip(blocks, results, strict=False):
            left_out |= {id(t): LeftOut(t, *each) for t, each in zip(block, numbers, strict=True)}
            advance()
    return [left_out[id(target)] for target in targets if id(target) in left_out]


def _copies(targets: Iterable[Targets]) -> dict[int, int]:
    """Number of copies of each frame that has labels, by the identity of its targets."""
    keys = {id(target): _key(target) for target in targets if len(target.rows)}
    counts = Counter(keys.values())
    return {place: counts[key] for place, key in keys.items()}


def _key(target: Targets) -> str:
    """Key shared by copies with equal sigmas, whatever their config_type."""
    frame = replace(target.frame, config_type="")
    return data_hash([frame]) + target.sigmas.tobytes().hex()


def _of_block(
    block: Sequence[Targets],
    half: Array,
    residuals: Array,
    units: tuple[Array, Array],
    copies: Mapping[int, int],
) -> Iterator[tuple[Array, Array, Array]]:
    """Residuals, errors and variances of each frame, in the labels' units.

    Args:
        block: the frames.
        half: (k, n) with halfᵀ half = H of all rows.
        residuals: (n,) of the fit.
        units: (n,) sigmas without and with the common factor.
        copies: of each frame, by the identity of its targets.
    """
    start = 0
    for target in block:
        part = slice(start, start + len(target.rows))
        start = part.stop
        errors, variances = without_rows(half[:, part], residuals[part], copies[id(target)])
        unit, deviation = (of_rows[part] for of_rows in units)
        yield residuals[part] * unit, errors * unit, variances * deviation**2


def scaled_block(
    block: Sequence[Targets], rows: Array, posterior: Posterior, places: Indices
) -> tuple[Array, Array]:
    """Residuals (n,) of a block in units of the sigmas of the fit, and these units (n,).

    The rows (n, k), whitened, of the columns `places` become X, in place.
    """
    factors = posterior.sigma_factors
    second = np.concatenate([target.of_stress for target in block])
    scale = np.where(second, factors[-1], factors[0])
    values = np.concatenate([target.values / target.sigmas for target in block])
    residuals = (values - rows @ posterior.values[places]) / scale
    rows *= posterior.deltas[places]
    rows /= scale[:, None]
    return residuals, scale * np.concatenate([target.sigmas for target in block])


def work_of_leaving_out(counts: Sequence[int], widths: Sequence[int], columns: int) -> Work:
    """Algebra of leaving out all frames, with `counts` rows each of `widths` of the `columns`."""
    rows: Counter[int] = Counter()
    for count, width in zip(counts, widths, strict=True):
        rows[width] += count
    products = passes = 0.0
    for width, count in rows.items():
        narrow = Factors.is_worth_it(count, width, columns)
        products += count * float(width if narrow else columns) ** 2
        products += columns**3 / 3.0 if narrow else 0.0
        passes += 4.0 * count * width
    for count, width in zip(counts, widths, strict=True):
        small, large = float(min(count, width)), float(max(count, width))
        times = 1 if count <= width else 2  # as in `without_rows`
        products += (2.0 * times - 1.0) * large * small**2 + small**3
    return Work(products, passes=passes, bytes=FLOAT * columns**2)
