"""gunicorn with asgiserve's workers: its settings, its signals, and requests all the while."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import sys
import time
from pathlib import Path

import pytest

import asgiserve

from .launcher import APPS, FORBIDDEN, Process, free_port, wait_for
from .load import Load, OneTarget
from .websocket_client import Peer
from .wire import Truncated, Wire, encode

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(sys.platform == "win32", reason="gunicorn does not run on Windows"),
]

WORKERS = {"compiled": "AsgiserveWorker", "pure": "AsgiserveH11Worker"}


class Gunicorn(Process):
    """gunicorn; the workers are children of its process."""

    def pids(self) -> list[int]:
        """Every worker that there has been, in order."""
        return [int(pid) for pid in re.findall(r"Booting worker with pid: (\d+)", self.stderr())]

    def serving(self) -> list[int]:
        """Those that have come to serve."""
        return [int(pid) for pid in re.findall(r"\[(\d+)\] \[INFO\] asgiserve running on", self.stderr())]

    def wait_serving(self, count: int = 1) -> None:
        wait_for(lambda: len(set(self.serving())) >= count, 40, f"{count} workers that serve: {self.describe()}")

    def stop(self, number: int = signal.SIGTERM, tracebacks: bool = False) -> None:
        """Signal it; it ends with status 0 and a clean log, and no worker stays."""
        self.signal(number)
        assert self.wait(40) == 0, self.describe()
        for text in FORBIDDEN if tracebacks else (*FORBIDDEN, "Traceback"):
            assert text not in self.stderr(), self.describe()
        assert not [pid for pid in self.pids() if is_alive(pid)]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def once():
    """The stack makes no difference here."""
    if os.environ.get("ASGISERVE_E2E_SERVER"):
        pytest.skip("promised by asgiserve only")


@pytest.fixture
def launch(library, workdirs):
    """launch(*options, worker=..., app=..., files={name: text}): a gunicorn that may or may not come to serve."""
    library("gunicorn")
    started: list[Gunicorn] = []

    def start(*options, worker="asgiserve.workers.AsgiserveWorker", app="worker_app:app", files=(), address=None):
        directory = workdirs()
        for name, text in dict(files).items():
            (directory / name).write_text(text)
        address = address or ("127.0.0.1", free_port())
        env = {key: value for key, value in os.environ.items() if not key.startswith(("ASGISERVE_", "GUNICORN_"))}
        here = str(Path(asgiserve.__file__).resolve().parent.parent)
        env.update(PYTHONPATH=os.pathsep.join((here, str(APPS))), PYTHONUNBUFFERED="1", HOME=str(directory))
        argv = [sys.executable, "-m", "gunicorn", "-k", worker, "-b", ":".join(map(str, address)), *options, app]
        started.append(Gunicorn(argv, address, directory, env))
        return started[-1]

    yield start
    for each in started:
        each.kill()
        for pid in each.pids():
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def gunicorn(launch):
    """The same, once it accepts connections."""

    def start(*options, count=1, **more) -> Gunicorn:
        process = launch(*options, **more)
        process.wait_ready()
        process.wait_serving(count)
        return process

    return start


@pytest.fixture
def worker(stack):
    """The class for the stack under test, as gunicorn's -k takes it."""
    if stack.name not in WORKERS:
        pytest.skip("promised by asgiserve only")
    return f"asgiserve.workers.{WORKERS[stack.name]}"


def ask(process: Process, target: str, *fields, method: str = "GET", body=None):
    with Wire(process.connect()) as wire:
        return wire.request(method, target, body, list(fields))


def begin(wire: Wire) -> None:
    """A request whose app is running, because its first piece has come back."""
    wire.send(encode("POST", "/echo-stream", None, [("Transfer-Encoding", "chunked")]) + b"5\r\nfirst\r\n")
    assert wire.head().status == 200
    assert wire.chunk() == b"first"


def test_serving(gunicorn, worker, stack, workdirs):
    """TCP and a UNIX socket at once, WebSockets, logs, and an orderly stop with a request under way."""
    path = str(workdirs() / "s")
    server = gunicorn(
        *("-b", f"unix:{path}", "--access-logfile", "-", "--access-logformat", "%(h)s %(m)s %(U)s %(q)s %(s)s %(B)s"),
        worker=worker,
    )
    assert f"[INFO] stack: {stack.name}," in server.stderr()
    forged = ("X-Forwarded-For", "10.0.0.7"), ("X-Forwarded-Proto", "https")
    seen = json.loads(ask(server, "/scope?a=b", *forged).body)
    assert (seen["client"], seen["scheme"]) == (["10.0.0.7", 0], "https")
    assert seen["server"] == ["127.0.0.1", server.port]
    assert seen["state"] == {"started": "yes"}
    assert ask(server, "/echo", method="POST", body=b"x" * 100000).body == b"x" * 100000
    with Wire(server.connect()) as wire:
        peer = Peer(wire)
        peer.send(peer.frames.send_data("hello"))
        assert peer.next()[1] == "hello"
    server.address, tcp = path, server.address
    seen = json.loads(ask(server, "/scope", *forged).body)
    assert (seen["client"], seen["server"], seen["scheme"]) == (["10.0.0.7", 0], [path, None], "https")
    wait_for(lambda: server.stdout().count("\n") >= 3, what="access lines")
    lines = server.stdout().splitlines()
    assert re.fullmatch(r"10\.0\.0\.7 GET /scope a=b 200 \d+", lines[0])
    assert lines[1] == "127.0.0.1 POST /echo  200 100000"

    server.address = tcp
    with Wire(server.connect()) as busy, Wire(server.connect()) as idle:
        assert idle.request("GET", "/hello").status == 200
        begin(busy)
        server.signal(signal.SIGTERM)
        wait_for(lambda: not server.accepts(), what="new connections are refused")
        busy.send(b"4\r\nlast\r\n0\r\n\r\n")
        assert (busy.chunk(), busy.chunk()) == (b"last", b"")
        assert busy.at_end()
        assert idle.at_end()
    server.stop()
    assert "lifespan: shut down" in server.stdout()
    assert not os.path.exists(path)


