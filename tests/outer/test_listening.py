"""A server and its listening sockets: several at once, shared ones, and what is left when it has gone."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import select
import signal
import socket
import stat
from importlib import import_module

import pytest
from conftest import load_stack, stack_required
from fakes import FakeLoop, WatchingLoop
from reactors import Recorder, World, is_ended

from asgiserve import _stack
from asgiserve.acceptor import _AT_ONCE as AT_ONCE
from asgiserve.acceptor import Acceptor, Places, accept_from, stop_accepting

from .serving import HTTP, Client, Process, get, hello, loop_names, run, serving, until

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no UNIX sockets on this platform")

APP = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})
"""


@pytest.fixture(params=loop_names())
def loop(request):
    return request.param


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "s")


@pytest.fixture
def place(tmp_path):
    (tmp_path / "main.py").write_text(APP)
    return tmp_path


async def get_from(sock, path="/"):
    """The body of one GET from a listening socket, whatever its family is."""
    address = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return await get(address, path)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address[0], address[0])
    client = Client(*await asyncio.open_connection(host, address[1]))
    try:
        return (await client.get(path))[1]
    finally:
        await client.close()


def ipv6():
    with socket.socket(socket.AF_INET6) as sock:
        try:
            sock.bind(("::1", 0))
        except OSError:
            return []
    return ["[::1]:0"]


@pytest.mark.parametrize("options", [{}, {"limit_connections": 20}])
def test_several_at_once(stack, loop, path, caplog, options):
    caplog.set_level(logging.INFO, "asgiserve.error")
    binds = ["127.0.0.1:0", *ipv6(), f"unix:{path}", ":0", "localhost:0"]

    async def main():
        async with serving(http=HTTP[stack.name], bind=binds, **options) as server:
            sockets = [sock for one in server.servers for sock in one.sockets]
            assert len(sockets) >= len(binds)
            bodies = await asyncio.gather(*(get_from(sock, f"/{n}") for n, sock in enumerate(sockets)))
            assert bodies == [f"/{n}".encode() for n in range(len(sockets))]
        assert not os.path.exists(path)

    run(main(), loop)
    said = [record.getMessage() for record in caplog.records if "running on" in record.getMessage()]
    assert len(said) == len(binds), "one line each"
    assert f"asgiserve running on unix:{path} (Press CTRL+C to quit)" in said
    assert not any(text.endswith(":0 (Press CTRL+C to quit)") for text in said)


def test_the_limit_of_connections_is_one_for_all(stack, loop, path):
    """Also when connections come to all sockets at the same time."""
    seen = []

    async def app(scope, receive, send):
        await asyncio.sleep(0)
        seen.append(len(servers[0].state.connections))
        await hello(scope, receive, send)

    servers = []

    async def main():
        binds = ["127.0.0.1:0", f"unix:{path}", f"fd://{inherited.fileno()}"]
        async with serving(app, lifespan="off", http=HTTP[stack.name], bind=binds, limit_connections=2) as server:
            servers.append(server)
            addresses = [one.sockets[0] for one in server.servers]
            assert len(addresses) == 3
            clients = []
            for sock in addresses * 4:  # blocking: while the loop stands still, all of them come
                clients.append(socket.socket(sock.family))
                clients[-1].connect(sock.getsockname())
                clients[-1].sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                clients[-1].setblocking(False)
            for client in clients:
                while await asyncio.get_running_loop().sock_recv(client, 4096):
                    pass
                client.close()
            assert len(seen) == 12
            assert max(seen) == 2

    with socket.socket() as inherited:
        inherited.bind(("127.0.0.1", 0))
        run(main(), loop)


