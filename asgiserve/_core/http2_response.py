"""The fields of HTTP/2 responses (RFC 9113 sections 8.2 and 8.3.2), from what an application sends.

The same checks as for HTTP/1.1, and the same fields of our own; but names are in lower case, and what belongs to an
HTTP/1.1 connection is left out.
"""

from typing import Any

from .._consts import CONNECTION_FIELDS, FORBIDDEN_TRAILERS
from ..errors import AppError
from .wire import CommonFields, check_field, parse_content_length

#: Bytes of a value up to which a field is remembered, and the number of fields that are.
MAX_KNOWN_VALUE = 256
MAX_KNOWN = 1024

# What a field of an application is checked for.
ORDINARY = 0
DATE = 1
SERVER = 2
CONTENT_LENGTH = 3
LEFT_OUT = 4  # it belongs to an HTTP/1.1 connection
_KINDS = {b"date": DATE, b"server": SERVER, b"content-length": CONTENT_LENGTH}

#: Fields that were checked, by what the application sent: most send the same ones again and again.
_known: "dict[Any, KnownField]" = {}
_status_fields: "dict[int, tuple[bytes, bytes]]" = {}


class KnownField:
    """A field that was checked.

    Attributes:
        pair: its name in lower case, and its value.
        kind: one of the numbers above.
    """

    __slots__ = ("pair", "kind")

    def __init__(self, pair: "tuple[bytes, bytes]") -> None:
        name = pair[0]
        self.pair: tuple[bytes, bytes] = pair
        self.kind: int = LEFT_OUT if name in CONNECTION_FIELDS else _KINDS.get(name, ORDINARY)


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
    fields: list[Any] = [_status_field(status)]
    length = -1
    has_date = has_server = False
    for field in headers:
        known = _look_up(field)
        kind = known.kind
        if kind == CONTENT_LENGTH:
            value = known.pair[1]
            found = parse_content_length(value)
            if found < 0 or (length >= 0 and length != found):
                raise AppError(f"invalid content-length header {value!r} in 'http.response.start'")
            length = found
        elif kind != LEFT_OUT:
            if kind == DATE:
                has_date = True
            elif kind == SERVER:
                has_server = True
            fields.append(known.pair)
    own.refresh()
    if not has_date:
        fields.extend(own.date)
    if not has_server:
        fields.extend(own.server)
    fields.extend(own.extra)
    return fields, length


def _status_field(status: int) -> "tuple[bytes, bytes]":
    field = _status_fields.get(status)
    if field is None:
        field = _status_fields[status] = (b":status", b"%d" % status)
    return field


def _look_up(field: Any) -> KnownField:
    """Return what is known of a field, or check it."""
    if type(field) is tuple:
        try:
            known = _known.get(field)
        except TypeError:  # there is a bytearray in it
            known = None
        if known is not None:
            return known
    known = KnownField(_to_pair(field))
    if type(field) is tuple and len(known.pair[1]) <= MAX_KNOWN_VALUE:
        _remember(field, known)
    return known


def _remember(field: "tuple[Any, Any]", known: KnownField) -> None:
    """Only what is bytes: of another type, an item may change, or be equal to something that is not allowed."""
    if type(field[0]) is bytes and type(field[1]) is bytes and known.pair[0] != b"set-cookie":
        if len(_known) >= MAX_KNOWN:
            _known.clear()
        _known[field] = known


def informational_fields(status: int, headers: "list[Any]") -> "list[Any]":
    """Return the fields of a 1xx response.

    Raises:
        AppError: a field is not allowed in HTTP.
    """
    fields: list[Any] = [_status_field(status)]
    for field in headers:
        fields.append(_to_pair(field))
    return fields


def trailer_fields(headers: "list[Any]") -> "list[Any]":
    """Return the fields of a trailer section.

    Raises:
        AppError: a field is not allowed, or not allowed in trailers (RFC 9110 section 6.5.1).
    """
    fields = []
    for field in headers:
        pair = _to_pair(field)
        if pair[0] in FORBIDDEN_TRAILERS:
            raise AppError(f"header {pair[0]!r} is not allowed in 'http.response.trailers'")
        fields.append(pair)
    return fields


def _to_pair(field: Any) -> "tuple[bytes, bytes]":
    """Return the name, in lower case, and the value of a field that may go on the wire.

    Raises:
        AppError: it may not.
    """
    name, value = check_field(field)
    return name.lower(), value.strip(b" \t")
