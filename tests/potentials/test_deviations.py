"""Draws and deviations: brute force, derivatives, isolated atoms, threads, instruction sets, errors."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import reference
import structures
from ase import Atoms
from forcemap.potentials import Deviations, ForcemapError, Potential
from forcemap.potentials.file.potential_file import (
    Draws,
    PotentialData,
    as_potential,
    potential_bytes,
    write_potential,
)
from forcemap.potentials.terms import MappedTerm, ThreeBodySplines
from forcemap.potentials.uncertainty import Calibration, Uncertainty
from numpy.typing import NDArray
from potentials_factory import one_draw, random_potential, random_quadratic, with_draws

Array = NDArray[np.float64]

SPECIES = ["H", "O", "Si"]
COUNT = 11
"""Of draws: neither as many as any vector has lanes nor a multiple of it."""

DATA = with_draws(
    random_potential(
        SPECIES,
        21,
        two_body_cutoff=4.4,
        three_body_cutoff=3.6,
        embedding=True,
        soap=True,
        kernels=True,
    ),
    COUNT,
    3,
)
SINGLE = 1e-6
"""Relative error of draws that are computed in single precision: rounding is 6e-8, and some sums are of
hundreds of numbers. A deviation need not be known to more than a few percent."""

IN_SINGLE = ("three_body", "soap", "soap_quadratic")
"""Kinds whose draws' forces are in single precision."""

CALIBRATED = Uncertainty(
    energy=Calibration(1.5, 0.2, 0.3),
    force=Calibration(2.0, 0.1, 0.4),
    stress=Calibration(3.0, 0.01, 0.02),
)


def only(term: MappedTerm) -> PotentialData:
    """The mean with draws of one term alone."""
    assert DATA.draws is not None
    return replace(DATA, draws=replace(DATA.draws, terms=(term,)))


@pytest.fixture(scope="module")
def potential() -> Potential:
    return as_potential(DATA)


def deviations(potential: Potential, atoms: Atoms, threads: int = 1) -> Deviations:
    evaluator = potential.evaluator(threads=threads)
    return evaluator.deviations(atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc)


def assert_same(found: Deviations, expected: Deviations, tolerance: float) -> None:
    for name in ("energies", "forces", "virials"):
        one, other = getattr(found, name), getattr(expected, name)
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * (1 + np.abs(other).max()))


@pytest.mark.parametrize("n", range(len(DATA.draws.terms) if DATA.draws else 0))
def test_draws_equal_brute_force(n: int) -> None:
    """Each draw of each term is what its own weights give; an isolated atom has its e0 alone."""
    assert DATA.draws is not None
    atoms = structures.get("slab", SPECIES)
    data = only(DATA.draws.terms[n])
    found = deviations(as_potential(data), atoms)
    for k in (0, COUNT - 1):
        draw = one_draw(data, k)
        expected = reference.evaluate(draw, atoms)
        free = sum(
            reference.evaluate(draw, Atoms(symbol)).energy - draw.e0[symbol]
            for symbol in atoms.get_chemical_symbols()
        )
        # Numbers in which nothing is left of what was added up are as exact as the largest.
        tolerance = SINGLE if data.draws.terms[0].kind in IN_SINGLE else 1e-10
        scale = 1.0 + np.abs(expected.forces).max()
        energy = expected.energy - free
        np.testing.assert_allclose(found.energies[k], energy, rtol=tolerance, atol=10 * tolerance)
        np.testing.assert_allclose(found.forces[k], expected.forces, rtol=0, atol=tolerance * scale)
        np.testing.assert_allclose(
            found.virials[k], expected.virial, rtol=0, atol=10 * tolerance * scale
        )


