"""Draws of a model: as coarse as they may be, within memory, or fewer, or none."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from forcemap.fitter.config import Settings
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.fitting import fit_frames
from forcemap.fitter.mapping import draws
from forcemap.fitter.mapping.deviations import with_deviations
from forcemap.fitter.mapping.map import map_model
from forcemap.fitter.mapping.mapped import Mapped
from forcemap.fitter.process.model import Model
from forcemap.fitter.terms.base import Block, MapPlan
from forcemap.fitter.terms.constants import ConstantsTerm
from forcemap.fitter.terms.three_body import ThreeBodyTerm
from forcemap.fitter.terms.two_body import TwoBodyTerm
from forcemap.potentials.file.potential_file import as_potential
from forcemap.potentials.terms import ThreeBodySplines
from forcemap.potentials.uncertainty import Calibration, Uncertainty
from potentials_factory import one_draw
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
    exact = model.terms[0].map_bytes(mean.plan.of_draws(16).finer(1e9))
    monkeypatch.setattr(draws, "FORCE_ERROR", 1e-6)
    monkeypatch.setattr(draws, "MOST_BYTES", 10 * exact // 16)
    with pytest.warns(UserWarning, match="has 8 draws, not 16: the tables of more would take more"):
        found = with_deviations(mean, model, frames, 16)
    assert found.potential.draws == 8
    where = frames[0].positions, frames[0].numbers, frames[0].cell, frames[0].pbc
    few, all_ = (p.potential.evaluator().deviations(*where).forces for p in (found, with_all))
    np.testing.assert_allclose(few, all_[:8], rtol=0, atol=0.1 * np.abs(all_).max())


def test_wrong_draws_are_left_out(
    model: Model, frames: list[Frame], mean: Mapped, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draws, "MOST_BYTES", 2_000)
    message = "has no draws, and so no deviations: within 0 MiB even 4 of them would be off by"
    with pytest.warns(UserWarning, match=message):
        found = with_deviations(mean, model, frames, 16)
    assert found.potential.draws == 0
    assert found.potential.has_grade


def test_single_precision_is_precise_enough_for_deviations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a fit, whose functions of two and of three atoms cancel; 3e-2 would do.

    The tables of a draw are whole and of double precision where they are the terms of a mean.
    """
    kept, keep = [], ThreeBodySplines.drawn

    def kept_whole(tables: np.ndarray, same: bool) -> np.ndarray:
        kept.append(tables)
        return keep(tables, same)

    monkeypatch.setattr(ThreeBodySplines, "drawn", kept_whole)
    labelled = []
    for seed in range(6):
        atoms = bulk("Cu", "fcc", a=3.5 + 0.05 * seed, cubic=True).repeat((2, 1, 1))
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        labelled.append(as_frame(atoms, energy=energy, forces=forces))
    terms = [{"kind": "two_body", "cutoff": 4.5}, {"kind": "three_body", "cutoff": 3.7}]
    settings = Settings.from_dict({"data": {"train": "train.xyz"}, "terms": terms})
    fit = fit_frames(settings, labelled)
    found = with_deviations(map_model(fit, labelled, 1e-3), fit, labelled, 4)
    assert found.data.draws is not None
    where = [(f.positions, f.numbers, f.cell, f.pbc) for f in labelled]
    drawn = found.potential.evaluator()
    singles = np.stack([drawn.deviations(*some).forces for some in where], axis=1)
    doubles = np.zeros_like(singles)
    parts = np.zeros_like(singles)
    for k in range(4):
        pairs, triplets = one_draw(found.data, k).terms
        assert isinstance(triplets, ThreeBodySplines)
        triplets = replace(triplets, tables={("Cu",) * 3: kept[-1][k]})
        alone = replace(found.data, terms=(pairs, triplets), draws=None, grade=None)
        only_pairs = replace(alone, terms=(pairs,))
        for forces_of, data in ((doubles, alone), (parts, only_pairs)):
            evaluator = as_potential(data).evaluator()
            forces_of[k] = [evaluator.compute(*some).forces for some in where]
    scale = np.sqrt(np.mean(doubles**2))
    assert np.sqrt(np.mean(parts**2)) > 5.0 * scale  # they do cancel
    error = np.sqrt(np.mean((singles - doubles) ** 2)) / scale
    assert 1e-9 < error < 1e-4


def test_memory_is_shared_by_need(
    model: Model, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What small terms leave of their parts is for the large one, which needs more than its own."""
    large = model.terms[0]
    points = np.linspace(2.2, 3.6, 5)[:, None]
    small = TwoBodyTerm(
        3.7, 1.8, "squared_exponential", 0.6, blocks=(Block((29, 29), points),), grid=(48,)
    )
    terms = (small, large, ConstantsTerm.of([29]))
    size = sum(term.size for term in terms)
    weights = np.random.default_rng(4).normal(0.0, 0.1, size)
    whole = replace(model, terms=terms, weights=weights, posterior=np.eye(size))
    need = large.map_bytes(MapPlan().of_draws(8).finer(1e9))
    monkeypatch.setattr(draws, "FORCE_ERROR", 1e-6)
    monkeypatch.setattr(draws, "MOST_BYTES", need + 100_000)
    found = with_deviations(map_model(whole, frames, 1e-3), whole, frames, 8)
    assert found.data.draws is not None
    assert found.data.draws.terms[-1].sizes() == {"leg_intervals": 48, "base_intervals": 48}


def test_map_is_the_same_again(model: Model, frames: list[Frame], mean: Mapped) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one, two = (with_deviations(mean, model, frames, 8) for _ in range(2))
    for mine, other in zip(one.data.draws.terms, two.data.draws.terms, strict=True):  # type: ignore[union-attr]
        for name, table in mine.tensors().items():
            np.testing.assert_array_equal(table, other.tensors()[name])
