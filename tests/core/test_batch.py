"""Responses to many connections in one turn of the loop leave together; where there are few, nothing waits."""

from __future__ import annotations

import asyncio
from contextvars import copy_context

import pytest
from fakes import ERRORS, FakeLoop
from harness import EAGER, GET, request, respond, serve

from core.apps import body, start


@pytest.fixture
def module(part):
    return part("batch")


PATIENCE, COMPANY = 63, 4

eager = pytest.mark.skipif(not EAGER, reason="the application begins a turn later")


def deferred(module, released, error):
    """What stands in the place of an Output."""

    class Out(module.Deferred):
        def release(self):
            released.append(self)
            if error is not None:
                raise error

    return Out()


class Bench:
    """A batch on a loop and a clock that stand still."""

    def __init__(self, module):
        self.module = module
        self.loop = FakeLoop()
        self.now = 1.0
        self.released = []
        self.batch = module.Batch(self.loop, copy_context(), lambda: self.now)

    def skip(self, count=PATIENCE):
        for _ in range(count):
            assert not self.batch.wants()

    def add(self, error=None):
        out = deferred(self.module, self.released, error)
        self.batch.add(out)
        return out

    def turn(self, count):
        outs = [self.add() for _ in range(count)]
        assert self.released == []
        self.loop.run_until_idle()
        assert self.released == outs
        self.released.clear()


@pytest.fixture
def bench(module):
    return Bench(module)


def test_most_are_written_at_once_while_there_is_little_to_do(bench):
    for _ in range(3):
        bench.skip()
        assert bench.batch.wants()
        bench.turn(COMPANY - 1)


def test_company_is_collected_in_each_turn(bench):
    bench.skip()
    for _ in range(3):
        assert bench.batch.wants()
        bench.turn(COMPANY)
    bench.turn(1)
    bench.skip()


def test_they_are_released_in_order_once_a_turn(bench):
    bench.turn(100)
    assert bench.loop.idle


def test_nobody_waits_for_long(bench):
    first = bench.add()
    bench.now += 0.0009
    second = bench.add()
    assert bench.released == []
    bench.now += 0.0002
    third = bench.add()
    assert bench.released == [first, second, third]
    fourth = bench.add()  # the turn goes on, and with it the next lot begins
    bench.now += 0.0009
    fifth = bench.add()
    assert len(bench.released) == 3
    bench.loop.run_until_idle()
    assert bench.released[3:] == [fourth, fifth]


def test_slow_applications_are_not_collected(bench):
    for _ in range(2):
        bench.add()
        bench.now += 1
    bench.loop.run_until_idle()
    bench.skip()


def test_an_error_in_one_does_not_keep_the_others(bench):
    outs = [bench.add(), bench.add(OSError("gone")), bench.add()]
    bench.loop.run_until_idle()
    assert bench.released == outs
    assert [str(error["exception"]) for error in ERRORS] == ["gone"]
    ERRORS.clear()


async def hello(scope, receive, send):
    await respond(send, b"hello")


def collecting(stack, app, count=COMPANY, **options):
    """Connections to a server that has just found company, and collects."""
    first = serve(stack, app, **options)
    # On a clock that stands still: on a busy machine a turn may take longer than anybody is to wait.
    first.state.batch = type(first.state.batch)(first.loop, copy_context(), first.loop.time)
    clients = [first, *(first.connect() for _ in range(count - 1))]
    for _ in range(PATIENCE):
        if first.closed:
            break
        first.feed(GET)
    assert first.take_output().count(b"HTTP/1.1 200") == PATIENCE
    return clients


def test_a_turn_of_requests_is_answered_together(stack):
    clients = collecting(stack, hello)
    for _ in range(3):
        for client in clients:
            client.feed(GET, run=False)
            assert client.output() == b""
        clients[0].loop.run_until_idle()
        for client in clients:
            assert client.take_output().count(b"HTTP/1.1 200") == 1
    for client in clients:
        client.feed(GET)
        assert client.response("GET").body == b"hello"


