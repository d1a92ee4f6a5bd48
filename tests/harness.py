"""A server without sockets, threads or real time, and the client that drives one connection of it.

Knows nothing of pytest, and nothing of either stack beyond the public face of ServerState and HTTPConnection.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import Any, Dict, Iterable, List, Optional, Sequence

from fakes import ERRORS, FakeLoop, FakeTransport
from http_reader import BadResponse, Response, read_responses

from asgiserve import _stack

__all__ = [
    "EAGER",
    "ERRORS",
    "GET",
    "TICK",
    "WALL_START",
    "BadResponse",
    "Client",
    "FakeLoop",
    "FakeTransport",
    "Response",
    "Server",
    "Settings",
    "read_responses",
    "receive_body",
    "request",
    "respond",
    "serve",
]

WALL_START = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT
TICK = 0.25


class Settings:
    """The options that matter to a connection, with their defaults."""

    DEFAULTS: Dict[str, Any] = {
        "root_path": "",
        "reset_contextvars": False,
        "server_header": True,
        "date_header": True,
        "headers": [],
        "limit_request_line": 16384,
        "limit_header_size": 65536,
        "limit_header_fields": 128,
        "limit_request_body": None,
        "limit_concurrency": None,
        "limit_rate_per_second": None,
        "timeout_keep_alive": 5,
        "timeout_headers": 30,
        "timeout_body": 60,
        "timeout_write": 60,
        "timeout_request": None,
        "http2": False,
        "ws": "auto",
        "ws_max_size": 16 * 1024 * 1024,
        "ws_max_queue": 32,
        "ws_ping_interval": 20.0,
        "ws_ping_timeout": 20.0,
        "ws_per_message_deflate": True,
    }

    def __init__(self, **overrides: Any) -> None:
        unknown = set(overrides) - set(self.DEFAULTS)
        if unknown:
            raise TypeError("no such setting: " + ", ".join(sorted(unknown)))
        for name, value in self.DEFAULTS.items():
            setattr(self, name, overrides.get(name, list(value) if isinstance(value, list) else value))


class LogSink:
    """Calls `log` with what the access log gets of a request: seven things, and with `logs_headers` an eighth."""

    def __init__(self, server: Server, log: Any) -> None:
        self.server = server
        self.log = log

    def open_batch(self) -> Any:
        return None

    def take_request(self, request: Any) -> None:
        known = [request.client, request.method, request.target, request.http_version, request.status, request.length]
        known.append(request.duration)
        if self.server.state.logs_headers:
            known.append((request.scheme, request.headers, request.sent))
        self.log(*known)


class Server:
    """What several connections share: a loop, a ServerState, the tick."""

    def __init__(
        self,
        stack: Any,
        app: Any,
        settings: Settings,
        record: bool,
        access_log: Any,
        lifespan_state: Any,
        loop: Optional[FakeLoop] = None,
    ) -> None:
        self.stack = stack
        self.loop = loop or FakeLoop()
        self.scopes: List[Dict[str, Any]] = []
        self.settings = settings
        self._started = self.loop.time()
        if record:
            app = self._recording(app)
        lines = None if access_log is None else _stack.lines(stack).Lines(LogSink(self, access_log), 1)
        with self.loop.running():
            self.state = stack.ServerState(app, settings, self.loop, lines)
            if settings.http2:
                self.state.http2 = _stack.http2(stack)
            if lifespan_state is not None:
                self.state.lifespan_state = lifespan_state
        self._next_tick = self._started
        self.tick()

    def _recording(self, app: Any) -> Any:
        async def recorder(scope: Any, receive: Any, send: Any) -> None:
            self.scopes.append(scope)
            await app(scope, receive, send)

        return recorder

    def tick(self) -> None:
        """What the server does every quarter of a second."""
        now = self.loop.time()
        self._next_tick = now + TICK
        self.loop.call(self.state.tick, now, WALL_START + now - self._started)
        self.loop.run_until_idle()

    def advance(self, seconds: float) -> None:
        """Let time pass, ticking every 0.25 s."""
        end = self.loop.time() + seconds
        while self._next_tick <= end:
            self.loop.advance(self._next_tick - self.loop.time())
            self.tick()
        self.loop.advance(end - self.loop.time())

    def throttled(self, protocol: Any) -> Any:
        """What the transport of a new connection gets: `protocol`, or the limit in front of it."""
        rate = self.settings.limit_rate_per_second
        return protocol if rate is None else _stack.throttle(self.stack)(self.state, rate, lambda: protocol)

    def connect(self, **extra: Any) -> Client:
        """A new connection. `extra` is what get_extra_info() knows."""
        return Client(self, extra)


class Client:
    """The peer of one connection.

    loop, state, conn, transport, scopes: the objects under test. What is fed while the server does not read waits
    in `inbox`, in the pieces it was fed in, as in the kernel; it is delivered once the server reads again.
    """

    def __init__(self, server: Server, extra: Dict[str, Any]) -> None:
        self.server = server
        self.loop = server.loop
        self.state = server.state
        self.scopes = server.scopes
        self.inbox: deque[Optional[bytes]] = deque()  # None is EOF
        with self.loop.running():
            self.conn = server.stack.HTTPConnection(server.state)
            protocol = server.throttled(self.conn)
        self.transport = FakeTransport(self.loop, protocol, extra)
        self.transport.on_resume = self._deliver  # type: ignore[method-assign]
        self.loop.call(protocol.connection_made, self.transport)
        self.loop.run_until_idle()

    # -- what the peer does --------------------------------------------------------------------------------------

    def feed(self, data: bytes, run: bool = True) -> Client:
        """Send bytes as one segment; then let everything run which can."""
        self.inbox.append(bytes(data))
        self.loop.call(self._deliver)
        if run:
            self.loop.run_until_idle()
        return self

    def feed_all(self, pieces: Iterable[bytes]) -> Client:
        """Send several segments, everything running between them."""
        for piece in pieces:
            self.feed(piece)
        return self

    def feed_bytes(self, data: bytes) -> Client:
        """Send one byte at a time."""
        for at in range(len(data)):
            self.feed(data[at : at + 1])
        return self

    def feed_eof(self) -> Client:
        """Close the sending half."""
        self.inbox.append(None)
        self.loop.call(self._deliver)
        self.loop.run_until_idle()
        return self

    def lose(self, exc: Optional[BaseException] = None) -> Client:
        """The connection breaks at once; `exc` is None or what the transport reports, such as ConnectionResetError."""
        self.transport.force_close(exc)
        self.loop.run_until_idle()
        return self

    def _deliver(self) -> None:
        transport = self.transport
        if not self.inbox or transport.lost or not transport.is_reading():
            return
        data = self.inbox.popleft()
        if data is None:
            if not transport.get_protocol().eof_received():
                transport.close()
        else:
            transport.get_protocol().data_received(data)
        if self.inbox:
            self.loop.call_soon(self._deliver)

    # -- what the peer sees --------------------------------------------------------------------------------------

    def output(self) -> bytes:
        """All bytes the peer has read."""
        return bytes(self.transport.taken)

    def take_output(self) -> bytes:
        """The bytes since the last call."""
        data = bytes(self.transport.taken)
        self.transport.taken.clear()
        return data

    def responses(self, methods: Optional[Sequence[str]] = None) -> List[Response]:
        """What was written, read strictly. Methods default to those of the recorded scopes."""
        if methods is None:
            methods = [scope.get("method", "GET") for scope in self.scopes]
        return read_responses(self.output(), methods, self.transport.is_closing())

    def response(self, method: Optional[str] = None) -> Response:
        """The one response there is."""
        found = self.responses(None if method is None else [method])
        if len(found) != 1:
            raise AssertionError(f"{len(found)} responses: {self.output()[:500]!r}")
        return found[0]

    @property
    def closed(self) -> bool:
        """The server closed (or lost) the connection."""
        return self.transport.is_closing()

    @property
    def ended(self) -> bool:
        """The server closed the connection, or its side of it: nothing more will come."""
        return self.transport.is_closing() or self.transport.eof_written

    @property
    def paused(self) -> bool:
        """The server does not read."""
        return not self.transport._reading

    @property
    def waiting(self) -> int:
        """Bytes sent which the server has not read."""
        return sum(len(data) for data in self.inbox if data is not None)

    # -- time ------------------------------------------------------------------------------------------------------

    def advance(self, seconds: float) -> Client:
        """Let time pass, ticking the server every 0.25 s."""
        self.server.advance(seconds)
        return self

    def connect(self, **extra: Any) -> Client:
        """Another connection to the same server."""
        return self.server.connect(**extra)


def serve(
    stack: Any,
    app: Any,
    *,
    record: bool = True,
    access_log: Any = None,
    lifespan_state: Any = None,
    extra: Optional[Dict[str, Any]] = None,
    loop: Optional[FakeLoop] = None,
    **settings: Any,
) -> Client:
    """Start a server of this stack and open one connection to it.

    `record` keeps every scope in `client.scopes`; `settings` are those of Settings; `extra` goes to
    get_extra_info(), `lifespan_state` to the ServerState.
    """
    server = Server(stack, app, Settings(**settings), record, access_log, lifespan_state, loop)
    return server.connect(**(extra or {}))


def receive_body(receive: Any) -> Any:
    """An awaitable: the whole request body, or None when the client left before its end."""

    async def read() -> Optional[bytes]:
        parts = []
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                return b"".join(parts)

    return read()


async def respond(send: Any, body: bytes = b"", status: int = 200, headers: Any = ()) -> None:
    """A whole response in two messages."""
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


EAGER = sys.version_info >= (3, 12) and sys.implementation.name == "cpython"


def request(
    method: str = "GET",
    target: str = "/",
    *fields: str,
    body: bytes | None = None,
    version: str = "1.1",
    host: str | None = "h",
) -> bytes:
    """A well-formed request; a body goes with its Content-Length."""
    lines = [f"{method} {target} HTTP/{version}"]
    if host is not None:
        lines.append("Host: " + host)
    lines.extend(fields)
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


GET = request()
