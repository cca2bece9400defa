"""Checks of single values in the settings, and YAML read without its traps.

A reader takes a value and the place where it stands; it returns the checked value or raises a
ForcemapError that names the place, the value and what is allowed. It also carries what it takes as
a JSON schema, for editors. The settings' dataclasses (see `config`) derive from `Checked` and carry
one reader per field.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import itertools
import math
import re
import textwrap
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn, TypeAlias, TypeVar, cast

import yaml
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.file.file_kind import kind_of_file, near_name
from forcemap.potentials.quoting import QUOTED, printable, quoted

__all__ = [
    "ELEMENTS",
    "Checked",
    "CrossCheckError",
    "Place",
    "Reader",
    "choice",
    "either",
    "element",
    "field_docs",
    "integer",
    "load_yaml",
    "mapping",
    "name",
    "nearest",
    "nested",
    "number",
    "optional",
    "plain",
    "read_by",
    "read_fields",
    "reader",
    "schema_of",
    "yes_or_no",
]

_T = TypeVar("_T")


@dataclass(frozen=True)
class Place:
    """A place in the settings: the file (or "" for a Python caller) and the path of keys."""

    origin: str = ""
    path: str = ""
    folder: Path = Path()

    def key(self, name: object) -> Place:
        """The place of an entry of the mapping here."""
        shown = printable(name, QUOTED)
        return Place(self.origin, f"{self.path}.{shown}" if self.path else shown, self.folder)

    def item(self, index: int) -> Place:
        """The place of an entry of the list here."""
        return Place(self.origin, f"{self.path}[{index}]", self.folder)

    def fail(self, text: str) -> NoReturn:
        """Raise ForcemapError with the place before `text`."""
        place = ": ".join(part for part in (self.origin, self.path) if part)
        raise ForcemapError(f"{place}: {text}" if place else text)


Schema: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Reader:
    """A check of a value, and what it takes as a JSON schema (draft 2020-12).

    Attributes:
        read: takes a value and its place; raises ForcemapError.
        schema: made when it is asked for, since kinds of terms may be added until then.
    """

    read: Callable[[Any, Place], Any]
    schema: Callable[[], Schema]

    def __call__(self, value: Any, place: Place) -> Any:
        """The checked value."""
        return self.read(value, place)


def reader(
    schema: Schema | Callable[[], Schema],
) -> Callable[[Callable[[Any, Place], Any]], Reader]:
    """A function that makes a reader of the one that it decorates."""
    made = schema if callable(schema) else lambda: schema
    return lambda read: Reader(read, made)


def either(*schemas: Schema) -> Schema:
    """The schema of values that fit one of `schemas`."""
    return {"anyOf": list(schemas)}


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean "x"?`, or `; known are a, b, c` when nothing known is near `word`."""
    names = list(known)
    by_lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(word[:QUOTED].lower(), by_lower, n=1, cutoff=0.6)
    if close:
        return f'; did you mean "{by_lower[close[0]]}"?'
    return f"; known are {printable(', '.join(names), 300)}" if names else ""


def _as_float(value: Any) -> float:
    """`value` as a float, NaN if it is none; takes "1e-4", which YAML 1.1 calls a string."""
    if not isinstance(value, int | float | str) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def number(
    *, above: float = -math.inf, at_least: float = -math.inf, at_most: float = math.inf
) -> Reader:
    """Reader of a finite float within bounds."""
    limits = [
        text
        for text, given in (
            (f"above {above:g}", above > -math.inf),
            (f"at least {at_least:g}", at_least > -math.inf),
            (f"at most {at_most:g}", at_most < math.inf),
        )
        if given
    ]
    allowed = " ".join(["a number", " and ".join(limits)]).strip()
    bounds = {"exclusiveMinimum": above, "minimum": at_least, "maximum": at_most}
    schema = {"type": "number"} | {k: v for k, v in bounds.items() if math.isfinite(v)}

    @reader(schema)
    def read(value: Any, place: Place) -> float:
        found = _as_float(value)
        if not (math.isfinite(found) and above < found <= at_most and found >= at_least):
            place.fail(f"{quoted(value)} is not {allowed}")
        return found

    return read


