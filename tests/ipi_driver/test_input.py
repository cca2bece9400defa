from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from click.testing import CliRunner, Result
from forcemap.fitter.cli import cli
from forcemap.ipi_driver.input import (
    InputSettings,
    batch_latency,
    input_text,
    read_gle_file,
    starting_structure,
    structures_per_message,
)
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.file.potential_file import write_potential
from potentials_factory import random_potential


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_potential(random_potential(["Si"], seed=2), "si.forcemap")
    bulk("Si", "diamond", 5.4, cubic=True).write("si.xyz")


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["ipi-input", "si.forcemap", "si.xyz", *arguments])


def gle_file(beads: int, kelvin: float = 300.0) -> str:
    """White noise on every mode: what a file of matrices looks like."""
    a = " ".join(f"{1e-4 * (1 + n):g}, " for n in range(beads))
    c = " ".join(f"{kelvin:g}, " for n in range(beads))
    return (
        f"# made by hand\n<A shape='({beads}, 1, 1)' units='atomic_unit'> [ {a[:-2]} ] </A>\n"
        f"<C shape='({beads}, 1, 1)' units='kelvin'> [ {c[:-2]} ] </C>\n"
    )


@pytest.mark.parametrize(
    ("n_atoms", "clients", "mode", "expected"),
    [
        (4096, 1, "unix", 32),  # 3 MB
        (4096, 3, "inet", 11),
        (50_000, 1, "unix", 7),  # 38 MB in five messages
        (50_000, 2, "unix", 6),
        (50_000, 1, "shm", 32),
        (10_000_000, 1, "unix", 1),
    ],
)
def test_messages_are_no_longer_than_ipi_waits_for(
    n_atoms: int, clients: int, mode: Any, expected: int
) -> None:
    settings = InputSettings(beads=32, mode=mode)
    assert structures_per_message(settings, n_atoms, clients) == expected
    given = InputSettings(beads=32, mode=mode, batch_size=20)
    assert structures_per_message(given, n_atoms, clients) == 20


def test_input_says_what_was_asked() -> None:
    done = invoke(
        *("--beads", "6", "--ensemble", "npt", "--temperature", "250", "--pressure", "20"),
        *("--steps", "77", "--timestep", "0.25", "--seed", "5", "-o", "in.xml"),
    )
    assert done.exit_code == 0, done.output
    root = ElementTree.parse("in.xml").getroot()
    found = {
        "total_steps": "77",
        "prng/seed": "5",
        "ffsocket/batch_size": "6",
        "ffsocket/exit_on_disconnect": "True",
        "system/motion/dynamics/timestep": "0.25",
        "system/ensemble/temperature": "250",
        "system/ensemble/pressure": "20",
    }
    for place, value in found.items():
        assert (root.findtext(place) or "").strip() == value, place
    assert root.find("system/initialize").get("nbeads") == "6"  # type: ignore[union-attr]
    address = (root.findtext("ffsocket/address") or "").strip()
    assert f"--unix {address}" in done.output
    properties = root.findtext("output/properties") or ""
    for name in ("conserved", "kinetic_cv", "kinetic_td", "potential", "r_gyration", "volume"):
        assert name in properties


def test_committee_stands_around_the_socket(uncertain: Any) -> None:
    write_potential(uncertain(["Si", "O"]), "drawn.forcemap")
    Atoms("SiO", [[0, 0, 0], [1.6, 0, 0]], cell=[8, 8, 8], pbc=True).write("drawn.xyz")
    arguments = ["drawn.forcemap", "drawn.xyz", "-o", "in.xml", "--committee"]
    done = CliRunner().invoke(cli, ["ipi-input", *arguments, "6"])
    assert done.exit_code == 0, done.output
    assert done.output.rstrip().endswith("--committee 6")
    root = ElementTree.parse("in.xml").getroot()
    assert root.find("ffcommittee").get("name") == "forcemap"  # type: ignore[union-attr]
    assert (root.findtext("ffcommittee/parse_json") or "").strip() == "True"
    assert root.find("ffcommittee/ffsocket").get("name") != "forcemap"  # type: ignore[union-attr]
    kinds = [entry.get("extra_type") for entry in root.findall("output/trajectory")]
    assert kinds == [None, "committee_pot", "committee_uncertainty"]
    done = CliRunner().invoke(cli, ["ipi-input", *arguments, "7"])
    assert done.exit_code == 1
    assert "7 cannot be made from the 5 draws of drawn.forcemap: give 2 to 6" in done.output


def test_addresses_are_unique() -> None:
    assert InputSettings().address != InputSettings().address
    assert input_text(InputSettings(), 8) != input_text(InputSettings(), 8)


@pytest.mark.parametrize(("atoms", "least", "most"), [(2, 3e-4, 3e-4), (4096, 1e-3, 2e-3)])
def test_latency_follows_the_size(atoms: int, least: float, most: float) -> None:
    assert least <= batch_latency(atoms) <= most


def test_piglet_needs_a_file_and_says_where_from() -> None:
    done = invoke("--thermostat", "piglet")
    assert done.exit_code == 1
    assert "gle4md.org" in done.output
    assert "--gle-file" in done.output
    assert not Path("input.xml").exists()


