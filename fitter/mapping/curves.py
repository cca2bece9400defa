"""The mapped pair energies, for plots."""

from __future__ import annotations

import numpy as np
from forcemap.fitter.terms.base import Array
from forcemap.potentials import Potential

__all__ = ["mapped_curves"]

POINTS, FEWEST_POINTS = 600, 150
"""Distances of a pair of species: a hundredth of an Å apart where pairs are few, finer than a plot."""

MOST_POINTS = 2400
"""Distances of all pairs together, which are evaluated one by one, but for FEWEST_POINTS of each."""


def mapped_curves(potential: Potential) -> dict[str, tuple[Array, Array]]:
    """Pair energies by pair of species: (r in Å, energy in eV), of two atoms without others."""
    curves = {}
    evaluator = potential.evaluator(skin=0.0)
    numbers = dict(zip(potential.species, potential.numbers, strict=True))
    pairs = len(numbers) * (len(numbers) + 1) // 2
    points = max(FEWEST_POINTS, min(POINTS, MOST_POINTS // pairs))
    for n, a in enumerate(potential.species):
        for b in potential.species[n:]:
            r = np.linspace(0.3, potential.cutoff, points)
            energy = np.zeros_like(r)
            free = potential.e0[a] + potential.e0[b]
            for m, distance in enumerate(r):
                positions = [[0.0, 0.0, 0.0], [0.0, 0.0, distance]]
                found = evaluator.compute(
                    positions, [numbers[a], numbers[b]], np.zeros((3, 3)), False
                )
                energy[m] = found.energy - free
            curves[f"{a}-{b}"] = (r, energy)
    return curves
