"""What the rows of a SOAP term cost: operations, bytes, and the share of what the processor can do.

For every centre the derivatives of its spectrum by the atoms about it and by strain (three rows for
each atom, six of strain) are made from those of the density coefficients, and a matrix product takes
them to the sparse points. The product has nearly all of the operations; the derivatives are written
and read once, a cache's worth at a time, and the points are read once for each such part. *peak* is
the rate of a product of two large matrices by the same thread in the same run, *bound* the larger of
the times that operations and bytes take at the rates of such a product and of a copy in memory.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import alloys
import numpy as np
from forcemap.fitter import Frame, Settings
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.process.survey import Survey
from forcemap.fitter.terms.base import Block
from forcemap.fitter.terms.environments import MOST_NUMBERS
from forcemap.fitter.terms.rows import RowLayout
from text_table import text_table
from threadpoolctl import threadpool_limits

HEAD = [
    "channels",
    "cutoff",
    "dimension",
    "points",
    "ms/atom",
    "derivatives",
    "Mflop/atom",
    "MB/atom",
    "Gflop/s",
    "of peak",
    "of bound",
]


def seconds_of(function: Callable[[], Any], repeats: int = 3) -> float:
    """The shortest processor time of a call."""
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        function()
        times.append(time.thread_time() - start)
    return min(times)


def rates() -> tuple[float, float]:
    """Operations a second of a matrix product, and bytes a second, read or written, of a copy."""
    square = np.random.default_rng(0).normal(size=(1500, 1500))
    long, other = np.zeros(8_000_000), np.zeros(8_000_000)
    product = 2.0 * len(square) ** 3 / seconds_of(lambda: square @ square)
    return product, 2.0 * long.nbytes / seconds_of(lambda: np.copyto(other, long))


def term_of(settings: Settings, frames: Sequence[Frame], cutoff: float, points: int) -> Any:
    """The settings' term at a cutoff, with the first environments of the frames as sparse points."""
    asked = replace(settings.terms[0], cutoff=cutoff)
    term: Any = asked.open(Survey.of(frames, settings))
    found: dict[int, list[Any]] = {}
    for frame in frames:
        structure = Structure(frame, cutoff, derivatives=False)
        for z in sorted(structure.species):
            found.setdefault(z, []).append(term.descriptors(structure, z)[1])
    blocks = [
        Block((z,), np.ascontiguousarray(np.concatenate(parts)[:points]))
        for z, parts in sorted(found.items())
    ]
    return term.with_blocks(blocks)


def rows_of_each(term: Any, structure: Structure, center: int, count: int) -> list[int]:
    """Rows of derivatives of each centre of a species, one at a time."""
    return [len(term.derivatives(structure, center, k, k + 1)[0]) for k in range(count)]


def row(term: Any, frames: Sequence[Frame], peak: tuple[float, float]) -> list[str]:
    """A line of the table."""
    seconds = making = operations = traffic = 0.0
    atoms = 0
    for frame in frames:
        structure = Structure(frame, term.cutoff)
        rows = np.zeros((RowLayout(len(frame.numbers)).count, term.size))
        seconds += seconds_of(partial(term.add_rows, structure, rows, 0))
        for block in term.blocks:
            center = block.species[0]
            count = int(np.count_nonzero(frame.numbers == center))
            if not count:
                continue
            derive = partial(rows_of_each, term, structure, center, count)
            making += seconds_of(derive)
            made = float(sum(derive()))
            operations += 2.0 * made * term.dimension * block.size
            parts = np.ceil(made * term.dimension / MOST_NUMBERS)
            traffic += 8.0 * (2.0 * made * term.dimension + 3.0 * made * block.size)
            traffic += 8.0 * parts * block.points.size
        atoms += len(frame.numbers)
    rate = operations / seconds
    bound = max(operations / peak[0], traffic / peak[1])
    return [
        str(len(term.weights)),
        f"{term.cutoff:g}",
        str(term.dimension),
        str(max(block.size for block in term.blocks)),
        f"{1e3 * seconds / atoms:.2f}",
        f"{1e3 * making / atoms:.2f}",
        f"{1e-6 * operations / atoms:.1f}",
        f"{1e-6 * traffic / atoms:.2f}",
        f"{1e-9 * rate:.1f}",
        f"{rate / peak[0]:.0%}",
        f"{bound / seconds:.0%}",
    ]


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=500, help="of each element  [default: 500]")
    parser.add_argument("--frames", type=int, default=10, help="that are timed  [default: 10]")
    parser.add_argument(
        "--cutoffs", type=float, nargs="+", default=[3.6, 5.7], help="Å  [default: 3.6 5.7]"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table for one element, and for four in two channels and in four."""
    options = parsed(arguments)
    lines = []
    with tempfile.TemporaryDirectory() as scratch, threadpool_limits(limits=1, user_api="blas"):
        peak = rates()
        for elements, channels in ((("Cu",), None), (alloys.ELEMENTS, 2), (alloys.ELEMENTS, 4)):
            folder = Path(scratch) / f"{len(elements)}_{channels}"
            many = str(max(200, options.points * len(elements) // 16))
            alloys.main([str(folder), "--elements", *elements, "--frames", many])
            term = {"kind": "soap", "cutoff": 5.0, "n_species_channels": channels}
            data = {"train": [str(folder / "train.xyz")]}
            settings = Settings.from_dict({"data": data, "terms": [term]})
            frames = read_frames(settings.data.train, settings.data.keys, settings.sigma)
            timed = frames[:: max(1, len(frames) // options.frames)][: options.frames]
            for cutoff in options.cutoffs:
                lines.append(row(term_of(settings, frames, cutoff, options.points), timed, peak))
    print(
        f"one thread: {1e-9 * peak[0]:.1f} Gflop/s of a large product, "
        f"{1e-9 * peak[1]:.1f} GB/s of a copy\n"
    )
    print(text_table(HEAD, lines))


if __name__ == "__main__":
    main()
