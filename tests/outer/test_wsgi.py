"""WSGI applications: what they see, what they send, and that no thread is left behind by a client that leaves."""

from __future__ import annotations

import asyncio
import io
import sys
import threading

import pytest

from asgiserve.errors import AppError, ClientDisconnected
from asgiserve.middleware import wsgi
from asgiserve.middleware.wsgi import WSGIMiddleware

from .serving import TIMEOUT, Client, serving, until

pytest.importorskip("a2wsgi")


class Exchange:
    """One request to an ASGI application. `body` is what receive() gives, then the client is there until it leaves."""

    def __init__(self, body=(b"",), method="GET", headers=(), path="/api/caf\u00e9", root_path="/api", gate=None):
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.5"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": root_path,
            "query_string": b"a=1&b=2",
            "headers": list(headers),
            "client": ("192.0.2.1", 5000),
            "server": ("127.0.0.1", 8000),
            "extensions": {},
        }
        self.messages = []
        for number, piece in enumerate(body):
            self.messages.append({"type": "http.request", "body": piece, "more_body": number + 1 < len(body)})
        self.left = asyncio.Event()
        self.sent = []
        self.gate = gate  # an Event: send() waits for it

    async def receive(self):
        if self.messages:
            return self.messages.pop(0)
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        if self.gate is not None:
            await self.gate.wait()
        if self.left.is_set():
            raise ClientDisconnected("the client has left")
        self.sent.append(message)

    def run(self, middleware):
        return asyncio.ensure_future(middleware(self.scope, self.receive, self.send))

    @property
    def start(self):
        assert [message["type"] for message in self.sent[1:]] == ["http.response.body"] * (len(self.sent) - 1)
        return self.sent[0]

    @property
    def body(self):
        assert [message.get("more_body", False) for message in self.sent[1:]] == [True] * (len(self.sent) - 2) + [False]
        return b"".join(message.get("body", b"") for message in self.sent[1:])


def exchange(app, **request):
    """The Exchange, after the application has ended."""

    async def main():
        one = Exchange(**request)
        await one.run(WSGIMiddleware(app))
        return one

    return asyncio.run(asyncio.wait_for(main(), TIMEOUT))


def respond(start_response, body=b"", status="200 OK", headers=()):
    start_response(status, [("Content-Type", "text/plain"), *headers])
    return [body]


def test_environ():
    environs = []

    def app(environ, start_response):
        environs.append(environ)
        return respond(start_response)

    headers = [
        (b"host", b"example.org"),
        (b"content-type", b"text/x"),
        (b"content-length", b"0"),
        (b"x-one", b"a"),
        (b"x-one", b"b"),
        (b"x_forwarded_for", b"forged"),
    ]
    exchange(app, method="POST", headers=headers)
    environ = environs[0]
    expected = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "/api",
        "PATH_INFO": "/caf\u00e9".encode().decode("latin-1"),
        "QUERY_STRING": "a=1&b=2",
        "CONTENT_TYPE": "text/x",
        "CONTENT_LENGTH": "0",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.1",
        "HTTP_HOST": "example.org",
        "HTTP_X_ONE": "a,b",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
    }
    assert {key: environ[key] for key in expected} == expected
    assert not [key for key in environ if "FORWARDED" in key or key == wsgi._KEY]
    assert environ["asgi.scope"]["path"] == "/api/caf\u00e9"


def test_the_standard_library_finds_nothing_wrong():
    from wsgiref.validate import validator

    def app(environ, start_response):
        environ["wsgi.input"].read(10)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"fine"]

    checked = validator(app)

    def plain(environ, start_response):
        # What PEP 3333 asks of a server; the rest of the environ is our own.
        del environ["asgi.scope"]
        return checked(environ, start_response)

    assert exchange(plain, body=[b"0123456789"]).body == b"fine"


READS = {
    "read": (lambda file: file.read(), b"one\ntwo\nthree"),
    "read-size": (lambda file: [file.read(6), file.read(100), file.read(1)], [b"one\ntw", b"o\nthree", b""]),
    "read-negative": (lambda file: file.read(-1), b"one\ntwo\nthree"),
    "read-none": (lambda file: file.read(None), b"one\ntwo\nthree"),
    "readline": (lambda file: [file.readline() for _ in range(4)], [b"one\n", b"two\n", b"three", b""]),
    "readline-limit": (lambda file: [file.readline(2), file.readline(9)], [b"on", b"e\n"]),
    "readlines": (lambda file: file.readlines(), [b"one\n", b"two\n", b"three"]),
    "readlines-hint": (lambda file: file.readlines(1), [b"one\n"]),
    "iterate": (list, [b"one\n", b"two\n", b"three"]),
}


