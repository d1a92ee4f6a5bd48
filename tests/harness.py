"""A server without sockets, threads or real time.

Owns: the fake event loop, the fake transport, the client that drives one connection of a stack, and a strict
reader of what the server wrote. Knows nothing of pytest, and nothing of either stack beyond the public face of
ServerState and HTTPConnection.

Everything happens when a test says so: callbacks run in `run_until_idle()`, timers in `advance()`. A protocol
callback always runs with the fake loop set as the running loop, as under a real one.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import re
import sys
from collections import deque
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple, Union

WALL_START = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT
TICK = 0.25
MAX_CALLBACKS = 1_000_000

# What went wrong on any loop or transport since a test began: a fixture asserts that there is nothing.
ERRORS: List[Dict[str, Any]] = []


class FakeLoop(asyncio.AbstractEventLoop):
    """An event loop with a clock of its own; enough for Task, Future, wait_for, gather, Event and anyio."""

    def __init__(self, start: float = 1000.0) -> None:
        self._now = start
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: List[Tuple[float, int, asyncio.TimerHandle]] = []
        self._sequence = 0
        self._depth = 0
        self._closed = False
        self._factory: Any = None
        self.errors: List[Dict[str, Any]] = []  # what reached call_exception_handler
        self.timers_made = 0

    # -- running ---------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """The body runs "inside the loop": get_running_loop() gives this one, also when nested."""
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            asyncio._set_running_loop(outer)

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call something as the loop would (a protocol callback), without running what it scheduled."""
        with self.running():
            return function(*args)

    def run_once(self) -> bool:
        """Run what is ready now, but not what that makes ready. True if anything ran."""
        count = len(self._ready)
        with self.running():
            for _ in range(count):
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
                handle = None  # type: ignore[assignment]
        return count > 0

    def run_until_idle(self, limit: int = MAX_CALLBACKS) -> None:
        """Run callbacks until none is ready. Timers stay where they are. Raises if it never ends."""
        if self._depth:
            raise RuntimeError("run_until_idle() from inside the loop")
        ready = self._ready
        if not ready:
            return
        with self.running():
            while ready:
                handle = ready.popleft()
                if not handle.cancelled():
                    handle._run()
                handle = None  # type: ignore[assignment]
                limit -= 1
                if limit < 0:
                    raise RuntimeError("the loop never becomes idle")

    def advance(self, seconds: float) -> None:
        """Move the clock, running every timer on the way in order, and all that follows from it."""
        end = self._now + seconds
        self.run_until_idle()
        while self._timers and self._timers[0][0] <= end:
            when, _, handle = heapq.heappop(self._timers)
            if handle.cancelled():
                continue
            self._now = max(self._now, when)
            self._ready.append(handle)
            handle = None  # type: ignore[assignment]
            self.run_until_idle()
        self._now = end

    def run_until_complete(self, future: Any) -> Any:
        """Run until `future` is done, moving the clock from timer to timer when nothing else is left."""
        with self.running():
            task = asyncio.ensure_future(future, loop=self)
        while not task.done():
            self.run_until_idle()
            if task.done():
                break
            while self._timers and self._timers[0][2].cancelled():
                heapq.heappop(self._timers)
            if not self._timers:
                raise RuntimeError("deadlock: nothing is ready and no timer is set")
            self.advance(self._timers[0][0] - self._now)
        return task.result()

    @property
    def idle(self) -> bool:
        return not self._ready

    @property
    def timers(self) -> List[asyncio.TimerHandle]:
        """Timers which are set and not cancelled."""
        return [handle for _, _, handle in self._timers if not handle.cancelled()]

    # -- the part of AbstractEventLoop that tasks, futures and the core use --------------------------------------

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._sequence += 1
        self.timers_made += 1
        heapq.heappush(self._timers, (when, self._sequence, handle))
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        return self.call_at(self._now + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass  # cancelled timers are passed over when their time comes

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        if self._factory is not None:
            return self._factory(self, coro, **kwargs)
        return asyncio.Task(coro, loop=self, **kwargs)

    def get_task_factory(self) -> Any:
        return self._factory

    def set_task_factory(self, factory: Any) -> None:
        self._factory = factory

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        pass

    def is_running(self) -> bool:
        return self._depth > 0

    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True
        self._ready.clear()
        self._timers.clear()

    def call_exception_handler(self, context: Dict[str, Any]) -> None:
        self.errors.append(context)
        # A test may leave a request hanging; the garbage collector says so whenever it likes.
        if "was destroyed but it is pending" not in context.get("message", ""):
            ERRORS.append(context)

    def default_exception_handler(self, context: Dict[str, Any]) -> None:
        self.call_exception_handler(context)

    def get_exception_handler(self) -> None:
        return None

    async def shutdown_asyncgens(self) -> None:
        pass

    async def shutdown_default_executor(self, timeout: Optional[float] = None) -> None:
        pass


Buffer = Union[bytes, bytearray, memoryview]


class FakeTransport:
    """A socket transport. `taken` is what the peer has read; `pending` is what the transport still holds.

    It behaves as asyncio's selector transport does: the write buffer is handed over at once while the peer reads,
    `pause_writing` comes from inside `write`, `connection_lost` through the loop, and never before the buffer is
    empty after `close()`. What a correct protocol never does is kept in `faults`.
    """

    def __init__(self, loop: FakeLoop, protocol: Any, extra: Optional[Dict[str, Any]] = None) -> None:
        self.loop = loop
        self.protocol = protocol
        self.extra = {"peername": ("127.0.0.1", 50000), "sockname": ("127.0.0.1", 8000)}
        if extra:
            self.extra.update(extra)
        self.taken = bytearray()
        self.pending: deque[memoryview] = deque()
        self.pending_size = 0
        self.max_pending = 0
        self.writes = 0  # calls of write()/writelines()
        self.written = 0  # bytes
        self.discard = False  # a test that moves gigabytes counts them only
        self.faults: List[str] = []
        self.lost = False
        self.lost_with: Optional[BaseException] = None
        self.aborted = False
        self.eof_written = False
        self.high, self.low = 65536, 16384
        self._closing = False
        self._reading = True
        self._blocked = False
        self._protocol_paused = False
        self._lost_scheduled = False
        self._broken = False  # by the peer; the protocol does not know before connection_lost

    def fault(self, message: str) -> None:
        self.faults.append(message)
        ERRORS.append({"message": message})

    # -- writing -----------------------------------------------------------------------------------------------

    def write(self, data: Buffer) -> None:
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError("write() of " + type(data).__name__)
        if self.eof_written:
            self.fault("write() after write_eof()")
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._broken:
            return
        if self._closing:
            self.fault("write() after close()")
            return
        self.writes += 1
        if not len(data):
            return
        self.written += len(data)
        if self._blocked:
            # Like asyncio and uvloop, keep a view and no copy: whoever changes a buffer after writing it is caught.
            self.pending.append(memoryview(data))
            self.pending_size += len(data)
            self.max_pending = max(self.max_pending, self.pending_size)
            self._maybe_pause_protocol()
        elif not self.discard:
            self.taken += data

    def writelines(self, chunks: Iterable[Buffer]) -> None:
        self.write(b"".join(bytes(chunk) for chunk in chunks))

    def write_eof(self) -> None:
        if self.eof_written:
            self.fault("write_eof() twice")
        if self._closing and not self.lost and not self._broken:
            self.fault("write_eof() after close()")
        self.eof_written = True

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return self.pending_size

    def get_write_buffer_limits(self) -> Tuple[int, int]:
        return self.low, self.high

    def set_write_buffer_limits(self, high: Optional[int] = None, low: Optional[int] = None) -> None:
        if high is None:
            high = 65536 if low is None else 4 * low
        if low is None:
            low = high // 4
        if not 0 <= low <= high:
            raise ValueError("0 <= low <= high")
        self.high, self.low = high, low
        self._maybe_pause_protocol()

    def _maybe_pause_protocol(self) -> None:
        if self.pending_size > self.high and not self._protocol_paused:
            self._protocol_paused = True
            self.protocol.pause_writing()

    def _maybe_resume_protocol(self) -> None:
        if self._protocol_paused and self.pending_size <= self.low:
            self._protocol_paused = False
            self.protocol.resume_writing()

    # -- knobs: the peer's reading -------------------------------------------------------------------------------

    def stall(self) -> None:
        """The peer stops reading: writes pile up here, and pause_writing comes above the high-water mark."""
        self._blocked = True

    def block_writes(self) -> None:
        """The peer stops reading and the buffer is already full: pause_writing now."""
        self._blocked = True
        if not self._protocol_paused:
            self._protocol_paused = True
            self.loop.call(self.protocol.pause_writing)

    def take(self, size: int) -> int:
        """The peer reads at most `size` bytes, and stalls again. Returns how many it got."""
        got = 0
        while self.pending and got < size:
            view = self.pending[0]
            part = view[: size - got]
            if not self.discard:
                self.taken += part
            got += len(part)
            if len(part) == len(view):
                self.pending.popleft()
            else:
                self.pending[0] = view[len(part) :]
        self.pending_size -= got
        with self.loop.running():
            self._maybe_resume_protocol()
        self._finish_close()
        return got

    def unblock_writes(self) -> None:
        """The peer reads again, and all that waited."""
        self._blocked = False
        self.take(self.pending_size)

    # -- reading -------------------------------------------------------------------------------------------------

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        if self._closing or self.lost:
            return
        self._reading = True
        self.loop.call_soon(self.on_resume)

    def on_resume(self) -> None:
        """Set by the client: deliver what waits in the kernel."""

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    # -- the end ---------------------------------------------------------------------------------------------------

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._finish_close()

    def abort(self) -> None:
        self.aborted = True
        self._drop(None)

    def force_close(self, exc: BaseException | None) -> None:
        """The peer resets the connection."""
        self._broken = True
        self._drop(exc)

    def _drop(self, exc: BaseException | None) -> None:
        self._closing = True
        self.pending.clear()
        self.pending_size = 0
        self._schedule_lost(exc)

    def _finish_close(self) -> None:
        if self._closing and not self.pending_size:
            self._schedule_lost(None)

    def _schedule_lost(self, exc: Optional[BaseException]) -> None:
        if not self._lost_scheduled:
            self._lost_scheduled = True
            self.loop.call_soon(self._lose, exc)

    def _lose(self, exc: Optional[BaseException]) -> None:
        self.lost = True
        self.lost_with = exc
        protocol, self.protocol = self.protocol, None
        self.on_resume = _nothing  # type: ignore[method-assign]
        protocol.connection_lost(exc)

    # -- what else a protocol may ask ------------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.extra.get(name, default)

    def get_protocol(self) -> Any:
        return self.protocol

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol


def _nothing() -> None:
    pass


class Settings:
    """The options the core reads, with their defaults."""

    DEFAULTS: Dict[str, Any] = {
        "root_path": "",
        "server_header": True,
        "date_header": True,
        "headers": [],
        "limit_request_line": 16384,
        "limit_header_size": 65536,
        "limit_header_fields": 128,
        "limit_request_body": None,
        "limit_concurrency": None,
        "timeout_keep_alive": 5,
        "timeout_headers": 30,
        "timeout_body": 60,
        "timeout_write": 60,
        "timeout_request": None,
    }

    def __init__(self, **overrides: Any) -> None:
        unknown = set(overrides) - set(self.DEFAULTS)
        if unknown:
            raise TypeError("no such setting: " + ", ".join(sorted(unknown)))
        for name, value in self.DEFAULTS.items():
            setattr(self, name, overrides.get(name, list(value) if isinstance(value, list) else value))


# -- reading responses -------------------------------------------------------------------------------------------


class BadResponse(AssertionError):
    """The server wrote something that is not HTTP/1.1."""


class Response:
    """One response off the wire. Header names are lower-cased; `names` keeps them as sent."""

    def __init__(self, status: int, reason: str, names: List[bytes], headers: List[Tuple[bytes, bytes]]) -> None:
        self.status = status
        self.reason = reason
        self.names = names
        self.headers = headers
        self.body = b""
        self.chunks: Optional[List[bytes]] = None  # None: not chunked
        self.trailers: List[Tuple[bytes, bytes]] = []
        self.interim: List[Response] = []
        self.complete = False
        self.close_delimited = False

    def get(self, name: bytes) -> Optional[bytes]:
        """The one value of a field, None without it. Two of them are an error here."""
        values = self.get_all(name)
        if len(values) > 1:
            raise BadResponse(f"{name!r} more than once: {values!r}")
        return values[0] if values else None

    def get_all(self, name: bytes) -> List[bytes]:
        return [value for key, value in self.headers if key == name]

    @property
    def chunked(self) -> bool:
        return self.chunks is not None

    @property
    def says_close(self) -> bool:
        return b"close" in tokens(self.get_all(b"connection"))

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.headers} {self.body[:80]!r}{'' if self.complete else ' CUT'}>"


