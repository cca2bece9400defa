"""Tables for the terminal, made with rich."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any

from forcemap.fitter.report.metrics import COUNTS, DEVIATIONS, METRICS, SIZES, Column
from forcemap.fitter.report.optimised import changes, heading
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

__all__ = [
    "change_table",
    "deviation_table",
    "error_table",
    "output_console",
    "rows_table",
    "size_table",
    "table_of",
]

LOG_WIDTH = 120
"""Width of output that does not go to a terminal, in columns."""


def output_console(stream: IO[str] | None = None) -> Console:
    """Console on stdout (or `stream`) that truncates nothing when the output is not a terminal.

    Text is printed verbatim: names of groups and files may contain what rich takes for markup.
    """
    stream = sys.stdout if stream is None else stream
    width = None if stream.isatty() else LOG_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def error_table(title: str, block: Mapping[str, Any]) -> Table:
    """Table of the errors of `metrics.error_block`: a row for each group, and one for all."""
    return _by_group(title, block, {**COUNTS, **METRICS})


def deviation_table(title: str, block: Mapping[str, Any]) -> Table:
    """Table of the deviations of a `metrics.error_block` that has them: a row for each group."""
    return _by_group(title, block, {**COUNTS, **DEVIATIONS})


def _table(title: str, first: str, columns: Mapping[str, Column]) -> Table:
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    table.add_column(first)
    for column in columns.values():
        table.add_column("\n".join(filter(None, (column.label, column.unit))), justify="right")
    return table


def table_of(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table of finished cells; the columns after the first are aligned to the right."""
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    return table


def _cells(columns: Mapping[str, Column], numbers: Mapping[str, Any]) -> list[str]:
    return [column.shown(numbers[name]) for name, column in columns.items()]


def _by_group(title: str, block: Mapping[str, Any], columns: Mapping[str, Column]) -> Table:
    table = _table(title, "config_type", columns)
    groups = block["by_config_type"]
    if len(groups) > 1:
        for name, numbers in groups.items():
            table.add_row(name, *_cells(columns, numbers))
        table.add_section()
    table.add_row("all", *_cells(columns, block), style="bold")
    return table


def rows_table(rows: Sequence[tuple[str, str]], title: str | None = None) -> Table:
    """A table of names and values in two columns."""
    table = Table(
        box=None, show_header=False, title=title, title_justify="left", title_style="bold"
    )
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    return table


def change_table(optimised: Mapping[str, Any]) -> Table:
    """Table of the hyperparameters in a report's `optimised`, before and after."""
    table = Table(box=SIMPLE_HEAD, title=heading(optimised), title_justify="left")
    table.title_style = "bold"
    table.add_column("")
    for name in ("before", "after"):
        table.add_column(name, justify="right")
    for change in changes(optimised):
        table.add_row(*change)
    return table


def size_table(points: Sequence[Mapping[str, Any]]) -> Table:
    """Table of accuracy and cost of the sizes in a report's `sizes`."""
    table = _table("Sizes", "size", SIZES)
    for point in points:
        table.add_row(point["name"], *_cells(SIZES, point))
    return table
