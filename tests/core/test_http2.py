"""HTTP/2 over both stacks, with the client side of h2: requests, responses, and how a connection comes to be one."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest
from harness import EAGER, GET, receive_body, respond, serve
from http2_peer import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PREFACE,
    SETTINGS,
    Peer,
    connect,
    fields,
    frame,
    without_window,
)

from asgiserve.errors import AppError, ClientDisconnected

from .apps import Gated, Idle, Script, body, echo, hello, start

PROTOCOL_ERROR, INTERNAL_ERROR, CANCEL = 1, 2, 8
DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"


def lingers(peer, stream):
    """The response is complete; who does not end the request within two seconds need not any more."""
    assert stream.ended
    peer.advance(1)
    assert stream.reset is None
    peer.advance(2)
    return stream.reset == 0  # NO_ERROR: the response is good


def run(stack, steps, request_fields=None, request_body=None, **options):
    """Make one request to an application made of these steps. Returns the peer, the stream and the Script."""
    app = Script(steps)
    peer = connect(stack, app, **options)
    stream = peer.get(request_fields, request_body)
    return peer, stream, app


# -- which protocol a connection speaks


def test_prior_knowledge(stack):
    peer = connect(stack, hello)
    stream = peer.get()
    assert (stream.status, stream.body, stream.ended, stream.reset) == (200, b"hello", True, None)
    assert not peer.closed
    assert len(peer.client.state.connections) == 1


@pytest.mark.parametrize("size", [1, 2, 16, 17, 23, 24, 25])
def test_the_preface_in_pieces(stack, size):
    client = serve(stack, hello, http2=True)
    data = PREFACE + frame(SETTINGS)
    client.feed_all([data[at : at + size] for at in range(0, len(data), size)])
    assert client.output()[3:5] == bytes([SETTINGS, 0])
    assert not client.closed


def test_everything_byte_by_byte(stack):
    client = serve(stack, echo, http2=True)
    feed, client.feed = client.feed, lambda data: client.feed_bytes(data)
    client.feed_bytes = lambda data: [feed(data[at : at + 1]) for at in range(len(data))]
    peer = Peer(client)
    assert peer.get(fields("POST"), b"abc").body == b"abc"


def test_without_the_option_the_preface_is_refused(stack, server_log):
    client = serve(stack, hello)
    client.feed(PREFACE + frame(SETTINGS))
    assert client.response("PRI").status == 505
    assert len(server_log.warnings) == 1


@pytest.mark.parametrize("data", [b"PRI * HTTP/2.1\r\n", b"PRI / HTTP/2.0\r\n", b"GET * HTTP/2.0\r\n"])
def test_what_is_no_preface(stack, data):
    client = serve(stack, hello, http2=True)
    client.feed(data)
    assert b" 505 " in client.output() or b" 400 " in client.output()
    assert client.ended


def test_a_preface_behind_a_request_is_refused(stack):
    client = serve(stack, hello, http2=True)
    client.feed(GET + PREFACE)
    assert [response.status for response in client.responses(["GET", "PRI"])] == [200, 505]


def test_a_wrong_preface(stack, server_log):
    client = serve(stack, hello, http2=True)
    client.feed(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")
    assert client.ended
    assert server_log.warnings == ["127.0.0.1:50000 - HTTP/2 connection ended: invalid connection preface"]


def test_http_1_goes_on_beside_it(stack):
    client = serve(stack, hello, http2=True)
    client.feed(GET + GET)
    assert [response.body for response in client.responses()] == [b"hello", b"hello"]


def test_no_preface_over_tls(stack):
    """There, ALPN decides."""
    client = serve(stack, hello, http2=True, extra={"sslcontext": object()})
    client.feed(PREFACE)
    assert client.response("PRI").status == 505


def test_no_upgrade_from_http_1(stack):
    """RFC 9113 has removed it."""
    client = serve(stack, hello, http2=True)
    client.feed(GET[:-2] + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n")
    assert client.response().status == 200


def test_settings(stack):
    peer = connect(stack, hello)
    settings = peer.h2.remote_settings
    assert settings.max_concurrent_streams == 100
    assert settings.initial_window_size == 128 * 1024
    assert settings.max_frame_size == 16384
    assert settings.max_header_list_size == 65536
    assert settings.enable_push == 0
    assert settings.enable_connect_protocol == 0
    assert peer.h2.outbound_flow_control_window == 1024 * 1024


# -- the scope


def test_scope(stack):
    peer = connect(stack, hello, lifespan_state={"a": 1}, root_path="/api")
    more = [("x-one", "1"), ("cookie", "a=1"), ("accept", "*/*"), ("cookie", "b=2"), ("te", "trailers")]
    peer.get(fields("POST", "/a%20b?c=%64", more, authority="example.org:80"), b"")
    assert peer.client.scopes == [
        {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.5"},
            "http_version": "2",
            "server": ("127.0.0.1", 8000),
            "client": ("127.0.0.1", 50000),
            "scheme": "http",
            "method": "POST",
            "root_path": "/api",
            "path": "/api/a b",
            "raw_path": b"/a%20b",
            "query_string": b"c=%64",
            "headers": [
                (b"host", b"example.org:80"),
                (b"x-one", b"1"),
                (b"cookie", b"a=1; b=2"),
                (b"accept", b"*/*"),
                (b"te", b"trailers"),
            ],
            "state": {"a": 1},
            "extensions": {
                "http.response.early_hint": {},
                "http.response.pathsend": {},
                "http.response.trailers": {},
            },
        }
    ]
    assert all(type(pair) is tuple for pair in peer.client.scopes[0]["headers"])


def test_nothing_is_shared_between_scopes(stack):
    peer = connect(stack, hello, lifespan_state={})
    peer.get()
    peer.get()
    one, two = peer.client.scopes
    assert one == two
    for key in ("asgi", "headers", "state", "extensions"):
        assert one[key] is not two[key]


@pytest.mark.parametrize(
    ("pseudo", "more", "host"),
    [
        ({"authority": None}, [("host", "a")], b"a"),
        ({"authority": "a"}, [("x", "y"), ("host", "a")], b"a"),
        ({"authority": "A.b"}, [("host", "a.B")], b"A.b"),
    ],
)
def test_host(stack, pseudo, more, host):
    peer = connect(stack, hello)
    assert peer.get(fields(more=more, **pseudo)).status == 200
    headers = peer.client.scopes[0]["headers"]
    assert [value for name, value in headers if name == b"host"] == [host]
    if pseudo["authority"]:
        assert headers[0] == (b"host", host)


def test_asterisk(stack):
    peer = connect(stack, hello)
    assert peer.get(fields("OPTIONS", "*")).status == 200
    assert peer.client.scopes[0]["path"] == "*"


def test_scheme_is_that_of_the_connection(stack):
    peer = connect(stack, hello)
    assert peer.get(fields(scheme="https")).status == 200
    assert peer.client.scopes[0]["scheme"] == "http"


def test_a_trusted_proxy_names_the_client(stack):
    lines = []
    peer = connect(stack, hello, access_log=lambda *line: lines.append(line))

    def forwarding(scope):
        scope["client"] = ("192.0.2.1", 0)
        return "192.0.2.1:0"

    peer.client.state.forwarding = forwarding
    peer.get(fields(more=[("x-forwarded-for", "192.0.2.1")]))
    peer.get()
    assert [scope["client"][0] for scope in peer.client.scopes] == ["192.0.2.1", "127.0.0.1"]
    assert [line[0] for line in lines] == ["192.0.2.1:0", "127.0.0.1:50000"]


# -- the request body


@pytest.mark.parametrize("more", [[], [("content-length", "10")]])
def test_a_body_in_pieces(stack, more):
    app = Idle()
    peer = connect(stack, app)
    stream_id = peer.request(fields("POST", more=more), end=False)
    peer.data(stream_id, b"hello").data(stream_id, b"").data(stream_id, b"world", end=True)
    assert app.messages == [
        {"type": "http.request", "body": b"hello", "more_body": True},
        {"type": "http.request", "body": b"world", "more_body": False},
    ]


def test_a_body_that_ends_with_an_empty_frame(stack):
    app = Idle()
    peer = connect(stack, app)
    stream_id = peer.request(fields("POST"), end=False)
    peer.data(stream_id, b"hello").data(stream_id, b"", end=True)
    assert app.messages[-1] == {"type": "http.request", "body": b"", "more_body": False}


def test_padding(stack):
    peer = connect(stack, echo)
    stream_id = peer.request(fields("POST"), end=False)
    peer.data(stream_id, b"abc", pad_length=200).data(stream_id, b"d", end=True, pad_length=0)
    assert peer.streams[stream_id].body == b"abcd"


def test_trailers_of_a_request_are_no_headers(stack):
    peer = connect(stack, echo)
    stream_id = peer.request(fields("POST"), end=False)
    peer.data(stream_id, b"abc")
    peer.h2.send_headers(stream_id, [("x-sum", "1")], end_stream=True)
    peer.flush()
    assert peer.streams[stream_id].body == b"abc"
    assert peer.client.scopes[0]["headers"] == [(b"host", b"h")]


@pytest.mark.parametrize("answers_first", [False, True])
def test_100_continue(stack, answers_first):
    async def steps(scope, receive, send):
        if answers_first:
            await respond(send, b"no", 403)
        else:
            await respond(send, await receive_body(receive))

    app = Script(steps)
    peer = connect(stack, app)
    stream_id = peer.request(fields("POST", more=[("expect", "100-continue")]), end=False)
    stream = peer.streams[stream_id]
    if answers_first:
        assert (stream.informational, stream.status, stream.reset) == ([], 403, None)
        assert lingers(peer, stream)
    else:
        assert stream.informational == [(100, [])]
        peer.data(stream_id, b"abc", end=True)
        assert (stream.status, stream.body) == (200, b"abc")


def test_no_100_continue_to_a_client_that_does_not_wait(stack):
    peer = connect(stack, echo)
    peer.send_request(fields("POST", more=[("expect", "100-continue")]), b"abc")
    peer.flush()
    assert peer.streams[1].body == b"abc"
    assert peer.streams[1].informational == []


def test_unknown_expectation(stack):
    assert connect(stack, hello).get(fields("POST", more=[("expect", "tea")]), b"").status == 417


def test_an_unread_body_is_dropped_within_a_bound(stack):
    peer = connect(stack, hello)
    stream_id = peer.request(fields("POST"), end=False)
    stream = peer.streams[stream_id]
    assert stream.ended
    assert stream.reset is None
    for _ in range(4):
        peer.data(stream_id, b"x" * 16384)
    peer.advance(10)
    assert stream.reset is None
    peer.data(stream_id, b"x")
    assert lingers(peer, stream)
    assert peer.get().status == 200


def test_the_rest_of_a_small_body_behind_the_response(stack):
    peer = connect(stack, hello)
    stream_id = peer.request(fields("POST"), end=False)
    peer.data(stream_id, b"x", end=True)
    assert peer.streams[stream_id].reset is None
    assert peer.advance(4).get().status == 200


def test_a_large_unread_body_is_dropped_for_a_while(stack):
    """A client that sends it all first gets to its response."""
    peer = connect(stack, hello)
    one = peer.request(fields("POST", more=[("content-length", "1000000")]), end=False)
    two = peer.request(fields("POST", more=[("content-length", "1000000")]), end=False)
    for _ in range(50):
        peer.data(one, b"x" * 10000).data(two, b"x" * 10000)
    peer.advance(1)
    for _ in range(50):
        peer.data(one, b"x" * 10000)
    peer.data(one, b"", end=True)
    peer.advance(2)
    assert peer.streams[two].reset == 0
    assert peer.streams[one].reset is None
    assert len(peer.client.scopes) == 2


# -- the response


def test_fields_of_a_response(stack):
    async def steps(scope, receive, send):
        headers = [(b"X-One", b" 1\t"), [b"x-one", b"2"], (b"Set-Cookie", b"a=b"), (bytearray(b"x-two"), b"3")]
        await send(start(201, headers))
        await send(body(b"abc"))

    _, stream, _ = run(stack, steps)
    assert stream.headers == [
        (b":status", b"201"),
        (b"x-one", b"1"),
        (b"x-one", b"2"),
        (b"set-cookie", b"a=b"),
        (b"x-two", b"3"),
        (b"date", DATE),
        (b"server", b"asgiserve"),
        (b"content-length", b"3"),
    ]


def test_own_fields(stack):
    peer = connect(stack, hello, headers=[("X-Extra", "a"), ("Server", "me")])
    stream = peer.get()
    assert (stream.header(b"x-extra"), stream.header(b"server"), stream.header(b"date")) == (b"a", b"me", DATE)
    peer.advance(1)
    assert peer.get().header(b"date") == DATE.replace(b":37", b":38")
    stream = connect(stack, hello, date_header=False, server_header=False).get()
    assert stream.headers == [(b":status", b"200"), (b"content-length", b"5")]


def test_date_and_server_of_the_application(stack):
    async def steps(scope, receive, send):
        await respond(send, b"", 200, [(b"Date", b"today"), (b"SERVER", b"mine")])

    _, stream, _ = run(stack, steps)
    assert (stream.header(b"date"), stream.header(b"server")) == (b"today", b"mine")


def test_fields_of_a_connection_are_left_out(stack):
    async def steps(scope, receive, send):
        names = (b"Connection", b"Keep-Alive", b"Proxy-Connection", b"Transfer-Encoding", b"Upgrade")
        await respond(send, b"x", 200, [(name, b"close") for name in names])

    _, stream, _ = run(stack, steps)
    assert [name for name, _ in stream.headers] == [b":status", b"date", b"server", b"content-length"]


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ([(b"x", b"a\nb")], "forbidden character"),
        ([(b"x", b"a\0")], "forbidden character"),
        ([(b"x y", b"a")], "invalid header name"),
        ([(b":path", b"a")], "invalid header name"),
        ([(b"x", "a")], "must be bytes"),
        ([b"x"], "pair of bytes"),
        ([(b"content-length", b"-1")], "invalid content-length"),
        ([(b"content-length", b"1"), (b"content-length", b"2")], "invalid content-length"),
    ],
)
def test_invalid_fields(stack, server_log, headers, says):
    async def steps(scope, receive, send):
        with pytest.raises(AppError, match=says):
            await send(start(200, headers))
        await respond(send, b"ok")

    _, stream, app = run(stack, steps)
    assert app.error is None
    assert stream.body == b"ok"


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
@pytest.mark.parametrize("more", [False, True])
def test_no_body(stack, method, status, more):
    async def steps(scope, receive, send):
        await send(start(status))
        await send(body(b"abc", more))
        if more:
            await send(body(b"def"))

    _, stream, app = run(stack, steps, fields(method))
    assert app.error is None
    assert (stream.status, stream.body, stream.ended) == (status, b"", True)
    assert stream.header(b"content-length") == (b"3" if method == "HEAD" and not more else None)


@pytest.mark.parametrize(("method", "status", "left"), [("HEAD", 200, b"9"), ("GET", 304, b"9"), ("GET", 204, None)])
def test_content_length_without_a_body(stack, method, status, left):
    async def steps(scope, receive, send):
        await respond(send, b"", status, [(b"content-length", b"9")])

    _, stream, _ = run(stack, steps, fields(method))
    assert stream.header(b"content-length") == left


@pytest.mark.parametrize("pieces", [[b"abcd"], [b"abc", b"d"], [b"ab"], [b"a", b""]])
def test_a_body_that_does_not_fit_its_length(stack, server_log, pieces):
    async def steps(scope, receive, send):
        await send(start(200, [(b"content-length", b"3")]))
        for piece in pieces[:-1]:
            await send(body(piece, True))
        await send(body(pieces[-1]))

    peer, stream, app = run(stack, steps)
    assert isinstance(app.error, AppError)
    server_log.take_errors()
    if len(pieces) == 1:
        assert stream.status == 500
    else:
        assert (stream.status, stream.reset, stream.ended) == (200, INTERNAL_ERROR, False)
    assert peer.get(fields("POST", "/")).reset == stream.reset
    server_log.take_errors()


def test_a_stream(stack):
    async def steps(scope, receive, send):
        await send(start())
        for _ in range(3):
            await send(body(b"x" * 20000, True))
        await send(body())

    _, stream, _ = run(stack, steps)
    assert stream.body == b"x" * 60000
    assert stream.header(b"content-length") is None
    assert stream.ended
    assert max(stream.frames) <= 16384


def test_a_head_without_a_body_message_leaves_with_the_tick(stack):
    async def steps(scope, receive, send):
        await send(start())
        await asyncio.get_running_loop().create_future()

    peer, stream, _ = run(stack, steps)
    assert stream.headers is None
    peer.advance(0.5)
    assert (stream.status, stream.ended) == (200, False)


def test_early_hints(stack):
    async def steps(scope, receive, send):
        await send({"type": "http.response.early_hint", "links": [b"</a>; rel=preload"]})
        await respond(send, b"x")

    _, stream, _ = run(stack, steps)
    assert stream.informational == [(103, [(b"link", b"</a>; rel=preload")])]
    assert stream.body == b"x"


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("data", [b"", b"abc"])
def test_trailers(stack, wanted, data):
    async def steps(scope, receive, send):
        await send(start(200, [], trailers=True))
        await send(body(data))
        await send({"type": "http.response.trailers", "headers": [(b"X-A", b"1")], "more_trailers": True})
        await send({"type": "http.response.trailers", "headers": [(b"x-b", b"2")]})

    _, stream, app = run(stack, steps, fields(more=[("te", "trailers")] if wanted else []))
    assert app.error is None
    assert (stream.body, stream.ended) == (data, True)
    assert stream.trailers == ([(b"x-a", b"1"), (b"x-b", b"2")] if wanted else None)


def test_forbidden_trailers(stack, server_log):
    async def steps(scope, receive, send):
        await send(start(200, [], trailers=True))
        await send(body(b"abc"))
        await send({"type": "http.response.trailers", "headers": [(b"Content-Length", b"1")]})

    _, stream, app = run(stack, steps, fields(more=[("te", "trailers")]))
    assert isinstance(app.error, AppError)
    assert stream.reset == INTERNAL_ERROR
    server_log.take_errors()


@pytest.mark.parametrize("size", [0, 100, 300_000])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_pathsend(stack, tmp_path, size, method):
    path = tmp_path / "file"
    path.write_bytes(b"x" * size)

    async def steps(scope, receive, send):
        assert "http.response.zerocopysend" not in scope["extensions"]
        await send(start())
        await send({"type": "http.response.pathsend", "path": str(path)})

    _, stream, app = run(stack, steps, fields(method))
    assert app.error is None
    assert stream.body == (b"x" * size if method == "GET" else b"")
    assert stream.ended
    if method == "GET":
        assert stream.header(b"content-length") == b"%d" % size


def test_a_file_in_the_middle_of_a_body(stack, tmp_path):
    """Not announced, and served all the same."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100_000)

    async def steps(scope, receive, send):
        await send(start())
        await send(body(b"<", True))
        with open(path, "rb") as file:
            await send({"type": "http.response.zerocopysend", "file": file, "more_body": True})
        await send(body(b">"))

    _, stream, app = run(stack, steps)
    assert app.error is None
    assert stream.body == b"<" + b"x" * 100_000 + b">"


