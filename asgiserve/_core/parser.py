"""HeadParser over h11: the pure twin of `_speedups/parser.pyx`.

A twin turns the bytes of a request's head into a RequestHead and judges nothing: `reader` finds out where a head ends
and `rules` says what is allowed. h11 reads the head only. Bodies are decoded by `reader`, in both stacks, because two
decoders that must agree to the byte on malformed chunks are one decoder too many.
"""

import re

import h11

from .._consts import FIELD_CONTENT_LENGTH, METHODS, NOTED_FIELDS
from .head import RequestHead
from .rules import FIELD_VALUE, TARGET, TOKEN, set_target

PARSER_VERSION = "h11 " + h11.__version__  # type: ignore[attr-defined]  # importlib.metadata takes long to load

_METHOD_NAMES = {name.encode(): name for name in METHODS}
_PLAIN_HEAD = re.compile(
    rb"(?:" + b"|".join(re.escape(name) for name in _METHOD_NAMES if name != b"CONNECT") + rb")"
    rb" /[\x21\x22\x24-\x7e]* HTTP/1\.[01]\r\n(?:" + TOKEN + rb":" + FIELD_VALUE + rb"\r\n)*\r\n"
)
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[\t ]*([^\r]*?)[\t ]*(?=\r)", re.IGNORECASE)

_TARGET = re.compile(TARGET)
_LOWER_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_STRIPPED_VALUE = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")

#: h11 sees whole heads only, so its own limit on incomplete ones is of no use; `reader` has the limits.
_NO_LIMIT = 2**31


class HeadParser:
    """Parses heads; keeps nothing from one to the next."""

    __slots__ = ()

    def parse(self, data: bytes, start: int, head: RequestHead, checked: bool) -> int:
        """Parse the head that begins at `start` and fill `head`.

        Args:
            checked: whether the lines have passed the rules. If not, only an ordinary head (a served method, an
                origin-form target, every line well formed) is parsed.
        Returns:
            the offset behind the head; 0 when it is incomplete, or anything is wrong with it or unusual about it.
        """
        if checked:
            end = data.find(b"\r\n\r\n", start) + 4
        else:
            match = _PLAIN_HEAD.match(data, start)
            if match is None:
                return 0
            end = match.end()
        connection = h11.Connection(h11.SERVER, _NO_LIMIT)
        connection.receive_data(data[start:end])
        try:
            request = connection.next_event()
        except h11.RemoteProtocolError:
            return 0
        if type(request) is not h11.Request:
            return 0
        head.method = _METHOD_NAMES[request.method]
        head.minor_version = 0 if request.http_version == b"1.0" else 1
        set_target(head, request.target)
        head.headers = headers = list(request.headers)
        for name, value in headers:
            if name in NOTED_FIELDS:
                if name == b"content-length":
                    _note_content_length(data, start, end, head)
                else:
                    head.note(NOTED_FIELDS[name], value)
        return end


def _note_content_length(data: bytes, start: int, end: int, head: RequestHead) -> None:
    """Note every Content-Length as it came: h11 folds equal ones into one, and they are to be refused."""
    for value in _CONTENT_LENGTH.findall(data, start, end):
        head.note(FIELD_CONTENT_LENGTH, value)


def is_target(text: bytes) -> bool:
    """Whether these may be the characters of a request target without a fragment, and there is one."""
    return _TARGET.fullmatch(text) is not None


def is_lower_name(text: bytes) -> bool:
    """Whether this is a field name (a token, RFC 9110 section 5.6.2) without capital letters."""
    return _LOWER_NAME.fullmatch(text) is not None


def is_stripped_value(text: bytes) -> bool:
    """Whether this may be a field value: no control character but the tab, and no white space at either end."""
    return _STRIPPED_VALUE.fullmatch(text) is not None
