"""RFC 9112 section 9: persistence, pipelining; RFC 9110 section 10.1.1: Expect; and the limits on a head and a body."""

from __future__ import annotations

from .case import GET, HOST, LINE, NEXT, NEXT_SEEN, Case, Seen, head, post, printable

GET10 = b"GET / HTTP/1.0"

# Connection of an HTTP/1.1 request, and whether the connection ends.
OPTIONS_11 = (
    (b"close", True), (b"Close", True), (b"CLOSE", True), (b"keep-alive, close", True), (b"close, keep-alive", True),
    (b"x,close", True), (b"close,x", True), (b" ,, close , ", True), (b"x\t,\tclose", True), (b"TE, close", True),
    (b"keep-alive", False), (b"Keep-Alive", False), (b"closed", False), (b"x-close", False), (b"clos", False),
    (b"close-x", False), (b"x close", False), (b"close x", False), (b'"close"', False), (b"", False), (b",", False),
    (b"TE", False), (b"close;q=1", False),
)  # fmt: skip

# The same for HTTP/1.0.
OPTIONS_10 = (
    (b"keep-alive", False), (b"Keep-Alive", False), (b"KEEP-ALIVE", False), (b"x, keep-alive", False),
    (b"keep-alive, x", False), (b"keep-alive, close", True), (b"close", True), (b"keepalive", True), (b"", True),
    (b"x", True), (b"keep-alive;timeout=5", True),
)  # fmt: skip


def _keep_alive() -> list[Case]:
    cases = []
    for value, ends in OPTIONS_11:
        cases.append(
            Case(
                "HTTP/1.1 Connection " + printable(value),
                head(b"Connection: " + value) + NEXT,
                [Seen()] if ends else [Seen(), NEXT_SEEN],
                closed=ends,
            )
        )
    for value, ends in OPTIONS_10:
        cases.append(
            Case(
                "HTTP/1.0 Connection " + printable(value),
                head(b"Connection: " + value, line=GET10) + NEXT,
                [Seen(version="1.0")] if ends else [Seen(version="1.0"), NEXT_SEEN],
                closed=ends,
            )
        )
    keep = b"Connection: keep-alive"
    close = b"Connection: close"
    cases += [
        Case("HTTP/1.0 without Connection", head(line=GET10) + NEXT, [Seen()], closed=True),
        Case("HTTP/1.0 kept three times", head(keep, line=GET10) * 3, [Seen(), Seen(), Seen()]),
        Case("HTTP/1.0 kept, then not", head(keep, line=GET10) + head(line=GET10) + GET, [Seen(), Seen()], closed=True),
        Case(
            "HTTP/1.0 POST kept",
            head(keep, b"Content-Length: 5", line=b"POST / HTTP/1.0") + b"hello" + NEXT,
            [Seen("POST", body=b"hello"), NEXT_SEEN],
        ),
        Case("two Connection fields, close first", head(close, keep) + NEXT, [Seen()], closed=True),
        Case("two Connection fields, close last", head(b"Connection: x", close) + NEXT, [Seen()], closed=True),
        Case("Connection in capitals", head(b"CONNECTION: close") + NEXT, [Seen()], closed=True),
        Case("Proxy-Connection means nothing", head(b"Proxy-Connection: close") + NEXT, [Seen(), NEXT_SEEN]),
        Case(
            "Keep-Alive alone means nothing", head(b"Keep-Alive: timeout=5", line=GET10) + NEXT, [Seen()], closed=True
        ),
        Case(
            "close with a body",
            post(close, b"Content-Length: 5", body=b"hello" + NEXT),
            [Seen("POST", body=b"hello")],
            closed=True,
        ),
        Case(
            "close with a chunked body",
            post(close, b"Transfer-Encoding: chunked", body=b"1\r\nx\r\n0\r\n\r\n" + NEXT),
            [Seen("POST", body=b"x")],
            closed=True,
        ),
        Case("garbage after close", head(close) + b"\0\0garbage\r\n\r\n", [Seen()], closed=True),
        Case("a bad request after close", head(close) + head(host=None), [Seen()], closed=True),
        Case("much data after close", head(close) + b"x" * 100000, [Seen()], closed=True),
        Case("HEAD with close", head(close, line=b"HEAD / HTTP/1.1") + NEXT, [Seen("HEAD")], closed=True),
        Case(
            "Connection names Content-Length",
            post(b"Connection: content-length", b"Content-Length: 5", body=b"hello" + NEXT),
            [Seen("POST", body=b"hello"), NEXT_SEEN],
        ),
    ]
    return cases


