"""The timeouts of SPEC: below the bound nothing happens, past it the connection ends as the table says."""

from __future__ import annotations

import asyncio

import pytest
from harness import GET, TICK, request, serve

from core.apps import Gated, Idle, Script, body, echo, hello, start

POST = request("POST", body=b"hello")
CHUNKED = request("POST", "/", "Transfer-Encoding: chunked")
SLACK = 2 * TICK  # the server looks at deadlines every quarter of a second, and may be one tick late

HEADERS, KEEP_ALIVE, BODY, WRITE = 30, 5, 60, 60  # the defaults, in seconds
LINGER = 5  # how long a connection may stay open behind its last response


async def stream(scope, receive, send):
    await send(start())
    while True:
        await send(body(b"x" * 10000, True))


def gone(client):
    client.advance(LINGER)
    return client.transport.lost and not client.state.connections and client.state.active == 0


# -- header read: 408, or a silent close when nothing came


def test_nothing_comes(stack, server_log):
    client = serve(stack, hello)
    client.advance(HEADERS - SLACK)
    assert not client.closed
    client.advance(2 * SLACK)
    assert client.closed
    assert client.output() == b""
    assert gone(client)
    assert not server_log.records


@pytest.mark.parametrize("data", [b"G", b"GET / HTTP/1.1\r\n", GET[:-1]])
def test_head_does_not_end(stack, server_log, data):
    client = serve(stack, hello)
    client.feed(data)
    client.advance(HEADERS - SLACK)
    assert not client.closed
    client.advance(2 * SLACK)
    assert client.response().status == 408
    assert client.ended
    assert gone(client)
    assert len(server_log.warnings) == 1
    assert " - 408 " in server_log.warnings[0]


def test_a_trickle_does_not_help(stack):
    """The time runs from the first byte."""
    client = serve(stack, hello)
    for byte in b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"y" * 100:
        client.feed(bytes([byte]))
        client.advance(1)
        if client.ended:
            break
    assert client.loop.time() - 1000 <= HEADERS + 1 + SLACK
    assert client.response().status == 408


def test_the_first_byte_of_a_new_connection_starts_the_time_again(stack):
    client = serve(stack, hello)
    client.advance(20)
    client.feed(b"GET")
    client.advance(HEADERS - 20 + 2)
    # From accept or from the first byte: both are over soon, and neither before 30 s of the connection.
    assert client.loop.time() - 1000 > HEADERS
    client.advance(20)
    assert client.response().status == 408


def test_head_of_the_second_request(stack):
    client = serve(stack, hello)
    client.feed(GET)
    client.advance(KEEP_ALIVE - 1)
    client.feed(b"GET /")
    client.advance(HEADERS - SLACK)
    assert not client.ended
    client.advance(2 * SLACK)
    assert [response.status for response in client.responses()] == [200, 408]


def test_head_behind_a_request_that_took_long(stack):
    """What came while another request ran starts its time when it is looked at."""
    app = Gated()
    client = serve(stack, app)
    client.feed(GET + b"GET /")
    client.advance(100)
    app.go(client)
    client.advance(HEADERS - SLACK)
    assert not client.ended
    client.advance(2 * SLACK)
    assert [response.status for response in client.responses()] == [200, 408]


def test_empty_lines_do_not_hold_a_connection(stack):
    client = serve(stack, hello)
    for _ in range(100):
        client.feed(b"\r\n")
        client.advance(2)
    assert client.closed
    assert gone(client)


def test_headers_timeout_is_an_option(stack):
    client = serve(stack, hello, timeout_headers=2)
    client.feed(b"GET")
    client.advance(2 - SLACK)
    assert not client.ended
    client.advance(2 * SLACK)
    assert client.response().status == 408


# -- keep-alive: silent close


@pytest.mark.parametrize("data", [GET, POST, request("HEAD"), GET * 3])
def test_idle_connection(stack, server_log, data):
    client = serve(stack, hello)
    client.feed(data)
    output = client.output()
    client.advance(KEEP_ALIVE - SLACK)
    assert not client.closed
    client.advance(2 * SLACK)
    assert client.closed
    assert client.output() == output
    assert gone(client)
    assert not server_log.records


def test_each_request_starts_the_time_again(stack):
    client = serve(stack, hello)
    for _ in range(5):
        client.feed(GET)
        client.advance(KEEP_ALIVE - SLACK)
        assert not client.closed
    client.advance(2 * SLACK)
    assert client.closed
    assert len(client.responses()) == 5


