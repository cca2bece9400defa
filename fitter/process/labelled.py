"""What a process is fitted to: the labels of the frames less what is known before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from forcemap.fitter.baseline.baseline import Baseline
from forcemap.fitter.baseline.beyond import imagined_frames
from forcemap.fitter.baseline.isolated_atoms import FreeAtoms, free_atoms
from forcemap.fitter.config import Settings
from forcemap.fitter.process.prior import widest_cutoff
from forcemap.fitter.process.survey import Survey
from forcemap.fitter.process.targets import Targets

__all__ = ["Labelled"]


class Labelled(NamedTuple):
    """The data of a fit.

    Attributes:
        survey: of the frames, with the repulsion if the settings ask for one.
        free: energies of isolated atoms.
        targets: of each frame, less both.
        imagined: weak labels beyond the data, with sigmas in eV.
    """

    survey: Survey
    free: FreeAtoms
    targets: list[Targets]
    imagined: list[Targets]

    @classmethod
    def of(
        cls, settings: Settings, survey: Survey, advance: Callable[[], Any] = lambda: None
    ) -> Labelled:
        """For settings whose cutoffs are chosen; calls `advance` after each frame."""
        if settings.has_repulsion:
            survey = survey.with_repulsion(widest_cutoff(settings))
        baseline = Baseline(survey.species, survey.repulsion)
        known = []
        for frame in survey.frames:
            known.append(baseline.of(frame))
            advance()
        frames = survey.frames
        free = free_atoms(frames, settings.e0, baseline=[b.energy for b in known])
        imagined = []
        if settings.is_guided:
            reach = widest_cutoff(settings)
            imagined = imagined_frames(
                *(frames, free.energies, survey.repulsion, baseline.energy, reach)
            )
        return cls(
            *(survey, free),
            [Targets.of(f, free.energies, b) for f, b in zip(frames, known, strict=True)],
            [Targets.of(f, free.energies, baseline.of(f)) for f in imagined],
        )
