"""Worker classes for gunicorn, as in ``gunicorn -k asgiserve.workers.AsgiserveWorker main:app``.

gunicorn opens the sockets, loads the application, starts, watches and replaces the processes; in each of them a
:class:`asgiserve.Server` serves. What gunicorn's settings mean for the server is known here, and nowhere else.
"""

from __future__ import annotations

import asyncio
import io
import logging
import os
import signal
import socket
import sys
import threading
import traceback
from types import FrameType
from typing import Any, NoReturn, Optional, Sequence

try:
    from gunicorn.arbiter import Arbiter
    from gunicorn.workers.base import Worker
except ImportError as exc:
    raise ImportError(f"asgiserve.workers needs gunicorn (pip install 'asgiserve[gunicorn]'): {exc}") from None

from .config import Config
from .errors import ConfigError
from .lifespan import Lifespan
from .logging import AccessFormatter, StreamHandler
from .server import Server
from .types import ASGIApplication, Receive, Scope, Send

BEAT = 0.5
"""Seconds between two signs of life to gunicorn, which counts in whole seconds."""

RESERVE = 3.0
"""Seconds of gunicorn's --graceful-timeout that are kept for the application's shutdown code: when all of it has
passed, gunicorn kills."""

RELOAD_DRAIN = 2.0
"""Seconds that running requests get when --reload has seen a change. Nobody wants to wait for an open stream then."""

_EXIT_GRACE = 2.0

# gunicorn's settings that mean the same here; those that it has had from 24.0 on for its own ASGI workers as well.
_SAME = {
    "limit_request_line": "limit_request_line",
    "limit_request_fields": "limit_header_fields",
    "root_path": "root_path",
    "asgi_loop": "loop",
    "asgi_lifespan": "lifespan",
    "websocket_max_message_size": "ws_max_size",
}

# What is gunicorn's business, so that it would have no effect, or harm.
_NOT_HERE = ("metrics_bind", "reload", "workers", "limit_worker_age", "limit_worker_memory")


class Blocked(BaseException):
    """Raised in an application that has blocked the event loop for too long; no Exception, so that it gets through."""


