"""Forces of a frame that do not sum to zero, as those of any energy of the atoms alone do."""

from __future__ import annotations

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.doctor.case import Case
from forcemap.fitter.doctor.examination import Advance
from forcemap.fitter.doctor.finding import Finding, Severity, places_of
from forcemap.fitter.doctor.frozen_atoms import frozen_atoms
from numpy.typing import NDArray

__all__ = ["examine"]

LEAST = 0.01
"""eV/Å; independent errors of this size, or less, are those of good calculations."""

DOUBTFUL, WRONG = 0.1, 0.5
"""Errors over the root mean square of the forces, beyond which they are named."""


def examine(case: Case, advance: Advance) -> list[Finding]:
    """Frames whose net force is large beside their forces."""
    doubtful: list[tuple[float, float, Frame]] = []
    wrong: list[tuple[float, float, Frame]] = []
    for frame, around in case.with_surroundings:
        advance()
        if frame.forces is None or not frame.labelled.all():
            continue
        if frozen_atoms(frame, around).any():  # these are the cause, and named elsewhere
            continue
        error, size = independent_error(frame.forces)
        if error > max(LEAST, DOUBTFUL * size):
            # A lone atom has no force at all, so that no size is there to compare with.
            (wrong if error > WRONG * size else doubtful).append((error, size, frame))
    return _finding(wrong, Severity.WRONG, case) + _finding(doubtful, Severity.DOUBT, case)


def independent_error(forces: NDArray[np.float64]) -> tuple[float, float]:
    """The standard deviation (eV/Å) of independent errors of components that gives this net force, and
    the root mean square of the components about their mean."""
    net = float(np.linalg.norm(forces.sum(axis=0)))
    error = net / np.sqrt(3.0 * len(forces))
    return float(error), float(np.sqrt(((forces - forces.mean(axis=0)) ** 2).mean()))


def _finding(
    those: list[tuple[float, float, Frame]], severity: Severity, case: Case
) -> list[Finding]:
    if not those:
        return []
    error, size, frame = max(those, key=lambda item: item[0])
    assert frame.forces is not None
    net = frame.forces.sum(axis=0)
    return [
        Finding(
            "net-force",
            severity,
            f"the forces of {len(those)} of {len(case.frames)} frames do not sum to zero: in frame "
            f"{frame.index} of {frame.source} to ({net[0]:.3g}, {net[1]:.3g}, {net[2]:.3g}) eV/Å, as "
            f"errors of {error:.2g} eV/Å of each component would give, whose forces are {size:.2g} "
            "eV/Å (rms)",
            "Look for an external field, forces of some atoms that are missing or constrained, or a "
            "coarse grid or basis; subtract the mean force if it is numerical noise",
            places_of([frame for _, _, frame in those]),
            {"frames": len(those), "largest_error_ev_per_a": error, "rms_ev_per_a": size},
        )
    ]
