"""The access log of one event loop.

Where nobody has put handlers, filters or formatters of his own in the way, a line is made here and written with others
a little later; otherwise each request makes a LogRecord.
"""

from __future__ import annotations

import asyncio
import logging
import time
from json.encoder import encode_basestring_ascii as quote
from typing import Any, Optional

from .atoms import Headers, LineFormat, Request
from .defaults import ACCESS_FORMAT
from .formatters import BOLD, RESET, AccessFormatter, JSONFormatter, json_time
from .streams import StreamHandler

More = tuple[str, Headers, Optional[Headers]]

# How a handler wants its lines.
_RECORDS, _TEXT, _OWN, _JSON = range(4)


class AccessLog:
    """Makes the access log lines of one event loop; to be used in one thread.

    :attr:`log` is what the server calls, see ``types.AccessLogger``. Never raises because of where the log goes: lines
    that cannot be written are dropped.

    Attributes:
        needs_headers: whether `log` has to be given the headers.
        needs_duration: whether `log` has to be given the duration.
    """

    INTERVAL = 0.05
    """Seconds that a line may wait for others."""
    BATCH = 512
    """Lines that are written without waiting further."""

    def __init__(self, loop: Optional[asyncio.AbstractEventLoop], line_format: Optional[str] = None) -> None:
        self._loop: Optional[asyncio.AbstractEventLoop] = loop
        self._logger = logging.getLogger("asgiserve.access")
        self._format = LineFormat(line_format) if line_format else None
        self._lines: list[str] = []
        self._timer: Optional[asyncio.TimerHandle] = None
        self._handler: Optional[StreamHandler] = None
        self._prefix = ""
        self._opening = ' - "'
        self._endings: dict[int, str] = {}  # by status
        self._has_failed = False
        handlers = self._logger.handlers
        self._kind = self._kind_of(handlers[0]) if len(handlers) == 1 else _RECORDS
        is_json = any(isinstance(handler.formatter, JSONFormatter) for handler in handlers)
        self.needs_headers = is_json or (self._format is not None and self._format.needs_headers)
        self.needs_duration = self._kind != _TEXT
        self.log = self._log_text if self._kind == _TEXT else self._log_any

    @property
    def wanted(self) -> bool:
        """Whether anybody would see an access line now."""
        return self._logger.isEnabledFor(logging.INFO) and self._logger.hasHandlers() and not _is_muted()

    # -- called for each request

    def _log_text(
        self,
        client: str,
        method: str,
        target: str,
        http_version: str,
        status: int,
        length: int,
        duration: float,
        more: Optional[More] = None,
    ) -> None:
        lines = self._lines
        if not lines and not self._open_batch():
            self._log_record(client, method, target, http_version, status, length, None, more)
            return
        try:
            ending = self._endings[status]
        except KeyError:
            ending = self._ending(status)
        lines.append(f"{self._prefix}{client}{self._opening}{method} {target} HTTP/{http_version}{ending}")
        if len(lines) >= self.BATCH:
            self.flush()

    def _log_any(
        self,
        client: str,
        method: str,
        target: str,
        http_version: str,
        status: int,
        length: int,
        duration: float,
        more: Optional[More] = None,
    ) -> None:
        lines = self._lines
        if not lines and not self._open_batch():
            self._log_record(client, method, target, http_version, status, length, duration, more)
            return
        message = None
        if self._format is not None:
            request = Request(client, method, target, http_version, status, length, duration, *(more or ()))
            message = self._format.render(request)
        if self._kind == _OWN:
            lines.append(f"{message}\n")
        else:
            lines.append(_json_line(message, client, method, target, http_version, status, length, duration, more))
        if len(lines) >= self.BATCH:
            self.flush()

    def _log_record(
        self,
        client: str,
        method: str,
        target: str,
        http_version: str,
        status: int,
        length: int,
        duration: Optional[float],
        more: Optional[More],
    ) -> None:
        logger = self._logger
        if not logger.isEnabledFor(logging.INFO) or _is_muted():
            return
        message, args = '%s - "%s %s HTTP/%s" %d', (client, method, target, http_version, status)
        if self._format is not None:
            request = Request(client, method, target, http_version, status, length, duration or 0.0, *(more or ()))
            message, args = self._format.render(request), ()  # type: ignore[assignment]
        record = logger.makeRecord(logger.name, logging.INFO, "(access log)", 0, message, args, None)
        fields = record.__dict__
        fields.update(client=client, method=method, path=target, http_version=http_version, status=status, bytes=length)
        if duration is not None:
            fields["duration"] = round(duration, 6)
        request_id = _request_id(more)
        if request_id is not None:
            fields["request_id"] = request_id
        try:
            if all(_passes(each, record) for each in _other_filters()):
                logger.handle(record)
        except Exception:
            # A filter or handler of the user's has failed; the request must not fail with it.
            if not self._has_failed:
                self._has_failed = True
                logging.getLogger("asgiserve.error").exception("Access log lines are lost")

    # -- lines that are written directly

    def _kind_of(self, handler: logging.Handler) -> int:
        """How the lines of a handler can be made here; _RECORDS when it does more than write lines."""
        formatter = handler.formatter
        if type(handler) is not StreamHandler or handler.filters or handler.level > logging.INFO:
            return _RECORDS
        if type(formatter) is JSONFormatter:
            return _JSON
        if type(formatter) is not AccessFormatter:
            return _RECORDS
        if self._format is not None:
            return _OWN if formatter._fmt == "%(message)s" else _RECORDS
        return _TEXT if formatter._fmt == ACCESS_FORMAT else _RECORDS

    def _open_batch(self) -> bool:
        """Whether lines can be written directly; looked at once per batch, as the set-up may change while the server
        runs."""
        logger = self._logger
        handlers = logger.handlers
        if self._kind == _RECORDS or len(handlers) != 1 or logger.propagate or logger.filters:
            return False
        handler = handlers[0]
        if not logger.isEnabledFor(logging.INFO) or self._kind_of(handler) != self._kind:
            return False
        if _is_muted() or _other_filters():
            return False
        if handler is not self._handler:
            self._adopt(handler)
        if self._loop is not None and self._timer is None:
            self._timer = self._loop.call_later(self.INTERVAL, self._on_timer)
        return True

    def _adopt(self, handler: logging.Handler) -> None:
        assert isinstance(handler, StreamHandler)
        self._handler = handler
        formatter = handler.formatter
        if isinstance(formatter, AccessFormatter):
            self._prefix = formatter.level_prefix(logging.INFO, "INFO") + " "
            self._opening = f' - "{BOLD}' if formatter.use_colors else ' - "'
            self._endings = {}

    def _ending(self, status: int) -> str:
        """What comes behind the request line."""
        assert self._handler is not None
        formatter = self._handler.formatter
        assert isinstance(formatter, AccessFormatter)
        quotes = f'{RESET}"' if formatter.use_colors else '"'
        text = self._endings[status] = f"{quotes} {formatter.get_status_code(status)}\n"
        return text

    def _on_timer(self) -> None:
        self._timer = None
        self.flush()

    def flush(self) -> None:
        """Writes what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        handler = self._handler
        if not self._lines or handler is None:
            return
        text = "".join(self._lines)
        self._lines.clear()
        handler.acquire()
        try:
            handler.write(text)
        finally:
            handler.release()

    def close(self) -> None:
        """Writes what waits, and each later line at once."""
        self._loop = None
        self.BATCH = 1
        self.flush()
        if self._handler is not None:
            self._handler.flush()


def _json_line(
    message: Optional[str],
    client: str,
    method: str,
    target: str,
    http_version: str,
    status: int,
    length: int,
    duration: float,
    more: Optional[More],
) -> str:
    """What JSONFormatter would make of the record."""
    # In a target only the backslash is special, in a method and a version nothing is.
    if "\\" in target:
        target = target.replace("\\", "\\\\")
    client = quote(client)[1:-1]
    if message is None:
        message = f'"{client} - \\"{method} {target} HTTP/{http_version}\\" {status}"'
    else:
        message = quote(message)
    request_id = _request_id(more)
    tail = "" if request_id is None else f',"request_id":{quote(request_id)}'
    return (
        f'{{"time":"{json_time(time.time())}","level":"INFO","logger":"asgiserve.access","message":{message},'
        f'"client":"{client}","method":"{method}","path":"{target}","http_version":"{http_version}",'
        f'"status":{status},"bytes":{length},"duration":{duration:.6f}{tail}}}\n'
    )


def _request_id(more: Optional[More]) -> Optional[str]:
    """The X-Request-ID of the request, or else the one that the application has put on the response."""
    if more is None:
        return None
    for name, value in more[1]:
        if name == b"x-request-id":
            return value.decode("latin-1")
    for name, value in more[2] or ():
        if len(name) == 12 and name.lower() == b"x-request-id":
            return bytes(value).decode("latin-1")
    return None


# Applications that were written for uvicorn put their filters on its logger, or silence it.


def _other_logger() -> Optional[logging.Logger]:
    found = logging.root.manager.loggerDict.get("uvicorn.access")
    return found if isinstance(found, logging.Logger) else None


def _is_muted() -> bool:
    other = _other_logger()
    return other is not None and (other.disabled or other.level > logging.INFO)


def _other_filters() -> list[Any]:
    other = _other_logger()
    return [] if other is None else list(other.filters)


def _passes(each: Any, record: logging.LogRecord) -> bool:
    return bool(each.filter(record) if hasattr(each, "filter") else each(record))
