"""Steady load, strict about failures: every request has to get its own complete response.

Half of the clients keep their connection for as long as the server does, the others use one for a request or a few.
There is no second try. A client opens a new connection only when it has seen the end of the old one before it sent
anything: behind a response that said ``Connection: close``, or between two requests. Whatever else goes wrong is a
failure of the server.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from typing import NamedTuple, Optional

CLIENTS = 64
PATIENCE = 30.0
"""Seconds for one response."""
LONGEST_PAUSE = 0.5
"""Seconds, at most, between two requests; less than any server waits for the next one."""


class Failure(NamedTuple):
    """A request without its response. Times are those of time.monotonic(); ``opened`` is when its connection was asked
    for."""

    opened: float
    sent: float
    seen: float
    what: str
    source: Optional[str]  # who answered before on this connection

    def __str__(self) -> str:
        return f"{self.what} after {self.seen - self.sent:.3f} s (connection of {self.source})"


class Broken(Exception):
    """There is no response, or not the right one."""


class Response(NamedTuple):
    body: bytes
    closes: bool
    fields: dict[str, str]


class Connection(asyncio.Protocol):
    """One connection, with one request at a time."""

    def __init__(self) -> None:
        self.opened = 0.0
        self.source: Optional[str] = None
        self.end: Optional[str] = None  # how the connection ended, once it has
        self._transport: Optional[asyncio.Transport] = None
        self._input = b""
        self._waiter: Optional[asyncio.Future] = None

    def connection_made(self, transport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._input += data
        if self._waiter is None:
            self._finish("data that nobody asked for: %r" % self._input[:60])
            self.close()
            return
        try:
            response = self._parse()
        except Broken as exc:
            self._finish(str(exc))
            return
        except (ValueError, KeyError):
            self._finish("a malformed response: %r" % self._input[:200])
            return
        if response is not None:
            waiter, self._waiter = self._waiter, None
            if not waiter.done():  # too late
                waiter.set_result(response)

    def eof_received(self) -> None:
        self._finish("closed" if not self._input else "closed within a response")

    def connection_lost(self, error: Optional[Exception]) -> None:
        self._finish("closed" if error is None else type(error).__name__)

    def _finish(self, how: str) -> None:
        self.end = self.end or how
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(Broken(self.end))

    def _parse(self) -> Optional[Response]:
        """The response, once it is complete."""
        head, gap, rest = self._input.partition(b"\r\n\r\n")
        if not gap:
            return None
        lines = head.decode("latin-1").split("\r\n")
        if not lines[0].startswith("HTTP/1.1 200"):
            raise Broken(lines[0])
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if "content-length" in fields:
            length = int(fields["content-length"])
            if len(rest) < length:
                return None
            body, left = rest[:length], rest[length:]
        else:
            found = unchunk(rest)
            if found is None:
                return None
            body, left = found
        if left:
            raise ValueError("more than a response")
        self._input = b""
        return Response(body, fields.get("connection", "").lower() == "close", fields)

    async def ask(self, pieces: list[bytes], pause: float) -> Response:
        """Sends a request, with a pause between its pieces. Raises Broken."""
        self._waiter = waiter = asyncio.get_running_loop().create_future()
        timer = asyncio.get_running_loop().call_later(PATIENCE, self._finish, "no response in time")
        try:
            for number, piece in enumerate(pieces):
                if number:
                    await asyncio.sleep(pause)
                if not waiter.done():
                    self._transport.write(piece)
            return await waiter
        finally:
            timer.cancel()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def unchunk(data: bytes) -> Optional[tuple[bytes, bytes]]:
    """The body in chunks and what is behind it; None when it is not complete."""
    body = b""
    while True:
        size, gap, rest = data.partition(b"\r\n")
        if not gap:
            return None
        length = int(size, 16)
        if len(rest) < length + 2:
            return None
        if rest[length : length + 2] != b"\r\n":
            raise ValueError("a chunk without its end")
        body, data = body + rest[:length], rest[length + 2 :]
        if not length:
            return body, data


class Tokens:
    """Requests of several kinds to apps/stress_app.py, each with a text of its own that has to come back."""

    KINDS = ("plain",) * 7 + ("echo", "stream", "slow")

    def make(self, chance: random.Random, last: bool) -> tuple[list[bytes], bytes]:
        """The pieces of a request, and what has to come back. The `last` one says so."""
        kind, token = chance.choice(self.KINDS), b"%x" % chance.getrandbits(256)
        end = b"Host: test\r\n" + (b"Connection: close\r\n" if last else b"")
        if kind != "echo":
            return [b"GET /%b?%b HTTP/1.1\r\n%b\r\n" % (kind.encode(), token, end)], token
        head = b"POST /echo HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n" % (end, len(token))
        half = len(token) // 2
        return [head + token[:half], token[half:]], token

    def check(self, response: Response, expected: bytes) -> str:
        """Who has answered. Raises Broken."""
        if response.body != expected:
            raise Broken("the wrong body")
        return response.fields["x-pid"]


class OneTarget:
    """Requests for `target`, whose response says in its body who it is from; a third are POST, if there are `posts`."""

    BODY = b"x" * 1000

    def __init__(self, target: str = "/pid", posts: bool = True) -> None:
        head = f" {target} HTTP/1.1\r\nHost: test\r\n".encode()
        get = b"GET%b\r\n" % head
        post = b"POST%bContent-Length: %d\r\n\r\n%b" % (head, len(self.BODY), self.BODY)
        self._requests = (get, get, post if posts else get)

    def make(self, chance: random.Random, last: bool) -> tuple[list[bytes], bytes]:
        return [chance.choice(self._requests)], b""

    def check(self, response: Response, expected: bytes) -> str:
        return response.body.decode()


class Load:
    """Clients that ask all the time, in a thread of their own, for as long as a ``with`` statement takes.

    `address` is (host, port) or the path of a UNIX socket. ``answers`` counts the responses by who has answered,
    ``failures`` lists what went wrong, ``idle_ends`` counts connections that the server closed between two requests.
    """

    def __init__(self, address, requests=None, clients: int = CLIENTS) -> None:
        self.answers: Counter[str] = Counter()
        self.failures: list[Failure] = []
        self.idle_ends = 0
        self._address = address
        self._requests = requests or Tokens()
        self._clients = clients
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="load")

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def stop(self) -> None:
        """Lets the requests end that are under way."""
        self._is_over = True
        self._thread.join()

    def wait(self, count: int, timeout: float = 60.0) -> None:
        """Waits until that many more requests are answered."""
        wanted = self.total + count
        self.until(lambda: self.total >= wanted, timeout, f"{count} more answers")

    def until(self, condition, timeout: float = 60.0, what: str = "what was waited for") -> None:
        """Goes on until `condition()` holds."""
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, f"{what}: not within {timeout:g} s; {self}"
            assert self._thread.is_alive(), f"the clients have ended; {self}"
            time.sleep(0.005)

    @property
    def total(self) -> int:
        """How many requests were answered."""
        return sum(self.answers.values())

    def __str__(self) -> str:
        kinds = Counter(failure.what for failure in self.failures)
        return f"{self.total} requests answered, {len(self.failures)} failed: {dict(kinds)}"

    def _run(self) -> None:
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(self._all())
        finally:
            loop.close()

    async def _all(self) -> None:
        await asyncio.gather(*map(self._client, range(self._clients)))

    async def _client(self, number: int) -> None:
        chance = random.Random(number)
        while not self._is_over:
            connection = await self._open()
            if connection is None:
                continue
            requests = 1 << 62 if number % 2 else chance.choice((1, 1, 1, 2, 5))
            try:
                await self._talk(connection, requests, chance)
            finally:
                connection.close()

    async def _open(self) -> Optional[Connection]:
        loop, start = asyncio.get_running_loop(), time.monotonic()
        try:
            if isinstance(self._address, str):
                opening = loop.create_unix_connection(Connection, self._address)
            else:
                opening = loop.create_connection(Connection, *self._address)
            connection = (await asyncio.wait_for(opening, PATIENCE))[1]
        except (OSError, asyncio.TimeoutError) as exc:
            await self._fail(f"connect: {type(exc).__name__}", start, start)
            return None
        connection.opened = start
        return connection

    async def _talk(self, connection: Connection, requests: int, chance: random.Random) -> None:
        """Requests on one connection until it ends."""
        if chance.random() < 0.2:
            await asyncio.sleep(chance.random() * 0.02)  # a connection that is accepted, with nothing to read
        for number in range(requests):
            if self._is_over:
                return
            start = time.monotonic()
            if connection.end is not None:
                if number and connection.end == "closed":
                    self.idle_ends += 1
                else:
                    what = f"{connection.end} before the request"
                    await self._fail(what, start, connection.opened, connection.source)
                return
            last = number + 1 == requests and chance.random() < 0.5
            pieces, expected = self._requests.make(chance, last)
            try:
                response = await connection.ask(pieces, chance.random() * 0.02)
                connection.source = self._requests.check(response, expected)
            except Broken as exc:
                what = f"{exc} ({'later' if number else 'first'} request)"
                await self._fail(what, start, connection.opened, connection.source)
                return
            self.answers[connection.source] += 1
            if response.closes:
                return
            # Most go on at once; some leave their connection idle, so that there always are some of them.
            await asyncio.sleep(chance.random() * LONGEST_PAUSE if chance.random() < 0.01 else 0)

    async def _fail(self, what: str, sent: float, opened: float, source: Optional[str] = None) -> None:
        self.failures.append(Failure(opened, sent, time.monotonic(), what, source))
        await asyncio.sleep(0.05)  # a server that is down is not to be flooded
