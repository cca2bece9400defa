"""What a server may say, at random: the driver answers or ends with a message, and in bounded time."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any

import numpy as np
import pytest
from forcemap.ipi_driver.client import Client
from forcemap.ipi_driver.evaluation import BeadEvaluator, Extras
from forcemap.ipi_driver.protocol import Channel, Message
from forcemap.ipi_driver.template import Template
from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.file.potential_file import as_potential
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

H = np.diag([20.0, 21.0, 22.0])
Q = np.random.default_rng(1).normal(size=(3, 3))

HEADERS = [message.header for message in Message]


def pieces(wire: Any) -> Any:
    """Messages as they should be, and damaged ones."""
    integers = st.integers(-(2**31), 2**31 - 1)
    near = st.sampled_from([-1, 0, 1, 2, 3, 4, 2**20, 2**31 - 1]) | integers
    numbers = st.floats(width=64) | st.sampled_from([0.0, 1e300, float("nan"), float("inf")])

    def positions(values: list[float]) -> Any:
        return np.resize(np.array(values), (3, 3))

    sound = st.sampled_from(
        [
            wire.STATUS,
            wire.GETFORCE,
            wire.init(),
            wire.init("batch_size:2"),
            wire.posdata(H, Q),
            wire.posdata(H, Q) + wire.GETFORCE,
            wire.batch([(H, Q), (H, 2 * Q)]) + wire.GETFORCE,
        ]
    )
    odd = st.one_of(
        st.sampled_from(HEADERS),
        st.binary(max_size=40),
        st.binary(min_size=12, max_size=12),
        near.map(lambda n: wire.init("abc", length=n)),
        st.text(max_size=20).map(lambda text: wire.init(f"batch_size:{text}")),
        near.map(lambda n: wire.init(f"batch_size:{n}")),
        near.map(lambda n: wire.posdata(H, Q, count=n)),
        near.map(lambda n: wire.batch([(H, Q)] * 2, count=n)),
        st.lists(numbers, min_size=1, max_size=9).map(
            lambda values: wire.posdata(H, positions(values)) + wire.GETFORCE
        ),
        st.binary(max_size=30).map(
            lambda name: b"POSDATA     " + np.int32([3, 20]).tobytes() + b"ipi_shm_" + name
        ),
    )
    return st.lists(sound | sound | odd, max_size=12).map(b"".join)


@pytest.mark.parametrize(
    ("size", "drawn"), [(None, False), (5, False), (None, True)], ids=["whole", "pieces", "drawn"]
)
def test_driver_survives_any_server(
    request: pytest.FixtureRequest,
    wire: Any,
    water: Template,
    tmp_path: Any,
    monkeypatch: Any,
    size: int | None,
    drawn: bool,
) -> None:
    """`drawn`: with a committee and grades in its answers."""
    if drawn:
        potential = as_potential(request.getfixturevalue("uncertain")(["H", "O"]))
        extras = Extras(committee=3, grade=True)
    else:
        potential, extras = request.getfixturevalue("springs").Springs(), Extras()
    monkeypatch.chdir(tmp_path)
    # A server that says no more: nobody waits for its next message.
    monkeypatch.setattr("forcemap.ipi_driver.client.LEAVE_SECONDS", 0.2)

    @settings(
        max_examples=300,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(said=pieces(wire))
    def converse(said: bytes) -> None:
        ours, theirs = socket.socketpair()
        ours.settimeout(60)
        answer = bytearray()

        def serve() -> None:
            try:
                step = size or max(len(said), 1)
                for start in range(0, len(said), step):
                    ours.sendall(said[start : start + step])
                ours.shutdown(socket.SHUT_WR)
                while part := ours.recv(1 << 16):
                    answer.extend(part)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the driver has left

        server = threading.Thread(target=serve)
        with ours:
            server.start()
            # Any other exception, or none with a hang, fails the test.
            with contextlib.suppress(ForcemapError), Channel(theirs) as channel:
                Client(channel, BeadEvaluator(potential, water, extras=extras)).serve()
            server.join(60)
            assert not server.is_alive()
        # Whatever came before the end are whole answers.
        assert answer[:12] in (b"", *HEADERS)

    converse()
