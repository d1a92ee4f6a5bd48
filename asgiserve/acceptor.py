"""Accepting connections only while there are fewer than a limit.

The servers of asyncio and uvloop cannot stop accepting without closing their socket. This one can; it is used when
``limit_connections`` is set.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from typing import Any, Callable, Collection, Sequence

logger = logging.getLogger("asgiserve.error")

_CHECK = 0.01
"""Seconds between two looks for a free place while there is none."""
_SILENCE = 60.0
"""Seconds before it is said again that there is no place."""
_PAUSE = 1.0
"""Seconds to wait when the system has no file descriptor or memory for a connection."""
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Acceptor:
    """Accepts from the listening socket `sock` while `connections` has fewer than `limit` members.

    `connect` makes the protocol of a connection. ``sockets`` and :meth:`close` are as in ``asyncio.Server``; the rest
    of the connections waits in the socket's backlog.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        connect: Callable[[], Any],
        connections: Collection[Any],
        limit: int,
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._connect = connect
        self._connections = connections
        self._limit = limit
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
        silent_until = 0.0
        while True:
            if len(self._connections) >= self._limit:
                if self._loop.time() >= silent_until:
                    silent_until = self._loop.time() + _SILENCE
                    logger.warning("The limit of %d connections is reached; more have to wait.", self._limit)
                await asyncio.sleep(_CHECK)
                continue
            try:
                sock, _ = await self._loop.sock_accept(self._sock)
            except OSError as exc:
                if exc.errno in _EXHAUSTED:
                    logger.error("Cannot accept a connection: %s", exc.strerror)
                    await asyncio.sleep(_PAUSE)
                continue
            # Shielded: what is accepted is served, even when accepting ends at this moment.
            await asyncio.shield(self._loop.create_task(self._serve(sock)))

    async def _serve(self, sock: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._connect, sock)
        except Exception:
            sock.close()
            logger.exception("A connection could not be set up")
