"""access_log_format and log_format json: what a line says, and that no client can break one."""

from __future__ import annotations

import io
import json
import logging
import os
import platform
import re
from contextlib import redirect_stdout

import pytest

from asgiserve import _stack
from asgiserve.config import Config
from asgiserve.logging import LOGGING_CONFIG, AccessFormatter, AccessLog, JSONFormatter, LineFormat
from asgiserve.logging.atoms import escape

from .serving import HTTP, Client, run, serving

ALL = "h l u t r R s st S m U Uq q H b B f a T D M L p"
HEADERS = [(b"user-agent", b"curl/8"), (b"referer", b"http://r/"), (b"x-a", b"1"), (b"x-a", b"2")]
SENT = [(b"Content-Type", b"text/plain"), (b"x-empty", b"")]


@pytest.fixture(autouse=True)
def as_before():
    loggers = [logging.getLogger(name) for name in ("asgiserve", "asgiserve.error", "asgiserve.access", "uvicorn")]
    before = [(it, it.level, it.propagate, it.handlers[:]) for it in loggers]
    yield
    for it, level, propagate, handlers in before:
        it.setLevel(level)
        it.propagate, it.handlers[:] = propagate, handlers


@pytest.fixture
def render(stack):
    """Makes the line of a request in a format."""
    lines = _stack.lines(stack)

    def make(text, headers=HEADERS, sent=SENT, client="1.2.3.4:5", target="/p/a%20b?x=1", length=12, status=200):
        request = lines.Request()
        request.client, request.method, request.target, request.http_version = client, "GET", target, "1.1"
        request.status, request.length, request.duration = status, length, 1.234567
        request.scheme, request.headers, request.sent = "https", headers, sent
        return lines.PartsTemplate(LineFormat(text).parts, escape).render(request)

    return make


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("%(h)s", "1.2.3.4"),
        ("%(l)s", "-"),
        ("%(u)s", "-"),
        ("%(r)s", "GET /p/a%20b?x=1 HTTP/1.1"),
        ("%(R)s", "GET /p/a%20b HTTP/1.1"),
        ("%(s)s", "200"),
        ("%(s)05d", "00200"),
        ("%(st)s", "OK"),
        ("%(S)s", "https"),
        ("%(m)s", "GET"),
        ("%(U)s", "/p/a%20b"),
        ("%(Uq)s", "/p/a%20b?x=1"),
        ("%(q)s", "x=1"),
        ("%(H)s", "HTTP/1.1"),
        ("%(b)s", "12"),
        ("%(B)s", "12"),
        ("%(f)s", "http://r/"),
        ("%(a)s", "curl/8"),
        ("%(T)s", "1"),
        ("%(D)s", "1234567"),
        ("%(M)s", "1234"),
        ("%(M)06d", "001234"),
        ("%(L)s", "1.234567"),
        ("%({User-Agent}i)s", "curl/8"),
        ("%({x-a}i)s", "1, 2"),
        ("%({x-none}i)s", "-"),
        ("%({content-type}o)s", "text/plain"),
        ("%({x-empty}o)s", "-"),
        ("%({HTTP_USER_AGENT}e)s", "curl/8"),
        ("%({REMOTE_ADDR}e)s", "1.2.3.4"),
        ("%({no_such_variable}e)s", "-"),
        ("100%% %(s)-5s|", "100% 200  |"),
        ("%(l)3s|%(h)9s|%(b).1s|%(a)r", "  -|  1.2.3.4|1|'curl/8'"),
        ("no atom", "no atom"),
    ],
)
def test_atoms(render, text, line):
    assert render(text) == line


def test_process(render):
    assert render("%(p)s") == f"<{os.getpid()}>"


def test_all_atoms_are_known():
    assert " ".join(f"%({atom})s" for atom in ALL.split()).count("%") == 23
    LineFormat(" ".join(f"%({atom})s" for atom in ALL.split()))


def test_time(render):
    assert re.fullmatch(r"\[\d\d/[A-Z][a-z]{2}/20\d\d:\d\d:\d\d:\d\d [+-]\d{4}\]", render("%(t)s"))


