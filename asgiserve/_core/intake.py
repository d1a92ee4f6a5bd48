"""Intake: the protocol of a connection while a large body comes in.

Our own transports and uvloop's read into memory of their own and copy from there; with a buffered protocol they read
into that one's. That costs a call more for each read, so it is for large bodies only. The transports of asyncio need no
copy in any case.
"""

from typing import Any, Optional

from .block import Block
from .transport import Transport

#: Bytes of a body, still to come, from which on it pays.
INTAKE_SIZE = 128 * 1024
#: Bytes that are asked for at a time. More would have to be fetched from further than the processor's nearer caches.
MIN_READ = 16 * 1024
MAX_READ = 128 * 1024


def reads_with_a_copy(transport: Any) -> bool:
    """Whether `transport` is one of those that an Intake is good for."""
    return type(transport) is Transport or type(transport).__module__.startswith("uvloop")


class Intake:
    """Takes the place of `connection` at its transport from the first large body to the first request without one.

    It reads no byte beyond a body, little of what comes then, and hands everything on to the connection.
    """

    __slots__ = ("_connection", "_transport", "_block", "_size", "_left", "_is_active")

    def __init__(self, connection: Any, transport: Any) -> None:
        self._connection: Any = connection
        self._transport: Any = transport
        self._block: Block = Block()
        self._size: int = MAX_READ
        self._left: int = 0  # of the body, before the last read
        self._is_active: bool = False

    def begin(self) -> None:
        """Become the transport's protocol; the body that comes is large."""
        if not self._is_active:
            self._is_active = True
            self._size = MAX_READ
            self._switch(self)

    def _switch(self, protocol: Any) -> None:
        transport = self._transport
        if transport.is_closing():
            return
        # uvloop looks at the kind of a protocol when it begins to read; to our own transports it is all the same.
        is_reading = transport.is_reading()
        if is_reading:
            transport.pause_reading()
        transport.set_protocol(protocol)
        if is_reading:
            transport.resume_reading()

    def get_buffer(self, size_hint: int) -> Any:
        """Return where to read to."""
        self._left = self._connection.body_left()
        return self._block.view(min(self._size, self._left) if self._left > 0 else MIN_READ)

    def buffer_updated(self, size: int) -> None:
        """`size` bytes were read."""
        if size == self._size:
            self._size = min(size * 4, MAX_READ)
        elif size * 4 < self._size and self._left > self._size:
            self._size = max(self._size // 2, MIN_READ)  # a slow client: what is asked for is memory for a moment
        self._connection.data_received(self._block.take(size))
        left = self._connection.body_left()
        if left < 0 or (left == 0 and self._left <= 0):
            self._is_active = False
            protocol = self._transport.get_protocol()  # which may be a WebSocket by now
            self._switch(self._connection if protocol is self else protocol)

    def eof_received(self) -> bool:
        """The client ended its side."""
        return bool(self._connection.eof_received())

    def connection_lost(self, error: Optional[Exception]) -> None:
        """The transport is closed."""
        self._connection.connection_lost(error)

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """The transport's buffer has room again."""
        self._connection.resume_writing()
