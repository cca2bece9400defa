"""The sums over the rows of all frames from which the posterior follows, by streaming the frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import scipy.linalg
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

__all__ = ["ROWS_PER_BLOCK", "accumulate", "blocks_of", "rows_of", "whitened_rows"]

ROWS_PER_BLOCK = 1024
"""Rows whitened and added to the Gram matrix at once: large enough for level-3 BLAS."""


def blocks_of(targets: Iterable[Targets]) -> list[list[Targets]]:
    """Frames whose rows are treated together; the blocks do not depend on how the work is shared."""
    return list(_in_blocks(targets))


def rows_of(blocks: Sequence[Sequence[Targets]]) -> list[int]:
    """Numbers of rows of all blocks, by which the blocks are shared among ranks."""
    return [sum(len(target.rows) for target in block) for block in blocks]


def _in_blocks(targets: Iterable[Targets]) -> Iterator[list[Targets]]:
    block: list[Targets] = []
    rows = 0
    for target in targets:
        if len(target.rows):
            block.append(target)
            rows += len(target.rows)
        if rows >= ROWS_PER_BLOCK:
            yield block
            block, rows = [], 0
    if block:
        yield block


def whitened_rows(block: Sequence[Targets], prior: Prior) -> Array:
    """(n, m) rows of the labels of some frames, divided by their sigmas and whitened."""
    terms = prior.terms
    rows = np.concatenate(
        [frame_rows(t.frame, terms, t.has_derivatives)[t.rows] / t.sigmas[:, None] for t in block]
    )
    for (_, _, where), factor in zip(columns(terms), prior.factors, strict=True):
        rows[:, where] = scipy.linalg.solve_triangular(
            factor, rows[:, where].T, lower=True, check_finite=False
        ).T
    return rows


def _by_group(
    block: Sequence[Targets], rows: Array, groups: int
) -> list[tuple[Array, Array, float]]:
    """Rows (n, m), scaled targets (n,) and sum of log sigma of each group.

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
    numbers = share(rows_of(blocks), ranks.rank, ranks.size)

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
                    data.add(rows, threads.each)
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
