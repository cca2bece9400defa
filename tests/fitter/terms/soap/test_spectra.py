"""SOAP terms: the power spectrum against an integral, brute force and other programs; its derivatives,
invariances and cutoff; the rows of a process; the maps of fitted functions.

Without normalisation p . p' is, for a complete basis, the squared overlap of two densities averaged
over rotations (Bartok, Kondor and Csanyi, Phys. Rev. B 87, 184115 (2013))::

    integral dR | integral rho(r) rho'(R r) dr |^2,
    rho(r) = sum_j f_c(r_j) N(r - r_j; atom_sigma),  the centre itself included with f_c = 1

when p has the factor (2 l + 1)^-1/2 and off-diagonal elements, stored once, the factor 2^1/2. The
cutoff function weights whole Gaussians: radial functions beyond the cutoff are part of the basis.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
import scipy.special
import structures
from ase import Atoms
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.terms.base import Block
from forcemap.fitter.terms.rows import frame_rows
from forcemap.fitter.terms.soap import radial_basis
from forcemap.fitter.terms.soap.channels import species_weights
from forcemap.fitter.terms.soap.forms import forms_of, functions_of
from forcemap.fitter.terms.soap.radial_basis import RadialBasis, cutoff_values, tabulate
from forcemap.fitter.terms.soap.term import SoapTerm
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.file.potential_file import PotentialData, as_potential
from numpy.typing import NDArray
from process_rows import (
    VOIGT,
    check_order_of_atoms,
    check_rotation,
    check_sum_of_forces,
    check_supercell,
    check_translation,
    difference_errors,
    rows,
)
from structures import as_frame

Array = NDArray[np.float64]
Kappa = Mapping[tuple[int, int], float]

SPECIES = {1: ["Si"], 2: ["O", "Si"], 4: ["H", "C", "O", "Si"]}
PLACES = ("molecule", "cell smaller than the cutoff", "triclinic cell", "slab", "wire")


pytestmark = pytest.mark.usefixtures("one_thread")


def make_term(
    numbers: Sequence[int],
    zeta: int = 2,
    weights: Array | None = None,
    basis: RadialBasis | None = None,
    points: int = 0,
    seed: int = 0,
) -> SoapTerm:
    """A term for the elements `numbers`, with as many sparse points for each: random ones, whose
    products with spectra of atoms are nevertheless near one."""
    numbers = tuple(sorted({int(z) for z in numbers}))
    basis = basis or RadialBasis(
        cutoff=4.2, cutoff_width=1.3, n_max=5, l_max=4, atom_sigma=0.5, scaling_exponent=0.0
    )
    radial, own = tabulate(basis)
    weights = np.eye(len(numbers)) if weights is None else weights
    term = SoapTerm(basis, zeta, numbers, weights, radial, own, basis.cutoff)
    rng = np.random.default_rng(seed)
    blocks = []
    for z in numbers:
        found = rng.normal(size=(points, term.dimension))
        found *= 0.6 / np.linalg.norm(found, axis=1)[:, None]
        if points:
            found += spectra(term, Atoms(numbers=[z], positions=[[0.0, 0.0, 0.0]]))
        blocks.append(Block((z,), found / np.linalg.norm(found, axis=1)[:, None]))
    return term.with_blocks(blocks)


def spectra(term: SoapTerm, atoms: Atoms) -> Array:
    """Normalised power spectra of all atoms, (n, dimension)."""
    structure = Structure(as_frame(atoms), term.cutoff)
    result = np.full((len(atoms), term.dimension), np.nan)
    for z in sorted({int(z) for z in atoms.numbers}):
        where, found = term.descriptors(structure, z)
        result[where] = found
    return result


# ----- the integral -----


def rotations(polar: int, around: int) -> tuple[Array, Array]:
    """Matrices (n, 3, 3) and weights (n,) that integrate over all rotations: Gauss-Legendre in the
    cosine of the Euler angle between axes, equal steps in the two others."""
    nodes, weights = np.polynomial.legendre.leggauss(polar)
    turns = 2.0 * np.pi * np.arange(around) / around

    def about_z(angle: Array) -> Array:
        c, s, zero = np.cos(angle), np.sin(angle), np.zeros_like(angle)
        rows = [[c, -s, zero], [s, c, zero], [zero, zero, zero + 1.0]]
        return np.moveaxis(np.array(rows), -1, 0)

    c, s, zero = nodes, np.sqrt(1.0 - nodes**2), np.zeros_like(nodes)
    tilts = np.moveaxis(np.array([[c, zero, s], [zero, zero + 1.0, zero], [-s, zero, c]]), -1, 0)
    matrices = np.einsum("aij,bjk,ckl->abcil", about_z(turns), tilts, about_z(turns))
    shape = (around, polar, around)
    return matrices.reshape(-1, 3, 3), np.broadcast_to(
        weights[None, :, None] / 2.0 / around**2, shape
    ).ravel()


ROTATIONS = rotations(24, 48)

Density = tuple[Array, Array, Array]
"""Elements (n,), places (n, 3) Å and weights (n,) of the Gaussians about an atom."""


def density_of(basis: RadialBasis, atoms: Atoms) -> Density:
    """That about atom 0 of a cluster."""
    vectors = atoms.positions - atoms.positions[0]
    r = np.linalg.norm(vectors, axis=1)
    weights = cutoff_values(basis, r)
    weights[0] = 1.0
    return atoms.numbers, vectors, weights


def overlap(one: Density, other: Density, sigma: float, turned: Array, kappa: Kappa) -> Array:
    """Overlap of the densities for rotations `turned` (n, 3, 3) of the second, (n,)."""
    total = np.zeros(len(turned))
    for za, ra, wa in zip(*one, strict=True):
        for zb, rb, wb in zip(*other, strict=True):
            similarity = 1.0 if za == zb else kappa.get((min(za, zb), max(za, zb)), 0.0)
            squares = np.sum((ra - turned @ rb) ** 2, axis=1)
            total += similarity * wa * wb * np.exp(-squares / (4.0 * sigma**2))
    return np.asarray(total / (4.0 * np.pi * sigma**2) ** 1.5)


def integral(basis: RadialBasis, one: Atoms, other: Atoms, kappa: Kappa) -> float:
    """Squared overlap, averaged over rotations, over the root of the two with themselves."""
    turned, weights = ROTATIONS
    densities = [density_of(basis, atoms) for atoms in (one, other)]

    def mean(a: Density, b: Density) -> float:
        return float(weights @ overlap(a, b, basis.atom_sigma, turned, kappa) ** 2)

    own = [mean(d, d) for d in densities]
    return mean(*densities) / float(np.sqrt(own[0] * own[1]))


def cluster(seed: int, symbols: Sequence[str], reach: float) -> Atoms:
    """Five atoms within `reach` of the first, more than 1.1 Å apart."""
    rng = np.random.default_rng(seed)
    places = [np.zeros(3)]
    while len(places) < 5:
        place = rng.uniform(-reach, reach, 3)
        if np.linalg.norm(place) < reach and min(np.linalg.norm(place - p) for p in places) > 1.1:
            places.append(place)
    return Atoms([symbols[n % len(symbols)] for n in range(5)], places)


def kernel(basis: RadialBasis, one: Atoms, other: Atoms, kappa: Kappa) -> float:
    """p . p' of the first atoms, normalised."""
    numbers = sorted({int(z) for z in one.numbers})
    term = make_term(numbers, weights=species_weights(numbers, kappa or None), basis=basis)
    return float(spectra(term, one)[0] @ spectra(term, other)[0])


