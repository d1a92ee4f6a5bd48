"""RFC 9112 section 3: the request line. Methods, versions, spaces, targets."""

from __future__ import annotations

from .case import GET, Case, Seen, head, printable

# Every method in the registry of HTTP methods that llhttp knows; CONNECT is apart.
METHODS = [
    "DELETE",
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "OPTIONS",
    "TRACE",
    "COPY",
    "LOCK",
    "MKCOL",
    "MOVE",
    "PROPFIND",
    "PROPPATCH",
    "SEARCH",
    "UNLOCK",
    "BIND",
    "REBIND",
    "UNBIND",
    "ACL",
    "REPORT",
    "MKACTIVITY",
    "CHECKOUT",
    "MERGE",
    "M-SEARCH",
    "NOTIFY",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "PATCH",
    "PURGE",
    "MKCALENDAR",
    "LINK",
    "UNLINK",
    "SOURCE",
    "QUERY",
]

UNKNOWN_METHODS = (
    b"BREW", b"get", b"Get", b"gET", b"GETX", b"XGET", b"GE", b"G", b"POSTT", b"PRI", b"HTTP", b"DESCRIBE", b"SETUP",
    b"PLAY", b"FLUSH", b"M-SEARCHX", b"MSEARCH", b"GET_", b"!#$%&'*+-.^_`|~0aZ", b"A" * 200,
)  # fmt: skip

NOT_TOKENS = (
    b"G@T", b"GE(T", b"G\xc9T", b"GET:", b'"GET"', b"G/T", b"{GET}", b"G,T", b"G;T", b"GET=", b"<GET>", b"G?T",
    b"G[T", b"G\\T", b"\x01GET", b"G\x00T", b"GET\x7f", b"\xef\xbb\xbfGET",
)  # fmt: skip

BAD_VERSIONS = (
    b"HTTP/0.9", b"HTTP/0.0", b"HTTP/1", b"HTTP/1.", b"HTTP/.1", b"HTTP/1.10", b"HTTP/1.01", b"HTTP/11.1",
    b"HTTP/01.1", b"HTTP/1,1", b"HTTP/1 1", b"http/1.1", b"Http/1.1", b"HTTP /1.1", b"HTTP/ 1.1", b"HTTP1.1",
    b"HTTP/1.1 ", b"HTTP/1.1\t", b"HTP/1.1", b"HTTPS/1.1", b"HTTP/-1.1", b"HTTP/1.1x", b"HTTP/1.x", b"HTTP/x.1",
    b"RTSP/1.0", b"ICE/1.0", b"HTTP//1.1", b"HTTP\\1.1", b"HTTP/1.1;", b"HTTP/1.1 HTTP/1.1", b"",
    b"HTTP/\xb2.0", b"HTTP/1.1\x00",
)  # fmt: skip

UNSERVED_VERSIONS = (b"HTTP/1.2", b"HTTP/1.9", b"HTTP/2.0", b"HTTP/2.1", b"HTTP/3.0", b"HTTP/9.9")

BAD_LINES = {
    "two spaces before the target": b"GET  / HTTP/1.1",
    "two spaces after the target": b"GET /  HTTP/1.1",
    "tab before the target": b"GET\t/ HTTP/1.1",
    "tab after the target": b"GET /\tHTTP/1.1",
    "tab and space": b"GET \t/ HTTP/1.1",
    "leading space": b" GET / HTTP/1.1",
    "leading tab": b"\tGET / HTTP/1.1",
    "vertical tab": b"GET\x0b/ HTTP/1.1",
    "form feed": b"GET /\x0cHTTP/1.1",
    "no-break space": b"GET\xa0/ HTTP/1.1",
    "space in the target": b"GET /a b HTTP/1.1",
    "word after the version": b"GET / HTTP/1.1 x",
    "no target": b"GET HTTP/1.1",
    "no target, two spaces": b"GET  HTTP/1.1",
    "no method": b" / HTTP/1.1",
    "only a method": b"GET",
    "method and space": b"GET ",
    "HTTP/0.9 simple request": b"GET /",
    "simple request with space": b"GET / ",
    "bare CR in the target": b"GET /\rx HTTP/1.1",
    "bare CR before the version": b"GET /\r HTTP/1.1",
    "bare CR in the version": b"GET / HTTP/1.1\rx",
    "two CRs at the end": b"GET / HTTP/1.1\r",
    "status line": b"HTTP/1.1 200 OK",
    "TLS client hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "NULs": b"\0\0\0\0",
}

