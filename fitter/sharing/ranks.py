"""One fit shared by the ranks of an MPI job: ``mpirun -n N forcemap fit …``.

Every rank reads all frames, which is cheap, and computes the rows of its share of the blocks (`share`).
Before that the ranks share the terms, whose sparse points are chosen from all frames
(`Ranks.map_in_order`), and the first sends all points to the others bit for bit (`Ranks.on_first`). The
ranks' Gram matrices are summed on the first rank (`Ranks.add_up`, the one reduction), which solves,
maps and writes. What takes long of that it hands out (`Ranks.lead`, `Ranks.hand_out`), and the others
sleep in between. Blocks do not depend on the number of ranks, and their sums carry twice the working
precision: so the sums are the same.

**Errors.** Ranks `meet` before every exchange of data, and learn whether one of them has failed. A rank
that fails goes to the next meeting at once, and the others notice at their next block (`Ranks.look`),
so that all end together, with the message of the first that failed. Unforeseen failures (a fault of
the program, no memory) end the job through MPI_Abort.

mpi4py is imported only by a process that a launcher started, see `launch`.
"""

from __future__ import annotations

import os
import pickle
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeAlias, TypeVar

import numpy as np
from forcemap.fitter.sharing.launch import Launch, launched
from forcemap.fitter.sharing.threads import in_order
from forcemap.fitter.solve.solver import Groups, add_exactly
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.exit_codes import ExitCode
from forcemap.potentials.extras import install
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from typing_extensions import override

__all__ = ["Ranks", "dealt", "share", "started_ranks"]

Array = NDArray[np.float64]
Bytes = NDArray[np.uint8]
Item = TypeVar("Item")
Value = TypeVar("Value")

PIECE = 16 << 20
"""Bytes sent or summed at once: messages beyond 2 GiB fail in many MPI libraries, and a reduction
needs a second buffer of this size."""

SMALL = 4096
"""Bytes of an array below which it is no message of its own: a thousand frames have some thousand."""

SHORTEST_SLEEP, LONGEST_SLEEP = 5e-5, 5e-3
"""Seconds between looks at a meeting, each twice as long as the one before: waiting ranks leave the
processors to those that work."""

_FAILURE = 1
"""Tag of the message by which a rank reports to the others that it has failed."""


class OtherRankFailed(ForcemapError):
    """Another rank has failed and reports why."""


class Ranks:
    """The ranks that share a fit; this one works alone, `MpiRanks` are several.

    Attributes:
        rank: number of this one, from 0.
        size: how many there are.
    """

    rank = 0
    size = 1

    @property
    def is_first(self) -> bool:
        """Whether this rank chooses, solves, shows progress and writes files."""
        return self.rank == 0

    def look(self) -> None:
        """Raise OtherRankFailed if another rank has reported that it failed; costs next to nothing."""

    def meet(self) -> None:
        """Wait for all ranks. Raises SystemExit if one of them has failed."""

    def on_first(self, function: Callable[[], Value]) -> Value:
        """Call `function` on the first rank only; returns its result on all ranks.

        It must be possible to pickle the value; its arrays arrive bit for bit.
        """
        return function()

    def add_up(self, data: Groups) -> None:
        """Sum all ranks' `data` on the first rank, in place, and settle it; the others' are spoilt."""
        data.settle()

    def map_in_order(
        self,
        function: Callable[[Item], Value],
        items: Sequence[Item],
        costs: Sequence[float],
        jobs: int,
    ) -> Iterable[Value]:
        """Results of `function` over `items`, on the first rank; each rank does its share (`share`).

        It must be possible to pickle the results. The other ranks get none.
        """
        return in_order(function, items, jobs)

    def lead(self, function: Callable[[], Value]) -> Value | None:
        """Call `function` on the first rank; returns its result there, None on others.

        The others do their shares of what it hands out (`hand_out`) meanwhile.
        """
        return function()

    def hand_out(
        self,
        function: Callable[[Item], Value],
        items: Sequence[Item],
        costs: Sequence[float],
        jobs: int,
    ) -> Iterable[Value]:
        """Results of `function` over `items` on the first rank: by all ranks where it leads (`dealt`).

        It must be possible to pickle `function`, `items` and the results.
        """
        return in_order(function, items, jobs)


ALONE = Ranks()


def share(costs: Sequence[float], rank: int, size: int) -> list[int]:
    """Numbers of the pieces of work that `rank` of `size` ranks does, neighbours of one another.

    No rank has more than its part of the whole and one of the costliest pieces. Neighbours may have
    preparations in common. The same costs always give the same shares.
    """
    ends = np.cumsum(np.asarray(costs, dtype=float))
    if not len(ends):
        return []
    if ends[-1] > 0.0:
        middles = ends - 0.5 * np.asarray(costs, dtype=float)
        takers = np.minimum(np.floor(middles / ends[-1] * size), size - 1)
    else:
        takers = np.floor(np.arange(len(ends)) * size / len(ends))
    return [int(piece) for piece in np.flatnonzero(takers == rank)]


