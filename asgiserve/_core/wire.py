"""ResponseEncoder: the bytes of HTTP/1.x responses. The pure twin of `_speedups/wire.pyx`.

It validates what the application sends as fields and knows the syntax of RFC 9112; which framing a response gets,
`connection` decides.
"""

import re
from collections.abc import Iterable
from typing import Optional

from .._consts import FORBIDDEN_TRAILERS, FRAMING_CHUNKED, STATUS_LINES
from ..errors import AppError

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FIELD_VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")


class CommonFields:
    """The field lines that go into every response; `server` rebuilds the date once a second.

    Attributes:
        date: the Date line with its CRLF, or empty.
        server: the Server line with its CRLF, or empty.
        extra: further lines.
        lines: all of them together.
    """

    __slots__ = ("date", "server", "extra", "lines")

    def __init__(self, server: bytes, extra: bytes) -> None:
        self.date: bytes = b""
        self.server: bytes = server
        self.extra: bytes = extra
        self.lines: bytes = server + extra

    def set_date(self, date: bytes) -> None:
        """Replace the Date line."""
        self.date = date
        self.lines = date + self.server + self.extra


class ResponseEncoder:
    """Encodes one response after the other.

    start() takes the application's fields, finish() completes the head and may put a body behind it. In between, the
    registers say what the fields decided.

    Attributes:
        content_length: the application's Content-Length in bytes, or -1.
        close: whether the application sent `Connection: close`.
    """

    __slots__ = ("content_length", "close", "_parts")

    def __init__(self) -> None:
        self.content_length: int = -1
        self.close: bool = False
        self._parts: list[bytes] = []

    def start(self, status: int, headers: "Iterable[tuple[bytes, bytes]]", common: CommonFields) -> None:
        """Begin a response head: status line, the application's fields, ours.

        Transfer-Encoding is left out (ASGI HTTP spec, "Response Start"); Content-Length is kept back for finish().
        A Date or Server of the application takes the place of ours.

        Raises:
            AppError: a field name or value is not allowed in HTTP.
        """
        self.content_length = -1
        self.close = False
        parts = [STATUS_LINES[status]]
        self._parts = parts
        has_date = has_server = False
        for field in headers:
            name, value = check_field(field)
            size = len(name)
            if size == 4 or size == 6 or size == 10 or size == 14 or size == 17:
                lower = name.lower()
                if lower == b"date":
                    has_date = True
                elif lower == b"server":
                    has_server = True
                elif lower == b"connection":
                    self.close = self.close or has_close(value)
                elif lower == b"content-length":
                    self._set_content_length(value)
                    continue
                elif lower == b"transfer-encoding":
                    continue
            parts.append(b"%b: %b\r\n" % (name, value))
        if has_date or has_server:
            if not has_date:
                parts.append(common.date)
            if not has_server:
                parts.append(common.server)
            parts.append(common.extra)
        else:
            parts.append(common.lines)

    def _set_content_length(self, value: bytes) -> None:
        length = parse_content_length(value)
        if length < 0 or (self.content_length >= 0 and self.content_length != length):
            raise AppError(f"invalid content-length header {value!r} in 'http.response.start'")
        self.content_length = length

    def finish(self, framing: int, length: int, connection: bytes, body: bytes) -> bytes:
        """Complete the head that start() began and return it with `body` behind it.

        Args:
            framing: one of the FRAMING_ numbers.
            length: the Content-Length to send with FRAMING_LENGTH or FRAMING_NONE; -1 for none.
            connection: a whole Connection line, or empty.
            body: bytes to send behind the head; with FRAMING_CHUNKED they become a chunk.
        """
        parts = self._parts
        self._parts = []
        if framing == FRAMING_CHUNKED:
            parts.append(b"transfer-encoding: chunked\r\n")
        elif length >= 0:
            parts.append(b"content-length: %d\r\n" % length)
        parts.append(connection)
        parts.append(b"\r\n")
        if body:
            if framing == FRAMING_CHUNKED:
                parts.append(b"%x\r\n" % len(body))
                parts.append(body)
                parts.append(b"\r\n")
            else:
                parts.append(body)
        return b"".join(parts)


