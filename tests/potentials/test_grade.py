"""The extrapolation grade: brute force, short distances, threads, instruction sets, errors."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import reference
import structures
from ase import Atoms
from forcemap.potentials import ForcemapError, Potential
from forcemap.potentials.file.potential_file import (
    PotentialData,
    as_potential,
    potential_bytes,
    write_potential,
)
from forcemap.potentials.grade import AngularMoments, Grade, Moments
from numpy.typing import NDArray
from potentials_factory import random_potential, random_soap, with_draws, with_grade

Array = NDArray[np.float64]

SPECIES = ["H", "O", "Si"]
BARE = random_potential(SPECIES, 21, two_body_cutoff=4.4, three_body_cutoff=3.6, soap=True)
ONE = random_potential(["Si"], 22, two_body_cutoff=4.4)
MOMENTS = {
    "sums": Moments(3.0, 7),
    "many sums": Moments(4.4, 16),
    "one of angles": Moments(4.2, 3, AngularMoments(3.4, 1)),
    "two of angles": Moments(4.0, 4, AngularMoments(3.6, 2)),
    "many of angles": Moments(3.0, 9, AngularMoments(4.4, 3)),
    "sixteen of angles": Moments(4.0, 1, AngularMoments(3.0, 16)),
}
"""Every loop of them; angles within the cutoff of the sums and beyond it."""

CASES = {
    "terms": with_grade(BARE, 1),
    **{name: with_grade(BARE, 2, MOMENTS[name]) for name in ("many sums", "two of angles")},
    **{
        f"{radial} sums of one element": with_grade(ONE, 3, Moments(cutoff, radial))
        for radial, cutoff in ((4, 4.4), (3, 3.1))
    },
}


def structure_of(case: str, name: str) -> Atoms:
    return structures.get(name, list(CASES[case].species))


def grades(potential: Potential, atoms: Atoms, threads: int = 1) -> Array:
    evaluator = potential.evaluator(threads=threads)
    structure = atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc
    found = evaluator.compute(*structure, grades=True).grades
    assert found is not None
    assert evaluator.compute(*structure).grades is None
    return found


@pytest.mark.parametrize("case", list(CASES))
@pytest.mark.parametrize("name", ["slab"])
def test_grades_equal_brute_force(name: str, case: str) -> None:
    atoms = structure_of(case, name)
    found = grades(as_potential(CASES[case]), atoms)
    np.testing.assert_allclose(found, reference.grades(CASES[case], atoms), rtol=1e-9)


@pytest.mark.parametrize("moments", MOMENTS.values(), ids=MOMENTS)
@pytest.mark.parametrize("species", [SPECIES, ["Si"]])
def test_moments_equal_brute_force(species: list[str], moments: Moments) -> None:
    """Also for one element, which has a loop of its own. They need no grade in the file."""
    data = random_potential(species, 4, two_body_cutoff=4.4, three_body_cutoff=3.6)
    atoms = structures.get("slab", species)
    potential = as_potential(data)
    found = potential.evaluator().features(
        atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc, moments
    )
    count = moments.count(len(species))
    assert potential.feature_counts(moments) == dict.fromkeys(species, count)
    assert found.shape == (len(atoms), count)
    for i in range(len(atoms)):
        expected = reference.moments(data, atoms, i, moments)
        np.testing.assert_allclose(found[i], expected, rtol=0, atol=1e-12 * np.abs(found).max())


def test_features_are_projections_on_the_first_vectors() -> None:
    atoms = structures.get("slab", SPECIES)
    potential = as_potential(BARE)
    found = potential.evaluator().features(
        atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc
    )
    counts = {s: sum(term.features(s) for term in BARE.terms) for s in SPECIES}
    assert potential.feature_counts() == counts
    for i, symbol in enumerate(atoms.get_chemical_symbols()):
        expected = np.zeros(max(counts.values()))
        expected[: counts[symbol]] = reference.features(BARE, atoms, i)
        np.testing.assert_allclose(found[i], expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("count", [1, 32, 35])
def test_at_most_32_vectors_of_a_term_are_features(count: int) -> None:
    term = random_soap(np.random.default_rng(3), ("Si",), 2, np.eye(1), count=count)
    data = PotentialData(("Si",), {"Si": 0.0}, (term,))
    assert as_potential(data).feature_counts() == {"Si": min(count, 32)}
    atoms = Atoms("Si3", [[0, 0, 0], [2.0, 0.4, 0], [0.3, 1.9, 1.1]])
    found = grades(as_potential(with_grade(data, 5)), atoms)
    np.testing.assert_allclose(found, reference.grades(with_grade(data, 5), atoms), rtol=1e-9)


def test_a_distance_below_the_shortest_counts_as_its_ratio() -> None:
    """Where it is larger than what the features say; of the pair's own shortest distance."""
    pairs = {("H", "H"): 1.5, ("H", "O"): 1.0}
    potential = as_potential(replace(BARE, grade=Grade(pairs, {})))
    for r, elements, expected in [
        (1.2, "HH", 1.25),
        (1.5, "HH", 0.0),
        (0.5, "HO", 2.0),
        (1.2, "HO", 0.0),
        (0.5, "OO", 0.0),
    ]:
        atoms = Atoms(elements, [[0, 0, 0], [0, 0, r]])
        np.testing.assert_allclose(grades(potential, atoms), expected, rtol=1e-12)


