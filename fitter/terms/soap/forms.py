"""Maps of SOAP terms: a few vectors take the place of the sparse points.

The fitted energy of a centre with normalised power spectrum p is ``sum_s w_s (p_s . p)**zeta``. For
zeta = 1 and 2 this is a linear and a quadratic form, p . W p, whatever the number of sparse points:
the map is exact, and W has at most as many eigenvectors as p has numbers or as there are points.
Fewer suffice: the important ones for the spectra that occur, and for their derivatives, are the leading
eigenvectors of C^1/2 W C^1/2 with the covariance C of both in the data. They are the best of their
number, and so are their factors: fitted again they would stay as they are. But what is left out is of
one sign mostly and shifts the energies of all atoms, where no force shows it: of all atoms but the
isolated one, whose energy is zero. One vector more, in which nothing but the isolated atom stands out
(`Shift`), takes that back, and a tenth of the others can go. For zeta = 3 and 4 the sparse
points themselves are kept, or those of them whose span holds the fitted function to within the
tolerance.

The power spectrum of many elements has thousands of numbers (11,172 for seven), and there may be few
sparse points. W is nonzero in their span alone, and everything is computed there, in coordinates of an
orthonormal basis Q of it: with W = Q w Q^T, the eigenvalues of C^1/2 W C^1/2 other than zero are those
of (Q^T C Q)^1/2 w (Q^T C Q)^1/2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.sharing.threads import in_order
from forcemap.fitter.solve.cholesky import pivoted_cholesky
from forcemap.fitter.terms.base import Block, MapPlan
from forcemap.fitter.terms.environments import DotPower
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.terms import SoapCenter, SoapFunctions
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from forcemap.fitter.terms.soap.term import SoapTerm

__all__ = [
    "Form",
    "Seen",
    "Span",
    "forms_of",
    "functions_of",
    "isolated",
    "quadratic",
    "spectra_seen",
]

Array = NDArray[np.float64]

NEGLIGIBLE = 1e-15
"""Eigenvalues below this fraction of the largest are rounding."""


FLOOR = 1e-10
"""Directions whose variance in the data is below this fraction of the largest never occur."""


@dataclass(frozen=True)
class Shift:
    """By what the energies of the data's atoms are shifted, on average, without some of the vectors.

    Attributes:
        lost: (k,) eV, the average of each vector's part of the energy, less that of the isolated atom.
        vector: (dimension,) unit vector, along which the isolated atom stands out most from the data.
        gain: what (vector . p)**2 is on average, less that of the isolated atom.
    """

    lost: Array
    vector: Array
    gain: float

    @classmethod
    def of(cls, seen: Seen, factors: Array, vectors: Array, free: Array) -> Shift:
        """Of the form with these factors and vectors, in the data; `free` (dimension,)."""
        inside = seen.span.coordinates(free[None])[0]
        values, axes = scipy.linalg.eigh(seen.covariance)
        vector = (axes / np.maximum(values, FLOOR * values[-1])) @ (axes.T @ inside)
        vector /= max(float(np.linalg.norm(vector)), 1e-300)
        rows = np.concatenate([seen.span.coordinates(vectors), vector[None]])
        averages = np.sum((rows @ seen.spectra) * rows, axis=1) / seen.count - (rows @ inside) ** 2
        whole = np.ascontiguousarray(seen.span.vectors(vector[None])[0])
        return cls(factors * averages[:-1], whole, float(averages[-1]))

    def factor(self, count: int) -> float:
        """That of `vector` where the first `count` vectors are kept, eV."""
        lost = float(np.sum(self.lost[count:]))
        return lost / self.gain if abs(self.gain) > NEGLIGIBLE else 0.0


@dataclass(frozen=True)
class Form:
    """Energy sum_k factors[k] (vectors[k] . p)**zeta of one species, most important term first.

    Attributes:
        zeta: the exponent.
        species: atomic number of the centre.
        factors: (k,) eV.
        vectors: (k, dimension).
        free: power spectrum of the isolated atom, (dimension,).
        shift: by what fewer vectors shift energies, where it is known: for zeta = 2.
    """

    zeta: float
    species: int
    factors: Array
    vectors: Array
    free: Array
    shift: Shift | None = None

    def first(self, count: int) -> tuple[Array, Array]:
        """(factors, vectors) of the energy in `count` vectors: exact with all, else approximate."""
        if self.shift is not None and 1 < count < len(self.factors):
            kept, factor = count - 1, self.shift.factor(count - 1)
            return (
                np.append(self.factors[:kept], factor),
                np.concatenate([self.vectors[:kept], self.shift.vector[None]]),
            )
        if self.zeta <= 2 or count >= len(self.factors):
            return self.factors[:count], self.vectors[:count]
        # The function projected on the span of its most independent points.
        order, lower, right = self._span
        n = min(count, len(order))
        factors = scipy.linalg.cho_solve((lower[:n, :n], True), right[:n])
        return np.asarray(factors), self.vectors[order[:n]]

    @cached_property
    def _span(self) -> tuple[NDArray[np.intp], Array, Array]:
        """Order of the vectors by pivoted Cholesky, the factor, and products with the function."""
        matrix = DotPower(self.zeta).values_and_slopes(self.vectors, self.vectors)[0]
        kept, factor = pivoted_cholesky(matrix)
        return kept, factor, matrix[kept] @ self.factors


def forms_of(
    term: SoapTerm,
    weights: Array,
    frames: Sequence[Frame],
    jobs: int = 1,
    plan: MapPlan | None = None,
) -> list[Form]:
    """Complete forms of all species, ordered by importance in `frames`.

    Species are treated one after the other, so that memory is that of the largest.

    Args:
        term: the term.
        weights: (points of all blocks,) eV.
        frames: structures that rank the vectors.
        jobs: threads, on which the result does not depend.
        plan: keeps the moments of the frames' spectra for later calls.

    Raises:
        ForcemapError: all weights of a block are 0.
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
        free = isolated(term, frames, center)
        if term.zeta == 1:
            vector = values @ block.points
            forms.append(Form(1, center, np.ones(1), vector[None, :], free))
        elif term.zeta == 2:
            seen = spectra_seen(term, block, plan or MapPlan(frames, jobs))
            factors, vectors = quadratic(seen.span, values, seen.covariance)
            shift = Shift.of(seen, factors, vectors, free)
            forms.append(Form(2, center, factors, vectors, free, shift))
        else:
            forms.append(Form(term.zeta, center, values, block.points, free))
    return forms


