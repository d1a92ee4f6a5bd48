"""FrameSplitter: from the bytes of an HTTP/2 connection to whole frames (RFC 9113 sections 3.4 and 4).

It sees the heads of frames only: it holds them against the limits before their content is collected, and keeps header
blocks in one piece. What a frame means is others' business.
"""

from .._consts import (
    ENHANCE_YOUR_CALM,
    FLAG_ACK,
    FLAG_END_HEADERS,
    FRAME_CONTINUATION,
    FRAME_HEAD_SIZE,
    FRAME_HEADERS,
    FRAME_LIMIT,
    FRAME_SETTINGS,
    FRAME_SIZE_ERROR,
    PROTOCOL_ERROR,
)
from ..errors import ConnectionFault

#: What a client sends first.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#: Frames of a header block, beside those that its size needs.
MAX_CONTINUATIONS = 16


class FrameSplitter:
    """Splits the input of one connection.

    feed() takes bytes; next_frame() says whether there is a frame, until there is none left. The registers belong to
    that frame, or to the one whose rest has yet to come. next_frame() raises only ConnectionFault, and after that the
    splitter is of no further use.

    Args:
        block_limit: bytes of a compressed header block.

    Attributes:
        kind: the frame's type; -1 while there is none.
        flags: its flags.
        stream_id: its stream; 0 for the connection.
        size: bytes in it, without its head.
        content: these bytes, once they are there, and until the next call.
        is_in_block: whether a header block has begun and its end has yet to come.
    """

    __slots__ = (
        "kind",
        "flags",
        "stream_id",
        "size",
        "content",
        "is_in_block",
        "_buffer",
        "_pos",
        "_is_preface_due",
        "_is_settings_due",
        "_is_head_read",
        "_block_limit",
        "_block_stream",
        "_block_size",
        "_block_frames",
    )

    def __init__(self, block_limit: int) -> None:
        self.kind: int = -1
        self.flags: int = 0
        self.stream_id: int = 0
        self.size: int = 0
        self.content: bytes = b""
        self.is_in_block: bool = False
        self._buffer: bytes = b""
        self._pos: int = 0  # where the unread input begins
        self._is_preface_due: bool = True
        self._is_settings_due: bool = True
        self._is_head_read: bool = False  # the registers are those of the frame at _pos
        self._block_limit: int = block_limit
        self._block_stream: int = 0
        self._block_size: int = 0
        self._block_frames: int = 0

    def feed(self, data: bytes) -> None:
        """Add input."""
        if self._pos == len(self._buffer):
            self._buffer = data
        else:
            self._buffer = self._buffer[self._pos :] + data
        self._pos = 0

    def drop_input(self) -> None:
        """Forget what no frame was made of."""
        self._buffer = b""
        self._pos = 0
        self.kind = -1
        self._is_head_read = False

    def next_frame(self) -> bool:
        """Go on to the next frame; return whether it has come in full.

        Raises:
            ConnectionFault: the frame is too large, or not allowed here.
        """
        self.content = b""
        if self._is_preface_due and not self._take_preface():
            return False
        available = len(self._buffer) - self._pos
        if not self._is_head_read:
            if available < FRAME_HEAD_SIZE:
                self.kind = -1
                return False
            self._read_head()
            self._is_head_read = True
        if available < FRAME_HEAD_SIZE + self.size:
            return False
        self._is_head_read = False
        start = self._pos + FRAME_HEAD_SIZE
        self._pos = start + self.size
        self.content = self._buffer[start : self._pos]
        if self._pos == len(self._buffer):
            self._buffer = b""
            self._pos = 0
        return True

    def _take_preface(self) -> bool:
        """Skip the preface; return whether it was there."""
        size = len(PREFACE)
        found = self._buffer[:size]
        if found != PREFACE[: len(found)]:
            raise ConnectionFault(PROTOCOL_ERROR, "invalid connection preface")
        if len(found) < size:
            return False
        self._is_preface_due = False
        self._pos = size
        return True

    def _read_head(self) -> None:
        """Read and judge the head of a frame (section 4.1)."""
        buffer = self._buffer
        at = self._pos
        size = (buffer[at] * 256 + buffer[at + 1]) * 256 + buffer[at + 2]
        kind = buffer[at + 3]
        self.size = size
        self.kind = kind
        self.flags = buffer[at + 4]
        number = buffer[at + 5] & 0x7F  # the first bit means nothing
        for place in range(at + 6, at + 9):
            number = number << 8 | buffer[place]
        self.stream_id = number
        if size > FRAME_LIMIT:
            raise ConnectionFault(FRAME_SIZE_ERROR, "frame of %d bytes" % size)
        if self._is_settings_due:
            if kind != FRAME_SETTINGS or self.flags & FLAG_ACK:
                raise ConnectionFault(PROTOCOL_ERROR, "the first frame is not SETTINGS")
            self._is_settings_due = False
        if self.is_in_block:
            if kind != FRAME_CONTINUATION or self.stream_id != self._block_stream:
                raise ConnectionFault(PROTOCOL_ERROR, "another frame within a header block")
            self._extend_block(size)
        elif kind == FRAME_CONTINUATION:
            raise ConnectionFault(PROTOCOL_ERROR, "CONTINUATION outside of a header block")
        elif kind == FRAME_HEADERS:
            self.is_in_block = True
            self._block_stream = self.stream_id
            self._block_size = self._block_frames = 0
            self._extend_block(size)

    def _extend_block(self, size: int) -> None:
        """Count a frame of a header block: it is collected until its end, whatever comes of it."""
        self._block_size += size
        self._block_frames += 1
        if self._block_size > self._block_limit:
            raise ConnectionFault(ENHANCE_YOUR_CALM, "header block too large")
        if self._block_frames > MAX_CONTINUATIONS + self._block_limit // FRAME_LIMIT:
            raise ConnectionFault(ENHANCE_YOUR_CALM, "too many CONTINUATION frames")
        if self.flags & FLAG_END_HEADERS:
            self.is_in_block = False
