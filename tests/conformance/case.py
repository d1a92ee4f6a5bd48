"""What a conformance case is: bytes in, and by the RFCs what the server does with them."""

from __future__ import annotations

from typing import Any, NamedTuple, Sequence, Union


class Seen(NamedTuple):
    """A request that reaches the application whole; it is answered with 200.

    What is None is not compared. `raw_path` defaults to the path. `headers` is the whole list, `has` only a part
    of it, `lacks` holds names which may not be there.
    """

    method: str = "GET"
    path: str = "/"
    query: bytes = b""
    body: bytes = b""
    raw_path: bytes | None = None
    version: str | None = None
    headers: Sequence[tuple[bytes, bytes]] | None = None
    has: Sequence[tuple[bytes, bytes]] = ()
    lacks: Sequence[bytes] = ()


# A response: of the application, of the server with this status, or with one of these.
Answer = Union[Seen, int, "tuple[int, ...]"]


class Case(NamedTuple):
    """One conversation.

    Attributes:
        name: unique in the corpus.
        data: all that the client sends.
        expect: the final responses in order.
        closed: whether the server ends the connection then; None: after an error of its own, and only then.
        settings: other than the defaults.
        continues: whether a request asks for 100 (Continue), so that interim responses are allowed.
    """

    name: str
    data: bytes
    expect: Sequence[Answer] = (Seen(),)
    closed: bool | None = None
    settings: dict[str, Any] = {}
    continues: bool = False

    @property
    def ends(self) -> bool:
        if self.closed is not None:
            return self.closed
        return bool(self.expect) and not isinstance(self.expect[-1], Seen)


HOST = b"Host: h"
LINE = b"GET / HTTP/1.1"


def head(*fields: bytes, line: bytes = LINE, host: bytes | None = HOST) -> bytes:
    """A request head: the request line, Host unless it is None, and the field lines."""
    lines = [line]
    if host is not None:
        lines.append(host)
    lines.extend(fields)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def post(*fields: bytes, body: bytes = b"") -> bytes:
    """A POST with these fields and this body; the caller gives the framing."""
    return head(*fields, line=b"POST / HTTP/1.1") + body


def chunked(body: bytes) -> bytes:
    """A POST with `body` as its already chunked content."""
    return post(b"Transfer-Encoding: chunked", body=body)


GET = head()
NEXT = head(line=b"GET /next HTTP/1.1")  # sent after a message to see where the server thinks it ended
NEXT_SEEN = Seen(path="/next")


def printable(data: bytes) -> str:
    """Bytes in the name of a case."""
    return data.decode("latin-1").encode("unicode_escape").decode("ascii")
