"""The files of examples/ for supervisor, circus, systemd and nginx, run as they are but for ports and paths."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import asgiserve

from .launcher import LINUX, Process, free_port, missing, wait_for

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"

pytestmark = [
    pytest.mark.usefixtures("once"),
    pytest.mark.skipif(not LINUX, reason="what these programs do with sockets is tried on Linux"),
]

APP = """
import json, os

async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})
        return
    if scope["type"] != "http":
        raise NotImplementedError
    seen = {key: scope[key] for key in ("client", "server", "scheme", "path")}
    body = json.dumps({**seen, "pid": os.getpid(), "listen": os.environ.get("LISTEN_FDS")}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})
"""

PROGRAM = """#!/bin/sh
export PYTHONPATH={path} PYTHONUNBUFFERED=1
exec {python} -m asgiserve "$@"
"""


@pytest.fixture
def once():
    """The stack makes no difference here: these tests leave it to the program to choose one."""
    if os.environ.get("ASGISERVE_E2E_SERVER"):
        pytest.skip("promised by asgiserve only")


@pytest.fixture
def place(workdirs) -> Path:
    """A directory as the examples take it to be: with the application, and the program in venv/bin."""
    directory = workdirs()
    (directory / "example.py").write_text(APP)
    program = directory / "venv/bin/asgiserve"
    program.parent.mkdir(parents=True)
    package = Path(asgiserve.__file__).resolve().parent.parent
    program.write_text(PROGRAM.format(path=package, python=sys.executable))
    program.chmod(0o755)
    return directory


@pytest.fixture
def run():
    """run(argv, address, workdir): that program, killed in the end if need be."""
    started: list[Process] = []

    def start(argv, address, workdir, env=None) -> Process:
        process = Process(argv, address, workdir, env)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()


def example(name: str, place: Path, **changes: str) -> Path:
    """A copy of that file, in which each of the changes has been made at least once."""
    text = (EXAMPLES / name).read_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    copy = place / name
    copy.write_text(text)
    return copy


def ask(process: Process, path: str = "/", *fields: str) -> dict:
    with process.connect() as sock:
        head = "".join(f"{field}\r\n" for field in ("Host: test", "Connection: close", *fields))
        sock.sendall(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
        answer = b""
        while block := sock.recv(65536):
            answer += block
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    return json.loads(re.search(rb"{.*}", answer).group())


def output(process: Process) -> str:
    return process.stdout() + process.stderr()


def pids(process: Process) -> list[int]:
    """The servers that have said that they run."""
    text = output(process)
    if text.count("asgiserve running on") < text.count("Started server process"):
        return []
    return [int(found) for found in re.findall(r"Started server process \[(\d+)\]", text)]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def check_shared(process: Process) -> None:
    """Four servers on one socket, which stays with the others when one goes, and goes with the manager."""
    found = wait_for(lambda: len(pids(process)) == 4 and pids(process), 30, f"four servers: {process.describe()}")
    assert {ask(process)["pid"] for _ in range(20)} <= set(found)
    os.kill(found[0], signal.SIGTERM)
    wait_for(lambda: f"Finished server process [{found[0]}]" in output(process), what="the end of one server")
    for _ in range(20):
        assert ask(process)["pid"] != found[0]
    if isinstance(process.address, str):
        assert stat.S_ISSOCK(os.stat(process.address).st_mode)
    process.signal(signal.SIGTERM)
    process.wait(30)
    assert not [pid for pid in pids(process) if is_alive(pid)]
    text = output(process)
    assert "Traceback" not in text, text
    assert text.count("Finished server process") == text.count("Started server process") >= 4


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_supervisor(place, run, library, family):
    library("supervisor")
    port = free_port()
    if family == "unix":
        address, url = str(place / "s"), f"unix://{place}/s"
    else:
        address, url = ("127.0.0.1", port), f"tcp://localhost:{port}"
    file = example("supervisor.conf", place, **{"socket=tcp://localhost:8000": f"socket={url}"})
    check_shared(run([sys.executable, "-m", "supervisor.supervisord", "-n", "-c", file], address, place))


def test_circus(place, run, library):
    library("circus")
    port = free_port()
    endpoints = "".join(
        f"{name} = ipc://{place}/{name}\n" for name in ("endpoint", "pubsub_endpoint", "stats_endpoint")
    )
    file = example("circus.ini", place, **{"port = 8000": f"port = {port}"})
    file.write_text(f"{file.read_text()}\n[circus]\n{endpoints}")
    check_shared(run([sys.executable, "-m", "circus.circusd", file], ("127.0.0.1", port), place))


def settings(name: str) -> dict[str, list[str]]:
    """The values of each key of a unit file."""
    found: dict[str, list[str]] = {}
    for line in (EXAMPLES / name).read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@pytest.fixture
def told(place):
    """told(): the next message to systemd, as lines."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(place / "notify"))
        sock.settimeout(30)
        yield lambda: sock.recv(4096).decode().split("\n")


