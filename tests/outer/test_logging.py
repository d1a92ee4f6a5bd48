"""Log set-up, formatters, and the access log in both of its ways."""

from __future__ import annotations

import asyncio
import copy
import io
import json
import logging
import logging.config
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from asgiserve import logging as logs
from asgiserve.config import Config
from asgiserve.logging import AccessFormatter, AccessLog, ColourizedFormatter, DefaultFormatter

NAMES = (
    "asgiserve",
    "asgiserve.error",
    "asgiserve.access",
    "asgiserve.asgi",
    "uvicorn",
    "uvicorn.error",
    "uvicorn.access",
)
LINE = 'INFO:     127.0.0.1:54321 - "GET /x?y=1 HTTP/1.1" 200 OK\n'
REQUEST = ("127.0.0.1:54321", "GET", "/x?y=1", "1.1", 200, 5, 0.001)


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """Puts the three loggers back as they were."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    loggers = [logging.getLogger(name) for name in NAMES]
    before = [(logger, logger.level, logger.propagate, logger.handlers[:], logger.filters[:]) for logger in loggers]
    yield
    for logger, level, propagate, handlers, filters in before:
        logger.setLevel(level)
        logger.disabled = False
        logger.propagate = propagate
        logger.handlers[:] = handlers
        logger.filters[:] = filters


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def streams(monkeypatch):
    """What handlers that are set up in the test take for standard output and standard error."""
    out, err = io.StringIO(), io.StringIO()

    def redirected(function):
        # Around the set-up only: pytest itself puts its own streams there before each phase of a test.
        def call(*arguments, **more):
            with redirect_stdout(out), redirect_stderr(err):
                return function(*arguments, **more)

        return call

    monkeypatch.setattr(logs, "configure", redirected(logs.configure))
    monkeypatch.setattr(logging.config, "fileConfig", redirected(logging.config.fileConfig))
    return out, err


class Loop:
    """Just enough of a loop for AccessLog's timer."""

    def __init__(self):
        self.timers = []

    def call_later(self, delay, callback):
        timer = Timer(callback)
        self.timers.append(timer)
        return timer

    def fire(self):
        timers, self.timers = self.timers, []
        for timer in timers:
            if not timer.cancelled:
                timer.callback()


class Timer:
    def __init__(self, callback):
        self.callback = callback
        self.cancelled = False

    def cancel(self):
        self.cancelled = True


def record(level=logging.INFO, message="hello", args=(), **extra):
    made = logging.LogRecord("asgiserve.error", level, __file__, 1, message, args, None)
    made.__dict__.update(extra)
    return made


# -- formatters


@pytest.mark.parametrize(
    ("level", "prefix"),
    [
        (logs.TRACE, "TRACE:    "),
        (logging.DEBUG, "DEBUG:    "),
        (logging.INFO, "INFO:     "),
        (logging.WARNING, "WARNING:  "),
        (logging.ERROR, "ERROR:    "),
        (logging.CRITICAL, "CRITICAL: "),
    ],
)
def test_level_prefix(level, prefix):
    formatter = DefaultFormatter("%(levelprefix)s %(message)s", use_colors=False)
    assert formatter.format(record(level)) == prefix + "hello"
    coloured = DefaultFormatter("%(levelprefix)s %(message)s", use_colors=True).format(record(level))
    assert coloured.startswith("\x1b[")
    assert coloured.replace("\x1b[0m", "").partition("m")[2] == prefix + "hello"


def test_the_record_is_left_as_it_was():
    made = record()
    DefaultFormatter("%(levelprefix)s %(message)s", use_colors=True).format(made)
    assert not hasattr(made, "levelprefix")


def test_color_message():
    made = record(message="plain %d", args=(1,), color_message="bright %d")
    assert DefaultFormatter("%(message)s", use_colors=True).format(made) == "bright 1"
    assert DefaultFormatter("%(message)s", use_colors=False).format(made) == "plain 1"


def test_format_is_another_name_of_fmt():
    assert DefaultFormatter(format="<%(message)s>").format(record()) == "<hello>"
    assert DefaultFormatter(fmt="<%(message)s>").format(record()) == "<hello>"
    assert DefaultFormatter(fmt="<{message}>", style="{").format(record()) == "<hello>"