@pytest.mark.parametrize(
    "pieces", [[b"one\ntwo\nthree"], [b"o", b"ne\nt", b"", b"wo\nthree"], [b"one\ntwo\nthree", b""]]
)
@pytest.mark.parametrize("how", READS)
def test_input(how, pieces):
    read, expected = READS[how]
    found = []

    def app(environ, start_response):
        found.append(read(environ["wsgi.input"]))
        return respond(start_response)

    exchange(app, body=pieces)
    assert found == [expected]


def test_input_without_a_body():
    found = []

    def app(environ, start_response):
        file = environ["wsgi.input"]
        found.append([file.read(), file.readline(5), file.readlines()])
        return respond(start_response)

    exchange(app)
    assert found == [[b"", b"", []]]


def test_streams_both_ways():
    """What has come of the body is read, and what is sent leaves, before there is more."""

    async def main():
        def app(environ, start_response):
            start_response("200 OK", [])
            for line in environ["wsgi.input"]:
                yield line.upper()

        one = Exchange(body=[])
        pieces = asyncio.Queue()
        one.receive = pieces.get
        task = one.run(WSGIMiddleware(app))
        for number in range(5):
            pieces.put_nowait({"type": "http.request", "body": b"line %d\n" % number, "more_body": True})
            await until(lambda: len(one.sent) == number + 2)  # noqa: B023
        pieces.put_nowait({"type": "http.request"})
        await task
        assert one.body == b"LINE 0\nLINE 1\nLINE 2\nLINE 3\nLINE 4\n"

    asyncio.run(asyncio.wait_for(main(), TIMEOUT))


def test_single_piece_has_a_length():
    assert (b"content-length", b"5") in exchange(lambda e, s: respond(s, b"hello")).start["headers"]
    given = exchange(lambda e, s: respond(s, b"hello", headers=[("content-length", "5")])).start["headers"]
    assert [value for name, value in given if name == b"content-length"] == [b"5"]
    for app in (lambda e, s: iter(respond(s, b"hello")), lambda e, s: [*respond(s, b"hello"), b"more"]):
        assert b"content-length" not in dict(exchange(app).start["headers"])
    assert b"content-length" not in dict(exchange(lambda e, s: respond(s, b"hello"), method="HEAD").start["headers"])


def test_an_empty_response():
    one = exchange(lambda e, s: respond(s, status="204"))
    assert (one.start["status"], one.body) == (204, b"")

    def no_pieces(environ, start_response):
        start_response("404 Not Found", [])
        return []

    one = exchange(no_pieces)
    assert (one.start["status"], one.body) == (404, b"")


def test_write():
    def app(environ, start_response):
        write = start_response("200 OK", [])
        write(b"one,")
        write(b"")
        write(b"two,")
        return [b"three"]

    assert exchange(app).body == b"one,two,three"


def test_the_head_can_be_replaced_before_it_leaves():
    def app(environ, start_response):
        start_response("200 OK", [("X-One", "1")])
        try:
            raise ValueError("on purpose")
        except ValueError:
            start_response("500 Oops", [("X-Two", "2")], sys.exc_info())
        yield b"an error page"

    one = exchange(app)
    assert (one.start["status"], one.start["headers"]) == (500, [(b"x-two", b"2")])
    assert one.body == b"an error page"


def test_the_head_cannot_be_replaced_after_that():
    closed = []

    class Pieces:
        def __iter__(self):
            yield b"begun"
            try:
                raise ValueError("on purpose")
            except ValueError:
                self.start_response("500 Oops", [], sys.exc_info())

        def close(self):
            closed.append(True)

    def app(environ, start_response):
        start_response("200 OK", [])
        pieces = Pieces()
        pieces.start_response = start_response
        return pieces

    with pytest.raises(ValueError, match="on purpose"):
        exchange(app)
    assert closed == [True]


def fails_at_once(environ, start_response):
    start_response("200 OK", [])
    raise ValueError("at once")


def fails_before_the_first_piece(environ, start_response):
    start_response("200 OK", [])
    if environ:
        raise ValueError("at the first piece")
    yield b""


def starts_twice(environ, start_response):
    start_response("200 OK", [])
    start_response("200 OK", [])
    return [b""]


def gives_text(environ, start_response):
    start_response("200 OK", [])
    return ["text"]


@pytest.mark.parametrize(
    ("app", "error"),
    [
        (fails_at_once, ValueError),
        (fails_before_the_first_piece, ValueError),
        (starts_twice, RuntimeError),
        (lambda environ, start_response: [b"no start"], RuntimeError),
        (gives_text, TypeError),
        (lambda environ, start_response: None, TypeError),
    ],
)
def test_failures_before_anything_was_sent(app, error):
    async def main():
        one = Exchange()
        with pytest.raises(error):
            await one.run(WSGIMiddleware(app))
        assert one.sent == []

    asyncio.run(main())


