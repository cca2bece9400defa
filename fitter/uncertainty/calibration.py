"""Calibration of a fit's standard deviations by residuals of left-out frames.

The deviations of the process alone are several times too small, since a process of these terms cannot
describe most of a fit's errors, and yet they are proportional to the errors. The squares e² of the
residuals of left-out frames, with raw variances v, are therefore described by

    floor² + factor² v + noise²

`floor` is the error where v nearly vanishes (components that are zero by symmetry: their raw deviation
is 1e-8 of the others', and any rounding of the labels would be thousands of deviations off). `factor`
and `noise` maximise the likelihood of all residuals. The noise belongs to the labels, not to the model,
up to the sigma determined by the fit; any excess is no scatter of labels and goes into the floor. The
residuals contain the labels' noise, and the model's own part is the rest, so that nothing counts twice.

For few residuals a broad normal prior of its logarithm holds the factor near a known one (that of the
forces for energies and stresses), and another one holds the noise near the fit's sigma.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.optimize
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.process.model import Model
from forcemap.fitter.terms.base import Array
from forcemap.fitter.terms.rows import RowLayout
from forcemap.fitter.uncertainty.leave_one_out import LeftOut
from forcemap.potentials.uncertainty import Calibration, Uncertainty
from numpy.typing import NDArray

__all__ = [
    "LEAST",
    "NOT_CALIBRATED",
    "Residuals",
    "calibrated",
    "calibration",
    "level_frames",
    "open_levels",
]

LEAST = {"force": 1e-4, "energy": 1e-4, "stress": 1e-5}
"""Smallest floors: eV/Å, eV for one atom, eV/Å³."""

ENOUGH = 200_000
"""Largest number of residuals that are used."""

SPREAD_OF_FACTOR, SPREAD_OF_NOISE = 1.0, 1.5
"""Standard deviations of the logarithms of factor and noise before the data are seen."""

FRAMES_PER_LEVEL, MOST_LEVELS = 250, 4
"""Frames per sample of the prior that sparse points leave undetermined, and most samples: with few-body
terms a sample takes as long as the rows of a hundred frames."""

LEVEL_MARGIN = 4.0
"""Margin of the variances that sparse points leave undetermined: one frame's is not the largest."""

UNUSUAL = 0.9
"""Quantile of the frames, ordered by variance of their forces, at which the sampling starts."""

NOT_CALIBRATED = (
    "with one frame there is none to leave out: its standard deviations are those of the process, not "
    "calibrated, which may be many times too small; fit to more frames"
)


@dataclass(frozen=True, eq=False)
class Residuals:
    """Errors and raw variances (k,) of left-out frames in one quantity, in `Calibration`'s units."""

    errors: Array
    variances: Array

    @classmethod
    def of(cls, left_out: Sequence[LeftOut]) -> dict[str, Residuals]:
        """The residuals of "force", "energy" and "stress"."""
        parts: dict[str, list[tuple[Array, Array]]] = {"force": [], "energy": [], "stress": []}
        for left in left_out:
            for name, (where, unit) in _quantities(left.frame, left.target.rows).items():
                parts[name].append((left.errors[where] / unit, left.variances[where] / unit**2))
        nothing = (np.zeros(0), np.zeros(0))
        return {
            name: cls(*(np.concatenate(both) for both in zip(*[nothing, *pairs], strict=True)))
            for name, pairs in parts.items()
        }


def _quantities(frame: Frame, rows: NDArray[np.intp]) -> dict[str, tuple[Array, float]]:
    """Mask of each quantity's rows, and its unit in that of the rows."""
    count = len(frame.numbers)
    layout = RowLayout(count)
    stress = rows >= layout.strain.start
    energy = rows == layout.energy
    quantities = {"force": (~energy & ~stress, 1.0), "energy": (energy, float(np.sqrt(count)))}
    if np.any(stress):
        quantities["stress"] = (stress, abs(float(np.linalg.det(frame.cell))))
    return quantities


