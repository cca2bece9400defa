"""Maps of the draws of SOAP terms, all together, in shared functions.

The energy of a draw has the form of the mean's, sum_s w_s (p_s . p)**zeta of the normalised power
spectrum p, with weights w that are differences to the mean's.

For zeta = 2 this is a quadratic form p . W p. The draws' forms are not confined to the leading
directions of the mean's (projected on them, they would lose most of themselves), but the spectra of the
data lie about their mean: with its direction q, p = a q + d, a = q . p,

    p . W p = 2 a (l . p) - a**2 (l . q) + d . W d,    l = W q,

and only d . W d is taken in fewer coordinates, y = B d: the leading directions of the mean over the
draws of (C^1/2 W C^1/2)**2, with the covariance C of d and of the spectra's derivatives in the data.
Constants of species, pair functions and forms of one draw cancel to a thousandth and less, and small
errors of one sign add up in the energy of many atoms. The average loss of the data's atoms is therefore
added to l, and one more coordinate makes the isolated atom, the zero of all energies, exact.

For zeta = 1 every draw is one vector, and for zeta = 3 and 4 the draws are factors of some of the
sparse points, like the mean. The same holds for zeta = 2 if the sparse points take less memory than
forms, as with many elements, whose spectra are long, and no more operations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg
from forcemap.fitter.solve.work import Work
from forcemap.fitter.terms.base import Array, Block, MapPlan
from forcemap.fitter.terms.soap.forms import NEGLIGIBLE, Form, Seen, isolated, spectra_seen
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.terms.soap import SoapCenter, SoapFunctions, SpectrumFunctions
from forcemap.potentials.terms.soap_quadratic import (
    SoapQuadraticCenter,
    SoapQuadraticFunctions,
)

if TYPE_CHECKING:
    from forcemap.fitter.terms.soap.term import SoapTerm

__all__ = ["drawing", "drawn_bytes", "drawn_functions"]

MOST_POINTS = 1_000_000
"""A number beyond that of all sparse points."""

MOST_FUNCTIONS = 256
"""Largest number of coordinates of d; a deviation of one element needs about 100."""

SPECTRA_COUNT = 10.0
"""Weight of spectra relative to their derivatives: it makes forces no worse and energies, where the
parts of a draw cancel, twice as good."""

FLOOR = 1e-10
"""Variances in the data count as at least this fraction of the largest, in the search for the direction
in which the isolated atom stands out."""

LEAST_VARIANCE = 1e-8
"""The same where directions are ranked. All of them are kept: the few frames that rank them do not show
all that occurs, and the parts of a draw, which cancel to a ten-thousandth, do not forgive it."""

REPEATED = 1e-8
"""A direction with no more than this left outside the span of others is part of that span."""

FORMS_AT_ONCE = 16_000_000
"""Numbers of the draws' forms held in memory; larger forms are applied by their sparse points."""


def drawn_functions(term: SoapTerm, weights: Array, plan: MapPlan) -> SpectrumFunctions:
    """The mapped term of a potential's draws from `weights` (points of all blocks, draws), eV."""
    blocks = [(block, some) for block, some in term.block_weights(weights) if block.size]
    if term.zeta == 2 and not _by_points(term, plan):
        quadratic = {
            SYMBOLS[block.species[0]]: _expanded(term, block, some, plan).center(plan.functions)
            for block, some in blocks
        }
        return SoapQuadraticFunctions(centers=quadratic, **term.expansion_fields)
    centers = {
        SYMBOLS[block.species[0]]: _center(term, block, some, plan) for block, some in blocks
    }
    return SoapFunctions(zeta=term.zeta, centers=centers, **term.expansion_fields)


def drawn_bytes(term: SoapTerm, plan: MapPlan) -> int:
    """Memory of the functions that the plan keeps, in bytes."""
    if term.zeta == 1:
        return 8 * sum(plan.draws * (term.dimension + plan.draws) for b in term.blocks if b.size)
    if term.zeta == 2:
        points = _numbers_of_points(term, plan, MOST_POINTS)
        return 8 * (points if _by_points(term, plan) else _numbers_of_forms(term, plan))
    return 8 * _numbers_of_points(term, plan, plan.functions)


def drawing(term: SoapTerm, plan: MapPlan) -> Work:
    """Algebra of making the draws' functions."""
    work = Work()
    for block in term.blocks:
        n, d = float(block.size), float(term.dimension)
        s = min(n, d)
        if term.zeta == 2 and not _by_points(term, plan):
            most = min(2.0 * MOST_FUNCTIONS, s)
            forms = plan.draws * (2.0 * n * s**2 + 8.0 * most * s**2)
            work += Work(products=forms + 2.0 * n * s**2, eigen=3.0 * s**3 + most**3)
        elif term.zeta > 2:
            work += Work(products=2.0 * n**2 * d + n**3 / 3.0)
    return work


