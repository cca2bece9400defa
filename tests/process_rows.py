"""Rows of a process, and what holds for those of any terms: differences, symmetries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from forcemap.fitter.terms.base import Term
from forcemap.fitter.terms.rows import frame_rows
from numpy.typing import NDArray
from structures import as_frame

__all__ = [
    "VOIGT",
    "check_order_of_atoms",
    "check_rotation",
    "check_sum_of_forces",
    "check_supercell",
    "check_translation",
    "difference_errors",
    "rows",
    "split",
]

Array = NDArray[np.float64]

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""(i, j) of the strain rows: xx yy zz yz xz xy."""


def rows(atoms: Atoms, terms: Sequence[Term]) -> Array:
    """Rows of the energy, the forces and the strain derivatives, (1 + 3 n + 6, sparse points)."""
    return frame_rows(as_frame(atoms), terms)


def transformed(atoms: Atoms, matrix: Array) -> Atoms:
    """Cell and positions, as rows, times `matrix`."""
    result = atoms.copy()
    result.set_cell(atoms.cell.array @ matrix)
    result.positions = atoms.positions @ matrix
    return result


def difference_errors(atoms: Atoms, terms: Sequence[Term], h: float) -> tuple[Array, Array]:
    """Errors of the force and strain rows against central differences of step `h`."""
    analytic = rows(atoms, terms)
    n = len(atoms)

    def energies(changed: Atoms) -> Array:
        return np.asarray(frame_rows(as_frame(changed), terms, derivatives=False)[0])

    forces = np.empty((3 * n, analytic.shape[1]))
    for m in range(3 * n):
        ends = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[m // 3, m % 3] += sign * h
            ends.append(energies(moved))
        forces[m] = -(ends[0] - ends[1]) / (2 * h)
    strains = np.empty((6, analytic.shape[1]))
    for v, (a, b) in enumerate(VOIGT):
        strain = np.zeros((3, 3))
        strain[a, b] += h / 2
        strain[b, a] += h / 2
        plus, minus = (energies(transformed(atoms, np.eye(3) + s)) for s in (strain, -strain))
        strains[v] = (plus - minus) / (2 * h)
    return forces - analytic[1 : 1 + 3 * n], strains - analytic[1 + 3 * n :]


def split(found: Array) -> tuple[Array, Array, Array]:
    """Energy (columns), forces (n, 3, columns), strain (3, 3, columns)."""
    strain = np.empty((3, 3, found.shape[1]))
    for v, (a, b) in enumerate(VOIGT):
        strain[a, b] = strain[b, a] = found[len(found) - 6 + v]
    return found[0], found[1:-6].reshape(-1, 3, found.shape[1]), strain


def close(found: Array, expected: tuple[Array, Array, Array], atol: float) -> None:
    """`found` rows are those of energy, forces and strain `expected`."""
    for part, wanted, room in zip(split(found), expected, (1, 1, 10), strict=True):
        np.testing.assert_allclose(part, wanted, rtol=0, atol=room * atol)


def check_rotation(
    atoms: Atoms, terms: Sequence[Term], atol: float, *, mirror: bool = False
) -> Atoms:
    """Forces and strain turn with the atoms, the energy stays; returns the turned atoms."""
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    rotation *= np.linalg.det(rotation) * (-1.0 if mirror else 1.0)
    energy, forces, strain = split(rows(atoms, terms))
    forces = np.einsum("nac,ab->nbc", forces, rotation)
    strain = np.einsum("ai,abc,bj->ijc", rotation, strain, rotation)
    turned = transformed(atoms, rotation)
    close(rows(turned, terms), (energy, forces, strain), atol)
    return turned


def check_order_of_atoms(atoms: Atoms, terms: Sequence[Term], atol: float) -> None:
    """The order of the atoms changes that of the forces only."""
    order = np.random.default_rng(2).permutation(len(atoms))
    energy, forces, strain = split(rows(atoms, terms))
    close(rows(atoms[order], terms), (energy, forces[order], strain), atol)


def check_translation(atoms: Atoms, terms: Sequence[Term]) -> None:
    """Translation and wrapping change nothing.

    Positions of a hundred Å and their lattice vectors round at 1e-14 Å.
    """
    expected = rows(atoms, terms)
    moved = atoms.copy()
    moved.positions += [3.1, -7.3, 11.7]
    np.testing.assert_allclose(rows(moved, terms), expected, rtol=0, atol=1e-10)
    moved.positions[::2] += np.where(atoms.pbc, [2.0, -3.0, 5.0], 0.0) @ atoms.cell.array
    np.testing.assert_allclose(rows(moved, terms), expected, rtol=0, atol=1e-10)


def check_supercell(atoms: Atoms, terms: Sequence[Term], atol: float) -> None:
    """A supercell repeats the forces and multiplies energy and strain."""
    repeats = np.where(atoms.pbc, [2, 2, 1], 1)
    copies = int(np.prod(repeats))
    energy, forces, strain = split(rows(atoms, terms))
    expected = copies * energy, np.tile(forces, (copies, 1, 1)), copies * strain
    close(rows(atoms.repeat(repeats), terms), expected, atol)


def check_sum_of_forces(atoms: Atoms, terms: Sequence[Term], atol: float) -> None:
    """No frame pulls itself."""
    _, forces, _ = split(rows(atoms, terms))
    np.testing.assert_allclose(forces.sum(axis=0), 0.0, rtol=0, atol=atol)
