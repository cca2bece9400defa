"""Loads a potential and evaluates structures with it: a façade over the C++ core."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Any, Protocol
from weakref import WeakValueDictionary

import numpy as np
from forcemap.potentials import _core
from forcemap.potentials.batch import BatchEvaluator
from forcemap.potentials.deviations import Deviations
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.grade import Moments
from forcemap.potentials.uncertainty import Uncertainty
from numpy.typing import ArrayLike, NDArray

__all__ = ["Evaluator", "Potential", "Result", "Structure", "load"]

DEFAULT_SKIN = 0.5
"""Å. Lists live for tens of steps in a solid at a few hundred kelvin; the list grows by a third."""


class Structure(Protocol):
    """What has a structure's arrays under these names, in Å: ASE's ``Atoms``, for one."""

    @property
    def positions(self) -> ArrayLike:
        """(n, 3) Å."""

    @property
    def numbers(self) -> ArrayLike:
        """(n,) atomic numbers."""

    @property
    def cell(self) -> ArrayLike:
        """(3, 3) rows are lattice vectors, Å."""

    @property
    def pbc(self) -> ArrayLike:
        """(3,) which directions are periodic."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a structure's evaluation gives.

    Attributes:
        energy: potential energy, isolated atoms included, eV.
        energies: (n,) site energies, eV; they sum to ``energy``.
        forces: (n, 3) eV/Å.
        virial: (3, 3) minus the derivative of the energy by strain, eV; ``-virial / volume`` is
            the stress in ASE's sign.
        grades: (n,) extrapolation grades, if they were asked for: 1 is the 99 % quantile of the
            training atoms.
    """

    energy: float
    energies: NDArray[np.float64]
    forces: NDArray[np.float64]
    virial: NDArray[np.float64]
    grades: NDArray[np.float64] | None = None


class Potential:
    """A mapped potential; immutable, shared by any number of evaluators and threads.

    It keeps the bytes of its file, which is what pickling sends: the file need not exist any more,
    and may be another one by then. A copy is the potential itself.

    >>> from ase.build import bulk
    >>> from forcemap.potentials import load
    >>> potential = load("potential.forcemap")
    >>> result = potential.evaluate(bulk("Si", cubic=True), threads=2)
    >>> energy, forces = result.energy, result.forces   # eV; (8, 3) eV/Å
    >>> bool(abs(energy - result.energies.sum()) < 1e-9)
    True
    >>> potential.species, potential.cutoff             # Å
    (['Si'], 5.0)
    """

    def __init__(self, content: bytes, name: str = "potential") -> None:
        """Potential from the bytes of a file; `name` is used in messages. `load` reads a file.

        Raises:
            ForcemapError: the content is not a usable potential file.
        """
        self.core = _core.Potential.parse(content, name)
        self.name = name
        self._content = content

    @classmethod
    def from_bytes(cls, content: bytes, name: str = "potential") -> Potential:
        """As `Potential(content, name)`."""
        return cls(content, name)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by the bytes of its file."""
        return _unpickled, (self._content, self.name)

    def __copy__(self) -> Potential:
        """Nothing of it can change."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Potential:
        """Nothing of it can change."""
        return self

    @property
    def numbers(self) -> list[int]:
        """Atomic numbers of the elements, increasing."""
        return list(self.core.numbers)

    @property
    def species(self) -> list[str]:
        """Symbols of the elements in the order of `numbers`."""
        return [SYMBOLS[z] for z in self.core.numbers]

    @property
    def cutoff(self) -> float:
        """Largest cutoff of all terms, Å."""
        return float(self.core.cutoff)

    @property
    def e0(self) -> dict[str, float]:
        """Energy of each element's isolated atom, eV."""
        return dict(zip(self.species, self.core.e0, strict=True))

    @property
    def draws(self) -> int:
        """The number of draws from the posterior of the fit's weights; 0: it has none."""
        return int(self.core.draws)

    @property
    def uncertainty(self) -> Uncertainty | None:
        """What the draws' deviations become; None where the file has no calibration."""
        document = self.metadata.get("uncertainty")
        return None if document is None else Uncertainty.read(document)

    @property
    def has_grade(self) -> bool:
        """Whether it can grade atoms."""
        return bool(self.core.has_grade)

    @property
    def without_draws(self) -> str:
        """Message on a potential that has no draws, and what to do."""
        return str(_core.without_draws(self.name))

    @property
    def without_grade(self) -> str:
        """Message on a potential that has no extrapolation grade, and what to do."""
        return str(_core.without_grade(self.name))

    def feature_counts(self, moments: Moments | None = None) -> dict[str, int]:
        """How many features the sites of each element have; see `Evaluator.features`.

        Raises ForcemapError for moments out of range.
        """
        return dict(zip(self.species, self.core.feature_counts(_plain(moments)), strict=True))

    @property
    def metadata(self) -> dict[str, Any]:
        """The file's JSON document: terms, provenance, errors of the map."""
        document: dict[str, Any] = json.loads(self.core.metadata)
        return document

    def evaluate(self, structure: Structure, *, threads: int = 1, grades: bool = False) -> Result:
        """Energy, forces and virial of one structure, such as ASE's ``Atoms``.

        Args:
            structure: its positions, numbers, cell and pbc are read.
            threads: number of threads over atoms.
            grades: whether to grade the atoms, too.

        Raises:
            ForcemapError, ValueError: as `Evaluator.compute`.
        """
        arrays = structure.positions, structure.numbers, structure.cell, structure.pbc
        return self.evaluator(skin=0.0, threads=threads).compute(*arrays, grades=grades)

    def evaluator(self, skin: float = DEFAULT_SKIN, threads: int = 1) -> Evaluator:
        """A new evaluator with its own neighbour list.

        Args:
            skin: Å beyond the cutoff that the neighbour list holds; 0 rebuilds it at every call.
            threads: number of threads over atoms. Each sums the forces on its own; so results of other
                numbers of threads differ by rounding, at most 1e-12 of the largest.

        Raises ForcemapError for a negative skin, or less than one thread.
        """
        return Evaluator(self, skin, threads)

    def batch_evaluator(
        self,
        numbers: ArrayLike,
        pbc: ArrayLike,
        *,
        skin: float = DEFAULT_SKIN,
        threads: int = 1,
        length: float = 1.0,
        energy: float = 1.0,
    ) -> BatchEvaluator:
        """A new evaluator for many structures of the same atoms; see `BatchEvaluator`."""
        return BatchEvaluator(
            self, numbers, pbc, skin=skin, threads=threads, length=length, energy=energy
        )

    def __repr__(self) -> str:
        """Name, elements and cutoff."""
        return f"Potential({self.name!r}, species={self.species}, cutoff={self.cutoff:g})"


