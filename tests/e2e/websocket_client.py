"""What the WebSocket tests share: a client, a peer that makes frames by hand, and questions to the application."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest
from wsproto.frame_protocol import FrameProtocol, Opcode

from .launcher import wait_for
from .wire import Wire, encode

UPGRADE = [
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
]
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 section 1.3


def ask(server, target):
    """The JSON that a GET gives."""
    with Wire(server.connect()) as wire:
        return json.loads(wire.request("GET", target).body)


def wait_ended(server, key, path="/ended"):
    """What the application remembers of the end of the connection with `?key=...`, once it does."""
    return wait_for(lambda: ask(server, f"{path}?key={key}"), what="the application is told of the end")


def closing(connection):
    """(code, reason) of the server's close frame, reading up to it; (1006, "") for an end without one."""
    from websockets.exceptions import ConnectionClosed

    with pytest.raises(ConnectionClosed) as caught:
        while True:
            connection.recv()
    received = caught.value.rcvd
    return (received.code, received.reason) if received else (1006, "")


class Clients:
    """Connections of the websockets library. They live on an event loop in a thread of its own, so that they answer
    pings while a test does something else, and the test itself is plain code.
    """

    def __init__(self):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._clients: list[Client] = []

    def __enter__(self) -> Clients:
        self._thread.start()
        return self

    def __exit__(self, *exc_info) -> None:
        try:
            for client in self._clients:
                client.close()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def run(self, function, *args, **kwargs):
        """The result of a coroutine function, or of a plain one, called on the loop."""

        async def call():
            result = function(*args, **kwargs)
            return await result if hasattr(result, "__await__") else result

        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(call(), 20), self._loop).result()

    def connect(self, server, path="/echo", **options) -> Client:
        """A new connection, which a refusal raises from. `options` are the library's."""
        from websockets.asyncio.client import connect

        url = f"{'wss' if 'ssl' in options else 'ws'}://127.0.0.1:{server.port}{path}"
        self._clients.append(Client(self, self.run(connect, url, proxy=None, **options)))
        return self._clients[-1]


class Client:
    """One connection; what is not here is the library's own attribute."""

    def __init__(self, clients, connection):
        self._clients, self._connection = clients, connection

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def send(self, message) -> None:
        self._clients.run(self._connection.send, message)

    def recv(self):
        return self._clients.run(self._connection.recv)

    def ping(self, payload: bytes) -> None:
        """Send a ping and wait for its pong."""

        async def ping():
            await (await self._connection.ping(payload))

        self._clients.run(ping)

    def close(self, code: int = 1000, reason: str = "") -> None:
        self._clients.run(self._connection.close, code, reason)

    def vanish(self) -> None:
        """Drop the connection without a word."""
        self._clients.run(self._connection.transport.abort)


class Peer:
    """A WebSocket on a Wire, with frames made by hand: `send()` bytes, `next()` gives (opcode, payload)."""

    def __init__(self, wire, target="/echo", behind=b"", begin=True):
        self.wire = wire
        self.frames = FrameProtocol(client=True, extensions=[])
        self._events: list = []
        if begin:
            wire.send(encode("GET", target, None, UPGRADE) + behind)
        head = wire.head()
        assert head.status == 101, head
        assert head.header("sec-websocket-accept") == ACCEPT
        assert head.header("upgrade") == "websocket"
        assert head.header("connection").lower() == "upgrade"
        self._feed(wire.buffer)
        wire.buffer = b""

    def _feed(self, data):
        if data:
            self.frames.receive_bytes(data)
            self._events += self.frames.received_frames()

    def send(self, *data):
        for piece in data:
            self.wire.send(piece)

    def next(self):
        """The next whole message or control frame; a close frame's payload is (code, reason). None at the end."""
        parts: list = []
        while True:
            while not self._events:
                try:
                    data = self.wire.sock.recv(65536)
                except ConnectionResetError:
                    data = b""
                if not data:
                    return None
                self._feed(data)
            frame = self._events.pop(0)
            if frame.opcode.iscontrol():
                payload = frame.payload if frame.opcode is Opcode.CLOSE else bytes(frame.payload)
                return frame.opcode, payload
            parts.append(frame.payload if isinstance(frame.payload, str) else bytes(frame.payload))
            if frame.message_finished:
                return frame.opcode, parts[0][:0].join(parts)
