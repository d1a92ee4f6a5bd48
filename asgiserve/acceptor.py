"""Accepting connections from listening sockets of every kind, without limit or while there are fewer than a limit.

The servers of asyncio and uvloop cannot stop accepting without closing their socket. The :class:`Acceptor` can; it is
used when ``limit_connections`` is set.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from typing import Any, Callable, Collection, Optional, Sequence

logger = logging.getLogger("asgiserve.error")

_CHECK = 0.01
"""Seconds between two looks for a free place while there is none."""
_SILENCE = 60.0
"""Seconds before it is said again that there is no place."""
_PAUSE = 1.0
"""Seconds to wait when the system has no file descriptor or memory for a connection."""
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Places:
    """How many connections there may be at a time, over all listening sockets.

    `connections` are those that there are; without a `limit` (None) there is always a place. ``coming`` (int) counts
    those that are accepted, but not among `connections` yet.
    """

    def __init__(self, connections: Collection[Any], limit: Optional[int]) -> None:
        self.limit = limit
        self.coming = 0
        self._connections = connections
        self._silent_until = 0.0

    def is_free(self) -> bool:
        """Whether there is a place for one more."""
        return self.limit is None or len(self._connections) + self.coming < self.limit

    def complain(self, now: float) -> None:
        """Says, once in a while, that there is no place. `now` is in seconds."""
        if now >= self._silent_until:
            self._silent_until = now + _SILENCE
            logger.warning("The limit of %d connections is reached; more have to wait.", self.limit)


async def accept_from(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, connect: Callable[[], Any], backlog: int, places: Places
) -> Any:
    """Starts accepting connections from the listening socket `sock`; `connect` makes the protocol of a connection.

    Returns an ``asyncio.Server`` or :class:`Acceptor`.
    """
    if places.limit is not None:
        return Acceptor(loop, sock, connect, places)
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


class Acceptor:
    """Accepts from the listening socket `sock` while there are `places`.

    `connect` makes the protocol of a connection. ``sockets`` and :meth:`close` are as in ``asyncio.Server``; the rest
    of the connections waits in the socket's backlog, or is accepted by another process that has the socket too.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, connect: Callable[[], Any], places: Places
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._connect = connect
        self._places = places
        self._task: asyncio.Task[None] = loop.create_task(self._accept())

    @property
    def sockets(self) -> Sequence[socket.socket]:
        """The listening socket, until closed."""
        return () if self._task.done() or self._sock.fileno() < 0 else (self._sock,)

    def is_serving(self) -> bool:
        """Whether connections are accepted, now or when there is a place."""
        return bool(self.sockets)

    def close(self) -> None:
        """Stops accepting."""
        self._task.cancel()
        self._task.add_done_callback(self._close_socket)

    def _close_socket(self, task: asyncio.Task[None]) -> None:
        # Not before the loop has let go of it.
        self._sock.close()

    async def wait_closed(self) -> None:
        """Returns when nothing is accepted any more."""
        await asyncio.wait([self._task])

    async def _accept(self) -> None:
        while True:
            if not self._places.is_free():
                self._places.complain(self._loop.time())
                await asyncio.sleep(_CHECK)
                continue
            # Nothing comes between the look for a place and this: the place cannot go to another listening socket.
            try:
                sock, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                await self._something_waits()
                continue
            except OSError as exc:
                await self._recover(exc)
                continue
            self._places.coming += 1
            # Shielded: what is accepted is served, even when accepting ends at this moment.
            await asyncio.shield(self._loop.create_task(self._serve(sock)))

    async def _something_waits(self) -> None:
        waits = self._loop.create_future()
        try:
            self._loop.add_reader(self._sock, _wake, waits)
        except NotImplementedError:  # the proactor loop of Windows
            await asyncio.sleep(_CHECK)
            return
        try:
            await waits
        finally:
            self._loop.remove_reader(self._sock)

    async def _recover(self, exc: OSError) -> None:
        if exc.errno in _EXHAUSTED:
            logger.error("Cannot accept a connection: %s", exc.strerror)
            await asyncio.sleep(_PAUSE)
        else:
            await asyncio.sleep(_CHECK)  # the client has gone again, most likely

    async def _serve(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        try:
            await self._loop.connect_accepted_socket(self._connect, sock)
        except Exception:
            sock.close()
            logger.exception("A connection could not be set up")
        finally:
            self._places.coming -= 1


def _wake(waits: asyncio.Future[None]) -> None:
    if not waits.done():
        waits.set_result(None)
