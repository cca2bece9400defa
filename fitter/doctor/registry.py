"""All examinations, in the order in which they are made."""

from __future__ import annotations

from forcemap.fitter.doctor import (
    by_quick_fit,
    coverage,
    duplicates,
    energies,
    energy_offsets,
    far_frames,
    frozen_atoms,
    geometry,
    labels,
    net_forces,
    noise,
    vacuum_stress,
)
from forcemap.fitter.doctor.examination import Examination

__all__ = ["EXAMINATIONS"]

EXAMINATIONS: tuple[Examination, ...] = (
    Examination("labels", labels.examine),
    Examination("energies", energies.examine, cheap=True),
    Examination("zeros of energies", energy_offsets.examine, cheap=True),
    Examination("net forces", net_forces.examine, cheap=True),
    Examination("constraints", frozen_atoms.examine, cheap=True),
    Examination("vacuum", vacuum_stress.examine, cheap=True),
    Examination("structures", geometry.examine, cheap=True),
    Examination("copies", duplicates.examine, cheap=True),
    Examination("frames far from others", far_frames.examine),
    Examination("units, signs and outliers", by_quick_fit.examine, once=False),
    Examination("near environments", by_quick_fit.examine_environments, once=False),
    Examination("noise", lambda case, advance: noise.examine(case.frames, case.run, advance)),
    Examination("coverage", coverage.examine),
)
