"""Deflate: the permessage-deflate extension (RFC 7692), its negotiation and its streams, over Python's zlib.

It knows field values and payloads, and nothing of frames: which messages are compressed, the frame codec decides.
"""

import re
from typing import Any, Optional
from zlib import DEFLATED, Z_DEFAULT_COMPRESSION, Z_SYNC_FLUSH, compressobj, decompressobj
from zlib import error as ZlibError

from .._consts import CLOSE_INVALID_DATA, CLOSE_TOO_BIG
from ..errors import FrameError, ProtocolError

#: The windows that are asked for, as a power of two, and zlib's memLevel: most of what a larger window gains on short
#: messages, for a fifth of the memory.
WINDOW_BITS = 12
MEMORY_LEVEL = 5

_LARGEST_WINDOW_BITS = 15
_SMALLEST_WINDOW_BITS = 9  # zlib cannot compress for a window of 8; it can decompress

#: What each compressed message ends with, and what is left out on the wire (RFC 7692 section 7.2.1).
TAIL = b"\x00\x00\xff\xff"
#: An empty message, compressed (RFC 7692 section 7.2.3.6).
EMPTY = b"\x00"

#: Streams that may end within one message (RFC 7692 section 7.2.3.4): each costs a new one, for two bytes of input.
_MAX_ENDS = 16

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_SKIPPED = re.compile(rb"[ \t,]*")
_NAME = re.compile(rb"(" + _TOKEN + rb"+)[ \t]*")
_PARAMETER = re.compile(
    rb";[ \t]*(" + _TOKEN + rb'+)[ \t]*(?:=[ \t]*(?:("(?:\\?' + _TOKEN + rb')+")|(' + _TOKEN + rb"+))[ \t]*)?"
)
_WINDOW_BITS = re.compile(rb"[89]|1[0-5]")

#: What field values were answered with; nearly all clients send one of a few. Emptied when full.
_known_offers: "dict[bytes, Optional[DeflateParameters]]" = {}
_KNOWN_OFFERS_MAX = 64


class DeflateParameters:
    """What was agreed for one connection; never changed, so that connections share it.

    Attributes:
        server_max_window_bits: the window that we compress with, as a power of two.
        client_max_window_bits: the window that the client compresses with.
        server_no_context_takeover: whether each message that we send is compressed by itself.
        client_no_context_takeover: whether each message that the client sends is.
        response: the value of Sec-WebSocket-Extensions that says so.
    """

    __slots__ = (
        "server_max_window_bits",
        "client_max_window_bits",
        "server_no_context_takeover",
        "client_no_context_takeover",
        "response",
    )

    def __init__(
        self,
        server_max_window_bits: int,
        client_max_window_bits: int,
        server_no_context_takeover: bool = False,
        client_no_context_takeover: bool = False,
        response: bytes = b"",
    ) -> None:
        self.server_max_window_bits: int = server_max_window_bits
        self.client_max_window_bits: int = client_max_window_bits
        self.server_no_context_takeover: bool = server_no_context_takeover
        self.client_no_context_takeover: bool = client_no_context_takeover
        self.response: bytes = response


def negotiate(offers: "list[bytes]") -> Optional[DeflateParameters]:
    """Return the parameters for the first offer of permessage-deflate that can be served, or None.

    Args:
        offers: the values of the Sec-WebSocket-Extensions fields.

    Raises:
        ProtocolError: a value is not a list of extensions (RFC 6455 section 9.1).
    """
    if len(offers) == 1 and offers[0] in _known_offers:
        return _known_offers[offers[0]]
    agreed = None
    for value in offers:
        for name, parameters in parse_extensions(value):
            if agreed is None and name == b"permessage-deflate":
                agreed = _accept(parameters)
    if len(offers) == 1 and len(offers[0]) <= 128:
        if len(_known_offers) >= _KNOWN_OFFERS_MAX:
            _known_offers.clear()
        _known_offers[offers[0]] = agreed
    return agreed


def parse_extensions(value: bytes) -> "list[tuple[bytes, list[tuple[bytes, Optional[bytes]]]]]":
    """Return the extensions in a Sec-WebSocket-Extensions value: (name, [(parameter, value or None)]).

    White space may stand around each separator, and elements may be empty: RFC 6455 goes by RFC 2616 section 2.1.

    Raises:
        ProtocolError: the value does not follow the grammar.
    """
    extensions = []
    size = len(value)
    at = _SKIPPED.match(value).end()  # type: ignore[union-attr]
    while at < size:
        match = _NAME.match(value, at)
        if match is None:
            raise ProtocolError(400, "malformed Sec-WebSocket-Extensions header")
        name = match.group(1)
        at = match.end()
        parameters = []
        while at < size and value[at : at + 1] == b";":
            match = _PARAMETER.match(value, at)
            if match is None:
                raise ProtocolError(400, "malformed Sec-WebSocket-Extensions header")
            parameter, quoted, plain = match.groups()
            if quoted is not None:
                plain = quoted[1:-1].replace(b"\\", b"")  # a token, which has no backslash of its own
            parameters.append((parameter, plain))
            at = match.end()
        extensions.append((name, parameters))
        if at < size and value[at : at + 1] != b",":
            raise ProtocolError(400, "malformed Sec-WebSocket-Extensions header")
        at = _SKIPPED.match(value, at).end()  # type: ignore[union-attr]
    return extensions