@pytest.mark.parametrize(("formatter", "stream"), [(DefaultFormatter, "stderr"), (AccessFormatter, "stdout")])
def test_colours_follow_the_terminal(formatter, stream, monkeypatch):
    monkeypatch.setattr(sys, stream, Terminal())
    assert formatter().use_colors is True
    assert formatter(use_colors=False).use_colors is False
    monkeypatch.setenv("NO_COLOR", "1")
    assert formatter().use_colors is False
    assert formatter(use_colors=True).use_colors is True
    monkeypatch.delenv("NO_COLOR")
    for other in (io.StringIO(), None):
        monkeypatch.setattr(sys, stream, other)
        assert formatter().use_colors is False
    closed = Terminal()
    closed.isatty = closed.__class__.__mro__[1].isatty.__get__(closed)
    closed.close()
    monkeypatch.setattr(sys, stream, closed)
    assert formatter().use_colors is False


def access_record(status=200):
    args = ("127.0.0.1:54321", "GET", "/x?y=1", "1.1", status)
    return record(message='%s - "%s %s HTTP/%s" %d', args=args)


def test_access_formatter():
    formatter = AccessFormatter(logs.ACCESS_FORMAT, use_colors=False)
    assert formatter.format(access_record()) + "\n" == LINE
    assert formatter.format(access_record(299)).endswith('" 299 ')
    own = AccessFormatter("%(client_addr)s|%(request_line)s|%(status_code)s", use_colors=False)
    assert own.format(access_record(404)) == "127.0.0.1:54321|GET /x?y=1 HTTP/1.1|404 Not Found"


@pytest.mark.parametrize("status", [100, 200, 302, 404, 500])
def test_access_formatter_in_colour(status):
    text = AccessFormatter("%(request_line)s %(status_code)s", use_colors=True).format(access_record(status))
    assert text.startswith("\x1b[1mGET /x?y=1 HTTP/1.1\x1b[0m \x1b[")
    assert text.endswith("\x1b[0m")


def test_access_formatter_shows_other_lines_too():
    formatter = AccessFormatter("%(client_addr)s%(request_line)s%(status_code)s", use_colors=False)
    assert formatter.format(record()) == "hello"


def test_access_formatter_has_uvicorns_other_fields():
    formatter = AccessFormatter("%(method)s|%(full_path)s|%(http_version)s", use_colors=False)
    assert formatter.format(access_record()) == "GET|/x?y=1|1.1"
    assert formatter.format(record()) == "||"


def test_a_formatter_like_uvicorns_can_be_subclassed():
    class Own(ColourizedFormatter):
        def should_use_colors(self):
            return True

        def color_level_name(self, level_name, level_no):
            return f"<{level_name}>"

    assert Own("%(levelprefix)s%(message)s").format(record()) == "<INFO>:    hello"


def test_formatters_like_uvicorns():
    uvicorn = pytest.importorskip("uvicorn.logging")
    for colours in (False, True):
        for made in (access_record(), access_record(404), access_record(503), access_record(299)):
            ours = AccessFormatter(logs.ACCESS_FORMAT, use_colors=colours).format(made)
            theirs = uvicorn.AccessFormatter(logs.ACCESS_FORMAT, use_colors=colours).format(made)
            assert ours == theirs
        for level in (5, 10, 20, 30, 40, 50):
            ours = DefaultFormatter(logs.DEFAULT_FORMAT, use_colors=colours).format(record(level))
            theirs = uvicorn.DefaultFormatter(logs.DEFAULT_FORMAT, use_colors=colours).format(record(level))
            assert ours == theirs


# -- set-up


def test_the_default_set_up(streams):
    out, err = streams
    Config("main:app").configure_logging()
    logging.getLogger("asgiserve.error").info("to stderr")
    logging.getLogger("asgiserve.error").debug("not shown")
    logging.getLogger("asgiserve.access").info('%s - "%s %s HTTP/%s" %d', *REQUEST[:5])
    assert err.getvalue() == "INFO:     to stderr\n"
    assert out.getvalue() == LINE


def test_log_level(streams):
    Config("main:app", log_level="debug").configure_logging()
    logging.getLogger("asgiserve.error").debug("shown")
    assert streams[1].getvalue() == "DEBUG:    shown\n"
    Config("main:app", log_level="trace").configure_logging()
    logging.getLogger("asgiserve.error").log(logs.TRACE, "shown too")
    assert "TRACE:    shown too\n" in streams[1].getvalue()
    Config("main:app", log_level="warning").configure_logging()
    assert not fresh(Loop()).wanted


