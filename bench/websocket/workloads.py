"""The table of workloads: what is sent by how many connections, and which application answers.

A new row of the comparison is one entry here.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Optional

TEXT, BINARY = 1, 2
_MASK = b"\x37\xfa\x21\x3d"


@dataclass(frozen=True)
class Workload:
    """One row.

    ``kind`` is what the load generator does: *echo* keeps ``depth`` messages in flight on every connection,
    *broadcast* sends on one of them what all of them get, *idle* echoes one message per connection and is silent then.
    ``target`` is the least capacity relative to uvicorn's default that asgiserve promises. ``canned`` rows can also be
    done by a listener that is no server.
    """

    name: str
    title: str
    kind: str
    app: str
    payload: bytes
    opcode: int = BINARY
    connections: int = 64
    depth: int = 1
    deflate: bool = False
    target: Optional[float] = None
    canned: bool = True

    @property
    def message(self) -> str | bytes:
        """What the application gets and sends."""
        return self.payload.decode() if self.opcode == TEXT else self.payload

    @property
    def sent(self) -> bytes:
        """The client's frame."""
        return _client_frame(0x80 | self.opcode, self.payload)

    @property
    def compressed(self) -> bytes:
        """The client's frame where compression was agreed. No window is too small for it."""
        compressor = zlib.compressobj(wbits=-9)
        payload = compressor.compress(self.payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
        return _client_frame(0xC0 | self.opcode, payload[:-4])

    @property
    def expected(self) -> bytes:
        """The server's frame, not compressed."""
        return _head(0x80 | self.opcode, len(self.payload), 0) + self.payload


def _client_frame(first: int, payload: bytes) -> bytes:
    masked = bytes(byte ^ _MASK[place & 3] for place, byte in enumerate(payload))
    return _head(first, len(payload), 0x80) + _MASK + masked


def _head(first: int, size: int, masked: int) -> bytes:
    if size < 126:
        return bytes((first, masked | size))
    if size < 1 << 16:
        return struct.pack("!BBH", first, masked | 126, size)
    return struct.pack("!BBQ", first, masked | 127, size)


def _app(name: str) -> str:
    return f"bench.websocket.apps:{name}"


SMALL = b'{"type":"position","id":4711,"x":12.75,"y":-3.5,"t":1760000000}\n'
BYTES = bytes(range(256))

WORKLOADS = [
    Workload("echo-text", "echo 64 B, text", "echo", _app("echo"), SMALL, TEXT, target=2.5),
    Workload("echo-64", "echo 64 B, binary", "echo", _app("echo"), BYTES[:64], target=2.5),
    Workload("echo-64k", "echo 64 KiB, binary", "echo", _app("echo"), BYTES * 256, connections=16, target=1.4),
    Workload(
        "broadcast",
        "broadcast 64 B to 1,000, per recipient",
        "broadcast",
        _app("broadcast"),
        BYTES[:64],
        connections=1000,
        depth=2,
    ),
    Workload("idle", "idle connections", "idle", _app("echo"), SMALL, TEXT, connections=10_000),
    Workload(
        "idle-deflate",
        "idle connections, permessage-deflate",
        "idle",
        _app("echo"),
        SMALL,
        TEXT,
        connections=10_000,
        deflate=True,
        canned=False,
    ),
]

assert len(SMALL) == 64
