"""The potential file: what molecular dynamics needs of a fit, its deviations included.

FORMAT ``forcemap.potential``, version 3. A safetensors file with one JSON document (see
:mod:`forcemap.potentials.file.container`)::

    {"format": "forcemap.potential", "version": 3, "forcemap_version": "0.1.0",
     "species": ["H", "O"],
     "units": {"energy": "eV", "length": "Å"},
     "terms": [
       {"kind": "two_body", "cutoff": 5.5, "intervals": 200,
        "tables": [["H", "H"], ["H", "O"], ["O", "O"]]},
       {"kind": "three_body", "cutoff": 4.0, "leg_intervals": 60, "base_intervals": 120,
        "tables": [["O", "H", "H"], ["O", "H", "O"]]},
       {"kind": "three_body_kernel", "cutoff": 4.0, "transition": 0.5, "coordinates": "distances",
        "covariance": "squared_exponential", "weight": "center", "pairs": "unordered",
        "tables": [["O", "H", "H"]]},
       {"kind": "soap", "cutoff": 5.0, "intervals": 64, "n_max": 8, "l_max": 6, "channels": 2,
        "zeta": 2, "centers": [{"species": "O", "count": 64, "constant": -0.1}]},
       {"kind": "soap_quadratic", "cutoff": 5.0, "intervals": 64, "n_max": 8, "l_max": 6,
        "channels": 2, "centers": [{"species": "O", "rank": 64}]},
       {"kind": "soap_contracted", "cutoff": 5.0, "intervals": 64, "n_max": 8, "l_max": 6,
        "channels": 10, "pairs": 25, "zeta": 4,
        "centers": [{"species": "O", "count": 64, "constant": -0.1}]},
       {"kind": "bispectrum", "cutoff": 4.5, "intervals": 64, "n_max": 2, "l_max": 3,
        "offset": 1.2, "products": 188, "centers": [{"species": "O"}]},
       {"kind": "embedding", "cutoff": 5.0, "intervals": 50, "tables": [["O", "H"], ["O", "O"]],
        "centers": [{"species": "O", "intervals": 50, "range": 1.25}]},
       {"kind": "zbl", "pairs": [{"species": ["H", "H"], "inner": 0.4, "outer": 0.7}]}],
     "provenance": {}, "mapping": {},
     "uncertainty": {"energy": {"factor": 3.1, "floor": 0.001, "noise": 0.002},
                     "force": {"factor": 8.3, "floor": 0.01, "noise": 0.04},
                     "stress": {"factor": 5.0, "floor": 0.0001, "noise": 0.001}},
     "draws": {"count": 16, "terms": [{"kind": "two_body", ...}, ...]},
     "grade": {"shortest": [{"species": ["H", "O"], "distance": 0.91}],
               "centers": [{"species": "O", "features": 32}],
               "moments": {"cutoff": 5.5, "radial": 4, "angular": {"cutoff": 4.0, "radial": 2}}}}

``species`` stand by increasing atomic number. A table of two species is an unordered pair, one of
three a centre and an unordered pair of neighbours; in each pair the lower atomic number comes
first, and a term has no table twice. Species without a table do not interact in that term. Several
terms of one kind add up, but a pair has one core. ``provenance`` and ``mapping`` are free objects,
for people; both may be absent, as may the three entries after them. Any other entry is an error.

Tensors, F64 unless said otherwise, eV: ``e0`` (species,), the energies of the isolated atoms; for
the term at index i ``terms.i.A-B`` (intervals + 3,) and ``terms.i.C-A-B`` (leg + 3, leg + 3,
base + 3); for a table of a three_body_kernel term ``terms.i.C-A-B.points`` (n, 3),
``terms.i.C-A-B.factors`` (n), eV, ``terms.i.C-A-B.constant`` (1), eV,
``terms.i.C-A-B.lengthscales`` (3) and ``terms.i.C-A-B.permutations`` (m, 3), or of a spline only
``terms.i.C-A-B.values`` (n + 3, m + 3, l + 3), eV; for a soap term
``terms.i.radial`` (intervals + degree, l_max + 1, n_max), ``terms.i.self`` (n_max), ``terms.i.weights``
(channels, species) and for each of its centres ``terms.i.A.vectors`` (count, dimension) and
``terms.i.A.factors`` (count,), eV; for a soap_quadratic term the first three of them and for each
centre ``terms.i.A.spectrum`` (dimension,), ``terms.i.A.lines`` (dimension,), eV,
``terms.i.A.subspace`` (rank, dimension) and ``terms.i.A.forms`` (rank, rank), eV; for a
soap_contracted term ``terms.i.radial``, ``terms.i.mixing`` (species, n_max, channels), ``terms.i.self``
(species, channels), ``terms.i.pairs`` (pairs, 2), whole numbers, ``terms.i.pair_weights`` (pairs,) and
the vectors and factors of its centres; for a bispectrum term ``terms.i.radial`` (species,
intervals + 3, l_max + 1, n_max), ``terms.i.products`` (products, 4), whole numbers, and for each of its
centres ``terms.i.A`` (products,), eV; for an embedding
term ``terms.i.A-B`` (intervals + 3,), without unit, and for each of its centres ``terms.i.A`` (its
intervals + 3,), eV.

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

Of draws (below) a table of three species is of single precision, and holds only the coefficients that
some triangle reaches: their parts of the energy are some hundred times as large as a draw's whole, so
that such a table may be neither coarse nor rounded further. ``draws.i.C-A-B`` (count, coefficients),
F32, has them in the order of the indices a, b, c of C-A-B; a <= b alone where A is B; and c from
floor(gap base / (2 leg)) to ceil(sum base / (2 leg)) + 2. There gap and sum are the least difference
and the largest sum of r_ij and r_ik where the splines a and b are not zero, between the knots
max(a - 3, 0) and min(a + 1, leg), in units of the spacing of these knots.

The three_body_kernel energy of a centre i is the sum over unordered pairs of neighbours {j, k} of

    w ( S^(-1/2) sum_n factors[n] k(|z - z_n|) + constant ),  S = sum_P k(|P z - z|).

z are the coordinates of the triplet and z_n the points, both over the lengthscales; coordinates are
"distances" (r_ij, r_ik, r_jk) or "sums" (r_ij + r_ik, (r_ij - r_ik)^2, r_jk), with j of the first
species of neighbours and k of the second. P are the permutations of coordinates (numbers 0 to 2, at
most six). The covariance k(d) is "squared_exponential", exp(-d^2/2), or "wendland", (1 - d)^4 (4 d + 1)
within d < 1. With c(r) = 1 up to cutoff - transition, half a cosine from there on, and 0 from the
cutoff on, the weight w is c(r_ij) c(r_ik) ("center") or c(r_ij) c(r_ik) (1 - 2/3 c(r_jk)) ("cluster",
whose sum over the three centres is that of one triangle). Pairs are "unordered", or "ordered": two
neighbours of one species then count as (j, k) and as (k, j). With the covariance "spline" all in the
bracket is a tensor product of splines, as g above, of the coordinates on ``intervals`` [n, m, l] from 0
to (cutoff, cutoff, 2 cutoff), or to (2 cutoff, cutoff^2, 2 cutoff) of "sums".

The soap energy of a centre of species A is

    sum_k factors[k] (vectors[k] . p / |p|)^zeta - constant,
    p[l, a <= b] = (2 l + 1)^-1/2 sum_m c[l, m, a] c[l, m, b]  (times sqrt 2 where a < b),
    c[l, m, (alpha, n)] = weights[alpha, A] self[n] (for l = 0)
                          + sum_j weights[alpha, species of j] R[n, l](r_ij) Y[l, m](r_ij)

with real orthonormal spherical harmonics Y (no Condon-Shortley sign), a = alpha n_max + n, p in the
order l, a, b (dimension = (l_max + 1) N (N + 1) / 2, N = channels n_max), and R[n, l] a cubic spline
as f over [0, cutoff] that vanishes at the cutoff with its derivative; constant is the sum for an
isolated atom. zeta is any number above 0; a negative product of vectors has no power that is not whole,
and the energy is then no number. Species that are no centre have no energy in the term.

Two entries of the terms with radial functions may be absent: ``degree``, 3 or 5, of their splines, 3
without it, and ``cosine_width`` w, without which R is the spline. With it R is the spline times
1/2 (1 + cos(pi (r - cutoff + w) / w)) where r > cutoff - w, and need not vanish at the cutoff itself.
Splines of degree 5 are those on uniform knots, too: the spline a is not zero from knot a - 5 to a + 1.

The energy of soap_contracted terms is that of soap terms, of another spectrum: with pairs (a, b) of
channels q in the order of the tensor ``pairs``, p in the order l, pair,

    p[l, pair] = pair_weights[pair] (2 l + 1)^-1/2 sum_m c[l, m, a] c[l, m, b],
    c[l, m, q] = self[A, q] (for l = 0)
                 + sum_j sum_n mixing[species of j, n, q] R[n, l](r_ij) Y[l, m](r_ij).

The soap_quadratic energy of a centre is, with the same p, s = spectrum, which has length 1,
a = s . p / |p| and y = subspace p / |p|, less that of an isolated atom,

    2 a (lines . p) / |p| - a² (lines . s) + y . forms y.

The bispectrum energy of a centre of species A is a sum of integrals over the unit sphere of products of
fields on it,

    sum_t A[t] integral f[products[t, 0]](u) f[products[t, 1]](u) ... du,
    f[n + n_max l](u) = (offset + |c|^2)^-1/2 sum_m c[l, m, n] Y[l, m](u),
    c[l, m, n] = sum_j R[species of j, n, l](r_ij) Y[l, m](r_ij),

with A = ``terms.i.A``, |c|^2 the sum of the squares of all c of the centre, and R cubic splines as
those of soap. A product has one to four fields in increasing order, -1 stands behind the last; the
sum of their l is even, since all other integrals are 0. A product may be there more than once. An atom
without neighbours has no energy, and species that are no centre have none in the term.

The embedding energy of a centre of species A is F(rho) - F(0) of the density rho = sum_j phi(r_ij).
phi is a cubic spline as f over [0, cutoff], that of the table A-B for neighbours of species B (here
the order matters: A-B and B-A are different tables, and need not be there both), and vanishes at the
cutoff with its derivative; F is a cubic spline over [0, range], continued linearly below and above.
Species that are no centre have no energy in the term. zbl is the switched Ziegler-Biersack-Littmark
energy of LAMMPS' ``pair_style zbl``.

Limits: 118 species, cutoffs 0 < rc <= 100 Å, 1 to 100000 intervals, 0 <= inner < outer <= 100 Å,
n_max and channels 1 to 128, contracted channels 1 to 4096 in 1 to 100000 pairs, l_max 0 to 20 (of
bispectrum terms 0 to 8, at most 64 fields, so n_max (l_max + 1), offset > 0, 1 to 100000 products),
0 < zeta <= 100, 1 to 1000000 vectors, 1e-9 < range <= 1e9, a file of 4 GiB with a header of 64 MiB.

*Draws* are samples from the posterior of the fit's weights, each stored as its difference to the
mean: ``count`` (3 to 4096) of them, which share the energy's form with terms of their own, as long in
range at most. ``draws.e0`` (count, species) are their energies of the isolated atoms; their terms'
tensors are ``draws.i.NAME``, and those that are linear in the weights (tables of pairs and triplets,
functions of embedding terms, factors of soap and soap_contracted terms, those of the products of
bispectrum terms, factors and constants of three_body_kernel terms, lines and forms of soap_quadratic
terms) have a leading axis of length count. A
centre of soap and soap_contracted terms has no ``constant`` there: it is what makes the isolated atom's
energy zero.

``uncertainty``: what the draws' deviations become (`forcemap.potentials.uncertainty`). With
differences d_k of a component of a force (eV/Å) or a stress (eV/Å³), or of an energy (eV),

    (its standard deviation)² = floor² + factor² 1/(count - 2) sum_k d_k²,

floor² times the number of atoms for an energy; noise² more, likewise, for the difference to a label.

``grade``: what atoms are graded by (`forcemap.potentials.grade`): ``grade.A.mean`` (features,) and
``grade.A.whitening`` (features, features), lower triangular. The features are those of the terms (of
soap and soap_contracted terms vectors[k] . p / |p| of the first min(32, count) vectors, of bispectrum
terms sum_m c[l, m, n]^2 / (offset + |c|^2) in the order of the fields, one term after the other),
or the ``moments`` where there is that entry.

Version 2 could hold draws in another way: where its entry ``columns`` is above 1, tensors
``NAME.draws`` are checked and not used. Version 1 had neither. Both are read.

The C++ reader (cpp/src/potential_file.cpp and cpp/src/terms) checks every file, before it is read and
before one is put in its place; the classes that hold the terms in Python are in
`forcemap.potentials.terms`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from forcemap.potentials import _core
from forcemap.potentials.errors import ForcemapError, ModelFileError
from forcemap.potentials.evaluator import Potential
from forcemap.potentials.file.container import (
    check_whole,
    packed,
    read_bytes,
    read_document,
    unpacked,
    write_bytes,
)
from forcemap.potentials.file.document import DocumentView
from forcemap.potentials.grade import Grade
from forcemap.potentials.terms.base import Coefficients, MappedTerm, Tensor, TermView
from forcemap.potentials.terms.kinds import KINDS
from forcemap.potentials.uncertainty import LEAST_DRAWS, Uncertainty

__all__ = [
    "Draws",
    "PotentialData",
    "as_potential",
    "file_format",
    "potential_bytes",
    "read_potential",
    "write_potential",
]

POTENTIAL_FORMAT = "forcemap.potential"
MODEL_FORMAT = "forcemap.model"
VERSION = 3


@dataclass(frozen=True, eq=False)
class Draws:
    """Samples from the posterior of a fit's weights, as differences to the mean.

    Attributes:
        count: of draws, 3 or more.
        terms: each with the tensors of all draws (`MappedTerm`).
        e0: (count, species) energies of the isolated atoms, eV.
    """

    count: int
    terms: tuple[MappedTerm, ...]
    e0: Coefficients


@dataclass(frozen=True, eq=False)
class PotentialData:
    """The content of a potential file, as described at the top of this module.

    Attributes:
        species: symbols by increasing atomic number.
        e0: energies of the isolated atoms by symbol, eV.
        terms: of the energy.
        provenance, mapping: free objects, for people.
        forcemap_version: that wrote the file; filled by `read_potential`.
        uncertainty: the calibration of deviations; None: unknown.
        draws, grade: None where the file has none.
    """

    species: tuple[str, ...]
    e0: Mapping[str, float]
    terms: tuple[MappedTerm, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    mapping: Mapping[str, Any] = field(default_factory=dict)
    forcemap_version: str = ""
    uncertainty: Uncertainty | None = None
    draws: Draws | None = None
    grade: Grade | None = None


def potential_bytes(data: PotentialData, what: str = "potential") -> bytes:
    """The bytes of a file with this content, which `forcemap.potentials.Potential` takes.

    Raises ModelFileError, whose text begins with `what`, if there can be no such file.
    """
    content = _content(data, what)
    _check(content, what)
    return content


def _content(data: PotentialData, what: str = "potential") -> bytes:
    """`potential_bytes`, of which it is not yet known whether the core takes them."""
    from forcemap import __version__

    document: dict[str, Any] = {
        "format": POTENTIAL_FORMAT,
        "version": VERSION,
        "forcemap_version": __version__,
        "species": list(data.species),
        "units": {"energy": "eV", "length": "Å"},
        "terms": [{"kind": term.kind} | term.document() for term in data.terms],
        "provenance": dict(data.provenance),
        "mapping": dict(data.mapping),
    }
    if set(data.e0) != set(data.species):
        raise ModelFileError(
            f"{what}: e0: found energies of {', '.join(data.e0) or 'nothing'}, "
            f"expected {', '.join(data.species)}"
        )
    tensors: dict[str, Tensor] = {
        "e0": np.array([data.e0[symbol] for symbol in data.species], dtype=np.float64)
    }
    _add_tensors(tensors, "terms", data.terms)
    if data.uncertainty is not None:
        document["uncertainty"] = data.uncertainty.document()
    if data.draws is not None:
        document["draws"] = {
            "count": data.draws.count,
            "terms": [{"kind": term.kind} | term.document() for term in data.draws.terms],
        }
        tensors["draws.e0"] = np.asarray(data.draws.e0, dtype=np.float64)
        _add_tensors(tensors, "draws", data.draws.terms)
    if data.grade is not None:
        document["grade"] = data.grade.document()
        tensors |= {f"grade.{name}": array for name, array in data.grade.tensors().items()}
    return packed(document, tensors, what)


def _add_tensors(tensors: dict[str, Tensor], room: str, terms: tuple[MappedTerm, ...]) -> None:
    for index, term in enumerate(terms):
        for name, values in term.tensors().items():
            single = np.asarray(values).dtype == np.float32
            tensors[f"{room}.{index}.{name}"] = (
                values if single else np.asarray(values, dtype=np.float64)
            )


def _check(content: bytes, what: str) -> None:
    """Raise ModelFileError unless the core takes the file."""
    try:
        _core.check_potential(content, what)
    except ForcemapError as error:
        raise ModelFileError(str(error)) from None


def as_potential(data: PotentialData) -> Potential:
    """The potential that a file with this content would give; no file is made.

    Raises ForcemapError if there can be no such file.
    """
    return Potential(_content(data))  # which checks them: large ones take a second to read


def write_potential(data: PotentialData, path: str | os.PathLike[str]) -> None:
    """Write a potential file, whole or not at all.

    Raises ModelFileError if `data` is not what the format asks for or the file cannot be written.
    """
    write_bytes(Path(path), potential_bytes(data, f"writing {path}"))


def read_potential(path: str | os.PathLike[str]) -> PotentialData:
    """Read a potential file. Raises ModelFileError that says what is wrong with the file."""
    path = Path(path)
    content = read_bytes(path)
    _check(content, str(path))
    container = unpacked(content, path)
    root = DocumentView(container.document, f"{path}, document")
    species = tuple(item.string() for item in root["species"])
    return PotentialData(
        species=species,
        e0=dict(zip(species, container.tensors["e0"].tolist(), strict=True)),
        terms=_terms(root["terms"], container.tensors, "terms", species),
        provenance=root["provenance"].members() if "provenance" in root else {},
        mapping=root["mapping"].members() if "mapping" in root else {},
        forcemap_version=root["forcemap_version"].string(),
        uncertainty=Uncertainty.read(root["uncertainty"].members())
        if "uncertainty" in root
        else None,
        draws=_draws(root["draws"], container.tensors, species) if "draws" in root else None,
        grade=Grade.read(root["grade"].members(), _within(container.tensors, "grade."))
        if "grade" in root
        else None,
    )


def _within(tensors: Mapping[str, Coefficients], prefix: str) -> dict[str, Coefficients]:
    """Those whose names begin with the prefix, by the rest of their names."""
    return {
        name.removeprefix(prefix): array
        for name, array in tensors.items()
        if name.startswith(prefix)
    }


def _terms(
    entries: DocumentView,
    tensors: Mapping[str, Coefficients],
    room: str,
    species: tuple[str, ...],
) -> tuple[MappedTerm, ...]:
    return tuple(
        KINDS[entry["kind"].string()].read(
            TermView(entry, _within(tensors, f"{room}.{index}."), species)
        )
        for index, entry in enumerate(entries)
    )


def _draws(
    entry: DocumentView, tensors: Mapping[str, Coefficients], species: tuple[str, ...]
) -> Draws:
    count = entry["count"].integer(LEAST_DRAWS, 2**31)
    return Draws(count, _terms(entry["terms"], tensors, "draws", species), tensors["draws.e0"])


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
            found.reject(f"found {other[:60]!r}, expected {POTENTIAL_FORMAT} or {MODEL_FORMAT}")
