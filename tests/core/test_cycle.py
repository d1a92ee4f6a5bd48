"""HTTPCycle: what receive() gives, how a client leaves, how an application ends."""

from __future__ import annotations

import asyncio
import gc

import pytest
from harness import ERRORS, GET, request, serve

from asgiserve.errors import ClientDisconnected
from core.apps import Script, body, echo, hello, run, start

TRAILERS = {"type": "http.response.trailers", "headers": []}
HINT = {"type": "http.response.early_hint", "links": [b"</a>; rel=preload"]}

# -- receive()


def test_one_empty_request_without_a_body(stack):
    """E1."""

    async def app(scope, receive, send):
        first = await receive()
        await hello(scope, receive, send)
        return [first, await receive(), await receive()]

    _, script = run(stack, app)
    assert script.result == [
        {"type": "http.request", "body": b"", "more_body": False},
        {"type": "http.disconnect"},
        {"type": "http.disconnect"},
    ]


def test_body_in_pieces(stack):
    async def app(scope, receive, send):
        messages = []
        while not messages or messages[-1]["more_body"]:
            messages.append(await receive())
        await hello(scope, receive, send)
        return messages

    script = Script(app)
    client = serve(stack, script)
    data = request("POST", body=b"abcdef")
    client.feed(data[:-4]).feed(data[-4:-1]).feed(data[-1:])
    assert [message["body"] for message in script.result] == [b"ab", b"cde", b"f"]
    assert [message["more_body"] for message in script.result] == [True, True, False]
    assert all(type(message["body"]) is bytes for message in script.result)


@pytest.mark.parametrize("data", [b"5\r\nhello\r\n0\r\n\r\n", b"1\r\nh\r\n4\r\nello\r\n0\r\n\r\n"])
def test_chunked_body_ends_once(stack, data):
    async def app(scope, receive, send):
        messages = []
        while not messages or messages[-1]["more_body"]:
            messages.append(await receive())
        await hello(scope, receive, send)
        return [*messages, await receive()]

    for at in range(len(data)):
        script = Script(app)
        client = serve(stack, script)
        client.feed(request("POST", "/", "Transfer-Encoding: chunked"))
        client.feed(data[:at]).feed(data[at:])
        assert b"".join(message.get("body", b"") for message in script.result) == b"hello"
        assert [message["type"] for message in script.result].count("http.disconnect") == 1
        assert [message.get("more_body") for message in script.result].count(False) == 1


def test_disconnect_after_the_response(stack):
    """E2: also for a receive() that was waiting when the response ended, with the connection still open."""

    async def app(scope, receive, send):
        await receive()
        waiting = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        assert not waiting.done()
        await hello(scope, receive, send)
        return await waiting

    client, script = run(stack, app)
    assert script.result == {"type": "http.disconnect"}
    assert not client.closed


def test_disconnect_again_and_again(stack):
    async def app(scope, receive, send):
        return [(await receive())["type"] for _ in range(4)]

    script = Script(app)
    client = serve(stack, script)
    client.feed(GET)
    client.lose()
    assert script.result == ["http.request"] + 3 * ["http.disconnect"]


def test_unread_body_after_the_response_is_not_delivered(stack):
    async def app(scope, receive, send):
        await hello(scope, receive, send)
        return await receive()

    client, script = run(stack, app, request("POST", body=b"hello"))
    assert script.result == {"type": "http.disconnect"}
    assert client.feed(GET).responses()[1].body == b"hello"


# -- the client leaves


@pytest.mark.parametrize("error", [None, ConnectionResetError(104, "reset")])
@pytest.mark.parametrize(
    "path", [[], [start()], [start(), body(b"x", True)], [start(trailers=True), body(b"x")]], ids=len
)
def test_send_after_the_client_left(stack, path, error):
    """E8: an OSError of our own, which is not logged when it comes out of the application."""

    async def app(scope, receive, send):
        for message in path:
            await send(message)
        while (await receive())["type"] != "http.disconnect":
            pass
        for message in (start(), body(b"x", True), body(b"y"), TRAILERS):
            with pytest.raises(OSError) as caught:
                await send(message)
            assert isinstance(caught.value, ClientDisconnected)
        await send(body(b"z"))

    script = Script(app)
    client = serve(stack, script)
    client.feed(GET)
    client.lose(error)
    assert isinstance(script.error, ClientDisconnected)
    assert client.loop.errors == []


def test_wrapped_disconnect_is_not_logged(stack):
    async def app(scope, receive, send):
        await receive()
        await receive()
        try:
            await send(start())
        except OSError as error:
            raise RuntimeError("a framework's own") from error

    script = Script(app)
    client = serve(stack, script)
    client.feed(GET).lose()
    assert isinstance(script.error, RuntimeError)


def test_other_errors_after_the_client_left_are_logged(stack, server_log):
    async def app(scope, receive, send):
        await receive()
        await receive()
        raise LookupError

    client = serve(stack, app)
    client.feed(GET).lose()
    assert [type(error) for error in server_log.take_errors()] == [LookupError]


def test_other_os_errors_are_logged(stack, server_log):
    """Only our own OSError is passed over: one from the application's files or sockets is not."""

    async def app(scope, receive, send):
        await receive()
        await receive()
        raise FileNotFoundError

    client = serve(stack, app)
    client.feed(GET).lose()
    assert [type(error) for error in server_log.take_errors()] == [FileNotFoundError]


