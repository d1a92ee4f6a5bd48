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
pytest.importorskip("h2")

from hpack import Decoder

from bench import ROOT
from bench.http import canned, http2, http2_check
from bench.http.load import SOURCE, TLS_FLAGS
from bench.http.measure import session
from bench.http.servers import SERVERS
from bench.http.workloads import WORKLOADS, Workload
from bench.load import run
from bench.process import ServerFailed, free_port
from bench.rounds import Plan
from bench.scratch import NotCompiled, program

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(sys.platform != "linux", reason="the benchmarks are for Linux"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler"),
]

REQUEST = b"GET / HTTP/1.1\r\nHost: bench.example\r\n\r\n"
BODY = b"Hello, World!"
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, World!"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nHello,\r\n7\r\n World!\r\n0\r\nx: y\r\n\r\n"

HTTP2 = next(row for row in WORKLOADS if row.name == "http2")
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, UNKNOWN = 0, 1, 3, 4, 6, 7, 200
ACK = END_STREAM = 1
END_HEADERS, PADDED = 4, 8
OK, NOT_FOUND = b"\x88", b"\x8d"


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


def frame(kind: int, flags: int = 0, stream_id: int = 0, content: bytes = b"") -> bytes:
    return len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + content


def good(stream_id, status=OK):
    return frame(HEADERS, END_HEADERS, stream_id, status) + frame(DATA, END_STREAM, stream_id, BODY)


def goaway(last_id, error=0):
    return frame(GOAWAY, content=last_id.to_bytes(4, "big") + error.to_bytes(4, "big"))


class Http2Server(Server):
    """Answers each request with the bytes that are made of the id of its stream, if need be one by one; closes at None.
    ``seen`` are the types and flags of all frames, ``most`` is the highest id of a stream."""

    def __init__(self, answer, piece=1 << 20, settings=b""):
        self.answer = answer
        self.piece = piece
        self.settings = settings
        self.seen = set()
        self.most = 0
        super().__init__()

    def _serve(self, sock):
        with sock, sock.makefile("rb") as reader:
            try:
                preface = reader.read(len(PREFACE))
                if not preface:  # the load was over before this connection was accepted
                    return
                assert preface == PREFACE
                sock.sendall(frame(SETTINGS, content=self.settings))
                while head := reader.read(9):
                    reader.read(int.from_bytes(head[:3], "big"))
                    self.seen.add((head[3], head[4]))
                    stream_id = int.from_bytes(head[5:], "big")
                    self.most = max(self.most, stream_id)
                    answer = self.answer(stream_id) if head[3] == HEADERS else b""
                    if answer is None:
                        return
                    for start in range(0, len(answer), self.piece):
                        sock.sendall(answer[start : start + self.piece])
            except OSError:
                return


#: Seconds of a load that ends with the first answer, however late a busy machine makes that.
UNTIL_IT_FAILS = 10


def load_http2(server, tmp_path, **options):
    return load(server, tmp_path, mode="http2", request=http2.requests(HTTP2), depth=4, **options)


def load(server, tmp_path, mode="flat", request=REQUEST, body=BODY, depth=1, rate=0, seconds=0.2, flags=()):
    cpu = min(os.sched_getaffinity(0))
    (tmp_path / "request").write_bytes(request)
    (tmp_path / "body").write_bytes(body)
    name = "-".join(["load", *flags])
    command = [program(SOURCE, name, *flags), mode, str(server.port), "3", str(depth), str(rate), "0.02", str(seconds)]
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
        load(Server(*pieces), tmp_path, seconds=UNTIL_IT_FAILS)


def test_every_request_of_a_fixed_rate_is_accounted_for(tmp_path):
    seen = load(Server(GOOD), tmp_path, mode="rate", rate=1000, seconds=0.05)
    assert seen["due"] == 50
    assert seen["unanswered"] == 0
    assert 0 < seen["p50"] <= seen["p99"] <= seen["p999"] <= seen["highest"]


def test_silent_connections_stay_until_they_are_told(tmp_path):
    assert load(Server(GOOD), tmp_path, mode="idle") == {"lost": 0}
    assert load(Server(GOOD.replace(b"13", b"9999")), tmp_path, mode="held") == {"lost": 0}


@pytest.mark.parametrize("piece", [1 << 20, 1], ids=["whole", "byte by byte"])
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(good, id="one frame"),
        pytest.param(lambda n: good(n, b"\x08\x03200"), id="literal status"),
        pytest.param(lambda n: frame(PING, content=b"12345678") + good(n), id="ping"),
        pytest.param(lambda n: frame(UNKNOWN, 255, n, b"?") + good(n), id="unknown frame"),
        pytest.param(
            lambda n: (
                frame(HEADERS, END_HEADERS, n, OK)
                + frame(DATA, 0, n, BODY[:5])
                + frame(DATA, 0, n, BODY[5:])
                + frame(HEADERS, END_HEADERS | END_STREAM, n, b"?")
            ),
            id="parts and trailers",
        ),
    ],
)
def test_right_answers_over_http2_are_counted(answer, piece, tmp_path):
    server = Http2Server(answer, piece)
    assert load_http2(server, tmp_path)["requests"] > 0
    assert (SETTINGS, ACK) in server.seen
    assert ((PING, ACK) in server.seen) == (b"12345678" in answer(1))


