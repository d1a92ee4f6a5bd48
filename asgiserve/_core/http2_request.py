"""The rules of RFC 9113 section 8 for the fields of an HTTP/2 request, and the RequestHead that comes of them.

What makes a request malformed is a StreamError; what `rules` refuses of HTTP/1.1 too has the same status here.
"""

import re
from typing import Any, Optional

from .._consts import CONNECTION_FIELDS, METHODS, NOTED_FIELDS, PROTOCOL_ERROR, REPEATED_FIELDS
from ..errors import ProtocolError, StreamError
from .head import RequestHead
from .parser import is_lower_name, is_stripped_value, is_target
from .reader import Limits
from .rules import TOKEN, check_head

_METHOD = re.compile(TOKEN)
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*")
_METHOD_NAMES = {name.encode(): name for name in METHODS}

# What a field is, besides what `NOTED_FIELDS` has numbers for.
ORDINARY = 0
COOKIE = -1
METHOD = -2
SCHEME = -3
AUTHORITY = -4
PATH = -5
_PSEUDO = {b":method": METHOD, b":scheme": SCHEME, b":authority": AUTHORITY, b":path": PATH}

#: The kinds of common fields that were found well formed, so that a repeated one costs a look-up. Emptied when full.
_known_kinds: "dict[tuple[bytes, bytes], int]" = {}
MAX_KNOWN = 1024
#: Bytes of the value of such a field.
MAX_KNOWN_VALUE = 256

#: Bytes of an HTTP/1.1 request line beside method and target, and of a field line beside name and value: the limits
#: mean the same number of bytes in both versions.
LINE_OVERHEAD = 10
FIELD_OVERHEAD = 4


def read_request(fields: "list[Any]", ended: bool, head: RequestHead, limits: Limits) -> None:
    """Fill `head` from the fields of a request, the pseudo-header fields first.

    Args:
        ended: whether no body follows.

    Raises:
        StreamError: the request is malformed.
        ProtocolError: it is refused; `head` has what is known of it.
    """
    pseudo = _read_fields(fields, head, limits.header_fields)
    method, path = _check_pseudo(pseudo)
    head.method = _METHOD_NAMES.get(method) or method[:32].decode("ascii")
    if b"?" in path:
        head.raw_path, _, head.query = path.partition(b"?")
    else:
        head.raw_path = path
    if len(method) + len(path) + LINE_OVERHEAD > limits.request_line:
        raise ProtocolError(414, ":path too long")
    _set_host(pseudo.authority, head)
    _check_size(head, limits)
    _check_target(method, path)
    check_head(head, limits.body)
    if head.length_count:
        if ended and head.content_length:
            raise StreamError(PROTOCOL_ERROR, "no body, but a Content-Length")
    elif not ended:
        head.content_length = -1
    head.expect_continue = not ended and head.expect is not None


class Pseudo:
    """The pseudo-header fields of a request, None where there is no such one."""

    __slots__ = ("method", "scheme", "authority", "path")

    def __init__(self) -> None:
        self.method: Optional[bytes] = None
        self.scheme: Optional[bytes] = None
        self.authority: Optional[bytes] = None
        self.path: Optional[bytes] = None

    def put(self, kind: int, value: bytes) -> None:
        """Set one of them.

        Raises:
            StreamError: it is set.
        """
        if kind == METHOD:
            last = self.method
            self.method = value
        elif kind == SCHEME:
            last = self.scheme
            self.scheme = value
        elif kind == AUTHORITY:
            last = self.authority
            self.authority = value
        else:
            last = self.path
            self.path = value
        if last is not None:
            raise StreamError(PROTOCOL_ERROR, "pseudo-header field twice")


def _read_fields(fields: "list[Any]", head: RequestHead, limit: int) -> Pseudo:
    """Check the fields one by one (RFC 9113 sections 8.2 and 8.3); return the pseudo-header fields.

    A byte can stand for a field: what comes behind the first one above the limit is not looked at.
    """
    pseudo = Pseudo()
    headers: list[tuple[bytes, bytes]] = []
    head.headers = headers
    cookie = -1
    crumbs: list[bytes] = []
    for field in fields:
        known = _known_kinds.get(field)
        kind: int = _check_field(field) if known is None else known
        if kind < COOKIE:
            if headers:
                raise StreamError(PROTOCOL_ERROR, "pseudo-header field behind another field")
            pseudo.put(kind, field[1])
        elif kind == COOKIE and cookie >= 0:
            crumbs.append(field[1])
        else:
            if kind == COOKIE:
                cookie = len(headers)
            elif kind != ORDINARY:
                head.note(kind, field[1])
            headers.append(field)
            if len(headers) > limit:
                break
    if crumbs:
        headers[cookie] = (b"cookie", b"; ".join([headers[cookie][1], *crumbs]))  # section 8.2.3: it came in pieces
    return pseudo


