"""RFC 9112 section 5 and RFC 9110 section 5: field lines; RFC 9110 section 7.2: Host."""

from __future__ import annotations

from .case import GET, Case, Seen, head, printable

# value on the wire (behind the colon), value for the application
GOOD_VALUES = (
    (b" v", b"v"),
    (b"v", b"v"),
    (b"", b""),
    (b" ", b""),
    (b" \t ", b""),
    (b"  v \t", b"v"),
    (b"\tv\t", b"v"),
    (b" a b\tc", b"a b\tc"),
    (b" a:b", b"a:b"),
    (b":", b":"),
    (b" \xe9\xff\x80", b"\xe9\xff\x80"),
    (b" \xc3\xa9", b"\xc3\xa9"),
    (b' "q\\"x"', b'"q\\"x"'),
    (b" a,, b;c=d", b"a,, b;c=d"),
    (b" \xa0x\xa0", b"\xa0x\xa0"),  # only SP and HTAB are whitespace in HTTP
    (b" \x85", b"\x85"),
    (b" #frag {x} [y] <z> | \\ ^ ` ~", b"#frag {x} [y] <z> | \\ ^ ` ~"),
)

CONTROLS = [bytes([c]) for c in range(32) if c not in (9, 10, 13)] + [b"\x7f"]

BAD_FIELDS = {
    "space before the colon": b"X : v",
    "tab before the colon": b"X\t: v",
    "empty name": b": v",
    "empty name and value": b":",
    "no colon": b"X",
    "no colon, spaces": b"X y z",
    "space in the name": b"X Y: v",
    "leading space": b" X: v",
    "leading tab": b"\tX: v",
    "a line of a space": b" ",
    "a line of a tab": b"\t",
    "@ in the name": b"X@Y: v",
    "( in the name": b"X(Y: v",
    "/ in the name": b"X/Y: v",
    "quotes in the name": b'"X": v',
    "[ in the name": b"[X]: v",
    "comma in the name": b"X,Y: v",
    "semicolon in the name": b"X;Y: v",
    "= in the name": b"X=Y: v",
    "non-ASCII name": b"X\xe9: v",
    "BOM before the name": b"\xef\xbb\xbfX: v",
    "NUL in the name": b"X\0Y: v",
    "control in the name": b"X\x01: v",
    "DEL in the name": b"X\x7f: v",
    "bare CR in the value": b"X: a\rb",
    "bare CR at the start of the value": b"X:\rb",
    "bare CR before CRLF": b"X: a\r",
    "bare CR in the name": b"X\rY: v",
    "bare CR hides a field": b"X: a\rTransfer-Encoding: chunked",
    "bare LF ends the line": b"X: a\nY: b",
    "bare LF in the name": b"X\nY: v",
    "LFCR": b"X: a\n\rY: b",
    "obs-fold with a space": b"X: a\r\n b",
    "obs-fold with a tab": b"X: a\r\n\tb",
    "obs-fold, empty first line": b"X:\r\n b",
    "obs-fold, empty last line": b"X: a\r\n ",
    "request line as a field": b"GET / HTTP/1.1",
}

NAME_CHARACTERS = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"

GOOD_HOSTS = (
    b"h", b"H", b"example.com", b"example.com.", b"example.com:80", b"h:", b"h:0", b"h:65535", b"h:00080", b"127.0.0.1",
    b"127.0.0.1:8000", b"[::1]", b"[::1]:8000", b"[::]", b"[2001:db8::8:800:200c:417a]", b"[::ffff:1.2.3.4]:1",
    b"[2001:DB8::1]", b"a_b", b"_dmarc.h", b"-h-", b"xn--bcher-kva.example", b"%41%c3%a9", b"a,b", b"a;b", b"a=b",
    b"a!$&'()*+b", b"~h", b"999.999.999.999", b"1", b"h" * 300, b"",
)  # fmt: skip

BAD_HOSTS = (
    b"a b", b"a\tb", b"u@h", b"u:p@h", b"@h", b"h/", b"h/path", b"http://h", b"h?q", b"h#f", b"h\\i", b"<h>", b'"h"',
    b"h^", b"`h", b"{h}", b"h|i", b"\xe9", b"h\xc3\xa9", b"%", b"%4", b"%zz", b"h%", b"a, b", b"h:80, i", b"h:x",
    b"h:80x", b"h:-1", b"h:+80", b"h: 80", b"h :80", b"h:80:80", b"h::80", b"::1", b"::", b"1:2:3:4:5:6:7:8",
    b"[::1", b"::1]", b"[]", b"[", b"]", b"[::g]", b"[1:2]", b"[::1]x", b"[::1]:x", b"[::1]80", b"[[::1]]", b"x[::1]",
    b"[1.2.3.4]", b"[h]", b"[::1%25eth0]", b"[::1%eth0]", b"[:::1]", b"[12345::]", b"h[::1]", b"h]:80",
)  # fmt: skip


def _values() -> list[Case]:
    cases = [
        Case("value " + printable(wire), head(b"X:" + wire), [Seen(headers=[(b"host", b"h"), (b"x", value)])])
        for wire, value in GOOD_VALUES
    ]
    for control in CONTROLS:
        name = f"control {control[0]:02x} in "
        cases.append(Case(name + "a value", head(b"X: a" + control + b"b"), [400]))
    cases += [
        Case("control 00 first in a value", head(b"X:\0a"), [400]),
        Case("control 00 last in a value", head(b"X: a\0"), [400]),
        Case("control 0b around a value", head(b"X:\x0ba\x0b"), [400]),
    ]
    return cases


