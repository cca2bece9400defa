"""What messages quote: one line, bounded, and nothing that a terminal would obey."""

import numpy as np
import pytest
from forcemap.potentials.quoting import MESSAGE, QUOTED, printable, quoted

VALUES = [
    "x" * 10_000,
    "\x1b[2J\r\n\t" * 1000,
    "\u202e\u2028\x9b\x7f\ufeff",
    b"\x00" * 500,
    "lone \udcff",
    10**3000,
    10**5000,
    [[[["deep"] * 50] * 50] * 50] * 50,
    {f"key {n}": "v" * 1000 for n in range(1000)},
    np.zeros((1000, 1000)),
    1e300,
    None,
    True,
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_quoted_values_are_short_and_printable(value: object) -> None:
    found = quoted(value)
    assert found.replace("\n", "").isprintable()
    # Each character may stand as an escape of up to ten.
    assert len(found) <= 10 * QUOTED + 3
    if isinstance(value, str) and value.isprintable():
        assert len(found) <= QUOTED + 3


def test_short_values_stand_as_python_writes_them() -> None:
    for value in ("abc", "it's", 3, 1.5, None, True, [1, 2], {"a": 1}, "Å", "x" * QUOTED):
        assert quoted(value) == repr(value)
    assert quoted("x" * (QUOTED + 1)) == f"'{'x' * QUOTED}'…"
    assert quoted("\x1b[31mred") == r"'\x1b[31mred'"


def test_messages_keep_their_lines_and_lose_control_characters() -> None:
    assert printable("one\ntwo Å") == "one\ntwo Å"
    assert printable("a\x1b[2Jb\rc\u202ed\udcff") == r"a\x1b[2Jb\rc\u202ed\udcff"
    assert printable("x" * 5000) == "x" * MESSAGE + "…"
    assert printable("abcdef", 3) == "abc…"
