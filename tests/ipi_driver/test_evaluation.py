from __future__ import annotations

from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from forcemap.ipi_driver.evaluation import FAULT_FILE, BeadEvaluator
from forcemap.ipi_driver.protocol import Request
from forcemap.ipi_driver.template import Template
from forcemap.potentials.errors import ForcemapError

H = 20.0 * np.eye(3)
Q = np.random.default_rng(3).normal(size=(3, 3))
BOHR = 1.8897261


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_each_bead_has_its_evaluator(springs: Any, water: Template) -> None:
    counting = springs.Springs()
    evaluator = BeadEvaluator(counting, water, skin=0.5)
    rng = np.random.default_rng(5)
    beads = [Q + rng.normal(size=Q.shape) for _ in range(6)]  # about 1 bohr apart
    for _ in range(20):
        for n in rng.permutation(6):
            beads[n] = beads[n] + rng.normal(scale=0.02, size=Q.shape)
            evaluator.evaluate([Request(H, beads[n])])
    assert counting.evaluators == 6
    assert evaluator.n_evaluations == counting.evaluations == 120


def test_beads_within_half_the_skin_share_an_evaluator(springs: Any, water: Template) -> None:
    counting = springs.Springs()
    evaluator = BeadEvaluator(counting, water, skin=0.5)
    for shift in (0.0, 0.2, 0.05):
        evaluator.evaluate([Request(H, Q + shift * BOHR)])
    assert counting.evaluators == 1
    evaluator.evaluate([Request(H, Q + 0.31 * BOHR)])
    assert counting.evaluators == 2


@pytest.mark.parametrize(("skin", "most"), [(0.5, 64), (0.0, 1)])
def test_number_of_evaluators_is_bounded(
    springs: Any, water: Template, skin: float, most: int
) -> None:
    counting = springs.Springs()
    evaluator = BeadEvaluator(counting, water, skin=skin)
    for n in range(100):
        evaluator.evaluate([Request(H, Q + 3.0 * n)])
    assert counting.evaluators == most
    assert counting.evaluations == 100


def test_replies_do_not_depend_on_the_order_of_beads(springs: Any, water: Template) -> None:
    requests = [Request(H, Q + shift) for shift in (0.0, 1.0, 2.0, 1.0, 0.0)]
    together = BeadEvaluator(springs.Springs(), water).evaluate(requests)
    for request, reply in zip(requests, together, strict=True):
        (alone,) = BeadEvaluator(springs.Springs(), water).evaluate([request])
        assert reply.energy == alone.energy
        np.testing.assert_array_equal(reply.forces, alone.forces)


@pytest.mark.parametrize("what", ["energy", "forces", "virial"])
def test_result_that_is_not_finite_is_a_fault_with_its_structure(
    springs: Any, water: Template, what: str
) -> None:
    class Broken(springs.Springs):  # type: ignore[misc]
        def compute(self, *arguments: Any) -> Any:
            answer = super().compute(*arguments)
            values = {
                "energy": answer.energy, "forces": answer.forces, "virial": answer.virial
            }  # fmt: skip
            values[what] = values[what] * np.nan
            return springs.Answer(**values)

    with pytest.raises(ForcemapError, match=rf"non-finite {what[:5]}.*{FAULT_FILE}"):
        BeadEvaluator(Broken(), water).evaluate([Request(H, Q)])
    structure = ase.io.read(FAULT_FILE)
    assert list(structure.symbols) == ["H", "O", "H"]
    np.testing.assert_allclose(structure.positions, Q / BOHR, atol=1e-7)
    np.testing.assert_allclose(structure.cell.array, H / BOHR, rtol=1e-7)
    assert list(Path().iterdir()) == [Path(FAULT_FILE)], "no temporary file stays"


def test_positions_that_are_not_finite_are_written_too(springs: Any, water: Template) -> None:
    q = Q.copy()
    q[0, 0] = np.nan
    counting = springs.Springs()
    with pytest.raises(ForcemapError, match="not finite"):
        BeadEvaluator(counting, water).evaluate([Request(H, q)])
    assert counting.evaluations == 0
    assert np.isnan(ase.io.read(FAULT_FILE).positions[0, 0])


def test_fault_is_told_even_if_it_cannot_be_written(springs: Any, water: Template) -> None:
    (Path(FAULT_FILE) / "in the way").mkdir(parents=True)
    with pytest.raises(ForcemapError, match="not finite; nor could it be written"):
        BeadEvaluator(springs.Springs(), water).evaluate([Request(H, Q * np.inf)])
