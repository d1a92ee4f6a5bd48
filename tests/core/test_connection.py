"""HTTPConnection: keep-alive, the pipelining gate, 100 (Continue), unread bodies, half-close, reset, shutdown."""

from __future__ import annotations

import asyncio

import pytest
from harness import GET, receive_body, request, respond, serve

from core.apps import Gated, Idle, Script, body, echo, hello, start

POST = request("POST", body=b"hello")
CHUNKED = request("POST", "/", "Transfer-Encoding: chunked")
EXPECT = request("POST", "/", "Expect: 100-continue", "Content-Length: 5")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def assert_over(client, active=0):
    """The connection is gone and nothing is left of it on the server."""
    assert client.transport.lost
    assert not client.state.connections
    assert client.state.active == active
    assert not client.state.tasks
    assert not client.loop.errors


# -- keep-alive and pipelining


def test_many_requests_on_one_connection(stack):
    client = serve(stack, echo)
    for number in range(50):
        client.feed(request("POST", body=b"%d" % number))
    assert [response.body for response in client.responses()] == [b"%d" % number for number in range(50)]
    assert client.state.total_requests == 50
    assert client.state.active == 0
    assert client.state.connections == {client.conn}


def test_pipelined_requests_are_answered_in_order(stack):
    """The gate: the next request does not start before the response to the last one is complete."""
    app = Gated()
    client = serve(stack, app)
    client.feed(request(target="/1") + request("POST", "/2", body=b"x") + request(target="/3"))
    assert app.started == ["/1"]
    for number in (1, 2, 3):
        assert client.state.active == 1
        assert app.started == [f"/{n}" for n in range(1, number + 1)]
        app.go(client)
    assert [response.body for response in client.responses()] == [b"/1", b"/2", b"/3"]
    assert client.state.active == 0


def test_a_request_that_comes_while_another_runs(stack):
    app = Gated()
    client = serve(stack, app)
    client.feed(request(target="/1"))
    for byte in request(target="/2"):
        client.feed(bytes([byte]))
    assert app.started == ["/1"]
    app.go(client)
    assert app.started == ["/1", "/2"]
    app.go(client)
    assert [response.body for response in client.responses()] == [b"/1", b"/2"]


def test_a_request_of_which_a_part_came_while_another_ran(stack):
    app = Gated()
    client = serve(stack, app)
    second = request("POST", "/2", body=b"hello")
    client.feed(request(target="/1") + second[:20])
    app.go(client)
    assert app.started == ["/1"]
    client.feed(second[20:-3]).feed(second[-3:])
    app.go(client)
    assert [response.body for response in client.responses()] == [b"/1", b"/2"]


def test_a_bad_request_that_came_while_another_ran(stack):
    """The good one is answered; then the bad one."""
    app = Gated()
    client = serve(stack, app)
    client.feed(request(target="/1") + b"bad\r\n\r\n" + GET)
    assert client.output() == b""
    app.go(client)
    assert [response.status for response in client.responses()] == [200, 400]
    assert client.ended


def test_reading_stops_while_requests_wait(stack):
    """A little is taken in, the rest stays with the client."""
    app = Gated()
    client = serve(stack, app)
    client.feed(GET)
    assert not client.paused
    piece, sent = GET * 100, 0
    while not client.paused:
        client.feed(piece)
        sent += 100
        assert sent * len(GET) < 64 * 1024 + 2 * len(piece)
    for _ in range(5):
        client.feed(piece)
    assert client.waiting == 5 * len(piece)
    assert app.started == ["/"]
    for _ in range(1 + sent + 500):
        app.go(client)
    assert len(client.responses()) == 1 + sent + 500
    assert not client.paused
    assert client.waiting == 0


def test_eof_behind_a_request_that_waits(stack):
    """The end of the input is seen while an application works, also with a little input in between."""
    app = Gated()
    client = serve(stack, app)
    client.feed(request(target="/1")).feed(request(target="/2")).feed_eof()
    app.go(client)
    app.go(client)
    assert [response.body for response in client.responses()] == [b"/1", b"/2"]


def test_an_app_that_works_on_after_its_response(stack):
    """The gate opens with the response, not with the end of the task."""
    finish = []

    async def app(scope, receive, send):
        await hello(scope, receive, send)
        event = asyncio.Event()
        finish.append(event)
        await event.wait()

    client = serve(stack, app)
    client.feed(GET * 2)
    assert len(client.responses()) == 2
    assert client.state.active == 0
    assert len(client.state.tasks) == 2
    for event in finish:
        client.loop.call(event.set)
    client.loop.run_until_idle()
    assert not client.state.tasks


