"""Export of a potential for LAMMPS' own ``pair_style uf3``: it runs where our plugin does not.

:func:`export_uf3` writes ``STEM.uf3`` files and ``in.potential``, the input lines that use them.
They give the energy and forces of ``pair_style forcemap`` to 1e-9:

- Spline tables become UF3 tables by an exact change of basis, in
  :mod:`forcemap.potentials.export.uf3_tables`. Terms of equal cutoff and resolution are summed. What
  does not fit into one table (other cutoffs, rows longer than LAMMPS' reader takes) goes into further
  ``uf3`` sub-styles of ``hybrid/overlay``.
- The ZBL core is LAMMPS' ``pair_style zbl``, a sub-style for each (inner, outer). (Ours differs
  below 0.01 Å, where it stays finite.)
- The energies of the isolated atoms are added by a ``fix addforce`` of zero force, to ``pe`` too.

Of ``pair_style uf3`` (22Jul2025) one must know:

- E = sum_i sum_{j != i} V2 + sum_i sum_{j<k} V3, so V2 is half the pair energy, as in our tables.
  Per-atom energies differ from ours: a triplet's energy goes to its three atoms in equal parts.
- A line of 1024 characters or more makes the reader hang.
- Triplets are made of neighbours within the *two-body* cutoff, so this must not be smaller.
- A neighbour at exactly the cutoff is looked up beyond the table: cutoffs are written a little
  smaller (by 1e-12 of themselves) than the last knot.
- The r_jk direction must have at least as many knots, minus one, as the others, or the reader
  writes beyond its memory; r_jk reaches exactly twice the cutoff.
- Sub-styles of equal cutoff, or of growing ones, can end in "Failed to reorder neighbor lists":
  each gets a cutoff of its own (by another 1e-12 of it), and they come in falling order.
- It evaluates cubics in powers of r itself, not of the distance from a knot, and loses digits on
  fine grids; a table for which this matters is refused.
- Every pair and triplet of the atom types needs a table: missing ones are written as zeros.
- Repeated elements among the atom types work only after the first of each (``Si C Si``; ``Si Si C``
  gives wrong energies), and NULL crashes.

Every file is read again after writing and compared with our splines at random distances.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import combinations_with_replacement, count
from pathlib import Path
from typing import TypeVar

import numpy as np
from forcemap.potentials.elements import atomic_number
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.export.uf3_check import check_files
from forcemap.potentials.export.uf3_tables import (
    Axis,
    decimals_needed,
    decimals_that_fit,
    row_text,
    split_axis,
    whole_axis,
)
from forcemap.potentials.file.potential_file import PotentialData
from forcemap.potentials.part_file import part_file
from forcemap.potentials.quoting import quoted
from forcemap.potentials.terms import ThreeBodySplines, TwoBodySplines, ZblPairs
from forcemap.potentials.terms.base import Pair, Triplet
from numpy.typing import NDArray

__all__ = ["TAKES", "Uf3Export", "export_uf3"]

TAKES = (TwoBodySplines, ThreeBodySplines, ZblPairs)
"""The terms that this format has a form for; a potential with any other is refused."""

Array = NDArray[np.float64]
Key = TypeVar("Key", Pair, Triplet)

MAX_PIECES = 12  # of one table; each costs about as much time as a whole potential
CUTOFF_MARGIN = 1e-12
NO_REACH = 0.01  # Å, cutoff of tables of zeros


@dataclass(frozen=True)
class Uf3Export:
    """What was written."""

    files: tuple[Path, ...]  # the tables
    input_file: Path  # in.potential
    lines: tuple[str, ...]  # its content: input lines for LAMMPS


@dataclass
class _File:
    """One ``uf3`` sub-style: the text of its blocks."""

    bodies: int  # 2 or 3
    uniform: bool
    cutoff: float  # Å, of its triplets, or else its pairs
    outermost: float  # Å, the cutoff that LAMMPS sees
    two_body: dict[Pair, str] = field(default_factory=dict)
    three_body: dict[Triplet, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return "uk" if self.uniform else "nk"


def export_uf3(
    data: PotentialData,
    directory: str | os.PathLike[str],
    stem: str | None = None,
    types: Sequence[str] | None = None,
) -> Uf3Export:
    """Write `data` for ``pair_style uf3`` into the folder `directory`, which is made if need be.

    `stem` begins the files' names (default: the species, ``Si-O``). `types` are the elements of
    LAMMPS' atom types 1, 2, ... (default: the species by increasing atomic number).

    Raises ForcemapError if `data` has other terms than TAKES, if a table is
    too fine for UF3's format, if `types` is not what ``uf3`` can do, or if a file cannot be written;
    nothing is left behind then.
    """
    types = tuple(types) if types is not None else data.species
    _check_terms(data)
    _check_types(data, types)
    stem = stem or "-".join(data.species)
    files = _files(data)
    directory = Path(directory)
    names = (
        [f"{stem}.uf3"] if len(files) == 1 else [f"{stem}.{i + 1}.uf3" for i in range(len(files))]
    )
    texts = {name: _file_text(file, data.species) for name, file in zip(names, files, strict=True)}
    lines = _input_lines(data, types, files, [directory.resolve() / name for name in names])
    texts["in.potential"] = "\n".join(lines) + "\n"
    _write_checked(directory, texts, names, data)
    return Uf3Export(tuple(directory / name for name in names), directory / "in.potential", lines)


def _check_terms(data: PotentialData) -> None:
    """Raise ForcemapError for terms that ``pair_style uf3`` has no form for."""
    for term in data.terms:
        if not isinstance(term, TAKES):
            raise ForcemapError(
                f"export: the potential has a term of the kind {term.kind}, which pair_style uf3 "
                "cannot evaluate; run it with pair_style forcemap"
            )


def _check_types(data: PotentialData, types: Sequence[str]) -> None:
    """Raise ForcemapError for atom types that ``pair_style uf3`` gets wrong."""
    if not types:
        raise ForcemapError("export: found no atom types, expected at least one element")
    for symbol in types:
        if symbol not in data.species:
            raise ForcemapError(
                f"export: found the atom type {quoted(symbol)}, expected one of the potential's "
                f"species: {', '.join(data.species)} (pair_style uf3 has no NULL)"
            )
    distinct = list(dict.fromkeys(types))
    if list(types[: len(distinct)]) != distinct:
        raise ForcemapError(
            f"export: found the atom types {' '.join(types)}: pair_style uf3 gives wrong energies "
            "unless every element stands once before one is repeated; order them as "
            f"{' '.join(distinct)} and then the repeated ones"
        )


def _files(data: PotentialData) -> list[_File]:
    """The sub-styles that make up the spline terms."""
    margins = (1.0 - CUTOFF_MARGIN * i for i in count(1))
    two_body = [file for term in _summed_two_body(data) for file in _two_body_files(term, margins)]
    three_body = [
        file for term in _summed_three_body(data) for file in _three_body_files(term, margins)
    ]
    # The usual case, one term of each kind: both in one file.
    for file in three_body:
        fitting = [
            other
            for other in two_body
            if other.uniform == file.uniform and other.cutoff >= file.cutoff
        ]
        if fitting:
            file.two_body.update(fitting[0].two_body)
            file.outermost = fitting[0].cutoff
            two_body.remove(fitting[0])
    files = [*three_body, *two_body] or [_File(2, True, NO_REACH, NO_REACH)]
    return sorted(files, key=lambda file: -file.outermost)


def _summed_two_body(data: PotentialData) -> list[TwoBodySplines]:
    terms: dict[tuple[float, int], dict[Pair, Array]] = {}
    for term in data.terms:
        if isinstance(term, TwoBodySplines):
            _add(terms.setdefault((term.cutoff, term.intervals), {}), term.tables)
    return [TwoBodySplines(*key, tables) for key, tables in terms.items()]


def _summed_three_body(data: PotentialData) -> list[ThreeBodySplines]:
    terms: dict[tuple[float, int, int], dict[Triplet, Array]] = {}
    for term in data.terms:
        if isinstance(term, ThreeBodySplines):
            key = (term.cutoff, term.leg_intervals, term.base_intervals)
            _add(terms.setdefault(key, {}), term.tables)
    return [ThreeBodySplines(*key, tables) for key, tables in terms.items()]


def _add(sums: dict[Key, Array], tables: Mapping[Key, Array]) -> None:
    for key, table in tables.items():
        sums[key] = sums[key] + table if key in sums else table


def _two_body_files(term: TwoBodySplines, margins: Iterator[float]) -> list[_File]:
    """A two-body term in as few pieces as LAMMPS' lines allow."""
    tables = {pair: np.asarray(table) for pair, table in term.tables.items()}
    for pieces in range(1, MAX_PIECES + 1):
        axes = _axes(term.intervals, term.cutoff, pieces, bounded=True)
        if axes is None:
            continue
        rows = {pair: axes[0].matrix @ table for pair, table in tables.items()}
        needed = decimals_needed(term.cutoff / term.intervals)
        if all(decimals_that_fit(row, axis) >= needed for axis in axes for row in rows.values()):
            return [_two_body_file(axis, rows, next(margins)) for axis in axes]
    raise ForcemapError(
        f"export: the two-body table of {term.intervals} intervals over {term.cutoff:g} Å is too "
        f"fine for UF3's format, which takes some {MAX_PIECES * 55}; map with a larger tolerance"
    )


