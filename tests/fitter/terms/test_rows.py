"""The process before it is mapped: its rows, against brute force, differences and invariances.

A row holds the covariance of a frame's energy (or of its derivative by a position or a strain) with
every sparse point: energies are sums over local energies, e_i = sum_j f_c(r_ij) V(r_ij) over all
neighbours j (so a pair counts twice) plus sum_{j<k} f_c(r_ij) f_c(r_ik) V(r_ij, r_ik, r_jk).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, permutations

import numpy as np
import pytest
import reference
import structures
from ase import Atoms
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.terms.base import Block, Term
from forcemap.fitter.terms.constants import ConstantsTerm
from forcemap.fitter.terms.distances import DistanceTerm
from forcemap.fitter.terms.environments import Comparison
from forcemap.fitter.terms.three_body import ThreeBodyTerm
from forcemap.fitter.terms.two_body import TwoBodyTerm
from forcemap.potentials import ForcemapError
from nbody_terms import COMPARISONS, random_nbody
from numpy.typing import NDArray
from process_rows import (
    check_order_of_atoms,
    check_rotation,
    check_sum_of_forces,
    check_supercell,
    check_translation,
    difference_errors,
    rows,
    split,
)
from structures import as_frame

Array = NDArray[np.float64]

CUTOFF = {"two_body": 4.0, "three_body": 3.7}
KERNELS = ("squared_exponential", "matern52")


def make_term(
    kind: str,
    numbers: Sequence[int],
    seed: int = 0,
    kernel: str = "squared_exponential",
    symmetry: str = "central",
    cutoff_function: str = "quintic",
    points: int = 3,
) -> DistanceTerm:
    """A term with `points` random sparse points for every combination of species."""
    rng = np.random.default_rng(seed)
    cutoff = CUTOFF[kind]
    shape = (cutoff, 0.6 * cutoff, kernel, 1.1)
    term: DistanceTerm = TwoBodyTerm(*shape, cutoff_function=cutoff_function)
    if kind == "three_body":
        term = ThreeBodyTerm(*shape, cutoff_function=cutoff_function, symmetry=symmetry)
    return term.with_blocks(
        [
            Block(species, rng.uniform(1.5, cutoff, (points, term.dimension)))
            for species in term.combinations(sorted(set(numbers)))
        ]
    )


def kernel(term: DistanceTerm, a: Array, b: Array) -> float:
    d = float(np.linalg.norm(np.subtract(a, b))) / term.lengthscale
    if term.kernel_name == "squared_exponential":
        return float(np.exp(-(d**2) / 2))
    u = np.sqrt(5) * d
    return float((1 + u + u**2 / 3) * np.exp(-u))


def cutoff_factor(term: DistanceTerm, r: float) -> float:
    x = np.clip((r - term.cutoff + term.cutoff_width) / term.cutoff_width, 0, 1)
    if term.cutoff_function == "cosine":
        return float((1 + np.cos(np.pi * x)) / 2)
    return float(1 - 10 * x**3 + 15 * x**4 - 6 * x**5)


def triplet_covariance(
    term: ThreeBodyTerm, block: Block, point: Array, z: Sequence[int], q: Array
) -> float:
    """k summed over the orders of the sparse point's atoms that put its elements onto z_i z_j z_k."""
    legs = {frozenset((0, 1)): point[0], frozenset((0, 2)): point[1], frozenset((1, 2)): point[2]}
    total = 0.0
    for p in permutations(range(3)):
        if term.symmetry == "central" and p[0] != 0:
            continue
        if tuple(block.species[n] for n in p) == tuple(z):
            image = [legs[frozenset((p[0], p[1]))], legs[frozenset((p[0], p[2]))]]
            image.append(legs[frozenset((p[1], p[2]))])
            total += kernel(term, q, np.array(image))
    return total


def brute_energy(term: DistanceTerm, atoms: Atoms) -> Array:
    """The energy row by loops over atoms, images and pairs of neighbours."""
    row = []
    numbers = atoms.numbers
    around = [reference.neighbors_of(atoms, i, term.cutoff) for i in range(len(atoms))]
    for block in term.blocks:
        for point in block.points:
            total = 0.0
            for i, neighbors in enumerate(around):
                if isinstance(term, TwoBodyTerm):
                    for j, vector in neighbors:
                        if sorted((numbers[i], numbers[j])) == sorted(block.species):
                            r = float(np.linalg.norm(vector))
                            total += cutoff_factor(term, r) * kernel(term, np.array([r]), point)
                    continue
                assert isinstance(term, ThreeBodyTerm)
                for (j, r_ij), (k, r_ik) in combinations(neighbors, 2):
                    z = (numbers[i], numbers[j], numbers[k])
                    if sorted(z) != sorted(block.species):
                        continue
                    q = np.linalg.norm([r_ij, r_ik, r_ik - r_ij], axis=1)
                    fc = cutoff_factor(term, q[0]) * cutoff_factor(term, q[1])
                    total += fc * triplet_covariance(term, block, point, z, q)
            row.append(total)
    return np.array(row)


