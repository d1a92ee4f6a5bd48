"""The messages of a response (ASGI HTTP spec 2.5): which are taken, which are refused, and what is left then."""

from __future__ import annotations

import http
import re

import pytest
from harness import GET, request, respond, serve

from asgiserve.errors import AppError
from core.apps import Script, body, hello, run, start

TRAILERS = {"type": "http.response.trailers", "headers": []}
HINT = {"type": "http.response.early_hint", "links": [b"</a>; rel=preload"]}

# -- good messages


def test_start_needs_only_a_status(stack):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    client, _ = run(stack, app)
    assert client.response().status == 204


@pytest.mark.parametrize("content", [{}, {"body": b""}, {"body": b"a"}], ids=["none", "empty", "some"])
@pytest.mark.parametrize("headers", [{}, {"headers": []}, {"headers": [(b"a", b"1")]}], ids=["none", "empty", "some"])
def test_what_is_left_out_does_not_hide_what_follows(stack, headers, content):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, **headers, "trailers": True})
        await send({"type": "http.response.body", **content, "more_body": True})
        await send({"type": "http.response.body", "body": b"z"})
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]})

    client, _ = run(stack, app, request("GET", "/", "TE: trailers"))
    assert client.response().body == content.get("body", b"") + b"z"
    assert client.response().trailers == [(b"x-sum", b"1")]


PAIRS = [(b"a", b"1"), (b"b", b"2")]


@pytest.mark.parametrize(
    "make",
    [list, tuple, iter, dict, lambda pairs: [list(pair) for pair in pairs], lambda pairs: (pair for pair in pairs)],
    ids=["list", "tuple", "iterator", "dict view", "lists", "generator"],
)
def test_headers_are_any_iterable(stack, make):
    """E3."""

    async def app(scope, receive, send):
        headers = make(PAIRS)
        headers = headers.items() if isinstance(headers, dict) else headers
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send(body())

    client, _ = run(stack, app)
    assert [pair for pair in client.response().headers if pair in PAIRS] == PAIRS


def test_start_is_held_until_the_body(stack):
    """E5: the head leaves with the first body message."""
    sizes = []

    async def app(scope, receive, send):
        await send(start())
        sizes.append(client.transport.written)
        await send(body(b"x"))

    client = serve(stack, app)
    client.feed(GET)
    assert sizes == [0]
    assert client.response().body == b"x"


def test_unknown_keys_are_ignored(stack):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [], "x": 1})
        await send({"type": "http.response.body", "body": b"ok", "y": object()})

    client, _ = run(stack, app)
    assert client.response().body == b"ok"


def test_a_message_may_be_any_mapping(stack):
    class Message(dict):
        pass

    async def app(scope, receive, send):
        await send(Message(type="http.response.start", status=200, headers=[]))
        await send(Message(type="http.response.body", body=b"ok"))

    client, _ = run(stack, app)
    assert client.response().body == b"ok"


def test_status_may_be_an_int_enum(stack):
    async def app(scope, receive, send):
        await send(start(http.HTTPStatus.CREATED))
        await send(body())

    client, _ = run(stack, app)
    assert client.response().status == 201


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_body_may_be_any_bytes(stack, kind):
    async def app(scope, receive, send):
        await send(start())
        await send(body(kind(b"ab"), True))
        await send(body(kind(b"cd")))

    client, _ = run(stack, app)
    assert client.response().body == b"abcd"


def test_a_buffer_may_be_reused_after_send(stack):
    """What send() took is not changed by what the application does to its buffer afterwards."""

    async def app(scope, receive, send):
        buffer = bytearray(b"aaaa")
        await send(start())
        for letter in b"abc":
            buffer[:] = bytes([letter]) * 4
            await send(body(buffer, True))
        buffer.clear()
        await send(body())

    client = serve(stack, app)
    client.transport.stall()
    client.feed(GET)
    client.transport.unblock_writes()
    assert client.response().body == b"aaaabbbbcccc"


# -- wrong messages

