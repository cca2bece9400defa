"""The mapped pair energies, for plots."""

from __future__ import annotations

import numpy as np
from forcemap.fitter.terms.base import Array
from forcemap.potentials import Potential

__all__ = ["mapped_curves"]


def mapped_curves(potential: Potential) -> dict[str, tuple[Array, Array]]:
    """Pair energies by pair of species: (r in Å, energy in eV), of two atoms without others."""
    curves = {}
    evaluator = potential.evaluator(skin=0.0)
    numbers = dict(zip(potential.species, potential.numbers, strict=True))
    for n, a in enumerate(potential.species):
        for b in potential.species[n:]:
            r = np.linspace(0.3, potential.cutoff, 600)
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
