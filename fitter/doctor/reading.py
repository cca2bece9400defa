"""Reads data as a fit does, but to the end: faults of files and frames become findings."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.frame_sigmas import FrameSigmas, warn_of_unread
from forcemap.fitter.data.label_keys import LabelNames, read_keys
from forcemap.fitter.data.labels import FrameError, FramePlace, Labels, NotFiniteError
from forcemap.fitter.data.settings import Keys, SigmaSettings, Source
from forcemap.fitter.data.sources import known_count, read_structures
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.doctor.finding import Correction, Finding, Place, Severity
from forcemap.fitter.sharing.run import Run
from forcemap.potentials.errors import ForcemapError

__all__ = ["SourceReading", "collected_warnings", "read_data"]

IN_PLACE = 0.1
"""Å; range of the search for atoms that are in the same place."""

UNUSED = ("so none is used", "so none of them is used")
"""Words of the reader's warnings about a label that no frame, or not every frame, gives to the fit."""


@dataclass
class SourceReading:
    """What one file gave.

    Attributes:
        source: the file and the selection of its frames.
        frames: those that can be used, in the selection's order.
        names: where their labels stand; None if the file cannot be read at all.
        findings: what kept frames or labels from being read.
        open_stresses: frames with a stress that are not periodic in all directions.
    """

    source: Source
    frames: list[Frame] = field(default_factory=list)
    names: LabelNames | None = None
    findings: list[Finding] = field(default_factory=list)
    open_stresses: list[Place] = field(default_factory=list)

    @property
    def path(self) -> str:
        """The file, as findings name it."""
        return str(self.source.path)


def read_data(
    sources: Iterable[Source], keys: Keys, sigma: SigmaSettings, run: Run
) -> list[SourceReading]:
    """Read all files; whatever is wrong with them is among the findings."""
    readings = []
    for source in sources:
        count = partial(known_count, [source])
        with run.stage(f"reading {source.path.name}", count) as advance:
            readings.append(_read(source, keys, sigma, advance))
    return readings


def _read(source: Source, keys: Keys, sigma: SigmaSettings, advance: Any) -> SourceReading:
    reading = SourceReading(source)
    faults = _Faults(reading)
    structures: list[tuple[int, Any]] = []
    with collected_warnings() as said:
        try:
            for index, atoms in read_structures(source, keys, faults.of_frame):
                structures.append((index, atoms))
                advance()
        except ForcemapError as error:
            faults.of_file(error, len(structures))
    if structures:
        with collected_warnings() as more:
            reading.names = _names(reading, structures, keys)
        _read_frames(reading, structures, sigma, faults)
        said += more
    reading.findings += faults.findings() + [_of_warning(reading, text) for text in said]
    return reading


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Collects the texts of UserWarnings, which the reader would show."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield texts
    texts += dict.fromkeys(str(warning.message) for warning in caught)


def _names(
    reading: SourceReading, structures: list[tuple[int, Any]], keys: Keys
) -> LabelNames | None:
    """Where the labels stand, as a fit decides it; if it refuses, as other commands do."""
    path = reading.path
    try:
        names = read_keys(path, structures, keys, strict=True)
        warn_of_unread(path, [atoms for _, atoms in structures], names.spelled)
        return names
    except ForcemapError as error:
        text = str(error).removeprefix(f"{path}: ")
        reading.findings.append(
            Finding(
                "labels-refused",
                Severity.WRONG,
                f"{path}: {text}",
                "Name the labels' keys with --keys (in settings under data: keys:), or give all frames "
                "the same names",
            )
        )
    with collected_warnings():
        try:
            return read_keys(path, structures, keys, strict=False)
        except ForcemapError:
            return None


