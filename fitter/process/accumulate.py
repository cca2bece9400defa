"""The sums over the rows of all frames from which the posterior follows, by streaming the frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import scipy.linalg
from forcemap.fitter.process.blocks import blocks_of, concerned, costs_of, places_of
from forcemap.fitter.process.prior import Prior
from forcemap.fitter.process.targets import Targets
from forcemap.fitter.sharing.ranks import share
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.sharing.threads import Threads
from forcemap.fitter.solve.solver import Groups
from forcemap.fitter.terms.base import Array
from forcemap.fitter.terms.rows import columns, frame_rows
from forcemap.potentials.runs.interruption import uninterrupted
from threadpoolctl import threadpool_limits

__all__ = ["accumulate", "whitened_rows", "whole_rows"]


def whitened_rows(block: Sequence[Targets], prior: Prior) -> Array:
    """Rows of the labels of some frames, divided by their sigmas and whitened.

    (n, k): of the k columns that concern one of the frames (`places_of`).
    """
    every = zip(columns(prior.terms), prior.factors, concerned(block, prior), strict=True)
    kept = [(where, factor) for (_, _, where), factor, is_kept in every if is_kept]
    ends = np.cumsum([0, *(where.stop - where.start for where, _ in kept)])
    parts = [slice(*ends[n : n + 2]) for n in range(len(kept))]
    rows = np.empty((sum(len(t.rows) for t in block), ends[-1]))
    start = 0
    for t in block:
        of_frame = frame_rows(t.frame, prior.terms, t.has_derivatives)[t.rows]
        mine = rows[start : start + len(t.rows)]
        start += len(t.rows)
        for part, (where, _) in zip(parts, kept, strict=True):
            np.divide(of_frame[:, where], t.sigmas[:, None], out=mine[:, part])
    for part, (_, factor) in zip(parts, kept, strict=True):
        rows[:, part] = scipy.linalg.solve_triangular(
            factor, rows[:, part].T, lower=True, check_finite=False
        ).T
    return rows


def whole_rows(block: Sequence[Targets], prior: Prior) -> Array:
    """(n, m) `whitened_rows` with all columns."""
    some = whitened_rows(block, prior)
    rows = np.zeros((len(some), prior.size))
    rows[:, places_of(block, prior)] = some
    return rows


def _by_group(
    block: Sequence[Targets], rows: Array, groups: int
) -> list[tuple[Array, Array, float]]:
    """Rows (n, k), scaled targets (n,) and sum of log sigma of each group.

    The second of two groups holds the stresses.
    """
    values = np.concatenate([t.values / t.sigmas for t in block])
    logs = np.log(np.concatenate([t.sigmas for t in block]))
    if groups == 1:
        return [(rows, values, float(np.sum(logs)))]
    second = np.concatenate([t.of_stress for t in block])
    return [(rows[which], values[which], float(np.sum(logs[which]))) for which in (~second, second)]


def accumulate(
    targets: Sequence[Targets],
    prior: Prior,
    run: Run,
    groups: int = 1,
    advance: Callable[[int], None] = lambda n: None,
    keep: Callable[[int, Array], None] = lambda number, rows: None,
) -> Groups:
    """Sum the rows of all frames; the result does not depend on how the work is shared.

    The second of two `groups` holds the stresses. Each of several ranks streams its share of the
    blocks, and the first one gets the sum. Blocks in the checkpoint are not computed again; the
    checkpoint is written from time to time. The threads call `keep` with the number and the whitened
    rows of every block that they compute.
    """
    ranks, checkpoint = run.ranks, run.checkpoint
    data = Groups(prior.size, groups)
    blocks = blocks_of(targets)
    numbers = share(costs_of(blocks, prior), ranks.rank, ranks.size)

    def rows_by_group(number: int) -> list[tuple[Array, Array, float]]:
        rows = whitened_rows(blocks[number], prior)
        keep(number, rows)
        return _by_group(blocks[number], rows, groups)

    done = added = checkpoint.restore(data, len(numbers)) if checkpoint else 0
    advance(sum(len(blocks[number]) for number in numbers[:done]))
    # Every worker calls BLAS on its own block; nested threads would only obstruct each other and
    # round differently.
    with threadpool_limits(limits=1, user_api="blas"), Threads(run.jobs) as threads:
        results = threads.in_order(rows_by_group, numbers[done:])
        try:
            for number, rows in zip(numbers[done:], results, strict=True):
                with uninterrupted():  # half a block would spoil the sums
                    data.add(rows, threads.each, places_of(blocks[number], prior))
                    added += 1
                if checkpoint:
                    checkpoint.block_added(data, added)
                advance(len(blocks[number]))
                ranks.look()
        except (KeyboardInterrupt, SystemExit):
            if checkpoint:
                checkpoint.keep(data, added)
            raise
    ranks.add_up(data)
    return data
