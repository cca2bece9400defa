"""Dimers, trimers, extremes and random structures: sound potentials pass, holes are found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from forcemap.fitter.validation.check import NotComputed
from forcemap.fitter.validation.random_structures import RandomSettings, random_structure
from forcemap.fitter.validation.relaxing import Collapse, relax, shortest
from forcemap.potentials import ForcemapCalculator
from forcemap.potentials.file.potential_file import PotentialData, write_potential
from forcemap.potentials.terms import TwoBodySplines
from validation_cases import (
    COPPER,
    MORSE,
    case_of,
    checked,
    grades,
    morse_file,
    morse_pair,
    outcome,
    subject,
)


def _with_hole(folder: Path) -> Path:
    """Morse pairs down to 2 Å, where a barrier is; nearer atoms fall into each other."""
    from forcemap.fitter.terms.splines import spline_coefficients

    r = np.linspace(0.0, MORSE["cutoff"], 401)
    values = morse_pair(np.maximum(r, 2.0)) - 25.0 * np.maximum(2.0 - r, 0.0) ** 3
    table = spline_coefficients(0.5 * values)
    path = folder / "hole.forcemap"
    terms = (TwoBodySplines(MORSE["cutoff"], 400, {("Cu", "Cu"): table}),)
    write_potential(PotentialData(species=("Cu",), e0={"Cu": 0.0}, terms=terms), path)
    return path


def _without_repulsion(folder: Path) -> Path:
    """Pairs that gain energy around 2.5 Å and know nothing of each other when they are near."""
    from forcemap.fitter.terms.splines import spline_coefficients

    r = np.linspace(0.0, 6.0, 401)
    table = spline_coefficients(-0.25 * np.exp(-((r - 2.5) ** 2) / 0.1))
    path = folder / "weak.forcemap"
    terms = (TwoBodySplines(6.0, 400, {("Cu", "Cu"): table}),)
    write_potential(PotentialData(species=("Cu",), e0={"Cu": 0.0}, terms=terms), path)
    return path


def test_a_morse_dimer_has_its_depth_and_distance(tmp_path: Path) -> None:
    found = outcome(checked(tmp_path, morse_file(tmp_path), "dimer"), "dimer")
    assert found.numbers["binding energy"].value == pytest.approx(MORSE["depth"], rel=1e-3)
    assert found.numbers["distance"].value == pytest.approx(MORSE["distance"], abs=0.03)
    assert grades(found) == {"repulsive-when-near": "pass"}


def test_a_dimer_that_falls_in_fails(tmp_path: Path) -> None:
    found = outcome(checked(tmp_path, _with_hole(tmp_path), "dimer"), "dimer")
    assert grades(found) == {"repulsive-when-near": "fail"}


def test_a_dimer_that_nothing_holds_apart_fails(tmp_path: Path) -> None:
    """As of a fit without a repulsion, beyond the nearest of its sparse points."""
    found = outcome(checked(tmp_path, _without_repulsion(tmp_path), "dimer"), "dimer")
    assert grades(found) == {"repulsive-when-near": "fail"}
    assert "which is no repulsion" in found.verdicts[0].message


def test_three_morse_atoms_are_lowest_as_near_as_they_like(tmp_path: Path) -> None:
    case = case_of([], {"trimer": {"bond": MORSE["distance"] / 2.64}})
    found = outcome(checked(tmp_path, morse_file(tmp_path), "trimer", case), "trimer")
    assert found.numbers["angle"].value == pytest.approx(60.0, abs=1.0)
    assert found.numbers["energy"].value == pytest.approx(-3 * MORSE["depth"], rel=0.01)
    assert grades(found) == {"repulsive-when-near": "pass"}


def test_three_atoms_that_fall_in_fail(tmp_path: Path) -> None:
    found = outcome(checked(tmp_path, _with_hole(tmp_path), "trimer"), "trimer")
    assert grades(found) == {"repulsive-when-near": "fail"}


def test_morse_crystals_only_gain_energy_by_deformation(tmp_path: Path) -> None:
    found = outcome(checked(tmp_path, morse_file(tmp_path), "crystal extremes"), "extremes")
    assert set(grades(found).values()) == {"pass"}
    assert found.numbers["pressure when compressed"].value > 100.0
    assert found.numbers["gas against free atoms"].value == pytest.approx(0.0, abs=1e-9)


def test_a_crystal_that_falls_in_under_compression_fails(tmp_path: Path) -> None:
    settings = {"extremes": {"compressed": 0.1}}
    case = case_of([subject(COPPER)], settings)
    found = outcome(checked(tmp_path, _with_hole(tmp_path), "crystal extremes", case), "extremes")
    assert grades(found)["compression-costs-energy"] == "fail"
    assert grades(found)["expansion-costs-energy"] == "pass"


QUICK = {"random": {"structures": 6, "atoms": 4, "steps": 150}}


def test_no_random_structure_is_below_the_ground_state_of_morse(tmp_path: Path) -> None:
    case = case_of([subject(COPPER)], QUICK)
    found = outcome(checked(tmp_path, morse_file(tmp_path), "crystal random", case), "random")
    assert grades(found) == {"no-hole": "pass"}
    # Four atoms find the close packing now and then.
    assert found.numbers["lowest against the ground state"].value > -0.005


def test_a_crystal_that_collapses_fails_and_nothing_builds_on_it(tmp_path: Path) -> None:
    dense = COPPER.copy()
    dense.set_cell(0.6 * dense.cell, scale_atoms=True)
    found = checked(tmp_path, _with_hole(tmp_path), "crystal eos", case_of([subject(dense)]))
    (only,) = found.steps
    assert grades(only.outcome) == {"symmetry-kept": "fail"}
    assert "fall into each other" in only.outcome.verdicts[0].message
    assert [left.reason for left in found.left_out] == ["the crystal crystal could not be relaxed"]


def test_a_structure_below_the_supposed_ground_state_is_a_hole(tmp_path: Path) -> None:
    simple = bulk("Cu", "sc", a=2.7)
    case = case_of([subject(simple)], QUICK)
    found = outcome(checked(tmp_path, morse_file(tmp_path), "crystal random", case), "random")
    assert grades(found) == {"no-hole": "fail"}
    assert "below the ground state, crystal" in found.verdicts[0].message


def test_random_structures_fall_into_a_hole(tmp_path: Path) -> None:
    case = case_of([subject(COPPER)], {"random": {**QUICK["random"], "nearest": 0.6}})
    found = outcome(checked(tmp_path, _with_hole(tmp_path), "crystal random", case), "random")
    assert grades(found) == {"no-hole": "fail"}


def test_random_structures_keep_their_distance_and_differ() -> None:
    rng = np.random.default_rng(1)
    settings = RandomSettings(atoms=8, nearest=0.8)
    made = [random_structure("HLi", settings, 8.0, rng) for _ in range(4)]
    for atoms in made:
        assert atoms.get_chemical_formula() == "H4Li4"
        assert shortest(atoms) >= 0.8
    assert len({round(atoms.get_volume(), 3) for atoms in made}) == 4


def test_a_collapse_is_noticed_while_it_happens(tmp_path: Path) -> None:
    atoms = Atoms("Cu2", [[0, 0, 0], [1.6, 0, 0]])
    atoms.calc = ForcemapCalculator(_with_hole(tmp_path))
    with pytest.raises(Collapse, match="fall into each other"):
        relax(atoms, 0.01, 200)
    assert issubclass(Collapse, NotComputed)


def test_an_interstitial_that_falls_in_is_a_verdict_not_an_energy(tmp_path: Path) -> None:
    case = case_of([subject(COPPER)], {"interstitial": {"length": 7.0, "steps": 60}})
    found = checked(tmp_path, _with_hole(tmp_path), "crystal interstitial", case)
    one = outcome(found, "interstitial")
    assert grades(one)["no-hole-at-interstitials"] == "fail"
    assert all(number.value > -10.0 for number in one.numbers.values())
