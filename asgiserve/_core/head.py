"""RequestHead: what a parser found in a request's head. It holds facts; `rules` judges them."""

from typing import Optional

from .._consts import (
    FIELD_CONNECTION,
    FIELD_CONTENT_LENGTH,
    FIELD_EXPECT,
    FIELD_FORWARDING,
    FIELD_HOST,
    FIELD_TE,
    FIELD_TRANSFER_ENCODING,
    FIELD_UPGRADE,
)

_NO_FIELDS: "list[tuple[bytes, bytes]]" = []  # in place of the list that every head gets


class RequestHead:
    """The head of one HTTP/1.x request.

    A parser sets `method`, `minor_version`, `raw_path`, `query`, `authority` and `headers`, and tells `note()` of the
    fields named in `NOTED_FIELDS`. `rules.check_head()` then sets what stands below the line.

    Attributes:
        method: the request method.
        minor_version: 0 or 1, for HTTP/1.0 and HTTP/1.1.
        raw_path: the path as received, without the query.
        query: the query as received, without the question mark; empty when there is none.
        authority: the authority of an absolute-form target, else None.
        is_forwarded: whether a proxy says something about the client.
        headers: (lower-case name, value) pairs as received.
        content_length: bytes of the body that follow; 0 when there is none; -1 when the body is chunked.
        keep_alive: whether the connection may serve another request.
        expect_continue: whether the client waits for 100 (Continue).
        te_trailers: whether the client said `TE: trailers`.
        wants_websocket: whether this is a GET request without a body that asks to go on with the WebSocket protocol.
    """

    __slots__ = (
        "method",
        "minor_version",
        "raw_path",
        "query",
        "authority",
        "headers",
        "host",
        "host_count",
        "length_value",
        "length_count",
        "transfer_encoding",
        "connection",
        "expect",
        "te",
        "upgrade",
        "is_forwarded",
        "content_length",
        "keep_alive",
        "expect_continue",
        "te_trailers",
        "wants_websocket",
    )

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything; the object is as new."""
        self.method: str = ""
        self.minor_version: int = 1
        self.raw_path: bytes = b""
        self.query: bytes = b""
        self.authority: Optional[bytes] = None
        self.headers: list[tuple[bytes, bytes]] = _NO_FIELDS
        self.host: Optional[bytes] = None
        self.host_count: int = 0
        self.length_value: Optional[bytes] = None
        self.length_count: int = 0
        self.transfer_encoding: Optional[bytes] = None
        self.connection: Optional[bytes] = None
        self.expect: Optional[bytes] = None
        self.te: Optional[bytes] = None
        self.upgrade: Optional[bytes] = None
        self.is_forwarded: bool = False
        # Set by rules.check_head().
        self.content_length: int = 0
        self.keep_alive: bool = True
        self.expect_continue: bool = False
        self.te_trailers: bool = False
        self.wants_websocket: bool = False

    def note(self, field: int, value: bytes) -> None:
        """Record the value of a field in `NOTED_FIELDS`; `field` is one of the FIELD_ numbers."""
        if field == FIELD_HOST:
            self.host = value
            self.host_count += 1
        elif field == FIELD_CONTENT_LENGTH:
            self.length_value = value
            self.length_count += 1
        elif field == FIELD_CONNECTION:
            self.connection = value if self.connection is None else self.connection + b"," + value
        elif field == FIELD_TRANSFER_ENCODING:
            self.transfer_encoding = value if self.transfer_encoding is None else self.transfer_encoding + b"," + value
        elif field == FIELD_EXPECT:
            self.expect = value if self.expect is None else self.expect + b"," + value
        elif field == FIELD_TE:
            self.te = value if self.te is None else self.te + b"," + value
        elif field == FIELD_UPGRADE:
            self.upgrade = value if self.upgrade is None else self.upgrade + b"," + value
        elif field == FIELD_FORWARDING:
            self.is_forwarded = True


#: In place of the head of a request, where there is none.
NO_HEAD = RequestHead()
