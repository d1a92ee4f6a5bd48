"""BlockDecoder and BlockEncoder over hpack: header compression. The pure twin of `_speedups/headerblock.pyx`.

What is malformed whatever the tables hold is found here, before hpack sees it: releases of hpack differ in the
integers that they take, and none counts the updates of the table's size. They differ in what they encode, too.
"""

from typing import Any, Optional

from hpack import Decoder, Encoder, HPACKError, InvalidTableIndex, NeverIndexedHeaderTuple, OversizedHeaderListError

from .._consts import COMPRESSION_ERROR, ENHANCE_YOUR_CALM
from ..errors import ConnectionFault

#: Bytes of a dynamic table, for either direction: what a peer has without saying more.
TABLE_SIZE = 4096
#: Bytes of an integer behind its prefix; that is enough for 35 bits.
INTEGER_BYTES = 5
#: Updates of the table's size at the beginning of a block (RFC 7541 section 4.2): the smallest, and the last.
SIZE_UPDATES = 2

TRUNCATED = "truncated header block"
LONG_INTEGER = "integer too long in a header block"
INVALID_INDEX = "invalid index in a header block"
INVALID_HUFFMAN = "invalid Huffman code in a header block"
LATE_UPDATE = "update of the header table's size behind a field"
MANY_UPDATES = "too many updates of the header table's size"
LARGE_UPDATE = "header table's size above the limit"
TOO_LARGE = "header section too large"


class BlockDecoder:
    """Decodes the header blocks of one connection, in the order they came. After an error it is not used any more.

    Args:
        max_size: bytes that a decoded header list may have, counted as RFC 7541 section 4.1 does: name, value and 32
            for each field.
    """

    __slots__ = ("_decoder",)

    def __init__(self, max_size: int) -> None:
        self._decoder: Decoder = Decoder(max_size)

    def decode(self, block: bytes) -> "list[tuple[bytes, bytes]]":
        """Return the (name, value) pairs of a whole block.

        Raises:
            ConnectionFault: COMPRESSION_ERROR, the block is malformed (RFC 7541 sections 2.3.3, 4.2, 5 and 6), or
                ENHANCE_YOUR_CALM, the list is larger than allowed.
        """
        if not isinstance(block, bytes):
            raise TypeError("a header block is bytes")
        end, detail = _find_fault(block)
        try:
            # What stands before a fault may be another one.
            fields = self._decoder.decode(block[:end], raw=True)
        except OversizedHeaderListError:
            raise ConnectionFault(ENHANCE_YOUR_CALM, TOO_LARGE) from None
        except InvalidTableIndex:
            raise ConnectionFault(COMPRESSION_ERROR, INVALID_INDEX) from None
        except (HPACKError, LookupError, ValueError):
            raise ConnectionFault(COMPRESSION_ERROR, INVALID_HUFFMAN) from None  # all that is left
        if detail:
            raise ConnectionFault(COMPRESSION_ERROR, detail)
        return [(bytes(name), bytes(value)) for name, value in fields]


class BlockEncoder:
    """Encodes the header blocks of one connection, in the order they go out."""

    __slots__ = ("_encoder", "_smallest", "_last")

    def __init__(self) -> None:
        self._encoder: _FieldEncoder = _FieldEncoder()
        self._smallest: Optional[int] = None
        self._last: int = TABLE_SIZE

    def set_table_size(self, size: int) -> None:
        """Take over the peer's SETTINGS_HEADER_TABLE_SIZE, in bytes; above 4096, 4096 are used.

        The next block begins with what RFC 7541 section 4.2 asks for: the smallest size since the last block, and the
        last one.
        """
        size = min(max(size, 0), TABLE_SIZE)
        self._smallest = size if self._smallest is None else min(size, self._smallest)
        self._last = size

    def encode(self, fields: "list[Any]") -> bytes:
        """Return the block of these fields: (name, value) pairs of bytes, with names in lower case.

        `set-cookie` is never indexed (RFC 7541 section 7.1.3).

        Raises:
            TypeError, ValueError: a field is not a pair of bytes. Nothing has changed then.
        """
        checked = [_check_field(field) for field in fields]
        if self._smallest is not None:
            # hpack announces each size that is set, if it is another than before.
            self._encoder.header_table_size = self._smallest
            if self._last != self._smallest:
                self._encoder.header_table_size = self._last
            self._smallest = None
        return bytes(self._encoder.encode(checked))


class _FieldEncoder(Encoder):
    """hpack's encoder, which before 4.2 did not find a field without a value in its tables."""

    __slots__ = ()

    def add(self, to_add: "tuple[bytes, bytes]", sensitive: bool, huffman: bool = False) -> bytes:
        """Return a field as it goes out, and put it into the table if it belongs there."""
        if not to_add[1]:
            match = self.header_table.search(*to_add)
            if match is not None and match[2] is not None:
                index = match[0]  # at most 189
                return bytes((0x80 | index,)) if index < 0x7F else bytes((0xFF, index - 0x7F))
        return super().add(to_add, sensitive, huffman)


def _check_field(field: Any) -> "tuple[bytes, bytes]":
    name, value = field
    if not isinstance(name, bytes) or not isinstance(value, bytes):
        raise TypeError("the name and the value of a field are bytes")
    if name == b"set-cookie":
        return NeverIndexedHeaderTuple(bytes(name), bytes(value))
    return bytes(name), bytes(value)


class _Malformed(Exception):
    """The message says what is wrong."""


def _find_fault(block: bytes) -> "tuple[int, str]":
    """Return where the representation begins that is malformed whatever the tables hold, and what is wrong with it.

    Returns:
        the end of the block and an empty string if there is none.
    """
    at = 0
    updates = 0
    has_fields = False
    begin = 0
    try:
        while at < len(block):
            begin = at
            first = block[at]
            if first & 0xE0 == 0x20:
                updates += 1
                size, at = _read_integer(block, at, 0x1F)
                if has_fields:
                    raise _Malformed(LATE_UPDATE)
                if updates > SIZE_UPDATES:
                    raise _Malformed(MANY_UPDATES)
                if size > TABLE_SIZE:
                    raise _Malformed(LARGE_UPDATE)
                continue
            has_fields = True
            index, at = _read_integer(block, at, 0x7F if first & 0x80 else 0x3F if first & 0x40 else 0x0F)
            if not first & 0x80:
                if not index:
                    at = _skip_string(block, at)
                at = _skip_string(block, at)
    except _Malformed as fault:
        return begin, str(fault)
    return at, ""


def _read_integer(block: bytes, at: int, mask: int) -> "tuple[int, int]":
    """Return the integer (RFC 7541 section 5.1) whose prefix has these bits, and where it ends."""
    if at >= len(block):
        raise _Malformed(TRUNCATED)
    number = block[at] & mask
    at += 1
    if number < mask:
        return number, at
    for shift in range(0, 7 * INTEGER_BYTES, 7):
        if at >= len(block):
            raise _Malformed(TRUNCATED)
        byte = block[at]
        at += 1
        number += (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise _Malformed(LONG_INTEGER)


def _skip_string(block: bytes, at: int) -> int:
    """Return where the string (RFC 7541 section 5.2) ends."""
    size, at = _read_integer(block, at, 0x7F)
    if size > len(block) - at:
        raise _Malformed(TRUNCATED)
    return at + size
