"""A model file mapped anew, with the frames of its fit where they are still there."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from forcemap.fitter.checked import Place, mapping, read_fields
from forcemap.fitter.config import MapSettings, UncertaintySettings
from forcemap.fitter.mapping.deviations import with_deviations
from forcemap.fitter.mapping.map import map_model, no_map
from forcemap.fitter.mapping.mapped import Mapped
from forcemap.fitter.mapping.precision import in_precision
from forcemap.fitter.mapping.probes import RANDOM_CLUSTERS, random_cluster
from forcemap.fitter.planning.step_cost import with_costs
from forcemap.fitter.process.model import Model
from forcemap.fitter.process.model_file import read_model
from forcemap.fitter.process.provenance import TrainingFrames, training_frames
from forcemap.fitter.sharing.run import Run
from forcemap.potentials import Potential
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.runs.progress import Progress

__all__ = ["Wishes", "grading_potential", "map_file"]


@dataclass(frozen=True)
class Wishes:
    """What may differ from the settings of the fit, which hold where it is None.

    Attributes:
        tolerance: largest error of a force, eV/Å.
        draws: from the posterior, 3 or more; 0: none.
        precision: of soap and bispectrum terms, "double" or "single".
    """

    tolerance: float | None = None
    draws: int | None = None
    precision: str | None = None


def map_file(
    model_path: str | PathLike[str],
    potential_path: str | PathLike[str],
    wishes: Wishes,
    progress: Progress,
    jobs: int = 1,
) -> dict[str, Any]:
    """Map a model file anew, as its fit did where the training files are as they were.

    Where they are not, random clusters of atoms stand for the frames, the error is that on them, and
    the potential has draws and their calibration, but no extrapolation grade: what that compares with
    are the training frames.

    Returns the errors that are also written into the potential file; ``seconds``; ``frames``, the
    number of training frames; and ``fault``, why there are none, or "". Raises ForcemapError for a file
    that is no model that has a map.
    """
    path = Path(model_path)
    model = read_model(path)
    if model.unmapped:
        raise ForcemapError(f"{path}: {no_map(model)}")
    run = Run(jobs, progress)
    known = _frames_of(model, path, run)
    mapped = _mapped(model, path, known, wishes, run)
    if not known.fault:  # clusters are unlike what is run in MD
        mapped = with_costs(mapped, known.frames)
    mapped.write(Path(potential_path))
    found = {"seconds": mapped.seconds, "frames": len(known.frames), "fault": known.fault}
    return {**mapped.errors, **found}


def grading_potential(model: Model, path: Path, run: Run) -> Potential | None:
    """The map of the model in the file `path`, without draws, for the grades of atoms.

    None where it has no map, and with a UserWarning where the training files are not as they were.
    """
    if model.unmapped:
        return None
    known = _frames_of(model, path, run)
    if known.fault:
        warnings.warn(f"{known.fault}; atoms have no extrapolation grades", stacklevel=2)
        return None
    return _mapped(model, path, known, Wishes(draws=0), run).potential


def _frames_of(model: Model, path: Path, run: Run) -> TrainingFrames:
    count = model.data.get("n_frames")
    known = count if isinstance(count, int) else None
    with run.stage("reading training frames", known) as advance:
        return training_frames(model, path, advance)


def _mapped(model: Model, path: Path, known: TrainingFrames, wishes: Wishes, run: Run) -> Mapped:
    """Mapped with the training frames, or with clusters in their place and without a grade."""
    chosen, draws = _chosen(model, path)
    tolerance = chosen.tolerance if wishes.tolerance is None else wishes.tolerance
    if wishes.draws is not None:
        asked = {"draws": wishes.draws}
        draws = read_fields(UncertaintySettings, asked, Place("forcemap map")).draws
    frames = known.frames
    if known.fault:
        rng = np.random.default_rng(1)
        frames = [random_cluster(model, rng) for _ in range(3 * RANDOM_CLUSTERS)]
    try:
        mapped = map_model(model, frames, tolerance, run.jobs, run.progress, chosen.soap)
        mapped = in_precision(mapped, frames, wishes.precision or chosen.precision)
        return with_deviations(mapped, model, frames, draws, run, not known.fault)
    except ForcemapError as error:
        raise ForcemapError(f"{path}: {error}") from None


def _chosen(model: Model, path: Path) -> tuple[MapSettings, int]:
    """How the model's settings want it mapped, and with how many draws."""
    place = Place(str(path), "settings.map")
    given = mapping(model.settings.get("map", {}), place, "tolerance: 1.0e-4")
    chosen = read_fields(MapSettings, given, place)
    place = Place(str(path), "settings.uncertainty")
    given = mapping(model.settings.get("uncertainty", {}), place, "draws: 16")
    return chosen, read_fields(UncertaintySettings, given, place).draws
