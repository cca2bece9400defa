"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["jobs_option", "quiet_option"]

Function = TypeVar("Function", bound=Callable[..., Any])


def available_cpus() -> int:
    """Number of processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def jobs_option(function: Function) -> Function:
    """Adds ``--jobs``, by default as many as processors."""
    return click.option(
        "--jobs",
        type=click.IntRange(min=1, max=1024),
        default=available_cpus,
        show_default="as many as processors",
        metavar="N",
        help="Number of threads.",
    )(function)


def quiet_option(function: Function) -> Function:
    """Adds ``--quiet``."""
    return click.option("--quiet", is_flag=True, help="Show no progress.")(function)
