"""Throttle (limit_rate_per_second): so many bytes per second on each connection, whatever they are.

The fake clock stands still unless a test moves it, and INTERVAL is a power of two: what may have left is known exactly.
"""

from __future__ import annotations

import asyncio
import os
import random

import pytest
from harness import GET, request, respond, serve
from websocket_peer import Peer, handshake

from asgiserve.errors import ClientDisconnected
from core.apps import Gated, Script, assert_over, body, echo, hello, run, start

RATE = 8192
INTERVAL = 0.125
SHARE = RATE // 8  # what leaves in one interval


def sending(size, **more):
    """An application that answers with one body of this size."""

    async def app(scope, receive, send):
        await respond(send, content(size), **more)

    return Script(app)


def content(size):
    return _CONTENT[:size]


_CONTENT = b"".join(b"%07d\n" % number for number in range(1000 * RATE // 8))


def throttled(stack, app, **options):
    return serve(stack, app, **{"limit_rate_per_second": RATE, **options})


def holds(client):
    """Whether something waits for the limit."""
    return not client.transport.lost and client.transport.protocol.is_holding()


def finish(client):
    """Let time pass until nothing waits; return how many intervals that took."""
    for count in range(10_000):
        if not holds(client):
            return count
        client.loop.advance(INTERVAL)
    raise AssertionError("it never ends")


# -- the rate


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("piece", [100, 5000, 10 * RATE])
def test_rate(stack, framing, piece):
    """One second's worth at once, then the same part of it every eighth of a second."""
    size = 10 * RATE

    async def app(scope, receive, send):
        await send(start(headers=[(b"content-length", b"%d" % size)] if framing == "length" else []))
        for at in range(0, size, piece):
            await send(body(content(size)[at : at + piece], True))
        await send(body())

    script = Script(app)
    client = throttled(stack, script)
    client.feed(request(version="1.0" if framing == "close" else "1.1"))
    assert len(client.output()) == RATE
    steps = 0
    while holds(client):
        client.loop.advance(INTERVAL)
        steps += 1
        expected = RATE + SHARE * steps
        assert len(client.output()) == expected or not holds(client)
        assert len(client.output()) <= expected
    assert steps >= 72
    assert script.error is None
    assert client.response().body == content(size)


def test_a_second_of_silence_is_worth_one_second(stack):
    """What is not used cannot be saved up for longer."""
    client = throttled(stack, sending(20 * RATE))
    client.advance(3)
    client.feed(GET)
    assert len(client.output()) == RATE
    client.loop.advance(4)
    assert len(client.output()) == 5 * RATE


def test_a_late_timer_loses_nothing(stack):
    client = throttled(stack, sending(20 * RATE))
    client.feed(GET)
    client.loop._now += 0.5  # the loop was busy
    client.loop.advance(0)
    assert len(client.output()) == RATE + RATE // 2


def test_any_window(stack):
    """In no span of time does more leave than its share and one second's worth, whatever is asked for when."""
    dice = random.Random(5)

    async def app(scope, receive, send):
        await respond(send, content(int(scope["path"][1:])))

    client = throttled(stack, app, timeout_keep_alive=None)
    sent = []
    for _ in range(300):
        if dice.random() < 0.3:
            client.feed(request("GET", f"/{dice.choice([0, 10, 1000, 5000, 20000])}"))
        client.loop.advance(dice.choice([0, 0.01, INTERVAL, 0.2, 1, 2]))
        sent.append((client.loop.time(), client.transport.written))
    assert client.transport.written > 100_000
    for index, (begin, before) in enumerate(sent):
        for end, after in sent[index:]:
            assert after - before <= (end - begin + 1) * RATE


def test_connections_do_not_share(stack):
    client = throttled(stack, sending(3 * RATE))
    other = client.connect()
    client.feed(GET)
    other.feed(GET)
    for _ in range(3):
        assert len(client.output()) == len(other.output())
        client.loop.advance(0.5)
    assert len(other.output()) == 2 * RATE + RATE // 2


def test_what_fits_leaves_at_once(stack):
    """No timer is made, and nothing is cut."""
    writes = set()
    for rate in (None, RATE):
        client = serve(stack, hello, limit_rate_per_second=rate)
        timers = client.loop.timers_made
        client.feed(GET * 5)
        assert [response.body for response in client.responses()] == [b"hello"] * 5
        assert client.loop.timers_made == timers
        writes.add(client.transport.writes)
    assert len(writes) == 1


def test_head_requests_are_not_charged_for_bodies(stack):
    client = throttled(stack, sending(100 * RATE))
    for _ in range(3):
        client.feed(request("HEAD"))
    assert [response.status for response in client.responses()] == [200] * 3
    assert not client.loop.timers


# -- who waits


def test_the_application_waits(stack):
    sent = []

    async def app(scope, receive, send):
        await asyncio.sleep(0)  # what is sent while input is processed is collected first
        await send(start())
        for _ in range(100):
            await send(body(b"x" * RATE, True))
            sent.append(len(client.output()))
        await send(body())

    client = throttled(stack, app)
    client.feed(GET)
    client.loop.advance(10)
    assert len(sent) == 10
    for number, size in enumerate(sent):
        assert size >= (number + 1) * RATE


def test_pipelined_requests_take_turns(stack):
    """The next one is started when the response before it has left, not before."""
    app = sending(20 * RATE)
    client = throttled(stack, app)
    client.feed(GET * 3)
    starts = []
    for _ in range(500):
        starts.append(len(client.scopes))
        client.loop.advance(INTERVAL)
    for turn in (1, 2):
        assert 8 * (20 * turn - 1) <= starts.index(turn + 1) <= 8 * (20 * turn - 1) + 1 + turn
    assert [response.body for response in client.responses()] == [content(20 * RATE)] * 3
    assert app.error is None


def test_input_is_read_meanwhile(stack):
    """A slow response does not stop the request that is still coming."""
    got = []

    async def app(scope, receive, send):
        await send(start())
        more = True
        while more:
            message = await receive()
            got.append(len(message["body"]))
            more = message["more_body"]
            if len(got) == 1:
                task = asyncio.ensure_future(send(body(content(4 * RATE), True)))
        await task
        await send(body())

    client = throttled(stack, app)
    client.feed(request("POST", "/", "Content-Length: 1000"))
    for _ in range(10):
        client.feed(b"x" * 100)
    assert sum(got) == 1000
    assert not client.paused
    finish(client)
    assert client.response().body == content(4 * RATE)


def test_early_answers_are_counted(stack):
    """100 (Continue) and 103 go the same way."""

    async def app(scope, receive, send):
        await send(start(headers=[(b"content-length", b"%d" % (2 * RATE))]))
        await send(body(content(2 * RATE)))

    client = throttled(stack, app)
    client.feed(GET)
    finish(client)
    client.server.state.app = echo
    client.feed(request("POST", "/", "Expect: 100-continue", "Content-Length: 1"))
    first = len(client.output())
    client.loop.advance(1)
    assert client.output().count(b"HTTP/1.1 100 Continue\r\n\r\n") == 1
    client.feed(b"x")
    finish(client)
    assert client.output().endswith(b"\r\n\r\nx")
    assert first <= len(client.output())


# -- a client that is slow itself


def test_a_slow_client(stack):
    """The limit and the client's pace both hold; nothing is lost, doubled or reordered."""
    dice = random.Random(7)
    app = sending(40 * RATE)
    client = throttled(stack, app)
    transport = client.transport
    transport.stall()
    client.feed(GET)
    while not (app.ended and client.transport.protocol.get_write_buffer_size() == 0):
        transport.take(dice.randrange(2 * RATE))
        client.loop.advance(dice.choice([0, INTERVAL, 1]))
        assert transport.written <= (client.loop.time() - 1000 + 1) * RATE
    assert client.response().body == content(40 * RATE)


def test_a_client_that_takes_nothing(stack, server_log):
    """What is not sent yet because of the limit does not hide it."""
    app = Script(sending(1000 * RATE))
    client = throttled(stack, app, timeout_write=10)
    client.transport.stall()
    client.feed(GET)
    client.advance(9)
    assert not client.closed
    client.advance(2)
    assert ["takes no data" in line for line in server_log.warnings] == [True]
    client.loop.run_until_idle()
    assert_over(client)
    assert not client.loop.timers


def test_a_client_that_stops_in_the_middle(stack, server_log):
    client = throttled(stack, sending(1000 * RATE), timeout_write=10)
    client.feed(GET)
    client.advance(100)
    assert not client.closed
    assert len(client.output()) == 101 * RATE
    client.transport.stall()
    client.advance(25)
    assert client.transport.lost
    assert len(server_log.warnings) == 1


# -- deadlines


@pytest.mark.parametrize("timeout", [0, 0.1, 1])
def test_the_write_timeout_is_for_clients(stack, server_log, timeout):
    """Whoever waits for the limit only is not cut off."""
    client = throttled(stack, sending(30 * RATE), timeout_write=timeout)
    client.feed(GET)
    client.advance(40)
    assert client.response().body == content(30 * RATE)
    assert not server_log.warnings


def test_keep_alive_begins_when_all_has_left(stack, server_log):
    client = throttled(stack, sending(20 * RATE), timeout_keep_alive=5)
    client.feed(GET)
    client.advance(19 + 4.5)
    assert client.response().body == content(20 * RATE)
    assert not client.closed
    client.advance(1)
    assert client.closed
    client.loop.run_until_idle()
    assert_over(client)
    assert not server_log.records


def test_a_request_behind_a_long_response(stack):
    app = sending(20 * RATE)
    client = throttled(stack, app, timeout_keep_alive=5, timeout_headers=5)
    client.feed(GET)
    client.advance(10)
    client.feed(GET[:10])
    client.advance(10.5)
    client.feed(GET[10:])
    client.advance(25)
    assert [response.body for response in client.responses()] == [content(20 * RATE)] * 2


def test_the_request_timeout_counts_the_time_that_the_limit_takes(stack, server_log):
    async def app(scope, receive, send):
        await send(start())
        for _ in range(20):
            await send(body(b"x" * RATE, True))
        await send(body())

    client = throttled(stack, Script(app), timeout_request=10)
    client.feed(GET)
    client.advance(11)
    assert client.transport.lost
    assert "request not done within 10 s" in server_log.warnings[0]
    client.server.state.app = None
    assert not client.state.active


# -- the end


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_the_connection_closes_behind_the_last_byte(stack, version):
    client = throttled(stack, sending(5 * RATE))
    client.feed(request("GET", "/", "Connection: close", version=version))
    client.advance(3)
    assert not client.transport.lost
    client.advance(2)
    assert client.response().body == content(5 * RATE)
    assert client.transport.lost
    assert_over(client)
    assert not client.loop.timers


def test_a_half_closed_client_gets_everything(stack):
    client = throttled(stack, sending(5 * RATE))
    client.feed(GET).feed_eof()
    client.advance(5)
    assert client.response().body == content(5 * RATE)
    assert client.transport.lost
    assert not client.transport.aborted


def test_the_client_half_closes_when_the_application_is_done(stack):
    """The transport must not close under what waits."""
    app = sending(3 * RATE)
    client = throttled(stack, app)
    client.feed(request("GET", "/", "Connection: close"))
    client.loop.advance(0.5)
    assert app.ended
    client.feed_eof()
    assert not client.transport.is_closing()
    client.advance(4)
    assert client.response().body == content(3 * RATE)
    assert_over(client)


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
def test_the_client_leaves(stack, error):
    async def steps(scope, receive, send):
        await send(start())
        while True:
            await send(body(b"x" * RATE, True))

    client, app = run(stack, steps, limit_rate_per_second=RATE)
    client.loop.advance(2)
    client.lose(error)
    assert isinstance(app.error, ClientDisconnected)
    assert_over(client)
    assert not client.loop.timers


def test_a_write_that_fails(stack):
    """Between a failed write and connection_lost() nothing more is written."""
    app = sending(10 * RATE)
    client = throttled(stack, app)
    client.feed(GET)
    client.transport._closing = client.transport._broken = True
    client.loop.advance(1)
    assert client.transport.written == RATE
    client.lose(BrokenPipeError())
    assert_over(client)


def test_lingering_begins_when_all_has_left(stack):
    """The client still sends: to close under it would destroy what it has not read."""
    client = throttled(stack, sending(10 * RATE))
    client.feed(request("POST", "/", f"Content-Length: {10**9}"))
    client.feed(b"x" * 1000)
    for _ in range(9):
        client.advance(1)
        client.feed(b"x" * 1000)
        assert not client.closed
    client.advance(1)
    assert client.transport.eof_written
    assert client.response().body == content(10 * RATE)
    client.advance(5)
    assert_over(client)


def test_refusal_behind_a_response_that_waits(stack, server_log):
    client = throttled(stack, sending(4 * RATE))
    client.feed(GET + b"nonsense\r\n\r\n")
    client.advance(10)
    assert [response.status for response in client.responses(["GET", "GET"])] == [200, 400]
    assert_over(client)


def test_shutdown_lets_it_end(stack):
    app = sending(8 * RATE)
    client = throttled(stack, app)
    idle = client.connect()
    client.feed(GET)
    client.loop.advance(1)
    client.state.stopping = True
    for connection in list(client.state.connections):
        client.loop.call(connection.shutdown)
    client.loop.run_until_idle()
    assert idle.transport.lost
    assert not client.transport.lost
    client.advance(8)
    assert client.response().body == content(8 * RATE)
    assert_over(client)


def test_shutdown_ends_it_in_the_end(stack):
    client = throttled(stack, sending(1000 * RATE))
    client.feed(GET)
    client.advance(1)
    for connection in list(client.state.connections):
        client.loop.call(connection.shutdown)
        client.loop.call(connection.disconnect_app)
        client.loop.call(connection.abort)
    client.loop.run_until_idle()
    assert client.transport.aborted
    assert_over(client)
    assert not client.loop.timers


def test_connection_made_while_stopping(stack):
    client = throttled(stack, hello)
    client.state.stopping = True
    other = client.connect()
    assert other.transport.lost


def test_nothing_is_written_behind_the_end(stack):
    """What the application still sends when the connection is closing is dropped."""
    app = Gated()
    client = throttled(stack, app)
    client.feed(GET)
    throttle = client.transport.protocol
    with client.loop.running():
        throttle.write(b"x" * 2 * RATE)
        throttle.close()
        throttle.write(b"y")
    finish(client)
    client.loop.run_until_idle()
    assert client.output() == b"x" * 2 * RATE
    assert client.transport.lost


# -- files (the fake transport has no socket: tests/outer/test_throttle.py has)


def test_file(stack, tmp_path, monkeypatch):
    """It is read as it leaves."""
    if not hasattr(os, "pread"):
        pytest.skip("needs os.pread")
    size = 40 * RATE
    path = tmp_path / "file"
    path.write_bytes(content(size))
    sizes = []
    original = os.pread

    def read(fd, count, offset):
        sizes.append(count)
        return original(fd, count, offset)

    async def app(scope, receive, send):
        await send(start())
        await send({"type": "http.response.pathsend", "path": str(path)})

    monkeypatch.setattr(os, "pread", read)
    client = throttled(stack, app)
    client.feed(GET)
    for second in range(5):
        assert len(client.output()) == (second + 1) * RATE
        assert sum(sizes) <= (second + 2) * RATE
        client.loop.advance(1)
    client.loop.advance(40)
    assert client.response().body == content(size)
    assert max(sizes) == RATE


def test_file_and_a_client_that_leaves(stack, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(content(40 * RATE))

    async def steps(scope, receive, send):
        await send(start())
        await send({"type": "http.response.pathsend", "path": str(path)})

    client, app = run(stack, steps, limit_rate_per_second=RATE)
    client.loop.advance(2)
    client.lose()
    assert isinstance(app.error, ClientDisconnected)
    assert_over(client)


# -- what a file's transfer takes


def test_take(stack):
    client = throttled(stack, hello)
    throttle = client.transport.protocol
    with client.loop.running():
        assert throttle.take(100) == 100
        assert throttle.take(10 * RATE) == RATE - 100
        assert not throttle.is_holding()
        assert throttle.take(10) == 0  # until the next interval, or there would be ever smaller parts
        assert throttle.is_holding()
    client.loop.advance(INTERVAL)
    assert not throttle.is_holding()
    with client.loop.running():
        assert throttle.take(10 * RATE) == SHARE
        throttle.give_back(SHARE)
    client.loop.advance(INTERVAL)
    with client.loop.running():
        assert throttle.take(10 * RATE) == 2 * SHARE
    client.lose()
    assert not client.loop.timers


def test_what_was_taken_is_not_there_for_others(stack):
    client = throttled(stack, sending(RATE))
    with client.loop.running():
        assert client.transport.protocol.take(RATE) == RATE
    client.feed(GET)
    assert client.output() == b""
    client.loop.advance(2)
    assert client.response().body == content(RATE)


# -- WebSockets


def accepting(steps):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        return await steps(receive, send)

    return Script(app)


def session(client):
    (found,) = client.state.connections
    return found


@pytest.mark.parametrize("size", [100, 3000, 5 * RATE])
def test_messages(stack, size):
    count = 10 * RATE // size

    async def steps(receive, send):
        for number in range(count):
            await send({"type": "websocket.send", "bytes": bytes([number & 255]) * size})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    app = accepting(steps)
    client = throttled(stack, app)
    peer = Peer(client)
    assert client.transport.written <= RATE
    while holds(client):
        client.loop.advance(INTERVAL)
        assert client.transport.written <= (client.loop.time() - 1000 + 1) * RATE
    assert peer.frames() == [("bytes", bytes([number & 255]) * size) for number in range(count)]
    peer.feed(peer.close(1000))
    client.loop.advance(1)
    assert peer.frames() == [("close", (1000, ""))]
    assert_over(client)


def test_the_close_frame_has_to_leave_first(stack, server_log):
    """The time for the client's answer does not run before: it has nothing to answer."""

    async def steps(receive, send):
        await send({"type": "websocket.send", "bytes": content(40 * RATE)})

    client = throttled(stack, accepting(steps))
    peer = Peer(client)
    client.loop.call(session(client).shutdown)
    client.advance(40.5)
    assert [kind for kind, _ in peer.frames()] == ["bytes", "close"]
    assert not client.closed
    peer.feed(peer.close(1012))
    client.advance(1)
    assert_over(client)
    assert not server_log.warnings


def test_the_client_does_not_answer_the_close(stack):
    async def steps(receive, send):
        await send({"type": "websocket.send", "bytes": content(5 * RATE)})

    client = throttled(stack, accepting(steps))
    Peer(client)
    client.advance(40)
    assert_over(client)


def test_a_fault_behind_messages_that_wait(stack, server_log):
    """The client learns why."""

    async def steps(receive, send):
        await send({"type": "websocket.send", "bytes": content(20 * RATE)})
        await receive()

    client = throttled(stack, accepting(steps))
    peer = Peer(client)
    peer.feed(b"\xf0\x80\0\0\0\0")  # reserved bits
    client.advance(21)
    frames = peer.frames()
    assert frames[0] == ("bytes", content(20 * RATE))
    assert [(kind, payload[0]) for kind, payload in frames[1:]] == [("close", 1002)]
    client.advance(5)
    assert_over(client)


def test_pings_wait_too(stack, server_log):
    """A client that has not been sent the ping cannot answer it."""

    async def steps(receive, send):
        await send({"type": "websocket.send", "bytes": content(60 * RATE)})
        await asyncio.sleep(1000)

    client = throttled(stack, accepting(steps), ws_ping_interval=5, ws_ping_timeout=20, timeout_write=5)
    peer = Peer(client)
    client.advance(60)
    assert peer.frames() == [("bytes", content(60 * RATE))]
    assert not client.closed
    peer.feed(peer.ping(b"hey"))
    client.advance(6)
    (first, *others) = peer.frames()
    assert first == ("pong", b"hey")
    assert others
    assert set(others) == {("ping", b"")}
    assert not client.closed
    client.lose()


def test_reject(stack):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.http.response.start", "status": 403, "headers": []})
        await send({"type": "websocket.http.response.body", "body": content(5 * RATE)})

    client = throttled(stack, app)
    client.feed(handshake())
    client.advance(5)
    assert client.response("GET").body == content(5 * RATE)
    client.advance(5)
    assert_over(client)


# -- the transport that it is


def test_transport_is_complete(stack):
    client = throttled(stack, hello)
    throttle = client.transport.protocol
    transport = client.transport
    assert throttle.get_extra_info("throttle") is throttle
    assert throttle.get_extra_info("peername") == ("127.0.0.1", 50000)
    assert throttle.get_extra_info("none", 5) == 5
    assert throttle.rate == RATE
    assert throttle.get_protocol() is client.conn
    assert throttle.is_reading()
    throttle.pause_reading()
    assert not throttle.is_reading()
    assert not transport.is_reading()
    with client.loop.running():
        throttle.resume_reading()
    assert transport.is_reading()
    throttle.set_write_buffer_limits(100, 10)
    assert throttle.get_write_buffer_limits() == transport.get_write_buffer_limits() == (10, 100)
    throttle.set_write_buffer_limits()
    assert throttle.can_write_eof()
    with client.loop.running():
        throttle.writelines([b"x" * RATE, b"y" * 10, b""])
    assert throttle.get_write_buffer_size() == 10
    assert transport.taken == b"x" * RATE
    client.loop.advance(INTERVAL)
    assert throttle.get_write_buffer_size() == 0
    assert transport.taken == b"x" * RATE + b"y" * 10
    with client.loop.running():
        throttle.write_eof()
    assert transport.eof_written
    assert not throttle.is_closing()
    throttle.close()
    assert throttle.is_closing()
    client.loop.run_until_idle()
    assert transport.lost
