"""Trajectories of CP2K, which no format of ASE reads with labels.

CP2K writes NAME-pos-1.xyz, whose comments give step, time (fs) and potential energy (Hartree), and
where its input asks for them NAME-frc-1.xyz with forces (Hartree/bohr) and NAME-1.cell; NAME-1.restart
holds the cell, too (manual.cp2k.org, MOTION/PRINT).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from forcemap.fitter.data.labels import FramePlace
from forcemap.fitter.data.raw_structure import RawStructure
from forcemap.fitter.data.regular_xyz import read_regular
from forcemap.fitter.data.xyz_faults import DEFAULT_PROPERTIES, fault_of_atoms
from forcemap.fitter.data.xyz_frames import XyzFrame, uncompressed_name, xyz_frames
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.quoting import quoted
from numpy.typing import NDArray

__all__ = ["COMMENT", "cp2k_structures"]

Array = NDArray[np.float64]

COMMENT = re.compile(r"\s*i =\s*(\d+),(?: time =\s*\S+,)? E =\s*([-+.\dEe]+)\s*")
"""The comment of a frame; other runs than dynamics have no time."""

_CELL = re.compile(r"&CELL\b(.*?)&END CELL\b", re.DOTALL)
_VECTOR = re.compile(r"^\s*([ABC])((?:\s+[-+.\dEe]+){3})\s*$", re.MULTILINE)

CELL_COLUMNS = 11
"""Step, time and the nine components of the cell's vectors; the volume follows."""


@dataclass(frozen=True)
class _Cells:
    """Cells by step; one cell for all steps, or none."""

    file: Path | None = None
    of_steps: dict[int, Array] | None = None
    of_all: Array | None = None

    def at(self, step: int, place: FramePlace) -> Array | None:
        """The cell at a step; None if the run has none that is known."""
        if self.of_steps is None:
            return self.of_all
        if step not in self.of_steps:
            place.fail(f"is of step {step}, of which {self.file} has no cell")
        return self.of_steps[step]


def cp2k_structures(path: Path, wanted: Callable[[int], bool]) -> Iterator[RawStructure | None]:
    """The frames of NAME-pos-1.xyz with energies (eV), forces (eV/Å) and cells; None if not wanted.

    Warns (UserWarning) about what is read from where.

    Raises:
        ForcemapError: a file cannot be read, or frames of positions and forces differ.
    """
    forces_path = _beside(path, "-frc-", ".xyz")
    cells = _read_cells(path)
    said = False
    others = iter(()) if forces_path is None else xyz_frames(forces_path, wanted)
    for index, frame in enumerate(xyz_frames(path, wanted)):
        place = FramePlace(str(path), index)
        other = None if forces_path is None else next(others, None)
        if frame is None:
            yield None
            continue
        if forces_path is not None and other is None:
            place.fail(f"has no forces: {forces_path} ends before it")
        if not said:
            _say(path, forces_path, cells)
            said = True
        yield _structure(frame, other, forces_path, cells, place)


def _structure(
    frame: XyzFrame,
    other: XyzFrame | None,
    other_path: Path | None,
    cells: _Cells,
    place: FramePlace,
) -> RawStructure:
    from ase.units import Bohr, Hartree

    raw, step, energy = _parsed(frame, place)
    cell = cells.at(step, place)
    if cell is not None:
        raw.cell, raw.pbc = cell, np.ones(3, dtype=bool)
    results = {"energy": energy * Hartree}
    if other is not None:
        forces, step_of_forces, _ = _parsed(other, FramePlace(str(other_path), place.index))
        if step_of_forces != step or not np.array_equal(forces.numbers, raw.numbers):
            place.fail(
                f"is of step {step}; the frame of {other_path} in its place is of step "
                f"{step_of_forces}, or of other atoms"
            )
        results["forces"] = forces.positions * (Hartree / Bohr)
    raw.info, raw.results = {}, results
    return raw


def _parsed(frame: XyzFrame, place: FramePlace) -> tuple[RawStructure, int, float]:
    """The columns of a frame as a structure, its step and its number E."""
    comment = COMMENT.fullmatch(frame.comment)
    if comment is None:
        place.fail(
            f"line {frame.line + 1}: {quoted(frame.comment)} is no comment of CP2K, as the first is"
        )
    raw = read_regular(XyzFrame(frame.line, f"Properties={DEFAULT_PROPERTIES}", frame.atoms))
    if raw is None:
        fault = fault_of_atoms(frame, {}) or f"line {frame.line}: cannot be read as lines of atoms"
        place.fail(fault)
    return raw, int(comment[1]), float(comment[2])


def _beside(path: Path, word: str, ending: str) -> Path | None:
    """NAME, `word` and number of the run in place of -pos-; None where there is no such file."""
    name = uncompressed_name(path)
    found = re.fullmatch(r"(.*)-pos-(\d+)\.xyz", name)
    if found is None:
        return None
    for suffix in ("", path.suffix) if name != path.name else ("",):
        other = path.with_name(f"{found[1]}{word}{found[2]}{ending}{suffix}")
        if other.exists():
            return other
    return None


def _read_cells(path: Path) -> _Cells:
    table = _beside(path, "-", ".cell")
    if table is not None:
        return _Cells(table, _cells_of_steps(table))
    restart = _beside(path, "-", ".restart")
    if restart is None:
        return _Cells()
    return _Cells(restart, of_all=_cell_of_restart(restart))


def _cell_of_restart(restart: Path) -> Array:
    """The vectors A, B and C of its section CELL, which CP2K writes in Å."""
    # ASE's reader of these files does not end where a section is not closed.
    text = restart.read_text(encoding="utf-8", errors="replace")
    section = _CELL.search(text)
    vectors = dict(_VECTOR.findall(section[1])) if section else {}
    try:
        return np.array([[float(word) for word in vectors[name].split()] for name in "ABC"])
    except (KeyError, ValueError):
        raise ForcemapError(
            f"{restart}: has no section CELL with vectors A, B and C in Å; repair or remove the file"
        ) from None


def _cells_of_steps(table: Path) -> dict[int, Array]:
    cells = {}
    text = table.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            values = [float(word) for word in words[:CELL_COLUMNS]]
            cells[int(words[0])] = np.array(values[2:]).reshape(3, 3)
        except ValueError:
            raise ForcemapError(
                f"{table}: line {number}: expected a step, a time and nine components of a cell, found "
                f"{quoted(line.strip())}"
            ) from None
    return cells


def _say(path: Path, forces: Path | None, cells: _Cells) -> None:
    of_forces = "no forces as there is no NAME-frc-1.xyz beside it"
    if forces is not None:
        of_forces = f"forces (Hartree/bohr) from {forces.name}"
    of_cells = "no cells, as for clusters, as there is no NAME-1.cell or NAME-1.restart"
    if cells.file is not None:
        of_cells = f"cells from {cells.file.name}"
    warnings.warn(
        f"{path}: is read as a trajectory of CP2K: energies (Hartree) from its comments, {of_forces}, "
        f"{of_cells}; no stresses are read",
        stacklevel=8,
    )
