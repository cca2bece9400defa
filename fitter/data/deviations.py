"""Calibrated standard deviations of a frame's predictions."""

from __future__ import annotations

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.prediction import Prediction
from forcemap.potentials import Evaluator, Potential
from forcemap.potentials.uncertainty import Uncertainty
from forcemap.potentials.voigt import six_of

__all__ = ["calibrated_deviations", "deviations_by", "deviations_of_draws"]


def calibrated_deviations(
    frame: Frame, raw: Prediction, uncertainty: Uncertainty, with_noise: bool = True
) -> Prediction:
    """Calibrated deviations from a process's `raw` ones: energy eV, forces eV/Å, strain eV.

    `with_noise`: the deviations of differences to labels, whose noise is included.
    """
    volume = abs(float(np.linalg.det(frame.cell)))
    stress = raw.strain
    if volume > 0.0:
        variances = (raw.strain / volume) ** 2
        stress = volume * uncertainty.stress.deviation(variances, with_noise=with_noise)
    energy = uncertainty.energy.deviation(
        raw.energy**2, atoms=len(frame.numbers), with_noise=with_noise
    )
    forces = uncertainty.force.deviation(raw.forces**2, with_noise=with_noise)
    return Prediction.of(frame, float(energy), forces, stress)


def deviations_of_draws(evaluator: Evaluator, frame: Frame) -> Prediction:
    """Deviations of differences to labels, predicted by a potential that has draws."""
    std = evaluator.deviations(frame.positions, frame.numbers, frame.cell, frame.pbc).with_noise()
    strain = np.zeros(6)
    if std.volume is not None:
        strain = std.volume * six_of(std.stress_std)
    return Prediction.of(frame, std.energy_std, std.forces_std, strain)


def deviations_by(potential: Potential, frame: Frame) -> Prediction:
    """`deviations_of_draws` by an evaluator for this frame alone; other ranks may call this."""
    return deviations_of_draws(potential.evaluator(skin=0.0), frame)
