from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
from forcemap.ipi_driver.connection import InetAddress, UnixAddress, connect
from forcemap.potentials.errors import ForcemapError


def test_name_and_path() -> None:
    assert UnixAddress("si").path == "/tmp/ipi_si"
    assert UnixAddress("/scratch/run_si").path == "/scratch/run_si"


def test_server_that_comes_later_is_found(tmp_path: Path) -> None:
    path = str(tmp_path / "late")
    with socket.socket(socket.AF_UNIX) as server:

        def listen() -> None:
            server.bind(path)
            server.listen()

        timer = threading.Timer(0.3, listen)
        timer.start()
        connect(UnixAddress(path), timeout=20).close()
        timer.join()


def test_inet_server_is_found() -> None:
    with socket.create_server(("localhost", 0)) as server:
        address = InetAddress("localhost", server.getsockname()[1])
        with connect(address, timeout=20) as client:
            assert client.getpeername()[1] == address.port


def test_missing_socket_is_told(tmp_path: Path) -> None:
    with pytest.raises(ForcemapError, match=r"no i-PI answered at .*/no .*is i-PI running"):
        connect(UnixAddress(str(tmp_path / "no")), timeout=0)


def test_stale_socket_is_told(tmp_path: Path) -> None:
    path = str(tmp_path / "stale")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
    with pytest.raises(ForcemapError, match=r"nobody listens .*remove the file"):
        connect(UnixAddress(path), timeout=0)


def test_refused_port_is_told() -> None:
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ForcemapError, match=rf"no i-PI answered at localhost:{port} within 0.1 s"):
        connect(InetAddress("localhost", port), timeout=0.1)


@pytest.mark.parametrize(
    "address",
    [
        UnixAddress("/tmp/" + "long" * 40),
        InetAddress("no such host.invalid", 31415),
        InetAddress("a..b", 1),
    ],
)
def test_impossible_address_is_told_at_once(address: UnixAddress | InetAddress) -> None:
    with pytest.raises(ForcemapError, match="cannot connect to"):
        connect(address, timeout=3600)
