"""Which listening sockets the workers accept from: all from the same ones, or each from its own.

With sockets of their own the system spreads connections over the workers (SO_REUSEPORT). What waits at a socket can
only be accepted from that one, so each stays open in the parent for the worker that comes next in its slot, and where
there is none the other workers look after it.
"""

from __future__ import annotations

import socket
from typing import Any, Optional, Protocol, Sequence

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
        self._listeners = listeners
        self._shared = [listener for listener in listeners if not (own and isinstance(listener.address, TCP))]
        #: For each address the sockets by slot; what is there at first is no slot's own, unless it was in the program
        #: that has handed it over.
        self._own: dict[Any, dict[Optional[int], Listener]] = {}
        for listener in listeners:
            if listener not in self._shared:
                self._own.setdefault(listener.sock.getsockname(), {})[listener.slot] = listener

    def of(self, slot: int) -> list[socket.socket]:
        """What the worker of that slot accepts from. Raises OSError where there can be no socket for it."""
        for by_slot in self._own.values():
            if slot in by_slot:
                continue
            free = by_slot.pop(None, None)
            if free is None:
                first = next(iter(by_slot.values()))
                free = first._replace(sock=_open_beside(first.sock))
                self._listeners.add(free)
            by_slot[slot] = free._replace(slot=slot)
        return [*self._sockets(slot), *(listener.sock for listener in self._shared)]

    def _sockets(self, slot: Optional[int]) -> list[socket.socket]:
        return [by_slot[slot].sock for by_slot in self._own.values() if slot in by_slot]

    def all(self) -> list[Listener]:
        """All sockets, with the slots whose own they are."""
        return [*self._shared, *(listener for by_slot in self._own.values() for listener in by_slot.values())]

    def cover(self, serving: Sequence[Worker]) -> None:
        """Has the workers that serve look after the sockets of slots where nobody does, for as long as that is so."""
        there = {worker.slot for worker in serving}
        for slot in {slot for by_slot in self._own.values() for slot in by_slot if slot is not None}:
            for worker in serving:
                lent = slot in worker.process.looks_after
                if slot in there and lent:
                    worker.process.lend(slot, ())
                elif slot not in there and not lent:
                    worker.process.lend(slot, self._sockets(slot))


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
