"""What the labels of a frame would tell a fit: roots of their posterior covariance.

The labels of a frame, its energy and forces, have the posterior covariance B Bᵀ; that of two frames is
B Cᵀ of their roots. Of a process, B is exact, or made from many draws of its weights. A mapped
potential has few draws; each is multiplied by functions of the features of the atom that a row belongs
to, with unit sum of squares, so that rows of unlike surroundings, which few draws make covary by
chance, do not (localisation by modulated ensembles: Bishop and Hodyss, Tellus A 61, 84 (2009),
DOI 10.1111/j.1600-0870.2008.00371.x).
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.process.model import Model
from forcemap.fitter.terms.base import Array
from forcemap.fitter.terms.rows import RowLayout, frame_rows
from forcemap.potentials import Evaluator, Potential
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.grade import Grade
from forcemap.potentials.uncertainty import Calibration, Uncertainty
from numpy.typing import NDArray

__all__ = ["DrawnRoots", "Evaluators", "ExactRoots", "MappedRoots", "Root", "Roots", "features_of"]

Mask = NDArray[np.bool_]

TYPICAL_FACTOR = 10.0
"""Of the raw deviation, where a fit has found none: those of published sets are 8 to 18."""

DRAWS = 256
"""Of a process's weights: variances are good to 9 %, and some 50 frames can be distinguished."""

WAVES, WIDTH = 16, 0.5
"""Pairs of functions of the features that draws are multiplied by; how far they reach, in units of the
grade, in which nearly all training atoms are within 1 of their mean."""


class Evaluators:
    """An evaluator of a potential for each thread."""

    def __init__(self, potential: Potential) -> None:
        self.potential = potential
        self._local = threading.local()

    @property
    def own(self) -> Evaluator:
        """That of this thread."""
        if not hasattr(self._local, "evaluator"):
            self._local.evaluator = self.potential.evaluator(skin=0.0)
        evaluator: Evaluator = self._local.evaluator
        return evaluator


def features_of(evaluator: Evaluator, grade: Grade, frame: Frame) -> dict[int, tuple[Mask, Array]]:
    """Features of atoms as the grade has them, centred and whitened, by atomic number.

    Which atoms (n,) of a frame, and their features (those, features).
    """
    where = frame.positions, frame.numbers, frame.cell, frame.pbc
    features = evaluator.features(*where, grade.moments)
    by_element = {}
    for symbol, (mean, whitening) in grade.centers.items():
        those = frame.numbers == SYMBOLS.index(symbol)
        by_element[SYMBOLS.index(symbol)] = (
            those,
            (features[those, : len(mean)] - mean) @ np.asarray(whitening).T,
        )
    return by_element


@dataclass(frozen=True, eq=False)
class Root:
    """A frame's labels.

    Attributes:
        values: (1 + 3 n, d) root of their covariance, energy first, eV and eV/Å; float32.
        noise: (1 + 3 n,) standard deviations of the labels, in the same units.
    """

    values: Array
    noise: Array

    @property
    def scaled(self) -> Array:
        """(1 + 3 n, d) in units of the noise."""
        return np.asarray(self.values / self.noise[:, None], dtype=np.float64)

    @property
    def forces(self) -> Array:
        """(3 n, d) eV/Å."""
        return np.asarray(self.values[1:], dtype=np.float64)


class Roots(ABC):
    """Gives the roots of frames.

    Attributes:
        size: columns, d.
        name: what a table says of them.
        uncertainty: the calibration; None where there is none.
    """

    size: int
    name: str
    uncertainty: Uncertainty | None

    @abstractmethod
    def of(self, frame: Frame) -> Root:
        """Of one frame. Raises ForcemapError where nothing finite can be said of it."""

    @property
    def calibration(self) -> Calibration:
        """Of the components of forces."""
        known = self.uncertainty
        return known.force if known is not None else Calibration(TYPICAL_FACTOR, 0.0, 0.0)

    def deviation(self, variance: float) -> float:
        """Expected norm of the error of a force, eV/Å, whose components' raw variances sum so high."""
        calibration = self.calibration
        return float(np.sqrt(3.0 * calibration.floor**2 + calibration.factor**2 * variance))