WRONG_ORDER = {
    # state: (messages that lead there, messages that are refused there)
    "waiting": ([], [body(), TRAILERS]),
    "started": ([start()], [start(), TRAILERS]),
    "streaming": ([start(), body(b"x", True)], [start(), TRAILERS]),
    "trailers due": ([start(trailers=True), body(b"x")], [start(), body(), body(b"x", True)]),
    "done": ([start(), body(b"x")], [start(), body(), body(b"y", True), TRAILERS]),
    "done with trailers": ([start(trailers=True), body(b"x"), TRAILERS], [start(), body(), TRAILERS]),
}
NO_MESSAGES = [
    {"type": "http.response.push", "path": "/", "headers": []},
    {"type": "http.response.debug", "info": {}},
    {"type": "http.request"},
    {"type": "http.disconnect"},
    {"type": "websocket.accept"},
    {"type": "lifespan.startup.complete"},
    {"type": "nonsense"},
    {"type": None},
    {"type": 1},
    {"type": b"http.response.start"},
    {},
    {"status": 200},
]


@pytest.mark.parametrize("state", WRONG_ORDER)
def test_wrong_order(stack, server_log, state):
    """C5: the error names the message; the response goes on as if it had not been sent."""
    path, refused = WRONG_ORDER[state]
    errors = []

    async def app(scope, receive, send):
        for message in path:
            await send(message)
        for message in refused + NO_MESSAGES:
            with pytest.raises(AppError) as caught:
                await send(message)
            errors.append((message, str(caught.value)))
        if state == "waiting":
            await send(start())
        if state in ("waiting", "started", "streaming"):
            await send(body(b"y"))
        if state == "trailers due":
            await send(TRAILERS)

    client, script = run(stack, app)
    assert script.error is None
    assert client.response().complete
    assert client.response().status == 200
    for message, text in errors:
        if isinstance(message.get("type"), str):
            assert message["type"] in text
        else:
            assert "type" in text or repr(message["type"]) in text


def test_errors_name_the_state(stack):
    """The same message in two states gives two texts."""
    texts = []

    async def app(scope, receive, send):
        await send(start())
        for _ in range(2):
            try:
                await send(start())
            except AppError as error:
                texts.append(str(error))
            await send(body(b"", len(texts) < 2))

    run(stack, app)
    assert len(set(texts)) == 2


BAD_STATUS = [
    None,
    "200",
    b"200",
    200.0,
    True,
    [],
    0,
    -1,
    1,
    99,
    100,
    101,
    103,
    199,
    1000,
    2**31,
    2**63,
    2**64,
    -(2**63),
]


@pytest.mark.parametrize("status", BAD_STATUS)
def test_bad_status(stack, server_log, status):
    async def app(scope, receive, send):
        with pytest.raises(AppError, match=re.escape("http.response.start")):
            await send({"type": "http.response.start", "status": status, "headers": []})
        await respond(send, b"fine")

    client, script = run(stack, app)
    assert script.error is None
    assert client.response().body == b"fine"


def test_missing_status(stack):
    async def app(scope, receive, send):
        with pytest.raises(AppError, match=re.escape("http.response.start")):
            await send({"type": "http.response.start", "headers": []})
        await respond(send, b"fine")

    client, _ = run(stack, app)
    assert client.response().body == b"fine"


BAD_HEADERS = [
    5,
    [5],
    ["ab"],
    [b"ab"],
    [("a", "b")],
    [(b"a", "b")],
    [("a", b"b")],
    [(b"a", None)],
    [(b"a", 1)],
    [(None, b"b")],
    [(b"a",)],
    [(b"a", b"b", b"c")],
    [()],
    [None],
    {b"a": b"b"},
    "a: b",
    b"a: b",
    [(b"", b"b")],
    [(b"a b", b"c")],
    [(b"a:", b"c")],
    [(b":status", b"200")],
    [(b"a\r\n", b"c")],
    [(b"a\n", b"c")],
    [(b"a\0", b"c")],
    [(b"\xc3\xa9", b"c")],
    [(b"a", b"b\r\nx: y")],
    [(b"a", b"b\nx: y")],
    [(b"a", b"b\r")],
    [(b"a", b"b\n")],
    [(b"a", b"\0")],
    [(b"a", b"\x01")],
    [(b"a", b"\x0b")],
    [(b"a", b"\x7f")],
    [(b"a", b"ok"), (b"b", b"\n")],
    [(b"content-length", b"x")],
    [(b"content-length", b"")],
    [(b"content-length", b"-1")],
    [(b"content-length", b"+1")],
    [(b"content-length", b"1_0")],
    [(b"content-length", b"1 1")],
    [(b"content-length", b"1, 1")],
    [(b"content-length", b"0x1")],
    [(b"content-length", b"\xb2")],
    [(b"content-length", b"9" * 30)],
    [(b"content-length", b"1"), (b"content-length", b"2")],
    [(b"content-length", b"1"), (b"Content-Length", b"2")],
    [(b"connection", b"close\r\nx: y")],
    [(b"date", b"now\r\n")],
    [(b"server", b"me\n")],
    [(b"transfer-encoding", b"chunked\r\n")],
]


