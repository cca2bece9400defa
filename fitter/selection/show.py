"""Presentation of judged candidates: a table for the terminal, a page with figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from forcemap.fitter.report.figures import CURVE_COLORS, STYLE, svg_of
from forcemap.fitter.report.metrics import Column
from forcemap.fitter.report.template import template
from forcemap.fitter.selection.judge import Errors, Judged
from forcemap.fitter.selection.recommend import Recommendation
from matplotlib import rc_context
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table

__all__ = ["figures", "page", "table"]

COLUMNS = {
    "log_evidence": Column("log\nevidence", "", "{:.0f}"),
    "trace": Column("trace\nterm", "", "{:.1f}"),
    "bic": Column("BIC", "", "{:.0f}"),
    "left_out": Column("left out", "eV/Å", "{:.4f}"),
    "test": Column("test", "eV/Å", "{:.4f}"),
    "norm": Column("mean |ΔF|", "eV/Å", "{:.4f}"),
    "energy": Column("energy", "meV/atom", "{:.2f}"),
    "microseconds": Column("step", "µs/atom", "{:.2f}"),
    "fit_seconds": Column("fit", "cpu s", "{:.1f}"),
    "sparse": Column("points", "", "{:d}"),
}
"""Columns for each candidate; errors of forces are per component except for the norm."""

NOTE = (
    "Evidences are of the same rows. Where sparse points leave much of a prior open, the trace term is "
    "large, and the evidence may be too large by up to as much."
)


def _numbers(one: Judged) -> dict[str, Any]:
    errors = one.errors or Errors(None, None, None)
    return {
        "log_evidence": one.log_evidence,
        "trace": one.trace,
        "bic": one.bic,
        "left_out": one.left_out.force_rmse if one.left_out else None,
        "test": one.test.force_rmse if one.test else None,
        "norm": errors.force_norm,
        "energy": errors.energy_rmse,
        "microseconds": one.microseconds,
        "fit_seconds": one.fit_seconds,
        "sparse": one.sparse,
    }


def table(judged: Sequence[Judged], found: Recommendation) -> Table:
    """A table with a line for each candidate; the recommended one is bold."""
    shown = Table(box=SIMPLE_HEAD, title="Candidates", title_justify="left", title_style="bold")
    shown.add_column("candidate")
    for column in COLUMNS.values():
        shown.add_column("\n".join(filter(None, (column.label, column.unit))), justify="right")
    for one in judged:
        numbers = _numbers(one)
        cells = [column.shown(numbers[key]) for key, column in COLUMNS.items()]
        name = one.candidate.name
        shown.add_row(name, *cells, style="bold" if name == found.name else None)
    return shown


def figures(judged: Sequence[Judged], target: float | None) -> dict[str, str]:
    """SVG of the figures by title: learning curves with bars, errors against the cost of a step."""
    drawn = {}
    curves = {one.candidate.name: one.curve for one in judged if one.curve}
    if curves:
        drawn["Learning curves"] = _curves(judged, target)
    known = [one for one in judged if one.error is not None and one.microseconds is not None]
    if known:
        drawn["Error against the cost of a step"] = _costs(known, target)
    return drawn


def _curves(judged: Sequence[Judged], target: float | None) -> str:
    with rc_context(STYLE):
        figure = Figure(figsize=(6.2, 4.2), layout="constrained")
        axes = figure.add_subplot()
        for n, one in enumerate(judged):
            if one.curve:
                axes.errorbar(
                    [point.frames for point in one.curve],
                    [point.mean for point in one.curve],
                    [point.bar for point in one.curve],
                    marker="o",
                    capsize=3,
                    color=CURVE_COLORS[n % len(CURVE_COLORS)],
                    label=one.candidate.name,
                )
        axes.set(
            title="Learning curves",
            xlabel="training frames",
            ylabel="force RMSE (eV/Å)",
            xscale="log",
            yscale="log",
        )
        _draw_target(axes, target)
        axes.legend(fontsize=8)
        return svg_of(figure)


def _costs(judged: Sequence[Judged], target: float | None) -> str:
    with rc_context(STYLE):
        figure = Figure(figsize=(6.2, 4.2), layout="constrained")
        axes = figure.add_subplot()
        for n, one in enumerate(judged):
            assert one.microseconds is not None
            assert one.error is not None
            color = CURVE_COLORS[n % len(CURVE_COLORS)]
            axes.plot([one.microseconds], [one.error], "o", color=color)
            place = (one.microseconds, one.error)
            name = one.candidate.name
            axes.annotate(name, place, xytext=(5, 5), textcoords="offset points", fontsize=8)
        axes.set(
            title="Error against the cost of a step",
            xlabel="step (µs per atom)",
            ylabel="force RMSE (eV/Å)",
            xscale="log",
            yscale="log",
        )
        _draw_target(axes, target)
        return svg_of(figure)


def _draw_target(axes: Any, target: float | None) -> None:
    if target is not None:
        axes.axhline(target, color="#3c4650", linewidth=1.0, linestyle="--", label="target")


def page(
    judged: Sequence[Judged], found: Recommendation, drawn: Mapping[str, str], frames: str
) -> str:
    """The whole page with its figures; `frames` describes the fitted frames."""
    return template("forcemap.fitter.selection.show", "select.html.j2").render(
        sentence=found.sentence,
        note=NOTE,
        frames=frames,
        columns=COLUMNS,
        lines=[
            {
                "name": one.candidate.name,
                "best": one.candidate.name == found.name,
                "cells": [column.shown(_numbers(one)[key]) for key, column in COLUMNS.items()],
                "file": one.candidate.file,
                "terms": yaml.safe_dump(one.settings.to_dict()["terms"], sort_keys=False),
            }
            for one in judged
        ],
        figures=drawn,
    )
