"""Potentials ready for molecular dynamics: the file, the evaluator, the ASE calculator.

>>> from ase.build import bulk
>>> from forcemap.potentials import load
>>> potential = load("potential.forcemap")
>>> result = potential.evaluate(bulk("Si", cubic=True))
>>> print(f"{result.energy:.3f} eV, {abs(result.forces).max():.3f} eV/Å")   # doctest: +ELLIPSIS
-... eV, 0.000 eV/Å

For many structures of a trajectory `Potential.evaluator` is faster, since it keeps neighbour lists, for
many of the same atoms (beads) `Potential.batch_evaluator`; `ForcemapCalculator` is for ASE and for all
that works with its calculators.
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
