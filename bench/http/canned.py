"""The ceilings: what a server answers that does not look at the request.

One is an event loop protocol in Python (``bench.http.bare``), the other a C program over epoll (``canned.c``).
"""

from __future__ import annotations

from pathlib import Path

from .. import scratch
from .workloads import Workload

SOURCE = Path(__file__).with_name("canned.c")


def canned_response(workload: Workload) -> bytes:
    """The response a real server would send, Date and Server included."""
    connection = b"Connection: close\r\n" if workload.close else b""
    return (
        b"HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\nserver: bare\r\n"
        b"content-type: text/plain\r\ncontent-length: %d\r\n%s\r\n" % (len(workload.expected), connection)
    ) + workload.expected


def program() -> str:
    """The path of the C program."""
    return scratch.program(SOURCE, "canned")


def arguments(workload: Workload, port: int) -> list[str]:
    """Its arguments."""
    response = scratch.write(f"response-{workload.name}", canned_response(workload))
    return [str(port), response, str(int(workload.close))]
