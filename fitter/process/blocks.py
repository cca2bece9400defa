"""Blocks of frames whose rows are treated together, and the columns that concern them.

The rows of a frame vanish at the sparse points of elements that it does not have. Frames of the same
elements go into one block, and nothing is computed or kept of the other columns: where frames of a few
elements each make up the data of many, these are most.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from forcemap.fitter.process.prior import Prior
from forcemap.fitter.process.targets import Targets
from forcemap.fitter.terms.rows import columns
from numpy.typing import NDArray

__all__ = ["ROWS_PER_BLOCK", "blocks_of", "concerned", "costs_of", "places_of", "rows_of"]

ROWS_PER_BLOCK = 1024
"""Rows whitened and added to the Gram matrix at once: large enough for level-3 BLAS."""

LEAST_ROWS = ROWS_PER_BLOCK // 4
"""Rows at which a block ends where the next frame has other elements."""

COMPUTING = 3000
"""What a number of a row costs to compute, in products with other columns."""


def blocks_of(targets: Iterable[Targets]) -> list[list[Targets]]:
    """Frames whose rows are treated together; the blocks do not depend on how the work is shared.

    By elements, otherwise in their order; frames without labels are left out.
    """
    by_elements: dict[tuple[int, ...], list[Targets]] = {}
    for target in targets:
        if len(target.rows):
            by_elements.setdefault(_elements(target), []).append(target)
    return list(_in_blocks(by_elements[elements] for elements in sorted(by_elements)))


def _elements(target: Targets) -> tuple[int, ...]:
    return tuple(np.unique(target.frame.numbers).tolist())


def _in_blocks(groups: Iterable[list[Targets]]) -> Iterator[list[Targets]]:
    block: list[Targets] = []
    rows = 0
    for group in groups:
        if rows >= LEAST_ROWS:
            yield block
            block, rows = [], 0
        for target in group:
            block.append(target)
            rows += len(target.rows)
            if rows >= ROWS_PER_BLOCK:
                yield block
                block, rows = [], 0
    if block:
        yield block


def rows_of(blocks: Sequence[Sequence[Targets]]) -> list[int]:
    """Numbers of rows of all blocks."""
    return [sum(len(target.rows) for target in block) for block in blocks]


def concerned(block: Iterable[Targets], prior: Prior) -> list[bool]:
    """Which blocks of sparse points concern a frame of the block: it has all of their elements."""
    elements = {_elements(target) for target in block}
    return [
        any(set(points.species) <= set(some) for some in elements)
        for _, points, _ in columns(prior.terms)
    ]


def places_of(block: Iterable[Targets], prior: Prior) -> NDArray[np.int64]:
    """The columns, increasing, beyond which the rows of a block of frames vanish."""
    every = zip(columns(prior.terms), concerned(block, prior), strict=True)
    kept = [np.arange(where.start, where.stop) for (_, _, where), is_kept in every if is_kept]
    return np.concatenate([np.zeros(0, dtype=np.int64), *kept])


def costs_of(blocks: Sequence[Sequence[Targets]], prior: Prior) -> list[float]:
    """Work of all blocks, by which they are shared among ranks."""
    widths = [len(places_of(block, prior)) for block in blocks]
    return [
        float(rows) * width * (width + COMPUTING)
        for rows, width in zip(rows_of(blocks), widths, strict=True)
    ]
