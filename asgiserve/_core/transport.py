"""Transport: one connection that is read and written by ourselves, when a Reactor says that there is something to do.

What is seen of it is as in asyncio; TLS, limits on the rate and the like are protocols on top of it.
"""

import os
import socket
from collections import deque
from typing import Any, Optional

from .flow import raise_soon
from .poller import (
    ENDING,
    READABLE,
    WRITABLE,
    local_address,
    receive,
    receive_into,
    send_last,
    send_pieces,
)
from .poller import send as send_bytes
from .reactor import EXITS, READ_SIZE, Reactor, Watched

#: Bytes that wait to be sent before the protocol is told to write no more.
HIGH_WATER = 64 * 1024
#: Pieces of them that are sent at once.
MAX_PIECES = 64


class Transport(Watched):
    """One connection: an asyncio transport of the socket `fd`, which belongs to it. It reads once begin() is called.

    Args:
        family: of the socket's addresses.
        peer: the client's address, as `socket` has it.
    """

    __slots__ = (
        "_reactor",
        "_fd",
        "_family",
        "_peer",
        "_socket",
        "_protocol",
        "_data_received",
        "_buffered",
        "_ahead",
        "_is_left",
        "_events",
        "_is_paused",
        "_has_input_ended",
        "_is_closing",
        "_is_ended",
        "_is_end_due",
        "_has_paused",
        "_pieces",
        "_start",
        "_size",
        "_high",
        "_low",
        "_error",
    )

    def __init__(self, reactor: Reactor, fd: int, family: int, peer: Any) -> None:
        self._reactor: Reactor = reactor
        self._fd: int = fd
        self._family: int = family
        self._peer: Any = peer
        self._socket: Any = None  # an object for the socket, once somebody asked for one
        self._protocol: Any = None
        self._data_received: Any = None  # the protocol's
        self._buffered: Any = None  # the protocol, if it has the memory to read into
        self._ahead: Optional[bytes] = None  # what was read, and not yet given to the protocol
        self._is_left: bool = False  # that is of an earlier turn, and what came since then may have been told already
        self._events: int = 0  # what the socket is watched for
        self._is_paused: bool = False  # reading is
        self._has_input_ended: bool = False
        self._is_closing: bool = False
        self._is_ended: bool = False  # nothing can be sent any more, and the protocol is told soon
        self._is_end_due: bool = False  # our side is to end behind what waits, or has ended
        self._has_paused: bool = False  # the protocol was told to write no more
        self._pieces: Any = None  # what waits to be sent
        self._start: int = 0  # where in the first of them
        self._size: int = 0  # bytes of it
        self._high: int = HIGH_WATER
        self._low: int = HIGH_WATER // 4
        self._error: Optional[BaseException] = None  # why it has ended

    def begin(self, protocol: Any) -> None:
        """Serve with `protocol`, and read what has come already: a short connection is never watched."""
        self._reactor.begin(self._fd, self)
        try:
            self.set_protocol(protocol)
            protocol.connection_made(self)
        except BaseException as error:
            self._blame(error, "connection_made")
        if not self._is_closing and not self._is_paused:
            self._read()
        self._watch()

    # -- what happens to the socket

    def on_ready(self, events: int) -> None:
        """The socket is ready for `events`."""
        if self._size and events != READABLE and events != READABLE + ENDING:
            self._send_more()
        if events != WRITABLE:
            if self._is_reading():
                self._read()
                if events != READABLE:
                    self._watch(True)  # there may be an end behind what was read
            else:
                self._watch()  # reading was paused, and it takes a call to the system to say so: only if it matters

    def leave_over(self) -> None:
        """The turn has broken off: what there was to be done in it is done in another one."""
        self.read_soon()
        self._watch(True)

    def _is_reading(self) -> bool:
        return not (self._is_paused or self._has_input_ended or self._is_closing)

    def _watch(self, anew: bool = False) -> None:
        """Watch the socket for what is to be done, where that is not what it is watched for.

        Args:
            anew: whether what it was ready for may be still there: then that is to be told once more.
        """
        events = 0
        if self._is_reading():
            events = READABLE
        if self._size:
            events += WRITABLE
        if events != self._events or anew:
            before = self._events
            self._events = events
            try:
                self._reactor.watch(self._fd, before, events)
            except OSError as error:  # there is no memory for it, or it is more than the system's limit
                if not self._is_ended:
                    self._report(error, "a connection cannot be watched")
                    self._end(error)

    def read_ahead(self) -> int:
        """Read what the protocol is to get in this turn of the loop; return the number of bytes."""
        if self._buffered is not None or self._ahead is not None or not self._is_reading():
            return 0
        try:
            self._ahead = self._receive()
        except Exception as error:
            self._fail(error)
        return 0 if self._ahead is None else len(self._ahead)

    def _receive(self) -> Optional[bytes]:
        data = receive(self._fd, READ_SIZE)
        if data is not None and len(data) == READ_SIZE:
            self._watch(True)
        return data

    def _read(self) -> None:
        if self._buffered is not None:
            self._read_into()
            return
        data = self._ahead
        if data is not None:
            self._take_ahead(None)
        else:
            try:
                data = self._receive()
            except Exception as error:
                self._fail(error)
                return
        if data:
            try:
                self._data_received(data)
            except BaseException as error:
                self._blame(error, "data_received")
        elif data is not None:
            self._end_input()

    def _read_into(self) -> None:
        protocol = self._buffered
        try:
            buffer = protocol.get_buffer(-1)
        except BaseException as error:
            self._blame(error, "get_buffer")
            return
        try:
            if self._ahead is not None:
                size = self._copy_into(buffer)
            else:
                size = receive_into(self._fd, buffer)
                if size >= len(buffer):
                    self._watch(True)
        except Exception as error:
            self._fail(error)
            return
        if size > 0:
            try:
                protocol.buffer_updated(size)
            except BaseException as error:
                self._blame(error, "buffer_updated")
        elif size == 0:
            self._end_input()

    def _copy_into(self, buffer: Any) -> int:
        """Do as receive_into() with what was read for another protocol, before this one took over."""
        ahead = self._ahead
        assert ahead is not None
        view = memoryview(buffer).cast("B")
        size = min(len(view), len(ahead))
        view[:size] = ahead[:size]
        if ahead and not size:
            raise ValueError("an empty buffer to read into")
        self._take_ahead(ahead[size:] or None)
        self.read_soon()
        return size

    def _take_ahead(self, rest: Optional[bytes]) -> None:
        self._ahead = rest
        if self._is_left and rest is None:
            self._is_left = False
            self._watch(True)

    def read_soon(self) -> None:
        """Go on with what was read ahead, if anything was: the poller does not know of it any more."""
        if self._ahead is not None:
            self._is_left = True
            self._reactor.loop.call_soon(self._read_again, context=self._reactor.context)

    def _read_again(self) -> None:
        if self._ahead is not None and self._is_reading():
            self._read()

    def _end_input(self) -> None:
        self._has_input_ended = True
        stays = False
        try:
            stays = bool(self._protocol.eof_received())
        except BaseException as error:
            self._blame(error, "eof_received")
        if not stays:
            self.close()
        self._watch()  # the end of the input is an event that does not go away

    def pause_reading(self) -> None:
        """Have the protocol get nothing more for now."""
        self._is_paused = True

    def resume_reading(self) -> None:
        """Go on reading."""
        self._is_paused = False
        self.read_soon()
        self._watch()

    def is_reading(self) -> bool:
        """Whether the protocol gets what comes."""
        return self._is_reading()

    # -- writing

    def write(self, data: Any) -> None:
        """Send `data` (bytes-like), and keep what the socket does not take at once.

        Raises:
            RuntimeError: our side has ended.
        """
        if self._is_end_due:
            raise RuntimeError("write() after write_eof()")
        if self._is_closing or not data:
            return
        self._send(data if type(data) is bytes else bytes(data), False)

    def write_last(self, data: bytes) -> None:
        """Send `data` like write(); close() follows at once, and so both may leave together."""
        if data and not (self._is_closing or self._is_end_due):
            self._send(data, True)

    def _send(self, piece: bytes, is_last: bool) -> None:
        sent = 0
        if not self._size:
            try:
                sent = send_last(self._fd, piece) if is_last else send_bytes(self._fd, piece)
            except OSError as error:
                self._end(error)
                return
        if sent < len(piece):
            self._keep(piece, sent)
            self._await_room()

    def writelines(self, pieces: Any) -> None:
        """Send `pieces` (an iterable of bytes-like objects), without joining them, and keep what is not taken at once.

        Raises:
            RuntimeError: our side has ended.
        """
        if self._is_end_due:
            raise RuntimeError("writelines() after write_eof()")
        if self._is_closing:
            return
        batch: list[bytes] = [data if type(data) is bytes else bytes(data) for data in pieces if data]
        sent = 0
        if not self._size and batch:
            try:
                sent = send_pieces(self._fd, batch, 0)
            except OSError as error:
                self._end(error)
                return
        # All of them are kept before the protocol is told anything: it may write, or close, when it is told to pause.
        for piece in batch:
            if sent < len(piece):
                self._keep(piece, sent)
                sent = 0
            else:
                sent -= len(piece)
        if self._size:
            self._await_room()

    def _keep(self, piece: bytes, sent: int) -> None:
        """Have `piece`, of which some bytes were sent, wait for the socket."""
        if self._pieces is None:
            self._pieces = deque()
        if not self._size:
            self._start = sent
        self._pieces.append(piece)
        self._size += len(piece) - sent

    def _await_room(self) -> None:
        self._watch()
        self._pause_protocol()

    def _send_more(self) -> None:
        pieces = self._pieces
        batch: list[bytes] = []
        for piece in pieces:
            batch.append(piece)
            if len(batch) == MAX_PIECES:
                break
        try:
            sent = send_pieces(self._fd, batch, self._start)
        except OSError as error:
            self._end(error)
            return
        self._size -= sent
        sent += self._start
        while pieces and sent >= len(pieces[0]):
            sent -= len(pieces.popleft())
        self._start = sent
        if not pieces:
            self._pieces = None  # an idle connection keeps no more than it needs
        self._resume_protocol()
        if not self._size and not self._is_ended:
            if self._is_closing:
                self._end(None)
            elif self._is_end_due:
                self._end_output()
        self._watch(self._size > 0)  # there may be room for more pieces

    def _end_output(self) -> None:
        try:
            self._get_socket().shutdown(socket.SHUT_WR)
        except OSError as error:
            self._end(error)

    def _pause_protocol(self) -> None:
        if self._size > self._high and not self._has_paused:
            self._has_paused = True
            try:
                self._protocol.pause_writing()
            except BaseException as error:
                self._report(error, "protocol.pause_writing() failed")

    def _resume_protocol(self) -> None:
        if self._has_paused and self._size <= self._low:
            self._has_paused = False
            try:
                self._protocol.resume_writing()
            except BaseException as error:
                self._report(error, "protocol.resume_writing() failed")

    def set_write_buffer_limits(self, high: Optional[int] = None, low: Optional[int] = None) -> None:
        """Pause the protocol above `high` bytes that wait to be sent, until they are no more than `low`.

        Raises:
            ValueError: they are not numbers of bytes in that order.
        """
        if high is None:
            high = HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not 0 <= low <= high:
            raise ValueError(f"high ({high}) must be >= low ({low}) must be >= 0")
        self._high = high
        self._low = low
        self._pause_protocol()

    def get_write_buffer_limits(self) -> "tuple[int, int]":
        """Return (low, high)."""
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        """Return the number of bytes that wait to be sent."""
        return self._size

    def can_write_eof(self) -> bool:
        """Whether our side can end alone: it can."""
        return True

    def write_eof(self) -> None:
        """End our side, behind what waits.

        Raises:
            OSError: the connection is lost.
        """
        if self._is_end_due or self._is_closing:
            return
        self._is_end_due = True
        if not self._size:
            self._get_socket().shutdown(socket.SHUT_WR)

    # -- what is known

    def get_protocol(self) -> Any:
        """Return the protocol."""
        return self._protocol

    def set_protocol(self, protocol: Any) -> None:
        """Go on with another protocol; one with get_buffer() has the memory to read into."""
        self._protocol = protocol
        self._buffered = protocol if hasattr(protocol, "get_buffer") else None
        self._data_received = None if self._buffered is not None else protocol.data_received

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return `peername`, `sockname` or `socket`, as asyncio has them; `default` for anything else."""
        if name == "peername":
            return self._peer
        if name == "sockname" and self._fd >= 0:
            try:
                return local_address(self._fd, self._family)
            except OSError:
                return default
        if name == "socket" and self._fd >= 0:
            return self._get_socket()
        return default

    def _get_socket(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.socket(self._family, socket.SOCK_STREAM, 0, fileno=self._fd)
            self._socket.setblocking(False)  # it does not; the object is to know that
        sock: socket.socket = self._socket
        return sock

    # -- the end

    def is_closing(self) -> bool:
        """Whether it is closed or about to be."""
        return self._is_closing

    def close(self) -> None:
        """Close, once what waits has been sent."""
        if not self._is_closing:
            self._is_closing = True
            if not self._size:
                self._end(None)

    def abort(self) -> None:
        """Close at once; what waits is not sent."""
        self._end(None)

    def _blame(self, error: BaseException, where: str) -> None:
        """The protocol has failed, and with it the connection."""
        self._report(error, f"Fatal error: protocol.{where}() call failed.")
        self._end(error)

    def _fail(self, error: Exception) -> None:
        """Reading has failed. That a connection is lost is nothing to report; that there is no memory is."""
        if not isinstance(error, OSError):
            self._report(error, "Fatal error: a connection could not be read.")
        self._end(error)

    def _report(self, error: BaseException, message: str) -> None:
        loop = self._reactor.loop
        if isinstance(error, EXITS):
            raise_soon(loop, error)
        else:
            loop.call_exception_handler(
                {"message": message, "exception": error, "transport": self, "protocol": self._protocol}
            )

    def _end(self, error: Optional[BaseException]) -> None:
        if self._is_ended:
            return
        self._is_ended = self._is_closing = True
        self._error = error
        if self._pieces is not None:
            self._pieces.clear()
        self._size = 0
        self._watch()
        self._reactor.end(self._fd, self)

    def finish(self) -> None:
        """For the reactor: tell the protocol, and close the socket."""
        try:
            self._protocol.connection_lost(self._error)
        except BaseException as error:
            self._report(error, "protocol.connection_lost() failed")
        self._protocol = self._data_received = self._buffered = self._ahead = self._error = None
        fd = self._fd
        self._fd = -1
        try:
            if self._socket is not None:
                self._socket.close()
            else:
                os.close(fd)
        except OSError as error:  # somebody else has closed it, which is worth knowing
            self._report(error, "a connection could not be closed")
