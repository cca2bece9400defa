"""Figures of the report, as SVG text: parity of labels and predictions, pair curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

import numpy as np
from forcemap.fitter.report.metrics import Comparison
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray

__all__ = ["CURVE_COLORS", "STYLE", "curve_figures", "parity_figures", "size_figures", "svg_of"]

Array = NDArray[np.float64]

TRAIN_COLOR, TEST_COLOR = "#8fa8bf", "#d1495b"
CURVE_COLORS = ("#00798c", "#d1495b", "#edae49", "#30638e", "#003d5b", "#7d4e9e", "#4f9d69", "#888")
CURVES_PER_FIGURE = len(CURVE_COLORS)

MAX_VECTOR_POINTS = 1500
"""More points than this are rasterised inside the SVG, to keep it small."""

STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8b95a1",
    "axes.labelcolor": "#3c4650",
    "xtick.color": "#5a6570",
    "ytick.color": "#5a6570",
    "axes.grid": True,
    "grid.color": "#e8ecf0",
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def svg_of(figure: Figure) -> str:
    """The figure as SVG, the same at every call."""
    text = StringIO()
    figure.savefig(text, format="svg", dpi=150, metadata={"Date": None})
    return text.getvalue()


def _parity(title: str, unit: str, train: Array, test: Array) -> str | None:
    """SVG of predictions against labels, (k, 2) each; None without points."""
    both = np.concatenate([train, test])
    if not len(both):
        return None
    with rc_context(STYLE):
        figure = Figure(figsize=(4.2, 4.2), layout="constrained")
        axes = figure.add_subplot()
        low, high = float(both.min()), float(both.max())
        margin = 0.04 * (high - low) or 0.1
        limits = (low - margin, high + margin)
        axes.plot(limits, limits, color="#3c4650", linewidth=0.8, zorder=1)
        for points, color, label in ((train, TRAIN_COLOR, "train"), (test, TEST_COLOR, "test")):
            if len(points):
                axes.plot(
                    points[:, 0],
                    points[:, 1],
                    linestyle="none",
                    marker="o",
                    markersize=3.0 if len(points) <= MAX_VECTOR_POINTS else 1.8,
                    markeredgewidth=0,
                    color=color,
                    alpha=0.8,
                    label=label,
                    rasterized=len(points) > MAX_VECTOR_POINTS,
                )
        axes.set(
            title=title,
            xlabel=f"reference ({unit})",
            ylabel=f"forcemap ({unit})",
            xlim=limits,
            ylim=limits,
            aspect="equal",
        )
        axes.legend(loc="upper left", markerscale=2.0)
        return svg_of(figure)


def parity_figures(train: Comparison, test: Comparison) -> dict[str, str]:
    """SVG of the parity plots of all labelled quantities, by title."""
    # Total energies of different compositions lie far apart; in one file they share one plot.
    figures = {
        "Energy": _parity("Energy per atom", "eV", train.energies, test.energies),
        "Forces": _parity("Force components", "eV/Å", train.forces, test.forces),
        "Stress": _parity("Stress components", "GPa", train.stresses, test.stresses),
    }
    return {title: svg for title, svg in figures.items() if svg is not None}


def curve_figures(curves: Mapping[str, tuple[Any, Any]]) -> dict[str, str]:
    """SVG of pair energies (eV) against distance (Å) by title, a few pairs of species per figure."""
    names = list(curves)
    figures = {}
    for start in range(0, len(names), CURVES_PER_FIGURE):
        chosen = names[start : start + CURVES_PER_FIGURE]
        title = "Pair energy " + ", ".join(chosen)
        figures[title] = _curves({name: curves[name] for name in chosen})
    return figures


def _energy_limits(curves: Sequence[tuple[Array, Array]]) -> tuple[float, float]:
    """Limits of the axis that show the wells; the repulsive walls leave the figure at the top."""
    deepest = min(float(energy.min()) for _, energy in curves)
    # A curve is no longer a wall beyond its first crossing of zero.
    beyond = [energy[np.argmax(energy <= 0.0) :] for _, energy in curves if np.any(energy <= 0.0)]
    highest = max([float(part.max()) for part in beyond] or [1.0])
    depth = max(-deepest, highest, 0.05)
    return min(deepest, 0.0) - 0.1 * depth, max(1.2 * highest, 1.5 * depth)


def _curves(curves: Mapping[str, tuple[Any, Any]]) -> str:
    points = [(np.asarray(r, float), np.asarray(energy, float)) for r, energy in curves.values()]
    with rc_context(STYLE):
        figure = Figure(figsize=(6.2, 3.8), layout="constrained")
        axes = figure.add_subplot()
        axes.axhline(0.0, color="#3c4650", linewidth=0.8)
        limits = _energy_limits(points)
        for (r, energy), name, color in zip(points, curves, CURVE_COLORS, strict=False):
            shown = np.where(energy > 10 * limits[1], np.nan, energy)
            axes.plot(r, shown, color=color, linewidth=1.8, label=name)
        axes.set(
            title="Mapped pair energy",
            xlabel="distance (Å)",
            ylabel="energy (eV)",
            ylim=limits,
            xlim=(0.0, max(float(r.max()) for r, _ in points)),
        )
        axes.legend(loc="upper right")
        return svg_of(figure)


def size_figures(points: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """SVG of force errors against the time of an evaluation and of the fit; empty below two sizes."""
    figures = {}
    for key, label in (
        ("run_microseconds_per_atom", "evaluation, µs per atom"),
        ("seconds", "whole fit, s"),
    ):
        known = [p for p in points if p["force_rmse_ev_per_a"] is not None and p[key] is not None]
        if len(known) < 2:
            continue
        with rc_context(STYLE):
            figure = Figure(figsize=(4.2, 3.2), layout="constrained")
            axes = figure.add_subplot()
            x = [point[key] for point in known]
            y = [point["force_rmse_ev_per_a"] for point in known]
            axes.plot(x, y, "o-", color=CURVE_COLORS[0])
            for point, px, py in zip(known, x, y, strict=True):
                axes.annotate(point["name"], (px, py), xytext=(5, 5), textcoords="offset points")
            axes.set_xscale("log")
            axes.set_xlabel(label)
            axes.set_ylabel("force RMSE, eV/Å")
            title = f"Accuracy against {label.split(',')[0]}"
            axes.set_title(title)
            figures[title] = svg_of(figure)
    return figures