CASES = [
    pytest.param(kind, symmetry, kernel, id=f"{kind}-{symmetry}-{kernel}")
    for kind, symmetry in (
        ("two_body", "central"),
        ("three_body", "central"),
        ("three_body", "full"),
    )
    for kernel in KERNELS
]


@pytest.mark.parametrize(("kind", "symmetry", "kernel"), CASES)
@pytest.mark.parametrize(
    ("name", "species"),
    [
        ("cell smaller than the cutoff", ["Si"]),
        ("wire", ["O", "Si"]),
        ("molecule", ["H", "O", "Si"]),
        ("triclinic cell", ["H", "O", "Si"]),
    ],
)
def test_energy_row_is_the_sum_of_local_kernels(
    kind: str, symmetry: str, kernel: str, name: str, species: list[str]
) -> None:
    """Tolerance: rounding of sums over some thousand terms of order one."""
    atoms = structures.get(name, species)
    term = make_term(kind, atoms.numbers, 1, kernel, symmetry, points=2)
    expected = brute_energy(term, atoms)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(rows(atoms, [term])[0], expected, rtol=1e-12, atol=1e-12)


def test_energy_row_with_the_cosine_cutoff() -> None:
    atoms = structures.get("two species")
    for kind in CUTOFF:
        term = make_term(kind, atoms.numbers, 2, cutoff_function="cosine", points=1)
        np.testing.assert_allclose(
            rows(atoms, [term])[0], brute_energy(term, atoms), rtol=1e-12, atol=1e-12
        )


def test_full_symmetry_of_one_species_is_the_sum_over_six_orders() -> None:
    """All of a sparse triangle's orders give the same row; a centre's own do not."""
    atoms = structures.get("cell smaller than the cutoff")
    triangle = np.array([2.0, 2.6, 3.0])
    spread = {}
    for symmetry in ("full", "central"):
        term = make_term("three_body", [14], symmetry=symmetry)
        found = [
            rows(atoms, [term.with_blocks([Block((14, 14, 14), triangle[None, list(p)])])])
            for p in permutations(range(3))
        ]
        spread[symmetry] = max(float(np.abs(f - found[0]).max()) for f in found)
    assert spread["full"] < 1e-12
    assert spread["central"] > 1e-2


# ----- forces and strain -----


@pytest.mark.parametrize(("kind", "symmetry", "kernel"), CASES)
@pytest.mark.parametrize(
    ("name", "species"),
    [
        ("cell smaller than the cutoff", ["Si"]),
        ("needle cell", ["O", "Si"]),
        ("molecule", ["H", "O", "Si"]),
        ("wire", ["O", "Si"]),
    ],
)
def test_force_and_strain_rows_are_derivatives_of_the_energy_row(
    kind: str, symmetry: str, kernel: str, name: str, species: list[str]
) -> None:
    """The error of a central difference is h² E'''/6: it falls to a quarter when h halves.

    Energies are continuous with two derivatives only at the cutoff, so the quarter is not exact where
    atoms cross it.
    """
    atoms = structures.get(name, species)
    term = make_term(kind, atoms.numbers, 3, kernel, symmetry, points=2)
    coarse, fine = (difference_errors(atoms, [term], h) for h in (4e-3, 2e-3))
    for what, error, half in zip(("forces", "strain"), coarse, fine, strict=True):
        worst, better = float(np.abs(error).max()), float(np.abs(half).max())
        assert better < (1e-3 if what == "forces" else 5e-3), (what, better)
        if worst > 1e-9:  # else nothing but rounding, as for the forces in a Bravais lattice
            assert 3.3 < worst / better < 4.7, (what, worst, better)


