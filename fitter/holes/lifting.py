"""Lifts holes: labels that a process is to be above, but need not follow.

A label pulls only where the process is below it, as an inequality does
(`process.beyond.one_sided_weights`). That is solved in the space of the labels alone: no matrix of the
fit is factorised.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from forcemap.fitter.process.beyond import Known, one_sided_pulls, one_sided_weights
from forcemap.fitter.terms.base import Array
from numpy.typing import NDArray

__all__ = ["Lifts"]


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
        return one_sided_weights(self._shorts(known), self.covariance, sigmas)

    def lifted(self, known: Known, deltas: Array, weights: Array) -> Array:
        """(m,) whitened weights of the process with labels of these weights."""
        pulls = one_sided_pulls(self._shorts(known), self.covariance, weights)
        step = scipy.linalg.solve_triangular(
            known.factor, self.half @ pulls, lower=True, trans="T", check_finite=False
        )
        return np.asarray(known.values + deltas * step)

    def _shorts(self, known: Known) -> Array:
        """(n,) labels less what the process without them says."""
        return self.values - self.rows @ known.values
