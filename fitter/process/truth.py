"""The process's own predictions: what its map, and the labels, are compared with."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from forcemap.fitter.baseline.baseline import Baseline, free_energy
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.prediction import Prediction
from forcemap.fitter.process.model import Model
from forcemap.fitter.terms.base import Array
from forcemap.fitter.terms.rows import RowLayout

__all__ = ["Truth", "deviations_in_thread", "truth_in_thread"]

Answer = TypeVar("Answer")


class Truth:
    """The process's energies, forces and stresses, isolated atoms and repulsion included."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.baseline = Baseline(model.species, model.repulsion)

    def prediction(self, frame: Frame) -> Prediction:
        """Energy, forces and stress."""
        return self._whole(frame, self.model.predict(frame))

    def with_deviations(self, frame: Frame) -> tuple[Prediction, Prediction]:
        """Energy, forces and stress, and the standard deviations of all of them.

        These are the process's own, without the noise of labels and without the errors of what a
        process of these terms cannot describe.
        """
        means, variances = self.model.predict_with_variances(frame)
        # Rounding may leave a variance of nothing just below zero.
        deviations = np.sqrt(np.maximum(variances, 0.0))
        split = RowLayout(len(frame.numbers)).split(deviations)
        return self._whole(frame, means), Prediction.of(frame, *split)

    def _whole(self, frame: Frame, means: tuple[float, Array, Array]) -> Prediction:
        """With isolated atoms and repulsion."""
        energy, forces, strain = means
        known = self.baseline.of(frame)
        return Prediction.of(
            frame,
            energy + known.energy + free_energy(frame, self.model.e0),
            forces + known.forces,
            strain + known.strain,
        )


def truth_in_thread(model: Model) -> Callable[[Frame], Prediction]:
    """Truth.prediction for worker threads: each has its own evaluator of the repulsion."""
    return _in_thread(model, Truth.prediction)


def deviations_in_thread(model: Model) -> Callable[[Frame], tuple[Prediction, Prediction]]:
    """Truth.with_deviations for worker threads, as `truth_in_thread`."""
    return _in_thread(model, Truth.with_deviations)


def _in_thread(model: Model, ask: Callable[[Truth, Frame], Answer]) -> Callable[[Frame], Answer]:
    local = threading.local()

    def answer(frame: Frame) -> Answer:
        if not hasattr(local, "truth"):
            local.truth = Truth(model)
        return ask(local.truth, frame)

    return answer
