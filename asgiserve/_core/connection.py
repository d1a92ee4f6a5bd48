"""HTTPConnection: one HTTP/1.x connection, from transport callbacks to cycles and back.

It is the asyncio protocol of a connection and the responder of its cycles: it drives the reader, starts the
application, frames responses, and owns keep-alive, the pipelining gate, backpressure and the deadlines. Of two requests
that came together, the second is not looked at before the response to the first is complete.
"""

import logging
import os
import socket
import struct
from http import HTTPStatus
from math import inf
from typing import Any, Optional

from .._consts import (
    BODY,
    BODY_END,
    END,
    FRAMING_CHUNKED,
    FRAMING_CLOSE,
    FRAMING_LENGTH,
    FRAMING_NONE,
    NEED_DATA,
    REQUEST,
    REQUEST_END,
)
from ..errors import AppError, ProtocolError
from .cycle import HTTPCycle
from .flow import READY, Step, Waiters
from .head import RequestHead
from .reader import RequestReader
from .responder import Responder
from .scope import http_scope
from .state import ServerState
from .wire import ResponseEncoder, encode_chunk, encode_informational, encode_trailers

logger = logging.getLogger("asgiserve.error")

#: Request body bytes that wait for the application before reading stops.
BODY_HIGH_WATER = 64 * 1024
#: Bytes of further requests that wait for their turn before reading stops.
INPUT_HIGH_WATER = 64 * 1024
#: Response bytes that are collected while input is processed before they go to the transport.
CORK_LIMIT = 64 * 1024
#: A body up to this size is copied behind its head, so that both are one buffer.
COPY_LIMIT = 16 * 1024
#: Bytes of an unread request body that are read and dropped so that the connection can be used again.
DRAIN_LIMIT = 64 * 1024
#: After the last response the input is dropped for this long, in seconds, so that a reset does not destroy
#: what the client has not read yet (RFC 9112 section 9.6).
LINGER_TIME = 2.0

#: `struct linger`: on, for no time.
_LINGER_NOT = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)

CLOSE_LINE = b"connection: close\r\n"
KEEP_ALIVE_LINE = b"connection: keep-alive\r\n"


