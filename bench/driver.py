"""One connection of a stack on a transport that goes nowhere: what the micro-benchmarks and the instruction count run.

The event loop is the one that the server would choose, so that the application runs as it does there on every Python
version; but no socket is involved, so what is counted is the server's own work.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Generator
from typing import Any, Callable

from asgiserve import Config, _stack, loops
from asgiserve.logging import AccessFormatter, AccessLog, JSONFormatter
from asgiserve.logging.defaults import ACCESS_FORMAT
from asgiserve.logging.streams import StreamHandler

from .cases import ROWS, Case
from .http.http2 import requests

#: Seconds; valgrind takes its time.
RUN_TIMEOUT = 300.0


class Sink:
    """A transport that keeps what is written until the next ``clear()``."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.write: Callable[[bytes], None] = self.pieces.append
        self.closing = False
        self.protocol: Any = None
        self.extra = {"peername": ("127.0.0.1", 50000), "sockname": ("127.0.0.1", 8000)}

    def writelines(self, pieces: list[bytes]) -> None:
        """Take several pieces."""
        self.pieces.extend(pieces)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Addresses of a loopback connection."""
        return self.extra.get(name, default)

    def set_protocol(self, protocol: Any) -> None:
        """Deliver to another protocol from now on."""
        self.protocol = protocol

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
    """A connection ready for the requests of a case.

    :param stack: the ``asgiserve._stack.Stack`` to drive.
    """

    def __init__(self, stack: Any, case: Case) -> None:
        self.case = case
        self.loop = loops.factory("auto")()
        access_log = _access_log(self.loop, case.log, stack) if case.log else None
        self.state = stack.ServerState(case.app, Config(case.app), self.loop, access_log and access_log.lines)
        self.state.clock = time.perf_counter
        if case.figures:
            self.state.times_requests = True
            self.state.figures = stack.Figures()
        if access_log is not None:
            self.state.times_requests = access_log.needs_duration
            self.state.logs_headers = access_log.needs_headers
        self.sink = Sink()
        self.sink.protocol = self._protocol(stack)
        self.sink.protocol.connection_made(self.sink)

    def _protocol(self, stack: Any) -> Any:
        return stack.HTTPConnection(self.state)

    def run(self, times: int) -> None:
        """Deliver the reads of the case, one call of data_received() each, and wait for the responses, so many
        times."""
        self._exhaust(self._run(times))
        self.sink.pieces.clear()

    def _exhaust(self, turns: Generator[None, None, None]) -> None:
        """Run the loop until ``turns`` ends, which takes a step in every turn: as a plain callback, because that is
        what a transport calls data_received() from. Within a task, an application could not go on at once.

        :raises asyncio.TimeoutError: that takes too long.
        """
        done = self.loop.create_future()

        def turn() -> None:
            try:
                next(turns)
            except StopIteration:
                done.set_result(None)
            except BaseException as error:
                done.set_exception(error)
            else:
                if not done.done():
                    self.loop.call_soon(turn)

        self.loop.call_soon(turn)
        self.loop.run_until_complete(asyncio.wait_for(done, RUN_TIMEOUT))

    def _run(self, times: int) -> Generator[None, None, None]:
        received, state, responses = self.sink.protocol.data_received, self.state, self.case.responses
        due = state.total_requests
        for _ in range(times):
            due += responses
            for data in self.case.reads:
                received(data)
            # Pipelined requests start one after the other, so none may be active while some are still to come.
            while state.active or state.total_requests < due:
                yield

    def check(self) -> None:
        """Run the case twice and look at what comes back.

        :raises AssertionError: it is not what the case says, with status 200.
        :raises asyncio.TimeoutError: a response is missing.
        """
        for _ in range(2):
            output = self._once()
            assert output.count(b"HTTP/1.1 200 OK\r\n") == self.case.responses, output[:200]
            assert output.count(b"\r\n\r\n" + self.case.body) == self.case.responses, output[:200]
            assert not self.sink.closing

    def _once(self) -> bytes:
        self._exhaust(self._run(1))
        output = b"".join(self.sink.pieces)
        self.sink.pieces.clear()
        return output

    def close(self) -> None:
        """Drop the connection and the loop."""
        self.sink.protocol.connection_lost(None)
        self.loop.run_until_complete(asyncio.sleep(0))  # a WebSocket's application ends
        self.loop.close()


class WebSocketDriver(Driver):
    """A WebSocket ready for the messages of a case: every read is one, and is answered by one write."""

    def __init__(self, stack: Any, case: Case) -> None:
        super().__init__(stack, case)
        self.sink.protocol.data_received(case.opening)
        self._exhaust(self._answers(1))
        answer = b"".join(self.sink.pieces)
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        self.sink.pieces.clear()

    def _answers(self, due: int) -> Generator[None, None, None]:
        while len(self.sink.pieces) < due:
            yield

    def _run(self, times: int) -> Generator[None, None, None]:
        received, pieces = self.sink.protocol.data_received, self.sink.pieces
        due = len(pieces)
        for _ in range(times):
            for data in self.case.reads:
                due += 1
                received(data)
                while len(pieces) < due:
                    yield

    def check(self) -> None:
        """Run the case twice and compare what comes back."""
        for _ in range(2):
            assert self._once() == self.case.body * len(self.case.reads)
            assert not self.sink.closing


#: What a client sends first: the preface, SETTINGS, and a window for all that ever comes.
HTTP2_OPENING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0" + b"\0\0\4\10\0\0\0\0\0" + b"\x7f\xff\0\0"
#: Bytes of the head of a frame, the last four of which are the stream.
HTTP2_HEAD_SIZE = 9
#: Reads that are made at a time, ahead of their use.
HTTP2_READS = 2000


class HTTP2Driver(Driver):
    """An HTTP/2 connection; every read opens as many streams as the case has responses."""

    def __init__(self, stack: Any, case: Case) -> None:
        self.stream_id = 1
        self.reads: list[bytes] = []
        super().__init__(stack, case)
        frames = requests(ROWS["http2"])
        size = HTTP2_HEAD_SIZE + int.from_bytes(frames[:3], "big")
        self.next = frames[size:]
        self.sink.protocol.data_received(HTTP2_OPENING + self._request(frames[:size]))
        while self.state.active:
            self.loop.run_until_complete(asyncio.sleep(0))
        self.sink.pieces.clear()
        self._make_reads()

    def _protocol(self, stack: Any) -> Any:
        return _stack.http2(stack)(self.state)

    def _request(self, frame: bytes) -> bytes:
        """The frame on a stream of its own."""
        made = frame[: HTTP2_HEAD_SIZE - 4] + self.stream_id.to_bytes(4, "big") + frame[HTTP2_HEAD_SIZE:]
        self.stream_id += 2
        return made

    def _make_reads(self) -> None:
        for _ in range(HTTP2_READS):
            self.reads.append(b"".join(self._request(self.next) for _ in range(self.case.responses)))
        self.reads.reverse()

    def _run(self, times: int) -> Generator[None, None, None]:
        received, state = self.sink.protocol.data_received, self.state
        for _ in range(times):
            if not self.reads:
                self._make_reads()
            received(self.reads.pop())
            while state.active:
                yield

    def check(self) -> None:
        """Run the case twice and look at what comes back: as many ends of streams, and bodies."""
        for _ in range(2):
            output = self._once()
            bodies = len(self.case.body).to_bytes(3, "big") + b"\0\1"
            assert output.count(bodies) == output.count(self.case.body) == self.case.responses, output
            assert not self.sink.closing


class ConnectDriver(Driver):
    """A new connection for each request of a case; the server ends it."""

    def __init__(self, stack: Any, case: Case) -> None:
        super().__init__(stack, case)
        self.make = stack.HTTPConnection
        self.sink.protocol.connection_lost(None)
        self.closed = 0

    def _run(self, times: int) -> Generator[None, None, None]:
        make, state, sink = self.make, self.state, self.sink
        for _ in range(times):
            sink.protocol = protocol = make(state)
            protocol.connection_made(sink)
            for data in self.case.reads:
                protocol.data_received(data)
            while not sink.closing:
                yield
            sink.closing = False
            self.closed += 1
            protocol.connection_lost(None)

    def check(self) -> None:
        """Run the case twice; every connection has to be closed, and none be left."""
        super().check()
        assert self.closed == 2, self.closed
        assert not self.state.connections


def _access_log(loop: Any, kind: str, stack: Any) -> AccessLog:
    """An access log that is written nowhere; `kind` is that of a :class:`~.cases.Case`."""
    logger = logging.getLogger("asgiserve.access")
    handler = StreamHandler(open(os.devnull, "w"))  # noqa: SIM115, lives as long as the program
    line_format = None
    if kind == "json":
        handler.setFormatter(JSONFormatter())
    elif kind == "text":
        handler.setFormatter(AccessFormatter(ACCESS_FORMAT, use_colors=False))
    else:
        handler.setFormatter(AccessFormatter("%(message)s", use_colors=False))
        line_format = kind
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    access_log = AccessLog(loop, line_format, stack)
    # Lines are written when a batch is full, not by the clock, which is of no use where programs run slowly.
    access_log.INTERVAL = 3600.0
    return access_log


def connect(stack: Any, case: Case) -> Driver:
    """The right driver for a case."""
    if case.opening:
        return WebSocketDriver(stack, case)
    if case.http2:
        return HTTP2Driver(stack, case)
    return ConnectDriver(stack, case) if case.reconnects else Driver(stack, case)
