"""How many threads matrices are worth."""

from __future__ import annotations

from threadpoolctl import threadpool_limits

__all__ = ["WORTH_THREADS", "blas_threads", "is_worth_threads"]

WORTH_THREADS = 1500
"""Size of matrices for whose factorisations threads are worth it: in those of smaller ones they wait
for one another more than they work, ten times as long where others use the machine as well."""


def blas_threads(size: int, jobs: int) -> threadpool_limits:
    """A context in which BLAS has `jobs` threads for matrices of `size` rows, or one for few."""
    return threadpool_limits(limits=jobs if is_worth_threads(size) else 1, user_api="blas")


def is_worth_threads(size: int) -> bool:
    """Whether BLAS may have several threads, which round differently in the last digits."""
    return size >= WORTH_THREADS
