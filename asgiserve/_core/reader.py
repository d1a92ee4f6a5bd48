"""RequestReader: from bytes to requests, pull style.

It owns the input buffer, the limits and the decoding of bodies (RFC 9112 sections 6 and 7), and knows nothing of ASGI
or of transports. Heads go to the HeadParser of the stack: at once when a whole and ordinary head is there (nearly
always), and otherwise after the lines were scanned here one by one, so that a fault is reported as soon as its line is
complete, and is the same fault however the bytes were split.
"""

import re
from typing import Optional

from .._consts import BODY, BODY_END, END, NEED_DATA, REQUEST, REQUEST_END
from ..errors import ProtocolError
from .head import NO_HEAD, RequestHead
from .parser import HeadParser
from .rules import FIELD_VALUE, check_field_line, check_head, check_request_line, split_head
from .spare import Spare

HEAD = 0  # at or in the head of a request
LENGTH = 1  # in a body with Content-Length
CHUNK_SIZE = 2  # at a chunk-size line
CHUNK_DATA = 3  # in a chunk's data
CHUNK_DATA_END = 4  # at the CRLF behind a chunk's data
TRAILERS = 5  # in the trailer section
COMPLETE = 6  # behind the request, until next_message()

CR = 13
TLS_HANDSHAKE = 0x16

#: Empty lines that are skipped before a request line (RFC 9112 section 2.2).
MAX_LEADING_CRLF = 4
#: What a chunked body may add up to where no limit is set: what a signed 64-bit integer counts.
MAX_BODY_SIZE = 2**63 - 1
#: Hexadecimal digits of a chunk size: what 64 bits hold.
MAX_CHUNK_SIZE_DIGITS = 16
#: Bytes of a chunk-size line, with its extensions and without CRLF.
MAX_CHUNK_LINE = 4096
_HEX_DIGITS = frozenset(b"0123456789abcdefABCDEF")
_CHUNK_LINE = re.compile(FIELD_VALUE)
#: What is known of a request whose head is refused. It goes into a log: visible ASCII only, and not much of it.
_KNOWN_LINE = re.compile(
    rb"([A-Za-z][A-Za-z_-]{0,31}) ((?:/|\*|https?:)[!-~]{0,1023})[!-~]*(?: HTTP/([0-9]\.[0-9])\r?\n)?"
)

_PARSER = HeadParser()  # it keeps nothing between two calls
_spare_head = Spare()


class Limits:
    """The bounds on what one request may bring; -1 means none.

    Attributes:
        request_line: bytes of the request line, without its CRLF; past it 414.
        header_size: bytes of all field lines, each with its CRLF; past it 431. Also holds for a trailer section.
        header_fields: number of field lines; past it 431.
        body: bytes of the decoded body; past it 413.
    """

    __slots__ = ("request_line", "header_size", "header_fields", "body")

    def __init__(self, request_line: int, header_size: int, header_fields: int, body: int) -> None:
        self.request_line: int = request_line
        self.header_size: int = header_size
        self.header_fields: int = header_fields
        self.body: int = body


