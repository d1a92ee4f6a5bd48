"""The table of workloads: what is sent, which application answers, what must come back.

A new row of the comparison is one entry here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Union

from . import apps

Headers = tuple[tuple[str, str], ...]

AUTHORITY = "bench.example"

BROWSER_HEADERS: Headers = (
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    ("Accept-Language", "en-GB,en;q=0.7,de;q=0.3"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Referer", "https://www.example.com/catalogue/shoes?page=3&sort=price"),
    ("Connection", "keep-alive"),
    ("Cookie", "session=8d2f6c3e1b9a47f0a5c4; theme=dark; consent=necessary%2Cstatistics; cart=17"),
    ("Upgrade-Insecure-Requests", "1"),
    ("Sec-Fetch-Dest", "document"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Site", "same-origin"),
    ("Sec-Fetch-User", "?1"),
    ("Sec-GPC", "1"),
    ("DNT", "1"),
    ("Priority", "u=0, i"),
    ("Pragma", "no-cache"),
    ("Cache-Control", "no-cache"),
    ("X-Requested-With", "XMLHttpRequest"),
    ("X-Request-ID", "5f0c7a52-9d6e-4a3b-8f43-0d2c1b7e9a10"),
)


CLIENT_HEADERS: Headers = (("User-Agent", "curl/8.14.1"), ("Accept", "*/*"))


@dataclass(frozen=True)
class Workload:
    """One row.

    ``app`` is ``module:attribute``; ``expected`` the exact response body; ``target`` the least capacity relative to
    uvicorn (httptools, uvloop) that asgiserve promises, or the server that it promises not to be dearer than. ``depth``
    requests are written at once. ``canned`` rows can also be answered by a server that does not parse. ``tls`` rows are
    HTTPS with TLS 1.3. ``http2`` rows are HTTP/2, on connections with ``depth`` streams at a time; there is no body.

    A row that ``is_beside`` the one before it is compared with that, and has its rounds together with it.

    ``kind`` is what is measured: *flat*, under all the load that the server takes; *rate*, at ``rate`` requests per
    second; *idle*, the memory of connections that have made a request; *held*, that of requests whose response has
    begun with ``expected`` and does not end; *start*, the way to the first response.
    """

    name: str
    title: str
    app: str
    expected: bytes
    target: Optional[Union[float, str]] = None
    kind: str = "flat"
    method: str = "GET"
    path: str = "/"
    headers: Headers = ()
    body: bytes = b""
    depth: int = 1
    connections: int = 64
    access_log: bool = False
    close: bool = False
    canned: bool = False
    tls: bool = False
    http2: bool = False
    is_beside: bool = False
    rate: int = 0

    @property
    def is_silent(self) -> bool:
        """Whether connections are to stay open without traffic."""
        return self.kind in ("idle", "held")

    @property
    def request(self) -> bytes:
        """The bytes of one request over HTTP/1.1, the same for the check and for the load generator."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {AUTHORITY}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.body:
            lines.append(f"Content-Length: {len(self.body)}")
        if self.close:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode() + self.body


def _app(name: str) -> str:
    return f"bench.http.apps:{name}"


KIB = 1024
MIB = 1024 * KIB
BYTES = bytes(range(256))

WORKLOADS = [
    Workload("plaintext", "plaintext, keep-alive", _app("plaintext"), apps.TEXT, 3.0, canned=True),
    Workload("logged", "plaintext, access log on", _app("plaintext"), apps.TEXT, 5.0, access_log=True, is_beside=True),
    Workload("pipelined", "pipelined, depth 16", _app("plaintext"), apps.TEXT, 4.0, depth=16, canned=True),
    Workload(
        "browser",
        "20 browser headers, query, 1 KiB JSON",
        _app("json_1k"),
        apps.JSON,
        2.5,
        path="/api/v1/search?q=running+shoes&page=3&sort=price&filter=size%3A42",
        headers=BROWSER_HEADERS,
        canned=True,
    ),
    Workload("post-1k", "POST 1 KiB echo", _app("echo"), BYTES * 4, 2.0, method="POST", body=BYTES * 4),
    Workload("post-64k", "POST 64 KiB echo", _app("echo"), BYTES * 256, 1.5, method="POST", body=BYTES * 256),
    Workload(
        "post-1m",
        "POST 1 MiB, read and counted",
        _app("count"),
        b"1048576",
        3.0,
        method="POST",
        body=BYTES * 4096,
        connections=16,
    ),
    Workload("large", "1 MiB response", _app("large"), apps.LARGE, 1.4, connections=16, canned=True),
    Workload("stream", "stream of 100 x 1 KiB", _app("stream"), apps.CHUNK * apps.CHUNKS, 2.0),
    Workload("sleep-1", "app awaits sleep(0) once", _app("sleep_once"), apps.TEXT, 1.7),
    Workload("sleep-10", "app awaits sleep(0) ten times", _app("sleep_ten"), apps.TEXT, 1.4),
    Workload(
        "fastapi",
        "FastAPI JSON route",
        "bench.http.fastapi_app:app",
        b'{"item_id":42,"q":"shoes"}',
        1.1,
        path="/items/42?q=shoes",
    ),
    Workload("tls", "plaintext over TLS 1.3", _app("plaintext"), apps.TEXT, 2.0, canned=True, tls=True),
    Workload(
        "http2",
        "plaintext, HTTP/2",
        _app("plaintext"),
        apps.TEXT,
        "granian",
        headers=CLIENT_HEADERS,
        depth=8,
        connections=16,
        http2=True,
    ),
    Workload(
        "http2-tls",
        "plaintext, HTTP/2 over TLS 1.3",
        _app("plaintext"),
        apps.TEXT,
        "granian",
        headers=CLIENT_HEADERS,
        depth=8,
        connections=16,
        tls=True,
        http2=True,
    ),
    Workload(
        "connect",
        "new connection per request",
        _app("plaintext"),
        apps.TEXT,
        2.4,
        connections=32,
        close=True,
        canned=True,
    ),
    Workload(
        "latency",
        "plaintext, 10,000 requests per second",
        _app("plaintext"),
        apps.TEXT,
        kind="rate",
        rate=10_000,
        canned=True,
    ),
    Workload("idle", "idle connections", _app("plaintext"), apps.TEXT, kind="idle", connections=5000, canned=True),
    Workload("held", "requests in flight", _app("hold"), apps.CHUNK, kind="held", connections=5000),
    Workload("start", "start", _app("plaintext"), apps.TEXT, kind="start"),
]
