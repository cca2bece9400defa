"""Progress: lines in a log, a bar on a terminal, nothing when silent."""

import io
import re

import pytest
from forcemap.potentials.runs import progress as module
from forcemap.potentials.runs.progress import Progress


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
    assert lines[3] == "mapping: 1"


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


def test_steps_are_counted_only_for_a_bar() -> None:
    """Counting may take long; a log says how many steps are done."""
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
