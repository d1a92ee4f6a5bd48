"""The resolved settings of one server.

``Config(app, **options)`` checks every option with the table in :mod:`asgiserve.options`; the command line goes
through the same checks. Creating a Config reads no file, no environment variable and imports nothing of the user's:
:meth:`Config.load` does the work.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Callable, Optional, Union

from . import _stack, importer, loops
from . import logging as logs
from .options import BY_NAME, OPTIONS, OptionError, nearest

logger = logging.getLogger("asgiserve.error")


class Config:
    """The settings of a server, one attribute for each option.

    `app` is an ASGI 3 application or where it is, as ``"module:attribute"``. The keywords are the command line's
    options with underscores (``Config("main:app", port=8080, log_level="debug")``), and ``log_config``: a
    ``logging.config.dictConfig`` dict that replaces the default one, or None to leave the logging set-up alone.
    ``ASGISERVE_*`` variables are read by the command line only.

    Raises :class:`asgiserve.ConfigError` (one line, naming the option) for a bad value, an unknown option, or options
    that exclude each other.
    """

    app: Any
    factory: bool
    app_dir: Optional[str]
    lifespan: str
    root_path: str
    host: Optional[str]
    port: int
    uds: Optional[str]
    fd: Optional[int]
    backlog: int
    loop: str
    http: str
    ws: str
    ws_max_size: Optional[int]
    ws_max_queue: int
    ws_ping_interval: Optional[float]
    ws_ping_timeout: Optional[float]
    ws_per_message_deflate: bool
    log_level: Union[str, int, None]
    access_log: bool
    use_colors: Optional[bool]
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
    h11_max_incomplete_event_size: Optional[int]
    timeout_keep_alive: Optional[float]
    timeout_headers: Optional[float]
    timeout_body: Optional[float]
    timeout_write: Optional[float]
    timeout_request: Optional[float]
    timeout_graceful_shutdown: Optional[float]
    timeout_lifespan_startup: Optional[float]
    timeout_lifespan_shutdown: Optional[float]

    def __init__(self, app: Any, *, log_config: Any = logs.LOGGING_CONFIG, **options: Any) -> None:
        for name in options:
            if name not in BY_NAME:
                close = nearest(name, [*BY_NAME, "log_config"])
                raise OptionError(name, "unknown option" + (f", did you mean {close}?" if close else ""))
        options["app"] = app
        for option in OPTIONS:
            given = option.name in options
            setattr(self, option.name, option.clean(options[option.name]) if given else option.default)
        self.headers = list(self.headers)
        self._apply_aliases(options)
        if self.app is None or self.app == "":
            raise OptionError("app", "no application given")
        if log_config is not None and not isinstance(log_config, dict):
            raise OptionError("log_config", f"{log_config!r} is neither a dict nor None")
        self.log_config: Optional[dict[str, Any]] = log_config
        self.loaded = False
        #: Set by load(): the ASGI application, and the stack that serves it.
        self.loaded_app: Any = None
        self.stack: Any = None

    def _apply_aliases(self, options: dict[str, Any]) -> None:
        for option in OPTIONS:
            value = getattr(self, option.name)
            if option.alias_of and value is not None and option.alias_of not in options:
                setattr(self, option.alias_of, value)

    def __repr__(self) -> str:
        changed = [o.name for o in OPTIONS if o.name != "app" and getattr(self, o.name) != o.default]
        return f"Config({self.app!r}{''.join(f', {name}={getattr(self, name)!r}' for name in changed)})"

    def configure_logging(self) -> None:
        """Applies the logging set-up and the log level; does nothing to handlers when ``log_config`` is None."""
        logs.configure(self.log_config, self.log_level, self.use_colors, self.access_log)

    def load_stack(self) -> None:
        """Chooses the HTTP stack. Raises :class:`asgiserve.ConfigError` when the one asked for is not there."""
        if self.stack is None:
            self.stack = _stack.load(_stack.resolve_http(self.http))

    def load(self) -> None:
        """Chooses the HTTP stack and imports the application, once.

        Raises :class:`asgiserve.ConfigError` or :class:`asgiserve.importer.LoadError`.
        """
        if self.loaded:
            return
        self.load_stack()
        if self.app_dir is not None and isinstance(self.app, str):
            importer.add_path(self.app_dir)
        self.loaded_app = importer.build(self.app, self.factory, logger.warning)
        self.loaded = True

    def loop_factory(self) -> Callable[[], asyncio.AbstractEventLoop]:
        """The function that makes the event loop. Raises :class:`asgiserve.ConfigError` when uvloop is asked for and
        missing."""
        return loops.factory(self.loop)
