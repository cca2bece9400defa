"""Runs, restarts and several instances: the pair style keeps its answers over a session's life."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from forcemap.potentials import load
from lammps_runs import PROBES, Frame, answer, evaluate, forcemap_pair, session, structure_input

NVE = """
velocity all create 300 5 mom yes rot no
fix move all nve
timestep 0.001
"""


def positions(lmp: object) -> np.ndarray:
    return np.array(lmp.gather_atoms("x", 1, 3)).reshape(-1, 3)  # type: ignore[attr-defined]


def test_after_four_steps_the_answers_still_agree(
    crystal: Atoms, silicon_file: Path, tmp_path: Path
) -> None:
    commands = structure_input(tmp_path, crystal, forcemap_pair(silicon_file, ["Si"]))
    with session(commands + PROBES + NVE + "run 4\n") as lmp:
        found = answer(lmp, Frame(crystal))
        moved = positions(lmp)
    expected = (
        load(silicon_file)
        .evaluator()
        .compute(moved, crystal.numbers, crystal.cell.array, crystal.pbc)
    )
    assert np.abs(moved - Frame(crystal).positions).max() > 1e-3
    assert found.energy == pytest.approx(expected.energy, rel=1e-10)
    assert found.energies.sum() == pytest.approx(found.energy, rel=1e-12)
    np.testing.assert_allclose(found.forces, expected.forces, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.virial, expected.virial, rtol=0, atol=1e-9)


def test_nve_conserves_energy(crystal: Atoms, silicon_file: Path, tmp_path: Path) -> None:
    """The error of velocity Verlet falls with the square of the time step; a drift does not.

    Runs of 0.5 ps from one start, so that atoms enter and leave the cutoff and lists are rebuilt.
    """
    commands = structure_input(tmp_path, crystal, forcemap_pair(silicon_file, ["Si"])) + NVE
    spread = []
    for timestep in (0.001, 0.0005):
        with session(commands + f"timestep {timestep}\nthermo_modify norm no\nrun 0\n") as lmp:
            energies = []
            for _ in range(50):
                lmp.command(f"run {round(0.01 / timestep)} post no")
                energies.append(lmp.get_thermo("etotal"))
            kinetic = lmp.get_thermo("ke")
            moved = positions(lmp) - Frame(crystal).positions
        spread.append(np.ptp(energies))
        assert np.abs(moved).max() > 1.0
    assert spread[0] < 1e-3 * kinetic, spread
    assert spread[1] < 0.35 * spread[0], spread


def test_restart(crystal: Atoms, silicon_file: Path, tmp_path: Path) -> None:
    pair = forcemap_pair(silicon_file, ["Si"])
    setup = structure_input(tmp_path, crystal, pair) + PROBES + NVE
    restart = tmp_path / "state.restart"
    with session(setup + f"run 4\nwrite_restart {restart}\nrun 4\n") as lmp:
        whole = answer(lmp, Frame(crystal))
    again = (
        f"atom_modify map yes\nread_restart {restart}\n{pair}\n{PROBES}\nfix move all nve\nrun 4\n"
    )
    with session(again) as lmp:
        resumed = answer(lmp, Frame(crystal))
    assert resumed.energy == pytest.approx(whole.energy, rel=1e-12)
    np.testing.assert_allclose(resumed.forces, whole.forces, rtol=0, atol=1e-10)


def test_restart_asks_for_the_pair_style_again(
    crystal: Atoms, silicon_file: Path, tmp_path: Path
) -> None:
    setup = structure_input(tmp_path, crystal, forcemap_pair(silicon_file, ["Si"]))
    restart = tmp_path / "state.restart"
    with session(setup + f"run 0\nwrite_restart {restart}\n"):
        pass
    with session() as lmp, pytest.raises(Exception, match="without a pair style"):
        lmp.commands_string(f"read_restart {restart}\npair_coeff * * {silicon_file} Si")


def test_write_data_and_read_data(crystal: Atoms, silicon_file: Path, tmp_path: Path) -> None:
    pair = forcemap_pair(silicon_file, ["Si"])
    setup = structure_input(tmp_path, crystal, pair) + PROBES + NVE
    data = tmp_path / "written.data"
    with session(setup + f"run 4\nwrite_data {data} nocoeff\n") as lmp:
        before = answer(lmp, Frame(crystal))
    with session(
        f"units metal\natom_modify map yes\nread_data {data}\n{pair}\n{PROBES}\nrun 0\n"
    ) as lmp:
        after = answer(lmp, Frame(crystal))
    assert after.energy == pytest.approx(before.energy, rel=1e-12)
    np.testing.assert_allclose(after.forces, before.forces, rtol=0, atol=1e-10)


def test_pair_style_and_pair_coeff_can_be_repeated(
    crystal: Atoms, silicon_file: Path, ternary_file: Path, tmp_path: Path
) -> None:
    first, second = (forcemap_pair(file, ["Si"]) for file in (silicon_file, ternary_file))
    expected = [evaluate(tmp_path, crystal, pair) for pair in (first, second)]
    assert abs(expected[0].energy - expected[1].energy) > 1.0
    with session(structure_input(tmp_path, crystal, first) + PROBES + "run 0\n") as lmp:
        for pair, which in [(first, 0), (second, 1), ("pair_style forcemap", 1), (first, 0)]:
            lmp.commands_string(pair + "\nrun 0\n")
            found = answer(lmp, Frame(crystal)).energy
            assert found == pytest.approx(expected[which].energy, rel=1e-13)


def test_a_refused_pair_coeff_leaves_the_old_one(
    crystal: Atoms, silicon_file: Path, tmp_path: Path
) -> None:
    pair = forcemap_pair(silicon_file, ["Si"])
    with session(structure_input(tmp_path, crystal, pair) + PROBES + "run 0\n") as lmp:
        before = answer(lmp, Frame(crystal))
        with pytest.raises(Exception, match="Ge"):
            lmp.command(f"pair_coeff * * {silicon_file} Ge")
        lmp.command("run 0")
        assert answer(lmp, Frame(crystal)).energy == pytest.approx(before.energy, rel=1e-13)


def test_clear_and_two_instances(
    crystal: Atoms, triclinic: Atoms, silicon_file: Path, ternary_file: Path, tmp_path: Path
) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    one = structure_input(folders[0], crystal, forcemap_pair(silicon_file, ["Si"])) + PROBES
    two = (
        structure_input(folders[1], triclinic, forcemap_pair(ternary_file, ["H", "O", "Si"]))
        + PROBES
    )
    expected = [
        pytest.approx(evaluate(folder, atoms, pair).energy, rel=1e-13)
        for folder, atoms, pair in [
            (folders[0], crystal, forcemap_pair(silicon_file, ["Si"])),
            (folders[1], triclinic, forcemap_pair(ternary_file, ["H", "O", "Si"])),
        ]
    ]
    with session(one) as first, session(two) as second:
        for lmp in (first, second, first):
            lmp.command("run 0")
        assert first.get_thermo("pe") == expected[0]
        assert second.get_thermo("pe") == expected[1]
        first.commands_string("clear\n" + two + "run 0\n")
        assert first.get_thermo("pe") == expected[1]
        second.command("run 0")
        assert second.get_thermo("pe") == expected[1]


def test_fix_adapt_scales_the_potential(crystal: Atoms, silicon_file: Path, tmp_path: Path) -> None:
    """extract("scale"): energy, forces and virial all follow it."""
    pair = forcemap_pair(silicon_file, ["Si"])
    full = evaluate(tmp_path, crystal, pair)
    adapt = "variable s equal 0.25\nfix scaled all adapt 1 pair forcemap scale * * v_s\n"
    scaled = evaluate(tmp_path, crystal, pair, after=adapt)
    assert scaled.energy == pytest.approx(0.25 * full.energy, rel=1e-12)
    np.testing.assert_allclose(scaled.forces, 0.25 * full.forces, rtol=0, atol=1e-12)
    np.testing.assert_allclose(scaled.virial, 0.25 * full.virial, rtol=0, atol=1e-10)


def test_scale_of_one_type_keeps_forces_and_energy_together(
    triclinic: Atoms, ternary_file: Path, tmp_path: Path
) -> None:
    pair = forcemap_pair(ternary_file, ["H", "O", "Si"])
    plain = evaluate(tmp_path, triclinic, pair)
    adapt = "variable s equal 0.5\nfix scaled all adapt 1 pair forcemap scale 2 2 v_s\n"
    scaled = evaluate(tmp_path, triclinic, pair, after=adapt)
    factors = np.where(triclinic.numbers == 8, 0.5, 1.0)
    np.testing.assert_allclose(scaled.energies, factors * plain.energies, rtol=1e-12)
    step = np.zeros((len(triclinic), 3))
    step[4, 1] = 1e-4
    energies = []
    for sign in (1, -1):
        moved = triclinic.copy()
        moved.positions += sign * step
        energies.append(evaluate(tmp_path, moved, pair, after=adapt).energy)
    assert -(energies[0] - energies[1]) / 2e-4 == pytest.approx(scaled.forces[4, 1], abs=1e-6)


def test_extract_of_an_unknown_name(crystal: Atoms, silicon_file: Path, tmp_path: Path) -> None:
    adapt = "variable s equal 0.5\nfix scaled all adapt 1 pair forcemap epsilon * * v_s\n"
    with pytest.raises(Exception, match=r"(?i)fix adapt pair .*not supported"):
        evaluate(tmp_path, crystal, forcemap_pair(silicon_file, ["Si"]), after=adapt)