def test_rotations_integrate_polynomials_of_their_matrices() -> None:
    """Means over all rotations: R 0, R_ij^2 1/3, R_zz^4 1/5, (R_xx R_yy)^2 2/15, det R 1."""
    turned, weights = ROTATIONS
    assert weights.sum() == pytest.approx(1.0, abs=1e-13)
    np.testing.assert_allclose(np.einsum("n,nij->ij", weights, turned), 0.0, atol=1e-13)
    np.testing.assert_allclose(np.einsum("n,nij->ij", weights, turned**2), 1 / 3, atol=1e-13)
    assert weights @ turned[:, 2, 2] ** 4 == pytest.approx(1 / 5, abs=1e-13)
    both = weights @ (turned[:, 0, 0] * turned[:, 1, 1]) ** 2
    assert both == pytest.approx(2 / 15, abs=1e-13)
    np.testing.assert_allclose(np.linalg.det(turned), 1.0, atol=1e-13)


def test_overlap_of_gaussians_is_that_of_densities_on_a_grid() -> None:
    """Equal steps integrate Gaussians to rounding when they are half of sigma."""
    sigma = 0.6
    basis = RadialBasis(cutoff=4.0, cutoff_width=1.5, n_max=4, l_max=4, atom_sigma=sigma)
    axis = np.arange(-7.0, 7.0, 0.5 * sigma)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)
    one, other = (density_of(basis, cluster(seed, ["Si"], 3.2)) for seed in (1, 2))
    assert one[2].min() < 0.7
    norm = (2.0 * np.pi * sigma**2) ** -1.5

    def on_grid(density: Density, turned: Array) -> Array:
        total = np.zeros(grid.shape[:3])
        for _, r, w in zip(*density, strict=True):
            total += w * norm * np.exp(-np.sum((grid - turned @ r) ** 2, -1) / (2 * sigma**2))
        return total

    for turned in ROTATIONS[0][[0, 5000, 31234]]:
        found = np.sum(on_grid(one, np.eye(3)) * on_grid(other, turned)) * (0.5 * sigma) ** 3
        expected = overlap(one, other, sigma, turned[None], {})[0]
        assert found == pytest.approx(expected, rel=1e-12)


