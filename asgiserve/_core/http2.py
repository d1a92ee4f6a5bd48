"""HTTP2Connection: one HTTP/2 connection, from transport callbacks to streams and back (RFC 9113).

It is the asyncio protocol of a connection: it drives the engine, gives each stream what is its own, and owns what the
streams have in common: the order in which they send, the windows of the connection, the budget of the client, the
deadlines without a request, and the end.
"""

from math import inf
from typing import Any, Optional

from .._consts import (
    CONNECTION_WINDOW,
    ENHANCE_YOUR_CALM,
    FLAG_ACK,
    FLAG_END_STREAM,
    FRAME_CONTINUATION,
    FRAME_DATA,
    FRAME_GOAWAY,
    FRAME_HEADERS,
    FRAME_PING,
    FRAME_PRIORITY,
    FRAME_RST_STREAM,
    FRAME_SETTINGS,
    FRAME_SIZE_ERROR,
    FRAME_WINDOW_UPDATE,
    H2_DATA,
    H2_NOTHING,
    H2_REQUEST,
    H2_RESET,
    H2_TRAILERS,
    H2_WINDOW,
    H2_WINDOWS,
    MAX_STREAMS,
    NO_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
)
from ..errors import ConnectionFault, ProtocolError, StreamError
from .cycle import HTTPCycle
from .head import RequestHead
from .http2_budget import PRICE_FRAME, PRICE_RESET, PRICE_SETTINGS, SETTINGS_SIZE, Budget
from .http2_engine import HTTP2Engine
from .http2_frames import FrameSplitter
from .http2_request import check_trailers, read_request
from .http2_response import OwnFields
from .http2_sending import Sending
from .http2_stream import HTTP2Stream
from .output import Output
from .peer import Peer
from .scope import ConnectionScope, http_scope
from .state import ServerState

#: After a fault of the client its input is dropped for this long, in seconds, so that a reset does not destroy the
#: GOAWAY that tells it why.
LINGER_TIME = 2.0
#: Seconds after which the client is taken to know that the connection ends, if it does not answer.
GOAWAY_TIME = 1.0
#: What GOAWAY says while every stream is still taken.
MAX_STREAM_ID = 2**31 - 1
#: Pieces of request bodies that wait for applications: each costs memory, however small.
MAX_PIECES = 16 * 1024
#: Answers of the engine's own to a client that reads nothing.
MAX_UNREAD = 256
#: Bytes that such a client is sent without a window: heads, which may be all of a response.
MAX_UNREAD_SIZE = 1024 * 1024
_PING = b"goaway!\n"