def _axes(
    intervals: int, length: float, pieces: int, *, bounded: bool, least_knots: int = 0
) -> list[Axis] | None:
    """A direction in a given number of pieces, None if its knots do not fit into lines."""
    if pieces > 1:
        return split_axis(intervals, length, pieces, bounded=bounded, least_knots=least_knots)
    refine = 1
    while intervals * refine + 7 < least_knots:
        refine += 1
    axis = whole_axis(intervals, length, refine)
    return None if axis is None else [axis]


def _two_body_file(axis: Axis, rows: Mapping[Pair, Array], margin: float) -> _File:
    reach = axis.reach * margin
    file = _File(2, axis.uniform, reach, reach)
    for pair, row in rows.items():
        decimals = int(decimals_that_fit(row, axis))
        text = row_text(row[axis.start : axis.stop].tolist(), decimals, axis)
        file.two_body[pair] = _two_body_block(pair, file.kind, reach, axis.knots, text)
    return file


def _three_body_files(term: ThreeBodySplines, margins: Iterator[float]) -> list[_File]:
    """A three-body term in as few pieces along r_jk as LAMMPS' lines allow."""
    legs = whole_axis(term.leg_intervals, term.cutoff)
    if legs is None:
        raise ForcemapError(
            f"export: the three-body table of {term.leg_intervals} leg_intervals over "
            f"{term.cutoff:g} Å is too fine for UF3's format: its knots do not fit into a line; "
            "map with a larger tolerance, such that leg_intervals is 85 or less"
        )
    tables = {key: _leg_rows(key, np.asarray(t), legs) for key, t in term.tables.items()}
    narrowest = term.cutoff * min(1 / term.leg_intervals, 2 / term.base_intervals)
    needed = decimals_needed(narrowest)
    for pieces in range(1, MAX_PIECES + 1):
        axes = _axes(
            term.base_intervals,
            2.0 * term.cutoff,
            pieces,
            bounded=False,
            least_knots=len(legs.knots) - 1,
        )
        if axes is None:
            continue
        rows = {key: table @ axes[0].matrix.T for key, table in tables.items()}
        if all(
            bool((decimals_that_fit(row, axis) >= needed).all())
            for axis in axes
            for row in rows.values()
        ):
            return [_three_body_file(legs, axis, rows, next(margins)) for axis in axes]
    raise ForcemapError(
        f"export: the three-body table of {term.base_intervals} base_intervals over "
        f"{2 * term.cutoff:g} Å is too fine for UF3's format, which takes some "
        f"{MAX_PIECES * 45}; map with a larger tolerance"
    )


