"""The same settings in several sizes, which show what accuracy costs before one is chosen."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from forcemap.fitter.config import Settings
from forcemap.fitter.sharing.fit_folder import FILES, identity_of, put_together
from forcemap.fitter.terms.base import Size
from forcemap.potentials.errors import ForcemapError

__all__ = ["SIZES", "copy_files", "parse_sizes", "scaled"]


SIZES = {
    "small": Size(0.5, 2.0 / 3.0, 0.75),
    "medium": Size(1.0, 1.0, 1.0),
    "large": Size(2.5, 1.25, 4.0 / 3.0),
}


def parse_sizes(text: str) -> list[str]:
    """The names in "small,medium,large". Raises ForcemapError for others."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in SIZES:
            raise ForcemapError(f"--sizes: {name!r} is not one of {', '.join(SIZES)}")
    if not names or len(set(names)) != len(names):
        raise ForcemapError(f"--sizes: {text!r} is not a list such as small,medium,large")
    return names


def scaled(settings: Settings, name: str) -> Settings:
    """The settings in the size `name`; cutoffs and given parameters of kernels stay."""
    return replace(settings, terms=tuple(term.resized(SIZES[name]) for term in settings.terms))


def copy_files(settings: Settings, folder: Path, out: Path) -> None:
    """Copy the files of the fit of `settings` from `folder` to `out`, all together.

    Raises ForcemapError if one cannot be written.
    """
    with put_together(out) as part:
        for name in FILES:
            if name == "settings.yaml":  # whose paths are relative to where it is
                settings.dump(part / name, out, identity_of(folder / name) or "")
            elif (folder / name).exists():
                shutil.copyfile(folder / name, part / name)
