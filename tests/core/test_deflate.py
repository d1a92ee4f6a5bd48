"""deflate: what permessage-deflate offers are answered with, and the streams behind it (RFC 7692)."""

from __future__ import annotations

import itertools
import random
import zlib
from importlib import import_module
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import Opcode, RsvBits

from asgiserve._consts import CLOSE_INVALID_DATA, CLOSE_TOO_BIG
from asgiserve.errors import FrameError, ProtocolError

NAME = b"permessage-deflate"
TAIL = b"\x00\x00\xff\xff"

EXAMPLES = settings(max_examples=200, derandomize=True, database=None, deadline=None)


def module_of(stack):
    return import_module(stack.HTTPConnection.__module__.rpartition(".")[0] + ".deflate")


# -- negotiation (RFC 7692 section 7.1)

# What the offered value of server_max_window_bits gives; "-" is an offer without it, None declines.
SERVER_BITS = {
    "-": b"12", "": None, "8": None, "9": b"9", "10": b"10", "11": b"11", "12": b"12", "13": b"12", "14": b"12",
    "15": b"12",
}  # fmt: skip

# The same for client_max_window_bits, which may come without a value, and is not answered when it was not offered.
CLIENT_BITS = {
    "-": b"", "": b"12", "8": b"8", "9": b"9", "10": b"10", "11": b"11", "12": b"12", "13": b"12", "14": b"12",
    "15": b"12",
}  # fmt: skip

COMBINATIONS = list(itertools.product(SERVER_BITS, CLIENT_BITS, (False, True), (False, True)))


def response_to(part, *values):
    """The answer to these field values, or None."""
    parameters = part("deflate").negotiate(list(values))
    return None if parameters is None else parameters.response


def parameter(name, value):
    return [] if value == "-" else [name if value == "" else name + b"=" + value.encode()]


@pytest.mark.parametrize(("server", "client", "server_resets", "client_resets"), COMBINATIONS)
def test_every_combination(part, server, client, server_resets, client_resets):
    offered = parameter(b"server_max_window_bits", server) + parameter(b"client_max_window_bits", client)
    resets = [b"server_no_context_takeover"] * server_resets + [b"client_no_context_takeover"] * client_resets
    offered += resets
    expected = None
    if SERVER_BITS[server] is not None:
        expected = b"; ".join([NAME, *resets, b"server_max_window_bits=" + SERVER_BITS[server]])
        if CLIENT_BITS[client]:
            expected += b"; client_max_window_bits=" + CLIENT_BITS[client]
    for order in (offered, offered[::-1]):
        agreed = part("deflate").negotiate([b"; ".join([NAME, *order])])
        if expected is None:
            assert agreed is None
            continue
        assert agreed.response == expected
        assert agreed.server_max_window_bits == int(SERVER_BITS[server])
        assert agreed.client_max_window_bits == int(CLIENT_BITS[client] or 15)
        assert agreed.server_no_context_takeover is server_resets
        assert agreed.client_no_context_takeover is client_resets


PLAIN = b"permessage-deflate; server_max_window_bits=12"
CLIENT = PLAIN + b"; client_max_window_bits=12"

