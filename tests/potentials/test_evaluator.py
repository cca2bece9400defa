"""The evaluator: brute force, derivatives, skin, threads, instruction sets, short distances, errors."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
import structures
from ase import Atoms
from forcemap.potentials import Evaluator, ForcemapError, Potential, Result, _core, load
from forcemap.potentials.file.potential_file import PotentialData, write_potential
from forcemap.potentials.terms import (
    EmbeddingFunctions,
    MappedTerm,
    SoapFunctions,
    ThreeBodySplines,
    TwoBodySplines,
)
from numpy.typing import NDArray
from potentials_factory import random_potential

Array = NDArray[np.float64]

SPECIES = ["H", "O", "Si"]


def saved(data: PotentialData, folder: Path) -> Potential:
    path = folder / "potential.forcemap"
    write_potential(data, path)
    return load(path)


@pytest.fixture(scope="module")
def data() -> PotentialData:
    """Three species; the cutoffs differ, and the core reaches the bond lengths of the structures."""
    return random_potential(SPECIES, 21, two_body_cutoff=4.4, three_body_cutoff=3.6, embedding=True)


@pytest.fixture(scope="module")
def potential(data: PotentialData, tmp_path_factory: pytest.TempPathFactory) -> Potential:
    return saved(data, tmp_path_factory.mktemp("potential"))


def compute(evaluator: Evaluator, atoms: Atoms) -> Result:
    return evaluator.compute(atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc)


def assert_same(found: Result, expected: Result, tolerance: float = 1e-12) -> None:
    assert found.energy == pytest.approx(expected.energy, rel=tolerance, abs=tolerance)
    for one, other in (
        (found.energies, expected.energies),
        (found.forces, expected.forces),
        (found.virial, expected.virial),
    ):
        scale = max(1.0, float(np.abs(other).max()))
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * scale)


# ----- against the definition -----


@pytest.mark.parametrize("name", structures.NAMES)
def test_equals_brute_force(name: str, data: PotentialData, potential: Potential) -> None:
    """Tolerance: rounding of sums over some thousand triplets."""
    atoms = structures.get(name)
    expected = reference.evaluate(data, atoms)
    found = compute(potential.evaluator(), atoms)
    assert found.energy == pytest.approx(expected.energy, rel=1e-11)
    np.testing.assert_allclose(found.energies, expected.energies, rtol=0, atol=1e-11)
    np.testing.assert_allclose(found.forces, expected.forces, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.virial, expected.virial, rtol=0, atol=1e-10)
    assert found.energies.sum() == pytest.approx(found.energy, rel=1e-13)


@pytest.fixture(scope="module", params=[1, 2, 4], ids=lambda n: f"{n} species")
def soap_data(request: pytest.FixtureRequest) -> PotentialData:
    """Soap terms of zeta 1 to 4, one of them with two mixed channels, and nothing else but a core."""
    species = {1: ["Si"], 2: ["O", "Si"], 4: ["H", "C", "O", "Si"]}[request.param]
    full = random_potential(species, 30 + request.param, soap=True)
    kept = [t for t in full.terms if not isinstance(t, TwoBodySplines | ThreeBodySplines)]
    return replace(full, terms=tuple(kept))


@pytest.fixture(scope="module")
def soap_potential(soap_data: PotentialData, tmp_path_factory: pytest.TempPathFactory) -> Potential:
    return saved(soap_data, tmp_path_factory.mktemp("soap"))


@pytest.mark.parametrize("name", structures.NAMES)
def test_soap_equals_brute_force(
    name: str, soap_data: PotentialData, soap_potential: Potential
) -> None:
    """Derivatives of the reference are exact to rounding (complex steps)."""
    atoms = structures.get(name, soap_data.species)
    expected = reference.evaluate(soap_data, atoms)
    found = compute(soap_potential.evaluator(), atoms)
    np.testing.assert_allclose(found.energies, expected.energies, rtol=0, atol=1e-11)
    np.testing.assert_allclose(found.forces, expected.forces, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.virial, expected.virial, rtol=0, atol=1e-10)
    assert found.energies.sum() == pytest.approx(found.energy, rel=1e-13)


def test_species_that_are_no_centre_have_no_soap_energy(tmp_path: Path) -> None:
    """They are neighbours all the same."""
    full = random_potential(["O", "Si"], 8, zbl=False, soap=True)
    terms = tuple(
        replace(term, centers={"Si": term.centers["Si"]})
        for term in full.terms
        if isinstance(term, SoapFunctions)
    )
    cut = replace(full, terms=terms)
    atoms = structures.get("two species", ["O", "Si"])
    found = compute(saved(cut, tmp_path).evaluator(), atoms)
    expected = reference.evaluate(cut, atoms)
    oxygen = atoms.numbers == 8
    np.testing.assert_array_equal(found.energies[oxygen], full.e0["O"])
    assert np.abs(found.energies[~oxygen] - full.e0["Si"]).min() > 1e-3
    np.testing.assert_allclose(found.energies, expected.energies, rtol=0, atol=1e-11)
    np.testing.assert_allclose(found.forces, expected.forces, rtol=0, atol=1e-10)
    assert np.abs(found.forces[oxygen]).max() > 1e-3


def test_species_without_tables_do_not_interact(tmp_path: Path) -> None:
    """Leaving out a table takes that pair's or triplet's energy away, and nothing else."""
    full = random_potential(["H", "O"], 3, two_body_cutoff=3.0, three_body_cutoff=3.0)
    terms: list[MappedTerm] = []
    for term in full.terms:
        if isinstance(term, TwoBodySplines):
            pairs = {k: v for k, v in term.tables.items() if k != ("H", "H")}
            terms.append(replace(term, tables=pairs))
        elif isinstance(term, ThreeBodySplines):
            triplets = {k: v for k, v in term.tables.items() if k != ("O", "H", "H")}
            terms.append(replace(term, tables=triplets))
        else:
            terms.append(term)
    cut = replace(full, terms=tuple(terms))
    atoms = structures.get("two species", ["H", "O"])
    found = compute(saved(cut, tmp_path).evaluator(), atoms)
    expected = reference.evaluate(cut, atoms)
    np.testing.assert_allclose(found.energies, expected.energies, rtol=0, atol=1e-11)
    np.testing.assert_allclose(found.forces, expected.forces, rtol=0, atol=1e-10)
    assert abs(found.energy - reference.evaluate(full, atoms).energy) > 1e-3


def test_densities_reach_beyond_both_ends_of_their_functions(data: PotentialData) -> None:
    """So that the comparisons here and in the contract are about the straight lines too."""
    below = beyond = within = 0
    for name in structures.NAMES:
        atoms = structures.get(name)
        symbols = atoms.get_chemical_symbols()
        for term in data.terms:
            if not isinstance(term, EmbeddingFunctions):
                continue
            for i, symbol in enumerate(symbols):
                if symbol not in term.centers:
                    continue
                rho = sum(
                    reference.density(term, (symbol, symbols[j]), float(np.linalg.norm(r)))[0]
                    for j, r in reference.neighbors_of(atoms, i, term.cutoff)
                )
                below += rho < 0.0
                beyond += rho > term.centers[symbol].range
                within += 0.0 < rho < term.centers[symbol].range
    assert min(below, beyond, within) >= 5


@pytest.mark.parametrize("name", ["molecule", "slab", "triclinic cell"])
def test_embedding_needs_no_pair_term(name: str, data: PotentialData, tmp_path: Path) -> None:
    terms = tuple(term for term in data.terms if isinstance(term, EmbeddingFunctions))
    only = replace(data, terms=terms)
    atoms = structures.get(name)
    expected = reference.evaluate(only, atoms)
    found = compute(saved(only, tmp_path).evaluator(), atoms)
    assert np.abs(expected.forces).max() > 0.1
    np.testing.assert_allclose(found.energies, expected.energies, rtol=0, atol=1e-11)
    np.testing.assert_allclose(found.forces, expected.forces, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.virial, expected.virial, rtol=0, atol=1e-10)


def test_embedding_energy_counts_from_that_of_no_neighbors(tmp_path: Path) -> None:
    """Exactly, whatever the function's value at zero; and nothing comes from beyond the cutoff."""
    full = random_potential(["H", "O"], 8, embedding=True)
    potential = saved(full, tmp_path)
    term = next(t for t in full.terms if isinstance(t, EmbeddingFunctions))
    coefficients = term.centers["H"].coefficients
    assert abs(coefficients[:3] @ [1, 4, 1]) > 0.1
    beyond = Atoms("HO", [[0, 0, 0], [0, 0, potential.cutoff + 1e-9]])
    found = compute(potential.evaluator(), beyond)
    assert found.energies.tolist() == [full.e0["H"], full.e0["O"]]
    assert not found.forces.any()
    near = Atoms("HO", [[0, 0, 0], [0, 0, term.cutoff - 1e-5]])
    only = replace(full, terms=(term,))
    found = compute(saved(only, tmp_path).evaluator(), near)
    np.testing.assert_allclose(found.energies, [full.e0["H"], full.e0["O"]], rtol=0, atol=1e-8)
    np.testing.assert_allclose(found.forces, 0.0, atol=1e-8)


