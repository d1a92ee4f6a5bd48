"""A server and its listening sockets: several at once, shared ones, and what is left when it has gone."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import stat

import pytest

from asgiserve.acceptor import Places, accept_from, stop_accepting

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


@pytest.mark.parametrize("limit", [None, 50])
@pytest.mark.parametrize("turns", range(4))
def test_what_is_accepted_when_it_stops_becomes_a_connection(loop, turns, limit):
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
            server = await accept_from(running, sock.dup(), Protocol, 50, Places(made, limit))
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

    run(main(), loop)
