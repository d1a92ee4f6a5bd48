"""nginx in front, over TCP and UNIX sockets: what a client gets through it is what asgiserve said."""

from __future__ import annotations

import hashlib
import itertools

import pytest

from .launcher import Process, free_port, wait_for
from .wire import chunked, encode

BLOCK = bytes(range(256)) * 256

CONFIG = """
daemon off;
master_process off;
pid {dir}/pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_max_body_size 0;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    upstream app {{ server {upstream}; keepalive 8; }}
    server {{
        listen 127.0.0.1:{port};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $http_host;
        location / {{ proxy_pass http://app; }}
        location /unbuffered/ {{
            proxy_pass http://app/;
            proxy_buffering off;
            proxy_request_buffering off;
        }}
        location /old/ {{
            proxy_pass http://app/;
            proxy_http_version 1.0;
            proxy_set_header Connection close;
        }}
    }}
}}
"""


@pytest.fixture(params=["tcp", "unix"])
def upstream(request, serve):
    return serve("raw_app:app", uds=request.param == "unix")


@pytest.fixture(scope="session")
def proxies(program, workdirs):
    """proxies(upstream): an nginx in front of that server, shared."""
    running: dict = {}

    def get(upstream) -> Process:
        if upstream.pid not in running:
            directory, port = workdirs(), free_port()
            address = upstream.address
            where = f"unix:{address}" if isinstance(address, str) else f"127.0.0.1:{address[1]}"
            config = directory / "nginx.conf"
            config.write_text(CONFIG.format(dir=directory, port=port, upstream=where))
            argv = [program("nginx"), "-p", directory, "-c", config, "-e", "stderr"]
            running[upstream.pid] = nginx = Process(argv, ("127.0.0.1", port), directory)
            nginx.wait_ready()
        return running[upstream.pid]

    try:
        yield get
    finally:
        for nginx in running.values():
            nginx.kill()


@pytest.fixture
def nginx(proxies, upstream):
    proxy = proxies(upstream)
    yield proxy
    errors = [
        line for line in proxy.stderr().splitlines() if "[error]" in line or "[crit]" in line or "[alert]" in line
    ]
    assert not errors, errors


def test_get(nginx, dial):
    wire = dial(nginx)
    for _ in range(20):
        response = wire.request("GET", "/hello")
        assert (response.status, response.body) == (200, b"Hello, world!")


def test_head_and_no_content(nginx, dial):
    wire = dial(nginx)
    for method, target, status in [
        ("HEAD", "/hello", 200),
        ("GET", "/status?code=204", 204),
        ("GET", "/status?code=304", 304),
    ] * 3:
        assert wire.request(method, target).status == status
        assert wire.request("GET", "/hello").body == b"Hello, world!"


def test_upstream_connection_is_kept(nginx, dial, upstream, ours):
    """nginx keeps its connection to us: all requests come from the same client port."""
    if isinstance(upstream.address, str):
        pytest.skip("clients of a UNIX socket have no address")
    wire = dial(nginx)
    ports = {wire.request("GET", "/scope").text.partition('"client": [')[2].partition("]")[0] for _ in range(10)}
    assert len(ports) == 1
    assert ports != {""}


def test_post(nginx, dial):
    wire = dial(nginx)
    for size in (0, 1, 1000, 100_000):
        assert wire.request("POST", "/echo", b"x" * size).body == b"x" * size


@pytest.mark.parametrize("prefix", ["", "/unbuffered", "/old"])
def test_large_upload(nginx, dial, prefix):
    body = BLOCK * 128  # 8 MiB
    digest = hashlib.md5(body).hexdigest()
    assert f'"md5": "{digest}"' in dial(nginx).request("POST", prefix + "/count?digest", body).text


def test_chunked_upload(nginx, dial):
    wire = dial(nginx)
    for prefix in ("", "/unbuffered"):
        head = encode("POST", prefix + "/count?digest", None, [("Transfer-Encoding", "chunked")])
        wire.send(head + chunked(*[BLOCK] * 32))
        assert hashlib.md5(BLOCK * 32).hexdigest() in wire.response().text


@pytest.mark.parametrize("prefix", ["", "/unbuffered", "/old"])
@pytest.mark.parametrize("framing", ["", "&length"])
def test_stream(nginx, dial, prefix, framing):
    wire = dial(nginx)
    response = wire.request("GET", f"{prefix}/stream?n=2000&size=1000{framing}")
    assert response.body == b"".join((b"%d" % (n % 10)) * 1000 for n in range(2000))


def test_unbuffered_both_ways(nginx, dial):
    """With buffering off, each piece comes back through the proxy while the request still goes on."""
    wire = dial(nginx)
    wire.send(encode("POST", "/unbuffered/echo-stream", None, [("Transfer-Encoding", "chunked")]))
    wire.send(b"5\r\nfirst\r\n")
    assert wire.head().status == 200
    assert wire.chunk() == b"first"
    wire.send(b"6\r\nsecond\r\n0\r\n\r\n")
    assert wire.chunk() == b"second"
    assert wire.chunk() == b""


_keys = itertools.count()


def test_client_leaves_the_proxy(nginx, dial, upstream, ours):
    """nginx drops its upstream connection when its client leaves; the app notices."""
    key = f"nginx-{next(_keys)}"
    with dial(nginx) as wire:
        wire.send(encode("GET", "/unbuffered/until-disconnect?key=" + key))
        assert wire.head().status == 200

    def gone():
        with dial(upstream) as probe:
            return f'"left:{key}"' in probe.request("GET", "/progress").text

    wait_for(gone, what="the app sees the client leave")
