"""Every request below has the same outcome as on uvicorn: status, phrase, headers, body; FastAPI, Starlette, Django.

Left out of the comparison are `date` and `server`. Where asgiserve differs on purpose, the case says so in `differs`.
"""

from __future__ import annotations

import json

import pytest

from .launcher import wait_for
from .wire import Truncated, chunked, encode

JSON = ("Content-Type", "application/json")
FORM = ("Content-Type", "application/x-www-form-urlencoded")
MULTIPART = ("Content-Type", "multipart/form-data; boundary=XX")
CHUNKED = ("Transfer-Encoding", "chunked")
LARGE = bytes(range(256)) * 4096
ITEM = json.dumps({"name": "tea", "price": 2.5, "tags": ["hot", "caf\u00e9"]}).encode()


def multipart(field: str, content: bytes) -> bytes:
    return (
        b'--XX\r\nContent-Disposition: form-data; name="title"\r\n\r\na title\r\n'
        b'--XX\r\nContent-Disposition: form-data; name="' + field.encode() + b'"; filename="a.bin"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n--XX--\r\n"
    )


class Case:
    """One request. `differs` names a function that turns uvicorn's outcome into the one we want instead."""

    def __init__(self, target, method="GET", body=None, headers=(), version="1.1", name=None, wire=None, differs=None):
        self.method, self.target, self.differs = method, target, differs
        self.bytes = wire if wire is not None else encode(method, target, body, list(headers), version)
        extra = "+".join(value.split(";")[0].split("/")[-1] for _, value in headers)
        self.name = name or " ".join(filter(None, [method, target, extra, version if version != "1.1" else ""]))


def known_length(outcome: dict) -> dict:
    """A body that comes whole has a Content-Length, where uvicorn sends it chunked."""
    headers = [item for item in outcome["headers"] if item != ("transfer-encoding", "chunked")]
    assert len(headers) < len(outcome["headers"])
    return {**outcome, "headers": sorted([*headers, ("content-length", str(len(outcome["body"])))])}


def no_length_in_204(outcome: dict) -> dict:
    """A 204 response must not have a Content-Length (RFC 9110 section 8.6); uvicorn passes on the app's."""
    return {**outcome, "headers": [item for item in outcome["headers"] if item[0] != "content-length"]}


def raw_path_as_it_came(outcome: dict) -> dict:
    """`raw_path` is what the client sent; uvicorn puts the root path before it."""
    body = outcome["body"].replace(b'"raw_path":"/api/', b'"raw_path":"/')
    length = ("content-length", str(len(body)))
    headers = [length if name == "content-length" else (name, value) for name, value in outcome["headers"]]
    return {**outcome, "headers": headers, "body": body}


def file_left_alone(outcome: dict) -> dict:
    """Starlette leaves the sending of files to the server, and its GZipMiddleware does not touch what it never sees."""
    headers = [item for item in outcome["headers"] if item != ("vary", "Accept-Encoding")]
    assert len(headers) < len(outcome["headers"])
    return {**outcome, "headers": headers}


