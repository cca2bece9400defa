"""A lock that survives forking, copying and pickling of what it guards."""

from __future__ import annotations

import os
import threading
from types import TracebackType
from typing import Any

__all__ = ["ProcessLock"]


class ProcessLock:
    """Lets one thread of the process at a time into a ``with`` block; a thread may enter again.

    A forked child has a lock of its own, as a thread that held the parent's does not run there and
    would hold it for ever. Copies, also pickled ones, are new locks.
    """

    def __init__(self) -> None:
        """A lock that nobody holds."""
        self._of_process: dict[int, Any] = {}

    def _own(self) -> Any:
        # One atomic step: two threads get the same lock.
        return self._of_process.setdefault(os.getpid(), threading.RLock())

    def __enter__(self) -> None:
        """Wait until no other thread is within."""
        self._own().acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the next one in."""
        self._own().release()

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy is a new lock."""
        return type(self), ()
