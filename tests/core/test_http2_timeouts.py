"""HTTP/2: every wait has its bound, and a connection ends in good order."""

from __future__ import annotations

import asyncio

import pytest
from harness import TICK, Server, Settings, receive_body, respond, serve
from http2_peer import (
    ACK,
    CONTINUATION,
    DATA,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    SETTINGS,
    Peer,
    connect,
    fields,
    frame,
    without_window,
)

from asgiserve.errors import ClientDisconnected

from .apps import Gated, Idle, Script, body, echo, hello, start

SLACK = 2 * TICK
CANCEL, REFUSED_STREAM, ENHANCE_YOUR_CALM = 8, 7, 11
MAX_STREAM_ID = 2**31 - 1


def over(peer):
    """Nothing is left of it."""
    peer.advance(5)
    client = peer.client
    return client.transport.lost and not client.state.connections and client.state.active == 0


def waits(peer, seconds):
    """It is still there shortly before, and has acted shortly after."""
    peer.advance(seconds - SLACK)
    assert not peer.closed
    assert all((stream.reset is None and stream.status is None) or stream.ended for stream in peer.streams.values())
    peer.advance(2 * SLACK)
    return True


# -- without a request


@pytest.mark.parametrize("data", [b"PRI * HTTP/2.0\r\n", PREFACE, PREFACE + frame(SETTINGS), PREFACE + b"\0\0"])
def test_no_request_comes(stack, server_log, data):
    client = serve(stack, hello, http2=True)
    client.feed(data)
    client.advance(30 - SLACK)
    assert not client.closed
    client.advance(2 * SLACK)
    assert client.closed
    client.advance(3)
    assert client.transport.lost
    assert not server_log.warnings


def test_pings_are_no_request(stack):
    peer = connect(stack, hello)
    for _ in range(31):
        peer.client.feed(frame(PING, 0, 0, b"x" * 8))
        peer.client.advance(1)
    peer.read()
    assert peer.closed
    assert peer.code == 0


def test_keep_alive(stack, server_log):
    peer = connect(stack, hello)
    peer.get()
    peer.advance(5 - SLACK)
    assert not peer.closed
    peer.get()
    peer.client.feed(frame(PING, 0, 0, b"x" * 8))
    peer.advance(5 - SLACK)
    assert not peer.closed
    peer.advance(2 * SLACK)
    assert peer.closed
    assert [(one.error_code, one.last_stream_id) for one in peer.goaways] == [(0, 3)]
    assert over(peer)
    assert not server_log.warnings


def test_keep_alive_does_not_run_beside_a_stream(stack):
    app = Gated()
    peer = connect(stack, app)
    peer.request()
    peer.advance(100)
    assert not peer.closed
    app.go(peer.client)
    assert waits(peer, 5)
    assert peer.closed


def test_a_header_block_does_not_end(stack, server_log):
    app = Gated()
    peer = connect(stack, app)
    peer.request()
    peer.raw(frame(HEADERS, 1, 3, b"\x82"))
    peer.advance(20)
    peer.raw(frame(CONTINUATION, 0, 3))  # a trickle does not help
    peer.advance(10 - SLACK)
    assert not peer.closed
    peer.advance(2 * SLACK)
    assert peer.code == ENHANCE_YOUR_CALM
    assert peer.closed
    assert server_log.warnings == ["127.0.0.1:50000 - HTTP/2 connection ended: request header not received in time"]


def test_a_header_block_behind_another(stack):
    """The time of the second is its own, also when it begins in the packet in which the first one ends."""
    peer = connect(stack, Gated())
    block = peer.h2.encoder.encode(fields())
    peer.raw(frame(HEADERS, 1, 1, block[:3]))
    peer.advance(20)
    peer.raw(frame(CONTINUATION, 4, 1, block[3:]) + frame(HEADERS, 1, 3, block[:1]))
    peer.advance(30 - SLACK)
    assert not peer.closed
    peer.advance(2 * SLACK)
    assert peer.code == ENHANCE_YOUR_CALM