@pytest.mark.parametrize("comparison", COMPARISONS, ids=str)
@pytest.mark.parametrize("name", ["cell smaller than the cutoff", "needle cell", "molecule"])
def test_rows_of_environments_are_derivatives_of_the_energy_row(
    comparison: Comparison, name: str
) -> None:
    """As above, in units of the largest derivative: powers of sums over triplets are large."""
    atoms = structures.get(name)
    term = random_nbody(atoms.numbers, comparison, 4)
    size = np.abs(rows(atoms, [term])[1:]).max()
    assert size > 1e-3
    coarse, fine = (difference_errors(atoms, [term], h) for h in (2e-3, 1e-3))
    for error, half in zip(coarse, fine, strict=True):
        worst, better = float(np.abs(error).max()), float(np.abs(half).max())
        assert better < 1e-4 * size, (better, size)
        if worst > 1e-8 * size:
            assert 3.3 < worst / better < 4.7, (worst, better)


def test_forces_of_a_lattice_of_one_atom_vanish() -> None:
    atoms = structures.get("cell smaller than the cutoff")
    terms = [make_term(kind, [14]) for kind in CUTOFF]
    found = rows(atoms, terms)
    np.testing.assert_allclose(found[1:4], 0.0, atol=1e-12)
    assert np.abs(found[4:]).max() > 0.1


# ----- invariances -----


def all_terms(atoms: Atoms) -> list[Term]:
    return [
        make_term("two_body", atoms.numbers, 4),
        make_term("three_body", atoms.numbers, 5),
        make_term("three_body", atoms.numbers, 6, kernel="matern52", symmetry="full"),
        ConstantsTerm.of(sorted({int(z) for z in atoms.numbers})),
        *(random_nbody(atoms.numbers, c, 7) for c in COMPARISONS),
    ]


@pytest.fixture(params=["molecule", "triclinic cell", "slab", "two species"])
def atoms(request: pytest.FixtureRequest) -> Atoms:
    return structures.get(request.param)


def test_translation_and_wrapping_change_nothing(atoms: Atoms) -> None:
    check_translation(atoms, all_terms(atoms))


def test_rotation_turns_forces_and_strain(atoms: Atoms) -> None:
    check_rotation(atoms, all_terms(atoms), 1e-10)


def test_order_of_atoms_changes_the_order_of_forces_only(atoms: Atoms) -> None:
    check_order_of_atoms(atoms, all_terms(atoms), 1e-10)


@pytest.mark.parametrize("name", ["triclinic cell", "slab", "wire"])
def test_supercell_repeats_forces_and_multiplies_the_energy(name: str) -> None:
    atoms = structures.get(name)
    check_supercell(atoms, all_terms(atoms), 1e-9)


def test_forces_sum_to_zero(atoms: Atoms) -> None:
    check_sum_of_forces(atoms, all_terms(atoms), 1e-11)


# ----- environments -----


def test_descriptors_are_those_of_brute_force() -> None:
    """Each triplet once. Each pair once, but that of an atom and its own image from both sides."""
    atoms = structures.get("wire", ["O", "Si"])
    env = Structure(as_frame(atoms), 4.3).neighbors
    z = atoms.numbers
    around = [reference.neighbors_of(atoms, i, 4.3) for i in range(len(atoms))]
    for a, b in ((8, 8), (8, 14), (14, 14)):
        expected = [
            np.linalg.norm(vector)
            for i, neighbors in enumerate(around)
            for j, vector in neighbors
            if z[i] == a and z[j] == b and (a != b or i <= j)
        ]
        assert expected
        np.testing.assert_allclose(np.sort(env.distances(a, b, 4.3)), np.sort(expected), atol=1e-12)
        for c in (8, 14):
            triangles: list[list[float]] = []
            for i in np.flatnonzero(z == c):
                for (j, r_ij), (k, r_ik) in combinations(around[i], 2):
                    if (z[j], z[k]) == (b, a) and a != b:
                        j, k, r_ij, r_ik = k, j, r_ik, r_ij
                    if (z[j], z[k]) == (a, b):
                        q = np.linalg.norm([r_ij, r_ik, r_ik - r_ij], axis=1)
                        legs = np.sort(q[:2]) if a == b else q[:2]
                        triangles.append([*legs, q[2]])
            found = env.triplets(c, a, b, 4.3)
            if a == b:
                found[:, :2] = np.sort(found[:, :2], axis=1)
            assert len(found) == env.triplet_count(c, a, b, 4.3) == len(triangles)
            by_row = np.array(sorted(map(tuple, np.round(found, 9).tolist())))
            expected_rows = np.array(sorted(map(tuple, np.round(triangles, 9).tolist())))
            np.testing.assert_allclose(by_row, expected_rows, atol=2e-9)


