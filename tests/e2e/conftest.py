"""Fixtures of the end-to-end tests.

`stack` comes from tests/conftest.py. With ASGISERVE_E2E_SERVER=uvicorn the same tests run against uvicorn, which
shows whether a test asks for something particular to asgiserve; those that do use the `ours` fixture and are skipped.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from .launcher import Server, missing
from .websocket_client import Clients
from .wire import Wire

if os.environ.get("ASGISERVE_E2E_SERVER") == "uvicorn":

    @pytest.fixture(scope="session")
    def stack(request):
        return SimpleNamespace(name={"compiled": "uvicorn-httptools", "pure": "uvicorn-h11"}[request.param])


@pytest.fixture(scope="session")
def workdirs():
    """A function that makes a new directory; its path is short, because a UNIX socket's path must be."""
    root = Path(tempfile.mkdtemp(prefix="e2e"))
    numbers = itertools.count()

    def make() -> Path:
        path = root / str(next(numbers))
        path.mkdir()
        return path

    yield make
    shutil.rmtree(root, ignore_errors=True)


class Fleet:
    """The running servers, one per set of arguments, shared by tests that leave them as they were."""

    def __init__(self, workdirs):
        self._workdirs = workdirs
        self._servers: dict = {}

    def start(self, flavour: str, app: str, *options: str, uds: bool = False, tracebacks: bool = False) -> Server:
        """A new server, ready; the caller ends it."""
        server = Server(flavour, app, options, self._workdirs(), uds=uds, tracebacks=tracebacks)
        try:
            server.wait_ready()
        except BaseException:
            server.kill()
            raise
        return server

    def get(self, flavour: str, app: str, *options: str, uds: bool = False, tracebacks: bool = False) -> Server:
        key = (flavour, app, options, uds, tracebacks)
        server = self._servers.get(key)
        if server is None or server.popen.poll() is not None:
            server = self._servers[key] = self.start(flavour, app, *options, uds=uds, tracebacks=tracebacks)
        return server

    def stop(self) -> None:
        """End all; each must end in order, and the first that did not is reported after all are gone."""
        failures = []
        for server in self._servers.values():
            if server.is_uvicorn:  # not ours to judge
                server.kill()
                continue
            try:
                server.stop()
            except BaseException as exc:
                failures.append(exc)
        if failures:
            raise failures[0]


@pytest.fixture(scope="session")
def fleet(workdirs):
    fleet = Fleet(workdirs)
    try:
        yield fleet
    finally:
        fleet.stop()


@pytest.fixture
def ours(stack):
    """For tests of what only asgiserve promises."""
    if stack.name.startswith("uvicorn"):
        pytest.skip("promised by asgiserve only")


@pytest.fixture
def serve(stack, fleet):
    """serve(app, *options, uds=False, tracebacks=False): a shared server on the stack under test."""

    def get(app: str, *options: str, **kwargs) -> Server:
        server = fleet.get(stack.name, app, *options, **kwargs)
        used.append(server)
        return server

    used: list[Server] = []
    yield get
    for server in used:
        assert server.popen.poll() is None, f"the server died: {server.describe()}"
        if not server.is_uvicorn:
            server.check_log()


@pytest.fixture
def start(stack, fleet):
    """start(app, *options, ...): a server of the test's own; ended with a check when the test has not done so."""
    started: list[Server] = []

    def run(app: str, *options: str, **kwargs) -> Server:
        server = fleet.start(stack.name, app, *options, **kwargs)
        started.append(server)
        return server

    yield run
    for server in started:
        if server.popen.poll() is None:
            server.stop()


@pytest.fixture
def raw(serve) -> Server:
    """The raw ASGI app, whose log must stay free of tracebacks."""
    return serve("raw_app:app")


@pytest.fixture
def dial():
    """dial(server): a Wire, closed when the test ends."""
    wires: list[Wire] = []

    def connect(server: Server, **kwargs) -> Wire:
        wires.append(Wire(server.connect(**kwargs)))
        return wires[-1]

    yield connect
    for wire in wires:
        wire.close()


@pytest.fixture
def wire(raw, dial) -> Wire:
    """A fresh connection to the raw app."""
    return dial(raw)


@pytest.fixture
def connect(library):
    """connect(server, path, **options): a WebSocket of the websockets library's client, closed when the test ends."""
    library("websockets")
    with Clients() as clients:
        yield clients.connect


@pytest.fixture
def refused(connect):
    """refused(server, path, **options): the response with which the server refuses a WebSocket."""
    from websockets.exceptions import InvalidStatus

    def make(server, path, **options):
        with pytest.raises(InvalidStatus) as caught:
            connect(server, path, **options)
        return caught.value.response

    return make


_keys = itertools.count()


@pytest.fixture
def key():
    """A name that no other test uses."""
    return f"key-{next(_keys)}"


@pytest.fixture(scope="session")
def program():
    """program(name): the path of an installed program, or a skip."""

    def find(name: str) -> str:
        path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")
        if path is None:
            missing(f"{name} is not installed")
        return path

    return find


@pytest.fixture
def curl(program):
    """curl(*arguments, stdin=b""): what it wrote to stdout; fails when curl does."""
    path = program("curl")

    def run(*arguments: str, stdin: bytes = b"", code: int = 0) -> bytes:
        argv = [path, "--silent", "--show-error", "--max-time", "20", "--noproxy", "*", *arguments]
        done = subprocess.run(argv, input=stdin, capture_output=True, timeout=30)
        assert done.returncode == code, (done.returncode, done.stderr)
        return done.stdout

    return run


@pytest.fixture(scope="session")
def library():
    """library(name): the imported module, or a skip."""

    def load(name: str):
        try:
            return __import__(name)
        except ImportError as exc:
            missing(f"{name} is not installed: {exc}")

    return load
