"""A Gaussian approximation potential of QUIP as a potential: what each of its parts becomes."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from forcemap.fitter.importers.gap import Brought, Coordinate
from forcemap.fitter.importers.gap_file import GapFile, read_gap, read_glue
from forcemap.fitter.importers.pair_tables import PairPart, pair_tables
from forcemap.fitter.importers.quip_glue import glue_parts
from forcemap.fitter.importers.quip_pairs import pair_parts
from forcemap.fitter.importers.quip_triplets import triplet_terms
from forcemap.potentials.elements import SYMBOLS, atomic_number
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.file.potential_file import PotentialData
from forcemap.potentials.quoting import QUOTED, printable

__all__ = ["ImportOptions", "ImportedGap", "imported_gap"]

REFUSED = {
    "soap_turbo": "fit it with soap in place of soap_turbo, or run it with its own program",
    "soap_express": "fit it with soap",
    "coordination": "fit it with distance_2b",
    "co_angle_3b": "fit it with angle_3b",
    "co_distance_2b": "fit it with distance_2b",
    "cosnx": "fit it with angle_3b",
    "trihis": "fit it with angle_3b",
    "bond_real_space": "fit it with soap",
    "rdf": "fit it with soap",
}
"""What could be done about some descriptors that have no counterpart."""

IMPORTED = ("distance_2b", "distance_nb", "angle_3b", "soap")

_SPECIES = ("Z", "Z1", "Z2", "Z_center", "species_Z")


@dataclass(frozen=True)
class ImportOptions:
    """How a GAP is brought in.

    Attributes:
        tolerance: largest error of a pair function's slope, eV/Å; None: nearly exact.
        rank: of SOAP terms in low-rank form; None leaves them exact.
        sparse_folder: of the sparse points; None: beside the XML.
        glue: a core_param_file, if the XML has not the baseline in it.
        species: symbols, for descriptors that name none.
        symmetrise: takes the mean of energies that depend on the order of atoms.
    """

    tolerance: float | None = None
    rank: int | None = None
    sparse_folder: Path | None = None
    glue: Path | None = None
    species: tuple[str, ...] = ()
    symmetrise: bool = False


@dataclass(frozen=True, eq=False)
class ImportedGap:
    """A GAP with the potential that it has become.

    Attributes:
        data: the content of the potential file.
        gap: as it was read.
        notes: facts for the user, by name.
    """

    data: PotentialData
    gap: GapFile
    notes: dict[str, Any]


def imported_gap(path: Path, options: ImportOptions) -> ImportedGap:
    """Read a GAP and bring it in.

    Warns (UserWarning) where the GAP leaves something open. Raises ForcemapError that names what cannot
    be brought in, and what could be done.
    """
    gap = read_gap(path, options.sparse_folder)
    for coordinate in gap.coordinates:
        _check_kind(coordinate)
    glue, glue_place = _baseline(gap, options)
    species = _species(gap, options, glue, glue_place)
    parts = [] if glue is None else glue_parts(glue, glue_place)
    used = [one for one in gap.coordinates if len(one.points)]
    parts += [part for one in used if _bodies(one) == 2 for part in pair_parts(one, species)]
    of_three = [one for one in used if _bodies(one) == 3]
    brought = [
        _pairs(parts, options.tolerance),
        Brought(tuple(triplet_terms(of_three, species, options.symmetrise))),
        *_soap([one for one in used if not _bodies(one)], species, options),
    ]
    terms = [term for one in brought for term in one.terms]
    if not terms:
        raise ForcemapError(f"{path}: holds no sparse point, and so no potential; fit it again")
    notes = {name: value for one in brought for name, value in one.notes.items()}
    data = PotentialData(
        tuple(SYMBOLS[z] for z in species),
        _atom_energies(gap, species, brought),
        tuple(terms),
        provenance={"import": _provenance(gap, options)},
        mapping=notes,
    )
    return ImportedGap(data, gap, notes)


def _bodies(coordinate: Coordinate) -> int:
    """Atoms in an instance of a descriptor of few distances; 0 of one of whole surroundings."""
    match coordinate.kind:
        case "distance_2b":
            return 2
        case "angle_3b":
            return 3
        case "distance_nb":
            return coordinate.arguments.integer("order")
    return 0


def _check_kind(coordinate: Coordinate) -> None:
    """Raise ForcemapError unless there is a counterpart of the descriptor."""
    kind = coordinate.kind
    if kind not in IMPORTED:
        cure = REFUSED.get(kind, "fit it without this descriptor")
        coordinate.fail(
            f"the descriptor {printable(kind, QUOTED) or '(none)'} cannot be imported (distance_2b, "
            f"distance_Nb, angle_3b and soap can): {cure}"
        )
    if kind == "distance_nb" and _bodies(coordinate) not in {2, 3}:
        coordinate.arguments.fail_at(
            "order", "of distance_Nb cannot be imported; orders 2 and 3 can: fit with one of these"
        )


# ----- the parts -----


def _pairs(parts: Sequence[PairPart], tolerance: float | None) -> Brought:
    terms, notes = pair_tables(parts, tolerance)
    return Brought(tuple(terms), notes=notes)


def _soap(
    coordinates: Sequence[Coordinate], species: Sequence[int], options: ImportOptions
) -> list[Brought]:
    if not coordinates:
        return []
    from forcemap.fitter.importers.quip_soap import soap_terms

    return [soap_terms(coordinates, species, options.rank)]


# ----- the whole -----


def _baseline(gap: GapFile, options: ImportOptions) -> tuple[Element | None, str]:
    """The element <Glue_params> with its place; None without a baseline."""
    scaled = re.search(r"\bdo_rescale_\w+", gap.potential)
    if scaled:
        raise ForcemapError(
            f"{gap.path}: <Potential init_args=...> asks for {scaled[0]}, which cannot be imported; "
            "remove it if the potential is to be as it was fitted"
        )
    others = [
        name
        for name in re.findall(r"\bIP\s+(\w+)", gap.potential, re.IGNORECASE)
        if name.upper() not in {"GAP", "GLUE"}
    ]
    if others:
        raise ForcemapError(
            f"{gap.path}: the GAP has a baseline of the kind IP {printable(others[0], QUOTED)}, which "
            "cannot be imported; IP Glue can: fit with the baseline as a table (core_ip_args={IP Glue})"
        )
    if not gap.core:
        if options.glue is not None:
            raise ForcemapError(
                f"{gap.path}: was fitted without a baseline (do_core is not T), so that {options.glue} "
                "does not belong to it; leave out --glue"
            )
        return None, ""
    if options.glue is not None:
        return read_glue(options.glue), str(options.glue)
    if gap.glue is None:
        raise ForcemapError(
            f"{gap.path}: was fitted with a baseline (do_core is T), and the file holds no "
            "<Glue_params>; give the fit's core_param_file with --glue FILE"
        )
    return gap.glue, str(gap.path)


def _species(
    gap: GapFile, options: ImportOptions, glue: Element | None, place: str
) -> tuple[int, ...]:
    """Atomic numbers of the potential, increasing: all that the GAP names, and the user."""
    found = {atomic_number(symbol) for symbol in options.species}
    for coordinate in gap.coordinates:
        for name in _SPECIES:
            found |= set(coordinate.arguments.integers(name, ()))
    if glue is not None:
        found |= {z for part in glue_parts(glue, place) for z in part.species}
    found.discard(0)  # stands for any
    wrong = [z for z in found if not 0 < z < len(SYMBOLS)]
    if wrong:
        raise ForcemapError(
            f"{gap.path}: a descriptor names the atomic number {wrong[0]}; expected 1 to "
            f"{len(SYMBOLS) - 1}"
        )
    if not found:
        raise ForcemapError(
            f"{gap.path}: the descriptors name no species, since they are for any; name those of the "
            'potential with --species "Si O"'
        )
    return tuple(sorted(found))


def _atom_energies(
    gap: GapFile, species: Iterable[int], brought: Sequence[Brought]
) -> dict[str, float]:
    missing = [SYMBOLS[z] for z in species if z not in gap.e0]
    if missing:
        warnings.warn(
            f"{gap.path}: has no <e0> of {', '.join(missing)}; it is 0 eV, as for QUIP",
            stacklevel=3,
        )
    return {
        SYMBOLS[z]: gap.e0.get(z, 0.0) + sum(one.e0.get(z, 0.0) for one in brought) for z in species
    }


def _provenance(gap: GapFile, options: ImportOptions) -> dict[str, Any]:
    counts = Counter(one.kind for one in gap.coordinates)
    points: Counter[str] = Counter()
    for one in gap.coordinates:
        points[one.kind] += len(one.points)
    return {
        "format": "GAP of QUIP",
        "file": gap.path.name,
        "sha256": gap.sha256,
        "label": gap.label,
        "gap_version": gap.gap_version,
        "command_line": gap.command_line,
        "descriptors": {
            kind: {"count": counts[kind], "sparse_points": points[kind]} for kind in counts
        },
        "baseline": options.glue.name if options.glue else "Glue" if gap.core else "",
    }
