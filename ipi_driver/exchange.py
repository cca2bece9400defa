"""Exchange of structures and answers through the socket or through i-PI's shared memory.

Both kinds keep their arrays for the whole connection; nothing is allocated at a step.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from forcemap.ipi_driver.protocol import (
    MAX_ATOMS,
    AtomCountError,
    Batch,
    Channel,
    Message,
    ProtocolError,
)
from forcemap.ipi_driver.shared_memory import KINDS, NAME_PREFIX, Segment, announcement
from forcemap.potentials.errors import ForcemapError
from typing_extensions import override

__all__ = ["Exchange", "open_exchange"]

MAX_NAME_LENGTH = 128

_INT = struct.Struct("=i")

logger = logging.getLogger(__name__)


class Exchange(Protocol):
    """Exchange of structures and answers over one connection."""

    batch: Batch

    def receive(self) -> None:
        """Read what follows a POSDATA header into the batch's structures.

        Raises:
            AtomCountError: another number of atoms; the message was read to its end.
            ProtocolError: an impossible number of atoms.
        """

    def send(self, extras: Sequence[str]) -> None:
        """Answer GETFORCE with the batch's answers and a text for each structure."""

    def close(self) -> None:
        """Release what is shared with the server."""


def open_exchange(channel: Channel, n_atoms: int, batch_size: int) -> Exchange:
    """The exchange that the server's first POSDATA asks for; its header was just read.

    Raises:
        AtomCountError, ProtocolError: as in `Exchange.receive`.
        ForcemapError: the server's shared memory cannot be used.
    """
    # Shared memory: atoms, length of the first name, the name; else these bytes are coordinates.
    if channel.peek(16)[8:] == NAME_PREFIX:
        return SharedMemoryExchange(channel, n_atoms, batch_size)
    return SocketExchange(channel, n_atoms, batch_size)


class SocketExchange(Exchange):
    """Structures and answers through the socket."""

    def __init__(self, channel: Channel, n_atoms: int, batch_size: int) -> None:
        """Room for `batch_size` structures of `n_atoms` atoms."""
        _check_size(n_atoms, batch_size)
        self._channel = channel
        self._n_atoms = n_atoms
        self._batch_size = batch_size
        # One structure: cell and inverse, count. Batches: count, cells and inverses. The count lies
        # beside the cells in such a way that these stay aligned.
        memory = np.zeros(1 + 18 * batch_size)
        view = memory.data.cast("B")
        if batch_size == 1:
            cells, self._head, self._count_at = memory[:18], view[: 144 + _INT.size], 144
        else:
            cells, self._head, self._count_at = memory[1:], view[8 - _INT.size :], 0
        self.batch = Batch.empty(cells.reshape(batch_size, 2, 3, 3)[:, 0], n_atoms)
        self._positions = self.batch.positions.data.cast("B")
        self._energies = self.batch.energies.data.cast("B")
        self._forces = self.batch.forces.data.cast("B")
        self._virials = self.batch.virials.data.cast("B")
        self._count = _INT.pack(n_atoms)
        self._no_extras = _INT.pack(0) * batch_size

    @override
    def receive(self) -> None:
        try:
            self._channel.read_structures(self._head, self._positions, self._announced)
        except AtomCountError:
            raise _wrong_count(self._count_in_head(), self._n_atoms) from None

    def _count_in_head(self) -> int:
        count: int
        (count,) = _INT.unpack_from(self._head, self._count_at)
        return count

    def _announced(self) -> int:
        _check_count(self._count_in_head(), self._n_atoms)
        return 24 * self._count_in_head() * self._batch_size

    @override
    def send(self, extras: Sequence[str]) -> None:
        self._channel.send_all(
            [
                Message.FORCEREADY.header,
                self._energies,
                self._count,
                self._forces,
                self._virials,
                _texts(extras) if any(extras) else self._no_extras,
            ]
        )

    def close(self) -> None:
        """Do nothing: nothing is shared."""


class SharedMemoryExchange(Exchange):
    """Structures and answers in segments that i-PI made and will remove; texts by the socket."""

    def __init__(self, channel: Channel, n_atoms: int, batch_size: int) -> None:
        """Attach to the segments named in the first POSDATA."""
        _check_size(n_atoms, batch_size)
        self._channel = channel
        self._n_atoms = n_atoms
        self._batch_size = batch_size
        self._segments: list[Segment] = []
        self._attached = False

    @override
    def receive(self) -> None:
        found = self._channel.read_int()
        _check_count(found, self._n_atoms)
        if not self._attached:
            names = [self._read_name(kind) for kind in KINDS]
            if found == self._n_atoms:
                self._attach(names)
        self._channel.look_ahead()
        if found != self._n_atoms:
            raise _wrong_count(found, self._n_atoms)

    def _read_name(self, kind: str) -> str:
        length = self._channel.read_int()
        if not 0 < length <= MAX_NAME_LENGTH:
            raise ProtocolError(f"the server announced a segment's name of {length} bytes")
        name = self._channel.read_bytes(length).decode("utf-8", errors="replace")
        if not (name.startswith(NAME_PREFIX.decode()) and name.endswith(f"_{kind}")):
            raise ProtocolError(f"the server sent {name!r} as the name of a segment for {kind}")
        return name

    def _attach(self, names: Sequence[str]) -> None:
        n, atoms = self._batch_size, self._n_atoms
        shapes = {
            "pos": (n, atoms, 3),
            "h": (n, 3, 3),
            "ih": (n, 3, 3),
            "pot": (n,),
            "force": (n, atoms, 3),
            "vir": (n, 3, 3),
        }
        arrays = {}
        for kind, name in zip(KINDS, names, strict=True):
            segment = Segment(name)
            self._segments.append(segment)
            arrays[kind] = segment.array(shapes[kind])
        self._segments[0].claim()
        logger.info("%s", announcement(self._segments))
        self.batch = Batch(
            arrays["h"], arrays["pos"], arrays["pot"], arrays["force"], arrays["vir"]
        )
        self._attached = True

    @override
    def send(self, extras: Sequence[str]) -> None:
        self._channel.send_all([Message.FORCEREADY.header, _texts(extras)])

    def close(self) -> None:
        """Detach; the segments stay for their owner to remove."""
        if self._attached:
            del self.batch
            self._attached = False
        for segment in self._segments:
            segment.close()
        self._segments.clear()


def _texts(extras: Sequence[str]) -> bytes:
    encoded = [text.encode() for text in extras]
    return b"".join(part for text in encoded for part in (_INT.pack(len(text)), text))


def _check_size(n_atoms: int, batch_size: int) -> None:
    if batch_size * n_atoms > MAX_ATOMS:
        raise ProtocolError(
            f"the server sends {batch_size} structures of {n_atoms} atoms at once; "
            f"this driver takes {MAX_ATOMS} atoms: choose a smaller <batch_size>"
        )


def _check_count(found: int, expected: int) -> None:
    if not 0 <= found <= MAX_ATOMS:
        raise ProtocolError(
            f"the server announced {found} atoms; the template has {expected}, and this driver "
            f"takes at most {MAX_ATOMS}"
        )


def _wrong_count(found: int, expected: int) -> ForcemapError:
    return AtomCountError(
        f"the server's structure has {found} atoms, the template {expected}: "
        "give the driver the structure that i-PI starts from"
    )
