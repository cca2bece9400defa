"""Potentials ready for molecular dynamics: the file, the evaluator, the ASE calculator.

>>> from forcemap.potentials import load
>>> evaluator = load("potential.forcemap").evaluator(skin=0.5)   # doctest: +SKIP
>>> evaluator.compute(positions, numbers, cell, pbc).energy      # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forcemap.potentials.batch import BatchEvaluator
from forcemap.potentials.deviations import Deviations
from forcemap.potentials.errors import ForcemapError, ModelFileError
from forcemap.potentials.evaluator import Evaluator, Potential, Result, load

if TYPE_CHECKING:
    from forcemap.potentials.calculator import ForcemapCalculator

__all__ = [
    "BatchEvaluator",
    "Deviations",
    "Evaluator",
    "ForcemapCalculator",
    "ForcemapError",
    "ModelFileError",
    "Potential",
    "Result",
    "load",
]


def __getattr__(name: str) -> Any:
    # The calculator imports ASE, which drivers and the command line's help need not wait for.
    if name == "ForcemapCalculator":
        from forcemap.potentials.calculator import ForcemapCalculator

        return ForcemapCalculator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
