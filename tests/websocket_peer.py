"""The client's end of a WebSocket on the harness, over wsproto: it builds masked frames and reads ours strictly."""

from __future__ import annotations

from typing import Any, List, Sequence, Tuple

from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import FrameProtocol, Opcode

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 section 1.3


def handshake(*fields: str, target: str = "/", key: str = KEY, version: str = "13") -> bytes:
    """An opening handshake."""
    lines = [
        f"GET {target} HTTP/1.1",
        "Host: h",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        f"Sec-WebSocket-Version: {version}",
        *fields,
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


class Peer:
    """A WebSocket client on a harness Client."""

    def __init__(self, client: Any, *fields: str, deflate: bool = False, behind: bytes = b"") -> None:
        self.client = client
        self.head = b""
        self.protocol = FrameProtocol(client=True, extensions=[])
        if deflate:
            extension = PerMessageDeflate()
            fields = (*fields, "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
        client.feed(handshake(*fields) + behind)
        output = client.take_output()
        head, end, rest = output.partition(b"\r\n\r\n")
        self.head = head + end
        if deflate:
            for line in head.split(b"\r\n"):
                name, _, value = line.partition(b": ")
                if name.lower() == b"sec-websocket-extensions":
                    extension.finalize(value.decode())
            self.protocol = FrameProtocol(client=True, extensions=[extension])
        self._rest = rest

    @property
    def status(self) -> int:
        return int(self.head.split(b" ")[1])

    def field(self, name: str) -> Any:
        """The value of a field of the response to the handshake, or None."""
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b": ")
            if key.decode() == name:
                return value.decode()
        return None

    # -- sending

    def text(self, text: str, fin: bool = True) -> bytes:
        return bytes(self.protocol.send_data(text, fin))

    def data(self, data: bytes, fin: bool = True) -> bytes:
        return bytes(self.protocol.send_data(data, fin))

    def ping(self, payload: bytes = b"") -> bytes:
        return bytes(self.protocol.ping(payload))

    def pong(self, payload: bytes = b"") -> bytes:
        return bytes(self.protocol.pong(payload))

    def close(self, code: Any = None, reason: str = "") -> bytes:
        return bytes(self.protocol.close(code, reason))

    def feed(self, *frames: bytes) -> Peer:
        """Send frames as one segment."""
        self.client.feed(b"".join(frames))
        return self

    # -- receiving

    def frames(self) -> List[Tuple[str, Any]]:
        """The whole frames that came since the last call, as (opcode name, payload)."""
        data, self._rest = self._rest + self.client.take_output(), b""
        self.protocol.receive_bytes(data)
        found: List[Tuple[str, Any]] = []
        parts: List[Any] = []
        for frame in self.protocol.received_frames():
            if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONTINUATION):
                parts.append(frame.payload)
                if frame.message_finished:
                    found.append(("str" if isinstance(parts[0], str) else "bytes", _join(parts)))
                    parts = []
            elif frame.opcode is Opcode.CLOSE:
                code, reason = frame.payload
                found.append(("close", (int(code), reason or "")))
            else:
                found.append((frame.opcode.name.lower(), bytes(frame.payload)))
        return found


def _join(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], str):
        return "".join(parts)
    return b"".join(bytes(part) for part in parts)