GOOD_TARGETS = {
    # target: (path, raw path, query)
    b"/": ("/", b"/", b""),
    b"/?": ("/", b"/", b""),
    b"/a/b.c": ("/a/b.c", b"/a/b.c", b""),
    b"/p?q=1&r=2": ("/p", b"/p", b"q=1&r=2"),
    b"/p?q%20r=%E2%82%AC+x": ("/p", b"/p", b"q%20r=%E2%82%AC+x"),
    b"/p?a?b?": ("/p", b"/p", b"a?b?"),
    b"/??": ("/", b"/", b"?"),
    b"/%41%2f%2F%20": ("/A// ", b"/%41%2f%2F%20", b""),
    b"/%e2%82%ac": ("/\u20ac", b"/%e2%82%ac", b""),
    b"/%ff": ("/\ufffd", b"/%ff", b""),
    b"/%C3%28": ("/\ufffd(", b"/%C3%28", b""),
    b"/%00": ("/\x00", b"/%00", b""),
    b"/%0d%0aX:y": ("/\r\nX:y", b"/%0d%0aX:y", b""),
    b"/%zz": ("/%zz", b"/%zz", b""),
    b"/%": ("/%", b"/%", b""),
    b"/%4": ("/%4", b"/%4", b""),
    b"/%2541": ("/%41", b"/%2541", b""),
    b"/%3F%23": ("/?#", b"/%3F%23", b""),
    b"/a+b": ("/a+b", b"/a+b", b""),
    b"//": ("//", b"//", b""),
    b"//h/p": ("//h/p", b"//h/p", b""),
    b"/a//b": ("/a//b", b"/a//b", b""),
    b"/../x/./y": ("/../x/./y", b"/../x/./y", b""),
    b"/a;b=c,d:e@f!$&'()*+~_-.": ("/a;b=c,d:e@f!$&'()*+~_-.", b"/a;b=c,d:e@f!$&'()*+~_-.", b""),
    b'/"<>\\^`{|}[]': ('/"<>\\^`{|}[]', b'/"<>\\^`{|}[]', b""),
    b"/http://other/x": ("/http://other/x", b"/http://other/x", b""),
    b"http://h/p?q": ("/p", b"/p", b"q"),
    b"http://h/": ("/", b"/", b""),
    b"http://h/%41": ("/A", b"/%41", b""),
    b"http://h": ("/", b"/", b""),
    b"http://h?q": ("/", b"/", b"q"),
    b"http://h:80/p": ("/p", b"/p", b""),
    b"http://h:/p": ("/p", b"/p", b""),
    b"http://127.0.0.1:8000/p": ("/p", b"/p", b""),
    b"http://[::1]/p": ("/p", b"/p", b""),
    b"http://[2001:db8::1]:8080/p": ("/p", b"/p", b""),
    b"HTTP://H/P": ("/P", b"/P", b""),
    b"https://h/p": ("/p", b"/p", b""),
    b"http://h/http://i/": ("/http://i/", b"/http://i/", b""),
}

BAD_TARGETS = (
    b"foo", b"foo/bar", b"?q", b"p?q", b"%2f", b"\\", b".", b"../x",
    b"/#", b"/#f", b"/p?q#f", b"/p#", b"#", b"http://h/#f",
    b"/\xe9", b"/\xe2\x82\xac", b"/?\xff", b"/\x80", b"\xc3\xa9",
    b"/\x00", b"/\x01", b"/\x1f", b"/\x7f", b"/?\x00", b"/a\x0bb", b"/\x1b[2J",
    b"http:///p", b"http://", b"http:", b"http:/p", b"http:p", b"http://?q", b"http://:80/", b"://h/",
    b"http://u@h/", b"http://u:p@h/", b"http://@h/", b"http://h:99999/", b"http://h:x/", b"http://h:80:80/",
    b"http://[::1/", b"http://::1/", b"http://[::g]/", b"http://[]/", b"http://h\\@i/", b"http://a,b c/",
    b"http://h%zz/", b"http://<h>/", b"http://h|i/", b"http://h^/", b'http://"h"/', b"ftp://h/", b"mailto:x@y",
    b"ws:h", b"h:80", b"h", b"127.0.0.1:80", b"[::1]:80", b"*", b"*?q", b"**", b"*/", b"/*#",
)  # fmt: skip


def _with_target(target: bytes) -> bytes:
    return head(line=b"GET " + target + b" HTTP/1.1")


def _methods() -> list[Case]:
    cases = [Case("method " + name, head(line=name.encode() + b" / HTTP/1.1"), [Seen(name)]) for name in METHODS]
    cases += [
        Case("unknown method " + printable(name[:30]), head(line=name + b" / HTTP/1.1"), [501])
        for name in UNKNOWN_METHODS
    ]
    cases += [
        Case("method is no token: " + printable(name), head(line=name + b" / HTTP/1.1"), [400]) for name in NOT_TOKENS
    ]
    cases += [
        Case("CONNECT, authority-form", head(line=b"CONNECT h:443 HTTP/1.1", host=b"Host: h:443"), [501]),
        Case("CONNECT over HTTP/1.0", head(line=b"CONNECT h:443 HTTP/1.0", host=None), [501]),
        Case("CONNECT, origin-form", head(line=b"CONNECT / HTTP/1.1"), [(400, 501)]),
        Case("unknown method with a body", head(b"Content-Length: 5", line=b"BREW / HTTP/1.1") + b"hello", [501]),
    ]
    return cases


