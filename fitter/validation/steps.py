"""Runs the steps of a validation; each is kept in a file, which a second run reuses."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from forcemap.fitter.checked import plain
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.sharing.whole_file import make_folder, write_whole
from forcemap.fitter.validation.check import Case, Check, NotComputed, Outcome, Subject, Task
from forcemap.fitter.validation.models import Model
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.extras import install
from forcemap.potentials.plain import plain as strict
from threadpoolctl import threadpool_limits

__all__ = ["FOLDER", "LeftOut", "Step", "Validation", "run_checks"]

FOLDER = "steps"
"""Of the kept outcomes, in the folder of the results."""

Given = Mapping[str, Mapping[str, Outcome]]


@dataclass(frozen=True)
class Step:
    """One check of one subject with one model."""

    check: Check
    subject: Subject
    model: Model
    outcome: Outcome


@dataclass(frozen=True)
class LeftOut:
    """A check, or a step of it, without an outcome.

    Attributes:
        check: which.
        subject: of a step; empty for the whole check.
        model: of a step; empty for both.
        reason: a sentence.
    """

    check: Check
    subject: str
    model: str
    reason: str


@dataclass
class Validation:
    """What a run gave.

    Attributes:
        case: what was checked.
        models: the potential, and the one beside it.
        steps: those with an outcome.
        left_out: those without.
        reused: number of steps that were in files.
    """

    case: Case
    models: Sequence[Model]
    steps: list[Step] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    reused: int = 0


def run_checks(
    case: Case, models: Sequence[Model], checks: Sequence[Check], out: Path, run: Run
) -> Validation:
    """Make all checks that the case has settings for, and keep each step's outcome in `out`.

    Raises ForcemapError if nothing can be written there.
    """
    found = Validation(case, models)
    make_folder(out / FOLDER)
    for model in models:
        keys: dict[tuple[str, str], str] = {}
        outcomes: dict[str, dict[str, Outcome]] = {}
        for check in checks:
            if check.name not in case.settings:
                continue
            reason = _reason_against(check, model)
            if reason:
                found.left_out.append(LeftOut(check, "", model.name, reason))
                continue
            own = outcomes.setdefault(check.name, {})
            for subject in check.subjects(case):
                needed = _needed(check, subject, keys)
                key = _key(case, check, subject, model, needed)
                path = out / FOLDER / _file_name(check, subject, key)
                outcome = _kept(path)
                if outcome is not None:
                    found.reused += 1
                else:
                    outcome = _made(
                        Step(check, subject, model, Outcome()), case, outcomes, run, found
                    )
                    if outcome is None:
                        continue
                    write_whole(path, json.dumps(outcome.to_json(), allow_nan=False) + "\n")
                keys[check.name, subject.name] = key
                if check.is_usable(outcome):
                    own[subject.name] = outcome
                found.steps.append(Step(check, subject, model, outcome))
    return found


def _reason_against(check: Check, model: Model) -> str:
    """Why a check cannot be made with a model; empty if it can."""
    if check.is_missing:
        return f"{check.extra} is not installed: {install('validate')}"
    if check.by_lammps and model.potential is None:
        return "LAMMPS runs potential files only"
    return ""


def _needed(check: Check, subject: Subject, keys: Mapping[tuple[str, str], str]) -> list[str]:
    """Keys of the steps that a step builds on: those of its subject, or all if that has none."""
    of_needs = {place: key for place, key in keys.items() if place[0] in check.needs}
    own = [key for (_, name), key in of_needs.items() if name == subject.name]
    return own or list(of_needs.values())


@cache
def _code() -> str:
    """Of what makes outcomes: a change of any check has all of them made again."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _key(case: Case, check: Check, subject: Subject, model: Model, needed: Sequence[str]) -> str:
    """What an outcome depends on, as a hash."""
    from ase import __version__ as ase_version
    from forcemap import __version__

    content = {
        "check": [check.name, _code(), __version__, ase_version],
        "settings": plain(case.settings[check.name]),
        "subject": [subject.name, subject.content],
        "model": model.identity,
        "seed": case.seed,
        "free_atoms": dict(model.free_atoms),
        "needed": list(needed),
    }
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _file_name(check: Check, subject: Subject, key: str) -> str:
    words = re.sub(r"[^A-Za-z0-9.+-]+", "_", subject.name)[:40]
    return f"{check.name}-{words}-{key}.json"


def _kept(path: Path) -> Outcome | None:
    """The outcome in a file; None if there is none that can be used."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        return Outcome.from_json(json.loads(path.read_text(encoding="utf-8")))
    return None


def _made(step: Step, case: Case, outcomes: Given, run: Run, found: Validation) -> Outcome | None:
    """The outcome of a step; None, with a line in `left_out`, if it cannot be computed."""
    check, subject, model = step.check, step.subject, step.model
    settings = case.settings[check.name]
    beside = "" if model is found.models[0] else f", {model.name}"
    title = f"{check.title}: {subject.name}{beside}"
    with (
        run.stage(title, check.parts(subject, settings)) as advance,
        # The matrices are small: threads of BLAS would only wait for each other.
        threadpool_limits(limits=1, user_api="blas"),
        tempfile.TemporaryDirectory(prefix="forcemap-validate-") as folder,
    ):
        task = Task(case, subject, model, settings, outcomes, Path(folder), advance, jobs=run.jobs)
        try:
            outcome = check.run(task)
        except NotComputed as reason:
            failure = str(reason)
        except Exception as error:
            if not _is_of_the_calculator(error, model):
                raise
            failure = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        else:
            return Outcome.from_json(strict(outcome.to_json()))
    found.left_out.append(LeftOut(check, subject.name, model.name, failure))
    return None


def _is_of_the_calculator(error: Exception, model: Model) -> bool:
    """Whether an error says that the model cannot do a structure; foreign ones raise anything."""
    from ase.calculators.calculator import CalculatorError
    from numpy.linalg import LinAlgError

    if model.potential is None:
        return True
    return isinstance(error, CalculatorError | ForcemapError | LinAlgError | FloatingPointError)
