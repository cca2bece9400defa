"""What a run reports: a file that `--log` names gets all of it, stderr the details of `-v`.

Everything goes through loggers below ``forcemap``. What is shown on stderr anyway (progress, notes,
warnings, errors) goes to `SHOWN` also, which `-v` does not print twice.
"""

from __future__ import annotations

import logging
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forcemap.potentials.errors import ForcemapError

__all__ = ["DETAILS", "SHOWN", "logged", "peak_memory_mb"]

ALL = logging.getLogger("forcemap")
ALL.addHandler(logging.NullHandler())  # else Python itself would print warnings a second time

SHOWN = logging.getLogger("forcemap.shown")
"""Of lines that stderr gets anyway."""

DETAILS = logging.getLogger("forcemap.details")
"""Of what helps to find out why a run is slow or went wrong."""

_BY_THEMSELVES = (SHOWN.name, "forcemap.ipi_driver")
"""Loggers whose lines come to stderr on another way."""


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024.0**2 if sys.platform == "darwin" else 1024.0)


@contextmanager
def logged(words: str, file: Path | None, verbose: bool) -> Iterator[None]:
    """Log the run of the command `words` to the end of `file`, its details to stderr if `verbose`.

    Raises ForcemapError if the file cannot be written.
    """
    handlers: list[logging.Handler] = []
    if file is not None:
        try:
            handlers.append(logging.FileHandler(file, encoding="utf-8"))
        except OSError as error:
            raise ForcemapError(f"{file}: cannot be written: {error.strerror or error}") from None
        handlers[-1].setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    if verbose:
        handlers.append(logging.StreamHandler())
        handlers[-1].setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        handlers[-1].addFilter(lambda record: not record.name.startswith(_BY_THEMSELVES))
    if not handlers:
        yield
        return
    before = ALL.level
    ALL.setLevel(logging.DEBUG)
    for handler in handlers:
        ALL.addHandler(handler)
    try:
        yield from _from_start_to_end(words)
    finally:
        ALL.setLevel(before)
        for handler in handlers:
            ALL.removeHandler(handler)
            handler.close()


def _from_start_to_end(words: str) -> Iterator[None]:
    """Frame a run by a line on its start and one on its end."""
    from platform import node, python_version

    from click.exceptions import Exit
    from forcemap import __version__

    start = time.monotonic()
    DETAILS.info("forcemap %s, Python %s, on %s", __version__, python_version(), node())
    DETAILS.info("in %s: %s", Path.cwd(), words)
    end = "ended by an exception"
    try:
        yield
        end = "ended"
    except (KeyboardInterrupt, SystemExit):
        end = "ended early"
        raise
    except Exit as leaving:  # with an exit code that says what was found
        end = f"ended with exit code {leaving.exit_code}"
        raise
    finally:
        seconds = time.monotonic() - start
        DETAILS.info("%s after %.1f s, peak memory %.0f MB", end, seconds, peak_memory_mb())
