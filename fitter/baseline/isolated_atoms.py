"""Energies of the isolated atoms, `e0`, which a fit subtracts before it learns interactions."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from forcemap.fitter.baseline.cohesion import COHESION, SOURCE, cohesion_sigma
from forcemap.fitter.data.frame import Frame
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.errors import ForcemapError
from numpy.typing import NDArray

__all__ = ["FreeAtoms", "atomic_energies", "free_atoms", "uncertain_atoms", "warn_of_cohesion"]

Array = NDArray[np.float64]

ISOLATED = 6.0
"""Å; a lone atom whose periodic images are farther away counts as isolated."""

GROUND = 0.05
"""Quantile of the energies per atom that stands for the ground state: a lowest frame may be faulty."""


@dataclass(frozen=True)
class FreeAtoms:
    """Energies of isolated atoms, and where they are from.

    Attributes:
        energies: eV, by atomic number.
        sigmas: standard deviation (eV) of those that are estimates, by atomic number; infinite where
            nothing but the data says what they are.
        origin: a line for each way by which energies were found.
    """

    energies: Mapping[int, float]
    sigmas: Mapping[int, float] = field(default_factory=dict)
    origin: Sequence[str] = ()


ALIKE, DEFECTS = 0.1, 30.0
"""Where compositions are alike (singular values of their matrix below ALIKE of the largest), energies
follow them by those of defects, not of elements; differences of less than DEFECTS, eV, mean nothing.
Energies of all electrons of two elements differ by more."""

E0 = str | float | Mapping[str, float]


def atomic_energies(
    frames: Sequence[Frame], e0: E0, baseline: Sequence[float] | Array | None = None
) -> dict[int, float]:
    """Energy (eV) of each element's isolated atom, by atomic number. See `free_atoms`."""
    return dict(free_atoms(frames, e0, baseline).energies)


def free_atoms(
    frames: Sequence[Frame], e0: E0, baseline: Sequence[float] | Array | None = None
) -> FreeAtoms:
    """Energies of isolated atoms.

    Args:
        frames: the training frames.
        e0: "cohesive": from frames of one atom, and of elements without these what the crystal's energy
            and the tabulated cohesive energy give; "isolated": from frames of one atom; "average":
            least squares of energy per atom over composition, of smallest norm where compositions do
            not determine those of all elements; or energies by symbol, or one for every element.
        baseline: (frames,) eV; part of the energy that another term explains, such as the core.

    Raises:
        ForcemapError: an element has no isolated atom, or no energy is given for it.
    """
    numbers = sorted({int(z) for frame in frames for z in frame.numbers})
    if isinstance(e0, float | int):
        return FreeAtoms(dict.fromkeys(numbers, float(e0)), origin=["given in the settings"])
    if not isinstance(e0, str):
        missing = [SYMBOLS[z] for z in numbers if SYMBOLS[z] not in e0]
        if missing:
            raise ForcemapError(
                f"e0: no energy for {', '.join(missing)}, which the training frames contain; "
                "name every element, or use cohesive, average or isolated"
            )
        return FreeAtoms(
            {z: float(e0[SYMBOLS[z]]) for z in numbers}, origin=["given in the settings"]
        )
    if e0 == "isolated":
        return FreeAtoms(_isolated_energies(frames, numbers), origin=[_measured(numbers)])
    explained = np.zeros(len(frames)) if baseline is None else np.asarray(baseline, dtype=float)
    if e0 == "average":
        line = f"{_symbols(numbers)}: mean energies of the frames, and constants fitted to the data"
        return FreeAtoms(
            _averages(frames, numbers, explained), dict.fromkeys(numbers, np.inf), [line]
        )
    return _cohesive(frames, numbers, explained)


def uncertain_atoms(frames: Sequence[Frame], e0: E0) -> dict[int, float]:
    """`FreeAtoms.sigmas`, without a look at energies."""
    numbers = sorted({int(z) for frame in frames for z in frame.numbers})
    if e0 == "average":
        return dict.fromkeys(numbers, np.inf)
    if e0 != "cohesive":
        return {}
    alone, pure = _isolated(frames), _elements_alone(frames)
    return {
        z: cohesion_sigma(COHESION[SYMBOLS[z]], z not in pure) if SYMBOLS[z] in COHESION else np.inf
        for z in numbers
        if z not in alone
    }


def warn_of_cohesion(frames: Sequence[Frame], e0: E0) -> None:
    """Warn (UserWarning) where an energy of cohesion is unknown, or that of a compound is a guess."""
    sigmas = uncertain_atoms(frames, e0) if e0 == "cohesive" else {}
    unknown = [z for z, sigma in sigmas.items() if np.isinf(sigma)]
    pure = _elements_alone(frames)
    mixed = [z for z in sigmas if z not in pure and z not in unknown]
    cure = "add a frame of one atom in a large box for each, or give e0: {" + "element: energy}"
    if unknown:
        warnings.warn(
            f"e0: the cohesive energy of {_symbols(unknown)} is not known: no frame holds an isolated "
            "atom, and there is no tabulated value, so that expanded cells and lone atoms may come "
            f"out below the crystal; {cure}",
            stacklevel=3,
        )
    if mixed:
        warnings.warn(
            f"e0: the cohesive energy of compounds of {_symbols(mixed)} is a guess from those of the "
            "elements, without the energy of formation, since no frame holds an isolated atom; "
            f"{cure}",
            stacklevel=3,
        )


def _symbols(numbers: Sequence[int]) -> str:
    return ", ".join(SYMBOLS[z] for z in numbers)


