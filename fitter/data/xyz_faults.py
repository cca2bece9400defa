"""Describes what is wrong with a frame of extended XYZ that ASE's reader rejects or would misread."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from forcemap.fitter.data.comment_line import ISOTOPES
from forcemap.fitter.data.xyz_frames import XyzFrame
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.quoting import quoted

__all__ = [
    "DEFAULT_PROPERTIES",
    "TRUTH",
    "Column",
    "columns_of",
    "fault_of_atoms",
    "fault_of_columns",
    "fault_of_comment",
    "fault_of_truth",
]

DEFAULT_PROPERTIES = "species:S:1:pos:R:3"
TRUTH = {"T": True, "F": False, "True": True, "False": False}
"""Truth values in columns; ASE takes anything else for false, QUIP some of it for true."""

POSITIONS = {"pos", "positions"}
ELEMENTS = {"species", "symbols", "Z", "numbers"}

_CLOSED = re.compile(
    r"""(?s)\\.|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\{(?:\\.|[^}\\])*\}|\[(?:\\.|[^\]\\])*\]"""
    r"""|[^\\"'{\[]+"""
)
"""Parts of a comment in which no quote or bracket stays open; ASE lets a backslash escape both."""

_PAIR = re.compile(r"""([^\s="']+)\s*=\s*(?:"([^"]*)"|'([^']*)'|\{([^}]*)\}|\[([^\]]*)\]|(\S+))""")
_COMMA = re.compile(r"\d,\d")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?")
_COMMA_NUMBER = re.compile(r"[+-]?\d+,\d+([eEdD][+-]?\d+)?")


class Column(NamedTuple):
    """A property of the atoms: its name, its type (R, I, S or L) and its number of columns."""

    name: str
    kind: str
    width: int


# ----- the comment -----


def fault_of_comment(
    frame: XyzFrame, scalars: Collection[str], *, whole: bool = False
) -> str | None:
    """What is wrong with a frame's comment as text, and its line; None if nothing is.

    `scalars`: keys whose values are single numbers. `whole`: check every key, which takes
    longer, and not only suspicious ones.
    """
    comment = frame.comment
    fault = _open_quote(comment)
    suspicious = _COMMA.search(comment) or "Properties=" not in comment or "Lattice=" not in comment
    if fault is None and "=" in comment and (whole or suspicious):
        fault = _fault_of_pairs(dict(_pairs(comment)), scalars)
    return fault and f"line {frame.line + 1}: {fault}"


def _open_quote(comment: str) -> str | None:
    at = 0
    while found := _CLOSED.match(comment, at):
        at = found.end()
    # Nothing is lost behind the last quote of free text, such as "it's a molecule".
    if "=" not in comment[at:]:
        return None
    return (
        f"the {comment[at]} before {quoted(comment[at + 1 :][:30])} is not closed, so the keys "
        "behind it would not be read; close or remove it"
    )


def _pairs(comment: str) -> Iterator[tuple[str, str]]:
    for found in _PAIR.finditer(comment):
        yield found[1], next(value for value in found.groups()[1:] if value is not None)


def _fault_of_pairs(pairs: Mapping[str, str], scalars: Collection[str]) -> str | None:
    for key, value in pairs.items():
        words = value.split()
        commas = [word for word in words if _COMMA_NUMBER.fullmatch(word)]
        numbers = commas + [word for word in words if _NUMBER.fullmatch(word)]
        # "1,5" may be two numbers: it is one where as many words as numbers are expected.
        if commas and len(numbers) == len(words) and (len(words) in (6, 9) or key in scalars):
            return f"{key}: {quoted(commas[0])}: a decimal comma? Write numbers with a point"
    lattice = next((value for key, value in pairs.items() if key.lower() == "lattice"), None)
    if lattice is not None:
        words = lattice.replace(",", " ").split()
        if len(words) != 9 or not all(_is_number(word, "R") for word in words):
            return f"Lattice is {quoted(lattice)}, expected nine numbers"
    return None


# ----- the columns -----


def fault_of_columns(frame: XyzFrame, info: Mapping[str, Any]) -> str | None:
    """What is wrong with the Properties among `info`, beside the columns of the first atom.

    Before anything is allocated for them: a line may claim any number of columns.
    """
    columns = columns_of(str(info.get("Properties", DEFAULT_PROPERTIES)))
    if isinstance(columns, str):
        return f"line {frame.line + 1}: {columns}"
    fault = _fault_of_count(frame.atoms[0].split(), columns)
    return fault and f"line {frame.line + 2}: {fault}"


