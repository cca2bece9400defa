"""Evaluates the structures that i-PI sends; `client` and `pes` share it.

Path integrals send a structure per bead in turn. Beads of light atoms lie farther apart than a
neighbour list stands, and one list would be rebuilt at nearly every structure; so beads have
evaluators of their own. i-PI does not say which bead a structure is: it is recognised by where its
atoms are. (Hydrogen's mass, 64 atoms, 16 beads: a quarter of the structures need a new list, with
one evaluator nine in ten do. The beads of silicon share one.)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from forcemap.ipi_driver.protocol import Reply, Request
from forcemap.ipi_driver.template import Template
from forcemap.ipi_driver.units import reply_to_ipi, structure_from_ipi
from forcemap.potentials.errors import ForcemapError
from numpy.typing import NDArray

__all__ = ["FAULT_FILE", "BeadEvaluator", "EvaluatorLike", "PotentialLike", "ResultLike"]

FAULT_FILE = "forcemap_driver_fault.xyz"
"""Where the structure goes that could not be evaluated, in the working folder."""

MAX_SLOTS = 64  # beads served by one client
MAX_SLOT_ATOMS = 2_000_000  # over all slots: bounds what their neighbour lists take
PROBE_ATOMS = 256  # enough to tell beads apart


class ResultLike(Protocol):
    """What an evaluation gives: eV, (n, 3) eV/Å, (3, 3) eV."""

    @property
    def energy(self) -> float:
        """Potential energy, eV."""

    @property
    def forces(self) -> NDArray[np.float64]:
        """(n, 3) eV/Å."""

    @property
    def virial(self) -> NDArray[np.float64]:
        """(3, 3) -V * stress, eV."""


class EvaluatorLike(Protocol):
    """What evaluates one structure after another, such as `forcemap.potentials.Evaluator`."""

    def compute(
        self,
        positions: NDArray[np.float64],
        numbers: NDArray[np.int32],
        cell: NDArray[np.float64],
        pbc: NDArray[np.bool_],
    ) -> ResultLike:
        """Evaluate positions (n, 3) Å in a cell (3, 3) of row vectors, Å."""


class PotentialLike(Protocol):
    """What makes evaluators, such as `forcemap.potentials.Potential`."""

    def evaluator(self, skin: float, threads: int) -> EvaluatorLike:
        """A new evaluator; `skin` in Å."""


class BeadEvaluator:
    """Evaluates structures in atomic units, each with the evaluator that knows it best."""

    def __init__(
        self, potential: PotentialLike, template: Template, skin: float = 0.5, threads: int = 1
    ) -> None:
        """Prepare for the template's atoms.

        Args:
            potential: makes the evaluators.
            template: elements and periodicity.
            skin: of the neighbour lists, Å; 0 builds a list for every structure.
            threads: threads over atoms.
        """
        self.template = template
        self.n_evaluations = 0
        limit = min(MAX_SLOTS, MAX_SLOT_ATOMS // len(template.numbers)) if skin > 0 else 1
        # A list stands displacements of half the skin: farther apart, sharing one does not pay.
        self._slots = _Slots(lambda: potential.evaluator(skin, threads), skin / 2, max(limit, 1))

    @property
    def n_atoms(self) -> int:
        """Atoms of the template."""
        return len(self.template.numbers)

    def evaluate(self, requests: Sequence[Request]) -> list[Reply]:
        """Evaluate structures; equal ones that follow each other only once.

        i-PI fills an incomplete batch by repeating its last structure.

        Raises:
            ForcemapError: a structure cannot be evaluated or the result is not finite. The
                structure is in `FAULT_FILE`, which the message says.
        """
        replies: list[Reply] = []
        for n, request in enumerate(requests):
            if n and _same(request, requests[n - 1]):
                replies.append(replies[-1])
            else:
                replies.append(self._evaluate_one(request))
        return replies

    def _evaluate_one(self, request: Request) -> Reply:
        cell, positions = structure_from_ipi(request.cell, request.positions)
        try:
            if not (np.isfinite(positions).all() and np.isfinite(cell).all()):
                raise ForcemapError("the server sent positions or a cell that are not finite")
            result = self._slots.choose(positions).compute(
                positions, self.template.numbers, cell, self.template.pbc
            )
            _check_finite(result)
        except ForcemapError as error:
            where = _write_fault(self.template, cell, positions)
            raise ForcemapError(f"cannot evaluate a structure: {error}; {where}") from error
        self.n_evaluations += 1
        return Reply(*reply_to_ipi(result.energy, result.forces, result.virial))


@dataclass(slots=True)
class _Slot:
    evaluator: EvaluatorLike
    probe: NDArray[np.float64]  # (m, 3) Å, the first atoms of what it evaluated last
    used: int  # when that was


class _Slots:
    """Evaluators, each with the positions it saw last."""

    def __init__(self, make: Callable[[], EvaluatorLike], radius: float, limit: int) -> None:
        """`make` gives a new evaluator; a structure that has moved by less than `radius` is known.

        At most `limit` evaluators are made.
        """
        self._make = make
        self._radius = radius
        self._limit = limit
        self._slots: list[_Slot] = []
        self._clock = 0

    def choose(self, positions: NDArray[np.float64]) -> EvaluatorLike:
        """The evaluator that saw the nearest positions; if they are not near, another one.

        That is a new one, or the one unused for longest when there are enough of them.
        """
        self._clock += 1
        probe = positions[:PROBE_ATOMS].copy()
        slot = self._nearest(probe)
        if slot is None and len(self._slots) < self._limit:
            slot = _Slot(self._make(), probe, self._clock)
            self._slots.append(slot)
        elif slot is None:
            slot = min(self._slots, key=lambda candidate: candidate.used)
        slot.probe, slot.used = probe, self._clock
        return slot.evaluator

    def _nearest(self, probe: NDArray[np.float64]) -> _Slot | None:
        nearest, least = None, self._radius
        for slot in self._slots:
            distance = float(np.abs(probe - slot.probe).max())
            if distance < least:
                nearest, least = slot, distance
        return nearest


def _same(one: Request, other: Request) -> bool:
    return np.array_equal(one.positions, other.positions) and np.array_equal(one.cell, other.cell)


def _check_finite(result: ResultLike) -> None:
    for name, values in (
        ("energy", result.energy),
        ("forces", result.forces),
        ("virial", result.virial),
    ):
        if not np.isfinite(values).all():
            raise ForcemapError(f"the potential gave a non-finite {name.rstrip('s')}")


def _write_fault(
    template: Template, cell: NDArray[np.float64], positions: NDArray[np.float64]
) -> str:
    """Write the structure to `FAULT_FILE`, complete or not at all; returns what to tell."""
    import ase
    import ase.io

    atoms = ase.Atoms(template.numbers, positions, cell=cell, pbc=template.pbc)
    temporary = f"{FAULT_FILE}.{os.getpid()}"
    try:
        ase.io.write(temporary, atoms, format="extxyz")
        os.replace(temporary, FAULT_FILE)
    except OSError as error:
        return f"nor could it be written to {FAULT_FILE}: {error}"
    return f"it is in {os.path.abspath(FAULT_FILE)}"
