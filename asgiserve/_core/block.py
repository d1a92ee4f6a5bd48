"""Block: memory that a transport reads into and that is then handed on. The pure twin of `_speedups/block.pyx`."""

from typing import Any


class Block:
    """One read at a time: view(), then take()."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data: Any = None

    def view(self, size: int) -> Any:
        """Return a writable buffer of `size` bytes."""
        self._data = bytearray(size)
        return self._data

    def take(self, size: int) -> bytes:
        """Return the first `size` bytes of what view() returned, which is not to be used any more."""
        data = bytes(memoryview(self._data)[:size])
        self._data = None
        return data
