"""Frames with their labels: extended XYZ, or what else ASE reads, to checked arrays.

Labels are found where ASE puts them (a calculator, ``info`` or ``arrays``), under the names that
the settings give. Frames are counted from 0, as ASE's index does. This module reports every fault of a
user's file, once, with the file and the frame.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
from forcemap.fitter.data.frame import Frame, FrameSigma, data_hash
from forcemap.fitter.data.frame_sigmas import FrameSigmas, warn_of_unread
from forcemap.fitter.data.label_checks import check_labels
from forcemap.fitter.data.label_keys import LabelNames, read_keys
from forcemap.fitter.data.labels import FramePlace, Labels
from forcemap.fitter.data.raw_structure import RawStructure
from forcemap.fitter.data.settings import Keys, SigmaSettings, Source
from forcemap.fitter.data.sources import read_raw
from forcemap.fitter.data.structure import Structure
from forcemap.potentials.errors import ForcemapError

__all__ = [
    "Frame",
    "FrameSigma",
    "data_hash",
    "read_frames",
]

STEP = 50
"""Frames between two moves of a progress bar."""

NEAREST = 0.1
"""Å; a small range to look for atoms that are in the same place."""


def read_frames(
    sources: Iterable[Source],
    keys: Keys | None = None,
    sigma: SigmaSettings | None = None,
    *,
    require_labels: bool = True,
    advance: Callable[..., None] | None = None,
) -> list[Frame]:
    """Read the selected frames of all sources.

    Warns (UserWarning) about labels that will not be used. `advance` is called with numbers of frames
    as they are read, such as by `Progress.stage` for a total of `known_count(sources)`.

    Raises:
        ForcemapError: a file cannot be read, a frame or label is unusable, or (`require_labels`) a
            file has neither energies nor forces under `keys`.
    """
    keys = keys or Keys()
    sigma = sigma or SigmaSettings()
    frames: list[Frame] = []
    for source in sources:
        structures = list(_advancing(read_raw(source, keys), advance))
        frames += _labelled(source, structures, keys, sigma, require_labels)
    return frames


def _advancing(
    structures: Iterator[tuple[int, RawStructure]], advance: Callable[..., None] | None
) -> Iterator[tuple[int, RawStructure]]:
    """The same structures; `advance` is called at every STEPth, as a bar takes longer than a frame."""
    while some := list(islice(structures, STEP)):
        yield from some
        if advance is not None:
            advance(len(some))


def _labelled(
    source: Source,
    structures: Sequence[tuple[int, RawStructure]],
    keys: Keys,
    sigma: SigmaSettings,
    require_labels: bool,
) -> list[Frame]:
    """The frames of one file; raises ForcemapError for faults of its labels and structures."""
    path = str(source.path)
    names = read_keys(path, structures, keys, require_labels)
    reading = FrameSigmas(sigma, _for_sigmas(names, require_labels))
    frames = []
    open_with_stress = 0
    for index, atoms in structures:
        place = FramePlace(path, index)
        labels = Labels(atoms, names, place)
        frames.append(labels.frame(reading))
        _check_structure(frames[-1], place)
        open_with_stress += labels.has_stress and not np.all(atoms.pbc)
    if open_with_stress:
        warnings.warn(
            f"{source.path}: stress of {open_with_stress} frames is not used: they are not "
            "periodic in all three directions",
            stacklevel=3,
        )
    if require_labels:
        warn_of_unread(path, [atoms for _, atoms in structures], names.spelled)
        keys_of_stress = " and ".join(f'"{name}"' for name in (*names.stress, *names.virial))
        check_labels(path, frames, keys_of_stress)
    return frames


def _for_sigmas(names: LabelNames, require_labels: bool) -> Mapping[str, Sequence[str]]:
    """Keys that sigmas are read from; without a fit, gap_fit's names may mean anything."""
    if require_labels:
        return names.spelled
    return {low: keys for low, keys in names.spelled.items() if not low.endswith("_sigma")}


def _check_structure(frame: Frame, place: FramePlace) -> None:
    """Refuse now, not in the midst of a fit, a structure that no neighbour list can be made of."""
    try:
        Structure(frame, NEAREST)
    except ForcemapError as error:
        place.fail(str(error))
