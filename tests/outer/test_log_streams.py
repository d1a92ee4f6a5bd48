"""Logs that cannot be written: a full disk, a pipe that is closed, a pipe that nobody reads. The server goes on."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import socket
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest

from asgiserve.logging import StreamHandler, streams

from .serving import HTTP, TIMEOUT, Process

NEEDS_DEV_FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
NEEDS_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


class Stream(io.StringIO):
    """Fails while `error` is set."""

    error = None

    def write(self, text):
        if self.error:
            raise self.error
        return super().write(text)


@pytest.fixture
def error_log():
    """What goes to asgiserve.error."""
    logger = logging.getLogger("asgiserve.error")
    records = []

    class Listener(logging.Handler):
        def emit(self, record):
            records.append(record.getMessage())

    listener = Listener()
    logger.addHandler(listener)
    yield records
    logger.removeHandler(listener)


def record(message, level=logging.INFO):
    return logging.LogRecord("asgiserve.error", level, __file__, 1, message, (), None)


@pytest.fixture
def pipe():
    """A pipe: the reading end, and a text stream around the writing end."""
    reader, writer = os.pipe()
    stream = open(writer, "w", encoding="utf-8")  # noqa: SIM115
    yield reader, stream
    for close in (lambda: os.close(reader), stream.close):
        try:
            close()
        except OSError:
            pass


def read_until(reader, text):
    """What comes from a file descriptor up to `text`."""
    got = b""
    while text not in got:
        piece = os.read(reader, 65536)
        assert piece, got
        got += piece
    return got.decode()


def test_lost_lines_are_counted_and_reported_once(error_log):
    stream = Stream()
    handler = StreamHandler(stream)
    handler.handle(record("one"))
    stream.error = OSError(28, "No space left on device")
    for _ in range(3):
        handler.handle(record("lost"))
    assert handler.lost == 3
    assert error_log == ["A log cannot be written, its lines are lost: No space left on device"]
    stream.error = None
    handler.handle(record("two"))
    assert handler.lost == 0
    assert stream.getvalue() == "one\n3 lines of this log were lost: No space left on device\ntwo\n"
    stream.error = OSError(28, "No space left on device")
    handler.handle(record("lost"))
    assert len(error_log) == 1  # it has been said just now


def test_the_error_log_does_not_report_on_itself(error_log):
    stream = Stream()
    handler = StreamHandler(stream)
    logger = logging.getLogger("asgiserve.error")
    logger.addHandler(handler)
    try:
        stream.error = OSError(28, "No space left on device")
        logger.error("lost")
    finally:
        logger.removeHandler(handler)
    assert error_log == ["lost"]
    assert handler.lost == 1


@pytest.mark.parametrize("stream", [None, "closed"])
def test_no_stream_at_all(stream, error_log):
    if stream == "closed":
        stream = io.StringIO()
        stream.close()
    handler = StreamHandler(io.StringIO())
    handler.stream = stream
    handler.handle(record("lost"))
    handler.flush()
    assert handler.lost == 1


def test_characters_that_the_stream_has_not():
    raw = io.BytesIO()
    handler = StreamHandler(io.TextIOWrapper(raw, encoding="ascii"))
    handler.handle(record("snow \u2603"))
    assert raw.getvalue() == b"snow \\u2603\n"


def test_a_mistake_in_a_call_is_shown(capsys):
    handler = StreamHandler(io.StringIO())
    made = record("%d")
    made.args = ("x",)
    handler.handle(made)
    assert "Traceback" in capsys.readouterr().err


def test_a_pipe(pipe):
    reader, stream = pipe
    handler = StreamHandler(stream)
    handler.handle(record("one \u2603"))
    handler.handle(record("two", logging.ERROR))
    assert os.read(reader, 100).decode() == "one \u2603\ntwo\n"  # it has been waited for
    handler.handle(record("three"))
    handler.flush()
    assert os.read(reader, 100) == b"three\n"


def test_a_closed_pipe(pipe, error_log):
    reader, stream = pipe
    os.close(reader)
    handler = StreamHandler(stream)
    for _ in range(4):
        handler.handle(record("lost"))
        handler.flush()
    assert handler.lost >= 2
    assert error_log == ["A log cannot be written, its lines are lost: Broken pipe"]


@pytest.mark.alone
def test_a_pipe_that_nobody_reads(pipe, error_log, monkeypatch):
    monkeypatch.setattr(streams, "PATIENCE", 0.05)
    reader, stream = pipe
    handler = StreamHandler(stream)
    line = "x" * 999
    began = time.monotonic()
    for _ in range(3000):  # more than the pipe and the memory for it take
        handler.handle(record(line, logging.WARNING))
    handler.flush()
    assert time.monotonic() - began < 5
    lost = handler.lost
    assert 1000 < lost < 3000
    assert error_log == ["A log cannot be written, its lines are lost: nobody reads it"]
    got = []
    thread = threading.Thread(target=lambda: got.append(read_until(reader, b"back\n")))
    thread.start()
    end = time.monotonic() + TIMEOUT
    while handler._pipe._size > streams.PENDING_LIMIT // 2:
        assert time.monotonic() < end
    handler.handle(record("back"))
    assert handler.lost == 0
    thread.join(TIMEOUT)
    lines = got[0].splitlines()
    assert lines == [line] * (3000 - lost) + [f"{lost} lines of this log were lost: nobody reads it", "back"]


def test_one_very_long_line_is_not_too_long(pipe):
    reader, stream = pipe
    handler = StreamHandler(stream)
    handler.handle(record("x" * (streams.PENDING_LIMIT + 1) + "!"))
    assert len(read_until(reader, b"!\n")) == streams.PENDING_LIMIT + 3


def test_a_socket():
    ours, theirs = socket.socketpair()
    with ours, theirs, os.fdopen(os.dup(ours.fileno()), "w") as stream:
        handler = StreamHandler(stream)
        handler.handle(record("hello", logging.ERROR))
        assert theirs.recv(100) == b"hello\n"


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
def test_a_pipe_that_does_not_block(pipe):
    reader, stream = pipe
    os.set_blocking(stream.fileno(), False)
    handler = StreamHandler(stream)
    for _ in range(200):
        handler.handle(record("x" * 999))
    handler.handle(record("end"))
    assert len(read_until(reader, b"end\n")) == 200_004


@NEEDS_FORK
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_after_a_fork(pipe):
    reader, stream = pipe
    handler = StreamHandler(stream)
    handler.handle(record("parent", logging.ERROR))
    pid = os.fork()
    if pid == 0:
        handler.handle(record("child", logging.ERROR))
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert read_until(reader, b"child\n") == "parent\nchild\n"


# -- whole processes

APP = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        return await send({"type": "lifespan.shutdown.complete"})
    if scope["path"] == "/raise":
        raise LookupError("of the application's")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})
"""


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "main.py").write_text(APP)
    return tmp_path


