from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from forcemap.ipi_driver.template import read_template
from forcemap.potentials.errors import ForcemapError

IPI_XYZ = """2
# CELL(abcABC): 10.0 10.0 10.0 90.0 90.0 90.0 Step: 0 Bead: 0 positions{angstrom} cell{angstrom}
O 0.0 0.0 0.0
H 0.0 0.0 1.0
"""


def test_elements_keep_their_order(tmp_path: Path) -> None:
    atoms = Atoms("OHSiH", np.eye(4, 3), cell=[5, 5, 5], pbc=True)
    atoms.write(tmp_path / "a.xyz")
    assert read_template(tmp_path / "a.xyz").numbers.tolist() == [8, 1, 14, 1]


@pytest.mark.parametrize("pbc", [(True, True, False), (True, True, True), (False, False, False)])
def test_periodicity_is_the_files(tmp_path: Path, pbc: tuple[bool, bool, bool]) -> None:
    Atoms("H", cell=[5, 5, 5], pbc=pbc).write(tmp_path / "a.xyz")
    assert tuple(read_template(tmp_path / "a.xyz").pbc) == pbc


@pytest.mark.parametrize("text", [IPI_XYZ, "1\n\nH 0 0 0\n"])
def test_file_without_cell_is_periodic_as_in_ipi(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.xyz").write_text(text)
    assert read_template(tmp_path / "a.xyz").pbc.all()


def test_first_frame_counts(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text("1\n\nH 0 0 0\n2\n\nO 0 0 0\nO 0 0 1\n")
    assert read_template(tmp_path / "a.xyz").numbers.tolist() == [1]


def test_description(tmp_path: Path) -> None:
    bulk("Si", cubic=True).write(tmp_path / "a.xyz")
    assert read_template(tmp_path / "a.xyz").describe() == "8 atoms (Si8), periodic in x y z"


def test_unknown_elements_are_named(tmp_path: Path) -> None:
    molecule("CH3SiH3").write(tmp_path / "a.xyz")
    with pytest.raises(ForcemapError, match=r"a\.xyz has C, H; the potential is for Si, Ge only"):
        read_template(tmp_path / "a.xyz", ["Si", "Ge"])
    assert len(read_template(tmp_path / "a.xyz", ["H", "C", "Si"]).numbers) == 8


@pytest.mark.parametrize("content", ["", "three\n\nH 0 0 0\n", "2\n\nH 0 0 0\n", "\0\1"])
def test_unreadable_file_is_an_error_of_ours(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.xyz").write_text(content)
    with pytest.raises(ForcemapError, match=r"template .*a\.xyz"):
        read_template(tmp_path / "a.xyz")
