"""Writes a file completely or not at all, into an existing folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from forcemap.potentials.part_file import part_file, writing

__all__ = ["check_writable", "make_folder", "new_folder", "replacing", "write_whole"]


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A path beside `path` to write to; it takes the place of `path` when the block ends well.

    Raises ForcemapError if the file cannot be written.
    """
    with writing(path), part_file(path) as part:
        yield part


def write_whole(path: str | Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all. Raises ForcemapError if it cannot be written."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def check_writable(path: str | Path) -> None:
    """See that a file can be written to `path`, before work is done for it.

    Raises ForcemapError if it cannot.
    """
    _check_folder(Path(path).parent, Path(path))


def make_folder(path: str | Path) -> None:
    """Make a folder with its parents, and see that files can be written into it.

    Raises ForcemapError if it cannot be made or written.
    """
    path = Path(path)
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    _check_folder(path, path)


def _check_folder(folder: Path, named: Path) -> None:
    with writing(named), tempfile.TemporaryFile(dir=folder):
        pass


@contextmanager
def new_folder(path: str | Path) -> Iterator[None]:
    """`make_folder`; folders that are empty when the block fails are removed again."""
    path = Path(path)
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    make_folder(path)
    try:
        yield
    except BaseException:
        with suppress(OSError):
            for folder in made:
                folder.rmdir()
        raise