@pytest.mark.parametrize("options", [{}, {"limit_connections": 5}])
def test_an_inherited_socket_is_left_to_the_others(stack, loop, path, options):
    """As under supervisor and circus: many have it, and each of them comes and goes."""

    async def main():
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(path)
            fd = sock.fileno()
            async with serving(http=HTTP[stack.name], fd=fd, **options):
                async with serving(http=HTTP[stack.name], fd=fd, **options):
                    pass
                assert await get(path, "/still") == b"/still"
            assert os.path.exists(path)
            assert sock.getsockname() == path
            async with serving(http=HTTP[stack.name], fd=fd, **options):
                assert await get(path, "/again") == b"/again"

    run(main(), loop)


def test_given_sockets_are_closed_and_their_files_left(loop, path):
    async def main():
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(path)
        async with serving(sockets=[sock]):
            assert await get(path, "/x") == b"/x"
        assert sock.fileno() < 0
        assert os.path.exists(path)

    run(main(), loop)


def test_the_file_goes_before_the_last_request_does(stack, loop, path):
    """So that a successor can have the name while the old server still answers, and keeps it."""
    release = []

    async def app(scope, receive, send):
        if scope["type"] != "http":
            raise NotImplementedError
        if scope["path"] == "/wait":
            release.append(asyncio.Event())
            await release[0].wait()
        await hello(scope, receive, send)

    async def main():
        async with serving(app, http=HTTP[stack.name], uds=path) as server:
            client = await Client.open(path)
            client.ask("/wait")
            await until(lambda: release)
            server.should_exit = True
            await until(lambda: not os.path.exists(path))
            async with serving(http=HTTP[stack.name], uds=path):
                release[0].set()
                assert (await client.answer())[1] == b"/wait"
                await client.close()
                await until(lambda: not server.state.connections)
                assert await get(path, "/new") == b"/new"

    run(main(), loop)


# -- the program


def end(server):
    server.popen.send_signal(signal.SIGTERM)
    assert server.wait() == 0


def test_the_command_line(place):
    options = ["--bind", "127.0.0.1:0", "--bind", "unix:s", "--uds-permissions", "600", "--backlog", "7"]
    with Process("main:app", *options, cwd=place) as server:
        port = int(server.wait_for(r"running on http://127\.0\.0\.1:(\d+) ").group(1))
        server.wait_for(r"running on unix:s ")
        assert port > 0
        assert stat.S_IMODE((place / "s").stat().st_mode) == 0o600
        assert run(get(place / "s", "/unix")) == b"/unix"
        end(server)
    assert not (place / "s").exists()


def test_the_environment(place):
    with Process("main:app", cwd=place, env={"ASGISERVE_BIND": "unix:one, unix:two"}) as server:
        server.wait_for(r"running on unix:one ")
        server.wait_for(r"running on unix:two ")
        end(server)


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="no SO_REUSEPORT on this platform")
def test_two_programs_on_one_port(place):
    with Process("main:app", "--port", "0", "--reuse-port", cwd=place) as first:
        port = first.wait_ready()
        with Process("main:app", "--port", port, "--reuse-port", cwd=place) as second:
            assert second.wait_ready() == port
            with Process("main:app", "--port", port, cwd=place) as third:
                assert third.wait() == 3
            assert f"Cannot listen on 127.0.0.1:{port}: the address is already in use" in third.log
            end(second)
        end(first)


def test_a_socket_that_a_killed_server_left(place):
    with Process("main:app", "--uds", "s", cwd=place) as first:
        first.wait_ready()
        with Process("main:app", "--uds", "s", cwd=place) as second:
            assert second.wait() == 3
        assert "Cannot listen on unix:s: the address is already in use" in second.log
        assert run(get(place / "s", "/first")) == b"/first"
        first.popen.kill()
        first.wait()
    assert (place / "s").exists()
    with Process("main:app", "--uds", "s", cwd=place) as third:
        third.wait_ready()
        assert run(get(place / "s", "/third")) == b"/third"
        end(third)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--bind", "unix:no/such/s"], "Cannot listen on unix:no/such/s: no such directory"),
        (["--bind", "unix:main.py"], "Cannot listen on unix:main.py: there is a file of that name that is not"),
        (["--bind", "fd://0"], "Cannot listen on file descriptor 0: it is not a socket"),
        (["--fd", "77"], "Cannot listen on file descriptor 77: Bad file descriptor"),
        (["--host", "192.0.2.1"], "Cannot listen on 192.0.2.1:8000: the address is not one of this machine"),
    ],
)
def test_what_cannot_be_had(place, options, line):
    with Process("main:app", *options, cwd=place) as server:
        assert server.wait() == 3
    (said,) = (text for text in server.lines if text and text.startswith("ERROR"))
    assert line in said
    assert "Traceback" not in server.log


