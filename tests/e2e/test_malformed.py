"""Malformed input over real sockets: the right status, the connection closed, one log line, never a traceback."""

from __future__ import annotations

import re
import socket
import struct
from http import HTTPStatus

import pytest

from .launcher import wait_for

HOST = b"Host: example.test\r\n"


def post(*lines: bytes, body: bytes = b"") -> bytes:
    return b"POST /echo HTTP/1.1\r\n" + HOST + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


CHUNKED = b"Transfer-Encoding: chunked"

CASES = [
    ("TLS handshake", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(64)) + b"\r\n\r\n", 400),
    ("no request at all", b"hello there\r\n\r\n", 400),
    ("no Host", b"GET /hello HTTP/1.1\r\n\r\n", 400),
    ("two Hosts", b"GET /hello HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
    ("invalid Host", b"GET /hello HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    ("bare LF", b"GET /hello HTTP/1.1\nHost: x\n\n", 400),
    ("NUL in a value", b"GET /hello HTTP/1.1\r\n" + HOST + b"X-A: a\x00b\r\n\r\n", 400),
    ("obs-fold", b"GET /hello HTTP/1.1\r\n" + HOST + b"X-A: a\r\n b\r\n\r\n", 400),
    ("space before the colon", b"GET /hello HTTP/1.1\r\n" + HOST + b"X-A : a\r\n\r\n", 400),
    ("length and chunked", post(CHUNKED, b"Content-Length: 5", body=b"0\r\n\r\n"), 400),
    ("two lengths", post(b"Content-Length: 5", b"Content-Length: 5", body=b"xxxxx"), 400),
    ("negative length", post(b"Content-Length: -5"), 400),
    ("length too large", post(b"Content-Length: 9223372036854775808"), 413),
    ("unknown coding", post(b"Transfer-Encoding: gzip"), 501),
    ("chunked twice", post(b"Transfer-Encoding: chunked, chunked"), 400),
    ("unknown method", b"BREW /hello HTTP/1.1\r\n" + HOST + b"\r\n", 501),
    ("HTTP/0.9", b"GET /hello\r\n\r\n", 400),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("HTTP/1.2", b"GET /hello HTTP/1.2\r\n" + HOST + b"\r\n", 505),
    ("CONNECT", b"CONNECT example.test:443 HTTP/1.1\r\n" + HOST + b"\r\n", 501),
    ("non-ASCII target", b"GET /caf\xc3\xa9 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    ("unknown Expect", post(b"Expect: miracles", b"Content-Length: 0"), 417),
    ("long request line", b"GET /" + b"x" * 20000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    ("many fields", b"GET /hello HTTP/1.1\r\n" + HOST + b"X-A: b\r\n" * 200 + b"\r\n", 431),
    ("large fields", b"GET /hello HTTP/1.1\r\n" + HOST + b"X-A: %s\r\n" % (b"b" * 80000) + b"\r\n", 431),
]


def lines_about(server, client: str) -> list:
    return [line for line in server.stderr().splitlines() if client in line]


@pytest.mark.parametrize(("data", "status"), [pytest.param(data, status, id=name) for name, data, status in CASES])
def test_status_and_one_log_line(raw, dial, ours, data, status):
    wire = dial(raw)
    wire.send(data)
    response = wire.response()
    assert (response.status, response.reason) == (status, HTTPStatus(status).phrase) or status in (413, 414, 431)
    assert response.status == status
    assert response.header("connection") == "close"
    assert response.body
    assert response.header("content-type").startswith("text/plain")
    assert wire.at_end()
    lines = wait_for(lambda: lines_about(raw, wire.local), what="a log line")
    assert len(lines) == 1, lines
    assert re.search(rf"{re.escape(wire.local)} - {status} [A-Z][\w -]+: \S+", lines[0]), lines


@pytest.mark.parametrize(
    "body",
    [b"x\r\n", b"5 \r\nhello\r\n", b"0x5\r\nhello\r\n", b"5\nhello\r\n", b"5\r\nhelloXX0\r\n\r\n", b"f" * 17 + b"\r\n"],
)
def test_broken_chunks(raw, dial, ours, body):
    """The app is already reading; it sees a disconnect, which it need not log, and the client sees the reason."""
    wire = dial(raw)
    wire.send(post(CHUNKED, body=body))
    response = wire.response()
    assert response.status == 400
    assert wire.at_end()
    lines = wait_for(lambda: lines_about(raw, wire.local), what="a log line")
    assert len(lines) == 1, lines


def test_body_limit(serve, dial, ours):
    server = serve("raw_app:app", "--limit-request-body", "1000")
    assert dial(server).request("POST", "/echo", b"x" * 1000).status == 200
    wire = dial(server)
    assert wire.request("POST", "/echo", b"x" * 1001).status == 413
    wire = dial(server)
    wire.send(post(CHUNKED, body=b"3e8\r\n" + b"x" * 1000 + b"\r\n1\r\nx\r\n0\r\n\r\n"))
    assert wire.response().status == 413


def test_garbage_behind_a_valid_request(raw, dial, ours):
    """The valid request is answered first, in full."""
    wire = dial(raw)
    wire.send(b"GET /hello HTTP/1.1\r\n" + HOST + b"\r\n\x00\x01\x02 garbage\r\n\r\n")
    assert wire.response().body == b"Hello, world!"
    assert wire.response().status == 400
    assert wire.at_end()


def lose(wire, how: str) -> None:
    """End the connection: with a FIN, or with a RST."""
    if how == "reset":
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.close()


@pytest.mark.parametrize("how", ["end", "reset"])
def test_connection_lost_in_the_middle(raw, dial, ours, how):
    """Connections that end anywhere are no event worth a traceback, nor a line at level ERROR."""

    def left() -> int:
        return dial(raw).request("GET", "/progress").body.count(b'"left:/echo"')

    before, count = raw.stderr(), left()
    request = post(b"Content-Length: 10", body=b"0123456789")
    for cut in range(0, len(request), 7):
        wire = dial(raw)
        wire.send(request[:cut])
        lose(wire, how)
    if how == "end":  # a reset may destroy what was sent, so that no app ever ran
        wait_for(lambda: left() > count, what="the app has seen a body that ended early")
    assert left() >= count
    assert "ERROR" not in raw.stderr()[len(before) :]


@pytest.mark.parametrize("fault", ["broken chunk", "end", "reset"])
@pytest.mark.parametrize(("app", "path"), [("starlette_app:app", "/body"), ("fastapi_app:app", "/digest")])
def test_framework_that_raises_because_the_body_ended_early(serve, dial, library, ours, stack, app, path, fault):
    """Starlette raises its own ClientDisconnect out of the app. The peer's fault, so no traceback (`serve` looks)."""
    library("fastapi")
    library("python_multipart")
    server = serve(app)
    wire = dial(server)
    key = f"{fault.split()[0]}-{stack.name}"
    head = f"POST {path}?key={key} HTTP/1.1\r\n".encode() + HOST + CHUNKED + b"\r\n\r\n"
    wire.send(head + b"5\r\nhello\r\n")
    # The framework has the request by the time it answers another one; only then a reset cannot destroy it.
    assert dial(server).request("GET", "/").status == 200
    if fault == "broken chunk":
        wire.send(b"no chunk\r\n")
        assert wire.response().status == 400
        assert wire.at_end()
        assert len(lines_about(server, wire.local)) == 1
    else:
        lose(wire, fault)
    notes = f"/notes?key={key}"
    wait_for(lambda: dial(server).request("GET", notes).text == f'["ended:{key}"]', what="the route has ended")
    assert dial(server).request("GET", "/").status == 200
