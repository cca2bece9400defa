"""Starts i-PI and its drivers together; what `forcemap pimd` and the demo share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.extras import install
from forcemap.potentials.runs.programs import (
    STALL,
    Program,
    find_program,
    forcemap_command,
    supervise,
)

__all__ = [
    "SOCKETS_PREFIX",
    "Drivers",
    "find_i_pi",
    "remove_socket",
    "run_i_pi",
    "with_total_steps",
]

SOCKETS_PREFIX = "/tmp/ipi_"
"""i-PI's default; what stands in front of the ``<address>`` of a unix socket."""


def find_i_pi() -> str:
    """Path of i-PI's program; raises ForcemapError if there is none."""
    return find_program("i-pi", f"i-PI comes with {install('ipi')}")


@dataclass(frozen=True)
class Drivers:
    """The ``forcemap driver`` processes of a run.

    Attributes:
        potential: their file.
        socket: the ``<address>`` of a unix socket, which nobody else may use, or the ``<port>``.
        threads: of each; None: all cores over the drivers.
        clients: how many there are.
        options: further ones of their command line.
    """

    potential: Path
    socket: str | int
    threads: int | None = None
    clients: int = 1
    options: Sequence[str] = ()

    def logs(self, folder: Path) -> list[Path]:
        """Where they write what they say."""
        if self.clients == 1:
            return [folder / "driver.log"]
        return [folder / f"driver-{n + 1}.log" for n in range(self.clients)]

    def programs(self, folder: Path) -> list[Program]:
        """For a run in `folder`, where ``init.xyz`` is."""
        threads = self.threads or max(1, (os.cpu_count() or 1) // self.clients)
        by_port = isinstance(self.socket, int)
        command = forcemap_command(
            # i-PI itself reads this file; atoms may exchange places before a later start.
            *("driver", str(self.potential.resolve()), "--template", "init.xyz"),
            "--trust-template",
            *("--port" if by_port else "--unix", str(self.socket), "--threads", str(threads)),
            *self.options,
        )
        return [Program("forcemap driver", command, folder, log) for log in self.logs(folder)]


def run_i_pi(
    folder: Path,
    xml: str,
    drivers: Drivers,
    step: Callable[[], int],
    advance: Callable[[int], None],
    *,
    stall: float = STALL,
    keep_open: Sequence[int] = (),
) -> Path:
    """Run an input of i-PI with its drivers to i-PI's end, which need not be the last step.

    Args:
        folder: where they run; it holds ``init.xyz``, and gets ``i-pi.log`` and ``driver.log``.
        xml: name of the input in it.
        drivers: of the run.
        step: the step that the run has reached, -1 before the first.
        advance: called with the number of new steps.
        stall: seconds without a new step after which the run is given up.
        keep_open: files that stay open in i-PI.

    Returns:
        i-PI's log.

    Raises:
        ForcemapError: i-PI is not found, one of the programs failed, or nothing moved.
    """
    server = Program(
        "i-PI",
        [find_i_pi(), xml],
        folder,
        folder / "i-pi.log",
        leads=True,
        keep_open=keep_open,
        # i-PI's own matrices are small: threads of its BLAS only take time from the drivers.
        environment={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    try:
        supervise([server, *drivers.programs(folder)], step, advance, stall)
    finally:
        remove_socket(drivers.socket)
    return server.log


def remove_socket(socket: str | int) -> None:
    """Remove the file of a unix socket that an i-PI that was killed has left."""
    if isinstance(socket, str):
        with suppress(OSError):
            Path(SOCKETS_PREFIX + socket).unlink(missing_ok=True)


def with_total_steps(xml: str, steps: int) -> str:
    """An input of i-PI with another number of steps.

    Raises:
        ForcemapError: it has no ``<total_steps>``, or more than one.
    """
    changed, count = re.subn(r"(<total_steps>)[^<]*(</total_steps>)", rf"\g<1> {steps} \g<2>", xml)
    if count != 1:
        raise ForcemapError(f"i-PI's input has <total_steps> {count} times, expected it once")
    return changed