def _leg_rows(key: Triplet, table: Array, legs: Axis) -> Array:
    """A table on the knots of both legs; exactly symmetric if it should be."""
    if key[1] == key[2]:
        table = 0.5 * (table + table.transpose(1, 0, 2))
    rows = np.einsum("ai,bj,ijc->abc", legs.matrix, legs.matrix, table, optimize=True)
    return np.ascontiguousarray(rows)


def _three_body_file(legs: Axis, base: Axis, rows: Mapping[Triplet, Array], margin: float) -> _File:
    reach = min(legs.reach, base.reach / 2.0) * margin
    file = _File(3, base.uniform, reach, reach)
    for key, table in rows.items():
        decimals = decimals_that_fit(table, base)
        lines: dict[tuple[int, int], str] = {}
        for a, b in np.ndindex(legs.size, legs.size):
            if key[1] == key[2] and b < a:
                lines[a, b] = lines[b, a]
            else:
                row = table[a, b, base.start : base.stop].tolist()
                lines[a, b] = row_text(row, int(decimals[a, b]), base)
        text = "\n".join(lines.values())
        file.three_body[key] = _three_body_block(
            key, file.kind, reach, legs.knots, base.knots, text
        )
    return file


def _header() -> str:
    from forcemap import __version__

    # LAMMPS refuses the file in other units than these.
    return f"#UF3 POT UNITS: metal AUTHOR: forcemap-{__version__} CITATION: -\n"


