"""Figures: every response is counted once, by its class; requests that an application answered, by their duration."""

from __future__ import annotations

import asyncio

import pytest
from harness import GET, request, respond, serve
from websocket_peer import Peer, handshake

from asgiserve._consts import LATENCY_BUCKETS
from core.apps import Gated, Idle, Script, body, hello, start

WS_ACCEPT = {"type": "websocket.accept"}
WS_CLOSE = {"type": "websocket.close"}


def counted(stack, app, *feeds, **options):
    """A connection to a server that counts, once it was fed that."""
    client = serve(stack, app, **options)
    client.state.figures = stack.Figures()
    client.state.times_requests = True
    for data in feeds:
        client.feed(data)
    return client


def responses(client):
    """What was counted, by class: {2: 1}."""
    return {digit: count for digit, count in enumerate(client.state.figures.responses, 1) if count}


def latency(client):
    """The counted durations by the bound of their bucket; above the last one it is None."""
    bounds = [*LATENCY_BUCKETS, None]
    assert len(client.state.figures.latency) == len(bounds)
    return {bounds[index]: count for index, count in enumerate(client.state.figures.latency) if count}


def test_nothing_is_counted_unless_asked_for(stack):
    client = serve(stack, hello)
    client.feed(GET)
    assert client.response().status == 200
    assert client.state.figures is None


def test_a_response_counts_once(stack):
    client = counted(stack, hello, GET, GET + GET)
    assert responses(client) == {2: 3}
    assert latency(client) == {0.001: 3}
    assert client.state.figures.latency_sum == 0.0


@pytest.mark.parametrize(("status", "digit"), [(200, 2), (299, 2), (304, 3), (404, 4), (500, 5), (599, 5), (999, 5)])
def test_classes(stack, status, digit):
    async def app(scope, receive, send):
        await respond(send, status=status)

    assert responses(counted(stack, app, GET)) == {digit: 1}


@pytest.mark.parametrize(
    ("duration", "bound"),
    [(0.0, 0.001), (0.001, 0.001), (0.0011, 0.0025), (0.25, 0.25), (9.9, 10.0), (10.0, 10.0), (10.1, None)],
)
def test_a_bound_is_part_of_its_bucket(stack, duration, bound):
    figures = stack.Figures()
    figures.count_request(200, duration)
    bounds = [*LATENCY_BUCKETS, None]
    assert [bounds[index] for index, count in enumerate(figures.latency) if count] == [bound]
    assert figures.latency_sum == duration


def test_durations_add_up(stack):
    client = counted(stack, lambda scope, receive, send: sleep_and_respond(send), GET)
    client.advance(3)
    client.feed(GET)
    client.advance(3)
    assert latency(client) == {2.5: 2}
    assert client.state.figures.latency_sum == pytest.approx(4.0)


async def sleep_and_respond(send):
    await asyncio.sleep(2)
    await respond(send)


def test_a_stream_lasts_until_its_end(stack):
    async def app(scope, receive, send):
        await send(start())
        await send(body(b"x", True))
        await asyncio.sleep(8)
        await send(body())

    client = counted(stack, app, GET)
    client.advance(1)
    assert responses(client) == {}
    client.advance(8)
    assert responses(client) == {2: 1}
    assert latency(client) == {10.0: 1}


def test_a_response_that_breaks_off_counts(stack, server_log):
    async def app(scope, receive, send):
        await send(start())
        await send(body(b"x", True))

    client = counted(stack, app, GET)
    assert client.ended
    assert server_log.take_errors() == ["ASGI application returned without completing its response"]
    assert responses(client) == {2: 1}


def test_a_client_that_leaves_without_a_response_counts_nothing(stack):
    client = counted(stack, Idle(), GET)
    client.lose()
    assert client.state.active == 0
    assert responses(client) == {}
    assert latency(client) == {}


def test_a_failing_application(stack, server_log):
    async def app(scope, receive, send):
        raise ValueError("mine")

    client = counted(stack, app, GET)
    assert server_log.take_errors()
    assert responses(client) == {5: 1}
    assert latency(client) == {0.001: 1}


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (request(target="/" + "x" * 300), 414),
        (request("NONE"), 501),
        (request("POST", body=b"x" * 100), 413),
    ],
)
def test_refused_requests_have_no_duration(stack, data, status):
    client = counted(stack, hello, data, limit_request_line=100, limit_request_body=10)
    assert client.responses()[0].status == status
    assert responses(client) == {status // 100: 1}
    assert latency(client) == {}


def test_overload(stack):
    client = counted(stack, Gated(), GET, limit_concurrency=1)
    client.connect().feed(GET)
    assert responses(client) == {5: 1}
    assert latency(client) == {}


def test_a_request_that_the_server_gives_up(stack):
    client = counted(stack, Gated(), GET, timeout_request=3)
    client.advance(4)
    assert client.response().status == 504
    assert responses(client) == {5: 1}
    assert latency(client) == {5.0: 1}


def test_a_fault_behind_the_response_counts_no_second_one(stack):
    data = request("POST", "/", "Transfer-Encoding: chunked")
    client = counted(stack, hello, data, b"nonsense\r\n")
    assert len(client.responses(["POST"])) == 1
    assert responses(client) == {2: 1}


# -- WebSockets: the answer to the handshake counts, the time that they are open does not


def test_an_accepted_websocket_is_a_101(stack):
    async def steps(scope, receive, send):
        await receive()
        await send(WS_ACCEPT)
        await receive()

    client = counted(stack, Script(steps))
    peer = Peer(client)
    assert peer.status == 101
    assert responses(client) == {1: 1}
    client.advance(5)
    client.lose()
    assert responses(client) == {1: 1}
    assert latency(client) == {}


def test_a_rejected_websocket(stack):
    async def steps(scope, receive, send):
        await receive()
        await send(WS_CLOSE)

    client = counted(stack, Script(steps), handshake())
    assert client.response().status == 403
    assert responses(client) == {4: 1}


def test_a_denied_websocket(stack):
    async def steps(scope, receive, send):
        await receive()
        await send({"type": "websocket.http.response.start", "status": 302, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"away"})

    client = counted(stack, Script(steps), handshake())
    assert client.response().status == 302
    assert responses(client) == {3: 1}


def test_an_invalid_handshake(stack):
    client = counted(stack, hello, handshake(version="12"))
    assert client.response().status == 426
    assert responses(client) == {4: 1}


def test_a_websocket_above_the_limit(stack):
    client = counted(stack, Gated(), GET, limit_concurrency=1)
    client.connect().feed(handshake())
    assert responses(client) == {5: 1}
