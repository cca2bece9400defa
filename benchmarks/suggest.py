"""Frames chosen by `forcemap suggest` against frames drawn at random, on published sets.

A fit to a few random frames of a set chooses from the others; a fit anew to both together is judged on
the test frames and on what is left of the pool. The largest error of a force shows what a potential
does not know; root mean squares hide it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from forcemap.fitter.config import Settings, Source
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.fitting import fit_frames
from forcemap.fitter.mapping.deviations import with_deviations
from forcemap.fitter.mapping.map import map_model
from forcemap.fitter.process.model import Model
from forcemap.fitter.process.truth import truth_in_thread
from forcemap.fitter.suggesting import WAYS
from forcemap.fitter.suggesting.suggestion import Known, suggest
from forcemap.fitter.terms.rows import RowLayout, frame_rows
from published_sets import DATA, SETS
from text_table import text_table

HEAD = ["chosen by", "test max F", "test RMSE", "rest max F", "rest RMSE", "fall said", "seen"]
RANDOM = "random"
START = "(none)"
MAPPED = "variance, potential"


@dataclass(frozen=True)
class Case:
    """A start from one seed.

    Attributes:
        settings: of all fits.
        pool: where all training frames are.
        frames: of the pool.
        first: places of those that the start is fitted to.
        test: for judging.
    """

    settings: Settings
    pool: Source
    frames: Sequence[Frame]
    first: Sequence[int]
    test: Sequence[Frame]


def norms(model: Model, frames: Sequence[Frame]) -> np.ndarray:
    """Of all errors of forces, eV/Å."""
    truth = truth_in_thread(model)
    found = [
        np.linalg.norm(truth(frame).forces - frame.forces, axis=1)
        for frame in frames
        if frame.forces is not None
    ]
    return np.concatenate(found)


def mean_variance(model: Model, frames: Sequence[Frame]) -> float:
    """Raw, of the components of forces."""
    found = [
        model.raw_variances(frame_rows(frame, model.terms)[RowLayout(len(frame.numbers)).forces])
        for frame in frames
    ]
    return float(np.mean(np.concatenate(found)))


def judged(case: Case, places: Sequence[int]) -> tuple[list[float], Model]:
    """Largest error and RMSE of forces on the test frames and on the rest of the pool."""
    both = [*case.first, *places]
    model = fit_frames(case.settings, [case.frames[n] for n in both])
    rest = [frame for n, frame in enumerate(case.frames) if n not in set(both)]
    numbers: list[float] = []
    for errors in (norms(model, case.test), norms(model, rest)):
        numbers += [float(errors.max()), float(np.sqrt(np.mean(errors**2) / 3.0))]
    return numbers, model


def chosen(case: Case, way: str, known: Known, count: int) -> tuple[list[int], float]:
    """Places in the pool, and the expected fall of the mean variance."""
    if way == MAPPED:
        known = Known(None, known.potential, known.grade, known.train, known.sigma)
    by = "variance" if way == MAPPED else way
    found = suggest(known, [case.pool], count, by)
    fall = np.nan if found.fall is None else 1.0 - float(found.fall[-1])
    return [one.candidate.number for one in found.choices], fall


def rows_of(case: Case, options: argparse.Namespace, seed: int) -> dict[str, list[float]]:
    """Numbers by way of choosing, for one start."""
    found: dict[str, list[float]] = {}
    start, model = judged(case, [])
    found[START] = [*start, np.nan, np.nan]
    train = [case.frames[n] for n in case.first]
    mapped = map_model(model, train, case.settings.map.tolerance)
    mapped = with_deviations(mapped, model, train, case.settings.uncertainty.draws)
    known = Known(model, mapped.potential, mapped.data.grade, train, case.settings.sigma)
    rest = [n for n in range(len(case.frames)) if n not in set(case.first)]
    frames = [case.frames[n] for n in rest]
    before = mean_variance(model, frames)
    ways = [*WAYS, *([MAPPED] if mapped.potential.draws else [])]
    for way in ways:
        places, fall = chosen(case, way, known, options.count)
        numbers, model = judged(case, places)
        found[way] = [*numbers, fall, 1.0 - mean_variance(model, frames) / before]
        print(f"seed {seed}: {way}: {numbers}", file=sys.stderr)
    rng = np.random.default_rng(seed)
    several = []
    for _ in range(options.random):
        places = [int(n) for n in rng.choice(rest, options.count, replace=False)]
        numbers, model = judged(case, places)
        several.append([*numbers, np.nan, 1.0 - mean_variance(model, frames) / before])
    found[RANDOM] = [float(number) for number in np.mean(several, axis=0)]
    print(f"seed {seed}: {RANDOM}: {several}", file=sys.stderr)
    return found


def settings_of(path: Path, options: argparse.Namespace) -> Settings:
    """Two-body and SOAP terms."""
    soap: dict[str, Any] = {"kind": "soap", "n_sparse": options.n_sparse}
    if options.cutoff is not None:
        soap |= {"cutoff": options.cutoff, "n_max": 6, "l_max": 4}
    terms = [{"kind": "two_body", "cutoff": 5.0}, soap]
    return Settings.from_dict({"data": {"train": str(path)}, "terms": terms})


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of published sets")
    parser.add_argument("--set", choices=SETS, default="mlearn_Si")
    parser.add_argument("--start", type=int, default=50, help="random frames of the first fit")
    parser.add_argument("--count", type=int, default=20, help="frames to choose")
    parser.add_argument("--seeds", type=int, default=3, help="starts")
    parser.add_argument("--random", type=int, default=3, help="random choices for each start")
    parser.add_argument("--n-sparse", type=int, default=250)
    parser.add_argument("--cutoff", type=float, default=5.0, help="of SOAP, Å")
    return parser.parse_args()


def main() -> None:
    """Print a table of means over the seeds."""
    options = parsed()
    tables: list[dict[str, list[float]]] = []
    with tempfile.TemporaryDirectory() as scratch:
        train, test = SETS[options.set].split(options.data / options.set, Path(scratch))
        settings = settings_of(train, options)
        frames = read_frames([Source(train)], settings.data.keys, settings.sigma)
        judges = read_frames([Source(test)], settings.data.keys, settings.sigma)
        for seed in range(options.seeds):
            first = np.random.default_rng(seed).permutation(len(frames))[: options.start]
            case = Case(settings, Source(train), frames, [int(n) for n in first], judges)
            tables.append(rows_of(case, options, seed))
    rows = []
    for way in tables[0]:
        means = np.mean([table[way] for table in tables], axis=0)
        digits = (3, 4, 3, 4, 3, 3)
        cells = ["" if np.isnan(x) else f"{x:.{d}f}" for x, d in zip(means, digits, strict=True)]
        rows.append([way, *cells])
    print(f"{options.set}: {options.start} + {options.count} frames, {options.seeds} starts; eV/Å")
    print(text_table(HEAD, rows))


if __name__ == "__main__":
    main()
