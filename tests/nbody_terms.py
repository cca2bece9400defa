"""nbody terms with random inducing triplets and sparse points, for tests of their rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from forcemap.fitter.terms.base import Block
from forcemap.fitter.terms.environments import Comparison, DotPower, SquaredExponential
from forcemap.fitter.terms.nbody import NBodyTerm
from forcemap.fitter.terms.three_body import ThreeBodyTerm

COMPARISONS = (DotPower(1), DotPower(3), SquaredExponential(1.5))


def triplet_term(cutoff: float = 3.7) -> ThreeBodyTerm:
    """Kernel and cutoff of triplets, without any."""
    return ThreeBodyTerm(cutoff, 0.6 * cutoff, "squared_exponential", 1.1)


def random_nbody(numbers: Sequence[int], comparison: Comparison, seed: int = 0) -> NBodyTerm:
    """Four triplets for every combination of species, three sparse points for every centre."""
    rng = np.random.default_rng(seed)
    species = sorted({int(z) for z in numbers})
    triplets = triplet_term()
    blocks = [Block(c, rng.uniform(1.5, 3.7, (4, 3))) for c in triplets.combinations(species)]
    term = NBodyTerm(triplets.with_blocks(blocks), comparison, 3.7, {z: 40.0 + z for z in species})
    points = [Block((z,), rng.normal(size=(3, term.dimension_of(z)))) for z in species]
    return replace(term, blocks=tuple(points))
