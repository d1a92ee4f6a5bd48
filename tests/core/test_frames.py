"""FrameCodec: WebSocket frames (RFC 6455 sections 5 to 8, RFC 7692), the same on both stacks for any split.

The normal suite runs a small, repeatable selection of random streams. ASGISERVE_FUZZ=100000 runs that many new ones of
each kind; a failure prints its input, and ASGISERVE_FUZZ_SEED repeats a run.
"""

from __future__ import annotations

import os
import random
import zlib
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import FrameProtocol, Opcode

from asgiserve._consts import CLOSE_NO_STATUS, WS_BINARY, WS_CLOSE, WS_NEED_DATA, WS_PING, WS_PONG, WS_TEXT
from asgiserve.errors import FrameError

from .fuzz import EXAMPLES, FUZZ, choose_seed

SEED = choose_seed(21)

CONTINUATION = 0
RSV1, RSV2, RSV3 = 0x40, 0x20, 0x10
MASK = b"\x8f\x12\xa5\x3c"

PROTOCOL_ERROR = (1002, "protocol error")
INVALID_UTF8 = (1007, "invalid UTF-8")
INVALID_DEFLATE = (1007, "invalid compressed data")
TOO_BIG = (1009, "message too big")

TEXTS = {
    "empty": "",
    "ascii": "hello\r\n\x00\x7f",
    "one": "x",
    "latin": "çà et là",
    "one latin": "ÿ",
    "plane 0": "Привет, 世界 \uffff",
    "plane 1": "a😀b\U0010ffff",
    "wide late": "x" * 300 + "é" * 10 + "€" + "x" * 20 + "😀",
}


# -- the peer


def xor(data, mask):
    """Mask or unmask, the slow way."""
    return bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))


def frame_head(first, size, width=None):
    """The head of a masked frame without its key; `width` of the length in bytes (0, 2 or 8), or the least."""
    if width is None:
        width = 0 if size < 126 else 2 if size < 65536 else 8
    if width == 0:
        return bytes([first, 0x80 | size])
    return bytes([first, 0x80 | (126 if width == 2 else 127)]) + size.to_bytes(width, "big")


def frame(opcode, payload=b"", fin=True, rsv=0, mask=MASK, width=None):
    """A client's frame."""
    return frame_head((0x80 if fin else 0) | rsv | opcode, len(payload), width) + mask + xor(payload, mask)


def fragments(opcode, *payloads, rsv=0):
    """A client's message in these frames."""
    last = len(payloads) - 1
    return b"".join(
        frame(CONTINUATION if index else opcode, payload, index == last, 0 if index else rsv)
        for index, payload in enumerate(payloads)
    )


def deflated(*messages, bits=12):
    """The payloads of these messages, compressed by one client."""
    compressor = zlib.compressobj(wbits=-bits)
    return [(compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4] for message in messages]


def unmasked(opcode, payload, rsv=0):
    """A server's frame: what the codec is to make."""
    head = frame_head(0x80 | rsv | opcode, len(payload))
    return head[:1] + bytes([head[1] & 0x7F]) + head[2:] + payload


# -- the codec


def make_codec(package, max_size, deflate):
    parameters = None
    if deflate:
        parameters = import_module(f"{package}.deflate").DeflateParameters(
            12, 12, deflate == "reset", deflate == "reset"
        )
    return import_module(f"{package}.frames").FrameCodec(max_size, parameters)


@pytest.fixture
def codec(stack):
    """Makes a FrameCodec; `deflate` is False, True, or "reset" for no context takeover."""
    package = stack.HTTPConnection.__module__.rpartition(".")[0]
    return lambda max_size=-1, deflate=False: make_codec(package, max_size, deflate)


@pytest.fixture
def codecs(stacks):
    """Makes one of each stack."""
    packages = [stack.HTTPConnection.__module__.rpartition(".")[0] for stack in stacks]
    return lambda *args: [make_codec(package, *args) for package in packages]


def take(codec):
    """What is there now: events, and the error that ends them."""
    out = []
    try:
        while True:
            event = codec.next_event()
            if event == WS_NEED_DATA:
                return out
            if event == WS_CLOSE:
                out.append((event, codec.code, codec.reason))
            else:
                assert type(codec.payload) is (str if event == WS_TEXT else bytes)
                out.append((event, codec.payload))
    except FrameError as error:
        return [*out, (error.code, error.detail)]


def run(codec, *pieces):
    """All that comes of these pieces, read after each."""
    out = []
    for piece in pieces:
        codec.feed(piece)
        out += take(codec)
    return out


def each_byte(data):
    return [data[index : index + 1] for index in range(len(data))]


# -- messages


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_text(codec, text):
    assert run(codec(), frame(WS_TEXT, text.encode())) == [(WS_TEXT, text)]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_text_in_pieces(codec, text):
    data = text.encode()
    assert run(codec(), *each_byte(frame(WS_TEXT, data))) == [(WS_TEXT, text)]
    assert run(codec(), fragments(WS_TEXT, *each_byte(data), b"")) == [(WS_TEXT, text)]
    for cut in range(len(data) + 1):
        assert run(codec(), fragments(WS_TEXT, data[:cut], data[cut:])) == [(WS_TEXT, text)]


