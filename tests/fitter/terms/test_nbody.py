"""Many-body kernels against sums over all pairs of triplets, by plain loops.

k_3 of two environments is the sum over the triplets of one and of the other of products of cutoff
factors and squared exponentials; equal neighbours are exchanged, other species do not compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, pairwise, product

import numpy as np
import pytest
import reference
import structures
from ase import Atoms
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.sparse.candidates import candidate_pools
from forcemap.fitter.sparse.methods import chosen_blocks
from forcemap.fitter.terms.base import Block
from forcemap.fitter.terms.environments import Comparison, DotPower, SquaredExponential
from forcemap.fitter.terms.nbody import NBodyTerm
from forcemap.fitter.terms.rows import frame_rows
from forcemap.fitter.terms.three_body import ThreeBodyTerm
from nbody_terms import COMPARISONS, random_nbody, triplet_term
from numpy.typing import NDArray
from structures import as_frame

Array = NDArray[np.float64]
Triplet = tuple[int, int, int, Array]


def triplets_of(atoms: Atoms, i: int, term: ThreeBodyTerm) -> list[tuple[float, Triplet]]:
    """(cutoff factors, (centre, j, k, distances)) of every unordered pair of neighbours."""

    def factor(r: float) -> float:
        x = np.clip((r - term.cutoff + term.cutoff_width) / term.cutoff_width, 0, 1)
        return float(1 - 10 * x**3 + 15 * x**4 - 6 * x**5)

    found = []
    z = atoms.numbers
    for (j, r_ij), (k, r_ik) in combinations(reference.neighbors_of(atoms, i, term.cutoff), 2):
        q = np.linalg.norm([r_ij, r_ik, r_ik - r_ij], axis=1)
        found.append((factor(q[0]) * factor(q[1]), (int(z[i]), int(z[j]), int(z[k]), q)))
    return found


def brute_kernel(a: tuple[Atoms, int], b: tuple[Atoms, int], term: ThreeBodyTerm) -> float:
    """k_3 of the environments of two atoms by the double sum."""
    total = 0.0
    for (f, (c, j, k, q)), (g, (d, m, n, p)) in product(
        triplets_of(*a, term), triplets_of(*b, term)
    ):
        if c != d:
            continue
        if (j, k) == (m, n):
            total += f * g * np.exp(-np.sum((q - p) ** 2) / (2 * term.lengthscale**2))
        if (j, k) == (n, m):
            swapped = p[[1, 0, 2]]
            total += f * g * np.exp(-np.sum((q - swapped) ** 2) / (2 * term.lengthscale**2))
    return total


def with_features(frames: Sequence[Frame], count: int) -> NBodyTerm:
    """`count` inducing triplets of each combination chosen from the frames."""
    rng = np.random.default_rng(0)
    triplets = triplet_term()
    pools, _ = candidate_pools(frames, triplets, rng)
    found = chosen_blocks(triplets, pools, "pivoted_cholesky", dict.fromkeys(pools, count), rng=rng)
    triplets = triplets.with_blocks([block for block, _ in found])
    return NBodyTerm(triplets, DotPower(1), triplets.cutoff, {})


def descriptor(term: NBodyTerm, atoms: Atoms, i: int) -> Array:
    center = int(atoms.numbers[i])
    owners, found = term.descriptors(Structure(as_frame(atoms), term.cutoff), center)
    return np.asarray(found[owners.tolist().index(i)])


@pytest.mark.parametrize(
    ("name", "species"), [("molecule", ["H", "O", "Si"]), ("wire", ["O", "Si"])]
)
def test_descriptors_give_the_double_sum_with_all_triplets(name: str, species: list[str]) -> None:
    """Tolerance: the root of the rank at which triplets count as repeats, 1e-9."""
    atoms = structures.get(name, species)
    term = with_features([as_frame(atoms)], 10_000)
    compared = 0
    for i, j in product(range(len(atoms)), repeat=2):
        if atoms.numbers[i] != atoms.numbers[j]:
            continue
        expected = brute_kernel((atoms, i), (atoms, j), term.triplets)
        found = descriptor(term, atoms, i) @ descriptor(term, atoms, j)
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)
        compared += expected > 0.01
    assert compared > 4


def test_error_of_the_double_sum_falls_with_the_number_of_features() -> None:
    """From below: what the inducing triplets leave out is a variance."""
    known, other = structures.get("triclinic cell"), structures.get("cell smaller than the cutoff")
    assert (known.numbers == 14).all()
    assert (other.numbers == 14).all()
    expected = brute_kernel((other, 0), (other, 0), triplet_term())
    errors = []
    for count in (4, 16, 64, 200):
        term = with_features([as_frame(known)], count)
        phi = descriptor(term, other, 0)
        errors.append((expected - float(phi @ phi)) / expected)
    assert all(e > 0.0 for e in errors)
    assert all(b < 0.6 * a for a, b in pairwise(errors)), errors
    assert errors[-1] < 2e-3, errors


@pytest.mark.parametrize("comparison", COMPARISONS, ids=str)
def test_energy_row_is_that_of_the_kernel_of_double_sums(comparison: Comparison) -> None:
    """Sum over atoms of k(rho, rho_s) - k(nothing, rho_s), k from the double sums (5.30, 5.31)."""
    atoms, other = structures.get("molecule", ["H", "O", "Si"]), structures.get("wire", ["O", "Si"])
    base = with_features([as_frame(atoms), as_frame(other)], 10_000)
    atom = 1
    center = int(other.numbers[atom])
    point = descriptor(base, other, atom)
    term = replace(base, comparison=comparison, blocks=(Block((center,), point[None, :]),))
    own = brute_kernel((other, atom), (other, atom), base.triplets)

    def kernel(i: int) -> float:
        both = brute_kernel((atoms, i), (other, atom), base.triplets)
        if isinstance(comparison, DotPower):
            return float(both**comparison.power)
        assert isinstance(comparison, SquaredExponential)
        square = brute_kernel((atoms, i), (atoms, i), base.triplets) + own - 2.0 * both
        free = np.exp(-own / (2.0 * comparison.lengthscale**2))
        return float(np.exp(-square / (2.0 * comparison.lengthscale**2)) - free)

    expected = sum(kernel(i) for i in range(len(atoms)) if atoms.numbers[i] == center)
    assert abs(expected) > 1e-3
    row = frame_rows(as_frame(atoms), [term], derivatives=False)[0]
    assert row[0] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("comparison", COMPARISONS, ids=str)
def test_atoms_out_of_reach_give_nothing(comparison: Comparison) -> None:
    for name in ("isolated atom", "two atoms out of reach"):
        atoms = structures.get(name)
        rows = frame_rows(as_frame(atoms), [random_nbody(atoms.numbers, comparison)])
        np.testing.assert_array_equal(rows, 0.0)


@pytest.mark.parametrize("comparison", COMPARISONS, ids=str)
def test_energy_and_forces_go_to_zero_smoothly_at_the_cutoff(comparison: Comparison) -> None:
    """A third atom that leaves: the triplet's two factors vanish with the third power."""
    term = random_nbody([14, 14, 14], comparison)

    def rows(gap: float) -> Array:
        atoms = Atoms("Si3", [[0, 0, 0], [2.2, 0, 0], [0, 3.7 - gap, 0]])
        return frame_rows(as_frame(atoms), [term])[:10]

    np.testing.assert_array_equal(rows(-1e-6), 0.0)
    assert np.abs(rows(1.0)).max() > 1e-4
    assert np.abs(rows(1e-3)).max() < 1e-5
    assert np.abs(rows(1e-5)).max() < 1e-9
