"""A selection with files: read them, judge every candidate, recommend one, and write the results."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from forcemap.fitter.data.dataset import read_frames
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.label_checks import label_counts
from forcemap.fitter.data.sampling import sample_of
from forcemap.fitter.data.sources import known_count
from forcemap.fitter.process.data_checks import warn_of_shared_frames
from forcemap.fitter.selection.candidates import Candidate, Selection
from forcemap.fitter.selection.judge import Judged, Plan, judge
from forcemap.fitter.selection.kept import KeptJudgements
from forcemap.fitter.selection.recommend import Recommendation, recommend
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.sharing.whole_file import new_folder
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.extras import need
from forcemap.potentials.leaving import removed_when_ended
from forcemap.potentials.part_file import writing
from forcemap.potentials.plain import plain
from forcemap.potentials.runs.folder_lock import locked_folder

__all__ = ["Outcome", "Wishes", "select_to_folder"]

JSON, PAGE = "select.json", "select.html"
PARTS = ".select-"


@dataclass(frozen=True)
class Wishes:
    """The options of the command line.

    Attributes:
        target: force error, eV/Å, which replaces the file's.
        optimise: whether hyperparameters are chosen by evidence first.
        repeats: random parts of each size in learning curves; 0: no curves.
        most_frames: largest number of training frames; None: all.
    """

    target: float | None = None
    optimise: bool = True
    repeats: int = 3
    most_frames: int | None = None


@dataclass(frozen=True)
class Outcome:
    """The results of a selection.

    Attributes:
        judged: the candidates that could be fitted.
        recommendation: the recommended candidate.
        files: the written files.
        target: the wanted force error, eV/Å.
    """

    judged: Sequence[Judged]
    recommendation: Recommendation
    files: Sequence[Path]
    target: float | None

    def document(self) -> dict[str, Any]:
        """The content of select.json."""
        return {
            "recommended": self.recommendation.name,
            "sentence": self.recommendation.sentence,
            "target_ev_per_a": self.target,
            "candidates": [one.document() for one in self.judged],
        }


def select_to_folder(selection: Selection, out: Path, wishes: Wishes, run: Run) -> Outcome:
    """Judge all candidates; write select.json, select.html and a settings file for each into `out`.

    All files are written at the end, or none. A candidate that cannot be fitted to the
    data is left out, with a warning. What an interrupted selection has judged is not judged again.

    Raises:
        ForcemapError: settings, frames or the folder cannot be used, or no candidate can be fitted.
    """
    need("the page of a selection", "report")
    with new_folder(out), locked_folder(out, "select.lock", "a selection", "wait for its end"):
        train, test, count = _frames(selection, wishes, run)
        plan = Plan(train, test, wishes.optimise, wishes.repeats, run)
        target = wishes.target if wishes.target is not None else selection.target
        kept = KeptJudgements(out, plan)
        judged = _judged(selection.candidates, plan, kept)
        advice = recommend(judged, target)
        names = [JSON, PAGE, *(one.candidate.file for one in judged)]
        outcome = Outcome(judged, advice, [out / name for name in names], target)
        _write(out, outcome, f"{len(train)} of {count} training frames")
        kept.remove()
        return outcome


def _judged(candidates: Sequence[Candidate], plan: Plan, kept: KeptJudgements) -> list[Judged]:
    """The candidates that can be fitted; raises ForcemapError if none can."""
    judged: list[Judged] = []
    for number, candidate in enumerate(candidates, start=1):
        before = kept.of(candidate)
        remark = " (judged before the interruption)" if before else ""
        plan.run.note(f"candidate {number} of {len(candidates)}: {candidate.name}{remark}")
        try:
            judged.append(before or judge(candidate, plan))
        except ForcemapError as error:
            warnings.warn(f"{candidate.name}: left out: {error}", stacklevel=2)
        else:
            kept.keep(judged[-1])
    if not judged:
        raise ForcemapError(
            "no candidate can be fitted to these frames; the warnings above say why"
        )
    return judged


def _frames(selection: Selection, wishes: Wishes, run: Run) -> tuple[list[Frame], list[Frame], int]:
    """Training frames, test frames, and the number of training frames before sampling."""
    settings = selection.candidates[0].settings
    keys, sigma = settings.data.keys, settings.sigma
    total = partial(known_count, (*settings.data.train, *settings.data.test))
    with run.stage("reading frames", total) as advance:
        train = read_frames(settings.data.train, keys, sigma, advance=advance)
        test = read_frames(settings.data.test, keys, sigma, advance=advance)
        warn_of_shared_frames(train, test)
    for line in [*label_counts(train), *label_counts(test)]:
        run.note(line)
    if not any(frame.energy is not None or frame.forces is not None for frame in train):
        raise ForcemapError("the training frames hold neither energies nor forces")
    count = len(train)
    if wishes.most_frames is not None and wishes.most_frames < count:
        train = sample_of(train, 1, wishes.most_frames)
    return train, test, count


def _write(out: Path, outcome: Outcome, frames: str) -> None:
    """Write all files, and rename them into place together."""
    from forcemap.fitter.selection.show import figures, page  # of the extra "report"

    judged = outcome.judged
    with writing(out):
        part = Path(tempfile.mkdtemp(prefix=PARTS, dir=out))
        with removed_when_ended(part):
            try:
                text = json.dumps(plain(outcome.document()), indent=2, allow_nan=False) + "\n"
                (part / JSON).write_text(text, encoding="utf-8")
                pictures = figures(judged, outcome.target)
                html = page(judged, outcome.recommendation, pictures, frames)
                (part / PAGE).write_text(html, encoding="utf-8")
                for one in judged:
                    one.settings.dump(part / one.candidate.file, out)
                for path in outcome.files:
                    (part / path.name).replace(path)
            finally:
                shutil.rmtree(part, ignore_errors=True)