def test_binary(codec):
    data = bytes(range(256))
    assert run(codec(), frame(WS_BINARY, data)) == [(WS_BINARY, data)]
    assert run(codec(), *each_byte(frame(WS_BINARY, data))) == [(WS_BINARY, data)]
    assert run(codec(), fragments(WS_BINARY, *each_byte(data))) == [(WS_BINARY, data)]


def test_empty_messages(codec):
    for opcode, nothing in ((WS_TEXT, ""), (WS_BINARY, b"")):
        assert run(codec(), frame(opcode)) == [(opcode, nothing)]
        assert run(codec(), fragments(opcode, b"", b"", b"")) == [(opcode, nothing)]
        assert run(codec(), *each_byte(fragments(opcode, b"", b""))) == [(opcode, nothing)]


@pytest.mark.parametrize("mask", [MASK, b"\0\0\0\0", b"\xff\0\0\0", b"\x80\x01\x7f\xfe"], ids=bytes.hex)
def test_masks_of_every_length_and_alignment(codec, mask):
    """The payload begins anywhere in what is read, and a part of it anywhere in the message."""
    codec = codec()
    source = bytes(random.Random(5).choices(range(128), k=300))
    for size in range(301):
        data = source[:size]
        for shift in range(9) if size < 40 else (size % 9,):
            before = frame(WS_PING, b"." * shift)
            for opcode, message in ((WS_BINARY, data), (WS_TEXT, data.decode())):
                whole = frame(opcode, data, mask=mask)
                expected = [(WS_PING, b"." * shift), (opcode, message)]
                assert run(codec, before + whole) == expected
                cut = len(whole) - (size * 7 + shift) % (size + 1)
                assert run(codec, before + whole[:cut], whole[cut:]) == expected


@pytest.mark.parametrize("size", [124, 125, 126, 127, 128, 65534, 65535, 65536, 65537, 200_000])
def test_lengths(codec, size):
    data = random.Random(size).randbytes(size) if hasattr(random.Random, "randbytes") else os.urandom(size)
    frames = frame_head(0x80 | WS_BINARY, size) + bytes(4) + data, frame_head(0x80 | WS_TEXT, size) + bytes(4)
    codec = codec()
    assert run(codec, frames[0], frames[1] + b"a" * size) == [(WS_BINARY, data), (WS_TEXT, "a" * size)]
    for cut in (1, 5, 13, 14, 15, size // 2, size - 1):
        assert run(codec, frames[0][:cut], frames[0][cut:]) == [(WS_BINARY, data)]
    assert run(codec, fragments(WS_BINARY, b"x", b"y") + frames[0]) == [(WS_BINARY, b"xy"), (WS_BINARY, data)]


@pytest.mark.parametrize(("size", "width"), [(0, 2), (125, 2), (0, 8), (125, 8), (126, 8), (65535, 8)])
@pytest.mark.parametrize("opcode", [WS_TEXT, WS_BINARY])
def test_length_is_minimal(codec, opcode, size, width):
    assert run(codec(), frame_head(0x80 | opcode, size, width)) == [PROTOCOL_ERROR]


def test_length_has_63_bits(codec):
    assert run(codec(), frame_head(0x82, 2**63, 8)) == [PROTOCOL_ERROR]
    assert run(codec(), frame_head(0x82, 2**63 - 1, 8) + MASK + b"abc") == []


# -- heads


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_reserved_opcodes(codec, opcode):
    assert run(codec(), frame(opcode)) == [PROTOCOL_ERROR]
    assert run(codec(), fragments(WS_TEXT, b"a", b"")[:-6] + frame(opcode)) == [PROTOCOL_ERROR]


@pytest.mark.parametrize("opcode", [CONTINUATION, WS_TEXT, WS_BINARY, WS_CLOSE, WS_PING, WS_PONG])
def test_frames_are_masked(codec, opcode):
    first = frame(WS_TEXT, b"a", fin=False) if opcode == CONTINUATION else b""
    assert run(codec(), first, bytes([0x80 | opcode, 0])) == [PROTOCOL_ERROR]
    assert run(codec(), first, bytes([0x80 | opcode, 5]) + b"abcde") == [PROTOCOL_ERROR]


@pytest.mark.parametrize("opcode", [CONTINUATION, WS_TEXT, WS_BINARY, WS_CLOSE, WS_PING, WS_PONG])
@pytest.mark.parametrize("rsv", [RSV1, RSV2, RSV3, RSV1 | RSV2, RSV1 | RSV3])
@pytest.mark.parametrize("deflate", [False, True])
def test_reserved_bits(codec, opcode, rsv, deflate):
    first = frame(WS_TEXT, b"a", fin=False) if opcode == CONTINUATION else b""
    expected = [PROTOCOL_ERROR]
    if deflate and rsv == RSV1 and opcode in (WS_TEXT, WS_BINARY):
        expected = []
    assert run(codec(deflate=deflate), first, frame(opcode, b"a" * 9, rsv=rsv)[:-9]) == expected


@pytest.mark.parametrize("opcode", [WS_CLOSE, WS_PING, WS_PONG])
def test_control_frames_are_short_and_whole(codec, opcode):
    assert run(codec(), frame(opcode, b"\x03\xe8", fin=False)) == [PROTOCOL_ERROR]
    for width in (2, 8):
        assert run(codec(), frame_head(0x80 | opcode, 126, width)) == [PROTOCOL_ERROR]
    assert run(codec(), bytes([0x80 | opcode, 0x80 | 126])) == [PROTOCOL_ERROR]


def test_continuations(codec):
    assert run(codec(), frame(CONTINUATION, b"a")) == [PROTOCOL_ERROR]
    assert run(codec(), frame(CONTINUATION, b"a", fin=False)) == [PROTOCOL_ERROR]
    for opcode in (WS_TEXT, WS_BINARY):
        for fin in (True, False):
            assert run(codec(), frame(WS_TEXT, b"a", False) + frame(opcode, b"b", fin)) == [PROTOCOL_ERROR]
    done = fragments(WS_TEXT, b"a", b"b")
    assert run(codec(), done + frame(CONTINUATION)) == [(WS_TEXT, "ab"), PROTOCOL_ERROR]
    assert run(codec(), done + done) == [(WS_TEXT, "ab"), (WS_TEXT, "ab")]


# -- control frames


@pytest.mark.parametrize("opcode", [WS_PING, WS_PONG])
@pytest.mark.parametrize("payload", [b"", b"x", b"\xff" * 125], ids=len)
def test_pings_and_pongs(codec, opcode, payload):
    data = frame(opcode, payload)
    assert run(codec(), data, *each_byte(data)) == [(opcode, payload)] * 2


def test_control_frames_between_fragments_come_at_once(codec):
    codec = codec(max_size=4)
    assert run(codec, frame(WS_TEXT, b"\xc3", fin=False) + frame(WS_PING, b"12345")) == [(WS_PING, b"12345")]
    assert run(codec, frame(CONTINUATION, b"\xa9a", fin=False) + frame(WS_PONG)) == [(WS_PONG, b"")]
    assert run(codec, frame(CONTINUATION, b"b")) == [(WS_TEXT, "éab")]


def close_payload(code, reason=b""):
    return code.to_bytes(2, "big") + reason


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999])
def test_close_codes(codec, code):
    assert run(codec(), frame(WS_CLOSE, close_payload(code))) == [(WS_CLOSE, code, "")]
    assert run(codec(), *each_byte(frame(WS_CLOSE, close_payload(code, b"why")))) == [(WS_CLOSE, code, "why")]


