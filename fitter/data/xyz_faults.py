"""Says what is wrong with a frame of extended XYZ that ASE's reader could not take."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from forcemap.fitter.data.comment_line import ISOTOPES
from forcemap.potentials.elements import SYMBOLS

__all__ = ["fault_of"]

PROPERTIES = re.compile(r'(?<!\S)Properties\s*=\s*"?([^"\s]+)', re.IGNORECASE)
DEFAULT_PROPERTIES = "species:S:1:pos:R:3"


def fault_of(file: Iterable[str], index: int) -> str | None:
    """The first line of frame `index` (from 0) that does not fit its columns, and why.

    `file`: lines of a file whose numbers of atoms are sound. None if the atoms' lines are well.
    """
    lines = enumerate(file, start=1)
    for _ in range(index):
        for _ in range(int(next(lines)[1]) + 1):
            next(lines)
    count = int(next(lines)[1])
    number, comment = next(lines)
    found = PROPERTIES.search(comment)
    columns = _columns(found[1] if found else DEFAULT_PROPERTIES)
    if columns is None:
        return f"line {number}: Properties are not names, types and numbers of columns"
    for _ in range(count):
        number, line = next(lines)
        fault = _fault_of_atom(line.split(), columns)
        if fault:
            return f"line {number}: {fault}"
    return None


def _columns(properties: str) -> list[tuple[str, str]] | None:
    """Name and type of every column; None if they cannot be told."""
    words = properties.split(":")
    if len(words) % 3 or not all(count.isdecimal() for count in words[2::3]):
        return None
    return [
        (name, kind)
        for name, kind, count in zip(words[::3], words[1::3], words[2::3], strict=True)
        for _ in range(int(count))
    ]


def _fault_of_atom(words: Sequence[str], columns: Sequence[tuple[str, str]]) -> str | None:
    # ASE ignores words beyond the last column.
    if len(words) < len(columns):
        return f"found {len(words)} columns, expected the {len(columns)} that Properties name"
    for word, (name, kind) in zip(words, columns, strict=False):
        if name == "species" and word not in SYMBOLS and word not in ISOTOPES:
            return f"{word[:40]!r} is not the symbol of an element"
        if kind in ("R", "I"):
            try:
                float(word) if kind == "R" else int(word)
            except ValueError:
                return f"{word[:40]!r} in the column of {name} is not a number"
    return None
