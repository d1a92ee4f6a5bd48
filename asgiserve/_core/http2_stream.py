"""HTTP2Stream: one request on an HTTP/2 connection, and the responder of its cycle (RFC 9113 sections 5 and 8).

It counts the request body against its windows and limits, frames the response, and keeps what the client's windows
hold back. Which stream may send next, and what all of them share, is the connection's business.
"""

import re
from collections import deque
from http import HTTPStatus
from math import inf
from typing import Any, Optional

from .._consts import CANCEL, INTERNAL_ERROR, NO_ERROR, PROTOCOL_ERROR, STREAM_WINDOW
from ..errors import ClientDisconnected, ProtocolError, StreamError
from .cycle import HTTPCycle
from .flow import READY, Step, Waiters
from .head import RequestHead
from .http2_engine import HTTP2Engine
from .http2_response import OwnFields, informational_fields, response_fields, trailer_fields
from .http2_sending import Sender, Sending
from .peer import Peer
from .response import body_left
from .scopedict import take_back
from .state import ServerState

#: Bytes of an unread request body that are waited for behind a complete response.
DRAIN_LIMIT = 64 * 1024
#: With more, what comes is dropped for this long, in seconds, before the stream is reset: there are clients that take
#: a reset for an error although they have got their response.
LINGER_TIME = 2.0
#: Bytes of a refused request's target that go into the log.
KNOWN_SIZE = 1024
_UNPRINTABLE = re.compile(rb"[^!#-~]")


