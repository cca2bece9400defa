"""Elastic constants by small strains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from forcemap.fitter.checked import Checked, integer, number, read_by
from forcemap.fitter.data.units import GPA
from forcemap.fitter.validation.check import (
    CrystalCheck,
    Grade,
    NotComputed,
    Number,
    Outcome,
    Subject,
    Task,
    Verdict,
)
from forcemap.fitter.validation.relaxing import relax
from numpy.typing import NDArray

__all__ = ["Elastic", "constants_of", "different_constants"]

Array = NDArray[np.float64]

CLASSES = (((0, 0), (1, 1), (2, 2)), ((0, 1), (0, 2), (1, 2)), ((3, 3), (4, 4), (5, 5)))
"""Entries of the matrix that symmetry may make equal."""

OTHERS = tuple((i, j) for i in range(6) for j in range(max(i + 1, 3), 6))

ALIKE = 0.01
"""Constants that differ by less of the largest are the same, or are zero."""


@dataclass(frozen=True)
class ElasticSettings(Checked):
    """Central differences of stresses, with atoms relaxed in each strained cell."""

    strain: float = field(default=0.005, metadata=read_by(number(above=0, at_most=0.1)))
    """largest strain, up and down."""

    fmax: float = field(default=1e-3, metadata=read_by(number(above=0, at_most=1)))
    """eV/Å: forces below which a structure is relaxed."""

    steps: int = field(default=200, metadata=read_by(integer(at_least=1, at_most=100_000)))
    """largest number of steps of a relaxation."""


class Elastic(CrystalCheck):
    """The matrix of elastic constants, C_ij = d stress_i / d strain_j in Voigt's notation."""

    name: ClassVar[str] = "elastic"
    title: ClassVar[str] = "Elastic constants"
    settings: ClassVar[type[Checked]] = ElasticSettings

    def names(self, subject: Subject, settings: Any) -> Sequence[str]:
        """All constants that a crystal may have, and the means over directions."""
        every = [entry for group in CLASSES for entry in group] + list(OTHERS)
        return [
            *(f"C{i + 1}{j + 1}" for i, j in every),
            "bulk modulus (Hill)",
            "shear modulus (Hill)",
        ]

    def parts(self, subject: Subject, settings: Any) -> int | None:
        """Strained cells."""
        return 12

    def run(self, task: Task) -> Outcome:
        """Stresses of all strains."""
        matrix = constants_of(task)
        numbers = {
            f"C{i + 1}{j + 1}": Number(float(matrix[i, j]) * GPA, "GPa")
            for i, j in different_constants(matrix)
        }
        lowest = float(np.linalg.eigvalsh(matrix).min()) * GPA
        if lowest > 0:
            bulk, shear = hill(matrix)
            numbers["bulk modulus (Hill)"] = Number(bulk * GPA, "GPa")
            numbers["shear modulus (Hill)"] = Number(shear * GPA, "GPa")
        verdict = Verdict(
            "elastically-stable",
            Grade.PASS if lowest > 0 else Grade.FAIL,
            f"the smallest eigenvalue of the elastic constants is {lowest:.4g} GPa",
            "all eigenvalues of the matrix are positive (Born's criterion)",
        )
        return Outcome(numbers, [verdict], {"matrix": (matrix * GPA).tolist()})


def constants_of(task: Task) -> Array:
    """(6, 6) elastic constants of the task's crystal, eV/Å³, symmetric."""
    crystal, strain = task.crystal(), task.settings.strain
    columns = []
    for component in range(6):
        stresses = []
        for sign in (1.0, -1.0):
            voigt = np.zeros(6)
            voigt[component] = sign * strain
            xx, yy, zz, yz, xz, xy = voigt
            deformation = np.eye(3) + np.array(
                [[xx, xy / 2, xz / 2], [xy / 2, yy, yz / 2], [xz / 2, yz / 2, zz]]
            )
            atoms = crystal.copy()
            atoms.calc = crystal.calc
            atoms.set_cell(crystal.cell.array @ deformation, scale_atoms=True)
            if not relax(atoms, task.settings.fmax, task.settings.steps, advance=task.advance):
                raise NotComputed("the strained crystal does not come to rest")
            stresses.append(atoms.get_stress(voigt=True))
        columns.append((stresses[0] - stresses[1]) / (2.0 * strain))
    matrix: Array = np.array(columns)
    return np.asarray(0.5 * (matrix + matrix.T))


def different_constants(matrix: Array) -> list[tuple[int, int]]:
    """Entries that are neither zero nor the same as one before them by symmetry."""
    least = ALIKE * float(np.abs(matrix).max())
    kept: list[tuple[int, int]] = []
    for group in CLASSES:
        own: list[tuple[int, int]] = []
        for entry in group:
            if all(abs(matrix[entry] - matrix[other]) > least for other in own):
                own.append(entry)
        kept += own
    return kept + [entry for entry in OTHERS if abs(matrix[entry]) > least]


def hill(matrix: Array) -> tuple[float, float]:
    """Bulk and shear modulus of a polycrystal, the mean of Voigt's and Reuss' bounds.

    Hill, Proc. Phys. Soc. A 65, 349 (1952), doi:10.1088/0370-1298/65/5/307.
    """
    compliance = np.linalg.inv(matrix)
    normal, cross = np.trace(matrix[:3, :3]), matrix[0, 1] + matrix[0, 2] + matrix[1, 2]
    voigt = (normal + 2 * cross) / 9, (normal - cross + 3 * np.trace(matrix[3:, 3:])) / 15
    soft, other = (
        np.trace(compliance[:3, :3]),
        compliance[0, 1] + compliance[0, 2] + compliance[1, 2],
    )
    reuss = (
        1 / (soft + 2 * other),
        15 / (4 * soft - 4 * other + 3 * np.trace(compliance[3:, 3:])),
    )
    return float((voigt[0] + reuss[0]) / 2), float((voigt[1] + reuss[1]) / 2)