def calibration(residuals: Residuals, sigma: float, least: float, near: float) -> Calibration:
    """Calibration of one quantity.

    Args:
        residuals: residuals of left-out frames; without any, the factor is `near`.
        sigma: sigma of the labels, as determined by the fit.
        least: smallest floor.
        near: likely factor before the data are seen.
    """
    errors, variances = residuals.errors, residuals.variances
    step = max(1, len(errors) // ENOUGH)
    squares, variances = errors[::step] ** 2, variances[::step]
    if not np.sum(squares) > 0.0 or not np.sum(variances) > 0.0:
        return Calibration(near, least, sigma)
    scale = float(np.sqrt(np.sum(squares) / np.sum(variances)))
    quiet = squares[scale * np.sqrt(variances) < least]
    floor = float(np.sqrt(np.mean(quiet))) if len(quiet) else 0.0
    floor = float(np.clip(floor, least, max(least, sigma)))
    cost = _cost(squares, variances, floor, sigma, near)
    bounds = [(-14.0, 14.0), (np.log(floor) - 3.0, np.log(max(sigma, floor)) + 5.0)]
    best = min(
        (
            scipy.optimize.minimize(
                cost,
                [np.clip(np.log(scale), *bounds[0]), np.clip(np.log(start), *bounds[1])],
                jac=True,
                method="L-BFGS-B",
                bounds=bounds,
            )
            for start in (sigma, 0.1 * sigma)
        ),
        key=lambda found: float(found.fun),
    )
    factor, noise = (float(value) for value in np.exp(best.x))
    rest = max(noise**2 - sigma**2, 0.0)
    return Calibration(factor, float(np.sqrt(floor**2 + rest)), min(noise, sigma))


def _cost(
    squares: Array, variances: Array, floor: float, sigma: float, near: float
) -> Callable[[Array], tuple[float, Array]]:
    """Minus the mean log of likelihood and priors and its slopes, in log factor and log noise."""

    def cost(logs: Array) -> tuple[float, Array]:
        explained, scatter = np.exp(2.0 * logs[0]) * variances, float(np.exp(2.0 * logs[1]))
        total = floor**2 + explained + scatter
        excess = 1.0 - squares / total
        off = np.array(
            [
                (logs[0] - np.log(near)) / SPREAD_OF_FACTOR,
                (logs[1] - np.log(sigma)) / SPREAD_OF_NOISE,
            ]
        )
        value = 0.5 * (float(np.sum(np.log(total) + squares / total)) + float(off @ off))
        slopes = np.array([np.sum(excess * explained / total), np.sum(excess * scatter / total)])
        slopes += off / np.array([SPREAD_OF_FACTOR, SPREAD_OF_NOISE])
        return value / len(squares), slopes / len(squares)

    return cost


def calibrated(
    model: Model, left_out: Sequence[LeftOut], note: Callable[[str], None] = lambda line: None
) -> Model:
    """The model with deviations calibrated by the frames left out of its fit."""
    residuals = Residuals.of(left_out)
    sigma = model.data["sigma"]
    if not left_out:
        note(NOT_CALIBRATED)
    near, calibrations = 1.0, {}
    for name in ("force", "energy", "stress"):
        calibrations[name] = calibration(residuals[name], sigma[name], LEAST[name], near)
        if name == "force" or not len(residuals["force"].errors):
            near = calibrations[
                name
            ].factor  # the errors of all quantities are those of the same functions
    if not len(residuals["force"].errors):
        calibrations["force"] = replace(calibrations["force"], factor=calibrations["energy"].factor)
    return replace(
        model, uncertainty=Uncertainty(**calibrations), open_levels=open_levels(model, left_out)
    )


def open_levels(model: Model, left_out: Sequence[LeftOut]) -> Mapping[str, float]:
    """Variances of the prior that sparse points leave undetermined in frames like those of the fit.

    The keys and units are those of `Model.open_levels`. The values come from some frames with larger
    variances than most, but no outliers.
    """
    levels = dict.fromkeys(LEAST, 0.0)
    ranked = sorted(left_out, key=_mean_variance)
    count = level_frames(len(ranked))
    for number in range(count):
        frame = ranked[int(UNUSUAL * (1.0 - number / count) * (len(ranked) - 1))].frame
        variances = model.open_variances(frame)
        atoms = len(frame.numbers)
        layout = RowLayout(atoms)
        for name, largest in (
            ("force", np.max(variances[layout.forces])),
            ("energy", variances[layout.energy] / atoms),
            ("stress", np.max(variances[layout.strain]) / atoms),
        ):
            levels[name] = max(levels[name], LEVEL_MARGIN * float(largest))
    return levels


def level_frames(left_out: int) -> int:
    """Number of the left-out frames from which `open_levels` are taken."""
    return min(max(left_out // FRAMES_PER_LEVEL, 1), MOST_LEVELS) if left_out else 0


def _mean_variance(left: LeftOut) -> float:
    """Mean raw variance of the frame's forces, or of its energy if it has no forces."""
    parts = _quantities(left.frame, left.target.rows)
    for where, unit in parts.values():
        if np.any(where):
            return float(np.mean(left.variances[where])) / unit**2
    return 0.0
