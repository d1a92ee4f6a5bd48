"""The server as a whole, with nothing but the standard library on the client's side. All of it runs on PyPy too."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import struct

import pytest

from .launcher import PYPY, wait_for
from .wire import Truncated, chunked, encode


def test_hello(raw):
    connection = http.client.HTTPConnection("127.0.0.1", raw.port, timeout=10)
    try:
        connection.request("GET", "/hello")
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"Hello, world!")
    finally:
        connection.close()


def test_keep_alive_serves_many_requests_on_one_connection(wire):
    for number in range(200):
        body = b"%d" % number * 50
        response = wire.request("POST", "/echo", body)
        assert (response.status, response.body) == (200, body)


def test_post_chunked(wire):
    wire.send(
        encode("POST", "/echo", None, [("Transfer-Encoding", "chunked")]) + chunked(b"one,", b"two,", b"x" * 70000)
    )
    assert wire.response().body == b"one,two," + b"x" * 70000


def test_stream_is_chunked(wire):
    response = wire.request("GET", "/stream?n=3&size=4")
    assert response.header("transfer-encoding") == "chunked"
    assert response.chunks == [b"0000", b"1111", b"2222"]


def test_stream_with_a_length(wire):
    response = wire.request("GET", "/stream?n=300&size=1000&length")
    assert response.header("content-length") == "300000"
    assert len(response.body) == 300000


def test_both_directions_at_once(wire):
    """The response begins and goes on while the request's body is still coming."""
    wire.send(encode("POST", "/echo-stream", None, [("Transfer-Encoding", "chunked")]))
    response = wire.head()
    assert response.header("transfer-encoding") == "chunked"
    for piece in (b"first", b"second", b"third"):
        wire.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        assert wire.chunk() == piece
    wire.send(b"0\r\n\r\n")
    assert wire.chunk(response) == b""
    assert wire.request("GET", "/hello").body == b"Hello, world!"


def test_head_has_the_headers_and_no_body(wire):
    get = wire.request("GET", "/hello")
    head = wire.request("HEAD", "/hello")
    drop = {"date"}
    assert head.body == b""
    assert [item for item in head.headers if item[0] not in drop] == [
        item for item in get.headers if item[0] not in drop
    ]
    assert wire.request("GET", "/hello").body == b"Hello, world!"


@pytest.mark.parametrize("code", [204, 304])
def test_statuses_without_a_body(wire, code):
    response = wire.request("GET", f"/status?code={code}")
    assert response.status == code
    assert response.header("transfer-encoding") is None
    assert wire.request("GET", "/hello").status == 200


def test_pipelining_in_order(wire):
    wire.send(b"".join(encode("POST", "/echo", b"number %d" % n) for n in range(50)) + encode("GET", "/hello"))
    for number in range(50):
        assert wire.response().body == b"number %d" % number
    assert wire.response().body == b"Hello, world!"


def test_http_1_0(raw, dial):
    wire = dial(raw)
    response = wire.request("GET", "/hello", version="1.0")
    assert response.body == b"Hello, world!"
    assert wire.at_end()


def test_http_1_0_stream_ends_with_the_connection(raw, dial, ours):
    wire = dial(raw)
    response = wire.request("GET", "/stream?n=3&size=2", version="1.0")
    assert response.header("transfer-encoding") is None
    assert response.body == b"001122"


def test_http_1_0_keep_alive_when_asked_for(raw, dial, ours):
    wire = dial(raw)
    for _ in range(3):
        response = wire.request("GET", "/hello", headers=[("Connection", "keep-alive")], version="1.0")
        assert response.body == b"Hello, world!"
        assert response.header("connection") == "keep-alive"


def test_connection_close(wire):
    response = wire.request("GET", "/hello", headers=[("Connection", "close")])
    assert response.header("connection") == "close"
    assert wire.at_end()


def test_continue_is_sent_when_the_app_receives(wire):
    wire.send(encode("POST", "/echo", None, [("Content-Length", "4"), ("Expect", "100-continue")]))
    interim = wire.head()
    assert interim.status == 100
    wire.send(b"body")
    assert wire.response().body == b"body"


def test_no_continue_when_the_app_does_not_receive(wire):
    wire.send(encode("POST", "/ignore-body", None, [("Content-Length", "4"), ("Expect", "100-continue")]))
    response = wire.response()
    assert (response.status, response.body, response.interim) == (200, b"not read", [])


def test_early_answer_to_a_large_upload(raw, dial):
    """The answer arrives although the client still sends, and the connection then ends or goes on in step."""
    wire = dial(raw)
    wire.send(encode("POST", "/early-answer", None, [("Content-Length", str(64 << 20))]))
    wire.send(b"x" * 65536)
    response = wire.response()
    assert (response.status, response.body) == (413, b"too much")


def test_half_closed_client_gets_its_answer(raw, dial):
    wire = dial(raw)
    wire.send(encode("POST", "/echo", b"last words", [("Connection", "close")]))
    wire.sock.shutdown(socket.SHUT_WR)
    assert wire.response().body == b"last words"


def test_scope(raw, dial, ours):
    wire = dial(raw)
    target = "/scope/caf%C3%A9%2Fx?q=%20a&b"
    scope = json.loads(wire.request("GET", target, headers=[("X-Twice", "1"), ("x-twice", " 2 ")]).body)
    host, port = wire.sock.getsockname()
    expected = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/scope/caf\u00e9/x",
        "raw_path": "/scope/caf%C3%A9%2Fx",
        "query_string": "q=%20a&b",
        "root_path": "",
        "headers": [["host", "example.test"], ["x-twice", "1"], ["x-twice", "2"]],
        "client": [host, port],
        "server": ["127.0.0.1", raw.port],
        "state": {"started": "yes"},
    }
    assert {key: scope[key] for key in expected} == expected
    assert scope["asgi"]["version"] == "3.0"


