"""Fits potentials: frames and settings in, a Gaussian process and its map out.

>>> from forcemap.fitter import fit
>>> model = fit("settings.yaml")   # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forcemap.fitter.addition.job import add_to_folder
    from forcemap.fitter.config import Settings
    from forcemap.fitter.data.dataset import read_frames
    from forcemap.fitter.data.frame import Frame
    from forcemap.fitter.fitting import fit, fit_frames
    from forcemap.fitter.job import fit_to_folder
    from forcemap.fitter.mapping.map import map_model
    from forcemap.fitter.process.model import Model
    from forcemap.fitter.process.model_file import read_model, write_model

__all__ = [
    "Frame",
    "Model",
    "Settings",
    "add_to_folder",
    "fit",
    "fit_frames",
    "fit_to_folder",
    "map_model",
    "read_frames",
    "read_model",
    "write_model",
]

_HOME = {
    "Frame": "data.frame",
    "Model": "process.model",
    "Settings": "config",
    "add_to_folder": "addition.job",
    "fit": "fitting",
    "fit_frames": "fitting",
    "fit_to_folder": "job",
    "map_model": "mapping.map",
    "read_frames": "data.dataset",
    "read_model": "process.model_file",
    "write_model": "process.model_file",
}


def __getattr__(name: str) -> Any:
    # SciPy and ASE take a second to import; the command line's help need not wait for them.
    from importlib import import_module

    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
