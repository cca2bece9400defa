"""Exit codes of ``forcemap``, of all its commands."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["ExitCode"]


class ExitCode(IntEnum):
    """How a command ended; ``meaning`` is what its help says."""

    OK = 0
    FAULT = 1
    USAGE = 2
    BUG = 3
    ABSENT = 4
    INTERRUPTED = 130
    TERMINATED = 143

    @property
    def meaning(self) -> str:
        """The code in words."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.OK: "all went well",
    ExitCode.FAULT: "the input, or a program that was run, is at fault (one message names it); "
    "check: a fit to the data would be wrong",
    ExitCode.USAGE: "the command line is at fault",
    ExitCode.BUG: "forcemap itself is at fault",
    ExitCode.ABSENT: "info --system: nothing is at fault, but a program is not installed",
    ExitCode.INTERRUPTED: "after Ctrl-C",
    ExitCode.TERMINATED: "after SIGTERM",
}
