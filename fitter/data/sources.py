"""Files of frames: ASE's structures of the selected frames, with their numbers in the file.

Extended XYZ is read frame by frame, with faults named by line; databases and trajectories of ASE by
row and by number; trajectories of CP2K with what stands beside them; any other file (vasprun.xml,
OUTCAR, outputs of Quantum ESPRESSO, ...) as ASE reads it.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from io import StringIO
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from forcemap.fitter.data.comment_line import name_elements, parse_comment, with_hidden_symbols
from forcemap.fitter.data.cp2k_trajectory import COMMENT, cp2k_structures
from forcemap.fitter.data.labels import FrameError, FramePlace
from forcemap.fitter.data.raw_structure import RawStructure
from forcemap.fitter.data.regular_xyz import read_regular
from forcemap.fitter.data.settings import Keys, Source
from forcemap.fitter.data.xyz_faults import (
    fault_of_atoms,
    fault_of_columns,
    fault_of_comment,
    fault_of_truth,
)
from forcemap.fitter.data.xyz_frames import (
    COMPRESSED,
    DAMAGED,
    DamagedFileError,
    XyzFrame,
    check_unpacks,
    open_unpacked,
    reading_faults,
    uncompressed_name,
    xyz_frames,
)
from forcemap.potentials import _core
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.file.file_kind import HEAD_BYTES, kind_of_file, near_name
from forcemap.potentials.quoting import printable

__all__ = ["count_frames", "known_count", "read_raw", "read_structures"]

_READ_FAULTS = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    AssertionError,
    OverflowError,
    RecursionError,
)
"""What ASE's reader of extended XYZ raises on malformed text."""

XYZ_SUFFIXES = (".xyz", ".extxyz")

SINGLE_NUMBERS = ("sigma_energy", "sigma_force", "sigma_stress")
"""Keys of a frame that hold one number, beside the energy."""

AHEAD = 200
"""Frames parsed one after the other before they are checked: alternating frame by frame, parsing and
checking take 1.5 times as long, as neither stays in the processor's caches."""

BY_CONTENT = {
    re.compile(rb"<modeling>"): "vasp-xml",
    re.compile(rb"\A\s*vasp\.\d"): "vasp-out",
}
"""Formats that ASE knows by the names of files only."""

OUTPUT_OF_CP2K = re.compile(rb"^ (DBCSR|CP2K|GLOBAL)\| ", re.MULTILINE)

COLUMNS_OF_DUMP = re.compile(rb"^ITEM: ATOMS (.*)$", re.MULTILINE)

COUNTED = (None, "db", "json", "traj")
"""Formats whose frames are counted without parsing them; None is extended XYZ."""

Wanted = Callable[[int], bool]

Forgive = Callable[[FrameError], None]
"""Takes what is wrong with a frame that cannot be parsed."""


def read_structures(
    source: Source, keys: Keys | None = None, forgive: Forgive | None = None
) -> Iterator[tuple[int, Any]]:
    """ASE's Atoms of the selected frames with their numbers in the file. See `read_raw`."""
    for index, structure in _read(source, keys, forgive):
        yield index, structure.atoms() if isinstance(structure, RawStructure) else structure


def read_raw(
    source: Source, keys: Keys | None = None, forgive: Forgive | None = None
) -> Iterator[tuple[int, RawStructure]]:
    """The selected frames with their numbers in the file, in the selection's order.

    The file is read once, as a stream (twice if `source.index` counts from its end), and only the
    selected frames are parsed. `forgive` is called with faults of single frames, where it is given;
    these frames are left out.

    Raises:
        ForcemapError: the file cannot be read, or its index selects nothing; the text names the file
            and, where they are known, frame and line.
    """
    for index, structure in _read(source, keys, forgive):
        yield index, RawStructure.of(structure)


def _read(source: Source, keys: Keys | None, forgive: Forgive | None) -> Iterator[tuple[int, Any]]:
    """The selected frames as RawStructure or ASE's Atoms, as their reader makes them."""
    read = _reader_of(source.path, keys or Keys(), forgive)
    # An index that counts from the end needs the number of frames.
    known = sum(1 for _ in read(lambda index: False)) if "-" in source.index else sys.maxsize
    selected = range(known)[source.selection(known)]
    backwards: list[tuple[int, Any]] = []
    count = found = 0
    for index, atoms in enumerate(_ahead(read(selected.__contains__))):
        count += 1
        if atoms is None:
            continue
        found += 1
        if isinstance(atoms, FrameError):
            continue
        if len(atoms) == 0:
            FramePlace(str(source.path), index).fail("has no atoms; remove it")
        if selected.step > 0:
            yield index, atoms
        else:
            backwards.append((index, atoms))
    if count == 0:
        raise ForcemapError(f"{source.path}: holds no frames")
    if not found:
        raise ForcemapError(
            f'{source.path}: index "{source.index}" selects none of its {count} frames '
            f"(0 to {count - 1})"
        )
    yield from reversed(backwards)


