"""Triplets as sums over sparse points: closed forms, brute force, forces as derivatives, faults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from ase import Atoms
from forcemap.potentials import Potential, load
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.file.container import read_container, write_container
from forcemap.potentials.file.potential_file import (
    PotentialData,
    as_potential,
    read_potential,
    write_potential,
)
from forcemap.potentials.terms import KINDS, ThreeBodyKernelSums, ThreeBodyPoints
from kernel_sums import random_kernel_sums

SYMBOLS = ("O", "Si")
TERMS = random_kernel_sums(np.random.default_rng(3), SYMBOLS, 4.0)


def data_of(*terms: ThreeBodyKernelSums, species: tuple[str, ...] = SYMBOLS) -> PotentialData:
    return PotentialData(species, dict.fromkeys(species, 0.0), terms)


def crystal(seed: int) -> Atoms:
    """A cell smaller than the cutoff: atoms see images of themselves."""
    rng = np.random.default_rng(seed)
    atoms = Atoms("OSiOSiO", rng.uniform(0.0, 3.6, (5, 3)), cell=[3.7, 3.5, 3.9], pbc=True)
    atoms.set_cell(atoms.cell.array + rng.normal(0.0, 0.2, (3, 3)), scale_atoms=True)
    return atoms


def compute(potential: Potential, atoms: Atoms) -> Any:
    return potential.evaluator(skin=0.0).compute(
        atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc
    )


@pytest.mark.parametrize("weight", ["center", "cluster"])
@pytest.mark.parametrize("covariance", ["squared_exponential", "wendland"])
def test_a_triangle_has_the_closed_form(weight: Any, covariance: Any) -> None:
    points = ThreeBodyPoints(
        np.array([[2.0, 2.0, 2.0]]), np.array([0.7]), np.array([0.1]), np.full(3, 2.0), np.eye(1, 3)
    )
    points = replace(points, permutations=np.array([[0.0, 1.0, 2.0]]))
    term = ThreeBodyKernelSums(
        4.0, 1.0, "distances", covariance, weight, "unordered", {("Si", "Si", "Si"): points}
    )
    side = 3.25
    d = np.sqrt(3.0) * (side - 2.0) / 2.0
    k = np.exp(-d * d / 2.0) if covariance == "squared_exponential" else 0.0
    c = 0.5 * (1.0 + np.cos(0.25 * np.pi))
    if covariance == "wendland":  # d = 1.08 is out of reach; a nearer triangle
        side, c = 2.5, 1.0
        d = np.sqrt(3.0) * 0.25
        k = (1.0 - d) ** 4 * (4.0 * d + 1.0)
    expected = 3.0 * c * c * (0.7 * k + 0.1) * (1.0 - 2.0 / 3.0 * c if weight == "cluster" else 1.0)
    corners = [[0, 0, 0], [side, 0, 0], [side / 2, side * np.sqrt(0.75), 0]]
    found = compute(as_potential(data_of(term, species=("Si",))), Atoms("Si3", corners))
    assert found.energy == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("number", range(len(TERMS)))
def test_energies_forces_and_virial_are_those_of_plain_loops(number: int) -> None:
    data, atoms = data_of(TERMS[number]), crystal(number)
    expected = reference.evaluate(data, atoms)
    found = compute(as_potential(data), atoms)
    # Only the order of sums differs.
    np.testing.assert_allclose(found.energies, expected.energies, rtol=0.0, atol=1e-11)
    np.testing.assert_allclose(found.forces, expected.forces, rtol=0.0, atol=1e-11)
    np.testing.assert_allclose(found.virial, expected.virial, rtol=0.0, atol=1e-10)


def test_many_neighbours_are_as_good_as_few() -> None:
    """More triplets than are evaluated side by side."""
    data = data_of(TERMS[3])
    rng = np.random.default_rng(9)
    atoms = Atoms("Si" * 6 + "O" * 18, rng.uniform(0.0, 4.0, (24, 3)))
    expected = reference.evaluate(data, atoms)
    found = compute(as_potential(data), atoms)
    np.testing.assert_allclose(found.forces, expected.forces, rtol=0.0, atol=1e-10)


def test_the_file_gives_back_what_was_written(tmp_path: Path) -> None:
    data = data_of(*TERMS)
    write_potential(data, tmp_path / "p.forcemap")
    found = read_potential(tmp_path / "p.forcemap")
    for term, given in zip(found.terms, data.terms, strict=True):
        assert term.document() == given.document()
        for name, array in given.tensors().items():
            np.testing.assert_array_equal(term.tensors()[name], array)
        assert KINDS[term.kind].described(term.document()).startswith("cutoff ")


FAULTS: list[tuple[str, Callable[[dict[str, Any], dict[str, Any]], object], str]] = [
    ("word", lambda d, t: d.update(coordinates="angles"), "expected distances or sums"),
    ("covariance", lambda d, t: d.update(covariance="rbf"), "expected squared_exponential or wend"),
    ("weight", lambda d, t: d.update(weight=1), "expected a string"),
    ("pairs", lambda d, t: d.update(pairs="both"), "expected unordered or ordered"),
    ("transition", lambda d, t: d.update(transition=0.0), "expected 0 < transition"),
    ("member", lambda d, t: d.update(theta=1.0), "theta"),
    (
        "lengthscale",
        lambda d, t: t["terms.0.Si-O-O.lengthscales"].__setitem__(1, -1.0),
        "expected 1e-09 < lengthscale",
    ),
    (
        "permutation",
        lambda d, t: t["terms.0.Si-O-O.permutations"].__setitem__((0, 1), 0.0),
        "found a number twice in row 0",
    ),
    (
        "half a permutation",
        lambda d, t: t["terms.0.Si-O-O.permutations"].__setitem__((0, 1), 0.5),
        "expected 0, 1 or 2",
    ),
    (
        "factors",
        lambda d, t: t.update({"terms.0.Si-O-O.factors": np.zeros(3)}),
        "found 3 numbers, expected 7",
    ),
    (
        "points",
        lambda d, t: t.update({"terms.0.Si-O-O.points": np.zeros((0, 3))}),
        "found no points",
    ),
]


@pytest.mark.parametrize(("name", "spoil", "message"), FAULTS, ids=[name for name, _, _ in FAULTS])
def test_a_faulty_term_is_refused_by_name(
    tmp_path: Path, name: str, spoil: Callable[[Any, Any], object], message: str
) -> None:
    path = tmp_path / "p.forcemap"
    write_potential(data_of(TERMS[0]), path)
    container = read_container(path)
    tensors = {key: np.array(value) for key, value in container.tensors.items()}
    spoil(container.document["terms"][0], tensors)
    write_container(path, container.document, tensors)
    with pytest.raises(ForcemapError, match=message):
        load(path)
