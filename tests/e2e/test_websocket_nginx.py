"""WebSockets through nginx, over TCP and UNIX sockets, with the directives that its documentation gives for them."""

from __future__ import annotations

import pytest
from wsproto.frame_protocol import Opcode

from .launcher import Process, free_port, wait_for
from .websocket_client import Peer, closing, wait_ended

CONFIG = """
daemon off;
master_process off;
pid {dir}/pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass {upstream};
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }}
    }}
}}
"""


@pytest.fixture(params=["tcp", "unix"])
def upstream(request, serve):
    return serve("websocket_app:app", uds=request.param == "unix")


@pytest.fixture
def nginx(upstream, program, workdirs):
    directory, port = workdirs(), free_port()
    address = upstream.address
    where = f"http://unix:{address}" if isinstance(address, str) else upstream.url
    config = directory / "nginx.conf"
    config.write_text(CONFIG.format(dir=directory, port=port, upstream=where))
    argv = [program("nginx"), "-p", directory, "-c", config, "-e", "stderr"]
    process = Process(argv, ("127.0.0.1", port), directory)
    try:
        process.wait_ready()
        yield process
    finally:
        process.kill()


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_echo(nginx, connect, compression):
    connection = connect(nginx, compression=compression)
    for message in ("text", b"bytes", "ü" * 100_000, bytes(range(256)) * 4096):
        connection.send(message)
        assert connection.recv() == message


def test_closed_by_the_client(nginx, connect, key):
    connection = connect(nginx, f"/echo?key={key}")
    connection.close(4005, "bye")
    assert wait_ended(nginx, key) == [4005, "bye"]


def test_closed_by_the_application(nginx, connect):
    connection = connect(nginx, "/close?code=4006&reason=enough")
    connection.send("please")
    assert closing(connection) == (4006, "enough")


def test_the_client_vanishes(nginx, dial, key, ours):
    with dial(nginx) as wire:
        peer = Peer(wire, f"/echo?key={key}")
        peer.send(peer.frames.send_data("text", fin=True))
        assert peer.next() == (Opcode.TEXT, "text")
    assert wait_ended(nginx, key)[0] == 1006


def test_refused(nginx, refused):
    response = refused(nginx, "/deny")
    assert (response.status_code, response.body) == (401, b"not you")


def test_the_server_ends(start, program, workdirs, dial, connect, ours):
    """What was said last reaches the client through the proxy."""
    upstream = start("websocket_app:app")
    directory, port = workdirs(), free_port()
    config = directory / "nginx.conf"
    config.write_text(CONFIG.format(dir=directory, port=port, upstream=upstream.url))
    process = Process([program("nginx"), "-p", directory, "-c", config, "-e", "stderr"], ("127.0.0.1", port), directory)
    try:
        process.wait_ready()
        connections = [connect(process) for _ in range(5)]
        for connection in connections:
            connection.send("text")
            assert connection.recv() == "text"
        upstream.stop()
        assert [closing(connection)[0] for connection in connections] == [1012] * 5
        wait_for(lambda: not upstream.accepts(), what="the server is gone")
    finally:
        process.kill()
