"""The rules of RFC 9110 and RFC 9112 for a request's head: what is served, and which status answers what is not.

This is the one place that judges. `check_request_line` and `check_field_line` judge a line's characters, `check_head`
judges the fields together. The parsers h11 and llhttp may refuse more than these rules on their way, but what they
refuse is judged here again, so that both stacks give the same answer.
"""

import re

from .._consts import METHODS, NOTED_FIELDS
from ..errors import ProtocolError
from .head import RequestHead

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
FIELD_VALUE = rb"[\t\x20-\x7e\x80-\xff]*"
TARGET = rb"[\x21\x22\x24-\x7e]+"  # visible US-ASCII; no fragment

_REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") (" + TARGET + rb") HTTP/([0-9])\.([0-9])")
_REQUEST_LINE_FORM = re.compile(rb"([^ ]+) ([^ ]+) HTTP/[0-9]\.[0-9]")
_FIELD_LINE = re.compile(TOKEN + rb":" + FIELD_VALUE)
_TOKEN_ONLY = re.compile(TOKEN)
_ABSOLUTE_FORM = re.compile(rb"(?i:https?)://([^/?]*)(.*)")
_PORT = rb"(?::([0-9]*))?"
_HOST = re.compile(rb"(?:\[([0-9A-Fa-f:.]+)\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*)" + _PORT)
_METHOD_NAMES = {name.encode(): name for name in METHODS}

#: Content-Length beyond this cannot be counted in a signed 64-bit integer.
MAX_CONTENT_LENGTH = 2**63 - 1

#: Host values that were found valid, so that a repeated one costs a dictionary look-up. Emptied when full.
_valid_hosts: dict[bytes, bool] = {}
_VALID_HOSTS_MAX = 1024
#: The tokens of Connection and TE values that were met. Emptied when full.
_known_tokens: "dict[bytes, frozenset[bytes]]" = {}
_KNOWN_TOKENS_MAX = 256


def check_request_line(line: bytes) -> None:
    """Raise ProtocolError unless `line` (without its CRLF) is a request line that is served (RFC 9112 section 3)."""
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise ProtocolError(400, _request_line_fault(line))
    method, target, major, minor = match.groups()
    if major != b"1" or minor not in b"01":
        if major == b"0":
            raise ProtocolError(400, "HTTP version 0.x in the request line")
        raise ProtocolError(505, "HTTP version %s.%s is not served" % (major.decode(), minor.decode()))
    if method not in _METHOD_NAMES:
        raise ProtocolError(501, "unknown method")
    if method == b"CONNECT":
        raise ProtocolError(501, "CONNECT is not served: this is no proxy")
    if target[:1] == b"/":
        return
    if target == b"*":
        if method != b"OPTIONS":
            raise ProtocolError(400, "asterisk-form target with a method other than OPTIONS")
        return
    absolute = _ABSOLUTE_FORM.fullmatch(target)
    if absolute is None:
        raise ProtocolError(400, "request target without a leading slash")
    authority = absolute.group(1)
    if not authority or authority[:1] == b":" or not is_valid_host(authority):
        raise ProtocolError(400, "invalid authority in the request target")


def _request_line_fault(line: bytes) -> str:
    match = _REQUEST_LINE_FORM.fullmatch(line)
    if match is None:
        return "malformed request line"
    if _TOKEN_ONLY.fullmatch(match.group(1)) is None:
        return "the method is not a token"
    if b"#" in match.group(2):
        return "fragment in the request target"
    return "forbidden character in the request target"


def check_field_line(line: bytes) -> None:
    """Raise ProtocolError unless `line` (without its CRLF) is a field line (RFC 9112 section 5)."""
    if _FIELD_LINE.fullmatch(line) is not None:
        return
    if line[:1] in b" \t":
        raise ProtocolError(400, "obsolete line folding")
    name, colon, _ = line.partition(b":")
    if not colon:
        raise ProtocolError(400, "header line without a colon")
    if not name:
        raise ProtocolError(400, "empty header name")
    if name[-1:] in b" \t":
        raise ProtocolError(400, "whitespace before the colon of a header")
    if _TOKEN_ONLY.fullmatch(name) is None:
        raise ProtocolError(400, "forbidden character in a header name")
    raise ProtocolError(400, "forbidden character in a header value")


def is_valid_host(value: bytes) -> bool:
    """Whether `value` is `uri-host [ ":" port ]` (RFC 9110 section 7.2). An empty host is valid."""
    if value in _valid_hosts:
        return True
    match = _HOST.fullmatch(value)
    if match is None:
        return False
    address, port = match.groups()
    if port and int(port[:6]) > 65535:
        return False
    if address is not None:
        import ipaddress  # rarely needed, and a process that has it finds it at once

        try:
            ipaddress.IPv6Address(address.decode())
        except ValueError:
            return False
    if len(_valid_hosts) >= _VALID_HOSTS_MAX:
        _valid_hosts.clear()
    if len(value) <= 256:
        _valid_hosts[value] = True
    return True


def set_target(head: RequestHead, target: bytes) -> None:
    """Take a request target apart into `head`. `target` has passed check_request_line()."""
    if target[:1] != b"/" and target != b"*":
        absolute = _ABSOLUTE_FORM.fullmatch(target)
        assert absolute is not None
        head.authority, target = absolute.groups()
        if target[:1] != b"/":
            target = b"/" + target
    head.raw_path, _, head.query = target.partition(b"?")


