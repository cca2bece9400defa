"""A structure with everything that a file says of it, before it is known which of that are labels.

Lighter than ASE's Atoms, which copies every structure for its calculator: a file of 100,000 frames is
held in memory until its labels are chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["RawStructure"]

Array = NDArray[np.float64]


@dataclass(slots=True, eq=False)
class RawStructure:
    """One structure of a file.

    Attributes:
        numbers: (n,) atomic numbers.
        positions: (n, 3) Å.
        cell: (3, 3) rows are lattice vectors, Å; zero where there is none.
        pbc: (3,) which directions are periodic.
        arrays: further values of each atom, (n, ...), by name.
        info: values of the whole structure, by name.
        results: what ASE takes for results of a calculation, such as `energy` and `forces`.
    """

    numbers: NDArray[np.integer[Any]]
    positions: Array
    cell: Array
    pbc: NDArray[np.bool_]
    arrays: Mapping[str, Any]
    info: dict[str, Any]
    results: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.numbers)

    @classmethod
    def of(cls, structure: Any) -> RawStructure:
        """The same of ASE's Atoms; a RawStructure is returned as it is."""
        if isinstance(structure, cls):
            return structure
        own = ("numbers", "positions")
        return cls(
            structure.numbers,
            structure.positions,
            structure.cell.array,
            structure.pbc,
            {name: values for name, values in structure.arrays.items() if name not in own},
            structure.info,
            {} if structure.calc is None else structure.calc.results,
        )

    def atoms(self) -> Any:
        """ASE's Atoms, as ASE's reader of extended XYZ makes them."""
        from ase import Atoms
        from ase.calculators.singlepoint import SinglePointCalculator

        atoms = Atoms(
            self.numbers, positions=self.positions, cell=self.cell, pbc=self.pbc, info=self.info
        )
        for name, values in self.arrays.items():
            atoms.new_array(name, values)
        if self.results:
            atoms.calc = SinglePointCalculator(atoms, **self.results)
        return atoms
