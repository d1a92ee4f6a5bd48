"""A strict reader of what a server wrote: it raises for whatever HTTP/1.1 does not allow a server to send."""

from __future__ import annotations

import re
from typing import List, Optional, Sequence, Tuple


class BadResponse(AssertionError):
    """The server wrote something that is not HTTP/1.1."""


class Response:
    """One response off the wire. Header names are lower-cased; `names` keeps them as sent."""

    def __init__(self, status: int, reason: str, names: List[bytes], headers: List[Tuple[bytes, bytes]]) -> None:
        self.status = status
        self.reason = reason
        self.names = names
        self.headers = headers
        self.body = b""
        self.chunks: Optional[List[bytes]] = None  # None: not chunked
        self.trailers: List[Tuple[bytes, bytes]] = []
        self.interim: List[Response] = []
        self.complete = False
        self.close_delimited = False

    def get(self, name: bytes) -> Optional[bytes]:
        """The one value of a field, None without it. Two of them are an error here."""
        values = self.get_all(name)
        if len(values) > 1:
            raise BadResponse(f"{name!r} more than once: {values!r}")
        return values[0] if values else None

    def get_all(self, name: bytes) -> List[bytes]:
        return [value for key, value in self.headers if key == name]

    @property
    def chunked(self) -> bool:
        return self.chunks is not None

    @property
    def says_close(self) -> bool:
        return b"close" in tokens(self.get_all(b"connection"))

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.headers} {self.body[:80]!r}{'' if self.complete else ' CUT'}>"


def tokens(values: Sequence[bytes]) -> List[bytes]:
    return [token.strip().lower() for value in values for token in value.split(b",") if token.strip()]


STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-9][0-9][0-9]) ([\t\x20-\x7e\x80-\xff]*)\Z")
FIELD_LINE = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*"
    rb"[\x21-\x7e\x80-\xff])?)?)[ \t]*\Z"
)
CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,16})\Z")
DIGITS = re.compile(rb"[0-9]+\Z")


class _Reader:
    """A cursor over the output. Running out of data inside a message raises IndexError."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def line(self) -> bytes:
        end = self.data.find(b"\r\n", self.at)
        if end < 0:
            if b"\n" in self.data[self.at :]:
                raise BadResponse(f"bare LF in a response head: {self.data[self.at : self.at + 200]!r}")
            raise IndexError
        line = self.data[self.at : end]
        if b"\n" in line or b"\r" in line or b"\0" in line:
            raise BadResponse(f"control character in a line: {line!r}")
        self.at = end + 2
        return line

    def take(self, size: int) -> bytes:
        if len(self.data) - self.at < size:
            raise IndexError
        self.at += size
        return self.data[self.at - size : self.at]

    def rest(self) -> bytes:
        out, self.at = self.data[self.at :], len(self.data)
        return out

    def fields(self) -> Tuple[List[bytes], List[Tuple[bytes, bytes]]]:
        names, headers = [], []
        while True:
            line = self.line()
            if not line:
                return names, headers
            match = FIELD_LINE.match(line)
            if match is None:
                raise BadResponse(f"bad field line {line!r}")
            names.append(match.group(1))
            headers.append((match.group(1).lower(), match.group(2)))


def read_responses(data: bytes, methods: Sequence[str], closed: bool) -> List[Response]:
    """All responses in `data`, strictly. `methods` are those of the requests, in order (GET past its end).

    Raises BadResponse for anything RFC 9110/9112 does not allow a server to send, and for bytes left over. A
    response that is cut short is in the list with complete=False, and is the last one.
    """
    reader = _Reader(data)
    out: List[Response] = []
    while reader.at < len(data):
        method = methods[len(out)] if len(out) < len(methods) else "GET"
        response, done = _read_one(reader, method, closed)
        if response is not None:
            out.append(response)
        if not done:
            break
    return out


def _read_one(reader: _Reader, method: str, closed: bool) -> Tuple[Optional[Response], bool]:
    interim: List[Response] = []
    while True:
        start = reader.at
        try:
            line = reader.line()
            match = STATUS_LINE.match(line)
            if match is None:
                raise BadResponse(f"bad status line {line!r}")
            names, headers = reader.fields()
        except IndexError:
            raise BadResponse(f"head cut short: {reader.data[start : start + 200]!r}") from None
        response = Response(int(match.group(1)), match.group(2).decode("latin-1"), names, headers)
        if 100 <= response.status < 200 and response.status != 101:
            if response.get_all(b"content-length") or response.get_all(b"transfer-encoding"):
                raise BadResponse(f"framing fields in a {response.status}")
            response.complete = True
            interim.append(response)
            if reader.at == len(reader.data):
                # Only interim responses so far: keep them where a test can see them.
                holder = Response(0, "", [], [])
                holder.interim = interim
                return holder, False
            continue
        response.interim = interim
        try:
            _read_body(reader, response, method, closed)
        except IndexError:
            response.body += reader.rest() if response.chunks is None else b""
            return response, False
        return response, True


def _read_body(reader: _Reader, response: Response, method: str, closed: bool) -> None:
    lengths = response.get_all(b"content-length")
    codings = response.get_all(b"transfer-encoding")
    if lengths and codings:
        raise BadResponse("both content-length and transfer-encoding")
    if len(lengths) > 1 or (lengths and not DIGITS.match(lengths[0])):
        raise BadResponse(f"content-length {lengths!r}")
    if codings and codings != [b"chunked"]:
        raise BadResponse(f"transfer-encoding {codings!r}")
    if (response.status < 200 or response.status == 204) and (lengths or codings):
        raise BadResponse(f"framing fields in a {response.status}")
    if method == "HEAD" or response.status in (101, 204, 304):
        response.complete = True
        return
    if codings:
        response.chunks = []
        while True:
            line = reader.line()
            match = CHUNK_SIZE.match(line)
            if match is None:
                raise BadResponse(f"bad chunk size line {line!r}")
            size = int(match.group(1), 16)
            if not size:
                break
            chunk = reader.take(size)
            response.chunks.append(chunk)
            response.body += chunk
            if reader.take(2) != b"\r\n":
                raise BadResponse(f"chunk of {size} bytes does not end in CRLF")
        response.trailers = reader.fields()[1]
        response.complete = True
    elif lengths:
        response.body = reader.take(int(lengths[0]))
        response.complete = True
    else:
        response.close_delimited = True
        response.body = reader.rest()
        response.complete = closed
