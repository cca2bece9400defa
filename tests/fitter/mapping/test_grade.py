"""The whitening of features, and what the grade of a fit is made from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from forcemap.fitter.baseline.repulsion import repulsion_of
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.mapping.grade import (
    FEWEST_ATOMS,
    GRADED_ATOMS,
    grade_of,
    moments_for,
    sampled,
    whitening,
)
from forcemap.fitter.mapping.map import map_model
from forcemap.fitter.process.model import Model
from forcemap.fitter.process.survey import shortest_distances
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.terms.base import Block
from forcemap.fitter.terms.two_body import TwoBodyTerm
from forcemap.potentials.file.potential_file import as_potential
from structures import as_frame

Array = np.ndarray


def alloy_frames(count: int) -> list[Frame]:
    """Rattled fcc crystals of copper and nickel."""
    found = []
    for seed in range(count):
        atoms = bulk("Cu", "fcc", a=3.6, cubic=True).repeat((2, 2, 1))
        atoms.symbols[np.random.default_rng(seed).random(len(atoms)) < 0.4] = "Ni"
        atoms.rattle(0.1, seed=seed)
        found.append(as_frame(atoms))
    return found


def distances(features: Array, mean: Array, white: Array) -> Array:
    return np.linalg.norm((features - mean) @ white.T, axis=1)


def test_whitened_distances_are_those_of_mahalanobis() -> None:
    """Of many features, in units of their 99 % quantile; the floor is 1e-5 of the features there."""
    rng = np.random.default_rng(1)
    features = rng.normal(size=(10_000, 5)) @ rng.normal(size=(5, 5)) + 3.0
    mean, white = whitening(features)
    assert np.array_equal(white, np.tril(white))
    centered = features - features.mean(axis=0)
    exact = np.sqrt(
        np.sum(centered @ np.linalg.inv(np.cov(features.T, bias=True)) * centered, axis=1)
    )
    expected = exact / np.quantile(exact, 0.99)
    np.testing.assert_allclose(distances(features, mean, white), expected, rtol=2e-3)


@pytest.mark.parametrize("atoms", [1, 2, 5, 30, 400])
def test_few_atoms_are_not_far_from_themselves(atoms: int) -> None:
    """Whatever their number, 99 % of them have a grade of at most 1, and others a finite one."""
    features = np.random.default_rng(atoms).normal(2.0, 0.1, (atoms, 32))
    mean, white = whitening(features)
    assert np.all(np.isfinite(white))
    own = distances(features, mean, white)
    assert np.quantile(own, 0.99) <= 1.0 + 1e-9
    assert np.all(distances(features + 1.0, mean, white) > 1.0)
    assert np.all(np.isfinite(distances(features + 1.0, mean, white)))


def test_constant_features_and_repeated_ones_are_no_trouble() -> None:
    rng = np.random.default_rng(2)
    one = rng.normal(size=(200, 1))
    features = np.concatenate([one, one, np.full((200, 1), 4.0), np.zeros((200, 1))], axis=1)
    mean, white = whitening(features)
    own = distances(features, mean, white)
    np.testing.assert_allclose(np.quantile(own, 0.99), 1.0)
    moved = features + np.array([0.0, 0.0, 0.4, 0.0])
    assert np.all(distances(moved, mean, white) > 1.0)


def test_equal_atoms_have_a_grade_of_zero() -> None:
    """As in a single perfect crystal: others are judged by the floor."""
    mean, white = whitening(np.tile([1.0, 2.0, 0.5], (64, 1)))
    np.testing.assert_array_equal(distances(mean[None], mean, white), 0.0)
    assert distances(1.01 * mean[None], mean, white)[0] > 1.0


def test_sample_has_enough_of_rare_species() -> None:
    (frame,) = alloy_frames(1)
    many = replace(frame, numbers=np.full(500, 29, np.int32), positions=np.zeros((500, 3)))
    rare = replace(frame, numbers=np.full(40, 28, np.int32), positions=np.zeros((40, 3)))
    frames = [*([many] * 400), *([rare] * 20)]
    chosen = sampled(frames, (28, 29))
    counts = {z: sum(int(np.sum(f.numbers == z)) for f in chosen) for z in (28, 29)}
    assert counts[29] <= GRADED_ATOMS + 500
    assert counts[28] >= FEWEST_ATOMS
    assert sampled(frames[:3], (29,)) == frames[:3]


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return alloy_frames(6)


@pytest.fixture(scope="module")
def model(frames: list[Frame]) -> Model:
    """A process of pairs, with random weights."""
    points = np.linspace(2.0, 4.0, 6)[:, None]
    blocks = tuple(Block(pair, points) for pair in ((28, 28), (28, 29), (29, 29)))
    repulsion = repulsion_of((28, 29), shortest_distances(frames, 4.2))
    term = TwoBodyTerm(
        4.2, 1.5, "squared_exponential", 0.7, blocks=blocks, repulsion=repulsion, grid=(50,)
    )
    weights = np.random.default_rng(4).normal(0.0, 0.1, term.size)
    e0 = {28: 0.0, 29: 0.0}
    return Model((28, 29), (term,), weights, e0, repulsion, np.eye(term.size))


def test_shortest_distances_are_those_of_the_data_also_without_a_core(
    frames: list[Frame], model: Model
) -> None:
    potential = map_model(model, frames, 1e-3).potential
    found = grade_of(model, potential, frames).grade.shortest
    symbols = {28: "Ni", 29: "Cu"}
    expected = {
        (symbols[a], symbols[b]): s
        for (a, b), s in shortest_distances(frames, potential.cutoff).items()
    }
    assert found == pytest.approx(expected)
    bare = replace(model, repulsion={})
    assert grade_of(bare, potential, frames).grade.shortest == pytest.approx(expected)


def test_grade_does_not_depend_on_threads(frames: list[Frame], model: Model) -> None:
    potential = map_model(model, frames, 1e-3).potential
    one, two = (grade_of(model, potential, frames, Run(jobs)).grade for jobs in (1, 2))
    for symbol, (mean, white) in one.centers.items():
        np.testing.assert_array_equal(mean, two.centers[symbol][0])
        np.testing.assert_array_equal(white, two.centers[symbol][1])


def test_moments_are_few_whatever_the_elements(model: Model) -> None:
    """Angles where a term has them and there are few elements; never more than about fifty."""
    for elements in (1, 2, 5, 27, 60):
        species = tuple(range(1, elements + 1))
        moments = moments_for(replace(model, species=species), 5.0)
        assert 4 <= moments.count(elements) <= 60
        assert moments.angular is None  # of pairs


def test_moments_of_angles_reach_as_far_as_terms_that_see_angles(model: Model) -> None:
    """The sums as far as the potential; fewer of either where there are many elements."""

    class Angles(TwoBodyTerm):
        sees_angles = True

    (pairs,) = model.terms
    near, nearer = (
        Angles(cutoff, 1.5, "squared_exponential", 0.7, blocks=pairs.blocks)
        for cutoff in (3.5, 3.0)
    )
    several = replace(model, terms=(near, pairs, nearer))
    for elements in (1, 2, 5, 6):
        species = tuple(range(1, elements + 1))
        moments = moments_for(replace(several, species=species), 5.0)
        assert moments.cutoff == 5.0
        assert moments.angular is not None
        assert moments.angular.cutoff == 3.5
        assert 4 <= moments.count(elements) <= 60
    many = replace(several, species=tuple(range(1, 28)))
    assert moments_for(many, 5.0) == moments_for(replace(model, species=many.species), 5.0)


def test_quantiles_are_those_of_the_training_atoms_grades(
    frames: list[Frame], model: Model
) -> None:
    mapped = map_model(model, frames, 1e-3)
    found = grade_of(model, mapped.potential, frames)
    evaluator = as_potential(replace(mapped.data, grade=found.grade)).evaluator()
    grades = np.concatenate(
        [
            evaluator.compute(f.positions, f.numbers, f.cell, f.pbc, grades=True).grades
            for f in frames
        ]
    )
    assert found.atoms == len(grades)
    assert found.quantiles == pytest.approx(
        {
            "quantile_50": np.quantile(grades, 0.5),
            "quantile_90": np.quantile(grades, 0.9),
            "quantile_99": np.quantile(grades, 0.99),
            "largest": grades.max(),
        },
        rel=1e-9,
    )
