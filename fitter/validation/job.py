"""A whole validation: from the files to the table, the figures and the page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from forcemap.fitter.sharing.run import Run
from forcemap.fitter.sharing.whole_file import write_whole
from forcemap.fitter.validation.check import Check
from forcemap.fitter.validation.models import Model
from forcemap.fitter.validation.page import write_figures, write_page
from forcemap.fitter.validation.reference import Reference
from forcemap.fitter.validation.results import (
    Judged,
    Row,
    judged,
    remarks,
    rows,
    summary,
    to_json,
)
from forcemap.fitter.validation.settings import ValidationSettings
from forcemap.fitter.validation.steps import run_checks
from forcemap.fitter.validation.subjects import case_of

__all__ = ["JSON", "PAGE", "Results", "validate"]

JSON, PAGE = "validation.json", "validation.html"


@dataclass(frozen=True)
class Results:
    """What a validation gave, as it stands in the files.

    Attributes:
        models: names of the potential and of the model beside it.
        rows: of the table.
        judged: all verdicts, the worst first.
        remarks: sentences that belong to them.
        summary: a sentence on the verdicts.
        content: of validation.json.
    """

    models: Sequence[str]
    rows: Sequence[Row]
    judged: Sequence[Judged]
    remarks: Sequence[str]
    summary: str
    content: dict[str, Any]


def validate(
    models: Sequence[Model],
    checks: Sequence[Check],
    settings: ValidationSettings,
    out: Path,
    *,
    files: tuple[Path | None, Path | None] = (None, None),
    run: Run | None = None,
) -> Results:
    """Check the first of `models`, of a potential file, with the second, if there is one, beside it.

    Args:
        models: one or two.
        checks: to be made; the settings may leave some of them out.
        settings: of the checks.
        out: an existing folder for validation.json, validation.html, figures and finished steps.
        files: of the reference values, and of the settings, for messages; None without.
        run: threads, and where progress is shown.

    Raises ForcemapError for inputs that cannot be used, and for files that cannot be written.
    """
    run = run or Run()
    models = [replace(models[0], free_atoms=settings.general.free_atoms), *models[1:]]
    with run.stage("reading the frames") as advance:
        case, notes = case_of(models[0], settings, str(files[1] or ""), advance)
    reference = Reference.read(files[0], case, checks)
    found = run_checks(case, models, checks, out, run)
    table, verdicts = rows(found, reference), judged(found)
    lines = [*notes, *remarks(found)]
    with run.stage("figures and page"):
        content = to_json(found, reference, settings.to_dict(), notes)
        figures = write_figures(out, found, checks)
        texts = {"summary": summary(found), "remarks": lines, "settings": settings.to_dict()}
        write_page(out / PAGE, found, (table, verdicts), figures, texts)
        write_whole(out / JSON, json.dumps(content, indent=2, allow_nan=False) + "\n")
    return Results([m.name for m in models], table, verdicts, lines, summary(found), content)