@pytest.mark.parametrize("code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_close_codes_that_are_not_for_the_wire(codec, code):
    assert run(codec(), frame(WS_CLOSE, close_payload(code, b"\xff"))) == [PROTOCOL_ERROR]


def test_close(codec):
    assert run(codec(), frame(WS_CLOSE)) == [(WS_CLOSE, CLOSE_NO_STATUS, "")]
    assert run(codec(), frame(WS_CLOSE, b"\x03")) == [PROTOCOL_ERROR]
    longest = "é" * 61 + "x"
    assert run(codec(), frame(WS_CLOSE, close_payload(1001, longest.encode()))) == [(WS_CLOSE, 1001, longest)]
    for reason in (b"\xff", b"ok\xc3", b"\xed\xa0\x80"):
        assert run(codec(), frame(WS_CLOSE, close_payload(1001, reason))) == [INVALID_UTF8]


def test_nothing_is_read_after_close(codec):
    for last in (frame(WS_CLOSE, close_payload(1000)), frame(3)):
        instance = codec()
        assert len(run(instance, last + frame(WS_TEXT, b"a") + frame(3))) == 1
        assert instance.input_size() == 0
        assert run(instance, frame(WS_TEXT, b"a") + frame(3), b"\0\0\0\0") == []
        assert instance.input_size() == 0
        assert instance.payload is None
        assert instance.encode_close(1000, "") == b"\x88\x02\x03\xe8"


# -- UTF-8


#: Bytes, and how many of them show that they are no UTF-8.
INVALID = [
    (b"\x80", 1),
    (b"\xbf", 1),
    (b"\xc0", 1),
    (b"\xc1", 1),
    (b"\xf5", 1),
    (b"\xff", 1),
    (b"\xc2a", 2),
    (b"\xc2\xc2", 2),
    (b"\xe0\x9f", 2),
    (b"\xe1\x7f", 2),
    (b"\xed\xa0", 2),
    (b"\xed\xbf\xbf", 2),
    (b"\xf0\x8f", 2),
    (b"\xf4\x90", 2),
    (b"\xf1\xc0", 2),
    (b"\xe0\xa0a", 3),
    (b"\xed\x9f\xc0", 3),
    (b"\xf0\x90a", 3),
    (b"\xf4\x8f\xbf\xc0", 4),
    (b"\xf0\x9f\x98\x7f", 4),
]


@pytest.mark.parametrize(("bad", "shown"), INVALID, ids=[bad.hex() for bad, _ in INVALID])
@pytest.mark.parametrize("before", [b"", b"a", b"aaaaaaaa", "x€😀é".encode(), b"a" * 300], ids=len)
def test_invalid_utf8_fails_as_soon_as_it_shows(codec, before, bad, shown):
    data = before + bad
    enough = before + bad[:shown]
    assert run(codec(), frame(WS_TEXT, data)) == [INVALID_UTF8]
    assert run(codec(), frame(WS_TEXT, enough, fin=False)) == [INVALID_UTF8]
    assert run(codec(), frame(WS_TEXT, enough[:-1], fin=False)) == []
    # Within a frame, and in the second one.
    begin = frame(WS_TEXT, data + b"." * 50)[: -50 - len(data) + len(enough)]
    assert run(codec(), begin) == [INVALID_UTF8]
    assert run(codec(), begin[:-1], begin[-1:]) == [INVALID_UTF8]
    assert run(codec(), begin[:-1]) == []
    assert run(codec(), fragments(WS_TEXT, enough[:-1], enough[-1:], b"a")) == [INVALID_UTF8]


@pytest.mark.parametrize("cut", ["é", "€", "😀"])
def test_text_that_ends_in_a_character(codec, cut):
    data = cut.encode()
    for size in range(1, len(data)):
        for before in (b"", b"ab", b"x" * 300):
            assert run(codec(), frame(WS_TEXT, before + data[:size])) == [INVALID_UTF8]
            assert run(codec(), fragments(WS_TEXT, before, data[:size])) == [INVALID_UTF8]
            assert run(codec(), fragments(WS_TEXT, before + data[:size], b"")) == [INVALID_UTF8]


def decodes(data):
    try:
        return [(WS_TEXT, data.decode())]
    except UnicodeDecodeError:
        return [INVALID_UTF8]


def test_utf8_is_what_python_says(codec):
    """All of one and two bytes, and the ends of the ranges for longer ones."""
    edges = [0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0]
    samples = [bytes([one]) for one in range(256)]
    samples += [bytes([one, two]) for one in range(0x7E, 256) for two in edges]
    samples += [bytes([one, two, three]) for one in range(0xDF, 256) for two in edges for three in (0x7F, 0x80, 0xBF)]
    for one in range(0xEF, 256):
        samples += [bytes([one, two, 0x80, last]) for two in edges for last in (0x7F, 0x80, 0xBF, 0xC0)]
    for sample in samples:
        for data in (sample, b"0123456" + sample + b"0123456"):
            expected = decodes(data)
            assert run(codec(), frame(WS_TEXT, data)) == expected, data
            assert run(codec(), frame(WS_TEXT, data)[:-1], frame(WS_TEXT, data)[-1:]) == expected, data


def test_every_character(codec):
    """Alone, next to its like, and in a text that is long."""
    codec = codec()
    for start in range(0, 0x110000, 977):
        text = chr(start) if not 0xD800 <= start < 0xE000 else "x"
        data = text.encode()
        sent = frame(WS_TEXT, data) + frame(WS_TEXT, data * 63) + frame(WS_TEXT, data * 300)
        assert run(codec, sent) == [(WS_TEXT, text), (WS_TEXT, text * 63), (WS_TEXT, text * 300)]


# -- sizes


@pytest.mark.parametrize("opcode", [WS_TEXT, WS_BINARY])
def test_size_of_a_message(codec, opcode):
    message = "aaaaa" if opcode == WS_TEXT else b"aaaaa"
    for whole in (frame(opcode, b"aaaaa"), fragments(opcode, b"aaa", b"aa"), fragments(opcode, b"", b"aaaaa", b"")):
        assert run(codec(5), whole + whole, *each_byte(whole)) == [(opcode, message)] * 3
        assert run(codec(4), whole) == [TOO_BIG]
        assert run(codec(4), *each_byte(whole)) == [TOO_BIG]
    assert run(codec(0), frame(opcode)) == [(opcode, message[:0])]
    assert run(codec(0), frame(opcode, b"a")) == [TOO_BIG]


def test_size_fails_with_the_head(codec):
    """Before the mask and the payload, whatever was announced."""
    for size in (101, 126, 65535, 65536, 2**31, 2**62, 2**63 - 1):
        head = frame_head(0x80 | WS_BINARY, size)
        assert run(codec(100), head) == [TOO_BIG]
        assert run(codec(100), head[:-1], head[-1:]) == [TOO_BIG]
        assert run(codec(100), frame(WS_TEXT, b"abc", fin=False), frame_head(0x80, size)) == [TOO_BIG]
    assert run(codec(100), frame(WS_TEXT, b"abc", fin=False), frame_head(0x80, 97)) == []
    assert run(codec(100), frame(WS_TEXT, b"abc", fin=False), frame_head(0x80, 98)) == [TOO_BIG]


def test_size_leaves_control_frames_alone(codec):
    assert run(codec(1), frame(WS_PING, b"a" * 125), frame(WS_CLOSE, close_payload(1000, b"bye"))) == [
        (WS_PING, b"a" * 125),
        (WS_CLOSE, 1000, "bye"),
    ]


def test_announced_length_takes_no_memory(codec, traced):
    codec = codec()
    before = traced()[0]
    assert run(codec, frame_head(0x80 | WS_BINARY, 2**40) + MASK + b"a" * 1000, b"b" * 1000) == []
    assert traced()[1] - before < 20_000


def test_pieces_take_no_more_memory_than_they_carry(codec, traced):
    codec = codec()
    empty = frame(CONTINUATION, fin=False)
    small = frame(CONTINUATION, "é".encode(), fin=False)
    assert run(codec, frame(WS_TEXT, fin=False)) == []
    assert run(codec, empty * 100, small * 100) == []
    before = traced()[0]
    for _ in range(200):
        assert run(codec, empty * 20, small * 20, *each_byte(small)) == []
    assert traced()[0] - before < 60_000
    assert run(codec, frame(CONTINUATION)) == [(WS_TEXT, "é" * (100 + 200 * 21))]


# -- reading piece by piece


def test_events_are_pulled_one_by_one(codec):
    codec = codec()
    first, second = frame(WS_TEXT, b"one"), frame(WS_PING, b"two")
    assert codec.payload is None
    assert codec.input_size() == 0
    codec.feed(first + second[:5])
    assert codec.input_size() == len(first) + 5
    codec.feed(second[5:] + b"\x82")
    codec.feed(b"")
    assert codec.input_size() == len(first) + len(second) + 1
    assert codec.next_event() == WS_TEXT
    assert codec.payload == "one"
    assert codec.input_size() == len(second) + 1
    assert codec.next_event() == WS_PING
    assert codec.payload == b"two"
    assert codec.input_size() == 1
    assert codec.next_event() == WS_NEED_DATA
    assert codec.payload is None
    assert codec.input_size() == 1
    assert run(codec, frame(WS_BINARY, b"x")[1:]) == [(WS_BINARY, b"x")]
    assert codec.input_size() == 0


def test_input_that_a_message_has_taken_is_not_left(codec):
    codec = codec()
    whole = frame(WS_BINARY, b"x" * 300)
    assert run(codec, whole[:100]) == []
    assert codec.input_size() == 0
    codec.feed(whole[100:200])
    assert codec.input_size() == 100
    assert take(codec) == []
    assert codec.input_size() == 0
    assert run(codec, whole[200:] + whole[:8]) == [(WS_BINARY, b"x" * 300)]
    assert codec.input_size() == 8  # a head without payload waits for it
    ping = frame(WS_PING, b"12345")
    assert run(codec, whole[8:], ping[:-1]) == [(WS_BINARY, b"x" * 300)]
    assert codec.input_size() == len(ping) - 1


def test_much_may_be_fed_before_it_is_read(codec):
    codec = codec()
    data = b"".join(frame(WS_BINARY, b"%d" % number) for number in range(2000))
    for piece in each_byte(data):
        codec.feed(piece)
    assert codec.input_size() == len(data)
    assert take(codec) == [(WS_BINARY, b"%d" % number) for number in range(2000)]
    assert codec.input_size() == 0


# -- compression


LONG = "tell me more, tell me more 😀 " * 40


def test_compressed_messages(codec):
    one, two, three = deflated(b"hello", LONG.encode(), b"hello")
    sent = frame(WS_TEXT, one, rsv=RSV1) + fragments(WS_TEXT, two[:9], two[9:20], two[20:], rsv=RSV1)
    sent += frame(WS_BINARY, b"plain") + frame(WS_BINARY, three, rsv=RSV1)
    expected = [(WS_TEXT, "hello"), (WS_TEXT, LONG), (WS_BINARY, b"plain"), (WS_BINARY, b"hello")]
    assert run(codec(deflate=True), sent) == expected
    assert run(codec(deflate=True), *each_byte(sent)) == expected


def test_compressed_messages_without_context(codec):
    sent = b"".join(frame(WS_TEXT, deflated(LONG.encode())[0], rsv=RSV1) for _ in range(3))
    assert run(codec(deflate="reset"), sent) == [(WS_TEXT, LONG)] * 3


def test_control_frames_within_a_compressed_message(codec):
    (data,) = deflated(LONG.encode())
    ping = frame(WS_PING, b"x")
    sent = frame(WS_TEXT, data[:9], False, RSV1) + ping + frame(CONTINUATION, data[9:], False) + ping
    sent += frame(CONTINUATION)
    expected = [(WS_PING, b"x"), (WS_PING, b"x"), (WS_TEXT, LONG)]
    assert run(codec(deflate=True), sent) == expected
    assert run(codec(deflate=True), *each_byte(sent)) == expected


def test_empty_compressed_messages(codec):
    for opcode, nothing in ((WS_TEXT, ""), (WS_BINARY, b"")):
        assert run(codec(deflate=True), frame(opcode, b"\0", rsv=RSV1) * 2) == [(opcode, nothing)] * 2
        assert run(codec(deflate=True), fragments(opcode, b"", b"\0", b"", rsv=RSV1)) == [(opcode, nothing)]


def test_size_of_a_compressed_message(codec):
    """It counts as it is sent, and as it is meant."""
    (data,) = deflated(b"a" * 5000)
    for cuts in ((data,), each_byte(data), (data, b"")):
        sent = fragments(WS_BINARY, *cuts, rsv=RSV1)
        assert run(codec(5000, True), sent + sent) == [(WS_BINARY, b"a" * 5000), (WS_BINARY, b"a" * 5000)]
        assert run(codec(4999, True), sent) == [TOO_BIG]
        assert run(codec(4999, True), *each_byte(sent)) == [TOO_BIG]
    assert run(codec(100, True), frame_head(0xC2, 101)) == [TOO_BIG]
    assert run(codec(100, True), frame_head(0xC2, 2**62)) == [TOO_BIG]


def test_bomb(codec, traced):
    compressor = zlib.compressobj(wbits=-12)
    data = b"".join(compressor.compress(bytes(10_000)) for _ in range(3000))
    assert len(data) < 40_000
    codec = codec(100_000, True)
    assert run(codec, frame_head(0xC2, len(data)) + bytes(4) + data) == [TOO_BIG]
    assert traced()[1] < 1_000_000


def test_invalid_compressed_data(codec):
    for data in (b"\xff", b"\x06", b"hello hello hello"):
        assert run(codec(deflate=True), frame(WS_TEXT, data, rsv=RSV1)) == [INVALID_DEFLATE]
        assert run(codec(deflate=True), *each_byte(frame(WS_TEXT, data, rsv=RSV1))) == [INVALID_DEFLATE]


@pytest.mark.parametrize("bad", [b"\xff", b"a\xc3", b"x" * 300 + b"\xff"])
def test_invalid_utf8_that_was_compressed(codec, bad):
    (data,) = deflated(bad)
    sent = frame(WS_TEXT, data, rsv=RSV1)
    assert run(codec(deflate=True), sent) == [INVALID_UTF8]
    assert run(codec(deflate=True), *each_byte(sent)) == [INVALID_UTF8]


# -- encoding


@pytest.mark.parametrize("text", [*TEXTS.values(), "a" * 125, "a" * 126, "é" * 63, "a" * 65535, "a" * 65536], ids=len)
def test_encode_text(codec, text):
    data = text.encode()
    made = codec().encode_text(text)
    assert type(made) is bytes
    assert made == unmasked(WS_TEXT, data)
    assert codec().encode_head(WS_TEXT, len(data)) + data == made


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70000])
def test_encode_binary(codec, size):
    data = bytes(size)
    codec = codec()
    made = codec.encode_binary(data)
    assert type(made) is bytes
    assert made == unmasked(WS_BINARY, data)
    assert codec.encode_head(WS_BINARY, size) + data == made
    assert codec.encode_binary(bytearray(data)) == made
    assert codec.encode_binary(memoryview(data)) == made


