"""What is fed to a connection by the micro-benchmarks and the instruction counter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .http import apps
from .http.workloads import WORKLOADS
from .websocket import apps as websocket_apps
from .websocket.workloads import WORKLOADS as WEBSOCKET_WORKLOADS

ROWS = {row.name: row for row in WORKLOADS}
WEBSOCKET_ROWS = {row.name: row for row in WEBSOCKET_WORKLOADS}
READ_SIZE = 64 * 1024
#: The access log format that gunicorn has by default.
COMBINED = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'


@dataclass(frozen=True)
class Case:
    """``reads`` are the bytes of the calls of data_received() that make ``responses`` responses, each with ``body``.

    With ``log`` every request is logged, as *text* or *json* or in that access log format; with ``figures`` it is
    counted, as for ``--metrics-bind``. After an ``opening`` handshake there are no more requests: the reads are
    messages then, and ``body`` is the frame that answers them. With ``reconnects`` they all have a connection of their
    own, from its beginning to its end. With ``http2`` there are no reads: the driver makes them, with ``responses``
    streams each.
    """

    name: str
    app: Any
    reads: list[bytes]
    body: bytes
    responses: int = 1
    log: str = ""
    figures: bool = False
    opening: bytes = b""
    reconnects: bool = False
    http2: bool = False


def _split(data: bytes) -> list[bytes]:
    return [data[start : start + READ_SIZE] for start in range(0, len(data), READ_SIZE)]


def _chunked(chunk: bytes, count: int) -> bytes:
    head = b"POST / HTTP/1.1\r\nHost: bench.example\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + (b"%x\r\n%b\r\n" % (len(chunk), chunk)) * count + b"0\r\n\r\n"


_UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: bench.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)

CASES = {
    case.name: case
    for case in (
        Case("plaintext", apps.plaintext, [ROWS["plaintext"].request], apps.TEXT),
        Case("browser", apps.json_1k, [ROWS["browser"].request], apps.JSON),
        Case("pipelined", apps.plaintext, [ROWS["pipelined"].request * 16], apps.TEXT, responses=16),
        Case("post-1k", apps.echo, [ROWS["post-1k"].request], ROWS["post-1k"].expected),
        Case("post-64k", apps.echo, _split(ROWS["post-64k"].request), ROWS["post-64k"].expected),
        Case("chunked", apps.count, [_chunked(b"c" * 1024, 16)], b"16384"),
        Case("stream", apps.stream, [ROWS["stream"].request], b"400\r\n" + apps.CHUNK),
        Case("log-text", apps.plaintext, [ROWS["plaintext"].request], apps.TEXT, log="text"),
        Case("log-json", apps.plaintext, [ROWS["plaintext"].request], apps.TEXT, log="json"),
        Case("log-atoms", apps.plaintext, [ROWS["plaintext"].request], apps.TEXT, log=COMBINED),
        Case("metrics", apps.plaintext, [ROWS["plaintext"].request], apps.TEXT, figures=True),
        Case("connect", apps.plaintext, [ROWS["connect"].request], apps.TEXT, reconnects=True),
        Case("http2", apps.plaintext, [], apps.TEXT, responses=8, http2=True),
        Case(
            "websocket",
            websocket_apps.echo,
            [WEBSOCKET_ROWS["echo-64"].sent],
            WEBSOCKET_ROWS["echo-64"].expected,
            opening=_UPGRADE,
        ),
    )
}
