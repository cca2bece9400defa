"""What an examination of data finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from forcemap.fitter.data.frame import Frame

__all__ = ["Correction", "Finding", "Place", "Severity", "places_of"]


class Severity(Enum):
    """How much a finding matters."""

    WRONG = "wrong"
    """A fit to these data would be wrong: the exit code is 1."""

    DOUBT = "doubt"
    """A fit may be worse than it need be; the user decides."""

    NOTE = "note"
    """Good to know; includes what cannot be told from these data."""


@dataclass(frozen=True, order=True)
class Place:
    """A frame: the file and its number there, from 0."""

    source: str
    index: int


@dataclass(frozen=True)
class Correction:
    """What ``check --fix`` does about a finding; only where it is certain.

    Attributes:
        text: what is done, in the past tense, without a subject: "stress multiplied by -1".
        change: returns a frame with its mended structure or labels (`dataclasses.replace`), or None to
            leave it out of the copy. It is called for the finding's frames only, all if it names none.
    """

    text: str
    change: Callable[[Frame], Frame | None]


@dataclass(frozen=True)
class Finding:
    """One fault, doubt or fact about the data.

    Attributes:
        name: stable, for programs and tests: words in lower case with hyphens, "stress-sign".
        severity: how much it matters.
        message: a sentence with its figure, and the error bar where there is one.
        cure: what to do, in the imperative; empty for notes that need nothing.
        frames: the frames concerned, in their order; empty where all are.
        figures: the numbers of the message by name, for ``--json``.
        correction: how a copy is mended; None where that is not certain.
    """

    name: str
    severity: Severity
    message: str
    cure: str = ""
    frames: tuple[Place, ...] = ()
    figures: dict[str, Any] | None = None
    correction: Correction | None = None


def places_of(frames: Sequence[Frame]) -> tuple[Place, ...]:
    """The places of frames."""
    return tuple(Place(frame.source, frame.index) for frame in frames)
