"""Atoms that come and go: excluded from everything they have no energy; grand-canonical runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from forcemap.potentials.file.potential_file import write_potential
from lammps_runs import (
    PROBES,
    Frame,
    answer,
    evaluate,
    forcemap_pair,
    program,
    run_lmp,
    session,
    structure_input,
)
from potentials_factory import random_potential

TYPES = ["H", "O", "Si"]
MPIRUN = Path(program("mpirun")).exists()

PAIRS = {
    "alone": "pair_style forcemap\npair_coeff * * {file} H O Si",
    "overlay": (
        "pair_style hybrid/overlay forcemap lj/cut 4.0\n"
        "pair_coeff * * forcemap {file} H O Si\npair_coeff * * lj/cut 0.01 2.0"
    ),
    "overlay, no site for Si": (
        "pair_style hybrid/overlay forcemap lj/cut 4.0\n"
        "pair_coeff * * forcemap {file} H O NULL\npair_coeff * * lj/cut 0.01 2.0"
    ),
}


@pytest.mark.parametrize("order", ["absent all", "all absent"])
@pytest.mark.parametrize("name", list(PAIRS))
def test_an_atom_excluded_from_all_counts_as_absent(
    name: str, order: str, triclinic: Atoms, ternary_file: Path, tmp_path: Path
) -> None:
    """Energies, forces and virials are those without it, to the rounding of sums."""
    selection = [list(triclinic.symbols).index(symbol) + 1 for symbol in TYPES]  # IDs
    pair = PAIRS[name].format(file=ternary_file)
    kept = np.ones(len(triclinic), bool)
    kept[[n - 1 for n in selection]] = False
    expected = evaluate(tmp_path, triclinic[kept], pair, types=TYPES)
    commands = structure_input(tmp_path, triclinic, pair, types=TYPES) + PROBES
    group = f"group absent id {' '.join(map(str, selection))}\n"
    with session(commands + group + "run 0\n") as lmp:
        whole = answer(lmp, Frame(triclinic))
        lmp.commands_string(f"neigh_modify exclude group {order}\nrun 0")
        found = answer(lmp, Frame(triclinic))
        lmp.commands_string("neigh_modify exclude none\nrun 0")
        again = answer(lmp, Frame(triclinic))
    assert abs(whole.energy - expected.energy) > 0.1
    assert found.energy == pytest.approx(expected.energy, rel=1e-12)
    assert found.energies[~kept].tolist() == [0.0] * len(selection)
    assert not found.forces[~kept].any()
    np.testing.assert_allclose(found.energies[kept], expected.energies, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.forces[kept], expected.forces, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.virial, expected.virial, rtol=0, atol=1e-9)
    assert again.energy == pytest.approx(whole.energy, rel=1e-12)


@pytest.fixture(scope="module")
def scattered() -> Atoms:
    """Atoms far from each other and from their images."""
    return Atoms("HOSiHOSi", [[12 * n + 1, 2, 3] for n in range(6)], cell=[72, 15, 15], pbc=True)


@pytest.mark.parametrize(
    ("exclusions", "absent"),
    [
        ("exclude group some all", [0, 1]),
        ("exclude group some all\nneigh_modify exclude group others all", [0, 1, 4]),
        ("exclude group others some\nneigh_modify exclude group all others", [4]),
        ("exclude group all all", [0, 1, 2, 3, 4, 5]),
        ("exclude group some some", []),
        ("exclude group some others", []),
        ("exclude type 1 1", []),
        ("exclude type 1 1\nneigh_modify exclude type 1 2\nneigh_modify exclude type 1 3", []),
        ("exclude molecule/intra all", []),
        ("exclude molecule/inter some", []),
        ("exclude group nobody all", []),
    ],
)
def test_only_exclusion_from_all_takes_away_the_energy_of_an_isolated_atom(
    exclusions: str, absent: list[int], scattered: Atoms, ternary_file: Path, tmp_path: Path
) -> None:
    pair = forcemap_pair(ternary_file, TYPES)
    expected = evaluate(tmp_path, scattered, pair).energies
    assert np.abs(expected).min() > 0.01
    expected[absent] = 0.0
    after = f"group some id 1 2\ngroup others id 5\ngroup nobody id 99\nneigh_modify {exclusions}"
    if "molecule" in exclusions:
        after = "fix molecules all property/atom mol\n" + after
    found = evaluate(tmp_path, scattered, pair, after=after)
    np.testing.assert_allclose(found.energies, expected, rtol=0, atol=1e-12)
    assert found.energy == pytest.approx(expected.sum(), abs=1e-12)


def test_a_group_that_changes_after_the_list_was_built_changes_nothing(
    triclinic: Atoms, ternary_file: Path, tmp_path: Path
) -> None:
    """Forces and energies then still come from the same neighbours."""
    pair = forcemap_pair(ternary_file, TYPES)
    commands = structure_input(tmp_path, triclinic, pair, types=TYPES) + PROBES
    commands += """
