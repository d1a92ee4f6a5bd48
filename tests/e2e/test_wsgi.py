"""Flask and Django over WSGI. Everything here but what takes `ours` holds on uvicorn with a2wsgi as well."""

from __future__ import annotations

import hashlib
import json
import threading

import pytest

from .launcher import LINUX, PYPY, wait_for
from .wire import Truncated, chunked, encode

MIB = 1024 * 1024
FORM = ("Content-Type", "application/x-www-form-urlencoded")
MULTIPART = ("Content-Type", "multipart/form-data; boundary=XX")
CHUNKED = ("Transfer-Encoding", "chunked")


def multipart(content):
    return (
        b'--XX\r\nContent-Disposition: form-data; name="title"\r\n\r\na title\r\n'
        b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n--XX--\r\n"
    )


@pytest.fixture
def flask(serve, library):
    library("flask")
    library("a2wsgi")
    return serve("flask_app:app", "--interface", "wsgi")


@pytest.fixture
def django(serve, library):
    library("django")
    library("a2wsgi")
    return serve("django_wsgi_app:app", "--interface", "wsgi", tracebacks=True)


def test_flask_requests(flask, dial):
    wire = dial(flask)
    assert wire.request("GET", "/").text == "Hello, Flask caf\u00e9"
    found = json.loads(wire.request("GET", "/describe/a%2Fb/c?x=1&x=2", headers=[("X-One", "1")]).body)
    assert (found["path"], found["rest"], found["args"]) == ("/describe/a/b/c", "a/b/c", {"x": ["1", "2"]})
    assert (found["one"], found["remote"], found["thread"]) == ("1", "127.0.0.1", "WSGI")
    head = wire.request("HEAD", "/")
    assert (head.status, head.body, head.header("content-length")) == (200, b"", "18")
    assert wire.request("GET", "/empty").status == 204
    assert wire.request("GET", "/redirect").header("location") == "/"
    assert wire.request("GET", "/forbidden").status == 403
    assert wire.request("GET", "/nowhere").status == 404
    cookies = [value for name, value in wire.request("GET", "/cookies").headers if name == "set-cookie"]
    assert cookies == ["a=1; Path=/", 'b="two words"; HttpOnly; Path=/']


def test_flask_bodies(flask, dial):
    wire = dial(flask)
    found = json.loads(wire.request("POST", "/form", b"name=A+B&age=42", headers=[FORM]).body)
    assert found == {"fields": {"name": "A B", "age": "42"}, "files": {}}
    found = json.loads(wire.request("POST", "/form", multipart(b"x" * MIB), headers=[MULTIPART]).body)
    assert found == {"fields": {"title": "a title"}, "files": {"file": ["a.bin", MIB]}}
    sent = json.dumps({"a": [1, "caf\u00e9"]}).encode()
    found = json.loads(wire.request("POST", "/json", sent, headers=[("Content-Type", "application/json")]).body)
    assert found == {"got": {"a": [1, "caf\u00e9"]}}


def test_flask_streams(flask, dial):
    wire = dial(flask)
    response = wire.request("GET", "/stream?n=200")
    assert response.text == "".join(f"{number}," for number in range(200))
    assert response.header("transfer-encoding") == "chunked"
    source = wire.request("GET", "/file")
    assert b"def stream_fail()" in source.body
    assert source.header("content-length") == str(len(source.body))
    part = wire.request("GET", "/file", headers=[("Range", "bytes=10-19")])
    assert (part.status, part.body) == (206, source.body[10:20])


def test_flask_failures(serve, library, dial):
    library("flask")
    wire = dial(serve("flask_app:app", "--interface", "wsgi", tracebacks=True))
    assert wire.request("GET", "/fail").status == 500
    assert wire.request("GET", "/").status == 200


def test_flask_stream_that_fails(serve, library, dial):
    library("flask")
    wire = dial(serve("flask_app:app", "--interface", "wsgi", tracebacks=True))
    with pytest.raises(Truncated):
        wire.request("GET", "/stream-fail")


def test_a_chunked_body_without_a_length(flask, dial, ours):
    """Werkzeug reads it only when the server says that its input ends by itself."""
    wire = dial(flask)
    wire.send(encode("POST", "/form", None, [CHUNKED, FORM]) + chunked(b"name=", b"A+B"))
    assert json.loads(wire.response().body)["fields"] == {"name": "A B"}


def test_streams_both_ways(flask, dial, ours):
    wire = dial(flask)
    wire.send(encode("POST", "/echo", None, [CHUNKED]))
    wire.send(b"6\r\nfirst\n\r\n")
    response = wire.head()
    assert wire.chunk() == b"FIRST\n"
    for piece in (b"second\n", b"third\n"):
        wire.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        assert wire.chunk() == piece.upper()
    wire.send(b"0\r\n\r\n")
    assert wire.chunk(response) == b""


def test_forged_underscores(flask, dial, ours):
    wire = dial(flask)
    assert json.loads(wire.request("GET", "/describe", headers=[("X_One", "forged")]).body)["one"] is None


