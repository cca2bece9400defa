"""Reads frames of extended XYZ whose lines are regular, as nearly all are, ten times as fast as ASE.

Whatever is not certain to be read as ASE reads it is left to ASE: both give the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from forcemap.fitter.data.comment_line import parse_regular_comment
from forcemap.fitter.data.raw_structure import RawStructure
from forcemap.fitter.data.xyz_faults import DEFAULT_PROPERTIES, TRUTH, Column, columns_of
from forcemap.fitter.data.xyz_frames import XyzFrame
from forcemap.potentials import _core
from numpy.typing import NDArray

__all__ = ["read_regular"]

AS_THEY_ARE = ("energy", "free_energy", "magmom")
"""Results that ASE keeps as they stand; all others become arrays."""


MOST_COLUMNS = 1000
"""More are left to ASE: a damaged line may claim any number."""


class _Layout(NamedTuple):
    """Columns of a frame, in a form that is quick to read.

    Attributes:
        kinds: a character for each column, as the core takes them.
        positions: the first column of the positions among the real ones.
        slices: of the real numbers beside the positions, the name, first and last column among them.
        others: columns of integers, texts and truth values: the name, type, first and last column.
    """

    kinds: str
    positions: int
    slices: tuple[tuple[str, int, int], ...]
    others: tuple[tuple[str, str, int, int], ...]


def read_regular(frame: XyzFrame) -> RawStructure | None:
    """The structure of a frame; None if ASE has to read it, or to find it at fault."""
    info = parse_regular_comment(frame.comment)
    if info is None:
        return None
    layout = _layout(info.pop("Properties", DEFAULT_PROPERTIES))
    if layout is None:
        return None
    found = _core.parse_atom_lines("".join(frame.atoms), len(frame.atoms), layout.kinds)
    if found is None:
        return None
    numbers, reals = found
    cell, pbc = _cell(info)
    if pbc is None:
        return None
    arrays: dict[str, Any] = {}
    results: dict[str, Any] = {}
    try:
        for name, start, end in layout.slices:
            values = reals[:, start].copy() if end - start == 1 else reals[:, start:end].copy()
            (results if name in _properties()[0] else arrays)[name] = values
        if layout.others:
            rows = [line.split() for line in frame.atoms]
            for name, kind, start, end in layout.others:
                arrays[name] = _others(rows, kind, start, end)
        _move_results(info, results)
    except (KeyError, ValueError, OverflowError, TypeError):
        return None
    positions = reals[:, layout.positions : layout.positions + 3].copy()
    return RawStructure(numbers, positions, cell, pbc, arrays, info, results)


def _others(rows: Sequence[Sequence[str]], kind: str, start: int, end: int) -> NDArray[Any]:
    """(rows,) or (rows, end - start) of integers, truth values or texts."""
    converters: dict[str, Callable[[str], Any]] = {"I": int, "L": TRUTH.__getitem__, "S": str}
    convert = converters[kind]
    dtype = {"I": np.int32, "L": np.bool_, "S": np.object_}[kind]
    values: NDArray[Any] = np.array(
        [list(map(convert, row[start:end])) for row in rows], dtype=dtype
    )
    return values.reshape(len(rows)) if end - start == 1 else values


def _cell(info: dict[str, Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_] | None]:
    """Cell and periodicity, taken out of `info`; None for an unusual periodicity."""
    lattice = info.pop("Lattice", None)
    pbc = info.pop("pbc", [lattice is not None] * 3)
    cell = np.zeros((3, 3)) if lattice is None else np.array(lattice.T, dtype=np.float64, order="C")
    usual = isinstance(pbc, list) and len(pbc) == 3
    return cell, np.array(pbc) if usual else None


def _move_results(info: dict[str, Any], results: dict[str, Any]) -> None:
    """Move the results among `info`; raises ValueError for those that are not numeric."""
    for name in _properties()[1].intersection(info):
        value = info.pop(name)
        results[name] = value if name in AS_THEY_ARE else np.array(value, dtype=np.float64)


@lru_cache(maxsize=1)
def _properties() -> tuple[frozenset[str], frozenset[str]]:
    """The names of all results that ASE knows, and of those that belong to a whole structure."""
    from ase.calculators.calculator import all_properties
    from ase.io.extxyz import per_config_properties

    return frozenset(all_properties), frozenset(per_config_properties)


@lru_cache(maxsize=64)
def _layout(properties: Any) -> _Layout | None:
    """The layout that Properties describe; None for unusual ones."""
    from ase.io.extxyz import REV_PROPERTY_NAME_MAP

    columns = columns_of(properties) if isinstance(properties, str) else ""
    if isinstance(columns, str):
        return None
    rename = REV_PROPERTY_NAME_MAP.get
    named = [column._replace(name=rename(column.name, column.name)) for column in columns]
    names = [column.name for column in named]
    special = {"numbers", "initial_charges", "move_mask", *AS_THEY_ARE}
    if sum(column.width for column in named) > MOST_COLUMNS:
        return None
    if len(set(names)) < len(names) or special.intersection(names) or "symbols" not in names:
        return None
    return _layout_of(named)


def _layout_of(columns: Sequence[Column]) -> _Layout | None:
    kinds = ""
    positions: int | None = None
    slices: list[tuple[str, int, int]] = []
    others: list[tuple[str, str, int, int]] = []
    for name, kind, width in columns:
        reals = kinds.count("R")
        if name == "symbols":
            kind = "E" if kind == "S" else kind
        elif name == "positions":
            positions = reals if kind == "R" else None
        elif kind == "R":
            slices.append((name, reals, reals + width))
        elif name in _properties()[0]:
            return None
        else:
            others.append((name, kind, len(kinds), len(kinds) + width))
        kinds += (kind if kind in "ER" else "-") * width
    if "E" not in kinds or positions is None:
        return None
    return _Layout(kinds, positions, tuple(slices), tuple(others))
