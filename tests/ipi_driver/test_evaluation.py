from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from forcemap.ipi_driver.evaluation import FAULT_FILE, BeadEvaluator
from forcemap.ipi_driver.protocol import Batch
from forcemap.ipi_driver.template import Template
from forcemap.potentials.errors import ForcemapError

H = 20.0 * np.eye(3)
Q = np.random.default_rng(3).normal(size=(3, 3))
BOHR, HARTREE = 1.8897261, 0.036749326


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def batch_of(*structures: Any) -> Batch:
    batch = Batch.empty(np.array([H] * len(structures)), 3)
    batch.positions[:] = structures
    return batch


def test_answers_are_filled_in_and_there_are_no_extras(springs: Any, water: Template) -> None:
    batch = batch_of(Q, 2 * Q)
    assert BeadEvaluator(springs.Springs(), water).evaluate(batch) == ["", ""]
    answer = springs.Springs().answer(2 * Q / BOHR, water.numbers)
    assert batch.energies[1] == pytest.approx(answer.energy * HARTREE, rel=1e-14)
    np.testing.assert_allclose(batch.forces[1], answer.forces * HARTREE / BOHR, rtol=1e-14)


def test_structure_that_cannot_be_evaluated_is_written(springs: Any, water: Template) -> None:
    batch = batch_of(Q, Q + 1.0, Q + 2.0, Q + 3.0)
    with pytest.raises(ForcemapError, match=rf"non-finite force; it is in .*{FAULT_FILE}"):
        BeadEvaluator(springs.Faulty(), water).evaluate(batch)
    structure = ase.io.read(FAULT_FILE)
    assert list(structure.symbols) == ["H", "O", "H"]
    np.testing.assert_allclose(structure.positions, (Q + 3.0) / BOHR, atol=1e-7)
    np.testing.assert_allclose(structure.cell.array, H / BOHR, rtol=1e-7)
    assert list(Path().iterdir()) == [Path(FAULT_FILE)], "no temporary file stays"


def test_positions_that_are_not_finite_are_written_too(springs: Any, water: Template) -> None:
    q = Q.copy()
    q[0, 0] = np.nan
    counting = springs.Springs()
    with pytest.raises(ForcemapError, match=r"not finite; .*too large a timestep"):
        BeadEvaluator(counting, water).evaluate(batch_of(q))
    assert counting.evaluations == 0
    assert np.isnan(ase.io.read(FAULT_FILE).positions[0, 0])


def test_fault_is_told_even_if_it_cannot_be_written(springs: Any, water: Template) -> None:
    (Path(FAULT_FILE) / "in the way").mkdir(parents=True)
    with pytest.raises(ForcemapError, match="not finite; nor could it be written"):
        BeadEvaluator(springs.Springs(), water).evaluate(batch_of(Q * np.inf))


class Scaled:
    """Springs of another strength."""

    name = "scaled"
    has_grade = False

    def __init__(self, springs: Any, factor: float) -> None:
        self.springs, self.factor = springs, factor

    def batch_evaluator(self, numbers: Any, pbc: Any, **settings: float) -> Any:
        settings["energy"] *= self.factor
        return self.springs.Springs().batch_evaluator(numbers, pbc, **settings)


def test_committee_answers_with_the_mean_and_its_members(springs: Any, water: Template) -> None:
    factors = (0.5, 1.0, 3.0)
    batch, alone = batch_of(Q, Q, 2 * Q), batch_of(Q, Q, 2 * Q)
    BeadEvaluator(springs.Springs(), water).evaluate(alone)
    members = [Scaled(springs, factor) for factor in factors]
    extras = BeadEvaluator(members, water).evaluate(batch)
    for n, text in enumerate(extras):
        committee = json.loads(text)
        assert set(committee) == {"committee_pot", "committee_force", "committee_virial"}
        for m, factor in enumerate(factors):
            assert committee["committee_pot"][m] == pytest.approx(factor * alone.energies[n])
            flat = factor * alone.forces[n].ravel()
            np.testing.assert_allclose(committee["committee_force"][m], flat)
            virial = factor * alone.virials[n]
            np.testing.assert_allclose(committee["committee_virial"][m], virial)
        assert batch.energies[n] == pytest.approx(1.5 * alone.energies[n])
        np.testing.assert_allclose(batch.forces[n], 1.5 * alone.forces[n])
        np.testing.assert_allclose(batch.virials[n], 1.5 * alone.virials[n])


def test_committee_of_one_is_refused(springs: Any, water: Template) -> None:
    with pytest.raises(ForcemapError, match="needs two potentials or more"):
        BeadEvaluator([springs.Springs()], water)
