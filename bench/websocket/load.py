"""The client side: one checked exchange, and load by a C program that is compiled for the run."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Optional

from ..process import ServerFailed, ServerProcess, pinned
from .workloads import Workload

CHECK_TIMEOUT = 15.0
LIMIT = 60.0
SOURCE = Path(__file__).with_name("load.c")

NO_COMPILER = "no C compiler was found on PATH: install one (Debian, Ubuntu: apt install gcc)"


class LoadGenerator:
    """The compiled load generator.

    :param folder: where it is compiled, and where its frames are written.
    :raises FileNotFoundError: there is no C compiler.
    """

    def __init__(self, folder: str) -> None:
        compiler = os.environ.get("CC") or next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
        if compiler is None:
            raise FileNotFoundError(NO_COMPILER)
        self.folder = Path(folder)
        self.program = self.folder / "load"
        subprocess.run([*compiler.split(), "-O2", "-o", str(self.program), str(SOURCE)], check=True)

    def _file(self, name: str, content: bytes) -> str:
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    @contextmanager
    def running(
        self, workload: Workload, process: ServerProcess, cpu: int, warm_up: float = 0, seconds: float = 0
    ) -> Iterator[subprocess.Popen[Any]]:
        """The load generator at work on one core."""
        command = [str(self.program), workload.kind, str(process.port), str(workload.connections)]
        command += [str(workload.depth), str(warm_up), str(seconds)]
        command += [self._file("sent", workload.sent), self._file("expected", workload.expected)]
        command += [self._file("compressed", workload.compressed) if workload.deflate else "-"]
        command += [",".join(map(str, process.pids()))]
        with pinned(command, cpu) as popen:
            yield popen


def parse(line: str) -> dict[str, Any]:
    """One line of the load generator's output.

    :raises ServerFailed: it says that something went wrong.
    """
    if not line.startswith("{"):
        raise ServerFailed((line.strip() or "error: the load generator died").partition(": ")[2])
    found: dict[str, Any] = json.loads(line)
    return found


def finish(popen: subprocess.Popen[Any], limit: float) -> Optional[dict[str, Any]]:
    """The last line of the load generator's output; None when it does not come in time.

    :raises ServerFailed: it says that something went wrong.
    """
    try:
        return parse((popen.communicate(timeout=limit)[0].splitlines() or [""])[-1])
    except subprocess.TimeoutExpired:
        return None


def check(workload: Workload, port: int) -> None:
    """Exchange messages with another client implementation, two connections at a time where both are to get them.

    :raises ServerFailed: an answer is missing or not the expected one.
    """
    from websockets.exceptions import WebSocketException
    from websockets.sync.client import connect

    compression = "deflate" if workload.deflate else None
    try:
        with ExitStack() as stack:
            clients = []
            for _ in range(2):
                sock = socket.create_connection(("127.0.0.1", port), CHECK_TIMEOUT)
                uri = f"ws://127.0.0.1:{port}/"
                clients.append(stack.enter_context(connect(uri, sock=sock, compression=compression)))
            for _ in range(2):
                clients[0].send(workload.message)
                for client in clients if workload.kind == "broadcast" else clients[:1]:
                    answer = client.recv(CHECK_TIMEOUT)
                    if answer != workload.message:
                        raise ServerFailed(f"wrong answer: {type(answer).__name__} of length {len(answer)}")
    except (OSError, WebSocketException) as error:
        raise ServerFailed(f"no answer: {error!r}") from error
