"""--reload with real processes: what a developer sees who edits, breaks and mends an application."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import asgiserve

from .launcher import PYPY, START_TIMEOUT, Process, free_port, missing, wait_for
from .websocket_client import Peer
from .wire import Truncated, Wire, encode

APP = """
import asyncio, json, os

async def app(scope, receive, send):
    await receive()
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        await receive()
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while scope["path"] != "/":
        await send({"type": "http.response.body", "body": b"data: more\\n\\n", "more_body": True})
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            if scope["path"] != "/stubborn":
                raise
    await send({"type": "http.response.body", "body": json.dumps([os.getpid(), "VERSION"]).encode()})
"""
PATIENCE = 3 * START_TIMEOUT


class Developed(Process):
    """A server whose application is being worked on."""

    def answer(self) -> list:
        """The answer to one request, once there is one: [pid, version]."""

        def ask():
            try:
                with Wire(self.connect()) as wire:
                    return json.loads(wire.request("GET", "/").body)
            except (OSError, Truncated):  # nobody listens yet, or the old worker has just gone
                assert self.popen.poll() is None, self.describe()
                return None

        return wait_for(ask, PATIENCE, "an answer")

    def wait_version(self, version: str) -> int:
        """Waits until the application answers with this; returns the pid of the worker."""

        def look():
            pid, found = self.answer()
            return pid if found == version else None

        return wait_for(look, PATIENCE, f"the answer {version}")

    def wait_said(self, text: str, times: int = 1) -> None:
        wait_for(lambda: self.stderr().count(text) >= times, PATIENCE, f"{times} x {text!r} in the log")

    def workers(self) -> list:
        """The pids of all that there have been."""
        return [int(pid) for pid in re.findall(r"Started server process \[(\d+)\]", self.stderr())]

    def interrupt(self) -> None:
        """Ctrl+C, after which nothing of it may be left."""
        self.signal(signal.SIGINT)
        assert self.wait() == 0, self.describe()
        assert not [pid for pid in self.workers() if _runs(pid)]
        assert not self.accepts()


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def project(workdirs):
    """project(version): writes the application, which answers with that, as editors do: a new file in its place."""
    directory = workdirs()
    second = int(time.time()) * 1_000_000_000
    ticks = itertools.count()

    def write(version: str, text: str = APP) -> None:
        path = directory / "main.new"
        path.write_text(text.replace("VERSION", version))
        # All within one second, which is what Python compares when it has compiled a file before.
        os.utime(path, ns=(second, second + next(ticks) * 1_000_000))
        path.replace(directory / "main.py")

    write.directory = directory
    write("one")
    return write


@pytest.fixture
def develop(project):
    """develop(*options): a server of the project, started; killed if the test leaves it."""
    started = []

    def start(*options, program=("-m", "asgiserve", "main:app"), env=None, **popen) -> Developed:
        port = free_port()
        arguments = ["--port", port, "--reload", "--no-access-log"] if program[0] == "-m" else [port]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ASGISERVE_")}
        paths = [(env or {}).get("PYTHONPATH"), str(Path(asgiserve.__file__).parent.parent)]
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        environment.update(env or {}, PYTHONPATH=os.pathsep.join(filter(None, paths)), PYTHONUNBUFFERED="1")
        argv = [sys.executable, *program, *arguments, *options]
        started.append(Developed(argv, ("127.0.0.1", port), project.directory, environment, **popen))
        return started[-1]

    yield start
    for server in started:
        server.kill()


@pytest.fixture(params=["watchfiles", "polling"])
def engine(request, workdirs):
    """The environment for each way to notice changes."""
    if request.param == "watchfiles":
        try:
            import watchfiles  # noqa: F401
        except ImportError:
            if PYPY:
                pytest.skip("watchfiles is not asked for there")
            missing("watchfiles is not installed")
        return {"WATCHFILES_FORCE_POLLING": ""}
    hidden = workdirs()
    (hidden / "watchfiles.py").write_text("raise ImportError('as if it were not installed')\n")
    return {"PYTHONPATH": str(hidden)}


def test_edited_added_and_removed_files(project, develop, engine):
    server = develop(env=engine)
    first = server.wait_version("one")
    project("two")  # as many bytes, within the same second
    second = server.wait_version("two")
    assert not _runs(first)
    module = project.directory / "package" / "version.py"
    module.parent.mkdir()
    module.write_text("version = 'three'\n")
    server.wait_said("Reloading...", 2)
    project('" + version + "', "from package.version import version\n" + APP)
    assert server.wait_version("three") != second
    module.unlink()
    server.wait_said("ModuleNotFoundError: No module named 'package.version'")
    server.wait_said("Waiting for changes before the next attempt")
    module.write_text("version = 'four'\n")
    server.wait_version("four")
    (project.directory / "notes.txt").write_text("this is no part of it")
    server.interrupt()
    assert "1 file changed: main.py. Reloading..." in server.stderr()
    how = "looking every 0.25 seconds" if "PYTHONPATH" in engine else "told by watchfiles"
    assert f"Watching for changes in {project.directory.resolve()}, {how}" in server.stderr()
    assert "notes.txt" not in server.stderr()


def test_open_streams_do_not_hold_it_up(project, develop):
    """Nor does Ctrl+C wait for them."""
    server = develop("--workers", "2")
    server.wait_version("one")
    server.wait_said("Worker 2")
    old = server.workers()
    assert len(old) == 2
    wires = [Wire(server.connect()) for _ in range(3)]
    try:
        for wire, path in zip(wires, ("/events", "/stubborn")):
            wire.send(encode("GET", path))
            assert wire.head().status == 200
            assert wire.chunk()
        socket = Peer(wires[2], "/")
        project("two")
        server.wait_version("two")
        assert not [pid for pid in old if _runs(pid)]
        assert socket.next()[1][0] == 1012
        with Wire(server.connect()) as wire:
            wire.send(encode("GET", "/events"))
            assert wire.head().status == 200
            server.interrupt()
    finally:
        for wire in wires:
            wire.close()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("class :\n", "SyntaxError: invalid syntax"),
        ("raise RuntimeError('at import')\n", "RuntimeError: at import"),
        ("raise SystemExit(5)\n", "SystemExit"),
    ],
)
def test_what_cannot_be_imported_waits_for_the_next_change(project, develop, fault, said):
    """At the first start too; a request that comes meanwhile is answered when the mistake is mended."""
    project("one", fault)
    server = develop()
    server.wait_said("Waiting for changes before the next attempt")
    assert server.popen.poll() is None
    project("one")
    server.wait_version("one")
    project("two", fault)
    server.wait_said("Waiting for changes before the next attempt", 2)
    with Wire(server.connect()) as wire:
        wire.send(encode("GET", "/"))
        project("two")
        assert json.loads(wire.response().body)[1] == "two"
    server.interrupt()
    if said != "SystemExit":
        assert server.stderr().count(f"\n{said}\n") == 2
    assert "multiprocessing" not in server.stderr()


def test_start_up_code_that_fails_or_hangs(project, develop):
    project("one", "async def app(scope, receive, send):\n    raise RuntimeError('in the lifespan')\n")
    server = develop("--lifespan", "on")
    server.wait_said("Waiting for changes before the next attempt")
    server.interrupt()
    assert server.stderr().count("\nRuntimeError: in the lifespan\n") == 1
    project("one", "import time\ntime.sleep(1000)\n")
    server = develop()
    server.wait_said("Started server process")
    project("two")
    server.wait_version("two")
    server.interrupt()


def test_a_program_that_runs_it(project, develop):
    """As ``python main.py``, with asgiserve.run(); a mistake shows the user's lines alone."""
    main = "\nif __name__ == '__main__':\n    import sys, asgiserve\n"
    main += "    asgiserve.run('main:app', port=int(sys.argv[1]), reload=True, access_log=False)\n"
    project("one", APP + main)
    server = develop(program=["main.py"])
    server.wait_version("one")
    project("two", APP + main + "class :\n")
    server.wait_said("Waiting for changes before the next attempt")
    assert server.stderr().count("SyntaxError: invalid syntax\n") == 1
    assert "multiprocessing" not in server.stderr()
    project("two", APP + main)
    server.wait_version("two")
    server.interrupt()


def test_a_debugger_reads_from_the_terminal(project, develop):
    text = APP.replace('    if scope["type"] == "web', '    breakpoint()\n    if scope["type"] == "web')
    project("one", text)
    server = develop("--lifespan", "off", stdin=subprocess.PIPE)
    with server.popen.stdin as terminal:
        server.wait_ready()
        with Wire(server.connect(PATIENCE)) as wire:
            wire.send(encode("GET", "/"))
            terminal.write(b"p scope['path'] + 'is asked for'\ncontinue\n")
            terminal.flush()
            assert wire.response().status == 200
        server.interrupt()
    assert "'/is asked for'" in server.stdout()
