"""HTTPConnection: one HTTP/1.x connection, from transport callbacks to cycles and back.

It is the asyncio protocol of a connection and the responder of its cycles: it drives the reader, starts the
application, and owns keep-alive, the pipelining gate, backpressure on the input and the deadlines. Of two requests that
came together, the second is not looked at before the response to the first is complete.
"""

from http import HTTPStatus
from math import inf
from typing import Any, Optional

from .._consts import BODY, BODY_END, END, NEED_DATA, REQUEST, REQUEST_END
from ..errors import ProtocolError
from .cycle import HTTPCycle
from .filesend import FileTransfer
from .flow import READY
from .handshake import check_handshake
from .head import RequestHead
from .intake import INTAKE_SIZE, Intake, reads_with_a_copy
from .output import Drained, Output
from .peer import Peer
from .reader import RequestReader
from .responder import Responder
from .response import ResponseWriter
from .scope import ConnectionScope, http_scope, websocket_scope
from .scopedict import take_back
from .state import ServerState
from .websocket import WebSocketSession

#: Request body bytes that wait for the application before reading stops.
BODY_HIGH_WATER = 64 * 1024
#: Bytes of further requests that wait for their turn before reading stops.
INPUT_HIGH_WATER = 64 * 1024
#: Bytes of an unread request body that are read and dropped so that the connection can be used again.
DRAIN_LIMIT = 64 * 1024
#: After the last response the input is dropped for this long, in seconds, so that a reset does not destroy
#: what the client has not read yet (RFC 9112 section 9.6).
LINGER_TIME = 2.0