def test_a_long_request_is_not_idle(stack):
    app = Gated()
    client = serve(stack, app)
    client.feed(GET)
    client.advance(1000)
    assert not client.closed
    app.go(client)
    client.advance(KEEP_ALIVE - SLACK)
    assert not client.closed
    client.advance(2 * SLACK)
    assert client.closed


def test_a_running_task_behind_its_response_does_not_keep_the_connection(stack):
    async def app(scope, receive, send):
        await hello(scope, receive, send)
        await asyncio.sleep(100)

    client = serve(stack, app)
    client.feed(GET)
    client.advance(KEEP_ALIVE + SLACK)
    assert client.closed
    client.advance(100)
    assert gone(client)


def test_keep_alive_timeout_is_an_option(stack):
    client = serve(stack, hello, timeout_keep_alive=20)
    client.feed(GET)
    client.advance(20 - SLACK)
    assert not client.closed
    client.advance(2 * SLACK)
    assert client.closed


def test_without_time_to_be_idle_the_response_says_that_the_connection_closes(stack):
    client = serve(stack, hello, timeout_keep_alive=0)
    client.feed(GET)
    assert client.closed
    assert b"\r\nconnection: close\r\n" in client.output().lower()


# -- body: 408, the application sees a disconnect


@pytest.mark.parametrize(
    "data", [POST[:-5], POST[:-1], request("POST", "/", "Transfer-Encoding: chunked") + b"5\r\nhe"]
)
def test_body_does_not_come(stack, server_log, data):
    app = Idle()
    client = serve(stack, app)
    client.feed(data)
    client.advance(BODY - SLACK)
    assert not client.ended
    assert not app.disconnected
    client.advance(2 * SLACK)
    assert client.response().status == 408
    assert app.disconnected
    assert client.ended
    assert gone(client)
    assert len(server_log.warnings) == 1


def test_a_trickling_body_is_fine(stack):
    """It is silence that ends it."""
    client = serve(stack, echo)
    data = request("POST", body=b"x" * 20)
    client.feed(data[:-20])
    for _ in range(19):
        client.feed(b"x")
        client.advance(BODY - 1)
        assert not client.ended
    client.feed(b"x")
    assert client.response().body == b"x" * 20


def test_body_does_not_come_once_the_response_began(stack):
    """Too late for a 408: the response is cut, so that the client sees it."""
    errors = []

    async def app(scope, receive, send):
        await send(start())
        await send(body(b"a", True))
        while (await receive())["type"] != "http.disconnect":
            pass
        try:
            await send(body(b"b"))
        except OSError as error:
            errors.append(error)

    client = serve(stack, app)
    client.feed(POST[:-2])
    client.advance(BODY + SLACK)
    assert not client.response().complete
    assert client.response().body == b"a"
    assert errors
    assert gone(client)


def test_no_body_timeout_while_the_app_does_not_read(stack):
    """Reading is paused then: the silence is ours."""

    async def app(scope, receive, send):
        await asyncio.sleep(500)
        await echo(scope, receive, send)

    client = serve(stack, app)
    size = 1_000_000
    client.feed(request("POST", "/", f"Content-Length: {size}"))
    sent = 0
    while not client.paused:
        client.feed(b"x" * 50_000)
        sent += 50_000
    client.advance(400)
    assert not client.ended
    client.feed(b"x" * (size - sent))
    client.advance(200)
    assert len(client.response().body) == size


def test_no_body_timeout_while_the_client_waits_for_100(stack):
    """Before 100 (Continue) the client is not to send; from then on it is."""

    async def app(scope, receive, send):
        await asyncio.sleep(500)
        await idle(scope, receive, send)

    idle = Idle()
    client = serve(stack, app)
    client.feed(request("POST", "/", "Expect: 100-continue", "Content-Length: 5"))
    client.advance(499)
    assert not client.ended
    assert client.output() == b""
    client.advance(2)
    assert client.output() == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.advance(BODY + SLACK)
    assert client.ended
    assert idle.disconnected


def test_rest_of_a_body_does_not_come(stack):
    """Behind its response: no second response, only the end."""
    client = serve(stack, hello)
    client.feed(POST[:-2])
    client.advance(BODY - SLACK)
    assert not client.ended
    client.advance(2 * SLACK)
    assert client.response().body == b"hello"
    assert client.ended
    assert gone(client)


