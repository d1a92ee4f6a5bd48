"""Connections go to the workers that have fewer."""

from __future__ import annotations

import asyncio
import multiprocessing
import socket

import pytest

from asgiserve.acceptor import Places, accept_from
from asgiserve.processes import board as module
from asgiserve.processes.board import Board

from .serving import loop_names, run, until

context = multiprocessing.get_context("spawn")


@pytest.fixture
def board():
    return Board(context)


@pytest.fixture(params=loop_names())
def loop(request):
    return request.param


def test_nobody_is_ahead_alone(board):
    seat = board.take()
    assert not any(seat.is_ahead(count) for count in (0, 1, 100, 10000))


@pytest.mark.parametrize(("least", "most"), [(0, 1), (1, 2), (8, 10), (800, 901)])
def test_ahead_is_who_has_clearly_more(board, least, most):
    one, other, third = board.take(), board.take(), board.take()
    assert not one.is_ahead(least)
    third.is_ahead(10 * most)
    assert not other.is_ahead(most)
    assert other.is_ahead(most + 1)


def test_who_has_left_does_not_count(board):
    one, other = board.take(), board.take()
    one.is_ahead(0)
    assert other.is_ahead(5)
    one.leave()
    assert not other.is_ahead(5)


def test_seats_are_used_again(board, monkeypatch):
    seats = [board.take() for _ in range(module.SIZE)]
    assert board.take() is None
    seats[7].is_ahead(0)
    board.give_back(seats[7])
    assert not seats[0].is_ahead(100), "who has ended does not count"
    again = board.take()
    assert again.index == seats[7].index
    again.is_ahead(0)
    assert seats[0].is_ahead(100)


def _look(seat, reached, go):
    seat.is_ahead(0)
    reached.set()
    go.wait()


def test_processes_see_each_other(board):
    mine, theirs = board.take(), board.take()
    reached, go = context.Event(), context.Event()
    process = context.Process(target=_look, args=(theirs, reached, go), daemon=True)
    process.start()
    try:
        assert reached.wait(60)
        assert mine.is_ahead(2)
    finally:
        go.set()
        process.join(60)
    assert process.exitcode == 0


class Waiting:
    """A listening socket, and clients that wait to be accepted."""

    def __init__(self):
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen(100)
        self.sock.setblocking(False)
        self.clients = []

    def come(self, count):
        self.clients += [socket.create_connection(self.sock.getsockname()) for _ in range(count)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for sock in (self.sock, *self.clients):
            sock.close()


class Accepting:
    """What accepts from a socket as a worker with that seat does."""

    def __init__(self, seat, limit=None):
        self.made = []
        self.places = Places(self.made, limit, seat)

    async def start(self, waiting):
        made = self.made

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport):
                made.append(transport)

        loop = asyncio.get_running_loop()
        self.server = await accept_from(loop, waiting.sock.dup(), Protocol, 100, self.places)

    async def stop(self):
        self.server.close()
        await self.server.wait_closed()
        for transport in self.made:
            transport.abort()
        await asyncio.sleep(0)


def test_connections_are_shared_evenly(board, loop):
    async def main():
        with Waiting() as waiting:
            workers = [Accepting(board.take()) for _ in range(3)]
            for worker in workers:
                await worker.start(waiting)
            waiting.come(60)
            await until(lambda: sum(len(worker.made) for worker in workers) == 60)
            counts = [len(worker.made) for worker in workers]
            assert max(counts) <= 25, counts
            for worker in workers:
                await worker.stop()

    run(main(), loop)


def test_what_the_others_do_not_take_is_not_left(board, loop):
    """A worker that has fewer connections, but is too busy to accept, holds nobody up."""

    async def main():
        with Waiting() as waiting:
            board.take().is_ahead(0)
            worker = Accepting(board.take())
            await worker.start(waiting)
            waiting.come(20)
            await until(lambda: len(worker.made) == 20)
            assert worker.places.is_others_turn()
            await worker.stop()

    run(main(), loop)


def test_who_stops_does_not_count(board, loop):
    async def main():
        with Waiting() as waiting:
            other = board.take()
            worker = Accepting(board.take())
            await worker.start(waiting)
            waiting.come(1)
            await until(lambda: worker.made)
            assert other.is_ahead(3)
            await worker.stop()
            worker.server.close()
            assert not other.is_ahead(3)
            assert not worker.server.is_serving()
            assert not worker.server.sockets

    run(main(), loop)


def test_a_limit_and_a_seat(board, loop, caplog):
    async def main():
        with Waiting() as waiting:
            other = board.take()
            worker = Accepting(board.take(), limit=3)
            await worker.start(waiting)
            other.is_ahead(0)
            waiting.come(5)
            await until(lambda: len(worker.made) == 3 and "limit of 3 connections" in caplog.text)
            await until(lambda: worker.places.coming == 0)
            waiting.clients.pop(0).close()
            worker.made.pop(0).abort()
            await until(lambda: len(worker.made) == 3)
            await worker.stop()

    run(main(), loop)
