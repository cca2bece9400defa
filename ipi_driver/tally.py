"""Counts the atoms whose extrapolation grade is above 1, and says so in one line.

The driver writes the line when it ends; `forcemap pimd` reads those of its drivers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["GradeTally"]

_LINE = re.compile(
    r"(\d+) of (\d+) atoms in (\d+) of (\d+) structures looked at have an extrapolation grade above 1 "
    r"\(largest (\S+)\)$",
    re.MULTILINE,
)


@dataclass
class GradeTally:
    """What was looked at, and how much of it had a grade above 1, as one in a hundred training atoms.

    Attributes:
        atoms, structures: looked at.
        atoms_above, structures_above: of those.
        largest: grade.
    """

    atoms: int = 0
    structures: int = 0
    atoms_above: int = 0
    structures_above: int = 0
    largest: float = 0.0

    def count(self, grades: NDArray[np.float64]) -> None:
        """Count structures by their grades, (structures, atoms)."""
        above = grades > 1.0
        self.atoms += grades.size
        self.structures += len(grades)
        self.atoms_above += int(above.sum())
        self.structures_above += int(above.any(axis=1).sum())
        self.largest = max(self.largest, float(grades.max(initial=0.0)))

    def line(self) -> str:
        """For people, and for `read`."""
        return (
            f"{self.atoms_above} of {self.atoms} atoms in {self.structures_above} of "
            f"{self.structures} structures looked at have an extrapolation grade above 1 "
            f"(largest {self.largest:.3g})"
        )

    @classmethod
    def read(cls, texts: Iterable[str]) -> GradeTally:
        """The sum of all lines in texts; nothing looked at where there is none."""
        total = cls()
        for text in texts:
            for found in _LINE.finditer(text):
                total.atoms_above += int(found[1])
                total.atoms += int(found[2])
                total.structures_above += int(found[3])
                total.structures += int(found[4])
                total.largest = max(total.largest, float(found[5]))
        return total
