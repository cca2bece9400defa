"""Embedding terms before they are mapped: densities, functions and rows, against brute force.

A row holds sum_i V_s(rho_i) - V_s(0) for every sparse point s, with rho_i = sum_j phi(r_ij) over all
neighbours j, and its derivatives. The splines that phi and V_s are projected on are evaluated by SciPy.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import reference
import scipy.interpolate
import structures
from ase import Atoms
from forcemap.fitter.baseline.repulsion import ShortRange
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.terms.base import Block
from forcemap.fitter.terms.embedding import TOP, Density, EmbeddingTerm
from forcemap.fitter.terms.rows import frame_rows
from forcemap.fitter.terms.splines import open_spline_coefficients
from numpy.typing import NDArray
from process_rows import (
    check_order_of_atoms,
    check_rotation,
    check_sum_of_forces,
    difference_errors,
    rows,
)
from structures import as_frame

Array = NDArray[np.float64]

CUTOFF = 4.1
KERNELS = ("squared_exponential", "matern52")
DENSITIES = {
    "polynomial": Density("polynomial", 3.5, 1.0, CUTOFF, 2.0, {14: 0.7}),
    "exponential": Density("exponential", 1.0, 1.2, CUTOFF, 2.0, {8: 0.4}),
}


def make_term(
    atoms: Atoms,
    density: str = "polynomial",
    kernel: str = "squared_exponential",
    lengthscale: float = 0.4,
    grid: tuple[int, int] = (40, 30),
) -> EmbeddingTerm:
    """A term of the elements of `atoms`, scaled so that some densities lie beyond the grid's end."""
    numbers = tuple(sorted({int(z) for z in atoms.numbers}))
    term = EmbeddingTerm(DENSITIES[density], numbers, {}, {}, kernel, lengthscale, grid)
    scales = {}
    for z in numbers:
        found = term.densities_at(Structure(as_frame(atoms), CUTOFF), z, term.densities_of(z))
        scales[z] = 1.4 / float(found.max())
    rng = np.random.default_rng(3)
    blocks = [Block((z,), rng.uniform(0.2, 1.0, (2, 1))) for z in numbers]
    middles = dict.fromkeys(numbers, 0.6)
    return replace(term, scales=scales, middles=middles).with_blocks(blocks)


def spline(coefficients: Array, length: float) -> scipy.interpolate.BSpline:
    h = length / (len(coefficients) - 3)
    return scipy.interpolate.BSpline(h * (np.arange(len(coefficients) + 4) - 3.0), coefficients, 3)


def densities(term: EmbeddingTerm, atoms: Atoms) -> Array:
    """rho of every atom."""
    found = np.zeros(len(atoms))
    for i, z in enumerate(atoms.numbers):
        tables = term.densities_of(int(z))
        for j, vector in reference.neighbors_of(atoms, i, term.cutoff):
            phi = spline(tables[term.numbers.index(int(atoms.numbers[j]))], term.cutoff)
            found[i] += float(phi(np.linalg.norm(vector)))
    return found


def brute_energy(term: EmbeddingTerm, atoms: Atoms) -> Array:
    rho = densities(term, atoms)
    row = []
    for block in term.blocks:
        columns = spline(term.splines[block.species[0]].functions, TOP)
        at = rho[atoms.numbers == block.species[0]]
        inside = np.minimum(at, TOP)
        values = columns(inside) + columns.derivative()(inside) * (at - inside)[:, None]
        row.append(np.sum(values - columns(0.0), axis=0))
    return np.concatenate(row)


