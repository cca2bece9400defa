"""Channels of the elements' densities, learned from the forces of the data.

Two elements are alike where they act alike on their neighbours. A two-body force field is fitted to
some of the forces; the element b is described by its pair functions V_ab(r) with all elements a, and
the similarity of two elements is the cosine between these descriptions. The leading eigenvectors of
this matrix are the channels: as many channels as elements lose nothing, and fewer lose the least
important differences between the elements (the low-rank species coupling of Willatt, Musil
and Ceriotti, Phys. Chem. Chem. Phys. 20, 29661 (2018), DOI 10.1039/C8CP05921G, with similarities from
data).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement

import numpy as np
import scipy.linalg
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.solve.cholesky import pivoted_cholesky
from forcemap.fitter.solve.solver import Accumulator
from forcemap.fitter.terms.base import Array, Block, Survey
from forcemap.fitter.terms.rows import RowLayout, frame_rows
from forcemap.fitter.terms.two_body import TwoBodyTerm

__all__ = [
    "channels_of",
    "distinct_channels",
    "learned_similarity",
    "similar_channels",
    "species_weights",
]

POINTS = 16
"""Sparse points of a pair function."""

MOST_ROWS = 20_000
DISTINCT = 0.03
"""Eigenvalues of the similarity below this fraction of the largest are left out."""
RIDGE = 0.05
"""Expected error of a force, relative to the root mean square force."""


def learned_similarity(frames: Sequence[Frame], species: Sequence[int], cutoff: float) -> Array:
    """(species, species) matrix of similarities, positive semi-definite with a unit diagonal.

    Elements on which no force depends are similar only to themselves.
    """
    term = _pair_term(species, cutoff)
    weights = _fitted(frames, term)
    grid = np.linspace(0.2 * cutoff, cutoff, 60)
    functions = np.zeros((len(species), len(species), len(grid)))
    start = 0
    for block in term.blocks:
        values = term.pair_values(block, grid) @ weights[start : start + block.size]
        start += block.size
        a, b = (list(species).index(z) for z in block.species)
        functions[a, b] = functions[b, a] = np.gradient(values, grid) * grid
    described = functions.reshape(len(species), -1)
    lengths = np.linalg.norm(described, axis=1)
    known = lengths > 1e-6 * max(float(lengths.max()), 1e-300)
    described = described / np.where(known, lengths, 1.0)[:, None]
    matrix = described @ described.T
    matrix[~known, :] = matrix[:, ~known] = 0.0
    np.fill_diagonal(matrix, 1.0)
    return matrix


def _pair_term(species: Sequence[int], cutoff: float) -> TwoBodyTerm:
    points = np.linspace(0.2 * cutoff, cutoff, POINTS)[:, None]
    blocks = [Block(pair, points) for pair in combinations_with_replacement(sorted(species), 2)]
    return TwoBodyTerm(
        *(cutoff, 0.35 * cutoff, "squared_exponential", 0.12 * cutoff),
        blocks=tuple(blocks),
    )


def _fitted(frames: Sequence[Frame], term: TwoBodyTerm) -> Array:
    """Weights of the pair functions by ridge regression on forces of evenly chosen frames."""
    labelled = [frame for frame in frames if frame.forces is not None]
    total = sum(3 * len(frame.numbers) for frame in labelled)
    step = max(1, -(-total // MOST_ROWS))
    rows, targets = [], []
    for frame in labelled[::step]:
        assert frame.forces is not None
        which = np.repeat(frame.labelled, 3)
        forces = frame_rows(frame, [term])[RowLayout(len(frame.numbers)).forces]
        rows.append(forces[which])
        targets.append(frame.forces.ravel()[which])
    if not rows:
        return np.zeros(term.size)
    # In whitened columns the ridge is the Gaussian-process prior.
    kept, factor = pivoted_cholesky(term.covariance(term.blocks[0]))
    matrix, values = np.concatenate(rows), np.concatenate(targets)
    scale = float(np.sqrt(np.mean(values**2))) or 1.0
    white = np.concatenate(
        [
            scipy.linalg.solve_triangular(factor, matrix[:, start + kept].T, lower=True).T
            for start in range(0, term.size, POINTS)
        ],
        axis=1,
    )
    data = Accumulator(white.shape[1])
    data.add(white / (RIDGE * scale), values / (RIDGE * scale), 0.0)
    solution = data.solve(np.ones(data.size)).values
    weights = np.zeros(term.size)
    for n, start in enumerate(range(0, term.size, POINTS)):
        part = solution[n * len(kept) : (n + 1) * len(kept)]
        weights[start + kept] = scipy.linalg.solve_triangular(factor.T, part, lower=False)
    return weights


def channels_of(similarity: Array, count: int) -> Array:
    """(count, species) weights whose products come nearest to the similarities."""
    values, vectors = scipy.linalg.eigh(similarity)
    order = np.argsort(-values)[:count]
    roots = np.sqrt(np.maximum(values[order], 0.0))
    # The sign of an eigenvector is arbitrary; this choice is the same on every machine.
    chosen = vectors[:, order]
    signs = np.sign(chosen[np.argmax(np.abs(chosen), axis=0), np.arange(len(order))])
    return np.ascontiguousarray((chosen * roots * signs).T)


def distinct_channels(similarity: Array) -> Array:
    """(channels, species) weights of the important differences between elements: two at the least.

    Elements of metals differ in little more than their size and how strongly they bind; what else
    pairs of elements have taught about them does not hold for combinations that no frame has.
    """
    values = np.linalg.eigvalsh(similarity)
    count = int(np.sum(values >= DISTINCT * values[-1]))
    return channels_of(similarity, min(max(2, count), len(similarity)))


def similar_channels(survey: Survey, cutoff: float) -> Array:
    """(channels, species) the `distinct_channels` of the data's elements within a cutoff, Å."""
    similarity = survey.once(
        f"similarity of elements within {cutoff}",
        lambda: learned_similarity(survey.frames, survey.species, cutoff),
    )
    return distinct_channels(similarity)


def species_weights(numbers: Sequence[int], kappa: Mapping[tuple[int, int], float] | None) -> Array:
    """(channels, species) weights of plain SOAP, or a root of the elements' similarity matrix.

    Raises ValueError if the similarity matrix is not positive semi-definite.
    """
    matrix = np.eye(len(numbers))
    for (a, b), similarity in (kappa or {}).items():
        if a in numbers and b in numbers:
            i, j = numbers.index(a), numbers.index(b)
            matrix[i, j] = matrix[j, i] = similarity
    if kappa is None:
        return matrix
    values, vectors = scipy.linalg.eigh(matrix)
    if values[0] < -1e-9:
        raise ValueError(
            "kappa is not positive semi-definite: no densities can be that similar; make the "
            "similarities smaller"
        )
    kept = values > 1e-9
    return np.ascontiguousarray((vectors[:, kept] * np.sqrt(values[kept])).T[::-1])
