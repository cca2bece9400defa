"""The settings of a fit: frozen dataclasses, read from YAML and written back fully expanded.

The dataclasses are the one source of names, types, defaults and limits: a settings file, a
dictionary and a direct construction in Python meet the same checks and the same messages.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from forcemap.fitter.checked import (
    Checked,
    Place,
    choice,
    integer,
    load_yaml,
    mapping,
    name,
    nested,
    number,
    optional,
    plain,
    read_by,
    read_fields,
)
from forcemap.fitter.sharing.whole_file import write_whole
from forcemap.fitter.terms.base import TermSettings
from forcemap.fitter.terms.kinds import SETTINGS
from forcemap.potentials.elements import SYMBOLS

__all__ = [
    "DataSettings",
    "Keys",
    "MapSettings",
    "Settings",
    "SigmaOverride",
    "SigmaSettings",
    "Source",
]

_SIGMA = number(above=0, at_most=1e6)


# ----- data -----

_INDEX = re.compile(r"[+-]?\d+|([+-]?\d+)?:([+-]?\d+)?(:([+-]?\d+)?)?")


def _index(value: Any, place: Place) -> str:
    text = "" if isinstance(value, bool) else str(value).replace(" ", "")
    parts = text.split(":")
    zero_step = len(parts) == 3 and parts[2] != "" and parts[2].strip("+-0") == ""
    if not _INDEX.fullmatch(text) or zero_step:
        place.fail(f'{value!r} is not a selection of frames such as 5, ":100" or "::2"')
    return text


def _path(value: Any, place: Place) -> Path:
    if not isinstance(value, str | os.PathLike) or not str(value).strip():
        place.fail(f"{value!r} is not a path")
    return place.folder / Path(value).expanduser()


@dataclass(frozen=True)
class Source(Checked):
    """One file of frames, and which of them (`index`: ASE's "a:b:c" or a number)."""

    path: Path = field(metadata=read_by(_path))
    index: str = field(default=":", metadata=read_by(_index))

    def selection(self, count: int) -> slice:
        """The frames selected out of `count`, as a slice; an empty one for none."""
        if ":" in self.index:
            return slice(*(int(part) if part else None for part in self.index.split(":")))
        number = int(self.index)
        start = number if number >= 0 else count + number
        return slice(start, start + 1) if start >= 0 else slice(0, 0)


def _source(value: Any, place: Place) -> Source:
    if isinstance(value, Source):
        return value
    if isinstance(value, Mapping):
        return read_fields(Source, value, place)
    return Source(_path(value, place))


def _sources(value: Any, place: Place) -> tuple[Source, ...]:
    if value is None:
        return ()
    if isinstance(value, list | tuple):
        return tuple(_source(item, place.item(i)) for i, item in enumerate(value))
    return (_source(value, place),)


def _some_sources(value: Any, place: Place) -> tuple[Source, ...]:
    sources = _sources(value, place)
    if not sources:
        place.fail("names no file; give a path, a list of paths, or {path: ..., index: ...}")
    return sources


@dataclass(frozen=True)
class Keys(Checked):
    """Names under which the labels stand in the files.

    None: under the label's own name (energy, forces, stress, virial), or under the one usual name
    that a file has in its place, such as REF_energy.
    """

    energy: str | None = field(default=None, metadata=read_by(optional(name)))
    forces: str | None = field(default=None, metadata=read_by(optional(name)))
    stress: str | None = field(default=None, metadata=read_by(optional(name)))
    virial: str | None = field(default=None, metadata=read_by(optional(name)))


@dataclass(frozen=True)
class DataSettings(Checked):
    """The frames to fit (`train`) and to judge by (`test`)."""

    train: tuple[Source, ...] = field(metadata=read_by(_some_sources))
    test: tuple[Source, ...] = field(default=(), metadata=read_by(_sources))
    keys: Keys = field(default=Keys(), metadata=read_by(nested(Keys, "energy: REF_energy")))


# ----- weights of the data -----


STRESS_SIGMA = 0.005
"""eV/Å³; of stresses where no sigma is given, before the fit finds a common factor of all of these."""


@dataclass(frozen=True)
class SigmaOverride(Checked):
    """The sigmas of one config_type that differ from the general ones; None: as everywhere."""

    energy: float | None = field(default=None, metadata=read_by(optional(_SIGMA)))
    force: float | None = field(default=None, metadata=read_by(optional(_SIGMA)))
    stress: float | None = field(default=None, metadata=read_by(optional(_SIGMA)))


def _overrides(value: Any, place: Place) -> dict[str, SigmaOverride]:
    read = nested(SigmaOverride, "energy: 0.0005")
    given = mapping({} if value is None else value, place, "Elastic: {energy: 0.0005}")
    return {str(group): read(item, place.key(group)) for group, item in given.items()}


@dataclass(frozen=True)
class SigmaSettings(Checked):
    """Expected errors of the labels: energy eV per atom, force eV/Å, stress eV/Å³.

    Where no `stress` is given the fit finds it, starting from STRESS_SIGMA: stresses of published sets
    are either much better than that or have a wrong zero. The weight of energies against forces is not
    left to the evidence, which takes the energies' errors, common to all atoms of a frame, for noise:
    it would give most of them away (silicon: 9 meV per atom in place of 2).
    """

    energy: float = field(default=0.002, metadata=read_by(_SIGMA))
    force: float = field(default=0.05, metadata=read_by(_SIGMA))
    stress: float | None = field(default=None, metadata=read_by(optional(_SIGMA)))
    config_type: Mapping[str, SigmaOverride] = field(
        default_factory=dict, metadata=read_by(_overrides)
    )


# ----- terms of the energy -----


def _term(value: Any, place: Place) -> TermSettings:
    if isinstance(value, TermSettings):
        return value
    given = dict(mapping(value, place, "kind: two_body, cutoff: 5.5"))
    if "kind" not in given:
        place.key("kind").fail(f"is missing; known kinds are {', '.join(SETTINGS)}")
    kind = choice(*SETTINGS)(given.pop("kind"), place.key("kind"))
    return read_fields(SETTINGS[kind], given, place)


def _terms(value: Any, place: Place) -> tuple[TermSettings, ...]:
    if not isinstance(value, list | tuple) or not value:
        place.fail("expected a list of terms, such as [{kind: two_body, cutoff: 5.5}]")
    return tuple(_term(item, place.item(i)) for i, item in enumerate(value))


# ----- the whole -----


@dataclass(frozen=True)
class MapSettings(Checked):
    """How finely the process is mapped: `tolerance` is the largest force error, eV/Å.

    No energy per atom is wrong by more than as many eV.

    `soap`: "low_rank" leaves out of each soap term what changes no force by more than the tolerance;
    "exact" leaves out nothing. By default low_rank where zeta is 1 or 2.
    """

    tolerance: float = field(default=1e-4, metadata=read_by(number(at_least=1e-10, at_most=1)))
    soap: str | None = field(default=None, metadata=read_by(optional(choice("exact", "low_rank"))))


def _e0(value: Any, place: Place) -> str | dict[str, float]:
    if isinstance(value, Mapping) and value:
        for symbol in value:
            if symbol not in SYMBOLS[1:]:
                place.key(symbol).fail(f'"{symbol}" is not the symbol of an element')
        read = number()
        return {symbol: read(energy, place.key(symbol)) for symbol, energy in value.items()}
    if value not in ("average", "isolated"):
        place.fail(
            f"{value!r} is not one of average, isolated, or energies in eV such as {{Si: -0.79}}"
        )
    return str(value)


@dataclass(frozen=True)
class Settings(Checked):
    """Everything a fit is told. Sensible defaults for all but `data` and `terms`."""

    data: DataSettings = field(metadata=read_by(nested(DataSettings, "train: train.xyz")))
    terms: tuple[TermSettings, ...] = field(metadata=read_by(_terms))
    e0: str | Mapping[str, float] = field(default="average", metadata=read_by(_e0))
    sigma: SigmaSettings = field(
        default=SigmaSettings(), metadata=read_by(nested(SigmaSettings, "energy: 0.002"))
    )
    core: str = field(default="zbl", metadata=read_by(choice("zbl", "none")))
    map: MapSettings = field(
        default=MapSettings(), metadata=read_by(nested(MapSettings, "tolerance: 1.0e-4"))
    )
    seed: int = field(default=0, metadata=read_by(integer(at_least=0, at_most=2**32 - 1)))

    @classmethod
    def from_dict(
        cls, given: Mapping[str, Any], base_dir: str | os.PathLike[str] = ".", origin: str = ""
    ) -> Settings:
        """Settings from nested dictionaries; relative paths are taken from `base_dir`.

        `origin` (a file's name) begins the message of a ForcemapError.
        """
        place = Place(origin, folder=Path(base_dir))
        return read_fields(cls, mapping(given, place, "data: ..., terms: ..."), place)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Settings:
        """Settings from a YAML file; relative paths are taken from the file's folder."""
        path = Path(path)
        return cls.from_dict(load_yaml(path), path.parent, origin=str(path))

    def to_dict(self, folder: str | os.PathLike[str] | None = None) -> dict[str, Any]:
        """Nested dictionaries, lists and plain values, every default written out.

        Paths are absolute, or relative to `folder` where it is given.
        """

        def shown(path: Path) -> str:
            if folder is None:
                return str(path.absolute())
            try:
                return Path(os.path.relpath(path, folder)).as_posix()
            except ValueError:  # on another drive
                return str(path.absolute())

        def listed(sources: tuple[Source, ...]) -> list[dict[str, str]]:
            return [{"path": shown(source.path), "index": source.index} for source in sources]

        def given(override: SigmaOverride) -> dict[str, float]:
            return {key: value for key, value in vars(override).items() if value is not None}

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
            "map": plain(self.map),
            "seed": self.seed,
        }

    def dump(self, path: str | os.PathLike[str], folder: Path | None = None, fit: str = "") -> None:
        """Write the expanded settings as YAML that `read` takes back.

        Args:
            path: the file.
            folder: where it will be read, which its paths are relative to; by default where it is.
            fit: identity of the fit, for a comment.

        Raises ForcemapError if the file cannot be written.
        """
        head = "# The settings of this fit with every default written out (null: from the data).\n"
        if fit:
            head += f"# Fit {fit}, as the files that belong to it say too.\n"
        values = self.to_dict(folder or Path(path).parent)
        write_whole(path, head + yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