def test_piglet_takes_the_matrices_of_the_file() -> None:
    Path("gle.txt").write_text(gle_file(4))
    done = invoke("--thermostat", "piglet", "--gle-file", "gle.txt", "--beads", "4")
    assert done.exit_code == 0, done.output
    thermostat = ElementTree.parse("input.xml").getroot().find("system/motion/dynamics/thermostat")
    assert thermostat is not None
    assert thermostat.get("mode") == "nm_gle"
    assert [child.tag for child in thermostat] == ["A", "C"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("", ""), "is for 4 beads, not for 8"),
        (("<C", "<D"), "has no <C>"),
        (("(4, 1, 1)", "(4, 1)"), "expected .beads, n, n."),
        (("300", "nan"), "not a finite number"),
        (("300", "many"), "not a finite number"),
    ],
)
def test_faulty_matrices_are_told(change: tuple[str, str], message: str) -> None:
    Path("gle.txt").write_text(gle_file(4).replace(*change))
    with pytest.raises(ForcemapError, match=message):
        read_gle_file("gle.txt", 8 if change == ("", "") else 4)


def test_structure_is_turned_and_not_changed() -> None:
    atoms = bulk("Si", "diamond", 5.4).repeat(2)
    atoms.rattle(0.1, seed=3)
    atoms.rotate(40, (1, 2, 3), rotate_cell=True)
    atoms.write("turned.extxyz", format="extxyz")
    start = starting_structure("turned.extxyz", ["Si"], 5.0, "npt")
    assert np.abs(np.triu(start.cell.array, 1)).max() < 1e-12
    np.testing.assert_allclose(
        start.get_all_distances(mic=True), atoms.get_all_distances(mic=True), atol=1e-6
    )


def test_molecule_gets_a_box_in_which_it_is_alone() -> None:
    Atoms("Si2", [[0, 0, 0], [0, 0, 2.3]]).write("si2.xyz", plain=True)
    start = starting_structure("si2.xyz", ["Si"], 5.0, "nvt")
    assert not start.pbc.any()
    np.testing.assert_allclose(start.cell.lengths(), [30.0, 30.0, 32.3])
    with pytest.raises(ForcemapError, match="cell in three directions"):
        starting_structure("si2.xyz", ["Si"], 5.0, "npt")


def test_box_of_a_structure_without_cell_is_noted() -> None:
    bulk("Si", cubic=True).write("plain.xyz", plain=True)
    done = CliRunner().invoke(cli, ["ipi-input", "si.forcemap", "plain.xyz"])
    assert done.exit_code == 0
    note = (
        "Note: plain.xyz has no cell: its 8 atoms run as a molecule or cluster, alone in a box of "
        "34.1 x 34.1 x 34.1 Å; for a crystal give a file with the cell"
    )
    assert done.output.count("Note:") == 1
    assert note in done.output
    assert ase.io.read("init.xyz").cell.lengths() == pytest.approx(34.07, abs=0.01)
    assert "Note:" not in invoke().output


def test_cell_in_ipis_own_comment_is_not_passed_over() -> None:
    text = "1\n# CELL(abcABC): 9.0 9.0 9.0 90.0 90.0 90.0 cell{angstrom}\nSi 0 0 0\n"
    Path("ipi.xyz").write_text(text)
    with pytest.raises(ForcemapError, match=r"its cell in i-PI's comment .*give extended xyz"):
        starting_structure("ipi.xyz", ["Si"], 5.0, "nvt")


def test_masses_of_isotopes_stay() -> None:
    atoms = bulk("Si", "diamond", 5.4, cubic=True)
    atoms.set_masses([30.0] * 8)
    atoms.write("heavy.extxyz", format="extxyz")
    done = CliRunner().invoke(cli, ["ipi-input", "si.forcemap", "heavy.extxyz"])
    assert done.exit_code == 0, done.output
    assert ase.io.read("init.xyz").get_masses().tolist() == [30.0] * 8


def test_left_handed_cells_are_refused() -> None:
    atoms = bulk("Si", "diamond", 5.4, cubic=True)
    atoms.cell = atoms.cell.array[[1, 0, 2]]
    atoms.write("left.extxyz", format="extxyz")
    with pytest.raises(ForcemapError, match="left-handed"):
        starting_structure("left.extxyz", ["Si"], 5.0, "nvt")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ensemble": "muvt"}, "ensemble is one of nvt, npt, nve"),
        ({"temperature": 0.0}, "temperature must be > 0"),
        ({"beads": 0}, "beads must be at least 1"),
        ({"committee": 1}, "needs two members or more, found 1: .* spread of one for NaN"),
    ],
)
def test_settings_out_of_range_are_told(values: dict[str, object], message: str) -> None:
    with pytest.raises(ForcemapError, match=message):
        InputSettings(**values)  # type: ignore[arg-type]


def test_matrices_without_piglet_are_wrong_usage() -> None:
    Path("gle.txt").write_text(gle_file(4))
    assert invoke("--gle-file", "gle.txt").exit_code == 2
