"""Draws of soap terms: all together, in functions that they share."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import structures
from ase.build import bulk
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.terms.base import Array, Block, MapPlan
from forcemap.fitter.terms.soap.forms import isolated
from forcemap.fitter.terms.soap.term import SoapTerm
from forcemap.potentials.terms.soap import SoapFunctions
from forcemap.potentials.terms.soap_quadratic import SoapQuadraticFunctions
from soap_alloys import ALLOY, alloy, term_of

pytestmark = pytest.mark.usefixtures("one_thread")

SYMBOLS = {29: "Cu", 13: "Al", 28: "Ni"}


def spectra_of(term: SoapTerm, frames: list[Frame], center: int) -> Array:
    found = [term.descriptors(Structure(f, term.cutoff), center)[1] for f in frames]
    return np.concatenate(found)


def exact(term: SoapTerm, weights: Array, center: int, spectra: Array, free: Array) -> Array:
    """Energies (n, draws) of spectra by the sparse points, from the isolated atom's."""
    for block, some in term.block_weights(weights):
        if block.species == (center,):
            values = (spectra @ block.points.T) ** term.zeta @ some
            return np.asarray(values - (free @ block.points.T) ** term.zeta @ some)
    raise AssertionError(center)


def quadratic(found: SoapQuadraticFunctions, symbol: str, spectra: Array) -> Array:
    """Energies (n, draws) as the file's format has them, without the isolated atom's."""
    center = found.centers[symbol]
    a, y = spectra @ center.spectrum, spectra @ center.subspace.T
    lines = 2.0 * a[:, None] * (spectra @ center.lines.T)
    lines -= np.outer(a**2, center.lines @ center.spectrum)
    return np.asarray(lines + np.einsum("nr,krs,ns->nk", y, center.forms, y))


def case(elements: int, points: int, zeta: int = 2) -> tuple[SoapTerm, list[Frame], Array]:
    """A term, its frames, and weights of four draws."""
    frames = alloy(ALLOY[:elements] if elements > 1 else ("Cu",), 8)
    term = replace(term_of(frames, points), zeta=zeta)
    return term, frames, np.random.default_rng(1).normal(size=(term.size, 4))


@pytest.fixture
def forms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forms, where the sparse points themselves would take less memory."""
    monkeypatch.setattr("forcemap.fitter.terms.soap.draws._by_points", lambda term, plan: False)


@pytest.mark.usefixtures("forms")
@pytest.mark.parametrize(("elements", "points"), [(1, 30), (1, 60), (2, 40)])
def test_all_coordinates_are_exact(elements: int, points: int) -> None:
    """With more sparse points than numbers of a spectrum (40), and with fewer; and where the frames
    that rank the coordinates, here a crystal at rest, show few of the directions."""
    term, frames, weights = case(elements, points)
    atoms = bulk("Cu", cubic=True, a=3.7)
    atoms.symbols[:] = [SYMBOLS[term.blocks[n % elements].species[0]] for n in range(len(atoms))]
    still = [structures.as_frame(atoms)]
    found = term.mapped(weights, replace(MapPlan(still).of_draws(4), functions=500))
    assert isinstance(found, SoapQuadraticFunctions)
    center = term.blocks[0].species[0]
    free = isolated(term, frames, center)
    spectra = spectra_of(term, frames, center)
    mine = quadratic(found, SYMBOLS[center], spectra)
    mine -= quadratic(found, SYMBOLS[center], free[None])
    expected = exact(term, weights, center, spectra, free)
    # Directions of little variance are scaled by up to 1e4 on the way.
    np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


@pytest.mark.usefixtures("forms")
@pytest.mark.parametrize("functions", [4, 8, 16])
def test_few_coordinates_keep_the_mean_and_the_isolated_atom(functions: int) -> None:
    """The mean energy of the data's atoms over the isolated one is exact however few there are."""
    term, frames, weights = case(1, 60)
    plan = replace(MapPlan(frames).of_draws(4), functions=functions)
    found = term.mapped(weights, plan)
    assert isinstance(found, SoapQuadraticFunctions)
    part = found.centers["Cu"]
    assert part.forms.shape == (4, functions, functions)
    np.testing.assert_allclose(part.subspace @ part.subspace.T, np.eye(functions), atol=1e-10)
    np.testing.assert_allclose(part.subspace @ part.spectrum, 0.0, atol=1e-10)
    np.testing.assert_allclose(np.linalg.norm(part.spectrum), 1.0)
    spectra, free = spectra_of(term, frames, 29), isolated(term, frames, 29)
    mine = quadratic(found, "Cu", spectra) - quadratic(found, "Cu", free[None])
    expected = exact(term, weights, 29, spectra, free)
    np.testing.assert_allclose(mine.mean(axis=0), expected.mean(axis=0), rtol=1e-3)


