"""RequestReader over each stack's HeadParser: the same events however the bytes are cut."""

from __future__ import annotations

import random

import pytest
from harness import GET, request

from asgiserve._consts import BODY, BODY_END, END, NEED_DATA, REQUEST, REQUEST_END
from asgiserve.errors import ProtocolError

CHUNKED = request("POST", "/c", "Transfer-Encoding: chunked")
POST = request("POST", "/p?q", "X: y", body=b"hello")
MESSAGES = {
    "bare": GET,
    "length": POST,
    "no body": request("POST", body=b""),
    "chunked": CHUNKED + b"5\r\nhello\r\n3;x=y\r\nabc\r\n0\r\nA: b\r\n\r\n",
    "chunked, empty": CHUNKED + b"0\r\n\r\n",
    "sequence": GET + POST + CHUNKED + b"1\r\nx\r\n0\r\n\r\n" + GET + b"\r\n" + POST,
    "absolute-form": request("GET", "http://a:1/b?c"),
    "cut in a head": GET + POST[:30],
    "cut in a body": GET + POST[:-2],
    "bad line": GET + b"bad\r\n\r\n",
    "bad field": GET + b"GET / HTTP/1.1\r\nHost: h\r\nbad\r\n\r\n",
    "no host": POST + b"GET / HTTP/1.1\r\n\r\n",
    "bad chunk": CHUNKED + b"3\r\nabc\r\nX\r\n",
    "bad trailer": CHUNKED + b"3\r\nabc\r\n0\r\nX\r\n\r\n",
    "both framings": request("POST", "/", "Transfer-Encoding: chunked", "Content-Length: 5"),
}


@pytest.fixture
def reader(part):
    """Makes a RequestReader with these limits."""
    module = part("reader")

    def make(line=16384, size=65536, fields=128, body=-1):
        return module.RequestReader(module.Limits(line, size, fields, body))

    return make


def describe(head):
    return (
        head.method,
        head.minor_version,
        head.raw_path,
        head.query,
        head.authority,
        list(head.headers),
        head.content_length,
        bool(head.keep_alive),
        bool(head.expect_continue),
        bool(head.te_trailers),
    )


def run(reader, pieces):
    """Everything the reader reports, with the body of each request joined: comparable for any cut."""
    out = []
    try:
        for piece in pieces:
            reader.feed(piece)
            while True:
                event = reader.next_event()
                if event == NEED_DATA:
                    if not reader.is_complete():
                        break
                    out.append("next")
                    reader.next_message()
                elif event in (REQUEST, REQUEST_END):
                    out.append(describe(reader.head))
                    out.append(b"")
                else:
                    if event != END:
                        assert len(reader.chunk) > 0
                        out[-1] += reader.chunk
                if event in (REQUEST_END, BODY_END, END):
                    assert reader.is_complete()
                    assert reader.body_left() == 0
    except ProtocolError as error:
        out.append((error.status, error.detail))
    return out


@pytest.mark.parametrize("name", MESSAGES)
def test_every_split(reader, name):
    data = MESSAGES[name]
    whole = run(reader(), [data])
    assert run(reader(), [data[at : at + 1] for at in range(len(data))]) == whole
    for at in range(1, len(data)):
        assert run(reader(), [data[:at], data[at:]]) == whole, at


@pytest.mark.parametrize("name", ["sequence", "chunked", "bad trailer"])
def test_every_pair_of_splits(reader, name):
    data = MESSAGES[name][:150]
    whole = run(reader(), [data])
    for first in range(1, len(data), 3):
        for second in range(first + 1, len(data), 2):
            assert run(reader(), [data[:first], data[first:second], data[second:]]) == whole, (first, second)


def test_events_of_a_request_without_a_body(reader):
    one = reader()
    assert one.next_event() == NEED_DATA
    assert one.is_idle()
    one.feed(GET)
    assert not one.is_idle()
    assert one.next_event() == REQUEST_END
    assert one.next_event() == NEED_DATA
    assert one.is_complete()
    assert one.is_idle()
    assert not one.has_input()


def test_events_of_a_body(reader):
    one = reader()
    one.feed(POST[:-5])
    assert one.next_event() == REQUEST
    assert one.body_left() == 5
    assert one.next_event() == NEED_DATA
    one.feed(b"he")
    assert one.next_event() == BODY
    assert one.chunk == b"he"
    assert one.body_left() == 3
    assert one.next_event() == NEED_DATA
    one.feed(b"lloGET")
    assert one.next_event() == BODY_END
    assert one.chunk == b"llo"
    assert one.next_event() == NEED_DATA
    assert one.has_input()


def test_one_chunk_for_all_the_body_of_one_feed(reader):
    one = reader()
    one.feed(CHUNKED + b"1\r\na\r\n2\r\nbc\r\n3\r\nde")
    assert one.next_event() == REQUEST
    assert one.body_left() == -1
    assert one.next_event() == BODY
    assert one.chunk == b"abcde"
    assert one.next_event() == NEED_DATA
    one.feed(b"f\r\n1\r\ng\r\n0\r\n\r\n")
    assert one.next_event() == BODY_END
    assert one.chunk == b"fg"


def test_end_of_a_body_without_further_bytes(reader):
    one = reader()
    one.feed(CHUNKED + b"1\r\na\r\n")
    assert [one.next_event() for _ in range(3)] == [REQUEST, BODY, NEED_DATA]
    one.feed(b"0\r\n\r\n")
    assert one.next_event() == END
    assert one.is_complete()