INTEGRALS = [
    pytest.param(["Si"], 0.5, {}, id="one species"),
    pytest.param(["Si"], 0.7, {}, id="wide"),
    pytest.param(["Si", "O"], 0.5, {}, id="two species"),
    pytest.param(["Si", "O"], 0.5, {(8, 14): 0.4}, id="two similar species"),
]


@pytest.mark.parametrize(("symbols", "sigma", "kappa"), INTEGRALS)
def test_spectra_are_the_rotationally_averaged_overlap_of_densities(
    symbols: list[str], sigma: float, kappa: Kappa, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error falls with the basis to that of the splines, 1e-5, and with their spacing to 1e-6.

    The integral is good to 1e-9 (checked with fewer rotations below), the kernels are near 0.9.
    """
    one, other = (cluster(seed, symbols, 3.3) for seed in (3, 4))
    largest = RadialBasis(cutoff=4.0, cutoff_width=1.5, n_max=16, l_max=16, atom_sigma=sigma)
    expected = integral(largest, one, other, kappa)
    errors = {
        size: abs(kernel(replace(largest, n_max=size, l_max=size), one, other, kappa) - expected)
        for size in (3, 6, 12, 16)
    }
    assert errors[3] > 3e-4, errors
    assert errors[6] < 0.7 * errors[3], errors
    assert errors[12] < 0.1 * errors[3], errors
    assert errors[16] < 3e-5, errors
    monkeypatch.setattr(radial_basis, "KNOT_SPACING", 0.02)
    assert abs(kernel(largest, one, other, kappa) - expected) < 1e-6


def test_the_integral_over_rotations_has_converged(monkeypatch: pytest.MonkeyPatch) -> None:
    basis = RadialBasis(cutoff=4.0, cutoff_width=1.5, n_max=4, l_max=4, atom_sigma=0.5)
    one, other = (cluster(seed, ["Si"], 3.3) for seed in (3, 4))
    expected = integral(basis, one, other, {})
    monkeypatch.setitem(globals(), "ROTATIONS", rotations(20, 40))
    assert integral(basis, one, other, {}) == pytest.approx(expected, abs=1e-9)


# ----- other programs -----


def off_diagonal(count: int, l_max: int) -> Array:
    """Factors of the upper triangles of `count` radial functions, l by l."""
    rows, columns = np.triu_indices(count)
    return np.tile(np.where(rows == columns, 1.0, np.sqrt(2.0)), l_max + 1)


def by_dscribe(atoms: Atoms, numbers: list[int], cutoff: float, sigma: float) -> Array:
    """Orthonormalised Gaussian-type orbitals; each pair of n and n' once without a factor."""
    count, l_max = 12, 12
    program = importlib.import_module("dscribe.descriptors").SOAP(
        species=numbers, r_cut=cutoff, n_max=count, l_max=l_max, sigma=sigma, rbf="gto"
    )
    found = np.array(program.create(atoms, centers=[0])[0])
    for n, a in enumerate(numbers):
        for b in numbers[n:]:
            factor = off_diagonal(count, l_max) if a == b else np.sqrt(2.0)
            found[program.get_location((a, b))] *= factor
    return found


def by_featomic(atoms: Atoms, numbers: list[int], cutoff: float, sigma: float) -> Array:
    """All n and n' of a species; pairs of species once, with the factor of root two."""
    program = importlib.import_module("featomic").SoapPowerSpectrum(
        cutoff={"radius": cutoff, "smoothing": {"type": "ShiftedCosine", "width": 0.5}},
        density={"type": "Gaussian", "width": sigma, "center_atom_weight": 1.0},
        basis={
            "type": "TensorProduct",
            "max_angular": 12,
            "radial": {"type": "Gto", "max_radial": 11},
        },
    )
    parts = []
    for key, block in program.compute(atoms).items():
        if key["center_type"] == atoms.numbers[0]:
            row = list(np.asarray(block.samples["atom"])).index(0)
            pair = (int(key["neighbor_1_type"]), int(key["neighbor_2_type"]))
            parts.append((pair, np.asarray(block.values[row]).ravel()))
    return np.concatenate([values for _, values in sorted(parts, key=lambda part: part[0])])


def by_quippy(atoms: Atoms, numbers: list[int], cutoff: float, sigma: float) -> Array:
    """Gaussians on equal steps up to the cutoff, whose completeness asks for 16 of them."""
    elements = " ".join(map(str, numbers))
    count = len(numbers)
    program = importlib.import_module("quippy.descriptors").Descriptor(
        f"soap cutoff={cutoff} cutoff_transition_width=1.0 n_max=16 l_max=16 atom_sigma={sigma} "
        f"covariance_sigma0=0.0 central_weight=1.0 n_species={count} species_Z={{{elements}}} "
        f"n_Z={count} Z={{{elements}}}"
    )
    boxed = atoms.copy()
    boxed.set_cell([25.0] * 3)
    boxed.pbc = True
    return np.array(program.calc_descriptor(boxed)[0])


@pytest.mark.filterwarnings("ignore")  # of the other programs' own
@pytest.mark.parametrize("symbols", [["Si"], ["Si", "O"]], ids=["one species", "two species"])
@pytest.mark.parametrize(
    ("package", "other", "tolerance"),
    [
        ("dscribe", by_dscribe, 3e-6),
        ("featomic", by_featomic, 3e-6),
        ("quippy", by_quippy, 2e-5),
    ],
)
def test_kernels_are_those_of_other_programs(
    package: str, other: Any, tolerance: float, symbols: list[str]
) -> None:
    """Their conventions: other radial functions, so that only p . p' of a complete basis compares;
    other cutoff functions, so that no neighbour stands where they are not 1."""
    pytest.importorskip(package, reason=f"{package} is not installed")
    cutoff, sigma = 5.0, 0.5
    one, two = (cluster(seed, symbols, 2.4) for seed in (3, 4))
    numbers = sorted({int(z) for z in one.numbers})
    found = [np.asarray(other(atoms, numbers, cutoff, sigma)) for atoms in (one, two)]
    theirs = found[0] @ found[1] / np.linalg.norm(found[0]) / np.linalg.norm(found[1])
    basis = RadialBasis(cutoff=cutoff, cutoff_width=1.0, n_max=16, l_max=12, atom_sigma=sigma)
    assert kernel(basis, one, two, {}) == pytest.approx(theirs, abs=tolerance)


# ----- brute force -----


def complex_harmonic(order: int, m: int, vector: Array) -> complex:
    polar = np.arctan2(np.hypot(vector[0], vector[1]), vector[2])
    azimuth = np.arctan2(vector[1], vector[0])
    if hasattr(scipy.special, "sph_harm_y"):
        return complex(scipy.special.sph_harm_y(order, m, polar, azimuth))
    return complex(scipy.special.sph_harm(m, order, azimuth, polar))  # before scipy 1.15


def brute_spectrum(term: SoapTerm, atoms: Atoms, i: int) -> Array:
    """From the definition, with complex harmonics and loops over neighbours."""
    basis, column = term.basis, {z: n for n, z in enumerate(term.numbers)}
    c = np.zeros(((basis.l_max + 1) ** 2, len(term.weights), basis.n_max), dtype=complex)
    c[0] += np.outer(term.weights[:, column[int(atoms.numbers[i])]], term.own)
    intervals = len(term.radial) - 3
    for j, vector in reference.neighbors_of(atoms, i, basis.cutoff):
        m, values, _ = reference.basis(float(np.linalg.norm(vector)), intervals, basis.cutoff)
        radial = np.tensordot(values, term.radial[m : m + 4], 1)
        weights = term.weights[:, column[int(atoms.numbers[j])]]
        for order in range(basis.l_max + 1):
            for k in range(-order, order + 1):
                angular = complex_harmonic(order, k, vector).conjugate()
                c[order**2 + order + k] += angular * np.outer(weights, radial[order])
    flat = c.reshape(len(c), -1)
    p: list[float] = []
    for order in range(basis.l_max + 1):
        block = flat[order**2 : (order + 1) ** 2]
        square = (block.conj().T @ block).real / np.sqrt(2 * order + 1)
        p += [
            square[a, b] * (1.0 if a == b else np.sqrt(2.0))
            for a in range(len(square))
            for b in range(a, len(square))
        ]
    return np.asarray(np.asarray(p) / np.linalg.norm(p))


WEIGHTS: dict[str, tuple[int, Array | None]] = {
    "1 species": (1, None),
    "2 species": (2, None),
    "4 species": (4, None),
    "2 species, 1 channel": (2, np.array([[0.7, -0.4]])),
    "2 species, 3 channels": (2, np.array([[0.7, -0.4], [0.2, 0.5], [1.0, 0.3]])),
    "4 species, 2 channels": (4, np.random.default_rng(0).uniform(-1.0, 1.0, (2, 4))),
    "4 species, similar": (
        4,
        species_weights((1, 6, 8, 14), {(1, 6): 0.2, (6, 14): 0.7, (8, 14): -0.1}),
    ),
}


@cache
def weighted_term(case: str, zeta: int = 2, points: int = 0) -> SoapTerm:
    count, weights = WEIGHTS[case]
    numbers = [SYMBOLS.index(symbol) for symbol in SPECIES[count]]
    return make_term(numbers, zeta, weights, points=points, seed=5)


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("case", list(WEIGHTS))
def test_spectra_equal_brute_force(name: str, case: str) -> None:
    """To rounding: 1e-12 of numbers up to one."""
    term = weighted_term(case)
    atoms = structures.get(name, SPECIES[WEIGHTS[case][0]])
    found = spectra(term, atoms)
    expected = np.array([brute_spectrum(term, atoms, i) for i in range(len(atoms))])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("n_max", "l_max"), [(1, 0), (2, 1), (3, 0), (9, 2), (8, 7), (4, 12)])
