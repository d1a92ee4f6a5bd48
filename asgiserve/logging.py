"""Log set-up, formatters and the access log.

Three loggers: ``asgiserve`` above, ``asgiserve.error`` for what the server has to say (standard error) and
``asgiserve.access`` for the requests (standard output). The formatters can be named in any logging configuration;
where the default one is in force, access lines skip the logging module and are written in batches.
"""

from __future__ import annotations

import asyncio
import copy
import http
import logging
import logging.config
import os
import sys
from typing import Any, Optional, TextIO, Union

from .options import LOG_LEVELS

TRACE = LOG_LEVELS["trace"]
logging.addLevelName(TRACE, "TRACE")

DEFAULT_FORMAT = "%(levelprefix)s %(message)s"
ACCESS_FORMAT = '%(levelprefix)s %(client_addr)s - "%(request_line)s" %(status_code)s'

#: The default set-up in the form of ``logging.config.dictConfig``; copy and change it to make your own ``log_config``.
LOGGING_CONFIG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "default": {"()": "asgiserve.logging.DefaultFormatter", "fmt": DEFAULT_FORMAT, "use_colors": None},
        "access": {"()": "asgiserve.logging.AccessFormatter", "fmt": ACCESS_FORMAT, "use_colors": None},
    },
    "handlers": {
        "default": {"class": "logging.StreamHandler", "formatter": "default", "stream": "ext://sys.stderr"},
        "access": {"class": "asgiserve.logging.AccessHandler", "formatter": "access", "stream": "ext://sys.stdout"},
    },
    "loggers": {
        "asgiserve": {"handlers": ["default"], "level": "INFO", "propagate": False},
        "asgiserve.error": {"level": "INFO"},
        "asgiserve.access": {"handlers": ["access"], "level": "INFO", "propagate": False},
    },
}

_RESET = "\x1b[0m"
_BOLD = "\x1b[1m"
_LEVEL_COLOURS = {
    TRACE: "\x1b[34m",
    logging.DEBUG: "\x1b[36m",
    logging.INFO: "\x1b[32m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[91m",
}
_STATUS_COLOURS = {1: "\x1b[97m", 2: "\x1b[32m", 3: "\x1b[33m", 4: "\x1b[31m", 5: "\x1b[91m"}


def configure(
    log_config: Optional[dict[str, Any]],
    log_level: Union[str, int, None] = None,
    use_colors: Optional[bool] = None,
    access_log: bool = True,
) -> None:
    """Applies `log_config` (a dictConfig dict, or None for none), then the level, to the three loggers.

    `use_colors` goes into those formatters of `log_config` that are called ``default`` and ``access``. Without
    `access_log` the access logger loses its handlers. Raises what ``dictConfig`` raises.
    """
    if log_config is not None:
        if use_colors is not None:
            log_config = copy.deepcopy(log_config)
            for name in ("default", "access"):
                formatter = log_config.get("formatters", {}).get(name, {})
                if str(formatter.get("()", "")).startswith("asgiserve.logging."):
                    formatter["use_colors"] = use_colors
        logging.config.dictConfig(log_config)
    if log_level is not None:
        level = LOG_LEVELS[log_level] if isinstance(log_level, str) else log_level
        for name in ("asgiserve", "asgiserve.error", "asgiserve.access"):
            logging.getLogger(name).setLevel(level)
    if not access_log:
        access = logging.getLogger("asgiserve.access")
        access.handlers = []
        access.propagate = False


def _supports_colours(stream: Optional[TextIO]) -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


class ColourFormatter(logging.Formatter):
    """Adds ``%(levelprefix)s``, the level name with its colon, padded and on a terminal coloured.

    `use_colors` True or False decides about colours, None asks the stream. ``format`` is another name of ``fmt``. A
    record's ``color_message`` extra replaces its message where colours are on.
    """

    def __init__(
        self,
        fmt: Optional[str] = None,
        datefmt: Optional[str] = None,
        style: Any = "%",
        validate: bool = True,
        *,
        use_colors: Optional[bool] = None,
        format: Optional[str] = None,
        defaults: Optional[dict[str, Any]] = None,
    ) -> None:
        more = {} if defaults is None else {"defaults": defaults}  # Python 3.10
        super().__init__(fmt if fmt is not None else format, datefmt, style, validate, **more)
        self.use_colors = _supports_colours(self._stream()) if use_colors is None else use_colors

    def _stream(self) -> Optional[TextIO]:
        return sys.stderr

    def level_prefix(self, level: int, name: str) -> str:
        """``INFO:    ``, padded to nine characters."""
        padding = " " * (8 - len(name))
        if self.use_colors and level in _LEVEL_COLOURS:
            name = f"{_LEVEL_COLOURS[level]}{name}{_RESET}"
        return f"{name}:{padding}"

    def formatMessage(self, record: logging.LogRecord) -> str:
        record = copy.copy(record)
        self.add_fields(record)
        return super().formatMessage(record)

    def add_fields(self, record: logging.LogRecord) -> None:
        """Sets the fields that the format may use, on a copy of the record."""
        record.levelprefix = self.level_prefix(record.levelno, record.levelname)
        coloured = record.__dict__.get("color_message")
        if self.use_colors and coloured is not None:
            record.msg = coloured
            record.message = record.getMessage()


class DefaultFormatter(ColourFormatter):
    """The formatter of everything but requests."""


