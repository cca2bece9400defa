"""Forces that a constraint has zeroed: ASE's FixAtoms, selective dynamics, frozen layers of slabs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.doctor.case import Case
from forcemap.fitter.doctor.counted import counted
from forcemap.fitter.doctor.examination import Advance
from forcemap.fitter.doctor.finding import Correction, Finding, Place, Severity, places_of
from forcemap.fitter.doctor.surroundings import Surroundings
from numpy.typing import NDArray

__all__ = ["examine", "frozen_atoms"]

LOPSIDED, HELD = 0.02, 1e-3
"""Atoms whose neighbours pull to one side by more than these shares cannot be held by symmetry; the
second is for frames that have an atom of the first kind, and leaves room for rounded positions."""

MOST_DIGITS = 5
"""Files with more digits round no force to zero."""

FEW_UNITS = 20.0
"""Small forces, in units of the last digit that the file gives."""

LEAST_FORCE = 0.05
"""eV/Å; if all forces of a frame are smaller, some may be rounded to zero."""


def frozen_atoms(frame: Frame, around: Surroundings) -> NDArray[np.bool_]:
    """(n,) atoms whose force is exactly zero, though others' are not and no symmetry asks for it."""
    if frame.forces is None:
        return np.zeros(len(frame.numbers), dtype=bool)
    size = np.abs(frame.forces).max(axis=1)
    zero = (size == 0.0) & frame.labelled
    free = zero & (around.lopsided > LOPSIDED)
    others = frame.forces[~zero & frame.labelled]
    if (
        not free.any()
        or np.sqrt((others**2).sum() / len(size)) < LEAST_FORCE
        or _is_rounded(others, int(zero.sum()))
    ):
        return np.zeros(len(frame.numbers), dtype=bool)
    return np.asarray(zero & (around.lopsided > HELD))


def _is_rounded(others: NDArray[np.float64], zeros: int) -> bool:
    """Whether as many atoms as have no force have one of a few units of the file's last digit."""
    for digits in range(2, MOST_DIGITS + 1):
        unit = 10.0**-digits
        if np.allclose(others, np.round(others, digits), rtol=0.0, atol=1e-3 * unit):
            small = np.abs(others).max(axis=1) <= FEW_UNITS * unit
            return bool(small.sum() >= zeros)
    return False


def examine(case: Case, advance: Advance) -> list[Finding]:
    """Frames with forces that constraints have zeroed."""
    found: list[tuple[Frame, NDArray[np.bool_]]] = []
    for frame, around in case.with_surroundings:
        advance()
        frozen = frozen_atoms(frame, around)
        if frozen.any():
            found.append((frame, frozen))
    if not found:
        return []
    atoms = sum(int(frozen.sum()) for _, frozen in found)
    frame, frozen = found[0]
    which = np.flatnonzero(frozen)
    named = ", ".join(str(n) for n in which[:5]) + (", …" if len(which) > 5 else "")
    return [
        Finding(
            "forces-frozen",
            Severity.WRONG,
            f"{counted(atoms, 'atom')} in {counted(len(found), 'frame')} "
            f"{'has' if atoms == 1 else 'have'} forces of exactly zero that no symmetry explains, "
            f"such as atom{'s' if len(which) > 1 else ''} {named} (from 0) of frame {frame.index} "
            f"of {frame.source}: a constraint (FixAtoms, selective dynamics) has zeroed them",
            "Write the forces without the constraint (ASE: get_forces(apply_constraint=False)), or "
            "mask these atoms: force_mask=T leaves their forces out",
            places_of([frame for frame, _ in found]),
            {"frames": len(found), "atoms": atoms},
            Correction("force_mask set for atoms with zeroed forces", _masking(found)),
        )
    ]


def _masking(found: list[tuple[Frame, NDArray[np.bool_]]]) -> Callable[[Frame], Frame]:
    masks = {Place(frame.source, frame.index): frozen for frame, frozen in found}

    def mask(frame: Frame) -> Frame:
        mask = masks[Place(frame.source, frame.index)]
        before = frame.force_mask
        return replace(frame, force_mask=mask if before is None else mask | before)

    return mask