def _read_frames(
    reading: SourceReading,
    structures: Iterable[tuple[int, Any]],
    sigma: SigmaSettings,
    faults: _Faults,
) -> None:
    names = reading.names or LabelNames((), (), (), ())
    sigmas = FrameSigmas(sigma, names.spelled)
    for index, atoms in structures:
        place = FramePlace(reading.path, index)
        labels = Labels(atoms, names, place)
        try:
            frame = labels.frame(sigmas, faults.of_label)
        except FrameError as error:
            faults.of_frame(error)
            continue
        try:
            Structure(frame, IN_PLACE)
        except ForcemapError as error:
            faults.of_structure(index, str(error))
            continue
        reading.frames.append(frame)
        if labels.has_stress and not atoms.pbc.all():
            reading.open_stresses.append(Place(reading.path, index))


def _of_warning(reading: SourceReading, text: str) -> Finding:
    unused = any(words in text for words in UNUSED)
    # A file without any key that may be the label is another matter: partial labels.
    lost = unused and "nothing in this file may be it" not in text
    return Finding(
        "labels-unread" if unused or "not read" in text else "as-read",
        Severity.WRONG if lost else Severity.DOUBT if unused else Severity.NOTE,
        text,
        "Name the keys with --keys (in settings under data: keys:) if they are meant"
        if lost
        else "",
    )


class _Faults:
    """Faults of the frames of one file, gathered to one finding of each kind."""

    def __init__(self, reading: SourceReading) -> None:
        self._path = reading.path
        self._kinds: dict[tuple[str, str], list[tuple[int, str]]] = {}
        self._whole: list[Finding] = []

    def of_file(self, error: ForcemapError, count: int) -> None:
        """The file ends, for us, with this error."""
        read = f"the {count} frames before it are examined" if count else "nothing is examined"
        self._whole.append(
            Finding(
                "file-unreadable",
                Severity.WRONG,
                f"{error} ({read})",
                "Mend the file there; what follows cannot be read",
                (Place(error.file, error.index),) if isinstance(error, FrameError) else (),
            )
        )

    def of_frame(self, error: FrameError) -> None:
        """The frame cannot be used."""
        self._add("frame-unusable", "", error.index, error.fault)

    def of_structure(self, index: int, fault: str) -> None:
        """The frame's structure cannot be used."""
        kind = "atoms-on-top" if "in the same place" in fault else "frame-unusable"
        self._add(kind, "", index, fault)

    def of_label(self, label: str, error: FrameError) -> None:
        """The frame goes without a label."""
        kind = "label-not-finite" if isinstance(error, NotFiniteError) else "label-unusable"
        self._add(kind, label, error.index, error.fault)

    def _add(self, kind: str, label: str, index: int, fault: str) -> None:
        self._kinds.setdefault((kind, label), []).append((index, fault))

    def findings(self) -> list[Finding]:
        """One for each kind of fault."""
        return self._whole + [self._finding(*key, faults) for key, faults in self._kinds.items()]

    def _finding(self, kind: str, label: str, faults: list[tuple[int, str]]) -> Finding:
        index, text = faults[0]
        count = f"{len(faults)} frames, the first is" if len(faults) > 1 else "one frame,"
        what, cure = _WORDS[kind]
        return Finding(
            kind,
            Severity.WRONG,
            f"{self._path}: {what.format(label=label)} ({count} frame {index}): {text}",
            cure.format(label=label),
            tuple(Place(self._path, number) for number, _ in faults),
            {"frames": len(faults), "label": label or None},
            # Frames as they were read go without the label already; others are not there at all.
            Correction(f"{label} removed" if label else "left out", lambda frame: frame),
        )


_WORDS: Mapping[str, tuple[str, str]] = {
    "frame-unusable": (
        "cannot be used",
        "Correct or remove the frame; the correction with --fix leaves it out",
    ),
    "atoms-on-top": (
        "atoms are on top of each other",
        "Remove one of the atoms, or the frame; the correction with --fix leaves it out",
    ),
    "label-not-finite": (
        "{label} with numbers that are not finite",
        "Remove the {label} or the frame: the calculation failed",
    ),
    "label-unusable": ("{label} that cannot be read", "Correct or remove the {label}"),
}
"""By kind of fault, what is wrong and the cure."""
