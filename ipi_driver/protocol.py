"""i-PI's socket protocol as data, and a channel that reads and writes exactly what it says.

A message is a header of 12 bytes, blank-padded, and what belongs to it, in the machine's byte order
and in atomic units:

    STATUS                                  the client answers NEEDINIT, READY or HAVEDATA
    INIT      int32 id, int32 length, text  "batch_size:N" in the text announces batches
    POSDATA   cell 9, inverse 9, int32 n, positions 3n
              in batches: int32 n, N x (cell 9, inverse 9), N x positions 3n
    GETFORCE  the client answers FORCEREADY, energy, int32 n, forces 3n, virial 9,
              int32 length, text; in batches N energies, n, N forces, N virials, N x (length, text)
    EXIT

Servers may send several messages in one write (i-PI since 3.2 joins POSDATA and GETFORCE), and a
socket may hand them over in any pieces: all reads here ask for exact lengths. What comes from the
wire is not trusted: lengths are bounded before anything is allocated or read.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from types import TracebackType

import numpy as np
from forcemap.potentials.errors import ForcemapError
from numpy.typing import NDArray

__all__ = [
    "AtomCountError",
    "Channel",
    "ConnectionLost",
    "Message",
    "ProtocolError",
    "Reply",
    "Request",
    "announced_batch_size",
]

HEADER_LENGTH = 12
MAX_INIT_LENGTH = 1 << 20  # bytes; i-PI sends its <parameters>, some hundred bytes
MAX_BATCH_SIZE = 4096
MAX_ATOMS = 50_000_000  # in one message
SCRAP = 1 << 16  # bytes read at once of what nobody wants
MAX_SCRAPS = 1 << 12

_INT = struct.Struct("=i")
_SEGMENT_PREFIX = b"ipi_shm_"  # how i-PI names the shared memory of its mode="shm"

logger = logging.getLogger(__name__)


class Message(Enum):
    """The protocol's messages; NEEDINIT, READY and HAVEDATA are also the client's states."""

    STATUS = "STATUS"
    INIT = "INIT"
    POSDATA = "POSDATA"
    GETFORCE = "GETFORCE"
    EXIT = "EXIT"
    NEEDINIT = "NEEDINIT"
    READY = "READY"
    HAVEDATA = "HAVEDATA"
    FORCEREADY = "FORCEREADY"

    @property
    def header(self) -> bytes:
        """The 12 bytes on the wire."""
        return self.value.encode().ljust(HEADER_LENGTH)


_MESSAGES = {message.header: message for message in Message}


class ProtocolError(ForcemapError):
    """The server sent what the protocol does not allow here, or more than we accept."""


class ConnectionLost(ForcemapError):
    """The connection ended where the protocol does not allow it to end."""


class AtomCountError(ForcemapError):
    """The server's structure has another number of atoms than the template."""


@dataclass(frozen=True, slots=True)
class Request:
    """A structure to evaluate: `cell` (3, 3) vectors in columns, `positions` (n, 3); bohr."""

    cell: NDArray[np.float64]
    positions: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Reply:
    """Its evaluation: `energy`, `forces` (n, 3), `virial` (3, 3); hartree and bohr."""

    energy: float
    forces: NDArray[np.float64]
    virial: NDArray[np.float64]


def announced_batch_size(text: str) -> int:
    """Structures per POSDATA announced in the text of INIT; 1 where it says nothing.

    Raises:
        ProtocolError: the number is not an integer from 1 to `MAX_BATCH_SIZE`.
    """
    for token in text.split(","):
        key, _, value = token.partition(":")
        if key.strip() != "batch_size":
            continue
        digits = value.strip()
        # The length check keeps int() from chewing on a megabyte of digits.
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 9):
            raise ProtocolError(f"the server announced batch_size {digits[:40]!r}, not a number")
        if not 1 <= int(digits) <= MAX_BATCH_SIZE:
            raise ProtocolError(
                f"the server announced a batch_size of {int(digits)}; "
                f"this driver takes 1 to {MAX_BATCH_SIZE}"
            )
        return int(digits)
    return 1


