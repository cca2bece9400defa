"""Reading JSON documents from untrusted files, with errors that name the place.

Used by the readers of both model files. A :class:`DocumentView` goes along with a value and the
path that led to it, so that a wrong entry is reported as
``potential.forcemap: terms[1].cutoff: found the string '4', expected a number``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, NoReturn

from forcemap.potentials.errors import ModelFileError
from forcemap.potentials.quoting import printable, quoted

__all__ = ["MAX_DEPTH", "DocumentView", "parse_document"]

MAX_DEPTH = 64  #: arrays and objects within each other


def parse_document(text: str | bytes, what: str) -> Any:
    """Parse strict JSON: no NaN, no infinity, no duplicate names, at most MAX_DEPTH levels.

    Raises ModelFileError that begins with `what`.
    """

    def no_constant(word: str) -> NoReturn:
        raise ModelFileError(f"{what}: found {word}, expected finite numbers")

    def finite(digits: str) -> float:
        number = float(digits)
        if not math.isfinite(number):
            no_constant(digits[:60])
        return number

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ModelFileError(f"{what}: found the name {quoted(twice)} twice in one object")
        return members

    too_deep = f"{what}: found more than {MAX_DEPTH} arrays and objects within each other"
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")  # json.loads would also take UTF-16
        value = json.loads(
            text, parse_constant=no_constant, parse_float=finite, object_pairs_hook=unique
        )
    except RecursionError:
        raise ModelFileError(too_deep) from None
    except ValueError as error:  # also UnicodeDecodeError and integers with too many digits
        raise ModelFileError(f"{what}: this is not valid JSON: {printable(error, 200)}") from None
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for parent in level
            if isinstance(parent, (dict, list))
            for item in (parent.values() if isinstance(parent, dict) else parent)
        ]
    if any(isinstance(item, (dict, list)) for item in level):
        raise ModelFileError(too_deep)
    return value


class DocumentView:
    """A JSON value and where it stands. Getters raise ModelFileError for another kind of value."""

    def __init__(self, value: Any, what: str, path: str = "") -> None:
        self.value = value
        self.what = what
        self.path = path

    def reject(self, message: str) -> NoReturn:
        """Raise ModelFileError with the file and the place in front of `message`."""
        raise ModelFileError(f"{self.what}: {self.path or 'the document'}: {message}")

    def __getitem__(self, name: str) -> DocumentView:
        """Return the member `name` of an object, which is required."""
        members = self.members()
        if name not in members:
            self.reject(f"found no entry {quoted(name)}, which is required")
        return DocumentView(members[name], self.what, f"{self.path}.{name}" if self.path else name)

    def __contains__(self, name: object) -> bool:
        return name in self.members()

    def __iter__(self) -> Iterator[DocumentView]:
        """Iterate over the items of an array."""
        if not isinstance(self.value, list):
            self.reject(f"found {self.description()}, expected an array")
        for index, item in enumerate(self.value):
            yield DocumentView(item, self.what, f"{self.path}[{index}]")

    def items(self) -> list[DocumentView]:
        """Views of an array's items."""
        return list(self)

    def members(self) -> dict[str, Any]:
        """The members of an object."""
        if not isinstance(self.value, dict):
            self.reject(f"found {self.description()}, expected an object")
        return self.value

    def string(self) -> str:
        """The value, a string."""
        if not isinstance(self.value, str):
            self.reject(f"found {self.description()}, expected a string")
        return self.value

    def boolean(self) -> bool:
        """The value, true or false."""
        if not isinstance(self.value, bool):
            self.reject(f"found {self.description()}, expected true or false")
        return self.value

    def number(self) -> float:
        """The value, a finite number."""
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float)):
            self.reject(f"found {self.description()}, expected a number")
        try:
            return float(self.value)
        except OverflowError:
            self.reject("found an integer that is out of range, expected a number")

    def integer(self, smallest: int, largest: int) -> int:
        """The value, an integer in [smallest, largest]."""
        if type(self.value) is not int or not smallest <= self.value <= largest:
            self.reject(
                f"found {self.description()}, expected an integer from {smallest} to {largest}"
            )
        return self.value

    def allow_only(self, *names: str) -> None:
        """Raise ModelFileError unless this is an object with no member but `names`."""
        for name in self.members():
            if name not in names:
                self.reject(
                    f"found the unknown entry {quoted(name)}, expected only {', '.join(names)}"
                )

    def description(self) -> str:
        """What the value is, for a message."""
        match self.value:
            case None:
                return "null"
            case bool():
                return str(self.value).lower()
            case str():
                return f"the string {quoted(self.value)}"
            case list():
                return f"an array of {len(self.value)}"
            case dict():
                return "an object"
            case int() if abs(self.value) > 2**63:
                return "an integer that is out of range"
            case _:
                return repr(self.value)
