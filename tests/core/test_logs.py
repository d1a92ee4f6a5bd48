"""Overload, the access log, and the log of what peers do wrong."""

from __future__ import annotations

import asyncio

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
