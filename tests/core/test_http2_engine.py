"""The engine of an HTTP/2 connection by itself: what it remembers, its windows, and the frames that it makes."""

from __future__ import annotations

import pytest
from http2_peer import CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame

from asgiserve import _consts
from asgiserve.errors import ConnectionFault, StreamError

STREAM_CLOSED = 5
GET = b"\x82\x87\x84"  # three fields of the static table


@pytest.fixture
def engine(part):
    made = part("http2_engine").HTTP2Engine(65536, 128)
    made.take_output()
    return made


def open_stream(engine, stream_id, ends=True):
    flags = END_HEADERS | END_STREAM if ends else END_HEADERS
    assert engine.take(HEADERS, flags, stream_id, GET) == _consts.H2_REQUEST
    return engine


def test_it_begins_with_settings_and_a_window(part):
    output = part("http2_engine").HTTP2Engine(1000, 10).take_output()
    settings = b"\0\3" + (100).to_bytes(4, "big") + b"\0\4" + (131072).to_bytes(4, "big")
    settings += b"\0\6" + (1000).to_bytes(4, "big")
    assert output == frame(SETTINGS, 0, 0, settings) + frame(WINDOW_UPDATE, 0, 0, (2**20 - 65535).to_bytes(4, "big"))


def test_a_request(engine):
    open_stream(engine, 5)
    assert (engine.stream_id, engine.last_id, engine.has_ended) == (5, 5, True)
    assert engine.take_fields() == [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/")]
    assert engine.take_fields() == []


def test_streams_end_on_both_sides(engine):
    open_stream(engine, 1, ends=False)
    engine.send_fields(1, [(b":status", b"200")], True)
    assert engine.take(DATA, END_STREAM, 1, b"abc") == _consts.H2_DATA
    assert (engine.size, engine.has_ended) == (3, True)
    assert (engine.take_data(), engine.take_data()) == (b"abc", b"")
    with pytest.raises(ConnectionFault) as caught:
        engine.take(DATA, 0, 1, b"abc")
    assert caught.value.code == STREAM_CLOSED


def test_nothing_is_sent_on_a_stream_that_has_ended(engine):
    open_stream(engine, 1)
    engine.send_fields(1, [(b":status", b"204")], True)
    assert engine.take_output() == frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x89")
    engine.send_fields(1, [(b":status", b"204")], True)
    engine.send_data(1, b"x", 0, 1, True)
    engine.reset(1, 8)
    engine.credit_stream(1, 10)
    assert engine.take_output() == b""
    assert engine.room(1) == 0


def test_what_comes_for_a_stream_that_we_have_reset_is_ignored(engine):
    open_stream(engine, 1, ends=False).reset(1, 7)
    assert engine.take_output() == frame(RST_STREAM, 0, 1, b"\0\0\0\7")
    assert engine.take(DATA, END_STREAM, 1, b"abc") == _consts.H2_DATA  # its bytes count all the same
    assert engine.size == 3
    assert engine.take(HEADERS, END_HEADERS | END_STREAM, 1, GET) == _consts.H2_NOTHING
    assert engine.take(RST_STREAM, 0, 1, bytes(4)) == _consts.H2_NOTHING
    assert engine.take(WINDOW_UPDATE, 0, 1, b"\0\0\0\1") == _consts.H2_NOTHING


def test_that_is_not_remembered_without_end(engine):
    for stream_id in range(1, 2500, 2):
        open_stream(engine, stream_id, ends=False).reset(stream_id, 7)
    for stream_id in (1, 2499):
        assert engine.take(DATA, 0, stream_id, b"") == _consts.H2_DATA
    open_stream(engine, 2501).send_fields(2501, [(b":status", b"204")], True)
    with pytest.raises(ConnectionFault):
        engine.take(DATA, 0, 2501, b"")


def test_a_stream_that_was_passed_over_is_closed(engine):
    """RFC 9113 section 5.1.1: with a stream, those of lower numbers are closed that were never opened."""
    open_stream(engine, 5)
    with pytest.raises(ConnectionFault):
        engine.take(HEADERS, END_HEADERS | END_STREAM, 3, GET)


def test_windows_of_what_we_send(engine):
    open_stream(engine, 1)
    assert engine.room(1) == 16384
    for _ in range(3):
        engine.send_data(1, bytes(20000), 3616, 20000, False)
    engine.send_data(1, bytes(16383), 0, 16383, False)
    assert (engine.room(1), engine.window) == (0, 0)
    assert engine.take(WINDOW_UPDATE, 0, 1, (100).to_bytes(4, "big")) == _consts.H2_WINDOW
    assert engine.room(1) == 0
    assert engine.take(WINDOW_UPDATE, 0, 0, (50).to_bytes(4, "big")) == _consts.H2_WINDOW
    assert engine.room(1) == 50
    assert engine.take(SETTINGS, 0, 0, b"\0\4\0\0\0\0") == _consts.H2_WINDOWS
    assert engine.room(1) < 0
    engine.take_output()


def test_windows_of_what_comes(engine):
    open_stream(engine, 1, ends=False)
    open_stream(engine, 3, ends=False)
    for _ in range(8):
        engine.take(DATA, 0, 1, bytes(16384))
    engine.credit_stream(1, 1)
    engine.take(DATA, 0, 1, b"x")
    with pytest.raises(ConnectionFault, match="window of the stream"):
        engine.take(DATA, 0, 1, b"x")


def test_the_window_of_the_connection(engine):
    for stream_id in range(1, 17, 2):
        open_stream(engine, stream_id, ends=False)
        for _ in range(8):
            engine.take(DATA, 0, stream_id, bytes(16384))
    open_stream(engine, 17, ends=False)
    engine.credit(2)
    engine.take(DATA, 8, 17, b"\1\0")  # padding counts
    assert (engine.data, engine.size) == (b"", 2)
    with pytest.raises(ConnectionFault, match="window of the connection"):
        engine.take(DATA, 0, 17, b"x")


def test_the_first_bit_of_a_window_update_means_nothing(engine):
    engine.take(WINDOW_UPDATE, 0, 0, b"\x80\0\0\1")
    assert engine.window == 65536


def test_a_large_header_block_takes_several_frames(engine):
    open_stream(engine, 1)
    engine.send_fields(1, [(b":status", b"200"), (b"x", b"\xff" * 20000)], True)
    output = engine.take_output()
    found = []
    while output:
        size = int.from_bytes(output[:3], "big")
        found.append((size, output[3], output[4], output[8]))
        output = output[9 + size :]
    assert found[0] == (16384, HEADERS, END_STREAM, 1)
    assert found[1:-1] == [(16384, CONTINUATION, 0, 1)] * (len(found) - 2)
    assert found[-1][1:] == (CONTINUATION, END_HEADERS, 1)


def test_trailers(engine):
    open_stream(engine, 1, ends=False)
    with pytest.raises(StreamError):
        engine.take(HEADERS, END_HEADERS, 1, b"\x90")
    open_stream(engine, 3, ends=False)
    assert engine.take(HEADERS, END_HEADERS | END_STREAM, 3, b"\x90") == _consts.H2_TRAILERS
    assert engine.take_fields() == [(b"accept-encoding", b"gzip, deflate")]
