"""A potential with a known answer: each atom on a spring to the origin; and a client with it.

As a script it is a client for i-PI that misbehaves on request::

    python springs.py ADDRESS TEMPLATE [fault | hang]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from forcemap.potentials.errors import ForcemapError
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Answer:
    energy: float
    forces: Array
    virial: Array


class Springs:
    """E = sum_i k_i r_i² / 2, k_i = 0.01 Z_i eV/Å². Counts evaluators and evaluations.

    It is its own evaluator, one structure after another, in units of its own conversion.
    """

    def __init__(self, before: Callable[[int], None] = lambda count: None) -> None:
        """`before` is called with the number of earlier evaluations."""
        self.before = before
        self.evaluations = 0
        self.fault = 0

    name = "springs"
    has_grade = False
    draws = 0
    uncertainty = None

    def batch_evaluator(self, numbers: Any, pbc: Any, **settings: float) -> Springs:
        self.numbers = np.asarray(numbers)
        self.length, self.unit = settings["length"], settings["energy"]
        return self

    def compute(
        self,
        cells: Array,
        positions: Array,
        energies: Array,
        forces: Array,
        virials: Array,
        grades: Array | None = None,
    ) -> None:
        for n, structure in enumerate(positions):
            self.fault = n
            if not np.isfinite(structure).all() or not np.isfinite(cells[n]).all():
                raise ForcemapError("something is not finite")
            answer = self.answer(structure / self.length, self.numbers)
            energies[n] = answer.energy * self.unit
            forces[n] = answer.forces * self.unit / self.length
            virials[n] = answer.virial * self.unit

    def answer(self, positions: Array, numbers: Any) -> Answer:
        """In eV and Å."""
        self.before(self.evaluations)
        self.evaluations += 1
        k = 0.01 * numbers[:, None]
        forces = -k * positions
        with np.errstate(over="ignore", invalid="ignore"):  # servers may send any number
            return Answer(0.5 * float(np.sum(k * positions**2)), forces, positions.T @ forces)


def hang(count: int) -> None:
    """Stop answering at the fourth evaluation; tells where it is by creating a file."""
    if count == 3:
        Path("hanging").touch()
        time.sleep(300)


class Faulty(Springs):
    """Cannot evaluate its fourth structure."""

    def answer(self, positions: Array, numbers: Any) -> Answer:
        if self.evaluations == 3:
            raise ForcemapError("the potential gave a non-finite force")
        return super().answer(positions, numbers)


def main() -> None:
    from forcemap.ipi_driver import run_driver
    from forcemap.ipi_driver.connection import UnixAddress
    from forcemap.ipi_driver.template import read_template

    address, template, *modes = sys.argv[1:]
    potential: Springs
    if "fault" in modes:
        potential = Faulty()
    elif "hang" in modes:
        potential = Springs(hang)
    else:
        potential = Springs()
    try:
        print(run_driver(potential, read_template(template), UnixAddress(address), timeout=100))
    except ForcemapError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
