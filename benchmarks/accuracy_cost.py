"""Accuracy against the cost of a step of molecular dynamics and of the fit, with the peers' points.

Settings from small to large, of soap with learned channels and products on the sphere (one of them
evaluated in single precision, too), with larger spectra and fewer products, without the products, with
channels of the largest variance (``learning_steps: 0``) and with plain radial functions (the defaults
before, newest first), are fitted to the published silicon set (mlearn_Si), each by ``forcemap fit`` in
a process of its own. The peers' points are those of `peers`, measured on other days on machines of the
same kind, and are drawn unchanged: compare factors, not per cents. The time of our fits and steps is
that of the processor, of the whole program with its start; the peers' was taken on the wall.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fits import fit_by_command
from peers import Point, peers
from published_sets import add_silicon_option, silicon_folder
from text_table import shown, text_table

OURS: dict[str, list[dict[str, Any]]] = {
    "2-body": [{"kind": "two_body", "cutoff": 5.5}],
    "2+3-body 3.5 Å": [
        {"kind": "two_body", "cutoff": 5.5},
        {"kind": "three_body", "cutoff": 3.5},
    ],
    "2+3-body 4.25 Å": [
        {"kind": "two_body", "cutoff": 5.5},
        {"kind": "three_body", "cutoff": 4.25},
    ],
    "bispectrum": [
        {"kind": "two_body", "cutoff": 5.5},
        {"kind": "bispectrum"},
    ],
    "soap, 4 channels l3, one scale": [
        {"kind": "two_body", "cutoff": 5.5},
        {"kind": "soap", "n_channels": 4, "l_max": 3, "n_scales": 1},
    ],
    "soap, 4 channels l3, one scale, single precision": [
        {"kind": "two_body", "cutoff": 5.5},
        {"kind": "soap", "n_channels": 4, "l_max": 3, "n_scales": 1},
    ],
    "soap, 4 channels l3": [
        {"kind": "two_body", "cutoff": 5.5},
        {"kind": "soap", "n_channels": 4, "l_max": 3},
    ],
    "soap, one scale": [
        {"kind": "two_body", "cutoff": 5.5},
        {"kind": "soap", "n_scales": 1},
    ],
    "soap": [
        {"kind": "two_body", "cutoff": 5.5},
        {"kind": "soap"},
    ],
    "soap, 12 channels l8, 3000": [
        {"kind": "two_body", "cutoff": 5.5},
        {"kind": "soap", "n_channels": 12, "l_max": 8, "n_sparse": 3000},
    ],
}

PLAIN: dict[str, list[dict[str, Any]]] = {
    "plain n5 l4, 250, one scale": [
        {"kind": "two_body", "cutoff": 5.5},
        {"kind": "soap", "n_max": 5, "l_max": 4, "n_sparse": 250, "n_scales": 1},
    ],
    "plain n5 l4, 250": [
        {"kind": "two_body", "cutoff": 5.5},
        {"kind": "soap", "n_max": 5, "l_max": 4, "n_sparse": 250},
    ],
    "plain n8 l6": [
        {"kind": "two_body", "cutoff": 5.5},
        {"kind": "soap", "n_max": 8, "l_max": 6},
    ],
    "plain n8 l8, 3000": [
        {"kind": "two_body", "cutoff": 5.5},
        {"kind": "soap", "n_max": 8, "l_max": 8, "n_sparse": 3000},
    ],
}
"""Radial functions as they are: the default before channels were learned."""

BEFORE: dict[str, list[dict[str, Any]]] = {
    "soap, 8 channels l6, products l3": [
        {"kind": "two_body", "cutoff": 5.5},
        {"kind": "soap", "n_channels": 8, "l_max": 6, "bispectrum": False},
        {"kind": "bispectrum", "l_max": 3},
    ],
    "spectra, largest variance": [
        {"kind": "two_body", "cutoff": 5.5},
        {"kind": "soap", "bispectrum": False},
    ],
    "spectra": [
        {"kind": "two_body", "cutoff": 5.5},
        {"kind": "soap", "bispectrum": False},
    ],
    "soap, largest variance": [
        {"kind": "two_body", "cutoff": 5.5},
        {"kind": "soap"},
    ],
}
"""The default before, with larger spectra and fewer products; channels that learn nothing from forces,
no products of three and four densities, or neither."""

FITS = OURS | BEFORE | PLAIN


def fitted(name: str, data: Path, jobs: int) -> Point:
    """Fit and judge; exits with the fit's message if it fails."""
    settings: dict[str, Any] = {
        "data": {"train": str(data / "train.xyz"), "test": str(data / "test.xyz")},
        "terms": FITS[name],
    }
    if "largest variance" in name:
        settings["learning_steps"] = 0
    if "single precision" in name:
        settings["map"] = {"precision": "single"}
    with tempfile.TemporaryDirectory() as scratch:
        found = fit_by_command(name, settings, Path(scratch), jobs)
    fit, test = found.report["fit"], found.report["test"]
    return Point(
        found.cost.processor,
        fit["peak_memory_mb"],
        test["energy_rmse_mev_per_atom"],
        test["force_rmse_ev_per_a"],
        fit["run_microseconds_per_atom"],
    )


