"""HTTP2Engine: the frames, windows and stream states of one HTTP/2 connection, on the side of the server (RFC 9113).

It knows what may come and go when, and how much of it; nothing of applications, of time or of transports. What a header
block says is the business of `http2_request`. Frames of ours are collected until take_output().
"""

from typing import Any, Optional

from .._consts import (
    CONNECTION_WINDOW,
    FLAG_ACK,
    FLAG_END_HEADERS,
    FLAG_END_STREAM,
    FLAG_PADDED,
    FLAG_PRIORITY,
    FLOW_CONTROL_ERROR,
    FRAME_CONTINUATION,
    FRAME_DATA,
    FRAME_GOAWAY,
    FRAME_HEADERS,
    FRAME_LIMIT,
    FRAME_PING,
    FRAME_PRIORITY,
    FRAME_PUSH_PROMISE,
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
    PROTOCOL_ERROR,
    STREAM_CLOSED,
    STREAM_WINDOW,
)
from ..errors import ConnectionFault, StreamError
from .headerblock import BlockDecoder, BlockEncoder
from .wire import encode_frame

#: What a field costs in memory, beside its bytes (RFC 9113 section 6.5.2).
FIELD_OVERHEAD = 32
#: Bytes of the table for the compression of our fields; a client may ask for less, not for more.
TABLE_SIZE = 4096
#: The windows before anything was said about them, and the most that they can be (section 6.9).
DEFAULT_WINDOW = 65535
MAX_WINDOW = 2**31 - 1
#: Streams that we have reset, and whose number is remembered: what the client has sent before it knew is no fault.
MAX_REMEMBERED = 1024

# Settings (section 6.5.2).
SETTING_TABLE_SIZE = 1
SETTING_ENABLE_PUSH = 2
SETTING_MAX_STREAMS = 3
SETTING_WINDOW = 4
SETTING_FRAME_SIZE = 5
SETTING_HEADER_SIZE = 6

_NO_FIELDS: "list[Any]" = []


class StreamState:
    """What is known of a stream of which at least one side has not ended.

    Attributes:
        send_window: bytes that the client takes.
        receive_window: bytes that it may send.
        has_client_ended: whether it has ended its side.
        has_ended: whether we have ended ours.
    """

    __slots__ = ("send_window", "receive_window", "has_client_ended", "has_ended")

    def __init__(self, send_window: int, has_client_ended: bool) -> None:
        self.send_window: int = send_window
        self.receive_window: int = STREAM_WINDOW
        self.has_client_ended: bool = has_client_ended
        self.has_ended: bool = False