def test_a_file_and_a_client_that_leaves(stack, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 500_000)

    async def steps(scope, receive, send):
        await send(start())
        await send({"type": "http.response.pathsend", "path": str(path)})

    app = Script(steps)
    peer = connect(stack, app, peer=without_window(70_000))
    stream_id = peer.request()
    assert not app.ended
    peer.reset(stream_id)
    assert isinstance(app.error, ClientDisconnected)


# -- applications that fail


def test_fails_before_the_response(stack, server_log):
    async def steps(scope, receive, send):
        raise ValueError("x")

    peer, stream, app = run(stack, steps)
    assert (stream.status, stream.body, stream.ended) == (500, b"Internal Server Error\n", True)
    assert server_log.take_errors() == [app.error]
    assert not peer.closed


def test_fails_behind_the_start(stack, server_log):
    async def steps(scope, receive, send):
        await send(start(200, [(b"x", b"y")]))
        raise ValueError("x")

    _, stream, _ = run(stack, steps)
    assert (stream.status, stream.header(b"x")) == (500, None)
    server_log.take_errors()


def test_fails_within_the_response(stack, server_log):
    async def steps(scope, receive, send):
        await send(start())
        await send(body(b"abc", True))
        raise ValueError("x")

    peer, stream, _ = run(stack, steps)
    assert (stream.status, stream.body, stream.ended, stream.reset) == (200, b"abc", False, INTERNAL_ERROR)
    server_log.take_errors()
    assert peer.client.state.active == 0