def split_head(data: bytes, head: RequestHead) -> None:
    """Fill `head` from a whole head whose lines have passed the checks, with nothing but string operations.

    For a head that a parser refuses although its lines are well formed: check_head() then finds the reason.
    """
    lines = data.split(b"\r\n")
    method, target, version = lines[0].split(b" ")
    head.method = _METHOD_NAMES[method]
    head.minor_version = int(version[-1:])
    set_target(head, target)
    head.headers = []
    for line in lines[1:-2]:
        name, _, value = line.partition(b":")
        name = name.lower()
        value = value.strip(b" \t")
        head.headers.append((name, value))
        if name in NOTED_FIELDS:
            head.note(NOTED_FIELDS[name], value)


def check_head(head: RequestHead, body_limit: int) -> None:
    """Judge the fields of `head` together and set what follows from them; raise ProtocolError where a rule is broken.

    Args:
        body_limit: the largest body that is taken, in bytes; -1 for any.
    """
    _check_host(head)
    _check_framing(head, body_limit)
    if head.connection is None:
        head.keep_alive = head.minor_version == 1
    else:
        tokens = _tokens(head.connection)
        head.keep_alive = b"close" not in tokens and (head.minor_version == 1 or b"keep-alive" in tokens)
    if head.expect is not None:
        if head.expect.lower() != b"100-continue":
            raise ProtocolError(417, "unknown expectation")
        # RFC 9110 section 10.1.1: to be ignored from an HTTP/1.0 client.
        head.expect_continue = head.minor_version == 1 and head.content_length != 0
    if head.te is not None:
        head.te_trailers = head.minor_version == 1 and b"trailers" in _tokens(head.te)
    if head.upgrade is not None and head.connection is not None:
        # What is not the request of RFC 6455 section 4.1 is ignored, as RFC 9110 section 7.8 has it.
        head.wants_websocket = (
            head.minor_version == 1
            and head.method == "GET"
            and head.content_length == 0
            and b"websocket" in _tokens(head.upgrade)
            and b"upgrade" in _tokens(head.connection)
        )


def _check_host(head: RequestHead) -> None:
    """RFC 9112 section 3.2."""
    if head.host_count > 1:
        raise ProtocolError(400, "more than one Host header")
    host = head.host
    if host is None:
        if head.minor_version == 1:
            raise ProtocolError(400, "no Host header")
    elif host not in _valid_hosts and not is_valid_host(host):
        raise ProtocolError(400, "invalid Host header")
    if head.authority is not None:
        _replace_host(head)


def _replace_host(head: RequestHead) -> None:
    """The authority of an absolute-form target takes the place of Host (RFC 9112 section 3.2.2)."""
    authority = head.authority
    assert authority is not None
    head.headers = [field for field in head.headers if field[0] != b"host"]
    head.headers.insert(0, (b"host", authority))
    head.host = authority


def _check_framing(head: RequestHead, body_limit: int) -> None:
    """RFC 9112 section 6: how long the body is."""
    if head.transfer_encoding is not None:
        _check_transfer_encoding(head)
        head.content_length = -1
    elif head.length_count:
        value = head.length_value
        assert value is not None
        if head.length_count > 1:
            raise ProtocolError(400, "more than one Content-Length header")
        if not value.isdigit():
            raise ProtocolError(400, "invalid Content-Length header")
        digits = value.lstrip(b"0")
        if len(digits) > 19 or int(digits or b"0") > MAX_CONTENT_LENGTH:
            raise ProtocolError(413, "Content-Length too large")
        if len(value) > 20:  # h11's bound on the digits, for zeros in front
            raise ProtocolError(400, "invalid Content-Length header")
        head.content_length = int(digits or b"0")
        if body_limit >= 0 and head.content_length > body_limit:
            raise ProtocolError(413, "request body too large")
    else:
        head.content_length = 0


def _check_transfer_encoding(head: RequestHead) -> None:
    """RFC 9112 section 6.1: only `chunked`, only once, never beside Content-Length, never with HTTP/1.0."""
    value = head.transfer_encoding
    assert value is not None
    if head.length_count:
        raise ProtocolError(400, "both Content-Length and Transfer-Encoding")
    if head.minor_version == 0:
        raise ProtocolError(400, "Transfer-Encoding in an HTTP/1.0 request")
    codings = [coding.strip(b" \t").lower() for coding in value.split(b",")]
    if codings == [b"chunked"]:
        # h11 hands the value on in lower case; so do both stacks.
        for index in range(len(head.headers)):
            if head.headers[index][0] == b"transfer-encoding":
                head.headers[index] = (b"transfer-encoding", b"chunked")
        return
    if b"" in codings or b"identity" in codings or codings.count(b"chunked") > 1:
        raise ProtocolError(400, "invalid Transfer-Encoding header")
    if b"chunked" in codings and codings[-1] != b"chunked":
        raise ProtocolError(400, "chunked is not the last transfer coding")
    raise ProtocolError(501, "unknown transfer coding")


def _tokens(value: bytes) -> "frozenset[bytes]":
    """The lower-cased members of a comma-separated list; most connections send one of a few."""
    tokens = _known_tokens.get(value)
    if tokens is None:
        tokens = frozenset([token.strip(b" \t").lower() for token in value.split(b",")])
        if len(_known_tokens) >= _KNOWN_TOKENS_MAX:
            _known_tokens.clear()
        if len(value) <= 64:
            _known_tokens[value] = tokens
    return tokens
