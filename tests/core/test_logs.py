"""Overload, the access log, and the log of what peers do wrong."""

from __future__ import annotations

import asyncio
import logging

import pytest
from harness import GET, request, serve

from core.apps import Gated, body, echo, hello, start

POST = request("POST", body=b"hello")
CHUNKED = request("POST", "/", "Transfer-Encoding: chunked")
EXPECT = request("POST", "/", "Expect: 100-continue", "Content-Length: 5")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


# -- overload


def test_limit_concurrency(stack, server_log):
    app = Gated()
    one = serve(stack, app, limit_concurrency=2)
    two, three = one.connect(), one.connect()
    one.feed(request(target="/1"))
    two.feed(request(target="/2"))
    three.feed(request("POST", "/3", body=b"x") + GET)
    refused = three.response("POST")
    assert refused.status == 503
    assert int(refused.get(b"retry-after")) > 0
    assert refused.says_close
    assert three.ended
    assert app.started == ["/1", "/2"]
    assert one.state.active == 2
    app.go(one)
    four = one.connect()
    four.feed(request(target="/4"))
    assert app.started == ["/1", "/2", "/4"]
    app.go(one)
    app.go(one)
    assert [client.responses()[0].status for client in (one, two, four)] == [200, 200, 200]


def test_limit_concurrency_counts_no_idle_connections(stack):
    one = serve(stack, hello, limit_concurrency=1)
    others = [one.connect() for _ in range(5)]
    for client in [one, *others, *others]:
        client.feed(GET)
    assert [len(client.responses(["GET"] * 2)) for client in [one, *others]] == [1, 2, 2, 2, 2, 2]


def test_limit_concurrency_of_zero_refuses_all(stack):
    client = serve(stack, hello, limit_concurrency=0)
    client.feed(request("HEAD"))
    assert client.response("HEAD").status == 503


# -- logs


def test_access_log(stack):
    lines = []

    async def app(scope, receive, send):
        await asyncio.sleep(2)
        await send(start(201))
        await send(body(b"ab", True))
        await send(body(b"c"))

    client = serve(stack, app, access_log=lambda *line: lines.append(line))
    client.feed(request(target="/a%20b?c=%22d"))
    client.advance(1)
    assert lines == []
    client.advance(2)
    assert lines == [("127.0.0.1:50000", "GET", "/a%20b?c=%22d", "1.1", 201, 3, 2.0)]
    ((*_, length, duration),) = lines
    assert type(length) is int
    assert type(duration) is float


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (GET, ("GET", "/", "1.1", 200, 5)),
        (request("HEAD", "/x"), ("HEAD", "/x", "1.1", 200, 0)),
        (request("POST", "/?", body=b"abc"), ("POST", "/", "1.1", 200, 5)),
        (request(version="1.0"), ("GET", "/", "1.0", 200, 5)),
        (request("OPTIONS", "*"), ("OPTIONS", "*", "1.1", 200, 5)),
        (request("GET", "http://h/p?q"), ("GET", "/p?q", "1.1", 200, 5)),
    ],
)
def test_access_log_lines(stack, data, line):
    lines = []
    client = serve(stack, hello, access_log=lambda *line: lines.append(line))
    client.feed(data)
    assert [found[1:-1] for found in lines] == [line]


