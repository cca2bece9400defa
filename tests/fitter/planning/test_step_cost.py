"""What an evaluation costs: the processor's time, whatever else keeps the machine busy."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest
import structures
from forcemap.fitter.planning.step_cost import ATOMS, cost_block, microseconds_per_atom
from forcemap.potentials import Potential
from forcemap.potentials.file.potential_file import as_potential
from forcemap.potentials.grade import AngularMoments, Moments
from potentials_factory import random_potential, with_draws, with_grade

SLEEP, WORK = 0.02, 0.004  # seconds


class Waiting:
    """Stands for a potential whose evaluation works for a while and waits for longer.

    With grades twice as long, and the deviations take three times as long.
    """

    has_grade = True
    draws = 16

    def evaluator(self) -> Waiting:
        return self

    def compute(
        self, positions: Any, numbers: Any, cell: Any, pbc: Any, grades: bool = False
    ) -> None:
        self.atoms = len(numbers)
        work(2 if grades else 1)
        time.sleep(SLEEP)

    def deviations(self, positions: Any, numbers: Any, cell: Any, pbc: Any) -> None:
        work(3)


def work(times: int) -> None:
    end = time.thread_time() + times * WORK
    while time.thread_time() < end:
        pass


def test_waiting_does_not_count() -> None:
    """As on a machine whose cores others use; twice the work leaves room for a coarse clock."""
    potential = Waiting()
    frame = structures.as_frame(structures.get("two species"))
    found = microseconds_per_atom(cast(Potential, potential), [frame])
    assert potential.atoms >= ATOMS
    seconds = 1e-6 * found * potential.atoms
    assert 0.9 * WORK < seconds < 2 * WORK < SLEEP


def test_grades_count_beside_the_step_and_deviations_on_their_own() -> None:
    """Each by the processor's clock, whose granularity leaves a tenth."""
    potential = Waiting()
    found = cost_block(
        cast(Potential, potential), [structures.as_frame(structures.get("two species"))]
    )
    step = 1e6 * WORK / potential.atoms
    assert found["run_microseconds_per_atom"] == pytest.approx(step, rel=0.2)
    assert found["grade_microseconds_per_atom"] == pytest.approx(step, rel=0.2)
    assert found["grade_steps"] == pytest.approx(1.0, rel=0.2)
    assert found["deviation_microseconds_per_atom"] == pytest.approx(3.0 * step, rel=0.2)
    assert found["deviation_steps"] == pytest.approx(3.0, rel=0.2)


def test_what_a_potential_has_not_has_no_cost() -> None:
    data = random_potential(["H", "O", "Si"], seed=4)
    frame = structures.as_frame(structures.get("triclinic cell"))
    found = cost_block(as_potential(data), [frame])
    assert found.pop("run_microseconds_per_atom")
    assert set(found.values()) == {None}
    graded = with_grade(data, 2, Moments(4.0, 2, AngularMoments(3.5, 1)))
    found = cost_block(as_potential(graded), [frame])
    assert found["grade_steps"] is not None
    assert found["deviation_steps"] is None
    drawn = cost_block(as_potential(with_draws(data, 4, 1)), [frame])
    assert drawn["grade_steps"] is None
    assert drawn["deviation_steps"]
