"""Numbers of things in sentences."""

from __future__ import annotations

__all__ = ["counted"]


def counted(number: int, noun: str, verb: str = "") -> str:
    """A number with its noun, and a verb that follows it if one is given.

    >>> counted(1, "frame", "have"), counted(3, "frame", "have")
    ('1 frame has', '3 frames have')
    """
    singular = {"have": "has", "are": "is", "": ""}[verb]
    text = f"{number} {noun}{'' if number == 1 else 's'}"
    return f"{text} {singular if number == 1 else verb}".rstrip()
