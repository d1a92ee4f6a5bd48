"""Worker processes under load: they are replaced, added, removed, killed, and no request fails that need not."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest

from .group import PATIENCE, group  # noqa: F401
from .launcher import APPS, LINUX, wait_for
from .load import Load
from .wire import encode

pytestmark = [
    pytest.mark.alone,
    pytest.mark.usefixtures("ours"),
    pytest.mark.skipif(not LINUX, reason="what the processes do is read from /proc"),
]

APP = "stress_app:app"
QUIET = "--no-access-log"


@pytest.fixture
def once(stack):
    """For what does not depend on the stack."""
    if stack.name != "pure":
        pytest.skip("once is enough")


def assert_all_answered(load, server):
    load.stop()
    assert not load.failures, f"{load}\n{[str(failure) for failure in load.failures[:9]]}\n{server.describe()}"


def worker_wire(dial, server, pid):
    """A connection to that worker."""
    for _ in range(1000):
        wire = dial(server)
        if wire.request("GET", "/plain?").header("x-pid") == str(pid):
            return wire
        wire.close()
    pytest.fail(f"no connection to worker {pid}: {server.describe()}")


# -- replaced


@pytest.mark.slow
def test_no_request_fails_while_workers_come_and_go(group, stack):  # noqa: F811
    server = group(APP, "--workers", "2", QUIET)
    files = server.open_files()
    with Load(server.address) as load:
        load.wait(500)
        for restart in (1, 2):
            server.signal(signal.SIGHUP)
            load.until(lambda times=2 * restart: server.count("in place of") == times)
            load.wait(500)
        load.until(lambda: server.count("has ended") == 4)
        assert server.open_files() == files
        server.signal(signal.SIGTTIN)
        load.until(lambda: len(server.serving()) == 3)
        load.wait(500)
        for count in (2, 1):
            server.signal(signal.SIGTTOU)
            load.until(lambda count=count: server.count("has ended") == 7 - count)
            load.wait(500)
        server.signal(signal.SIGTTOU)
        load.until(lambda: server.count("The last worker stays"))
        load.wait(500)
    assert_all_answered(load, server)
    server.stop()


def test_one_worker_is_replaced_at_its_limits(group, stack):  # noqa: F811
    server = group(APP, "--limit-max-requests", "400", "--limit-max-requests-jitter", "200", QUIET)
    with Load(server.address) as load:
        load.until(lambda: server.count("in place of") >= 3)
    assert_all_answered(load, server)
    assert server.count("is to be replaced: it has had") >= 3
    new, old = re.search(r"\[(\d+)\] serves, in place of \[(\d+)\]", server.stderr()).groups()
    log = server.stderr()
    assert log.index(f"[{new}] serves") < log.index(f"Shutting down server process [{old}]")
    server.stop()


@pytest.mark.slow
def test_a_worker_is_replaced_for_its_age_and_its_memory(group, dial, once):  # noqa: F811
    server = group(APP, "--limit-worker-age", "2", "--limit-worker-memory", "120", QUIET)

    def grows():
        with dial(server) as wire:
            wire.request("GET", "/grow")
        return re.search(r"is to be replaced: it takes \d\d\d MiB of memory", server.stderr())

    with Load(server.address) as load:
        load.until(grows)
        load.until(lambda: server.count("is to be replaced: it has served for 2 seconds"))
        load.until(lambda: server.count("in place of") >= 2)
        load.wait(200)
    assert_all_answered(load, server)
    server.stop()


@pytest.mark.slow
def test_a_worker_that_is_stopped_by_hand_is_replaced(group, once):  # noqa: F811
    server = group(APP, "--workers", "1", QUIET)
    with Load(server.address) as load:
        for times in (1, 2):
            load.wait(300)
            (worker,) = server.serving()
            os.kill(worker, signal.SIGTERM)
            load.until(lambda times=times: server.count("stops; another takes its place") == times)
            load.until(lambda worker=worker: server.serving() not in ([], [worker]))
        load.wait(300)
    assert_all_answered(load, server)
    server.stop()


# -- killed


def test_only_what_is_under_way_on_a_killed_worker_fails(group, stack):  # noqa: F811
    server = group(APP, "--workers", "2", QUIET)
    files = server.open_files()
    with Load(server.address) as load:
        load.wait(500)
        killed, other = server.serving()
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: killed not in server.members(), what="the worker is gone")
        gone = time.monotonic()
        load.until(lambda: len(server.serving()) == 2)
        load.wait(500)
    load.stop()
    assert {failure.source for failure in load.failures} <= {str(killed), None}
    assert len(load.failures) <= 64
    late = [str(failure) for failure in load.failures if failure.opened > gone]
    assert not late
    assert f"[{killed}] died: killed by SIGKILL" in server.stderr()
    assert server.count("died") == 1
    assert server.open_files() == files
    assert other in server.serving()
    server.stop()


@pytest.mark.slow
def test_a_worker_whose_event_loop_is_blocked_is_replaced(group, dial, stack):  # noqa: F811
    server = group(APP, "--workers", "2", "--timeout-worker-healthcheck", "1", QUIET)
    blocked, other = server.serving()
    wire = worker_wire(dial, server, blocked)
    wire.send(encode("GET", "/block"))
    with Load(server.address) as load:
        load.until(lambda: len(server.serving()) == 2 and blocked not in server.serving())
        load.wait(300)
    load.stop()
    assert {failure.source for failure in load.failures} <= {None}, "only those which it had accepted"
    assert str(other) in load.answers
    log = server.stderr()
    assert log.count(f"[{blocked}]: its event loop has been blocked for 1 seconds") == 1
    assert f"[{blocked}] died" not in log
    server.stop()


@pytest.mark.slow
def test_a_worker_may_take_its_time_to_import(group, workdirs, once):  # noqa: F811
    """Longer than its event loop might be blocked: nothing but the bound for the boot counts."""
    directory = workdirs()
    gate = directory / "gate"
    os.mkfifo(gate)
    directory.joinpath("slow.py").write_text(
        f"import sys\nsys.path.append({str(APPS)!r})\nopen({str(gate)!r}).read()\nfrom stress_app import app\n"
    )
    server = group(
        "slow:app", "--workers", "1", "--timeout-worker-healthcheck", "1", QUIET, app_dir=directory, ready=False
    )
    gate.write_text("go on")  # waits for the reader
    server.wait_up()
    (old,) = server.serving()
    with Load(server.address) as load:
        server.signal(signal.SIGHUP)
        writer = os.open(gate, os.O_WRONLY)
        end = time.monotonic() + 2.5
        load.until(lambda: time.monotonic() > end)
        assert server.serving() == [old]
        os.close(writer)
        load.until(lambda: server.count("in place of"))
        load.wait(200)
    assert_all_answered(load, server)
    assert "Killing" not in server.stderr()
    server.stop()


# -- not started

FLAWS = {
    "import": ("import not_there\n", "ModuleNotFoundError: No module named 'not_there'"),
    "syntax": ("def app(:\n", "SyntaxError: "),
    "failed": (
        """