class HTTP2Connection:
    """One connection. A new one expects connection_made()."""

    __slots__ = (
        "own_fields",
        "peer",
        "has_ended",
        "_state",
        "_transport",
        "_output",
        "_engine",
        "_frames",
        "_budget",
        "_streams",
        "_sending",
        "_starting",
        "_left",
        "_scope",
        "_is_going_away",
        "_last_stream_id",
        "_client_goes",
        "_held",
        "_pieces_held",
        "_owed",
        "_unread",
        "_block_started",
        "_deadline",
        "_goaway_deadline",
        "_due",
    )

    def __init__(self, state: ServerState) -> None:
        limits = state.limits
        self.own_fields: OwnFields = OwnFields(state.common)
        self.peer: Any = None  # a Peer once there is a transport
        self.has_ended: bool = False  # the client has ended its side
        self._state: ServerState = state
        self._transport: Any = None
        self._output: Output = Output(state)
        self._engine: HTTP2Engine = HTTP2Engine(limits.header_size, limits.header_fields)
        self._frames: FrameSplitter = FrameSplitter(self._engine.block_limit)
        self._budget: Budget = Budget(state.now)
        self._streams: dict[int, HTTP2Stream] = {}
        self._sending: Sending = Sending(state, self._engine, self._output, self._budget)
        self._starting: list[HTTP2Stream] = []  # whose application is to be run, once the input is worked through
        self._left: list[Any] = []  # cycles whose stream has ended, and whose application may run on
        self._scope: Optional[ConnectionScope] = None  # what the scopes of all requests have in common
        self._is_going_away: bool = False
        self._last_stream_id: int = MAX_STREAM_ID  # no stream beyond it is served
        self._client_goes: bool = False  # it has said GOAWAY
        self._held: int = 0  # bytes of request bodies that applications have not received
        self._pieces_held: int = 0
        self._owed: int = 0  # bytes that are done with, and for which the client has yet to get window
        self._unread: int = 0  # answers of the engine since the client stopped reading
        self._block_started: bool = False  # the deadline is that of a header block
        # Deadlines are in the event loop's time.
        self._deadline: float = inf
        self._goaway_deadline: float = inf
        self._due: float = inf  # the first of all deadlines, those of streams too; or earlier

    # -- transport callbacks

    def connection_made(self, transport: Any) -> None:
        """The transport is ready; preface and first request are due within the header timeout."""
        state = self._state
        self._transport = transport
        self._output.attach(transport)
        state.connections.add(self)
        self.peer = Peer(transport, self._output.is_direct)
        if state.is_tracing:
            self.peer.trace("HTTP/2 connection made")
        self._set_deadline(state.now + state.timeout_headers)
        if state.stopping:
            self._output.close()
        else:
            self._sending.flush()  # our settings

    def data_received(self, data: bytes) -> None:
        """Input came."""
        if self._output.is_closing:
            return  # lingering
        frames = self._frames
        frames.feed(data)
        self._output.cork()
        try:
            while not self._output.is_closing and frames.next_frame():
                self._take_frame()
            self._launch()
        except ConnectionFault as fault:
            if fault.code != ENHANCE_YOUR_CALM:
                self._launch()  # what came before is answered if it can be
            self._end(fault)
        finally:
            self._output.uncork()
        if not self._output.is_closing:
            self._watch_input()

    def _launch(self) -> None:
        """Start the applications for the requests of one read. What of their bodies has come is theirs already, and
        those that were reset at once never start."""
        starting = self._starting
        if not starting:
            return
        self._starting = []
        for stream in starting:
            if stream.cycle is not None:
                stream.launch()

    def _watch_input(self) -> None:
        """See what the client has begun and not completed."""
        frames = self._frames
        if frames.kind == FRAME_DATA:
            stream = self._streams.get(frames.stream_id)
            if stream is not None:
                stream.touch()
        if frames.is_in_block and not self._block_started:
            self._block_started = True
            self._set_deadline(self._state.now + self._state.timeout_headers)

    def eof_received(self) -> bool:
        """The client ended its side: nothing more is to be read, but responses can still be delivered.

        Returns:
            whether the transport stays open.
        """
        self.has_ended = True
        if self._output.is_closing:
            return False
        self._output.flush()  # the transport may close when this returns
        for stream in list(self._streams.values()):
            stream.client_ended()
        return bool(self._streams) and bool(self._transport.can_write_eof())

    def connection_lost(self, error: Optional[Exception]) -> None:
        """The transport is closed."""
        if self._state.is_tracing:
            self.peer.trace("HTTP/2 connection lost")
        self._state.connections.discard(self)
        self._output.lose()
        self._drop_streams()
        self._frames.drop_input()
        self._deadline = self._goaway_deadline = self._due = inf

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        self._output.pause()

    def resume_writing(self) -> None:
        """The transport's buffer has room again."""
        self._unread = 0
        self._output.resume()
        if self._output.is_closing:
            if self._deadline != inf:
                self._set_deadline(self._state.now + LINGER_TIME)  # it begins when everything has been sent
        else:
            self._sending.go_on()

    # -- for the server

    def shutdown(self) -> None:
        """Say that the connection ends; it does when the client knows, and behind the last response."""
        if not self._is_going_away and not self._output.is_closing:
            self._go_away()

    def disconnect_app(self) -> None:
        """Tell running applications that the client is gone, so that streams end."""
        for stream in list(self._streams.values()):
            if stream.cycle is not None:
                stream.cycle.disconnect(False)

    def abort(self) -> None:
        """Reset the connection: what was written and not yet taken is lost."""
        self._output.reset()

    def is_due(self, now: float) -> bool:
        """Whether on_tick() has something to do."""
        return self._due <= now or self._output.deadline <= now or self._sending.deadline <= now

    def on_tick(self, now: float) -> None:
        """Act on the deadlines that have passed."""
        output = self._output
        if (output.deadline <= now and output.is_stuck()) or self._sending.is_stuck(now):
            self._reset_stuck()
            return
        self._due = inf
        if self._goaway_deadline <= now:
            self._end_goaway()
        if self._deadline <= now:
            self._on_deadline()
        for stream in list(self._streams.values()):
            if stream.deadline <= now:
                stream.on_tick(now)
            else:
                self.note_deadline(stream.deadline)
        self.note_deadline(min(self._deadline, self._goaway_deadline))

    def _reset_stuck(self) -> None:
        if not self._output.is_closing:
            self.peer.warn("", "client takes no data for %g s: connection reset", self._state.timeout_write)
        self._output.reset()

    def _on_deadline(self) -> None:
        output = self._output
        self._deadline = inf
        if output.is_closing:
            if output.is_held():
                self._set_deadline(self._state.now + LINGER_TIME)  # the client has not been sent everything yet
            else:
                output.close()
        elif self._block_started:
            self._end(ConnectionFault(ENHANCE_YOUR_CALM, "request header not received in time"))
        else:
            self._say_goodbye()

    def _set_deadline(self, deadline: float) -> None:
        self._deadline = deadline
        self.note_deadline(deadline)

    def _set_idle_deadline(self) -> None:
        """Without a stream, the client has a while to open the next one."""
        if self._block_started:
            return  # it is about to
        if self._streams:
            self._deadline = inf
        elif self._engine.last_id:
            self._set_deadline(self._state.now + self._state.timeout_keep_alive)
        else:
            self._set_deadline(self._state.now + self._state.timeout_headers)

    # -- input

    def _take_frame(self) -> None:
        """Act on one frame. What it costs is paid first."""
        frames = self._frames
        if frames.kind == FRAME_GOAWAY:
            self._take_goaway()
            return
        self._charge(frames.kind, frames.flags)
        if self._block_started and not frames.is_in_block:
            self._block_started = False
            self._set_idle_deadline()
        try:
            event = self._engine.take(frames.kind, frames.flags, frames.stream_id, frames.content)
        except StreamError as error:
            self.credit(self._engine.size)
            self._reset(frames.stream_id, error)
            return
        if event != H2_NOTHING:
            self._act(event)
        self._sending.flush()

    def _charge(self, kind: int, flags: int) -> None:
        """Take the price of a frame that costs the client nothing."""
        frames = self._frames
        now = self._state.now
        if kind == FRAME_DATA:
            if frames.size == 0 and not flags & FLAG_END_STREAM:
                self._budget.spend(PRICE_FRAME, now, "empty DATA frames")
            elif frames.stream_id not in self._streams:
                self._budget.spend(PRICE_FRAME, now, "frames for streams that have ended")
        elif kind == FRAME_HEADERS:
            if frames.stream_id <= self._engine.last_id and frames.stream_id not in self._streams:
                self._budget.spend(PRICE_FRAME, now, "frames for streams that have ended")
        elif kind == FRAME_WINDOW_UPDATE:
            self._budget.count_update()
        elif kind == FRAME_RST_STREAM:
            self._budget.spend(PRICE_RESET, now, "streams reset")
        elif kind == FRAME_SETTINGS:
            if flags & FLAG_ACK:
                self._budget.spend(PRICE_FRAME, now, "SETTINGS frames")
            else:
                self._budget.spend(PRICE_SETTINGS + frames.size // SETTINGS_SIZE, now, "SETTINGS frames")
                self._count_unread()
        elif kind == FRAME_PING:
            self._budget.spend(PRICE_FRAME, now, "PING frames")
            if not flags & FLAG_ACK:
                self._count_unread()
            elif self._goaway_deadline != inf:
                self._end_goaway()
        elif kind == FRAME_PRIORITY or kind > FRAME_CONTINUATION:
            self._budget.spend(PRICE_FRAME, now, "frames without effect")

    def _count_unread(self) -> None:
        """An answer is about to be written: not without end to a client that does not read."""
        if self._output.is_paused:
            self._unread += 1
            if self._unread > MAX_UNREAD:
                raise ConnectionFault(ENHANCE_YOUR_CALM, "answers to control frames are not read")

    def _act(self, event: int) -> None:
        """Act on what the engine has found in a frame."""
        engine = self._engine
        stream_id = engine.stream_id
        if event == H2_REQUEST:
            self._take_request(stream_id)
            return
        if event == H2_WINDOWS:
            for waiting in list(self._streams.values()):
                if waiting.has_data():
                    self._sending.queue(waiting)
            return
        stream = self._streams.get(stream_id)
        if event == H2_DATA:
            self._take_data(stream)
        elif event == H2_WINDOW and stream_id == 0:
            self._sending.open_window()
        elif stream is None:
            pass
        elif event == H2_TRAILERS:
            self._take_trailers(stream)
        elif event == H2_WINDOW:
            if stream.has_data():
                self._sending.queue(stream)
        elif event == H2_RESET:
            stream.lose()

    def _take_request(self, stream_id: int) -> None:
        state = self._state
        engine = self._engine
        fields = engine.take_fields()
        ended = engine.has_ended
        self._budget.explain_updates(0)
        if stream_id > self._last_stream_id or self._is_full():
            engine.reset(stream_id, REFUSED_STREAM)
            self._budget.spend(PRICE_RESET, state.now, "streams refused")
            return
        head = RequestHead()
        refusal: Optional[ProtocolError] = None
        try:
            read_request(fields, ended, head, state.limits)
        except StreamError as error:
            self._reset(stream_id, error)
            return
        except ProtocolError as error:
            refusal = error
        else:
            state.total_requests += 1
            if 0 <= state.limit_concurrency <= state.active:
                refusal = ProtocolError(503, "too many requests at the moment")
        stream = HTTP2Stream.__new__(HTTP2Stream)
        stream.open(self, engine, self._sending, state, stream_id, head, ended)
        self._streams[stream_id] = stream
        self._deadline = inf
        if refusal is None:
            stream.begin()
            self._starting.append(stream)
            if state.stopping and not self._is_going_away:
                self._go_away()
        else:
            stream.refuse(refusal)

    def make_scope(self, head: RequestHead) -> "dict[str, Any]":
        """Return the ASGI scope of a request."""
        state = self._state
        if self._scope is None:
            self._scope = self.peer.make_scope("2", None)
        return http_scope(head, self._scope, state.paths, state.lifespan_state)

    def _is_full(self) -> bool:
        """Whether there are as many streams as there may be, or applications that their streams have left alone, or
        responses that the client does not read."""
        if len(self._streams) >= MAX_STREAMS:
            return True
        if self._output.is_paused and self._transport.get_write_buffer_size() > MAX_UNREAD_SIZE:
            return True
        if len(self._left) >= MAX_STREAMS:
            self._left = [cycle for cycle in self._left if cycle.task is not None]
        return len(self._left) >= MAX_STREAMS

    def _take_data(self, stream: "Optional[HTTP2Stream]") -> None:
        engine = self._engine
        size = engine.size
        data = engine.take_data()
        if stream is None:
            self.credit(size)
            return
        try:
            stream.add_data(data, size - len(data), engine.has_ended)
        except StreamError as error:
            self.credit(size)
            self._reset(stream.id, error)
        except ProtocolError as error:
            self.credit(size)
            stream.refuse(error)

    def _take_trailers(self, stream: HTTP2Stream) -> None:
        try:
            check_trailers(self._engine.take_fields())
            stream.end_request()
        except StreamError as error:
            self._reset(stream.id, error)

    def _reset(self, stream_id: int, error: StreamError) -> None:
        """End a stream for a fault of the client."""
        stream = self._streams.get(stream_id)
        self._budget.spend(PRICE_RESET, self._state.now, "malformed requests")
        self.peer.warn("" if stream is None else stream.name, "HTTP/2 stream %d reset: %s", stream_id, error.detail)
        if stream is not None:
            stream.reset(error.code)
        else:
            self._engine.reset(stream_id, error.code)
            self._sending.flush()

    def _take_goaway(self) -> None:
        """The client opens no more streams; those that are open go on."""
        frames = self._frames
        content = frames.content
        if len(content) < 8:
            raise ConnectionFault(FRAME_SIZE_ERROR, "GOAWAY frame too short")
        if frames.stream_id:
            raise ConnectionFault(PROTOCOL_ERROR, "GOAWAY for a stream")
        self._budget.spend(PRICE_FRAME, self._state.now, "GOAWAY frames")
        code = int.from_bytes(content[4:8], "big")
        if code != NO_ERROR and not self._client_goes:
            self.peer.warn(
                "", "client ends the HTTP/2 connection: error %d %r", code, content[8:136].decode("ascii", "replace")
            )
        self._client_goes = True
        if not self._streams:
            self._say_goodbye()

    # -- for the streams: what comes in

    def hold(self, size: int) -> None:
        """A piece of a body waits for an application.

        Raises:
            ConnectionFault: there are too many.
        """
        self._held += size
        self._pieces_held += 1
        if self._pieces_held > MAX_PIECES:
            raise ConnectionFault(ENHANCE_YOUR_CALM, "too many small DATA frames")

    def release(self, size: int, pieces: int) -> None:
        """Pieces of a body wait no more."""
        had_room = self.has_room()
        self._held -= size
        self._pieces_held -= pieces
        if not had_room and self.has_room():
            for stream in list(self._streams.values()):
                stream.rearm()

    def has_room(self) -> bool:
        """Whether the window of the connection lets the client send."""
        return self._held < CONNECTION_WINDOW // 2

    def credit(self, size: int) -> None:
        """Give the client window for bytes that are done with; not for each few of them."""
        self._owed += size
        if self._owed >= CONNECTION_WINDOW // 4 and not self._output.is_closing:
            self._engine.credit(self._owed)
            self._owed = 0
            self._sending.flush()

    # -- for the streams: the rest

    def note_deadline(self, deadline: float) -> None:
        """Something is due then."""
        if deadline < self._due:
            self._due = deadline

    def leave(self, cycle: HTTPCycle) -> None:
        """The client has left the stream of a cycle; the application may run on."""
        if cycle.task is not None:
            self._left.append(cycle)

    def forget(self, stream: HTTP2Stream) -> None:
        """A stream has ended."""
        self._streams.pop(stream.id, None)
        if self._streams or self._output.is_closing:
            return
        if self._left:
            self._left = [cycle for cycle in self._left if cycle.task is not None]
        if self._client_goes or self.has_ended:
            self._say_goodbye()
        elif self._is_going_away:
            if self._goaway_deadline == inf:
                self._say_goodbye()
        elif self._state.stopping:
            self._go_away()
        else:
            self._set_idle_deadline()

    # -- the end

    def _go_away(self) -> None:
        """Say that the connection ends. What the client sends before it knows is still served (section 6.8)."""
        self._is_going_away = True
        self._say(MAX_STREAM_ID, NO_ERROR, "")
        self._engine.ping(_PING)
        self._sending.flush()
        self._goaway_deadline = self._state.now + GOAWAY_TIME
        self.note_deadline(self._goaway_deadline)

    def _end_goaway(self) -> None:
        """The client knows: what it sends from now on, it need not have sent."""
        self._goaway_deadline = inf
        self._last_stream_id = self._engine.last_id
        if not self._streams:
            self._say_goodbye()
        elif not self._output.is_closing:
            self._say(self._last_stream_id, NO_ERROR, "")

    def _say_goodbye(self) -> None:
        """Close a connection without a stream when what was written has left."""
        if not self._output.is_closing:
            self._say(self._engine.last_id, NO_ERROR, "")
            self._deadline = inf
            self._output.close()

    def _say(self, last_stream_id: int, code: int, detail: str) -> None:
        """Send a GOAWAY."""
        self._engine.goaway(last_stream_id, code, detail)
        self._sending.flush()

    def _end(self, fault: ConnectionFault) -> None:
        """End the connection for a fault of the client, and tell it and the log why."""
        output = self._output
        if output.is_closing:
            return
        self.peer.warn("", "HTTP/2 connection ended: %s", fault.detail)
        self._say(self._engine.last_id, fault.code, fault.detail)
        self._linger()
        self._drop_streams()

    def _linger(self) -> None:
        """End our side, then drop what the client still sends until it ends too, for a bounded time."""
        output = self._output
        self._frames.drop_input()
        if self.has_ended or not output.end():
            output.close()
        else:
            self._set_deadline(self._state.now + LINGER_TIME)

    def _drop_streams(self) -> None:
        for stream in list(self._streams.values()):
            stream.lose()
        self._sending.clear()
        self._starting = []