def test_use_colors(streams):
    Config("main:app", use_colors=True).configure_logging()
    logging.getLogger("asgiserve.error").info("hello")
    assert streams[1].getvalue() == "\x1b[32mINFO\x1b[0m:     hello\n"
    assert logs.LOGGING_CONFIG["formatters"]["default"]["use_colors"] is None


def test_no_access_log(streams):
    Config("main:app", access_log=False).configure_logging()
    assert not fresh(Loop()).wanted
    logging.getLogger("asgiserve.access").info("nowhere")
    assert streams[0].getvalue() == ""


def test_log_config_none_leaves_the_handlers_alone():
    handler = logging.NullHandler()
    logging.getLogger("asgiserve").addHandler(handler)
    before = {name: list(logging.getLogger(name).handlers) for name in NAMES}
    Config("main:app", log_config=None, log_level="debug").configure_logging()
    assert {name: list(logging.getLogger(name).handlers) for name in NAMES} == before
    assert logging.getLogger("asgiserve").level == logging.DEBUG


def test_formatters_in_a_configuration_of_the_users_own(streams):
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "mine": {"()": "asgiserve.logging.DefaultFormatter", "format": "%(levelprefix)s <%(message)s>"},
            "hits": {
                "()": "asgiserve.logging.AccessFormatter",
                "format": '%(levelprefix)s | %(client_addr)s | "%(request_line)s" %(status_code)s',
                "use_colors": False,
            },
        },
        "handlers": {
            "mine": {"class": "logging.StreamHandler", "formatter": "mine", "stream": "ext://sys.stderr"},
            "hits": {"class": "logging.StreamHandler", "formatter": "hits", "stream": "ext://sys.stdout"},
        },
        "loggers": {
            "asgiserve": {"handlers": ["mine"], "level": "INFO", "propagate": False},
            "asgiserve.access": {"handlers": ["hits"], "level": "INFO", "propagate": False},
        },
    }
    config = json.loads(json.dumps(config))
    Config("main:app", log_config=config).configure_logging()
    logging.getLogger("asgiserve.error").warning("hello")
    log = fresh(Loop())
    log.log(*REQUEST)
    assert streams[1].getvalue() == "WARNING:  <hello>\n"
    assert streams[0].getvalue() == 'INFO:     | 127.0.0.1:54321 | "GET /x?y=1 HTTP/1.1" 200 OK\n'


def test_formatters_in_an_ini_file(streams, tmp_path):
    path = tmp_path / "logging.ini"
    path.write_text(
        "[loggers]\nkeys=root,server\n[handlers]\nkeys=err\n[formatters]\nkeys=mine\n"
        "[logger_root]\nhandlers=\nlevel=WARNING\n"
        "[logger_server]\nhandlers=err\nlevel=INFO\nqualname=asgiserve\npropagate=0\n"
        "[handler_err]\nclass=StreamHandler\nformatter=mine\nargs=(sys.stderr,)\n"
        "[formatter_mine]\nclass=asgiserve.logging.DefaultFormatter\nformat=%(levelprefix)s [%(message)s]\n"
    )
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        logging.config.fileConfig(path, disable_existing_loggers=False)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    logging.getLogger("asgiserve.error").info("hello")
    assert streams[1].getvalue() == "INFO:     [hello]\n"


# -- the access log


def fresh(loop):
    """An AccessLog that has its logger to itself: pytest adds handlers to loggers that do not propagate."""
    handlers = logging.getLogger("asgiserve.access").handlers
    handlers[:] = [handler for handler in handlers if not type(handler).__module__.startswith("_pytest.")]
    return AccessLog(loop)


@pytest.fixture
def default(streams):
    Config("main:app").configure_logging()
    return streams[0]


def test_lines_wait_for_the_timer(default):
    loop = Loop()
    log = fresh(loop)
    assert log.wanted
    log.log(*REQUEST)
    log.log(*REQUEST)
    assert default.getvalue() == ""
    assert len(loop.timers) == 1
    loop.fire()
    assert default.getvalue() == LINE * 2
    log.log(*REQUEST)
    loop.fire()
    assert default.getvalue() == LINE * 3


def test_many_lines_do_not_wait(default, monkeypatch):
    monkeypatch.setattr(AccessLog, "BATCH", 3)
    log = fresh(Loop())
    for _ in range(4):
        log.log(*REQUEST)
    assert default.getvalue() == LINE * 3


def test_close_writes_what_waits_and_later_lines_at_once(default):
    loop = Loop()
    log = fresh(loop)
    log.log(*REQUEST)
    log.close()
    assert default.getvalue() == LINE
    assert all(timer.cancelled for timer in loop.timers)
    log.log(*REQUEST)
    assert default.getvalue() == LINE * 2


