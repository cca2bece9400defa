"""Frames to choose among, any number of them, streamed from their files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.frame_sigmas import FrameSigmas
from forcemap.fitter.data.label_keys import LabelNames
from forcemap.fitter.data.labels import FramePlace, Labels
from forcemap.fitter.data.settings import SigmaSettings, Source
from forcemap.fitter.data.sources import count_frames, read_structures
from forcemap.fitter.process.data_checks import structure_key
from forcemap.potentials.elements import SYMBOLS

__all__ = ["Candidate", "Pool"]

NAMES = LabelNames((), (), (), (), {"config_type": ["config_type"]})
"""No labels: a pool needs none, and any that it has are ignored."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A frame of a pool.

    Attributes:
        number: place in the pool, from 0, over all files and selections.
        frame: the frame without labels.
        atoms: the atoms as read by ASE, for writing.
        key: `structure_key` of the frame.
    """

    number: int
    frame: Frame
    atoms: Any
    key: str


@dataclass(frozen=True)
class Pool:
    """Files of frames.

    Attributes:
        sources: files and selections.
        species: atomic numbers that a frame may hold; frames with others are left out.
        known: `structure_key` of training frames, which are left out.
        sigma: sigmas of the labels that the frames would get.
        left_out: reasons and numbers of the frames left out in the last iteration.
    """

    sources: Sequence[Source]
    species: Collection[int]
    known: Collection[str] = frozenset()
    sigma: SigmaSettings = field(default_factory=SigmaSettings)
    left_out: Counter[str] = field(default_factory=Counter, compare=False)

    @cached_property
    def count(self) -> int:
        """Number of frames of all sources, including those that are left out."""
        return sum(count_frames(source) for source in self.sources)

    def __iter__(self) -> Iterator[Candidate | None]:
        """All frames in order; None for those that are left out, which `left_out` counts.

        Raises ForcemapError for a file that cannot be read and for an invalid structure.
        """
        self.left_out.clear()
        sigmas = FrameSigmas(self.sigma, NAMES.spelled)
        number = 0
        for source in self.sources:
            for index, atoms in read_structures(source):
                frame = Labels(atoms, NAMES, FramePlace(str(source.path), index)).frame(sigmas)
                strange = sorted({int(z) for z in frame.numbers} - set(self.species))
                key = structure_key(frame)
                if strange:
                    self.left_out["elements " + " ".join(SYMBOLS[z] for z in strange)] += 1
                    yield None
                elif key in self.known:
                    self.left_out["known"] += 1
                    yield None
                else:
                    yield Candidate(number, frame, atoms, key)
                number += 1

    def remarks(self) -> list[str]:
        """Sentences on the frames left out in the last iteration."""
        strange = {
            name.removeprefix("elements "): n
            for name, n in self.left_out.items()
            if name != "known"
        }
        lines = []
        if strange:
            names = ", ".join(sorted({symbol for group in strange for symbol in group.split()}))
            lines.append(
                f"{sum(strange.values()):,} of {self.count:,} frames are left out: they hold elements "
                f"that the potential is not for ({names})"
            )
        if self.left_out["known"]:
            lines.append(
                f"{self.left_out['known']:,} of {self.count:,} frames are left out: they are training "
                "frames already"
            )
        return lines
