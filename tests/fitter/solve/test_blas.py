"""Threads of BLAS by the size of what they are for."""

from __future__ import annotations

import numpy as np
import pytest
from forcemap.fitter.solve.blas import WORTH_THREADS, blas_threads
from threadpoolctl import threadpool_info


def threads() -> set[int]:
    np.ones((2, 2)) @ np.ones((2, 2))  # a library that is loaded
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


@pytest.mark.parametrize(("size", "expected"), [(WORTH_THREADS - 1, 1), (WORTH_THREADS, 2)])
def test_matrices_have_threads_if_they_are_large(size: int, expected: int) -> None:
    before = threads()
    with blas_threads(size, 2):
        assert threads() == {expected}
    assert threads() == before