class AsgiserveWorker(Worker):  # type: ignore[misc]  # gunicorn has no types
    """A worker of gunicorn that serves with asgiserve, on the compiled stack where it is built.

    ``CONFIG_KWARGS`` (dict) holds options of :class:`asgiserve.Config`. It is there for subclasses, and wins over what
    gunicorn's settings say::

        class MyWorker(AsgiserveWorker):
            CONFIG_KWARGS = {"loop": "asyncio", "timeout_request": 20}
    """

    CONFIG_KWARGS: dict[str, Any] = {}

    config: Optional[Config]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._server: Optional[_Server] = None
        self._is_interrupted = False
        self._is_blocked = False
        self._mistake: Optional[ConfigError] = None
        self.config = None
        try:
            self.config = self.make_config(self.cfg, self.max_requests)
        except ConfigError as exc:
            # Here this is still gunicorn's main process. It has seen to it that its first settings are good, but when
            # it reads them again at SIGHUP, it has an ear only for workers that do not boot.
            self._mistake = exc

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Called by gunicorn when it starts. Raises RuntimeError, which it shows in one line before it exits."""
        try:
            cls.make_config(cfg, sys.maxsize).load_stack()
        except ConfigError as exc:
            raise RuntimeError(str(exc)) from None

    @classmethod
    def make_config(cls, cfg: Any, max_requests: int) -> Config:
        """The options for gunicorn's settings `cfg`, still without the application. Raises ConfigError."""
        options = {**options_of(cfg), **cls.CONFIG_KWARGS}
        for name in _NOT_HERE:
            if options.get(name) not in (None, False):
                raise ConfigError(f"{name}: not with gunicorn, whose main process starts and watches the workers")
        if max_requests != sys.maxsize:
            options.setdefault("limit_max_requests", max_requests)
        return Config("application:of_gunicorn", **options)

    # -- the life of the process

    def init_process(self) -> None:
        """Called by gunicorn in the new process; returns when the worker has ended."""
        if self._mistake is not None:
            self._fail(self._mistake)
        assert self.config is not None
        if self.config.log_config is None:
            adopt_logs(self.log)
        super().init_process()

    def load_wsgi(self) -> None:
        """Loads the application. With --reload a syntax error in it is what is served, until the file changes."""
        try:
            self.wsgi = self.app.wsgi()
        except SyntaxError as exc:
            if self.reloader is None:
                raise
            self.log.exception(exc)
            if exc.filename is not None:
                self.reloader.add_extra_file(exc.filename)
            self.wsgi = _failing_app(exc)

    def run(self) -> None:
        """Serves until told to stop. Called by gunicorn once the application is loaded."""
        config = self.config
        assert config is not None
        config.app = self.wsgi
        self._server = server = _Server(config, self)
        status: Any = 0
        try:
            server.run([each.sock for each in self.sockets])
        except ConfigError as exc:
            self._fail(exc)
        except SystemExit as exc:
            status = exc.code
        except Blocked:
            pass  # raised in the loop itself
        if self._is_blocked:
            status = 1
        if server.stuck:
            # Threads that nobody can end would keep the process, and its place among the workers, for ever.
            last = threading.Timer(_EXIT_GRACE, os._exit, (status if isinstance(status, int) else 1,))
            last.daemon = True
            last.start()
        if status:
            sys.exit(status)

    def _fail(self, exc: ConfigError) -> NoReturn:
        self.log.error("%s", exc)
        sys.exit(Arbiter.WORKER_BOOT_ERROR)

    # -- signals

    def init_signals(self) -> None:
        """Called by gunicorn before it loads the application."""
        for number in self.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, self.handle_exit)
        signal.signal(signal.SIGINT, self.handle_quit)
        signal.signal(signal.SIGQUIT, self.handle_quit)
        signal.signal(signal.SIGABRT, self.handle_abort)
        signal.signal(signal.SIGUSR1, self.handle_usr1)
        signal.signal(signal.SIGWINCH, self.handle_winch)
        # These need not interrupt the system calls of libraries that cannot go on afterwards.
        signal.siginterrupt(signal.SIGTERM, False)
        signal.siginterrupt(signal.SIGUSR1, False)

    def handle_exit(self, sig: int, frame: Optional[FrameType]) -> None:
        """SIGTERM: running requests end first. gunicorn repeats it every second, so that it is no sign of a hurry."""
        if self._server is None:
            self.alive = False
            sys.exit(0)
        self._server.should_exit = True

    def handle_quit(self, sig: int, frame: Optional[FrameType]) -> None:
        """SIGINT and SIGQUIT: running requests are cancelled. A terminal's Ctrl+C brings both."""
        if not self._is_interrupted:
            self._is_interrupted = True
            self.cfg.worker_int(self)
        if self._server is None:
            self.alive = False
            sys.exit(0)
        self._server.force_exit = True

    def handle_abort(self, sig: int, frame: Optional[FrameType]) -> None:
        """SIGABRT: gunicorn has heard nothing for the time of --timeout. Raises :class:`Blocked` in what blocks the
        event loop, so that the worker can end; if it does not, gunicorn kills it when the same time has passed again.
        """
        self.alive = False
        self.log.critical("The event loop is blocked:\n%s", "".join(_stack(frame)).rstrip())
        self.cfg.worker_abort(self)
        if self._server is None:
            sys.exit(1)
        self._is_blocked = True
        self._server.force_exit = True
        self.notify()
        raise Blocked("the event loop was blocked for longer than gunicorn's --timeout")


class AsgiserveH11Worker(AsgiserveWorker):
    """The same on the stack in pure Python, and asyncio."""

    CONFIG_KWARGS = {"loop": "asyncio", "http": "h11"}


class _Server(Server):
    """The server of a worker: shows gunicorn that its event loop goes round, and ends with gunicorn."""

    handles_signals = False

    def __init__(self, config: Config, worker: AsgiserveWorker) -> None:
        super().__init__(config)
        self._worker = worker
        # Other workers accept while this one ends, at --max-requests and, as far as a worker can know, at SIGTERM.
        self.lingers = not worker.cfg.reload
        self._beating: Optional[asyncio.TimerHandle] = None
        self._is_up = False

    async def _listen(self, lifespan: Lifespan) -> None:
        # The first sign of life starts the clock of --timeout, which start-up code need not heed; the first request may
        # already block the loop.
        self._is_up = True
        self._worker.notify()
        await super()._listen(lifespan)

    async def serve(self, sockets: Optional[Sequence[socket.socket]] = None) -> None:
        """As in Server. A beating heart to the very end: a drain that takes longer than --timeout is no hang."""
        self._beat(asyncio.get_running_loop())
        try:
            await super().serve(sockets)
        finally:
            assert self._beating is not None
            self._beating.cancel()

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._beating = loop.call_later(BEAT, self._beat, loop)
        worker = self._worker
        if self._is_up:
            worker.notify()
        if self.should_exit:
            return
        if worker.ppid != os.getppid():
            worker.log.warning("gunicorn's main process is gone: the worker stops")
            self.should_exit = True
        elif not worker.alive:  # says the reloader
            self.should_exit = True