def fetch(port, path="/"):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=TIMEOUT) as response:
            return response.status
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code


@NEEDS_DEV_FULL
def test_a_server_on_a_full_disk(stack, directory):
    arguments = ("main:app", "--port", 0, "--http", HTTP[stack.name])
    with open("/dev/full", "w") as full, Process(*arguments, cwd=directory, stdout=full) as process:
        port = process.wait_ready()
        for _ in range(5):
            assert fetch(port) == 200
        process.wait_for("WARNING: +A log cannot be written, its lines are lost: No space left")
        assert fetch(port, "/raise") == 500
        assert fetch(port) == 200
        process.popen.terminate()
        assert process.wait() == 0
        assert process.log.count("Traceback") == 1
        assert process.log.count("No space left") == 1


def test_a_server_whose_reader_has_left(directory):
    with Process("main:app", "--port", 0, cwd=directory) as process:
        port = process.wait_ready()
        process.popen.stdout.close()
        for number in range(5):
            assert fetch(port, f"/{number}") == 200
            if number == 0:
                # The pipe is known to be broken once a line has been written to it.
                assert fetch(port) == 200
        end = time.monotonic() + TIMEOUT
        while "Broken pipe" not in process.log:
            assert time.monotonic() < end
            assert fetch(port) == 200
        process.popen.terminate()
        assert process.wait() == 0
        assert "Traceback" not in process.log


@pytest.mark.skipif(sys.platform != "linux", reason="fills the pipe in the way of Linux")
def test_a_server_whose_reader_has_stopped(directory):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"-" * 4096)
    except BlockingIOError:
        os.set_blocking(writer, True)
    arguments = ("main:app", "--port", 0, "--timeout-graceful-shutdown", 5)
    try:
        with Process(*arguments, cwd=directory, stdout=writer) as process:
            port = process.wait_ready()
            for _ in range(20):
                assert fetch(port) == 200
            process.popen.terminate()
            assert process.wait() == 0
    finally:
        os.close(reader)
        os.close(writer)


def test_bad_set_ups_are_one_line(directory):
    (directory / "logging.json").write_text(json.dumps({"version": 1, "handlers": {"x": {"class": "no.Such"}}}))
    for arguments, says in (
        (("--log-config", "logging.json"), r"logging.json: .*'x'.*\(--log-config\)\Z"),
        (("--log-config", "nowhere.ini"), "cannot read nowhere.ini"),
        (("--access-log-format", "%(z)s"), "unknown atom"),
        (("--log-format", "json", "--log-config", "logging.json"), "--log-format"),
    ):
        with Process("main:app", "--port", 0, *arguments, cwd=directory) as process:
            assert process.wait() == 2
            (line,) = process.log.splitlines()
            assert line.startswith("asgiserve: error: ")
            assert re.search(says, line), line
