"""Sockets of workers: all from the same ones, or each from its own."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import select
import signal
import socket
import sys
import threading

import pytest

from asgiserve.addresses import TCP, Inherited, Unix
from asgiserve.processes.link import RETIRE, WorkerLink, send_loan
from asgiserve.processes.slots import Slots
from asgiserve.sockets import BindError, open_listeners

from .serving import Client, Process, hello, loop_names, run, serving, until

linux = pytest.mark.skipif(sys.platform != "linux", reason="sockets of their own are for Linux")
posix = pytest.mark.skipif(os.name != "posix", reason="sockets are handed over on POSIX only")


@pytest.fixture(params=loop_names())
def loop(request):
    return request.param


@pytest.fixture
def open_slots():
    opened = []

    def open_slots(*addresses, own=True):
        opened.append(open_listeners(addresses))
        return Slots(opened[-1], own)

    yield open_slots
    for listeners in opened:
        listeners.remove()
        listeners.close()


class FakeWorker:
    def __init__(self, slot):
        self.slot = slot
        self.looks_after = set()
        self.lent = []
        self.process = self

    def lend(self, slot, sockets):
        self.lent.append((slot, list(sockets)))
        if sockets:
            self.looks_after.add(slot)
        else:
            self.looks_after.discard(slot)


def port_of(sock):
    return sock.getsockname()[1]


@pytest.mark.parametrize("own", [False, pytest.param(True, marks=linux)])
def test_a_slot_keeps_its_sockets(open_slots, own):
    slots = open_slots(TCP("127.0.0.1", 0), TCP("localhost", 0), own=own)
    first, second = slots.of(1), slots.of(2)
    assert slots.of(1) == first
    assert slots.of(2) == second
    assert (first == second) != own
    assert list(map(port_of, first)) == list(map(port_of, second))


@linux
def test_what_is_not_a_tcp_socket_of_ours_is_shared(open_slots, tmp_path):
    with socket.socket() as given:
        given.bind(("127.0.0.1", 0))
        slots = open_slots(TCP("127.0.0.1", 0), Unix(str(tmp_path / "s")), Inherited(given.fileno()))
        first, second = slots.of(1), slots.of(2)
        assert len(set(first) & set(second)) == 2
        assert len(set(first) | set(second)) == 4


@linux
@pytest.mark.parametrize("host", ["127.0.0.1", ""])
def test_connections_are_spread(open_slots, host):
    slots = open_slots(TCP(host, 0))
    sockets = [slots.of(slot)[0] for slot in (1, 2, 3)]
    for sock in sockets:
        sock.listen(200)
    clients = [socket.create_connection(("127.0.0.1", port_of(sockets[0]))) for _ in range(200)]
    try:
        ready, _, _ = select.select(sockets, [], [], 10)
        assert set(ready) == set(sockets)
    finally:
        for client in clients:
            client.close()


@linux
def test_a_port_that_another_program_lets_others_have_is_taken(open_slots):
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        slots = open_slots(TCP("127.0.0.1", port_of(other)))  # it does not listen yet
        other.listen()
        with pytest.raises(OSError, match="in use"):
            slots.of(1)[0].listen()
        with pytest.raises(BindError, match="in use"):
            open_slots(TCP("127.0.0.1", port_of(other)))


@linux
def test_a_slot_for_which_there_is_no_socket(open_slots, monkeypatch):
    slots = open_slots(TCP("127.0.0.1", 0))
    (first,) = slots.of(1)
    monkeypatch.setattr(socket.socket, "bind", lambda *_: os.listdir("/no/such"))
    with pytest.raises(OSError):
        slots.of(2)
    monkeypatch.undo()
    assert port_of(slots.of(2)[0]) == port_of(first)


@linux
def test_slots_without_a_worker_are_looked_after(open_slots):
    slots = open_slots(TCP("127.0.0.1", 0))
    sockets = {slot: slots.of(slot) for slot in (1, 2, 3)}
    one, two, three = (FakeWorker(slot) for slot in (1, 2, 3))
    slots.cover([one, two, three])
    assert not one.lent + two.lent + three.lent
    for _ in range(2):
        slots.cover([one, three])
    assert one.lent == three.lent == [(2, sockets[2])]
    newer = FakeWorker(2)
    for _ in range(2):
        slots.cover([one, newer, three])
    assert one.lent == three.lent == [(2, sockets[2]), (2, [])]
    assert not newer.lent
    slots.cover([newer])
    assert sorted(newer.lent, key=lambda lent: lent[0]) == [(1, sockets[1]), (3, sockets[3])]
    slots.cover([])


def test_what_all_share_needs_nobody_to_look_after_it(open_slots):
    slots = open_slots(TCP("127.0.0.1", 0), own=False)
    one, two = FakeWorker(1), FakeWorker(2)
    assert slots.of(1) == slots.of(2)
    slots.cover([one, two])
    slots.cover([one])
    assert not one.lent


# -- the way to the worker


@posix
def test_sockets_go_through_the_link():
    context = multiprocessing.get_context("spawn")
    orders, parents = context.Pipe(duplex=True)
    news, workers = context.Pipe(duplex=False)
    heard, loans, over = [], [], threading.Event()
    link = WorkerLink(orders, workers)
    link.open(heard.append, lambda slot, sockets: loans.append((slot, sockets)), over.set)
    with socket.socket() as first, socket.socket() as second:
        for sock in (first, second):
            sock.bind(("127.0.0.1", 0))
        send_loan(parents, 7, [first, second], os.getpid())
        parents.send(RETIRE)
        send_loan(parents, 7, [], os.getpid())
        parents.close()
        assert over.wait(30)
        assert heard == [RETIRE]
        (slot, sockets), nothing = loans
        assert (slot, nothing) == (7, (7, []))
        assert [port_of(sock) for sock in sockets] == [port_of(first), port_of(second)]
        for sock in sockets:
            sock.close()
    for end in (orders, news, workers):
        end.close()


async def ask(sock):
    client = Client(*await asyncio.open_connection(*sock.getsockname()))
    client.ask("/x")
    return client


def listening():
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    return sock


def test_a_server_looks_after_sockets_of_others(loop):
    async def main():
        with listening() as mine:
            async with serving(hello) as server:
                waiting = await ask(mine)  # in the backlog already
                server.look_after(3, [mine.dup()])
                assert (await waiting.answer())[1] == b"/x"
                await waiting.close()
                assert len(server.servers) == 2
                server.look_after(3, [])
                await until(lambda: len(server.servers) == 1)
                waiting = await ask(mine)
                server.look_after(3, [mine.dup()])
                assert (await waiting.answer())[1] == b"/x"
                await waiting.close()
            assert not any(one.is_serving() for one in server.servers)
            mine.setblocking(False)
            late = await ask(mine)
            await until(lambda: select.select([mine], [], [], 0)[0])
            mine.accept()[0].close()
            await late.close()

    run(main(), loop)


def test_sockets_that_come_when_the_server_stops_are_closed(loop):
    async def main():
        with listening() as mine:
            async with serving(hello) as server:
                server.should_exit = True
                server.look_after(3, [mine.dup()])
            lent = mine.dup()
            server.look_after(3, [lent])
            assert lent.fileno() < 0
            waiting = await ask(mine)
            await until(lambda: select.select([mine], [], [], 0)[0])
            mine.accept()[0].close()
            await waiting.close()

    run(main(), loop)


APP = """
import asyncio, os

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        while os.path.exists("hold"):
            await asyncio.sleep(0.01)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = b"%d" % os.getpid()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
