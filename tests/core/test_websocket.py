"""WebSocketSession: the opening handshake, messages both ways, and every way a WebSocket ends."""

from __future__ import annotations

import asyncio

import pytest
from harness import FakeTransport, serve
from websocket_peer import ACCEPT, Peer, handshake

from asgiserve.errors import AppError, ClientDisconnected
from core.apps import Script, assert_over, hello

CONNECT = {"type": "websocket.connect"}
ACCEPTED = {"type": "websocket.accept"}


def text(value):
    return {"type": "websocket.send", "text": value}


def data(value):
    return {"type": "websocket.send", "bytes": value}


def close(**more):
    return {"type": "websocket.close", **more}


def disconnect(code, reason=""):
    return {"type": "websocket.disconnect", "code": code, "reason": reason}


class Echo:
    """Accepts, sends back what it gets, and keeps every message."""

    def __init__(self, **accept):
        self.accept = {**ACCEPTED, **accept}
        self.messages = []

    async def __call__(self, scope, receive, send):
        self.messages.append(await receive())
        await send(self.accept)
        while True:
            message = await receive()
            self.messages.append(message)
            if message["type"] == "websocket.disconnect":
                return
            await send({**message, "type": "websocket.send"})


class Keep(Echo):
    """Accepts and keeps every message; `send` is left for the test."""

    async def __call__(self, scope, receive, send):
        self.send = send
        self.receive = receive
        self.messages.append(await receive())
        await send(self.accept)
        while self.messages[-1]["type"] != "websocket.disconnect":
            self.messages.append(await receive())


def accepting(steps):
    """An application that accepts and then makes these steps."""

    async def app(scope, receive, send):
        assert await receive() == CONNECT
        await send(ACCEPTED)
        return await steps(receive, send)

    return Script(app)


def in_loop(client, awaitable):
    """Run an awaitable that must be done at once; return its result or raise its error."""

    async def wait():
        return await awaitable()

    return client.loop.run_until_complete(wait())


# -- the opening handshake


def test_accept(stack):
    app = Echo()
    peer = Peer(serve(stack, app))
    assert peer.status == 101
    assert peer.field("sec-websocket-accept") == ACCEPT
    assert peer.field("upgrade") == "websocket"
    assert peer.field("connection") == "Upgrade"
    assert peer.field("content-length") is None
    assert peer.field("date")
    assert peer.field("sec-websocket-extensions") is None
    assert app.messages == [CONNECT]


def test_scope(stack):
    client = serve(stack, Echo(), root_path="/api", lifespan_state={"db": 1})
    client.feed(handshake("Sec-WebSocket-Protocol: a, b", "Sec-WebSocket-Protocol: c", target="/caf%C3%A9?x=1"))
    scope = client.scopes[0]
    headers = scope.pop("headers")
    assert (b"sec-websocket-protocol", b"a, b") in headers
    assert scope == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        "scheme": "ws",
        "root_path": "/api",
        "path": "/api/café",
        "raw_path": b"/caf%C3%A9",
        "query_string": b"x=1",
        "subprotocols": ["a", "b", "c"],
        "state": {"db": 1},
        "extensions": {"websocket.http.response": {}},
    }


def test_scheme_over_tls(stack):
    client = serve(stack, Echo(), extra={"sslcontext": object()})
    client.feed(handshake())
    assert client.scopes[0]["scheme"] == "wss"


def test_subprotocol_and_headers(stack):
    app = Echo(subprotocol="b", headers=[(b"x-one", b"1"), (b"set-cookie", b"a=b")])
    peer = Peer(serve(stack, app), "Sec-WebSocket-Protocol: a, b")
    assert peer.field("sec-websocket-protocol") == "b"
    assert peer.field("x-one") == "1"
    assert peer.field("set-cookie") == "a=b"


BAD_ACCEPTS = {
    "subprotocol not offered": {"subprotocol": "z"},
    "sec-websocket-protocol": {"headers": [(b"Sec-WebSocket-Protocol", b"a")]},
    "sec-websocket-accept": {"headers": [(b"sec-websocket-accept", b"a")]},
    "connection": {"headers": [[b"connection", b"close"]]},
    "line break": {"headers": [(b"x", b"a\r\nb: c")]},
    "no pair": {"headers": [b"x"]},
    "str": {"headers": [("x", "y")]},
    "no list": {"headers": 1},
}