def test_returns_without_a_response(stack, server_log):
    async def steps(scope, receive, send):
        pass

    _, stream, _ = run(stack, steps)
    assert stream.status == 500
    assert server_log.take_errors() == ["ASGI application returned without starting a response"]


def test_returns_within_the_response(stack, server_log):
    async def steps(scope, receive, send):
        await send(start())
        await send(body(b"abc", True))

    _, stream, _ = run(stack, steps)
    assert stream.reset == INTERNAL_ERROR
    server_log.take_errors()


# -- clients that leave


def test_a_stream_that_is_reset(stack):
    app = Idle()
    peer = connect(stack, app)
    stream_id = peer.request()
    peer.reset(stream_id)
    assert app.disconnected
    assert app.ended == 1
    assert peer.client.state.active == 0
    assert not peer.closed


def test_send_to_a_stream_that_is_reset(stack):
    gate = []

    async def steps(scope, receive, send):
        await send(start())
        await send(body(b"a", True))
        gate.append(asyncio.get_running_loop().create_future())
        await gate[0]
        await send(body(b"b", True))

    app = Script(steps)
    peer = connect(stack, app)
    stream_id = peer.request()
    peer.reset(stream_id)
    peer.client.loop.call(gate[0].set_result, None)
    peer.client.loop.run_until_idle()
    assert isinstance(app.error, ClientDisconnected)


