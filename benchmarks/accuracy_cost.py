"""Accuracy against the cost of a step of molecular dynamics and of the fit, with the peers' points.

Settings from small to large are fitted to the published silicon set (mlearn_Si), each by ``forcemap
fit`` in a process of its own. The peers' points were measured once on another day on a machine of the
same kind (their own defaults; 2 shared cores), and are drawn unchanged: compare factors, not
per cents. The time of our fits is that of the processor, of the whole program with its start; the
peers' was taken on the wall.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from fits import fit_by_command
from published_sets import add_silicon_option, silicon_folder
from text_table import shown, text_table


class Point(NamedTuple):
    """A potential: fit s, peak MB, energy RMSE meV/atom, force RMSE eV/Å, µs per atom and step."""

    fit: float | None
    memory: float | None
    energy: float
    force: float
    run: float | None


PEERS = {
    "gap_fit SOAP n8 l6": Point(287, 7204, 5.83, 0.118, 1289),
    "gap_fit SOAP n8 l8": Point(697, 9271, 4.45, 0.112, 1795),
    "FLARE B2": Point(131, 3838, 4.30, 0.126, 4253),
    "FLARE 40 frames": Point(5, 920, 6.38, 0.144, 2802),
    "POD 2+3-body": Point(1.1, 31, 7.49, 0.171, 39.7),
    "POD 2+3+4-body": Point(1.6, 31, 4.68, 0.136, 41.0),
    "UF3": Point(574, 554, 7.86, 0.165, 8.9),
    "FitSNAP": Point(9, 849, 7.51, 0.174, 127),
    "SNAP, published": Point(None, None, 8.06, 0.205, 127),
    "qSNAP, published": Point(None, None, 5.51, 0.177, 200),
    "MTP, published": Point(None, None, 3.03, 0.088, None),
}

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
    "soap n5 l4, 250, one scale": [
        {"kind": "two_body", "cutoff": 5.5},
        {"kind": "soap", "n_max": 5, "l_max": 4, "n_sparse": 250, "n_scales": 1},
    ],
    "soap n5 l4, 250": [
        {"kind": "two_body", "cutoff": 5.5},
        {"kind": "soap", "n_max": 5, "l_max": 4, "n_sparse": 250},
    ],
    "soap n8 l6, 1000": [
        {"kind": "two_body", "cutoff": 5.5},
        {"kind": "soap", "n_max": 8, "l_max": 6, "n_sparse": 1000},
    ],
    "soap n8 l8, 3000": [
        {"kind": "two_body", "cutoff": 5.5},
        {"kind": "soap", "n_max": 8, "l_max": 8, "n_sparse": 3000},
    ],
}


def fitted(name: str, data: Path, jobs: int) -> Point:
    """Fit and judge; exits with the fit's message if it fails."""
    settings = {
        "data": {"train": str(data / "train.xyz"), "test": str(data / "test.xyz")},
        "terms": OURS[name],
    }
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


def draw(ours: dict[str, Point], path: Path) -> None:
    """Two panels: force error against run cost and against the time of the fit."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True)
    for axes, name, label in (
        (panels[0], "run", "evaluation, µs per atom"),
        (panels[1], "fit", "whole fit, s of a processor"),
    ):
        line = sorted((getattr(p, name), p.force) for p in ours.values())
        axes.plot(*zip(*line, strict=True), "o-", color="#00798c", label="forcemap")
        for peer, point in PEERS.items():
            x = getattr(point, name)
            if x is None:
                continue
            axes.plot(x, point.force, "s", color="#8d96a0")
            axes.annotate(
                peer,
                (x, point.force),
                fontsize=7,
                xytext=(4, 3),
                textcoords="offset points",
                color="#5a6570",
            )
        axes.set_xscale("log")
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("force RMSE on the test frames, eV/Å")
    panels[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def main() -> None:
    """Fit, print the table, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_silicon_option(parser)
    parser.add_argument("--jobs", type=int, default=1, help="threads  [default: 1]")
    parser.add_argument("--plot", type=Path, help="file of the figure, such as curve.png")
    parser.add_argument("--only", action="append", choices=list(OURS), help="repeatable")
    options = parser.parse_args()
    data = silicon_folder(parser, options)
    ours = {name: fitted(name, data, options.jobs) for name in options.only or OURS}
    rows = [
        [
            *(name, shown(p.fit, 1), shown(p.memory, 0), shown(p.energy, 2)),
            *(shown(p.force, 4), shown(p.run, 2)),
        ]
        for name, p in [*ours.items(), *PEERS.items()]
    ]
    head = ["potential", "fit cpu s", "peak MB", "E RMSE", "F RMSE", "µs/atom"]
    print(text_table(head, rows))
    for peer, point in PEERS.items():
        if point.run is None:
            continue
        below = [
            n for n, p in ours.items() if p.run and p.run <= point.run and p.force <= point.force
        ]
        if not below:
            print(f"below our curve: {peer} ({point.force} eV/Å at {point.run} µs)")
    if options.plot:
        draw(ours, options.plot)


if __name__ == "__main__":
    main()