def count_frames(source: Source) -> int:
    """Number of the selected frames; none of them is parsed. Raises ForcemapError as reading does."""
    read = _reader_of(source.path, Keys())
    known = sum(1 for _ in read(lambda index: False))
    return len(range(known)[source.selection(known)])


def known_count(sources: Iterable[Source]) -> int | None:
    """Number of the selected frames of all sources; None if counting would take as long as reading.

    Raises ForcemapError as reading does.
    """
    sources = tuple(sources)
    for source in sources:
        if not os.path.isdir(source.path):
            with reading_faults(source.path, lambda: "from its beginning"):
                if _format_of(source.path) not in COUNTED:
                    return None
    return sum(count_frames(source) for source in sources)


def _ahead(items: Iterator[Any]) -> Iterator[Any]:
    """The same items, made AHEAD at a time."""
    some: list[Any] = []
    while True:
        try:
            for item in islice(items, AHEAD):
                some.append(item)
        except ForcemapError:
            yield from some
            raise
        if not some:
            return
        yield from some
        some = []


def _reader_of(
    path: Path, keys: Keys, forgive: Forgive | None = None
) -> Callable[[Wanted], Iterator[Any]]:
    """The reader for this kind of file: yields all frames in their order, None for those not wanted.

    Of a frame whose fault is forgiven it yields the error.
    """
    if os.path.isdir(path):
        raise ForcemapError(
            f'{path}: is a folder, expected a file of frames; a pattern such as "{path / "*.xyz"}" '
            "names the files in it"
        )
    with reading_faults(path, lambda: "from its beginning"):
        kind = _format_of(path)
    if kind is None and _is_of_cp2k(path):
        return lambda wanted: cp2k_structures(path, wanted)
    if kind is None:
        scalars = {keys.energy or "energy", *SINGLE_NUMBERS}
        return lambda wanted: _from_xyz(path, wanted, scalars, forgive)
    read = {"db": _database, "json": _database, "traj": _trajectory}.get(kind, _other)
    return lambda wanted: _named_faults(path, kind, _unpacking(read, path, kind, wanted))


def _format_of(path: Path) -> str | None:
    """ASE's name of the format; None for extended XYZ and for unknown formats."""
    from ase.io.formats import UnknownFileTypeError, filetype

    if Path(uncompressed_name(path)).suffix.lower() in XYZ_SUFFIXES:
        return None
    if not os.path.lexists(path):
        raise ForcemapError(f"{path}: no such file{near_name(path)}")
    if kind_of_file(path) == "not a regular file":
        raise ForcemapError(f"{path}: is not a regular file")
    with open_unpacked(path) as file:
        try:
            head = file.peek(HEAD_BYTES)[:HEAD_BYTES]
            kind = _core.describe_content(head)
        except DAMAGED:
            return None  # the reader of text names the fault
    if "SQLite" in kind:
        return "db"
    for pattern, name in BY_CONTENT.items():
        if pattern.search(head):
            return name
    if OUTPUT_OF_CP2K.search(head):
        raise ForcemapError(
            f"{path}: is an output of CP2K, which ASE does not read; give its trajectory "
            "NAME-pos-1.xyz, with NAME-frc-1.xyz (MOTION: PRINT: FORCES) and NAME-1.cell beside it"
        )
    if "forcemap" in kind or "XYZ" in kind or "YAML" in kind or "UTF-16" in kind:
        return None
    try:
        found = str(filetype(str(path.absolute()), guess=False))
    except (UnknownFileTypeError, *DAMAGED):
        return None
    if found.startswith("lammps-dump"):
        _check_elements_of_dump(path, head)
    return None if found in ("xyz", "extxyz") else found


def _check_elements_of_dump(path: Path, head: bytes) -> None:
    """Refuse a dump of LAMMPS whose atoms have types only, which ASE would take for atomic numbers."""
    columns = COLUMNS_OF_DUMP.search(head)
    if columns is None or not {b"element", b"mass"} & set(columns[1].split()):
        raise ForcemapError(
            f"{path}: is a dump of LAMMPS without elements; write it with 'dump ID all custom N FILE "
            "id element x y z' and 'dump_modify ID element Si', with the element of each atom type"
        )


def _is_of_cp2k(path: Path) -> bool:
    """Whether a file of frames begins as the trajectories of CP2K."""
    try:
        with open_unpacked(path) as file:
            lines = file.peek(HEAD_BYTES)[:HEAD_BYTES].decode("utf-8", "replace").splitlines()
    except (ForcemapError, *DAMAGED):
        return False  # the reader of text names the fault
    return len(lines) > 2 and bool(COMMENT.fullmatch(lines[1]))


# ----- extended XYZ -----


