"""Reactor: one epoll instance for all sockets of an event loop.

The transports of an event loop are made for every use, and it calls back for each event on each of them. Here the loop
watches one epoll instance in place of all sockets and calls back once for all that are ready. Linux only, as epoll is:
see `is_supported()`.
"""

import os
import socket
from contextvars import copy_context
from typing import Any, Optional

from .flow import raise_soon
from .poller import HAS_POLLER, READABLE, Poller, accept

#: Bytes that one read brings at the most.
READ_SIZE = 256 * 1024
#: What ends the process. Of a callback of its own, uvloop would only report it.
EXITS = (SystemExit, KeyboardInterrupt)


def is_supported() -> bool:
    """Whether this system has what a Reactor needs; an event loop may lack it all the same."""
    return HAS_POLLER


class Watched:
    """What a Reactor watches a socket for."""

    __slots__ = ()

    def on_ready(self, events: int) -> None:
        """The socket is ready for `events`."""
        raise NotImplementedError

    def read_ahead(self) -> int:
        """Read what is to be worked on in this turn of the loop; return the number of bytes."""
        return 0

    def leave_over(self) -> None:
        """The turn has broken off: what there was to be done in it is done in another one."""

    def abort(self) -> None:
        """The reactor is closed."""

    def finish(self) -> None:
        """What was begin() has come to its end()."""


class Callback(Watched):
    """Calls a function whenever a socket is readable."""

    __slots__ = ("_loop", "_function")

    def __init__(self, loop: Any, function: Any) -> None:
        self._loop: Any = loop
        self._function: Any = function

    def on_ready(self, events: int) -> None:
        """The socket is readable, or it is broken."""
        try:
            self._function()
        except Exception as error:  # it may well fail again, and the others are to have their turn all the same
            self._loop.call_exception_handler({"message": f"{self._function!r} failed", "exception": error})


class Reactor:
    """Watches sockets for `loop`, which calls back for all that are ready together.

    Args:
        transport: makes the one of a connection from this reactor, the socket, its family and the client's address.

    Raises:
        OSError: the system has no epoll instance for it.
        NotImplementedError: the loop cannot watch one.
    """

    __slots__ = ("loop", "_transport", "_poller", "_watched", "_ended", "_is_in_turn", "_is_end_due", "context")

    def __init__(self, loop: Any, transport: Any) -> None:
        self.loop: Any = loop
        self._transport: Any = transport
        self._poller: Poller = Poller()
        # By socket, which the system numbers from 0 on; a transport is there until it ends, watched or not.
        self._watched: list[Optional[Watched]] = []
        self._ended: list[Watched] = []  # those whose protocols are to be told
        self._is_in_turn: bool = False
        self._is_end_due: bool = False  # the loop is going to call back for them
        self.context: Any = copy_context()  # for callbacks: not that of an application, in which one may be asked for
        loop.add_reader(self._poller.fileno(), self._turn)

    def accept(self, listener: socket.socket, connect: Any) -> None:
        """Take a connection that waits at `listener`, and serve it with a protocol that `connect` makes.

        Raises:
            BlockingIOError: none waits.
            OSError: it could not be taken.
        """
        fd, address = accept(listener)
        try:
            protocol = connect()
            transport = self._transport(self, fd, listener.family, address)
        except BaseException:
            os.close(fd)
            raise
        transport.begin(protocol)

    def add_reader(self, fd: int, function: Any) -> None:
        """Call `function` whenever the socket `fd` is readable.

        Raises:
            OSError: it cannot be watched.
        """
        self._poller.watch(fd, 0, READABLE)
        self._put(fd, Callback(self.loop, function))

    def remove_reader(self, fd: int) -> None:
        """Do so no more, if it was done."""
        if self._at(fd) is not None:
            self._watched[fd] = None
            self._poller.watch(fd, READABLE, 0)

    def _at(self, fd: int) -> Optional[Watched]:
        return self._watched[fd] if 0 <= fd < len(self._watched) else None

    def _put(self, fd: int, watched: Watched) -> None:
        self._watched.extend([None] * (fd + 1 - len(self._watched)))
        self._watched[fd] = watched

    def begin(self, fd: int, transport: Watched) -> None:
        """Serve `transport`, whose socket is `fd`, from now on to end()."""
        self._put(fd, transport)

    def watch(self, fd: int, before: int, after: int) -> None:
        """Watch the socket of a transport for `after` in place of `before`; 0 is not to watch it.

        The transport is told of what is there now and of what is new, each time only once: the system need not look
        again at each socket that has been read.

        Raises:
            OSError: the system does not take that.
        """
        self._poller.watch_edges(fd, before, after)

    def end(self, fd: int, transport: Watched) -> None:
        """Have `transport` finish() at the end of the turn."""
        self._watched[fd] = None
        self._ended.append(transport)
        if not self._is_in_turn and not self._is_end_due:
            self._is_end_due = True
            self.loop.call_soon(self._end_all, context=self.context)

    def close(self) -> None:
        """Close everything that is left."""
        fd = self._poller.fileno()
        if fd < 0:
            return
        self.loop.remove_reader(fd)
        self._is_in_turn = True  # what ends now is told below
        for watched in self._watched.copy():
            if watched is not None:
                watched.abort()
        self._is_in_turn = False
        self._end_all()
        self._watched.clear()
        self._poller.close()

    def _turn(self) -> None:
        poller = self._poller
        count = 0
        self._is_in_turn = True
        try:
            count = poller.wait()
            if count > 1:
                self._read_ahead(count)
            for index in range(count):
                # One that is closed meanwhile is not there any more.
                watched = self._at(poller.ready_fd(index))
                if watched is not None:
                    watched.on_ready(poller.ready_events(index))
        except BaseException as error:
            self._leave_over(count)
            if not isinstance(error, EXITS):
                raise
            raise_soon(self.loop, error)
        finally:
            self._is_in_turn = False
            self._end_all()

    def _read_ahead(self, count: int) -> None:
        """Read from the sockets that are ready, before anything is done with it.

        Many times the same system call in a row costs less: its code, and afterwards ours, stays in the processor's
        caches.
        """
        poller = self._poller
        room = READ_SIZE
        for index in range(count):
            if poller.ready_events(index) == READABLE:
                watched = self._at(poller.ready_fd(index))
                if watched is not None:
                    room -= watched.read_ahead()
                    if room <= 0:
                        break

    def _leave_over(self, count: int) -> None:
        """The system does not tell again of what it has told."""
        for index in range(count):
            watched = self._at(self._poller.ready_fd(index))
            if watched is not None:
                watched.leave_over()

    def _end_all(self) -> None:
        self._is_end_due = False
        while self._ended:
            ended = self._ended
            self._ended = []
            for transport in ended:
                transport.finish()
