"""Checks of crystals against closed forms of Morse pairs, and against ASE's EMT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from forcemap.fitter.data.units import GPA
from forcemap.fitter.validation.check import NotComputed
from forcemap.fitter.validation.elastic import different_constants, hill
from forcemap.fitter.validation.equation_of_state import BirchMurnaghan
from forcemap.fitter.validation.interstitial import holes
from forcemap.fitter.validation.surfaces import slabs
from forcemap.potentials.errors import ForcemapError
from validation_cases import (
    COPPER,
    case_of,
    checked,
    derivatives,
    fcc_energy,
    fcc_neighbours,
    grades,
    minimum_of,
    morse_file,
    morse_pair,
    outcome,
    subject,
)
from validation_cases import (
    EMT as EMT_SPEC,
)

# The file's splines follow the pairs within some 1e-6 eV; derivatives of second order within 1e-3.
LATTICE = minimum_of(fcc_energy, 3.5, 4.3)


def test_lattice_constant_and_cohesive_energy_are_those_of_the_lattice_sum(tmp_path: Path) -> None:
    found = outcome(checked(tmp_path, morse_file(tmp_path), "crystal"), "crystal").numbers
    assert found["lattice constant a"].value == pytest.approx(LATTICE, abs=2e-4)
    assert found["cohesive energy"].value == pytest.approx(-fcc_energy(LATTICE), abs=1e-4)
    assert "lattice constant b" not in found


def test_a_crystal_that_gives_up_its_symmetry_is_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("spglib")
    strained = COPPER.copy()
    strained.set_cell(strained.cell * [1.0, 1.0, 1.06], scale_atoms=True)
    found = checked(tmp_path, morse_file(tmp_path), "crystal", case_of([subject(strained)]))
    assert grades(outcome(found, "crystal")) == {"symmetry-kept": "warn"}


def _constants(a: float) -> tuple[float, float]:
    """C11 and C12 = C44 (Cauchy) of the lattice sum at rest, GPa: Born and Huang (1954), § 11."""
    vectors = fcc_neighbours(a)
    r = np.linalg.norm(vectors, axis=1)
    first, second = derivatives(r)
    weight = (second - first / r) / r**2 / (2.0 * a**3 / 4.0)
    x, y = vectors[:, 0] ** 2, vectors[:, 1] ** 2
    return float((weight * x * x).sum() * GPA), float((weight * x * y).sum() * GPA)


def test_elastic_constants_are_those_of_the_lattice_sum(tmp_path: Path) -> None:
    found = outcome(checked(tmp_path, morse_file(tmp_path), "crystal elastic"), "elastic")
    c11, c12 = _constants(LATTICE)
    # Strains of 0.005 leave an error of second order, some 1e-3 of the constants.
    assert found.numbers["C11"].value == pytest.approx(c11, rel=5e-3)
    assert found.numbers["C12"].value == pytest.approx(c12, rel=5e-3)
    assert found.numbers["C44"].value == pytest.approx(c12, rel=5e-3)
    assert set(found.numbers) == {
        *("C11", "C12", "C44"),
        *("bulk modulus (Hill)", "shear modulus (Hill)"),
    }
    assert found.numbers["bulk modulus (Hill)"].value == pytest.approx(
        (c11 + 2 * c12) / 3, rel=5e-3
    )
    assert grades(found) == {"elastically-stable": "pass"}


def test_an_unstable_crystal_fails_borns_criterion(tmp_path: Path) -> None:
    simple = bulk("Cu", "sc", a=2.7)
    found = checked(tmp_path, morse_file(tmp_path), "crystal elastic", case_of([subject(simple)]))
    assert grades(outcome(found, "elastic")) == {"elastically-stable": "fail"}


def test_bulk_moduli_of_strain_and_of_compression_agree_for_emt(tmp_path: Path) -> None:
    settings = {"eos": {"smallest": 0.97, "largest": 1.03}}
    case = case_of([subject(bulk("Cu", cubic=True))], settings)
    found = checked(tmp_path, EMT_SPEC, "crystal eos elastic", case)
    compressed = outcome(found, "eos").numbers["bulk modulus"].value
    strained = outcome(found, "elastic").numbers["bulk modulus (Hill)"].value
    assert compressed == pytest.approx(strained, rel=0.01)


def test_different_constants_are_those_of_the_lattice() -> None:
    hexagonal = np.diag([150.0, 150.0, 180.0, 40.0, 40.0, 35.0])
    hexagonal[0, 1] = hexagonal[1, 0] = 80.0
    hexagonal[:2, 2] = hexagonal[2, :2] = 60.0
    names = [f"C{i + 1}{j + 1}" for i, j in different_constants(hexagonal)]
    assert names == ["C11", "C33", "C12", "C13", "C44", "C66"]
    hexagonal[0, 3] = hexagonal[3, 0] = 12.0
    assert (0, 3) in different_constants(hexagonal)


def test_moduli_of_an_isotropic_body_are_its_own() -> None:
    bulk_modulus, shear = 90.0, 40.0
    matrix = np.diag([bulk_modulus + 4 * shear / 3] * 3 + [shear] * 3)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        matrix[i, j] = matrix[j, i] = bulk_modulus - 2 * shear / 3
    assert hill(matrix) == pytest.approx((bulk_modulus, shear))


def test_birch_murnaghan_is_recovered_exactly() -> None:
    energy, volume, modulus, derivative = -4.0, 11.8, 0.9, 4.7
    volumes = np.linspace(0.9, 1.1, 9) * volume
    x = (volume / volumes) ** (2 / 3)
    energies = energy + 9 * volume * modulus / 16 * (
        (x - 1) ** 3 * derivative + (x - 1) ** 2 * (6 - 4 * x)
    )
    fit = BirchMurnaghan.fitted(volumes, energies)
    assert fit[:4] == pytest.approx((energy, volume, modulus, derivative), rel=1e-6)
    assert fit.energies(volumes) == pytest.approx(energies, abs=1e-9)


def test_energies_without_a_minimum_are_refused() -> None:
    with pytest.raises(NotComputed, match="has no minimum"):
        BirchMurnaghan.fitted([10, 11, 12, 13, 14], [1.0, 0.8, 0.6, 0.5, 0.4])


def test_phonons_are_those_of_the_dynamical_matrix(tmp_path: Path) -> None:
    pytest.importorskip("phonopy")
    # A supercell of more than twice the cutoff, so that no pair is cut.
    settings = {"phonons": {"length": 11.2, "mesh": 4, "displacement": 0.005}}
    case = case_of([subject(COPPER)], settings)
    found = outcome(checked(tmp_path, morse_file(tmp_path), "crystal phonons", case), "phonons")
    vectors = fcc_neighbours(LATTICE)
    r = np.linalg.norm(vectors, axis=1)
    first, second = derivatives(r)
    tensors = (second - first / r)[:, None, None] * (vectors[:, :, None] * vectors[:, None, :]) / r[
        :, None, None
    ] ** 2 + (first / r)[:, None, None] * np.eye(3)
    phase = 1.0 - np.cos(vectors @ (2 * np.pi / LATTICE * np.array([1.0, 0.0, 0.0])))
    matrix = (phase[:, None, None] * tensors).sum(axis=0)
    # eV/Å² and atomic mass units to THz.
    frequencies = 15.633302 * np.sqrt(np.linalg.eigvalsh(matrix) / 63.546)
    # The anharmonic error of displacements of 0.005 Å is below 1e-3.
    assert found.numbers["lowest frequency at X"].value == pytest.approx(frequencies[0], rel=3e-3)
    assert found.numbers["highest frequency at X"].value == pytest.approx(frequencies[2], rel=3e-3)
    assert grades(found) == {"no-imaginary-modes": "pass", "acoustic-sum-rule": "pass"}
    states = np.array(found.data["density"])
    assert np.trapezoid(states, found.data["grid"]) == pytest.approx(3.0, rel=0.02)


def test_imaginary_modes_of_the_ground_state_fail_and_of_others_warn(tmp_path: Path) -> None:
    pytest.importorskip("phonopy")
    settings = {"phonons": {"length": 5.0, "mesh": 4}}
    simple = subject(bulk("Cu", "sc", a=2.7), "simple")
    path = morse_file(tmp_path)
    alone = checked(tmp_path / "a", path, "crystal phonons", case_of([simple], settings))
    assert grades(outcome(alone, "phonons"))["no-imaginary-modes"] == "fail"
    both = case_of([simple, subject(COPPER)], settings)
    found = checked(tmp_path / "b", path, "crystal phonons", both)
    (of_simple,) = [
        s.outcome for s in found.steps if (s.check.name, s.subject.name) == ("phonons", "simple")
    ]
    assert grades(of_simple)["no-imaginary-modes"] == "warn"


def test_an_unrelaxed_vacancy_of_pairs_costs_the_cohesive_energy(tmp_path: Path) -> None:
    found = outcome(checked(tmp_path, morse_file(tmp_path), "crystal vacancy"), "vacancy").numbers
    cohesive = -fcc_energy(LATTICE)
    # Of pairs at rest: half of the bonds that are cut come back with the atom's own.
    assert found["vacancy Cu, unrelaxed"].value == pytest.approx(cohesive, rel=1e-3)
    assert 0.8 * cohesive < found["vacancy Cu"].value < found["vacancy Cu, unrelaxed"].value


@pytest.mark.parametrize("plane", [(1, 0, 0), (1, 1, 0), (1, 1, 1)])
def test_unrelaxed_surfaces_cost_the_bonds_that_cross_them(
    tmp_path: Path, plane: tuple[int, int, int]
) -> None:
    settings = {"surfaces": {"planes": [list(plane)], "thickness": 12.0}}
    case = case_of([subject(COPPER)], settings)
    found = outcome(checked(tmp_path, morse_file(tmp_path), "crystal surfaces", case), "surfaces")
    vectors = fcc_neighbours(LATTICE)
    heights = vectors @ np.array(plane) / np.linalg.norm(plane)
    up = heights > 1e-9
    crossing = heights[up] * morse_pair(np.linalg.norm(vectors[up], axis=1))
    energy = -0.5 * float(crossing.sum()) / (LATTICE**3 / 4) * 16.0217663
    name = f"surface {''.join(map(str, plane))}"
    assert found.numbers[f"{name}, unrelaxed"].value == pytest.approx(energy, rel=2e-3)
    assert found.numbers[name].value < found.numbers[f"{name}, unrelaxed"].value


def test_all_cuts_of_a_plane_are_offered_with_the_same_atoms() -> None:
    diamond = bulk("Si", "diamond", a=5.43, cubic=True)
    offered = list(slabs(diamond, (1, 1, 1), 9.0, 10.0))
    assert len(offered) > 1
    assert {len(slab) for slab in offered} == {len(offered[0])}
    nearest = [
        float(np.sort(slab.get_all_distances(mic=True).ravel())[len(slab)]) for slab in offered
    ]
    # No cut moves atoms against each other.
    assert nearest == pytest.approx([5.43 * 3**0.5 / 4] * len(offered))
    bonds = [int((slab.get_all_distances(mic=True) < 2.5).sum()) for slab in offered]
    assert len(set(bonds)) == 2  # the shuffle and the glide set


def test_holes_of_fcc_are_the_octahedron_and_the_tetrahedron() -> None:
    crystal = bulk("Cu", "fcc", a=4.0, cubic=True)
    big = crystal.repeat(3)
    big.positions -= crystal.cell.array.sum(axis=0)
    radii = [
        float(np.linalg.norm(big.positions - hole, axis=1).min()) for hole in holes(crystal, 5)
    ]
    assert radii == pytest.approx([2.0, 3**0.5])


def test_emt_is_checked_like_a_potential(tmp_path: Path) -> None:
    case = case_of([subject(bulk("Cu", cubic=True))], {"interstitial": {"length": 7.0}})
    found = checked(tmp_path, EMT_SPEC, "crystal vacancy interstitial", case)
    crystal = outcome(found, "crystal").numbers
    atoms = bulk("Cu", cubic=True, a=crystal["lattice constant a"].value)
    atoms.calc = EMT()
    assert np.abs(atoms.get_stress()).max() * GPA < 0.05
    assert outcome(found, "vacancy").numbers["vacancy Cu"].value > 0.5
    assert outcome(found, "interstitial").numbers["interstitial Cu"].value > 1.0


def test_defects_of_compounds_need_no_reservoir(tmp_path: Path) -> None:
    """Schottky and Frenkel energies do not change with the energies of free atoms."""
    alloy = bulk("CuAu", "cesiumchloride", a=3.1)
    found = checked(
        tmp_path,
        EMT_SPEC,
        "crystal vacancy interstitial",
        case_of(
            [subject(alloy)],
            {"vacancy": {"length": 6.0}, "interstitial": {"length": 6.0}},
            species=("Au", "Cu"),
        ),
    )
    vacancies = outcome(found, "vacancy")
    own = vacancies.numbers
    removed = vacancies.data["removed"]
    energy = outcome(found, "crystal").data["energy"]
    assert own["Schottky defect"].value == pytest.approx(sum(removed.values()) + 2 * energy)
    assert any("against the free atom of Au" in line for line in vacancies.remarks)
    assert {"Frenkel pair Cu", "Frenkel pair Au"} & set(outcome(found, "interstitial").numbers)


ALLOY = bulk("CuAu", "cesiumchloride", a=3.1)
"""Stands for a polar crystal: what Born charges add does not depend on what gives the forces."""

CHARGE, DIELECTRIC = 1.3, 4.0


def born_file(folder: Path, last: str = f"-{CHARGE} 0 0 0 -{CHARGE} 0 0 0 -{CHARGE}") -> Path:
    path = folder / "BORN"
    lines = [
        "2.0",  # the unit of Quantum ESPRESSO's force constants: no business of ours
        f"{DIELECTRIC} 0 0 0 {DIELECTRIC} 0 0 0 {DIELECTRIC}",
        f"{CHARGE} 0 0 0 {CHARGE} 0 0 0 {CHARGE}",
        last,
    ]
    path.write_text("\n".join(lines))
    return path


def test_born_charges_split_optical_modes_as_the_field_of_their_dipoles_does(
    tmp_path: Path,
) -> None:
    """w_LO^2 - w_TO^2 = 4 pi e^2 Z^2 / (epsilon V mu), Born and Huang (1954), section 8."""
    pytest.importorskip("phonopy")
    phonons = {"length": 6.0, "mesh": 4, "born": str(born_file(tmp_path))}
    case = case_of([subject(ALLOY)], {"phonons": phonons}, species=("Cu", "Au"))
    found = outcome(checked(tmp_path, EMT_SPEC, "crystal phonons", case), "phonons")
    plain = case_of([subject(ALLOY)], {"phonons": {"length": 6.0, "mesh": 4}}, species=("Cu", "Au"))
    without = outcome(checked(tmp_path, EMT_SPEC, "crystal phonons", plain), "phonons").numbers
    crystal = checked(tmp_path, EMT_SPEC, "crystal", case)
    volume = outcome(crystal, "crystal").numbers["lattice constant a"].value ** 3
    masses = ALLOY.get_masses()
    reduced = masses.prod() / masses.sum()
    # eV/(Å² u) to THz²; 14.3996 eV Å is e²/(4 pi epsilon_0).
    split = 15.633302**2 * 4 * np.pi * 14.39964548 * CHARGE**2 / (DIELECTRIC * volume * reduced)
    transverse = found.numbers["lowest optical frequency at Gamma"].value
    longitudinal = found.numbers["highest frequency at Gamma"].value
    # phonopy's constants differ from these by some 1e-6.
    assert longitudinal**2 - transverse**2 == pytest.approx(split, rel=1e-4)
    assert transverse == pytest.approx(without["highest frequency at Gamma"].value, rel=1e-6)
    # At the boundary of the zone, where the forces say all, nothing changes.
    for name in ("highest frequency at X", "lowest frequency at M"):
        assert found.numbers[name].value == pytest.approx(without[name].value, abs=1e-6)
    # The band along the path ends at Gamma with the longitudinal mode.
    start = found.data["frequencies"][found.data["labels"].index("Γ")]
    assert start[-1] == pytest.approx(longitudinal, rel=1e-6)


@pytest.mark.parametrize(
    ("last", "key", "message"),
    [
        ("1 0 0", "", "BORN: is not phonopy's file BORN of crystal: .*line 4"),
        ("-1 0 0 0 -1 0 0 0 -1\n0 0 0 0 0 0 0 0 0", "", "Too many atoms"),
        ("-1 0 0 0 -1 0 0 0 x", "", "could not convert"),
        ("-1 0 0 0 -1 0 0 0 -1", "other", "'other' is none of the crystals, which are crystal"),
    ],
)
def test_born_charges_of_no_crystal_here_are_refused(
    tmp_path: Path, last: str, key: str, message: str
) -> None:
    pytest.importorskip("phonopy")
    path = str(born_file(tmp_path, last))
    given = {key: path} if key else path
    case = case_of([subject(ALLOY)], {"phonons": {"born": given}}, species=("Cu", "Au"))
    with pytest.raises(ForcemapError, match=message):
        checked(tmp_path, EMT_SPEC, "phonons", case)


def test_one_born_file_for_several_crystals_is_refused(tmp_path: Path) -> None:
    case = case_of(
        [subject(ALLOY, "one"), subject(COPPER, "two")],
        {"phonons": {"born": str(born_file(tmp_path))}},
        species=("Cu", "Au"),
    )
    with pytest.raises(ForcemapError, match="there are one, two: say which one"):
        checked(tmp_path, EMT_SPEC, "phonons", case)
    with pytest.raises(ForcemapError, match=r"phonons\.born: .*nowhere: No such file"):
        case_of([subject(ALLOY)], {"phonons": {"born": str(tmp_path / "nowhere")}})
