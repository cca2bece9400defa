"""Figures of the honesty of standard deviations: reliability, and errors against deviations."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from forcemap.fitter.report.calibration import Expected, Honest, force_errors
from forcemap.fitter.report.figures import CURVE_COLORS, STYLE, svg_of
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import NDArray
from scipy.special import erf

__all__ = ["binned", "honesty_figures"]

Array = NDArray[np.float64]

FEWEST = 10
"""Fewest force components for which a curve is drawn."""

BINS, PER_BIN = 12, 20

SHOWN = 200.0
"""Ratio of the largest deviation to the smallest one shown: the tiny deviations of components that are
zero by symmetry would squeeze all others into a corner."""

GROUPS = len(CURVE_COLORS)


def honesty_figures(honest: Honest) -> Mapping[str, str]:
    """SVG of the figures of force components by title; empty if there are too few components."""
    known = {"leave-one-out": honest.left_out, "test": honest.test}
    errors = {name: force_errors(expected) for name, expected in known.items()}
    errors = {name: pairs for name, pairs in errors.items() if len(pairs) >= FEWEST}
    if not errors:
        return {}
    best = known[next(iter(errors))]
    return {
        "Reliability of force deviations": _reliability(errors),
        "Force error against deviation": _against(best, next(iter(errors))),
    }


def _reliability(errors: Mapping[str, Array]) -> str:
    """SVG of the share of components within z deviations against the share of normal errors."""
    z = np.linspace(0.0, 4.0, 81)
    expected = erf(z / np.sqrt(2.0))
    with rc_context(STYLE):
        figure = Figure(figsize=(4.2, 4.2), layout="constrained")
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color="#3c4650", linewidth=0.8)
        for (name, pairs), color in zip(errors.items(), CURVE_COLORS, strict=False):
            ratios = np.abs(pairs[:, 0]) / np.maximum(pairs[:, 1], 1e-300)
            share = [float(np.mean(ratios <= limit)) for limit in z]
            axes.plot(expected, share, color=color, linewidth=1.8, label=name)
        axes.set(
            title="Reliability of force deviations",
            xlabel="share of components expected (normal errors)",
            ylabel="share found within as many deviations",
            xlim=(0, 1),
            ylim=(0, 1),
            aspect="equal",
        )
        axes.legend(loc="best")
        return svg_of(figure)


def binned(found: Array) -> tuple[Array, Array]:
    """Root mean squares of deviations and errors, (bins,) each, over bins of like deviation."""
    order = np.argsort(found[:, 1], kind="stable")
    parts = np.array_split(found[order], max(1, min(BINS, len(found) // PER_BIN)))
    means = np.array([np.sqrt(np.mean(part**2, axis=0)) for part in parts])
    return means[:, 1], means[:, 0]


def _against(expected: Expected, name: str) -> str:
    """SVG of RMS errors against deviations of components, by config_type."""
    groups = {group: force_errors(some) for group, some in expected.by_config_type().items()}
    groups = {group: pairs for group, pairs in groups.items() if len(pairs) >= FEWEST}
    largest = sorted(groups, key=lambda group: len(groups[group]), reverse=True)[:GROUPS]
    with rc_context(STYLE):
        figure = Figure(figsize=(6.2, 4.2), layout="constrained")
        axes = figure.add_subplot()
        curves = {group: binned(groups[group]) for group in sorted(largest)}
        least = max([float(deviation.max()) for deviation, _ in curves.values()] or [0.0]) / SHOWN
        seen = []
        for (group, (deviation, error)), color in zip(curves.items(), CURVE_COLORS, strict=False):
            some = (deviation > least) & (error > 0.0)
            if not np.any(some):
                continue
            seen += [deviation[some], error[some]]
            axes.plot(deviation[some], error[some], "o-", color=color, markersize=4, label=group)
        values = np.concatenate([np.zeros(0), *seen])
        if len(values):
            ends = [float(values.min()), float(values.max())]
            axes.plot(ends, ends, color="#3c4650", linewidth=0.8)
            axes.set(xscale="log", yscale="log")
            for axis in (
                axes.xaxis,
                axes.yaxis,
            ):  # ticks at decades alone would show one number or none
                axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                axis.set_major_formatter("{x:g}")
                axis.set_minor_locator(NullLocator())
        axes.set(
            title="Force error against deviation",
            xlabel="deviation (eV/Å)",
            ylabel=f"RMS error, {name} (eV/Å)",
        )
        if seen:  # the legend is beside the axes, since no place inside is free in every fit
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return svg_of(figure)
