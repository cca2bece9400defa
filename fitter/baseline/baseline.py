"""The part of an energy that the process does not have to learn: isolated atoms and repulsion."""

from __future__ import annotations

from collections.abc import Mapping

from forcemap.fitter.baseline.repulsion import Repulsion
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.prediction import Prediction, evaluated
from forcemap.potentials import Evaluator
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.file.potential_file import PotentialData, as_potential
from forcemap.potentials.terms import ZblPairs

__all__ = ["Baseline", "repulsion_terms"]


def repulsion_terms(repulsion: Repulsion) -> tuple[ZblPairs, ...]:
    """The repulsion as terms of a potential; none without one."""
    if not repulsion:
        return ()
    pairs = {(SYMBOLS[a], SYMBOLS[b]): (c.inner, c.outer) for (a, b), c in repulsion.items()}
    return (ZblPairs(pairs),)


class Baseline:
    """The repulsion's share of energies, forces and stresses; nothing without one."""

    def __init__(self, species: tuple[int, ...], repulsion: Repulsion) -> None:
        """`species`: atomic numbers."""
        self._evaluator: Evaluator | None = None
        if repulsion:
            symbols = tuple(SYMBOLS[z] for z in species)
            data = PotentialData(symbols, dict.fromkeys(symbols, 0.0), repulsion_terms(repulsion))
            self._evaluator = as_potential(data).evaluator(skin=0.0)

    def energy(self, frame: Frame) -> float:
        """For one frame, eV."""
        return self.of(frame).energy

    def of(self, frame: Frame) -> Prediction:
        """For one frame."""
        if self._evaluator is None:
            return Prediction.nothing(frame)
        return evaluated(self._evaluator, frame)


def free_energy(frame: Frame, e0: Mapping[int, float]) -> float:
    """Energy of the frame's atoms far apart, eV."""
    return sum(e0[int(z)] for z in frame.numbers)