def _versions() -> list[Case]:
    cases = [Case("version " + printable(v), head(line=b"GET / " + v), [400]) for v in BAD_VERSIONS]
    cases += [Case("version " + printable(v), head(line=b"GET / " + v), [505]) for v in UNSERVED_VERSIONS]
    cases += [
        Case("version HTTP/1.0", head(line=b"GET / HTTP/1.0"), [Seen(version="1.0")], closed=True),
        Case("version HTTP/1.1", GET, [Seen(version="1.1")]),
        Case("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [505]),
        Case("HTTP/2 preface and a frame", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", [505]),
    ]
    return cases


def _line_ends() -> list[Case]:
    return [
        Case("request line ends in LF", b"GET / HTTP/1.1\nHost: h\r\n\r\n", [400]),
        Case("whole head with LF", b"GET / HTTP/1.1\nHost: h\n\n", [400]),
        Case("request line ends in CR", b"GET / HTTP/1.1\rHost: h\r\n\r\n", [400]),
        Case("request line ends in CRCRLF", b"GET / HTTP/1.1\r\r\nHost: h\r\n\r\n", [400]),
        Case("request line ends in LFCR", b"GET / HTTP/1.1\n\rHost: h\r\n\r\n", [400]),
        Case("one CRLF first", b"\r\n" + GET),
        Case("two CRLF first", b"\r\n\r\n" + GET),
        Case(
            "CRLF after a body",
            head(b"Content-Length: 2", line=b"POST / HTTP/1.1") + b"ab\r\n" + GET,
            [Seen("POST", body=b"ab"), Seen()],
        ),
        Case("CRLF between two requests", GET + b"\r\n" + GET, [Seen(), Seen()]),
        Case("CRLF between ten requests", (GET + b"\r\n") * 10, [Seen()] * 10),
        Case("LF first", b"\n" + GET, [400]),
        Case("CR first", b"\r" + GET, [400]),
        Case("CRLF LF first", b"\r\n\n" + GET, [400]),
        Case("CR CRLF first", b"\r\r\n" + GET, [400]),
        Case("space CRLF first", b" \r\n" + GET, [400]),
        Case("LF between two requests", GET + b"\n" + GET, [Seen(), 400]),
        Case("nothing but CRLF", b"\r\n", []),
        Case("a thousand CRLF first", b"\r\n" * 1000 + GET, [400]),
    ]


def _targets() -> list[Case]:
    cases = [
        Case("target " + printable(target), _with_target(target), [Seen(path=path, raw_path=raw, query=query)])
        for target, (path, raw, query) in GOOD_TARGETS.items()
    ]
    cases += [Case("bad target " + printable(target), _with_target(target), [400]) for target in BAD_TARGETS]
    cases += [
        Case("OPTIONS *", head(line=b"OPTIONS * HTTP/1.1"), [Seen("OPTIONS", "*", raw_path=b"*")]),
        Case("OPTIONS *?q", head(line=b"OPTIONS *?q HTTP/1.1"), [400]),
        Case("OPTIONS *x", head(line=b"OPTIONS *x HTTP/1.1"), [400]),
        Case("OPTIONS /", head(line=b"OPTIONS / HTTP/1.1"), [Seen("OPTIONS")]),
        Case(
            "absolute-form and another Host",
            head(line=b"GET http://real:81/ HTTP/1.1", host=b"Host: fake"),
            [Seen(headers=[(b"host", b"real:81")])],
        ),
        Case(
            "absolute-form and the same Host",
            head(b"A: b", line=b"GET http://h/ HTTP/1.1"),
            [Seen(headers=[(b"host", b"h"), (b"a", b"b")])],
        ),
        Case("absolute-form without Host", head(line=b"GET http://h/ HTTP/1.1", host=None), [400]),
        Case(
            "absolute-form over HTTP/1.0 without Host",
            head(line=b"GET http://h/ HTTP/1.0", host=None),
            [Seen(has=[(b"host", b"h")])],
            closed=True,
        ),
        Case("absolute-form and a bad Host", head(line=b"GET http://h/ HTTP/1.1", host=b"Host: a b"), [400]),
        Case("absolute-form and two Hosts", head(HOST2, line=b"GET http://h/ HTTP/1.1"), [400]),
        Case(
            "absolute-form POST",
            head(b"Content-Length: 1", line=b"POST http://h/p HTTP/1.1") + b"x",
            [Seen("POST", "/p", body=b"x")],
        ),
    ]
    return cases


HOST2 = b"Host: i"

CASES = [
    *_methods(),
    *_versions(),
    *(Case("request line: " + name, head(line=line), [400]) for name, line in BAD_LINES.items()),
    *_line_ends(),
    *_targets(),
]
