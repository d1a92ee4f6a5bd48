"""The access log of one event loop.

Where nobody has put handlers, filters or formatters of his own in the way, a line is made here and written with others
a little later; otherwise each request makes a LogRecord.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import Any, Optional

from .. import _stack
from .._consts import PART_CLIENT, PART_REQUEST_LINE, PART_STATUS_TEXT, PART_TEXT
from .atoms import LineFormat, PartOf, escape
from .defaults import ACCESS_FORMAT
from .formatters import BOLD, RESET, AccessFormatter, JSONFormatter, second_text
from .streams import StreamHandler

# How a handler wants its lines.
_RECORDS, _TEXT, _OWN, _JSON = range(4)


class AccessLog:
    """Makes the access log lines of one event loop; to be used in one thread.

    Never raises because of where the log goes: lines that cannot be written are dropped.

    Args:
        loop: the event loop; without one, nothing is written before :meth:`flush` or a full batch.
        line_format: the `access_log_format`.
        stack: the stack whose `lines` is used; by default the compiled one where it was built.

    Attributes:
        lines: what the server tells of each request, a ``lines.Lines``.
        log: its method of that name.
        needs_headers: whether `log` has to be given the headers.
        needs_duration: whether `log` has to be given the duration.
    """

    INTERVAL = 0.05
    """Seconds that a line may wait for others."""
    BATCH = 512
    """Lines that are written without waiting further."""

    def __init__(
        self,
        loop: Optional[asyncio.AbstractEventLoop],
        line_format: Optional[str] = None,
        stack: Optional[_stack.Stack] = None,
    ) -> None:
        self._loop: Optional[asyncio.AbstractEventLoop] = loop
        self._logger = logging.getLogger("asgiserve.access")
        self._format = LineFormat(line_format) if line_format else None
        self._timer: Optional[asyncio.TimerHandle] = None
        self._handler: Optional[StreamHandler] = None
        self._has_failed = False
        self._module = _stack.lines(stack or _stack.load("auto"))
        self._message: Any = None if self._format is None else self._module.PartsTemplate(self._format.parts, escape)
        self._template: Any = None  # of the lines for `_handler`
        self.lines: Any = self._module.Lines(self, self.BATCH)
        self.log = self.lines.log
        handlers = self._logger.handlers
        self._kind = self._kind_of(handlers[0]) if len(handlers) == 1 else _RECORDS
        is_json = any(isinstance(handler.formatter, JSONFormatter) for handler in handlers)
        self.needs_headers = is_json or (self._format is not None and self._format.needs_headers)
        self.needs_duration = self._kind in (_RECORDS, _JSON) or (
            self._format is not None and self._format.needs_duration
        )

    @property
    def wanted(self) -> bool:
        """Whether anybody would see an access line now."""
        return self._logger.isEnabledFor(logging.INFO) and self._logger.hasHandlers() and not _is_muted()

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

    def open_batch(self) -> Any:
        """The ``lines.Template`` of the lines to be written directly, or None where there can be none; looked at once
        per batch, as the set-up may change while the server runs."""
        logger = self._logger
        handlers = logger.handlers
        if self._kind == _RECORDS or len(handlers) != 1 or logger.propagate or logger.filters:
            return None
        handler = handlers[0]
        if not logger.isEnabledFor(logging.INFO) or self._kind_of(handler) != self._kind:
            return None
        if _is_muted() or _other_filters():
            return None
        if handler is not self._handler:
            assert isinstance(handler, StreamHandler)
            self._handler = handler
            self._template = self._template_for(handler.formatter)
        if self._loop is not None and self._timer is None:
            self._timer = self._loop.call_later(self.INTERVAL, self._on_timer)
        return self._template

    def _template_for(self, formatter: Optional[logging.Formatter]) -> Any:
        """What makes the lines that `formatter` would make of the records."""
        if self._kind == _JSON:
            return self._module.JSONTemplate(self._message, second_text)
        if self._format is not None:
            return self._module.PartsTemplate([*self._format.parts, (PART_TEXT, "\n", None)], escape)
        assert isinstance(formatter, AccessFormatter)
        prefix = formatter.level_prefix(logging.INFO, "INFO") + " "
        before, behind = (f' - "{BOLD}', f'{RESET}" ') if formatter.use_colors else (' - "', '" ')
        status_text = functools.lru_cache(maxsize=1000)(formatter.get_status_code)
        parts: list[PartOf] = [
            (PART_TEXT, prefix, None),
            (PART_CLIENT, None, None),
            (PART_TEXT, before, None),
            (PART_REQUEST_LINE, None, None),
            (PART_TEXT, behind, None),
            (PART_STATUS_TEXT, status_text, None),
            (PART_TEXT, "\n", None),
        ]
        return self._module.PartsTemplate(parts, escape)

    def _on_timer(self) -> None:
        self._timer = None
        self.flush()

    def flush(self) -> None:
        """Writes what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        text = self.lines.take()
        handler = self._handler
        if not text or handler is None:
            return
        handler.acquire()
        try:
            handler.write(text)
        finally:
            handler.release()

    def close(self) -> None:
        """Writes what waits, and each later line at once."""
        self._loop = None
        self.lines.batch = 1
        self.flush()
        if self._handler is not None:
            self._handler.flush()

    # -- records

    def take_request(self, request: Any) -> None:
        """Makes a record of a request, which is a ``lines.Request``."""
        logger = self._logger
        if not logger.isEnabledFor(logging.INFO) or _is_muted():
            return
        client, method, target, status = request.client, request.method, request.target, request.status
        message, args = '%s - "%s %s HTTP/%s" %d', (client, method, target, request.http_version, status)
        if self._message is not None:
            message, args = self._message.render(request), ()  # type: ignore[assignment]
        record = logger.makeRecord(logger.name, logging.INFO, "(access log)", 0, message, args, None)
        fields = record.__dict__
        fields.update(client=client, method=method, path=target, http_version=request.http_version, status=status)
        fields["bytes"] = request.length
        if self.needs_duration:
            fields["duration"] = round(request.duration, 6)
        request_id = request.request_id()
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
