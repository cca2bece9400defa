"""Counts the atoms whose extrapolation grade is beyond 1, and says so in one line.

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
    r"extrapolation grade: (\d+) of (\d+) atoms, in (\d+) of (\d+) structures looked at, are beyond 1 "
    r".*; the largest is (\S+)$",
    re.MULTILINE,
)


@dataclass
class GradeTally:
    """What was looked at, and how much of it was beyond a grade of 1.

    Attributes:
        atoms, structures: looked at.
        atoms_beyond, structures_beyond: of those.
        largest: grade.
    """

    atoms: int = 0
    structures: int = 0
    atoms_beyond: int = 0
    structures_beyond: int = 0
    largest: float = 0.0

    def count(self, grades: NDArray[np.float64]) -> None:
        """Count structures by their grades, (structures, atoms)."""
        beyond = grades > 1.0
        self.atoms += grades.size
        self.structures += len(grades)
        self.atoms_beyond += int(beyond.sum())
        self.structures_beyond += int(beyond.any(axis=1).sum())
        self.largest = max(self.largest, float(grades.max(initial=0.0)))

    def line(self) -> str:
        """For people, and for `read`."""
        return (
            f"extrapolation grade: {self.atoms_beyond} of {self.atoms} atoms, in "
            f"{self.structures_beyond} of {self.structures} structures looked at, are beyond 1 (the "
            f"99 % quantile of the training atoms); the largest is {self.largest:.3g}"
        )

    @classmethod
    def read(cls, texts: Iterable[str]) -> GradeTally:
        """The sum of all lines in texts; nothing looked at where there is none."""
        total = cls()
        for text in texts:
            for found in _LINE.finditer(text):
                total.atoms_beyond += int(found[1])
                total.atoms += int(found[2])
                total.structures_beyond += int(found[3])
                total.structures += int(found[4])
                total.largest = max(total.largest, float(found[5]))
        return total
