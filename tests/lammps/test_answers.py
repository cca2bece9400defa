"""One structure: LAMMPS gives what the core gives, and forces and virials are derivatives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from forcemap.potentials import load
from lammps_runs import Frame, evaluate, forcemap_pair, species_of

STEP = 1e-4  # Å, or strain; the error of a central difference is some STEP² times f'''


def pair_for(atoms: Atoms, potential: Path) -> str:
    return forcemap_pair(potential, species_of(atoms))


def test_equals_the_python_evaluator(structure: Atoms, ternary_file: Path, tmp_path: Path) -> None:
    found = evaluate(tmp_path, structure, pair_for(structure, ternary_file))
    expected = (
        load(ternary_file)
        .evaluator()
        .compute(structure.positions, structure.numbers, structure.cell.array, structure.pbc)
    )
    assert found.energy == pytest.approx(expected.energy, rel=1e-10)
    np.testing.assert_allclose(found.energies, expected.energies, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found.forces, expected.forces, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.virial, expected.virial, rtol=0, atol=1e-9)


def test_atoms_sum_to_the_whole(structure: Atoms, ternary_file: Path, tmp_path: Path) -> None:
    found = evaluate(tmp_path, structure, pair_for(structure, ternary_file))
    assert found.energies.sum() == pytest.approx(found.energy, rel=1e-12)
    np.testing.assert_allclose(found.atom_virials.sum(axis=0), found.virial, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.centroid_virials.sum(axis=0), found.virial, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.forces.sum(axis=0), 0.0, atol=1e-10)


def test_atom_virials_are_the_symmetric_part_of_the_centroid_ones(
    triclinic: Atoms, ternary_file: Path, tmp_path: Path
) -> None:
    found = evaluate(tmp_path, triclinic, pair_for(triclinic, ternary_file))
    centroid = found.centroid_virials
    np.testing.assert_allclose(
        found.atom_virials, 0.5 * (centroid + centroid.transpose(0, 2, 1)), rtol=0, atol=1e-10
    )
    assert np.abs(centroid - centroid.transpose(0, 2, 1)).max() > 1e-3  # else this says nothing


def test_atom_virial_is_booked_where_the_force_acts(ternary_file: Path, tmp_path: Path) -> None:
    """W_j = sum_i (r_j - r_i) ⊗ (-dE_i/dr_j), the derivative taken by differences of E_i."""
    atoms = Atoms("HOSi", [[0, 0, 0], [1.6, 0.2, 0], [0.3, 1.7, 0.4]])
    atoms.set_cell(np.diag([30.0, 30.0, 30.0]))
    atoms.positions += 12.0
    evaluator = load(ternary_file).evaluator()

    def energies(positions: np.ndarray) -> np.ndarray:
        return evaluator.compute(positions, atoms.numbers, atoms.cell.array, atoms.pbc).energies

    expected = np.zeros((3, 3, 3))
    for j in range(3):
        for axis in range(3):
            step = np.zeros((3, 3))
            step[j, axis] = STEP
            slope = energies(atoms.positions + step) - energies(atoms.positions - step)
            for i in range(3):
                r_ij = atoms.positions[j] - atoms.positions[i]
                expected[j, :, axis] -= r_ij * slope[i] / (2 * STEP)
    found = evaluate(tmp_path, atoms, pair_for(atoms, ternary_file))
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found.centroid_virials, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("units", ["metal", "real"])
def test_virial_is_the_same_without_fdotr(
    triclinic: Atoms, ternary_file: Path, tmp_path: Path, units: str
) -> None:
    pair = pair_for(triclinic, ternary_file)
    found = evaluate(tmp_path, triclinic, pair, units=units)
    again = evaluate(tmp_path, triclinic, pair + "\npair_modify nofdotr", units=units)
    scale = np.abs(found.virial).max()
    assert scale > 0.0
    np.testing.assert_allclose(again.virial, found.virial, rtol=0, atol=1e-12 * scale)
    np.testing.assert_allclose(again.forces, found.forces, rtol=0, atol=0)


def test_units_real(crystal: Atoms, silicon_file: Path, tmp_path: Path) -> None:
    metal = evaluate(tmp_path, crystal, pair_for(crystal, silicon_file))
    real = evaluate(tmp_path, crystal, pair_for(crystal, silicon_file), units="real")
    # LAMMPS' own kcal/mol per eV.
    assert real.energy == pytest.approx(23.060549 * metal.energy, rel=1e-12)
    np.testing.assert_allclose(real.forces, 23.060549 * metal.forces, rtol=0, atol=1e-10)
    np.testing.assert_allclose(real.energies, 23.060549 * metal.energies, rtol=1e-12)


@pytest.mark.parametrize("case", ["crystal", "triclinic"])
def test_forces_are_minus_the_gradient(
    case: str, request: pytest.FixtureRequest, ternary_file: Path, tmp_path: Path
) -> None:
    atoms = request.getfixturevalue(case)
    pair = pair_for(atoms, ternary_file)
    forces = evaluate(tmp_path, atoms, pair).forces
    for atom, axis in [(0, 0), (3, 1), (7, 2)]:
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * STEP
            energies.append(evaluate(tmp_path, moved, pair).energy)
        slope = (energies[0] - energies[1]) / (2 * STEP)
        assert -slope == pytest.approx(forces[atom, axis], abs=1e-6), (atom, axis)


@pytest.mark.parametrize("case", ["crystal", "triclinic"])
def test_virial_is_minus_the_strain_derivative(
    case: str, request: pytest.FixtureRequest, ternary_file: Path, tmp_path: Path
) -> None:
    atoms = request.getfixturevalue(case)
    pair = pair_for(atoms, ternary_file)
    virial = evaluate(tmp_path, atoms, pair).virial
    for a, b in [(0, 0), (1, 1), (2, 2), (0, 1), (1, 2)]:
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += 0.5 * sign * STEP
            strain[b, a] += 0.5 * sign * STEP
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            energies.append(evaluate(tmp_path, strained, pair).energy)
        slope = (energies[0] - energies[1]) / (2 * STEP)
        assert -slope == pytest.approx(virial[a, b], rel=1e-6, abs=1e-4), (a, b)


def test_order_of_atoms_does_not_matter(
    triclinic: Atoms, ternary_file: Path, tmp_path: Path
) -> None:
    pair = pair_for(triclinic, ternary_file)
    order = np.random.default_rng(9).permutation(len(triclinic))
    found = evaluate(tmp_path, triclinic, pair)
    shuffled = evaluate(tmp_path, triclinic[order], pair)
    assert shuffled.energy == pytest.approx(found.energy, rel=1e-12)
    np.testing.assert_allclose(shuffled.energies, found.energies[order], rtol=0, atol=1e-12)
    np.testing.assert_allclose(shuffled.forces, found.forces[order], rtol=0, atol=1e-12)


@pytest.mark.parametrize("types", [["Si", "H", "O"], ["O", "Si", "H"]])
def test_order_of_types_does_not_matter(
    triclinic: Atoms, ternary_file: Path, tmp_path: Path, types: list[str]
) -> None:
    found = evaluate(tmp_path, triclinic, pair_for(triclinic, ternary_file))
    mapped = evaluate(tmp_path, triclinic, forcemap_pair(ternary_file, types), types=types)
    assert mapped.energy == pytest.approx(found.energy, rel=1e-13)
    np.testing.assert_allclose(mapped.forces, found.forces, rtol=0, atol=1e-12)


def test_elements_can_repeat(crystal: Atoms, ternary_file: Path, tmp_path: Path) -> None:
    """Two LAMMPS types of one element, and a file with elements the simulation lacks."""
    labelled = crystal.copy()
    labelled.symbols[::3] = "Ge"  # stands for type 2 only; the element comes from pair_coeff
    pair = forcemap_pair(ternary_file, ["Si", "Si"])
    found = evaluate(tmp_path, crystal, pair_for(crystal, ternary_file))
    repeated = evaluate(tmp_path, labelled, pair, types=["Si", "Ge"])
    assert repeated.energy == pytest.approx(found.energy, rel=1e-13)
    np.testing.assert_allclose(repeated.forces, found.forces, rtol=0, atol=1e-12)


def test_supercell_has_a_multiple_of_the_energy(
    triclinic: Atoms, ternary_file: Path, tmp_path: Path
) -> None:
    pair = pair_for(triclinic, ternary_file)
    small = evaluate(tmp_path, triclinic, pair)
    large = evaluate(tmp_path, triclinic.repeat((2, 1, 3)), pair)
    assert large.energy == pytest.approx(6 * small.energy, rel=1e-12)
    np.testing.assert_allclose(large.virial, 6 * small.virial, rtol=0, atol=1e-9)


def test_frame_turns_back(triclinic: Atoms) -> None:
    """The rotation used by these tests is one, and leads from LAMMPS' cell to ASE's."""
    frame = Frame(triclinic)
    np.testing.assert_allclose(frame.rotation @ frame.rotation.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(frame.cell @ frame.rotation.T, triclinic.cell.array, atol=1e-12)
    assert np.linalg.det(frame.rotation) == pytest.approx(1.0)
