"""handshake: what is a WebSocket opening handshake, and what it asks for (RFC 6455 section 4.2)."""

from __future__ import annotations

import base64
import os

import pytest

from asgiserve.errors import ProtocolError

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

HOST = (b"host", b"h")
KEY_FIELD = (b"sec-websocket-key", KEY)
VERSION_FIELD = (b"sec-websocket-version", b"13")
FIELDS = (HOST, (b"upgrade", b"websocket"), (b"connection", b"Upgrade"), KEY_FIELD, VERSION_FIELD)


def make_head(part, fields=FIELDS):
    head = part("head").RequestHead()
    head.method = "GET"
    head.headers = list(fields)
    return head


def check(part, *more, fields=FIELDS, allow_deflate=True):
    return part("handshake").check_handshake(make_head(part, [*fields, *more]), allow_deflate)


def error_of(part, *more, **options):
    """The ProtocolError that a handshake fails with."""
    with pytest.raises(ProtocolError) as caught:
        check(part, *more, **options)
    return caught.value


def without(*names):
    return [field for field in FIELDS if field[0] not in names]


def protocol(value):
    return (b"sec-websocket-protocol", value)


def extension(value):
    return (b"sec-websocket-extensions", value)


# -- a valid one


def test_plain(part):
    handshake = check(part)
    assert handshake.accept == ACCEPT
    assert handshake.subprotocols == []
    assert handshake.deflate is None


def test_example_of_the_rfc(part):
    """RFC 6455 sections 1.2 and 1.3."""
    handshake = check(part, (b"origin", b"http://example.com"), protocol(b"chat, superchat"))
    assert handshake.accept == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert handshake.subprotocols == ["chat", "superchat"]


def test_order_of_fields_does_not_matter(part):
    assert check(part, fields=FIELDS[::-1]).accept == ACCEPT


def test_make_accept(part):
    make_accept = part("handshake").make_accept
    assert make_accept(KEY) == ACCEPT
    assert make_accept(b"x3JJHMbDL1EzLkh9GBhXDw==") == b"HSmrc0sMlYUkAGmm5OPpG2HaGWk="
    for _ in range(20):
        accept = make_accept(base64.b64encode(os.urandom(16)))
        assert len(base64.b64decode(accept, validate=True)) == 20
        assert len(accept) == 28


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([b"chat"], ["chat"]),
        ([b"chat, superchat"], ["chat", "superchat"]),
        ([b"superchat,chat"], ["superchat", "chat"]),
        ([b"a", b"b"], ["a", "b"]),
        ([b"a, b", b"c", b"d ,e"], ["a", "b", "c", "d", "e"]),
        ([b" \ta\t ,\tb "], ["a", "b"]),
        ([b",a,, b, ,"], ["a", "b"]),
        ([b""], []),
        ([b" , ,\t"], []),
        ([b"", b"a"], ["a"]),
        ([b"Chat, chat"], ["Chat", "chat"]),
        ([b"a, a"], ["a", "a"]),
        (
            [b"graphql-transport-ws, v1.json+x, !#$%&'*+-.^_`|~"],
            ["graphql-transport-ws", "v1.json+x", "!#$%&'*+-.^_`|~"],
        ),
    ],
)
def test_subprotocols(part, values, expected):
    found = check(part, *[protocol(value) for value in values]).subprotocols
    assert found == expected
    assert all(type(item) is str for item in found)


def test_subprotocols_are_a_list_of_their_own(part):
    check(part, protocol(b"a")).subprotocols.append("b")
    assert check(part, protocol(b"a")).subprotocols == ["a"]
    check(part).subprotocols.append("b")
    assert check(part).subprotocols == []


def test_deflate(part):
    handshake = check(part, extension(b"permessage-deflate; client_max_window_bits"))
    assert handshake.deflate.response == b"permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"
    assert check(part, extension(b"x-unknown")).deflate is None
    assert check(part, extension(b"permessage-deflate; y")).deflate is None


def test_deflate_over_several_fields(part):
    handshake = check(part, extension(b"permessage-deflate; y"), extension(b"x, permessage-deflate"))
    assert handshake.deflate.response == b"permessage-deflate; server_max_window_bits=12"


def test_deflate_not_allowed(part):
    assert check(part, extension(b"permessage-deflate"), allow_deflate=False).deflate is None


# -- a bad one


def test_no_version(part):
    error = error_of(part, fields=without(b"sec-websocket-version"))
    assert (error.status, error.detail) == (400, "no Sec-WebSocket-Version header")
    assert error.headers == ()


@pytest.mark.parametrize("second", [b"13", b"8", b""])
def test_version_twice(part, second):
    error = error_of(part, (b"sec-websocket-version", second))
    assert (error.status, error.detail) == (400, "more than one Sec-WebSocket-Version header")


