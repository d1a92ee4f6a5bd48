"""One connection of a stack on a transport that goes nowhere: what the micro-benchmarks and the instruction count run.

The event loop is the one that the server would choose, so that the application runs as it does there on every Python
version; but no socket is involved, so what is counted is the server's own work.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Callable

from asgiserve import Config, loops

from .cases import Case

CHECK_TIMEOUT = 10.0


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
    :param figures: whether responses are counted, as with ``--metrics-bind``.
    """

    def __init__(self, stack: Any, app: Any, figures: bool = False) -> None:
        self.loop = loops.factory("auto")()
        self.state = stack.ServerState(app, Config(app), self.loop)
        if figures:
            self.state.clock = time.perf_counter
            self.state.times_requests = True
            self.state.figures = stack.Figures()
        self.connection = stack.HTTPConnection(self.state)
        self.sink = Sink()
        self.connection.connection_made(self.sink)

    def run(self, case: Case, times: int) -> None:
        """Deliver the reads of a case, one call of data_received() each, and wait for the responses, so many times."""
        self.loop.run_until_complete(self._run(case, times))
        self.sink.pieces.clear()

    async def _run(self, case: Case, times: int) -> None:
        received, state = self.connection.data_received, self.state
        due = state.total_requests
        for _ in range(times):
            due += case.responses
            for data in case.reads:
                received(data)
            # Pipelined requests start one after the other, so none may be active while some are still to come.
            while state.active or state.total_requests < due:  # noqa: ASYNC110, the server has no hook for this
                await asyncio.sleep(0)

    def check(self, case: Case) -> None:
        """Run a case twice and look at what comes back.

        :raises AssertionError: it is not what the case says, with status 200.
        :raises asyncio.TimeoutError: a response is missing.
        """
        for _ in range(2):
            self.loop.run_until_complete(asyncio.wait_for(self._run(case, 1), CHECK_TIMEOUT))
            output = b"".join(self.sink.pieces)
            self.sink.pieces.clear()
            assert output.count(b"HTTP/1.1 200 OK\r\n") == case.responses, output[:200]
            assert output.count(b"\r\n\r\n" + case.body) == case.responses, output[:200]
            assert not self.sink.closing

    def close(self) -> None:
        """Drop the connection and the loop."""
        self.connection.connection_lost(None)
        self.loop.close()
