"""The comment line of an extended XYZ frame, as ASE's reader takes it, whatever a program wrote.

ASE wants ``Properties``, ``Lattice`` and ``pbc`` in this case, nine numbers for ``stress`` and
``virial``, no nested brackets, and no isotopes.
"""

from __future__ import annotations

import re
from typing import Any, cast

import numpy as np
from forcemap.potentials.elements import SYMBOLS

__all__ = ["ISOTOPES", "PRIVATE_PREFIX", "name_elements", "parse_comment"]

PRIVATE_PREFIX = "_forcemap_"
"""Prefix that keeps ASE from reading `stress` and `virial`: it would take nine numbers only."""

ISOTOPES = {"D": 1, "T": 1}
"""Symbols of isotopes with the atomic numbers of their elements; energies do not depend on masses."""

_SPECIES = "species"
_NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS)} | ISOTOPES
_SPECIAL = re.compile(r"(?<!\S)(stress|virial)(?=\s*=)")
_STRUCTURE = re.compile(r"(?<!\S)(properties|lattice|pbc)(?=\s*=)", re.IGNORECASE)
_AS_ASE_SPELLS = {"properties": "Properties", "lattice": "Lattice", "pbc": "pbc"}
_NESTED = re.compile(r'=\s*(\[\s*\[[^"=]*?\]\s*\])')


def parse_comment(line: str) -> dict[str, Any]:
    """Keys and values of a comment line, for ASE's `read_xyz` as its `properties_parser`.

    The column of symbols goes under a name of our own: `name_elements` makes elements of it.
    """
    from ase.io.extxyz import key_val_str_to_dict

    line = _STRUCTURE.sub(lambda found: _AS_ASE_SPELLS[found[1].lower()], line)
    line = _SPECIAL.sub(rf"{PRIVATE_PREFIX}\1", _NESTED.sub(r'="\1"', line))
    values = cast("dict[str, Any]", key_val_str_to_dict(line))
    columns = values.setdefault("Properties", f"{_SPECIES}:S:1:pos:R:3")
    if isinstance(columns, str) and columns.startswith(f"{_SPECIES}:S:1"):
        values["Properties"] = PRIVATE_PREFIX + columns
    return values


def name_elements(atoms: Any) -> bool:
    """Set the elements of Atoms that were read with `parse_comment`; whether isotopes are among them.

    Raises KeyError for what is not the symbol of an element.
    """
    symbols = atoms.arrays.pop(PRIVATE_PREFIX + _SPECIES, None)
    if symbols is None:
        return False
    names = [str(symbol).capitalize() for symbol in symbols]
    if "Z" not in atoms.arrays and not atoms.numbers.any():
        atoms.numbers = np.array([_NUMBERS[name] for name in names])
    return not ISOTOPES.keys().isdisjoint(names)
