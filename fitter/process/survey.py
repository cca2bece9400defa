"""A survey of the data before anything is fitted, computed once for a fit and for its estimate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations_with_replacement
from typing import Any, TypeVar

import numpy as np
from forcemap.fitter.baseline.isolated_atoms import uncertain_atoms
from forcemap.fitter.baseline.repulsion import Repulsion, repulsion_of
from forcemap.fitter.config import Settings
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.sparse.candidates import candidate_pools
from forcemap.fitter.sparse.methods import chosen_blocks
from forcemap.fitter.terms.base import Term
from numpy.typing import NDArray

__all__ = ["Survey", "shortest_distances"]

Array = NDArray[np.float64]
Value = TypeVar("Value")
AnyTerm = TypeVar("AnyTerm", bound=Term)


@dataclass(frozen=True)
class Survey:
    """The data for opening terms.

    Attributes:
        frames: the training frames.
        species: atomic numbers that appear, increasing.
        tolerance: tolerance of the map, eV/Å.
        seed: seed of all random choices.
        repulsion: where the data end, by pair of species; empty without a core or before it is known.
        uncertain_atoms: what energies of isolated atoms are known to, eV, by atomic number; infinite
            for nothing; without those that are known.
        learned: what terms have learned, by their settings as text.
        kept: results of `once` by key.
    """

    frames: Sequence[Frame]
    species: tuple[int, ...]
    tolerance: float = 1e-4
    seed: int = 0
    repulsion: Repulsion = field(default_factory=dict)
    uncertain_atoms: Mapping[int, float] = field(default_factory=dict)
    learned: Mapping[str, Any] = field(default_factory=dict, repr=False)
    kept: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, frames: Sequence[Frame], settings: Settings) -> Survey:
        """The survey of the training frames of a fit."""
        species = tuple(sorted({int(z) for frame in frames for z in frame.numbers}))
        uncertain = uncertain_atoms(frames, settings.e0)
        return cls(
            *(frames, species, settings.map.tolerance, settings.seed), uncertain_atoms=uncertain
        )

    def rng(self) -> np.random.Generator:
        """A fresh generator of random numbers, the same at every call."""
        return np.random.default_rng(self.seed)

    def with_repulsion(self, reach: float, advance: Callable[[], Any] = lambda: None) -> Survey:
        """The survey with the shortest distances of all pairs of species closer than `reach` (Å)."""
        shortest = shortest_distances(self.frames, reach, advance)
        return replace(self, repulsion=repulsion_of(self.species, shortest))

    def chosen(self, term: AnyTerm, method: str, count: int) -> AnyTerm:
        """The term with `count` sparse points of each combination of species, by `method`."""
        pools, _ = candidate_pools(self.frames, term, self.rng())
        blocks = chosen_blocks(term, pools, method, dict.fromkeys(pools, count))
        return term.with_blocks([block for block, _ in blocks])

    def once(self, key: str, make: Callable[[], Value]) -> Value:
        """The result of `make`, computed at the first call with this key."""
        if key not in self.kept:
            self.kept[key] = make()
        value: Value = self.kept[key]
        return value


def shortest_distances(
    frames: Sequence[Frame], cutoff: float, advance: Callable[[], Any] = lambda: None
) -> dict[tuple[int, int], float]:
    """Shortest distance of each pair of species in the data, Å; pairs beyond `cutoff` are left out."""
    shortest: dict[tuple[int, int], float] = {}
    for frame in frames:
        structure = Structure(frame, cutoff, derivatives=False)
        for a, b in combinations_with_replacement(sorted(structure.species), 2):
            distances = structure.neighbors.distances(a, b, cutoff)
            if len(distances):
                shortest[a, b] = min(shortest.get((a, b), np.inf), float(distances.min()))
        advance()
    return shortest