def _two_body_block(
    pair: Pair, kind: str, cutoff: float, knots: Sequence[str], coefficients: str
) -> str:
    return (
        f"{_header()}2B {pair[0]} {pair[1]} 0 3 {kind}\n{cutoff!r} {len(knots)}\n"
        f"{' '.join(knots)}\n{len(knots) - 4}\n{coefficients}\n#\n"
    )


def _three_body_block(
    key: Triplet, kind: str, cutoff: float, legs: Sequence[str], base: Sequence[str], rows: str
) -> str:
    leg_line = " ".join(legs)
    return (
        f"{_header()}3B {key[0]} {key[1]} {key[2]} 0 3 {kind}\n"
        f"{2.0 * cutoff!r} {cutoff!r} {cutoff!r} {len(base)} {len(legs)} {len(legs)}\n"
        f"{' '.join(base)}\n{leg_line}\n{leg_line}\n"
        f"{len(legs) - 4} {len(legs) - 4} {len(base) - 4}\n{rows}\n#\n"
    )


def _file_text(file: _File, species: Sequence[str]) -> str:
    """The whole file: all pairs and, for three bodies, all triplets of the species."""
    blocks = []
    # Without a two-body table of this reach LAMMPS would look for no triplets.
    reach = file.cutoff if file.bodies == 3 else NO_REACH
    knots = ("0",) * 4 + (repr(reach * (1.0 + 2.0 * CUTOFF_MARGIN)),) * 4
    pairs = list(combinations_with_replacement(species, 2))
    for pair in pairs:
        zero = _two_body_block(pair, file.kind, reach, knots, "0 0 0 0")
        blocks.append(file.two_body.get(pair, zero))
    if file.bodies == 3:
        legs, base = ("0",) * 4 + (".02",) * 4, ("0",) * 4 + (".04",) * 4
        zeros = "\n".join(["0 0 0 0"] * 16)
        for key in ((centre, a, b) for centre in species for a, b in pairs):
            zero = _three_body_block(key, file.kind, NO_REACH, legs, base, zeros)
            blocks.append(file.three_body.get(key, zero))
    return "".join(blocks)


