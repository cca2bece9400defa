"""What terms of whole environments cost beside their rows: choosing their sparse points, and their map.

Operations are counted from the sizes (n environments, m sparse points, d numbers of a descriptor) as
`sparse_points` and `soap_map` carry them out, and turned into seconds by the rates of this machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from forcemap.fitter.frame import Frame
from forcemap.fitter.process import Environment, Term
from forcemap.fitter.soap import SoapTerm
from forcemap.fitter.soap_map import DERIVED_CENTERS
from forcemap.fitter.sparse_points import MOST_AT_ONCE

__all__ = [
    "EnvironmentBlock",
    "Rates",
    "choice_bytes",
    "choice_seconds",
    "map_bytes",
    "map_seconds",
]

FLOAT = 8

BISECTIONS = 6
"""Ranks that are tried for each term, until the part that is kept is known to a sixteenth."""

COPIES = 4
"""Of a form's vectors: the form, the exact potential, the one that is tried, and its file."""


@dataclass(frozen=True)
class EnvironmentBlock:
    """Sizes of one species of centre in a term.

    Attributes:
        term: its place among the terms.
        pool: environments among which points are chosen.
        points: sparse points.
        numbers: of a descriptor.
        greedy: whether points are chosen by pivoted Cholesky of their kernel matrix, not by CUR.
    """

    term: int
    pool: int
    points: int
    numbers: int
    greedy: bool = False

    @property
    def rank(self) -> int:
        """Of the form that the points make."""
        return min(self.points, self.numbers)


@dataclass(frozen=True)
class Rates:
    """Of this machine, one thread.

    Attributes:
        multiplication: seconds of one multiplication and addition in a product of matrices.
        eigenvectors: seconds of all eigenvectors of a matrix, over the cube of its size.
    """

    multiplication: float
    eigenvectors: float

    @classmethod
    def measured(cls, size: int = 400) -> Rates:
        """By matrices of `size`."""
        matrix = np.random.default_rng(0).normal(size=(size, size))
        matrix = matrix @ matrix.T

        def least(work: Callable[[], Any]) -> float:
            times = []
            for _ in range(3):
                start = time.thread_time()
                work()
                times.append(time.thread_time() - start)
            return max(min(times), 1e-9)

        return cls(
            least(lambda: matrix @ matrix) / size**3,
            least(lambda: scipy.linalg.eigh(matrix, check_finite=False)) / size**3,
        )


# ---- choosing --------------------------------------------------------------------------------------


def choice_seconds(blocks: Iterable[EnvironmentBlock], rates: Rates) -> float:
    """Seconds of choosing among environments whose descriptors are at hand."""
    total = 0.0
    for b in blocks:
        if b.pool > b.points:
            if b.greedy:
                part = min(b.pool, MOST_AT_ONCE)
                products = b.pool * part * (b.numbers + part / 3)
                total += rates.multiplication * products
            else:
                small, large = sorted((b.pool, b.numbers))
                total += rates.multiplication * (large * small**2 + b.pool * b.points * small)
                total += rates.eigenvectors * small**3
        total += rates.multiplication * b.points**2 * (b.numbers + b.points / 3)
    return total


def choice_bytes(blocks: Sequence[EnvironmentBlock]) -> int:
    """Largest memory of a choice: a term's descriptors of all species, and the matrices of one."""
    largest = 0
    for term in {b.term for b in blocks}:
        of_term = [b for b in blocks if b.term == term]
        pools = sum(b.pool * b.numbers for b in of_term)
        largest = max(largest, pools + max(_choice_numbers(b) for b in of_term))
    return FLOAT * largest


def _choice_numbers(block: EnvironmentBlock) -> int:
    """Doubles of the matrices by which points are chosen, a copy of the descriptors included."""
    copy = block.pool * block.numbers
    if block.greedy:
        parts = max(1, -(-block.pool // MOST_AT_ONCE))  # many are chosen from in equal parts
        return copy + 3 * (-(-block.pool // parts)) ** 2
    return copy + 3 * min(block.pool, block.numbers) ** 2


# ---- mapping ---------------------------------------------------------------------------------------


def map_seconds(
    terms: Sequence[Term],
    blocks: Sequence[EnvironmentBlock],
    sample: Sequence[Frame],
    measured: tuple[int, int],
    rates: Rates,
) -> float:
    """Seconds of the maps of soap terms, without predictions of the process.

    Args:
        terms: of the process; those of other kinds do not count here.
        blocks: of soap terms.
        sample: frames on which derivatives are timed.
        measured: frames, and atoms in them, on which the map is measured.
        rates: of this machine.
    """
    frames, atoms = measured
    total = 0.0
    for place, term in enumerate(terms):
        if not isinstance(term, SoapTerm):
            continue
        of_term = [b for b in blocks if b.term == place]
        if not of_term:
            continue
        seconds, rows = _derivatives(term, sample)
        species = len(of_term)
        centers = min(DERIVED_CENTERS * frames * species, atoms) if frames else 0
        total += centers * seconds
        evaluated = BISECTIONS + 2 if term.zeta <= 2 else 2
        for b in of_term:
            vectors = b.points
            if term.zeta == 2:
                vectors = b.rank
                total += _form_seconds(b, centers / species * rows, rates)
            # A product with the vectors, and one back for the derivatives.
            work = 2 * vectors * b.numbers * rates.multiplication * atoms / species
            total += evaluated * work
        total += evaluated * atoms * seconds / max(rows, 1.0)
    return total


def _form_seconds(block: EnvironmentBlock, rows: float, rates: Rates) -> float:
    """Basis, second moments of so many rows, and eigenvectors in the span."""
    rank = block.rank
    products = rows * rank**2 / 2 + 6.0 * rank**3 + block.points * rank**2
    if block.points < block.numbers:
        products += block.numbers * block.points * (2.0 * block.points + rows + rank)
    return rates.multiplication * products + 2.0 * rates.eigenvectors * rank**3


def _derivatives(term: SoapTerm, sample: Sequence[Frame]) -> tuple[float, float]:
    """Seconds and rows of the derivatives of one environment, mean of a few."""
    rows, count = 0, 0
    start = time.thread_time()
    for frame in sample[:3]:
        environment = Environment(frame, term.cutoff)
        for center in sorted(environment.species):
            rows += len(term.derivatives(environment, center, 0, 1)[2])
            count += 1
    return (time.thread_time() - start) / max(count, 1), rows / max(count, 1)


def map_bytes(blocks: Sequence[EnvironmentBlock]) -> int:
    """Memory of the forms of soap terms, all kept, and of the matrices of the largest block."""
    kept = sum(b.rank * b.numbers for b in blocks)
    work = max((3 * b.points * b.numbers + 6 * b.rank**2 for b in blocks), default=0)
    return FLOAT * (COPIES * kept + work)
