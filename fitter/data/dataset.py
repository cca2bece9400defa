"""Frames with their labels: extended XYZ, read through ASE, to checked arrays.

Labels are found where ASE puts them (a calculator, ``info`` or ``arrays``), under the names that
the settings give. Frames are counted from 0, as ASE's index does. Whatever a user's file can get
wrong is told here, once, with the file and the frame.
"""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from forcemap.fitter.data.comment_line import name_elements, parse_comment
from forcemap.fitter.data.frame import Frame, FrameSigma, data_hash
from forcemap.fitter.data.frame_sigmas import FrameSigmas, warn_of_unread
from forcemap.fitter.data.label_checks import check_labels
from forcemap.fitter.data.label_keys import LabelNames, read_keys
from forcemap.fitter.data.labels import FramePlace, Labels
from forcemap.fitter.data.settings import Keys, SigmaSettings, Source
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.data.xyz_faults import fault_of
from forcemap.potentials.errors import ForcemapError

__all__ = [
    "Frame",
    "FrameSigma",
    "data_hash",
    "read_frames",
]

NEAREST = 0.1
"""Å; a small range to look for atoms that are in the same place."""

_READ_FAULTS = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    AssertionError,
)
"""What ASE's reader raises on malformed text."""


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


def _read_source(
    source: Source, keys: Keys, sigma: SigmaSettings, require_labels: bool
) -> list[Frame]:
    structures = list(_read_structures(source))
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
    """Whatever a neighbour list cannot take is told now, not in the midst of a fit."""
    try:
        Structure(frame, NEAREST)
    except ForcemapError as error:
        place.fail(str(error))


# ----- reading through ASE -----


def _read_structures(source: Source) -> Iterator[tuple[int, Any]]:
    """ASE's Atoms of the selected frames with their numbers in the file."""
    from ase.io.extxyz import read_xyz

    count = _count_frames(source.path)
    selection = source.selection(count)
    selected = range(count)[selection]
    if not selected:
        raise ForcemapError(
            f'{source.path}: index "{source.index}" selects none of its {count} frames '
            f"(0 to {count - 1})"
        )
    isotopes = False
    with _open_text(source.path) as file:
        structures = iter(read_xyz(file, index=selection, properties_parser=parse_comment))
        for index in selected:
            try:
                atoms = next(structures)
                isotopes |= name_elements(atoms)
                yield index, atoms
            except StopIteration:
                raise ForcemapError(f"{source.path}: changed while it was read") from None
            except _READ_FAULTS as error:
                with _open_text(source.path) as again:
                    fault = fault_of(again, index)
                FramePlace(str(source.path), index).fail(
                    fault or f"cannot be read as extended XYZ: {type(error).__name__}: {error}"
                )
    if isotopes:
        warnings.warn(
            f"{source.path}: D and T are read as H: energies do not depend on masses", stacklevel=5
        )


def _open_text(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return cast("IO[str]", gzip.open(path, "rt", encoding="utf-8"))
    return path.open(encoding="utf-8")


def _count_frames(path: Path) -> int:
    """Number of frames; ASE stops without a word at an empty line, this does not."""
    count = 0
    number = 0
    try:
        with _open_text(path) as file:
            while line := file.readline():
                number += 1
                if not line.strip():
                    if any(rest.strip() for rest in file):
                        raise ForcemapError(
                            f"{path}: line {number} is empty where the number of atoms of frame "
                            f"{count} should stand; remove the line"
                        )
                    break
                if not line.strip().isdecimal() or int(line) == 0:
                    raise ForcemapError(
                        f"{path}: line {number}: found {line.strip()[:40]!r} where the number of "
                        f"atoms of frame {count} should stand; is this extended XYZ?"
                    )
                atoms = int(line)
                for _ in range(atoms + 1):
                    number += 1
                    if not file.readline():
                        raise ForcemapError(
                            f"{path}: ends within frame {count}, which should have {atoms} atoms"
                        )
                count += 1
    except FileNotFoundError:
        raise ForcemapError(f"{path}: no such file") from None
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ForcemapError(f"{path}: cannot be read: {reason}") from None
    except UnicodeDecodeError:
        raise ForcemapError(
            f"{path}: is not a text file; frames are read as extended XYZ"
        ) from None
    if count == 0:
        raise ForcemapError(f"{path}: holds no frames")
    return count
