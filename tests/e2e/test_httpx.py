"""httpx as the client: pools, streams up and down, many requests at once; and the frameworks' long-lived streams."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from .launcher import PYPY, wait_for
from .wire import encode

BLOCK = bytes(range(256)) * 256


@pytest.fixture
def client(library):
    """client(server, **options): an httpx.Client, closed at the end."""
    httpx = library("httpx")
    clients = []

    def make(server, **options):
        clients.append(httpx.Client(base_url=server.url, timeout=20, trust_env=False, **options))
        return clients[-1]

    yield make
    for item in clients:
        item.close()


@pytest.fixture
def fast(serve, library):
    library("fastapi")
    library("python_multipart")
    return serve("fastapi_app:app", tracebacks=True)


def test_stream_down(raw, client):
    with client(raw).stream("GET", "/stream?n=1000&size=1000") as response:
        assert response.status_code == 200
        assert sum(len(piece) for piece in response.iter_bytes()) == 1_000_000


def test_stream_up(raw, client):
    digest = hashlib.md5(BLOCK * 64).hexdigest()
    response = client(raw).post("/count?digest", content=(BLOCK for _ in range(64)))
    assert response.json() == {"size": 64 * len(BLOCK), "md5": digest}


def test_large_echo(raw, client):
    body = BLOCK * 128
    assert client(raw).post("/echo", content=body).content == body


def test_many_requests_at_once(raw, library):
    httpx = library("httpx")

    async def one(client, number):
        body = b"%d" % number * 100
        response = await client.post("/echo", content=body)
        return response.status_code == 200 and response.content == body

    async def main():
        limits = httpx.Limits(max_connections=50)
        async with httpx.AsyncClient(base_url=raw.url, timeout=20, limits=limits, trust_env=False) as client:
            return await asyncio.gather(*(one(client, number) for number in range(200)))

    assert all(asyncio.run(main()))


def test_async_stream_up_and_down(raw, library):
    httpx = library("httpx")

    async def pieces():
        for _ in range(16):
            yield BLOCK
            await asyncio.sleep(0)

    async def main():
        client = httpx.AsyncClient(base_url=raw.url, timeout=20, trust_env=False)
        async with client, client.stream("POST", "/echo-stream", content=pieces()) as response:
            return b"".join([piece async for piece in response.aiter_bytes()])

    assert asyncio.run(main()) == BLOCK * 16


def test_unix_socket(serve, library):
    httpx = library("httpx")
    server = serve("raw_app:app", uds=True)
    transport = httpx.HTTPTransport(uds=server.address)
    with httpx.Client(transport=transport, timeout=20, trust_env=False) as client:
        assert client.get("http://host/hello").text == "Hello, world!"


def test_multipart_upload(fast, client):
    files = [("files", ("one.txt", b"first", "text/plain")), ("files", ("two.bin", BLOCK * 40, "application/x-two"))]
    response = client(fast).post("/upload", data={"title": "caf\u00e9"}, files=files)
    described = [
        ["one.txt", "text/plain", 5, hashlib.md5(b"first").hexdigest()],
        ["two.bin", "application/x-two", 40 * len(BLOCK), hashlib.md5(BLOCK * 40).hexdigest()],
    ]
    assert response.json() == {"title": "caf\u00e9", "files": described}


def test_background_tasks_run_after_the_answer(fast, client, stack):
    http = client(fast)
    key = "httpx-" + stack.name
    assert http.get("/background", params={"key": key}).json() == {"queued": key}
    done = ["task:" + key, "thread:" + key]
    wait_for(lambda: http.get("/notes", params={"key": key}).json() == done, what="both tasks ran")


def test_stream_stops_when_the_client_leaves(fast, client, stack):
    http = client(fast)
    key = "endless-" + stack.name
    before = fast.stderr()
    with http.stream("GET", "/endless", params={"key": key}) as response:
        assert next(response.iter_text()).startswith("tick\n")
    wait_for(lambda: http.get("/notes", params={"key": key}).json() == ["stopped:" + key], what="the stream stops")
    if not fast.is_uvicorn:
        assert fast.stderr() == before


def test_is_disconnected(fast, client, dial, stack):
    http = client(fast)
    key = "polled-" + stack.name
    before = fast.stderr()
    with dial(fast) as wire:
        wire.send(encode("GET", "/until-disconnected?key=" + key))
        wait_for(lambda: http.get("/notes", params={"key": key}).json() == ["waiting:" + key], what="the route runs")
    noted = ["waiting:" + key, "disconnected:" + key]
    wait_for(lambda: http.get("/notes", params={"key": key}).json() == noted, what="the route sees it")
    if not fast.is_uvicorn:
        assert fast.stderr() == before


def test_lifespan_state(fast, client):
    http = client(fast)
    assert http.get("/state").json() == {"opened": "a database, say", "keys": ["opened", "served"]}


def test_root_path_and_sub_application(serve, client, library):
    library("fastapi")
    server = serve("fastapi_app:app", "--root-path", "/api", tracebacks=True)
    http = client(server)
    where = http.get("/where").json()
    assert (where["root_path"], where["path"]) == ("/api", "/api/where")
    where = http.get("/sub/where").json()
    assert (where["root_path"], where["path"], where["url"]) == (
        "/api/sub",
        "/api/sub/where",
        server.url + "/api/sub/where",
    )


@pytest.mark.skipif(PYPY, reason="Django leaves the end of its generator to the garbage collector, under uvicorn too")
def test_django_stream_is_cancelled_when_the_client_leaves(serve, client, library, stack):
    library("django")
    http = client(serve("django_app:app", tracebacks=True))
    key = "django-" + stack.name
    with http.stream("GET", "/until-cancelled", params={"key": key}) as response:
        assert next(response.iter_text()).startswith("tick\n")
    wait_for(lambda: "cancelled:" + key in http.get("/notes").json()["notes"], what="the stream is cancelled")


def test_django_upload(serve, client, library):
    library("django")
    http = client(serve("django_app:app", tracebacks=True))
    files = {"large": ("large.bin", BLOCK * 40), "small": ("small.txt", b"small")}
    seen = http.post("/upload", data={"title": "x"}, files=files).json()
    assert seen["post"] == {"title": "x"}
    assert seen["files"] == [
        ["large", "large.bin", 40 * len(BLOCK), hashlib.md5(BLOCK * 40).hexdigest(), "TemporaryUploadedFile"],
        ["small", "small.txt", 5, hashlib.md5(b"small").hexdigest(), "TemporaryUploadedFile"],
    ]
