"""Warnings about a fit whose results are implausible."""

from __future__ import annotations

from collections.abc import Sequence

from forcemap.fitter.config import Settings
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.prediction import Prediction
from forcemap.fitter.data.units import UNITS
from forcemap.fitter.process.model import Model
from forcemap.fitter.report.metrics import Comparison, compare
from forcemap.fitter.report.misfit import misfit_warnings

__all__ = ["doubts", "stress_slope_doubt"]


def doubts(
    model: Model, settings: Settings, pairs: Sequence[tuple[Frame, Prediction]]
) -> list[str]:
    """Sentences on what is implausible in a fit; `pairs` are training frames with predictions."""
    slope = stress_slope_doubt(compare(pairs))
    return [*misfit_warnings(model, settings, pairs), *([slope] if slope else [])]


def stress_slope_doubt(comparison: Comparison) -> str | None:
    """A doubt about the stresses' sign or unit, from the slope of reference against prediction."""
    if len(comparison.stresses) < 24:
        return None
    # The mean of each component is removed: few-body terms may have a wrong zero of the pressure.
    both_kinds = comparison.stresses.reshape(-1, 6, 2)
    reference, predicted = (both_kinds - both_kinds.mean(axis=0)).reshape(-1, 2).T
    both, own, other = (
        float(x @ y)
        for x, y in ((reference, predicted), (predicted, predicted), (reference, reference))
    )
    if both**2 < 0.5 * own * other or own == 0.0:
        return None
    slope = both / own
    units = [unit for unit, size in UNITS.items() if 0.7 < abs(slope) / size < 1.4]
    if slope > 0.0 and not units:
        return None
    asked = " and ".join(
        [*(["the sign"] if slope < 0.0 else []), *(f"{u} for eV/Å³" for u in units)]
    )
    return (
        "the slope of reference against predicted stresses of the training frames is "
        f"{slope:.2g}, where 1 is expected: {asked}? Expected are stresses in eV/Å³ with ASE's sign "
        "(positive under tension), or virials = -volume * stress in eV"
    )