def integer(*, at_least: int, at_most: int) -> Reader:
    """Reader of a whole number within bounds."""

    @reader({"type": "integer", "minimum": at_least, "maximum": at_most})
    def read(value: Any, place: Place) -> int:
        found = _as_float(value)
        if not (at_least <= found <= at_most and found % 1 == 0):
            place.fail(f"{quoted(value)} is not a whole number from {at_least} to {at_most}")
        return int(found)

    return read


@reader({"type": "boolean"})
def yes_or_no(value: Any, place: Place) -> bool:
    """Reader of true or false."""
    if not isinstance(value, bool):
        place.fail(f"{quoted(value)} is not true or false")
    return value


def choice(*words: str) -> Reader:
    """Reader of one of `words`."""

    @reader({"enum": list(words)})
    def read(value: Any, place: Place) -> str:
        if value not in words:
            hint = nearest(value, words) if isinstance(value, str) else ""
            hint = hint if hint.startswith("; did") else ""
            place.fail(f"{quoted(value)} is not one of {', '.join(words)}{hint}")
        return str(value)

    return read


@reader({"type": "string", "pattern": r"\S"})
def name(value: Any, place: Place) -> str:
    """Reader of any text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        place.fail(f"{quoted(value)} is not a name")
    return value


ELEMENTS: Mapping[str, Any] = {"enum": list(SYMBOLS[1:])}
"""The JSON schema of the symbols of elements."""


@reader(ELEMENTS)
def element(symbol: Any, place: Place) -> str:
    """Reader of the symbol of an element."""
    if symbol not in SYMBOLS[1:]:
        place.fail(f'"{printable(symbol, QUOTED)}" is not the symbol of an element')
    return str(symbol)


def optional(read: Reader) -> Reader:
    """Reader of None or what `read` takes."""

    @reader(lambda: either(read.schema(), {"type": "null"}))
    def read_it(value: Any, place: Place) -> Any:
        return None if value is None else read(value, place)

    return read_it


def mapping(value: Any, place: Place, example: str) -> Mapping[Any, Any]:
    """`value` if it is a mapping; `example` shows the user one."""
    if not isinstance(value, Mapping):
        shown = "nothing" if value is None else quoted(value)
        place.fail(f"expected keys and values, such as {{{example}}}, found {shown}")
    return value


def nested(cls: type[Any], example: str) -> Reader:
    """Reader of the dataclass `cls`, from an instance or a mapping."""

    @reader(lambda: schema_of(cls))
    def read(value: Any, place: Place) -> Any:
        if isinstance(value, cls):
            return value
        return read_fields(cls, mapping(value, place, example), place)

    return read


# ----- dataclasses whose fields carry readers -----


def read_by(read: Reader) -> dict[str, Any]:
    """Metadata of a field: the reader that checks it. A field without default is required."""
    return {"read": read}


class CrossCheckError(ForcemapError):
    """A setting that does not go with another one; `read_fields` adds the place."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name
        self.text = text


class Checked:
    """Base of the settings' dataclasses: a direct construction meets the readers as well."""

    def __post_init__(self) -> None:
        place = Place(type(self).__name__)
        for spec in fields(self):  # type: ignore[arg-type]
            value = spec.metadata["read"](getattr(self, spec.name), place.key(spec.name))
            object.__setattr__(self, spec.name, value)
        self.cross_check()

    def cross_check(self) -> None:
        """Raise CrossCheckError if settings do not go together."""


def read_fields(cls: type[_T], given: Mapping[Any, Any], place: Place) -> _T:
    """The dataclass `cls` from a mapping; unknown and missing keys are errors."""
    known = {spec.name: spec for spec in fields(cls)}  # type: ignore[arg-type]
    for key in given:
        if key not in known:
            place.key(key).fail(f"unknown key{nearest(str(key), known)}")
    for key, spec in known.items():
        required = spec.default is MISSING and spec.default_factory is MISSING
        if required and key not in given:
            place.key(key).fail("is missing and has no default")
    values = {key: known[key].metadata["read"](given[key], place.key(key)) for key in given}
    try:
        return cls(**values)
    except CrossCheckError as error:
        place.key(error.name).fail(error.text)