class AccessFormatter(ColourFormatter):
    """The formatter of requests: adds ``client_addr``, ``request_line`` and ``status_code`` (with its phrase).

    It takes records whose arguments are ``(client_addr, method, path, http_version, status)``, as
    ``asgiserve.access`` makes them.
    """

    def _stream(self) -> Optional[TextIO]:
        return sys.stdout

    def status_text(self, status: int) -> str:
        """``200 OK``, on a terminal in the colour of its class."""
        try:
            phrase = http.HTTPStatus(status).phrase
        except ValueError:
            phrase = ""
        text = f"{status} {phrase}"
        colour = _STATUS_COLOURS.get(status // 100)
        return f"{colour}{text}{_RESET}" if self.use_colors and colour else text

    def add_fields(self, record: logging.LogRecord) -> None:
        super().add_fields(record)
        if not isinstance(record.args, tuple) or len(record.args) != 5:
            # Someone else's line on this logger: show it rather than fail.
            record.client_addr, record.request_line, record.status_code = "", record.getMessage(), ""
            return
        client, method, path, version, status = record.args
        line = f"{method} {path} HTTP/{version}"
        record.client_addr = client
        record.request_line = f"{_BOLD}{line}{_RESET}" if self.use_colors else line
        record.status_code = self.status_text(int(status))  # type: ignore[call-overload]


class AccessHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """A stream handler that :class:`AccessLog` can write past, as long as nobody has changed it."""

    @property
    def is_plain(self) -> bool:
        """Whether writing a finished line to the stream is all that this handler would do."""
        formatter = self.formatter
        return (
            type(self) is AccessHandler
            and not self.filters
            and self.level <= logging.INFO
            and type(formatter) is AccessFormatter
            and formatter._fmt == ACCESS_FORMAT
        )


class AccessLog:
    """The access log of one event loop: called once for each request, when its response ends.

    Where the logger ``asgiserve.access`` is set up as :data:`LOGGING_CONFIG` says, a line is formatted here and
    written with others at most ``INTERVAL`` seconds later. Otherwise each call makes a LogRecord. Never raises
    because of where the log goes: lines that cannot be written are dropped. Meant for one thread.
    """

    INTERVAL = 0.05
    """Seconds that a line may wait for others."""
    BATCH = 512
    """Lines that are written without waiting further."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop: Optional[asyncio.AbstractEventLoop] = loop
        self._logger = logging.getLogger("asgiserve.access")
        self._lines: list[str] = []
        self._timer: Optional[asyncio.TimerHandle] = None
        self._handler: Optional[AccessHandler] = None
        self._prefix = ""
        self._opening = self._closing = '"'
        self._statuses: dict[int, str] = {}

    @property
    def wanted(self) -> bool:
        """Whether anybody would see an access line now."""
        return self._logger.isEnabledFor(logging.INFO) and self._logger.hasHandlers()

    def __call__(
        self, client: str, method: str, target: str, http_version: str, status: int, length: int, duration: float
    ) -> None:
        """Logs one request: `client` as host:port or empty, `target` with its query, `length` in bytes, `duration` in
        seconds."""
        lines = self._lines
        if not lines and not self._open_batch():
            if self._logger.isEnabledFor(logging.INFO):
                self._logger.info('%s - "%s %s HTTP/%s" %d', client, method, target, http_version, status)
            return
        try:
            text = self._statuses[status]
        except KeyError:
            text = self._status(status)
        lines.append(
            f"{self._prefix}{client} - {self._opening}{method} {target} HTTP/{http_version}{self._closing} {text}\n"
        )
        if len(lines) >= self.BATCH:
            self.flush()

    def _open_batch(self) -> bool:
        """Whether lines can be written directly; looked at once per batch, as the set-up may change while the server
        runs."""
        logger = self._logger
        handlers = logger.handlers
        if len(handlers) != 1 or logger.propagate or logger.filters or not logger.isEnabledFor(logging.INFO):
            return False
        handler = handlers[0]
        if not isinstance(handler, AccessHandler) or not handler.is_plain:
            return False
        if handler is not self._handler:
            self._adopt(handler)
        if self._loop is not None and self._timer is None:
            self._timer = self._loop.call_later(self.INTERVAL, self._on_timer)
        return True

    def _adopt(self, handler: AccessHandler) -> None:
        formatter = handler.formatter
        assert isinstance(formatter, AccessFormatter)
        self._handler = handler
        self._prefix = formatter.level_prefix(logging.INFO, "INFO") + " "
        self._opening, self._closing = (f'"{_BOLD}', f'{_RESET}"') if formatter.use_colors else ('"', '"')
        self._statuses = {}

    def _status(self, status: int) -> str:
        assert self._handler is not None
        formatter = self._handler.formatter
        assert isinstance(formatter, AccessFormatter)
        text = self._statuses[status] = formatter.status_text(status)
        return text

    def _on_timer(self) -> None:
        self._timer = None
        self.flush()

    def flush(self) -> None:
        """Writes what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._lines or self._handler is None:
            return
        text = "".join(self._lines)
        self._lines.clear()
        handler = self._handler
        handler.acquire()
        try:
            handler.stream.write(text)
            handler.stream.flush()
        except (OSError, ValueError, AttributeError):
            pass  # closed, full, or no standard output at all: the requests matter more than their log
        finally:
            handler.release()

    def close(self) -> None:
        """Writes what waits, and each later line at once."""
        self._loop = None
        self.BATCH = 1
        self.flush()
