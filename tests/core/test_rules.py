"""rules: the judgement of single lines and of whole heads (RFC 9110, RFC 9112)."""

from __future__ import annotations

import pytest
from conformance.fields import BAD_FIELDS, BAD_HOSTS, GOOD_HOSTS, GOOD_VALUES, NAME_CHARACTERS
from conformance.framing import BAD_LENGTHS, CODINGS, GOOD_LENGTHS, HUGE_LENGTHS
from conformance.request_line import (
    BAD_LINES,
    BAD_TARGETS,
    BAD_VERSIONS,
    GOOD_TARGETS,
    NOT_TOKENS,
    UNKNOWN_METHODS,
    UNSERVED_VERSIONS,
)

from asgiserve._consts import METHODS
from asgiserve.errors import ProtocolError


def status_of(function, *args, **options):
    """The status of the ProtocolError that a call raises, 0 without one."""
    try:
        function(*args, **options)
    except ProtocolError as raised:
        error = raised
    else:
        return 0
    assert error.detail
    assert error.detail.isprintable()
    assert len(error.detail) < 100
    return error.status


# -- lines


@pytest.mark.parametrize("method", [name for name in METHODS if name != "CONNECT"])
def test_served_methods(part, method):
    assert status_of(part("rules").check_request_line, method.encode() + b" / HTTP/1.1") == 0


def test_request_lines(part):
    check = part("rules").check_request_line
    for target in GOOD_TARGETS:
        assert status_of(check, b"GET " + target + b" HTTP/1.1") == 0, target
        assert status_of(check, b"POST " + target + b" HTTP/1.0") == 0, target
    for target in BAD_TARGETS:
        assert status_of(check, b"GET " + target + b" HTTP/1.1") == 400, target
    for method in UNKNOWN_METHODS:
        assert status_of(check, method + b" / HTTP/1.1") == 501, method
    for method in NOT_TOKENS:
        assert status_of(check, method + b" / HTTP/1.1") == 400, method
    for version in BAD_VERSIONS:
        assert status_of(check, b"GET / " + version) == 400, version
    for version in UNSERVED_VERSIONS:
        assert status_of(check, b"GET / " + version) == 505, version
    for name, line in BAD_LINES.items():
        assert status_of(check, line) == 400, name
    assert status_of(check, b"") == 400


def test_special_targets(part):
    check = part("rules").check_request_line
    assert status_of(check, b"OPTIONS * HTTP/1.1") == 0
    assert status_of(check, b"GET * HTTP/1.1") == 400
    assert status_of(check, b"CONNECT h:80 HTTP/1.1") == 501
    assert status_of(check, b"PRI * HTTP/2.0") == 505


def test_field_lines(part):
    check = part("rules").check_field_line
    for wire, _ in GOOD_VALUES:
        assert status_of(check, b"X:" + wire) == 0, wire
    assert status_of(check, NAME_CHARACTERS + b": v") == 0
    for code in range(256):
        character = bytes([code])
        good = character in NAME_CHARACTERS or character.lower() in NAME_CHARACTERS
        assert (status_of(check, b"a" + character + b"b: v") == 0) == (good or code == 0x3A), code
        assert (status_of(check, b"a: b" + character + b"c") == 0) == (code == 9 or (code >= 32 and code != 127)), code
    for name, line in BAD_FIELDS.items():
        if b"\n" not in line:
            assert status_of(check, line) == 400, name


def test_request_line_characters(part):
    check = part("rules").check_request_line
    for code in range(256):
        good = 0x21 <= code <= 0x7E and code != 0x23
        for target in (b"/a" + bytes([code]) + b"b", b"/?" + bytes([code])):
            assert (status_of(check, b"GET " + target + b" HTTP/1.1") == 0) == good, target


# -- Host


def test_hosts(part):
    is_valid = part("rules").is_valid_host
    for _ in range(2):  # the second time from the cache
        for value in GOOD_HOSTS:
            assert is_valid(value), value
        for value in BAD_HOSTS:
            assert not is_valid(value), value


def test_many_hosts(part):
    """Whatever is remembered of hosts is bounded, and right."""
    rules = part("rules")
    for number in range(5000):
        assert rules.is_valid_host(b"h%d.example:80" % number)
        assert not rules.is_valid_host(b"h%d.example:80x" % number)
    known = getattr(rules, "_valid_hosts", None)
    assert known is None or len(known) <= 1024


# -- targets


def test_set_target(part):
    for target, (_, raw_path, query) in GOOD_TARGETS.items():
        head = part("head").RequestHead()
        part("rules").set_target(head, target)
        assert (head.raw_path, head.query) == (raw_path, query)
        assert (head.authority is None) == (target[:4].lower() != b"http")
    head = part("head").RequestHead()
    part("rules").set_target(head, b"http://a:1?x")
    assert (head.authority, head.raw_path, head.query) == (b"a:1", b"/", b"x")


# -- whole heads