@pytest.mark.parametrize("case", BAD_ACCEPTS)
def test_bad_accept(stack, server_log, case):
    client = serve(stack, Echo(**BAD_ACCEPTS[case]))
    peer = Peer(client, "Sec-WebSocket-Protocol: a")
    assert peer.status == 500
    assert [type(error) for error in server_log.take_errors()] == [AppError]
    client.advance(3)
    assert_over(client)


def test_accept_can_be_tried_again(stack):
    async def app(scope, receive, send):
        with pytest.raises(AppError):
            await send({**ACCEPTED, "subprotocol": "z"})
        await send(ACCEPTED)
        await receive()
        await receive()

    peer = Peer(serve(stack, app))
    assert peer.status == 101


def test_data_behind_the_handshake(stack):
    """What comes in the segment of the handshake is not lost."""
    app = Echo()
    frames = Peer(serve(stack, Echo()))
    peer = Peer(serve(stack, app), behind=frames.text("one") + frames.data(b"two"))
    assert peer.frames() == [("str", "one"), ("bytes", b"two")]


def test_data_before_accept(stack):
    gates = []

    async def app(scope, receive, send):
        gates.append(asyncio.get_running_loop().create_future())
        await gates[0]
        await Echo()(scope, receive, send)

    client = serve(stack, app)
    peer = Peer(client)
    assert peer.head == b""
    peer.feed(peer.text("early"))
    peer.feed(peer.data(b"x" * 100000))
    assert client.paused
    client.loop.call(gates[0].set_result, None)
    client.loop.run_until_idle()
    assert not client.paused
    head, _, rest = client.take_output().partition(b"\r\n\r\n")
    assert b" 101 " in head
    peer._rest = rest
    assert peer.frames() == [("str", "early"), ("bytes", b"x" * 100000)]


def test_every_split_of_a_session(stack):
    """Handshake, two messages, a ping and the close, split in two at every byte."""
    made = Peer(serve(stack, Echo()))
    stream = handshake() + made.text("hé") + made.ping(b"p") + made.data(b"\0\1") + made.close(1001, "bye")
    for at in range(len(stream) + 1):
        app = Keep()
        client = serve(stack, app)
        client.feed(stream[:at]).feed(stream[at:])
        assert app.messages == [
            CONNECT,
            {"type": "websocket.receive", "text": "hé"},
            {"type": "websocket.receive", "bytes": b"\0\1"},
            disconnect(1001, "bye"),
        ]
        output = client.output().partition(b"\r\n\r\n")[2]
        assert output == b"\x8a\x01p\x88\x02\x03\xe9", at
        assert_over(client)