def test_what_the_server_refuses_is_the_applications_error():
    async def main():
        one = Exchange()

        async def send(message):
            raise AppError("invalid header")

        one.send = send
        with pytest.raises(AppError, match="invalid header"):
            await one.run(WSGIMiddleware(lambda environ, start_response: respond(start_response, b"body")))

    asyncio.run(main())


class Ticker:
    """An application that sends without end, slowly or as fast as it can, and counts what becomes of it."""

    def __init__(self):
        self.given = 0
        self.closed = 0
        self.lock = threading.Lock()

    def __call__(self, environ, start_response):
        start_response("200 OK", [])
        return self.Pieces(self)

    class Pieces:
        def __init__(self, ticker):
            self.ticker = ticker

        def __iter__(self):
            while True:
                with self.ticker.lock:
                    self.ticker.given += 1
                yield b"tick"

        def close(self):
            with self.ticker.lock:
                self.ticker.closed += 1


def test_a_slow_client_slows_the_application_down():
    async def main():
        app, gate = Ticker(), asyncio.Event()
        one = Exchange(gate=gate)
        task = one.run(WSGIMiddleware(app))
        await until(lambda: app.given > wsgi.QUEUED)
        # Its thread waits by now, or soon: it is never further ahead than the queue, its own piece and the sender's.
        for _ in range(200):
            await asyncio.sleep(0.001)
            assert app.given <= wsgi.QUEUED + 3
        gate.set()
        await until(lambda: len(one.sent) > 100)
        one.left.set()
        with pytest.raises(ClientDisconnected):
            await task
        assert app.closed == 1

    asyncio.run(asyncio.wait_for(main(), TIMEOUT))


def test_clients_that_leave_give_their_threads_back():
    """More of them than there are threads, all within a response that never ends."""

    async def main():
        app = Ticker()
        middleware = WSGIMiddleware(app)
        for _ in range(3 * wsgi.THREADS):
            one = Exchange()
            task = one.run(middleware)
            await until(lambda: len(one.sent) > 20)  # noqa: B023
            one.left.set()
            with pytest.raises(ClientDisconnected):
                await task
        assert app.closed == 3 * wsgi.THREADS

    asyncio.run(asyncio.wait_for(main(), TIMEOUT))


def test_a_body_that_breaks_off_is_no_whole_body():
    found = []

    def app(environ, start_response):
        try:
            environ["wsgi.input"].read()
        except OSError as exc:
            found.append(exc)
            raise

    async def main():
        one = Exchange(body=[b"some", b"more"])
        one.messages.pop()
        one.left.set()
        with pytest.raises(ClientDisconnected):
            await one.run(WSGIMiddleware(app))

    asyncio.run(asyncio.wait_for(main(), TIMEOUT))
    assert len(found) == 1


def test_a_cancelled_request_ends_with_its_thread():
    async def main():
        entered, leave = threading.Event(), threading.Event()

        def app(environ, start_response):
            start_response("200 OK", [])
            entered.set()
            leave.wait(TIMEOUT)
            for _ in range(10):
                yield b"too late"

        one = Exchange()
        task = one.run(WSGIMiddleware(app))
        await until(entered.is_set)
        task.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        assert not task.done()
        leave.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert one.sent == []

    asyncio.run(asyncio.wait_for(main(), TIMEOUT))


def test_file_wrapper_reads_large_pieces():
    content = bytes(range(256)) * 1000

    def app(environ, start_response):
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](io.BytesIO(content), 4096)

    one = exchange(app)
    assert one.body == content
    assert len(one.sent) <= len(content) / wsgi.BLOCK_SIZE + 3


def test_lifespan_and_websocket():
    async def main():
        middleware = WSGIMiddleware(lambda environ, start_response: [])
        inbox = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
        sent = []

        async def receive():
            return inbox.pop(0)

        async def send(message):
            sent.append(message["type"])

        await middleware({"type": "lifespan"}, receive, send)
        await middleware({"type": "websocket"}, receive, send)
        assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete", "websocket.close"]

    asyncio.run(main())


def test_served(stack):
    """Over a real socket, on both stacks: auto finds out what it is."""
    from .serving import HTTP

    def app(environ, start_response):
        body = environ["wsgi.input"].read()
        return respond(start_response, b"%b %b" % (environ["PATH_INFO"].encode("latin-1"), body))

    async def main():
        async with serving(app, http=HTTP[stack.name]) as server:
            assert server.config.interface == "wsgi"
            client = await Client.open(server)
            try:
                for body in (b"one", b"two"):
                    client.writer.write(b"POST /x HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n")
                    client.writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
                    head, answer = await client.answer()
                    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
                    assert answer == b"/x " + body
            finally:
                await client.close()

    asyncio.run(asyncio.wait_for(main(), TIMEOUT))
