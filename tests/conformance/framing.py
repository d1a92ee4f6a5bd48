"""RFC 9112 section 6: how long a body is. Content-Length and Transfer-Encoding, and what hides behind them."""

from __future__ import annotations

from .case import GET, NEXT, NEXT_SEEN, Case, Seen, chunked, head, post, printable

TE = b"Transfer-Encoding: chunked"
HELLO = Seen("POST", body=b"hello")
CHUNKED_HELLO = b"5\r\nhello\r\n0\r\n\r\n"

GOOD_LENGTHS = (b"5", b"05", b"00000000000000000005", b" 5", b"5 ", b"\t5\t")

BAD_LENGTHS = (
    b"+5", b"-5", b"-0", b"5 5", b"5,5", b"5, 5", b"5,", b",5", b"5;", b"5;5", b"0x5", b"5.0", b"5e0", b"5_0", b"1_0",
    b"", b" ", b"five", b"5 bytes", b'"5"', b"'5'", b"(5)", b"5h", b"\xef\xbc\x95", b"\xb2", b"\xd9\xa5", b"5-", b"5+",
    b"--5", b"000000000000000000005", b"NaN", b"inf", b"0b101", b"5\xa0", b"\xa05", b"#5", b"%35",
)  # fmt: skip

# More than 2^63-1; the second wraps to 5 in 64 bits, the third in 32 bits times 2^32.
HUGE_LENGTHS = (
    b"9223372036854775808",
    b"18446744073709551621",
    b"79228162514264337593543950341",
    b"9" * 40,
    b"9" * 400,
)

# What may stand in Transfer-Encoding: value, status. Where the RFC and the design give two answers, both are listed.
CODINGS = (
    (b"gzip", (400, 501)),
    (b"gzip, chunked", 501),
    (b"xchunked", (400, 501)),
    (b"chunkedx", (400, 501)),
    (b"chunked x", (400, 501)),
    (b"x chunked", (400, 501)),
    (b"chunked;q=1", (400, 501)),
    (b"chunked;", (400, 501)),
    (b'"chunked"', (400, 501)),
    (b"'chunked'", (400, 501)),
    (b"chunked-false", (400, 501)),
    (b"cow", (400, 501)),
    (b"cow, chunked", 501),
    (b"deflate, gzip, chunked", 501),
    (b"identity", 400),
    (b"identity, chunked", 400),
    (b"chunked, identity", 400),
    (b"chunked, chunked", 400),
    (b"chunked,chunked", 400),
    (b"gzip, chunked, chunked", 400),
    (b"chunked, gzip", 400),
    (b"chunked, gzip, chunked", 400),
    (b"", 400),
    (b" ", 400),
    (b",", 400),
    (b"chunked\x0b", 400),
    (b"\x0bchunked", 400),
    (b"\x0cchunked", 400),
    (b"chunked\0", 400),
    (b"chu\rnked", 400),
    (b"chu\nnked", 400),
    (b"\r chunked", 400),
    (b"\r\n chunked", 400),
    (b"chunked\xa0", (400, 501)),
    (b"\xc3\xa7hunked", (400, 501)),
    (b"\xefchunked", (400, 501)),
    (b"chun\xe2\x84\xaaed", (400, 501)),  # KELVIN SIGN, which lower() folds to k in text
)