BAD_HANDSHAKES = {
    "version": (handshake(version="8"), 426),
    "key": (handshake(key="short"), 400),
    "two keys": (handshake("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400),
    "subprotocol": (handshake("Sec-WebSocket-Protocol: a b"), 400),
}


@pytest.mark.parametrize("case", BAD_HANDSHAKES)
def test_bad_handshake(stack, server_log, case):
    request, status = BAD_HANDSHAKES[case]
    client = serve(stack, Echo())
    client.feed(request)
    response = client.response("GET")
    assert response.status == status
    assert client.ended
    assert not client.scopes
    assert [f"127.0.0.1:50000 - {status} " in line for line in server_log.warnings] == [True]
    if status == 426:
        assert response.get_all(b"sec-websocket-version") == [b"13"]
        assert response.get_all(b"upgrade") == [b"websocket"]
    client.advance(3)
    assert_over(client)


NO_HANDSHAKES = {
    "method": handshake().replace(b"GET", b"PUT"),
    "body": handshake("Content-Length: 3") + b"abc",
    "chunked": handshake("Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "HTTP/1.0": handshake().replace(b"HTTP/1.1", b"HTTP/1.0"),
    "other protocol": handshake().replace(b"websocket", b"h2c"),
    "no Connection": handshake().replace(b"Connection: Upgrade", b"Connection: keep-alive"),
}


@pytest.mark.parametrize("case", NO_HANDSHAKES)
def test_no_handshake(stack, case):
    """An upgrade that is none to a WebSocket is ignored (RFC 9110 section 7.8)."""
    client = serve(stack, hello)
    client.feed(NO_HANDSHAKES[case])
    assert client.response().body == b"hello"
    assert client.scopes[0]["type"] == "http"


def test_switched_off(stack):
    client = serve(stack, hello, ws="none")
    client.feed(handshake())
    assert client.response().body == b"hello"


def test_limit_concurrency(stack, server_log):
    """An open WebSocket takes a place, and is refused when there is none."""
    client = serve(stack, Echo(), limit_concurrency=1)
    first = Peer(client)
    assert first.status == 101
    second = client.connect()
    assert Peer(second).status == 503
    first.feed(first.close())
    third = client.connect()
    assert Peer(third).status == 101


def test_reject(stack, server_log):
    async def app(scope, receive, send):
        await send(close(code=4000, reason="no"))
        assert await receive() == CONNECT
        assert await receive() == disconnect(1006)
        with pytest.raises(AppError):
            await send(ACCEPTED)

    script = Script(app)
    client = serve(stack, script)
    peer = Peer(client)
    assert peer.status == 403
    assert script.ended
    assert script.error is None
    client.advance(3)
    assert_over(client)


def test_application_that_does_not_answer(stack, server_log):
    async def app(scope, receive, send):
        pass

    client = serve(stack, app)
    assert Peer(client).status == 500
    assert server_log.take_errors() == ["ASGI application returned without accepting or closing the WebSocket"]


def test_application_that_fails(stack, server_log):
    async def app(scope, receive, send):
        raise KeyError("x")

    client = serve(stack, app)
    assert Peer(client).status == 500
    assert [type(error) for error in server_log.take_errors()] == [KeyError]


def test_handshake_takes_too_long(stack, server_log):
    async def app(scope, receive, send):
        await asyncio.sleep(1000)

    script = Script(app)
    client = serve(stack, script, timeout_request=3)
    peer = Peer(client)
    client.advance(3.5)
    assert b" 504 " in client.take_output()
    assert script.ended
    assert peer.head == b""
    assert len(server_log.warnings) == 1


def test_client_leaves_before_the_answer(stack):
    async def app(scope, receive, send):
        assert await receive() == CONNECT
        assert await receive() == disconnect(1006)
        with pytest.raises(ClientDisconnected):
            await send(ACCEPTED)
        await send(close())

    script = Script(app)
    client = serve(stack, script)
    client.feed(handshake())
    client.lose()
    assert script.error is None
    assert script.ended
    assert_over(client)


def test_half_closed_client(stack):
    app = Echo()
    client = serve(stack, app)
    client.feed(handshake()).feed_eof()
    assert app.messages[-1] == disconnect(1006)
    assert_over(client)


# -- denial response


def denying(*messages):
    async def app(scope, receive, send):
        assert "websocket.http.response" in scope["extensions"]
        for message in messages:
            await send(message)

    return Script(app)


def denial(status=401, headers=()):
    return {"type": "websocket.http.response.start", "status": status, "headers": list(headers)}


def denial_body(value, more_body=False):
    return {"type": "websocket.http.response.body", "body": value, "more_body": more_body}


def test_denial(stack):
    app = denying(denial(headers=[(b"www-authenticate", b"Basic")]), denial_body(b"no"))
    client = serve(stack, app)
    client.feed(handshake())
    response = client.response("GET")
    assert response.status == 401
    assert response.body == b"no"
    assert response.get_all(b"content-length") == [b"2"]
    assert response.get_all(b"www-authenticate") == [b"Basic"]
    assert response.get_all(b"connection") == [b"close"]
    client.advance(3)
    assert app.error is None
    assert_over(client)


def test_streamed_denial(stack):
    client = serve(stack, denying(denial(403), denial_body(b"a", True), denial_body(b"b", True), denial_body(b"c")))
    client.feed(handshake())
    response = client.response("GET")
    assert response.status == 403
    assert response.body == b"abc"


def test_denial_that_breaks_off(stack, server_log):
    client = serve(stack, denying(denial(403), denial_body(b"a", True)))
    client.feed(handshake())
    assert b"0\r\n\r\n" not in client.output()
    assert client.ended
    assert server_log.take_errors() == ["ASGI application returned without completing its response"]


def test_denial_without_a_body(stack, server_log):
    client = serve(stack, denying(denial(403)))
    client.feed(handshake())
    assert client.response("GET").status == 500
    assert server_log.take_errors() == ["ASGI application returned without completing its response"]


@pytest.mark.parametrize(
    "messages",
    [
        (denial(101),),
        (denial("403"),),
        (denial_body(b""),),
        (denial(), ACCEPTED),
        (denial(), close()),
        (denial(), denial_body("text")),
        (denial(), denial_body(b""), denial_body(b"")),
        (text("x"),),
        ({"type": "http.response.start", "status": 200},),
        ({},),
    ],
)
def test_bad_denial(stack, server_log, messages):
    app = denying(*messages)
    client = serve(stack, app)
    client.feed(handshake())
    assert isinstance(app.error, AppError)
    assert client.response("GET").status in (401, 500)
    assert server_log.take_errors() == [app.error]
    client.advance(3)
    assert_over(client)


# -- messages


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 200000])
def test_echo(stack, size):
    peer = Peer(serve(stack, Echo()))
    peer.feed(peer.data(b"\xff" * size), peer.text("é" * size))
    assert peer.frames() == [("bytes", b"\xff" * size), ("str", "é" * size)]


def test_fragments(stack):
    app = Echo()
    peer = Peer(serve(stack, app))
    peer.feed(peer.text("one ", False)).feed(peer.ping(b"between")).feed(peer.text("two", True))
    assert peer.frames() == [("pong", b"between"), ("str", "one two")]
    assert app.messages[1:] == [{"type": "websocket.receive", "text": "one two"}]


def test_compressed(stack):
    peer = Peer(serve(stack, Echo()), deflate=True)
    assert "permessage-deflate" in peer.field("sec-websocket-extensions")
    frame = peer.text("again and again " * 1000)
    assert len(frame) < 500
    peer.feed(frame, peer.data(b"\0" * 100000), peer.text(""))
    assert peer.frames() == [("str", "again and again " * 1000), ("bytes", b"\0" * 100000), ("str", "")]


def test_compression_switched_off(stack):
    peer = Peer(serve(stack, Echo(), ws_per_message_deflate=False), deflate=True)
    assert peer.field("sec-websocket-extensions") is None


def test_types_of_data(stack):
    async def steps(receive, send):
        await send(data(bytearray(b"a")))
        await send(data(memoryview(b"b")))
        await send({"type": "websocket.send", "bytes": None, "text": "c"})
        await send({"type": "websocket.send", "bytes": b"", "text": None})

    app = accepting(steps)
    peer = Peer(serve(stack, app))
    assert peer.frames() == [("bytes", b"a"), ("bytes", b"b"), ("str", "c"), ("bytes", b""), ("close", (1000, ""))]


BAD_MESSAGES = {
    "neither": {"type": "websocket.send"},
    "both": {"type": "websocket.send", "text": "a", "bytes": b"a"},
    "text is bytes": {"type": "websocket.send", "text": b"a"},
    "bytes is str": {"type": "websocket.send", "bytes": "a"},
    "accept again": ACCEPTED,
    "unknown": {"type": "websocket.receive"},
    "no type": {"text": "x"},
    "code": close(code=1005),
    "code str": close(code="1000"),
    "code true": close(code=True),
    "code too large": close(code=2**40),
    "reason": close(reason=b"x"),
}


@pytest.mark.parametrize("case", BAD_MESSAGES)
def test_bad_message(stack, server_log, case):
    """The application gets the error where it made it, and can go on."""

    async def steps(receive, send):
        with pytest.raises(AppError):
            await send(BAD_MESSAGES[case])
        await send(text("fine"))

    app = accepting(steps)
    peer = Peer(serve(stack, app))
    assert app.error is None
    assert peer.frames() == [("str", "fine"), ("close", (1000, ""))]


def test_lone_surrogate(stack, server_log):
    async def steps(receive, send):
        await send(text("\ud800"))

    app = accepting(steps)
    peer = Peer(serve(stack, app))
    assert isinstance(app.error, UnicodeEncodeError)
    assert peer.frames() == [("close", (1011, ""))]
    assert server_log.take_errors() == [app.error]


def test_pings_are_answered(stack):
    peer = Peer(serve(stack, Echo()))
    peer.feed(peer.ping(b"a"), peer.ping(b""), peer.pong(b"unasked"))
    assert peer.frames() == [("pong", b"a"), ("pong", b"")]


def test_pings_of_a_client_that_does_not_read(stack):
    """Only the last one is answered, and nothing piles up."""
    client = serve(stack, Echo())
    peer = Peer(client)
    client.transport.block_writes()
    for number in range(1000):
        peer.feed(peer.ping(b"%d" % number))
    assert client.transport.pending_size == 0
    client.transport.unblock_writes()
    client.loop.run_until_idle()
    assert peer.frames() == [("pong", b"999")]


# -- the client ends it


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "going"), (3000, "é"), (4999, "x" * 123)])
def test_client_closes(stack, code, reason):
    app = Echo()
    client = serve(stack, app)
    peer = Peer(client)
    peer.feed(peer.close(code, reason))
    assert app.messages[-1] == disconnect(code, reason)
    assert peer.frames() == [("close", (code, ""))]
    assert_over(client)


