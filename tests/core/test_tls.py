"""TLSTransport: TLS on a fake transport, with OpenSSL as the client, over both stacks."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import re
import ssl
import sys
import weakref
from math import inf

import http2_peer
import pytest
from fakes import FakeTransport
from harness import EAGER, Server, Settings, read_responses, receive_body, request, respond, serve

from asgiserve import _stack
from asgiserve.config import Config
from asgiserve.tls import TLS

from .apps import hello

pytest.importorskip("trustme", reason="the tests of TLS need trustme")

GET = request()
CLOSE = request("GET", "/", "Connection: close")


def make_tls(certificates, **options):
    return TLS(Config(hello, **{**certificates.server.options, **options}))


class Peer:
    """A client that speaks TLS over a fake transport. `received` is what it has decrypted."""

    def __init__(self, server, tls, context, eager=True):
        self.server = server
        self.loop = server.loop
        self.received = bytearray()
        self.ended = False
        self.error = None  # what the client's OpenSSL says
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        transport_class = _stack.tls_transport(server.stack)
        with self.loop.running():
            self.tls = transport_class(server.state, tls)
            protocol = server.throttled(self.tls)
        self.transport = FakeTransport(self.loop, protocol)
        self.loop.call(protocol.connection_made, self.transport)
        if eager:
            self.shake_hands()

    def shake_hands(self):
        for _ in range(10):
            try:
                self.ssl.do_handshake()
            except ssl.SSLWantReadError:
                self.deliver()
                continue
            break
        else:
            raise AssertionError("the handshake does not end")
        self.deliver()

    def encrypt(self, data):
        self.ssl.write(data)
        return self.outgoing.read()

    def feed_raw(self, data):
        """Bytes from the network, as one segment."""
        if data and not self.transport.lost:
            self.loop.call(self.transport.get_protocol().data_received, data)
        self.loop.run_until_idle()
        self.take()

    def deliver(self):
        self.feed_raw(self.outgoing.read())

    def send(self, data):
        self.feed_raw(self.encrypt(data))
        return self

    def take(self):
        """Decrypts what the server has sent."""
        self.incoming.write(bytes(self.transport.taken))
        self.transport.taken.clear()
        while not self.ended:
            try:
                data = self.ssl.read(65536)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                data = b""
            except ssl.SSLError as error:
                self.error = error.reason
                break
            if not data:
                self.ended = True
            self.received += data
        return bytes(self.received)

    def say_end(self):
        """The end of the client's side, in TLS."""
        with pytest.raises(ssl.SSLWantReadError):
            self.ssl.unwrap()
        self.deliver()

    def eof(self):
        """The end of the client's side, in TCP."""
        if not self.transport.get_protocol().eof_received():
            self.transport.close()
        self.loop.run_until_idle()
        self.take()

    def advance(self, seconds):
        self.server.advance(seconds)
        self.take()


@pytest.fixture
def serve_tls(stack, certificates):
    """serve_tls(app, tls_options, **settings) -> Server, TLS."""

    def serve(app=hello, tls=None, **settings):
        server = Server(stack, app, Settings(**settings), True, None, None)
        return server, make_tls(certificates, **(tls or {}))

    return serve


@pytest.fixture
def connect(serve_tls, certificates):
    def connect(app=hello, tls=None, client=None, eager=True, context=None, **settings):
        server, made = serve_tls(app, tls, **settings)
        context = context or certificates.client_context(client)
        return Peer(server, made, context, eager)

    return connect


def body_of(received):
    return bytes(received).partition(b"\r\n\r\n")[2]


# -- requests and scopes


def test_a_request(connect):
    peer = connect()
    peer.send(GET)
    assert peer.received.startswith(b"HTTP/1.1 200 OK\r\n")
    scope = peer.server.scopes[0]
    assert scope["scheme"] == "https"
    assert scope["client"] == ("127.0.0.1", 50000)
    assert not peer.transport.is_closing()
    peer.send(GET)
    assert peer.received.count(b"HTTP/1.1 200 OK\r\n") == 2


