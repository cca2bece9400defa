"""The figures of a validation, and its page: one HTML file with the figures inside."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from forcemap.fitter.report.figures import STYLE, svg_of
from forcemap.fitter.report.template import template
from forcemap.fitter.sharing.whole_file import replacing, write_whole
from forcemap.fitter.validation.check import Check, Outcome, Shown, Subject
from forcemap.fitter.validation.results import Judged, Row
from forcemap.fitter.validation.show import shown
from forcemap.fitter.validation.steps import Validation
from matplotlib import rc_context

__all__ = ["write_figures", "write_page"]


def write_figures(folder: Path, found: Validation, checks: Sequence[Check]) -> dict[str, str]:
    """Write all figures as PNG into a folder; their SVG by title.

    Raises ForcemapError if one cannot be written.
    """
    svgs: dict[str, str] = {}
    for check in checks:
        outcomes: dict[str, tuple[Subject, dict[str, Outcome]]] = {}
        for step in found.steps:
            if step.check is check:
                pair = outcomes.setdefault(step.subject.name, (step.subject, {}))
                pair[1][step.model.name] = step.outcome
        if not outcomes:
            continue
        for title, figure in check.figures(
            [Shown(*pair) for pair in outcomes.values()], found.case
        ).items():
            name = re.sub(r"[^A-Za-z0-9.+-]+", "_", f"{check.name}-{title}").strip("_")
            with rc_context(STYLE):
                with replacing(folder / f"{name}.png") as part:
                    figure.savefig(part, format="png", dpi=150)
                svgs[title] = svg_of(figure)
    return svgs


def write_page(
    path: Path,
    found: Validation,
    tables: tuple[Sequence[Row], Sequence[Judged]],
    figures: Mapping[str, str],
    texts: Mapping[str, Any],
) -> None:
    """Write the page.

    Args:
        path: of the file.
        found: what the run gave.
        tables: rows and verdicts.
        figures: SVG by title.
        texts: `summary`, `remarks` and `settings`.

    Raises ForcemapError if it cannot be written.
    """
    from forcemap import __version__

    rows, judged = tables
    by_subject: dict[str, list[Row]] = {}
    for row in rows:
        by_subject.setdefault(row.subject, []).append(row)
    text = template("forcemap.fitter.validation.page", "page.html.j2").render(
        version=__version__,
        models=[model.name for model in found.models],
        identity=found.models[0].identity,
        with_reference=any(row.reference is not None for row in rows),
        subjects=by_subject,
        judged=judged,
        figures=figures,
        shown=shown,
        summary=texts["summary"],
        remarks=texts["remarks"],
        settings=yaml.safe_dump(texts["settings"], sort_keys=False, allow_unicode=True),
    )
    write_whole(path, text)