@pytest.mark.parametrize("rank", [3, 12, 22])
@pytest.mark.parametrize(("species", "count"), [(("Si",), 3), (("Si",), 16), (("H", "Si"), 25)])
def test_forms_of_any_rank_equal_brute_force(
    rank: int, species: tuple[str, ...], count: int
) -> None:
    """Few coordinates, or nearly as many as a spectrum of one element has numbers (24), where the forms
    are those of the spectrum itself; numbers of draws and of atoms that fill no vectors."""
    rng = np.random.default_rng(rank)
    term = random_quadratic(rng, species, np.eye(len(species)), rank=rank)
    data = PotentialData(species, dict.fromkeys(species, 0.0), (term,))
    data = with_draws(data, count, 3)
    atoms = structures.get("slab", species)
    found = deviations(as_potential(data), atoms)
    for k in {0, count // 2, count - 1}:
        draw = one_draw(data, k)
        expected = (
            as_potential(draw)
            .evaluator()
            .compute(atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc)
        )
        scale = SINGLE * (1.0 + np.abs(expected.forces).max())
        np.testing.assert_allclose(found.forces[k], expected.forces, rtol=0, atol=scale)
        assert found.energies[k] == pytest.approx(expected.energy, rel=SINGLE, abs=10 * SINGLE)


@pytest.mark.parametrize("intervals", [(1, 1), (1, 9), (7, 5), (12, 3), (24, 24)])
@pytest.mark.parametrize("species", [("Si",), ("H", "Si")])
def test_draws_have_what_flat_triangles_reach(
    intervals: tuple[int, int], species: tuple[str, ...]
) -> None:
    """Atoms in lines, whose sides are knots or are not, and far from where most triangles are.

    The tables are no smooth functions; those of the expected draw are whole.
    """
    rng, count, (legs, base) = np.random.default_rng(5), 5, intervals
    tables = {}
    for center in species:
        for n, first in enumerate(species):
            for second in species[n:]:
                table = rng.normal(size=(count, legs + 3, legs + 3, base + 3)).astype(np.float32)
                if first == second:
                    table += table.transpose(0, 2, 1, 3)
                tables[center, first, second] = table.astype(np.float64)
    kept = {key: ThreeBodySplines.drawn(table, key[1] == key[2]) for key, table in tables.items()}
    wholes = [
        ThreeBodySplines(3.6, legs, base, {key: table[k] for key, table in tables.items()})
        for k in range(count)
    ]
    data = PotentialData(species, dict.fromkeys(species, 0.0), (wholes[0],))
    drawn = ThreeBodySplines(3.6, legs, base, kept)
    data = replace(data, draws=Draws(count, (drawn,), np.zeros((count, len(species)))))
    for spacing in (0.15, 0.3, 1.2, 1.7, 3.5):
        places = spacing * np.array([0.0, 1.0, 2.0, 3.0, 5.0])
        symbols = [species[n % len(species)] for n in (0, 0, 1, 1, 0)]
        line = Atoms(symbols, [[0.0, x, 0.0] for x in places])
        bent = line.copy()
        bent.positions[2:, 2] += 1e-7
        for atoms in (line, bent):
            found = deviations(as_potential(data), atoms)
            for k, whole in enumerate(wholes):
                expected = reference.evaluate(replace(data, terms=(whole,), draws=None), atoms)
                scale = 1.0 + np.abs(expected.forces).max()
                energy, forces = found.energies[k], found.forces[k]
                np.testing.assert_allclose(energy, expected.energy, rtol=SINGLE, atol=10 * SINGLE)
                # Tables of random numbers have slopes that are many times their values.
                np.testing.assert_allclose(forces, expected.forces, rtol=0, atol=4 * SINGLE * scale)


def test_the_terms_of_draws_add_up(potential: Potential) -> None:
    assert DATA.draws is not None
    atoms = structures.get("slab", SPECIES)
    whole = deviations(potential, atoms)
    parts = [deviations(as_potential(only(term)), atoms) for term in DATA.draws.terms]
    e0 = deviations(as_potential(replace(DATA, draws=replace(DATA.draws, terms=()))), atoms)
    energies = sum(part.energies - e0.energies for part in parts) + e0.energies
    np.testing.assert_allclose(whole.energies, energies, rtol=1e-11)
    np.testing.assert_allclose(whole.forces, sum(part.forces for part in parts), atol=1e-10)


@pytest.mark.parametrize("name", ["slab", "triclinic cell"])
def test_forces_of_draws_are_minus_the_gradients_of_their_energies(
    name: str, potential: Potential
) -> None:
    """By central differences along a random direction: their error is quartered by half the step."""
    atoms = structures.get(name, SPECIES)
    along = np.random.default_rng(2).normal(size=atoms.positions.shape)
    expected = -np.einsum("knd,nd->k", deviations(potential, atoms).forces, along)
    errors = []
    for h in (2e-3, 1e-3):
        ends = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions += sign * h * along
            ends.append(deviations(potential, moved).energies)
        errors.append(np.abs((ends[0] - ends[1]) / (2 * h) - expected).max())
    scale = np.abs(expected).max()
    assert errors[0] < 1e-2 * scale
    assert errors[1] < 0.3 * errors[0]


def test_isolated_atoms_have_no_more_than_their_e0(potential: Potential) -> None:
    """Exactly."""
    assert DATA.draws is not None
    for n, symbol in enumerate(DATA.species):
        found = deviations(potential, Atoms(symbol))
        np.testing.assert_array_equal(found.energies, DATA.draws.e0[:, n])
        assert not found.forces.any()
        assert not found.virials.any()


def test_draws_know_no_place_and_no_direction(potential: Potential) -> None:
    atoms = structures.get("triclinic cell", SPECIES)
    found = deviations(potential, atoms)
    moved = atoms.copy()
    moved.positions += [0.3, -1.7, 11.0]
    assert_same(deviations(potential, moved), found, SINGLE)
    turned = atoms.copy()
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turned.set_cell(atoms.cell.array @ turn)
    turned.positions = atoms.positions @ turn
    expected = replace(found, forces=found.forces @ turn, virials=turn.T @ found.virials @ turn)
    assert_same(deviations(potential, turned), expected, SINGLE)
    assert np.abs(found.forces.sum(axis=1)).max() < 1e-10 * np.abs(found.forces).max()


def test_the_virials_are_strain_derivatives(potential: Potential) -> None:
    atoms = structures.get("triclinic cell", SPECIES)
    expected = deviations(potential, atoms).virials
    strain = np.random.default_rng(4).normal(size=(3, 3))
    strain += strain.T
    h, ends = 1e-5, []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.set_cell(atoms.cell.array @ (np.eye(3) + sign * h * strain), scale_atoms=True)
        ends.append(deviations(potential, moved).energies)
    found = -(ends[0] - ends[1]) / (2 * h)
    products = np.einsum("kab,ab->k", expected, strain)
    np.testing.assert_allclose(found, products, rtol=0, atol=1e-4 * np.abs(products).max())


def test_threads_give_the_same_draws(potential: Potential) -> None:
    atoms = structures.get("triclinic cell", SPECIES).repeat((2, 1, 1))
    assert_same(deviations(potential, atoms, threads=3), deviations(potential, atoms), 1e-12)


def test_instruction_sets_agree_on_draws(potential: Potential, tmp_path: Path) -> None:
    """Each in a process of its own, where FORCEMAP_SIMD is read."""
    write_potential(DATA, tmp_path / "potential.forcemap")
    code = (
        "import pickle, sys; import numpy as np; from forcemap.potentials import _core, load\n"
        "found = load(sys.argv[1]).evaluator().deviations(**np.load(sys.argv[2]))\n"
        "sys.stdout.buffer.write(pickle.dumps((_core.instruction_set(), found)))\n"
    )
    atoms = structures.get("slab", SPECIES)
    expected = deviations(potential, atoms)
    files = str(tmp_path / "potential.forcemap"), str(tmp_path / "atoms.npz")
    arrays = {"positions": atoms.positions, "numbers": atoms.numbers, "pbc": atoms.pbc}
    np.savez(files[1], cell=atoms.cell.array, **arrays)
    paths = os.pathsep.join(sys.path)
    for name in ("generic", "avx2"):
        environment = os.environ | {"FORCEMAP_SIMD": name, "PYTHONPATH": paths}
        command = [sys.executable, "-c", code, *files]
        done = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=60)
        used, found = pickle.loads(done.stdout)
        assert used in (name, "generic")
        assert_same(found, expected, SINGLE)


