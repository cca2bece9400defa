"""Labels of imagined frames in a fit, weaker where the process cannot follow them.

Functions of few bodies cannot follow all labels, and would follow the data less if they had to. Labels
pull no harder than those that are BEND sigmas off (Huber, Ann. Math. Stat. 35, 73 (1964), DOI
10.1214/aoms/1177703732): the sigmas of others grow. This is a convex problem, solved by reweighting in
the space of the imagined labels alone. All sigmas grow where the data would be followed noticeably
less: the imagined labels of an alloy are many, and no better for that.

How far a process falls behind its labels, it does so unevenly, where shells of neighbours leave its
cutoffs. That the energy of a crystal rises from each imagined crystal to the next is known better than
any energy: a label of the difference pulls where the process does not rise (`one_sided_weights`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import scipy.linalg
from forcemap.fitter.baseline.beyond import steps_of
from forcemap.fitter.process.accumulate import whole_rows
from forcemap.fitter.process.prior import Prior
from forcemap.fitter.process.targets import Targets
from forcemap.fitter.solve.evidence import Hyperparameters
from forcemap.fitter.terms.base import Array
from threadpoolctl import threadpool_limits

__all__ = [
    "BEND",
    "RISE_SIGMA",
    "Imagined",
    "Known",
    "Rise",
    "Rises",
    "followed_roots",
    "imagined_labels",
    "one_sided_pulls",
    "one_sided_weights",
]

BEND, ROUNDS = 8.0, 50
"""Sigmas beyond which an imagined label pulls no harder, and rounds of reweighting, at most."""

RISE, RISE_SIGMA = 0.1, 0.0002
"""Least rise of energy between imagined crystals, as part of that of their labels; its sigma, eV per
atom."""

SOFTER = tuple(2.0**n for n in range(8))
"""Factors of the sigmas, of which the first is taken that does not spoil the fit to the data."""

MOST_SPOILT, MOST_SPOILT_BY_RISES = 0.01, 0.03
"""What labels of energies, and then those of rises, may add to the squared residuals of the data, per
label of the data and squared noise: how wrong energies are differs from set to set, but all rise."""


class Known(Protocol):
    """A solved process: whitened weights of unit-variance columns (m,), and its factor (m, m)."""

    @property
    def values(self) -> Array:
        """The weights."""

    @property
    def factor(self) -> Array:
        """Lower Cholesky factor of 1 + the scaled Gram matrix."""


class Rise(NamedTuple):
    """A label of the rise of the energy per atom from one imagined crystal to the next.

    Attributes:
        step: numbers of both among the imagined frames, the lower one first.
        sigma: eV, in the units of the fit's sigmas.
    """

    step: tuple[int, int]
    sigma: float

    @classmethod
    def those_that_pull(cls, steps: Sequence[tuple[int, int]], weights: Array) -> list[Rise]:
        """Those of some steps whose weights, one over squared sigmas, are not zero."""
        return [
            cls(step, float(weight**-0.5))
            for step, weight in zip(steps, weights, strict=True)
            if weight > 0.0
        ]

    def document(self, noise_factor: float) -> dict[str, Any]:
        """What a file holds of it, its sigma in eV."""
        return {"step": list(self.step), "sigma": self.sigma * noise_factor}


class Imagined(NamedTuple):
    """Labels beyond the data.

    Attributes:
        rows, values: (n, m) whitened rows and (n,) targets, both divided by the sigmas: of the energies
            of the imagined frames, then of rises.
        sigmas: (frames,) of the energies, in eV and the units of the fit's.
        rises: the rises that pull.
    """

    rows: Array
    values: Array
    sigmas: Array
    rises: Sequence[Rise]

    @classmethod
    def none(cls, size: int) -> Imagined:
        """No labels of `size` columns."""
        return cls(np.zeros((0, size)), np.zeros(0), np.zeros(0), [])

    @property
    def log_sigma(self) -> float:
        """Sum of the logarithms of all sigmas."""
        return float(np.sum(np.log([*self.sigmas, *(rise.sigma for rise in self.rises)])))


def imagined_labels(
    imagined: Sequence[Targets], prior: Prior, known: Known, chosen: Hyperparameters, labels: int
) -> Imagined:
    """Labels of the imagined frames' energies and of rises, as the process can follow them.

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
    steps = steps_of([target.frame for target in imagined])
    with threadpool_limits(limits=1, user_api="blas"):
        rows = whole_rows(scaled, prior)
        half = scipy.linalg.solve_triangular(known.factor, (rows * deltas).T, lower=True)
        residuals, covariance = values - rows @ known.values, half.T @ half
        squares = labels * chosen.noise_factor**2
        roots = followed_roots(residuals, covariance, MOST_SPOILT * squares)
        differences, least = rise_labels(scaled, steps)
        sigma = RISE_SIGMA / chosen.noise_factor
        shorts = least - differences @ (values - residuals)
        others, most = (residuals, covariance, roots), MOST_SPOILT_BY_RISES * squares
        weights = rise_weights(shorts, differences, sigma, others, most)
    on = weights > 0.0
    pulls = np.sqrt(weights[on])
    return Imagined(
        np.concatenate([rows * roots[:, None], pulls[:, None] * (differences[on] @ rows)]),
        np.append(values * roots, pulls * least[on]),
        np.concatenate([t.sigmas for t in scaled]) / roots,
        Rise.those_that_pull(steps, weights),
    )


