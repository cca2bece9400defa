"""Addition of frames to a fit with files: read them, grow the process, write the files anew."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from forcemap.fitter.addition.growth import check_addable, grown, left_out_of
from forcemap.fitter.config import Settings, Source
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.frame import Frame, data_hash
from forcemap.fitter.data.sources import known_count
from forcemap.fitter.fitting import Fitted
from forcemap.fitter.job import FitData, made_in_folder
from forcemap.fitter.process.data_checks import warn_of_known_frames
from forcemap.fitter.process.model import Model
from forcemap.fitter.process.model_file import read_model
from forcemap.fitter.process.provenance import settings_of, training_frames
from forcemap.fitter.sharing.run import Run
from forcemap.potentials.errors import ForcemapError, ModelFileError

__all__ = ["add_to_folder"]


def add_to_folder(
    path: Path, added: Sequence[Source], out: Path, run: Run | None = None
) -> dict[str, Any]:
    """Add frames to the fit of a model file, without starting over; returns the report.

    The files written into the folder `out`, together, are those of `job.fit_to_folder`; settings.yaml
    names the added files behind the others, so that a fit of it sees the same data. Hyperparameters,
    energies of isolated atoms and the repulsion stay those of the model.

    The frame files of the fit so far are read for the report and the map. If they are missing or have
    changed, the new frames alone serve (UserWarning), unless there are new sparse points, which need
    the old frames. `leave_one_out` of the report is of the new frames, since rows of the others are
    not formed again.

    Raises:
        ForcemapError: model, frames or the folder cannot be used; nothing is written.
    """
    run = run or Run()
    model = read_model(path)
    settings = settings_of(model, path)
    known = {(source.path.resolve(), source.index) for source in settings.data.train}
    for source in added:
        if (source.path.resolve(), source.index) in known:
            raise ForcemapError(
                f"{source.path}: is among the training files of {path} already; its frames would "
                "count twice"
            )
    with run.stage("reading new frames", partial(known_count, added)) as advance:
        new = read_frames(added, settings.data.keys, settings.sigma, advance=advance)
    _named(path, model, new)
    whole = replace(settings, data=replace(settings.data, train=(*settings.data.train, *added)))

    def made() -> tuple[FitData, Fitted]:
        former = _Former.read(settings, model, path, run)
        warn_of_known_frames(former.train, new)
        data = FitData.of([*former.train, *new], former.test, run)
        if not former.is_whole:
            data = replace(data, is_whole=False)
            warnings.warn(
                f"{former.fault}; errors and map rest on the new frames, and the potential has no "
                "grade",
                stacklevel=2,
            )
        larger = grown(model, new, former.required, run)
        for line in _changes(model, larger):
            run.note(line)
        larger = replace(larger, settings=whole.to_dict(), data=former.data_of(larger, new))
        left_out = left_out_of(larger, new, run)
        return data, Fitted(larger, left_out, settings=whole, sigma_factors=())

    return made_in_folder(whole, out, run, made)


def _named(path: Path, model: Model, new: Sequence[Frame]) -> None:
    """Run the model's own check, whose errors name its file, and `check_addable`."""
    try:
        model.check()
    except ForcemapError as error:
        raise ModelFileError(f"{path}: {error}") from None
    check_addable(model, new)


@dataclass(frozen=True)
class _Former:
    """The frames of the fit so far; none if its files no longer have them."""

    train: list[Frame]
    test: list[Frame]
    fault: str = ""

    @classmethod
    def read(cls, settings: Settings, model: Model, path: Path, run: Run) -> _Former:
        keys, sigma = settings.data.keys, settings.sigma
        test: list[Frame] = []
        count = partial(known_count, (*settings.data.train, *settings.data.test))
        with run.stage("reading frames", count) as advance:
            try:
                test = read_frames(settings.data.test, keys, sigma, advance=advance)
            except ForcemapError as error:
                return cls([], test, f"the frames of {path} cannot be read: {error}")
            known = training_frames(model, path, advance)
        return cls(list(known.frames), test, known.fault)

    @property
    def is_whole(self) -> bool:
        return not self.fault

    def required(self) -> list[Frame]:
        """The training frames. Raises ForcemapError if they are not there."""
        if self.fault:
            raise ForcemapError(
                f"{self.fault}; new sparse points need them: put them back where they were, or fit anew"
            )
        return self.train

    def data_of(self, model: Model, new: Sequence[Frame]) -> dict[str, Any]:
        """The model's description of its data, with the hash of all frames."""
        return {**model.data, "hash": data_hash([*self.train, *new]) if self.is_whole else ""}


def _changes(before: Model, after: Model) -> list[str]:
    """Lines on the changes of the model."""
    points = len(after.weights) - len(before.weights)
    beside = f", {points:,} new sparse points" if points else ", no new sparse points"
    frames = after.data["n_frames"] - before.data["n_frames"]
    return [
        f"{frames:,} frames added to {before.data['n_frames']:,}{beside}; hyperparameters, energies of "
        "isolated atoms, the repulsion and the calibration of deviations stay as they were"
    ]
