"""curl as the client."""

from __future__ import annotations

import subprocess

import pytest

PAYLOAD = bytes(range(256)) * 4096  # 1 MiB


def test_connection_is_reused(raw, curl):
    url = raw.url + "/hello"
    out = curl("--write-out", "|%{num_connects}\n", url, url, url)
    assert out.splitlines() == [b"Hello, world!|1", b"Hello, world!|0", b"Hello, world!|0"]


def test_head(raw, curl):
    head = curl("--head", raw.url + "/hello").decode().lower()
    assert head.startswith("http/1.1 200 ok\r\n")
    assert "\r\ncontent-length: 13\r\n" in head
    assert head.endswith("\r\n\r\n")


def test_post(raw, curl):
    assert curl("--data-binary", "@-", raw.url + "/echo", stdin=PAYLOAD) == PAYLOAD


def test_chunked_upload(raw, curl):
    out = curl("--upload-file", "-", "--request", "POST", raw.url + "/echo", stdin=PAYLOAD)
    assert out == PAYLOAD


def test_chunked_upload_of_nothing(raw, curl):
    assert curl("--upload-file", "-", "--request", "POST", raw.url + "/echo", stdin=b"") == b""


def test_expect_continue(raw, curl):
    """curl waits longer for the 100 than it may take in all, so the answer proves that the 100 came."""
    out = curl(
        "--expect100-timeout", "60", "--header", "Expect: 100-continue", "--include",
        "--data-binary", "@-", raw.url + "/echo", stdin=b"expected",
    )  # fmt: skip
    assert out.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")
    assert out.endswith(b"\r\n\r\nexpected")


def test_http_1_0(raw, curl):
    assert curl("--http1.0", raw.url + "/hello") == b"Hello, world!"
    assert curl("--http1.0", raw.url + "/stream?n=3&size=2") == b"001122"


def test_form_upload(serve, curl, library, tmp_path):
    library("python_multipart")
    library("fastapi")
    path = tmp_path / "upload.bin"
    path.write_bytes(PAYLOAD)
    server = serve("fastapi_app:app", tracebacks=True)
    out = curl("--form", "title=from curl", "--form", f"files=@{path};filename=a.bin", server.url + "/upload")
    assert b'"title":"from curl"' in out
    assert b'["a.bin","application/octet-stream",1048576,' in out


def test_download_range_of_a_large_stream_is_cut_by_the_client(raw, curl):
    """curl leaves in the middle of an endless stream: its --max-time passes (exit 28)."""
    out = curl("--max-time", "0.3", raw.url + "/until-disconnect?key=curl", code=28)
    assert out.startswith(b"tick\n")


def test_unix_socket(serve, curl):
    server = serve("raw_app:app", uds=True)
    out = curl("--unix-socket", server.address, "--data-binary", "@-", "http://host/echo", stdin=PAYLOAD)
    assert out == PAYLOAD


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
def test_refused_upgrade_with_a_body(raw, curl, ours, protocol):
    """The request is served as HTTP/1.1, its body read, and the connection stays in step."""
    upgrade = ["--header", f"Upgrade: {protocol}", "--header", "Connection: Upgrade"]
    arguments = [*upgrade, "--data-binary", "upgraded?", raw.url + "/echo"]
    out = curl("--write-out", "|%{num_connects}\n", *arguments, raw.url + "/echo")
    assert out.splitlines() == [b"upgraded?|1", b"upgraded?|0"]


def test_http_2_upgrade_is_ignored(raw, curl):
    assert curl("--http2", raw.url + "/hello") == b"Hello, world!"


def test_parallel(raw, curl):
    out = curl("--parallel", "--parallel-max", "50", raw.url + "/scope?n=[1-100]")
    assert out.count(b'"type": "http"') == 100


def test_ignored_upload(raw, curl):
    """The app answers without reading 8 MiB; curl is told the answer, not a reset."""
    out = curl("--data-binary", "@-", raw.url + "/ignore-body", stdin=PAYLOAD * 8)
    assert out == b"not read"


def test_netcat_pipelining(raw, program):
    """Requests through nc, which sends them at once and then closes its side."""
    one = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    argv = [program("nc"), "127.0.0.1", str(raw.port)]
    out = subprocess.run(argv, input=one * 9 + last, stdout=subprocess.PIPE, timeout=20).stdout
    assert out.count(b"HTTP/1.1 200 OK\r\n") == 10
    assert out.count(b"\r\n\r\nHello, world!") == 10