ANSWERS = (
    # one offer
    (b"permessage-deflate", PLAIN),
    (b"permessage-deflate; client_max_window_bits", CLIENT),
    (b"permessage-deflate;client_max_window_bits", CLIENT),
    (b"  permessage-deflate\t;\tclient_max_window_bits ", CLIENT),
    (b"permessage-deflate; client_max_window_bits = 12", CLIENT),
    (b"permessage-deflate; client_max_window_bits=\t12\t", CLIENT),
    (b'permessage-deflate; client_max_window_bits="12"', CLIENT),
    (b'permessage-deflate; client_max_window_bits="1\\2"', CLIENT),
    (b'permessage-deflate; client_max_window_bits="\\1\\2" ; server_max_window_bits="9"',
     b"permessage-deflate; server_max_window_bits=9; client_max_window_bits=12"),
    # several: the first that can be served, over all elements and fields
    (b"permessage-deflate, permessage-deflate; client_max_window_bits", PLAIN),
    (b"permessage-deflate; client_max_window_bits, permessage-deflate", CLIENT),
    (b"permessage-deflate; x, permessage-deflate; client_max_window_bits", CLIENT),
    (b"permessage-deflate; server_max_window_bits=8, permessage-deflate; client_max_window_bits", CLIENT),
    (b"permessage-deflate; x=1, permessage-deflate; y=2, permessage-deflate; z", None),
    (b"permessage-deflate; server_max_window_bits=10; server_no_context_takeover, permessage-deflate",
     b"permessage-deflate; server_no_context_takeover; server_max_window_bits=10"),
    # other extensions
    (b"", None),
    (b" \t ", None),
    (b",", None),
    (b" , ,\t,", None),
    (b"x-webkit-deflate-frame", None),
    (b"permessage-bzip2; client_max_window_bits", None),
    (b"foo, permessage-deflate", PLAIN),
    (b"foo; a=1; b; c=\"d\" , bar,permessage-deflate ; client_max_window_bits", CLIENT),
    (b",, permessage-deflate,, , x,", PLAIN),
    (b"permessage-deflate, x-webkit-deflate-frame", PLAIN),
    (b"foo; foo; foo, permessage-deflate", PLAIN),
    (b"permessage-deflate-x", None),
    (b"x-permessage-deflate", None),
    (b"Permessage-Deflate", None),
    # what declines (section 7.1: unknown parameters, bad values, the same one twice)
    (b"permessage-deflate; unknown", None),
    (b"permessage-deflate; unknown=1; client_max_window_bits", None),
    (b"permessage-deflate; Client_Max_Window_Bits", None),
    (b"permessage-deflate; max_window_bits=12", None),
    (b"permessage-deflate; client_max_window_bits; client_max_window_bits", None),
    (b"permessage-deflate; client_max_window_bits=12; client_max_window_bits=12", None),
    (b"permessage-deflate; server_max_window_bits=12; server_max_window_bits=13", None),
    (b"permessage-deflate; server_no_context_takeover; server_no_context_takeover", None),
    (b"permessage-deflate; client_no_context_takeover; x; client_no_context_takeover", None),
    (b"permessage-deflate; server_no_context_takeover=1", None),
    (b"permessage-deflate; server_no_context_takeover=true", None),
    (b"permessage-deflate; client_no_context_takeover=12", None),
    (b'permessage-deflate; client_no_context_takeover="12"', None),
    *((b"permessage-deflate; %b_max_window_bits=%b" % (side, value), None)
      for side in (b"client", b"server")
      for value in (b"7", b"16", b"0", b"012", b"08", b"-12", b"+12", b"1e1", b"0x9", b"12.0", b"99", b"100",
                    b"1", b"1000000000000000000000", b"x", b"true", b"*", b'"16"', b'"\\0\\9"')),
)  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), ANSWERS)
def test_answers(part, value, expected):
    assert response_to(part, value) == expected
    assert response_to(part, value) == expected  # known by then
    assert response_to(part, value, b"") == expected
    assert response_to(part, b"other; a=b", value) == expected


def test_order_over_fields(part):
    assert response_to(part, NAME + b"; x", NAME + b"; client_max_window_bits", NAME) == CLIENT
    assert response_to(part) is None


