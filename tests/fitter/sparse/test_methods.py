"""Choosing sparse points: every method, its own law, seeds, and repeated points."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import structures
from forcemap.fitter.config import Settings
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.process.survey import shortest_distances
from forcemap.fitter.sparse import methods
from forcemap.fitter.sparse.candidates import MOST_CANDIDATES, candidate_pools
from forcemap.fitter.sparse.methods import METHODS, chosen_blocks, independent, select
from forcemap.fitter.terms.base import SPARSE_METHODS, Block, Pool, Species
from forcemap.fitter.terms.distances import DistanceTerm
from forcemap.fitter.terms.three_body import ThreeBodyTerm
from forcemap.fitter.terms.two_body import TwoBodyTerm
from forcemap.potentials import ForcemapError
from numpy.typing import NDArray
from structures import as_frame

Array = NDArray[np.float64]

PAIRS = TwoBodyTerm(4.5, 1.5, "squared_exponential", 0.8)
TRIPLETS = ThreeBodyTerm(3.8, 2.5, "squared_exponential", 1.3)
FULL = ThreeBodyTerm(3.8, 2.5, "matern52", 1.3, symmetry="full")
SILICON = (14, 14, 14)

FRAMES = [as_frame(structures.get(name)) for name in ("triclinic cell", "molecule", "two species")]


def candidates(frames: Sequence[Frame], term: DistanceTerm) -> dict[Species, Array]:
    pools, _ = candidate_pools(frames, term, np.random.default_rng(0))
    return {species: pool.points for species, pool in pools.items()}


def pool_of(points: Array) -> Pool:
    """These points as the candidates of a combination of species."""
    n = len(points)
    keys = np.random.default_rng(9).random(n)
    return Pool(points, np.full(n, "any"), keys, points.min(axis=0), points.max(axis=0), n)


def chosen_of(points: Array, count: int, method: str, rng: np.random.Generator) -> Array:
    """`count` of these triangles of silicon."""
    return select(TRIPLETS, SILICON, pool_of(points), count, method, {}, rng)


@pytest.fixture(scope="module")
def triangles() -> Array:
    return candidates(FRAMES, TRIPLETS)[SILICON][:300]


@pytest.mark.parametrize("term", [PAIRS, TRIPLETS, FULL], ids=["2b", "3b", "3b-full"])
def test_candidates_are_the_descriptors_of_the_data(term: DistanceTerm) -> None:
    """By species; nothing beyond the cutoff; every combination that occurs."""
    found = candidates(FRAMES, term)
    for species, points in found.items():
        assert list(species[-2:]) == sorted(species[-2:])
        assert points.shape[1] == (1 if term.kind == "two_body" else 3)
        # With full symmetry any two sides of a triangle, else those from the centre.
        sides = np.sort(points, axis=1) if term is FULL else points
        assert np.all(sides[:, :2] < term.cutoff)
        assert points.min() > 0.5
    assert (1, 8) in found or term.kind != "two_body"
    if term is FULL:
        assert all(list(species) == sorted(species) for species in found)


def test_candidates_are_a_bounded_sample() -> None:
    many = [as_frame(structures.get("triclinic cell", ["Si"]))] * 60
    found = candidates(many, TRIPLETS)
    assert len(found[SILICON]) == MOST_CANDIDATES
    again = candidates(many, TRIPLETS)
    np.testing.assert_array_equal(found[SILICON], again[SILICON])


def test_candidates_are_those_with_the_smallest_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often those kept so far have been sought out, in the order of the data."""
    frames = 20 * FRAMES
    every, _ = candidate_pools(frames, PAIRS, np.random.default_rng(0))
    most = 150
    monkeypatch.setattr("forcemap.fitter.sparse.candidates.MOST_CANDIDATES", most)
    kept, _ = candidate_pools(frames, PAIRS, np.random.default_rng(0))
    assert kept.keys() == every.keys()
    assert max(len(pool.keys) for pool in every.values()) > 6 * most
    for species, pool in kept.items():
        whole = every[species]
        best = np.sort(np.argsort(whole.keys)[:most])
        np.testing.assert_array_equal(pool.keys, whole.keys[best])
        np.testing.assert_array_equal(pool.points, whole.points[best])
        np.testing.assert_array_equal(pool.groups, whole.groups[best])
        np.testing.assert_array_equal(pool.largest, whole.largest)
        assert pool.count == whole.count == len(whole.keys)