def _measured(numbers: Sequence[int]) -> str:
    return f"{_symbols(numbers)}: isolated atoms among the training frames"


def _averages(
    frames: Sequence[Frame], numbers: Sequence[int], explained: Array
) -> dict[int, float]:
    """Least squares of energy per atom over composition."""
    rows, values = _per_atom(frames, numbers, explained)
    if not len(values):
        return dict.fromkeys(numbers, 0.0)
    solution = np.linalg.lstsq(rows, values, rcond=1e-8)[0]
    return dict(zip(numbers, solution.tolist(), strict=True))


def _per_atom(
    frames: Sequence[Frame], numbers: Sequence[int], explained: Array
) -> tuple[Array, Array]:
    """(n, elements) composition and (n,) energy per atom (eV), less what is explained, of frames."""
    rows, values = [], []
    for frame, known in zip(frames, explained, strict=True):
        if frame.energy is not None:
            counts = Counter(frame.numbers.tolist())
            rows.append([counts[z] / len(frame.numbers) for z in numbers])
            values.append((frame.energy - known) / len(frame.numbers))
    return np.array(rows), np.array(values)


def _cohesive(frames: Sequence[Frame], numbers: Sequence[int], explained: Array) -> FreeAtoms:
    """Of isolated atoms where there are any; otherwise of the crystal and its cohesion."""
    alone = _isolated(frames)
    energies = {z: alone[z] for z in numbers if z in alone}
    lines = [_measured(sorted(energies))] if energies else []
    others = [z for z in numbers if z not in alone]
    bound = [frame for frame in frames if len(frame.numbers) > 1]
    known = [z for z in others if SYMBOLS[z] in COHESION]
    ground = _ground_states(bound, numbers)
    means = _averages(frames, numbers, explained)
    for z in others:
        energies[z] = ground[z] + COHESION[SYMBOLS[z]] if z in known else means[z]
    if known:
        values = ", ".join(f"{SYMBOLS[z]} {COHESION[SYMBOLS[z]]:g} eV" for z in known)
        lines.append(
            f"{_symbols(known)}: lowest energies of the frames and cohesive energies, {values} "
            f"({SOURCE})"
        )
    unknown = [z for z in others if z not in known]
    if unknown:
        lines.append(f"{_symbols(unknown)}: mean energies; the cohesive energy is unknown")
    sigmas = uncertain_atoms(frames, "cohesive")
    return FreeAtoms({z: energies[z] for z in numbers}, sigmas, lines)


def _ground_states(frames: Sequence[Frame], numbers: Sequence[int]) -> dict[int, float]:
    """Energy per atom (eV) of each element's crystal.

    By frames of the element alone; of elements that have none by least squares over composition,
    lowered to the frames that are bound most.
    """
    rows, values = _per_atom(frames, numbers, np.zeros(len(frames)))
    if not len(values):
        return dict.fromkeys(numbers, 0.0)
    solution = np.linalg.lstsq(rows, values, rcond=1e-8)[0]
    plain = np.linalg.lstsq(rows, values, rcond=ALIKE)[0]
    if np.max(np.abs(solution - plain)) < DEFECTS:
        solution = plain
    lowest = float(np.quantile(values - rows @ solution, GROUND))
    found = dict(zip(numbers, (solution + lowest).tolist(), strict=True))
    for column, z in enumerate(numbers):
        own = values[rows[:, column] == 1.0]
        if len(own):
            found[z] = float(np.quantile(own, GROUND))
    return found


def _elements_alone(frames: Sequence[Frame]) -> set[int]:
    """Elements with frames of several of their atoms and no others."""
    return {
        int(frame.numbers[0])
        for frame in frames
        if len(frame.numbers) > 1 and frame.energy is not None and np.ptp(frame.numbers) == 0
    }


def _nearest_image(frame: Frame) -> float:
    """Distance (Å) of a lone atom to its nearest periodic image; infinite without any."""
    vectors = frame.cell[frame.pbc]
    if not len(vectors):
        return float("inf")
    steps = np.array(np.meshgrid(*[[-2, -1, 0, 1, 2]] * len(vectors))).reshape(len(vectors), -1).T
    lengths = np.linalg.norm(steps @ vectors, axis=1)
    return float(lengths[lengths > 0].min())


def _isolated(frames: Sequence[Frame]) -> dict[int, float]:
    """Energy of each element that has any from the frame in which one atom of it is most alone."""
    best: dict[int, tuple[float, float]] = {}
    for frame in frames:
        if len(frame.numbers) == 1 and frame.energy is not None:
            z, distance = int(frame.numbers[0]), _nearest_image(frame)
            if distance > max(ISOLATED, best.get(z, (0.0, 0.0))[0]):
                best[z] = (distance, frame.energy)
    return {z: energy for z, (_, energy) in best.items()}


def _isolated_energies(frames: Sequence[Frame], numbers: Sequence[int]) -> dict[int, float]:
    """Energy of each element's isolated atom; raises ForcemapError for an element without one."""
    found = _isolated(frames)
    missing = [SYMBOLS[z] for z in numbers if z not in found]
    if missing:
        raise ForcemapError(
            f"e0: isolated: no training frame holds one isolated atom (no periodic image within "
            f"{ISOLATED:g} Å) with an energy for {', '.join(missing)}; add such frames, or use "
            "cohesive, average or energies such as {" + f"{missing[0]}: -0.79" + "}"
        )
    return {z: found[z] for z in numbers}
