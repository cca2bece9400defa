"""Terms that compare whole environments of atoms by a vector of descriptors.

The descriptor d of an atom's surroundings is invariant to rotations and permutations; the local energy
has the covariance ``delta**2 k(d, d')`` and counts from that of an isolated atom::

    e(d) = V(d) - V(d of the isolated atom)

A kind of term says how descriptors and their derivatives are made, and by which of the kernels here
they are compared; the rows follow by the chain rule, the same for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from forcemap.fitter.process import Block, Environment, Term
from forcemap.potentials import _core
from numpy.typing import NDArray

__all__ = ["Comparison", "DotPower", "EnvironmentTerm", "SquaredExponential"]

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

MOST_NUMBERS = 4_000_000
"""Doubles of derivatives, and of their products with the sparse points, held at once."""


class Comparison(ABC):
    """A kernel k(a, b) of descriptors with dk/da = slope(a, b) (b - pull a), pull 0 or 1."""

    pull: float

    @abstractmethod
    def values_and_slopes(self, a: Array, b: Array) -> tuple[Array, Array]:
        """k and slope, (n, m) each, of descriptors a (n, dimension) and b (m, dimension)."""

    @abstractmethod
    def named(self) -> dict[str, Any]:
        """Name and parameters, as in settings."""


@dataclass(frozen=True)
class DotPower(Comparison):
    """(a . b)**power."""

    power: int
    pull = 0.0

    def values_and_slopes(self, a: Array, b: Array) -> tuple[Array, Array]:
        """See `Comparison.values_and_slopes`."""
        dots = a @ b.T
        return dots**self.power, self.power * dots ** (self.power - 1)

    def named(self) -> dict[str, Any]:
        """See `Comparison.named`."""
        return {"kernel": "power", "power": self.power}


@dataclass(frozen=True)
class SquaredExponential(Comparison):
    """exp(-|a - b|**2 / (2 lengthscale**2)); the lengthscale has the descriptors' unit."""

    lengthscale: float
    pull = 1.0

    def values_and_slopes(self, a: Array, b: Array) -> tuple[Array, Array]:
        """See `Comparison.values_and_slopes`."""
        squares = np.sum(a**2, axis=1)[:, None] + np.sum(b**2, axis=1) - 2.0 * (a @ b.T)
        values = np.exp(np.maximum(squares, 0.0) * (-0.5 / self.lengthscale**2))
        return values, values / self.lengthscale**2

    def named(self) -> dict[str, Any]:
        """See `Comparison.named`."""
        return {"kernel": "squared_exponential", "distance_lengthscale": self.lengthscale}


class EnvironmentTerm(Term):
    """A term whose sparse points are descriptors of environments, for each species of centre.

    Attributes:
        comparison: the kernel of descriptors.
    """

    comparison: Comparison

    @property
    def rank_tolerance(self) -> float:
        """Environments of one crystal have much in common; forces live in what little is left."""
        return 1e-11

    def __getstate__(self) -> dict[str, Any]:
        """For sending to other processes: without what only the core of this one has."""
        return {name: value for name, value in vars(self).items() if name != "expansion"}

    @abstractmethod
    def dimension_of(self, center: int) -> int:
        """Numbers of the descriptor of atoms of one species."""

    @abstractmethod
    def descriptors(self, environment: Environment, center: int) -> tuple[Indices, Array]:
        """(atoms (n,), descriptors (n, dimension)) of the atoms of one species."""

    @abstractmethod
    def isolated(self, environment: Environment, center: int) -> Array:
        """Descriptor of an isolated atom, (dimension,)."""

    @abstractmethod
    def derivatives(
        self, environment: Environment, center: int, first: int, last: int
    ) -> tuple[Indices, Indices, Array]:
        """(targets (k,), centres (k,), derivatives (k, dimension)) of centres [first, last).

        Rows of -dd/dx and dd/d(strain), each with the frame's row that it adds to and with the place
        of its centre among the atoms that `descriptors` gives.
        """

    def kernel(self, a: Array, b: Array) -> Array:
        """(n, m) covariance of descriptors a (n, dimension) and b (m, dimension), unit variance."""
        return self.comparison.values_and_slopes(a, b)[0]

    def covariance(self, block: Block) -> Array:
        """See `Term.covariance`."""
        return self.kernel(block.points, block.points)

    def add_rows(self, environment: Environment, rows: Array, start: int) -> None:
        """See `Term.add_rows`."""
        for block in self.blocks:
            if block.species[0] in environment.species and block.size:
                self._add_block(environment, block, rows, start)
            start += block.size

    def _add_block(self, environment: Environment, block: Block, rows: Array, start: int) -> None:
        center, points = block.species[0], block.points
        _, found = self.descriptors(environment, center)
        values, slopes = self.comparison.values_and_slopes(found, points)
        free = self.kernel(self.isolated(environment, center)[None, :], points)[0]
        rows[0, start : start + block.size] += np.sum(values, axis=0) - len(found) * free
        if not environment.derivatives:
            return
        # Derivatives of a few centres at a time: rows of three per neighbouring atom.
        count = len(environment.frame.numbers)
        involved = min(3 * count, 300) + 9
        step = max(1, MOST_NUMBERS // (involved * max(points.shape[1], block.size)))
        for first in range(0, len(found), step):
            last = min(first + step, len(found))
            targets, centers, derivatives = self.derivatives(environment, center, first, last)
            changes = derivatives @ points.T
            if self.comparison.pull:
                own = np.einsum("kd,kd->k", derivatives, found[centers])
                changes -= self.comparison.pull * own[:, None]
            _core.add_weighted_rows(targets, centers, changes, slopes, rows, start)