MALFORMED = (
    b";", b"; a", b"=", b"a=b", b"a b", b"a;", b"a; ", b"a;;b", b"a; ;b", b"a; b=", b"a; b= ", b"a; b=,c", b"a; =b",
    b"a; b==c", b"a; b=c d", b"a; b c", b"a; b;", b"a, b;", b'"a"', b'a; "b"', b'a; b="', b'a; b="c', b'a; b=c"',
    b'a; b=""', b'a; b="c d"', b'a; b="c,d"', b'a; b="c;d"', b'a; b="c"d', b'a; b="c""d"', b'a; b="\\"', b'a; b="\\""',
    b'a; b="c\\"', b'a; b="\\ "', b'a; b="\\\\"', b"a; b='c'x,\x80", b"\x80", b"a\x80", b"a; \xe9", b"a; b=\xff",
    b'a; b="\xff"', b"a; b=\\c", b"a/b", b"a; b/c", b"a; b=c/d", b"a(comment)", b"a; b={c}", b"a; b=[c]", b"a@b",
    b"a:b", b"a?", b"permessage-deflate; client_max_window_bits=", b"permessage-deflate client_max_window_bits",
    b"permessage-deflate: x", b"permessage-deflate;, x", b"permessage-deflate; server_max_window_bits = = 9",
)  # fmt: skip


@pytest.mark.parametrize("value", MALFORMED)
def test_malformed(part, value):
    for values in ([value], [NAME, value], [value, NAME], [b"x; y, " + value], [NAME + b"," + value]):
        for _ in range(2):
            with pytest.raises(ProtocolError) as caught:
                part("deflate").negotiate(values)
            assert (caught.value.status, caught.value.detail) == (400, "malformed Sec-WebSocket-Extensions header")


def test_parse_extensions(part):
    parse = part("deflate").parse_extensions
    assert parse(b"") == []
    assert parse(b'a, b; c; d=e, ,f;g="h" ;i= "j\\k",\'*\';!=#') == [
        (b"a", []),
        (b"b", [(b"c", None), (b"d", b"e")]),
        (b"f", [(b"g", b"h"), (b"i", b"jk")]),
        (b"'*'", [(b"!", b"#")]),
    ]


def test_parameters_are_shared_and_the_table_is_bounded(part):
    negotiate = part("deflate").negotiate
    value = b"permessage-deflate; client_max_window_bits"
    assert negotiate([value]) is negotiate([value])
    for number in range(1000):
        assert negotiate([b"permessage-deflate, x%d" % number]).response == PLAIN
    assert negotiate([value]).response == CLIENT
    known = getattr(part("deflate"), "_known_offers", None)
    assert known is None or len(known) <= 64


ALPHABET = st.sampled_from(
    (b"permessage-deflate", b"client_max_window_bits", b"server_max_window_bits", b"client_no_context_takeover")
    + (b"server_no_context_takeover", b";", b";", b"; ", b",", b", ", b"=", b'"', b"\\", b" ", b"12", b"8", b"15", b"x")
)


@EXAMPLES
@given(st.lists(ALPHABET, max_size=12).map(b"".join))
def test_stacks_agree_on_offers(stacks, value):
    results = []
    for stack in stacks:
        module = module_of(stack)
        try:
            agreed = module.negotiate([value])
            results.append(agreed and agreed.response)
        except ProtocolError as error:
            results.append(error.detail)
    assert results[0] == results[1]


# -- streams (RFC 7692 section 7.2)


def make(part, offer=NAME + b"; client_max_window_bits"):
    module = part("deflate")
    return module.Deflate(module.negotiate([offer]))


def deflated(data, bits=12, compressor=None, flush=zlib.Z_SYNC_FLUSH):
    """A message as a client sends it."""
    compressor = compressor or zlib.compressobj(wbits=-bits)
    result = compressor.compress(data) + compressor.flush(flush)
    assert result.endswith(TAIL)
    return result[:-4]


def error_of(function, *args):
    """(code, detail) of the FrameError that a call raises."""
    with pytest.raises(FrameError) as caught:
        function(*args)
    return caught.value.code, caught.value.detail


INVALID = (CLOSE_INVALID_DATA, "invalid compressed data")
TOO_BIG = (CLOSE_TOO_BIG, "message too big")

MESSAGES = [
    b"Hello",
    b"Hello",
    b"",
    b"",
    b"x",
    b'{"a": 1, "b": [2, 3]}' * 7,
    bytes(range(256)) * 3,
    b"",
    b"a" * 100000,
    random.Random(7692).randbytes(70000),
    b"Hello",
]


