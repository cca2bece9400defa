"""Structures that occur more than once: in the frames to fit, in test frames, with other labels."""

from __future__ import annotations

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.doctor.case import Case
from forcemap.fitter.doctor.copies import Copies, sets_of_copies
from forcemap.fitter.doctor.examination import Advance
from forcemap.fitter.doctor.finding import Correction, Finding, Severity, places_of
from numpy.typing import NDArray

__all__ = ["examine"]

Array = NDArray[np.float64]

SAME = np.array([1e-4, 0.02, 2e-3])
"""Energy (eV per atom), force (eV/Å) and stress (eV/Å³): copies of good calculations differ by less."""

WRONG = np.array([5e-3, 0.15, 0.01])
"""The same; larger differences are no numerical noise."""

UNITS = ("eV per atom", "eV/Å", "eV/Å³")
NAMES = ("energy", "forces", "stress")


def examine(case: Case, advance: Advance) -> list[Finding]:
    """Copies among all frames."""
    sets = sets_of_copies(case.frames, case.surroundings, advance)
    train = len(case.train_frames)
    return [
        *_differing(case, sets, "wrong"),
        *_differing(case, sets, "doubt"),
        *_within(case.train_frames, sets, train),
        *_of_test(case, sets, train),
    ]


# ----- labels that differ -----


def _differing(case: Case, sets: list[Copies], kind: str) -> list[Finding]:
    """A finding for the sets whose labels differ by more than SAME, or than WRONG."""
    frames: list[Frame] = []
    largest = np.zeros(3)
    example: list[Frame] = []
    count = 0
    for copies in sets:
        off = np.nan_to_num(copies.deviations())
        is_wrong = bool((off > WRONG).any())
        bad: NDArray[np.bool_] = np.any(off > (WRONG if is_wrong else SAME), axis=1)
        if is_wrong is not (kind == "wrong") or not bad.any():
            continue
        count += 1
        frames += [
            case.frames[m.number]
            for m, is_bad in zip(copies.members, bad.tolist(), strict=True)
            if is_bad
        ]
        if (off.max(axis=0) / WRONG).max() >= (largest / WRONG).max():
            worst = int(np.argmax((off / WRONG).max(axis=1)))
            other = int(np.argmin((off / WRONG).max(axis=1) + (np.arange(len(off)) == worst) * 1e9))
            example = [case.frames[copies.members[n].number] for n in (worst, other)]
        largest = np.maximum(largest, off.max(axis=0))
    if not count:
        return []
    said = " and ".join(
        f"{name} by up to {size:.2g} {unit}"
        for name, size, unit, same in zip(NAMES, largest, UNITS, SAME, strict=True)
        if size > same
    )
    pair = " and ".join(f"frame {frame.index} of {frame.source}" for frame in example)
    return [
        Finding(
            "copies-differ",
            Severity.WRONG if kind == "wrong" else Severity.DOUBT,
            f"{count} structure{'s' if count > 1 else ''} occur{'' if count > 1 else 's'} more "
            f"than once, up to symmetry, with different labels: {said} (such as {pair})",
            "Keep the labels that are right, and compute all frames with the same settings"
            if kind == "wrong"
            else "Expect no smaller errors than these; finer k points or cutoffs would make copies "
            "agree",
            places_of(sorted(frames, key=lambda frame: (frame.source, frame.index))),
            {"structures": count, **dict(zip(NAMES, largest.tolist(), strict=True))},
        )
    ]


# ----- copies -----


def _within(frames: list[Frame], sets: list[Copies], train: int) -> list[Finding]:
    """Training frames that repeat others."""
    repeated, exact = [], 0
    for copies in sets:
        members = [member for member in copies.members if member.number < train]
        for member in members[1:]:
            if _alike(copies, [members[0].number], member.number):
                repeated.append(frames[member.number])
                exact += member.exact and members[0].exact
    if not repeated:
        return []
    return [
        Finding(
            "copies-in-train",
            Severity.DOUBT,
            f"{len(repeated)} of {len(frames)} frames to fit are copies of others, with the same "
            f"labels ({_kinds(exact, len(repeated))}): they count twice, and cost time",
            "Remove them, unless they are meant as weights",
            places_of(sorted(repeated, key=lambda frame: (frame.source, frame.index))),
            {"frames": len(repeated), "exact": exact},
            Correction("copy of another frame left out", lambda frame: None),
        )
    ]


def _of_test(case: Case, sets: list[Copies], train: int) -> list[Finding]:
    """Test frames that are copies of training frames."""
    known, exact = [], 0
    for copies in sets:
        fitted = [member.number for member in copies.members if member.number < train]
        for member in copies.members:
            if fitted and member.number >= train and _alike(copies, fitted, member.number):
                known.append(case.frames[member.number])
                exact += member.exact and any(m.exact for m in copies.members if m.number < train)
    if not known:
        return []
    return [
        Finding(
            "copies-in-test",
            Severity.DOUBT,
            f"{len(known)} of {len(case.test_frames)} test frames are copies of frames to fit, "
            f"with the same labels ({_kinds(exact, len(known))}): their errors say little about others",
            "Leave them out of the test, or say so with its errors",
            places_of(sorted(known, key=lambda frame: (frame.source, frame.index))),
            {"frames": len(known), "of": len(case.test_frames), "exact": exact},
        )
    ]


def _kinds(exact: int, count: int) -> str:
    return ", ".join(
        text
        for number, text in (
            (exact, f"{exact} exactly"),
            (
                count - exact,
                f"{count - exact} rotated, reflected, shifted, reordered or in another cell",
            ),
        )
        if number
    )


def _alike(copies: Copies, others: list[int], number: int) -> bool:
    """Whether the labels of a member are those of one of the others."""
    by_number = {member.number: member for member in copies.members}
    mine = by_number[number]
    return any(
        bool((np.nan_to_num(Copies([mine, by_number[other]]).deviations()) <= SAME).all())
        for other in others
    )
