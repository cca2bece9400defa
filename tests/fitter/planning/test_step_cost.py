"""What an evaluation costs: the processor's time, whatever else keeps the machine busy."""

from __future__ import annotations

import time
from typing import Any, cast

import structures
from forcemap.fitter.planning.step_cost import ATOMS, microseconds_per_atom
from forcemap.potentials import Potential

SLEEP, WORK = 0.02, 0.004  # seconds


class Waiting:
    """Stands for a potential whose evaluation works for a while and waits for longer."""

    def evaluator(self) -> Waiting:
        return self

    def compute(self, positions: Any, numbers: Any, cell: Any, pbc: Any) -> None:
        self.atoms = len(numbers)
        end = time.thread_time() + WORK
        while time.thread_time() < end:
            pass
        time.sleep(SLEEP)


def test_waiting_does_not_count() -> None:
    """As on a machine whose cores others use; twice the work leaves room for a coarse clock."""
    potential = Waiting()
    frame = structures.as_frame(structures.get("two species"))
    found = microseconds_per_atom(cast(Potential, potential), [frame])
    assert potential.atoms >= ATOMS
    seconds = 1e-6 * found * potential.atoms
    assert 0.9 * WORK < seconds < 2 * WORK < SLEEP
