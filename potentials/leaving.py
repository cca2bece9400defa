"""How a process leaves when asked to: without half-written files and without programs still running.

SIGTERM and Ctrl-C become exceptions (SystemExit, KeyboardInterrupt), which undo everything on their
way out. Python raises them between two of its instructions only, and a decomposition of a large
matrix is one of them: so a thread of the core watches, and ends a process that is still there GRACE
seconds later, after it has removed and stopped what was named here.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike

from forcemap.potentials import _core

__all__ = ["GRACE", "leave_on_signals", "removed_when_ended", "stopped_when_ended"]

GRACE = 6.0
"""Seconds from a signal to the end by force; `programs.supervise` gives others 5 to leave."""


@contextmanager
def removed_when_ended(path: str | PathLike[str]) -> Iterator[None]:
    """Have a file, or a folder with all it holds, removed if the process is ended in this block."""
    name = os.path.abspath(path)
    _core.add_leftover(name)
    try:
        yield
    finally:
        _core.drop_leftover(name)


@contextmanager
def stopped_when_ended(process: int) -> Iterator[None]:
    """Have a process killed if this one is ended in this block."""
    _core.add_process(process)
    try:
        yield
    finally:
        _core.drop_process(process)


def leave_on_signals(grace: float = GRACE) -> None:
    """Leave on SIGTERM as on Ctrl-C, and within `grace` seconds whatever the process is busy with.

    For a program's main thread: it takes the process's one handler and wakeup descriptor.
    """

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    heard, written = os.pipe()
    os.set_blocking(written, False)  # as Python asks for
    signal.set_wakeup_fd(written, warn_on_full_buffer=False)
    _core.watch_signals(heard, grace)
