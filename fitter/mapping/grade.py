"""What a potential grades atoms by: features of the training frames' atoms, and the shortest distances.

The grade (see `forcemap.potentials.grade`) is the Mahalanobis distance of an atom's features, for each
species of centre, in units of what 99 % of the training atoms stay below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import scipy.linalg
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.process.model import Model
from forcemap.fitter.process.survey import shortest_distances
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.terms.base import Array
from forcemap.potentials import Potential
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.grade import AngularMoments, Grade, Moments

__all__ = ["QUANTILE", "Graded", "grade_of", "whitening"]

QUANTILE = 0.99
"""Of the training atoms' grades, which is 1."""

FEWEST_FEATURES = 8
"""Where the terms have fewer for some species, the features are moments."""

MOST_MOMENTS = 48
MOST_RADIAL = 4
"""Of moments without angles: eight find the worst errors of pair potentials no better, and cost an
eighth of a step of these. The loops take four together."""

WITH_ANGLES = ((4, 2), (4, 1), (2, 1), (1, 1))
"""Radial functions of the sums and of the angles, the first that do not give too many moments."""

GRADED_ATOMS = 20_000
"""Of the training frames, evenly chosen."""

FEWEST_ATOMS = 300
"""Of each species, if there are so many."""

FLOOR = 0.1
"""Deviation of a feature over its root mean square, of a single atom; of n atoms an n-th of that."""


QUANTILES = {"quantile_50": 0.5, "quantile_90": 0.9, "quantile_99": 0.99, "largest": 1.0}
"""Of the training atoms' grades, that are kept for people."""


@dataclass(frozen=True)
class Graded:
    """A grade, and what it is of the training atoms (or of a sample of them).

    Attributes:
        grade: as the potential has it.
        atoms: number of atoms that were graded.
        quantiles: of their grades, by the names of QUANTILES.
    """

    grade: Grade
    atoms: int
    quantiles: Mapping[str, float]


def grade_of(
    model: Model, potential: Potential, frames: Sequence[Frame], run: Run | None = None
) -> Graded:
    """The grade of a model's mapped mean, by the frames that it was fitted to.

    The threads of `run` share the frames, with those of other ranks where the first leads.
    """
    counts = potential.feature_counts()
    moments = None
    if min(counts.values()) < FEWEST_FEATURES:
        moments = moments_for(model, potential.cutoff)
        counts = potential.feature_counts(moments)
    graded = sampled(frames, model.species)
    features = _features(model, potential, graded, moments, run or Run())
    centers, found = {}, []
    for symbol, count in counts.items():
        of_symbol = features[symbol][:, :count]
        mean, white = whitening(of_symbol)
        centers[symbol] = (mean, white)
        found.append(np.linalg.norm((of_symbol - mean) @ white.T, axis=1))
    # No distance is below the data's shortest, by which atoms are graded, too.
    grades = np.concatenate(found)
    quantiles = {name: float(np.quantile(grades, part)) for name, part in QUANTILES.items()}
    grade = Grade(_shortest(model, frames, potential.cutoff), centers, moments)
    return Graded(grade, len(grades), quantiles)


def moments_for(model: Model, cutoff: float) -> Moments:
    """As many moments as are not too many; of angles where, and as far as, the terms have some."""
    species = len(model.species)
    reach = max((term.cutoff for term in model.terms if term.sees_angles), default=None)
    if reach is not None:
        for radial, of_angles in WITH_ANGLES:
            moments = Moments(cutoff, radial, AngularMoments(reach, of_angles))
            if moments.count(species) <= MOST_MOMENTS:
                return moments
    radial = min(MOST_RADIAL, max(1, MOST_MOMENTS // species))
    return Moments(cutoff, radial)


def sampled(frames: Sequence[Frame], species: Sequence[int]) -> list[Frame]:
    """An even sample of about GRADED_ATOMS, and more with species that are rare."""
    atoms = sum(len(frame.numbers) for frame in frames)
    step = max(1, -(-atoms // GRADED_ATOMS))
    chosen = dict.fromkeys(range(0, len(frames), step))
    for z in species:
        counts = [int(np.count_nonzero(frame.numbers == z)) for frame in frames]
        seen = sum(counts[n] for n in chosen)
        for n, count in enumerate(counts):
            if seen >= FEWEST_ATOMS:
                break
            if count and n not in chosen:
                chosen[n] = None
                seen += count
    return [frames[n] for n in sorted(chosen)]


def _features(
    model: Model,
    potential: Potential,
    frames: Sequence[Frame],
    moments: Moments | None,
    run: Run,
) -> dict[str, Array]:
    """Features of all atoms by symbol, (atoms, most features of a species)."""
    costs = [float(len(frame.numbers)) for frame in frames]
    every = run.handed_out(partial(_features_in, potential, moments), frames, costs)
    found: dict[int, list[Array]] = {z: [] for z in model.species}
    for frame, rows in zip(frames, every, strict=True):
        for z in set(frame.numbers.tolist()):
            found[z].append(rows[frame.numbers == z])
    return {SYMBOLS[z]: np.concatenate(parts) for z, parts in found.items()}


def _features_in(potential: Potential, moments: Moments | None, frame: Frame) -> Array:
    evaluator = potential.evaluator(skin=0.0)
    return evaluator.features(frame.positions, frame.numbers, frame.cell, frame.pbc, moments)


def whitening(features: Array) -> tuple[Array, Array]:
    """(mean (F,), W (F, F) lower triangular) of features (n, F), n >= 1.

    |W (x - mean)| is the Mahalanobis distance over its QUANTILE among the features. Deviations have
    a floor, so that neither constant features nor those of a few atoms make everything else
    infinitely far, and where there are not many more atoms than features, correlations are shrunk.
    """
    n, count = features.shape
    mean = features.mean(axis=0)
    size = np.sqrt(np.mean(features**2, axis=0))
    floor = np.maximum(FLOOR * size / n, 1e-9 * max(float(size.max(initial=0.0)), 1e-30))
    centered = features - mean
    variances = np.mean(centered**2, axis=0) + floor**2
    scaled = centered / np.sqrt(variances)
    ratio = (count / n) ** 2
    shrunk = (scaled.T @ scaled / n) / (1.0 + ratio)
    # The floor is part of the scale, so that this makes the diagonal 1.
    shrunk[np.diag_indices(count)] = 1.0 + 1e-12
    factor = scipy.linalg.cholesky(shrunk, lower=True)
    white = scipy.linalg.solve_triangular(factor, np.diag(1.0 / np.sqrt(variances)), lower=True)
    grades = np.linalg.norm(centered @ white.T, axis=1)
    scale = float(np.quantile(grades, QUANTILE))
    return mean, np.tril(white / (scale if scale > 0.0 else 1.0))


def _shortest(model: Model, frames: Sequence[Frame], cutoff: float) -> dict[tuple[str, str], float]:
    """The data's shortest distances by pair of symbols, those of the repulsion where there is one."""
    if model.repulsion:
        found = {pair: short.shortest for pair, short in model.repulsion.items()}
    else:
        found = shortest_distances(frames, cutoff)
    return {(SYMBOLS[a], SYMBOLS[b]): float(s) for (a, b), s in sorted(found.items())}
