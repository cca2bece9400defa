"""i-PI's own driver programs with our client in them: i-PI's tests then test our side of the protocol.

Takes the command lines of ``i-pi-py_driver`` and of the Fortran ``i-pi-driver``. Potentials are
i-PI's: those of ``ipi.pes`` (``-m``), or with ``--behind PROGRAM`` those of the Fortran driver, which
is started on a socket of this program's and gets every structure handed on. `i_pi_regression.py` puts
both under i-PI's names on PATH and runs i-PI's regression tests.
"""

from __future__ import annotations

import argparse
import socket
import struct
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from forcemap.ipi_driver.client import Client
from forcemap.ipi_driver.connection import InetAddress, UnixAddress, connect
from forcemap.ipi_driver.protocol import Batch, Channel, Message
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Potential(Protocol):
    """What i-PI's Python potentials can do."""

    def compute_structure(self, cell: Array, pos: Array) -> tuple[float, Array, Array, str]: ...


class FortranPotential:
    """Hands structures on to i-PI's Fortran driver, as i-PI itself would, and its answers back."""

    def __init__(self, program: str, arguments: list[str], stack: ExitStack) -> None:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="shim-"))
        server = stack.enter_context(socket.socket(socket.AF_UNIX))
        server.bind(f"{folder}/driver")
        server.listen(1)
        server.settimeout(30.0)
        process = subprocess.Popen(
            [program, *arguments, "-u", "-h", "driver", "-S", f"{folder}/"],
            stdout=subprocess.DEVNULL,
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        self._socket = stack.enter_context(server.accept()[0])

    def compute_structure(self, cell: Array, pos: Array) -> tuple[float, Array, Array, str]:
        if self._status() is Message.NEEDINIT:
            self._socket.sendall(Message.INIT.header + struct.pack("=ii", 0, 1) + b" ")
            assert self._status() is Message.READY
        self._socket.sendall(
            Message.POSDATA.header
            + np.array([cell, np.linalg.inv(cell)]).tobytes()
            + struct.pack("=i", len(pos))
            + np.ascontiguousarray(pos).tobytes()
        )
        assert self._status() is Message.HAVEDATA
        self._socket.sendall(Message.GETFORCE.header)
        assert self._read(12) == Message.FORCEREADY.header
        energy, count = struct.unpack("=di", self._read(12))
        assert count == len(pos)
        answer = np.frombuffer(self._read(24 * count + 72))
        (length,) = struct.unpack("=i", self._read(4))
        extras = self._read(length).decode()
        return energy, answer[:-9].reshape(-1, 3), answer[-9:].reshape(3, 3), extras

    def _status(self) -> Message:
        self._socket.sendall(Message.STATUS.header)
        return Message(self._read(12).decode().strip())

    def _read(self, count: int) -> bytes:
        found = self._socket.recv(count, socket.MSG_WAITALL) if count else b""
        if len(found) < count:
            sys.exit("the Fortran driver ended")
        return found


class AnyEvaluator:
    """Evaluates with one of i-PI's potentials; answers in place of `BeadEvaluator`."""

    n_atoms = 0
    evaluations = 0

    def __init__(self, potential: Potential) -> None:
        self._potential = potential

    def evaluate(self, batch: Batch) -> list[str]:
        extras = []
        for n, (cell, positions) in enumerate(zip(batch.cells, batch.positions, strict=True)):
            energy, forces, virial, text = self._potential.compute_structure(cell, positions)
            batch.energies[n] = energy
            batch.forces[n] = np.reshape(forces, positions.shape)
            batch.virials[n] = virial
            extras.append(text)
        self.evaluations += len(extras)
        return extras


class AnyClient(Client):
    """A client that takes the number of atoms from the first structure."""

    def _evaluate(self) -> None:
        if not self._evaluator.n_atoms:
            shared = self._channel.peek(16)[8:] == b"ipi_shm_"
            at = 144 if self._batch_size == 1 and not shared else 0
            count = np.frombuffer(self._channel.peek(at + 4)[at:], dtype=np.int32)
            self._evaluator.n_atoms = int(count[0])  # type: ignore[misc]
        super()._evaluate()


def python_potential(options: argparse.Namespace) -> Any:
    from ipi.pes import load_pes
    from ipi.utils.io.inputs import read_args_kwargs

    values, named = read_args_kwargs(options.param)
    return load_pes(options.mode, options.pes_path)(*values, **named)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, add_help=False)  # -h is an address
    parser.add_argument("--behind", metavar="PROGRAM", help="i-PI's Fortran driver")
    parser.add_argument("-u", "--unix", action="store_true")
    parser.add_argument("--shm", action="store_true")
    parser.add_argument("-a", "-h", "--address", default="localhost")
    parser.add_argument("-S", "--sockets_prefix", default="/tmp/ipi_")
    parser.add_argument("-p", "--port", type=int, default=12345)
    parser.add_argument("-m", "--mode", default="dummy")
    parser.add_argument("-P", "--pes_path")
    parser.add_argument("-o", "--param", default="")
    parser.add_argument("-v", "--verbose", action="store_true")
    options = parser.parse_args()
    place: UnixAddress | InetAddress
    if options.unix or options.shm:
        place = UnixAddress(str(Path(options.sockets_prefix + options.address).absolute()))
    else:
        place = InetAddress(options.address, options.port)
    with ExitStack() as stack:
        if options.behind:
            passed = ["-m", options.mode, *(["-o", options.param] if options.param else [])]
            potential: Potential = FortranPotential(options.behind, passed, stack)
        else:
            potential = python_potential(options)
        channel = stack.enter_context(Channel(connect(place, 60.0)))
        AnyClient(channel, AnyEvaluator(potential)).serve()  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
