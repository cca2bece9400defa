"""The ASE calculator: properties, ASE's sign conventions and ASE's exceptions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import structures
from ase.calculators.calculator import (
    CalculatorSetupError,
    InputError,
    PropertyNotImplementedError,
)
from ase.optimize import BFGS
from forcemap.potentials import ForcemapCalculator, Potential, load
from forcemap.potentials.file.potential_file import write_potential
from potentials_factory import random_potential


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("potential") / "potential.forcemap"
    write_potential(random_potential(["H", "O", "Si"], 8, two_body_cutoff=4.2), file)
    return file


@pytest.fixture
def potential(path: Path) -> Potential:
    return load(path)


@pytest.mark.parametrize("name", structures.PERIODIC)
def test_properties_are_those_of_the_evaluator(name: str, path: Path, potential: Potential) -> None:
    """The same numbers: nothing but the stress is computed here."""
    atoms = structures.get(name)
    atoms.calc = ForcemapCalculator(path)
    expected = potential.evaluator().compute(
        atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc
    )
    assert atoms.get_potential_energy() == expected.energy
    assert atoms.get_potential_energy(force_consistent=True) == expected.energy
    np.testing.assert_array_equal(atoms.get_forces(), expected.forces)
    np.testing.assert_array_equal(atoms.get_potential_energies(), expected.energies)
    stress = atoms.get_stress(voigt=False)
    np.testing.assert_allclose(stress * atoms.get_volume(), -expected.virial, rtol=0, atol=1e-12)


def test_stress_is_the_strain_derivative_per_volume(path: Path) -> None:
    """ASE's own differences, whose error is some (1e-5)² times a third derivative."""
    from ase.calculators.fd import calculate_numerical_stress

    atoms = structures.get("triclinic cell")
    atoms.calc = ForcemapCalculator(path)
    numerical = calculate_numerical_stress(atoms, eps=1e-5)
    np.testing.assert_allclose(atoms.get_stress(), numerical, rtol=0, atol=1e-7)


def test_stress_needs_three_periodic_directions(path: Path) -> None:
    atoms = structures.get("slab")
    atoms.calc = ForcemapCalculator(path)
    with pytest.raises(PropertyNotImplementedError, match="periodic in three"):
        atoms.get_stress()
    assert np.isfinite(atoms.get_forces()).all()


def test_every_change_is_noticed(path: Path, potential: Potential) -> None:
    atoms = structures.get("three species")
    atoms.calc = ForcemapCalculator(path)

    def assert_fresh() -> None:
        expected = potential.evaluator().compute(
            atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc
        )
        assert atoms.get_potential_energy() == pytest.approx(expected.energy, rel=1e-13)
        np.testing.assert_allclose(atoms.get_forces(), expected.forces, rtol=0, atol=1e-11)

    assert_fresh()
    atoms.positions[0, 0] += 0.01
    assert_fresh()
    atoms.set_cell(atoms.cell.array * 1.02, scale_atoms=True)
    assert_fresh()
    atoms.numbers[1] = 14 if atoms.numbers[1] != 14 else 8
    assert_fresh()
    atoms.pbc = False
    assert_fresh()


def test_results_stay_when_atoms_move_on(path: Path) -> None:
    atoms = structures.get("two species")
    atoms.calc = ForcemapCalculator(path)
    forces = atoms.get_forces()
    copy = forces.copy()
    atoms.positions += np.random.default_rng(1).normal(scale=0.05, size=copy.shape)
    assert np.abs(atoms.get_forces() - copy).max() > 1e-3
    np.testing.assert_array_equal(forces, copy)


def test_optimizer_goes_downhill(path: Path) -> None:
    atoms = structures.get("molecule")
    atoms.calc = ForcemapCalculator(path, skin=1.0, threads=2)
    start = atoms.get_potential_energy()
    BFGS(atoms, logfile=None).run(fmax=0.01, steps=15)
    assert atoms.get_potential_energy() < start


def test_takes_a_loaded_potential(potential: Potential) -> None:
    atoms = structures.get("slab")
    atoms.calc = ForcemapCalculator(potential)
    assert np.isfinite(atoms.get_potential_energy())


def test_errors_are_those_of_ase(path: Path, tmp_path: Path) -> None:
    with pytest.raises(CalculatorSetupError, match=r"nothing\.forcemap"):
        ForcemapCalculator(tmp_path / "nothing.forcemap")
    with pytest.raises(CalculatorSetupError, match="skin"):
        ForcemapCalculator(path, skin=-1.0)
    atoms = structures.get("two species")
    atoms.calc = ForcemapCalculator(path)
    atoms.numbers[0] = 79
    with pytest.raises(InputError, match="atomic number 79"):
        atoms.get_potential_energy()
    atoms = structures.get("two species")
    atoms.calc = ForcemapCalculator(path)
    atoms.positions[1] = atoms.positions[0]
    with pytest.raises(InputError, match="same place"):
        atoms.get_forces()
