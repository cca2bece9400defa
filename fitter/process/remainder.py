"""What sparse points leave open of a process's prior: k** - k*ᵀ K_mm⁻¹ k*.

The values of a function at its sparse points do not determine it elsewhere. Far from all of them the
first term, the prior's variance, is all that there is, and a deviation without it falls to zero where
it should rise to delta (Quiñonero-Candela and Rasmussen, J. Mach. Learn. Res. 6, 1939 (2005), eq. 26:
the "DTC" predictive variance).

k** of a total energy, or of a force, is a double sum over the function values of a frame, and their
derivatives. It is had from more points of the same kind: for points Z that a frame's own function
values and their slopes are spanned by, k** = k_Z K_ZZ⁻¹ k_Zᵀ. Z are what the term sees in the frame and
in copies of it whose atoms are displaced and whose cell is strained a little, so that slopes count as
differences. The result is a bound from below, near the truth where displacements are small beside the
lengthscale. Terms that count energies from that of the isolated atom (`Term.reference`) have its
function value known beside those at the sparse points: it is in every energy, and what the sparse
points leave open of it is no error of a frame whose environments they all hold.

The other part of a variance, that which the data leave, stays the sparse process's: it takes labels
for sums over the sparse points' functions, without what these leave open, and so trusts the labels
more than a dense process does. With few sparse points deviations just beyond the data are less than
a dense process's (by a quarter, dimers with 8 distances; by a hundredth with 12).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.solve.cholesky import pivoted_cholesky
from forcemap.fitter.solve.work import FLOAT, Work
from forcemap.fitter.terms.base import Array, Block, Species, Term
from forcemap.fitter.terms.rows import RowLayout

__all__ = ["points_of_remainder", "remainders", "work_of_remainder"]

COPIES = 3
"""Of a frame, displaced."""

DISPLACEMENT = 0.05
"""Å, root mean square of each coordinate; the strain is as large, relative to 1."""

MOST_POINTS = 1500
"""Of Z for each combination of species, a random sample: 1500 values cost about a second a frame."""

TOLERANCE = 1e-9
"""Relative variance below which a point of Z repeats the others. Between sparse points a slope may
be open where values hardly are: at 1e-7 deviations of forces there came out as little as 0.4 of the
truth."""


def remainders(
    frame: Frame, terms: Sequence[Term], factors: Sequence[Array] | None = None
) -> Array:
    """(rows,) variance that the sparse points of all terms leave open, of each row of a frame.

    `factors`: Cholesky factors of all blocks' covariances in the order of `rows.columns`; without them
    the covariances are factored here, which takes as long as the rest.
    """
    rng = np.random.default_rng(0)
    layout = RowLayout(len(frame.numbers))
    copies = [frame, *(_displaced(frame, rng) for _ in range(COPIES))]
    cutoff = max(term.cutoff for term in terms)
    structures = [Structure(copy, cutoff) for copy in copies]
    total = np.zeros(layout.count)
    known_factors = iter(factors or ())
    for term in terms:
        seen: dict[Species, list[Array]] = {}
        for structure in structures:
            for species, points_seen in term.candidates(structure).items():
                seen.setdefault(species, []).append(points_seen)
        own = {block.species: (block.points, next(known_factors, None)) for block in term.blocks}
        for species, parts in seen.items():
            points = np.concatenate(parts)
            if len(points) > MOST_POINTS:
                points = points[np.sort(rng.choice(len(points), MOST_POINTS, replace=False))]
            sparse, factor = own.get(species, (np.zeros((0, points.shape[1])), None))
            reference = term.reference(structures[0], species)
            known = _Known.of(term, species, sparse, factor, reference)
            total += term.delta**2 * _left_open(structures[0], term, species, known, points)
    return total


def points_of_remainder(candidates: float) -> int:
    """How many points stand for what a term sees in a frame of so many candidates."""
    return min(MOST_POINTS, round((COPIES + 1) * candidates))


def work_of_remainder(known: int, beyond: int, rows: int) -> Work:
    """Algebra of one combination of species, with so many sparse points, points beside, and rows."""
    n, z = float(known), float(beyond)
    return Work(
        products=n**2 * z + 2.0 * n * z**2 + z**3 / 3.0 + rows * (n**2 + 2.0 * n * z + z**2),
        bytes=int(FLOAT * (2.0 * z**2 + (n + z) * rows)),
    )


def _displaced(frame: Frame, rng: np.random.Generator) -> Frame:
    strain = np.eye(3) + rng.normal(0.0, DISPLACEMENT / 3.0, (3, 3))
    moved = frame.positions + rng.normal(0.0, DISPLACEMENT, frame.positions.shape)
    return replace(frame, positions=moved @ strain.T, cell=frame.cell @ strain.T)


@dataclass(frozen=True)
class _Known:
    """Points at which the function is known, none of which repeats the others.

    Attributes:
        points: (n, dimension).
        factor: (n, n) lower Cholesky factor of their covariance.
    """

    points: Array
    factor: Array

    @classmethod
    def of(
        cls,
        term: Term,
        species: Species,
        sparse: Array,
        factor: Array | None,
        reference: Array | None,
    ) -> _Known:
        """The sparse points, whose factor may be known, and the reference."""
        if not len(sparse):
            factor = np.zeros((0, 0))
        elif factor is None:
            kept, factor = pivoted_cholesky(
                term.kernel(species, sparse, sparse), term.rank_tolerance
            )
            sparse = np.ascontiguousarray(sparse[kept])
        if reference is None:
            return cls(sparse, factor)
        point = reference[None, :]
        half = np.zeros(0)
        if len(sparse):
            cross = term.kernel(species, sparse, point)[:, 0]
            half = scipy.linalg.solve_triangular(factor, cross, lower=True, check_finite=False)
        own = float(term.diagonal(species, point)[0])
        rest = own - float(half @ half)
        if rest <= term.rank_tolerance * own:
            return cls(sparse, factor)
        border = np.append(half, np.sqrt(rest))
        grown = np.block([[factor, np.zeros((len(factor), 1))], [border]])
        return cls(np.concatenate([sparse, point]), grown)


def _left_open(
    structure: Structure, term: Term, species: Species, known: _Known, points: Array
) -> Array:
    """(rows,) variance of functions of one combination of species, unit delta.

    By a factor of the covariance of the `known` points and Z together: what the columns after those of
    the known points add.
    """
    n, factor = len(known.points), known.factor
    whitened = np.zeros((0, len(points)))
    if n:
        cross = term.kernel(species, known.points, points)
        whitened = scipy.linalg.solve_triangular(factor, cross, lower=True, check_finite=False)
    schur = term.kernel(species, points, points) - whitened.T @ whitened
    scale = float(np.max(term.diagonal(species, points), initial=0.0))
    if not scale > 0.0 or float(np.max(np.diag(schur))) < TOLERANCE * scale:
        return np.zeros(RowLayout(len(structure.frame.numbers)).count)
    tolerance = TOLERANCE * scale / float(np.max(np.diag(schur)))
    kept, rest = pivoted_cholesky(0.5 * (schur + schur.T), tolerance)
    both = np.concatenate([known.points, points[kept]])
    rows = np.zeros((RowLayout(len(structure.frame.numbers)).count, len(both)))
    term.with_blocks([Block(species, both)]).add_rows(structure, rows, 0)
    beyond = rows[:, n:].T
    if n:
        explained = scipy.linalg.solve_triangular(factor, rows[:, :n].T, lower=True)
        beyond = beyond - whitened[:, kept].T @ explained
    half = scipy.linalg.solve_triangular(rest, beyond, lower=True)
    return np.asarray(np.sum(half**2, axis=0))