async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})
""",
        "ERROR:    no database",
    ),
    "lifespan": (
        """
async def app(scope, receive, send):
    await receive()
    raise RuntimeError("no database")
""",
        "RuntimeError: no database",
    ),
}


@pytest.mark.parametrize(("flaw", "workers"), [("import", "1"), ("syntax", "4"), ("failed", "1"), ("lifespan", "4")])
def test_an_application_that_does_not_start(group, workdirs, flaw, workers, once):  # noqa: F811
    source, error = FLAWS[flaw]
    directory = workdirs()
    directory.joinpath("flawed.py").write_text(source)
    server = group(
        "flawed:app", "--workers", workers, "--lifespan", "on", app_dir=directory, ready=False, tracebacks=True
    )
    server.wait_over(status=3)
    log = server.stderr()
    assert sum(line.startswith(error) for line in log.splitlines()) == 1, log
    assert log.count("Traceback") == (1 if flaw in ("import", "lifespan") else 0), log
    assert log.count("Started server process") == 1, log
    assert "The application does not start (worker 1 [" in log
    server.check_log()


@pytest.mark.slow
def test_a_restart_with_an_application_that_is_broken_by_now(group, workdirs, once):  # noqa: F811
    directory = workdirs()
    good = f"import sys\nsys.path.append({str(APPS)!r})\nfrom stress_app import app\n"
    source = directory / "mine.py"
    source.write_text(good)
    server = group("mine:app", "--workers", "2", QUIET, app_dir=directory, tracebacks=True)
    old = server.serving()
    with Load(server.address) as load:
        source.write_text("import not_there_any_more\n")
        server.signal(signal.SIGHUP)
        load.until(lambda: server.count("does not serve (exit status 3); the old one goes on"))
        load.wait(300)
        assert server.serving() == old
        source.write_text(good)
        server.signal(signal.SIGHUP)
        load.until(lambda: server.count("in place of") == 2)
        load.wait(300)
        assert not set(old) & set(server.serving())
    assert_all_answered(load, server)
    assert server.count("Traceback") == 1
    server.stop()


# -- without a parent


def test_workers_end_when_their_parent_is_killed(group, dial, once):  # noqa: F811
    server = group(APP, "--workers", "2", QUIET)
    workers = server.serving()
    wire = worker_wire(dial, server, workers[0])
    wire.send(encode("POST", "/echo", None, [("Content-Length", "4")]) + b"ha")
    server.signal(signal.SIGKILL)
    wait_for(lambda: server.count("The parent process has ended") == 2, PATIENCE, "they know")
    wait_for(lambda: not server.accepts(), what="nobody accepts")
    wire.send(b"lf")
    response = wire.response()
    assert (response.body, response.header("connection")) == (b"half", "close")
    wait_for(lambda: not server.members(), PATIENCE, "no process is left")
    assert server.stdout().count("shut down") == 2
    server.check_log()