@eager
def test_one_write_per_connection_and_turn(stack):
    async def app(scope, receive, send):
        await send(start())
        for _ in range(3):
            await send(body(b"x", True))
        await send(body())

    clients = collecting(stack, app)
    before = [client.transport.writes for client in clients]
    for client in clients:
        client.feed(GET * 2, run=False)
    clients[0].loop.run_until_idle()
    # The second request of each is looked at in the next turn.
    for client, writes in zip(clients, before):
        assert len(client.responses(["GET", "GET"])) == 2
        assert client.transport.writes <= writes + 2


@eager
def test_the_end_of_the_client_comes_in_the_same_turn(stack):
    """eof_received() has the transport closed; nothing can be written after it."""
    clients = collecting(stack, hello)
    for client in clients:
        client.feed(GET, run=False)
        client.conn.eof_received()
        assert client.response("GET").body == b"hello"


@eager
def test_close_does_not_wait(stack):
    for client in collecting(stack, hello):
        client.feed(request("GET", "/", "Connection: close"), run=False)
        assert client.response("GET").body == b"hello"
        assert client.closed


def test_connection_lost_before_the_end_of_the_turn(stack):
    clients = collecting(stack, hello)
    for client in clients:
        client.feed(GET, run=False)
        client.transport.force_close(ConnectionResetError())
    clients[0].loop.run_until_idle()
    assert all(client.closed and not client.output() for client in clients)


@eager
def test_shutdown_before_the_end_of_the_turn(stack):
    clients = collecting(stack, hello)
    for client in clients:
        client.feed(GET, run=False)
        client.conn.shutdown()
        assert client.response("GET").body == b"hello"
        assert client.closed
    clients[0].loop.run_until_idle()


@eager
def test_a_large_body_does_not_wait(stack):
    async def app(scope, receive, send):
        await respond(send, b"x" * (1 << 20 if scope["path"] == "/large" else 1))

    clients = collecting(stack, app)
    for client in clients:
        client.feed(request("GET", "/large"), run=False)
        assert len(client.response("GET").body) == 1 << 20


def test_answers_to_several_segments_keep_their_order(stack):
    async def app(scope, receive, send):
        await respond(send, scope["path"].encode())

    clients = collecting(stack, app)
    for client in clients:
        for number in range(3):
            client.conn.data_received(request("GET", f"/{number}"))
    clients[0].loop.run_until_idle()
    for client in clients:
        assert [response.body for response in client.responses(["GET"] * 3)] == [b"/0", b"/1", b"/2"]


def test_tasks_that_answer_later_are_collected_too(stack):
    waiting = []

    async def app(scope, receive, send):
        if scope["path"] == "/later":
            future = first.loop.create_future()
            waiting.append(future)
            await future
        await respond(send, b"hello")

    clients = collecting(stack, app)
    first = clients[0]
    for client in clients:
        client.feed(request("GET", "/later"))
    assert len(waiting) == len(clients)
    for future in waiting:
        future.set_result(None)
    while not any(client.output() for client in clients):
        assert first.loop.run_once()
    assert all(client.response("GET").body == b"hello" for client in clients)


@pytest.mark.parametrize("step", [0.0, 0.0004, 0.0007, 0.0011, 1.0])
def test_streams_keep_their_order_however_long_a_turn_takes(stack, module, step):
    """Each look at the clock finds that some time has passed, so that a wait is over early, or at once."""
    now = [0.0]

    def clock():
        now[0] += step
        return now[0]

    async def app(scope, receive, send):
        await send(start())
        for number in range(50):
            await send(body(b"%d," % number, True))
            if number % 3:
                await asyncio.sleep(0)
        await send(body())

    clients = [serve(stack, app)]
    clients[0].state.batch = module.Batch(clients[0].loop, copy_context(), clock)
    clients += [clients[0].connect() for _ in range(7)]
    for client in clients:
        client.feed(GET * 3, run=False)
    clients[0].loop.run_until_idle()
    whole = b"".join(b"%d," % number for number in range(50))
    for client in clients:
        assert [response.body for response in client.responses(["GET"] * 3)] == [whole] * 3
