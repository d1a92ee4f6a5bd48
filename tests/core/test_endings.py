"""How a connection ends: half-close, reset, and what the server asks of it."""

from __future__ import annotations

import asyncio

import pytest
from harness import GET, receive_body, request, serve

from asgiserve.errors import ClientDisconnected
from core.apps import Gated, Idle, Script, assert_over, body, echo, hello, start

POST = request("POST", body=b"hello")
CHUNKED = request("POST", "/", "Transfer-Encoding: chunked")
EXPECT = request("POST", "/", "Expect: 100-continue", "Content-Length: 5")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


# -- half-close


def test_eof_before_anything(stack):
    client = serve(stack, hello)
    client.feed_eof()
    assert client.output() == b""
    assert_over(client)


def test_eof_between_requests(stack):
    client = serve(stack, hello)
    client.feed(GET).feed_eof()
    assert len(client.responses()) == 1
    assert_over(client)


@pytest.mark.parametrize("at", range(1, len(GET)))
def test_eof_in_a_head(stack, at):
    client = serve(stack, hello)
    client.feed(GET[:at]).feed_eof()
    assert client.responses() == [] or client.response().status == 400
    client.advance(5)
    assert_over(client)


def test_eof_while_the_app_runs(stack):
    """A client may end its side and still read: the application is told, and its response is delivered."""
    seen = []

    async def app(scope, receive, send):
        seen.append((await receive())["type"])
        seen.append((await receive())["type"])
        await asyncio.sleep(1)
        await send(start())
        await send(body(b"x", True))
        await send(body(b"y"))

    client = serve(stack, app)
    client.feed(GET).feed_eof()
    assert seen == ["http.request", "http.disconnect"]
    assert not client.closed
    client.advance(2)
    assert client.response().body == b"xy"
    assert_over(client)


def test_eof_and_then_an_error(stack, server_log):
    """A client that ended its side still reads: it gets the 500."""

    async def app(scope, receive, send):
        await asyncio.sleep(1)
        raise LookupError

    client = serve(stack, app)
    client.feed(GET).feed_eof()
    client.advance(2)
    assert [type(error) for error in server_log.take_errors()] == [LookupError]
    assert client.response().status == 500
    assert_over(client)


def test_eof_in_a_body(stack):
    """The application is told; when it leaves it at that, nobody made a mistake that is to be logged as an error."""
    app = Idle()
    client = serve(stack, app)
    client.feed(POST[:-3]).feed_eof()
    assert app.body == b"he"
    assert app.disconnected
    client.advance(5)


def test_eof_after_two_requests(stack):
    app = Gated()
    client = serve(stack, app)
    client.feed(request(target="/1") + request(target="/2")).feed_eof()
    app.go(client)
    app.go(client)
    assert [response.body for response in client.responses()] == [b"/1", b"/2"]
    client.loop.run_until_idle()
    assert_over(client)


class FirstGated:
    """The first request waits for go(), the later ones are read to the disconnect."""

    def __init__(self):
        self.gate = None
        self.idle = Idle()

    async def __call__(self, scope, receive, send):
        if self.gate is None:
            self.gate = asyncio.get_running_loop().create_future()
            await self.gate
            await hello(scope, receive, send)
        else:
            await self.idle(scope, receive, send)
            await hello(scope, receive, send)


@pytest.mark.parametrize("second", [GET, POST, POST[:-3], CHUNKED, CHUNKED + b"5\r\nhel"], ids=repr)
def test_eof_is_seen_by_a_request_that_starts_later(stack, second):
    """The client ended its side while a pipelined request waited: once started, that has to learn so too."""
    app = FirstGated()
    client = serve(stack, app)
    client.feed(GET).feed(second).feed_eof()
    client.loop.call(app.gate.set_result, None)
    client.loop.run_until_idle()
    assert app.idle.disconnected
    assert [response.status for response in client.responses()] == [200, 200]
    client.advance(5)
    assert_over(client)


def test_eof_on_a_transport_that_cannot_be_half_closed(stack):
    """As with the TLS of asyncio: the transport is closed, and the application told."""
    app = Idle()

    async def slow(scope, receive, send):
        await app(scope, receive, send)
        await asyncio.sleep(10)

    client = serve(stack, slow)
    client.transport.can_write_eof = lambda: False
    client.feed(GET).feed_eof()
    assert client.closed
    assert app.disconnected
    client.advance(11)
    assert_over(client)


