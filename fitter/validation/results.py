"""The numbers of a validation beside each other, and its verdicts: for the table, the page and JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forcemap.fitter.validation.check import Grade, Verdict
from forcemap.fitter.validation.reference import Reference
from forcemap.fitter.validation.steps import Validation
from forcemap.potentials.plain import plain

__all__ = ["Judged", "Row", "judged", "remarks", "rows", "summary", "to_json"]


@dataclass(frozen=True)
class Row:
    """One quantity of one subject.

    Attributes:
        check: name of the check that it comes from.
        subject, quantity, unit: what it is.
        value: of the potential; None where only the other model has it.
        against: of the model beside it.
        reference: as given.
    """

    check: str
    subject: str
    quantity: str
    unit: str
    value: float | None
    against: float | None
    reference: float | None

    @property
    def difference(self) -> float | None:
        """Of the potential from the reference, or from the other model without one."""
        other = self.against if self.reference is None else self.reference
        return None if self.value is None or other is None else self.value - other

    @property
    def percent(self) -> float | None:
        """The difference over the size of what it is from; None where that is zero."""
        other = self.against if self.reference is None else self.reference
        return None if self.difference is None or not other else 100 * self.difference / abs(other)


@dataclass(frozen=True)
class Judged:
    """A verdict with its place."""

    check: str
    subject: str
    model: str
    verdict: Verdict


def rows(found: Validation, reference: Reference) -> list[Row]:
    """All quantities; those of one subject stand together."""
    values: dict[tuple[str, str, str, str], dict[str, float]] = {}
    for step in found.steps:
        for name, number in step.outcome.numbers.items():
            place = (step.subject.name, step.check.name, name, number.unit)
            values.setdefault(place, {})[step.model.name] = number.value
    subjects = list(dict.fromkeys(subject for subject, *_ in values))
    own, beside = found.models[0].name, found.models[-1].name
    made = [
        Row(
            check,
            subject,
            name,
            unit,
            of.get(own),
            of.get(beside) if beside != own else None,
            reference.value(subject, name),
        )
        for (subject, check, name, unit), of in values.items()
    ]
    return sorted(made, key=lambda row: subjects.index(row.subject))


def judged(found: Validation) -> list[Judged]:
    """All verdicts, the worst first; those of the potential before those of the model beside it."""
    order = [Grade.FAIL, Grade.WARN, Grade.PASS]
    every = [
        Judged(step.check.name, step.subject.name, step.model.name, verdict)
        for step in found.steps
        for verdict in step.outcome.verdicts
    ]
    own = found.models[0].name
    return sorted(every, key=lambda one: (one.model != own, order.index(one.verdict.grade)))


def remarks(found: Validation) -> list[str]:
    """Sentences that belong to the numbers, and on what has none."""
    lines = [
        f"{step.subject.name}: {text}"
        + (f" ({step.model.name})" if step.model is not found.models[0] else "")
        for step in found.steps
        for text in step.outcome.remarks
    ]
    for left in found.left_out:
        place = ", ".join(filter(None, (left.subject, left.model)))
        lines.append(f"{left.check.title} ({place}) is left out: {left.reason}")
    return list(dict.fromkeys(lines))


def summary(found: Validation) -> str:
    """A sentence on the verdicts of the potential."""
    own = found.models[0].name
    counts = Counter(one.verdict.grade for one in judged(found) if one.model == own)
    said = ", ".join(
        f"{counts[grade]} {text}"
        for grade, text in ((Grade.PASS, "pass"), (Grade.WARN, "warn"), (Grade.FAIL, "fail"))
        if counts[grade]
    )
    kept = (
        f"; {found.reused} of {len(found.steps)} steps were kept from before"
        if found.reused
        else ""
    )
    return f"Criteria: {said or 'none'}{kept}."


def to_json(
    found: Validation, reference: Reference, settings: Mapping[str, Any], notes: Sequence[str]
) -> dict[str, Any]:
    """Everything for programs."""
    from forcemap import __version__

    content: dict[str, Any] = plain(
        {
            "forcemap_version": __version__,
            "models": [{"name": model.name, "identity": model.identity} for model in found.models],
            "results": [
                {
                    "check": row.check,
                    "subject": row.subject,
                    "quantity": row.quantity,
                    "unit": row.unit,
                    "value": row.value,
                    "against": row.against,
                    "reference": row.reference,
                    "difference": row.difference,
                    "difference_percent": row.percent,
                }
                for row in rows(found, reference)
            ],
            "verdicts": [
                {
                    "check": one.check,
                    "subject": one.subject,
                    "model": one.model,
                    "name": one.verdict.name,
                    "verdict": one.verdict.grade.value,
                    "message": one.verdict.message,
                    "criterion": one.verdict.criterion,
                }
                for one in judged(found)
            ],
            "left_out": [
                {
                    "check": left.check.name,
                    "subject": left.subject,
                    "model": left.model,
                    "reason": left.reason,
                }
                for left in found.left_out
            ],
            "remarks": [*notes, *remarks(found)],
            "steps": {"made": len(found.steps) - found.reused, "reused": found.reused},
            "settings": settings,
        }
    )
    return content
