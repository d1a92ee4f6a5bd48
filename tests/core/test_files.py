"""Sending files: http.response.pathsend and http.response.zerocopysend, through the transport's buffer.

The fake transport has no socket, so that the bytes go the way they go over TLS; tests/outer/test_files.py has sockets.
"""

from __future__ import annotations

import asyncio
import os
import sys

import pytest
from harness import GET, request, serve

from asgiserve.errors import AppError, ClientDisconnected
from core.apps import Script, assert_over, body, run, start

KIB, MIB = 1024, 1024**2
WHOLE = 64 * KIB  # what is read whole
SIZES = [0, 1, WHOLE - 1, WHOLE, WHOLE + 1, 3 * MIB + 5]
HEAD = request("HEAD")

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")


def pattern(size, seed=0):
    return bytes((index * 7 + (index >> 8) + seed) & 255 for index in range(min(size, 65536))) * (size // 65536 + 1)


def content_of(size, seed=0):
    return pattern(size, seed)[:size]


@pytest.fixture
def file(tmp_path):
    """file(size): the path of a new file of this size; its content is content_of(size)."""

    def make(size, seed=0):
        path = tmp_path / f"file{size}-{seed}"
        path.write_bytes(content_of(size, seed))
        return str(path)

    return make


@pytest.fixture(autouse=True)
def no_descriptor_is_left():
    before = descriptors()
    yield
    assert descriptors() == before


def descriptors():
    """How many file descriptors this process has; None where that cannot be seen."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return None


def pathsend(path):
    return {"type": "http.response.pathsend", "path": path}


def zerocopysend(file, offset=None, count=None, more_body=False, **more):
    message = {"type": "http.response.zerocopysend", "file": file, "more_body": more_body, **more}
    if offset is not None:
        message["offset"] = offset
    if count is not None:
        message["count"] = count
    return message


def sending(*messages):
    async def app(scope, receive, send):
        for message in messages:
            await send(message)

    return app


def length(size):
    return (b"content-length", b"%d" % size)


# -- pathsend


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("given", [True, False])
def test_path(stack, file, size, given):
    headers = [length(size)] if given else []
    client, app = run(stack, sending(start(headers=headers), pathsend(file(size))))
    response = client.response()
    assert response.body == content_of(size)
    assert response.get(b"content-length") == b"%d" % size
    assert app.error is None
    assert not client.ended
    client.feed(GET)
    assert [response.body for response in client.responses()] == [content_of(size)] * 2


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("given", [True, False])
def test_head_has_no_body(stack, file, size, given):
    headers = [length(size)] if given else []
    client, app = run(stack, sending(start(headers=headers), pathsend(file(size))), HEAD)
    response = client.response("HEAD")
    assert response.body == b""
    if size or given:
        assert response.get(b"content-length") == b"%d" % size
    client.feed(GET)
    assert client.responses(["HEAD", "GET"])[1].body == content_of(size)
    assert app.error is None


@pytest.mark.parametrize("size", [1, 3 * MIB])
@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body(stack, file, size, status):
    client, _ = run(stack, sending(start(status), pathsend(file(size))))
    assert client.response().body == b""
    assert client.response().get(b"content-length") is None
    client.feed(GET)
    assert [response.status for response in client.responses()] == [status] * 2


@pytest.mark.parametrize("size", [1, 3 * MIB])
def test_http_1_0(stack, file, size):
    client, _ = run(stack, sending(start(), pathsend(file(size))), request(version="1.0"))
    assert client.response().body == content_of(size)
    assert client.response().get(b"content-length") == b"%d" % size
    assert client.ended
    client, _ = run(
        stack, sending(start(), pathsend(file(size))), request("GET", "/", "Connection: keep-alive", version="1.0")
    )
    assert client.response().body == content_of(size)
    assert not client.ended


@pytest.mark.parametrize("size", [1, 3 * MIB])
def test_trailers_behind_a_file(stack, file, size):
    trailers = {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]}
    client, app = run(
        stack, sending(start(trailers=True), pathsend(file(size)), trailers), request("GET", "/", "TE: trailers")
    )
    response = client.response()
    assert response.body == content_of(size)
    assert response.trailers == [(b"x-sum", b"1")]
    assert app.error is None
    assert not client.ended


def test_pipelined(stack, file):
    big, small = file(MIB), file(10)

    async def app(scope, receive, send):
        await send(start())
        await send(pathsend(big if scope["path"] == "/big" else small))

    client = serve(stack, app)
    client.feed(request("GET", "/big") + request("GET", "/small") + request("GET", "/big"))
    assert [len(response.body) for response in client.responses()] == [MIB, 10, MIB]


@pytest.mark.parametrize("size", [1, 3 * MIB])
@pytest.mark.parametrize("off", [-1, 1])
def test_a_length_that_does_not_fit(stack, server_log, file, size, off):
    """Nothing of it reaches the wire, and the client gets a proper answer."""
    client, app = run(stack, sending(start(headers=[length(size + off)]), pathsend(file(size))))
    assert isinstance(app.error, AppError)
    assert client.response().status == 500
    assert server_log.take_errors() == [app.error]
    assert not client.ended


def errors(tmp_path):
    cases = [(tmp_path / "none", FileNotFoundError), (tmp_path, IsADirectoryError)]
    if os.name == "posix":
        os.mkfifo(tmp_path / "pipe")
        cases.append((tmp_path / "pipe", OSError))
        if os.getuid():
            (tmp_path / "secret").touch(0)
            cases.append((tmp_path / "secret", PermissionError))
        cases.append(("/dev/null", OSError))
    return cases


@posix
def test_files_that_cannot_be_sent(stack, server_log, tmp_path):
    for path, error in errors(tmp_path):
        client, app = run(stack, sending(start(headers=[(b"x-one", b"1")]), pathsend(str(path))))
        assert isinstance(app.error, error)
        assert str(path) in str(app.error)
        assert client.response().status == 500
        assert client.response().get(b"x-one") is None
        assert server_log.take_errors() == [app.error]
        client.feed(GET)
        assert len(client.responses()) == 2
        server_log.take_errors()


@pytest.mark.parametrize("path", [None, 5, "", b"", "a\0b"])
def test_paths_that_are_none(stack, server_log, path):
    client, app = run(stack, sending(start(), pathsend(path)))
    assert isinstance(app.error, AppError)
    assert client.response().status == 500
    server_log.take_errors()


def test_kinds_of_paths(stack, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = file(1000)
    for kind in (os.fsencode(path), tmp_path / os.path.basename(path), os.path.basename(path)):
        client, _ = run(stack, sending(start(), pathsend(kind)))
        assert client.response().body == content_of(1000)


def test_after_an_error_the_application_can_still_answer(stack, tmp_path):
    async def app(scope, receive, send):
        await send(start(404))
        try:
            await send(pathsend(str(tmp_path / "none")))
        except FileNotFoundError:
            await send(body(b"not here"))

    client, script = run(stack, app)
    assert (client.response().status, client.response().body) == (404, b"not here")
    assert script.error is None


def test_states(stack, server_log, file):
    path = file(10)
    for messages in (
        [pathsend(path)],
        [start(), body(b"x", True), pathsend(path)],
        [start(), pathsend(path), pathsend(path)],
        [start(), pathsend(path), body()],
        [start(), body(b"x"), pathsend(path)],
        [zerocopysend(0)],
        [start(), pathsend(path), zerocopysend(0)],
        [start(), body(b"x"), zerocopysend(0)],
    ):
        _, app = run(stack, sending(*messages))
        assert isinstance(app.error, AppError), messages
        assert "unexpected ASGI message" in str(app.error)
        server_log.take_errors()


@pytest.mark.parametrize("size", [10, MIB])
def test_no_other_message_while_a_file_is_sent(stack, file, size):
    found = []

    async def app(scope, receive, send):
        await send(start())
        sender = asyncio.ensure_future(send(pathsend(file(size))))
        await asyncio.sleep(0)
        for message in (body(b"x"), start(), zerocopysend(0), pathsend("x")):
            with pytest.raises(AppError, match="while a file is sent"):
                await send(message)
            found.append(message)
        await sender

    client, script = run(stack, app)
    assert script.error is None
    assert len(found) == 4
    assert client.response().body == content_of(size)


def test_the_head_waits_for_a_slow_disk(stack, file):
    """What the tick would send of it alone could not have the Content-Length."""
    app = Script(sending(start(), pathsend(file(MIB))))
    client = serve(stack, app)
    client.loop.held_jobs = []
    client.feed(GET)
    client.advance(10)
    assert client.output() == b""
    while not app.ended:
        client.loop.do_jobs()
    assert client.response().get(b"content-length") == b"%d" % MIB


# -- zerocopysend


@pytest.mark.parametrize("size", SIZES)
def test_descriptor(stack, file, size):
    with open(file(size), "rb") as opened:
        for kind in (opened, opened.fileno()):
            client, app = run(stack, sending(start(), zerocopysend(kind, 0)))
            assert client.response().body == content_of(size)
            assert client.response().get(b"content-length") == b"%d" % size
            assert app.error is None
        opened.seek(0)
        assert len(opened.read()) == size


PARTS = [
    (None, None),
    (0, None),
    (0, 10),
    (5, 10),
    (100_000, None),
    (100_000, 200_000),
    (MIB - 1, 5),
    (MIB, 5),
    (2 * MIB, None),
]


@pytest.mark.parametrize("buffering", [-1, 0])
@pytest.mark.parametrize(("offset", "count"), PARTS)
def test_parts(stack, file, offset, count, buffering):
    whole = content_of(MIB)
    with open(file(MIB), "rb", buffering=buffering) as opened:
        assert opened.read(3) == whole[:3]
        begin = 3 if offset is None else offset
        expected = whole[begin:] if count is None else whole[begin : begin + count]
        client, app = run(stack, sending(start(), zerocopysend(opened, offset, count)))
        assert client.response().body == expected
        assert app.error is None
        # As with the system call: an offset leaves the position alone.
        assert opened.tell() == (3 + len(expected) if offset is None else 3)


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("given", [True, False])
def test_several_parts_and_bodies_in_a_row(stack, file, given, version):
    whole = content_of(MIB)
    with open(file(MIB), "rb") as opened:
        expected = b"".join(
            [
                b"first",
                whole[:200_000],
                whole[200_000:200_010],
                b"middle",
                whole[500_000:900_000],
                whole[7:9],
                whole[200_010:],
            ]
        )
        messages = [
            start(headers=[length(len(expected))] if given else []),
            body(b"first", True),
            zerocopysend(opened, count=200_000, more_body=True),
            zerocopysend(opened.fileno(), 200_000, 10, more_body=True),
            body(b"middle", True),
            zerocopysend(opened, 500_000, 400_000, more_body=True),
            zerocopysend(opened, 7, 2, more_body=True),
            zerocopysend(opened, 200_010, more_body=True),
            zerocopysend(opened, MIB, more_body=True),
            body(),
        ]
        client, app = run(stack, sending(*messages), request(version=version))
    assert app.error is None
    response = client.response()
    assert response.body == expected
    assert response.chunked == (version == "1.1" and not given)
    assert client.ended == (version == "1.0")


def test_head_of_several_parts(stack, file):
    with open(file(MIB), "rb") as opened:
        messages = [zerocopysend(opened, 0, 100_000, more_body=True), body(b"x", True), zerocopysend(opened, 0)]
        client, app = run(stack, sending(start(), *messages), HEAD)
    assert app.error is None
    assert client.response("HEAD").body == b""
    assert client.output().endswith(b"\r\n\r\n")
    assert not client.ended


def test_parts_that_do_not_fit_the_length(stack, server_log, file):
    with open(file(MIB), "rb") as opened:
        # Too long, found before anything of the part is on the wire: the client sees that it is cut.
        client, app = run(
            stack, sending(start(headers=[length(10)]), body(b"12345", True), zerocopysend(opened, 0, 100_000))
        )
        assert isinstance(app.error, AppError)
        assert client.output().endswith(b"\r\n\r\n12345")
        assert client.closed
        # Too short.
        client, app = run(stack, sending(start(headers=[length(MIB)]), zerocopysend(opened, 0, 100_000)))
        assert isinstance(app.error, AppError)
        assert client.response().status == 500
    server_log.take_errors()


@pytest.mark.parametrize(
    "wrong",
    [
        {"file": None},
        {"file": "path"},
        {"file": sys},
        {"offset": -1},
        {"offset": "1"},
        {"count": -1},
        {"count": 1.5},
    ],
)
def test_messages_that_are_wrong(stack, server_log, file, wrong):
    with open(file(10), "rb") as opened:
        client, app = run(stack, sending(start(), {**zerocopysend(opened), **wrong}))
    assert isinstance(app.error, AppError)
    assert client.response().status == 500
    server_log.take_errors()


def test_descriptors_that_are_none(stack, server_log, file):
    with open(file(10), "rb") as opened:
        pass
    reading, writing = os.pipe()
    for wrong, error in ((opened, AppError), (reading, OSError), (10**6, OSError)):
        client, app = run(stack, sending(start(), zerocopysend(wrong)))
        assert isinstance(app.error, error)
        assert client.response().status == 500
        server_log.take_errors()
    os.close(reading)
    os.close(writing)


def test_the_application_keeps_its_file(stack, file):
    """It may close it as soon as send() has returned."""

    async def app(scope, receive, send):
        await send(start())
        with open(file(MIB), "rb") as opened:
            await send(zerocopysend(opened))
        await asyncio.sleep(0)

    client, script = run(stack, app)
    assert script.error is None
    assert client.response().body == content_of(MIB)


# -- files that change


def test_a_file_that_grows_while_it_is_sent(stack, file):
    path = file(MIB)
    client = serve(stack, Script(sending(start(), pathsend(path))))
    client.transport.stall()
    client.feed(GET)
    with open(path, "ab") as opened:
        opened.write(b"more" * 100_000)
    while client.transport.pending_size:
        client.transport.take(100_000)
        client.loop.run_until_idle()
    assert client.response().body == content_of(MIB)
    assert not client.ended


@pytest.mark.parametrize("chunked", [True, False])
def test_a_file_that_shrinks_while_it_is_sent(stack, server_log, file, chunked):
    path = file(3 * MIB)
    app = Script(sending(start(trailers=chunked), pathsend(path)))
    client = serve(stack, app)
    client.transport.stall()
    client.feed(GET)
    os.truncate(path, MIB)
    while client.transport.pending_size:
        client.transport.take(100_000)
        client.loop.run_until_idle()
    assert isinstance(app.error, AppError)
    assert "became shorter" in str(app.error)
    assert client.closed
    response = client.response()
    assert not response.complete
    assert content_of(3 * MIB).startswith(response.body)
    assert server_log.take_errors() == [app.error]
    assert_over(client)


def test_nothing_follows_a_file_that_broke(stack, file):
    """An application that carries on cannot fill the gap."""
    path = file(3 * MIB)

    async def steps(scope, receive, send):
        await send(start())
        with pytest.raises(AppError, match="became shorter"):
            await send(pathsend(path))
        for message in (body(b"x"), pathsend(path)):
            with pytest.raises(ClientDisconnected):
                await send(message)

    app = Script(steps)
    client = serve(stack, app)
    client.transport.stall()
    client.feed(GET)
    os.truncate(path, MIB)
    client.transport.unblock_writes()
    client.loop.run_until_idle()
    assert app.ended
    assert app.error is None
    assert_over(client)


# -- clients


def test_a_client_that_reads_slowly(stack, file):
    """Only a block of the file is in memory."""
    app = Script(sending(start(), pathsend(file(3 * MIB))))
    client = serve(stack, app)
    client.transport.stall()
    client.feed(GET)
    while client.transport.pending_size:
        client.transport.take(30_000)
        client.loop.run_until_idle()
    assert client.response().body == content_of(3 * MIB)
    assert client.transport.max_pending <= 256 * KIB + 64 * KIB


def test_a_client_that_takes_nothing(stack, server_log, file):
    app = Script(sending(start(), pathsend(file(3 * MIB))))
    client = serve(stack, app, timeout_write=60)
    client.transport.stall()
    client.feed(GET)
    client.advance(59)
    assert not app.ended
    client.advance(2)
    assert isinstance(app.error, ClientDisconnected)
    assert client.transport.aborted
    assert len(server_log.warnings) == 1
    assert not server_log.errors
    assert_over(client)


@pytest.mark.parametrize("size", [10, MIB, 3 * MIB])
@pytest.mark.parametrize("when", ["open", "send"])
def test_a_client_that_leaves(stack, server_log, file, size, when):
    logged = []
    app = Script(sending(start(), pathsend(file(size))))
    client = serve(stack, app, access_log=lambda *line: logged.append(line))
    client.loop.held_jobs = []
    client.feed(GET)
    if when == "send" and size > WHOLE:
        client.loop.do_jobs()
        client.loop.do_jobs()
    client.lose(ConnectionResetError("gone"))
    while client.loop.held_jobs:
        client.loop.do_jobs()
    assert isinstance(app.error, ClientDisconnected)
    assert not server_log.records
    assert_over(client)
    # What the log says was sent was.
    assert [line[5] for line in logged] == ([256 * KIB] if when == "send" and size > WHOLE else [])


def test_a_client_that_ends_its_side_gets_the_file(stack, file):
    app = Script(sending(start(), pathsend(file(3 * MIB))))
    client = serve(stack, app)
    client.transport.stall()
    client.feed(GET).feed_eof()
    client.transport.unblock_writes()
    client.loop.run_until_idle()
    client.transport.unblock_writes()
    assert client.response().body == content_of(3 * MIB)
    assert app.error is None
    assert_over(client)


@pytest.mark.parametrize("when", ["open", "send"])
def test_a_cancelled_send(stack, file, when):
    """A thread that is at it goes on, and what it has is closed when it is done."""
    path = file(3 * MIB)

    async def steps(scope, receive, send):
        await send(start())
        sender = asyncio.ensure_future(send(pathsend(path)))
        await steps.gate
        sender.cancel()
        try:
            await sender
        except asyncio.CancelledError:
            await send(body(b"instead"))

    app = Script(steps)
    client = serve(stack, app)
    steps.gate = client.loop.create_future()
    client.loop.held_jobs = []
    client.feed(GET)
    if when == "send":
        client.loop.do_jobs()
    before = descriptors()
    steps.gate.set_result(None)
    client.loop.run_until_idle()
    assert app.ended
    if when == "open":
        assert app.error is None
        assert client.response().body == b"instead"
    else:
        assert descriptors() == before  # still open: the thread reads it
        assert isinstance(app.error, ClientDisconnected)
        assert not client.response().complete
        assert client.closed
    client.loop.do_jobs()


def test_a_request_that_takes_too_long(stack, server_log, file):
    app = Script(sending(start(), pathsend(file(3 * MIB))))
    client = serve(stack, app, timeout_request=10)
    client.transport.stall()
    client.feed(GET)
    client.advance(11)
    assert app.ended
    assert_over(client)
    client = serve(stack, Script(sending(start(), pathsend(file(3 * MIB)))), timeout_request=10)
    client.loop.held_jobs = []
    client.feed(GET)
    client.advance(11)
    assert client.response().status == 504
    client.loop.do_jobs()


def test_a_body_that_breaks_the_protocol_while_a_file_is_opened(stack, server_log, file):
    """The request is refused; the file is not sent behind that."""
    client = serve(stack, Script(sending(start(), pathsend(file(3 * MIB)))))
    client.loop.held_jobs = []
    client.feed(request("POST", "/", "Transfer-Encoding: chunked"))
    client.feed(b"not a chunk\r\n")
    while client.loop.held_jobs:
        client.loop.do_jobs()
    assert client.response("POST").status == 400
    assert client.output().count(b"HTTP/1.1") == 1


def test_what_the_access_log_says(stack, file):
    lines = []
    for size in (10, 3 * MIB):
        run(stack, sending(start(), pathsend(file(size))), access_log=lambda *line: lines.append(line))
        run(stack, sending(start(), pathsend(file(size))), HEAD, access_log=lambda *line: lines.append(line))
    assert [line[5] for line in lines] == [10, 0, 3 * MIB, 0]


def test_a_send_that_is_never_awaited(stack, server_log, file):
    """It does nothing, and the client gets an answer."""

    async def app(scope, receive, send):
        await send(start())
        send(pathsend(file(10))).close()

    client, _ = run(stack, app)
    assert client.response().status == 500
    server_log.take_errors()


def test_announced(stack):
    async def app(scope, receive, send):
        await send(start())
        await send(body())

    for extra, zero_copy in (
        ({}, hasattr(os, "sendfile")),
        ({"sockname": "/run/socket", "peername": ""}, False),
        ({"sslcontext": object()}, False),
    ):
        for version in ("1.1", "1.0"):
            client = serve(stack, app, extra=extra)
            client.feed(request(version=version))
            extensions = client.scopes[0]["extensions"]
            assert extensions["http.response.pathsend"] == {}
            assert ("http.response.zerocopysend" in extensions) == zero_copy
