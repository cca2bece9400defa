"""Potentials whose terms are evaluated in single precision, where they can be."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.prediction import evaluated
from forcemap.fitter.mapping.mapped import Mapped
from forcemap.fitter.mapping.measure import map_error
from forcemap.potentials.file.potential_file import as_potential

__all__ = ["in_precision"]

MOST_FRAMES = 200
"""On which the change of forces is measured."""


def in_precision(mapped: Mapped, frames: Sequence[Frame], precision: str) -> Mapped:
    """The potential as it is for "double"; for "single" with the terms that can be in single precision.

    The largest change of a force is measured on `frames`, some of them if they are many. It is reported
    on its own (``single_precision_force_error_ev_per_a``), and the errors of the map are larger by what
    changes.

    Warns (UserWarning) where no term has single precision, and where it changes a force by more than
    the map's tolerance.
    """
    if precision == "double":
        return mapped
    terms = tuple(term.in_single_precision() for term in mapped.data.terms)
    if all(one is other for one, other in zip(terms, mapped.data.terms, strict=True)):
        warnings.warn(
            "map.precision: single changes nothing: no term of this potential has single precision, "
            "soap and bispectrum terms alone have it",
            stacklevel=2,
        )
        return mapped
    data = replace(mapped.data, terms=terms)
    potential = as_potential(data)
    chosen = np.unique(np.linspace(0, len(frames) - 1, MOST_FRAMES).astype(int)).tolist()
    probes = [frames[n] for n in chosen]
    double = mapped.potential.evaluator(skin=0.0)
    change = map_error(potential, probes, [evaluated(double, frame) for frame in probes])
    errors = dict(mapped.errors)
    for key, more in (
        ("force_max_error_ev_per_a", change.force),
        ("force_rmse_error_ev_per_a", change.force_rmse),
        ("energy_max_error_ev_per_atom", change.energy),
    ):
        errors[key] = float(errors[key] + more)
    errors["single_precision_force_error_ev_per_a"] = change.force
    tolerance = errors["tolerance_ev_per_a"]
    if change.force > tolerance:
        warnings.warn(
            f"map.precision: single changes a force by {change.force:.1e} eV/Å, more than the map's "
            f"tolerance of {tolerance:g}: use double",
            stacklevel=2,
        )
    return replace(mapped, data=replace(data, mapping=errors), potential=potential, errors=errors)