def test_no_request_fails_while_workers_come_and_go(gunicorn, worker):
    """--max-requests, SIGHUP, SIGTTIN and SIGTTOU, under load."""
    server = gunicorn("-w", "2", "--max-requests", "400", "--max-requests-jitter", "100", worker=worker, count=2)
    with Load(server.address, OneTarget(), clients=16) as load:
        load.until(lambda: len(server.pids()) > 3)
        for number in (signal.SIGTTIN, signal.SIGHUP, signal.SIGTTOU):
            before = len(server.pids())
            server.signal(number)
            if number != signal.SIGTTOU:
                load.until(lambda before=before: len(server.pids()) > before)
            load.wait(200)
    assert not load.failures
    assert load.total > 1000
    assert {int(pid) for pid in load.answers} <= set(server.pids())
    server.stop()


def test_a_blocked_event_loop(gunicorn, worker):
    """The request that blocks gets an answer, the log shows where it did, and another worker takes over."""
    server = gunicorn("--timeout", "1", worker=worker)
    answer = ask(server, "/block")
    assert answer.status == 500
    blocked = server.pids()[0]
    wait_for(lambda: f"Worker (pid:{blocked}) exited with code 1" in server.stderr(), what="the end of the worker")
    log = server.stderr()
    assert f"WORKER TIMEOUT (pid:{blocked})" in log
    assert re.search(rf"\[{blocked}\] \[CRITICAL\] The event loop is blocked:\n(  .*\n)+  .*, in block\n    time", log)
    assert int(ask(server, "/pid").text) != blocked
    assert "Exception in ASGI application" in log
    server.stop(tracebacks=True)


def test_quick_stop(gunicorn, once):
    """SIGINT: what runs is cancelled, the hooks are called, the shutdown code runs."""
    hooks = """
def worker_int(worker): print(f"int {worker.pid}", flush=True)
def worker_exit(server, worker): print(f"exit {worker.pid}", flush=True)
"""
    server = gunicorn("-c", "hooks.py", files={"hooks.py": hooks})
    (pid,) = server.pids()
    with Wire(server.connect()) as wire:
        begin(wire)
        os.kill(pid, signal.SIGINT)  # as a terminal does, beside the signal of gunicorn's main process
        server.stop(signal.SIGINT)
    lines = server.stdout().split("\n")
    assert [lines.count(line) for line in (f"int {pid}", "lifespan: shut down", f"exit {pid}")] == [1, 1, 1]


def test_a_thread_that_never_ends_does_not_keep_a_worker(gunicorn, once):
    server = gunicorn("--graceful-timeout", "1")
    (pid,) = server.pids()
    with Wire(server.connect()) as wire:
        wire.send(encode("GET", "/thread", None, []))
        assert int(ask(server, "/pid").text) == pid  # so that it has read the other one too
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not is_alive(pid), 30, "the end of the worker")
    assert int(ask(server, "/pid").text) != pid
    server.stop()


def test_nothing_is_left_of_it_when_its_main_process_is_killed(gunicorn, once):
    server = gunicorn("-w", "2", count=2)
    server.signal(signal.SIGKILL)
    server.wait()
    wait_for(lambda: not [pid for pid in server.pids() if is_alive(pid)], what="the end of the workers")


BROKEN_LIFESPAN = """
async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})
"""
KWARGS = """
from asgiserve.workers import AsgiserveWorker
class Mine(AsgiserveWorker):
    CONFIG_KWARGS = {"timeout_requets": 1}
"""


