"""Limits and timeouts on real sockets and a real clock. Each is tested by itself on a fake loop; here they meet."""

from __future__ import annotations

import json
import os
import subprocess
import time

import pytest

from .launcher import wait_for
from .wire import encode

pytestmark = pytest.mark.alone

TIMEOUTS = (
    *("--timeout-headers", "1"),
    *("--timeout-keep-alive", "1"),
    *("--timeout-body", "1"),
    *("--timeout-write", "1"),
)


@pytest.fixture
def server(serve, ours):
    return serve("raw_app:app", *TIMEOUTS)


def events(server, dial) -> list:
    return json.loads(dial(server).request("GET", "/progress").body)["events"]


def test_slow_headers_and_idle_connections(server, dial):
    began = time.monotonic()
    begun, silent, idle = dial(server), dial(server), dial(server)
    begun.send(b"GET /hello HTTP/1.1\r\nHos")
    assert idle.request("GET", "/hello").status == 200
    assert begun.response().status == 408
    assert begun.at_end()
    assert silent.at_end()
    assert idle.at_end()
    assert 0.9 < time.monotonic() - began < 5


def test_body_that_stops_coming(server, dial):
    wire = dial(server)
    wire.send(encode("POST", "/echo", None, [("Content-Length", "10")]) + b"half.")
    assert wire.response().status == 408
    assert wire.at_end()
    wait_for(lambda: "left:/echo" in events(server, dial), what="the app sees http.disconnect")


def test_client_that_takes_nothing(server, dial):
    wire = dial(server, rcvbuf=4096)
    wire.send(encode("GET", "/firehose?mib=1024&key=untaken"))
    assert wire.head().status == 200
    wait_for(lambda: "end:untaken" in events(server, dial), what="the app's send() ends")
    with pytest.raises(ConnectionResetError):
        while wire.sock.recv(1 << 20):
            pass


def test_slow_but_steady_is_no_timeout(server, dial):
    """Neither an upload in small pieces nor an app that takes its time is cut, as long as something moves."""
    wire = dial(server)
    wire.send(encode("POST", "/echo-stream", None, [("Transfer-Encoding", "chunked")]))
    assert wire.head().status == 200
    for _ in range(8):
        time.sleep(0.2)  # the pace of the client is what is tested
        wire.send(b"1\r\nx\r\n")
        assert wire.chunk() == b"x"
    wire.send(b"0\r\n\r\n")
    assert wire.chunk() == b""


def test_limit_concurrency(start, dial, ours):
    server = start("raw_app:app", "--limit-concurrency", "1")
    busy, other = dial(server), dial(server)
    busy.send(encode("POST", "/echo-stream", None, [("Transfer-Encoding", "chunked")]))
    assert busy.head().status == 200
    refused = other.request("GET", "/hello")
    assert refused.status == 503
    assert refused.header("retry-after")
    busy.send(b"0\r\n\r\n")
    assert busy.chunk() == b""
    assert dial(server).request("GET", "/hello").status == 200


def test_rate_per_second(serve, program, ours):
    """Of 1 MiB, one half leaves at once, the other takes a second. Slow machines need longer, never less."""
    server = serve("raw_app:app", "--limit-rate-per-second", str(512 * 1024))
    url = server.url + "/firehose?mib=1&key=limited"
    done = subprocess.run(
        [program("curl"), "-sS", "--max-time", "60", "-o", os.devnull, "-w", "%{size_download} %{time_total}", url],
        capture_output=True,
        check=True,
        text=True,
    )
    size, seconds = done.stdout.split()
    assert int(size) == 1024 * 1024
    assert float(seconds.replace(",", ".")) >= 0.95
