"""Labels that frames lack, or that the fit does not use."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.label_checks import check_labels, placeholders
from forcemap.fitter.doctor.case import Case
from forcemap.fitter.doctor.counted import counted
from forcemap.fitter.doctor.examination import Advance
from forcemap.fitter.doctor.finding import Finding, Place, Severity, places_of
from forcemap.fitter.doctor.reading import SourceReading, collected_warnings
from forcemap.potentials.errors import ForcemapError

__all__ = ["examine"]

LABELS = ("energy", "forces", "stress")


def examine(case: Case, advance: Advance) -> list[Finding]:
    """Partial labels, placeholders of zero, stresses of open frames."""
    findings: list[Finding] = []
    for reading in [*case.train, *case.test]:
        findings += _open_stresses(reading)
        findings += placeholder_findings(reading) + refused(reading)
        advance(len(reading.frames))
    for frames in (case.train_frames, case.test_frames):
        for label in LABELS:
            wanted = [frame for frame in frames if _needs(label, frame, case)]
            findings += _partial(label, wanted, _faulty(case))
    return findings


def _faulty(case: Case) -> set[Place]:
    """Frames whose labels are among other findings already."""
    return {
        place
        for reading in [*case.train, *case.test]
        for finding in reading.findings
        for place in finding.frames
    }


def _needs(label: str, frame: Frame, case: Case) -> bool:
    """Whether a frame can have a label that teaches something."""
    if label == "forces":
        return len(frame.numbers) > 1
    if label == "stress":
        open_space = Place(frame.source, frame.index) in case.vacua
        return bool(np.all(frame.pbc)) and len(frame.numbers) > 1 and not open_space
    return True


def _partial(label: str, wanted: Sequence[Frame], faulty: set[Place]) -> list[Finding]:
    without = [f for f in wanted if getattr(f, label) is None]
    without = [f for f in without if Place(f.source, f.index) not in faulty]
    if not without or len(without) == len(wanted):
        return []
    groups = sorted({frame.config_type for frame in without})
    of = f" (config_type {', '.join(groups[:4])}{', …' if len(groups) > 4 else ''})"
    return [
        Finding(
            "label-partial",
            Severity.DOUBT,
            f"{len(without)} of {len(wanted)} frames have no {label}, the others have{of}; a "
            "fit uses the labels that are there",
            f"See that the {label} of these frames did not get lost, or compute it",
            places_of(without),
            {"label": label, "without": len(without), "of": len(wanted)},
        )
    ]


def _open_stresses(reading: SourceReading) -> list[Finding]:
    places = reading.open_stresses
    if not places:
        return []
    return [
        Finding(
            "stress-of-open-frame",
            Severity.NOTE,
            f"{reading.path}: {counted(len(places), 'frame', 'have')} a stress without being "
            "periodic in all three directions; a fit does not use it",
            "Remove the stress, or set pbc if the frames are periodic",
            tuple(places),
            {"frames": len(places)},
        )
    ]


def refused(reading: SourceReading) -> list[Finding]:
    """Stresses for which a fit refuses the file, or warns."""
    names = reading.names
    keys = " and ".join(f'"{name}"' for name in (*names.stress, *names.virial)) if names else ""
    cure = "Mend the stresses, or leave them out: --keys stress=..."
    with collected_warnings() as texts:
        try:
            check_labels(reading.path, reading.frames, keys)
        except ForcemapError as error:
            return [
                Finding("fit-refuses", Severity.WRONG, f"a fit refuses the file: {error}", cure)
            ]
    return [Finding("stress-huge", Severity.DOUBT, text, cure) for text in texts if " GPa)" in text]


def placeholder_findings(reading: SourceReading) -> list[Finding]:
    """Labels of exactly zero that the structure cannot have."""
    return [
        Finding(
            "label-placeholder",
            Severity.WRONG,
            f"{reading.path}: {label} of exactly zero in {len(frames)} of {len(reading.frames)} "
            f"frames, such as frame {wrong.index}, whose structure cannot have that: a placeholder?",
            "Remove the label from these frames, or the frames",
            places_of(frames),
            {"label": label.split()[-1], "frames": len(frames)},
        )
        for label, frames, wrong in placeholders(reading.frames)
    ]