def test_client_closes_without_a_code(stack):
    app = Echo()
    client = serve(stack, app)
    peer = Peer(client)
    peer.feed(peer.close())
    assert app.messages[-1] == disconnect(1005)
    assert client.take_output() == b"\x88\x00"
    assert_over(client)


def test_messages_before_the_close_are_delivered(stack):
    app = Keep()
    client = serve(stack, app)
    peer = Peer(client)
    peer.feed(peer.text("a"), peer.text("b"), peer.close(1000), b"rubbish")
    assert [message.get("text") for message in app.messages] == [None, "a", "b", None]
    assert app.messages[-1] == disconnect(1000)
    assert_over(client)


def test_messages_before_the_close_are_answered(stack):
    """The client still reads: it waits for our close frame."""
    app = Echo()
    client = serve(stack, app)
    peer = Peer(client)
    peer.feed(peer.text("a"), peer.text("b"), peer.close(1000))
    assert peer.frames() == [("str", "a"), ("str", "b"), ("close", (1000, ""))]
    assert app.messages[-1] == disconnect(1000)
    assert_over(client)


@pytest.mark.parametrize("ending", ["waits", "closes", "returns"])
def test_close_behind_a_message_that_is_not_taken(stack, ending):
    async def steps(receive, send):
        await asyncio.sleep(100 if ending == "waits" else 1)
        if ending == "closes":
            await send(close(code=4000))

    client = serve(stack, accepting(steps))
    peer = Peer(client)
    peer.feed(peer.text("a"), peer.close(1001))
    assert peer.frames() == []
    client.advance(2.5)
    code = {"waits": 1001, "closes": 4000, "returns": 1000}[ending]
    assert [(kind, payload[0]) for kind, payload in peer.frames()] == [("close", code)]
    assert client.closed
    client.advance(100)
    assert_over(client)


