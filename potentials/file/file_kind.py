"""What a file is, for messages about one that was given in place of another, or is missing."""

from __future__ import annotations

import difflib
import os
import stat
from pathlib import Path

from forcemap.potentials import _core

__all__ = ["FRAMES", "HEAD_BYTES", "kind_of_file", "near_name"]

FRAMES = "a file of frames (XYZ)"
"""Kind of a text that begins with a number of atoms."""

HEAD_BYTES = 4096
"""From the beginning of a file; the core's guess needs no more."""


def kind_of_file(path: str | os.PathLike[str]) -> str:
    """What stands at `path`, by its first bytes, with the article: ``a file of frames (XYZ)``.

    Raises OSError if it cannot be looked at.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        return "a folder"
    if not stat.S_ISREG(mode):  # opening a pipe would wait for its writer
        return "not a regular file"
    with open(path, "rb") as file:
        return _core.describe_content(file.read(HEAD_BYTES))


def near_name(path: str | os.PathLike[str]) -> str:
    """``; did you mean "train.xyz"?`` for a missing file with a neighbour of nearly its name, or ""."""
    wanted = Path(path)
    try:
        names = sorted(entry.name for entry in os.scandir(wanted.parent))
    except OSError:
        return ""
    by_lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(wanted.name.lower(), by_lower, n=1, cutoff=0.75)
    return f'; did you mean "{wanted.parent / by_lower[close[0]]}"?' if close else ""
