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

__all__ = ["LATTICES", "General", "StructureSettings", "ValidationSettings"]

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
    """A crystal: a `lattice` with its `formula` and lengths, or a `file` with the `index` of a frame.

    `a` and `c` in Å; where they are not given, they follow from the radii of the atoms.
    """

    name: str | None = field(default=None, metadata=read_by(optional(text)))
    lattice: str | None = field(default=None, metadata=read_by(optional(choice(*LATTICES))))
    formula: str | None = field(default=None, metadata=read_by(optional(text)))
    a: float | None = field(default=None, metadata=read_by(optional(number(above=0, at_most=1000))))
    c: float | None = field(default=None, metadata=read_by(optional(number(above=0, at_most=1000))))
    file: Path | None = field(default=None, metadata=read_by(optional(path_reader)))
    index: int = field(default=0, metadata=read_by(integer(at_least=-(10**9), at_most=10**9)))

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
    """What is common to all checks.

    `structures`: the crystals; by default those among the training frames, or the usual lattices.
    `frames`: labelled frames; by default those that the potential was fitted to. `seed`: of all random
    numbers. `free_atoms`: energies of free atoms, eV, in place of the potential's own.
    """

    structures: tuple[StructureSettings, ...] | None = field(
        default=None, metadata=read_by(optional(_structures))
    )
    frames: tuple[Source, ...] | None = field(
        default=None, metadata=read_by(optional(sources_reader))
    )
    seed: int = field(default=0, metadata=read_by(integer(at_least=0, at_most=2**31 - 1)))
    free_atoms: Mapping[str, float] = field(default_factory=dict, metadata=read_by(_energies))


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
