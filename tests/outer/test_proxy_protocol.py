"""The PROXY protocol: its two formats, and connections that begin with one."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest
from fakes import FakeTransport
from harness import serve
from hypothesis import given
from hypothesis import strategies as st

from asgiserve.config import Config
from asgiserve.proxy_protocol import Header, HeaderError, ProxiedTransport, ProxyProtocol, parse_header
from asgiserve.trust import TrustedPeers

from .serving import Client, loop_names, run, serving, until

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
INET, INET6, UNIX = 0x11, 0x21, 0x31


def v2(family=INET, addresses=b"", command=1, version=2, size=None):
    size = len(addresses) if size is None else size
    return SIGNATURE + bytes([version << 4 | command, family]) + struct.pack("!H", size) + addresses


def inet(source="9.9.9.9", destination="8.8.8.8", ports=(1234, 80)):
    return socket.inet_aton(source) + socket.inet_aton(destination) + struct.pack("!HH", *ports)


def inet6(source="2001:db8::1", destination="2001:db8::2", ports=(1234, 80)):
    packed = (socket.inet_pton(socket.AF_INET6, address) for address in (source, destination))
    return b"".join(packed) + struct.pack("!HH", *ports)


def unix(source=b"/run/client", destination=b"/run/app.sock"):
    return source.ljust(108, b"\0") + destination.ljust(108, b"\0")


TLV = b"\x01\x00\x02h2" + b"\x04\x00\x03\0\0\0"

HEADERS = [
    (b"PROXY TCP4 9.9.9.9 8.8.8.8 1234 80\r\n", ("9.9.9.9", 1234), ("8.8.8.8", 80)),
    (b"PROXY TCP4 255.255.255.255 1.1.1.1 65535 65535\r\n", ("255.255.255.255", 65535), ("1.1.1.1", 65535)),
    (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", ("0.0.0.0", 0), ("0.0.0.0", 0)),
    (b"PROXY TCP6 2001:DB8::1 ::1 1234 80\r\n", ("2001:db8::1", 1234), ("::1", 80)),
    (b"PROXY TCP6 ::ffff:9.9.9.9 ::ffff:8.8.8.8 1 2\r\n", ("9.9.9.9", 1), ("8.8.8.8", 2)),
    (b"PROXY UNKNOWN\r\n", None, None),
    (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None, None),
    (b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n", None, None),  # the longest: 107 bytes
    (v2(INET, inet()), ("9.9.9.9", 1234), ("8.8.8.8", 80)),
    (v2(INET, inet() + TLV), ("9.9.9.9", 1234), ("8.8.8.8", 80)),
    (v2(INET, inet() + bytes(65000)), ("9.9.9.9", 1234), ("8.8.8.8", 80)),
    (v2(INET6, inet6()), ("2001:db8::1", 1234), ("2001:db8::2", 80)),
    (v2(INET6, inet6("::ffff:9.9.9.9", "::1") + TLV), ("9.9.9.9", 1234), ("::1", 80)),
    (v2(UNIX, unix()), "/run/client", "/run/app.sock"),
    (v2(UNIX, unix(b"", b"\0abstract") + TLV), "", "\0abstract"),
    (v2(UNIX, unix(b"a" * 108, b"b\0c")), "a" * 108, "b"),
    # The socket's own addresses stay: local connections, no or unknown addresses, datagrams.
    (v2(INET, inet(), command=0), None, None),
    (v2(0, b"", command=0), None, None),
    (v2(0, TLV, command=0), None, None),
    (v2(0, b""), None, None),
    (v2(0x01, bytes(12)), None, None),
    (v2(0x10, inet()), None, None),
    (v2(0x12, inet()), None, None),
]  # fmt: skip


@pytest.mark.parametrize(("data", "source", "destination"), HEADERS)
def test_header(data, source, destination):
    header = Header(len(data), source, destination)
    assert parse_header(data) == header
    assert parse_header(data + b"GET / HTTP/1.1\r\n") == header
    for cut in range(min(len(data), 300)):
        assert parse_header(data[:cut]) is None


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET / HTTP/1.1\r\n", "the connection does not begin with a header"),
        (b"G", "the connection does not begin with a header"),
        (b"proxy TCP4 ", "the connection does not begin with a header"),
        (b"PROXY\r\n", "the connection does not begin with a header"),
        (b"\x16\x03\x01", "the connection does not begin with a header"),
        (b"\r\n\r\n\0\r\nQUIT\r", "the connection does not begin with a header"),
        (b"\r\nGET", "the connection does not begin with a header"),
        (b"PROXY \r\n", "the line is malformed"),
        (b"PROXY TCP4\r\n", "the line is malformed"),
        (b"PROXY UNKNOWNx\r\n", "the line is malformed"),
        (b"PROXY UDP4 9.9.9.9 8.8.8.8 1 2\r\n", "the line is malformed"),
        (b"PROXY TCP4 9.9.9.9 8.8.8.8 1\r\n", "the line is malformed"),
        (b"PROXY TCP4 9.9.9.9 8.8.8.8 1 2 \r\n", "the line is malformed"),
        (b"PROXY TCP4  9.9.9.9 8.8.8.8 1 2\r\n", "the line is malformed"),
        (b"PROXY TCP4 9.9.9.9\t8.8.8.8 1 2\r\n", "the line is malformed"),
        (b"PROXY TCP4 9.9.9.9 8.8.8.8 01 2\r\n", "the line is malformed"),
        (b"PROXY TCP4 9.9.9.9 8.8.8.8 -1 2\r\n", "the line is malformed"),
        (b"PROXY TCP4 9.9.9.9 8.8.8.8 1 100000\r\n", "the line is malformed"),
        (b"PROXY TCP4 9.9.9.9 8.8.8.8 1 65536\r\n", "65536 is not a port"),
        (b"PROXY TCP4 9.9.9.256 8.8.8.8 1 2\r\n", "9.9.9.256 is not an IPv4 address"),
        (b"PROXY TCP4 ::1 ::1 1 2\r\n", "::1 is not an IPv4 address"),
        (b"PROXY TCP6 9.9.9.9 8.8.8.8 1 2\r\n", "9.9.9.9 is not an IPv6 address"),
        (b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", "the line is malformed"),
        (b"PROXY TCP4 9.9.9.9 8.8.8.8 1 2\n", "the line does not end with CRLF"),
        (b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n", "the line is longer than 107 bytes"),
        (b"PROXY TCP4 " + b"1" * 200, "the line is longer than 107 bytes"),
        (v2(version=1), "version 1 is not known"),
        (v2(version=3), "version 3 is not known"),
        (v2(command=2), "command 2 is not known"),
        (v2(family=0x41), "address family 4 with transport 1 is not known"),
        (v2(family=0x13), "address family 1 with transport 3 is not known"),
        (v2(INET, inet()[:-1]), "the addresses are cut short"),
        (v2(INET6, inet()), "the addresses are cut short"),
        (v2(UNIX, unix()[:-1]), "the addresses are cut short"),
    ],
)
def test_malformed(data, why):
    with pytest.raises(HeaderError) as caught:
        parse_header(data)
    assert str(caught.value) == why


STARTS = st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", b"PROXY TCP6 ::", SIGNATURE, SIGNATURE + b"\x21\x11\0\x0c"])


@given(STARTS, st.binary(max_size=300) | st.text("0123456789.: \r\nf", max_size=120).map(str.encode))
def test_nothing_else_raises(start, rest):
    data = start + rest
    try:
        header = parse_header(data)
    except HeaderError:
        return
    if header is not None:
        assert 0 < header.size <= len(data)
        assert parse_header(data[: header.size]) == header
        assert parse_header(data[: header.size - 1]) is None


def test_it_is_off_unless_asked_for():
    assert Config("main:app").proxy_protocol is False


# -- on connections


async def whoami(scope, receive, send):
    text = repr((scope["client"], scope["server"])).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]})
    await send({"type": "http.response.body", "body": text})


REQUEST = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
V1 = b"PROXY TCP4 9.9.9.9 8.8.8.8 1234 80\r\n"
FROM_V1 = b"(('9.9.9.9', 1234), ('8.8.8.8', 80))"

both_loops = pytest.mark.parametrize("loop", loop_names())
both_stacks = pytest.mark.parametrize("http", ["auto", "h11"])


def proxied(talk, loop="asyncio", where=None, **options):
    """Runs `talk(server, client)` with a server that expects the PROXY protocol, and one connection to it."""

    async def main():
        async with serving(options.pop("app", whoami), proxy_protocol=True, **options) as server:
            client = await Client.open(where or server)
            try:
                return await talk(server, client)
            finally:
                await client.close()

    options.update({"uds": where} if where else {})
    return run(main(), loop)


def sending(data, answers=1):
    """A talk: sends the data and returns the bodies of the answers."""

    async def talk(server, client):
        client.writer.write(data)
        return [(await client.answer())[1] for _ in range(answers)]

    return talk


@both_loops
@both_stacks
@pytest.mark.parametrize(("header", "source", "destination"), [h for h in HEADERS if isinstance(h[1], tuple)][:12])
def test_the_client_is_the_one_in_the_header(loop, http, header, source, destination):
    found = proxied(sending(header + REQUEST), loop, http=http)
    assert found == [repr((source, destination)).encode()]


@pytest.mark.parametrize("header", [V1, v2(INET, inet() + TLV)])
def test_in_pieces(stack, header):
    data = header + REQUEST
    splits = [[data[:cut], data[cut:]] for cut in range(1, len(data))]
    client = serve(stack, whoami)
    for pieces in [*splits, [data[at : at + 1] for at in range(len(data))]]:
        protocol = ProxyProtocol(client.state, TrustedPeers("*"), lambda: stack.HTTPConnection(client.state))
        transport = FakeTransport(client.loop, protocol, {})
        client.loop.call(protocol.connection_made, transport)
        for piece in pieces:
            client.loop.call(transport.get_protocol().data_received, piece)
        client.loop.run_until_idle()
        assert bytes(transport.taken).endswith(FROM_V1)
        assert protocol not in client.state.connections


@both_loops
def test_it_is_said_once_for_all_requests(loop):
    assert proxied(sending(V1 + REQUEST * 3, answers=3), loop) == [FROM_V1] * 3


@both_loops
@pytest.mark.parametrize("header", [h[0] for h in HEADERS if h[1] is None])
def test_local_and_unknown_keep_the_addresses_of_the_socket(loop, header):
    async def talk(server, client):
        client.writer.write(header + REQUEST)
        ends = client.writer.get_extra_info("sockname"), client.writer.get_extra_info("peername")
        return repr(ends).encode() == (await client.answer())[1]

    assert proxied(talk, loop)


@both_loops
def test_unix_addresses(loop):
    assert proxied(sending(v2(UNIX, unix()) + REQUEST), loop) == [b"(None, ('/run/app.sock', None))"]


@both_loops
def test_behind_a_unix_socket(loop, tmp_path):
    where = str(tmp_path / "s")
    assert proxied(sending(V1 + REQUEST), loop, where, forwarded_allow_ips="unix") == [FROM_V1]


@both_loops
def test_anybody_else_is_served_without(loop, server_log):
    async def talk(server, client):
        client.writer.write(REQUEST)
        own = client.writer.get_extra_info("sockname")
        assert (await client.answer())[1].startswith(repr((own,))[:-2].encode())
        forger = await Client.open(server)
        forger.writer.write(V1 + REQUEST)
        assert b" 400 " in (await forger.answer())[0]
        await forger.close()

    proxied(talk, loop, forwarded_allow_ips="10.0.0.1")
    assert [line.partition(" - ")[2] for line in server_log.warnings] == ["400 Bad Request: malformed request line"]


def test_the_client_in_the_header_is_not_trusted_for_that():
    """X-Forwarded headers count when the client that the proxy names is a trusted one."""
    fields = b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 7.7.7.7\r\n\r\n"
    assert proxied(sending(V1 + fields)) == [FROM_V1]
    trusted = b"(('7.7.7.7', 0), ('8.8.8.8', 80))"
    assert proxied(sending(V1 + fields), forwarded_allow_ips="127.0.0.1,9.9.9.9") == [trusted]


@both_loops
@pytest.mark.parametrize("data", [REQUEST, b"PROXY TCP4 nonsense\r\n" + REQUEST, v2(version=7), b"\x16\x03\x01\0"])
def test_what_is_no_header_is_closed_with_one_line(loop, data, server_log):
    async def talk(server, client):
        client.writer.write(data)
        assert await client.reader.read() == b""
        own = client.writer.get_extra_info("sockname")
        await until(lambda: not server.state.connections)
        return "{}:{} - PROXY protocol: ".format(*own)

    start = proxied(talk, loop)
    (line,) = server_log.warnings
    assert line.startswith(start) and line.endswith(": connection closed")


@both_loops
def test_it_is_due_in_time(loop, server_log):
    async def talk(server, client):
        client.writer.write(b"PROXY TCP4 ")
        assert await client.reader.read() == b""

    proxied(talk, loop, timeout_headers=0.3)
    (line,) = server_log.warnings
    assert line.endswith(" - PROXY protocol: no header within 0.3 s: connection closed")


@both_loops
def test_a_connection_that_ends_before_its_header(loop, server_log):
    async def talk(server, client):
        for data in (b"", b"PROXY TCP4 1"):
            probe = await Client.open(server)
            await until(lambda: len(server.state.connections) == 2)
            probe.writer.write(data)
            probe.writer.write_eof()
            assert await probe.reader.read() == b""
            await until(lambda: len(server.state.connections) == 1)
            await probe.close()

    proxied(talk, loop)
    (line,) = server_log.warnings  # a probe that says nothing is not worth a line
    assert line.endswith(" - PROXY protocol: the connection ended within the header: connection closed")


@both_loops
def test_shutdown_does_not_wait_for_headers(loop):
    async def talk(server, client):
        await until(lambda: server.state.connections)
        server.should_exit = True
        assert await asyncio.wait_for(client.reader.read(), 5) == b""

    proxied(talk, loop, timeout_graceful_shutdown=None)


@both_loops
def test_waiting_connections_count(loop, server_log):
    async def talk(server, client):
        await until(lambda: server.state.connections)
        other = await Client.open(server)
        other.writer.write(V1 + REQUEST)
        await until(lambda: server_log.warnings)
        client.writer.write(b"nonsense")
        assert (await other.answer())[1] == FROM_V1
        await other.close()

    proxied(talk, loop, limit_connections=1)
    assert server_log.warnings[0].startswith("The limit of 1 connections is reached")


@both_loops
def test_websocket(loop):
    """It takes the transport over once more."""

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": repr(scope["client"])})

    async def talk(server, client):
        client.writer.write(
            V1 + b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert b" 101 " in await client.reader.readuntil(b"\r\n\r\n")
        frame = await client.reader.readexactly(2)
        return await client.reader.readexactly(frame[1])

    assert proxied(talk, loop, app=app) == b"('9.9.9.9', 1234)"


def test_a_large_response_through_the_transport_that_stands_for_it():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"8388608")]})
        for _ in range(128):
            await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
        await send({"type": "http.response.body"})

    assert proxied(sending(V1 + REQUEST), app=app) == [bytes(8388608)]


def test_the_transport_that_stands_for_another():
    class Transport:
        def __init__(self):
            self.written = []

        def write(self, data):
            self.written.append(data)

        def get_write_buffer_size(self):
            return 7

        def is_closing(self):
            return False

        def pause_reading(self):
            return "paused"

        def get_extra_info(self, name, default=None):
            return {"peername": "wrong", "socket": "sock"}.get(name, default)

    transport = ProxiedTransport(Transport(), ("9.9.9.9", 1), ("8.8.8.8", 2))
    transport.write(b"x")
    assert transport._transport.written == [b"x"]
    assert transport.get_extra_info("peername") == ("9.9.9.9", 1)
    assert transport.get_extra_info("sockname") == ("8.8.8.8", 2)
    assert transport.get_extra_info("socket") == "sock"
    assert transport.get_extra_info("cipher", "none") == "none"
    assert transport.pause_reading() == "paused"


def test_abort_is_passed_on():
    aborted = []

    class Transport:
        def abort(self):
            aborted.append(True)

    protocol = ProxyProtocol(None, TrustedPeers("*"), None)
    protocol._transport = Transport()
    protocol.disconnect_app()
    protocol.abort()
    assert aborted == [True]