group absent id 999
neigh_modify every 1000 delay 1000 check no exclude group absent all
fix move all nve
timestep 1e-12
run 1
"""
    with session(commands) as lmp:
        before = answer(lmp, Frame(triclinic))
        lmp.commands_string("group absent id 1:4\nrun 1 pre no")
        found = answer(lmp, Frame(triclinic))
    assert found.energy == pytest.approx(before.energy, rel=1e-12)


# ----- grand-canonical runs -----


def gas(file: Path, mu: float, fix: str = "gcmc 1 20 0 1 29494 20000 {mu:.15g} 0.5") -> str:
    """Lone silicon atoms that are inserted and deleted, hardly moved in between."""
    return f"""
units metal
atom_modify map yes
region box block 0 60 0 60 0 60
create_box 1 box
create_atoms 1 random 12 33 NULL overlap 8 maxtry 500
mass 1 28.085
{forcemap_pair(file, ["Si"])}
fix reservoir all {fix.format(mu=mu)}
fix move all nve
timestep 0.0001
thermo 1
thermo_style custom step atoms pe
"""


def silicon(folder: Path, e0: float) -> Path:
    path = folder / f"si{e0:g}.forcemap"
    write_potential(replace(random_potential(["Si"], 1), e0={"Si": e0}), path)
    return path


def numbers_of_atoms(output: str) -> list[int]:
    rows = [line.split() for line in output.splitlines()]
    return [int(row[1]) for row in rows if len(row) == 3 and row[0].isdigit() and row[1].isdigit()]


@pytest.mark.parametrize(
    "ranks",
    [0, pytest.param(2, marks=pytest.mark.skipif(not MPIRUN, reason="mpirun is not installed"))],
)
def test_e0_in_energy_and_chemical_potential_cancels(ranks: int, tmp_path: Path) -> None:
    """The same random numbers accept the same insertions and deletions, whatever e0.

    So it is only if a trial deletion takes e0 away as an insertion brings it.
    """
    outcomes = []
    for e0 in (0.0, -3.0):
        commands = gas(silicon(tmp_path, e0), mu=-36.0 + e0) + "run 12\n"
        finished = run_lmp(tmp_path, commands, ranks=ranks)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        outcomes.append(numbers_of_atoms(finished.stdout))
    assert len(outcomes[0]) == 13
    changes = np.diff(outcomes[0])
    assert (changes > 0).any()
    assert (changes < 0).any()
    assert outcomes[0] == outcomes[1]


WARNING = "the energy of an atom includes that of the isolated atom, e0 (Si -3)"


@pytest.mark.parametrize(
    ("fix", "e0", "warned"),
    [
        ("gcmc 1 20 0 1 29494 20000 {mu} 0.5", -3.0, "fix reservoir gcmc"),
        ("widom 1 5 1 29494 20000", -3.0, "fix reservoir widom"),
        ("gcmc 1 20 0 1 29494 20000 {mu} 0.5", 0.0, None),
        ("langevin 300 300 0.1 1", -3.0, None),
    ],
)
def test_reservoirs_of_atoms_with_e0_are_warned_about_once(
    fix: str, e0: float, warned: str | None, tmp_path: Path
) -> None:
    commands = gas(silicon(tmp_path, e0), -36.0, fix) + "run 1\nrun 1\n"
    finished = run_lmp(tmp_path, commands)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stdout.count(WARNING) == (1 if warned else 0)
    if warned:
        assert f"pair_style forcemap: {warned}: {WARNING}" in finished.stdout


# ----- masses -----


def masses(folder: Path, elements: list[str], values: list[float], after: str = "") -> str:
    """What LAMMPS prints for a gas with these masses."""
    file = folder / "any.forcemap"
    write_potential(random_potential(sorted(set(elements)), 3), file)
    commands = f"""
