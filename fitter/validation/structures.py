"""The crystals to check: from the settings, the training frames, or the elements' usual lattices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from forcemap.fitter.checked import Place
from forcemap.fitter.data.combinations import formula_of
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.units import GPA
from forcemap.fitter.doctor.vacuum import vacuum_of
from forcemap.fitter.validation.check import Subject
from forcemap.fitter.validation.settings import StructureSettings
from forcemap.fitter.validation.symmetry import (
    conventional,
    is_installed,
    primitive_size,
    symmetry_of,
)
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.quoting import printable

if TYPE_CHECKING:
    from ase import Atoms

__all__ = [
    "atoms_of",
    "atoms_of_frame",
    "crystals_of_frames",
    "crystals_of_settings",
    "data_of",
    "frames_like",
    "lowest_frame",
    "name_of",
    "usual_crystals",
]

AT_REST = 0.05
"""eV/Å; a crystal whose forces are all smaller is at rest."""

HYDROSTATIC = 0.5
"""GPa; a crystal whose stress differs by less from a pressure is not strained."""

NEAR = 0.6
"""eV per atom above the lowest frame of the composition; what is higher is no phase of interest."""

LARGEST = 24
"""Atoms in the primitive cell of a crystal from frames."""

MOST = 6
"""Crystals from frames."""

PRECISIONS = (0.01, 0.1, 0.3, 0.6)
"""Å; displacements that the symmetry of a frame is seen through, tried in this order; the larger ones
are for thermal frames."""


def data_of(atoms: Atoms) -> dict[str, Any]:
    """A structure as plain values."""
    return {
        "numbers": atoms.numbers.tolist(),
        "positions": atoms.positions.tolist(),
        "cell": atoms.cell.array.tolist(),
        "pbc": atoms.pbc.tolist(),
    }


def atoms_of(data: Mapping[str, Any]) -> Atoms:
    """The structure that `data_of` was given."""
    from ase import Atoms

    return Atoms(**data)


def atoms_of_frame(frame: Frame) -> Atoms:
    """The structure of a frame."""
    from ase import Atoms

    return Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)


def lowest_frame(frames: Sequence[Frame]) -> Atoms | None:
    """The frame of the lowest energy per atom among periodic ones without vacuum; None without any."""
    whole = [f for f in frames if f.pbc.all() and f.energy is not None and vacuum_of(f) is None]
    return atoms_of_frame(min(whole, key=_energy)) if whole else None


def _subjects(named: Iterable[tuple[str, Atoms]]) -> list[Subject]:
    """Subjects whose names differ."""
    found: list[Subject] = []
    for name, atoms in named:
        taken = [subject.name for subject in found]
        count = 2
        unique = name
        while unique in taken:
            unique, count = f"{name} ({count})", count + 1
        found.append(Subject(unique, data_of(atoms), atoms))
    return found


# ----- the settings' -----


def crystals_of_settings(
    given: Sequence[StructureSettings], species: Sequence[str], origin: str
) -> list[Subject]:
    """Crystals as the settings have them.

    Raises ForcemapError for one that cannot be made, or that has elements unknown to the potential.
    """
    named = []
    for number, one in enumerate(given):
        place = Place(origin, f"structures[{number}]")
        atoms = _read(one, place) if one.file else _built(one, place)
        strange = sorted(set(atoms.get_chemical_symbols()) - set(species))
        if strange:
            place.fail(f"holds {', '.join(strange)}; the potential knows {', '.join(species)}")
        if not atoms.pbc.all():
            place.fail("is not periodic in three directions, as crystals are")
        name = one.name or (f"{one.formula} {one.lattice}" if one.lattice else name_of(atoms))
        named.append((name, atoms))
    names = [name for name, _ in named]
    for number, name in enumerate(names):
        if name in names[:number]:
            Place(origin, f"structures[{number}]").fail(
                f'has the same name as another crystal, "{printable(name, 60)}"; give it a name'
            )
    return _subjects(named)


def _read(one: StructureSettings, place: Place) -> Atoms:
    from ase.io import read

    assert one.file is not None
    if not one.file.is_file():
        place.key("file").fail(f"{one.file}: no such file")
    try:
        return read(one.file, index=one.index)
    except Exception as error:  # ASE's readers raise anything
        place.key("file").fail(
            f"{one.file}: frame {one.index} cannot be read: {type(error).__name__}: "
            f"{printable(error, 200)}"
        )


def _built(one: StructureSettings, place: Place) -> Atoms:
    from ase.build import bulk
    from ase.data import covalent_radii
    from ase.formula import Formula

    assert one.lattice is not None
    assert one.formula is not None
    lengths = {"a": one.a, "c": one.c}
    try:
        symbols = list(Formula(one.formula))
        radii = [covalent_radii[SYMBOLS.index(symbol)] for symbol in symbols]
        if one.a is None:
            lengths["a"] = _LENGTHS[one.lattice] * 2.0 * float(np.mean(radii))
        cubic = one.lattice not in ("hcp", "wurtzite", "sc", "cesiumchloride")
        return bulk(one.formula, one.lattice, cubic=cubic, **lengths)
    except (ValueError, RuntimeError, KeyError) as error:
        place.fail(f"{one.formula} {one.lattice} cannot be built: {printable(error, 200)}")


_LENGTHS = {
    "sc": 1.0,
    "fcc": 2.0**0.5,
    "bcc": 2.0 / 3.0**0.5,
    "hcp": 1.0,
    "diamond": 4.0 / 3.0**0.5,
    "zincblende": 4.0 / 3.0**0.5,
    "rocksalt": 2.0,
    "cesiumchloride": 2.0 / 3.0**0.5,
    "fluorite": 4.0 / 3.0**0.5,
    "wurtzite": (8.0 / 3.0) ** 0.5,
}
"""Lattice constants over the distance of neighbours."""


# ----- the elements' -----


def usual_crystals(species: Sequence[str]) -> tuple[list[Subject], list[str]]:
    """The elements' lattices at room temperature, and sentences on those that have none here.

    The lattices are those of `ase.data.reference_states`.
    """
    from ase.build import bulk
    from ase.data import reference_states

    named, remarks = [], []
    for symbol in species:
        state = reference_states[SYMBOLS.index(symbol)] or {}
        lattice = state.get("symmetry")
        if lattice not in ("fcc", "bcc", "hcp", "diamond", "sc"):
            remarks.append(
                f"{symbol} is left out of the checks of crystals: its usual state "
                f"({lattice or 'unknown'}) is no simple lattice; name its crystal under "
                "structures: in the settings"
            )
            continue
        named.append(
            (f"{symbol} {lattice}", bulk(symbol, cubic=lattice in ("fcc", "bcc", "diamond")))
        )
    return _subjects(named), remarks


# ----- the training frames' -----


def crystals_of_frames(frames: Sequence[Frame]) -> list[Subject]:
    """The crystals among frames: of each composition and space group the one of lowest energy.

    Frames at rest under a pressure are taken first; where a composition has none of these, its frames
    of lowest energy are taken for thermal ones of a crystal, if displacements hide its symmetry.
    """
    by_formula: dict[str, list[Frame]] = {}
    for frame in frames:
        if frame.pbc.all() and frame.energy is not None and vacuum_of(frame) is None:
            by_formula.setdefault(formula_of(frame), []).append(frame)
    named: list[tuple[float, str, Atoms]] = []
    for alike in by_formula.values():
        alike.sort(key=_energy)
        at_rest = [f for f in alike if _is_at_rest(f) and _energy(f) < _energy(alike[0]) + NEAR]
        groups: dict[str, tuple[float, str, Atoms]] = {}
        for frame in at_rest or alike[:5]:
            atoms = _symmetric(frame, PRECISIONS[:2] if at_rest else PRECISIONS)
            if atoms is not None:
                name = name_of(atoms)
                groups.setdefault(name, (_energy(frame), name, atoms))
                if not at_rest:
                    break
        named += list(groups.values())
    # Compounds before their elements, those of low energy first.
    named.sort(key=lambda one: (-len(set(one[2].numbers)), one[0]))
    return _subjects((name, atoms) for _, name, atoms in named[:MOST])


def _energy(frame: Frame) -> float:
    """eV per atom."""
    assert frame.energy is not None
    return frame.energy / len(frame.numbers)


def _is_at_rest(frame: Frame) -> bool:
    if frame.forces is None or not frame.labelled.all():
        return False
    if np.linalg.norm(frame.forces, axis=1).max(initial=0.0) > AT_REST:
        return False
    if frame.stress is None:
        return True
    deviator = frame.stress - np.trace(frame.stress) / 3.0 * np.eye(3)
    return bool(np.abs(deviator).max() * GPA < HYDROSTATIC)


def _symmetric(frame: Frame, precisions: Sequence[float]) -> Atoms | None:
    """The conventional cell of a frame's crystal; None without symmetry, or if the cell is large."""
    atoms = atoms_of_frame(frame)
    if not is_installed():
        return atoms if len(atoms) <= 4 * LARGEST else None
    for precision in precisions:
        found, size = symmetry_of(atoms, precision), primitive_size(atoms, precision)
        if found is not None and size is not None and found.number > 2 and size <= LARGEST:
            return conventional(atoms, precision)
    return None


def name_of(atoms: Atoms) -> str:
    """Formula and, where spglib is there, the symbol of the space group: "Si Fd-3m"."""
    formula = formula_of(atoms, "metal")
    found = symmetry_of(atoms, 0.05)
    return formula if found is None else f"{formula} {found.international}"


def frames_like(frames: Sequence[Frame], crystal: Subject) -> list[tuple[float, float]]:
    """Volumes (Å³) and energies (eV) per atom of the frames that are this crystal under pressures."""
    atoms = crystal.atoms
    if atoms is None:
        return []
    formula = formula_of(atoms)
    found = []
    for frame in frames:
        if frame.energy is None or not frame.pbc.all() or formula_of(frame) != formula:
            continue
        if not _is_at_rest(frame):
            continue
        symmetric = _symmetric(frame, PRECISIONS[:1])
        if symmetric is not None and name_of(symmetric) == name_of(atoms):
            volume = abs(float(np.linalg.det(frame.cell))) / len(frame.numbers)
            found.append((volume, _energy(frame)))
    return sorted(found)