def test_a_header_block_behind_the_last_response(stack):
    """Its time is not that of an idle connection, be that more or less."""
    for keep_alive in (5, 300):
        app = Gated()
        peer = connect(stack, app, timeout_keep_alive=keep_alive)
        peer.request()
        peer.raw(frame(HEADERS, 1, 3, b"\x82"))
        app.go(peer.client)
        peer.advance(30 - SLACK)
        assert not peer.closed
        peer.advance(2 * SLACK)
        assert peer.code == ENHANCE_YOUR_CALM


def test_a_header_block_that_ends_in_time(stack):
    peer = connect(stack, Gated())
    peer.request()
    block = peer.h2.encoder.encode(fields())
    peer.raw(frame(HEADERS, 1, 3, block[:3]))
    peer.advance(20)
    peer.raw(frame(CONTINUATION, 4, 3, block[3:]))
    peer.advance(100)
    assert not peer.closed
    assert len(peer.client.scopes) == 2


# -- the body of a request


def test_a_body_does_not_come(stack, server_log):
    peer = connect(stack, echo)
    stream_id = peer.request(fields("POST"), end=False)
    peer.advance(50)
    peer.data(stream_id, b"x")
    assert waits(peer, 60)
    stream = peer.streams[stream_id]
    assert (stream.status, stream.ended) == (408, True)
    peer.advance(3)
    assert stream.reset == 0
    assert server_log.warnings == ["127.0.0.1:50000 - 408 Request Timeout: request body not received in time"]
    assert peer.client.state.active == 0
    assert not peer.client.state.tasks
    assert peer.get().status == 200


def test_a_body_does_not_come_within_the_response(stack):
    async def steps(scope, receive, send):
        await send(start())
        await send(body(b"a", True))
        await receive_body(receive)

    app = Script(steps)
    peer = connect(stack, app)
    stream_id = peer.request(fields("POST"), end=False)
    peer.advance(61)
    assert peer.streams[stream_id].reset == CANCEL
    assert app.ended


def test_a_slow_frame_is_not_silence(stack):
    peer = connect(stack, echo)
    stream_id = peer.request(fields("POST"), end=False)
    data = frame(DATA, 1, stream_id, b"x" * 10)
    for at in range(9, len(data) + 1):
        peer.client.feed(data[:9] if at == 9 else data[at - 1 : at])
        peer.client.advance(40)
    peer.read()
    assert peer.streams[stream_id].body == b"x" * 10


def test_an_application_that_does_not_receive_is_not_the_clients_fault(stack):
    app = Gated()
    peer = connect(stack, app)
    stream_id = peer.request(fields("POST"), end=False)
    for _ in range(8):
        peer.data(stream_id, b"x" * 16384)
    peer.advance(1000)
    assert peer.streams[stream_id].status is None
    assert not peer.closed


def test_streams_that_fill_the_window_of_the_connection(stack):
    """Who cannot send because of the others is not held to be slow; once there is room, it is."""
    gates = []

    async def steps(scope, receive, send):
        gate = asyncio.get_running_loop().create_future()
        gates.append(gate)
        await gate
        await receive_body(receive)

    peer = connect(stack, steps)
    numbers = [peer.request(fields("POST"), end=False) for _ in range(9)]
    for stream_id in numbers[:8]:
        for _ in range(8):
            peer.data(stream_id, b"x" * 16384)
    peer.advance(1000)
    assert peer.streams[numbers[8]].status in (None, 408)
    for gate in gates:
        peer.client.loop.call(gate.set_result, None)
    peer.client.loop.run_until_idle()
    peer.advance(61)
    assert {peer.streams[number].status for number in numbers} == {408}


def test_the_rest_of_an_answered_request_does_not_come(stack):
    peer = connect(stack, hello)
    stream_id = peer.request(fields("POST"), end=False)
    stream = peer.streams[stream_id]
    assert (stream.ended, stream.reset) == (True, None)
    peer.advance(60 + SLACK)
    assert stream.reset == 0
    peer.advance(5 + SLACK)
    assert peer.closed


# -- the response


class Sender:
    def __init__(self, size=1000):
        self.size = size
        self.error = None

    async def __call__(self, scope, receive, send):
        await send(start())
        try:
            while True:
                await send(body(b"x" * self.size, True))
        except OSError as error:
            self.error = error
            raise


