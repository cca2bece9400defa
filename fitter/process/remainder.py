"""The part of a process's prior that sparse points leave undetermined: k** - k*ᵀ K_mm⁻¹ k*.

The values of a function at its sparse points do not determine it elsewhere. Far from all of them the
first term, the prior's variance, is all that remains, and a deviation without it falls to zero where
it should rise to delta (Quiñonero-Candela and Rasmussen, J. Mach. Learn. Res. 6, 1939 (2005), eq. 26:
the "DTC" predictive variance).

k** of a total energy, or of a force, is a double sum over the function values of a frame, and their
derivatives. It follows from more points of the same kind: for points Z that span the frame's own
function values and their slopes, k** = k_Z K_ZZ⁻¹ k_Zᵀ. Z are the term's candidates in the frame and in
copies of it with slightly displaced atoms and a slightly strained cell, so that differences represent
slopes. The result is a bound from below, near the truth where displacements are small beside the
lengthscale. For terms whose energies are relative to the isolated atom (`Term.reference`), its function
value counts as known beside those at the sparse points: it is part of every energy, and its
undetermined part is no error of a frame whose environments are all among the sparse points.

The other part of a variance, which the data leave, remains that of the sparse process: it describes
labels as sums over the sparse points' functions alone, and so trusts them more than a dense process
does. With few sparse points, deviations just beyond the data are smaller than those of a dense process
(by a quarter for dimers with 8 distances, by a hundredth with 12).
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
"""Number of displaced copies of a frame."""

DISPLACEMENT = 0.05
"""Root mean square displacement of each coordinate, Å; that of strains is a third of the number."""

MOST_POINTS = 1500
"""Size of the random sample of Z per combination of species: 1500 cost about a second per frame."""

TOLERANCE = 1e-9
"""Relative variance below which a point of Z repeats the others. Between sparse points a slope may be
undetermined where values hardly are: with 1e-7, deviations of forces there fell to 0.4 of the truth."""


def remainders(
    frame: Frame, terms: Sequence[Term], factors: Sequence[Array] | None = None
) -> Array:
    """(rows,) variance of each row of a frame that the sparse points of all terms leave undetermined.

    `factors` are the Cholesky factors of all blocks' covariances in the order of `rows.columns`;
    without them the covariances are factored here, which takes as long as the rest.
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
    """Number of points Z in a frame with `candidates` candidates of a term."""
    return min(MOST_POINTS, round((COPIES + 1) * candidates))


def work_of_remainder(known: int, beyond: int, rows: int) -> Work:
    """Algebra for one combination of species: `known` sparse points, `beyond` points Z, `rows`."""
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
        """The sparse points, whose factor may be known already, and the reference."""
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
    """(rows,) undetermined variance of functions of one combination of species, unit delta.

    In a factor of the joint covariance, the columns of Z add it to those of the `known` points.
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
