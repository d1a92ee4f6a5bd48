"""The client side: one checked exchange, and load by wrk."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
from dataclasses import dataclass
from typing import BinaryIO, cast

from ..process import ServerFailed, pinned
from .certificate import certificate
from .workloads import Workload

CHECK_TIMEOUT = 15.0

NO_WRK = "wrk was not found on PATH: install it (Debian, Ubuntu: apt install wrk; macOS: brew install wrk)"

# The request bytes come ready-made from the table; wrk counts how many requests they hold.
SCRIPT = """
local file = assert(io.open("{request_file}", "rb"))
local bytes = file:read("*a")
file:close()

function wrk.init(args)
  wrk.request = function() return bytes end
end

function done(summary, latency, requests)
  local e = summary.errors
  print(string.format(
    'RESULT {{"requests": %d, "microseconds": %d, "bytes": %d, "status": %d, "connect": %d, "read": %d, ' ..
    '"write": %d, "timeout": %d, "p50": %.1f, "p99": %.1f}}',
    summary.requests, summary.duration, summary.bytes, e.status, e.connect, e.read, e.write, e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True)
class Load:
    """What wrk saw. ``p50`` and ``p99`` are latencies at saturation in microseconds."""

    requests: int
    microseconds: int
    bytes: int
    status: int
    connect: int
    read: int
    write: int
    timeout: int
    p50: float
    p99: float


def wrk_path() -> str:
    """Where wrk is.

    :raises FileNotFoundError: it is not installed.
    """
    path = shutil.which("wrk")
    if path is None:
        raise FileNotFoundError(NO_WRK)
    return path


def wrk_version() -> str:
    """Name and version, as wrk gives them."""
    first = subprocess.run([wrk_path(), "-v"], capture_output=True, text=True).stdout.splitlines()[0]
    return " ".join(first.split()[:2])


class _OneFile:
    """Lends one buffered reader to several ``HTTPResponse`` objects in a row, as pipelined answers need it."""

    def __init__(self, sock: socket.socket) -> None:
        self.reader = sock.makefile("rb")
        self.reader.close = lambda: None  # type: ignore[method-assign]

    def makefile(self, mode: str) -> BinaryIO:
        return self.reader


def _connect(workload: Workload, port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), CHECK_TIMEOUT)
    if not workload.tls:
        return sock
    context = ssl.create_default_context(cafile=certificate().authority)
    return context.wrap_socket(sock, server_hostname="127.0.0.1")


def check(workload: Workload, port: int) -> None:
    """Send the workload's requests twice on one connection and compare every answer.

    :raises ServerFailed: an answer is missing or not the expected one.
    """
    rounds = 1 if workload.close else 2
    try:
        with _connect(workload, port) as sock:
            shared = cast(socket.socket, _OneFile(sock))
            for _ in range(rounds):
                sock.sendall(workload.request * workload.depth)
                for _ in range(workload.depth):
                    response = http.client.HTTPResponse(shared, method=workload.method)
                    response.begin()
                    body = response.read()
                    if response.status != 200:
                        raise ServerFailed(f"wrong answer: status {response.status}")
                    if body != workload.expected:
                        raise ServerFailed(f"wrong answer: {len(body)} bytes of body are not the expected ones")
            if workload.close and sock.recv(1):
                raise ServerFailed("wrong answer: data after a response that closes")
    except (OSError, http.client.HTTPException) as error:
        raise ServerFailed(f"no answer: {error!r}") from error


def load(workload: Workload, port: int, seconds: float, cpu: int) -> Load:
    """Run wrk on one core against a server.

    :param seconds: duration; wrk takes whole seconds, at least one.
    :raises ServerFailed: an error status, a timeout, a lost connection, or fewer bytes than the bodies need.
    """
    with tempfile.TemporaryDirectory() as folder:
        request_file = os.path.join(folder, "request")
        script_file = os.path.join(folder, "load.lua")
        with open(request_file, "wb") as file:
            file.write(workload.request * workload.depth)
        with open(script_file, "w") as file:
            file.write(SCRIPT.format(request_file=request_file))
        whole = max(1, round(seconds))
        command = [wrk_path(), "-t1", f"-c{workload.connections}", f"-d{whole}s", "--timeout", "10s"]
        scheme = "https" if workload.tls else "http"
        command += ["-s", script_file, f"{scheme}://127.0.0.1:{port}/"]
        output = _run_pinned(command, cpu, whole + 30)
    result = next((line for line in output.splitlines() if line.startswith("RESULT ")), None)
    if result is None:
        raise ServerFailed(f"wrk: {(output.strip().splitlines() or ['no output'])[-1]}")
    seen = Load(**json.loads(result[len("RESULT ") :]))
    if seen.status:
        raise ServerFailed(f"{seen.status} error responses of {seen.requests} under load")
    broken = seen.timeout + seen.connect + seen.read + seen.write
    if broken:
        raise ServerFailed(f"{broken} of {seen.requests} requests timed out or lost their connection under load")
    if not seen.requests or seen.bytes < seen.requests * len(workload.expected):
        raise ServerFailed(f"{seen.requests} answers under load, {seen.bytes} bytes: too few")
    return seen


def _run_pinned(command: list[str], cpu: int, limit: float) -> str:
    """Run a command on one core and return its output."""
    with pinned(command, cpu) as popen:
        try:
            return str(popen.communicate(timeout=limit)[0])
        except subprocess.TimeoutExpired as error:
            raise ServerFailed(f"wrk did not end within {limit:.0f} s") from error
