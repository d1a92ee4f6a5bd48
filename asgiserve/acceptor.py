"""Accepting connections from listening sockets of every kind, without limit or while there are fewer than a limit.

The servers of asyncio and uvloop cannot stop accepting without closing their socket. The :class:`Acceptor` can; it is
used when ``limit_connections`` is set, in worker processes that share a socket, where it lets the others have their
share, and wherever connections are not read and written by the event loop's transports.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from typing import TYPE_CHECKING, Any, Callable, Collection, Optional, Sequence

if TYPE_CHECKING:
    from .processes.board import Seat

logger = logging.getLogger("asgiserve.error")

_CHECK = 0.01
"""Seconds between two looks for a free place while there is none."""
_AT_ONCE = 16
"""Connections that are accepted before others are looked at."""
_YIELD = 0.001
"""Seconds for which a connection is left to processes that have fewer."""
_SILENCE = 60.0
"""Seconds before it is said again that there is no place."""
_PAUSE = 1.0
"""Seconds to wait when the system has no file descriptor or memory for a connection."""
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Places:
    """How many connections there may be at a time, over all listening sockets.

    `connections` are those that there are; without a `limit` (None) there is always a place. ``coming`` (int) counts
    those that are accepted, but not among `connections` yet. With a `seat`, other processes accept from the same
    sockets.
    """

    def __init__(self, connections: Collection[Any], limit: Optional[int], seat: Optional[Seat] = None) -> None:
        self.limit = limit
        self.coming = 0
        self.is_shared = seat is not None
        self._seat = seat
        self._connections = connections
        self._silent_until = 0.0

    def is_free(self) -> bool:
        """Whether there is a place for one more."""
        return self.limit is None or len(self._connections) + self.coming < self.limit

    def is_others_turn(self) -> bool:
        """Whether another process has fewer connections, and is to accept before this one does."""
        return self._seat is not None and self._seat.is_ahead(len(self._connections) + self.coming)

    def close(self) -> None:
        """Tells the other processes that nothing is accepted here any more."""
        if self._seat is not None:
            self._seat.leave()

    def complain(self, now: float) -> None:
        """Says, once in a while, that there is no place. `now` is in seconds."""
        if now >= self._silent_until:
            self._silent_until = now + _SILENCE
            logger.warning("The limit of %d connections is reached; more have to wait.", self.limit)


async def accept_from(
    loop: asyncio.AbstractEventLoop,
    sock: socket.socket,
    connect: Callable[[], Any],
    backlog: int,
    places: Places,
    reactor: Any = None,
) -> Any:
    """Starts accepting connections from the listening socket `sock`; `connect` makes the protocol of a connection.

    With a `reactor` (the stack's ``Reactor``) that one reads and writes what is accepted, otherwise the loop does.
    Returns an ``asyncio.Server`` or :class:`Acceptor`.
    """
    if places.limit is not None or places.is_shared or reactor is not None:
        return Acceptor(loop, sock, connect, places, reactor)
    if sock.family != getattr(socket, "AF_UNIX", None):
        return await loop.create_server(connect, sock=sock, backlog=backlog)
    options: dict[str, Any] = {"sock": sock, "backlog": backlog}
    try:
        # From Python 3.13 on loops remove the file, also one that other processes still accept from.
        return await loop.create_unix_server(connect, cleanup_socket=False, **options)  # type: ignore[call-arg]
    except TypeError:
        return await loop.create_unix_server(connect, **options)  # one that does not know the option does no such thing


async def stop_accepting(loop: asyncio.AbstractEventLoop, servers: Sequence[Any]) -> None:
    """Closes what :func:`accept_from` has made. What is accepted by then has become a connection when this returns."""
    for server in servers:
        if not _let_go(loop, server):
            server.close()
    for _ in range(3):
        await asyncio.sleep(0)
    for server in servers:
        server.close()


def _let_go(loop: asyncio.AbstractEventLoop, server: Any) -> bool:
    """Has one of asyncio's servers, and no other, accept no more: when it is closed at once, it drops what it has
    accepted and not yet set up."""
    if not isinstance(server, asyncio.Server):
        return False
    try:
        for sock in server.sockets:
            loop.remove_reader(sock.fileno())
    except NotImplementedError:  # the proactor loop of Windows
        return False
    return True


class Entrance:
    """All that connections come in by: the server's own listening sockets, and those that it looks after for others.

    ``servers`` are the objects that accept. The sockets are closed with the entrance.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connect: Callable[[], Any],
        backlog: int,
        places: Places,
        reactor: Any = None,
    ) -> None:
        self.servers: list[Any] = []
        self._loop = loop
        self._reactor = reactor
        self._connect = connect
        self._backlog = backlog
        self._places = places
        self._lent: dict[int, list[Any]] = {}
        self._changes = asyncio.Lock()
        self._is_closed = False

    async def open(self, sock: socket.socket) -> Any:
        """Starts accepting from a listening socket; returns what does so."""
        server = await accept_from(self._loop, sock, self._connect, self._backlog, self._places, self._reactor)
        self.servers.append(server)
        return server

    async def look_after(self, slot: int, sockets: Sequence[socket.socket]) -> None:
        """Accepts from these sockets too, in place of the worker of that slot; without any, no more."""
        async with self._changes:
            earlier = self._lent.pop(slot, [])
            await stop_accepting(self._loop, earlier)
            self.servers[:] = [server for server in self.servers if server not in earlier]
            lent = self._lent[slot] = []
            for sock in sockets:
                try:
                    sock.setblocking(False)
                    lent.append(await self.open(sock))
                except OSError as exc:
                    sock.close()
                    logger.error("Cannot accept connections for worker %d: %s", slot, exc)
            if self._is_closed:
                await stop_accepting(self._loop, lent)

    async def close(self) -> None:
        """Stops accepting. What is accepted by then has become a connection when this returns."""
        self._is_closed = True
        await stop_accepting(self._loop, self.servers)