class HTTPConnection(Responder):
    """One connection. A new one expects connection_made()."""

    __slots__ = (
        "write_waiters",
        "_state",
        "_transport",
        "_reader",
        "_encoder",
        "_cycle",
        "_scheme",
        "_client",
        "_server",
        "_client_name",
        # input
        "_is_reading_paused",
        "_is_pumping",
        "_is_pump_due",
        "_has_ended",
        "_drained",
        "_continue_due",
        "_is_launch_due",
        # the response
        "_head",
        "_keep_alive",
        "_status",
        "_is_start_held",
        "_is_head_sent",
        "_framing",
        "_has_no_body",
        "_body_left",
        "_body_sent",
        "_trailers",
        "_started",
        # output
        "_corked",
        "_corked_size",
        "_is_write_paused",
        "_is_closing",
        "_is_lost",
        # deadlines, in the event loop's time
        "_read_deadline",
        "_write_deadline",
        "_request_deadline",
        "_unwritten",
    )

    def __init__(self, state: ServerState) -> None:
        super().__init__(state.loop)
        self.write_waiters: Optional[Waiters] = None
        self._state: ServerState = state
        self._transport: Any = None
        self._reader: RequestReader = RequestReader(state.limits)
        self._encoder: ResponseEncoder = ResponseEncoder()
        self._cycle: Optional[HTTPCycle] = None
        self._scheme: str = "http"
        self._client: Any = None
        self._server: Any = None
        self._client_name: str = ""
        self._is_reading_paused: bool = False
        self._is_pumping: bool = False
        self._is_pump_due: bool = False
        self._has_ended: bool = False
        self._drained: int = 0
        self._continue_due: bool = False
        self._is_launch_due: bool = False
        self._head: Optional[RequestHead] = None
        self._keep_alive: bool = True
        self._status: int = 0
        self._is_start_held: bool = False
        self._is_head_sent: bool = False
        self._framing: int = FRAMING_LENGTH
        self._has_no_body: bool = False
        self._body_left: int = -1
        self._body_sent: int = 0
        self._trailers: Optional[list[Any]] = None
        self._started: float = 0.0
        self._corked: list[bytes] = []
        self._corked_size: int = 0
        self._is_write_paused: bool = False
        self._is_closing: bool = False
        self._is_lost: bool = False
        self._read_deadline: float = inf
        self._write_deadline: float = inf
        self._request_deadline: float = inf
        self._unwritten: int = 0

    # -- transport callbacks

    def connection_made(self, transport: Any) -> None:
        """The transport is ready; the first request is due within the header timeout."""
        self._transport = transport
        self._state.connections.add(self)
        if transport.get_extra_info("sslcontext") is not None:
            self._scheme = "https"
        self._client = _address(transport.get_extra_info("peername"), False)
        self._server = _address(transport.get_extra_info("sockname"), True)
        if self._client is not None:
            self._client_name = f"{self._client[0]}:{self._client[1]}"
        self._read_deadline = self._state.now + self._state.timeout_headers
        if self._state.stopping:
            self._close()

    def data_received(self, data: bytes) -> None:
        """Input came."""
        if self._is_closing or (self._cycle is not None and self._reader.is_complete() and not self._keep_alive):
            return  # behind a request that said `Connection: close`, or while lingering
        if self._cycle is None and self._reader.is_idle():
            self._read_deadline = self._state.now + self._state.timeout_headers
        self._reader.feed(data)
        self._pump()

    def eof_received(self) -> bool:
        """The client ended its side: nothing more is to be read, but a response can still be delivered.

        Returns:
            whether the transport stays open.
        """
        self._has_ended = True
        if self._cycle is None or self._is_closing:
            return False
        self._cycle.disconnect(False)
        self._read_deadline = inf
        # TLS cannot be half closed.
        return self._cycle is not None and self._scheme == "http"

    def connection_lost(self, error: Optional[Exception]) -> None:
        """The transport is closed."""
        self._state.connections.discard(self)
        self._lose()

    def _lose(self) -> None:
        self._is_lost = True
        self._is_closing = True
        self._read_deadline = self._write_deadline = self._request_deadline = inf
        self._corked = []
        cycle = self._cycle
        if cycle is not None:
            self._end_request()
            cycle.disconnect(True)
        self._reader.drop_input()
        self._wake_writers()

    def pause_writing(self) -> None:
        """The transport's buffer is full: senders wait, and the peer has to take something."""
        self._is_write_paused = True
        self._watch_writing()

    def resume_writing(self) -> None:
        """The transport's buffer has room again."""
        self._is_write_paused = False
        self._wake_writers()
        if not self._is_closing:
            self._write_deadline = inf
            if self._cycle is None:
                self._schedule_pump()

    # -- for the server

    def shutdown(self) -> None:
        """Close when idle; otherwise let the response say `Connection: close`, then close."""
        self._keep_alive = False
        if self._cycle is None and (self._reader.is_idle() or self._reader.body_left() != 0):
            self._close()

    def disconnect_app(self) -> None:
        """Tell a running application that the client is gone, so that streams end."""
        if self._cycle is not None:
            self._cycle.disconnect(False)

    def abort(self) -> None:
        """Reset the connection: what was written and not yet taken is lost."""
        self._is_closing = True
        if self._transport is not None:
            _reset_on_close(self._transport)
            self._transport.abort()
        self._wake_writers()

    def is_due(self, now: float) -> bool:
        """Whether on_tick() has something to do."""
        return (
            self._read_deadline <= now
            or self._write_deadline <= now
            or self._request_deadline <= now
            or self._is_start_held
        )

    def on_tick(self, now: float) -> None:
        """Act on a deadline that has passed, and send a head that an application has left without its body."""
        if self._is_start_held and self._cycle is not None:
            self._cycle.flush_start()
        if self._write_deadline <= now:
            self._on_write_deadline()
        elif self._request_deadline <= now:
            self._on_request_deadline()
        elif self._read_deadline <= now:
            self._on_read_deadline()

    def _on_write_deadline(self) -> None:
        unwritten = self._transport.get_write_buffer_size()
        if 0 < unwritten < self._unwritten:
            self._watch_writing()  # it does take something
            return
        if not self._is_closing:
            self._log("client takes no data for %g s: connection reset", self._state.timeout_write)
        self.abort()

    def _on_request_deadline(self) -> None:
        cycle = self._cycle
        self._request_deadline = inf
        if cycle is None:
            return
        task = cycle.task
        if self._is_head_sent:
            self._log("request not done within %g s: connection cut", self._state.timeout_request)
            self.abort()
        else:
            self._refuse(ProtocolError(504, "the request took too long"))
        if task is not None:
            task.cancel()

    def _on_read_deadline(self) -> None:
        self._read_deadline = inf
        if self._is_closing:
            self._close()
        elif self._reader.is_idle() and self._cycle is None:
            self._close()
        elif self._cycle is None and not self._reader.body_left():
            self._refuse(ProtocolError(408, "request header not received in time"))
        elif self._cycle is None:
            self._close()  # a body that nobody reads did not come
        else:
            self._refuse(ProtocolError(408, "request body not received in time"))

    # -- input

    def _pump(self) -> None:
        """Work through the input until there is none left, or a request has to wait for a response."""
        if self._is_pumping:
            return
        self._is_pumping = True
        try:
            self._process_events()
        except ProtocolError as error:
            self._refuse(error)
        finally:
            self._is_pumping = False
            self._flush()
        self._update_reading()

    def _process_events(self) -> None:
        reader = self._reader
        while not self._is_closing:
            if reader.is_complete():
                if self._cycle is not None or self._is_write_paused:
                    return  # the gate: the next request waits for the response, and for the client to take it
                reader.next_message()
            event = reader.next_event()
            if event == NEED_DATA:
                if self._is_launch_due:
                    self._launch()
                return
            if event == REQUEST_END:
                self._start_request(reader.head, True)
                if self._is_launch_due:
                    self._launch()
            elif event == REQUEST:
                self._start_request(reader.head, False)
            else:
                self._continue_due = False  # the client did not wait
                self._take_body(event)
                if self._is_launch_due and event != BODY:
                    self._launch()

    def _take_body(self, event: int) -> None:
        if event == END:
            if self._cycle is not None:
                self._cycle.end_body()
        elif self._cycle is not None:
            self._cycle.add_body(self._reader.chunk, event == BODY_END)
        else:
            self._drop_body(len(self._reader.chunk))

    def _drop_body(self, size: int) -> None:
        """Bytes of a body whose response is already complete: dropped within a bound."""
        self._drained += size
        if self._drained > DRAIN_LIMIT:
            self._linger()

    def _schedule_pump(self) -> None:
        """Go on from the loop, not from within the application that has just answered."""
        if not self._is_pump_due:
            self._is_pump_due = True
            self.loop.call_soon(self._resume_pump, context=self._state.launcher.context)

    def _resume_pump(self) -> None:
        self._is_pump_due = False
        if not self._is_closing:
            self._pump()

    def _update_reading(self) -> None:
        """Pause or resume reading and set the deadline that fits what is waited for."""
        if self._is_closing:
            return
        reader = self._reader
        state = self._state
        cycle = self._cycle
        if cycle is None:
            if self._has_ended and not (self._is_write_paused and reader.has_input()):
                self._close()
                return
            if self._is_write_paused:
                self._read_deadline = inf  # the client has to take something first: the write deadline is at work
            elif reader.body_left() != 0:
                self._read_deadline = state.now + state.timeout_body
            elif reader.is_idle():
                self._read_deadline = state.now + state.timeout_keep_alive
            elif self._read_deadline == inf:
                self._read_deadline = state.now + state.timeout_headers
            pause = self._is_write_paused and reader.has_input()
        elif reader.is_complete():
            self._read_deadline = inf
            # A little is taken in, so that the end of the connection is seen while the application works.
            pause = reader.input_size() >= INPUT_HIGH_WATER
        else:
            pause = cycle.buffered >= BODY_HIGH_WATER and not cycle.is_woken
            is_due = not (pause or self._continue_due or self._has_ended)
            self._read_deadline = state.now + state.timeout_body if is_due else inf
        if pause != self._is_reading_paused:
            self._is_reading_paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    # -- a request

    def _start_request(self, head: RequestHead, body_ended: bool) -> None:
        state = self._state
        self._head = head
        self._keep_alive = head.keep_alive and not state.stopping
        self._continue_due = head.expect_continue
        self._is_head_sent = False
        self._status = 0
        self._body_sent = 0
        self._drained = 0
        self._trailers = None
        self._started = self.loop.time() if state.access_log is not None else 0.0
        state.total_requests += 1
        if 0 <= state.limit_concurrency <= state.active:
            self._refuse(ProtocolError(503, "too many requests at the moment"))
            return
        state.active += 1
        self._request_deadline = state.now + state.timeout_request
        self._read_deadline = inf
        cycle = HTTPCycle(self, head, body_ended)
        self._cycle = cycle
        if self._has_ended:
            cycle.disconnect(False)
        # What of the body is already here goes to the cycle first: then the application need not wait for it.
        self._is_launch_due = True

    def _launch(self) -> None:
        """Start the application for the current request."""
        state = self._state
        cycle = self._cycle
        assert cycle is not None
        self._is_launch_due = False
        scope = http_scope(cycle.head, self._scheme, self._client, self._server, state.root_path, state.lifespan_state)
        try:
            task = state.launcher.launch(state.app(scope, cycle.receive, cycle.send))
        except Exception as error:  # an application that fails before it returns an awaitable
            cycle.app_ended(error, False)
            return
        if task.done():
            cycle.task_done(task)
            # The traceback of an exception in the task refers to this frame; without this, the two would form a cycle.
            task = None
        else:
            cycle.task = task
            state.tasks.add(task)
            task.add_done_callback(cycle.task_done)
            task.add_done_callback(state.tasks.discard)

    # -- the responder: called by the cycle

    def body_taken(self) -> None:
        """The application received what was buffered: reading can go on."""
        if self._is_reading_paused and not self._is_pumping:
            self._update_reading()

    def send_continue(self) -> None:
        """Send 100 (Continue) when the client waits for it and has sent nothing of the body."""
        if self._continue_due:
            self._continue_due = False
            if not self._is_closing:
                self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
                self._read_deadline = self._state.now + self._state.timeout_body

    def start_response(self, status: int, headers: Any, wants_trailers: bool) -> None:
        """Encode the head and hold it until the first body message.

        Raises:
            AppError: a header is not allowed.
        """
        self._encoder.start(status, headers, self._state.common)
        self._status = status
        self._has_no_body = status == 204 or status == 304 or self._request_head().method == "HEAD"
        self._trailers = [] if wants_trailers else None
        self._is_start_held = True

    def _request_head(self) -> RequestHead:
        head = self._head
        assert head is not None
        return head

    def send_body(self, body: bytes, is_last: bool) -> Any:
        """Send bytes of the body, behind the head where that was held.

        Returns:
            an awaitable that is done when more can be sent.
        Raises:
            AppError: the body does not fit the Content-Length that the application announced.
        """
        if not self._is_head_sent:
            self._send_head(body, is_last)
        elif self._has_no_body:
            pass
        else:
            self._count_body(len(body), is_last)
            ends = is_last and self._trailers is None
            if self._framing == FRAMING_CHUNKED:
                if body:
                    self._write(encode_chunk(body, ends))
                elif ends:
                    self._write(b"0\r\n\r\n")
            elif body:
                self._write(body)
        if self._is_write_paused:
            return Drained(self)
        return READY

    def _send_head(self, body: bytes, is_last: bool) -> None:
        """Decide the framing (RFC 9112 section 6.3) and send the head, with `body` behind it."""
        encoder = self._encoder
        length = encoder.content_length
        ends = is_last and self._trailers is None
        if self._has_no_body:
            self._framing = FRAMING_NONE
            if self._status == 204:
                length = -1  # RFC 9110 section 8.6
            elif length < 0 and body and ends and self._status != 304:
                length = len(body)  # HEAD
            body = b""
        elif length >= 0:
            self._framing = FRAMING_LENGTH
            self._body_left = length
            self._count_body(len(body), is_last)
        elif ends:
            self._framing = FRAMING_LENGTH
            length = self._body_sent = len(body)
        else:
            self._framing = FRAMING_CHUNKED if self._request_head().minor_version == 1 else FRAMING_CLOSE
            self._body_left = -1
            self._body_sent = len(body)
        self._is_start_held = False
        self._is_head_sent = True
        line = self._connection_line()
        if len(body) > COPY_LIMIT and self._framing != FRAMING_CHUNKED:
            self._write_two(encoder.finish(self._framing, length, line, b""), body)
        else:
            self._write(encoder.finish(self._framing, length, line, body))

    def _count_body(self, size: int, is_last: bool) -> None:
        """Hold the body against the announced Content-Length. Nothing is written when it does not fit."""
        left = self._body_left
        if left >= 0:
            if size > left:
                raise AppError("the response body is longer than its Content-Length")
            if is_last and size < left:
                raise AppError("the response body is shorter than its Content-Length")
            self._body_left = left - size
        self._body_sent += size

    def _connection_line(self) -> bytes:
        """Decide whether the connection can be used again; return the Connection line that says so, if any."""
        reader = self._reader
        if (
            self._framing == FRAMING_CLOSE
            or self._encoder.close
            or self._state.stopping
            or self._continue_due  # the client may or may not send the body now
            or reader.body_left() > DRAIN_LIMIT
            or (self._has_ended and not reader.has_input())
        ):
            self._keep_alive = False
        if self._keep_alive:
            return KEEP_ALIVE_LINE if self._request_head().minor_version == 0 else b""
        return b"" if self._encoder.close else CLOSE_LINE

    def add_trailers(self, headers: Any) -> None:
        """Collect fields for the trailer section."""
        if self._trailers is not None:
            self._trailers.extend(headers)

    def send_trailers(self) -> None:
        """End a chunked body, with the trailer section when the client said `TE: trailers` (RFC 9110 section 6.5.1).

        Raises:
            AppError: a trailer is not allowed.
        """
        trailers = encode_trailers(self._trailers or [])
        if self._framing == FRAMING_CHUNKED:
            self._write(trailers if self._request_head().te_trailers else b"0\r\n\r\n")

    def send_early_hint(self, links: Any) -> None:
        """Send 103 (Early Hints, RFC 8297), unless the client speaks HTTP/1.0.

        Raises:
            AppError: a link is not a header value.
        """
        data = encode_informational(103, [(b"link", link) for link in links])
        if self._request_head().minor_version == 1:
            self._write(data)

    def response_complete(self) -> None:
        """The response is complete: go on to the next request, or close."""
        reader = self._reader
        self._end_request()
        if self._is_closing:
            return
        if not self._keep_alive or (self._has_ended and not reader.has_input()):
            if reader.is_complete() and not reader.has_input():
                self._close()
            else:
                self._linger()
        elif not self._is_pumping:
            if reader.has_input():
                self._schedule_pump()
            else:
                self._update_reading()

    def _end_request(self) -> None:
        """Account for the end of the current request, if there is one."""
        if self._cycle is None:
            return
        state = self._state
        state.active -= 1
        self._is_start_held = False
        self._is_launch_due = False
        self._cycle = None
        self._request_deadline = inf
        self._continue_due = False
        if state.access_log is not None and self._is_head_sent:
            head = self._request_head()
            target = head.raw_path + b"?" + head.query if head.query else head.raw_path
            state.access_log(
                self._client_name,
                head.method,
                target.decode("latin-1"),
                "1.1" if head.minor_version == 1 else "1.0",
                self._status,
                self._body_sent,
                self.loop.time() - self._started,
            )
        self._head = None

    def fail(self, status: int) -> None:
        """Answer for an application that did not, because it failed."""
        self._respond_text(status, HTTPStatus(status).phrase)
        self.response_complete()

    def cut(self) -> None:
        """End the connection in the middle of a response, so that the client sees that it is truncated."""
        self._end_request()
        if self._framing == FRAMING_CLOSE:
            self._flush()
            self.abort()  # an orderly end would look like the end of the body
        else:
            self._close()

    # -- errors

    def _refuse(self, error: ProtocolError) -> None:
        """Answer a request that breaks the protocol, unless its response is under way, log why, and close."""
        cycle = self._cycle
        self._log("%d %s: %s", error.status, HTTPStatus(error.status).phrase, error.detail)
        self._keep_alive = False
        if cycle is None and self._head is None:
            # In a body without a request: in the rest of one whose request has been answered.
            is_answered = self._reader.body_left() != 0
        else:
            is_answered = self._is_head_sent
        if not is_answered:
            self._has_no_body = False
            self._respond_text(error.status, error.detail)
        if cycle is not None:
            self._end_request()
            cycle.disconnect(True)
        self._linger()

    def _respond_text(self, status: int, text: str) -> None:
        encoder = self._encoder
        headers = [(b"content-type", b"text/plain; charset=utf-8")]
        if status == 503:
            headers.append((b"retry-after", b"1"))
        encoder.start(status, headers, self._state.common)
        self._status = status
        self._framing = FRAMING_LENGTH
        body = text.encode() + b"\n"
        head = self._head
        if head is None:
            line = CLOSE_LINE
        else:
            line = self._connection_line()
            self._has_no_body = head.method == "HEAD"
        self._is_head_sent = True
        self._body_sent = 0 if self._has_no_body else len(body)
        self._write(encoder.finish(FRAMING_LENGTH, len(body), line, b"" if self._has_no_body else body))

    def _log(self, message: str, *args: Any) -> None:
        name = self._client_name
        if not name:
            name = "unix" if self._server is not None and self._server[1] is None else "unknown"
        logger.warning("%s - " + message, name, *args)

    # -- output

    def _write(self, data: bytes) -> None:
        """Write, or collect while input is processed: responses to requests that came together leave together."""
        if self._is_closing:
            return
        if self._is_pumping:
            self._corked.append(data)
            self._corked_size += len(data)
            if self._corked_size > CORK_LIMIT:
                self._flush()
        else:
            self._put(data)

    def _put(self, data: bytes) -> None:
        if self._transport.is_closing():
            self._lose()  # a write has failed; connection_lost() has yet to come
            return
        if self._is_write_paused:
            self._unwritten += len(data)
        self._transport.write(data)

    def _write_two(self, first: bytes, second: bytes) -> None:
        """Write both without joining them."""
        if self._is_closing:
            return
        self._flush()
        if self._transport.is_closing():
            self._lose()
            return
        if self._is_write_paused:
            self._unwritten += len(first) + len(second)
        self._transport.writelines([first, second])

    def _flush(self) -> None:
        corked = self._corked
        if corked:
            self._corked = []
            self._corked_size = 0
            if not self._is_lost:
                self._put(corked[0] if len(corked) == 1 else b"".join(corked))

    def is_writable(self) -> bool:
        """Whether a sender may go on: there is room, or nobody left to write to."""
        return not self._is_write_paused or self._is_closing

    def wait_writable(self) -> Any:
        """Return a future that is done when writing may be possible again."""
        if self.write_waiters is None:
            self.write_waiters = Waiters(self.loop)
        return self.write_waiters.add()

    def _wake_writers(self) -> None:
        if self.write_waiters is not None:
            self.write_waiters.wake()

    def _watch_writing(self) -> None:
        self._unwritten = self._transport.get_write_buffer_size()
        self._write_deadline = self._state.now + self._state.timeout_write

    # -- the end

    def _close(self) -> None:
        """Close when what was written has left."""
        if self._is_lost:
            return
        self._flush()
        self._is_closing = True
        self._read_deadline = inf
        self._watch_writing()
        self._transport.close()
        self._wake_writers()

    def _linger(self) -> None:
        """End our side, then drop what the client still sends until it ends too, for a bounded time."""
        if self._is_lost:
            return
        if self._has_ended or not self._transport.can_write_eof():
            self._close()
            return
        self._flush()
        self._is_closing = True
        self._read_deadline = self._state.now + LINGER_TIME
        self._reader.drop_input()
        try:
            self._transport.write_eof()
        except OSError:  # the client has reset the connection
            self._close()
            return
        if self._is_reading_paused:
            self._is_reading_paused = False
            self._transport.resume_reading()
        self._wake_writers()


class Drained(Step):
    """Done when the peer has taken enough of what was written, or is gone."""

    __slots__ = ("_connection",)

    def __init__(self, connection: HTTPConnection) -> None:
        self._connection: HTTPConnection = connection

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        """Return a future while writing is paused."""
        connection = self._connection
        if connection.is_writable():
            raise StopIteration
        return connection.wait_writable()


def _reset_on_close(transport: Any) -> None:
    """Let the end of the transport be a reset, which no client takes for the orderly end of a response."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        except OSError:
            pass  # it is closed already


def _address(address: Any, is_server: bool) -> Any:
    """Return an ASGI address: (host, port); for our end of a UNIX socket (path, None); else None."""
    if isinstance(address, (tuple, list)) and len(address) >= 2:
        return (str(address[0]), int(address[1]))
    if is_server and address and isinstance(address, (str, bytes)):
        return (address.decode("utf-8", "replace") if isinstance(address, bytes) else address, None)
    return None
