"""Exchanges of chosen frames for others as long as the information's determinant grows.

Greedy choices are the start of a maximum-volume search (Goreinov, Oseledets, Savostyanov, Tyrtyshnikov
and Zamarashkin, "How to find a good submatrix" (2010), DOI 10.1142/9789812836021_0015; for frames of
potentials: Podryabinkin and Shapeev, Comput. Mater. Sci. 140, 171 (2017),
DOI 10.1016/j.commatsci.2017.08.031). Here blocks of rows, which belong to a frame's labels, take the
place of rows, and the information starts from what is known already.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.linalg
from forcemap.fitter.terms.base import Array

__all__ = ["exchanged", "log_ratio"]

LEAST_GAIN = 0.01
"""Smallest gain in the logarithm of the determinant for an exchange."""

SWEEPS = 5


def log_ratio(out: Array, into: Array) -> float:
    """log det(M - OᵀO + IᵀI) - log det M, from a determinant of the size of the blocks.

    Args:
        out: (d, r) L⁻¹Oᵀ with M = L Lᵀ, for the rows O that leave M.
        into: (d, q) L⁻¹Iᵀ, for the rows I that enter.
    """
    both = np.concatenate([out, into], axis=1)
    signs = np.concatenate([-np.ones(out.shape[1]), np.ones(into.shape[1])])
    small = np.eye(len(signs)) + signs[:, None] * (both.T @ both)
    sign, logarithm = np.linalg.slogdet(small)
    return float(logarithm) if sign > 0 else -np.inf


def exchanged(blocks: Sequence[Array], chosen: Sequence[int]) -> list[int]:
    """Places of equally many blocks with no smaller det(1 + Σ BᵀB), after exchanges.

    Args:
        blocks: rows B of each block, (r_i, d).
        chosen: places to start from.
    """
    places = list(chosen)
    others = [i for i in range(len(blocks)) if i not in set(places)]
    halves = _halves(blocks, places)
    for _ in range(SWEEPS):
        changed = False
        for place, i in enumerate(places):
            ratios = [log_ratio(halves[i], halves[j]) for j in others]
            if not ratios or max(ratios) <= LEAST_GAIN:
                continue
            best = int(np.argmax(ratios))
            places[place], others[best] = others[best], i
            halves = _halves(blocks, places)
            changed = True
        if not changed:
            break
    return places


def _halves(blocks: Sequence[Array], found: Sequence[int]) -> list[Array]:
    """(d, r_i) L⁻¹Bᵀ of all blocks."""
    information = np.eye(blocks[0].shape[1])
    for i in found:
        information += blocks[i].T @ blocks[i]
    factor = scipy.linalg.cholesky(information, lower=True)
    return [scipy.linalg.solve_triangular(factor, block.T, lower=True) for block in blocks]
