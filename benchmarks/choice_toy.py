"""Which order of many-body kernel the evidence finds in toy data whose order is known.

The toy of the n-body chapter (Glielmo, Zeni, Fekete, De Vita, in Machine Learning Meets Quantum
Physics, Springer 2020, Figs. 5.6 and 5.7): small clusters of particles, with energies that are sums
over tuples of them. Here four particles, all alike, are on a line, and the energy holds random
functions of pairs, of triplets and so on up to the true order, of falling size, each drawn from a
process. An n-body kernel is the sum over all tuples of n of both configurations of a squared
exponential on their distances. The amplitude of all kernels is 1 (each is divided by its mean
variance) and the noise 0.01, as there: nothing but the order is chosen. The evidence is that of N
energies, exactly.

Printed: how often each order has the largest evidence, and ln p / N, for each true order and N.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from text_table import shown, text_table

Array = NDArray[np.float64]

ORDERS = (2, 3, 4)
PARTICLES = 4
LENGTHSCALE = 0.3
NOISE = 0.01

BOX = 2.0
FALL = 0.3
"""Amplitude of the functions of each order over that of the one before: orders converge."""


def tuples(x: Array, order: int) -> Array:
    """(configurations, tuples, distances) sorted distances within all tuples of `order` particles.

    Particles on a line: the sorted gaps and their mirror image say all of a tuple; the lower of both
    stands for it.
    """
    found = []
    for chosen in combinations(range(x.shape[1]), order):
        gaps = np.diff(np.sort(x[:, chosen], axis=1), axis=1)
        mirrored = gaps[:, ::-1]
        swap = gaps[:, 0] > mirrored[:, 0]
        found.append(np.where(swap[:, None], mirrored, gaps))
    return np.stack(found, axis=1)


def kernel(x: Array, y: Array, order: int) -> Array:
    """(n, m) n-body kernel between configurations, summed over all tuples of both."""
    a, b = tuples(x, order), tuples(y, order)
    total = np.zeros((len(x), len(y)))
    for i in range(a.shape[1]):
        for j in range(b.shape[1]):
            squares = np.sum((a[:, None, i] - b[None, :, j]) ** 2, axis=-1)
            total += np.exp(-0.5 * squares / LENGTHSCALE**2)
    return total


def log_evidence(matrix: Array, energies: Array) -> float:
    """Of energies, with the noise."""
    factor = scipy.linalg.cholesky(matrix + NOISE**2 * np.eye(len(matrix)), lower=True)
    half = scipy.linalg.solve_triangular(factor, energies, lower=True)
    logs = float(np.sum(np.log(np.diag(factor))))
    return -0.5 * float(half @ half) - logs - 0.5 * len(energies) * float(np.log(2.0 * np.pi))


def judged(order: int, count: int, seed: int) -> list[float]:
    """Log evidence over N of every order, for N energies with functions up to the order `order`."""
    rng = np.random.default_rng([order, count, seed])
    x = rng.uniform(0.0, BOX, (count, PARTICLES))
    matrices, energies = {}, NOISE * rng.normal(size=count)
    for other in ORDERS:
        matrix = kernel(x, x, other)
        matrices[other] = matrix / np.mean(np.diag(matrix))
        if other <= order:
            values, vectors = scipy.linalg.eigh(matrices[other])
            drawn = vectors @ (np.sqrt(np.maximum(values, 0.0)) * rng.normal(size=count))
            energies += FALL ** (other - ORDERS[0]) * drawn
    return [log_evidence(matrices[other], energies) / count for other in ORDERS]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table for each true order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[5, 20, 50, 200])
    parser.add_argument("--repeats", type=int, default=20, help="[default: 20]")
    options = parser.parse_args(arguments)
    for order in ORDERS:
        lines = []
        for count in options.sizes:
            found = np.array([judged(order, count, seed) for seed in range(options.repeats)])
            best = np.bincount(np.argmax(found, axis=1), minlength=len(ORDERS))
            lines.append(
                [
                    str(count),
                    *(str(n) for n in best),
                    *(shown(v, 3) for v in np.mean(found, axis=0)),
                ]
            )
        print(
            f"\ntrue order {order}: of {options.repeats} sets how often each order wins, ln p / N"
        )
        head = ["N", *(f"{n} wins" for n in ORDERS), *(f"ln p/N, {n}" for n in ORDERS)]
        print(text_table(head, lines), flush=True)


if __name__ == "__main__":
    main()
