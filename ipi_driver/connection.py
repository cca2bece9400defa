"""Connects to i-PI, and waits for it to start."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass

from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.runs.i_pi import SOCKETS_PREFIX

__all__ = ["InetAddress", "UnixAddress", "connect"]

RETRY_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """``<ffsocket mode='unix'>``: the ``<address>`` of i-PI's input, or a path."""

    name: str

    @property
    def path(self) -> str:
        """The socket's file; with ``i-pi -S PREFIX`` the name has to be the whole path."""
        return self.name if self.name.startswith("/") else SOCKETS_PREFIX + self.name

    def open(self, seconds: float) -> socket.socket:
        """Connect once, or raise OSError."""
        unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            unix.settimeout(seconds)
            unix.connect(self.path)
        except BaseException:
            unix.close()
            raise
        return unix

    def advice(self) -> str:
        """What to do when nobody answers."""
        if not os.path.exists(self.path):
            return "there is no such socket; is i-PI running, with this <address>?"
        return "nobody listens to this socket; remove the file if an i-PI that crashed left it"

    def __str__(self) -> str:
        """For messages."""
        return self.path


@dataclass(frozen=True, slots=True)
class InetAddress:
    """``<ffsocket mode='inet'>``: the ``<address>`` and ``<port>`` of i-PI's input."""

    host: str
    port: int

    def open(self, seconds: float) -> socket.socket:
        """Connect once, or raise OSError."""
        inet = socket.create_connection((self.host, self.port), timeout=seconds)
        # Messages are small and each waits for its answer; and a dead host should be noticed.
        inet.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        inet.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return inet

    def advice(self) -> str:
        """What to do when nobody answers."""
        return "is i-PI running, with this <address> and <port>?"

    def __str__(self) -> str:
        """For messages."""
        return f"{self.host}:{self.port}"


def connect(address: UnixAddress | InetAddress, timeout: float) -> socket.socket:
    """Connect, trying again until `timeout` seconds have passed.

    Raises:
        ForcemapError: nobody answered in time, or the address cannot be one.
    """
    deadline = time.monotonic() + timeout
    while True:
        left = deadline - time.monotonic()
        try:
            return address.open(max(left, RETRY_SECONDS))
        except (PermissionError, socket.gaierror, UnicodeError) as error:
            raise ForcemapError(f"cannot connect to {address}: {error}") from error
        except OSError as error:
            if error.errno is None and not isinstance(error, TimeoutError):
                # The path is too long for a socket: Python says so without asking the system.
                raise ForcemapError(f"cannot connect to {address}: {error}") from error
            if left <= RETRY_SECONDS:
                raise ForcemapError(
                    f"no i-PI answered at {address} within {timeout:g} s ({error}): "
                    f"{address.advice()}"
                ) from error
        time.sleep(RETRY_SECONDS)
