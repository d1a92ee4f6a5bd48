"""HTTPConnection: keep-alive, the pipelining gate, 100 (Continue), unread bodies, faults in bodies."""

from __future__ import annotations

import asyncio

import pytest
from harness import GET, request, respond, serve

from core.apps import Gated, Idle, Script, assert_over, body, echo, hello, start

POST = request("POST", body=b"hello")
CHUNKED = request("POST", "/", "Transfer-Encoding: chunked")
EXPECT = request("POST", "/", "Expect: 100-continue", "Content-Length: 5")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


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
