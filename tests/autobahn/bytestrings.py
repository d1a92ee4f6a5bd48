"""What a byte string of Python 2 is to the suite's code on Python 3: a `str` of code points below 256.

The suite mixes text and bytes freely, as Python 2 let it. Read as Latin-1, its sources keep every literal as the bytes
it was, and all it does with them still means the same. Only where its code meets the outside are they turned into bytes
and back. `suite.py` makes the suite's own files use what is here.
"""

from __future__ import annotations

import binascii
import codecs
from typing import Union


def to_bytes(value: Union[str, bytes]) -> bytes:
    return value.encode("latin-1") if isinstance(value, str) else value


def from_bytes(value: Union[str, bytes]) -> str:
    return value if isinstance(value, str) else bytes(value).decode("latin-1")


def b2a_hex(value: Union[str, bytes]) -> str:
    return binascii.hexlify(to_bytes(value)).decode("ascii")


hexlify = b2a_hex


class Utf8Validator:
    """Tells whether bytes are UTF-8, as they come; the interface is Autobahn's, where it asks byte by byte."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._total = 0

    def validate(self, value: Union[str, bytes]) -> tuple:
        """(valid so far, ends at a character's end, index of the wrong byte or length, the same from the start)."""
        data = to_bytes(value)
        try:
            self._decoder.decode(data)
        except UnicodeDecodeError as exc:
            return False, False, exc.start, self._total + exc.start
        self._total += len(data)
        return True, not self._decoder.getstate()[0], len(data), self._total


class XorMasker:
    """Masks as RFC 6455 5.3 says, all at once: the library's own goes byte by byte, which dwarfs what is measured."""

    def __init__(self, mask: bytes):
        self._mask = mask
        self._pointer = 0

    def pointer(self) -> int:
        return self._pointer

    def reset(self) -> None:
        self._pointer = 0

    def process(self, data: bytes) -> bytes:
        size, start = len(data), self._pointer & 3
        self._pointer += size
        key = (self._mask * (size // 4 + 2))[start : start + size]
        return (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")
