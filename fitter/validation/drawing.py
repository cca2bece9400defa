"""What all figures of a validation share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from forcemap.fitter.report.figures import CURVE_COLORS, STYLE
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["LINES", "REFERENCE_COLOR", "drawn", "panels"]

LINES = ("-", "--", ":", "-.")
"""Line styles of the models: the potential, then the one beside it."""

REFERENCE_COLOR = "#3c4650"

COLORS = CURVE_COLORS


def drawn(
    draw: Callable[[Axes], None], title: str, size: tuple[float, float] = (5.2, 3.8)
) -> Figure:
    """A figure with one panel."""
    with rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(title)
        draw(axes)
    return figure


def panels(
    draws: Sequence[Callable[[Axes], None]],
    title: str,
    *,
    across: bool = False,
    size: tuple[float, float] = (6.4, 2.2),
    widths: Sequence[float] | None = None,
) -> Figure:
    """A figure with panels of one x axis below each other, or of one y axis beside each other."""
    with rc_context(STYLE):
        count = len(draws)
        figsize = size if across else (size[0], size[1] * count + 0.6)
        figure = Figure(figsize=figsize, layout="constrained")
        if across:
            axes = figure.subplots(1, count, sharey=True, squeeze=False, width_ratios=widths)[0]
        else:
            axes = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
        axes[0].set_title(title)
        for draw, one in zip(draws, axes, strict=True):
            draw(one)
    return figure
