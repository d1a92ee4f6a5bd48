"""Writing to a stream in a way that neither a full disk nor a reader that sleeps can hold up the server.

What cannot be written is dropped, counted, and reported in one line when writing works again. Files and terminals are
written to directly. Pipes and sockets have a reader that may stop to read: a thread writes to those, with a bounded
amount of text waiting for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import stat
import threading
import time
import weakref
from typing import Any, Optional

PENDING_LIMIT = 1024 * 1024
"""Bytes that may wait for the reader of a pipe."""
REPORT_INTERVAL = 60.0
"""Seconds between two reports about the same log."""
PATIENCE = 0.5
"""Seconds to wait until a pipe has taken a warning or an error, or the last lines."""


class Pipe:
    """Writes to a file descriptor from a thread of its own. Used from any thread; put() never waits."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._start_over()
        _pipes.add(self)

    def _start_over(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[bytes] = []
        self._size = 0  # bytes that are not written, with those that are being written
        self._error: Optional[str] = None  # why the last write failed
        self._is_stuck = False
        self._thread: Optional[threading.Thread] = None

    def put(self, data: bytes) -> Optional[str]:
        """Has `data` written some time. Returns None, or what is wrong: then it, or what came before, is lost."""
        with self._changed:
            if self._size and self._size + len(data) > PENDING_LIMIT:
                return "nobody reads it"
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="asgiserve-log", daemon=True)
                try:
                    thread.start()
                except RuntimeError as exc:  # the interpreter is ending
                    return str(exc)
                self._thread = thread
            self._waiting.append(data)
            self._size += len(data)
            self._changed.notify_all()
            error, self._error = self._error, None
            return error

    def wait(self) -> None:
        """Waits until all is written; not for long, and not again before the reader has read something."""
        with self._changed:
            if self._size and not self._is_stuck and self._thread is not None:
                self._is_stuck = not self._changed.wait_for(lambda: not self._size, PATIENCE)

    def _run(self) -> None:
        changed = self._changed
        while True:
            with changed:
                while not self._waiting:
                    changed.wait()
                data = b"".join(self._waiting)
                self._waiting.clear()
            error = self._write(data)
            with changed:
                self._size -= len(data)
                self._error = error
                self._is_stuck = False
                changed.notify_all()

    def _write(self, data: bytes) -> Optional[str]:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self.fd, view) :]
            except BlockingIOError:  # somebody has made it non-blocking
                select.select([], [self.fd], [])
            except OSError as exc:
                return exc.strerror or str(exc)
        return None


_pipes: weakref.WeakSet[Pipe] = weakref.WeakSet()


def _after_fork() -> None:
    for pipe in list(_pipes):
        pipe._start_over()  # the thread has stayed behind, perhaps with the lock


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class StreamHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """A ``logging.StreamHandler`` that drops lines rather than hold up the server or fail.

    ``lost`` (int) counts the lines that were dropped since the last one that was written.
    """

    def __init__(self, stream: Any = None) -> None:
        super().__init__(stream)
        self.lost = 0
        self._why = ""
        self._reported = -REPORT_INTERVAL
        self._pipe: Optional[Pipe] = None
        self._piped: Any = None  # the stream that `_pipe` was made for

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record) + self.terminator
        except Exception:
            self.handleError(record)
            return
        self.write(text)
        if record.levelno >= logging.WARNING and self._pipe is not None:
            self._pipe.wait()

    def write(self, text: str) -> None:
        """Writes finished lines. The caller holds the handler's lock."""
        if self._piped is not self.stream:
            self._pipe = _pipe_of(self.stream)
            self._piped = self.stream
        is_first = not self.lost
        error = self._put(text if is_first else self._note() + text)
        if error is None:
            self.lost = 0
            return
        self.lost += text.count("\n")
        self._why = error
        if is_first:
            self._report()

    def _put(self, text: str) -> Optional[str]:
        stream = self.stream
        try:
            if self._pipe is not None:
                # What the application prints to the same stream is not flushed here: that could block.
                return self._pipe.put(_encode(text.replace("\n", os.linesep), stream))
            try:
                stream.write(text)
            except UnicodeEncodeError:
                stream.write(_encode(text, stream).decode(stream.encoding))
            stream.flush()
        except OSError as exc:
            return exc.strerror or str(exc)
        except (ValueError, AttributeError) as exc:  # closed, or there is no such stream at all
            return str(exc)
        return None

    def _note(self) -> str:
        """A line in place of the lines that were lost."""
        record = _record(f"{self.lost} lines of this log were lost: {self._why}")
        try:
            return self.format(record) + self.terminator
        except Exception:
            return record.getMessage() + self.terminator

    def _report(self) -> None:
        """Says in the error log that this log has stopped, unless this is the error log."""
        logger = logging.getLogger("asgiserve.error")
        now = time.monotonic()
        if now - self._reported < REPORT_INTERVAL:
            return  # a reader that is merely slow would fill the other log too
        self._reported = now
        if self not in logger.handlers and self not in logging.getLogger("asgiserve").handlers:
            logger.warning("A log cannot be written, its lines are lost: %s", self._why)

    def flush(self) -> None:
        """Waits, for a bounded time, until what was written has left."""
        if self._pipe is not None:
            self._pipe.wait()
            return
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self.stream.flush()


def _pipe_of(stream: Any) -> Optional[Pipe]:
    try:
        fd = stream.fileno()
        mode = os.fstat(fd).st_mode
    except (OSError, ValueError, AttributeError, TypeError):
        return None
    return Pipe(fd) if isinstance(fd, int) and (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)) else None


def _encode(text: str, stream: Any) -> bytes:
    return text.encode(getattr(stream, "encoding", None) or "utf-8", "backslashreplace")


def _record(message: str) -> logging.LogRecord:
    return logging.LogRecord("asgiserve.error", logging.WARNING, __file__, 0, message, (), None)
