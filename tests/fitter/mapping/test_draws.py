"""Draws of a model: as coarse as they may be, within memory, or fewer, or none."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from ase.build import bulk
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.mapping import draws
from forcemap.fitter.mapping.deviations import with_deviations
from forcemap.fitter.mapping.map import map_model
from forcemap.fitter.mapping.mapped import Mapped
from forcemap.fitter.process.model import Model
from forcemap.fitter.terms.base import Block
from forcemap.fitter.terms.three_body import ThreeBodyTerm
from forcemap.potentials.uncertainty import Calibration, Uncertainty
from structures import as_frame


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    found = []
    for seed in range(3):
        atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
        atoms.rattle(0.1, seed=seed)
        found.append(as_frame(atoms))
    return found


@pytest.fixture(scope="module")
def model() -> Model:
    """A process of triplets, with the posterior of no data."""
    points = np.random.default_rng(1).uniform(2.2, 3.6, (12, 3))
    blocks = (Block((29, 29, 29), points),)
    term = ThreeBodyTerm(
        3.7, 1.8, "squared_exponential", 0.6, blocks=blocks, grid=(48, 48), symmetry="central"
    )
    weights = np.random.default_rng(4).normal(0.0, 0.1, term.size)
    known = Uncertainty(*(Calibration(n, 0.1 * n, 0.01 * n) for n in (1.0, 2.0, 3.0)))
    return Model((29,), (term,), weights, {29: 0.0}, {}, np.eye(term.size), uncertainty=known)


@pytest.fixture(scope="module")
def mean(model: Model, frames: list[Frame]) -> Mapped:
    return map_model(model, frames, 1e-3)


def test_draws_are_coarser_than_the_mean(model: Model, frames: list[Frame], mean: Mapped) -> None:
    found = with_deviations(mean, model, frames, 16)
    (drawn,), (whole,) = found.data.draws.terms, mean.data.terms  # type: ignore[union-attr]
    assert drawn.sizes()["leg_intervals"] < whole.sizes()["leg_intervals"]
    assert found.errors["draws"]["force_relative_rms_error"] < draws.FORCE_ERROR
    assert found.errors["draws"]["energy_relative_rms_error"] < draws.ENERGY_ERROR
    assert found.potential.uncertainty == model.uncertainty
    assert found.potential.has_grade


def test_no_draws_leave_the_rest(model: Model, frames: list[Frame], mean: Mapped) -> None:
    found = with_deviations(mean, model, frames, 0)
    assert found.potential.draws == 0
    assert found.potential.uncertainty == model.uncertainty
    assert "draws" not in found.errors
    assert not with_deviations(mean, model, frames, 0, graded=False).potential.has_grade


def test_fewer_draws_are_mapped_where_memory_does_not_suffice(
    model: Model, frames: list[Frame], mean: Mapped, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half as many may have tables that are exact; those that there are, are the first of them."""
    with_all = with_deviations(mean, model, frames, 16)
    (table,) = mean.data.terms[0].tensors().values()
    monkeypatch.setattr(draws, "FORCE_ERROR", 1e-6)
    monkeypatch.setattr(draws, "MOST_BYTES", 10 * table.nbytes)
    with pytest.warns(UserWarning, match="has 8 draws, not 16: the tables of more would take more"):
        found = with_deviations(mean, model, frames, 16)
    assert found.potential.draws == 8
    where = frames[0].positions, frames[0].numbers, frames[0].cell, frames[0].pbc
    few, all_ = (p.potential.evaluator().deviations(*where).forces for p in (found, with_all))
    np.testing.assert_allclose(few, all_[:8], rtol=0, atol=0.1 * np.abs(all_).max())


def test_wrong_draws_are_left_out(
    model: Model, frames: list[Frame], mean: Mapped, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draws, "MOST_BYTES", 20_000)
    message = "has no draws, and so no deviations: within 0 MiB even 4 of them would be off by"
    with pytest.warns(UserWarning, match=message):
        found = with_deviations(mean, model, frames, 16)
    assert found.potential.draws == 0
    assert found.potential.has_grade


def test_map_is_the_same_again(model: Model, frames: list[Frame], mean: Mapped) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one, two = (with_deviations(mean, model, frames, 8) for _ in range(2))
    for mine, other in zip(one.data.draws.terms, two.data.draws.terms, strict=True):  # type: ignore[union-attr]
        for name, table in mine.tensors().items():
            np.testing.assert_array_equal(table, other.tensors()[name])