def rise_labels(scaled: Sequence[Targets], steps: Sequence[tuple[int, int]]) -> tuple[Array, Array]:
    """Rises of the energy per atom as combinations of imagined labels, and the least they are to be.

    Args:
        scaled: the imagined labels.
        steps: of `steps_of`.

    Returns:
        (steps, frames), which makes rows of rises (eV per atom) of rows over sigmas; (steps,) targets.
    """
    differences, least = np.zeros((len(steps), len(scaled))), np.zeros(len(steps))
    for n, (lower, higher) in enumerate(steps):
        atoms = len(scaled[lower].frame.numbers)
        for place, sign in ((lower, -1.0), (higher, 1.0)):
            target = scaled[place]
            differences[n, place] = sign * float(target.sigmas[0]) / atoms
            assert target.frame.energy is not None
            value = float(target.values[0]) - (1.0 - RISE) * target.frame.energy
            least[n] += sign * value / atoms
    return differences, least


class Rises(NamedTuple):
    """All rises between imagined crystals, as labels of unit sigma.

    Attributes:
        steps: of `steps_of`.
        rows: (steps, m) whitened rows, eV per atom.
        least: (steps,) targets.
    """

    steps: Sequence[tuple[int, int]]
    rows: Array
    least: Array

    @classmethod
    def of(cls, imagined: Sequence[Targets], prior: Prior) -> Rises:
        """Between frames with these labels."""
        if not imagined:
            return cls([], np.zeros((0, prior.size)), np.zeros(0))
        alike = [replace(target, sigmas=np.ones(1)) for target in imagined]
        steps = steps_of([target.frame for target in alike])
        differences, least = rise_labels(alike, steps)
        return cls(steps, differences @ whole_rows(alike, prior), least)


def rise_weights(
    shorts: Array, differences: Array, sigma: float, others: tuple[Array, Array, Array], most: float
) -> Array:
    """(rises,) weights of labels of rises beside those of energies, zero where the process rises.

    Args:
        shorts: (rises,) targets less what the process without both says, eV per atom.
        differences: of `rise_labels`.
        sigma: of a rise, eV per atom.
        others: (n,) residuals and (n, n) covariance of the labels of energies as in `followed_roots`,
            and its factors.
        most: growth of the squared residuals of data and prior, in units of the given sigmas.
    """
    residuals, covariance, roots = others
    if not len(shorts):
        return np.zeros(0)
    system = covariance + np.diag(1.0 / roots**2)
    # What the energies' labels leave of residuals and covariance.
    left = scipy.linalg.solve(system, covariance, assume_a="pos")
    covariance_left = covariance - covariance @ left
    residuals_left = residuals - left.T @ residuals
    between = differences @ covariance_left @ differences.T
    shorts = shorts - differences @ (residuals - residuals_left)

    def growth(pulls: Array) -> float:
        rest = residuals_left - covariance_left @ (differences.T @ pulls)
        both = roots**2 * rest + differences.T @ pulls
        return float(both @ covariance @ both)

    limit = growth(np.zeros(len(shorts))) + most
    for softer in SOFTER:
        weights = one_sided_weights(shorts, between, np.full(len(shorts), softer * sigma))
        if growth(one_sided_pulls(shorts, between, weights)) <= limit:
            break
    return weights


def followed_roots(residuals: Array, covariance: Array, most: float) -> Array:
    """(n,) factors of the rows of labels of unit scale, with which the data are followed as before.

    Args:
        residuals: (n,) as `huber_weights`.
        covariance: (n, n) as there.
        most: growth of the squared residuals of data and prior, in units of the given sigmas.
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


# ---- labels that are inequalities ----------------------------------------------------------------


def one_sided_weights(shorts: Array, covariance: Array, sigmas: Array) -> Array:
    """(n,) weights of labels that a process is to be above, but need not follow.

    They are one over squared sigmas, less for labels beyond BEND, and zero for those that the process
    is above.

    Args:
        shorts: (n,) labels less the means of the process without them.
        covariance: (n, n) the process's covariance without them.
        sigmas: (n,) of the labels.
    """
    weights = np.where(shorts > 0.0, 1.0 / sigmas**2, 0.0)
    for _ in range(ROUNDS):
        left = shorts - covariance @ one_sided_pulls(shorts, covariance, weights)
        after = np.where(left > 0.0, 1.0 / sigmas**2, 0.0)
        after *= np.minimum(1.0, BEND * sigmas / np.maximum(left, 1e-300))
        if np.allclose(after, weights, rtol=1e-3, atol=0.0):
            break
        weights = after
    return weights


def one_sided_pulls(shorts: Array, covariance: Array, weights: Array) -> Array:
    """(n,) what each label pulls with: its weight times what it is short of afterwards."""
    on = weights > 0.0
    pulls = np.zeros(len(shorts))
    system = covariance[np.ix_(on, on)] + np.diag(1.0 / weights[on])
    pulls[on] = scipy.linalg.solve(system, shorts[on], assume_a="pos") if on.any() else 0.0
    return pulls
