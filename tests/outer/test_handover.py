"""Sockets that go over to a new program: what is said of them, and whose they are meanwhile. Under load: tests/e2e."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from asgiserve.addresses import TCP, BindError, Unix
from asgiserve.processes import handover
from asgiserve.processes.handover import Predecessor, Upgrade, command_line, describe_sockets, find_predecessor
from asgiserve.processes.slots import Slots
from asgiserve.sockets import open_listeners

from .serving import Client, Process, get, run

pytestmark = pytest.mark.skipif(os.name != "posix", reason="there is no SIGUSR2")


def never(pid):
    pytest.fail(f"process {pid} is said to serve")


@pytest.fixture
def opened():
    """opened(*addresses, **more): Listeners, closed in the end."""
    found = []

    def make(*addresses, **more):
        found.append(open_listeners(addresses, **more))
        return found[-1]

    yield make
    for listeners in found:
        listeners.remove()
        listeners.close()


class Pair:
    """A predecessor in this process, which gets copies of the sockets, and the other end of its channel."""

    def __init__(self, listeners, passed=()):
        self.channel, theirs = socket.socketpair()
        self.channel.setblocking(False)
        sockets = [handed._replace(fd=os.dup(handed.fd)) for handed in describe_sockets(listeners)]
        found = {"channel": theirs.detach(), "sockets": sockets, "passed": passed}
        environ = {handover.VARIABLE: json.dumps(found), "PATH": "/bin"}
        self.predecessor = find_predecessor(environ)
        assert environ == {"PATH": "/bin"}

    def __enter__(self):
        return self.predecessor

    def __exit__(self, *_):
        self.channel.close()
        self.predecessor.has_let_go()
        self.predecessor.close_rest()


def names(listeners):
    return [listener.sock.getsockname() for listener in listeners]


def test_addresses_that_stay_come_and_go(opened, tmp_path):
    stays, goes = TCP("127.0.0.1", 0), TCP("localhost", 0)
    path, comes = Unix(str(tmp_path / "s")), Unix(str(tmp_path / "new"))
    old = opened(stays, goes, path)
    with Pair(old) as predecessor:
        new = opened(path, comes, stays, predecessor=predecessor)
        assert names(new) == [path.path, comes.path, old.sockets[0].getsockname()]
        assert [listener.is_lent for listener in new] == [True, False, True]
        predecessor.close_rest()
        assert not predecessor.take(goes)


def test_the_numbers_are_not_inherited_by_others(opened):
    with Pair(opened(TCP("127.0.0.1", 0))) as predecessor:
        (listener,) = opened(TCP("127.0.0.1", 0), predecessor=predecessor)
        assert not listener.sock.get_inheritable()
        assert not predecessor._channel.get_inheritable()


def test_who_may_remove_the_file(opened, tmp_path):
    address = Unix(str(tmp_path / "s"))
    old = opened(address)
    pair = Pair(old)
    with pair as predecessor:
        new = opened(address, predecessor=predecessor)
        new.predecessor = predecessor
        assert not new.take_over()
        assert pair.channel.recv(10) == b"s"
        assert not new.take_over()
        with pytest.raises(BlockingIOError):
            pair.channel.recv(10)  # it is said once
        new.remove()
        assert os.path.exists(address.path)
        old.let_go()
        pair.channel.send(b"y")
        assert new.take_over()
        assert new.take_over()
        old.remove()
        assert os.path.exists(address.path)
        new.remove()
        assert not os.path.exists(address.path)


def test_a_file_that_is_another_one_by_now(opened, tmp_path):
    address = Unix(str(tmp_path / "s"))
    old = opened(address)
    with Pair(old) as predecessor:
        os.rename(address.path, tmp_path / "away")
        Path(address.path).touch()
        new = opened(address, predecessor=predecessor)
        assert new.take_over()
        new.remove()
        assert os.path.exists(address.path)


def test_the_other_program_has_died(opened):
    pair = Pair(opened(TCP("127.0.0.1", 0)))
    with pair as predecessor:
        pair.channel.close()
        assert predecessor.has_let_go()


@pytest.mark.parametrize("text", ["1", "{}", "x", '{"channel": NO_SOCKET, "sockets": [], "passed": []}', "[1, 2]"])
def test_a_variable_that_makes_no_sense(text):
    with open(os.devnull) as nothing:
        with pytest.raises(BindError, match="ASGISERVE_HANDOVER makes no sense"):
            Predecessor(text.replace("NO_SOCKET", str(nothing.fileno())))


@pytest.mark.skipif(sys.platform != "linux", reason="sockets of their own are for Linux")
def test_sockets_of_slots_stay_those_of_their_slots(opened):
    address = TCP("127.0.0.1", 0)
    listeners = opened(address)
    old = Slots(listeners, own=True)
    sockets = {slot: old.of(slot) for slot in (1, 2, 3)}
    for slot in sockets:
        sockets[slot][0].listen()
    with Pair(old.all()) as predecessor:
        taken = opened(address, predecessor=predecessor)
        assert len(taken.sockets) == 3
        new = Slots(taken, own=True)
        for slot in (2, 1, 4):
            mine = new.of(slot)
            assert len(mine) == 1
            assert [listener.slot for listener in taken if listener.sock in mine] == [slot if slot < 4 else 1]
        lent = []
        worker = SimpleNamespace(slot=1, looks_after=set(), lend=lambda slot, sockets: lent.append(slot))
        worker.process = worker
        new.cover([worker])
        assert sorted(lent) == [2, 3, 4]
        shared = Slots(taken, own=False)
        assert len(shared.of(1)) == 4


# -- the command


@pytest.mark.parametrize(
    ("original", "expected"),
    [
        (["python", "-X", "dev", "-m", "asgiserve", "main:app"], ["-X", "dev", "-m", "asgiserve", "main:app"]),
        (["/usr/bin/python", "/usr/bin/asgiserve", "main:app"], ["/usr/bin/asgiserve", "main:app"]),
    ],
)
def test_the_command_line_as_it_was(monkeypatch, original, expected):
    monkeypatch.setattr(sys, "orig_argv", original, raising=False)
    assert command_line() == [sys.executable, *expected]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("asgiserve.__main__", ["-m", "asgiserve", "main:app"]),
        ("program", ["-m", "program", "main:app"]),
        ("__main__", ["/path/to/program", "main:app"]),
        (None, ["/path/to/program", "main:app"]),
    ],
)
def test_the_command_line_of_python_3_9(monkeypatch, spec, expected):
    monkeypatch.delattr(sys, "orig_argv", raising=False)
    monkeypatch.setattr(sys, "argv", ["/path/to/program", "main:app"])
    main = SimpleNamespace(__spec__=spec and SimpleNamespace(name=spec))
    monkeypatch.setitem(sys.modules, "__main__", main)
    line = command_line()
    assert line[0] == sys.executable
    assert line[-len(expected) :] == expected


def test_what_the_new_program_finds(monkeypatch, tmp_path):
    """The directory by its name, which may be that of a link; the environment but for what is about this process."""
    (tmp_path / "release").mkdir()
    (tmp_path / "current").symlink_to("release")
    monkeypatch.chdir(tmp_path / "release")
    monkeypatch.setenv("PWD", str(tmp_path / "current"))
    monkeypatch.setenv("LISTEN_PID", "1")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    monkeypatch.setenv("WATCHDOG_USEC", "1000")
    upgrade = Upgrade(never)
    assert upgrade._directory == str(tmp_path / "current")
    assert "LISTEN_PID" not in upgrade._environ
    assert "WATCHDOG_PID" not in upgrade._environ
    assert upgrade._environ["WATCHDOG_USEC"] == "1000"
    monkeypatch.setenv("PWD", str(tmp_path))
    assert Upgrade(never)._directory == str(tmp_path / "release")


def test_process_1_stays(monkeypatch, caplog):
    monkeypatch.setattr(os, "getpid", lambda: 1)
    upgrade = Upgrade(never)
    upgrade.begin([], [], None)
    assert not upgrade.is_under_way
    assert "SIGUSR2 is refused: this is process 1" in caplog.text


def test_a_program_that_is_not_there_any_more(monkeypatch, caplog):
    monkeypatch.setattr(handover, "command_line", lambda: ["/no/such/python"])
    upgrade = Upgrade(never)
    upgrade.begin([], [], None)
    assert not upgrade.is_under_way
    upgrade.look()
    upgrade.end()
    assert "Cannot start this program anew" in caplog.text
    assert "/no/such/python" in caplog.text


def test_a_program_that_does_not_end(monkeypatch, caplog):
    """Of one that takes too long, and ignores it when it is asked to end."""
    caplog.set_level(logging.INFO)
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
    monkeypatch.setattr(handover, "command_line", lambda: [sys.executable, "-c", code])
    monkeypatch.setattr(handover, "KILL_AFTER", 0.0)
    started = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **b: started(*a, **b, stdout=subprocess.PIPE))
    upgrade = Upgrade(never)
    upgrade.begin([], [], 0.0)
    process = upgrade._process
    process.stdout.readline()  # the signal is ignored by now
    upgrade.look()
    while upgrade.is_under_way:
        upgrade.look()
    process.stdout.close()
    assert "does not serve after 0 seconds and has to end" in caplog.text
    assert f"Process [{process.pid}] does not serve (killed by SIGKILL); this one goes on" in caplog.text


# -- programs

APP = """
import os

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    body = b"%d" % os.getpid()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
"""


@contextlib.contextmanager
def program(place, *arguments, **more):
    """A server; with it, all that take its place end."""
    place.joinpath("main.py").write_text(APP)
    with Process("main:app", *arguments, cwd=place, **more) as server:
        try:
            server.wait_for("asgiserve running on")
            yield server
        finally:
            for pid in re.findall(r"Process \[(\d+)\] is started", server.log):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGTERM)


def upgrade(server):
    server.popen.send_signal(signal.SIGUSR2)
    new = int(server.wait_for(r"Process \[(\d+)\] serves").group(1))
    assert server.popen.wait(30) == 0
    return new


def ask_tcp(port):
    async def ask():
        client = Client(*await asyncio.open_connection("127.0.0.1", port))
        try:
            return int((await client.get())[1])
        finally:
            await client.close()

    return run(ask())


def ask_unix(path):
    return int(run(get(path)))


def test_a_program_with_other_addresses(tmp_path):
    settings = tmp_path / "settings.toml"
    settings.write_text('bind = ["127.0.0.1:0", "unix:stays", "unix:goes"]')
    with program(tmp_path, "--config", settings) as server:
        port = int(server.wait_for(r"running on http://127\.0\.0\.1:(\d+) ").group(1))
        settings.write_text('bind = ["unix:comes", "unix:stays", "127.0.0.1:0"]')
        new = upgrade(server)
        assert ask_tcp(port) == ask_unix(tmp_path / "stays") == ask_unix(tmp_path / "comes") == new
        with pytest.raises(OSError):
            ask_unix(tmp_path / "goes")
    assert not (tmp_path / "stays").exists()
    assert not (tmp_path / "comes").exists()


def test_an_inherited_socket(tmp_path):
    with socket.socket() as given:
        given.bind(("127.0.0.1", 0))
        fd = given.fileno()
        with program(tmp_path, "--bind", f"fd://{fd}", pass_fds=[fd]) as server:
            new = upgrade(server)
            assert ask_tcp(given.getsockname()[1]) == new


LAUNCHER = """
import os, sys
count = int(sys.argv[1])
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(count), LISTEN_FDNAMES="web:admin")
os.execv(sys.executable, [sys.executable, "-m", "asgiserve", *sys.argv[2:]])
"""


@pytest.mark.parametrize("options", [(), ("--workers", "1")], ids=["alone", "workers"])
def test_systemd(tmp_path, options):
    """Its sockets go over, and it hears of the new process; the old one does not say that it stops."""
    launcher = tmp_path / "launcher.py"
    launcher.write_text(LAUNCHER)
    with contextlib.ExitStack() as stack:
        web = stack.enter_context(socket.socket())
        web.bind(("127.0.0.1", 0))
        told = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        told.bind(str(tmp_path / "notify"))
        told.settimeout(30)

        def pass_on():  # as numbers from 3 on
            admin = socket.socket(socket.AF_UNIX)
            admin.bind("admin")
            os.dup2(admin.fileno(), 200)
            os.dup2(web.fileno(), 3)
            os.dup2(200, 4)

        server = stack.enter_context(
            program(
                tmp_path,
                *options,
                program=[launcher, "2"],
                env={"NOTIFY_SOCKET": str(tmp_path / "notify")},
                preexec_fn=pass_on,
                close_fds=False,
            )
        )
        assert told.recv(4096).startswith(b"READY=1\n")
        new = upgrade(server)
        assert told.recv(4096) == b"MAINPID=%d" % new
        assert told.recv(4096).startswith(b"READY=1\nSTATUS=Running on http://127.0.0.1:")
        assert ask_tcp(web.getsockname()[1])
        assert ask_unix(tmp_path / "admin")
        os.kill(new, signal.SIGTERM)
        assert told.recv(4096).startswith(b"STOPPING=1\n")
    assert (tmp_path / "admin").exists(), "the file is systemd's"