def test_a_lost_connection(stack):
    app = Idle()
    peer = connect(stack, app)
    for _ in range(3):
        peer.request()
    peer.client.lose(ConnectionResetError())
    assert app.ended == 3
    assert not peer.client.state.connections
    assert not peer.client.state.tasks
    assert peer.client.state.active == 0


def test_a_client_that_ends_its_side_gets_its_responses(stack):
    app = Gated()
    peer = connect(stack, app)
    one, two = peer.request(fields(path="/1")), peer.request(fields(path="/2"))
    peer.client.feed_eof()
    assert not peer.closed
    app.go(peer.client)
    app.go(peer.client)
    peer.read()
    assert [peer.streams[number].body for number in (one, two)] == [b"/1", b"/2"]
    assert peer.client.transport.lost


def test_a_client_that_ends_its_side_within_an_answered_request(stack):
    """The rest of it will not come: nothing is waited for."""
    peer = connect(stack, hello)
    stream = peer.streams[peer.request(fields("POST"), end=False)]
    assert stream.ended
    peer.client.feed_eof()
    assert peer.client.transport.lost


def test_a_client_that_ends_its_side_within_a_request(stack):
    app = Idle()
    peer = connect(stack, app)
    peer.request(fields("POST"), end=False)
    peer.client.feed_eof()
    assert app.disconnected
    assert peer.client.transport.lost


