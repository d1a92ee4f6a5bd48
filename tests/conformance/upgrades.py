"""RFC 9110 section 7.8: Upgrade, ignored unless it asks for a WebSocket; RFC 6455 section 4.2: handshakes that fail.

A request that is ignored so far has its body read as HTTP: whoever takes that for bytes of the other protocol lets a
request be smuggled.
"""

from __future__ import annotations

from .case import GET, HOST, NEXT, NEXT_SEEN, Case, Seen, chunked, head, post, printable

UPGRADE = b"Upgrade: websocket"
CONNECTION = b"Connection: Upgrade"
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
VERSION = b"Sec-WebSocket-Version: 13"
HANDSHAKE = (UPGRADE, CONNECTION, KEY, VERSION)

FRAMES = b"\x81\x85\x00\x00\x00\x00hello\x88\x80\x00\x00\x00\x00"
HIDDEN = head(line=b"GET /hidden HTTP/1.1")
H2C = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__")
OFF = {"ws": "none"}
TE = b"Transfer-Encoding: chunked"

# Upgrade values that do not name the WebSocket protocol.
OTHERS = (
    b"h2c", b"foo", b"foo/1.0", b"TLS/1.0", b"websocket/13", b"websocket2", b"websockets", b"web socket",
    b"x-websocket", b'"websocket"', b"websocket;v=13", b"h2c, foo/2", b"", b",", b"HTTP/2.0, IRC/6.9, RTA/x11",
)  # fmt: skip

# Connection values without the option `upgrade`.
NOT_OPTIONS = (
    b"keep-alive", b"websocket", b"upgraded", b"x-upgrade", b"upgrade-insecure-requests", b"Upgrade x", b'"upgrade"',
    b"upgrade;q=1", b"",
)  # fmt: skip

# Spellings that do ask for a WebSocket; without a key they fail, which shows that they were understood.
ASKING = (
    (b"Upgrade: websocket", b"Connection: upgrade"),
    (b"upgrade: WebSocket", b"connection: UPGRADE"),
    (b"UPGRADE: WEBSOCKET", b"CONNECTION: Upgrade"),
    (b"Upgrade:websocket", b"Connection:\tUpgrade\t"),
    (b"Upgrade: websocket, h2c", b"Connection: keep-alive, Upgrade"),
    (b"Upgrade: h2c,websocket", b"Connection: Upgrade,keep-alive"),
    (b"Upgrade: ,\twebsocket ,", b"Connection: , upgrade"),
    (b"Upgrade: h2c", b"Upgrade: websocket", b"Connection: Upgrade"),
    (b"Upgrade: websocket", b"Connection: keep-alive", b"Connection: Upgrade"),
    (b"Connection: Upgrade", b"Upgrade: websocket"),
)

VERSIONS = (b"0", b"7", b"8", b"12", b"14", b"013", b"13.0", b"+13", b"8, 13", b"13, 8", b"13,13", b"x", b"")

KEYS = (
    b"", b"x", b"dGhlIHNhbXBsZSBub25jZQ", b"dGhlIHNhbXBsZSBub25jZQ=", b"dGhlIHNhbXBsZSBub25jZQ===",
    b"dGhlIHNhbXBsZQ==", b"dGhlIHNhbXBsZSBub25jZSE=", b"dGhlIHNhbXBsZSBub25jZSEh", b"dGhlIHNhbXBsZSBub25jZ-==",
    b"dGhl IHNhbXBsZSBub25jZQ==", b'"dGhlIHNhbXBsZSBub25jZQ=="', b"dGhlIHNhbXBsZSBub25j\xe9Q==",
    b"dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
)  # fmt: skip

PROTOCOLS = (b"a b", b"a/b", b'"a"', b"a, b c", b"a=b", b"(a)", b"\xe9", b"a;b, c", b"a,b,{c}")

EXTENSIONS = (
    b";", b"a b", b"a;", b"a; b=", b'a; b=""', b'a; b="c d"', b'a; b="c', b"a; b=c d", b"a=b", b"permessage-deflate;",
    b"permessage-deflate; client_max_window_bits=", b"permessage-deflate client_max_window_bits", b"\xe9",
    b"a; b, c; =d",
)  # fmt: skip


def _without(*dropped: bytes) -> list[bytes]:
    return [field for field in HANDSHAKE if field not in dropped]


def _both_framings(name: str, fields: tuple[bytes, ...], settings: dict | None = None) -> list[Case]:
    """A request whose body looks like a request, with a length and chunked, with another request behind it."""
    settings = settings or {}
    length = b"Content-Length: %d" % len(HIDDEN)
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)
    seen = Seen("POST", body=HIDDEN)
    return [
        Case(name, head(*fields) + NEXT, [Seen(), NEXT_SEEN], settings=settings),
        Case(name + ", body", post(*fields, length, body=HIDDEN + NEXT), [seen, NEXT_SEEN], settings=settings),
        Case(name + ", chunked", post(*fields, TE, body=chunks + NEXT), [seen, NEXT_SEEN], settings=settings),
        Case(
            name + ", GET with a body",
            head(*fields, length) + HIDDEN + NEXT,
            [Seen(body=HIDDEN), NEXT_SEEN],
            settings=settings,
        ),
    ]