def _lengths() -> list[Case]:
    cases = [
        Case("length " + printable(v), post(b"Content-Length:" + v, body=b"hello" + NEXT), [HELLO, NEXT_SEEN])
        for v in GOOD_LENGTHS
    ]
    cases += [
        Case("bad length " + printable(v), post(b"Content-Length: " + v, body=b"hello" + NEXT), [400])
        for v in BAD_LENGTHS
    ]
    cases += [
        Case("huge length " + printable(v[:30]) + f" of {len(v)}", post(b"Content-Length: " + v, body=b"hello"), [413])
        for v in HUGE_LENGTHS
    ]
    cases += [
        Case("length zero", post(b"Content-Length: 0", body=NEXT), [Seen("POST"), NEXT_SEEN]),
        Case("length of 2^63-1", post(b"Content-Length: 9223372036854775807", body=b"hello"), [], closed=False),
        Case("no length, POST", post(body=NEXT), [Seen("POST"), NEXT_SEEN]),
        Case("no length, HTTP/1.0 POST", head(line=b"POST / HTTP/1.0") + b"hello", [Seen("POST")], closed=True),
        Case("length, HTTP/1.0", head(b"Content-Length: 5", line=b"POST / HTTP/1.0") + b"hello", [HELLO], closed=True),
        Case("GET with a body", head(b"Content-Length: 5") + b"hello" + NEXT, [Seen(body=b"hello"), NEXT_SEEN]),
        Case(
            "DELETE with a body",
            head(b"Content-Length: 5", line=b"DELETE / HTTP/1.1") + b"hello" + NEXT,
            [Seen("DELETE", body=b"hello"), NEXT_SEEN],
        ),
        Case(
            "OPTIONS * with a body",
            head(b"Content-Length: 5", line=b"OPTIONS * HTTP/1.1") + b"hello" + NEXT,
            [Seen("OPTIONS", "*", body=b"hello"), NEXT_SEEN],
        ),
        Case(
            "HEAD with a body",
            head(b"Content-Length: 5", line=b"HEAD / HTTP/1.1") + b"hello" + NEXT,
            [Seen("HEAD", body=b"hello"), NEXT_SEEN],
        ),
        Case(
            "body of NULs and line ends",
            post(b"Content-Length: 8", body=b"\0\r\n\r\n\n\r\xff" + NEXT),
            [Seen("POST", body=b"\0\r\n\r\n\n\r\xff"), NEXT_SEEN],
        ),
        Case(
            "body that looks like a request",
            post(b"Content-Length: %d" % len(GET), body=GET + NEXT),
            [Seen("POST", body=GET), NEXT_SEEN],
        ),
        Case("body cut short", post(b"Content-Length: 6", body=b"hello"), []),
        Case("two lengths, equal", post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"), [400]),
        Case(
            "two lengths, equal, case differs", post(b"Content-Length: 5", b"content-length: 5", body=b"hello"), [400]
        ),
        Case("two lengths, different", post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello"), [400]),
        Case(
            "two lengths, fields between",
            post(b"Content-Length: 5", b"A: b", b"Content-Length: 5", body=b"hello"),
            [400],
        ),
        Case("two lengths, one zero", post(b"Content-Length: 0", b"Content-Length: 5", body=b"hello"), [400]),
        Case("two lengths, one empty", post(b"Content-Length:", b"Content-Length: 5", body=b"hello"), [400]),
        Case("two lengths, one invalid", post(b"Content-Length: x", b"Content-Length: 5", body=b"hello"), [400]),
        Case("two lengths, HTTP/1.0", head(b"Content-Length: 5", b"Content-Length: 5", line=b"POST / HTTP/1.0"), [400]),
        Case("length with a space before the colon", post(b"Content-Length : 5", body=b"hello"), [400]),
        Case("length with a NUL in its name", post(b"Content-Length\0: 5", body=b"hello"), [400]),
        Case("length is folded", post(b"Content-Length:\r\n 5", body=b"hello"), [400]),
        Case("length after a folded field", post(b"X: y\r\n Content-Length: 5", body=b"hello"), [400]),
        Case("Content_Length is another field", post(b"Content_Length: 5", body=NEXT), [Seen("POST"), NEXT_SEEN]),
    ]
    return cases


def _codings() -> list[Case]:
    cases = []
    for value, status in CODINGS:
        name = "coding " + printable(value)
        cases.append(Case(name, post(b"Transfer-Encoding: " + value, body=CHUNKED_HELLO + NEXT), [status]))
    cases += [
        Case("chunked", post(TE, body=CHUNKED_HELLO + NEXT), [HELLO, NEXT_SEEN]),
        Case("chunked in capitals", post(b"TRANSFER-ENCODING: CHUNKED", body=CHUNKED_HELLO + NEXT), [HELLO, NEXT_SEEN]),
        Case("chunked with whitespace", post(b"Transfer-Encoding:\t chunked \t", body=CHUNKED_HELLO), [HELLO]),
        Case("chunked, no whitespace", post(b"Transfer-Encoding:chunked", body=CHUNKED_HELLO), [HELLO]),
        Case("chunked GET", head(TE) + CHUNKED_HELLO + NEXT, [Seen(body=b"hello"), NEXT_SEEN]),
        Case(
            "chunked HEAD",
            head(TE, line=b"HEAD / HTTP/1.1") + CHUNKED_HELLO + NEXT,
            [Seen("HEAD", body=b"hello"), NEXT_SEEN],
        ),
        Case("two Transfer-Encodings", post(TE, TE, body=CHUNKED_HELLO), [400]),
        Case("two Transfer-Encodings, one gzip", post(b"Transfer-Encoding: gzip", TE, body=CHUNKED_HELLO), [501]),
        Case("two Transfer-Encodings, gzip last", post(TE, b"Transfer-Encoding: gzip", body=CHUNKED_HELLO), [400]),
        Case("two Transfer-Encodings, identity", post(TE, b"Transfer-Encoding: identity", body=CHUNKED_HELLO), [400]),
        Case("two Transfer-Encodings, one empty", post(TE, b"Transfer-Encoding:", body=CHUNKED_HELLO), [400]),
        Case("chunked over HTTP/1.0", head(TE, line=b"POST / HTTP/1.0") + CHUNKED_HELLO, [400]),
        Case(
            "chunked over HTTP/1.0, keep-alive",
            head(TE, b"Connection: keep-alive", line=b"POST / HTTP/1.0") + CHUNKED_HELLO + NEXT,
            [400],
        ),
        Case(
            "Transfer-Encoding with a space before the colon",
            post(b"Transfer-Encoding : chunked", body=CHUNKED_HELLO),
            [400],
        ),
        Case("Transfer-Encoding is folded", post(b"Transfer-Encoding:\r\n chunked", body=CHUNKED_HELLO), [400]),
        Case(
            "Transfer_Encoding is another field",
            post(b"Transfer_Encoding: chunked", b"Content-Length: 5", body=b"hello" + NEXT),
            [HELLO, NEXT_SEEN],
        ),
        Case(
            "X-Transfer-Encoding is another field",
            post(b"X-Transfer-Encoding: chunked", body=NEXT),
            [Seen("POST"), NEXT_SEEN],
        ),
    ]
    return cases


def _smuggling() -> list[Case]:
    """Messages that two servers could cut at different places. The rest never becomes a request."""
    hidden = head(line=b"GET /hidden HTTP/1.1")
    both = (b"Content-Length: 5", TE)
    return [
        Case("CL.TE", post(*both, body=CHUNKED_HELLO + hidden), [400]),
        Case("TE.CL", post(*reversed(both), body=CHUNKED_HELLO + hidden), [400]),
        Case("CL.TE, HTTP/1.0", head(*both, line=b"POST / HTTP/1.0") + CHUNKED_HELLO + hidden, [400]),
        Case("CL.0 and TE", post(b"Content-Length: 0", TE, body=b"0\r\n\r\n" + hidden), [400]),
        Case(
            "CL and TE identity",
            post(b"Content-Length: 5", b"Transfer-Encoding: identity", body=b"hello" + hidden),
            [400],
        ),
        Case("CL and empty TE", post(b"Content-Length: 5", b"Transfer-Encoding:", body=b"hello" + hidden), [400]),
        Case(
            "CL and unknown TE",
            post(b"Content-Length: 5", b"Transfer-Encoding: x", body=b"hello" + hidden),
            [(400, 501)],
        ),
        Case("CL.TE, GET", head(*both) + CHUNKED_HELLO + hidden, [400]),
        Case("TE.TE, one obscured by a tab", post(TE, b"Transfer-Encoding\t: x", body=CHUNKED_HELLO + hidden), [400]),
        Case(
            "TE.TE, one obscured by a fold", post(b"X: y\r\n Transfer-Encoding: chunked", TE, body=CHUNKED_HELLO), [400]
        ),
        Case("TE.TE, one obscured by LF", post(b"X: y\nTransfer-Encoding: chunked", b"Content-Length: 5"), [400]),
        Case("TE behind a NUL", post(b"\0Transfer-Encoding: chunked", b"Content-Length: 5", body=CHUNKED_HELLO), [400]),
        Case("TE quoted", post(b'"Transfer-Encoding": chunked', b"Content-Length: 5", body=CHUNKED_HELLO), [400]),
        Case("CL list hides a request", post(b"Content-Length: 0, %d" % len(hidden), body=hidden), [400]),
        Case("CL sign hides a request", post(b"Content-Length: +%d" % len(hidden), body=hidden), [400]),
        Case(
            "CL pair hides a request",
            post(b"Content-Length: 0", b"Content-Length: %d" % len(hidden), body=hidden),
            [400],
        ),
        Case(
            "GET body hides a request",
            head(b"Content-Length: %d" % len(hidden)) + hidden + NEXT,
            [Seen(body=hidden), NEXT_SEEN],
        ),
        Case("upgrade with CL and TE", post(b"Connection: upgrade", b"Upgrade: h2c", *both, body=CHUNKED_HELLO), [400]),
    ]


CHUNKS_GOOD = {
    # name: (chunked content, body)
    "one chunk": (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    "no chunk": (b"0\r\n\r\n", b""),
    "three chunks": (b"1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n0\r\n\r\n", b"abcdef"),
    "hex in lower case": (b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    "hex in upper case": (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    "hex of two digits": (b"1a\r\n" + b"x" * 26 + b"\r\n0\r\n\r\n", b"x" * 26),
    "leading zeros": (b"0005\r\nhello\r\n0\r\n\r\n", b"hello"),
    "16 digits": (b"0000000000000005\r\nhello\r\n0\r\n\r\n", b"hello"),
    "many zeros end it": (b"5\r\nhello\r\n0000000000000000\r\n\r\n", b"hello"),
    "extension": (b"5;x\r\nhello\r\n0\r\n\r\n", b"hello"),
    "extension with a value": (b"5;x=y\r\nhello\r\n0\r\n\r\n", b"hello"),
    "extension with a quoted value": (b'5;x="y z;\\"5"\r\nhello\r\n0\r\n\r\n', b"hello"),
    "two extensions": (b"5;x;y=z\r\nhello\r\n0\r\n\r\n", b"hello"),
    "extension of the last chunk": (b"5\r\nhello\r\n0;x=y\r\n\r\n", b"hello"),
    "data that looks like chunks": (b"c\r\n0\r\n\r\n5\r\nhel\n\r\n0\r\n\r\n", b"0\r\n\r\n5\r\nhel\n"),
    "data of CR and LF": (b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n"),
    "a trailer": (b"5\r\nhello\r\n0\r\nX-Checksum: 1\r\n\r\n", b"hello"),
    "two trailers": (b"5\r\nhello\r\n0\r\nA: b\r\nC:\r\n\r\n", b"hello"),
}

CHUNKS_BAD = {
    "17 digits": b"00000000000000005\r\nhello\r\n0\r\n\r\n",
    "size 0x5": b"0x5\r\nhello\r\n0\r\n\r\n",
    "size 0X5": b"0X5\r\nhello\r\n0\r\n\r\n",
    "space after the size": b"5 \r\nhello\r\n0\r\n\r\n",
    "tab after the size": b"5\t\r\nhello\r\n0\r\n\r\n",
    "space before the size": b" 5\r\nhello\r\n0\r\n\r\n",
    "CRLF before the size": b"\r\n5\r\nhello\r\n0\r\n\r\n",
    "space inside the size": b"1 0\r\nhello\r\n0\r\n\r\n",
    "whitespace before an extension": b"5 ;x\r\nhello\r\n0\r\n\r\n",
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "no size but an extension": b";x\r\nhello\r\n0\r\n\r\n",
    "minus": b"-5\r\nhello\r\n0\r\n\r\n",
    "minus zero": b"-0\r\n\r\n",
    "plus": b"+5\r\nhello\r\n0\r\n\r\n",
    "underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "not hex": b"g\r\nhello\r\n0\r\n\r\n",
    "hex and more": b"5h\r\nhello\r\n0\r\n\r\n",
    "full-width digit": b"\xef\xbc\x95\r\nhello\r\n0\r\n\r\n",
    "superscript digit": b"\xb2\r\nhello\r\n0\r\n\r\n",
    "NUL in the size": b"5\0\r\nhello\r\n0\r\n\r\n",
    "comma": b"5,\r\nhello\r\n0\r\n\r\n",
    "decimal point": b"5.0\r\nhello\r\n0\r\n\r\n",
    "LF after the size": b"5\nhello\r\n0\r\n\r\n",
    "CR after the size": b"5\rhello\r\n0\r\n\r\n",
    "CRCRLF after the size": b"5\r\r\nhello\r\n0\r\n\r\n",
    "LF after an extension": b"5;x\nhello\r\n0\r\n\r\n",
    "bare CR in an extension": b"5;x\ry\r\nhello\r\n0\r\n\r\n",
    "bare CR in a quoted extension": b'5;x="\r"\r\nhello\r\n0\r\n\r\n',
    "bare CR ends an extension": b"5;x\r\r\nhello\r\n0\r\n\r\n",
    "LF in a quoted extension": b'5;x="\n"\r\nhello\r\n0\r\n\r\n',
    "NUL in an extension": b"5;x=\0\r\nhello\r\n0\r\n\r\n",
    "control in an extension": b"5;x=\x01\r\nhello\r\n0\r\n\r\n",
    "DEL in an extension": b"5;x=\x7f\r\nhello\r\n0\r\n\r\n",
    "LF in the extension of the last chunk": b"0;x\n\r\n",
    "a long extension": b"5;" + b"x" * 70000 + b"\r\nhello\r\n0\r\n\r\n",
    "a long extension which does not end": b"5;" + b"x" * 70000,
    "a long size": b"0" * 70000,
    "data without CRLF": b"5\r\nhello0\r\n\r\n",
    "data and LF": b"5\r\nhello\n0\r\n\r\n",
    "data and CR": b"5\r\nhello\r0\r\n\r\n",
    "data and two wrong bytes": b"5\r\nhelloXX0\r\n\r\n",
    "data and LFCR": b"5\r\nhello\n\r0\r\n\r\n",
    "data too long": b"5\r\nhello!\r\n0\r\n\r\n",
    "data too short": b"5\r\nhell\r\n0\r\n\r\n",
    "last chunk and LF": b"0\n\r\n",
    "last chunk and CR": b"0\r\r\n",
    "LF ends the trailers": b"0\r\n\n",
    "CR ends the trailers": b"0\r\n\rX\r\n",
    "trailer without a colon": b"0\r\nX\r\n\r\n",
    "trailer with a space before the colon": b"0\r\nX : y\r\n\r\n",
    "trailer without a name": b"0\r\n: y\r\n\r\n",
    "trailer folded": b"0\r\nX: y\r\n z\r\n\r\n",
    "trailer begins with a space": b"0\r\n X: y\r\n\r\n",
    "trailer with LF": b"0\r\nX: y\nZ: a\r\n\r\n",
    "trailer with CR": b"0\r\nX: y\rZ: a\r\n\r\n",
    "trailer with NUL": b"0\r\nX: \0\r\n\r\n",
    "trailer with a control": b"0\r\nX: \x0b\r\n\r\n",
    "trailer with a bad name": b"0\r\nX@Y: z\r\n\r\n",
    "a request instead of trailers": b"0\r\n" + GET,
}

FORBIDDEN_TRAILERS = (
    b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Host: evil", b"Content-Type: x/y", b"Authorization: x",
    b"Connection: close", b"Trailer: x", b"Content-Encoding: gzip", b"Expect: 100-continue", b"Cookie: a",
    b"X-Forwarded-For: 1.2.3.4",
)  # fmt: skip


def _chunks() -> list[Case]:
    fields = [(b"host", b"h"), (b"transfer-encoding", b"chunked")]
    cases = [
        Case("chunks: " + name, chunked(data + NEXT), [Seen("POST", body=body, headers=fields), NEXT_SEEN])
        for name, (data, body) in CHUNKS_GOOD.items()
    ]
    cases += [Case("bad chunks: " + name, chunked(data), [400]) for name, data in CHUNKS_BAD.items()]
    cases += [
        Case("bad second chunk: " + name, chunked(b"3\r\nabc\r\n" + data), [400])
        for name, data in CHUNKS_BAD.items()
        if len(data) < 100
    ]
    cases += [
        Case(
            "forbidden trailer " + printable(line),
            chunked(CHUNKED_HELLO[:-2] + line + b"\r\n\r\n" + NEXT),
            [Seen("POST", body=b"hello", headers=fields), NEXT_SEEN],
        )
        for line in FORBIDDEN_TRAILERS
    ]
    cases += [
        Case("chunks: cut in the data", chunked(b"5\r\nhel"), []),
        Case("chunks: cut after the data", chunked(b"5\r\nhello"), []),
        Case("chunks: no last chunk", chunked(b"5\r\nhello\r\n"), []),
        Case("chunks: last chunk cut", chunked(b"5\r\nhello\r\n0\r\n"), []),
        Case("chunks: last CR without LF", chunked(b"5\r\nhello\r\n0\r\n\r"), []),
        Case("chunks: trailers cut", chunked(b"5\r\nhello\r\n0\r\nA: b\r\n"), []),
        Case("chunk of 2^64-1 bytes", chunked(b"FFFFFFFFFFFFFFFF\r\nhello"), [(400, 413)]),
        Case("chunk of 2^63 bytes", chunked(b"8000000000000000\r\nhello"), [(400, 413)]),
        Case("chunk of 2^64+5 bytes", chunked(b"10000000000000005\r\nhello\r\n0\r\n\r\n"), [400]),
        Case("chunk of 2^32+5 bytes", chunked(b"100000005\r\nhello\r\n0\r\n\r\n"), [], closed=False),
        Case("trailer section too large", chunked(b"0\r\n" + b"X: y\r\n" * 20000), [(400, 431)]),
        Case("trailer line too long", chunked(b"0\r\nX: " + b"y" * 100000), [(400, 431)]),
        Case("too many trailers", chunked(b"0\r\n" + b"X: y\r\n" * 129 + b"\r\n"), [(400, 431)]),
    ]
    return cases


CASES = [*_lengths(), *_codings(), *_smuggling(), *_chunks()]
