"""The rank of this process and the number of ranks, passed on by a launcher such as ``mpirun``.

Both are read from the environment, so that the command line need not import MPI.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

__all__ = ["Launch", "launched", "processors", "rank_number"]

_LAUNCHERS = (
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS"),  # MPICH, Intel MPI, srun --mpi=pmi2
    (
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
    ),  # Open MPI
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_LOCAL_SIZE"),  # MVAPICH
    ("PMIX_RANK", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_TASKS_PER_NODE"),  # srun --mpi=pmix
)
"""Variables for the rank, the number of ranks, and their number on this machine."""


@dataclass(frozen=True)
class Launch:
    """One process of an MPI job: its `rank` of `size`, `local_size` of them on this machine."""

    rank: int
    size: int
    local_size: int


def launched() -> Launch | None:
    """How this process was started; None without a launcher or as its only process."""
    for rank, size, local in _LAUNCHERS:
        ranks, sizes = os.environ.get(rank, ""), os.environ.get(size, "")
        if ranks.isdecimal() and sizes.isdecimal() and int(sizes) > 1:
            here = os.environ.get(local, "")
            return Launch(int(ranks), int(sizes), int(here) if here.isdecimal() else int(sizes))
    return None


def rank_number() -> int:
    """This process's rank as its launcher has set it; 0 without one."""
    launch = launched()
    return launch.rank if launch else 0


def processors() -> int:
    """Number of processors that this process may use."""
    machine = os.cpu_count() or 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else machine