class HTTP2Stream(Sender):
    """One stream, from its request to the end of both sides; open() comes first.

    Attributes:
        cycle: while the application has not completed the response.
        is_closed: whether nothing more is sent or taken.
        name: the client's, where a proxy says it.
        held: bytes of the body that the application has not received.
        pieces_held: the number of pieces that they came in.
        body_sent: bytes of the response's body.
        deadline: when on_tick() has something to do, in the event loop's time; or earlier.
    """

    __slots__ = (
        "cycle",
        "is_closed",
        "name",
        "held",
        "pieces_held",
        "body_sent",
        "deadline",
        "_connection",
        "_peer",
        "_engine",
        "_sending",
        "_state",
        "_head",
        "_scheme",
        "_started",
        # The request.
        "_is_request_ended",
        "_is_rest_refused",
        "_is_lingering",
        "_is_continue_due",
        "_received",
        "_owed",
        "_dropped",
        # The response.
        "_is_head_held",
        "_is_head_sent",
        "_is_ended",
        "_status",
        "_headers",
        "_fields",
        "_length",
        "_has_no_body",
        "_body_left",
        "_trailers",
        "_pieces",
        "_offset",
        "_is_end_due",
        "_end_fields",
        "_waiters",
        # Deadlines.
        "_read_deadline",
        "_write_deadline",
        "_request_deadline",
    )

    def open(
        self,
        connection: Any,
        engine: HTTP2Engine,
        sending: Sending,
        state: ServerState,
        stream_id: int,
        head: RequestHead,
        ended: bool,
    ) -> None:
        """Set up a new stream, in place of the constructor, which costs as much as all of this."""
        self.loop: Any = state.loop
        self.id: int = stream_id
        self.is_queued: bool = False
        self.cycle: Optional[HTTPCycle] = None
        self.is_closed: bool = False
        self.name: str = ""
        self.held: int = 0
        self.pieces_held: int = 0
        self.body_sent: int = 0
        self.deadline: float = inf
        self._connection: Any = connection
        self._peer: Peer = connection.peer
        self._engine: HTTP2Engine = engine
        self._sending: Sending = sending
        self._state: ServerState = state
        self._head: RequestHead = head
        self._scheme: str = self._peer.scheme  # for the access log, as the application sees it
        self._started: float = state.clock() if state.times_requests else 0.0
        self._is_request_ended: bool = ended
        self._is_rest_refused: bool = False  # what is still to come of the request is not waited for
        self._is_lingering: bool = False  # it is dropped for a while
        self._is_continue_due: bool = head.expect_continue  # the client waits for 100 (Continue)
        self._received: int = 0  # bytes of the body
        self._owed: int = 0  # bytes that were taken and for which the client has yet to get window
        self._dropped: int = 0  # bytes behind the complete response
        self._is_head_held: bool = False
        self._is_head_sent: bool = False
        self._is_ended: bool = False  # our side
        self._status: int = 0
        self._headers: Optional[list[Any]] = None
        self._fields: Optional[list[Any]] = None
        self._length: int = -1  # the application's Content-Length
        self._has_no_body: bool = False
        self._body_left: int = -1  # bytes that it still asks for
        self._trailers: Optional[list[Any]] = None
        self._pieces: Any = None  # a deque of what is to be sent
        self._offset: int = 0  # bytes of the first one that were
        self._is_end_due: bool = False  # behind the pieces comes the end
        self._end_fields: Optional[list[Any]] = None  # with these trailers
        self._waiters: Optional[Waiters] = None
        self._read_deadline: float = inf
        self._write_deadline: float = inf
        self._request_deadline: float = inf

    # -- the request, from the connection

    def begin(self) -> None:
        """Make the cycle; the application is run by launch()."""
        state = self._state
        state.active += 1
        self._request_deadline = state.now + state.timeout_request
        cycle = HTTPCycle.__new__(HTTPCycle)
        cycle.begin(self, self._head, self._is_request_ended)
        self.cycle = cycle
        self._update_deadlines()

    def launch(self) -> None:
        """Start the application."""
        head = self._head
        scope: dict[str, Any] = self._connection.make_scope(head)
        self.name = self._peer.complete(scope, head, self._state.forwarding)
        if self._state.logs_headers:
            self._scheme = scope["scheme"]
        cycle = self.cycle
        assert cycle is not None
        self._state.run(cycle, scope)
        take_back(scope, head.headers)

    def add_data(self, data: bytes, padding: int, ended: bool) -> None:
        """Take a part of the body, and bytes without meaning that count as well.

        Raises:
            StreamError: it does not fit the Content-Length.
            ProtocolError: the body is too large.
        """
        size = len(data)
        self._is_continue_due = False  # the client did not wait
        self._received += size
        if not self._is_rest_refused:
            self._check_length(ended)
        cycle = self.cycle
        if ended:
            self._is_request_ended = True
        limit = self._state.limits.body
        if 0 <= limit < self._received and cycle is not None:
            raise ProtocolError(413, "request body too large")
        if padding:
            self._credit(padding)
        if cycle is None:
            self._drop(size)
            return
        if size:
            self.held += size
            self.pieces_held += 1
            self._connection.hold(size)
            cycle.add_body(data, ended)
        elif ended:
            cycle.end_body()
        if not self.is_closed:
            self._update_deadlines()

    def end_request(self) -> None:
        """The request has ended, behind trailers.

        Raises:
            StreamError: the body does not fit the Content-Length.
        """
        self._is_continue_due = False
        if not self._is_rest_refused:
            self._check_length(True)
        self._is_request_ended = True
        if self.cycle is not None:
            self.cycle.end_body()
        if self.cycle is None:
            self._settle()
        elif not self.is_closed:
            self._update_deadlines()

    def _check_length(self, ended: bool) -> None:
        """RFC 9113 section 8.1.1."""
        length = self._head.content_length
        if length >= 0 and (self._received > length or (ended and self._received < length)):
            raise StreamError(PROTOCOL_ERROR, "the body does not fit the Content-Length")

    def _drop(self, size: int) -> None:
        """Bytes of a body whose response is complete: dropped within bounds."""
        self._credit(size)
        self._dropped += size
        if self._dropped > DRAIN_LIMIT:
            self._is_rest_refused = True
        self._settle()

    def touch(self) -> None:
        """A part of the next piece of the body has come."""
        if self._read_deadline != inf and not self._is_lingering:
            self._read_deadline = self._state.now + self._state.timeout_body

    def _credit(self, size: int) -> None:
        """Give the client window for bytes that are done with; not for each few of them."""
        self._connection.credit(size)
        self._owed += size
        if self._owed >= STREAM_WINDOW // 2 and not self._is_request_ended and not self.is_closed:
            self._engine.credit_stream(self.id, self._owed)
            self._owed = 0
            self._sending.flush()

    def _release(self) -> None:
        """The bytes that were held for the application are held no more."""
        held = self.held
        if held:
            self._connection.release(held, self.pieces_held)
            self.held = self.pieces_held = 0
            self._credit(held)

    def rearm(self) -> None:
        """The client may send again what the connection had no room for."""
        if self._read_deadline == inf:
            self._update_deadlines()

    # -- the end, from the client or for its faults

    def client_ended(self) -> None:
        """The client has closed its side of the connection: no more of this request comes."""
        self._read_deadline = inf
        self._is_request_ended = True
        if self.cycle is not None:
            self.cycle.disconnect(False)
        self._settle()

    def lose(self) -> None:
        """The client has reset the stream, or the connection is lost."""
        cycle = self.cycle
        self._is_request_ended = True
        self._end_request()
        self._close()
        if cycle is not None:
            cycle.disconnect(True)
            self._connection.leave(cycle)

    def reset(self, code: int) -> None:
        """Reset the stream, for a fault of the client."""
        if not self.is_closed:
            self._engine.reset(self.id, code)
            self._sending.flush()
        self.lose()

    def refuse(self, error: ProtocolError) -> None:
        """Answer a request that breaks the rules, unless its response is under way, and log why."""
        cycle = self.cycle
        self._peer.warn(self.name, "%d %s: %s", error.status, HTTPStatus(error.status).phrase, error.detail)
        self._is_rest_refused = True
        if self._is_head_sent:
            self.reset(CANCEL)
            return
        self._send_text(error.status, error.detail, error.headers)
        if cycle is None:
            self._log_access(KNOWN_SIZE)
            if self._state.figures is not None:
                self._state.figures.count_response(error.status)
        self._end_request()
        if cycle is not None:
            cycle.disconnect(True)
            self._connection.leave(cycle)
        self._settle()

    def _close(self) -> None:
        """Forget what was to be sent, and leave the connection."""
        if self.is_closed:
            return
        self._release()
        self.is_closed = True
        self._pieces = None
        self._is_end_due = False
        self._end_fields = None
        self.deadline = self._read_deadline = self._write_deadline = self._request_deadline = inf
        self._wake()
        self._connection.forget(self)

    def _settle(self) -> None:
        """See whether both sides have ended; do not wait long for the client's."""
        if self.is_closed or self.cycle is not None or not self._is_ended:
            return
        if not self._is_request_ended:
            left = self._head.content_length - self._received
            if self._is_rest_refused or self._is_continue_due or left > DRAIN_LIMIT:
                self._linger()
            else:
                self._update_deadlines()
            return
        self._close()

    def _linger(self) -> None:
        """Our side has ended; give the client a little time to end its own, whatever it sends."""
        if not self._is_lingering:
            self._is_lingering = True
            self._read_deadline = self._state.now + LINGER_TIME
            self._note_deadline()

    # -- time

    def _update_deadlines(self) -> None:
        """Set the deadline for the rest of the body, and that for on_tick()."""
        if self._is_lingering:
            return
        state = self._state
        is_due = not (self._is_request_ended or self._is_continue_due or self._connection.has_ended)
        if is_due and self.held < STREAM_WINDOW // 2 and self._connection.has_room():
            self._read_deadline = state.now + state.timeout_body
        else:
            self._read_deadline = inf
        self._note_deadline()

    def _note_deadline(self) -> None:
        self.deadline = min(self._read_deadline, self._write_deadline, self._request_deadline)
        if self._is_head_held:
            self.deadline = self._state.now
        self._connection.note_deadline(self.deadline)

    def on_tick(self, now: float) -> None:
        """Act on a deadline that has passed, and send a head that an application has left without its body."""
        if self._is_head_held and self.cycle is not None:
            self.cycle.flush_start()
        if self._write_deadline <= now:
            self._peer.warn(self.name, "client takes no data for %g s: stream reset", self._state.timeout_write)
            self.reset(CANCEL)
        elif self._request_deadline <= now:
            self._on_request_deadline()
        elif self._read_deadline <= now:
            self._on_read_deadline()
        if not self.is_closed:
            self._note_deadline()

    def _on_request_deadline(self) -> None:
        self._request_deadline = inf
        cycle = self.cycle
        if cycle is None:
            return
        task = cycle.task
        if self._is_head_sent:
            self._peer.warn(self.name, "request not done within %g s: stream reset", self._state.timeout_request)
            self.reset(CANCEL)
        else:
            self.refuse(ProtocolError(504, "the request took too long"))
        if task is not None:
            task.cancel()

    def _on_read_deadline(self) -> None:
        self._read_deadline = inf
        if self.cycle is not None:
            self.refuse(ProtocolError(408, "request body not received in time"))
        elif self._is_ended:
            # RFC 9113 section 8.1: the response is complete, the rest of the request is not wanted.
            self._engine.reset(self.id, NO_ERROR)
            self._sending.flush()
            self._close()

    # -- the responder: called by the cycle

    def body_taken(self) -> None:
        """The application received what was buffered: the client may send more."""
        self._release()
        if not self.is_closed:
            self._update_deadlines()

    def send_continue(self) -> None:
        """Send 100 (Continue) when the client waits for it and has sent nothing of the body."""
        if self._is_continue_due and not self.is_closed:
            self._is_continue_due = False
            self._send_informational([(b":status", b"100")])
            self._update_deadlines()

    def send_early_hint(self, links: "list[Any]") -> None:
        """Send 103 (Early Hints)."""
        fields = informational_fields(103, [(b"link", link) for link in links])
        if not self.is_closed:
            self._send_informational(fields)

    def _send_informational(self, fields: "list[Any]") -> None:
        self._engine.send_fields(self.id, fields, False)
        self._sending.flush()

    def start_response(self, status: int, headers: "list[Any]", wants_trailers: bool) -> None:
        """Check the head and hold it until the first body message."""
        own: OwnFields = self._connection.own_fields
        self._fields, self._length = response_fields(status, headers, own)
        self._status = status
        self._headers = headers
        self._has_no_body = status == 204 or status == 304 or self._head.method == "HEAD"
        self._trailers = [] if wants_trailers else None
        self._is_head_held = True
        self._note_deadline()

    def send_body(self, body: bytes, is_last: bool) -> Any:
        """Send bytes of the body, behind the head where that was held."""
        if self.is_closed:
            return READY
        ends = is_last and self._trailers is None
        if not self._is_head_sent:
            self._send_head(len(body), is_last, ends)
        elif not self._has_no_body:
            self._count_body(len(body), is_last)
        self._send(b"" if self._has_no_body else body, ends)
        return READY if self.is_drained() else StreamDrained(self)

    def _send_head(self, size: int, is_last: bool, ends: bool) -> None:
        """Send the head; `size` bytes of the body follow."""
        length = self._length
        if self._has_no_body:
            if self._status == 204:
                length = -1  # RFC 9110 section 8.6
            elif length < 0 and size and ends and self._status != 304:
                length = size  # HEAD
            size = 0
        elif length >= 0:
            self._body_left = length
            self._count_body(size, is_last)
        elif ends:
            length = self.body_sent = size
        else:
            self._body_left = -1
            self.body_sent = size
        fields = self._fields
        assert fields is not None
        self._fields = None
        if length >= 0:
            fields.append((b"content-length", b"%d" % length))
        self._is_head_held = False
        self._is_head_sent = True
        self._is_ended = ends and not size
        self._engine.send_fields(self.id, fields, self._is_ended)
        if not size:
            self._sending.flush()  # otherwise the body takes it along

    def _count_body(self, size: int, is_last: bool) -> None:
        self._body_left = body_left(self._body_left, size, is_last)
        self.body_sent += size

    def start_file(self, size: int, is_last: bool) -> Any:
        """Send what comes before the bytes of a file."""
        if self.is_closed:
            return None
        if not self._is_head_sent:
            self._send_head(size, is_last, is_last and self._trailers is None)
        elif not self._has_no_body:
            self._count_body(size, is_last)
        if self._has_no_body:
            return None
        self._sending.flush()
        self.body_sent -= size  # they count once they are sent
        return StreamFile(self)

    def end_file(self, is_last: bool) -> None:
        """Send what comes behind the bytes of a file."""
        if not self.is_closed:
            self._send(b"", is_last and self._trailers is None)

    def send_block(self, data: bytes) -> Any:
        """Send bytes of a file that start_file() has announced."""
        self.body_sent += len(data)
        self._send(data, False)
        return READY if self.is_drained() else StreamDrained(self)

    def add_trailers(self, headers: "list[Any]") -> None:
        """Collect trailer fields."""
        if self._trailers is not None:
            self._trailers.extend(headers)

    def send_trailers(self) -> None:
        """End the body, with the trailers when the client said `TE: trailers`."""
        fields = trailer_fields(self._trailers or [])
        if fields and self._head.te_trailers and not self._has_no_body:
            self._end_fields = fields
        if not self.is_closed:
            self._send(b"", True)

    def response_complete(self) -> None:
        """The application is done; what is left to be sent goes out as the windows allow."""
        self._end_request()
        self._settle()

    def fail(self, status: int) -> None:
        """Answer for an application that did not, because it failed."""
        if self.is_closed:
            self._end_request()
            return
        self._send_text(status, HTTPStatus(status).phrase, ())
        self.response_complete()

    def cut(self) -> None:
        """Reset the stream in the middle of a response, so that the client sees that it is truncated."""
        self._end_request()
        if not self.is_closed:
            self._engine.reset(self.id, INTERNAL_ERROR)
            self._sending.flush()
            self._close()

    def _send_text(self, status: int, text: str, extra: "tuple[tuple[bytes, bytes], ...]") -> None:
        """Send a whole response with a short text, and `extra` fields; what was held is dropped."""
        headers: list[Any] = [(b"content-type", b"text/plain; charset=utf-8")]
        headers.extend(extra)
        if status == 503:
            headers.append((b"retry-after", b"1"))
        self.start_response(status, headers, False)
        self.send_body(text.encode() + b"\n", True)

    def _end_request(self) -> None:
        """Account for the end of the request, if it has not been done."""
        if self.cycle is None:
            return
        state = self._state
        state.active -= 1
        self.cycle = None
        self._is_head_held = False
        self._request_deadline = inf
        if self._is_head_sent:
            self._log_access(-1)
            if state.figures is not None:
                state.figures.count_request(self._status, state.clock() - self._started)
        self._headers = None
        self._release()

    def _log_access(self, size: int) -> None:
        """Have a line in the access log; of the target, at most `size` bytes where that is not -1."""
        state = self._state
        log = state.access_log
        if log is None:
            return
        head = self._head
        target = head.raw_path + b"?" + head.query if head.query else head.raw_path
        if size >= 0:
            target = target[:size]
        text = _UNPRINTABLE.sub(_quote, target).decode("ascii")
        client = self.name or self._peer.name()
        duration = state.clock() - self._started if state.times_requests else 0.0
        sent = self.body_sent
        if state.logs_headers:
            scheme = self._scheme
            headers = self._headers
            log.log(client, head.method, text, "2", self._status, sent, duration, scheme, head.headers, headers)
        else:
            log.log(client, head.method, text, "2", self._status, sent, duration)

    # -- sending, as far as the windows allow

    def _send(self, data: bytes, ends: bool) -> None:
        """Send, or keep until it can be sent; `ends` says that nothing comes behind."""
        if self._is_ended:
            return
        if ends:
            self._is_end_due = True
        if data:
            if not self._pieces and self._sending.has_room(self.id, len(data)):
                self._put(data, 0, len(data))
                self._sending.flush()
                self.after_frames()
                return
            if self._pieces is None:
                self._pieces = deque()
            self._pieces.append(data)
        if self._pieces:
            self._sending.queue(self)
        elif ends:
            self._send_end()
            self._sending.flush()

    def _put(self, data: bytes, start: int, end: int) -> None:
        """Send a frame with these bytes of `data`; behind the last bytes of all, the end."""
        ends = self._is_end_due and not self._pieces
        is_last = ends and self._end_fields is None
        self._engine.send_data(self.id, data, start, end, is_last)
        if is_last:
            self._is_ended = True
        elif ends:
            self._send_end()

    def has_data(self) -> bool:
        """Whether bytes of the body wait to be sent."""
        return bool(self._pieces)

    def send_frame(self, size: int) -> None:
        """Send a frame of at most `size` bytes; with the last bytes, the end."""
        pieces = self._pieces
        piece = pieces[0]
        start = self._offset
        end = start + size
        if end < len(piece):
            self._offset = end
        else:
            end = len(piece)
            pieces.popleft()
            self._offset = 0
        self._put(piece, start, end)
        if self._write_deadline != inf:
            self._write_deadline = inf
        if not pieces:
            self._wake()

    def after_frames(self) -> None:
        """Called behind send_frame(), when frames have been passed on."""
        if self._is_ended:
            self._settle()

    def _send_end(self) -> None:
        """End our side, behind all bytes of the body."""
        fields = self._end_fields
        self._end_fields = None
        self._is_end_due = False
        self._is_ended = True
        if fields is None:
            self._engine.send_data(self.id, b"", 0, 0, True)
        else:
            self._engine.send_fields(self.id, fields, True)

    def block(self) -> None:
        """The stream's own window is used up: the client has to open it in time."""
        if self._write_deadline == inf:
            self._write_deadline = self._state.now + self._state.timeout_write
            self._note_deadline()

    def is_drained(self) -> bool:
        """Whether a sender may go on: nothing is kept, or nobody is left to send to."""
        return self.is_closed or not self._pieces

    def wait(self) -> Any:
        """Return a future that is done when is_drained() may have changed."""
        if self._waiters is None:
            self._waiters = Waiters(self.loop)
        return self._waiters.add()

    def _wake(self) -> None:
        if self._waiters is not None:
            self._waiters.wake()


def _quote(match: Any) -> bytes:
    """Encode a character that would break a line of the log, or a field in it."""
    return b"%%%02X" % ord(match.group())


class StreamDrained(Step):
    """Done when all that was sent on a stream has been passed on, or the stream has ended."""

    __slots__ = ("_stream",)

    def __init__(self, stream: HTTP2Stream) -> None:
        self._stream: HTTP2Stream = stream

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        """Return a future while something is kept."""
        stream = self._stream
        if stream.is_drained():
            raise StopIteration
        return stream.wait()


class StreamFile:
    """Brings a part of a file to a stream."""

    __slots__ = ("_stream",)

    def __init__(self, stream: HTTP2Stream) -> None:
        self._stream: HTTP2Stream = stream

    async def run(self, part: Any) -> None:
        """Send what is left of `part`, a FilePart.

        Raises:
            ClientDisconnected: the client has left.
            AppError: the file became shorter.
            OSError: it cannot be read.
        """
        stream = self._stream
        while part.left:
            data = await part.work(stream.loop, part.read)
            if stream.is_closed:
                raise ClientDisconnected("the client has left")
            await stream.send_block(data)
        if stream.is_closed:
            raise ClientDisconnected("the client has left")
