"""Text of others in messages: on one line, cut, and with nothing in it that moves a cursor.

Values, names and foreign errors may be of any length and hold any character; whatever a message
quotes of them goes through here.
"""

from __future__ import annotations

from reprlib import Repr

__all__ = ["QUOTED", "printable", "quoted"]

QUOTED = 60
"""Characters shown of a value."""

MESSAGE = 1500
"""Characters shown of a whole message."""

_REPR = Repr()
_REPR.maxlevel, _REPR.maxstring, _REPR.maxother, _REPR.maxlong = 3, QUOTED, QUOTED, QUOTED
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = 8


def quoted(value: object) -> str:
    """`value` as Python writes it, at most QUOTED characters of it; an ellipsis stands for the rest."""
    if isinstance(value, str | bytes):
        cut = value[:QUOTED]
        return repr(cut) if len(cut) == len(value) else f"{cut!r}…"
    try:
        text = _REPR.repr(value)
    except ValueError:  # an integer of more digits than Python converts
        return f"an object of the type {type(value).__name__}"
    return printable(text, QUOTED)


def printable(text: object, longest: int = MESSAGE) -> str:
    """`text` with control characters as escapes (but for ends of lines), cut after `longest`."""
    shown = str(text)
    cut = len(shown) > longest
    shown = shown[:longest]
    if not shown.isprintable():
        shown = "".join(
            c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode()
            for c in shown
        )
    return f"{shown}…" if cut else shown