def test_lost(stack):
    app = Keep()
    client = serve(stack, app)
    peer = Peer(client)
    peer.feed(peer.text("a"))
    client.lose(ConnectionResetError())
    assert app.messages[1:] == [{"type": "websocket.receive", "text": "a"}, disconnect(1006)]
    with pytest.raises(ClientDisconnected):
        in_loop(client, lambda: app.send(text("x")))
    in_loop(client, lambda: app.send(close()))
    assert in_loop(client, app.receive) == disconnect(1006)
    assert_over(client)


def test_send_over_a_transport_that_is_closing(stack):
    """Between a failed write and connection_lost() nothing is written, and the application is told."""
    app = Keep()
    client = serve(stack, app)
    Peer(client)
    with client.loop.running():
        client.transport.close()
        app.send(text("x"))
        with pytest.raises(ClientDisconnected):
            app.send(text("y"))
    client.loop.run_until_idle()
    assert_over(client)


# -- the application ends it


@pytest.mark.parametrize(
    ("message", "frame"),
    [
        (close(), (1000, "")),
        (close(code=None, reason=None), (1000, "")),
        (close(code=3999, reason="why"), (3999, "why")),
        (close(reason="é" * 100), (1000, "é" * 61)),
    ],
)
def test_app_closes(stack, message, frame):
    async def steps(receive, send):
        await send(message)
        return await receive()

    app = accepting(steps)
    client = serve(stack, app)
    peer = Peer(client)
    assert peer.frames() == [("close", frame)]
    assert app.result == disconnect(frame[0], message.get("reason") or "")
    assert not client.closed
    peer.feed(peer.text("late"), peer.close(frame[0]))
    assert client.take_output() == b""
    assert_over(client)