def _input_lines(
    data: PotentialData, types: Sequence[str], files: Sequence[_File], paths: Sequence[Path]
) -> tuple[str, ...]:
    """The content of in.potential."""
    from forcemap import __version__

    cores: dict[tuple[float, float], list[Pair]] = {}
    for term in data.terms:
        if isinstance(term, ZblPairs):
            for pair, distances in term.pairs.items():
                cores.setdefault(distances, []).append(pair)
    # zbl refuses 0; this is the same to the last digit but one.
    zbl_styles = [f"zbl {max(inner, 1e-12)!r} {outer!r}" for inner, outer in cores]
    styles = [*(f"uf3 {file.bodies}" for file in files), *zbl_styles]
    hybrid = len(styles) > 1
    lines = [
        f"# Written by forcemap {__version__}: input for stock LAMMPS with the package ML-UF3.",
        "# Include this file after the atoms are defined; needs units metal and newton on.",
        "# Atom types: " + ", ".join(f"{i + 1} {symbol}" for i, symbol in enumerate(types)),
    ]
    folder = str(paths[0].parent)
    if any(c.isspace() or c in "\"'$#&" for c in str(paths[0])):
        names = [f'"{path}"' for path in paths]  # LAMMPS puts in no variables within quotes
    else:
        lines.append("# Elsewhere: lmp -var forcemap_uf3 FOLDER")
        lines.append(f"variable forcemap_uf3 index {folder}")
        names = [f"${{forcemap_uf3}}/{path.name}" for path in paths]
    lines.append(f"pair_style {'hybrid/overlay ' if hybrid else ''}{' '.join(styles)}")
    for i, name in enumerate(names):
        lines.append(" ".join(_words("* *", hybrid, "uf3", i, len(files), [name, *types])))
    for i, pairs in enumerate(cores.values()):
        for a, b in combinations_with_replacement(range(len(types)), 2):
            z = sorted((atomic_number(types[a]), atomic_number(types[b])))
            if any(sorted(map(atomic_number, pair)) == z for pair in pairs):
                charges = [str(atomic_number(types[a])), str(atomic_number(types[b]))]
                place = f"{a + 1} {b + 1}"
                lines.append(" ".join(_words(place, hybrid, "zbl", i, len(cores), charges)))
    return (*lines, *_e0_lines(data.e0, types))


def _words(
    place: str, hybrid: bool, style: str, index: int, count: int, arguments: Iterable[str]
) -> list[str]:
    """A pair_coeff command; several sub-styles of one name are numbered."""
    number = [str(index + 1)] if count > 1 else []
    return ["pair_coeff", place, *([style, *number] if hybrid else []), *arguments]


def _e0_lines(e0: Mapping[str, float], types: Sequence[str]) -> list[str]:
    """Lines that add the energies of the isolated atoms to the potential energy."""
    if all(e0[symbol] == 0.0 for symbol in types):
        return []
    terms = [f"(type=={i + 1})*({e0[symbol]!r})" for i, symbol in enumerate(types)]
    zero = "v_forcemap_zero"
    return [
        "# The energies of the isolated atoms: no force, and an energy that counts in pe.",
        "variable forcemap_zero equal 0.0",
        f"variable forcemap_e0 atom {'+'.join(terms)}",
        f"fix forcemap_e0 all addforce {zero} {zero} {zero} energy v_forcemap_e0",
        "fix_modify forcemap_e0 energy yes",
    ]


def _write_checked(
    directory: Path, texts: Mapping[str, str], names: Sequence[str], data: PotentialData
) -> None:
    """Write all files under temporary names, check what they hold, and only then rename them."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            parts = {name: stack.enter_context(part_file(directory / name)) for name in texts}
            for name, text in texts.items():
                parts[name].write_text(text, encoding="utf-8")
            check_files([parts[name] for name in names], data)
    except OSError as error:
        raise ForcemapError(f"cannot write into {directory}: {error.strerror or error}") from None
