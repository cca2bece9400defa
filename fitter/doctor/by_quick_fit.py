"""What energies, forces and stresses say of each other, and which frames are at odds with the rest.

Labels that other examinations found wrong are mended before, so that they are not blamed on others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.doctor import near_environments
from forcemap.fitter.doctor.case import Case
from forcemap.fitter.doctor.comparison import Comparison
from forcemap.fitter.doctor.energies import totals
from forcemap.fitter.doctor.examination import Advance
from forcemap.fitter.doctor.finding import Finding, Place
from forcemap.fitter.doctor.frozen_atoms import frozen_atoms
from forcemap.fitter.doctor.outliers import outlier_findings
from forcemap.fitter.doctor.residuals import Residuals, residuals_of
from forcemap.fitter.doctor.vacuum_stress import is_meaningless
from forcemap.fitter.doctor.virtual_work import judged

__all__ = ["examine", "examine_environments"]


def examine(case: Case, advance: Advance) -> list[Finding]:
    """Units and signs, then outliers; leaves the errors of the quick fit in `case.values`."""
    mended = _mended(case)
    found = judged(Comparison(list(mended.values()), case.run, advance))
    residuals = residuals_of(found.mended, found.unsure)
    if residuals is not None:
        _keep_errors(case, list(mended), residuals)
    return [*found.findings, *outlier_findings(found.mended, residuals)]


def examine_environments(case: Case, advance: Advance) -> list[Finding]:
    """Atoms in nearly equal surroundings with different forces."""
    cutoff = case.cutoff if case.settings is not None else None
    return near_environments.examine(list(_mended(case).values()), case.run, cutoff, advance)


def _mended(case: Case) -> dict[int, Frame]:
    """Frames by their places, without the faults that need no comparison to be seen.

    Isolated atoms are left out: a fit to the others knows nothing of them.
    """
    frames = {}
    both = zip(totals(case.frames), case.surroundings, strict=True)
    for place, (frame, around) in enumerate(both):
        if len(frame.numbers) == 1 and np.isinf(around.nearest).all():
            continue
        frozen = frozen_atoms(frame, around)
        if frozen.any():
            mask = frozen if frame.force_mask is None else frozen | frame.force_mask
            frame = replace(frame, force_mask=mask)
        vacuum = case.vacua.get(Place(frame.source, frame.index))
        # That of a cluster depends on its box.
        if vacuum is not None and (len(vacuum.axes) == 3 or is_meaningless(frame, vacuum)):
            frame = replace(frame, stress=None)
        frames[place] = frame
    return frames


def _keep_errors(case: Case, places: Sequence[int], residuals: Residuals) -> None:
    """Size of the errors of each frame by a quick fit to the others, NaN where there are none."""
    energies, forces = (np.full(len(case.frames), np.nan) for _ in range(2))
    for residual in residuals.all:
        if residual.energy is not None:
            energies[places[residual.place]] = abs(residual.of_energy)
        if residual.frame.forces is not None and residual.frame.labelled.any():
            errors = residual.of_forces[residual.frame.labelled]
            forces[places[residual.place]] = np.sqrt((errors**2).mean())
    case.values["energy error of a quick fit (eV per atom)"] = energies
    case.values["force error of a quick fit (eV/Å)"] = forces
