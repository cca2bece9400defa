"""The most valuable frames of a pool of any size, one after the other.

The worth of a frame never rises when another is chosen. Its former worth therefore bounds its present
worth, and only frames at the top of the list are evaluated again (Minoux, Lecture Notes in Control
and Information Sciences 7, 234 (1978), DOI 10.1007/BFb0006528: "accelerated greedy algorithm"). The
best frames of a pool are kept, within a number of bytes; once they fall below the best of the others,
the pool is read again. The choice is the same as that of a search through all frames.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from forcemap.fitter.data.labels import FramePlace
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.suggesting.criteria import Criterion
from forcemap.fitter.suggesting.pool import Candidate, Pool
from forcemap.potentials.errors import ForcemapError
from threadpoolctl import threadpool_limits

__all__ = ["KEPT_BYTES", "Choice", "Kept", "chosen", "look"]

KEPT_BYTES = 128 << 20
"""Memory for kept frames, whatever the pool; at least LEAST of them are kept."""

LEAST = 50

NOTHING = 1e-12
"""Fraction of the best frame's worth below which a frame counts as known."""


@dataclass(frozen=True, eq=False)
class Kept:
    """A candidate with the criterion's data of it and its worth when it was read."""

    candidate: Candidate
    seen: Any
    worth: float


@dataclass(frozen=True, eq=False)
class Choice:
    """A chosen frame.

    Attributes:
        candidate: the frame.
        seen: the criterion's data of it.
        worth: worth when it was chosen.
        deviation: largest expected error of its forces then, eV/Å; None if unknown.
    """

    candidate: Candidate
    seen: Any
    worth: float
    deviation: float | None


def chosen(
    pool: Pool,
    criterion: Criterion[Any],
    count: int,
    run: Run,
    watch: Callable[[Candidate, Any], None] = lambda candidate, seen: None,
) -> tuple[list[Choice], list[Kept]]:
    """`count` frames in the order of choice, or fewer if there are no more, and the runners-up.

    Only one of the frames with the same structure is chosen. `watch` is called with every frame of the
    pool, once.

    Raises ForcemapError for frames that cannot be used.
    """
    choices: list[Choice] = []
    numbers: set[int] = set()
    keys: set[str] = set()
    rest: list[Kept] = []
    best = 0.0
    while len(choices) < count:
        kept, missed = look(pool, criterion, run, (numbers, keys), watch)
        watch = lambda candidate, seen: None  # noqa: E731
        heap = [(-one.worth, one.candidate.number, len(choices), one) for one in kept]
        heapq.heapify(heap)
        before = len(choices)
        while heap and len(choices) < count:
            bound, number, known, one = heapq.heappop(heap)
            if one.candidate.key in keys:
                continue
            worth = -bound if known == len(choices) else criterion.worth(one.seen)
            if heap and worth < -heap[0][0]:
                heapq.heappush(heap, (-worth, number, len(choices), one))
                continue
            if worth < missed and len(choices) > before:
                break  # a frame that was not kept may be worth more
            best = max(best, worth)
            if worth <= NOTHING * best:
                return choices, []
            choices.append(Choice(one.candidate, one.seen, worth, criterion.deviation(one.seen)))
            criterion.learn(one.seen)
            numbers.add(number)
            keys.add(one.candidate.key)
        rest = [entry[3] for entry in heap if entry[3].candidate.key not in keys]
        if len(choices) == before:
            break
    return choices, rest


def look(
    pool: Pool,
    criterion: Criterion[Any],
    run: Run,
    without: tuple[Collection[int], Collection[str]],
    watch: Callable[[Candidate, Any], None],
) -> tuple[list[Kept], float]:
    """The frames of a pool with the largest worth, and the largest worth among the others."""
    numbers, keys = without

    def seen(candidate: Candidate | None) -> Kept | None:
        if candidate is None or candidate.number in numbers or candidate.key in keys:
            return None
        try:
            what = criterion.see(candidate.frame)
            return Kept(candidate, what, criterion.worth(what))
        except ForcemapError as error:
            FramePlace(candidate.frame.source, candidate.frame.index).fail(str(error))

    heap: list[tuple[float, int, Kept]] = []
    size, missed = 0, 0.0
    with (
        run.stage("looking through the pool", pool.count) as advance,
        threadpool_limits(limits=1, user_api="blas"),
    ):
        for one in run.in_order(seen, pool):
            advance()
            if one is None:
                continue
            watch(one.candidate, one.seen)
            size += criterion.bytes_of(one.seen) + _bytes_of(one.candidate)
            heapq.heappush(heap, (one.worth, -one.candidate.number, one))
            while size > KEPT_BYTES and len(heap) > LEAST:
                worth, _, worst = heapq.heappop(heap)
                size -= criterion.bytes_of(worst.seen) + _bytes_of(worst.candidate)
                missed = max(missed, worth)
    return [one for _, _, one in heap], missed


def _bytes_of(candidate: Candidate) -> int:
    """Approximate memory: positions twice, numbers, and the other content of its file."""
    return 400 * len(candidate.frame.numbers) + 4000
