"""systemd: the sockets that it passes, and what it is told."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time

import pytest

from asgiserve import systemd
from asgiserve.addresses import BindError, Inherited
from asgiserve.systemd import Notifier, take_sockets

from .serving import TIMEOUT, Process, loop_names, run, serving, until

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no UNIX sockets on this platform")

OTHERS = {"PATH": "/bin", "NOTIFY_SOCKET": "/run/x"}


def variables(count, pid=None, **more):
    return {"LISTEN_PID": str(os.getpid() if pid is None else pid), "LISTEN_FDS": str(count), **OTHERS, **more}


@pytest.fixture
def passed(monkeypatch):
    """passed(): descriptors in a row, which systemd is taken to have passed."""
    opened = []

    def make(number):
        found = [os.dup(0)]
        while len(found) < number:
            found.append(os.dup(0))
            if found[-1] != found[-2] + 1:
                opened.append(found.pop(0))
        opened.extend(found)
        for descriptor in found:
            os.set_inheritable(descriptor, True)
        monkeypatch.setattr(systemd, "_FIRST", found[0])
        return found

    yield make
    for descriptor in opened:
        os.close(descriptor)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({}, ["", ""]),
        ({"LISTEN_FDNAMES": "web:admin"}, ["web", "admin"]),
        ({"LISTEN_FDNAMES": "unknown:admin"}, ["", "admin"]),
        ({"LISTEN_FDNAMES": "web"}, ["web", ""]),
        ({"LISTEN_FDNAMES": "web:admin:more", "LISTEN_PIDFDID": "7"}, ["web", "admin"]),
    ],
)
def test_sockets_that_are_passed(passed, names, expected):
    first, second = passed(2)
    environ = variables(2, **names)
    assert take_sockets(environ) == [Inherited(first, expected[0]), Inherited(second, expected[1])]
    assert environ == OTHERS
    assert not os.get_inheritable(first)
    assert not os.get_inheritable(second)


@pytest.mark.parametrize("environ", [{}, variables(0), {"LISTEN_FDS": "1"}, {"LISTEN_PID": str(os.getpid())}])
def test_none_are_passed(environ, caplog):
    environ = dict(environ)
    assert take_sockets(environ) == []
    assert not [name for name in environ if name.startswith("LISTEN")]
    assert not caplog.records


def test_sockets_of_another_process(caplog):
    environ = variables(1, pid=os.getppid())
    assert take_sockets(environ) == []
    assert environ == OTHERS
    (record,) = caplog.records
    assert str(os.getppid()) in record.getMessage()


@pytest.mark.parametrize(("count", "pid"), [("x", None), ("-1", None), ("2000", None), ("1", "me"), ("٣", None)])
def test_variables_that_make_no_sense(count, pid):
    environ = variables(count, pid=pid)
    with pytest.raises(BindError, match=r"^Cannot take the sockets of systemd: LISTEN_PID=.*LISTEN_FDS=.*$"):
        take_sockets(environ)
    assert environ == OTHERS


def test_descriptors_that_are_not_there(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    monkeypatch.setattr(systemd, "_FIRST", max(reader, writer))
    with pytest.raises(BindError, match="Cannot take the sockets of systemd: file descriptor"):
        take_sockets(variables(1))


# -- notifications


class Supervisor:
    """Whoever listens at $NOTIFY_SOCKET."""

    def __init__(self, address):
        self.variable = address.replace("\0", "@")
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(address)

    def hear(self, timeout=TIMEOUT):
        self._sock.settimeout(timeout)
        return self._sock.recv(4096).decode().split("\n")

    def hear_all(self):
        """What has come already."""
        messages = []
        try:
            while True:
                messages.append(self.hear(timeout=0))
        except BlockingIOError:
            return messages

    def close(self):
        self._sock.close()


@pytest.fixture(params=["path", "abstract"])
def supervisor(request, tmp_path):
    if request.param == "abstract":
        if not sys.platform.startswith("linux"):
            pytest.skip("no abstract addresses on this platform")
        supervisor = Supervisor(f"\0asgiserve-{os.getpid()}-{time.monotonic_ns()}")
    else:
        supervisor = Supervisor(str(tmp_path / "notify"))
    yield supervisor
    supervisor.close()


def test_the_life_of_a_service(supervisor):
    async def main():
        notifier = Notifier({"NOTIFY_SOCKET": supervisor.variable})
        notifier.ready(asyncio.get_running_loop(), "Running on http://[::]:80")
        notifier.reloading()
        notifier.reloaded()
        notifier.stopping("Shutting down")
        notifier.close()

    before = time.monotonic_ns() // 1000
    run(main())
    ready = ["READY=1", "STATUS=Running on http://[::]:80"]
    assert supervisor.hear() == ready
    reloading, when = supervisor.hear()
    assert reloading == "RELOADING=1"
    assert before <= int(when.partition("MONOTONIC_USEC=")[2]) <= time.monotonic_ns() // 1000
    assert supervisor.hear() == ready
    assert supervisor.hear() == ["STOPPING=1", "STATUS=Shutting down"]
    assert supervisor.hear_all() == []


class Timers:
    """A loop that goes round when it is told to."""

    def __init__(self):
        self.delays = []
        self._due = None

    def call_later(self, delay, callback, *arguments):
        assert self._due is None
        self.delays.append(delay)
        self._due = lambda: callback(*arguments)
        return self

    def cancel(self):
        self._due = None

    def go_round(self):
        due, self._due = self._due, None
        due()


def test_the_watchdog_is_fed_twice_as_often_as_asked_for(supervisor):
    loop = Timers()
    notifier = Notifier(
        {"NOTIFY_SOCKET": supervisor.variable, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}
    )
    assert loop.delays == []  # not before it is ready
    notifier.ready(loop, "up")
    loop.go_round()
    notifier.reloaded()
    notifier.stopping("down")
    loop.go_round()
    notifier.close()
    assert loop.delays == [1.5, 1.5, 1.5]
    heard = [first for first, *_ in supervisor.hear_all()]
    assert heard == ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "READY=1", "STOPPING=1", "WATCHDOG=1"]
    notifier.close()


@pytest.mark.parametrize("loop", loop_names())
def test_a_blocked_loop_does_not_feed_the_watchdog(supervisor, loop):
    async def main():
        notifier = Notifier({"NOTIFY_SOCKET": supervisor.variable, "WATCHDOG_USEC": "20000"})
        notifier.ready(asyncio.get_running_loop(), "up")
        heard = []
        await until(lambda: heard.extend(supervisor.hear_all()) or ["WATCHDOG=1"] in heard)
        with pytest.raises(socket.timeout):
            supervisor.hear(timeout=0.2)
        notifier.close()
        await asyncio.sleep(0.05)
        assert supervisor.hear_all() == []

    run(main(), loop)


@pytest.mark.parametrize(
    "more", [{}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": str(os.getppid())}, {"WATCHDOG_USEC": "soon"}]
)
def test_no_watchdog(supervisor, more):
    async def main():
        notifier = Notifier({"NOTIFY_SOCKET": supervisor.variable, **more})
        notifier.ready(asyncio.get_running_loop(), "up")
        await asyncio.sleep(0.05)
        assert [first for first, *_ in supervisor.hear_all()] == ["READY=1"]

    run(main())


@pytest.mark.parametrize("variable", ["", "@", "/", "run/x", "vsock:2:1", "/no/such/directory/x", "/" + "x" * 300])
def test_nobody_to_tell(variable, caplog):
    async def main():
        notifier = Notifier({"NOTIFY_SOCKET": variable, "WATCHDOG_USEC": "10000"})
        notifier.ready(asyncio.get_running_loop(), "up")
        await asyncio.sleep(0.05)
        notifier.stopping("down")
        notifier.close()

    run(main())
    assert len(caplog.records) == (1 if variable else 0)
    assert all("\n" not in record.getMessage() for record in caplog.records)


def test_who_never_was_ready_does_not_stop_either(supervisor):
    """It may be the next process of a service that goes on."""
    notifier = Notifier({"NOTIFY_SOCKET": supervisor.variable})
    notifier.stopping("x")
    notifier.hand_over(7)
    notifier.reloading()
    assert supervisor.hear_all() == [["MAINPID=7"]]


def test_a_supervisor_that_reads_nothing(supervisor, caplog):
    """Its queue fills up; the server waits for a bounded time and goes on."""
    notifier = Notifier({"NOTIFY_SOCKET": supervisor.variable})
    for _ in range(5000):
        notifier.reloading()
        if caplog.records:
            break
    assert len(caplog.records) == 1


# -- the server


@pytest.fixture
def notified(monkeypatch, tmp_path):
    supervisor = Supervisor(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", supervisor.variable)
    yield supervisor
    supervisor.close()


@pytest.mark.parametrize("loop", loop_names())
def test_a_server_is_ready_once_it_listens(notified, loop):
    async def app(scope, receive, send):
        while True:
            message = await receive()
            seen.extend(notified.hear_all())
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return

    async def main():
        async with serving(app) as server:
            await until(lambda: seen.extend(notified.hear_all()) or seen)
            port = server.servers[0].sockets[0].getsockname()[1]
            assert seen == [["READY=1", f"STATUS=Running on http://127.0.0.1:{port}"]]

    seen = []
    run(main(), loop)
    assert seen[1:] == [["STOPPING=1", "STATUS=Shutting down"]]


def test_a_server_that_was_given_its_sockets_says_nothing(notified):
    async def main():
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        async with serving(sockets=[sock]):
            pass

    run(main())
    assert notified.hear_all() == []


def test_a_reload_of_certificates_is_told(notified):
    class TLS:
        def reload(self):
            assert [first for first, *_ in notified.hear_all()][-1] == "RELOADING=1"

    async def main():
        async with serving() as server:
            server.config.tls = TLS()
            server.reload_certificates()
            assert notified.hear()[0] == "READY=1"
            server.config.tls = None

    run(main())


APP = """
import os, time