def isolated(term: SoapTerm, frames: Sequence[Frame], center: int) -> Array:
    """Power spectrum of an isolated atom of one species, (dimension,)."""
    frame = next(f for f in frames if center in f.numbers)
    return term.isolated(Structure(frame, term.cutoff), center)


@dataclass(frozen=True)
class Span:
    """Coordinates of the span of the sparse points, or of the whole space, whichever is smaller.

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
        # Householder reflections stay orthonormal for nearly dependent points, which a Gram matrix,
        # with the square of their condition number, would not resolve.
        basis, factor = scipy.linalg.qr(points.T, mode="economic", check_finite=False)
        return cls(basis, np.ascontiguousarray(factor.T))

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return int(self.points.shape[1])

    def coordinates(self, vectors: Array) -> Array:
        """(n, size) coordinates of `vectors` (n, dimension), projected."""
        return vectors if self.basis is None else vectors @ self.basis

    def vectors(self, coordinates: Array) -> Array:
        """(n, dimension) vectors with `coordinates` (n, size)."""
        return coordinates if self.basis is None else coordinates @ self.basis.T


DERIVED_CENTERS = 6
"""Centres of each frame whose derivatives are used: a few represent them well enough."""


@dataclass(frozen=True)
class Seen:
    """Spectra of one species of centre in the data, and their derivatives by positions.

    Attributes:
        span: span of the sparse points, in whose coordinates the others are.
        count: number of spectra.
        total: (span.size,) sum of the spectra.
        spectra, derivatives: (span.size, span.size) second moments.
        traces: traces of both second moments in the whole space.
    """

    span: Span
    count: int
    total: Array
    spectra: Array
    derivatives: Array
    traces: tuple[float, float]

    @property
    def covariance(self) -> Array:
        """Sum of both second moments, each normalised by its trace.

        Both count the same: an error of the form appears in energies and in forces.
        """
        both = zip((self.spectra, self.derivatives), self.traces, strict=True)
        spectra, derivatives = (moments / max(trace, 1e-300) for moments, trace in both)
        return np.asarray(spectra + derivatives)


def spectra_seen(term: SoapTerm, block: Block, plan: MapPlan) -> Seen:
    """Moments of the spectra of a block's species in the plan's frames; computed once in a plan."""

    def see() -> Seen:
        span = Span.of(block.points)
        return _seen(term, plan.frames, block.species[0], span, plan.jobs)

    return plan.once(("spectra", id(term), block.species), see)


def _seen(term: SoapTerm, frames: Sequence[Frame], center: int, span: Span, jobs: int) -> Seen:
    """Moments over the frames.

    The derivatives of `jobs` frames are computed at a time, each with one thread of BLAS, and summed
    in the order of the frames.
    """
    moments = [np.zeros((span.size, span.size)) for _ in range(2)]
    traces = [0.0, 0.0]  # in the whole space
    total, count = np.zeros(span.size), 0

    def of_frame(frame: Frame) -> list[tuple[Array, float]]:
        structure = Structure(frame, term.cutoff)
        _, descriptors = term.descriptors(structure, center)
        chosen = np.unique(np.linspace(0, len(descriptors) - 1, DERIVED_CENTERS).astype(int))
        moved, squares = [], 0.0
        for n in chosen.tolist():
            _, _, rows = term.expansion.derivatives(structure.neighbors, center, n, n + 1)
            squares += float(np.vdot(rows[:-6], rows[:-6]))
            moved.append(span.coordinates(rows[:-6]))
        return [
            (span.coordinates(descriptors), float(np.vdot(descriptors, descriptors))),
            (np.concatenate(moved), squares),
        ]

    seen = [frame for frame in frames if center in frame.numbers]
    with threadpool_limits(limits=1, user_api="blas"):
        for kinds in in_order(of_frame, seen, jobs):
            for k, (rows, squares) in enumerate(kinds):
                moments[k] += rows.T @ rows
                traces[k] += squares
            total += np.sum(kinds[0][0], axis=0)
            count += len(kinds[0][0])
    return Seen(span, count, total, moments[0], moments[1], (traces[0], traces[1]))


def quadratic(span: Span, weights: Array, covariance: Array) -> tuple[Array, Array]:
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
    coordinates = ((vectors / roots) @ inside[:, order]).T
    return factors[order], np.ascontiguousarray(span.vectors(coordinates))


def functions_of(
    term: SoapTerm,
    forms: Sequence[Form],
    part: float = 1.0,
) -> SoapFunctions:
    """The term of a potential from the first fraction `part` of each form's vectors."""
    centers = {}
    for form in forms:
        factors, vectors = form.first(max(1, int(np.ceil(part * len(form.factors)))))
        free = float(np.sum(factors * (vectors @ form.free) ** term.zeta))
        centers[SYMBOLS[form.species]] = SoapCenter(
            np.ascontiguousarray(factors), np.ascontiguousarray(vectors), free
        )
    return SoapFunctions(zeta=term.zeta, centers=centers, **term.expansion_fields)
