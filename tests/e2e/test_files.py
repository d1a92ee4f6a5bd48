"""Starlette's FileResponse, which lets the server send the file (http.response.pathsend), with curl as the client."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from .launcher import APPS, LINUX, PYPY, wait_for
from .wire import encode

MIB, GIB = 1024**2, 1024**3


@pytest.fixture
def files(serve, library):
    library("starlette")
    return serve("starlette_app:app")


@pytest.fixture
def curl(program):
    """curl(server, target, *options): the body, and what -w says of the response."""
    path = program("curl")

    def run(server, target, *options):
        form = "\n%{http_code} %{size_download} %header{content-length}"
        done = subprocess.run(
            [path, "-sS", "--max-time", "60", "-w", "%{stderr}" + form, *options, server.url + target],
            capture_output=True,
            check=True,
        )
        return done.stdout, done.stderr.decode().split("\n")[-1].split()

    return run


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "large.bin"
    path.write_bytes(os.urandom(MIB) * 20)
    return path


def test_a_small_file(files, curl):
    body, (status, _, length) = curl(files, "/file")
    source = (APPS / "starlette_app.py").read_bytes()
    assert (body, status, length) == (source, "200", str(len(source)))


def test_a_large_file(files, curl, large):
    body, (status, size, length) = curl(files, f"/any-file?path={large}")
    assert (status, size, length) == ("200", str(20 * MIB), str(20 * MIB))
    assert hashlib.sha256(body).digest() == hashlib.sha256(large.read_bytes()).digest()


def test_ranges_are_the_applications(files, curl, large):
    body, (status, _, _) = curl(files, f"/any-file?path={large}", "-r", "1000000-3000000")
    assert (status, body) == ("206", large.read_bytes()[1000000:3000001])


def test_conditional_and_head(files, curl, dial):
    wire = dial(files)
    got = wire.request("GET", "/static/starlette_app.py")
    assert got.body == (APPS / "starlette_app.py").read_bytes()
    again = wire.request("GET", "/static/starlette_app.py", headers=[("If-None-Match", got.header("etag"))])
    assert (again.status, again.body) == (304, b"")
    head = wire.request("HEAD", "/static/starlette_app.py")
    assert (head.status, head.body, head.header("content-length")) == (200, b"", str(len(got.body)))


def test_http_1_0(files, curl, large):
    body, (status, _, _) = curl(files, f"/any-file?path={large}", "--http1.0")
    assert (status, body) == ("200", large.read_bytes())


def test_several_on_one_connection(files, curl, large):
    target = f"{files.url}/any-file?path={large}"
    body, _ = curl(files, f"/any-file?path={large}", target, target)
    assert body == large.read_bytes() * 3


def test_a_file_that_is_not_there(serve, library, curl, tmp_path):
    library("starlette")
    server = serve("starlette_app:app", tracebacks=True)
    _, (status, *_) = curl(server, f"/any-file?path={tmp_path}/none")
    assert status == "500"
    _, (status, *_) = curl(server, "/")
    assert status == "200"


@pytest.mark.skipif(not LINUX, reason="measures memory and descriptors")
def test_clients_that_leave(start, library, dial, large, ours):
    library("starlette")
    server = start("starlette_app:app")
    dial(server).request("GET", f"/any-file?path={large}")
    before = len(os.listdir(f"/proc/{server.pid}/fd"))
    for _ in range(20):
        wire = dial(server, rcvbuf=65536)
        wire.send(encode("GET", f"/any-file?path={large}"))
        assert wire.head().status == 200
        wire.close()
    wait_for(lambda: len(os.listdir(f"/proc/{server.pid}/fd")) <= before, what="all descriptors are closed")


@pytest.mark.skipif(not LINUX or PYPY, reason="measures memory")
@pytest.mark.parametrize("options", [(), ("--loop", "asyncio")], ids=["auto", "asyncio"])
def test_1_gib(start, library, program, tmp_path, ours, options):
    """Memory stays flat, and the bytes cost next to no time of ours."""
    library("starlette")
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.truncate(GIB)
    server = start("starlette_app:app", *options)
    curl = [program("curl"), "-sS", "-o", "/dev/null", "-w", "%{size_download}", "--max-time", "60"]
    subprocess.run([*curl, f"{server.url}/file"], check=True, capture_output=True)
    memory, user = server.memory(), user_time(server.pid)
    done = subprocess.run([*curl, f"{server.url}/any-file?path={sparse}"], check=True, capture_output=True)
    assert done.stdout == str(GIB).encode()
    assert server.memory() - memory < 4 * MIB
    assert user_time(server.pid) - user < 1.0


def user_time(pid):
    """Seconds that a process has spent outside of the kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) / os.sysconf("SC_CLK_TCK")
