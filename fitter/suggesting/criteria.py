"""Criteria for the choice of frames: the worth of a frame beside those chosen before.

The worth of a frame never rises when another is chosen, which `greedy` relies on.
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
"""Length of a frame's projected descriptor, which keeps distances to about a tenth (Johnson and
Lindenstrauss, Contemp. Math. 26, 189 (1984), DOI 10.1090/conm/026/737400)."""


class Criterion(ABC, Generic[Seen]):
    """A measure of the worth of frames.

    Attributes:
        name: name of the worth in tables.
    """

    name: str

    @abstractmethod
    def see(self, frame: Frame) -> Seen:
        """Extract what is kept of a frame; several threads call this at once."""

    @abstractmethod
    def worth(self, seen: Seen) -> float:
        """The worth of a frame."""

    @abstractmethod
    def learn(self, seen: Seen) -> None:
        """Count a frame as chosen."""

    @abstractmethod
    def bytes_of(self, seen: Seen) -> int:
        """Memory of what is kept of a frame."""

    def deviation(self, seen: Seen) -> float | None:
        """Largest expected error of a force in a frame, eV/Å, before its labels are known."""
        return None


class Knowledge:
    """Information of labels on the weights: 1 + the sum of BᵀB of their scaled roots, (d, d)."""

    def __init__(self, size: int) -> None:
        self.information = np.eye(size)
        self.factor = np.eye(size)
        """Lower Cholesky factor of the information."""

    def add(self, scaled: Array) -> None:
        """Add labels with this root (n, d), in units of their noise."""
        self.information = self.information + scaled.T @ scaled
        self.factor = scipy.linalg.cholesky(self.information, lower=True, check_finite=False)

    def inverse_times(self, matrix: Array) -> Array:
        """The rest of a sum of products of roots, (d, d), up to a rotation."""
        return np.asarray(scipy.linalg.cho_solve((self.factor, True), matrix, check_finite=False))

    def left(self, root: Array) -> Array:
        """(n, d) root of the remaining covariance of labels whose root was `root` (n, d)."""
        half = scipy.linalg.solve_triangular(self.factor, root.T, lower=True, check_finite=False)
        return np.asarray(half.T)


class _ByRoots(Criterion[Root]):
    """A criterion based on posterior covariances.

    Errors that a process cannot describe are the same in copies of a frame. Its deviations are
    therefore scaled by the calibration's factor, but the labels' noise is not, so that a label leaves
    little to learn from similar ones.
    """

    def __init__(self, roots: Roots) -> None:
        self.roots = roots
        self.knowledge = Knowledge(roots.size)

    def see(self, frame: Frame) -> Root:
        """The root of a frame."""
        return self.roots.of(frame)

    def learn(self, seen: Root) -> None:
        """Add the labels of a frame."""
        self.knowledge.add(self.scaled(seen))

    def bytes_of(self, seen: Root) -> int:
        """Memory of the root."""
        return int(seen.values.nbytes + seen.noise.nbytes)

    def deviation(self, seen: Root) -> float:
        """Largest expected error of a force, eV/Å, with the labels of the frames chosen before."""
        return self.roots.deviation(self._largest(seen))

    def scaled(self, seen: Root) -> Array:
        """The root in units of the noise, scaled by the calibration's factor."""
        return seen.scaled * max(self.roots.calibration.factor, 1.0)

    def _largest(self, seen: Root) -> float:
        """Raw variance of the least known force, (eV/Å)²."""
        left = self.knowledge.left(seen.forces)
        per_atom = np.sum(left.reshape(-1, 3 * left.shape[1]) ** 2, axis=1)
        return float(np.max(per_atom, initial=0.0))


class Variance(_ByRoots):
    """The variance of the least known force.

    The variance of the energy per atom is added as (eV/Å)²: it is all that crystals at rest have, whose
    forces vanish by symmetry, and small beside other forces.
    """

    name = "variance"

    def worth(self, seen: Root) -> float:
        """Raw variance, (eV/Å)²."""
        energy = self.knowledge.left(np.asarray(seen.values[:1], dtype=np.float64))
        atoms = len(seen.values) // 3
        return self._largest(seen) + float(np.sum(energy**2)) / atoms


class Information(_ByRoots):
    """D-optimality: the shrinkage of the weights' posterior volume by the labels.

    It is the logarithm of the volumes' ratio, ½ log det(1 + B M⁻¹ Bᵀ), where M = 1 + Σ BᵀB of the
    chosen frames.
    """

    name = "log of the volume's ratio"

    def worth(self, seen: Root) -> float:
        """The worth of all labels of a frame together."""
        left = self.knowledge.left(self.scaled(seen))
        small = left @ left.T if len(left) < left.shape[1] else left.T @ left
        small[np.diag_indices(len(small))] += 1.0
        factor = scipy.linalg.cholesky(small, lower=True, check_finite=False)
        return float(np.sum(np.log(np.diag(factor))))


class Farthest(Criterion[NDArray[np.float32]]):
    """Distance of a frame's mean environment from the nearest known one."""

    name = "distance"

    def __init__(self, described: Callable[[Frame], Array], size: int) -> None:
        """`described` maps a frame to its (size,) descriptor."""
        self.described = described
        rng = np.random.default_rng(0)
        shape = size, PROJECTED
        self._projection = rng.normal(0.0, 1.0 / np.sqrt(PROJECTED), shape)
        self._known = np.zeros((0, PROJECTED), dtype=np.float32)

    def see(self, frame: Frame) -> NDArray[np.float32]:
        """The projected descriptor, (PROJECTED,)."""
        return np.asarray(self.described(frame) @ self._projection, dtype=np.float32)

    def worth(self, seen: NDArray[np.float32]) -> float:
        """Distance to the nearest known frame; the descriptor's length if there is none."""
        if not len(self._known):
            return float(np.linalg.norm(seen))
        return float(np.sqrt(np.min(np.sum((self._known - seen) ** 2, axis=1))))

    def learn(self, seen: NDArray[np.float32]) -> None:
        """Add a known frame."""
        self._known = np.concatenate([self._known, seen[None, :]])

    def bytes_of(self, seen: NDArray[np.float32]) -> int:
        """Memory of the descriptor."""
        return int(seen.nbytes)


def by_process(model: Model) -> Callable[[Frame], Array]:
    """Function from a frame to its mean environment in the space of the kernel, (m,) eV per atom.

    The environment is the mean over the atoms of the kernel's whitened columns, scaled by the terms'
    deltas.
    """

    def described(frame: Frame) -> Array:
        energy = RowLayout.energy
        row = frame_rows(frame, model.terms, derivatives=False)[energy : energy + 1]
        return np.asarray(model.whitened(row)[0] / len(frame.numbers))

    return described


def by_features(potential: Potential, grade: Grade) -> tuple[Callable[[Frame], Array], int]:
    """Function from a frame to the mean features of the grade by element, and their total number."""
    evaluators = Evaluators(potential)
    size = sum(len(mean) for mean, _ in grade.centers.values())

    def described(frame: Frame) -> Array:
        by_element = features_of(evaluators.own, grade, frame).values()
        sums = [np.sum(features, axis=0) for _, features in by_element]
        return np.asarray(np.concatenate(sums) / len(frame.numbers))

    return described, size


class LargestGrade(Criterion[float]):
    """The largest extrapolation grade of a frame's atoms, independent of the frames chosen."""

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
        """Do nothing: the grade does not depend on chosen frames."""

    def bytes_of(self, seen: float) -> int:
        """Memory of one number."""
        return 8