def test_examples_of_the_rfc(part):
    """RFC 7692 section 7.2.3."""
    deflate = make(part, NAME)
    hello = bytes.fromhex("f248cdc9c90700")
    assert deflate.compress(b"Hello") == hello
    assert deflate.compress(b"Hello") == bytes.fromhex("f200110000")  # 7.2.3.2, from the window
    assert deflate.decompress(hello, -1, True) == b"Hello"
    assert deflate.decompress(bytes.fromhex("f200110000"), -1, True) == b"Hello"
    assert deflate.decompress(hello[:3], -1, False) + deflate.decompress(hello[3:], -1, True) == b"Hello"
    assert deflate.decompress(bytes.fromhex("000500faff48656c6c6f00"), -1, True) == b"Hello"  # 7.2.3.3
    assert deflate.decompress(bytes.fromhex("f348cdc9c9070000"), -1, True) == b"Hello"  # 7.2.3.4
    assert deflate.decompress(bytes.fromhex("f248050000 00ffffcac9c90700"), -1, True) == b"Hello"  # 7.2.3.5
    assert deflate.decompress(b"\x00", -1, True) == b""  # 7.2.3.6
    assert deflate.compress(b"") == b"\x00"


OFFERS = [
    b"; ".join([NAME, *parameters])
    for parameters in itertools.product(
        (b"server_max_window_bits=9", b"server_max_window_bits=15"),
        (b"client_max_window_bits=9", b"client_max_window_bits"),
    )
]
OFFERS += [offer + b"; server_no_context_takeover" for offer in OFFERS]
OFFERS += [offer + b"; client_no_context_takeover" for offer in OFFERS]


@pytest.mark.parametrize("offer", [NAME, *OFFERS])
def test_compress_against_zlib(part, offer):
    deflate = make(part, offer)
    agreed = part("deflate").negotiate([offer])
    peer = zlib.decompressobj(-agreed.server_max_window_bits)
    for message in MESSAGES * 2:
        if agreed.server_no_context_takeover:
            peer = zlib.decompressobj(-agreed.server_max_window_bits)
        assert peer.decompress(deflate.compress(message) + TAIL) == message
        assert not peer.eof
        assert not peer.unused_data


@pytest.mark.parametrize("offer", [NAME, *OFFERS])
def test_decompress_against_zlib(part, offer):
    deflate = make(part, offer)
    agreed = part("deflate").negotiate([offer])
    peer = zlib.compressobj(wbits=-agreed.client_max_window_bits)
    for message in MESSAGES * 2:
        if agreed.client_no_context_takeover:
            peer = zlib.compressobj(wbits=-agreed.client_max_window_bits)
        data = deflated(message, compressor=peer)
        assert deflate.decompress(data, len(message), True) == message


@pytest.mark.parametrize("offer", [NAME, *OFFERS])
def test_against_wsproto(part, offer):
    deflate = make(part, offer)
    peer = PerMessageDeflate()
    peer.finalize(part("deflate").negotiate([offer]).response.decode())
    proto = SimpleNamespace(client=True)
    for message in MESSAGES * 2:
        _, data = peer.frame_outbound(proto, Opcode.BINARY, RsvBits(False, False, False), message, True)
        assert deflate.decompress(data, len(message), True) == message
        data = deflate.compress(message)
        peer.frame_inbound_header(proto, Opcode.BINARY, RsvBits(True, False, False), len(data))
        assert peer.frame_inbound_payload_data(proto, data) + peer.frame_inbound_complete(proto, True) == message