def test_draws_leave_the_mean_alone() -> None:
    """Energies and forces are the same to the last bit without draws, beside them and after them."""
    plain = as_potential(replace(DATA, draws=None)).evaluator()
    beside = as_potential(DATA).evaluator()
    for name in ("slab", "molecule", "triclinic cell"):
        atoms = structures.get(name, SPECIES)
        arguments = (atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc)
        expected = plain.compute(*arguments)
        for _ in range(2):
            found = beside.compute(*arguments)
            assert found.energy == expected.energy
            np.testing.assert_array_equal(found.forces, expected.forces)
            np.testing.assert_array_equal(found.virial, expected.virial)
            beside.deviations(*arguments)


@pytest.mark.parametrize("noise", [False, True])
def test_deviations_are_calibrated(noise: bool) -> None:
    atoms = structures.get("triclinic cell", SPECIES)
    found = deviations(as_potential(replace(DATA, uncertainty=CALIBRATED)), atoms)
    raw = deviations(as_potential(DATA), atoms)
    found = found.with_noise() if noise else found

    def variance(draws: Array) -> Array:
        return np.asarray((draws**2).sum(axis=0) / (COUNT - 2))

    count, volume = len(atoms), atoms.get_volume()
    energy = count * (0.04 + 0.09 * noise) + 2.25 * variance(raw.energies)
    force = 0.01 + 0.16 * noise + 4.0 * variance(raw.forces)
    stress = 1e-4 + 4e-4 * noise + 9.0 * variance(raw.virials / volume)
    assert found.energy_std == pytest.approx(np.sqrt(energy), rel=1e-12)
    np.testing.assert_allclose(found.forces_std, np.sqrt(force), rtol=1e-12)
    np.testing.assert_allclose(found.stress_std, np.sqrt(stress), rtol=1e-12)
    np.testing.assert_allclose(raw.forces_std, np.sqrt(variance(raw.forces)), rtol=1e-12)


