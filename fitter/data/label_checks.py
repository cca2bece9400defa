"""Doubts about labels that only all frames of a file together can raise: units, signs, placeholders.

Each check looks for a result that correct labels of no material have; where the frames do not decide,
it stays silent.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.units import GPA, HARTREE_PER_BOHR3, UNITS
from forcemap.potentials.errors import ForcemapError
from numpy.typing import NDArray

__all__ = ["Work", "check_labels", "label_counts", "placeholders", "work_of_stresses"]

Array = NDArray[np.float64]

OF_WHOLE_FRAMES = re.compile(r"(energy|virial).*sigma$", re.IGNORECASE)
"""gap_fit's sigmas that are of a whole frame: this program's own begin with sigma."""

HUGE_STRESS = 2.0
"""eV/Å³ (320 GPa)."""

HUGE_WORK, LARGE_WORK = 200.0, 20.0
"""eV per atom, stress times volume. With small forces no calculation reaches the first, hardly any the
second.

Tungsten at 1 TPa has 56, hydrogen at 500 GPa 4."""

PAIRS = 2000
"""Largest number of pairs of frames for which the work of the stresses is computed."""

LOOKED_AT = 50
"""Largest number of frames with labels of zero that are checked for neighbours."""

NEIGHBOUR = 4.0
"""Å; atoms without neighbours within this may have labels of zero."""


def label_counts(frames: Iterable[Frame]) -> list[str]:
    """A line for each file: how many energies, forces and stresses it gives.

    Atoms that a force_mask leaves out do not count among the forces.
    """
    files: dict[str, list[Frame]] = {}
    for frame in frames:
        files.setdefault(frame.source, []).append(frame)
    lines = []
    for file, those in files.items():
        forces = [frame for frame in those if frame.forces is not None]
        atoms = sum(len(frame.numbers) for frame in forces)
        labelled = sum(int(frame.labelled.sum()) for frame in forces)
        of = f"{atoms:,} atoms"
        if labelled < atoms:
            of = f"{labelled:,} of {of}; the others are left out by force_mask, T as in gap_fit"
        energies = sum(frame.energy is not None for frame in those)
        stresses = sum(frame.stress is not None for frame in those)
        counts = (
            f"{energies:,} energies, {len(forces):,} forces{f' ({of})' if forces else ''}, "
            f"{stresses:,} stresses"
        )
        names = sorted({name for frame in those for name in frame.sigma.names})
        sigmas = f"; sigmas from {', '.join(names)}" if names else ""
        if any(OF_WHOLE_FRAMES.search(name) for name in names):
            sigmas += " (of energies and virials of whole frames, in eV, as in gap_fit)"
        lines.append(f"{file}: {len(those):,} frames: {counts}{sigmas}")
    return lines


def check_labels(path: str, frames: Sequence[Frame], stress_key: str) -> None:
    """Warn (UserWarning) about labels of one file that are probably not meant.

    `stress_key`: where the stresses stand, for messages. Raises ForcemapError for stresses whose unit
    or sign contradicts the energies and forces.
    """
    _warn_of_zeros(path, frames)
    _check_stresses(path, frames, stress_key)


# ----- placeholders -----


def _neighbours(frame: Frame) -> tuple[NDArray[np.intp], NDArray[np.intp], Array]:
    """Pairs of atoms (i, j) within NEIGHBOUR and their vectors (pairs, 3), Å."""
    from ase.neighborlist import primitive_neighbor_list

    i, j, vectors = primitive_neighbor_list(
        "ijD", frame.pbc, frame.cell, frame.positions, NEIGHBOUR, numbers=frame.numbers
    )
    return i, j, vectors


def _is_bonded(frame: Frame) -> bool:
    return bool(len(_neighbours(frame)[0]))


def _is_lopsided(frame: Frame) -> bool:
    """Whether some atom has more, or other, neighbours on one side than on the opposite one.

    The force on an atom that symmetry holds in place is zero, and so is any sum over its neighbours of
    vectors to them times a function of distance and element.
    """
    i, j, vectors = _neighbours(frame)
    if not len(i):
        return False
    distances = np.linalg.norm(vectors, axis=1)
    weights = frame.numbers[j] * (1.0 - distances / NEIGHBOUR) ** 2
    pull = np.zeros((len(frame.numbers), 3))
    np.add.at(pull, i, weights[:, None] * vectors)
    scale = float(np.bincount(i, weights * distances).max())
    return bool(np.linalg.norm(pull, axis=1).max() > 0.01 * scale)


def placeholders(frames: Sequence[Frame]) -> list[tuple[str, list[Frame], Frame]]:
    """Labels of exactly zero that cannot be: their name, the frames that have one, and one at fault."""
    several = [frame for frame in frames if len(frame.numbers) > 1]
    zero = {
        "an energy": (_zero_energies(several), _is_bonded),
        "forces": ([f for f in several if f.labelled.any() and not _forces(f).any()], _is_lopsided),
        "a stress": (
            [f for f in frames if f.stress is not None and not f.stress.any()],
            _is_bonded,
        ),
    }
    first = {label: _first_wrong(*found) for label, found in zero.items()}
    return [(label, zero[label][0], wrong) for label, wrong in first.items() if wrong is not None]


def _warn_of_zeros(path: str, frames: Sequence[Frame]) -> None:
    for label, those, wrong in placeholders(frames):
        warnings.warn(
            f"{path}: {label} of exactly zero in {len(those)} of {len(frames)} frames, such as "
            f"frame {wrong.index} (counted from 0), whose structure cannot have that: a "
            "placeholder? It is fitted as it stands; remove the label from these frames, or the "
            "frames",
            stacklevel=4,
        )


def _zero_energies(frames: Sequence[Frame]) -> list[Frame]:
    """Frames with an energy of exactly zero, except the one that all energies are relative to."""
    energies = np.array([frame.energy for frame in frames if frame.energy is not None])
    others = energies[energies != 0.0]
    if len(energies) - len(others) < 2 and (
        not len(others) or np.abs(others).min() <= np.ptp(others) or len(others) < 3
    ):
        return []
    return [frame for frame in frames if frame.energy == 0.0]


def _forces(frame: Frame) -> Array:
    assert frame.forces is not None
    return frame.forces[frame.labelled]


def _first_wrong(frames: Sequence[Frame], is_wrong: Callable[[Frame], bool]) -> Frame | None:
    step = max(1, len(frames) // LOOKED_AT)
    return next((frame for frame in frames[::step] if is_wrong(frame)), None)


# ----- units and signs of stresses -----


@dataclass(frozen=True)
class Work:
    """Changes of energy between frames against the work of the stresses between them.

    Attributes:
        slope: of the changes against the work; 1 for correct labels.
        error: standard error of the slope.
        ratio: root mean squares of the changes over those of the work.
        correlation: of the two; their means are not subtracted.
        count: pairs of frames.
    """

    slope: float
    error: float
    ratio: float
    correlation: float
    count: int


def work_of_stresses(frames: Sequence[Frame]) -> Work | None:
    """Compare stresses with energies and forces, by pairs of frames of like cells.

    Between two frames of the same atoms E changes by -sum F·h ds + V sum stress·strain, with labels of
    the middle: the trapezoidal rule, wrong by the third power of the distance. `h ds` is how far the
    atoms move beyond the strain of the cell. None if there are too few pairs.
    """
    last: dict[bytes, Frame] = {}
    pairs = []
    for frame in frames:
        if frame.energy is not None and frame.stress is not None:
            atoms = frame.numbers.tobytes()
            if atoms in last:
                pairs.append((last[atoms], frame))
            last[atoms] = frame
    found = [_change_and_work(*pair) for pair in pairs[:: max(1, len(pairs) // PAIRS)]]
    changes, works = np.array([pair for pair in found if pair is not None]).reshape(-1, 2).T
    total = float(works @ works)
    # A few pairs of much larger work than all others would decide alone.
    if len(works) < 8 or total**2 < 4.0 * float(np.sum(works**4)):
        return None
    slope = float(changes @ works) / total
    spread = float(changes @ changes)
    residual = float(np.sum((changes - slope * works) ** 2)) / (len(works) - 1)
    return Work(
        slope,
        float(np.sqrt(residual / total)),
        float(np.sqrt(spread / total)),
        slope * float(np.sqrt(total / spread)) if spread else 0.0,
        len(works),
    )


def _change_and_work(a: Frame, b: Frame) -> tuple[float, float] | None:
    """Change of the energy beyond what the forces explain, and work of the stress, eV per atom."""
    assert a.energy is not None
    assert b.energy is not None
    assert a.stress is not None
    assert b.stress is not None
    gradient = np.linalg.solve(a.cell, b.cell) - np.eye(3)
    if not 1e-5 < np.abs(gradient).max() < 0.1:
        return None
    volume = 0.5 * abs(np.linalg.det(a.cell)) + 0.5 * abs(np.linalg.det(b.cell))
    work = volume * float(np.sum(0.5 * (a.stress + b.stress) * gradient))
    change = b.energy - a.energy
    if a.labelled.all() and b.labelled.all():
        assert a.forces is not None
        assert b.forces is not None
        moved = np.linalg.solve(b.cell.T, b.positions.T) - np.linalg.solve(a.cell.T, a.positions.T)
        steps = (moved - np.round(moved)).T @ (0.5 * (a.cell + b.cell))
        if np.abs(steps).max() < 1.0:
            change += 0.5 * float(np.sum((a.forces + b.forces) * steps))
    return change / len(a.numbers), work / len(a.numbers)


def _largest(frame: Frame) -> float:
    return 0.0 if frame.stress is None else float(np.abs(frame.stress).max())


def _work_per_atom(frame: Frame) -> float:
    return _largest(frame) * abs(float(np.linalg.det(frame.cell))) / len(frame.numbers)


def _is_quiet(frame: Frame) -> bool:
    """Whether the forces are smaller than that of the stress on a face of 1 Å²."""
    if not frame.labelled.any():
        return True
    return float(np.abs(_forces(frame)).max()) < _largest(frame)


def _check_stresses(path: str, frames: Sequence[Frame], key: str) -> None:
    stressed = [frame for frame in frames if frame.stress is not None]
    if not stressed:
        return
    work = work_of_stresses(frames)
    largest = max(_largest(frame) for frame in stressed)
    if work is not None:
        _check_work(path, key, work, largest)
    huge = [f for f in stressed if _largest(f) > HUGE_STRESS and _is_quiet(f)]
    huge = [f for f in huge if _work_per_atom(f) > LARGE_WORK]
    if not huge:
        return
    worst = max(huge, key=_work_per_atom)
    forces = f", its forces are below {_force_bound(worst)} eV/Å" if worst.labelled.any() else ""
    text = (
        f"{path}: frame {worst.index} (counted from 0): the stress ({key}) is up to "
        f"{_largest(worst):.2g} eV/Å³ ({_largest(worst) * GPA:.2g} GPa){forces}. {_expected(largest)}"
    )
    if _work_per_atom(worst) > HUGE_WORK:
        raise ForcemapError(text)
    warnings.warn(text, stacklevel=5)


def _force_bound(frame: Frame) -> str:
    return f"{float(np.abs(_forces(frame)).max()) + 0.005:.2f}"


def _expected(largest: float, factor: float | None = None) -> str:
    """The unit that it may be, and the cure. `factor`: how much too large it is, if that is known."""
    if factor is None:
        likely = [unit for unit, size in UNITS.items() if 0.003 < largest / size < 0.5]
    else:
        likely = [unit for unit, size in UNITS.items() if 0.7 < size / factor < 1.4]
    asked = " or ".join(likely or UNITS)
    cure = ", ".join(f"by {UNITS[unit]:.9g} if {unit}" for unit in likely or UNITS)
    return (
        f"Are they in {asked}? Expected are stresses in eV/Å³ with ASE's sign (positive under "
        f"tension), or virials = -volume * stress in eV; divide {cure}"
    )


def _check_work(path: str, key: str, work: Work, largest: float) -> None:
    """Raise ForcemapError if the energies contradict the stresses."""
    certain = work.error < 0.2 * abs(work.slope)
    times = f"{work.slope:.2g}" if certain else f"less than {abs(work.slope) + 4 * work.error:.0e}"
    said = (
        f"{path}: the stresses ({key}, up to {largest:.2g} eV/Å³ or {largest * GPA:.2g} GPa) "
        f"contradict the energies: between {work.count} pairs of frames the energy changes by "
        f"{times} times the work of the stresses"
    )
    if abs(work.slope) + 4.0 * work.error < 0.05 and work.ratio < 0.1:
        sign = " Their sign is wrong, too." if certain and work.slope < 0.0 else ""
        factor = 1.0 / abs(work.slope) if certain else None
        raise ForcemapError(f"{said}. {_expected(largest, factor)}.{sign}")
    if abs(work.slope + 1.0) < 0.3 and work.error < 0.1 and work.correlation < -0.7:
        raise ForcemapError(
            f"{said}. Their sign is wrong: expected is ASE's, positive under tension, or "
            "virial = -volume * stress; multiply them by -1 (VASP prints the opposite sign)"
        )
    if work.slope - 4.0 * work.error > 20.0 and work.correlation > 0.7:
        raise ForcemapError(
            f"{said}. Expected are eV/Å³; multiply by {HARTREE_PER_BOHR3:g} if they are in "
            "Hartree/Bohr³"
        )
