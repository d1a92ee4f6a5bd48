"""What the core does with requests in which a proxy says whom they are from: whom it asks, and what the logs say."""

from __future__ import annotations

import pytest
from harness import GET, request, serve
from websocket_peer import Peer, handshake

from core.apps import hello

FOR = "X-Forwarded-For: 9.9.9.9"


class Forwarding:
    """Stands for ProxyHeaders: names the client after the last X-Forwarded-For."""

    def __init__(self):
        self.seen = []

    def __call__(self, scope):
        self.seen.append(scope["path"])
        values = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        if not values:
            return ""
        scope["client"] = (values[-1].decode(), 0)
        return f"{values[-1].decode()}:0"


class Proxied:
    """A connection whose access log and forwarding are recorded."""

    def __init__(self, stack, app=hello, **settings):
        self.log = []
        self.client = serve(stack, app, access_log=lambda *line: self.log.append(line), **settings)
        self.client.state.forwarding = self.forwarding = Forwarding()

    @property
    def names(self):
        return [line[0] for line in self.log]


@pytest.mark.parametrize("name", ["For", "Proto", "Host", "Port", "Prefix"])
def test_each_x_forwarded_header_counts(stack, name):
    proxied = Proxied(stack)
    proxied.client.feed(request("GET", "/x", f"x-FORWARDED-{name}: 1"))
    assert proxied.forwarding.seen == ["/x"]


def test_forwarded_counts(stack):
    proxied = Proxied(stack)
    proxied.client.feed(request("GET", "/x", "forwardeD:"))
    assert proxied.forwarding.seen == ["/x"]


@pytest.mark.parametrize(
    "field", ["X-Real-IP: 9.9.9.9", "X_Forwarded_For: 9.9.9.9", "X-Forwarded: for=9.9.9.9", "A: b"]
)
def test_other_requests_cost_nothing(stack, field):
    proxied = Proxied(stack)
    proxied.client.feed(request("GET", "/", field) + GET)
    assert proxied.forwarding.seen == []
    assert proxied.names == ["127.0.0.1:50000"] * 2


def test_a_head_that_comes_in_pieces(stack):
    proxied = Proxied(stack)
    proxied.client.feed_bytes(request("GET", "/", FOR))
    assert proxied.client.scopes[0]["client"] == ("9.9.9.9", 0)


def test_the_name_is_that_of_one_request(stack):
    proxied = Proxied(stack)
    proxied.client.feed(request("GET", "/1", FOR) + GET + request("GET", "/3", "X-Forwarded-For: 8.8.8.8") + GET)
    proxied.client.feed(request("GET", "/5", "Forwarded: x"))
    local = "127.0.0.1:50000"
    assert proxied.names == ["9.9.9.9:0", local, "8.8.8.8:0", local, local]
    assert [scope["client"] for scope in proxied.client.scopes] == [
        ("9.9.9.9", 0), ("127.0.0.1", 50000), ("8.8.8.8", 0), ("127.0.0.1", 50000), ("127.0.0.1", 50000),
    ]  # fmt: skip


def test_without_forwarding_the_headers_are_only_headers(stack):
    log = []
    client = serve(stack, hello, access_log=lambda *line: log.append(line))
    client.feed(request("GET", "/", FOR))
    assert client.scopes[0]["client"] == ("127.0.0.1", 50000)
    assert (b"x-forwarded-for", b"9.9.9.9") in client.scopes[0]["headers"]
    assert log[0][0] == "127.0.0.1:50000"


def test_the_error_log_names_the_client(stack, server_log):
    async def app(scope, receive, send):
        while (await receive())["type"] != "http.disconnect":
            pass

    proxied = Proxied(stack, app)
    proxied.client.feed(request("POST", "/", FOR, "Transfer-Encoding: chunked")).feed(b"zz\r\n")
    assert proxied.client.response().status == 400
    assert server_log.warnings == ["9.9.9.9:0 - 400 Bad Request: invalid chunk size"]


def test_a_refused_request_is_the_peers(stack, server_log):
    proxied = Proxied(stack, limit_concurrency=0)
    proxied.client.feed(request("GET", "/", FOR))
    assert proxied.client.response("GET").status == 503
    assert server_log.warnings[0].startswith("127.0.0.1:50000 - 503 ")


def test_a_websocket(stack):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await receive()

    proxied = Proxied(stack, app)
    client = proxied.client
    client.feed(handshake(FOR))
    assert client.scopes[0]["client"] == ("9.9.9.9", 0)
    assert [connection.name for connection in client.state.connections] == ["9.9.9.9:0"]
    other = Peer(client.connect())
    assert other.status == 101
    assert client.scopes[1]["client"] == ("127.0.0.1", 50000)
