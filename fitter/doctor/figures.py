"""Figures of the examined data, as SVG text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.doctor.case import Case
from forcemap.fitter.doctor.composition import Composition
from forcemap.fitter.doctor.coverage import counts_of_distances
from forcemap.fitter.doctor.surroundings import BINS, WIDTH
from forcemap.fitter.report.figures import CURVE_COLORS, STYLE, svg_of
from forcemap.potentials.elements import SYMBOLS
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

__all__ = ["histograms", "map_figure"]

Array = NDArray[np.float64]

MOST_POINTS = 1500
"""More points than this are rasterised inside the SVG, to keep it small."""


def _figure(
    title: str, draw: Callable[[Axes], None], size: tuple[float, float] = (4.2, 3.2)
) -> str:
    with rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        axes.set_title(title)
        return svg_of(figure)


def histograms(case: Case) -> dict[str, str]:
    """SVG of histograms by title: distances, energies, forces, elements."""
    figures = {}
    if counts_of_distances(case):
        figures["Distances"] = _figure("Distances", lambda axes: _distances(axes, case))
    data = Composition.of(case.frames)
    if len(data.frames):
        figures["Energies"] = _figure("Energies", lambda axes: _energies(axes, data))
    norms = [
        np.linalg.norm(frame.forces[frame.labelled], axis=1)
        for frame in case.frames
        if frame.forces is not None
    ]
    if sum(map(len, norms)):
        figures["Forces"] = _figure("Forces", lambda axes: _forces(axes, np.concatenate(norms)))
    figures["Elements"] = _figure("Elements", lambda axes: _elements(axes, case.frames))
    return figures


def _distances(axes: Axes, case: Case) -> None:
    counts = counts_of_distances(case)
    edges = np.arange(BINS) * WIDTH
    often = sorted(counts, key=lambda pair: -int(counts[pair].sum()))[: len(CURVE_COLORS)]
    for pair, color in zip(often, CURVE_COLORS, strict=False):
        label = f"{SYMBOLS[pair[0]]}–{SYMBOLS[pair[1]]}"
        axes.step(edges, counts[pair] / 2.0, where="post", color=color, label=label, linewidth=1.2)
    axes.axvline(case.cutoff, color="#8b95a1", linewidth=0.8, linestyle="--")
    axes.set(
        xlabel="distance (Å)", ylabel=f"pairs per {WIDTH:g} Å", yscale="log", xlim=(0, BINS * WIDTH)
    )
    axes.legend()


def _energies(axes: Axes, data: Composition) -> None:
    residuals = data.residuals(data.energies / data.sizes)
    axes.hist(residuals, bins=60, color=CURVE_COLORS[0])
    axes.set(xlabel="energy beyond its composition's (eV per atom)", ylabel="frames", yscale="log")


def _forces(axes: Axes, norms: Array) -> None:
    axes.hist(norms, bins=80, color=CURVE_COLORS[0])
    axes.set(xlabel="force on an atom (eV/Å)", ylabel="atoms", yscale="log")


def _elements(axes: Axes, frames: Sequence[Frame]) -> None:
    numbers, counts = np.unique(np.concatenate([f.numbers for f in frames]), return_counts=True)
    axes.bar([SYMBOLS[z] for z in numbers], counts, color=CURVE_COLORS[0])
    axes.set(ylabel="atoms", yscale="log")
    axes.grid(visible=False, axis="x")


def map_figure(places: Array, values: Array, label: str) -> str:
    """SVG of frames (n, 2), coloured by values (n,); frames without a value are grey."""
    known = np.isfinite(values)
    low, high = np.quantile(values[known], [0.01, 0.99]) if known.any() else (0.0, 1.0)

    def draw(axes: Axes) -> None:
        rasterized = len(places) > MOST_POINTS
        axes.plot(
            places[~known, 0],
            places[~known, 1],
            ".",
            color="#c5ccd3",
            markersize=3.0,
            rasterized=rasterized,
        )
        # Those with the largest values lie on top.
        order = np.flatnonzero(known)[np.argsort(values[known])]
        points = axes.scatter(
            places[order, 0],
            places[order, 1],
            c=values[order],
            s=9.0,
            linewidths=0,
            cmap="viridis",
            vmin=low,
            vmax=high if high > low else low + 1.0,
            rasterized=rasterized,
        )
        axes.figure.colorbar(points, label=label)
        axes.set(xlabel="component 1", ylabel="component 2")

    return _figure(f"Frames by {label.partition(' (')[0]}", draw, (5.2, 4.0))
