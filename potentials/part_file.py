"""Files that appear whole or not at all: written under another name beside it, then renamed.

The other name says which process writes: what a killed one has left is removed by the next writer of
the same file on that machine.
"""

from __future__ import annotations

import glob
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path

from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.leaving import removed_when_ended

__all__ = ["has_parts", "part_file", "remove_abandoned", "writing"]

SUFFIX = ".part"


@contextmanager
def writing(path: str | PathLike[str]) -> Iterator[None]:
    """Turn an OSError of the block into a ForcemapError: `path` cannot be written, and why."""
    try:
        yield
    except OSError as error:
        raise ForcemapError(f"{path}: cannot be written: {error.strerror or error}") from None


@contextmanager
def part_file(path: str | PathLike[str]) -> Iterator[Path]:
    """An empty file beside `path` to fill; it takes the place of `path` when the block ends well.

    Raises OSError if it cannot be written.
    """
    path = Path(path)
    remove_abandoned(path)
    token = f"{_host()}.{os.getpid()}.{secrets.token_hex(4)}"
    part = path.with_name(f".{path.name}.{token}{SUFFIX}")
    with removed_when_ended(part):
        try:
            part.open("xb").close()
            yield part
            part.replace(path)
        finally:
            with suppress(OSError):
                part.unlink()


def has_parts(path: Path) -> bool:
    """Whether a process is writing `path`, or was killed while it did."""
    return any(path.parent.glob(f".{glob.escape(path.name)}.*{SUFFIX}"))


def remove_abandoned(path: Path) -> None:
    """Remove what processes of this machine that have died have left beside `path`."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.{_host()}.*{SUFFIX}"):
        process = left.name.removesuffix(SUFFIX).split(".")[-2]
        if process.isdecimal() and not _lives(int(process)):
            with suppress(OSError):
                left.unlink()


def _host() -> str:
    return socket.gethostname().partition(".")[0][:32]


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # of another user
        pass
    return True
