"""The conversation over a socket pair, against bytes written down without the code under test."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forcemap.ipi_driver.client import Client
from forcemap.ipi_driver.evaluation import BeadEvaluator
from forcemap.ipi_driver.protocol import (
    AtomCountError,
    Channel,
    ConnectionLost,
    Message,
    ProtocolError,
    announced_batch_size,
)
from forcemap.ipi_driver.template import Template
from forcemap.potentials import load
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.file.potential_file import write_potential
from potentials_factory import random_potential

Converse = Callable[..., tuple[str, bytes]]

H = np.array([[20.0, 1.0, 0.0], [0.0, 20.0, 2.0], [0.0, 0.0, 20.0]])
Q = np.random.default_rng(1).normal(size=(3, 3, 3))  # three structures of three atoms, bohr
Z = np.array([1, 8, 1])
NOWHERE: int = 2**31 - 1


def expected(positions: Any) -> tuple[float, Any, Any]:
    """Springs of 0.01 Z eV/Å² in atomic units."""
    k = 0.01 * Z[:, None] * 0.036749326 / 1.8897261**2
    forces = -k * positions
    return float(0.5 * np.sum(k * positions**2)), forces, positions.T @ forces


def assert_forces(answer: bytes, wire: Any, structures: list[Any]) -> None:
    """The answer is FORCEREADY with these structures' results; numbers to rounding."""
    wanted = wire.forces([expected(q) for q in structures])
    assert len(answer) == len(wanted)
    assert answer[:12] == wanted[:12]
    n = len(structures)
    at = 12 + 8 * n
    assert answer[at : at + 4] == wanted[at : at + 4]
    for start, stop in ((12, at), (at + 4, -4 * n)):
        np.testing.assert_allclose(
            np.frombuffer(answer[start:stop]), np.frombuffer(wanted[start:stop]), rtol=1e-12
        )
    assert answer[-4 * n :] == wanted[-4 * n :]


def test_headers_are_twelve_bytes() -> None:
    assert {len(message.header) for message in Message} == {12}
    assert Message.GETFORCE.header == b"GETFORCE    "


@pytest.mark.parametrize("size", [None, 1, 7, 13])
def test_plain_conversation_in_any_pieces(converse: Converse, wire: Any, size: int | None) -> None:
    said = (
        wire.STATUS + wire.init() + wire.STATUS
        + wire.posdata(H, Q[0]) + wire.STATUS + wire.GETFORCE
        + wire.STATUS + wire.posdata(H, Q[1]) + wire.GETFORCE + wire.EXIT
    )  # fmt: skip
    farewell, answer = converse(said, size)
    assert farewell == "the server said EXIT"
    one = 12 + 8 + 4 + 72 + 72 + 4
    assert answer[:36] == wire.NEEDINIT + wire.READY + wire.HAVEDATA
    assert_forces(answer[36 : 36 + one], wire, [Q[0]])
    assert answer[36 + one : 48 + one] == wire.READY
    assert_forces(answer[48 + one :], wire, [Q[1]])


@pytest.mark.parametrize("size", [None, 1, 11])
def test_batches_in_any_pieces(converse: Converse, wire: Any, size: int | None) -> None:
    padded = [Q[0], Q[1], Q[1], Q[2], Q[2]]
    said = (
        wire.STATUS + wire.init(" a : 1 ,  batch_size:5")
        + wire.batch([(H, q) for q in padded]) + wire.GETFORCE + wire.EXIT
    )  # fmt: skip
    _, answer = converse(said, size)
    assert_forces(answer[12:], wire, padded)


