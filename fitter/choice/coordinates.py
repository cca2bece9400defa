"""Coordinates of the free hyperparameters, and terms as functions of them.

A coordinate is the logarithm of a hyperparameter. The coordinate of a cutoff scales the width of its
transition in proportion; that of a width is the logarithm of its fraction of the cutoff, at most 1, so
that no transition is wider than its cutoff.

Sparse points stay the same while coordinates change, so that the evidence is a smooth function of them:
choosing points anew would make it jump. Points that are distances (or densities) keep their numbers.
Points that are environments, whose descriptors change with the kernel, stay the same environments with
new descriptors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.terms.base import Array, Block, Species, Term
from numpy.typing import NDArray

__all__ = ["Coordinate", "Coordinates", "Origin", "origins_of"]

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Coordinate:
    """A free hyperparameter.

    Attributes:
        term: number of its term.
        name: name in the term's `hyperparameters`.
        low, high: bounds of the coordinate.
    """

    term: int
    name: str
    low: float
    high: float


@dataclass(frozen=True)
class Origin:
    """Places of the sparse points of one combination of species in the data.

    Attributes:
        structures: (points,) numbers of structures.
        places: (points,) places among the term's candidates in these structures.
    """

    structures: Indices
    places: Indices


@dataclass(frozen=True)
class Coordinates:
    """Terms with their sparse points, as functions of the free hyperparameters.

    Attributes:
        terms: terms at the start.
        free: the coordinates.
        origins: origins of the sparse points of each block, by number of the term, where points follow.
        structures: structures that the origins refer to.
    """

    terms: tuple[Term, ...]
    free: tuple[Coordinate, ...]
    origins: Mapping[int, Sequence[Origin]]
    structures: Sequence[Structure]

    @property
    def start(self) -> Array:
        """(free,) coordinates of the terms at the start."""
        return self.of(self.terms)

    def of(self, terms: Sequence[Term]) -> Array:
        """(free,) coordinates of terms of the same kinds."""
        logarithms = []
        for one in self.free:
            values = terms[one.term].hyperparameters()
            unit = values["cutoff"] if one.name == "cutoff_width" else 1.0
            logarithms.append(np.log(values[one.name] / unit))
        return np.array(logarithms)

    @property
    def bounds(self) -> list[tuple[float, float]]:
        """Bounds of all coordinates."""
        return [(one.low, one.high) for one in self.free]

    def values(self, number: int, at: Array) -> dict[str, float]:
        """Hyperparameters of the term `number` that depend on the coordinates, at `at` (free,)."""
        changed = {
            one.name: float(np.exp(x))
            for one, x in zip(self.free, at, strict=True)
            if one.term == number
        }
        start = self.terms[number].hyperparameters()
        if "cutoff_width" in start and ("cutoff" in changed or "cutoff_width" in changed):
            part = changed.get("cutoff_width", start["cutoff_width"] / start["cutoff"])
            cutoff = changed.get("cutoff", start["cutoff"])
            changed["cutoff_width"] = min(part, 1.0) * cutoff
        return changed

    def term(self, number: int, at: Array) -> Term:
        """The term `number` at coordinates (free,)."""
        start = self.terms[number]
        values = self.values(number, at)
        if not values:
            return start
        moved = start.at(values)
        origins = self.origins.get(number)
        return moved if origins is None else moved.followed(self.seen(moved, origins))

    def all_terms(self, at: Array) -> tuple[Term, ...]:
        """The terms at coordinates (free,)."""
        return tuple(self.term(number, at) for number in range(len(self.terms)))

    def around(self, at: Array, place: int, step: float) -> list[Term]:
        """The term of the coordinate `place` with this changed by +-`step` and by +-2 `step`."""
        number = self.free[place].term
        ends = []
        for times in (1.0, -1.0, 2.0, -2.0):
            moved = at.copy()
            moved[place] += times * step
            ends.append(self.term(number, moved))
        return ends

    def seen(self, term: Term, origins: Sequence[Origin]) -> list[Block]:
        """Blocks with the descriptors that `term` assigns to the environments at `origins`."""
        wanted = {int(n) for origin in origins for n in origin.structures}
        seen = {n: term.candidates(self.structures[n]) for n in sorted(wanted)}
        return [
            Block(
                block.species,
                np.ascontiguousarray(
                    [
                        seen[int(n)][block.species][place]
                        for n, place in zip(origin.structures, origin.places, strict=True)
                    ]
                ),
            )
            for block, origin in zip(term.blocks, origins, strict=True)
        ]


def origins_of(term: Term, structures: Sequence[Structure]) -> list[Origin]:
    """Origins of the term's sparse points, which were chosen among these structures' candidates.

    The first of several places with equal descriptors is taken.
    """
    nearest = [np.full(block.size, np.inf) for block in term.blocks]
    places_of = [np.zeros((2, block.size), dtype=np.intp) for block in term.blocks]
    for n, structure in enumerate(structures):
        for b, points, seen in _by_block(term, term.candidates(structure)):
            squares = np.sum(seen**2, axis=1) - 2.0 * points @ seen.T
            squares += np.sum(points**2, axis=1)[:, None]
            best = np.argmin(squares, axis=1)
            distances = squares[np.arange(len(points)), best]
            closer = distances < nearest[b] - 1e-12
            nearest[b] = np.where(closer, distances, nearest[b])
            places_of[b][:, closer] = np.stack([np.full(len(points), n), best])[:, closer]
    return [Origin(places[0], places[1]) for places in places_of]


def _by_block(
    term: Term, candidates: Mapping[Species, Array]
) -> Iterator[tuple[int, Array, Array]]:
    for b, block in enumerate(term.blocks):
        seen = candidates.get(block.species)
        if seen is not None and len(seen):
            yield b, block.points, seen
