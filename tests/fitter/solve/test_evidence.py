"""The evidence's slopes and second derivatives, against differences, and where its search ends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import scipy.optimize
from forcemap.fitter.solve import evidence as module
from forcemap.fitter.solve.evidence import Evidence
from forcemap.fitter.solve.solver import Sums
from numpy.typing import NDArray

Array = NDArray[np.float64]

SIZES = [8, 7, 5]
AT = np.array([-0.5, -1.2, 0.2, -0.3])
STEP = 1e-5


def sums(counts: Sequence[int], noises: Sequence[float]) -> list[Sums]:
    """Of rows that come from weights of unequal sizes, with noises of their own."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=sum(SIZES)) * np.repeat([3.0, 0.5, 1.0], SIZES)
    found = []
    for count, noise in zip(counts, noises, strict=True):
        rows = rng.normal(size=(count, sum(SIZES)))
        values = rows @ weights + noise * rng.normal(size=count)
        vector = np.append(rows.T @ values, [values @ values, 0.0])
        found.append(Sums(np.asfortranarray(np.triu(rows.T @ rows)), vector, count))
    return found


def evidence(scale_is_free: bool) -> Evidence:
    """With two free deltas and one that is fixed, and two groups whose sigmas are free."""
    members = sums((60, 30, 40), (1.0, 0.3, 2.0))
    return Evidence(members, SIZES, [1.0, 1.0, 1.0], [False, False, True], scale_is_free)


@pytest.mark.parametrize("scale_is_free", [True, False])
def test_derivatives_are_those_of_differences(
    scale_is_free: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exact, but for the traces with groups, which are estimated: here by many probes."""
    monkeypatch.setattr(module, "PROBES", 20_000)
    some = evidence(scale_is_free)
    _, slopes, second = some.slopes(AT)
    steps = STEP * np.eye(len(AT))
    ahead, behind = ([some.cost(AT + sign * s) for s in steps] for sign in (1, -1))
    pairs = list(zip(ahead, behind, strict=True))
    np.testing.assert_allclose(
        slopes, [(a[0] - b[0]) / (2 * STEP) for a, b in pairs], rtol=1e-5, atol=1e-6
    )
    expected = np.array([(a[1] - b[1]) / (2 * STEP) for a, b in pairs])
    np.testing.assert_allclose(second[:2, :2], expected[:2, :2], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(second, expected, rtol=0, atol=3e-3 * np.abs(expected).max())


@pytest.mark.parametrize("scale_is_free", [True, False])
def test_the_search_ends_where_another_does(scale_is_free: bool) -> None:
    some = evidence(scale_is_free)
    found = some.cost(some.largest())[0]
    other = scipy.optimize.minimize(some.cost, some.first, jac=True, method="L-BFGS-B").fun
    assert found <= other + 0.01  # what a search of either kind leaves


def test_a_term_without_rows_keeps_its_prior() -> None:
    """A term without any rows has no evidence but the prior of its delta, others are as without it."""
    members = sums((200,), (0.1,))
    for member in members:
        member.gram[:, :8] = member.gram[:8] = 0.0
        member.vector[:8] = 0.0
    some = Evidence(members, SIZES, [1.0] * 3, [False] * 3, True)
    logs = some.largest()
    assert abs(logs[0]) < 1e-3
    assert some.bounds[0][0] < logs.min()
    assert np.abs(some.cost(logs)[1]).max() < 1.0
