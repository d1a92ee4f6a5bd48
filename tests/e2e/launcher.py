"""Starts and ends the programs that the end-to-end tests talk to: asgiserve, uvicorn (to compare with) and nginx.

Everything here is bounded: a program that does not become ready, or does not end, is a failure with its output in the
message, and is killed by its own pid. A program is ready when its socket accepts a connection.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Optional

import pytest

APPS = Path(__file__).parent / "apps"
REQUIRED = os.environ.get("ASGISERVE_E2E") == "require"
PYPY = sys.implementation.name == "pypy"
LINUX = sys.platform.startswith("linux")

START_TIMEOUT = 40.0 if PYPY else 20.0
STOP_TIMEOUT = 15.0

# What must never be in a server's log, whatever the application does.
FORBIDDEN = (
    "never awaited",
    "Exception ignored",
    "Task was destroyed",
    "never retrieved",
    "Fatal error",
    "Segmentation",
)


def missing(reason: str) -> None:
    """Skip the running test for `reason`, or fail it when ASGISERVE_E2E=require."""
    if REQUIRED:
        pytest.fail(f"{reason} (ASGISERVE_E2E=require)", pytrace=False)
    pytest.skip(reason)


def free_port() -> int:
    """A TCP port on 127.0.0.1 nobody listens on, below the range from which the kernel takes ports for clients."""
    for _ in range(200):
        port = random.randrange(18000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port found")


def wait_for(condition, timeout: float = 10.0, what: str = "condition"):
    """Poll `condition()` until it is true and return its value; fail after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not true within {timeout} s")
        time.sleep(0.01)


class Process:
    """A child program with a listening socket. `address` is ("127.0.0.1", port), or the path of a UNIX socket."""

    def __init__(self, argv, address, workdir: Path, env=None, stdin=subprocess.DEVNULL, **popen):
        self.address = address
        self.argv = [str(arg) for arg in argv]
        self.stdout_path = workdir / "stdout"
        self.stderr_path = workdir / "stderr"
        with self.stdout_path.open("wb") as out, self.stderr_path.open("wb") as err:
            self.popen = subprocess.Popen(self.argv, stdin=stdin, stdout=out, stderr=err, cwd=workdir, env=env, **popen)

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def port(self) -> int:
        return self.address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stdout(self) -> str:
        return self.stdout_path.read_text("utf-8", "replace")

    def stderr(self) -> str:
        return self.stderr_path.read_text("utf-8", "replace")

    def describe(self) -> str:
        return f"{' '.join(self.argv)}\n--- stdout\n{self.stdout()[-4000:]}\n--- stderr\n{self.stderr()[-8000:]}"

    def connect(self, timeout: float = 20.0, rcvbuf: int = 0) -> socket.socket:
        """A new connection to the server; `rcvbuf` bytes of receive buffer when given."""
        family = socket.AF_INET if isinstance(self.address, tuple) else socket.AF_UNIX
        sock = socket.socket(family)
        if rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        sock.settimeout(timeout)
        try:
            sock.connect(self.address)
        except BaseException:
            sock.close()
            raise
        return sock

    def accepts(self) -> bool:
        try:
            self.connect(timeout=2.0).close()
        except OSError:
            return False
        return True

    def wait_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not self.accepts():
            if self.popen.poll() is not None:
                pytest.fail(f"ended with {self.popen.returncode} before it was ready: {self.describe()}", pytrace=False)
            if time.monotonic() > deadline:
                self.kill()
                pytest.fail(f"not ready within {START_TIMEOUT} s: {self.describe()}", pytrace=False)
            time.sleep(0.01)

    def signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def wait(self, timeout: float = STOP_TIMEOUT) -> int:
        """The exit code; a program that does not end in time is killed, and the test fails."""
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"did not end within {timeout} s: {self.describe()}", pytrace=False)

    def kill(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait(10)


class Server(Process):
    """asgiserve or uvicorn, serving an application of tests/e2e/apps."""

    def __init__(
        self,
        flavour: str,
        app: str,
        options=(),
        workdir: Optional[Path] = None,
        uds: bool = False,
        tracebacks=False,
        app_dir: Path = APPS,
        **popen,
    ):
        self.flavour = flavour
        self.is_uvicorn = flavour.startswith("uvicorn")
        self.tracebacks = tracebacks
        address = str(workdir / "s") if uds else ("127.0.0.1", free_port())
        bind = ["--uds", address] if uds else ["--host", "127.0.0.1", "--port", address[1]]
        if not self.is_uvicorn:
            # Say ASGISERVE_E2E_OPTIONS="--loop asyncio" to run all tests with more options.
            options = (*os.environ.get("ASGISERVE_E2E_OPTIONS", "").split(), *options)
        argv = [sys.executable, *self._command(flavour), app, "--app-dir", app_dir, *bind, *options]
        super().__init__(argv, address, workdir, env=self._environment(), **popen)
        self._checked = 0

    @staticmethod
    def _command(flavour: str) -> list:
        if flavour.startswith("uvicorn"):
            return ["-m", "uvicorn", "--http", flavour.partition("-")[2] or "auto"]
        return ["-m", "asgiserve", "--http", {"compiled": "llhttp", "pure": "h11"}[flavour]]

    def _environment(self) -> dict:
        env = {key: value for key, value in os.environ.items() if not key.startswith(("ASGISERVE_", "UVICORN_"))}
        # The server process imports the same asgiserve as the tests do, wherever the tests run.
        if not self.is_uvicorn:
            import asgiserve

            here = str(Path(asgiserve.__file__).resolve().parent.parent)
            env["PYTHONPATH"] = os.pathsep.join(filter(None, [here, env.get("PYTHONPATH")]))
        env["PYTHONUNBUFFERED"] = "1"
        return env

    def check_log(self) -> None:
        """Fail when the log, as far as it is new since the last check, has what it must not have."""
        log = self.stderr()
        new, self._checked = log[self._checked :], len(log)
        for text in FORBIDDEN if self.tracebacks else (*FORBIDDEN, "Traceback"):
            assert text not in new, f"{text!r} in the log: {new[-6000:]}"

    def stop(self, number: int = signal.SIGTERM, timeout: float = STOP_TIMEOUT) -> None:
        """Signal the server; it must end in time, with exit code 0 and a clean log."""
        try:
            if self.popen.poll() is None:
                self.signal(number)
            code = self.wait(timeout)
            # uvicorn ends itself with the signal it got.
            expected = {0, -number} if self.is_uvicorn else {0}
            assert code in expected, f"exit code {code}: {self.describe()}"
            if not self.is_uvicorn:
                self.check_log()
        finally:
            self.kill()

    def memory(self) -> int:
        """Resident memory in bytes (Linux)."""
        return _proc_status(self.pid, "VmRSS")

    def reset_peak(self) -> bool:
        """Start a new peak measurement (Linux); false where the kernel does not let us."""
        try:
            Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        except OSError:
            return False
        return True

    def peak_memory(self) -> int:
        """Highest resident memory in bytes since `reset_peak()` (Linux)."""
        return _proc_status(self.pid, "VmHWM")


def _proc_status(pid: int, key: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(key)
