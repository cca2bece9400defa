"""What a user's mistake leads to: a message with the keyword, the file, the value and the cure."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from forcemap.potentials.file.potential_file import write_potential
from lammps_runs import evaluate, forcemap_pair, run_lmp
from potentials_factory import random_potential


def refusal(folder: Path, atoms: Atoms, pair: str, **options: str) -> str:
    """The message of the error that `pair` ends in."""
    with pytest.raises(Exception) as caught:  # LAMMPS raises Exception itself
        evaluate(folder, atoms, pair, **options)
    return re.sub(r"\s+", " ", str(caught.value))


def test_newton_off(crystal: Atoms, silicon_file: Path, tmp_path: Path) -> None:
    pair = forcemap_pair(silicon_file, ["Si"])
    assert "needs 'newton on'" in refusal(tmp_path, crystal, pair, before="newton off")


@pytest.mark.parametrize("units", ["lj", "electron"])
def test_units(crystal: Atoms, silicon_file: Path, tmp_path: Path, units: str) -> None:
    message = refusal(tmp_path, crystal, forcemap_pair(silicon_file, ["Si"]), units=units)
    assert f"needs 'units metal' or 'units real', the input has 'units {units}'" in message


def test_pair_style_with_arguments(crystal: Atoms, silicon_file: Path, tmp_path: Path) -> None:
    message = refusal(tmp_path, crystal, f"pair_style forcemap {silicon_file}")
    assert "takes no arguments" in message
    assert silicon_file.name in message
    assert "pair_coeff" in message


@pytest.mark.parametrize("arguments", ["1 1 {file} Si", "* *", "* * {file}", "* * {file} Si Si"])
def test_wrong_pair_coeff(
    crystal: Atoms, silicon_file: Path, tmp_path: Path, arguments: str
) -> None:
    line = "pair_coeff " + arguments.format(file=silicon_file)
    message = refusal(tmp_path, crystal, f"pair_style forcemap\n{line}")
    if "{file}" in arguments and arguments.startswith("*"):
        found = len(arguments.split()) - 3
        assert f"found {found} elements, expected 1" in message
        assert silicon_file.name in message
    else:
        assert "pair_coeff" in message


def test_element_not_in_the_file(crystal: Atoms, ternary_file: Path, tmp_path: Path) -> None:
    message = refusal(tmp_path, crystal, forcemap_pair(ternary_file, ["Ge"]))
    assert "found element 'Ge' for atom type 1, the file has H, O, Si" in message
    assert ternary_file.name in message


@pytest.mark.parametrize("element", ["si", "Xx", "14", "Silicon"])
def test_not_an_element(crystal: Atoms, silicon_file: Path, tmp_path: Path, element: str) -> None:
    message = refusal(tmp_path, crystal, forcemap_pair(silicon_file, [element]))
    assert f"found element '{element}' for atom type 1, the file has Si" in message


def test_all_null(crystal: Atoms, silicon_file: Path, tmp_path: Path) -> None:
    message = refusal(tmp_path, crystal, forcemap_pair(silicon_file, ["NULL"]))
    assert "found NULL for every atom type" in message


def test_null_outside_of_hybrid(triclinic: Atoms, ternary_file: Path, tmp_path: Path) -> None:
    message = refusal(tmp_path, triclinic, forcemap_pair(ternary_file, ["H", "O", "NULL"]))
    assert "All pair coeffs are not set" in message


def test_missing_file(crystal: Atoms, tmp_path: Path) -> None:
    message = refusal(tmp_path, crystal, forcemap_pair(tmp_path / "none.forcemap", ["Si"]))
    assert "pair_coeff" in message
    assert "none.forcemap" in message
    assert "No such file" in message


def test_folder_in_place_of_a_file(crystal: Atoms, tmp_path: Path) -> None:
    message = refusal(tmp_path, crystal, forcemap_pair(tmp_path, ["Si"]))
    assert tmp_path.name in message


def test_file_of_frames_in_place_of_a_potential(crystal: Atoms, tmp_path: Path) -> None:
    frames = tmp_path / "train.xyz"
    frames.write_text("1\nenergy=1\nSi 0 0 0\n")
    message = refusal(tmp_path, crystal, forcemap_pair(frames, ["Si"]))
    assert "train.xyz: is a file of frames (XYZ), expected a potential of forcemap" in message


@pytest.mark.parametrize("fault", ["empty", "truncated", "text", "not finite"])
def test_corrupt_file(crystal: Atoms, silicon_file: Path, tmp_path: Path, fault: str) -> None:
    content = silicon_file.read_bytes()
    broken = tmp_path / "broken.forcemap"
    broken.write_bytes(
        {
            "empty": b"",
            "truncated": content[: len(content) // 2],
            "text": b"pair potential of silicon\n" * 10,
            "not finite": content[:-8] + np.array([np.nan]).tobytes(),
        }[fault]
    )
    message = refusal(tmp_path, crystal, forcemap_pair(broken, ["Si"]))
    assert "pair_coeff" in message
    assert "broken.forcemap" in message


def test_two_atoms_in_one_place(silicon_file: Path, tmp_path: Path) -> None:
    atoms = Atoms("Si4", [[1, 1, 1], [5, 5, 5], [3, 1, 1], [5, 5, 5]], cell=[12, 12, 12], pbc=True)
    message = refusal(tmp_path, atoms, forcemap_pair(silicon_file, ["Si"]))
    assert re.search(r"energy of atom (2|4) is not a number.* atom (2|4), is 0 Angstrom", message)


def test_very_close_atoms_repel(silicon_file: Path, tmp_path: Path) -> None:
    """Any distance above zero has a finite, repulsive answer, never zero."""
    for distance in (1e-6, 1e-3, 0.05, 0.3):
        atoms = Atoms("Si2", [[6, 6, 6], [6 + distance, 6, 6]], cell=[20, 20, 20], pbc=True)
        found = evaluate(tmp_path, atoms, forcemap_pair(silicon_file, ["Si"]))
        assert np.isfinite(found.energy)
        assert found.forces[1, 0] > 1.0
        assert found.forces[0, 0] == pytest.approx(-found.forces[1, 0], rel=1e-12)


def test_file_is_found_in_lammps_potentials(
    crystal: Atoms, silicon_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = evaluate(tmp_path, crystal, forcemap_pair(silicon_file, ["Si"]))
    monkeypatch.setenv("LAMMPS_POTENTIALS", str(silicon_file.parent))
    found = evaluate(tmp_path, crystal, forcemap_pair(Path(silicon_file.name), ["Si"]))
    assert found.energy == expected.energy


def test_bonded_neighbours_out_of_the_list_are_warned_about(
    silicon_file: Path, tmp_path: Path
) -> None:
    commands = f"""
