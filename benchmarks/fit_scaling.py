"""Processor time and peak memory of ``forcemap fit`` on a set and on the same set many times over.

Every fit runs in a process of its own; its peak memory is that of the whole process, as the operating
system counts it. Only the frames themselves, with their labels and predictions, grow with the
number of frames; the last column holds their memory for each atom. With ``--ranks`` the fits run under
mpirun, and the memory is that of the first rank, which holds most.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from fits import Cost, fit_by_command
from published_sets import DATA
from text_table import text_table

HEAD = [
    "frames",
    "atoms",
    "rows",
    "sparse",
    "fit s",
    "map s",
    "all s",
    "cpu s",
    "µs/row",
    "peak MB",
    "bytes/atom more",
]


def settings(options: argparse.Namespace, times: int) -> dict[str, Any]:
    """The settings of a fit to `times` copies of the training set."""
    if options.settings is not None:
        content: dict[str, Any] = yaml.safe_load(options.settings.read_text(encoding="utf-8"))
        folder = options.settings.resolve().parent
        given = content["data"]["train"]
        train = given if isinstance(given, list) else [given]
        paths = [
            {**source, "path": str(folder / source["path"])}
            if isinstance(source, dict)
            else str(folder / source)
            for source in train
        ]
        content["data"] = {**content["data"], "train": times * paths, "test": []}
        return content
    three_body = {"kind": "three_body", "cutoff": options.cutoff3, "n_sparse": options.n_sparse}
    return {
        "data": {"train": times * [str(options.train.resolve())]},
        "terms": [{"kind": "two_body", "cutoff": options.cutoff2}, three_body],
    }


def fit(options: argparse.Namespace, times: int) -> tuple[dict[str, Any], Cost]:
    """Fit by a process of its own; its report and cost, or exits with the fit's message."""
    with tempfile.TemporaryDirectory() as scratch:
        found = fit_by_command(
            f"{times} times the set",
            settings(options, times),
            Path(scratch),
            options.jobs,
            options.ranks,
        )
        return found.report, found.cost


def row(report: dict[str, Any], cost: Cost, base: dict[str, Any]) -> list[str]:
    """A line of the table; `base` is the report of the smallest set."""
    fitted = report["fit"]
    atoms = fitted["n_atoms"]
    more = atoms - base["fit"]["n_atoms"]
    grown = 2**20 * (fitted["peak_memory_mb"] - base["fit"]["peak_memory_mb"])
    return [
        str(fitted["n_frames"]),
        str(atoms),
        str(fitted["n_rows"]),
        str(fitted["n_sparse"]),
        f"{fitted['fit_seconds']:.1f}",
        f"{fitted['map_seconds']:.1f}",
        f"{fitted['seconds']:.1f}",
        f"{cost.processor:.1f}",
        f"{1e6 * cost.processor / fitted['n_rows']:.1f}",
        f"{fitted['peak_memory_mb']:.0f}",
        f"{grown / more:.0f}" if more else "-",
    ]


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--train",
        type=Path,
        default=DATA / "mlearn_Si" / "train.xyz",
        help="frames  [default: ../shared/data/mlearn_Si/train.xyz beside the repository]",
    )
    parser.add_argument("--settings", type=Path, help="fit as this file says, instead")
    parser.add_argument(
        "--times", type=int, nargs="+", default=[1, 10], help="copies of the set  [default: 1 10]"
    )
    parser.add_argument("--cutoff2", type=float, default=5.5, help="2-body, Å  [default: 5.5]")
    parser.add_argument("--cutoff3", type=float, default=4.25, help="3-body, Å  [default: 4.25]")
    parser.add_argument(
        "--n-sparse", type=int, default=200, help="3-body sparse points  [default: 200]"
    )
    parser.add_argument("--jobs", type=int, default=1, help="threads  [default: 1]")
    parser.add_argument("--ranks", type=int, default=1, help="MPI ranks  [default: 1]")
    options = parser.parse_args(arguments)
    if options.settings is None and not options.train.is_file():
        parser.error(f"{options.train}: no such file; give --train or --settings")
    if options.settings is not None and not options.settings.is_file():
        parser.error(f"{options.settings}: no such file")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit the sets and print the table."""
    options = parsed(arguments)
    fits = [fit(options, times) for times in options.times]
    print(
        f"{options.jobs} thread(s), {options.ranks} rank(s); MB are MiB of the whole process;\n"
        "fit, map and all by the clock on the wall; cpu and µs/row of the processor, whole program\n"
    )
    print(text_table(HEAD, [row(report, cost, fits[0][0]) for report, cost in fits]))


if __name__ == "__main__":
    main()
