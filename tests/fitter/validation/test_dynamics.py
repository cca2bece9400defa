"""Dynamics in LAMMPS with potentials whose behaviour is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.morse import MorsePotential
from forcemap.fitter.validation.dynamics import Moves, broken, frames_of_dump, timestep_of
from forcemap.fitter.validation.heating import melting
from forcemap.fitter.validation.pair_distribution import (
    groups_of,
    overlap,
    radial_distribution,
)
from forcemap.fitter.validation.vibrations import harmonic, spectrum
from structures import as_frame
from validation_cases import COPPER, case_of, checked, grades, morse_file, outcome, subject

SHORT = {"length": 7.0, "settle": 200, "steps": 500}


def _table(**columns: Any) -> dict[str, np.ndarray]:
    rows = {"Temp": [300.0, 310.0], "Atoms": [8.0, 8.0], "PotEng": [-1.0, -1.0], "Time": [0.0, 1.0]}
    return {name: np.array(values) for name, values in (rows | columns).items()}


def test_lost_atoms_and_a_runaway_temperature_fail() -> None:
    assert broken(Moves([_table()], 8), 300.0) is None
    lost = broken(Moves([_table(Atoms=[8.0, 7.0])], 8), 300.0)
    assert lost is not None
    assert "1 atoms are lost after 1 ps" in lost.message
    hot = broken(Moves([_table(Temp=[300.0, 2000.0])], 8), 300.0)
    assert hot is not None
    assert "2e+03 K, where 300 K is meant" in hot.message
    ended = broken(Moves([_table()], 8, "ERROR: Non-numeric pressure"), 300.0)
    assert ended is not None
    assert "LAMMPS ended after 1 ps, at 310 K: ERROR: Non-numeric pressure" in ended.message


def test_hydrogen_takes_shorter_steps() -> None:
    class Given:
        timestep: float | None = None

    assert timestep_of(Atoms("LiH"), Given) == 0.5 * timestep_of(Atoms("Si2"), Given)
    Given.timestep = 0.002
    assert timestep_of(Atoms("LiH"), Given) == 0.002


def test_a_dump_is_read_in_the_order_of_ids() -> None:
    head = (
        "ITEM: TIMESTEP\n{}\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp pp\n0 1\n0 1\n0 1\n"
    )
    text = "".join(
        head.format(step) + f"ITEM: ATOMS id xs ys zs\n2 0.5 0 {step}\n1 0.1 0.2 0.3\n"
        for step in (0, 5)
    )
    frames = frames_of_dump(text, 3)
    assert frames.shape == (2, 2, 3)
    assert frames[1].tolist() == [[0.1, 0.2, 0.3], [0.5, 0.0, 5.0]]


def test_melting_is_where_atoms_leave_their_sites_for_good() -> None:
    temperatures = np.linspace(300.0, 1300.0, 101)
    displaced = np.where(temperatures < 900.0, 0.1, 0.1 + (temperatures - 900.0) / 10.0)
    displaced[20] = 5.0  # a jump that comes back
    assert melting(temperatures, displaced, 2.5) == pytest.approx(915.0, abs=20.0)
    assert melting(temperatures, np.full(101, 0.1), 2.5) is None


def test_frequencies_of_a_molecule_are_that_of_its_bond() -> None:
    depth, stiffness = 4.5, 1.9
    atoms = Atoms("LiH", [[0, 0, 0], [0.93, 0.93, 0.94]])
    bond = float(atoms.get_distance(0, 1))
    atoms.calc = MorsePotential(
        epsilon=depth, rho0=stiffness * bond, r0=bond, rcut1=20.0, rcut2=30.0
    )
    frequencies, _ = harmonic(atoms)
    m1, m2 = atoms.get_masses()
    constant = 2.0 * depth * stiffness**2
    expected = np.sqrt(constant * (1 / m1 + 1 / m2)) / (2 * np.pi) * 1000.0 * units.fs
    # Displacements of 0.01 Å leave an error of second order.
    assert np.abs(frequencies).max() == pytest.approx(expected, rel=2e-3)


def test_the_spectrum_of_a_leapfrog_has_the_frequency_of_its_spring() -> None:
    """The step is an eighth of the period, so that the leapfrog itself is off by several per cent."""
    frequency, step = 10.0, 0.0125
    omega = 2 * np.pi * frequency
    position, velocity = 0.0, 1.0
    velocities = []
    for _ in range(4000):
        velocity -= 0.5 * step * omega**2 * position
        position += step * velocity
        velocity -= 0.5 * step * omega**2 * position
        velocities.append(velocity)
    grid, power = spectrum(np.array(velocities)[:, None, None], np.ones(1), step, 1)
    assert np.sqrt((grid**2 * power).sum() / power.sum()) == pytest.approx(frequency, rel=1e-3)


def test_g_of_r_of_a_crystal_has_its_shells_and_its_density() -> None:
    crystal = bulk("Cu", "fcc", a=3.6, cubic=True)
    r, values = radial_distribution([crystal], 6.0)
    shell = 4.0 / 3.0 * np.pi * ((r + 0.05) ** 3 - (r - 0.05) ** 3)
    counts = values * shell * 4 / 3.6**3
    near = 3.6 / 2**0.5
    assert counts[np.abs(r - near) < 0.15].sum() == pytest.approx(12.0)
    assert counts[np.abs(r - 3.6) < 0.15].sum() == pytest.approx(6.0)
    assert overlap(r, values, values) == 1.0
    assert overlap(r, values, np.roll(values, 3)) < 0.5


def test_groups_with_a_temperature_in_their_names_are_compared() -> None:
    def group(name: str, count: int) -> list[Any]:
        from dataclasses import replace

        return [replace(as_frame(COPPER), config_type=name) for _ in range(count)]

    frames = [
        *group("Thermal-300K", 3),
        *group("Liquid_2000 K", 4),
        *group("Beads-300K", 9),
        *group("Few-500K", 2),
        *group("Bulk", 5),
        *group("4K2-old", 5),
    ]
    assert groups_of(frames, None) == {"Thermal-300K": 300.0, "Liquid_2000 K": 2000.0}
    assert groups_of(frames, {"Bulk": 77.0, "none": 3.0}) == {"Bulk": 77.0}


@pytest.mark.lammps
def test_dynamics_of_morse_conserve_energy_and_expand(tmp_path: Path) -> None:
    settings = {"nve": SHORT, "npt": {**SHORT, "settle": 1000, "steps": 2000}}
    case = case_of([subject(COPPER)], settings)
    found = checked(tmp_path, morse_file(tmp_path), "crystal nve npt", case)
    drift = outcome(found, "nve")
    assert grades(drift) == {"energy-conserved": "pass"}
    assert 0.0 < drift.numbers["NVE fluctuation"].value < 1.0
    density = outcome(found, "npt").numbers
    mass = 63.546 * 1.66053906660
    volume = density["volume per atom at 300 K"].value
    assert density["density at 300 K"].value == pytest.approx(mass / volume)
    # Morse pairs expand when they are warm; metals by some per cent of their volume to 300 K.
    assert 0.2 < density["expansion at 300 K"].value < 6.0


@pytest.mark.lammps
def test_dynamics_follow_the_second_derivatives(tmp_path: Path) -> None:
    case = case_of([subject(COPPER)], {"vibrations": {"length": 7.0, "steps": 6000}})
    found = outcome(
        checked(tmp_path, morse_file(tmp_path), "crystal vibrations", case), "vibrations"
    )
    assert grades(found) == {"dynamics-follow-second-derivatives": "pass"}
    assert len(found.data["frequencies"]) == 3 * 32 - 3


@pytest.mark.lammps
def test_a_crystal_melts_when_heated(tmp_path: Path) -> None:
    heating = {"length": 7.0, "end": 4000.0, "steps": 6000}
    case = case_of([subject(COPPER)], {"heating": heating})
    found = outcome(checked(tmp_path, morse_file(tmp_path), "crystal heating", case), "heating")
    assert grades(found) == {"no-atom-lost": "pass"}
    # Morse crystals melt near 0.35 of the depth over k, or 1400 K; perfect ones are overheated.
    assert 800.0 < found.numbers["melts when heated, at"].value < 3500.0


@pytest.mark.lammps
def test_g_of_r_is_that_of_frames_of_the_same_crystal(tmp_path: Path) -> None:
    from dataclasses import replace

    frames = []
    for seed in range(12):
        atoms = bulk("Cu", "fcc", a=3.92, cubic=True).repeat(2)
        atoms.rattle(0.12, seed=seed)
        frames.append(replace(as_frame(atoms), config_type="Thermal-300K"))
    settings = {"rdf": {"length": 7.0, "settle": 300, "steps": 1000, "samples": 20}}
    case = case_of([], settings, frames)
    found = outcome(checked(tmp_path, morse_file(tmp_path), "rdf", case), "rdf")
    # Displacements of one width for all atoms are not quite those of a crystal.
    assert found.numbers["overlap with frames"].value > 0.75
    assert set(grades(found)) == {"radial-distribution"}
    assert found.numbers["first peak"].value == pytest.approx(3.92 / 2**0.5, abs=0.1)
