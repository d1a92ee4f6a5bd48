"""limit_rate_per_second over real sockets. Too fast is a failure; how slow it may be depends on the machine."""

from __future__ import annotations

import asyncio
import os
import sys
import time

import pytest

from asgiserve import _stack

from .serving import HTTP, Client, loop_names, port_of, run, serving, until

MIB = 1024 * 1024
RATE = 3 * MIB
SIZE = 4 * MIB
LEAST = (SIZE - RATE) / RATE * 0.95  # seconds; the clock of uvloop has whole milliseconds


@pytest.fixture(params=loop_names())
def loop(request):
    return request.param


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "big"
    path.write_bytes(os.urandom(MIB) * (SIZE // MIB))
    return path


@pytest.fixture
def sends(monkeypatch):
    """What sendfile() sent, call by call."""
    if not hasattr(os, "sendfile"):
        pytest.skip("no sendfile on this platform")
    sent = []
    original = os.sendfile

    def counted(*arguments):
        count = original(*arguments)
        sent.append(count)
        return count

    monkeypatch.setattr(os, "sendfile", counted)
    return sent


def answering(path):
    """Answers /file with the file, everything else with what is in it."""
    whole = path.read_bytes()

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % SIZE)]})
        if scope["path"] == "/file":
            await send({"type": "http.response.pathsend", "path": str(path)})
        else:
            await send({"type": "http.response.body", "body": whole})

    return app


@pytest.mark.parametrize("target", ["/file", "/body"])
@pytest.mark.parametrize("how", ["tcp", "unix", "tls"])
def test_rate(stack, loop, big, how, target, tmp_path, request):
    context = None
    options = {"http": HTTP[stack.name], "limit_rate_per_second": RATE}
    if how == "unix":
        options["uds"] = str(tmp_path / "s")
    elif how == "tls":
        certificates = request.getfixturevalue("certificates")
        context = certificates.client_context()
        options.update(certificates.server.options)

    async def main():
        async with serving(answering(big), **options) as server:
            begin = time.monotonic()
            if how == "unix":
                client = await Client.open(options["uds"])
            else:
                client = Client(*await asyncio.open_connection("localhost", port_of(server), ssl=context))
            _, body = await client.get(target)
            assert time.monotonic() - begin >= LEAST
            assert body == big.read_bytes()
            await client.close()
            await until(lambda: not server.state.connections)

    run(main(), loop)


@pytest.mark.skipif(sys.platform == "win32", reason="no sendfile on this platform")
def test_sendfile_sends_in_parts(stack, loop, big, sends):
    """None is larger than what may leave at once; all of the file is sent by the kernel."""

    async def main():
        async with serving(answering(big), http=HTTP[stack.name], limit_rate_per_second=RATE) as server:
            client = await Client.open(server)
            assert (await client.get("/file"))[1] == big.read_bytes()
            await client.close()

    run(main(), loop)
    assert sum(sends) == SIZE
    assert max(sends) <= RATE
    assert len(sends) >= 3


def test_stop_while_a_response_waits(stack, loop, big):
    """It ends within the bound of the shutdown, and without one when everything has left."""

    async def main(bound):
        options = {"http": HTTP[stack.name], "limit_rate_per_second": 64 * 1024 if bound else RATE}
        async with serving(answering(big), timeout_graceful_shutdown=bound, **options) as server:
            client = await Client.open(server)
            client.ask()
            await client.reader.readuntil(b"\r\n\r\n")
            server.should_exit = True
            if bound:
                with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                    await client.reader.readexactly(SIZE)
            else:
                assert await client.reader.readexactly(SIZE) == big.read_bytes()
            await client.close()

    run(main(0.2), loop)
    run(main(None), loop)


def test_off(stack, big):
    """Then no connection has anything of it."""

    async def main():
        async with serving(answering(big), http=HTTP[stack.name]) as server:
            assert server._connector().func is stack.HTTPConnection
        async with serving(answering(big), http=HTTP[stack.name], limit_rate_per_second=RATE) as server:
            assert server._connector().func is _stack.throttle(stack)

    run(main())
