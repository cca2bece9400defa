"""The settings of a fit: frozen dataclasses, read from YAML and written back fully expanded.

The dataclasses are the one source of names, types, defaults and limits: a settings file, a
dictionary and a direct construction in Python meet the same checks and the same messages.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import yaml
from forcemap.fitter.settings_values import (
    Checked,
    CrossCheckError,
    Place,
    choice,
    integer,
    load_yaml,
    mapping,
    name,
    nested,
    number,
    optional,
    read_by,
    read_fields,
)
from forcemap.fitter.whole_file import write_whole
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.quoting import QUOTED, printable, quoted

__all__ = [
    "TERM_KINDS",
    "DataSettings",
    "EmbeddingSettings",
    "EnvironmentSettings",
    "FewBodySettings",
    "Keys",
    "MapSettings",
    "NBodySettings",
    "RadialScaling",
    "Settings",
    "SigmaOverride",
    "SigmaSettings",
    "SoapSettings",
    "Source",
    "TermSettings",
    "ThreeBodySettings",
    "TwoBodySettings",
]

KERNELS = ("squared_exponential", "matern52")
DENSITIES = ("polynomial", "exponential")
ENVIRONMENT_SPARSE_METHODS = ("random", "farthest", "cur", "pivoted_cholesky")
SPARSE_METHODS = ("uniform", *ENVIRONMENT_SPARSE_METHODS)

_DISTANCE = number(above=0, at_most=100)
_SIGMA = number(above=0, at_most=1e6)
_SPARSE = integer(at_least=1, at_most=1_000_000)


# ----- data -----

_INDEX = re.compile(r"[+-]?\d+|([+-]?\d+)?:([+-]?\d+)?(:([+-]?\d+)?)?")


def _index(value: Any, place: Place) -> str:
    text = "" if isinstance(value, bool) else str(value).replace(" ", "")
    parts = text.split(":")
    zero_step = len(parts) == 3 and parts[2] != "" and parts[2].strip("+-0") == ""
    if not _INDEX.fullmatch(text) or zero_step:
        place.fail(f'{quoted(value)} is not a selection of frames such as 5, ":100" or "::2"')
    return text


def _path(value: Any, place: Place) -> Path:
    if not isinstance(value, str | os.PathLike) or not str(value).strip() or "\0" in str(value):
        place.fail(f"{quoted(value)} is not a path")
    return place.folder / Path(value).expanduser()


@dataclass(frozen=True)
class Source(Checked):
    """One file of frames, and which of them (`index`: ASE's "a:b:c" or a number).

    In settings the path may be a pattern, such as data/*.xyz or runs/**/OUTCAR: `index` then goes for
    each of its files.
    """

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
    items = value if isinstance(value, list | tuple) else [value]
    found: list[Source] = []
    of_patterns: list[Source] = []
    for i, item in enumerate(items):
        where = place.item(i) if isinstance(value, list | tuple) else place
        sources, of_pattern = _files_of(_source(item, where), where)
        for source in sources:
            # Whoever names a file twice in full means it; a pattern may well overlap with another.
            if source in found and (of_pattern or source in of_patterns):
                where.fail(f"{source.path} is named twice; its frames would count twice")
            found.append(source)
        of_patterns += sources if of_pattern else []
    return tuple(found)


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


@dataclass(frozen=True)
class TermSettings(Checked):
    """What every kind of term has; None means: chosen from the data by the fit.

    A new kind is a subclass with its own `kind`, defaults and fields, entered in TERM_KINDS.
    """

    kind: ClassVar[str]

    cutoff: float | None = field(default=None, metadata=read_by(optional(_DISTANCE)))  # Å
    n_sparse: Any = field(default=None, metadata=read_by(optional(_SPARSE)))
    delta: float | None = field(default=None, metadata=read_by(optional(_SIGMA)))  # eV
    sparse_method: str | None = field(
        default=None, metadata=read_by(optional(choice(*SPARSE_METHODS)))
    )
    cutoff_width: float | None = field(default=None, metadata=read_by(optional(_DISTANCE)))  # Å

    def cross_check(self) -> None:
        """Raise CrossCheckError for a transition wider than the cutoff."""
        if (
            self.cutoff_width is not None
            and self.cutoff is not None
            and self.cutoff_width > self.cutoff
        ):
            found = f"{self.cutoff_width:g} Å is wider than the cutoff, {self.cutoff:g} Å"
            raise CrossCheckError("cutoff_width", found)

    def to_dict(self) -> dict[str, Any]:
        """The term as it stands in a settings file, `kind` first."""
        return {"kind": self.kind} | {f.name: plain(getattr(self, f.name)) for f in fields(self)}


def plain(value: Any) -> Any:
    """Settings as plain values, lists and dictionaries."""
    if isinstance(value, Checked):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}  # type: ignore[arg-type]
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value


@dataclass(frozen=True)
class FewBodySettings(TermSettings):
    """A function of interatomic distances.

    `n_sparse` is a number for each combination of species; where it is not given, `n_sparse_factor`
    times what the fit chooses.
    """

    cutoff: float = field(default=5.0, metadata=read_by(_DISTANCE))
    n_sparse: int | None = field(default=None, metadata=read_by(optional(_SPARSE)))
    n_sparse_factor: float = field(default=1.0, metadata=read_by(number(above=0, at_most=100)))
    lengthscale: float | None = field(default=None, metadata=read_by(optional(_DISTANCE)))  # Å
    kernel: str = field(default="squared_exponential", metadata=read_by(choice(*KERNELS)))


@dataclass(frozen=True)
class TwoBodySettings(FewBodySettings):
    """A function of the distance of two atoms, one per pair of species."""

    kind: ClassVar[str] = "two_body"

    cutoff: float = field(default=5.5, metadata=read_by(_DISTANCE))


@dataclass(frozen=True)
class ThreeBodySettings(FewBodySettings):
    """A function of the distances among three atoms.

    `symmetry`: "central" has one function per central species and pair of neighbours, symmetric
    under the exchange of the neighbours; "full" is symmetric under all permutations.
    """

    kind: ClassVar[str] = "three_body"

    cutoff: float = field(default=4.0, metadata=read_by(_DISTANCE))
    symmetry: str = field(default="central", metadata=read_by(choice("central", "full")))


def _element(symbol: Any, place: Place) -> str:
    if symbol not in SYMBOLS[1:]:
        place.fail(f'"{printable(symbol, QUOTED)}" is not the symbol of an element')
    return str(symbol)


def _per_species(value: Any, place: Place) -> int | dict[str, int]:
    if not isinstance(value, Mapping):
        return int(_SPARSE(value, place))
    return {_element(s, place.key(s)): int(_SPARSE(n, place.key(s))) for s, n in value.items()}


def _quotas(value: Any, place: Place) -> dict[str, int]:
    given = mapping({} if value is None else value, place, "Liquid: 200")
    return {str(group): int(_SPARSE(n, place.key(group))) for group, n in given.items()}


@dataclass(frozen=True)
class EnvironmentSettings(TermSettings):
    """A function of whole environments of atoms, one per species of the centre.

    `n_sparse` is a number for each species of centre, or a number of each: {Si: 500, O: 300}; where it
    is not given, `n_sparse_factor` times what the fit chooses from the data.
    """

    n_sparse: int | Mapping[str, int] | None = field(
        default=None, metadata=read_by(optional(_per_species))
    )
    sparse_method: str | None = field(
        default=None, metadata=read_by(optional(choice(*ENVIRONMENT_SPARSE_METHODS)))
    )
    n_sparse_factor: float = field(default=1.0, metadata=read_by(number(above=0, at_most=100)))
    config_type_n_sparse: Mapping[str, int] = field(default_factory=dict, metadata=read_by(_quotas))


_SIMILARITY = number(at_least=-1, at_most=1)


def _kappa(value: Any, place: Place) -> dict[str, float]:
    found = {}
    for pair, similarity in mapping(value, place, "Si-O: 0.3").items():
        names = str(pair).split("-")
        if len(names) != 2 or names[0] == names[1]:
            place.key(pair).fail("expected two different elements, such as Si-O")
        for symbol in names:
            _element(symbol, place.key(pair))
        found["-".join(names)] = float(_SIMILARITY(similarity, place.key(pair)))
    return found


@dataclass(frozen=True)
class RadialScaling(Checked):
    """Weight 1 / (1 + (r / radius)^exponent) of a neighbour at distance r."""

    radius: float = field(default=2.0, metadata=read_by(_DISTANCE))  # Å
    exponent: float = field(default=4.0, metadata=read_by(number(above=0, at_most=20)))


@dataclass(frozen=True)
class SoapSettings(EnvironmentSettings):
    """A function of the smooth overlap of atomic positions: the power spectrum of the density of
    neighbours, compared by the normalised dot product to the power `zeta`.

    `kappa` gives the similarity of pairs of elements; `n_species_channels` mixes the elements'
    densities in that many channels, learned from the data. A term without a `cutoff` stands for
    `n_scales` terms of different reach and resolution, which share its sparse points: 2, the fine one's
    reach by evidence, or 1 where cutoff_width or atom_sigma are given.
    """

    kind: ClassVar[str] = "soap"

    n_max: int = field(default=8, metadata=read_by(integer(at_least=1, at_most=32)))
    l_max: int = field(default=6, metadata=read_by(integer(at_least=0, at_most=20)))
    atom_sigma: float | None = field(
        default=None, metadata=read_by(optional(number(at_least=0.05, at_most=5)))
    )
    zeta: int = field(default=2, metadata=read_by(integer(at_least=1, at_most=4)))
    radial_scaling: RadialScaling | None = field(
        default=None, metadata=read_by(optional(nested(RadialScaling, "radius: 2, exponent: 4")))
    )
    n_species_channels: int | None = field(
        default=None, metadata=read_by(optional(integer(at_least=1, at_most=118)))
    )
    n_scales: int | None = field(
        default=None, metadata=read_by(optional(integer(at_least=1, at_most=2)))
    )
    kappa: Mapping[str, float] | None = field(default=None, metadata=read_by(optional(_kappa)))

    def cross_check(self) -> None:
        """Raise CrossCheckError for settings that exclude each other."""
        super().cross_check()
        if self.cutoff is not None and self.n_scales not in (None, 1):
            raise CrossCheckError("n_scales", "is for terms without a cutoff, which choose several")
        if self.kappa is not None and self.n_species_channels is not None:
            raise CrossCheckError("kappa", "goes not together with n_species_channels; give one")


_WEIGHT = number(at_least=0, at_most=100)


def _weights(value: Any, place: Place) -> dict[str, float]:
    given = mapping({} if value is None else value, place, "Al: 0.6")
    return {_element(s, place.key(s)): float(_WEIGHT(w, place.key(s))) for s, w in given.items()}


@dataclass(frozen=True)
class EmbeddingSettings(TermSettings):
    """A function of the density of the neighbours, one for each species of centre.

    `density`: "polynomial", weight (1 - r / cutoff)^exponent, or "exponential", weight
    exp(-decay r) with a transition to zero over `cutoff_width`. `weights` of the neighbours'
    elements are 1 where none is given. The `lengthscale` is in units of the largest density in the
    data.
    """

    kind: ClassVar[str] = "embedding"

    cutoff: float = field(default=5.5, metadata=read_by(_DISTANCE))
    n_sparse: int = field(default=20, metadata=read_by(_SPARSE))  # per species of centre
    lengthscale: float | None = field(
        default=None, metadata=read_by(optional(number(at_least=0.01, at_most=100)))
    )
    kernel: str = field(default="squared_exponential", metadata=read_by(choice(*KERNELS)))
    density: str = field(default="polynomial", metadata=read_by(choice(*DENSITIES)))
    exponent: float | None = field(
        default=None, metadata=read_by(optional(number(at_least=2, at_most=30)))
    )
    decay: float | None = field(
        default=None, metadata=read_by(optional(number(above=0, at_most=20)))
    )  # 1/Å
    weights: Mapping[str, float] = field(default_factory=dict, metadata=read_by(_weights))

    def cross_check(self) -> None:
        """Raise CrossCheckError for parameters of the other density."""
        super().cross_check()
        if self.sparse_method not in (None, "uniform"):
            raise CrossCheckError("sparse_method", "is always uniform in embedding terms")
        others = ("decay", "cutoff_width") if self.density == "polynomial" else ("exponent",)
        for other in others:
            if getattr(self, other) is not None:
                raise CrossCheckError(other, f"is not a parameter of the {self.density} density")


@dataclass(frozen=True)
class NBodySettings(EnvironmentSettings):
    """A many-body function made of the 3-body kernel of whole environments; it has no map.

    `kernel`: "power" takes the 3-body kernel to the integer `power` (default 2): functions of up to
    2 power + 1 atoms; "squared_exponential" acts on its distance, with `distance_lengthscale` in units
    of the typical length of an environment's descriptor. `lengthscale` is that of the triplets, and
    `n_features` the number of inducing triplets for each centre and pair of neighbours' species.
    """

    kind: ClassVar[str] = "nbody"

    cutoff: float = field(default=4.0, metadata=read_by(_DISTANCE))
    lengthscale: float | None = field(default=None, metadata=read_by(optional(_DISTANCE)))  # Å
    kernel: str = field(default="power", metadata=read_by(choice("power", "squared_exponential")))
    power: int | None = field(
        default=None, metadata=read_by(optional(integer(at_least=1, at_most=8)))
    )
    distance_lengthscale: float | None = field(
        default=None, metadata=read_by(optional(number(above=0, at_most=1e6)))
    )
    n_features: int = field(default=100, metadata=read_by(integer(at_least=1, at_most=5000)))

    def cross_check(self) -> None:
        """Raise CrossCheckError for a setting of the kernel that was not chosen."""
        super().cross_check()
        of_kernel = {"power": "power", "distance_lengthscale": "squared_exponential"}
        for key, kernel in of_kernel.items():
            if getattr(self, key) is not None and self.kernel != kernel:
                raise CrossCheckError(key, f"goes with kernel: {kernel}, not {self.kernel}")


TERM_KINDS: dict[str, type[TermSettings]] = {
    cls.kind: cls
    for cls in (
        TwoBodySettings,
        ThreeBodySettings,
        EmbeddingSettings,
        SoapSettings,
        NBodySettings,
    )
}


def _term(value: Any, place: Place) -> TermSettings:
    if isinstance(value, TermSettings):
        return value
    given = dict(mapping(value, place, "kind: two_body, cutoff: 5.5"))
    if "kind" not in given:
        place.key("kind").fail(f"is missing; known kinds are {', '.join(TERM_KINDS)}")
    kind = choice(*TERM_KINDS)(given.pop("kind"), place.key("kind"))
    return read_fields(TERM_KINDS[kind], given, place)


def _terms(value: Any, place: Place) -> tuple[TermSettings, ...]:
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
    """

    tolerance: float = field(default=1e-4, metadata=read_by(number(at_least=1e-10, at_most=1)))
    soap: str | None = field(default=None, metadata=read_by(optional(choice("exact", "low_rank"))))


def _e0(value: Any, place: Place) -> str | dict[str, float]:
    if isinstance(value, Mapping) and value:
        for symbol in value:
            if symbol not in SYMBOLS[1:]:
                place.key(symbol).fail(
                    f'"{printable(symbol, QUOTED)}" is not the symbol of an element'
                )
        read = number()
        return {symbol: read(energy, place.key(symbol)) for symbol, energy in value.items()}
    if value not in ("average", "isolated"):
        place.fail(
            f"{quoted(value)} is not one of average, isolated, or energies in eV such as {{Si: -0.79}}"
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
        write_whole(Path(path), head + yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
