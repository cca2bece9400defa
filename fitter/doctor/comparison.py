"""Everything that several examinations of labels against each other need, computed once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.prediction import evaluated
from forcemap.fitter.doctor.quick_fit import QuickFit, Solved, group_of
from forcemap.fitter.doctor.work_pairs import Pairs, pairs_of
from forcemap.fitter.sharing.run import Run
from forcemap.potentials.errors import ForcemapError
from numpy.typing import NDArray

__all__ = ["Comparison", "Group", "Said", "group_name"]

Array = NDArray[np.float64]
Group = tuple[str, str]


class Said(NamedTuple):
    """What a quick fit predicts: energy less constants, eV; forces (n, 3); volume times stress (6,)."""

    energy: float
    forces: Array
    strain: Array


def group_name(groups: Sequence[Group], all_groups: Sequence[Group]) -> str:
    """Files and config_types, for the beginning of a message: "train.xyz (config_type A, B)"."""
    by_file: dict[str, list[str]] = {}
    for file, config_type in groups:
        by_file.setdefault(file, []).append(config_type)
    totals: dict[str, int] = {}
    for file, _ in all_groups:
        totals[file] = totals.get(file, 0) + 1
    parts = []
    for file, names in by_file.items():
        if len(names) == totals[file]:
            parts.append(file)
        else:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            parts.append(f"{file} (config_type {', '.join(names[:5])}{more})")
    return ", ".join(parts)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Frames under comparison.

    Attributes:
        frames: all of them.
        run: threads.
        advance: called once for each frame of a pass over all frames.
    """

    frames: Sequence[Frame]
    run: Run = field(default_factory=Run)
    advance: Callable[..., Any] = lambda *n: None

    @cached_property
    def groups(self) -> dict[Group, list[int]]:
        """Places of the frames of each file and config_type."""
        groups: dict[Group, list[int]] = {}
        for place, frame in enumerate(self.frames):
            groups.setdefault(group_of(frame), []).append(place)
        return groups

    @cached_property
    def pairs(self) -> dict[Group, Pairs]:
        """Pairs of frames that differ little, of each group."""
        return {
            group: pairs_of([self.frames[n] for n in places])
            for group, places in self.groups.items()
        }

    @cached_property
    def quick(self) -> QuickFit | None:
        """The quick fit's rows; None where nothing can be fitted."""
        return QuickFit.of(self.frames, self.run)

    def said(self, solved: Solved) -> list[Said | None]:
        """Predictions of a fit for all frames; None for frames with elements that it lacks.

        For frames of the sample they are not those of a fit without them.
        """
        quick = self.quick
        assert quick is not None
        of_sample = {place: n for n, place in enumerate(quick.places)}
        others = len(self.frames) > len(quick.places)
        potential = quick.potential(solved, self.run.jobs) if others else None
        local = threading.local()

        def of_frame(place: int) -> Said | None:
            if place in of_sample:
                return Said(*quick.predicted(of_sample[place], solved))
            if not hasattr(local, "evaluator"):
                assert potential is not None
                local.evaluator = potential.evaluator(skin=0.0)
            try:
                found = evaluated(local.evaluator, self.frames[place])
            except ForcemapError:
                return None
            return Said(found.energy, found.forces, found.strain)

        answers: list[Said | None] = []
        for answer in self.run.in_order(of_frame, range(len(self.frames))):
            answers.append(answer)
            self.advance()
        return answers