class Channel:
    """A connected stream socket that reads and writes whole messages."""

    def __init__(self, connected: socket.socket) -> None:
        """Take over a connected socket; blocking, as a server may pause for any time."""
        self._socket = connected
        self._socket.settimeout(None)
        self._ahead = bytearray()  # bytes of the next header that were read early

    def __enter__(self) -> Channel:
        """The channel itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self.close()

    # Reading

    def next_message(self) -> Message | None:
        """The next message's header, or None if the server closed the connection before it.

        Raises:
            ConnectionLost: the connection ended inside the header or was reset.
            ProtocolError: no message of the protocol.
        """
        header = bytearray(HEADER_LENGTH)
        if not self._fill(memoryview(header), may_end=True):
            return None
        try:
            return _MESSAGES[bytes(header)]
        except KeyError:
            raise ProtocolError(
                f"the server sent {bytes(header)!r}, which is no message of i-PI's protocol"
            ) from None

    def look_ahead(self) -> None:
        """Read the next message's header now if it has already come; `next_message` returns it.

        A client killed with unread bytes in its socket resets the connection, and i-PI then waits
        for ever. With GETFORCE taken out before the evaluation, i-PI sees a plain end instead and
        gives the structure to another client.
        """
        with contextlib.suppress(OSError):
            self._ahead += self._socket.recv(HEADER_LENGTH - len(self._ahead), socket.MSG_DONTWAIT)

    def read_init(self) -> str:
        """The text that follows an INIT header."""
        self._receive_int()  # the id of the first request; beads go to any client later
        length = self._receive_int()
        if not 0 <= length <= MAX_INIT_LENGTH:
            raise ProtocolError(
                f"the server announced an INIT text of {length} bytes; "
                f"this driver takes 0 to {MAX_INIT_LENGTH}"
            )
        return self._receive(length).decode("utf-8", errors="replace")

    def read_structures(self, n_atoms: int, batch_size: int) -> list[Request]:
        """The structures that follow a POSDATA header: `batch_size` of them.

        Raises:
            AtomCountError: another number of atoms than `n_atoms`; the message was read to its end.
            ProtocolError: an impossible number of atoms, or shared memory.
        """
        head = self._receive(16)
        if head[8:] == _SEGMENT_PREFIX:
            raise ProtocolError(
                "the server exchanges structures through shared memory, which this driver does not "
                "speak; use <ffsocket mode='unix'> instead of mode='shm'"
            )
        if batch_size == 1:
            cells = head + self._receive(144 - len(head))
            found = self._receive_int()
        else:
            cells = head[_INT.size :]
            (found,) = _INT.unpack(head[: _INT.size])
        missing = 144 * batch_size - len(cells)
        if found != n_atoms:
            self._refuse(found, n_atoms, missing, batch_size)
        if batch_size * n_atoms > MAX_ATOMS:
            raise ProtocolError(
                f"the server sends {batch_size} structures of {n_atoms} atoms at once; "
                f"this driver takes {MAX_ATOMS} atoms: choose a smaller <batch_size>"
            )
        cells += self._receive(missing)
        positions = np.empty((batch_size, n_atoms, 3))
        self._fill(positions.data.cast("B"))
        h = np.frombuffer(cells, dtype=np.float64).reshape(batch_size, 2, 3, 3)[:, 0]
        return [Request(h[n], positions[n]) for n in range(batch_size)]

    def _refuse(self, found: int, expected: int, missing: int, batch_size: int) -> None:
        if not 0 <= found <= MAX_ATOMS:
            raise ProtocolError(
                f"the server announced {found} atoms; the template has {expected}, and this driver "
                f"takes at most {MAX_ATOMS}"
            )
        scrap = memoryview(bytearray(SCRAP))
        left = missing + 24 * found * batch_size
        while left:
            part = min(left, len(scrap))
            self._fill(scrap[:part])
            left -= part
        raise AtomCountError(
            f"the server's structure has {found} atoms, the template {expected}: "
            "give the driver the structure that i-PI starts from"
        )

    def _receive_int(self) -> int:
        value: int
        (value,) = _INT.unpack(self._receive(_INT.size))
        return value

    def _receive(self, count: int) -> bytearray:
        buffer = bytearray(count)
        self._fill(memoryview(buffer))
        return buffer

    def _fill(self, view: memoryview, may_end: bool = False) -> bool:
        """Fill `view` from the socket; False if `may_end` and nothing more came at all."""
        done = min(len(view), len(self._ahead))
        view[:done] = self._ahead[:done]
        del self._ahead[:done]
        while done < len(view):
            try:
                count = self._socket.recv_into(view[done:])
            except OSError as error:
                raise ConnectionLost(f"lost the connection to the server: {error}") from error
            if count == 0:
                if may_end and done == 0:
                    return False
                raise ConnectionLost(
                    "the server closed the connection in the middle of a message "
                    f"(after {done} of {len(view)} bytes)"
                )
            done += count
        return True

    # Writing

    def send(self, message: Message) -> None:
        """Send a bare header."""
        self._send(message.header)

    def send_forces(self, replies: Sequence[Reply]) -> None:
        """Answer GETFORCE: one reply, or as many as a batch has, all with the same atom count."""
        no_text = _INT.pack(0)
        self._send(
            b"".join(
                [
                    Message.FORCEREADY.header,
                    np.array([reply.energy for reply in replies], dtype=np.float64).tobytes(),
                    _INT.pack(len(replies[0].forces)),
                    *(reply.forces.astype(np.float64).tobytes() for reply in replies),
                    *(reply.virial.astype(np.float64).tobytes() for reply in replies),
                    no_text * len(replies),
                ]
            )
        )

    def _send(self, content: bytes) -> None:
        try:
            self._socket.sendall(content)
        except OSError as error:
            raise ConnectionLost(f"lost the connection to the server: {error}") from error

    # Leaving

    def await_request(self, seconds: float) -> None:
        """Wait at most `seconds` for the message that follows POSDATA, and drop it.

        i-PI takes a client that leaves after that message for a lost one and requeues its
        structure.
        """
        try:
            self._socket.settimeout(seconds)
            self.next_message()
        except (ForcemapError, OSError) as error:
            logger.debug("while leaving: %s", error)

    def close(self) -> None:
        """Close the connection with nothing unread, as far as it has come."""
        with contextlib.suppress(OSError):
            self._socket.setblocking(False)
            for _ in range(MAX_SCRAPS):
                if not self._socket.recv(SCRAP):
                    break
        self._socket.close()
