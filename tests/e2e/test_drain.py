"""The end of a server, alone and with workers, whatever keeps it: in time, exit code 0, and nothing is left behind."""

from __future__ import annotations

import re
import signal

import pytest

from .group import PATIENCE, group  # noqa: F401
from .launcher import LINUX, wait_for
from .websocket_client import Peer
from .wire import Truncated, encode

pytestmark = [
    pytest.mark.alone,
    pytest.mark.usefixtures("ours"),
    pytest.mark.skipif(not LINUX, reason="what the processes do is read from /proc"),
]

APP = "stress_app:app"
HANGING = """
import asyncio, sys, time

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        if STAGE == "startup":
            await asyncio.Event().wait()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.Event().wait()

STAGE = "stage"
if STAGE == "import":
    print("importing", file=sys.stderr)
    time.sleep(1000)
"""


@pytest.fixture
def once(stack):
    """For what does not depend on the stack."""
    if stack.name != "pure":
        pytest.skip("once is enough")


@pytest.fixture(params=["alone", "workers"])
def processes(request):
    """The options of a server with and without worker processes."""
    return {"alone": (), "workers": ("--workers", "2")}[request.param]


def hanging(workdirs, stage):
    directory = workdirs()
    directory.joinpath("hanging.py").write_text(HANGING.replace('"stage"', repr(stage)))
    return directory


def ends(wire) -> bool:
    """Whether nothing but the end of the connection is still to come."""
    try:
        while wire.sock.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


def open_streams(dial, server, count):
    wires = [dial(server) for _ in range(count)]
    for wire in wires:
        wire.send(encode("GET", "/events"))
    for wire in wires:
        assert wire.head().status == 200
        assert wire.chunk() == b"data: first\n\n"
    return wires


def begin_uploads(dial, server, count):
    wires = [dial(server) for _ in range(count)]
    for wire in wires:
        wire.send(encode("POST", "/echo", None, [("Content-Length", "4"), ("Expect", "100-continue")]))
        assert wire.head().status == 100
        wire.send(b"ha")
    return wires


def ask(dial, server, path, count=1):
    """Requests that are not answered, but have reached the application."""
    wires = [dial(server) for _ in range(count)]
    for number, wire in enumerate(wires, 1):
        wire.send(encode("GET", path))
        wait_for(lambda number=number: server.stdout().count(f"asked {path}") >= number, what=path)
    return wires


@pytest.mark.parametrize(
    ("processes", "sent"),
    [("alone", "SIGTERM"), ("workers", "Ctrl+C"), ("workers", "SIGTERM to all")],
    indirect=["processes"],
)
def test_everything_ends_in_time(group, dial, processes, sent):  # noqa: F811
    bounds = ("--timeout-graceful-shutdown", "2", "--timeout-lifespan-shutdown", "2")
    server = group(APP, *processes, *bounds, "--no-access-log", uds=True)
    streams = open_streams(dial, server, 100)
    peers = [Peer(dial(server), "/") for _ in range(100)]
    finished, unfinished = begin_uploads(dial, server, 5), begin_uploads(dial, server, 5)
    polls, stubborn = ask(dial, server, "/poll", 5), ask(dial, server, "/stubborn")
    idle = dial(server)
    assert idle.request("GET", "/plain?x").body == b"x"
    if sent == "SIGTERM":
        server.signal(signal.SIGTERM)
    else:
        server.signal_all(signal.SIGINT if sent == "Ctrl+C" else signal.SIGTERM)
    assert idle.at_end()
    draining = 2 if processes else 1  # the parent of workers says something else
    said = re.compile(r"Shutting down( server process|$)", re.M)
    wait_for(lambda: len(said.findall(server.stderr())) >= draining, what="drain")
    for wire in finished:
        wire.send(b"lf")
        response = wire.response()
        assert (response.body, response.header("connection")) == (b"half", "close")
    for number, peer in enumerate(peers):
        opcode, payload = peer.next()
        assert (opcode.name, payload[0]) == ("CLOSE", 1012)
        if number % 2:  # the others do not answer
            peer.send(peer.frames.close(1012))
            assert peer.next() is None
    assert all(map(ends, streams + unfinished + polls + stubborn))
    server.wait_over()
    log = server.stderr()
    assert "Cancelling" in log
    assert "1 task(s) ignore the cancellation and are abandoned." in log
    assert server.stdout().count("shut down") == (2 if processes else 1)
    assert "Killing" not in log
    server.check_log()


@pytest.mark.slow
def test_a_worker_that_is_blocked_is_killed_in_the_end(group, dial, once):  # noqa: F811
    bounds = ("--timeout-graceful-shutdown", "0", "--timeout-lifespan-shutdown", "0")
    server = group(APP, "--workers", "2", *bounds)
    ask(dial, server, "/block")
    server.signal(signal.SIGTERM)
    server.wait_over()
    assert server.count("Killing worker") == 1
    assert server.count(": it does not end in time") == 1
    assert server.count("has ended") == 2
    server.check_log()


@pytest.mark.parametrize("stage", ["import", "startup", "shutdown"])
def test_an_application_that_hangs(group, workdirs, once, processes, stage):  # noqa: F811
    options = (*processes, "--timeout-lifespan-shutdown", "0.5")
    server = group("hanging:app", *options, app_dir=hanging(workdirs, stage), ready=stage == "shutdown")
    if stage != "shutdown":
        server.wait_said("importing" if stage == "import" else "Waiting for application startup.")
    server.signal(signal.SIGTERM)
    server.wait_over()
    assert "Killing" not in server.stderr()
    server.check_log()


def test_a_second_signal_hurries(group, dial, once, processes):  # noqa: F811
    server = group(APP, *processes)
    (wire,) = ask(dial, server, "/poll")
    server.signal(signal.SIGINT)
    server.wait_said("Waiting for 1 connection(s)")
    server.signal(signal.SIGINT)
    assert ends(wire)
    server.wait_over()
    assert "Cancelling 1 task(s)" in server.stderr()
    assert "shut down" in server.stdout()
    server.check_log()


@pytest.mark.slow
def test_a_third_signal_ends_it_at_once(group, workdirs, once, processes):  # noqa: F811
    bounds = ("--timeout-lifespan-shutdown", "none")
    server = group("hanging:app", *processes, *bounds, app_dir=hanging(workdirs, "shutdown"))
    server.signal(signal.SIGINT)
    server.wait_said("Waiting for application shutdown.")
    server.signal(signal.SIGINT)
    server.signal(signal.SIGTERM)
    server.wait_over()
    if processes:
        assert server.count(": the third request to stop") == 2
    server.check_log()


@pytest.mark.slow
def test_ctrl_c_while_the_workers_start(group, once):  # noqa: F811
    for line in ("Started parent process", "Started server process"):
        server = group(APP, "--workers", "2", ready=False)
        server.wait_said(line)
        server.signal_all(signal.SIGINT)
        server.wait_over()
        server.check_log()


def test_clients_that_are_cut_see_it(group, dial, once):  # noqa: F811
    server = group(APP, "--timeout-graceful-shutdown", "0")
    (stream,) = open_streams(dial, server, 1)
    server.signal(signal.SIGTERM)
    with pytest.raises((Truncated, ConnectionResetError)):
        while stream.chunk():
            pass
    server.wait_over()
