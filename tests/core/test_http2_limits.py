"""HTTP/2: what is malformed, what is too much, and floods (RFC 9113 sections 5 to 8 and 10.5)."""

from __future__ import annotations

import asyncio

import pytest
from harness import respond, serve
from http2_peer import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Stream,
    connect,
    fields,
    frame,
    without_window,
)

from .apps import Idle, Script, body, hello, start

NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR = 0, 1, 3, 5, 6
REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 7, 8, 9, 11
NUMBER = (2**31 - 1).to_bytes(4, "big")


def number(value):
    return value.to_bytes(4, "big")


def setting(key, value):
    return key.to_bytes(2, "big") + number(value)


def ended_for(peer, server_log, code, says):
    """The connection has ended with that error, and with one line in the log."""
    assert peer.code == code
    assert peer.closed
    assert len(server_log.warnings) == 1
    assert server_log.warnings[0].startswith("127.0.0.1:50000 - HTTP/2 connection ended: ")
    assert says in server_log.warnings[0]
    assert peer.client.state.active == 0
    peer.advance(3)
    assert peer.client.transport.lost
    assert not peer.client.state.connections
    return True


# -- malformed requests: the stream ends, the connection goes on


@pytest.mark.parametrize(
    "malformed",
    [
        fields(more=[("X-Upper", "1")]),
        fields(more=[("x y", "1")]),
        fields(more=[("", "1")]),
        fields(more=[("x\0", "1")]),
        fields(more=[("x", "a\nb")]),
        fields(more=[("x", "a\rb")]),
        fields(more=[("x", "a\0b")]),
        fields(more=[("x", " a")]),
        fields(more=[("x", "a\t")]),
        fields(more=[("connection", "close")]),
        fields(more=[("keep-alive", "1")]),
        fields(more=[("proxy-connection", "close")]),
        fields(more=[("transfer-encoding", "chunked")]),
        fields(more=[("upgrade", "websocket")]),
        fields(more=[("te", "gzip")]),
        fields(more=[("te", "trailers, gzip")]),
        fields(more=[(":path", "/")]),
        fields(more=[("x", "y"), (":extra", "1")]),
        [*fields(), (":path", "/")],
        [*fields(), (":protocol", "websocket")],
        [*fields(), (":status", "200")],
        fields(method=None),
        fields(method=""),
        fields(method="G T"),
        fields(path=None),
        fields(path=""),
        fields(scheme=None),
        fields(scheme="1x"),
        fields("CONNECT"),
        fields("CONNECT", path=None),
        fields("CONNECT", path=None, scheme=None, authority=None),
        fields(more=[("host", "other")]),
        fields(more=[("host", "h"), ("host", "h")]),
        fields(more=[("content-length", "5")]),
    ],
    ids=repr,
)
def test_malformed_requests(stack, server_log, malformed):
    peer = connect(stack, hello)
    stream = peer.get(malformed)
    assert (stream.headers, stream.reset) == (None, PROTOCOL_ERROR)
    assert len(server_log.warnings) == 1
    assert "127.0.0.1:50000 - HTTP/2 stream 1 reset: " in server_log.warnings[0]
    assert peer.get().status == 200
    assert len(peer.client.scopes) == 1
    assert peer.client.state.active == 0