def parse_content_length(value: bytes) -> int:
    """Return the number in `value`, or -1 when it is none that fits 63 bits."""
    if not value.isdigit() or len(value) > 18:
        return -1
    return int(value)


def has_close(value: bytes) -> bool:
    """Whether `close` is among the comma-separated tokens of a Connection value."""
    return b"close" in [token.strip(b" \t") for token in value.lower().split(b",")]


def find_field(headers: "Optional[Iterable[tuple[bytes, bytes]]]", name: bytes, joins: bool) -> Optional[bytes]:
    """Return the value of the first field called `name` (in lower case), or with `joins` of all; None without any."""
    size = len(name)
    found = []
    for key, value in headers or ():
        if key == name or (len(key) == size and bytes(key).lower() == name):
            if not joins:
                return bytes(value)
            found.append(bytes(value))
    return b", ".join(found) if found else None


def encode_chunk(body: bytes, last: bool) -> bytes:
    """Return `body` (not empty) as a chunk, with the last-chunk and an empty trailer section when `last`."""
    if last:
        return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    return b"%x\r\n%b\r\n" % (len(body), body)


def encode_trailers(headers: "Iterable[tuple[bytes, bytes]]") -> bytes:
    """Return the last-chunk and the trailer section (RFC 9112 section 7.1.2).

    Raises:
        AppError: a field is not allowed, or not allowed in trailers (RFC 9110 section 6.5.1).
    """
    parts = [b"0\r\n"]
    for field in headers:
        name, value = check_field(field)
        if name.lower() in FORBIDDEN_TRAILERS:
            raise AppError(f"header {name!r} is not allowed in 'http.response.trailers'")
        parts.append(b"%b: %b\r\n" % (name, value))
    parts.append(b"\r\n")
    return b"".join(parts)


def encode_informational(status: int, headers: "Iterable[tuple[bytes, bytes]]") -> bytes:
    """Return a whole 1xx response.

    Raises:
        AppError: a field is not allowed in HTTP.
    """
    parts = [STATUS_LINES[status]]
    for field in headers:
        parts.append(b"%b: %b\r\n" % check_field(field))
    parts.append(b"\r\n")
    return b"".join(parts)


def check_field(field: "tuple[bytes, bytes]") -> "tuple[bytes, bytes]":
    """Return the name and the value of a field that may go on the wire.

    Raises:
        AppError: it may not.
    """
    try:
        name, value = field
    except (TypeError, ValueError):
        raise AppError(f"a header must be a (name, value) pair of bytes, not {field!r}") from None
    if type(name) is not bytes:
        name = _to_bytes(name)
    if type(value) is not bytes:
        value = _to_bytes(value)
    if _TOKEN.fullmatch(name) is None:
        raise AppError(f"invalid header name {name!r}")
    if _FIELD_VALUE.fullmatch(value) is None:
        raise AppError(f"forbidden character in the value of header {name!r}")
    return name, value


def _to_bytes(item: object) -> bytes:
    if isinstance(item, (bytes, bytearray, memoryview)):
        return bytes(item)
    raise AppError(f"header names and values must be bytes, not {type(item).__name__}: {item!r}")


def encode_frame(kind: int, flags: int, stream_id: int, content: bytes, start: int = 0, end: int = -1) -> bytes:
    """Return an HTTP/2 frame (RFC 9113 section 4.1) with `content` from `start` to `end`, which is less than 16 MiB."""
    content = content[start:] if end < 0 else content[start:end]
    size = len(content)
    return b"%c%c%c%c%c%b%b" % (
        size >> 16,
        size >> 8 & 255,
        size & 255,
        kind,
        flags,
        stream_id.to_bytes(4, "big"),
        content,
    )
