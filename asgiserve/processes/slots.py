"""Which listening sockets the workers accept from: all from the same ones, or each from its own.

With sockets of their own the system spreads connections over the workers (SO_REUSEPORT). What waits at a socket can
only be accepted from that one, so each stays open in the parent for the worker that comes next in its slot, and where
there is none the other workers look after it.
"""

from __future__ import annotations

import socket
from typing import Protocol, Sequence

from ..addresses import TCP
from ..sockets import Listener, Listeners


class Process(Protocol):
    """What is needed of :class:`.process.WorkerProcess`."""

    looks_after: set[int]

    def lend(self, slot: int, sockets: Sequence[socket.socket]) -> None: ...


class Worker(Protocol):
    """What is needed of :class:`.supervisor.Worker`."""

    slot: int

    @property
    def process(self) -> Process: ...


class Slots:
    """The sockets of the workers, by slot. `listeners` are those that all share; with `own`, only where they are not of
    TCP, or have come from another program. They are closed by their owner."""

    def __init__(self, listeners: Listeners, own: bool) -> None:
        self._shared = [listener for listener in listeners if not (own and isinstance(listener.address, TCP))]
        self._first = [listener for listener in listeners if listener not in self._shared]
        self._listeners = listeners
        self._own: dict[int, list[Listener]] = {}

    def of(self, slot: int) -> list[socket.socket]:
        """What the worker of that slot accepts from. Raises OSError where there can be no socket for it."""
        own = self._own.get(slot)
        if own is None:
            own = self._own[slot] = self._open() if self._own else self._first
        return [listener.sock for listener in (*own, *self._shared)]

    def _open(self) -> list[Listener]:
        opened = Listeners()
        try:
            for listener in self._first:
                opened.add(listener._replace(sock=_open_beside(listener.sock)))
        except OSError:
            opened.close()
            raise
        for listener in opened:
            self._listeners.add(listener)
        return list(opened)

    def cover(self, serving: Sequence[Worker]) -> None:
        """Has the workers that serve look after the sockets of slots where nobody does, for as long as that is so."""
        there = {worker.slot for worker in serving}
        for slot, listeners in self._own.items() if self._first else ():
            for worker in serving:
                lent = slot in worker.process.looks_after
                if slot in there and lent:
                    worker.process.lend(slot, ())
                elif slot not in there and not lent:
                    worker.process.lend(slot, [listener.sock for listener in listeners])


def _open_beside(first: socket.socket) -> socket.socket:
    """One more socket at the address of `first`.

    The first one was bound without SO_REUSEPORT, so that a port which another program has is noticed when it begins to
    listen. It is let in only now.
    """
    first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock = socket.socket(first.family, first.type, first.proto)
    try:
        for name in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            sock.setsockopt(socket.SOL_SOCKET, name, 1)
        if first.family == socket.AF_INET6:
            only_ipv6 = first.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_ipv6)
        sock.bind(first.getsockname())
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock
