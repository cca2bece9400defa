"""Fixtures of all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For modules whose matrices are small: threads of BLAS would only wait for each other."""
    with threadpool_limits(limits=1, user_api="blas"):
        yield