def test_encode_head_of_what_has_no_room_here(codec):
    assert codec().encode_head(WS_BINARY, 2**40) == b"\x82\x7f" + (2**40).to_bytes(8, "big")


def test_encode_subclass_of_str(codec):
    class Text(str):
        __slots__ = ()

    for text in ("hello", "é€😀"):
        assert codec().encode_text(Text(text)) == codec().encode_text(text)


@pytest.mark.parametrize("deflate", [False, True])
def test_encode_half_of_a_pair(codec, deflate):
    codec = codec(deflate=deflate)
    with pytest.raises(UnicodeEncodeError):
        codec.encode_text("a\ud800")
    with pytest.raises(UnicodeEncodeError):
        codec.encode_close(1000, "a\ud800")


def test_encode_ping_and_pong(codec):
    codec = codec()
    for payload in (b"", b"x", b"y" * 125):
        assert codec.encode_ping(payload) == unmasked(WS_PING, payload)
        assert codec.encode_pong(payload) == unmasked(WS_PONG, payload)
    with pytest.raises(ValueError):
        codec.encode_ping(b"y" * 126)
    with pytest.raises(ValueError):
        codec.encode_pong(b"y" * 126)


def test_encode_close(codec):
    codec = codec()
    assert codec.encode_close(1000, "") == unmasked(WS_CLOSE, b"\x03\xe8")
    assert codec.encode_close(4999, "bye é") == unmasked(WS_CLOSE, close_payload(4999, "bye é".encode()))
    assert codec.encode_close(CLOSE_NO_STATUS, "") == unmasked(WS_CLOSE, b"")
    assert codec.encode_close(CLOSE_NO_STATUS, "why") == unmasked(WS_CLOSE, b"")
    for code in (1006, 1015):
        assert codec.encode_close(code, "") == unmasked(WS_CLOSE, b"\x03\xe8")