def test_access_log_is_once_per_request(stack, server_log):
    lines = []

    async def app(scope, receive, send):
        if scope["path"] == "/raise":
            raise LookupError
        if scope["path"] == "/cut":
            await send(start())
            await send(body(b"abc", True))
            raise LookupError
        await hello(scope, receive, send)

    client = serve(stack, app, access_log=lambda *line: lines.append(line))
    client.feed(GET * 2 + request(target="/raise") + request(target="/cut") + GET)
    server_log.take_errors()
    assert [(line[2], line[4], line[5]) for line in lines][:2] == [("/", 200, 5)] * 2
    assert [line[2] for line in lines] == ["/", "/", "/raise", "/cut"][: len(lines)]
    assert lines[2][4] == 500
    if len(lines) > 3:
        assert lines[3][4:6] == (200, 3)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"GET /x?y HTTP/1.1\r\n\r\n", ("GET", "/x?y", "1.1", 400)),
        (request("BREW", "/pot"), ("BREW", "/pot", "1.1", 501)),
        (request("GET", "/", "Expect: x"), ("GET", "/", "1.1", 417)),
        (request("POST", "/", "Content-Length: 99999999999999999999"), ("POST", "/", "1.1", 413)),
        (request("GET", "/", "A: " + "x" * 70000), ("GET", "/", "1.1", 431)),
        (request(version="2.0"), ("GET", "/", "2.0", 505)),
        (b"GET /" + b"x" * 20000, ("GET", "/" + "x" * 1023, "-", 414)),
        (b'\r\nGET /"\\ HTTP/1.1\r\nbad field\r\n', ("GET", "/%22\\", "1.1", 400)),
        (b"GET  / HTTP/1.1\r\n\r\n", None),
        (b"\x16\x03\x01\x02\x00", None),
        (b"bad\r\n\r\n", None),
        (b"\x1b[31m /x HTTP/1.1\r\n\r\n", None),
    ],
)
def test_access_log_of_refused_heads(stack, server_log, data, line):
    lines = []
    client = serve(stack, hello, access_log=lambda *line: lines.append(line))
    client.feed(data)
    refused = client.response()
    assert [found[1:5] for found in lines] == ([] if line is None else [line])
    if lines:
        ((name, _, _, _, status, length, duration),) = lines
        assert (name, status, length, duration) == ("127.0.0.1:50000", refused.status, len(refused.body), 0.0)


def test_access_log_of_a_head_that_is_late(stack, server_log):
    lines = []
    client = serve(stack, hello, access_log=lambda *line: lines.append(line))
    client.feed(b"GET /slow HTTP/1.1\r\nHost:")
    client.advance(31)
    assert [found[1:5] for found in lines] == [("GET", "/slow", "1.1", 408)]


def test_access_log_of_overload(stack, server_log):
    lines = []
    app = Gated()
    client = serve(stack, app, limit_concurrency=1, access_log=lambda *line: lines.append(line))
    client.feed(GET)
    other = client.connect()
    other.feed(request("POST", "/other", body=b"x"))
    assert [found[1:5] for found in lines] == [("POST", "/other", "1.1", 503)]
    app.go(client)
    assert [found[4] for found in lines] == [503, 200]


def test_access_log_of_a_handshake_that_is_refused(stack, server_log):
    lines = []
    client = serve(stack, hello, access_log=lambda *line: lines.append(line))
    client.feed(request("GET", "/ws", "Upgrade: websocket", "Connection: upgrade"))
    assert [found[1:5] for found in lines] == [("GET", "/ws", "1.1", 400)]


def test_a_fault_behind_a_response_has_no_line_of_its_own(stack, server_log):
    lines = []
    client = serve(stack, hello, access_log=lambda *line: lines.append(line))
    client.feed(CHUNKED + b"zz\r\n")
    assert len(lines) == len(client.responses(["POST"])) == 1


def test_a_quote_in_a_target_does_not_end_it(stack):
    lines = []
    client = serve(stack, hello, access_log=lambda *line: lines.append(line))
    client.feed(request(target='/"?"'))
    assert lines[0][2] == "/%22?%22"


def test_access_log_with_headers(stack, server_log):
    lines = []

    async def app(scope, receive, send):
        if scope["path"] == "/raise":
            raise LookupError
        await send({"type": "http.response.start", "status": 200, "headers": [(b"X-A", b"b")]})
        await send(body(b"c"))

    client = serve(stack, app, access_log=lambda *line: lines.append(line))
    client.state.logs_headers = True
    client.feed(request("GET", "/", "C: d") + request("GET", "/raise") + b"GET /bad HTTP/1.1\r\n\r\n")
    server_log.take_errors()
    assert [len(line) for line in lines] == [8] * 3
    scheme, received, sent = lines[0][7]
    assert (scheme, received, sent) == ("http", [(b"host", b"h"), (b"c", b"d")], [(b"X-A", b"b")])
    assert lines[1][7][1] == [(b"host", b"h")]
    assert lines[2][7][1] == []
    assert all((b"content-type", b"text/plain; charset=utf-8") in line[7][2] for line in lines[1:])