def tokens(values: Sequence[bytes]) -> List[bytes]:
    return [token.strip().lower() for value in values for token in value.split(b",") if token.strip()]


STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-9][0-9][0-9]) ([\t\x20-\x7e\x80-\xff]*)\Z")
FIELD_LINE = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*"
    rb"[\x21-\x7e\x80-\xff])?)?)[ \t]*\Z"
)
CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,16})\Z")
DIGITS = re.compile(rb"[0-9]+\Z")


class _Reader:
    """A cursor over the output. Running out of data inside a message raises IndexError."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def line(self) -> bytes:
        end = self.data.find(b"\r\n", self.at)
        if end < 0:
            if b"\n" in self.data[self.at :]:
                raise BadResponse(f"bare LF in a response head: {self.data[self.at : self.at + 200]!r}")
            raise IndexError
        line = self.data[self.at : end]
        if b"\n" in line or b"\r" in line or b"\0" in line:
            raise BadResponse(f"control character in a line: {line!r}")
        self.at = end + 2
        return line

    def take(self, size: int) -> bytes:
        if len(self.data) - self.at < size:
            raise IndexError
        self.at += size
        return self.data[self.at - size : self.at]

    def rest(self) -> bytes:
        out, self.at = self.data[self.at :], len(self.data)
        return out

    def fields(self) -> Tuple[List[bytes], List[Tuple[bytes, bytes]]]:
        names, headers = [], []
        while True:
            line = self.line()
            if not line:
                return names, headers
            match = FIELD_LINE.match(line)
            if match is None:
                raise BadResponse(f"bad field line {line!r}")
            names.append(match.group(1))
            headers.append((match.group(1).lower(), match.group(2)))


def read_responses(data: bytes, methods: Sequence[str], closed: bool) -> List[Response]:
    """All responses in `data`, strictly. `methods` are those of the requests, in order (GET past its end).

    Raises BadResponse for anything RFC 9110/9112 does not allow a server to send, and for bytes left over. A
    response that is cut short is in the list with complete=False, and is the last one.
    """
    reader = _Reader(data)
    out: List[Response] = []
    while reader.at < len(data):
        method = methods[len(out)] if len(out) < len(methods) else "GET"
        response, done = _read_one(reader, method, closed)
        if response is not None:
            out.append(response)
        if not done:
            break
    return out


def _read_one(reader: _Reader, method: str, closed: bool) -> Tuple[Optional[Response], bool]:
    interim: List[Response] = []
    while True:
        start = reader.at
        try:
            line = reader.line()
            match = STATUS_LINE.match(line)
            if match is None:
                raise BadResponse(f"bad status line {line!r}")
            names, headers = reader.fields()
        except IndexError:
            raise BadResponse(f"head cut short: {reader.data[start : start + 200]!r}") from None
        response = Response(int(match.group(1)), match.group(2).decode("latin-1"), names, headers)
        if 100 <= response.status < 200 and response.status != 101:
            if response.get_all(b"content-length") or response.get_all(b"transfer-encoding"):
                raise BadResponse(f"framing fields in a {response.status}")
            response.complete = True
            interim.append(response)
            if reader.at == len(reader.data):
                # Only interim responses so far: keep them where a test can see them.
                holder = Response(0, "", [], [])
                holder.interim = interim
                return holder, False
            continue
        response.interim = interim
        try:
            _read_body(reader, response, method, closed)
        except IndexError:
            response.body += reader.rest() if response.chunks is None else b""
            return response, False
        return response, True


def _read_body(reader: _Reader, response: Response, method: str, closed: bool) -> None:
    lengths = response.get_all(b"content-length")
    codings = response.get_all(b"transfer-encoding")
    if lengths and codings:
        raise BadResponse("both content-length and transfer-encoding")
    if len(lengths) > 1 or (lengths and not DIGITS.match(lengths[0])):
        raise BadResponse(f"content-length {lengths!r}")
    if codings and codings != [b"chunked"]:
        raise BadResponse(f"transfer-encoding {codings!r}")
    if (response.status < 200 or response.status == 204) and (lengths or codings):
        raise BadResponse(f"framing fields in a {response.status}")
    if method == "HEAD" or response.status in (101, 204, 304):
        response.complete = True
        return
    if codings:
        response.chunks = []
        while True:
            line = reader.line()
            match = CHUNK_SIZE.match(line)
            if match is None:
                raise BadResponse(f"bad chunk size line {line!r}")
            size = int(match.group(1), 16)
            if not size:
                break
            chunk = reader.take(size)
            response.chunks.append(chunk)
            response.body += chunk
            if reader.take(2) != b"\r\n":
                raise BadResponse(f"chunk of {size} bytes does not end in CRLF")
        response.trailers = reader.fields()[1]
        response.complete = True
    elif lengths:
        response.body = reader.take(int(lengths[0]))
        response.complete = True
    else:
        response.close_delimited = True
        response.body = reader.rest()
        response.complete = closed


# -- the client ----------------------------------------------------------------------------------------------------


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
        with self.loop.running():
            self.state = stack.ServerState(app, settings, self.loop, access_log)
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
        self.transport = FakeTransport(self.loop, self.conn, extra)
        self.transport.on_resume = self._deliver  # type: ignore[method-assign]
        self.loop.call(self.conn.connection_made, self.transport)
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
            if not self.conn.eof_received():
                transport.close()
        else:
            self.conn.data_received(data)
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