def dealt(costs: Sequence[float], size: int) -> list[list[int]]:
    """Numbers of the pieces of work of each of `size` ranks: the costliest first, to who has least.

    For pieces that have nothing in common. The same costs always give the same shares.
    """
    shares: list[list[int]] = [[] for _ in range(size)]
    loads = [0.0] * size
    for piece in np.argsort(-np.asarray(costs, dtype=float), kind="stable"):
        taker = int(np.argmin(loads))
        shares[taker].append(int(piece))
        loads[taker] += float(costs[piece])
    return shares


Head: TypeAlias = tuple[bytes, list[int]]
"""A pickled value without its large arrays, and these arrays' numbers of bytes."""


def _packed(value: Any) -> tuple[Head, Iterator[Bytes]]:
    """`value` pickled, and its large arrays, which are not copied, in pieces that may be sent."""
    kept: list[pickle.PickleBuffer] = []

    def goes_with_the_rest(buffer: pickle.PickleBuffer) -> bool:
        content = buffer.raw()
        if (
            content.nbytes < SMALL and not content.readonly
        ):  # what is read from bytes cannot be written
            return True
        kept.append(buffer)
        return False

    head = pickle.dumps(value, protocol=5, buffer_callback=goes_with_the_rest)
    arrays = [np.frombuffer(buffer.raw(), dtype=np.uint8) for buffer in kept]
    return (head, [len(array) for array in arrays]), _pieces(arrays)


def _unpacked(head: Head, fill: Callable[[Bytes], object]) -> Any:
    """The value that was packed; `fill` receives one piece after the other."""
    value, sizes = head
    arrays = [np.empty(size, dtype=np.uint8) for size in sizes]
    for piece in _pieces(arrays):
        fill(piece)
    return pickle.loads(value, buffers=arrays)


def _pieces(arrays: Sequence[Bytes]) -> Iterator[Bytes]:
    for array in arrays:
        for start in range(0, len(array), PIECE):
            yield array[start : start + PIECE]


def _nothing() -> Any:
    """What a rank that leads no more hands out."""
    return None


class MpiRanks(Ranks):
    """The processes of an MPI communicator (of mpi4py)."""

    def __init__(self, mpi: Any, communicator: Any) -> None:
        self._mpi = mpi
        self._comm = communicator
        self.rank = int(communicator.rank)
        self.size = int(communicator.size)
        self.over = False
        """Whether all ranks know that one has failed."""
        self._leads = False

    @override
    def look(self) -> None:
        if self._comm.Iprobe(source=self._mpi.ANY_SOURCE, tag=_FAILURE):
            raise OtherRankFailed("another rank failed")

    @override
    def meet(self) -> None:
        if self._failed(False):
            raise SystemExit(1)

    def fail(self) -> bool:
        """Report to all ranks that this one has failed; returns whether it gives the message."""
        empty = np.zeros(0, dtype=np.uint8)
        others = [rank for rank in range(self.size) if rank != self.rank]
        sent = [self._comm.Isend(empty, dest=rank, tag=_FAILURE) for rank in others]
        first: bool = self._failed(True)[0] == self.rank
        self._mpi.Request.Waitall(sent)
        return first

    def _failed(self, mine: bool) -> list[int]:
        """The ranks that have failed, once all have reported."""
        flags = np.zeros(self.size, dtype=np.uint8)
        request = self._comm.Iallgather(np.array([mine], dtype=np.uint8), flags)
        pause = SHORTEST_SLEEP
        while not request.Test():
            time.sleep(pause)
            pause = min(2.0 * pause, LONGEST_SLEEP)
        failed = [int(rank) for rank in np.flatnonzero(flags)]
        self.over = bool(failed)
        for rank in failed:
            if rank != self.rank:
                self._comm.Recv(np.zeros(0, dtype=np.uint8), source=rank, tag=_FAILURE)
        return failed

    @override
    def on_first(self, function: Callable[[], Value]) -> Value:
        if not self.is_first:
            self.meet()
            return _unpacked(self._comm.bcast(None), self._comm.Bcast)  # type: ignore[no-any-return]
        value = function()
        head, pieces = _packed(value)  # before the others wait for it without sleep
        self.meet()
        self._comm.bcast(head)
        for piece in pieces:
            self._comm.Bcast(piece)
        return value

    @override
    def map_in_order(
        self,
        function: Callable[[Item], Value],
        items: Sequence[Item],
        costs: Sequence[float],
        jobs: int,
    ) -> Iterable[Value]:
        shares = [share(costs, rank, self.size) for rank in range(self.size)]
        return self._map(function, items, shares, jobs)

    def _map(
        self,
        function: Callable[[Item], Value],
        items: Sequence[Item],
        shares: Sequence[Sequence[int]],
        jobs: int,
    ) -> Iterable[Value]:
        """Results in order on the first rank, none on others; `shares`: each rank's items."""
        mine: list[Value] = []
        with threadpool_limits(limits=1, user_api="blas"):
            for result in in_order(function, [items[n] for n in shares[self.rank]], jobs):
                mine.append(result)
                self.look()
        head, pieces = _packed([] if self.is_first else mine)
        self.meet()
        if not self.is_first:
            self._comm.send(head, dest=0)
            for piece in pieces:
                self._comm.Send(piece, dest=0)
            return []
        results: dict[int, Value] = dict(zip(shares[0], mine, strict=True))
        for rank in range(1, self.size):
            theirs = _unpacked(self._comm.recv(source=rank), partial(self._comm.Recv, source=rank))
            results.update(zip(shares[rank], theirs, strict=True))
        return [results[n] for n in range(len(items))]

    @override
    def lead(self, function: Callable[[], Value]) -> Value | None:
        if not self.is_first:
            while (asked := self.on_first(_nothing)) is not None:
                self._map(*asked)
            return None
        self._leads = True
        try:
            value = function()
        finally:
            self._leads = False
        self.on_first(_nothing)
        return value

    @override
    def hand_out(
        self,
        function: Callable[[Item], Value],
        items: Sequence[Item],
        costs: Sequence[float],
        jobs: int,
    ) -> Iterable[Value]:
        if not (self._leads and len(items) > 1):
            return in_order(function, items, jobs)
        shares = dealt(costs, self.size)
        self.on_first(lambda: (function, items, shares, jobs))
        return self._map(function, items, shares, jobs)

    def add_up(self, data: Groups) -> None:
        """Add up all ranks' sums on the first, by a binary tree: they do not depend on its shape."""
        self.meet()
        counts = np.zeros((self.size, len(data.counts)), dtype=np.int64)
        self._comm.Allgather(data.counts, counts)
        step = 1
        while step < self.size and self.rank % (2 * step) == 0:
            if self.rank + step < self.size:
                for high, low in self._sums(data):
                    other = np.empty_like(high), np.empty_like(low)
                    for array in other:
                        self._comm.Recv(array, source=self.rank + step)
                    add_exactly(high, low, other[0])
                    low += other[1]
            step *= 2
        if not self.is_first:
            for high, low in self._sums(data):
                self._comm.Send(high, dest=self.rank - step)
                self._comm.Send(low, dest=self.rank - step)
            return
        data.counts = counts.sum(axis=0)
        data.settle()

    @staticmethod
    def _sums(data: Groups) -> Iterator[tuple[Array, Array]]:
        for high, low in data.sums:
            step = PIECE // high.itemsize
            for start in range(0, len(high), step):
                yield high[start : start + step], low[start : start + step]

    def abort(self, code: int) -> None:
        """End all ranks now."""
        sys.stdout.flush()
        sys.stderr.flush()
        self._comm.Abort(code)


