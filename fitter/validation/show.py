"""A validation on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from forcemap.fitter.report.terminal import table_of
from forcemap.fitter.validation.check import Grade
from forcemap.fitter.validation.results import Judged, Row
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from forcemap.fitter.validation.job import Results

__all__ = ["print_all", "shown", "tables", "verdict_table"]

STYLES = {Grade.FAIL: "bold red", Grade.WARN: "yellow", Grade.PASS: "green"}


def shown(value: float | None, form: str = ".5g") -> str:
    """A number in a cell."""
    return "" if value is None else f"{value:{form}}"


def tables(rows: Sequence[Row], models: Sequence[str]) -> list[Table]:
    """A table for each subject; columns without any value are left out."""
    columns: dict[str, list[str]] = {models[0]: [shown(row.value) for row in rows]}
    if len(models) > 1:
        columns[models[1]] = [shown(row.against) for row in rows]
    columns["reference"] = [shown(row.reference) for row in rows]
    columns["difference"] = [shown(row.difference, "+.3g") for row in rows]
    columns["%"] = [shown(row.percent, "+.1f") for row in rows]
    kept = {name: cells for name, cells in columns.items() if any(cells) or name == models[0]}
    made = []
    for subject in dict.fromkeys(row.subject for row in rows):
        lines = [
            [row.quantity, row.unit, *(cells[n] for cells in kept.values())]
            for n, row in enumerate(rows)
            if row.subject == subject
        ]
        made.append(table_of(subject, ["", "unit", *kept], lines))
    return made


def verdict_table(judged: Sequence[Judged], models: Sequence[str]) -> Table:
    """All verdicts, one in a line."""
    table = table_of("Criteria", ["", "subject", "verdict"], [])
    table.columns[1].justify = table.columns[2].justify = "left"
    table.columns[2].overflow = "fold"
    for one in judged:
        beside = f", {one.model}" if one.model != models[0] else ""
        passed = one.verdict.grade is Grade.PASS
        criterion = "" if passed else f" (asked for: {one.verdict.criterion})"
        table.add_row(
            Text(one.verdict.grade.value, STYLES[one.verdict.grade]),
            one.subject + beside,
            f"{one.verdict.name}: {one.verdict.message}{criterion}",
        )
    return table


def print_all(console: Console, results: Results) -> None:
    """Print the tables of numbers and of verdicts, and what belongs to them."""
    for table in tables(results.rows, results.models):
        console.print(table)
    if results.judged:
        console.print(verdict_table(results.judged, results.models))
    for line in results.remarks:
        console.print(line, soft_wrap=True)
    console.print(results.summary, soft_wrap=True)
