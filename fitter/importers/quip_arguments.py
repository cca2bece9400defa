"""QUIP's argument strings: ``soap cutoff=4.5 species_Z={8 6} normalise=T``.

A string is a list of words and of names with values, in any order. Braces and quotes hold values
together, and may be nested; a name alone stands for true. Names do not depend on case, and of a name
that is given twice the last counts, as in QUIP. Nothing here knows which names there are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn, TypeVar

from forcemap.fitter.checked import nearest
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.quoting import QUOTED, printable, quoted

__all__ = ["Argument", "Arguments", "bare_text", "parse_arguments", "parts_of", "same_value"]

_T = TypeVar("_T")

TRUE = frozenset({"t", "true", "y", "yes", "on", "1"})
FALSE = frozenset({"f", "false", "n", "no", "off", "0"})

LONGEST = 1_000_000
"""Characters of a string; a command of gap_fit has some thousands."""

DEEPEST = 20
"""Nested braces around names or a value; real ones have two."""

_CLOSING = {"{": "}", '"': '"', "'": "'"}
_BRACE = re.compile("[{}]")
_WHOLE = re.compile(r"[+-]?\d+")
_REAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([edED][+-]?\d+)?")
_BEFORE_NAME = re.compile(r"\s*[A-Za-z_]\w*\s*=")


@dataclass(frozen=True)
class Argument:
    """A name with its value.

    Attributes:
        name: as the string spells it.
        text: the value without the braces or quotes around it; None for a name alone.
        at: the first character's place in the string, from 1.
    """

    name: str
    text: str | None
    at: int


class Arguments(Mapping[str, str]):
    """The arguments of one string: texts by name, in lower case; "T" for a name alone.

    The readers of numbers and truths raise ForcemapError, with the origin, name, value and place.

    Attributes:
        origin: begins messages, such as a file's name; may be "".
        given: all arguments in their order, repeated names included.
        stray: places of closing braces that close nothing, from 1; published GAPs have some.
    """

    def __init__(
        self,
        given: tuple[Argument, ...],
        origin: str,
        stray: tuple[int, ...] = (),
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        self.origin = origin
        self.given = given
        self.stray = stray
        names = {} if aliases is None else aliases
        keys = (names.get(argument.name.lower(), argument.name.lower()) for argument in given)
        self._last = dict(zip(keys, given, strict=True))

    def with_aliases(self, aliases: Mapping[str, str]) -> Arguments:
        """The same arguments under the names that `aliases` gives for others, all in lower case."""
        return Arguments(self.given, self.origin, self.stray, aliases)

    def __getitem__(self, name: str) -> str:
        text = self._last[name.lower()].text
        return "T" if text is None else text

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._last

    def __iter__(self) -> Iterator[str]:
        return iter(self._last)

    def __len__(self) -> int:
        return len(self._last)

    @property
    def words(self) -> tuple[str, ...]:
        """The names without a value, as they are spelled."""
        return tuple(argument.name for argument in self.given if argument.text is None)

    def argument(self, name: str) -> Argument:
        """The argument that counts of a name. Raises KeyError if there is none."""
        return self._last[name.lower()]

    def last_of(self, *names: str) -> str | None:
        """Which of several names for one thing counts: the last in the string; None without any."""
        own = {name.lower() for name in names}
        return next((a.name.lower() for a in reversed(self.given) if a.name.lower() in own), None)

    def kind(self, known: Collection[str]) -> str:
        """The one of the `known` words that the string names, such as the kind of a descriptor.

        Raises ForcemapError if it names none of them, or several.
        """
        found = [word for word in known if word in self and self.truth(word)]
        if len(found) == 1:
            return found[0]
        if found:
            self.fail(f"names {' and '.join(found)} together; keep one of them")
        if not self.words:
            self.fail(f"names no kind; known are {', '.join(known)}")
        self.fail(f"{quoted(self.words[0])} is unknown{nearest(self.words[0], known)}")

    # ----- values -----

    def number(self, name: str, default: float | None = None) -> float:
        """A real number. Without a default, a missing name is an error."""
        return self._value(name, default, _number, "a number")

    def integer(self, name: str, default: int | None = None) -> int:
        """A whole number."""
        return self._value(name, default, _integer, "a whole number")

    def truth(self, name: str, default: bool | None = None) -> bool:
        """True or false, in any of the spellings T, .true., yes, 1 and their opposites."""
        return self._value(name, default, _truth, "true or false (T, F)")

    def numbers(self, name: str, default: tuple[float, ...] | None = None) -> tuple[float, ...]:
        """The real numbers of a list such as {0.5 0.5}; braces may be nested."""
        return self._value(name, default, lambda text: _all(text, _number), "a list of numbers")

    def integers(self, name: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """The whole numbers of a list such as {8 6}; braces may be nested."""
        what = "a list of whole numbers"
        return self._value(name, default, lambda text: _all(text, _integer), what)

    def rows(self, name: str, width: int) -> list[tuple[str, ...]]:
        """The rows of a table such as {C:-0.16:O:0.}, `width` texts each; none without the name.

        Colons separate all texts; where that leaves an incomplete row, spaces do so, too.
        """
        if name not in self:
            return []
        text = bare_text(self[name]).replace("{", " ").replace("}", " ")
        texts = [part.strip() for part in text.strip().strip(":").split(":")]
        if len(texts) % width or not all(texts):
            texts = [part for part in re.split(r"[:\s]+", text) if part]
        if len(texts) % width:
            rest = ":".join(texts[-(len(texts) % width) :])
            self.fail_at(
                name, f"has {len(texts)} values, not a multiple of {width}; {quoted(rest)} remains"
            )
        return [tuple(texts[i : i + width]) for i in range(0, len(texts), width)]

    def _value(
        self, name: str, default: _T | None, read: Callable[[str], _T | None], what: str
    ) -> _T:
        if name not in self:
            if default is None:
                self.fail(f"{name} is missing; give {name}= and its value")
            return default
        found = read(self[name])
        if found is None:
            self.fail_at(name, f"is not {what}")
        return found

    # ----- messages -----

    def fail_at(self, name: str, text: str) -> NoReturn:
        """Raise ForcemapError about the value of a name."""
        shown = printable(self.shown(name), 2 * QUOTED)
        self.fail(f"{shown} (character {self.argument(name).at}) {text}")

    def shown(self, name: str) -> str:
        """The name as it is spelled, with its value if it has one."""
        argument = self.argument(name)
        return argument.name if argument.text is None else f"{argument.name}={argument.text}"

    def fail(self, text: str) -> NoReturn:
        """Raise ForcemapError about the string."""
        raise ForcemapError(f"{self.origin}: {text}" if self.origin else text)


def parse_arguments(text: str, origin: str = "") -> Arguments:
    """The arguments of a string.

    Closing braces that close nothing are left out (and named by `Arguments.stray`).

    Raises:
        ForcemapError: a brace or a quote is not closed, a value has no name, or the text is not one
            of arguments.
    """
    return _Reader(text, origin).read()


def parts_of(text: str, origin: str = "") -> list[tuple[str, int]]:
    """The parts between colons outside of braces and quotes, with their places from 1; none is empty.

    This separates the descriptors of gap_fit's ``gap={distance_2b ... : soap ...}``.
    """
    reader = _Reader(text, origin)
    parts = []
    start = place = 0
    while place <= len(text):
        if place == len(text) or text[place] == ":":
            part = text[start:place]
            if part.strip(" \t\n\r}"):
                parts.append((part.strip(), start + len(part) - len(part.lstrip()) + 1))
            start = place = place + 1
        elif text[place] in _CLOSING:
            place = reader.end_of(place)
        else:
            place += 1
    return parts


def bare_text(text: str) -> str:
    """A value without all the braces and quotes around it, ``{{8 8}}``: ``8 8``."""
    text = text.strip()
    for _ in range(DEEPEST):
        if len(text) < 2 or _CLOSING.get(text[0]) != text[-1] or _end_of(text, 0) != len(text):
            break
        text = text[1:-1].strip()
    return text


def _end_of(text: str, place: int) -> int:
    """The place after the end of what the character at `place` opens; 0 if nothing closes it."""
    if text[place] != "{":
        return text.find(text[place], place + 1) + 1
    depth = 0
    for brace in _BRACE.finditer(text, place):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.end()
    return 0


class _Reader:
    """Reads a string from left to right."""

    def __init__(self, text: str, origin: str) -> None:
        self.text = text
        self.origin = origin
        self.given: list[Argument] = []
        self.stray: list[int] = []

    def fail(self, text: str) -> NoReturn:
        raise ForcemapError(f"{self.origin}: {text}" if self.origin else text)

    def read(self) -> Arguments:
        if len(self.text) > LONGEST:
            self.fail(f"has {len(self.text)} characters, too many for arguments ({LONGEST})")
        self._read_between(0, len(self.text), 0)
        return Arguments(tuple(self.given), self.origin, tuple(self.stray))

    def _read_between(self, start: int, end: int, depth: int) -> None:
        while (place := self._after_space(start, end)) < end:
            start = self._one(place, end, depth)

    def _one(self, place: int, end: int, depth: int) -> int:
        """Read what begins at `place`; return the place after it."""
        char = self.text[place]
        if char == "}":
            self.stray.append(place + 1)
            return place + 1
        if char == "=":
            self.fail(f"the = at character {place + 1} has no name before it; {self._near(place)}")
        if char in _CLOSING:  # quotes around a name and its value
            after = self.end_of(place)
            if depth == DEEPEST:
                self.fail(f"braces are nested too deep, {self._near(place)}")
            self._read_between(place + 1, after - 1, depth + 1)
            return after
        after = place
        while after < end and not (self.text[after].isspace() or self.text[after] in "={}\"'"):
            after += 1
        name = self.text[place:after]
        equals = self._after_space(after, end)
        if equals == end or self.text[equals] != "=":
            self.given.append(Argument(name, None, place + 1))
            return after
        text, after = self._value(equals + 1, end)
        self.given.append(Argument(name, text, place + 1))
        return after

    def _value(self, start: int, end: int) -> tuple[str, int]:
        """The value after an equals sign, and the place after it."""
        place = self._after_space(start, end)
        if place == end or (place > start and _BEFORE_NAME.match(self.text, place, end)):
            return "", start
        if self.text[place] in _CLOSING:
            after = self.end_of(place)
            return self.text[place + 1 : after - 1].strip(), after
        after = place
        while after < end and not (self.text[after].isspace() or self.text[after] == "}"):
            after = self.end_of(after) if self.text[after] in _CLOSING else after + 1
        return self.text[place:after], after

    def _after_space(self, place: int, end: int) -> int:
        while place < end and self.text[place].isspace():
            place += 1
        return place

    def end_of(self, place: int) -> int:
        """The place after the end of what the brace or the quote at `place` opens."""
        after = _end_of(self.text, place)
        if not after:
            opening = self.text[place]
            self.fail(
                f"no {_CLOSING[opening]} closes the {opening} at character {place + 1}, "
                f"{self._near(place)}; add it"
            )
        return after

    def _near(self, place: int) -> str:
        return f"near {quoted(self.text[max(0, place - 15) : place + 25])}"


def _number(text: str) -> float | None:
    text = bare_text(text)
    if not _REAL.fullmatch(text):
        return None
    value = float(text.lower().replace("d", "e"))
    return value if math.isfinite(value) else None


def _integer(text: str) -> int | None:
    text = bare_text(text)
    return int(text) if _WHOLE.fullmatch(text) and len(text) < 20 else None


def _truth(text: str) -> bool | None:
    word = bare_text(text).strip(".").lower()
    return True if word in TRUE or not word else False if word in FALSE else None


def _all(text: str, read: Callable[[str], _T | None]) -> tuple[_T, ...] | None:
    words = [word for word in re.split(r"[\s,{}]+", text) if word]
    found = tuple(value for value in map(read, words) if value is not None)
    return found if len(found) == len(words) else None


def same_value(text: str, other: str) -> bool:
    """Whether two values are the same number, truth or word, whatever their spelling.

    A list is the same as `other` if each of its values is.
    """
    for read in (_number, _truth):
        values = read(text), read(other)
        if None not in values:
            return values[0] == values[1]
    words = bare_text(text).split()
    if len(words) > 1:
        return all(same_value(word, other) for word in words)
    return bare_text(text).lower() == bare_text(other).lower()