@pytest.mark.parametrize("headers", BAD_HEADERS, ids=repr)
def test_bad_headers(stack, headers):
    """Nothing of a refused start reaches the wire, and the application may start again."""

    async def app(scope, receive, send):
        with pytest.raises(AppError):
            await send({"type": "http.response.start", "status": 200, "headers": headers})
        assert client.transport.written == 0
        await respond(send, b"fine", headers=[(b"z", b"1")])

    script = Script(app)
    client = serve(stack, script)
    client.feed(GET)
    assert script.error is None
    response = client.response()
    assert (response.status, response.body) == (200, b"fine")
    assert response.get(b"a") is None
    assert response.get(b"x") is None


def test_headers_that_raise(stack, server_log):
    """An iterable of the application that fails is the application's own error."""

    def headers():
        yield b"a", b"b"
        raise LookupError("mine")

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": headers()})

    client, _ = run(stack, app)
    assert [type(error) for error in server_log.take_errors()] == [LookupError]
    response = client.response()
    assert response.status == 500
    assert response.get(b"a") is None


@pytest.mark.parametrize("value", [None, "text", 5, [b"x"], object], ids=repr)
@pytest.mark.parametrize("streaming", [False, True])
def test_bad_body(stack, value, streaming):
    async def app(scope, receive, send):
        await send(start())
        if streaming:
            await send(body(b"a", True))
        with pytest.raises(AppError, match=re.escape("http.response.body")):
            await send({"type": "http.response.body", "body": value})
        await send(body(b"b"))

    client, script = run(stack, app)
    assert script.error is None
    assert client.response().body == (b"ab" if streaming else b"b")


@pytest.mark.parametrize("message", [None, 5, "http.response.start", [("type", "x")], object], ids=repr)
def test_not_a_message(stack, message):
    async def app(scope, receive, send):
        with pytest.raises((AppError, TypeError, ValueError)):
            await send(message)
        await respond(send, b"fine")

    client, script = run(stack, app)
    assert script.error is None
    assert client.response().body == b"fine"


@pytest.mark.parametrize("message", [body(), start(0), start(headers=[(b"a", b"\n")]), {"type": "nonsense"}], ids=repr)
def test_an_uncaught_app_error_is_answered_with_500(stack, server_log, message):
    async def app(scope, receive, send):
        await send(message)

    client, _ = run(stack, app)
    assert [type(error) for error in server_log.take_errors()] == [AppError]
    assert client.response().status == 500


# -- Content-Length of the application


@pytest.mark.parametrize("pieces", [[b"abcd"], [b"ab", b"cd"], [b"abc", b"", b"d"], [b"abcdefgh"], [b"", b"abcd"]])
def test_body_too_long(stack, server_log, pieces):
    """E11: an error to the application; the client gets what was announced at most, and no reuse of what is cut."""
    sent = []

    async def app(scope, receive, send):
        await send(start(headers=[(b"content-length", b"3")]))
        for index, piece in enumerate(pieces):
            await send(body(piece, index < len(pieces) - 1))
            sent.append(piece)

    client, _ = run(stack, app)
    (error,) = server_log.take_errors()
    assert isinstance(error, AppError)
    assert "ength" in str(error)
    response = client.response()
    if sent:
        assert client.closed
        assert response.complete == (len(b"".join(sent)) == 3)
        assert response.body == b"".join(sent)
    else:
        assert response.status == 500


@pytest.mark.parametrize("pieces", [[b"ab"], [b""], [b"a", b"b"], [b"", b""], [b"ab", b""]])
def test_body_too_short(stack, server_log, pieces):
    sent = []

    async def app(scope, receive, send):
        await send(start(headers=[(b"content-length", b"3")]))
        for index, piece in enumerate(pieces):
            await send(body(piece, index < len(pieces) - 1))
            sent.append(piece)

    client, _ = run(stack, app)
    (error,) = server_log.take_errors()
    assert isinstance(error, AppError)
    response = client.response()
    if sent:
        assert client.closed
        assert not response.complete
        assert response.body == b"".join(sent)
    else:
        assert response.status == 500


