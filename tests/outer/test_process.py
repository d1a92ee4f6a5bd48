"""The program as a process of its own: signals, exit statuses, what it prints, and that it always ends."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from .serving import HTTP, TIMEOUT, Process, loop_names

posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

APP = """
import asyncio, threading, time

async def body(send, text):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": text})

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["path"] == "/forever":
        print("asked", flush=True)
        while True:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                pass
    if scope["path"] == "/thread":
        print("asked", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, time.sleep, 1000)
    if scope["path"] == "/block":
        print("asked", flush=True)
        time.sleep(1000)
    await body(send, b"ok")

async def stuck(scope, receive, send):
    await asyncio.Event().wait()

async def stuck_and_stubborn(scope, receive, send):
    while True:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            pass

async def failing(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})

async def exiting(scope, receive, send):
    raise SystemExit(7)

def create():
    raise TypeError("mine")
"""

MODULES = """
import sys

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": " ".join(sys.modules).encode()})
"""

#: What a server without workers, TLS, WebSockets, proxies, metrics and a logging set-up of its own does without.
UNNEEDED = {
    "a2wsgi",
    "asgiserve.metrics.snapshot",
    "asgiserve.processes.parent",
    "asgiserve.proxy_protocol",
    "asgiserve.show_config",
    "asgiserve.tls",
    "configparser",
    "dataclasses",
    "dotenv",
    "email",
    "hashlib",
    "importlib.metadata",
    "ipaddress",
    "json",
    "logging.config",
    "logging.handlers",
    "multiprocessing",
    "pickle",
    "platform",
    "prometheus_client",
    "random",
    "socketserver",
    "tomllib",
    "urllib.parse",
    "watchfiles",
    "yaml",
}

CLEAN = ("Exception ignored", "never awaited", "never retrieved", "was destroyed", "ResourceWarning", "Traceback")


@pytest.fixture
def start(tmp_path):
    """Starts the program in a directory with the applications above."""
    tmp_path.joinpath("apps.py").write_text(APP)
    started = []

    def start(*arguments, **more):
        process = Process(*arguments, cwd=tmp_path, **more)
        started.append(process)
        return process

    yield start
    for process in started:
        process.__exit__()


@pytest.fixture(params=loop_names())
def loop(request):
    return request.param


def ask(port, path="/"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def begin(process, port, path):
    """Sends a request that will not be answered, and waits until the application has it."""
    sock = socket.create_connection(("127.0.0.1", port), TIMEOUT)
    sock.sendall(b"GET %b HTTP/1.1\r\nHost: test\r\n\r\n" % path.encode())
    assert process.popen.stdout.readline() == "asked\n"
    return sock


def assert_clean(process):
    for text in CLEAN:
        assert text not in process.log, process.log


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_graceful_stop(start, stack, loop, number):
    process = start("apps:app", "--port", 0, "--loop", loop, "--http", HTTP[stack.name])
    port = process.wait_ready()
    assert ask(port) == b"ok"
    process.popen.send_signal(number)
    assert process.wait() == 0
    assert f"stack: {stack.name}, {stack.parser}" in process.log
    assert f"Finished server process [{process.popen.pid}]" in process.log
    assert_clean(process)
    line = process.popen.stdout.read()
    assert re.fullmatch(r'INFO:     127\.0\.0\.1:\d+ - "GET / HTTP/1\.1" 200 OK\n', line)


def test_usage_errors(start):
    process = start("apps:app", "--port", "x")
    assert process.wait() == 2
    assert process.log == "asgiserve: error: 'x' is not a whole number (--port)"


def test_version_and_help(start):
    assert start("--version").wait() == 0
    assert start("--help").wait() == 0


def test_settings_from_the_environment(start):
    process = start(env={"ASGISERVE_APP": "apps:app", "ASGISERVE_PORT": "0", "ASGISERVE_LOG_LEVEL": "debug"})
    assert ask(process.wait_ready()) == b"ok"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no_such_module:app"], 'there is no module "no_such_module"'),
        (["apps:ap"], 'did you mean "app"?'),
        (["apps:failing", "--port", "0"], "no database"),
        (["apps:create", "--factory"], "TypeError: mine"),
        (["apps:stuck", "--port", "0", "--timeout-lifespan-startup", "0.1"], "more than 0.1 seconds"),
    ],
)
def test_not_started(start, arguments, words):
    process = start(*arguments)
    assert process.wait() == 3
    assert words in process.log
    assert "asgiserve running" not in process.log
    assert ("Traceback" in process.log) == ("create" in arguments[0])


def test_an_address_in_use(start):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        process = start("apps:app", "--port", sock.getsockname()[1])
        assert process.wait() == 3
        assert [line for line in process.log.splitlines() if not line.startswith("INFO: ")] == [
            f"ERROR:    Cannot listen on 127.0.0.1:{sock.getsockname()[1]}: the address is already in use"
        ]


def test_the_application_exits_by_itself(start):
    assert start("apps:exiting", "--port", 0).wait() == 7


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("app", ["stuck", "stuck_and_stubborn"])
def test_a_stuck_startup_can_be_interrupted(start, loop, number, app):
    process = start(f"apps:{app}", "--port", 0, "--loop", loop)
    process.wait_for("Waiting for application startup")
    process.popen.send_signal(number)
    assert process.wait() == 0
    assert "Interrupted while waiting for application startup." in process.log


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stuck_import_can_be_interrupted(start, tmp_path, number):
    tmp_path.joinpath("slow.py").write_text("import sys, time\nprint('importing', file=sys.stderr)\ntime.sleep(1000)\n")
    process = start("slow:app")
    process.wait_for("importing")
    process.popen.send_signal(number)
    assert process.wait() == 0
    assert "Interrupted while the application was imported." in process.log
    assert_clean(process)


@posix
def test_an_application_that_swallows_its_cancellation_does_not_hold_the_process(start, stack, loop):
    process = start(
        "apps:app", "--port", 0, "--loop", loop, "--http", HTTP[stack.name], "--timeout-graceful-shutdown", "0.2"
    )
    with begin(process, process.wait_ready(), "/forever"):
        process.popen.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    assert "1 task(s) ignore the cancellation and are abandoned." in process.log
    assert "Application shutdown complete." in process.log
    assert_clean(process)


@posix
def test_a_thread_that_never_returns_does_not_hold_the_process(start, loop):
    process = start("apps:app", "--port", 0, "--loop", loop, "--timeout-graceful-shutdown", "0.2")
    with begin(process, process.wait_ready(), "/thread"):
        process.popen.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    assert "Application shutdown complete." in process.log


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_blocked_loop_does_not_hold_the_process(start, loop, number):
    process = start("apps:app", "--port", 0, "--loop", loop)
    with begin(process, process.wait_ready(), "/block"):
        end = time.monotonic() + TIMEOUT
        while process.popen.poll() is None:
            assert time.monotonic() < end, process.log
            process.popen.send_signal(number)
            try:
                process.popen.wait(1.2)  # a second signal within one second could be an accident
            except subprocess.TimeoutExpired:
                pass
    assert process.wait() == 0
    assert "Application shutdown complete." in process.log


@posix
def test_an_inherited_socket_as_standard_input(tmp_path, start):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        environment = dict(os.environ, PYTHONPATH=os.path.dirname(os.path.dirname(sys.modules["asgiserve"].__file__)))
        arguments = [sys.executable, "-m", "asgiserve", "--fd", "0", "apps:app"]
        with subprocess.Popen(
            arguments, stdin=sock, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=tmp_path, env=environment
        ) as popen:
            try:
                for line in popen.stderr:
                    if b"asgiserve running on" in line:
                        break
                assert ask(sock.getsockname()[1]) == b"ok"
                popen.send_signal(signal.SIGTERM)
                popen.stderr.read()
                assert popen.wait(TIMEOUT) == 0
            finally:
                if popen.poll() is None:
                    popen.kill()


@posix
def test_a_unix_socket_comes_and_goes(start, tmp_path):
    path = tmp_path / "s"
    process = start("apps:app", "--uds", path)
    process.wait_ready()
    assert path.is_socket()
    process.popen.kill()
    process.wait()
    assert path.is_socket()
    process = start("apps:app", "--uds", path)
    process.wait_ready()
    process.popen.send_signal(signal.SIGTERM)
    assert process.wait() == 0
    assert not path.exists()


@posix
def test_nobody_reads_the_access_log(start):
    reader, writer = os.pipe()
    process = start("apps:app", "--port", 0, stdout=writer)
    os.close(writer)
    os.close(reader)
    port = process.wait_ready()
    for _ in range(3):
        assert ask(port) == b"ok"
    process.popen.send_signal(signal.SIGTERM)
    assert process.wait() == 0
    assert_clean(process)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_the_disk_of_the_access_log_is_full(start):
    with open("/dev/full", "w") as full:
        process = start("apps:app", "--port", 0, stdout=full)
    port = process.wait_ready()
    for _ in range(3):
        assert ask(port) == b"ok"
    process.popen.send_signal(signal.SIGTERM)
    assert process.wait() == 0
    assert_clean(process)


def test_only_what_serves_is_loaded(stack, start, tmp_path):
    """Whatever else is loaded costs memory and time at each start."""
    (tmp_path / "modules.py").write_text(MODULES)
    process = start("modules:app", "--port", 0, "--http", HTTP[stack.name])
    loaded = set(ask(process.wait_ready()).decode().split())
    needed = "asyncio, click" if stack.name == "compiled" else "asyncio, click, h11, wsproto"
    code = f"import sys, {needed}; print(*sys.modules)"
    needed_by_others = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert sorted(loaded & UNNEEDED - set(needed_by_others.stdout.split())) == []
    parsers = {"h11", "asgiserve._speedups.parser"}
    assert loaded & parsers == {"compiled": {"asgiserve._speedups.parser"}, "pure": {"h11"}}[stack.name]