def test_bases_of_any_size_equal_brute_force(n_max: int, l_max: int) -> None:
    """Also those that fill no whole vector of the processor, or several."""
    basis = RadialBasis(
        cutoff=3.8, cutoff_width=3.8, n_max=n_max, l_max=l_max, atom_sigma=0.4, scaling_exponent=3.0
    )
    term = make_term([8, 14], basis=basis)
    atoms = structures.get("two species", ["O", "Si"])
    expected = np.array([brute_spectrum(term, atoms, i) for i in range(3)])
    np.testing.assert_allclose(spectra(term, atoms)[:3], expected, rtol=0, atol=1e-12)


def test_similarities_are_products_of_weights() -> None:
    numbers = (1, 6, 8, 14)
    kappa = {(1, 6): 0.2, (6, 14): 0.7, (8, 14): -0.1}
    matrix = np.eye(4)
    for (a, b), value in kappa.items():
        i, j = numbers.index(a), numbers.index(b)
        matrix[i, j] = matrix[j, i] = value
    weights = species_weights(numbers, kappa)
    np.testing.assert_allclose(weights.T @ weights, matrix, rtol=0, atol=1e-14)
    assert len(species_weights((8, 14), {(8, 14): 1.0})) == 1
    with pytest.raises(ValueError, match="kappa is not positive semi-definite"):
        species_weights((1, 8, 14), {(1, 8): 0.9, (8, 14): 0.9, (1, 14): -0.9})


