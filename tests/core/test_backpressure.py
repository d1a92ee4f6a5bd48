"""Backpressure both ways: a side that does not read stops the other, and the buffers between stay small."""

from __future__ import annotations

import asyncio

import pytest
from harness import GET, request, serve

from core.apps import Script, body, start

KIB, MIB, GIB = 1024, 1024**2, 1024**3
HIGH_WATER = 64 * KIB  # of the transport


def streaming(size, piece, headers=()):
    async def app(scope, receive, send):
        await send(start(headers=headers))
        block = b"x" * piece
        for _ in range(size // piece):
            await send(body(block, True))
        await send(body())

    return Script(app)


FRAMINGS = {"chunked": ("1.1", False), "length": ("1.1", True), "close": ("1.0", False)}


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("piece", [KIB, 64 * KIB, MIB])
def test_client_that_does_not_read(stack, framing, piece):
    """send() stops within the high-water mark and one message; nothing is held elsewhere."""
    version, length = FRAMINGS[framing]
    app = streaming(GIB, piece, [(b"content-length", b"%d" % GIB)] if length else [])
    client = serve(stack, app, timeout_write=None)
    client.transport.stall()
    client.feed(request(version=version))
    client.advance(1000)
    assert not app.ended
    assert client.transport.max_pending <= 2 * HIGH_WATER + piece + KIB
    assert client.transport.written <= 2 * HIGH_WATER + piece + KIB
    client.lose()
    assert app.ended


def test_stream_of_1_gib_to_a_slow_client(stack):
    app = streaming(GIB, MIB)
    client = serve(stack, app)
    transport = client.transport
    transport.discard = True
    transport.stall()
    client.feed(GET)
    taken = 0
    while transport.pending_size:
        taken += transport.take(256 * KIB)
        client.loop.run_until_idle()
    assert app.ended
    assert app.error is None
    assert taken == transport.written > GIB
    assert transport.max_pending <= 2 * HIGH_WATER + MIB + KIB
    assert not client.ended


def test_client_that_reads_now_and_then(stack):
    app = streaming(10 * MIB, 10 * KIB)
    client = serve(stack, app)
    client.transport.stall()
    client.feed(GET)
    while client.transport.pending_size:
        client.transport.unblock_writes()
        client.transport.stall()
        client.loop.run_until_idle()
    assert len(client.response().body) == 10 * MIB
    assert client.transport.max_pending <= 2 * HIGH_WATER + 10 * KIB + KIB


def test_sender_goes_on_at_the_low_water_mark(stack):
    app = streaming(MIB, 16 * KIB)
    client = serve(stack, app)
    client.transport.stall()
    client.feed(GET)
    stopped = client.transport.written
    client.transport.take(client.transport.pending_size - client.transport.low - 1)
    client.loop.run_until_idle()
    assert client.transport.written == stopped
    client.transport.take(1)
    client.loop.run_until_idle()
    assert client.transport.written > stopped


def test_all_senders_wait_and_all_go_on(stack):
    done = []

    async def app(scope, receive, send):
        await send(start())

        async def sender(number):
            for _ in range(10):
                await send(body(b"x" * 10 * KIB, True))
            done.append(number)

        await asyncio.gather(*(sender(number) for number in range(10)))
        await send(body())

    client = serve(stack, app)
    client.transport.stall()
    client.feed(GET)
    assert done == []
    while client.transport.pending_size:
        client.transport.take(20 * KIB)
        client.loop.run_until_idle()
    assert sorted(done) == list(range(10))
    assert len(client.response().body) == 1000 * KIB
    assert client.transport.max_pending <= 2 * HIGH_WATER + 100 * KIB + KIB


def test_pipelined_responses_to_a_client_that_does_not_read(stack):
    """A client that asks and asks but never reads: within a bound, requests are no longer answered."""

    async def app(scope, receive, send):
        await send(start())
        await send(body(b"x" * 10 * KIB))

    client = serve(stack, app, timeout_write=None)
    client.transport.stall()
    for _ in range(500):
        client.feed(GET * 10)
    assert client.transport.max_pending < 4 * MIB
    assert client.waiting > 0


def test_app_that_does_not_receive(stack):
    """Reading stops within a bound, and goes on with receive()."""
    go = []
    counted = []

    async def app(scope, receive, send):
        go.append(asyncio.get_running_loop().create_future())
        await go[0]
        more = True
        while more:
            message = await receive()
            counted.append(len(message["body"]))
            more = message["more_body"]
        await send(start())
        await send(body())

    client = serve(stack, app, timeout_body=None)
    piece = b"x" * 256 * KIB
    client.feed(request("POST", "/", f"Content-Length: {GIB}"))
    taken = 0
    for _ in range(20):
        client.feed(piece)
        taken = 20 * len(piece) - client.waiting
    assert client.paused
    assert client.waiting >= 18 * len(piece)
    assert taken <= 20 * len(piece)
    client.loop.call(go[0].set_result, None)
    client.loop.run_until_idle()
    assert sum(counted) == 20 * len(piece)
    for _ in range(GIB // len(piece) - 20):
        client.feed(piece)
        assert client.waiting == 0
    assert sum(counted) == GIB
    assert max(counted) <= 64 * KIB + len(piece)
    assert client.response().status == 200


def test_chunked_upload_to_an_app_that_does_not_receive(stack):
    async def app(scope, receive, send):
        await asyncio.sleep(100)
        size = 0
        more = True
        while more:
            message = await receive()
            size += len(message["body"])
            more = message["more_body"]
        await send(start())
        await send(body(b"%d" % size))

    client = serve(stack, app, timeout_body=None)
    client.feed(request("POST", "/", "Transfer-Encoding: chunked"))
    piece = b"4000\r\n" + b"x" * 16 * KIB + b"\r\n"
    for _ in range(100):
        client.feed(piece)
    client.feed(b"0\r\n\r\n")
    assert client.paused
    assert client.waiting >= 90 * len(piece)
    client.advance(101)
    assert client.response().body == b"%d" % (1600 * KIB)


def test_a_small_body_never_pauses(stack):
    async def app(scope, receive, send):
        await asyncio.sleep(10)
        await send(start())
        await send(body())

    client = serve(stack, app)
    client.feed(request("POST", body=b"x" * 10 * KIB))
    assert not client.paused


def test_body_that_is_never_received_is_drained_within_a_bound(stack):
    """The application answers while reading is paused: the connection goes on, or ends; it does not hang."""
    go = []

    async def app(scope, receive, send):
        go.append(asyncio.get_running_loop().create_future())
        await go[-1]
        await send(start())
        await send(body(b"done"))

    client = serve(stack, app)
    client.feed(request("POST", body=b"x" * 200 * KIB)[:-1])
    assert client.paused
    client.loop.call(go[0].set_result, None)
    client.loop.run_until_idle()
    assert not client.paused
    client.feed(b"x" + GET)
    first, *_ = client.responses()
    assert first.body == b"done"
    if not client.ended:
        client.loop.call(go[1].set_result, None)
        client.loop.run_until_idle()
        assert len(client.responses()) == 2


def test_reading_and_writing_stop_independently(stack):
    """An echo to a client that sends but does not read stops reading too, once its own output is full."""

    async def app(scope, receive, send):
        await send(start())
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send(body(message["body"], True))
        await send(body())

    client = serve(stack, app, timeout_write=None, timeout_body=None)
    client.transport.stall()
    client.feed(request("POST", "/", f"Content-Length: {16 * MIB}"))
    for _ in range(64):
        client.feed(b"x" * 256 * KIB)
    assert client.paused
    assert client.waiting > 12 * MIB
    assert client.transport.max_pending < 3 * MIB
    while client.waiting or client.transport.pending_size:
        client.transport.take(MIB)
        client.loop.run_until_idle()
    assert len(client.response().body) == 16 * MIB
