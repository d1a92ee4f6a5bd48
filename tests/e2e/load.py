"""Steady load: clients that ask without a pause and without a second try, and count what fails."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections import Counter

import pytest

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.I)
_BODY = b"x" * 1000


class Load:
    """Requests for `target` from `clients` clients at a time, for as long as a ``with`` statement takes.

    Half of the clients keep their connection until the server says that it closes, the others open one for each
    request; each third request is a POST, if there are `posts`. ``answers`` counts the response bodies, ``failures``
    what went wrong. `address` is that of a launcher.Process.
    """

    def __init__(self, address, target: str = "/pid", clients: int = 16, posts: bool = True):
        self.answers: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self._address = address
        head = f" {target} HTTP/1.1\r\nHost: test\r\n"
        self._get = f"GET{head}\r\n".encode()
        self._post = self._get
        if posts:
            self._post = f"POST{head}Content-Length: {len(_BODY)}\r\n\r\n".encode() + _BODY
        self._count = clients
        self._is_over = False
        self._thread = threading.Thread(target=asyncio.run, args=(self._main(),))

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *exc_info) -> None:
        self._is_over = True
        self._thread.join(60)
        assert not self._thread.is_alive(), "a client waits for its answer for ever"

    def wait(self, count: int, timeout: float = 60.0) -> None:
        """Wait for that many more answers."""
        wanted = self.total + count
        self.until(lambda: self.total >= wanted, timeout)

    def until(self, condition, timeout: float = 60.0) -> None:
        """Go on until the condition holds."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert self._thread.is_alive(), "the clients have ended"
            if time.monotonic() > deadline:
                pytest.fail(f"not in time; answers {self.answers}, failures {self.failures}")
            time.sleep(0.01)

    @property
    def total(self) -> int:
        return sum(self.answers.values())

    async def _main(self) -> None:
        await asyncio.gather(*(self._client(number % 2 == 0, number) for number in range(self._count)))

    async def _client(self, keeps: bool, number: int) -> None:
        streams = None
        while not self._is_over:
            number += 1
            try:
                if streams is None:
                    streams = await self._connect()
                streams, answer = await self._ask(streams, self._post if number % 3 == 0 else self._get, keeps)
                self.answers[answer] += 1
            except (OSError, EOFError, ValueError, asyncio.TimeoutError) as exc:
                self.failures[f"{type(exc).__name__}: {exc}"[:200]] += 1
                if streams is not None:
                    streams[1].close()
                    streams = None
        if streams is not None:
            streams[1].close()

    async def _connect(self):
        if isinstance(self._address, tuple):
            return await asyncio.open_connection(*self._address)
        return await asyncio.open_unix_connection(self._address)

    async def _ask(self, streams, request: bytes, keeps: bool):
        """The connection, if it can be used again, and the body."""
        reader, writer = streams
        writer.write(request)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        length = _LENGTH.search(head)
        if not head.startswith(b"HTTP/1.1 200 ") or length is None:
            raise ValueError(head.decode("latin-1"))
        body = await asyncio.wait_for(reader.readexactly(int(length.group(1))), 30)
        if not keeps or b"\r\nconnection: close\r\n" in head.lower():
            writer.close()
            return None, body.decode()
        return streams, body.decode()
