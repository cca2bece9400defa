from __future__ import annotations

import numpy as np
import pytest
from forcemap.ipi_driver.units import (
    BOHR_PER_ANGSTROM,
    HARTREE_PER_EV,
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
