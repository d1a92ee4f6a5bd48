"""Output: the sending side of a transport. It collects, writes, waits for the peer to take something, and ends."""

import os
import socket
import struct
import sys
from math import inf
from typing import Any, Optional

from .batch import Deferred
from .flow import Step, Waiters
from .state import ServerState
from .transport import Transport

if sys.platform != "win32":
    from fcntl import ioctl
    from termios import TIOCOUTQ

#: Bytes that are collected while input is processed before they go to the transport.
CORK_LIMIT = 64 * 1024
#: Mean size of what was collected above which it is not joined, where the transport can gather.
GATHER_SIZE = 4 * 1024
#: Bytes behind a head that are not copied behind it, where the transport cannot gather: another call costs less.
JOIN_LIMIT = 64 * 1024
#: `struct linger`: on, for no time.
_LINGER_NOT = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)


class Output(Deferred):
    """Sends for one connection. attach() gives it the transport.

    Attributes:
        is_corked: whether what is written is collected.
        is_paused: whether the transport asked to write no more for now.
        is_closing: whether nothing more is sent, because the connection is being closed or is lost.
        is_lost: whether the transport can send nothing more.
        is_direct: whether the transport is known to have nothing, such as TLS, between itself and the socket.
        deadline: when the peer has to have taken something, in the event loop's time.
    """

    __slots__ = (
        "is_corked",
        "is_paused",
        "is_closing",
        "is_lost",
        "is_direct",
        "deadline",
        "_state",
        "_transport",
        "_own",
        "_write",
        "_gathers",
        "_waiters",
        "_is_deferred",
        "_corked",
        "_corked_more",
        "_corked_size",
        "_unwritten",
        "_watched",
    )

    def __init__(self, state: ServerState) -> None:
        self.is_corked: bool = False
        self.is_paused: bool = False
        self.is_closing: bool = False
        self.is_lost: bool = False
        self.is_direct: bool = False
        self.deadline: float = inf
        self._state: ServerState = state
        self._transport: Any = None
        self._own: Optional[Transport] = None  # the same one, where it is of ours
        self._write: Any = None  # its write()
        self._gathers: bool = False
        self._waiters: Optional[Waiters] = None
        self._is_deferred: bool = False
        self._corked: Optional[bytes] = None  # the first piece that was collected
        self._corked_more: Optional[list[bytes]] = None  # all of them, where there are more
        self._corked_size: int = 0
        self._unwritten: int = 0  # bytes that the peer had still to take when the deadline was set
        self._watched: int = -1  # the socket that is written to past the transport, and takes no more for now

    def attach(self, transport: Any) -> None:
        """Take the transport to write to."""
        self._transport = transport
        self._own = transport if type(transport) is Transport else None
        self.is_direct = self._own is not None
        self._write = transport.write
        # The writelines() of asyncio's own transports, from Python 3.12 on, never asks to pause. Those of ours do.
        self._gathers = (
            self._own is not None
            or type(transport).__module__.startswith("uvloop")
            or transport.get_extra_info("tls_extension") is not None
            or transport.get_extra_info("throttle") is not None
        )

    # -- writing

    def cork(self) -> None:
        """Collect what is written until uncork(): responses to requests that came together leave together."""
        self.is_corked = True

    def uncork(self) -> None:
        """Write what was collected, now or together with other connections."""
        if self._is_deferred:
            return
        if self._corked is not None and self._state.batch.wants():
            self.defer()
        else:
            self.is_corked = False
            self.flush()

    def defer(self) -> None:
        """Collect what is written until the end of the loop's turn, or a little less: it may be over at once."""
        if not self._is_deferred:
            self._is_deferred = self.is_corked = True
            self._state.batch.add(self)

    def release(self) -> None:
        """The end of what defer() began."""
        self._is_deferred = self.is_corked = False
        self.flush()

    def write(self, data: bytes) -> None:
        """Write, or collect; nothing happens when the connection is closing."""
        if self.is_closing:
            return
        if self.is_corked:
            self._collect(data)
        elif not self._is_dead():
            if self._state.batch.wants():
                self._collect(data)
                self.defer()
            else:
                self._put(data)

    def _collect(self, data: bytes) -> None:
        if self._corked is None:
            self._corked = data
        elif self._corked_more is None:
            self._corked_more = [self._corked, data]
        else:
            self._corked_more.append(data)
        self._corked_size += len(data)
        if self._corked_size > CORK_LIMIT and not self._is_dead():
            self.flush()

    def write_pair(self, first: bytes, second: bytes) -> None:
        """Write both, one behind the other, without joining them where the transport can do that or they are large."""
        if self.is_closing or self._is_dead():
            return
        self.flush()
        if self.is_paused:
            self._unwritten += len(first) + len(second)
        if self._gathers:
            self._transport.writelines([first, second])
        elif len(second) > JOIN_LIMIT:
            self._transport.write(first)
            self._transport.write(second)
        else:
            self._transport.write(first + second)

    def flush(self) -> None:
        """Write what was collected so far, joined unless that is much."""
        corked = self._corked
        if corked is None:
            return
        more = self._corked_more
        size = self._corked_size
        self._drop_corked()
        if self.is_lost:
            return
        if more is None:
            self._put(corked)
        elif self._gathers and size > GATHER_SIZE * len(more):
            if self.is_paused:
                self._unwritten += size
            self._transport.writelines(more)
        else:
            self._put(b"".join(more))

    def _drop_corked(self) -> None:
        self._corked = None
        self._corked_more = None
        self._corked_size = 0

    def _put(self, data: bytes) -> None:
        if self.is_paused:
            self._unwritten += len(data)
        if self._own is not None:
            self._own.write(data)
        else:
            self._write(data)

    def _is_dead(self) -> bool:
        """Whether a write has failed and connection_lost() has yet to come: who writes on and on has to be told."""
        if self._own.is_closing() if self._own is not None else self._transport.is_closing():
            self.is_closing = self.is_lost = True
        return self.is_lost

    # -- waiting

    def pause(self) -> None:
        """The transport's buffer is full: senders wait, and the peer has to take something."""
        self.is_paused = True
        self._watch()

    def resume(self) -> None:
        """The transport's buffer has room again."""
        self.is_paused = False
        if not self.is_closing:
            self.deadline = inf
        self._wake()

    def is_writable(self) -> bool:
        """Whether a sender may go on: there is room, or nobody left to write to."""
        return not self.is_paused or self.is_closing

    def wait(self) -> Any:
        """Return a future that is done when writing may be possible again."""
        if self._waiters is None:
            self._waiters = Waiters(self._state.loop)
        return self._waiters.add()

    def _wake(self) -> None:
        if self._waiters is not None:
            self._waiters.wake()

    def wake(self) -> None:
        """Let who waits look again."""
        self._wake()

    def watch(self, fd: int) -> None:
        """A sender writes to the socket `fd` itself, and that takes no more: the peer has to take something."""
        self._watched = fd
        self._watch()

    def unwatch(self) -> None:
        """The socket may have room again, or the sender has given up."""
        self._watched = -1
        if not self.is_closing:
            self.deadline = inf

    def _watch(self) -> None:
        self._unwritten = self._size_unwritten()
        self.deadline = self._state.now + self._state.timeout_write

    def _size_unwritten(self) -> int:
        size: int = self._transport.get_write_buffer_size()
        if self._watched >= 0:
            size += _size_queued(self._watched)
        return size

    def is_stuck(self) -> bool:
        """Whether the peer took nothing until the deadline; otherwise the time starts again."""
        if self.is_held():
            self._watch()
            return False
        unwritten = self._size_unwritten()
        if 0 < unwritten < self._unwritten:
            self._watch()
            return False
        return True

    def is_held(self) -> bool:
        """Whether what was written waits for the connection's own limit (see `throttle`), and not for the peer."""
        throttle = self._transport.get_extra_info("throttle")
        return throttle is not None and throttle.is_holding()

    # -- the end

    def close(self) -> None:
        """Close when what was written has left."""
        if self.is_lost:
            return
        if self._own is not None and self._corked is not None and self._corked_more is None:
            last = self._corked
            self._drop_corked()
            self._own.write_last(last)
        else:
            self.flush()
        self.is_closing = True
        self._watch()
        self._transport.close()
        self._wake()

    def end(self) -> bool:
        """End our side and leave the other open; False when the transport cannot do that."""
        if not self._transport.can_write_eof():
            return False
        self.flush()
        self.is_closing = True
        try:
            self._transport.write_eof()
        except OSError:  # the peer has reset the connection
            return False
        self._wake()
        return True

    def reset(self) -> None:
        """Reset the connection, which no peer takes for an orderly end; what it has not taken is lost."""
        if self._transport is not None:
            self.flush()
            sock = self._transport.get_extra_info("socket")
            if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
                try:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
                except OSError:
                    pass  # it is closed already
            self._transport.abort()
        self.is_closing = True
        self._drop_corked()
        self._wake()

    def lose(self) -> None:
        """The transport is gone."""
        self.is_closing = self.is_lost = True
        self.deadline = inf
        self._drop_corked()
        self._wake()


def _size_queued(fd: int) -> int:
    """Bytes in the buffer of the socket `fd` that the peer has not acknowledged; 0 where the system does not tell."""
    if sys.platform == "win32":
        return 0
    try:
        return int.from_bytes(ioctl(fd, TIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:
        return 0


class Drained(Step):
    """Done when the peer has taken enough of what was written, or is gone."""

    __slots__ = ("_output",)

    def __init__(self, output: Output) -> None:
        self._output: Output = output

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        """Return a future while writing is paused."""
        output = self._output
        if output.is_writable():
            raise StopIteration
        return output.wait()
