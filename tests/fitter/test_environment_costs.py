"""Costs of choosing environments and mapping them: they follow the smaller of two sizes."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from forcemap.fitter.environment_costs import (
    EnvironmentBlock,
    Rates,
    choice_bytes,
    choice_seconds,
    map_bytes,
)
from forcemap.fitter.sparse_points import leverage_scores

RATES = Rates(multiplication=1e-10, eigenvectors=1e-9)


@pytest.mark.parametrize(("pool", "numbers"), [(300, 900), (900, 300), (500, 500)])
def test_memory_of_a_choice_is_what_it_takes(pool: int, numbers: int) -> None:
    """Beside the descriptors themselves, which are at hand: within a factor of two."""
    descriptors = np.random.default_rng(0).normal(size=(pool, numbers))
    leverage_scores(descriptors[:20], 5)
    tracemalloc.start()
    try:
        copy = descriptors.copy()
        leverage_scores(copy, 100)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    found = choice_bytes([EnvironmentBlock(0, pool, 100, numbers)]) - descriptors.nbytes
    assert 0.5 < peak / found < 2.0


def test_pools_of_all_species_are_held_at_once_and_terms_follow_each_other() -> None:
    one = EnvironmentBlock(0, 1000, 100, 2000)
    single = choice_bytes([one])
    assert choice_bytes([one, one]) == single + 8 * 1000 * 2000
    assert choice_bytes([one, EnvironmentBlock(1, 1000, 100, 2000)]) == single


def test_few_environments_of_many_numbers_cost_little() -> None:
    """What would take an eigenproblem of 11,172 numbers is one of 20 points."""
    few = EnvironmentBlock(0, 60, 20, 11_172)
    assert few.rank == 20
    assert choice_seconds([few], RATES) < 0.1 < RATES.eigenvectors * 11_172**3
    assert map_bytes([few]) < 0.05 * 8 * 11_172**2


def test_everything_is_a_choice_where_all_are_taken() -> None:
    taken = EnvironmentBlock(0, 50, 50, 500)
    chosen = EnvironmentBlock(0, 100, 50, 500)
    assert choice_seconds([taken], RATES) < choice_seconds([chosen], RATES)


def test_rates_are_positive() -> None:
    rates = Rates.measured(40)
    assert rates.multiplication > 0.0
    assert rates.eigenvectors > 0.0