def test_client_does_not_answer_the_close(stack):
    app = accepting(lambda receive, send: send(close()))
    client = serve(stack, app)
    peer = Peer(client)
    for _ in range(9):
        client.advance(1)
        peer.feed(peer.text("still talking"))
    assert not client.closed
    client.advance(2)
    assert_over(client)


def test_messages_after_the_apps_close_are_dropped(stack):
    """What waits and what comes is dropped, so that the client's close frame is found behind any amount of it."""

    async def steps(receive, send):
        await asyncio.sleep(1)
        await send(close(code=4001))
        return await receive()

    script = accepting(steps)
    client = serve(stack, script)
    peer = Peer(client)
    for _ in range(50):
        peer.feed(peer.data(b"x" * 10000))
    assert client.paused
    client.advance(1.5)
    assert script.result == disconnect(4001)
    assert not client.paused
    assert client.waiting == 0
    peer.feed(peer.close(4001))
    assert_over(client)


def test_send_after_close(stack):
    async def steps(receive, send):
        await send(close())
        for message in (text("x"), close(), ACCEPTED):
            with pytest.raises(AppError):
                await send(message)

    app = accepting(steps)
    Peer(serve(stack, app))
    assert app.ended
    assert app.error is None


def test_app_returns(stack):
    app = accepting(lambda receive, send: send(text("bye")))
    peer = Peer(serve(stack, app))
    assert peer.frames() == [("str", "bye"), ("close", (1000, ""))]


def test_app_dies(stack, server_log):
    async def steps(receive, send):
        raise KeyError("x")

    peer = Peer(serve(stack, accepting(steps)))
    assert peer.frames() == [("close", (1011, ""))]
    assert [type(error) for error in server_log.take_errors()] == [KeyError]


def test_app_that_dies_of_the_disconnect(stack, server_log):
    """ClientDisconnected and what a framework makes of it is not worth a traceback."""

    async def steps(receive, send):
        await receive()
        try:
            await send(text("x"))
        except ClientDisconnected as error:
            raise ValueError("wrapped") from error

    app = accepting(steps)
    client = serve(stack, app)
    Peer(client)
    client.lose()
    assert isinstance(app.error, ValueError)
    assert not server_log.errors


# -- faults of the client

FAULTS = {
    "unmasked": (b"\x81\x01a", 1002),
    "reserved opcode": (b"\x83\x80\0\0\0\0", 1002),
    "UTF-8": (b"\x81\x81\0\0\0\0\xff", 1007),
    "too big": (b"\x82\xfe\x04\x01\0\0\0\0", 1009),
    "2^62": (b"\x82\xff\x40\0\0\0\0\0\0\0\0\0\0\0", 1009),
}


@pytest.mark.parametrize("case", FAULTS)
def test_fault(stack, server_log, case):
    """The close frame says why, the log has one line, the application gets the code; the rest is dropped."""
    frame, code = FAULTS[case]
    app = Echo()
    client = serve(stack, app, ws_max_size=1024)
    peer = Peer(client)
    peer.feed(frame)
    ((kind, (sent, reason)),) = peer.frames()
    assert (kind, sent) == ("close", code)
    assert app.messages[-1] == disconnect(code, reason)
    assert client.ended
    assert [f'127.0.0.1:50000 - "WebSocket /" {code} {reason}' == line for line in server_log.warnings] == [True]
    client.feed(b"x" * 100000)
    client.advance(3)
    assert_over(client)


def test_messages_before_a_fault_are_served(stack, server_log):
    app = Echo()
    client = serve(stack, app)
    peer = Peer(client)
    peer.feed(peer.text("a"), peer.text("b"), b"\xff\x80\0\0\0\0")
    assert peer.frames() == [("str", "a"), ("str", "b"), ("close", (1002, "protocol error"))]
    assert app.messages[-1] == disconnect(1002, "protocol error")
    client.advance(3)
    assert_over(client)


@pytest.mark.parametrize("ending", ["waits", "closes", "returns"])
def test_fault_behind_a_message_that_is_not_taken(stack, server_log, ending):
    async def steps(receive, send):
        await asyncio.sleep(100 if ending == "waits" else 1)
        if ending == "closes":
            await send(close(code=4000))
            await asyncio.sleep(1)

    client = serve(stack, accepting(steps))
    peer = Peer(client)
    peer.feed(peer.text("a"), b"\xff\x80\0\0\0\0")
    assert peer.frames() == []
    for _ in range(10):
        client.feed(b"x" * 100000)
    client.advance(2.5)
    code = {"waits": 1002, "closes": 4000, "returns": 1000}[ending]
    assert [(kind, payload[0]) for kind, payload in peer.frames()] == [("close", code)]
    assert client.ended
    client.advance(100)
    assert_over(client)


