"""The rules of RFC 9113 section 8 for the fields of an HTTP/2 request, and the RequestHead that comes of them.

What makes a request malformed is a StreamError; what `rules` refuses of HTTP/1.1 too has the same status here.
"""

import re
from typing import Any, Optional

from .._consts import CONNECTION_FIELDS, METHODS, NOTED_FIELDS, PROTOCOL_ERROR
from ..errors import ProtocolError, StreamError
from .head import RequestHead
from .reader import Limits
from .rules import TARGET, TOKEN, check_head

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")  # a token without capital letters
# No control character but the tab, and no white space at either end.
_VALUE = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")
_METHOD = re.compile(TOKEN)
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*")
_TARGET = re.compile(TARGET)
_METHOD_NAMES = {name.encode(): name for name in METHODS}

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
    pseudo = _read_fields(fields, head)
    method, path = _check_pseudo(pseudo)
    head.method = _METHOD_NAMES.get(method) or method[:32].decode("ascii")
    if path:
        head.raw_path, _, head.query = path.partition(b"?")
    if len(method) + len(path) + LINE_OVERHEAD > limits.request_line:
        raise ProtocolError(414, ":path too long")
    _set_host(pseudo.get(b":authority"), head)
    _check_size(head, limits)
    _check_target(method, path)
    check_head(head, limits.body)
    if head.length_count:
        if ended and head.content_length:
            raise StreamError(PROTOCOL_ERROR, "no body, but a Content-Length")
    elif not ended:
        head.content_length = -1
    head.expect_continue = not ended and head.expect is not None


def _read_fields(fields: "list[Any]", head: RequestHead) -> "dict[bytes, bytes]":
    """Check the fields one by one (RFC 9113 sections 8.2 and 8.3); return the pseudo-header fields."""
    pseudo: dict[bytes, bytes] = {}
    headers: list[tuple[bytes, bytes]] = []
    head.headers = headers
    cookie = -1
    for name, value in fields:
        if _VALUE.fullmatch(value) is None:
            raise StreamError(PROTOCOL_ERROR, "forbidden character in the value of a field")
        if name[:1] == b":":
            if headers:
                raise StreamError(PROTOCOL_ERROR, "pseudo-header field behind another field")
            if name in pseudo:
                raise StreamError(PROTOCOL_ERROR, "pseudo-header field twice")
            pseudo[name] = value
            continue
        if _NAME.fullmatch(name) is None:
            raise StreamError(PROTOCOL_ERROR, "forbidden character in the name of a field")
        if name in CONNECTION_FIELDS or (name == b"te" and value != b"trailers"):
            raise StreamError(PROTOCOL_ERROR, "field of HTTP/1.1 connections: %s" % name.decode("ascii"))
        if name == b"cookie":
            # Section 8.2.3: it may come in pieces.
            if cookie >= 0:
                headers[cookie] = (name, headers[cookie][1] + b"; " + value)
                continue
            cookie = len(headers)
        headers.append((name, value))
        if name in NOTED_FIELDS:
            head.note(NOTED_FIELDS[name], value)
    return pseudo


def _check_pseudo(pseudo: "dict[bytes, bytes]") -> "tuple[bytes, bytes]":
    """Check that the pseudo-header fields are those of a request (RFC 9113 section 8.3.1); return method and path."""
    for name in pseudo:
        if name not in (b":method", b":scheme", b":path", b":authority"):
            raise StreamError(PROTOCOL_ERROR, "unknown pseudo-header field")
    method = pseudo.get(b":method")
    if method is None or _METHOD.fullmatch(method) is None:
        raise StreamError(PROTOCOL_ERROR, "no valid :method")
    if method == b"CONNECT":
        if len(pseudo) != 2 or b":authority" not in pseudo:
            raise StreamError(PROTOCOL_ERROR, "malformed CONNECT request")
        return method, b""
    scheme = pseudo.get(b":scheme")
    if scheme is None or _SCHEME.fullmatch(scheme) is None:
        raise StreamError(PROTOCOL_ERROR, "no valid :scheme")
    path = pseudo.get(b":path")
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
    elif _TARGET.fullmatch(path) is None:
        raise ProtocolError(400, "forbidden character in the request target")


def check_trailers(fields: "list[Any]") -> None:
    """Check the fields behind a body; they are not handed on.

    Raises:
        StreamError: the request is malformed.
    """
    for name, value in fields:
        if name[:1] == b":" or _NAME.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
            raise StreamError(PROTOCOL_ERROR, "malformed trailer section")
        if name in CONNECTION_FIELDS:
            raise StreamError(PROTOCOL_ERROR, "field of HTTP/1.1 connections: %s" % name.decode("ascii"))
