"""Files over real sockets: sendfile on TCP, the buffer elsewhere; slow clients, clients that leave or take nothing."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from importlib import import_module

import pytest

from asgiserve.errors import ClientDisconnected

from .serving import HTTP, TIMEOUT, Client, loop_names, port_of, run, serving, until

MIB = 1024 * 1024

posix = pytest.mark.skipif(not hasattr(os, "sendfile"), reason="no sendfile on this platform")


@pytest.fixture(params=loop_names())
def loop(request):
    return request.param


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """A file that a socket's buffers cannot hold."""
    path = tmp_path_factory.mktemp("files") / "big"
    block = b"".join(b"%07d\n" % number for number in range(MIB // 8))
    path.write_bytes(b"".join(b"%03d|" % number + block[4:] for number in range(24)))
    return path


class Sender:
    """Sends the file, whole by its path or in parts by its descriptor; keeps what became of each request."""

    def __init__(self, path):
        self.path = path
        self.started = 0
        self.ended = []

    async def __call__(self, scope, receive, send):
        assert scope["type"] == "http", scope["type"]
        self.started += 1
        try:
            await self.answer(scope, send)
        except BaseException as exc:
            self.ended.append(exc)
            raise
        self.ended.append(None)

    async def answer(self, scope, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/parts":
            with self.path.open("rb") as file:
                await send({"type": "http.response.body", "body": b"first", "more_body": True})
                await send(
                    {"type": "http.response.zerocopysend", "file": file, "count": 5 * MIB + 1, "more_body": True}
                )
                await send({"type": "http.response.body", "body": b"x" * MIB, "more_body": True})
                await send({"type": "http.response.zerocopysend", "file": file})
        else:
            await send({"type": "http.response.pathsend", "path": str(self.path)})


@pytest.fixture
def sends(monkeypatch):
    """What sendfile() sent, call by call."""
    sent = []
    original = os.sendfile

    def counted(*arguments):
        count = original(*arguments)
        sent.append(count)
        return count

    monkeypatch.setattr(os, "sendfile", counted)
    return sent


def descriptors():
    return sorted(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else []


async def read_chunked(reader):
    pieces = []
    while True:
        size = int(await reader.readline(), 16)
        pieces.append(await reader.readexactly(size))
        assert await reader.readexactly(2) == b"\r\n"
        if not size:
            return b"".join(pieces)


@posix
def test_sendfile_on_tcp(stack, loop, big, sends):
    whole = big.read_bytes()

    async def main():
        async with serving(Sender(big), http=HTTP[stack.name]) as server:
            client = await Client.open(server)
            for _ in range(3):  # on one connection, so that what was changed for a file is undone
                assert (await client.get("/"))[1] == whole
                client.ask("/parts")
                assert b"transfer-encoding: chunked" in await client.reader.readuntil(b"\r\n\r\n")
                body = await read_chunked(client.reader)
                assert body == b"first" + whole[: 5 * MIB + 1] + b"x" * MIB + whole[5 * MIB + 1 :]
            await client.close()

    run(main(), loop)
    assert sum(sends) == 6 * len(whole)


class Company:
    """Has everything that is written wait for the end of the turn, as if there were many connections."""

    def __init__(self, stack, server):
        package = "_speedups" if stack.name == "compiled" else "_core"

        class Idle(import_module(f"asgiserve.{package}.batch").Deferred):
            def release(self):
                pass

        self._idle = Idle()
        self._batch = server.state.batch
        self._loop = asyncio.get_running_loop()
        self._handle = None
        self._come()

    def _come(self):
        self._batch.add(self._idle)
        self._handle = self._loop.call_soon(self._come)

    def leave(self):
        self._handle.cancel()


@posix
def test_nothing_overtakes_what_waits_for_the_end_of_the_turn(stack, loop, big, sends):
    whole = big.read_bytes()

    async def main():
        async with serving(Sender(big), http=HTTP[stack.name]) as server:
            company = Company(stack, server)
            client = await Client.open(server)
            for _ in range(3):
                client.ask("/parts")
                assert b"transfer-encoding: chunked" in await client.reader.readuntil(b"\r\n\r\n")
                body = await read_chunked(client.reader)
                assert body == b"first" + whole[: 5 * MIB + 1] + b"x" * MIB + whole[5 * MIB + 1 :]
            await client.close()
            company.leave()

    run(main(), loop)
    assert sum(sends) == 3 * len(whole)


@posix
@pytest.mark.parametrize("reason", [errno.EINVAL, errno.ENOSYS])
def test_where_the_system_cannot(stack, loop, big, monkeypatch, reason):
    """A file system, say, from which sendfile() does not read."""
    calls = []

    def refuse(*arguments):
        calls.append(arguments)
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(os, "sendfile", refuse)

    async def main():
        async with serving(Sender(big), http=HTTP[stack.name]) as server:
            client = await Client.open(server)
            assert (await client.get("/"))[1] == big.read_bytes()
            await client.close()

    run(main(), loop)
    assert len(calls) == 1


@posix
def test_unix_socket(stack, loop, big, sends, tmp_path):
    async def main():
        path = str(tmp_path / "s")
        async with serving(Sender(big), uds=path, http=HTTP[stack.name]):
            client = await Client.open(path)
            assert (await client.get("/"))[1] == big.read_bytes()
            await client.close()

    run(main(), loop)
    assert not sends


def dial(server, rcvbuf=4096):
    """A plain socket with a small buffer."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    sock.setblocking(False)
    return sock, asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port_of(server)))


async def ask(server):
    loop = asyncio.get_running_loop()
    sock, connected = dial(server)
    await connected
    await loop.sock_sendall(sock, b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
    return sock


@posix
def test_clients_that_leave(stack, loop, big):
    """Some with a reset, some in order, all in the middle; nothing is left of them."""
    app = Sender(big)

    async def main():
        async with serving(app, http=HTTP[stack.name]) as server:
            for number in range(10):
                sock = await ask(server)
                before = descriptors() if number == 5 else None
                assert await asyncio.get_running_loop().sock_recv(sock, 1000)
                if number % 2:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                sock.close()
                await until(lambda: len(app.ended) == number + 1)  # noqa: B023
                await until(lambda: not server.state.connections)
                if before is not None:
                    assert len(descriptors()) < len(before)
        assert all(isinstance(exc, ClientDisconnected) for exc in app.ended)

    before = descriptors()
    run(main(), loop)
    assert len(descriptors()) == len(before)


@posix
def test_a_client_that_takes_nothing(stack, loop, big, caplog):
    app = Sender(big)

    async def main():
        async with serving(app, http=HTTP[stack.name], timeout_write=0.5) as server:
            sock = await ask(server)
            await until(lambda: app.ended)
            assert not server.state.connections
            with pytest.raises(ConnectionResetError):
                while await asyncio.get_running_loop().sock_recv(sock, MIB):
                    pass
            sock.close()

    run(main(), loop)
    assert isinstance(app.ended[0], ClientDisconnected)
    assert "client takes no data for 0.5 s" in caplog.text


@posix
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs Linux: what is in a socket's buffer")
def test_a_client_that_takes_a_little_now_and_then(stack, loop, big, caplog):
    """It takes so little that the socket has no room for long, but it takes something."""
    app = Sender(big)

    async def main():
        async with serving(app, http=HTTP[stack.name], timeout_write=0.6) as server:
            sock = await ask(server)
            end = asyncio.get_running_loop().time() + 2.5
            while asyncio.get_running_loop().time() < end:
                await asyncio.get_running_loop().sock_recv(sock, 2048)
                await asyncio.sleep(0.05)
            assert not app.ended
            sock.close()
            await until(lambda: app.ended)

    run(main(), loop)
    assert "takes no data" not in caplog.text


@posix
def test_stop_while_a_file_is_sent(stack, loop, big):
    """It is finished first."""
    app = Sender(big)
    got = []

    async def main():
        async with serving(app, http=HTTP[stack.name]) as server:
            client = await Client.open(server)
            client.ask()
            await until(lambda: app.started)
            server.should_exit = True
            got.append(await client.answer())
            await client.close()

    run(main(), loop)
    assert got[0][1] == big.read_bytes()
    assert app.ended == [None]


@posix
def test_many_at_a_time(stack, loop, big):
    """More than there are threads; slow clients hold none."""
    app = Sender(big)

    async def main():
        async with serving(app, http=HTTP[stack.name]) as server:
            slow = [await ask(server) for _ in range(40)]
            for sock in slow:
                assert await asyncio.get_running_loop().sock_recv(sock, 1)
            client = await Client.open(server)
            _, body = await asyncio.wait_for(client.get(), TIMEOUT)
            assert len(body) == os.path.getsize(big)
            await client.close()
            for sock in slow:
                sock.close()
            await until(lambda: len(app.ended) == 41)

    run(main(), loop)


def test_tls(stack, loop, big, certificates, sends_nothing):
    """What the client reads is not what the file has: it goes through the buffer."""
    whole = big.read_bytes()

    async def main():
        async with serving(Sender(big), http=HTTP[stack.name], **certificates.server.options) as server:
            context = certificates.client_context()
            reader, writer = await asyncio.open_connection("localhost", port_of(server), ssl=context)
            client = Client(reader, writer)
            for _ in range(2):
                assert (await client.get("/"))[1] == whole
            client.ask("/parts")
            await reader.readuntil(b"\r\n\r\n")
            body = await read_chunked(reader)
            assert body == b"first" + whole[: 5 * MIB + 1] + b"x" * MIB + whole[5 * MIB + 1 :]
            await client.close()

    run(main(), loop)


@pytest.fixture
def sends_nothing(monkeypatch):
    """sendfile() is not used."""

    def refuse(*arguments):
        raise AssertionError("sendfile() was called")

    monkeypatch.setattr(os, "sendfile", refuse, raising=False)
