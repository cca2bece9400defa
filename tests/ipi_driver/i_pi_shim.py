"""i-PI's own driver program with our client in it, to run i-PI's own tests against our protocol.

i-PI's regression tests are not in its wheel; from a checkout of i-PI of the installed version::

    mkdir bin && cp tests/ipi_driver/i_pi_shim.py bin/i-pi-py_driver && chmod +x bin/i-pi-py_driver
    PATH=$PWD/bin:$PATH python -m pytest CHECKOUT/ipi_tests/regression_tests

(the first line of the copy must name this environment's Python). Potentials are i-PI's (``-m``), one
structure after another, in atomic units.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from forcemap.ipi_driver.client import Client
from forcemap.ipi_driver.connection import InetAddress, UnixAddress, connect
from forcemap.ipi_driver.protocol import Batch, Channel
from ipi.pes import load_pes
from ipi.utils.io.inputs import read_args_kwargs


class AnyPotential:
    """Evaluates with one of i-PI's potentials; answers in place of `BeadEvaluator`."""

    n_atoms = 0
    evaluations = 0

    def __init__(self, potential: Any) -> None:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-u", "--unix", action="store_true")
    parser.add_argument("--shm", action="store_true")
    parser.add_argument("-a", "--address", default="localhost")
    parser.add_argument("-S", "--sockets_prefix", default="/tmp/ipi_")
    parser.add_argument("-p", "--port", type=int, default=12345)
    parser.add_argument("-m", "--mode", default="dummy")
    parser.add_argument("-P", "--pes_path")
    parser.add_argument("-o", "--param", default="")
    parser.add_argument("-v", "--verbose", action="store_true")
    options = parser.parse_args()
    values, named = read_args_kwargs(options.param)
    potential = load_pes(options.mode, options.pes_path)(*values, **named)
    place: UnixAddress | InetAddress
    if options.unix or options.shm:
        place = UnixAddress(options.sockets_prefix + options.address)
    else:
        place = InetAddress(options.address, options.port)
    with Channel(connect(place, 60.0)) as channel:
        AnyClient(channel, AnyPotential(potential)).serve()  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