def test_an_idle_client_that_ends_its_side(stack):
    peer = connect(stack, hello)
    peer.get()
    peer.client.feed_eof()
    assert peer.client.transport.lost


# -- several streams


def test_streams_side_by_side(stack):
    app = Gated()
    peer = connect(stack, app)
    numbers = [peer.request(fields(path="/%d" % number)) for number in range(5)]
    assert app.started == ["/%d" % number for number in range(5)]
    app.waiting.reverse()
    for _ in numbers:
        app.go(peer.client)
    peer.read()
    assert [peer.streams[number].body for number in numbers] == [b"/%d" % number for number in range(5)]


def test_many_requests(stack):
    """Far more than are remembered."""
    peer = connect(stack, hello)
    for _ in range(30):
        for _ in range(50):
            peer.send_request()
        peer.flush()
    assert {stream.body for stream in peer.streams.values()} == {b"hello"}
    assert peer.client.state.active == 0


def test_requests_that_come_together_are_answered_in_one_write(stack):
    peer = connect(stack, hello)
    writes = peer.client.transport.writes
    for _ in range(10):
        peer.send_request()
    peer.flush()
    assert peer.client.transport.writes - writes <= (2 if EAGER else 10)
    assert {stream.body for stream in peer.streams.values()} == {b"hello"}