def test_alpn(connect, certificates):
    context = certificates.client_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    assert connect(context=context).ssl.selected_alpn_protocol() == "http/1.1"


class Inner:
    """What a client of HTTP/2 needs of its connection: the inside of a TLS Peer."""

    def __init__(self, peer):
        self.peer = peer
        self.transport = peer.transport

    def feed(self, data):
        self.peer.send(data)

    def take_output(self):
        data = bytes(self.peer.received)
        del self.peer.received[:]
        return data


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize("offered", [["h2", "http/1.1"], ["http/1.1", "h2"], ["h2"]])
def test_http_2(connect, certificates, offered, version):
    context = certificates.client_context()
    context.set_alpn_protocols(offered)
    context.maximum_version = ssl.TLSVersion[version]
    peer = connect(context=context, tls={"http2": True}, http2=True)
    assert peer.ssl.selected_alpn_protocol() == "h2"
    client = http2_peer.Peer(Inner(peer))
    stream = client.get(http2_peer.fields(scheme="https"))
    assert (stream.status, stream.body, stream.ended) == (200, b"hello", True)
    scope = peer.server.scopes[0]
    assert (scope["http_version"], scope["scheme"]) == ("2", "https")
    assert scope["extensions"]["tls"]["tls_version"] in (0x0303, 0x0304)
    client.get(http2_peer.fields(scheme="https"))
    assert peer.server.scopes[1]["extensions"]["tls"] is not scope["extensions"]["tls"]
    peer.advance(6)
    client.read()
    assert client.code == 0
    assert peer.ended


@pytest.mark.parametrize("offered", [["http/1.1"], ["other"], None])
def test_http_1_beside_http_2(connect, certificates, offered):
    context = certificates.client_context()
    if offered is not None:
        context.set_alpn_protocols(offered)
    peer = connect(context=context, tls={"http2": True}, http2=True)
    assert peer.ssl.selected_alpn_protocol() != "h2"
    peer.send(GET)
    assert peer.received.startswith(b"HTTP/1.1 200 OK\r\n")
    peer.send(http2_peer.PREFACE)
    assert b"HTTP/1.1 505 " in peer.received


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_byte_by_byte(connect, certificates, version):
    """Neither the handshake nor records arrive in one piece."""
    context = certificates.client_context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    peer = connect(eager=False, context=context)
    for _ in range(10):
        try:
            peer.ssl.do_handshake()
            done = True
        except ssl.SSLWantReadError:
            done = False
        data = peer.outgoing.read()
        for at in range(len(data)):
            peer.feed_raw(data[at : at + 1])
        if done:
            break
    data = peer.encrypt(GET[:20]) + peer.encrypt(GET[20:])
    for at in range(len(data)):
        peer.feed_raw(data[at : at + 1])
    assert peer.received.startswith(b"HTTP/1.1 200 OK\r\n")


def test_every_split_of_two_records(connect):
    peer = connect()
    for at in range(1, 40):
        data = peer.encrypt(GET[:9]) + peer.encrypt(GET[9:])
        peer.feed_raw(data[:at])
        peer.feed_raw(data[at:])
        assert peer.received.count(b"HTTP/1.1 200 OK\r\n") == at


def test_a_request_in_one_segment_with_the_end_of_the_handshake(connect):
    peer = connect(eager=False)
    with pytest.raises(ssl.SSLWantReadError):
        peer.ssl.do_handshake()
    peer.deliver()
    peer.ssl.do_handshake()
    finished = peer.outgoing.read()
    peer.feed_raw(finished + peer.encrypt(GET))
    assert peer.received.startswith(b"HTTP/1.1 200 OK\r\n")


def test_responses_to_pipelined_requests_leave_in_one_write(connect):
    peer = connect()
    before = peer.transport.writes
    peer.send(GET * 5)
    assert peer.received.count(b"HTTP/1.1 200 OK\r\n") == 5
    assert peer.transport.writes == before + 1 or not EAGER


def test_large_bodies_both_ways(connect):
    """Bigger than a record, and than what is encrypted at once."""
    body = bytes(range(256)) * 1500

    async def echo(scope, receive, send):
        await respond(send, await receive_body(receive))

    peer = connect(echo)
    peer.send(request("POST", body=body))
    assert body_of(peer.received) == body


