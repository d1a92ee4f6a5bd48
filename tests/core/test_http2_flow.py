"""HTTP/2: windows and transports that are full, in both directions, and who goes first."""

from __future__ import annotations

import asyncio
import gc

import pytest
from h2.settings import SettingCodes
from harness import receive_body
from http2_peer import SETTINGS, WINDOW_UPDATE, connect, fields, frame, without_window

from .apps import Idle, Script, body, hello, start

STREAM_WINDOW = 128 * 1024
CONNECTION_WINDOW = 1024 * 1024


class Stream:
    """Sends pieces of `size` bytes, and counts those that went through."""

    def __init__(self, size=1000, pieces=1000):
        self.size = size
        self.pieces = pieces
        self.sent = {}
        self.ended = 0

    async def __call__(self, scope, receive, send):
        path = scope["path"]
        self.sent[path] = 0
        await send(start())
        for _ in range(self.pieces):
            await send(body(b"x" * self.size, True))
            self.sent[path] += self.size
        await send(body())
        self.ended += 1


# -- the client holds the application back


def test_send_waits_for_the_window_of_the_stream(stack):
    app = Stream()
    peer = connect(stack, app, peer=without_window(4500))
    stream = peer.streams[peer.request()]
    assert len(stream.body) == 4500
    assert app.sent["/"] == 4000  # the rest of one piece waits, and its sender with it
    peer.credit(600, 1)
    assert (len(stream.body), app.sent["/"]) == (5100, 5000)


def test_send_waits_for_the_window_of_the_connection(stack):
    app = Stream()
    peer = connect(stack, app, peer=without_window(10**6))
    stream = peer.streams[peer.request()]
    assert len(stream.body) == 65535
    assert app.sent["/"] == 65000
    assert peer.get(fields("HEAD", "/head")).status == 200  # what needs no window goes on
    peer.credit(100000)
    assert len(stream.body) == 165535


def test_send_waits_for_the_transport(stack):
    app = Stream(10000, 100)
    peer = connect(stack, app, peer=without_window(2**30))
    peer.credit(2**30)
    peer.client.transport.stall()
    peer.client.transport.high = 50000
    peer.request()
    assert 50000 <= app.sent["/"] < 90000
    assert peer.client.transport.pending_size < 90000
    peer.client.transport.unblock_writes()
    peer.client.loop.run_until_idle()
    peer.read()
    assert len(peer.streams[1].body) == 1_000_000
    assert peer.streams[1].ended


def test_a_change_of_the_initial_window(stack):
    app = Stream(1000, 10)
    peer = connect(stack, app, peer=without_window(0))
    stream = peer.streams[peer.request()]
    assert stream.status == 200
    assert stream.body == b""
    peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 3000})
    peer.flush()
    assert len(stream.body) == 3000
    peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1000})
    peer.flush()
    peer.credit(1999, 1)  # the window was below zero
    assert len(stream.body) == 3000
    peer.credit(1, 1).credit(2000, 1)
    assert len(stream.body) == 5000


def test_a_whole_response_waits_without_its_application(stack):
    """It counts as answered, as one in the buffer of a socket would."""
    app = Stream(20000, 0)

    async def steps(scope, receive, send):
        await send(start())
        sending = asyncio.ensure_future(send(body(b"x" * 20000)))
        await sending

    app = Script(steps)
    peer = connect(stack, app, peer=without_window(5000))
    stream = peer.streams[peer.request()]
    assert not app.ended
    assert peer.client.state.active == 0
    peer.credit(20000, 1)
    assert len(stream.body) == 20000
    assert stream.ended
    assert app.ended
    assert app.error is None


def test_an_end_needs_no_window(stack):
    peer = connect(stack, Stream(1, 0), peer=without_window(0))
    assert peer.get().ended
    peer = connect(stack, hello, peer=without_window(5))
    stream = peer.get()
    assert (stream.body, stream.ended) == (b"hello", True)


def test_trailers_wait_for_the_body(stack):
    async def steps(scope, receive, send):
        await send(start(200, [], trailers=True))
        await send(body(b"x" * 100))
        await send({"type": "http.response.trailers", "headers": [(b"a", b"b")]})

    peer = connect(stack, Script(steps), peer=without_window(50))
    stream = peer.streams[peer.request(fields(more=[("te", "trailers")]))]
    assert stream.trailers is None
    peer.credit(50, 1)
    assert (len(stream.body), stream.trailers, stream.ended) == (100, [(b"a", b"b")], True)