@pytest.mark.parametrize(
    "value",
    [b"", b"0", b"7", b"8", b"12", b"14", b"25", b"013", b"13.0", b"+13", b"13, 8", b"8, 13", b"13,13", b"x"],
)
def test_other_version(part, value):
    error = error_of(part, (b"sec-websocket-version", value), fields=without(b"sec-websocket-version"))
    assert (error.status, error.detail) == (426, "the WebSocket version is not 13")
    assert dict(error.headers) == {
        b"sec-websocket-version": b"13",
        b"upgrade": b"websocket",
        b"connection": b"upgrade",
    }


def test_no_key(part):
    error = error_of(part, fields=without(b"sec-websocket-key"))
    assert (error.status, error.detail) == (400, "no Sec-WebSocket-Key header")


def test_key_twice(part):
    error = error_of(part, KEY_FIELD)
    assert (error.status, error.detail) == (400, "more than one Sec-WebSocket-Key header")


@pytest.mark.parametrize("size", range(40))
def test_size_of_the_key(part, size):
    key = (b"sec-websocket-key", base64.b64encode(bytes(range(size))))
    fields = without(b"sec-websocket-key")
    if size == 16:
        assert check(part, key, fields=fields).accept
    else:
        error = error_of(part, key, fields=fields)
        assert (error.status, error.detail) == (400, "invalid Sec-WebSocket-Key header")


@pytest.mark.parametrize(
    "value",
    [
        KEY[:-1],
        KEY[:-2],
        KEY + b"=",
        b"=" + KEY,
        KEY[:22] + b"=A",
        KEY[:21] + b"===",
        b"dGhlIHNhbXBsZSBub25jZ-==",
        b"dGhlIHNhbXBsZSBub25jZ_==",
        b"dGhlIHNhbXBs ZSBub25jZQ==",
        b"dGhlIHNhbXBs=SBub25jZQ==",
        b"dGhlIHNhbXBsZSBub25j\xe9Q==",
        KEY + b"," + KEY,
        KEY + b"\n",
        b'"' + KEY + b'"',
        b"the sample nonce",
    ],
)
def test_key(part, value):
    error = error_of(part, (b"sec-websocket-key", value), fields=without(b"sec-websocket-key"))
    assert (error.status, error.detail) == (400, "invalid Sec-WebSocket-Key header")


@pytest.mark.parametrize(
    "value",
    [b"a b", b"a/b", b'"a"', b"a;b", b"a, b c", b"a=b", b"(a)", b"a:b", b"\xe9", b"a,\x80", b"a\nb", b"a\n"],
)
def test_subprotocol_that_is_not_a_token(part, value):
    for fields in ([protocol(value)], [protocol(b"a"), protocol(value)], [protocol(value), protocol(b"a")]):
        error = error_of(part, *fields)
        assert (error.status, error.detail) == (400, "invalid Sec-WebSocket-Protocol header")


@pytest.mark.parametrize("allow_deflate", [True, False])
@pytest.mark.parametrize("value", [b";", b"a b", b"permessage-deflate; x=", b'permessage-deflate; x=""', b"a,b;"])
def test_malformed_extensions(part, value, allow_deflate):
    """Whether compression is on does not decide what is malformed."""
    for fields in ([extension(value)], [extension(b"a"), extension(value)], [extension(value), extension(b"a")]):
        error = error_of(part, *fields, allow_deflate=allow_deflate)
        assert (error.status, error.detail) == (400, "malformed Sec-WebSocket-Extensions header")


def test_order_of_the_rules(part):
    """Each fault is found before those behind it."""
    faults = {
        "Version": {"version": (b"sec-websocket-version", b"8")},
        "Key": {"key": (b"sec-websocket-key", b"x")},
        "Protocol": {"protocol": protocol(b"a b")},
        "Extensions": {"extensions": extension(b";")},
    }
    details = {"Version": "version", "Key": "Key", "Protocol": "Protocol"}
    names = list(faults)
    for number, name in enumerate(names):
        options = {"version": VERSION_FIELD, "key": KEY_FIELD}
        for later in names[number:]:
            options.update(faults[later])
        fields = [options.pop(key) for key in ("version", "key", "protocol", "extensions") if key in options]
        error = error_of(part, *reversed(fields), fields=[HOST], **options)
        assert details.get(name, name) in error.detail
        assert error.status == (426 if name == "Version" else 400)


def test_other_fields_mean_nothing(part):
    more = [(b"sec-websocket-accept", b"x"), (b"sec-websocket-keys", b"x"), (b"x-sec-websocket-version", b"8")]
    assert check(part, *more).accept == ACCEPT


def test_head_that_a_parser_made(part):
    """From the bytes of the example in RFC 6455 section 1.2 to the answer."""
    data = (
        b"GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://example.com\r\n"
        b"Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    rules = part("rules")
    head = part("head").RequestHead()
    rules.split_head(data, head)
    rules.check_head(head, -1)
    assert head.wants_websocket
    handshake = part("handshake").check_handshake(head, True)
    assert handshake.accept == ACCEPT
    assert handshake.subprotocols == ["chat", "superchat"]
