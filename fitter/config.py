"""The settings of a fit: frozen dataclasses, read from YAML and written back fully expanded.

The dataclasses are the one source of names, types, defaults and limits. Every field carries the
reader that checks its value (`metadata["read"]`), so a settings file, a dictionary and a direct
construction in Python meet the same checks and the same messages.
"""

__all__ = [
    "TERM_KINDS",
    "DataSettings",
    "Keys",
    "MapSettings",
    "Settings",
    "SigmaOverride",
    "SigmaSettings",
    "Source",
    "TermSettings",
    "ThreeBodySettings",
    "TwoBodySettings",
    "nearest",
]

import difflib
import math
import os
import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, NoReturn, TypeVar

import yaml

from forcemap.fitter.elements import SYMBOLS
from forcemap.potentials.errors import ForcemapError

KERNELS = ("squared_exponential", "matern52")
SPARSE_METHODS = ("uniform", "random", "farthest", "cur", "pivoted_cholesky")


# ----- where a value stands, and the readers that check one value -----


@dataclass(frozen=True)
class _Where:
    """A place in the settings: the file (or "" for a Python caller) and the path of keys."""

    origin: str = ""
    path: str = ""
    folder: Path = Path()

    def key(self, name: object) -> "_Where":
        return _Where(self.origin, f"{self.path}.{name}" if self.path else str(name), self.folder)

    def item(self, index: int) -> "_Where":
        return _Where(self.origin, f"{self.path}[{index}]", self.folder)

    def fail(self, text: str) -> NoReturn:
        place = ": ".join(part for part in (self.origin, self.path) if part)
        raise ForcemapError(f"{place}: {text}" if place else text)


