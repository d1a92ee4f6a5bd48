"""One connection of a stack on a transport that goes nowhere: what the micro-benchmarks and the instruction count run.

The event loop is asyncio's own, so that on every Python version the application runs as it does in the server; but no
socket is involved, so what is counted is the server's own work.
"""

from __future__ import annotations

import asyncio
from typing import Any, Callable

from asgiserve import Config


class Sink:
    """A transport that keeps what is written until the next ``clear()``."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.write: Callable[[bytes], None] = self.pieces.append
        self.closing = False
        self.extra = {"peername": ("127.0.0.1", 50000), "sockname": ("127.0.0.1", 8000)}

    def writelines(self, pieces: list[bytes]) -> None:
        """Take several pieces."""
        self.pieces.extend(pieces)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Addresses of a loopback connection."""
        return self.extra.get(name, default)

    def close(self) -> None:
        """Remember it; a benchmark that gets here is wrong."""
        self.closing = True

    abort = close

    def is_closing(self) -> bool:
        """Whether somebody closed it."""
        return self.closing

    def pause_reading(self) -> None:
        """Input is handed over by the driver, which waits for the response anyway."""

    def resume_reading(self) -> None:
        """See pause_reading()."""

    def get_write_buffer_size(self) -> int:
        """Nothing ever waits."""
        return 0

    def set_write_buffer_limits(self, high: Any = None, low: Any = None) -> None:
        """Nothing ever waits."""


class Driver:
    """A connection ready for requests.

    :param stack: the ``asgiserve._stack.Stack`` to drive.
    :param app: the ASGI application.
    """

    def __init__(self, stack: Any, app: Any) -> None:
        self.loop = asyncio.new_event_loop()
        self.state = stack.ServerState(app, Config(app), self.loop)
        self.connection = stack.HTTPConnection(self.state)
        self.sink = Sink()
        self.connection.connection_made(self.sink)

    def run(self, reads: list[bytes], times: int) -> None:
        """Deliver ``reads``, one call of data_received() each, and wait for the responses; do so ``times`` times."""
        self.loop.run_until_complete(self._run(reads, times))
        self.sink.pieces.clear()

    async def _run(self, reads: list[bytes], times: int) -> None:
        received, state = self.connection.data_received, self.state
        for _ in range(times):
            for data in reads:
                received(data)
            while state.active:  # noqa: ASYNC110, the server must not know that somebody waits
                await asyncio.sleep(0)

    def check(self, reads: list[bytes], responses: int, body: bytes) -> None:
        """Deliver ``reads`` twice and look at what comes back.

        :raises AssertionError: it is not ``responses`` times status 200 with ``body``.
        """
        for _ in range(2):
            self.loop.run_until_complete(self._run(reads, 1))
            output = b"".join(self.sink.pieces)
            self.sink.pieces.clear()
            assert output.count(b"HTTP/1.1 200 OK\r\n") == responses, output[:200]
            assert output.count(b"\r\n\r\n" + body) == responses, output[:200]
            assert not self.sink.closing

    def close(self) -> None:
        """Drop the connection and the loop."""
        self.connection.connection_lost(None)
        self.loop.close()
