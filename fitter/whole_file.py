"""Writes a file whole or not at all, into folders that are there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from forcemap.potentials.errors import ForcemapError

__all__ = ["make_folder", "replacing", "write_whole"]


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A path beside `path` to write to; it takes the place of `path` when the block ends well.

    Raises ForcemapError if the file cannot be written.
    """
    path = Path(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        part = Path(name)
        try:
            yield part
            umask = os.umask(0)
            os.umask(umask)
            part.chmod(0o666 & ~umask)  # mkstemp makes files that only their owner may read
            part.replace(path)
        finally:
            with suppress(FileNotFoundError):
                part.unlink()
    except OSError as error:
        raise ForcemapError(f"{path}: cannot be written: {error.strerror or error}") from None


def write_whole(path: str | Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all. Raises ForcemapError if it cannot be written."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def make_folder(path: str | Path) -> None:
    """Make a folder with its parents, and see that files can be written into it."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise ForcemapError(f"{path}: cannot be written: {error.strerror or error}") from None