def test_direct_lines_are_like_formatted_ones(streams):
    for colours in (False, True):
        Config("main:app", use_colors=colours).configure_logging()
        log = fresh(Loop())
        for status in (101, 200, 299, 304, 404, 500, 599):
            streams[0].seek(0)
            streams[0].truncate()
            log.log("", "POST", "/", "1.0", status, 0, 0.0)
            log.flush()
            direct = streams[0].getvalue()
            streams[0].seek(0)
            streams[0].truncate()
            logging.getLogger("asgiserve.access").info('%s - "%s %s HTTP/%s" %d', "", "POST", "/", "1.0", status)
            assert direct == streams[0].getvalue()


class Listener(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, made):
        self.records.append(made)


def add_handler(logger):
    logger.addHandler(Listener())


def add_filter(logger):
    logger.addFilter(lambda made: True)


def add_handler_filter(logger):
    logger.handlers[0].addFilter(lambda made: True)


def propagate(logger):
    logger.propagate = True


def change_format(logger):
    logger.handlers[0].setFormatter(AccessFormatter("%(status_code)s"))


def replace_handler(logger):
    logger.handlers[:] = [Listener()]


@pytest.mark.parametrize(
    "change", [add_handler, add_filter, add_handler_filter, propagate, change_format, replace_handler]
)
def test_a_changed_set_up_gets_records(default, change):
    logger = logging.getLogger("asgiserve.access")
    log = fresh(Loop())
    change(logger)
    seen = []
    logger.addFilter(lambda made: bool(seen.append(made)) or True)
    log.log(*REQUEST)
    (made,) = seen
    assert made.args == ("127.0.0.1:54321", "GET", "/x?y=1", "1.1", 200)
    assert (made.client, made.method, made.path, made.status) == ("127.0.0.1:54321", "GET", "/x?y=1", 200)
    assert (made.http_version, made.bytes) == ("1.1", 5)
    assert made.getMessage() == '127.0.0.1:54321 - "GET /x?y=1 HTTP/1.1" 200'
    assert made.levelno == logging.INFO


def test_a_change_while_the_server_runs_is_noticed(default):
    log = fresh(Loop())
    log.log(*REQUEST)
    log.flush()
    listener = Listener()
    logging.getLogger("asgiserve.access").addHandler(listener)
    log.log(*REQUEST)
    assert len(listener.records) == 1
    logging.getLogger("asgiserve.access").removeHandler(listener)
    log.log(*REQUEST)
    log.flush()
    assert default.getvalue() == LINE * 3
    logging.getLogger("asgiserve.access").setLevel(logging.WARNING)
    log.log(*REQUEST)
    log.flush()
    assert default.getvalue() == LINE * 3


class Full(io.StringIO):
    def write(self, text):
        raise OSError(28, "No space left on device")


class Slow(io.StringIO):
    def flush(self):
        raise BlockingIOError(11, "would block")


@pytest.mark.parametrize("stream", [Full(), Slow(), None, "closed"])
def test_output_that_cannot_be_written_is_dropped(default, stream):
    if stream == "closed":
        stream = io.StringIO()
        stream.close()
    logging.getLogger("asgiserve.access").handlers[0].stream = stream
    log = fresh(Loop())
    log.log(*REQUEST)
    log.flush()
    log.close()


def test_a_set_up_of_the_users_own_gets_the_duration_too(streams):
    config = copy.deepcopy(logs.LOGGING_CONFIG)
    config["formatters"]["access"] = {"format": "%(status)d %(duration).4f %(bytes)d"}
    Config("main:app", log_config=config).configure_logging()
    log = fresh(Loop())
    assert log.needs_duration
    assert not log.needs_headers
    log.log(*REQUEST)
    assert streams[0].getvalue() == "200 0.0010 5\n"


def test_the_default_needs_neither_headers_nor_clock(default):
    log = fresh(Loop())
    assert not log.needs_duration
    assert not log.needs_headers


class Raising(logging.Filter):
    def filter(self, made):
        raise LookupError("of the user's")


def test_a_filter_that_fails_does_not_fail_the_request(default, server_log):
    logging.getLogger("asgiserve.access").addFilter(Raising())
    log = fresh(Loop())
    for _ in range(3):
        log.log(*REQUEST)
    assert [type(error) for error in server_log.take_errors()] == [LookupError]


# -- what applications do to uvicorn's logger


