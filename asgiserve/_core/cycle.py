"""HTTPCycle: one request and its response, as ASGI messages (ASGI HTTP spec 2.5).

It knows the messages and the states they are allowed in, and never sees a byte of HTTP: those are the responder's.
"""

import logging
from typing import Any, Optional

from .._consts import DISCONNECTED, DONE, SENDING_FILE, START_HELD, STREAMING, WAIT_START, WAIT_TRAILERS
from ..errors import AppError, ClientDisconnected
from .calls import is_text
from .exchange import Exchange, is_disconnect, to_bytes, to_list, to_status
from .filesend import PATHSEND, ZEROCOPYSEND, send_file
from .flow import READY, Waiters
from .head import NO_HEAD, RequestHead
from .responder import NOBODY, Responder

logger = logging.getLogger("asgiserve.error")

STATE_NAMES = {
    WAIT_START: "before 'http.response.start'",
    START_HELD: "after 'http.response.start'",
    STREAMING: "after 'http.response.body'",
    WAIT_TRAILERS: "after the last 'http.response.body', with trailers to come",
    DONE: "after the response was complete",
    DISCONNECTED: "after the client left",
    SENDING_FILE: "while a file is sent",
}


class HTTPCycle(Exchange):
    """The messages of one request. It is made by __new__() and begin().

    The responder feeds it with add_body(), end_body() and disconnect(); the application uses receive() and send().

    Attributes:
        head: the request's head.
        state: one of the cycle states in `_consts`.
        buffered: body bytes that the application has not received.
        is_woken: whether the application waited for the last of them and is about to take them.
    """

    __slots__ = (
        "head",
        "state",
        "buffered",
        "is_woken",
        "_responder",
        "_chunks",
        "_body_ended",
        "_body_received",
        "_is_gone",
        "_wants_trailers",
        "_state_before_file",
    )

    def begin(self, responder: Responder, head: RequestHead, body_ended: bool) -> None:
        """What __init__() would be, if there were not one of these for every request: a class is called with a tuple.

        Args:
            body_ended: whether the request has no body.
        """
        self._responder: Responder = responder
        self.loop: Any = responder.loop
        self.task: Any = None
        self.waiters: Optional[Waiters] = None
        self.head: RequestHead = head
        self.state: int = WAIT_START
        self.buffered: int = 0
        self.is_woken: bool = False
        self._chunks: Optional[list[bytes]] = None
        self._body_ended: bool = body_ended
        self._body_received: bool = False
        self._is_gone: bool = False
        self._wants_trailers: bool = False
        self._state_before_file: int = 0

    # -- from the responder

    def add_body(self, chunk: bytes, ended: bool) -> None:
        """Add bytes of the request body; `ended` says that they are the last."""
        if self._chunks is None:
            self._chunks = [chunk]
        else:
            self._chunks.append(chunk)
        self.buffered += len(chunk)
        self._body_ended = ended
        self._hand_over()

    def end_body(self) -> None:
        """Say that no more of the request body comes."""
        self._body_ended = True
        self._hand_over()

    def disconnect(self, is_lost: bool) -> None:
        """Say that the client left.

        Args:
            is_lost: whether nothing can be sent any more. If not, the client has only ended its side: receive() gives
                http.disconnect, and a response that the application still sends is still delivered.
        """
        self._is_gone = True
        if is_lost and self.state != DONE:
            self.state = DISCONNECTED
            self._chunks = None
            self.buffered = 0
        self.wake()

    def _hand_over(self) -> None:
        """Let who waits in receive() take what there is, at once if possible."""
        self.is_woken = self.waiters is not None and self.waiters.wake_now()

    def wake(self) -> None:
        """Wake who waits in receive()."""
        self.is_woken = self.waiters is not None and self.waiters.wake()

    # -- the application's side

    def give_message(self) -> "Optional[dict[str, Any]]":
        """Return the next message; None when there is none yet."""
        if self.state == DONE or self.state == DISCONNECTED:
            return {"type": "http.disconnect"}
        chunks = self._chunks
        if chunks is not None:
            self._chunks = None
            self.is_woken = False
            body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            self.buffered = 0
            if self._body_ended:
                self._body_received = True
            self._responder.body_taken()
            return {"type": "http.request", "body": body, "more_body": not self._body_ended}
        if self._body_ended and not self._body_received:
            self._body_received = True
            return {"type": "http.request", "body": b"", "more_body": False}
        if self._is_gone:
            return {"type": "http.disconnect"}
        if not self._body_received and (self.state == WAIT_START or self.state == START_HELD):
            self._responder.send_continue()
        return None

    def take_message(self, message: "dict[str, Any]") -> Any:
        """Act on a message of the application.

        Raises:
            AppError: the message is malformed, or not allowed in this state.
            ClientDisconnected: the client has left.
        """
        kind = message.get("type")
        state = self.state
        if state == DISCONNECTED:
            raise ClientDisconnected("the client has left")
        if is_text(kind, "http.response.start"):
            if state != WAIT_START:
                self._reject(kind)
            return self._start(message)
        if is_text(kind, "http.response.body"):
            if state != START_HELD and state != STREAMING:
                self._reject(kind)
            return self._send_body(message)
        if kind == "http.response.trailers":
            if state != WAIT_TRAILERS:
                self._reject(kind)
            return self._send_trailers(message)
        if kind == "http.response.early_hint":
            if state == DONE:
                self._reject(kind)
            return self._send_early_hint(message)
        if kind == PATHSEND or kind == ZEROCOPYSEND:
            return send_file(self, self._responder, message)
        self._reject(kind)
        return READY

    def _reject(self, kind: Any) -> None:
        if kind is None:
            raise AppError("ASGI message without a 'type'")
        raise AppError(f"unexpected ASGI message {kind!r} {STATE_NAMES[self.state]}")

    def flush_start(self) -> None:
        """Send the head that was held, because the application takes its time with the first body message."""
        if self.state == START_HELD:
            self._send_body({"more_body": True})

    def _start(self, message: "dict[str, Any]") -> Any:
        status = to_status(message.get("status"), "http.response.start")
        headers = message.get("headers", ())
        if type(headers) is not list:
            headers = to_list(headers)
        # With headers, three entries are all there are: nothing more need be looked for.
        self._wants_trailers = (len(message) > 3 or not headers) and bool(message.get("trailers", False))
        self._responder.start_response(status, headers, self._wants_trailers)
        self.state = START_HELD
        return READY

    def _send_body(self, message: "dict[str, Any]") -> Any:
        body = message.get("body", b"")
        if type(body) is not bytes:
            body = to_bytes(body, "the body in 'http.response.body'")
        # With a body, two entries are all there are; callers of our own give the type as well.
        if (len(message) > 2 or not body) and message.get("more_body", False):
            waiting = self._responder.send_body(body, False)
            if self.state == START_HELD:
                self.state = STREAMING
            return waiting
        # `state` follows the bytes: what send_body() refuses leaves it where it was.
        waiting = self._responder.send_body(body, True)
        self._end_body()
        return waiting

    def _end_body(self) -> None:
        if self._wants_trailers:
            if self.state != DISCONNECTED:
                self.state = WAIT_TRAILERS
        else:
            self._finish()

    def _send_trailers(self, message: "dict[str, Any]") -> Any:
        self._responder.add_trailers(to_list(message.get("headers", ())))
        if not message.get("more_trailers", False):
            self._responder.send_trailers()
            self._finish()
        return READY

    def _send_early_hint(self, message: "dict[str, Any]") -> Any:
        links = message.get("links", ())
        if self.state == WAIT_START or self.state == START_HELD:
            self._responder.send_early_hint(to_list(links))
        return READY

    def _finish(self) -> None:
        if self.state == DISCONNECTED:
            return
        self.state = DONE
        self._chunks = None
        self.buffered = 0
        self._responder.response_complete()
        self.wake()

    # -- files: for filesend

    def enter_file(self, kind: str) -> None:
        """A file is about to be sent; other messages have to wait.

        Raises:
            AppError: no file can be sent in this state. One that is named by its path has to be the whole body.
            ClientDisconnected: the client has left.
        """
        state = self.state
        if state == DISCONNECTED:
            raise ClientDisconnected("the client has left")
        if state != START_HELD and (state != STREAMING or kind == PATHSEND):
            self._reject(kind)
        self._state_before_file = state
        self.state = SENDING_FILE

    def leave_file(self) -> None:
        """The file is done with; if nothing became of it, nothing has happened."""
        if self.state == SENDING_FILE:
            self.state = self._state_before_file

    def send_content(self, content: bytes, is_last: bool) -> Any:
        """Send the whole content of a small file."""
        self.leave_file()
        return self._send_body({"type": "http.response.body", "body": content, "more_body": not is_last})

    def end_file(self, is_last: bool) -> None:
        """All of a file was sent that the responder's start_file() announced."""
        if self.state == SENDING_FILE:
            self.state = STREAMING
            self._responder.end_file(is_last)
            if is_last:
                self._end_body()

    def break_file(self) -> None:
        """Bytes of it were not sent, and nothing can take their place."""
        if self.state == SENDING_FILE:
            self.state = DISCONNECTED
            self._chunks = None
            self.buffered = 0
            self._responder.cut()

    # -- the end of the application

    def _log_error(self, error: BaseException) -> None:
        if self.state == DISCONNECTED and is_disconnect(error):
            return
        if self._is_gone and not self._body_ended:
            # What a framework raises when a body breaks off: its own way of passing on http.disconnect.
            logger.debug("ASGI application failed after the client left within the request body", exc_info=error)
            return
        logger.error("Exception in ASGI application", exc_info=error)

    def app_ended(self, error: Optional[BaseException], cancelled: bool) -> None:
        """Log what is wrong with the end of the application, and see to it that the client gets an end too."""
        responder = self._responder
        state = self.state
        if error is not None:
            self._log_error(error)
        elif not cancelled and not self._is_gone and state != DONE and state != DISCONNECTED:
            if state == WAIT_START:
                logger.error("ASGI application returned without starting a response")
            else:
                logger.error("ASGI application returned without completing its response")
        if state == DONE or state == DISCONNECTED:
            return
        self.state = DISCONNECTED
        # Who sees the client leave may end without a word.
        is_excused = self._is_gone and (error is None or not self._body_ended)
        if (state == WAIT_START or state == START_HELD) and not is_excused:
            responder.fail(503 if cancelled else 500)
        else:
            responder.cut()

    def let_go(self) -> None:
        """Refer to the connection and its request no more."""
        self._responder = NOBODY
        self.head = NO_HEAD
