"""Blocks of frames by their elements: what is left out of them is zero."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from forcemap.fitter.config import Settings
from forcemap.fitter.data.frame import Frame, FrameSigma
from forcemap.fitter.fitting import Fitted, fitted
from forcemap.fitter.process import accumulate, blocks
from forcemap.fitter.process.blocks import (
    LEAST_ROWS,
    ROWS_PER_BLOCK,
    blocks_of,
    costs_of,
    places_of,
    rows_of,
)
from forcemap.fitter.process.prior import Prior
from forcemap.fitter.process.survey import Survey
from forcemap.fitter.process.targets import Targets
from forcemap.fitter.sharing.run import Run
from forcemap.fitter.terms.rows import columns, frame_rows
from forcemap.fitter.uncertainty.leave_one_out import Factors
from structures import as_frame

pytestmark = pytest.mark.usefixtures("one_thread")

COPPER, NICKEL = 29, 28


def labelled(seed: int, *elements: str) -> Frame:
    rng = np.random.default_rng(seed)
    atoms: Atoms = bulk("Cu", "fcc", a=3.6 + 0.05 * (seed % 3), cubic=True).repeat((2, 1, 1))
    atoms.symbols[:] = rng.choice(elements, len(atoms))
    atoms.symbols[: len(elements)] = elements
    atoms.rattle(0.1, seed=seed)
    atoms.calc = EMT()
    labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    return as_frame(atoms, **labels, sigma=FrameSigma(0.002, 0.1, 0.01), index=seed)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    """Nickel, copper and both, in turn."""
    return [labelled(n, *(("Ni",), ("Cu",), ("Cu", "Ni"))[n % 3]) for n in range(12)]


@pytest.fixture(scope="module")
def settings() -> Settings:
    soap = {"kind": "soap", "cutoff": 3.9, "n_max": 4, "l_max": 3, "n_sparse": 12}
    terms = [{"kind": "two_body", "cutoff": 3.9, "n_sparse": 6}, soap]
    return Settings.from_dict({"data": {"train": "train.xyz"}, "terms": terms, "outside": "free"})


def targets_of(frames: list[Frame], copies: int = 1) -> list[Targets]:
    count = 1 + 3 * len(frames[0].numbers)
    rows = np.arange(count)
    return [Targets(f, rows, np.zeros(count), np.ones(count)) for f in frames * copies]


def test_blocks_hold_every_labelled_frame_once_and_elements_apart(frames: list[Frame]) -> None:
    """25 rows of each frame: whole blocks of each set of elements, and ends that are long enough."""
    targets = targets_of(frames, 30)
    targets[4] = replace(targets[4], rows=targets[4].rows[:0])
    found = blocks_of(targets)
    order = [id(target) for block in found for target in block]
    assert sorted(order) == sorted(id(t) for n, t in enumerate(targets) if n != 4)
    assert rows_of(found) == [sum(len(t.rows) for t in block) for block in found]
    for block, rows in zip(found, rows_of(found), strict=True):
        elements = {tuple(np.unique(t.frame.numbers)) for t in block}
        assert len(elements) == 1
        assert LEAST_ROWS <= rows < ROWS_PER_BLOCK + len(block[0].rows)


def test_few_frames_of_many_elements_share_a_block(frames: list[Frame]) -> None:
    found = blocks_of(targets_of(frames))
    assert [len(block) for block in found] == [len(frames)]


def test_columns_of_a_block_are_those_where_its_rows_are_not_zero(
    frames: list[Frame], settings: Settings
) -> None:
    prior = Prior.of(settings, Survey.of(frames, settings))
    for some in (frames[:1], frames[1:2], frames[2:3], frames[:2]):
        block = targets_of(some)
        rows = np.concatenate([frame_rows(t.frame, prior.terms)[t.rows] for t in block])
        places = places_of(block, prior)
        assert (places == np.flatnonzero(rows.any(axis=0))).all()
    pure = places_of(targets_of(frames[:1]), prior)
    both = places_of(targets_of(frames[2:3]), prior)
    pairs = places_of(targets_of(frames[:2]), prior)
    assert len(pure) < len(pairs) < len(both) == prior.size
    low, high = costs_of([targets_of(frames[:1]), targets_of(frames[2:3])], prior)
    assert low < high
    assert {b.species for _, b, _ in columns(prior.terms)} >= {(NICKEL,), (COPPER, COPPER)}


def fit(settings: Settings, frames: list[Frame]) -> Fitted:
    found = fitted(settings, frames, Run())
    assert found is not None
    return found


def test_fits_are_those_of_all_columns(
    frames: list[Frame], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With blocks of few frames, and with a factor for each set of elements: up to rounding."""
    monkeypatch.setattr(blocks, "ROWS_PER_BLOCK", 60)
    monkeypatch.setattr(blocks, "LEAST_ROWS", 1)
    monkeypatch.setattr(Factors, "is_worth_it", staticmethod(lambda *sizes: sizes[1] < sizes[2]))
    found = fit(settings, frames)
    monkeypatch.setattr(Factors, "is_worth_it", staticmethod(lambda *sizes: False))
    for module in (accumulate, blocks):
        monkeypatch.setattr(
            module, "concerned", lambda block, prior: [True] * len(list(columns(prior.terms)))
        )
    whole = fit(settings, frames)
    # The search for its maximum ends near it: where, rounding decides in the fifth digit.
    assert found.model.log_marginal_likelihood == pytest.approx(
        whole.model.log_marginal_likelihood, rel=1e-8
    )
    for left, other, frame in zip(found.left_out, whole.left_out, frames, strict=True):
        assert left.frame is other.frame is frame
        np.testing.assert_allclose(left.residuals, other.residuals, atol=1e-7)
        np.testing.assert_allclose(left.errors, other.errors, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(left.variances, other.variances, rtol=1e-5, atol=1e-9)
