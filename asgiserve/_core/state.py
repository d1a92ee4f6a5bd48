"""ServerState: what the connections of one event loop share."""

import time
from math import inf
from typing import Any, Optional

from .batch import Batch
from .exchange import Exchange, SpareExchange
from .figures import Figures
from .flow import raise_soon
from .launch import Launcher, as_coroutine_function, is_done
from .lines import Lines
from .reader import Limits
from .scope import ConnectionScope, Paths
from .wire import CommonFields

_DAYS = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")


class ServerState:
    """The settings, clock, counters and tasks of one worker.

    Args:
        app: the ASGI 3 application.
        settings: any object with the option names as attributes; see `options`.
        loop: the event loop.
        access_log: gets the requests whose response has ended, or None.

    Attributes:
        clock: what durations are measured with, a function that returns seconds. The event loop's own time may stand
            still within a turn of the loop.
        times_requests: whether the duration of requests is measured, which `figures` need; if not, the access log gets
            0.
        figures: counts responses and durations, or None.
        logs_headers: whether the access log needs the scheme and the headers too.
        is_tracing: whether connections made and lost are logged, at level TRACE.
        forwarding: called with the scope of a request in which a proxy says something about the client, when that
            counts; it changes the scope and returns the client's name for the logs, empty when that stays. Or None.
        http2: the HTTP2Connection where HTTP/2 is served, or None.
        lifespan_state: what the lifespan put into `scope["state"]`; each request gets a shallow copy.
        connections: the open connections.
        tasks: application tasks that are not done; one can outlive its response.
        active: requests whose response is not complete.
        total_requests: requests started so far.
        now: the event loop's time at the last tick, in seconds.
        spare: an HTTPCycle that is used again.
        stopping: whether responses say `Connection: close`.
        paths: decodes those of requests.
        last_scope: that of the last HTTP/1.1 connection, or None.
    """

    __slots__ = (
        "app",
        "loop",
        "access_log",
        "clock",
        "times_requests",
        "figures",
        "logs_headers",
        "is_tracing",
        "forwarding",
        "http2",
        "lifespan_state",
        "connections",
        "tasks",
        "active",
        "total_requests",
        "now",
        "stopping",
        "launcher",
        "spare",
        "batch",
        "limits",
        "common",
        "paths",
        "last_scope",
        "limit_concurrency",
        "serves_websockets",
        "ws_max_size",
        "ws_max_queue",
        "ws_ping_interval",
        "ws_ping_timeout",
        "ws_per_message_deflate",
        "timeout_keep_alive",
        "timeout_headers",
        "timeout_body",
        "timeout_write",
        "timeout_request",
        "_has_date",
        "_second",
    )

    def __init__(self, app: Any, settings: Any, loop: Any, access_log: Optional[Lines] = None) -> None:
        self.app = as_coroutine_function(app)
        self.loop = loop
        self.access_log: Optional[Lines] = access_log
        self.clock: Any = loop.time
        self.times_requests: bool = access_log is not None
        self.figures: Optional[Figures] = None
        self.logs_headers: bool = False
        self.is_tracing: bool = False
        self.forwarding: Any = None
        self.http2: Any = None
        self.lifespan_state: dict[str, Any] = {}
        self.connections: set[Any] = set()
        self.tasks: set[Any] = set()
        self.active: int = 0
        self.total_requests: int = 0
        self.now: float = loop.time()
        self.stopping: bool = False
        self.launcher: Launcher = Launcher(loop, settings.reset_contextvars)
        self.spare: SpareExchange = SpareExchange()
        self.batch: Batch = Batch(loop, self.launcher.context, time.monotonic)
        self.limits: Limits = Limits(
            settings.limit_request_line,
            settings.limit_header_size,
            settings.limit_header_fields,
            -1 if settings.limit_request_body is None else settings.limit_request_body,
        )
        self.common: CommonFields = _common_fields(settings)
        self.paths: Paths = Paths(settings.root_path)
        self.last_scope: Optional[ConnectionScope] = None
        self.limit_concurrency: int = -1 if settings.limit_concurrency is None else settings.limit_concurrency
        self.serves_websockets: bool = settings.ws != "none"
        self.ws_max_size: int = -1 if settings.ws_max_size is None else settings.ws_max_size
        self.ws_max_queue: int = settings.ws_max_queue
        self.ws_ping_interval: float = _seconds(settings.ws_ping_interval)
        self.ws_ping_timeout: float = _seconds(settings.ws_ping_timeout)
        self.ws_per_message_deflate: bool = settings.ws_per_message_deflate
        self.timeout_keep_alive: float = _seconds(settings.timeout_keep_alive)
        self.timeout_headers: float = _seconds(settings.timeout_headers)
        self.timeout_body: float = _seconds(settings.timeout_body)
        self.timeout_write: float = _seconds(settings.timeout_write)
        self.timeout_request: float = _seconds(settings.timeout_request)
        self._has_date: bool = settings.date_header
        self._second: int = -1
        self.tick(self.now, time.time())

    def run(self, exchange: Exchange, scope: "dict[str, Any]") -> None:
        """Run the application for `exchange`, and let that judge the end."""
        try:
            task = self.launcher.launch(self.app(scope, self.spare.receive_of(exchange), self.spare.send_of(exchange)))
        except Exception as error:  # an application that fails before it returns an awaitable
            exchange.app_ended(error, False)
            exchange.let_go()
            return
        except (SystemExit, KeyboardInterrupt) as error:
            exchange.app_ended(error, False)
            exchange.let_go()
            raise_soon(self.loop, error)
            return
        if is_done(task):
            exchange.judge(task)
            # The traceback of an exception in the task refers to this frame; without this, the two would form a cycle.
            task = None
        else:
            exchange.task = task
            self.tasks.add(task)
            task.add_done_callback(exchange.task_done)
            task.add_done_callback(self.tasks.discard)

    def tick(self, now: float, wall: float) -> None:
        """Move the clock, rebuild the Date line when its second is over, and let overdue connections act.

        Args:
            now: the event loop's time, in seconds.
            wall: seconds since the epoch.
        """
        self.now = now
        self.launcher.refresh()
        second = int(wall)
        if self._has_date and second != self._second:
            self._second = second
            self.common.set_date(b"date: %b\r\n" % http_date(second))
        due = [connection for connection in self.connections if connection.is_due(now)]
        for connection in due:
            connection.on_tick(now)


def http_date(second: int) -> bytes:
    """Return a second since the epoch as an IMF-fixdate (RFC 9110 section 5.6.7), whatever the locale."""
    year, month, day, hour, minute, second, weekday = time.gmtime(second)[:7]
    names = (_DAYS[weekday], day, _MONTHS[month - 1], year)
    return b"%b, %02d %b %04d " % names + b"%02d:%02d:%02d GMT" % (hour, minute, second)


def _seconds(timeout: Optional[float]) -> float:
    return inf if timeout is None else float(timeout)


def _common_fields(settings: Any) -> CommonFields:
    extra = b""
    names = set()
    for name, value in settings.headers:
        names.add(name.lower())
        extra += f"{name}: {value}\r\n".encode("latin-1")
    server = b"server: asgiserve\r\n" if settings.server_header and "server" not in names else b""
    return CommonFields(server, extra)
