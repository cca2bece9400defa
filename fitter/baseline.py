"""What the process does not have to learn: isolated atoms and the short-range repulsion."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from forcemap.fitter.frame import Frame
from forcemap.fitter.short_range import CorePair
from forcemap.potentials import Evaluator, Potential
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.model import PotentialData, ZblPairs, potential_bytes
from numpy.typing import NDArray

__all__ = ["CoreEnergy", "as_potential", "core_terms", "evaluate_frame"]

Array = NDArray[np.float64]


def as_potential(data: PotentialData) -> Potential:
    """The potential that a file with this content would give."""
    return Potential(potential_bytes(data))


def core_terms(core: Mapping[tuple[int, int], CorePair]) -> tuple[ZblPairs, ...]:
    """The core as terms of a potential; none without a core."""
    if not core:
        return ()
    return (ZblPairs({(SYMBOLS[a], SYMBOLS[b]): (c.inner, c.outer) for (a, b), c in core.items()}),)


class CoreEnergy:
    """The core's share of energies, forces and strain derivatives; nothing without a core."""

    def __init__(self, species: tuple[int, ...], core: Mapping[tuple[int, int], CorePair]) -> None:
        """`species`: atomic numbers; `core` by pair of them."""
        self._evaluator: Evaluator | None = None
        if core:
            symbols = tuple(SYMBOLS[z] for z in species)
            data = PotentialData(symbols, dict.fromkeys(symbols, 0.0), core_terms(core))
            self._evaluator = as_potential(data).evaluator(skin=0.0)

    def of(self, frame: Frame) -> tuple[float, Array, Array]:
        """As `evaluate_frame`."""
        if self._evaluator is None:
            return 0.0, np.zeros((len(frame.numbers), 3)), np.zeros(6)
        return evaluate_frame(self._evaluator, frame)


def evaluate_frame(evaluator: Evaluator, frame: Frame) -> tuple[float, Array, Array]:
    """Energy (eV), forces (n, 3) (eV/Å) and strain derivatives (6,) (eV; xx yy zz yz xz xy)."""
    result = evaluator.compute(frame.positions, frame.numbers, frame.cell, frame.pbc)
    strain = -result.virial[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    return result.energy, result.forces, strain
