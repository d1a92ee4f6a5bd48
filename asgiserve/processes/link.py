"""What a worker and its parent say to each other, over two one-way pipes.

A pipe that is closed is a message too: the other process has ended.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any, Callable, NamedTuple, Optional, Sequence

from .. import urgency
from ..metrics.snapshot import Snapshot
from ..sockets import from_fd
from .board import Seat

READY = "ready"
"""The worker accepts connections."""
BEAT = "beat"
"""The worker's event loop goes round; with a :class:`Snapshot`."""
STOPPING = "stopping"
"""The worker drains."""

# Orders are degrees of urgency. Unlike signals they do not add up: a worker that gets SIGTERM too, as service managers
# send it to all processes of a service, is in no more of a hurry for it.
RETIRE = urgency.RETIRE
"""Another worker has taken over: stop, and let clients take their time."""
STOP = urgency.DRAIN
"""Stop gracefully."""
HURRY = urgency.HURRY
"""Stop without waiting for running requests."""


class Message(NamedTuple):
    """What a worker says. ``snapshot`` comes with BEAT."""

    kind: str
    snapshot: Optional[Snapshot] = None


class Loan(NamedTuple):
    """An order: accept for the worker of a slot from its sockets, so many of which follow; with none, no more."""

    slot: int
    number: int


def send_loan(orders: Connection, slot: int, sockets: Sequence[socket.socket], pid: int) -> None:
    """Sends copies of these sockets to the worker with that process id. Raises OSError."""
    orders.send(Loan(slot, len(sockets)))
    for sock in sockets:
        reduction.send_handle(orders, sock.fileno(), pid)


class WorkerLink:
    """The worker's end. The server tells it how it is doing, as it would tell systemd.

    Nothing here waits for the parent: what does not fit into the pipe, because the parent does not read, is dropped.
    A message is written at once and as a whole, for it is smaller than what a pipe takes in one piece.

    ``seat`` is where the worker says how many connections it has, to the others who accept from the same sockets.
    """

    def __init__(self, orders: Connection, news: Connection, seat: Optional[Seat] = None) -> None:
        self.seat = seat
        self._orders = orders
        self._news = news

    def open(
        self,
        on_order: Callable[[int], Any],
        on_loan: Callable[[int, Sequence[socket.socket]], Any],
        on_end: Callable[[], Any],
    ) -> None:
        """Starts calling `on_order` with each order, in a thread, and `on_end` when the parent has ended. `on_loan` is
        called with the slot and the sockets of a worker that does not accept, without sockets when it does again."""
        if hasattr(os, "set_blocking"):
            with contextlib.suppress(OSError):  # Windows, whose pipes are of another kind
                os.set_blocking(self._news.fileno(), False)
        arguments = (on_order, on_loan, on_end)
        threading.Thread(target=self._listen, args=arguments, name="asgiserve-orders", daemon=True).start()

    def _listen(
        self,
        on_order: Callable[[int], Any],
        on_loan: Callable[[int, Sequence[socket.socket]], Any],
        on_end: Callable[[], Any],
    ) -> None:
        while True:
            try:
                order = self._orders.recv()
                if isinstance(order, Loan):
                    on_loan(order.slot, [self._receive() for _ in range(order.number)])
                    continue
            except (EOFError, OSError):
                on_end()
                return
            on_order(order)

    def _receive(self) -> socket.socket:
        return from_fd(reduction.recv_handle(self._orders))

    def _tell(self, message: Message) -> None:
        with contextlib.suppress(OSError):  # the pipe is full or closed
            self._news.send(message)

    def ready(self, loop: Any, status: str) -> None:
        """The worker accepts connections."""
        self._tell(Message(READY))

    def beat(self, snapshot: Snapshot) -> None:
        """The event loop goes round."""
        self._tell(Message(BEAT, snapshot))

    def stopping(self, status: str) -> None:
        """The drain begins."""
        self._tell(Message(STOPPING))

    def close(self) -> None:
        """The server has ended. The pipes close with the process."""
