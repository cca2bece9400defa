"""Provenance of a model: the settings and the data named by its files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from forcemap.fitter.config import Settings
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.frame import Frame, data_hash
from forcemap.fitter.process.model import Model
from forcemap.fitter.sharing.fit_folder import identity_of
from forcemap.potentials.errors import ForcemapError

__all__ = ["TrainingFrames", "settings_of", "training_frames"]


def settings_of(model: Model, path: Path) -> Settings:
    """The settings that the model in the file `path` was fitted with.

    The settings.yaml beside it, whose paths are relative to their folder, is used if it is of the same
    fit; otherwise the settings in the file itself.

    Raises:
        ForcemapError: the settings cannot be used.
    """
    beside = path.parent / "settings.yaml"
    if model.identity and beside.is_file() and identity_of(beside) == model.identity:
        return Settings.read(beside)
    return Settings.from_dict(dict(model.settings), path.parent, origin=f"{path}: settings")


@dataclass(frozen=True)
class TrainingFrames:
    """The frames that a model was fitted to; none if its files no longer have them.

    Attributes:
        frames: all of the frames, or none.
        fault: the reason why there are none; empty if there are frames.
    """

    frames: Sequence[Frame]
    fault: str = ""


def training_frames(
    model: Model, path: Path, advance: Callable[..., None] | None = None
) -> TrainingFrames:
    """The frames named by the settings of the model in the file `path`, if they are unchanged.

    Their hash has to match the one in the model. Nothing is raised; `fault` describes any problem.
    `advance` is called with numbers of frames as they are read.
    """
    try:
        settings = settings_of(model, path)
        frames = read_frames(
            settings.data.train, settings.data.keys, settings.sigma, advance=advance
        )
    except ForcemapError as error:
        return TrainingFrames([], f"the frames of {path} cannot be read: {error}")
    if data_hash(frames) != model.data.get("hash"):
        names = ", ".join(str(source.path) for source in settings.data.train)
        return TrainingFrames([], f"the frames in {names} are not those that {path} was fitted to")
    return TrainingFrames(frames)