class _ProcessRoots(Roots):
    def __init__(self, model: Model) -> None:
        self.model = model
        self.uncertainty = model.uncertainty

    def _rows(self, frame: Frame) -> Array:
        return frame_rows(frame, self.model.terms)[: RowLayout(len(frame.numbers)).strain.start]

    def _root(self, frame: Frame, values: Array) -> Root:
        n, scale = len(frame.numbers), self.model.noise_factor
        noise = np.full(1 + 3 * n, float(np.mean(frame.sigma.force)) * scale)
        noise[0] = frame.sigma.energy * np.sqrt(n) * scale
        return Root(values.astype(np.float32), noise)


class ExactRoots(_ProcessRoots):
    """Of a process."""

    name = "the process"

    @property
    def size(self) -> int:  # type: ignore[override]
        """Sparse points."""
        return len(self.model.weights)

    def of(self, frame: Frame) -> Root:
        """The whole posterior."""
        return self._root(frame, self.model.root(self._rows(frame)))


class DrawnRoots(_ProcessRoots):
    """Of a process, by draws of its weights: the same at every call."""

    size = DRAWS
    name = f"{DRAWS} draws of the process"

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self._draws = model.draws(DRAWS) / np.sqrt(DRAWS)

    def of(self, frame: Frame) -> Root:
        """A sample."""
        return self._root(frame, self._rows(frame) @ self._draws)


class MappedRoots(Roots):
    """Of a mapped potential that has draws, and a grade whose features tell surroundings apart."""

    def __init__(self, potential: Potential, grade: Grade | None) -> None:
        self.potential = potential
        self.grade = grade
        self.uncertainty = potential.uncertainty
        self.size = potential.draws * (2 * WAVES if grade is not None else 1)
        self.name = f"{potential.draws} draws of the potential"
        self._evaluators = Evaluators(potential)
        widest = max((len(mean) for mean, _ in grade.centers.values()), default=0) if grade else 0
        rng = np.random.default_rng(0)
        self._waves = rng.normal(0.0, 1.0 / WIDTH, (widest, WAVES))

    def of(self, frame: Frame) -> Root:
        """Draws, each localised."""
        where = frame.positions, frame.numbers, frame.cell, frame.pbc
        drawn = self._evaluators.own.deviations(*where)
        count, n = len(drawn.energies), len(frame.numbers)
        draws = np.empty((1 + 3 * n, count))
        draws[0] = drawn.energies
        draws[1:] = drawn.forces.reshape(count, -1).T
        draws /= np.sqrt(count - 2.0)  # as `variance_of_draws`
        calibration = self.uncertainty or Uncertainty()
        noise = np.full(1 + 3 * n, max(calibration.force.noise, 1e-3))
        noise[0] = max(calibration.energy.noise, 1e-4) * np.sqrt(n)
        if self.grade is None:
            return Root(draws.astype(np.float32), noise)
        local = self._modulations(frame)
        whole = local.mean(axis=0)
        whole /= np.linalg.norm(whole)
        rows = np.concatenate([whole[None, :], np.repeat(local, 3, axis=0)])
        values = (draws[:, :, None] * rows[:, None, :]).reshape(len(rows), -1)
        return Root(values.astype(np.float32), noise)

    def _modulations(self, frame: Frame) -> Array:
        """(n, 2 WAVES) functions of the atoms' features, their squares' sum 1, another element's apart.

        Waves of random vectors (Rahimi and Recht, NIPS 20 (2007)): products are a Gaussian of the
        features' distance, but for chance.
        """
        assert self.grade is not None
        waves = np.zeros((len(frame.numbers), 2 * WAVES))
        by_element = features_of(self._evaluators.own, self.grade, frame)
        for number, (those, centred) in by_element.items():
            # An element has phases of its own.
            phases = centred @ self._waves[: centred.shape[1]] + np.arange(WAVES) * number
            waves[those] = np.concatenate([np.cos(phases), np.sin(phases)], axis=1)
        return np.asarray(waves / np.sqrt(WAVES))