@pytest.mark.usefixtures("forms")
def test_more_coordinates_are_better() -> None:
    term, frames, weights = case(1, 60)
    spectra, free = spectra_of(term, frames, 29), isolated(term, frames, 29)
    expected = exact(term, weights, 29, spectra, free)
    errors = []
    for functions in (4, 8, 16, 32):
        plan = replace(MapPlan(frames).of_draws(4), functions=functions)
        found = term.mapped(weights, plan)
        assert isinstance(found, SoapQuadraticFunctions)
        mine = quadratic(found, "Cu", spectra) - quadratic(found, "Cu", free[None])
        errors.append(float(np.std(mine - expected)))
    assert all(later < 0.5 * earlier for earlier, later in pairwise(errors))
    assert errors[-1] < 1e-3 * np.std(expected)


@pytest.mark.usefixtures("forms")
def test_points_that_are_not_held_at_once_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    term, frames, weights = case(2, 60)
    plan = replace(MapPlan(frames).of_draws(4), functions=12)
    one = term.mapped(weights, plan)
    monkeypatch.setattr("forcemap.fitter.terms.soap.draws.FORMS_AT_ONCE", 0)
    plan = replace(MapPlan(frames).of_draws(4), functions=12)
    other = term.mapped(weights, plan)
    assert isinstance(one, SoapQuadraticFunctions)
    assert isinstance(other, SoapQuadraticFunctions)
    spectra = spectra_of(term, frames, 28)
    first = quadratic(one, "Ni", spectra)
    np.testing.assert_allclose(
        quadratic(other, "Ni", spectra), first, rtol=0, atol=1e-8 * np.abs(first).max()
    )


@pytest.mark.parametrize("zeta", [1, 3, 4])
def test_other_exponents_share_vectors(zeta: int) -> None:
    """Draws are linear in their weights: exact with all points, for exponent 1 with a vector each."""
    term, frames, weights = case(1, 30, zeta)
    free = isolated(term, frames, 29)
    spectra = spectra_of(term, frames, 29)
    expected = exact(term, weights, 29, spectra, free)
    errors = []
    for functions in (10, 500):
        plan = replace(MapPlan(frames).of_draws(4), functions=functions)
        found = term.mapped(weights, plan)
        assert isinstance(found, SoapFunctions)
        part = found.centers["Cu"]
        assert part.factors.shape == (4, 4 if zeta == 1 else min(functions, 30))
        mine = (spectra @ part.vectors.T) ** zeta @ part.factors.T
        mine -= (free @ part.vectors.T) ** zeta @ part.factors.T
        errors.append(float(np.abs(mine - expected).max() / np.abs(expected).max()))
    assert errors[1] < 1e-10
    assert errors[0] < 0.2


def test_few_points_are_kept_as_they_are() -> None:
    """They are exact, and fewer numbers than forms and lines of all draws; nothing is finer."""
    term, frames, weights = case(2, 6)
    plan = MapPlan(frames).of_draws(4)
    found = term.mapped(weights, plan)
    assert isinstance(found, SoapFunctions)
    for block, some in term.block_weights(weights):
        center = found.centers[SYMBOLS[block.species[0]]]
        np.testing.assert_array_equal(center.vectors, block.points)
        np.testing.assert_array_equal(center.factors, some.T)
    assert term.map_bytes(plan) == term.map_bytes(plan.finer(1e9))


def test_an_exact_plan_keeps_all_points() -> None:
    """Whatever forms would take."""
    term, frames, weights = case(1, 60)
    found = term.mapped(weights, replace(MapPlan(frames).of_draws(4), exact=True))
    assert isinstance(found, SoapFunctions)
    ((block, some),) = term.block_weights(weights)
    np.testing.assert_array_equal(found.centers["Cu"].vectors, block.points)
    np.testing.assert_array_equal(found.centers["Cu"].factors, some.T)


@pytest.mark.usefixtures("forms")
def test_fewer_draws_of_the_same_plan_are_their_own() -> None:
    """What a plan keeps is known by the number of draws."""
    term, frames, weights = case(1, 60)
    plan = MapPlan(frames)
    for count in (4, 2):
        found = term.mapped(weights[:, :count], plan.of_draws(count))
        assert isinstance(found, SoapQuadraticFunctions)
        assert found.centers["Cu"].lines.shape == (count, term.dimension)


def test_draws_have_no_part_of_species_without_points() -> None:
    term, frames, _ = case(2, 60)
    term = term.with_blocks([term.blocks[0], Block(term.blocks[1].species, np.zeros((0, 144)))])
    weights = np.random.default_rng(1).normal(size=(term.size, 4))
    found = term.mapped(weights, MapPlan(frames).of_draws(4))
    assert isinstance(found, SoapFunctions)
    assert len(found.centers) == 1
