"""Maps SOAP terms: the sparse points of a fit go into a few vectors.

The fitted energy of a centre with normalised power spectrum p is ``sum_s w_s (p_s . p)**zeta``. For
zeta = 1 and 2 that is a linear and a quadratic form, p . W p, whatever the number of sparse points:
the map is exact, and the eigenvectors of W are as many as p has numbers at most. Fewer will do: those
that matter for the spectra that occur, and for their derivatives, are the leading eigenvectors of
C^1/2 W C^1/2 with the covariance C of both in the data. For zeta = 3 and 4 the sparse points themselves
are kept, or those of them whose span holds the fitted function to within the tolerance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg
from forcemap.fitter.environment_terms import DotPower
from forcemap.fitter.frame import Frame
from forcemap.fitter.process import Environment
from forcemap.fitter.soap import SoapTerm
from forcemap.fitter.solver import pivoted_cholesky
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.model import SoapCenter, SoapFunctions
from numpy.typing import NDArray

__all__ = ["Form", "forms_of", "functions_of"]

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


def forms_of(term: SoapTerm, weights: Array, frames: Sequence[Frame]) -> list[Form]:
    """Complete forms of all species; their order is by importance in `frames`.

    `weights` (points of all blocks,) eV. Raises ForcemapError for a block without any.
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
            factors, vectors = _quadratic(block.points, values, _covariance(term, frames, center))
            forms.append(Form(2, center, factors, vectors, free))
        else:
            forms.append(Form(term.zeta, center, values, block.points, free))
    return forms


def _isolated(term: SoapTerm, frames: Sequence[Frame], center: int) -> Array:
    frame = next(f for f in frames if center in f.numbers)
    return term.isolated(Environment(frame, term.cutoff), center)


def _covariance(term: SoapTerm, frames: Sequence[Frame], center: int) -> Array:
    """Second moments of the spectra and of their derivatives by positions, (dimension, dimension).

    Both count the same: an error of the form shows in energies and in forces.
    """
    spectra = np.zeros((term.dimension, term.dimension))
    moved = np.zeros_like(spectra)
    for frame in frames:
        if center not in frame.numbers:
            continue
        environment = Environment(frame, term.cutoff)
        _, found = term.descriptors(environment, center)
        spectra += found.T @ found
        # A few centres of each frame tell enough of the derivatives.
        for n in np.unique(np.linspace(0, len(found) - 1, 6).astype(int)):
            _, _, derivatives = term.expansion.derivatives(
                environment.core, center, int(n), int(n) + 1
            )
            forces = derivatives[:-6]
            moved += forces.T @ forces
    both = spectra / max(np.trace(spectra), 1e-300) + moved / max(np.trace(moved), 1e-300)
    return np.asarray(both)


def _quadratic(points: Array, weights: Array, covariance: Array) -> tuple[Array, Array]:
    """(factors, vectors) of sum_s weights[s] (points[s] . p)**2, most important first.

    With C = R R^T and the eigenvectors u of R^T W R, W = sum over them of
    lambda (R^-T u)(R^-T u)^T, exact for any regular R.
    """
    form = (points.T * weights) @ points
    values, vectors = scipy.linalg.eigh(covariance)
    # A floor keeps the root regular: directions that never occur may not become important.
    roots = np.sqrt(np.maximum(values, 1e-10 * values[-1]))
    root = vectors * roots
    inner = root.T @ form @ root
    factors, inside = scipy.linalg.eigh(0.5 * (inner + inner.T))
    order = np.argsort(-np.abs(factors))
    order = order[np.abs(factors[order]) > NEGLIGIBLE * np.abs(factors[order[0]])]
    return factors[order], np.ascontiguousarray(((vectors / roots) @ inside[:, order]).T)


def functions_of(
    term: SoapTerm,
    forms: Sequence[Form],
    part: float = 1.0,
) -> SoapFunctions:
    """The term of a potential from the first `part` of each form's vectors."""
    centers = {}
    for form in forms:
        count = max(1, int(np.ceil(part * len(form.factors))))
        factors, vectors = form.first(count)
        free = float(np.sum(factors * (vectors @ form.free) ** term.zeta))
        centers[SYMBOLS[form.species]] = SoapCenter(
            np.ascontiguousarray(factors), np.ascontiguousarray(vectors), free
        )
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
