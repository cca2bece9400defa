"""Products on the sphere that need many points: energies and forces of both precisions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import reference
import structures
from forcemap.fitter.terms.bispectrum import products_of
from forcemap.potentials.file.potential_file import PotentialData, as_potential
from forcemap.potentials.terms import BispectrumFunctions
from potentials_factory import random_potential

SPECIES = ["H", "O", "Si"]


def of_fields(n_max: int, l_max: int, count: int) -> PotentialData:
    """A potential of one term of `count` products of up to four fields, those of largest l too."""
    rng = np.random.default_rng(n_max + l_max)
    every = products_of(n_max, l_max, 4)
    chosen = np.concatenate([rng.permutation(every[:-1])[: count - 1], every[-1:]])
    radial = rng.normal(size=(len(SPECIES), 23, l_max + 1, n_max))
    radial[:, 20:] = 0.0  # vanishes at the cutoff with two derivatives
    factors = {symbol: rng.normal(0.0, 0.3, count) for symbol in SPECIES}
    term = BispectrumFunctions(
        cutoff=4.2,
        intervals=20,
        n_max=n_max,
        l_max=l_max,
        radial=radial,
        offset=0.4,
        products=chosen,
        factors=factors,
    )
    return replace(random_potential(SPECIES, 1), terms=(term,))


@pytest.mark.parametrize(("n_max", "l_max"), [(1, 0), (2, 4), (2, 5), (9, 1), (3, 6)])
def test_any_number_of_fields_and_points(n_max: int, l_max: int) -> None:
    """From one point on half a sphere to a hundred, several groups of them; the reference has others.

    1e-9: rounding of sums over the points, and of the reference's. 3e-6: that of single precision,
    6e-8 in every operation.
    """
    data = of_fields(n_max, l_max, min(25, len(products_of(n_max, l_max, 4))))
    atoms = structures.get("two species", SPECIES)
    expected = reference.evaluate(data, atoms)
    scale = np.abs(expected.forces).max()
    for terms, tolerance in (
        (data.terms, 1e-9),
        (tuple(term.in_single_precision() for term in data.terms), 3e-6),
    ):
        evaluator = as_potential(replace(data, terms=terms)).evaluator()
        found = evaluator.compute(atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc)
        np.testing.assert_allclose(found.forces, expected.forces, rtol=0, atol=tolerance * scale)
        assert found.energy == pytest.approx(expected.energy, rel=tolerance)
