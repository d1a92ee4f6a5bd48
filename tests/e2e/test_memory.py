"""Memory stays flat under 1 GiB in either direction, whether the other side takes it or not (Linux: /proc)."""

from __future__ import annotations

import json
import time

import pytest

from .launcher import LINUX, PYPY, wait_for
from .wire import encode

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(not LINUX, reason="measures memory through /proc"),
    pytest.mark.skipif(PYPY, reason="PyPy's collector decides how much memory it holds"),
]

MIB = 1024 * 1024
GIB = 1024 * MIB
BOUND = 10 * MIB


class Growth:
    """Growth of a server's memory: the highest since it was made, over what it was then."""

    def __init__(self, server):
        self.server = server
        self.exact = server.reset_peak()
        self.base = self.highest = server.memory()

    def sample(self) -> int:
        now = self.server.peak_memory() if self.exact else self.server.memory()
        self.highest = max(self.highest, now)
        return self.highest - self.base

    def check(self) -> None:
        grown = self.sample()
        assert grown < BOUND, f"grew by {grown / MIB:.1f} MiB"


def progress(server, dial) -> dict:
    with dial(server) as wire:
        return json.loads(wire.request("GET", "/progress").body)


def settle(read, quiet: float = 0.5, timeout: float = 10.0):
    """Poll `read()` until its value has not changed for `quiet` seconds, and return it."""
    deadline = time.monotonic() + timeout
    value, since = read(), time.monotonic()
    while time.monotonic() - since < quiet:
        assert time.monotonic() < deadline, f"still changing after {timeout} s: {value}"
        time.sleep(0.05)
        latest = read()
        if latest != value:
            value, since = latest, time.monotonic()
    return value


def drain(sock, size: int, growth: Growth) -> int:
    """Read `size` bytes at full speed; returns how many came."""
    buffer, have = bytearray(MIB), 0
    sock.settimeout(30)
    while have < size:
        count = sock.recv_into(buffer, min(MIB, size - have))
        if not count:
            break
        have += count
        if not growth.exact:
            growth.sample()
    return have


def pour(sock, size: int, timeout: float = 30) -> int:
    """Send up to `size` bytes; give up when the server takes nothing for `timeout` seconds. Returns how many went."""
    block, sent = memoryview(bytes(256 * 1024)), 0
    sock.settimeout(timeout)
    while sent < size:
        try:
            sent += sock.send(block[: size - sent])
        except TimeoutError:
            break
        except OSError as exc:  # socket.timeout is a class of its own before Python 3.10
            if "timed out" not in str(exc):
                raise
            break
    return sent


@pytest.fixture
def server(start, dial, ours):
    """A server of the test's own, warmed up, so that only the transfer grows it."""
    server = start("raw_app:app", "--no-access-log")
    wire = dial(server)
    for _ in range(20):
        assert wire.request("POST", "/echo", b"x" * 1000).status == 200
        assert wire.request("GET", "/stream?n=10").status == 200
    wire.close()
    return server


def test_the_measurement_sees_growth(server, dial):
    """An app that holds a body of 30 MiB is seen to do so, even when it has let it go again."""
    growth = Growth(server)
    assert len(dial(server).request("POST", "/echo", bytes(30 * MIB)).body) == 30 * MIB
    if growth.exact:
        assert growth.sample() > 30 * MIB


@pytest.mark.parametrize("framing", ["&length", ""], ids=["length", "chunked"])
def test_response_to_a_client_that_does_not_read(server, dial, framing):
    """The app wants to send 1 GiB. It is held back while nobody reads, then everything comes, in full."""
    growth = Growth(server)
    wire = dial(server)
    wire.send(encode("GET", f"/firehose?mib=1024&key=slow{framing}"))
    head = wire.head()
    assert head.status == 200
    sent = settle(lambda: progress(server, dial)["counters"].get("slow", 0))
    assert 0 < sent < 64 * MIB
    growth.check()
    have = len(wire.buffer)
    wire.buffer = b""
    if framing:
        assert have + drain(wire.sock, GIB - have, growth) == GIB
    else:
        # 64 KiB pieces with their chunk headers, and the last chunk.
        total = 16384 * (65536 + len(b"10000\r\n\r\n")) + len(b"0\r\n\r\n")
        assert have + drain(wire.sock, total - have, growth) == total
    growth.check()
    assert wire.request("GET", "/hello").status == 200


def test_client_that_never_reads_is_forgotten(server, dial):
    """It leaves without having read; the app's send() ends, and the memory is as it was."""
    growth = Growth(server)
    for number in range(20):
        with dial(server, rcvbuf=4096) as wire:
            wire.send(encode("GET", f"/firehose?mib=1024&key=gone{number}"))
            assert wire.head().status == 200
    wait_for(lambda: len(progress(server, dial)["events"]) == 20, what="every app task ended")
    growth.check()


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_upload_to_an_app_that_does_not_receive(server, dial, framing):
    """The client has 1 GiB. The server stops reading while the app does not receive; then all of it arrives."""
    growth = Growth(server)
    wire = dial(server)
    header = ("Content-Length", str(GIB)) if framing == "length" else ("Transfer-Encoding", "chunked")
    wire.send(encode("POST", "/hold?key=upload", None, [header]))
    if framing == "chunked":
        wire.send(b"%x\r\n" % GIB)
    wait_for(lambda: "upload" in progress(server, dial)["counters"], what="the app runs")
    sent = pour(wire.sock, GIB, timeout=0.5)
    assert sent < 64 * MIB
    growth.check()
    assert dial(server).request("GET", "/release?key=upload").body == b"released"
    sent += pour(wire.sock, GIB - sent)
    assert sent == GIB
    if framing == "chunked":
        wire.send(b"\r\n0\r\n\r\n")
    assert json.loads(wire.response().body)["size"] == GIB
    growth.check()
    assert wire.request("GET", "/hello").status == 200


def test_pipelined_requests_to_an_app_that_does_not_answer(server, dial):
    """Requests behind one that waits are not read into memory."""
    growth = Growth(server)
    wire = dial(server)
    wire.send(encode("GET", "/hold?key=pipeline"))
    wait_for(lambda: "pipeline" in progress(server, dial)["counters"], what="the app runs")
    requests = encode("GET", "/hello", headers=[("X-Filler", "x" * 900)]) * 256
    wire.sock.settimeout(0.5)
    sent = 0
    try:
        while sent < 64 * MIB:
            sent += wire.sock.send(requests)
    except OSError:  # nothing more is taken
        pass
    assert sent < 64 * MIB
    growth.check()
    dial(server).request("GET", "/release?key=pipeline")
    wire.sock.settimeout(20)
    assert wire.response().status == 200
    for _ in range(500):
        assert wire.response().body == b"Hello, world!"
    growth.check()
