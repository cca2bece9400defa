"""Sums of powers of products with many vectors, in fewer of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import scipy.linalg
from forcemap.fitter.terms.soap.forms import NEGLIGIBLE, Form, Span, quadratic
from numpy.typing import NDArray

__all__ = ["Reduced", "reduced"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Reduced:
    """The sum over k of factors[k] (vectors[k] . p)**zeta.

    Attributes:
        factors: (count,) eV.
        vectors: (count, dimension).
        note: about what was lost, by name; empty where nothing was.
    """

    factors: Array
    vectors: Array
    note: Mapping[str, float] = field(default_factory=dict)


def reduced(factors: Array, vectors: Array, zeta: float, rank: int | None) -> Reduced:
    """The sum in `rank` vectors at most; in as few as it needs to be exact, without one.

    For zeta = 1 and 2 the sum is a linear and a quadratic form, whatever the number of vectors. What a
    lower rank loses is stated at the spectra `vectors`: they are environments of the training data.
    """
    exact = _exact(factors, vectors, zeta)
    if rank is None or rank >= len(exact.factors):
        return exact
    if zeta == 2.0:
        span = Span.of(vectors)
        seen = span.points.T @ span.points / len(vectors)
        some_factors, some_vectors = quadratic(span, factors, seen)
        fewer = Reduced(some_factors[:rank], some_vectors[:rank])
    else:
        fewer = Reduced(*Form(zeta, 0, factors, vectors, np.zeros(vectors.shape[1])).first(rank))
    errors = _energies(fewer, vectors, zeta) - _energies(exact, vectors, zeta)
    note = {
        "rank": len(fewer.factors),
        "exact_rank": len(exact.factors),
        "energy_rms_error_ev": float(np.sqrt(np.mean(errors**2))),
        "energy_max_error_ev": float(np.abs(errors).max()),
    }
    return Reduced(np.ascontiguousarray(fewer.factors), np.ascontiguousarray(fewer.vectors), note)


def _exact(factors: Array, vectors: Array, zeta: float) -> Reduced:
    if zeta == 1.0:
        return Reduced(np.ones(1), (factors @ vectors)[None, :])
    if zeta == 2.0 and len(vectors) > vectors.shape[1]:
        values, directions = scipy.linalg.eigh((vectors.T * factors) @ vectors)
        order = np.argsort(-np.abs(values))
        order = order[np.abs(values[order]) > NEGLIGIBLE * np.abs(values[order[0]])]
        return Reduced(values[order], np.ascontiguousarray(directions[:, order].T))
    return Reduced(factors, vectors)


def _energies(of: Reduced, spectra: Array, zeta: float) -> Array:
    return np.asarray((spectra @ of.vectors.T) ** zeta @ of.factors)
