"""The limits on what a request may bring. The corpus has the exact bounds; here is what a limit is for: memory."""

from __future__ import annotations

import pytest
from harness import GET, request, serve

from core.apps import Gated, Idle, echo, hello

CHUNKED = request("POST", "/", "Transfer-Encoding: chunked")
KIB, MIB = 1024, 1024 * 1024


def flood(client, piece, size):
    """Send up to `size` bytes in pieces until the server ends the connection. Returns how many it took."""
    sent = 0
    while sent < size and not client.ended:
        client.feed(piece)
        sent += len(piece)
    return sent


FLOODS = {
    # what comes first, the piece that is repeated, the statuses that end it, after how many bytes at most
    "request line": (b"GET /", b"a" * KIB, (414,), 18 * KIB),
    "method": (b"", b"A" * KIB, (400, 414, 501), 18 * KIB),
    "query": (b"GET /?", b"a" * KIB, (414,), 18 * KIB),
    "one field": (b"GET / HTTP/1.1\r\nHost: h\r\nX: ", b"a" * KIB, (431,), 66 * KIB),
    "a field name": (b"GET / HTTP/1.1\r\nHost: h\r\n", b"a" * KIB, (431,), 66 * KIB),
    "many fields": (b"GET / HTTP/1.1\r\nHost: h\r\n", b"a: b\r\n" * 100, (431,), 3 * KIB),
    "fields of many bytes": (b"GET / HTTP/1.1\r\nHost: h\r\n", b"a: " + b"b" * KIB + b"\r\n", (431,), 68 * KIB),
    "empty lines": (b"", b"\r\n" * 100, (400,), KIB),
    "chunk size": (CHUNKED, b"0" * KIB, (400,), 8 * KIB),
    "chunk extension": (CHUNKED, b"1;" + b"a" * KIB, (400,), 80 * KIB),
    "trailers": (CHUNKED + b"0\r\n", b"a: b\r\n" * 100, (400, 431), 80 * KIB),
    "one trailer": (CHUNKED + b"0\r\n", b"a" * KIB, (400, 431), 80 * KIB),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_floods_are_stopped(stack, kind):
    first, piece, statuses, bound = FLOODS[kind]
    client = serve(stack, Idle())
    client.feed(first)
    assert flood(client, piece, 10 * MIB) <= bound
    assert client.response().status in statuses
    assert client.ended


@pytest.mark.parametrize("piece", [KIB, 64 * KIB, MIB])
def test_header_flood_takes_no_memory(stack, traced, piece):
    """Also when it comes in few large reads, and goes on behind the error."""
    client = serve(stack, hello)
    data = b"a" * piece
    client.feed(b"GET / HTTP/1.1\r\nHost: h\r\nX: ")
    before, _ = traced()
    for _ in range(8 * MIB // piece):
        client.feed(data)
    peak = traced()[1] - before
    assert client.response().status == 431
    assert peak < 4 * piece + 512 * KIB


def test_pipelined_flood_takes_no_memory(stack, traced):
    """Requests that wait are not parsed, and stay with the client beyond one read."""
    app = Gated()
    client = serve(stack, app)
    data = GET * 1000
    before, _ = traced()
    for _ in range(100):
        client.feed(data)
    now = traced()[0] - before
    assert client.paused
    assert client.waiting >= 100 * len(data) - 128 * KIB
    assert len(app.started) == 1
    # Beyond what waits in the inbox, which is no memory of the server.
    assert now < client.waiting + 256 * KIB


def test_large_content_length_is_refused_before_the_app(stack):
    client = serve(stack, echo, limit_request_body=1000)
    client.feed(request("POST", "/", "Content-Length: 1001"))
    assert client.response().status == 413
    assert client.scopes == []


def test_large_chunked_body_is_refused_while_it_comes(stack):
    app = Idle()
    client = serve(stack, app, limit_request_body=1000)
    client.feed(CHUNKED)
    taken = flood(client, b"64\r\n" + b"x" * 100 + b"\r\n", MIB)
    assert taken <= 1200
    assert client.response().status == 413
    assert len(app.body) <= 1000
    assert app.disconnected


def test_many_small_chunks(stack):
    """The decoded size counts, and many chunks in one read are one message."""
    client = serve(stack, echo)
    client.feed(CHUNKED + b"1\r\nx\r\n" * 20000 + b"0\r\n\r\n")
    assert client.response().body == b"x" * 20000


def test_limits_are_per_request(stack):
    client = serve(stack, echo, limit_request_body=10, limit_header_fields=3, limit_header_size=60)
    data = request("POST", "/", "A: " + "b" * 20, body=b"x" * 10)
    for _ in range(10):
        client.feed(data + CHUNKED + b"a\r\n" + b"x" * 10 + b"\r\n0\r\nA: b\r\n\r\n")
    assert [response.body for response in client.responses()] == [b"x" * 10] * 20


def test_no_limit_on_the_body_by_default(stack):
    app = Idle()
    client = serve(stack, app)
    client.feed(request("POST", "/", f"Content-Length: {64 * MIB}"))
    piece = b"x" * 256 * KIB
    for _ in range(64 * MIB // len(piece)):
        client.feed(piece)
        app.messages[:-1] = []
    assert app.messages[-1]["more_body"] is False
