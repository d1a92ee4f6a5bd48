"""Large bodies on uvloop's transports: read into the application's bytes, as if nothing were different."""

from __future__ import annotations

import hashlib

import pytest
from fakes import FakeTransport
from harness import GET, request, respond, serve

KIB = 1024
MIN_READ, MAX_READ = 16 * KIB, 128 * KIB
COPIED_READ = 256 * KIB  # what uvloop reads at a time where it copies


# -- the block


def test_what_is_read_is_what_is_taken(part):
    block = part("block").Block()
    for size, used in ((10, 10), (100, 1), (100_000, 70_000), (1, 1), (300_000, 300_000)):
        view = memoryview(block.view(size))
        assert (len(view), view.readonly) == (size, False)
        data = (b"0123456789" * (used // 10 + 1))[:used]
        view[:used] = data
        view.release()
        taken = block.take(used)
        assert type(taken) is bytes
        assert taken == data
        assert hash(taken) == hash(data)


def test_a_block_is_taken_once(part):
    block = part("block").Block()
    with pytest.raises((TypeError, ValueError)):
        block.take(1)
    block.view(10)
    assert len(block.take(3)) == 3
    with pytest.raises((TypeError, ValueError)):
        block.take(3)


def test_a_block_that_is_read_into_twice(part):
    """A read that came to nothing: the next one begins again."""
    block = part("block").Block()
    block.view(100)
    memoryview(block.view(10))[:] = b"0123456789"
    assert block.take(10) == b"0123456789"


# -- the connection


class Transport(FakeTransport):
    """Reads as uvloop's do: it looks at the kind of its protocol when reading begins."""

    __module__ = "uvloop.loop"

    def __init__(self, *args):
        super().__init__(*args)
        self.reads = []  # what was asked for in each read of a buffered protocol
        self.is_buffered = False

    def set_protocol(self, protocol):
        self.protocol = protocol
        if hasattr(protocol, "get_buffer"):
            self.buffered = protocol

    def resume_reading(self):
        self.is_buffered = hasattr(self.protocol, "get_buffer")
        super().resume_reading()

    def receive(self, data):
        """Read all of `data` that the server wants to read now; return the rest."""
        while data and self._reading and not self.lost:
            if self.is_buffered:
                buffer = self.buffered.get_buffer(65536)
                self.reads.append(len(buffer))
                piece, data = data[: len(buffer)], data[len(buffer) :]
                buffer[: len(piece)] = piece
                self.buffered.buffer_updated(len(piece))
            else:
                piece, data = data[:COPIED_READ], data[COPIED_READ:]
                self.protocol.data_received(piece)
        return data


class Counter:
    """Receives bodies; keeps their sizes and digests, and the sizes of their pieces."""

    def __init__(self):
        self.bodies = []
        self.pieces = []
        self.errors = []

    async def __call__(self, scope, receive, send):
        digest, size = hashlib.sha256(), 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.errors.append(size)
                return
            assert type(message["body"]) is bytes
            self.pieces.append(len(message["body"]))
            digest.update(message["body"])
            size += len(message["body"])
            if not message["more_body"]:
                break
        self.bodies.append((size, digest.hexdigest()))
        await respond(send, b"%d" % size)


@pytest.fixture
def uvloop(monkeypatch):
    monkeypatch.setattr("harness.FakeTransport", Transport)


def send(client, data):
    """As the peer and its kernel do: what the server does not read now it reads later."""
    while data:
        data = client.loop.call(client.transport.receive, data)
        client.loop.run_until_idle()
        if not client.transport._reading and client.loop.idle:
            break
    return data


def body_of(size):
    return bytes(range(256)) * (size // 256)


def summary(data):
    return len(data), hashlib.sha256(data).hexdigest()


def test_a_large_body(stack, uvloop):
    app = Counter()
    client = serve(stack, app)
    data = body_of(1024 * KIB)
    assert send(client, request("POST", "/", body=data)) == b""
    assert app.bodies == [summary(data)]
    assert client.response("POST").body == b"1048576"
    reads = client.transport.reads
    assert max(reads) == MAX_READ
    assert sum(reads) < len(data)  # not a byte more than the body's rest


def test_it_stays_for_the_next_large_body(stack, uvloop):
    """Of a request that comes then, little is read in one piece with its head, and has to be copied."""
    app = Counter()
    client = serve(stack, app)
    data = body_of(1024 * KIB)
    for _ in range(3):
        client.transport.reads.clear()
        assert send(client, request("POST", "/", body=data)) == b""
        assert client.transport.protocol is not client.conn
    assert client.transport.reads[0] == MIN_READ
    assert app.bodies == [summary(data)] * 3
    send(client, GET)
    assert client.transport.protocol is client.conn
    assert len(app.bodies) == 4
    assert not client.transport.is_buffered


def test_a_websocket_behind_a_large_body(stack, uvloop):
    received = []

    async def app(scope, receive, send):
        if scope["type"] == "http":
            await counter(scope, receive, send)
            return
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            message = await receive()
            received.append(message)
            if message["type"] == "websocket.disconnect":
                return

    counter = Counter()
    client = serve(stack, app)
    send(client, request("POST", "/", body=body_of(1024 * KIB)))
    assert client.transport.is_buffered
    fields = (
        "Connection: upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: " + "A" * 22 + "==",
    )
    send(client, request("GET", "/", *fields))
    send(client, b"\x81\x85\0\0\0\0hello")
    send(client, b"\x88\x80\0\0\0\0")
    assert [message.get("text") for message in received] == ["hello", None]
    assert not client.transport.is_buffered
    assert client.transport.protocol is not client.conn


def test_it_leaves_chunked_bodies_alone(stack, uvloop):
    app = Counter()
    client = serve(stack, app)
    data = body_of(1024 * KIB)
    send(client, request("POST", "/", body=data))
    send(client, request("POST", "/", "Transfer-Encoding: chunked"))
    assert client.transport.protocol is client.conn
    send(client, b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data))
    assert app.bodies == [summary(data)] * 2


def test_one_after_the_other_on_a_connection(stack, uvloop):
    app = Counter()
    client = serve(stack, app)
    bodies = [body_of(size * KIB) for size in (1024, 1, 300, 128, 0, 2048)]
    for data in bodies:
        assert send(client, request("POST", "/", body=data)) == b""
        assert send(client, GET) == b""
    assert app.bodies == [summary(each) for data in bodies for each in (data, b"")]
    assert len(client.responses(["POST", "GET"] * len(bodies))) == 2 * len(bodies)


def test_pipelined_behind_a_large_body(stack, uvloop):
    app = Counter()
    client = serve(stack, app)
    data = body_of(700 * KIB)
    assert send(client, (request("POST", "/", body=data) + GET) * 3) == b""
    assert app.bodies == [summary(data), summary(b"")] * 3


def test_small_and_chunked_bodies_are_read_as_ever(stack, uvloop):
    app = Counter()
    client = serve(stack, app)
    data = body_of(100 * KIB)
    send(client, request("POST", "/", body=data))
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (1024 * KIB, body_of(1024 * KIB))
    send(client, request("POST", "/", "Transfer-Encoding: chunked") + chunked)
    assert app.bodies == [summary(data), summary(body_of(1024 * KIB))]
    assert client.transport.reads == []


def test_other_transports_are_left_alone(stack):
    app = Counter()
    client = serve(stack, app)
    data = body_of(1024 * KIB)
    client.feed(request("POST", "/", body=data))
    assert app.bodies == [summary(data)]
    assert client.transport.protocol is client.conn


def test_small_segments_make_small_reads(stack, uvloop):
    app = Counter()
    client = serve(stack, app)
    data = body_of(1024 * KIB)
    head, rest = request("POST", "/", body=data)[:100], request("POST", "/", body=data)[100:]
    send(client, head)
    while rest:
        send(client, rest[:1024])
        rest = rest[1024:]
    assert app.bodies == [summary(data)]
    assert client.transport.reads.count(MIN_READ) > 900


def test_an_application_that_does_not_receive(stack, uvloop):
    async def app(scope, receive, send):
        await client.loop.create_future()

    client = serve(stack, app)
    data = request("POST", "/", body=body_of(4096 * KIB))
    left = send(client, data)
    assert len(data) - len(left) <= 64 * KIB + 2 * MAX_READ
    client.lose()


def test_the_client_leaves(stack, uvloop):
    app = Counter()
    client = serve(stack, app)
    send(client, request("POST", "/", body=body_of(1024 * KIB))[: 700 * KIB])
    assert client.transport.is_buffered
    client.lose(ConnectionResetError())
    assert len(app.errors) == 1
    assert not client.state.connections


def test_the_client_ends_its_side(stack, uvloop):
    app = Counter()
    client = serve(stack, app)
    send(client, request("POST", "/", body=body_of(1024 * KIB))[: 700 * KIB])
    client.feed_eof()
    assert len(app.errors) == 1


def test_a_slow_client_times_out(stack, uvloop):
    app = Counter()
    client = serve(stack, app, timeout_body=10)
    send(client, request("POST", "/", body=body_of(1024 * KIB))[: 700 * KIB])
    client.advance(11)
    assert client.response("POST").status == 408
    assert client.ended


def test_an_answer_before_the_end_of_the_body(stack, uvloop):
    async def app(scope, receive, send):
        await receive()
        await respond(send, b"enough")

    client = serve(stack, app)
    send(client, request("POST", "/", body=body_of(4096 * KIB)))
    assert client.response("POST").body == b"enough"
    assert client.ended
    client.advance(3)
    assert client.closed


def test_writing_is_paused_meanwhile(stack, uvloop):
    """A body that is sent back as it comes, to a client that does not read."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send({"type": "http.response.body", "body": message["body"], "more_body": more})

    client = serve(stack, app)
    data = body_of(4096 * KIB)
    client.transport.stall()
    left = send(client, request("POST", "/", body=data))
    assert left
    while left or client.transport.pending_size:
        client.transport.take(512 * KIB)
        client.loop.run_until_idle()
        left = send(client, left)
    assert summary(client.response("POST").body) == summary(data)
