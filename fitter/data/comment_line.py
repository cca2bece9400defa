"""The comment line of an extended XYZ frame, as ASE's reader takes it, whatever a program wrote.

ASE wants ``Properties``, ``Lattice`` and ``pbc`` in this case, nine numbers for ``stress`` and
``virial``, no nested brackets, and no isotopes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from forcemap.potentials.elements import SYMBOLS

__all__ = [
    "ISOTOPES",
    "PRIVATE_PREFIX",
    "name_elements",
    "parse_comment",
    "with_hidden_symbols",
]

PRIVATE_PREFIX = "_forcemap_"
"""Prefix that keeps ASE from reading `stress` and `virial`: it would take nine numbers only."""

ISOTOPES = {"D": 1, "T": 1}
"""Symbols of isotopes with the atomic numbers of their elements; energies do not depend on masses."""

_SPECIES = "species"
_NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS)} | ISOTOPES
_SPECIAL = re.compile(r"(?<!\S)(stress|virial)(?=\s*=)")
_STRUCTURE = re.compile(r"(?<!\S)(properties|lattice|pbc)(?=\s*=)", re.IGNORECASE)
_AS_ASE_SPELLS = {"properties": "Properties", "lattice": "Lattice", "pbc": "pbc"}
_NUMBERS_IN_QUOTES = re.compile(r'(?<!\S)([A-Za-z_]\w*)="([-+.\deE \t]{24,})"(?!\S)')
_OTHER_QUOTES = re.compile(r"""['{\[\\]""")
_NESTED = re.compile(r'=\s*(\[\s*\[[^"=]*?\]\s*\])')


def parse_comment(line: str) -> dict[str, Any]:
    """Keys and values of a comment line.

    Long lists of numbers in quotes, most of a comment, are taken out before ASE sees it, since ASE goes
    through its characters one by one; where other quotes could hold them, ASE reads everything.

    Raises ValueError, or what ASE's parser raises on malformed text.
    """
    from ase.io.extxyz import key_val_str_to_dict

    line = _STRUCTURE.sub(lambda found: _AS_ASE_SPELLS[found[1].lower()], line)
    line = _SPECIAL.sub(rf"{PRIVATE_PREFIX}\1", _NESTED.sub(r'="\1"', line))
    taken: dict[str, Any] = {}
    if not _OTHER_QUOTES.search(line):

        def take(found: re.Match[str]) -> str:
            try:
                taken[found[1]] = np.array(found[2].split(), dtype=np.float64)
            except ValueError:
                return found[0]
            return " "

        line = _NUMBERS_IN_QUOTES.sub(take, line)
        if "Lattice" in taken:
            if taken["Lattice"].shape != (9,):
                raise ValueError("a Lattice has nine numbers")
            taken["Lattice"] = taken["Lattice"].reshape((3, 3), order="F")
    return cast("dict[str, Any]", key_val_str_to_dict(line)) | taken if line.strip() else taken


def with_hidden_symbols(values: Mapping[str, Any]) -> dict[str, Any]:
    """The result of `parse_comment`, for ASE's `read_xyz` as the result of its `properties_parser`.

    The column of symbols goes under a name of our own: `name_elements` makes elements of it.
    """
    properties = dict(values)
    columns = properties.setdefault("Properties", f"{_SPECIES}:S:1:pos:R:3")
    if isinstance(columns, str) and columns.startswith(f"{_SPECIES}:S:1"):
        properties["Properties"] = PRIVATE_PREFIX + columns
    return properties


def name_elements(atoms: Any) -> bool:
    """Set the elements of Atoms read with `with_hidden_symbols`; returns whether any is an isotope.

    Raises KeyError for what is not the symbol of an element.
    """
    symbols = atoms.arrays.pop(PRIVATE_PREFIX + _SPECIES, None)
    if symbols is None:
        return False
    names = [str(symbol).capitalize() for symbol in symbols]
    if "Z" not in atoms.arrays and not atoms.numbers.any():
        atoms.numbers = np.array([_NUMBERS[name] for name in names])
    return not ISOTOPES.keys().isdisjoint(names)