def test_the_gate(reader):
    """Behind a request nothing happens before next_message()."""
    one = reader()
    one.feed(GET + b"bad\r\n\r\n")
    assert one.next_event() == REQUEST_END
    for _ in range(3):
        assert one.next_event() == NEED_DATA
    one.next_message()
    with pytest.raises(ProtocolError):
        one.next_event()


def test_the_good_part_of_a_bad_body_comes_first(reader):
    one = reader()
    one.feed(CHUNKED + b"1\r\na\r\nX\r\n")
    assert one.next_event() == REQUEST
    assert one.next_event() == BODY
    assert one.chunk == b"a"
    for _ in range(2):
        with pytest.raises(ProtocolError):
            one.next_event()


def test_drop_input(reader):
    one = reader()
    one.feed(GET + GET)
    one.next_event()
    one.drop_input()
    assert not one.has_input()
    assert one.is_idle()


def test_registers_are_fresh(reader):
    """A head belongs to its request alone."""
    one = reader()
    one.feed(POST + GET)
    one.next_event()
    first = one.head
    one.next_event()
    one.next_message()
    one.next_event()
    assert one.head is not first
    assert first.headers != one.head.headers
    assert (first.method, first.query, first.content_length) == ("POST", b"q", 5)
    assert (one.head.method, one.head.query, one.head.content_length) == ("GET", b"", 0)


@pytest.mark.parametrize(
    ("limits", "data", "status"),
    [
        ({"line": 14}, GET, 0),
        ({"line": 13}, GET, 414),
        ({"size": 9}, GET, 0),
        ({"size": 8}, GET, 431),
        ({"fields": 1}, GET, 0),
        ({"fields": 0}, GET, 431),
        ({"body": 5}, POST, 0),
        ({"body": 4}, POST, 413),
        ({"body": 0}, GET, 0),
        ({"body": 3}, CHUNKED + b"3\r\nabc\r\n0\r\n\r\n", 0),
        ({"body": 2}, CHUNKED + b"3\r\nabc\r\n0\r\n\r\n", 413),
        ({"body": 3}, CHUNKED + b"1\r\na\r\n3\r\nabc\r\n0\r\n\r\n", 413),
    ],
)
def test_limits(reader, limits, data, status):
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        last = run(reader(**limits), pieces)[-1]
        assert (last[0] if isinstance(last, tuple) and isinstance(last[0], int) else 0) == status


def test_bytes_are_taken_as_they_are(reader):
    """A body that fills one feed is handed on without a copy."""
    one = reader()
    one.feed(request("POST", "/", "Content-Length: 100000"))
    one.next_event()
    data = b"x" * 50000
    one.feed(data)
    one.next_event()
    assert one.chunk is data


def test_fields_that_repeat(part):
    """A parser may remember fields of other requests: each head still has exactly what it came with."""
    rng = random.Random(7)
    parser, head_type = part("parser").HeadParser(), part("head").RequestHead
    names = [b"accept", b"user-agent", b"content-type", b"origin", b"cookie", b"authorization", b"x-own"]
    values = [b"", b"a", b"b" * 8, b"b" * 9, b"a" * 255, b"a" * 256, b"a" * 257, b"a" * 1000]
    values += [bytes(rng.choice(b"abc") for _ in range(rng.randrange(1, 20))) for _ in range(2000)]
    for number in range(3000):
        wanted = [(b"host", b"h%d" % (number % 700))]
        wanted += [(rng.choice(names), rng.choice(values)) for _ in range(rng.randrange(6))]
        data = b"GET / HTTP/1.1\r\n" + b"".join(b"%b: %b\r\n" % pair for pair in wanted) + b"\r\n"
        head = head_type()
        assert parser.parse(data, 0, head, False) == len(data)
        assert head.headers == wanted
        head.headers.clear()


def test_version_is_named(part):
    name, version = part("parser").PARSER_VERSION.split()
    assert name in ("h11", "llhttp")
    assert version.count(".") == 2


def test_head_parser_takes_ordinary_heads_only(part):
    """Unchecked, a twin may parse what is beyond doubt; all else it leaves to the rules."""
    parser, head_type = part("parser").HeadParser(), part("head").RequestHead
    doubtful = [
        GET[:-1],
        b"\r\n" + GET,
        b"G" + GET,
        request("CONNECT", "h:80"),
        request("OPTIONS", "*"),
        request("GET", "http://h/"),
        request("GET", "/#f"),
        request("GET", "/\x7f"),
        request("GET", "/", "A : b"),
        request("GET", "/", "A: b\r\n c"),
        request("GET", "/", "A: b\x00"),
        request("GET", "/", "A: b\x7f"),
        request(version="1.2"),
        GET.replace(b" / ", b"  / "),
        GET.replace(b" HTTP", b"  HTTP"),
        GET.replace(b"\r\n", b"\n"),
        GET.replace(b"Host", b"H@st"),
        GET.replace(b"Host: h", b"Host: h\r"),
    ]
    for data in doubtful:
        assert parser.parse(data, 0, head_type(), False) == 0, data
    head = head_type()
    assert parser.parse(b"xx" + POST, 2, head, False) == len(POST) - 5 + 2
    assert (head.method, head.raw_path, head.query, head.length_value) == ("POST", b"/p", b"q", b"5")