AXES = {
    "run": "evaluation, µs per atom and step",
    "fit": "whole fit, s of a processor",
}
"""Attributes of `Point` that figures show the force error against, with their labels."""

MARKERS = {"A": "s", "B": "D"}
"""Of the peers, by session."""


SHOWN = 0.07, 0.22
"""Force errors that figures show, eV/Å: where the contenders are."""

COLORS = {"A": "#5a6570", "B": "#c26a2d"}

NOTE: dict[str, Any] = {"fontsize": 7, "textcoords": "offset points", "color": "#3a424a"}


def draw(ours: dict[str, Point], cost: str, path: Path) -> None:
    """The force error against a cost, "run" or "fit", of our points and the peers'."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = "forcemap"  # the same file for the same numbers
    figure, axes = plt.subplots(figsize=(7.2, 4.8))
    axes.set(xscale="log", ylim=SHOWN, xlabel=AXES[cost])
    for names, style, color, label in (
        (OURS, "o-", "#00798c", "forcemap"),
        (PLAIN, "o:", "#7fb7c0", "forcemap, plain radial functions, no products"),
    ):
        line = sorted((getattr(p, cost), p.force) for name, p in ours.items() if name in names)
        if line:
            axes.plot(*zip(*line, strict=True), style, color=color, label=label, zorder=3)
    shown = [peer for peer in peers() if peer.label and getattr(peer.point, cost) is not None]
    for session, marker in MARKERS.items():
        points = [p.point for p in shown if p.session == session]
        axes.plot(
            [getattr(point, cost) for point in points],
            [point.force for point in points],
            marker,
            color=COLORS[session],
            markersize=5,
            label=f"others, session {session}",
        )
    # The text stays clear of the right edge.
    low, high = axes.get_xlim()
    axes.set_xlim(low, 2.5 * high)
    write_names(axes, [(getattr(p.point, cost), p.point.force, p.label) for p in shown])
    for peer in (p for p in peers() if p.label and p.point.run is None and cost == "run"):
        axes.axhline(peer.point.force, color="#8d96a0", linewidth=0.8, linestyle="--")
        place = {"xycoords": ("axes fraction", "data"), "ha": "right", "xytext": (0, 3)}
        axes.annotate(f"{peer.label}, error only", (0.99, peer.point.force), **NOTE | place)
    axes.set_ylabel("force RMSE on the test frames, eV/Å")
    axes.set_title("Silicon (published frames), one core", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def write_names(axes: Any, points: Sequence[tuple[float, float, str]]) -> None:
    """Write each name beside its point, on the side where it covers least."""
    places = axes.transData.transform([(x, y) for x, y, _ in points])
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in places]
    for (x, y, name), (left, bottom) in zip(points, places, strict=True):
        wide, high = 5.2 * len(name), 11.0

        def box(
            across: int,
            up: int,
            x: float = left,
            y: float = bottom,
            w: float = wide,
            h: float = high,
        ) -> tuple[float, float, float, float]:
            start = x + 7 if across > 0 else x - 7 - w
            middle = y + 9 * up
            return start, middle - h / 2, start + w, middle + h / 2

        sides = [(1, 1), (1, 0), (1, -1), (-1, 1), (-1, 0), (-1, -1)]
        best = min(sides, key=lambda side: sum(covered(box(*side), other) for other in taken))
        taken.append(box(*best))
        side = {"xytext": (5 * best[0], 6 * best[1]), "ha": "left" if best[0] > 0 else "right"}
        axes.annotate(name, (x, y), va="center", **NOTE | side)


def covered(a: Sequence[float], b: Sequence[float]) -> float:
    """Area that two boxes (left, bottom, right, top) have in common."""
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    return max(wide, 0.0) * max(high, 0.0)


def main() -> None:
    """Fit, print the table, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_silicon_option(parser)
    parser.add_argument("--jobs", type=int, default=1, help="threads  [default: 1]")
    parser.add_argument("--plot", type=Path, help="file of the figure, such as curve.png")
    parser.add_argument("--only", action="append", choices=list(FITS), help="repeatable")
    options = parser.parse_args()
    data = silicon_folder(parser, options)
    ours = {name: fitted(name, data, options.jobs) for name in options.only or FITS}
    rows = [
        [
            *(name, shown(p.fit, 1), shown(p.memory, 0), shown(p.energy, 2)),
            *(shown(p.force, 4), shown(p.run, 2)),
        ]
        for name, p in [*ours.items(), *((peer.name, peer.point) for peer in peers())]
    ]
    head = ["potential", "fit cpu s", "peak MB", "E RMSE", "F RMSE", "µs/atom"]
    print(text_table(head, rows))
    for peer, point, *_ in peers():
        if point.run is None:
            continue
        below = [
            n for n, p in ours.items() if p.run and p.run <= point.run and p.force <= point.force
        ]
        if not below:
            print(f"below our curve: {peer} ({point.force} eV/Å at {point.run} µs)")
    if options.plot:
        draw(ours, "run", options.plot)


if __name__ == "__main__":
    main()