@pytest.mark.parametrize("character", ["x", "é", "€", "😀"])
@pytest.mark.parametrize("before", range(5))
def test_encode_close_cuts_the_reason_between_characters(codec, character, before):
    reason = "." * before + character * 123
    made = codec().encode_close(1001, reason)
    kept = made[4:].decode()
    assert made == unmasked(WS_CLOSE, close_payload(1001, kept.encode()))
    assert reason.startswith(kept)
    assert len(made) - 4 <= 123 < len(made) - 4 + len(character.encode())


def test_encode_compressed(codec):
    codec = codec(deflate=True)
    assert codec.is_compressing is True
    decompressor = zlib.decompressobj(-12)
    for opcode, data in ((WS_TEXT, LONG.encode()), (WS_BINARY, b"x" * 70000), (WS_TEXT, b""), (WS_TEXT, LONG.encode())):
        made = codec.encode_text(data.decode()) if opcode == WS_TEXT else codec.encode_binary(data)
        payload = made[2:] if made[1] < 126 else made[4:]
        assert made == unmasked(opcode, payload, RSV1)
        assert decompressor.decompress(payload + b"\0\0\xff\xff") == data
    assert codec.encode_ping(b"x") == unmasked(WS_PING, b"x")
    assert codec.encode_close(1000, "x") == unmasked(WS_CLOSE, close_payload(1000, b"x"))