def test_what_is_not_there(render):
    line = render("%(h)s %(b)s %(B)s %(st)s %(f)s %(a)s", client="", length=0, status=299, headers=[], sent=None)
    assert line == "- - 0 - - -"
    assert render("%(h)s", client="::1:80") == "::1"


def test_process_environment(render, monkeypatch):
    monkeypatch.setenv("APP_VERSION", 'v1 "x"\n')
    assert render("%({app_version}e)s") == render("%({APP_VERSION}e)s") == 'v1 \\"x\\"\\x0a'


@pytest.mark.parametrize(
    ("header", "user"),
    [
        (b"Basic Ym9iOnB3", "bob"),
        (b"basic Ym9iOnB3", "bob"),
        (b"Bearer Ym9iOnB3", "-"),
        (b"Basic !!!", "-"),
        (b"Basic IDp4", "\\x20"),
        (b"Basic IiI6eA==", '\\"\\"'),
        (b"Basic", "-"),
    ],
)
def test_user(render, header, user):
    assert render("%(u)s", headers=[(b"authorization", header)]) == user


@pytest.mark.parametrize("atom", ["a", "{user-agent}i", "{x-evil}o", "{HTTP_USER_AGENT}e"])
def test_nothing_breaks_a_line(render, atom):
    evil = bytes(range(1, 256))
    line = render(f'"%({atom})s" end', headers=[(b"user-agent", evil)], sent=[(b"x-evil", evil)])
    assert line.isascii()
    assert line.isprintable()
    assert re.fullmatch(r'"(?:[^"\\]|\\["\\]|\\x[0-9a-f]{2})*" end', line)


def test_a_backslash_in_a_target(render):
    assert render('"%(U)s"', target="/a\\") == '"/a\\\\"'


@pytest.mark.parametrize(
    "bad",
    ["%(z)s", "%h", "%(h)d", "%(h", "%", "%({x}z)s", "%({}i)s", "%(a)s\n%(h)s", "%()s", "%(T)q", "%(h)c", "%(s)c"],
)
def test_bad_formats(bad):
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z"):
        LineFormat(bad)


def test_headers_are_asked_for_only_where_needed():
    assert not LineFormat("%(h)s %(r)s %(s)s %(B)s %(L)s %({HOME}e)s").needs_headers
    for text in ("%(a)s", "%(f)s", "%(u)s", "%({x}i)s", "%({x}o)s", "%({HTTP_X}e)s", "%(S)s"):
        assert LineFormat(text).needs_headers


# -- through the server


async def app(scope, receive, send):
    await receive()
    headers = [(b"x-request-id", b"from-app")] if scope["path"] == "/id" else []
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello"})


def logged(requests, stack, **options):
    """The lines that the requests make, through a server with the default set-up changed by `options`."""
    out = io.StringIO()

    async def main():
        async with serving(app, http=HTTP[stack.name], **options) as server:
            client = await Client.open(server)
            for data in requests:
                client.writer.write(data)
                await client.answer()
            await client.close()

    options["log_config"] = LOGGING_CONFIG
    with redirect_stdout(out):
        run(main())
    return out.getvalue().splitlines()


GET = b'GET /x?y HTTP/1.1\r\nHost: h\r\nUser-Agent: a"b\r\nX-Request-ID: from-client\r\n\r\n'


def test_a_format_through_the_server(stack):
    (line,) = logged(
        [GET], stack, access_log_format='%(h)s %(S)s "%(r)s" %(s)s %(b)s "%(a)s" %({x-request-id}i)s %(L)s'
    )
    assert re.fullmatch(r'127\.0\.0\.1 http "GET /x\?y HTTP/1\.1" 201 5 "a\\"b" from-client 0\.[0-9]{6}', line)


def test_a_format_without_headers_through_the_server(stack):
    assert logged([GET, GET], stack, access_log_format="%(m)s %(U)s %(s)s") == ["GET /x 201"] * 2


