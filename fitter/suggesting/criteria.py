"""By what frames are chosen: each says how much a frame is worth, beside those chosen before.

What a frame is worth never rises when another is chosen, which `greedy` builds on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np
import scipy.linalg
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.process.model import Model
from forcemap.fitter.suggesting.roots import Evaluators, Root, Roots, features_of
from forcemap.fitter.terms.base import Array
from forcemap.fitter.terms.rows import RowLayout, frame_rows
from forcemap.potentials import Potential
from forcemap.potentials.grade import Grade
from numpy.typing import NDArray

__all__ = [
    "Criterion",
    "Farthest",
    "Information",
    "Knowledge",
    "LargestGrade",
    "Variance",
    "by_features",
    "by_process",
]

Seen = TypeVar("Seen")

PROJECTED = 64
"""Numbers of a frame's descriptor; distances are kept to a tenth (Johnson and Lindenstrauss)."""


class Criterion(ABC, Generic[Seen]):
    """How much frames are worth.

    Attributes:
        name: of the worth, for tables.
    """

    name: str

    @abstractmethod
    def see(self, frame: Frame) -> Seen:
        """What is kept of a frame; by several threads at once."""

    @abstractmethod
    def worth(self, seen: Seen) -> float:
        """What a frame is worth."""

    @abstractmethod
    def learn(self, seen: Seen) -> None:
        """Take a frame as chosen."""

    @abstractmethod
    def bytes_of(self, seen: Seen) -> int:
        """Memory of what is kept of a frame."""

    def deviation(self, seen: Seen) -> float | None:
        """Largest expected error of a force in a frame, eV/Å, before its labels are known."""
        return None


class Knowledge:
    """What labels would say of the weights: 1 + the sum of BᵀB of their scaled roots, (d, d)."""

    def __init__(self, size: int) -> None:
        self.information = np.eye(size)
        self.factor = np.eye(size)
        """Its lower Cholesky factor."""

    def add(self, scaled: Array) -> None:
        """Labels with this root, in units of their noise."""
        self.information = self.information + scaled.T @ scaled
        self.factor = scipy.linalg.cholesky(self.information, lower=True, check_finite=False)

    def inverse_times(self, matrix: Array) -> Array:
        """What is left of a sum of products of roots, (d, d), but for a rotation."""
        return np.asarray(scipy.linalg.cho_solve((self.factor, True), matrix, check_finite=False))

    def left(self, root: Array) -> Array:
        """(n, d) root of what is left open of labels whose root was `root` (n, d)."""
        half = scipy.linalg.solve_triangular(self.factor, root.T, lower=True, check_finite=False)
        return np.asarray(half.T)


class _ByRoots(Criterion[Root]):
    """By covariances.

    Errors that a process cannot describe are the same in copies of a frame: its deviations are taken
    as large as they are by experience (the calibration's factor), the labels' noise as it is, so that
    a label leaves little to be learned from its like.
    """

    def __init__(self, roots: Roots) -> None:
        self.roots = roots
        self.knowledge = Knowledge(roots.size)

    def see(self, frame: Frame) -> Root:
        """Its root."""
        return self.roots.of(frame)

    def learn(self, seen: Root) -> None:
        """Its labels."""
        self.knowledge.add(self.scaled(seen))

    def bytes_of(self, seen: Root) -> int:
        """Of the root."""
        return int(seen.values.nbytes + seen.noise.nbytes)

    def deviation(self, seen: Root) -> float:
        """Given the labels of those chosen before."""
        return self.roots.deviation(self._largest(seen))

    def scaled(self, seen: Root) -> Array:
        """The root in units of the noise, as large as deviations are by experience."""
        return seen.scaled * max(self.roots.calibration.factor, 1.0)

    def _largest(self, seen: Root) -> float:
        """Raw variance of the force that is known least, (eV/Å)²."""
        left = self.knowledge.left(seen.forces)
        per_atom = np.sum(left.reshape(-1, 3 * left.shape[1]) ** 2, axis=1)
        return float(np.max(per_atom, initial=0.0))


