"""Throttle: lets so many bytes per second out on one connection (`limit_rate_per_second`).

To the socket's transport it is the protocol; to the protocol that serves, be it HTTP, TLS or the PROXY protocol, it is
the transport, one that takes bytes slowly. So whoever writes waits as for a slow client, and only a connection that is
limited pays for it. What the bytes mean is others' business.

It is a token bucket: each second brings the right to send `rate` bytes, and as many can be saved up. So, in any span of
time, no more leaves than its share and one second's worth. What has to wait leaves every INTERVAL.
"""

from collections import deque
from typing import Any, Optional

from .state import ServerState

#: Seconds between two parts of what waits.
INTERVAL = 0.125


class Throttle:
    """The limit on one connection. A new one expects connection_made() from the socket's transport.

    Args:
        state: what the connections share.
        rate: bytes per second.
        connect: makes the protocol that serves.

    Attributes:
        rate: bytes per second.
    """

    __slots__ = (
        "rate",
        "_state",
        "_transport",
        "_protocol",
        "_credit",
        "_counted",
        "_pieces",
        "_size",
        "_timer",
        "_is_awaited",
        "_is_blocked",
        "_has_paused",
        "_is_closing",
        "_is_end_due",
    )

    def __init__(self, state: ServerState, rate: int, connect: Any) -> None:
        self.rate: int = rate
        self._state: ServerState = state
        self._transport: Any = None
        self._protocol: Any = connect()
        self._credit: float = rate  # bytes that may leave
        self._counted: float = state.loop.time()  # when the credit was, in the event loop's time
        self._pieces: Any = deque()  # what waits
        self._size: int = 0  # bytes of it
        self._timer: Any = None  # set while the credit is used up
        self._is_awaited: bool = False  # somebody who sends past this transport waits for credit
        self._is_blocked: bool = False  # the transport's buffer is full
        self._has_paused: bool = False  # the protocol was told to write no more
        self._is_closing: bool = False
        self._is_end_due: bool = False  # our side ends behind what waits

    # -- callbacks of the socket's transport

    def connection_made(self, transport: Any) -> None:
        """The socket's transport is ready."""
        self._transport = transport
        self._protocol.connection_made(self)

    def data_received(self, data: bytes) -> None:
        """Input came."""
        self._protocol.data_received(data)

    def eof_received(self) -> Optional[bool]:
        """The client ended its side.

        Returns:
            whether the transport stays open: it does while something waits.
        """
        stays: Optional[bool] = self._protocol.eof_received()
        if stays or not self._size:
            return stays
        self.close()
        return True

    def connection_lost(self, error: Optional[Exception]) -> None:
        """The socket's transport is closed."""
        self._drop()
        protocol = self._protocol
        self._protocol = None
        protocol.connection_lost(error)

    def pause_writing(self) -> None:
        """The buffer of the socket's transport is full."""
        self._is_blocked = True
        self._tell()

    def resume_writing(self) -> None:
        """The buffer of the socket's transport has room again."""
        self._is_blocked = False
        if self._timer is None:
            self._release()
        else:
            self._tell()

    # -- the limit

    def is_holding(self) -> bool:
        """Whether somebody waits for credit, and not for the client."""
        waits = self._size > 0 or self._is_awaited
        return waits and not self._is_blocked and self._transport.get_write_buffer_size() == 0

    def take(self, size: int) -> int:
        """Return how many of `size` bytes may be sent past this transport now; they count as sent.

        When there are none, the protocol is told to pause, and to go on as soon as there are some.
        """
        if self._timer is None:
            credit = self._count()
            if credit < size:
                self._wait()
            if credit > 0:
                size = min(size, credit)
                self._credit -= size
                return size
        self._is_awaited = True
        self._tell()
        return 0

    def give_back(self, size: int) -> None:
        """So many bytes that were taken were not sent after all."""
        self._credit += size

    def _count(self) -> int:
        """Return how many bytes may leave now."""
        now = self._state.loop.time()
        self._credit = min(self._credit + (now - self._counted) * self.rate, float(self.rate))
        self._counted = now
        return int(self._credit)

    def _wait(self) -> None:
        self._timer = self._state.loop.call_later(INTERVAL, self._on_timer, context=self._state.launcher.context)

    def _on_timer(self) -> None:
        self._timer = None
        self._is_awaited = False
        self._release()

    def _release(self) -> None:
        """Pass on as much as may leave, and tell the protocol when that was all."""
        if self._size and not self._is_blocked:
            if self._transport.is_closing():  # a write has failed
                self._drop()
                return
            self._pass_on(self._count())
            if self._size and not self._is_blocked:
                self._wait()
        self._tell()
        if not self._size:
            self._end()

    def _pass_on(self, credit: int) -> None:
        pieces = self._pieces
        passed = []
        while self._size and credit:
            piece = pieces.popleft()
            if len(piece) > credit:
                pieces.appendleft(piece[credit:])
                piece = piece[:credit]
            passed.append(piece)
            credit -= len(piece)
            self._size -= len(piece)
            self._credit -= len(piece)
        if passed:
            self._transport.write(passed[0] if len(passed) == 1 else b"".join(passed))

    def _tell(self) -> None:
        """Have the protocol write no more while anything waits: then its deadlines begin when everything has left."""
        pause = self._size > 0 or self._is_blocked or self._is_awaited
        if pause != self._has_paused and self._protocol is not None:
            self._has_paused = pause
            if pause:
                self._protocol.pause_writing()
            else:
                self._protocol.resume_writing()

    def _end(self) -> None:
        """Do what had to come behind what waited."""
        if self._is_end_due:
            self._is_end_due = False
            try:
                self._transport.write_eof()
            except OSError:  # the client has reset the connection
                self._is_closing = True
        if self._is_closing:
            self._transport.close()

    def _drop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._pieces.clear()
        self._size = 0

    # -- the transport of the protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the socket's transport knows, and as `throttle` this object."""
        return self if name == "throttle" else self._transport.get_extra_info(name, default)

    def set_protocol(self, protocol: Any) -> None:
        """Give the connection to another protocol."""
        self._protocol = protocol

    def get_protocol(self) -> Any:
        """Return the protocol that is served."""
        return self._protocol

    def is_reading(self) -> bool:
        """Whether input is taken."""
        reading: bool = self._transport.is_reading()
        return reading

    def pause_reading(self) -> None:
        """Take no input for now."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take input again."""
        self._transport.resume_reading()

    def write(self, data: bytes) -> None:
        """Pass `data` on, now or when there is credit for it; nothing happens when this side has ended."""
        size = len(data)
        if self._is_closing or self._is_end_due or not size:
            return
        if not self._size and self._timer is None and not self._is_blocked and size <= self._count():
            self._credit -= size
            self._transport.write(data)
            return
        self._pieces.append(memoryview(data))
        self._size += size
        if self._timer is None:
            self._release()
        else:
            self._tell()

    def writelines(self, chunks: "list[bytes]") -> None:
        """Write all of `chunks`."""
        for chunk in chunks:
            self.write(chunk)

    def get_write_buffer_size(self) -> int:
        """Return how many bytes have not left yet."""
        size: int = self._transport.get_write_buffer_size()
        return size + self._size

    def get_write_buffer_limits(self) -> Any:
        """Return the low-water and the high-water mark of the socket's transport."""
        return self._transport.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: Optional[int] = None, low: Optional[int] = None) -> None:
        """Set the high-water and the low-water mark of the socket's transport."""
        self._transport.set_write_buffer_limits(high, low)

    def can_write_eof(self) -> bool:
        """Whether this side can be ended alone."""
        can: bool = self._transport.can_write_eof()
        return can

    def write_eof(self) -> None:
        """End this side when what was written has left."""
        if self._size:
            self._is_end_due = True
        else:
            self._transport.write_eof()

    def is_closing(self) -> bool:
        """Whether the connection is closed, or being closed."""
        closing: bool = self._is_closing or self._transport.is_closing()
        return closing

    def close(self) -> None:
        """Close when what was written has left."""
        self._is_closing = True
        if not self._size:
            self._transport.close()

    def abort(self) -> None:
        """Close at once; what has not left is lost."""
        self._is_closing = True
        self._drop()
        self._transport.abort()
