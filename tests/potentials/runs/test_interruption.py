"""Signals wait for the end of a block that must be whole; interrupted work says how to go on."""

from __future__ import annotations

import signal
import threading

import pytest
from forcemap.potentials.exit_codes import ExitCode
from forcemap.potentials.runs.interruption import (
    Interrupted,
    Terminated,
    anew,
    interruptible,
    uninterrupted,
)
from forcemap.potentials.runs.progress import Progress


def test_ctrl_c_waits_for_the_end_of_the_block() -> None:
    done: list[str] = []

    def work() -> None:
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
        done.append("all of it")

    with pytest.raises(KeyboardInterrupt), uninterrupted():
        work()
    assert done == ["all of it"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with uninterrupted():
        done.append("nothing waits")
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_handlers_are_put_back_after_an_error() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(ZeroDivisionError), uninterrupted():
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_other_threads_just_run() -> None:
    done: list[int] = []

    def work() -> None:
        with uninterrupted():
            done.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [1]


def stage(progress: Progress, error: BaseException) -> None:
    with progress.stage("fitting", 9) as advance:
        advance(4)
        raise error


def test_message_says_how_far_it_came_and_how_to_go_on() -> None:
    progress = Progress.silent()
    text = 'It was in "fitting", 4 of 9 done. Nothing is left. Start anew with:\n    forcemap fit x'
    with (
        pytest.raises(Interrupted) as found,
        interruptible(progress, lambda: anew("Nothing is left.", "forcemap fit x")),
    ):
        stage(progress, KeyboardInterrupt())
    assert str(found.value) == text


def test_sigterm_has_the_message_and_its_exit_code() -> None:
    progress = Progress.silent()
    with pytest.raises(Terminated) as found, interruptible(progress, "Go on."):
        stage(progress, SystemExit(ExitCode.TERMINATED))
    assert found.value.code == ExitCode.TERMINATED
    assert found.value.text == 'It was in "fitting", 4 of 9 done. Go on.'


def test_other_ends_pass() -> None:
    with pytest.raises(SystemExit) as found, interruptible(Progress.silent(), "Go on."):
        raise SystemExit(3)
    assert type(found.value) is SystemExit
    with pytest.raises(ZeroDivisionError), interruptible(Progress.silent(), "Go on."):
        raise ZeroDivisionError


def test_inner_message_counts() -> None:
    with (
        pytest.raises(Interrupted, match=r"^inner$"),
        interruptible(Progress.silent(), "outer"),
        interruptible(Progress.silent(), "inner"),
    ):
        raise KeyboardInterrupt