def test_a_stream_takes_nothing(stack, server_log):
    app = Sender()
    peer = connect(stack, app, peer=without_window(5500))
    stream_id = peer.request()
    peer.advance(50)
    peer.credit(100, stream_id)  # takes something: the time starts again
    peer.advance(60 - SLACK)
    assert peer.streams[stream_id].reset is None
    peer.advance(2 * SLACK)
    assert peer.streams[stream_id].reset == CANCEL
    assert isinstance(app.error, ClientDisconnected)
    assert server_log.warnings == ["127.0.0.1:50000 - client takes no data for 60 s: stream reset"]
    assert not peer.closed


def test_a_connection_takes_nothing(stack, server_log):
    app = Sender()
    peer = connect(stack, app, peer=without_window(10**6))
    peer.request()
    peer.request()
    peer.advance(50)
    peer.credit(1000)
    peer.advance(60 - SLACK)
    assert not peer.closed
    peer.advance(2 * SLACK)
    assert peer.client.transport.aborted
    assert server_log.warnings == ["127.0.0.1:50000 - client takes no data for 60 s: connection reset"]
    assert over(peer)


def test_a_connection_without_window_and_without_need_of_it(stack):
    """The stream that waited for it was given up."""
    sender, idle_app = Sender(), Gated()

    async def app(scope, receive, send):
        await (idle_app if scope["path"] == "/idle" else sender)(scope, receive, send)

    peer = connect(stack, app, peer=without_window(10**6))
    stream_id = peer.request()
    idle = peer.request(fields(path="/idle"))
    peer.reset(stream_id)
    peer.advance(100)
    assert not peer.closed
    assert peer.streams[idle].reset is None


def test_a_transport_takes_nothing(stack, server_log):
    app = Sender(100_000)
    peer = connect(stack, app, peer=without_window(2**30))
    peer.credit(2**30)
    peer.client.transport.stall()
    peer.request()
    peer.advance(60 - SLACK)
    assert not peer.closed
    peer.advance(2 * SLACK)
    assert peer.client.transport.aborted
    assert server_log.warnings == ["127.0.0.1:50000 - client takes no data for 60 s: connection reset"]
    assert over(peer)


def test_a_slow_client_is_not_one_that_takes_nothing(stack):
    peer = connect(stack, Sender(), peer=without_window(1000))
    for _ in range(3):
        peer.request()
    for _ in range(20):
        for stream_id in list(peer.streams):
            peer.credit(10, stream_id)
        peer.advance(50)
    assert all(stream.reset is None for stream in peer.streams.values())


# -- a request as a whole


def test_a_request_takes_too_long(stack, server_log):
    app = Gated()
    peer = connect(stack, app, timeout_request=10)
    stream = peer.streams[peer.request()]
    assert waits(peer, 10)
    assert (stream.status, stream.ended) == (504, True)
    assert not peer.client.state.tasks
    assert not peer.closed


def test_a_response_takes_too_long(stack, server_log):
    app = Sender()
    peer = connect(stack, app, timeout_request=10, peer=without_window(100))
    stream = peer.streams[peer.request()]
    peer.advance(10 + SLACK)
    assert (stream.status, stream.reset) == (200, CANCEL)
    assert server_log.warnings == ["127.0.0.1:50000 - request not done within 10 s: stream reset"]
    assert not peer.client.state.tasks


def test_the_rest_of_a_request_is_no_matter_within_its_response(stack, server_log):
    """The application is done with both; the client takes its time, and takes something each time."""

    async def steps(scope, receive, send):
        await respond(send, b"x" * 1000)

    peer = connect(stack, Script(steps), peer=without_window(100))
    stream_id = peer.request(fields("POST"), end=False)
    stream = peer.streams[stream_id]
    for count in range(1, 10):
        assert len(stream.body) == 100 * count
        peer.advance(40)
        assert (stream.ended, stream.reset) == (False, None)
        peer.credit(100, stream_id)
    assert (len(stream.body), stream.ended, stream.reset) == (1000, True, None)
    peer.advance(60 + SLACK)  # now it is
    assert stream.reset == 0
    assert server_log.warnings == []


# -- the end of the server


