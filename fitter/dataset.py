"""Frames with their labels: extended XYZ, read through ASE, to checked arrays.

Labels are found where ASE puts them (a calculator, ``info`` or ``arrays``), under the names that
the settings give. Frames are counted from 0, as ASE's index does. Whatever a user's file can get
wrong is told here, once, with the file and the frame.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from forcemap.fitter.atomic_energies import atomic_energies
from forcemap.fitter.config import EnvironmentSettings, Keys, Settings, SigmaSettings, Source
from forcemap.fitter.frame import Frame, FrameSigma, data_hash
from forcemap.fitter.labels import FramePlace, Labels, keys_present
from forcemap.fitter.process import environments
from forcemap.fitter.settings_values import nearest
from forcemap.fitter.sources import read_structures
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.errors import ForcemapError

__all__ = [
    "Frame",
    "FrameSigma",
    "atomic_energies",
    "check_groups",
    "data_hash",
    "read_frames",
]

NEAREST = 0.1
"""Å; a small range to look for atoms that are in the same place."""


def read_frames(
    sources: Iterable[Source],
    keys: Keys | None = None,
    sigma: SigmaSettings | None = None,
    *,
    require_labels: bool = True,
) -> list[Frame]:
    """Read the selected frames of all sources.

    Warns (UserWarning) of labels that will not be used.

    Raises:
        ForcemapError: a file cannot be read, a frame or label is unusable, or (`require_labels`) a
            file has neither energies nor forces under `keys`.
    """
    keys = keys or Keys()
    sigma = sigma or SigmaSettings()
    frames: list[Frame] = []
    for source in sources:
        frames += _read_source(source, keys, sigma, require_labels)
    return frames


def check_groups(frames: Sequence[Frame], settings: Settings) -> None:
    """Warn (UserWarning) of every config_type with settings of its own that no frame has.

    Raises ForcemapError if a term's config_type_n_sparse ask for more points of a species than its
    n_sparse.
    """
    present = sorted({frame.config_type for frame in frames})
    named = {"sigma.config_type": list(settings.sigma.config_type)}
    for number, term in enumerate(settings.terms):
        if isinstance(term, EnvironmentSettings):
            place = f"terms[{number}].config_type_n_sparse"
            named[place] = list(term.config_type_n_sparse)
            _check_quotas(frames, term, place)
    for place, groups in named.items():
        for group in groups:
            if group not in present:
                warnings.warn(
                    f'{place}: no training frame has the config_type "{group}"'
                    f"{nearest(group, present)}",
                    stacklevel=2,
                )


def _check_quotas(frames: Sequence[Frame], term: EnvironmentSettings, place: str) -> None:
    quotas = term.config_type_n_sparse
    # Without frames of an element a group has none of its points.
    found = {(int(z), f.config_type) for f in frames if f.config_type in quotas for z in f.numbers}
    for z in sorted({number for number, _ in found}):
        symbol, asked = SYMBOLS[z], sum(n for g, n in quotas.items() if (z, g) in found)
        given = term.n_sparse
        count = given.get(symbol) if isinstance(given, Mapping) else given
        if count is not None and asked > count:
            raise ForcemapError(
                f"{place}: asks for {asked} sparse points of {symbol} in all, more than the {count} of "
                "n_sparse; raise n_sparse, or lower these"
            )


def _read_source(
    source: Source, keys: Keys, sigma: SigmaSettings, require_labels: bool
) -> list[Frame]:
    frames = []
    found: set[str] = set()
    open_with_stress = 0
    for index, atoms in read_structures(source, keys):
        found |= keys_present(atoms)
        place = FramePlace(str(source.path), index)
        labels = Labels(atoms, keys, place)
        frames.append(labels.frame(sigma))
        _check_structure(frames[-1], place)
        open_with_stress += labels.has_stress and not np.all(atoms.pbc)
    if open_with_stress:
        warnings.warn(
            f"{source.path}: stress of {open_with_stress} frames is not used: they are not "
            "periodic in all three directions",
            stacklevel=3,
        )
    present = sorted(found)
    if require_labels:
        _require_labels(source, frames, present, keys)
    _warn_of_others(source, frames, present, keys)
    return frames


def _check_structure(frame: Frame, place: FramePlace) -> None:
    """Whatever a neighbour list cannot take is told now, not in the midst of a fit."""
    try:
        environments(frame, NEAREST)
    except ForcemapError as error:
        place.fail(str(error))


def _require_labels(
    source: Source, frames: Sequence[Frame], present: Sequence[str], keys: Keys
) -> None:
    """Error if a file has no labels under `keys`; `present` are the keys that it has."""
    if all(frame.energy is None and frame.forces is None for frame in frames):
        raise ForcemapError(
            f'{source.path}: no frame has an energy under "{keys.energy}" or forces under '
            f'"{keys.forces}". Keys in this file: {", ".join(present) or "none"}. Name the right '
            "ones under data: keys: in the settings, such as {energy: REF_energy}"
        )


def _warn_of_others(
    source: Source, frames: Sequence[Frame], present: Sequence[str], keys: Keys
) -> None:
    """Warn if no frame has one kind of label, but others that may be it."""
    for label, key, found in (
        ("energy", keys.energy, any(frame.energy is not None for frame in frames)),
        ("force", keys.forces, any(frame.forces is not None for frame in frames)),
    ):
        like = [name for name in present if label in name.lower() and "sigma" not in name.lower()]
        if not found and like:
            warnings.warn(
                f'{source.path}: no {label} label under "{key}", so none is used; this file has '
                f"{', '.join(like)} (data: keys: in the settings names what to read, or --keys)",
                stacklevel=4,
            )
