"""What energies, forces and stresses say of each other, and which frames are at odds with the rest.

Labels that other examinations found wrong are mended before, so that they are not blamed on others.
"""

from __future__ import annotations

from dataclasses import replace

from forcemap.fitter.data.frame import Frame
from forcemap.fitter.doctor.case import Case
from forcemap.fitter.doctor.comparison import Comparison
from forcemap.fitter.doctor.energies import totals
from forcemap.fitter.doctor.examination import Advance
from forcemap.fitter.doctor.finding import Finding, Place
from forcemap.fitter.doctor.frozen_atoms import frozen_atoms
from forcemap.fitter.doctor.outliers import outlier_findings
from forcemap.fitter.doctor.residuals import residuals_of
from forcemap.fitter.doctor.vacuum_stress import is_meaningless
from forcemap.fitter.doctor.virtual_work import judged

__all__ = ["examine"]


def examine(case: Case, advance: Advance) -> list[Finding]:
    """Units and signs, then outliers."""
    found = judged(Comparison(_mended(case), case.run, advance))
    return [
        *found.findings,
        *outlier_findings(found.mended, residuals_of(found.mended, found.unsure)),
    ]


def _mended(case: Case) -> list[Frame]:
    """All frames without the faults that need no comparison to be seen."""
    frames = []
    for frame, around in zip(totals(case.frames), case.surroundings, strict=True):
        frozen = frozen_atoms(frame, around)
        if frozen.any():
            mask = frozen if frame.force_mask is None else frozen | frame.force_mask
            frame = replace(frame, force_mask=mask)
        vacuum = case.vacua.get(Place(frame.source, frame.index))
        if vacuum is not None and is_meaningless(frame, vacuum):
            frame = replace(frame, stress=None)
        frames.append(frame)
    return frames
