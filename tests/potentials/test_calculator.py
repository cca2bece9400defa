"""The ASE calculator: properties, ASE's sign conventions and ASE's exceptions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structures
from ase.calculators.calculator import (
    CalculatorSetupError,
    InputError,
    PropertyNotImplementedError,
)
from ase.optimize import BFGS
from forcemap.potentials import Deviations, Evaluator, ForcemapCalculator, Potential, load
from forcemap.potentials.file.potential_file import as_potential, write_potential
from forcemap.potentials.grade import AngularMoments, Moments
from potentials_factory import random_potential, with_draws, with_grade


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


@pytest.fixture(scope="module")
def full() -> Potential:
    """With draws and a grade."""
    data = with_draws(random_potential(["H", "O", "Si"], 8, two_body_cutoff=4.2), 5, 1)
    return as_potential(with_grade(data, 2, Moments(4.0, 2, AngularMoments(3.5, 1))))


def test_deviations_and_grades_are_those_of_the_evaluator(full: Potential) -> None:
    atoms = structures.get("triclinic cell")
    calculator = ForcemapCalculator(full)
    structure = atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc
    expected = full.evaluator().deviations(*structure)
    assert calculator.get_property("energy_std", atoms) == expected.energy_std
    np.testing.assert_array_equal(calculator.get_property("forces_std", atoms), expected.forces_std)
    grades = full.evaluator().compute(*structure, grades=True).grades
    np.testing.assert_array_equal(calculator.get_property("grade", atoms), grades)


def test_deviations_and_grades_are_computed_when_they_are_asked_for(
    full: Potential, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They stay beside the energy for the same atoms, and go with them."""
    calls = []
    deviations = Evaluator.deviations

    def counted(self: Evaluator, *arguments: Any) -> Deviations:
        calls.append(1)
        return deviations(self, *arguments)

    monkeypatch.setattr(Evaluator, "deviations", counted)
    plain = {"energy", "free_energy", "energies", "forces", "stress"}
    atoms = structures.get("triclinic cell")
    atoms.calc = ForcemapCalculator(full)
    energy = atoms.get_potential_energy()
    assert set(atoms.calc.results) == plain
    assert not calls
    atoms.calc.get_property("grade", atoms)
    assert set(atoms.calc.results) == plain | {"grade"}
    atoms.calc.get_property("forces_std", atoms)
    atoms.calc.get_property("energy_std", atoms)
    assert len(calls) == 1
    assert set(atoms.calc.results) == plain | {"grade", "forces_std", "energy_std"}
    assert atoms.get_potential_energy() == energy
    atoms.positions[0] += 0.1
    atoms.get_forces()
    assert set(atoms.calc.results) == plain


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("grade", "potential.forcemap has no extrapolation grade: map its model again"),
        (
            "forces_std",
            "potential.forcemap has no draws, which deviations come from: map its model again with",
        ),
        ("energy_std", "potential.forcemap has no draws"),
    ],
)
def test_a_potential_without_draws_or_grade_says_so(name: str, message: str, path: Path) -> None:
    atoms = structures.get("triclinic cell")
    atoms.calc = ForcemapCalculator(path)
    with pytest.raises(PropertyNotImplementedError, match=message):
        atoms.calc.get_property(name, atoms)
    assert np.isfinite(atoms.get_forces()).all()


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


@pytest.mark.parametrize("name", ["triclinic cell", "slab", "molecule", "isolated atom"])
def test_threads_change_nothing_but_rounding(name: str, full: Potential) -> None:
    """Up to the order of the sums over atoms; 1e-12 of the largest number is 4500 times rounding."""
    atoms = structures.get(name)
    one = ForcemapCalculator(full, threads=1)
    wanted = ["energies", "forces", "energy_std", "forces_std", "grade"]
    wanted += ["stress"] if atoms.pbc.all() else []
    for threads in (2, 3, 8):
        calculator = ForcemapCalculator(full, threads=threads)
        for what in wanted:
            found, expected = (c.get_property(what, atoms) for c in (calculator, one))
            scale = max(1.0, float(np.abs(expected).max()))
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * scale, err_msg=what)


def test_threads_are_checked(full: Potential) -> None:
    with pytest.raises(CalculatorSetupError, match="threads must be at least 1, found 0"):
        ForcemapCalculator(full, threads=0)


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