def test_stopped_while_it_sends(stack, server_log):
    """An application that only sends learns of the shutdown from send(); that is no error to log."""

    async def steps(receive, send):
        while True:
            await send(text("tick"))
            await asyncio.sleep(1)

    app = accepting(steps)
    client = serve(stack, app)
    Peer(client)
    client.loop.call(client.transport.get_protocol().shutdown)
    client.advance(2)
    assert isinstance(app.error, ClientDisconnected)
    assert not server_log.errors


def test_too_big_in_fragments(stack, server_log):
    app = Echo()
    peer = Peer(serve(stack, app, ws_max_size=1000))
    peer.feed(peer.data(b"x" * 1000))
    peer.feed(peer.data(b"x" * 600, False), peer.data(b"x" * 401, True))
    assert app.messages[-1]["code"] == 1009
    assert [kind for kind, _ in peer.frames()] == ["bytes", "close"]


def test_too_big_when_decompressed(stack, server_log):
    app = Echo()
    peer = Peer(serve(stack, app, ws_max_size=10000), deflate=True)
    frame = peer.data(b"\0" * 10001)
    assert len(frame) < 100
    peer.feed(frame)
    assert app.messages[-1]["code"] == 1009


# -- keeping alive


def test_pings(stack):
    client = serve(stack, Echo(), ws_ping_interval=10, ws_ping_timeout=5)
    peer = Peer(client)
    for _ in range(5):
        client.advance(9.5)
        assert peer.frames() == []
        client.advance(0.5)
        ((kind, payload),) = peer.frames()
        assert kind == "ping"
        peer.feed(peer.pong(payload))
    assert not client.ended


def test_no_pong(stack, server_log):
    app = Echo()
    client = serve(stack, app, ws_ping_interval=10, ws_ping_timeout=5)
    peer = Peer(client)
    client.advance(15.5)
    assert [frame for frame in peer.frames() if frame[0] != "ping"] == [("close", (1011, "keepalive ping timeout"))]
    assert app.messages[-1] == disconnect(1011, "keepalive ping timeout")
    assert len(server_log.warnings) == 1
    assert_over(client)


def test_data_is_a_sign_of_life(stack):
    """In the middle of a long message a client cannot send a pong."""
    client = serve(stack, Echo(), ws_ping_interval=10, ws_ping_timeout=5)
    peer = Peer(client)
    frame = peer.data(b"x" * 100)
    for at in range(len(frame)):
        client.feed(frame[at : at + 1])
        client.advance(4)
    assert [frame for frame in peer.frames() if frame[0] != "ping"] == [("bytes", b"x" * 100)]


def test_pong_behind_messages_that_the_app_does_not_take(stack):
    """While the server does not read, it cannot know."""

    async def steps(receive, send):
        await asyncio.sleep(100)

    client = serve(stack, accepting(steps), ws_ping_interval=10, ws_ping_timeout=5)
    peer = Peer(client)
    for _ in range(40):
        peer.feed(peer.data(b"x" * 4000))
    assert client.paused
    client.advance(60)
    assert not client.ended


@pytest.mark.parametrize("options", [{"ws_ping_interval": None}, {"ws_ping_timeout": None, "ws_ping_interval": 10}])
def test_switched_off_keep_alive(stack, options):
    client = serve(stack, Echo(), **options)
    peer = Peer(client)
    client.advance(1000)
    assert not client.ended
    assert len(peer.frames()) == (0 if options["ws_ping_interval"] is None else 100)


# -- backpressure


@pytest.mark.parametrize("size", [0, 1000, 100000])
def test_app_that_does_not_receive(stack, size):
    """Reading stops within the bounds; what was sent arrives in order once the application takes it."""
    gates = []
    got = []

    async def steps(receive, send):
        gates.append(asyncio.get_running_loop().create_future())
        await gates[0]
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            got.append(message["bytes"])

    client = serve(stack, accepting(steps), ws_max_queue=8)
    peer = Peer(client)
    sent = [b"%04d" % number + b"x" * size for number in range(200)]
    for message in sent:
        peer.feed(peer.data(message))
    assert client.paused
    read = 200 - len(client.inbox)
    assert read <= 10
    client.loop.call(gates[0].set_result, None)
    client.loop.run_until_idle()
    assert got == sent
    assert not client.paused
    peer.feed(peer.close())
    assert_over(client)