def options_of(cfg: Any) -> dict[str, Any]:
    """What gunicorn's settings mean, as options of :class:`asgiserve.Config`."""
    drain = max(cfg.graceful_timeout - RESERVE, cfg.graceful_timeout * 0.8)
    options = {
        "log_config": None,
        "access_log_format": cfg.access_log_format,
        "backlog": cfg.backlog,
        "timeout_keep_alive": cfg.keepalive,
        "timeout_graceful_shutdown": min(drain, RELOAD_DRAIN) if cfg.reload else drain,
        # Who comes over a UNIX socket is always trusted by gunicorn.
        "forwarded_allow_ips": [*cfg.forwarded_allow_ips, "unix"],
        "proxy_protocol": cfg.proxy_protocol not in (False, "off"),
    }
    for theirs, ours in _SAME.items():
        setting = cfg.settings.get(theirs)
        # gunicorn's defaults are not ours, and 0 is no limit of ours.
        if setting is not None and setting.get() and setting.get() != setting.default:
            options[ours] = setting.get()
    if cfg.is_ssl:
        options.update(
            ssl_keyfile=cfg.keyfile,
            ssl_certfile=cfg.certfile,
            ssl_ca_certs=cfg.ca_certs,
            ssl_cert_reqs=int(cfg.cert_reqs),
            ssl_ciphers=cfg.ciphers,
            ssl_context_factory=lambda config, default: cfg.ssl_context(cfg, default),
        )
    return options


def adopt_logs(log: Any) -> None:
    """Has the loggers of asgiserve, and uvicorn's for applications that use it, write where those of `log`
    (``gunicorn.glogging.Logger``) write. What --log-config says of them holds."""
    errors, requests = log.error_log, log.access_log
    for name, theirs in (("asgiserve", errors), ("asgiserve.access", requests), ("uvicorn", errors)):
        logger = logging.getLogger(name)
        if not logger.handlers:
            logger.handlers = [_quicker(handler) for handler in _handlers(theirs)]
            logger.setLevel(theirs.getEffectiveLevel())
            logger.propagate = False


def _handlers(logger: Optional[logging.Logger]) -> list[logging.Handler]:
    """All that a record of this logger goes to."""
    found: list[logging.Handler] = []
    while logger is not None:
        found += logger.handlers
        logger = logger.parent if logger.propagate else None
    return found


def _quicker(handler: logging.Handler) -> logging.Handler:
    """What does the same for the access log as gunicorn's handler for standard output, at half the cost of a request:
    one that takes finished lines."""
    formatter = handler.formatter
    if type(handler) is not logging.StreamHandler or handler.filters or handler.level:
        return handler
    if type(formatter) is not logging.Formatter or formatter._fmt != "%(message)s":
        return handler
    ours = StreamHandler(handler.stream)
    ours.setFormatter(AccessFormatter("%(message)s"))
    return ours


def _stack(frame: Optional[FrameType]) -> list[str]:
    """The lines that show where a frame is, from the server on."""
    depth, outer = 0, frame
    while outer is not None and outer.f_code is not AsgiserveWorker.run.__code__:
        depth, outer = depth + 1, outer.f_back
    return traceback.format_stack(frame, depth)


def _failing_app(exc: SyntaxError) -> ASGIApplication:
    with io.StringIO() as text:
        traceback.print_exception(type(exc), exc, exc.__traceback__, file=text)
        body = text.getvalue().encode("utf-8", "backslashreplace")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        await send(
            {"type": "http.response.start", "status": 500, "headers": [(b"content-type", b"text/plain; charset=utf-8")]}
        )
        await send({"type": "http.response.body", "body": body})

    return app
