"""Keeps what an interrupted fit has summed up, so that ``--resume`` continues from there.

FORMAT. ``checkpoint-KEY-RANK-of-RANKS.safetensors`` in the output folder, one for each rank of an MPI
job: a safetensors file with ``counts`` (I64: blocks done, rows of each group) and, F64, for each group
K, ``gram_K``, ``gram_low_K``, ``vector_K`` and ``vector_low_K`` as in `solver.Accumulator` (matrices
column by column), at the end ``checksum`` (U64), the CRC-64/XZ of all bytes before it, and a JSON
object ``"forcemap"`` in ``__metadata__``. KEY is a hash of everything
the sums follow from: settings, frames, targets, sparse points and the version of the program.

A file is written under another name, brought to disk and renamed, so that a whole one exists at any
moment. Ranks sum up independently: their files need not be of the same moment.
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from os import fsync, replace
from pathlib import Path
from typing import Any

import numpy as np
from forcemap.fitter.solve.solver import Groups
from forcemap.potentials import _core
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.leaving import removed_when_ended
from forcemap.potentials.runs.log import DETAILS
from numpy.typing import NDArray

__all__ = ["Checkpoint", "fit_key"]

WRITING_SHARE = 20.0
"""Shortest time between two checkpoints, in units of the time that writing one takes."""

MOST_ROWS = 2**50
"""Larger than any count of a fit: a file with a larger one is damaged."""

PATTERN = "checkpoint-*-*-of-*.safetensors"


def fit_key(settings: Mapping[str, Any], frames: str, *arrays: NDArray[Any]) -> str:
    """Hash of what a fit's sums follow from, 16 hexadecimal digits.

    Args:
        settings: expanded settings; where the data are (`data`) does not count.
        frames: hash of the frames.
        arrays: sparse points, factors of their covariances, targets.
    """
    from forcemap import __version__

    asked = {name: value for name, value in settings.items() if name != "data"}
    digest = hashlib.blake2b(digest_size=8)
    digest.update(json.dumps([__version__, frames, asked], sort_keys=True).encode())
    for array in arrays:
        by_columns = array.flags.f_contiguous  # hashed without a copy: a factor may be large
        digest.update(repr((array.shape, array.dtype.str, by_columns)).encode())
        digest.update(np.ascontiguousarray(array.T if by_columns else array).data)
    return digest.hexdigest()


def _checksum(header: bytes, parts: Sequence[NDArray[Any]]) -> bytes:
    """The last 8 bytes of a checkpoint: a flipped bit would go into the fit unnoticed."""
    checksum = _core.crc64(np.frombuffer(header, dtype=np.uint8))
    for array in parts:
        checksum = _core.crc64(np.frombuffer(array.data.cast("B"), dtype=np.uint8), checksum)
    return checksum.to_bytes(8, "little")


class Checkpoint:
    """The checkpoint file of one rank's sums.

    Args:
        folder: the fit's output folder.
        resume: continue from the file that an interrupted fit has left.
        every: seconds between two writings, at least; 0: after every block.
        rank, size: this rank of how many.
    """

    def __init__(
        self, folder: Path, resume: bool = False, every: float = 30.0, rank: int = 0, size: int = 1
    ) -> None:
        self.folder = folder
        self.resume = resume
        self.every = every
        self.rank = rank
        self.size = size
        self._key = ""
        self._due = time.monotonic() + every
        self._broken = False
        self._kept = 0

    def left(self) -> str:
        """What an interrupted fit leaves for `--resume`, as a sentence; or ""."""
        if not self._kept or not self.path.exists():
            return ""
        return f"{self.path} holds the sums of {self._kept} blocks of frames."

    @property
    def path(self) -> Path:
        """The file, once `open` has been called for a fit."""
        return self.folder / f"checkpoint-{self._key}-{self.rank}-of-{self.size}.safetensors"

    def open(self, key: str) -> None:
        """Look for the file of the fit `key` (of `fit_key`).

        Warns (UserWarning) if no file can be resumed from, or one will not be used.

        Raises:
            ForcemapError: the only files to resume from are of another fit.
        """
        self._key = key
        files = sorted(path.name for path in self.folder.glob(PATTERN))
        same = [n for n in files if n.startswith(f"checkpoint-{key}-")]
        ours = [n for n in same if n.endswith(f"-of-{self.size}.safetensors")]
        if not self.resume:
            if files:
                warnings.warn(
                    f"{self.folder / files[0]}: an interrupted fit has left this; it is not used and "
                    "will be replaced (--resume continues an interrupted fit)",
                    stacklevel=2,
                )
        elif not files:
            warnings.warn(
                f"{self.folder}: holds no checkpoint of an interrupted fit; starting anew",
                stacklevel=2,
            )
        elif same and not ours:
            ranks = same[0].removesuffix(".safetensors").rpartition("-")[2]
            raise ForcemapError(
                f"{self.folder / same[0]}: written by a fit on {ranks} MPI rank(s), this one has "
                f"{self.size}; resume it with mpirun -n {ranks}, or start anew without --resume"
            )
        elif not ours:
            raise ForcemapError(
                f"{self.folder / files[0]}: is of another fit (settings, frames, sparse points or the "
                "version of forcemap differ); fit with what it was started with, or start anew "
                "without --resume"
            )

    def restore(self, data: Groups, blocks: int) -> int:
        """Fill `data` from the file; the number of blocks of rows (of `blocks`) that are in it.

        Raises:
            ForcemapError: the file is damaged.
        """
        if not self.resume or not self.path.exists():
            return 0
        header = self._header(data)
        counts = np.zeros(1 + len(data.members), dtype="<i8")
        parts: list[NDArray[Any]] = [counts, *(array for pair in data.sums for array in pair)]
        try:
            with self.path.open("rb") as file:
                whole = file.read(len(header)) == header and all(
                    file.readinto(part.data.cast("B")) == part.nbytes for part in parts
                )
                whole = whole and file.read() == _checksum(header, parts)
        except OSError as error:
            raise ForcemapError(f"{self.path}: {error.strerror or error}") from None
        finite = all(bool(np.isfinite(np.sum(part))) for part in parts[1:])
        possible = 0 < counts[0] <= blocks and bool(np.all((counts >= 0) & (counts < MOST_ROWS)))
        if not whole or not finite or not possible:
            raise ForcemapError(
                f"{self.path}: is damaged; remove it, or start anew without --resume"
            )
        data.counts = counts[1:]
        self._kept = int(counts[0])
        return self._kept

    def block_added(self, data: Groups, blocks: int) -> None:
        """Write the file if it is time to; `blocks` of rows are in `data`.

        Warns (UserWarning), once, if it cannot be written: the fit itself can still end well.
        """
        if self._broken or time.monotonic() < self._due:
            return
        start = time.monotonic()
        try:
            self._write(data, blocks)
        except OSError as error:
            self._broken = True
            warnings.warn(
                f"{self.path}: cannot be written: {error.strerror or error}; the fit goes on without "
                "checkpoints",
                stacklevel=2,
            )
        end = time.monotonic()
        self._due = end + max(self.every, WRITING_SHARE * (end - start) if self.every else 0.0)

    def keep(self, data: Groups, blocks: int) -> None:
        """Write the file now: the fit is being interrupted.

        `blocks` of rows are in `data`. If it cannot be written, an earlier one stays.
        """
        if blocks > self._kept and not self._broken:
            with suppress(OSError):
                self._write(data, blocks)

    def _write(self, data: Groups, blocks: int) -> None:
        part, header = self.path.with_suffix(".part"), self._header(data)
        counts = np.array([blocks, *data.counts], dtype="<i8")
        parts: list[NDArray[Any]] = [counts, *(array for pair in data.sums for array in pair)]
        try:
            with removed_when_ended(part), part.open("wb") as file:
                file.write(header)
                for array in parts:
                    file.write(array.data.cast("B"))
                file.write(_checksum(header, parts))
                file.flush()
                fsync(file.fileno())
                replace(part, self.path)
                self._kept = blocks
                DETAILS.debug("%s: sums of %d blocks of rows", self.path, blocks)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
        # Files of an earlier fit are of no more use, and may be large.
        for old in self.folder.glob(PATTERN):
            if not old.name.startswith(f"checkpoint-{self._key}-"):
                old.unlink(missing_ok=True)

    def _header(self, data: Groups) -> bytes:
        """Header of a safetensors file with the sums of `data`."""
        about = {"format": "forcemap.checkpoint", "version": 3, "fit": self._key}
        header: dict[str, Any] = {"__metadata__": {"forcemap": json.dumps(about)}}
        start = 0
        size, groups = data.size, len(data.members)
        tensors: list[tuple[str, str, list[int]]] = [("counts", "I64", [1 + groups])]
        for k in range(groups):
            tensors += [
                (f"gram_{k}", "F64", [size, size]),
                (f"gram_low_{k}", "F64", [size, size]),
                (f"vector_{k}", "F64", [size + 2]),
                (f"vector_low_{k}", "F64", [size + 2]),
            ]
        tensors.append(("checksum", "U64", [1]))
        for name, kind, shape in tensors:
            stop = start + 8 * int(np.prod(shape))
            header[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, stop]}
            start = stop
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    def remove(self) -> None:
        """Remove all ranks' files, and leftovers of writing them: the fit is finished."""
        for pattern in (PATTERN, PATTERN.replace(".safetensors", ".part")):
            for path in self.folder.glob(pattern):
                with suppress(OSError):
                    path.unlink()