def _check_field(field: "tuple[bytes, bytes]") -> int:
    """Return the kind of a field that is well formed.

    Raises:
        StreamError: it is not.
    """
    name, value = field
    if not is_stripped_value(value):
        raise StreamError(PROTOCOL_ERROR, "forbidden character in the value of a field")
    kind: int = _PSEUDO.get(name, ORDINARY)
    if kind == PATH:
        return kind
    if kind == ORDINARY:
        kind = _check_name(name, value)
        if name not in REPEATED_FIELDS:
            return kind
    if len(value) <= MAX_KNOWN_VALUE:
        if len(_known_kinds) >= MAX_KNOWN:
            _known_kinds.clear()
        _known_kinds[field] = kind
    return kind


def _check_name(name: bytes, value: bytes) -> int:
    if name[:1] == b":":
        raise StreamError(PROTOCOL_ERROR, "unknown pseudo-header field")
    if not is_lower_name(name):
        raise StreamError(PROTOCOL_ERROR, "forbidden character in the name of a field")
    if name in CONNECTION_FIELDS or (name == b"te" and value != b"trailers"):
        raise StreamError(PROTOCOL_ERROR, "field of HTTP/1.1 connections: %s" % name.decode("ascii"))
    return COOKIE if name == b"cookie" else NOTED_FIELDS.get(name, ORDINARY)


def _check_pseudo(pseudo: Pseudo) -> "tuple[bytes, bytes]":
    """Check that the pseudo-header fields are those of a request (RFC 9113 section 8.3.1); return method and path."""
    method = pseudo.method
    if method is None or (method not in _METHOD_NAMES and _METHOD.fullmatch(method) is None):
        raise StreamError(PROTOCOL_ERROR, "no valid :method")
    scheme = pseudo.scheme
    path = pseudo.path
    if method == b"CONNECT":
        if scheme is not None or path is not None or pseudo.authority is None:
            raise StreamError(PROTOCOL_ERROR, "malformed CONNECT request")
        return method, b""
    if scheme is None or (scheme != b"https" and scheme != b"http" and _SCHEME.fullmatch(scheme) is None):
        raise StreamError(PROTOCOL_ERROR, "no valid :scheme")
    if not path:
        raise StreamError(PROTOCOL_ERROR, "no :path")
    return method, path


def _check_size(head: RequestHead, limits: Limits) -> None:
    if len(head.headers) > limits.header_fields:
        raise ProtocolError(431, "too many header fields")
    size = 0
    for name, value in head.headers:
        size += len(name) + len(value) + FIELD_OVERHEAD
    if size > limits.header_size:
        raise ProtocolError(431, "header section too large")


def _set_host(authority: Optional[bytes], head: RequestHead) -> None:
    """`:authority` is Host by another name, and stands first (RFC 9113 section 8.3.1, ASGI HTTP spec)."""
    if authority is None:
        return
    if head.host is not None and (head.host_count > 1 or head.host.lower() != authority.lower()):
        raise StreamError(PROTOCOL_ERROR, "Host is not :authority")
    if not authority:
        raise ProtocolError(400, "empty :authority")
    if head.host is not None:
        head.headers = [field for field in head.headers if field[0] != b"host"]
    head.headers.insert(0, (b"host", authority))
    head.host = authority
    head.host_count = 1


def _check_target(method: bytes, path: bytes) -> None:
    """The same rules, and the same answers, as for a request line of HTTP/1.1."""
    if method not in _METHOD_NAMES:
        raise ProtocolError(501, "unknown method")
    if method == b"CONNECT":
        raise ProtocolError(501, "CONNECT is not served: this is no proxy")
    if path == b"*":
        if method != b"OPTIONS":
            raise ProtocolError(400, "asterisk-form target with a method other than OPTIONS")
    elif path[:1] != b"/":
        raise ProtocolError(400, "request target without a leading slash")
    elif not is_target(path):
        raise ProtocolError(400, "forbidden character in the request target")


def check_trailers(fields: "list[Any]") -> None:
    """Check the fields behind a body; they are not handed on.

    Raises:
        StreamError: the request is malformed.
    """
    for name, value in fields:
        if not is_lower_name(name) or not is_stripped_value(value):
            raise StreamError(PROTOCOL_ERROR, "malformed trailer section")
        if name in CONNECTION_FIELDS:
            raise StreamError(PROTOCOL_ERROR, "field of HTTP/1.1 connections: %s" % name.decode("ascii"))