@lru_cache
def field_docs(cls: type[Any]) -> Mapping[str, str]:
    """What the settings of `cls` mean: the strings that stand below its fields and its bases'.

    Where a setting has a unit, its text begins with that and a colon, as in ``Å: width of ...``.
    """
    meanings: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        try:
            source = textwrap.dedent(inspect.getsource(base))
        except (OSError, TypeError):  # made without a source file, or in C
            continue
        (defined,) = ast.parse(source).body
        assert isinstance(defined, ast.ClassDef)
        for before, after in itertools.pairwise(defined.body):
            match before, after:
                case (
                    ast.AnnAssign(target=ast.Name(id=field)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    meanings[field] = " ".join(text.split())
    return meanings


def schema_of(cls: type[Any], **constants: str) -> Schema:
    """The JSON schema of the mappings that `read_fields` takes for `cls`, and of constant keys."""
    properties: dict[str, Any] = {key: {"const": value} for key, value in constants.items()}
    required = list(constants)
    meanings = field_docs(cast(Hashable, cls))
    for spec in fields(cls):
        properties[spec.name] = dict(spec.metadata["read"].schema())
        if spec.name in meanings:
            properties[spec.name]["description"] = meanings[spec.name]
        if spec.default is not MISSING:
            properties[spec.name]["default"] = plain(spec.default)
        elif spec.default_factory is not MISSING:
            properties[spec.name]["default"] = plain(spec.default_factory())
        else:
            required.append(spec.name)
    return {
        "type": "object",
        "description": " ".join((cls.__doc__ or "").replace("`", "").split()),
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def plain(value: Any) -> Any:
    """Settings as plain values, lists and dictionaries."""
    if isinstance(value, Checked):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}  # type: ignore[arg-type]
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value


# ----- YAML -----


class _Loader(yaml.SafeLoader):
    """YAML 1.1 without its traps: 1e-4 is a number, 1:10 is text, a repeated key is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):
                if key in seen:
                    twice = f'the key "{printable(key, QUOTED)}" is given twice'
                    raise yaml.constructor.ConstructorError(None, None, twice, key_node.start_mark)
                seen.add(key)
        return super().construct_mapping(node, deep)


_INT_TAG, _FLOAT_TAG = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_INT_TAG, _FLOAT_TAG)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    _INT_TAG, re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    _FLOAT_TAG,
    re.compile(r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)


PROBLEM = 150
"""Characters shown of what the YAML reader says, which may quote the file."""

MOST_BYTES = 4_000_000
"""Of a settings file; what is larger holds data, and would take the YAML reader minutes."""


def load_yaml(path: Path) -> Any:
    """Content of a YAML file; ForcemapError, with the line, if it cannot be read or is another kind."""
    try:
        kind = kind_of_file(path)
        if kind not in ("a text file", "a settings file (YAML)"):
            raise ForcemapError(f"{path}: is {kind}, expected settings (YAML)")
        if path.stat().st_size > MOST_BYTES:
            raise ForcemapError(
                f"{path}: has {path.stat().st_size / 1e6:.0f} MB, too much for settings (YAML)"
            )
        content = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ForcemapError(f"{path}: no such file{near_name(path)}") from None
    except OSError as error:
        raise ForcemapError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ForcemapError(f"{path}: is not a text file (UTF-8) with settings") from None
    try:
        return yaml.load(content, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f"line {mark.line + 1}: " if mark else ""
        problem = printable(error.problem, PROBLEM)
        raise ForcemapError(f"{path}: {line}not valid YAML: {problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = printable(error, PROBLEM).replace("\n", " ")
        raise ForcemapError(f"{path}: not valid YAML: {problem}") from None