class NoHealth(logging.Filter):
    def filter(self, made):
        return "/x" not in made.getMessage()


def test_filters_on_uvicorns_access_logger_count(default):
    logging.getLogger("uvicorn.access").addFilter(NoHealth())
    log = fresh(Loop())
    log.log(*REQUEST)
    log.log("", "GET", "/y", "1.1", 200, 0, 0.0)
    log.flush()
    assert default.getvalue() == 'INFO:      - "GET /y HTTP/1.1" 200 OK\n'


@pytest.mark.parametrize("change", [lambda it: it.setLevel(logging.WARNING), lambda it: setattr(it, "disabled", True)])
def test_uvicorns_access_logger_can_be_silenced(default, change):
    change(logging.getLogger("uvicorn.access"))
    log = fresh(Loop())
    assert not log.wanted
    log.log(*REQUEST)
    log.flush()
    assert default.getvalue() == ""


def test_a_set_up_that_does_not_name_uvicorns_access_logger_leaves_it_enabled(streams):
    logging.getLogger("uvicorn.access")
    config = copy.deepcopy(logs.LOGGING_CONFIG)
    config["disable_existing_loggers"] = True
    del config["loggers"]["uvicorn"]
    Config("main:app", log_config=config).configure_logging()
    assert fresh(Loop()).wanted


def test_what_applications_log_to_uvicorns_logger_is_shown(streams):
    Config("main:app").configure_logging()
    logging.getLogger("uvicorn.error").info("from the application")
    assert streams[1].getvalue() == "INFO:     from the application\n"


# -- trace


def test_trace_shows_messages_without_their_contents(streams):
    Config("main:app", log_level="trace", use_colors=False).configure_logging()
    assert logs.is_tracing()
    messages = iter([{"type": "http.request", "body": b"secret"}])
    sent = []

    async def app(scope, receive, send):
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"secret")]})
        await send({"type": "websocket.send", "text": "secret"})
        if scope["path"] == "/raise":
            raise LookupError("secret")

    async def receive():
        return next(messages)

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "client": ("1.2.3.4", 5), "path": "/", "headers": [(b"a", b"secret")]}
    app = logs.TracedApplication(app)
    asyncio.run(app(scope, receive, send))
    assert sent[0]["headers"] == [(b"a", b"secret")]
    assert streams[1].getvalue().splitlines() == [
        "TRACE:    1.2.3.4:5 - ASGI [1] Started scope="
        "{'type': 'http', 'client': ('1.2.3.4', 5), 'path': '/', 'headers': '<1 headers>'}",
        "TRACE:    1.2.3.4:5 - ASGI [1] Receive {'type': 'http.request', 'body': '<6 bytes>'}",
        "TRACE:    1.2.3.4:5 - ASGI [1] Send {'type': 'http.response.start', 'status': 200, 'headers': '<1 headers>'}",
        "TRACE:    1.2.3.4:5 - ASGI [1] Send {'type': 'websocket.send', 'text': '<6 chars>'}",
        "TRACE:    1.2.3.4:5 - ASGI [1] Completed",
    ]
    messages = iter([{"type": "http.disconnect"}])
    with pytest.raises(LookupError):
        asyncio.run(app({"type": "http", "path": "/raise"}, receive, send))
    assert streams[1].getvalue().endswith("TRACE:    ASGI [2] Raised LookupError\n")
    assert "secret" not in streams[1].getvalue()


def test_the_application_is_wrapped_at_trace_only(streams, monkeypatch):
    for level, wrapped in (("debug", False), ("trace", True)):
        config = Config("serving:hello", app_dir=str(Path(__file__).parent), log_level=level)
        config.configure_logging()
        config.load()
        assert isinstance(config.loaded_app, logs.TracedApplication) is wrapped


def test_with_a_real_loop(default):
    async def main():
        log = fresh(asyncio.get_running_loop())
        log.log(*REQUEST)
        end = time.monotonic() + 10
        while not default.getvalue():
            assert time.monotonic() < end
            await asyncio.sleep(0.005)

    asyncio.run(main())
    assert default.getvalue() == LINE


def test_the_default_configuration_can_be_copied_and_changed(streams):
    config = copy.deepcopy(logs.LOGGING_CONFIG)
    config["formatters"]["default"]["fmt"] = "%(message)s!"
    Config("main:app", log_config=config).configure_logging()
    logging.getLogger("asgiserve.error").info("hello")
    assert streams[1].getvalue() == "hello!\n"