async def app(scope, receive, send):
    assert scope["type"] == "http"
    listen = [name for name in os.environ if name.startswith("LISTEN_")]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": repr((scope["path"], listen)).encode()})
"""

# What systemd does between fork and exec. The first argument: the descriptors that are to be those from 3 on.
LAUNCH = """
import fcntl, os, sys

high = [fcntl.fcntl(int(text), fcntl.F_DUPFD, 100) for text in sys.argv[1].split(",")]
for index, descriptor in enumerate(high):
    os.dup2(descriptor, 3 + index)
    os.close(descriptor)
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["WATCHDOG_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, "-m", "asgiserve", *sys.argv[2:]])
"""


def service(place, sockets, *arguments, **env):
    """The server as systemd starts it, with these listening sockets."""
    (place / "main.py").write_text(APP)
    (place / "launch.py").write_text(LAUNCH)
    descriptors = [sock.fileno() for sock in sockets]
    return Process(
        ",".join(map(str, descriptors)),
        "main:app",
        *arguments,
        program=("launch.py",),
        cwd=place,
        env={"LISTEN_FDS": str(len(sockets)), **env},
        pass_fds=descriptors,
    )


@pytest.fixture
def tcp():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock


@pytest.fixture
def unix(tmp_path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "s"))
        sock.listen()
        yield sock


def ask(sock):
    with socket.socket(sock.family) as client:
        client.settimeout(TIMEOUT)
        client.connect(sock.getsockname())
        client.sendall(b"GET /x HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        answer = b""
        while block := client.recv(4096):
            answer += block
    return answer


def test_a_service_with_sockets(tmp_path, tcp, unix, notified):
    asked_before = socket.create_connection(tcp.getsockname())  # what makes systemd start the service
    with asked_before, service(tmp_path, [tcp, unix], LISTEN_FDNAMES="web:admin", WATCHDOG_USEC="100000") as server:
        asked_before.sendall(b"GET / HTTP/1.0\r\n\r\n")
        server.wait_for(r"Sockets from systemd: file descriptor 3 \(web\), file descriptor 4 \(admin\)$")
        server.wait_for(rf"asgiserve running on http://127\.0\.0\.1:{tcp.getsockname()[1]} ")
        server.wait_for(rf"asgiserve running on unix:{unix.getsockname()} ")
        assert notified.hear()[0] == "READY=1"
        assert [notified.hear() for _ in range(3)] == [["WATCHDOG=1"]] * 3
        asked_before.settimeout(TIMEOUT)
        assert asked_before.recv(4096).startswith(b"HTTP/1.1 200 ")
        for sock in tcp, unix:
            assert ask(sock).endswith(b"('/x', [])")
        server.popen.send_signal(signal.SIGTERM)
        while notified.hear()[0] != "STOPPING=1":
            pass
        assert server.wait() == 0
    assert os.path.exists(unix.getsockname()), "the file is systemd's"


def test_a_service_that_is_told_where_to_listen(tmp_path, tcp):
    with service(tmp_path, [tcp], "--bind", "127.0.0.1:0") as server:
        server.wait_for(r"The 1 socket\(s\) from systemd are not used: bind is set\.$")
        assert server.wait_ready() != tcp.getsockname()[1]
        server.popen.send_signal(signal.SIGTERM)
        assert server.wait() == 0


def test_a_service_that_is_told_the_descriptor(tmp_path, tcp):
    with service(tmp_path, [tcp], "--fd", "3") as server:
        assert server.wait_ready() == tcp.getsockname()[1]
        server.popen.send_signal(signal.SIGTERM)
        assert server.wait() == 0
    assert "not used" not in server.log


def test_a_service_with_connections_instead_of_sockets(tmp_path, tcp):
    """As with Accept=yes in the .socket file."""
    with socket.create_connection(tcp.getsockname()), tcp.accept()[0] as accepted:
        with service(tmp_path, [accepted], LISTEN_FDNAMES="connection") as server:
            assert server.wait() == 3
    assert "descriptor 3 (connection): it is a connection, not a socket to accept connections from" in server.log
    assert "Traceback" not in server.log
