"""Evaluates the structures that i-PI sends, for `client` and `pes`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from forcemap.ipi_driver.atom_order import check_order
from forcemap.ipi_driver.protocol import Batch
from forcemap.ipi_driver.template import Template
from forcemap.ipi_driver.units import BOHR_PER_ANGSTROM, HARTREE_PER_EV, structure_from_ipi
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.process_lock import ProcessLock
from numpy.typing import ArrayLike, NDArray

__all__ = ["FAULT_FILE", "BatchEvaluatorLike", "BeadEvaluator", "PotentialLike"]

FAULT_FILE = "forcemap_driver_fault.xyz"
"""File in the working folder for a structure that could not be evaluated."""

Array = NDArray[np.float64]


class BatchEvaluatorLike(Protocol):
    """What evaluates batches, such as `forcemap.potentials.BatchEvaluator`."""

    @property
    def evaluations(self) -> int:
        """Structures evaluated so far."""

    @property
    def fault(self) -> int:
        """Number of the structure that the last error is about."""

    def compute(
        self, cells: Array, positions: Array, energies: Array, forces: Array, virials: Array
    ) -> None:
        """Fill the last three with finite numbers, or raise ForcemapError."""


class PotentialLike(Protocol):
    """What makes evaluators, such as `forcemap.potentials.Potential`."""

    def batch_evaluator(
        self,
        numbers: ArrayLike,
        pbc: ArrayLike,
        *,
        skin: float,
        threads: int,
        length: float,
        energy: float,
    ) -> BatchEvaluatorLike:
        """A new evaluator; arguments as of `forcemap.potentials.Potential.batch_evaluator`."""


class BeadEvaluator:
    """Evaluates batches of structures in atomic units, with one potential or a committee.

    Threads may share one: their calls wait for each other.
    """

    def __init__(
        self,
        potentials: PotentialLike | Sequence[PotentialLike],
        template: Template,
        skin: float = 0.5,
        threads: int = 1,
    ) -> None:
        """Prepare for the template's atoms.

        Args:
            potentials: one, or two or more, a committee, which answers with the mean and puts its
                members' answers into the extras, as i-PI's ``<ffcommittee>`` reads them.
            template: elements and periodicity.
            skin: of the neighbour lists, Å; 0 builds a list for every structure.
            threads: threads over structures and atoms.

        Raises:
            ForcemapError: a committee of one.
        """
        self.template = template
        committee = isinstance(potentials, Sequence)
        members = list(potentials) if isinstance(potentials, Sequence) else [potentials]
        if committee and len(members) < 2:
            raise ForcemapError(
                "a committee needs two potentials or more: i-PI takes the spread of one for NaN"
            )
        self._committee = committee
        self._compared = False
        self._members = [
            member.batch_evaluator(
                template.numbers,
                template.pbc,
                skin=skin,
                threads=threads,
                length=BOHR_PER_ANGSTROM,
                energy=HARTREE_PER_EV,
            )
            for member in members
        ]
        self._answers: list[Batch] = []  # of the members of a committee
        self._lock = ProcessLock()

    @property
    def n_atoms(self) -> int:
        """Atoms of the template."""
        return len(self.template.numbers)

    @property
    def evaluations(self) -> int:
        """Structures evaluated so far, repetitions left out."""
        return self._members[0].evaluations

    def evaluate(self, batch: Batch) -> list[str]:
        """Fill the batch's answers; returns the extras, a text for each structure.

        Equal structures that follow each other are evaluated once: i-PI fills an incomplete batch
        by repeating its last structure.

        The first structure is compared with the template (`check_order`).

        Raises:
            ForcemapError: a structure cannot be evaluated (the message names `FAULT_FILE`, which
                holds it), or the first one is not the template's.
        """
        with self._lock:
            return self._evaluate(batch)

    def _evaluate(self, batch: Batch) -> list[str]:
        if not self._compared:
            check_order(self.template, *structure_from_ipi(batch.cells[0], batch.positions[0]))
            self._compared = True
        if not self._committee:
            self._compute(self._members[0], batch, batch)
            return [""] * len(batch.energies)
        if not self._answers or len(self._answers[0].energies) != len(batch.energies):
            self._answers = [Batch.empty(batch.cells, self.n_atoms) for _ in self._members]
        for member, answer in zip(self._members, self._answers, strict=True):
            self._compute(member, batch, answer)
        np.mean([a.energies for a in self._answers], axis=0, out=batch.energies)
        np.mean([a.forces for a in self._answers], axis=0, out=batch.forces)
        np.mean([a.virials for a in self._answers], axis=0, out=batch.virials)
        extras: list[str] = []
        for n in range(len(batch.energies)):
            repeated = n and np.array_equal(batch.positions[n], batch.positions[n - 1])
            same_cell = n and np.array_equal(batch.cells[n], batch.cells[n - 1])
            extras.append(extras[-1] if repeated and same_cell else self._committee_extras(n))
        return extras

    def _compute(self, member: BatchEvaluatorLike, structures: Batch, answers: Batch) -> None:
        try:
            member.compute(
                structures.cells,
                structures.positions,
                answers.energies,
                answers.forces,
                answers.virials,
            )
        except ForcemapError as error:
            where = self._write_fault(structures, member.fault)
            cause = ""
            if not np.isfinite(structures.positions[member.fault]).all():
                cause = (
                    "; have the atoms flown apart in i-PI, with too large a timestep or from a "
                    "structure far from the training data?"
                )
            raise ForcemapError(f"cannot evaluate a structure: {error}; {where}{cause}") from error

    def _committee_extras(self, n: int) -> str:
        return json.dumps(
            {
                "committee_pot": [float(a.energies[n]) for a in self._answers],
                "committee_force": [a.forces[n].ravel().tolist() for a in self._answers],
                "committee_virial": [a.virials[n].tolist() for a in self._answers],
            }
        )

    def _write_fault(self, structures: Batch, which: int) -> str:
        """Write a structure to `FAULT_FILE`, complete or not at all; returns what to report."""
        import ase
        import ase.io

        cell, positions = structure_from_ipi(structures.cells[which], structures.positions[which])
        atoms = ase.Atoms(self.template.numbers, positions, cell=cell, pbc=self.template.pbc)
        temporary = f"{FAULT_FILE}.{os.getpid()}"
        try:
            ase.io.write(temporary, atoms, format="extxyz")
            os.replace(temporary, FAULT_FILE)
        except OSError as error:
            return f"nor could it be written to {FAULT_FILE}: {error}"
        return f"it is in {os.path.abspath(FAULT_FILE)}"