def shutdown(peer):
    peer.client.state.stopping = True
    for connection in list(peer.client.state.connections):
        peer.client.loop.call(connection.shutdown)
    peer.client.loop.run_until_idle()


def last_streams(peer):
    return [one.last_stream_id for one in peer.goaways]


def test_shutdown_of_an_idle_connection(stack):
    peer = connect(stack, hello)
    peer.get()
    shutdown(peer)
    peer.read()
    assert last_streams(peer) == [MAX_STREAM_ID, 1]
    assert peer.client.transport.lost


def test_shutdown_of_an_idle_connection_that_does_not_answer(stack):
    peer = connect(stack, hello)
    peer.get()
    shutdown(peer)
    assert not peer.closed
    peer.client.advance(1 + SLACK)
    assert peer.client.transport.lost


def test_shutdown_waits_for_the_streams(stack):
    app = Gated()
    peer = connect(stack, app)
    stream = peer.streams[peer.request(fields(path="/a"))]
    shutdown(peer)
    peer.read()
    assert last_streams(peer) == [MAX_STREAM_ID, 1]
    peer.advance(10)
    assert not peer.closed
    app.go(peer.client)
    peer.read()
    assert (stream.body, stream.ended) == (b"/a", True)
    assert peer.client.transport.lost


def test_a_request_that_crosses_the_goaway_is_served(stack):
    client = serve(stack, hello, http2=True)
    peer = Peer(client)
    peer.get()
    peer.send_request()
    crossing = peer.h2.data_to_send()
    shutdown(peer)
    client.feed(crossing)
    peer.read()
    assert peer.streams[3].body == b"hello"
    assert last_streams(peer)[0] == MAX_STREAM_ID
    assert last_streams(peer)[-1] == 3
    assert client.transport.lost


def test_a_request_behind_the_goaway_is_refused(stack):
    """It can be sent again, to whoever comes next."""
    app = Gated()
    peer = connect(stack, app)
    peer.request()
    block = peer.h2.encoder.encode(fields())
    shutdown(peer)
    peer.client.advance(1 + SLACK)
    peer.client.take_output()
    peer.client.feed(frame(HEADERS, 5, 3, block))
    assert frame(3, 0, 3, REFUSED_STREAM.to_bytes(4, "big")) in peer.client.output()
    assert len(app.started) == 1


def test_a_server_that_stops_says_so_with_the_next_response(stack):
    """As `Connection: close` does."""
    peer = connect(stack, hello)
    peer.get()
    peer.client.state.stopping = True
    peer.client.advance(1)
    assert not peer.closed
    assert peer.get().body == b"hello"
    assert last_streams(peer) == [MAX_STREAM_ID, 3]
    assert peer.client.transport.lost


def test_streams_are_told_at_shutdown(stack):
    app = Idle()
    peer = connect(stack, app)
    peer.request()
    shutdown(peer)
    assert not app.disconnected
    for connection in list(peer.client.state.connections):
        peer.client.loop.call(connection.disconnect_app)
    peer.client.loop.run_until_idle()
    assert app.disconnected
    peer.read()
    assert peer.client.transport.lost


def test_abort(stack):
    app = Gated()
    peer = connect(stack, app)
    peer.request()
    shutdown(peer)
    for connection in list(peer.client.state.connections):
        peer.client.loop.call(connection.abort)
    peer.client.loop.run_until_idle()
    assert peer.client.transport.aborted
    assert not peer.client.state.connections
    assert peer.client.state.active == 0


def test_a_new_connection_of_a_server_that_stops(stack):
    server = Server(stack, hello, Settings(http2=True), False, None, None)
    server.state.stopping = True
    client = server.connect()
    assert client.transport.lost


def test_a_connection_with_a_limited_rate(stack):
    """It is not the client that is slow."""

    async def steps(scope, receive, send):
        await respond(send, b"x" * 100_000)

    client = serve(stack, steps, http2=True, limit_rate_per_second=1024, timeout_write=2)
    peer = Peer(client, **without_window(2**20))
    stream_id = peer.request()
    peer.credit(2**20)
    peer.advance(110)
    assert len(peer.streams[stream_id].body) == 100_000
    assert peer.streams[stream_id].ended
    assert (ACK, GOAWAY) == (1, 7)