def test_clients_that_leave(flask, dial, ours):
    """More than there are threads, each in the middle of a response without end; the next ones are served."""
    key = "leave"
    for _ in range(25):
        wire = dial(flask)
        wire.send(encode("GET", "/endless?key=" + key))
        wire.head()
        assert len(wire.chunk()) == 65536
        wire.close()
    wire = dial(flask)
    wait_for(lambda: json.loads(wire.request("GET", "/closed?key=" + key).body) == 25, what="all are closed")


@pytest.mark.skipif(not LINUX or PYPY, reason="measures memory")
def test_memory_stays_flat(start, library, dial, ours):
    """A large upload read piece by piece, and a client that never reads a response without end."""
    library("flask")
    server = start("flask_app:app", "--interface", "wsgi")
    wire = dial(server)
    wire.request("POST", "/digest", b"x" * MIB)
    before = server.memory()
    slow = dial(server, rcvbuf=65536)
    slow.send(encode("GET", "/endless?key=slow"))
    block, count, found = bytes(range(256)) * 4096, 256, hashlib.md5()
    wire.send(encode("POST", "/digest", None, [("Content-Length", str(count * MIB))]))
    for _ in range(count):
        found.update(block)
        wire.sock.sendall(block)
    assert json.loads(wire.response().body) == {"size": count * MIB, "md5": found.hexdigest()}
    assert server.memory() - before < 24 * MIB


def test_requests_run_at_the_same_time(flask, dial, ours):
    """One that waits for its body holds no other up."""
    held = [dial(flask) for _ in range(5)]
    for wire in held:
        wire.send(encode("POST", "/echo", None, [CHUNKED]) + b"2\r\nx\n\r\n")
        wire.head()
    assert dial(flask).request("GET", "/").status == 200
    for wire in held:
        wire.send(b"0\r\n\r\n")


def test_root_path(serve, library, dial, ours):
    library("flask")
    library("a2wsgi")
    wire = dial(serve("flask_app:app", "--root-path", "/api"))
    found = json.loads(wire.request("GET", "/describe/x", headers=[("Host", "t.test")]).body)
    assert (found["path"], found["root"], found["url"]) == ("/describe/x", "/api", "http://t.test/api/describe/x")


def test_unix_socket(serve, library, dial, ours):
    library("flask")
    library("a2wsgi")
    wire = dial(serve("flask_app:app", uds=True))
    assert json.loads(wire.request("GET", "/describe").body)["remote"] in (None, "")


def test_auto_finds_wsgi(serve, library, dial, ours):
    library("flask")
    library("a2wsgi")
    server = serve("flask_app:app")
    assert dial(server).request("GET", "/").status == 200
    # An upgrade is ignored: it is Flask that refuses it.
    upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
    upgrade.append(("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="))
    answer = dial(server).request("GET", "/", headers=upgrade)
    assert (answer.status, answer.header("content-type")) == (400, "text/html; charset=utf-8")


def test_stop_with_a_thread_that_never_ends(start, library, dial, ours):
    library("flask")
    server = start("flask_app:app", "--interface", "wsgi", "--timeout-graceful-shutdown", "0.5")
    wire = dial(server)
    wire.send(encode("GET", "/endless?key=stop"))
    wire.head()
    threading.Thread(target=wire.sock.recv, args=(1,)).start()
    server.stop()


def test_django(django, dial):
    wire = dial(django)
    assert wire.request("GET", "/").text == "Hello, Django caf\u00e9"
    found = json.loads(wire.request("GET", "/describe/x/y?q=1", headers=[("X-One", "1")]).body)
    assert (found["info"], found["query"], found["meta"]) == ("/describe/x/y", "q=1", {"HTTP_X_ONE": "1"})
    assert json.loads(wire.request("POST", "/post", b"name=A+B", headers=[FORM]).body)["post"] == {"name": "A B"}
    large = bytes(range(256)) * 4096
    found = json.loads(wire.request("POST", "/upload", multipart(large), headers=[MULTIPART]).body)
    assert found["files"] == [["file", "a.bin", len(large), hashlib.md5(large).hexdigest(), "TemporaryUploadedFile"]]
    source = wire.request("GET", "/file")
    assert b"urlpatterns = [" in source.body
    assert source.header("content-length") == str(len(source.body))
    assert wire.request("GET", "/large").body == large
    assert wire.request("GET", "/empty").status == 204
    assert wire.request("GET", "/missing").status == 404
    assert wire.request("GET", "/fail").status == 500
    assert wire.request("GET", "/sync").status == 200


def test_env_file(start, library, dial, tmp_path):
    library("flask")
    library("dotenv")
    path = tmp_path / "settings.env"
    path.write_text("E2E_GREETING='hello there'\n")
    wire = dial(start("flask_app:app", "--interface", "wsgi", "--env-file", str(path)))
    assert wire.request("GET", "/greeting").text == "hello there"
