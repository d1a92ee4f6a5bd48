"""The syntax of forwarding headers. The examples of RFC 7239 are here, and what strangers send instead."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgiserve.middleware.forwarded import (
    UNKNOWN,
    elements_from_right,
    parse_element,
    parse_forwarded,
    parse_node,
    parse_port,
)


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("192.0.2.43", ("192.0.2.43", 0)),
        ("192.0.2.43:47011", ("192.0.2.43", 47011)),
        ("[2001:db8:cafe::17]", ("2001:db8:cafe::17", 0)),
        ("[2001:db8:cafe::17]:47011", ("2001:db8:cafe::17", 47011)),
        ("2001:DB8:CAFE::17", ("2001:db8:cafe::17", 0)),
        ("::ffff:10.0.0.1", ("10.0.0.1", 0)),
        ("[::ffff:10.0.0.1]:80", ("10.0.0.1", 80)),
        ("fe80::1%eth0", ("fe80::1", 0)),
        # RFC 7239 section 6: obfuscated identifiers and ports, and the word for nobody.
        ("unknown", ("unknown", 0)),
        ("unknown:_port", ("unknown", 0)),
        ("_gazonk", ("_gazonk", 0)),
        ("_SEVKISEK:80", ("_SEVKISEK", 80)),
        ("192.0.2.43:_abc", ("192.0.2.43", 0)),
        # Names, as test clients and some proxies send them.
        ("testclient", ("testclient", 0)),
        ("edge-1.example:8080", ("edge-1.example", 8080)),
        # Ports that are none.
        ("192.0.2.43:", ("192.0.2.43", 0)),
        ("192.0.2.43:0", ("192.0.2.43", 0)),
        ("192.0.2.43:65536", ("192.0.2.43", 0)),
        ("192.0.2.43:-1", ("192.0.2.43", 0)),
        # What makes no sense, or would make none in a log.
        ("", UNKNOWN),
        (":80", UNKNOWN),
        ("[::1", UNKNOWN),
        ("::1]", UNKNOWN),
        ("[::1]x", UNKNOWN),
        ("[name]", UNKNOWN),
        ("[1:2]", UNKNOWN),
        ("1:2:3", UNKNOWN),
        ('1.2.3.4 - "GET / HTTP/1.1" 200', UNKNOWN),
        ("a b", UNKNOWN),
        ("caf\xe9", UNKNOWN),
        ("a" * 254, UNKNOWN),
    ],
)
def test_node(text, node):
    assert parse_node(text) == node


@pytest.mark.parametrize(
    ("text", "port"),
    [("1", 1), ("65535", 65535), ("0443", 443)]
    + [
        (bad, None)
        for bad in ("", None, "0", "65536", "-1", "+1", " 1", "1 ", "x", "\xb2", "\u0661", "9" * 6, "9" * 5000)
    ],
)
def test_port(text, port):
    assert parse_port(text) == port


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        # RFC 7239 section 4.
        ('for="_gazonk"', [{"for": "_gazonk"}]),
        ('For="[2001:db8:cafe::17]:4711"', [{"for": "[2001:db8:cafe::17]:4711"}]),
        ("for=192.0.2.60;proto=http;by=203.0.113.43", [{"for": "192.0.2.60", "proto": "http", "by": "203.0.113.43"}]),
        ("for=192.0.2.43, for=198.51.100.17", [{"for": "192.0.2.43"}, {"for": "198.51.100.17"}]),
        # Sections 7.1 and 7.4.
        ('for=192.0.2.43, for="[2001:db8:cafe::17]"', [{"for": "192.0.2.43"}, {"for": "[2001:db8:cafe::17]"}]),
        ('for=192.0.2.43,for="[2001:db8:cafe::17]",for=unknown',
         [{"for": "192.0.2.43"}, {"for": "[2001:db8:cafe::17]"}, {"for": "unknown"}]),
        ("for=_hidden, for=_SEVKISEK", [{"for": "_hidden"}, {"for": "_SEVKISEK"}]),
        ('for="192.0.2.43:47011", for="[2001:db8::1]:4711";host=h', [{"for": "192.0.2.43:47011"},
         {"for": "[2001:db8::1]:4711", "host": "h"}]),
        # Quoted strings (RFC 9110 section 5.6.4) may hold what separates.
        ('for="a,b;c=d";by=x', [{"for": "a,b;c=d", "by": "x"}]),
        (r'for="a\"b\\",for=c', [{"for": 'a"b\\'}, {"for": "c"}]),
        ('for="";proto=http', [{"for": "", "proto": "http"}]),
        # Empty parts of lists are allowed.
        ("", []),
        (" , ,", []),
        (",for=a,,", [{"for": "a"}]),
        (";for=a;;proto=b;", [{"for": "a", "proto": "b"}]),
        # Unknown parameters are taken and left.
        ("for=a;secret=b", [{"for": "a", "secret": "b"}]),
        # Not in the RFC, but common: spaces around semicolons, addresses without quotes.
        ("for=192.0.2.43:80 ; proto=https", [{"for": "192.0.2.43:80", "proto": "https"}]),
        ("for=[2001:db8::1]:80;host=example.com:8080", [{"for": "[2001:db8::1]:80", "host": "example.com:8080"}]),
        # Broken elements leave the others alone.
        ("for", [None]),
        ("for=", [None]),
        ("=a", [None]),
        ("for =a", [None]),
        ("for= a", [None]),
        ("for=a b", [None]),
        ("for=a;for=b", [None]),
        ("for=a;FOR=b", [None]),
        ('for="a"b', [None]),
        ("for=a proto=b, for=c", [None, {"for": "c"}]),
        ("for=a, b, for=c", [{"for": "a"}, None, {"for": "c"}]),
        ("192.0.2.43", [None]),
    ],
)  # fmt: skip
def test_forwarded(text, elements):
    assert parse_forwarded(text) == elements


@pytest.mark.parametrize(
    "forged",
    [
        '"',
        'for="',
        'for="x',
        "for='",
        'for="x\\',
        "for=x;",
        "for=x;by=",
        'for=";',
        'for="a",x="',
        "\\",
        '\\"',
        "=,=",
        'for=""",',
    ],
)
@pytest.mark.parametrize(
    ("added", "element"),
    [
        ("for=192.0.2.60;proto=http", {"for": "192.0.2.60", "proto": "http"}),
        ('for="[2001:db8::1]:4711";by="_x"', {"for": "[2001:db8::1]:4711", "by": "_x"}),
        (r'for="_a,b\"c"', {"for": '_a,b"c'}),
    ],
)
def test_what_stands_in_front_cannot_change_the_last_element(forged, added, element):
    assert parse_forwarded(f"{forged}, {added}")[-1] == element
    assert parse_forwarded(f"{forged},{added}")[-1] == element


TOKENS = st.text("abc_-.1234", min_size=1)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"))


def quote(value):
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(st.lists(st.dictionaries(TOKENS.map(str.lower), VALUES, min_size=1), max_size=5))
def test_what_is_written_is_read(elements):
    text = ", ".join(";".join(f"{name}={quote(value)}" for name, value in element.items()) for element in elements)
    assert parse_forwarded(text) == elements


@given(st.text(st.sampled_from('for=;,"\\ \t1.[]:_-%proto'), max_size=60) | st.text())
def test_nothing_raises(text):
    for element in parse_forwarded(text):
        assert element is None or element
    host, port = parse_node(text)
    assert host and 0 <= port <= 65535
    assert ",".join(reversed(list(elements_from_right(text)))) == text
    parse_element(text)


@pytest.mark.parametrize(
    "piece", ['a="', 'a=b,"', " ", "\\", '\\"', '"\\', "a=b;", "a=", "\t,", '",', "[", "1:", "a", ',for="x\\"', "=;"]
)
def test_long_nonsense_takes_no_longer_than_it_is_long(piece):
    started = time.process_time()
    parse_forwarded(piece * (65536 // len(piece)))
    parse_node(piece * (65536 // len(piece)))
    assert time.process_time() - started < 2
