"""HTTP/2 with real clients: curl, nghttp, h2load and httpx, with and without TLS."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import signal
import subprocess

import pytest
from http2_peer import Peer, fields

from .group import PATIENCE
from .launcher import PYPY, wait_for
from .wire import Wire

PAYLOAD = bytes(range(256)) * 4096  # 1 MiB

pytestmark = pytest.mark.usefixtures("ours")


@pytest.fixture(scope="session")
def authority(library, tmp_path_factory):
    library("trustme")
    from certificates import Certificates

    return Certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture(autouse=True)
def engine(library):
    library("h2")


@pytest.fixture
def plain(serve):
    return serve("raw_app:app", "--http2")


@pytest.fixture
def secure(serve, authority):
    issued = authority.server
    return serve("raw_app:app", "--http2", "--ssl-certfile", issued.certificate, "--ssl-keyfile", issued.key)


@pytest.fixture(params=["plain", "secure"])
def either(request):
    """A server, with TLS and without."""
    return request.getfixturevalue(request.param)


def url(server, target=""):
    scheme = "https" if "--ssl-certfile" in server.argv else "http"
    return f"{scheme}://localhost:{server.port}{target}"


@pytest.fixture
def get(curl, authority):
    """get(server, target, *arguments): what curl wrote, speaking HTTP/2 in the way that fits the server."""

    def run(server, target, *arguments, **keywords):
        how = "--http2" if url(server).startswith("https") else "--http2-prior-knowledge"
        return curl(how, "--cacert", authority.path, "--ipv4", *arguments, url(server, target), **keywords)

    return run


# -- curl


def test_scope(either, get):
    scope = json.loads(get(either, "/scope?a=b"))
    assert scope["http_version"] == "2"
    assert scope["scheme"] == url(either).partition(":")[0]
    assert scope["headers"][0] == ["host", f"localhost:{either.port}"]
    assert ("tls" in scope["extensions"]) == (scope["scheme"] == "https")
    assert "http.response.zerocopysend" not in scope["extensions"]


def test_curl_says_that_it_is_http_2(either, get):
    assert get(either, "/hello", "--write-out", "|%{http_version}") == b"Hello, world!|2"


def test_http_1_beside_it(either, curl, authority):
    arguments = ["--http1.1", "--cacert", authority.path, "--ipv4", "--write-out", "|%{http_version}"]
    assert curl(*arguments, url(either, "/hello")) == b"Hello, world!|1.1"


def test_no_upgrade(plain, curl):
    """curl asks for it, and goes on with HTTP/1.1."""
    assert curl("--http2", "--write-out", "|%{http_version}", plain.url + "/hello") == b"Hello, world!|1.1"


def test_large_bodies_both_ways(either, get):
    assert get(either, "/echo", "--data-binary", "@-", stdin=PAYLOAD * 4) == PAYLOAD * 4


def test_upload_of_unknown_length(either, get):
    out = get(either, "/echo-stream", "--upload-file", "-", "--request", "POST", stdin=PAYLOAD)
    assert out == PAYLOAD


def test_head(either, get):
    head = get(either, "/hello", "--head").decode()
    assert head.startswith("HTTP/2 200")
    assert "\r\ncontent-length: 13\r\n" in head


def test_expect_continue(either, get):
    out = get(
        either, "/echo", "--expect100-timeout", "60", "--header", "Expect: 100-continue", "--include",
        "--data-binary", "@-", stdin=b"expected",
    )  # fmt: skip
    assert re.match(rb"HTTP/2 100 \r\n\r\nHTTP/2 200 ", out)
    assert out.endswith(b"\r\n\r\nexpected")


def test_parallel(secure, get):
    """Over TLS, because there are versions of curl that do this badly with prior knowledge."""
    out = get(secure, "/scope?n=[1-100]", "--parallel", "--parallel-max", "50")
    assert out.count(b'"http_version": "2"') == 100


def test_many_cookies(either, get):
    cookies = "; ".join(f"name{number}=value" for number in range(50))
    scope = json.loads(get(either, "/scope", "--cookie", cookies))
    assert ["cookie", cookies] in scope["headers"]


def test_a_request_that_is_too_large(either, get):
    out = get(either, "/hello?" + "x" * 20000, "--write-out", "|%{http_code}")
    assert out.endswith(b"|414")


def test_the_access_log(start, get):
    server = start("raw_app:app", "--http2")
    get(server, "/hello?a=b")
    wait_for(lambda: '"GET /hello?a=b HTTP/2" 200' in server.stdout(), what="the line")


# -- nghttp2


def test_nghttp(either, program):
    """It sends frames of priority, opens windows and takes several files at once."""
    argv = [program("nghttp"), "--no-verify-peer", "--null-out", "--stat"]
    argv += [url(either, f"/stream?n=100&size=1000&a={number}") for number in range(20)]
    done = subprocess.run(argv, capture_output=True, timeout=60, text=True)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r" 200 +97K ", done.stdout)) == 20, done.stdout


def test_nghttp_with_a_small_window(either, program):
    argv = [program("nghttp"), "--no-verify-peer", "--window-bits=10", "--connection-window-bits=12"]
    done = subprocess.run([*argv, url(either, "/stream?n=100&size=1000")], capture_output=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout == b"".join(b"%d" % (number % 10) * 1000 for number in range(100))


def test_nghttp_trailers_and_continuation(either, program, tmp_path):
    path = tmp_path / "body"
    path.write_bytes(PAYLOAD)
    argv = [program("nghttp"), "--no-verify-peer", "--continuation", f"--data={path}", "--trailer=x-sum: 1"]
    argv += ["--header=x-long: " + "y" * 20000, "--padding=64", url(either, "/count?digest")]
    done = subprocess.run(argv, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"size": len(PAYLOAD), "md5": hashlib.md5(PAYLOAD).hexdigest()}


def test_ignored_upload(either, program, tmp_path):
    """The app answers without reading 8 MiB; the client is told the answer."""
    path = tmp_path / "body"
    path.write_bytes(PAYLOAD * 8)
    argv = [program("nghttp"), "--no-verify-peer", f"--data={path}", "--timeout=20", url(either, "/ignore-body")]
    done = subprocess.run(argv, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, b"not read")


@pytest.mark.parametrize("target", ["/hello", "/stream?n=10&size=5000"])
def test_h2load(either, program, target):
    count = 300 if PYPY else 2000
    argv = [program("h2load"), f"--requests={count}", "--clients=10", "--max-concurrent-streams=20"]
    done = subprocess.run([*argv, url(either, target)], capture_output=True, timeout=60, text=True)
    assert f"{count} succeeded, 0 failed, 0 errored, 0 timeout" in done.stdout, done.stdout
    assert f"status codes: {count} 2xx" in done.stdout


# -- httpx


@pytest.fixture
def client(library, authority):
    """client(server): an httpx.Client that speaks HTTP/2 only, closed at the end."""
    httpx = library("httpx")
    clients = []

    def make(server):
        http1 = url(server).startswith("https")
        context = authority.client_context()
        options = {"http1": http1, "http2": True, "timeout": 20, "trust_env": False, "verify": context}
        clients.append(httpx.Client(base_url=url(server), **options))
        return clients[-1]

    yield make
    for item in clients:
        item.close()


def test_httpx(either, client):
    http = client(either)
    response = http.get("/hello")
    assert (response.http_version, response.text) == ("HTTP/2", "Hello, world!")
    assert http.post("/echo", content=PAYLOAD).content == PAYLOAD
    digest = hashlib.md5(PAYLOAD * 4).hexdigest()
    assert http.post("/count?digest", content=(PAYLOAD for _ in range(4))).json()["md5"] == digest
    with http.stream("GET", "/stream?n=1000&size=1000") as response:
        assert sum(len(piece) for piece in response.iter_bytes()) == 1_000_000


def test_httpx_leaves_in_the_middle(either, client):
    http = client(either)
    with http.stream("GET", "/until-disconnect?key=httpx") as response:
        assert next(response.iter_bytes()).startswith(b"tick")
    assert http.get("/hello").text == "Hello, world!"


def test_httpx_many_at_once(either, library, authority):
    httpx = library("httpx")

    async def one(http, number):
        body = b"%d" % number * 1000
        response = await http.post("/echo", content=body)
        return response.http_version == "HTTP/2" and response.content == body

    async def main():
        options = {"http1": url(either).startswith("https"), "http2": True, "timeout": 20, "trust_env": False}
        async with httpx.AsyncClient(base_url=url(either), verify=authority.client_context(), **options) as http:
            return await asyncio.gather(*(one(http, number) for number in range(200)))

    assert all(asyncio.run(main()))


def test_fastapi(serve, client, library):
    library("fastapi")
    library("python_multipart")
    server = serve("fastapi_app:app", "--http2", tracebacks=True)
    http = client(server)
    response = http.post("/upload", data={"title": "x"}, files={"files": ("a.bin", PAYLOAD)})
    assert response.http_version == "HTTP/2"
    assert '"title":"x"' in response.text


# -- memory, and the end


def counts(server, key):
    """How many bytes of a response have been sent; None before it began."""
    with Wire(server.connect()) as wire:
        return json.loads(wire.request("GET", "/progress").body)["counters"].get(key)


def test_a_client_that_takes_nothing_costs_little(start, program):
    """Streams whose window is closed hold one message each, whatever their applications have to send."""
    server = start("raw_app:app", "--http2")
    argv = [program("nghttp"), "--null-out", "--window-bits=1"]
    argv += [url(server, f"/firehose?mib=100&key=closed{number}") for number in range(20)]
    before = server.memory()
    client = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: counts(server, "closed19") is not None, what="the last stream")
        for number in range(20):
            assert counts(server, f"closed{number}") <= 65536
        assert server.memory() - before < 30 * 1024 * 1024
    finally:
        client.kill()
        client.wait()


@pytest.mark.parametrize("processes", [(), ("--workers", "2")], ids=["alone", "workers"])
def test_shutdown_under_load(start, program, processes):
    """What has begun ends well; the server ends in time, with status 0."""
    server = start("raw_app:app", "--http2", *processes)
    argv = [program("h2load"), "--duration=30", "--clients=4", "--max-concurrent-streams=10"]
    load = subprocess.Popen([*argv, url(server, "/hello")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: server.stdout().count("HTTP/2") > 100, what="load")
        server.stop(signal.SIGTERM, PATIENCE)
    finally:
        load.kill()
        load.communicate()


class Socket:
    """What a Peer needs of its connection, on a real one."""

    def __init__(self, sock):
        self.sock = sock
        self.sock.setblocking(False)
        self.transport = self
        self.ended = False

    def feed(self, data):
        self.sock.setblocking(True)
        self.sock.sendall(data)
        self.sock.setblocking(False)

    def take_output(self):
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return b""
        self.ended = not data
        return data

    def is_closing(self):
        return self.ended


@pytest.mark.parametrize("processes", [(), ("--workers", "2")], ids=["alone", "workers"])
def test_shutdown_waits_for_a_request(start, processes):
    """What has begun comes to its end, in both directions."""
    server = start("raw_app:app", "--http2", *processes)
    with server.connect() as sock:
        peer = Peer(Socket(sock))
        stream = peer.streams[peer.request(fields("POST", "/echo-stream"), end=False)]
        peer.data(1, b"one ")
        wait_for(lambda: peer.read() and stream.body == b"one ", what="the first part")
        server.signal(signal.SIGTERM)
        wait_for(lambda: len(peer.read().goaways) == 2, what="the end begins")
        assert [goaway.last_stream_id for goaway in peer.goaways] == [2**31 - 1, 1]
        peer.data(1, b"two", end=True)
        wait_for(lambda: peer.read() and stream.ended, what="the rest")
        assert stream.body == b"one two"
        wait_for(lambda: peer.read() and peer.closed, what="the end of the connection")
    server.stop(signal.SIGTERM, PATIENCE)