class HTTPConnection(Responder):
    """One connection. A new one expects connection_made()."""

    __slots__ = (
        "_state",
        "_transport",
        "_reader",
        "_output",
        "_response",
        "_intake",
        "_cycle",
        "_peer",
        "_log_scheme",
        "_forwarded_name",
        "_scope",
        "_is_reading_paused",
        "_is_pumping",
        "_is_pump_due",
        "_is_launch_due",
        "_is_continue_due",
        "_has_ended",
        "_drained",
        "_started",
        "_read_deadline",
        "_request_deadline",
    )

    def __init__(self, state: ServerState) -> None:
        self.loop: Any = state.loop  # super() would cost as much as all that follows
        self._state: ServerState = state
        self._transport: Any = None
        self._reader: RequestReader = RequestReader(state.limits)
        self._output: Output = Output(state)
        self._response: ResponseWriter = ResponseWriter(self._output, state.common)
        self._intake: Optional[Intake] = None  # made for the first large body
        self._cycle: Optional[HTTPCycle] = None
        self._peer: Any = None  # a Peer once there is a transport
        self._log_scheme: str = ""  # the current request's, as the application sees it
        self._forwarded_name: str = ""  # the current request's client, where a proxy names it
        self._scope: Optional[ConnectionScope] = None  # what the scopes of all requests have in common
        self._is_reading_paused: bool = False
        self._is_pumping: bool = False
        self._is_pump_due: bool = False
        self._is_launch_due: bool = False  # the application is to be started, once the input is worked through
        self._is_continue_due: bool = False  # the client waits for 100 (Continue)
        self._has_ended: bool = False  # the client has ended its side
        self._drained: int = 0  # bytes dropped of the current request's body
        self._started: float = 0.0
        # Deadlines are in the event loop's time.
        self._read_deadline: float = inf
        self._request_deadline: float = inf

    # -- transport callbacks

    def connection_made(self, transport: Any) -> None:
        """The transport is ready; the first request is due within the header timeout."""
        self._transport = transport
        self._output.attach(transport)
        self._state.connections.add(self)
        self._peer = Peer(transport, self._output.is_direct)
        if self._state.is_tracing:
            self._peer.trace("HTTP connection made")
        self._read_deadline = self._state.now + self._state.timeout_headers
        if self._state.stopping:
            self._close()

    def data_received(self, data: bytes) -> None:
        """Input came."""
        if self._output.is_closing:
            return  # lingering
        if self._cycle is None:
            if self._reader.is_idle():
                self._read_deadline = self._state.now + self._state.timeout_headers
        elif self._reader.is_complete() and not self._response.keep_alive:
            return  # behind a request that said `Connection: close`
        self._reader.feed(data)
        self._pump()

    def eof_received(self) -> bool:
        """The client ended its side: nothing more is to be read, but a response can still be delivered.

        Returns:
            whether the transport stays open.
        """
        self._has_ended = True
        if self._output.is_closing:
            return False
        self._output.flush()  # the transport may close when this returns
        if self._cycle is not None:
            self._cycle.disconnect(False)
            self._read_deadline = inf
        # A request may be waiting for its turn at this moment. The TLS of asyncio cannot be half closed.
        return (self._cycle is not None or self._is_pump_due) and bool(self._transport.can_write_eof())

    def connection_lost(self, error: Optional[Exception]) -> None:
        """The transport is closed."""
        if self._state.is_tracing:
            self._peer.trace("HTTP connection lost")
        self._state.connections.discard(self)
        self._lose()

    def _lose(self) -> None:
        self._read_deadline = inf
        cycle = self._cycle
        self._end_request()
        if cycle is not None:
            cycle.disconnect(True)
        self._reader.drop_input()
        self._output.lose()

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        self._output.pause()

    def resume_writing(self) -> None:
        """The transport's buffer has room again."""
        self._output.resume()
        if self._output.is_closing:
            if self._read_deadline != inf:
                self._read_deadline = self._state.now + LINGER_TIME  # it begins when everything has been sent
        elif self._cycle is None:
            self._schedule_pump()

    # -- for the server

    def shutdown(self) -> None:
        """Close when idle; otherwise let the response say `Connection: close`, then close."""
        self._response.keep_alive = False
        if self._cycle is None and (self._reader.is_idle() or self._reader.body_left() != 0):
            self._close()

    def disconnect_app(self) -> None:
        """Tell a running application that the client is gone, so that streams end."""
        if self._cycle is not None:
            self._cycle.disconnect(False)

    def abort(self) -> None:
        """Reset the connection: what was written and not yet taken is lost."""
        self._output.reset()

    def is_due(self, now: float) -> bool:
        """Whether on_tick() has something to do."""
        return (
            self._read_deadline <= now
            or self._output.deadline <= now
            or self._request_deadline <= now
            or self._response.is_head_held
        )

    def on_tick(self, now: float) -> None:
        """Act on a deadline that has passed, and send a head that an application has left without its body."""
        if self._response.is_head_held and self._cycle is not None:
            self._cycle.flush_start()
        if self._output.deadline <= now:
            self._on_write_deadline()
        elif self._request_deadline <= now:
            self._on_request_deadline()
        elif self._read_deadline <= now:
            self._on_read_deadline()

    def _on_write_deadline(self) -> None:
        output = self._output
        if output.is_stuck():
            if not output.is_closing:
                self._warn("client takes no data for %g s: connection reset", self._state.timeout_write)
            output.reset()

    def _on_request_deadline(self) -> None:
        cycle = self._cycle
        self._request_deadline = inf
        if cycle is None:
            return
        task = cycle.task
        if self._response.is_head_sent:
            self._warn("request not done within %g s: connection reset", self._state.timeout_request)
            self._output.reset()
        else:
            self._refuse(ProtocolError(504, "the request took too long"))
        if task is not None:
            task.cancel()

    def _on_read_deadline(self) -> None:
        self._read_deadline = inf
        reader = self._reader
        if self._output.is_closing and self._output.is_held():
            self._read_deadline = self._state.now + LINGER_TIME  # the client has not been sent everything yet
        elif self._output.is_closing or (self._cycle is None and (reader.is_idle() or reader.body_left())):
            # Done lingering, idle for too long, or the rest of a body that nobody reads does not come.
            self._close()
        elif self._cycle is None:
            self._refuse(ProtocolError(408, "request header not received in time"))
        else:
            self._refuse(ProtocolError(408, "request body not received in time"))

    # -- input

    def _pump(self) -> None:
        """Work through the input until there is none left, or a request has to wait for a response."""
        if self._is_pumping:
            return
        self._is_pumping = True
        self._output.cork()
        try:
            self._process_events()
        except ProtocolError as error:
            if error.status != 505 or not self._hand_to_http2():
                self._refuse(error)
        finally:
            self._is_pumping = False
            self._output.uncork()
        self._update_reading()

    def _process_events(self) -> None:
        reader = self._reader
        while not self._output.is_closing:
            if reader.is_complete():
                if self._cycle is not None or self._output.is_paused:
                    return  # the gate: the next request waits for the response, and for the client to take it
                reader.next_message()
            event = reader.next_event()
            if event == NEED_DATA:
                if self._is_launch_due:
                    self._launch()
                return
            if reader.head.wants_websocket and self._state.serves_websockets:
                self._start_websocket(reader.head)
                return
            if event == REQUEST_END:
                self._start_request(reader.head, True)
                if self._is_launch_due:
                    self._launch()
            elif event == REQUEST:
                self._start_request(reader.head, False)
            else:
                self._is_continue_due = False  # the client did not wait
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
        if not self._output.is_closing and self._transport is not None:
            self._pump()

    def _update_reading(self) -> None:
        """Pause or resume reading and set the deadline that fits what is waited for."""
        if self._output.is_closing or self._transport is None:
            return
        reader = self._reader
        state = self._state
        cycle = self._cycle
        if cycle is None:
            if self._has_ended and not (self._output.is_paused and reader.has_input()):
                self._close()
                return
            if reader.is_complete() and not self._output.is_paused:
                reader.next_message()  # and with it, forget the last one
            if self._output.is_paused:
                self._read_deadline = inf  # the client has to take something first: the write deadline is at work
            elif reader.body_left() != 0:
                self._read_deadline = state.now + state.timeout_body
            elif reader.is_idle():
                self._read_deadline = state.now + state.timeout_keep_alive
            elif self._read_deadline == inf:
                self._read_deadline = state.now + state.timeout_headers
            pause = self._output.is_paused and reader.has_input()
        elif reader.is_complete():
            self._read_deadline = inf
            # A little is taken in, so that the end of the connection is seen while the application works.
            pause = reader.input_size() >= INPUT_HIGH_WATER
        else:
            if reader.body_left() >= INTAKE_SIZE:
                self._take_in()
            pause = cycle.buffered >= BODY_HIGH_WATER and not cycle.is_woken
            is_due = not (pause or self._is_continue_due or self._has_ended)
            self._read_deadline = state.now + state.timeout_body if is_due else inf
        if pause != self._is_reading_paused:
            self._is_reading_paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _take_in(self) -> None:
        """Read the rest of a large body without a copy, where that makes a difference."""
        if self._intake is None and reads_with_a_copy(self._transport):
            self._intake = Intake(self, self._transport)
        if self._intake is not None:
            self._intake.begin()

    def body_left(self) -> int:
        """Bytes of the current request's body that are still to come; -1 when that is unknown."""
        return self._reader.body_left()

    # -- a request

    def _start_request(self, head: RequestHead, body_ended: bool) -> None:
        state = self._state
        self._response.begin(head, head.keep_alive and not state.stopping and state.timeout_keep_alive > 0.0)
        self._is_continue_due = head.expect_continue
        self._drained = 0
        self._started = state.clock() if state.times_requests else 0.0
        state.total_requests += 1
        if 0 <= state.limit_concurrency <= state.active:
            self._refuse(ProtocolError(503, "too many requests at the moment"))
            return
        state.active += 1
        self._request_deadline = state.now + state.timeout_request
        self._read_deadline = inf
        cycle = state.spare.take()
        if cycle is None:
            cycle = HTTPCycle.__new__(HTTPCycle)
            state.spare.keep(cycle)
        cycle.begin(self, head, body_ended)
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
        if self._scope is None:
            self._scope = self._make_scope()
        head = cycle.head
        scope = http_scope(head, self._scope, state.paths, state.lifespan_state)
        self._forwarded_name = self._peer.complete(scope, head, state.forwarding)
        if state.logs_headers:
            self._log_scheme = scope["scheme"]
        state.run(cycle, scope)
        take_back(scope, head.headers)

    def _make_scope(self) -> ConnectionScope:
        state = self._state
        scope: ConnectionScope = self._peer.make_scope("1.1", state.last_scope)
        state.last_scope = scope
        return scope

    def _start_websocket(self, head: RequestHead) -> None:
        """Hand the transport over to a WebSocketSession; this connection is done then."""
        state = self._state
        self._response.begin(head, False)
        if self._has_ended:
            self._close()
            return
        if 0 <= state.limit_concurrency <= state.active:
            self._refuse(ProtocolError(503, "too many requests at the moment"))
            return
        handshake = check_handshake(head, state.ws_per_message_deflate)
        if self._scope is None:
            self._scope = self._make_scope()
        scope = websocket_scope(head, self._scope, state.paths, state.lifespan_state, handshake.subprotocols)
        name: str = self._peer.complete(scope, head, state.forwarding) or self._peer.label()
        transport = self._transport
        self._transport = None
        if self._is_reading_paused:
            transport.resume_reading()
        state.connections.discard(self)
        session = WebSocketSession(state, transport, self._output, self._response, handshake)
        session.start(name, _target(head), self._reader.take_tail(), scope)

    def _hand_to_http2(self) -> bool:
        """Hand the transport over when the client began with the preface of HTTP/2 (RFC 9113 section 3.3).

        Returns:
            whether it did, and HTTP/2 is served.
        """
        state = self._state
        # A scope was made for an earlier request. Over TLS, the handshake has decided for HTTP/1.1.
        if state.http2 is None or self._scope is not None or self._peer.scheme != "http":
            return False
        if self._reader.known_line() != ("PRI", "*", "2.0"):
            return False
        transport = self._transport
        self._transport = None
        self._read_deadline = inf
        state.connections.discard(self)
        connection = state.http2(state)
        transport.set_protocol(connection)
        connection.connection_made(transport)
        connection.data_received(self._reader.take_tail())
        return True

    # -- the responder: called by the cycle

    def body_taken(self) -> None:
        """The application received what was buffered: reading can go on."""
        if self._is_reading_paused and not self._is_pumping:
            self._update_reading()

    def send_continue(self) -> None:
        """Send 100 (Continue) when the client waits for it and has sent nothing of the body."""
        if self._is_continue_due:
            self._is_continue_due = False
            self._output.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if not self._output.is_closing:
                self._read_deadline = self._state.now + self._state.timeout_body

    def send_early_hint(self, links: "list[Any]") -> None:
        """Send 103 (Early Hints)."""
        self._response.send_early_hint(links)

    def start_response(self, status: int, headers: "list[Any]", wants_trailers: bool) -> None:
        """Check the head and hold it until the first body message."""
        self._response.start(status, headers, wants_trailers)

    def send_body(self, body: bytes, is_last: bool) -> Any:
        """Send bytes of the body, behind the head where that was held."""
        response = self._response
        output = self._output
        if not response.is_head_sent and self._is_last_response():
            response.keep_alive = False
        response.send_body(body, is_last)
        if output.is_lost:
            self._lose()
        return READY if output.is_writable() else Drained(output)

    def start_file(self, size: int, is_last: bool) -> Any:
        """Send what comes before the bytes of a file."""
        response = self._response
        if not response.is_head_sent and self._is_last_response():
            response.keep_alive = False
        if response.start_file(size, is_last):
            return FileTransfer(self.loop, self._transport, self._output, response, self._peer.scheme == "http")
        return None

    def end_file(self, is_last: bool) -> None:
        """Send what comes behind the bytes of a file."""
        self._response.end_file(is_last)

    def _is_last_response(self) -> bool:
        """Whether the connection cannot be used again, for other reasons than the response itself."""
        reader = self._reader
        return (
            self._state.stopping
            or self._is_continue_due  # the client may or may not send the body now
            or reader.body_left() > DRAIN_LIMIT
            or (self._has_ended and not reader.has_input())
        )

    def add_trailers(self, headers: "list[Any]") -> None:
        """Collect trailer fields."""
        self._response.add_trailers(headers)

    def send_trailers(self) -> None:
        """End the body."""
        self._response.send_trailers()

    def response_complete(self) -> None:
        """The response is complete: go on to the next request, or close."""
        reader = self._reader
        self._end_request()
        if self._output.is_closing:
            return
        if not self._response.keep_alive or (self._has_ended and not reader.has_input()):
            if reader.is_complete() and not reader.has_input():
                self._close()
            else:
                self._linger()
        elif not self._is_pumping:
            if reader.has_input():
                self._schedule_pump()
            else:
                self._update_reading()

    def fail(self, status: int) -> None:
        """Answer for an application that did not, because it failed."""
        if self._is_last_response():
            self._response.keep_alive = False
        self._response.send_text(status, HTTPStatus(status).phrase)
        self.response_complete()

    def cut(self) -> None:
        """End the connection in the middle of a response, so that the client sees that it is truncated."""
        self._end_request()
        if self._response.is_close_delimited():
            self._output.reset()  # an orderly end would look like the end of the body
        else:
            self._close()

    def _end_request(self) -> None:
        """Account for the end of the current request, if there is one."""
        cycle = self._cycle
        if cycle is None:
            return
        state = self._state
        state.active -= 1
        self._cycle = None
        self._is_launch_due = False
        self._is_continue_due = False
        self._request_deadline = inf
        if self._response.is_head_sent:
            if state.access_log is not None:
                self._log_head(cycle.head)
            if state.figures is not None:
                state.figures.count_request(self._response.status, state.clock() - self._started)
        if self._forwarded_name:
            self._forwarded_name = ""
        self._response.end()

    def _log_head(self, head: RequestHead) -> None:
        self._log_access(head.method, _target(head), "1.1" if head.minor_version == 1 else "1.0", head.headers)

    def _log_access(self, method: str, target: str, http_version: str, headers: "list[Any]") -> None:
        state = self._state
        response = self._response
        client = self._forwarded_name or self._peer.name()
        duration = state.clock() - self._started if state.times_requests else 0.0
        status = response.status
        size = response.body_sent
        log = state.access_log
        assert log is not None
        if state.logs_headers:
            scheme = self._log_scheme
            log.log(client, method, target, http_version, status, size, duration, scheme, headers, response.headers)
        else:
            log.log(client, method, target, http_version, status, size, duration)

    def _log_refusal(self) -> None:
        """The access log line of a request that no cycle was made for, if it is known as one."""
        self._log_scheme = self._peer.scheme
        if self._state.times_requests:
            self._started = self._state.clock()
        if self._reader.is_complete() or self._reader.body_left() != 0:
            self._log_head(self._reader.head)
            return
        known = self._reader.known_line()
        if known is not None:
            method, target, version = known
            self._log_access(method, _quoted(target), version, [])

    # -- errors

    def _refuse(self, error: ProtocolError) -> None:
        """Answer a request that breaks the protocol, unless its response is under way, log why, and close."""
        cycle = self._cycle
        response = self._response
        self._warn("%d %s: %s", error.status, HTTPStatus(error.status).phrase, error.detail)
        if cycle is None and not self._reader.is_complete() and self._reader.body_left() == 0:
            response.begin(None, False)  # the fault is in a head
        # A fault in the rest of a body whose request has been answered gets no second response.
        if not response.is_head_sent:
            response.keep_alive = False
            response.send_text(error.status, error.detail, error.headers)
            if cycle is None:
                if self._state.access_log is not None:
                    self._log_refusal()
                if self._state.figures is not None:
                    self._state.figures.count_response(error.status)
        self._end_request()
        if cycle is not None:
            cycle.disconnect(True)
        self._linger()

    def _warn(self, message: str, *args: Any) -> None:
        self._peer.warn(self._forwarded_name, message, *args)

    # -- the end

    def _close(self) -> None:
        """Close when what was written has left."""
        self._read_deadline = inf
        self._output.close()

    def _linger(self) -> None:
        """End our side, then drop what the client still sends until it ends too, for a bounded time."""
        if self._output.is_lost:
            return
        if self._has_ended or not self._output.end():
            self._close()
            return
        self._read_deadline = self._state.now + LINGER_TIME
        self._reader.drop_input()
        if self._is_reading_paused:
            self._is_reading_paused = False
            self._transport.resume_reading()


def _target(head: RequestHead) -> str:
    """The request target as the logs show it."""
    return _quoted((head.raw_path + b"?" + head.query if head.query else head.raw_path).decode("latin-1"))


def _quoted(target: str) -> str:
    """A target has no space and no control character in it. A quote would end it in the log, so that is encoded."""
    return target.replace('"', "%22") if '"' in target else target
