"""The potential file: spline tables and a short-range core, what molecular dynamics needs.

FORMAT ``forcemap.potential``, version 1. A safetensors file with one JSON document (see
:mod:`forcemap.potentials.container`)::

    {"format": "forcemap.potential", "version": 1, "forcemap_version": "0.1.0",
     "species": ["H", "O"],
     "units": {"energy": "eV", "length": "Å"},
     "terms": [
       {"kind": "two_body", "cutoff": 5.5, "intervals": 200,
        "tables": [["H", "H"], ["H", "O"], ["O", "O"]]},
       {"kind": "three_body", "cutoff": 4.0, "leg_intervals": 60, "base_intervals": 120,
        "tables": [["O", "H", "H"], ["O", "H", "O"]]},
       {"kind": "soap", "cutoff": 5.0, "intervals": 64, "n_max": 8, "l_max": 6, "channels": 2,
        "zeta": 2, "centers": [{"species": "O", "count": 64, "constant": -0.1}]},
       {"kind": "embedding", "cutoff": 5.0, "intervals": 50, "tables": [["O", "H"], ["O", "O"]],
        "centers": [{"species": "O", "intervals": 50, "range": 1.25}]},
       {"kind": "zbl", "pairs": [{"species": ["H", "H"], "inner": 0.4, "outer": 0.7}]}],
     "provenance": {}, "mapping": {}}

``species`` stand by increasing atomic number. A table of two species is an unordered pair, one of
three a centre and an unordered pair of neighbours; in each pair the lower atomic number comes
first, and a term has no table twice. Species without a table do not interact in that term. Several
terms of one kind add up, but a pair has one core. ``provenance`` and ``mapping`` are free objects,
for people; both may be absent. Any other entry is an error.

Tensors, all F64, eV: ``e0`` (species,), the energies of the isolated atoms; for the term at index i
``terms.i.A-B`` (intervals + 3,) and ``terms.i.C-A-B`` (leg + 3, leg + 3, base + 3); for a soap term
``terms.i.radial`` (intervals + 3, l_max + 1, n_max), ``terms.i.self`` (n_max), ``terms.i.weights``
(channels, species) and for each of its centres ``terms.i.A.vectors`` (count, dimension) and
``terms.i.A.factors`` (count,), eV; for an embedding term ``terms.i.A-B`` (intervals + 3,), without
unit, and for each of its centres ``terms.i.A`` (its intervals + 3,), eV.

The energy is the sum over atoms i of

    e0(i) + sum_j f(r_ij) + sum_{j<k} g(r_ij, r_ik, r_jk) + 1/2 sum_j zbl(r_ij)

over neighbours j and unordered pairs of neighbours {j, k} whose r_ij and r_ik lie within the
cutoff. f is a cubic spline on n uniform intervals of width h over [0, cutoff] in B-spline form: for
r in interval m and t = r/h - m

    f(r) = sum_{a=0..3} B_a(t) c[m + a],
    B_0 = (1-t)^3/6, B_1 = (3t^3-6t^2+4)/6, B_2 = (-3t^3+3t^2+3t+1)/6, B_3 = t^3/6,

and g the tensor product of such bases: leg_intervals over [0, cutoff] in r_ij and r_ik,
base_intervals over [0, 2 cutoff] in r_jk. A table with equal neighbour species is symmetric in its
first two indices.

The soap energy of a centre of species A is

    sum_k factors[k] (vectors[k] . p / |p|)^zeta - constant,
    p[l, a <= b] = (2 l + 1)^-1/2 sum_m c[l, m, a] c[l, m, b]  (times sqrt 2 where a < b),
    c[l, m, (alpha, n)] = weights[alpha, A] self[n] (for l = 0)
                          + sum_j weights[alpha, species of j] R[n, l](r_ij) Y[l, m](r_ij)

with real orthonormal spherical harmonics Y (no Condon-Shortley sign), a = alpha n_max + n, p in the
order l, a, b (dimension = (l_max + 1) N (N + 1) / 2, N = channels n_max), and R[n, l] a cubic spline
as f over [0, cutoff] that vanishes at the cutoff with its derivative; constant is the sum for an
isolated atom. Species that are no centre have no energy in the term.

The embedding energy of a centre of species A is F(rho) - F(0) of the density rho = sum_j phi(r_ij).
phi is a cubic spline as f over [0, cutoff], that of the table A-B for neighbours of species B (here
the order matters: A-B and B-A are different tables, and need not be there both), and vanishes at the
cutoff with its derivative; F is a cubic spline over [0, range], continued linearly below and above.
Species that are no centre have no energy in the term. zbl is the switched Ziegler-Biersack-Littmark
energy of LAMMPS' ``pair_style zbl``.

Limits: 118 species, cutoffs 0 < rc <= 100 Å, 1 to 100000 intervals, 0 <= inner < outer <= 100 Å,
n_max and channels 1 to 128, l_max 0 to 20, zeta 1 to 4, 1 to 1000000 vectors, 1e-9 < range <= 1e9, a
file of 4 GiB with a header of 64 MiB. The C++ reader in cpp/src/potential_file.cpp makes the same
checks.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeAlias

import numpy as np
from forcemap.potentials.container import (
    Container,
    check_whole,
    container_bytes,
    read_container,
    read_document,
    write_container,
)
from forcemap.potentials.document import DocumentView
from forcemap.potentials.elements import SYMBOLS, atomic_number
from forcemap.potentials.errors import ForcemapError, ModelFileError
from forcemap.potentials.quoting import quoted
from numpy.typing import NDArray

__all__ = [
    "EmbeddingCenter",
    "EmbeddingFunctions",
    "PotentialData",
    "SoapCenter",
    "SoapFunctions",
    "ThreeBodySplines",
    "TwoBodySplines",
    "ZblPairs",
    "file_format",
    "potential_bytes",
    "read_potential",
    "write_potential",
]

POTENTIAL_FORMAT = "forcemap.potential"
MODEL_FORMAT = "forcemap.model"
VERSION = 1

MAX_INTERVALS = 100_000
MAX_DISTANCE = 100.0  # Å
MAX_DENSITY = 1e9
SYMMETRY_TOLERANCE = 1e-9  # of a table, relative to its largest coefficient

MAX_SOAP = {"n_max": 128, "channels": 128, "l_max": 20, "zeta": 4, "vectors": 1_000_000}

Pair: TypeAlias = tuple[str, str]
Triplet: TypeAlias = tuple[str, str, str]
Coefficients: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TwoBodySplines:
    """Half the pair energy as a spline of the distance, for each pair of species."""

    cutoff: float  # Å
    intervals: int  # over [0, cutoff]
    tables: Mapping[Pair, Coefficients]  # (intervals + 3,), eV; lower atomic number first


@dataclass(frozen=True, eq=False)
class ThreeBodySplines:
    """Energy of a centre and two neighbours as a spline of (r_ij, r_ik, r_jk)."""

    cutoff: float  # Å, of r_ij and r_ik
    leg_intervals: int  # over [0, cutoff]
    base_intervals: int  # over [0, 2 cutoff], of r_jk
    tables: Mapping[Triplet, Coefficients]  # (leg + 3, leg + 3, base + 3), eV; centre first


@dataclass(frozen=True, eq=False)
class SoapCenter:
    """Energy of the atoms of one species as a function of their power spectrum."""

    factors: Coefficients  # (count,), eV
    vectors: Coefficients  # (count, dimension)
    constant: float  # eV


@dataclass(frozen=True, eq=False)
class SoapFunctions:
    """Site energies that depend on the power spectrum of the neighbours' density."""

    cutoff: float  # Å
    intervals: int  # of the radial splines over [0, cutoff]
    n_max: int
    l_max: int
    zeta: int
    radial: Coefficients  # (intervals + 3, l_max + 1, n_max)
    self_density: Coefficients  # (n_max,)
    weights: Coefficients  # (channels, species)
    centers: Mapping[str, SoapCenter]

    @property
    def dimension(self) -> int:
        """Numbers of the power spectrum."""
        width = len(self.weights) * self.n_max
        return (self.l_max + 1) * (width * (width + 1) // 2)


@dataclass(frozen=True, eq=False)
class EmbeddingCenter:
    """Energy of the atoms of one species as a spline of the density at them."""

    range: float  # of the density; linear beyond
    coefficients: Coefficients  # (intervals + 3,), eV


@dataclass(frozen=True, eq=False)
class EmbeddingFunctions:
    """Site energies that depend on the density of the neighbours, a sum over them."""

    cutoff: float  # Å
    intervals: int  # of the densities over [0, cutoff]
    densities: Mapping[Pair, Coefficients]  # (intervals + 3,); centre first, then neighbour
    centers: Mapping[str, EmbeddingCenter]


@dataclass(frozen=True, eq=False)
class ZblPairs:
    """Switched ZBL repulsion: for each pair of species the distances (inner, outer) in Å."""

    pairs: Mapping[Pair, tuple[float, float]]


Term: TypeAlias = TwoBodySplines | ThreeBodySplines | SoapFunctions | EmbeddingFunctions | ZblPairs


@dataclass(frozen=True, eq=False)
class PotentialData:
    """The content of a potential file, as described at the top of this module."""

    species: tuple[str, ...]  # by increasing atomic number
    e0: Mapping[str, float]  # eV
    terms: tuple[Term, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    mapping: Mapping[str, Any] = field(default_factory=dict)
    forcemap_version: str = ""  # that wrote the file; filled by read_potential


def write_potential(data: PotentialData, path: str | os.PathLike[str]) -> None:
    """Write a potential file, whole or not at all.

    Raises ModelFileError if `data` is not what the format asks for or the file cannot be written.
    """
    write_container(path, *_contents(data, path))


def potential_bytes(data: PotentialData) -> bytes:
    """The bytes that `write_potential` writes, which `forcemap.potentials.Potential` takes.

    Raises ModelFileError if `data` is not what the format asks for.
    """
    return container_bytes("potential", *_contents(data, "potential"))


def _contents(
    data: PotentialData, path: str | os.PathLike[str]
) -> tuple[dict[str, Any], dict[str, Coefficients]]:
    """The document and the tensors of a file; `path` is used in messages."""
    from forcemap import __version__

    _check(data, f"writing {path}")
    document: dict[str, Any] = {
        "format": POTENTIAL_FORMAT,
        "version": VERSION,
        "forcemap_version": __version__,
        "species": list(data.species),
        "units": {"energy": "eV", "length": "Å"},
        "terms": [_term_document(term) for term in data.terms],
        "provenance": dict(data.provenance),
        "mapping": dict(data.mapping),
    }
    tensors = {"e0": np.array([data.e0[symbol] for symbol in data.species], dtype=np.float64)}
    for index, term in enumerate(data.terms):
        if isinstance(term, SoapFunctions):
            for name, values in _soap_tensors(term, index).items():
                tensors[name] = np.asarray(values, dtype=np.float64)
        elif isinstance(term, EmbeddingFunctions):
            for name, values in _embedding_tensors(term, index).items():
                tensors[name] = np.asarray(values, dtype=np.float64)
        elif not isinstance(term, ZblPairs):
            for species, table in term.tables.items():
                tensors[_tensor_name(index, species)] = np.asarray(table, dtype=np.float64)
    return document, tensors


def read_potential(path: str | os.PathLike[str]) -> PotentialData:
    """Read a potential file. Raises ModelFileError that tells what is wrong with the file."""
    container = read_container(path)
    root = DocumentView(container.document, f"{container.path}, document")
    _check_format(root, container.path)
    root.allow_only(
        *("format", "version", "forcemap_version", "species", "units", "terms"),
        *("provenance", "mapping"),
    )
    _check_units(root["units"])
    species = tuple(item.string() for item in root["species"])
    e0 = container.tensor("e0", (len(species),))
    used = {"e0"}
    terms = tuple(
        _read_term(term, index, container, used, species)
        for index, term in enumerate(root["terms"])
    )
    data = PotentialData(
        species=species,
        e0=dict(zip(species, e0.tolist(), strict=True)),
        terms=terms,
        provenance=root["provenance"].members() if "provenance" in root else {},
        mapping=root["mapping"].members() if "mapping" in root else {},
        forcemap_version=root["forcemap_version"].string(),
    )
    _check(data, str(container.path))
    for name in container.tensors:
        if name not in used:
            raise ModelFileError(
                f"{container.path}: found the tensor {quoted(name)}, which no term uses"
            )
    return data


def file_format(path: str | os.PathLike[str]) -> Literal["forcemap.potential", "forcemap.model"]:
    """Which of the two kinds of file this is. Raises ModelFileError if it is neither, or cut off."""
    check_whole(path)
    found = DocumentView(read_document(path), f"{path}, document")["format"]
    match found.string():
        case "forcemap.potential":
            return "forcemap.potential"
        case "forcemap.model":
            return "forcemap.model"
        case other:
            found.reject(f"found {quoted(other)}, expected {POTENTIAL_FORMAT} or {MODEL_FORMAT}")


def _check_format(root: DocumentView, path: Path) -> None:
    found = root["format"].string()
    if found == MODEL_FORMAT:
        raise ModelFileError(
            f"{path}: found a Gaussian-process model, expected its map; make it with: "
            f"forcemap map {path} -o potential.forcemap"
        )
    if found != POTENTIAL_FORMAT:
        root["format"].reject(f"found {quoted(found)}, expected {POTENTIAL_FORMAT!r}")
    version = root["version"].integer(1, 2**31 - 1)
    if version > VERSION:
        raise ModelFileError(
            f"{path}: found format version {version}, expected at most {VERSION}: "
            "the file was written by a newer forcemap; upgrade forcemap"
        )


def _check_units(units: DocumentView) -> None:
    units.allow_only("energy", "length")
    for name, expected in (("energy", "eV"), ("length", "Å")):
        if units[name].string() != expected:
            units[name].reject(f"found {units[name].description()}, expected {expected}")


def _term_document(term: Term) -> dict[str, Any]:
    if isinstance(term, ZblPairs):
        pairs = [
            {"species": list(species), "inner": float(inner), "outer": float(outer)}
            for species, (inner, outer) in term.pairs.items()
        ]
        return {"kind": "zbl", "pairs": pairs}
    cutoff = float(term.cutoff)
    if isinstance(term, SoapFunctions):
        return {
            "kind": "soap",
            "cutoff": cutoff,
            "intervals": int(term.intervals),
            "n_max": int(term.n_max),
            "l_max": int(term.l_max),
            "channels": len(term.weights),
            "zeta": int(term.zeta),
            "centers": [
                {"species": symbol, "count": len(c.factors), "constant": float(c.constant)}
                for symbol, c in term.centers.items()
            ],
        }
    if isinstance(term, EmbeddingFunctions):
        return {
            "kind": "embedding",
            "cutoff": cutoff,
            "intervals": int(term.intervals),
            "tables": [list(pair) for pair in term.densities],
            "centers": [
                {
                    "species": symbol,
                    "intervals": len(center.coefficients) - 3,
                    "range": float(center.range),
                }
                for symbol, center in term.centers.items()
            ],
        }
    tables = [list(species) for species in term.tables]
    if isinstance(term, TwoBodySplines):
        intervals = int(term.intervals)
        return {"kind": "two_body", "cutoff": cutoff, "intervals": intervals, "tables": tables}
    return {
        "kind": "three_body",
        "cutoff": cutoff,
        "leg_intervals": int(term.leg_intervals),
        "base_intervals": int(term.base_intervals),
        "tables": tables,
    }


def _tensor_name(index: int, species: Iterable[str]) -> str:
    return f"terms.{index}.{'-'.join(species)}"


def _soap_tensors(term: SoapFunctions, index: int) -> dict[str, Coefficients]:
    tensors = {
        f"terms.{index}.radial": term.radial,
        f"terms.{index}.self": term.self_density,
        f"terms.{index}.weights": term.weights,
    }
    for symbol, center in term.centers.items():
        tensors[f"terms.{index}.{symbol}.vectors"] = center.vectors
        tensors[f"terms.{index}.{symbol}.factors"] = center.factors
    return tensors


def _embedding_tensors(term: EmbeddingFunctions, index: int) -> dict[str, Coefficients]:
    tensors = {_tensor_name(index, pair): table for pair, table in term.densities.items()}
    for symbol, center in term.centers.items():
        tensors[_tensor_name(index, (symbol,))] = center.coefficients
    return tensors


def _read_embedding(
    json: DocumentView, index: int, container: Container, used: set[str]
) -> EmbeddingFunctions:
    json.allow_only("kind", "cutoff", "intervals", "tables", "centers")

    def tensor(place: DocumentView, species: tuple[str, ...], count: int) -> Coefficients:
        name = _tensor_name(index, species)
        if name in used:
            place.reject(f"found {quoted('-'.join(species))} twice")
        used.add(name)
        return container.tensor(name, (count + 3,))

    intervals = json["intervals"].integer(1, MAX_INTERVALS)
    pairs = [_read_pair(item) for item in json["tables"]]
    densities = {pair: tensor(json["tables"], pair, intervals) for pair in pairs}
    centers: dict[str, EmbeddingCenter] = {}
    for item in json["centers"]:
        item.allow_only("species", "intervals", "range")
        symbol = item["species"].string()
        count = item["intervals"].integer(1, MAX_INTERVALS)
        centers[symbol] = EmbeddingCenter(item["range"].number(), tensor(item, (symbol,), count))
    return EmbeddingFunctions(json["cutoff"].number(), intervals, densities, centers)


def _read_soap(
    json: DocumentView, index: int, container: Container, used: set[str], species: tuple[str, ...]
) -> SoapFunctions:
    json.allow_only(
        *("kind", "cutoff", "intervals", "n_max", "l_max", "channels", "zeta", "centers")
    )

    def tensor(name: str, *shape: int) -> Coefficients:
        used.add(f"terms.{index}.{name}")
        return container.tensor(f"terms.{index}.{name}", shape)

    intervals = json["intervals"].integer(1, MAX_INTERVALS)
    n_max, l_max, channels, zeta = (
        json[name].integer(0 if name == "l_max" else 1, MAX_SOAP[name])
        for name in ("n_max", "l_max", "channels", "zeta")
    )
    width = channels * n_max
    dimension = (l_max + 1) * (width * (width + 1) // 2)
    centers: dict[str, SoapCenter] = {}
    for item in json["centers"]:
        item.allow_only("species", "count", "constant")
        symbol = item["species"].string()
        if symbol not in species:
            item["species"].reject(f"found {quoted(symbol)}, expected one of the file's species")
        if symbol in centers:
            item["species"].reject("found a species that stands before")
        count = item["count"].integer(1, MAX_SOAP["vectors"])
        centers[symbol] = SoapCenter(
            tensor(f"{symbol}.factors", count),
            tensor(f"{symbol}.vectors", count, dimension),
            item["constant"].number(),
        )
    return SoapFunctions(
        cutoff=json["cutoff"].number(),
        intervals=intervals,
        n_max=n_max,
        l_max=l_max,
        zeta=zeta,
        radial=tensor("radial", intervals + 3, l_max + 1, n_max),
        self_density=tensor("self", n_max),
        weights=tensor("weights", channels, len(species)),
        centers=centers,
    )


def _read_term(
    json: DocumentView, index: int, container: Container, used: set[str], known: tuple[str, ...]
) -> Term:
    """Read the term at `index`; adds the names of its tensors to `used`."""

    def tensor(species: tuple[str, ...], shape: tuple[int, ...]) -> Coefficients:
        name = _tensor_name(index, species)
        if name in used:
            json["tables"].reject(f"found the table {'-'.join(species)} twice")
        used.add(name)
        return container.tensor(name, shape)

    kind = json["kind"].string()
    if kind == "two_body":
        json.allow_only("kind", "cutoff", "intervals", "tables")
        intervals = json["intervals"].integer(1, MAX_INTERVALS)
        pairs = [_read_pair(item) for item in json["tables"]]
        two_body = {pair: tensor(pair, (intervals + 3,)) for pair in pairs}
        return TwoBodySplines(json["cutoff"].number(), intervals, two_body)
    if kind == "three_body":
        json.allow_only("kind", "cutoff", "leg_intervals", "base_intervals", "tables")
        legs = json["leg_intervals"].integer(1, MAX_INTERVALS)
        base = json["base_intervals"].integer(1, MAX_INTERVALS)
        shape = (legs + 3, legs + 3, base + 3)
        triplets = [_read_triplet(item) for item in json["tables"]]
        three_body = {triplet: tensor(triplet, shape) for triplet in triplets}
        return ThreeBodySplines(json["cutoff"].number(), legs, base, three_body)
    if kind == "soap":
        return _read_soap(json, index, container, used, known)
    if kind == "embedding":
        return _read_embedding(json, index, container, used)
    if kind == "zbl":
        json.allow_only("kind", "pairs")
        cores: dict[Pair, tuple[float, float]] = {}
        for item in json["pairs"]:
            item.allow_only("species", "inner", "outer")
            pair = _read_pair(item["species"])
            if pair in cores:
                item["species"].reject("found a pair that has its core already")
            cores[pair] = (item["inner"].number(), item["outer"].number())
        return ZblPairs(cores)
    json["kind"].reject(
        f"found {quoted(kind)}, expected two_body, three_body, soap, embedding or zbl"
    )


def _read_pair(json: DocumentView) -> Pair:
    species = [item.string() for item in json]
    if len(species) != 2:
        json.reject(f"found an array of {len(species)}, expected 2 species")
    return species[0], species[1]


def _read_triplet(json: DocumentView) -> Triplet:
    species = [item.string() for item in json]
    if len(species) != 3:
        json.reject(f"found an array of {len(species)}, expected 3 species")
    return species[0], species[1], species[2]


def _check(data: PotentialData, what: str) -> None:
    """Raise ModelFileError unless `data` is what the format asks for."""
    _check_species(data, what)
    if not data.terms:
        raise ModelFileError(f"{what}: terms: found none, expected at least one term")
    cores: set[tuple[str, ...]] = set()
    for index, term in enumerate(data.terms):
        where = f"{what}: terms[{index}]"
        if isinstance(term, ZblPairs):
            _check_cores(term, data.species, cores, where)
        elif isinstance(term, SoapFunctions):
            _check_soap(term, data.species, where)
        elif isinstance(term, EmbeddingFunctions):
            _check_embedding(term, data.species, where)
        else:
            _check_splines(term, data.species, where)


def _check_species(data: PotentialData, what: str) -> None:
    if not 1 <= len(data.species) < len(SYMBOLS):
        raise ModelFileError(
            f"{what}: species: found {len(data.species)}, expected 1 to {len(SYMBOLS) - 1}"
        )
    last = 0
    for index, symbol in enumerate(data.species):
        try:
            number = atomic_number(symbol)
        except ForcemapError as error:
            raise ModelFileError(f"{what}: species[{index}]: {error}") from None
        if number <= last:
            raise ModelFileError(
                f"{what}: species[{index}]: found {symbol} after {SYMBOLS[last]}, "
                "expected increasing atomic numbers"
            )
        last = number
    if set(data.e0) != set(data.species):
        raise ModelFileError(
            f"{what}: e0: found energies of {', '.join(data.e0) or 'nothing'}, "
            f"expected {', '.join(data.species)}"
        )
    for symbol, energy in data.e0.items():
        if not np.isfinite(energy):
            raise ModelFileError(f"{what}: e0: found {energy} for {symbol}, expected a number")


def _check_table_species(table: tuple[str, ...], species: tuple[str, ...], where: str) -> None:
    for symbol in table:
        if symbol not in species:
            raise ModelFileError(
                f"{where}: found {quoted(symbol)}, expected one of the file's species"
            )
    if species.index(table[-2]) > species.index(table[-1]):
        raise ModelFileError(
            f"{where}: found {'-'.join(table)}, expected the lower atomic number first"
        )


def _check_cores(
    term: ZblPairs, species: tuple[str, ...], cores: set[tuple[str, ...]], where: str
) -> None:
    """Check a zbl term; `cores` collects the pairs of all such terms."""
    if not term.pairs:
        raise ModelFileError(f"{where}.pairs: found none, expected at least one pair")
    for pair, (inner, outer) in term.pairs.items():
        _check_table_species(pair, species, f"{where}.pairs")
        if pair in cores:
            raise ModelFileError(
                f"{where}.pairs: found {'-'.join(pair)}, which has its core already"
            )
        cores.add(pair)
        if not 0.0 <= inner < outer <= MAX_DISTANCE:
            raise ModelFileError(
                f"{where}.pairs: {'-'.join(pair)}: found inner {inner} and outer {outer}, "
                f"expected 0 <= inner < outer <= {MAX_DISTANCE:g}"
            )


def _check_soap(term: SoapFunctions, species: tuple[str, ...], where: str) -> None:
    def reject(place: str, message: str) -> NoReturn:
        raise ModelFileError(f"{where}.{place}: {message}")

    if not 0.0 < term.cutoff <= MAX_DISTANCE:
        reject("cutoff", f"found {term.cutoff}, expected 0 < cutoff <= {MAX_DISTANCE:g}")
    sizes = {"n_max": term.n_max, "l_max": term.l_max, "zeta": term.zeta}
    for name, size in (sizes | {"channels": len(term.weights)}).items():
        lowest = 0 if name == "l_max" else 1
        if not lowest <= size <= MAX_SOAP[name]:
            reject(name, f"found {size}, expected an integer from {lowest} to {MAX_SOAP[name]}")
    if not 1 <= term.intervals <= MAX_INTERVALS:
        reject("intervals", f"found {term.intervals}, expected 1 to {MAX_INTERVALS}")
    if not term.centers:
        reject("centers", "found none, expected at least one")
    shapes: dict[str, tuple[Coefficients, tuple[int, ...]]] = {
        "radial": (term.radial, (term.intervals + 3, term.l_max + 1, term.n_max)),
        "self": (term.self_density, (term.n_max,)),
        "weights": (term.weights, (len(term.weights), len(species))),
    }
    for symbol, center in term.centers.items():
        if symbol not in species:
            reject("centers", f"found {quoted(symbol)}, expected one of the file's species")
        count = len(center.factors)
        if count < 1 or not np.isfinite(center.constant):
            reject(symbol, "found no vectors or a constant that is not finite")
        shapes[f"{symbol}.factors"] = (center.factors, (count,))
        shapes[f"{symbol}.vectors"] = (center.vectors, (count, term.dimension))
    for name, (values, shape) in shapes.items():
        if values.shape != shape:
            reject(name, f"found an array of shape {values.shape}, expected {shape}")
        if not np.isfinite(values).all():
            reject(name, "found a number that is not finite")


def _check_embedding(term: EmbeddingFunctions, species: tuple[str, ...], where: str) -> None:
    def reject(place: str, message: str) -> NoReturn:
        raise ModelFileError(f"{where}.{place}: {message}")

    if not 0.0 < term.cutoff <= MAX_DISTANCE:
        reject("cutoff", f"found {term.cutoff}, expected 0 < cutoff <= {MAX_DISTANCE:g}")
    if not 1 <= term.intervals <= MAX_INTERVALS:
        reject("intervals", f"found {term.intervals}, expected 1 to {MAX_INTERVALS}")
    if not term.densities:
        reject("tables", "found none, expected at least one table")
    if not term.centers:
        reject("centers", "found none, expected at least one")
    for key in [*term.densities, *((symbol,) for symbol in term.centers)]:
        for symbol in key:
            if symbol not in species:
                place = "tables" if len(key) == 2 else "centers"
                reject(place, f"found {quoted(symbol)}, expected one of the file's species")
    for pair, table in term.densities.items():
        _check_table(np.asarray(table), (term.intervals + 3,), pair, f"{where}.{'-'.join(pair)}")
    for symbol, center in term.centers.items():
        if not 1.0 / MAX_DENSITY < center.range <= MAX_DENSITY:
            expected = f"{1.0 / MAX_DENSITY:g} < range <= {MAX_DENSITY:g}"
            reject(symbol, f"found the range {center.range}, expected {expected}")
        count = len(center.coefficients) - 3
        if not 1 <= count <= MAX_INTERVALS:
            reject(symbol, f"found {count} intervals, expected 1 to {MAX_INTERVALS}")
        _check_table(np.asarray(center.coefficients), (count + 3,), (symbol,), f"{where}.{symbol}")


def _check_splines(
    term: TwoBodySplines | ThreeBodySplines, species: tuple[str, ...], where: str
) -> None:
    if not 0.0 < term.cutoff <= MAX_DISTANCE:
        raise ModelFileError(
            f"{where}.cutoff: found {term.cutoff}, expected 0 < cutoff <= {MAX_DISTANCE:g}"
        )
    shape: tuple[int, ...]
    if isinstance(term, TwoBodySplines):
        intervals = {"intervals": term.intervals}
        shape = (term.intervals + 3,)
    else:
        intervals = {"leg_intervals": term.leg_intervals, "base_intervals": term.base_intervals}
        shape = (term.leg_intervals + 3, term.leg_intervals + 3, term.base_intervals + 3)
    for name, count in intervals.items():
        if not 1 <= count <= MAX_INTERVALS:
            raise ModelFileError(
                f"{where}.{name}: found {count}, expected an integer from 1 to {MAX_INTERVALS}"
            )
    if not term.tables:
        raise ModelFileError(f"{where}.tables: found none, expected at least one table")
    for key, table in term.tables.items():
        _check_table_species(key, species, f"{where}.tables")
        _check_table(np.asarray(table), shape, key, f"{where}.tables: {'-'.join(key)}")


def _check_table(
    table: Coefficients, shape: tuple[int, ...], key: tuple[str, ...], where: str
) -> None:
    def reject(message: str) -> NoReturn:
        raise ModelFileError(f"{where}: {message}")

    if table.dtype != np.float64 or table.shape != shape:
        reject(f"found {table.dtype} of shape {table.shape}, expected float64 of shape {shape}")
    if not np.isfinite(table).all():
        reject("found a coefficient that is not finite")
    if len(shape) == 3 and key[1] == key[2]:
        largest = float(np.abs(table).max())
        difference = float(np.abs(table - table.transpose(1, 0, 2)).max())
        if difference > SYMMETRY_TOLERANCE * largest:
            reject(
                f"found a table that changes by {difference:g} when its first two indices are "
                "exchanged, expected it symmetric: the neighbours are of one species"
            )