def test_systemd(place, run, program, told):
    """systemd-socket-activate does with the sockets what systemd itself does. Workers serve them, and are replaced."""
    port = free_port()
    unit = settings("asgiserve.service")
    (command,) = unit["ExecStart"]
    tcp, unix = settings("asgiserve.socket")["ListenStream"]
    assert (tcp, os.path.dirname(unix)) == ("8000", "/run")
    path = str(place / "s")
    argv = [program("systemd-socket-activate"), "-l", f"127.0.0.1:{port}", "-l", path, "--fdname=web:admin"]
    argv += ["-E", f"NOTIFY_SOCKET={place}/notify"]
    server = run([*argv, *command.replace("/srv/example", str(place)).split()], ("127.0.0.1", port), place)
    wait_for(lambda: f"Listening on {path}" in server.stderr(), what="systemd-socket-activate")
    first = ask(server)
    assert first["listen"] is None
    status = f"STATUS=Running on http://127.0.0.1:{port}, unix:{path}"
    assert told() == ["READY=1", status]
    assert "Sockets from systemd: file descriptor 3 (web), file descriptor 4 (admin)" in server.stderr()

    assert unit["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    server.signal(signal.SIGHUP)
    assert told()[0] == "RELOADING=1"
    assert told() == ["READY=1", status]
    server.address = path
    second = ask(server)
    assert second["server"] == [path, None]
    assert len({server.pid, first["pid"], second["pid"]}) == 3
    wait_for(lambda: not is_alive(first["pid"]), what="the end of the first worker")

    assert unit["KillMode"] == ["mixed"]
    server.signal(signal.SIGTERM)
    assert server.wait(30) == 0
    assert told()[0] == "STOPPING=1"
    assert not is_alive(second["pid"])
    assert os.path.exists(path), "the file is systemd's"


def test_the_units_are_sound(place, program):
    for name in ("asgiserve.service", "asgiserve.socket"):
        (place / name).write_text((EXAMPLES / name).read_text().replace("/srv/example", str(place)))
    argv = [program("systemd-analyze"), "verify", "--man=no", place / "asgiserve.service", place / "asgiserve.socket"]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    if "Failed to" in done.stdout and "asgiserve" not in done.stdout:
        missing(f"systemd-analyze does not work here: {done.stdout}")
    assert done.returncode == 0, done.stdout
    assert "asgiserve" not in done.stdout, done.stdout


def test_nginx(place, run, program):
    port = free_port()
    path = str(place / "s")
    (options,) = re.findall(r"#  +asgiserve --uds /tmp/asgiserve.sock (.*)", (EXAMPLES / "nginx.conf").read_text())
    server = run([place / "venv/bin/asgiserve", "--uds", path, *options.split()], path, place)
    server.wait_ready()

    directory = place / "nginx"
    (place / "static").mkdir()
    (place / "static/file.txt").write_text("static")
    temporary = "".join(f"{kind}_temp_path {directory}/{kind}; " for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    file = example(
        "nginx.conf",
        place,
        **{
            "listen 80;": f"listen 127.0.0.1:{port};",
            "/tmp/asgiserve.sock": path,
            "/srv/example": str(place),
            "http {\n": f"http {{\n    access_log off; client_body_temp_path {directory}/body; {temporary}\n",
        },
    )
    directory.mkdir()
    argv = [program("nginx"), "-p", directory, "-c", file, "-e", "stderr"]
    nginx = run([*argv, "-g", f"daemon off; master_process off; pid {directory}/pid;"], ("127.0.0.1", port), directory)
    nginx.wait_ready()

    answer = ask(nginx, "/path", "X-Forwarded-Proto: ftp")
    assert (answer["client"], answer["scheme"], answer["path"]) == (["127.0.0.1", 0], "http", "/path")
    with nginx.connect() as sock:
        sock.sendall(b"GET /static/file.txt HTTP/1.0\r\n\r\n")
        assert sock.makefile("rb").read().endswith(b"\r\n\r\nstatic")
    with nginx.connect() as sock:
        sock.sendall(
            b"GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert sock.makefile("rb").readline() == b"HTTP/1.1 101 Switching Protocols\r\n"
    nginx.signal(signal.SIGTERM)
    assert nginx.wait() == 0
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert not os.path.exists(path)