def _pipelining() -> list[Case]:
    first = head(line=b"GET /1 HTTP/1.1")
    second = post(b"Content-Length: 3", body=b"abc").replace(b"POST /", b"POST /2")
    third = post(b"Transfer-Encoding: chunked", body=b"2\r\nde\r\n0\r\n\r\n").replace(b"POST /", b"POST /3")
    fourth = head(line=b"HEAD /4 HTTP/1.1")
    seen = [Seen(path="/1"), Seen("POST", "/2", body=b"abc"), Seen("POST", "/3", body=b"de"), Seen("HEAD", "/4")]
    no_host = head(line=b"GET /bad HTTP/1.1", host=None)
    return [
        Case("pipelined: two", first + second, seen[:2]),
        Case("pipelined: four of a kind each", first + second + third + fourth, seen),
        Case("pipelined: four, twice over", (first + second + third + fourth) * 2, seen * 2),
        Case("pipelined: HEAD between", first + fourth + second, [seen[0], seen[3], seen[1]]),
        Case("pipelined: thirty", GET * 30, [Seen()] * 30),
        Case("pipelined: garbage last", first + b"garbage\r\n\r\n", [seen[0], 400]),
        Case("pipelined: binary garbage last", first + b"\x00\xff\x80\r\n\r\n", [seen[0], 400]),
        Case("pipelined: bad one in the middle", first + no_host + second, [seen[0], 400]),
        Case("pipelined: bad one first", no_host + first + second, [400]),
        Case("pipelined: bad one twice", first + no_host + no_host, [seen[0], 400]),
        Case("pipelined: bad one after a body", second + no_host + first, [seen[1], 400]),
        Case("pipelined: bad one after chunks", third + no_host + first, [seen[2], 400]),
        Case(
            "pipelined: bad body in the middle",
            first + post(b"Transfer-Encoding: chunked", body=b"5\r\nhelloX0\r\n\r\n") + second,
            [seen[0], 400],
        ),
        Case(
            "pipelined: both framings in the middle",
            first + post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n") + second,
            [seen[0], 400],
        ),
        Case("pipelined: unknown method in the middle", first + head(line=b"BREW / HTTP/1.1") + second, [seen[0], 501]),
        Case("pipelined: version in the middle", first + head(line=b"GET / HTTP/2.0") + second, [seen[0], 505]),
        Case("pipelined: HTTP/2 preface second", first + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [seen[0], 505]),
        Case(
            "pipelined: close in the middle",
            first + head(b"Connection: close") + second,
            [seen[0], Seen()],
            closed=True,
        ),
        Case(
            "pipelined: HTTP/1.0 in the middle",
            first + head(line=b"GET / HTTP/1.0") + second,
            [seen[0], Seen()],
            closed=True,
        ),
        Case("pipelined: the last one is cut", first + second + third[:-1], seen[:2]),
        Case("pipelined: body longer than its length", second + b"d" + first, [seen[1], (400, 501)]),
        Case(
            "pipelined: body shorter than its length",
            post(b"Content-Length: %d" % len(first), body=b"") + first + NEXT,
            [Seen("POST", body=first), NEXT_SEEN],
        ),
        Case(
            "pipelined: Host differs",
            first + head(line=b"GET /1 HTTP/1.1", host=b"Host: other"),
            [Seen(path="/1", headers=[(b"host", b"h")]), Seen(path="/1", headers=[(b"host", b"other")])],
        ),
        Case(
            "pipelined: fields do not stay",
            head(b"A: b", b"Cookie: c") + GET,
            [Seen(headers=[(b"host", b"h"), (b"a", b"b"), (b"cookie", b"c")]), Seen(headers=[(b"host", b"h")])],
        ),
        Case(
            "pipelined: framing does not stay",
            post(b"Content-Length: 2", body=b"ab") + post() + GET,
            [Seen("POST", body=b"ab"), Seen("POST"), Seen()],
        ),
        Case(
            "pipelined: query and authority do not stay",
            head(line=b"GET http://other/p?q HTTP/1.1") + head(line=b"GET /p HTTP/1.1"),
            [Seen(path="/p", query=b"q", headers=[(b"host", b"other")]), Seen(path="/p", headers=[(b"host", b"h")])],
        ),
    ]


