"""Real sockets on a fake loop: a Reactor whose turns come when a test says so, and protocols that tell all they see."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import tempfile
from typing import Any, Callable, Dict, List

from fakes import WatchingLoop

KIB = 1024
LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


class Recorder:
    """A protocol. `events` is what happened; `on[name]` is called behind each event of that name, with the event."""

    def __init__(self, **on: Callable[..., Any]) -> None:
        self.on = on
        self.events: List[Any] = []
        self.transport: Any = None
        self.data = bytearray()
        self.is_lost = False
        self.error: Any = None

    def _tell(self, name: str, *args: Any) -> Any:
        self.events.append((name, *args) if args else name)
        return self.on[name](*args) if name in self.on else None

    @property
    def names(self) -> List[str]:
        return [event if isinstance(event, str) else event[0] for event in self.events]

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._tell("connection_made")

    def data_received(self, data: bytes) -> None:
        assert type(data) is bytes
        assert not self.is_lost
        self.data += data
        self._tell("data_received", len(data))

    def eof_received(self) -> Any:
        return self._tell("eof_received")

    def connection_lost(self, error: Any) -> None:
        assert not self.is_lost
        self.is_lost = True
        self.error = error
        self._tell("connection_lost")

    def pause_writing(self) -> None:
        self._tell("pause_writing")

    def resume_writing(self) -> None:
        self._tell("resume_writing")


class BufferedRecorder(Recorder):
    """One with memory of its own to read into."""

    def __init__(self, size: int = 1000, **on: Callable[..., Any]) -> None:
        super().__init__(**on)
        self.buffer = bytearray(size)

    def get_buffer(self, size_hint: int) -> Any:
        if "get_buffer" in self.on:
            self.on["get_buffer"]()
        return self.buffer

    def buffer_updated(self, size: int) -> None:
        self.data += self.buffer[:size]
        self._tell("buffer_updated", size)

    data_received = None  # type: ignore[assignment]


class Introduced:
    """Notes the transport of a protocol that keeps it to itself, and leaves the rest to that one."""

    def __init__(self, protocol: Any, transports: List[Any]) -> None:
        self.protocol = protocol
        self.transports = transports

    def connection_made(self, transport: Any) -> None:
        self.transports.append(transport)
        transport.set_protocol(self.protocol)
        self.protocol.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        raise AssertionError("another protocol has taken over")


class World:
    """A loop, its reactor, and the peers of the connections on it."""

    def __init__(self, part: Callable[[str], Any]) -> None:
        self.module = part("transport")
        self.loop = WatchingLoop()
        self.reactor = part("reactor").Reactor(self.loop, self.module.Transport)
        self.transports: List[Any] = []
        self._stack = contextlib.ExitStack()

    def close(self) -> None:
        self.loop.run_until_idle()
        self.loop.call(self.reactor.close)
        self.loop.run_until_idle()
        assert not self.loop.readers
        self._stack.close()

    def keep(self, sock: Any) -> Any:
        """Closed at the end, if not before."""
        return self._stack.enter_context(sock)

    def pair(self, protocol: Any, **options: Any) -> Any:
        """A connection between `protocol` and the socket that is returned; of UNIX sockets, which lose no time."""
        fd, peer = self.ends(**options)
        self.begin(fd, protocol)
        return peer

    def ends(self, room: int = 0) -> Any:
        ours, peer = socket.socketpair()
        for end in (ours, peer):
            end.setblocking(False)
            if room:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
        return ours.detach(), self.keep(peer)

    def begin(self, fd: int, protocol: Any) -> Any:
        transport = self.module.Transport(self.reactor, fd, socket.AF_UNIX, "")
        self.loop.call(transport.begin, protocol)
        return transport

    def tcp(self, protocol: Any, **options: Any) -> Any:
        """As pair(), of TCP."""
        listener = self.listen(**options)
        peer = self.connect(listener)
        self.accept(listener, lambda: protocol)
        return peer

    def listen(self, family: int = socket.AF_INET, room: int = 0) -> Any:
        listener = self.keep(socket.socket(family))
        if room:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        listener.bind(self.new_path() if family == socket.AF_UNIX else (LOOPBACK[family], 0))
        listener.listen(100)
        listener.setblocking(False)
        return listener

    def new_path(self) -> str:
        folder = self._stack.enter_context(tempfile.TemporaryDirectory())
        return os.path.join(folder, "s")

    def connect(self, listener: Any) -> Any:
        peer = self.keep(socket.socket(listener.family))
        peer.connect(listener.getsockname())
        peer.setblocking(False)
        return peer

    def accept(self, listener: Any, connect: Any) -> None:
        """Take the connection that waits at `listener`; `transports` are what such ones have got."""

        def introduce() -> Any:
            protocol = connect()
            return protocol if isinstance(protocol, Recorder) else Introduced(protocol, self.transports)

        self.loop.call(self.reactor.accept, listener, introduce)

    def errors(self) -> List[Dict[str, Any]]:
        """What was reported, which is expected from now on."""
        from harness import ERRORS

        reported, self.loop.errors = self.loop.errors, []
        ERRORS.clear()
        return reported


def reset(sock: socket.socket) -> None:
    """End a TCP connection as one does who crashes."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def take(sock: socket.socket, size: int = 1 << 20) -> bytes:
    """What there is to be read now; b"" also at the end."""
    try:
        return sock.recv(size)
    except BlockingIOError:
        return b""


def is_ended(sock: socket.socket) -> bool:
    """Whether the other side has ended, and all it has said is read."""
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def descriptors() -> Any:
    """Those that this process has open, with what they are."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found
