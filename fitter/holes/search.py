"""Looks for holes: relaxes random structures of the data's compositions with the potential itself.

Random structures, relaxed, find all that a potential holds for stable (Pickard and Needs, J. Phys.:
Condens. Matter 23, 053201 (2011), DOI 10.1088/0953-8984/23/5/053201). One that ends below the lowest
energy of the data is a hole of the fit, not a new ground state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

import numpy as np
from forcemap.fitter.baseline.baseline import free_energy
from forcemap.fitter.baseline.beyond import binding, by_composition
from forcemap.fitter.baseline.cohesion import COHESION
from forcemap.fitter.baseline.repulsion import Repulsion
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.holes.relaxation import Relaxed, Start
from forcemap.fitter.process.survey import shortest_distances
from forcemap.potentials.elements import SYMBOLS
from numpy.typing import NDArray

__all__ = ["Composition", "Hole", "compositions_of", "holes_among", "piece_of", "starts"]

Array = NDArray[np.float64]

Relax: TypeAlias = Callable[[Sequence[Start]], Iterable[Relaxed]]
"""Relaxes some structures, in their order."""

ATOMS = (4, 6, 8, 12)
"""Atoms of random structures, about."""

ROOMIER, CLOSER, SHEAR = 1.8, 0.7, 0.35
"""Volumes of random structures over that of the crystal, and how far their cells are sheared."""

PLACES = 10
"""Places tried for an atom, of which it takes that farthest from the others; in every second structure
one alone, so that some atoms start near each other."""

SHAKEN = 0.1
"""Å; by how much atoms of holes of before are moved before they are relaxed again."""

ALONE = 12.0
"""Volume per atom (Å³) where the data have none, being clusters."""

LEAST_ABOVE, ABOVE, STEEP = 0.03, 0.1, 3.0
"""How far holes are to lie above the ground state: at least and at most (in cohesive energies), and so
many times as far as below it between the two."""

SAME = 0.001
"""Structures that are as little below the ground state, in cohesive energies, are the ground state."""

WARM = 0.05
"""How far the ground state may lie below the lowest frame of the data, in cohesive energies: frames of
a simulation are warm."""

DEEP = 0.15
"""Structures as far below the ground state, in cohesive energies, are followed no farther."""

NEAR = 0.8
"""Atoms nearer than this, over the shortest distance in the data, are no bond: such a structure is a
hole unless it lies `ABOVE` the ground state, or nearly: a label brings it no nearer than that."""

NEARLY = 0.9
"""Of `ABOVE`."""

UNKNOWN = 3.0
"""Scale of energies (eV per atom) of elements whose cohesive energy no table has."""


@dataclass(eq=False)
class Composition:
    """Elements that the data hold together.

    Attributes:
        crystal: the lowest frame; later as it was last relaxed.
        volume: its volume per atom, Å³.
        lowest: its energy relative to isolated atoms, eV per atom.
        scale: cohesive energy as the elements have it, eV per atom.
        share: of the frames.
        ground: energy of the ground state by the process, eV per atom.
    """

    crystal: Frame
    volume: float
    lowest: float
    scale: float
    share: float
    ground: float = field(init=False)

    def __post_init__(self) -> None:
        self.ground = self.lowest

    @property
    def least(self) -> float:
        """Energy (eV per atom) below which a relaxed crystal has fallen into a hole."""
        return self.lowest - WARM * self.scale

    def settle(self, found: Frame, energy: float) -> None:
        """Take the relaxed crystal and its energy (eV per atom), unless it fell into a hole itself."""
        self.ground = self.lowest
        if self.least < energy < self.lowest:
            self.crystal, self.ground = found, energy


class Hole(NamedTuple):
    """A structure that the process binds too strongly; energies in eV per atom relative to free atoms.

    Attributes:
        frame: the structure.
        composition: its elements.
        energy: what it has.
        ground: what the ground state has.
        bound: what it should have at least.
    """

    frame: Frame
    composition: Composition
    energy: float
    ground: float
    bound: float

    @property
    def depth(self) -> float:
        """Below the ground state, eV per atom."""
        return self.ground - self.energy


def compositions_of(frames: Sequence[Frame], e0: Mapping[int, float]) -> list[Composition]:
    """Those with most frames; `e0`: energies of isolated atoms by atomic number, eV."""
    groups = by_composition(frames)
    count = sum(map(len, groups))
    found = []
    for members in groups:
        energies = [binding(frame, e0) for frame in members]
        lowest = members[int(np.argmin(energies))]
        volume = _volume(lowest) if np.all(lowest.pbc) else ALONE
        scale = float(np.mean([COHESION.get(SYMBOLS[z], UNKNOWN) for z in lowest.numbers]))
        found.append(Composition(lowest, volume, min(energies), scale, len(members) / count))
    return found


def _volume(frame: Frame) -> float:
    return abs(float(np.linalg.det(frame.cell))) / len(frame.numbers)


def piece_of(numbers: NDArray[np.int32], atoms: int) -> NDArray[np.int32]:
    """About `atoms` atomic numbers of the same shares; with more elements than atoms the commonest."""
    if len(numbers) <= atoms:
        return np.tile(np.sort(numbers), max(1, atoms // len(numbers)))
    elements, counts = np.unique(numbers, return_counts=True)
    shares = counts / counts.min()
    formula = np.rint(shares).astype(int)
    if np.abs(shares - formula).max() < 0.2 and formula.sum() <= atoms:  # but for a few defects
        return np.repeat(elements, formula * (atoms // formula.sum())).astype(np.int32)
    exact = atoms * counts / counts.sum()
    whole = np.floor(exact).astype(int)
    whole[np.argsort(whole - exact, kind="stable")[: atoms - whole.sum()]] += 1
    return np.repeat(elements, whole).astype(np.int32)


# ---- random structures ---------------------------------------------------------------------------


def starts(
    compositions: Sequence[Composition],
    known: Sequence[Hole],
    like: Frame,
    rng: np.random.Generator,
    count: int,
) -> list[tuple[Composition, Frame]]:
    """`count` random structures, half of them shaken holes of before as far as there are any.

    `like`: a frame for everything that a random structure does not say.
    """
    again = rng.permutation(len(known))[: count // 2]
    found = [(known[k].composition, _shaken(known[k].frame, rng)) for k in again]
    shares = np.array([composition.share for composition in compositions])
    for which in rng.choice(len(shares), size=count - len(found), p=shares / shares.sum()):
        composition = compositions[which]
        found.append((composition, _random(composition, like, rng)))
    return found


def _shaken(frame: Frame, rng: np.random.Generator) -> Frame:
    moved = frame.positions + rng.normal(0.0, SHAKEN, frame.positions.shape)
    return replace(frame, positions=moved)


def _random(composition: Composition, like: Frame, rng: np.random.Generator) -> Frame:
    numbers = rng.permutation(piece_of(composition.crystal.numbers, int(rng.choice(ATOMS))))
    room = len(numbers) * composition.volume * rng.uniform(CLOSER, ROOMIER)
    shape = np.eye(3) + rng.uniform(-SHEAR, SHEAR, (3, 3))
    cell = np.cbrt(room / abs(np.linalg.det(shape))) * shape
    return replace(
        like,
        numbers=numbers,
        positions=_places(len(numbers), cell, rng.choice((1, PLACES)), rng),
        cell=cell,
        pbc=np.ones(3, dtype=bool),
        config_type="default",
        energy=None,
        forces=None,
        stress=None,
        force_mask=None,
    )


def _places(count: int, cell: Array, tried: int, rng: np.random.Generator) -> Array:
    """(count, 3) positions, each the farthest of those `tried` from the ones before."""
    images = np.stack(np.meshgrid(*[np.arange(-1, 2)] * 3, indexing="ij"), -1).reshape(-1, 3)
    places = rng.random((1, 3))
    for _ in range(count - 1):
        trials = rng.random((tried, 3))
        vectors = (trials[:, None, None] - places[:, None] + images) @ cell
        nearest = np.linalg.norm(vectors, axis=-1).min(axis=(1, 2))
        places = np.vstack([places, trials[np.argmax(nearest)]])
    return np.asarray(places @ cell)


# ---- holes ---------------------------------------------------------------------------------------


def holes_among(
    relax: Relax,
    structures: Sequence[tuple[Composition, Frame]],
    e0: Mapping[int, float],
    repulsion: Repulsion,
) -> list[Hole]:
    """Those that relax to less than the ground state, or to atoms on top of each other."""
    compositions = list({id(one): one for one, _ in structures}.values())
    crystals = [(one.crystal, one.least) for one in compositions]
    for one, settled in zip(compositions, _each(relax, crystals, e0), strict=True):
        one.settle(*settled)
    begun = [(start, one.ground - DEEP * one.scale) for one, start in structures]
    found = []
    for (composition, _), (frame, energy) in zip(structures, _each(relax, begun, e0), strict=True):
        ground, scale = composition.ground, composition.scale
        depth, above = ground - energy, ABOVE * scale
        if depth < SAME * scale:
            if depth > -NEARLY * above and _is_near(frame, repulsion):
                found.append(Hole(frame, composition, ground - depth, ground, ground + above))
            continue
        bound = ground + min(above, max(LEAST_ABOVE * scale, STEEP * depth))
        found.append(Hole(frame, composition, ground - depth, ground, bound))
    return found


def _each(
    relax: Relax, starts: Sequence[Start], e0: Mapping[int, float]
) -> Iterator[tuple[Frame, float]]:
    """The relaxed structures and their energies: these and floors in eV per atom from free atoms."""
    sizes = [(len(frame.numbers), free_energy(frame, e0)) for frame, _ in starts]
    whole = [(s, n * floor + free) for (s, floor), (n, free) in zip(starts, sizes, strict=True)]
    for (frame, total), (n, free) in zip(relax(whole), sizes, strict=True):
        yield frame, (total - free) / n


def _is_near(frame: Frame, repulsion: Repulsion) -> bool:
    """Whether two atoms, or an atom and an image of its own, are nearer than any in the data are."""
    reach = NEAR * max(pair.shortest for pair in repulsion.values())
    found = shortest_distances([frame], reach)
    return any(distance < NEAR * repulsion[pair].shortest for pair, distance in found.items())
