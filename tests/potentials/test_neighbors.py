"""The neighbour list against ASE's and vesin's: the same pairs with the same lattice vectors."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import structures
from ase import Atoms
from ase.neighborlist import primitive_neighbor_list
from forcemap.potentials import ForcemapError, _core
from numpy.typing import NDArray

Pairs = list[tuple[int, int, int, int, int]]

ALL_PBC = list(product((False, True), repeat=3))


def ours(atoms: Atoms, cutoff: float) -> Pairs:
    rows = _core.neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)
    return as_pairs(np.rint(rows).astype(int))


def as_pairs(rows: NDArray[np.int_]) -> Pairs:
    return sorted((int(i), int(j), int(a), int(b), int(c)) for i, j, a, b, c in rows)


def ase_pairs(atoms: Atoms, cutoff: float) -> Pairs:
    i, j, s = primitive_neighbor_list("ijS", atoms.pbc, atoms.cell, atoms.positions, cutoff)
    return as_pairs(np.column_stack([i, j, s]))


def random_atoms(seed: int, pbc: tuple[bool, bool, bool]) -> Atoms:
    """1 to 9 atoms, some outside of a skewed cell with edges of 1.5 to 8 Å."""
    rng = np.random.default_rng(seed)
    while True:
        cell = np.diag(rng.uniform(1.5, 8.0, 3)) + rng.uniform(-1.2, 1.2, (3, 3))
        if abs(np.linalg.det(cell)) > 3.0:
            break
    positions = rng.uniform(-1.5, 2.5, (int(rng.integers(1, 10)), 3)) @ cell
    return Atoms(f"Si{len(positions)}", positions, cell=cell, pbc=pbc)


# Random distances are nowhere near the cutoff to rounding: the lists must agree exactly.


@pytest.mark.parametrize("pbc", ALL_PBC)
def test_equals_that_of_ase(pbc: tuple[bool, bool, bool]) -> None:
    for seed in range(12):
        atoms = random_atoms(seed, pbc)
        for cutoff in (1.0, 3.7, 7.0):
            assert ours(atoms, cutoff) == ase_pairs(atoms, cutoff), (seed, cutoff, atoms.cell)


@pytest.mark.parametrize("pbc", ALL_PBC)
def test_equals_that_of_vesin(pbc: tuple[bool, bool, bool]) -> None:
    vesin = pytest.importorskip("vesin", reason="vesin, an independent list, is not installed")
    for seed in range(20, 32):
        atoms = random_atoms(seed, pbc)
        box = np.where(np.array(pbc)[:, None], atoms.cell.array, 0.0)
        for cutoff in (1.0, 3.7, 7.0):
            found = vesin.NeighborList(cutoff=cutoff, full_list=True).compute(
                points=atoms.positions, box=box, periodic=list(pbc), quantities="ijS"
            )
            assert ours(atoms, cutoff) == as_pairs(np.column_stack(found)), (seed, cutoff)


@pytest.mark.parametrize("name", structures.NAMES)
def test_equals_that_of_ase_on_structures(name: str) -> None:
    atoms = structures.get(name)
    assert ours(atoms, 4.9) == ase_pairs(atoms, 4.9)


def test_many_atoms_in_boxes() -> None:
    """Enough atoms that the search uses several boxes along every edge."""
    rng = np.random.default_rng(5)
    cell = np.array([[30.0, 0.0, 0.0], [7.0, 25.0, 0.0], [-4.0, 3.0, 28.0]])
    atoms = Atoms("Si600", rng.uniform(0, 1, (600, 3)) @ cell, cell=cell, pbc=(True, False, True))
    found = ours(atoms, 4.0)
    assert len(found) > 3000
    assert found == ase_pairs(atoms, 4.0)


def test_every_pair_stands_in_both_directions() -> None:
    found = ours(structures.get("triclinic cell"), 5.0)
    assert set(found) == {(j, i, -a, -b, -c) for i, j, a, b, c in found}


def test_no_atoms_have_no_neighbors() -> None:
    empty = _core.neighbor_list(np.zeros((0, 3)), np.eye(3), np.ones(3, dtype=bool), 3.0)
    assert len(empty) == 0


@pytest.mark.parametrize(
    ("cell", "pbc", "message"),
    [
        (np.zeros((3, 3)), (True, False, False), "cell vector 1 is zero"),
        (np.array([[4.0, 0, 0], [8.0, 0, 0], [0, 0, 4.0]]), (True, True, True), "singular"),
        (np.array([[4.0, 0, 0], [8.0, 0, 0], [0, 0, 4.0]]), (True, True, False), "singular"),
        (np.diag([4.0, np.nan, 4.0]), (True, True, True), "cell vector 2 is not finite"),
        (np.diag([1e-4, 1e-4, 1e-4]), (True, True, True), "too small for the range"),
    ],
)
def test_unusable_cells_are_refused(
    cell: NDArray[np.float64], pbc: tuple[bool, bool, bool], message: str
) -> None:
    with pytest.raises(ForcemapError, match=message):
        _core.neighbor_list(np.zeros((1, 3)), cell, np.array(pbc), 4.0)
