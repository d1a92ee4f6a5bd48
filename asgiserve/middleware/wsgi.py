"""WSGI applications (PEP 3333), over the library a2wsgi.

a2wsgi makes the environ, runs the application in a pool of threads and passes on what it sends through a bounded queue,
so that a slow client slows the application down. What it leaves open is closed here:

- A client that leaves ends the application at its next read or write; its thread is never left waiting.
- ``wsgi.input`` is a whole binary file that gives what is there, and raises when the body breaks off.
- The head leaves with the first bytes of the body, so that an application can still replace it with ``exc_info``, and
  is answered with 500 if it fails before.
- A request that is cancelled ends when its thread has ended: a thread cannot be cancelled.
- Fields with an underscore in the name are left out: the environ could not tell them from those with a hyphen.
"""

from __future__ import annotations

import asyncio
import io
import sys
from types import TracebackType
from typing import Any, Callable, Iterable, Iterator, Optional, Union
from wsgiref.util import FileWrapper

from ..errors import ClientDisconnected
from ..options import OptionError
from ..types import Message, Receive, Scope, Send

THREADS = 10
"""Requests that are answered at a time; more wait for a thread."""

QUEUED = 2
"""Pieces of a response that wait for the client before the application has to."""

BLOCK_SIZE = 64 * 1024
"""Bytes at least in a piece of a file that is sent with ``wsgi.file_wrapper``, and in the input's buffer."""

_KEY = "asgiserve.wsgi"

Environ = dict[str, Any]
Headers = list[tuple[str, str]]
ExcInfo = Union[tuple[type[BaseException], BaseException, Optional[TracebackType]], tuple[None, None, None]]
WSGIApplication = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


class WSGIMiddleware:
    """An ASGI 3 application over `app`, a WSGI application.

    WebSockets are refused. Raises :class:`asgiserve.ConfigError` when a2wsgi is not installed.
    """

    def __init__(self, app: WSGIApplication) -> None:
        try:
            from a2wsgi import WSGIMiddleware as Threads
        except ImportError:
            raise OptionError(
                "interface", "a WSGI application is served with a2wsgi, which is missing: pip install 'asgiserve[wsgi]'"
            ) from None
        self.app = app
        threads: Any = Threads  # its types are narrower than those of ASGI
        self._threads: Any = threads(self._run, workers=THREADS, send_queue_size=QUEUED)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._threads(scope, receive, send)
            return
        call = _Call(self.app, receive, send)
        headers = [item for item in scope["headers"] if b"_" not in item[0]]
        task = asyncio.ensure_future(self._threads({**scope, "headers": headers, _KEY: call}, receive, call.send))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            # The thread ends at its next read or write; what it sends until then has to be taken from it.
            call.give_up(ClientDisconnected("the request was cancelled"))
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # is of no interest any more
            raise
        if call.failure is not None:
            raise call.failure

    def _run(self, environ: Environ, start_response: Callable[..., Any]) -> Iterator[bytes]:
        """The WSGI application that a2wsgi calls in a thread."""
        call: _Call = environ["asgi.scope"].pop(_KEY)
        return call.run(environ, start_response)


class _Call:
    """One request: what is known of it on the event loop and in the application's thread.

    ``failure`` is what went wrong on the event loop while a response was sent, such as that the client has left.
    """

    def __init__(self, app: WSGIApplication, receive: Receive, send: Send) -> None:
        self.failure: Optional[BaseException] = None
        self._app = app
        self._receive = receive
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._body_ended = False
        self._head: Optional[tuple[str, Headers]] = None
        self._begun = False  # whether the head is on its way
        self._start: Callable[..., Any] = _nothing
        self._write: Callable[[bytes], Any] = _nothing

    # -- on the event loop

    async def send(self, message: Message) -> None:
        """Sends, or drops what can no longer be sent: the queue behind this must never stand still."""
        if self.failure is None:
            try:
                await self._send(message)
            except Exception as exc:
                self.failure = exc

    def give_up(self, failure: BaseException) -> None:
        """Lets the application's next read or write raise `failure`."""
        if self.failure is None:
            self.failure = failure

    async def _receive_body(self) -> bytes:
        while not self._body_ended:
            self._check()
            message = await self._receive()
            if message["type"] != "http.request":
                raise ClientDisconnected("the client left before the request body was complete")
            self._body_ended = not message.get("more_body", False)
            body: bytes = message.get("body", b"")
            if body:
                return body
        return b""

    # -- in the application's thread

    def run(self, environ: Environ, start_response: Callable[..., Any]) -> Iterator[bytes]:
        """Calls the application and gives the pieces of its response; closes what it returned."""
        self._start = start_response
        environ["wsgi.input"] = io.BufferedReader(_Input(self.read), BLOCK_SIZE)
        environ["wsgi.input_terminated"] = True
        environ["wsgi.errors"] = sys.stderr
        environ["wsgi.file_wrapper"] = _FileWrapper
        environ.setdefault("REMOTE_ADDR", "")
        pieces = self._app(environ, self.start_response)
        try:
            is_whole = isinstance(pieces, (list, tuple)) and len(pieces) == 1 and environ["REQUEST_METHOD"] != "HEAD"
            for piece in pieces:
                if not isinstance(piece, bytes):
                    raise TypeError(f"a WSGI application gives bytes, not {type(piece).__name__}")
                self._check()
                if piece:
                    self._begin(len(piece) if is_whole else None)
                    yield piece
            self._check()
            self._begin(None)
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()

    def start_response(self, status: str, headers: Headers, exc_info: Optional[ExcInfo] = None) -> Any:
        """What the application calls with its status and headers, which wait for the first bytes of the body."""
        if exc_info is not None and exc_info[1] is not None:
            if self._begun:
                raise exc_info[1].with_traceback(exc_info[2])
        elif self._head is not None:
            raise RuntimeError("start_response() was called a second time, without exc_info")
        self._head = (status, list(headers))
        return self.write

    def write(self, data: bytes) -> None:
        """What start_response() returns: the old way of sending."""
        self._check()
        self._begin(None)
        if data:
            self._write(data)

    def read(self) -> bytes:
        """Waits for more of the request body; b"" at its end. Raises OSError when it does not come."""
        if self._body_ended:
            return b""
        return asyncio.run_coroutine_threadsafe(self._receive_body(), self._loop).result()

    def _begin(self, length: Optional[int]) -> None:
        """Sends the head, once; `length` is that of the body where it is known."""
        if self._begun:
            return
        if self._head is None:
            raise RuntimeError("the WSGI application did not call start_response()")
        status, headers = self._head
        if length is not None and all(name.lower() != "content-length" for name, _ in headers):
            headers.append(("Content-Length", str(length)))
        self._begun = True
        self._write = self._start(status if " " in status else status + " ", headers)

    def _check(self) -> None:
        if self.failure is not None:
            raise self.failure


def _nothing(*_: Any) -> Any:
    raise AssertionError("not before run()")


class _Input(io.RawIOBase):
    """The request body; `read` waits for the next bytes of it."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = memoryview(self._read())
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


class _FileWrapper(FileWrapper):
    """Reads larger pieces than frameworks ask for: each is a message between two threads."""

    def __init__(self, filelike: Any, blksize: int = BLOCK_SIZE) -> None:
        super().__init__(filelike, max(blksize, BLOCK_SIZE))
