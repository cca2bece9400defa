"""Runs the examinations of data one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from forcemap.fitter.doctor.case import Case
from forcemap.fitter.doctor.finding import Finding, Severity

__all__ = ["Advance", "Examination", "exit_code", "findings_of"]

Advance = Callable[..., None]
"""Shows that n (default 1) more frames are done."""

ORDER = tuple(Severity)


@dataclass(frozen=True)
class Examination:
    """One kind of question to the data.

    Attributes:
        title: for the progress bar.
        examine: what it finds in a case; calls the second argument as it goes through the frames.
        cheap: whether a fit asks it, too.
        once: whether it goes through the frames once, so that the time left can be foreseen.
    """

    title: str
    examine: Callable[[Case, Advance], list[Finding]]
    cheap: bool = False
    once: bool = True


def findings_of(case: Case, examinations: Iterable[Examination]) -> list[Finding]:
    """What the examinations find, the worst first, each kind together."""
    found: list[Finding] = []
    for reading in [*case.train, *case.test]:
        found += reading.findings
    if case.frames:
        for examination in examinations:
            total = len(case.frames) if examination.once else None
            with case.run.stage(examination.title, total) as advance:
                found += examination.examine(case, advance)
    return sorted(found, key=lambda finding: ORDER.index(finding.severity))


def exit_code(findings: Sequence[Finding]) -> int:
    """1 if a fit to the data would be wrong, else 0."""
    return int(any(finding.severity is Severity.WRONG for finding in findings))
