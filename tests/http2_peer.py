"""The client of one HTTP/2 connection of the fake server: the client side of h2, and frames by hand."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    InformationalResponseReceived,
    PingAckReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.settings import SettingCodes
from harness import Client, serve

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 1
END_HEADERS = 4

Fields = Sequence[Tuple[Any, Any]]


def frame(kind: int, flags: int = 0, stream_id: int = 0, content: bytes = b"") -> bytes:
    """A frame, well formed or not."""
    return len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + content


def fields(method: str = "GET", path: str = "/", more: Fields = (), **pseudo: Optional[str]) -> List[Tuple[Any, Any]]:
    """The fields of a request; pseudo-header fields can be replaced, and left out with None."""
    found: Dict[str, Optional[str]] = {"method": method, "scheme": "http", "authority": "h", "path": path}
    found.update(pseudo)
    return [(":" + name, value) for name, value in found.items() if value is not None] + list(more)


class Stream:
    """What came back on a stream."""

    def __init__(self) -> None:
        self.informational: List[Tuple[int, List[Tuple[bytes, bytes]]]] = []
        self.headers: Optional[List[Tuple[bytes, bytes]]] = None
        self.body = b""
        self.frames: List[int] = []  # sizes of the DATA frames
        self.trailers: Optional[List[Tuple[bytes, bytes]]] = None
        self.ended = False
        self.reset: Optional[int] = None  # the error code

    @property
    def status(self) -> Optional[int]:
        return None if self.headers is None else int(dict(self.headers)[b":status"])

    def header(self, name: bytes) -> Optional[bytes]:
        found = [value for key, value in self.headers or [] if key == name]
        assert len(found) <= 1, found
        return found[0] if found else None


class Goaway:
    """A GOAWAY frame."""

    def __init__(self, data: bytes) -> None:
        assert data[4:9] == bytes(5)
        self.last_stream_id = int.from_bytes(data[9:13], "big")
        self.error_code = int.from_bytes(data[13:17], "big")
        self.detail = data[17:].decode("ascii")


class Peer:
    """Drives one connection. What it does not credit (`auto_credit`), the server may not send."""

    def __init__(self, client: Client, auto_credit: bool = True, settings: Optional[Dict[Any, int]] = None) -> None:
        self.client = client
        self.auto_credit = auto_credit
        self.h2 = H2Connection(
            H2Configuration(
                client_side=True,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.streams: Dict[int, Stream] = {}
        self.order: List[int] = []  # of DATA frames
        self.goaways: List[Goaway] = []
        self._input = b""
        self.pings = 0
        self.window_updates: List[Tuple[int, int]] = []
        if settings is not None:
            self.h2.local_settings.update(settings)
            self.h2.local_settings.acknowledge()
        self.h2.initiate_connection()
        self.flush()

    # -- sending

    def flush(self) -> None:
        data = self.h2.data_to_send()
        if data:
            self.client.feed(data)
        self.read()

    def raw(self, data: bytes) -> Peer:
        """Send bytes that h2 knows nothing of."""
        self.client.feed(data)
        return self.read()

    def request(self, request_fields: Optional[Fields] = None, body: Optional[bytes] = None, end: bool = True) -> int:
        """Open a stream; return its number."""
        stream_id = self.send_request(request_fields, body, end)
        self.flush()
        return stream_id

    def send_request(
        self, request_fields: Optional[Fields] = None, body: Optional[bytes] = None, end: bool = True
    ) -> int:
        """The same, to be flushed together with other things."""
        stream_id = self.h2.get_next_available_stream_id()
        self.streams[stream_id] = Stream()
        self.h2.send_headers(stream_id, fields() if request_fields is None else request_fields, body is None and end)
        if body is not None:
            self.h2.send_data(stream_id, body, end)
        return stream_id

    def data(self, stream_id: int, body: bytes, end: bool = False, **more: Any) -> Peer:
        """Send a DATA frame."""
        self.h2.send_data(stream_id, body, end, **more)
        self.flush()
        return self

    def reset(self, stream_id: int, code: int = 8) -> Peer:
        self.h2.reset_stream(stream_id, code)
        self.flush()
        return self

    def credit(self, size: int, stream_id: Optional[int] = None) -> Peer:
        """Open the window of a stream, or of the connection."""
        self.h2.increment_flow_control_window(size, stream_id)
        self.flush()
        return self

    # -- reading

    def read(self) -> Peer:
        """Take in what the server has sent."""
        self._input += self.client.take_output()
        found = len(self._input)
        while len(self._input) >= 9:
            size = 9 + int.from_bytes(self._input[:3], "big")
            if len(self._input) < size:
                break
            one, self._input = self._input[:size], self._input[size:]
            if one[3] == GOAWAY:  # for h2 that would be the end of everything
                self.goaways.append(Goaway(one))
                continue
            for event in self.h2.receive_data(one):
                self._take(event)
        if found:
            answer = self.h2.data_to_send()
            if answer and not self.client.transport.is_closing():
                self.client.feed(answer)
                self.read()
        return self

    def _take(self, event: Any) -> None:
        stream = self.streams.get(getattr(event, "stream_id", None) or 0)
        if isinstance(event, PingAckReceived):
            self.pings += 1
        elif stream is None:
            return
        elif isinstance(event, InformationalResponseReceived):
            headers = list(event.headers or [])
            stream.informational.append((int(dict(headers)[b":status"]), headers[1:]))
        elif isinstance(event, ResponseReceived):
            assert stream.headers is None
            stream.headers = list(event.headers or [])
        elif isinstance(event, TrailersReceived):
            stream.trailers = list(event.headers or [])
        elif isinstance(event, DataReceived):
            stream.body += event.data or b""
            stream.frames.append(len(event.data or b""))
            self.order.append(event.stream_id or 0)
            if self.auto_credit and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id or 0)
        elif isinstance(event, StreamEnded):
            stream.ended = True
        elif isinstance(event, StreamReset) and event.remote_reset:
            stream.reset = int(event.error_code or 0)

    def get(self, request_fields: Optional[Fields] = None, body: Optional[bytes] = None) -> Stream:
        """Make a request; return what came back."""
        return self.streams[self.request(request_fields, body)]

    def advance(self, seconds: float) -> Peer:
        self.client.advance(seconds)
        return self.read()

    @property
    def closed(self) -> bool:
        return self.client.ended

    @property
    def code(self) -> Optional[int]:
        """The error code that the connection ended with, once it did."""
        return self.goaways[-1].error_code if self.goaways else None


def connect(stack: Any, app: Any, *, peer: Optional[Dict[str, Any]] = None, **options: Any) -> Peer:
    """A server of this stack with HTTP/2, and a connection to it by prior knowledge."""
    return Peer(serve(stack, app, http2=True, **options), **(peer or {}))


def without_window(size: int = 0) -> Dict[str, Any]:
    """Arguments of a Peer whose streams have that initial window, and which gives no more by itself."""
    return {"auto_credit": False, "settings": {SettingCodes.INITIAL_WINDOW_SIZE: size}}