def _ignored() -> list[Case]:
    length = b"Content-Length: 5"
    empty = b"0\r\n\r\n"
    cases = [
        *_both_framings("h2c", H2C),
        *_both_framings("Upgrade: foo", (b"Upgrade: foo", CONNECTION)),
        *_both_framings("Upgrade without Connection", (UPGRADE, KEY, VERSION)),
        *_both_framings("Connection without Upgrade", (CONNECTION, KEY, VERSION)),
        *_both_framings("WebSocket", HANDSHAKE)[1:],  # without a body it is one
        *_both_framings("WebSocket where none is served", HANDSHAKE, OFF),
        *_both_framings("bad WebSocket where none is served", (UPGRADE, CONNECTION, b"Sec-WebSocket-Version: 8"), OFF),
    ]
    cases += [
        Case(
            "WebSocket: body of frames",
            head(*HANDSHAKE, b"Content-Length: %d" % len(FRAMES)) + FRAMES + NEXT,
            [Seen(body=FRAMES), NEXT_SEEN],
        ),
        Case("WebSocket: empty chunked body", head(*HANDSHAKE, TE) + empty + NEXT, [Seen(), NEXT_SEEN]),
        Case("WebSocket: no chunks to a body", head(*HANDSHAKE, TE) + FRAMES, [400]),
        Case("WebSocket: short body", head(*HANDSHAKE, length) + HIDDEN + NEXT, [Seen(body=HIDDEN[:5]), (400, 501)]),
        Case(
            "WebSocket: body and Expect",
            head(*HANDSHAKE, length, b"Expect: 100-continue") + b"hello" + NEXT,
            [Seen(body=b"hello"), NEXT_SEEN],
            continues=True,
        ),
    ]
    cases += [
        Case(
            "WebSocket: " + method,
            head(*HANDSHAKE, line=method.encode() + b" / HTTP/1.1") + NEXT,
            [Seen(method), NEXT_SEEN],
        )
        for method in ("HEAD", "POST", "PUT", "OPTIONS", "DELETE", "TRACE")
    ]
    for value in OTHERS:
        fields = (b"Upgrade: " + value, CONNECTION, KEY, VERSION)
        cases.append(Case("Upgrade " + printable(value), head(*fields) + NEXT, [Seen(), NEXT_SEEN]))
        cases.append(
            Case(
                "Upgrade %s, body" % printable(value),
                post(*fields, b"Content-Length: 5", body=b"hello" + NEXT),
                [Seen("POST", body=b"hello"), NEXT_SEEN],
            )
        )
    for value in NOT_OPTIONS:
        fields = (UPGRADE, b"Connection: " + value, KEY, VERSION)
        cases.append(Case("Upgrade with Connection " + printable(value), head(*fields) + NEXT, [Seen(), NEXT_SEEN]))
    return cases


def _ignored_over_http_1_0() -> list[Case]:
    get = b"GET / HTTP/1.0"
    kept = b"Connection: Upgrade, keep-alive"
    seen = Seen(version="1.0")
    return [
        Case(
            "h2c over HTTP/1.0",
            head(kept, b"Upgrade: h2c", b"Content-Length: 5", line=b"POST / HTTP/1.0") + b"hello" + NEXT,
            [Seen("POST", body=b"hello", version="1.0"), NEXT_SEEN],
        ),
        Case("WebSocket over HTTP/1.0", head(*HANDSHAKE, line=get) + FRAMES, [seen], closed=True),
        Case("WebSocket over HTTP/1.0, kept", head(UPGRADE, kept, KEY, VERSION, line=get) + NEXT, [seen, NEXT_SEEN]),
        Case(
            "WebSocket over HTTP/1.0, body",
            head(UPGRADE, kept, KEY, VERSION, b"Content-Length: 5", line=b"POST / HTTP/1.0") + b"hello" + NEXT,
            [Seen("POST", body=b"hello", version="1.0"), NEXT_SEEN],
        ),
        Case("bad WebSocket over HTTP/1.0", head(UPGRADE, kept, line=get) + NEXT, [seen, NEXT_SEEN]),
    ]


def _http_rules_come_first() -> list[Case]:
    """What makes a request a bad one does so whatever it upgrades to."""
    both = (b"Content-Length: 5", TE)
    return [
        Case("WebSocket without Host", head(*HANDSHAKE, host=None), [400]),
        Case("WebSocket with two Hosts", head(HOST, *HANDSHAKE), [400]),
        Case("WebSocket with two lengths", head(*HANDSHAKE, *both) + chunked(b""), [400]),
        Case("WebSocket with an unknown Expect", head(*HANDSHAKE, b"Expect: tea"), [417]),
        Case("WebSocket over HTTP/2.0", head(*HANDSHAKE, line=b"GET / HTTP/2.0"), [505]),
        Case("WebSocket with BREW", head(*HANDSHAKE, line=b"BREW / HTTP/1.1"), [501]),
        Case("WebSocket with a fold", head(*HANDSHAKE, b"X: y\r\n z"), [400]),
        Case("WebSocket with too many fields", head(*HANDSHAKE), [431], settings={"limit_header_fields": 4}),
        Case(
            "WebSocket with a body too large",
            head(*HANDSHAKE, b"Content-Length: 9") + b"x" * 9,
            [413],
            settings={"limit_request_body": 8},
        ),
    ]