class HTTP2Engine:
    """The engine of one connection.

    take() acts on a frame of the client and returns one of the H2_ numbers in `_consts`; the registers belong to what
    it returned. The rest is for what we send: on a stream that has ended or was reset, nothing is.

    Args:
        header_size, header_fields: a request with more in its header section is refused. Well above that it is not
            even decoded, and the connection ends.

    Attributes:
        block_limit: bytes of the largest header section that is decoded.
        last_id: the last stream that the client has opened; 0 when there is none.
        window: bytes that the client takes on all streams together.
        stream_id: the stream.
        fields: (name, value) pairs as received.
        data: a part of a body.
        size: bytes of the client's windows that a DATA frame has used; 0 for all other frames.
        has_ended: whether the client has ended its side of the stream.
    """

    __slots__ = (
        "block_limit",
        "last_id",
        "window",
        "stream_id",
        "fields",
        "data",
        "size",
        "has_ended",
        "_streams",
        "_remembered",
        "_forgotten_id",
        "_initial_window",
        "_receive_window",
        "_block",
        "_block_ends",
        "_decoder",
        "_encoder",
        "_output",
    )

    def __init__(self, header_size: int, header_fields: int) -> None:
        self.block_limit: int = 2 * (header_size + FIELD_OVERHEAD * header_fields)
        self.last_id: int = 0
        self.window: int = DEFAULT_WINDOW
        self.stream_id: int = 0
        self.fields: list[Any] = _NO_FIELDS
        self.data: bytes = b""
        self.size: int = 0
        self.has_ended: bool = False
        self._streams: dict[int, StreamState] = {}
        self._remembered: dict[int, None] = {}  # the streams that we have reset, the oldest first
        self._forgotten_id: int = 0  # the highest one that is not among them any more
        self._initial_window: int = DEFAULT_WINDOW  # of the client's, for each new stream
        self._receive_window: int = CONNECTION_WINDOW
        self._block: Optional[list[bytes]] = None  # a header block whose end has yet to come
        self._block_ends: bool = False  # with its stream's side
        self._decoder: BlockDecoder = BlockDecoder(self.block_limit)
        self._encoder: BlockEncoder = BlockEncoder()
        self._output: list[bytes] = [
            encode_frame(
                FRAME_SETTINGS,
                0,
                0,
                _setting(SETTING_MAX_STREAMS, MAX_STREAMS)
                + _setting(SETTING_WINDOW, STREAM_WINDOW)
                + _setting(SETTING_HEADER_SIZE, header_size),
            ),
            encode_frame(FRAME_WINDOW_UPDATE, 0, 0, _number(CONNECTION_WINDOW - DEFAULT_WINDOW)),
        ]

    # -- what the client sends

    def take(self, kind: int, flags: int, stream_id: int, content: bytes) -> int:
        """Act on a frame, which is not larger than we allow; header blocks come in one piece, frame by frame.

        Raises:
            ConnectionFault: it breaks a rule.
            StreamError: it does, and nobody but stream `stream_id` is concerned, which is to be reset.
        """
        self.stream_id = stream_id
        self.size = 0
        if kind == FRAME_HEADERS or kind == FRAME_CONTINUATION:
            return self._take_block(kind, flags, stream_id, content)
        if kind == FRAME_DATA:
            return self._take_data(flags, stream_id, content)
        if kind == FRAME_WINDOW_UPDATE:
            return self._take_window_update(stream_id, content)
        if kind == FRAME_RST_STREAM:
            _check_size(content, 4, "RST_STREAM")
            self._check_opened(stream_id, "RST_STREAM")
            return H2_NOTHING if self._streams.pop(stream_id, None) is None else H2_RESET
        if kind == FRAME_SETTINGS:
            return self._take_settings(flags, stream_id, content)
        if kind == FRAME_PING:
            _check_connection(stream_id, "PING")
            _check_size(content, 8, "PING")
            if not flags & FLAG_ACK:
                self._output.append(encode_frame(FRAME_PING, FLAG_ACK, 0, content))
        elif kind == FRAME_PRIORITY:
            if stream_id == 0:
                raise ConnectionFault(PROTOCOL_ERROR, "PRIORITY frame for no stream")
            _check_size(content, 5, "PRIORITY")
        elif kind == FRAME_PUSH_PROMISE:
            raise ConnectionFault(PROTOCOL_ERROR, "PUSH_PROMISE frame from a client")
        return H2_NOTHING

    def _check_opened(self, stream_id: int, name: str) -> None:
        if stream_id == 0 or stream_id % 2 == 0 or stream_id > self.last_id:
            raise ConnectionFault(PROTOCOL_ERROR, name + " for a stream that was not opened")

    def _check_reset(self, stream_id: int, name: str) -> None:
        """Of a stream that we have reset, what the client had sent before it knew is ignored; any other one that is no
        more had been ended by the client."""
        if stream_id > self._forgotten_id and stream_id not in self._remembered:
            raise ConnectionFault(STREAM_CLOSED, name + " for a stream that has ended")

    def _take_data(self, flags: int, stream_id: int, content: bytes) -> int:
        self._check_opened(stream_id, "DATA")
        size = len(content)
        self._receive_window -= size
        if self._receive_window < 0:
            raise ConnectionFault(FLOW_CONTROL_ERROR, "more data than the window of the connection")
        self.size = size
        self.data = _without_padding(content) if flags & FLAG_PADDED else content
        self.has_ended = flags & FLAG_END_STREAM != 0
        stream = self._streams.get(stream_id)
        if stream is None:
            self._check_reset(stream_id, "DATA")
            return H2_DATA
        if stream.has_client_ended:
            raise StreamError(STREAM_CLOSED, "DATA behind the end of the request")
        stream.receive_window -= size
        if stream.receive_window < 0:
            raise ConnectionFault(FLOW_CONTROL_ERROR, "more data than the window of the stream")
        if self.has_ended:
            self._end_client(stream_id, stream)
        return H2_DATA

    def _end_client(self, stream_id: int, stream: StreamState) -> None:
        stream.has_client_ended = True
        if stream.has_ended:
            del self._streams[stream_id]

    def _take_block(self, kind: int, flags: int, stream_id: int, content: bytes) -> int:
        """Take a frame of a header block, and act on it with the last one (sections 4.3 and 6.2)."""
        if kind == FRAME_HEADERS:
            if stream_id % 2 == 0:
                raise ConnectionFault(PROTOCOL_ERROR, "HEADERS for a stream that is not the client's")
            if flags & FLAG_PADDED:
                content = _without_padding(content)
            if flags & FLAG_PRIORITY:
                if len(content) < 5:
                    raise ConnectionFault(FRAME_SIZE_ERROR, "HEADERS frame too short")
                content = content[5:]
            self._block_ends = flags & FLAG_END_STREAM != 0
        if not flags & FLAG_END_HEADERS:
            if self._block is None:
                self._block = []
            self._block.append(content)
            return H2_NOTHING
        if self._block is not None:
            self._block.append(content)
            content = b"".join(self._block)
            self._block = None
        self.fields = self._decoder.decode(content)
        self.has_ended = self._block_ends
        return self._take_fields(stream_id)

    def _take_fields(self, stream_id: int) -> int:
        stream = self._streams.get(stream_id)
        if stream is not None:
            if stream.has_client_ended:
                raise StreamError(STREAM_CLOSED, "HEADERS behind the end of the request")
            if not self.has_ended:
                raise StreamError(PROTOCOL_ERROR, "trailer section without the end of the request")
            self._end_client(stream_id, stream)
            return H2_TRAILERS
        if stream_id <= self.last_id:
            self._check_reset(stream_id, "HEADERS")
            self.fields = _NO_FIELDS
            return H2_NOTHING
        self.last_id = stream_id
        self._streams[stream_id] = StreamState(self._initial_window, self.has_ended)
        return H2_REQUEST

    def take_fields(self) -> "list[Any]":
        """Return `fields`, which are not kept."""
        fields = self.fields
        self.fields = _NO_FIELDS
        return fields

    def take_data(self) -> bytes:
        """Return `data`, which is not kept."""
        data = self.data
        self.data = b""
        return data

    def _take_window_update(self, stream_id: int, content: bytes) -> int:
        """Section 6.9."""
        _check_size(content, 4, "WINDOW_UPDATE")
        size = _number_at(content, 0) & MAX_WINDOW
        if stream_id == 0:
            if size == 0:
                raise ConnectionFault(PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
            self.window += size
            if self.window > MAX_WINDOW:
                raise ConnectionFault(FLOW_CONTROL_ERROR, "window of the connection too large")
            return H2_WINDOW
        self._check_opened(stream_id, "WINDOW_UPDATE")
        stream = self._streams.get(stream_id)
        if stream is None:
            return H2_NOTHING
        if size == 0:
            raise StreamError(PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
        stream.send_window += size
        if stream.send_window > MAX_WINDOW:
            raise StreamError(FLOW_CONTROL_ERROR, "window of the stream too large")
        return H2_WINDOW

    def _take_settings(self, flags: int, stream_id: int, content: bytes) -> int:
        """Take over the settings that concern us (section 6.5); those that nobody knows are ignored."""
        _check_connection(stream_id, "SETTINGS")
        if flags & FLAG_ACK:
            _check_size(content, 0, "acknowledging SETTINGS")
            return H2_NOTHING
        if len(content) % 6:
            raise ConnectionFault(FRAME_SIZE_ERROR, "SETTINGS frame of %d bytes" % len(content))
        changed = False
        for at in range(0, len(content), 6):
            setting = content[at] * 256 + content[at + 1]
            value = _number_at(content, at + 2)
            if setting == SETTING_TABLE_SIZE:
                self._encoder.set_table_size(min(value, TABLE_SIZE))
            elif setting == SETTING_ENABLE_PUSH:
                if value > 1:
                    raise ConnectionFault(PROTOCOL_ERROR, "SETTINGS_ENABLE_PUSH is neither 0 nor 1")
            elif setting == SETTING_WINDOW:
                self._set_initial_window(value)
                changed = True
            elif setting == SETTING_FRAME_SIZE:
                if not FRAME_LIMIT <= value < 2**24:
                    raise ConnectionFault(PROTOCOL_ERROR, "invalid SETTINGS_MAX_FRAME_SIZE")
        self._output.append(encode_frame(FRAME_SETTINGS, FLAG_ACK, 0, b""))
        return H2_WINDOWS if changed else H2_NOTHING

    def _set_initial_window(self, size: int) -> None:
        """It holds for the streams that are open as well; their windows may get below 0 (section 6.9.2)."""
        if size > MAX_WINDOW:
            raise ConnectionFault(FLOW_CONTROL_ERROR, "SETTINGS_INITIAL_WINDOW_SIZE too large")
        more = size - self._initial_window
        self._initial_window = size
        for stream in self._streams.values():
            stream.send_window += more
            if stream.send_window > MAX_WINDOW:
                raise ConnectionFault(FLOW_CONTROL_ERROR, "window of a stream too large")

    # -- what we send

    def take_output(self) -> bytes:
        """Return the frames that were made since the last call."""
        output = self._output
        if not output:
            return b""
        data = output[0] if len(output) == 1 else b"".join(output)
        output.clear()
        return data

    def send_fields(self, stream_id: int, fields: "list[Any]", ends: bool) -> None:
        """Send a header block; `ends` says that nothing comes behind."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.has_ended:
            return
        block = self._encoder.encode(fields)
        flags = FLAG_END_STREAM if ends else 0
        kind = FRAME_HEADERS
        while len(block) > FRAME_LIMIT:
            self._output.append(encode_frame(kind, flags, stream_id, block[:FRAME_LIMIT]))
            block = block[FRAME_LIMIT:]
            kind = FRAME_CONTINUATION
            flags = 0
        self._output.append(encode_frame(kind, flags | FLAG_END_HEADERS, stream_id, block))
        if ends:
            self._end(stream_id, stream)

    def send_data(self, stream_id: int, data: bytes, start: int, end: int, ends: bool) -> None:
        """Send a part of a body, `data` from `start` to `end`, which is not larger than room() says."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.has_ended:
            return
        self.window -= end - start
        stream.send_window -= end - start
        self._output.append(encode_frame(FRAME_DATA, FLAG_END_STREAM if ends else 0, stream_id, data, start, end))
        if ends:
            self._end(stream_id, stream)

    def _end(self, stream_id: int, stream: StreamState) -> None:
        stream.has_ended = True
        if stream.has_client_ended:
            del self._streams[stream_id]

    def room(self, stream_id: int) -> int:
        """Return the number of bytes that a frame for that stream may have; none when it is 0 or below."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return 0
        return min(self.window, stream.send_window, FRAME_LIMIT)

    def reset(self, stream_id: int, code: int) -> None:
        """End a stream on both sides (section 6.4)."""
        if self._streams.pop(stream_id, None) is None:
            return
        self._output.append(encode_frame(FRAME_RST_STREAM, 0, stream_id, _number(code)))
        remembered = self._remembered
        remembered[stream_id] = None
        if len(remembered) > MAX_REMEMBERED:
            oldest = next(iter(remembered))
            del remembered[oldest]
            self._forgotten_id = max(self._forgotten_id, oldest)

    def credit(self, size: int) -> None:
        """Let the client send so many bytes more on all streams together."""
        self._receive_window += size
        self._output.append(encode_frame(FRAME_WINDOW_UPDATE, 0, 0, _number(size)))

    def credit_stream(self, stream_id: int, size: int) -> None:
        """The same on one stream."""
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.has_client_ended:
            stream.receive_window += size
            self._output.append(encode_frame(FRAME_WINDOW_UPDATE, 0, stream_id, _number(size)))

    def ping(self, content: bytes) -> None:
        """Ask for an answer with the same 8 bytes (section 6.7)."""
        self._output.append(encode_frame(FRAME_PING, 0, 0, content))

    def goaway(self, last_id: int, code: int, detail: str) -> None:
        """Say that no stream beyond `last_id` is served, and why (section 6.8)."""
        debug = detail.encode("ascii", "replace")[:256]
        self._output.append(encode_frame(FRAME_GOAWAY, 0, 0, _number(last_id) + _number(code) + debug))


def _without_padding(content: bytes) -> bytes:
    """Return what stands before the padding (section 6.1)."""
    if not content or content[0] >= len(content):
        raise ConnectionFault(PROTOCOL_ERROR, "more padding than frame")
    return content[1 : len(content) - content[0]]


def _check_size(content: bytes, size: int, name: str) -> None:
    if len(content) != size:
        raise ConnectionFault(FRAME_SIZE_ERROR, "%s frame of %d bytes" % (name, len(content)))


def _check_connection(stream_id: int, name: str) -> None:
    if stream_id:
        raise ConnectionFault(PROTOCOL_ERROR, name + " frame for a stream")


def _number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def _number_at(content: bytes, at: int) -> int:
    number = content[at]
    for place in range(at + 1, at + 4):
        number = number << 8 | content[place]
    return number


def _setting(name: int, value: int) -> bytes:
    return name.to_bytes(2, "big") + _number(value)
