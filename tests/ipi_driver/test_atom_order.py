"""The first structure against the template: other orders stop, everything else goes on."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from forcemap.ipi_driver.atom_order import OrderError, check_order
from forcemap.ipi_driver.evaluation import BeadEvaluator
from forcemap.ipi_driver.protocol import Batch
from forcemap.ipi_driver.template import Template, read_template

BOHR = 1.8897261


def template_of(atoms: Atoms) -> Template:
    cell = atoms.cell.array if atoms.cell.rank == 3 else None
    return Template(atoms.numbers.astype(np.int32), atoms.pbc, atoms.positions, cell, "init.xyz")


def check(template: Atoms, structure: Atoms) -> None:
    check_order(template_of(template), structure.cell.array, structure.positions)


def alloy() -> Atoms:
    """32 atoms of two elements in no order, a little displaced, in a cell that is not upright."""
    atoms = bulk("Cu", "fcc", a=3.6).repeat((2, 4, 4))
    atoms.symbols[np.random.default_rng(3).permutation(32)[:11]] = "Ni"
    atoms.rattle(0.05, seed=2)
    return atoms


def by_element(atoms: Atoms) -> Atoms:
    return atoms[np.argsort(atoms.numbers, kind="stable")]


def water() -> Atoms:
    """64 atoms of water in a box, molecules turned at random."""
    rng = np.random.default_rng(5)
    liquid = Atoms(cell=[9.3, 9.3, 9.3], pbc=True)
    grid = np.indices((3, 3, 3)).reshape(3, -1).T[:21]
    for place in grid:
        one = molecule("H2O")
        one.rotate(*rng.uniform(0, 360, 1), rng.normal(size=3))
        one.translate(3.1 * place + rng.normal(scale=0.2, size=3))
        liquid += one
    return liquid


STRUCTURES = {
    "alloy": alloy(),
    "water": water(),
    "slab": Atoms(
        "SiOSi",
        [[0, 0, 5], [1.5, 1.5, 6], [0.2, 0, 7.5]],
        cell=[[4, 0, 0], [1, 4, 0], [0, 0, 20]],
        pbc=(True, True, False),
    ),
    "molecule": Atoms("OSiO", [[0, 0, 0], [1.7, 0, 0.1], [3.1, 0.9, 0]], cell=[30, 30, 30]),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_another_order_of_different_elements_is_refused(name: str) -> None:
    atoms = STRUCTURES[name]
    swapped = atoms.copy()
    other = int(np.flatnonzero(atoms.numbers != atoms.numbers[0])[0])
    swapped.positions[[0, other]] = atoms.positions[[other, 0]]
    with pytest.raises(OrderError, match=rf"init.xyz: atom 0 \(.*place of atom {other} .*from 0"):
        check(atoms, swapped)
    if name != "molecule":
        with pytest.raises(OrderError, match="in the order of the template"):
            check(by_element(atoms), atoms)


@pytest.mark.parametrize("name", STRUCTURES)
def test_the_same_structure_passes_in_whatever_way_it_is_put(name: str) -> None:
    """Turned, wrapped, in a larger cell as after npt, with beads apart, equal atoms exchanged."""
    atoms = STRUCTURES[name]
    turned, wrapped, larger, displaced = (atoms.copy() for _ in range(4))
    turned.rotate(50, (1, 2, 3), rotate_cell=True)
    wrapped.positions += np.array([[1, -2, 0]]) @ atoms.cell.array
    larger.set_cell(1.1 * atoms.cell, scale_atoms=True)
    displaced.positions += np.random.default_rng(4).normal(scale=0.08, size=(len(atoms), 3))
    shuffled = np.arange(len(atoms))
    for element in set(atoms.numbers):
        same = np.flatnonzero(atoms.numbers == element)
        shuffled[same] = np.roll(same, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for other in (atoms, turned, wrapped, larger, displaced, atoms[shuffled]):
            check(atoms, other)
            check(other, atoms)
        template = template_of(atoms)
        plain = Template(template.numbers, np.ones(3, bool), atoms.positions, None, "plain.xyz")
        check_order(plain, atoms.cell.array, atoms.positions + np.array([3.0, 1.0, -2.0]))


@pytest.mark.parametrize("seed", range(5))
def test_order_shows_through_thermal_displacements(seed: int) -> None:
    """0.15 Å in each direction: copper near its melting point."""
    atoms = alloy()
    atoms.rattle(0.15, seed=seed)
    with pytest.raises(OrderError, match="in the order of the template"):
        check(by_element(alloy()), atoms)


@pytest.mark.parametrize("seed", range(5))
def test_run_that_has_gone_far_is_doubted_but_not_refused(seed: int) -> None:
    """A liquid; and a crystal in which two atoms have exchanged places by diffusion."""
    far = water()
    rng = np.random.default_rng(seed)
    far.positions += np.repeat(rng.normal(scale=1.5, size=(21, 3)), 3, axis=0)
    with pytest.warns(UserWarning, match=r"of 63 atoms .* away from their places .*a checkpoint"):
        check(water(), far)
    hot = alloy()
    one, two = 0, int(np.flatnonzero(hot.numbers != hot.numbers[0])[0])
    hot.positions[[one, two]] = hot.positions[[two, one]]
    hot.rattle(0.1, seed=seed)
    with pytest.warns(UserWarning, match=r"\b2 of 32 atoms .* first of them atom 0 "):
        check(alloy(), hot)


def test_molecule_that_has_turned_over_is_not_refused() -> None:
    start = Atoms("CO", [[0, 0, 0], [0, 0, 1.13]], cell=[20, 20, 20])
    over = start.copy()
    over.positions = start.positions[::-1] + 0.1 * np.eye(2, 3)
    with pytest.warns(UserWarning, match="away from their places"):
        check(start, over)


def test_units_that_ipi_mistook_are_named() -> None:
    atoms = alloy()
    small = atoms.copy()
    small.set_cell(atoms.cell / BOHR, scale_atoms=True)
    with pytest.raises(OrderError, match=r"takes Å for bohr; say units='angstrom'"):
        check(atoms, small)
    one_element = bulk("Cu", cubic=True)
    large = one_element.copy()
    large.set_cell(BOHR * one_element.cell, scale_atoms=True)
    with pytest.raises(OrderError, match=r"of 6.82, 6.82, 6.82 Å, .* takes bohr for Å"):
        check(one_element, large)
    box = molecule("CH3CH2OH", cell=[12, 12, 12])
    shrunk = box.copy()
    shrunk.positions /= BOHR
    with pytest.warns(UserWarning, match=r"0\.529 times as far .* units='angstrom'"):
        check(box, shrunk)


def test_cell_of_another_size_is_doubted() -> None:
    atoms = bulk("Cu", cubic=True)
    with pytest.warns(UserWarning, match=r"vectors of 7.22, 3.61, 3.61 Å, that of the template"):
        check(atoms, atoms.repeat((2, 1, 1))[:4])


def test_templates_without_positions_to_speak_of_are_not_compared() -> None:
    atoms = alloy()
    flat = atoms.copy()
    flat.positions[:] = 0.0
    check(flat, atoms)
    bare = Template(atoms.numbers[::-1].astype(np.int32), atoms.pbc)
    check_order(bare, atoms.cell.array, atoms.positions)
    nowhere = atoms.positions * np.nan
    check_order(template_of(atoms), atoms.cell.array, nowhere)  # the evaluation says so


def test_trusted_template_leaves_positions_out(tmp_path: Path) -> None:
    alloy().write(tmp_path / "a.xyz")
    trusted = read_template(tmp_path / "a.xyz", trusted=True)
    assert trusted.positions is None
    assert read_template(tmp_path / "a.xyz").positions is not None


def test_only_the_first_structure_is_compared(springs: Any) -> None:
    atoms = alloy()
    evaluator = BeadEvaluator(springs.Springs(), template_of(atoms))
    batch = Batch.empty(np.array([atoms.cell.array.T * BOHR]), len(atoms))
    batch.positions[0] = atoms.positions * BOHR
    evaluator.evaluate(batch)
    batch.positions[0] = atoms.positions[::-1] * BOHR
    evaluator.evaluate(batch)
    with pytest.raises(OrderError):
        BeadEvaluator(springs.Springs(), template_of(atoms)).evaluate(batch)
