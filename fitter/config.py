"""The settings of a fit: frozen dataclasses, read from YAML and written back fully expanded.

The dataclasses are the one source of names, types, defaults and limits: a settings file, a
dictionary and a direct construction in Python meet the same checks and the same messages.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from forcemap.fitter.checked import (
    ELEMENTS,
    Checked,
    CrossCheckError,
    Place,
    choice,
    either,
    element,
    integer,
    load_yaml,
    mapping,
    nested,
    number,
    optional,
    plain,
    read_by,
    read_fields,
    reader,
    schema_of,
    yes_or_no,
)
from forcemap.fitter.data.settings import (
    STRESS_SIGMA,
    DataSettings,
    Keys,
    SigmaOverride,
    SigmaSettings,
    Source,
)
from forcemap.fitter.sharing.whole_file import write_whole
from forcemap.fitter.terms.base import TermSettings
from forcemap.fitter.terms.kinds import SETTINGS
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.quoting import quoted
from forcemap.potentials.uncertainty import LEAST_DRAWS

__all__ = [
    "STRESS_SIGMA",
    "DataSettings",
    "Keys",
    "MapSettings",
    "Settings",
    "SigmaOverride",
    "SigmaSettings",
    "Source",
    "UncertaintySettings",
]

# ----- terms of the energy -----


@reader(lambda: {"oneOf": [schema_of(cls, kind=kind) for kind, cls in SETTINGS.items()]})
def _term(value: Any, place: Place) -> TermSettings:
    if isinstance(value, TermSettings):
        return value
    given = dict(mapping(value, place, "kind: two_body, cutoff: 5.5"))
    if "kind" not in given:
        place.key("kind").fail(f"is missing; known kinds are {', '.join(SETTINGS)}")
    kind = choice(*SETTINGS)(given.pop("kind"), place.key("kind"))
    return read_fields(SETTINGS[kind], given, place)


@reader(lambda: {"type": "array", "items": _term.schema(), "minItems": 1})
def term_list(value: Any, place: Place) -> tuple[TermSettings, ...]:
    if not isinstance(value, list | tuple) or not value:
        place.fail("expected a list of terms, such as [{kind: two_body, cutoff: 5.5}]")
    return tuple(_term(item, place.item(i)) for i, item in enumerate(value))


# ----- the whole -----

EXAMPLE = "data: {train: train.xyz}, terms: [{kind: two_body}]"


@dataclass(frozen=True)
class MapSettings(Checked):
    """How finely the process is mapped: `tolerance` is the largest force error, eV/Å.

    No energy per atom is wrong by more than as many eV.

    `soap`: "low_rank" leaves out of each soap term what changes no force by more than the tolerance;
    "exact" leaves out nothing. By default low_rank where zeta is 1 or 2.

    `precision`: of the numbers that soap and bispectrum terms are evaluated in. "single" makes their
    steps shorter; how much it changes forces is measured and reported with the map's error.
    """

    tolerance: float = field(default=1e-4, metadata=read_by(number(at_least=1e-10, at_most=1)))
    """eV/Å: largest error of a force that the map may add; a smaller one needs finer grids."""
    soap: str | None = field(default=None, metadata=read_by(optional(choice("exact", "low_rank"))))
    """Whether soap terms keep all of their form ("exact") or what the tolerance needs ("low_rank")."""
    precision: str = field(default="double", metadata=read_by(choice("double", "single")))
    """Numbers of soap and bispectrum terms: "single" is faster, forces to about 1e-5 eV/Å."""


MOST_DRAWS = 4096


@dataclass(frozen=True)
class UncertaintySettings(Checked):
    """What the potential knows of its own errors: `draws` samples of what else would have fitted.

    0: the potential has none, and is smaller; the fit's errors by leaving frames out stay.
    """

    draws: int = field(default=16, metadata=read_by(integer(at_least=0, at_most=MOST_DRAWS)))
    """Number of draws from the posterior in the potential; 0 for none."""

    def cross_check(self) -> None:
        """Raise CrossCheckError for draws too few to say what they scatter by."""
        if 0 < self.draws < LEAST_DRAWS:
            raise CrossCheckError("draws", f"expected 0 (none) or at least {LEAST_DRAWS}")


@reader(
    lambda: either(
        {"enum": ["cohesive", "average", "isolated"]},
        {
            "type": "object",
            "propertyNames": ELEMENTS,
            "additionalProperties": {"type": "number"},
            "minProperties": 1,
        },
        {"type": "number"},
    )
)
def _e0(value: Any, place: Place) -> str | float | dict[str, float]:
    if isinstance(value, Mapping) and value:
        for symbol in value:
            element(symbol, place.key(symbol))
        read = number()
        return {symbol: read(energy, place.key(symbol)) for symbol, energy in value.items()}
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(number()(value, place))
    if value not in ("cohesive", "average", "isolated"):
        place.fail(
            f"{quoted(value)} is not one of cohesive, average, isolated, or energies in eV such as "
            "{Si: -0.79} or, for every element, -0.79"
        )
    return str(value)


@dataclass(frozen=True)
class Settings(Checked):
    """All settings of a fit. Sensible defaults for all but `data` and `terms`.

    `e0`, energies of isolated atoms: "cohesive", those of the frames, and of elements without them what
    the lowest energies and tabulated cohesive energies give; "isolated", those of the frames;
    "average", constants fitted to the data, which leaves the cohesive energy to chance; or numbers.

    `outside`: "guided", crystals expanded and compressed beyond the data and pairs of atoms below its
    shortest distances count as known, roughly (`baseline.beyond`), and structures unlike the data are
    not bound more than all of it (`holes`); "free", the data alone are fitted.
    Energies of isolated atoms by "average" and a `core` of "none" leave out the guidance that needs
    them.

    `optimise`: whether the evidence chooses the hyperparameters of all terms, starting from what is
    given; `optimise` of a term does so for it alone, or for some of its hyperparameters by name.
    """

    data: DataSettings = field(metadata=read_by(nested(DataSettings, "train: train.xyz")))
    """Frames to fit and to judge by."""
    terms: tuple[TermSettings, ...] = field(metadata=read_by(term_list))
    """Terms whose sum is the energy."""
    e0: str | float | Mapping[str, float] = field(default="cohesive", metadata=read_by(_e0))
    """eV: energies of isolated atoms by element, one number for all, "cohesive" (of frames of one atom,
    or else from tabulated cohesive energies), "isolated" (of frames of one atom) or "average" (fitted
    together with the terms)."""
    sigma: SigmaSettings = field(
        default=SigmaSettings(), metadata=read_by(nested(SigmaSettings, "energy: 0.002"))
    )
    """Expected errors of the labels."""
    core: str = field(default="zbl", metadata=read_by(choice("zbl", "none")))
    """Repulsion below the shortest distances of the data: "zbl" or "none"."""
    outside: str = field(default="guided", metadata=read_by(choice("guided", "free")))
    """Beyond the data: "guided" by imagined frames with wide sigmas, or "free"."""
    map: MapSettings = field(
        default=MapSettings(), metadata=read_by(nested(MapSettings, "tolerance: 1.0e-4"))
    )
    """How finely the process is mapped."""
    uncertainty: UncertaintySettings = field(
        default=UncertaintySettings(), metadata=read_by(nested(UncertaintySettings, "draws: 16"))
    )
    """What the potential knows of its own errors."""
    seed: int = field(default=0, metadata=read_by(integer(at_least=0, at_most=2**32 - 1)))
    """Seed of all random choices; the same seed gives the same potential."""
    optimise: bool = field(default=False, metadata=read_by(yes_or_no))
    """Whether the evidence chooses the hyperparameters of all terms before the fit."""
    learning_steps: int = field(default=20, metadata=read_by(integer(at_least=0, at_most=1000)))
    """Steps by which learned channels improve on frames left out; 0: none."""

    @property
    def is_guided(self) -> bool:
        """Whether imagined frames beyond the data are fitted, too; they need a core and a known e0."""
        asked = self.outside == "guided" and self.has_repulsion and self.e0 != "average"
        return asked and self.is_flexible

    @property
    def fills_holes(self) -> bool:
        """Whether structures are sought that the process binds more than all data, and lifted."""
        return self.outside == "guided" and self.has_repulsion

    @property
    def is_flexible(self) -> bool:
        """Whether a term can follow what is known far from the data.

        Functions of few bodies alone cannot: they would follow the data less, and crystals that are
        pressed further would collapse.
        """
        return any(term.is_flexible for term in self.terms)

    @property
    def has_repulsion(self) -> bool:
        """Whether the process has a repulsion of near atoms beneath it."""
        return self.core != "none"

    @classmethod
    def schema(cls) -> dict[str, Any]:
        """The JSON schema (draft 2020-12) of settings files, for editors and other programs."""
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "Settings of forcemap fit",
            **schema_of(cls),
        }

    @classmethod
    def from_dict(
        cls, given: Mapping[str, Any], base_dir: str | os.PathLike[str] = ".", origin: str = ""
    ) -> Settings:
        """Settings from nested dictionaries; relative paths are taken from `base_dir`.

        `origin` (a file's name) begins the message of a ForcemapError.
        """
        place = Place(origin, folder=Path(base_dir))
        for key in ("candidates", "target"):
            if isinstance(given, Mapping) and key in given:
                place.key(key).fail("is for forcemap select, which writes settings for fits")
        return read_fields(cls, mapping(given, place, "data: ..., terms: ..."), place)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Settings:
        """Settings from a YAML file; relative paths are taken from the file's folder."""
        path = Path(path)
        given = load_yaml(path)
        if given is None:
            raise ForcemapError(f"{path}: is empty, expected settings (YAML) such as {EXAMPLE}")
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
            "e0": dict(self.e0) if isinstance(self.e0, Mapping) else self.e0,
            "sigma": {
                "energy": self.sigma.energy,
                "force": self.sigma.force,
                "stress": self.sigma.stress,
                "config_type": {k: given(v) for k, v in self.sigma.config_type.items()},
            },
            "terms": [term.to_dict() for term in self.terms],
            "core": self.core,
            "outside": self.outside,
            "map": plain(self.map),
            "uncertainty": plain(self.uncertainty),
            "seed": self.seed,
            "optimise": self.optimise,
            "learning_steps": self.learning_steps,
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
        write_whole(Path(path), head + yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