def test_grades_know_no_place_and_no_direction() -> None:
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    for case, data in CASES.items():
        atoms = structure_of(case, "triclinic cell")
        turned = atoms.copy()
        turned.set_cell(atoms.cell.array @ turn)
        turned.positions = atoms.positions @ turn + [0.1, 7.0, -3.0]
        one, other = (grades(as_potential(data), some) for some in (atoms, turned))
        np.testing.assert_allclose(one, other, rtol=1e-9)


@pytest.mark.parametrize("case", list(CASES))
def test_threads_give_the_same_grades(case: str) -> None:
    atoms = structure_of(case, "triclinic cell").repeat((2, 1, 1))
    potential = as_potential(CASES[case])
    np.testing.assert_array_equal(grades(potential, atoms, threads=3), grades(potential, atoms))


@pytest.mark.parametrize("case", ["terms", "two of angles", "4 sums of one element"])
def test_instruction_sets_agree_on_grades(case: str, tmp_path: Path) -> None:
    write_potential(CASES[case], tmp_path / "potential.forcemap")
    code = (
        "import sys; import numpy as np; from forcemap.potentials import load\n"
        "atoms = np.load(sys.argv[2])\n"
        "found = load(sys.argv[1]).evaluator().compute(**atoms, grades=True)\n"
        "sys.stdout.buffer.write(found.grades.tobytes())\n"
    )
    atoms = structure_of(case, "slab")
    expected = grades(as_potential(CASES[case]), atoms)
    files = str(tmp_path / "potential.forcemap"), str(tmp_path / "atoms.npz")
    arrays = {"positions": atoms.positions, "numbers": atoms.numbers, "pbc": atoms.pbc}
    np.savez(files[1], cell=atoms.cell.array, **arrays)
    for name in ("generic", "avx2"):
        environment = os.environ | {"FORCEMAP_SIMD": name, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", code, *files]
        done = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=60)
        np.testing.assert_allclose(np.frombuffer(done.stdout), expected, rtol=1e-10)


def test_grading_leaves_energies_and_forces_alone() -> None:
    """Bit by bit, also where distances are found together with what grades."""
    for case, data in CASES.items():
        atoms = structure_of(case, "slab")
        structure = atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc
        evaluator = as_potential(data).evaluator()
        one, other = evaluator.compute(*structure, grades=True), evaluator.compute(*structure)
        assert one.energy == other.energy
        np.testing.assert_array_equal(one.forces, other.forces)
        np.testing.assert_array_equal(one.virial, other.virial)


def test_grades_do_not_depend_on_how_many_wait() -> None:
    """Sites are graded many at a time: each as if it were alone, however many there are.

    Of those nearer than the data's shortest distance, too, some of which are with others in a group.
    """
    potential = as_potential(CASES["4 sums of one element"])
    for count in (1, 7, 8, 9, 17, 63, 64, 65, 130):
        places = np.random.default_rng(count).uniform(0, 3.0 * count ** (1 / 3), (count, 3))
        atoms = Atoms(f"Si{count}", places)
        found = grades(potential, atoms)
        np.testing.assert_allclose(found, reference.grades(CASES["4 sums of one element"], atoms))


def test_a_potential_without_a_grade_says_so() -> None:
    potential = Potential(potential_bytes(BARE), "bare.forcemap")
    assert not potential.has_grade
    with pytest.raises(
        ForcemapError,
        match=r"bare\.forcemap has no extrapolation grade: map its model again .* or fit",
    ):
        grades(potential, Atoms("H"))


@pytest.mark.parametrize("kind", ["moments", "moments of angles"])
@pytest.mark.parametrize(("cutoff", "radial"), [(0.0, 1), (3.0, 0), (3.0, 17), (np.nan, 2)])
def test_moments_are_checked(kind: str, cutoff: float, radial: int) -> None:
    moments = Moments(cutoff, radial)
    if kind == "moments of angles":
        moments = Moments(3.0, 1, AngularMoments(cutoff, radial))
    with pytest.raises(ForcemapError, match=rf"^{kind}: found cutoff .*, expected cutoff > 0"):
        as_potential(BARE).feature_counts(moments)


@pytest.mark.parametrize("case", ["terms", "4 sums of one element"])
def test_atoms_in_one_place_are_named(case: str) -> None:
    symbols = list(CASES[case].species)
    with pytest.raises(ForcemapError, match="atoms 0 and 1 are in the same place"):
        grades(as_potential(CASES[case]), Atoms([symbols[0], symbols[-1]], np.zeros((2, 3))))


def test_atoms_however_near_are_graded() -> None:
    """Also where squares of distances leave the range of doubles: moments as of any short distance."""
    data = CASES["4 sums of one element"]
    assert data.grade is not None
    shortest = data.grade.shortest["Si", "Si"]
    potential = as_potential(data)
    of_moments = as_potential(replace(data, grade=replace(data.grade, shortest={})))
    expected = grades(of_moments, Atoms("Si2", [[0, 0, 0], [0, 0, 1e-14]]))
    for r, known in ((1e-3, 1e-3), (1e-19, 1e-19), (1e-200, 1e-18)):
        atoms = Atoms("Si2", [[0, 0, 0], [0, 0, r]])
        np.testing.assert_allclose(grades(potential, atoms), shortest / known, rtol=1e-9)
        if r < 1e-14:
            np.testing.assert_allclose(grades(of_moments, atoms), expected, rtol=1e-10)


def test_bytes_of_draws_are_not_those_of_a_step() -> None:
    drawn = as_potential(with_draws(BARE, 4, 1))
    assert drawn.core.bytes == as_potential(BARE).core.bytes
    assert drawn.core.bytes_of_draws > 0
    assert as_potential(BARE).core.bytes_of_draws == 0
