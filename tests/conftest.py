"""Fixtures of all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits

# A shell that starts the tests in the background has them ignore Ctrl-C, and what they start, too:
# tests of interruptions would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# A worker of pytest-xdist has one core: further threads of linear algebra, in it and in what it starts,
# spin while they wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For modules whose matrices are small: threads of BLAS would only wait for each other."""
    with threadpool_limits(limits=1, user_api="blas"):
        yield
