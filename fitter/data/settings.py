"""Settings of the data: files, names of labels, sigmas."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from forcemap.fitter.checked import (
    Checked,
    Place,
    either,
    mapping,
    name,
    nested,
    number,
    optional,
    read_by,
    read_fields,
    reader,
    schema_of,
)
from forcemap.potentials.quoting import quoted

__all__ = [
    "STRESS_SIGMA",
    "DataSettings",
    "Keys",
    "SigmaOverride",
    "SigmaSettings",
    "Source",
    "path_reader",
    "sources_reader",
]

_SIGMA = number(above=0, at_most=1e6)


# ----- data -----

_INDEX = re.compile(r"[+-]?\d+|([+-]?\d+)?:([+-]?\d+)?(:([+-]?\d+)?)?")


@reader(either({"type": "integer"}, {"type": "string", "pattern": "[0-9:]"}))
def _index(value: Any, place: Place) -> str:
    text = "" if isinstance(value, bool) else str(value).replace(" ", "")
    parts = text.split(":")
    zero_step = len(parts) == 3 and parts[2] != "" and parts[2].strip("+-0") == ""
    if not _INDEX.fullmatch(text) or zero_step:
        place.fail(f'{quoted(value)} is not a selection of frames such as 5, ":100" or "::2"')
    return text


@reader({"type": "string", "pattern": r"\S"})
def path_reader(value: Any, place: Place) -> Path:
    """Reader of a path, relative to the folder of the settings."""
    if not isinstance(value, str | os.PathLike) or not str(value).strip() or "\0" in str(value):
        place.fail(f"{quoted(value)} is not a path")
    return place.folder / Path(value).expanduser()


@dataclass(frozen=True)
class Source(Checked):
    """One file of frames, and which of them (`index`: ASE's "a:b:c" or a number).

    In settings the path may be a pattern, such as data/*.xyz or runs/**/OUTCAR: `index` then goes for
    each of its files.
    """

    path: Path = field(metadata=read_by(path_reader))
    """File of frames, or a pattern of files; relative to the settings' folder."""
    index: str = field(default=":", metadata=read_by(_index))
    """Which frames, as ASE counts: 5, ":100", "::2"."""

    def selection(self, count: int) -> slice:
        """The frames selected out of `count`, as a slice; an empty one for none."""
        if ":" in self.index:
            return slice(*(int(part) if part else None for part in self.index.split(":")))
        number = int(self.index)
        start = number if number >= 0 else count + number
        return slice(start, start + 1) if start >= 0 else slice(0, 0)


@reader(lambda: either(path_reader.schema(), schema_of(Source)))
def _source(value: Any, place: Place) -> Source:
    if isinstance(value, Source):
        return value
    if isinstance(value, Mapping):
        return read_fields(Source, value, place)
    return Source(path_reader(value, place))


@reader(
    lambda: either(_source.schema(), {"type": "array", "items": _source.schema()}, {"type": "null"})
)
def _sources(value: Any, place: Place) -> tuple[Source, ...]:
    if value is None:
        return ()
    items = value if isinstance(value, list | tuple) else [value]
    named: list[Source] = []
    of_patterns: list[Source] = []
    for i, item in enumerate(items):
        where = place.item(i) if isinstance(value, list | tuple) else place
        sources, of_pattern = _files_of(_source(item, where), where)
        for source in sources:
            # A file that is named twice in full is meant twice; patterns overlap by accident.
            if source in named and (of_pattern or source in of_patterns):
                where.fail(f"{source.path} is named twice; its frames would count twice")
            named.append(source)
        of_patterns += sources if of_pattern else []
    return tuple(named)


def _files_of(source: Source, place: Place) -> tuple[list[Source], bool]:
    """The files that a pattern such as data/*.xyz stands for, by name, and whether it is a pattern."""
    pattern = str(source.path)
    if not glob.has_magic(pattern) or os.path.exists(pattern):
        return [source], False
    paths = sorted(Path(path) for path in glob.iglob(pattern, recursive=True))
    files = [path for path in paths if not os.path.isdir(path)]
    if not files:
        place.fail(f"no file matches the pattern {quoted(pattern)}")
    return [replace(source, path=path) for path in files], True


@reader(
    lambda: either(_source.schema(), {"type": "array", "items": _source.schema(), "minItems": 1})
)
def sources_reader(value: Any, place: Place) -> tuple[Source, ...]:
    """Reader of one file of frames or several, with patterns."""
    sources: tuple[Source, ...] = _sources(value, place)
    if not sources:
        place.fail("names no file; give a path, a list of paths, or {path: ..., index: ...}")
    return sources


@dataclass(frozen=True)
class Keys(Checked):
    """Names under which the labels stand in the files.

    None: the label's own name (energy, forces, stress, virial), or the one usual name that a file has
    in its place, such as REF_energy.
    """

    energy: str | None = field(default=None, metadata=read_by(optional(name)))
    """Name of the total energy, eV, in the files."""
    forces: str | None = field(default=None, metadata=read_by(optional(name)))
    """Name of the forces, eV/Å, in the files."""
    stress: str | None = field(default=None, metadata=read_by(optional(name)))
    """Name of the stress, eV/Å³ with ASE's sign, in the files."""
    virial: str | None = field(default=None, metadata=read_by(optional(name)))
    """Name of the virial, eV, which is −volume × stress, in the files."""


@dataclass(frozen=True)
class DataSettings(Checked):
    """The frames to fit (`train`) and to judge by (`test`)."""

    train: tuple[Source, ...] = field(metadata=read_by(sources_reader))
    """Training frames: a file, a pattern, or a list of them."""
    test: tuple[Source, ...] = field(default=(), metadata=read_by(_sources))
    """Test frames, which no choice of the fit depends on."""
    keys: Keys = field(default=Keys(), metadata=read_by(nested(Keys, "energy: REF_energy")))
    """Names of the labels, where they are not the usual ones."""


# ----- weights of the data -----


STRESS_SIGMA = 0.005
"""eV/Å³; sigma of stresses that have none, before the fit finds a common factor for all of them."""


@dataclass(frozen=True)
class SigmaOverride(Checked):
    """The sigmas of one config_type that differ from the general ones; None: as everywhere."""

    energy: float | None = field(default=None, metadata=read_by(optional(_SIGMA)))
    """eV per atom: in place of the general one."""
    force: float | None = field(default=None, metadata=read_by(optional(_SIGMA)))
    """eV/Å: in place of the general one."""
    stress: float | None = field(default=None, metadata=read_by(optional(_SIGMA)))
    """eV/Å³: in place of the general one."""


@reader(lambda: {"type": ["object", "null"], "additionalProperties": schema_of(SigmaOverride)})
def _overrides(value: Any, place: Place) -> dict[str, SigmaOverride]:
    read = nested(SigmaOverride, "energy: 0.0005")
    given = mapping({} if value is None else value, place, "Elastic: {energy: 0.0005}")
    return {str(group): read(item, place.key(group)) for group, item in given.items()}


@dataclass(frozen=True)
class SigmaSettings(Checked):
    """Expected errors of the labels: energy eV per atom, force eV/Å, stress eV/Å³.

    The fit finds `stress` where it is not given, starting from STRESS_SIGMA: stresses of published sets
    are either much better than that or have a wrong zero. The weight of energies against forces is not
    left to the evidence, which takes the energies' errors, common to all atoms of a frame, for noise:
    it would give most of them away (silicon: 9 meV per atom in place of 2).
    """

    energy: float = field(default=0.002, metadata=read_by(_SIGMA))
    """eV per atom: expected error of energies."""
    force: float = field(default=0.05, metadata=read_by(_SIGMA))
    """eV/Å: expected error of each component of a force."""
    stress: float | None = field(default=None, metadata=read_by(optional(_SIGMA)))
    """eV/Å³: expected error of each component of a stress; by default found by the fit."""
    config_type: Mapping[str, SigmaOverride] = field(
        default_factory=dict, metadata=read_by(_overrides)
    )
    """Sigmas of groups of frames, by the frames' config_type."""
