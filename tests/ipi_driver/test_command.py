from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from ase import Atoms
from click.testing import CliRunner, Result
from forcemap.ipi_driver.command import driver
from forcemap.potentials.file.potential_file import write_potential
from potentials_factory import random_potential


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_potential(random_potential(["O"], seed=2), "o.forcemap")
    Atoms("O2", [[0, 0, 0], [0, 0, 2]]).write("o.xyz")
    Atoms("SiO", [[0, 0, 0], [0, 0, 2]]).write("sio.xyz")


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(driver, arguments)


def test_help_has_an_example() -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    words = " ".join(result.output.split())
    assert "Example: forcemap driver out/potential.forcemap --template init.xyz --unix" in words


def test_help_does_not_wait_for_numpy() -> None:
    code = "import sys, forcemap.ipi_driver.command as c; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    "address",
    [[], ["--unix", "a", "--port", "31415"], ["--host", "a"], ["--unix", "a", "--host", "b"]],
)
def test_one_address_is_needed(address: list[str]) -> None:
    result = invoke("o.forcemap", "--template", "o.xyz", *address)
    assert result.exit_code == 2
    assert "give either --unix NAME or --port PORT" in result.output


@pytest.mark.parametrize("arguments", [["no.forcemap", "--template", "o.xyz"], ["o.forcemap"]])
def test_missing_files_are_wrong_usage(arguments: list[str]) -> None:
    assert invoke(*arguments, "--unix", "a").exit_code == 2


def test_unknown_element_is_told_before_connecting() -> None:
    result = invoke("o.forcemap", "--template", "sio.xyz", "--unix", "no-such-server")
    assert result.exit_code == 1
    assert "sio.xyz has Si; the potential is for O only" in result.output
    assert "no-such-server" not in result.output


def test_file_that_is_no_potential_is_told() -> None:
    result = invoke("o.xyz", "--template", "o.xyz", "--unix", "a")
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert "o.xyz" in result.output


def test_missing_server_is_told(address: str) -> None:
    result = invoke("o.forcemap", "--template", "o.xyz", "--unix", address, "--timeout", "0")
    assert result.exit_code == 1
    assert f"Error: no i-PI answered at /tmp/ipi_{address}" in result.output


def test_exit_and_end_are_told_with_exit_code_0(address: str) -> None:
    for said, told in ((b"EXIT        ", "said EXIT"), (b"", "closed the connection")):
        with socket.socket(socket.AF_UNIX) as server:
            Path(f"/tmp/ipi_{address}").unlink(missing_ok=True)
            server.bind(f"/tmp/ipi_{address}")
            server.listen()
            client = start(address)
            connection, _ = server.accept()
            connection.sendall(said)
            connection.close()
            _, errors = client.communicate(timeout=120)
        assert client.returncode == 0
        assert f"connected to /tmp/ipi_{address}: 2 atoms (O2), periodic in x y z" in errors
        assert f"the server {told}" in errors


def test_termination_closes_the_connection_in_order(address: str) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/tmp/ipi_{address}")
        server.listen()
        client = start(address)
        connection, _ = server.accept()
        with connection:
            connection.settimeout(30)
            connection.sendall(b"STATUS      ")
            assert connection.recv(12) == b"NEEDINIT    "
            client.send_signal(signal.SIGTERM)
            assert connection.recv(12) == b""
        _, errors = client.communicate(timeout=120)
    assert client.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in errors


def start(address: str) -> subprocess.Popen[str]:
    code = "from forcemap.ipi_driver.command import driver; driver()"
    arguments = ["o.forcemap", "--template", "o.xyz", "--unix", address]
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