def test_deep_pipelines_do_not_recurse(stack):
    client = serve(stack, echo)
    client.feed(GET * 5000)
    assert len(client.responses()) == 5000


def test_deep_pipelines_of_apps_that_wait(stack):
    async def app(scope, receive, send):
        await asyncio.sleep(0)
        await hello(scope, receive, send)

    client = serve(stack, app)
    client.feed(GET * 5000)
    assert len(client.responses()) == 5000
    assert not client.paused


def test_connections_are_independent(stack):
    app = Gated()
    one = serve(stack, app)
    two = one.connect()
    one.feed(request(target="/1"))
    two.feed(request(target="/2"))
    assert one.state.active == 2
    assert one.state.connections == {one.conn, two.conn}
    app.go(one)
    assert one.response().body == b"/1"
    assert two.output() == b""
    app.go(two)
    assert two.response().body == b"/2"
    one.lose()
    assert one.state.connections == {two.conn}


# -- 100 (Continue)


def test_continue_comes_with_the_first_receive(stack):
    gate = []

    async def app(scope, receive, send):
        gate.append(asyncio.get_running_loop().create_future())
        await gate[0]
        await echo(scope, receive, send)

    client = serve(stack, app)
    client.feed(EXPECT)
    assert client.output() == b""
    client.loop.call(gate[0].set_result, None)
    client.loop.run_until_idle()
    assert client.output() == CONTINUE
    client.feed(b"hel")
    assert client.output() == CONTINUE
    client.feed(b"lo")
    response = client.response()
    assert [interim.status for interim in response.interim] == [100]
    assert response.body == b"hello"
    client.feed(GET)
    assert client.responses()[1].interim == []


def test_continue_is_sent_once(stack):
    async def app(scope, receive, send):
        for _ in range(3):
            try:
                await asyncio.wait_for(receive(), 1)
            except asyncio.TimeoutError:
                pass
        await echo(scope, receive, send)

    client = serve(stack, app)
    client.feed(EXPECT)
    client.advance(10)
    assert client.output() == CONTINUE
    client.feed(b"hello")
    assert client.response().body == b"hello"


def test_no_continue_when_the_body_came(stack):
    gate = []

    async def app(scope, receive, send):
        gate.append(asyncio.get_running_loop().create_future())
        await gate[0]
        await echo(scope, receive, send)

    client = serve(stack, app)
    client.feed(EXPECT).feed(b"hello")
    client.loop.call(gate[0].set_result, None)
    client.loop.run_until_idle()
    assert client.response().interim == []


def test_no_continue_for_http_1_0(stack):
    client = serve(stack, echo)
    client.feed(request("POST", "/", "Expect: 100-continue", "Content-Length: 5", version="1.0"))
    assert client.output() == b""
    client.feed(b"hello")
    assert client.response().body == b"hello"


def test_no_continue_after_the_response(stack):
    """The answer came without the body: no 100 any more, and the connection cannot be used again."""

    async def app(scope, receive, send):
        await hello(scope, receive, send)
        for _ in range(3):
            assert (await receive())["type"] == "http.disconnect"

    client = serve(stack, app)
    client.feed(EXPECT)
    response = client.response()
    assert response.interim == []
    assert response.says_close
    assert client.ended
    client.feed(b"hello" + GET)
    assert len(client.responses()) == 1


def test_no_continue_once_the_response_is_on_its_way(stack):
    async def app(scope, receive, send):
        await send(start())
        await send(body(b"a", True))
        message = await receive()
        await send(body(b"b"))
        return message

    script = Script(app)
    client = serve(stack, script)
    client.feed(EXPECT)
    client.feed(b"hello")
    response = client.response()
    assert response.interim == []
    assert b"100 Continue" not in client.output()
    assert response.body == b"ab"


def test_no_continue_without_a_body(stack):
    client = serve(stack, echo)
    client.feed(request("GET", "/", "Expect: 100-continue"))
    assert client.response().interim == []


def test_continue_for_a_pipelined_request(stack):
    client = serve(stack, echo)
    client.feed(GET + EXPECT)
    client.feed(b"hello")
    first, second = client.responses()
    assert first.interim == []
    assert [interim.status for interim in second.interim] == [100]


# -- a body which the application leaves unread


