"""The settings of a validation: those common to all checks, and a block for each check by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from forcemap.fitter.checked import (
    Checked,
    CrossCheckError,
    Place,
    choice,
    element,
    integer,
    load_yaml,
    mapping,
    nearest,
    number,
    optional,
    plain,
    read_by,
    read_fields,
    reader,
    schema_of,
)
from forcemap.fitter.checked import name as text
from forcemap.fitter.data.settings import Source, path_reader, sources_reader
from forcemap.fitter.validation.check import Check
from forcemap.potentials.quoting import quoted

__all__ = ["LATTICES", "General", "StructureSettings", "ValidationSettings", "schema"]

LATTICES = (
    "sc",
    "fcc",
    "bcc",
    "hcp",
    "diamond",
    "zincblende",
    "rocksalt",
    "cesiumchloride",
    "fluorite",
    "wurtzite",
)
"""Those of `ase.build.bulk` that a or a and c determine."""

EXAMPLE = "lattice: diamond, formula: Si, a: 5.43"


@dataclass(frozen=True)
class StructureSettings(Checked):
    """A crystal: a `lattice` with its `formula` and lengths, or a `file` and the `index` of a frame."""

    name: str | None = field(default=None, metadata=read_by(optional(text)))
    """heads its rows in the table; by default formula and space group."""

    lattice: str | None = field(default=None, metadata=read_by(optional(choice(*LATTICES))))
    """kind of lattice."""

    formula: str | None = field(default=None, metadata=read_by(optional(text)))
    """formula of the lattice, as Si or NaCl."""

    a: float | None = field(default=None, metadata=read_by(optional(number(above=0, at_most=1000))))
    """Å: length of the lattice; by default it follows from the radii of the atoms."""

    c: float | None = field(default=None, metadata=read_by(optional(number(above=0, at_most=1000))))
    """Å: other length of hcp and wurtzite; by default it follows from the radii of the atoms."""

    file: Path | None = field(default=None, metadata=read_by(optional(path_reader)))
    """file with the crystal, in any format that ASE reads; relative to the settings' folder."""

    index: int = field(default=0, metadata=read_by(integer(at_least=-(10**9), at_most=10**9)))
    """number of the frame in the file; -1 is the last."""

    def cross_check(self) -> None:
        """Raise CrossCheckError unless there is either a lattice with a formula or a file."""
        if (self.lattice is None) == (self.file is None):
            raise CrossCheckError(
                "lattice", f"give either a lattice or a file, such as {{{EXAMPLE}}}"
            )
        if self.lattice is not None and self.formula is None:
            raise CrossCheckError("formula", f"is missing beside lattice, such as {{{EXAMPLE}}}")
        if self.file is not None and (self.formula or self.a or self.c):
            raise CrossCheckError(
                "file", "holds the formula and the lengths; give them for a lattice only"
            )


@reader(lambda: {"type": "array", "items": schema_of(StructureSettings)})
def _structures(value: Any, place: Place) -> tuple[StructureSettings, ...]:
    if not isinstance(value, list | tuple):
        place.fail(f"expected a list of crystals, such as [{{{EXAMPLE}}}], found {quoted(value)}")
    return tuple(
        item
        if isinstance(item, StructureSettings)
        else read_fields(StructureSettings, mapping(item, place.item(n), EXAMPLE), place.item(n))
        for n, item in enumerate(value)
    )


@reader({"type": "object", "additionalProperties": {"type": "number"}})
def _energies(value: Any, place: Place) -> dict[str, float]:
    given = mapping({} if value is None else value, place, "Si: -0.85")
    return {
        element(symbol, place.key(symbol)): number()(energy, place.key(symbol))
        for symbol, energy in given.items()
    }


@dataclass(frozen=True)
class General(Checked):
    """What is common to all checks."""

    structures: tuple[StructureSettings, ...] | None = field(
        default=None, metadata=read_by(optional(_structures))
    )
    """the crystals; by default those among the training frames, or the usual lattices."""

    frames: tuple[Source, ...] | None = field(
        default=None, metadata=read_by(optional(sources_reader))
    )
    """labelled frames; by default those that the potential was fitted to."""

    seed: int = field(default=0, metadata=read_by(integer(at_least=0, at_most=2**31 - 1)))
    """of all random numbers."""

    free_atoms: Mapping[str, float] = field(default_factory=dict, metadata=read_by(_energies))
    """eV: energies of free atoms, for cohesive energies; by default the potential's own."""


@dataclass(frozen=True)
class ValidationSettings:
    """All settings.

    Attributes:
        general: common to all checks.
        of: settings of each check that is to be made, by its name.
    """

    general: General
    of: Mapping[str, Checked]

    @classmethod
    def from_dict(
        cls, given: Mapping[Any, Any], checks: Sequence[Check], place: Place | None = None
    ) -> ValidationSettings:
        """Settings from nested dictionaries; a check whose settings are `false` is left out.

        Raises ForcemapError with the place of a mistake.
        """
        place = place or Place()
        given = mapping(given, place, "elastic: {strain: 0.01}")
        common = [spec.name for spec in fields(General)]
        names = [check.name for check in checks]
        for key in given:
            if key not in common and key not in names:
                place.key(key).fail(f"unknown key{nearest(str(key), [*common, *names])}")
        of: dict[str, Checked] = {}
        for check in checks:
            block = given.get(check.name)
            if block is False:
                continue
            where = place.key(check.name)
            block = {} if block is None or block is True else mapping(block, where, "key: value")
            of[check.name] = read_fields(check.settings, block, where)
        general = {key: given[key] for key in given if key in common}
        return cls(read_fields(General, general, place), of)

    @classmethod
    def read(cls, path: Path | None, checks: Sequence[Check]) -> ValidationSettings:
        """Settings from a YAML file, whose folder paths are relative to; the defaults without one."""
        if path is None:
            return cls.from_dict({}, checks)
        content = load_yaml(path)
        place = Place(str(path), folder=path.parent)
        return cls.from_dict({} if content is None else content, checks, place)

    def to_dict(self) -> dict[str, Any]:
        """Plain values with every default written out."""
        general = plain(self.general)
        texts: dict[str, Any] = _texts(
            {**general, **{name: plain(block) for name, block in self.of.items()}}
        )
        return texts


def _texts(value: Any) -> Any:
    """`value` with paths as text."""
    if isinstance(value, dict):
        return {key: _texts(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_texts(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def schema(checks: Sequence[Check]) -> dict[str, Any]:
    """The JSON schema of settings files for ``forcemap validate``."""
    made = schema_of(General)
    blocks = {
        check.name: {
            "description": check.title,
            "anyOf": [schema_of(check.settings), {"type": ["boolean", "null"]}],
        }
        for check in checks
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **made,
        "title": "Settings of forcemap validate",
        "properties": {**made["properties"], **blocks},
    }