_Reader = Callable[[Any, _Where], Any]
_T = TypeVar("_T")


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean "x"?`, or `; known are a, b, c` when nothing known is near `word`."""
    names = list(known)
    by_lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    if close:
        return f'; did you mean "{by_lower[close[0]]}"?'
    return f"; known are {', '.join(names)}" if names else ""


def _number(
    *, above: float = -math.inf, at_least: float = -math.inf, at_most: float = math.inf
) -> _Reader:
    """Reader of a finite float within bounds; takes "1e-4", which YAML 1.1 calls a string."""
    limits = [
        text
        for text, shown in (
            (f"above {above:g}", above > -math.inf),
            (f"at least {at_least:g}", at_least > -math.inf),
            (f"at most {at_most:g}", at_most < math.inf),
        )
        if shown
    ]
    allowed = "a number" + (" " + " and ".join(limits) if limits else "")

    def read(value: Any, where: _Where) -> float:
        number = math.nan
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            try:
                number = float(value)
            except (ValueError, OverflowError):
                number = math.nan
        in_bounds = above < number <= at_most and number >= at_least
        if not (math.isfinite(number) and in_bounds):
            where.fail(f"{value!r} is not {allowed}")
        return number

    return read


def _integer(*, at_least: int, at_most: int) -> _Reader:
    def read(value: Any, where: _Where) -> int:
        number: float | None = None
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            try:
                number = float(value)
            except (ValueError, OverflowError):
                number = None
        if number is None or number % 1 != 0 or not at_least <= number <= at_most:
            where.fail(f"{value!r} is not a whole number from {at_least} to {at_most}")
        return int(number)

    return read


def _choice(*words: str) -> _Reader:
    def read(value: Any, where: _Where) -> str:
        if value not in words:
            near = nearest(value, words) if isinstance(value, str) else ""
            listed = ", ".join(words)
            hint = near if near.startswith("; did") else ""
            where.fail(f"{value!r} is not one of {listed}{hint}")
        return str(value)

    return read


def _text(value: Any, where: _Where) -> str:
    if not isinstance(value, str) or not value.strip():
        where.fail(f"{value!r} is not a name")
    return value


def _optional(read: _Reader) -> _Reader:
    return lambda value, where: None if value is None else read(value, where)


def _setting(read: _Reader, default: Any = MISSING, **more: Any) -> Any:
    """A dataclass field with the reader that checks it; with no default it is required."""
    return field(default=default, metadata={"read": read}, **more)


def _mapping(value: Any, where: _Where, example: str) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        shown = "nothing" if value is None else repr(value)
        where.fail(f"expected keys and values, such as {{{example}}}, found {shown}")
    return value


def _read_fields(cls: type[_T], given: Mapping[Any, Any], where: _Where) -> _T:
    """Build the dataclass `cls` from a dictionary; unknown and missing keys are errors."""
    known: dict[str, Field[Any]] = {f.name: f for f in fields(cls) if f.init}  # type: ignore[arg-type]
    for key in given:
        if key not in known:
            near = nearest(str(key), known)
            where.key(key).fail(f"unknown key{near}")
    for name, spec in known.items():
        required = spec.default is MISSING and spec.default_factory is MISSING
        if required and name not in given:
            where.key(name).fail("is missing and has no default")
    values = {name: known[name].metadata["read"](given[name], where.key(name)) for name in given}
    try:
        return cls(**values)
    except _CrossCheckError as error:
        where.key(error.name).fail(error.text)


class _CrossCheckError(ForcemapError):
    """Two settings that do not go together; `_read_fields` adds the place."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name
        self.text = text


class _Checked:
    """Base of the settings' dataclasses: a direct construction meets the readers as well."""

    def __post_init__(self) -> None:
        place = _Where(type(self).__name__)
        for spec in fields(self):  # type: ignore[arg-type]
            value = spec.metadata["read"](getattr(self, spec.name), place.key(spec.name))
            object.__setattr__(self, spec.name, value)
        self._cross_check()

    def _cross_check(self) -> None:
        """Raise _CrossCheckError if settings do not go together."""


def _nested(cls: type[Any], example: str) -> _Reader:
    def read(value: Any, where: _Where) -> Any:
        if isinstance(value, cls):
            return value
        return _read_fields(cls, _mapping(value, where, example), where)

    return read


# ----- data -----

_INDEX = re.compile(r"[+-]?\d+|([+-]?\d*):([+-]?\d*)(:([+-]?\d*))?")


def _index(value: Any, where: _Where) -> str:
    text = str(value).replace(" ", "")
    valid = not isinstance(value, bool) and _INDEX.fullmatch(text) is not None
    if not valid or (text.count(":") == 2 and text.rpartition(":")[2].strip("+-0") == "" != text):
        # The step may be left out ("1:2:"), but it may not be zero.
        step = text.rpartition(":")[2] if text.count(":") == 2 else ""
        if not valid or step:
            where.fail(f'{value!r} is not a selection of frames such as 5, ":100" or "::2"')
    return text


def _path(value: Any, where: _Where) -> Path:
    if not isinstance(value, str | os.PathLike) or not str(value).strip():
        where.fail(f"{value!r} is not a path")
    return where.folder / Path(value).expanduser()


@dataclass(frozen=True)
class Source(_Checked):
    """One file of frames, and which of them (`index`: ASE's "a:b:c" or a number)."""

    path: Path = _setting(_path)
    index: str = _setting(_index, ":")

    def select(self, count: int) -> list[int]:
        """Numbers (from 0) of the frames selected out of `count`; [] for none."""
        if ":" not in self.index:
            number = int(self.index)
            return [range(count)[number]] if -count <= number < count else []
        parts = [int(part) if part else None for part in self.index.split(":")]
        return list(range(count)[slice(*parts)])


def _source(value: Any, where: _Where) -> Source:
    if isinstance(value, Source):
        return value
    if isinstance(value, Mapping):
        return _read_fields(Source, value, where)
    return Source(_path(value, where))


def _sources(value: Any, where: _Where) -> tuple[Source, ...]:
    if isinstance(value, list | tuple):
        return tuple(_source(item, where.item(i)) for i, item in enumerate(value))
    return (_source(value, where),)


def _some_sources(value: Any, where: _Where) -> tuple[Source, ...]:
    sources = () if value is None else _sources(value, where)
    if not sources:
        where.fail("names no file; give a path, a list of paths, or {path: ..., index: ...}")
    return sources


@dataclass(frozen=True)
class Keys(_Checked):
    """Names under which the labels stand in the files."""

    energy: str = _setting(_text, "energy")
    forces: str = _setting(_text, "forces")
    stress: str = _setting(_text, "stress")
    virial: str = _setting(_text, "virial")


@dataclass(frozen=True)
class DataSettings(_Checked):
    """The frames to fit (`train`) and to judge by (`test`)."""

    train: tuple[Source, ...] = _setting(_some_sources)
    test: tuple[Source, ...] = _setting(lambda v, w: () if v is None else _sources(v, w), ())
    keys: Keys = _setting(_nested(Keys, "energy: REF_energy"), Keys())


# ----- weights of the data -----

_SIGMA = _number(above=0, at_most=1e6)


@dataclass(frozen=True)
class SigmaOverride(_Checked):
    """The sigmas of one config_type that differ from the general ones; None: as everywhere."""

    energy: float | None = _setting(_optional(_SIGMA), None)
    force: float | None = _setting(_optional(_SIGMA), None)
    stress: float | None = _setting(_optional(_SIGMA), None)


def _overrides(value: Any, where: _Where) -> Mapping[str, SigmaOverride]:
    read = _nested(SigmaOverride, "energy: 0.0005")
    given = _mapping({} if value is None else value, where, "Elastic: {energy: 0.0005}")
    return MappingProxyType({str(name): read(item, where.key(name)) for name, item in given.items()})


@dataclass(frozen=True)
class SigmaSettings(_Checked):
    """Expected errors of the labels: energy eV per atom, force eV/Å, stress eV/Å³."""

    energy: float = _setting(_SIGMA, 0.002)
    force: float = _setting(_SIGMA, 0.05)
    stress: float = _setting(_SIGMA, 0.005)
    config_type: Mapping[str, SigmaOverride] = field(
        default_factory=dict, metadata={"read": _overrides}
    )


# ----- terms of the energy -----


@dataclass(frozen=True)
class TermSettings(_Checked):
    """What every kind of term has; None means: chosen from the data by the fit.

    A new kind is a subclass with its own `kind`, defaults and fields, entered in TERM_KINDS.
    """

    kind: ClassVar[str]

    cutoff: float = _setting(_number(above=0, at_most=100), 5.0)  # Å
    n_sparse: int = _setting(_integer(at_least=1, at_most=1_000_000), 100)
    lengthscale: float | None = _setting(_optional(_number(above=0, at_most=1e3)), None)  # Å
    delta: float | None = _setting(_optional(_number(above=0, at_most=1e6)), None)  # eV
    sparse_method: str | None = _setting(_optional(_choice(*SPARSE_METHODS)), None)
    cutoff_width: float | None = _setting(_optional(_number(above=0, at_most=100)), None)  # Å
    kernel: str = _setting(_choice(*KERNELS), "squared_exponential")

    def _cross_check(self) -> None:
        if self.cutoff_width is not None and self.cutoff_width > self.cutoff:
            raise _CrossCheckError(
                "cutoff_width", f"{self.cutoff_width:g} Å is wider than the cutoff, {self.cutoff:g} Å"
            )

    def to_dict(self) -> dict[str, Any]:
        """The term as it stands in a settings file, `kind` first."""
        return {"kind": self.kind} | {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True)
class TwoBodySettings(TermSettings):
    """A function of the distance of two atoms, one per pair of species."""

    kind: ClassVar[str] = "two_body"

    cutoff: float = _setting(_number(above=0, at_most=100), 5.5)
    n_sparse: int = _setting(_integer(at_least=1, at_most=1_000_000), 40)


@dataclass(frozen=True)
class ThreeBodySettings(TermSettings):
    """A function of the distances among three atoms.

    `symmetry`: "central" has one function per central species and pair of neighbours, symmetric
    under the exchange of the neighbours; "full" is symmetric under all permutations.
    """

    kind: ClassVar[str] = "three_body"

    cutoff: float = _setting(_number(above=0, at_most=100), 4.0)
    n_sparse: int = _setting(_integer(at_least=1, at_most=1_000_000), 200)
    symmetry: str = _setting(_choice("central", "full"), "central")


TERM_KINDS: Mapping[str, type[TermSettings]] = MappingProxyType(
    {cls.kind: cls for cls in (TwoBodySettings, ThreeBodySettings)}
)


def _term(value: Any, where: _Where) -> TermSettings:
    if isinstance(value, TermSettings):
        return value
    given = dict(_mapping(value, where, "kind: two_body, cutoff: 5.5"))
    if "kind" not in given:
        where.key("kind").fail(f"is missing; known kinds are {', '.join(TERM_KINDS)}")
    kind = _choice(*TERM_KINDS)(given.pop("kind"), where.key("kind"))
    return _read_fields(TERM_KINDS[kind], given, where)


def _terms(value: Any, where: _Where) -> tuple[TermSettings, ...]:
    if not isinstance(value, list | tuple) or not value:
        where.fail("expected a list of terms, such as [{kind: two_body, cutoff: 5.5}]")
    return tuple(_term(item, where.item(i)) for i, item in enumerate(value))


# ----- the whole -----


@dataclass(frozen=True)
class MapSettings(_Checked):
    """How finely the process is mapped: `tolerance` is the largest force error, eV/Å."""

    tolerance: float = _setting(_number(at_least=1e-10, at_most=1), 1e-4)


def _e0(value: Any, where: _Where) -> str | Mapping[str, float]:
    if isinstance(value, Mapping) and value:
        for symbol in value:
            if symbol not in SYMBOLS:
                where.key(symbol).fail(f'"{symbol}" is not the symbol of an element')
        read = _number()
        return MappingProxyType({s: read(energy, where.key(s)) for s, energy in value.items()})
    if value not in ("average", "isolated"):
        where.fail(
            f"{value!r} is not one of average, isolated, or energies in eV such as {{Si: -0.79}}"
        )
    return str(value)


@dataclass(frozen=True)
class Settings(_Checked):
    """Everything a fit is told. Sensible defaults for all but `data` and `terms`."""

    data: DataSettings = _setting(_nested(DataSettings, "train: train.xyz"))
    terms: tuple[TermSettings, ...] = _setting(_terms)
    e0: str | Mapping[str, float] = _setting(_e0, "average")
    sigma: SigmaSettings = _setting(_nested(SigmaSettings, "energy: 0.002"), SigmaSettings())
    core: str = _setting(_choice("zbl", "none"), "zbl")
    map: MapSettings = _setting(_nested(MapSettings, "tolerance: 1.0e-4"), MapSettings())
    seed: int = _setting(_integer(at_least=0, at_most=2**32 - 1), 0)

    @classmethod
    def from_dict(
        cls, given: Mapping[str, Any], base_dir: str | os.PathLike[str] = ".", origin: str = ""
    ) -> "Settings":
        """Settings from nested dictionaries; relative paths are taken from `base_dir`.

        `origin` (a file's name) begins the message of a ForcemapError.
        """
        where = _Where(origin, folder=Path(base_dir))
        return _read_fields(cls, _mapping(given, where, "data: ..., terms: ..."), where)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Settings":
        """Settings from a YAML file; relative paths are taken from the file's folder."""
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ForcemapError(f"{path}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ForcemapError(f"{path}: is not a text file (UTF-8) with settings") from None
        try:
            given = yaml.load(text, _Loader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            line = f" line {mark.line + 1}:" if mark else ""
            raise ForcemapError(f"{path}:{line} not valid YAML: {error.problem}") from None
        except (yaml.YAMLError, RecursionError) as error:
            raise ForcemapError(f"{path}: not valid YAML: {error}") from None
        return cls.from_dict(given, path.parent, origin=str(path))

    def to_dict(self, folder: str | os.PathLike[str] | None = None) -> dict[str, Any]:
        """Nested dictionaries, lists and plain values, every default written out.

        Paths are absolute, or relative to `folder` where it is given.
        """

        def shown(path: Path) -> str:
            if folder is None:
                return str(path.absolute())
            try:
                return Path(os.path.relpath(path, folder)).as_posix()
            except ValueError:  # another drive
                return str(path.absolute())

        def listed(sources: tuple[Source, ...]) -> list[dict[str, str]]:
            return [{"path": shown(source.path), "index": source.index} for source in sources]

        def given(override: SigmaOverride) -> dict[str, float]:
            return {name: value for name, value in vars(override).items() if value is not None}

        return {
            "data": {
                "train": listed(self.data.train),
                "test": listed(self.data.test),
                "keys": dict(vars(self.data.keys)),
            },
            "e0": self.e0 if isinstance(self.e0, str) else dict(self.e0),
            "sigma": {
                "energy": self.sigma.energy,
                "force": self.sigma.force,
                "stress": self.sigma.stress,
                "config_type": {k: given(v) for k, v in self.sigma.config_type.items()},
            },
            "terms": [term.to_dict() for term in self.terms],
            "core": self.core,
            "map": {"tolerance": self.map.tolerance},
            "seed": self.seed,
        }

    def dump(self, path: str | os.PathLike[str]) -> None:
        """Write the expanded settings as YAML that `read` takes back."""
        path = Path(path)
        head = "# The settings of this fit with every default written out (null: from the data).\n"
        text = yaml.safe_dump(self.to_dict(path.parent), sort_keys=False, allow_unicode=True)
        path.write_text(head + text, encoding="utf-8")


class _Loader(yaml.SafeLoader):
    """YAML 1.1 without its traps: 1e-4 is a number, 1:10 is text, a repeated key is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
            if isinstance(key, Hashable):
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f'the key "{key}" is given twice', key_node.start_mark
                    )
                seen.add(key)
        return super().construct_mapping(node, deep)


_NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _NUMBER_TAGS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    _NUMBER_TAGS[0], re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    _NUMBER_TAGS[1],
    re.compile(r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)
