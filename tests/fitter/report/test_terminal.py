"""Tables for the terminal: what users have named is shown as it stands."""

from __future__ import annotations

from io import StringIO

from forcemap.fitter.report.metrics import METRICS
from forcemap.fitter.report.terminal import error_table, output_console, rows_table

NAMES = ("[red]warm", "[/b]", ":water:", "[bold]", "a\\[b")
"""Groups and files whose names rich would take for markup, for a closing tag, for a picture."""


def test_names_are_no_markup() -> None:
    numbers = {"n_frames": 1, "n_atoms": 1, **dict.fromkeys(METRICS, None)}
    block = numbers | {"by_config_type": dict.fromkeys(NAMES, numbers)}
    stream = StringIO()
    console = output_console(stream)
    console.print(error_table(f"Errors of {NAMES[1]}", block))
    console.print(rows_table([(name, name) for name in NAMES], title=NAMES[2]))
    first, second = stream.getvalue().split(f"\n{NAMES[2]}")
    assert f"Errors of {NAMES[1]}" in first
    for name in NAMES:
        assert sum(line.split()[:1] == [name] for line in first.splitlines()) == 1, name
        assert [name, name] in [line.split() for line in second.splitlines()], name
