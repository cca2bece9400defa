"""Contractions of radial functions and elements into few channels, from the data.

The density coefficients c[lm, (n, element)] of an environment have as many radial functions as one
cares to expand in, for each element. A channel is a linear combination of them,

    c[lm, k] = sum over n, element of mixing[l, k, element, n] c[lm, (n, element)],

and costs what a radial function costs: the combination is tabulated for each element as a function of
the distance. The combinations of largest variance in the data, for each l, lose the least (the optimal
radial basis of Goscinski, Musil, Pozdnyakov, Nigam and Ceriotti, J. Chem. Phys. 155, 104106 (2021), DOI
10.1063/5.0057229, with the elements as Willatt, Musil and Ceriotti, Phys. Chem. Chem. Phys. 20, 29661
(2018), DOI 10.1039/C8CP05921G, combine them). The variance of elements that act alike counts as one
(`channels`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.linalg
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.data.structure import Structure
from forcemap.fitter.terms.base import Array, Survey
from forcemap.fitter.terms.soap.radial_basis import RadialBasis, tabulate
from forcemap.potentials import _core

__all__ = ["learned_mixing", "mixing_of", "second_moments", "tables"]

SAMPLE, LEAST = 240, 4
"""Frames from which the variances are taken: of all, and of each combination of elements."""

MOST_ATOMS = 8
"""Atoms of each element in a frame that are used: equivalent atoms repeat one another."""


def second_moments(frames: Sequence[Frame], basis: RadialBasis, species: Sequence[int]) -> Array:
    """Second moments of the density coefficients, (l_max + 1, elements, n_max, elements, n_max).

    They are averages over centres of sum_m c[lm, a] c[lm, b], normalised by the length of the centre's
    power spectrum, in which each centre counts alike.
    """
    radial, own = tabulate(basis)
    expansion = _core.SoapExpansion(
        basis.cutoff, radial[None], own[None], np.eye(len(species)), list(species)
    )
    total = np.zeros(expansion.dimension)
    count = 0
    for frame in _sample(frames):
        structure = Structure(frame, basis.cutoff)
        for center in sorted(set(frame.numbers.tolist())):
            _, spectra = expansion.spectra(structure.neighbors, center)
            some = np.unique(np.linspace(0, len(spectra) - 1, MOST_ATOMS).astype(int))
            total += np.sum(spectra[some], axis=0)
            count += len(some)
    return _unpacked(total / max(count, 1), basis, len(species))


def _sample(frames: Sequence[Frame]) -> list[Frame]:
    """Evenly chosen frames of each group of elements."""
    groups: dict[tuple[int, ...], list[Frame]] = {}
    for frame in frames:
        groups.setdefault(tuple(sorted(set(frame.numbers.tolist()))), []).append(frame)
    count, chosen = max(LEAST, SAMPLE // max(1, len(groups))), []
    for group in groups.values():
        places = np.unique(np.linspace(0, len(group) - 1, count).astype(int))
        chosen += [group[k] for k in places]
    return chosen


def _unpacked(spectrum: Array, basis: RadialBasis, elements: int) -> Array:
    """The square matrices of a packed power spectrum, whose order is that of the core."""
    width = elements * basis.n_max
    rows, columns = np.triu_indices(width)
    # Pairs a <= b: off the diagonal once, times the root of 2, all by 1 / sqrt(2 l + 1).
    factor = np.where(rows == columns, 1.0, np.sqrt(0.5))
    packed = spectrum.reshape(basis.l_max + 1, len(rows))
    square = np.zeros((basis.l_max + 1, width, width))
    for order in range(basis.l_max + 1):
        values = np.sqrt(2.0 * order + 1.0) * factor * packed[order]
        square[order, rows, columns] = square[order, columns, rows] = values
    return square.reshape(basis.l_max + 1, elements, basis.n_max, elements, basis.n_max)


def learned_mixing(moments: Array, weights: Array, count: int) -> Array:
    """The `count` combinations of largest variance for each l.

    Args:
        moments: (l_max + 1, elements, n_max, elements, n_max), from `second_moments`.
        weights: (any, elements); weights.T @ weights are the similarities of the elements.
        count: channels.

    Returns:
        (l_max + 1, count, elements, n_max).
    """
    orders, elements, n_max = moments.shape[:3]
    alike = np.einsum("ae,lenfm,bf->lanbm", weights, moments, weights, optimize=True)
    width = len(weights) * n_max
    mixing = np.zeros((orders, count, elements, n_max))
    for order in range(orders):
        values, vectors = scipy.linalg.eigh(alike[order].reshape(width, width))
        chosen = vectors[:, np.argsort(-values)[:count]]
        # The sign of an eigenvector is arbitrary; this choice is the same on every machine.
        chosen = chosen * np.sign(
            chosen[np.argmax(np.abs(chosen), axis=0), np.arange(chosen.shape[1])]
        )
        combined = chosen.T.reshape(-1, len(weights), n_max)
        mixing[order, : len(combined)] = np.einsum("kan,ae->ken", combined, weights)
    return mixing


def mixing_of(survey: Survey, basis: RadialBasis, weights: Array, channels: int) -> Array:
    """The `learned_mixing` of the data, into no more channels than there are functions to combine."""
    moments = survey.once(
        f"second moments of {basis}",
        lambda: second_moments(survey.frames, basis, survey.species),
    )
    return learned_mixing(moments, weights, min(channels, len(weights) * basis.n_max))


def tables(
    basis: RadialBasis, mixing: Array | None, intervals: int | None = None
) -> tuple[Array, Array]:
    """The splines of an expansion and the coefficients of a centre's own density.

    Args:
        basis: of the functions that are combined.
        mixing: (l_max + 1, channels, elements, n_max); None: the functions themselves.
        intervals: as `tabulate`.

    Returns:
        (elements, intervals + 3, l_max + 1, channels) and (elements, channels); what `tabulate` gives
        without a mixing.
    """
    radial, own = tabulate(basis, intervals)
    if mixing is None:
        return radial, own
    combined = np.einsum("iln,lken->eilk", radial, mixing, optimize=True)
    return np.ascontiguousarray(combined), np.ascontiguousarray(
        np.einsum("n,ken->ek", own, mixing[0])
    )