def test_end_at_every_byte(converse: Converse, wire: Any) -> None:
    parts = [
        wire.STATUS, wire.init(), wire.posdata(H, Q[0]), wire.STATUS, wire.GETFORCE, wire.STATUS,
    ]  # fmt: skip
    said = b"".join(parts)
    ends = np.cumsum([0, *map(len, parts)])
    after_posdata, after_getforce = ends[3], ends[5]
    for length in range(len(said) + 1):
        if length not in ends:
            with pytest.raises(ConnectionLost, match="in the middle of a message"):
                converse(said[:length])
        elif after_posdata <= length < after_getforce:
            with pytest.raises(ConnectionLost, match="without its forces"):
                converse(said[:length])
        else:
            farewell, _ = converse(said[:length])
            assert farewell == "the server closed the connection", length


@pytest.mark.parametrize("length", [-1, 1 << 21, NOWHERE])
def test_absurd_init_length_is_refused(converse: Converse, wire: Any, length: int) -> None:
    with pytest.raises(ProtocolError, match=f"INIT text of {length} bytes"):
        converse(wire.init(length=length))


@pytest.mark.parametrize("count", [-1, -(2**31), NOWHERE])
@pytest.mark.parametrize("batched", [False, True])
def test_absurd_atom_count_is_refused(
    converse: Converse, wire: Any, count: int, batched: bool
) -> None:
    if batched:
        said = wire.init("batch_size:2") + wire.batch([(H, Q[0])] * 2, count=count)
    else:
        said = wire.init() + wire.posdata(H, Q[0], count=count)
    with pytest.raises(ProtocolError, match=f"announced {count} atoms; the template has 3"):
        converse(said)


@pytest.mark.parametrize("batched", [False, True])
def test_wrong_atom_count_names_both_and_leaves_in_order(
    water: Template, springs: Any, wire: Any, batched: bool
) -> None:
    many = np.zeros((4000, 3))
    if batched:
        said = wire.init("batch_size:2") + wire.batch([(H, many)] * 2) + wire.GETFORCE
    else:
        said = wire.init() + wire.posdata(H, many) + wire.GETFORCE
    ours, theirs = socket.socketpair()
    with ours:
        ours.settimeout(60)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        ours.sendall(said)
        with Channel(theirs) as channel, pytest.raises(AtomCountError, match=r"4000 atoms.* 3"):
            Client(channel, BeadEvaluator(springs.Springs(), water)).serve()
        # With a byte unread this would be a reset, and i-PI would hang.
        assert ours.recv(1) == b""


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("", 1),
        (" ", 1),
        ("batch_size:8", 8),
        (" a : 1 , , batch_size:16", 16),
        ("no_batch_size:3", 1),
        (" batch_size : 2 ", 2),
        ("batch_size:4096", 4096),
    ],
)
def test_announced_batch_size(text: str, size: int) -> None:
    assert announced_batch_size(text) == size


