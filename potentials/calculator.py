"""ASE calculator: energy, free_energy, energies, forces, stress in ASE's own units.

Properties: ``energy``, ``free_energy`` (the same number: there are no electrons), ``energies``
(site energies), ``forces``, ``stress`` (periodic in three directions only, as in ASE); and, computed
only when they are asked for, ``energy_std`` (eV) and ``forces_std`` (n, 3) (eV/Å), calibrated standard
deviations of the model, and ``grade`` (n,), the extrapolation grade of each atom, 1 for the 99 %
quantile of the training atoms:

>>> from ase.build import bulk
>>> from forcemap.potentials import ForcemapCalculator
>>> atoms = bulk("Si", cubic=True)
>>> atoms.calc = ForcemapCalculator("potential.forcemap", threads=2)
>>> energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
>>> atoms.calc.get_property("forces_std", atoms).shape
(8, 3)

Keywords: ``skin`` in Å and ``threads``, the number of threads over atoms, which share the work of one
structure; the results of several differ from those of one by rounding (`Potential.evaluator`).
"""

from __future__ import annotations

from os import PathLike
from typing import Any, ClassVar

from ase.calculators.calculator import (
    Calculator,
    CalculatorSetupError,
    InputError,
    PropertyNotImplementedError,
    all_changes,
)
from ase.stress import full_3x3_to_voigt_6_stress
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.evaluator import DEFAULT_SKIN, Potential, load
from forcemap.potentials.process_lock import ProcessLock

__all__ = ["ForcemapCalculator"]

DEVIATIONS = {"energy_std", "forces_std"}


class ForcemapCalculator(Calculator):  # type: ignore[misc]
    """Evaluate a mapped potential through ASE.

    Threads may share one: each ``get_…`` call gives what belongs to its atoms, and waits for those
    of other threads. ``results`` holds what was calculated last, in whichever thread. For speed give
    each thread its own. Pickling and copying work, as does a pool of processes over atoms with this
    calculator; a copy has the same settings and results.

    Args:
        potential: the file, or a potential that was read.
        skin: Å beyond the cutoff that the neighbour list holds.
        threads: over the atoms of a structure.
        keywords: ASE's own, such as ``atoms`` and ``label``.
    """

    implemented_properties: ClassVar[list[str]] = [
        "energy",
        "free_energy",
        "energies",
        "forces",
        "stress",
        "energy_std",
        "forces_std",
        "grade",
    ]

    def __init__(
        self,
        potential: str | PathLike[str] | Potential,
        skin: float = DEFAULT_SKIN,
        threads: int = 1,
        **keywords: Any,
    ) -> None:
        """Read the potential, or take one that was read.

        Raises:
            CalculatorSetupError: the file is not a usable potential.
        """
        self._lock = ProcessLock()
        super().__init__(**keywords)
        try:
            self.potential = potential if isinstance(potential, Potential) else load(potential)
            self._evaluator = self.potential.evaluator(skin=skin, threads=threads)
        except ForcemapError as error:
            raise CalculatorSetupError(str(error)) from error

    def get_property(self, name: str, atoms: Any = None, allow_calculation: bool = True) -> Any:
        """See ASE: all ``get_…`` methods come here, with atoms that other threads know nothing of."""
        with self._lock:
            return super().get_property(name, atoms, allow_calculation)

    def calculate_properties(self, atoms: Any, properties: Any) -> Any:
        """See ASE."""
        with self._lock:
            return super().calculate_properties(atoms, properties)

    def calculate(
        self,
        atoms: Any = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Fill ``results``; raises ASE's InputError for a structure that cannot be evaluated."""
        with self._lock:
            kept = {} if system_changes else self.results
            self.results: dict[str, Any] = {}  # none of other atoms, should this fail
            super().calculate(atoms, properties, system_changes)
            self.results = kept | self._evaluate(self.atoms, properties or [])

    def _evaluate(self, atoms: Any, properties: list[str]) -> dict[str, Any]:
        if "stress" in properties and not atoms.pbc.all():
            raise PropertyNotImplementedError("stress needs a cell periodic in three directions")
        wanted = set(properties)
        self._refuse_missing(wanted)
        structure = atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc
        try:
            result = self._evaluator.compute(*structure, grades="grade" in wanted)
            deviations = self._evaluator.deviations(*structure) if wanted & DEVIATIONS else None
        except ForcemapError as error:
            raise InputError(str(error)) from error
        results: dict[str, Any] = {
            "energy": result.energy,
            "free_energy": result.energy,
            "energies": result.energies,
            "forces": result.forces,
        }
        if atoms.pbc.all():
            stress = -result.virial / atoms.get_volume()
            results["stress"] = full_3x3_to_voigt_6_stress(stress)
        if result.grades is not None:
            results["grade"] = result.grades
        if deviations is not None:
            results["energy_std"] = deviations.energy_std
            results["forces_std"] = deviations.forces_std
        return results

    def _refuse_missing(self, wanted: set[str]) -> None:
        if wanted & DEVIATIONS and not self.potential.draws:
            raise PropertyNotImplementedError(self.potential.without_draws)
        if "grade" in wanted and not self.potential.has_grade:
            raise PropertyNotImplementedError(self.potential.without_grade)
