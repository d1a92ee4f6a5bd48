"""Endpoint: metrics and probes, over HTTP on an address of their own.

:class:`Pages` is the application: ``/metrics``, ``/livez``, ``/readyz`` and ``/status``. :class:`Endpoint` serves it
with our own stack in a loop that runs already: the parent's, or the server's own where there is no parent. Everything
is answered from what the :class:`Source` knows at that moment; nobody is waited for.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import TYPE_CHECKING, Any, Optional

from .. import addresses, sockets
from ..acceptor import Places, accept_from
from ..addresses import BindError
from ..config import Config
from ..types import Receive, Scope, Send
from .snapshot import Source
from .status import About, Lags, about, status, unready

if TYPE_CHECKING:
    from ..processes.handover import Predecessor

logger = logging.getLogger("asgiserve.error")

MISSING = "/metrics needs prometheus-client: pip install 'asgiserve[metrics]'"

TICK = 0.2
"""Seconds between two looks at deadlines and delays: a little less than the time between two snapshots."""

MAX_CONNECTIONS = 64
"""Connections at a time; more are closed at once. They take file descriptors from the server."""

_SETTINGS: dict[str, Any] = {
    "ws": "none",
    "access_log": False,
    "limit_request_line": 2048,
    "limit_header_size": 16384,
    "limit_header_fields": 64,
    "limit_request_body": 4096,
    "timeout_headers": 5,
    "timeout_body": 5,
    "timeout_write": 10,
}
_PATHS = ("/metrics", "/livez", "/readyz", "/status")
_BACKLOG = 128
_TEXT = "text/plain; charset=utf-8"


class Answer:
    """A whole response. `text` gets a line end."""

    def __init__(self, status: int, text: str, media_type: str = _TEXT) -> None:
        self.status = status
        self.body = text.encode() + b"\n"
        self.media_type = media_type
        self.more: list[tuple[bytes, bytes]] = []

    async def send(self, send: Send) -> None:
        """Sends it."""
        headers = [(b"content-type", self.media_type.encode("latin-1")), (b"cache-control", b"no-store"), *self.more]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


class Pages:
    """The ASGI application."""

    def __init__(self, source: Source, about: About) -> None:
        self.lags = Lags(source)
        self._source = source
        self._about = about
        self._exposition: Any = None
        try:
            from .exposition import Exposition
        except ImportError:
            return
        self._exposition = Exposition(source, about, self.lags)

    @property
    def has_metrics(self) -> bool:
        """Whether there is the library that ``/metrics`` needs."""
        return self._exposition is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answer(scope).send(send)

    def _answer(self, scope: Scope) -> Answer:
        path = scope["path"]
        if path not in _PATHS:
            return Answer(404, f"not found; there are {', '.join(_PATHS)}")
        if scope["method"] not in ("GET", "HEAD"):
            answer = Answer(405, "only GET and HEAD")
            answer.more.append((b"allow", b"GET, HEAD"))
            return answer
        if path == "/livez":
            return Answer(200, "ok")
        if path == "/readyz":
            reason = unready(self._source)
            return Answer(503, f"not ready: {reason}") if reason else Answer(200, "ok")
        if path == "/status":
            return Answer(200, json.dumps(status(self._source, self._about, self.lags)), "application/json")
        return self._metrics(scope)

    def _metrics(self, scope: Scope) -> Answer:
        if self._exposition is None:
            return Answer(501, MISSING)
        accept = b",".join(value for name, value in scope["headers"] if name == b"accept")
        answer = Answer(200, "")
        answer.body, answer.media_type = self._exposition.text(accept.decode("latin-1"))
        return answer


class Endpoint:
    """Serves the :class:`Pages` of `source` on `address`, which is written as for ``--bind``.

    Of the server's `config` it takes the stack and the mode of UNIX sockets; TLS, logs and limits of the application
    are not for this address. ``urls`` (list of str) is where it is found, once started.
    """

    def __init__(self, address: str, source: Source, config: Config) -> None:
        self.urls: list[str] = []
        self._address = addresses.parse(address)
        self._mode = None if config.uds_permissions is None else int(config.uds_permissions, 8)
        self._config = Config(Pages, http=config.http, **_SETTINGS)
        self._config.load_stack()
        self._stack = self._config.stack
        self._pages = Pages(source, about(self._stack))
        self._state: Any = None
        self._listeners: Optional[sockets.Listeners] = None
        self._servers: list[Any] = []
        self._timer: Optional[asyncio.TimerHandle] = None

    def bind(self, predecessor: Optional[Predecessor] = None) -> None:
        """Opens the address, or takes it from the `predecessor`. Raises :class:`asgiserve.addresses.BindError`."""
        if not self._pages.has_metrics:
            logger.warning("%s", MISSING)
        self._listeners = sockets.open_listeners([self._address], uds_permissions=self._mode, predecessor=predecessor)

    async def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Starts to serve in `loop`, which is the running one. Raises :class:`asgiserve.addresses.BindError`."""
        if self._listeners is None:
            self.bind()
        listeners = self._listeners
        assert listeners is not None
        listeners.take_over()
        self._state = self._stack.ServerState(self._pages, self._config, loop)
        try:
            listeners.listen(_BACKLOG)
            places = Places((), None)
            for sock in listeners.sockets:
                self._servers.append(await accept_from(loop, sock, self._connect, _BACKLOG, places))
        except OSError as exc:
            self.stop()
            raise exc if isinstance(exc, BindError) else BindError(f"Cannot accept connections: {exc}") from None
        self._tick()
        self.urls = listeners.urls()
        logger.info("Metrics and probes on %s", ", ".join(self.urls))

    @property
    def listeners(self) -> list[sockets.Listener]:
        """What it listens on."""
        return [] if self._listeners is None else list(self._listeners)

    def let_go(self) -> None:
        """Stops to serve, and leaves the address to another program that has it too."""
        if self._listeners is not None:
            self._listeners.let_go()
        self.stop()

    def stop(self) -> None:
        """Stops to serve, and closes the connections. Once is enough, twice is no mistake."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for server in self._servers:
            server.close()
        self._servers = []
        if self._listeners is not None:
            self._listeners.remove()
            self._listeners.close()
            self._listeners = None
        if self._state is not None:
            self._state.stopping = True
            for connection in list(self._state.connections):
                connection.shutdown()

    def _connect(self) -> Any:
        """The protocol of a new connection."""
        if len(self._state.connections) >= MAX_CONNECTIONS:
            return _Refusal()
        return self._stack.HTTPConnection(self._state)

    def _tick(self) -> None:
        loop = self._state.loop
        self._timer = loop.call_later(TICK, self._tick)
        self._state.tick(loop.time(), time.time())
        self._pages.lags.look(time.monotonic())


class _Refusal(asyncio.Protocol):
    """The protocol of a connection too many."""

    def connection_made(self, transport: Any) -> None:
        """Closes it."""
        transport.abort()
