"""Writes a copy of the data with the corrections that are certain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from forcemap.fitter.data.comment_line import PRIVATE_PREFIX
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.frame_sigmas import MASK
from forcemap.fitter.data.label_keys import FREE_ENERGY, LabelNames
from forcemap.fitter.data.settings import Keys
from forcemap.fitter.data.sources import read_structures
from forcemap.fitter.doctor.case import Case
from forcemap.fitter.doctor.finding import Finding, Place
from forcemap.fitter.doctor.reading import SourceReading
from forcemap.fitter.doctor.show import frames_text
from forcemap.fitter.sharing.whole_file import replacing

__all__ = ["corrections", "write_corrected"]

STANDARD = ("energy", "forces", "stress")
"""Names under which the copy has its labels."""


def corrections(findings: Sequence[Finding]) -> list[Finding]:
    """The findings that a copy can be mended of."""
    return [finding for finding in findings if finding.correction is not None]


def write_corrected(
    path: Path, case: Case, findings: Sequence[Finding], keys: Keys | None = None
) -> list[str]:
    """Write the frames to fit with all corrections to `path`, as extended XYZ; say what was done.

    The file is written whole or not at all. Frames that cannot be used are left out. Labels stand under
    the names energy, forces and stress, whatever they are called in the files. Raises ForcemapError if
    it cannot be written.
    """
    from ase.io.extxyz import write_xyz

    mended = _mended(case, findings)
    if not mended:
        return [f"{path}: no frame can be used, so none is written"]
    count = 0
    stage = case.run.stage("writing", len(case.train_frames))
    with stage as advance, replacing(path) as part, part.open("w", encoding="utf-8") as file:
        for reading in case.train:
            for atoms in _copies(reading, mended, keys):
                write_xyz(file, [atoms])
                count += 1
                advance()
    return [
        f"{path}: {count} frames written",
        *_said(case, findings, len(case.train_frames) - count),
    ]


def _mended(case: Case, findings: Sequence[Finding]) -> dict[Place, Frame]:
    """The frames to fit after all corrections; those that are left out are missing."""
    frames: dict[Place, Frame] = {
        Place(frame.source, frame.index): frame for frame in case.train_frames
    }
    for finding in corrections(findings):
        assert finding.correction is not None
        for place in finding.frames or tuple(frames):
            if place not in frames:
                continue
            mended = finding.correction.change(frames[place])
            if mended is None:
                del frames[place]
            else:
                frames[place] = mended
    return frames


def _said(case: Case, findings: Sequence[Finding], left_out: int) -> list[str]:
    lines = []
    train = {reading.path for reading in case.train}
    for finding in corrections(findings):
        assert finding.correction is not None
        places = tuple(place for place in finding.frames if place.source in train)
        if places or not finding.frames:
            where = frames_text(places) if places else "all frames"
            lines.append(f"{finding.name}: {finding.correction.text} ({where})")
    for reading in case.train:
        lines += [f"{reading.path}: {text}" for text in _renamed(reading.names)]
    if left_out:
        lines.append(f"{left_out} of the frames that could be read are left out")
    return lines or ["nothing was changed"]


def _renamed(names: LabelNames | None) -> Iterator[str]:
    """What labels are called in the file, where it is not what they are called in the copy."""
    if names is None:
        return
    for label, keys in (
        ("energy", names.energy),
        ("forces", names.forces),
        ("stress", names.stress),
        ("stress", names.virial),
    ):
        other = [key for key in keys if key != label]
        if other:
            yield f"{' and '.join(other)} written as {label}"


# ----- a frame with its labels under the standard names -----


def _copies(
    reading: SourceReading, mended: Mapping[Place, Frame], keys: Keys | None
) -> Iterator[Any]:
    names = reading.names or LabelNames((), (), (), ())
    forgive: Callable[[Any], None] = lambda error: None  # noqa: E731
    usable = {frame.index for frame in reading.frames}
    originals = {frame.index: frame for frame in reading.frames}
    if not usable:
        return
    last = max(usable)
    for index, atoms in read_structures(reading.source, keys, forgive):
        frame = mended.get(Place(reading.path, index))
        if frame is not None:
            yield _atoms(atoms, names, originals[index], frame)
        if index == last and "-" not in reading.source.index:
            return  # what follows may be what could not be read


def _atoms(atoms: Any, names: LabelNames, before: Frame, after: Frame) -> Any:
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.stress import full_3x3_to_voigt_6_stress

    labels = {*names.energy, *names.forces}
    if all(after.pbc):
        labels |= {*names.stress, *names.virial}
    if before.energy != after.energy:
        labels.add(FREE_ENERGY)
    masks = {*names.spelled.get(MASK, ()), MASK}
    copy = Atoms(after.numbers, after.positions, cell=after.cell, pbc=after.pbc)
    for key, value in atoms.info.items():
        name = str(key).removeprefix(PRIVATE_PREFIX)
        if name not in labels:
            copy.info[name] = value
    for key, value in atoms.arrays.items():
        if key not in {"numbers", "positions"} | labels | masks:
            copy.set_array(key, np.array(value))
    if after.force_mask is not None:
        copy.set_array(MASK, after.force_mask)
    results = {} if atoms.calc is None else dict(atoms.calc.results)
    results = {
        key: value for key, value in results.items() if key not in labels and value is not None
    }
    for name in STANDARD:
        value = getattr(after, name)
        if value is not None:
            copy.info.pop(name, None)
            results[name] = full_3x3_to_voigt_6_stress(value) if name == "stress" else value
    copy.calc = SinglePointCalculator(copy, **results)
    return copy
