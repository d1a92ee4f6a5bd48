"""WebSocketSession: one WebSocket, from the opening handshake to the end (RFC 6455, ASGI WebSocket spec 2.5).

It takes over a connection's transport from HTTPConnection once a request asks for it, is the asyncio protocol from then
on, and knows the messages of the application. The syntax of frames is the codec's.
"""

import logging
from collections import deque
from http import HTTPStatus
from math import inf
from typing import Any, Optional

from .._consts import (
    CLOSE_ABNORMAL,
    CLOSE_INTERNAL_ERROR,
    CLOSE_NORMAL,
    CLOSE_SERVICE_RESTART,
    COPY_LIMIT,
    TRACE,
    WS_BINARY,
    WS_CLOSE,
    WS_NEED_DATA,
    WS_PING,
    WS_TEXT,
)
from ..errors import AppError, ClientDisconnected, FrameError
from .exchange import Exchange, is_disconnect, to_bytes, to_list, to_status
from .flow import READY, Waiters
from .frames import FrameCodec
from .handshake import Handshake
from .output import Drained, Output
from .response import ResponseWriter
from .state import ServerState

logger = logging.getLogger("asgiserve.error")

# Phases of a session.
CONNECTING = 0  # the application has not answered the handshake
DENYING = 1  # it answers with an HTTP response
OPEN = 2
CLOSING = 3  # our close frame is out, the client's is awaited
CLOSED = 4  # nothing more is sent or taken

#: Bytes of messages that wait for the application before reading stops.
QUEUE_HIGH_WATER = 64 * 1024
#: Bytes from a client that does not wait for the end of the handshake, before reading stops.
TAIL_HIGH_WATER = 64 * 1024
#: The client has to answer a close frame within this time, in seconds.
CLOSE_TIMEOUT = 10.0
#: After a fault of the client its input is dropped for this long, in seconds, so that a reset does not destroy the
#: close frame that tells it why.
LINGER_TIME = 2.0

#: Fields of the 101 response that are the server's.
HANDSHAKE_FIELDS = frozenset(
    (b"connection", b"upgrade", b"sec-websocket-accept", b"sec-websocket-extensions", b"sec-websocket-protocol")
)
PHASE_NAMES = {
    CONNECTING: "before 'websocket.accept'",
    DENYING: "after 'websocket.http.response.start'",
    OPEN: "after 'websocket.accept'",
    CLOSING: "after 'websocket.close'",
    CLOSED: "after 'websocket.close' or the end of the response",
}


