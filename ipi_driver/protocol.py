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
    with mode="shm" (i-PI 3.3): POSDATA is int32 n, in the first one followed by six names (int32
    length, text) of segments of shared memory that hold positions, cells, inverse cells, energies,
    forces and virials; FORCEREADY is followed by int32 length and text of each structure only

Servers may send several messages in one write (i-PI since 3.2 joins POSDATA and GETFORCE), and a
socket may hand them over in any pieces: all reads here ask for exact lengths. Input from the
wire is not trusted: lengths are bounded before anything is allocated or read.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from types import TracebackType

import numpy as np
from forcemap.potentials.errors import ForcemapError
from numpy.typing import NDArray

__all__ = [
    "AtomCountError",
    "Batch",
    "Channel",
    "ConnectionLost",
    "Message",
    "ProtocolError",
    "announced_batch_size",
]

HEADER_LENGTH = 12
MAX_INIT_LENGTH = 1 << 20  # bytes; i-PI sends its <parameters>, some hundred bytes
MAX_BATCH_SIZE = 4096
MAX_ATOMS = 50_000_000  # in one message
SCRAP = 1 << 16  # bytes of unwanted input read at once
MAX_SCRAPS = 1 << 12
HEADER_SECONDS = 0.1  # for a header that should follow at once

_INT = struct.Struct("=i")

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
    """The server sent a message that the protocol does not allow here, or too long a one."""


class ConnectionLost(ForcemapError):
    """The connection ended where the protocol does not allow it to end."""


class AtomCountError(ForcemapError):
    """The server's structure has another number of atoms than the template."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Structures and the answers to them, in hartree and bohr; the arrays are reused.

    Attributes:
        cells: (s, 3, 3), vectors in columns.
        positions: (s, n, 3).
        energies: (s,).
        forces: (s, n, 3).
        virials: (s, 3, 3).
    """

    cells: NDArray[np.float64]
    positions: NDArray[np.float64]
    energies: NDArray[np.float64]
    forces: NDArray[np.float64]
    virials: NDArray[np.float64]

    @classmethod
    def empty(cls, cells: NDArray[np.float64], n_atoms: int) -> Batch:
        """Arrays for as many structures as `cells` holds."""
        n = len(cells)
        shapes = ((n, n_atoms, 3), (n,), (n, n_atoms, 3), (n, 3, 3))
        return cls(cells, *(np.zeros(shape) for shape in shapes))


def announced_batch_size(text: str) -> int:
    """Structures per POSDATA announced in the text of INIT; 1 where it announces none.

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
        self._ahead = bytearray()  # bytes that were read early
        self._waits_for_header = True
        self._next_header = memoryview(bytearray(HEADER_LENGTH))

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
        """Read the next message's header before `next_message` asks for it.

        A client killed with unread bytes in its socket resets the connection, and i-PI then waits
        for ever. With the header taken out before the evaluation, i-PI sees a plain end instead and
        gives the structure to another client. i-PI sends it at once after a structure, but it may
        still be on its way: it is waited for, unless this server once sent none.
        """
        while len(self._ahead) < HEADER_LENGTH:
            try:
                part = self._socket.recv(HEADER_LENGTH - len(self._ahead), socket.MSG_DONTWAIT)
            except BlockingIOError:
                if not self._waits_for_header:
                    return
                self._waits_for_header = bool(
                    select.select([self._socket], [], [], HEADER_SECONDS)[0]
                )
            except OSError:
                return  # the next read reports it
            else:
                if not part:
                    return
                self._ahead += part

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

    def peek(self, count: int) -> bytes:
        """The next `count` bytes, which stay to be read."""
        missing = count - len(self._ahead)
        if missing > 0:
            self._ahead += self._receive_from_socket(missing)
        return bytes(self._ahead[:count])

    def read_structures(
        self, head: memoryview, positions: memoryview, check: Callable[[], int]
    ) -> None:
        """Fill `head`, then `positions`, and read ahead the bytes of the next header that have come.

        Args:
            head: bytes before the positions.
            positions: as long as they should be.
            check: called when `head` is filled; returns the number of bytes of positions that the
                server announced. They are dropped unless it is the length of `positions`.

        Raises:
            AtomCountError: the server announced another number; the message was read to its end.
            ConnectionLost: the connection ended before.
        """
        done = 0
        if not self._ahead:
            done = self._receive_some([head, positions, self._next_header])
        if done < len(head):
            self._fill(head[done:])
            done = len(head)
        extra = done - len(head)
        announced = check()
        if announced != len(positions):
            taken = bytes(positions[:extra])
            self._ahead += taken[announced:]
            self._drop(announced - min(len(taken), announced))
            raise AtomCountError
        if extra < announced:
            self._fill(positions[extra:])
        else:
            self._ahead += self._next_header[: extra - announced]
        self.look_ahead()

    def _drop(self, count: int) -> None:
        scrap = memoryview(bytearray(min(SCRAP, max(count, 1))))
        while count:
            part = min(count, len(scrap))
            self._fill(scrap[:part])
            count -= part

    def read_int(self) -> int:
        """An int32."""
        return self._receive_int()

    def read_bytes(self, count: int) -> bytes:
        """`count` bytes; the caller has bounded the number."""
        return bytes(self._receive(count))

    def _receive_int(self) -> int:
        value: int
        (value,) = _INT.unpack(self._receive(_INT.size))
        return value

    def _receive(self, count: int) -> bytearray:
        buffer = bytearray(count)
        self._fill(memoryview(buffer))
        return buffer

    def _receive_from_socket(self, count: int) -> bytearray:
        buffer = bytearray(count)
        self._fill_from_socket(memoryview(buffer), 0, may_end=False)
        return buffer

    def _receive_some(self, views: list[memoryview]) -> int:
        try:
            count = self._socket.recvmsg_into(views)[0]
        except OSError as error:
            raise ConnectionLost(f"lost the connection to the server: {error}") from error
        return count

    def _fill(self, view: memoryview, may_end: bool = False) -> bool:
        """Fill `view`; False if `may_end` and nothing more came at all."""
        done = min(len(view), len(self._ahead))
        if done:
            view[:done] = self._ahead[:done]
            del self._ahead[:done]
        return self._fill_from_socket(view, done, may_end)

    def _fill_from_socket(self, view: memoryview, done: int, may_end: bool) -> bool:
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

    def send_all(self, parts: Sequence[bytes | memoryview]) -> None:
        """Send the parts, one after another."""
        try:
            sent = self._socket.sendmsg(parts)
            total = sum(map(len, parts))
            if sent < total:  # a signal came between
                self._socket.sendall(b"".join(bytes(part) for part in parts)[sent:])
        except OSError as error:
            raise ConnectionLost(f"lost the connection to the server: {error}") from error

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
        """Close the connection after reading all that has arrived."""
        with contextlib.suppress(OSError):
            self._socket.setblocking(False)
            for _ in range(MAX_SCRAPS):
                if not self._socket.recv(SCRAP):
                    break
        self._socket.close()
