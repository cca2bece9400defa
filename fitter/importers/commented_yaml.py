"""YAML with remarks: what a translation says about the lines that it writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import yaml
from forcemap.potentials.quoting import printable

__all__ = ["Entry", "comment", "rendered", "values_of"]

WIDTH = 100
"""Characters of a line, where words allow it."""


@dataclass(frozen=True)
class Entry:
    """A key with its value and remarks, or remarks alone.

    Attributes:
        key: "" for remarks alone.
        value: a plain value; a tuple of entries for a mapping of its own lines; a list of such tuples.
        remarks: sentences.
    """

    key: str = ""
    value: Any = None
    remarks: tuple[str, ...] = ()


def values_of(entries: Sequence[Entry]) -> dict[str, Any]:
    """The entries as nested dictionaries, lists and plain values."""
    return {entry.key: _plain(entry.value) for entry in entries if entry.key}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return values_of(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def rendered(entries: Sequence[Entry]) -> str:
    """The entries as YAML, with a remark beside its line where it fits and above it where not."""
    return "\n".join(_lines(entries, "")) + "\n"


def comment(text: str, indent: str = "") -> list[str]:
    """Lines of a comment; characters that would end one are shown as escapes."""
    shown = printable(" ".join(text.split()), 100_000)
    return wrap(
        shown,
        WIDTH,
        initial_indent=f"{indent}# ",
        subsequent_indent=f"{indent}#   ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _lines(entries: Sequence[Entry], indent: str) -> Iterator[str]:
    for entry in entries:
        if not entry.key:
            for remark in entry.remarks:
                yield from comment(remark, indent)
            continue
        line = f"{indent}{_scalar(entry.key)}:"
        nested = isinstance(entry.value, tuple) or _is_items(entry.value)
        line += "" if nested else f" {_scalar(entry.value)}"
        beside = comment("; ".join(entry.remarks)) if entry.remarks else []
        if len(beside) == 1 and len(line) + len(beside[0]) + 2 <= WIDTH:
            line += f"  {beside[0]}"
        else:
            for remark in entry.remarks:
                yield from comment(remark, indent)
        yield line
        if isinstance(entry.value, tuple):
            yield from _lines(entry.value, indent + "  ")
        elif nested:
            for item in entry.value:
                yield from _item(item, indent + "  ")


def _is_items(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, tuple) for item in value)


def _item(item: tuple[Entry, ...], indent: str) -> Iterator[str]:
    """Lines of a mapping in a list: a dash before its first key, remarks alone above."""
    before = [entry for entry in item if not entry.key][:1] if not item[0].key else []
    yield from _lines(before, indent)
    dashed = False
    for line in _lines(item[len(before) :], indent + "  "):
        if not dashed and not line.lstrip().startswith("#"):
            dashed = True
            yield f"{indent}- {line[len(indent) + 2 :]}"
        else:
            yield line


def _scalar(value: Any) -> str:
    """A plain value on one line."""
    text = yaml.safe_dump(
        value, default_flow_style=True, width=10**9, allow_unicode=True, sort_keys=False
    )
    return text.removesuffix("\n").removesuffix("\n...")
