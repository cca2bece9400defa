from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from forcemap.ipi_driver.units import (
    BOHR_PER_ANGSTROM,
    HARTREE_PER_EV,
    reply_to_ipi,
    structure_from_ipi,
)

CELL = np.array([[9.0, 1.0, -0.5], [0.0, 8.0, 0.7], [0.0, 0.0, 7.0]])  # bohr, columns
POSITIONS = np.array([[0.3, -1.0, 2.0], [4.0, 5.0, 6.5]])


def test_constants_are_those_of_ipi() -> None:
    units = pytest.importorskip("ipi.utils.units")
    assert units.unit_to_internal("length", "angstrom", 1.0) == BOHR_PER_ANGSTROM
    assert units.unit_to_internal("energy", "electronvolt", 1.0) == HARTREE_PER_EV


def test_columns_become_rows() -> None:
    cell, positions = structure_from_ipi(CELL, POSITIONS)
    np.testing.assert_allclose(cell[1] * 1.8897261, [1.0, 8.0, 0.0], rtol=1e-15)
    np.testing.assert_allclose(positions * 1.8897261, POSITIONS, rtol=1e-15)


def _energy(cell: Any, positions: Any) -> float:
    """In hartree, of a smooth function of fractional coordinates and distances, eV and Å inside."""
    rows, places = structure_from_ipi(cell, positions)
    r = float(np.linalg.norm(places[1] - places[0] + rows[2]))
    return reply_to_ipi(1.0 / r + 0.1 * r**2, np.zeros((2, 3)), np.zeros((3, 3)))[0]


def _forces_and_virial(cell: Any, positions: Any) -> tuple[Any, Any]:
    rows, places = structure_from_ipi(cell, positions)
    d = places[1] - places[0] + rows[2]
    r = np.linalg.norm(d)
    gradient = (-1.0 / r**2 + 0.2 * r) * d / r
    forces = np.array([gradient, -gradient])
    _, forces, virial = reply_to_ipi(0.0, forces, -np.outer(d, gradient))
    return forces, virial


def test_forces_are_minus_gradient_of_energy_in_atomic_units() -> None:
    h = 1e-4  # bohr; the difference is off by h² times third derivatives of order 0.1
    forces, _ = _forces_and_virial(CELL, POSITIONS)
    for index in np.ndindex(2, 3):
        step = np.zeros((2, 3))
        step[index] = h
        slope = (_energy(CELL, POSITIONS + step) - _energy(CELL, POSITIONS - step)) / (2 * h)
        assert forces[index] == pytest.approx(-slope, abs=1e-9)


def test_virial_is_minus_derivative_by_strain_in_atomic_units() -> None:
    h = 1e-5
    _, virial = _forces_and_virial(CELL, POSITIONS)
    for index in np.ndindex(3, 3):
        strain = np.zeros((3, 3))
        strain[index] = h
        up, down = np.eye(3) + strain, np.eye(3) - strain
        # Vectors are columns in i-PI: r -> F r, so rows of positions are multiplied by F^T.
        slope = (
            _energy(up @ CELL, POSITIONS @ up.T) - _energy(down @ CELL, POSITIONS @ down.T)
        ) / (2 * h)
        assert virial[index] == pytest.approx(-slope, abs=1e-9)


def test_reply_is_made_of_new_arrays() -> None:
    forces, virial = np.ones((2, 3)), np.ones((3, 3))
    _, new_forces, new_virial = reply_to_ipi(0.0, forces, virial)
    assert not np.shares_memory(forces, new_forces)
    assert not np.shares_memory(virial, new_virial)
    assert new_virial.flags.c_contiguous
