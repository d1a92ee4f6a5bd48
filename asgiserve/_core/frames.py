"""FrameCodec over wsproto: the pure twin of `_speedups/frames.pyx`.

The server's end of RFC 6455 sections 5 to 8 behind the opening handshake: bytes become whole messages, and messages
become frames. It knows neither the application nor the transport, and answers nothing by itself: pings, closes and
errors are told to its owner.
"""

from io import StringIO
from struct import pack, unpack_from
from typing import Any, Optional, Union

from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, Frame, FrameDecoder, FrameProtocol, Opcode, ParseFailed, RsvBits

from .._consts import (
    CLOSE_INVALID_DATA,
    CLOSE_NO_STATUS,
    CLOSE_PROTOCOL_ERROR,
    CLOSE_TOO_BIG,
    WS_BINARY,
    WS_CLOSE,
    WS_NEED_DATA,
    WS_TEXT,
)
from ..errors import FrameError
from .deflate import Deflate, DeflateParameters

_DETAILS = {
    CLOSE_PROTOCOL_ERROR: "protocol error",
    CLOSE_INVALID_DATA: "invalid UTF-8",
    CLOSE_TOO_BIG: "message too big",
}
_RSV1 = RsvBits(True, False, False)
_NO_RSV = RsvBits(False, False, False)


