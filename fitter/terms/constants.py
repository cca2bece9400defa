"""A constant for each species, fitted together with the other terms where e0 is not certain.

With ``e0: average`` nothing but the data determine it: their mean energy per atom is not the zero from
which sums of few-body functions count. Where e0 rests on a cohesive energy, that has an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.terms.base import Array, Block, MapPlan, Species, Term, TermView
from forcemap.fitter.terms.rows import RowLayout
from typing_extensions import override

__all__ = ["ConstantsTerm"]

DELTA = 10.0
"""Prior standard deviation, eV; so wide that the data alone determine the constants."""


@dataclass(frozen=True, eq=False)
class ConstantsTerm(Term):
    """A constant for each species; its sparse points are mere placeholders.

    Attributes:
        sigma: what the constants are known to, eV, before the data are seen; infinite for nothing.
            While hyperparameters are chosen, the constants have their wide `delta`.
    """

    kind: ClassVar[str] = "one_body"
    sees_angles: ClassVar[bool] = False

    delta: float = DELTA
    sigma: float = float("inf")
    blocks: tuple[Block, ...] = ()
    cutoff: float = 1.0

    @classmethod
    def of(cls, species: Sequence[int], sigma: float = float("inf")) -> ConstantsTerm:
        """The term with a constant for each of `species`."""
        return cls(sigma=sigma, blocks=tuple(Block((z,), np.zeros((1, 1))) for z in species))

    @override
    def combinations(self, species: Sequence[int]) -> list[Species]:
        return [(z,) for z in sorted(species)]

    @property
    @override
    def known_to(self) -> float:
        return self.sigma

    def candidates(self, structure: Structure) -> Mapping[Species, Array]:
        """One candidate for each species, the same for all its atoms."""
        return {(z,): np.zeros((1, 1)) for z in sorted(structure.species)}

    def kernel(self, species: Species, a: Array, b: Array) -> Array:
        """The kernel is 1: all atoms of a species share one constant."""
        return np.ones((len(a), len(b)))

    @override
    def add_rows(self, structure: Structure, rows: Array, start: int) -> None:
        for column, block in enumerate(self.blocks, start):
            rows[RowLayout.energy, column] += np.count_nonzero(
                structure.frame.numbers == block.species[0]
            )

    @override
    def atom_energies(self, weights: Array) -> Mapping[int, Array]:
        return {block.species[0]: some[0] for block, some in self.block_weights(weights)}

    def mapped(self, weights: Array, plan: MapPlan) -> None:
        """Nothing: the constants are part of the energies of isolated atoms."""
        return None

    @override
    def document(self) -> dict[str, Any]:
        return {}

    @classmethod
    @override
    def read(cls, view: TermView) -> ConstantsTerm:
        return cls(view.delta, blocks=view.blocks(1, lambda species: 1))