def test_species_that_are_the_same_have_the_spectra_of_one() -> None:
    """kappa 1: oxygen counts as silicon."""
    same = make_term([8, 14], weights=species_weights((8, 14), {(8, 14): 1.0}))
    atoms = structures.get("triclinic cell", ["O", "Si"])
    silicon = atoms.copy()
    silicon.numbers[:] = 14
    expected = spectra(make_term([14]), silicon)
    np.testing.assert_allclose(spectra(same, atoms), expected, rtol=0, atol=1e-12)


def test_radial_functions_are_orthonormal_and_their_splines_close() -> None:
    basis = RadialBasis(cutoff=5.0, cutoff_width=1.0, n_max=10, l_max=6, atom_sigma=0.5)
    nodes, weights = scipy.special.roots_legendre(200)
    x, weights = 4.5 * (nodes + 1.0), 4.5 * weights
    g = radial_basis.orthonormal_functions(basis, x, weights)
    np.testing.assert_allclose(
        np.einsum("x,xm,xn->mn", weights * x**2, g, g), np.eye(10), rtol=0, atol=1e-12
    )
    radial, _ = tabulate(basis)
    r = np.linspace(0.8, 5.0, 400, endpoint=False)
    values = radial_basis.radial_functions(basis, r) * cutoff_values(basis, r)[:, None, None]
    found = []
    for distance in r:
        m, spline, _ = reference.basis(float(distance), len(radial) - 3, 5.0)
        found.append(np.tensordot(spline, radial[m : m + 4], 1))
    assert np.abs(np.array(found) - values).max() < 1e-4 * np.abs(values).max()


LEVEL = RadialBasis(
    cutoff=4.2, cutoff_width=1.3, n_max=4, l_max=3, atom_sigma=0.45, fading=1.4, faded=1.0
)


def test_distances_level_off_below_the_data() -> None:
    """From `fading` on they are themselves, below `faded` one distance, never falling between."""
    r = np.linspace(0.0, 2.0, 2001)
    seen = radial_basis.levelled(LEVEL, r)
    np.testing.assert_array_equal(seen[r >= 1.4], r[r >= 1.4])
    np.testing.assert_allclose(seen[r <= 1.0], seen[0], rtol=0, atol=1e-14)
    assert 1.0 < seen[0] < 1.4
    slopes = np.diff(seen) / np.diff(r)
    assert slopes.min() > -1e-12
    assert slopes.max() < 1.0 + 1e-9
    assert np.abs(np.diff(slopes)).max() < 0.02  # no kink
    plain = replace(LEVEL, fading=0.0, faded=0.0)
    np.testing.assert_array_equal(radial_basis.levelled(plain, r), r)


def test_levelled_spectra_are_those_of_a_larger_distance() -> None:
    """Beyond `fading` nothing changes; a dimer below `faded` looks as one at the levelled distance."""
    level, plain = (
        make_term([14], basis=basis) for basis in (LEVEL, replace(LEVEL, fading=0.0, faded=0.0))
    )

    def dimer(term: SoapTerm, r: float) -> Array:
        return spectra(term, Atoms("Si2", [[0.0, 0, 0], [0.36 * r, 0.48 * r, 0.8 * r]]))

    seen = float(radial_basis.levelled(LEVEL, np.array([0.5]))[0])
    for r in (0.3, 0.6, 0.9):
        np.testing.assert_allclose(dimer(level, r), dimer(plain, seen), rtol=0, atol=1e-4)
    assert np.abs(dimer(plain, 0.6) - dimer(plain, seen)).max() > 1e-2
    for r in (1.9, 2.5, 4.0):
        np.testing.assert_allclose(dimer(level, r), dimer(plain, r), rtol=0, atol=1e-4)


