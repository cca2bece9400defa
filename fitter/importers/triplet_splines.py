"""Triplet functions of a GAP on splines, as coarse as a tolerance allows.

What is between the cosine cutoffs of a triplet function is smooth, and becomes a spline of its own
coordinates; the cutoffs, whose second derivatives jump, stay as they are. A spline takes the same time
whatever the number of sparse points.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeGuard

import numpy as np
from forcemap.fitter.data.frame import Frame, FrameSigma
from forcemap.fitter.data.prediction import evaluated
from forcemap.fitter.importers.gap import Array, Brought
from forcemap.fitter.terms.splines import not_a_knot_coefficients
from forcemap.potentials.elements import SYMBOLS
from forcemap.potentials.file.potential_file import PotentialData, as_potential
from forcemap.potentials.terms.three_body_kernel import ThreeBodyKernelSums, ThreeBodyPoints

__all__ = ["splined_triplets"]

FIRST_SPACING = 0.2
"""Between knots, in lengthscales of the covariance."""

MOST_BYTES = 512 << 20
"""Memory of all tables together."""

CLUSTERS, CLUSTER_ATOMS = 8, 24
"""Random clusters that the error is measured on."""

AT_ONCE = 1 << 21
"""Numbers of covariances with sparse points that are computed at once."""


def splined_triplets(
    terms: Sequence[ThreeBodyKernelSums], species: Sequence[int], tolerance: float
) -> Brought:
    """The terms on splines.

    Args:
        terms: sums over sparse points.
        species: atomic numbers of the potential.
        tolerance: largest error of a force, eV/Å, in random clusters.

    Warns (UserWarning) where the tolerance asks for more memory than MOST_BYTES.
    """
    if not terms:
        return Brought(())
    clusters = _clusters(terms, species)
    exact = _forces(terms, species, clusters)
    spacing = FIRST_SPACING
    while True:
        splined = [_splined(term, spacing) for term in terms]
        error = float(np.abs(_forces(splined, species, clusters) - exact).max())
        if error <= tolerance:
            break
        # Slopes of a cubic spline converge with the third power of the spacing.
        spacing *= float(np.clip((0.7 * tolerance / error) ** (1.0 / 3.0), 0.4, 0.9))
        if sum(_bytes(term, spacing) for term in terms) > MOST_BYTES:
            warnings.warn(
                f"--tolerance {tolerance:g} eV/Å is not reached by splines of triplets: it asks for "
                f"knots {spacing:.2g} of a lengthscale apart and tables beyond {MOST_BYTES >> 20} "
                f"MiB. Forces are off by up to {error:.2g} eV/Å; without --tolerance they are exact",
                stacklevel=4,
            )
            break
    return Brought(tuple(splined), notes={"triplet_force_error_ev_per_a": error})


def _intervals(term: ThreeBodyKernelSums, spacing: float) -> tuple[int, ...]:
    scales = np.array([t.lengthscales for t in term.tables.values() if _is_sum(t)]).min(axis=0)
    counts = np.ceil(np.array(term.ranges) / (spacing * scales)).astype(int)
    return tuple(int(n) for n in np.clip(counts, 4, 100_000))


def _is_sum(table: ThreeBodyPoints | Array) -> TypeGuard[ThreeBodyPoints]:
    return isinstance(table, ThreeBodyPoints)


def _bytes(term: ThreeBodyKernelSums, spacing: float) -> int:
    return 8 * math.prod(n + 3 for n in _intervals(term, spacing)) * len(term.tables)


def _splined(term: ThreeBodyKernelSums, spacing: float) -> ThreeBodyKernelSums:
    intervals = _intervals(term, spacing)
    knots = [np.linspace(0.0, r, n + 1) for r, n in zip(term.ranges, intervals, strict=True)]
    made: dict[int, Array] = {}  # species that share their points share the work
    for table in term.tables.values():
        assert isinstance(table, ThreeBodyPoints)
        if id(table) not in made:
            grid = np.stack(np.meshgrid(*knots, indexing="ij"), axis=-1)
            values = _values(term, table, grid.reshape(-1, 3)).reshape(grid.shape[:-1])
            made[id(table)] = not_a_knot_coefficients(values, 3)
    return replace(
        term,
        covariance="spline",
        tables={triplet: made[id(table)] for triplet, table in term.tables.items()},
        intervals=intervals,
    )


def _values(term: ThreeBodyKernelSums, table: ThreeBodyPoints, coordinates: Array) -> Array:
    """(n,) energies without cutoff factors at (n, 3) coordinates."""
    points, permutations = table.points / table.lengthscales, table.permutations.astype(int)
    found = np.empty(len(coordinates))
    step = max(1, AT_ONCE // len(points))
    for start in range(0, len(coordinates), step):
        z = coordinates[start : start + step] / table.lengthscales
        square = np.sum(z**2, axis=1)[:, None] + np.sum(points**2, axis=1) - 2.0 * z @ points.T
        values = _covariance(term, np.maximum(square, 0.0)) @ table.factors
        own = [_covariance(term, np.sum((z[:, p] - z) ** 2, axis=1)) for p in permutations]
        found[start : start + step] = values / np.sqrt(sum(own)) + table.constant[0]
    return found


def _covariance(term: ThreeBodyKernelSums, square: Array) -> Array:
    if term.covariance == "squared_exponential":
        return np.asarray(np.exp(-0.5 * square))
    d = np.sqrt(square)
    return np.asarray(np.maximum(1.0 - d, 0.0) ** 4 * (4.0 * d + 1.0))


# ----- what the error is measured on -----


def _clusters(terms: Sequence[ThreeBodyKernelSums], species: Sequence[int]) -> list[Frame]:
    """Random atoms as near to each other as sparse points are, the same at every call."""
    rng = np.random.default_rng(0)
    nearest = min(_shortest(term) for term in terms)
    edge = 1.6 * max(nearest, 0.5) * CLUSTER_ATOMS ** (1.0 / 3.0)
    frames = []
    for _ in range(CLUSTERS):
        placed: list[Array] = []
        while len(placed) < CLUSTER_ATOMS:
            position = rng.uniform(0.0, edge, 3)
            if all(np.linalg.norm(position - other) > nearest for other in placed):
                placed.append(position)
            elif rng.random() < 1e-3:  # crowded: let it grow
                edge *= 1.05
        frames.append(
            Frame(
                rng.choice(species, CLUSTER_ATOMS).astype(np.int32),
                np.array(placed),
                np.zeros((3, 3)),
                np.zeros(3, dtype=bool),
                *(None, None, None, "cluster", FrameSigma(0.0, 0.0, 0.0), "random", 0),
            )
        )
    return frames


def _shortest(term: ThreeBodyKernelSums) -> float:
    """Shortest side of the triangles of sparse points, Å."""
    sides = [term.cutoff]
    for table in term.tables.values():
        assert isinstance(table, ThreeBodyPoints)
        first, second, third = table.points.T
        if term.coordinates == "sums":
            first = 0.5 * (first - np.sqrt(np.maximum(second, 0.0)))
        sides += [float(first.min()), float(third.min())]
    return float(np.clip(min(sides), 0.3, 0.6 * term.cutoff))


def _forces(
    terms: Sequence[ThreeBodyKernelSums], species: Sequence[int], frames: Sequence[Frame]
) -> Array:
    symbols = tuple(SYMBOLS[z] for z in species)
    data = PotentialData(symbols, dict.fromkeys(symbols, 0.0), tuple(terms))
    evaluator = as_potential(data).evaluator(skin=0.0)
    return np.concatenate([evaluated(evaluator, frame).forces for frame in frames])