class RequestReader:
    """Reads the requests of one connection.

    feed() takes bytes; next_event() says what they hold, until it returns NEED_DATA; the registers `head` and
    `chunk` belong to the last event. Behind a request it stays at NEED_DATA until next_message(). next_event() raises
    only ProtocolError, and after that the reader is of no further use.

    Attributes:
        head: the RequestHead, valid from REQUEST or REQUEST_END on.
        chunk: body bytes, valid after BODY and BODY_END.
    """

    __slots__ = (
        "head",
        "chunk",
        "_limits",
        "_buffer",
        "_pos",
        "_state",
        "_remaining",
        "_body_size",
        "_line",
        "_searched",
        "_lines",
        "_section",
        "_skipped",
        "_fault",
    )

    def __init__(self, limits: Limits) -> None:
        self.head: RequestHead = NO_HEAD
        self.chunk: bytes = b""
        self._limits: Limits = limits
        self._buffer: bytes = b""
        self._pos: int = 0  # where the unread input begins
        self._state: int = HEAD
        self._remaining: int = 0  # bytes left of the body, or of the chunk
        self._body_size: int = 0  # bytes of a chunked body so far
        # The line scanner: offsets from _pos, which stands still while lines are collected.
        self._line: int = 0  # where the current line begins
        self._searched: int = 0  # how far the search for its end has come
        self._lines: int = 0  # complete lines before it
        self._section: int = 0  # bytes of the field lines before it
        self._skipped: int = 0  # empty lines before the request line
        self._fault: Optional[ProtocolError] = None  # found behind chunk data that is not yet delivered

    def feed(self, data: bytes) -> None:
        """Add input."""
        if self._pos == len(self._buffer):
            self._buffer = data
        else:
            self._buffer = self._buffer[self._pos :] + data
        self._pos = 0

    def input_size(self) -> int:
        """Bytes of input that no event has consumed."""
        return len(self._buffer) - self._pos

    def has_input(self) -> bool:
        """Whether input is left that no event has consumed."""
        return self._pos < len(self._buffer)

    def is_complete(self) -> bool:
        """Whether the current request has been read to its end."""
        return self._state == COMPLETE

    def is_idle(self) -> bool:
        """Whether it stands between two requests, and nothing of the next one has come."""
        return (self._state == HEAD or self._state == COMPLETE) and self._pos == len(self._buffer)

    def body_left(self) -> int:
        """Bytes of the body that are still to come; -1 when that is unknown (chunked)."""
        if self._state == LENGTH:
            return self._remaining
        if self._state == HEAD or self._state == COMPLETE:
            return 0
        return -1

    def next_message(self) -> None:
        """Go on to the next request. The current one must be complete."""
        self._state = HEAD
        self._reset_scan()
        self._skipped = 0
        # An idle connection holds nothing of its last request.
        self.head = NO_HEAD
        self.chunk = b""
        if self._pos == len(self._buffer):
            self.drop_input()

    def drop_input(self) -> None:
        """Forget the input that no event has consumed."""
        self._buffer = b""
        self._pos = 0

    def known_line(self) -> "Optional[tuple[str, str, str]]":
        """Return method, target and HTTP version of a head that was refused, as far as they are known.

        The version is `-` when it is not known, and a long target is cut off. None when this is no request line.
        """
        match = _KNOWN_LINE.match(self._buffer, self._pos)
        if match is None:
            return None
        method, target, version = match.groups()
        return method.decode("ascii"), target.decode("ascii"), "-" if version is None else version.decode("ascii")

    def take_tail(self) -> bytes:
        """Take the input that no event has consumed: the connection goes on with another protocol."""
        tail = self._buffer[self._pos :]
        self.drop_input()
        return tail

    def next_event(self) -> int:
        """Return the next event, one of the numbers in `_consts`.

        Raises:
            ProtocolError: the peer broke a rule or passed a limit.
        """
        state = self._state
        if state == HEAD:
            return self._read_head()
        if state == LENGTH:
            return self._read_length()
        if state == COMPLETE:
            return NEED_DATA
        return self._read_chunked()

    # -- the head

    def _read_head(self) -> int:
        if self._pos == len(self._buffer):
            return NEED_DATA
        head = _new_head()
        end = 0
        if self._searched == 0:
            end = _PARSER.parse(self._buffer, self._pos, head, False)
            if end == 0 or not self._is_within_limits(head, end):
                head.clear()
                end = 0
        if end == 0:
            end = self._scan_head()
            if end == 0:
                return NEED_DATA
            if _PARSER.parse(self._buffer, self._pos, head, True) != end:
                self._refuse_head(end)
        check_head(head, self._limits.body)
        self._pos = end
        self.head = head
        if head.content_length == 0:
            self._state = COMPLETE
            return REQUEST_END
        if head.content_length > 0:
            self._remaining = head.content_length
            self._state = LENGTH
        else:
            self._body_size = 0
            self._state = CHUNK_SIZE
        self._reset_scan()
        return REQUEST

    def _is_within_limits(self, head: RequestHead, end: int) -> bool:
        """Whether a head that was parsed at once is surely within the limits; if not, the scan finds out."""
        limits = self._limits
        size = end - self._pos
        return (
            len(head.headers) <= limits.header_fields
            and size <= limits.header_size
            and (size <= limits.request_line or len(head.raw_path) + len(head.query) + 64 <= limits.request_line)
        )

    def _refuse_head(self, end: int) -> None:
        """Say why the parser refused a head whose lines are well formed."""
        head = RequestHead()
        split_head(self._buffer[self._pos : end], head)
        check_head(head, self._limits.body)
        raise ProtocolError(400, "malformed request")

    def _reset_scan(self) -> None:
        self._line = 0
        self._searched = 0
        self._lines = 0
        self._section = 0

    def _scan_head(self) -> int:
        """Judge the complete lines of a head. Return the offset behind the head, or 0 when it is not all there."""
        while True:
            if self._lines == 0 and self._line == 0 and self._buffer[self._pos] == TLS_HANDSHAKE:
                raise ProtocolError(400, "TLS handshake on a plaintext port")
            line = self._next_line(self._lines == 0)
            if line is None:
                return 0
            if self._lines == 0:
                if not line:
                    self._skip_empty_line()
                    if self._pos == len(self._buffer):
                        return 0
                    continue
                check_request_line(line)
            elif not line:
                return self._pos + self._line
            else:
                check_field_line(line)
            self._lines += 1

    def _skip_empty_line(self) -> None:
        self._skipped += 1
        if self._skipped > MAX_LEADING_CRLF:
            raise ProtocolError(400, "too many empty lines before the request line")
        self._pos += self._line
        self._line = 0
        self._searched = 0

    def _next_line(self, is_request_line: bool) -> Optional[bytes]:
        """Return the next line without its CRLF; None when its end has not come. Limits hold for a part of it too."""
        start = self._pos + self._line
        end = self._buffer.find(b"\n", self._pos + self._searched)
        stop = len(self._buffer) if end < 0 else end
        has_cr = stop > start and self._buffer[stop - 1] == CR
        size = stop - start - has_cr
        limits = self._limits
        if is_request_line:
            if size > limits.request_line:
                raise ProtocolError(414, "request line too long")
        elif size > 0:
            if self._lines > limits.header_fields:
                raise ProtocolError(431, "too many header fields")
            if self._section + size + 2 > limits.header_size:
                raise ProtocolError(431, "header section too large")
        self._searched = stop - self._pos
        if end < 0:
            return None
        if not has_cr:
            raise ProtocolError(400, "line end without a carriage return")
        if not is_request_line:
            self._section += size + 2
        self._line = self._searched = end + 1 - self._pos
        return self._buffer[start : end - 1]

    # -- the body

    def _read_length(self) -> int:
        available = len(self._buffer) - self._pos
        if available == 0:
            return NEED_DATA
        if available < self._remaining:
            self._take(available)
            self._remaining -= available
            return BODY
        self._take(self._remaining)
        self._remaining = 0
        self._state = COMPLETE
        return BODY_END

    def _take(self, size: int) -> None:
        """Move `size` bytes of the input to `chunk`, without a copy where they are all of it."""
        if self._pos == 0 and size == len(self._buffer):
            self.chunk = self._buffer
            self._buffer = b""
        else:
            self.chunk = self._buffer[self._pos : self._pos + size]
            self._pos += size

    def _read_chunked(self) -> int:
        """Decode what is there of a chunked body (RFC 9112 section 7.1); the data of all its chunks is one event."""
        if self._fault is not None:
            raise self._fault
        parts: list[bytes] = []
        try:
            while self._state != COMPLETE and self._pos < len(self._buffer):
                if not self._read_chunk_part(parts):
                    break
        except ProtocolError as fault:
            if not parts:
                raise
            self._fault = fault  # for the next call: what came before the fault is still good
        ended = self._state == COMPLETE
        if not parts:
            return END if ended else NEED_DATA
        self.chunk = parts[0] if len(parts) == 1 else b"".join(parts)
        return BODY_END if ended else BODY

    def _read_chunk_part(self, parts: list[bytes]) -> bool:
        """Take one step through a chunked body; False when it needs more input."""
        state = self._state
        if state == CHUNK_DATA:
            self._read_chunk_data(parts)
            return True
        if state == CHUNK_SIZE:
            return self._read_chunk_size()
        if state == CHUNK_DATA_END:
            return self._read_chunk_data_end()
        return self._read_trailers()

    def _read_chunk_data(self, parts: list[bytes]) -> None:
        size = len(self._buffer) - self._pos
        if size > self._remaining:
            size = self._remaining
        self._take(size)
        parts.append(self.chunk)
        self._remaining -= size
        if self._remaining == 0:
            self._state = CHUNK_DATA_END

    def _read_chunk_size(self) -> bool:
        start = self._pos
        end = self._buffer.find(b"\n", start + self._searched)
        stop = len(self._buffer) if end < 0 else end
        has_cr = stop > start and self._buffer[stop - 1] == CR
        line = self._buffer[start : stop - has_cr]
        digits = 0
        while digits < len(line) and line[digits] in _HEX_DIGITS:
            digits += 1
        if digits > MAX_CHUNK_SIZE_DIGITS:
            raise ProtocolError(400, "chunk size too large")
        if digits < len(line) and (digits == 0 or line[digits] != 59):
            raise ProtocolError(400, "invalid chunk size")
        if len(line) > MAX_CHUNK_LINE:
            raise ProtocolError(400, "chunk extensions too long")
        if end < 0:
            self._searched = stop - start
            return False
        if not has_cr:
            raise ProtocolError(400, "line end without a carriage return in a chunked body")
        if digits == 0:
            raise ProtocolError(400, "invalid chunk size")
        if digits < len(line):
            if _CHUNK_LINE.fullmatch(line) is None:
                raise ProtocolError(400, "control character in a chunk extension")
        self._start_chunk(int(line[:digits], 16))
        self._pos = end + 1
        self._searched = 0
        return True

    def _start_chunk(self, size: int) -> None:
        if size == 0:
            self._state = TRAILERS
            self._lines = 1  # as behind a request line: from here on there are field lines
            return
        if size > MAX_BODY_SIZE - self._body_size or (0 <= self._limits.body < self._body_size + size):
            raise ProtocolError(413, "request body too large")
        self._body_size += size
        self._remaining = size
        self._state = CHUNK_DATA

    def _read_chunk_data_end(self) -> bool:
        if self._buffer[self._pos] != CR:
            raise ProtocolError(400, "chunk data is not followed by CRLF")
        if len(self._buffer) - self._pos < 2:
            return False
        if self._buffer[self._pos + 1] != 10:
            raise ProtocolError(400, "chunk data is not followed by CRLF")
        self._pos += 2
        self._state = CHUNK_SIZE
        return True

    def _read_trailers(self) -> bool:
        """Judge the trailer section and drop it: trailers are not merged into the header (RFC 9110 section 6.5.1)."""
        while True:
            line = self._next_line(False)
            if line is None:
                return False
            if not line:
                self._pos += self._line
                self._reset_scan()
                self._state = COMPLETE
                return True
            check_field_line(line)
            self._lines += 1


def _new_head() -> RequestHead:
    """Return an empty head: the last one, where nobody has that any more."""
    if _spare_head.is_free(0):
        spare: RequestHead = _spare_head.kept
        spare.clear()
        return spare
    head = RequestHead()
    _spare_head.keep(head)
    return head