def test_context_is_kept_or_not(part):
    """By the size of a repeated message, and by what a reference to the one before does."""
    message = random.Random(1).randbytes(500)
    kept = make(part)
    assert len(kept.compress(message)) > 500
    assert len(kept.compress(message)) < 50
    reset = make(part, NAME + b"; server_no_context_takeover")
    assert reset.compress(message) == reset.compress(message)

    peer = zlib.compressobj(wbits=-12)
    first, second = deflated(message, compressor=peer), deflated(message, compressor=peer)
    assert len(second) < 50
    assert kept.decompress(first, -1, True) == message
    assert kept.decompress(second, -1, True) == message
    reset = make(part, NAME + b"; client_no_context_takeover")
    assert reset.decompress(first, -1, True) == message
    assert error_of(reset.decompress, second, -1, True) == INVALID


def test_window_is_as_announced(part):
    """A repetition further back than the window is not found: the client need not keep more."""
    block = random.Random(2).randbytes(600)
    near = make(part, NAME + b"; server_max_window_bits=9").compress(block + block)
    far = make(part, NAME).compress(block + block)
    assert len(near) > 1150
    assert len(far) < 700


@pytest.mark.parametrize("bits", range(8, 16))
def test_every_window_of_the_client(part, bits):
    """8 too: zlib compresses with one of 9 then, and does not look back further than 250 bytes."""
    deflate = make(part, NAME + b"; client_max_window_bits=%d" % bits)
    agreed = part("deflate").negotiate([NAME + b"; client_max_window_bits=%d" % bits])
    peer = zlib.compressobj(wbits=-max(agreed.client_max_window_bits, 9))
    for message in MESSAGES:
        data = deflated(message, compressor=peer)
        pieces = [deflate.decompress(data[at : at + 7], -1, False) for at in range(0, len(data), 7)]
        assert b"".join(pieces) + deflate.decompress(b"", -1, True) == message


def test_streams_are_made_when_they_are_needed(part, monkeypatch):
    made = []

    def noting(name):
        real = getattr(zlib, name)
        return lambda *args: made.append(name) or real(*args)

    for name in ("compressobj", "decompressobj"):
        monkeypatch.setattr(part("deflate"), name, noting(name))
    deflate = make(part)
    assert deflate.compress(b"") == b"\x00"
    assert deflate.decompress(b"", -1, False) == b""
    assert made == []
    data = [deflate.compress(b"Hello") for _ in range(2)]
    assert made == ["compressobj"]
    assert [deflate.decompress(piece, -1, True) for piece in data] == [b"Hello"] * 2
    assert made == ["compressobj", "decompressobj"]


def test_release(part):
    """The compressor starts again with an empty window, in step with a client that keeps its own."""
    deflate = make(part)
    peer = zlib.decompressobj(-12)
    sizes = []
    for number, message in enumerate([b"Hello, hello, world!" * 3] * 6):
        if number % 2 == 0:
            deflate.release()
        data = deflate.compress(message)
        assert peer.decompress(data + TAIL) == message
        sizes.append(len(data))
    assert sizes[0] == sizes[2] == sizes[4] > sizes[1] == sizes[3] == sizes[5]
    assert deflate.decompress(deflated(b"Hello"), -1, True) == b"Hello"


# -- pieces


@pytest.mark.parametrize("offer", [NAME, NAME + b"; client_no_context_takeover"])
def test_every_split(part, offer):
    message = b'{"id": 1, "name": "one"}, {"id": 2, "name": "two"}'
    data = deflated(message)
    for at in range(len(data) + 1):
        deflate = make(part, offer)
        for _ in range(2):
            first = deflate.decompress(data[:at], len(message), False)
            second = deflate.decompress(data[at:], len(message) - len(first), True)
            assert first + second == message


def test_byte_by_byte_with_empty_pieces(part):
    deflate = make(part)
    peer = zlib.compressobj(wbits=-12)
    for message in MESSAGES[:8] * 2:
        parts = [deflate.decompress(b"", -1, False)]
        for byte in deflated(message, compressor=peer):
            parts.append(deflate.decompress(bytes([byte]), -1, False))
            parts.append(deflate.decompress(b"", -1, False))
        parts.append(deflate.decompress(b"", -1, True))
        assert b"".join(parts) == message


