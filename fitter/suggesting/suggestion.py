"""The frames of a pool to label next, and the benefit of their labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.settings import SigmaSettings, Source
from forcemap.fitter.process.data_checks import structure_key
from forcemap.fitter.process.model import Model
from forcemap.fitter.process.model_file import checked_model
from forcemap.fitter.process.provenance import settings_of
from forcemap.fitter.sharing.fit_folder import identity_of
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.suggesting.criteria import (
    Criterion,
    Farthest,
    Information,
    Knowledge,
    LargestGrade,
    Variance,
    by_features,
    by_process,
)
from forcemap.fitter.suggesting.greedy import Choice, Kept, chosen
from forcemap.fitter.suggesting.maxvol import exchanged
from forcemap.fitter.suggesting.pool import Candidate, Pool
from forcemap.fitter.suggesting.roots import DrawnRoots, ExactRoots, MappedRoots, Roots
from forcemap.fitter.terms.base import Array
from forcemap.potentials import Potential, load
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.file.potential_file import file_format, read_potential
from forcemap.potentials.grade import Grade

__all__ = ["Known", "Suggestion", "suggest"]

EXACT_WORK = 1e12
"""Multiplications for a pool beyond which draws replace the exact posterior; they take minutes."""

ATOMS = 64
"""Assumed atoms of a frame in that estimate."""

SAMPLE = 200
"""Frames of the pool in the sample for the mean variance."""

NEIGHBOURS = 30
"""Number of runners-up for exchanges with chosen frames."""


@dataclass(frozen=True)
class Suggestion:
    """Chosen frames.

    Attributes:
        by: criterion of the choice, one of `suggesting.WAYS`.
        source: source of the worth: the process, draws, or descriptors.
        is_calibrated: whether expected errors are calibrated; otherwise typical ones are assumed.
        worth_name: name of `Choice.worth`.
        choices: the chosen frames in order.
        fall: (choices + 1,) mean variance of the pool's forces after each choice, as a fraction of the
            initial one; None if unknown.
        remarks: sentences on frames that were left out.
        pool: number of frames in the pool.
    """

    by: str
    source: str
    is_calibrated: bool
    worth_name: str
    choices: Sequence[Choice]
    fall: Array | None
    remarks: Sequence[str]
    pool: int


@dataclass(frozen=True)
class Known:
    """The known parts of a fit: its process, its potential, or both.

    Attributes:
        model, potential: the process and the potential; either may be None.
        grade: grade of the potential.
        train: the training frames, if they are at hand.
        sigma: sigmas of the labels.
        fault: the reason why there are no training frames; empty if there are some.
    """

    model: Model | None
    potential: Potential | None
    grade: Grade | None
    train: Sequence[Frame]
    sigma: SigmaSettings
    fault: str = ""

    @classmethod
    def read(cls, path: Path) -> Known:
        """Read the file `path`, and its counterpart of the same fit beside it.

        Raises ForcemapError for a file that is neither a model nor a potential.
        """
        is_potential = file_format(path) == "forcemap.potential"
        other = path.parent / ("model.forcemap" if is_potential else "potential.forcemap")
        identity = identity_of(path)
        both = identity is not None and other.is_file() and identity_of(other) == identity
        potential_path = path if is_potential else other if both else None
        model_path = path if not is_potential else other if both else None
        potential = None if potential_path is None else load(potential_path)
        grade = None if potential_path is None else read_potential(potential_path).grade
        if model_path is None:
            fault = (
                f"{path}: no model of its fit is beside it, which would name its training frames"
            )
            return cls(None, potential, grade, [], SigmaSettings(), fault)
        model = checked_model(model_path)
        settings = settings_of(model, model_path)
        try:
            train = read_frames(settings.data.train, settings.data.keys, settings.sigma)
        except ForcemapError as error:
            fault = f"the training frames cannot be read: {error}"
            return cls(model, potential, grade, [], settings.sigma, fault)
        return cls(model, potential, grade, train, settings.sigma)

    @property
    def species(self) -> set[int]:
        """Atomic numbers of the fit."""
        if self.model is not None:
            return set(self.model.species)
        assert self.potential is not None
        return set(self.potential.numbers)

    def roots(self, frames: int) -> Roots | None:
        """The most accurate roots for `frames` frames in reasonable time; None if there are none."""
        model, potential = self.model, self.potential
        draws = potential is not None and potential.draws > 2
        if model is not None:
            work = frames * (1.0 + 3.0 * ATOMS) * 3.0 * float(len(model.weights)) ** 2
            if work <= EXACT_WORK:
                return ExactRoots(model)
            if not draws:
                return DrawnRoots(model)
        if draws:
            assert potential is not None
            return MappedRoots(potential, self.grade)
        return None


def suggest(
    known: Known,
    sources: Sequence[Source],
    count: int,
    by: str = "variance",
    run: Run | None = None,
) -> Suggestion:
    """Choose `count` frames of the files `sources`, one of `suggesting.WAYS`.

    Frames of elements that the potential is not for are left out, and so are training frames and
    frames of the same structure as one that is chosen. Memory does not grow with the pool.

    Raises:
        ForcemapError: files cannot be used, no frame can be chosen, or the potential cannot say what
            this way of choosing needs.
    """
    run = run or Run()
    keys = {structure_key(frame) for frame in known.train}
    pool = Pool(sources, known.species, keys, known.sigma)
    roots = known.roots(pool.count)
    criterion = _criterion(known, by, roots)
    worth = _Worth(pool.count, None if roots is None else roots.size)
    choices, rest = chosen(pool, criterion, count, run, worth.watch(criterion, roots))
    remarks = pool.remarks()
    if not choices:
        raise ForcemapError(
            "; ".join(remarks) or "no frame of the pool would add anything to what is known"
        )
    if isinstance(criterion, Information):
        choices = _exchanged(criterion, choices, rest)
    fall = None if roots is None else worth.fall(roots, criterion, choices)
    if known.fault:
        remarks = [*remarks, f"{known.fault}; training frames in the pool are not left out"]
    if len(choices) < count:
        few = f"{len(choices):,} frames of {count:,} asked for: no other would add anything"
        remarks = [*remarks, few]
    calibrated = roots is not None and roots.uncertainty is not None
    return Suggestion(
        by, _source(by, roots), calibrated, criterion.name, choices, fall, remarks, pool.count
    )


def _source(by: str, roots: Roots | None) -> str:
    """Name of the source of the worth for a criterion."""
    return roots.name if roots is not None and by in ("variance", "d-optimal") else "descriptors"


def _criterion(known: Known, by: str, roots: Roots | None) -> Criterion[Any]:
    if by == "grade":
        if known.potential is None or not known.potential.has_grade:
            raise ForcemapError(
                "--by grade needs a potential.forcemap that has a grade; fit or map it anew, or choose "
                "by variance, d-optimal or farthest"
            )
        return LargestGrade(known.potential)
    if by == "farthest":
        if known.model is not None:
            criterion = Farthest(by_process(known.model), len(known.model.weights))
            for frame in known.train:
                criterion.learn(criterion.see(frame))
            return criterion
        if known.potential is not None and known.grade is not None:
            return Farthest(*by_features(known.potential, known.grade))
        raise ForcemapError(
            "--by farthest needs the model.forcemap of the fit, or a potential.forcemap with a grade"
        )
    if roots is None:
        raise ForcemapError(
            f"--by {by} needs the model.forcemap of the fit, or a potential.forcemap that has draws "
            "(uncertainty: {draws: 16} in the settings); fit or map it anew"
        )
    return Variance(roots) if by == "variance" else Information(roots)


def _exchanged(
    criterion: Information, found: Sequence[Choice], rest: Sequence[Kept]
) -> list[Choice]:
    """The frames after exchanges with the best of the rest, in the order of a greedy choice."""
    near = sorted(rest, key=lambda kept: -criterion.worth(kept.seen))[:NEIGHBOURS]
    among = [*((one.candidate, one.seen) for one in found), *((k.candidate, k.seen) for k in near)]
    places = exchanged([criterion.scaled(seen) for _, seen in among], range(len(found)))
    left = [among[place] for place in places]
    fresh = Information(criterion.roots)
    ordered: list[Choice] = []
    while left:
        worths = [fresh.worth(seen) for _, seen in left]
        candidate, seen = left.pop(int(np.argmax(worths)))
        ordered.append(Choice(candidate, seen, max(worths), fresh.deviation(seen)))
        fresh.learn(seen)
    return ordered


class _Worth:
    """The mean variance of forces over a sample of the pool, in units of the raw process.

    Deviations are not scaled by the calibration's factor: with it, the labels would seem to be of more
    use than a fit to them shows.
    """

    def __init__(self, frames: int, size: int | None) -> None:
        rng = np.random.default_rng(0)
        sample = rng.choice(frames, min(SAMPLE, frames), replace=False)
        self.sample = frozenset(int(number) for number in sample)
        self.sum = np.zeros((size or 0, size or 0))

    def watch(
        self, criterion: Criterion[Any], roots: Roots | None
    ) -> Callable[[Candidate, Any], None]:
        """Function to be called with every frame."""

        def look(candidate: Candidate, seen: Any) -> None:
            if roots is None or candidate.number not in self.sample:
                return
            root = roots.of(candidate.frame) if not hasattr(seen, "forces") else seen
            self.sum += root.forces.T @ root.forces

        return look

    def fall(self, roots: Roots, criterion: Criterion[Any], found: Sequence[Choice]) -> Array:
        """(choices + 1,) remaining fractions of the mean variance."""
        knowledge = Knowledge(roots.size)
        left = [float(np.trace(self.sum))]
        for one in found:
            has_root = hasattr(one.seen, "forces")
            knowledge.add((one.seen if has_root else roots.of(one.candidate.frame)).scaled)
            left.append(float(np.trace(knowledge.inverse_times(self.sum))))
        return np.array(left) / left[0] if left[0] > 0.0 else np.ones(len(left))
