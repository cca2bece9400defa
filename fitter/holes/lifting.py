"""Lifts holes: labels that a process is to be above, but need not follow.

A label pulls only where the process is below it, as an inequality does, and by no more than one that is
`BEND` sigmas off (Huber, Ann. Math. Stat. 35, 73 (1964), DOI 10.1214/aoms/1177703732). Both are convex,
and are solved by reweighting in the space of the labels alone: no matrix of the fit is factorised.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from forcemap.fitter.process.beyond import BEND, Known
from forcemap.fitter.terms.base import Array
from numpy.typing import NDArray

__all__ = ["Lifts"]

ROUNDS = 50
"""Of reweighting, at most."""


@dataclass(frozen=True, eq=False)
class Lifts:
    """Labels of holes and what a process without them says of them.

    Attributes:
        rows: (n, m) whitened rows of the energies, of unit sigma.
        values: (n,) their targets.
        half: (m, n) the rows, scaled by deltas and divided by the factor of the process.
        covariance: (n, n) of the labels, halfᵀ half.
    """

    rows: Array
    values: Array
    half: Array
    covariance: Array

    @classmethod
    def none(cls, size: int) -> Lifts:
        """No labels of `size` columns."""
        return cls(np.zeros((0, size)), np.zeros(0), np.zeros((size, 0)), np.zeros((0, 0)))

    @classmethod
    def of(cls, rows: Array, values: Array, known: Known, deltas: Array) -> Lifts:
        """Labels with (n, m) rows and (n,) targets, beside a solved process."""
        half = scipy.linalg.solve_triangular(known.factor, (rows * deltas).T, lower=True)
        return cls(rows, values, half, half.T @ half)

    def and_those(self, more: Lifts) -> Lifts:
        """These labels, then others."""
        between = self.half.T @ more.half
        return Lifts(
            np.vstack([self.rows, more.rows]),
            np.append(self.values, more.values),
            np.hstack([self.half, more.half]),
            np.block([[self.covariance, between], [between.T, more.covariance]]),
        )

    @property
    def deviations(self) -> Array:
        """(n,) standard deviations of what the process without these labels says of them."""
        return np.sqrt(np.diag(self.covariance))

    def those(self, which: NDArray[np.bool_]) -> Lifts:
        """Some of the labels, by a mask (n,)."""
        square = self.covariance[np.ix_(which, which)]
        return Lifts(self.rows[which], self.values[which], self.half[:, which], square)

    def weights(self, known: Known, sigmas: Array) -> Array:
        """(n,) weights, one over squared sigmas: zero for those that the process is above."""
        short = self.values - self.rows @ known.values
        weights = np.where(short > 0.0, 1.0 / sigmas**2, 0.0)
        for _ in range(ROUNDS):
            pulls = self._pulls(short, weights)
            left = short - self.covariance @ pulls
            after = np.where(left > 0.0, 1.0 / sigmas**2, 0.0)
            after *= np.minimum(1.0, BEND * sigmas / np.maximum(left, 1e-300))
            if np.allclose(after, weights, rtol=1e-3, atol=0.0):
                break
            weights = after
        return weights

    def lifted(self, known: Known, deltas: Array, weights: Array) -> Array:
        """(m,) whitened weights of the process with labels of these weights."""
        short = self.values - self.rows @ known.values
        pulls = self._pulls(short, weights)
        step = scipy.linalg.solve_triangular(
            known.factor, self.half @ pulls, lower=True, trans="T", check_finite=False
        )
        return np.asarray(known.values + deltas * step)

    def _pulls(self, short: Array, weights: Array) -> Array:
        """(n,) what each label pulls with: its weight times what it is short of afterwards."""
        on = weights > 0.0
        pulls = np.zeros(len(short))
        system = self.covariance[np.ix_(on, on)] + np.diag(1.0 / weights[on])
        pulls[on] = scipy.linalg.solve(system, short[on], assume_a="pos") if on.any() else 0.0
        return pulls
