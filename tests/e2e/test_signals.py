"""SIGTERM and SIGINT: what is under way completes, idle connections close, the process ends with exit code 0."""

from __future__ import annotations

import signal

import pytest

from .launcher import wait_for
from .wire import encode

SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
CHUNKED = [("Transfer-Encoding", "chunked")]


def begin(wire):
    """A request whose app is running, because its first piece has come back."""
    wire.send(encode("POST", "/echo-stream", None, CHUNKED) + b"5\r\nfirst\r\n")
    assert wire.head().status == 200
    assert wire.chunk() == b"first"


def refuses(server) -> bool:
    return not server.accepts()


@SIGNALS
def test_request_in_flight_completes(start, dial, ours, number):
    server = start("raw_app:app")
    busy, idle, fresh = dial(server), dial(server), dial(server)
    assert idle.request("GET", "/hello").status == 200
    begin(busy)
    server.signal(number)
    wait_for(lambda: refuses(server), what="new connections are refused")
    assert idle.at_end()
    assert fresh.at_end()
    busy.send(b"4\r\nlast\r\n0\r\n\r\n")
    assert busy.chunk() == b"last"
    assert busy.chunk() == b""
    assert busy.at_end()
    assert server.wait() == 0
    server.check_log()
    assert "lifespan: shut down" in server.stdout()


def test_answer_begun_after_the_signal_says_close(start, dial, ours):
    server = start("raw_app:app")
    wire = dial(server)
    wire.send(encode("POST", "/echo", None, [("Content-Length", "4"), ("Expect", "100-continue")]))
    assert wire.head().status == 100
    server.signal(signal.SIGTERM)
    wait_for(lambda: refuses(server), what="new connections are refused")
    wire.send(b"body")
    response = wire.response()
    assert (response.body, response.header("connection")) == (b"body", "close")
    assert wire.at_end()
    server.stop()


def test_it_always_ends(start, dial, ours):
    """A request that never completes is given up after --timeout-graceful-shutdown."""
    server = start("raw_app:app", "--timeout-graceful-shutdown", "1", tracebacks=True)
    wire = dial(server)
    begin(wire)
    server.stop(timeout=10)


def test_second_signal_hurries(start, dial, ours):
    server = start("raw_app:app", tracebacks=True)
    wire = dial(server)
    begin(wire)
    server.signal(signal.SIGINT)
    wait_for(lambda: refuses(server), what="new connections are refused")
    server.stop(signal.SIGINT, timeout=10)


def test_client_that_does_not_read_does_not_block_the_end(start, dial, ours):
    server = start("raw_app:app", "--timeout-graceful-shutdown", "1", tracebacks=True)
    wire = dial(server, rcvbuf=4096)
    wire.send(encode("GET", "/firehose?mib=1024&key=stuck"))
    assert wire.head().status == 200
    server.stop(timeout=10)


def test_unix_socket_is_removed(start, dial, ours):
    import os

    server = start("raw_app:app", uds=True)
    assert dial(server).request("GET", "/hello").status == 200
    server.stop()
    assert not os.path.exists(server.address)


def test_many_idle_connections_close(start, dial, ours):
    server = start("raw_app:app")
    wires = [dial(server) for _ in range(100)]
    for wire in wires:
        assert wire.request("GET", "/hello").status == 200
    server.stop()
    assert all(wire.at_end() for wire in wires)
