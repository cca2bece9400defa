"""Files of frames: ASE's structures of the selected frames, with their numbers in the file."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from forcemap.fitter.config import Source
from forcemap.fitter.labels import PRIVATE_PREFIX, FramePlace
from forcemap.fitter.xyz_faults import fault_of
from forcemap.potentials.errors import ForcemapError

__all__ = ["read_structures"]

_SPECIAL_KEY = re.compile(r"(?<!\S)(stress|virial)(?=\s*=)")

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


def read_structures(source: Source) -> Iterator[tuple[int, Any]]:
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
    with _open_text(source.path) as file:
        structures = iter(read_xyz(file, index=selection, properties_parser=_parse_comment))
        for index in selected:
            try:
                yield index, next(structures)
            except StopIteration:
                raise ForcemapError(f"{source.path}: changed while it was read") from None
            except _READ_FAULTS as error:
                with _open_text(source.path) as again:
                    fault = fault_of(again, index)
                FramePlace(str(source.path), index).fail(
                    fault or f"cannot be read as extended XYZ: {type(error).__name__}: {error}"
                )


def _parse_comment(line: str) -> dict[str, Any]:
    from ase.io.extxyz import key_val_str_to_dict

    return cast(
        "dict[str, Any]", key_val_str_to_dict(_SPECIAL_KEY.sub(rf"{PRIVATE_PREFIX}\1", line))
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