def test_eof_while_the_response_waits_for_the_client(stack):
    async def app(scope, receive, send):
        await send(start())
        for _ in range(20):
            await send(body(b"x" * 10000, True))
        await send(body())

    client = serve(stack, app)
    client.transport.stall()
    client.feed(GET).feed_eof()
    assert not client.transport.lost
    while client.transport.pending_size:
        client.transport.take(30000)
        client.loop.run_until_idle()
    assert client.response().body == b"x" * 200_000
    client.loop.run_until_idle()
    assert_over(client)


# -- reset


def chatty(ended):
    """An application that uses all there is: reads, waits, streams; until the client leaves."""

    async def app(scope, receive, send):
        try:
            content = await receive_body(receive)
            if content is None:
                return
            await asyncio.sleep(0)
            await send(start())
            await send(body(content, True))
            await asyncio.sleep(0)
            await send(body(b"end"))
            await asyncio.sleep(0)
        finally:
            ended.append(scope["path"])

    return app


CONVERSATION = (
    request("POST", "/1", body=b"hello")
    + request("POST", "/2", "Transfer-Encoding: chunked")
    + b"3\r\nabc\r\n0\r\n\r\n"
    + request("HEAD", "/3")
    + request("POST", "/4", "Expect: 100-continue", body=b"x")
)


@pytest.mark.parametrize("error", [None, ConnectionResetError(104, "reset"), TimeoutError()], ids=repr)
def test_lost_at_every_point(stack, error):
    for at in range(len(CONVERSATION) + 1):
        ended = []
        client = serve(stack, chatty(ended))
        client.feed(CONVERSATION[:at])
        client.lose(error)
        assert_over(client)
        assert len(ended) == len(client.scopes)


def test_lost_in_the_same_turn(stack):
    """The loss is reported before anything that the input started could run on."""
    for at in range(0, len(CONVERSATION) + 1, 3):
        ended = []
        client = serve(stack, chatty(ended))
        client.feed(CONVERSATION[:at], run=False)
        client.transport.force_close(ConnectionResetError())
        client.loop.run_until_idle()
        assert_over(client)
        assert len(ended) == len(client.scopes)


def test_lost_after_every_turn_of_the_loop(stack):
    for turns in range(30):
        ended = []
        client = serve(stack, chatty(ended))
        client.feed(CONVERSATION, run=False)
        for _ in range(turns):
            client.loop.run_once()
        client.transport.force_close(ConnectionResetError())
        client.loop.run_until_idle()
        assert_over(client)


def test_lost_while_send_waits(stack):
    async def app(scope, receive, send):
        await send(start())
        while True:
            await send(body(b"x" * 10000, True))

    script = Script(app)
    client = serve(stack, script)
    client.transport.stall()
    client.feed(GET)
    assert not script.ended
    client.lose(BrokenPipeError())
    assert isinstance(script.error, OSError)
    assert_over(client)


def test_lost_while_requests_wait(stack):
    app = Gated()
    client = serve(stack, app)
    client.feed(GET * 3)
    client.lose()
    assert client.state.active == 0
    with pytest.raises(OSError):
        raise_from(app, client)
    assert len(app.started) == 1


def raise_from(app, client):
    """Let the held application go on, and raise what its task ended with."""
    (task,) = client.state.tasks
    app.go(client)
    task.result()


def test_data_after_the_connection_is_lost_is_ignored(stack):
    client = serve(stack, hello)
    client.lose()
    client.loop.call(client.conn.pause_writing)
    client.loop.call(client.conn.resume_writing)
    assert client.output() == b""


# -- for the server


def test_shutdown_closes_an_idle_connection(stack):
    for first in (b"", GET, POST):
        client = serve(stack, hello)
        client.feed(first)
        client.loop.call(client.conn.shutdown)
        client.loop.run_until_idle()
        assert_over(client)


def test_shutdown_lets_a_request_finish(stack):
    app = Gated()
    client = serve(stack, app)
    client.feed(GET)
    client.loop.call(client.conn.shutdown)
    client.loop.run_until_idle()
    assert not client.closed
    app.go(client)
    assert client.response().says_close
    assert_over(client)