# ----- rows of the process -----


def brute_energy(term: SoapTerm, atoms: Atoms) -> Array:
    """The energy row: sum over centres of (p . p_s)^zeta minus that of an isolated atom."""
    row = []
    for block in term.blocks:
        total = np.zeros(block.size)
        for i in np.flatnonzero(atoms.numbers == block.species[0]).tolist():
            free = Atoms(numbers=[block.species[0]], positions=[[0.0, 0.0, 0.0]])
            total += (block.points @ brute_spectrum(term, atoms, i)) ** term.zeta
            total -= (block.points @ brute_spectrum(term, free, 0)) ** term.zeta
        row.append(total)
    return np.concatenate(row)


@pytest.mark.parametrize("zeta", [1, 2, 3, 4])
@pytest.mark.parametrize("case", ["1 species", "2 species", "4 species, 2 channels"])
@pytest.mark.parametrize("name", ["cell smaller than the cutoff", "molecule", "wire"])
def test_energy_row_is_the_sum_of_kernels(name: str, case: str, zeta: int) -> None:
    term = weighted_term(case, zeta, points=3)
    atoms = structures.get(name, SPECIES[WEIGHTS[case][0]])
    found = rows(atoms, [term])
    expected = brute_energy(term, atoms)
    assert np.abs(expected).max() > 1e-2
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-11)
    only = frame_rows(as_frame(atoms), [term], derivatives=False)
    np.testing.assert_array_equal(only[0], found[0])
    assert not only[1:].any()


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("cell smaller than the cutoff", "1 species"),
        ("needle cell", "2 species"),
        ("molecule", "4 species"),
        ("wire", "2 species, 3 channels"),
        ("two species", "4 species, 2 channels"),
        ("slab", "4 species, similar"),
    ],
)
@pytest.mark.parametrize("zeta", [1, 3])
def test_force_and_strain_rows_are_derivatives_of_the_energy_row(
    name: str, case: str, zeta: int
) -> None:
    """The error of a central difference is h² E'''/6: it falls to a quarter when h halves.

    Third derivatives of cubic splines jump at their knots, so the quarter is not exact.
    """
    term = weighted_term(case, zeta, points=2)
    atoms = structures.get(name, SPECIES[WEIGHTS[case][0]])
    coarse, fine = (difference_errors(atoms, [term], h) for h in (4e-3, 2e-3))
    largest = np.abs(rows(atoms, [term])[1:]).max()
    assert largest > 1e-2
    for what, error, half in zip(("forces", "strain"), coarse, fine, strict=True):
        worst, better = float(np.abs(error).max()), float(np.abs(half).max())
        assert better < 1e-3 * max(1.0, largest), (what, better)
        if worst > 1e-9:  # else nothing but rounding, as for the forces in a Bravais lattice
            assert 2.5 < worst / better < 6.0, (what, worst, better)


def test_rows_do_not_depend_on_how_many_centres_are_done_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    term = weighted_term("2 species", 3, points=4)
    atoms = structures.get("triclinic cell", SPECIES[2])
    expected = rows(atoms, [term])
    monkeypatch.setattr("forcemap.fitter.terms.environments.MOST_NUMBERS", 1)
    np.testing.assert_allclose(rows(atoms, [term]), expected, rtol=0, atol=1e-13)


def test_elements_that_a_frame_does_not_have_give_zeros() -> None:
    term = weighted_term("4 species", 2, points=3)
    atoms = structures.get("cell smaller than the cutoff", ["Si"])
    found = rows(atoms, [term])
    assert not found[:, :9].any()
    assert found[:, 9:].any()


ROWS_OF_ALL = """
import sys
import numpy as np
sys.path[:0] = sys.argv[2:]
import structures
import test_spectra
from forcemap.potentials import _core
found = {"instruction_set": np.array(_core.instruction_set())}
for case in ("2 species", "4 species, 2 channels"):
    term = test_spectra.weighted_term(case, 3, points=4)
    for name in test_spectra.PLACES:
        atoms = structures.get(name, test_spectra.SPECIES[test_spectra.WEIGHTS[case][0]])
        found[f"{case}, {name}"] = test_spectra.rows(atoms, [term])
np.savez(sys.argv[1], **found)
"""


