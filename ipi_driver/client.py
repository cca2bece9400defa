"""The conversation with i-PI: connects, answers until the server ends, leaves in good order.

When a client dies (i-PI 3.3.1, ``ipi/interfaces/sockets.py``; tried with 2 to 100,000 atoms)
---------------------------------------------------------------------------------------------
i-PI gives the structure to another client, or waits for one, if the client dies during the
evaluation, while it sends its answer, or while i-PI still writes a structure that is larger than the
socket's buffers (some 200 kB, 9,000 atoms). So that this holds during the evaluation, the client
first reads the message that follows the structure (`Channel.look_ahead`).

i-PI waits for ever if the client is killed in the milliseconds between the end of i-PI's writing
and the end of the client's reading. The system then resets the connection; ``recv_into`` in
``Driver._recv_forces_bulk``, in batches in ``DriverSocket.recvall``, raises ConnectionResetError where
only ``socket.timeout`` is caught; this ends the thread that polls, and nobody sets the
``_event_done`` for which the step waits; ``<timeout>`` does not help. With ``<consolidate_messages>
False`` this moment is safe, but not the writing of a large structure: ``Driver.sendpos`` raises the
broken pipe in a thread of the pool, and the job stays "Running" until its ``<timeout>`` (none by
default). No client can prevent either. ``forcemap pimd`` notices that its driver has gone, stops i-PI,
and the same command goes on from the last checkpoint.

A client that does not take a whole message within 0.1 s (a stopped process, a slow network, hundreds
of MB) is dropped by ``sendall`` in ``Driver.dispatch_send``; here this is "the server closed the
connection in the middle of a message". i-PI doubles the time for clients that connect later, so
start the driver again, or use ``mode='shm'``, where structures do not go through the socket.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from forcemap.ipi_driver.connection import InetAddress, UnixAddress, connect
from forcemap.ipi_driver.evaluation import BeadEvaluator, Extras, PotentialLike
from forcemap.ipi_driver.exchange import Exchange, open_exchange
from forcemap.ipi_driver.protocol import (
    Channel,
    ConnectionLost,
    Message,
    ProtocolError,
    announced_batch_size,
)
from forcemap.ipi_driver.template import Template

__all__ = ["Client", "run_driver"]

LEAVE_SECONDS = 5.0
"""Seconds that a client which cannot evaluate waits for the message it has to take along."""

logger = logging.getLogger(__name__)


def run_driver(
    potential: PotentialLike | Sequence[PotentialLike],
    template: Template,
    address: UnixAddress | InetAddress,
    *,
    skin: float = 0.5,
    threads: int = 1,
    timeout: float = 60.0,
    extras: Extras | None = None,
) -> str:
    """Serve an i-PI until it ends; returns how it ended.

    Args:
        potential: one, or a sequence of two or more, a committee (`BeadEvaluator`).
        template: elements in i-PI's order.
        address: where i-PI listens.
        skin: of the neighbour lists, Å.
        threads: threads of an evaluation.
        timeout: seconds to wait for i-PI to listen.
        extras: what i-PI shall get beside the answers, see `BeadEvaluator`.

    Raises:
        ForcemapError: no connection, a connection that broke, a server that does not keep to the
            protocol or has another number of atoms, a structure that cannot be evaluated.
    """
    evaluator = BeadEvaluator(potential, template, skin, threads, extras)
    with Channel(connect(address, timeout)) as channel:
        logger.info("connected to %s: %s", address, template.describe())
        try:
            farewell = Client(channel, evaluator).serve()
        finally:
            if evaluator.tally.structures:
                logger.info("%s", evaluator.tally.line())
    return f"{farewell} after {evaluator.evaluations} evaluations"


class Client:
    """One connection's conversation."""

    def __init__(self, channel: Channel, evaluator: BeadEvaluator) -> None:
        """Prepare; nothing is sent or read before `serve`."""
        self._channel = channel
        self._evaluator = evaluator
        self._state = Message.NEEDINIT
        self._batch_size = 1
        self._exchange: Exchange | None = None
        self._extras: Sequence[str] = ()

    def serve(self) -> str:
        """Answer the server until it ends; returns how it ended.

        Raises:
            ForcemapError: as in `run_driver`.
        """
        try:
            return self._converse()
        finally:
            if self._exchange is not None:
                self._exchange.close()

    def _converse(self) -> str:
        channel = self._channel
        while True:
            message = channel.next_message()
            logger.debug("%s in state %s", message and message.value, self._state.value)
            match message:
                case Message.STATUS:
                    channel.send(self._state)
                case Message.INIT:
                    self._batch_size = announced_batch_size(channel.read_init())
                    self._state = Message.READY
                case Message.POSDATA if self._state is not Message.NEEDINIT:
                    self._evaluate()
                    self._state = Message.HAVEDATA
                case Message.GETFORCE if self._state is Message.HAVEDATA:
                    assert self._exchange is not None
                    self._exchange.send(self._extras)
                    self._state = Message.READY
                case Message.EXIT:
                    return "the server said EXIT"
                case None if self._state is not Message.HAVEDATA:
                    return "the server closed the connection"
                case None:
                    raise ConnectionLost("the server closed the connection without its forces")
                case _:
                    raise ProtocolError(
                        f"the server sent {message.value} to a client in state {self._state.value}"
                    )

    def _evaluate(self) -> None:
        """Read the structures and evaluate them.

        A client that cannot takes the server's next message along before it leaves. i-PI then requeues
        the structure; it would wait for ever for a client that just vanished.
        """
        try:
            if self._exchange is None:
                self._exchange = open_exchange(
                    self._channel, self._evaluator.n_atoms, self._batch_size
                )
            self._exchange.receive()
            self._extras = self._evaluator.evaluate(self._exchange.batch)
        except (ProtocolError, ConnectionLost):
            raise
        except BaseException:
            self._channel.await_request(LEAVE_SECONDS)
            raise