@pytest.mark.parametrize(
    ("refused", "status"),
    [
        (fields("BREW"), 501),
        (fields("get"), 501),
        (fields("CONNECT", path=None, scheme=None), 501),
        (fields(path="x"), 400),
        (fields(path="*"), 400),
        (fields(path="/a b"), 400),
        (fields(path="/#"), 400),
        (fields(path="/\xe9"), 400),
        (fields(path="http://h/"), 400),
        (fields(authority=""), 400),
        (fields(authority=None), 400),
        (fields(authority="a b"), 400),
        (fields(authority="user@h"), 400),
        (fields(authority="h:99999"), 400),
        (fields(authority=None, more=[("host", "h"), ("host", "h")]), 400),
        (fields(more=[("content-length", "x")]), 400),
        (fields(more=[("content-length", "+1")]), 400),
        (fields(more=[("content-length", "0"), ("content-length", "0")]), 400),
        (fields(more=[("content-length", "9" * 30)]), 413),
        (fields(more=[("expect", "x")]), 417),
        (fields(path="/" + "x" * 16384), 414),
        (fields(more=[("x-%d" % count, "y") for count in range(129)]), 431),
        (fields(more=[("x", "y" * 65536)]), 431),
        (fields(more=[("x", "y" * 4000)] * 17), 431),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_refused_requests(stack, server_log, refused, status):
    lines = []
    peer = connect(stack, hello, access_log=lambda *line: lines.append(line))
    stream = peer.get(refused)
    assert (stream.status, stream.ended, stream.reset) == (status, True, None)
    assert server_log.warnings == [server_log.warnings[0]]
    assert f" - {status} " in server_log.warnings[0]
    assert [line[4] for line in lines] == [status]
    assert len(lines[0][2]) < 1100
    assert peer.get().status == 200


@pytest.mark.parametrize("refused", [fields("POST", "/" + "x" * 20000), fields("POST", more=[("x", "y" * 65536)])])
def test_the_body_of_a_refused_request(stack, server_log, refused):
    """It is dropped, and no second fault."""
    peer = connect(stack, hello)
    stream_id = peer.request(refused, end=False)
    peer.data(stream_id, b"x" * 10000).data(stream_id, b"x", end=True)
    stream = peer.streams[stream_id]
    assert stream.status in (414, 431)
    assert stream.reset is None
    assert len(server_log.warnings) == 1
    assert peer.get().status == 200


def test_overload_is_no_flood(stack, server_log):
    """A proxy does not lose its connection because there is much to do."""
    peer = connect(stack, Idle(), limit_concurrency=1)
    peer.request()
    for _ in range(1500):
        assert peer.get().status == 503
    assert not peer.closed


def test_limits_are_those_of_http_1(stack):
    """To the byte: the request line, and the lines of the fields."""
    peer = connect(stack, hello, limit_request_line=100, limit_header_size=300, limit_header_fields=3)
    assert peer.get(fields(path="/" + "x" * 86)).status == 200
    assert peer.get(fields(path="/" + "x" * 87)).status == 414
    left = 300 - len(b"host: h\r\n") - len(b"x: \r\n")
    assert peer.get(fields(more=[("x", "y" * left)])).status == 200
    assert peer.get(fields(more=[("x", "y" * (left + 1))])).status == 431
    assert peer.get(fields(more=[("a", "b"), ("c", "d")])).status == 200
    assert peer.get(fields(more=[("a", "b"), ("c", "d"), ("e", "f")])).status == 431


def test_a_body_that_is_too_large(stack, server_log):
    app = Idle()
    peer = connect(stack, app, limit_request_body=10)
    stream_id = peer.request(fields("POST"), end=False)
    peer.data(stream_id, b"x" * 10)
    stream = peer.streams[stream_id]
    assert stream.headers is None
    peer.data(stream_id, b"x")
    assert (stream.status, stream.ended, stream.reset) == (413, True, None)
    assert app.disconnected
    peer.data(stream_id, b"x" * 10000).advance(3)  # for a while, the rest is dropped
    assert stream.reset == NO_ERROR
    assert len(server_log.warnings) == 1
    assert app.body == b"x" * 10
    stream_id = peer.request(fields("POST", more=[("content-length", "11")]), end=False)
    assert peer.streams[stream_id].status == 413


def test_a_body_that_is_too_large_and_complete(stack, server_log):
    """Nothing is waited for behind its end."""
    peer = connect(stack, Idle(), limit_request_body=10)
    stream = peer.get(fields("POST"), b"x" * 11)
    assert (stream.status, stream.ended, stream.reset) == (413, True, None)
    peer.raw(frame(GOAWAY, 0, 0, bytes(8)))
    assert peer.client.transport.lost


def test_a_body_that_is_too_large_within_the_response(stack, server_log):
    async def steps(scope, receive, send):
        await send(start())
        await send(body(b"a", True))
        while (await receive())["type"] != "http.disconnect":
            pass

    peer = connect(stack, Script(steps), limit_request_body=10)
    stream_id = peer.request(fields("POST"), end=False)
    peer.data(stream_id, b"x" * 11)
    stream = peer.streams[stream_id]
    assert (stream.status, stream.ended, stream.reset) == (200, False, CANCEL)
    assert not peer.client.state.tasks


@pytest.mark.parametrize("pieces", [[b"abcd"], [b"ab", b"cd"], [b"ab"], [b""]])
def test_a_body_that_does_not_fit_its_length(stack, server_log, pieces):
    app = Idle()
    peer = connect(stack, app)
    stream_id = peer.request(fields("POST", more=[("content-length", "3")]), end=False)
    for piece in pieces[:-1]:
        peer.data(stream_id, piece)
    peer.data(stream_id, pieces[-1], end=True)
    assert peer.streams[stream_id].reset == PROTOCOL_ERROR
    assert app.disconnected
    assert not peer.closed
    assert len(server_log.warnings) == 1


@pytest.mark.parametrize("trailers", [[(":path", "/")], [("X", "1")], [("x", "\n")], [("connection", "close")]])
def test_malformed_trailers(stack, trailers):
    app = Idle()
    peer = connect(stack, app)
    stream_id = peer.request(fields("POST"), end=False)
    peer.h2.send_headers(stream_id, trailers, end_stream=True)
    peer.flush()
    assert peer.streams[stream_id].reset == PROTOCOL_ERROR
    assert app.disconnected


def test_trailers_before_the_length_is_reached(stack):
    peer = connect(stack, Idle())
    stream_id = peer.request(fields("POST", more=[("content-length", "3")]), end=False)
    peer.h2.send_headers(stream_id, [("x", "y")], end_stream=True)
    peer.flush()
    assert peer.streams[stream_id].reset == PROTOCOL_ERROR


def test_cookies_count_as_one_field(stack):
    peer = connect(stack, hello)
    assert peer.get(fields(more=[("cookie", "a=%d" % count) for count in range(200)])).status == 200


# -- too much at a time


def test_concurrency(stack, server_log):
    app = Idle()
    peer = connect(stack, app, limit_concurrency=2)
    for _ in range(2):
        peer.request()
    stream = peer.get()
    assert (stream.status, stream.header(b"retry-after")) == (503, b"1")
    peer.reset(1)
    peer.request()
    assert len(peer.client.scopes) == 3


def test_too_many_streams(stack):
    app = Idle()
    peer = connect(stack, app)
    peer.h2.remote_settings[3] = 1000
    peer.h2.remote_settings.acknowledge()
    numbers = [peer.request() for _ in range(101)]
    assert len(app.messages) == 100
    assert peer.streams[numbers[-1]].reset == REFUSED_STREAM
    assert not peer.closed
    peer.reset(numbers[0])
    peer.request()
    assert len(peer.client.scopes) == 101


class Deaf:
    """Does not notice that its client has left."""

    def __init__(self):
        self.gates = []

    async def __call__(self, scope, receive, send):
        gate = asyncio.get_running_loop().create_future()
        self.gates.append(gate)
        await gate


def test_applications_that_run_on_behind_their_streams(stack):
    """A client cannot have more of them than streams by leaving those."""
    app = Deaf()
    peer = connect(stack, app)
    for count in range(150):
        stream_id = peer.request()
        if peer.streams[stream_id].reset is None:
            peer.reset(stream_id)
        if count % 20 == 0:
            peer.advance(1)
    assert len(app.gates) == 100
    assert peer.get().reset == REFUSED_STREAM
    for gate in app.gates:
        peer.client.loop.call(gate.set_result, None)
    peer.client.loop.run_until_idle()
    peer.request()
    assert len(app.gates) == 101


def test_applications_that_run_on_behind_refused_bodies(stack, server_log):
    """The same, for streams that got an answer that is not the application's."""
    app = Deaf()
    peer = connect(stack, app, limit_request_body=10, timeout_keep_alive=100)
    for count in range(150):
        stream_id = peer.request(fields("POST"), end=False)
        if peer.streams[stream_id].reset is None:
            peer.data(stream_id, b"x" * 11, end=True)
        if count % 50 == 49:
            peer.advance(3)
    assert len(app.gates) == 100
    assert peer.get().reset == REFUSED_STREAM


# -- faults of the connection


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR, ""),
        (frame(DATA, 0, 1, b"x"), PROTOCOL_ERROR, ""),
        (frame(DATA, 8, 1, b"\5abc"), PROTOCOL_ERROR, ""),
        (frame(HEADERS, 5, 0, b"\x82"), PROTOCOL_ERROR, ""),
        (frame(HEADERS, 5, 2, b"\x82"), PROTOCOL_ERROR, ""),
        (frame(HEADERS, 5, 1, b"\xff\xff\xff"), COMPRESSION_ERROR, ""),
        (frame(HEADERS, 5, 1, b"\x40\x85"), COMPRESSION_ERROR, ""),
        (frame(HEADERS, 0x2D, 1, b"\0\0\0\0"), FRAME_SIZE_ERROR, "HEADERS frame too short"),
        (frame(HEADERS, 13, 1, b"\5\x82"), PROTOCOL_ERROR, "more padding than frame"),
        (frame(HEADERS, 13, 1), PROTOCOL_ERROR, "more padding than frame"),
        (frame(HEADERS, 1, 1, b"\x82") + frame(DATA, 0, 1), PROTOCOL_ERROR, "within a header block"),
        (frame(HEADERS, 1, 1, b"\x82") + frame(CONTINUATION, 4, 3), PROTOCOL_ERROR, "within a header block"),
        (frame(HEADERS, 1, 1, b"\x82") + frame(PING, 0, 0, b"x" * 8), PROTOCOL_ERROR, "within a header block"),
        (frame(HEADERS, 1, 1, b"\x82") + frame(GOAWAY, 0, 0, b"x" * 8), PROTOCOL_ERROR, "within a header block"),
        (frame(HEADERS, 1, 1, b"\x82") + frame(99, 0, 0), PROTOCOL_ERROR, "within a header block"),
        (frame(CONTINUATION, 4, 1, b"\x82"), PROTOCOL_ERROR, "CONTINUATION"),
        (frame(RST_STREAM, 0, 1, number(8)), PROTOCOL_ERROR, "not opened"),
        (frame(RST_STREAM, 0, 0, number(8)), PROTOCOL_ERROR, "not opened"),
        (frame(SETTINGS, 0, 1), PROTOCOL_ERROR, ""),
        (frame(SETTINGS, 0, 0, b"x"), FRAME_SIZE_ERROR, ""),
        (frame(SETTINGS, ACK, 0, setting(1, 1)), FRAME_SIZE_ERROR, ""),
        (frame(SETTINGS, 0, 0, setting(2, 2)), PROTOCOL_ERROR, ""),
        (frame(SETTINGS, 0, 0, setting(4, 2**31)), FLOW_CONTROL_ERROR, ""),
        (frame(SETTINGS, 0, 0, setting(5, 16383)), PROTOCOL_ERROR, "SETTINGS_MAX_FRAME_SIZE"),
        (frame(SETTINGS, 0, 0, setting(5, 2**24)), PROTOCOL_ERROR, "SETTINGS_MAX_FRAME_SIZE"),
        (frame(PUSH_PROMISE, 4, 1, number(2)), PROTOCOL_ERROR, ""),
        (frame(PING, 0, 0, b"short"), FRAME_SIZE_ERROR, "PING frame of 5 bytes"),
        (frame(PING, 0, 1, b"x" * 8), PROTOCOL_ERROR, ""),
        (frame(GOAWAY, 0, 0, b"short"), FRAME_SIZE_ERROR, "GOAWAY"),
        (frame(GOAWAY, 0, 1, b"x" * 8), PROTOCOL_ERROR, "GOAWAY"),
        (frame(WINDOW_UPDATE, 0, 0, number(0)), PROTOCOL_ERROR, ""),
        (frame(WINDOW_UPDATE, 0, 0, b"x"), FRAME_SIZE_ERROR, ""),
        (frame(WINDOW_UPDATE, 0, 2, number(1)), PROTOCOL_ERROR, "not opened"),
        (frame(WINDOW_UPDATE, 0, 1, number(1)), PROTOCOL_ERROR, ""),
        (frame(WINDOW_UPDATE, 0, 0, NUMBER), FLOW_CONTROL_ERROR, ""),
        (frame(PRIORITY, 0, 0, b"x" * 5), PROTOCOL_ERROR, ""),
        (frame(PRIORITY, 0, 1, b"x" * 4), FRAME_SIZE_ERROR, ""),
        (frame(RST_STREAM, 0, 2, number(8)), PROTOCOL_ERROR, "not opened"),
        (frame(DATA, 0, 1, b"x" * 16385)[:9], FRAME_SIZE_ERROR, "frame of 16385 bytes"),
        (frame(99, 0, 0, b"x" * 16385)[:9], FRAME_SIZE_ERROR, "frame of 16385 bytes"),
        (b"\xff" * 9, FRAME_SIZE_ERROR, "frame of"),
        (b"GET / HTTP/1.1\r\n\r\n", FRAME_SIZE_ERROR, "frame of"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_faults(stack, server_log, data, code, says):
    peer = connect(stack, hello)
    peer.raw(data)
    assert ended_for(peer, server_log, code, says)


@pytest.mark.parametrize("first", [PING, HEADERS, WINDOW_UPDATE, 99])
def test_the_first_frame_has_to_be_settings(stack, server_log, first):
    client = serve(stack, hello, http2=True)
    client.feed(PREFACE + frame(first, 0, 0, b"x" * 8))
    assert client.ended
    assert server_log.warnings == ["127.0.0.1:50000 - HTTP/2 connection ended: the first frame is not SETTINGS"]


def test_a_fault_takes_all_streams_with_it(stack, server_log):
    app = Idle()
    peer = connect(stack, app)
    for _ in range(3):
        peer.request()
    peer.raw(b"\xff" * 9)
    assert app.ended == 3
    assert ended_for(peer, server_log, FRAME_SIZE_ERROR, "")
    assert peer.goaways[0].last_stream_id == 5


def test_nothing_is_taken_behind_a_fault(stack, server_log):
    peer = connect(stack, hello)
    peer.raw(b"\xff" * 9)
    peer.client.feed(b"\xff" * 100000)
    assert ended_for(peer, server_log, FRAME_SIZE_ERROR, "")


def opened(peer):
    """A stream that is open on both sides, and another one that the client has ended."""
    numbers = [peer.request(fields("POST"), end=False), peer.request()]
    assert numbers == [1, 3]
    return peer


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(RST_STREAM, 0, 1, b"abc"), FRAME_SIZE_ERROR),
        (frame(WINDOW_UPDATE, 0, 1, b"abc"), FRAME_SIZE_ERROR),
        (frame(SETTINGS, 0, 0, setting(4, 2**31 - 1)) + frame(WINDOW_UPDATE, 0, 0, number(1)), None),
        (frame(WINDOW_UPDATE, 0, 1, number(1)) + frame(SETTINGS, 0, 0, setting(4, 2**31 - 1)), FLOW_CONTROL_ERROR),
        (frame(RST_STREAM, 0, 1, number(8)) + frame(DATA, 0, 1, b"x"), STREAM_CLOSED),
        (frame(RST_STREAM, 0, 1, number(8)) + frame(HEADERS, 5, 1, b"\x82"), STREAM_CLOSED),
        (frame(RST_STREAM, 0, 1, number(8)) + frame(WINDOW_UPDATE, 0, 1, number(1)), None),
        (frame(RST_STREAM, 0, 1, number(8)) + frame(RST_STREAM, 0, 1, number(8)), None),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_faults_with_streams(stack, server_log, data, code):
    peer = opened(connect(stack, Idle()))
    peer.raw(data)
    if code is None:
        assert not peer.closed
    else:
        assert ended_for(peer, server_log, code, "")


@pytest.mark.parametrize(
    ("data", "number_", "code"),
    [
        (frame(WINDOW_UPDATE, 0, 1, number(0)), 1, PROTOCOL_ERROR),
        (frame(WINDOW_UPDATE, 0, 1, NUMBER), 1, FLOW_CONTROL_ERROR),
        (frame(HEADERS, 4, 1, b"\x82"), 1, PROTOCOL_ERROR),
        (frame(HEADERS, 5, 3, b"\x82"), 3, STREAM_CLOSED),
        (frame(DATA, 0, 3, b"x"), 3, STREAM_CLOSED),
        (frame(DATA, END_STREAM, 3), 3, STREAM_CLOSED),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_faults_of_one_stream(stack, server_log, data, number_, code):
    """The other one and the connection go on; what the client had sent before it knew is ignored."""
    app = Idle()
    peer = opened(connect(stack, app))
    peer.raw(data)
    assert [peer.streams[one].reset for one in (1, 3)] == [code if one == number_ else None for one in (1, 3)]
    assert len(server_log.warnings) == 1
    assert f"127.0.0.1:50000 - HTTP/2 stream {number_} reset: " in server_log.warnings[0]
    peer.raw(frame(DATA, 0, number_, b"x") + frame(HEADERS, 5, number_, b"\x82"))
    assert not peer.closed
    assert app.ended == 1


@pytest.mark.parametrize("content", [b"", b"x"])
def test_data_behind_the_end_of_a_request(stack, content):
    app = Idle()
    peer = connect(stack, app)
    peer.request()
    peer.raw(frame(DATA, END_STREAM, 1, content))
    assert peer.streams[1].reset == STREAM_CLOSED
    assert app.disconnected
    assert not peer.closed


def test_unknown_frames_and_settings_are_ignored(stack):
    peer = connect(stack, hello)
    peer.raw(frame(99, 255, 7, b"whatever") + frame(SETTINGS, 0, 0, setting(0xABCD, 7)))
    peer.raw(frame(PRIORITY, 0, 9, number(0) + b"\1") + frame(10, 0, 0, b"\0\0x"))
    assert peer.get().status == 200
    assert not peer.closed


def test_ping(stack):
    peer = connect(stack, hello)
    peer.h2.ping(b"12345678")
    peer.flush()
    assert peer.pings == 1


@pytest.mark.parametrize("code", [0, 2])
def test_goaway_of_the_client(stack, server_log, code):
    """The streams that are open go on; then the connection closes."""
    app = Idle()
    peer = connect(stack, app)
    peer.request()
    peer.raw(frame(GOAWAY, 0, 0, number(0) + number(code) + b"bye\n"))
    assert not peer.closed
    assert not app.disconnected
    peer.reset(1)
    assert peer.client.transport.lost
    assert server_log.warnings == (
        [r"127.0.0.1:50000 - client ends the HTTP/2 connection: error 2 'bye\n'"] if code else []
    )


# -- floods


def test_rapid_reset(stack, server_log):
    """CVE-2023-44487: requests that are taken back at once."""
    app = Idle()
    peer = connect(stack, app)
    for _ in range(1000):
        stream_id = peer.send_request()
        peer.h2.reset_stream(stream_id)
    peer.raw(peer.h2.data_to_send())
    assert app.messages == []  # none of them was started
    assert ended_for(peer, server_log, ENHANCE_YOUR_CALM, "too many streams reset")


def test_rapid_reset_in_small_pieces(stack, server_log):
    app = Idle()
    peer = connect(stack, app)
    for _ in range(1000):
        peer.reset(peer.request())
        if peer.closed:
            break
    assert 300 < app.ended < 600
    assert ended_for(peer, server_log, ENHANCE_YOUR_CALM, "too many streams reset")


def test_some_resets_are_no_flood(stack):
    """A browser whose user goes from page to page."""
    peer = connect(stack, Idle())
    for _ in range(20):
        for number in [peer.request() for _ in range(50)]:
            peer.reset(number)
        peer.advance(3)
    assert not peer.closed


@pytest.mark.parametrize(
    ("flood", "says"),
    [
        (frame(PING, 0, 0, b"x" * 8), "too many PING frames"),
        (frame(PING, ACK, 0, b"x" * 8), "too many PING frames"),
        (frame(SETTINGS), "too many SETTINGS frames"),
        (frame(SETTINGS, 0, 0, setting(4, 1)), "too many SETTINGS frames"),
        (frame(SETTINGS, ACK), "too many SETTINGS frames"),
        (frame(PRIORITY, 0, 9, number(0) + b"\1"), "too many frames without effect"),
        (frame(99), "too many frames without effect"),
        (frame(WINDOW_UPDATE, 0, 0, number(1)), "too many window updates"),
        (frame(DATA, 0, 1), "too many empty DATA frames"),
        (frame(DATA, 8, 1, b"\0"), None),
    ],
    ids=repr,
)
def test_floods(stack, server_log, flood, says):
    app = Idle()
    peer = connect(stack, app)
    peer.request(fields("POST"), end=False)
    for _ in range(15):
        peer.client.feed(flood * 100)
        if peer.closed:
            break
    peer.read()
    if says is None:  # padding costs the client window
        assert not peer.closed
    else:
        assert ended_for(peer, server_log, ENHANCE_YOUR_CALM, says)
        assert app.disconnected


@pytest.mark.parametrize("kind", [PING, WINDOW_UPDATE])
def test_what_is_usual_is_no_flood(stack, kind):
    peer = connect(stack, Idle() if kind == PING else hello)
    if kind == PING:
        peer.request()  # an idle connection would close
    content = b"x" * 8 if kind == PING else number(1)
    for _ in range(2000):
        peer.client.feed(frame(kind, 0, 0, content))
        if kind == WINDOW_UPDATE:
            peer.get()
        peer.advance(0.25)
    assert not peer.closed


def test_malformed_requests_in_masses(stack, server_log):
    peer = connect(stack, hello)
    peer.h2.remote_settings[3] = 1000
    peer.h2.remote_settings.acknowledge()
    for _ in range(600):
        peer.send_request(fields(more=[("X", "y")]))
    peer.raw(peer.h2.data_to_send())
    assert peer.code == ENHANCE_YOUR_CALM
    assert 400 < len(server_log.warnings) < 550
    assert server_log.warnings[-1].endswith("HTTP/2 connection ended: too many malformed requests")


def test_continuation_flood(stack, server_log):
    peer = connect(stack, hello)
    block = peer.h2.encoder.encode(fields())
    peer.client.feed(frame(HEADERS, END_STREAM, 1, block))
    for _ in range(100):
        peer.client.feed(frame(CONTINUATION, 0, 1))
        if peer.closed:
            break
    peer.read()
    assert ended_for(peer, server_log, ENHANCE_YOUR_CALM, "too many CONTINUATION frames")


def test_a_header_block_without_end(stack, server_log):
    """Bounded before it is decoded, so that nothing of it is kept."""
    peer = connect(stack, hello)
    peer.client.feed(frame(HEADERS, END_STREAM, 1, b"\0" * 16384))
    for _ in range(20):
        peer.client.feed(frame(CONTINUATION, 0, 1, b"\0" * 16384))
        if peer.closed:
            break
    peer.read()
    assert ended_for(peer, server_log, ENHANCE_YOUR_CALM, "header block too large")


def test_a_header_section_that_unpacks_to_much(stack, server_log):
    """A bomb: a large field in the table, and many references to it."""
    peer = connect(stack, hello)
    block = peer.h2.encoder.encode([*fields(), ("x", "y" * 4000)])
    peer.raw(frame(HEADERS, END_STREAM | END_HEADERS, 1, block + b"\xbe" * 10000))
    assert ended_for(peer, server_log, ENHANCE_YOUR_CALM, "")


def test_many_small_pieces_of_a_body(stack, server_log):
    """They count by their number too, when the application does not receive them."""
    peer = connect(stack, Deaf())
    numbers = [peer.request(fields("POST"), end=False) for _ in range(3)]
    for number_ in numbers:
        peer.client.feed(frame(DATA, 0, number_, b"ab") * 8000)
        if peer.closed:
            break
    peer.read()
    assert ended_for(peer, server_log, ENHANCE_YOUR_CALM, "too many small DATA frames")


def test_answers_that_are_not_read(stack, server_log):
    peer = connect(stack, hello, peer=without_window(2**20))
    peer.client.transport.block_writes()
    for _ in range(600):
        peer.client.feed(frame(PING, 0, 0, b"x" * 8))
        if peer.closed:
            break
    assert peer.closed
    assert server_log.warnings == ["127.0.0.1:50000 - HTTP/2 connection ended: answers to control frames are not read"]
    assert peer.client.transport.max_pending < 20000


def test_data_for_streams_that_have_ended(stack, server_log):
    peer = connect(stack, hello)
    peer.get()
    peer.client.feed(frame(DATA, 0, 1) * 1500)
    peer.read()
    assert peer.closed
    assert peer.code in (ENHANCE_YOUR_CALM, STREAM_CLOSED)


def test_settings_that_nobody_knows_are_not_kept(stack):
    peer = connect(stack, hello)
    for start_ in range(0, 60000, 2000):
        peer.client.feed(frame(SETTINGS, 0, 0, b"".join(setting(start_ + 100 + key, 1) for key in range(2000))))
    peer.read()
    assert not peer.closed
    assert peer.get().status == 200


def test_responses_in_masses_are_bounded_by_streams(stack):
    """A client that reads nothing and asks on and on: as many responses wait as there may be streams."""

    async def large(scope, receive, send):
        await respond(send, b"x" * 100_000)

    peer = connect(stack, large, peer=without_window(0))
    numbers = [peer.request() for _ in range(100)]
    assert all(peer.streams[one].status == 200 for one in numbers)
    assert len(peer.client.scopes) == 100


def test_header_blocks_for_streams_that_have_ended(stack, server_log):
    """They are decoded, and ignored where the stream was reset; that is no reason to send them without end."""
    peer = opened(connect(stack, Idle()))
    peer.raw(frame(DATA, 0, 3, b"x"))
    assert peer.streams[3].reset == STREAM_CLOSED
    for _ in range(15):
        peer.client.feed(frame(HEADERS, 5, 3, b"\x82") * 100)
        if peer.closed:
            break
    peer.read()
    assert peer.closed
    assert server_log.warnings[-1].endswith("too many frames for streams that have ended")


def test_responses_that_are_not_read(stack, server_log):
    """Those without a body need no window, and no stream stays open for them: the transport's buffer is the bound."""

    async def heads(scope, receive, send):
        await respond(send, headers=[(b"set-cookie", b"x" * 2000)])

    peer = connect(stack, heads, peer=without_window(2**20))
    block = peer.h2.encoder.encode(fields("HEAD"))
    peer.client.transport.block_writes()
    for count in range(3000):
        peer.client.feed(frame(HEADERS, 5, 2 * count + 1, block))
        if peer.closed:
            break
    assert peer.closed
    assert server_log.warnings == ["127.0.0.1:50000 - HTTP/2 connection ended: too many streams refused"]
    assert peer.client.transport.max_pending < 1_200_000


def test_a_client_that_gives_window_in_small_parts(stack):
    """One for the stream and one for the connection with each 4 KiB: so does that of Go."""

    async def large(scope, receive, send):
        await respond(send, b"x" * 4_000_000)

    peer = connect(stack, large, peer=without_window(2**24))
    peer.credit(2**24)
    for _ in range(3):
        stream_id = peer.request(end=False)
        assert len(peer.streams[stream_id].body) == 4_000_000
        for _ in range(4_000_000 // 4096):
            peer.credit(4096).credit(4096, stream_id)
        peer.h2.end_stream(stream_id)
        peer.flush()
        assert not peer.closed


@pytest.mark.parametrize(("name", "status"), [("cookie", 200), ("expect", 431)])
def test_a_field_that_is_repeated_very_often(stack, server_log, name, status):
    """A byte each time is enough to do that. If what it costs grew with the square, this would take very long."""
    peer = connect(stack, hello, limit_header_size=10_000_000)
    stream_id = peer.h2.get_next_available_stream_id()
    peer.streams[stream_id] = Stream()
    peer.h2.send_headers(stream_id, [*fields(), (name, "y" * 100)], True)
    sent = peer.h2.data_to_send()
    data = sent[:4] + b"\1" + sent[5:]  # the block goes on
    more = b"\xbe" * 40_000
    parts = [more[at : at + 16384] for at in range(0, len(more), 16384)]
    data += b"".join(frame(CONTINUATION, END_HEADERS * (part is parts[-1]), stream_id, part) for part in parts)
    peer.raw(data)
    assert peer.streams[stream_id].status == status
    if status == 200:
        (cookie,) = [value for key, value in peer.client.scopes[0]["headers"] if key == b"cookie"]
        assert cookie == b"; ".join([b"y" * 100] * 40_001)


def test_settings_in_masses(stack, server_log):
    """Each one of them goes over all streams; what they cost depends on how many there are in a frame."""
    peer = connect(stack, hello)
    for _ in range(60):
        peer.client.feed(frame(SETTINGS, 0, 0, setting(4, 1) * 2700))
        if peer.closed:
            break
    peer.read()
    assert ended_for(peer, server_log, ENHANCE_YOUR_CALM, "too many SETTINGS frames")