def test_streams_take_turns(stack):
    app = Stream(200_000, 1)
    peer = connect(stack, app, peer=without_window(2**20))
    peer.credit(2**20)
    peer.client.transport.stall()
    for number in range(4):
        peer.send_request(fields(path=f"/{number}"))
    peer.flush()
    assert peer.client.transport.pending_size < 150_000
    peer.client.transport.unblock_writes()
    peer.client.loop.run_until_idle()
    peer.read()
    turns = peer.order.index(3)
    assert peer.order[turns : turns + 20] == [3, 5, 7, 1] * 5
    assert all(len(stream.body) == 200_000 for stream in peer.streams.values())


def test_streams_take_turns_when_windows_are_small(stack):
    app = Stream(40_000, 1)
    peer = connect(stack, app, peer=without_window(2**20))
    numbers = [peer.request(fields(path=f"/{number}")) for number in range(4)]
    assert peer.order == [1, 1, 1, 1, 3, 3]  # the window of the connection
    del peer.order[:]
    for _ in range(3):
        peer.credit(16384)
    assert set(peer.order) == set(numbers[1:])
    peer.credit(2**20)
    assert all(stream.ended for stream in peer.streams.values())


def test_a_stream_without_window_does_not_stop_the_others(stack):
    app = Stream(1000, 3)
    peer = connect(stack, app, peer=without_window(1000))
    one, two = peer.request(), peer.request()
    peer.credit(2000, two)
    assert (len(peer.streams[one].body), len(peer.streams[two].body)) == (1000, 3000)
    assert peer.streams[two].ended


def test_senders_that_do_not_wait(stack):
    """Messages stay in order, and waiting for any of them waits for all."""

    async def steps(scope, receive, send):
        await send(start())
        waiting = [asyncio.ensure_future(send(body(b"%d" % number * 1000, True))) for number in range(5)]
        await asyncio.gather(*waiting)
        await send(body(b"end"))

    app = Script(steps)
    peer = connect(stack, app, peer=without_window(2500))
    stream = peer.streams[peer.request()]
    assert not app.ended
    peer.credit(2**20, 1)
    assert stream.body == b"".join(b"%d" % number * 1000 for number in range(5)) + b"end"
    assert app.ended


def test_a_reset_lets_the_sender_go(stack):
    app = Stream()
    peer = connect(stack, app, peer=without_window(0))
    peer.request()
    peer.reset(1)
    assert not peer.client.state.tasks
    assert app.ended == 0


def test_window_updates_beyond_the_limit_end_the_stream(stack):
    app = Idle()
    peer = connect(stack, app)
    stream_id = peer.request()
    peer.raw(frame(WINDOW_UPDATE, 0, stream_id, (2**31 - 1).to_bytes(4, "big")))
    assert app.disconnected
    assert peer.streams[stream_id].reset == 3  # FLOW_CONTROL_ERROR
    assert not peer.closed


# -- the application holds the client back


class Reader:
    """Receives when the test says so."""

    def __init__(self):
        self.received = 0
        self.gates = []

    async def __call__(self, scope, receive, send):
        while True:
            gate = asyncio.get_running_loop().create_future()
            self.gates.append(gate)
            await gate
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            self.received += len(message["body"])

    def go(self, peer):
        peer.client.loop.call(self.gates.pop(0).set_result, None)
        peer.client.loop.run_until_idle()
        peer.read()


def send_all(peer, stream_id, most=10**7):
    """Send until the window is used up; return how much that was."""
    total = 0
    while total < most:
        size = min(peer.h2.local_flow_control_window(stream_id), 16384, most - total)
        if size <= 0:
            break
        peer.data(stream_id, b"x" * size)
        total += size
    return total


def test_an_application_that_does_not_receive(stack):
    app = Reader()
    peer = connect(stack, app)
    stream_id = peer.request(fields("POST"), end=False)
    assert send_all(peer, stream_id) == STREAM_WINDOW
    app.go(peer)
    assert app.received == STREAM_WINDOW
    assert send_all(peer, stream_id) == STREAM_WINDOW
    assert not peer.closed