def test_no_extension_without_tls(stack):
    client = serve(stack, hello)
    client.feed(GET)
    assert "tls" not in client.scopes[0]["extensions"]


def extension_of(peer):
    peer.send(GET)
    return peer.server.scopes[-1]["extensions"]["tls"]


@pytest.mark.parametrize(("version", "number"), [("TLSv1_2", 0x0303), ("TLSv1_3", 0x0304)])
def test_extension(connect, certificates, version, number):
    context = certificates.client_context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    tls = extension_of(connect(context=context))
    suite = tls.pop("cipher_suite")
    assert suite == 0xC02B if number == 0x0303 else 0x1301 <= suite <= 0x1303
    assert tls == {
        "server_cert": certificates.server.pem,
        "client_cert_chain": (),
        "client_cert_name": None,
        "client_cert_error": None,
        "tls_version": number,
    }


@pytest.mark.parametrize("wanted", ["optional", "required"])
def test_client_certificate(connect, certificates, wanted):
    options = {"ssl_cert_reqs": wanted, "ssl_ca_certs": certificates.path}
    tls = extension_of(connect(tls=options, client=certificates.client))
    assert tls["client_cert_chain"][0] == certificates.client.pem
    assert len(set(tls["client_cert_chain"])) == len(tls["client_cert_chain"])
    assert re.fullmatch(r"CN=Ann,OU=[^,]+,O=A\\, B & C", tls["client_cert_name"])
    assert tls["client_cert_error"] is None


def test_no_client_certificate_where_it_is_optional(connect, certificates):
    tls = extension_of(connect(tls={"ssl_cert_reqs": 1, "ssl_ca_certs": certificates.path}))
    assert (tls["client_cert_chain"], tls["client_cert_name"]) == ((), None)


def test_each_request_has_a_dict_of_its_own(connect):
    peer = connect()
    first = extension_of(peer)
    first["server_cert"] = "changed"
    second = extension_of(peer)
    assert second["server_cert"].startswith("-----BEGIN CERTIFICATE-----")