FASTAPI = [
    Case("/"),
    Case("/", "HEAD"),
    Case("/", "OPTIONS"),
    Case("/", version="1.0"),
    Case("/", headers=[("Connection", "close")]),
    Case("/", headers=[("Connection", "keep-alive")]),
    Case("/sync"),
    Case("/items/3"),
    Case("/items/3?q=a%20b&q=c"),
    Case("/items/three"),
    Case("/items", "POST", ITEM, [JSON]),
    Case("/items", "POST", b"{not json", [JSON], name="JSON that is none"),
    Case("/items", "POST", b'{"name": "only"}', [JSON], name="JSON with a field missing"),
    Case("/items", "POST", b"", [JSON], name="JSON that is empty"),
    Case(
        "/items", "POST", headers=[JSON, CHUNKED], wire=encode("POST", "/items", None, [JSON, CHUNKED]) + chunked(ITEM)
    ),
    Case("/items/4", "PUT", ITEM, [JSON]),
    Case("/items/4", "PATCH", b"some text"),
    Case("/items/4", "DELETE"),
    Case("/items/4", "POST", b"x"),
    Case("/form", "POST", b"name=A+B&age=42", [FORM]),
    Case("/form", "POST", b"name=A+B&age=old", [FORM], name="form with a wrong value"),
    Case("/upload", "POST", multipart("files", b"content"), [MULTIPART]),
    Case("/upload", "POST", multipart("files", LARGE), [MULTIPART], name="POST /upload 1 MiB"),
    Case("/upload", "POST", multipart("files", LARGE)[:-20], [MULTIPART], name="POST /upload incomplete multipart"),
    Case("/digest", "POST", LARGE, name="POST /digest 1 MiB"),
    Case(
        "/digest",
        "POST",
        name="chunked 1 MiB",
        wire=encode("POST", "/digest", None, [CHUNKED]) + chunked(*[LARGE[:4096]] * 256),
    ),
    Case("/digest", "POST", name="POST without a body", wire=encode("POST", "/digest")),
    Case("/unread", "POST", b"not read by the route"),
    Case("/stream"),
    Case("/stream?n=0", differs=known_length),
    Case("/stream?n=100"),
    Case("/stream-sync"),
    Case("/large"),
    Case("/large", "HEAD"),
    Case("/teapot"),
    Case("/forbidden"),
    Case("/error"),
    Case("/stream-error"),
    Case("/cookies"),
    Case(
        "/headers", headers=[("X-One", "1"), ("x-one", "2"), ("Accept", "*/*"), ("Cookie", "a=1; b=2"), ("X-Empty", "")]
    ),
    Case("/headers", headers=[("X-Latin", "caf\u00e9"), ("X-Spaces", "  in  the middle")], name="field values"),
    Case("/where/caf%C3%A9/a%2Fb%20c/%E2%98%83?x=%00&y=%ff;z"),
    Case("/where/%ff%fe", name="path that is not UTF-8"),
    Case("/where/+plus/~tilde/*star/a:b@c,d;e=f!$&'()"),
    Case("/where//double//slashes/../dots/./x"),
    Case("/where?"),
    Case("/where/?a=b"),
    Case("/where", headers=[("Host", "named.test:8080")], name="Host with a port"),
    Case("/where", headers=[("Host", "[::1]:8080")], name="Host with IPv6"),
    Case("/state"),
    Case("/redirect"),
    Case("/html"),
    Case("/not-modified"),
    Case("/empty"),
    Case("/answers-head", "HEAD"),
    Case("/depends"),
    Case("/sub/where"),
    Case("/sub/where/"),
    Case("/sub/items/7"),
    Case("/sub/items/x"),
    Case("/sub"),
    Case("/nothing"),
    Case("/docs"),
    Case("/openapi.json"),
]

ROOTED = [
    Case("/where", differs=raw_path_as_it_came),
    Case("/where/deep/path?x=1", differs=raw_path_as_it_came),
    Case("/sub/where", differs=raw_path_as_it_came),
    Case("/"),
    Case("/docs"),
    Case("/sub/docs"),
    Case("/sub/nothing"),
]

STARLETTE = [
    Case("/"),
    Case("/", "HEAD"),
    Case("/number"),
    Case("/zipped", headers=[("Accept-Encoding", "gzip")]),
    Case("/zipped", "HEAD", headers=[("Accept-Encoding", "gzip")]),
    Case("/zipped"),
    Case("/body", "POST", LARGE, name="POST /body 1 MiB"),
    Case("/form", "POST", b"a=1&b=two&a=3", [FORM]),
    Case("/form", "POST", multipart("file", b"x" * 100_000), [MULTIPART]),
    Case("/stream"),
    Case("/stream", headers=[("Accept-Encoding", "gzip")]),
    Case("/file", differs=file_left_alone),
    Case("/file", "HEAD"),
    Case("/file", headers=[("Range", "bytes=10-19")]),
    Case("/file", headers=[("Range", "bytes=999999-")]),
    Case("/static/raw_app.py", differs=file_left_alone),
    Case("/static/raw_app.py", headers=[("If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT")]),
    Case("/static/../conftest.py"),
    Case("/inner/where"),
    Case("/inner/where/a%20b"),
    Case("/inner/"),
    Case("/fail"),
    Case("/stream-fail"),
]

