"""The fields of HTTP/2 responses (RFC 9113 sections 8.2 and 8.3.2), from what an application sends.

The same checks as for HTTP/1.1, and the same fields of our own; but names are in lower case, and what belongs to an
HTTP/1.1 connection is left out.
"""

import re
from typing import Any

from hpack import NeverIndexedHeaderTuple

from .._consts import CONNECTION_FIELDS, FORBIDDEN_TRAILERS
from ..errors import AppError
from .rules import TOKEN
from .wire import CommonFields, parse_content_length

_TOKEN = re.compile(TOKEN)
_FIELD_VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")


class OwnFields:
    """Our own fields, taken from the lines that HTTP/1.1 has.

    Attributes:
        date: the Date field in a list, or an empty one.
        server: the Server field, likewise.
        extra: further fields.
    """

    __slots__ = ("date", "server", "extra", "_common", "_lines")

    def __init__(self, common: CommonFields) -> None:
        self.date: list[tuple[bytes, bytes]] = []
        self.server: list[tuple[bytes, bytes]] = []
        self.extra: list[tuple[bytes, bytes]] = []
        self._common: CommonFields = common
        self._lines: Any = None

    def refresh(self) -> None:
        """Follow a change of the lines: once a second there is a new date."""
        common = self._common
        if common.lines is not self._lines:
            self._lines = common.lines
            self.date = _split(common.date)
            self.server = _split(common.server)
            self.extra = _split(common.extra)


def _split(lines: bytes) -> "list[tuple[bytes, bytes]]":
    fields = []
    for line in lines.split(b"\r\n"):
        name, _, value = line.partition(b":")
        name = name.lower()
        if name and name not in CONNECTION_FIELDS:
            fields.append((name, value.strip(b" \t")))
    return fields


def response_fields(status: int, headers: "list[Any]", own: OwnFields) -> "tuple[list[Any], int]":
    """Return the fields of a response without a Content-Length, and the application's Content-Length, or -1.

    Raises:
        AppError: a field name or value is not allowed in HTTP.
    """
    fields: list[Any] = [(b":status", b"%d" % status)]
    length = -1
    has_date = has_server = False
    for field in headers:
        name, value = check_field(field)
        if name == b"content-length":
            found = parse_content_length(value)
            if found < 0 or (length >= 0 and length != found):
                raise AppError(f"invalid content-length header {value!r} in 'http.response.start'")
            length = found
        elif name == b"set-cookie":
            fields.append(NeverIndexedHeaderTuple(name, value))  # it is a secret, and seldom the same twice
        elif name not in CONNECTION_FIELDS:
            has_date = has_date or name == b"date"
            has_server = has_server or name == b"server"
            fields.append((name, value))
    own.refresh()
    if not has_date:
        fields.extend(own.date)
    if not has_server:
        fields.extend(own.server)
    fields.extend(own.extra)
    return fields, length


def informational_fields(status: int, headers: "list[Any]") -> "list[Any]":
    """Return the fields of a 1xx response.

    Raises:
        AppError: a field is not allowed in HTTP.
    """
    fields: list[Any] = [(b":status", b"%d" % status)]
    for field in headers:
        fields.append(check_field(field))
    return fields


def trailer_fields(headers: "list[Any]") -> "list[Any]":
    """Return the fields of a trailer section.

    Raises:
        AppError: a field is not allowed, or not allowed in trailers (RFC 9110 section 6.5.1).
    """
    fields = []
    for field in headers:
        name, value = check_field(field)
        if name in FORBIDDEN_TRAILERS:
            raise AppError(f"header {name!r} is not allowed in 'http.response.trailers'")
        fields.append((name, value))
    return fields


def check_field(field: Any) -> "tuple[bytes, bytes]":
    """Return the name, in lower case, and the value of a field that may go on the wire.

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
    return name.lower(), value.strip(b" \t")


def _to_bytes(item: object) -> bytes:
    if isinstance(item, (bytes, bytearray, memoryview)):
        return bytes(item)
    raise AppError(f"header names and values must be bytes, not {type(item).__name__}: {item!r}")
