"""Terms of the kind three_body_kernel: random ones, and their energies by plain loops."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations_with_replacement, product
from typing import Literal

import numpy as np
from forcemap.potentials.elements import atomic_number
from forcemap.potentials.terms import ThreeBodyKernelSums, ThreeBodyPoints
from numpy.typing import NDArray

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

LEGS = ((0, 1, 2), (1, 0, 2))
ALL = ((0, 1, 2), (1, 0, 2), (0, 2, 1), (2, 0, 1), (1, 2, 0), (2, 1, 0))


def random_kernel_sums(
    rng: np.random.Generator, symbols: tuple[str, ...], cutoff: float
) -> list[ThreeBodyKernelSums]:
    """A term of each form; energies of triplets are some hundredths of an eV.

    Neighbours of one species may be exchanged where they are not in both orders anyway.
    """
    forms: list[tuple[Literal["distances", "sums"], Literal["squared_exponential", "wendland"]]]
    forms = list(product(("distances", "sums"), ("squared_exponential", "wendland")))  # type: ignore[arg-type]
    pairs = list(combinations_with_replacement(symbols, 2))
    triplets = [(c, a, b) for c in symbols for a, b in pairs]
    terms = []
    for number, (coordinates, covariance) in enumerate(forms):
        ordered = number == 0
        tables = {}
        for one in triplets[number % 2 :] or triplets:
            swap = one[1] == one[2] and coordinates == "distances" and not ordered
            permutations = ALL if number == 1 and len(set(one)) == 1 else LEGS if swap else LEGS[:1]
            tables[one] = random_points(rng, cutoff, coordinates, permutations)
        terms.append(
            ThreeBodyKernelSums(
                cutoff * (1.0 - 0.05 * number),
                0.4 * cutoff,
                coordinates,
                covariance,
                "cluster" if number % 2 else "center",
                "ordered" if ordered else "unordered",
                tables,
            )
        )
    splines = random_spline(rng, triplets, 0.95 * cutoff)
    return [*terms, splines, replace(splines, coordinates="sums")]


def random_spline(
    rng: np.random.Generator, triplets: list[tuple[str, str, str]], cutoff: float
) -> ThreeBodyKernelSums:
    """A term on splines."""
    shape = (9, 9, 14)
    tables: dict[tuple[str, str, str], ThreeBodyPoints | Array] = {}
    for one in triplets:
        values = rng.uniform(-0.03, 0.03, tuple(n + 3 for n in shape))
        if one[1] == one[2]:
            values = 0.5 * (values + values.swapaxes(0, 1))
        tables[one] = values
    return ThreeBodyKernelSums(
        *(cutoff, 0.3 * cutoff, "distances", "spline", "cluster", "unordered", tables, shape)
    )


def random_points(
    rng: np.random.Generator,
    cutoff: float,
    coordinates: str,
    permutations: tuple[tuple[int, ...], ...],
    count: int = 7,
) -> ThreeBodyPoints:
    """Points within reach with all their permutations."""
    points = rng.uniform(0.4, 0.9, (count, 3)) * cutoff
    if coordinates == "sums":
        points[:, 0] *= 2.0
        points[:, 1] = rng.uniform(0.0, 1.0, count)
    scales = rng.uniform(0.8, 1.2, 3) * 0.5 * cutoff
    if len(permutations) > 1:
        scales[:2] = scales[0]
    if len(permutations) > 2:
        scales[:] = scales[0]
    images = np.concatenate([points[:, list(p)] for p in permutations])
    return ThreeBodyPoints(
        images,
        np.tile(rng.uniform(-0.03, 0.03, count), len(permutations)),
        rng.uniform(-0.01, 0.01, 1),
        scales,
        np.array(permutations, dtype=np.float64),
    )


def switch(term: ThreeBodyKernelSums, r: complex) -> complex:
    """c(r); the real part of r chooses the branch."""
    x = (r - (term.cutoff - term.transition)) / term.transition
    if x.real <= 0.0:
        return 1.0
    return 0.0 if x.real >= 1.0 else 0.5 * (1.0 + np.cos(np.pi * x))


def covariance(term: ThreeBodyKernelSums, z: ComplexArray) -> complex:
    """k of a difference z."""
    square = complex((z * z).sum())
    if term.covariance == "squared_exponential":
        return complex(np.exp(-0.5 * square))
    d = np.sqrt(square)
    return complex((1.0 - d) ** 4 * (4.0 * d + 1.0)) if d.real < 1.0 else 0.0


def spline_weights(u: complex, intervals: int) -> tuple[int, list[complex]]:
    """The interval, chosen by the real part of u, and the four B-splines there."""
    m = min(int(u.real), intervals - 1)
    t = u - m
    q = 1.0 - t
    return m, [
        q**3 / 6.0,
        (3.0 * t**3 - 6.0 * t**2 + 4.0) / 6.0,
        (3.0 * q**3 - 6.0 * q**2 + 4.0) / 6.0,
        t**3 / 6.0,
    ]


def spline(term: ThreeBodyKernelSums, table: Array, coordinates: tuple[complex, ...]) -> complex:
    """The spline of three coordinates."""
    found = table.astype(complex)
    for x, intervals, reach in zip(coordinates, term.intervals, term.ranges, strict=True):
        m, weights = spline_weights(x / reach * intervals, intervals)
        found = np.tensordot(weights, found[m : m + 4], 1)
    return complex(found)


def triplet(
    term: ThreeBodyKernelSums, table: ThreeBodyPoints | Array, v: ComplexArray, w: ComplexArray
) -> complex:
    """Energy of a centre with neighbours at v, the first, and w."""
    a, b, c = (complex(np.sqrt((x * x).sum())) for x in (v, w, w - v))
    if a.real >= term.cutoff or b.real >= term.cutoff:
        return 0.0
    third = 1.0 - 2.0 / 3.0 * switch(term, c) if term.weight == "cluster" else 1.0
    weight = switch(term, a) * switch(term, b) * third
    coordinates = (a, b, c) if term.coordinates == "distances" else (a + b, (a - b) ** 2, c)
    if not isinstance(table, ThreeBodyPoints):
        return complex(weight * spline(term, table, coordinates))
    z = np.array(coordinates) / table.lengthscales
    own = sum(covariance(term, z[p] - z) for p in table.permutations.astype(int))
    found = sum(
        factor * covariance(term, z - point / table.lengthscales)
        for factor, point in zip(table.factors, table.points, strict=True)
    )
    return complex(weight * (found / np.sqrt(own) + table.constant[0]))


def kernel_sums(
    term: ThreeBodyKernelSums, centre: str, around: list[tuple[str, Array]]
) -> tuple[float, Array]:
    """Site energy in eV and its derivatives by the neighbours' vectors (n, 3), by complex steps."""
    energy, gradients = 0.0, np.zeros((len(around), 3))
    for j, k in product(range(len(around)), repeat=2):
        (first, v), (second, w) = around[j], around[k]
        table = term.tables.get((centre, first, second))
        in_order = j < k or term.pairs == "ordered" if first == second else True
        if table is None or j == k or not in_order:
            continue
        if atomic_number(first) > atomic_number(second):
            continue
        energy += triplet(term, table, v.astype(complex), w.astype(complex)).real
        for axis in range(3):
            step = np.zeros(3, dtype=complex)
            step[axis] = 1e-30j
            gradients[j, axis] += triplet(term, table, v + step, w + 0j).imag / 1e-30
            gradients[k, axis] += triplet(term, table, v + 0j, w + step).imag / 1e-30
    return energy, gradients