def _expect() -> list[Case]:
    ask = b"Expect: 100-continue"
    hello = Seen("POST", body=b"hello")
    return [
        Case(
            "Expect, length", post(ask, b"Content-Length: 5", body=b"hello" + NEXT), [hello, NEXT_SEEN], continues=True
        ),
        Case(
            "Expect, chunked",
            post(ask, b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n" + NEXT),
            [hello, NEXT_SEEN],
            continues=True,
        ),
        Case(
            "Expect in other case",
            post(b"EXPECT: 100-Continue", b"Content-Length: 5", body=b"hello"),
            [hello],
            continues=True,
        ),
        Case("Expect without a body", head(ask) + NEXT, [Seen(), NEXT_SEEN]),
        Case("Expect with length zero", post(ask, b"Content-Length: 0", body=NEXT), [Seen("POST"), NEXT_SEEN]),
        Case(
            "Expect over HTTP/1.0",
            head(ask, b"Content-Length: 5", line=b"POST / HTTP/1.0") + b"hello",
            [hello],
            closed=True,
        ),
        Case("Expect twice asked", post(ask, b"Content-Length: 5", body=b"hello") * 2, [hello, hello], continues=True),
        Case("unknown Expect", post(b"Expect: tea", b"Content-Length: 5", body=b"hello"), [417]),
        Case("unknown Expect, no body", head(b"Expect: 200-ok") + NEXT, [417]),
        Case(
            "unknown Expect beside the known",
            post(b"Expect: 100-continue, tea", b"Content-Length: 5", body=b"hello"),
            [417],
        ),
        Case("unknown Expect in a second field", post(ask, b"Expect: tea", b"Content-Length: 5", body=b"hello"), [417]),
        Case("Expect with a parameter", post(b"Expect: 100-continue;x=y", b"Content-Length: 5", body=b"hello"), [417]),
        Case("Expect: 100", post(b"Expect: 100", b"Content-Length: 5", body=b"hello"), [417]),
        Case(
            "Expect and a body too large",
            post(ask, b"Content-Length: 5", body=b""),
            [413],
            settings={"limit_request_body": 4},
        ),
        Case("Expect and both framings", post(ask, b"Content-Length: 5", b"Transfer-Encoding: chunked"), [400]),
    ]


def _line_of(size: int) -> bytes:
    """A request line of `size` bytes without its CRLF."""
    return b"GET /" + b"a" * (size - len(b"GET / HTTP/1.1")) + b" HTTP/1.1"


def _section_of(size: int) -> bytes:
    """A whole head whose field lines, each with its CRLF, are `size` bytes in all."""
    return LINE + b"\r\n" + HOST + b"\r\nX: " + b"v" * (size - len(HOST) - 2 - 5) + b"\r\n\r\n"


def _limits() -> list[Case]:
    line = {"limit_request_line": 40}
    size = {"limit_header_size": 100}
    fields = {"limit_header_fields": 4}
    body = {"limit_request_body": 8}
    four = [b"A: b"] * 3
    return [
        Case("request line at its limit", head(line=_line_of(40)), settings=line, expect=[Seen(path="/" + "a" * 26)]),
        Case("request line past its limit", head(line=_line_of(41)), settings=line, expect=[414]),
        Case("request line far past its limit", head(line=_line_of(4000)), settings=line, expect=[414]),
        Case("request line past its limit, unfinished", _line_of(400)[:60], settings=line, expect=[414]),
        Case(
            "request line past its limit, query",
            head(line=b"GET /?" + b"q" * 60 + b" HTTP/1.1"),
            settings=line,
            expect=[414],
        ),
        Case(
            "request line past its limit, second request",
            GET + head(line=_line_of(41)),
            settings=line,
            expect=[Seen(), 414],
        ),
        Case("request line at its default limit", head(line=_line_of(16384)), [Seen(path=None)]),
        Case("request line past its default limit", head(line=_line_of(16385)), [414]),
        Case("header section at its limit", _section_of(100), settings=size),
        Case("header section past its limit", _section_of(101), settings=size, expect=[431]),
        Case("header section far past its limit", _section_of(4000), settings=size, expect=[431]),
        Case(
            "header section past its limit, one long line",
            LINE + b"\r\nHost: h\r\nX: " + b"v" * 200,
            settings=size,
            expect=[431],
        ),
        Case(
            "header section past its limit, many lines",
            LINE + b"\r\nHost: h\r\n" + b"X: v\r\n" * 40,
            settings=size,
            expect=[431],
        ),
        Case(
            "header section past its limit, second request", GET + _section_of(101), settings=size, expect=[Seen(), 431]
        ),
        Case(
            "header section, request line not counted",
            head(line=_line_of(300)),
            settings=size,
            expect=[Seen(path=None)],
        ),
        Case(
            "header section, body not counted",
            post(b"Content-Length: 500", body=b"x" * 500),
            settings=size,
            expect=[Seen("POST", body=b"x" * 500)],
        ),
        Case("header section at its default limit", _section_of(65536)),
        Case("header section past its default limit", _section_of(65537), [431]),
        Case("fields at their limit", head(*four), settings=fields),
        Case("fields past their limit", head(*four, b"E: f"), settings=fields, expect=[431]),
        Case("fields past their limit, unfinished", head(*four, b"E: f", b"G: h")[:-2], settings=fields, expect=[431]),
        Case(
            "fields past their limit, second request", GET + head(*four, b"E: f"), settings=fields, expect=[Seen(), 431]
        ),
        Case("fields at their limit twice", head(*four) * 2, settings=fields, expect=[Seen(), Seen()]),
        Case("fields at their default limit", head(*[b"A: b"] * 127)),
        Case("fields past their default limit", head(*[b"A: b"] * 128), [431]),
        Case(
            "body at its limit",
            post(b"Content-Length: 8", body=b"x" * 8 + NEXT),
            settings=body,
            expect=[Seen("POST", body=b"x" * 8), NEXT_SEEN],
        ),
        Case("body past its limit", post(b"Content-Length: 9", body=b"x" * 9), settings=body, expect=[413]),
        Case("body past its limit, none sent", post(b"Content-Length: 9"), settings=body, expect=[413]),
        Case("body far past its limit", post(b"Content-Length: 999999999999"), settings=body, expect=[413]),
        Case(
            "chunked body at its limit",
            post(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n3\r\nabc\r\n0\r\n\r\n" + NEXT),
            settings=body,
            expect=[Seen("POST", body=b"helloabc"), NEXT_SEEN],
        ),
        Case(
            "chunked body past its limit",
            post(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n4\r\nabcd\r\n0\r\n\r\n"),
            settings=body,
            expect=[413],
        ),
        Case(
            "chunk past the limit", post(b"Transfer-Encoding: chunked", body=b"9\r\nabc"), settings=body, expect=[413]
        ),
        Case(
            "chunk far past the limit",
            post(b"Transfer-Encoding: chunked", body=b"7fffffffffffffff\r\nabc"),
            settings=body,
            expect=[413],
        ),
        Case(
            "body limit of zero, no body",
            GET + post(b"Content-Length: 0"),
            settings={"limit_request_body": 0},
            expect=[Seen(), Seen("POST")],
        ),
        Case(
            "body limit of zero, a body",
            post(b"Content-Length: 1", body=b"x"),
            settings={"limit_request_body": 0},
            expect=[413],
        ),
        Case(
            "body limit of zero, chunked",
            post(b"Transfer-Encoding: chunked", body=b"1\r\nx\r\n0\r\n\r\n"),
            settings={"limit_request_body": 0},
            expect=[413],
        ),
        Case(
            "body limit of zero, chunked and empty",
            post(b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
            settings={"limit_request_body": 0},
            expect=[Seen("POST")],
        ),
        Case(
            "body past its limit, second request",
            GET + post(b"Content-Length: 9", body=b"x" * 9),
            settings=body,
            expect=[Seen(), 413],
        ),
    ]


CASES = [*_keep_alive(), *_pipelining(), *_expect(), *_limits()]
