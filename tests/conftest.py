"""The `stack` fixture, and the checks that hold after every test."""

import logging
import os
import platform
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import harness
import pytest

STACKS = ("compiled", "pure")


def pytest_addoption(parser):
    parser.addoption(
        "--stack",
        choices=("both", *STACKS),
        default="both",
        help="which stack the tests run on (default both; a missing compiled stack is skipped)",
    )


def pytest_generate_tests(metafunc):
    if "stack" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--stack")
        if chosen == "both":
            names = ("pure",) if platform.python_implementation() == "PyPy" else STACKS
        else:
            names = (chosen,)
        metafunc.parametrize("stack", names, indirect=True, scope="session")


def load_stack(name, required):
    """The Stack, or a skip where the compiled one was not built and nobody insists on it."""
    from asgiserve import _stack

    if name == "compiled" and name not in _stack.available() and not required:
        pytest.skip("the compiled stack is not built")
    return _stack.load(name)


def stack_required(config):
    return config.getoption("--stack") == "compiled" or os.environ.get("ASGISERVE_EXTENSIONS") == "require"


def opened(name):
    return open(Path(__file__).with_name(name), "rb")


@contextmanager
def machine(alone):
    """Holds the machine: shared with other tests, or `alone`. The tests of all runs in this checkout take part, be they
    those of pytest-xdist or of another interpreter.

    Two files of ours carry the locks. Whoever waits to be alone has the door meanwhile, so that no more go in.
    """
    try:
        from fcntl import LOCK_EX, LOCK_SH, LOCK_UN, flock
    except ImportError:  # Windows, where nothing runs side by side
        yield
        return
    with opened("harness.py") as door, opened("conftest.py") as room:
        flock(door, LOCK_EX)
        flock(room, LOCK_EX if alone else LOCK_SH)
        flock(door, LOCK_UN)
        try:
            yield
        finally:
            flock(room, LOCK_UN)  # for the children too, which a test may have forked


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    with machine(item.get_closest_marker("alone") is not None):
        return (yield)


@pytest.fixture(scope="session")
def stack(request):
    """A Stack: the test runs once for each."""
    return load_stack(request.param, stack_required(request.config))


@pytest.fixture(scope="session")
def stacks(request):
    """Both stacks at once (compiled, pure), for tests which compare them."""
    if request.config.getoption("--stack") != "both":
        pytest.skip("needs both stacks")
    if platform.python_implementation() == "PyPy":
        pytest.skip("PyPy has only the pure stack")
    required = stack_required(request.config)
    return tuple(load_stack(name, required) for name in STACKS)


@pytest.fixture(autouse=True)
def no_unhandled_errors():
    """Nothing may reach a fake loop's exception handler, and no transport be misused, unless the test clears it."""
    del harness.ERRORS[:]
    yield
    errors, harness.ERRORS[:] = list(harness.ERRORS), []
    assert not errors, errors


@pytest.fixture
def part(stack):
    """Gives a module of the stack's own build of the core: part("rules")."""
    package = stack.HTTPConnection.__module__.rpartition(".")[0]
    return lambda name: import_module(f"{package}.{name}")


class ServerLog(logging.Handler):
    """What the server logged to `asgiserve.error`."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.records = []

    def emit(self, record):
        self.records.append(record)

    def messages(self, level):
        return [record.getMessage() for record in self.records if record.levelno == level]

    @property
    def errors(self):
        return [record for record in self.records if record.levelno >= logging.ERROR]

    @property
    def warnings(self):
        return self.messages(logging.WARNING)

    def take_errors(self):
        """The exceptions of the ERROR records (the message where there is none), which are expected from now on."""
        taken = [record.exc_info[1] if record.exc_info else record.getMessage() for record in self.errors]
        self.records = [record for record in self.records if record.levelno < logging.ERROR]
        return taken


@pytest.fixture
def server_log():
    logger = logging.getLogger("asgiserve.error")
    before = logger.level, logger.disabled, logger.propagate
    log = ServerLog()
    logger.addHandler(log)
    logger.setLevel(logging.DEBUG)
    logger.disabled = False
    logger.propagate = False
    yield log
    logger.removeHandler(log)
    logger.setLevel(before[0])
    logger.disabled, logger.propagate = before[1:]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """Certificates made for this run."""
    pytest.importorskip("trustme", reason="the tests of TLS need trustme")
    from certificates import Certificates

    return Certificates(tmp_path_factory.mktemp("tls"))
