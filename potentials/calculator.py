"""ASE calculator: energy, free_energy, energies, forces, stress in ASE's own units.

Properties: ``energy``, ``free_energy`` (the same number: there are no electrons), ``energies``
(site energies), ``forces``, ``stress`` (periodic in three directions only, as in ASE).
Keywords: ``skin`` in Å and ``threads``.
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

__all__ = ["ForcemapCalculator"]


class ForcemapCalculator(Calculator):  # type: ignore[misc]
    """Evaluate a mapped potential through ASE.

    >>> atoms.calc = ForcemapCalculator("out/potential.forcemap")   # doctest: +SKIP
    """

    implemented_properties: ClassVar[list[str]] = [
        "energy",
        "free_energy",
        "energies",
        "forces",
        "stress",
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
        super().__init__(**keywords)
        try:
            self.potential = potential if isinstance(potential, Potential) else load(potential)
            self._evaluator = self.potential.evaluator(skin=skin, threads=threads)
        except ForcemapError as error:
            raise CalculatorSetupError(str(error)) from error

    def calculate(
        self,
        atoms: Any = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Fill ``results``; raises ASE's InputError for a structure that cannot be evaluated."""
        super().calculate(atoms, properties, system_changes)
        atoms = self.atoms
        if properties and "stress" in properties and not atoms.pbc.all():
            raise PropertyNotImplementedError("stress needs a cell periodic in three directions")
        try:
            result = self._evaluator.compute(
                atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc
            )
        except ForcemapError as error:
            raise InputError(str(error)) from error
        self.results: dict[str, Any] = {
            "energy": result.energy,
            "free_energy": result.energy,
            "energies": result.energies,
            "forces": result.forces,
        }
        if atoms.pbc.all():
            stress = -result.virial / atoms.get_volume()
            self.results["stress"] = full_3x3_to_voigt_6_stress(stress)