def test_rows_are_the_same_with_every_instruction_set(tmp_path: Path) -> None:
    """To rounding; the processor decides how many there are, `generic` there is always."""
    here = Path(__file__).parent
    answers = {}
    for asked in ("generic", "avx2", "avx512"):
        out = tmp_path / f"{asked}.npz"
        subprocess.run(
            [sys.executable, "-c", ROWS_OF_ALL, out, here, here.parents[2]],
            env={**os.environ, "FORCEMAP_SIMD": asked, "OPENBLAS_NUM_THREADS": "1"},
            check=True,
            timeout=120,
        )
        with np.load(out) as archive:
            answers[asked] = {key: archive[key] for key in archive}
    assert answers["generic"]["instruction_set"] == "generic"
    for asked, answer in answers.items():
        for name in set(answer) - {"instruction_set"}:
            expected = answers["generic"][name]
            scale = np.abs(expected).max()
            assert scale > 0.1
            np.testing.assert_allclose(
                answer[name], expected, rtol=0, atol=1e-13 * scale, err_msg=f"{asked}, {name}"
            )


# ----- invariances -----


@pytest.fixture(params=["molecule", "triclinic cell", "slab", "two species"])
def atoms(request: pytest.FixtureRequest) -> Atoms:
    return structures.get(request.param, SPECIES[2])


@pytest.fixture
def terms() -> list[SoapTerm]:
    """Two resolutions and zetas; plain species and channels."""
    return [
        weighted_term("2 species", 2, points=3),
        weighted_term("2 species, 3 channels", 3, points=2),
    ]


@pytest.mark.parametrize("mirror", [False, True], ids=["rotation", "reflection"])
def test_rotations_and_reflections_turn_forces_and_strain(
    atoms: Atoms, terms: list[SoapTerm], mirror: bool
) -> None:
    turned = check_rotation(atoms, terms, 1e-11, mirror=mirror)
    for term in terms:
        np.testing.assert_allclose(spectra(term, turned), spectra(term, atoms), rtol=0, atol=1e-12)


def test_order_of_atoms_changes_the_order_of_forces_only(
    atoms: Atoms, terms: list[SoapTerm]
) -> None:
    check_order_of_atoms(atoms, terms, 1e-11)


def test_translation_and_wrapping_change_nothing(atoms: Atoms, terms: list[SoapTerm]) -> None:
    check_translation(atoms, terms)


@pytest.mark.parametrize("name", ["triclinic cell", "slab", "wire", "cell smaller than the cutoff"])
def test_supercell_repeats_forces_and_multiplies_the_energy(
    name: str, terms: list[SoapTerm]
) -> None:
    check_supercell(structures.get(name, SPECIES[2]), terms, 1e-11)


def test_forces_sum_to_zero(atoms: Atoms, terms: list[SoapTerm]) -> None:
    check_sum_of_forces(atoms, terms, 1e-12)


# ----- maps -----


def mapped(term: SoapTerm, weights: Array, frames: Sequence[Frame], part: float = 1.0) -> Any:
    """An evaluator of the term's map with weights (points,) in eV; all e0 are zero."""
    symbols = tuple(SYMBOLS[z] for z in term.numbers)
    function = functions_of(term, forms_of(term, weights, frames), part)
    data = PotentialData(symbols, dict.fromkeys(symbols, 0.0), (function,))
    return as_potential(data).evaluator(skin=0.0)


def answers(evaluator: Any, frame: Frame) -> Array:
    """Energy, forces and strain derivatives as a frame's rows have them."""
    found = evaluator.compute(frame.positions, frame.numbers, frame.cell, frame.pbc)
    strain = [-found.virial[a, b] for a, b in VOIGT]
    return np.concatenate([[found.energy], found.forces.ravel(), strain])


@pytest.mark.parametrize("zeta", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "case", ["1 species", "2 species", "2 species, 3 channels", "4 species, 2 channels"]
)
def test_maps_are_exact(case: str, zeta: int) -> None:
    """1e-9 of the sparse sum, whatever the weights of the points: here both signs, of random size."""
    term = weighted_term(case, zeta, points=60)
    frames = [as_frame(structures.get(name, SPECIES[WEIGHTS[case][0]])) for name in PLACES]
    weights = np.random.default_rng(zeta).normal(0.0, 3.0, term.size)
    evaluator = mapped(term, weights, frames)
    for frame, name in zip(frames, PLACES, strict=True):
        expected = frame_rows(frame, [term]) @ weights
        found = answers(evaluator, frame)
        assert found[0] == pytest.approx(expected[0], rel=1e-9), name
        np.testing.assert_allclose(
            found, expected, rtol=0, atol=1e-9 * np.abs(expected).max(), err_msg=name
        )


def test_exact_maps_hold_where_there_were_no_data() -> None:
    """A quadratic form is the same function everywhere, not only near the frames it was ordered by."""
    term = weighted_term("2 species", 2, points=60)
    frames = [as_frame(structures.get("two species", SPECIES[2]))]
    weights = np.random.default_rng(1).normal(0.0, 3.0, term.size)
    evaluator = mapped(term, weights, frames)
    for name in PLACES:
        frame = as_frame(structures.get(name, SPECIES[2]))
        expected = frame_rows(frame, [term]) @ weights
        np.testing.assert_allclose(
            answers(evaluator, frame), expected, rtol=0, atol=1e-8 * np.abs(expected).max()
        )