def test_shutdown_does_not_start_what_waits(stack):
    app = Gated()
    client = serve(stack, app)
    client.feed(GET * 3)
    client.loop.call(client.conn.shutdown)
    app.go(client)
    assert client.response().says_close
    assert len(app.started) == 1
    client.advance(5)
    assert_over(client)


@pytest.mark.parametrize("at", [1, 20, len(POST) - 3])
def test_shutdown_within_a_request(stack, at):
    """Of a request which has begun to come the rest is awaited, and it is answered."""
    client = serve(stack, echo)
    client.feed(POST[:at])
    client.state.stopping = True
    client.loop.call(client.conn.shutdown)
    client.loop.run_until_idle()
    assert not client.closed
    client.feed(POST[at:])
    assert client.response().says_close
    assert_over(client)


def test_shutdown_while_the_rest_of_a_body_is_dropped(stack):
    client = serve(stack, hello)
    client.feed(POST[:-3])
    assert client.response().status == 200
    client.state.stopping = True
    client.loop.call(client.conn.shutdown)
    client.feed(POST[-3:])
    client.advance(1)
    assert_over(client)


def test_stopping_is_said_by_every_response(stack):
    client = serve(stack, hello)
    client.state.stopping = True
    client.feed(GET * 2)
    assert client.response().says_close
    assert client.ended


def test_a_connection_made_while_stopping_is_closed(stack):
    client = serve(stack, hello)
    client.state.stopping = True
    late = client.connect()
    late.loop.run_until_idle()
    assert late.closed
    assert late.output() == b""


def test_shutdown_of_a_streaming_response(stack):
    gate = []

    async def app(scope, receive, send):
        await send(start())
        await send(body(b"a", True))
        gate.append(asyncio.get_running_loop().create_future())
        await gate[0]
        await send(body(b"b"))

    client = serve(stack, app)
    client.feed(GET)
    client.loop.call(client.conn.shutdown)
    client.loop.call(gate[0].set_result, None)
    client.loop.run_until_idle()
    assert client.response().body == b"ab"
    assert_over(client)


def test_disconnect_app(stack):
    """A stream is told to end, and can end in order."""

    async def app(scope, receive, send):
        await receive()
        await send(start())
        await send(body(b"a", True))
        assert (await receive())["type"] == "http.disconnect"
        await send(body(b"bye"))

    client = serve(stack, app)
    client.feed(GET)
    client.loop.call(client.conn.disconnect_app)
    client.loop.run_until_idle()
    assert client.response().body == b"abye"


def test_disconnect_app_without_an_app(stack):
    client = serve(stack, hello)
    client.loop.call(client.conn.disconnect_app)
    client.feed(GET)
    assert client.response().status == 200


@pytest.mark.parametrize("data", [b"", GET[:5], GET, POST[:-2]])
def test_abort(stack, data):
    app = Idle()
    client = serve(stack, app)
    client.feed(data)
    client.loop.call(client.conn.abort)
    client.loop.run_until_idle()
    assert client.transport.aborted
    assert_over(client)
    assert app.ended == len(client.scopes)


@pytest.mark.parametrize("chunks", [1, 2])
@pytest.mark.parametrize("data", [GET, POST[:-2], request("GET", "/", "Connection: close")])
def test_response_between_abort_and_connection_lost(stack, data, chunks):
    """The application answers when the connection is already cut, but not yet reported as lost."""
    gate = []

    async def app(scope, receive, send):
        gate.append(asyncio.get_running_loop().create_future())
        await gate[0]
        await send(start())
        for number in range(chunks):
            await send(body(b"x", number < chunks - 1))

    script = Script(app)
    client = serve(stack, script)
    client.feed(data)
    client.loop.call(gate[0].set_result, None)
    client.loop.call(client.conn.abort)
    client.loop.run_until_idle()
    assert script.ended
    assert script.error is None or isinstance(script.error, OSError)
    assert client.output() == b""
    assert_over(client)


def test_a_held_head_meets_a_dead_transport(stack):
    """A write has failed and connection_lost() has yet to come when the tick sends the head: the app is told."""

    async def app(scope, receive, send):
        await send(start())
        await asyncio.sleep(5)
        with pytest.raises(ClientDisconnected):
            await send(body(b"x", True))

    script = Script(app)
    client = serve(stack, script)
    client.feed(GET)
    client.transport.abort()
    client.state.tick(client.loop.time(), 0)
    client.advance(6)
    assert script.error is None
    assert client.state.active == 0
