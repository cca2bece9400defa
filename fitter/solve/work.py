"""Time that algebra takes on this machine: floating-point operations, and their rate."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg

__all__ = ["Rates", "Work", "seconds_of"]

FLOAT = 8


@dataclass(frozen=True)
class Work:
    """Some algebra.

    Attributes:
        products: operations of matrix products and Cholesky factorisations.
        eigen: of eigen-decompositions, as n³.
        passes: doubles that are read from memory, one after the other.
        bytes: memory that it takes.
    """

    products: float = 0.0
    eigen: float = 0.0
    passes: float = 0.0
    bytes: int = 0

    def __add__(self, other: Work) -> Work:
        """Both, one after the other."""
        return Work(
            self.products + other.products,
            self.eigen + other.eigen,
            self.passes + other.passes,
            max(self.bytes, other.bytes),
        )


@dataclass(frozen=True)
class Rates:
    """Operations a second of one thread, by the kinds of `Work`."""

    products: float
    eigen: float
    passes: float

    @classmethod
    def measured(cls) -> Rates:
        """The rates of this machine, measured in a tenth of a second."""
        rng = np.random.default_rng(0)
        square = rng.normal(size=(400, 400))
        symmetric = square + square.T
        long = rng.normal(size=(4, 500_000))
        return cls(
            2.0 * 400**3 / seconds_of(lambda: square @ square),
            400**3 / seconds_of(lambda: scipy.linalg.eigh(symmetric)),
            long.size / seconds_of(lambda: long.T @ long[:, 0]),
        )

    def seconds(self, work: Work) -> float:
        """Seconds that one thread takes for some work."""
        return work.products / self.products + work.eigen / self.eigen + work.passes / self.passes


def seconds_of(function: Callable[[], Any]) -> float:
    """Seconds of this thread's processor that a call takes, whatever else the machine does.

    The first call, which loads and allocates, does not count.
    """
    function()
    start = time.thread_time()
    function()
    return max(time.thread_time() - start, 1e-9)