class Acceptor:
    """Accepts from the listening socket `sock` while there are `places`, a few connections each time the loop goes
    round: one, where the loop serves them or others accept too.

    `connect` makes the protocol of a connection, and the `reactor` serves it, or without one the loop.
    ``sockets`` and :meth:`close` are as in ``asyncio.Server``; the rest of the connections waits in the socket's
    backlog, or is accepted by another process that has the socket too.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        connect: Callable[[], Any],
        places: Places,
        reactor: Any = None,
    ) -> None:
        self._loop = loop
        self._reactor = reactor
        self._watcher = loop if reactor is None else reactor
        self._sock = sock
        self._connect = connect
        self._places = places
        self._coming: set[asyncio.Task[None]] = set()
        self._timer: Optional[asyncio.TimerHandle] = None
        self._is_closed = False
        sock.setblocking(False)
        if reactor is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # connections have it from their listener
        self._watch()

    @property
    def sockets(self) -> Sequence[socket.socket]:
        """The listening socket, until closed."""
        return () if self._is_closed else (self._sock,)

    def is_serving(self) -> bool:
        """Whether connections are accepted, now or when there is a place."""
        return not self._is_closed

    def close(self) -> None:
        """Stops accepting. What is accepted is served."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        else:
            self._watcher.remove_reader(self._sock.fileno())
        self._sock.close()
        self._places.close()

    async def wait_closed(self) -> None:
        """Returns when what was accepted has become connections."""
        if self._coming:
            await asyncio.wait(self._coming)

    def _watch(self) -> None:
        self._timer = None
        try:
            self._watcher.add_reader(self._sock.fileno(), self._look)
        except NotImplementedError:  # the proactor loop of Windows
            self._timer = self._loop.call_later(_CHECK, self._watch)
            self._look()

    def _watch_again(self) -> bool:
        """Watches the socket; tries later where the system has no memory for that. Returns whether it is done."""
        try:
            self._watch()
        except OSError as exc:
            logger.error("Cannot watch for connections: %s", exc.strerror)
            self._timer = self._loop.call_later(_PAUSE, self._watch_again)
            return False
        return True

    def _rest(self, seconds: float, then: Callable[[], object]) -> None:
        """Lets whatever waits be, for some time."""
        if self._timer is not None:
            self._timer.cancel()
        else:
            self._watcher.remove_reader(self._sock.fileno())
        self._timer = self._loop.call_later(seconds, then)

    def _look(self) -> None:
        """Something waits."""
        if not self._places.is_free():
            self._places.complain(self._loop.time())
            self._rest(_CHECK, self._watch_again)
        elif self._places.is_others_turn():
            self._rest(_YIELD, self._end_yield)
        else:
            self._accept()

    def _end_yield(self) -> None:
        if self._watch_again() and self._places.is_free():
            self._accept()  # nobody else has: they are busy

    def _accept(self) -> None:
        if self._reactor is None:
            self._accept_for_loop()
        else:
            self._accept_for_reactor()

    def _accept_for_reactor(self) -> None:
        for _ in range(1 if self._places.is_shared else _AT_ONCE):
            try:
                self._reactor.accept(self._sock, self._connect)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as exc:
                self._recover(exc)
                return
            except Exception:
                logger.exception("A connection could not be set up")
            if self._is_closed or not self._places.is_free():
                return  # what has just been accepted can do either

    def _accept_for_loop(self) -> None:
        # Nothing comes between the look for a place and this: the place cannot go to another listening socket.
        try:
            sock, _ = self._sock.accept()
        except (BlockingIOError, InterruptedError):
            return  # another process has it
        except OSError as exc:
            self._recover(exc)
            return
        self._places.coming += 1
        task = self._loop.create_task(self._serve(sock))
        self._coming.add(task)
        task.add_done_callback(self._coming.discard)

    def _recover(self, exc: OSError) -> None:
        if exc.errno in _EXHAUSTED:
            logger.error("Cannot accept a connection: %s", exc.strerror)
            self._rest(_PAUSE, self._watch_again)
        else:
            self._rest(_CHECK, self._watch_again)  # the client has gone again, most likely

    async def _serve(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        try:
            await self._loop.connect_accepted_socket(self._connect, sock)
        except Exception:
            sock.close()
            logger.exception("A connection could not be set up")
        finally:
            self._places.coming -= 1