def test_websocket(connect, certificates):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        message = await receive()
        await send({"type": "websocket.send", "text": message["text"] + "!"})
        await send({"type": "websocket.close"})

    peer = connect(app)
    fields = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
    head = request("GET", "/", *fields, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    peer.send(head)
    assert peer.received.startswith(b"HTTP/1.1 101 ")
    scope = peer.server.scopes[0]
    assert scope["scheme"] == "wss"
    assert scope["extensions"]["tls"]["server_cert"] == certificates.server.pem
    peer.send(b"\x81\x82\0\0\0\0hi")
    assert b"\x81\x03hi!" in peer.received
    assert not peer.ended
    peer.send(b"\x88\x82\0\0\0\0\x03\xe8")
    assert peer.ended
    peer.eof()
    assert peer.transport.lost


# -- backpressure


def test_the_app_waits_while_the_client_takes_nothing(connect):
    sent = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(40):
            await send({"type": "http.response.body", "body": b"x" * 16384, "more_body": True})
            sent.append(number)
        await send({"type": "http.response.body"})

    peer = connect(app)
    peer.transport.stall()
    peer.send(GET)
    assert len(sent) < 8
    assert peer.transport.max_pending < 128 * 1024
    peer.transport.unblock_writes()
    peer.loop.run_until_idle()
    peer.take()
    assert len(sent) == 40
    assert peer.received.count(b"x") == 40 * 16384


def test_a_client_that_takes_a_little_is_not_cut_off(connect, server_log):
    """The write deadline is about the bytes in the buffer below, as without TLS."""

    async def app(scope, receive, send):
        await respond(send, b"x" * 300_000)

    peer = connect(app, timeout_write=10)
    peer.transport.stall()
    peer.send(GET)
    for _ in range(5):
        peer.transport.take(1000)
        peer.advance(9)
    assert not peer.transport.lost
    peer.advance(25)
    assert peer.transport.aborted
    assert len(server_log.warnings) == 1
    assert "client takes no data" in server_log.warnings[0]


def test_reading_stops_while_the_app_does_not_receive(connect):
    gate = []

    async def app(scope, receive, send):
        gate.append(asyncio.get_running_loop().create_future())
        await gate[0]
        await respond(send, b"%d" % len(await receive_body(receive)))

    body = b"y" * 400_000
    peer = connect(app)
    data = peer.encrypt(request("POST", body=body))
    fed = 0
    while fed < len(data) and peer.transport._reading:
        peer.feed_raw(data[fed : fed + 32768])
        fed += 32768
    assert fed < 300_000
    gate[0].set_result(None)
    peer.loop.run_until_idle()
    while fed < len(data):
        assert peer.transport._reading
        peer.feed_raw(data[fed : fed + 32768])
        fed += 32768
    assert body_of(peer.take()) == b"400000"


def test_what_came_while_reading_is_paused_is_not_lost(connect):
    """The transport below may still deliver something after it was told to pause."""
    peer = connect()
    peer.tls.pause_reading()
    peer.send(GET)
    assert peer.received == b""
    peer.tls.resume_reading()
    peer.loop.run_until_idle()
    peer.take()
    assert peer.received.startswith(b"HTTP/1.1 200 OK\r\n")


SIZES = (0, 1, 5, 100, 5000, 16384, 40000, 120_000)


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_any_segmentation(connect, certificates, version):
    """Records, segments and the client's pauses as they come; all requests are served, also when the end is behind."""

    async def echo(scope, receive, send):
        body = await receive_body(receive)
        if len(body) % 3:
            await asyncio.sleep(0)
        await respond(send, body)

    context = certificates.client_context()
    context.maximum_version = ssl.TLSVersion[version]
    for seed in range(80):
        pick = random.Random(seed)
        bodies = [pick.randbytes(pick.choice(SIZES)) for _ in range(pick.randrange(1, 6))]
        plain = b"".join(request("POST", body=body) for body in bodies)
        peer = connect(echo, context=context)
        data = bytearray()
        while plain:
            size = pick.choice((1, 10, 100, 1000, 16384, 50000))
            data += peer.encrypt(plain[:size])
            plain = plain[size:]
        says_end = pick.random() < 0.5
        if says_end:
            with pytest.raises(ssl.SSLWantReadError):
                peer.ssl.unwrap()
            data += peer.outgoing.read()
        if pick.random() < 0.5:
            peer.transport.stall()
        while data and not peer.transport.lost:
            if not peer.transport._reading or pick.random() < 0.1:
                peer.transport.take(pick.choice((1, 1000, 50000, 1 << 30)))
                peer.advance(0.25)
                continue
            size = pick.choice((1, 3, 50, 1460, 65536, 262_144))
            peer.feed_raw(bytes(data[:size]))
            del data[:size]
        for _ in range(len(bodies) + 3):
            peer.transport.unblock_writes()
            peer.advance(0.25)
        assert len(peer.server.scopes) == len(bodies), seed
        if says_end:
            assert peer.tls.is_closing(), seed
        else:
            answers = read_responses(bytes(peer.received), ["POST"] * len(bodies), False)
            assert [answer.body for answer in answers] == bodies, seed


# -- a limited rate


@pytest.mark.parametrize("close", [False, True])
def test_limited_rate(connect, close):
    """What is counted is what is on the wire. The end is said behind the last byte."""
    rate = 100_000

    async def app(scope, receive, send):
        await respond(send, b"z" * 10 * rate)

    peer = connect(app, limit_rate_per_second=rate, timeout_write=1)
    begin = peer.loop.time()
    peer.send(CLOSE if close else GET)
    while len(body_of(peer.received)) < 10 * rate:
        assert peer.transport.written <= (peer.loop.time() - begin + 1) * rate
        peer.advance(0.25)
        assert not peer.transport.is_closing() or len(body_of(peer.received)) == 10 * rate
    assert 9 < peer.loop.time() - begin < 9.5
    peer.advance(4)
    assert peer.ended == close
    assert peer.transport.lost == close
    assert not peer.transport.aborted


def test_handshake_at_a_limited_rate(connect):
    peer = connect(eager=False, limit_rate_per_second=1024)
    began = peer.loop.time()
    for _ in range(100):
        try:
            peer.ssl.do_handshake()
        except ssl.SSLWantReadError:
            peer.deliver()
            peer.advance(0.25)
        else:
            break
    peer.send(GET)
    peer.advance(1)
    assert peer.received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert peer.transport.written <= (peer.loop.time() - began + 1) * 1024


# -- ends


class Spy:
    """A protocol that notes how much waits in the transport when it is told to pause, and to resume."""

    def __init__(self, transport):
        self.transport = transport
        self.told = []

    def pause_writing(self):
        self.told.append(("pause", self.transport.get_write_buffer_size()))

    def resume_writing(self):
        self.told.append(("resume", self.transport.get_write_buffer_size()))

    def connection_lost(self, error):
        pass


def test_the_time_to_pause_is_told_when_all_is_written(connect):
    """In the middle of a large write, a protocol would not know how much it waits for."""
    peer = connect()
    spy = Spy(peer.tls)
    peer.tls.set_protocol(spy)
    peer.transport.stall()
    peer.tls.write(b"x" * 1_000_000)
    ((what, size),) = spy.told
    assert what == "pause"
    assert size > 1_000_000
    peer.transport.unblock_writes()
    assert spy.told[1:] == [("resume", 0)]
    assert peer.take() == b"x" * 1_000_000


def test_a_pause_that_is_over_before_all_is_written_is_not_told(connect):
    """A transport may get room again while it is written to."""
    peer = connect()
    spy = Spy(peer.tls)
    peer.tls.set_protocol(spy)
    write = peer.transport.write

    def write_and_take(data):
        peer.transport.stall()
        write(data)
        peer.transport.unblock_writes()

    peer.transport.write = write_and_take
    peer.tls.writelines([b"x" * 300_000, b"y"])
    assert spy.told == []
    assert peer.take() == b"x" * 300_000 + b"y"


def test_close_says_so(connect):
    peer = connect()
    peer.send(CLOSE)
    assert b"200 OK" in peer.received
    assert peer.ended
    assert peer.tls.is_closing()
    peer.eof()
    assert peer.transport.lost
    assert not peer.server.state.connections
    assert not peer.loop.timers


def test_close_does_not_wait_for_long(connect):
    """A client may keep its own side open; what it still sends is dropped."""
    peer = connect()
    peer.send(CLOSE)
    peer.feed_raw(b"\x17\x03\x03\x40\x00" + b"x" * 16384)
    peer.advance(1.9)
    assert not peer.transport.lost
    peer.advance(0.2)
    assert peer.transport.lost
    assert not peer.server.state.connections


def test_an_idle_connection_closes_at_once(connect):
    """Nobody can still be reading what was sent."""
    peer = connect(timeout_keep_alive=5)
    peer.send(GET)
    peer.advance(5.25)
    assert peer.ended
    assert peer.transport.lost


def test_abort_while_parting(connect):
    peer = connect()
    peer.send(CLOSE)
    for connection in list(peer.server.state.connections):
        connection.abort()
    peer.loop.run_until_idle()
    assert peer.transport.lost
    assert not peer.loop.timers


def test_close_with_pending_data(connect):
    """A client that takes a large last response slowly gets all of it, and the end said in TLS."""

    async def app(scope, receive, send):
        await respond(send, b"z" * 500_000)

    peer = connect(app)
    peer.transport.stall()
    peer.send(CLOSE)
    while not peer.transport.lost:
        peer.transport.take(20_000)
        peer.advance(30)
    assert len(body_of(peer.received)) == 500_000
    assert peer.ended


@pytest.mark.parametrize("ending", ["say_end", "eof"])
def test_idle_client_ends(connect, server_log, ending):
    peer = connect()
    peer.send(GET)
    getattr(peer, ending)()
    assert peer.transport.lost
    assert not peer.transport.aborted
    assert not peer.server.state.connections
    assert not server_log.warnings


@pytest.mark.parametrize("ending", ["say_end", "eof"])
def test_half_close(connect, ending):
    """A client that has ended its side still gets its response, and the app is told."""
    told = []

    async def app(scope, receive, send):
        while (await receive())["type"] != "http.disconnect":
            pass
        told.append(True)
        await asyncio.sleep(1)
        await respond(send, b"late")

    peer = connect(app)
    peer.feed_raw(peer.encrypt(GET))
    getattr(peer, ending)()
    assert told
    assert not peer.transport.is_closing()
    peer.advance(2)
    assert peer.transport.lost
    if ending == "eof":  # after its own close_notify, OpenSSL reads no more on the client's side
        assert body_of(peer.received) == b"late"
        assert peer.ended


def test_end_behind_requests_that_wait(connect):
    """In one segment with requests that are not looked at before the client takes something: all are served."""

    async def app(scope, receive, send):
        await respond(send, b"x" * 200_000)

    peer = connect(app)
    peer.transport.stall()
    data = peer.encrypt(GET * 3)
    with pytest.raises(ssl.SSLWantReadError):
        peer.ssl.unwrap()
    peer.feed_raw(data + peer.outgoing.read())
    assert len(peer.server.scopes) == 1
    peer.transport.unblock_writes()
    peer.loop.run_until_idle()
    assert len(peer.server.scopes) == 3
    assert peer.transport.lost


def test_end_in_tls_and_then_in_tcp(connect):
    peer = connect()
    peer.send(GET)
    data = peer.encrypt(GET)
    with pytest.raises(ssl.SSLWantReadError):
        peer.ssl.unwrap()
    peer.feed_raw(data + peer.outgoing.read())
    assert len(peer.server.scopes) == 2
    if not peer.transport.lost:
        peer.eof()
    assert peer.transport.lost


def test_early_response_to_a_large_upload(connect):
    """Our side ends, what the client still sends is dropped, its end is seen."""

    async def app(scope, receive, send):
        await respond(send, b"too much", 413)

    peer = connect(app)
    peer.send(request("POST", "/", "Content-Length: 10000000") + b"x" * 1000)
    assert body_of(peer.received) == b"too much"
    assert peer.ended
    assert not peer.transport.is_closing()
    peer.feed_raw(b"\x17\x03\x03\x40\x00" + b"x" * 16384)
    assert not peer.transport.is_closing()
    peer.eof()
    assert peer.transport.lost


def test_early_response_and_a_client_that_does_not_end(connect):
    async def app(scope, receive, send):
        await respond(send, b"too much", 413)

    peer = connect(app)
    peer.send(request("POST", "/", "Content-Length: 10000000"))
    peer.advance(4)
    assert peer.transport.lost


def test_reset(connect, server_log):
    told = []

    async def app(scope, receive, send):
        told.append((await receive())["type"])

    peer = connect(app)
    peer.feed_raw(peer.encrypt(request("POST", "/", "Content-Length: 5")))
    peer.transport.force_close(ConnectionResetError())
    peer.loop.run_until_idle()
    assert told == ["http.disconnect"]
    assert not peer.server.state.connections
    assert not server_log.warnings


def test_cut_response_looks_cut(connect, server_log):
    """Without a length, only the missing end tells the client: the connection is reset, no end is said."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"some", "more_body": True})
        raise LookupError

    peer = connect(app)
    peer.send(request(version="1.0"))
    assert [type(error) for error in server_log.take_errors()] == [LookupError]
    assert body_of(peer.received) == b"some"
    assert not peer.ended
    assert peer.transport.aborted


def test_garbage_after_the_handshake(connect, server_log):
    peer = connect()
    peer.send(GET)
    peer.feed_raw(b"\x17\x03\x03\x00\x20" + b"?" * 32)
    assert peer.transport.lost
    assert "ALERT_BAD_RECORD_MAC" in peer.error
    assert len(server_log.warnings) == 1
    assert re.fullmatch(r"127\.0\.0\.1:50000 - TLS error: [a-z0-9 ]+", server_log.warnings[0])
    assert not peer.server.state.connections


def test_garbage_behind_a_request(connect, server_log):
    """What was valid is served to the application, which sees that the client is gone."""
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["path"])
        while (await receive())["type"] != "http.disconnect":
            pass
        seen.append("disconnect")

    peer = connect(app)
    peer.feed_raw(peer.encrypt(GET) + b"\x17\x03\x03\x00\x20" + b"?" * 32)
    assert seen == ["/", "disconnect"]
    assert len(server_log.warnings) == 1


@pytest.mark.skipif(sys.implementation.name == "pypy", reason="PyPy has a garbage collector for everything")
def test_nothing_stays_behind(connect):
    """Connection and transport form a cycle, which the end takes apart: no garbage collector is needed."""
    peer = connect()
    peer.send(CLOSE).eof()
    gc.collect()
    gc.disable()
    try:
        server_side = weakref.ref(peer.tls.get_extra_info("ssl_object"))
        peer.transport = peer.tls = None
        peer.loop.run_until_idle()
        assert server_side() is None
    finally:
        gc.enable()


# -- handshakes that fail


def failures(server_log, level=logging.WARNING):
    return [text.partition(" - ")[2] for text in server_log.messages(level)]


def test_handshake_timeout(connect, server_log):
    peer = connect(tls={"timeout_ssl_handshake": 3}, eager=False)
    with pytest.raises(ssl.SSLWantReadError):
        peer.ssl.do_handshake()
    peer.feed_raw(peer.outgoing.read())
    peer.advance(2.5)
    assert not peer.transport.lost
    peer.advance(1)
    assert peer.transport.lost
    assert server_log.warnings == ["127.0.0.1:50000 - TLS handshake failed: not done within 3 s"]
    assert not peer.server.state.connections


def test_handshake_that_never_begins(connect, server_log):
    """A probe, or a browser that connects ahead: the log is spared."""
    peer = connect(tls={"timeout_ssl_handshake": 3}, eager=False)
    assert len(peer.server.state.connections) == 1
    peer.advance(3.5)
    assert peer.transport.lost
    assert server_log.warnings == []
    assert failures(server_log, logging.DEBUG) == ["TLS handshake failed: not done within 3 s"]


def test_handshake_without_a_bound(connect):
    peer = connect(tls={"timeout_ssl_handshake": None}, eager=False)
    peer.advance(3600)
    assert not peer.transport.lost
    peer.shake_hands()
    peer.send(GET)
    assert b"200 OK" in peer.received


def test_the_header_timeout_begins_with_the_end_of_the_handshake(connect):
    peer = connect(eager=False, timeout_headers=10)
    peer.advance(20)
    peer.shake_hands()
    peer.advance(9)
    assert not peer.transport.lost
    peer.advance(2)
    assert peer.transport.lost


def test_plain_http(connect, server_log):
    peer = connect(eager=False)
    peer.loop.call(peer.tls.data_received, GET)
    peer.loop.run_until_idle()
    assert bytes(peer.transport.taken).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert bytes(peer.transport.taken).endswith(b"\r\n\r\nplain HTTP was sent to a port that speaks TLS")
    assert peer.transport.lost
    assert server_log.warnings == ["127.0.0.1:50000 - 400 Bad Request: plain HTTP was sent to a port that speaks TLS"]


def test_garbage_for_a_handshake(connect, server_log):
    peer = connect(eager=False)
    peer.loop.call(peer.tls.data_received, b"\0" * 100)
    peer.loop.run_until_idle()
    assert peer.transport.lost
    (line,) = failures(server_log)
    assert line.startswith("TLS handshake failed: ")


def test_failure_that_the_client_does_not_take(connect, server_log):
    """Last words do not keep a connection open."""
    peer = connect(eager=False)
    peer.transport.stall()
    peer.loop.call(peer.tls.data_received, GET)
    peer.loop.run_until_idle()
    assert not peer.transport.lost
    peer.advance(3)
    assert peer.transport.lost
    assert not peer.server.state.connections


def hand_shaken(peer):
    """Whether the handshake, run to its end, is good on both sides."""
    try:
        peer.shake_hands()
        peer.take()
    except ssl.SSLError:
        peer.deliver()
        return False
    return not peer.transport.is_closing()


def test_client_does_not_trust_us(connect, server_log):
    assert not hand_shaken(connect(eager=False, context=ssl.create_default_context()))
    assert failures(server_log) == ["TLS handshake failed: the client says: unknown ca"]


def test_client_leaves(connect, server_log):
    peer = connect(eager=False)
    with pytest.raises(ssl.SSLWantReadError):
        peer.ssl.do_handshake()
    peer.feed_raw(peer.outgoing.read())
    peer.eof()
    assert peer.transport.lost
    assert failures(server_log) == ["TLS handshake failed: the client closed the connection"]


def test_client_resets(connect, server_log):
    peer = connect(eager=False)
    with pytest.raises(ssl.SSLWantReadError):
        peer.ssl.do_handshake()
    peer.feed_raw(peer.outgoing.read())
    peer.transport.force_close(ConnectionResetError())
    peer.loop.run_until_idle()
    assert failures(server_log) == ["TLS handshake failed: the connection was reset"]
    assert not peer.server.state.connections


def test_client_without_the_required_certificate(connect, certificates, server_log):
    options = {"ssl_cert_reqs": "required", "ssl_ca_certs": certificates.path}
    assert not hand_shaken(connect(tls=options, eager=False))
    assert failures(server_log) == ["TLS handshake failed: peer did not return a certificate"]


@pytest.mark.parametrize("wanted", ["optional", "required"])
def test_client_with_a_certificate_of_somebody_else(connect, certificates, tmp_path, server_log, wanted):
    from certificates import Certificates

    options = {"ssl_cert_reqs": wanted, "ssl_ca_certs": certificates.path}
    stranger = Certificates(tmp_path).client
    assert not hand_shaken(connect(tls=options, client=stranger, eager=False))
    (line,) = failures(server_log)
    assert line.startswith("TLS handshake failed: certificate verify failed: ")


def test_client_that_is_too_old(connect, certificates, server_log):
    context = certificates.client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert not hand_shaken(connect(tls={"ssl_minimum_version": "tls1.3"}, eager=False, context=context))
    assert failures(server_log) == ["TLS handshake failed: unsupported protocol"]


# -- the server's end


def test_shutdown_in_a_handshake(connect, server_log):
    peer = connect(eager=False)
    for connection in list(peer.server.state.connections):
        connection.shutdown()
        connection.disconnect_app()
    peer.loop.run_until_idle()
    assert peer.transport.lost
    assert not peer.server.state.connections
    assert not server_log.records


def test_connection_made_while_stopping(serve_tls, certificates):
    server, tls = serve_tls()
    server.state.stopping = True
    peer = Peer(server, tls, certificates.client_context(), eager=False)
    peer.loop.run_until_idle()
    assert peer.transport.lost


def test_transport_is_complete(connect):
    """What asyncio's transports have, for protocols of others that take a connection over."""
    peer = connect()
    transport = peer.tls
    assert isinstance(transport.get_extra_info("sslcontext"), ssl.SSLContext)
    assert isinstance(transport.get_extra_info("ssl_object"), ssl.SSLObject)
    assert transport.get_extra_info("peername") == ("127.0.0.1", 50000)
    assert transport.get_extra_info("nothing", 5) == 5
    assert transport.get_write_buffer_limits() == (16384, 65536)
    transport.set_write_buffer_limits(high=1000)
    assert transport.get_write_buffer_limits() == (250, 1000)
    assert transport.can_write_eof()
    assert transport.is_reading()
    transport.pause_reading()
    assert not transport.is_reading()
    transport.resume_reading()
    assert type(transport.get_protocol()) is peer.server.stack.HTTPConnection
    transport.writelines([b"one", bytearray(b"two"), memoryview(b"three")])
    transport.write(b"")
    peer.take()
    assert peer.received == b"onetwothree"
    transport.abort()
    peer.loop.run_until_idle()
    transport.write(b"nothing happens")
    assert transport.is_closing()
    assert inf > transport.get_write_buffer_size() == 0