STRUCTURES = [
    ("cell smaller than the cutoff", ["Si"]),
    ("wire", ["O", "Si"]),
    ("molecule", ["H", "O", "Si"]),
    ("triclinic cell", ["H", "O", "Si"]),
]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("density", list(DENSITIES))
@pytest.mark.parametrize(("name", "species"), STRUCTURES)
def test_energy_row_is_the_sum_over_sites(
    name: str, species: list[str], density: str, kernel: str
) -> None:
    """Tolerance: rounding of sums over some hundred terms of order one."""
    atoms = structures.get(name, species)
    term = make_term(atoms, density, kernel)
    assert densities(term, atoms).max() > TOP
    expected = brute_energy(term, atoms)
    assert np.abs(expected).max() > 0.1
    found = frame_rows(as_frame(atoms), [term])[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("density", list(DENSITIES))
@pytest.mark.parametrize(("name", "species"), STRUCTURES)
def test_force_and_strain_rows_are_derivatives_of_the_energy_row(
    name: str, species: list[str], density: str
) -> None:
    """The error of a central difference is h² E'''/6: it falls to a quarter when h halves.

    Third derivatives of cubic splines jump at knots, so the quarter is not exact.
    """
    atoms = structures.get(name, species)
    term = make_term(atoms, density)
    worst = [
        max(np.abs(part).max() for part in difference_errors(atoms, [term], h))
        for h in (2e-3, 1e-3, 1e-4)
    ]
    assert np.abs(rows(atoms, [term])[1:]).max() > 0.1
    assert worst[1] < worst[0] / 2.5, worst
    assert worst[2] < 2e-5, worst


def test_rows_turn_and_follow_the_order_of_atoms() -> None:
    atoms = structures.get("triclinic cell", ["H", "O", "Si"])
    terms = [make_term(atoms)]
    check_rotation(atoms, terms, 1e-11)
    check_order_of_atoms(atoms, terms, 1e-11)
    check_sum_of_forces(atoms, terms, 1e-12)


def test_an_isolated_atom_has_exactly_nothing() -> None:
    atoms = structures.get("molecule", ["H", "O", "Si"])
    term = make_term(atoms)
    alone = Atoms("HO", [[0, 0, 0], [0, 0, CUTOFF + 1e-12]])
    assert not frame_rows(as_frame(alone), [term]).any()
    near = Atoms("HO", [[0, 0, 0], [0, 0, CUTOFF - 1e-4]])
    assert np.abs(frame_rows(as_frame(near), [term])).max() < 1e-6


# ----- the functions -----


@pytest.mark.parametrize("kernel", KERNELS)
def test_functions_are_the_kernel_within_the_data_and_straight_beyond(kernel: str) -> None:
    """With two continuous derivatives in between; covariances of V(rho) - V(0)."""
    atoms = structures.get("cell smaller than the cutoff", ["Si"])
    term = make_term(atoms, kernel=kernel)
    points = np.array([0.3, 0.8, 1.0])

    def k(x: Array) -> Array:
        d = x[:, None] - points
        u = np.sqrt(5) * np.abs(d) / 0.4
        if kernel == "matern52":
            return np.asarray((1 + u + u**2 / 3) * np.exp(-u))
        return np.asarray(np.exp(-(d**2) / 0.32))

    x = np.linspace(0.0, 1.0, 101)
    expected = k(x) - k(np.zeros(1))
    np.testing.assert_allclose(term.functions(x, points, 0.6), expected, rtol=0, atol=1e-14)

    h = 1e-4
    around = 0.6 + np.array([-h, h])
    last = np.diff(k(around), axis=0) / (2 * h)
    x = np.arange(0.5, 1.6, h)
    values = term.functions(x, points, 0.6)
    slope, bend = np.diff(values, axis=0) / h, np.diff(values, 2, axis=0) / h**2
    np.testing.assert_allclose(slope[x[:-1] > TOP], last + 0 * slope[x[:-1] > TOP], atol=1e-6)
    # Jumps would be of the size of the functions' own derivatives, some tens to hundreds.
    assert np.abs(np.diff(slope, axis=0)).max() < 200 * h
    assert np.abs(np.diff(bend, axis=0)).max() < 1e4 * h
    # The splines are these functions: their error falls with the fourth power of the grid.
    worst = []
    for intervals in (60, 120):
        fine = replace(term, grid=(40, intervals)).with_blocks([Block((14,), points[:, None])])
        columns = spline(fine.splines[14].functions, TOP)
        r = np.linspace(0.0, TOP, 500)
        worst.append(float(np.abs(columns(r) - fine.functions(r, points, 0.6)).max()))
    assert worst[1] < worst[0] / 8
    assert worst[1] < 1e-5


def test_open_splines_end_straight_and_keep_lines() -> None:
    x = np.linspace(0.0, 2.0, 9)
    values = np.stack([x, np.sin(x) * x], axis=1)
    columns = spline(open_spline_coefficients(values), 2.0)
    np.testing.assert_allclose(columns(x), values, rtol=0, atol=1e-13)
    np.testing.assert_allclose(columns.derivative(2)(2.0), 0.0, atol=1e-11)
    fine = np.linspace(0.0, 2.0, 77)
    np.testing.assert_allclose(columns(fine)[:, 0], fine, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", list(DENSITIES))
def test_densities_vanish_at_the_cutoff_and_level_off_below_the_data(name: str) -> None:
    density = DENSITIES[name]
    pair = ShortRange.from_shortest(2.0)
    phi = spline(density.coefficients(pair, 60), CUTOFF)
    r = np.linspace(pair.fading, CUTOFF, 300)
    shape = density.shape(r)
    np.testing.assert_allclose(phi(r), shape, rtol=0, atol=3e-4 * shape.max())
    assert np.all(np.diff(shape) <= 0.0)
    below = np.linspace(0.0, 0.8 * pair.faded, 50)
    np.testing.assert_allclose(phi(below), phi(0.0), rtol=1e-3)
    assert phi(0.0) > shape[0]
    for derivative in (0, 1):
        assert abs(float(phi(CUTOFF - 1e-9, nu=derivative))) < 1e-6
