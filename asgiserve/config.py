"""The resolved settings of one server.

``Config(app, **options)`` checks every option with the table in :mod:`asgiserve.options`; the command line goes
through the same checks. Creating a Config reads no file, no environment variable and imports nothing of the user's:
:meth:`Config.load` does the work.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from . import _stack, importer, loops
from . import logging as logs
from .errors import ConfigError
from .logging import LOGGING_CONFIG
from .options import BY_NAME, OPTIONS, Option, OptionError, UnknownOption, nearest
from .trust import DEFAULT_PEERS, TrustedPeers

if TYPE_CHECKING:
    from ssl import SSLContext

    from .tls import TLS

logger = logging.getLogger("asgiserve.error")

_CONFIG_ONLY = ("callback_notify", "timeout_notify", "ssl_context_factory")

NOTIFY = Option("timeout_notify", "seconds", 30, "", "Seconds between two calls of callback_notify.", minimum=0.1)


class Config:
    """The settings of a server, one attribute for each option.

    `app` is an ASGI 3 application or where it is, as ``"module:attribute"``. The keywords are the command line's
    options with underscores (``Config("main:app", port=8080, log_level="debug")``).
    ``log_config`` also takes a ``logging.config.dictConfig`` dict, a RawConfigParser or an open INI file, and None,
    which leaves the logging set-up alone.
    ``callback_notify`` is a function or async function that the server calls every ``timeout_notify`` seconds while it
    accepts connections.
    ``ssl_context_factory`` is called with this Config and a function without parameters that makes the default context,
    and returns the ``ssl.SSLContext`` to serve with.
    ``ASGISERVE_*`` variables and configuration files are read by the command line only.

    Raises :class:`asgiserve.ConfigError` (one line, naming the option) for a bad value, an unknown option (which is a
    TypeError too), or options that exclude each other.
    """

    app: Any
    factory: bool
    app_dir: Optional[str]
    interface: str
    env_file: Optional[str]
    reset_contextvars: bool
    lifespan: str
    root_path: str
    host: Optional[str]
    port: int
    uds: Optional[str]
    fd: Optional[int]
    bind: list[str]
    uds_permissions: Optional[str]
    backlog: int
    reuse_port: bool
    ssl_keyfile: Optional[str]
    ssl_certfile: Optional[str]
    ssl_keyfile_password: Optional[str]
    ssl_version: int
    ssl_minimum_version: str
    ssl_cert_reqs: int
    ssl_ca_certs: Optional[str]
    ssl_ciphers: Optional[str]
    loop: Any
    http: str
    http2: bool
    ws: str
    ws_max_size: Optional[int]
    ws_max_queue: int
    ws_ping_interval: Optional[float]
    ws_ping_timeout: Optional[float]
    ws_per_message_deflate: bool
    log_config: Any
    log_level: Union[str, int, None]
    log_format: str
    access_log: bool
    access_log_format: Optional[str]
    use_colors: Optional[bool]
    proxy_headers: bool
    forwarded_allow_ips: Optional[list[str]]
    forwarded_headers: tuple[str, ...]
    proxy_protocol: bool
    workers: Optional[int]
    worker_sockets: str
    timeout_worker_boot: Optional[float]
    timeout_worker_healthcheck: Optional[float]
    limit_worker_age: Optional[float]
    limit_worker_memory: Optional[int]
    reload: bool
    reload_dirs: list[str]
    reload_includes: list[str]
    reload_excludes: list[str]
    reload_delay: float
    metrics_bind: Optional[str]
    server_header: bool
    date_header: bool
    headers: list[tuple[str, str]]
    limit_concurrency: Optional[int]
    limit_connections: Optional[int]
    limit_max_requests: Optional[int]
    limit_max_requests_jitter: int
    limit_request_line: int
    limit_header_size: int
    limit_header_fields: int
    limit_request_body: Optional[int]
    limit_rate_per_second: Optional[int]
    h11_max_incomplete_event_size: Optional[int]
    timeout_keep_alive: Optional[float]
    timeout_ssl_handshake: Optional[float]
    timeout_headers: Optional[float]
    timeout_body: Optional[float]
    timeout_write: Optional[float]
    timeout_request: Optional[float]
    timeout_graceful_shutdown: Optional[float]
    timeout_lifespan_startup: Optional[float]
    timeout_lifespan_shutdown: Optional[float]

    def __init__(
        self,
        app: Any,
        *,
        callback_notify: Optional[Callable[[], Any]] = None,
        timeout_notify: float = 30,
        ssl_context_factory: Optional[Callable[..., SSLContext]] = None,
        **options: Any,
    ) -> None:
        for name in options:
            if name not in BY_NAME:
                close = nearest(name, [*BY_NAME, *_CONFIG_ONLY])
                raise UnknownOption(name, "unknown option" + (f", did you mean {close}?" if close else ""))
        options["app"] = app
        for option in OPTIONS:
            given = option.name in options
            setattr(self, option.name, option.clean(options[option.name]) if given else option.default)
        self.headers = list(self.headers)
        self.bind = list(self.bind)
        self._apply_aliases(options)
        if self.app is None or self.app == "":
            raise OptionError("app", "no application given")
        if self.log_format == "json" and self.log_config != LOGGING_CONFIG:
            raise OptionError(
                "log_format",
                "json changes the default log_config; in one of your own, name asgiserve.logging.JSONFormatter",
            )
        if callback_notify is not None and not callable(callback_notify):
            raise OptionError("callback_notify", f"{callback_notify!r} is not a function")
        self.callback_notify = callback_notify
        self.timeout_notify: float = NOTIFY.clean(timeout_notify)
        if ssl_context_factory is not None and not callable(ssl_context_factory):
            raise OptionError("ssl_context_factory", f"{ssl_context_factory!r} is not a function")
        self.ssl_context_factory = ssl_context_factory
        self._unload()

    def _unload(self) -> None:
        self.tls: Optional[TLS] = None  # set by load_tls()
        #: Set by load(): who is trusted to say whom a request is from.
        self.peers: TrustedPeers = TrustedPeers("")
        self.loaded = False
        self._is_prepared = False
        #: Set by load(): the ASGI application, and the stack that serves it.
        self.loaded_app: Any = None
        self.stack: Any = None
        #: Set by load_stack(): what serves HTTP/2 connections, where the option asks for it.
        self.http2_connection: Any = None

    def _apply_aliases(self, options: dict[str, Any]) -> None:
        for option in OPTIONS:
            value = getattr(self, option.name)
            if option.alias_of and value is not None and option.alias_of not in options:
                setattr(self, option.alias_of, value)

    def __repr__(self) -> str:
        changed = [o for o in OPTIONS if o.name != "app" and getattr(self, o.name) != o.default]
        shown = "".join(f", {o.name}={'...' if o.secret else repr(getattr(self, o.name))}" for o in changed)
        return f"Config({self.app!r}{shown})"

    def __getstate__(self) -> dict[str, Any]:
        """Without what is loaded: a worker process loads its own."""
        loaded = ("tls", "peers", "loaded", "_is_prepared", "loaded_app", "stack", "http2_connection")
        return {name: value for name, value in self.__dict__.items() if name not in loaded}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._unload()

    @property
    def worker_count(self) -> Optional[int]:
        """How many worker processes are wanted: ``workers``, else ``$WEB_CONCURRENCY``; None for no workers.

        Raises :class:`asgiserve.ConfigError` for a variable that is no such number.
        """
        if self.workers is not None or self.reload:
            return self.workers
        text = os.environ.get("WEB_CONCURRENCY")
        try:
            count = BY_NAME["workers"].clean(text) if text else None
        except OptionError as exc:
            raise ConfigError(f"$WEB_CONCURRENCY: {exc.reason}") from None
        return None if count == 1 else count  # platforms that want one process do not ask for two

    @property
    def needs_parent(self) -> bool:
        """Whether the settings ask for worker processes, and for a parent that watches them.

        Raises :class:`asgiserve.ConfigError`.
        """
        if self.reload or self.worker_count is not None:
            return True
        limits = (self.limit_max_requests, self.limit_worker_age, self.limit_worker_memory)
        # An application that is an object cannot be handed to workers; a server in one process stops at its limit.
        return isinstance(self.app, str) and any(limit is not None for limit in limits)

    def warn_of_idle_options(self) -> None:
        """Logs which options have no effect because of others."""
        idle = [name for name in ("reload_dirs", "reload_includes", "reload_excludes") if getattr(self, name)]
        if idle and not self.reload:
            flags = ", ".join(BY_NAME[name].flag for name in idle)
            logger.warning("No effect without --reload: %s", flags)

    def configure_logging(self) -> None:
        """Applies the logging set-up and the log level; does nothing to handlers when ``log_config`` is None.

        Raises :class:`asgiserve.ConfigError` for a set-up that cannot be read or applied.
        """
        try:
            logs.configure(
                self.log_config,
                self.log_level,
                self.use_colors,
                self.access_log,
                self.log_format,
                self.access_log_format,
            )
        except ValueError as exc:
            raise OptionError("log_config", str(exc)) from None

    def _trusted_peers(self) -> TrustedPeers:
        """The peers whose word about a client counts: ``forwarded_allow_ips``, else ``$FORWARDED_ALLOW_IPS``."""
        if self.forwarded_allow_ips is not None:
            return TrustedPeers(self.forwarded_allow_ips)
        try:
            return TrustedPeers(os.environ.get("FORWARDED_ALLOW_IPS", DEFAULT_PEERS))
        except ValueError as exc:
            raise OptionError("forwarded_allow_ips", f"{exc} ($FORWARDED_ALLOW_IPS)") from None

    def load_stack(self) -> None:
        """Chooses the HTTP stack. Raises :class:`asgiserve.ConfigError` when the one asked for is not there, or what
        HTTP/2 needs."""
        if self.stack is None:
            stack = _stack.load(_stack.resolve_http(self.http))
            if self.http2:
                try:
                    self.http2_connection = _stack.http2(stack)
                except ConfigError as exc:
                    raise OptionError("http2", str(exc)) from None
            self.stack = stack

    @property
    def is_ssl(self) -> bool:
        """Whether the server speaks TLS."""
        return bool(self.ssl_keyfile or self.ssl_certfile or self.ssl_context_factory)

    @property
    def ssl(self) -> Optional[SSLContext]:
        """The context for new connections, once it is loaded; None without TLS."""
        return None if self.tls is None else self.tls.current.context

    def load_tls(self) -> None:
        """Reads key and certificate, once. Raises :class:`asgiserve.ConfigError`."""
        if self.tls is not None or not self.is_ssl:
            return
        try:
            from .tls import TLS
        except ImportError as exc:
            raise OptionError("ssl_certfile", f"this Python comes without TLS ({exc})") from None
        self.tls = TLS(self)

    def load(self) -> None:
        """Chooses the HTTP stack and imports the application, once.

        Raises :class:`asgiserve.ConfigError` or :class:`asgiserve.importer.LoadError`.
        """
        if self.loaded:
            return
        self.load_stack()
        self.load_tls()
        if self.env_file is not None:
            logger.info("Loading environment from '%s'", self.env_file)
        self._prepare_import()
        if self.proxy_headers or self.proxy_protocol:
            self.peers = self._trusted_peers()
        self.loaded_app, self.interface = importer.build(self.app, self.factory, self.interface, logger.warning)
        if self.interface == "wsgi":
            self.ws = "none"
        if logs.is_tracing():
            self.loaded_app = logs.TracedApplication(self.loaded_app)
        self.loaded = True

    def _prepare_import(self) -> None:
        """What the user's code is to find when it is imported: its environment, and its own directory on the path."""
        if self._is_prepared:
            return
        self._is_prepared = True
        if self.env_file is not None:
            importer.load_environment(self.env_file)
        if self.app_dir is not None and isinstance(self.app, str):
            importer.add_path(self.app_dir)

    def loop_factory(self) -> Callable[[], asyncio.AbstractEventLoop]:
        """The function that makes the event loop. Raises :class:`asgiserve.ConfigError` when there is none of the name
        asked for."""
        if isinstance(self.loop, str) and ":" in self.loop:
            self._prepare_import()
        return loops.factory(self.loop)