def test_body_timeout_is_an_option(stack):
    app = Idle()
    client = serve(stack, app, timeout_body=2)
    client.feed(POST[:-2])
    client.advance(2 - SLACK)
    assert not client.ended
    client.advance(2 * SLACK)
    assert client.response().status == 408


# -- response: the client takes nothing


def test_client_takes_nothing(stack):
    app = Script(stream)
    client = serve(stack, app)
    client.transport.stall()
    client.feed(GET)
    client.advance(WRITE - SLACK)
    assert not client.closed
    assert not app.ended
    client.advance(2 * SLACK)
    assert client.transport.aborted
    assert isinstance(app.error, OSError)
    assert gone(client)


def test_client_takes_nothing_and_the_app_is_told(stack):
    app = Idle()

    async def both(scope, receive, send):
        await send(start())
        task = asyncio.ensure_future(app(scope, receive, send))
        await send(body(b"x" * 100_000, True))
        await task

    client = serve(stack, both)
    client.transport.stall()
    client.feed(GET)
    client.advance(WRITE - SLACK)
    assert not app.disconnected
    client.advance(2 * SLACK)
    assert app.disconnected


def test_client_that_takes_little_is_served(stack):
    app = Script(stream)
    client = serve(stack, app)
    client.transport.stall()
    client.feed(GET)
    for _ in range(10):
        client.advance(WRITE - 1)
        assert not client.closed
        assert client.transport.take(100) == 100
        client.loop.run_until_idle()
    # The silence is noticed when the next look at the buffer finds nothing taken since the last one.
    client.advance(2 * WRITE)
    assert client.transport.aborted


def test_client_that_takes_little_may_have_asked_for_more(stack):
    """Requests that wait because the client is slow to take responses are not overdue."""

    async def large(scope, receive, send):
        await send(start())
        await send(body(b"x" * 100_000))

    client = serve(stack, large)
    client.transport.stall()
    client.feed(GET * 3)
    client.feed(GET[:-2])
    client.feed(GET[-2:])
    taken = 0
    while taken < 400_000:
        client.advance(WRITE - 1)
        assert not client.ended
        taken += client.transport.take(30_000)
        client.loop.run_until_idle()
    client.transport.unblock_writes()
    client.loop.run_until_idle()
    assert [len(response.body) for response in client.responses()] == [100_000] * 4


def test_client_that_takes_all_in_time_starts_the_time_again(stack):
    app = Script(stream)
    client = serve(stack, app)
    client.transport.stall()
    client.feed(GET)
    for _ in range(5):
        client.advance(WRITE - 1)
        assert not client.closed
        client.transport.take(client.transport.pending_size)
        client.loop.run_until_idle()


def test_a_whole_response_that_is_not_taken(stack):
    """Also below the high-water mark, where no send() waits: a connection that nobody reads is not kept for ever."""
    client = serve(stack, hello)
    client.transport.stall()
    client.feed(GET)
    client.advance(KEEP_ALIVE + WRITE + 2 * SLACK)
    assert client.transport.lost
    assert gone(client)


def test_an_error_response_that_is_not_taken(stack):
    client = serve(stack, hello)
    client.transport.stall()
    client.feed(b"bad\r\n\r\n")
    client.advance(WRITE + LINGER)
    assert client.transport.lost
    assert gone(client)


def test_no_write_timeout_while_the_app_is_slow(stack):
    async def app(scope, receive, send):
        await send(start())
        await send(body(b"x", True))
        await asyncio.sleep(500)
        await send(body(b"y"))

    client = serve(stack, app)
    client.feed(GET)
    client.advance(501)
    assert client.response().body == b"xy"


def test_write_timeout_is_an_option(stack):
    client = serve(stack, Script(stream), timeout_write=2)
    client.transport.stall()
    client.feed(GET)
    client.advance(2 - SLACK)
    assert not client.closed
    client.advance(2 * SLACK)
    assert client.transport.aborted


# -- the whole request: off by default; 504 or a reset, and the application's task is cancelled


def test_no_request_timeout_by_default(stack):
    app = Gated()
    client = serve(stack, app)
    client.feed(GET)
    client.advance(5000)
    app.go(client)
    assert client.response().status == 200


def test_request_timeout_before_the_response(stack, server_log):
    app = Script(lambda scope, receive, send: asyncio.sleep(1000))
    client = serve(stack, app, timeout_request=10)
    client.feed(GET)
    client.advance(10 - SLACK)
    assert not app.ended
    client.advance(2 * SLACK)
    assert client.response().status == 504
    assert isinstance(app.error, asyncio.CancelledError)
    assert client.ended
    assert gone(client)
    assert len(server_log.warnings) == 1


