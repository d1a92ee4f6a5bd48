"""Nothing outlives its request, and nothing its connection; without the help of the cycle collector on CPython."""

from __future__ import annotations

import asyncio
import gc
import logging
import platform
import weakref

import pytest
from harness import GET, receive_body, request, respond, serve
from websocket_peer import Peer, handshake
from wsproto.frame_protocol import FrameProtocol

from core.apps import body, start

PYPY = platform.python_implementation() == "PyPy"
POST = request("POST", "/p?q", "X-A: b", body=b"hello")
CHUNKED = request("POST", "/", "Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n"

PER_REQUEST = {"HTTPCycle", "RequestHead", "Received", "Drained", "Waiters", "Task", "_asyncio.Task", "coroutine"}


class Canary:
    """Lives as long as the scope that it sits in."""


@pytest.fixture
def no_collector():
    """Runs the test with the cycle collector off: what is freed then is freed by its last reference.

    Without logs too: what keeps log records keeps the tracebacks in them.
    """
    logging.disable()
    gc.collect()
    gc.collect()  # a task that has not ended lives on when it is collected, to say so
    gc.disable()
    yield
    logging.disable(logging.NOTSET)
    gc.enable()
    gc.collect()


def settle(client):
    """Let everything end; on PyPy the collector has to say what is free."""
    client.loop.run_until_idle()
    if PYPY:
        gc.collect()
        gc.collect()


def living(names):
    return [thing for thing in gc.get_objects() if type(thing).__name__ in names]


class Watched:
    """Runs an application and keeps weak references to the task and the scope of each request."""

    def __init__(self, app):
        self.app = app
        self.alive = []

    async def __call__(self, scope, receive, send):
        scope["canary"] = canary = Canary()
        self.alive.append(weakref.ref(canary))
        self.alive.append(weakref.ref(asyncio.current_task()))
        del canary
        await self.app(scope, receive, send)

    def count(self):
        return sum(ref() is not None for ref in self.alive)


async def plain(scope, receive, send):
    await respond(send, b"x")


async def reads(scope, receive, send):
    await respond(send, await receive_body(receive) or b"")


async def waits(scope, receive, send):
    await receive_body(receive)
    await asyncio.sleep(0)
    await send(start())
    await send(body(b"a", True))
    await asyncio.sleep(0)
    await send(body(b"b"))
    await receive()


async def watches(scope, receive, send):
    await receive_body(receive)
    task = asyncio.ensure_future(receive())
    await asyncio.sleep(0)
    await respond(send, b"x")
    await task


async def raises(scope, receive, send):
    raise LookupError


async def raises_late(scope, receive, send):
    await send(start())
    await send(body(b"a"))
    await asyncio.sleep(0)
    raise LookupError


async def wrong(scope, receive, send):
    await send({"type": "nonsense"})


async def silent(scope, receive, send):
    pass


APPS = [plain, reads, waits, watches, raises, raises_late, wrong, silent]


@pytest.mark.parametrize("app", APPS, ids=lambda app: app.__name__)
def test_nothing_outlives_its_request(stack, no_collector, app):
    """After the last request at most one is still referred to (by the connection, as the last one)."""
    watched = Watched(app)
    client = serve(stack, watched, record=False)
    for number in range(1000):
        client.feed((GET, POST, CHUNKED)[number % 3])
        if client.ended:
            client = client.connect()
    settle(client)
    assert len(watched.alive) == 2000
    assert watched.count() == 0


@pytest.mark.skipif(PYPY, reason="counts by CPython's collector")
@pytest.mark.parametrize("app", [plain, reads, waits, watches], ids=lambda app: app.__name__)
def test_no_object_is_left_behind(stack, no_collector, app):
    client = serve(stack, app, record=False)
    for data in (GET, POST, CHUNKED):
        client.feed(data)
    before = len(gc.get_objects())
    named = len(living(PER_REQUEST))
    for _ in range(300):
        client.feed(GET).feed(POST).feed(CHUNKED).feed(GET * 3)
        client.transport.taken.clear()
    settle(client)
    assert len(living(PER_REQUEST)) <= named + 1
    assert len(gc.get_objects()) - before < 50


@pytest.mark.parametrize("data", [b"", GET[:9], GET, POST[:-2], POST, b"bad\r\n\r\n", GET + POST[:-2]], ids=repr)
@pytest.mark.parametrize("how", ["lose", "eof", "abort", "idle"])
def test_connection_is_freed(stack, no_collector, data, how):
    watched = Watched(reads)
    client = serve(stack, watched, record=False, timeout_body=5, timeout_headers=5)
    for _ in range(20):
        other = client.connect()
        other.feed(data)
        if how == "lose":
            other.lose(ConnectionResetError())
        elif how == "eof":
            other.feed_eof()
        elif how == "abort":
            other.loop.call(other.conn.abort)
        if how in ("eof", "idle") or data.startswith(b"bad"):
            other.advance(15)
        other.loop.run_until_idle()
        assert other.transport.lost
    del other
    settle(client)
    assert watched.count() == 0
    if not PYPY:
        connection = type(client.conn)
        assert [thing for thing in gc.get_objects() if type(thing) is connection and thing is not client.conn] == []
        assert len(living({"RequestReader"})) <= 1


def test_lost_connection_is_freed_while_its_app_runs(stack, no_collector):
    """A task that goes on without its client does not hold the transport."""

    async def app(scope, receive, send):
        await asyncio.sleep(100)

    client = serve(stack, app, record=False)
    client.feed(GET)
    transport = weakref.ref(client.transport)
    loop, state = client.loop, client.state
    client.lose()
    del client
    if PYPY:
        gc.collect()
        gc.collect()
    assert len(state.tasks) == 1
    loop.advance(101)
    assert not state.tasks
    if PYPY:
        gc.collect()
    assert transport() is None


def test_an_idle_connection_holds_nothing_of_its_last_request(stack, no_collector, traced):
    """No body, no scope, no task: only the connection itself."""
    watched = Watched(reads)
    client = serve(stack, watched, record=False)
    client.transport.discard = True
    client.feed(GET)
    before, _ = traced()
    for size in (1_000_000, 100_000, 1_000_000):
        client.feed(request("POST", body=b"x" * size))
    settle(client)
    assert client.state.total_requests == 4
    assert watched.count() == 0
    assert traced()[0] - before < 20_000


def test_tasks_and_connections_are_forgotten(stack):
    client = serve(stack, waits, record=False)
    for _ in range(50):
        other = client.connect()
        other.feed(POST * 3)
        other.lose()
    settle(client)
    assert client.state.tasks == set()
    assert client.state.connections == {client.conn}
    assert client.state.active == 0
    assert client.state.total_requests == 150


async def echoes(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] != "websocket.disconnect":
        await send({**message, "type": "websocket.send"})


async def listens(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass


async def closes(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    await receive()
    await send({"type": "websocket.close"})


async def refuses(scope, receive, send):
    await send({"type": "websocket.close"})


@pytest.mark.parametrize("app", [echoes, closes, refuses, raises, wrong], ids=lambda app: app.__name__)
@pytest.mark.parametrize("how", ["close", "lose", "eof", "abort", "fault"])
def test_websocket_is_freed(stack, no_collector, app, how):
    watched = Watched(app)
    client = serve(stack, watched, record=False)
    for number in range(20):
        other = client.connect()
        peer = Peer(other, deflate=number % 2 == 0)
        session = other.transport.get_protocol()
        other.feed(peer.text("hello " * 10))
        if how == "lose":
            other.lose(ConnectionResetError())
        elif how == "eof":
            other.feed_eof()
        elif how == "abort":
            other.loop.call(session.abort)
        else:
            other.feed(peer.close(1000) if how == "close" else b"\xff\xff")
        other.advance(20)
        assert other.transport.lost
        del session
    del other, peer
    settle(client)
    assert watched.count() == 0
    assert client.state.connections == set()
    assert client.state.active == 0
    if not PYPY:
        assert living({"WebSocketSession", "FrameCodec", "Handshake"}) == []


def frame(data):
    return bytes(FrameProtocol(client=True, extensions=[]).send_data(data, True))


def test_an_open_websocket_holds_nothing_of_its_last_message(stack, no_collector, traced):
    client = serve(stack, listens, record=False)
    client.transport.discard = True
    client.feed(handshake())
    client.feed(frame(b"x"))
    before, _ = traced()
    for size in (1_000_000, 100_000, 1_000_000):
        client.feed(frame(b"x" * size))
    settle(client)
    assert traced()[0] - before < 20_000