def test_leading_vectors_of_a_quadratic_form_do_most() -> None:
    """The error falls with the part that is kept, and vanishes with all."""
    term = weighted_term("1 species", 2, points=60)
    frames = [as_frame(structures.get(name, SPECIES[1])) for name in PLACES]
    weights = np.random.default_rng(2).normal(0.0, 3.0, term.size)
    expected = [frame_rows(frame, [term]) @ weights for frame in frames]
    errors = []
    for part in (0.1, 0.25, 0.5, 1.0):
        evaluator = mapped(term, weights, frames, part)
        errors.append(
            max(
                float(np.abs(answers(evaluator, f) - e).max())
                for f, e in zip(frames, expected, strict=True)
            )
        )
    assert errors[0] > 3.0 * errors[1] > 9.0 * errors[2] > 1e6 * errors[3], errors


# ----- the cutoff, isolated atoms, short distances -----


@pytest.fixture(
    scope="module",
    params=product((1, 2, 4), (0.4, 1.3)),
    ids=lambda p: f"zeta {p[0]}, width {p[1]}",
)
def smooth(request: pytest.FixtureRequest) -> tuple[SoapTerm, Any]:
    """A term with large energies and an evaluator of its map."""
    zeta, width = request.param
    basis = RadialBasis(cutoff=4.2, cutoff_width=width, n_max=4, l_max=3, atom_sigma=0.45)
    term = make_term([8, 14], zeta, basis=basis, points=20, seed=3)
    weights = np.random.default_rng(zeta).normal(0.0, 1.0, term.size)
    frames = [as_frame(structures.get("triclinic cell", SPECIES[2]))]
    return term, mapped(term, weights, frames)


def test_energy_and_forces_are_continuous_at_the_cutoff(smooth: tuple[SoapTerm, Any]) -> None:
    """An atom that comes in, among others: both to 1e-8 (eV, eV/Å) 1e-9 Å inside; exact beyond."""
    term, evaluator = smooth
    others = np.array([[0.0, 0, 0], [2.1, 0.4, 0], [-0.8, 1.9, 0.7]])
    direction = np.array([-0.36, -0.48, -0.8])

    def at(r: float) -> Any:
        positions = np.vstack([others, r * direction])
        return evaluator.compute(positions, [14, 14, 8, 8], np.zeros((3, 3)), False)

    without = evaluator.compute(others, [14, 14, 8], np.zeros((3, 3)), False)
    cutoff = term.cutoff
    beyond = at(cutoff + 1e-9)
    assert beyond.energies[0] == without.energies[0]
    assert not beyond.forces[3].any()
    inside = at(cutoff - 1e-9)
    assert abs(inside.energy - beyond.energy) < 1e-8
    np.testing.assert_allclose(inside.forces, beyond.forces, rtol=0, atol=1e-8)
    # Further in there is something that could have jumped.
    assert abs(at(cutoff - 0.5 * term.basis.cutoff_width).energy - beyond.energy) > 1e-4
    steps = np.abs(np.diff([at(cutoff - x).energy for x in np.linspace(1e-3, -1e-3, 21)]))
    assert steps.max() < 1e-6


def test_isolated_atoms_have_no_energy(smooth: tuple[SoapTerm, Any]) -> None:
    """Exactly: each alone, and two that just do not see each other."""
    term, evaluator = smooth
    for z in (8, 14):
        for cell, pbc in ((np.zeros((3, 3)), False), (np.eye(3) * 9.0, True)):
            found = evaluator.compute([[0.3, 0.2, 0.1]], [z], cell, pbc)
            assert found.energy == 0.0
            assert not found.forces.any()
            assert not found.virial.any()
    pair = [[0.0, 0.0, 0.0], [0.0, 0.0, term.cutoff]]
    found = evaluator.compute(pair, [8, 14], np.zeros((3, 3)), False)
    assert found.energy == 0.0
    assert not found.forces.any()
    row = rows(Atoms("OSi", pair), [term])
    np.testing.assert_allclose(row, 0.0, atol=1e-12)


def test_short_distances_have_finite_answers(smooth: tuple[SoapTerm, Any]) -> None:
    """Bounded too: the density of two atoms in one place is a density like any other."""
    term, evaluator = smooth
    bound = 1.0 + 2 * term.size
    for axis in (np.array([0.0, 0.0, 1.0]), np.array([0.6, 0.64, 0.48])):
        for r in (1.0, 0.3, 1e-2, 1e-4, 1e-6, 1e-9, 1e-12, 1e-40, 1e-160):
            positions = np.vstack([np.outer([0.0, r], axis), [[1.6, 0.9, -0.4]]])
            found = evaluator.compute(positions, [14, 8, 14], np.zeros((3, 3)), False)
            assert np.abs(found.energies).max() < bound
            assert np.abs(found.forces).max() < 100 * bound, (r, found.forces)
            assert np.isfinite(found.virial).all()
