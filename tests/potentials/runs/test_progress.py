"""Progress: lines in a log, a bar on a terminal, nothing when silent."""

import ast
import io
import logging
import re
import threading
import time
from pathlib import Path

import pytest
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.runs import progress as module
from forcemap.potentials.runs.progress import Advance, Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_log_has_a_line_for_each_stage() -> None:
    stream = io.StringIO()
    with Progress(stream).stage("fitting", 3) as advance:
        for _ in range(3):
            advance()
    assert re.fullmatch(r"fitting: done in \d+\.\d s\n", stream.getvalue())


def test_slow_stage_tells_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOG_INTERVAL", 0.0)
    stream = io.StringIO()
    with Progress(stream).stage("fitting", 4) as advance:
        advance()
        advance(2)
    with Progress(stream).stage("mapping", None) as advance:
        advance()
    lines = stream.getvalue().splitlines()
    assert re.fullmatch(r"fitting: 1/4, \d+ s left", lines[0])
    assert re.fullmatch(r"fitting: 3/4, \d+ s left", lines[1])
    assert re.fullmatch(r"mapping: 1, \d+ s so far", lines[3])


def test_a_share_of_a_step_says_how_much_time_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: clock)
    monkeypatch.setattr(module, "LOG_INTERVAL", 0.0)
    stream = io.StringIO()
    with Progress(stream).stage("one relaxation", 1) as advance:
        clock += 6.0
        advance(0.25)
        for _ in range(3):
            advance(0.25 + 1e-9)
    with Progress(stream).stage("three relaxations", 3) as advance:
        clock += 6.0
        advance(0.6)
        advance(0.9)
    assert stream.getvalue().splitlines() == [
        "one relaxation: 25 %, 18 s left",
        "one relaxation: 50 %, 6 s left",
        "one relaxation: 75 %, 2 s left",
        "one relaxation: 100 %, 0 s left",
        "one relaxation: done in 6.0 s",
        "three relaxations: 0/3, 24 s left",
        "three relaxations: 1/3, 6 s left",
        "three relaxations: done in 6.0 s",
    ]


def test_a_stage_that_ends_slowly_does_not_say_for_minutes_that_nothing_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = 100.0
    stage = module._Stage("fitting", 2)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock)
    stage.start = stage.moved = clock
    progress = Progress(io.StringIO())
    clock += 20.0
    progress._advance(stage, 2)
    assert stage.line() == "fitting: 2/2, 0 s left"
    clock += 4.0
    assert stage.line() == "fitting: 2/2, 0 s left"
    clock += 3.0
    assert stage.line() == "fitting: ending, 27 s so far"


def test_terminal_gets_a_bar_that_ends_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with Progress(stream).stage("fitting", 5) as advance:
        advance(2)
        advance(2)
    assert "fitting" in stream.getvalue()
    assert "4/4" in stream.getvalue()


def test_failing_stage_is_not_told_as_done() -> None:
    stream = io.StringIO()
    with pytest.raises(ZeroDivisionError), Progress(stream).stage("fitting", 2):
        raise ZeroDivisionError
    assert "done" not in stream.getvalue()


def test_silent_progress_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress.silent().stage("fitting", 2) as advance:
        advance()
        advance(1)
    assert capsys.readouterr() == ("", "")


