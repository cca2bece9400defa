"""Shows how far a long task is: a bar with the time left on a terminal, plain lines in a log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread
from typing import IO, Literal

from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.runs.log import DETAILS, SHOWN, peak_memory_mb

__all__ = ["Advance", "Progress", "Total"]

Advance = Callable[..., None]

Total = int | Callable[[], int | None] | None
"""Steps of a stage; a function is called only where a bar is drawn or the stage takes long, as
counting takes time; None: unknown."""

LOG_INTERVAL = 5.0
"""Seconds between the lines of one stage in a log."""

ROUNDING = 1e-6
"""Of sums of shares of a step."""

BEAT = 1.0
"""Seconds between looks at a stage that takes no step for long, which shall not be silent."""


class _Stage:
    """How far one stage is."""

    def __init__(self, name: str, total: Total) -> None:
        self.name = name
        self.done = 0.0
        self.start = self.last = self.moved = time.monotonic()
        self._total = total
        self._lock = Lock()

    @property
    def total(self) -> int | None:
        """Its steps, counted when they are first asked for; None: unknown."""
        if callable(self._total):
            try:
                self._total = self._total()
            except ForcemapError:  # the stage itself will say what is wrong
                self._total = None
        return self._total

    def is_due(self) -> bool:
        """Whether it is time for a line."""
        with self._lock:
            now = time.monotonic()
            due = now - self.last >= LOG_INTERVAL
            self.last = now if due else self.last
            return due

    def line(self) -> str:
        """How far it is, and how long that leaves, if it is known how many steps there are."""
        spent, total = time.monotonic() - self.start, self.counted
        if not self.done:
            return f"{self.name}: {_duration(spent)} so far"
        if not total or self.done > total + ROUNDING:
            return f"{self.name}: {self.done:.0f}, {_duration(spent)} so far"
        if total - self.done < ROUNDING and time.monotonic() - self.moved > LOG_INTERVAL:
            # What follows the last step takes long: no time that is left is known.
            return f"{self.name}: ending, {_duration(spent)} so far"
        left = max(0.0, spent * (total - self.done) / self.done)
        if total == 1:
            return f"{self.name}: {100.0 * self.done:.0f} %, {_duration(left)} left"
        return f"{self.name}: {int(self.done + ROUNDING)}/{total}, {_duration(left)} left"

    @property
    def counted(self) -> int | None:
        """Its steps, if they have been counted."""
        return None if callable(self._total) else self._total

    def place(self) -> str:
        """Where it stands."""
        total = self.counted
        if total == 1:
            return f'in "{self.name}", {100.0 * self.done:.0f} % done'
        done = f", {int(self.done + ROUNDING)} of {total} done" if total else ""
        return f'in "{self.name}"{done}'


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 600.0 else f"{seconds / 60.0:.0f} min"


class Progress:
    """Progress of a task made of stages, one after another; written to stderr.

    >>> with Progress.silent().stage("reading", 3) as advance:
    ...     advance()
    """

    def __init__(
        self,
        stream: IO[str] | None = None,
        style: Literal["auto", "bar", "log", "quiet", "none"] = "auto",
    ) -> None:
        """`style` "auto" draws bars on a terminal and writes lines elsewhere.

        With "quiet" only the log of `--log` has lines, with "none" nothing has.
        """
        self._stream = sys.stderr if stream is None else stream
        if style == "auto":
            style = "bar" if self._stream.isatty() else "log"
        self._style = style
        self._standing = ""

    @classmethod
    def silent(cls) -> Progress:
        """A progress that shows nothing."""
        return cls(style="none")

    @property
    def standing(self) -> str:
        """The stage in which the task was interrupted, as a sentence; "" outside of stages."""
        return self._standing

    @contextmanager
    def stage(self, name: str, total: Total = None) -> Iterator[Advance]:
        """One stage of `total` steps; yields a function to call after n steps, or a share of one."""
        stage = _Stage(name, total)
        if self._style != "none":
            DETAILS.debug("%s: begins", name)
        try:
            if self._style == "bar":
                with self._bar(stage) as advance:
                    yield advance
            else:
                with self._heard(stage):
                    yield lambda n=1: self._advance(stage, n)
        except (KeyboardInterrupt, SystemExit):
            self._standing = self._standing or f"It was {stage.place()}."
            raise
        ended = f"{name}: done in {time.monotonic() - stage.start:.1f} s"
        if self._style != "none":
            DETAILS.debug("%s: largest memory so far %.0f MB", name, peak_memory_mb())
        self._line(ended)

    def note(self, text: str) -> None:
        """A line between two stages."""
        self._line(text, on_terminal=True)

    @contextmanager
    def _bar(self, stage: _Stage) -> Iterator[Advance]:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TaskProgressColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress

        total = stage.total
        columns = [
            TextColumn("{task.description:<36}"),
            BarColumn(bar_width=30),
            TaskProgressColumn() if total == 1 else MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        ]
        with RichProgress(*columns, console=Console(file=self._stream)) as bar:
            task = bar.add_task(stage.name, total=total)

            def advance(n: float = 1) -> None:
                bar.advance(task, n)
                self._advance(stage, n)

            with self._heard(stage):
                yield advance
            done = bar.tasks[0].completed
            if total is None or done < total:
                # The stage ended well, perhaps sooner than foreseen: no bar is left half full.
                bar.update(task, total=max(done, 1), completed=max(done, 1))

    @property
    def _has_lines(self) -> bool:
        if self._style == "none":
            return False
        return self._style == "log" or SHOWN.isEnabledFor(logging.INFO)

    def _advance(self, stage: _Stage, n: float) -> None:
        stage.done += n
        stage.moved = time.monotonic()
        if self._has_lines and stage.is_due():
            _ = stage.total  # counted now, as it takes long
            self._line(stage.line())

    @contextmanager
    def _heard(self, stage: _Stage) -> Iterator[None]:
        """Have a line of the stage also while it is in one long step."""
        if not self._has_lines:
            yield
            return
        over = Event()

        def beat() -> None:
            while not over.wait(BEAT):
                if stage.is_due():
                    self._line(stage.line())

        thread = Thread(target=beat, name="forcemap progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _line(self, text: str, on_terminal: bool = False) -> None:
        if self._style != "none":
            SHOWN.info(text)
        if self._style == "log" or (on_terminal and self._style == "bar"):
            print(text, file=self._stream, flush=True)