@pytest.mark.parametrize("pieces", [[b"abc"], [b"a", b"bc"], [b"abc", b""], [b"", b"", b"abc"]])
def test_body_fits(stack, pieces):
    async def app(scope, receive, send):
        await send(start(headers=[(b"content-length", b"3")]))
        for index, piece in enumerate(pieces):
            await send(body(piece, index < len(pieces) - 1))

    client, _ = run(stack, app)
    response = client.response()
    assert response.body == b"abc"
    assert response.get(b"content-length") == b"3"
    client.feed(GET)
    assert len(client.responses()) == 2


def test_a_body_that_does_not_fit_and_an_app_that_does_not_care(stack, server_log):
    """The error is caught, and the application ends: the client must see that the response is cut."""

    async def app(scope, receive, send):
        await send(start(headers=[(b"content-length", b"3")]))
        await send(body(b"ab", True))
        try:
            await send(body(b"cd"))
        except AppError:
            pass

    client, _ = run(stack, app)
    server_log.take_errors()
    response = client.response()
    assert not response.complete
    assert client.closed


# -- extensions


def test_trailers(stack):
    async def app(scope, receive, send):
        await send(start(headers=[(b"trailer", b"x-sum")], trailers=True))
        await send(body(b"abc"))
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")], "more_trailers": True})
        await send({"type": "http.response.trailers", "headers": [(b"x-more", b"2")]})

    client, script = run(stack, app, request("GET", "/", "TE: trailers"))
    assert script.error is None
    response = client.response()
    assert response.chunked
    assert response.body == b"abc"
    assert response.trailers == [(b"x-sum", b"1"), (b"x-more", b"2")]
    client.feed(request("GET", "/", "TE: trailers"))
    assert len(client.responses()) == 2


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_trailers_are_dropped_unless_asked_for(stack, version):
    """X7: the response is complete all the same."""

    async def app(scope, receive, send):
        await send(start(trailers=True))
        await send(body(b"abc"))
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]})

    client, script = run(stack, app, request(version=version))
    assert script.error is None
    response = client.response()
    assert response.complete
    assert response.body == b"abc"
    assert response.trailers == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_trailers_with_a_length(stack, method):
    async def app(scope, receive, send):
        await send(start(headers=[(b"content-length", b"3")], trailers=True))
        await send(body(b"abc"))
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]})

    client, script = run(stack, app, request(method, "/", "TE: trailers"))
    assert script.error is None
    assert client.response().complete
    client.feed(request(method, "/", "TE: trailers"))
    assert len(client.responses()) == 2


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-length", b"1")],
        [(b"Transfer-Encoding", b"chunked")],
        [(b"host", b"x")],
        [(b":status", b"200")],
        [(b"a", b"b\r\nc: d")],
        [("a", "b")],
        [(b"a b", b"c")],
    ],
    ids=repr,
)
def test_bad_trailers(stack, server_log, headers):
    async def app(scope, receive, send):
        await send(start(trailers=True))
        await send(body(b"abc"))
        await send({"type": "http.response.trailers", "headers": headers})

    client, script = run(stack, app, request("GET", "/", "TE: trailers"))
    assert isinstance(script.error, AppError)
    server_log.take_errors()
    response = client.response()
    assert response.trailers == []
    assert not response.complete
    assert client.closed


def test_early_hint(stack):
    async def app(scope, receive, send):
        await send(HINT)
        await send(start())
        await send({"type": "http.response.early_hint", "links": [b"</b>", b"</c>"]})
        await send(body(b"x", True))
        await send(HINT)  # too late to be of use
        await send(body(b"y"))

    client, script = run(stack, app)
    assert script.error is None
    response = client.response()
    assert [(hint.status, hint.headers) for hint in response.interim] == [
        (103, [(b"link", b"</a>; rel=preload")]),
        (103, [(b"link", b"</b>"), (b"link", b"</c>")]),
    ]
    assert response.body == b"xy"


def test_no_early_hint_for_http_1_0(stack):
    async def app(scope, receive, send):
        await send(HINT)
        await hello(scope, receive, send)

    client, script = run(stack, app, request(version="1.0"))
    assert script.error is None
    assert client.response().interim == []


@pytest.mark.parametrize("links", [["</a>"], [b"a\r\nx: y"], [b"\0"], 5, None], ids=repr)
def test_bad_early_hint(stack, links):
    async def app(scope, receive, send):
        with pytest.raises((AppError, TypeError)):
            await send({"type": "http.response.early_hint", "links": links})
        assert client.transport.written == 0
        await hello(scope, receive, send)

    script = Script(app)
    client = serve(stack, script)
    client.feed(GET)
    assert script.error is None
    assert client.response().body == b"hello"