"""


@linux
def test_connections_of_a_dead_worker_go_to_the_others(tmp_path):
    """Also while another one starts in its place."""
    (tmp_path / "main.py").write_text(APP)
    options = ["--workers", "2", "--worker-sockets", "own", "--port", "0", "--no-access-log"]

    async def ask(port, count):
        clients = [Client(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(count)]
        answers = [(await client.get())[1] for client in clients]
        for client in clients:
            await client.close()
        return {int(answer) for answer in answers}

    with Process("main:app", *options, cwd=tmp_path) as server:
        port = server.wait_ready()
        first, second = (int(server.wait_for(rf"Worker {slot} \[(\d+)\] serves").group(1)) for slot in (1, 2))
        assert run(ask(port, 60)) == {first, second}
        (tmp_path / "hold").touch()
        os.kill(second, signal.SIGKILL)
        assert run(ask(port, 60)) == {first}
        (tmp_path / "hold").unlink()
        third = int(server.wait_for(rf"Worker 2 \[((?!{second}\])\d+)\] serves").group(1))
        run(until_only({first, third}, port, ask))
        server.popen.send_signal(signal.SIGTERM)
        assert server.wait() == 0
    assert f"Worker 2 [{second}] died: killed by SIGKILL" in server.log


async def until_only(wanted, port, ask):
    while await ask(port, 60) != wanted:
        pass
