"""Rows kept on disk while they are streamed, since they are needed again once the fit is solved.

Computing rows is most of a fit's work, and they do not all fit into memory. They go into one file
without a name, which disappears when the program ends, however it ends. Rows that are not in it (they
were summed up before the fit was interrupted and resumed, or the disk has no room) are computed again.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["KeptRows"]

Array = NDArray[np.float64]

ITEM = 8
"""Bytes of a number."""

SHARE_OF_DISK = 0.8
"""Of what is free on the disk, which others write to as well."""

USUAL_DISK = Path("/var/tmp")
"""Default folder without TMPDIR: /tmp is in memory on many machines."""


class KeptRows:
    """Blocks of rows in a file; threads may keep blocks and take them at the same time.

    Args:
        folder: folder of the file; by default one for temporary files.
        counts: numbers of rows of all blocks.
        columns: numbers of columns of all blocks.
        mine: numbers of the blocks that this rank will keep.

    Attributes:
        folder: folder of the file.
        bytes: size of all of these blocks.
        room: bytes that there is room for, up to `bytes`.
    """

    def __init__(
        self,
        folder: Path | None,
        counts: Sequence[int],
        columns: Sequence[int],
        mine: Sequence[int],
    ) -> None:
        self._places: dict[int, tuple[int, int, int]] = {}
        self._there: set[int] = set()
        self._file: int | None = None
        self.bytes = ITEM * sum(counts[number] * columns[number] for number in mine)
        self.room = 0
        self.folder = folder or _usual_folder()
        if not self.bytes:
            return
        try:
            disk = os.statvfs(self.folder)
            self._file, name = tempfile.mkstemp(prefix=".rows-", dir=self.folder)
            os.unlink(name)
        except OSError:  # no such folder on this machine, or no right to write: there is no room
            return
        budget = SHARE_OF_DISK * disk.f_bavail * disk.f_frsize
        for number in mine:
            size = ITEM * counts[number] * columns[number]
            if self.room + size > budget:
                break
            self._places[number] = (self.room, counts[number], columns[number])
            self.room += size

    @classmethod
    def none(cls) -> KeptRows:
        """An object that keeps nothing."""
        return cls(None, [], [], [])

    def __enter__(self) -> KeptRows:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def keep(self, number: int, rows: Array) -> None:
        """Keep the rows (count, columns) of a block, if there is room."""
        place = self._places.get(number)
        if self._file is None or place is None:
            return
        left, start = _as_bytes(np.ascontiguousarray(rows)), place[0]
        try:
            while len(left):
                written = os.pwrite(self._file, left, start)
                left, start = left[written:], start + written
        except OSError:  # no room any more: the block is computed again
            return
        self._there.add(number)

    def take(self, number: int) -> Array | None:
        """The rows of a block; None if they are not kept."""
        if self._file is None or number not in self._there:
            return None
        start, *shape = self._places[number]
        rows = np.empty(shape)
        left = _as_bytes(rows)
        try:
            while len(left):
                read = os.preadv(self._file, [left], start)
                if not read:
                    return None
                left, start = left[read:], start + read
        except OSError:
            return None
        return rows


def _as_bytes(rows: Array) -> Any:
    return rows.reshape(-1).view(np.uint8).data


def _usual_folder() -> Path:
    if "TMPDIR" not in os.environ and os.access(USUAL_DISK, os.W_OK):
        return USUAL_DISK
    return Path(tempfile.gettempdir())
