"""What a process is fitted to: the labels of the frames less what is known before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from forcemap.fitter.baseline.baseline import Baseline
from forcemap.fitter.baseline.isolated_atoms import atomic_energies
from forcemap.fitter.config import Settings
from forcemap.fitter.process.prior import widest_cutoff
from forcemap.fitter.process.survey import Survey
from forcemap.fitter.process.targets import Targets

__all__ = ["Labelled"]


class Labelled(NamedTuple):
    """The data of a fit.

    Attributes:
        survey: of the frames, with the repulsion if the settings ask for one.
        e0: energies of isolated atoms by atomic number, eV.
        targets: of each frame, less both.
    """

    survey: Survey
    e0: Mapping[int, float]
    targets: list[Targets]

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
        e0 = atomic_energies(survey.frames, settings.e0, baseline=[b.energy for b in known])
        pairs = zip(survey.frames, known, strict=True)
        return cls(survey, e0, [Targets.of(frame, e0, b) for frame, b in pairs])