def _accept(parameters: "list[tuple[bytes, Optional[bytes]]]") -> Optional[DeflateParameters]:
    """Answer one offer; None declines it (RFC 7692 section 7.1)."""
    found = dict(parameters)
    if len(found) != len(parameters):
        return None
    server_bits = _LARGEST_WINDOW_BITS
    client_bits = _LARGEST_WINDOW_BITS
    server_resets = client_resets = False
    for name, value in parameters:
        if name == b"server_no_context_takeover" and value is None:
            server_resets = True
        elif name == b"client_no_context_takeover" and value is None:
            client_resets = True
        elif name == b"client_max_window_bits" and value is None:
            pass
        elif value is None or _WINDOW_BITS.fullmatch(value) is None:
            return None
        elif name == b"client_max_window_bits":
            client_bits = int(value)
        elif name == b"server_max_window_bits":
            server_bits = int(value)
        else:
            return None
    if server_bits < _SMALLEST_WINDOW_BITS:
        return None
    server_bits = min(server_bits, WINDOW_BITS)
    response = b"permessage-deflate"
    if server_resets:
        response += b"; server_no_context_takeover"
    if client_resets:
        response += b"; client_no_context_takeover"
    response += b"; server_max_window_bits=%d" % server_bits
    if b"client_max_window_bits" in found:  # a client that does not name it may not know it
        client_bits = min(client_bits, WINDOW_BITS)
        response += b"; client_max_window_bits=%d" % client_bits
    return DeflateParameters(server_bits, client_bits, server_resets, client_resets, response)


class Deflate:
    """The compressor and the decompressor of one connection, each made when it is first needed."""

    __slots__ = ("_parameters", "_compressor", "_decompressor", "_has_input", "_ends")

    def __init__(self, parameters: DeflateParameters) -> None:
        self._parameters: DeflateParameters = parameters
        self._compressor: Any = None
        self._decompressor: Any = None
        self._has_input: bool = False  # of the message that comes in
        self._ends: int = 0  # streams that ended within it

    def compress(self, data: bytes) -> bytes:
        """Return a whole message compressed, without the last four bytes (RFC 7692 section 7.2.1)."""
        if not data:
            return EMPTY
        compressor = self._compressor
        if compressor is None:
            compressor = compressobj(
                Z_DEFAULT_COMPRESSION, DEFLATED, -self._parameters.server_max_window_bits, MEMORY_LEVEL
            )
            if not self._parameters.server_no_context_takeover:
                self._compressor = compressor
        head: bytes = compressor.compress(data)
        tail: bytes = compressor.flush(Z_SYNC_FLUSH)
        if head:
            return head + tail[:-4]
        return tail[:-4]

    def release(self) -> None:
        """Give back the compressor, the larger half of the memory, on a connection that is idle.

        The next message is compressed without regard to the ones before, which the client need not know.
        """
        self._compressor = None

    def decompress(self, data: bytes, limit: int, is_last: bool) -> bytes:
        """Return a part of a message decompressed. At most one byte more than `limit` is ever made.

        Args:
            data: a part of the payload, of any size.
            limit: what is left for this message, in bytes; -1 for any.
            is_last: whether the message ends with this part.

        Raises:
            FrameError: the message is larger than that, or not compressed data.
        """
        if data:
            self._has_input = True
        elif not self._has_input:
            return b""  # no sender should, but the tail alone would put the stream out of step
        if is_last:
            data = data + TAIL
        decompressor = self._decompressor
        if decompressor is None:
            self._decompressor = decompressor = self._make_decompressor()
        try:
            result: bytes = decompressor.decompress(data, limit + 1 if limit >= 0 else 0)
            if decompressor.eof:
                result = self._go_on(result, limit)
        except ZlibError:
            raise FrameError(CLOSE_INVALID_DATA, "invalid compressed data") from None
        if 0 <= limit < len(result):
            raise FrameError(CLOSE_TOO_BIG, "message too big")
        if is_last:
            self._has_input = False
            if self._ends or self._parameters.client_no_context_takeover:
                self._decompressor = None
                self._ends = 0
        return result

    def _make_decompressor(self) -> Any:
        return decompressobj(-self._parameters.client_max_window_bits)

    def _go_on(self, result: bytes, limit: int) -> bytes:
        """A block said that it is the final one, and more may follow (RFC 7692 section 7.2.3.4)."""
        while self._decompressor.eof and (limit < 0 or len(result) <= limit):
            self._ends += 1
            if self._ends > _MAX_ENDS:
                raise FrameError(CLOSE_INVALID_DATA, "invalid compressed data")
            rest = self._decompressor.unused_data
            self._decompressor = self._make_decompressor()
            result += self._decompressor.decompress(rest, limit - len(result) + 1 if limit >= 0 else 0)
        return result
