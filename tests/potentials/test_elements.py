"""Symbols of elements and their numbers."""

from __future__ import annotations

import pytest
from forcemap.potentials.elements import SYMBOLS, atomic_number
from forcemap.potentials.errors import ForcemapError


def test_symbols() -> None:
    assert len(SYMBOLS) == 119
    assert [atomic_number(symbol) for symbol in ("H", "Si", "Og")] == [1, 14, 118]
    for wrong in ("X", "si", ""):
        with pytest.raises(ForcemapError, match="is not the symbol of an element"):
            atomic_number(wrong)
