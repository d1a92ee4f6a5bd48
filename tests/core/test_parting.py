"""The last bytes of a connection and its end: one packet where the compiled build can send one, never less than all."""

from __future__ import annotations

import select
import socket

import pytest
from harness import Settings, respond
from reactors import KIB, Recorder, World, is_ended, take

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="epoll is Linux's")

RDHUP = getattr(select, "POLLRDHUP", 0x2000)  # PyPy has no name for it
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@pytest.fixture
def world(part):
    world = World(part)
    yield world
    world.close()


def first_sight(sock):
    """What the system says of the socket when it says anything: whether there are bytes, whether it is the end."""
    poll = select.poll()
    poll.register(sock, select.POLLIN | RDHUP)
    ((_, events),) = poll.poll(10_000)
    return bool(events & select.POLLIN), bool(events & RDHUP)


def test_bytes_and_end_come_together(stack, world):
    protocol = Recorder()
    peer = world.tcp(protocol)
    protocol.transport.write_last(b"farewell")
    assert first_sight(peer) == (True, stack.name == "compiled")
    protocol.transport.close()
    world.loop.settle()
    assert protocol.is_lost
    assert protocol.error is None
    assert take(peer) == b"farewell"
    assert is_ended(peer)


@pytest.mark.parametrize("kind", ["pair", "tcp"])
def test_what_does_not_fit_is_not_the_end(world, kind):
    protocol = Recorder()
    peer = getattr(world, kind)(protocol)
    data = bytes(range(256)) * 32 * KIB
    protocol.transport.write_last(data)
    assert protocol.transport.get_write_buffer_size()
    protocol.transport.close()
    received = b""
    while len(received) < len(data):
        received += take(peer)
        world.loop.settle()
    assert received == data
    world.loop.settle()
    assert protocol.is_lost
    assert is_ended(peer)


def test_behind_what_waits(world):
    protocol = Recorder()
    peer = world.pair(protocol)
    transport = protocol.transport
    size = 0
    while not transport.get_write_buffer_size():
        transport.write(bytes(64 * KIB))
        size += 64 * KIB
    transport.write_last(b"last")
    transport.close()
    received = b""
    while len(received) < size + 4:
        received += take(peer)
        world.loop.settle()
    assert received.endswith(b"\0last")
    assert is_ended(peer)


@pytest.mark.parametrize("how", ["nothing", "closed", "ended"])
def test_nothing_to_send(world, how):
    protocol = Recorder()
    peer = world.pair(protocol)
    if how == "closed":
        protocol.transport.close()
    elif how == "ended":
        protocol.transport.write_eof()
    protocol.transport.write_last(b"" if how == "nothing" else b"x")
    world.loop.settle()
    assert take(peer) == b""
    assert is_ended(peer) == (how != "nothing")


def test_a_peer_that_is_gone(world):
    protocol = Recorder()
    peer = world.pair(protocol)
    peer.close()
    protocol.transport.write_last(b"x")
    protocol.transport.close()
    world.loop.settle()
    assert protocol.is_lost


@pytest.mark.parametrize("kind", ["pair", "tcp"])
def test_a_connection_ends_with_its_response(stack, world, kind):
    async def app(scope, receive, send):
        await respond(send, b"hello")

    state = stack.ServerState(app, Settings(), world.loop)
    peer = getattr(world, kind)(stack.HTTPConnection(state))
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * KIB)
    peer.sendall(REQUEST)
    world.loop.settle()
    assert first_sight(peer) == (True, True)
    response = take(peer)
    assert response.startswith(b"HTTP/1.1 200 OK\r\n")
    assert response.endswith(b"\r\n\r\nhello")
    assert is_ended(peer)
    assert not state.connections