def _by_points(term: SoapTerm, plan: MapPlan) -> bool:
    """Whether all sparse points, which are exact, take no more memory than forms would, nor longer; or
    whether forms of as many coordinates as there may be are too rough."""
    if plan.exact:
        return True
    memory = _numbers_of_forms(term, plan) - _numbers_of_points(term, plan, MOST_POINTS)
    return memory >= 0 and _products_saved(term, plan) >= 0


def _products_saved(term: SoapTerm, plan: MapPlan) -> int:
    """Multiplications for an atom of each element that forms of the usual size need beyond those of
    the sparse points."""
    saved, d = 0, term.dimension
    for block in term.blocks:
        rank = min(MOST_FUNCTIONS // 2, block.size, d)
        saved += rank * d + plan.draws * (rank**2 + (rank + 1) * d)
        saved -= block.size * d * (1 + plan.draws)
    return saved


def _numbers_of_forms(term: SoapTerm, plan: MapPlan) -> int:
    numbers = 0
    for block in term.blocks:
        rank = min(plan.functions, MOST_FUNCTIONS, block.size, term.dimension)
        numbers += (plan.draws + 1 + rank) * term.dimension + plan.draws * rank**2
    return numbers


def _numbers_of_points(term: SoapTerm, plan: MapPlan, most: int) -> int:
    return sum(min(most, block.size) * (term.dimension + plan.draws) for block in term.blocks)


def _center(term: SoapTerm, block: Block, weights: Array, plan: MapPlan) -> SoapCenter:
    """Factors of shared vectors, one for each draw."""
    if term.zeta == 1:
        return SoapCenter(np.eye(weights.shape[1]), np.ascontiguousarray(weights.T @ block.points))

    if term.zeta == 2:
        return SoapCenter(np.ascontiguousarray(weights.T), block.points)

    def form() -> Form:
        center = block.species[0]
        free = isolated(term, plan.frames, center)
        return Form(term.zeta, center, weights, block.points, free)

    drawn = plan.once(("drawn", id(term), block.species, weights.shape[1]), form)
    factors, vectors = drawn.first(plan.functions)
    return SoapCenter(np.ascontiguousarray(factors.T), np.ascontiguousarray(vectors))


def _expanded(term: SoapTerm, block: Block, weights: Array, plan: MapPlan) -> Expanded:
    """The draws' forms with enough coordinates for the plan; computed once, or twice for many."""
    most = MOST_FUNCTIONS // 2 if plan.functions <= MOST_FUNCTIONS // 2 else MOST_FUNCTIONS

    def expanded() -> Expanded:
        free = isolated(term, plan.frames, block.species[0])
        return Expanded.of(spectra_seen(term, block, plan), weights, free, most)

    return plan.once(("drawn", id(term), block.species, weights.shape[1], most), expanded)


@dataclass(frozen=True)
class Expanded:
    """Forms of all draws about the mean spectrum of a species of centre, in a span's coordinates.

    Attributes:
        seen: the spectra of the data.
        direction: (size,) q.
        lines: (draws, size) l.
        subspace: (most, size) B, the most important first.
        forms: (draws, most, most) of y.
        whole: (draws,) mean of d . W d in the data over the mean of a**2.
        free: (size,) spectrum of the isolated atom.
        free_row: (size,) the `free_direction`.
        free_energies: (draws,) p . W p of the isolated atom.
    """

    seen: Seen
    direction: Array
    lines: Array
    subspace: Array
    forms: Array
    whole: Array
    free: Array
    free_row: Array
    free_energies: Array

    @classmethod
    def of(cls, seen: Seen, weights: Array, free: Array, most: int) -> Expanded:
        """The forms of `weights` (points, draws), with at most `most` coordinates.

        `free` (dimension,) is the isolated atom's spectrum.
        """
        points = seen.span.points
        free = seen.span.coordinates(free[None])[0]
        q = seen.total / np.linalg.norm(seen.total)
        spectra, derivatives = (_without(q, m) for m in (seen.spectra, seen.derivatives))
        covariance = SPECTRA_COUNT * spectra / _trace(spectra, seen.spectra)
        covariance += derivatives / _trace(derivatives, seen.derivatives)
        values, vectors = scipy.linalg.eigh(covariance)
        # The largest eigenvalue comes first, where the search for the leading directions starts.
        axes = vectors[:, ::-1]
        roots = np.sqrt(np.maximum(values[::-1], LEAST_VARIANCE * values[-1]))
        leading, forms = _Forms(points @ (axes * roots), weights).leading(most)
        subspace = (leading.T / roots) @ axes.T
        return cls(
            seen,
            q,
            (points.T @ (weights * (points @ q)[:, None])).T,
            subspace - np.outer(subspace @ q, q),
            forms,
            np.sum((points @ spectra) * points, axis=1) @ weights / (q @ seen.spectra @ q),
            free,
            free_direction(values, vectors, q, free),
            (points @ free) ** 2 @ weights,
        )

    def center(self, count: int) -> SoapQuadraticCenter:
        """The forms in `count` coordinates, the last of which is that of the isolated atom."""
        q, span, spectra = self.direction, self.seen.span, self.seen.spectra
        rows, forms = self.subspace[: count - 1], self.forms[:, : count - 1, : count - 1]
        averages = rows @ _without(q, spectra) @ rows.T
        lost = self.whole - np.sum(forms * averages, axis=(1, 2)) / (q @ spectra @ q)
        lines = self.lines + np.outer(lost, q)
        # The loss of the isolated atom, the zero of all energies, is added where no other atoms are.
        a, y = self.free @ q, rows @ self.free
        energies = 2.0 * a * (lines @ self.free) - a**2 * (lines @ q) + (forms @ y) @ y
        own = float(self.free_row @ self.free)
        rows = np.concatenate([rows, self.free_row[None]])
        forms = np.pad(forms, ((0, 0), (0, 1), (0, 1)))
        forms[:, -1, -1] = (self.free_energies - energies) / own**2 if own else 0.0
        inside = _orthonormal(q, rows)
        lower = rows @ inside
        forms = lower.T @ forms @ lower
        return SoapQuadraticCenter(
            spectrum=np.ascontiguousarray(span.vectors(q[None])[0]),
            lines=np.ascontiguousarray(span.vectors(lines)),
            subspace=np.ascontiguousarray(span.vectors(inside.T)),
            forms=np.ascontiguousarray(0.5 * (forms + forms.transpose(0, 2, 1))),
        )


def free_direction(values: Array, vectors: Array, direction: Array, free: Array) -> Array:
    """(size,) unit vector along C^-1 d of the isolated atom; 0 if the isolated atom has no d.

    The isolated atom stands out most from the data along it, whose covariance C has the eigenvalues
    `values` and the eigenvectors `vectors`: a form along it changes the isolated atom and nothing else.
    """
    inside = free - (free @ direction) * direction
    axis = (vectors / np.maximum(values, FLOOR * values[-1])) @ (vectors.T @ inside)
    axis -= (axis @ direction) * direction
    length = float(np.linalg.norm(axis))
    return np.asarray(axis / length if length > 0.0 else axis)


def _orthonormal(direction: Array, rows: Array) -> Array:
    """(size, n) orthonormal columns that span `rows`, which are orthogonal to `direction`.

    There is one fewer than rows if the last row is in the span of the others.
    """
    together = np.concatenate([direction[None], rows])
    columns, upper = scipy.linalg.qr(together.T, mode="economic", check_finite=False)
    lengths = np.linalg.norm(together, axis=1)[: len(upper)]
    new = np.abs(np.diag(upper)) > REPEATED * lengths
    return np.asarray(columns[:, new][:, 1:])


def _without(direction: Array, moments: Array) -> Array:
    """Second moments of vectors without their component along `direction`, a unit vector."""
    projected = moments - np.outer(direction, direction @ moments)
    return np.asarray(projected - np.outer(projected @ direction, direction))


def _trace(moments: Array, whole: Array) -> float:
    """Trace of `moments`, what `whole` has without one direction; or more, where that is rounding."""
    return max(float(np.trace(moments)), NEGLIGIBLE * float(np.trace(whole)), 1e-300)


class _Forms:
    """Quadratic forms M_k = sum_s weights[s, k] points[s] points[s]^T, (size, size) each."""

    def __init__(self, points: Array, weights: Array) -> None:
        self.points, self.weights = points, weights
        self.size = points.shape[1]
        self.whole = None
        if weights.shape[1] * self.size**2 <= FORMS_AT_ONCE:
            self.whole = np.stack([(points.T * some) @ points for some in weights.T])

    def products(self, k: int, vectors: Array) -> Array:
        """M_k @ vectors (size, m)."""
        if self.whole is not None:
            return np.asarray(self.whole[k] @ vectors)
        inner = self.weights[:, k, None] * (self.points @ vectors)
        return np.asarray(self.points.T @ inner)

    def leading(self, most: int) -> tuple[Array, Array]:
        """(U (size, most), U^T M_k U (draws, most, most)): eigenvectors of sum_k M_k**2, largest first.

        A subspace iteration starts from the first coordinates, where most of the forms is.
        """
        draws = range(self.weights.shape[1])
        basis = np.eye(self.size, min(2 * most, self.size))
        if basis.shape[1] < self.size:
            basis = np.sum([self.products(k, self.products(k, basis)) for k in draws], axis=0)
            basis = scipy.linalg.qr(basis, mode="economic", check_finite=False)[0]
        images = [self.products(k, basis) for k in draws]
        _, inside = scipy.linalg.eigh(np.sum([image.T @ image for image in images], axis=0))
        inside = inside[:, ::-1][:, :most]
        forms = np.stack([inside.T @ (basis.T @ image) @ inside for image in images])
        return basis @ inside, forms
