"""Segments of POSIX shared memory that i-PI made for its ``mode="shm"``.

``multiprocessing.shared_memory`` would do for reading, but before Python 3.13 it takes any process
that attaches to a segment for its owner: its resource tracker removes i-PI's segments when this
process ends. Here a segment is opened and mapped, and never removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import mmap
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from forcemap.potentials.errors import ForcemapError
from numpy.typing import NDArray

__all__ = ["KINDS", "NAME_PREFIX", "Segment", "announcement", "remove_left"]

KINDS = ("pos", "h", "ih", "pot", "force", "vir")
"""Contents of the six segments, in the order in which i-PI names them."""

NAME_PREFIX = b"ipi_shm_"

FOLDER = Path("/dev/shm")
"""Where Linux shows segments as files."""

_NAME = re.compile(r"ipi_shm_\w{1,80}", re.ASCII)  # no slash: a name from the wire is not trusted


class Segment:
    """One segment, mapped for reading and writing."""

    def __init__(self, name: str) -> None:
        """Attach to a segment.

        Raises:
            ForcemapError: it cannot be opened; i-PI may run on another machine or as another user.
        """
        if not _NAME.fullmatch(name):
            raise ForcemapError(f"the server sent {name!r} as the name of shared memory")
        self._name = name
        self._file = -1
        try:
            import _posixshmem  # what multiprocessing.shared_memory is built on

            self._file = _posixshmem.shm_open(f"/{name}", os.O_RDWR, mode=0o600)
            self._map = mmap.mmap(self._file, os.fstat(self._file).st_size)
        except (ImportError, OSError, ValueError) as error:
            self._close_file()
            raise ForcemapError(
                f"cannot use the server's shared memory {name}: {error}; the driver must run on "
                "i-PI's machine, in the same container: otherwise use <ffsocket mode='unix'> or "
                "'inet'"
            ) from error

    def identity(self) -> str:
        """Name and number of the segment; a later one of this name has another number."""
        return f"{self._name}:{os.fstat(self._file).st_ino}"

    def array(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """The segment's beginning as an array.

        Raises:
            ForcemapError: the segment is too small.
        """
        count = math.prod(shape)
        if 8 * count > len(self._map):
            raise ForcemapError(
                f"the server's shared memory {self._name} has {len(self._map)} bytes, "
                f"expected {8 * count}: does the template have other atoms than i-PI?"
            )
        return np.frombuffer(self._map, dtype=np.float64, count=count).reshape(shape)

    def claim(self) -> None:
        """Make sure that no other client was given this segment.

        i-PI names segments after the number of a file it has closed by then. Two clients that join
        while it has no work for them may get the same: it then replaces the first one's segments by
        the second one's, and a first client that had not yet attached would work for the second,
        while i-PI takes zeros from the segments that are gone. They still show as deleted files of
        i-PI's process; where that cannot be seen, a lock at least reveals the second client.

        Raises:
            ForcemapError: another client has it, or was to have it.
        """
        advice = (
            f"two clients were given the same shared memory, {self._name}{{}}: with mode='shm' use one "
            "client (and its --threads), or start the next one when the first is at work"
        )
        if os.fstat(self._file).st_nlink and self._replaces_another():
            raise ForcemapError(advice.format(""))
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ForcemapError(advice.format(", and results of this run may be wrong")) from None
        except OSError:
            pass  # a system that has no locks on shared memory

    def _replaces_another(self) -> bool:
        """Whether i-PI has removed an earlier segment of this name that it still uses; Linux only."""
        owner = self._name.split("_")[2]  # ipi_shm_<process>_<file>_<kind>
        files = f"/proc/{owner}/fd"
        try:
            numbers = os.listdir(files)
        except OSError:  # no /proc, or i-PI is in another container
            return False
        for number in numbers:
            with contextlib.suppress(OSError):
                if os.readlink(f"{files}/{number}") == f"/dev/shm/{self._name} (deleted)":
                    return True
        return False

    def close(self) -> None:
        """Detach."""
        # The map stays while an array uses it, and goes away with the array.
        with contextlib.suppress(BufferError):
            self._map.close()
        self._close_file()

    def _close_file(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def announcement(segments: Sequence[Segment]) -> str:
    """The line of a driver's log about the segments it works with; `remove_left` reads it."""
    return f"shared memory {' '.join(segment.identity() for segment in segments)}"


def remove_left(log: Path) -> list[str]:
    """Remove the segments left by an i-PI that was killed together with its helpers.

    i-PI removes its segments when it ends, and Python's resource tracker does when i-PI is killed
    alone. A segment is removed if the log announces it by name and number, it belongs to this user,
    and the process in its name does not use it any more: other i-PIs keep theirs, even one
    with the same process number.

    Args:
        log: of a driver (see `announcement`); it need not exist. No run may go on beside it.

    Returns:
        Names of the removed segments.
    """
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    removed = []
    for name, number in re.findall(rf"\b({_NAME.pattern}):(\d+)", text, re.ASCII):
        path = FOLDER / name
        with contextlib.suppress(OSError):
            state = path.stat()
            if (
                state.st_ino == int(number)
                and state.st_uid == os.geteuid()
                and not _is_mapped(name)
            ):
                path.unlink()
                removed.append(name)
    return removed


def _is_mapped(name: str) -> bool:
    """Whether the process that made a segment lives and uses it; True if that cannot be seen."""
    owner = name.split("_")[2]  # ipi_shm_<process>_<file>_<kind>
    try:
        maps = Path("/proc", owner, "maps").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return f"{FOLDER}/{name}" in maps
