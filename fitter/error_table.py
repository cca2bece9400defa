"""Tables for the terminal, made with rich."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

__all__ = ["deviation_table", "error_table", "output_console", "rows_table", "size_table"]

LOG_WIDTH = 120
"""Columns where the output is no terminal."""

COLUMNS = (
    ("n_frames", "frames", "{:d}"),
    ("n_atoms", "atoms", "{:d}"),
    ("energy_rmse_mev_per_atom", "energy RMSE\nmeV/atom", "{:.2f}"),
    ("energy_mae_mev_per_atom", "energy MAE\nmeV/atom", "{:.2f}"),
    ("force_rmse_ev_per_a", "force RMSE\neV/Å", "{:.4f}"),
    ("force_mae_ev_per_a", "force MAE\neV/Å", "{:.4f}"),
    ("stress_rmse_gpa", "stress RMSE\nGPa", "{:.3f}"),
)


DEVIATION_COLUMNS = (
    *COLUMNS[:2],
    ("energy_std_mev_per_atom", "energy\nmeV/atom", "{:.2f}"),
    ("force_std_ev_per_a", "force\neV/Å", "{:.4f}"),
    ("stress_std_gpa", "stress\nGPa", "{:.3f}"),
)


def output_console(stream: IO[str] | None = None) -> Console:
    """Console on stdout (or `stream`) that cuts nothing off where there is no terminal."""
    stream = sys.stdout if stream is None else stream
    width = None if stream.isatty() else LOG_WIDTH
    return Console(file=stream, width=width, highlight=False)


def error_table(title: str, block: Mapping[str, Any]) -> Table:
    """The errors of `error_metrics.error_block`: a row for each group, and one for all."""
    return _by_group(title, block, COLUMNS)


def deviation_table(title: str, block: Mapping[str, Any]) -> Table:
    """The deviations of an `error_metrics.error_block` that has them, as `error_table`."""
    return _by_group(title, block, DEVIATION_COLUMNS)


def _by_group(
    title: str, block: Mapping[str, Any], columns: Sequence[tuple[str, str, str]]
) -> Table:
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    table.add_column("config_type")
    for _, heading, _ in columns:
        table.add_column(heading, justify="right")

    def add(name: str, numbers: Mapping[str, Any], style: str = "") -> None:
        cells = [
            "–" if numbers[key] is None else form.format(numbers[key]) for key, _, form in columns
        ]
        table.add_row(name, *cells, style=style)

    groups = block["by_config_type"]
    if len(groups) > 1:
        for name, numbers in groups.items():
            add(name, numbers)
        table.add_section()
    add("all", block, "bold")
    return table


def rows_table(rows: Sequence[tuple[str, str]], title: str | None = None) -> Table:
    """Names and values in two columns."""
    table = Table(
        box=None, show_header=False, title=title, title_justify="left", title_style="bold"
    )
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    return table


SIZE_COLUMNS = (
    ("energy_rmse_mev_per_atom", "energy RMSE\nmeV/atom", "{:.2f}"),
    ("force_rmse_ev_per_a", "force RMSE\neV/Å", "{:.4f}"),
    ("run_microseconds_per_atom", "evaluation\nµs/atom", "{:.2f}"),
    ("seconds", "whole fit\ns", "{:.1f}"),
    ("n_sparse", "sparse\npoints", "{:d}"),
)


def size_table(points: Sequence[Mapping[str, Any]]) -> Table:
    """Accuracy and cost of the sizes in a report's `sizes`."""
    table = Table(box=SIMPLE_HEAD, title="Sizes", title_justify="left", title_style="bold")
    table.add_column("size")
    for _, heading, _ in SIZE_COLUMNS:
        table.add_column(heading, justify="right")
    for point in points:
        cells = [
            "–" if point[key] is None else form.format(point[key]) for key, _, form in SIZE_COLUMNS
        ]
        table.add_row(point["name"], *cells)
    return table
