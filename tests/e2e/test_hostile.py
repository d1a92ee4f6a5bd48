"""Clients that leave whenever they like: nothing stays behind, and the log tells of peers, not of server errors."""

from __future__ import annotations

import json
import os
import random
import re
import socket
import struct

import pytest

from .launcher import LINUX, wait_for
from .wire import encode

REQUESTS = [
    encode("GET", "/hello"),
    encode("POST", "/echo", b"hello"),
    encode("GET", "/stream?n=50&size=5000"),
    encode("POST", "/echo-stream", b"hello" * 1000),
    encode("GET", "/firehose?mib=8&key=hostile"),
    encode("POST", "/ignore-body", b"x" * 300_000),
    encode("GET", "/until-disconnect?key=hostile"),
    b"garbage\r\n\r\n",
]


def reset(sock: socket.socket) -> None:
    """Let the coming close() send a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("how", ["end", "reset"])
@pytest.mark.parametrize(
    "behind", [b"", encode("GET", "/hello"), b"GET /he"], ids=["nothing", "a request", "part of a request"]
)
def test_app_hears_that_the_client_left_whatever_was_pipelined(start, dial, ours, behind, how):
    """An app that waits for http.disconnect must get it, or the connection and its task stay for ever."""
    server = start("raw_app:app", "--timeout-graceful-shutdown", "1", tracebacks=True)
    wire = dial(server)
    wire.send(encode("GET", "/wait-disconnect?key=behind") + behind)
    assert dial(server).request("GET", "/hello").status == 200  # the app runs by now
    if how == "reset":
        reset(wire.sock)
    wire.close()

    def left() -> bool:
        events = json.loads(dial(server).request("GET", "/progress").body)["events"]
        return any(event.startswith("left:behind:") for event in events)

    wait_for(left, timeout=3, what="the app hears of it")


def abuse(server, dial, number: int) -> None:
    """`number` connections that send some requests, or a part of them, perhaps read a little, and go away."""
    chance = random.Random(number)
    open_wires = []
    for _ in range(number):
        wire = dial(server)
        open_wires.append(wire)
        data = b"".join(chance.choice(REQUESTS) for _ in range(chance.randrange(1, 5)))
        if chance.random() < 0.5:
            data = data[: chance.randrange(len(data))]
        wire.sock.setblocking(False)
        try:
            wire.sock.send(data)
            if chance.random() < 0.5:
                wire.sock.recv(chance.choice([10, 100_000]))
        except OSError:
            pass
        if len(open_wires) > 30:
            wire = open_wires.pop(chance.randrange(len(open_wires)))
            if chance.random() < 0.5:
                reset(wire.sock)
            wire.close()
    for wire in open_wires:
        wire.close()


@pytest.mark.skipif(not LINUX, reason="counts open files through /proc")
@pytest.mark.parametrize("loop", ["auto", "asyncio"])
def test_abuse_leaves_nothing_behind(start, dial, ours, loop):
    server = start("raw_app:app", "--no-access-log", "--loop", loop)
    assert dial(server).request("GET", "/hello").status == 200
    before = len(os.listdir(f"/proc/{server.pid}/fd"))
    abuse(server, dial, 400)
    wait_for(lambda: len(os.listdir(f"/proc/{server.pid}/fd")) <= before + 1, what="all connections are closed")
    assert dial(server).request("GET", "/hello").body == b"Hello, world!"
    server.stop()
    expected = re.compile(r"INFO: |WARNING: +(127\.0\.0\.1:\d+|unknown) - [45]\d\d ")
    unexpected = [line for line in server.stderr().splitlines() if not expected.match(line)]
    assert not unexpected, (len(unexpected), unexpected[:20])
