"""Fixtures of all tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits

# A shell that starts the tests in the background has them ignore Ctrl-C, and what they start, too:
# tests of interruptions would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For modules whose matrices are small: threads of BLAS would only wait for each other."""
    with threadpool_limits(limits=1, user_api="blas"):
        yield
