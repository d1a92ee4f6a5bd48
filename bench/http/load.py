"""The client side: one checked exchange, and load by a C program that is compiled for the run."""

from __future__ import annotations

import http.client
import socket
import ssl
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, cast

from .. import scratch
from ..process import ServerFailed, ServerProcess
from . import http2, http2_check
from .certificate import certificate
from .workloads import Workload

CHECK_TIMEOUT = 15.0
SOURCE = Path(__file__).with_name("load.c")
TLS_FLAGS = ("-DWITH_TLS", "-lssl", "-lcrypto")
NO_TLS = "needs the headers of OpenSSL (Debian, Ubuntu: apt install libssl-dev)"


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
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if workload.http2:
        context.set_alpn_protocols(["h2"])
    return context.wrap_socket(sock, server_hostname="127.0.0.1")


def check(workload: Workload, port: int) -> None:
    """Send the workload's requests twice on one connection and compare every answer, with another HTTP client.

    :raises ServerFailed: an answer is missing or not the expected one.
    """
    rounds = 1 if workload.close or workload.kind == "held" else 2
    try:
        with _connect(workload, port) as sock:
            if workload.http2:
                http2_check.check(workload, sock)
                return
            shared = cast(socket.socket, _OneFile(sock))
            for _ in range(rounds):
                sock.sendall(workload.request * workload.depth)
                for _ in range(workload.depth):
                    _check_answer(workload, shared)
            if workload.close and sock.recv(1):
                raise ServerFailed("wrong answer: data after a response that closes")
    except (OSError, http.client.HTTPException) as error:
        raise ServerFailed(f"no answer: {error!r}") from error


def _check_answer(workload: Workload, shared: socket.socket) -> None:
    with closing(http.client.HTTPResponse(shared, method=workload.method)) as response:
        response.begin()
        body = response.read(len(workload.expected)) if workload.kind == "held" else response.read()
    if response.status != 200:
        raise ServerFailed(f"wrong answer: status {response.status}")
    if body != workload.expected:
        raise ServerFailed(f"wrong answer: {len(body)} bytes of body are not the expected ones")


def _program(workload: Workload) -> str:
    """The load generator, with TLS where that is needed.

    :raises ServerFailed: it cannot be had with TLS here.
    """
    if not workload.tls:
        return scratch.program(SOURCE, "load")
    try:
        return scratch.program(SOURCE, "load-tls", *TLS_FLAGS)
    except scratch.NotCompiled as error:
        raise ServerFailed(f"{NO_TLS}: {error}") from error


def command(workload: Workload, process: ServerProcess, warm_up: float, seconds: float) -> list[str]:
    """The command line of the load generator."""
    mode, request = ("http2", http2.requests(workload)) if workload.http2 else (workload.kind, workload.request)
    made = [_program(workload), mode, str(process.port), str(workload.connections), str(workload.depth)]
    made += [str(workload.rate), str(warm_up), str(seconds)]
    made += [scratch.write("request", request), scratch.write("body", workload.expected)]
    made += [",".join(map(str, process.pids()))]
    return [*made, certificate().authority] if workload.tls else made