@pytest.mark.parametrize("shape", [(300, 500), (500, 300)])
def test_leverage_by_iteration_is_that_of_all_singular_vectors(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a percent in all where singular values fall as those of spectra do."""
    rng = np.random.default_rng(5)
    left, right = (np.linalg.qr(rng.normal(size=(n, 300)))[0] for n in shape)
    vectors = (left * np.exp(-np.arange(300) / 12.0)) @ right.T
    vectors *= rng.uniform(0.3, 3.0, size=(shape[0], 1))
    exact = methods.leverage(vectors, 40)
    monkeypatch.setattr(methods, "LARGEST_GRAM", 100)
    assert methods.iterates(*shape, 40)
    found = methods.leverage(vectors, 40)
    assert not np.array_equal(found, exact)
    assert np.sum(found) == pytest.approx(40.0, abs=1e-9)
    assert np.sum(np.abs(found - exact)) < 0.01 * np.sum(exact)
    np.testing.assert_array_equal(methods.leverage(vectors, 40), found)


@pytest.mark.parametrize("method", SPARSE_METHODS)
def test_threads_do_not_change_the_choice(method: str) -> None:
    def chosen(jobs: int) -> list[Array]:
        rng = np.random.default_rng(2)
        pools, _ = candidate_pools(FRAMES, PAIRS, rng, jobs=jobs)
        blocks = chosen_blocks(PAIRS, pools, method, dict.fromkeys(pools, 6), rng=rng, jobs=jobs)
        return [block.points for block, _ in blocks]

    alone, together = chosen(1), chosen(3)
    assert len(alone) > 3
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("method", SPARSE_METHODS)
def test_selected_triangles_are_data(method: str, triangles: Array) -> None:
    chosen = chosen_of(triangles, 15, method, np.random.default_rng(1))
    assert 10 <= len(chosen) <= 15
    rows = {tuple(row) for row in triangles.tolist()}
    assert all(tuple(row) in rows for row in chosen.tolist())
    assert len({tuple(row) for row in chosen.tolist()}) == len(chosen)


@pytest.mark.parametrize("method", [m for m in SPARSE_METHODS if m != "cur"])
def test_selected_distances_span_the_data(method: str) -> None:
    points = candidates(FRAMES, PAIRS)[14, 14]
    chosen = select(PAIRS, (14, 14), pool_of(points), 6, method, {}, np.random.default_rng(1))
    assert chosen.shape == (6, 1)
    assert chosen.min() >= points.min()
    assert chosen.max() <= PAIRS.cutoff
    assert np.ptp(chosen) > 0.4 * np.ptp(points)


@pytest.mark.parametrize("method", SPARSE_METHODS)
def test_seed_decides(method: str, triangles: Array) -> None:
    def run(seed: int) -> Array:
        return chosen_of(triangles, 12, method, np.random.default_rng(seed))

    np.testing.assert_array_equal(run(3), run(3))
    if method in ("random", "cur"):
        assert not np.array_equal(run(3), run(4))


@pytest.mark.parametrize("method", SPARSE_METHODS)
def test_fewer_data_than_points_are_all_taken(method: str, triangles: Array) -> None:
    few = triangles[:5]
    chosen = chosen_of(few, 50, method, np.random.default_rng(1))
    assert sorted(chosen.tolist()) == sorted(few.tolist())


def test_uniform_distances_are_a_grid_to_the_cutoff() -> None:
    points = np.array([[2.0], [2.1], [3.0]])
    chosen = select(PAIRS, (14, 14), pool_of(points), 6, "uniform", {}, np.random.default_rng(0))
    np.testing.assert_allclose(chosen[:, 0], [2.0, 2.5, 3.0, 3.5, 4.0, 4.5], atol=1e-14)


def smallest_gap(points: Array) -> float:
    return min(float(np.linalg.norm(a - b)) for a, b in combinations(points, 2))


def left_variance(pool: Array, chosen: Array) -> float:
    """Largest variance of the pool's triangles that the chosen points leave unexplained."""
    block, factor = independent(TRIPLETS, chosen, SILICON)
    half = np.linalg.solve(factor, TRIPLETS.kernel(SILICON, pool, block.points).T)
    own = [TRIPLETS.kernel(SILICON, p[None], p[None])[0, 0] for p in pool]
    np.testing.assert_allclose(TRIPLETS.diagonal(SILICON, pool), own, rtol=1e-14)
    return float(np.max(np.array(own) - np.sum(half**2, axis=0)))


def test_farthest_points_are_farther_apart_than_random_ones(triangles: Array) -> None:
    rng = np.random.default_rng(2)
    far = chosen_of(triangles, 20, "farthest", rng)
    gaps = [smallest_gap(chosen_of(triangles, 20, "random", rng)) for _ in range(5)]
    assert smallest_gap(far) > 2 * max(gaps)


def test_pivoted_cholesky_leaves_less_variance_than_random_points(triangles: Array) -> None:
    rng = np.random.default_rng(3)
    greedy = chosen_of(triangles, 20, "pivoted_cholesky", rng)
    left = [left_variance(triangles, chosen_of(triangles, 20, "random", rng)) for _ in range(5)]
    assert left_variance(triangles, greedy) < 0.5 * min(left)


class Drawn:
    """In the place of a generator of random numbers: keeps the probabilities that it is asked for."""

    def __init__(self) -> None:
        self.probabilities = np.zeros(0)

    def choice(self, count: int, size: int, replace: bool, p: Array) -> NDArray[np.intp]:
        assert not replace
        assert len(p) == count
        self.probabilities = p
        return np.argsort(-p)[:size]


def test_cur_draws_triangles_by_their_leverage_scores(triangles: Array) -> None:
    """Scores: squared norms of the rows of the leading left singular vectors (eq. 6.11)."""
    left, _, _ = np.linalg.svd(TRIPLETS.covariance(Block(SILICON, triangles)))
    scores = np.sum(left[:, :8] ** 2, axis=1)
    drawn: Any = Drawn()
    chosen = chosen_of(triangles, 8, "cur", drawn)
    np.testing.assert_allclose(drawn.probabilities, scores / scores.sum(), rtol=1e-6, atol=1e-12)
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
    term: Any = SimpleNamespace(features=lambda species, points: points)
    drawn: Any = Drawn()
    select(term, (14,), pool_of(descriptors), count, "cur", {}, drawn)
    np.testing.assert_allclose(drawn.probabilities * count, expected, rtol=0.0, atol=1e-8)


def test_unknown_method_is_refused() -> None:
    assert tuple(METHODS) == SPARSE_METHODS
    terms = [{"kind": "three_body", "sparse_method": "magic"}]
    with pytest.raises(
        ForcemapError, match=r"terms\[0\].sparse_method: 'magic' is not one of uniform"
    ):
        Settings.from_dict({"data": {"train": "a.xyz"}, "terms": terms})


def test_repeated_points_are_left_out() -> None:
    """Also triangles that the kernel's symmetry makes equal."""
    points = np.array([[2.0, 3.0, 2.5], [3.0, 2.0, 2.5], [2.0, 3.0, 2.5], [2.4, 2.4, 3.9]])
    block, factor = independent(TRIPLETS, points, SILICON)
    assert block.size == 2
    np.testing.assert_allclose(factor @ factor.T, TRIPLETS.covariance(block), rtol=0, atol=1e-12)
    full, _ = independent(FULL, np.vstack([points, [[2.5, 3.0, 2.0]]]), SILICON)
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
