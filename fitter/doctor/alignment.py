"""Whether two structures are the same up to rotation, reflection, shift, the order of their atoms, and
the choice of the cell: supercells of a crystal are the crystal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.doctor.surroundings import REACH, Neighbours, neighbours
from forcemap.fitter.doctor.vacuum import completed_cell
from numpy.typing import NDArray
from scipy.spatial import cKDTree

__all__ = ["Alignment", "Lattice", "Side", "align"]

Array = NDArray[np.float64]
Integers = NDArray[np.intp]

SAME = 2e-3
"""Å; atoms of copies are this close to each other, which allows for files with three decimals."""

LOOSE = 0.1
"""Å; the same before the rotation is refined, which three atoms give."""

CLOSE = 1e-2
"""Å; lengths of the vectors that give a rotation agree this well."""

ALIKE = 5e-3
"""Largest difference of features of atoms that may be copies of each other."""

MOST_TRIES = 5000

FAR_APART = 8
"""Atoms that are compared before all others are."""

LEAST_ANGLE = 0.3
"""Sine of the angle between the two vectors that define a rotation."""


@dataclass(frozen=True)
class Alignment:
    """The motion that makes one structure, b, another one, a.

    Attributes:
        rotation: (3, 3) orthogonal; a vector v of b becomes `rotation @ v`.
        partners: (n_b,) the atom of a at the place of each atom of b.
        distance: largest distance of such two atoms, Å.
    """

    rotation: Array
    partners: Integers
    distance: float


class Lattice:
    """The periodic vectors of a frame, and which of its atoms are at given places."""

    def __init__(self, frame: Frame) -> None:
        self.vectors = frame.cell[frame.pbc]
        self._cell = completed_cell(frame)
        self._inverse = np.linalg.inv(self._cell)
        self._pbc = frame.pbc
        fractions = self._wrapped(frame.positions)
        margin = LOOSE * np.linalg.norm(self._inverse, axis=0) * 1.01
        owners = np.arange(len(fractions))
        for axis in np.flatnonzero(frame.pbc):
            low, high = fractions[:, axis] < margin[axis], fractions[:, axis] > 1.0 - margin[axis]
            step = np.eye(3)[axis]
            fractions = np.concatenate([fractions, fractions[low] + step, fractions[high] - step])
            owners = np.concatenate([owners, owners[low], owners[high]])
        self._owners = owners
        self._images = fractions @ self._cell
        self._tree = cKDTree(self._images)

    def _wrapped(self, positions: Array) -> Array:
        fractions = positions @ self._inverse
        return np.where(self._pbc, fractions - np.floor(fractions), fractions)

    def atoms_at(self, places: Array, limit: float) -> tuple[Integers, Array] | None:
        """The atoms within `limit` (at most LOOSE, Å) of places (m, 3), and the vectors from these.

        None if some place has none.
        """
        inside = self._wrapped(places) @ self._cell
        distances, found = self._tree.query(inside, distance_upper_bound=limit)
        if not np.isfinite(distances).all():
            return None
        return self._owners[found], self._images[found] - inside

    @property
    def size(self) -> float:
        """Volume, area or length of the cell, by its number of periodic directions."""
        return float(np.sqrt(np.linalg.det(self.vectors @ self.vectors.T)))


@dataclass(frozen=True)
class Side:
    """One of two structures, with `Surroundings.features` of its atoms."""

    frame: Frame
    features: NDArray[np.float32]

    @cached_property
    def lattice(self) -> Lattice:
        """The lattice of its periodic vectors."""
        return Lattice(self.frame)

    @cached_property
    def profile(self) -> NDArray[np.float32]:
        """(n, 12) each feature in ascending order, element by element."""
        order = np.argsort(self.frame.numbers, kind="stable")
        numbers, features = self.frame.numbers[order], self.features[order]
        ends = np.flatnonzero(np.diff(numbers)) + 1
        return np.concatenate([np.sort(part, axis=0) for part in np.split(features, ends)])

    @cached_property
    def pairs(self) -> Neighbours:
        """All neighbours, within a reach that gives every atom of a crystal some."""
        reach = REACH
        found = neighbours(self.frame, reach)
        while len(self.lattice.vectors) and reach < 50.0 and not self._spans(found):
            reach *= 1.5
            found = neighbours(self.frame, reach)
        return found

    def _spans(self, found: Neighbours) -> bool:
        return len(np.unique(found.first)) == len(self.frame.numbers)

    def around(self, atom: int) -> tuple[Array, NDArray[np.int32]]:
        """Vectors to the neighbours of an atom and their elements, the nearest first."""
        chosen = np.flatnonzero(self.pairs.first == atom)
        chosen = chosen[np.argsort(self.pairs.distances[chosen], kind="stable")]
        return self.pairs.vectors[chosen], self.frame.numbers[self.pairs.second[chosen]]


def align(a: Side, b: Side) -> Alignment | None:
    """The motion that takes the structure b onto a; None if there is none.

    b has as many atoms as a or, as a supercell, more. Periodicity counts: boxes of different sizes
    around the same cluster make different structures.
    """
    n_a, n_b = len(a.frame.numbers), len(b.frame.numbers)
    if a.frame.pbc.sum() != b.frame.pbc.sum() or n_b % n_a:
        return None
    # No assignment of atoms is closer than that of both in ascending order.
    if np.abs(np.repeat(a.profile, n_b // n_a, axis=0) - b.profile).max() > ALIKE:
        return None
    return _Search(a, b).found()


class _Search:
    """Tries the rotations that take an atom of b with two neighbours onto one of a with two of its."""

    def __init__(self, a: Side, b: Side) -> None:
        self.a, self.b = a, b
        n_a, n_b = len(a.frame.numbers), len(b.frame.numbers)
        self.cells = n_b // n_a
        # Some atoms far apart refuse most wrong rotations.
        self.probe = np.unique(np.linspace(0, n_b - 1, FAR_APART).astype(int))

    def found(self) -> Alignment | None:
        """The first motion that holds."""
        if not self._densities_agree():
            return None
        alike = self._alike()
        if alike is None:
            return None
        anchor = int(np.argmin(alike.sum(axis=0)))
        tries = 0
        for atom in np.flatnonzero(alike[:, anchor]):
            for rotation in self._rotations(int(atom), anchor):
                tries += 1
                if tries > MOST_TRIES:
                    return None
                held = self._checked(rotation, int(atom), anchor)
                if held is not None:
                    return held
        return None

    def _densities_agree(self) -> bool:
        sizes = self.cells * self.a.lattice.size, self.b.lattice.size
        if not len(self.a.lattice.vectors) and self.cells > 1:
            return False
        counts = [np.bincount(side.frame.numbers, minlength=120) for side in (self.a, self.b)]
        if not np.array_equal(counts[0] * self.cells, counts[1]):
            return False
        return abs(sizes[0] - sizes[1]) <= 1e-3 * sizes[0]

    def _alike(self) -> NDArray[np.bool_] | None:
        """(n_a, n_b) whether atoms may be copies of each other; None if some atom is no copy."""
        same = self.a.frame.numbers[:, None] == self.b.frame.numbers[None, :]
        for column in range(self.a.features.shape[1]):
            difference = self.a.features[:, None, column] - self.b.features[None, :, column]
            same &= np.abs(difference) < ALIKE
        return same if same.any(axis=0).all() and same.any(axis=1).all() else None

    def _rotations(self, atom: int, anchor: int) -> Iterator[Array]:
        """Rotations and reflections that take neighbours of the anchor onto those of the atom."""
        from_vectors, from_species = self.b.around(anchor)
        vectors, species = self.a.around(atom)
        if not len(from_vectors) or not len(vectors):
            if not len(from_vectors) and not len(vectors):
                yield np.eye(3)
            return
        lengths = np.linalg.norm(vectors, axis=1)
        u = from_vectors[0]
        second = _not_along(u, from_vectors)
        of_u = (species == from_species[0]) & (np.abs(lengths - np.linalg.norm(u)) < CLOSE)
        for n in np.flatnonzero(of_u):
            if second is None:
                yield _frame_of(vectors[n], None) @ _frame_of(u, None).T
                continue
            v = from_vectors[second]
            like = (species == from_species[second]) & (np.abs(lengths - np.linalg.norm(v)) < CLOSE)
            between = np.linalg.norm(vectors - vectors[n], axis=1)
            like &= np.abs(between - np.linalg.norm(v - u)) < CLOSE
            for m in np.flatnonzero(like):
                target = _frame_of(vectors[n], vectors[m])
                start = _frame_of(u, v)
                yield target @ start.T
                target[:, 2] *= -1.0
                yield target @ start.T

    def _checked(self, rotation: Array, atom: int, anchor: int) -> Alignment | None:
        a, b = self.a.frame, self.b.frame
        moved = (b.positions - b.positions[anchor]) @ rotation.T + a.positions[atom]
        if self._partners(moved[self.probe], b.numbers[self.probe], LOOSE) is None:
            return None
        found = self._partners(moved, b.numbers, LOOSE)
        if found is None:
            return None
        partners, offsets = found
        if not np.all(np.bincount(partners, minlength=len(a.numbers)) == self.cells):
            return None
        refined = self._refined(rotation, moved, offsets)
        if refined is None:
            return None
        start = b.positions - b.positions.mean(axis=0)
        targets = moved + offsets
        aim = targets - targets.mean(axis=0)
        distance = float(np.linalg.norm(start @ refined.T - aim, axis=1).max())
        if distance > SAME or not self._same_lattice(refined):
            return None
        return Alignment(refined, partners, distance)

    def _refined(self, rotation: Array, moved: Array, offsets: Array) -> Array | None:
        """The best rotation for atoms and periods; None if b has a period that a has not.

        By singular values (Kabsch 1976, doi:10.1107/S0567739476001873).
        """
        start, targets = self.b.frame.positions, moved + offsets
        periods = self.b.lattice.vectors
        if len(periods):
            found = self.a.lattice.atoms_at(targets[0] + periods @ rotation.T, LOOSE)
            if found is None:
                return None
            targets = np.concatenate([targets, targets[0] + periods @ rotation.T + found[1]])
            start = np.concatenate([start, start[0] + periods])
        start = start - start.mean(axis=0)
        u, sizes, vh = np.linalg.svd((targets - targets.mean(axis=0)).T @ start)
        if sizes[1] < 0.1:
            return rotation  # points on a line do not determine it
        if np.linalg.det(u @ vh) * np.linalg.det(rotation) < 0.0:
            u[:, 2] *= -1.0
        return np.asarray(u @ vh)

    def _partners(
        self, moved: Array, numbers: NDArray[np.int32], limit: float
    ) -> tuple[Integers, Array] | None:
        """Atoms of a at the places of atoms of b, and how far they are from there; None if not all."""
        found = self.a.lattice.atoms_at(moved, limit)
        if found is None or not np.array_equal(self.a.frame.numbers[found[0]], numbers):
            return None
        return found

    def _same_lattice(self, rotation: Array) -> bool:
        """Whether all periods of b are translations that leave a as it is."""
        a = self.a.frame
        return all(
            self._partners(a.positions + vector, a.numbers, SAME) is not None
            for vector in self.b.lattice.vectors @ rotation.T
        )


def _not_along(u: Array, vectors: Array) -> int | None:
    """The first of the vectors that makes a fair angle with u."""
    sines = np.linalg.norm(np.cross(vectors, u), axis=1)
    sines = sines / (np.linalg.norm(vectors, axis=1) * np.linalg.norm(u))
    fair = np.flatnonzero(sines > LEAST_ANGLE)
    return int(fair[0]) if len(fair) else None


def _frame_of(u: Array, v: Array | None) -> Array:
    """Three orthonormal columns, the first along u, the second in the plane of u and v."""
    first = u / np.linalg.norm(u)
    other = np.eye(3)[int(np.argmin(np.abs(first)))] if v is None else v
    second = other - (other @ first) * first
    second /= np.linalg.norm(second)
    return np.stack([first, second, np.cross(first, second)], axis=1)
