"""Processor time and peak memory of ``forcemap fit`` on a set and on the same set many times over.

Every fit runs in a process of its own; its peak memory is that of the whole process, as the operating
system counts it. Only the frames themselves, with their labels and predictions, grow with the
number of frames; the last column holds their memory for each atom. With ``--ranks`` the fits run under
mpirun, and the memory is that of the first rank, which holds most.

``--alloy`` fits the first frames of a set of four elements instead, which ``alloys.py`` makes, with the
default terms. The columns *foreseen s* and *dry s* are the estimate of ``forcemap fit --dry-run`` for
one thread, *of cpu* what part of *cpu s* that is, and the time by the clock that it takes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import alloys
import yaml
from fits import Cost, fit_by_command
from forcemap.fitter.planning.estimate import estimate_settings
from forcemap.potentials.runs.progress import Progress
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
    "foreseen s",
    "of cpu",
    "dry s",
]

ALLOY_ATOMS = 20
"""Atoms of a frame of the four-element set."""


class Foreseen(NamedTuple):
    """What the dry run says: seconds by one thread; and the seconds that it takes itself."""

    seconds: float
    taken: float


class Fitted(NamedTuple):
    """A fit: its report, its cost, and what the dry run says of it."""

    report: dict[str, Any]
    cost: Cost
    foreseen: Foreseen


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


def alloy_settings(options: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """The settings of default fits to the first frames of the four-element set, made in `folder`."""
    most = max(options.alloy)
    alloys.main([str(folder), "--frames", str(most), "--atoms", str(ALLOY_ATOMS)])
    lines = ALLOY_ATOMS + 2
    for frames in options.alloy:
        part = folder / f"first_{frames}.xyz"
        with (folder / "train.xyz").open(encoding="utf-8") as whole:
            part.write_text("".join(islice(whole, frames * lines)), encoding="utf-8")
        soap: dict[str, Any] = {"kind": "soap"}
        if options.channels is not None:
            soap["n_species_channels"] = options.channels
        if options.points is not None:
            soap["n_sparse"] = options.points
        terms = [{"kind": "two_body"}, soap]
        yield {"data": {"train": [str(part)]}, "terms": terms}


def all_settings(options: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """The settings of all fits."""
    if options.alloy:
        yield from alloy_settings(options, folder)
    else:
        for times in options.times:
            yield settings(options, times)


def foreseen(content: dict[str, Any], folder: Path) -> Foreseen:
    """The dry run."""
    file = folder / "dry.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    start = time.perf_counter()
    found = estimate_settings(file, 1, Progress.silent())
    return Foreseen(sum(found.seconds.values()), time.perf_counter() - start)


def fit(options: argparse.Namespace, content: dict[str, Any]) -> Fitted:
    """Fit by a process of its own; exits with the fit's message."""
    with tempfile.TemporaryDirectory() as scratch:
        ahead = foreseen(content, Path(scratch))
        name = f"{len(content['data']['train'])} file(s)"
        found = fit_by_command(name, content, Path(scratch), options.jobs, options.ranks)
        return Fitted(found.report, found.cost, ahead)


def row(found: Fitted, base: dict[str, Any]) -> list[str]:
    """A line of the table; `base` is the report of the smallest set."""
    fitted, cost = found.report["fit"], found.cost
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
        f"{found.foreseen.seconds:.0f}",
        f"{found.foreseen.seconds / cost.processor:.2f}",
        f"{found.foreseen.taken:.1f}",
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
    parser.add_argument(
        "--alloy",
        type=int,
        nargs="+",
        metavar="FRAMES",
        help=f"default fits to so many frames of {ALLOY_ATOMS} atoms of four elements, such as 5000",
    )
    parser.add_argument("--channels", type=int, help="n_species_channels of these fits")
    parser.add_argument("--points", type=int, help="sparse points of each element in these fits")
    parser.add_argument("--cutoff2", type=float, default=5.5, help="2-body, Å  [default: 5.5]")
    parser.add_argument("--cutoff3", type=float, default=4.25, help="3-body, Å  [default: 4.25]")
    parser.add_argument(
        "--n-sparse", type=int, default=200, help="3-body sparse points  [default: 200]"
    )
    parser.add_argument("--jobs", type=int, default=1, help="threads  [default: 1]")
    parser.add_argument("--ranks", type=int, default=1, help="MPI ranks  [default: 1]")
    options = parser.parse_args(arguments)
    if options.alloy:
        return options
    if options.settings is None and not options.train.is_file():
        parser.error(f"{options.train}: no such file; give --train or --settings")
    if options.settings is not None and not options.settings.is_file():
        parser.error(f"{options.settings}: no such file")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit the sets and print the table."""
    options = parsed(arguments)
    with tempfile.TemporaryDirectory() as folder:
        fits = [fit(options, content) for content in all_settings(options, Path(folder))]
    print(
        f"{options.jobs} thread(s), {options.ranks} rank(s); MB are MiB of the whole process;\n"
        "fit, map and all by the clock on the wall; cpu and µs/row of the processor, whole program\n"
    )
    print(text_table(HEAD, [row(found, fits[0].report) for found in fits]))


if __name__ == "__main__":
    main()