def test_encode_without_compression(codec):
    assert codec().is_compressing is False


# -- wsproto on the other end


def make_client(deflate):
    extensions = []
    if deflate:
        extension = PerMessageDeflate()
        extension.finalize("permessage-deflate; server_max_window_bits=12; client_max_window_bits=12")
        extensions.append(extension)
    return FrameProtocol(True, extensions)


@pytest.mark.parametrize("deflate", [False, True])
def test_from_a_client(codec, deflate):
    codec, client = codec(deflate=deflate), make_client(deflate)
    source = random.Random(7)
    for text in [*TEXTS.values(), LONG * 80]:
        for message, opcode in ((text, WS_TEXT), (text.encode(), WS_BINARY)):
            assert run(codec, bytes(client.send_data(message))) == [(opcode, message)]
            cut = source.randrange(len(message) + 1)
            sent = bytes(client.send_data(message[:cut], fin=False)) + bytes(client.ping(b"?"))
            sent += bytes(client.send_data(message[cut:]))
            cut = source.randrange(len(sent) + 1)
            assert run(codec, sent[:cut], sent[cut:]) == [(WS_PING, b"?"), (opcode, message)]
    assert run(codec, bytes(client.pong(b"!")) + bytes(client.close(1001, "bye é"))) == [
        (WS_PONG, b"!"),
        (WS_CLOSE, 1001, "bye é"),
    ]