def test_json_through_the_server(stack):
    plain = b"GET /id HTTP/1.1\r\nHost: h\r\n\r\n"
    one, two = map(json.loads, logged([GET, plain], stack, log_format="json"))
    client = one["client"]
    assert re.fullmatch(r"127\.0\.0\.1:\d+", client)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", one.pop("time"))
    assert 0 < one.pop("duration") < 10
    assert one == {
        "level": "INFO",
        "logger": "asgiserve.access",
        "message": f'{client} - "GET /x?y HTTP/1.1" 201',
        "client": client,
        "method": "GET",
        "path": "/x?y",
        "http_version": "1.1",
        "status": 201,
        "bytes": 5,
        "request_id": "from-client",
    }
    assert two["request_id"] == "from-app"


def test_both_formats_together(stack):
    (line,) = logged([GET], stack, log_format="json", access_log_format='%(m)s "%(a)s"')
    assert json.loads(line)["message"] == 'GET "a\\"b"'


# -- JSON


def direct_and_formatted(stack, *request):
    """A line that is written directly, and what the formatter makes of the record."""
    lines = []
    for other in (False, True):
        out = io.StringIO()
        with redirect_stdout(out):
            Config("main:app", log_format="json").configure_logging()
        access = logging.getLogger("asgiserve.access")
        access.handlers[:] = access.handlers[:1]
        log = AccessLog(None, stack=stack)
        if other:
            access.addFilter(_all_pass)
        try:
            log.log(*request)
            log.close()
        finally:
            access.removeFilter(_all_pass)
        line = json.loads(out.getvalue())
        line.pop("time")
        lines.append(line)
    return lines


def _all_pass(record):
    return True


def test_direct_json_is_like_formatted(stack):
    more = ("http", [(b"x-request-id", b'a"\xff')], None)
    for target in ("/", "/\\", "/\\n?a=%22"):
        direct, formatted = direct_and_formatted(stack, "1.2.3.4:5", "GET", target, "1.1", 200, 3, 0.0012345678, *more)
        assert direct == formatted
        if platform.python_implementation() == "CPython":  # elsewhere a record's attributes have an order of their own
            assert list(direct) == list(formatted)
        assert direct["path"] == target
        assert direct["request_id"] == 'a"\xff'
    direct, formatted = direct_and_formatted(stack, "", "GET", "/", "1.0", 404, 0, 0.0, "http", [], [])
    assert direct == formatted
    assert "request_id" not in direct


def json_of(level=logging.INFO, message="hello", args=(), exc_info=None, **extra):
    record = logging.LogRecord("some.logger", level, __file__, 1, message, args, exc_info)
    record.__dict__.update(extra)
    line = JSONFormatter().format(record)
    assert "\n" not in line
    return json.loads(line)


def test_json_formatter():
    made = json_of(message="a %s\n", args=("b",), user="x", count=3)
    assert made.pop("time").endswith("Z")
    assert made == {"level": "INFO", "logger": "some.logger", "message": "a b\n", "user": "x", "count": 3}


def test_json_formatter_with_an_exception():
    try:
        raise LookupError("what")
    except LookupError as exc:
        made = json_of(exc_info=(type(exc), exc, exc.__traceback__))
    assert made["exception"].startswith("Traceback ")
    assert made["exception"].endswith("LookupError: what")


def test_json_formatter_with_what_json_cannot_say():
    loop = []
    loop.append(loop)
    assert json_of(a=float("nan"), b={(1, 2): 3}, c=loop, d=object)["a"] == "nan"
    assert json_of(d=object)["d"] == "<class 'object'>"


def test_json_formatter_takes_the_arguments_of_the_others():
    assert JSONFormatter("%(message)s", None, "%", True, use_colors=True, format="x").format


def test_access_formatter_shows_a_format_through_its_message():
    out = io.StringIO()
    access = logging.getLogger("asgiserve.access")
    handler = logging.StreamHandler(out)
    handler.setFormatter(AccessFormatter("%(message)s|%(request_line)s|%(status_code)s", use_colors=False))
    access.handlers[:] = [handler]
    access.setLevel(logging.INFO)
    access.propagate = False
    log = AccessLog(None, "%(B)s 100%% %(U)s")
    log.log("1.2.3.4:5", "GET", "/%41", "1.1", 200, 7, 0.1)
    log.close()
    assert out.getvalue() == "7 100% /%41|GET /%41 HTTP/1.1|200 OK\n"
