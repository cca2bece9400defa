"""Evaluates many structures of the same atoms at once: a façade over the C++ core."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from forcemap.potentials import _core
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from forcemap.potentials.evaluator import Potential

__all__ = ["BatchEvaluator"]

Array = NDArray[np.float64]


class BatchEvaluator:
    """Evaluates batches of structures that differ in positions and cells only.

    It keeps neighbour lists with a skin, as many as the structures need (the beads of a path), and
    verifies at every call that they hold; the order of the structures does not matter. It has
    threads of its own; calls from several threads wait for each other. A copy, also a pickled one,
    has the same potential and settings and lists of its own.
    """

    def __init__(
        self,
        potential: Potential,
        numbers: ArrayLike,
        pbc: ArrayLike,
        *,
        skin: float = 0.5,
        threads: int = 1,
        length: float = 1.0,
        energy: float = 1.0,
    ) -> None:
        """Prepare for the atoms of a structure.

        Args:
            potential: from `forcemap.potentials.load`.
            numbers: (n,) atomic numbers.
            pbc: (3,) or one boolean; which directions are periodic.
            skin: Å beyond the cutoff in the neighbour lists.
            threads: threads over structures and atoms.
            length: the caller's unit of length: so many of them are one Å.
            energy: the caller's unit of energy: so many of them are one eV.

        Raises:
            ForcemapError: an element that the potential lacks, or an option out of its range.
        """
        # Copies, as the caller may change what it gave.
        self._numbers = np.array(numbers, dtype=np.int32)
        self._pbc = np.array(np.broadcast_to(np.asarray(pbc, dtype=bool), (3,)))
        self.potential = potential
        self._settings = float(skin), int(threads), float(length), float(energy)
        self._core = _core.BatchCalculator(
            potential.core, self._numbers, self._pbc, *self._settings
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled and copied by potential and settings."""
        return _made, (type(self), self.potential, self._numbers, self._pbc, self._settings)

    def compute(
        self,
        cells: Array,
        positions: Array,
        energies: Array,
        forces: Array,
        virials: Array,
        grades: Array | None = None,
    ) -> None:
        """Evaluate s structures; equal ones that follow each other only once.

        Args:
            cells: (s, 3, 3) lattice vectors in the columns.
            positions: (s, n, 3).
            energies: (s,) to be filled.
            forces: (s, n, 3) to be filled.
            virials: (s, 3, 3) to be filled with minus the derivative of the energy by strain.
            grades: (s, n) to be filled with extrapolation grades; None: they are not wanted.

        Raises:
            ForcemapError: a structure cannot be evaluated; its `structure` says which. Or grades of
                a potential that has none.
            ValueError: arrays that do not fit together.
        """
        self._core.compute(cells, positions, energies, forces, virials, grades)

    @property
    def fault(self) -> int:
        """Which structure of the batch the last error of `compute`, in any thread, is about."""
        return int(self._core.fault)

    @property
    def evaluations(self) -> int:
        """Structures evaluated so far, repetitions left out."""
        return int(self._core.evaluations)

    @property
    def rebuilds(self) -> int:
        """Neighbour lists built so far."""
        return int(self._core.rebuilds)

    @property
    def slots(self) -> int:
        """Neighbour lists kept."""
        return int(self._core.slots)


def _made(
    kind: type[BatchEvaluator],
    potential: Potential,
    numbers: ArrayLike,
    pbc: ArrayLike,
    settings: tuple[float, int, float, float],
) -> BatchEvaluator:
    skin, threads, length, energy = settings
    return kind(potential, numbers, pbc, skin=skin, threads=threads, length=length, energy=energy)
