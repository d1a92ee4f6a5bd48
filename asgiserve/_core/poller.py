"""Poller: which sockets are ready, and the system calls on them. The pure twin of `_speedups/poller.pyx`.

Linux only, as epoll is. Sockets are numbers here, and none of them blocks: what cannot be done at once says so.
"""

import errno
import os
import select
import socket
from typing import Any, Optional

#: Whether this system has what the module is about.
HAS_POLLER = hasattr(select, "epoll")

#: What a socket can be ready for; the numbers of EPOLLIN and EPOLLOUT.
READABLE = 1
WRITABLE = 4
#: Told with READABLE, and of watched edges only: the other side has ended its output. The number of EPOLLRDHUP.
ENDING = 0x2000
#: Sockets that one wait() tells of.
MAX_READY = 128
_EDGES: int = select.EPOLLET if HAS_POLLER else 0


class Poller:
    """An epoll instance.

    Raises:
        OSError: the system gives none.
    """

    __slots__ = ("_epoll", "_ready")

    def __init__(self) -> None:
        self._epoll: Any = select.epoll()
        self._ready: list[tuple[int, int]] = []

    def fileno(self) -> int:
        """The descriptor, which is readable when any socket is ready; -1 once closed."""
        number: int = -1 if self._epoll.closed else self._epoll.fileno()
        return number

    def watch(self, fd: int, before: int, after: int) -> None:
        """Watch `fd` for `after` in place of `before`, each a sum of READABLE and WRITABLE; 0 is not to watch it.

        Raises:
            OSError: the system does not take that.
        """
        if before != after:
            self._change(fd, before, after)

    def watch_edges(self, fd: int, before: int, after: int) -> None:
        """Do so, and be told of what is there now and of what is new, each time only once.

        Raises:
            OSError: the system does not take that.
        """
        if after & READABLE:
            # Where the end of the input has come with data, reading those is not all there is to do.
            after += ENDING
        if before or after:
            self._change(fd, before, after + _EDGES if after else 0)

    def _change(self, fd: int, before: int, after: int) -> None:
        if self._epoll.closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if before == 0:
            self._epoll.register(fd, after)
        elif after == 0:
            self._epoll.unregister(fd)
        else:
            self._epoll.modify(fd, after)

    def wait(self) -> int:
        """Look what is ready now, and return the number of sockets that are."""
        self._ready = self._epoll.poll(0, MAX_READY)
        return len(self._ready)

    def ready_fd(self, index: int) -> int:
        """The socket; -1 where there is no such one any more."""
        return self._ready[index][0] if index < len(self._ready) else -1

    def ready_events(self, index: int) -> int:
        """What it is ready for. Any other number than these means that something has happened to the connection."""
        return self._ready[index][1] if index < len(self._ready) else 0

    def close(self) -> None:
        """End it; nothing is watched any more."""
        self._epoll.close()


def receive(fd: int, size: int) -> Optional[bytes]:
    """Return up to `size` bytes, none at the end of the input; None when nothing has come.

    Raises:
        OSError: the connection has failed.
    """
    try:
        return os.read(fd, size)
    except (BlockingIOError, InterruptedError):
        return None


def receive_into(fd: int, buffer: Any) -> int:
    """Read into a writable buffer; return the number of bytes, 0 at the end of the input, -1 when nothing has come.

    Raises:
        OSError: the connection has failed.
        ValueError: there is no room in the buffer, which would look like the end.
    """
    if not len(buffer):
        raise ValueError("an empty buffer to read into")
    data = receive(fd, len(buffer))  # not all Pythons have os.readv()
    if data is None:
        return -1
    memoryview(buffer)[: len(data)] = data
    return len(data)


def send(fd: int, data: bytes) -> int:
    """Return the number of bytes of `data` that were taken.

    Raises:
        OSError: the connection has failed.
    """
    try:
        return os.write(fd, data)
    except (BlockingIOError, InterruptedError):
        return 0


def send_last(fd: int, data: bytes) -> int:
    """Do so for bytes behind which the socket is closed at once: where it can be, they leave together with our end.

    Raises:
        OSError: the connection has failed.
    """
    return send(fd, data)  # to hold them back for the end takes a flag, and Python has no such call for a number


def send_pieces(fd: int, pieces: "list[bytes]", start: int) -> int:
    """Return the number of bytes that were taken of `pieces`, at most 64, the first one from `start` on.

    Raises:
        OSError: the connection has failed.
    """
    return send(fd, b"".join([memoryview(pieces[0])[start:], *pieces[1:64]]))  # nor os.writev()


def accept(listener: socket.socket) -> "tuple[int, Any]":
    """Take a connection that waits at `listener`; return its socket, which does not block, and its address.

    Raises:
        BlockingIOError: none waits.
        OSError: it could not be taken.
    """
    connection, address = listener.accept()
    connection.setblocking(False)
    return connection.detach(), address


def local_address(fd: int, family: int) -> Any:
    """Return our own address, as `socket` has it.

    Raises:
        OSError: there is none any more.
    """
    borrowed = socket.socket(family, socket.SOCK_STREAM, 0, fileno=fd)
    try:
        return borrowed.getsockname()
    finally:
        borrowed.setblocking(False)  # PyPy's has made it one that does
        borrowed.detach()
