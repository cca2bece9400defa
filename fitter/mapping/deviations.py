"""Gives a mapped potential what it needs to know when it is wrong: draws, calibration and grade."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from forcemap.fitter.data.frame import Frame
from forcemap.fitter.mapping.draws import DrawMap, mapped_draws
from forcemap.fitter.mapping.grade import grade_of
from forcemap.fitter.mapping.mapped import Mapped
from forcemap.fitter.mapping.probes import Probes
from forcemap.fitter.process.model import Model
from forcemap.fitter.sharing.run import Run
from forcemap.potentials.file.potential_file import as_potential

__all__ = ["with_deviations"]


def with_deviations(
    mapped: Mapped,
    model: Model,
    frames: Sequence[Frame],
    draws: int,
    run: Run | None = None,
    graded: bool = True,
) -> Mapped:
    """The mapped potential with so many draws, their calibration and an extrapolation grade.

    Args:
        mapped: the map of the mean.
        model: of which it is.
        frames: that the model was fitted to.
        draws: of the posterior, 3 or more; 0: none.
        run: where to show progress; its threads and ranks share what they can.
        graded: whether `frames` are those of the fit, which the grade is scaled by.

    `errors` gains ``draws``: the relative errors of the draws' forces and energies on a few frames,
    root mean square, and the sizes of their tables; and ``grade``: quantiles of the training atoms'
    grades, and of how many atoms they are. Warns (UserWarning) where memory does not suffice
    for as many.
    """
    run = run or Run(mapped.plan.jobs)
    start = time.perf_counter()
    data, errors = replace(mapped.data, uncertainty=model.uncertainty), dict(mapped.errors)
    if draws:
        with run.stage("mapping draws", None) as advance:
            probes = Probes.of(model, frames).frames
            weights = model.draws(draws)
            work = DrawMap.of(model, mapped.data, weights, mapped.plan, probes)
            found, off = mapped_draws(work, advance)
            if found is not None:
                errors["draws"] = {
                    "count": found.count,
                    "force_relative_rms_error": off.force,
                    "energy_relative_rms_error": off.energy,
                    "tables": _tables(found.terms),
                }
                data = replace(data, draws=found)
    if graded:
        with run.stage("grading the training atoms", None):
            found_grade = grade_of(model, mapped.potential, frames, run)
            data = replace(data, grade=found_grade.grade)
            errors["grade"] = {"atoms": found_grade.atoms, **found_grade.quantiles}
    data = replace(data, mapping=errors)
    return replace(
        mapped,
        data=data,
        potential=as_potential(data),
        errors=errors,
        seconds=mapped.seconds + time.perf_counter() - start,
    )


def _tables(terms: Sequence[Any]) -> list[dict[str, Any]]:
    return [{"kind": term.kind} | term.sizes() for term in terms if term.sizes()]
