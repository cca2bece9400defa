"""Where a model comes from: the settings and the data that its files name."""

from __future__ import annotations

from pathlib import Path

from forcemap.fitter.config import Settings
from forcemap.fitter.process.model import Model
from forcemap.fitter.sharing.fit_folder import identity_of

__all__ = ["settings_of"]


def settings_of(model: Model, path: Path) -> Settings:
    """The settings that the model in the file `path` was fitted with.

    Those beside it, whose paths are relative to their folder, where they are of the same fit; else
    those in the file itself.

    Raises:
        ForcemapError: the settings cannot be used.
    """
    beside = path.parent / "settings.yaml"
    if model.identity and beside.is_file() and identity_of(beside) == model.identity:
        return Settings.read(beside)
    return Settings.from_dict(dict(model.settings), path.parent, origin=f"{path}: settings")