def fault_of_atoms(frame: XyzFrame, info: Mapping[str, Any]) -> str | None:
    """The first line of an atom that does not fit its columns, and why; None if all are well."""
    columns = columns_of(str(info.get("Properties", DEFAULT_PROPERTIES)))
    if isinstance(columns, str):
        return f"line {frame.line + 1}: {columns}"
    for number, line in enumerate(frame.atoms, frame.line + 2):
        fault = _fault_of_atom(line.split(), columns)
        if fault:
            return f"line {number}: {fault}"
    return None


def fault_of_truth(frame: XyzFrame, info: Mapping[str, Any]) -> str | None:
    """What ASE takes for false among truth values though it may mean true; None if there is nothing."""
    columns = columns_of(str(info.get("Properties", DEFAULT_PROPERTIES)))
    if any(column.kind == "L" for column in columns if isinstance(column, Column)):
        return fault_of_atoms(frame, info)
    return None


@lru_cache(maxsize=64)
def columns_of(properties: str) -> tuple[Column, ...] | str:
    """The properties as columns, or what is wrong with them."""
    words = properties.split(":")
    if len(words) % 3:
        return (
            "Properties are not names, types and numbers of columns, such as "
            f"{DEFAULT_PROPERTIES}: {quoted(properties)}"
        )
    columns: list[Column] = []
    names: set[str] = set()
    for name, kind, count in zip(words[::3], words[1::3], words[2::3], strict=True):
        fault = _fault_of_property(name, kind, count)
        if fault or name in names:
            return fault or f"Properties name {quoted(name)} twice"
        names.add(name)
        columns.append(Column(name, kind, int(count)))
    if names.isdisjoint(ELEMENTS) or names.isdisjoint(POSITIONS):
        missing = "pos" if names.isdisjoint(POSITIONS) else "species"
        return f"Properties name no column {missing}, as {DEFAULT_PROPERTIES} does"
    return tuple(columns)


def _fault_of_property(name: str, kind: str, count: str) -> str | None:
    if not name:
        return "Properties have a column without a name"
    if kind not in ("R", "I", "S", "L"):
        return f"Properties give {quoted(name)} the type {quoted(kind)}, expected R, I, S or L"
    if not (count.isascii() and count.isdecimal() and len(count) <= 18 and int(count) > 0):
        return f"Properties give {quoted(name)} {quoted(count)} columns, expected a number from 1"
    expected = 3 if name in POSITIONS else 1 if name in ELEMENTS else int(count)
    if int(count) != expected:
        return f"Properties give {quoted(name)} {count} columns, expected {expected}"
    if name in POSITIONS and kind not in ("R", "I"):
        return f"Properties give {quoted(name)} the type {kind}, expected R"
    return None


def _fault_of_count(words: Sequence[str], columns: Sequence[Column]) -> str | None:
    # ASE ignores words beyond the last column.
    expected = sum(column.width for column in columns)
    if len(words) < expected:
        return f"found {len(words)} columns, expected the {expected} that Properties name"
    return None


def _fault_of_atom(words: Sequence[str], columns: Sequence[Column]) -> str | None:
    fault = _fault_of_count(words, columns)
    if fault:
        return fault
    kinds = ((name, kind) for name, kind, width in columns for _ in range(width))
    for word, (name, kind) in zip(words, kinds, strict=False):
        if name in ("species", "symbols") and word.capitalize() not in (*SYMBOLS, *ISOTOPES):
            return f"{quoted(word)} is not the symbol of an element"
        if kind == "L" and word not in TRUTH:
            return f"{quoted(word)} in the column of {name} is neither T nor F"
        if not _is_number(word, kind):
            comma = ": a decimal comma?" if _COMMA_NUMBER.fullmatch(word) else ""
            return f"{quoted(word)} in the column of {name} is not a number{comma}"
    return None


def _is_number(word: str, kind: str) -> bool:
    try:
        if kind in ("R", "I"):
            float(word) if kind == "R" else int(word)
    except ValueError:
        return False
    return True