def test_applications_that_do_not_receive(stack):
    """All streams together hold no more than the window of the connection."""
    app = Reader()
    peer = connect(stack, app)
    numbers = [peer.request(fields("POST"), end=False) for _ in range(20)]
    assert sum(send_all(peer, number) for number in numbers) == CONNECTION_WINDOW
    for _ in numbers:
        app.go(peer)
    assert app.received == CONNECTION_WINDOW
    assert send_all(peer, numbers[-1]) == STREAM_WINDOW


def test_an_application_that_receives(stack):
    async def steps(scope, receive, send):
        size = 0
        while True:
            message = await receive()
            size += len(message["body"])
            if not message["more_body"]:
                break
        await send(start())
        await send(body(b"%d" % size))

    peer = connect(stack, Script(steps))
    stream_id = peer.request(fields("POST"), end=False)
    assert send_all(peer, stream_id, 3_000_000) == 3_000_000
    peer.data(stream_id, b"", end=True)
    assert peer.streams[stream_id].body == b"3000000"


@pytest.mark.parametrize("end", ["reset", "lost", "answered"])
def test_what_was_not_received_is_given_back_to_the_connection(stack, end):
    app = Reader()
    peer = connect(stack, app)
    for _ in range(30):
        stream_id = peer.request(fields("POST"), end=False)
        assert send_all(peer, stream_id) == STREAM_WINDOW
        if end == "reset":
            peer.reset(stream_id)
        elif end == "lost":
            peer.data(stream_id, b"", end=True)
            peer.reset(stream_id)
        else:
            gate = app.gates.pop()
            peer.client.loop.call(gate.set_exception, asyncio.CancelledError())
            peer.client.loop.run_until_idle()
            peer.read()
            assert peer.streams[stream_id].status == 503
        peer.advance(1)
    assert not peer.closed


def test_padding_is_given_back(stack):
    peer = connect(stack, Script(lambda scope, receive, send: receive_body(receive)))
    stream_id = peer.request(fields("POST"), end=False)
    for _ in range(2 * CONNECTION_WINDOW // 256):
        peer.data(stream_id, b"", pad_length=255)
    assert not peer.closed
    assert peer.h2.local_flow_control_window(stream_id) > 0


def test_data_behind_a_reset_is_given_back(stack):
    """The client did not know yet."""
    peer = connect(stack, hello)
    for _ in range(20):
        stream_id = peer.h2.get_next_available_stream_id()
        peer.h2.send_headers(stream_id, fields("POST", more=[("content-length", "1000000")]))
        for _ in range(8):
            peer.h2.send_data(stream_id, b"x" * 16384)
        peer.flush()
        peer.advance(1)
    assert not peer.closed
    assert peer.get().status == 200


def test_a_client_that_ignores_its_window(stack, server_log):
    app = Reader()
    peer = connect(stack, app)
    peer.request(fields("POST"), end=False)
    for _ in range(9):
        peer.raw(frame(0, 0, 1, b"x" * 16384))
    assert peer.code == 3  # FLOW_CONTROL_ERROR
    assert peer.closed
    assert len(server_log.warnings) == 1


def test_a_large_table_is_not_kept_for_the_client(stack):
    """A client may allow us any size; the default is enough."""
    peer = connect(stack, hello)
    peer.raw(frame(SETTINGS, 0, 0, (1).to_bytes(2, "big") + (2**30).to_bytes(4, "big")))
    assert peer.get().status == 200
    assert peer.h2.decoder.header_table_size == 4096


def test_streams_that_were_reset_do_not_wait_for_the_window(stack):
    """As long as the window of the connection is used up, nobody gets to them."""
    peer = connect(stack, Stream(100_000, 1), peer=without_window(2**20))
    peer.request()
    for _ in range(400):
        peer.reset(peer.request())
    for _ in range(3):  # PyPy first runs what a coroutine leaves to be run, and frees what it referred to afterwards
        gc.collect()
    streams = [one for one in gc.get_objects() if type(one).__name__ == "HTTP2Stream"]
    assert sum(one.loop is peer.client.loop for one in streams) < 250  # those of other tests may not be freed yet
    peer.credit(2**20)
    assert (len(peer.streams[1].body), peer.streams[1].ended) == (100_000, True)
    assert peer.streams[peer.request()].ended
