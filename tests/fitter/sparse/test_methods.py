"""Choosing sparse points: every method, its own law, seeds, and repeated points."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import scipy.linalg
import structures
from forcemap.fitter.config import SPARSE_METHODS
from forcemap.fitter.terms.distances import FewBodyTerm
from forcemap.fitter.sparse.methods import MOST_CANDIDATES, independent, leverage_scores, select
from forcemap.fitter.sparse.candidates import candidates
from forcemap.fitter.process.survey import shortest_distances
from numpy.typing import NDArray
from structures import as_frame

Array = NDArray[np.float64]

PAIRS = FewBodyTerm("two_body", 4.5, 1.5, "squared_exponential", 0.8, 1.0)
TRIPLETS = FewBodyTerm("three_body", 3.8, 2.5, "squared_exponential", 1.3, 1.0)
FULL = FewBodyTerm("three_body", 3.8, 2.5, "matern52", 1.3, 1.0, "full")


FRAMES = [as_frame(structures.get(name)) for name in ("triclinic cell", "molecule", "two species")]


@pytest.fixture(scope="module")
def triangles() -> Array:
    found = candidates(FRAMES, TRIPLETS, [1, 8, 14], np.random.default_rng(0))
    return found[14, 14, 14][:300]


@pytest.mark.parametrize("term", [PAIRS, TRIPLETS, FULL], ids=["2b", "3b", "3b-full"])
def test_candidates_are_the_descriptors_of_the_data(term: FewBodyTerm) -> None:
    """By species; nothing beyond the cutoff; every combination that occurs."""
    found = candidates(FRAMES, term, [1, 8, 14], np.random.default_rng(0))
    for species, points in found.items():
        assert list(species[-2:]) == sorted(species[-2:])
        assert points.shape[1] == (1 if term.kind == "two_body" else 3)
        assert np.all(points[:, :2] < term.cutoff)
        assert points.min() > 0.5
    assert (1, 8) in found or term.kind != "two_body"
    if term.symmetry == "full":
        assert all(list(species) == sorted(species) for species in found)


def test_candidates_are_a_bounded_sample() -> None:
    many = [as_frame(structures.get("triclinic cell", ["Si"]))] * 60
    found = candidates(many, TRIPLETS, [14], np.random.default_rng(0))
    assert len(found[14, 14, 14]) == MOST_CANDIDATES
    again = candidates(many, TRIPLETS, [14], np.random.default_rng(0))
    np.testing.assert_array_equal(found[14, 14, 14], again[14, 14, 14])


@pytest.mark.parametrize("method", SPARSE_METHODS)
def test_selected_triangles_are_data(method: str, triangles: Array) -> None:
    chosen = select(TRIPLETS, triangles, (14, 14, 14), 15, method, np.random.default_rng(1))
    assert 10 <= len(chosen) <= 15
    rows = {tuple(row) for row in triangles.tolist()}
    assert all(tuple(row) in rows for row in chosen.tolist())
    assert len({tuple(row) for row in chosen.tolist()}) == len(chosen)


@pytest.mark.parametrize("method", [m for m in SPARSE_METHODS if m != "cur"])
def test_selected_distances_span_the_data(method: str) -> None:
    points = candidates(FRAMES, PAIRS, [1, 8, 14], np.random.default_rng(0))[14, 14]
    chosen = select(PAIRS, points, (14, 14), 6, method, np.random.default_rng(1))
    assert chosen.shape == (6, 1)
    assert chosen.min() >= points.min()
    assert chosen.max() <= PAIRS.cutoff
    assert np.ptp(chosen) > 0.4 * np.ptp(points)


@pytest.mark.parametrize("method", SPARSE_METHODS)
def test_seed_decides(method: str, triangles: Array) -> None:
    def run(seed: int) -> Array:
        return select(TRIPLETS, triangles, (14, 14, 14), 12, method, np.random.default_rng(seed))

    np.testing.assert_array_equal(run(3), run(3))
    if method == "random":
        assert not np.array_equal(run(3), run(4))


@pytest.mark.parametrize("method", SPARSE_METHODS)
def test_fewer_data_than_points_are_all_taken(method: str, triangles: Array) -> None:
    few = triangles[:5]
    chosen = select(TRIPLETS, few, (14, 14, 14), 50, method, np.random.default_rng(1))
    assert sorted(chosen.tolist()) == sorted(few.tolist())


def test_uniform_distances_are_a_grid_to_the_cutoff() -> None:
    points = np.array([[2.0], [2.1], [3.0]])
    chosen = select(PAIRS, points, (14, 14), 6, "uniform", np.random.default_rng(0))
    np.testing.assert_allclose(chosen[:, 0], [2.0, 2.5, 3.0, 3.5, 4.0, 4.5], atol=1e-14)


def smallest_gap(points: Array) -> float:
    return min(float(np.linalg.norm(a - b)) for a, b in combinations(points, 2))


def left_variance(term: FewBodyTerm, pool: Array, chosen: Array) -> float:
    """Largest variance in the pool that the chosen points leave unexplained."""
    block, factor = independent(term, chosen, (14, 14, 14))
    rows = term.settings.matrix(pool, term.views(block)[0].images)
    half = np.linalg.solve(factor, rows.T)
    whole, _ = independent(term, pool[:1], (14, 14, 14))
    own = [
        term.settings.matrix(p[None], term.views(type(block)(block.species, p[None]))[0].images)[
            0, 0
        ]
        for p in pool
    ]
    assert whole.size == 1
    return float(np.max(np.array(own) - np.sum(half**2, axis=0)))


def test_farthest_points_are_farther_apart_than_random_ones(triangles: Array) -> None:
    rng = np.random.default_rng(2)
    far = select(TRIPLETS, triangles, (14, 14, 14), 20, "farthest", rng)
    gaps = [
        smallest_gap(select(TRIPLETS, triangles, (14, 14, 14), 20, "random", rng)) for _ in range(5)
    ]
    assert smallest_gap(far) > 2 * max(gaps)


def test_pivoted_cholesky_leaves_less_variance_than_random_points(triangles: Array) -> None:
    rng = np.random.default_rng(3)
    greedy = select(TRIPLETS, triangles, (14, 14, 14), 20, "pivoted_cholesky", rng)
    left = [
        left_variance(
            TRIPLETS, triangles, select(TRIPLETS, triangles, (14, 14, 14), 20, "random", rng)
        )
        for _ in range(5)
    ]
    assert left_variance(TRIPLETS, triangles, greedy) < 0.5 * min(left)


def test_cur_takes_the_largest_leverage_scores(triangles: Array) -> None:
    """Scores: squared norms of the rows of the leading left singular vectors (eq. 6.11)."""
    block, _ = independent(TRIPLETS, triangles[:1], (14, 14, 14))
    everything = type(block)(block.species, triangles)
    left, _, _ = np.linalg.svd(TRIPLETS.covariance(everything))
    scores = np.sum(left[:, :8] ** 2, axis=1)
    chosen = select(TRIPLETS, triangles, (14, 14, 14), 8, "cur", np.random.default_rng(0))
    index = [int(np.flatnonzero((triangles == row).all(axis=1))[0]) for row in chosen]
    assert sorted(scores[index]) == pytest.approx(sorted(scores)[-8:], rel=1e-6)


@pytest.mark.parametrize("shape", [(60, 15), (15, 60), (30, 30)])
@pytest.mark.parametrize("count", [5, 14])
def test_leverage_of_descriptors_is_that_of_their_singular_vectors(
    shape: tuple[int, int], count: int
) -> None:
    """By a singular value decomposition; the Gram matrices square its condition of 1e3."""
    rng = np.random.default_rng(7)
    descriptors = rng.normal(size=shape) * np.logspace(0, -3, shape[1])
    left = scipy.linalg.svd(descriptors, full_matrices=False)[0]
    expected = np.sum(left[:, :count] ** 2, axis=1)
    np.testing.assert_allclose(leverage_scores(descriptors, count), expected, rtol=0.0, atol=1e-8)


def test_unknown_method_is_refused(triangles: Array) -> None:
    with pytest.raises(ValueError, match="unknown sparse method"):
        select(TRIPLETS, triangles, (14, 14, 14), 3, "magic", np.random.default_rng(0))


def test_repeated_points_are_left_out() -> None:
    """Also triangles that the kernel's symmetry makes equal."""
    points = np.array([[2.0, 3.0, 2.5], [3.0, 2.0, 2.5], [2.0, 3.0, 2.5], [2.4, 2.4, 3.9]])
    block, factor = independent(TRIPLETS, points, (14, 14, 14))
    assert block.size == 2
    np.testing.assert_allclose(factor @ factor.T, TRIPLETS.covariance(block), rtol=0, atol=1e-12)
    full, _ = independent(FULL, np.vstack([points, [[2.5, 3.0, 2.0]]]), (14, 14, 14))
    assert full.size == 2


def test_shortest_distances_are_those_of_ase() -> None:
    found = shortest_distances(FRAMES, 4.5)
    expected: dict[tuple[int, int], float] = {}
    for name in ("triclinic cell", "molecule", "two species"):
        atoms = structures.get(name).repeat([2 if p else 1 for p in structures.get(name).pbc])
        distances = atoms.get_all_distances(mic=True)
        np.fill_diagonal(distances, np.inf)
        z = atoms.numbers
        for i, j in zip(*np.nonzero(distances < 4.0), strict=True):
            pair = (int(min(z[i], z[j])), int(max(z[i], z[j])))
            expected[pair] = min(expected.get(pair, np.inf), float(distances[i, j]))
    for pair, distance in expected.items():
        assert found[pair] == pytest.approx(distance, abs=1e-12), pair