@pytest.mark.parametrize("deflate", [False, True])
def test_to_a_client(codec, deflate):
    codec, client = codec(deflate=deflate), make_client(deflate)

    def receive(data):
        client.receive_bytes(data)
        frames = list(client.received_frames())
        assert frames[-1].message_finished
        return frames[0].opcode, frames[0].payload[:0].join(frame.payload for frame in frames)

    for text in [*TEXTS.values(), LONG * 80]:
        assert receive(codec.encode_text(text)) == (Opcode.TEXT, text)
        assert receive(codec.encode_binary(text.encode())) == (Opcode.BINARY, text.encode())
    assert receive(codec.encode_ping(b"?")) == (Opcode.PING, b"?")
    assert receive(codec.encode_pong(b"!")) == (Opcode.PONG, b"!")
    client.receive_bytes(codec.encode_close(1001, "bye é"))
    assert next(client.received_frames()).payload == (1001, "bye é")


# -- any split, both stacks


STREAMS = {
    "messages": frame(WS_TEXT, "é€😀".encode()) + frame(WS_BINARY, b"\xff" * 130) + frame(WS_TEXT),
    "fragments": fragments(WS_TEXT, b"a\xe2\x82", b"", b"\xac", b"b") + fragments(WS_BINARY, b"", b"x", b""),
    "control": frame(WS_BINARY, b"12", False) + frame(WS_PING, b"p") + frame(CONTINUATION) + frame(WS_PONG, b"q" * 9),
    "close": frame(WS_TEXT, b"x") + frame(WS_CLOSE, close_payload(4000, "é".encode())) + frame(WS_TEXT, b"y"),
    "bad close": frame(WS_TEXT, b"x") + frame(WS_CLOSE, close_payload(1000, b"\xc3")) + frame(WS_TEXT, b"y"),
    "bad text": frame(WS_PING, b"p") + frame(WS_TEXT, b"abcdefghijk\xed\xa0\x80") + frame(WS_TEXT, b"y"),
    "unfinished text": frame(WS_TEXT, b"x", False) + frame(WS_PING) + frame(CONTINUATION, b"\xe2\x82"),
    "too big": frame(WS_BINARY, b"x" * 100, False) + frame(CONTINUATION, b"x" * 101),
    "bad opcode": frame(WS_TEXT, b"x") + frame(5) + frame(WS_TEXT, b"y"),
    "bad order": frame(WS_TEXT, b"x", False) + frame(WS_TEXT, b"y"),
    "bad length": frame(WS_TEXT, b"x") + frame(WS_TEXT, b"y", width=2),
    "no mask": frame(WS_TEXT, b"x") + b"\x81\x01a",
    "cut in a head": frame(WS_TEXT, b"x") + frame(WS_BINARY, b"y" * 150)[:7],
    "cut in a payload": frame(WS_TEXT, b"x") + frame(WS_BINARY, b"y" * 150)[:70],
    "compressed": fragments(WS_TEXT, *each_byte(deflated(b"hello" * 9)[0]), rsv=RSV1) + frame(WS_TEXT, b"x"),
    "compressed, bad": frame(WS_TEXT, deflated(b"a\xffb")[0], rsv=RSV1) + frame(WS_TEXT, b"x"),
    "compressed, too big": frame(WS_TEXT, deflated(b"\xff" * 201)[0], rsv=RSV1) + frame(WS_TEXT, b"x"),
    "not compressed": frame(WS_TEXT, b"abc\x00", rsv=RSV1) + frame(WS_TEXT, b"x"),
}


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("name", STREAMS)
def test_every_split(codec, name, deflate):
    data = STREAMS[name]
    whole = run(codec(200, deflate), data)
    assert run(codec(200, deflate), *each_byte(data)) == whole
    for cut in range(len(data) + 1):
        assert run(codec(200, deflate), data[:cut], data[cut:]) == whole


def both(codecs, max_size, deflate, pieces):
    """Feed both stacks; they must say the same after each piece. Returns what they said."""
    fast, slow = codecs(max_size, deflate)
    out = []
    for piece in pieces:
        fast.feed(piece)
        slow.feed(piece)
        events = take(fast)
        assert events == take(slow)
        assert fast.input_size() == slow.input_size()
        out += events
    return out


def judge(codecs, data, pieces, max_size, deflate):
    expected = clean(both(codecs, max_size, deflate, [data]))
    assert clean(both(codecs, max_size, deflate, pieces)) == expected
    assert clean(both(codecs, max_size, deflate, each_byte(data))) == expected


def clean(events):
    """One error for a compressed message that is too big just where it is broken: zlib may see either first."""
    if events[-1:] == [INVALID_DEFLATE]:
        return [*events[:-1], TOO_BIG]
    return events


