"""Labels of imagined frames in a fit, weaker where the process cannot follow them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import scipy.linalg
from forcemap.fitter.process.accumulate import whole_rows
from forcemap.fitter.process.prior import Prior
from forcemap.fitter.process.targets import Targets
from forcemap.fitter.solve.evidence import Hyperparameters
from forcemap.fitter.terms.base import Array
from threadpoolctl import threadpool_limits

__all__ = ["BEND", "Imagined", "Known", "followed_roots", "imagined_rows"]

BEND, ROUNDS = 8.0, 30
"""Sigmas beyond which an imagined label pulls no harder, and rounds of reweighting."""

SOFTER = tuple(2.0**n for n in range(8))
"""Factors of the sigmas, of which the first is taken that does not spoil the fit to the data."""

MOST_SPOILT = 0.01
"""What imagined labels may add to the squared residuals of the data, per label of the data and noise:
how wrong they are differs from set to set."""


class Known(Protocol):
    """A solved process: whitened weights of unit-variance columns (m,), and its factor (m, m)."""

    @property
    def values(self) -> Array:
        """The weights."""

    @property
    def factor(self) -> Array:
        """Lower Cholesky factor of 1 + the scaled Gram matrix."""


Imagined = tuple[Array, Array, Array]
"""(n, m) whitened rows and (n,) targets, both divided by the sigmas, and these, in given units."""


def imagined_rows(
    imagined: Sequence[Targets], prior: Prior, known: Known, chosen: Hyperparameters, labels: int
) -> Imagined:
    """Rows of the imagined frames' energies, with sigmas by how well the process can follow them.

    Functions of few bodies cannot follow all labels, and would follow the data less if they had to.
    Labels pull no harder than those that are BEND sigmas off (Huber, Ann. Math. Stat. 35, 73 (1964),
    DOI 10.1214/aoms/1177703732): the sigmas of others grow. This is a convex problem, solved by
    reweighting in the space of the imagined labels alone. All sigmas grow where the data would be
    followed noticeably less: the imagined labels of an alloy are many, and no better for that.

    Args:
        imagined: the labels, one for each frame, with sigmas in eV.
        prior: terms and their covariances.
        known: the process without these labels.
        chosen: hyperparameters.
        labels: number of labels of the data.
    """
    scaled = [replace(t, sigmas=t.sigmas / chosen.noise_factor) for t in imagined]
    values = np.concatenate([t.values / t.sigmas for t in scaled])
    deltas = np.repeat(chosen.deltas, [term.size for term in prior.terms])
    with threadpool_limits(limits=1, user_api="blas"):
        rows = whole_rows(scaled, prior)
        half = scipy.linalg.solve_triangular(known.factor, (rows * deltas).T, lower=True)
        roots = followed_roots(values - rows @ known.values, half.T @ half, MOST_SPOILT * labels)
    sigmas = np.concatenate([t.sigmas for t in scaled]) / roots
    return rows * roots[:, None], values * roots, sigmas


def followed_roots(residuals: Array, covariance: Array, most: float) -> Array:
    """(n,) factors of the rows of labels of unit scale, with which the data are followed as before.

    Args:
        residuals: (n,) as `huber_weights`.
        covariance: (n, n) as there.
        most: growth of the squared residuals of data and prior, in units of the noise.
    """
    for softer in SOFTER:
        weights = huber_weights(residuals / softer, covariance / softer**2) / softer**2
        pulls = scipy.linalg.solve(covariance + np.diag(1.0 / weights), residuals, assume_a="pos")
        if pulls @ covariance @ pulls <= most:
            break
    return np.sqrt(weights)


def huber_weights(residuals: Array, covariance: Array) -> Array:
    """(n,) weights of labels with errors of unit scale.

    Args:
        residuals: (n,) labels less the means of the process without them.
        covariance: (n, n) the process's covariance without them.
    """
    weights = np.ones(len(residuals))
    for _ in range(ROUNDS):
        system = covariance + np.diag(1.0 / weights)
        left = scipy.linalg.solve(system, residuals, assume_a="pos") / weights
        weights = BEND / np.maximum(np.abs(left), BEND)
    return weights
