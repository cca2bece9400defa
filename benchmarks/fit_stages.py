"""Processor time of the stages of ``forcemap fit``, by one rank and by several MPI ranks.

A stage is as long as its busiest rank. The sum over the stages is what the fit would take on processors
of its own, whatever else the machine does meanwhile; *efficiency* is the time by one rank over this sum
times the number of ranks. Each rank is bound to one processor, so that what the first rank does alone
has one thread: where ranks are not bound, it has those of the others, and the efficiency is better.
What is outside of all stages, the start of the program included, is *other*.
The default is a fit to frames of four elements, which ``alloys.py`` makes, with the default terms.

``--rank-times FILE SETTINGS OUT JOBS`` is what the program starts on each rank.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import alloys
import yaml
from fits import timed
from forcemap.fitter.config import Settings
from forcemap.fitter.job import fit_to_folder
from forcemap.fitter.sharing.ranks import started_ranks
from forcemap.fitter.sharing.run import Run
from forcemap.potentials.runs.programs import find_program
from forcemap.potentials.runs.progress import Progress, Total
from text_table import text_table

OTHER = "other"
Times = dict[str, float]


class Stages(Progress):
    """Shows nothing, and adds up the processor's seconds of each stage."""

    def __init__(self) -> None:
        super().__init__(style="none")
        self.seconds: Times = {}

    @contextmanager
    def stage(self, name: str, total: Total = None) -> Iterator[Any]:
        """One stage."""
        start = time.process_time()
        with super().stage(name, total) as advance:
            yield advance
        self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - start


def one_rank(file: Path, settings: Path, out: Path, jobs: int) -> None:
    """Fit as one of the ranks that were started; writes the times of this one."""
    progress = Stages()
    with started_ranks() as ranks:
        if ranks.size > 1 and hasattr(os, "sched_setaffinity"):
            allowed = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, {allowed[ranks.rank % len(allowed)]})
        fit_to_folder(Settings.read(settings), out, Run(jobs, progress, ranks))
        rank = ranks.rank
    rest = time.process_time() - sum(progress.seconds.values())
    times = {**progress.seconds, OTHER: rest}
    file.with_suffix(f".{rank}").write_text(json.dumps(times), encoding="utf-8")


def times_of(settings: Path, folder: Path, ranks: int, jobs: int) -> Times:
    """Seconds of the busiest rank of each stage."""
    file = folder / f"times_{ranks}"
    launcher = []
    if ranks > 1:
        launcher = [find_program("mpirun", "install the mpich wheel"), "-n", str(ranks)]
    arguments = [str(file), str(settings), str(folder / f"out_{ranks}"), str(jobs)]
    command = [*launcher, sys.executable, __file__, "--rank-times", *arguments]
    print(f"fitting on {ranks} rank(s) ...", file=sys.stderr, flush=True)
    timed(f"{ranks} ranks", command, folder)
    each = [
        json.loads(file.with_suffix(f".{rank}").read_text(encoding="utf-8"))
        for rank in range(ranks)
    ]
    names = dict.fromkeys(name for times in each for name in times)
    return {name: max(times.get(name, 0.0) for times in each) for name in names}


def table(found: Sequence[Times], ranks: Sequence[int]) -> str:
    """The stages that take a hundredth of the fit at least, the rest together, and the whole."""
    whole = [sum(times.values()) for times in found]
    shown = [name for name in found[0] if found[0][name] >= 0.01 * whole[0] and name != OTHER]
    lines = [[name, *(f"{times.get(name, 0.0):.2f}" for times in found)] for name in shown]
    rest = [
        total - sum(t.get(name, 0.0) for name in shown)
        for t, total in zip(found, whole, strict=True)
    ]
    efficiencies = [
        whole[0] * ranks[0] / (n * total) for n, total in zip(ranks, whole, strict=True)
    ]
    lines += [
        [OTHER, *(f"{seconds:.2f}" for seconds in rest)],
        ["whole", *(f"{seconds:.2f}" for seconds in whole)],
        ["efficiency", *(f"{part:.0%}" for part in efficiencies)],
    ]
    return text_table(["stage, s", *(f"{n} rank(s)" for n in ranks)], lines)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--settings", type=Path, help="fit as this file says, instead")
    parser.add_argument("--frames", type=int, default=500, help="of the set  [default: 500]")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2], help="[default: 1 2]")
    parser.add_argument("--jobs", type=int, default=1, help="threads of a rank  [default: 1]")
    parser.add_argument("--rank-times", nargs=4, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    options = parsed(arguments)
    if options.rank_times:
        file, settings, out, jobs = options.rank_times
        one_rank(Path(file), Path(settings), Path(out), int(jobs))
        return
    with tempfile.TemporaryDirectory() as name:
        folder, settings = Path(name), options.settings and options.settings.resolve()
        if settings is None:
            alloys.main([name, "--frames", str(options.frames), "--test-frames", "1"])
            settings = folder / "settings.yaml"
            terms = [{"kind": "two_body"}, {"kind": "soap"}]
            content = {"data": {"train": ["train.xyz"]}, "terms": terms}
            settings.write_text(yaml.safe_dump(content), encoding="utf-8")
        found = [times_of(settings, folder, n, options.jobs) for n in options.ranks]
    print(f"{options.jobs} thread(s) of each rank; processor time\n")
    print(table(found, options.ranks))


if __name__ == "__main__":
    main()
