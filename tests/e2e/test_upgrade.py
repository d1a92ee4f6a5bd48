"""SIGUSR2 under load: a new program takes the sockets over, and no request fails; or it cannot, and nothing changes."""

from __future__ import annotations

import os
import re
import signal

import pytest

from .group import PATIENCE, Group, group  # noqa: F401
from .launcher import LINUX, wait_for
from .load import Load

pytestmark = [
    pytest.mark.usefixtures("ours"),
    pytest.mark.skipif(not LINUX, reason="what the processes do is read from /proc"),
]

QUIET = "--no-access-log"
KINDS = pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["alone", "workers"])

HELD = """
import os, time
from stress_app import app as stress_app

async def app(scope, receive, send):
    await stress_app(scope, receive, send)

while os.path.exists("hold"):
    time.sleep(0.01)
"""


@pytest.fixture
def once(stack):
    """For what does not depend on the stack."""
    if stack.name != "pure":
        pytest.skip("once is enough")


@pytest.fixture
def held(group, workdirs):  # noqa: F811
    """held(*options): a server whose application takes as long to import as there is a file "hold"."""

    def start(*options, **more) -> Group:
        workdir = workdirs()
        (workdir / "held_app.py").write_text(HELD)
        server = group("held_app:app", QUIET, *options, workdir=workdir, **more)
        server.hold = workdir / "hold"
        return server

    return start


def ask(server: Group) -> int:
    """Who answers."""
    with server.connect() as sock:
        sock.sendall(b"GET /plain?x HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        answer = b""
        while block := sock.recv(4096):
            answer += block
    return int(re.search(rb"\r\nx-pid: (\d+)\r\n", answer).group(1))


@pytest.mark.parametrize(
    "options",
    [(), ("--workers", "2"), ("--workers", "2", "--worker-sockets", "own")],
    ids=["alone", "workers", "own"],
)
def test_no_request_fails(group, options):  # noqa: F811
    server = group("stress_app:app", QUIET, *options)
    with Load(server.address) as load:
        for _ in range(2):
            load.wait(500)
            server.upgrade()
        load.answers.clear()
        load.wait(500)
    assert not load.failures, f"{load} {server.describe()}"
    server.stop()


@KINDS
def test_a_unix_socket(group, once, options):  # noqa: F811
    server = group("stress_app:app", QUIET, *options, uds=True)
    identity = os.stat(server.address).st_ino
    with Load(server.address) as load:
        load.wait(200)
        server.upgrade()
        load.wait(200)
    assert not load.failures
    assert os.stat(server.address).st_ino == identity
    server.stop()
    assert not os.path.exists(server.address)


# -- it does not come to that


@KINDS
def test_a_new_program_that_does_not_start(held, once, options):
    server = held(*options, uds=True, tracebacks=True)
    app = server.hold.with_name("held_app.py")
    with Load(server.address) as load:
        load.wait(100)
        app.write_text("raise RuntimeError('broken')")
        new = server.begin_upgrade()
        server.wait_said(f"Process [{new}] does not serve (exit status 3); this one goes on")
        assert server.count("RuntimeError: broken")
        load.answers.clear()
        load.wait(100)
        app.write_text(HELD)
        server.upgrade()
        load.wait(100)
    assert not load.failures, str(load)
    assert os.path.exists(server.address)
    server.stop()
    assert not os.path.exists(server.address)


@KINDS
def test_settings_that_are_wrong_by_now(group, workdirs, once, options):  # noqa: F811
    workdir = workdirs()
    settings = workdir / "settings.toml"
    settings.write_text("backlog = 100")
    server = group("stress_app:app", QUIET, "--config", settings, *options, workdir=workdir)
    settings.write_text("backlog = 'many'")
    new = server.begin_upgrade()
    server.wait_said(f"Process [{new}] does not serve (exit status 2)")
    assert f"{settings}: backlog" in server.stderr()
    assert ask(server) in server.members()
    server.stop()


@KINDS
def test_a_new_program_that_dies(held, once, options):
    server = held(*options)
    server.hold.touch()
    new = server.begin_upgrade()
    os.kill(new, signal.SIGKILL)
    server.wait_said(f"Process [{new}] does not serve (killed by SIGKILL)")
    server.hold.unlink()
    server.upgrade()
    server.stop()


def test_a_new_program_that_takes_too_long(held, once):
    server = held("--timeout-worker-boot", "0.2")
    server.hold.touch()
    new = server.begin_upgrade()
    server.wait_said(f"Process [{new}] does not serve after 0.4 seconds and has to end")
    server.wait_said(f"Process [{new}] does not serve (")
    server.hold.unlink()
    assert ask(server) == server.pid
    server.stop()


@KINDS
def test_one_at_a_time(held, once, options):
    server = held(*options)
    server.hold.touch()
    new = server.begin_upgrade()
    server.signal(signal.SIGUSR2)
    server.wait_said("SIGUSR2 is refused: a new program is starting already")
    if options:
        server.signal(signal.SIGTTIN)
        server.wait_said("The number of workers stays as it is")
    server.hold.unlink()
    server.wait_said(f"Process [{new}] serves")
    server.stop()


@KINDS
def test_the_end_of_the_old_program_is_that_of_a_new_one_which_does_not_serve_yet(held, once, options):
    server = held(*options, uds=True)
    server.hold.touch()
    new = server.begin_upgrade()
    server.wait_said(f"process [{new}]")  # it has got so far that it can end well
    assert ask(server) != new
    server.signal(signal.SIGTERM)
    server.wait_over()
    assert f"Process [{new}] has to end too" in server.stderr()
    server.check_log()


@KINDS
def test_the_new_program_serves_when_the_old_one_dies(held, once, options):
    server = held(*options, uds=True)
    server.hold.touch()
    new = server.begin_upgrade()
    server.wait_said(f"process [{new}]")
    server.popen.kill()
    server.popen.wait()
    server.hold.unlink()
    server.wait_said("asgiserve running on", 2)
    assert ask(server) in server.members()
    os.kill(new, signal.SIGTERM)
    wait_for(lambda: not server.members(), PATIENCE, "the end of all")
    assert not os.path.exists(server.address)


def test_reloading_is_enough(group, once):  # noqa: F811
    server = group("stress_app:app", "--reload")
    server.signal(signal.SIGUSR2)
    server.wait_said("SIGUSR2 is refused: files that change start the workers anew")
    server.stop()


def test_sighup_without_workers(group, once):  # noqa: F811
    server = group("stress_app:app", QUIET)
    server.signal(signal.SIGHUP)
    server.wait_said("SIGHUP restarts workers, and there are none")
    assert ask(server) == server.pid
    server.stop()
