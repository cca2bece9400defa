"""Forms of soap terms, in the span of their sparse points: exact, ordered, and small in memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.sparse.candidates import candidate_pools
from forcemap.fitter.sparse.methods import select
from forcemap.fitter.terms.base import Block, Pool
from forcemap.fitter.terms.soap.forms import Form, forms_of
from forcemap.fitter.terms.soap.term import SoapTerm
from numpy.typing import NDArray
from soap_alloys import ALLOY, alloy, term_of

Array = NDArray[np.float64]

pytestmark = pytest.mark.usefixtures("one_thread")


def values_of(form: Form, spectra: Array) -> Array:
    return np.asarray(((spectra @ form.vectors.T) ** 2) @ form.factors)


def dense_covariance(term: SoapTerm, frames: list[Frame], center: int) -> Array:
    """Second moments in the whole space, of spectra and of the derivatives of six centres a frame."""
    moments = np.zeros((2, term.dimension, term.dimension))
    for frame in frames:
        if center not in frame.numbers:
            continue
        structure = Structure(frame, term.cutoff)
        _, spectra = term.descriptors(structure, center)
        moments[0] += spectra.T @ spectra
        for n in np.unique(np.linspace(0, len(spectra) - 1, 6).astype(int)).tolist():
            rows = term.expansion.derivatives(structure.neighbors, center, n, n + 1)[2][:-6]
            moments[1] += rows.T @ rows
    return np.asarray(moments[0] / np.trace(moments[0]) + moments[1] / np.trace(moments[1]))


@pytest.mark.parametrize("points", [10, 60], ids=["few points", "more points than numbers"])
def test_forms_are_the_sum_over_sparse_points(points: int) -> None:
    """Of the data's spectra to rounding, and of random ones, most of them outside the points' span.

    Eigenvalues below 1e-15 of the largest are cut off, in a metric where directions that never occur
    count 1e-10: 1e-5 at the worst for spectra of such directions. One element has 40 numbers.
    """
    frames = alloy(("Cu",), 4)
    term = term_of(frames, points)
    assert term.dimension == 40
    weights = np.random.default_rng(1).normal(size=term.size)
    (form,) = forms_of(term, weights, frames)
    assert len(form.factors) <= min(points, term.dimension)
    pools, _ = candidate_pools(frames, term, np.random.default_rng(0))
    anything = np.random.default_rng(2).normal(size=(30, term.dimension))
    for spectra, tolerance in ((pools[29,].points, 1e-12), (anything, 1e-6)):
        expected = ((spectra @ term.blocks[0].points.T) ** 2) @ weights
        np.testing.assert_allclose(
            values_of(form, spectra), expected, rtol=0.0, atol=tolerance * np.abs(expected).max()
        )


def test_forms_stay_exact_where_points_nearly_repeat_others() -> None:
    """Points 1e-5 apart with large opposite weights, which a Gram matrix of them would not resolve."""
    frames = alloy(ALLOY[:3], 4)
    term = term_of(frames, 6)
    rng = np.random.default_rng(3)
    blocks = []
    for block in term.blocks:
        near = block.points + 1e-5 * rng.normal(size=block.points.shape) / np.sqrt(term.dimension)
        blocks.append(Block(block.species, np.concatenate([block.points, near])))
    term = term.with_blocks(blocks)
    weights = np.concatenate([np.repeat([1e4, -1e4], b.size // 2) for b in term.blocks])
    for form, block in zip(forms_of(term, weights, frames), term.blocks, strict=True):
        part = np.repeat([1e4, -1e4], block.size // 2)
        spectra = np.concatenate([b.points for b in term.blocks])
        expected = ((spectra @ block.points.T) ** 2) @ part
        # Rounding of 1e4 times numbers about one.
        np.testing.assert_allclose(values_of(form, spectra), expected, rtol=0.0, atol=1e-10)


def test_order_is_that_of_the_whole_space() -> None:
    """Factors are the eigenvalues of C^1/2 W C^1/2, formed without regard to the points' span."""
    frames = alloy(ALLOY[:2], 6)
    term = term_of(frames, 8)
    weights = np.random.default_rng(4).normal(size=term.size)
    start = 0
    for form, block in zip(forms_of(term, weights, frames), term.blocks, strict=True):
        part = weights[start : start + block.size]
        start += block.size
        assert block.size < term.dimension
        values, vectors = scipy.linalg.eigh(dense_covariance(term, frames, block.species[0]))
        root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
        expected = scipy.linalg.eigvalsh(root @ (block.points.T * part) @ block.points @ root)
        expected = expected[np.argsort(-np.abs(expected))][: block.size]
        np.testing.assert_allclose(form.factors, expected, rtol=1e-6, atol=1e-8)


def test_forms_do_not_depend_on_jobs() -> None:
    frames = alloy(ALLOY[:2], 5)
    term = term_of(frames, 8)
    weights = np.random.default_rng(5).normal(size=term.size)
    for one, three in zip(
        forms_of(term, weights, frames), forms_of(term, weights, frames, 3), strict=True
    ):
        np.testing.assert_array_equal(one.factors, three.factors)
        np.testing.assert_array_equal(one.vectors, three.vectors)


# ----- many elements -----


def peak_bytes(work: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_many_elements_form_no_matrix_of_their_dimension() -> None:
    """Choosing points and mapping, of five elements with spectra of 1,640 numbers."""
    frames = alloy(ALLOY, 3)
    term = term_of(frames, 5, n_max=8, l_max=1)
    assert term.dimension == 1640
    square = 8 * term.dimension**2
    weights = np.random.default_rng(6).normal(size=term.size)
    assert peak_bytes(lambda: forms_of(term, weights, frames[:2])) < 0.5 * square
    rng = np.random.default_rng(0)
    points = rng.random((60, term.dimension))
    low, high = points.min(axis=0), points.max(axis=0)
    pool = Pool(points, np.full(60, "any"), rng.random(60), low, high, 60)

    def choose() -> None:
        select(term, (13,), pool, 20, "cur", {}, rng)

    assert peak_bytes(choose) < 0.2 * square