def test_small_rest_of_a_body_is_read_and_dropped(stack):
    client = serve(stack, hello)
    data = request("POST", body=GET * 10)
    client.feed(data[:60]).feed(data[60:] + GET)
    assert [response.status for response in client.responses()] == [200, 200]
    assert not client.ended
    assert client.state.total_requests == 2


def test_small_rest_of_a_chunked_body_is_read_and_dropped(stack):
    client = serve(stack, hello)
    client.feed(CHUNKED).feed(b"5\r\nhello\r\n").feed(b"0\r\nA: b\r\n\r\n" + GET)
    assert [response.status for response in client.responses()] == [200, 200]


@pytest.mark.parametrize("kind", ["length", "chunked"])
def test_large_rest_of_a_body_is_not_read_for_ever(stack, kind):
    """Early response to a large upload: it is delivered, and what is read and dropped stays within a bound."""
    client = serve(stack, hello)
    piece = b"x" * 65536
    if kind == "length":
        client.feed(request("POST", "/", f"Content-Length: {len(piece) * 1000}"))
    else:
        client.feed(CHUNKED)
        piece = b"10000\r\n" + piece + b"\r\n"
    for _ in range(40):
        client.feed(piece)
    response = client.response()
    assert response.body == b"hello"
    assert client.ended
    client.advance(10)
    assert_over(client)


def test_early_response_while_the_app_has_the_body_half(stack):
    async def app(scope, receive, send):
        message = await receive()
        assert message["more_body"]
        await respond(send, message["body"])

    client = serve(stack, app)
    data = request("POST", body=b"abcdef")
    client.feed(data[:-3])
    assert client.response().body == b"abc"
    client.feed(data[-3:] + data[:-3]).feed(data[-3:])
    assert [response.body for response in client.responses()] == [b"abc", b"abc"]


@pytest.mark.parametrize("rest", [b"X\r\n", b"5\r\nhelloXX", b"5;\x01\r\n", b"0\r\nbad\r\n\r\n", b"-1\r\n"])
def test_a_fault_in_the_dropped_rest_is_no_second_response(stack, rest):
    """One request, one response: what is wrong with a body after its response only ends the connection."""
    client = serve(stack, hello)
    client.feed(CHUNKED)
    assert client.response().status == 200
    client.feed(rest)
    assert len(client.responses()) == 1
    assert client.ended


def test_a_dropped_rest_past_the_limit_is_no_second_response(stack):
    client = serve(stack, hello, limit_request_body=10)
    client.feed(CHUNKED)
    assert client.response().status == 200
    client.feed(b"5\r\nhello\r\n").feed(b"6\r\nhello!\r\n")
    assert len(client.responses()) == 1
    assert client.ended


def test_the_rest_of_a_body_never_becomes_a_request(stack):
    client = serve(stack, hello)
    client.feed(request("POST", "/", f"Content-Length: {len(GET) * 3}") + GET)
    client.feed(GET).feed(GET)
    assert len(client.responses()) == 1
    client.feed(GET)
    assert len(client.responses()) == 2


# -- faults in a body


@pytest.mark.parametrize("bad", [b"X\r\n", b"5\r\nhelloXX"])
def test_bad_body_before_the_response(stack, bad):
    app = Idle()
    client = serve(stack, app)
    client.feed(CHUNKED).feed(bad)
    assert client.response().status == 400
    assert app.disconnected
    assert client.state.active == 0
    assert client.ended


def test_bad_body_during_the_response(stack):
    """Too late for a 400: the response is cut."""
    errors = []

    async def app(scope, receive, send):
        await send(start())
        await send(body(b"abc", True))
        while (await receive())["type"] != "http.disconnect":
            pass
        try:
            await send(body(b"def"))
        except OSError as error:
            errors.append(error)

    client = serve(stack, app)
    client.feed(CHUNKED).feed(b"5\r\nhelloXX")
    response = client.response()
    assert response.status == 200
    assert not response.complete
    assert client.ended
    assert errors
    client.advance(5)
    assert_over(client)


def test_the_good_part_of_a_bad_body_is_delivered(stack):
    app = Idle()
    client = serve(stack, app)
    client.feed(CHUNKED).feed(b"5\r\nhello\r\nX\r\n")
    assert app.body in (b"hello", b"")
    assert app.disconnected


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


def test_eof_over_tls(stack):
    """TLS has no half-close: the transport is closed, and the application told."""
    app = Idle()
    client = serve(stack, app, extra={"sslcontext": object()})
    client.feed(GET).feed_eof()
    assert client.closed
    assert app.disconnected


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
