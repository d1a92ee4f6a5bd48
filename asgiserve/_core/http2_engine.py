"""HTTP2Engine: the state machines, windows and header compression of one connection, which are those of `h2`.

h2 is strict in ways that a server cannot use: it ends the connection where RFC 9113 asks for the end of a stream, and
sends nothing more once GOAWAY was said by either side. So it gets to see neither the fields of requests, which are
judged in `http2_request`, nor GOAWAY.
"""

from collections.abc import Iterable
from typing import Any

from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.exceptions import H2Error, StreamClosedError
from h2.settings import SettingCodes, Settings
from hpack import Decoder

from .._consts import (
    CONNECTION_WINDOW,
    FRAME_LIMIT,
    MAX_STREAMS,
    PROTOCOL_ERROR,
    STREAM_WINDOW,
)
from ..errors import ConnectionFault

#: What a field costs in memory, beside its bytes (RFC 9113 section 6.5.2).
FIELD_OVERHEAD = 32
#: Bytes of the table for the compression of our fields; a client may ask for less, not for more.
TABLE_SIZE = 4096
_KNOWN_SETTINGS = frozenset([int(code) for code in SettingCodes])
#: The window of a connection before anything was said about it.
_DEFAULT_WINDOW = 65535


class FieldDecoder(Decoder):
    """Decodes header blocks, and keeps the fields of the last one from h2.

    Attributes:
        fields: (name, value) pairs as received.
    """

    __slots__ = ("fields",)

    def __init__(self, max_size: int) -> None:
        super().__init__(max_size)
        self.fields: Any = ()

    def decode(self, data: bytes, raw: bool = False) -> "Iterable[Any]":
        """Return nothing; `fields` has it."""
        self.fields = super().decode(data, raw=True)
        return []


class HTTP2Engine(H2Connection):
    """The engine of one connection, on the side of the server.

    Args:
        header_size, header_fields: a request with more in its header section is refused. Well above that it is not
            even decoded, and the connection ends.

    Attributes:
        block_limit: bytes of the largest header section that is decoded.
    """

    __slots__ = ("block_limit",)

    #: Streams of which it is remembered how they ended; h2 has 64 times as many.
    MAX_CLOSED_STREAMS = 1024

    def __init__(self, header_size: int, header_fields: int) -> None:
        super().__init__(_CONFIGURATION)
        self.block_limit = 2 * (header_size + FIELD_OVERHEAD * header_fields)
        self.decoder = FieldDecoder(self.block_limit)
        self.local_settings = _settings(MAX_STREAMS, header_size)
        self.initiate_connection()
        # From here on we count the streams: too many are refused, for h2 they would be the end of the connection.
        self.local_settings = _settings(2**31 - 1, header_size)
        self.increment_flow_control_window(CONNECTION_WINDOW - _DEFAULT_WINDOW)

    def take(self, frame: bytes) -> "list[Any]":
        """Act on a frame; return the events that it brings.

        Raises:
            ConnectionFault: it breaks a rule.
        """
        try:
            return self.receive_data(frame)
        except H2Error as error:
            fault = ConnectionFault(int(getattr(error, "error_code", PROTOCOL_ERROR)), _reason(error))
        except Exception as error:  # the layers below h2 have many ways to fail on what is malformed
            fault = ConnectionFault(PROTOCOL_ERROR, "%s: %s" % (type(error).__name__, _reason(error)))
        self.clear_outbound_data_buffer()  # of a GOAWAY; the fault will have another
        self.state_machine.state = ConnectionState.SERVER_OPEN  # what came before may still be answered
        raise fault

    def reset(self, stream_id: int, code: int) -> None:
        """End a stream; nothing happens when it has ended."""
        try:
            self.reset_stream(stream_id, code)
        except StreamClosedError:
            pass


_CONFIGURATION = H2Configuration(
    client_side=False,
    header_encoding=None,
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
    validate_inbound_headers=False,
    normalize_inbound_headers=False,
)


def _settings(max_streams: int, header_size: int) -> Settings:
    return Settings(
        client=False,
        initial_values={
            SettingCodes.MAX_CONCURRENT_STREAMS: max_streams,
            SettingCodes.MAX_HEADER_LIST_SIZE: header_size,
            SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            SettingCodes.MAX_FRAME_SIZE: FRAME_LIMIT,
        },
    )


def _reason(error: Exception) -> str:
    """What is wrong, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def trim_settings(frame: bytes) -> bytes:
    """Return a SETTINGS frame without what would only cost memory: settings that nobody knows, a large table."""
    content = frame[9:]
    if len(content) % 6:
        return frame  # h2 refuses it
    kept = []
    for start in range(0, len(content), 6):
        setting = int.from_bytes(content[start : start + 2], "big")
        if setting == SettingCodes.HEADER_TABLE_SIZE:
            value = min(int.from_bytes(content[start + 2 : start + 6], "big"), TABLE_SIZE)
            kept.append(content[start : start + 2] + value.to_bytes(4, "big"))
        elif setting in _KNOWN_SETTINGS:
            kept.append(content[start : start + 6])
    content = b"".join(kept)
    return len(content).to_bytes(3, "big") + frame[3:9] + content


def goaway(last_stream_id: int, code: int, detail: str) -> bytes:
    """Return a GOAWAY frame (RFC 9113 section 6.8)."""
    debug = detail.encode("ascii", "replace")[:256]
    head = (8 + len(debug)).to_bytes(3, "big") + b"\7\0\0\0\0\0"
    return head + last_stream_id.to_bytes(4, "big") + code.to_bytes(4, "big") + debug