class Source:
    """Random streams: most of a client that knows the rules, some of one that does not."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def text(self):
        choose = self.random.choice
        text = "".join(
            choose(("a", "é", "€", "😀", "hello ", "世界", "x" * 40)) for _ in range(self.random.randrange(30))
        )
        return text.encode()

    def noise(self, most):
        return bytes(self.random.randrange(256) for _ in range(self.random.randrange(most)))

    def payload(self, opcode, is_valid):
        if opcode == WS_CLOSE:
            if is_valid:
                return self.random.choice((b"", close_payload(self.random.choice((1000, 1014, 3000)), self.text()[:0])))
            return self.noise(9)
        if opcode in (WS_PING, WS_PONG) or not is_valid:
            return self.noise(125)
        return self.text()

    def stream(self, deflate):
        out = b""
        compressor = zlib.compressobj(wbits=-12)
        for _ in range(self.random.randrange(1, 7)):
            is_valid = self.random.random() < 0.95
            opcode = self.random.choice((WS_TEXT, WS_TEXT, WS_TEXT, WS_BINARY, WS_BINARY, WS_PING, WS_PONG, WS_CLOSE))
            payload = self.payload(opcode, is_valid)
            rsv = 0
            if opcode in (WS_TEXT, WS_BINARY):
                if deflate and self.random.random() < 0.6:
                    rsv = RSV1
                    payload = (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
                pieces = self.cut(payload, self.random.choice((0, 0, 1, 3)))
                last = len(pieces) - 1
                for index, piece in enumerate(pieces):
                    mask = bytes(self.random.randrange(256) for _ in range(4))
                    opcode, rsv = (CONTINUATION, 0) if index else (opcode, rsv)
                    out += frame(opcode, piece, index == last, rsv, mask)
                    if self.random.random() < 0.2:
                        out += frame(WS_PING, self.noise(20))
            else:
                out += frame(opcode, payload)
        return out

    def mutated(self, data):
        data = bytearray(data)
        for _ in range(self.random.choice((0, 1, 1, 2, 5))):
            at = self.random.randrange(len(data))
            kind = self.random.randrange(4)
            if kind == 0:
                data[at] ^= 1 << self.random.randrange(8)
            elif kind == 1:
                data[at] = self.random.randrange(256)
            elif kind == 2 and len(data) > 1:
                del data[at]
            else:
                data.insert(at, self.random.randrange(256))
        return bytes(data)

    def cut(self, data, times):
        places = sorted(self.random.randrange(len(data) + 1) for _ in range(times))
        return [data[start:end] for start, end in zip([0, *places], [*places, len(data)])]


@pytest.mark.parametrize("is_mutated", [False, True])
@pytest.mark.parametrize("deflate", [False, True, "reset"])
def test_random_streams(codecs, deflate, is_mutated):
    for number in range(FUZZ or 300):
        seed = f"{SEED}/{number}"
        source = Source(seed)
        data = source.stream(deflate)
        if is_mutated:
            data = source.mutated(data)
        pieces = source.cut(data, source.random.choice((1, 3, 20)))
        max_size = source.random.choice((-1, -1, 10, 100, 400))
        try:
            judge(codecs, data, pieces, max_size, deflate)
        except AssertionError:
            print("seed", seed, "data", data, "pieces", pieces, "max_size", max_size)
            raise


FRAMES = st.builds(
    lambda opcode, payload, fin, rsv, mask, width: frame(
        opcode, payload, fin, rsv, mask, width if width or len(payload) < 126 else None
    ),
    st.sampled_from([*[CONTINUATION, WS_TEXT, WS_BINARY] * 4, WS_CLOSE, WS_PING, WS_PONG, 3, 11]),
    st.one_of(
        st.binary(max_size=20),
        st.text(max_size=100).map(str.encode),
        st.text(max_size=40).map(lambda text: deflated(text.encode())[0]),
        st.sampled_from([b"", b"\x03", b"\x03\xe8bye", b"a" * 126]),
    ),
    st.sampled_from([True, True, False]),
    st.sampled_from([0, 0, 0, 0, RSV1, RSV1, RSV2]),
    st.binary(min_size=4, max_size=4),
    st.sampled_from([None] * 8 + [0, 2, 8]),
)


@EXAMPLES
@given(
    frames=st.lists(FRAMES, min_size=1, max_size=6),
    cuts=st.lists(st.integers(0, 600), max_size=5),
    max_size=st.sampled_from([-1, 0, 5, 50]),
    deflate=st.booleans(),
)
def test_invented_frames(codecs, frames, cuts, max_size, deflate):
    data = b"".join(frames)
    places = sorted(min(cut, len(data)) for cut in cuts)
    pieces = [data[start:end] for start, end in zip([0, *places], [*places, len(data)])]
    judge(codecs, data, pieces, max_size, deflate)


@EXAMPLES
@given(data=st.binary(max_size=60), rest=st.binary(max_size=60))
def test_noise(codecs, data, rest):
    judge(codecs, data + rest, [data, rest], 1000, True)


@EXAMPLES
@given(message=st.one_of(st.text(), st.binary()), deflate=st.booleans())
def test_both_encode_the_same(codecs, message, deflate):
    fast, slow = codecs(-1, deflate)
    for _ in range(2):
        if isinstance(message, str):
            assert fast.encode_text(message) == slow.encode_text(message)
            assert fast.encode_close(1000, message) == slow.encode_close(1000, message)
        else:
            assert fast.encode_binary(message) == slow.encode_binary(message)
