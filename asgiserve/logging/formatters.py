"""The formatters: coloured text, access lines, JSON. Any logging configuration can name them."""

from __future__ import annotations

import copy
import http
import logging
import os
import sys
import time
from typing import Any, Optional, TextIO

from .._consts import TRACE

RESET = "\x1b[0m"
BOLD = "\x1b[1m"
_LEVEL_COLOURS = {
    TRACE: "\x1b[34m",
    logging.DEBUG: "\x1b[36m",
    logging.INFO: "\x1b[32m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[91m",
}
_STATUS_COLOURS = {1: "\x1b[97m", 2: "\x1b[32m", 3: "\x1b[33m", 4: "\x1b[31m", 5: "\x1b[91m"}

#: What every record has; the rest is what somebody added to it.
_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {
    "message",
    "asctime",
    "taskName",
    "color_message",
}


def phrase_of(status: int) -> str:
    """The reason phrase of a status code, or an empty string."""
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""


class ColourizedFormatter(logging.Formatter):
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
        self.use_colors = self.should_use_colors() if use_colors is None else use_colors

    def should_use_colors(self) -> bool:
        """Whether the stream is a terminal, and ``NO_COLOR`` is not set."""
        stream = self._stream()
        if os.environ.get("NO_COLOR"):
            return False
        try:
            return stream is not None and stream.isatty()
        except ValueError:  # closed
            return False

    def _stream(self) -> Optional[TextIO]:
        return sys.stderr

    def color_level_name(self, level_name: str, level_no: int) -> str:
        """The level name in the colour of its level."""
        colour = _LEVEL_COLOURS.get(level_no)
        return f"{colour}{level_name}{RESET}" if colour else level_name

    def level_prefix(self, level: int, name: str) -> str:
        """``INFO:    ``, padded to nine characters."""
        padding = " " * (8 - len(name))
        if self.use_colors:
            name = self.color_level_name(name, level)
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


class DefaultFormatter(ColourizedFormatter):
    """The formatter of everything but requests."""


class AccessFormatter(ColourizedFormatter):
    """The formatter of requests.

    Adds ``client_addr``, ``request_line``, ``status_code`` (with its phrase), ``method``, ``full_path`` and
    ``http_version``. It takes records whose arguments are ``(client_addr, method, path, http_version, status)``, as
    ``asgiserve.access`` makes them.
    """

    def _stream(self) -> Optional[TextIO]:
        return sys.stdout

    def get_status_code(self, status_code: int) -> str:
        """``200 OK``, on a terminal in the colour of its class."""
        text = f"{status_code} {phrase_of(status_code)}"
        colour = _STATUS_COLOURS.get(status_code // 100)
        return f"{colour}{text}{RESET}" if self.use_colors and colour else text

    def add_fields(self, record: logging.LogRecord) -> None:
        super().add_fields(record)
        fields = record.__dict__
        args = record.args
        if not isinstance(args, tuple) or len(args) != 5:
            if "http_version" not in fields or "status" not in fields:
                # Someone else's line on this logger: show it rather than fail.
                fields.update(client_addr="", request_line=record.getMessage(), status_code="")
                for name in ("method", "full_path", "http_version"):
                    fields.setdefault(name, "")
                return
            # The message is a line by access_log_format.
            args = (fields["client"], fields["method"], fields["path"], fields["http_version"], fields["status"])
        client, method, path, version, status = args
        line = f"{method} {path} HTTP/{version}"
        fields.update(
            client_addr=client,
            request_line=f"{BOLD}{line}{RESET}" if self.use_colors else line,
            status_code=self.get_status_code(int(status)),  # type: ignore[call-overload]
            method=method,
            full_path=path,
            http_version=version,
        )


class JSONFormatter(logging.Formatter):
    """One JSON object per line: ``time`` (UTC), ``level``, ``logger``, ``message``, what was added to the record (see
    ``extra`` in the logging module), and ``exception`` as text.

    It takes the arguments of the other formatters, and has no use for them.
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
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        import json  # most logs are no JSON

        fields: dict[str, Any] = {
            "time": json_time(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        added = {key: value for key, value in vars(record).items() if key not in _STANDARD and key not in fields}
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            added["exception"] = record.exc_text
        if record.stack_info:
            added["stack"] = self.formatStack(record.stack_info)
        try:
            return json.dumps({**fields, **added}, default=str, allow_nan=False, separators=(",", ":"))
        except (
            TypeError,
            ValueError,
            RecursionError,
        ):  # what JSON has no form for, such as NaN or keys that are tuples
            added = {key: str(value) for key, value in added.items()}
            return json.dumps({**fields, **added}, separators=(",", ":"))


def json_time(created: float) -> str:
    """Seconds since the epoch as ``2026-11-21T03:46:00.123Z``."""
    second = int(created)
    return f"{second_text(second)}.{int((created - second) * 1000):03d}Z"


_last_second: tuple[int, str] = (-1, "")


def second_text(second: int) -> str:
    """A second since the epoch as ``2026-11-21T03:46:00``."""
    global _last_second
    known, text = _last_second
    if known != second:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        _last_second = (second, text)
    return text
