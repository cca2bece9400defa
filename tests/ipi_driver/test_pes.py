from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from forcemap.ipi_driver import pes_path
from forcemap.potentials import ForcemapError
from forcemap.potentials.model import write_potential
from potentials_factory import random_potential

ipi_pes = pytest.importorskip("ipi.pes")

BOHR = 1.8897261
H = 18.0 * np.eye(3)
Q = np.array([[0.0, 0.0, 0.0], [2.9, 0.1, 0.0], [0.0, 3.5, 1.0]])


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    write_potential(random_potential(["H", "O"], seed=2), tmp_path / "ho.forcemap")
    Atoms("OHH", Q / BOHR).write(tmp_path / "init.xyz")
    return {
        "potential": str(tmp_path / "ho.forcemap"), "template": str(tmp_path / "init.xyz")
    }  # fmt: skip


@pytest.fixture
def driver(files: dict[str, str]) -> Any:
    # As <ffdirect> makes it: keywords, with a verbosity added.
    return ipi_pes.load_pes("custom", pes_path())(verbosity=False, **files)


def test_ipi_finds_name_and_class_without_running_the_file() -> None:
    assert ipi_pes.scan_pes_file(pes_path()) == ("ForcemapDriver", "forcemap")


def test_one_structure_gives_one_answer(driver: Any) -> None:
    energy, forces, virial, extras = driver(H, Q)
    assert isinstance(energy, float)
    assert forces.shape == (3, 3)
    assert virial.shape == (3, 3)
    assert extras == ""


@pytest.mark.parametrize("count", [1, 3])
def test_lists_give_a_list_of_independent_arrays(driver: Any, count: int) -> None:
    answers = driver([H] * count, [Q] * count)
    assert isinstance(answers, list)
    assert len(answers) == count
    virials = [answer[2] for answer in answers]
    for n, virial in enumerate(virials):
        assert not any(np.shares_memory(virial, other) for other in virials[:n])
    np.testing.assert_array_equal(answers[-1][1], driver(H, Q)[1])


def test_flat_positions_are_understood(driver: Any) -> None:
    assert driver(H, Q.ravel())[0] == driver(H, Q)[0]


def test_settings_may_come_by_position(files: dict[str, str]) -> None:
    made = ipi_pes.load_pes("custom", pes_path())(*files.values(), 0.3, 2)
    assert np.isfinite(made(H, Q)[0])


def test_wrong_atom_count_is_told(driver: Any) -> None:
    with pytest.raises(ForcemapError, match="has 2 atoms, the template 3"):
        driver(H, Q[:2])


def test_fault_is_told(driver: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ForcemapError, match=r"not finite.*forcemap_driver_fault"):
        driver(H, Q * np.nan)
    assert (tmp_path / "forcemap_driver_fault.xyz").exists()


def test_unknown_element_is_told(files: dict[str, str], tmp_path: Path) -> None:
    Atoms("Si").write(tmp_path / "si.xyz")
    with pytest.raises(ForcemapError, match=r"si\.xyz has Si; the potential is for H, O only"):
        ipi_pes.load_pes("custom", pes_path())(**files | {"template": str(tmp_path / "si.xyz")})


def test_atoms_in_another_order_are_refused_unless_trusted(files: dict[str, str]) -> None:
    other = Q[[1, 0, 2]]
    with pytest.raises(ForcemapError, match=r"atom 0 \(O .* is at the place of atom 1 \(H\)"):
        ipi_pes.load_pes("custom", pes_path())(**files)([H, H], [other, other])
    trusting = ipi_pes.load_pes("custom", pes_path())(trust_template="True", **files)
    assert np.isfinite(trusting(H, other)[0])