class Variance(_ByRoots):
    """The variance of the force that is known least.

    With the energy's, for one atom, as (eV/Å)²: crystals at rest, whose forces vanish by symmetry, have
    nothing else; beside other forces it is small.
    """

    name = "variance"

    def worth(self, seen: Root) -> float:
        """(eV/Å)², raw."""
        energy = self.knowledge.left(np.asarray(seen.values[:1], dtype=np.float64))
        atoms = len(seen.values) // 3
        return self._largest(seen) + float(np.sum(energy**2)) / atoms


class Information(_ByRoots):
    """D-optimality: by how much the labels shrink the volume of what the weights may be.

    The logarithm of its ratio, ½ log det(1 + B M⁻¹ Bᵀ) with M = 1 + Σ BᵀB of the frames chosen.
    """

    name = "log of the volume's ratio"

    def worth(self, seen: Root) -> float:
        """Of all labels of a frame together."""
        left = self.knowledge.left(self.scaled(seen))
        small = left @ left.T if len(left) < left.shape[1] else left.T @ left
        small[np.diag_indices(len(small))] += 1.0
        factor = scipy.linalg.cholesky(small, lower=True, check_finite=False)
        return float(np.sum(np.log(np.diag(factor))))


class Farthest(Criterion[NDArray[np.float32]]):
    """Distance of a frame's mean environment to all that are known."""

    name = "distance"

    def __init__(self, described: Callable[[Frame], Array], size: int) -> None:
        """`described` gives the (size,) descriptor of a frame, zero where nothing is known beside."""
        self.described = described
        rng = np.random.default_rng(0)
        shape = size, PROJECTED
        self._projection = rng.normal(0.0, 1.0 / np.sqrt(PROJECTED), shape)
        self._known = np.zeros((0, PROJECTED), dtype=np.float32)

    def see(self, frame: Frame) -> NDArray[np.float32]:
        """(PROJECTED,)."""
        return np.asarray(self.described(frame) @ self._projection, dtype=np.float32)

    def worth(self, seen: NDArray[np.float32]) -> float:
        """To the nearest."""
        if not len(self._known):
            return float(np.linalg.norm(seen))
        return float(np.sqrt(np.min(np.sum((self._known - seen) ** 2, axis=1))))

    def learn(self, seen: NDArray[np.float32]) -> None:
        """One more to be far from."""
        self._known = np.concatenate([self._known, seen[None, :]])

    def bytes_of(self, seen: NDArray[np.float32]) -> int:
        """256."""
        return int(seen.nbytes)


def by_process(model: Model) -> Callable[[Frame], Array]:
    """(m,) mean environment in the space of the kernel, eV per atom.

    The mean over the atoms of the process' functions as the sparse points see them, whitened, in units
    of the terms' deltas.
    """

    def described(frame: Frame) -> Array:
        energy = RowLayout.energy
        row = frame_rows(frame, model.terms, derivatives=False)[energy : energy + 1]
        return np.asarray(model.whitened(row)[0] / len(frame.numbers))

    return described


def by_features(potential: Potential, grade: Grade) -> tuple[Callable[[Frame], Array], int]:
    """Mean features of the grade, of each element apart, and how many they are together."""
    evaluators = Evaluators(potential)
    size = sum(len(mean) for mean, _ in grade.centers.values())

    def described(frame: Frame) -> Array:
        by_element = features_of(evaluators.own, grade, frame).values()
        sums = [np.sum(features, axis=0) for _, features in by_element]
        return np.asarray(np.concatenate(sums) / len(frame.numbers))

    return described, size


class LargestGrade(Criterion[float]):
    """The largest extrapolation grade of a frame's atoms, whatever has been chosen."""

    name = "grade"

    def __init__(self, potential: Potential) -> None:
        self._evaluators = Evaluators(potential)

    def see(self, frame: Frame) -> float:
        """The grade."""
        where = frame.positions, frame.numbers, frame.cell, frame.pbc
        grades = self._evaluators.own.compute(*where, grades=True).grades
        assert grades is not None
        return float(np.max(grades, initial=0.0))

    def worth(self, seen: float) -> float:
        """The grade."""
        return seen

    def learn(self, seen: float) -> None:
        """Nothing."""

    def bytes_of(self, seen: float) -> int:
        """One number."""
        return 8
