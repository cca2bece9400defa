"""The candidates of ``forcemap select``: those of a settings file, or those offered by the kinds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from forcemap.fitter.checked import Place, load_yaml, mapping, number, schema_of
from forcemap.fitter.config import Settings, term_list
from forcemap.fitter.terms.base import TermSettings
from forcemap.fitter.terms.kinds import SETTINGS
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.quoting import quoted

__all__ = ["Candidate", "Selection", "offered", "schema"]

TARGET = number(above=0, at_most=1e3)
TARGET_TEXT = "eV/Å: wanted force error; the cheapest candidate that reaches it is recommended."
CANDIDATES_TEXT = (
    "lists of terms to compare, with or without names; by default those that kinds offer."
)
EXAMPLE = (
    "candidates: {pairs: [{kind: two_body}], triplets: [{kind: two_body}, {kind: three_body}]}"
)


@dataclass(frozen=True)
class Candidate:
    """Terms to compare with others.

    Attributes:
        name: name in tables, from which that of its settings file derives.
        settings: settings of its fit.
    """

    name: str
    settings: Settings

    @property
    def file(self) -> str:
        """Name of its settings file, in characters that any system accepts."""
        kept = [c if c.isalnum() or c in "+-" else "_" for c in self.name]
        return "".join(kept).replace("__", "_").strip("_") + ".yaml"


@dataclass(frozen=True)
class Selection:
    """The candidates to compare.

    Attributes:
        candidates: at least one candidate.
        target: wanted force error, eV/Å; None without a target.
    """

    candidates: tuple[Candidate, ...]
    target: float | None

    @classmethod
    def read(cls, path: Path) -> Selection:
        """Read a settings file, which may have `candidates` and `target`.

        `candidates` is a list of lists of terms, or a mapping of names to such lists. Without them, the
        candidates are those offered by all kinds, and the file's own terms, if it has any.

        Raises ForcemapError for a file that cannot be used.
        """
        content = load_yaml(path)
        place = Place(str(path), folder=path.parent)
        settings = dict(mapping(content, place, f"data: {{train: train.xyz}}, {EXAMPLE}"))
        target = settings.pop("target", None)
        if target is not None:
            target = TARGET(target, place.key("target"))
        named: dict[str, Any] = {}
        own = settings.pop("terms", None)
        if own is not None:
            named["terms of the file"] = term_list(own, place.key("terms"))
        if "candidates" in settings:
            named |= _candidates(settings.pop("candidates"), place.key("candidates"))
        else:
            named |= offered()
        base = Settings.from_dict(
            {**settings, "terms": next(iter(named.values()))}, path.parent, origin=str(path)
        )
        listed = tuple(Candidate(name, replace(base, terms=terms)) for name, terms in named.items())
        files = [candidate.file.lower() for candidate in listed]
        for n, file in enumerate(files):
            if file in files[:n]:
                raise ForcemapError(
                    f"{path}: candidates: {quoted(listed[n].name)} and "
                    f"{quoted(listed[files.index(file)].name)} would have one file, {file}; give them "
                    "names that differ in letters or digits"
                )
        return cls(listed, target)


def offered() -> dict[str, tuple[TermSettings, ...]]:
    """The candidates offered by all kinds, by name."""
    return {name: terms for kind in SETTINGS.values() for name, terms in kind.offered().items()}


def _candidates(value: Any, place: Place) -> dict[str, tuple[TermSettings, ...]]:
    if isinstance(value, Mapping) and value:
        return {str(name): term_list(terms, place.key(name)) for name, terms in value.items()}
    if not isinstance(value, list) or not value:
        place.fail(f"expected lists of terms, with names or without, such as {{{EXAMPLE}}}")
    named: dict[str, tuple[TermSettings, ...]] = {}
    for n, item in enumerate(value):
        terms = term_list(item, place.item(n))
        name = " + ".join(term.kind for term in terms)
        named[name if name not in named else f"{name}, {n + 1}"] = terms
    return named


def schema() -> dict[str, Any]:
    """The JSON schema of settings files for ``forcemap select``."""
    combined: dict[str, Any] = {**schema_of(Settings), "title": "Settings of forcemap select"}
    lists = {"type": "array", "items": term_list.schema(), "minItems": 1}
    by_name = {"type": "object", "additionalProperties": term_list.schema(), "minProperties": 1}
    combined["properties"] = {
        **combined["properties"],
        "candidates": {"anyOf": [lists, by_name], "description": CANDIDATES_TEXT},
        "target": {**TARGET.schema(), "description": TARGET_TEXT},
    }
    combined["required"] = [name for name in combined["required"] if name != "terms"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **combined}
