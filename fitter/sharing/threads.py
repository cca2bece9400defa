"""Threads over independent pieces of work, with results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

__all__ = ["Threads", "in_order"]

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class Threads:
    """Threads that several loops share, so that none is idle while one of the loops has work.

    Args:
        jobs: how many; with one, everything is done by the caller.
    """

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._pool = ThreadPoolExecutor(jobs) if jobs > 1 else None

    def __enter__(self) -> Threads:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def in_order(
        self, function: Callable[[Item], Outcome], items: Iterable[Item]
    ) -> Iterator[Outcome]:
        """Results of `function` over `items` in their order, few held at once."""
        if self._pool is None:
            yield from map(function, items)
            return
        waiting: deque[Future[Outcome]] = deque()
        try:
            for item in items:
                waiting.append(self._pool.submit(function, item))
                if len(waiting) > 2 * self._jobs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:  # no longer wanted
                future.cancel()

    def each(self, function: Callable[[Item], object], items: Sequence[Item]) -> None:
        """Call `function` with each of `items`, in any order; returns when all are done."""
        for _ in map(function, items) if self._pool is None else self._pool.map(function, items):
            pass


def in_order(
    function: Callable[[Item], Outcome], items: Iterable[Item], jobs: int
) -> Iterator[Outcome]:
    """Results of `function` over `items` in their order, `jobs` at a time, few held at once."""
    with Threads(jobs) as threads:
        yield from threads.in_order(function, items)