def test_a_potential_says_what_it_knows_of_its_errors(potential: Potential) -> None:
    assert (potential.draws, potential.uncertainty, potential.has_grade) == (COUNT, None, False)
    calibrated = as_potential(replace(DATA, uncertainty=CALIBRATED))
    assert calibrated.uncertainty == CALIBRATED
    bare = Potential(potential_bytes(replace(DATA, draws=None)), "bare.forcemap")
    assert bare.draws == 0
    message = r"bare\.forcemap has no draws, which deviations come from: map its model again"
    with pytest.raises(ForcemapError, match=message):
        deviations(bare, Atoms("H"))


def test_a_stress_needs_a_cell(potential: Potential) -> None:
    found = deviations(potential, structures.get("slab", SPECIES))
    with pytest.raises(ForcemapError, match="a cell periodic in three directions"):
        _ = found.stress_std


def test_atoms_in_one_place_are_named(potential: Potential) -> None:
    with pytest.raises(ForcemapError, match="atoms 0 and 2 are in the same place"):
        deviations(potential, Atoms("HOSi", [[0, 0, 0], [1, 0, 0], [0, 0, 0]]))


def test_no_atoms_have_no_deviation(potential: Potential) -> None:
    found = deviations(potential, Atoms())
    assert found.forces.shape == (COUNT, 0, 3)
    assert found.energy_std == 0.0