DJANGO = [
    Case("/"),
    Case("/", "HEAD"),
    Case("/", version="1.0"),
    Case("/sync?a=1&b=%C3%A9&a=2"),
    Case("/sync", "DELETE"),
    Case("/describe", headers=[("X-Thing", "1"), ("x-thing", "2"), ("X-Other", "caf\u00e9")]),
    Case("/describe/caf%C3%A9/a%2Fb?q=%20", headers=[("Host", "named.test:81")]),
    Case("/describe/%ff"),
    Case("/describe", headers=[("Host", "bad_host!")], name="Host that Django refuses", differs=known_length),
    Case("/post", "POST", b"a=1&b=two+words&c=%C3%A9", [FORM]),
    Case("/post", "POST", b"z" * 3_000_000, [("Content-Type", "text/plain")], name="POST 3 MB"),
    Case("/post", "POST", b"", [FORM], name="empty form"),
    Case(
        "/post",
        "POST",
        headers=[FORM, CHUNKED],
        wire=encode("POST", "/post", None, [FORM, CHUNKED]) + chunked(b"a=1", b"&b=2"),
    ),
    Case("/upload", "POST", multipart("file", b"small"), [MULTIPART]),
    Case("/upload", "POST", multipart("file", LARGE), [MULTIPART], name="POST /upload 1 MiB"),
    Case("/stream"),
    Case("/file"),
    Case("/file", "HEAD"),
    Case("/cookies"),
    Case("/redirect"),
    Case("/missing"),
    Case("/fail"),
    Case("/empty", differs=no_length_in_204),
    Case("/large"),
    Case("/nothing"),
]

SUITES = {
    "fastapi": ("fastapi_app:app", (), FASTAPI),
    "fastapi-root-path": ("fastapi_app:app", ("--root-path", "/api"), ROOTED),
    "starlette": ("starlette_app:app", (), STARLETTE),
    "django": ("django_app:app", (), DJANGO),
}
LIBRARIES = {
    "fastapi": ("fastapi", "python_multipart"),
    "starlette": ("starlette", "python_multipart"),
    "django": ("django",),
}

GZIP_MAGIC = b"\x1f\x8b\x08"


def outcome(server, case: Case, dial) -> dict:
    """What a client sees of `case`, as plain data."""
    with dial(server) as wire:
        wire.send(case.bytes)
        try:
            response = wire.response(case.method)
            cut = False
        except Truncated as exc:
            if exc.partial is None:
                return {"cut": True}
            response, cut = exc.partial, True
        headers = sorted(item for item in response.headers if item[0] not in ("date", "server"))
        body = response.body.replace(b":%d/" % server.port, b":PORT/")
        if body.startswith(GZIP_MAGIC):
            body = body[:4] + bytes(4) + body[8:]  # without the time at which it was compressed
        return {"status": response.status, "reason": response.reason, "headers": headers, "body": body, "cut": cut}


@pytest.fixture(scope="session")
def expected(fleet, library):
    """expected(suite, case): the outcome on uvicorn, asked once for both stacks."""
    known: dict = {}

    def get(suite: str, case: Case, dial) -> dict:
        library("uvicorn")
        key = (suite, case.name)
        if key not in known:
            app, options, _ = SUITES[suite]
            known[key] = outcome(fleet.get("uvicorn-auto", app, *options, tracebacks=True), case, dial)
        return known[key]

    return get


ALL = [pytest.param(suite, case, id=f"{suite}: {case.name}") for suite in SUITES for case in SUITES[suite][2]]


@pytest.mark.parametrize(("suite", "case"), ALL)
def test_same(serve, dial, expected, library, suite, case):
    for name in LIBRARIES[suite.partition("-")[0]]:
        library(name)
    wanted = expected(suite, case, dial)
    app, options, _ = SUITES[suite]
    server = serve(app, *options, tracebacks=True)
    if case.differs is not None and not server.is_uvicorn:
        wanted = case.differs(wanted)
    assert outcome(server, case, dial) == wanted


def test_case_names_are_unique():
    for _, _, cases in SUITES.values():
        names = [case.name for case in cases]
        assert len(names) == len(set(names))


def test_background_tasks_and_keep_alive(serve, dial, library):
    """The answer is complete before the tasks end, and the same connection serves on."""
    library("fastapi")
    library("python_multipart")
    wire = dial(serve("fastapi_app:app", tracebacks=True))
    assert wire.request("GET", "/background?key=same").text == '{"queued":"same"}'
    done = '["task:same","thread:same"]'
    wait_for(lambda: wire.request("GET", "/notes?key=same").text == done, what="both tasks ran")


def test_absolute_form_differs(serve, dial, library, ours):
    """The authority of the target wins over Host (RFC 9112 section 3.2.2). On uvicorn it depends on the parser."""
    library("fastapi")
    library("python_multipart")
    wire = dial(serve("fastapi_app:app", tracebacks=True))
    seen = wire.request("GET", "http://other.test:81/where/a?absolute").text
    assert '"url":"http://other.test:81/where/a?absolute"' in seen
    assert '"path":"/where/a"' in seen
