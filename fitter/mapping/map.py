"""Maps a fitted process onto fast forms, at a resolution that a force tolerance chooses.

Where a term's functions are splines already, or a form of finite rank, the map is exact; elsewhere
they are tabulated with their cutoff factors and turned into B-spline coefficients by interpolation.
The map's error is the difference of forces between the mapped potential and the process, measured on
training frames and on random clusters (Glielmo, Zeni, De Vita, Phys. Rev. B 97, 184307 (2018),
DOI 10.1103/PhysRevB.97.184307: "mapped force fields").

Below the shortest distances of the data the process knows nothing: its functions are faded out there
and the repulsion takes over. The pair function keeps its value (its slope is faded, not the value), so
that the pair energy rises all the way.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.prediction import Prediction, evaluated
from forcemap.fitter.mapping.mapped import Mapped
from forcemap.fitter.mapping.measure import MapError, map_error
from forcemap.fitter.mapping.probes import (
    RANDOM_CLUSTERS,
    Probes,
    measured_frames,
)
from forcemap.fitter.mapping.rank import reduced
from forcemap.fitter.mapping.tabulate import Tabulation
from forcemap.fitter.process.model import Model
from forcemap.fitter.process.truth import Truth, truth_in_thread
from forcemap.fitter.sharing.threads import in_order
from forcemap.fitter.terms.base import MapPlan
from forcemap.potentials import Potential
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.file.potential_file import as_potential
from forcemap.potentials.runs.progress import Progress

__all__ = ["Mapped", "map_model", "no_map"]

MOST_BYTES = 512 << 20
"""Larger tables are not made, whatever the tolerance; a warning says so."""


def no_map(model: Model) -> str:
    """Why a model that has terms without a map cannot be mapped."""
    return (
        f"its {' and '.join(model.unmapped)} term has no map: it is for comparing errors, which "
        "`forcemap fit` reports, and cannot be run in MD; fit without it to get a potential"
    )


def map_model(
    model: Model,
    frames: Sequence[Frame],
    tolerance: float,
    jobs: int = 1,
    progress: Progress | None = None,
    soap: str | None = None,
    process: Iterable[Prediction] | None = None,
) -> Mapped:
    """Map `model` so that no force differs by more than `tolerance` (eV/Å) from the process's.

    The resolution is chosen on the most disordered of `frames` and on random clusters; the errors
    reported are measured on all frames (and the clusters apart); with terms whose process is slow, on
    some of them. `soap`: "exact", "low_rank", or None for the default of `MapSettings`.
    `process`: what the model's `Truth` says of these frames (`measured_frames`), where it is known.

    Warns (UserWarning) where the tolerance asks for larger tables than MOST_BYTES. Raises
    ForcemapError for a model with a term that has no map.
    """
    if model.unmapped:
        raise ForcemapError(no_map(model))
    progress = progress or Progress.silent()
    start = time.perf_counter()
    measured = measured_frames(model, frames)
    probes = Probes.of(model, frames)
    truth = Truth(model)
    with progress.stage("mapping", None) as advance:
        truths = [truth.prediction(frame) for frame in probes.all]
        tabulation = Tabulation(model, MapPlan(measured, jobs))
        tabulation = _resolved(tabulation, probes, truths, tolerance, advance)
        data = tabulation.data()
        if tabulation.reducible(soap):
            known = [*measured, *probes.frames]
            data = reduced(tabulation, known, probes.clusters, tolerance, soap, advance)
    potential = as_potential(data)
    with progress.stage("measuring the map's error", len(measured)) as advance:
        if process is None:
            process = in_order(truth_in_thread(model), measured, jobs)
        error = _measured(potential, measured, process, advance)
    clusters = map_error(potential, probes.clusters, truths[-RANDOM_CLUSTERS:])
    errors = {
        "force_max_error_ev_per_a": error.force,
        "force_rmse_error_ev_per_a": error.force_rmse,
        "energy_max_error_ev_per_atom": error.energy,
        "random_clusters_force_max_error_ev_per_a": clusters.force,
        "tolerance_ev_per_a": tolerance,
        "frames_measured": len(measured),
        "tables": [{"kind": t.kind} | t.sizes() for t in data.terms if t.sizes()],
    }
    data = replace(data, mapping=errors)
    return Mapped(data, potential, errors, time.perf_counter() - start, tabulation.plan)


def _resolved(
    tabulation: Tabulation,
    probes: Probes,
    truths: Sequence[Prediction],
    tolerance: float,
    advance: Callable[[], Any],
) -> Tabulation:
    """The tabulation with knots as near to each other as the tolerance asks for."""
    while True:
        error = map_error(as_potential(tabulation.data()), probes.all, truths).force
        advance()
        if error <= 0.7 * tolerance or tabulation.is_exact:
            # What is left between such a process and its map is rounding.
            return tabulation
        # Slopes of a cubic spline converge with the third power of the spacing.
        factor = float(np.clip((0.55 * tolerance / error) ** (1.0 / 3.0), 0.45, 0.93))
        finer = tabulation.at(tabulation.plan.spacing * factor)
        if finer.bytes > MOST_BYTES:
            warnings.warn(
                f"map.tolerance {tolerance:g} eV/Å is not reached: it asks for knots "
                f"{finer.plan.spacing:.3f} Å apart and tables beyond {MOST_BYTES >> 20} MiB. The map "
                f"is off by {error:.2g} eV/Å. A larger lengthscale makes smoother functions.",
                stacklevel=3,
            )
            return tabulation
        tabulation = finer


def _measured(
    potential: Potential,
    frames: Sequence[Frame],
    process: Iterable[Prediction],
    advance: Callable[[], Any],
) -> MapError:
    evaluator = potential.evaluator(skin=0.0)
    error = MapError()
    for frame, truth in zip(frames, process, strict=True):
        error.add(frame, evaluated(evaluator, frame), truth)
        advance()
    return error
