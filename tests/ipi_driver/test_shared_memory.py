"""i-PI's mode="shm": a server's segments made here, without the code under test."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from forcemap.ipi_driver.client import Client
from forcemap.ipi_driver.evaluation import BeadEvaluator
from forcemap.ipi_driver.protocol import AtomCountError, Channel, ProtocolError
from forcemap.ipi_driver.shared_memory import Segment, announcement, remove_left
from forcemap.ipi_driver.template import Template
from forcemap.potentials.errors import ForcemapError

KINDS = ("pos", "h", "ih", "pot", "force", "vir")
H = 20.0 * np.eye(3)
Q = np.random.default_rng(1).normal(size=(3, 3, 3))

Converse = Callable[..., tuple[str, bytes]]


class Segments:
    """Six segments for `n` structures of `atoms` atoms, filled with `structures`."""

    def __init__(self, structures: Any, tag: str) -> None:
        n, atoms = len(structures), len(structures[0])
        shapes = [(n, atoms, 3), (n, 3, 3), (n, 3, 3), (n,), (n, atoms, 3), (n, 3, 3)]
        self.memory, self.arrays = {}, {}
        for kind, shape in zip(KINDS, shapes, strict=True):
            name = f"ipi_shm_{os.getpid()}_{tag}_{kind}"
            memory = SharedMemory(name, create=True, size=8 * int(np.prod(shape)))
            self.memory[kind] = memory
            self.arrays[kind] = np.ndarray(shape, buffer=memory.buf)
        self.arrays["pos"][:] = structures
        self.arrays["h"][:] = H

    def names(self) -> bytes:
        names = [memory.name.lstrip("/").encode() for memory in self.memory.values()]
        return b"".join(struct.pack("=i", len(name)) + name for name in names)

    def free(self) -> None:
        self.arrays.clear()
        for memory in self.memory.values():
            memory.close()
            memory.unlink()  # fails if the client has removed it


@pytest.fixture
def make() -> Iterator[Callable[[Any], Segments]]:
    made: list[Segments] = []

    def segments(structures: Any) -> Segments:
        made.append(Segments(structures, str(len(made))))
        return made[-1]

    yield segments
    for one in made:
        one.free()


def posdata(count: int, names: bytes = b"") -> bytes:
    return b"POSDATA     " + struct.pack("=i", count) + names


@pytest.mark.parametrize("size", [None, 1, 13])
@pytest.mark.parametrize("count", [1, 3])
def test_answers_go_to_the_segments(
    converse: Converse, wire: Any, make: Any, springs: Any, water: Any, count: int, size: int | None
) -> None:
    segments = make(Q[:count])
    text = f"batch_size:{count}" if count > 1 else " "
    said = (
        wire.STATUS + wire.init(text) + posdata(3, segments.names()) + wire.GETFORCE
        + wire.STATUS + posdata(3) + wire.GETFORCE + wire.EXIT
    )  # fmt: skip
    farewell, answer = converse(said, size)
    assert farewell == "the server said EXIT"
    extras = struct.pack("=i", 0) * count
    reply = b"FORCEREADY  " + extras
    assert answer == wire.NEEDINIT + reply + wire.READY + reply
    for n in range(count):
        exact = springs.Springs().answer(Q[n] / 1.8897261, water.numbers)
        assert segments.arrays["pot"][n] == pytest.approx(exact.energy * 0.036749326, rel=1e-13)
        np.testing.assert_allclose(
            segments.arrays["force"][n], exact.forces * 0.036749326 / 1.8897261, rtol=1e-13
        )
        np.testing.assert_allclose(
            segments.arrays["vir"][n], exact.virial * 0.036749326, rtol=1e-13
        )


def test_wrong_atom_count_leaves_in_order(
    make: Any, wire: Any, springs: Any, water: Template
) -> None:
    segments = make(np.zeros((1, 5, 3)))
    ours, theirs = socket.socketpair()
    with ours:
        ours.settimeout(60)
        ours.sendall(wire.init() + posdata(5, segments.names()) + wire.GETFORCE)
        with Channel(theirs) as channel, pytest.raises(AtomCountError, match=r"5 atoms.* 3"):
            Client(channel, BeadEvaluator(springs.Springs(), water)).serve()
        assert ours.recv(1) == b"", "no reset: with a byte unread i-PI would hang"


def test_segments_too_small_for_the_atoms_are_refused(
    converse: Converse, wire: Any, make: Any
) -> None:
    segments = make(np.zeros((1, 2, 3)))
    with pytest.raises(ForcemapError, match=r"has \d+ bytes, expected 72"):
        converse(wire.init() + posdata(3, segments.names()) + wire.GETFORCE)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (b"\xff\xff\xff\x7f" + b"ipi_shm_" * 9, "segment's name of 2147483647 bytes"),
        (struct.pack("=i", 13) + b"ipi_shm_1_pot", "as the name of a segment for pos"),
    ],
)
def test_absurd_names_are_refused(
    converse: Converse, wire: Any, names: bytes, message: str
) -> None:
    with pytest.raises(ProtocolError, match=message):
        converse(wire.init() + posdata(3, names) + wire.GETFORCE)


def test_names_with_slashes_and_missing_segments_are_refused() -> None:
    with pytest.raises(ForcemapError, match="as the name of shared memory"):
        Segment("ipi_shm_../../etc/passwd")
    with pytest.raises(ForcemapError, match=r"cannot use .* must run on i-PI's machine"):
        Segment("ipi_shm_0_0_pos")


def test_segment_of_another_client_is_refused(converse: Converse, wire: Any, make: Any) -> None:
    segments = make(Q[:1])
    other = os.open(f"/dev/shm/{segments.memory['pos'].name.lstrip('/')}", os.O_RDWR)
    try:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ForcemapError, match="two clients were given the same shared memory"):
            converse(wire.init() + posdata(3, segments.names()) + wire.GETFORCE)
    finally:
        os.close(other)


# i-PI leaves it to Python to close the sockets it accepts.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_clients_whom_ipi_gives_one_name_are_refused(springs: Any, address: str) -> None:
    """i-PI's own server: two clients join while it has no work, and get segments of one name.

    The first one reads its names when the second's segments have replaced its own; without a refusal
    i-PI would take the zeros that stand in the first one's.
    """
    ipi_sockets = pytest.importorskip("ipi.interfaces.sockets")
    forcefields = pytest.importorskip("ipi.engine.forcefields")
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("no /proc: only the lock tells of a second client")
    server = ipi_sockets.InterfaceSocket(address=address, mode="shm", timeout=0)
    server.requests = []
    server.open()
    errors: list[BaseException] = []
    sent = threading.Event()

    class Late(Channel):
        def peek(self, count: int) -> bytes:
            assert sent.wait(60)
            return super().peek(count)

    def serve(end: socket.socket) -> None:
        template = Template(np.array([1, 8], dtype=np.int32), np.ones(3, dtype=bool))
        end.connect(f"/tmp/ipi_{address}")
        try:
            with Late(end) as channel:
                Client(channel, BeadEvaluator(springs.Springs(), template)).serve()
        except ForcemapError as error:
            errors.append(error)

    # Both made before i-PI accepts one: the numbers of its files are then those it would see alone.
    ends = [socket.socket(socket.AF_UNIX) for _ in range(2)]
    clients = [threading.Thread(target=serve, args=[end]) for end in ends]
    try:
        for number, client in enumerate(clients):
            client.start()
            while len(server.clients) <= number:
                server.pool_update()
        names = {driver._shm_prefix for driver in server.clients}
        assert len(names) == 1, "i-PI has learnt to give each client its own"
        for n in range(2):
            request = forcefields.ForceRequest(
                id=n, pos=np.ones(6), active=np.arange(6), cell=(H, H), pars=" ",
                status="Queued", start=-1, offset=0.0,
            )  # fmt: skip
            server.requests.append(request)
        at_work = threading.Timer(1.0, sent.set)  # i-PI waits for answers in the next line
        at_work.start()
        server.pool_distribute()
        for client in clients:
            client.join(60)
    finally:
        sent.set()
        server.close()
        server.executor.shutdown()
    assert [request["status"] for request in server.requests] == ["Queued"] * 2
    assert len(errors) == 2
    for error in errors:
        assert "two clients were given the same shared memory" in str(error)


@pytest.mark.parametrize("batches", ["", "<batch_size>2</batch_size>"])
def test_second_client_changes_no_number(
    ipi_in: Callable[[Path], Any], helpers: Any, tmp_path: Path, batches: str
) -> None:
    pytest.importorskip("ipi")
    atoms = Atoms("OH", [[0.5, 0.0, 0.2], [1.5, 0.3, 0.0]], cell=[8, 8, 8], pbc=True)
    tables = []
    for clients in (1, 2):
        run = ipi_in(tmp_path / f"{clients}")
        run.start(atoms, run.unix(batches, "shm"), steps=50, beads=4)
        template = str(run.folder / "init.xyz")
        running = [helpers.springs(run.address, template=template) for _ in range(clients)]
        for client in running:
            output, errors = client.communicate(timeout=120)
            assert client.returncode == 0, errors
            assert "after 0 evaluations" not in output
        assert run.wait() == 0, run.log()
        tables.append(run.table())
    assert tables[0][-1, 0] == 50
    np.testing.assert_array_equal(tables[0], tables[1])


def test_client_that_ends_leaves_the_segments(make: Any, tmp_path: Path) -> None:
    """Python's own class would let its resource tracker remove them at this process's exit."""
    segments = make(Q[:1])
    name = segments.memory["pos"].name.lstrip("/")
    code = (
        "import sys; from forcemap.ipi_driver.shared_memory import Segment;"
        "s = Segment(sys.argv[1]); a = s.array((1, 3, 3)); print(a.sum()); a[:] = 1.0; s.close()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, name], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) == pytest.approx(Q[0].sum())
    assert done.stderr == ""
    assert (segments.arrays["pos"] == 1.0).all()
    SharedMemory(name).close()


@pytest.mark.parametrize("clients", [1, 2])
def test_killed_client_is_replaced_and_nothing_is_left(
    ipi: Any, helpers: Any, clients: int
) -> None:
    pytest.importorskip("ipi")
    atoms = Atoms("OH", [[0.5, 0.0, 0.2], [1.5, 0.3, 0.0]], cell=[8, 8, 8], pbc=True)
    ipi.start(atoms, ipi.unix(mode="shm"), steps=10, beads=4)
    hanging = helpers.springs(ipi.address, "hang")
    deadline = time.monotonic() + 120
    while not (ipi.folder / "hanging").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    hanging.kill()
    hanging.communicate(timeout=120)
    running = [helpers.springs(ipi.address) for _ in range(clients)]
    for client in running:
        _, errors = client.communicate(timeout=120)
        assert client.returncode == 0, errors
    assert ipi.wait() == 0
    assert ipi.table()[-1, 0] == 10
    assert not list(Path("/dev/shm").glob(f"ipi_shm_{ipi.process.pid}_*"))


def test_only_segments_of_dead_processes_are_removed(make: Any, tmp_path: Path) -> None:
    """Of this process, which lives; of a dead one; and one that has replaced what was announced."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(60)
    log = tmp_path / "driver.log"
    live = [Segment(m.name.lstrip("/")) for m in make(Q[:1]).memory.values()]
    memory = [
        SharedMemory(f"ipi_shm_{gone.pid}_{tag}_pos", create=True, size=8) for tag in ("7", "8")
    ]
    try:
        dead, replaced = (Segment(one.name.lstrip("/")) for one in memory)
        lines = announcement(live), announcement([dead]), announcement([replaced]) + "9"
        log.write_text("".join(f"forcemap driver: {line}\n" for line in lines))
        assert remove_left(log) == [memory[0].name.lstrip("/")]
        assert not Path(f"/dev/shm/{memory[0].name.lstrip('/')}").exists()
        assert Path(f"/dev/shm/{memory[1].name.lstrip('/')}").exists()
        assert remove_left(log) == []
        assert remove_left(tmp_path / "none.log") == []
        for segment in (*live, dead, replaced):
            segment.close()
    finally:
        for one in memory:
            one.close()
            with contextlib.suppress(FileNotFoundError):
                one.unlink()
