"""Honesty of predicted standard deviations: errors over deviations, coverage, order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.prediction import Prediction
from forcemap.fitter.report.metrics import Column
from forcemap.potentials.uncertainty import Uncertainty
from numpy.typing import NDArray

__all__ = [
    "CALIBRATION",
    "Expected",
    "Honest",
    "calibration_block",
    "force_errors",
    "uncertainty_block",
]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Expected:
    """Frames with predictions, and the standard deviations of their differences to labels.

    Attributes:
        pairs: frames with predictions.
        deviations: standard deviation of each prediction, the labels' noise included.
    """

    pairs: Sequence[tuple[Frame, Prediction]] = ()
    deviations: Sequence[Prediction] = ()

    def by_config_type(self) -> dict[str, Expected]:
        """The same for each config_type separately."""
        groups: dict[str, list[int]] = {}
        for number, (frame, _) in enumerate(self.pairs):
            groups.setdefault(frame.config_type, []).append(number)
        return {
            name: Expected([self.pairs[n] for n in places], [self.deviations[n] for n in places])
            for name, places in sorted(groups.items())
        }


def force_errors(expected: Expected) -> Array:
    """(k, 2) error and deviation of every force component that has a label, eV/Å."""
    parts = [np.zeros((0, 2))]
    for (frame, prediction), deviation in zip(expected.pairs, expected.deviations, strict=True):
        if frame.forces is not None:
            which = frame.labelled
            error = (frame.forces - prediction.forces)[which].ravel()
            parts.append(np.stack([error, deviation.forces[which].ravel()], axis=1))
    return np.concatenate(parts)


def energy_errors(expected: Expected) -> Array:
    """(k, 2) error and deviation of every energy that has a label, eV."""
    parts = [np.zeros((0, 2))]
    for (frame, prediction), deviation in zip(expected.pairs, expected.deviations, strict=True):
        if frame.energy is not None:
            parts.append(np.array([[frame.energy - prediction.energy, deviation.energy]]))
    return np.concatenate(parts)


def _ratios(found: Array) -> Array:
    """Errors over deviations, without vanishing deviations."""
    some = found[:, 1] > 0.0
    return np.asarray(found[some, 0] / found[some, 1])


def _rms(ratios: Array) -> float | None:
    return float(np.sqrt(np.mean(ratios**2))) if len(ratios) else None


def _within(limit: float) -> Callable[[Array, Array], float | None]:
    def share(forces: Array, energies: Array) -> float | None:
        ratios = _ratios(forces if len(forces) else energies)
        return float(np.mean(np.abs(ratios) <= limit)) if len(ratios) else None

    return share


def _ranks(values: Array) -> Array:
    """Ranks from 1; equal values share the mean of theirs.

    Those of `scipy.stats.rankdata`, whose import alone takes a twentieth of a small fit.
    """
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - 0.5 * (counts - 1.0))[places.reshape(-1)])


def _spearman(forces: Array, energies: Array) -> float | None:
    """Rank correlation of absolute errors and deviations; None for few labels or equal ranks."""
    if len(forces) < 3:
        return None
    ranks = [_ranks(np.abs(forces[:, column])) for column in (0, 1)]
    ranks = [rank - rank.mean() for rank in ranks]
    norm = float(np.linalg.norm(ranks[0]) * np.linalg.norm(ranks[1]))
    return float(ranks[0] @ ranks[1]) / norm if norm > 0.0 else None


@dataclass(frozen=True)
class Honesty(Column):
    """A measure of deviations, computed from errors and deviations of forces and energies."""

    value: Callable[[Array, Array], float | None]


CALIBRATION = {
    "rms_z_energy": Honesty("rms z, energy", "", "{:.2f}", lambda f, e: _rms(_ratios(e))),
    "rms_z_force": Honesty("rms z, force", "", "{:.2f}", lambda f, e: _rms(_ratios(f))),
    "spearman_force": Honesty("Spearman", "|error|, deviation", "{:.2f}", _spearman),
    "coverage_1_sigma": Honesty("within 1 σ", "0.68 if normal", "{:.2f}", _within(1.0)),
    "coverage_2_sigma": Honesty("within 2 σ", "0.95 if normal", "{:.2f}", _within(2.0)),
}
"""z is an error over its deviation: 1 is honest, more is overconfident. Coverage refers to force
components, or to energies if there are no forces."""


def calibration_block(expected: Expected) -> dict[str, Any]:
    """The numbers of CALIBRATION, overall and under `by_config_type`."""

    def numbers(some: Expected) -> dict[str, Any]:
        forces, energies = force_errors(some), energy_errors(some)
        return {name: entry.value(forces, energies) for name, entry in CALIBRATION.items()}

    groups = {name: numbers(group) for name, group in expected.by_config_type().items()}
    return numbers(expected) | {"by_config_type": groups}


@dataclass(frozen=True)
class Honest:
    """The content of a report on deviations.

    Attributes:
        uncertainty: the calibration; None without one.
        left_out: training frames, each predicted by a fit to all others.
        test: test frames; may be empty.
        draws: number of draws in the potential.
    """

    uncertainty: Uncertainty | None = None
    left_out: Expected = field(default_factory=Expected)
    test: Expected = field(default_factory=Expected)
    draws: int = 0


def uncertainty_block(honest: Honest) -> Mapping[str, Any]:
    """The block `uncertainty` of the report.

    It holds the numbers of CALIBRATION from `leave_one_out`, or from `test` if no frame could be left
    out, both of these blocks, the calibration and the number of draws.
    """
    left_out, test = calibration_block(honest.left_out), calibration_block(honest.test)
    best = left_out if honest.left_out.pairs else test
    return {
        **{name: best[name] for name in CALIBRATION},
        "draws": honest.draws,
        "calibration": None if honest.uncertainty is None else honest.uncertainty.document(),
        "leave_one_out": left_out,
        "test": test,
    }