@pytest.mark.parametrize("value", ["0", "-1", "4097", "1" * 100000, "x", "", "1e3", "²"])
def test_absurd_batch_size_is_refused(value: str) -> None:
    with pytest.raises(ProtocolError, match="batch_size"):
        announced_batch_size(f" batch_size:{value}")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (b"HTTP/1.1 200", r"b'HTTP/1.1 200', which is no message"),
        (b"GETFORCE    ", "GETFORCE to a client in state NEEDINIT"),
        (b"POSDATA     ", "POSDATA to a client in state NEEDINIT"),
        (b"HAVEDATA    ", "HAVEDATA to a client"),
    ],
)
def test_what_is_not_expected_is_named(converse: Converse, said: bytes, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        converse(said)


def test_batch_beyond_all_memory_is_refused(converse: Converse, wire: Any) -> None:
    many = Template(np.ones(20_000, dtype=np.int32), np.ones(3, dtype=bool))
    said = wire.init("batch_size:4096") + wire.batch([(H, Q[0])], count=20_000)
    with pytest.raises(ProtocolError, match="4096 structures of 20000 atoms at once"):
        converse(said, template=many)


def test_reset_is_a_lost_connection(water: Template, springs: Any, wire: Any) -> None:
    ours, theirs = socket.socketpair()
    ours.sendall(wire.STATUS)
    with Channel(theirs) as channel:
        assert channel.next_message() is Message.STATUS
        channel.send(Message.NEEDINIT)
        ours.close()  # with NEEDINIT unread
        with pytest.raises(ConnectionLost, match="lost the connection"):
            channel.next_message()
        with pytest.raises(ConnectionLost, match="lost the connection"):
            channel.send(Message.READY)


def test_looking_ahead_takes_one_header_and_no_more(wire: Any) -> None:
    ours, theirs = socket.socketpair()
    with ours, Channel(theirs) as channel:
        channel.look_ahead()  # nothing there: does not wait
        ours.sendall(wire.GETFORCE[:5])
        channel.look_ahead()
        ours.sendall(wire.GETFORCE[5:] + wire.init("abc"))
        channel.look_ahead()
        channel.look_ahead()
        assert channel.next_message() is Message.GETFORCE
        assert channel.next_message() is Message.INIT
        assert channel.read_init() == "abc"


def test_header_on_its_way_is_waited_for(wire: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once; a server that says nothing after a structure is not waited for again."""
    monkeypatch.setattr("forcemap.ipi_driver.protocol.HEADER_SECONDS", 30.0)
    ours, theirs = socket.socketpair()
    with ours, Channel(theirs) as channel:
        late = threading.Timer(0.2, ours.sendall, [wire.GETFORCE])
        late.start()
        channel.look_ahead()
        late.join()
        theirs.setblocking(False)
        assert channel.next_message() is Message.GETFORCE
        theirs.settimeout(None)
        monkeypatch.setattr("forcemap.ipi_driver.protocol.HEADER_SECONDS", 0.01)
        channel.look_ahead()
        monkeypatch.setattr("forcemap.ipi_driver.protocol.HEADER_SECONDS", 10**6)
        channel.look_ahead()


def test_not_finite_positions_are_a_fault(converse: Converse, wire: Any) -> None:
    q = Q[0].copy()
    q[1, 2] = np.nan
    for structure in ((H, q), (np.full((3, 3), np.inf), Q[0])):
        said = wire.init() + b"POSDATA     " + np.tile(structure[0], (2, 1)).tobytes()
        said += struct.pack("=i", 3) + structure[1].tobytes() + wire.GETFORCE
        with pytest.raises(ForcemapError, match="not finite"):
            converse(said)


@pytest.mark.parametrize("batched", [False, True])
def test_singular_cells_are_a_fault(
    converse: Converse, wire: Any, tmp_path: Path, batched: bool
) -> None:
    write_potential(random_potential(["H", "O"], seed=1), tmp_path / "ho.forcemap")
    flat = H.copy()
    flat[:, 2] = flat[:, 1]
    said = wire.init("batch_size:2") if batched else wire.init()
    said += b"POSDATA     "
    count = struct.pack("=i", 3)
    if batched:
        cells = [H, H, flat, flat]
        said += count + b"".join(h.tobytes() for h in cells) + 2 * (5.0 * Q[0]).tobytes()
    else:
        said += 2 * flat.tobytes() + count + (5.0 * Q[0]).tobytes()
    with pytest.raises(ForcemapError, match="the cell is singular"):
        converse(said + wire.GETFORCE, potential=load(tmp_path / "ho.forcemap"))


def test_client_that_cannot_evaluate_waits_for_the_message_after_posdata(
    water: Template, springs: Any, wire: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ours, theirs = socket.socketpair()
    failed: list[Exception] = []

    def serve() -> None:
        with Channel(theirs) as channel:
            try:
                Client(channel, BeadEvaluator(springs.Springs(), water)).serve()
            except ForcemapError as error:
                failed.append(error)

    with ours:
        ours.settimeout(60)
        ours.sendall(wire.init() + wire.posdata(H, Q[0] * np.nan))
        client = threading.Thread(target=serve)
        client.start()
        client.join(0.3)
        ours.sendall(wire.GETFORCE)  # a broken pipe if the client has left
        assert ours.recv(1) == b""
        client.join(60)
    assert len(failed) == 1