def test_no_payload_at_all(part):
    """Not what the RFC says an empty message is; it must not put the stream out of step."""
    deflate = make(part)
    peer = zlib.compressobj(wbits=-12)
    for message in MESSAGES:
        assert deflate.decompress(deflated(message, compressor=peer), -1, True) == message
        assert deflate.decompress(b"", 0, True) == b""
        assert deflate.decompress(b"", 0, False) == b""
        assert deflate.decompress(b"", 0, True) == b""


# -- limits


@pytest.mark.parametrize("size", [0, 1, 5, 1000, 100000])
def test_limit(part, size):
    data = deflated(b"a" * size)
    assert make(part).decompress(data, size, True) == b"a" * size
    assert make(part).decompress(data, -1, True) == b"a" * size
    assert make(part).decompress(data, size + 1, True) == b"a" * size
    if size:
        assert error_of(make(part).decompress, data, size - 1, True) == TOO_BIG
        assert error_of(make(part).decompress, data, 0, True) == TOO_BIG
        assert error_of(make(part).decompress, data, 0, False) == TOO_BIG


class CountingDecompressor:
    """zlib's, and the sizes of what it returned."""

    def __init__(self, real, sizes):
        self.real = real
        self.sizes = sizes

    def decompress(self, *args):
        result = self.real.decompress(*args)
        self.sizes.append(len(result))
        return result

    def __getattr__(self, name):
        return getattr(self.real, name)


@pytest.fixture
def made_sizes(part, monkeypatch):
    """The sizes of all that zlib decompressed."""
    sizes = []
    monkeypatch.setattr(
        part("deflate"), "decompressobj", lambda *args: CountingDecompressor(zlib.decompressobj(*args), sizes)
    )
    return sizes


def test_bomb_makes_no_more_than_the_limit(part, made_sizes):
    bomb = deflated(bytes(20_000_000))
    assert len(bomb) < 21000
    assert error_of(make(part).decompress, bomb, 1000, True) == TOO_BIG
    assert made_sizes == [1001]
    # In pieces: what is left goes down with each.
    deflate = make(part)
    del made_sizes[:]
    left = 100_000
    with pytest.raises(FrameError) as caught:
        for at in range(0, len(bomb), 10):
            left -= len(deflate.decompress(bomb[at : at + 10], left, False))
    assert caught.value.code == CLOSE_TOO_BIG
    assert sum(made_sizes) == 100_001


def final(data):
    """`data` as a stream of its own, whose last block says so."""
    compressor = zlib.compressobj(wbits=-12)
    return compressor.compress(data) + compressor.flush(zlib.Z_FINISH)