units metal
region box block 0 20 0 20 0 20
create_box {len(elements)} box
create_atoms 1 single 5 5 5
{forcemap_pair(file, elements)}
"""
    commands += "".join(f"mass {n + 1} {value}\n" for n, value in enumerate(values))
    finished = run_lmp(folder, commands + "run 0\n" + after)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


QUESTION = "is the order of elements in pair_coeff that of the types?"


@pytest.mark.parametrize(
    ("elements", "values", "text"),
    [
        (["Ge"], [28.085], "mass 28.085 of type 1 is that of Si, not that of Ge (72.63)"),
        (["H", "O"], [15.999, 1.008], "mass 15.999 of type 1 is that of O, not that of H (1.008)"),
        (["H", "O"], [15.999, 1.008], "mass 1.008 of type 2 is that of H, not that of O (15.999)"),
        (["Cu", "Ni"], [58.69, 63.55], "mass 58.69 of type 1 is that of Ni, not that of Cu"),
        (["C", "N", "O"], [12.01, 16.0, 14.0], "mass 16 of type 2 is that of O, not that of N"),
        (["Si"], [5000.0], "mass 5000 of type 1 is not that of Si (28.085)"),
        (["Al", "Cu"], [26.98, 1.0], "mass 1 of type 2 is that of H, not that of Cu (63.546)"),
    ],
)
def test_masses_of_other_elements_are_warned_about(
    elements: list[str], values: list[float], text: str, tmp_path: Path
) -> None:
    output = masses(tmp_path, elements, values, "run 0\n")
    assert text in output
    assert output.count(QUESTION) == 1


@pytest.mark.parametrize(
    ("elements", "values"),
    [
        (["H", "O"], [1.0, 16.0]),
        (["H", "H", "H", "O"], [2.01410178, 3.0160492, 1.008, 17.999]),  # heavy water of all kinds
        (["H"], [0.1134]),  # muonium
        (["Li", "Li"], [6.0151, 7.016]),
        (["B", "B", "C", "C"], [10.013, 11.009, 13.003, 14.003]),
        (["C", "N"], [14.00324, 14.007]),  # carbon-14 beside nitrogen
        (["Ni", "Cu"], [63.928, 63.546]),  # nickel-64 beside copper
        (["Ca", "U"], [47.9525, 235.04]),
        (["Co", "Ni"], [58.69, 58.93]),  # no nearer to one than to the other
    ],
)
def test_isotopes_and_rounded_masses_pass(
    elements: list[str], values: list[float], tmp_path: Path
) -> None:
    assert QUESTION not in masses(tmp_path, elements, values)


def test_masses_of_types_without_an_element_are_anything(tmp_path: Path) -> None:
    file = tmp_path / "si.forcemap"
    write_potential(random_potential(["Si"], 3), file)
    finished = run_lmp(
        tmp_path,
        f"""
units metal
region box block 0 20 0 20 0 20
create_box 2 box
create_atoms 1 single 5 5 5
mass 1 28.085
mass 2 1000
pair_style hybrid forcemap lj/cut 4
pair_coeff * * forcemap {file} Si NULL
pair_coeff * 2 lj/cut 0.01 2
run 0
""",
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert QUESTION not in finished.stdout