def test_steps_are_counted_only_for_a_bar_and_a_long_stage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Counting may take long."""
    counted = []

    def count() -> int:
        counted.append(1)
        return 7

    for style, calls in (("none", 0), ("log", 0), ("bar", 1)):
        stream = io.StringIO()
        with Progress(stream, style).stage("reading", count) as advance:  # type: ignore[arg-type]
            advance(7)
        assert len(counted) == calls
    assert "7/7" in stream.getvalue()
    monkeypatch.setattr(module, "LOG_INTERVAL", 0.0)
    stream = io.StringIO()
    with Progress(stream, "log").stage("reading", count) as advance:
        advance(3)
        advance(3)
    assert len(counted) == 2
    assert stream.getvalue().startswith("reading: 3/7, 0 s left\nreading: 6/7, 0 s left\n")


def test_log_has_the_time_left_of_every_stage_of_over_five_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: clock)
    stream = io.StringIO()
    with Progress(stream, "log").stage("fitting", 20) as advance:
        for _ in range(6):
            clock += 1.5
            advance()
    with Progress(stream, "log").stage("hours", 1000) as advance:
        clock += 60.0
        advance()
    assert stream.getvalue().splitlines() == [
        "fitting: 4/20, 24 s left",
        "fitting: done in 9.0 s",
        "hours: 1/1000, 999 min left",
        "hours: done in 60.0 s",
    ]


@pytest.mark.parametrize("style", ["log", "bar"])
def test_stage_that_takes_no_step_is_not_silent(
    style: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In a log; a bar moves by itself, but there may be a log beside it."""
    monkeypatch.setattr(module, "BEAT", 0.001)
    monkeypatch.setattr(module, "LOG_INTERVAL", 0.01)
    caplog.set_level(logging.INFO, "forcemap")
    stream = Terminal() if style == "bar" else io.StringIO()
    with Progress(stream, style).stage("solving"):  # type: ignore[arg-type]
        deadline = time.monotonic() + 60.0
        while not caplog.messages and time.monotonic() < deadline:
            time.sleep(0.001)
    assert caplog.messages[0] == "solving: 0 s so far"
    assert (style == "log") == ("solving: 0 s so far\n" in stream.getvalue())
    assert not [t for t in threading.enumerate() if t.name == "forcemap progress"]


def test_steps_that_cannot_be_counted_are_none() -> None:
    def count() -> int:
        raise ForcemapError("no such file")

    stream = Terminal()
    with Progress(stream, "bar").stage("reading", count) as advance:
        advance(3)
    assert "3/3" in stream.getvalue()


@pytest.mark.parametrize(("style", "logged"), [("log", True), ("quiet", True), ("none", False)])
def test_log_has_what_is_not_shown_but_of_silent_parts(
    style: str, logged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Of fits within a selection, say, there would be too much of it."""
    caplog.set_level(logging.DEBUG, "forcemap")
    stream = io.StringIO()
    progress = Progress(stream, style)  # type: ignore[arg-type]
    progress.note("84 frames")
    with progress.stage("fitting", 1) as advance:
        advance()
    assert bool(stream.getvalue()) == (style == "log")
    assert len(caplog.messages) == (4 if logged else 0)


UNCOUNTED = {
    # Each of these takes steps until an error is small enough, or is one step.
    ("planning/estimate.py", "timing a sample"),
    ("mapping/map.py", "mapping"),
    ("mapping/deviations.py", "mapping draws"),
    ("mapping/deviations.py", "grading the training atoms"),
    ("job.py", "predictions of the process"),
    ("job.py", "timing a step"),
    ("validation/job.py", "reading the frames"),
    ("validation/job.py", "figures and page"),
}


def test_every_stage_knows_its_steps_or_has_a_reason() -> None:
    """Only where they are known can the time left be told."""
    root = Path(__file__).resolve().parents[3]
    uncounted, counted = set(), 0
    for path in [*root.glob("fitter/**/*.py"), *root.glob("ipi_driver/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr != "stage" or path.name == "run.py":
                continue
            unknown = len(node.args) < 2 or ast.unparse(node.args[1]) == "None"
            if unknown:
                name = ast.literal_eval(node.args[0])
                uncounted.add((str(path.relative_to(root / "fitter")), name))
            counted += not unknown
    assert uncounted == UNCOUNTED
    assert counted > 20


def interrupt(advance: Advance, steps: int, how: type[BaseException]) -> None:
    advance(steps)
    raise how


@pytest.mark.parametrize("style", ["log", "none", "bar"])
def test_interrupted_progress_says_where_it_stood(style: str) -> None:
    progress = Progress(Terminal(), style)  # type: ignore[arg-type]
    assert progress.standing == ""
    part = progress.stage("a part of it", lambda: 5)
    with pytest.raises(KeyboardInterrupt), progress.stage("fitting", 20), part as advance:
        interrupt(advance, 2, KeyboardInterrupt)
    counted = ", 2 of 5 done" if style == "bar" else ""  # nothing is counted for the message
    assert progress.standing == f'It was in "a part of it"{counted}.'
    progress = Progress(Terminal(), style)  # type: ignore[arg-type]
    with pytest.raises(SystemExit), progress.stage("fitting", 20) as advance:
        interrupt(advance, 3, SystemExit)
    assert progress.standing == 'It was in "fitting", 3 of 20 done.'