def test_final_blocks(part):
    """RFC 7692 section 7.2.3.4: a final block may stand anywhere; the padding byte ends the message."""
    deflate = make(part)
    for pieces in ([b"one"], [b"one", b"two"], [b"", b"x", b""], [b"a" * 50000, b"b"]):
        message = b"".join(pieces)
        data = b"".join(final(piece) for piece in pieces) + b"\x00"
        for at in {0, 1, 2, len(data) // 2, len(data) - 1, len(data)}:
            first = deflate.decompress(data[:at], -1, False)
            assert first + deflate.decompress(data[at:], -1, True) == message
        assert deflate.decompress(final(b"one") + deflated(b"two"), -1, True) == b"onetwo"
        assert deflate.decompress(deflated(message), -1, True) == message


def test_final_block_without_the_padding_byte(part):
    deflate = make(part)
    for _ in range(3):
        assert deflate.decompress(final(b"one"), -1, True) == b"one"
        assert deflate.decompress(final(b"two"), -1, False) == b"two"
        assert deflate.decompress(b"", -1, True) == b""


def test_final_blocks_share_the_limit(part, made_sizes):
    data = (final(b"a" * 100) + final(b"b" * 100)) * 2 + b"\x00"
    assert make(part).decompress(data, 400, True) == (b"a" * 100 + b"b" * 100) * 2
    for limit in (0, 99, 100, 101, 199, 200, 250, 399):
        del made_sizes[:]
        assert error_of(make(part).decompress, data, limit, True) == TOO_BIG
        assert sum(made_sizes) == limit + 1


def test_many_final_blocks(part):
    """Two bytes that cost a new stream each are not taken by the million, whatever the pieces."""
    many = final(b"") * 100_000
    assert error_of(make(part).decompress, many, -1, True) == INVALID
    deflate = make(part)
    with pytest.raises(FrameError) as caught:
        for _ in range(100):
            deflate.decompress(final(b""), -1, False)
    assert (caught.value.code, caught.value.detail) == INVALID
    deflate = make(part)
    for _ in range(100):  # per message
        assert deflate.decompress(final(b"x") + b"\x00", -1, True) == b"x"


# -- bad data

BAD = {
    "reserved block type": b"\x06",
    "reserved block type, later": deflated(b"Hello") + b"\x07\x00",
    "stored length and its complement": b"\x00\x05\x00\xfa\xfeHello\x00",
    "distance before the start": bytes.fromhex("f200110000"),
    "too many length codes": b"\xfc\xff\xff\xff\xff\xff",
    "ones": b"\xff" * 20,
    "zlib header": zlib.compress(b"Hello"),
    "gzip header": bytes.fromhex("1f8b0800000000000003"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_data(part, name):
    data = BAD[name]
    assert error_of(make(part).decompress, data, -1, True) == INVALID
    assert error_of(make(part).decompress, data, 100, True) == INVALID
    deflate = make(part)
    with pytest.raises(FrameError) as caught:
        for at in range(len(data)):
            deflate.decompress(data[at : at + 1], 100, False)
        deflate.decompress(b"", 100, True)
    assert (caught.value.code, caught.value.detail) == INVALID


def test_distance_beyond_the_window(part):
    """A client that compresses with a larger window than agreed is found out."""
    block = random.Random(3).randbytes(600)
    message = block + random.Random(4).randbytes(5000) + block
    deflate = make(part)
    data = deflated(message, bits=15)
    with pytest.raises(FrameError) as caught:
        for at in range(0, len(data), 100):
            deflate.decompress(data[at : at + 100], -1, False)
    assert (caught.value.code, caught.value.detail) == INVALID


@EXAMPLES
@given(st.binary(max_size=200), st.integers(0, 200), st.integers(-1, 300))
def test_stacks_agree_on_any_payload(stacks, data, at, limit):
    results = []
    for stack in stacks:
        deflate = module_of(stack).Deflate(module_of(stack).negotiate([NAME]))
        result = []
        try:
            result.append(deflate.decompress(data[:at], limit, False))
            result.append(deflate.decompress(data[at:], limit, True))
            result.append(deflate.decompress(deflated(b"more"), limit, True))
        except FrameError as error:
            result.append((error.code, error.detail))
        results.append(result)
    assert results[0] == results[1]


@EXAMPLES
@given(st.lists(st.tuples(st.binary(max_size=3000), st.integers(1, 5), st.booleans()), max_size=8))
def test_any_conversation(stacks, messages):
    """Both ways, with repetitions, in pieces; each stack gives the same bytes, and zlib reads them."""
    ends = [module_of(stack).Deflate(module_of(stack).negotiate([NAME])) for stack in stacks]
    inward, outward = zlib.compressobj(wbits=-15), zlib.decompressobj(-12)
    for content, times, releases in messages:
        message = content * times
        if releases:
            for end in ends:
                end.release()
        sent = [end.compress(message) for end in ends]
        assert sent[0] == sent[1]
        assert outward.decompress(sent[0] + TAIL) == message
        data = deflated(message, compressor=inward)
        cut = len(data) // times
        for end in ends:
            assert end.decompress(data[:cut], -1, False) + end.decompress(data[cut:], -1, True) == message