@pytest.fixture
def judge(part):
    """Takes a whole head through split_head() and check_head(), and returns it."""
    rules, head_type = part("rules"), part("head").RequestHead

    def judge(*fields, line=b"GET / HTTP/1.1", limit=-1):
        head = head_type()
        rules.split_head(b"\r\n".join([line, *fields, b"", b""]), head)
        rules.check_head(head, limit)
        return head

    return judge


HOST = b"Host: h"


def test_split_head(judge):
    head = judge(HOST, b"X-Y:  a b \t", b"x-y:", b"\xef: \xff".replace(b"\xef", b"e"), line=b"POST /p?q HTTP/1.0")
    assert (head.method, head.raw_path, head.query, head.minor_version) == ("POST", b"/p", b"q", 0)
    assert head.headers == [(b"host", b"h"), (b"x-y", b"a b"), (b"x-y", b""), (b"e", b"\xff")]


def test_defaults(judge):
    head = judge(HOST)
    assert head.content_length == 0
    assert head.keep_alive is True or head.keep_alive == 1
    assert not head.expect_continue
    assert not head.te_trailers
    assert head.authority is None


def test_lengths(judge):
    for value in GOOD_LENGTHS:
        assert judge(HOST, b"Content-Length: " + value).content_length == 5
    for value in BAD_LENGTHS:
        assert status_of(judge, HOST, b"Content-Length: " + value) == 400, value
    for value in HUGE_LENGTHS:
        assert status_of(judge, HOST, b"Content-Length: " + value) == 413, value
    assert judge(HOST, b"Content-Length: 9223372036854775807").content_length == 2**63 - 1
    assert status_of(judge, HOST, b"Content-Length: 1", b"Content-Length: 1") == 400


def test_body_limit(judge):
    assert judge(HOST, b"Content-Length: 8", limit=8).content_length == 8
    with pytest.raises(ProtocolError) as caught:
        judge(HOST, b"Content-Length: 9", limit=8)
    assert caught.value.status == 413
    assert judge(HOST, b"Content-Length: 0", limit=0).content_length == 0


def test_codings(judge):
    for value, status in CODINGS:
        if any(c < 32 and c != 9 for c in value):
            continue  # check_field_line() has refused it before
        wanted = status if isinstance(status, tuple) else (status,)
        assert status_of(judge, HOST, b"Transfer-Encoding: " + value) in wanted, value
    assert judge(HOST, b"Transfer-Encoding: chunked").content_length == -1
    assert status_of(judge, HOST, b"Transfer-Encoding: chunked", b"Content-Length: 5") == 400
    assert status_of(judge, HOST, b"Transfer-Encoding: chunked", line=b"GET / HTTP/1.0") == 400


@pytest.mark.parametrize(
    ("fields", "line", "keep"),
    [
        ([], b"GET / HTTP/1.1", True),
        ([], b"GET / HTTP/1.0", False),
        ([b"Connection: close"], b"GET / HTTP/1.1", False),
        ([b"Connection: x, CLOSE ,y"], b"GET / HTTP/1.1", False),
        ([b"Connection: x", b"Connection: close"], b"GET / HTTP/1.1", False),
        ([b"Connection: closed"], b"GET / HTTP/1.1", True),
        ([b"Connection: keep-alive"], b"GET / HTTP/1.0", True),
        ([b"Connection: Keep-Alive, x"], b"GET / HTTP/1.0", True),
        ([b"Connection: keep-alive", b"Connection: close"], b"GET / HTTP/1.0", False),
        ([b"Connection: x"], b"GET / HTTP/1.0", False),
    ],
)
def test_keep_alive(judge, fields, line, keep):
    assert judge(HOST, *fields, line=line).keep_alive == keep


def test_expect(judge):
    ask = b"Expect: 100-Continue"
    assert judge(HOST, ask, b"Content-Length: 5").expect_continue
    assert judge(HOST, ask, b"Transfer-Encoding: chunked").expect_continue
    assert not judge(HOST, ask).expect_continue
    assert not judge(HOST, ask, b"Content-Length: 0").expect_continue
    assert not judge(HOST, ask, b"Content-Length: 5", line=b"GET / HTTP/1.0").expect_continue
    assert status_of(judge, HOST, b"Expect: tea") == 417
    assert status_of(judge, HOST, ask, b"Expect: tea") == 417


def test_te(judge):
    assert judge(HOST, b"TE: trailers").te_trailers
    assert judge(HOST, b"TE: gzip;q=0.5, Trailers").te_trailers
    assert not judge(HOST, b"TE: gzip").te_trailers
    assert not judge(HOST, b"TE: trailersx").te_trailers
    assert not judge(HOST, b"TE: trailers", line=b"GET / HTTP/1.0").te_trailers


def test_host_rules(judge):
    assert status_of(judge) == 400
    assert status_of(judge, line=b"GET / HTTP/1.0") == 0
    assert status_of(judge, HOST, HOST) == 400
    assert status_of(judge, b"Host: a b") == 400
    head = judge(b"A: b", b"Host: fake", line=b"GET http://real/ HTTP/1.1")
    assert [pair for pair in head.headers if pair[0] == b"host"] == [(b"host", b"real")]
    assert (b"a", b"b") in head.headers