@pytest.mark.parametrize("name", ["molecule", "three species"])
def test_triangles_are_those_about_any_atom_once(name: str) -> None:
    """Of a cluster, by all triples of its atoms: two sides below the cutoff, whoever is between."""
    atoms = structures.get(name)
    atoms.pbc = False
    cutoff = 3.0
    r, z = atoms.get_all_distances(), atoms.numbers
    expected: dict[tuple[int, ...], list[list[float]]] = {}
    for triple in combinations(range(len(atoms)), 3):
        i, j, k = sorted(triple, key=lambda n: z[n])
        sides = [r[i, j], r[i, k], r[j, k]]
        if sum(side < cutoff for side in sides) >= 2:
            # Exchanging atoms of one species leaves the triangle what it is.
            orders = [o for o in permutations((i, j, k)) if [*z[list(o)]] == [*z[[i, j, k]]]]
            sides = min([r[a, b], r[a, c], r[b, c]] for a, b, c in orders)
            expected.setdefault((z[i], z[j], z[k]), []).append(sides)
    assert len(expected) >= 4
    term = ThreeBodyTerm(cutoff, 1.0, "squared_exponential", 1.1, symmetry="full")
    found = term.candidates(Structure(as_frame(atoms), cutoff))
    assert set(found) == set(expected)
    for species, sides in found.items():
        images = next(v for v in term.views(Block(species, sides)) if v.species == species).images
        ordered = sorted(min(map(tuple, np.round(triangle, 9).tolist())) for triangle in images)
        np.testing.assert_allclose(ordered, sorted(expected[species]), atol=2e-9)


def test_atoms_in_one_place_are_named() -> None:
    frame = as_frame(Atoms("Si3", [[0, 0, 0], [2.0, 0, 0], [2.0, 0, 0]]))
    with pytest.raises(ForcemapError, match="atoms 1 and 2 are in the same place"):
        Structure(frame, 3.0)


def test_positions_that_are_not_finite_are_refused() -> None:
    frame = as_frame(Atoms("Si2", [[0, 0, 0], [np.nan, 0, 0]]))
    with pytest.raises(ForcemapError, match="position of atom 1 is not finite"):
        Structure(frame, 3.0)


# ----- an independent program -----


def test_two_body_rows_equal_those_of_quip() -> None:
    """QUIP's distance_2b with the same squared exponential and its cosine cutoff.

    A QUIP descriptor is a pair, met from both of its atoms; so is a pair here, where e_i sums over
    all neighbours j. Tolerance: both sides are analytic, so only sums over pairs round.
    """
    descriptors = pytest.importorskip(
        "quippy.descriptors", reason="quippy, an independent program, is not installed"
    )
    cutoff, width, lengthscale = 4.0, 1.3, 0.9
    points = np.array([1.9, 2.7, 3.6])
    block = Block((14, 14), points[:, None])
    term = TwoBodyTerm(
        *(cutoff, width, "squared_exponential", lengthscale),
        cutoff_function="cosine",
        blocks=(block,),
    )
    quip = descriptors.Descriptor(
        f"distance_2b cutoff={cutoff} cutoff_transition_width={width} Z1=14 Z2=14"
    )
    for name in ("cell smaller than the cutoff", "slab", "triclinic cell"):
        atoms = structures.get(name, ["Si"])
        atoms.wrap()
        found = quip.calc(atoms.copy(), grad=True)
        r = np.asarray(found["data"])[:, 0]
        weight = np.asarray(found["covariance_cutoff"])
        covariance = np.exp(-((r[:, None] - points) ** 2) / (2 * lengthscale**2))
        slope = -(r[:, None] - points) / lengthscale**2 * covariance
        # Two rows of gradients for each pair, by its two atoms, counted from 1 in "ci".
        assert len(found["ci"]) == 2 * len(r)
        forces = np.zeros((len(atoms), 3, len(points)))
        for m, atom in enumerate(np.asarray(found["ci"]) - 1):
            forces[atom] -= np.outer(found["grad_data"][m, :, 0], weight[m // 2] * slope[m // 2])
            forces[atom] -= np.outer(found["grad_covariance_cutoff"][m], covariance[m // 2])
        our_energy, our_forces, _ = split(rows(atoms, [term]))
        np.testing.assert_allclose(our_energy, weight @ covariance, rtol=1e-12, err_msg=name)
        np.testing.assert_allclose(our_forces, forces, rtol=0, atol=1e-11, err_msg=name)