@pytest.mark.parametrize(
    ("options", "files", "status", "says", "tracebacks"),
    [
        ([], {"broken.py": "import this_is_not_there"}, 3, "No module named 'this_is_not_there'", 1),
        ([], {"broken.py": "app = 7"}, 4, "Application object must be callable", 0),
        ([], {"broken.py": BROKEN_LIFESPAN}, 3, "no database", 0),
        (["--certfile", "broken.py"], {"broken.py": BROKEN_LIFESPAN}, 3, "there is no certificate in it", 0),
        (["--access-logformat", "%(x)s"], {"broken.py": ""}, 1, "Error: access_log_format: unknown atom %(x)s", 0),
        (["-k", "mine.Mine"], {"broken.py": "", "mine.py": KWARGS}, 1, "Error: timeout_requets: unknown option", 0),
    ],
    ids=["import", "no application", "start-up code", "certificate", "access log", "CONFIG_KWARGS"],
)
def test_what_cannot_start_ends_gunicorn(launch, once, options, files, status, says, tracebacks):
    """With its status for that, the reason in the log, and no worker tried for ever."""
    server = launch("-w", "1", *options, app="broken:app", files=files)
    assert server.wait(40) == status, server.describe()
    assert says in server.stderr()
    assert server.stderr().count("Traceback (most recent call last)") == tracebacks, server.describe()
    assert len(server.pids()) <= 1


def test_logs_are_reopened(gunicorn, once):
    """SIGUSR1, as logrotate sends it; the application is loaded before the workers are made."""
    server = gunicorn("--preload", "-w", "2", "--access-logfile", "access", count=2)
    log, old = server.stderr_path.with_name("access"), server.stderr_path.with_name("access.1")
    assert ask(server, "/hello").status == 200
    wait_for(lambda: '"GET /hello HTTP/1.1" 200 13 "-" "-"\n' in log.read_text(), what="the access line")
    log.rename(old)
    server.signal(signal.SIGUSR1)
    wait_for(log.exists, what="a new file")

    def is_written():
        assert ask(server, "/pid").status == 200  # one of the workers may be slower to hear of it than the other
        return "/pid" in log.read_text()

    wait_for(is_written, what="an access line in the new file")
    server.stop()


APP = """
async def app(scope, receive, send):
    assert scope["type"] != "lifespan"
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%s", "more_body": scope["path"] == "/stream"})
    if scope["path"] == "/stream":
        while (await receive())["type"] != "http.disconnect":
            pass
"""


def test_reload(gunicorn, once):
    """Open streams and WebSockets do not hold it up, and a mistake in the application is not the end."""
    options = ("--reload", "--reload-engine", "poll", "--graceful-timeout", "600")
    server = gunicorn(*options, app="mine:app", files={"mine.py": APP % "one"})
    file = server.stderr_path.with_name("mine.py")
    later = os.stat(file).st_mtime

    def change(text: str) -> None:
        file.write_text(text)
        touch()

    def touch() -> None:
        nonlocal later
        later += 10  # whatever the clock of the file system can tell apart
        os.utime(file, (later, later))

    def becomes(text: str) -> None:
        touched = time.monotonic()

        def is_served() -> bool:
            # A worker may serve before its reloader has looked at the file once: what changes in between is not seen.
            nonlocal touched
            if time.monotonic() > touched + 5:
                touch()
                touched = time.monotonic()
            try:
                return text in ask(server, "/").text
            except Truncated:  # the worker was told to leave before it had read the request
                return False

        wait_for(is_served, 60, f"{text!r} is served")

    becomes("one")
    with Wire(server.connect()) as stream, Wire(server.connect()) as websocket:
        stream.send(encode("GET", "/stream", None, []))
        assert stream.head().status == 200
        assert stream.chunk() == b"one"
        peer = Peer(websocket)
        change(APP % "two")
        becomes("two")
        assert peer.next()[1][0] == 1012
    change("async def app(\n")
    becomes("SyntaxError")
    change(APP % "three")
    becomes("three")
    server.stop(tracebacks=True)


def test_the_example(gunicorn, once):
    """examples/gunicorn.conf.py, but for the address."""
    text = (Path(__file__).resolve().parent.parent.parent / "examples/gunicorn.conf.py").read_text()
    server = gunicorn(count=4, files={"gunicorn.conf.py": text})
    assert "Using worker: asgiserve.workers.AsgiserveWorker" in server.stderr()
    assert ask(server, "/hello").status == 200
    wait_for(lambda: '"GET /hello HTTP/1.1" 200 13 "-" "-"\n' in server.stdout(), what="the access line")
    server.stop()


def test_tls(gunicorn, once, library, workdirs):
    """The certificate and the hook for the context are gunicorn's settings."""
    trustme = library("trustme")
    directory = workdirs()
    authority = trustme.CA()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(directory / "pem")
    hook = """
def ssl_context(config, default):
    context = default()
    context.set_alpn_protocols(["of-the-hook"])
    return context
"""
    server = gunicorn("--certfile", str(directory / "pem"), "-c", "hook.py", files={"hook.py": hook})
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.set_alpn_protocols(["of-the-hook"])
    with Wire(context.wrap_socket(server.connect(), server_hostname="localhost")) as wire:
        assert wire.sock.selected_alpn_protocol() == "of-the-hook"
        assert json.loads(wire.request("GET", "/scope").body)["scheme"] == "https"
    server.stop()
