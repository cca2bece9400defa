"""Shows how far a long task is: a bar with the time left on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Literal

__all__ = ["Advance", "Progress", "Total"]

Advance = Callable[..., None]

Total = int | Callable[[], int | None] | None
"""Steps of a stage; a function is called only where a bar is drawn, as counting takes time; None:
unknown."""

LOG_INTERVAL = 10.0
"""Seconds between the lines of one stage in a log."""


class Progress:
    """Progress of a task made of stages, one after another; written to stderr.

    >>> with Progress.silent().stage("reading", 3) as advance:
    ...     advance()
    """

    def __init__(
        self, stream: IO[str] | None = None, style: Literal["auto", "bar", "log", "none"] = "auto"
    ) -> None:
        """`style` "auto" draws bars on a terminal and writes lines elsewhere."""
        self._stream = sys.stderr if stream is None else stream
        if style == "auto":
            style = "bar" if self._stream.isatty() else "log"
        self._style = style

    @classmethod
    def silent(cls) -> Progress:
        """A progress that shows nothing."""
        return cls(style="none")

    @contextmanager
    def stage(self, name: str, total: Total = None) -> Iterator[Advance]:
        """One stage of `total` steps; yields a function to call after n steps."""
        if self._style == "none":
            yield lambda n=1: None
        elif self._style == "bar":
            with self._bar(name, total() if callable(total) else total) as advance:
                yield advance
        else:
            with self._log(name, None if callable(total) else total) as advance:
                yield advance

    def note(self, text: str) -> None:
        """A line between two stages."""
        if self._style != "none":
            self._line(text)

    @contextmanager
    def _bar(self, name: str, total: int | None) -> Iterator[Advance]:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress

        columns = [
            TextColumn("{task.description:<36}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        ]
        with RichProgress(*columns, console=Console(file=self._stream)) as bar:
            task = bar.add_task(name, total=total)
            yield lambda n=1: bar.advance(task, n)
            done = bar.tasks[0].completed
            if total is None or done < total:
                # The stage ended well, perhaps sooner than foreseen: no bar is left half full.
                bar.update(task, total=max(done, 1), completed=max(done, 1))

    @contextmanager
    def _log(self, name: str, total: int | None) -> Iterator[Advance]:
        start = last = time.monotonic()
        done = 0

        def advance(n: int = 1) -> None:
            nonlocal done, last
            done += n
            now = time.monotonic()
            if now - last >= LOG_INTERVAL:
                last = now
                left = ""
                if total and done:
                    left = f"/{total}, {(now - start) * (total - done) / done:.0f} s left"
                self._line(f"{name}: {done}{left}")

        yield advance
        self._line(f"{name}: done in {time.monotonic() - start:.1f} s")

    def _line(self, text: str) -> None:
        print(text, file=self._stream, flush=True)
