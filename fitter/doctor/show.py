"""Findings as a table on a terminal, as lines in a log, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from forcemap.fitter.doctor.case import Case
from forcemap.fitter.doctor.examination import exit_code
from forcemap.fitter.doctor.finding import Finding, Place, Severity
from forcemap.potentials.plain import plain
from rich.box import HORIZONTALS
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["COUNTED", "frames_text", "show", "summary", "to_json"]

COUNTED = "Frames are counted from 0 in each file."

FIRST = 8
"""Frames named in a table."""

STYLES = {Severity.WRONG: "bold red", Severity.DOUBT: "yellow", Severity.NOTE: "dim"}

LABELS = {
    Severity.WRONG: ("wrong", "a fit would be wrong"),
    Severity.DOUBT: ("doubt", "a fit may be worse than it need be"),
    Severity.NOTE: ("note", "good to know"),
}


def frames_text(frames: Sequence[Place]) -> str:
    """The first few frames of each file, and how many there are: "a.xyz: 1, 2, 3 … (12 frames)"."""
    files: dict[str, list[int]] = {}
    for place in frames:
        files.setdefault(place.source, []).append(place.index)
    parts = []
    for file, numbers in files.items():
        more = f" … ({len(numbers)} frames)" if len(numbers) > FIRST else ""
        parts.append(f"{file}: {', '.join(str(n) for n in numbers[:FIRST])}{more}")
    return "; ".join(parts)


def _lines(finding: Finding) -> Iterator[tuple[str, str]]:
    yield "", finding.message
    if finding.frames:
        yield "Frames", frames_text(finding.frames)
    if finding.cure:
        yield "Cure", finding.cure


def show(console: Console, findings: Sequence[Finding]) -> None:
    """Print all findings; lines are kept whole where the output is no terminal."""
    if not console.is_terminal:
        for finding in findings:
            console.print(f"{finding.severity.value.upper()} {finding.name}", soft_wrap=True)
            for name, text in _lines(finding):
                console.print(f"  {name + ': ' if name else ''}{text}", soft_wrap=True)
        return
    table = Table(box=HORIZONTALS, show_header=False, show_lines=True)
    table.add_column()
    table.add_column(overflow="fold")
    for finding in findings:
        lines = [f"{name}: {line}" if name else line for name, line in _lines(finding)]
        cell = Text(finding.name + "\n", style="bold").append("\n".join(lines), style="not bold")
        table.add_row(Text(finding.severity.value, STYLES[finding.severity]), cell)
    console.print(table)


def summary(case: Case, findings: Sequence[Finding]) -> str:
    """A sentence on what was examined and how it went."""
    atoms = sum(len(frame.numbers) for frame in case.frames)
    counts = {severity: sum(f.severity is severity for f in findings) for severity in Severity}
    said = ", ".join(
        f"{count} {LABELS[severity][0]}{'s' if count > 1 and severity is not Severity.WRONG else ''}"
        f" ({LABELS[severity][1]})"
        for severity, count in counts.items()
        if count
    )
    return f"{len(case.frames):,} frames with {atoms:,} atoms examined: {said or 'nothing found'}."


def to_json(case: Case, findings: Sequence[Finding]) -> dict[str, Any]:
    """Everything for programs, with all frames of each finding."""
    return {
        "files": [
            {
                "file": reading.path,
                "frames": len(reading.frames),
                "atoms": sum(len(frame.numbers) for frame in reading.frames),
            }
            for reading in [*case.train, *case.test]
        ],
        "exit_code": exit_code(findings),
        "findings": [_finding(finding) for finding in findings],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "name": finding.name,
        "severity": finding.severity.value,
        "message": finding.message,
        "cure": finding.cure,
        "frames": [{"file": place.source, "index": place.index} for place in finding.frames],
        "figures": plain(finding.figures or {}),
        "correction": finding.correction.text if finding.correction else None,
    }