def test_an_address_that_is_none(place):
    with Process("main:app", "--bind", "somewhere", cwd=place) as server:
        assert server.wait() == 2
    assert server.log == (
        "asgiserve: error: 'somewhere' is not of the form host:port, [v6]:port, :port, port, unix:path or fd://number"
        " (--bind)"
    )


@pytest.mark.parametrize("kind", ["loop", "compiled", "pure"])
@pytest.mark.parametrize("limit", [None, 50])
@pytest.mark.parametrize("turns", range(4))
def test_what_is_accepted_when_it_stops_becomes_a_connection(loop, turns, limit, kind, request):
    """Whatever the event loop is at: nothing is lost between the backlog, which others have too, and the server."""

    async def main():
        running = asyncio.get_running_loop()
        made = []

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport):
                made.append(transport)

        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            sock.listen(50)
            sock.setblocking(False)
            reactor = reactor_of(kind, running, request)
            server = await accept_from(running, sock.dup(), Protocol, 50, Places(made, limit), reactor)
            clients = [socket.create_connection(sock.getsockname()) for _ in range(10)]
            for _ in range(turns):
                await asyncio.sleep(0)
            await stop_accepting(running, [server])
            served, waiting = len(made), []
            try:
                while True:
                    waiting.append(sock.accept()[0])
            except BlockingIOError:
                pass
            assert served + len(waiting) == len(clients)
            if hasattr(server, "wait_closed") and limit is not None:
                await server.wait_closed()
            for each in (*clients, *waiting):
                each.close()
            for transport in made:
                transport.abort()
            await asyncio.sleep(0)
            if reactor is not None:
                reactor.close()

    run(main(), loop)


def reactor_of(kind, loop, request):
    """A reactor of either stack, or None: the loop serves what is accepted."""
    if kind == "loop":
        return None
    if not hasattr(select, "epoll"):
        pytest.skip("epoll is Linux's")
    stack = load_stack(kind, stack_required(request.config))
    package = stack.HTTPConnection.__module__.rpartition(".")[0]
    transport = import_module(f"{package}.transport").Transport
    return import_module(f"{package}.reactor").Reactor(loop, transport)


# -- with transports of our own

needs_epoll = pytest.mark.skipif(not hasattr(select, "epoll"), reason="epoll is Linux's")


class Seat:
    """Of a worker that others work beside."""

    def __init__(self):
        self.is_behind = False
        self.has_left = False

    def is_ahead(self, count):
        return self.is_behind

    def leave(self):
        self.has_left = True


class House:
    """A world with an acceptor, for protocols that are counted as long as they are connected."""

    def __init__(self, world, limit=None, seat=None, family=socket.AF_INET, **on):
        self.world = world
        self.loop = world.loop
        self.made = []
        self.connected = set()
        self.on = on
        self.listener = world.listen(family)
        self.address = self.listener.getsockname()
        self.family = family
        self.places = Places(self.connected, limit, seat)
        self.acceptor = Acceptor(self.loop, self.listener, self.connect, self.places, world.reactor)

    def connect(self):
        if "connect" in self.on:
            self.on["connect"]()
        protocol = Recorder()
        protocol.on["connection_made"] = lambda: self.connected.add(protocol)
        protocol.on["connection_lost"] = lambda: self.connected.discard(protocol)
        self.made.append(protocol)
        return protocol

    def visit(self, count=1):
        peers = []
        for _ in range(count):
            peers.append(self.world.keep(socket.socket(self.family)))
            peers[-1].connect(self.address)
        return peers