class FrameCodec:
    """Decodes what the peer of one connection sends, and encodes what is sent to it.

    feed() takes bytes and next_event() says what they are, one event at a time. What an event brings stands in
    registers until the next call. After WS_CLOSE or an error, nothing more is read.

    Attributes:
        payload: the message after WS_TEXT (str) and WS_BINARY (bytes), the application data after WS_PING and WS_PONG.
        code: the status of the peer's close frame after WS_CLOSE; CLOSE_NO_STATUS when there is none.
        reason: its reason.
        is_compressing: whether messages are sent compressed.
    """

    __slots__ = (
        "payload",
        "code",
        "reason",
        "is_compressing",
        "_hooks",
        "_protocol",
        "_input_size",
        "_text",
        "_binary",
        "_is_over",
    )

    def __init__(self, max_size: int, deflate: Optional[DeflateParameters]) -> None:
        """
        Args:
            max_size: the most bytes of a message, as sent and decompressed; -1 for any number.
            deflate: what was agreed about compression; None for nothing.
        """
        self.payload: Any = None
        self.code: int = CLOSE_NO_STATUS
        self.reason: str = ""
        self.is_compressing: bool = deflate is not None
        self._hooks: _Hooks = _Hooks(max_size, deflate)
        self._protocol: FrameProtocol = FrameProtocol(False, [self._hooks])
        self._input_size: int = 0  # bytes fed, until the end
        # What has come of a message that is not whole yet. Both grow with it, however small the pieces are.
        self._text: Optional[StringIO] = None
        self._binary: Optional[bytearray] = None
        self._is_over: bool = False

    def feed(self, data: bytes) -> None:
        """Take bytes from the peer."""
        if not self._is_over:
            self._input_size += len(data)
            self._protocol.receive_bytes(data)

    def next_event(self) -> int:
        """Return what comes next, one of the WS_ numbers.

        Raises:
            FrameError: the peer broke a rule.
        """
        self.payload = None
        if self._is_over:
            return WS_NEED_DATA
        try:
            for frame in self._protocol.received_frames():
                event = self._take(frame)
                if event != WS_NEED_DATA:
                    return event
        except ParseFailed as error:
            self._stop()
            code = int(error.code)
            raise FrameError(code, _DETAILS[code]) from None
        except FrameError:
            self._stop()
            raise
        return WS_NEED_DATA

    def input_size(self) -> int:
        """Bytes of input that no event and no message that is being collected has taken."""
        return 0 if self._is_over else self._input_size - self._hooks.taken

    def _stop(self) -> None:
        self._is_over = True
        self._text = self._binary = None

    def _take(self, frame: Frame) -> int:
        """Take a frame, or the part of one that has come; return the event that it makes, if any."""
        opcode = frame.opcode
        payload: Any = frame.payload
        if opcode is Opcode.TEXT:
            if frame.message_finished:
                self.payload = self._finish_text(payload)
                return WS_TEXT
            if payload:
                if self._text is None:
                    self._text = StringIO()
                self._text.write(payload)
            return WS_NEED_DATA
        if opcode is Opcode.BINARY:
            if frame.message_finished:
                self.payload = self._finish_binary(payload)
                return WS_BINARY
            if payload:
                if self._binary is None:
                    self._binary = bytearray()
                self._binary += payload
            return WS_NEED_DATA
        if opcode is Opcode.CLOSE:
            self._take_close(self._hooks.close_payload)
            self._stop()
            return WS_CLOSE
        self.payload = bytes(payload)
        return int(opcode)

    def _finish_text(self, payload: str) -> str:
        text = self._text
        if text is None:
            return payload
        self._text = None
        text.write(payload)
        return text.getvalue()

    def _finish_binary(self, payload: bytes) -> bytes:
        data = self._binary
        if data is None:
            return bytes(payload)
        self._binary = None
        data += payload
        return bytes(data)

    def _take_close(self, payload: bytes) -> None:
        """Read the payload of a close frame (RFC 6455 sections 5.5.1 and 7.4)."""
        self.code = CLOSE_NO_STATUS
        self.reason = ""
        if not payload:
            return
        code = unpack_from("!H", payload)[0] if len(payload) > 1 else 0
        if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
            raise FrameError(CLOSE_PROTOCOL_ERROR, "protocol error")
        try:
            self.reason = payload[2:].decode()
        except UnicodeDecodeError:
            raise FrameError(CLOSE_INVALID_DATA, "invalid UTF-8") from None
        self.code = code

    def encode_text(self, text: str) -> bytes:
        """Return `text` as a message of one frame."""
        return bytes(self._protocol.send_data(text))

    def encode_binary(self, data: bytes) -> bytes:
        """Return `data` as a message of one frame."""
        return bytes(self._protocol.send_data(data))

    def encode_head(self, opcode: int, size: int) -> bytes:
        """Return the head of a message of one frame, not compressed, whose `size` bytes are sent behind it."""
        if size < 126:
            return pack("!BB", 0x80 | opcode, size)
        if size < 65536:
            return pack("!BBH", 0x80 | opcode, 126, size)
        return pack("!BBQ", 0x80 | opcode, 127, size)

    def encode_ping(self, payload: bytes) -> bytes:
        """Return a ping frame; `payload` has 125 bytes at most."""
        return bytes(self._protocol.ping(payload))

    def encode_pong(self, payload: bytes) -> bytes:
        """Return a pong frame; `payload` has 125 bytes at most."""
        return bytes(self._protocol.pong(payload))

    def encode_close(self, code: int, reason: str) -> bytes:
        """Return a close frame, with as much of `reason` as fits; an empty one for CLOSE_NO_STATUS.

        The other two codes that are not for the wire (RFC 6455 section 7.4.1) become 1000.
        """
        if code == CLOSE_NO_STATUS:
            return bytes(self._protocol.close())
        return bytes(self._protocol.close(code, reason))


