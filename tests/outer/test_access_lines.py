"""Lines of the access log that are written directly: both stacks make the same, and what the formatters would make of
records, whatever the request."""

from __future__ import annotations

import io
import json
import logging
import platform
import re
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asgiserve import _stack
from asgiserve._consts import PART_TIME
from asgiserve.logging import ACCESS_FORMAT, AccessFormatter, AccessLog, JSONFormatter
from asgiserve.logging.atoms import escape
from asgiserve.logging.streams import StreamHandler

EXAMPLES = settings(
    max_examples=200,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

LATIN = st.text(st.characters(max_codepoint=255))
VALUES = st.one_of(LATIN, st.text('azAZ09 ./"\\\x1b')).map(lambda text: text.encode("latin-1"))
NAMES = st.sampled_from(
    [b"user-agent", b"referer", b"authorization", b"x-request-id", b"content-type", b"x-a", b"host"]
)
HEADERS = st.lists(st.tuples(NAMES, st.one_of(VALUES, st.sampled_from([b"Basic Ym9iOnB3", b"Basic IiI6eA==", b""]))))
#: As an application may write them.
SENT = st.lists(st.tuples(st.one_of(NAMES, NAMES.map(bytes.title), NAMES.map(bytes.upper)), VALUES))
REQUESTS = st.tuples(
    st.one_of(st.just(""), st.just("127.0.0.1:50000"), st.just("::1:9"), st.text(st.characters(codec="utf-8"))),
    st.sampled_from(["GET", "POST", "M-SEARCH"]),
    st.text([chr(code) for code in range(33, 127) if code != 34]).map("/".__add__),
    st.sampled_from(["1.1", "1.0"]),
    st.integers(100, 999),
    st.one_of(st.just(0), st.integers(0, 2**63 - 1)),
    st.one_of(st.floats(0, 10), st.floats(0, 1e5)),
    st.sampled_from(["http", "https"]),
    HEADERS,
    st.none() | SENT,
)
#: All but the time, which goes on, with a %s and other forms.
ATOMS = [f"%({atom})s" for atom in re.findall(r"\w+", "h l u r R s st S m U Uq q H b B f a T D M L p")]
ATOMS += ["%({X-A}i)s", "%({Content-Type}o)s", "%({HTTP_X_A}e)s", "%({PATH_INFO}e)s", "%({REMOTE_PORT}e)s", "%%"]
ATOMS += ["%(s)05d", "%(B)x", "%(h)20s", "%(a)-10.3s", "%(u)r", "%(L)9s", "%(l)4s"]
FORMATS = st.lists(st.one_of(st.sampled_from(ATOMS), st.sampled_from([" ", '"', "\\", "\u00e9", "-"])), min_size=1).map(
    "".join
)


@pytest.fixture(autouse=True)
def as_before():
    logger = logging.getLogger("asgiserve.access")
    before = logger.level, logger.propagate, logger.handlers[:], logger.filters[:]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield
    logger.level, logger.propagate, logger.handlers[:], logger.filters[:] = before


def logged(stack, formatter, requests, line_format=None, by_record=False):
    """What is written of requests, directly or by way of records."""
    logger = logging.getLogger("asgiserve.access")
    out = io.StringIO()
    handler = StreamHandler(out)
    handler.setFormatter(formatter)
    logger.handlers[:] = [handler]
    log = AccessLog(None, line_format, stack)
    logger.filters[:] = [lambda record: True] if by_record else []
    for request in requests:
        log.log(*request)
    if not by_record:
        assert out.getvalue() == ""  # it went the other way
    log.close()
    return out.getvalue()


@EXAMPLES
@given(st.lists(REQUESTS, max_size=4), st.booleans())
def test_text(stacks, requests, colours):
    formatter = AccessFormatter(ACCESS_FORMAT, use_colors=colours)
    compiled, pure = (logged(stack, formatter, requests) for stack in stacks)
    assert compiled == pure == logged(stacks[0], formatter, requests, by_record=True)


@EXAMPLES
@given(st.lists(REQUESTS, max_size=4), FORMATS)
def test_formats(stacks, requests, line_format):
    formatter = AccessFormatter("%(message)s", use_colors=False)
    compiled, pure = (logged(stack, formatter, requests, line_format) for stack in stacks)
    assert compiled == pure == logged(stacks[1], formatter, requests, line_format, by_record=True)


@EXAMPLES
@given(st.lists(REQUESTS, max_size=4), st.none() | FORMATS)
def test_json(stacks, requests, line_format):
    compiled, pure, formatted = (
        [without_time(line) for line in logged(stack, JSONFormatter(), requests, line_format, by_record).splitlines()]
        for stack, by_record in [(stacks[0], False), (stacks[1], False), (stacks[0], True)]
    )
    assert compiled == pure
    assert len(compiled) == len(requests)
    for line, other, request in zip(compiled, formatted, requests):
        # A record's duration is a number, which has no six decimals where it needs none.
        made, of_record = json.loads(line), json.loads(other)
        assert made == of_record
        assert made["duration"] == round(request[6], 6)
        if platform.python_implementation() == "CPython":  # elsewhere a record's attributes have an order of their own
            assert re.sub(DURATION, "", line) == re.sub(DURATION, "", other)


DURATION = r'"duration":[^,}]+(?=[^"]*$|,"request_id":)'


def test_json_of_more_methods_than_are_remembered(stack):
    requests = [("", f"M{index % 100}", "/", "1.1", 200, 0, 0.0, "http", [], None) for index in range(300)]
    lines = [json.loads(line) for line in logged(stack, JSONFormatter(), requests).splitlines()]
    assert [line["method"] for line in lines] == [request[1] for request in requests]
    assert [line["message"] for line in lines] == [f' - "{request[1]} / HTTP/1.1" 200' for request in requests]


def without_time(line):
    assert re.match(r'\{"time":"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",', line)
    return "{" + line[len('{"time":"2026-11-21T03:46:00.123Z",') :]


@EXAMPLES
@given(REQUESTS)
def test_no_field_breaks_a_line(stack, request_):
    line = logged(stack, AccessFormatter("%(message)s"), [request_], '"%(u)s" "%(f)s" "%({content-type}o)s" "%(q)s"')
    assert re.fullmatch(r'(?: ?"(?:[^"\\]|\\["\\]|\\x[0-9a-f]{2}|\\u[0-9a-f]{4})*"){4}\n', line)
    assert line[:-1].isascii()
    assert line[:-1].isprintable()


def test_the_text_of_a_second_is_made_once(stack):
    lines = _stack.lines(stack)
    asked = []
    template = lines.PartsTemplate([(PART_TIME, lambda second: asked.append(second) or "now", None)], escape)
    assert {template.render(lines.Request()) for _ in range(5)} == {"now"}
    assert asked == sorted(set(asked))
    assert asked[0] <= time.time() < asked[-1] + 60
