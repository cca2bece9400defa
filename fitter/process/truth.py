"""Predictions of the process itself, with which its map and the labels are compared."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from forcemap.fitter.baseline.baseline import Baseline, free_energy
from forcemap.fitter.data.deviations import calibrated_deviations
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.prediction import Prediction
from forcemap.fitter.process.model import Model
from forcemap.fitter.terms.base import Array
from forcemap.fitter.terms.rows import RowLayout

__all__ = ["Truth", "deviations_in_thread", "expected_in_thread", "truth_in_thread"]

Answer = TypeVar("Answer")


class Truth:
    """The process's energies, forces and stresses, isolated atoms and repulsion included."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.baseline = Baseline(model.species, model.repulsion)

    def prediction(self, frame: Frame) -> Prediction:
        """Energy, forces and strain derivatives of a frame."""
        return self._whole(frame, self.model.predict(frame))

    def with_deviations(self, frame: Frame, beyond: bool = True) -> tuple[Prediction, Prediction]:
        """Energy, forces and strain derivatives, and the standard deviations of all of them.

        The deviations of a calibrated model are those of a difference to a label and include the
        labels' noise. Those of any other model are the process's own, without noise and without the
        errors of what its terms cannot describe. Both include the part of the prior that the sparse
        points leave undetermined; a calibrated model adds, if `beyond`, only the excess over frames
        like those of the fit, whose errors are part of the calibration.
        """
        model = self.model
        if model.uncertainty is None:
            means, variances = model.predict_with_variances(frame)
            return self._whole(frame, means), _roots(frame, variances)
        means, variances = model.predict_with_variances(frame, left_open=False)
        std = calibrated_deviations(frame, _roots(frame, variances), model.uncertainty)
        if beyond:
            more = model.open_variances(frame) - self._level(frame)
            total = np.concatenate([[std.energy], std.forces.ravel(), std.strain]) ** 2
            std = _roots(frame, total + np.maximum(more, 0.0))
        return self._whole(frame, means), std

    def _level(self, frame: Frame) -> Array:
        """(rows,) variance that sparse points leave undetermined in frames like those of the fit."""
        levels, count = self.model.open_levels, len(frame.numbers)
        level = np.full(RowLayout(count).count, levels.get("force", 0.0))
        level[RowLayout.energy] = count * levels.get("energy", 0.0)
        level[RowLayout(count).strain] = count * levels.get("stress", 0.0)
        return level

    def _whole(self, frame: Frame, means: tuple[float, Array, Array]) -> Prediction:
        """The whole prediction, isolated atoms and repulsion included."""
        energy, forces, strain = means
        known = self.baseline.of(frame)
        return Prediction.of(
            frame,
            energy + known.energy + free_energy(frame, self.model.e0),
            forces + known.forces,
            strain + known.strain,
        )


def _roots(frame: Frame, variances: Array) -> Prediction:
    """Standard deviations; rounding may leave a vanishing variance just below zero."""
    deviations = np.sqrt(np.maximum(variances, 0.0))
    return Prediction.of(frame, *RowLayout(len(frame.numbers)).split(deviations))


def truth_in_thread(model: Model) -> Callable[[Frame], Prediction]:
    """`Truth.prediction` for worker threads, each with its own evaluator of the repulsion."""
    return _in_thread(model, Truth.prediction)


def deviations_in_thread(model: Model) -> Callable[[Frame], tuple[Prediction, Prediction]]:
    """`Truth.with_deviations` for worker threads, each with its own evaluator of the repulsion."""
    return _in_thread(model, Truth.with_deviations)


def expected_in_thread(model: Model) -> Callable[[Frame], Prediction]:
    """The deviations alone for worker threads, without the slow part beyond the data."""
    return _in_thread(model, lambda truth, frame: truth.with_deviations(frame, beyond=False)[1])


def _in_thread(model: Model, ask: Callable[[Truth, Frame], Answer]) -> Callable[[Frame], Answer]:
    local = threading.local()

    def answer(frame: Frame) -> Answer:
        if not hasattr(local, "truth"):
            local.truth = Truth(model)
        return ask(local.truth, frame)

    return answer