def _names() -> list[Case]:
    upper = NAME_CHARACTERS.upper()
    return [
        Case(
            "every character of a name",
            head(upper + b": v"),
            [Seen(headers=[(b"host", b"h"), (NAME_CHARACTERS, b"v")])],
        ),
        Case("name of one digit", head(b"1: v"), [Seen(has=[(b"1", b"v")])]),
        Case("underscore in a name", head(b"X_Y: 1", b"X-Y: 2"), [Seen(has=[(b"x_y", b"1"), (b"x-y", b"2")])]),
        Case(
            "order and repetition are kept",
            head(b"B: 1", b"A: 2", b"B: 3", b"a: 4", b"Cookie: x", b"cookie: y"),
            [
                Seen(
                    headers=[
                        (b"host", b"h"),
                        (b"b", b"1"),
                        (b"a", b"2"),
                        (b"b", b"3"),
                        (b"a", b"4"),
                        (b"cookie", b"x"),
                        (b"cookie", b"y"),
                    ]
                )
            ],
        ),
        Case(
            "well-known names are lower-cased",
            head(b"ACCEPT: 1", b"User-AGENT: 2", b"content-TYPE: 3"),
            [Seen(headers=[(b"host", b"h"), (b"accept", b"1"), (b"user-agent", b"2"), (b"content-type", b"3")])],
        ),
        Case(
            "names that only begin like a known one",
            head(b"Content-Lengt: 5", b"Content-Lengthy: 5", b"Hos: x", b"Hosts: y", b"Expec: z", b"Connectio: close"),
            [
                Seen(
                    headers=[
                        (b"host", b"h"),
                        (b"content-lengt", b"5"),
                        (b"content-lengthy", b"5"),
                        (b"hos", b"x"),
                        (b"hosts", b"y"),
                        (b"expec", b"z"),
                        (b"connectio", b"close"),
                    ]
                )
            ],
        ),
        Case("HTTP/2 pseudo header", head(b":authority: x"), [400]),
    ]


def _line_ends() -> list[Case]:
    return [
        Case("field line ends in LF", b"GET / HTTP/1.1\r\nHost: h\n\r\n", [400]),
        Case("head ends in CRLF LF", b"GET / HTTP/1.1\r\nHost: h\r\n\n", [400]),
        Case("head ends in LF LF", b"GET / HTTP/1.1\r\nHost: h\n\n", [400]),
        Case("head ends in CRLF CR", b"GET / HTTP/1.1\r\nHost: h\r\n\rX\r\n\r\n", [400]),
        Case("head ends in CRLF CRCRLF", b"GET / HTTP/1.1\r\nHost: h\r\n\r\r\n", [400]),
        Case("CR hides the end of the head", b"GET / HTTP/1.1\r\nHost: h\r\n\r" + GET, [400]),
        Case("no fields, HTTP/1.0", b"GET / HTTP/1.0\r\n\r\n", [Seen(headers=[])], closed=True),
        Case("obs-fold in the first field", b"GET / HTTP/1.1\r\n Host: h\r\n\r\n", [400]),
        Case("space before the first field", b"GET / HTTP/1.1\r\n X: y\r\nHost: h\r\n\r\n", [400]),
        Case("whitespace line instead of the end", b"GET / HTTP/1.1\r\nHost: h\r\n \r\n\r\n", [400]),
    ]


def _hosts() -> list[Case]:
    cases = [
        Case("Host " + printable(value[:40]), head(host=b"Host: " + value), [Seen(headers=[(b"host", value)])])
        for value in GOOD_HOSTS
    ]
    cases += [Case("bad Host " + printable(value), head(host=b"Host: " + value), [400]) for value in BAD_HOSTS]
    cases += [
        Case("no Host, HTTP/1.1", head(host=None), [400]),
        Case("no Host but other fields, HTTP/1.1", head(b"X: y", host=None), [400]),
        Case("no Host, HTTP/1.0", head(line=b"GET / HTTP/1.0", host=None), [Seen(headers=[])], closed=True),
        Case("bad Host, HTTP/1.0", head(line=b"GET / HTTP/1.0", host=b"Host: a b"), [400]),
        Case("two Hosts, equal", head(b"Host: h"), [400]),
        Case("two Hosts, different", head(b"Host: i"), [400]),
        Case("two Hosts, one empty", head(b"Host:"), [400]),
        Case("two Hosts, names in other case", head(b"HOST: h"), [400]),
        Case("two Hosts, HTTP/1.0", head(b"Host: h", line=b"GET / HTTP/1.0"), [400]),
        Case(
            "Host after other fields",
            head(b"A: b", b"Host: h", host=None),
            [Seen(headers=[(b"a", b"b"), (b"host", b"h")])],
        ),
        Case("Host no TCP port", head(host=b"Host: h:65536"), [400]),
        Case("Host no TCP port, huge", head(host=b"Host: h:" + b"9" * 400), [400]),
        Case("bad Host twice on one connection", head(host=b"Host: a_b") + head(host=b"Host: a b"), [Seen(), 400]),
    ]
    return cases


CASES = [
    *_values(),
    *_names(),
    *(Case("field: " + name, head(line), [400]) for name, line in BAD_FIELDS.items()),
    *(
        Case("field before Host: " + name, head(line, b"Host: h", host=None), [400])
        for name, line in BAD_FIELDS.items()
    ),
    *_line_ends(),
    *_hosts(),
]