# ----- derivatives -----


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", ["molecule", "triclinic cell", "slab", "needle cell", "wire"])
def test_forces_are_minus_gradient_of_energy(name: str, seed: int, tmp_path: Path) -> None:
    """The error of central differences is h² E'''/6 and falls to a quarter when h halves.

    Cubic splines have a third derivative that jumps at knots, so the quarter is not exact.
    """
    evaluator = saved(random_potential(SPECIES, seed, embedding=True), tmp_path).evaluator()
    atoms = structures.get(name, SPECIES)
    forces = compute(evaluator, atoms).forces
    worst = []
    for h in (2e-3, 1e-3, 1e-4):
        errors = np.empty_like(forces)
        for m in range(forces.size):
            energies = []
            for sign in (1, -1):
                moved = atoms.copy()
                moved.positions[m // 3, m % 3] += sign * h
                energies.append(compute(evaluator, moved).energy)
            slope = (energies[0] - energies[1]) / (2 * h)
            errors[m // 3, m % 3] = slope + forces[m // 3, m % 3]
        worst.append(float(np.abs(errors).max()))
    assert 2.5 < worst[0] / worst[1] < 6.0, worst
    assert worst[2] < 0.05 * worst[1], worst


@pytest.mark.parametrize(
    "name", ["molecule", "triclinic cell", "slab", "cell smaller than the cutoff"]
)
def test_virial_is_minus_the_strain_derivative(name: str, potential: Potential) -> None:
    """Cell and positions strained together; the error falls with h² as above."""
    evaluator = potential.evaluator()
    atoms = structures.get(name)
    virial = compute(evaluator, atoms).virial
    np.testing.assert_array_equal(virial, virial.T)
    worst = []
    for h in (2e-3, 1e-3, 1e-4):
        errors = []
        for a in range(3):
            for b in range(3):
                energies = []
                for sign in (1, -1):
                    deformation = np.eye(3)
                    deformation[a, b] += sign * h
                    energies.append(
                        evaluator.compute(
                            atoms.positions @ deformation,
                            atoms.numbers,
                            atoms.cell.array @ deformation,
                            atoms.pbc,
                        ).energy
                    )
                errors.append((energies[0] - energies[1]) / (2 * h) + virial[a, b])
        worst.append(float(np.abs(errors).max()))
    assert 2.5 < worst[0] / worst[1] < 6.0, worst
    assert worst[2] < 0.05 * worst[1], worst


# ----- invariances -----


@pytest.mark.parametrize("name", ["triclinic cell", "slab", "wire", "three species"])
def test_invariances(name: str, potential: Potential) -> None:
    """Translation, wrapping, order, rotation, supercell; tolerances are for sums that round."""
    atoms = structures.get(name)
    expected = compute(potential.evaluator(), atoms)
    rng = np.random.default_rng(1)

    moved = atoms.copy()
    moved.positions += [13.0, -8.0, 2.5]
    lattice = np.where(atoms.pbc, rng.integers(-4, 5, (len(atoms), 3)), 0)
    moved.positions += lattice @ atoms.cell.array
    assert_same(compute(potential.evaluator(), moved), expected, 1e-11)

    order = rng.permutation(len(atoms))
    found = compute(potential.evaluator(), atoms[order])
    np.testing.assert_allclose(found.forces, expected.forces[order], rtol=0, atol=1e-11)
    np.testing.assert_allclose(found.energies, expected.energies[order], rtol=0, atol=1e-11)

    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turned = potential.evaluator().compute(
        atoms.positions @ rotation, atoms.numbers, atoms.cell.array @ rotation, atoms.pbc
    )
    np.testing.assert_allclose(turned.energies, expected.energies, rtol=0, atol=1e-11)
    np.testing.assert_allclose(turned.forces, expected.forces @ rotation, rtol=0, atol=1e-11)
    np.testing.assert_allclose(
        turned.virial, rotation.T @ expected.virial @ rotation, rtol=0, atol=1e-10
    )

    repeats = np.where(atoms.pbc, [2, 3, 1], 1)
    copies = int(np.prod(repeats))
    big = compute(potential.evaluator(), atoms.repeat(repeats))
    assert big.energy == pytest.approx(copies * expected.energy, rel=1e-12)
    np.testing.assert_allclose(
        big.forces, np.tile(expected.forces, (copies, 1)), rtol=0, atol=1e-11
    )
    np.testing.assert_allclose(big.virial, copies * expected.virial, rtol=0, atol=1e-10)


def test_an_isolated_atom_has_its_energy_and_nothing_else(potential: Potential) -> None:
    for symbol in SPECIES:
        for pbc in (False, True):
            atoms = Atoms(symbol, cell=np.diag([20.0] * 3), pbc=pbc)
            found = compute(potential.evaluator(), atoms)
            assert found.energy == potential.e0[symbol]
            assert not found.forces.any()
            assert not found.virial.any()


def test_no_atoms_have_no_energy(potential: Potential) -> None:
    found = potential.evaluator().compute(np.zeros((0, 3)), [], np.eye(3), False)
    assert found.energy == 0.0
    assert found.forces.shape == (0, 3)


# ----- skin -----


def test_reused_list_gives_what_a_new_list_gives(potential: Potential) -> None:
    """A walk of atoms and cell as in NPT: lists with a skin are reused and never miss a pair."""
    rng = np.random.default_rng(7)
    atoms = structures.get("three species").repeat((1, 1, 2))
    kept, fresh = potential.evaluator(skin=0.6), potential.evaluator(skin=0.0)
    steps = 60
    for step in range(steps):
        strain = rng.normal(scale=1.5e-3, size=(3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
        atoms.positions += rng.normal(scale=0.02, size=atoms.positions.shape)
        assert_same(compute(kept, atoms), compute(fresh, atoms), 1e-12)
        if step == 30:  # wrapping moves atoms by lattice vectors: the list must not be trusted
            atoms.wrap()
    assert fresh.rebuilds == steps
    assert 3 <= kept.rebuilds <= steps // 2


def test_list_is_built_again_when_it_may_miss_a_pair(potential: Potential) -> None:
    """Rebuilt at once when an atom has moved by half the skin, or anything else has changed."""
    atoms = structures.get("triclinic cell")
    evaluator = potential.evaluator(skin=0.8)

    def rebuilds_after() -> int:
        assert_same(compute(evaluator, atoms), compute(potential.evaluator(skin=0.0), atoms), 1e-12)
        return evaluator.rebuilds

    assert rebuilds_after() == 1
    atoms.positions[0] += [0.0, 0.0, 0.39]
    assert rebuilds_after() == 1
    atoms.positions[0] += [0.0, 0.0, 0.02]
    assert rebuilds_after() == 2
    atoms.set_cell(atoms.cell.array * 1.001, scale_atoms=True)
    assert rebuilds_after() == 2
    atoms.set_cell(atoms.cell.array * 0.8, scale_atoms=True)
    assert rebuilds_after() == 3
    atoms.numbers[0] = 1 if atoms.numbers[0] != 1 else 8
    assert rebuilds_after() == 4
    atoms.pbc = (True, True, False)
    assert rebuilds_after() == 5
    del atoms[2]
    assert rebuilds_after() == 6


def test_results_are_the_callers(potential: Potential) -> None:
    """A later evaluation does not write into arrays that were handed out."""
    evaluator = potential.evaluator()
    atoms = structures.get("slab")
    first = compute(evaluator, atoms)
    copies = (first.forces.copy(), first.energies.copy(), first.virial.copy())
    atoms.positions[0] += 0.1
    compute(evaluator, atoms)
    for array, copy in zip((first.forces, first.energies, first.virial), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


# ----- threads and instruction sets -----


@pytest.mark.parametrize("name", structures.NAMES)
def test_threads_give_the_same(name: str, potential: Potential) -> None:
    """Up to the order of the sums; more threads than atoms too."""
    atoms = structures.get(name)
    one = compute(potential.evaluator(threads=1), atoms)
    for threads in (2, 3):
        assert_same(compute(potential.evaluator(threads=threads), atoms), one, 1e-12)


@pytest.mark.parametrize("name", structures.NAMES)
def test_threads_and_kept_lists_give_the_same_soap_energies(
    name: str, soap_data: PotentialData, soap_potential: Potential
) -> None:
    """Sites are evaluated by fours: how they are shared out may not matter."""
    atoms = structures.get(name, soap_data.species)
    one = compute(soap_potential.evaluator(threads=1, skin=0.0), atoms)
    for threads, skin in ((1, 0.7), (2, 0.0), (3, 0.7)):
        found = compute(soap_potential.evaluator(threads=threads, skin=skin), atoms)
        assert_same(found, one, 1e-12)


_EVALUATE_ALL = """
import sys
import numpy as np
import structures
from forcemap.potentials import _core, load
evaluator = load(sys.argv[1]).evaluator()
found = {"instruction_set": np.array(_core.instruction_set())}
for n, name in enumerate(structures.NAMES):
    atoms = structures.get(name, sys.argv[3:])
    r = evaluator.compute(atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc)
    found[str(n)] = np.concatenate([[r.energy], r.energies, r.forces.ravel(), r.virial.ravel()])
np.savez(sys.argv[2], **found)
"""


def test_instruction_sets_agree(potential: Potential, tmp_path: Path) -> None:
    """To rounding. The processor decides how many there are; `generic` there is always."""
    compare_instruction_sets(potential, tmp_path)


def test_instruction_sets_agree_on_soap(soap_potential: Potential, tmp_path: Path) -> None:
    """Vectors of 4 and of 8 numbers: 3 and 5 radial functions leave some of either unused."""
    compare_instruction_sets(soap_potential, tmp_path)


def compare_instruction_sets(potential: Potential, tmp_path: Path) -> None:
    answers = {}
    for asked in ("generic", "avx2", "avx512"):
        out = tmp_path / f"{asked}.npz"
        subprocess.run(
            [sys.executable, "-c", _EVALUATE_ALL, potential.name, out, *potential.species],
            env={
                **os.environ,
                "FORCEMAP_SIMD": asked,
                "PYTHONPATH": str(Path(__file__).parents[1]),
            },
            check=True,
            timeout=60,
        )
        with np.load(out) as archive:
            answers[asked] = {key: archive[key] for key in archive}
    assert answers["generic"]["instruction_set"] == "generic"
    order = ["generic", "avx2", "avx512"]
    for asked, answer in answers.items():
        assert order.index(str(answer["instruction_set"])) <= order.index(asked)
        for n, name in enumerate(structures.NAMES):
            expected = answers["generic"][str(n)]
            scale = max(1.0, float(np.abs(expected).max()))
            np.testing.assert_allclose(
                answer[str(n)], expected, rtol=0, atol=1e-12 * scale, err_msg=f"{asked}, {name}"
            )
    assert _core.instruction_set() in order


# ----- short distances -----


@pytest.mark.parametrize("threads", [1, 2])
def test_any_distance_has_a_finite_answer(potential: Potential, threads: int) -> None:
    """Dimers and trimers of all elements from 3 Å to where squares of distances underflow.

    Below 0.05 Å the core decides: the force is repulsive and the energy does not fall.
    """
    evaluator = potential.evaluator(threads=threads)
    distances: Array = np.array(
        [*np.geomspace(3.0, 1e-6, 60), 1e-12, 1e-40, 1e-160, 1e-300, 5e-324]
    )
    for pair in ([1, 1], [1, 8], [14, 14], [8, 14]):
        for axis in (np.array([0.0, 0.0, 1.0]), np.array([0.6, 0.64, 0.48])):
            results = [
                evaluator.compute(np.outer([0, r], axis), pair, np.eye(3), False) for r in distances
            ]
            energies = np.array([r.energy for r in results])
            forces = np.array([r.forces for r in results])
            assert np.isfinite(energies).all()
            assert np.isfinite(forces).all()
            assert np.isfinite([r.virial for r in results]).all()
            np.testing.assert_allclose(forces.sum(axis=1), 0.0, atol=1e-6)
            close = distances < 0.05
            assert np.all(np.diff(energies[close]) >= -1e-9 * np.abs(energies[close][1:]))
            along = forces[:, 1] @ axis
            assert np.all(along[close] > 1.0), (pair, along[close])
            # The force points along the pair at every distance.
            sideways = forces[:, 1] - along[:, None] * axis
            representable = distances > 1e-300
            bound = 1e-9 * np.abs(along[representable])[:, None] + 1e-12
            assert np.all(np.abs(sideways[representable]) <= bound)


def test_three_atoms_almost_in_one_place(potential: Potential) -> None:
    evaluator = potential.evaluator()
    for r in (1e-3, 1e-9, 1e-30, 1e-100):
        positions = np.array([[0, 0, 0], [r, 0, 0], [0.3 * r, 0.9 * r, 0], [1.6, 0.3, 0.2]])
        found = evaluator.compute(positions, [14, 8, 1, 14], np.eye(3), False)
        assert np.isfinite(found.energy)
        assert np.isfinite(found.forces).all()
        assert found.energy > 1e3


@pytest.mark.parametrize("threads", [1, 2])
def test_atoms_in_one_place_are_named(potential: Potential, threads: int) -> None:
    evaluator = potential.evaluator(threads=threads)
    atoms = structures.get("three species")
    good = compute(evaluator, atoms)
    clash = atoms.copy()
    clash.positions[5] = clash.positions[2]
    with pytest.raises(ForcemapError, match="atoms 2 and 5 are in the same place"):
        compute(evaluator, clash)
    assert_same(compute(evaluator, atoms), good)  # the evaluator is as good as before


def test_atoms_in_one_place_through_the_boundary_are_named(potential: Potential) -> None:
    with pytest.raises(ForcemapError, match="atoms 0 and 1 are in the same place"):
        potential.evaluator().compute(
            [[0.0, 0.0, 0.0], [4.0, 0.0, 0.0]], [14, 14], np.diag([4.0, 4.0, 4.0]), True
        )


# ----- errors -----


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("pbc", [True, False])
@pytest.mark.parametrize("warm", [True, False])
def test_positions_that_are_not_finite_are_named(
    value: float, pbc: bool, warm: bool, potential: Potential
) -> None:
    atoms = structures.get("three species")
    atoms.pbc = pbc
    evaluator = potential.evaluator()
    if warm:
        compute(evaluator, atoms)
    atoms.positions[3, 1] = value
    with pytest.raises(ForcemapError, match="position of atom 3 is not finite"):
        compute(evaluator, atoms)


def test_unknown_elements_are_named(potential: Potential) -> None:
    atoms = structures.get("two species")
    atoms.numbers[4] = 26
    with pytest.raises(ForcemapError, match="atom 4 has atomic number 26"):
        compute(potential.evaluator(), atoms)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (np.zeros((3, 3)), "cell vector 1 is zero"),
        (np.array([[5.0, 0, 0], [0, 5.0, 0], [5.0, 5.0, 0]]), "singular"),
        (np.diag([5.0, np.inf, 5.0]), "cell vector 2 is not finite"),
        (np.diag([5.0, 5.0, np.nan]), "cell vector 3 is not finite"),
    ],
)
@pytest.mark.parametrize("warm", [True, False])
def test_unusable_cells_are_refused(
    cell: Array, message: str, warm: bool, potential: Potential
) -> None:
    evaluator = potential.evaluator()
    if warm:
        evaluator.compute([[0, 0, 0]], [14], np.diag([5.0] * 3), True)
    with pytest.raises(ForcemapError, match=message):
        evaluator.compute([[0, 0, 0]], [14], cell, True)


def test_shapes_are_checked(potential: Potential) -> None:
    evaluator = potential.evaluator()
    good: list[Any] = [[[0.0, 0.0, 0.0]], [14], np.eye(3), False]
    wrong: dict[int, list[Any]] = {
        0: [[0.0, 0.0, 0.0], [[0.0, 0.0]], [[0.0] * 3] * 2],
        1: [[14, 14], [[14]]],
        2: [np.eye(2), np.ones(3)],
        3: [[True, False]],
    }
    for place, values in wrong.items():
        for value in values:
            arguments = list(good)
            arguments[place] = value
            with pytest.raises(ValueError, match=r"must be|shape|broadcast"):
                evaluator.compute(*arguments)


@pytest.mark.parametrize(
    ("skin", "threads", "message"),
    [(-0.1, 1, "skin"), (np.nan, 1, "skin"), (0.5, 0, "threads"), (0.5, -2, "threads")],
)
def test_options_are_checked(skin: float, threads: int, message: str, potential: Potential) -> None:
    with pytest.raises(ForcemapError, match=message):
        potential.evaluator(skin=skin, threads=threads)


def test_potential_tells_what_it_is(data: PotentialData, potential: Potential) -> None:
    assert potential.species == SPECIES
    assert potential.numbers == [1, 8, 14]
    assert potential.cutoff == 4.4
    assert potential.e0 == data.e0
    assert potential.metadata["format"] == "forcemap.potential"
    assert "H" in repr(potential)
    again = Potential.from_bytes(Path(potential.name).read_bytes(), "bytes")
    atoms = structures.get("slab")
    assert_same(compute(again.evaluator(), atoms), compute(potential.evaluator(), atoms), 1e-15)


# ----- ASE's atoms -----


@pytest.mark.parametrize("name", structures.NAMES)
def test_evaluate_takes_atoms_of_ase(name: str, potential: Potential) -> None:
    atoms = structures.get(name)
    expected = compute(potential.evaluator(skin=0.0), atoms)
    assert_same(potential.evaluate(atoms), expected, 0.0)
    assert_same(potential.evaluate(atoms, threads=3), expected, 1e-12)