class WebSocketSession(Exchange):
    """One WebSocket. start() comes first.

    Attributes:
        phase: CONNECTING to CLOSED.
        name: the client's name in the logs.
    """

    __slots__ = (
        "phase",
        "name",
        "_state",
        "_transport",
        "_output",
        "_response",
        "_handshake",
        "_codec",
        "_target",
        "_tail",
        "_message",
        "_others",
        "_waiting",
        "_buffered",
        "_is_connect_given",
        "_is_woken",
        "_is_full",
        "_is_reading_paused",
        "_is_closed_by_app",
        "_has_left",
        "_leave_code",
        "_leave_reason",
        "_pong",
        "_fault",
        "_is_end_held",
        "_has_heard",
        "_started",
        "_deadline",
        "_ping_deadline",
        "_pong_deadline",
    )

    def __init__(
        self, state: ServerState, transport: Any, output: Output, response: ResponseWriter, handshake: Handshake
    ) -> None:
        self.loop: Any = state.loop
        self.task: Any = None
        self.waiters: Optional[Waiters] = None
        self.phase: int = CONNECTING
        self.name: str = ""
        self._state: ServerState = state
        self._transport: Any = transport
        self._output: Output = output
        # Both are given up once the WebSocket is open: it may stay for days.
        self._response: Optional[ResponseWriter] = response
        self._handshake: Optional[Handshake] = handshake
        self._codec: Optional[FrameCodec] = None
        self._target: str = ""
        self._tail: bytes = b""  # what the client sent before the end of the handshake
        # What waits for the application: nearly always one message at most, or else `_others` behind it.
        self._message: Any = None
        self._others: Any = None
        self._waiting: int = 0  # how many
        self._buffered: int = 0  # how large
        self._is_connect_given: bool = False
        self._is_woken: bool = False  # the application waited for a message and is about to take it
        self._is_full: bool = False  # enough messages wait: no more frames are looked at
        self._is_reading_paused: bool = False
        self._is_closed_by_app: bool = False
        self._has_left: bool = False  # `_leave_code` and `_leave_reason` are for websocket.disconnect
        self._leave_code: int = 0
        self._leave_reason: str = ""
        self._pong: Optional[bytes] = None  # the payload of a pong that waits for room in the transport's buffer
        self._fault: Optional[FrameError] = None  # the client's
        self._is_end_held: bool = False  # its fault or its close frame came behind messages that are not taken yet
        self._has_heard: bool = False  # the client has sent something since the last ping
        self._started: float = 0.0
        # Deadlines are in the event loop's time; what is due at the first one depends on the phase.
        self._deadline: float = inf
        self._ping_deadline: float = inf
        self._pong_deadline: float = inf

    def start(self, name: str, target: str, tail: bytes, scope: "dict[str, Any]") -> None:
        """Take over the transport and run the application.

        Args:
            name: the client's, for the logs.
            target: the request target, for the logs.
            tail: what the client has sent behind the request.
            scope: the ASGI scope.
        """
        state = self._state
        self.name = name
        self._target = target
        self._tail = tail
        self._started = state.clock()
        self._deadline = state.now + state.timeout_request
        state.active += 1
        state.total_requests += 1
        state.connections.add(self)
        if state.is_tracing:
            self._trace("WebSocket connection made")
        self._transport.set_protocol(self)
        state.run(self, scope)

    # -- transport callbacks

    def data_received(self, data: bytes) -> None:
        """Input came."""
        self._has_heard = True
        if self._codec is not None:
            if self.phase != CLOSED:
                self._codec.feed(data)
                self._read_frames()
        elif self.phase == CONNECTING:
            self._tail += data
            self._update_reading()

    def eof_received(self) -> bool:
        """The client ended its side. A WebSocket has no half-closed state: the transport closes.

        Returns:
            False.
        """
        self._output.flush()
        return False

    def connection_lost(self, error: Optional[Exception]) -> None:
        """The transport is closed."""
        state = self._state
        if state.is_tracing:
            self._trace("WebSocket connection lost")
        state.connections.discard(self)
        state.active -= 1
        self._lose()

    def _lose(self) -> None:
        self._leave(CLOSE_ABNORMAL, "")
        self.phase = CLOSED
        self._deadline = inf
        self._codec = None
        self._pong = None
        self._fault = None
        self._is_end_held = False
        self._output.lose()

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        self._output.pause()

    def resume_writing(self) -> None:
        """The transport's buffer has room again."""
        self._output.resume()
        if self.phase >= CLOSING:
            self._wait_for_end(self._state.now)
        pong = self._pong
        if pong is not None:
            self._pong = None
            self._send_pong(pong)

    # -- for the server

    def shutdown(self) -> None:
        """Close with 1012, or refuse the handshake."""
        if self.phase == OPEN:
            self._start_closing(CLOSE_SERVICE_RESTART, "")
        elif self.phase == CONNECTING:
            self._leave(CLOSE_SERVICE_RESTART, "")
            self._refuse(503)

    def disconnect_app(self) -> None:
        """Tell a running application that the client is gone."""
        if self.phase != OPEN:
            self._leave(CLOSE_SERVICE_RESTART, "")

    def abort(self) -> None:
        """Reset the connection: what was written and not yet taken is lost."""
        self._output.reset()

    def is_due(self, now: float) -> bool:
        """Whether on_tick() has something to do."""
        return self._deadline <= now or self._output.deadline <= now

    def on_tick(self, now: float) -> None:
        """Act on a deadline that has passed."""
        output = self._output
        if output.deadline <= now:
            if output.is_stuck():
                if not output.is_closing:
                    self._warn("client takes no data for %g s: connection reset" % self._state.timeout_write)
                output.reset()
        elif self._deadline > now:
            return
        elif (self._is_end_held or self.phase >= CLOSING) and output.is_held():
            self._wait_for_end(now)
        elif self._is_end_held:
            self._act_on_end()
        elif self.phase == OPEN:
            self._keep_alive(now)
        elif self.phase == CONNECTING:
            self._warn("handshake not answered within %g s" % self._state.timeout_request)
            self._leave(CLOSE_ABNORMAL, "")
            task = self.task
            self._refuse(504)
            if task is not None:
                task.cancel()
        elif self.phase == CLOSING:
            self._end(False)  # the client does not answer our close frame
        else:
            self._deadline = inf
            output.reset()

    def _wait_for_end(self, now: float) -> None:
        """Give the client its time to come to the end once more: it begins when everything has been sent."""
        self._deadline = now + (CLOSE_TIMEOUT if self.phase == CLOSING else LINGER_TIME)

    def _keep_alive(self, now: float) -> None:
        """Send a ping, or see whether the client answered the last one. Whatever it sends is a sign of life."""
        state = self._state
        if self._has_heard or self._is_reading_paused or self._output.is_paused:
            self._pong_deadline = inf
        if self._pong_deadline <= now:
            self._warn("no answer to a ping within %g s" % state.ws_ping_timeout)
            self._send_close(CLOSE_INTERNAL_ERROR, "keepalive ping timeout")
            self._end(False)
            return
        if self._ping_deadline <= now:
            if not self._output.is_paused:
                assert self._codec is not None
                self._output.write(self._codec.encode_ping(b""))
                self._has_heard = False
                if self._pong_deadline == inf:
                    self._pong_deadline = now + state.ws_ping_timeout
            self._ping_deadline = now + state.ws_ping_interval
        self._deadline = min(self._ping_deadline, self._pong_deadline)

    # -- input

    def _read_frames(self) -> None:
        """Act on the frames that have come, until the application has enough to do."""
        output = self._output
        output.cork()
        try:
            self._process_events()
            self._hand_over()
        except FrameError as fault:
            self._fault = fault
            self._end_input()
            self._hand_over()
        finally:
            output.uncork()
        self._update_reading()

    def _process_events(self) -> None:
        codec = self._codec
        while codec is not None and self.phase != CLOSED and not self._is_full:
            event = codec.next_event()
            if event == WS_NEED_DATA:
                return
            if event == WS_TEXT or event == WS_BINARY:
                if self.phase == OPEN:
                    self._add_message(codec.payload)
            elif event == WS_PING:
                if self.phase == OPEN:
                    self._send_pong(codec.payload)
            elif event == WS_CLOSE:
                self._end_input()

    def _add_message(self, payload: Any) -> None:
        if self._message is None:
            self._message = payload
        elif self._others is None:
            self._others = deque((payload,))
        else:
            self._others.append(payload)
        self._waiting += 1
        self._buffered += len(payload)
        self._is_full = self._waiting >= self._state.ws_max_queue or self._buffered > QUEUE_HIGH_WATER

    def _hand_over(self) -> None:
        """Let who waits in receive() take the messages, at once if possible."""
        if self._waiting and self.waiters is not None and self.waiters.wake_now():
            self._is_woken = True

    def _wake(self) -> None:
        if self.waiters is not None:
            self.waiters.wake()

    def _send_pong(self, payload: bytes) -> None:
        """Answer a ping; when the client takes nothing, only the last one (RFC 6455 section 5.5.3)."""
        assert self._codec is not None
        if self._output.is_paused:
            self._pong = payload
        else:
            self._output.write(self._codec.encode_pong(payload))

    def _end_input(self) -> None:
        """The codec has stopped, at a close frame or a fault. The application may answer first to what came before."""
        if self.phase == OPEN and self._waiting:
            self._is_end_held = True
            self._deadline = self._state.now + LINGER_TIME
        else:
            self._act_on_end()

    def _act_on_end(self) -> None:
        if self._fault is not None:
            self._fail(self._fault)
            return
        codec = self._codec
        assert codec is not None
        if self.phase == OPEN:
            self._output.write(codec.encode_close(codec.code, ""))
            self._leave(codec.code, codec.reason)
        self._end(False)

    def _update_reading(self) -> None:
        if self.phase == CONNECTING:
            pause = len(self._tail) >= TAIL_HIGH_WATER
        else:
            pause = self.phase == OPEN and self._is_full and not self._is_woken
        if pause != self._is_reading_paused:
            self._is_reading_paused = pause
            if self._output.is_lost:
                return
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    # -- the application's side

    def give_message(self) -> "Optional[dict[str, Any]]":
        """Return the next message; None when there is none yet."""
        if not self._is_connect_given:
            self._is_connect_given = True
            return {"type": "websocket.connect"}
        payload = self._message
        if payload is not None:
            self._waiting -= 1
            self._message = self._others.popleft() if self._waiting else None
            self._buffered -= len(payload)
            self._is_woken = False
            if self._is_full:
                self._make_room()
            if type(payload) is str:
                return {"type": "websocket.receive", "text": payload}
            return {"type": "websocket.receive", "bytes": payload}
        if self._is_end_held:
            self._act_on_end()
        if self._has_left:
            return {"type": "websocket.disconnect", "code": self._leave_code, "reason": self._leave_reason}
        return None

    def _make_room(self) -> None:
        """Go on with the frames once half of what may wait is taken."""
        if self._waiting * 2 <= self._state.ws_max_queue and self._buffered * 2 <= QUEUE_HIGH_WATER:
            self._is_full = False
            self._read_frames()
        else:
            self._update_reading()

    def take_message(self, message: "dict[str, Any]") -> Any:
        """Act on a message of the application.

        Raises:
            AppError: the message is malformed, or not allowed in this phase.
            ClientDisconnected: the client has left.
        """
        kind = message.get("type")
        phase = self.phase
        if phase == OPEN:
            if kind == "websocket.send":
                return self._send(message)
            if kind == "websocket.close":
                return self._close(message)
        elif phase == CLOSING or phase == CLOSED:
            if not self._is_closed_by_app:
                if kind == "websocket.close":
                    return READY  # who tidies up need not know who was first
                raise ClientDisconnected("the client has left")
        elif phase == CONNECTING:
            if kind == "websocket.accept":
                return self._accept(message)
            if kind == "websocket.close":
                return self._reject_handshake()
            if kind == "websocket.http.response.start":
                return self._start_denial(message)
        elif kind == "websocket.http.response.body":
            return self._send_denial(message)
        if kind is None:
            raise AppError("ASGI message without a 'type'")
        raise AppError(f"unexpected ASGI message {kind!r} {PHASE_NAMES[phase]}")

    def _send(self, message: "dict[str, Any]") -> Any:
        codec = self._codec
        output = self._output
        assert codec is not None
        if self._waiting:
            # The application has more to take, and perhaps to answer: the answers to a burst leave together.
            output.defer()
        data = message.get("bytes")
        text = message.get("text")
        if data is None:
            if type(text) is not str:
                raise AppError("'websocket.send' needs 'bytes' or 'text'")
            if len(text) <= COPY_LIMIT or codec.is_compressing:
                output.write(codec.encode_text(text))
            else:
                data = text.encode()
                output.write_pair(codec.encode_head(WS_TEXT, len(data)), data)
        else:
            if text is not None:
                raise AppError("'websocket.send' has both 'bytes' and 'text'")
            if type(data) is not bytes:
                data = to_bytes(data, "'bytes' in 'websocket.send'")
            if len(data) <= COPY_LIMIT or codec.is_compressing:
                output.write(codec.encode_binary(data))
            else:
                output.write_pair(codec.encode_head(WS_BINARY, len(data)), data)
        return self._written()

    def _written(self) -> Any:
        output = self._output
        if output.is_lost:
            self._lose()
        return READY if output.is_writable() else Drained(output)

    def _close(self, message: "dict[str, Any]") -> Any:
        code = message.get("code", CLOSE_NORMAL)
        code = CLOSE_NORMAL if code is None else code
        if type(code) is not int:
            code = int(code) if isinstance(code, int) else -1
        if not is_sendable_code(code):
            raise AppError(f"invalid close code {message['code']!r} in 'websocket.close'")
        reason = message.get("reason")
        if reason is not None and type(reason) is not str:
            raise AppError(f"the reason in 'websocket.close' must be a str, not {type(reason).__name__}")
        self._is_closed_by_app = True
        self._message = self._others = None
        self._waiting = self._buffered = 0
        self._start_closing(code, reason or "")
        return READY

    # -- the opening handshake

    def _accept(self, message: "dict[str, Any]") -> Any:
        state = self._state
        response = self._response
        handshake = self._handshake
        assert response is not None
        assert handshake is not None
        response.send_upgrade(self._accept_headers(handshake, message))
        self.phase = OPEN
        self._response = None
        self._handshake = None
        self._codec = FrameCodec(state.ws_max_size, handshake.deflate)
        self._deadline = self._ping_deadline = state.now + state.ws_ping_interval
        self._answered("[accepted]", 101)
        if self._tail:
            self._codec.feed(self._tail)
            self._tail = b""
            self._read_frames()
        return self._written()

    def _accept_headers(self, handshake: Handshake, message: "dict[str, Any]") -> "list[Any]":
        headers = [(b"connection", b"Upgrade"), (b"upgrade", b"websocket"), (b"sec-websocket-accept", handshake.accept)]
        subprotocol = message.get("subprotocol")
        if subprotocol is not None:
            if subprotocol not in handshake.subprotocols:
                raise AppError(f"the client did not offer the subprotocol {subprotocol!r}")
            headers.append((b"sec-websocket-protocol", subprotocol.encode()))
        if handshake.deflate is not None:
            headers.append((b"sec-websocket-extensions", handshake.deflate.response))
        extra = to_list(message.get("headers") or ())
        for field in extra:
            # What is no pair of bytes, the encoder refuses.
            if type(field) in (tuple, list) and field and _lower(field[0]) in HANDSHAKE_FIELDS:
                raise AppError(f"header {field[0]!r} is not allowed in 'websocket.accept'")
        headers.extend(extra)
        return headers

    def _reject_handshake(self) -> Any:
        self._is_closed_by_app = True
        self._refuse(403)
        return READY

    def _start_denial(self, message: "dict[str, Any]") -> Any:
        assert self._response is not None
        status = to_status(message.get("status"), "websocket.http.response.start")
        self._response.start(status, to_list(message.get("headers", ())), False)
        self.phase = DENYING
        self._deadline = inf
        return READY

    def _send_denial(self, message: "dict[str, Any]") -> Any:
        assert self._response is not None
        body = message.get("body", b"")
        if type(body) is not bytes:
            body = to_bytes(body, "the body in 'websocket.http.response.body'")
        is_last = not message.get("more_body", False)
        self._response.send_body(body, is_last)
        if is_last:
            self._is_closed_by_app = True
            self._answered(str(self._response.status), self._response.status)
            self._end(True)
        return self._written()

    def _refuse(self, status: int) -> None:
        """Answer the handshake with an error, and close."""
        assert self._response is not None
        self._answered(str(status), status)
        self._response.send_text(status, HTTPStatus(status).phrase)
        self._end(True)

    # -- the end

    def _start_closing(self, code: int, reason: str) -> None:
        """Send a close frame, and wait for the client's for a bounded time."""
        self._send_close(code, reason)
        self.phase = CLOSING
        self._deadline = self._state.now + CLOSE_TIMEOUT
        self._is_full = False  # to get at the client's close frame, what it sends is read and dropped
        if self._output.is_lost:
            self._lose()
        elif self._is_end_held:
            self._end(self._fault is not None)
        else:
            self._update_reading()

    def _send_close(self, code: int, reason: str) -> None:
        assert self._codec is not None
        self._output.write(self._codec.encode_close(code, reason))
        self._leave(code, reason)

    def _fail(self, fault: FrameError) -> None:
        """End the connection for a fault of the client (RFC 6455 section 7.1.7)."""
        if self.phase == OPEN:
            self._warn(f"{fault.code} {fault.detail}")
            self._send_close(fault.code, fault.detail)
        self._end(True)

    def _end(self, lingers: bool) -> None:
        """Send nothing more, and close. To linger is to drop what comes until the client has closed, for some time."""
        self.phase = CLOSED
        self._codec = None
        self._pong = None
        self._fault = None
        self._is_end_held = False
        self._tail = b""
        self._update_reading()
        self._deadline = self._state.now + LINGER_TIME
        self._leave(CLOSE_ABNORMAL, "")
        if not self._output.is_closing and not (lingers and self._output.end()):
            self._output.close()

    def _leave(self, code: int, reason: str) -> None:
        """Have the application told how the WebSocket ended; the first to say so is right."""
        if self._has_left:
            return
        if self.phase == OPEN:
            self._say(f"[closed {code}]", 101, code)
        self._has_left = True
        self._leave_code = code
        self._leave_reason = reason
        self._wake()

    def app_ended(self, error: Optional[BaseException], cancelled: bool) -> None:
        """Log what is wrong with the end of the application, and see to it that the client gets an end too."""
        phase = self.phase
        if error is not None:
            if phase < CLOSING or not is_disconnect(error):
                logger.error("Exception in ASGI application", exc_info=error)
        elif not cancelled and not self._has_left and phase == CONNECTING:
            logger.error("ASGI application returned without accepting or closing the WebSocket")
        elif not cancelled and not self._has_left and phase == DENYING:
            logger.error("ASGI application returned without completing its response")
        if phase == CONNECTING:
            self._refuse(503 if cancelled else 500)
        elif phase == DENYING:
            self._break_denial()
        elif phase == OPEN:
            if cancelled:
                self._start_closing(CLOSE_SERVICE_RESTART, "")
            else:
                self._start_closing(CLOSE_NORMAL if error is None else CLOSE_INTERNAL_ERROR, "")

    def _break_denial(self) -> None:
        assert self._response is not None
        if self._response.is_head_sent:
            self._end(False)  # the client sees that the response is truncated
        else:
            self._refuse(500)

    # -- logs and figures

    def _answered(self, what: str, status: int) -> None:
        """Account for the answer to the handshake."""
        if self._state.figures is not None:
            self._state.figures.count_response(status)
        self._say(what, status, 0)

    def _say(self, what: str, status: int, code: int) -> None:
        """Log how the handshake was answered, or with `code` how the WebSocket ended."""
        if not logger.isEnabledFor(logging.INFO):
            return
        extra: dict[str, Any] = {"client": self.name, "path": self._target, "status": status}
        if code:
            extra["code"] = code
            extra["duration"] = round(self._state.clock() - self._started, 6)
        logger.info('%s - "WebSocket %s" %s', self.name, self._target, what, extra=extra)

    def _warn(self, reason: str) -> None:
        extra = {"client": self.name, "path": self._target}
        logger.warning('%s - "WebSocket %s" %s', self.name, self._target, reason, extra=extra)

    def _trace(self, message: str) -> None:
        logger.log(TRACE, "%s - %s", self.name, message, extra={"client": self.name})


def is_sendable_code(code: int) -> bool:
    """Whether a close frame may carry `code` (RFC 6455 section 7.4)."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def _lower(name: Any) -> Any:
    return name.lower() if isinstance(name, bytes) else name