_received: WeakValueDictionary[tuple[str, bytes], Potential] = WeakValueDictionary()
"""Potentials that came by pickle and are in use: a thousand results of a pool share one."""


def _unpickled(content: bytes, name: str) -> Potential:
    key = (name, hashlib.blake2b(content).digest())
    potential = _received.get(key)
    if potential is None:
        potential = _received[key] = Potential(content, name)
    return potential


class Evaluator:
    """Evaluates structures one after another, keeping the neighbour list while it holds.

    Threads may share one: their calls wait for each other, and the neighbour list is built anew
    whenever the structure changes. For speed make one evaluator per thread (or per bead). A copy,
    also a pickled one, has the same potential and settings and a list of its own.
    """

    def __init__(self, potential: Potential, skin: float = DEFAULT_SKIN, threads: int = 1) -> None:
        """An evaluator with `threads` and a neighbour list of so large a `skin` (Å).

        Raises ForcemapError for a negative skin or no threads.
        """
        self.potential = potential
        self.skin = float(skin)
        self.threads = int(threads)
        self._core = _core.Calculator(potential.core, self.skin, self.threads)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled and copied by potential and settings."""
        return type(self), (self.potential, self.skin, self.threads)

    def compute(
        self,
        positions: ArrayLike,
        numbers: ArrayLike,
        cell: ArrayLike,
        pbc: ArrayLike,
        grades: bool = False,
    ) -> Result:
        """Energy, forces and virial of a structure.

        Args:
            positions: (n, 3) Å; need not lie in the cell.
            numbers: (n,) atomic numbers, all of them elements of the potential.
            cell: (3, 3) rows are lattice vectors, Å; rows of open directions may be zero.
            pbc: (3,) or one boolean; which directions are periodic.
            grades: whether to grade the atoms, too.

        Raises:
            ForcemapError: unknown element, non-finite input, singular cell, atoms in one place; or
                grades of a potential that has none.
            ValueError: arrays of the wrong shape.
        """
        if grades and not self.potential.has_grade:
            raise ForcemapError(self.potential.without_grade)
        return Result(*self._core.compute(*_checked(positions, numbers, cell, pbc), grades))

    def deviations(
        self, positions: ArrayLike, numbers: ArrayLike, cell: ArrayLike, pbc: ArrayLike
    ) -> Deviations:
        """Deviations of a structure's energy, forces and stress, by the potential's draws.

        Arguments and errors as for `compute`; ForcemapError also where the potential has no draws.
        """
        if not self.potential.draws:
            raise ForcemapError(self.potential.without_draws)
        arrays = _checked(positions, numbers, cell, pbc)
        energies, forces, virials = self._core.compute_draws(*arrays)
        _, _, lattice, periodic = arrays
        volume = float(abs(np.linalg.det(lattice))) if periodic.all() else None
        return Deviations(
            energies, forces, virials, volume, self.potential.uncertainty or Uncertainty()
        )

    def features(
        self,
        positions: ArrayLike,
        numbers: ArrayLike,
        cell: ArrayLike,
        pbc: ArrayLike,
        moments: Moments | None = None,
    ) -> NDArray[np.float64]:
        """Features of a structure's sites, which grades are made from: (n, most features of a species).

        Those of the potential's terms, or `moments`. Zeros stand beyond the features of an atom's
        species (`Potential.feature_counts`). Arguments and errors as for `compute`.
        """
        arrays = _checked(positions, numbers, cell, pbc)
        return np.asarray(self._core.features(*arrays, _plain(moments)))

    @property
    def rebuilds(self) -> int:
        """Neighbour lists built so far."""
        return int(self._core.rebuilds)


def _checked(
    positions: ArrayLike, numbers: ArrayLike, cell: ArrayLike, pbc: ArrayLike
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Positions, numbers, cell and pbc as the core takes them."""
    positions = np.ascontiguousarray(positions, dtype=np.float64)
    numbers = np.ascontiguousarray(numbers, dtype=np.int32)
    cell = np.ascontiguousarray(cell, dtype=np.float64)
    pbc = np.ascontiguousarray(np.broadcast_to(np.asarray(pbc, dtype=bool), (3,)))
    if positions.ndim != 2 or positions.shape[1] != 3 or numbers.shape != positions.shape[:1]:
        raise ValueError(
            f"positions must be (n, 3) and numbers (n,), found {positions.shape} and "
            f"{numbers.shape}"
        )
    if cell.shape != (3, 3):
        raise ValueError(f"cell must be (3, 3), found {cell.shape}")
    return positions, numbers, cell, pbc


def _plain(moments: Moments | None) -> tuple[float, int, float, int] | None:
    """As the core takes them."""
    if moments is None:
        return None
    angular = moments.angular
    of_angles = (0.0, 0) if angular is None else (angular.cutoff, angular.radial)
    return (moments.cutoff, moments.radial, *of_angles)


def load(path: str | PathLike[str]) -> Potential:
    """Read a potential file (``potential.forcemap``).

    Raises:
        ForcemapError: the file cannot be read or is not a usable potential; the text says why.
    """
    return Potential(_core.read_bytes(fspath(path)), fspath(path))