def test_request_timeout_while_reading_is_paused(stack):
    """What the client has sent meanwhile is dropped, so that it comes to read the answer."""
    app = Script(lambda scope, receive, send: asyncio.sleep(1000))
    client = serve(stack, app, timeout_request=10)
    client.feed(request("POST", "/", "Content-Length: 10000000"))
    for _ in range(10):
        client.feed(b"x" * 100_000)
    assert client.paused
    assert client.waiting
    client.advance(10 + SLACK)
    assert client.response().status == 504
    assert not client.paused
    assert client.waiting == 0
    assert gone(client)


def test_request_timeout_during_the_response(stack):
    async def app(scope, receive, send):
        await send(start())
        await send(body(b"x", True))
        await asyncio.sleep(1000)

    script = Script(app)
    client = serve(stack, script, timeout_request=10)
    client.feed(GET)
    client.advance(10 + SLACK)
    assert client.transport.aborted
    assert not client.response().complete
    assert isinstance(script.error, asyncio.CancelledError)
    assert gone(client)


def test_request_timeout_while_send_waits(stack):
    app = Script(stream)
    client = serve(stack, app, timeout_request=10)
    client.transport.stall()
    client.feed(GET)
    client.advance(10 + SLACK)
    assert client.transport.aborted
    assert app.ended
    assert gone(client)


def test_request_timeout_is_for_each_request(stack):
    async def app(scope, receive, send):
        await asyncio.sleep(8)
        await hello(scope, receive, send)

    client = serve(stack, app, timeout_request=10)
    client.feed(GET * 3)
    client.advance(30)
    assert [response.status for response in client.responses()] == [200, 200, 200]


def test_request_timeout_ends_with_the_response(stack):
    async def app(scope, receive, send):
        await hello(scope, receive, send)
        await asyncio.sleep(100)

    script = Script(app)
    client = serve(stack, script, timeout_request=10, timeout_keep_alive=1000)
    client.feed(GET)
    client.advance(50)
    assert not client.ended
    assert not script.ended
    client.advance(60)
    assert script.error is None


def test_an_app_that_survives_its_cancellation(stack):
    """It is cancelled once, and what it still sends goes nowhere."""
    errors = []

    async def app(scope, receive, send):
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            try:
                await hello(scope, receive, send)
            except OSError as error:
                errors.append(error)

    client = serve(stack, app, timeout_request=10)
    client.feed(GET)
    client.advance(10 + SLACK)
    assert client.response().status == 504
    assert errors
    assert gone(client)


# -- lingering


def test_lingering_is_bounded(stack):
    """Behind an error response the input is dropped, but not for ever: also when the client goes on sending."""
    for chatter in (b"", b"x" * 100):
        client = serve(stack, hello)
        client.feed(b"bad\r\n\r\n")
        for _ in range(LINGER):
            if chatter:
                client.feed(chatter)
            client.advance(1)
        assert client.transport.lost
        assert gone(client)
        assert len(client.responses()) == 1


def test_lingering_ends_with_the_client(stack):
    client = serve(stack, hello)
    client.feed(b"bad\r\n\r\n")
    client.feed_eof()
    assert client.transport.lost


def test_lingering_connections_do_not_count_as_active(stack):
    client = serve(stack, hello, limit_concurrency=1)
    client.feed(request("GET", "/", "Content-Length: x"))
    other = client.connect()
    other.feed(GET)
    assert other.responses(["GET"])[0].status == 200


# -- off


@pytest.mark.parametrize("name", ["timeout_headers", "timeout_keep_alive", "timeout_body", "timeout_write"])
def test_none_is_off(stack, name):
    app = Idle() if name == "timeout_body" else Script(stream) if name == "timeout_write" else hello
    client = serve(stack, app, **{name: None})
    if name == "timeout_write":
        client.transport.stall()
    client.feed({"timeout_headers": b"GET", "timeout_body": POST[:-1]}.get(name, GET))
    client.advance(2000)
    assert not client.closed


def test_ticks_are_cheap_for_quiet_connections(stack):
    """A tick over many connections that have nothing due writes nothing and closes nothing."""
    app = Gated()
    client = serve(stack, app)
    others = [client.connect() for _ in range(200)]
    for other in [client, *others]:
        other.feed(GET)
    client.advance(50)
    assert not any(other.closed for other in others)
    assert len(client.state.connections) == 201
