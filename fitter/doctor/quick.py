"""The cheap examinations, which a fit makes of its own data."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.sampling import sample_of
from forcemap.fitter.data.settings import Source
from forcemap.fitter.doctor.case import Case
from forcemap.fitter.doctor.examination import findings_of
from forcemap.fitter.doctor.finding import Finding, Severity
from forcemap.fitter.doctor.reading import SourceReading
from forcemap.fitter.doctor.registry import EXAMINATIONS

__all__ = ["quick_findings", "warn_of_faults"]

ENOUGH = 12000
"""Atoms of the frames that are examined, which takes a fraction of a second."""


def quick_findings(train: Sequence[Frame], test: Sequence[Frame] = ()) -> list[Finding]:
    """What the cheap examinations find wrong in some of the frames, evenly chosen."""
    case = Case(_readings(sample_of(train, ENOUGH)), _readings(sample_of(test, ENOUGH // 3)))
    found = findings_of(case, [each for each in EXAMINATIONS if each.cheap])
    return [finding for finding in found if finding.severity is Severity.WRONG]


def _readings(frames: Sequence[Frame]) -> list[SourceReading]:
    files: dict[str, list[Frame]] = {}
    for frame in frames:
        files.setdefault(frame.source, []).append(frame)
    return [SourceReading(Source(Path(file)), those) for file, those in files.items()]


def warn_of_faults(train: Sequence[Frame], test: Sequence[Frame] = ()) -> None:
    """Warn (UserWarning), in one line each, of what makes a fit to the frames wrong."""
    for finding in quick_findings(train, test):
        warnings.warn(
            f"{finding.message}. {finding.cure} (forcemap check lists all frames)", stacklevel=3
        )
