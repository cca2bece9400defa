"""Evaluates the structures that i-PI sends, for `client` and `pes`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from forcemap.ipi_driver.atom_order import check_order
from forcemap.ipi_driver.committee import DrawnCommittee, PotentialWithDraws, committee_extras
from forcemap.ipi_driver.protocol import Batch
from forcemap.ipi_driver.tally import GradeTally
from forcemap.ipi_driver.template import Template
from forcemap.ipi_driver.units import BOHR_PER_ANGSTROM, HARTREE_PER_EV, structure_from_ipi
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.process_lock import ProcessLock
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "FAULT_FILE",
    "LOOK_EVERY",
    "BatchEvaluatorLike",
    "BeadEvaluator",
    "Extras",
    "PotentialLike",
]

FAULT_FILE = "forcemap_driver_fault.xyz"
"""File in the working folder for a structure that could not be evaluated."""

LOOK_EVERY = 31
"""Messages between looks at the grades when nobody asked for them. The beads come one by one in a fixed
order or all at once; their number is seldom a multiple of this, so that each has its turn."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Extras:
    """What i-PI gets beside energies, forces and virials.

    Attributes:
        committee: so many members, made from the draws of one potential; None: no committee.
        grade: the atoms' extrapolation grades, and the largest.
    """

    committee: int | None = None
    grade: bool = False


class BatchEvaluatorLike(Protocol):
    """What evaluates batches, such as `forcemap.potentials.BatchEvaluator`."""

    @property
    def evaluations(self) -> int:
        """Structures evaluated so far."""

    @property
    def fault(self) -> int:
        """Number of the structure that the last error is about."""

    def compute(
        self,
        cells: Array,
        positions: Array,
        energies: Array,
        forces: Array,
        virials: Array,
        grades: Array | None,
    ) -> None:
        """Fill all but the first two with finite numbers, or raise ForcemapError."""


class PotentialLike(PotentialWithDraws, Protocol):
    """What makes evaluators, such as `forcemap.potentials.Potential`."""

    @property
    def has_grade(self) -> bool:
        """Whether its evaluators can grade atoms."""

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
        extras: Extras | None = None,
    ) -> None:
        """Prepare for the template's atoms.

        Args:
            potentials: one, or two or more, a committee, which answers with the mean and puts its
                members' answers into the extras, as i-PI's ``<ffcommittee>`` reads them.
            template: elements and periodicity.
            skin: of the neighbour lists, Å; 0 builds a list for every structure.
            threads: threads over structures and atoms.
            extras: what i-PI shall get beside the answers; None: nothing, but from a committee of
                several potentials its members. The grade of an atom for such a committee is the
                largest of its members'.

        Raises:
            ForcemapError: a committee of one, or one of several potentials and of draws; a committee
                or grades of a potential that has no draws or no grade.
        """
        extras = extras or Extras()
        self.template = template
        self._committee = isinstance(potentials, Sequence)
        members = list(potentials) if isinstance(potentials, Sequence) else [potentials]
        _check_members(members, self._committee, extras)
        self._gradable = all(member.has_grade for member in members)
        self._drawn: DrawnCommittee | None = None
        if extras.committee is not None:
            self._drawn = DrawnCommittee(members[0], template, extras.committee, skin, threads)
        self._send_grades = extras.grade
        self._messages = 0
        self._compared = False
        self.tally = GradeTally()
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
        looking = self._send_grades or (self._gradable and self._messages % LOOK_EVERY == 0)
        self._messages += 1
        grades = np.empty(batch.positions.shape[:2]) if looking else None
        if self._committee:
            self._compute_members(batch, grades)
        else:
            self._compute(self._members[0], batch, batch, grades)
        speaking = self._committee or self._drawn is not None or self._send_grades
        if not speaking and grades is None:
            return [""] * len(batch.energies)
        repeated = _repeated(batch)
        if grades is not None:
            self.tally.count(grades[~repeated])
        if not speaking:
            return [""] * len(batch.energies)
        extras: list[str] = []
        for n, again in enumerate(repeated):
            extras.append(extras[-1] if again else json.dumps(self._extras(batch, grades, n)))
        return extras

    def _compute_members(self, batch: Batch, grades: Array | None) -> None:
        """Answers of each of several potentials, and their mean; the largest of their grades."""
        if not self._answers or len(self._answers[0].energies) != len(batch.energies):
            self._answers = [Batch.empty(batch.cells, self.n_atoms) for _ in self._members]
        if grades is not None:
            grades.fill(0.0)
        for member, answer in zip(self._members, self._answers, strict=True):
            own = None if grades is None else np.empty_like(grades)
            self._compute(member, batch, answer, own)
            if grades is not None and own is not None:
                np.maximum(grades, own, out=grades)
        np.mean([a.energies for a in self._answers], axis=0, out=batch.energies)
        np.mean([a.forces for a in self._answers], axis=0, out=batch.forces)
        np.mean([a.virials for a in self._answers], axis=0, out=batch.virials)

    def _compute(
        self,
        member: BatchEvaluatorLike,
        structures: Batch,
        answers: Batch,
        grades: Array | None,
    ) -> None:
        try:
            member.compute(
                structures.cells,
                structures.positions,
                answers.energies,
                answers.forces,
                answers.virials,
                grades,
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

    def _extras(self, batch: Batch, grades: Array | None, n: int) -> dict[str, Any]:
        """Those of the structure `n`."""
        content: dict[str, Any] = {}
        if self._committee:
            content |= committee_extras(
                np.array([a.energies[n] for a in self._answers]),
                np.array([a.forces[n] for a in self._answers]),
                np.array([a.virials[n] for a in self._answers]),
            )
        elif self._drawn is not None:
            content |= self._drawn.extras(
                batch.cells[n],
                batch.positions[n],
                float(batch.energies[n]),
                batch.forces[n],
                batch.virials[n],
            )
        if self._send_grades and grades is not None:
            content |= {"grade": grades[n].tolist(), "grade_max": float(grades[n].max(initial=0.0))}
        return content

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


def _check_members(members: Sequence[PotentialLike], committee: bool, extras: Extras) -> None:
    """Raise ForcemapError for potentials that cannot be a committee, or not give the grades."""
    if committee and len(members) < 2:
        raise ForcemapError(
            "a committee needs two potentials or more: i-PI takes the spread of one for NaN"
        )
    if committee and extras.committee is not None:
        raise ForcemapError("a committee is made from several potentials, or from one's draws")
    ungraded = [member.name for member in members if extras.grade and not member.has_grade]
    if ungraded:
        raise ForcemapError(
            f"{ungraded[0]} has no extrapolation grade: fit again with this version of forcemap"
        )


def _repeated(batch: Batch) -> NDArray[np.bool_]:
    """(structures,) which of them are the one before once more."""
    again = np.zeros(len(batch.energies), dtype=bool)
    for n in range(1, len(again)):
        again[n] = np.array_equal(batch.positions[n], batch.positions[n - 1]) and np.array_equal(
            batch.cells[n], batch.cells[n - 1]
        )
    return again