def test_return_after_the_client_left_is_fine(stack):
    async def app(scope, receive, send):
        await receive()
        await receive()

    client = serve(stack, app)
    client.feed(GET).lose()
    assert client.output() == b""


# -- how an application ends


async def no_response(scope, receive, send):
    pass


async def only_start(scope, receive, send):
    await send(start(headers=[(b"x", b"y")]))


@pytest.mark.parametrize("app", [no_response, only_start])
def test_return_without_a_response(stack, server_log, app):
    client = serve(stack, app)
    client.feed(GET)
    assert len(server_log.take_errors()) == 1
    response = client.response()
    assert response.status == 500
    assert response.get(b"x") is None
    assert response.get(b"content-type").startswith(b"text/plain")


async def raise_before(scope, receive, send):
    raise LookupError("before")


async def raise_after_start(scope, receive, send):
    await send(start(headers=[(b"x", b"y"), (b"content-length", b"7")]))
    raise LookupError("after start")


@pytest.mark.parametrize("app", [raise_before, raise_after_start])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_raise_before_the_response(stack, server_log, app, method):
    client = serve(stack, app)
    client.feed(request(method))
    assert [type(error) for error in server_log.take_errors()] == [LookupError]
    response = client.response()
    assert response.status == 500
    assert response.get(b"x") is None
    assert int(response.get(b"content-length")) > 0
    assert b"LookupError" not in client.output()


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_what_is_to_end_the_process_ends_the_loop(stack, server_log, kind, waits):
    """The loop raises it, not a transport, which would keep it to itself; and the client gets an answer."""

    async def app(scope, receive, send):
        while waits and (await receive())["more_body"]:
            pass
        raise kind(3)

    client = serve(stack, Script(app))
    data = request("POST", body=b"hello")
    client.feed(data[:-1], run=False)
    client.feed(data[-1:], run=False)
    with pytest.raises(kind):
        client.loop.run_until_idle()
    client.loop.run_until_idle()
    assert client.response().status == 500
    assert [type(error) for error in server_log.take_errors()] == [kind]
    assert not client.state.tasks
    if not waits:
        # Nobody can ask a task for its result that ended the loop in its first step: asyncio says so too.
        del client
        gc.collect()
        ERRORS[:] = [error for error in ERRORS if "never retrieved" not in error["message"]]


def test_connection_is_usable_after_a_500(stack, server_log):
    """The state is known: if it stays open, the next request is answered; a body left unread is not taken for one."""

    async def app(scope, receive, send):
        if scope["path"] == "/bad":
            raise LookupError
        await echo(scope, receive, send)

    client = serve(stack, app)
    client.feed(request("POST", "/bad", body=GET) + request("POST", "/good", body=b"x"))
    server_log.take_errors()
    responses = client.responses()
    assert responses[0].status == 500
    if responses[0].says_close:
        assert len(responses) == 1
        assert client.ended
    else:
        assert [response.status for response in responses] == [500, 200]


STREAMS = {
    "chunked": ("1.1", [start(), body(b"abc", True)]),
    "length": ("1.1", [start(headers=[(b"content-length", b"9")]), body(b"abc", True)]),
    "close": ("1.0", [start(), body(b"abc", True)]),
    "trailers due": ("1.1", [start(trailers=True), body(b"abc")]),
}


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("raises", [True, False])
def test_end_in_the_middle(stack, server_log, kind, raises):
    """The client sees that the response is truncated, whatever marks its end."""
    version, messages = STREAMS[kind]

    async def app(scope, receive, send):
        for message in messages:
            await send(message)
        if raises:
            raise LookupError

    client = serve(stack, app)
    client.feed(request(version=version))
    (error,) = server_log.take_errors()
    assert isinstance(error, LookupError) == raises
    assert client.closed
    response = client.response()
    if response.close_delimited:
        assert client.transport.aborted  # a reset, not an orderly end
    else:
        assert not response.complete
    assert client.state.active == 0


def test_raise_after_the_response(stack, server_log):
    """Background work that fails: the response stands, the connection too."""

    async def app(scope, receive, send):
        await hello(scope, receive, send)
        raise LookupError

    client = serve(stack, app)
    client.feed(GET).feed(GET)
    assert len(server_log.take_errors()) == 2
    assert [response.body for response in client.responses()] == [b"hello", b"hello"]
    assert not client.closed


def test_an_app_that_is_no_coroutine_function(stack, server_log):
    def app(scope, receive, send):
        raise LookupError("called")

    client = serve(stack, app, record=False)
    client.feed(GET)
    assert [type(error) for error in server_log.take_errors()] == [LookupError]
    assert client.response().status == 500


def test_an_app_that_returns_nothing_to_await(stack, server_log):
    def app(scope, receive, send):
        return None

    client = serve(stack, app, record=False)
    client.feed(GET)
    assert [type(error) for error in server_log.take_errors()] == [TypeError]
    assert client.response().status == 500


def test_an_app_that_returns_an_awaitable(stack):
    class Answer:
        def __init__(self, *args):
            self.args = args

        def __await__(self):
            return hello(*self.args).__await__()

    client = serve(stack, Answer, record=False)
    client.feed(GET)
    assert client.response().body == b"hello"


def test_a_cancelled_app_is_answered(stack):
    async def app(scope, receive, send):
        asyncio.current_task().cancel()
        await asyncio.sleep(1)

    client = serve(stack, app)
    client.feed(GET)
    assert client.response().status in (500, 503)
    assert client.state.active == 0
    assert not client.state.tasks
