"""The comment line of an extended XYZ frame, as ASE's reader takes it, whatever a program wrote.

ASE wants ``Properties``, ``Lattice`` and ``pbc`` in this case, nine numbers for ``stress`` and
``virial``, no nested brackets, and no isotopes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from forcemap.potentials import _core
from forcemap.potentials.elements import SYMBOLS

__all__ = [
    "ISOTOPES",
    "PRIVATE_PREFIX",
    "name_elements",
    "parse_comment",
    "parse_regular_comment",
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
_NESTED = re.compile(r'=\s*(\[\s*\[[^"=]*?\]\s*\])')

_REGULAR = re.compile(r"""([^\s="'{}\[\]\\,]+)=(?:"([^"\\]*)"|([^\s"'{}\[\]\\=,]+))(?:\s+|$)""")
"""A key with a value that no rule on quotes, brackets and commas can make ambiguous."""

SHORT_INTEGER = 18
"""Characters of integers that certainly have 64 bits at most."""

_WORDS = re.compile(r"[^\s,]+")
_INTEGERS = re.compile(r"(?:[\s,]*[+-]?[0-9]+(?=[\s,]|$))+[\s,]*")
_REALS = re.compile(
    r"(?:[\s,]*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?=[\s,]|$))+[\s,]*"
)
_DECIMAL_COMMA = re.compile(r"\d,\d")
_TRUTH = {
    **dict.fromkeys(("T", "true", "True", "TRUE"), True),
    **dict.fromkeys(("F", "false", "False", "FALSE"), False),
}


def parse_comment(line: str) -> dict[str, Any]:
    """Keys and values of a comment line.

    Regular lines are read by `parse_regular_comment`, since ASE goes through their characters one by
    one; ASE reads all others.

    Raises ValueError, or what ASE's parser raises on malformed text.
    """
    from ase.io.extxyz import key_val_str_to_dict

    regular = parse_regular_comment(line)
    if regular is not None:
        return regular
    line = _STRUCTURE.sub(lambda found: _AS_ASE_SPELLS[found[1].lower()], line)
    line = _SPECIAL.sub(rf"{PRIVATE_PREFIX}\1", _NESTED.sub(r'="\1"', line))
    return cast("dict[str, Any]", key_val_str_to_dict(line)) if line.strip() else {}


def parse_regular_comment(line: str) -> dict[str, Any] | None:
    """The same as `parse_comment`, of lines of the form key=word key="words"; None for other lines."""
    found: dict[str, Any] = {}
    line = line.strip()
    at = 0
    while at < len(line):
        pair = _REGULAR.match(line, at)
        if pair is None:
            return None
        at = pair.end()
        key, quoted, word = pair.groups()
        try:
            value = _value(word if quoted is None else quoted)
        except ValueError:
            return None
        key = _AS_ASE_SPELLS.get(key.lower(), key)
        if key == "Lattice":
            if not isinstance(value, np.ndarray) or value.shape != (9,):
                return None
            value = value.reshape((3, 3), order="F")  # transposed, as ASE has it
        elif key in ("stress", "virial"):
            key = PRIVATE_PREFIX + key
        elif key.lower() == "uid":
            return None
        found[key] = value
    return found


def _value(text: str) -> Any:
    """A value as ASE understands it; raises ValueError where that is a matter of its rules."""
    words = text.split()
    if "," in text:
        words = _WORDS.findall(text)
        if _DECIMAL_COMMA.search(text):
            raise ValueError
    elif len(words) > 3 and "." in text:
        reals = _core.parse_atom_lines(text, 1, "R" * len(words))
        if reals is not None:
            return reals[1][0].copy()
    if not words:
        raise ValueError
    if _REALS.fullmatch(text):
        if _INTEGERS.fullmatch(text):
            if max(map(len, words)) > SHORT_INTEGER:
                raise ValueError
            numbers = np.array(list(map(int, words)))
            return numbers if len(words) > 1 else numbers[0]
        numbers = np.array(list(map(float, words)))
        return numbers if len(words) > 1 else numbers[0]
    if all(word in _TRUTH for word in words):
        truth = [_TRUTH[word] for word in words]
        return truth if len(words) > 1 else truth[0]
    if text.startswith("_JSON ") or all(map(_may_be_number, words)):
        raise ValueError
    return text


def _may_be_number(word: str) -> bool:
    """Whether Python takes a word for a number, such as nan or 1_000."""
    try:
        float(word)
    except ValueError:
        return False
    return True


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
        if atoms.calc is not None:
            # Its copy of the structure has to be this one, or ASE would not give its results.
            atoms.calc.atoms.numbers = atoms.numbers
    return not ISOTOPES.keys().isdisjoint(names)
