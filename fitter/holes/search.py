"""Looks for holes: relaxes random structures of the data's compositions with the potential itself.

Random structures, relaxed, find all that a potential holds for stable (Pickard and Needs, J. Phys.:
Condens. Matter 23, 053201 (2011), DOI 10.1088/0953-8984/23/5/053201). One that ends below the lowest
energy of the data is a hole of the fit, not a new ground state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from forcemap.fitter.baseline.baseline import free_energy
from forcemap.fitter.baseline.beyond import binding, by_composition
from forcemap.fitter.baseline.cohesion import COHESION
from forcemap.fitter.baseline.repulsion import Repulsion
from forcemap.fitter.data.frame import Frame
from forcemap.potentials import Evaluator
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.errors import ForcemapError
from numpy.typing import NDArray

__all__ = ["STARTS", "Composition", "Hole", "compositions_of", "holes_among", "relaxed", "starts"]

Array = NDArray[np.float64]

ATOMS = 8
"""Atoms of a random structure, about."""

STARTS, STEPS = 40, 120
"""Random structures of a round, and steps of a relaxation at most."""

STEP, CALM = 0.1, 0.1
"""Longest step (Å, of all atoms together), and the largest force (eV/Å) of a relaxed structure."""

ROOMIER, CLOSER, SHEAR = 1.8, 0.7, 0.25
"""Volumes of random structures over that of the crystal, and how far their cells are sheared."""

ALONE = 12.0
"""Volume per atom (Å³) where the data have none, being clusters."""

ABOVE = 0.1
"""How far random structures lie above the ground state, in cohesive energies."""

NEAR = 0.8
"""Atoms nearer than this, over the shortest distance in the data, are no bond: such a structure is a
hole unless it lies `ABOVE` the ground state."""

UNKNOWN = 3.0
"""Scale of energies (eV per atom) of elements whose cohesive energy no table has."""


@dataclass(frozen=True, eq=False)
class Composition:
    """Elements that the data hold together.

    Attributes:
        numbers: (n,) atomic numbers of a small piece.
        volume: per atom in the ground state, Å³.
        lowest: energy of the ground state relative to isolated atoms, eV per atom.
        scale: cohesive energy as the elements have it, eV per atom.
        share: of the frames.
    """

    numbers: NDArray[np.int32]
    volume: float
    lowest: float
    scale: float
    share: float


class Hole(NamedTuple):
    """A structure with its energy (eV per atom, relative to isolated atoms) and what it should be."""

    frame: Frame
    composition: Composition
    energy: float
    bound: float


def compositions_of(frames: Sequence[Frame], e0: Mapping[int, float]) -> list[Composition]:
    """Those with most frames; `e0`: energies of isolated atoms by atomic number, eV."""
    groups = by_composition(frames)
    count = sum(map(len, groups))
    found = []
    for members in groups:
        energies = [binding(frame, e0) for frame in members]
        lowest = members[int(np.argmin(energies))]
        volume = _volume(lowest) if np.all(lowest.pbc) else ALONE
        numbers = _piece(lowest.numbers)
        scale = float(np.mean([COHESION.get(SYMBOLS[z], UNKNOWN) for z in numbers]))
        found.append(Composition(numbers, volume, min(energies), scale, len(members) / count))
    return found


def _volume(frame: Frame) -> float:
    return abs(float(np.linalg.det(frame.cell))) / len(frame.numbers)


def _piece(numbers: NDArray[np.int32]) -> NDArray[np.int32]:
    """About `ATOMS` atoms of the same shares; with more elements than atoms the commonest."""
    if len(numbers) <= ATOMS:
        return np.tile(np.sort(numbers), max(1, ATOMS // len(numbers)))
    elements, counts = np.unique(numbers, return_counts=True)
    exact = ATOMS * counts / counts.sum()
    whole = np.floor(exact).astype(int)
    whole[np.argsort(whole - exact, kind="stable")[: ATOMS - whole.sum()]] += 1
    return np.repeat(elements, whole).astype(np.int32)


# ---- relaxation ----------------------------------------------------------------------------------


def starts(
    compositions: Sequence[Composition],
    known: Sequence[Hole],
    like: Frame,
    rng: np.random.Generator,
) -> list[tuple[Composition, Frame]]:
    """Random structures, half of them shaken holes of before as far as there are any.

    `like`: a frame for everything that a random structure does not say.
    """
    again = rng.permutation(len(known))[: STARTS // 2]
    found = [(known[k].composition, _shaken(known[k].frame, rng)) for k in again]
    shares = np.array([composition.share for composition in compositions])
    for which in rng.choice(len(shares), size=STARTS - len(found), p=shares / shares.sum()):
        composition = compositions[which]
        found.append((composition, _random(composition, like, rng)))
    return found


def _shaken(frame: Frame, rng: np.random.Generator) -> Frame:
    return replace(frame, positions=frame.positions + rng.normal(0.0, 0.05, frame.positions.shape))


def _random(composition: Composition, like: Frame, rng: np.random.Generator) -> Frame:
    numbers = rng.permutation(composition.numbers)
    room = len(numbers) * composition.volume * rng.uniform(CLOSER, ROOMIER)
    cell = np.cbrt(room) * (np.eye(3) + rng.uniform(-SHEAR, SHEAR, (3, 3)))
    return replace(
        like,
        numbers=numbers,
        positions=rng.random((len(numbers), 3)) @ cell,
        cell=cell,
        pbc=np.ones(3, dtype=bool),
        config_type="default",
        energy=None,
        forces=None,
        stress=None,
        force_mask=None,
    )


def relaxed(evaluator: Evaluator, frame: Frame, steps: int = STEPS) -> tuple[Frame, float]:
    """The structure at its lowest energy (eV) on the way down, its cell as it is.

    By FIRE (Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006), DOI 10.1103/PhysRevLett.97.170201).
    Positions are rounded to 1e-4 Å, so that files can hold them.
    """
    positions, velocity = frame.positions.copy(), np.zeros_like(frame.positions)
    step, mixing, downhill = 0.1, 0.1, 0
    best, lowest = positions, np.inf
    for _ in range(steps):
        try:
            result = evaluator.compute(positions, frame.numbers, frame.cell, frame.pbc)
        except ForcemapError:  # atoms on top of each other, or numbers that are not finite
            break
        forces = result.forces
        if result.energy < lowest:
            best, lowest = positions, result.energy
        if not np.isfinite(result.energy) or np.abs(forces).max(initial=0.0) < CALM:
            break
        if np.sum(forces * velocity) > 0.0:
            along = np.linalg.norm(velocity) / np.linalg.norm(forces)
            velocity = (1.0 - mixing) * velocity + mixing * along * forces
            downhill += 1
            if downhill > 5:
                step, mixing = min(1.1 * step, 1.0), 0.99 * mixing
        else:
            velocity, step, mixing, downhill = np.zeros_like(velocity), 0.5 * step, 0.1, 0
        velocity = velocity + step * forces
        move = step * velocity
        positions = positions + move * min(1.0, STEP / max(float(np.linalg.norm(move)), 1e-12))
    return replace(frame, positions=np.round(best, 4)), float(lowest)


def holes_among(
    evaluator: Evaluator,
    structures: Sequence[tuple[Composition, Frame]],
    e0: Mapping[int, float],
    repulsion: Repulsion,
) -> list[Hole]:
    """Those that relax to less than the ground state, or to atoms on top of each other."""
    found = []
    for composition, start in structures:
        frame, total = relaxed(evaluator, start)
        energy = (total - free_energy(frame, e0)) / len(frame.numbers)
        bound = composition.lowest + ABOVE * composition.scale
        if energy < composition.lowest or (energy < bound and _is_near(frame, repulsion)):
            found.append(Hole(frame, composition, energy, bound))
    return found


def _is_near(frame: Frame, repulsion: Repulsion) -> bool:
    from ase.geometry import get_distances

    _, distances = get_distances(frame.positions, cell=frame.cell, pbc=frame.pbc)
    np.fill_diagonal(distances, np.inf)
    elements = sorted({int(z) for z in frame.numbers})
    for n, a in enumerate(elements):
        for b in elements[n:]:
            between = distances[np.ix_(frame.numbers == a, frame.numbers == b)]
            if between.min(initial=np.inf) < NEAR * repulsion[a, b].shortest:
                return True
    return False
