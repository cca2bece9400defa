"""The choice of a force field for a cluster of 19 nickel atoms, as in the n-body chapter.

Glielmo, Zeni, Fekete, De Vita (in Machine Learning Meets Quantum Physics, Springer 2020, section 5.5,
Figs. 5.9 and 5.10) ask for errors of forces below 0.15 eV/Å. Their error is the mean length of the
error of an atom's force, printed here as *mean |dF|*, beside the RMSE per component, which is about 0.6
of it. Terms of 2 and of 3 bodies, and of both, are fitted to growing numbers of frames, with
hyperparameters by evidence; the others of the set are the test. For each number the evidence, and which
of the terms the evidence and the target pick.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from forcemap.fitter.config import Settings, Source
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.selection.candidates import Candidate
from forcemap.fitter.selection.judge import Judged, Plan, judge
from forcemap.fitter.selection.recommend import recommend
from forcemap.fitter.sharing.run import Run
from published_sets import DATA
from text_table import shown, text_table

TARGET = 0.15
"""eV/Å, of the mean length of the error."""

HEAD = ["terms", "points", "ln p", "ln p / N", "trace", "mean |dF|", "RMSE", "step µs", "cpu s"]


def candidates(options: argparse.Namespace) -> list[Candidate]:
    """2-body, 3-body, both."""
    pair: dict[str, Any] = {"kind": "two_body", "cutoff": options.cutoff2}
    triplet: dict[str, Any] = {"kind": "three_body", "cutoff": options.cutoff3}
    terms = {"2-body": [pair], "3-body": [triplet], "2+3-body": [pair, triplet]}
    if options.full:  # one function for all permutations, as in the chapter
        terms["3-body, full"] = [{**triplet, "symmetry": "full"}]
    data = {"train": "frames.xyz"}  # named only: the frames are at hand
    return [
        Candidate(name, Settings.from_dict({"data": data, "terms": some}))
        for name, some in terms.items()
    ]


def line(one: Judged) -> list[str]:
    """Of the table."""
    assert one.test is not None
    return [
        one.candidate.name,
        str(one.sparse),
        shown(one.log_evidence, 0),
        shown(one.log_evidence / one.rows, 3),
        shown(one.trace, 1),
        shown(one.test.force_norm, 4),
        shown(one.test.force_rmse, 4),
        shown(one.microseconds, 2),
        shown(one.fit_seconds, 1),
    ]


def verdict(judged: Sequence[Judged]) -> str:
    """What the target and the evidence pick."""
    norms = {one.candidate.name: (one.test and one.test.force_norm) or np.inf for one in judged}
    reached = [name for name, norm in norms.items() if norm <= TARGET]
    missed = [name for name in norms if name not in reached]
    largest = max(judged, key=lambda one: one.log_evidence)
    return (
        f"mean |dF| <= {TARGET} eV/Å: {', '.join(reached) or 'none'}; missed by "
        f"{', '.join(missed) or 'none'}; largest evidence: {largest.candidate.name}\n"
        f"{recommend(judged, TARGET * 0.6).sentence}"
    )


def frames_of(options: argparse.Namespace) -> tuple[list[Frame], list[int]]:
    """All frames, and the seeded order in which they are taken for training."""
    found = read_frames([Source(options.data / "Ni19_cluster" / "bip300.xyz")])
    return found, [int(n) for n in np.random.default_rng(0).permutation(len(found))]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table for each number of training frames."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the published sets")
    parser.add_argument("--frames", type=int, nargs="+", default=[10, 50, 200])
    parser.add_argument("--test", type=int, default=200, help="test frames  [default: 200]")
    parser.add_argument("--cutoff2", type=float, default=6.0, help="Å  [default: 6.0]")
    parser.add_argument("--cutoff3", type=float, default=4.5, help="Å  [default: 4.5]")
    parser.add_argument("--full", action="store_true", help="the fully symmetric 3-body term too")
    parser.add_argument("--no-optimise", action="store_true", help="default hyperparameters")
    parser.add_argument("--jobs", type=int, default=1, help="threads  [default: 1]")
    options = parser.parse_args(arguments)
    if not (options.data / "Ni19_cluster").is_dir():
        parser.error(f"{options.data}: no folder Ni19_cluster there; give --data")
    frames, order = frames_of(options)
    test = [frames[n] for n in order[-options.test :]]
    for count in options.frames:
        train = [frames[n] for n in sorted(order[:count])]
        plan = Plan(train, test, not options.no_optimise, 0, Run(options.jobs))
        judged = []
        for candidate in candidates(options):
            name = candidate.name
            print(f"fitting {name} to {count} frames ...", file=sys.stderr, flush=True)
            judged.append(judge(candidate, plan))
        print(f"\n{count} training, {len(test)} test frames; errors in eV/Å, of the process")
        print(text_table(HEAD, [line(one) for one in judged]))
        print(verdict(judged), flush=True)


if __name__ == "__main__":
    main()