def _from_xyz(
    path: Path, wanted: Wanted, scalars: set[str], forgive: Forgive | None
) -> Iterator[Any]:
    isotopes = False
    try:
        for index, frame in enumerate(xyz_frames(path, wanted)):
            if frame is None:
                yield None
                continue
            regular = read_regular(frame)
            if regular is not None:
                yield regular
                continue
            try:
                atoms, has_isotopes = _atoms(frame, FramePlace(str(path), index), scalars)
            except FrameError as error:
                if forgive is None:
                    raise
                forgive(error)
                yield error
                continue
            isotopes |= has_isotopes
            yield atoms
    except DamagedFileError:
        raise
    except ForcemapError:
        check_unpacks(path)
        raise
    if isotopes:
        warnings.warn(
            f"{path}: D and T are read as H: energies do not depend on masses", stacklevel=6
        )


def _atoms(frame: XyzFrame, place: FramePlace, scalars: set[str]) -> tuple[Any, bool]:
    """ASE's Atoms of a frame's text, and whether isotopes are among them."""
    from ase.io.extxyz import read_xyz

    fault = fault_of_comment(frame, scalars)
    if fault:
        place.fail(fault)
    info: dict[str, Any] = {}
    try:
        info = parse_comment(frame.comment) if frame.comment else {}
        fault = fault_of_columns(frame, info) or fault_of_truth(frame, info)
        if fault:
            place.fail(fault)
        read = read_xyz(
            StringIO(frame.text), properties_parser=lambda line: with_hidden_symbols(info)
        )
        atoms = next(iter(read))
        return atoms, name_elements(atoms)
    except _READ_FAULTS as error:
        fault = fault_of_comment(frame, scalars, whole=True) or fault_of_atoms(frame, info)
        reason = f"{type(error).__name__}: {printable(error, 200)}"
        place.fail(fault or f"line {frame.line}: cannot be read as extended XYZ: {reason}")


# ----- what else ASE reads -----


def _named_faults(path: Path, kind: str, frames: Iterator[Any]) -> Iterator[Any]:
    """The frames; errors of the reader become a ForcemapError that names file and frame."""
    index = 0
    while True:
        try:
            atoms = next(frames)
        except StopIteration:
            if index == 0:
                raise ForcemapError(f"{path}: holds no frames (read as {kind})") from None
            return
        except ForcemapError:
            raise
        except Exception as error:  # ASE's readers raise exceptions of any kind
            reason = printable(str(error) or type(error).__name__, 200)
            FramePlace(str(path), index).fail(f"cannot be read as {kind}: {reason}")
        yield atoms
        index += 1


def _unpacking(
    read: Callable[[Path, str, Wanted], Iterator[Any]], path: Path, kind: str, wanted: Wanted
) -> Iterator[Any]:
    """The frames; a compressed file that ASE cannot unpack is unpacked to a temporary one."""
    if path.suffix.lower() not in COMPRESSED or read is _other:
        yield from read(path, kind, wanted)
        return
    with TemporaryDirectory() as folder:
        whole = Path(folder) / uncompressed_name(path)
        with (
            reading_faults(path, lambda: "somewhere"),
            open_unpacked(path) as packed,
            whole.open("wb") as file,
        ):
            shutil.copyfileobj(packed, file)
        yield from read(whole, kind, wanted)


def _trajectory(path: Path, kind: str, wanted: Wanted) -> Iterator[Any]:
    from ase.io.trajectory import TrajectoryReader

    with closing(TrajectoryReader(str(path))) as frames:
        for index in range(len(frames)):
            yield frames[index] if wanted(index) else None


def _database(path: Path, kind: str, wanted: Wanted) -> Iterator[Any]:
    """Rows by their ids; their key-value pairs are keys of the frame, as in a comment."""
    import ase.db

    database = ase.db.connect(str(path), type=kind, serial=True)
    for index, row in enumerate(database.select()):
        if not wanted(index):
            yield None
            continue
        try:
            atoms = row.toatoms()
        except Exception as error:
            reason = printable(str(error) or type(error).__name__, 200)
            FramePlace(str(path), index).fail(f"row {row.id} cannot be read: {reason}")
        atoms.info.update(row.key_value_pairs)
        yield atoms


def _other(path: Path, kind: str, wanted: Wanted) -> Iterator[Any]:
    from ase.io import iread

    frames = iread(
        str(path.absolute()), ":", format=kind, parallel=False, do_not_split_by_at_sign=True
    )
    said: set[str] = set()
    index = 0
    while True:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            atoms = next(frames, None)
        # Of ASE's warnings those that a user can do something about, with the file they belong to.
        texts = [" ".join(str(w.message).split()) for w in caught if w.category is UserWarning]
        for text in dict.fromkeys(texts):
            if text not in said:
                warnings.warn(f"{path}: ASE says: {text}", stacklevel=2)
        said.update(texts)
        if atoms is None:
            return
        yield atoms if wanted(index) else None
        index += 1
