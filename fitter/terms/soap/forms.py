"""Maps SOAP terms: the sparse points of a fit go into a few vectors.

The fitted energy of a centre with normalised power spectrum p is ``sum_s w_s (p_s . p)**zeta``. For
zeta = 1 and 2 that is a linear and a quadratic form, p . W p, whatever the number of sparse points:
the map is exact, and the eigenvectors of W are at most as many as p has numbers or as there are points.
Fewer will do: those that matter for the spectra that occur, and for their derivatives, are the leading
eigenvectors of C^1/2 W C^1/2 with the covariance C of both in the data. For zeta = 3 and 4 the sparse
points themselves are kept, or those of them whose span holds the fitted function to within the
tolerance.

The power spectrum of many elements has thousands of numbers (11,172 for seven), and the sparse points
may be few. W is nonzero in their span alone, and everything is computed there, in coordinates of an
orthonormal basis Q of it: with W = Q w Q^T, the eigenvalues of C^1/2 W C^1/2 other than zero are those
of (Q^T C Q)^1/2 w (Q^T C Q)^1/2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.sharing.threads import in_order
from forcemap.fitter.solve.cholesky import pivoted_cholesky
from forcemap.fitter.terms.environments import DotPower
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.terms import SoapCenter, SoapFunctions
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from forcemap.fitter.terms.soap.term import SoapTerm

__all__ = ["Form", "forms_of", "functions_of", "points_functions"]

Array = NDArray[np.float64]

NEGLIGIBLE = 1e-15
"""Eigenvalues below this part of the largest are rounding."""


@dataclass(frozen=True)
class Form:
    """Energy sum_k factors[k] (vectors[k] . p)**zeta of one species, most important first.

    Attributes:
        zeta: the exponent.
        species: atomic number of the centre.
        factors: (k,) eV.
        vectors: (k, dimension).
        free: power spectrum of the isolated atom, (dimension,).
    """

    zeta: int
    species: int
    factors: Array
    vectors: Array
    free: Array

    def first(self, count: int) -> tuple[Array, Array]:
        """(factors, vectors) of the energy by `count` vectors: exact with all, else nearly so."""
        if self.zeta <= 2 or count >= len(self.factors):
            return self.factors[:count], self.vectors[:count]
        # The function projected on the span of its most independent points.
        kept, factor, right = self._span
        n = min(count, len(kept))
        factors = scipy.linalg.cho_solve((factor[:n, :n], True), right[:n])
        return np.asarray(factors), self.vectors[kept[:n]]

    @cached_property
    def _span(self) -> tuple[NDArray[np.intp], Array, Array]:
        """Vectors in the order of a pivoted Cholesky, the factor, products with the function."""
        matrix = DotPower(self.zeta).values_and_slopes(self.vectors, self.vectors)[0]
        kept, factor = pivoted_cholesky(matrix)
        return kept, factor, matrix[kept] @ self.factors


def forms_of(term: SoapTerm, weights: Array, frames: Sequence[Frame], jobs: int = 1) -> list[Form]:
    """Complete forms of all species; their order is by importance in `frames`.

    `weights` (points of all blocks,) eV. One species after the other, so that memory is that of the
    largest; `jobs` threads, on which the result does not depend.

    Raises ForcemapError for a block without any.
    """
    forms = []
    start = 0
    for block in term.blocks:
        values = weights[start : start + block.size]
        start += block.size
        if not block.size:
            continue
        center = block.species[0]
        if not values.any():
            raise ForcemapError(
                f"the weights of all sparse points of {SYMBOLS[center]} in its soap term are 0: the "
                "model is damaged"
            )
        free = _isolated(term, frames, center)
        if term.zeta == 1:
            vector = values @ block.points
            forms.append(Form(1, center, np.ones(1), vector[None, :], free))
        elif term.zeta == 2:
            span = Span.of(block.points)
            covariance = _covariance(term, frames, center, span, jobs)
            factors, vectors = _quadratic(span, values, covariance)
            forms.append(Form(2, center, factors, vectors, free))
        else:
            forms.append(Form(term.zeta, center, values, block.points, free))
    return forms


def _isolated(term: SoapTerm, frames: Sequence[Frame], center: int) -> Array:
    frame = next(f for f in frames if center in f.numbers)
    return term.isolated(Structure(frame, term.cutoff), center)


@dataclass(frozen=True)
class Span:
    """Coordinates of the space that sparse points span, or of the whole, whichever is smaller.

    Attributes:
        basis: (dimension, size) orthonormal columns; None for the whole space, where size = dimension.
        points: (n, size) coordinates of the sparse points.
    """

    basis: Array | None
    points: Array

    @classmethod
    def of(cls, points: Array) -> Span:
        """The span of `points` (n, dimension)."""
        if len(points) >= points.shape[1]:
            return cls(None, points)
        # Householder reflections: orthonormal also where points are nearly dependent, which a Gram
        # matrix of them, with the square of their condition, would not resolve.
        basis, factor = scipy.linalg.qr(points.T, mode="economic", check_finite=False)
        return cls(basis, np.ascontiguousarray(factor.T))

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return int(self.points.shape[1])

    def coordinates(self, vectors: Array) -> Array:
        """(n, size) of `vectors` (n, dimension), projected."""
        return vectors if self.basis is None else vectors @ self.basis

    def vectors(self, coordinates: Array) -> Array:
        """(n, dimension) of `coordinates` (n, size)."""
        return coordinates if self.basis is None else coordinates @ self.basis.T


DERIVED_CENTERS = 6
"""A few centres of each frame represent the derivatives well enough."""


def _covariance(
    term: SoapTerm, frames: Sequence[Frame], center: int, span: Span, jobs: int
) -> Array:
    """Second moments of the spectra and of their derivatives by positions, (span.size, span.size).

    Both count the same: an error of the form shows in energies and in forces. Derivatives of `jobs`
    frames are computed at a time, each by one thread of BLAS, and summed in the frames' order.
    """
    moments = [np.zeros((span.size, span.size)) for _ in range(2)]
    traces = [0.0, 0.0]  # of the whole space

    def of_frame(frame: Frame) -> list[tuple[Array, float]]:
        structure = Structure(frame, term.cutoff)
        _, found = term.descriptors(structure, center)
        chosen = np.unique(np.linspace(0, len(found) - 1, DERIVED_CENTERS).astype(int))
        moved, squares = [], 0.0
        for n in chosen.tolist():
            _, _, rows = term.expansion.derivatives(structure.neighbors, center, n, n + 1)
            squares += float(np.vdot(rows[:-6], rows[:-6]))
            moved.append(span.coordinates(rows[:-6]))
        return [
            (span.coordinates(found), float(np.vdot(found, found))),
            (np.concatenate(moved), squares),
        ]

    seen = [frame for frame in frames if center in frame.numbers]
    with threadpool_limits(limits=1, user_api="blas"):
        for kinds in in_order(of_frame, seen, jobs):
            for k, (rows, squares) in enumerate(kinds):
                moments[k] += rows.T @ rows
                traces[k] += squares
    spectra, derivatives = (m / max(t, 1e-300) for m, t in zip(moments, traces, strict=True))
    return np.asarray(spectra + derivatives)


def _quadratic(span: Span, weights: Array, covariance: Array) -> tuple[Array, Array]:
    """(factors, vectors) of sum_s weights[s] (points[s] . p)**2, most important first.

    With C = R R^T in the coordinates of `span`, where the form is w, and the eigenvectors u of
    R^T w R, w is the sum over them of lambda (R^-T u)(R^-T u)^T, exact for any regular R.
    """
    form = (span.points.T * weights) @ span.points
    values, vectors = scipy.linalg.eigh(covariance)
    # A floor keeps the root regular: directions that never occur may not become important.
    roots = np.sqrt(np.maximum(values, 1e-10 * values[-1]))
    root = vectors * roots
    inner = root.T @ form @ root
    factors, inside = scipy.linalg.eigh(0.5 * (inner + inner.T))
    order = np.argsort(-np.abs(factors))
    order = order[np.abs(factors[order]) > NEGLIGIBLE * np.abs(factors[order[0]])]
    found = ((vectors / roots) @ inside[:, order]).T
    return factors[order], np.ascontiguousarray(span.vectors(found))


def points_functions(term: SoapTerm, weights: Array, frames: Sequence[Frame]) -> SoapFunctions:
    """The term of a potential with all sparse points as its vectors: exact, and linear in the weights.

    `weights` (points of all blocks, k) eV: those of the mean, or of k draws, which share the vectors.
    """
    centers = {}
    for block, some in term.block_weights(weights):
        if not block.size:
            continue
        center = block.species[0]
        if some.shape[1] > 1:
            centers[SYMBOLS[center]] = SoapCenter(np.ascontiguousarray(some.T), block.points)
        else:
            free = _isolated(term, frames, center)
            form = Form(term.zeta, center, some[:, 0], block.points, free)
            centers[SYMBOLS[center]] = _center(form, form.factors, form.vectors)
    return _functions(term, centers)


def functions_of(
    term: SoapTerm,
    forms: Sequence[Form],
    part: float = 1.0,
) -> SoapFunctions:
    """The term of a potential from the first `part` of each form's vectors."""
    kept = [form.first(max(1, int(np.ceil(part * len(form.factors))))) for form in forms]
    return _functions(
        term,
        {
            SYMBOLS[form.species]: _center(form, factors, vectors)
            for form, (factors, vectors) in zip(forms, kept, strict=True)
        },
    )


def _center(form: Form, factors: Array, vectors: Array) -> SoapCenter:
    free = float(np.sum(factors * (vectors @ form.free) ** form.zeta))
    return SoapCenter(np.ascontiguousarray(factors), np.ascontiguousarray(vectors), free)


def _functions(term: SoapTerm, centers: Mapping[str, SoapCenter]) -> SoapFunctions:
    return SoapFunctions(
        cutoff=term.cutoff,
        intervals=len(term.radial) - 3,
        n_max=term.basis.n_max,
        l_max=term.basis.l_max,
        zeta=term.zeta,
        radial=term.radial,
        self_density=term.own,
        weights=term.weights,
        centers=centers,
    )
