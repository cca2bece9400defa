"""What a command that is interrupted leaves, and how to go on with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from signal import SIGINT, SIGTERM, getsignal, raise_signal, signal
from threading import current_thread, main_thread
from typing import Any

from forcemap.potentials import _core
from forcemap.potentials.exit_codes import ExitCode
from forcemap.potentials.runs.progress import Progress

__all__ = ["Interrupted", "Terminated", "anew", "interruptible", "uninterrupted"]


def anew(left: str, words: str) -> str:
    """What to say of a command that cannot go on where it was: what is left, and its `words`."""
    return f"{left} Start anew with:\n    {words}"


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with a text on what is left and how to go on."""


class Terminated(SystemExit):
    """SIGTERM, with the same."""

    def __init__(self, text: str) -> None:
        super().__init__(ExitCode.TERMINATED)
        self.text = text

    def __str__(self) -> str:
        return self.text


@contextmanager
def interruptible(
    progress: Progress, go_on: str | Callable[[], str], words: str = ""
) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM in this block leave a message: how far it came, and how to go on.

    Args:
        progress: of the work in the block.
        go_on: what is left and how to go on, as sentences; a function is called when it is wanted.
        words: the same for a process that is ended by force since it does not hear (`leaving`);
            `go_on` itself where that is a text.

    Raises:
        Interrupted, Terminated: KeyboardInterrupt and SystemExit with this message.
    """
    _core.set_last_words(words or (go_on if isinstance(go_on, str) else ""))
    try:
        yield
    except (Interrupted, Terminated):
        raise
    except (KeyboardInterrupt, SystemExit) as error:
        if isinstance(error, SystemExit) and error.code != ExitCode.TERMINATED:
            raise
        parts = [progress.standing, go_on if isinstance(go_on, str) else go_on()]
        text = " ".join(part for part in parts if part)
        raise (Terminated if isinstance(error, SystemExit) else Interrupted)(text) from None
    finally:
        _core.set_last_words("")


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait for the end of this block, which should be short.

    Only the main thread receives signals; in others the block just runs.
    """
    if current_thread() is not main_thread():
        yield
        return
    waiting: list[int] = []

    def wait(number: int, frame: Any) -> None:
        waiting.append(number)

    with ExitStack() as stack:
        for heard in (SIGINT, SIGTERM):
            if getsignal(heard) is not None:  # None: of another language, to be left alone
                stack.callback(signal, heard, signal(heard, wait))
        yield
    for number in waiting[:1]:
        raise_signal(number)
