"""Roots of the posterior covariance of a frame's labels, which determine their worth for a fit.

The labels of a frame, its energy and forces, have the posterior covariance B Bᵀ; the covariance between
two frames is B Cᵀ of their roots. B of a process is exact, or made from many draws of its weights. A
mapped potential has few draws. Each is multiplied by functions of the features of the atom that a row
belongs to, with unit sum of squares, which removes the spurious covariance that few draws produce
between rows of unlike surroundings (localisation by modulated ensembles: Bishop and Hodyss, Tellus A
61, 84 (2009), DOI 10.1111/j.1600-0870.2008.00371.x).
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
"""Default factor of the raw deviation without a calibration: published sets have 8 to 18."""

DRAWS = 256
"""Draws of a process's weights: variances are accurate to 9 %, and some 50 frames are resolved."""

WAVES, WIDTH = 16, 0.5
"""Number of pairs of functions that multiply the draws, and their range in feature space, in units of
the grade, where nearly all training atoms are within 1 of their mean."""


class Evaluators:
    """Evaluators of a potential, one for each thread."""

    def __init__(self, potential: Potential) -> None:
        self.potential = potential
        self._local = threading.local()

    @property
    def own(self) -> Evaluator:
        """The evaluator of this thread."""
        if not hasattr(self._local, "evaluator"):
            self._local.evaluator = self.potential.evaluator(skin=0.0)
        evaluator: Evaluator = self._local.evaluator
        return evaluator


def features_of(evaluator: Evaluator, grade: Grade, frame: Frame) -> dict[int, tuple[Mask, Array]]:
    """Centred and whitened features of the grade, by atomic number.

    Each entry has the mask (n,) of the element's atoms and their features (atoms, features).
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
    """The root of a frame's labels.

    Attributes:
        values: (1 + 3 n, d) root of the labels' covariance, energy first, eV and eV/Å; float32.
        noise: (1 + 3 n,) standard deviations of the labels, in the same units.
    """

    values: Array
    noise: Array

    @property
    def scaled(self) -> Array:
        """(1 + 3 n, d) root in units of the noise."""
        return np.asarray(self.values / self.noise[:, None], dtype=np.float64)

    @property
    def forces(self) -> Array:
        """(3 n, d) root of the forces, eV/Å."""
        return np.asarray(self.values[1:], dtype=np.float64)


class Roots(ABC):
    """A source of the roots of frames.

    Attributes:
        size: number of columns, d.
        name: name in tables.
        uncertainty: the calibration; None without one.
    """

    size: int
    name: str
    uncertainty: Uncertainty | None

    @abstractmethod
    def of(self, frame: Frame) -> Root:
        """The root of one frame. Raises ForcemapError if it is not finite."""

    @property
    def calibration(self) -> Calibration:
        """Calibration of force components."""
        known = self.uncertainty
        return known.force if known is not None else Calibration(TYPICAL_FACTOR, 0.0, 0.0)

    def deviation(self, variance: float) -> float:
        """Expected norm of a force's error, eV/Å, from the sum of its components' raw variances."""
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
    """Exact roots of a process."""

    name = "the process"

    @property
    def size(self) -> int:  # type: ignore[override]
        """Number of sparse points."""
        return len(self.model.weights)

    def of(self, frame: Frame) -> Root:
        """The root of the whole posterior."""
        return self._root(frame, self.model.root(self._rows(frame)))


class DrawnRoots(_ProcessRoots):
    """Roots of a process by draws of its weights, the same at every call."""

    size = DRAWS
    name = f"{DRAWS} draws of the process"

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self._draws = model.draws(DRAWS) / np.sqrt(DRAWS)

    def of(self, frame: Frame) -> Root:
        """The root in the space of the draws."""
        return self._root(frame, self._rows(frame) @ self._draws)


class MappedRoots(Roots):
    """Roots of a mapped potential with draws, and a grade whose features distinguish surroundings."""

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
        """The root of localised draws."""
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
        """(n, 2 WAVES) functions of the atoms' features with unit sum of squares, apart by element.

        They are waves of random vectors, whose mean product is a Gaussian of the features' distance
        (Rahimi and Recht, NIPS 20 (2007)).
        """
        assert self.grade is not None
        waves = np.zeros((len(frame.numbers), 2 * WAVES))
        by_element = features_of(self._evaluators.own, self.grade, frame)
        for number, (those, centred) in by_element.items():
            # An element has phases of its own.
            phases = centred @ self._waves[: centred.shape[1]] + np.arange(WAVES) * number
            waves[those] = np.concatenate([np.cos(phases), np.sin(phases)], axis=1)
        return np.asarray(waves / np.sqrt(WAVES))