units metal
atom_style bond
region box block 0 20 0 20 0 20
create_box 1 box bond/types 1 extra/bond/per/atom 1 extra/special/per/atom 2
create_atoms 1 single 5 5 5
create_atoms 1 single 5 5 7.4
mass * 28
bond_style zero
bond_coeff 1 2.4
create_bonds single/bond 1 1 2
{forcemap_pair(silicon_file, ["Si"])}
"""
    warned = run_lmp(tmp_path, commands + "run 0\n")
    assert warned.returncode == 0, warned.stdout
    assert "special_bonds takes bonded neighbors out" in warned.stdout
    cured = run_lmp(tmp_path, commands + "special_bonds lj/coul 1.0 1.0 1.0\nrun 0\n")
    assert cured.returncode == 0, cured.stdout
    assert "special_bonds takes bonded neighbors out" not in cured.stdout


def test_atoms_beyond_the_cutoff_have_their_isolated_energies(tmp_path: Path) -> None:
    data = random_potential(["Si"], 3)
    file = tmp_path / "si.forcemap"
    write_potential(data, file)
    atoms = Atoms("Si2", [[1, 1, 1], [11, 11, 11]], cell=[20, 20, 20], pbc=True)
    found = evaluate(tmp_path, atoms, forcemap_pair(file, ["Si"]))
    np.testing.assert_allclose(found.energies, data.e0["Si"], rtol=1e-15)
    np.testing.assert_allclose(found.forces, 0.0, atol=0)
