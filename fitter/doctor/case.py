"""The data under examination."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from forcemap.fitter.config import Settings
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.doctor.finding import Place
from forcemap.fitter.doctor.reading import SourceReading
from forcemap.fitter.doctor.surroundings import Surroundings, surroundings_of
from forcemap.fitter.doctor.vacuum import Vacuum, vacuum_of
from forcemap.fitter.sharing.run import Run
from numpy.typing import NDArray

__all__ = ["CUTOFF", "Case"]

CUTOFF = 5.0
"""Å; assumed where no settings give one."""


@dataclass(frozen=True)
class Case:
    """Files as they were read, and what the data are meant for.

    Attributes:
        train: readings of the files to fit.
        test: readings of the files to judge by.
        settings: of the fit; None without.
        run: threads, and where progress is shown.
        values: what examinations leave for the page, by its label with the unit in brackets: a number
            for each of `frames`, NaN where there is none.
    """

    train: Sequence[SourceReading]
    test: Sequence[SourceReading] = ()
    settings: Settings | None = None
    run: Run = field(default_factory=Run)
    values: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    @cached_property
    def train_frames(self) -> list[Frame]:
        """Frames to fit that can be used."""
        return [frame for reading in self.train for frame in reading.frames]

    @cached_property
    def test_frames(self) -> list[Frame]:
        """Frames to judge by that can be used."""
        return [frame for reading in self.test for frame in reading.frames]

    @cached_property
    def frames(self) -> list[Frame]:
        """All of them."""
        return self.train_frames + self.test_frames

    @cached_property
    def surroundings(self) -> list[Surroundings]:
        """Of `frames`, in their order."""
        found = []
        with self.run.stage("distances", len(self.frames)) as advance:
            for each in self.run.in_order(surroundings_of, self.frames):
                found.append(each)
                advance()
        return found

    @cached_property
    def with_surroundings(self) -> list[tuple[Frame, Surroundings]]:
        """All frames with their surroundings."""
        return list(zip(self.frames, self.surroundings, strict=True))

    @cached_property
    def vacua(self) -> dict[Place, Vacuum]:
        """The vacuum of the frames that have some."""
        found = ((Place(f.source, f.index), vacuum_of(f)) for f in self.frames)
        return {place: vacuum for place, vacuum in found if vacuum is not None}

    @cached_property
    def cutoff(self) -> float:
        """Largest cutoff of the settings' terms, or the usual one, Å."""
        cutoffs = [term.cutoff for term in self.settings.terms] if self.settings else []
        return max((cutoff for cutoff in cutoffs if cutoff is not None), default=CUTOFF)