def test_answers_may_come_in_any_order(tmp_path):
    server = Http2Server(lambda n: good(n) + good(n - 2) if n % 4 == 3 else b"")
    assert load_http2(server, tmp_path)["requests"] > 0


def test_goaway_leaves_requests_to_the_next_connection(tmp_path):
    def answer(n):
        return goaway(0x7FFFFFFF) + goaway(21) + good(21) if n == 21 else b"" if n > 21 else good(n)

    server = Http2Server(answer)
    seen = load_http2(server, tmp_path, seconds=0.5)
    assert seen["requests"] > 0
    assert seen["reopened"] > 0
    assert server.accepted > 3


def test_a_connection_makes_so_many_requests_over_http2(tmp_path):
    server = Http2Server(good)
    seen = load_http2(server, tmp_path, seconds=0.5, flags=("-DREQUESTS_EACH=6",))
    assert seen["requests"] > 0
    assert seen["reopened"] > 0
    assert server.most == 11


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda n: good(n, NOT_FOUND), "wrong answer: the status is not 200"),
        (lambda n: good(n, b"\x08\x03201"), "wrong answer: the status is not 200"),
        (lambda n: good(n).replace(b"World", b"Wurld"), "wrong answer: other content"),
        (lambda n: frame(HEADERS, END_HEADERS | END_STREAM, n, OK), "wrong answer: a body of 0 bytes"),
        (lambda n: good(n)[:10] + frame(DATA, 0, n, b"!") + good(n)[10:], "wrong answer: other content"),
        (lambda n: good(n)[:10] + frame(DATA, 0, n, BODY) + good(n)[10:], "wrong answer: a body of more than 13 bytes"),
        (lambda n: frame(DATA, END_STREAM, n, BODY), "wrong answer: a body without a head"),
        (lambda n: frame(HEADERS, END_HEADERS, n, OK) + good(n), "wrong answer: two heads"),
        (lambda n: good(n) * 2, "wrong answer: a frame on stream 1, which is not open"),
        (lambda n: frame(DATA, PADDED, n, BODY), "wrong answer: it is padded"),
        (lambda n: frame(RST_STREAM, 0, n, bytes(3) + b"\2"), "wrong answer: a stream was reset, error 2"),
        (lambda n: goaway(n, 11), "GOAWAY with error 11"),
        (lambda n: None if n == 7 else goaway(n) if n == 5 else b"", "a connection was lost"),
        (lambda n: None, "a connection was lost"),
        (lambda n: b"HTTP/1.1 400 Bad Request\r\n\r\n", "wrong answer: a frame of 4740180 bytes"),
    ],
)
def test_wrong_answers_over_http2_fail(answer, message, tmp_path):
    with pytest.raises(ServerFailed, match=message):
        load_http2(Http2Server(answer), tmp_path, seconds=UNTIL_IT_FAILS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [(b"\0\1\0\0\0\0", "a table of 0 bytes"), (b"\0\3\0\0\0\3", "no more than 3 streams")],
)
def test_settings_that_the_load_does_not_fit(settings, message, tmp_path):
    with pytest.raises(ServerFailed, match=message):
        load_http2(Http2Server(good, settings=settings), tmp_path, seconds=UNTIL_IT_FAILS)


def test_later_requests_refer_to_the_first_one():
    decoder, frames, found = Decoder(), http2.requests(HTTP2), []
    while frames:
        size = int.from_bytes(frames[:3], "big")
        assert frames[3:9] == bytes([HEADERS, END_STREAM | END_HEADERS, 0, 0, 0, 0])
        block, frames = frames[9 : 9 + size], frames[9 + size :]
        found.append(decoder.decode(block))
    assert len(found) == 2
    assert found[0] == found[1]
    assert (":authority", "bench.example") in found[0]
    assert len(block) == len(found[1])
    assert all(byte & 0x80 for byte in block)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda n: good(n, NOT_FOUND), "wrong answer: status 404"),
        (lambda n: good(n).replace(b"World", b"Wurld"), "wrong answer: 13 bytes of body are not the expected ones"),
        (lambda n: frame(RST_STREAM, 0, n, bytes(4)), "wrong answer: <StreamReset"),
        (lambda n: goaway(n), "wrong answer: <ConnectionTerminated"),
        (lambda n: frame(DATA, 0, 0, b"?"), "wrong answer: ProtocolError"),
        (lambda n: None, "no answer: the connection was closed|reset|pipe"),  # it may not have read everything
    ],
)
def test_the_check_over_http2_refuses_wrong_answers(answer, message):
    server = Http2Server(answer)
    try:
        with socket.create_connection(("127.0.0.1", server.port), 10) as sock:
            with pytest.raises((ServerFailed, ConnectionError), match=message):
                http2_check.check(HTTP2, sock)
    finally:
        server.close()


@pytest.mark.parametrize("name", ["http2", "http2-tls"])
def test_http2_rows_of_a_real_server(name):
    row = next(row for row in WORKLOADS if row.name == name)
    server = next(server for server in SERVERS if server.name == "asgiserve-pure-asyncio")
    if row.tls:
        pytest.importorskip("trustme")
        try:
            program(SOURCE, "load-tls", *TLS_FLAGS)
        except NotCompiled as error:
            pytest.skip(str(error))
    cpu = min(os.sched_getaffinity(0))
    plan = Plan(1, 0.2, 0.1, cpu, cpu, str(ROOT))
    with session(server, sys.executable, row, plan) as take:
        assert take().requests > 0


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
