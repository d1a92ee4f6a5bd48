"""The load generator takes right answers and refuses all others; the ceiling in C answers what it should."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading

import pytest

pytest.importorskip("psutil")

from bench.http import canned
from bench.http.load import SOURCE
from bench.http.workloads import Workload
from bench.load import run
from bench.process import ServerFailed, free_port
from bench.scratch import program

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(sys.platform != "linux", reason="the benchmarks are for Linux"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler"),
]

REQUEST = b"GET / HTTP/1.1\r\nHost: bench.example\r\n\r\n"
BODY = b"Hello, World!"
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, World!"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nHello,\r\n7\r\n World!\r\n0\r\nx: y\r\n\r\n"


class Server:
    """Answers each request with the next of some pieces, each piece one send(); closes at a None."""

    def __init__(self, *pieces: bytes | None) -> None:
        self.pieces = pieces
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.accepted = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock = self.listener.accept()[0]
            except OSError:
                return
            self.accepted += 1
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            try:
                while sock.recv(65536):
                    for piece in self.pieces:
                        if piece is None:
                            return
                        sock.sendall(piece)
            except OSError:
                return

    def close(self) -> None:
        self.listener.close()


def load(server, tmp_path, mode="flat", request=REQUEST, body=BODY, depth=1, rate=0, seconds=0.05):
    cpu = min(os.sched_getaffinity(0))
    (tmp_path / "request").write_bytes(request)
    (tmp_path / "body").write_bytes(body)
    command = [program(SOURCE, "load"), mode, str(server.port), "3", str(depth), str(rate), "0.02", str(seconds)]
    try:
        return run([*command, str(tmp_path / "request"), str(tmp_path / "body"), ""], cpu, 30)
    finally:
        server.close()


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param((GOOD,), id="length"),
        pytest.param((CHUNKED,), id="chunks"),
        pytest.param(tuple(GOOD[at : at + 1] for at in range(len(GOOD))), id="length, byte by byte"),
        pytest.param(tuple(CHUNKED[at : at + 1] for at in range(len(CHUNKED))), id="chunks, byte by byte"),
    ],
)
def test_right_answers_are_counted(pieces, tmp_path):
    seen = load(Server(*pieces), tmp_path)
    assert seen["requests"] > 0
    assert seen["reopened"] == 0


def test_pipelined_answers_are_counted_one_by_one(tmp_path):
    server = Server(GOOD * 4)
    seen = load(server, tmp_path, depth=4)
    assert seen["requests"] >= 4


@pytest.mark.parametrize(
    "answer",
    [
        GOOD.replace(b"200 OK\r\n", b"200 OK\r\nConnection: close\r\n"),
        CHUNKED.replace(b"t", b"connection: close\r\nt", 1),
    ],
    ids=["length", "chunks"],
)
def test_a_server_may_close_if_it_says_so(answer, tmp_path):
    server = Server(answer, None)
    seen = load(server, tmp_path)
    assert seen["requests"] > 0
    assert server.accepted > 3


def test_a_server_may_close_if_it_was_told_to(tmp_path):
    server = Server(GOOD, None)
    seen = load(server, tmp_path, request=REQUEST[:-2] + b"Connection: close\r\n\r\n", seconds=0.5)
    assert seen["requests"] > 0
    assert seen["reopened"] > 0
    assert server.accepted > 3


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ((GOOD.replace(b"200", b"500"),), "wrong answer: HTTP/1.1 500 OK"),
        ((GOOD.replace(b"World", b"Wurld"),), "wrong answer: other content"),
        ((GOOD.replace(b"13", b"12")[:-1],), "wrong answer: a body of 12 bytes"),
        ((GOOD.replace(b"13", b"14") + b"!",), "wrong answer: a body of more than 13 bytes"),
        ((GOOD * 2,), "wrong answer: one more than was asked for"),
        ((GOOD.replace(b"Content-Length", b"Content-Size"),), "wrong answer: neither a Content-Length nor chunks"),
        ((GOOD, None), "a connection was lost"),
        ((GOOD[:-3], None), "a connection was lost"),
    ],
)
def test_wrong_answers_fail(pieces, message, tmp_path):
    with pytest.raises(ServerFailed, match=message):
        load(Server(*pieces), tmp_path)


def test_every_request_of_a_fixed_rate_is_accounted_for(tmp_path):
    seen = load(Server(GOOD), tmp_path, mode="rate", rate=1000)
    assert seen["due"] == 50
    assert seen["unanswered"] == 0
    assert 0 < seen["p50"] <= seen["p99"] <= seen["p999"] <= seen["highest"]


def test_silent_connections_stay_until_they_are_told(tmp_path):
    assert load(Server(GOOD), tmp_path, mode="idle") == {"lost": 0}
    assert load(Server(GOOD.replace(b"13", b"9999")), tmp_path, mode="held") == {"lost": 0}


def test_the_ceiling_in_c(tmp_path):
    workload = Workload("plaintext", "", "", BODY)
    port = free_port()
    with subprocess.Popen([canned.program(), *canned.arguments(workload, port)]) as process:
        try:
            with _connected(port) as sock:
                response = canned.canned_response(workload)
                for part in (REQUEST[:-3], REQUEST[-3:], REQUEST * 40):
                    sock.sendall(part)
                expected = response * 41
                received = b""
                while len(received) < len(expected):
                    received += sock.recv(65536)
                assert received == expected
        finally:
            process.kill()


def _connected(port):
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 10)
        except ConnectionRefusedError:
            continue