def _failing() -> list[Case]:
    """After each, frames or a request follow, and neither is answered."""
    cases = [
        Case("WebSocket: fields asked for %d" % number, head(*fields, VERSION) + NEXT, [400])
        for number, fields in enumerate(ASKING)
    ]
    cases += [
        Case("WebSocket: no version", head(*_without(VERSION)) + FRAMES, [400]),
        Case("WebSocket: version twice", head(*HANDSHAKE, VERSION) + FRAMES, [400]),
        Case("WebSocket: two versions", head(*HANDSHAKE, b"Sec-WebSocket-Version: 8") + FRAMES, [400]),
        Case("WebSocket: no key", head(*_without(KEY)) + FRAMES, [400]),
        Case("WebSocket: key twice", head(*HANDSHAKE, KEY) + FRAMES, [400]),
        Case("WebSocket: neither key nor version", head(UPGRADE, CONNECTION) + NEXT, [400]),
        Case("WebSocket: no key, length zero", head(*_without(KEY), b"Content-Length: 0") + NEXT, [400]),
    ]
    for value in VERSIONS:
        fields = (UPGRADE, CONNECTION, KEY, b"Sec-WebSocket-Version: " + value)
        cases.append(Case("WebSocket: version " + printable(value), head(*fields) + FRAMES, [426]))
    for value in KEYS:
        fields = (UPGRADE, CONNECTION, b"Sec-WebSocket-Key: " + value, VERSION)
        cases.append(Case("WebSocket: key " + printable(value), head(*fields) + FRAMES, [400]))
    for value in PROTOCOLS:
        fields = (*HANDSHAKE, b"Sec-WebSocket-Protocol: " + value)
        cases.append(Case("WebSocket: subprotocol " + printable(value), head(*fields) + FRAMES, [400]))
    for value in EXTENSIONS:
        fields = (*HANDSHAKE, b"Sec-WebSocket-Extensions: " + value)
        cases.append(Case("WebSocket: extensions " + printable(value), head(*fields) + FRAMES, [400]))
    return cases


def _which_fault_counts() -> list[Case]:
    """RFC 6455 leaves the order open; it is that of the rules here."""
    version = b"Sec-WebSocket-Version: 8"
    key = b"Sec-WebSocket-Key: x"
    protocol = b"Sec-WebSocket-Protocol: a b"
    return [
        Case(
            "WebSocket: method before version",
            head(UPGRADE, CONNECTION, version, line=b"PUT / HTTP/1.1"),
            [Seen("PUT")],
        ),
        Case(
            "WebSocket: body before version",
            head(*_without(VERSION), version, b"Content-Length: 1") + b"x",
            [Seen(body=b"x")],
        ),
        Case("WebSocket: version before key", head(UPGRADE, CONNECTION, version, key, protocol), [426]),
        Case("WebSocket: version without a key", head(UPGRADE, CONNECTION, version), [426]),
    ]


def _pipelined() -> list[Case]:
    bad = head(*_without(KEY))
    old = head(UPGRADE, CONNECTION, KEY, b"Sec-WebSocket-Version: 8")
    hello = Seen("POST", body=b"hello")
    return [
        Case("WebSocket: bad after a request", GET + bad + NEXT, [Seen(), 400]),
        Case("WebSocket: old after a request", GET + old + NEXT, [Seen(), 426]),
        Case("WebSocket: bad after a body", post(b"Content-Length: 5", body=b"hello" + bad), [hello, 400]),
        Case("WebSocket: bad after chunks", chunked(b"5\r\nhello\r\n0\r\n\r\n") + old, [hello, 426]),
        Case("WebSocket: bad after an ignored upgrade", head(*H2C) + bad, [Seen(), 400]),
        Case("WebSocket: bad in a body", post(b"Content-Length: %d" % len(bad), body=bad), [Seen("POST", body=bad)]),
        Case("WebSocket: bad after close", head(b"Connection: close") + bad, [Seen()], closed=True),
        Case("WebSocket: fields do not stay", head(KEY, VERSION) + head(UPGRADE, CONNECTION), [Seen(), 400]),
        Case(
            "WebSocket: Upgrade does not stay",
            head(*H2C) + head(b"Connection: Upgrade") + NEXT,
            [Seen(), Seen(), NEXT_SEEN],
        ),
        Case("WebSocket: unfinished", head(*HANDSHAKE)[:-2], []),
    ]


CASES = [
    *_ignored(),
    *_ignored_over_http_1_0(),
    *_http_rules_come_first(),
    *_failing(),
    *_which_fault_counts(),
    *_pipelined(),
]