def test_unix_socket(serve, dial):
    server = serve("raw_app:app", uds=True)
    wire = dial(server)
    assert wire.request("POST", "/echo", b"over UDS").body == b"over UDS"
    scope = json.loads(wire.request("GET", "/scope").body)
    assert scope["type"] == "http"
    if not server.is_uvicorn:
        assert scope["server"] == [server.address, None]
        assert scope["client"] in (None, ["", 0])


def test_trailers(wire, ours):
    response = wire.request("GET", "/trailers", headers=[("TE", "trailers")])
    assert (response.status, response.body) == (200, b"with trailers")
    assert response.header("trailer") == "x-sum"
    assert response.trailers == [("x-sum", "13"), ("x-more", "yes")]
    assert wire.request("GET", "/hello").status == 200


def test_early_hints(wire, ours):
    response = wire.request("GET", "/early-hint")
    assert [interim.status for interim in response.interim] == [103]
    links = [value for name, value in response.interim[0].headers if name == "link"]
    assert links == ["</style.css>; rel=preload; as=style", "</code.js>; rel=preload; as=script"]
    assert response.body == b"hinted"


def test_date_and_server_of_the_app_win(wire, ours):
    response = wire.request("GET", "/own-date")
    assert (response.header("date"), response.header("server")) == ("Thu, 01 Jan 1970 00:00:00 GMT", "mine")
    response = wire.request("GET", "/hello")
    assert response.header("date").endswith(" GMT")
    assert response.header("server")


def progress(server, dial):
    with dial(server) as wire:
        return json.loads(wire.request("GET", "/progress").body)


def test_app_sees_the_client_leave(raw, dial, ours, stack):
    """After a reset, send() raises. After a mere end (which may be a half-close) it may still send."""
    for how in ("reset", "end"):
        key = f"{how}-{stack.name}"
        wire = dial(raw)
        wire.send(encode("POST", f"/wait-disconnect?key={key}", b"x"))
        if how == "reset":
            wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.close()
        expected = {f"left:{key}:http.disconnect:OSError"}
        if how == "end":
            expected.add(f"left:{key}:http.disconnect:sent")
        wait_for(lambda: expected & set(progress(raw, dial)["events"]), what="the app sees http.disconnect")  # noqa: B023


def test_stream_ends_when_the_client_leaves(raw, dial, ours):
    """The OSError that send() raises comes back out of the app; it is not logged (the log is checked for it)."""
    wire = dial(raw)
    wire.send(encode("GET", "/until-disconnect?key=stream-left"))
    assert wire.head().status == 200
    assert wire.chunk() == b"tick\n"
    wire.close()
    wait_for(lambda: "left:stream-left" in progress(raw, dial)["events"], what="the stream ends")


def test_errors_of_the_app(serve, dial, ours):
    server = serve("raw_app:app", tracebacks=True)
    wire = dial(server)
    response = wire.request("GET", "/fail")
    assert response.status == 500
    assert b"on purpose" not in response.body
    response = dial(server).request("GET", "/silent")
    assert response.status == 500
    response = dial(server).request("GET", "/short")
    assert response.status == 500
    response = dial(server).request("GET", "/split-header")
    assert response.status == 500
    assert "set-cookie" not in dict(response.headers)
    log = server.stderr()
    assert log.count("RuntimeError: on purpose") == 1
    assert "Exception in ASGI application" in log


@pytest.mark.parametrize("path", ["/fail-late", "/short?late"])
def test_a_broken_response_shows_as_truncated(serve, dial, path, ours):
    wire = dial(serve("raw_app:app", tracebacks=True))
    with pytest.raises(Truncated) as caught:
        wire.request("GET", path)
    assert caught.value.partial.status == 200


def test_a_broken_response_to_http_1_0_is_reset(serve, dial, ours):
    """Where the end of the connection is the end of the body, only a reset tells that the body is not whole."""
    wire = dial(serve("raw_app:app", tracebacks=True))
    wire.send(encode("GET", "/fail-late", version="1.0"))
    with pytest.raises(ConnectionResetError):
        while wire.sock.recv(65536):
            pass


def test_access_log(start, dial, ours):
    server = start("raw_app:app")
    wire = dial(server)
    wire.request("GET", "/hello?a=%20b")
    wire.request("POST", "/status?code=404", b"x")
    client = wire.local
    server.stop()
    out = server.stdout()
    assert f'{client} - "GET /hello?a=%20b HTTP/1.1" 200' in out
    assert f'{client} - "POST /status?code=404 HTTP/1.1" 404' in out


def test_startup_line_names_the_stack(raw, ours, stack):
    assert f"stack: {stack.name}, " in raw.stderr()


def test_root_path(start, dial):
    with dial(start("raw_app:app", "--root-path", "/scope")) as wire:
        scope = json.loads(wire.request("GET", "/x%2Fy").body)
    assert (scope["root_path"], scope["path"]) == ("/scope", "/scope/x/y")


def test_sigterm(start, dial):
    server = start("raw_app:app")
    assert dial(server).request("GET", "/hello").status == 200
    server.stop(signal.SIGTERM)
    assert "lifespan: shut down" in server.stdout()


@pytest.mark.skipif(PYPY, reason="one way to stop is enough on PyPy, which starts slowly")
def test_sigint(start, dial):
    server = start("raw_app:app")
    assert dial(server).request("GET", "/hello").status == 200
    server.stop(signal.SIGINT)
    assert "lifespan: shut down" in server.stdout()