def test_a_good_request_before_a_fault_is_answered(stack, server_log):
    peer = connect(stack, hello)
    peer.send_request()
    peer.raw(peer.h2.data_to_send() + frame(DATA, 0, 0, b"x"))
    assert len(peer.client.scopes) == 1
    assert peer.streams[1].status == (200 if EAGER else None)
    assert peer.code == PROTOCOL_ERROR
    assert len(server_log.warnings) == 1


def test_a_header_block_in_several_frames(stack):
    peer = connect(stack, hello)
    block = peer.h2.encoder.encode(fields(more=[("x", "y" * 30)]))
    pieces = [frame(HEADERS, END_STREAM, 1, block[:5]), frame(CONTINUATION, 0, 1, block[5:9])]
    pieces += [frame(CONTINUATION, 0, 1), frame(CONTINUATION, END_HEADERS, 1, block[9:])]
    for piece in pieces:
        peer.client.feed(piece)
    assert len(peer.client.scopes) == 1
    assert peer.client.scopes[0]["headers"][1] == (b"x", b"y" * 30)


# -- logs


def test_access_log(stack):
    lines = []
    peer = connect(stack, echo, access_log=lambda *line: lines.append(line))
    peer.get(fields("POST", '/a"b?c=d'), b"abc")
    peer.get(fields("BREW", "/\xe9"))
    peer.get(fields("GET", "x y"))
    assert lines == [
        ("127.0.0.1:50000", "POST", "/a%22b?c=d", "2", 200, 3, 0.0),
        ("127.0.0.1:50000", "BREW", "/%C3%A9", "2", 501, 15, 0.0),
        ("127.0.0.1:50000", "GET", "x%20y", "2", 400, 39, 0.0),
    ]


def test_access_log_with_headers(stack):
    lines = []
    peer = connect(stack, hello, access_log=lambda *line: lines.append(line))
    peer.client.state.logs_headers = True
    peer.get(fields(more=[("x", "y")]))
    assert lines[0][7] == ("http", [(b"host", b"h"), (b"x", b"y")], [])


def test_figures(stack, part):
    peer = connect(stack, hello)
    figures = peer.client.state.figures = part("figures").Figures()
    peer.client.state.times_requests = True
    peer.get()
    peer.get(fields("BREW"))
    assert figures.responses == [0, 1, 0, 0, 1]
    assert sum(figures.latency) == 1
    assert peer.client.state.total_requests == 1


def test_nothing_of_a_request_stays(stack):
    found = []

    async def steps(scope, receive, send):
        found.append(weakref.ref(asyncio.current_task()))
        await respond(send, await receive_body(receive))

    peer, _, app = run(stack, steps, fields("POST"), b"x" * 1000)
    peer.client.scopes.clear()
    del app
    gc.collect()
    assert found[0]() is None