@pytest.fixture
def world(part):
    world = World(part)
    yield world
    world.close()


@needs_epoll
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_what_it_accepts(world, family):
    if family == socket.AF_INET6 and not ipv6():
        pytest.skip("no IPv6 here")
    house = House(world, family=family)
    (peer,) = house.visit()
    peer.sendall(b"hello")
    house.loop.settle()
    (protocol,) = house.made
    assert protocol.data == b"hello"
    assert type(protocol.transport) is world.module.Transport
    sock = protocol.transport.get_extra_info("socket")
    assert not os.get_blocking(sock.fileno())
    if family != socket.AF_UNIX:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), "small answers do not wait for others"
    assert house.acceptor.is_serving()
    assert [one.getsockname() for one in house.acceptor.sockets] == [house.address]
    house.acceptor.close()


@needs_epoll
def test_some_at_once(world):
    """And then those that there are have their turn."""
    house = House(world)
    house.visit(AT_ONCE + 3)
    house.loop.turn()
    assert len(house.made) == AT_ONCE
    house.loop.turn()
    assert len(house.made) == AT_ONCE + 3
    house.acceptor.close()


@needs_epoll
def test_a_limit_with_own_transports(world, caplog):
    house = House(world, limit=2)
    peers = house.visit(4)
    house.loop.settle()
    assert len(house.made) == 2
    assert not house.loop.is_ready(), "those who wait do not keep the loop busy"
    assert caplog.messages == ["The limit of 2 connections is reached; more have to wait."]
    house.loop.advance(0.1)
    house.loop.settle()
    assert len(house.made) == 2
    peers[0].close()
    house.loop.settle()
    assert len(house.connected) == 1
    house.loop.advance(0.01)
    house.loop.settle()
    assert len(house.made) == 3
    assert len(house.connected) == 2
    house.acceptor.close()
    house.loop.advance(1)
    assert len(house.made) == 3


@needs_epoll
def test_others_come_first(world):
    seat = Seat()
    house = House(world, seat=seat)
    house.visit(2)
    house.loop.turn()
    assert len(house.made) == 1, "the next one may be for another process"
    seat.is_behind = True
    house.loop.turn()
    assert len(house.made) == 1
    assert not house.loop.is_ready()
    house.loop.advance(0.001)
    assert len(house.made) == 2, "nobody has taken it"
    house.acceptor.close()
    assert seat.has_left


@needs_epoll
def test_a_protocol_that_cannot_be_made(world, caplog):
    def fail_once():
        house.on.clear()
        raise ValueError("no")

    house = House(world, connect=fail_once)
    peers = house.visit(2)
    house.loop.settle()
    assert len(house.made) == 1
    assert caplog.messages == ["A connection could not be set up"]
    assert is_ended(peers[0])
    house.acceptor.close()


@needs_epoll
@pytest.mark.parametrize("limit", [None, 3])
def test_closing_it_while_it_accepts(world, limit):
    """What a protocol does when it is made, and an application in its first request, is not known here."""
    house = House(world, limit=limit, connect=lambda: house.acceptor.close())
    house.visit(2)
    house.loop.settle()
    assert len(house.made) == 1
    assert not house.acceptor.is_serving()
    assert house.acceptor.sockets == ()
    assert not house.loop.timers
    house.acceptor.close()


