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
from forcemap.fitter.mapping.probes import disorder
from forcemap.potentials.file.potential_file import as_potential

__all__ = ["in_precision"]

MOST_FRAMES = 200
"""On which the change of forces is measured, from all of the data."""

HARDEST = 50
"""Frames of the largest forces, on which it is measured, too: rounding grows with them."""

MOST_CHANGE = 1e-5
"""eV/Å; what single precision may change a force by."""


def in_precision(mapped: Mapped, frames: Sequence[Frame], precision: str) -> Mapped:
    """The potential as it is for "double"; for "single" with the terms that can be in single precision.

    The largest change of a force is measured on `frames`, some of them if they are many, those of the
    largest forces among them. It is reported on its own (``single_precision_force_error_ev_per_a``),
    and the errors of the map are larger by what changes.

    Warns (UserWarning) where no term has single precision, and where it changes a force by more than
    MOST_CHANGE, or than the map's tolerance where that is smaller.
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
    probes = _probes(frames)
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
    bound = min(MOST_CHANGE, errors["tolerance_ev_per_a"])
    if change.force > bound:
        warnings.warn(
            f"map.precision: single changes a force by {change.force:.1e} eV/Å, more than {bound:.0e}: "
            "this potential is too stiff for it, use precision: double",
            stacklevel=2,
        )
    return replace(mapped, data=replace(data, mapping=errors), potential=potential, errors=errors)


def _probes(frames: Sequence[Frame]) -> list[Frame]:
    """An even sample of the frames, and those of the largest forces."""
    chosen = set(np.linspace(0, len(frames) - 1, MOST_FRAMES).astype(int).tolist())
    hardest = sorted(range(len(frames)), key=lambda n: disorder(frames[n]), reverse=True)
    return [frames[n] for n in sorted(chosen | set(hardest[:HARDEST]))]
