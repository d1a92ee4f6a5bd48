"""HTTP/2 requests as the load generator and the drivers of a single connection send them."""

from __future__ import annotations

from hpack import Encoder

from .workloads import AUTHORITY, Workload

HEADERS, END_STREAM, END_HEADERS = 1, 1, 4


def fields_of(workload: Workload) -> list[tuple[str, str]]:
    """The header fields of a request, the pseudo-header fields first."""
    scheme = "https" if workload.tls else "http"
    pseudo = ((":method", workload.method), (":scheme", scheme), (":authority", AUTHORITY), (":path", workload.path))
    return [*pseudo, *((name.lower(), value) for name, value in workload.headers)]


def requests(workload: Workload) -> bytes:
    """Two HEADERS frames without a stream: the first request of a connection, which puts fields into the table, and any
    later one, which refers to them, as clients do.
    """
    encoder = Encoder()
    made = b""
    for _ in range(2):
        fields = encoder.encode(fields_of(workload))
        made += len(fields).to_bytes(3, "big") + bytes([HEADERS, END_STREAM | END_HEADERS]) + bytes(4) + fields
    return made