class Broken:
    """A reactor on a bad day: `errors` come one after the other, from the next call of the method."""

    def __init__(self, **errors):
        self.errors = errors
        self.readers = {}

    def _fail(self, name):
        if self.errors.get(name):
            number = self.errors[name].pop(0)
            raise OSError(number, os.strerror(number))

    def add_reader(self, fd, function):
        self._fail("add_reader")
        self.readers[fd] = function

    def remove_reader(self, fd):
        self.readers.pop(fd, None)

    def accept(self, listener, connect):
        self._fail("accept")
        raise BlockingIOError


def broken_house(**errors):
    loop, reactor, sock = WatchingLoop(), Broken(**errors), socket.socket()
    try:
        return loop, reactor, Acceptor(loop, sock, None, Places((), None), reactor)
    except OSError:
        sock.close()
        raise


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_the_system_has_nothing_left_to_accept_with(number, caplog):
    """It is said, and tried again after a while: what waits would keep the loop busy, and fill the log."""
    loop, reactor, acceptor = broken_house(accept=[number] * 2)
    for _ in range(2):
        (look,) = reactor.readers.values()
        loop.call(look)
        assert not reactor.readers
        loop.advance(0.9)
        assert not reactor.readers
        loop.advance(0.2)
    assert len(reactor.readers) == 1
    assert caplog.messages == [f"Cannot accept a connection: {os.strerror(number)}"] * 2
    loop.call(*reactor.readers.values())
    assert len(reactor.readers) == 1
    acceptor.close()
    assert not reactor.readers


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EPROTO, errno.EPERM])
def test_who_has_gone_again_when_accepted(number, caplog):
    loop, reactor, acceptor = broken_house(accept=[number])
    loop.call(*reactor.readers.values())
    assert not reactor.readers
    loop.advance(0.01)
    assert len(reactor.readers) == 1
    assert caplog.messages == []
    acceptor.close()


def test_closing_it_while_it_rests():
    loop, reactor, acceptor = broken_house(accept=[errno.EMFILE])
    loop.call(*reactor.readers.values())
    acceptor.close()
    loop.advance(10)
    assert not reactor.readers


def test_the_socket_cannot_be_watched_again(caplog):
    """For want of memory: that is over some time, and then the server has to serve."""
    loop, reactor, acceptor = broken_house(accept=[errno.EMFILE])
    loop.call(*reactor.readers.values())
    reactor.errors["add_reader"] = [errno.ENOMEM] * 2
    loop.advance(1)
    assert not reactor.readers
    loop.advance(1)
    assert not reactor.readers
    loop.advance(1)
    assert len(reactor.readers) == 1
    assert caplog.messages[1:] == [f"Cannot watch for connections: {os.strerror(errno.ENOMEM)}"] * 2
    acceptor.close()


def test_the_socket_cannot_be_watched():
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        broken_house(add_reader=[errno.ENOSPC])


class Plain(FakeLoop):
    def add_reader(self, fd, callback, *args):
        raise NotImplementedError


def test_who_serves_connections(stack):
    """The compiled stack itself, where it can."""
    loop = WatchingLoop()
    reactor = _stack.reactor(stack, loop)
    assert (reactor is not None) == (stack.name == "compiled" and hasattr(select, "epoll"))
    if reactor is not None:
        reactor.close()
    assert not loop.readers
    assert _stack.reactor(stack, Plain()) is None


def test_a_server_serves_its_connections_itself(stack, loop, path):
    """Whatever the event loop is, also more than it accepts at once, and nothing of that is left."""

    async def main():
        async with serving(http=HTTP[stack.name], bind=["127.0.0.1:0", f"unix:{path}"]) as server:
            is_own = stack.name == "compiled" and hasattr(select, "epoll")
            assert all(isinstance(one, Acceptor) == is_own for one in server.servers)
            sockets = [one.sockets[0] for one in server.servers] * AT_ONCE
            assert await asyncio.gather(*(get_from(sock, "/x") for sock in sockets)) == [b"/x"] * len(sockets)
            await until(lambda: not server.state.connections)

    run(main(), loop)