def test_durations_are_measured_only_when_asked_for(stack):
    lines = []

    async def app(scope, receive, send):
        await asyncio.sleep(2)
        await hello(scope, receive, send)

    client = serve(stack, app, access_log=lambda *line: lines.append(line))
    client.state.times_requests = False
    client.feed(GET)
    client.advance(3)
    client.state.times_requests = True
    client.state.clock = iter([5.0, 5.5]).__next__
    client.feed(GET)
    client.advance(3)
    assert [line[6] for line in lines] == [0.0, 0.5]


def test_trace(stack, server_log):
    client = serve(stack, hello)
    assert not server_log.records
    client.state.is_tracing = True
    other = client.connect()
    server_log.setLevel(5)
    logging.getLogger("asgiserve.error").setLevel(5)
    third = client.connect()
    third.feed(GET)
    other.lose()
    third.lose()
    assert server_log.messages(5) == ["127.0.0.1:50000 - HTTP connection " + end for end in ("made", "lost", "lost")]


def test_websocket_lines_have_fields(stack, server_log):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await asyncio.sleep(2)
        await send({"type": "websocket.close", "code": 4000})

    client = serve(stack, app)
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    fields = ("Upgrade: websocket", "Connection: upgrade", "Sec-WebSocket-Version: 13", key)
    client.feed(request("GET", '/"?x', *fields))
    client.advance(3)
    opened, closed = server_log.records
    assert opened.getMessage() == '127.0.0.1:50000 - "WebSocket /%22?x" [accepted]'
    assert (opened.client, opened.path, opened.status) == ("127.0.0.1:50000", "/%22?x", 101)
    assert not hasattr(opened, "code")
    assert closed.getMessage() == '127.0.0.1:50000 - "WebSocket /%22?x" [closed 4000]'
    assert (closed.code, closed.duration) == (4000, 2.0)


def test_access_log_of_a_unix_socket(stack):
    lines = []
    client = serve(stack, hello, access_log=lambda *line: lines.append(line), extra={"peername": ""})
    client.feed(GET)
    assert lines[0][0] == ""


def test_access_log_of_ipv6(stack):
    lines = []
    client = serve(stack, hello, access_log=lambda *line: lines.append(line), extra={"peername": ("::1", 9, 0, 0)})
    client.feed(GET)
    assert lines[0][0] in ("::1:9", "[::1]:9")


def test_access_log_of_a_client_that_left(stack):
    lines = []

    async def app(scope, receive, send):
        await send(start())
        await send(body(b"abc", True))
        await asyncio.sleep(10)

    client = serve(stack, app, access_log=lambda *line: lines.append(line))
    client.feed(GET)
    client.lose()
    assert [line[4:6] for line in lines] == [(200, 3)]
    client.advance(20)
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("data", "phrase"),
    [
        (b"bad\r\n\r\n", "400 Bad Request"),
        (request("BREW"), "501 Not Implemented"),
        (request("GET", "/", "Expect: x"), "417 Expectation Failed"),
        (request("GET", "/", "Content-Length: 99999999999999999999"), "413 "),
        (request("GET", "/" + "x" * 20000), "414 "),
        (request("GET", "/", "A: " + "x" * 70000), "431 "),
        (request(version="2.0"), "505 HTTP Version Not Supported"),
    ],
    ids=range(7),
)
def test_faults_of_the_peer_are_one_warning(stack, server_log, data, phrase):
    client = serve(stack, hello)
    client.feed(data)
    (line,) = server_log.warnings
    assert line.startswith("127.0.0.1:50000 - " + phrase)
    assert "\n" not in line
    reason = line.rpartition(": ")[2]
    assert reason
    assert reason.encode() in client.response().body


def test_peer_bytes_do_not_get_into_the_log(stack, server_log):
    """What a peer sends cannot write lines or colours into the log."""
    for data in (b"\x1b[31mX\nY\r\n\r\n", b"GET /\x1b[2J HTTP/1.1\r\n\r\n", GET[:-2] + b"A\x1b\x07: b\r\n\r\n"):
        client = serve(stack, hello)
        client.feed(data)
        assert client.response().status == 400
    assert all(line.isprintable() for line in server_log.warnings)


def test_resets_are_not_logged(stack, server_log):
    client = serve(stack, echo)
    client.feed(POST[:-2])
    client.lose(ConnectionResetError())
    assert not server_log.records