@contextmanager
def started_ranks() -> Iterator[Ranks]:
    """The ranks that a launcher started, `ALONE` without one; all leave the block together.

    If the block fails on a rank, it ends on all: with the error on the first rank that failed, with
    SystemExit on the others. Warnings are those of the first rank.

    Raises:
        ForcemapError: mpi4py is missing, or is none of the launcher's MPI.
    """
    launch = launched()
    if launch is None:
        yield ALONE
        return
    ranks = _connected(launch)
    with warnings.catch_warnings():
        if not ranks.is_first:
            warnings.simplefilter("ignore")
        try:
            yield ranks
            ranks.meet()
        except OtherRankFailed:
            ranks.meet()
        except ForcemapError:
            if ranks.over or ranks.fail():
                raise
            raise SystemExit(1) from None
        except SystemExit as leaving:
            if not ranks.over:
                ranks.abort(leaving.code if isinstance(leaving.code, int) else 1)
            raise
        except KeyboardInterrupt as interrupted:
            if ranks.is_first:  # with what is left, if it is known
                print(f"Interrupted. {interrupted}".rstrip(), file=sys.stderr)
            ranks.abort(ExitCode.INTERRUPTED)
        except BaseException:
            print(f"forcemap: rank {ranks.rank} of {ranks.size} failed:", file=sys.stderr)
            traceback.print_exc()
            ranks.abort(1)


def _connected(launch: Launch) -> MpiRanks:
    """The job's ranks; only the launcher's first process reports a fault."""

    def reject(text: str) -> SystemExit | ForcemapError:
        return SystemExit(1) if launch.rank else ForcemapError(text)

    try:
        import mpi4py

        mpi4py.rc.thread_level = "funneled"  # threads compute rows; the main thread alone talks
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise reject(
            f"started as {launch.size} processes of an MPI job, which needs mpi4py with an MPI "
            f"library: {install('mpi')} ({' '.join(str(error).split())})"
        ) from None
    if MPI.COMM_WORLD.size != launch.size:
        beside = os.path.join(os.path.dirname(sys.executable), "mpirun")
        library = MPI.Get_library_version().split("\n")[0].rstrip("\0").strip()
        raise reject(
            f"the launcher started {launch.size} processes, but mpi4py's MPI library ({library}) "
            f"knows of {MPI.COMM_WORLD.size}: they belong to different MPIs. Start with {beside}, or "
            "name the launcher's library in the environment variable MPI4PY_LIBMPI"
        )
    return MpiRanks(MPI, MPI.COMM_WORLD.Dup())