def test_many_messages_in_one_segment(stack):
    """No more than ws_max_queue messages are made of the input before the application takes them."""
    client = serve(stack, Echo(), ws_max_queue=4)
    peer = Peer(client)
    peer.feed(*[peer.text(str(number)) for number in range(1000)])
    assert peer.frames() == [("str", str(number)) for number in range(1000)]


def test_answers_to_a_burst_leave_together(stack):
    client = serve(stack, Echo())
    peer = Peer(client)
    before = client.transport.writes
    peer.feed(*[peer.text("x" * 100) for _ in range(30)])
    assert len(peer.frames()) == 30
    assert client.transport.writes - before <= 2


@pytest.mark.parametrize("transport", ["fakes", "uvloop.loop"])
@pytest.mark.parametrize("size", [10, 100000])
def test_client_that_does_not_read(stack, monkeypatch, size, transport):
    """Whether the transport can take head and payload of a frame as two pieces or not."""

    async def steps(receive, send):
        for _ in range(100000):
            await send(data(b"x" * size))

    monkeypatch.setattr(FakeTransport, "__module__", transport)
    app = accepting(steps)
    client = serve(stack, app, timeout_write=None, ws_ping_interval=None)
    client.transport.stall()
    client.feed(handshake())
    client.advance(1000)
    assert not app.ended
    assert client.transport.max_pending <= 2 * 65536 + size
    client.lose()
    assert isinstance(app.error, ClientDisconnected)
    assert_over(client)


def test_write_deadline(stack, server_log):
    async def steps(receive, send):
        for _ in range(100000):
            await send(data(b"x" * 1000))

    app = accepting(steps)
    client = serve(stack, app, timeout_write=30)
    client.transport.stall()
    client.feed(handshake())
    client.advance(29)
    assert not app.ended
    client.advance(2)
    assert app.ended
    assert ["takes no data" in line for line in server_log.warnings] == [True]
    assert_over(client)


# -- the server stops


def test_shutdown(stack):
    app = Keep()
    client = serve(stack, app)
    peer = Peer(client)
    client.state.stopping = True
    client.loop.call(client.transport.get_protocol().shutdown)
    client.loop.run_until_idle()
    assert peer.frames() == [("close", (1012, ""))]
    assert app.messages[-1] == disconnect(1012)
    with pytest.raises(ClientDisconnected):
        in_loop(client, lambda: app.send(text("x")))
    peer.feed(peer.close(1012))
    assert_over(client)


def test_shutdown_before_the_answer(stack):
    async def app(scope, receive, send):
        assert await receive() == CONNECT
        assert await receive() == disconnect(1012)

    script = Script(app)
    client = serve(stack, script)
    client.feed(handshake())
    client.loop.call(client.transport.get_protocol().shutdown)
    client.loop.run_until_idle()
    assert client.response("GET").status == 503
    assert script.error is None
    client.advance(3)
    assert_over(client)


def test_cancelled_at_shutdown(stack):
    async def steps(receive, send):
        await asyncio.sleep(1000)

    client = serve(stack, accepting(steps))
    peer = Peer(client)
    for task in list(client.state.tasks):
        client.loop.call(task.cancel)
    client.loop.run_until_idle()
    assert peer.frames() == [("close", (1012, ""))]


# -- logs


def test_log_lines(stack, server_log):
    client = serve(stack, Echo())
    peer = Peer(client)
    peer.feed(peer.close(1001, "secret"))
    assert server_log.messages(20) == [
        '127.0.0.1:50000 - "WebSocket /" [accepted]',
        '127.0.0.1:50000 - "WebSocket /" [closed 1001]',
    ]


def test_log_line_of_a_rejection(stack, server_log):
    client = serve(stack, denying(close()), extra={"peername": None, "sockname": "/run/x.sock"})
    client.feed(handshake(target="/a%0Ab?c"))
    assert server_log.messages(20) == ['unix - "WebSocket /a%0Ab?c" 403']
