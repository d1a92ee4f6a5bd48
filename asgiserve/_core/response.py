"""ResponseWriter: the framing of HTTP/1.x responses (RFC 9112 sections 6 and 9.3).

It decides how the end of a body is marked and whether the response allows the connection to be used again, and holds
the application's body against its Content-Length. The syntax is `wire`'s, the bytes are `output`'s.
"""

from typing import Any, Optional

from .._consts import COPY_LIMIT, FRAMING_CHUNKED, FRAMING_CLOSE, FRAMING_LENGTH, FRAMING_NONE
from ..errors import AppError
from .calls import is_text
from .head import RequestHead
from .output import Output
from .wire import CommonFields, ResponseEncoder, encode_chunk, encode_informational, encode_trailers

CLOSE_LINE = b"connection: close\r\n"
KEEP_ALIVE_LINE = b"connection: keep-alive\r\n"
LAST_CHUNK = b"0\r\n\r\n"


class ResponseWriter:
    """Writes one response after the other; begin() comes before each.

    Attributes:
        keep_alive: whether the connection can be used again after this response; settled when the head is sent.
        is_head_held: whether a head was started and not sent.
        is_head_sent: whether the head is on its way.
        status: the status code, once started.
        body_sent: bytes of the body sent.
        headers: the application's, once started; for the access log.
    """

    __slots__ = (
        "keep_alive",
        "is_head_held",
        "is_head_sent",
        "status",
        "body_sent",
        "headers",
        "_output",
        "_common",
        "_encoder",
        "_head",
        "_framing",
        "_has_no_body",
        "_body_left",
        "_trailers",
    )

    def __init__(self, output: Output, common: CommonFields) -> None:
        self.keep_alive: bool = True
        self.is_head_held: bool = False
        self.is_head_sent: bool = False
        self.status: int = 0
        self.body_sent: int = 0
        self.headers: Optional[list[Any]] = None
        self._output: Output = output
        self._common: CommonFields = common
        self._encoder: ResponseEncoder = ResponseEncoder()
        self._head: Optional[RequestHead] = None
        self._framing: int = FRAMING_LENGTH
        self._has_no_body: bool = False
        self._body_left: int = -1  # bytes that the announced Content-Length still asks for; -1 when there is none
        self._trailers: Optional[list[Any]] = None  # collected trailers, where the application announced some

    def begin(self, head: Optional[RequestHead], keep_alive: bool) -> None:
        """Get ready for the response to a request; None for one whose head cannot be read."""
        self.keep_alive = keep_alive
        self.is_head_held = False
        self.is_head_sent = False
        self.status = 0
        self.body_sent = 0
        self._head = head
        self._framing = FRAMING_LENGTH
        self._trailers = None

    def end(self) -> None:
        """Forget the request."""
        self.is_head_held = False
        self.headers = None
        self._head = None

    def start(self, status: int, headers: "list[Any]", wants_trailers: bool) -> None:
        """Encode a head and hold it until the first send_body().

        Raises:
            AppError: a header is not allowed.
        """
        self._encoder.start(status, headers, self._common)
        self.status = status
        self.headers = headers
        self._has_no_body = (
            status == 204 or status == 304 or (self._head is not None and is_text(self._head.method, "HEAD"))
        )
        self._trailers = [] if wants_trailers else None
        self.is_head_held = True

    def send_body(self, body: bytes, is_last: bool) -> None:
        """Send bytes of the body, behind the head where that was held.

        Raises:
            AppError: the body does not fit the Content-Length that the application announced.
        """
        if not self.is_head_sent:
            self._send_head(body, len(body), is_last)
        elif not self._has_no_body:
            self._count_body(len(body), is_last)
            ends = is_last and self._trailers is None
            if self._framing == FRAMING_CHUNKED:
                if body:
                    self._output.write(encode_chunk(body, ends))
                elif ends:
                    self._output.write(LAST_CHUNK)
            elif body:
                self._output.write(body)

    def start_file(self, size: int, is_last: bool) -> bool:
        """Send what comes before `size` bytes (not 0) of the body that go out by other ways.

        Returns:
            whether they are to go out: a response to HEAD, for one, has no body.
        Raises:
            AppError: they do not fit the Content-Length that the application announced.
        """
        if not self.is_head_sent:
            self._send_head(b"", size, is_last)
        elif not self._has_no_body:
            self._count_body(size, is_last)
        if self._framing == FRAMING_CHUNKED:
            self._output.write(b"%x\r\n" % size)
        if self._has_no_body:
            return False
        self.body_sent -= size  # they count once they are sent
        return True

    def end_file(self, is_last: bool) -> None:
        """Send what comes behind them."""
        if self._framing == FRAMING_CHUNKED:
            self._output.write(b"\r\n0\r\n\r\n" if is_last and self._trailers is None else b"\r\n")

    def _send_head(self, body: bytes, size: int, is_last: bool) -> None:
        """Send the head and `body`, which are the next `size` bytes of the body, or none of them."""
        encoder = self._encoder
        length = encoder.content_length
        ends = is_last and self._trailers is None
        if self._has_no_body:
            self._framing = FRAMING_NONE
            if self.status == 204:
                length = -1  # RFC 9110 section 8.6
            elif length < 0 and size and ends and self.status != 304:
                length = size  # HEAD
            body = b""
        elif length >= 0:
            self._framing = FRAMING_LENGTH
            self._body_left = length
            self._count_body(size, is_last)
        elif ends:
            self._framing = FRAMING_LENGTH
            length = self.body_sent = size
        else:
            self._framing = FRAMING_CHUNKED if self._is_http_1_1() else FRAMING_CLOSE
            self._body_left = -1
            self.body_sent = size
        self.is_head_held = False
        self.is_head_sent = True
        line = self._connection_line()
        if len(body) > COPY_LIMIT and self._framing != FRAMING_CHUNKED:
            self._output.write_pair(encoder.finish(self._framing, length, line, b""), body)
        else:
            self._output.write(encoder.finish(self._framing, length, line, body))

    def _is_http_1_1(self) -> bool:
        return self._head is None or self._head.minor_version == 1

    def _connection_line(self) -> bytes:
        """Settle `keep_alive` and return the Connection line that says so, if one is needed."""
        if self._framing == FRAMING_CLOSE or self._encoder.close:
            self.keep_alive = False
        if self.keep_alive:
            return b"" if self._is_http_1_1() else KEEP_ALIVE_LINE
        return b"" if self._encoder.close else CLOSE_LINE

    def _count_body(self, size: int, is_last: bool) -> None:
        self._body_left = body_left(self._body_left, size, is_last)
        self.body_sent += size

    def add_trailers(self, headers: "list[Any]") -> None:
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
            wants_them = self._head is not None and self._head.te_trailers
            self._output.write(trailers if wants_them else LAST_CHUNK)

    def send_early_hint(self, links: "list[Any]") -> None:
        """Send 103 (Early Hints, RFC 8297), unless the client speaks HTTP/1.0.

        Raises:
            AppError: a link is not a header value.
        """
        data = encode_informational(103, [(b"link", link) for link in links])
        if self._is_http_1_1():
            self._output.write(data)

    def send_upgrade(self, headers: "list[Any]") -> None:
        """Send 101 (Switching Protocols); from here on the connection speaks another protocol.

        Raises:
            AppError: a header is not allowed.
        """
        self._encoder.start(101, headers, self._common)
        self.status = 101
        self.is_head_sent = True
        self._output.write(self._encoder.finish(FRAMING_NONE, -1, b"", b""))

    def send_text(self, status: int, text: str, extra: "tuple[tuple[bytes, bytes], ...]" = ()) -> None:
        """Send a whole response with a short text, and `extra` fields; what was held is dropped."""
        headers = [(b"content-type", b"text/plain; charset=utf-8")]
        headers.extend(extra)
        if status == 503:
            headers.append((b"retry-after", b"1"))
        self.start(status, headers, False)
        self.send_body(text.encode() + b"\n", True)

    def is_close_delimited(self) -> bool:
        """Whether the end of the connection is the end of the body."""
        return self._framing == FRAMING_CLOSE


def body_left(left: int, size: int, is_last: bool) -> int:
    """Hold `size` bytes of a body against what its Content-Length still asks for; return what it asks for then.

    Args:
        left: -1 where no Content-Length was announced.

    Raises:
        AppError: they do not fit, and nothing is to be written.
    """
    if left < 0:
        return left
    if size > left:
        raise AppError("the response body is longer than its Content-Length")
    if is_last and size < left:
        raise AppError("the response body is shorter than its Content-Length")
    return left - size