class _Hooks(Extension):
    """What wsproto asks about each frame: here are its size, its place in the message, and compression.

    wsproto keeps the other rules. Its order is the compiled twin's too: opcode, length, these rules, mask.

    Attributes:
        taken: bytes of input in frames that wsproto took, whole or in part.
        close_payload: of the close frame.
    """

    __slots__ = (
        "taken",
        "close_payload",
        "_max_size",
        "_deflate",
        "_opcode",
        "_left",
        "_head_size",
        "_in_message",
        "_is_text",
        "_is_compressed",
        "_received",
        "_tail",
        "_parts",
        "_rest",
    )

    name = "asgiserve"

    def __init__(self, max_size: int, deflate: Optional[DeflateParameters]) -> None:
        self.taken: int = 0
        self.close_payload: bytes = b""
        self._max_size: int = max_size
        self._deflate: Optional[Deflate] = Deflate(deflate) if deflate is not None else None
        # The frame: its opcode, the bytes of it that are still to come, and those of its head, until they are counted.
        self._opcode: Opcode = Opcode.CONTINUATION
        self._left: int = 0
        self._head_size: int = 0
        # The message: how many bytes of it came, and what a compressed one has grown to.
        self._in_message: bool = False
        self._is_text: bool = False
        self._is_compressed: bool = False
        self._received: int = 0
        self._tail: bytes = b""
        self._parts: bytearray = bytearray()
        self._rest: bytes = b""

    def enabled(self) -> bool:
        return True

    def offer(self) -> Union[bool, str]:
        return False  # the handshake is over

    def frame_inbound_header(
        self, proto: Union[FrameDecoder, FrameProtocol], opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> Union[CloseReason, RsvBits]:
        # wsproto asks again while the masking key is incomplete: nothing is decided here but for this frame.
        is_data = opcode is Opcode.TEXT or opcode is Opcode.BINARY
        if rsv.rsv2 or rsv.rsv3 or (rsv.rsv1 and not (is_data and self._deflate is not None)):
            return CloseReason.PROTOCOL_ERROR
        if not opcode.iscontrol():
            if is_data == self._in_message:
                return CloseReason.PROTOCOL_ERROR
            if 0 <= self._max_size < self._received + payload_length:
                return CloseReason.MESSAGE_TOO_BIG
        if is_data:
            self._is_text = opcode is Opcode.TEXT
            self._is_compressed = rsv.rsv1
        self._opcode = opcode
        self._left = payload_length
        self._head_size = 6 if payload_length < 126 else 8 if payload_length < 65536 else 14
        return _RSV1 if rsv.rsv1 else _NO_RSV

    def frame_inbound_payload_data(
        self, proto: Union[FrameDecoder, FrameProtocol], data: bytes
    ) -> Union[bytes, CloseReason]:
        size = len(data)
        self.taken += self._head_size + size
        self._head_size = 0
        self._left -= size
        if self._opcode.iscontrol():
            if self._opcode is Opcode.CLOSE:
                self.close_payload = bytes(data)
                return b""
            return data
        self._received += size
        if not self._is_compressed:
            if self._is_text:
                # Half of a pair of UTF-16: Python's decoder waits for its third byte, which cannot help.
                self._tail = (self._tail + data[-2:])[-2:]
                if self._tail[:1] == b"\xed" and self._tail[1:] >= b"\xa0":
                    return CloseReason.INVALID_FRAME_PAYLOAD_DATA
            return data
        if self._left:
            self._decompress(bytes(data), False)
        else:
            self._rest = bytes(data)
        return b""

    def frame_inbound_complete(
        self, proto: Union[FrameDecoder, FrameProtocol], fin: bool
    ) -> Union[bytes, CloseReason, None]:
        if self._opcode.iscontrol():
            return None
        self._in_message = not fin
        if fin:
            self._received = 0
            self._tail = b""
        if not self._is_compressed:
            return None
        self._decompress(self._rest, fin)
        if not fin:
            return None
        parts, self._parts = self._parts, bytearray()
        self._rest = b""
        return bytes(parts)

    def _decompress(self, data: bytes, is_last: bool) -> None:
        """Decompress a part. wsproto gets it with the whole message: where UTF-8 fails must not depend on the parts."""
        assert self._deflate is not None
        limit = self._max_size - len(self._parts) if self._max_size >= 0 else -1
        self._parts += self._deflate.decompress(data, limit, is_last)

    def frame_outbound(
        self, proto: Union[FrameDecoder, FrameProtocol], opcode: Opcode, rsv: RsvBits, data: bytes, fin: bool
    ) -> "tuple[RsvBits, bytes]":
        if self._deflate is None or opcode.iscontrol():
            return rsv, data
        return _RSV1, self._deflate.compress(data)
