"""Potentials ready for molecular dynamics: the file, the evaluator, the ASE calculator.

>>> from forcemap.potentials import load
>>> evaluator = load("potential.forcemap").evaluator(skin=0.5)   # doctest: +SKIP
>>> evaluator.compute(positions, numbers, cell, pbc).energy      # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forcemap.potentials.batch import BatchEvaluator
    from forcemap.potentials.calculator import ForcemapCalculator
    from forcemap.potentials.deviations import Deviations
    from forcemap.potentials.errors import ForcemapError, ModelFileError
    from forcemap.potentials.evaluator import Evaluator, Potential, Result, load

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

_HOME = {
    "BatchEvaluator": "batch",
    "Deviations": "deviations",
    "Evaluator": "evaluator",
    "ForcemapCalculator": "calculator",
    "ForcemapError": "errors",
    "ModelFileError": "errors",
    "Potential": "evaluator",
    "Result": "evaluator",
    "load": "evaluator",
}


def __getattr__(name: str) -> Any:
    # NumPy and ASE take their time; the command line's help, and its completion, need neither.
    if name in _HOME:
        found = globals()[name] = getattr(import_module(f".{_HOME[name]}", __name__), name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
