"""The server: start-up, listeners, signals, the tick, and the end.

:class:`Server` brings the parts together for one process and one event loop: it loads the application, runs its
lifespan, opens the sockets, lets the stack's connections serve, and takes everything down again within a bound. It
knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import logging
import os
import signal
import socket
import sys
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING, Any, Callable, Iterator, Optional, Sequence

from . import _stack, loops
from .acceptor import Entrance, Places
from .config import Config
from .drain import Drain
from .importer import LoadError
from .lifespan import Lifespan, LifespanError
from .logging import TRACE, AccessLog
from .memory import keep_freed_blocks
from .middleware.proxy_headers import ProxyHeaders
from .sockets import BindError, Listeners, open_configured
from .systemd import Notifier
from .urgency import DRAIN, DROP, HURRY, RETIRE, Urgency

if TYPE_CHECKING:
    from .metrics.snapshot import Snapshot
    from .processes.link import WorkerLink

logger = logging.getLogger("asgiserve.error")

EXIT_STARTUP_FAILED = 3
"""Exit status when the application did not start."""

TICK = 0.25
"""Seconds between two looks at the deadlines of all connections."""


class StartupError(Exception):
    """The server did not start. The reason is in the log already, and in one line in the text."""


class Server:
    """Serves one application in one process.

    ``started`` (bool) is True once connections are accepted, and stays so. Setting ``should_exit`` stops the server
    gracefully, from any thread; setting ``force_exit`` stops it without waiting for requests. ``servers`` lists the
    objects that accept connections, each with ``sockets``. ``state`` is the stack's ServerState. ``stuck`` (int)
    counts the tasks and threads that would not end and were left behind. Without ``handles_signals`` (bool) signals are
    left to those who run the server. With ``ends_process`` (bool) those that come after the end are ignored, as
    the process is to end with the server. With ``lingers`` (bool) others serve the same clients, as far as the server
    can know, and ``should_exit`` leaves these their time: see :meth:`order`.

    `link` is how a worker process talks with its parent; with one, the sockets and their address are the parent's
    business, and so are the signals that a terminal sends to all processes.
    """

    handles_signals = True
    ends_process = False
    lingers = False

    def __init__(self, config: Config, link: Optional[WorkerLink] = None) -> None:
        self.config = config
        self.started = False
        self.servers: list[Any] = []
        self.state: Any = None
        self.stuck = 0
        self._urgency = Urgency()
        self._terminations = 0
        self._abandoned: set[asyncio.Task[Any]] = set()
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._listeners: Optional[Listeners] = None
        self._entrance: Optional[Entrance] = None
        self._reactor: Any = None
        self._link = link
        # Who is told how the server is doing: by default nobody, as for a server that was given its sockets by others.
        self._supervisor: Any = Notifier({}) if link is None else link
        self._beats_to: Any = link  # who is told the figures
        self._started_at = 0.0
        self._lag = 0.0
        self._tick_due = 0.0
        self._stood_still = 0.0  # seconds, so far
        self._access_log: Optional[AccessLog] = None
        self._ticker: Optional[asyncio.TimerHandle] = None
        self._notifier: Optional[asyncio.Task[None]] = None
        self._max_requests: Optional[int] = None

    # -- what others see and set

    @property
    def should_exit(self) -> bool:
        """Whether the server is to stop."""
        return self._urgency.level >= RETIRE

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        if value:
            self._urgency.rise(RETIRE if self.lingers else DRAIN)

    @property
    def force_exit(self) -> bool:
        """Whether the server is to stop without waiting for running requests."""
        return self._urgency.level >= HURRY

    @force_exit.setter
    def force_exit(self, value: bool) -> None:
        if value:
            self._urgency.rise(HURRY)

    def order(self, urgency: int) -> None:
        """Stops the server with that :mod:`.urgency`, also one whose event loop is held up.

        For a worker that serves in its main thread; to be called in another one. Unlike signals, of which each asks for
        more of a hurry than the last, the same order may come twice.

        With RETIRE, connections between two requests are not closed at once, when a request may be on its way, but
        behind their next response or when they have been idle for a while.
        """
        self._urgency.order(urgency)

    def look_after(self, slot: int, sockets: Sequence[socket.socket]) -> None:
        """Accepts from these listening sockets too, which are those of another worker that does not; without any, no
        more. To be called in any thread, once the server has started."""
        loop, entrance = self._loop, self._entrance
        try:
            if loop is not None and entrance is not None:
                asyncio.run_coroutine_threadsafe(entrance.look_after(slot, sockets), loop)
                return
        except RuntimeError:
            pass  # the loop has been closed
        for sock in sockets:
            sock.close()

    def snapshot(self) -> Snapshot:
        """How the server is doing, with the longest delay of the event loop since the last call."""
        from .metrics.snapshot import take  # a server that nobody watches does without

        lag, self._lag = self._lag, 0.0
        return take(self.state, self._started_at, lag)

    # -- running

    def run(self, sockets: Optional[Sequence[socket.socket]] = None) -> None:
        """Serves on a new event loop until stopped, and closes the loop.

        Returns after a graceful stop. Raises SystemExit with status 3 when the server did not start (the log says
        why), and :class:`asgiserve.ConfigError`.
        """
        runner = loops.Runner(self.config.loop_factory(), self._abandoned)
        try:
            runner.run(self.serve(sockets))
        except StartupError:
            raise SystemExit(EXIT_STARTUP_FAILED) from None
        except KeyboardInterrupt:
            if not self.should_exit:
                raise
        finally:
            self.stuck = len(self._abandoned) + runner.stuck

    async def serve(self, sockets: Optional[Sequence[socket.socket]] = None) -> None:
        """Serves on the running event loop until stopped.

        `sockets` are bound sockets to serve on in place of the configured ones; they are closed at the end. In the
        main thread SIGINT and SIGTERM stop the server while this runs; earlier handlers come back afterwards.
        Cancelling it stops the server without waiting for requests. Raises :class:`StartupError`.
        """
        self._loop = asyncio.get_running_loop()
        self._urgency.attach(self._loop)
        with self._signals():
            try:
                await self._serve(sockets)
            finally:
                if self._ticker is not None:
                    self._ticker.cancel()
                if self._reactor is not None:
                    self._reactor.close()
                if self._access_log is not None:
                    self._access_log.close()
                self._tell_figures()
                self._supervisor.close()
                if self._listeners is not None:
                    self._listeners.remove()
                    self._listeners.close()
                self._urgency.detach()
                self._loop = None

    async def _serve(self, sockets: Optional[Sequence[socket.socket]]) -> None:
        config = self.config
        config.configure_logging()
        keep_freed_blocks()
        logger.info("Started server process [%d]", os.getpid())
        if self._link is None:
            config.warn_of_idle_options()
        self._load()
        if self.should_exit:
            return
        self._say_what_serves()
        self._open(sockets)
        await self._open_metrics()
        lifespan = Lifespan(
            config.loaded_app, config.lifespan, config.timeout_lifespan_startup, config.timeout_lifespan_shutdown
        )
        self._tick()
        try:
            if await self._start_lifespan(lifespan):
                await self._serve_started(lifespan)
                logger.info("Finished server process [%d]", os.getpid())
        finally:
            if lifespan.abandoned is not None:
                self._abandoned.add(lifespan.abandoned)

    async def _serve_started(self, lifespan: Lifespan) -> None:
        try:
            try:
                await self._listen(lifespan)
                if self.config.callback_notify is not None:
                    self._notifier = asyncio.ensure_future(self._notify(self.config.callback_notify))
                await self._urgency.wait()
            except asyncio.CancelledError:
                self._urgency.rise(HURRY)
                raise
            finally:
                if self._notifier is not None:
                    self._notifier.cancel()
                await self._stop_serving()
        finally:
            await self._stop_lifespan(lifespan)

    # -- start-up

    def _load(self) -> None:
        self._urgency.is_loading = True
        try:
            if not self.should_exit:  # it may have been told to before it came to this
                self.config.load()
        except LoadError as exc:
            logger.error("Cannot load the application: %s", exc, exc_info=exc.cause)
            raise StartupError(str(exc)) from None
        except KeyboardInterrupt:
            if not self.should_exit:
                raise
            logger.info("Interrupted while the application was imported.")
        finally:
            self._urgency.is_loading = False

    def _say_what_serves(self) -> None:
        assert self._loop is not None
        stack = self.config.stack
        level = logging.INFO if self._link is None else logging.DEBUG  # once is enough
        logger.log(level, "stack: %s, %s", stack.name, stack.parser)
        logger.log(level, "loop: %s", loops.describe(self._loop))

    def _open(self, sockets: Optional[Sequence[socket.socket]]) -> None:
        config = self.config
        try:
            if sockets is not None:
                self._listeners = Listeners(list(sockets))
            else:
                self._listeners = open_configured(config)
                self._supervisor = Notifier(os.environ)
        except BindError as exc:
            self._fail(exc)

    async def _open_metrics(self) -> None:
        """Serves metrics and probes, unless a parent does that."""
        if self._link is not None or self.config.metrics_bind is None:
            return
        from .metrics.alone import Alone  # it takes time to load, and most do not need it

        assert self._loop is not None
        assert self._listeners is not None
        predecessor = self._listeners.predecessor
        self._supervisor = self._beats_to = Alone(self.config, self._supervisor)
        try:
            self._beats_to.bind(predecessor)
            if predecessor is None:  # it has the probes until it lets go
                await self._beats_to.start(self._loop)
        except BindError as exc:
            self._fail(exc)

    def _fail(self, exc: Exception) -> None:
        logger.error("%s", exc)
        raise StartupError(str(exc)) from None

    async def _start_lifespan(self, lifespan: Lifespan) -> bool:
        """Runs the start-up code; False when the server was told to stop meanwhile."""
        startup = asyncio.ensure_future(lifespan.startup())
        told = asyncio.ensure_future(self._urgency.wait())
        try:
            await asyncio.wait([startup, told], return_when=asyncio.FIRST_COMPLETED)
        finally:
            told.cancel()
            if not startup.done():
                logger.info("Interrupted while waiting for application startup.")
                startup.cancel()
                await asyncio.wait([startup])
        if startup.cancelled():
            return False
        try:
            startup.result()
        except LifespanError as exc:
            self._fail(exc)
        return True

    async def _listen(self, lifespan: Lifespan) -> None:
        config, loop, listeners = self.config, self._loop, self._listeners
        assert loop is not None
        assert listeners is not None
        access_log = AccessLog(loop, config.access_log_format, config.stack)
        if config.access_log and access_log.wanted:
            self._access_log = access_log
        log = None if self._access_log is None else access_log.lines
        self.state = config.stack.ServerState(config.loaded_app, config, loop, log)
        self.state.clock = time.perf_counter
        self.state.times_requests = log is not None and access_log.needs_duration
        if config.metrics_bind is not None:
            self.state.times_requests = True
            self.state.figures = config.stack.Figures()
        self.state.logs_headers = access_log.needs_headers
        self.state.is_tracing = logger.isEnabledFor(TRACE)
        self.state.lifespan_state = lifespan.state
        self.state.http2 = config.http2_connection
        if config.proxy_headers:
            self.state.forwarding = ProxyHeaders(config.peers, config.forwarded_headers)
        self.state.tick(loop.time() - self._stood_still, time.time())
        if config.limit_max_requests is not None and self._link is None:  # the parent counts the requests of workers
            import random  # few servers have a limit

            self._max_requests = config.limit_max_requests + random.randint(0, config.limit_max_requests_jitter)
        try:
            listeners.listen(config.backlog)
            seat = None if self._link is None else self._link.seat
            places = Places(self.state.connections, config.limit_connections, seat)
            self._reactor = _stack.reactor(config.stack, loop)
            self._entrance = Entrance(loop, self._connector(), config.backlog, places, self._reactor)
            self.servers = self._entrance.servers
            for sock in listeners.sockets:
                await self._entrance.open(sock)
        except BindError as exc:
            self._fail(exc)
        except OSError as exc:
            self._fail(BindError(f"Cannot accept connections: {exc}"))
        self.started = True
        self._started_at = time.time()
        self._announce(loop, listeners)

    def _announce(self, loop: asyncio.AbstractEventLoop, listeners: Listeners) -> None:
        """Says that connections are accepted, and where."""
        urls = listeners.urls("http" if self.config.tls is None else "https")
        if self._link is None:
            for url in urls:
                logger.info("asgiserve running on %s (Press CTRL+C to quit)", url)
        self._supervisor.ready(loop, f"Running on {', '.join(urls)}")

    def _connector(self) -> Callable[[], Any]:
        """The function that makes the protocol of a new connection."""
        config, stack, state, tls = self.config, self.config.stack, self.state, self.config.tls
        if tls is None:
            connect = functools.partial(stack.HTTPConnection, state)
        else:
            connect = functools.partial(_stack.tls_transport(stack), state, tls)
        if config.proxy_protocol:
            from .proxy_protocol import ProxyProtocol  # which most do not need

            connect = functools.partial(ProxyProtocol, state, config.peers, connect)
        if config.limit_rate_per_second is not None:
            connect = functools.partial(_stack.throttle(stack), state, config.limit_rate_per_second, connect)
        return connect

    # -- while serving

    def _tick(self) -> None:
        loop, state = self._loop, self.state
        if loop is None:
            return
        self._ticker = loop.call_later(TICK, self._tick)
        now = time.monotonic()
        late = now - self._tick_due if self._tick_due else 0.0
        self._tick_due = now + TICK
        self._lag = max(self._lag, late)
        # While the loop stands still nobody's time runs out: what came meanwhile has yet to be read.
        self._stood_still += max(0.0, late - TICK)
        if state is None:
            return
        try:
            state.tick(loop.time() - self._stood_still, time.time())
            if self.config.tls is not None:
                self.config.tls.check(loop.time())
        except Exception:
            logger.exception("The tick failed")
        if self._max_requests is not None and not self.should_exit and state.total_requests >= self._max_requests:
            logger.info("The limit of %d requests is reached.", self._max_requests)
            self.should_exit = True
        self._tell_figures()

    def _tell_figures(self) -> None:
        if self._beats_to is not None and self.started:
            self._beats_to.beat(self.snapshot())

    async def _notify(self, callback: Callable[[], Any]) -> None:
        """Calls `callback` now and then; a task of its own, so that one that hangs does not hold the server."""
        while True:
            try:
                result = callback()
                if inspect.isawaitable(result):
                    await result
            except Exception:
                logger.exception("callback_notify failed")
            await asyncio.sleep(self.config.timeout_notify)

    # -- the end

    async def _stop_serving(self) -> None:
        """Stops accepting and lets the running requests end; it always ends itself, whatever the application does."""
        self._supervisor.stopping("Shutting down")
        if self._listeners is not None:
            self._listeners.remove()
        if self._entrance is not None:
            await self._entrance.close()
        if self.state is None:
            return
        name = "" if self._link is None else f"[{os.getpid()}]"
        logger.info("Shutting down%s", name and f" server process {name}")
        await Drain(self.state, self.config, self._urgency, self._abandoned, name).run()

    async def _stop_lifespan(self, lifespan: Lifespan) -> None:
        shutdown = asyncio.ensure_future(lifespan.shutdown())
        told = asyncio.ensure_future(self._urgency.wait(DROP))
        await asyncio.wait([shutdown, told], return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        if not shutdown.done():
            logger.error("The application's shutdown was interrupted.")
            shutdown.cancel()
            await asyncio.wait([shutdown])

    # -- signals

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM stop the server meanwhile, of a worker SIGTERM; only the main thread can have handlers.

        Plain handlers, not those of the loop: they leave alone what others set up on the loop, can be put back
        exactly as they were, and run even while the loop is blocked.
        """
        if not self.handles_signals or threading.current_thread() is not threading.main_thread():
            yield
            return
        earlier: list[tuple[int, Any]] = []
        try:
            for number, handler in self._handlers().items():
                earlier.append((number, signal.signal(number, handler)))
            yield
        finally:
            for number, handler in earlier:
                if self.ends_process:
                    handler = signal.SIG_IGN  # it is ending already; an exception in the middle of that helps nobody
                # None: a handler that was not set from Python, which Python cannot put back.
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _handlers(self) -> dict[int, Any]:
        if self._link is not None:
            return {signal.SIGTERM: self._on_signal, signal.SIGINT: self._urgency.on_interrupt}
        handlers: dict[int, Any] = {signal.SIGTERM: self._on_signal, signal.SIGINT: self._on_signal}
        if sys.platform == "win32":
            handlers[signal.SIGBREAK] = self._on_signal
        elif self.config.is_ssl:
            handlers[signal.SIGHUP] = self._on_hangup
        return handlers

    def _on_hangup(self, number: int, frame: Optional[FrameType]) -> None:
        loop = self._loop
        if loop is not None and not self._urgency.is_loading:  # what is not loaded yet needs no reload
            loop.call_soon_threadsafe(self.reload_certificates)

    def reload_certificates(self) -> None:
        """Reads key and certificate again, for new connections; on a mistake the old ones stay, and the log says why.

        To be called in the thread of the event loop. Does nothing without TLS.
        """
        if self.config.tls is not None:
            self._supervisor.reloading()
            self.config.tls.reload()
            self._supervisor.reloaded()

    def _on_signal(self, number: int, frame: Optional[FrameType]) -> None:
        urgency = self._urgency
        if self._link is None:
            urgency.ask(max(DRAIN, min(urgency.level + 1, DROP)))
        else:
            # By hand, and then the worker is replaced: there is no hurry. Or it is for all processes of the service,
            # and then the parent says so as well, sooner or later than this; the two do not add up.
            self._terminations += 1
            urgency.ask(min(RETIRE + self._terminations - 1, DROP))
