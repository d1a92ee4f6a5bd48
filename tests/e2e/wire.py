"""A small HTTP/1.1 client over a plain socket, strict about what a server may send.

It keeps what clients usually hide: interim responses, raw header order, chunk sizes, trailers, and whether the body was
cut.
"""

from __future__ import annotations

import socket


class Truncated(Exception):
    """The server closed the connection inside a response. `partial` is what came of it, if its head did."""

    def __init__(self, detail: str, partial: Response | None = None):
        super().__init__(detail)
        self.partial = partial


class Response:
    """One response.

    `headers` and `trailers` are lists of (lower-case name, value); `interim` lists the 1xx responses before it.
    """

    def __init__(self, version: str, status: int, reason: str, headers: list):
        self.version, self.status, self.reason, self.headers = version, status, reason, headers
        self.interim: list[Response] = []
        self.body = b""
        self.chunks: list[bytes] = []
        self.trailers: list = []

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key == name]
        assert len(values) < 2, f"{name} is there {len(values)} times: {self.headers}"
        return values[0] if values else None

    @property
    def text(self) -> str:
        return self.body.decode("utf-8")

    def __repr__(self) -> str:
        return f"<{self.status} {self.reason} {self.headers} {self.body[:200]!r}>"


class Wire:
    """One connection. Use as a context manager; `send()` what you like, then `response(method)`."""

    def __init__(self, sock: socket.socket):
        self.sock = sock
        self.buffer = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *exc_info) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    @property
    def local(self) -> str:
        """Our own address as the server's log names it."""
        host, port = self.sock.getsockname()[:2]
        return f"{host}:{port}"

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def _fill(self, what: str, partial: Response | None = None) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise Truncated(what, partial)
        self.buffer += data

    def line(self, partial: Response | None = None) -> bytes:
        while b"\r\n" not in self.buffer:
            self._fill("closed inside a line", partial)
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        assert not {10, 13} & set(line), line
        return line

    def exactly(self, size: int, partial: Response | None = None) -> bytes:
        pieces, have = [self.buffer], len(self.buffer)
        while have < size:
            data = self.sock.recv(262144)
            if not data:
                self.buffer = b"".join(pieces)
                if partial is not None:
                    partial.body += self.buffer
                raise Truncated(f"closed with {have} of {size} bytes", partial)
            pieces.append(data)
            have += len(data)
        joined = b"".join(pieces)
        self.buffer = joined[size:]
        return joined[:size]

    def at_end(self) -> bool:
        """True when the server has closed its side with nothing more to read; waits for one or the other."""
        if self.buffer:
            return False
        try:
            self.buffer = self.sock.recv(65536)
        except ConnectionResetError:
            return True
        return not self.buffer

    def head(self) -> Response:
        """The next response head, interim or final, without its body."""
        version, status, reason = self.line().decode("latin-1").split(" ", 2)
        assert version in ("HTTP/1.1", "HTTP/1.0"), version
        assert len(status) == 3, status
        return Response(version, int(status), reason, self.fields())

    def fields(self, partial: Response | None = None) -> list:
        fields = []
        while True:
            line = self.line(partial)
            if not line:
                return fields
            name, colon, value = line.decode("latin-1").partition(":")
            assert colon, line
            assert name == name.strip() != "", line
            fields.append((name.lower(), value.strip()))

    def chunk(self, response: Response | None = None) -> bytes:
        """The next chunk of a chunked body; empty for the last one, whose trailers are then read into `response`."""
        size = int(self.line(response), 16)
        if size:
            data = self.exactly(size + 2, response)
            assert data.endswith(b"\r\n")
            return data[:-2]
        trailers = self.fields(response)
        if response is not None:
            response.trailers = trailers
        return b""

    def response(self, method: str = "GET") -> Response:
        """The next final response with its body."""
        interim = []
        response = self.head()
        while 100 <= response.status < 200 and response.status != 101:
            interim.append(response)
            response = self.head()
        response.interim = interim
        coding, length = response.header("transfer-encoding"), response.header("content-length")
        assert coding is None or length is None, response
        if method == "HEAD" or response.status in (204, 304):
            return response
        if coding is not None:
            assert coding == "chunked", response
            while True:
                data = self.chunk(response)
                if not data:
                    return response
                response.chunks.append(data)
                response.body += data
        if length is not None:
            response.body = self.exactly(int(length), response)
            return response
        while not self.at_end():
            response.body += self.buffer
            self.buffer = b""
        return response

    def request(
        self, method: str, target: str, body: bytes | None = None, headers=(), version: str = "1.1"
    ) -> Response:
        """Send one request (Host and Content-Length are added unless given) and return its response."""
        self.send(encode(method, target, body, headers, version))
        return self.response(method)


def encode(method: str, target: str, body: bytes | None = None, headers=(), version: str = "1.1") -> bytes:
    """The bytes of a request; `headers` is a list of (name, value)."""
    given = {name.lower() for name, _ in headers}
    lines = [f"{method} {target} HTTP/{version}"]
    if "host" not in given:
        lines.append("Host: example.test")
    lines += [f"{name}: {value}" for name, value in headers]
    if body is not None and not given & {"content-length", "transfer-encoding"}:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b"")


def chunked(*pieces: bytes) -> bytes:
    """`pieces` as a chunked body, with its end."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
